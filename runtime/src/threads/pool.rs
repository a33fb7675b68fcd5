//! A small thread pool for short parallel regions: a step has tens of them, each of a fraction of a
//! millisecond.
//!
//! The caller takes part. Jobs are taken from one counter in ascending order; which thread runs a
//! job is not fixed, so jobs must not depend on it. A region ends when every thread that joined it
//! has left; a worker that wakes too late simply misses it, so a busy machine costs no more than
//! the lost help. Idle workers spin for a moment, then sleep. Nothing is allocated in a region.

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// Spins of an idle worker before it sleeps, about 0.1 ms.
const SPINS: u32 = 4_000;
/// Low bits of the gate: threads in the region.
const ACTIVE: u64 = (1 << 16) - 1;
/// Whether the region can be joined.
const OPEN: u64 = 1 << 16;
/// One region.
const EPOCH: u64 = 1 << 17;

/// A thread could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadError(pub String);

impl fmt::Display for ThreadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start a worker thread: {}", self.0)
    }
}

impl std::error::Error for ThreadError {}

/// A job: its number, and the thread's number (from 0, below [`ThreadPool::threads`]).
type Job<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// What the caller and the workers share.
struct Shared {
    /// Epoch, open bit and number of workers inside.
    gate: AtomicU64,
    /// The region's job; written by the caller while the gate is closed and nobody is inside.
    job: UnsafeCell<Option<Job<'static>>>,
    jobs: AtomicUsize,
    next: AtomicUsize,
    /// Threads that may join the region: those with a number below it.
    limit: AtomicUsize,
    sleepers: AtomicUsize,
    /// Workers that run.
    started: AtomicUsize,
    stop: AtomicBool,
    panicked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only while the gate is closed and no worker is inside (`ThreadPool::run`
// holds `&mut self`), and read only by workers that entered through the open gate, whose opening
// (release) they acquired. Everything else is atomic or locked.
unsafe impl Sync for Shared {}
// SAFETY: the job is a shared reference to a `Sync` closure.
unsafe impl Send for Shared {}

/// A fixed set of threads.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads()).finish()
    }
}

impl ThreadPool {
    /// The caller's thread alone.
    pub fn caller() -> ThreadPool {
        ThreadPool { shared: Arc::new(Shared::new()), workers: Vec::new() }
    }

