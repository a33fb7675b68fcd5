//! Labels of several classes, from a logit for each: probabilities, the most probable class, and
//! means over samples.

use super::auc::Undefined;

/// The class with the largest logit; of equal ones the first.
pub(crate) fn most_probable(logits: &[f32]) -> usize {
    let larger = |best: usize, class: usize| if logits[class] > logits[best] { class } else { best };
    (0..logits.len()).fold(0, larger)
}

/// The probability of each class, `softmax(logits)`, in f64: a rare one keeps its digits.
pub(crate) fn probabilities(logits: &[f32]) -> impl Iterator<Item = f64> {
    let greatest = f64::from(logits[most_probable(logits)]);
    let weight = move |&z: &f32| (f64::from(z) - greatest).exp();
    let total: f64 = logits.iter().map(weight).sum();
    logits.iter().map(move |z| weight(z) / total)
}

/// The natural logarithm of the probability of a class, without overflow.
pub(super) fn log_probability(logits: &[f32], class: usize) -> f64 {
    let best = most_probable(logits);
    let greatest = f64::from(logits[best]);
    // All but the largest, so that a probability near 1 keeps its digits.
    let others = (0..logits.len()).filter(|&k| k != best).map(|k| (f64::from(logits[k]) - greatest).exp());
    f64::from(logits[class]) - greatest - others.sum::<f64>().ln_1p()
}

/// The number of hits over that of all rows.
pub(super) fn accuracy(predicted: &[f32], hits: impl ExactSizeIterator<Item = bool>) -> Result<f64, Undefined> {
    check(predicted)?;
    let rows = hits.len() as f64;
    Ok(hits.filter(|hit| *hit).count() as f64 / rows)
}

/// The mean of what is lost of each sample: minus the logarithm of the probability of its label.
pub(super) fn class_log_loss(log_probabilities: &[f32]) -> Result<f64, Undefined> {
    check(log_probabilities)?;
    let sum: f64 = log_probabilities.iter().map(|&p| -f64::from(p)).sum();
    Ok(sum / log_probabilities.len() as f64)
}

fn check(predicted: &[f32]) -> Result<(), Undefined> {
    if predicted.is_empty() {
        return Err(Undefined::NoRows);
    }
    if predicted.iter().any(|p| p.is_nan()) {
        return Err(Undefined::NaN);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_classes_the_first_is_predicted() {
        assert_eq!(most_probable(&[1.0, 3.0, 3.0, -1.0]), 1);
        assert_eq!(most_probable(&[0.0]), 0);
    }

    #[test]
    fn far_logits_have_probabilities() {
        let logits = [1000.0, 0.0, 1000.0];
        assert_eq!(probabilities(&logits).collect::<Vec<_>>(), [0.5, 0.0, 0.5]);
        assert_eq!(log_probability(&logits, 1), -1000.0 - 2f64.ln());
        // Near 1: 1 - e^-40 has no digit of its distance from 1, and its logarithm has all.
        let found = log_probability(&[40.0, 0.0], 0);
        assert!((found / -(-40f64).exp() - 1.0).abs() < 1e-15, "{found:e}");
    }

    #[test]
    fn undefined_has_a_reason() {
        assert_eq!(class_log_loss(&[]), Err(Undefined::NoRows));
        assert_eq!(accuracy(&[], [].into_iter()), Err(Undefined::NoRows));
        assert_eq!(class_log_loss(&[f32::NAN]), Err(Undefined::NaN));
        assert_eq!(accuracy(&[-0.5, -1.0, -0.1], [true, false, true].into_iter()), Ok(2.0 / 3.0));
    }
}
