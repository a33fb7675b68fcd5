//! What a report shows.

use crate::statistics::{CalibrationBin, ScoreHistogram};

/// A report of one run or several.
#[derive(Clone, Debug, Default)]
pub struct RunReport {
    pub title: String,
    /// `din 0.1.0`
    pub made_by: String,
    pub runs: Vec<RunSection>,
    /// Training losses, then each metric of the validation data, in the order of the spec's report.
    pub losses: Vec<TrainingCurve>,
    pub metrics: Vec<ValueCurve>,
    /// What was measured on `--data`.
    pub data: Option<DataSection>,
    /// Between the specs of the first run and of each other one.
    pub differences: Vec<SpecDifference>,
}

/// A name and what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFact {
    pub name: String,
    pub value: String,
}

/// What a run is.
#[derive(Clone, Debug, Default)]
pub struct RunSection {
    pub name: String,
    pub facts: Vec<RunFact>,
    /// Columns of the tables of the model: a heading and a cell per table.
    pub tables: Vec<Vec<String>>,
    pub parameters: Vec<Vec<String>>,
    pub kernels: Vec<KernelTime>,
    pub spec: String,
}

/// The time of one kernel of training.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    pub name: String,
    /// `models/din.din:30:5`
    pub location: String,
    pub seconds: f64,
}

/// A loss of training by step.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingCurve {
    pub run: usize,
    pub points: Vec<(f64, f64)>,
    /// Steps at which epochs end.
    pub epochs: Vec<f64>,
}

/// A step, the value after it, and the epoch.
pub type CurvePoint = (f64, f64, u32);

/// One metric of the validation data, of each run that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueCurve {
    pub name: String,
    /// `higher is better`
    pub direction: String,
    /// By run: its number and points by step, with the epoch of each.
    pub runs: Vec<(usize, Vec<CurvePoint>)>,
    /// By run, the step of the best checkpoint.
    pub best: Vec<(usize, f64)>,
}

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// `None` where undefined.
    pub value: Option<f64>,
    /// 95 %; `None` where too many resamples have no value.
    pub interval: Option<(f64, f64)>,
}

/// What was measured on data with labels.
#[derive(Clone, Debug, Default)]
pub struct DataSection {
    pub files: Vec<String>,
    pub rows: u64,
    /// `4000 users (key user_id)`
    pub resampled: String,
    pub resamples: usize,
    pub metrics: Vec<EstimatedMetric>,
    pub differences: Vec<PairedDifference>,
    /// Why there are no differences, or other remarks.
    pub remarks: Vec<String>,
    pub predictions: Vec<PredictionSection>,
    pub slices: Vec<SliceTable>,
}

/// A metric of every run.
#[derive(Clone, Debug, PartialEq)]
pub struct EstimatedMetric {
    pub name: String,
    pub direction: String,
    /// By run; `None` where its spec does not report the metric.
    pub runs: Vec<Option<Estimate>>,
}

/// A metric of a run less that of the first one, on the same resamples.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedDifference {
    pub metric: String,
    pub run: usize,
    pub difference: Estimate,
    /// `Some(true)`: better, `Some(false)`: worse; `None`: the interval contains 0.
    pub better: Option<bool>,
}

/// The calibration and scores of one prediction of one run.
#[derive(Clone, Debug)]
pub struct PredictionSection {
    pub run: usize,
    /// `click`
    pub name: String,
    pub bins: Vec<CalibrationBin>,
    /// Sum of the probabilities by the number of labels that are 1.
    pub pcoc: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    pub scores: ScoreHistogram,
}

/// Slices of one run by one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceTable {
    pub run: usize,
    pub by: String,
    pub columns: Vec<MetricColumn>,
    pub rows: Vec<SliceRow>,
    /// Smaller slices that are not shown.
    pub left_out: usize,
}

/// A metric of slices.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricColumn {
    pub name: String,
    /// On all rows.
    pub all: Estimate,
}

/// One slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceRow {
    pub label: String,
    pub rows: u64,
    /// By metric.
    pub values: Vec<Estimate>,
}

/// What differs between the spec of a run and that of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecDifference {
    pub run: usize,
    /// As `din diff` says it.
    pub text: String,
}
