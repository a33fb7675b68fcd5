//! Resampled metrics against the formulas on rows that are really repeated, and the share of
//! samples whose interval holds a value that is known in closed form.

use super::*;
use crate::random::normal_pair;
use din_program::schema::{GroupBy, RankedMeasure};

fn collected(predicted: Vec<f32>, labels: Vec<bool>, groups: Vec<u64>) -> Collected {
    Collected {
        predicted,
        labels: Labels::Classes(labels),
        weights: None,
        groups: vec![(SliceBy::Value(GroupBy::Key(0)), groups)],
    }
}

const BY: GroupBy = GroupBy::Key(0);

fn kinds() -> Vec<MetricKind> {
    vec![
        MetricKind::Auc,
        MetricKind::PrAuc,
        MetricKind::LogLoss,
        MetricKind::Brier,
        MetricKind::Accuracy,
        MetricKind::Calibration,
        MetricKind::NormalizedEntropy,
        MetricKind::RelativeInformationGain,
        MetricKind::Gauc { by: BY, weight: GroupWeight::Impressions },
        MetricKind::Gauc { by: BY, weight: GroupWeight::Clicks },
        MetricKind::Gauc { by: BY, weight: GroupWeight::None },
    ]
}

/// 120 rows with ties, in 30 clusters.
fn rows() -> (Collected, Vec<u32>) {
    let stream = Stream::new(4, "rows", 0);
    let clusters: Vec<u32> = (0..120).map(|row| (row * 7 % 30) as u32).collect();
    let predicted = (0..120).map(|row| (stream.below(row, 9) as f32 - 4.0) / 2.0).collect();
    let labels = (200..320).map(|row| stream.uniform(row) < 0.4).collect();
    let groups = clusters.iter().map(|&cluster| u64::from(cluster / 2)).collect();
    (collected(predicted, labels, groups), clusters)
}

/// The rows as often as their clusters are drawn; `apart`: each copy of a cluster's groups is a
/// group of its own.
fn repeated(rows: &Collected, clusters: &[u32], drawn: &[[f32; LANES]], lane: usize, apart: bool) -> Collected {
    let (mut taken, mut copies) = (Vec::new(), Vec::new());
    for (row, &cluster) in clusters.iter().enumerate() {
        for copy in 0..drawn[cluster as usize][lane] as u64 {
            taken.push(row);
            copies.push(copy);
        }
    }
    let mut made = rows.subset(&taken);
    if apart {
        made.groups[0].1.iter_mut().zip(copies).for_each(|(group, copy)| *group += 1000 * copy);
    }
    made
}

#[test]
fn a_resample_is_the_metric_of_repeated_rows() {
    let (across, clusters) = rows();
    let within = Collected {
        groups: vec![(SliceBy::Value(BY), clusters.iter().map(|&cluster| u64::from(cluster)).collect())],
        ..across.clone()
    };
    let drawn = Bootstrap { resamples: LANES, seed: 3 }.draw(0, 30);
    for lane in 0..LANES {
        assert_eq!(drawn.iter().map(|of| of[lane]).sum::<f32>(), 30.0, "as many clusters as there are");
    }
    let check = |kind: &MetricKind, rows: &Collected, apart: bool| {
        let found = ResampledMetric::new(kind, rows, &clusters).on(&drawn);
        for (lane, &value) in found.iter().enumerate() {
            let expected = repeated(rows, &clusters, &drawn, lane, apart).measure(kind).0.unwrap();
            assert!((value - expected).abs() < 1e-12, "{kind:?}, {lane}: {value} {expected}");
        }
    };
    for kind in kinds() {
        check(&kind, &across, false);
        check(&kind, &within, true);
    }
    for measure in [RankedMeasure::Ndcg, RankedMeasure::HitRate, RankedMeasure::ReciprocalRank] {
        let kind = MetricKind::Ranked { measure, by: BY, k: 2 };
        check(&kind, &within, true);
        assert!(ResampledMetric::new(&kind, &across, &clusters).on(&drawn)[0].is_nan(), "groups across clusters");
    }
}

