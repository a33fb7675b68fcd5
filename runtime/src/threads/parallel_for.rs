//! Work on a batch's columns, spread over threads: looking up rows, and writing what a device needs. The threads are those of the process, as many as
//! [`set_threads`] says; they sleep between batches.

use super::pool::Pool;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this would wait for memory, and be missed by those who read the data.
const MOST: usize = 8;

/// 0: one a core.
static THREADS: AtomicUsize = AtomicUsize::new(0);
static POOL: Mutex<Option<Pool>> = Mutex::new(None);

/// How many threads there are, the caller's included. Heeded if it is called before the first work is spread.
pub(crate) fn set_threads(threads: usize) {
    THREADS.store(threads.max(1), Ordering::Relaxed);
}

/// Runs `job` for each of `0..jobs`, in any order; returns when all are done. Where the threads are busy with other work, or cannot be had, the
/// caller does it alone.
pub(crate) fn parallel_for(jobs: usize, job: &(dyn Fn(usize) + Sync)) {
    if jobs > 1
        && let Ok(mut pool) = POOL.try_lock()
    {
        if pool.is_none() {
            let threads = match THREADS.load(Ordering::Relaxed) {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                threads => threads,
            };
            *pool = Pool::new(threads.min(MOST)).ok();
        }
        if let Some(pool) = &mut *pool {
            return pool.run(jobs, &|k, _| job(k));
        }
    }
    (0..jobs).for_each(job);
}
