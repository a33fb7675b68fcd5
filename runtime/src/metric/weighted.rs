//! The formulas with a weight for each sample: a sample of weight 2 counts as two of weight 1. Sums
//! run by score, label and weight, or over the rows in their order.

use super::auc::{Area, GroupedArea, Undefined, ordered};
use super::pointwise::{loss, miss, probability};
use din_program::schema::GroupWeight;

/// Checks what every one of these needs; gives the sum of the weights.
fn total(predictions: &[f32], weights: &[f32]) -> Result<f64, Undefined> {
    if predictions.is_empty() {
        return Err(Undefined::NoRows);
    }
    if predictions.iter().any(|p| p.is_nan()) {
        return Err(Undefined::NaN);
    }
    if weights.iter().any(|w| !w.is_finite() || *w < 0.0) {
        return Err(Undefined::Weight);
    }
    match weights.iter().map(|&w| f64::from(w)).sum::<f64>() {
        0.0 => Err(Undefined::NoWeight),
        total => Ok(total),
    }
}

/// The weighted mean of a function of each sample.
fn mean<L: Copy>(
    predictions: &[f32],
    labels: &[L],
    weights: &[f32],
    of: impl Fn(f32, L) -> f64,
) -> Result<f64, Undefined> {
    let total = total(predictions, weights)?;
    let samples = predictions.iter().zip(labels).zip(weights);
    // A weight of 0 leaves a sample out, whatever its loss, which may be infinite.
    let counted = samples.filter(|(_, weight)| **weight > 0.0);
    Ok(counted.map(|((&p, &label), &weight)| f64::from(weight) * of(p, label)).sum::<f64>() / total)
}

/// The weight of the hits over that of all rows.
pub(super) fn weighted_accuracy(predicted: &[f32], hits: &[bool], weights: &[f32]) -> Result<f64, Undefined> {
    mean(predicted, hits, weights, |_, hit| f64::from(u8::from(hit)))
}

/// The weighted mean of minus the logarithm of the probability of the label.
pub(super) fn weighted_class_log_loss(log_probabilities: &[f32], weights: &[f32]) -> Result<f64, Undefined> {
    mean(log_probabilities, log_probabilities, weights, |_, p| -f64::from(p))
}

/// One sample of a curve; ordered by score, then label, then weight. Weights are not negative, so
/// that their bits have their order.
type Item = (u32, bool, u32);

fn item(score: f32, label: bool, weight: f32) -> Item {
    (ordered(score), label, weight.to_bits())
}

/// Weights of the positives and the negatives.
fn weights_of(items: &[Item]) -> (f64, f64) {
    items.iter().fold((0.0, 0.0), |(positives, negatives), &(_, label, weight)| {
        let weight = f64::from(f32::from_bits(weight));
        if label { (positives + weight, negatives) } else { (positives, negatives + weight) }
    })
}

