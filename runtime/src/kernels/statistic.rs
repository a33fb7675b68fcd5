//! Statistics: the partial of a tile's rows, at each ISA level; how partials are joined and become
//! results; and the partial that results were made from, for what is joined between ranks by
//! results.

use super::simd::Simd;
use din_program::schedule::Statistic;

/// The partial of `rows > 0` rows of `width` components.
///
/// # Safety
///
/// The CPU has `S`'s features, `x` is valid for the rows, and `partial` for the floats of one.
#[inline(always)]
pub(super) unsafe fn partial_of_rows<S: Simd>(
    statistic: Statistic,
    x: *const f32,
    x_row: usize,
    rows: usize,
    width: usize,
    partial: *mut f32,
) {
    // SAFETY: the caller vouches for the features and addresses.
    unsafe {
        match statistic {
            Statistic::Moments => moments::<S>(x, x_row, rows, width, partial),
        }
    }
}

/// Joins the partial of later elements to that of earlier ones.
///
/// # Safety
///
/// Both are valid for the floats of a partial of `width` components.
pub unsafe fn join_partials(statistic: Statistic, total: *mut f32, more: *const f32, width: usize) {
    // SAFETY: the caller vouches for the addresses.
    unsafe {
        match statistic {
            Statistic::Moments => join_moments(total, more, width),
        }
    }
}

/// Stores the results of the partial of all elements.
///
/// # Safety
///
/// `total` is valid for the floats of a partial of `width` components, `into` for the results; they
/// are apart.
pub unsafe fn store_results(statistic: Statistic, total: *const f32, into: *mut f32, width: usize) {
    // SAFETY: the caller vouches for the addresses.
    unsafe {
        match statistic {
            Statistic::Moments => store_moments(total, into, width),
        }
    }
}

/// Appends the partial of `count` elements that has these results.
pub fn partial_of_results(statistic: Statistic, results: &[f32], count: f32, partial: &mut Vec<f32>) {
    match statistic {
        Statistic::Moments => {
            let (means, variances) = results.split_at(results.len() / 2);
            partial.extend_from_slice(means);
            partial.extend(variances.iter().map(|variance| variance * count));
            partial.push(count);
        }
    }
}

/// `[mean, M2, count]` of `rows > 0` rows, M2 being the sum of squared differences from the mean.
///
/// # Safety
///
/// The CPU has `S`'s features, and all addresses are valid.
#[inline(always)]
unsafe fn moments<S: Simd>(x: *const f32, x_row: usize, rows: usize, width: usize, partial: *mut f32) {
    let (mean, m2) = (partial, partial.wrapping_add(width));
    // SAFETY: the caller vouches for the features and addresses; the last vector is masked.
    unsafe {
        let scale = S::splat(1.0 / rows as f32);
        let mut c = 0;
        while c < width {
            let mask = S::mask((width - c).min(S::LANES));
            // Four chains hide the latency of the additions.
            let mut sums = [S::splat(0.0); 4];
            for i in 0..rows {
                sums[i % 4] = S::add(sums[i % 4], S::load_first(x.add(i * x_row + c), mask));
            }
            let center = S::mul(S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3])), scale);
            let mut squares = [S::splat(0.0); 4];
            for i in 0..rows {
                let d = S::sub(S::load_first(x.add(i * x_row + c), mask), center);
                squares[i % 4] = S::fma(d, d, squares[i % 4]);
            }
            let total = S::add(S::add(squares[0], squares[1]), S::add(squares[2], squares[3]));
            S::store_first(mean.add(c), mask, center);
            S::store_first(m2.add(c), mask, total);
            c += S::LANES;
        }
        *partial.add(2 * width) = rows as f32;
    }
}

/// Chan, Golub & LeVeque 1983, Eq. 2.1.
///
/// # Safety
///
/// Both are valid for `2 * width + 1` floats.
unsafe fn join_moments(total: *mut f32, more: *const f32, width: usize) {
    // SAFETY: the caller vouches for the sizes.
    unsafe {
        let (before, count) = (*total.add(2 * width), *more.add(2 * width));
        if count == 0.0 {
            return;
        }
        let all = before + count;
        let (share, weight) = (count / all, before * (count / all));
        for i in 0..width {
            let delta = *more.add(i) - *total.add(i);
            *total.add(i) += delta * share;
            *total.add(width + i) += *more.add(width + i) + delta * delta * weight;
        }
        *total.add(2 * width) = all;
    }
}

/// Means and biased variances; 0 where there is no element.
///
/// # Safety
///
/// `total` is valid for `2 * width + 1` floats, `into` for `2 * width`.
unsafe fn store_moments(total: *const f32, into: *mut f32, width: usize) {
    // SAFETY: the caller vouches for the sizes.
    unsafe {
        let count = *total.add(2 * width);
        for i in 0..width {
            *into.add(i) = *total.add(i);
            *into.add(width + i) = if count > 0.0 { *total.add(width + i) / count } else { 0.0 };
        }
    }
}
