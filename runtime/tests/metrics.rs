//! Metrics against scikit-learn on random data with many ties (figures by
//! `reference/metrics.py`).

use din_program::schema::{Distribution, GroupWeight, Metric, MetricKind, Prediction, RankedMeasure};
use din_runtime::batch::Batch;
use din_runtime::metric::{
    Metrics, auc, brier, calibration, gauc, log_loss, mae, normalized_entropy, pr_auc, ranked, rmse, weighted_auc,
    weighted_brier, weighted_calibration, weighted_gauc, weighted_log_loss, weighted_mae, weighted_normalized_entropy,
    weighted_pr_auc, weighted_rmse, weighted_xauc, xauc,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    group: Vec<i64>,
    label: Vec<u8>,
    score: Vec<f32>,
    auc: f64,
    gauc_impressions: f64,
    gauc_clicks: f64,
    gauc_none: f64,
    groups: u64,
    skipped_groups: u64,
    log_loss: f64,
    pr_auc: f64,
    brier: f64,
    normalized_entropy: f64,
    pcoc: f64,
    /// `k`, and the mean over groups.
    ndcg: Vec<(u32, f64)>,
}

#[test]
fn equal_scikit_learn() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("reference/metrics.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let labels: Vec<bool> = case.label.iter().map(|&l| l == 1).collect();
        let groups: Vec<u64> = case.group.iter().map(|&g| g as u64).collect();
        let near = |ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        near(auc(&case.score, &labels).value.unwrap(), case.auc);
        near(log_loss(&case.score, &labels).unwrap(), case.log_loss);
        near(pr_auc(&case.score, &labels).value.unwrap(), case.pr_auc);
        near(brier(&case.score, &labels).unwrap(), case.brier);
        near(normalized_entropy(&case.score, &labels).unwrap(), case.normalized_entropy);
        near(calibration(&case.score, &labels).unwrap(), case.pcoc);
        assert_eq!(case.ndcg.len(), 3);
        for (k, expected) in case.ndcg {
            near(ranked(RankedMeasure::Ndcg, k, &groups, &case.score, &labels).value.unwrap(), expected);
        }
        for (weight, expected) in [
            (GroupWeight::Impressions, case.gauc_impressions),
            (GroupWeight::Clicks, case.gauc_clicks),
            (GroupWeight::None, case.gauc_none),
        ] {
            let result = gauc(&groups, &case.score, &labels, weight);
            near(result.value.unwrap(), expected);
            assert_eq!((result.groups, result.skipped_groups), (case.groups, case.skipped_groups));
        }
    }
}

#[derive(Deserialize)]
struct NumericCase {
    label: Vec<f32>,
    prediction: Vec<f32>,
    rmse: f64,
    mae: f64,
    xauc: f64,
}

/// Figures by `reference/numeric_metrics.py`.
#[test]
fn of_numbers_equal_scikit_learn_and_scipy() {
    let cases: Vec<NumericCase> = serde_json::from_str(include_str!("reference/numeric_metrics.json")).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let near = |ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        near(rmse(&case.prediction, &case.label).unwrap(), case.rmse);
        near(mae(&case.prediction, &case.label).unwrap(), case.mae);
        near(xauc(&case.prediction, &case.label).unwrap(), case.xauc);
    }
}

#[derive(Deserialize)]
struct WeightedCase {
    group: Vec<i64>,
    label: Vec<u8>,
    score: Vec<f32>,
    number: Vec<f32>,
    weight: Vec<f32>,
    auc: f64,
    gauc_impressions: f64,
    gauc_clicks: f64,
    gauc_none: f64,
    groups: u64,
    log_loss: f64,
    pr_auc: f64,
    brier: f64,
    normalized_entropy: f64,
    pcoc: f64,
    rmse: f64,
    mae: f64,
    xauc: f64,
}

