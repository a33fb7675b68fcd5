//! Measures of the best-scored samples of each group: NDCG, hit rate and reciprocal rank at `k`.
//!
//! Samples with equal scores have no order, so each value is the mean over all their orders, which
//! has a closed form. Groups are taken ascending by key, so no bit depends on the order of rows.

use super::auc::{Undefined, ordered};
use din_program::schema::RankedMeasure;

/// The mean over groups, with what was left out of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedValue {
    pub value: Result<f64, Undefined>,
    /// Groups with a label of 1.
    pub groups: u64,
    /// Groups without one, which are left out, and their rows.
    pub skipped_groups: u64,
    pub skipped_rows: u64,
}

/// Samples of one group with the same score.
#[derive(Clone, Copy, Debug)]
struct Tie {
    rows: usize,
    positives: usize,
}

/// The mean of the measure over the groups. `k` is at least 1.
pub fn ranked(measure: RankedMeasure, k: u32, groups: &[u64], scores: &[f32], labels: &[bool]) -> RankedValue {
    let mut items: Vec<(u64, u64)> = groups
        .iter()
        .zip(scores)
        .zip(labels)
        // The highest score first.
        .map(|((&group, &score), &label)| (group, u64::from(!ordered(score)) << 1 | u64::from(label)))
        .collect();
    items.sort_unstable();
    let mut result = RankedValue { value: Err(Undefined::NoPositives), groups: 0, skipped_groups: 0, skipped_rows: 0 };
    let mut sum = 0.0;
    let mut ties = Vec::new();
    for group in items.chunk_by(|a, b| a.0 == b.0) {
        ties.clear();
        ties.extend(
            group
                .chunk_by(|a, b| a.1 >> 1 == b.1 >> 1)
                .map(|tie| Tie { rows: tie.len(), positives: tie.iter().filter(|item| item.1 & 1 == 1).count() }),
        );
        if ties.iter().all(|tie| tie.positives == 0) {
            result.skipped_groups += 1;
            result.skipped_rows += group.len() as u64;
            continue;
        }
        result.groups += 1;
        sum += match measure {
            RankedMeasure::Ndcg => ndcg(&ties, k as usize),
            RankedMeasure::HitRate => hit(&ties, k as usize),
            RankedMeasure::ReciprocalRank => reciprocal_rank(&ties, k as usize),
        };
    }
    if items.is_empty() {
        result.value = Err(Undefined::NoRows);
    } else if scores.iter().any(|score| score.is_nan()) {
        result.value = Err(Undefined::NaN);
    } else if result.groups > 0 {
        result.value = Ok(sum / result.groups as f64);
    }
    result
}

/// Sum of the discounts of places `from..to`, counted from 0, that are below `k`.
fn discounts(from: usize, to: usize, k: usize) -> f64 {
    (from..to.min(k)).map(|place| 1.0 / (place as f64 + 2.0).log2()).sum()
}

/// Discounted gain over the largest possible one. In the mean over orders, each place of a tie has
/// the share of its labels that are 1.
fn ndcg(ties: &[Tie], k: usize) -> f64 {
    let (mut before, mut gain) = (0, 0.0);
    for tie in ties {
        gain += tie.positives as f64 / tie.rows as f64 * discounts(before, before + tie.rows, k);
        before += tie.rows;
    }
    gain / discounts(0, ties.iter().map(|tie| tie.positives).sum(), k)
}

/// The chance that a label of 1 is among the first `k`.
fn hit(ties: &[Tie], k: usize) -> f64 {
    let mut before = 0;
    for tie in ties {
        if tie.positives > 0 {
            // The chance that the tie's places below `k` have labels of 0 alone.
            let places = k.saturating_sub(before).min(tie.rows);
            let missed = (0..places).map(|drawn| chance_of_zero(*tie, drawn)).product::<f64>();
            return 1.0 - missed;
        }
        before += tie.rows;
    }
    0.0
}

/// The mean, over the orders of ties, of 1 divided by the rank of the first label of 1; 0 where
/// that rank is above `k`.
fn reciprocal_rank(ties: &[Tie], k: usize) -> f64 {
    let mut before = 0;
    for tie in ties {
        if tie.positives > 0 {
            let (mut missed, mut mean) = (1.0, 0.0);
            for drawn in 0..k.saturating_sub(before).min(tie.rows) {
                let zero = chance_of_zero(*tie, drawn);
                mean += missed * (1.0 - zero) / (before + drawn + 1) as f64;
                missed *= zero;
            }
            return mean;
        }
        before += tie.rows;
    }
    0.0
}

