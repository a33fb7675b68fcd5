//! Register tiles at AVX-512 for products whose last vector would be half full, such as those with
//! 40 columns. Two rows share a vector there: the lower half has the last columns of the first row,
//! the upper half those of the second. Masked tiles would spend an instruction per row on half a
//! vector.
//!
//! Each value is summed in the order of every other tile, so the bits are the same.

use super::body::{RegisterTile, StoreMode};
use super::level::{TileFn, TileSet};
use std::arch::x86_64::*;

const LANES: usize = 16;

/// Lanes of a shared vector that are the second row's.
const SECOND: __mmask16 = 0xff00;

/// By vectors across, less 1, then by rows, less 1. There are none with one vector across: masked
/// tiles take the same time there.
pub(super) static TILES: &[TileSet] = &[
    &[],
    &[
        tile::<1, 1, 1> as TileFn,
        tile::<2, 1, 1>,
        tile::<3, 2, 1>,
        tile::<4, 2, 1>,
        tile::<5, 3, 1>,
        tile::<6, 3, 1>,
        tile::<7, 4, 1>,
        tile::<8, 4, 1>,
    ],
    &[
        tile::<1, 1, 2> as TileFn,
        tile::<2, 1, 2>,
        tile::<3, 2, 2>,
        tile::<4, 2, 2>,
        tile::<5, 3, 2>,
        tile::<6, 3, 2>,
        tile::<7, 4, 2>,
        tile::<8, 4, 2>,
    ],
    &[tile::<1, 1, 3> as TileFn, tile::<2, 1, 3>, tile::<3, 2, 3>, tile::<4, 2, 3>, tile::<5, 3, 3>, tile::<6, 3, 3>],
    &[tile::<1, 1, 4> as TileFn, tile::<2, 1, 4>, tile::<3, 2, 4>, tile::<4, 2, 4>, tile::<5, 3, 4>],
];

/// A tile of `R` rows with `C` whole vectors of columns each; behind these, `P` vectors, each of
/// which two rows share.
///
/// # Safety
///
/// The CPU has the features, and all addresses of the tile are valid for its rows and columns.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
unsafe fn tile<const R: usize, const P: usize, const C: usize>(t: &RegisterTile) {
    const { assert!(P == R.div_ceil(2)) };
    let mut whole = [[_mm512_setzero_ps(); C]; R];
    let mut shared = [_mm512_setzero_ps(); P];
    // SAFETY: the caller vouches for the addresses: of `R` rows of `16 C + 8` columns, and `steps`
    // rows of `w`.
    unsafe {
        if t.mode == StoreMode::Continue {
            for (r, row) in whole.iter_mut().enumerate() {
                for (c, sum) in row.iter_mut().enumerate() {
                    *sum = _mm512_loadu_ps(t.out.add(r * t.out_row + c * LANES));
                }
            }
            for (pair, sum) in shared.iter_mut().enumerate() {
                *sum = halves::<R, C>(t, pair);
            }
        }
        let (mut x, mut w) = (t.x, t.w);
        for _ in 0..t.steps {
            // As in the other tiles: the next cache line.
            _mm_prefetch::<{ _MM_HINT_T0 }>(x.wrapping_add(16).cast());
            let mut b = [_mm512_setzero_ps(); C];
            for (c, b) in b.iter_mut().enumerate() {
                *b = _mm512_loadu_ps(w.add(c * LANES));
            }
            let last = _mm512_broadcast_f32x8(_mm256_loadu_ps(w.add(C * LANES)));
            let mut first = _mm512_setzero_ps();
            for (r, row) in whole.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*x.add(r * t.x_row));
                for (sum, b) in row.iter_mut().zip(b) {
                    *sum = _mm512_fmadd_ps(a, b, *sum);
                }
                if r % 2 == 0 {
                    first = a;
                }
                if r % 2 == 1 || r + 1 == R {
                    let both = _mm512_mask_blend_ps(SECOND, first, a);
                    shared[r / 2] = _mm512_fmadd_ps(both, last, shared[r / 2]);
                }
            }
            x = x.wrapping_add(t.x_step);
            w = w.wrapping_add(t.w_row);
        }
        for (r, row) in whole.iter().enumerate() {
            for (c, &sum) in row.iter().enumerate() {
                let out = t.out.add(r * t.out_row + c * LANES);
                let sum = match t.mode {
                    StoreMode::Add => _mm512_add_ps(_mm512_loadu_ps(out), sum),
                    StoreMode::Store | StoreMode::Continue => sum,
                };
                _mm512_storeu_ps(out, sum);
            }
        }
        for (pair, &sum) in shared.iter().enumerate() {
            let sum = match t.mode {
                StoreMode::Add => _mm512_add_ps(halves::<R, C>(t, pair), sum),
                StoreMode::Store | StoreMode::Continue => sum,
            };
            let out = t.out.add(2 * pair * t.out_row + C * LANES);
            _mm256_storeu_ps(out, _mm512_castps512_ps256(sum));
            if 2 * pair + 1 < R {
                _mm256_storeu_ps(out.add(t.out_row), _mm512_extractf32x8_ps::<1>(sum));
            }
        }
    }
}

