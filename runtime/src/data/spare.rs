//! Memory that the streams of a data set hand on to each other: the next epoch's stream begins to
//! read while the one before runs out.

use super::Inner;
use crate::batch::Batch;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of windows whose rows nobody needs any more. They are kept while a stream of the data set
/// that can use them is open.
#[derive(Debug, Default)]
pub(crate) struct SpareParts(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Open streams that hand parts on.
    streams: usize,
    parts: Vec<Batch>,
}

impl SpareParts {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // What a thread left when it panicked is whole: parts are moved one by one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees what no stream has taken so far.
    pub fn free(&self) {
        self.lock().parts = Vec::new();
    }
}

/// An open stream's share in the parts that are handed on.
pub(super) struct SpareUser {
    data: Arc<Inner>,
}

impl SpareUser {
    pub fn new(data: Arc<Inner>) -> SpareUser {
        data.spare.lock().streams += 1;
        SpareUser { data }
    }

    pub fn take(&self) -> Option<Batch> {
        self.data.spare.lock().parts.pop()
    }

    /// Hands on parts that this stream does not need.
    pub fn hand_on(&self, parts: &mut Vec<Batch>) {
        self.data.spare.lock().parts.append(parts);
    }
}

impl Drop for SpareUser {
    fn drop(&mut self) {
        let mut shared = self.data.spare.lock();
        shared.streams -= 1;
        if shared.streams == 0 {
            shared.parts = Vec::new();
        }
    }
}
