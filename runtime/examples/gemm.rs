//! Speed of the products at the sizes of the shipped models, one thread: `cargo run --release -p
//! din-runtime --example gemm [v2|v3|v4]`.

use din_program::Isa;
use din_runtime::cpu;
use din_runtime::kernels::{MatMul, Microkernels, Outer};
use std::hint::black_box;
use std::time::Instant;

fn filled(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect()
}

/// Best time of a call out of many, in seconds.
fn time(mut call: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..30 {
        let begin = Instant::now();
        for _ in 0..40 {
            call();
        }
        best = best.min(begin.elapsed().as_secs_f64() / 40.0);
    }
    best
}

fn main() {
    let asked = match std::env::args().nth(1).as_deref() {
        Some("v2") => Isa::V2,
        Some("v3") => Isa::V3,
        _ => cpu::detect(),
    };
    let kernels = Microkernels::new(asked);
    println!("{kernels:?}, GFLOP/s on one thread\n{:>5} {:>5} {:>5}  {:>8} {:>8}", "rows", "k", "n", "matmul", "outer");
    for (rows, k, n) in [
        (128, 192, 80),
        (128, 96, 80),
        (128, 80, 40),
        (128, 40, 80),
        (128, 80, 192),
        (128, 40, 1),
        (128, 1, 40),
        (128, 176, 200),
        (128, 200, 176),
        (128, 250, 200),
        (128, 200, 80),
        (128, 80, 200),
        (128, 80, 1),
        (64, 176, 200),
        (64, 200, 80),
        (1024, 512, 512),
    ] {
        let (x, w, g) = (filled(rows * k), filled(k * n), filled(rows * n));
        let (mut out, mut sum) = (vec![0.0f32; rows * n], vec![0.0f32; k * n]);
        let m = MatMul {
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
        let o = Outer {
            rows,
            k,
            n,
            x: x.as_ptr(),
            x_stride: k,
            g: g.as_ptr(),
            g_stride: n,
            out: sum.as_mut_ptr(),
            out_stride: n,
            accumulate: true,
        };
        let flops = 2.0 * (rows * k * n) as f64 * 1e-9;
        // SAFETY: the vectors have these sizes.
        let products = time(|| unsafe { kernels.matmul(black_box(&m)) });
        // SAFETY: the vectors have these sizes.
        let outers = time(|| unsafe { kernels.outer(black_box(&o)) });
        println!("{rows:>5} {k:>5} {n:>5}  {:>8.1} {:>8.1}", flops / products, flops / outers);
    }
}
