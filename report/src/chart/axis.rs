//! Ranges of axes and the labels of their ticks.

use std::ops::Range;

/// From where to where an axis goes, and how its labels are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
}

impl Scale {
    /// Around all values, with some room.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let Self { low, high } = Self::tight(values);
        let room = (high - low) * 0.06;
        // An axis that begins at 0 has no room below it.
        Self { low: if low == 0.0 { 0.0 } else { low - room }, high: high + room }
    }

    /// Exactly around all values; around a single one there is some room.
    pub fn tight(values: impl Iterator<Item = f64>) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, high) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return Self { low: 0.0, high: 1.0 };
        }
        if high - low <= f64::EPSILON * high.abs().max(1.0) {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.05 };
            return Self { low: low - room, high: high + room };
        }
        Self { low, high }
    }

    pub fn range(&self) -> Range<f64> {
        self.low..self.high
    }

    /// With as many digits as ticks need to differ.
    pub fn label(&self, value: f64) -> String {
        let step = (self.high - self.low) / 10.0;
        let largest = self.low.abs().max(self.high.abs());
        if largest >= 10_000.0 {
            let (divisor, unit) = if largest >= 1e7 { (1e6, "M") } else { (1e3, "k") };
            let digits = (-(step / divisor).log10()).ceil().clamp(0.0, 3.0) as usize;
            return match value.abs() < step * 1e-6 {
                true => "0".into(),
                false => format!("{:.digits$}{unit}", value / divisor),
            };
        }
        let digits = (-step.log10()).ceil().clamp(0.0, 8.0) as usize;
        // Not "-0.0".
        let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
        format!("{value:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_the_digits_that_they_need() {
        let label = |low: f64, high: f64, value: f64| Scale { low, high }.label(value);
        assert_eq!(label(0.70, 0.75, 0.71), "0.710");
        assert_eq!(label(0.0, 9_000.0, 2_000.0), "2000");
        assert_eq!(label(0.0, 45_000.0, 20_000.0), "20k");
        assert_eq!(label(0.0, 12_500.0, 2_500.0), "2k");
        assert_eq!(label(-1.0, 1.0, -1e-12), "0.0");
    }

    #[test]
    fn ranges_hold_what_there_is() {
        assert_eq!(Scale::tight([3.0, f64::NAN, 1.0].into_iter()), Scale { low: 1.0, high: 3.0 });
        assert_eq!(Scale::tight([].into_iter()), Scale { low: 0.0, high: 1.0 });
        let one = Scale::of([0.5].into_iter());
        assert!(one.low < 0.5 && one.high > 0.5);
        assert_eq!(Scale::of([0.0, 10.0].into_iter()).low, 0.0);
    }
}
