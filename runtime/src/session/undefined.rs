//! Predictions that are not a number: which row of which file, and whether the weights or the row
//! are the reason.

use super::Session;
use crate::batch::Batch;
use crate::data::{Dataset, Location};
use crate::{Error, Result};
use din_program::Program;
use din_program::schema::{Distribution, FeatureKind, Prediction};

/// Refuses the first prediction of a batch, in file order, that has no meaning: a logit that is not
/// a number, or another prediction that is not a finite one. `first_row` is the
/// data set's number of the batch's first row.
///
/// # Errors
/// There is one; or the data cannot be read again to find its location.
pub(crate) fn refuse(session: &mut Session, data: &Dataset, batch: &Batch, first_row: u64) -> Result<()> {
    let Some(UndefinedValue { prediction, row, value }) = first(session, |of, value| !of.holds(value)) else {
        return Ok(());
    };
    let program = session.program().clone();
    let location = location(data, first_row + row as u64)?;
    let name = &program.predictions[prediction].name;
    let found = if value.is_nan() { "not a number" } else { "infinite" };
    let error = Error::input(format!("{location}: the prediction of `{name}` is {found}"));
    Err(error.help(match session.model()?.diverged_weight() {
        Some((tensor, weight)) => of_weights(&tensor, weight),
        None => of_row(&program, batch, row),
    }))
}

/// A value of a prediction's root that has no meaning.
pub(crate) struct UndefinedValue {
    /// Index of the prediction.
    pub prediction: usize,
    pub row: usize,
    pub value: f32,
}

/// The first value of the last inference that is not as it should be.
pub(crate) fn first(session: &Session, wrong: impl Fn(Distribution, f32) -> bool) -> Option<UndefinedValue> {
    let predictions = session.program().predictions.iter().enumerate();
    let found = predictions.filter_map(|(prediction, Prediction { distribution, .. })| {
        let values = session.predicted(prediction);
        let at = values.iter().position(|&value| wrong(*distribution, value))?;
        Some(UndefinedValue { prediction, row: at / distribution.width(), value: values[at] })
    });
    found.min_by_key(|found| found.row)
}

/// `refund.parquet: row 7`, of a row counted over all files.
pub(crate) fn location(data: &Dataset, row: u64) -> Result<String> {
    let (file, location) = data.locate(row)?;
    Ok(match location {
        Location::Row(row) => format!("{}: row {row}", file.display()),
        Location::Line(line) => format!("{}: line {line}", file.display()),
    })
}

/// The help where a weight is the reason.
pub(crate) fn of_weights(tensor: &str, weight: f32) -> String {
    format!("the weights have diverged: one of `{tensor}` is {weight:e}; lower the learning rate")
}

/// The help where the weights are not: an expression is, with the row's values.
pub(crate) fn of_row(program: &Program, batch: &Batch, row: usize) -> String {
    let why = "all weights are finite: an expression of the spec has no value for this row, such as \
               `log` of a negative number, 0 / 0, or a number too large for f32";
    let numbers = numbers(program, batch, row);
    if numbers.is_empty() { why.into() } else { format!("{why}; the row has {}", numbers.join(", ")) }
}

/// Numeric features of a row that are single numbers: `a.price = -200`.
fn numbers(program: &Program, batch: &Batch, row: usize) -> Vec<String> {
    const SHOWN: usize = 6;
    let request = batch.requests.partition_point(|&first| first as usize <= row).saturating_sub(1);
    let features = program.schema.features.iter().enumerate();
    features
        .filter(|(_, f)| f.kind == FeatureKind::Dense { width: 1 } && f.sequence.is_none())
        .map(|(f, feature)| {
            let at = if feature.common { request } else { row };
            format!("{} = {}", feature.path(), batch.dense[f][at])
        })
        .take(SHOWN)
        .collect()
}
