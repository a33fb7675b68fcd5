//! Where the values of a hyper-parameter may lie.

/// The values that a hyper-parameter may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// One of a list, which has no order: numbers may stand for kinds.
    Choices(Vec<f64>),
    /// From `low` to `high`, evenly.
    Linear { low: f64, high: f64 },
    /// From `low` to `high`, the logarithm evenly.
    Log { low: f64, high: f64 },
}

/// A hyper-parameter of a trial, with the value that it has there. One that is not there, since
/// its condition does not hold, is no part of the trial.
#[derive(Clone, Debug, PartialEq)]
pub struct ChosenValue {
    pub name: String,
    pub domain: Domain,
    pub value: f64,
}

/// Significant digits of a suggested number: more would only be harder to read and to type.
const DIGITS: i32 = 4;

/// A number of a range, with few digits and still inside of the range.
pub(crate) fn rounded(value: f64, low: f64, high: f64) -> f64 {
    let text = format!("{value:.*e}", (DIGITS - 1) as usize);
    let short: f64 = text.parse().expect("a finite number that was printed is a number");
    short.clamp(low, high)
}
