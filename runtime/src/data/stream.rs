//! The order of samples and the thread that decodes them.
//!
//! Shuffled order: the units (row groups, blocks of lines) of all files are permuted, the rows so ordered are cut into windows of
//! `window` rows, and each window is permuted. Both permutations draw from Philox keyed by (seed, epoch) and (seed, epoch, window).
//! The order depends on the files, the seed, the epoch and the window alone; not on batch size, prefetch depth or timing.
//!
//! Where the schema has requests, they take the place of rows: whole requests are permuted, a window ends with a request, and a batch takes as
//! many as fit (one at least).
//!
//! While batches of one window are handed out the next is being decoded, a batch's worth of rows at a time. In memory are at most two
//! windows, `prefetch` finished batches, and what one row group's decoder holds.

use super::Inner;
use super::error::DataError;
use super::files::{self, Unit, UnitReader};
use super::gather::{append, gather};
use super::requests::Flat;
use crate::batch::Batch;
use crate::random::Stream;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Rows decoded at a time in file order.
const CHUNK: usize = 4096;

/// Which sample comes when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in the files: for evaluation and prediction.
    File,
    /// A permutation that is a function of seed and epoch.
    Shuffled { seed: u64, epoch: u64 },
}

/// How a data set is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Samples a batch; the last may have fewer.
    pub batch: usize,
    pub order: Order,
    /// Batches to leave out at the start: a resumed run's place in its epoch. Row groups before it are not read.
    pub skip: u64,
    /// Finished batches kept ready.
    pub prefetch: usize,
    /// Rows that are permuted together.
    pub window_rows: usize,
    /// Memory of one window: fewer rows where they are long. Part of the order, as `window_rows` is.
    pub window_bytes: u64,
}

impl StreamOptions {
    pub fn new(batch: usize, order: Order) -> Self {
        Self { batch, order, skip: 0, prefetch: 4, window_rows: 1 << 17, window_bytes: 256 << 20 }
    }
}

/// A running stream of batches. Dropping it stops the thread.
#[derive(Debug)]
pub struct Batches {
    ready: Option<Receiver<Result<Batch, DataError>>>,
    used: Sender<Batch>,
    thread: Option<JoinHandle<()>>,
    done: bool,
}

impl Batches {
    pub(crate) fn start(data: Arc<Inner>, options: StreamOptions) -> Result<Batches, DataError> {
        let depth = options.prefetch.max(1);
        let (ready_in, ready) = bounded(depth);
        let (used, used_out) = bounded(depth + 2);
        let path = data.files.first().map(|f| f.path.clone()).unwrap_or_default();
        let thread = std::thread::Builder::new()
            .name("din-data".into())
            .spawn(move || {
                let sender = ready_in.clone();
                if let Err(error) = Producer::new(data, options).and_then(|mut p| p.run(&ready_in, &used_out)) {
                    // The reader may be gone: nobody is left to tell.
                    let _ = sender.send(Err(error));
                }
            })
            .map_err(|e| DataError::io(Path::new(&path), &e))?;
        Ok(Batches { ready: Some(ready), used, thread: Some(thread), done: false })
    }

