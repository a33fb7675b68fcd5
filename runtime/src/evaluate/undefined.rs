//! Predictions that are not a number: which row of which file, and whether the weights or the row
//! are the reason.

use crate::batch::Batch;
use crate::data::{Dataset, Place};
use crate::run::{Error, Result};
use crate::train::Session;
use din_program::Program;
use din_program::schema::FeatureKind;

/// Refuses the first prediction of a batch, in file order, that is not a number. `first_row` is the
/// data set's number of the batch's first row.
///
/// # Errors
/// There is one; or the data cannot be read again to find its place.
pub(crate) fn refuse(session: &mut Session, data: &Dataset, batch: &Batch, first_row: u64) -> Result<()> {
    let program = session.program().clone();
    let Some((prediction, row)) = first(session, &program) else { return Ok(()) };
    let (file, place) = data.place(first_row + row as u64)?;
    let place = match place {
        Place::Row(row) => format!("row {row}"),
        Place::Line(line) => format!("line {line}"),
    };
    let name = &program.predictions[prediction].name;
    let error = Error::input(format!("{}: {place}: the prediction of `{name}` is not a number", file.display()));
    Err(match session.unusable_weight()? {
        Some(tensor) => error.help(format!(
            "the weights have diverged: `{tensor}` holds a number that is not finite; train with a \
             lower learning rate"
        )),
        None => error.help(explanation(&program, batch, row)),
    })
}

/// What to say where all weights are finite: an expression is to blame, for the row's values.
pub(crate) fn explanation(program: &Program, batch: &Batch, row: usize) -> String {
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

/// Prediction and row of the first logit that is not a number.
pub(crate) fn first(session: &Session, program: &Program) -> Option<(usize, usize)> {
    let rows = (0..program.predictions.len()).filter_map(|prediction| {
        let row = session.logits(prediction).iter().position(|logit| logit.is_nan())?;
        Some((prediction, row))
    });
    rows.min_by_key(|&(_, row)| row)
}
