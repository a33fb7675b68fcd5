//! The loops for weights that absorb a vector of each sample: `W1 + diag(q) W2`.

use super::{RegisterTile, load_vector, store_vector};
use crate::kernels::simd::Simd;

/// Columns of `W1 + diag(q) W2`, or of its transpose, for one sample.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct AbsorbedPanel {
    /// W1 at the first column; rows are `w_row` floats apart.
    pub w: *const f32,
    pub w_row: usize,
    /// Floats from a number of W1 to that of W2.
    pub half: usize,
    /// One factor per row; of a transpose, one per column, from the first column on.
    pub q: *const f32,
}

/// The register tile `t`, whose weight (a transpose if `TRANSPOSED`) is computed from the panel on
/// the way. If `keep` is an address, the weight is written there too, for the tiles of further
/// entries.
///
/// # Safety
///
/// The CPU has `S`'s features, and all addresses are valid.
#[inline(always)]
pub(in crate::kernels) unsafe fn absorbed_tile<
    S: Simd,
    const R: usize,
    const C: usize,
    const WHOLE: bool,
    const TRANSPOSED: bool,
>(
    t: &RegisterTile,
    panel: &AbsorbedPanel,
    keep: Option<*mut f32>,
) {
    // SAFETY: the caller vouches for the features and addresses; columns beyond `last` are neither
    // read nor written.
    unsafe {
        let mask = S::mask(t.last);
        let load = |row: *const f32, c: usize| load_vector::<S, C, WHOLE>(row, c, mask);
        let store = |row: *mut f32, c: usize, v: S::V| store_vector::<S, C, WHOLE>(row, c, mask, v);
        let mut sums = [[S::splat(0.0); C]; R];
        let mut x = t.x;
        let mut w = panel.w;
        for p in 0..t.steps {
            let mut b = [S::splat(0.0); C];
            if TRANSPOSED {
                for (c, b) in b.iter_mut().enumerate() {
                    *b = S::fma(load(panel.q, c), load(w.add(panel.half), c), load(w, c));
                }
            } else {
                let factor = S::splat(*panel.q.add(p));
                for (c, b) in b.iter_mut().enumerate() {
                    *b = S::fma(factor, load(w.add(panel.half), c), load(w, c));
                }
            }
            if let Some(out) = keep {
                for (c, b) in b.iter().enumerate() {
                    store(out.add(p * t.w_row), c, *b);
                }
            }
            for (r, row) in sums.iter_mut().enumerate() {
                let a = S::splat(*x.add(r * t.x_row));
                for (sum, b) in row.iter_mut().zip(b) {
                    *sum = S::fma(a, b, *sum);
                }
            }
            x = x.wrapping_add(t.x_step);
            w = w.wrapping_add(panel.w_row);
        }
        for (r, row) in sums.iter().enumerate() {
            for (c, sum) in row.iter().enumerate() {
                store(t.out.add(r * t.out_row), c, *sum);
            }
        }
    }
}

/// The panel of a weight with one column, `steps` floats.
///
/// # Safety
///
/// All addresses are valid.
#[inline(always)]
pub(in crate::kernels) unsafe fn absorbed_column<S: Simd>(
    panel: &AbsorbedPanel,
    transposed: bool,
    steps: usize,
    out: *mut f32,
) {
    // SAFETY: the caller vouches for the features and addresses; the mask selects one float.
    unsafe {
        let mask = S::mask(1);
        for p in 0..steps {
            let w = panel.w.add(p * panel.w_row);
            let factor = S::splat(*if transposed { panel.q } else { panel.q.add(p) });
            let sum = S::fma(factor, S::load_first(w.add(panel.half), mask), S::load_first(w, mask));
            S::store_first(out.add(p), mask, sum);
        }
    }
}

/// A tile of the gradients of an absorbed weight, for some samples. With `m = sum_i x_i^T g_i` over
/// the entries of a sample, W1's gradient is the sum of `m` over samples, W2's that of `diag(q) m`,
/// and that of `q` the sum of `m * W2` by row.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct AbsorbedOuterTile<'a> {
    /// Where each sample's entries begin, and where the last one's end.
    pub offsets: &'a [u32],
    /// Entry 0 of the batch at the tile's first row.
    pub x: *const f32,
    pub x_row: usize,
    /// Entry 0 of the batch at the tile's first column.
    pub g: *const f32,
    pub g_row: usize,
    /// Columns of the last vector.
    pub last: usize,
    /// Floats of a row of W1 and W2, and of the sums of their gradients.
    pub n: usize,
    pub weight: Option<AbsorbedWeightSums>,
    pub sample: Option<AbsorbedVectorSums>,
}

/// The sums of the weight's gradient.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct AbsorbedWeightSums {
    /// The first sample's factor for the tile's first row.
    pub q: *const f32,
    pub q_row: usize,
    /// Those of W1 and of W2 at the tile's first row and column.
    pub first: *mut f32,
    pub second: *mut f32,
}