    /// The next batch; `None` at the end of the epoch. After an error, `None`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Batch>, DataError> {
        if self.done {
            return Ok(None);
        }
        match self.ready.as_ref().map(Receiver::recv) {
            Some(Ok(Ok(batch))) => Ok(Some(batch)),
            Some(Ok(Err(error))) => {
                self.done = true;
                Err(error)
            }
            _ => {
                self.done = true;
                // The thread ended without an error: all batches are read. It cannot have panicked without a bug of ours; pass that on.
                match self.thread.take().map(JoinHandle::join) {
                    Some(Err(panic)) => std::panic::resume_unwind(panic),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Gives a batch back, so that its allocations are used again.
    pub fn recycle(&self, batch: Batch) {
        // Full or closed: the batch is dropped.
        let _ = self.used.try_send(batch);
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Closing the channel makes the thread's next send fail, which ends it.
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Producer {
    data: Arc<Inner>,
    options: StreamOptions,
    /// Units in reading order.
    order: Vec<Unit>,
    /// Next of them.
    next_unit: usize,
    reader: Option<Box<dyn UnitReader>>,
    /// Rows of the next unit to leave out.
    skip_rows: u64,
    /// Rows of a window.
    window: usize,
    /// Number of the window that `current` will hold next.
    window_number: u64,
    /// Rows on their way to requests, where the schema has them.
    flat: Flat,
    /// Batches to make and drop: where requests decide how many rows a batch has, its place is known by counting.
    discard: u64,
}

impl Producer {
    fn new(data: Arc<Inner>, options: StreamOptions) -> Result<Self, DataError> {
        let mut order = data.units.clone();
        let fitting = usize::try_from(options.window_bytes / data.row_bytes.max(1)).unwrap_or(usize::MAX);
        let mut window = options.window_rows.min(fitting).max(1);
        let requests = data.binding.schema.requests.is_some();
        let discard = if requests { options.skip } else { 0 };
        let skip = if requests { 0 } else { options.skip.saturating_mul(options.batch as u64).min(data.rows) };
        let mut position = skip;
        match options.order {
            Order::File => window = CHUNK,
            Order::Shuffled { seed, epoch } => {
                let mut permutation = Vec::new();
                Stream::new(seed, "data: order of units", epoch).permutation(order.len() as u32, &mut permutation);
                order = permutation.into_iter().map(|u| data.units[u as usize]).collect();
                // A window is permuted as a whole, so reading starts at its beginning.
                position = skip - skip % window as u64;
            }
        }
        let mut producer = Self {
            flat: Flat::new(&data.binding.schema),
            discard,
            data,
            options,
            order,
            next_unit: 0,
            reader: None,
            skip_rows: 0,
            window,
            window_number: position / window as u64,
        };
        while let Some(unit) = producer.order.get(producer.next_unit)
            && position >= unit.rows
        {
            position -= unit.rows;
            producer.next_unit += 1;
        }
        producer.skip_rows = position;
        Ok(producer)
    }

    /// Rows of the first window that were handed out before the stream began.
    fn begin(&self) -> usize {
        let skip = self.options.skip.saturating_mul(self.options.batch as u64).min(self.data.rows);
        match self.options.order {
            _ if self.data.binding.schema.requests.is_some() => 0,
            Order::File => 0,
            Order::Shuffled { .. } => (skip % self.window as u64) as usize,
        }
    }

    /// Reads rows until `into` has `rows` of them (or some more, to the end of a request) or the data end.
    fn fill(&mut self, into: &mut Batch, rows: usize) -> Result<(), DataError> {
        if let Some(requests) = &self.data.binding.schema.requests {
            return self.fill_requests(into, rows, requests.key as usize);
        }
        while into.rows < rows {
            if self.reader.is_none() {
                let Some(&unit) = self.order.get(self.next_unit) else { return Ok(()) };
                let file = &self.data.files[unit.file];
                self.reader = Some(files::reader(&self.data.binding, file, unit, self.skip_rows)?);
                self.skip_rows = 0;
                self.next_unit += 1;
            }
            if let Some(reader) = &mut self.reader
                && reader.read(&self.data.binding, rows - into.rows, into)? == 0
            {
                self.reader = None;
            }
        }
        Ok(())
    }

    /// The same by requests.
    fn fill_requests(&mut self, into: &mut Batch, rows: usize, key: usize) -> Result<(), DataError> {
        let data = self.data.clone();
        loop {
            let unit = self.order.get(self.next_unit.saturating_sub(1)).copied();
            if let Some(unit) = unit
                && self.flat.drain(&data.binding, key, &data.files[unit.file].path, rows, into)?
            {
                return Ok(());
            }
            self.flat.first_row += self.flat.rows.rows as u64;
            self.flat.rows.clear();
            self.flat.taken = 0;
            if self.reader.is_none() {
                let Some(&unit) = self.order.get(self.next_unit) else { return Ok(()) };
                self.reader = Some(files::reader(&data.binding, &data.files[unit.file], unit, 0)?);
                self.next_unit += 1;
                self.flat.first_row = unit.first_row;
                self.flat.fresh = true;
            }
            if let Some(reader) = &mut self.reader
                && reader.read(&data.binding, CHUNK, &mut self.flat.rows)? == 0
            {
                self.reader = None;
            }
        }
    }

    fn run(&mut self, ready: &Sender<Result<Batch, DataError>>, used: &Receiver<Batch>) -> Result<(), DataError> {
        let data = self.data.clone();
        let schema = &data.binding.schema;
        let size = self.options.batch.max(1);
        let (mut current, mut next) = (Batch::for_schema(schema), Batch::for_schema(schema));
        let (mut permutation, mut scratch) = (Vec::new(), Vec::new());
        let mut at = self.begin();
        let mut first = true;
        loop {
            let mut batch = used.try_recv().unwrap_or_else(|_| Batch::for_schema(schema));
            batch.clear();
            while batch.rows < size {
                if at >= units(&current) {
                    let start = if first { at } else { 0 };
                    first = false;
                    self.fill(&mut next, self.window)?;
                    if next.rows == 0 || start >= next.rows {
                        break;
                    }
                    std::mem::swap(&mut current, &mut next);
                    next.clear();
                    at = start;
                    if let Order::Shuffled { seed, epoch } = self.options.order {
                        let id = epoch << 32 ^ self.window_number;
                        Stream::new(seed, "data: order of a window", id)
                            .permutation(units(&current) as u32, &mut permutation);
                        self.window_number += 1;
                    }
                }
                let take = match self.options.order {
                    _ if current.requests.is_empty() => (size - batch.rows).min(current.rows - at),
                    Order::File => fitting(&current, at..units(&current), batch.rows, size),
                    Order::Shuffled { .. } => {
                        let order = permutation[at..].iter().map(|&u| u as usize);
                        fitting(&current, order, batch.rows, size)
                    }
                };
                if take == 0 {
                    break;
                }
                match self.options.order {
                    Order::File => append(schema, &current, at..at + take, &mut batch),
                    Order::Shuffled { .. } => {
                        gather(schema, &current, &permutation[at..at + take], &mut scratch, &mut batch);
                    }
                }
                at += take;
            }
            if batch.rows == 0 {
                return Ok(());
            }
            if self.discard > 0 {
                self.discard -= 1;
            } else if ready.send(Ok(batch)).is_err() {
                return Ok(());
            }
            if matches!(self.options.order, Order::Shuffled { .. }) {
                let goal = (next.rows + size).min(self.window);
                self.fill(&mut next, goal)?;
            }
        }
    }
}

/// Requests of a batch; rows where there are none.
fn units(batch: &Batch) -> usize {
    if batch.requests.is_empty() { batch.rows } else { batch.requests.len() - 1 }
}

/// How many of the requests, in this order, fit a batch of `size` rows that has `rows`; one at least into an empty one.
fn fitting(from: &Batch, order: impl Iterator<Item = usize>, rows: usize, size: usize) -> usize {
    let mut rows = rows;
    let mut taken = 0;
    for unit in order {
        let samples = (from.requests[unit + 1] - from.requests[unit]) as usize;
        if rows > 0 && rows + samples > size {
            break;
        }
        rows += samples;
        taken += 1;
    }
    taken
}
