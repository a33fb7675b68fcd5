//! What a metric would be on other samples from the same source: the bootstrap over clusters of
//! rows, such as the rows of one user, which are not independent of each other.
//!
//! A resample draws as many clusters as there are, with replacement; each row counts as often as
//! its cluster was drawn. Which clusters a resample draws depends on the seed, its number and the
//! number of clusters alone, so that the differences of two models on the same data are paired.
//! Rows are sorted once: a resample changes only how much each counts.

use super::auc::ordered;
use super::labels::Labels;
use super::pointwise::{loss, miss, probability};
use super::ranked::ranked;
use super::report::Collected;
use super::weighted::weighted_xauc;
use crate::random::Stream;
use crate::threads::Threads;
use din_program::schema::{GroupWeight, MetricKind, SliceBy};
use std::sync::{Mutex, PoisonError};

/// Resamples that one walk over the rows computes.
const LANES: usize = 16;

type Lanes = [f64; LANES];

/// How often data are resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    pub resamples: usize,
    pub seed: u64,
}

impl Bootstrap {
    /// By cluster, how often each of the resamples from `first` draws it.
    fn draw(&self, first: usize, clusters: usize) -> Vec<[f32; LANES]> {
        let mut drawn = vec![[0.0; LANES]; clusters];
        (0..LANES).for_each(|lane| {
            let stream = Stream::new(self.seed, "bootstrap", (first + lane) as u64);
            for pair in 0..clusters.div_ceil(2) as u64 {
                let [a, b, c, d] = stream.block(pair);
                for (k, (low, high)) in [(a, b), (c, d)].into_iter().enumerate() {
                    if 2 * pair as usize + k < clusters {
                        let word = u64::from(high) << 32 | u64::from(low);
                        let cluster = (u128::from(word) * clusters as u128) >> 64;
                        drawn[cluster as usize][lane] += 1.0;
                    }
                }
            }
        });
        drawn
    }

    /// By statistic, its values on all resamples; NaN where one is undefined. `clusters` is the
    /// number of clusters of the data. The values do not depend on the threads.
    pub fn values(&self, clusters: usize, statistics: &[&ResampledMetric], threads: &Threads) -> Vec<Vec<f64>> {
        let blocks = self.resamples.div_ceil(LANES);
        let by_block: Vec<Mutex<Vec<Lanes>>> = (0..blocks).map(|_| Mutex::new(Vec::new())).collect();
        threads.parallel_for(blocks, &|block| {
            let drawn = self.draw(block * LANES, clusters);
            let values = statistics.iter().map(|statistic| statistic.on(&drawn)).collect();
            *by_block[block].lock().unwrap_or_else(PoisonError::into_inner) = values;
        });
        let by_block: Vec<Vec<Lanes>> =
            by_block.into_iter().map(|block| block.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        let of = |k: usize| {
            let mut values: Vec<f64> = by_block.iter().flat_map(|block| block[k]).collect();
            values.truncate(self.resamples);
            values
        };
        (0..statistics.len()).map(of).collect()
    }
}

/// Where a value lies with some probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// Of resampled values the middle `level` of all, by percentiles between which is interpolated;
    /// `None` where more than a twentieth are undefined.
    pub fn percentile(values: &[f64], level: f64) -> Option<Self> {
        let mut defined: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        if defined.len() < 2 || defined.len() * 20 < values.len() * 19 {
            return None;
        }
        defined.sort_unstable_by(f64::total_cmp);
        let at = |quantile: f64| {
            let place = quantile * (defined.len() - 1) as f64;
            let below = place.floor() as usize;
            let above = (below + 1).min(defined.len() - 1);
            defined[below] + (place - below as f64) * (defined[above] - defined[below])
        };
        Some(Self { low: at((1.0 - level) / 2.0), high: at((1.0 + level) / 2.0) })
    }
}

