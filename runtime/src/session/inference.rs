//! A whole data set through a model, in the order of the files, nothing learned from it.

use super::{Session, undefined};
use crate::Result;
use crate::batch::Batch;
use crate::data::{Dataset, Order, StreamOptions};

/// How far a pass over a data set has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PassEvent {
    /// A pass over so many rows begins, or goes on behind those that are done.
    Begin { pass: DataPass, rows: u64, done: u64 },
    /// Rows done of the current pass, and the mean loss so far where there is one.
    Advance { rows: u64, loss: Option<f64> },
    /// The current pass is over.
    End,
}

/// A pass over a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPass {
    /// Counting how many samples contain each id (Eq. 9).
    Counting,
    /// Reading the validation data once, to find what is wrong with them before training.
    Checking,
    /// Looking for the row of the training data that made the loss infinite or not a number.
    Searching,
    Training {
        epoch: u32,
        epochs: u32,
    },
    Evaluating,
    Predicting,
}

/// Predicts every row of a data set, and calls `each` with every batch and the logits of each
/// prediction; gives the number of rows. The results do not depend on `batch`.
///
/// # Errors
/// Data that cannot be read, a prediction that is not a number, or an error of `each`.
pub(crate) fn infer_all(
    session: &mut Session,
    data: &Dataset,
    batch: usize,
    pass: DataPass,
    observe: &mut dyn FnMut(PassEvent),
    mut each: impl FnMut(&Batch, &[&[f32]]) -> Result<()>,
) -> Result<u64> {
    let predictions = session.program().predictions.len();
    observe(PassEvent::Begin { pass, rows: data.rows(), done: 0 });
    let options = StreamOptions {
        threads: session.reading_threads(),
        ..StreamOptions::new(data.bounded_batch(batch), Order::File)
    };
    let mut batches = data.stream(options)?;
    let mut rows = 0;
    while let Some(batch) = batches.next()? {
        session.infer(&batch)?;
        undefined::refuse(session, data, &batch, rows)?;
        let logits: Vec<&[f32]> = (0..predictions).map(|k| session.logits(k)).collect();
        each(&batch, &logits)?;
        rows += batch.rows as u64;
        batches.recycle(batch);
        observe(PassEvent::Advance { rows, loss: None });
    }
    observe(PassEvent::End);
    Ok(rows)
}
