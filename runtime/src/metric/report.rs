//! Accumulates predictions of an evaluation set and computes the metrics that a program reports.

use super::auc::{GroupedArea, Undefined, auc, gauc, pr_auc};
use super::labels::Labels;
use super::numeric::{mae, rmse, xauc};
use super::pointwise::{brier, calibration, log_loss, normalized_entropy};
use super::ranked::{RankedValue, ranked};
use crate::batch::{Batch, KeyColumn};
use crate::comm::LongOperation;
use crate::data::string_id;
use din_program::schema::{Direction, GroupBy, Metric, MetricKind, Prediction};
use std::fmt;
use std::ops::Range;

/// A metric's value on a whole set.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    /// As in the spec: `auc(click)`.
    pub name: String,
    pub value: Result<f64, Undefined>,
    pub direction: Direction,
    pub detail: Detail,
}

/// What stands behind a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// An area under a curve: samples of each class.
    Area { positives: u64, negatives: u64 },
    /// GAUC: groups of both classes; those of one class, which are left out, and their rows.
    Gauc { groups: u64, skipped_groups: u64, skipped_rows: u64 },
    /// NDCG and the like: groups with positives; those without, which are left out, and their rows.
    Ranked { groups: u64, skipped_groups: u64, skipped_rows: u64 },
    /// A mean over samples: their number.
    Mean { rows: u64 },
}

impl MetricValue {
    /// Whether `self` is better than `other`, a value of the same metric; a value is better than
    /// none.
    pub fn better_than(&self, other: &MetricValue) -> bool {
        match (self.value, other.value) {
            (Ok(a), Ok(b)) => self.direction.is_better(a, b),
            (Ok(_), Err(_)) => true,
            (Err(_), Ok(_) | Err(_)) => false,
        }
    }
}

impl fmt::Display for MetricValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Ok(value) => write!(f, "{} {value:.4}", self.name)?,
            Err(why) => write!(f, "{} undefined ({why})", self.name)?,
        }
        match self.detail {
            Detail::Gauc { groups, skipped_groups, .. } if skipped_groups > 0 => {
                write!(f, " ({groups} groups, {skipped_groups} of one class left out)")
            }
            Detail::Ranked { groups, skipped_groups, .. } if skipped_groups > 0 => {
                write!(f, " ({groups} groups, {skipped_groups} without a label of 1 left out)")
            }
            Detail::Area { .. } | Detail::Gauc { .. } | Detail::Ranked { .. } | Detail::Mean { .. } => Ok(()),
        }
    }
}

/// Predictions, labels and groups of one evaluation set: 5 bytes per prediction of a class and row,
/// 8 per prediction of a number and row, 8 per grouping and row.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) metrics: Vec<Metric>,
    populations: Vec<Population>,
    /// By population.
    pub(super) collected: Vec<Collected>,
    /// Which rows of the data set these are, in the order in which they were added.
    pub(super) spans: Vec<CollectedSpan>,
}

/// Consecutive rows of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CollectedSpan {
    /// Numbers of the rows.
    pub rows: Range<u64>,
    /// By population, how many of them are in it.
    pub labelled: Vec<usize>,
}

/// The rows that a metric is over: those whose label is known and for which its condition, if it
/// has one, is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Population {
    prediction: u32,
    /// Index of the label of what is predicted.
    label: u32,
    /// Index of the condition among the outputs.
    condition: Option<u32>,
}

/// Of one population, its rows.
#[derive(Clone, Debug)]
pub(super) struct Collected {
    /// What the distribution's root is: logits of a class, predicted numbers.
    pub predicted: Vec<f32>,
    pub labels: Labels,
    /// Keys of each grouping that a metric of this population uses.
    pub groups: Vec<(GroupBy, Vec<u64>)>,
}

impl Metrics {
    /// The metrics and predictions of a program.
    pub fn new(predictions: &[Prediction], metrics: &[Metric]) -> Self {
        let of = |prediction: u32, condition| Population {
            prediction,
            label: predictions[prediction as usize].label,
            condition,
        };
        // One for each prediction, whether or not a metric is over all its rows.
        let mut populations: Vec<Population> = (0..predictions.len() as u32).map(|p| of(p, None)).collect();
        for metric in metrics {
            let population = of(metric.prediction, metric.condition);
            if !populations.contains(&population) {
                populations.push(population);
            }
        }
        let none = |population: &Population| Collected {
            predicted: Vec::new(),
            labels: Labels::new(predictions[population.prediction as usize].distribution),
            groups: Vec::new(),
        };
        let mut collected: Vec<Collected> = populations.iter().map(none).collect();
        for metric in metrics {
            let Some(by) = metric.kind.grouping() else { continue };
            let target = &mut collected[index_of(&populations, metric)];
            if target.groups.iter().all(|(grouping, _)| *grouping != by) {
                target.groups.push((by, Vec::new()));
            }
        }
        Self { metrics: metrics.to_vec(), populations, collected, spans: Vec::new() }
    }

