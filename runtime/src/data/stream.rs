//! The order of samples and the threads that decode them.
//!
//! Shuffled order: the blocks (row groups, blocks of records) of all files are permuted, the rows
//! so ordered are cut into windows of `window` rows, and each window is permuted. Both permutations
//! draw from Philox keyed by (seed, epoch) and (seed, epoch, window). The order depends on the
//! files, the seed, the epoch and the window alone; not on batch size, prefetch depth or timing.
//!
//! Where the schema has requests, they take the place of rows: whole requests are permuted, a
//! window ends with a request, and a batch takes as many as fit (one at least).
//!
//! While batches of one window are handed out the next is being decoded, as many rows at a time as
//! are handed out. On several threads columns are decoded and batches filled side by side, and so
//! are row groups that are smaller than what is decoded at a time. In memory are at most two
//! windows, `prefetch` finished batches and one more per thread, and what the decoders of the open
//! row groups hold.

use super::Inner;
use super::error::DataError;
use super::gather::{PartRange, gather};
use super::source::Source;
use super::window::Window;
use crate::batch::Batch;
use crate::random::Stream;
use crossbeam_channel::{Receiver, RecvError, Sender, bounded};
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The least number of rows that a thread decodes at a time.
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
    /// Samples per batch; the last may have fewer.
    pub batch: usize,
    pub order: Order,
    /// Batches to leave out at the start: a resumed run's place in its epoch. Row groups before it
    /// are not read.
    pub skip: u64,
    /// Finished batches kept ready; with several threads more of small ones.
    pub prefetch: usize,
    /// Rows that are permuted together.
    pub window_rows: usize,
    /// Memory of one window: fewer rows where they are long, by the average of all files. Part of
    /// the shuffled order, as `window_rows` is.
    pub window_bytes: u64,
    /// Threads that decode and fill batches. No part of the order.
    pub threads: usize,
    /// Rank and ranks: only the rows of [`Dataset::part_rows`](super::Dataset::part_rows), as if
    /// the data set had no others. It may have none.
    pub part: Option<(usize, usize)>,
}

impl StreamOptions {
    pub fn new(batch: usize, order: Order) -> Self {
        Self {
            batch,
            order,
            skip: 0,
            prefetch: 4,
            window_rows: 1 << 20,
            window_bytes: 256 << 20,
            threads: 1,
            part: None,
        }
    }
}

/// A running stream of batches. Dropping it stops its threads.
#[derive(Debug)]
pub struct Batches {
    ready: Option<Receiver<Result<Batch, DataError>>>,
    used: Sender<Batch>,
    /// Waits for the threads that decode.
    thread: Option<JoinHandle<()>>,
    done: bool,
}

