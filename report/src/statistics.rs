//! Calibration and distributions of predicted probabilities.

/// The samples whose probabilities are next to each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationBin {
    pub samples: u64,
    /// Mean probability.
    pub predicted: f64,
    /// Share of the labels that are 1.
    pub observed: f64,
    /// Of the share, 95 % by Wilson's score.
    pub interval: (f64, f64),
}

/// How many samples of each label have a logit within each of equally wide bins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreHistogram {
    /// Boundaries, one more than bins.
    pub bounds: Vec<f64>,
    /// Shares of the samples whose label is 0, then 1; they sum to 1.
    pub shares: [Vec<f64>; 2],
    pub samples: [u64; 2],
}

/// `1 / (1 + exp(-z))`, without overflow.
fn sigmoid(z: f32) -> f64 {
    let e = (-f64::from(z).abs()).exp();
    if z < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
}

/// Bins of about equally many samples, at most so many, by ascending probability. Samples of equal
/// logits are in one bin.
pub fn calibration_bins(logits: &[f32], labels: &[bool], bins: usize) -> Vec<CalibrationBin> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize]).then(a.cmp(&b)));
    let (mut found, mut begin) = (Vec::new(), 0);
    for bin in 1..=bins {
        let mut end = (order.len() * bin / bins).max(begin);
        while end > begin && end < order.len() && logits[order[end] as usize] == logits[order[end - 1] as usize] {
            end += 1;
        }
        if end > begin {
            let rows = &order[begin..end];
            let predicted: f64 = rows.iter().map(|&row| sigmoid(logits[row as usize])).sum();
            let positives = rows.iter().filter(|&&row| labels[row as usize]).count() as f64;
            let n = rows.len() as f64;
            found.push(CalibrationBin {
                samples: rows.len() as u64,
                predicted: predicted / n,
                observed: positives / n,
                interval: wilson(positives, n),
            });
        }
        begin = end;
    }
    found
}

/// The 95 % interval of a share by Wilson's score.
fn wilson(positives: f64, n: f64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    let (share, z2) = (positives / n, Z * Z);
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The expected calibration error: the mean over samples of how far the mean probability of their
/// bin is from the share of labels that are 1. `None` without samples.
pub fn calibration_error(bins: &[CalibrationBin]) -> Option<f64> {
    let samples: u64 = bins.iter().map(|bin| bin.samples).sum();
    let sum: f64 = bins.iter().map(|bin| bin.samples as f64 * (bin.predicted - bin.observed).abs()).sum();
    (samples > 0).then(|| sum / samples as f64)
}

impl ScoreHistogram {
    /// The bins cover the middle 99.8 % of the logits; what is beyond is in the outermost ones.
    pub fn new(logits: &[f32], labels: &[bool], bins: usize) -> Self {
        let mut sorted: Vec<f32> = logits.iter().copied().filter(|z| z.is_finite()).collect();
        sorted.sort_unstable_by(f32::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return Self::default() };
        let (low, mut high) = (f64::from(sorted[last / 1000]), f64::from(sorted[last - last / 1000]));
        if high <= low {
            high = low + 1.0;
        }
        let width = (high - low) / bins as f64;
        let (mut counts, mut samples) = ([vec![0u64; bins], vec![0u64; bins]], [0, 0]);
        for (&z, &label) in logits.iter().zip(labels) {
            let bin = ((f64::from(z) - low) / width).clamp(0.0, (bins - 1) as f64) as usize;
            counts[usize::from(label)][bin] += 1;
            samples[usize::from(label)] += 1;
        }
        let share = |label: usize| -> Vec<f64> {
            counts[label].iter().map(|&count| count as f64 / samples[label].max(1) as f64).collect()
        };
        let bounds = (0..=bins).map(|k| low + width * k as f64).collect();
        Self { bounds, shares: [share(0), share(1)], samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_equal_logits_together() {
        let logits = [0.0, 0.0, 0.0, 2.0, -2.0, 2.0];
        let labels = [true, false, false, true, false, true];
        let bins = calibration_bins(&logits, &labels, 6);
        let counts: Vec<u64> = bins.iter().map(|bin| bin.samples).collect();
        assert_eq!(counts, [1, 3, 2]);
        assert!((bins[1].predicted - 0.5).abs() < 1e-12 && (bins[1].observed - 1.0 / 3.0).abs() < 1e-12);
        // |0.1192 - 0|, |0.5 - 1/3| three times, |0.8808 - 1| twice.
        let expected = (0.119_202_922 + 3.0 / 6.0 + 2.0 * 0.119_202_922) / 6.0;
        assert!((calibration_error(&bins).expect("there are samples") - expected).abs() < 1e-8);
        assert_eq!(calibration_bins(&[], &[], 10), []);
        assert_eq!(calibration_error(&[]), None);
    }

    /// The ends are where the share lies 1.96 standard errors of the end itself away.
    #[test]
    fn shares_have_intervals() {
        for (positives, n) in [(3.0, 10.0), (1.0, 400.0), (4.0, 5.0)] {
            let (low, high) = wilson(positives, n);
            for end in [low, high] {
                let errors = (positives / n - end).abs() / (end * (1.0 - end) / n).sqrt();
                assert!((errors - 1.959_963_984_540_054).abs() < 1e-9, "{positives} of {n}: {low} {high}");
            }
            assert!(low < positives / n && positives / n < high);
        }
        assert_eq!(wilson(0.0, 5.0).0, 0.0);
        assert_eq!(wilson(5.0, 5.0).1, 1.0);
    }

    #[test]
    fn every_sample_is_in_a_bin() {
        let logits: Vec<f32> = (0..5000).map(|k| ((k * 37 % 1000) as f32 - 500.0) / 100.0).collect();
        let labels: Vec<bool> = (0..5000).map(|k| k % 3 == 0).collect();
        let histogram = ScoreHistogram::new(&logits, &labels, 20);
        assert_eq!(histogram.bounds.len(), 21);
        for shares in &histogram.shares {
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!(histogram.samples, [3333, 1667]);
        assert_eq!(ScoreHistogram::new(&[], &[], 20), ScoreHistogram::default());
        assert_eq!(ScoreHistogram::new(&[1.0, 1.0], &[true, false], 4).shares[1][0], 1.0);
    }
}
