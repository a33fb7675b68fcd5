//! Metrics over a whole evaluation set: AUC, GAUC (Zhou et al., 2017, Eq. 1), log loss and others;
//! `stdlib/metric.din` lists them.
//!
//! Guarantees exact values in f64 (no bins, no per-batch means): scores that compare equal are ties
//! and get half credit, sums run in an order that depends on the data alone, rows whose label is
//! missing are left out. What is not defined (one class only, a score that is NaN) is `None` with a
//! reason, never a number. On several ranks, each of which has consecutive rows, the values are
//! those of one rank that has them all.
//!
//! The logarithm of a probability of one of several classes is rounded to f32, as logits are.
//!
//! - `auc`, `pointwise`, `classes`, `ranked`, `numeric`: the formulas; `weighted`: with sample
//!   weights.
//! - `labels`: what they compare with.
//! - `report`: what is collected, and the values.
//! - `slices`: values on parts of the rows.
//! - `ranks`: several ranks.
//! - `resample`: values on resamples of the rows; `examined`: those of a whole data set and of its
//!   slices.

mod auc;
pub(crate) mod classes;
mod examined;
mod labels;
mod numeric;
mod pointwise;
mod ranked;
mod ranks;
mod report;
mod resample;
mod slices;
mod weighted;

pub use auc::{Area, GroupedArea, Undefined, auc, gauc, pr_auc};
pub use examined::{
    Examination, ExaminedMetric, ExaminedPrediction, ExaminedRows, ExaminedSlice, ExaminedSlices, RowGrouping,
    grouped_by,
};
pub use numeric::{mae, rmse, xauc};
pub use pointwise::{brier, calibration, log_loss, normalized_entropy};
pub use ranked::{RankedValue, ranked};
pub use report::{Detail, MetricValue, Metrics};
pub use resample::{Bootstrap, Interval, ResampledMetric};
pub use slices::{Slice, SliceContext, SliceValue, Slices, slicing, texts};
pub use weighted::{
    weighted_auc, weighted_brier, weighted_calibration, weighted_gauc, weighted_log_loss, weighted_mae,
    weighted_normalized_entropy, weighted_pr_auc, weighted_rmse, weighted_xauc,
};
