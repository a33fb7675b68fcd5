//! Accumulates predictions of an evaluation set and computes the metrics that a program reports.

use super::auc::{Area, GroupedArea, Undefined, auc, gauc, pr_auc};
use super::classes::{accuracy, class_log_loss};
use super::labels::Labels;
use super::numeric::{mae, rmse, xauc};
use super::pointwise::{brier, calibration, log_loss, normalized_entropy};
use super::ranked::{RankedValue, ranked};
use super::slices::{Slice, SliceContext, SliceValues, Slices, push_keys};
use super::weighted::{
    weighted_accuracy, weighted_auc, weighted_brier, weighted_calibration, weighted_class_log_loss, weighted_gauc,
    weighted_log_loss, weighted_mae, weighted_normalized_entropy, weighted_pr_auc, weighted_rmse, weighted_xauc,
};
use crate::batch::Batch;
use crate::comm::LongOperation;
use din_program::schema::{Direction, GroupBy, Metric, MetricKind, Prediction, SliceBy, Slicing};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
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
    /// By each of what slices its rows.
    pub slices: Vec<Slices>,
}

/// What stands behind a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// Predictions, labels and groups of one evaluation set: 5 bytes per prediction of classes and row,
/// 8 per prediction of a number and row, 8 per grouping and row.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) metrics: Vec<Metric>,
    pub(super) populations: Vec<Population>,
    /// By population.
    pub(super) collected: Vec<Collected>,
    /// Which rows of the data set these are, in the order in which they were added.
    pub(super) spans: Vec<CollectedSpan>,
    /// What slices are called, where metrics have slices.
    context: Option<SliceContext>,
    /// By what slices rows.
    pub(super) slice_values: Vec<SliceValues>,
    /// By population the numbers of its rows in the data set, where they are wanted.
    pub(super) row_numbers: Option<Vec<Vec<u32>>>,
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
/// has one, is not 0; and what they weigh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Population {
    prediction: u32,
    /// Index of the label of what is predicted.
    label: u32,
    /// Index of the condition among the outputs.
    condition: Option<u32>,
    /// Index of the sample weights among the outputs.
    sample_weight: Option<u32>,
}

/// Of one population, its rows.
#[derive(Clone, Debug)]
pub(super) struct Collected {
    /// Logits of a binary label, predicted numbers, or of a label of several classes the logarithm
    /// of its probability.
    pub predicted: Vec<f32>,
    pub labels: Labels,
    /// How much each row counts, where that is not 1.
    pub weights: Option<Vec<f32>>,
    /// Keys of each grouping and slicing that a metric of this population uses.
    pub groups: Vec<(SliceBy, Vec<u64>)>,
}

impl Collected {
    pub(super) fn keys(&self, by: &SliceBy) -> &[u64] {
        let of = self.groups.iter().find(|(grouping, _)| grouping == by);
        &of.expect("the groupings of all metrics are collected").1
    }

    /// Some of the rows.
    pub(super) fn subset(&self, rows: &[usize]) -> Collected {
        let groups = self.groups.iter().map(|(by, keys)| (by.clone(), rows.iter().map(|&i| keys[i]).collect()));
        Collected {
            predicted: rows.iter().map(|&i| self.predicted[i]).collect(),
            labels: self.labels.subset(rows),
            weights: self.weights.as_ref().map(|weights| rows.iter().map(|&i| weights[i]).collect()),
            groups: groups.collect(),
        }
    }

    /// Of each row, whether the most probable class is the label; a binary label is 1 where its
    /// probability is above one half.
    pub(super) fn hits(&self) -> Vec<bool> {
        match &self.labels {
            Labels::Hits(hits) => hits.clone(),
            Labels::Classes(classes) => self.predicted.iter().zip(classes).map(|(&z, &c)| (z > 0.0) == c).collect(),
            Labels::Numbers(_) => unreachable!("a program's metrics fit their predictions"),
        }
    }