    /// Adds a batch read with [`ReadMode::Evaluate`](crate::data::ReadMode::Evaluate), whose first
    /// row has this number in the data set; `predicted[p]` are prediction `p`'s, one per sample,
    /// and `outputs` the values of the program's outputs. Batches are added in the order of their
    /// rows.
    pub fn push<P: AsRef<[f32]>>(&mut self, first_row: u64, batch: &Batch, predicted: &[P], outputs: &[&[f32]]) {
        let rows = first_row..first_row + batch.rows as u64;
        match self.spans.last_mut() {
            Some(last) if last.rows.end == rows.start => last.rows.end = rows.end,
            Some(_) | None => self.spans.push(CollectedSpan { rows, labelled: vec![0; self.populations.len()] }),
        }
        let labelled = &mut self.spans.last_mut().expect("it was pushed above").labelled;
        let collected = self.collected.iter_mut().zip(labelled);
        for (population, (target, labelled)) in self.populations.iter().zip(collected) {
            // A batch without rows may lack the values.
            if batch.rows == 0 {
                continue;
            }
            let before = target.labels.len();
            let label = population.label as usize;
            let (labels, present) = (&batch.labels[label], &batch.present[label]);
            let predicted = &predicted[population.prediction as usize];
            let condition = population.condition.map(|index| outputs[index as usize]);
            let known = |i: &usize| present[*i] != 0.0 && condition.is_none_or(|condition| condition[*i] != 0.0);
            let rows = 0..batch.rows;
            target.predicted.extend(rows.clone().filter(known).map(|i| predicted.as_ref()[i]));
            target.labels.extend(rows.clone().filter(known).map(|i| labels[i]));
            *labelled += target.labels.len() - before;
            for (by, keys) in &mut target.groups {
                let rows = rows.clone().filter(known);
                match by {
                    GroupBy::Feature(f) => keys.extend(rows.map(|i| batch.ids[*f as usize][i])),
                    GroupBy::Common(f) => {
                        let request_of = batch.request_of();
                        keys.extend(rows.map(|i| batch.ids[*f as usize][request_of[i] as usize]));
                    }
                    GroupBy::Key(k) => match &batch.keys[*k as usize] {
                        KeyColumn::Int64(column) => keys.extend(rows.map(|i| column[i] as u64)),
                        // Two strings with one hash would be one group: no more likely than for
                        // ids.
                        KeyColumn::String(column) => keys.extend(rows.map(|i| string_id(&column[i]))),
                    },
                }
            }
        }
    }

    /// Labelled rows collected for prediction `index`, whatever the conditions of its metrics.
    pub fn rows(&self, index: usize) -> usize {
        self.collected[index].labels.len()
    }

    /// The values, in the order of the program's metrics.
    pub fn finish(&self) -> Vec<MetricValue> {
        // Most metrics sort all rows.
        let _operation = LongOperation::begin();
        self.metrics
            .iter()
            .map(|metric| {
                let Collected { predicted, labels, groups } = &self.collected[index_of(&self.populations, metric)];
                let keys = |by: GroupBy| {
                    let of = groups.iter().find(|(grouping, _)| *grouping == by);
                    of.expect("the groupings of all metrics are collected").1.as_slice()
                };
                let mean = |value| (value, Detail::Mean { rows: labels.len() as u64 });
                let (value, detail) = match metric.kind {
                    MetricKind::Auc | MetricKind::PrAuc => {
                        let area =
                            if metric.kind == MetricKind::Auc { auc } else { pr_auc }(predicted, labels.classes());
                        (area.value, Detail::Area { positives: area.positives, negatives: area.negatives })
                    }
                    MetricKind::Gauc { by, weight } => {
                        let GroupedArea { value, groups, skipped_groups, skipped_rows } =
                            gauc(keys(by), predicted, labels.classes(), weight);
                        (value, Detail::Gauc { groups, skipped_groups, skipped_rows })
                    }
                    MetricKind::Ranked { measure, by, k } => {
                        let RankedValue { value, groups, skipped_groups, skipped_rows } =
                            ranked(measure, k, keys(by), predicted, labels.classes());
                        (value, Detail::Ranked { groups, skipped_groups, skipped_rows })
                    }
                    MetricKind::LogLoss => mean(log_loss(predicted, labels.classes())),
                    MetricKind::NormalizedEntropy => mean(normalized_entropy(predicted, labels.classes())),
                    MetricKind::RelativeInformationGain => {
                        mean(normalized_entropy(predicted, labels.classes()).map(|entropy| 1.0 - entropy))
                    }
                    MetricKind::Calibration => mean(calibration(predicted, labels.classes())),
                    MetricKind::Brier => mean(brier(predicted, labels.classes())),
                    MetricKind::RootMeanSquaredError => mean(rmse(predicted, labels.numbers())),
                    MetricKind::MeanAbsoluteError => mean(mae(predicted, labels.numbers())),
                    MetricKind::Xauc => mean(xauc(predicted, labels.numbers())),
                };
                MetricValue { name: metric.name.clone(), value, direction: metric.kind.direction(), detail }
            })
            .collect()
    }
}

