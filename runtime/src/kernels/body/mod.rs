//! The loops of every product and reduction, generic over the level's vectors. All are
//! `#[inline(always)]`: they exist only inside the functions of `level.rs`, which enable the
//! features.

mod absorbed;

pub(super) use absorbed::{
    AbsorbedOuterTile, AbsorbedPanel, AbsorbedVectorSums, AbsorbedWeightSums, absorbed_column, absorbed_outer_tile,
    absorbed_tile,
};

use super::simd::Simd;
use super::{Occurrence, RowSegments, StridedRows};

/// What becomes of a register tile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreMode {
    /// `out = sum`
    Store,
    /// The sum starts from `out`: one chain of additions over calls that split it.
    Continue,
    /// `out = out + sum`
    Add,
}

/// One register tile: `out[r][c] = sum_p x[r * x_row + p * x_step] * w[p * w_row + c]`, for `R`
/// rows and `C` vectors of columns, the last of which has `last` columns. The order of the sum is
/// that of `p`, whatever the tile.
#[derive(Clone, Copy)]
pub(super) struct RegisterTile {
    pub x: *const f32,
    pub x_row: usize,
    pub x_step: usize,
    pub w: *const f32,
    pub w_row: usize,
    pub out: *mut f32,
    pub out_row: usize,
    pub steps: usize,
    pub last: usize,
    pub mode: StoreMode,
}

/// Vector `c` of a row of `C` vectors, of which the last has the columns of `mask` unless `WHOLE`.
///
/// # Safety
///
/// The CPU has `S`'s features, and the row is valid.
#[inline(always)]
unsafe fn load_vector<S: Simd, const C: usize, const WHOLE: bool>(row: *const f32, c: usize, mask: S::Mask) -> S::V {
    // SAFETY: the caller vouches for the features and the row.
    unsafe {
        let p = row.add(c * S::LANES);
        if WHOLE || c + 1 < C { S::load(p) } else { S::load_first(p, mask) }
    }
}

/// The reverse of [`load_vector`].
///
/// # Safety
///
/// As for [`load_vector`].
#[inline(always)]
unsafe fn store_vector<S: Simd, const C: usize, const WHOLE: bool>(row: *mut f32, c: usize, mask: S::Mask, v: S::V) {
    // SAFETY: the caller vouches for the features and the row.
    unsafe {
        let p = row.add(c * S::LANES);
        if WHOLE || c + 1 < C { S::store(p, v) } else { S::store_first(p, mask, v) }
    }
}

/// `WHOLE` says that the last vector has all its columns.
///
/// # Safety
///
/// The CPU has `S`'s features, and all addresses above are valid.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const R: usize, const C: usize, const WHOLE: bool>(t: &RegisterTile) {
    // SAFETY: the caller vouches for the features and addresses; columns beyond `last` are neither
    // read nor written.
    unsafe {
        let mask = S::mask(t.last);
        let mut sums = [[S::splat(0.0); C]; R];
        if t.mode == StoreMode::Continue {
            for (r, row) in sums.iter_mut().enumerate() {
                for (c, sum) in row.iter_mut().enumerate() {
                    *sum = load_vector::<S, C, WHOLE>(t.out.add(r * t.out_row), c, mask);
                }
            }
        }
        let (mut x, mut w) = (t.x, t.w);
        for _ in 0..t.steps {
            // The line behind: where `x` is walked down its columns, it is too far from the last
            // one for the hardware to guess.
            #[cfg(target_arch = "x86_64")]
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(x.wrapping_add(16).cast());
            let mut b = [S::splat(0.0); C];
            for (c, b) in b.iter_mut().enumerate() {
                *b = load_vector::<S, C, WHOLE>(w, c, mask);
            }
            for (r, row) in sums.iter_mut().enumerate() {
                let a = S::splat(*x.add(r * t.x_row));
                for (sum, b) in row.iter_mut().zip(b) {
                    *sum = S::fma(a, b, *sum);
                }
            }
            x = x.wrapping_add(t.x_step);
            w = w.wrapping_add(t.w_row);
        }
        for (r, row) in sums.iter().enumerate() {
            let out = t.out.add(r * t.out_row);
            for (c, &sum) in row.iter().enumerate() {
                let sum = match t.mode {
                    StoreMode::Add => S::add(load_vector::<S, C, WHOLE>(out, c, mask), sum),
                    StoreMode::Store | StoreMode::Continue => sum,
                };
                store_vector::<S, C, WHOLE>(out, c, mask, sum);
            }
        }
    }
}

