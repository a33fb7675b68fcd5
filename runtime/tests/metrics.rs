//! Metrics against scikit-learn on random data with many ties (figures by
//! `reference/metrics.py`).
#![allow(clippy::unwrap_used)]

use din_program::schema::{GroupWeight, RankedMeasure};
use din_runtime::metric::{
    auc, brier, calibration, gauc, log_loss, mae, normalized_entropy, pr_auc, ranked, rmse, weighted_auc,
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