    /// The value of a metric on all these rows.
    pub(super) fn measure(&self, kind: &MetricKind) -> (Result<f64, Undefined>, Detail) {
        let Collected { predicted, labels, weights, .. } = self;
        if let Some(weights) = weights {
            return self.measure_weighted(kind, weights);
        }
        let keys = |by: GroupBy| self.keys(&SliceBy::Value(by));
        let mean = |value| (value, Detail::Mean { rows: labels.len() as u64 });
        match *kind {
            MetricKind::Auc | MetricKind::PrAuc => {
                let area = if *kind == MetricKind::Auc { auc } else { pr_auc }(predicted, labels.classes());
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
            MetricKind::LogLoss => mean(match labels {
                Labels::Hits(_) => class_log_loss(predicted),
                Labels::Classes(classes) => log_loss(predicted, classes),
                Labels::Numbers(_) => unreachable!("a program's metrics fit their predictions"),
            }),
            MetricKind::Accuracy => mean(accuracy(predicted, self.hits().into_iter())),
            MetricKind::NormalizedEntropy => mean(normalized_entropy(predicted, labels.classes())),
            MetricKind::RelativeInformationGain => {
                mean(normalized_entropy(predicted, labels.classes()).map(|entropy| 1.0 - entropy))
            }
            MetricKind::Calibration => mean(calibration(predicted, labels.classes())),
            MetricKind::Brier => mean(brier(predicted, labels.classes())),
            MetricKind::RootMeanSquaredError => mean(rmse(predicted, labels.numbers())),
            MetricKind::MeanAbsoluteError => mean(mae(predicted, labels.numbers())),
            MetricKind::Xauc => mean(xauc(predicted, labels.numbers())),
        }
    }

    fn measure_weighted(&self, kind: &MetricKind, weights: &[f32]) -> (Result<f64, Undefined>, Detail) {
        let Collected { predicted, labels, .. } = self;
        let area = |area: Area| (area.value, Detail::Area { positives: area.positives, negatives: area.negatives });
        let mean = |value| (value, Detail::Mean { rows: labels.len() as u64 });
        match *kind {
            MetricKind::Auc => area(weighted_auc(predicted, labels.classes(), weights)),
            MetricKind::PrAuc => area(weighted_pr_auc(predicted, labels.classes(), weights)),
            MetricKind::Gauc { by, weight } => {
                let keys = self.keys(&SliceBy::Value(by));
                let GroupedArea { value, groups, skipped_groups, skipped_rows } =
                    weighted_gauc(keys, predicted, labels.classes(), weights, weight);
                (value, Detail::Gauc { groups, skipped_groups, skipped_rows })
            }
            MetricKind::Ranked { .. } => unreachable!("the program was checked: these metrics take no weights"),
            MetricKind::LogLoss => mean(match labels {
                Labels::Hits(_) => weighted_class_log_loss(predicted, weights),
                Labels::Classes(classes) => weighted_log_loss(predicted, classes, weights),
                Labels::Numbers(_) => unreachable!("a program's metrics fit their predictions"),
            }),
            MetricKind::Accuracy => mean(weighted_accuracy(predicted, &self.hits(), weights)),
            MetricKind::NormalizedEntropy => mean(weighted_normalized_entropy(predicted, labels.classes(), weights)),
            MetricKind::RelativeInformationGain => {
                mean(weighted_normalized_entropy(predicted, labels.classes(), weights).map(|entropy| 1.0 - entropy))
            }
            MetricKind::Calibration => mean(weighted_calibration(predicted, labels.classes(), weights)),
            MetricKind::Brier => mean(weighted_brier(predicted, labels.classes(), weights)),
            MetricKind::RootMeanSquaredError => mean(weighted_rmse(predicted, labels.numbers(), weights)),
            MetricKind::MeanAbsoluteError => mean(weighted_mae(predicted, labels.numbers(), weights)),
            MetricKind::Xauc => mean(weighted_xauc(predicted, labels.numbers(), weights)),
        }
    }

    /// The value of a metric on the rows of each slice. `values`: by key of a slice, what its rows
    /// have in common.
    fn slices(&self, kind: &MetricKind, by: &Slicing, values: &SliceValues) -> Slices {
        let keys = self.keys(&by.by);
        let mut rows: Vec<usize> = (0..keys.len()).collect();
        // The rows of a slice stay in their order, in which sums run.
        rows.sort_unstable_by_key(|&i| (keys[i], i));
        let slice = |rows: &[usize]| {
            let (value, detail) = self.subset(rows).measure(kind);
            let of = values.values.get(&keys[rows[0]]).expect("the values of all slices are collected").clone();
            Slice { of, rows: rows.len() as u64, value, detail }
        };
        let slices = rows.chunk_by(|&a, &b| keys[a] == keys[b]).map(slice).collect();
        Slices::new(by.name.clone(), slices)
    }
}

impl Metrics {
    /// The metrics and predictions of a program, without slices.
    pub fn new(predictions: &[Prediction], metrics: &[Metric]) -> Self {
        let whole = |metric: &Metric| Metric { slices: Vec::new(), ..metric.clone() };
        let metrics: Vec<Metric> = metrics.iter().map(whole).collect();
        Self::collecting(predictions, &metrics, None)
    }

    /// The same with their slices. The batches are of data that were opened with the texts of the
    /// context.
    pub fn with_slices(predictions: &[Prediction], metrics: &[Metric], context: SliceContext) -> Self {
        Self::collecting(predictions, metrics, Some(context))
    }