/// `out[i * out_row] (+)= sum_p x[i * x_row + p] * w[p]`: a product with one column. Each row's sum
/// runs by lanes, then over them, the same for every row.
///
/// # Safety
///
/// The CPU has `S`'s features, and all addresses are valid.
#[inline(always)]
pub(super) unsafe fn dot<S: Simd>(t: &RegisterTile, rows: usize) {
    // SAFETY: the caller vouches for the features and addresses; a row beyond the last is replaced
    // by the last one.
    unsafe {
        let whole = t.steps / S::LANES * S::LANES;
        let rest = t.steps - whole;
        let mask = S::mask(rest);
        let mut i = 0;
        while i < rows {
            let count = (rows - i).min(4);
            let x: [*const f32; 4] = std::array::from_fn(|r| t.x.wrapping_add((i + r.min(count - 1)) * t.x_row));
            let mut sums = [S::splat(0.0); 4];
            let mut p = 0;
            while p < whole {
                let b = S::load(t.w.add(p));
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = S::fma(S::load(x.add(p)), b, *sum);
                }
                p += S::LANES;
            }
            if rest > 0 {
                let b = S::load_first(t.w.add(p), mask);
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = S::fma(S::load_first(x.add(p), mask), b, *sum);
                }
            }
            let totals = S::sum4(sums);
            for (r, total) in totals.into_iter().enumerate().take(count) {
                let out = t.out.add((i + r) * t.out_row);
                *out = if t.mode == StoreMode::Store { total } else { *out + total };
            }
            i += count;
        }
    }
}

/// `out[i] = out[i] + x[i]`, or the greater of both.
///
/// # Safety
///
/// The CPU has `S`'s features, and all addresses are valid.
#[inline(always)]
pub(super) unsafe fn join<S: Simd>(out: *mut f32, x: *const f32, count: usize, greater: bool) {
    // SAFETY: the caller vouches for the features and addresses; the last vector is masked.
    unsafe {
        let mut i = 0;
        while i + S::LANES <= count {
            let (a, b) = (S::load(out.add(i)), S::load(x.add(i)));
            S::store(out.add(i), if greater { S::max(b, a) } else { S::add(a, b) });
            i += S::LANES;
        }
        if i < count {
            let mask = S::mask(count - i);
            let (a, b) = (S::load_first(out.add(i), mask), S::load_first(x.add(i), mask));
            S::store_first(out.add(i), mask, if greater { S::max(b, a) } else { S::add(a, b) });
        }
    }
}

/// Occurrences whose rows are prefetched before they are added.
const AHEAD: usize = 24;

/// Levels of the tree over leaf numbers, which have 16 bits.
const LEVELS: usize = 16;

/// See [`super::Microkernels::sum_rows`].
///
/// # Safety
///
/// The CPU has `S`'s features, and all addresses are valid.
#[inline(always)]
pub(super) unsafe fn sum_rows<S: Simd>(
    segments: RowSegments<'_>,
    range: (usize, usize),
    rows: &[Option<StridedRows>],
    width: usize,
    out: *mut f32,
) {
    let RowSegments { offsets, occurrences } = segments;
    let mut at = offsets[range.0] as usize;
    let end = offsets[range.1] as usize;
    // Finished subtrees of a row, from left to right, each with the highest bit in which its leaves
    // differ from those that follow: the level at which the tree joins them.
    // SAFETY: the caller vouches for the features.
    let mut finished = [(unsafe { S::splat(0.0) }, 0); LEVELS];
    for i in range.0..range.1 {
        let total = out.wrapping_add((i - range.0) * width);
        let terms = at..offsets[i + 1] as usize;
        #[cfg(target_arch = "x86_64")]
        for o in &occurrences[(terms.start + AHEAD).min(end)..(terms.end + AHEAD).min(end)] {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let Some(rows) = rows[o.feature as usize] else { continue };
            let row = rows.base.as_ptr().wrapping_add(o.element as usize * rows.stride);
            // SAFETY: a prefetch reads nothing that the program can see; any address is allowed.
            unsafe { _mm_prefetch::<{ _MM_HINT_T0 }>(row.cast_const().cast()) };
        }
        let terms = &occurrences[terms];
        let one_leaf = terms.first().map(|o| o.leaf) == terms.last().map(|o| o.leaf);
        let mut c = 0;
        while c < width {
            // SAFETY: the caller vouches for the features and addresses; columns beyond `width` are
            // neither read nor written.
            unsafe {
                let mask = S::mask((width - c).min(S::LANES));
                let load = |rows: StridedRows, o: &Occurrence| {
                    S::load_first(rows.base.as_ptr().add(o.element as usize * rows.stride + c), mask)
                };
                let mut sum = S::splat(0.0);
                let mut first = true;
                if one_leaf {
                    for o in terms {
                        let Some(rows) = rows[o.feature as usize] else { continue };
                        let term = load(rows, o);
                        sum = if first { term } else { S::add(sum, term) };
                        first = false;
                    }
                } else {
                    let (mut depth, mut leaf) = (0, 0);
                    for o in terms {
                        let Some(rows) = rows[o.feature as usize] else { continue };
                        let term = load(rows, o);
                        if first || o.leaf != leaf {
                            if !first {
                                let level = (o.leaf ^ leaf).ilog2();
                                while depth > 0 && finished[depth - 1].1 < level {
                                    depth -= 1;
                                    sum = S::add(finished[depth].0, sum);
                                }
                                finished[depth] = (sum, level);
                                depth += 1;
                            }
                            (sum, leaf, first) = (term, o.leaf, false);
                        } else {
                            sum = S::add(sum, term);
                        }
                    }
                    for (left, _) in finished[..depth].iter().rev() {
                        sum = S::add(*left, sum);
                    }
                }
                S::store_first(total.add(c), mask, sum);
            }
            c += S::LANES;
        }
        at += terms.len();
    }
}
