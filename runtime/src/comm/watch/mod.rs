//! Every rank watches every other one, so that one which dies, hangs or fails ends the whole run,
//! soon and with one message.
//!
//! A thread of each rank holds a TCP connection to each other rank, beside MPI. Over it a rank
//! tells every second how far it is ([`progress()`]), and at once if it ends with an error. A
//! process that dies closes its connections. The first cause that a rank learns of is what the run
//! ends with; it passes it on. The lowest rank that still runs reports it and says so to the
//! others; where it does not, the next one does. Then the main thread has a moment to end the
//! process, by the error that its communications return; if it does not, the watching thread ends
//! it.
//!
//! Warnings take the same way to the first rank.

mod judge;
mod links;
mod note;
mod progress;
mod thread;
mod warnings;

pub(super) use links::{Listener, RankAddress, host_name};
pub use progress::{LongOperation, progress};

use super::{Channel, RankWarning, Reporter};
use crate::{Error, Result};
use note::{Cause, Pulse};
use progress::{PROGRESS, ProgressCounters};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a run has ended with before it was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The error that came first on any rank; its exit code is that of every rank.
    pub error: Error,
    /// Whether a rank has reported it. Otherwise it is left to the caller.
    pub reported: bool,
}

/// How a rank is watched.
#[derive(Clone, Debug)]
pub(super) struct WatchOptions {
    pub rank: usize,
    /// The machines, by rank.
    pub hosts: Arc<[String]>,
    /// Every rank has ended so long after one has stopped to make progress.
    pub timeout: Duration,
    pub reporter: Reporter,
    /// Ends the process with an exit code.
    pub exit: fn(u8),
    /// What this process tells of its progress.
    pub progress: &'static ProgressCounters,
}

impl WatchOptions {
    /// For a process of its own.
    pub fn of_process(rank: usize, hosts: Arc<[String]>, timeout: Duration, reporter: Reporter) -> Self {
        Self { rank, hosts, timeout, reporter, exit: exit_at_once, progress: &PROGRESS }
    }

    /// Between two pulses.
    fn interval(&self) -> Duration {
        (self.timeout / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// For the main thread to end the process by itself.
    fn grace(&self) -> Duration {
        (self.timeout / 15).clamp(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// For a rank to report before the next one does.
    fn turn(&self) -> Duration {
        (self.timeout / 30).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// A rank is taken for hung after so long: early enough for all to have ended in time.
    fn limit(&self) -> Duration {
        self.timeout.saturating_sub(self.interval() * 2 + self.grace() + self.turn()).max(self.interval() * 3)
    }
}

/// Ends this process without the cleaning up that a stuck thread could hold up.
pub(super) fn exit_at_once(code: u8) {
    // SAFETY: may be called from any thread; it does not return.
    unsafe { libc::_exit(i32::from(code)) };
}

/// What the threads of a rank and the watching one share.
#[derive(Debug)]
struct Shared {
    /// Whether a communication waits, by channel.
    waits: [AtomicBool; Channel::ALL.len()],
    /// Whether the state has a cause: read at every poll of a communication.
    failed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Why the run ends.
    cause: Option<Cause>,
    /// A rank has reported it.
    reported: bool,
    /// An error of this rank, for the watching thread.
    own: Option<Error>,
    /// Warnings of this rank, for the watching thread.
    warnings: Vec<RankWarning>,
    /// The run is over on this rank.
    finished: bool,
    /// All that this rank had to tell is on its way, and all warnings are shown if it is the first.
    settled: bool,
    /// The watching thread is to end.
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pulse(&self, counters: &ProgressCounters) -> Pulse {
        let waits = std::array::from_fn(|channel| self.waits[channel].load(Ordering::Relaxed));
        let operates = counters.operations.load(Ordering::Acquire) > 0;
        Pulse { progress: counters.parts.load(Ordering::Relaxed), operates, waits }
    }
}

/// The watch that a rank keeps. Dropped, it closes the connections: the others take this rank for
/// dead, unless it has finished or the run ends anyway.
#[derive(Debug)]
pub(super) struct RankWatch {
    options: WatchOptions,
    shared: Arc<Shared>,
    /// Wakes the thread.
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl RankWatch {
    /// Watches the ranks at the other ends of the streams, by rank.
    pub fn start(streams: Vec<Option<TcpStream>>, options: WatchOptions) -> Result<Self> {
        let refused = |why: std::io::Error| Error::machine(format!("cannot watch the other ranks: {why}"));
        let shared = Arc::new(Shared {
            waits: Default::default(),
            failed: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (wake, woken) = UnixStream::pair().map_err(refused)?;
        woken.set_nonblocking(true).map_err(refused)?;
        let watcher = thread::Watcher::new(streams, woken, shared.clone(), options.clone());
        let thread = std::thread::Builder::new().name("din-watch".into()).spawn(|| watcher.run()).map_err(refused)?;
        Ok(Self { options, shared, wake, thread: Some(thread) })
    }

    /// Says that a communication waits, as long as what is returned lives.
    pub fn waiting(&self, channel: Channel) -> Waiting<'_> {
        let flag = &self.shared.waits[channel.index()];
        flag.store(true, Ordering::Relaxed);
        Waiting { flag, progress: self.options.progress }
    }

    /// What the run ends with, if it does.
    pub fn check(&self) -> Result<()> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        match &self.shared.lock().cause {
            Some(cause) => Err(cause.error(&self.options.hosts)),
            None => Ok(()),
        }
    }

    /// What the run ends with, if that comes to be known within a moment: an operation that fails
    /// may do so because another rank is gone.
    pub fn check_soon(&self) -> Result<()> {
        let state = self.shared.lock();
        drop(self.shared.changed.wait_timeout_while(state, self.options.grace(), |state| state.cause.is_none()));
        self.check()
    }

    /// Ends the run with an error of this rank.
    pub fn fail(&self, error: &Error) -> Ending {
        let mut state = self.shared.lock();
        state.own.get_or_insert_with(|| error.clone());
        drop(state);
        self.wake();
        // Every other rank has its turn to report, but most of them answer at once.
        let patience = self.options.turn() * 4;
        let end = Instant::now() + patience;
        let mut state = self.shared.lock();
        while !state.reported && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let error = state.cause.as_ref().map_or_else(|| error.clone(), |cause| cause.error(&self.options.hosts));
        Ending { error, reported: state.reported }
    }

    /// Has the first rank show a warning of this one.
    pub fn warn(&self, warning: &RankWarning) {
        self.shared.lock().warnings.push(warning.clone());
        self.wake();
    }

    /// Tells the others that this rank will close its connections, and that this is right.
    pub fn finished(&self) {
        self.shared.lock().finished = true;
        self.wake();
    }

    /// Waits until all that this rank had to tell is on its way; on the first rank, until all
    /// others have finished and their warnings are shown.
    pub fn settle(&self) {
        let state = self.shared.lock();
        // Where a rank does not come so far, the end of MPI does not either, which is watched.
        drop(self.shared.changed.wait_timeout_while(state, self.options.limit(), |state| !state.settled));
    }

    fn wake(&self) {
        // The thread has ended where nobody reads, and where the buffer is full it is awake.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Drop for RankWatch {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by its hook.
            let _ = thread.join();
        }
    }
}

/// A communication that waits.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    flag: &'a AtomicBool,
    progress: &'static ProgressCounters,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.flag.store(false, Ordering::Relaxed);
        self.progress.parts.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
