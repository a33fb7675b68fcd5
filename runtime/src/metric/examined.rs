//! Predictions of a data set with what its rows have in common: metrics on all resamples and on
//! slices by what only the whole run knows, such as how often training saw an id.

use super::auc::Undefined;
use super::report::{Detail, Metrics, index_of};
use super::resample::{Bootstrap, ResampledMetric};
use super::slices::{SliceContext, SliceValue, SliceValues, push_keys};
use crate::batch::Batch;
use crate::table::Table;
use crate::threads::Threads;
use din_program::Program;
use din_program::schema::{Direction, Distribution, GroupBy, Schema, SliceBy, Slicing};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

/// Slices of a grouping that are measured, by number of rows.
const MOST_SLICES: usize = 20;

/// Lower bounds of the buckets of a number of entries, or of samples.
const LENGTHS: [u64; 8] = [0, 1, 3, 6, 11, 21, 51, 101];
const COUNTS: [u64; 6] = [0, 1, 10, 100, 1_000, 10_000];

/// What rows are grouped by.
#[derive(Clone, Debug)]
pub enum RowGrouping {
    /// A key or an id.
    Value(Slicing),
    /// The number of entries of a sequence.
    Length { name: String, sequence: u32 },
    /// How many samples, or batches where these were not counted, of the training contain an id.
    Frequency { name: String, feature: u32, table: usize },
    /// Whether the training data have the row's key.
    Known { name: String, by: GroupBy, known: Arc<FxHashSet<u64>> },
}

impl RowGrouping {
    fn name(&self) -> String {
        match self {
            Self::Value(slicing) => slicing.name.clone(),
            Self::Length { name, .. } => format!("entries of {name}"),
            Self::Frequency { name, .. } => format!("frequency of {name} in training"),
            Self::Known { name, .. } => format!("{name} in training"),
        }
    }
}

/// What a row has: a key per row.
#[derive(Debug)]
struct RowKeys {
    grouping: RowGrouping,
    keys: Vec<u64>,
    /// Of [`RowGrouping::Value`], what the keys are called.
    values: Option<SliceValues>,
}

/// Collects predictions with what rows have in common.
#[derive(Debug)]
pub struct Examination {
    metrics: Metrics,
    context: SliceContext,
    /// What makes a cluster of rows; without it, each row is one.
    cluster_by: Option<SliceBy>,
    cluster_keys: Vec<u64>,
    groupings: Vec<RowKeys>,
    rows: u64,
}

impl Examination {
    /// `context`: as of [`Metrics::with_slices`].
    pub fn new(
        program: &Program,
        context: SliceContext,
        cluster_by: Option<GroupBy>,
        groupings: Vec<RowGrouping>,
    ) -> Self {
        let keys = |grouping: RowGrouping| {
            let values = match &grouping {
                RowGrouping::Value(slicing) => {
                    Some(SliceValues { by: slicing.by.clone(), values: FxHashMap::default() })
                }
                RowGrouping::Length { .. } | RowGrouping::Frequency { .. } | RowGrouping::Known { .. } => None,
            };
            RowKeys { grouping, keys: Vec::new(), values }
        };
        Self {
            metrics: Metrics::new(&program.predictions, &program.metrics).with_row_numbers(),
            context,
            cluster_by: cluster_by.map(SliceBy::Value),
            cluster_keys: Vec::new(),
            groupings: groupings.into_iter().map(keys).collect(),
            rows: 0,
        }
    }

    /// Adds a batch: as [`Metrics::push`].
    pub fn push(&mut self, first_row: u64, batch: &Batch, predicted: &[&[f32]], outputs: &[&[f32]]) {
        self.metrics.push(first_row, batch, predicted, outputs);
        self.rows += batch.rows as u64;
        if batch.rows == 0 {
            return;
        }
        if let Some(by) = &self.cluster_by {
            push_keys(by, batch, outputs, 0..batch.rows, &mut self.cluster_keys);
        }
        for RowKeys { grouping, keys, values } in &mut self.groupings {
            let before = keys.len();
            match grouping {
                RowGrouping::Value(slicing) => push_keys(&slicing.by, batch, outputs, 0..batch.rows, keys),
                RowGrouping::Length { sequence, .. } => {
                    let index = *sequence as usize;
                    let offsets = &batch.offsets[index];
                    let length = |at: usize| u64::from(offsets[at + 1] - offsets[at]);
                    match self.context.schema.sequences[index].common {
                        true => keys.extend(batch.request_of().into_iter().map(|request| length(request as usize))),
                        false => keys.extend((0..batch.rows).map(length)),
                    }
                }
                RowGrouping::Frequency { feature, .. } => {
                    let by = SliceBy::Value(grouped_by(&self.context.schema, *feature));
                    push_keys(&by, batch, outputs, 0..batch.rows, keys);
                }
                RowGrouping::Known { by, known, .. } => {
                    push_keys(&SliceBy::Value(*by), batch, outputs, 0..batch.rows, keys);
                    keys[before..].iter_mut().for_each(|key| *key = u64::from(known.contains(key)));
                }
            }
            if let Some(values) = values {
                values.add(&self.context, batch, &keys[before..]);
            }
        }
    }