/// A metric of some rows, ready to be computed with each cluster of them counted any number of
/// times.
#[derive(Clone, Debug)]
pub struct ResampledMetric(Form);

#[derive(Clone, Debug)]
enum Form {
    /// A function of sums over rows: of each cluster, its sums.
    Sums { of: SumsOf, clusters: Vec<(u32, [f64; 3])> },
    /// The area under the ROC curve; rows ascend by score.
    Area(Vec<CurveRow>),
    /// Average precision; rows descend by score.
    Precision(Vec<CurveRow>),
    /// GAUC whose groups are not within clusters; rows ascend by group, then score.
    Groups { rows: Vec<CurveRow>, ends: Vec<usize>, weight: GroupWeight },
    /// XAUC.
    Pairs { predicted: Vec<f32>, labels: Vec<f32>, weights: Vec<f32>, clusters: Vec<u32> },
    /// Nothing can be said, whatever the resample.
    Undefined,
}

/// What is made of three sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SumsOf {
    /// The first by the second.
    Ratio,
    /// The root of the first by the second.
    RootRatio,
    /// The mean of losses (first) by the entropy of the labels (second), both over weights (third).
    Entropy,
    /// 1 less that.
    Gain,
}

/// A sample of a curve.
#[derive(Clone, Copy, Debug)]
struct CurveRow {
    /// Twice the cluster, and 1 of a positive: up to 2^31 clusters.
    cluster: u32,
    weight: f32,
    /// Whether the next row has another score.
    ends_tie: bool,
}

impl CurveRow {
    fn is_positive(self) -> bool {
        self.cluster & 1 == 1
    }

    /// How much it counts in each resample.
    fn counts(self, drawn: &[[f32; LANES]]) -> Lanes {
        let (drawn, weight) = (&drawn[(self.cluster >> 1) as usize], f64::from(self.weight));
        std::array::from_fn(|lane| f64::from(drawn[lane]) * weight)
    }
}

/// Pairs of a positive and a negative that are in order, and what the two sides weigh.
#[derive(Clone, Copy, Default)]
struct Sides {
    pairs: Lanes,
    positives: Lanes,
    negatives: Lanes,
}

/// Of rows that ascend by score, the last of which ends a tie. Sums of counts are whole numbers
/// below 2^53 where samples have no weights: exact.
fn sides(rows: &[CurveRow], drawn: &[[f32; LANES]]) -> Sides {
    let mut all = Sides::default();
    let mut rows = rows.iter();
    while let Some(row) = rows.next() {
        let counts = row.counts(drawn);
        if row.ends_tie {
            match row.is_positive() {
                true => (0..LANES).for_each(|lane| {
                    all.pairs[lane] += counts[lane] * all.negatives[lane];
                    all.positives[lane] += counts[lane];
                }),
                false => (0..LANES).for_each(|lane| all.negatives[lane] += counts[lane]),
            }
            continue;
        }
        let mut tied = [Lanes::default(); 2];
        (0..LANES).for_each(|lane| tied[usize::from(row.is_positive())][lane] += counts[lane]);
        for row in rows.by_ref() {
            let counts = row.counts(drawn);
            (0..LANES).for_each(|lane| tied[usize::from(row.is_positive())][lane] += counts[lane]);
            if row.ends_tie {
                break;
            }
        }
        (0..LANES).for_each(|lane| {
            all.pairs[lane] += tied[1][lane] * (all.negatives[lane] + tied[0][lane] / 2.0);
            all.positives[lane] += tied[1][lane];
            all.negatives[lane] += tied[0][lane];
        });
    }
    all
}

