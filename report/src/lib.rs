//! Reports of trained runs: one HTML file with charts and tables that needs nothing else. Pure:
//! what is shown comes in as values, and text comes out.
//!
//! - `contents`: what a report shows. - `statistics`: calibration and distributions.
//! - `chart`: SVG. - `page`: HTML.
#![forbid(unsafe_code)]

mod chart;
mod contents;
mod page;
mod statistics;

pub use chart::{Line, LineChart, Point, colour, picture};
pub use contents::{
    CurvePoint, DataSection, Estimate, EstimatedMetric, KernelTime, MetricColumn, PairedDifference, PredictionSection,
    RunFact, RunReport, RunSection, SliceRow, SliceTable, SpecDifference, TrainingCurve, ValueCurve,
};
pub use page::html;
pub use statistics::{CalibrationBin, ScoreHistogram, calibration_bins, calibration_error};