/// Figures by `reference/weighted_metrics.py`.
#[test]
fn with_weights_equal_scikit_learn() {
    let cases: Vec<WeightedCase> = serde_json::from_str(include_str!("reference/weighted_metrics.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let labels: Vec<bool> = case.label.iter().map(|&l| l == 1).collect();
        let groups: Vec<u64> = case.group.iter().map(|&g| g as u64).collect();
        let (score, number, weight) = (&case.score, &case.number, &case.weight);
        let near = |ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-9, "{ours} {theirs}");
        near(weighted_auc(score, &labels, weight).value.unwrap(), case.auc);
        near(weighted_pr_auc(score, &labels, weight).value.unwrap(), case.pr_auc);
        near(weighted_log_loss(score, &labels, weight).unwrap(), case.log_loss);
        near(weighted_brier(score, &labels, weight).unwrap(), case.brier);
        near(weighted_normalized_entropy(score, &labels, weight).unwrap(), case.normalized_entropy);
        near(weighted_calibration(score, &labels, weight).unwrap(), case.pcoc);
        near(weighted_rmse(score, number, weight).unwrap(), case.rmse);
        near(weighted_mae(score, number, weight).unwrap(), case.mae);
        near(weighted_xauc(score, number, weight).unwrap(), case.xauc);
        for (of, expected) in [
            (GroupWeight::Impressions, case.gauc_impressions),
            (GroupWeight::Clicks, case.gauc_clicks),
            (GroupWeight::None, case.gauc_none),
        ] {
            let result = weighted_gauc(&groups, score, &labels, weight, of);
            near(result.value.unwrap(), expected);
            assert_eq!(result.groups, case.groups);
        }
    }
}

#[derive(Deserialize)]
struct ClassCase {
    classes: u32,
    label: Vec<f32>,
    logits: Vec<f32>,
    weight: Vec<f32>,
    accuracy: f64,
    weighted_accuracy: f64,
    log_loss: f64,
    weighted_log_loss: f64,
}

/// Figures by `reference/class_metrics.py`. The logarithm of each probability is rounded to f32.
#[test]
fn of_classes_equal_scikit_learn() {
    let cases: Vec<ClassCase> = serde_json::from_str(include_str!("reference/class_metrics.json")).unwrap();
    assert_eq!(cases.len(), 4);
    let metric = |kind: MetricKind, sample_weight| Metric {
        name: "of classes".into(),
        prediction: 0,
        kind,
        condition: None,
        sample_weight,
        slices: Vec::new(),
    };
    let metrics =
        [None, Some(0)].map(|weight| [MetricKind::Accuracy, MetricKind::LogLoss].map(|kind| metric(kind, weight)));
    for case in cases {
        for distribution in
            [Distribution::Categorical { classes: case.classes }, Distribution::Ordinal { classes: case.classes }]
        {
            let prediction = Prediction { name: "kind".into(), label: 0, distribution };
            let mut collected = Metrics::new(&[prediction], metrics.concat().as_slice());
            let rows = case.label.len();
            let batch =
                Batch { rows, labels: vec![case.label.clone()], present: vec![vec![1.0; rows]], ..Batch::default() };
            collected.push(0, &batch, &[&case.logits], &[&case.weight]);
            let found = collected.finish();
            let expected = [case.accuracy, case.log_loss, case.weighted_accuracy, case.weighted_log_loss];
            for (found, expected) in found.iter().zip(expected) {
                let value = found.value.unwrap();
                assert!((value - expected).abs() < 1e-7, "{value} {expected} of {} classes", case.classes);
            }
        }
    }
    // A binary label is predicted as 1 where its probability is above one half.
    let prediction = Prediction { name: "click".into(), label: 0, distribution: Distribution::Bernoulli };
    let mut collected = Metrics::new(&[prediction], metrics.concat().as_slice());
    let (labels, present) = (vec![vec![1.0, 0.0, 1.0, 0.0]], vec![vec![1.0; 4]]);
    collected.push(
        0,
        &Batch { rows: 4, labels, present, ..Batch::default() },
        &[[0.5, 0.25, -1.0, 0.0]],
        &[&[1.0, 2.0, 0.0, 1.0]],
    );
    let found = collected.finish();
    assert_eq!([found[0].value, found[2].value], [Ok(0.5), Ok(0.5)]);
}