/// The area under the ROC curve of items in ascending order, and the weights of the positives and
/// the negatives; `None` where either is 0.
fn area(items: &[Item]) -> (Option<f64>, f64, f64) {
    let (mut ordered_pairs, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    for tie in items.chunk_by(|a, b| a.0 == b.0) {
        let (p, n) = weights_of(tie);
        ordered_pairs += p * (negatives + n / 2.0);
        positives += p;
        negatives += n;
    }
    let pairs: f64 = positives * negatives;
    ((pairs > 0.0).then(|| ordered_pairs / pairs), positives, negatives)
}

fn counts(labels: &[bool]) -> (u64, u64) {
    let positives = labels.iter().filter(|label| **label).count();
    (positives as u64, (labels.len() - positives) as u64)
}

/// Of all pairs of a positive and a negative, each with the product of their weights, the share in
/// which the positive scores above, ties half.
pub fn weighted_auc(scores: &[f32], labels: &[bool], weights: &[f32]) -> Area {
    let value = total(scores, weights).and_then(|_| {
        let samples = scores.iter().zip(labels).zip(weights);
        let mut items: Vec<Item> = samples.map(|((&s, &l), &w)| item(s, l, w)).collect();
        items.sort_unstable();
        area(&items).0.ok_or(Undefined::OneClass)
    });
    let (positives, negatives) = counts(labels);
    Area { value, positives, negatives }
}

/// GAUC with weighted areas; a group counts by the weight of its samples or of its positives.
/// Groups in which a class has no weight are left out.
pub fn weighted_gauc(
    groups: &[u64],
    scores: &[f32],
    labels: &[bool],
    weights: &[f32],
    weight: GroupWeight,
) -> GroupedArea {
    let mut result = GroupedArea { value: Err(Undefined::OneClass), groups: 0, skipped_groups: 0, skipped_rows: 0 };
    let checked = total(scores, weights);
    let samples = groups.iter().zip(scores).zip(labels).zip(weights);
    let mut items: Vec<(u64, Item)> = samples.map(|(((&g, &s), &l), &w)| (g, item(s, l, w))).collect();
    items.sort_unstable();
    let (mut sum, mut all) = (0.0, 0.0);
    let mut of_group = Vec::new();
    for group in items.chunk_by(|a, b| a.0 == b.0) {
        of_group.clear();
        of_group.extend(group.iter().map(|(_, item)| *item));
        let (Some(area), positives, negatives) = area(&of_group) else {
            result.skipped_groups += 1;
            result.skipped_rows += group.len() as u64;
            continue;
        };
        result.groups += 1;
        let counted = match weight {
            GroupWeight::Impressions => positives + negatives,
            GroupWeight::Clicks => positives,
            GroupWeight::None => 1.0,
        };
        sum += counted * area;
        all += counted;
    }
    match checked {
        Err(why) => result.value = Err(why),
        Ok(_) if result.groups > 0 => result.value = Ok(sum / all),
        Ok(_) => {}
    }
    result
}

/// Average precision: the weighted mean over the positives of the share of positives, by weight,
/// among the samples that score at least as high.
pub fn weighted_pr_auc(scores: &[f32], labels: &[bool], weights: &[f32]) -> Area {
    let value = total(scores, weights).and_then(|_| {
        let samples = scores.iter().zip(labels).zip(weights);
        let mut items: Vec<Item> = samples.map(|((&s, &l), &w)| item(s, l, w)).collect();
        items.sort_unstable();
        let (mut positives, mut negatives, mut sum) = (0.0, 0.0, 0.0);
        // The highest score first.
        for tie in items.chunk_by(|a, b| a.0 == b.0).rev() {
            let (p, n) = weights_of(tie);
            positives += p;
            negatives += n;
            if p > 0.0 {
                sum += p * (positives / (positives + negatives));
            }
        }
        if positives > 0.0 { Ok(sum / positives) } else { Err(Undefined::NoPositives) }
    });
    let (positives, negatives) = counts(labels);
    Area { value, positives, negatives }
}

/// Mean of `-log p(label)`.
pub fn weighted_log_loss(logits: &[f32], labels: &[bool], weights: &[f32]) -> Result<f64, Undefined> {
    mean(logits, labels, weights, loss)
}

/// Log loss divided by the entropy of the mean label.
pub fn weighted_normalized_entropy(logits: &[f32], labels: &[bool], weights: &[f32]) -> Result<f64, Undefined> {
    let loss = weighted_log_loss(logits, labels, weights)?;
    let rate = mean(logits, labels, weights, |_, label| f64::from(u8::from(label)))?;
    let counted = labels.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
    let (first, mut rest) = {
        let mut classes = counted.map(|(label, _)| *label);
        (classes.next(), classes)
    };
    if rest.all(|label| Some(label) == first) || rate >= 1.0 {
        return Err(Undefined::OneClass);
    }
    Ok(loss / -(rate * rate.ln() + (1.0 - rate) * (-rate).ln_1p()))
}

/// Weighted sum of the probabilities divided by that of the labels.
pub fn weighted_calibration(logits: &[f32], labels: &[bool], weights: &[f32]) -> Result<f64, Undefined> {
    let predicted = mean(logits, labels, weights, |logit, _| probability(logit))?;
    match mean(logits, labels, weights, |_, label| f64::from(u8::from(label)))? {
        0.0 => Err(Undefined::NoPositives),
        observed => Ok(predicted / observed),
    }
}

/// Mean of the squared difference between probability and label.
pub fn weighted_brier(logits: &[f32], labels: &[bool], weights: &[f32]) -> Result<f64, Undefined> {
    mean(logits, labels, weights, |logit, label| miss(logit, label).powi(2))
}

/// Root of the mean squared difference of prediction and label.
pub fn weighted_rmse(predictions: &[f32], labels: &[f32], weights: &[f32]) -> Result<f64, Undefined> {
    Ok(mean(predictions, labels, weights, |p, label| (f64::from(p) - f64::from(label)).powi(2))?.sqrt())
}

/// Mean absolute difference of prediction and label.
pub fn weighted_mae(predictions: &[f32], labels: &[f32], weights: &[f32]) -> Result<f64, Undefined> {
    mean(predictions, labels, weights, |p, label| (f64::from(p) - f64::from(label)).abs())
}

/// Of all pairs of samples with different labels, each with the product of their weights, the share
/// whose predictions have the order of the labels; equal predictions count half.
pub fn weighted_xauc(predictions: &[f32], labels: &[f32], weights: &[f32]) -> Result<f64, Undefined> {
    total(predictions, weights)?;
    let mut ranks: Vec<u32> = predictions.iter().map(|&p| ordered(p)).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let rank = |prediction: f32| ranks.binary_search(&ordered(prediction)).expect("every prediction was ranked");
    let all = predictions.iter().zip(labels).zip(weights);
    let mut samples: Vec<(u32, usize, u32)> =
        all.map(|((&p, &label), &weight)| (ordered(label), rank(p), weight.to_bits())).collect();
    samples.sort_unstable();
    // By rank, the weight of the samples with smaller labels: a Fenwick tree.
    let mut below = vec![0.0; ranks.len() + 1];
    let sum = |tree: &[f64], mut end: usize| {
        let mut sum = 0.0;
        while end > 0 {
            sum += tree[end];
            end &= end - 1;
        }
        sum
    };
    let (mut ordered_pairs, mut pairs, mut seen) = (0.0, 0.0, 0.0);
    for equal in samples.chunk_by(|a, b| a.0 == b.0) {
        let mut of_equal = 0.0;
        for &(_, rank, weight) in equal {
            let weight = f64::from(f32::from_bits(weight));
            ordered_pairs += weight * (sum(&below, rank) + sum(&below, rank + 1)) / 2.0;
            of_equal += weight;
        }
        pairs += seen * of_equal;
        seen += of_equal;
        for &(_, rank, weight) in equal {
            let mut at = rank + 1;
            while at < below.len() {
                below[at] += f64::from(f32::from_bits(weight));
                at += at & at.wrapping_neg();
            }
        }
    }
    if pairs > 0.0 { Ok(ordered_pairs / pairs) } else { Err(Undefined::EqualLabels) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{auc, brier, calibration, gauc, log_loss, mae, normalized_entropy, pr_auc, rmse, xauc};
    use proptest::prelude::*;

    /// Group, score, label and a whole weight.
    type Row = (u64, i8, bool, u8);

    fn columns(rows: &[Row]) -> (Vec<u64>, Vec<f32>, Vec<bool>, Vec<f32>) {
        let scores = rows.iter().map(|row| f32::from(row.1) / 2.0).collect();
        let weights = rows.iter().map(|row| f32::from(row.3)).collect();
        (rows.iter().map(|row| row.0).collect(), scores, rows.iter().map(|row| row.2).collect(), weights)
    }

    fn same(weighted: Result<f64, Undefined>, repeated: Result<f64, Undefined>) -> Result<(), TestCaseError> {
        match (weighted, repeated) {
            (Ok(a), Ok(b)) => prop_assert!((a - b).abs() < 1e-11 * b.abs().max(1.0), "{} {}", a, b),
            (Err(Undefined::NoWeight), Err(Undefined::NoRows)) => {}
            (a, b) => prop_assert_eq!(a, b),
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        /// A whole weight repeats its sample.
        #[test]
        fn a_weight_counts_as_so_many_samples(
            rows in prop::collection::vec((0u64..4, -4i8..5, any::<bool>(), 0u8..4), 0..40),
        ) {
            let repeated: Vec<Row> = rows.iter().flat_map(|row| vec![*row; row.3.into()]).collect();
            let (groups, scores, labels, weights) = columns(&rows);
            let (all_groups, all_scores, all_labels, _) = columns(&repeated);
            same(weighted_auc(&scores, &labels, &weights).value, auc(&all_scores, &all_labels).value)?;
            same(weighted_pr_auc(&scores, &labels, &weights).value, pr_auc(&all_scores, &all_labels).value)?;
            for weight in [GroupWeight::Impressions, GroupWeight::Clicks, GroupWeight::None] {
                let found = weighted_gauc(&groups, &scores, &labels, &weights, weight);
                let expected = gauc(&all_groups, &all_scores, &all_labels, weight);
                same(found.value, expected.value)?;
                prop_assert_eq!(found.groups, expected.groups);
            }
            type OfClasses = fn(&[f32], &[bool]) -> Result<f64, Undefined>;
            type Weighted = fn(&[f32], &[bool], &[f32]) -> Result<f64, Undefined>;
            let of_classes: [(Weighted, OfClasses); 4] = [
                (weighted_log_loss, log_loss),
                (weighted_normalized_entropy, normalized_entropy),
                (weighted_calibration, calibration),
                (weighted_brier, brier),
            ];
            for (weighted, plain) in of_classes {
                same(weighted(&scores, &labels, &weights), plain(&all_scores, &all_labels))?;
            }
            // Groups as labels that are numbers.
            let numbers = |groups: &[u64]| groups.iter().map(|&group| group as f32).collect::<Vec<_>>();
            type OfNumbers = fn(&[f32], &[f32]) -> Result<f64, Undefined>;
            type WeightedNumbers = fn(&[f32], &[f32], &[f32]) -> Result<f64, Undefined>;
            let of_numbers: [(WeightedNumbers, OfNumbers); 3] =
                [(weighted_rmse, rmse), (weighted_mae, mae), (weighted_xauc, xauc)];
            for (weighted, plain) in of_numbers {
                same(weighted(&scores, &numbers(&groups), &weights), plain(&all_scores, &numbers(&all_groups)))?;
            }
        }
    }

    #[test]
    fn weights_are_finite_and_not_negative() {
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(weighted_auc(&[1.0, 2.0], &[true, false], &[1.0, bad]).value, Err(Undefined::Weight));
            assert_eq!(weighted_rmse(&[1.0, 2.0], &[1.0, 2.0], &[bad, 1.0]), Err(Undefined::Weight));
        }
        assert_eq!(weighted_mae(&[1.0, 2.0], &[1.0, 2.0], &[0.0, 0.0]), Err(Undefined::NoWeight));
        assert_eq!(weighted_log_loss(&[f32::INFINITY, 0.0], &[false, true], &[0.0, 1.0]), Ok(std::f64::consts::LN_2));
    }
}
