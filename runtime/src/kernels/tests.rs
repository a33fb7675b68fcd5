//! Every product at every level of this CPU against f64 sums by the definition.

use super::*;

/// A reproducible stream of numbers in [-1, 1).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // Steele, Lea & Flood 2014, SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

fn levels() -> Vec<Isa> {
    [Isa::V2, Isa::V3, Isa::V4].into_iter().filter(|&isa| isa <= crate::cpu::detect()).collect()
}

/// Sizes: small ones, multiples of vectors and their neighbours, and those of real models.
fn size(random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.below(9),
        1 => [15, 16, 17, 31, 33, 40, 48, 64, 79, 80, 81, 96, 127, 129][random.below(14)],
        2 => random.below(60) + 1,
        _ => [80, 176, 192, 200, 250][random.below(5)],
    }
}

const GUARD: f32 = 12345.0;

fn close(got: f32, want: f64, magnitude: f64, what: &str) {
    let bound = 4.0 * f64::from(f32::EPSILON) * magnitude.max(1e-3) * 8.0;
    assert!((f64::from(got) - want).abs() <= bound, "{what}: {got} for {want}, allowed {bound:e}");
}

#[test]
fn matmul_is_the_product() {
    let mut random = Random(1);
    for round in 0..400 {
        let (rows, k, n) = (random.below(70), size(&mut random), size(&mut random));
        let far = round % 10 == 0;
        let ws = if far { SET_FLOATS } else { n + random.below(2) * 5 };
        let (xs, os) = (k + random.below(3) * 7, n + random.below(2) * 3);
        let accumulate = round % 3 == 0;
        let x = random.floats(rows * xs + 1);
        let w = random.floats(k * ws + 1);
        let start = random.floats(rows * os);
        for isa in levels() {
            let mut out: Vec<f32> = start.clone();
            for row in out.chunks_mut(os.max(1)) {
                row.iter_mut().skip(n).for_each(|g| *g = GUARD);
            }
            let m = MatMul {
                rows,
                k,
                n,
                x: x.as_ptr(),
                x_stride: xs,
                w: w.as_ptr(),
                w_stride: ws,
                out: out.as_mut_ptr(),
                out_stride: os,
                accumulate,
            };
            // SAFETY: the vectors have these sizes.
            unsafe { Microkernels::new(isa).matmul(&m) };
            for i in 0..rows {
                for j in 0..os {
                    let got = out[i * os + j];
                    if j >= n {
                        assert_eq!(got, GUARD, "column {j} of {n} written at {isa:?}");
                        continue;
                    }
                    let (mut sum, mut size) = (0.0, 0.0);
                    if accumulate {
                        sum = f64::from(start[i * os + j]);
                        size = sum.abs();
                    }
                    for p in 0..k {
                        let term = f64::from(x[i * xs + p]) * f64::from(w[p * ws + j]);
                        sum += term;
                        size += term.abs();
                    }
                    close(got, sum, size, &format!("{isa:?} {rows}x{k}x{n} at {i},{j}"));
                }
            }
        }
    }
}

#[test]
fn outer_is_the_sum_of_outer_products() {
    let mut random = Random(2);
    for round in 0..300 {
        let rows = if round % 5 == 0 { random.below(400) } else { random.below(140) };
        let (k, n) = (size(&mut random), size(&mut random));
        let (xs, gs) = (k + random.below(2) * 7, n + random.below(2) * 5);
        let accumulate = round % 3 != 0;
        let (x, g) = (random.floats(rows * xs), random.floats(rows * gs));
        let start = random.floats(k * n);
        for isa in levels() {
            let mut out = start.clone();
            out.push(GUARD);
            let o = Outer {
                rows,
                k,
                n,
                x: x.as_ptr(),
                x_stride: xs,
                g: g.as_ptr(),
                g_stride: gs,
                out: out.as_mut_ptr(),
                out_stride: n,
                accumulate,
            };
            // SAFETY: the vectors have these sizes.
            unsafe { Microkernels::new(isa).outer(&o) };
            assert_eq!(out[k * n], GUARD);
            for a in 0..k {
                for b in 0..n {
                    let mut sum = if accumulate { f64::from(start[a * n + b]) } else { 0.0 };
                    let mut size = sum.abs();
                    for i in 0..rows {
                        let term = f64::from(x[i * xs + a]) * f64::from(g[i * gs + b]);
                        sum += term;
                        size += term.abs();
                    }
                    close(out[a * n + b], sum, size, &format!("{isa:?} {rows}: {k}x{n} at {a},{b}"));
                }
            }
        }
    }
}

