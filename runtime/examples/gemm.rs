//! Speed of the products, one thread: `cargo run --release -p din-runtime --example gemm [v2|v3|v4]
//! [plain|absorbed|mixed|widths-plain|widths-absorbed]`. `plain` has the sizes of the shipped
//! models; `absorbed` has products with weights that absorb a vector of each sample, by the length
//! of the samples' histories; `mixed` has them with histories of random lengths. The last two have
//! products and absorbed products of many widths: powers of two, very narrow ones, very wide ones,
//! and some that are no multiple of a vector.

use din_program::Isa;
use din_runtime::cpu;
use din_runtime::kernels::{
    AbsorbedGradient, AbsorbedProduct, MatMul, Microkernels, Outer, VectorGradient, WeightGradientSums, panel_floats,
};
use std::hint::black_box;
use std::time::Instant;

/// Floats that begin at a cache line, as the buffers of a step do.
struct Floats {
    values: Vec<f32>,
    first: usize,
}

impl Floats {
    fn filled(n: usize) -> Floats {
        let values: Vec<f32> = (0..n + 16).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
        let first = values.as_ptr().align_offset(64);
        Floats { values, first }
    }

    fn pointer(&self) -> *const f32 {
        self.values[self.first..].as_ptr()
    }

    fn pointer_mut(&mut self) -> *mut f32 {
        self.values[self.first..].as_mut_ptr()
    }
}

/// Best time of a call out of many, in seconds. Each measurement is short, so that some of them are
/// not interrupted on a busy machine.
fn time(mut call: impl FnMut()) -> f64 {
    let begin = Instant::now();
    call();
    let calls = (200e-6 / begin.elapsed().as_secs_f64()).ceil().max(1.0);
    let (mut best, mut total) = (f64::MAX, 0.0);
    while total < 0.15 {
        let begin = Instant::now();
        for _ in 0..calls as usize {
            call();
        }
        let taken = begin.elapsed().as_secs_f64();
        total += taken;
        best = best.min(taken / calls);
    }
    best
}

fn main() {
    let isa = match std::env::args().nth(1).as_deref() {
        Some("v2") => Isa::V2,
        Some("v3") => Isa::V3,
        _ => cpu::detect(),
    };
    let kernels = Microkernels::new(isa);
    println!("{kernels:?}, GFLOP/s on one thread");
    let tables = std::env::args().nth(2);
    let asked = |table: &str| tables.as_deref().is_none_or(|t| t == table);
    if asked("plain") {
        plain(
            &kernels,
            &[
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
            ],
        );
    }
    if asked("absorbed") {
        let equal = [1, 2, 3, 4, 5, 6, 8, 12, 16, 31, 64, 100, 400].map(Length::Equal);
        absorbed(&kernels, 48, 80, &equal);
    }
    if asked("mixed") {
        absorbed(&kernels, 48, 80, &[2, 5, 8, 31, 100].map(Length::Mean));
    }
    if asked("widths-plain") {
        let widths = [4, 8, 12, 17, 24, 30, 33, 50, 63, 64, 65, 100, 127, 128, 129, 250, 256, 300, 512];
        let square: Vec<_> = widths.iter().map(|&width| (128, width, width)).collect();
        plain(&kernels, &square);
        plain(&kernels, &[(128, 512, 64), (128, 64, 512), (128, 1024, 256), (128, 256, 1024), (1000, 80, 40)]);
    }
    if asked("widths-absorbed") {
        for (e, n) in
            [(4, 16), (8, 32), (12, 36), (18, 50), (32, 64), (48, 36), (64, 128), (100, 70), (128, 256), (384, 80)]
        {
            absorbed(&kernels, e, n, &[1, 3, 6, 10, 30, 100, 1000].map(Length::Equal));
        }
    }
}

