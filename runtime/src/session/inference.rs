//! A whole data set through a model, in the order of the files, nothing learned from it.

use super::{Session, undefined};
use crate::Result;
use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages};
use crate::data::{Dataset, Order, StreamOptions};
use crate::signal;

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

/// What a signal that asks to stop (see [`signal`]) does to a pass over data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    /// Nothing: the caller looks for it.
    GoOn,
    /// The pass stops, on all ranks at the same batch, if it has come to one of them.
    Stop,
}

/// How [`infer_all`] reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InferenceOptions {
    pub pass: DataPass,
    /// Rows at a time.
    pub batch: usize,
    pub on_signal: OnSignal,
}

/// Predicts every row of a data set, and calls `each` with every batch and the logits of each
/// prediction; gives the number of rows, or `None` where a signal has stopped the pass on all
/// ranks. The results do not depend on the rows at a time.
///
/// Every rank of the run calls it, and predicts the rows of its part
/// ([`Dataset::part_rows`](crate::data::Dataset::part_rows)); rows are counted, and observed by
/// rank 0, over all ranks.
///
/// # Errors
/// Data that cannot be read, a prediction that is not a number, an error of `each`, or another rank
/// failed.
pub(crate) fn infer_all(
    session: &mut Session,
    data: &Dataset,
    options: InferenceOptions,
    ranks: &dyn Communicator,
    observe: &mut dyn FnMut(PassEvent),
    mut each: impl FnMut(&Batch, &[&[f32]]) -> Result<()>,
) -> Result<Option<u64>> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let mut observe = |event| {
        if rank == 0 {
            observe(event);
        }
    };
    let predictions = session.program().predictions.len();
    observe(PassEvent::Begin { pass: options.pass, rows: data.rows(), done: 0 });
    let stream = StreamOptions {
        threads: session.reading_threads(),
        part: (size > 1).then_some((rank, size)),
        ..StreamOptions::new(data.bounded_batch(options.batch), Order::File)
    };
    let mut batches = data.stream(stream)?;
    let mut received = Messages::default();
    // Rows done: of all ranks, and the data set's number of this rank's next row.
    let (mut rows, mut next_row) = (0, data.part_rows(rank, size).start);
    loop {
        let batch = batches.next()?;
        // Ranks go on together until no rank has a batch, or one is asked to stop.
        let asked = options.on_signal == OnSignal::Stop && signal::asked();
        let own = batch.as_ref().map_or(0, |batch| batch.rows) as u32;
        ranks.all_gather(Channel::Step, &[own, u32::from(asked)], &mut received)?;
        let of_ranks = received.words.as_chunks::<2>().0;
        if of_ranks.iter().any(|&[_, asked]| asked == 1) {
            observe(PassEvent::End);
            return Ok(None);
        }
        let of_all: u64 = of_ranks.iter().map(|&[rows, _]| u64::from(rows)).sum();
        if of_all == 0 {
            break;
        }
        session.infer_together(batch.as_ref())?;
        if let Some(batch) = batch {
            undefined::refuse(session, data, &batch, next_row)?;
            let logits: Vec<&[f32]> = (0..predictions).map(|k| session.logits(k)).collect();
            each(&batch, &logits)?;
            next_row += batch.rows as u64;
            batches.recycle(batch);
        }
        rows += of_all;
        observe(PassEvent::Advance { rows, loss: None });
    }
    observe(PassEvent::End);
    Ok(Some(rows))
}