/// A row's bits do not depend on the rows around it, so tiles may be cut anywhere.
#[test]
fn rows_do_not_depend_on_their_place() {
    let mut random = Random(3);
    for (k, n) in [(192, 80), (80, 40), (40, 1), (250, 200), (7, 3), (300, 17), (120, 1024)] {
        let rows = 37;
        let (x, w) = (random.floats(rows * k), random.floats(k * n));
        for isa in levels() {
            let kernels = Microkernels::new(isa);
            let run = |from: usize, to: usize, out: &mut [f32]| {
                let m = MatMul {
                    rows: to - from,
                    k,
                    n,
                    x: x[from * k..].as_ptr(),
                    x_stride: k,
                    w: w.as_ptr(),
                    w_stride: n,
                    out: out[from * n..].as_mut_ptr(),
                    out_stride: n,
                    accumulate: false,
                };
                // SAFETY: the vectors have these sizes.
                unsafe { kernels.matmul(&m) };
            };
            let mut whole = vec![0.0f32; rows * n];
            run(0, rows, &mut whole);
            let mut parts = vec![0.0f32; rows * n];
            let mut from = 0;
            while from < rows {
                let to = (from + 1 + random.below(9)).min(rows);
                run(from, to, &mut parts);
                from = to;
            }
            assert!(whole.iter().zip(&parts).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa:?} {k}x{n}");
        }
    }
}

/// Offsets of some samples' entries, some without any.
fn samples(random: &mut Random) -> Vec<u32> {
    let mut offsets = vec![random.below(3) as u32];
    let longest = 1 + random.below(12);
    for _ in 0..1 + random.below(40) {
        let entries = [1, 0, 2, 3, 4, 5, 6, 7, 8, 13, 31, 100][random.below(longest)];
        offsets.push(offsets[offsets.len() - 1] + entries);
    }
    offsets
}

/// The rest after the first run makes the fewest runs that can be.
#[test]
fn the_first_run_may_be_lower_than_the_others() {
    for (most, others) in [(3, 4), (5, 5), (2, 8), (8, 8), (5, 6)] {
        for rows in 1..100 {
            let first = absorbed::first_run(rows, most, others);
            assert!((1..=most).contains(&first) && first <= rows);
            let fewest = (0..).find(|&more| rows <= most + more * others).expect("some number is enough");
            assert_eq!(runs(rows - first, others).count(), fewest, "{rows} rows, {most} and {others}");
            assert_eq!(runs(rows - first, others).map(|(_, height)| height).sum::<usize>(), rows - first);
        }
    }
}

/// Sizes of an absorbed weight; both are at least 1.
fn weight_sizes(random: &mut Random) -> (usize, usize) {
    (size(random).max(1), size(random).max(1))
}

