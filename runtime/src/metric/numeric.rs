//! Metrics of predicted numbers: errors, and how well the predictions order the samples.

use super::auc::{Undefined, ordered};

fn check(predictions: &[f32]) -> Result<(), Undefined> {
    if predictions.is_empty() {
        return Err(Undefined::NoRows);
    }
    if predictions.iter().any(|p| p.is_nan()) {
        return Err(Undefined::NaN);
    }
    Ok(())
}

/// The mean of a function of the difference.
fn mean(predictions: &[f32], labels: &[f32], of: impl Fn(f64) -> f64) -> Result<f64, Undefined> {
    check(predictions)?;
    let sum: f64 = predictions.iter().zip(labels).map(|(&p, &label)| of(f64::from(p) - f64::from(label))).sum();
    Ok(sum / predictions.len() as f64)
}

/// Root of the mean squared difference of prediction and label.
pub fn rmse(predictions: &[f32], labels: &[f32]) -> Result<f64, Undefined> {
    Ok(mean(predictions, labels, |difference| difference * difference)?.sqrt())
}

/// Mean absolute difference of prediction and label.
pub fn mae(predictions: &[f32], labels: &[f32]) -> Result<f64, Undefined> {
    mean(predictions, labels, f64::abs)
}

/// Of all pairs of samples with different labels, the share whose predictions have the order of the
/// labels; equal predictions count half. With labels 0 and 1 it is the AUC.
pub fn xauc(predictions: &[f32], labels: &[f32]) -> Result<f64, Undefined> {
    check(predictions)?;
    let mut ranks: Vec<u32> = predictions.iter().map(|&p| ordered(p)).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let rank = |prediction: f32| ranks.binary_search(&ordered(prediction)).expect("every prediction was ranked");
    let mut samples: Vec<(u32, usize)> =
        predictions.iter().zip(labels).map(|(&p, &label)| (ordered(label), rank(p))).collect();
    samples.sort_unstable();
    let mut below = Counts::new(ranks.len());
    // Pairs count twice, so that half a pair is a whole number.
    let (mut ordered_pairs, mut pairs) = (0u128, 0u128);
    let mut seen = 0u64;
    for equal in samples.chunk_by(|a, b| a.0 == b.0) {
        for &(_, rank) in equal {
            let (less, up_to) = (below.sum(rank), below.sum(rank + 1));
            ordered_pairs += u128::from(less) + u128::from(up_to);
        }
        pairs += 2 * u128::from(seen) * equal.len() as u128;
        equal.iter().for_each(|&(_, rank)| below.add(rank));
        seen += equal.len() as u64;
    }
    match pairs {
        0 => Err(Undefined::EqualLabels),
        pairs => Ok(ordered_pairs as f64 / pairs as f64),
    }
}

/// How many samples of each rank there are, with sums of the first of them: a Fenwick tree.
struct Counts {
    tree: Vec<u64>,
}

impl Counts {
    fn new(ranks: usize) -> Self {
        Self { tree: vec![0; ranks + 1] }
    }

    fn add(&mut self, rank: usize) {
        let mut at = rank + 1;
        while at < self.tree.len() {
            self.tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    /// Of the ranks below `end`.
    fn sum(&self, end: usize) -> u64 {
        let (mut at, mut sum) = (end, 0);
        while at > 0 {
            sum += self.tree[at];
            at &= at - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::auc;
    use proptest::prelude::*;

    fn by_pairs(predictions: &[f32], labels: &[f32]) -> Option<f64> {
        let (mut good, mut pairs) = (0.0, 0.0);
        for i in 0..labels.len() {
            for j in (0..labels.len()).filter(|&j| labels[i] < labels[j]) {
                pairs += 1.0;
                good += match predictions[i].partial_cmp(&predictions[j]) {
                    Some(std::cmp::Ordering::Less) => 1.0,
                    Some(std::cmp::Ordering::Equal) => 0.5,
                    _ => 0.0,
                };
            }
        }
        (pairs > 0.0).then_some(good / pairs)
    }

    proptest! {
        #[test]
        fn xauc_counts_pairs(rows in prop::collection::vec((-4i8..5, -3i8..6), 1..60)) {
            let predictions: Vec<f32> = rows.iter().map(|r| f32::from(r.0) / 2.0).collect();
            let labels: Vec<f32> = rows.iter().map(|r| f32::from(r.1) * 0.75).collect();
            match (xauc(&predictions, &labels), by_pairs(&predictions, &labels)) {
                (Ok(value), Some(expected)) => prop_assert!((value - expected).abs() < 1e-12),
                (found, expected) => {
                    prop_assert_eq!(found, Err(Undefined::EqualLabels));
                    prop_assert_eq!(expected, None);
                }
            }
            let classes: Vec<bool> = rows.iter().map(|r| r.1 > 1).collect();
            let numbers: Vec<f32> = classes.iter().map(|&c| f32::from(u8::from(c))).collect();
            if let Ok(area) = auc(&predictions, &classes).value {
                prop_assert!((area - xauc(&predictions, &numbers).unwrap()).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn undefined_has_a_reason() {
        for metric in [rmse, mae, xauc] {
            assert_eq!(metric(&[], &[]), Err(Undefined::NoRows));
            assert_eq!(metric(&[f32::NAN, 1.0], &[1.0, 2.0]), Err(Undefined::NaN));
        }
        assert_eq!(xauc(&[1.0, 2.0], &[-0.0, 0.0]), Err(Undefined::EqualLabels));
        assert_eq!(rmse(&[1.0, 2.0], &[4.0, 6.0]), Ok(12.5f64.sqrt()));
        assert_eq!(mae(&[1.0, 2.0], &[4.0, 6.0]), Ok(3.5));
    }
}
