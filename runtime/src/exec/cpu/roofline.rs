//! What one core of this machine does at most while all threads work: products whose operands lie
//! in its first-level cache, and bytes from its second-level cache and from memory. The bounds that
//! a profile is held against.

use crate::exec::common::Roofline;
use crate::kernels::{MatMul, Microkernels};
use crate::threads::Threads;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Bytes that no cache holds, of all threads together.
const FAR: usize = 128 << 20;
/// Bytes of each side of a copy: both sides fit into a second-level cache, and not into a
/// first-level one.
const NEAR: usize = 96 << 10;
/// Number of tries. They are short, so that some of them are not interrupted.
const TRIES: usize = 20;

/// Takes about a fifth of a second. Each rate is that of the best of some tries, and a try takes as
/// long as its slowest thread.
pub(super) fn measure(kernels: Microkernels, threads: &Threads) -> Roofline {
    let (rows, k, n, repeats) = (32usize, 64usize, 80usize, 500);
    let multiply = || {
        let (x, w, mut out) = (vec![0.5f32; rows * k], vec![0.25f32; k * n], vec![0.0f32; rows * n]);
        move || {
            let product = MatMul {
                rows,
                k,
                n,
                x: x.as_ptr(),
                x_stride: k,
                w: w.as_ptr(),
                w_stride: n,
                out: out.as_mut_ptr(),
                out_stride: n,
                accumulate: false,
            };
            for _ in 0..repeats {
                // SAFETY: the vectors have these sizes.
                unsafe { kernels.matmul(black_box(&product)) }
            }
        }
    };
    let copies = 250;
    let copy = || {
        let (from, mut to) = (vec![1u64; NEAR / 8], vec![0u64; NEAR / 8]);
        move || (0..copies).for_each(|_| black_box(&mut to).copy_from_slice(black_box(&from)))
    };
    let (far, part) = (vec![1u64; FAR / 8], FAR / 8 / threads.count());
    let next = AtomicUsize::new(0);
    let read = || {
        let begin = part * (next.fetch_add(1, Ordering::Relaxed) % threads.count());
        let own = &far[begin..][..part];
        move || {
            black_box(black_box(own).iter().fold(0u64, |a, &b| a.wrapping_add(b)));
        }
    };
    Roofline {
        flops: 2.0 * (rows * k * n * repeats) as f64 / best(threads, multiply),
        cache_bytes: 2.0 * (NEAR * copies) as f64 / best(threads, copy),
        bytes: (8 * part) as f64 / best(threads, read),
    }
}

/// Least seconds of some tries, in which each thread does what `prepare` made for it.
fn best<W: FnMut()>(threads: &Threads, prepare: impl Fn() -> W + Sync) -> f64 {
    let ready = Barrier::new(threads.count());
    let time = |_| {
        let slowest = AtomicU64::new(0);
        threads.pool().run(threads.count(), &|_, _| {
            let mut work = prepare();
            // A thread that waits takes no other job: each has one.
            ready.wait();
            let begin = Instant::now();
            work();
            slowest.fetch_max(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        });
        slowest.into_inner() as f64 * 1e-9
    };
    (0..TRIES).map(time).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::ThreadError;

    #[test]
    fn every_thread_works_at_the_same_time() -> Result<(), ThreadError> {
        for count in [1, 2, 5] {
            let threads = Threads::new(count)?;
            let (together, inside) = (Barrier::new(count), AtomicUsize::new(0));
            let seconds = best(&threads, || {
                || {
                    inside.fetch_add(1, Ordering::Relaxed);
                    // Would wait for ever if one thread did the work of two.
                    together.wait();
                }
            });
            assert_eq!(inside.into_inner(), TRIES * count);
            assert!(seconds.is_finite() && seconds > 0.0, "{seconds}");
        }
        Ok(())
    }
}