/// The last columns of two rows of the result; of one, where there is no second.
///
/// # Safety
///
/// As for the tile.
#[inline]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
unsafe fn halves<const R: usize, const C: usize>(t: &RegisterTile, pair: usize) -> __m512 {
    // SAFETY: the caller vouches for the rows of the result.
    unsafe {
        let out = t.out.add(2 * pair * t.out_row + C * LANES);
        let first = _mm512_castps256_ps512(_mm256_loadu_ps(out));
        if 2 * pair + 1 < R { _mm512_insertf32x8::<1>(first, _mm256_loadu_ps(out.add(t.out_row))) } else { first }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::{MatMul, Microkernels, Outer};
    use din_program::Isa;

    fn wave(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    /// Sums run in one order, whatever the tile: columns have the bits that they have in the middle
    /// of a wider product.
    #[test]
    fn columns_have_the_bits_of_a_wider_product() {
        if crate::cpu::detect() < Isa::V4 {
            return;
        }
        let kernels = Microkernels::new(Isa::V4);
        for n in [8, 24, 40, 56, 72, 88, 200] {
            for rows in 1..20 {
                let (k, wide) = (37, n + 8);
                let (x, w) = (wave(rows * k, 0.37), wave(k * wide, 0.11));
                for accumulate in [false, true] {
                    let product = |columns: usize| {
                        let mut out = wave(rows * wide, 0.5);
                        let m = MatMul {
                            rows,
                            k,
                            n: columns,
                            x: x.as_ptr(),
                            x_stride: k,
                            w: w.as_ptr(),
                            w_stride: wide,
                            out: out.as_mut_ptr(),
                            out_stride: wide,
                            accumulate,
                        };
                        // SAFETY: the vectors have these sizes.
                        unsafe { kernels.matmul(&m) };
                        out
                    };
                    let (narrow, wider) = (product(n), product(wide));
                    for (found, expected) in narrow.chunks(wide).zip(wider.chunks(wide)) {
                        assert_eq!(found[..n], expected[..n], "{rows}x{k}x{n}, accumulate {accumulate}");
                    }
                    let before = wave(rows * wide, 0.5);
                    let beyond = |out: &[f32]| out.chunks(wide).flat_map(|row| row[n..].to_vec()).collect::<Vec<_>>();
                    assert_eq!(beyond(&narrow), beyond(&before), "{rows}x{k}x{n}: columns beyond the last");
                }
            }
        }
    }

    /// The same of gradients, which add to what is there.
    #[test]
    fn gradients_have_the_bits_of_a_wider_product() {
        if crate::cpu::detect() < Isa::V4 {
            return;
        }
        let kernels = Microkernels::new(Isa::V4);
        let (rows, n, wide) = (23, 40, 48);
        for k in 1..20 {
            let (x, g) = (wave(rows * k, 0.37), wave(rows * wide, 0.11));
            for accumulate in [false, true] {
                let gradient = |columns: usize| {
                    let mut out = vec![0.25; k * columns];
                    let o = Outer {
                        rows,
                        k,
                        n: columns,
                        x: x.as_ptr(),
                        x_stride: k,
                        g: g.as_ptr(),
                        g_stride: wide,
                        out: out.as_mut_ptr(),
                        out_stride: columns,
                        accumulate,
                    };
                    // SAFETY: the vectors have these sizes.
                    unsafe { kernels.outer(&o) };
                    out
                };
                for (found, expected) in gradient(n).chunks(n).zip(gradient(wide).chunks(wide)) {
                    assert_eq!(*found, expected[..n], "{k} rows, accumulate {accumulate}");
                }
            }
        }
    }
}
