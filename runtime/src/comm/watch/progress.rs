//! How a process tells that it is not hung.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a process has told of its progress.
#[derive(Debug, Default)]
pub(in crate::comm) struct ProgressCounters {
    /// Parts of work that were done.
    pub parts: AtomicU64,
    /// Operations under way that cannot tell their parts.
    pub operations: AtomicU32,
}

/// Of this process.
pub(super) static PROGRESS: ProgressCounters =
    ProgressCounters { parts: AtomicU64::new(0), operations: AtomicU32::new(0) };

/// Tells that this process makes progress: a rank that does not tell it for `--rank-timeout` is
/// taken for hung, unless it waits for another one or a [`LongOperation`] is under way. Every
/// completed communication tells it by itself; a long write, evaluation or pass over data calls
/// this for each of its parts. Costs one atomic addition.
pub fn progress() {
    PROGRESS.parts.fetch_add(1, Ordering::Relaxed);
}

/// An operation that comes to its end by itself, takes as long as it takes, and has no parts that
/// could be told: a flush to the disk, the removal of a folder, a sort. As long as one lives in a
/// process, its rank is not taken for hung while it answers the other ranks: a stopped or dead
/// process still is, and so is a communication that does not end. Never to be held while a
/// communication waits.
#[derive(Debug)]
#[must_use = "the operation ends when this is dropped"]
pub struct LongOperation {
    counters: &'static ProgressCounters,
}

impl LongOperation {
    /// Begins an operation of this process; it ends when the value is dropped.
    pub fn begin() -> Self {
        Self::of(&PROGRESS)
    }

    pub(super) fn of(counters: &'static ProgressCounters) -> Self {
        counters.operations.fetch_add(1, Ordering::Relaxed);
        Self { counters }
    }
}

impl Drop for LongOperation {
    fn drop(&mut self) {
        // The part first: whoever reads in between sees one of the two.
        self.counters.parts.fetch_add(1, Ordering::Relaxed);
        self.counters.operations.fetch_sub(1, Ordering::Release);
    }
}