#[test]
fn absorbed_products_are_products_with_the_samples_weights() {
    let mut random = Random(6);
    for round in 0..120 {
        let (offsets, (e, n)) = (samples(&mut random), weight_sizes(&mut random));
        let transposed = round % 2 == 1;
        let (k, columns) = if transposed { (n, e) } else { (e, n) };
        let entries = offsets[offsets.len() - 1] as usize;
        let (xs, os, qs) = (k + random.below(2) * 7, columns + random.below(2) * 3, e + random.below(2) * 5);
        let (x, q) = (random.floats(entries * xs), random.floats(offsets.len() * qs));
        let w = random.floats(2 * e * n);
        for isa in levels() {
            let mut out = vec![GUARD; entries * os];
            let mut scratch = vec![0.0; panel_floats(e, n)];
            let product = AbsorbedProduct {
                offsets: &offsets,
                x: x.as_ptr(),
                x_stride: xs,
                q: q.as_ptr(),
                q_stride: qs,
                w: w.as_ptr(),
                transposed,
                e,
                n,
                out: out.as_mut_ptr(),
                out_stride: os,
            };
            // SAFETY: the vectors have these sizes.
            unsafe { Microkernels::new(isa).absorbed_matmul(&product, scratch.as_mut_ptr()) };
            assert!(out[..offsets[0] as usize * os].iter().all(|&v| v == GUARD));
            for (sample, range) in offsets.windows(2).enumerate() {
                for i in range[0] as usize..range[1] as usize {
                    assert!(out[i * os + columns..(i + 1) * os].iter().all(|&v| v == GUARD), "{isa:?} {e}x{n}");
                    for j in 0..columns {
                        let (mut sum, mut size) = (0.0, 0.0);
                        for p in 0..k {
                            let (row, column) = if transposed { (j, p) } else { (p, j) };
                            let at = |half: usize| match transposed {
                                true => w[column * 2 * e + half * e + row],
                                false => w[(half * e + row) * n + column],
                            };
                            let absorbed = f64::from(at(0)) + f64::from(q[sample * qs + row]) * f64::from(at(1));
                            sum += f64::from(x[i * xs + p]) * absorbed;
                            size += f64::from(x[i * xs + p]).abs() * (f64::from(at(0)).abs() + f64::from(at(1)).abs());
                        }
                        close(out[i * os + j], sum, size, &format!("{isa:?} {e}x{n} {transposed} at {i},{j}"));
                    }
                }
            }
        }
    }
}

#[test]
fn absorbed_gradients_are_sums_over_samples() {
    let mut random = Random(7);
    for round in 0..120 {
        let (offsets, (e, n)) = (samples(&mut random), weight_sizes(&mut random));
        let entries = offsets[offsets.len() - 1] as usize;
        let (xs, gs, qs) = (e + random.below(2) * 7, n + random.below(2) * 3, e + random.below(2) * 5);
        let (x, g, q) = (random.floats(entries * xs), random.floats(entries * gs), random.floats(offsets.len() * qs));
        let (w, start) = (random.floats(e * n), random.floats(2 * e * n));
        let (mut sums, mut sizes) = (vec![0.0; 2 * e * n], vec![0.0; 2 * e * n]);
        let (mut vectors, mut vector_sizes) = (vec![0.0; offsets.len() * e], vec![0.0; offsets.len() * e]);
        for (i, first) in start.iter().enumerate() {
            (sums[i], sizes[i]) = (f64::from(*first), f64::from(first.abs()));
        }
        for (sample, range) in offsets.windows(2).enumerate() {
            for i in range[0] as usize..range[1] as usize {
                for r in 0..e {
                    for c in 0..n {
                        let m = f64::from(x[i * xs + r]) * f64::from(g[i * gs + c]);
                        let (factor, weight) = (f64::from(q[sample * qs + r]), f64::from(w[r * n + c]));
                        for (at, term) in [(r * n + c, m), ((e + r) * n + c, factor * m)] {
                            sums[at] += term;
                            sizes[at] += term.abs();
                        }
                        vectors[sample * e + r] += m * weight;
                        vector_sizes[sample * e + r] += (m * weight).abs();
                    }
                }
            }
        }
        for isa in levels() {
            let mut out = start.clone();
            let mut towards_q = vec![GUARD; offsets.len() * qs];
            let gradient = AbsorbedGradient {
                offsets: &offsets,
                x: x.as_ptr(),
                x_stride: xs,
                g: g.as_ptr(),
                g_stride: gs,
                e,
                n,
                weight: (round % 3 != 1).then_some(WeightGradientSums {
                    q: q.as_ptr(),
                    q_stride: qs,
                    out: out.as_mut_ptr(),
                }),
                sample: (round % 3 != 2).then_some(VectorGradient {
                    w: w.as_ptr(),
                    out: towards_q.as_mut_ptr(),
                    out_stride: qs,
                }),
            };
            // SAFETY: the vectors have these sizes.
            unsafe { Microkernels::new(isa).absorbed_outer(&gradient) };
            for i in 0..2 * e * n {
                let (want, size) = if round % 3 == 1 { (f64::from(start[i]), 0.0) } else { (sums[i], sizes[i]) };
                close(out[i], want, size, &format!("{isa:?} {e}x{n} weight at {i}"));
            }
            for sample in 0..offsets.len() {
                for r in 0..qs {
                    let got = towards_q[sample * qs + r];
                    if r >= e || sample + 1 == offsets.len() || round % 3 == 2 {
                        assert_eq!(got, GUARD, "{isa:?} {e}x{n} sample {sample} at {r}");
                    } else {
                        let at = sample * e + r;
                        close(got, vectors[at], vector_sizes[at], &format!("{isa:?} {e}x{n} sample {sample} at {r}"));
                    }
                }
            }
        }
    }
}

