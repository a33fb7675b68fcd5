//! What statistics mean: their values in f64, derivatives, and how errors pass through them. The
//! interpreter, its error bounds and autodiff read it here; [`din_program::schedule::Statistic`]
//! says what else there is to know of each.

use crate::autodiff::GradientBuilder;
use crate::elementwise::times;
use crate::graph::{BinaryOp, NodeId, TypeError};
use din_program::schedule::Statistic;

type Built = Result<NodeId, TypeError>;

/// The meaning of a statistic.
pub struct StatisticMeaning {
    /// The results of one component, from its values at all elements, of which there is at least
    /// one. (Without elements all results are 0.)
    pub value: fn(column: &[f64], results: &mut [f64]),
    /// What the adjoint of `x` gains, from `x`, the results `y` of all components, and the adjoint
    /// `g` of `y`.
    pub gain: fn(&mut GradientBuilder, x: NodeId, y: NodeId, g: NodeId) -> Built,
    /// How errors of the values pass through.
    pub error: ResultErrors,
}

/// The error scale of each result of one component (see [`crate::interpret`]), from the value and
/// error scale of the component at each element.
pub type ResultErrors = fn(column: &[(f64, f64)], results: &[f64], scales: &mut [f64]);

/// The row of a statistic.
pub fn meaning_of(statistic: Statistic) -> StatisticMeaning {
    match statistic {
        Statistic::Moments => StatisticMeaning {
            value: |column, results| {
                let n = column.len() as f64;
                let mean = column.iter().sum::<f64>() / n;
                results[0] = mean;
                results[1] = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            },
            gain: gain_of_moments,
            error: |column, results, scales| {
                let n = column.len() as f64;
                for &(v, e) in column {
                    scales[0] += (e + v.abs()) / n;
                }
                for &(v, e) in column {
                    let centred = v - results[0];
                    scales[1] += (2.0 * times(centred, e + scales[0]) + centred * centred) / n;
                }
            },
        },
    }
}

/// y = (m, v), m = sum_i x_i / n, v = sum_i (x_i - m)^2 / n, n the elements of the global batch.
/// dx_i = dm / n + dv 2 (x_i - m) / n, m's share in v being 0 because sum_i (x_i - m) = 0.
fn gain_of_moments(b: &mut GradientBuilder, x: NodeId, y: NodeId, g: NodeId) -> Built {
    // 0 / 1 where there is no element, instead of a NaN that nobody reads.
    let n = b.elements(x)?;
    let mean = b.result(y, 0, x)?;
    let of_mean = b.result(g, 0, x)?;
    let of_variance = b.result(g, 1, x)?;
    let level = b.binary(BinaryOp::Divide, of_mean, n)?;
    let twice = b.times(of_variance, 2.0)?;
    let slope = b.binary(BinaryOp::Divide, twice, n)?;
    let centred = b.binary(BinaryOp::Subtract, x, mean)?;
    let varying = b.binary(BinaryOp::Multiply, centred, slope)?;
    b.binary(BinaryOp::Add, varying, level)
}