/// The sums of the gradient of `q`.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct AbsorbedVectorSums {
    /// W2 at the tile's first row and column.
    pub w: *const f32,
    /// One vector per sample and row of the tile: per lane, the sum over earlier columns.
    pub dots: *mut f32,
    /// Whether the tile has the first column, and the last one.
    pub begin: bool,
    pub end: bool,
    /// The first sample's gradient at the tile's first row.
    pub out: *mut f32,
    pub out_row: usize,
}

/// Adds the tile of `R` rows and `C` vectors of columns. `WHOLE` says that the last one has all its
/// columns; `KEPT`, that the sums of the weight's gradient, if there are any, stay in registers
/// from sample to sample.
///
/// # Safety
///
/// The CPU has `S`'s features, and all addresses are valid.
#[inline(always)]
pub(in crate::kernels) unsafe fn absorbed_outer_tile<
    S: Simd,
    const R: usize,
    const C: usize,
    const WHOLE: bool,
    const KEPT: bool,
>(
    t: &AbsorbedOuterTile<'_>,
) {
    // SAFETY: the caller vouches for the features and addresses; columns beyond `last` are neither
    // read nor written.
    unsafe {
        let mask = S::mask(t.last);
        let load = |row: *const f32, c: usize| load_vector::<S, C, WHOLE>(row, c, mask);
        let store = |row: *mut f32, c: usize, v: S::V| store_vector::<S, C, WHOLE>(row, c, mask, v);
        let mut kept = [[[S::splat(0.0); C]; R]; 2];
        if let (true, Some(weight)) = (KEPT, t.weight) {
            for (kept, sums) in kept.iter_mut().zip([weight.first, weight.second]) {
                for (r, row) in kept.iter_mut().enumerate() {
                    for (c, sum) in row.iter_mut().enumerate() {
                        *sum = load(sums.add(r * t.n), c);
                    }
                }
            }
        }
        for (sample, entries) in t.offsets.windows(2).enumerate() {
            let count = (entries[1] - entries[0]) as usize;
            if count == 0 {
                if let Some(vector) = t.sample {
                    std::slice::from_raw_parts_mut(vector.out.add(sample * vector.out_row), R).fill(0.0);
                }
                continue;
            }
            let mut sums = [[S::splat(0.0); C]; R];
            let mut x = t.x.add(entries[0] as usize * t.x_row);
            let mut g = t.g.add(entries[0] as usize * t.g_row);
            for _ in 0..count {
                let mut b = [S::splat(0.0); C];
                for (c, b) in b.iter_mut().enumerate() {
                    *b = load(g, c);
                }
                for (r, row) in sums.iter_mut().enumerate() {
                    let a = S::splat(*x.add(r));
                    for (sum, b) in row.iter_mut().zip(b) {
                        *sum = S::fma(a, b, *sum);
                    }
                }
                x = x.wrapping_add(t.x_row);
                g = g.wrapping_add(t.g_row);
            }
            if let Some(weight) = t.weight {
                let q = weight.q.add(sample * weight.q_row);
                for (r, row) in sums.iter().enumerate() {
                    let factor = S::splat(*q.add(r));
                    let (first, second) = (weight.first.add(r * t.n), weight.second.add(r * t.n));
                    for (c, sum) in row.iter().enumerate() {
                        if KEPT {
                            kept[0][r][c] = S::add(kept[0][r][c], *sum);
                            kept[1][r][c] = S::fma(factor, *sum, kept[1][r][c]);
                        } else {
                            store(first, c, S::add(load(first, c), *sum));
                            store(second, c, S::fma(factor, *sum, load(second, c)));
                        }
                    }
                }
            }
            if let Some(vector) = t.sample {
                const { assert!(R <= 8) };
                let dots = vector.dots.add(sample * R * S::LANES);
                let mut totals = [[S::splat(0.0); 4]; 2];
                for (r, row) in sums.iter().enumerate() {
                    let mut dot = if vector.begin { S::splat(0.0) } else { S::load(dots.add(r * S::LANES)) };
                    for (c, sum) in row.iter().enumerate() {
                        dot = S::fma(*sum, load(vector.w.add(r * t.n), c), dot);
                    }
                    if !vector.end {
                        S::store(dots.add(r * S::LANES), dot);
                    }
                    totals[r / 4][r % 4] = dot;
                }
                if vector.end {
                    let out = vector.out.add(sample * vector.out_row);
                    for (four, totals) in totals.into_iter().enumerate().take(R.div_ceil(4)) {
                        for (r, total) in S::sum4(totals).into_iter().enumerate().take(R - 4 * four) {
                            *out.add(4 * four + r) = total;
                        }
                    }
                }
            }
        }
        if let (true, Some(weight)) = (KEPT, t.weight) {
            for (kept, sums) in kept.iter().zip([weight.first, weight.second]) {
                for (r, row) in kept.iter().enumerate() {
                    for (c, sum) in row.iter().enumerate() {
                        store(sums.add(r * t.n), c, *sum);
                    }
                }
            }
        }
    }
}