impl Batches {
    pub(crate) fn start(data: Arc<Inner>, options: StreamOptions) -> Result<Batches, DataError> {
        let abreast = abreast(&options);
        // What is filled side by side is ready at once: the next are begun while these are used.
        let (ready_in, ready) = bounded(options.prefetch.max(abreast));
        let (used, used_out) = bounded(options.prefetch + abreast + 2);
        let path = data.files.first().expect("a data set has rows, so a file").path.clone();
        let failed = |e: std::io::Error| DataError::failed(Path::new(&path), "start the threads that read it", &e);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads.max(1))
            .thread_name(|number| format!("din-data-{number}"))
            .build()
            .map_err(|e| failed(std::io::Error::other(e)))?;
        let produce = move || {
            if let Err(error) = Producer::new(data, options).run(&ready_in, &used_out) {
                // The reader may be gone: nobody is left to report it to.
                let _ = ready_in.send(Err(error));
            }
        };
        let thread =
            std::thread::Builder::new().name("din-data".into()).spawn(move || pool.install(produce)).map_err(failed)?;
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
            Some(Err(RecvError)) | None => {
                self.done = true;
                // The threads ended without an error: all batches are read. They cannot have
                // panicked without a bug of ours; pass that on.
                match self.thread.take().map(JoinHandle::join) {
                    Some(Err(panic)) => std::panic::resume_unwind(panic),
                    Some(Ok(())) | None => Ok(None),
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
        // Closing the channel makes the producer's next send fail, which ends it.
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How many batches are filled side by side: as many as make work for all threads.
fn abreast(options: &StreamOptions) -> usize {
    let threads = options.threads.max(1);
    (threads * CHUNK / options.batch.max(1)).clamp(1, threads)
}

struct Producer {
    source: Source,
    options: StreamOptions,
    /// Rows of a window.
    window: usize,
    /// Number of the window that is read next.
    window_number: u64,
    /// Units of the first window that were handed out before the stream began.
    begin: usize,
    /// Batches to make and drop: where requests decide how many rows a batch has, its place is
    /// known by counting.
    discard: u64,
    /// See [`abreast`].
    abreast: usize,
}

/// A batch, and what is still to be put into it.
struct Filling {
    batch: Batch,
    runs: Vec<PartRange>,
    /// Samples that it will then have.
    samples: usize,
    /// Nothing more fits.
    full: bool,
}

impl Producer {
    fn new(data: Arc<Inner>, options: StreamOptions) -> Self {
        let blocks = options.part.map_or(0..data.blocks.len(), |(rank, ranks)| data.part(rank, ranks));
        let mut order = data.blocks[blocks].to_vec();
        let rows = order.iter().map(|block| block.rows).sum();
        let batch = options.batch.max(1);
        let fitting = options.window_bytes / data.row_bytes;
        let at_most = |rows: usize, fitting: u64| fitting.min(rows as u64).max(1) as usize;
        let mut window = at_most(options.window_rows, fitting);
        let abreast = abreast(&options);
        let requests = data.binding.schema.requests.is_some();
        let discard = if requests { options.skip } else { 0 };
        let skip = if requests { 0 } else { options.skip.saturating_mul(batch as u64).min(rows) };
        let (mut position, mut begin) = (skip, 0);
        match options.order {
            // No part of the order, but of what is in memory: a quarter is enough without a
            // permutation.
            Order::File => window = at_most((abreast * batch).max(CHUNK), fitting / 4),
            Order::Shuffled { seed, epoch } => {
                let mut permutation = Vec::new();
                Stream::new(seed, "data: order of units", epoch).permutation(order.len() as u32, &mut permutation);
                order = permutation.into_iter().map(|u| order[u as usize]).collect();
                // A window is permuted as a whole, so reading starts at its beginning.
                begin = (skip % window as u64) as usize;
                position = skip - begin as u64;
            }
        }
        let window_number = position / window as u64;
        let source = Source::new(data, order, position, CHUNK);
        Self { source, options: StreamOptions { batch, ..options }, window, window_number, begin, discard, abreast }
    }

    fn run(mut self, ready: &Sender<Result<Batch, DataError>>, used: &Receiver<Batch>) -> Result<(), DataError> {
        let data = self.source.data.clone();
        let schema = &data.binding.schema;
        let (mut current, mut next) = (Window::default(), Window::default());
        let mut permutation = Vec::new();
        let mut at = 0;
        // Of the next window, rows that may be read already.
        let mut due = 0;
        let mut begun: Option<Filling> = None;
        loop {
            if at == current.len() {
                self.source.read(self.window, &mut next)?;
                std::mem::swap(&mut current, &mut next);
                self.source.take_back(&mut next);
                (at, due) = (std::mem::take(&mut self.begin), 0);
                if at >= current.len() {
                    // The rows are at their end.
                    if let Some(Filling { batch, .. }) = begun.filter(|_| self.discard == 0) {
                        let _ = ready.send(Ok(batch));
                    }
                    return Ok(());
                }
                if let Order::Shuffled { seed, epoch } = self.options.order {
                    let id = epoch << 32 ^ self.window_number;
                    Stream::new(seed, "data: order of a window", id)
                        .permutation(current.len() as u32, &mut permutation);
                    current.permute(&permutation);
                    self.window_number += 1;
                }
            }
            let mut filling: Vec<Filling> = Vec::with_capacity(self.abreast);
            while filling.len() < self.abreast && at < current.len() {
                let mut one = begun.take().unwrap_or_else(|| {
                    let mut batch = used.try_recv().unwrap_or_else(|_| Batch::for_schema(schema));
                    batch.clear();
                    Filling { batch, runs: Vec::new(), samples: 0, full: false }
                });
                let first = at;
                at += self.fitting(&current, at, &mut one.samples);
                one.runs = current.runs(first..at);
                one.full = one.samples >= self.options.batch || at < current.len();
                due += one.samples - one.batch.rows;
                filling.push(one);
            }
            let goal = due.min(self.window);
            let fill =
                |one: &mut Filling| gather(schema, &current.parts, &std::mem::take(&mut one.runs), &mut one.batch);
            let ((), read) = rayon::join(
                || filling.par_iter_mut().for_each(fill),
                || if goal >= next.rows + CHUNK { self.source.read(goal, &mut next) } else { Ok(()) },
            );
            for one in filling {
                if !one.full {
                    begun = Some(one);
                } else if self.discard > 0 {
                    self.discard -= 1;
                } else if ready.send(Ok(one.batch)).is_err() {
                    return Ok(());
                }
            }
            read?;
        }
    }

    /// How many units of the window from `at` on fit a batch that has so many samples (one at least
    /// into an empty one); adds theirs.
    fn fitting(&self, window: &Window, at: usize, samples: &mut usize) -> usize {
        let mut taken = 0;
        while at + taken < window.len() {
            let more = window.samples(at + taken);
            if *samples > 0 && *samples + more > self.options.batch {
                break;
            }
            *samples += more;
            taken += 1;
        }
        taken
    }
}