impl ResampledMetric {
    /// `clusters`: of each of the rows, its cluster.
    pub(super) fn new(kind: &MetricKind, rows: &Collected, clusters: &[u32]) -> Self {
        if rows.predicted.is_empty() || rows.predicted.iter().any(|p| p.is_nan()) {
            return Self(Form::Undefined);
        }
        let weight = |row: usize| rows.weights.as_ref().map_or(1.0, |weights| weights[row]);
        if (0..rows.labels.len()).any(|row| !(weight(row) >= 0.0 && weight(row).is_finite())) {
            return Self(Form::Undefined);
        }
        let curve = |key: &dyn Fn(usize) -> (u64, u32)| -> Vec<CurveRow> {
            let labels = rows.labels.classes();
            let mut order: Vec<u32> = (0..labels.len() as u32).collect();
            order.sort_unstable_by_key(|&row| (key(row as usize), row));
            let next = order.iter().skip(1).map(|&row| Some(key(row as usize))).chain([None]);
            let made = order.iter().zip(next).map(|(&row, next)| {
                let row = row as usize;
                CurveRow {
                    cluster: clusters[row] << 1 | u32::from(labels[row]),
                    weight: weight(row),
                    ends_tie: next != Some(key(row)),
                }
            });
            made.collect()
        };
        let score = |row: usize| ordered(rows.predicted[row]);
        let sums = |of: SumsOf, terms: &dyn Fn(usize) -> [f64; 3]| {
            let weighed = |row: usize| terms(row).map(|term| term * f64::from(weight(row)));
            // A weight of 0 leaves a sample out, whatever its loss, which may be infinite.
            let counted = (0..rows.labels.len()).filter(|&row| weight(row) > 0.0);
            Self::sums(of, counted.map(|row| (clusters[row], weighed(row))).collect())
        };
        let bit = |label: bool| f64::from(u8::from(label));
        Self(match *kind {
            MetricKind::Auc => Form::Area(curve(&|row| (0, score(row)))),
            MetricKind::PrAuc => Form::Precision(curve(&|row| (0, !score(row)))),
            MetricKind::Gauc { by, weight: of_group } => {
                let groups = rows.keys(&SliceBy::Value(by));
                match Grouping::new(groups, clusters) {
                    Some(grouping) => {
                        return grouping.sums(|group, cluster| {
                            let group = rows.subset(group);
                            let alone = vec![0; group.predicted.len()];
                            let area = Self::new(&MetricKind::Auc, &group, &alone);
                            let Form::Area(curve) = &area.0 else { return None };
                            let Sides { pairs, positives, negatives } = sides(curve, &[[1.0; LANES]]);
                            let both = positives[0] * negatives[0];
                            let counts = counted(of_group, positives[0], negatives[0]);
                            (both > 0.0).then(|| (cluster, [counts * pairs[0] / both, counts, 0.0]))
                        });
                    }
                    None => {
                        let mut keys = groups.to_vec();
                        keys.sort_unstable();
                        let mut ends = Vec::new();
                        for group in keys.chunk_by(|a, b| a == b) {
                            ends.push(ends.last().copied().unwrap_or(0) + group.len());
                        }
                        let rows = curve(&|row| (groups[row], score(row)));
                        Form::Groups { rows, ends, weight: of_group }
                    }
                }
            }
            MetricKind::Ranked { measure, by, k } => {
                let groups = rows.keys(&SliceBy::Value(by));
                let Some(grouping) = Grouping::new(groups, clusters) else { return Self(Form::Undefined) };
                return grouping.sums(|group, cluster| {
                    let group = rows.subset(group);
                    let one = vec![0; group.predicted.len()];
                    let value = ranked(measure, k, &one, &group.predicted, group.labels.classes()).value;
                    value.ok().map(|value| (cluster, [value, 1.0, 0.0]))
                });
            }
            MetricKind::LogLoss => match &rows.labels {
                Labels::Classes(labels) => {
                    return sums(SumsOf::Ratio, &|row| [loss(rows.predicted[row], labels[row]), 1.0, 0.0]);
                }
                Labels::Hits(_) | Labels::Numbers(_) => {
                    return sums(SumsOf::Ratio, &|row| [-f64::from(rows.predicted[row]), 1.0, 0.0]);
                }
            },
            MetricKind::Accuracy => {
                let hits = rows.hits();
                return sums(SumsOf::Ratio, &|row| [bit(hits[row]), 1.0, 0.0]);
            }
            MetricKind::NormalizedEntropy | MetricKind::RelativeInformationGain => {
                let labels = rows.labels.classes();
                let of = if *kind == MetricKind::NormalizedEntropy { SumsOf::Entropy } else { SumsOf::Gain };
                return sums(of, &|row| [loss(rows.predicted[row], labels[row]), bit(labels[row]), 1.0]);
            }
            MetricKind::Calibration => {
                let labels = rows.labels.classes();
                return sums(SumsOf::Ratio, &|row| [probability(rows.predicted[row]), bit(labels[row]), 0.0]);
            }
            MetricKind::Brier => {
                let labels = rows.labels.classes();
                return sums(SumsOf::Ratio, &|row| [miss(rows.predicted[row], labels[row]).powi(2), 1.0, 0.0]);
            }
            MetricKind::RootMeanSquaredError => {
                let gap = |row: usize| f64::from(rows.predicted[row]) - f64::from(rows.labels.numbers()[row]);
                return sums(SumsOf::RootRatio, &|row| [gap(row).powi(2), 1.0, 0.0]);
            }
            MetricKind::MeanAbsoluteError => {
                let gap = |row: usize| f64::from(rows.predicted[row]) - f64::from(rows.labels.numbers()[row]);
                return sums(SumsOf::Ratio, &|row| [gap(row).abs(), 1.0, 0.0]);
            }
            MetricKind::Xauc => Form::Pairs {
                predicted: rows.predicted.clone(),
                labels: rows.labels.numbers().to_vec(),
                weights: (0..rows.labels.len()).map(weight).collect(),
                clusters: clusters.to_vec(),
            },
        })
    }

