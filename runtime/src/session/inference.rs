//! A whole data set through a model, in the order of the files, nothing learned from it.

use super::{Session, undefined};
use crate::Result;
use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages};
use crate::data::{Dataset, Order, RowDivision, StreamOptions};
use crate::signal;
use std::sync::Arc;

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
    /// Gathering the statistics of the training data that features are made by.
    Gathering,
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

/// What was computed of a batch; nothing of one without rows.
pub(crate) struct Inferred<'a> {
    /// By prediction: its root, sample by sample.
    pub predicted: Vec<&'a [f32]>,
    /// By output: a vector per sample, one after the other.
    pub outputs: Vec<&'a [f32]>,
}

impl<'a> Inferred<'a> {
    fn of(session: &'a Session, rows: bool) -> Self {
        let program = session.program();
        let predicted = (0..program.predictions.len()).map(|k| if rows { session.predicted(k) } else { &[] });
        let outputs = (0..program.outputs.len()).map(|k| if rows { session.output(k) } else { &[] });
        Self { predicted: predicted.collect(), outputs: outputs.collect() }
    }
}

/// Predicts every row of a data set, and calls `each` with the number of every batch's first row,
/// the batch, and what was computed of it; gives the number of rows, or `None` where a signal
/// has stopped the pass on all ranks. The results do not depend on the rows at a time.
///
/// Every rank of the run calls it, and predicts the rows that come on it
/// ([`Dataset::stream_in_order`]): where ranks share them by batches, `each` is called equally
/// often on all of them, at times without rows. Rows are counted, and observed by rank 0, over all
/// ranks.
///
/// # Errors
/// Data that cannot be read, a prediction that is not a number, an error of `each`, or another rank
/// failed.
pub(crate) fn infer_all(
    session: &mut Session,
    data: &Dataset,
    options: InferenceOptions,
    ranks: &Arc<dyn Communicator>,
    observe: &mut dyn FnMut(PassEvent),
    mut each: impl FnMut(u64, &Batch, &Inferred) -> Result<()>,
) -> Result<Option<u64>> {
    let mut observe = |event| {
        if ranks.rank() == 0 {
            observe(event);
        }
    };
    observe(PassEvent::Begin { pass: options.pass, rows: data.rows(), done: 0 });
    let stream = StreamOptions {
        threads: session.reading_threads(),
        ..StreamOptions::new(data.bounded_batch(options.batch), Order::File)
    };
    let mut batches = data.stream_in_order(stream, ranks)?;
    let mut position = PassPosition::new(data, &**ranks);
    let mut infer = || {
        loop {
            let batch = batches.next()?;
            // Ranks go on together until no rank has a batch, or one is asked to stop.
            let asked = options.on_signal == OnSignal::Stop && signal::asked();
            let place = position.advance(batch.as_ref().map_or(0, |batch| batch.rows), asked, &**ranks)?;
            if place.stops {
                return Ok(None);
            }
            if place.of_all == 0 {
                return Ok(Some(position.done));
            }
            let own = batch.as_ref().filter(|batch| batch.rows > 0);
            session.infer_together(own)?;
            if let Some(batch) = own {
                undefined::refuse(session, data, batch, place.first_row)?;
            }
            if let Some(batch) = batch {
                let values = Inferred::of(session, batch.rows > 0);
                each(place.first_row, &batch, &values)?;
                batches.recycle(batch);
            }
            observe(PassEvent::Advance { rows: position.done, loss: None });
        }
    };
    let outcome = infer();
    if let Err(error) = &outcome
        && ranks.size() > 1
    {
        // The thread behind the batches may wait for ranks that wait for this one.
        ranks.fail(error);
    }
    let rows = outcome?;
    observe(PassEvent::End);
    Ok(rows)
}

/// How far ranks are in a data set that they read together, a batch each at a time, in the order of
/// the files ([`Dataset::stream_in_order`]).
#[derive(Debug)]
pub(crate) struct PassPosition {
    division: RowDivision,
    /// Rows of all batches so far, of all ranks.
    done: u64,
    /// Number of the next row of this rank's part.
    next: u64,
    received: Messages,
}

/// Where the batches of all ranks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchPlace {
    /// Number of the first row of this rank's.
    pub first_row: u64,
    /// Rows of all ranks' batches; 0 at the end of the pass.
    pub of_all: u64,
    /// A rank asks to stop.
    pub stops: bool,
}

impl PassPosition {
    pub fn new(data: &Dataset, ranks: &dyn Communicator) -> PassPosition {
        let next = data.part_rows(ranks.rank(), ranks.size()).start;
        PassPosition { division: data.row_division(ranks.size()), done: 0, next, received: Messages::default() }
    }

    /// Goes on to the next batches, of which this rank's has so many rows: none without a batch.
    /// `asked` is this rank's word on whether to stop.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn advance(&mut self, rows: usize, asked: bool, ranks: &dyn Communicator) -> Result<BatchPlace> {
        ranks.all_gather(Channel::Step, &[rows as u32, u32::from(asked)], &mut self.received)?;
        let of_ranks = self.received.words.as_chunks::<2>().0;
        let sum = |ranks: &[[u32; 2]]| ranks.iter().map(|&[rows, _]| u64::from(rows)).sum::<u64>();
        let of_all = sum(of_ranks);
        let stops = of_ranks.iter().any(|&[_, asked]| asked == 1);
        let first_row = match self.division {
            RowDivision::ByBlocks => self.next,
            RowDivision::ByBatches => self.done + sum(&of_ranks[..ranks.rank()]),
        };
        self.done += of_all;
        self.next += rows as u64;
        Ok(BatchPlace { first_row, of_all, stops })
    }
}