fn plain(kernels: &Microkernels, sizes: &[(usize, usize, usize)]) {
    println!("{:>5} {:>5} {:>5}  {:>8} {:>8}", "rows", "k", "n", "matmul", "outer");
    for &(rows, k, n) in sizes {
        let (x, w, g) = (Floats::filled(rows * k), Floats::filled(k * n), Floats::filled(rows * n));
        let (mut out, mut sum) = (Floats::filled(rows * n), Floats::filled(k * n));
        let m = MatMul {
            rows,
            k,
            n,
            x: x.pointer(),
            x_stride: k,
            w: w.pointer(),
            w_stride: n,
            out: out.pointer_mut(),
            out_stride: n,
            accumulate: false,
        };
        let o = Outer {
            rows,
            k,
            n,
            x: x.pointer(),
            x_stride: k,
            g: g.pointer(),
            g_stride: n,
            out: sum.pointer_mut(),
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

/// Entries of each history.
enum Length {
    Equal(usize),
    /// Drawn from an exponential distribution with this mean, as those of the benchmarks are.
    Mean(usize),
}

impl std::fmt::Display for Length {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Length::Equal(entries) => write!(f, "{entries}"),
            Length::Mean(entries) => write!(f, "mean {entries}"),
        }
    }
}

impl Length {
    /// Where each history begins and the last one ends: of about 512 entries if they are equal, and
    /// of more otherwise, so that lengths are not learnt from the call before.
    fn offsets(&self) -> Vec<u32> {
        match *self {
            Length::Equal(entries) => (0..=(512 / entries).max(1)).map(|i| (i * entries) as u32).collect(),
            Length::Mean(mean) => {
                let (mut offsets, mut at, mut state) = (vec![0], 0.0, 1u64);
                while at < 8192.0 {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    at += -(((state >> 40) as f64 + 0.5) / (1 << 24) as f64).ln() * mean as f64;
                    offsets.push(at as u32);
                }
                offsets
            }
        }
    }
}

/// The first layer of an activation unit: `e` floats per entry, `n` outputs.
fn absorbed(kernels: &Microkernels, e: usize, n: usize, lengths: &[Length]) {
    println!("absorbed {e}x{n}\n{:>7}  {:>8} {:>8} {:>8}", "entries", "forward", "towards x", "outer");
    for length in lengths {
        let offsets = length.offsets();
        let (samples, rows) = (offsets.len() - 1, offsets[offsets.len() - 1] as usize);
        let (x, g, q, w) = (
            Floats::filled(rows * e),
            Floats::filled(rows * n),
            Floats::filled(samples * e),
            Floats::filled(2 * e * n),
        );
        let (mut out, mut back) = (Floats::filled(rows * n), Floats::filled(rows * e));
        let (mut sums, mut towards_q) = (Floats::filled(2 * e * n), Floats::filled(samples * e));
        let mut scratch = Floats::filled(panel_floats(e, n));
        let product = |transposed| AbsorbedProduct {
            offsets: &offsets,
            x: if transposed { g.pointer() } else { x.pointer() },
            x_stride: if transposed { n } else { e },
            q: q.pointer(),
            q_stride: e,
            w: w.pointer(),
            transposed,
            e,
            n,
            out: std::ptr::null_mut(),
            out_stride: if transposed { e } else { n },
        };
        let forward = AbsorbedProduct { out: out.pointer_mut(), ..product(false) };
        let backward = AbsorbedProduct { out: back.pointer_mut(), ..product(true) };
        let outer = AbsorbedGradient {
            offsets: &offsets,
            x: x.pointer(),
            x_stride: e,
            g: g.pointer(),
            g_stride: n,
            e,
            n,
            weight: Some(WeightGradientSums { q: q.pointer(), q_stride: e, out: sums.pointer_mut() }),
            sample: Some(VectorGradient {
                w: w.pointer().wrapping_add(e * n),
                out: towards_q.pointer_mut(),
                out_stride: e,
            }),
        };
        let flops = 2.0 * (rows * e * n) as f64 * 1e-9;
        // SAFETY: the vectors have these sizes.
        let forward = time(|| unsafe { kernels.absorbed_matmul(black_box(&forward), scratch.pointer_mut()) });
        // SAFETY: the vectors have these sizes.
        let backward = time(|| unsafe { kernels.absorbed_matmul(black_box(&backward), scratch.pointer_mut()) });
        // SAFETY: the vectors have these sizes.
        let outer = time(|| unsafe { kernels.absorbed_outer(black_box(&outer)) });
        let name = length.to_string();
        println!("{name:>7}  {:>8.1} {:>8.1} {:>8.1}", flops / forward, flops / backward, flops / outer);
    }
}