    /// Sums by cluster, of terms in any order.
    fn sums(of: SumsOf, mut terms: Vec<(u32, [f64; 3])>) -> Self {
        // Stable: the terms of a cluster are added in the order of rows.
        terms.sort_by_key(|(cluster, _)| *cluster);
        let join = |terms: &[(u32, [f64; 3])]| {
            let mut sums = [0.0; 3];
            terms.iter().for_each(|(_, terms)| sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term));
            (terms[0].0, sums)
        };
        Self(Form::Sums { of, clusters: terms.chunk_by(|a, b| a.0 == b.0).map(join).collect() })
    }

    /// The values of some resamples; NaN where undefined.
    fn on(&self, drawn: &[[f32; LANES]]) -> Lanes {
        match &self.0 {
            Form::Undefined => [f64::NAN; LANES],
            Form::Sums { of, clusters } => {
                let mut sums = [Lanes::default(); 3];
                for (cluster, terms) in clusters {
                    let drawn = &drawn[*cluster as usize];
                    for (sum, term) in sums.iter_mut().zip(terms) {
                        for lane in 0..LANES {
                            sum[lane] += f64::from(drawn[lane]) * term;
                        }
                    }
                }
                std::array::from_fn(|lane| of.value(sums.map(|sum| sum[lane])))
            }
            Form::Area(rows) => {
                let Sides { pairs, positives, negatives } = sides(rows, drawn);
                std::array::from_fn(|lane| quotient(pairs[lane], positives[lane] * negatives[lane]))
            }
            Form::Precision(rows) => precision(rows, drawn),
            Form::Groups { rows, ends, weight } => {
                let (mut sum, mut all, mut begin) = (Lanes::default(), Lanes::default(), 0);
                for &end in ends {
                    let Sides { pairs, positives, negatives } = sides(&rows[begin..end], drawn);
                    for lane in 0..LANES {
                        let both = positives[lane] * negatives[lane];
                        if both > 0.0 {
                            let counts = counted(*weight, positives[lane], negatives[lane]);
                            sum[lane] += counts * pairs[lane] / both;
                            all[lane] += counts;
                        }
                    }
                    begin = end;
                }
                std::array::from_fn(|lane| quotient(sum[lane], all[lane]))
            }
            Form::Pairs { predicted, labels, weights, clusters } => std::array::from_fn(|lane| {
                let rows = clusters.iter().zip(weights);
                let weights: Vec<f32> = rows.map(|(&cluster, weight)| drawn[cluster as usize][lane] * weight).collect();
                weighted_xauc(predicted, labels, &weights).unwrap_or(f64::NAN)
            }),
        }
    }
}

