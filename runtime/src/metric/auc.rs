//! Areas under curves: ROC, its mean over groups, and precision over recall.

use din_program::schema::GroupWeight;
use serde::{Deserialize, Serialize};

/// Why a metric has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undefined {
    NoRows,
    /// Only positives, or only negatives; for GAUC in every group.
    OneClass,
    /// Only negatives, where a metric needs positives alone.
    NoPositives,
    /// Some score is NaN.
    NaN,
    /// No two samples have different labels.
    EqualLabels,
    /// Some sample weight is negative, infinite or NaN.
    Weight,
    /// All sample weights are 0.
    NoWeight,
}

impl std::fmt::Display for Undefined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoRows => "no labelled rows",
            Self::OneClass => "labels of one class only",
            Self::NoPositives => "no label is 1",
            Self::NaN => "a prediction is NaN",
            Self::EqualLabels => "all labels are equal",
            Self::Weight => "a sample weight is negative or not finite",
            Self::NoWeight => "all sample weights are 0",
        })
    }
}

/// AUC with what it was computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub value: Result<f64, Undefined>,
    pub positives: u64,
    pub negatives: u64,
}

/// GAUC with what was left out of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupedArea {
    pub value: Result<f64, Undefined>,
    /// Groups with both classes.
    pub groups: u64,
    /// Groups of one class, which have no AUC and are left out, and their rows.
    pub skipped_groups: u64,
    pub skipped_rows: u64,
}

