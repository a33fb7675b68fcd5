//! Threads. Nothing here is global: a session makes its [`Threads`] and hands them to its executor
//! and tables.

mod pool;

pub use pool::ThreadError;
pub(crate) use pool::ThreadPool;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Most threads of a [`Threads::parallel_for`]: more would wait for memory, and be missed by those
/// that read the data.
const MOST: usize = 8;

/// The threads of a session, the caller's included. One parallel region runs on them at a time;
/// they sleep between regions.
#[derive(Debug)]
pub struct Threads {
    count: usize,
    pool: Mutex<ThreadPool>,
}

impl Threads {
    /// `count` threads, the caller being one of them; 0 counts as 1.
    pub fn new(count: usize) -> Result<Arc<Threads>, ThreadError> {
        let pool = ThreadPool::new(count)?;
        Ok(Arc::new(Threads { count: pool.threads(), pool: Mutex::new(pool) }))
    }

    /// The caller's thread alone.
    pub fn caller() -> Arc<Threads> {
        Arc::new(Threads { count: 1, pool: Mutex::new(ThreadPool::caller()) })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The pool, for a step's regions; waits while others use it.
    pub(crate) fn pool(&self) -> MutexGuard<'_, ThreadPool> {
        // A pool whose job panicked has ended the region, and is as good as before.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `job` for each of `0..jobs`, in any order; returns when all are done. Where the threads
    /// are busy with other work the caller does it alone.
    pub fn parallel_for(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        if jobs > 1 {
            let pool = match self.pool.try_lock() {
                Ok(pool) => Some(pool),
                // As in `Threads::pool`.
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut pool) = pool {
                return pool.run_on(MOST, jobs, &|k, _| job(k));
            }
        }
        (0..jobs).for_each(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A loop inside a region, on any of its threads, is done by its caller.
    #[test]
    fn loops_run_inside_regions() -> Result<(), ThreadError> {
        for threads in [Threads::caller(), Threads::new(3)?, Threads::new(12)?] {
            let done: Vec<AtomicUsize> = (0..40).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..50 {
                threads.parallel_for(4, &|i| {
                    threads.parallel_for(10, &|j| {
                        done[i * 10 + j].fetch_add(1, Ordering::Relaxed);
                    });
                });
            }
            assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 50));
        }
        Ok(())
    }

    #[test]
    fn a_panic_is_passed_on_and_the_threads_live() -> Result<(), ThreadError> {
        let threads = Threads::new(2)?;
        let failing = || threads.parallel_for(8, &|i| assert!(i != 5));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(failing)).is_err());
        let sum = AtomicUsize::new(0);
        threads.parallel_for(8, &|i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!((sum.into_inner(), threads.pool().threads()), (28, 2));
        Ok(())
    }
}
