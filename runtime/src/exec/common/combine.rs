//! How two values of a reduction over samples become one: the same on threads and on ranks.

use crate::kernels::join_partials;
use din_program::schedule::{Combine, Statistic};

/// Joins the total of later samples to that of earlier ones, as the tree over chunks does.
pub fn combine(combine: Combine, total: &mut [f32], more: &[f32]) {
    assert_eq!(total.len(), more.len(), "totals of one reduction have one width");
    let pairs = total.iter_mut().zip(more);
    match combine {
        Combine::Sum => pairs.for_each(|(a, b)| *a += b),
        Combine::Max => pairs.for_each(|(a, b)| *a = if *b > *a { *b } else { *a }),
        Combine::Statistic(statistic) => {
            let width = components(statistic, total.len());
            // SAFETY: both have the floats of a partial of `width` components.
            unsafe { join_partials(statistic, total.as_mut_ptr(), more.as_ptr(), width) }
        }
    }
}

/// Components of a partial of so many floats.
pub fn components(statistic: Statistic, floats: usize) -> usize {
    let width = statistic.components(u32::try_from(floats).expect("validated: a buffer has less than 2^32 columns"));
    width.expect("validated: the partial has the width that its statistic needs") as usize
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
        combine(Combine::Statistic(Statistic::Moments), &mut moments, &[7.0, 8.0, 3.0]);
        assert_eq!((moments[0], moments[2]), (5.0, 5.0));
        assert!((moments[1] - 40.0).abs() < 1e-4, "{moments:?}");
        combine(Combine::Statistic(Statistic::Moments), &mut moments, &[9.0, 9.0, 0.0]);
        assert_eq!(moments[0], 5.0);
    }
}
