//! Evaluation: the spec's report on a whole data set, exact, in file order, nothing learned from
//! it.

use crate::comm::Communicator;
use crate::data::Dataset;
use crate::metric::{Detail, MetricValue, Metrics};
use crate::session::{DataPass, InferenceOptions, OnSignal, PassEvent, Session, infer_all};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The metrics of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub rows: u64,
    /// In the order of the spec's report.
    pub values: Vec<MetricValue>,
}

impl Report {
    /// Names and values; `None` where undefined.
    pub fn metrics(&self) -> Vec<(String, Option<f64>)> {
        self.values.iter().map(|v| (v.name.clone(), v.value.as_ref().ok().copied())).collect()
    }

    /// By name; null where undefined.
    pub fn to_map(&self) -> Map<String, Value> {
        self.metrics().into_iter().map(|(name, value)| (name, json!(value))).collect()
    }

    /// With what stands behind the values.
    pub fn to_json(&self) -> Value {
        let metrics: Vec<Value> = self
            .values
            .iter()
            .map(|v| {
                let mut line = json!({ "name": v.name, "value": v.value.as_ref().ok() });
                if let Err(why) = &v.value {
                    line["undefined"] = json!(why.to_string());
                }
                match v.detail {
                    Detail::Area { positives, negatives } => {
                        line["positives"] = json!(positives);
                        line["negatives"] = json!(negatives);
                    }
                    Detail::Gauc { groups, skipped_groups, skipped_rows } => {
                        line["groups"] = json!(groups);
                        line["one_class_groups_left_out"] = json!(skipped_groups);
                        line["their_rows"] = json!(skipped_rows);
                    }
                    Detail::Ranked { groups, skipped_groups, skipped_rows } => {
                        line["groups"] = json!(groups);
                        line["groups_without_positives_left_out"] = json!(skipped_groups);
                        line["their_rows"] = json!(skipped_rows);
                    }
                    Detail::Mean { rows } => line["labelled_rows"] = json!(rows),
                }
                line
            })
            .collect();
        json!({ "rows": self.rows, "metrics": metrics })
    }
}

/// Evaluates all of `data`, which was opened with [`crate::data::ReadMode::Evaluate`]. Every rank
/// of the run calls it and evaluates some of the rows; all get the report of one rank that
/// evaluates them all, to the last bit. Rank 0 observes, and holds what a run of one rank would:
/// [`Metrics`].
///
/// # Errors
/// Data that cannot be read, a prediction that is not a number, or another rank failed. An error of
/// kind `Stopped`, on all ranks, if a signal has stopped it.
pub fn evaluate(
    session: &mut Session,
    data: &Dataset,
    batch: usize,
    on_signal: OnSignal,
    ranks: &Arc<dyn Communicator>,
    observe: &mut dyn FnMut(PassEvent),
) -> Result<Report> {
    let program = session.program().clone();
    let mut metrics = Metrics::new(&program.predictions, &program.metrics);
    let options = InferenceOptions { pass: DataPass::Evaluating, batch, on_signal };
    let rows = infer_all(session, data, options, ranks, observe, |first_row, batch, values| {
        metrics.push(first_row, batch, &values.predicted, &values.outputs);
        Ok(())
    })?;
    let rows = rows.ok_or_else(|| {
        let first = data.files().next().expect("a data set has a file");
        Error::stopped(first, "nothing is measured")
    })?;
    Ok(Report { rows, values: metrics.finish_over_ranks(&**ranks)? })
}