/// The population that a metric is over.
fn index_of(populations: &[Population], metric: &Metric) -> usize {
    let own = |p: &Population| p.prediction == metric.prediction && p.condition == metric.condition;
    populations.iter().position(own).expect("there is a population for each metric")
}

#[cfg(test)]
mod tests {
    use super::*;
    use din_program::schema::{Distribution, GroupWeight};

    fn click() -> Prediction {
        Prediction { name: "click".into(), label: 0, distribution: Distribution::Bernoulli }
    }

    #[test]
    fn batches_and_missing_labels() {
        let gauc = |by, name: &str| Metric {
            name: name.into(),
            prediction: 0,
            kind: MetricKind::Gauc { by, weight: GroupWeight::None },
            condition: None,
        };
        let metrics = [
            Metric { name: "auc(click)".into(), prediction: 0, kind: MetricKind::Auc, condition: None },
            gauc(GroupBy::Key(0), "gauc"),
            gauc(GroupBy::Feature(0), "gauc by feature"),
            Metric { name: "log_loss(click)".into(), prediction: 0, kind: MetricKind::LogLoss, condition: None },
        ];
        let mut all = Metrics::new(&[click()], &metrics);
        let batch = |labels: &[f32], present: &[f32], users: &[&str], ids: &[u64]| Batch {
            rows: labels.len(),
            ids: vec![ids.to_vec()],
            dense: vec![Vec::new()],
            labels: vec![labels.to_vec()],
            present: vec![present.to_vec()],
            keys: vec![KeyColumn::String(users.iter().map(|s| (*s).to_string()).collect())],
            ..Batch::default()
        };
        all.push(0, &batch(&[1.0, 0.0, 0.0], &[1.0, 1.0, 0.0], &["a", "a", "a"], &[1, 2, 1]), &[[2.0, 1.0, 9.0]], &[]);
        all.push(3, &batch(&[1.0, 0.0, 1.0], &[1.0; 3], &["b", "b", "c"], &[2, 2, 2]), &[[0.0, 0.0, 0.5]], &[]);
        assert_eq!(all.rows(0), 5);
        let values = all.finish();
        // Pairs: positives 2, 0, .5 against negatives 1, 0: 1 1 / 0 .5 / 0 1.
        assert_eq!(values[0].value, Ok(3.5 / 6.0));
        assert_eq!(values[0].detail, Detail::Area { positives: 3, negatives: 2 });
        assert_eq!(values[1].value, Ok(0.75), "a: 1, b: 1/2, c: one class");
        assert_eq!(values[1].detail, Detail::Gauc { groups: 2, skipped_groups: 1, skipped_rows: 1 });
        assert_eq!(values[2].value, Ok(1.5 / 4.0), "id 1: one class; id 2: positives 0, .5 against 1, 0");
        assert_eq!(values[1].to_string(), "gauc 0.7500 (2 groups, 1 of one class left out)");
        assert!(values[0].better_than(&values[2]) && !values[0].better_than(&values[1]));
    }

    /// A common feature has one id a request: groups are those of the same feature with one id a
    /// sample.
    #[test]
    fn groups_of_a_common_feature() {
        let gauc = |by| Metric {
            name: "gauc".into(),
            prediction: 0,
            kind: MetricKind::Gauc { by, weight: GroupWeight::Impressions },
            condition: None,
        };
        let value = |by, ids: Vec<u64>, requests: Vec<u32>| {
            let mut metrics = Metrics::new(&[click()], &[gauc(by)]);
            let labels = vec![vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0]];
            let (present, dense) = (vec![vec![1.0; 6]], vec![Vec::new()]);
            let batch = Batch { rows: 6, requests, ids: vec![ids], dense, labels, present, ..Batch::default() };
            metrics.push(0, &batch, &[[2.0, 1.0, 0.5, 0.4, 3.0, 1.5]], &[]);
            metrics.finish().remove(0)
        };
        let flat = value(GroupBy::Feature(0), vec![7, 7, 9, 9, 9, 7], vec![]);
        assert_eq!(value(GroupBy::Common(0), vec![7, 9, 7], vec![0, 2, 5, 6]), flat);
        // 7: 2 against 1 and 1.5; 9: 0.4 and 3 against 0.5; three samples each.
        assert_eq!(flat.value, Ok(0.75));
    }
}
