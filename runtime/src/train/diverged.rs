//! Why a loss is infinite or not a number: the weights, or a row of the data.

use super::{Event, TrainingRun, reading};
use crate::batch::Batch;
use crate::comm::{Channel, share_outcomes};
use crate::data::Order;
use crate::session::undefined::{self, UndefinedValue};
use crate::session::{DataPass, PassEvent, PassPosition};
use crate::signal;
use crate::{Error, Result};
use din_program::schema::Prediction;

/// The error of the step whose loss was taken last. The CPU's weights are those from before it.
///
/// # Errors
/// The reason cannot be looked for: the data cannot be read again.
pub(super) fn explain(
    run: &mut TrainingRun,
    loss: f64,
    step: u64,
    batch: Option<&Batch>,
    observe: &mut dyn FnMut(Event),
) -> Result<Error> {
    let (epoch, number) = (run.position.epoch + 1, run.position.batch);
    let became = format!("the loss became {loss} at step {step} (epoch {epoch}, batch {number})");
    let error = Error::input(format!("{}: {became}", run.program.model));
    let general = "lower the learning rate, or look for very large numeric features and for \
                   expressions without a value, such as `log` of a negative number";
    // A device has gone on: its weights are those from behind the step.
    let Some(batch) = batch.filter(|_| run.session.device().is_none()) else {
        return Ok(error.help(general));
    };
    let diverged = match run.session.model()?.diverged_weight() {
        Some((tensor, weight)) => Err(error.clone().help(undefined::of_weights(&tensor, weight))),
        None => Ok(String::new()),
    };
    if let Err(diverged) = share_outcomes(&*run.ranks, Channel::Step, diverged) {
        return Ok(diverged);
    }
    let batch = Some(batch).filter(|batch| batch.rows > 0);
    run.session.infer_together(batch)?;
    let found = batch.is_some() && undefined::first(&run.session, |_, value| !value.is_finite()).is_some();
    if !run.any_rank(found)? {
        return Ok(error.help(general));
    }
    Ok(search(run, &became, observe)?.unwrap_or_else(|| error.help(general)))
}

/// Predicts the training data in the order of the files, up to the first row whose prediction is
/// not finite; `None` where there is none, or where Ctrl-C came between.
fn search(run: &mut TrainingRun, became: &str, observe: &mut dyn FnMut(Event)) -> Result<Option<Error>> {
    observe(PassEvent::Begin { pass: DataPass::Searching, rows: run.train.rows(), done: 0 }.into());
    let mut batches = run.train.stream_in_order(reading(run, Order::File), &run.ranks)?;
    let mut position = PassPosition::new(&run.train, &*run.ranks);
    let (mut rows, mut found) = (0, Ok(String::new()));
    // Ranks go on together until none has a batch, or one has found the row.
    loop {
        let batch = batches.next()?.filter(|batch| batch.rows > 0);
        let rows_here = batch.as_ref().map_or(0, |batch| batch.rows);
        let place = position.advance(rows_here, signal::asked(), &*run.ranks)?;
        if place.stops || place.of_all == 0 {
            break;
        }
        run.session.infer_together(batch.as_ref())?;
        if let Some(batch) = batch {
            let undefined = undefined::first(&run.session, |_, value| !value.is_finite());
            if let Some(UndefinedValue { prediction, row, value }) = undefined {
                let Prediction { name, distribution, .. } = &run.program.predictions[prediction];
                let what = distribution.root();
                found = Err(match undefined::location(&run.train, place.first_row + row as u64) {
                    Ok(location) => {
                        let message = format!("{location}: {became}: the {what} of `{name}` is {value} for this row");
                        Error::input(message).help(undefined::of_row(&run.program, &batch, row))
                    }
                    // The other ranks learn of it below.
                    Err(error) => error,
                });
            }
            batches.recycle(batch);
        }
        rows += place.of_all;
        if run.any_rank(found.is_err())? {
            break;
        }
        observe(PassEvent::Advance { rows, loss: None }.into());
    }
    drop(batches);
    observe(PassEvent::End.into());
    Ok(share_outcomes(&*run.ranks, Channel::Step, found).err())
}
