//! How copies of partial sums are joined, against the plain tree over their numbers on the CPU, bit
//! for bit: one copy to several hundred, as many warps as there may be, sets of columns that
//! several blocks share, zeros of either sign, chunks without rows.

use din_compiler::codegen::cuda::PRELUDE;
use din_tests::cuda::Device;
use din_tests::random_graph::Random;

const SUMS: usize = 70;
const MAXIMA: usize = 40;
const MOMENTS: usize = 33;
/// Where each begins in a copy, and the numbers of one.
const AT: [usize; 3] = [0, 72, 112];
const COPY: usize = 112 + 2 * MOMENTS + 2;
const RUNS: usize = 48;

/// Neighbours first, then neighbouring pairs: a value waits at each level for its neighbour.
fn tree<T: Copy>(values: &[T], join: impl Fn(T, T) -> T) -> Option<T> {
    let mut waiting: Vec<Option<T>> = vec![None; 16];
    for &value in values {
        let (mut value, mut level) = (value, 0);
        while let Some(left) = waiting[level].take() {
            value = join(left, value);
            level += 1;
        }
        waiting[level] = Some(value);
    }
    waiting.into_iter().flatten().reduce(|right, left| join(left, right))
}

/// Chan, Golub & LeVeque, as the CPU engine and the prelude have it: mean, sum of squares, count.
fn chan(a: [f32; 3], b: [f32; 3]) -> [f32; 3] {
    if b[2] == 0.0 {
        return a;
    }
    let all = a[2] + b[2];
    let share = b[2] / all;
    let delta = b[0] - a[0];
    [a[0] + delta * share, a[1] + (b[1] + delta * delta * (a[2] * share)), all]
}

fn source(threads: u32) -> String {
    let plane = RUNS * 32;
    format!(
        "#define DIN_THREADS {threads}u\n#define DIN_PRECISION 0\n{PRELUDE}\n\
         extern \"C\" DIN_KERNEL({threads}) joins(DinPointers address, DinScalars batch, DinPtr<float> scratch) {{\n\
         const unsigned chunks = batch[0];\nconst DinPtr<float> sums = din_shared(), copies = din_pointer<float>(address, 0u);\n\
         din_join_copies<{SUMS}, {COPY}, 0>(chunks, copies, sums, din_pointer<float>(address, 1u));\n\
         din_join_maxima<{MAXIMA}, {COPY}, 3>(chunks, copies + {}u, sums, din_pointer<float>(address, 2u));\n\
         din_join_moments<{MOMENTS}, {COPY}, 5, {plane}>(chunks, copies + {}u, sums, din_pointer<float>(address, 3u));\n}}\n",
        AT[1], AT[2]
    )
}

/// The joined sums, maxima and moments of random copies, as the tree has them.
fn expected(copies: &[f32], chunks: usize) -> [Vec<f32>; 3] {
    let column = |c: usize| -> Vec<f32> { (0..chunks).map(|k| copies[k * COPY + c]).collect() };
    let max = |a: f32, b: f32| if b < a { a } else { b };
    let sums = (0..SUMS).map(|c| tree(&column(c), |a, b| a + b).unwrap_or(0.0)).collect();
    let maxima = (0..MAXIMA).map(|c| tree(&column(AT[1] + c), max).unwrap_or(f32::NEG_INFINITY)).collect();
    let mut moments = vec![0.0; 2 * MOMENTS];
    for c in 0..MOMENTS {
        let of = |k: usize| {
            let copy = &copies[k * COPY + AT[2]..];
            [copy[c], copy[MOMENTS + c], copy[2 * MOMENTS]]
        };
        let all = tree(&(0..chunks).map(of).collect::<Vec<_>>(), chan).unwrap_or_default();
        (moments[c], moments[MOMENTS + c]) = (all[0], if all[2] > 0.0 { all[1] / all[2] } else { 0.0 });
    }
    [sums, maxima, moments]
}

#[test]
fn copies_are_joined_as_by_the_plain_tree() {
    for threads in [32, 64, 96, 256] {
        let device = Device::compile(&source(threads), 1).unwrap();
        for (chunks, blocks) in
            [(0, 7), (1, 7), (2, 3), (3, 7), (8, 1), (9, 7), (31, 7), (64, 4), (100, 7), (256, 9), (381, 7)]
        {
            device.reset();
            let mut r = Random::new(chunks as u64 + u64::from(threads));
            let mut copies: Vec<f32> = r.numbers(chunks.max(1) * COPY).iter().map(|&x| x as f32).collect();
            for k in 0..chunks {
                let copy = &mut copies[k * COPY..][..COPY];
                // A column of -0, one with both zeros.
                (copy[5], copy[6]) = (-0.0, if k % 3 == 0 { 0.0 } else { -0.0 });
                (copy[AT[1]], copy[AT[1] + 1]) = (-0.0, f32::NEG_INFINITY);
                copy[AT[2] + 2 * MOMENTS] = (k % 4) as f32 * 16.0;
            }
            let mut found = [vec![9.0f32; SUMS], vec![9.0; MAXIMA], vec![9.0; 2 * MOMENTS]];
            device.buffer("copies", &mut copies, true);
            let mut address = vec![copies.as_ptr() as u64];
            for f in &mut found {
                device.buffer("joined", f, false);
                address.push(f.as_ptr() as u64);
            }
            let (words, shared) = ([chunks as u32], 3 * RUNS as u32 * 32 * 4);
            device.launch("joins", (blocks, 1), threads, shared, &address, &words, &mut [0.0], 5).unwrap();
            let bits = |all: &[Vec<f32>; 3]| all.clone().map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            let wanted = bits(&expected(&copies, chunks));
            assert_eq!(bits(&found), wanted, "{threads} threads, {chunks} copies, {blocks} blocks");
        }
    }
}