    /// A pool of `threads` threads, the caller being one of them; 0 counts as 1.
    pub fn new(threads: usize) -> Result<ThreadPool, ThreadError> {
        let mut pool = Self::caller();
        for thread in 1..threads.clamp(1, 1024) {
            let shared = pool.shared.clone();
            let worker = std::thread::Builder::new()
                .name(format!("din-{thread}"))
                .spawn(move || {
                    shared.started.fetch_add(1, Ordering::Release);
                    shared.work(thread);
                })
                .map_err(|e| ThreadError(e.to_string()))?;
            pool.workers.push(worker);
        }
        // What a thread needs at its start, memory too, is not taken during a step.
        while pool.shared.started.load(Ordering::Acquire) < pool.workers.len() {
            std::thread::yield_now();
        }
        Ok(pool)
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job(i, thread)` for every `i` of `0..jobs`, and returns when all are done. A panic of
    /// a job is passed on.
    pub fn run(&mut self, jobs: usize, job: Job<'_>) {
        self.run_on(usize::MAX, jobs, job);
    }

    /// The same on the first `limit` threads at most.
    pub fn run_on(&mut self, limit: usize, jobs: usize, job: Job<'_>) {
        if jobs <= 1 || limit <= 1 || self.workers.is_empty() {
            for i in 0..jobs {
                job(i, 0);
            }
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `OpenGate` closes the gate and waits for every worker
        // inside before `job` can go away, on unwinding too.
        let lasting = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        // SAFETY: the gate is closed and nobody is inside: the previous region ended so, and `&mut
        // self` excludes another.
        unsafe { *shared.job.get() = Some(lasting) };
        shared.jobs.store(jobs, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        shared.limit.store(limit, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        {
            let _open = OpenGate { shared };
            let gate = shared.gate.load(Ordering::Relaxed);
            shared.gate.store((gate + EPOCH) | OPEN, Ordering::SeqCst);
            if shared.sleepers.load(Ordering::SeqCst) > 0 {
                // A poisoned lock guards no data.
                let _guard = shared.lock.lock();
                shared.wake.notify_all();
            }
            shared.take(job, 0);
        }
        if shared.panicked.load(Ordering::Relaxed) {
            resume_unwind(Box::new("a job of the thread pool panicked"));
        }
    }
}

/// Closes the gate and waits for the workers inside.
struct OpenGate<'a> {
    shared: &'a Shared,
}

impl Drop for OpenGate<'_> {
    fn drop(&mut self) {
        let gate = &self.shared.gate;
        gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while gate.load(Ordering::Acquire) & ACTIVE != 0 {
            spins += 1;
            // With more runnable threads than cores, the one that is awaited may need this core.
            if spins.is_multiple_of(SPINS) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

impl Shared {
    fn new() -> Shared {
        Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            jobs: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            limit: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    fn take(&self, job: Job<'_>, thread: usize) {
        let jobs = self.jobs.load(Ordering::Relaxed);
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= jobs {
                return;
            }
            job(i, thread);
        }
    }

    fn work(&self, thread: usize) {
        let mut seen = 0;
        loop {
            let gate = self.wait(seen);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            seen = gate / EPOCH;
            if gate & OPEN != 0 && thread >= self.limit.load(Ordering::Relaxed) {
                // The region has threads enough; a limit that is read too late belongs to a later
                // one, and misses this one.
                continue;
            }
            if gate & OPEN == 0
                || self.gate.compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Acquire).is_err()
            {
                // Closed meanwhile, or another worker entered at the same time.
                seen -= u64::from(gate & OPEN != 0);
                continue;
            }
            // SAFETY: this thread is inside the gate, so the job was written before it opened and
            // stays until this thread leaves.
            if let Some(job) = unsafe { *self.job.get() }
                && catch_unwind(AssertUnwindSafe(|| self.take(job, thread))).is_err()
            {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a region after `seen`; returns the gate.
    fn wait(&self, seen: u64) -> u64 {
        for _ in 0..SPINS {
            let gate = self.gate.load(Ordering::Acquire);
            if gate / EPOCH != seen || self.stop.load(Ordering::Acquire) {
                return gate;
            }
            std::hint::spin_loop();
        }
        let Ok(mut guard) = self.lock.lock() else { return self.gate.load(Ordering::Acquire) };
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let gate = loop {
            // The caller opens the gate, then reads `sleepers`; this thread counts itself, then
            // reads the gate: one of them sees the other.
            let gate = self.gate.load(Ordering::SeqCst);
            if gate / EPOCH != seen || self.stop.load(Ordering::Acquire) {
                break gate;
            }
            match self.wake.wait(guard) {
                Ok(g) => guard = g,
                Err(_) => break gate,
            }
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        gate
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _guard = self.shared.lock.lock();
            self.shared.wake.notify_all();
        }
        for worker in self.workers.drain(..) {
            // A worker catches its jobs' panics, so joining cannot fail.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_once() -> Result<(), ThreadError> {
        for threads in [1, 2, 3, 8] {
            let mut pool = ThreadPool::new(threads)?;
            for round in 0..300usize {
                let jobs = round % 23;
                let done: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
                pool.run(jobs, &|i, thread| {
                    assert!(thread < threads);
                    done[i].fetch_add(i + 1, Ordering::Relaxed);
                });
                assert!(done.iter().enumerate().all(|(i, d)| d.load(Ordering::Relaxed) == i + 1));
                if round % 100 == 50 {
                    // Long enough for the workers to fall asleep.
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_lives() -> Result<(), ThreadError> {
        let mut pool = ThreadPool::new(3)?;
        for _ in 0..20 {
            let caught = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|i, _| assert!(i != 5))));
            assert!(caught.is_err());
            let sum = AtomicUsize::new(0);
            pool.run(8, &|i, _| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 28);
        }
        Ok(())
    }
}
