//! Means over samples: log loss and what is made of it, calibration, and the Brier score.

use super::auc::Undefined;

/// Checks what every one of these needs.
fn check(logits: &[f32]) -> Result<(), Undefined> {
    if logits.is_empty() {
        return Err(Undefined::NoRows);
    }
    if logits.iter().any(|z| z.is_nan()) {
        return Err(Undefined::NaN);
    }
    Ok(())
}

/// `1 / (1 + exp(-z))`, without overflow.
pub(super) fn probability(z: f32) -> f64 {
    let e = (-f64::from(z).abs()).exp();
    if z < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// `-log p(label)` in nats: `softplus(z) - label * z`, which neither overflows nor cancels.
pub(super) fn loss(z: f32, label: bool) -> f64 {
    // softplus(z) - z = softplus(-z)
    let z = if label { -f64::from(z) } else { f64::from(z) };
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

/// The difference of probability and label, which is the probability of the other class: no digit
/// of a small one is lost.
pub(super) fn miss(z: f32, label: bool) -> f64 {
    probability(if label { -z } else { z })
}

fn positives(labels: &[bool]) -> usize {
    labels.iter().filter(|label| **label).count()
}

/// Mean of `-log p(label)` in nats, from logits.
pub fn log_loss(logits: &[f32], labels: &[bool]) -> Result<f64, Undefined> {
    check(logits)?;
    let sum: f64 = logits.iter().zip(labels).map(|(&z, &label)| loss(z, label)).sum();
    Ok(sum / logits.len() as f64)
}

/// Log loss divided by the entropy of the share of labels that are 1.
pub fn normalized_entropy(logits: &[f32], labels: &[bool]) -> Result<f64, Undefined> {
    let loss = log_loss(logits, labels)?;
    let rate = positives(labels) as f64 / labels.len() as f64;
    if rate == 0.0 || rate == 1.0 {
        return Err(Undefined::OneClass);
    }
    Ok(loss / -(rate * rate.ln() + (1.0 - rate) * (-rate).ln_1p()))
}

/// Sum of the probabilities divided by the number of labels that are 1.
pub fn calibration(logits: &[f32], labels: &[bool]) -> Result<f64, Undefined> {
    check(logits)?;
    match positives(labels) {
        0 => Err(Undefined::NoPositives),
        positives => Ok(logits.iter().map(|&z| probability(z)).sum::<f64>() / positives as f64),
    }
}

/// Mean of the squared difference between probability and label.
pub fn brier(logits: &[f32], labels: &[bool]) -> Result<f64, Undefined> {
    check(logits)?;
    let missed = |(&z, &label): (&f32, &bool)| miss(z, label).powi(2);
    Ok(logits.iter().zip(labels).map(missed).sum::<f64>() / logits.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_loss_does_not_overflow() {
        assert!((log_loss(&[200.0, -200.0], &[true, false]).unwrap()) < 1e-80);
        assert_eq!(log_loss(&[200.0, -200.0], &[false, true]).unwrap(), 200.0);
        assert!((log_loss(&[0.0], &[true]).unwrap() - std::f64::consts::LN_2).abs() < 1e-16);
    }

    #[test]
    fn far_logits_have_probabilities() {
        let far = [f32::INFINITY, f32::NEG_INFINITY, 800.0, -800.0];
        assert_eq!(calibration(&far, &[true, false, true, false]), Ok(1.0));
        assert_eq!(brier(&far, &[true, false, true, false]), Ok(0.0));
        assert_eq!(brier(&far, &[false, true, false, true]), Ok(1.0));
    }

    #[test]
    fn a_constant_prediction_of_the_rate_gains_nothing() {
        let labels = [true, false, false, false];
        let logits = [(1.0f32 / 3.0).ln(); 4];
        assert!((normalized_entropy(&logits, &labels).unwrap() - 1.0).abs() < 1e-7);
        assert!((calibration(&logits, &labels).unwrap() - 1.0).abs() < 1e-7);
    }

    #[test]
    fn undefined_has_a_reason() {
        for metric in [log_loss, normalized_entropy, calibration, brier] {
            assert_eq!(metric(&[], &[]), Err(Undefined::NoRows));
            assert_eq!(metric(&[f32::NAN, 1.0], &[true, false]), Err(Undefined::NaN));
        }
        assert_eq!(normalized_entropy(&[1.0, 2.0], &[true, true]), Err(Undefined::OneClass));
        assert_eq!(calibration(&[1.0, 2.0], &[false, false]), Err(Undefined::NoPositives));
    }
}