    /// All that was collected; `tables` are those of the model, loaded with their counts.
    pub fn finish(mut self, tables: &[Table]) -> Result<ExaminedRows, crate::Error> {
        for RowKeys { grouping, keys, .. } in &mut self.groupings {
            if let RowGrouping::Frequency { table, .. } = grouping {
                let table = &tables[*table];
                let counts = seen(table);
                let mut rows = Vec::new();
                table.resolve_read(keys, &mut rows)?;
                // The OOV row stands for ids without one.
                let count = |row: u32| if table.is_dynamic() && row == 0 { 0 } else { counts[row as usize] as u64 };
                keys.iter_mut().zip(rows).for_each(|(key, row)| *key = count(row));
            }
        }
        let clusters = match self.cluster_by {
            None => (0..self.rows as u32).collect(),
            Some(_) => {
                // By the order of keys: equal for all models of the same data.
                let mut distinct = self.cluster_keys.clone();
                distinct.sort_unstable();
                distinct.dedup();
                let index = |key: &u64| distinct.binary_search(key).expect("every key was collected") as u32;
                self.cluster_keys.iter().map(index).collect::<Vec<u32>>()
            }
        };
        let cluster_count = clusters.iter().max().map_or(0, |&last| last as usize + 1);
        Ok(ExaminedRows { metrics: self.metrics, clusters, cluster_count, groupings: self.groupings, rows: self.rows })
    }
}

/// How often training has seen the ids of a table, by row: samples, or batches where these were not
/// counted.
fn seen(table: &Table) -> &[f32] {
    match table.frequency().iter().any(|&count| count > 0.0) {
        true => table.frequency(),
        false => table.updates(),
    }
}

/// A categorical feature of a group as what rows are grouped by.
pub fn grouped_by(schema: &Schema, feature: u32) -> GroupBy {
    match schema.features[feature as usize].common {
        true => GroupBy::Common(feature),
        false => GroupBy::Feature(feature),
    }
}

/// The predictions of a data set with what its rows have in common.
#[derive(Debug)]
pub struct ExaminedRows {
    metrics: Metrics,
    /// By row.
    clusters: Vec<u32>,
    cluster_count: usize,
    groupings: Vec<RowKeys>,
    pub rows: u64,
}

/// A metric on some rows and on resamples of them.
#[derive(Clone, Debug)]
pub struct ExaminedMetric {
    /// As in the spec: `auc(click)`.
    pub name: String,
    pub direction: Direction,
    pub value: Result<f64, Undefined>,
    pub detail: Detail,
    /// On each resample; NaN where undefined.
    pub resampled: Vec<f64>,
}

/// The rows that have something in common.
#[derive(Clone, Debug)]
pub struct ExaminedSlice {
    /// `Hangzhou`, `11 to 20`
    pub label: String,
    pub rows: u64,
    /// In the order of the program's metrics.
    pub metrics: Vec<ExaminedMetric>,
}

/// The slices by one grouping.
#[derive(Clone, Debug)]
pub struct ExaminedSlices {
    pub by: String,
    pub slices: Vec<ExaminedSlice>,
    /// Smaller slices, which were not measured.
    pub left_out: usize,
}

/// What is known of one prediction of a binary label.
#[derive(Clone, Copy, Debug)]
pub struct ExaminedPrediction<'a> {
    pub logits: &'a [f32],
    pub labels: &'a [bool],
}

/// One slice on its way: its label, its rows of the data, and metrics ready to be resampled.
type Prepared = (String, u64, Vec<(ResampledMetric, Result<f64, Undefined>, Detail)>);

impl ExaminedRows {
    /// Clusters that were resampled.
    pub fn clusters(&self) -> usize {
        self.cluster_count
    }

    /// Whether resamples of the two draw the same rows.
    pub fn is_paired_with(&self, other: &ExaminedRows) -> bool {
        self.clusters == other.clusters
    }

