//! Statistics: what is computed of each component of a value over all elements of an axis, by a
//! kernel that sees a tile at a time. Each chunk has a partial; partials are joined, and the last
//! one gives the results.
//!
//! Here is what every part of Din must know of a statistic. Its meaning in f64, derivative and
//! error bound are in `statistic.rs` of the compiler; its code for the CPU in
//! `kernels/statistic.rs` of the runtime; for a GPU in `codegen/cuda/statistic.rs` and
//! `statistic.cuh` of the compiler.

use serde::{Deserialize, Serialize};

/// Declares the statistics, with the list of all.
macro_rules! statistics {
    ($($(#[$doc:meta])* $variant:ident),* $(,)?) => {
        /// See the module.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Statistic { $($(#[$doc])* $variant),* }

        impl Statistic {
            /// All of them, in order.
            pub const ALL: &[Statistic] = &[$(Statistic::$variant),*];
        }
    };
}

statistics! {
    /// Mean and biased variance. A partial is `[mean, M2, count]`, `M2` being the sum of squared
    /// differences from the mean; partials are joined by Chan's formula.
    Moments,
}

/// The row of a statistic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatisticDescription {
    /// Its function in the language, its operation in graphs, and its calls in profiles.
    pub name: &'static str,
    /// Floats that a partial has of each component: those of all components of one kind, then the
    /// next kind.
    pub floats: u32,
    /// Floats that it has once, behind the others.
    pub common_floats: u32,
    /// Results by component: the first of all components, then the second.
    pub results: u32,
    /// What each float of a partial is before anything is joined to it.
    pub start: f32,
    /// Floating-point operations per component and element.
    pub flops: f64,
}

impl Statistic {
    /// Its row.
    pub const fn description(self) -> StatisticDescription {
        match self {
            // A sum for the mean; difference, square and sum for the variance, and its share of
            // the division.
            Statistic::Moments => StatisticDescription {
                name: "moments",
                floats: 2,
                common_floats: 1,
                results: 2,
                start: 0.0,
                flops: 5.0,
            },
        }
    }

    /// Floats of a partial of `width` components.
    pub const fn partial_width(self, width: u32) -> u32 {
        let row = self.description();
        row.floats.saturating_mul(width).saturating_add(row.common_floats)
    }

    /// Components of which a partial has so many floats; `None` where there is no such number, or
    /// it is 0.
    pub fn components(self, partial_width: u32) -> Option<u32> {
        let row = self.description();
        let of_components = partial_width.checked_sub(row.common_floats)?;
        (of_components > 0 && of_components.is_multiple_of(row.floats)).then(|| of_components / row.floats)
    }

    /// Results of `width` components.
    pub const fn result_width(self, width: u32) -> u32 {
        self.description().results.saturating_mul(width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_of_partials_give_the_components() {
        for &statistic in Statistic::ALL {
            let common = statistic.description().common_floats;
            assert_eq!(statistic.components(common), None, "no components");
            for width in 1..40 {
                let partial = statistic.partial_width(width);
                assert_eq!(statistic.components(partial), Some(width));
                if statistic.description().floats > 1 {
                    assert_eq!(statistic.components(partial + 1), None);
                }
            }
        }
        assert_eq!((Statistic::Moments.partial_width(80), Statistic::Moments.result_width(80)), (161, 160));
    }
}