/// Average precision of rows that descend by score.
fn precision(rows: &[CurveRow], drawn: &[[f32; LANES]]) -> Lanes {
    let (mut positives, mut negatives, mut sum) = (Lanes::default(), Lanes::default(), Lanes::default());
    let mut tied = Lanes::default();
    for row in rows {
        let counts = row.counts(drawn);
        for lane in 0..LANES {
            match row.is_positive() {
                true => {
                    positives[lane] += counts[lane];
                    tied[lane] += counts[lane];
                }
                false => negatives[lane] += counts[lane],
            }
        }
        if row.ends_tie {
            for lane in 0..LANES {
                if tied[lane] > 0.0 {
                    sum[lane] += tied[lane] * (positives[lane] / (positives[lane] + negatives[lane]));
                }
            }
            tied = Lanes::default();
        }
    }
    std::array::from_fn(|lane| quotient(sum[lane], positives[lane]))
}

/// NaN where the second is 0.
fn quotient(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { f64::NAN }
}

/// What a group counts in GAUC.
fn counted(weight: GroupWeight, positives: f64, negatives: f64) -> f64 {
    match weight {
        GroupWeight::Impressions => positives + negatives,
        GroupWeight::Clicks => positives,
        GroupWeight::None => 1.0,
    }
}

impl SumsOf {
    fn value(self, [a, b, c]: [f64; 3]) -> f64 {
        match self {
            Self::Ratio => quotient(a, b),
            Self::RootRatio => quotient(a, b).sqrt(),
            Self::Entropy => {
                let rate = quotient(b, c);
                // One class alone has no entropy.
                if rate > 0.0 && rate < 1.0 {
                    a / c / -(rate * rate.ln() + (1.0 - rate) * (-rate).ln_1p())
                } else {
                    f64::NAN
                }
            }
            Self::Gain => 1.0 - Self::Entropy.value([a, b, c]),
        }
    }
}

/// Groups of rows each of which is within one cluster.
struct Grouping<'a> {
    clusters: &'a [u32],
    /// Rows by group, in their order.
    rows: Vec<usize>,
    ends: Vec<usize>,
}

impl<'a> Grouping<'a> {
    /// `None` where a group has rows of several clusters.
    fn new(groups: &[u64], clusters: &'a [u32]) -> Option<Self> {
        let mut rows: Vec<usize> = (0..groups.len()).collect();
        rows.sort_unstable_by_key(|&row| (groups[row], row));
        let mut ends = Vec::new();
        for group in rows.chunk_by(|&a, &b| groups[a] == groups[b]) {
            if group.iter().any(|&row| clusters[row] != clusters[group[0]]) {
                return None;
            }
            ends.push(ends.last().copied().unwrap_or(0) + group.len());
        }
        Some(Self { clusters, rows, ends })
    }

    /// The mean of what is made of the rows of each group and its cluster.
    fn sums(&self, mut of: impl FnMut(&[usize], u32) -> Option<(u32, [f64; 3])>) -> ResampledMetric {
        let (mut terms, mut begin) = (Vec::new(), 0);
        for &end in &self.ends {
            let group = &self.rows[begin..end];
            terms.extend(of(group, self.clusters[group[0]]));
            begin = end;
        }
        ResampledMetric::sums(SumsOf::Ratio, terms)
    }
}

#[cfg(test)]
mod tests;