#[test]
fn numbers_and_weights_are_resampled() {
    let (rows, clusters) = rows();
    let weights: Vec<f32> = (0..120).map(|row| (row % 4) as f32 / 2.0).collect();
    let numbers = |weights| Collected {
        labels: Labels::Numbers((0..120).map(|row| (row % 11) as f32 / 3.0 - 1.0).collect()),
        weights,
        ..rows.clone()
    };
    let drawn = Bootstrap { resamples: LANES, seed: 3 }.draw(0, 30);
    let check = |kind: &MetricKind, rows: &Collected| {
        let found = ResampledMetric::new(kind, rows, &clusters).on(&drawn);
        let expected = repeated(rows, &clusters, &drawn, 5, false).measure(kind).0.unwrap();
        assert!((found[5] - expected).abs() < 1e-12, "{kind:?}: {} {expected}", found[5]);
    };
    for kind in [MetricKind::RootMeanSquaredError, MetricKind::MeanAbsoluteError, MetricKind::Xauc] {
        check(&kind, &numbers(None));
        check(&kind, &numbers(Some(weights.clone())));
    }
    let weighted = Collected { weights: Some(weights), ..rows.clone() };
    kinds().iter().for_each(|kind| check(kind, &weighted));
}

#[test]
fn values_depend_on_the_seed_alone() {
    let (rows, clusters) = rows();
    let metrics: Vec<ResampledMetric> =
        kinds().iter().map(|kind| ResampledMetric::new(kind, &rows, &clusters)).collect();
    let metrics: Vec<&ResampledMetric> = metrics.iter().collect();
    let values = |seed, threads: &Threads| {
        let values = Bootstrap { resamples: 100, seed }.values(30, &metrics, threads);
        values.concat().into_iter().map(f64::to_bits).collect::<Vec<u64>>()
    };
    let alone = values(7, &Threads::caller());
    assert_eq!(alone.len(), 100 * metrics.len());
    assert_eq!(values(7, &Threads::new(3).unwrap()), alone);
    assert_ne!(values(8, &Threads::caller()), alone);
}

/// Of 1 to 100, what lies 2.475 places above the first and below the last.
#[test]
fn percentiles_are_interpolated() {
    let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    let found = Interval::percentile(&values, 0.95).unwrap();
    assert!((found.low - 3.475).abs() < 1e-12 && (found.high - 97.525).abs() < 1e-12, "{found:?}");
    values[..5].fill(f64::NAN);
    assert!(Interval::percentile(&values, 0.95).is_some());
    values[..6].fill(f64::NAN);
    assert_eq!(Interval::percentile(&values, 0.95), None);
    assert_eq!(Interval::percentile(&[], 0.95), None);
}

/// Scores of users: `label + a + b`, both standard normal, `a` the same in all four rows of a user,
/// as is the label. Of independent rows, a positive scores above a negative with the chance
/// `Phi(1 / sqrt(2 (1 + 1)))`, `Phi(1 / 2)`.
#[test]
fn intervals_hold_the_truth_where_clusters_are_drawn() {
    const TRUTH: f64 = 0.691_462_461_274_013_1;
    const USERS: u64 = 150;
    let covered = |clustered: bool| {
        (0..100)
            .filter(|&sample| {
                let stream = Stream::new(sample, "coverage", 0);
                let normal = |at: u64| {
                    let word = stream.word(at);
                    normal_pair(word as u32, (word >> 32) as u32).0
                };
                let score = |row: u64| (row / 4 % 2) as f64 + normal(row / 4) + normal(10_000 + row);
                let predicted = (0..4 * USERS).map(|row| score(row) as f32).collect();
                let labels = (0..4 * USERS).map(|row| row / 4 % 2 == 1).collect();
                let rows = collected(predicted, labels, vec![0; 4 * USERS as usize]);
                let clusters: Vec<u32> =
                    (0..4 * USERS as u32).map(|row| if clustered { row / 4 } else { row }).collect();
                let metric = ResampledMetric::new(&MetricKind::Auc, &rows, &clusters);
                let count = *clusters.last().unwrap() as usize + 1;
                let bootstrap = Bootstrap { resamples: 400, seed: sample };
                let values = bootstrap.values(count, &[&metric], &Threads::caller()).remove(0);
                let interval = Interval::percentile(&values, 0.95).unwrap();
                (interval.low..=interval.high).contains(&TRUTH)
            })
            .count()
    };
    let by_user = covered(true);
    assert!((90..=99).contains(&by_user), "{by_user} of 100 intervals");
    let by_row = covered(false);
    assert!(by_row < 90, "rows of one user are not independent, yet {by_row} of 100 intervals hold");
}
