//! What one core of this machine does at most: products whose operands lie in its first-level
//! cache, and bytes from memory. The bounds that a profile is held against.

use crate::exec::common::Roofline;
use crate::kernels::{MatMul, Microkernels};
use std::hint::black_box;
use std::time::Instant;

/// Bytes that no cache holds.
const FAR: usize = 128 << 20;
const TRIES: usize = 5;

/// Takes about a fifth of a second; the best of some tries.
pub(super) fn measure(kernels: Microkernels) -> Roofline {
    let (rows, k, n) = (32usize, 64usize, 80usize);
    let (x, w, mut out) = (vec![0.5f32; rows * k], vec![0.25f32; k * n], vec![0.0f32; rows * n]);
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
    let repeats = 2000;
    let multiply = || {
        for _ in 0..repeats {
            // SAFETY: the vectors have these sizes.
            unsafe { kernels.matmul(black_box(&product)) }
        }
    };
    let far = vec![1u64; FAR / 8];
    let read = || {
        black_box(black_box(&far).iter().fold(0u64, |a, &b| a.wrapping_add(b)));
    };
    Roofline { flops: 2.0 * (rows * k * n * repeats) as f64 / best(multiply), bytes: FAR as f64 / best(read) }
}

/// Least seconds of some tries.
fn best(call: impl Fn()) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        call();
        begin.elapsed().as_secs_f64()
    };
    (0..TRIES).map(time).fold(f64::INFINITY, f64::min)
}
