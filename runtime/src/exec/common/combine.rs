//! How two values of a reduction over samples become one: the same on threads and on ranks.

use din_program::schedule::Combine;

/// Joins the total of later samples to that of earlier ones, as the tree over chunks does.
pub fn combine(combine: Combine, total: &mut [f32], more: &[f32]) {
    assert_eq!(total.len(), more.len(), "totals of one reduction have one width");
    let pairs = total.iter_mut().zip(more);
    match combine {
        Combine::Sum => pairs.for_each(|(a, b)| *a += b),
        Combine::Max => pairs.for_each(|(a, b)| *a = if *b > *a { *b } else { *a }),
        Combine::Moments => {
            let width = (total.len() - 1) / 2;
            // SAFETY: both have `2 * width + 1` floats.
            unsafe { join_moments(total.as_mut_ptr(), more.as_ptr(), more[2 * width], width) }
        }
    }
}

/// Joins `[mean, M2]` of `count` more elements to `[mean, M2, count]`. Chan, Golub & LeVeque 1983,
/// Eq. 2.1.
///
/// # Safety
///
/// `total` is valid for `2 * width + 1` floats, `more` for `2 * width`.
pub unsafe fn join_moments(total: *mut f32, more: *const f32, count: f32, width: usize) {
    // SAFETY: the caller vouches for the sizes.
    unsafe {
        let before = *total.add(2 * width);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_join() {
        let mut total = [1.0, -2.0];
        combine(Combine::Sum, &mut total, &[0.5, 2.5]);
        assert_eq!(total, [1.5, 0.5]);
        combine(Combine::Max, &mut total, &[1.0, 3.0]);
        assert_eq!(total, [1.5, 3.0]);
        // Mean, M2 and count of 1, 3 and of 5, 7, 9.
        let mut moments = [2.0, 2.0, 2.0];
        combine(Combine::Moments, &mut moments, &[7.0, 8.0, 3.0]);
        assert_eq!((moments[0], moments[2]), (5.0, 5.0));
        assert!((moments[1] - 40.0).abs() < 1e-4, "{moments:?}");
        combine(Combine::Moments, &mut moments, &[9.0, 9.0, 0.0]);
        assert_eq!(moments[0], 5.0);
    }
}