/// A number that orders as the score does: -0 equals 0, NaN is largest.
#[inline]
pub(super) fn ordered(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Twice the number of (positive, negative) pairs ranked right, ties counted once, and the class
/// sizes. `items` are (ordered score, label) ascending by score.
fn ranked_pairs(items: impl Iterator<Item = (u32, bool)>) -> (u128, u64, u64) {
    // At each distinct score: its positives beat all negatives before it, and half of those at it.
    let (mut doubled, mut positives, mut negatives) = (0u128, 0u64, 0u64);
    let (mut score, mut tied_positives, mut tied_negatives) = (None, 0u64, 0u64);
    let mut close = |p: u64, n: u64| {
        doubled += u128::from(p) * (2 * u128::from(negatives) + u128::from(n));
        positives += p;
        negatives += n;
    };
    for (at, label) in items {
        if score != Some(at) {
            close(tied_positives, tied_negatives);
            (score, tied_positives, tied_negatives) = (Some(at), 0, 0);
        }
        tied_positives += u64::from(label);
        tied_negatives += u64::from(!label);
    }
    close(tied_positives, tied_negatives);
    (doubled, positives, negatives)
}

/// The chance that a positive scores above a negative, ties half. Exact: one rounding, of the final
/// quotient.
pub fn auc(scores: &[f32], labels: &[bool]) -> Area {
    let mut items: Vec<u64> =
        scores.iter().zip(labels).map(|(&s, &l)| u64::from(ordered(s)) << 1 | u64::from(l)).collect();
    items.sort_unstable();
    let (doubled, positives, negatives) = ranked_pairs(items.iter().map(|&i| ((i >> 1) as u32, i & 1 == 1)));
    let value = if items.is_empty() {
        Err(Undefined::NoRows)
    } else if scores.iter().any(|s| s.is_nan()) {
        Err(Undefined::NaN)
    } else if positives == 0 || negatives == 0 {
        Err(Undefined::OneClass)
    } else {
        Ok(doubled as f64 / (2 * u128::from(positives) * u128::from(negatives)) as f64)
    };
    Area { value, positives, negatives }
}

/// Eq. (1): the mean over groups of the group's AUC, weighted by its rows (`Impressions`), its
/// positives (`Clicks`), or not. Groups of one class are left out.
pub fn gauc(groups: &[u64], scores: &[f32], labels: &[bool], weight: GroupWeight) -> GroupedArea {
    let mut items: Vec<(u64, u64)> = groups
        .iter()
        .zip(scores)
        .zip(labels)
        .map(|((&g, &s), &l)| (g, u64::from(ordered(s)) << 1 | u64::from(l)))
        .collect();
    items.sort_unstable();
    let (mut sum, mut weights) = (0.0, 0.0);
    let mut result = GroupedArea { value: Err(Undefined::OneClass), groups: 0, skipped_groups: 0, skipped_rows: 0 };
    // Groups ascending by key: the sum does not depend on the order of rows.
    for group in items.chunk_by(|a, b| a.0 == b.0) {
        let (doubled, positives, negatives) = ranked_pairs(group.iter().map(|&(_, i)| ((i >> 1) as u32, i & 1 == 1)));
        if positives == 0 || negatives == 0 {
            result.skipped_groups += 1;
            result.skipped_rows += positives + negatives;
            continue;
        }
        result.groups += 1;
        let area = doubled as f64 / (2 * u128::from(positives) * u128::from(negatives)) as f64;
        let w = match weight {
            GroupWeight::Impressions => (positives + negatives) as f64,
            GroupWeight::Clicks => positives as f64,
            GroupWeight::None => 1.0,
        };
        sum += w * area;
        weights += w;
    }
    if items.is_empty() {
        result.value = Err(Undefined::NoRows);
    } else if scores.iter().any(|s| s.is_nan()) {
        result.value = Err(Undefined::NaN);
    } else if result.groups > 0 {
        result.value = Ok(sum / weights);
    }
    result
}

/// Average precision: the mean over the positives of the share of positives among the samples that
/// score at least as high.
pub fn pr_auc(scores: &[f32], labels: &[bool]) -> Area {
    // The highest score first.
    let mut items: Vec<u64> =
        scores.iter().zip(labels).map(|(&s, &l)| u64::from(!ordered(s)) << 1 | u64::from(l)).collect();
    items.sort_unstable();
    let (mut rows, mut positives, mut sum) = (0u64, 0u64, 0.0);
    for tie in items.chunk_by(|a, b| a >> 1 == b >> 1) {
        let of_tie = tie.iter().map(|item| item & 1).sum::<u64>();
        rows += tie.len() as u64;
        positives += of_tie;
        sum += of_tie as f64 * (positives as f64 / rows as f64);
    }
    let value = if items.is_empty() {
        Err(Undefined::NoRows)
    } else if scores.iter().any(|s| s.is_nan()) {
        Err(Undefined::NaN)
    } else if positives == 0 {
        Err(Undefined::NoPositives)
    } else {
        Ok(sum / positives as f64)
    };
    Area { value, positives, negatives: rows - positives }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The definition: all pairs.
    fn by_pairs(scores: &[f32], labels: &[bool]) -> Option<f64> {
        let (mut credit, mut pairs) = (0.0, 0.0);
        for (i, _) in labels.iter().enumerate().filter(|(_, l)| **l) {
            for (j, _) in labels.iter().enumerate().filter(|(_, l)| !**l) {
                pairs += 1.0;
                credit += if scores[i] > scores[j] {
                    1.0
                } else if scores[i] == scores[j] {
                    0.5
                } else {
                    0.0
                };
            }
        }
        (pairs > 0.0).then(|| credit / pairs)
    }

    /// The definition: for each positive, all samples that score at least as high.
    fn mean_precision(scores: &[f32], labels: &[bool]) -> Option<f64> {
        let positives: Vec<usize> = (0..labels.len()).filter(|&i| labels[i]).collect();
        let precision = |&i: &usize| {
            let above = (0..labels.len()).filter(|&j| scores[j] >= scores[i]);
            let (all, right) =
                above.fold((0.0, 0.0), |(all, right), j| (all + 1.0, right + f64::from(u8::from(labels[j]))));
            right / all
        };
        (!positives.is_empty()).then(|| positives.iter().map(precision).sum::<f64>() / positives.len() as f64)
    }

    fn rows() -> impl Strategy<Value = Vec<(u64, f32, bool)>> {
        let score = prop_oneof![
            (-3i32..4).prop_map(|v| v as f32 / 2.0),
            Just(-0.0f32),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
            Just(f32::MIN_POSITIVE / 2.0),
            any::<f32>().prop_filter("ordered", |v| !v.is_nan()),
        ];
        prop::collection::vec((0u64..6, score, any::<bool>()), 0..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn equals_the_definition(rows in rows()) {
            let scores: Vec<f32> = rows.iter().map(|r| r.1).collect();
            let labels: Vec<bool> = rows.iter().map(|r| r.2).collect();
            match (pr_auc(&scores, &labels).value, mean_precision(&scores, &labels)) {
                (Ok(a), Some(b)) => prop_assert!((a - b).abs() < 1e-12, "{} {}", a, b),
                (Err(_), None) => {}
                other => prop_assert!(false, "{:?}", other),
            }
            match (auc(&scores, &labels).value, by_pairs(&scores, &labels)) {
                (Ok(a), Some(b)) => prop_assert!((a - b).abs() < 1e-12, "{} {}", a, b),
                (Err(_), None) => {}
                other => prop_assert!(false, "{:?}", other),
            }
            let groups: Vec<u64> = rows.iter().map(|r| r.0).collect();
            let mut by_group: BTreeMap<u64, (Vec<f32>, Vec<bool>)> = BTreeMap::new();
            for &(g, s, l) in &rows {
                let entry = by_group.entry(g).or_default();
                entry.0.push(s);
                entry.1.push(l);
            }
            for weight in [GroupWeight::Impressions, GroupWeight::Clicks, GroupWeight::None] {
                let (mut sum, mut weights, mut skipped) = (0.0, 0.0, 0);
                for (scores, labels) in by_group.values() {
                    let Some(area) = by_pairs(scores, labels) else { skipped += 1; continue };
                    let w = match weight {
                        GroupWeight::Impressions => labels.len() as f64,
                        GroupWeight::Clicks => labels.iter().filter(|l| **l).count() as f64,
                        GroupWeight::None => 1.0,
                    };
                    sum += w * area;
                    weights += w;
                }
                let result = gauc(&groups, &scores, &labels, weight);
                prop_assert_eq!(result.skipped_groups, skipped);
                match result.value {
                    Ok(value) => prop_assert!((value - sum / weights).abs() < 1e-12),
                    Err(_) => prop_assert_eq!(weights, 0.0),
                }
            }
        }

        #[test]
        fn the_order_of_rows_changes_no_bit(mut rows in rows()) {
            let of = |rows: &[(u64, f32, bool)]| {
                let (g, (s, l)): (Vec<u64>, (Vec<f32>, Vec<bool>)) = rows.iter().map(|r| (r.0, (r.1, r.2))).unzip();
                (auc(&s, &l), gauc(&g, &s, &l, GroupWeight::Impressions), pr_auc(&s, &l))
            };
            let before = of(&rows);
            rows.reverse();
            prop_assert_eq!(before, of(&rows));
        }
    }

    #[test]
    fn undefined_has_a_reason() {
        assert_eq!(auc(&[], &[]).value, Err(Undefined::NoRows));
        assert_eq!(auc(&[1.0, 2.0], &[true, true]).value, Err(Undefined::OneClass));
        assert_eq!(auc(&[1.0, f32::NAN], &[true, false]).value, Err(Undefined::NaN));
        assert_eq!(gauc(&[1, 2], &[1.0, 2.0], &[true, false], GroupWeight::None).value, Err(Undefined::OneClass));
        assert_eq!(pr_auc(&[], &[]).value, Err(Undefined::NoRows));
        assert_eq!(pr_auc(&[1.0, 2.0], &[false, false]).value, Err(Undefined::NoPositives));
        assert_eq!(pr_auc(&[1.0, f32::NAN], &[true, false]).value, Err(Undefined::NaN));
        assert_eq!(pr_auc(&[1.0, 2.0], &[true, true]).value, Ok(1.0));
    }
}