/// The chance that the next sample of a tie has a label of 0, after `drawn` samples with a label of
/// 0.
fn chance_of_zero(tie: Tie, drawn: usize) -> f64 {
    (tie.rows - tie.positives).saturating_sub(drawn) as f64 / (tie.rows - drawn) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The definition for one order of labels.
    fn of_order(measure: RankedMeasure, labels: &[bool], k: usize) -> f64 {
        let first = &labels[..k.min(labels.len())];
        match measure {
            RankedMeasure::Ndcg => {
                let gain = |labels: &[bool]| {
                    labels.iter().zip(2..).map(|(&l, n)| f64::from(u8::from(l)) / f64::from(n).log2()).sum::<f64>()
                };
                let mut best = labels.to_vec();
                best.sort_unstable_by_key(|label| !label);
                gain(first) / gain(&best[..first.len()])
            }
            RankedMeasure::HitRate => f64::from(u8::from(first.contains(&true))),
            RankedMeasure::ReciprocalRank => {
                first.iter().position(|label| *label).map_or(0.0, |place| 1.0 / (place + 1) as f64)
            }
        }
    }

    /// Calls `visit` with every order of the rows in which scores descend.
    fn orders(rows: &mut Vec<(i32, bool)>, from: usize, visit: &mut impl FnMut(&[(i32, bool)])) {
        if from == rows.len() {
            if rows.is_sorted_by(|a, b| a.0 >= b.0) {
                visit(rows);
            }
            return;
        }
        for other in from..rows.len() {
            rows.swap(from, other);
            orders(rows, from + 1, visit);
            rows.swap(from, other);
        }
    }

    const MEASURES: [RankedMeasure; 3] = [RankedMeasure::Ndcg, RankedMeasure::HitRate, RankedMeasure::ReciprocalRank];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn equals_the_mean_over_all_orders(
            rows in prop::collection::vec((0u64..4, -1i32..3, any::<bool>()), 0..16),
            k in 1u32..6,
        ) {
            let mut by_group: BTreeMap<u64, Vec<(i32, bool)>> = BTreeMap::new();
            for &(group, score, label) in &rows {
                by_group.entry(group).or_default().push((score, label));
            }
            // All orders of more rows than these take too long.
            prop_assume!(by_group.values().all(|rows| rows.len() <= 6));
            let groups: Vec<u64> = rows.iter().map(|row| row.0).collect();
            let scores: Vec<f32> = rows.iter().map(|row| row.1 as f32 / 2.0).collect();
            let labels: Vec<bool> = rows.iter().map(|row| row.2).collect();
            for measure in MEASURES {
                let mut values = Vec::new();
                for rows in by_group.values_mut().filter(|rows| rows.iter().any(|row| row.1)) {
                    let (mut sum, mut count) = (0.0, 0.0);
                    orders(rows, 0, &mut |rows| {
                        let labels: Vec<bool> = rows.iter().map(|row| row.1).collect();
                        sum += of_order(measure, &labels, k as usize);
                        count += 1.0;
                    });
                    values.push(sum / count);
                }
                let result = ranked(measure, k, &groups, &scores, &labels);
                prop_assert_eq!(result.groups as usize, values.len());
                prop_assert_eq!(result.skipped_groups as usize, by_group.len() - values.len());
                match result.value {
                    Ok(value) => {
                        let expected = values.iter().sum::<f64>() / values.len() as f64;
                        prop_assert!((value - expected).abs() < 1e-12, "{:?}: {} {}", measure, value, expected);
                    }
                    Err(Undefined::NoRows) => prop_assert!(rows.is_empty()),
                    Err(why) => prop_assert!(why == Undefined::NoPositives && values.is_empty()),
                }
            }
        }
    }

    #[test]
    fn undefined_has_a_reason() {
        for measure in MEASURES {
            let value = |scores: &[f32], labels: &[bool]| ranked(measure, 2, &[7, 8], scores, labels).value;
            assert_eq!(ranked(measure, 2, &[], &[], &[]).value, Err(Undefined::NoRows));
            assert_eq!(value(&[1.0, 2.0], &[false, false]), Err(Undefined::NoPositives));
            assert_eq!(value(&[1.0, f32::NAN], &[true, false]), Err(Undefined::NaN));
            assert_eq!(value(&[1.0, 2.0], &[true, false]), Ok(1.0));
        }
    }
}