    fn collecting(predictions: &[Prediction], metrics: &[Metric], context: Option<SliceContext>) -> Self {
        let of = |prediction: u32, condition, sample_weight| Population {
            prediction,
            label: predictions[prediction as usize].label,
            condition,
            sample_weight,
        };
        // One for each prediction, whether or not a metric is over all its rows.
        let mut populations: Vec<Population> = (0..predictions.len() as u32).map(|p| of(p, None, None)).collect();
        for metric in metrics {
            let population = of(metric.prediction, metric.condition, metric.sample_weight);
            if !populations.contains(&population) {
                populations.push(population);
            }
        }
        let none = |population: &Population| Collected {
            predicted: Vec::new(),
            labels: Labels::new(predictions[population.prediction as usize].distribution),
            weights: population.sample_weight.map(|_| Vec::new()),
            groups: Vec::new(),
        };
        let mut collected: Vec<Collected> = populations.iter().map(none).collect();
        let mut slice_values: Vec<SliceValues> = Vec::new();
        for metric in metrics {
            let target = &mut collected[index_of(&populations, metric)];
            let grouping = metric.kind.grouping().map(SliceBy::Value);
            for by in grouping.iter().chain(metric.slices.iter().map(|slicing| &slicing.by)) {
                if target.groups.iter().all(|(other, _)| other != by) {
                    target.groups.push((by.clone(), Vec::new()));
                }
            }
            for Slicing { by, .. } in &metric.slices {
                if slice_values.iter().all(|values| values.by != *by) {
                    slice_values.push(SliceValues { by: by.clone(), values: FxHashMap::default() });
                }
            }
        }
        let (spans, row_numbers) = (Vec::new(), None);
        Self { metrics: metrics.to_vec(), populations, collected, spans, context, slice_values, row_numbers }
    }

    /// The same with the numbers of the rows.
    pub(super) fn with_row_numbers(self) -> Self {
        Self { row_numbers: Some(vec![Vec::new(); self.populations.len()]), ..self }
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
        for (k, (population, (target, labelled))) in self.populations.iter().zip(collected).enumerate() {
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
            let known_rows = rows.clone().filter(known);
            target.labels.extend(labels, predicted.as_ref(), known_rows, &mut target.predicted);
            if let (Some(weights), Some(index)) = (&mut target.weights, population.sample_weight) {
                weights.extend(rows.clone().filter(known).map(|i| outputs[index as usize][i]));
            }
            *labelled += target.labels.len() - before;
            if let Some(numbers) = &mut self.row_numbers {
                numbers[k].extend(rows.clone().filter(known).map(|i| (first_row + i as u64) as u32));
            }
            for (by, keys) in &mut target.groups {
                push_keys(by, batch, outputs, rows.clone().filter(known), keys);
            }
        }
        if batch.rows > 0 {
            let mut keys = Vec::new();
            for values in &mut self.slice_values {
                let context = self.context.as_ref().expect("metrics with slices have a context");
                keys.clear();
                push_keys(&values.by, batch, outputs, 0..batch.rows, &mut keys);
                values.add(context, batch, &keys);
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
        let value = |metric: &Metric| {
            let collected = &self.collected[index_of(&self.populations, metric)];
            let (value, detail) = collected.measure(&metric.kind);
            let slices = metric.slices.iter().map(|slicing| {
                let values = self.slice_values.iter().find(|values| values.by == slicing.by);
                collected.slices(&metric.kind, slicing, values.expect("there are values of each slicing"))
            });
            let (slices, direction) = (slices.collect(), metric.kind.direction());
            MetricValue { name: metric.name.clone(), value, direction, detail, slices }
        };
        self.metrics.iter().map(value).collect()
    }
}

/// The population that a metric is over.
pub(super) fn index_of(populations: &[Population], metric: &Metric) -> usize {
    let own = |p: &Population| {
        (p.prediction, p.condition, p.sample_weight) == (metric.prediction, metric.condition, metric.sample_weight)
    };
    populations.iter().position(own).expect("there is a population for each metric")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::KeyColumn;
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
            sample_weight: None,
            slices: Vec::new(),
        };
        let metrics = [
            Metric {
                name: "auc(click)".into(),
                prediction: 0,
                kind: MetricKind::Auc,
                condition: None,
                sample_weight: None,
                slices: vec![],
            },
            gauc(GroupBy::Key(0), "gauc"),
            gauc(GroupBy::Feature(0), "gauc by feature"),
            Metric {
                name: "log_loss(click)".into(),
                prediction: 0,
                kind: MetricKind::LogLoss,
                condition: None,
                sample_weight: None,
                slices: vec![],
            },
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
            sample_weight: None,
            slices: Vec::new(),
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
