//! Evaluation: the spec's report on a whole data set, exact, in file order, nothing learned from it.

pub(crate) mod undefined;

use crate::Result;
use crate::data::{Dataset, Order, StreamOptions};
use crate::metric::{Detail, MetricValue, Metrics};
use crate::train::{DataPass, Event, Session};
use serde_json::{Map, Value, json};

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
                    Detail::Auc { positives, negatives } => {
                        line["positives"] = json!(positives);
                        line["negatives"] = json!(negatives);
                    }
                    Detail::Gauc { groups, skipped_groups, skipped_rows } => {
                        line["groups"] = json!(groups);
                        line["one_class_groups_left_out"] = json!(skipped_groups);
                        line["their_rows"] = json!(skipped_rows);
                    }
                    Detail::LogLoss { rows } => line["labelled_rows"] = json!(rows),
                }
                line
            })
            .collect();
        json!({ "rows": self.rows, "metrics": metrics })
    }
}

/// Reads all of `data`, which must have been opened with [`crate::data::ReadMode::Evaluate`].
pub fn evaluate(session: &mut Session, data: &Dataset, batch: usize, observe: &mut dyn FnMut(Event)) -> Result<Report> {
    let program = session.program().clone();
    let mut metrics = Metrics::new(&program.predictions, &program.metrics);
    observe(Event::Begin { what: DataPass::Evaluating, rows: data.rows(), done: 0 });
    let options = StreamOptions {
        threads: session.reading_threads(),
        ..StreamOptions::new(data.bounded_batch(batch), Order::File)
    };
    let mut batches = data.stream(options)?;
    let mut rows = 0;
    while let Some(batch) = batches.next()? {
        session.infer(&batch)?;
        undefined::refuse(session, data, &batch, rows)?;
        let logits: Vec<&[f32]> = (0..program.predictions.len()).map(|k| session.logits(k)).collect();
        metrics.push(&batch, &logits);
        rows += batch.rows as u64;
        batches.recycle(batch);
        observe(Event::Advance { rows, loss: None });
    }
    observe(Event::End);
    Ok(Report { rows, values: metrics.finish() })
}