#[test]
fn transpose_swaps() {
    let mut random = Random(4);
    for _ in 0..100 {
        let (k, n) = (size(&mut random), size(&mut random));
        let stride = n + random.below(3);
        let w = random.floats(k * stride);
        let mut out = vec![0.0f32; n * k];
        // SAFETY: the vectors have these sizes.
        unsafe { transpose(w.as_ptr(), stride, out.as_mut_ptr(), k, n) };
        for r in 0..k {
            for c in 0..n {
                assert_eq!(out[c * k + r].to_bits(), w[r * stride + c].to_bits());
            }
        }
    }
}

#[test]
fn moments_and_joins() {
    let mut random = Random(5);
    for _ in 0..200 {
        let (rows, width) = (1 + random.below(140), 1 + size(&mut random));
        let stride = width + random.below(3);
        // A mean far from 0: the one-pass formula would fail here.
        let x: Vec<f32> = random.floats(rows * stride).into_iter().map(|v| v + 100.0).collect();
        for isa in levels() {
            let kernels = Microkernels::new(isa);
            let mut partial = vec![GUARD; 2 * width + 2];
            // SAFETY: the vectors have these sizes.
            unsafe {
                kernels.statistic(Statistic::Moments, x.as_ptr(), stride, rows, width, partial.as_mut_ptr());
            }
            assert_eq!(partial[2 * width..], [rows as f32, GUARD]);
            let (mean, m2) = partial.split_at(width);
            for c in 0..width {
                let column: Vec<f64> = (0..rows).map(|i| f64::from(x[i * stride + c])).collect();
                let center = column.iter().sum::<f64>() / rows as f64;
                let squares: f64 = column.iter().map(|v| (v - center).powi(2)).sum();
                assert!((f64::from(mean[c]) - center).abs() < 1e-4, "{} for {center}", mean[c]);
                assert!((f64::from(m2[c]) - squares).abs() < 1e-4 * squares + 1e-4, "{} for {squares}", m2[c]);
            }
            let (a, b) = (&x[..width.min(x.len())], random.floats(width));
            let (mut sum, mut max) = (a.to_vec(), a.to_vec());
            // SAFETY: the vectors have `width` floats.
            unsafe {
                kernels.add(sum.as_mut_ptr(), b.as_ptr(), a.len());
                kernels.max(max.as_mut_ptr(), b.as_ptr(), a.len());
            }
            assert!((0..a.len()).all(|i| sum[i] == a[i] + b[i] && max[i] == a[i].max(b[i])));
        }
    }
}