    /// Logits and labels of a binary prediction.
    pub fn prediction(&self, index: usize, program: &Program) -> Option<ExaminedPrediction<'_>> {
        let collected = &self.metrics.collected[index];
        match program.predictions[index].distribution {
            Distribution::Bernoulli => {
                Some(ExaminedPrediction { logits: &collected.predicted, labels: collected.labels.classes() })
            }
            Distribution::Normal
            | Distribution::Poisson
            | Distribution::Quantile { .. }
            | Distribution::Categorical { .. }
            | Distribution::Ordinal { .. } => None,
        }
    }

    /// Every metric of the program on all rows.
    pub fn metrics(&self, bootstrap: &Bootstrap, threads: &Threads) -> Vec<ExaminedMetric> {
        let all = self.prepare("all".into(), &|_| true);
        self.resample(vec![all], bootstrap, threads).remove(0).metrics
    }

    /// The same on the slices by each grouping.
    pub fn slices(&self, bootstrap: &Bootstrap, threads: &Threads) -> Vec<ExaminedSlices> {
        let slices = |grouping: &RowKeys| {
            let (labels, left_out) = grouping.labels();
            let prepared = labels.iter().map(|(label, low, high)| {
                self.prepare(label.clone(), &|row| (*low..=*high).contains(&grouping.keys[row]))
            });
            let slices = self.resample(prepared.collect(), bootstrap, threads);
            ExaminedSlices { by: grouping.grouping.name(), slices, left_out }
        };
        self.groupings.iter().map(slices).collect()
    }

    /// The metrics of the rows for which `has` is true.
    fn prepare(&self, label: String, has: &dyn Fn(usize) -> bool) -> Prepared {
        let numbers = self.metrics.row_numbers.as_ref().expect("an examination asks for the numbers of rows");
        // By population, rows and their clusters.
        let populations: Vec<_> = numbers
            .iter()
            .zip(&self.metrics.collected)
            .map(|(numbers, collected)| {
                let kept: Vec<usize> = (0..numbers.len()).filter(|&k| has(numbers[k] as usize)).collect();
                let clusters: Vec<u32> = kept.iter().map(|&k| self.clusters[numbers[k] as usize]).collect();
                (collected.subset(&kept), clusters)
            })
            .collect();
        let metric = |metric: &din_program::schema::Metric| {
            let (rows, clusters) = &populations[index_of(&self.metrics.populations, metric)];
            let (value, detail) = rows.measure(&metric.kind);
            (ResampledMetric::new(&metric.kind, rows, clusters), value, detail)
        };
        let metrics = self.metrics.metrics.iter().map(metric).collect();
        let rows = (0..self.rows as usize).filter(|&row| has(row)).count() as u64;
        (label, rows, metrics)
    }

    fn resample(&self, prepared: Vec<Prepared>, bootstrap: &Bootstrap, threads: &Threads) -> Vec<ExaminedSlice> {
        let statistics: Vec<&ResampledMetric> =
            prepared.iter().flat_map(|(_, _, metrics)| metrics.iter().map(|(metric, _, _)| metric)).collect();
        let mut values = bootstrap.values(self.cluster_count, &statistics, threads).into_iter();
        let slice = |(label, rows, metrics): &Prepared| ExaminedSlice {
            label: label.clone(),
            rows: *rows,
            metrics: metrics
                .iter()
                .zip(&self.metrics.metrics)
                .map(|((_, value, detail), metric)| ExaminedMetric {
                    name: metric.name.clone(),
                    direction: metric.kind.direction(),
                    value: *value,
                    detail: detail.clone(),
                    resampled: values.next().expect("every metric was resampled"),
                })
                .collect(),
        };
        prepared.iter().map(slice).collect()
    }
}

impl RowKeys {
    /// Labels of the slices with the keys that they are of, from the first to the last, and how
    /// many smaller ones there are.
    fn labels(&self) -> (Vec<(String, u64, u64)>, usize) {
        match &self.grouping {
            RowGrouping::Value(_) => self.largest(),
            RowGrouping::Length { .. } => (self.buckets(&LENGTHS, "none"), 0),
            RowGrouping::Frequency { .. } => (self.buckets(&COUNTS, "not in training"), 0),
            RowGrouping::Known { .. } => {
                let labels = [("new", 0), ("known", 1)].into_iter();
                let there = labels.filter(|(_, key)| self.keys.contains(key));
                (there.map(|(label, key)| (label.to_string(), key, key)).collect(), 0)
            }
        }
    }

    fn largest(&self) -> (Vec<(String, u64, u64)>, usize) {
        let values = self.values.as_ref().expect("keys of values have names");
        let mut counts: FxHashMap<u64, u64> = FxHashMap::default();
        self.keys.iter().for_each(|&key| *counts.entry(key).or_default() += 1);
        let mut slices: Vec<(&SliceValue, u64, u64)> =
            counts.iter().map(|(key, &rows)| (&values.values[key], *key, rows)).collect();
        slices.sort_by(|a, b| {
            let values = a.0.partial_cmp(b.0).expect("boundaries are numbers");
            b.2.cmp(&a.2).then(values)
        });
        let left_out = slices.len().saturating_sub(MOST_SLICES);
        slices.truncate(MOST_SLICES);
        (slices.into_iter().map(|(value, key, _)| (value.to_string(), key, key)).collect(), left_out)
    }

    /// The buckets that have rows.
    fn buckets(&self, bounds: &[u64], none: &str) -> Vec<(String, u64, u64)> {
        let ends = bounds[1..].iter().map(|&next| next - 1).chain([u64::MAX]);
        let label = |low: u64, high: u64| match (low, high) {
            (0, _) => none.to_string(),
            (low, u64::MAX) => format!("{low} or more"),
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low} to {high}"),
        };
        let all = bounds.iter().zip(ends).map(|(&low, high)| (label(low, high), low, high));
        all.filter(|(_, low, high)| self.keys.iter().any(|key| (*low..=*high).contains(key))).collect()
    }
}
