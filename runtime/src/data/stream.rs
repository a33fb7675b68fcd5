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
//! row groups hold. The first window can be decoded on more threads: no batch can be made before it
//! is whole, so that steps wait for it.

use super::block::RowBlock;
use super::combine::combine;
use super::error::{DataError, StreamError};
use super::gather::{PartRange, gather};
use super::ranks::{self, RankProducer, Readers};
use super::source::Source;
use super::window::Window;
use super::{Inner, Warnings};
use crate::batch::Batch;
use crate::comm;
use crate::leaves::DEFAULT_LEAVES;
use crate::random::Stream;
use crossbeam_channel::{Receiver, RecvError, Sender, bounded};
use rayon::prelude::*;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The least number of rows that a thread decodes at a time.
pub(super) const CHUNK: usize = 4096;

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
    /// Threads that decode the first window, if they are more than `threads` and there is one rank.
    /// They do not affect the order.
    pub opening_threads: usize,
    /// Leaves of a batch, at most: a power of two. No part of the order.
    pub leaves: u32,
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
            opening_threads: 1,
            leaves: DEFAULT_LEAVES,
        }
    }
}

/// What the threads of a stream read, and where they collect warnings.
#[derive(Clone)]
pub(super) struct Reading {
    pub data: Arc<Inner>,
    pub warnings: Arc<Warnings>,
}

/// A running stream of batches. Dropping it stops its threads.
#[derive(Debug)]
pub struct Batches {
    ready: Option<Receiver<Result<Batch, StreamError>>>,
    used: Sender<Batch>,
    /// Waits for the threads that decode.
    thread: Option<JoinHandle<()>>,
    done: bool,
    /// Set when nobody takes batches any more.
    dropped: Arc<AtomicBool>,
    data: Arc<Inner>,
    /// The warnings about the rows that the threads have read. They become the data set's when a
    /// batch is taken, so that which row a warning names does not depend on what is read ahead.
    warnings: Arc<Warnings>,
}

impl Batches {
    pub(crate) fn start(data: Arc<Inner>, options: StreamOptions, readers: Readers) -> Result<Batches, DataError> {
        // What is filled side by side is ready at once: the next are begun while these are used.
        let abreast = match readers {
            Readers::Alone(_) => abreast(&options),
            Readers::Ranks(_) => ranks::abreast(&options),
        };
        let (ready_in, ready) = bounded(options.prefetch.max(abreast));
        let (used, used_out) = bounded(options.prefetch + abreast + 2);
        let path = data.files.first().expect("a data set has rows, so a file").path.clone();
        let failed = |e: std::io::Error| DataError::failed(Path::new(&path), "start the threads that read it", &e);
        let pool = |threads: usize| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|number| format!("din-data-{number}"))
                .build()
                .map_err(|e| failed(std::io::Error::other(e)))
        };
        let threads = options.threads.max(1);
        let opening = match readers {
            Readers::Alone(_) if options.opening_threads > threads => Some(pool(options.opening_threads)?),
            Readers::Alone(_) | Readers::Ranks(_) => None,
        };
        let pool = pool(threads)?;
        let warnings = Arc::<Warnings>::default();
        let dropped = Arc::new(AtomicBool::new(false));
        let unwanted = dropped.clone();
        let of_threads = Reading { data: data.clone(), warnings: warnings.clone() };
        let produce = move || {
            let produced = match readers {
                Readers::Alone(blocks) => {
                    let mut producer = Producer::new(of_threads, options, blocks);
                    producer.open(opening).and_then(|()| producer.run(&ready_in, &used_out)).map_err(StreamError::from)
                }
                Readers::Ranks(ranks) => {
                    RankProducer::new(of_threads, options, ranks, unwanted).run(&ready_in, &used_out)
                }
            };
            if let Err(error) = produced {
                // The reader may be gone: nobody is left to report it to.
                let _ = ready_in.send(Err(error));
            }
        };
        let thread =
            std::thread::Builder::new().name("din-data".into()).spawn(move || pool.install(produce)).map_err(failed)?;
        Ok(Batches { ready: Some(ready), used, thread: Some(thread), done: false, dropped, data, warnings })
    }

    /// The next batch; `None` at the end of the epoch. After an error, `None`.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Batch>, StreamError> {
        if self.done {
            return Ok(None);
        }
        match self.ready.as_ref().map(Receiver::recv) {
            Some(Ok(Ok(batch))) => {
                comm::progress();
                self.data.warnings.take_from(&self.warnings);
                Ok(Some(batch))
            }
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
        self.dropped.store(true, Ordering::Relaxed);
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

/// The order in which rows are read, and where in it a stream begins.
pub(super) struct ReadingOrder {
    pub blocks: Vec<RowBlock>,
    /// Rows of a window.
    pub window: usize,
    /// Rows before the first that is read.
    pub position: u64,
    /// Units of the first window that were handed out before the stream began.
    pub begin: usize,
    /// Batches to make and drop: where requests decide how many rows a batch has, its place is
    /// known by counting.
    pub discard: u64,
}

impl ReadingOrder {
    /// Of some blocks. Without a permutation, a window has about `abreast` batches.
    pub fn new(data: &Inner, options: &StreamOptions, abreast: usize, blocks: Range<usize>) -> ReadingOrder {
        let mut blocks = data.blocks[blocks].to_vec();
        let rows = blocks.iter().map(|block| block.rows).sum();
        let batch = options.batch.max(1);
        let mut window = data.window_rows(options.window_rows, options.window_bytes);
        let requests = data.binding.schema.requests.is_some();
        let discard = if requests { options.skip } else { 0 };
        let skip = if requests { 0 } else { options.skip.saturating_mul(batch as u64).min(rows) };
        let (mut position, mut begin) = (skip, 0);
        match options.order {
            // No part of the order, but of what is in memory: a quarter is enough without a
            // permutation.
            Order::File => window = data.window_rows((abreast * batch).max(CHUNK), options.window_bytes / 4),
            Order::Shuffled { seed, epoch } => {
                let mut permutation = Vec::new();
                Stream::new(seed, "data: order of units", epoch).permutation(blocks.len() as u32, &mut permutation);
                blocks = permutation.into_iter().map(|u| blocks[u as usize]).collect();
                // A window is permuted as a whole, so reading starts at its beginning.
                begin = (skip % window as u64) as usize;
                position = skip - begin as u64;
            }
        }
        ReadingOrder { blocks, window, position, begin, discard }
    }

    /// Number of the window that is read first.
    pub fn first_window(&self) -> u64 {
        self.position / self.window as u64
    }
}

/// The order of a window's units in shuffled order.
pub(super) fn permute_window(seed: u64, epoch: u64, window: u64, units: usize, permutation: &mut Vec<u32>) {
    Stream::new(seed, "data: order of a window", epoch << 32 ^ window).permutation(units as u32, permutation);
}

struct Producer {
    source: Source,
    /// Rows of the window that is read next.
    next: Window,
    options: StreamOptions,
    order: ReadingOrder,
    /// Number of the window that is read next.
    window_number: u64,
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
    fn new(reading: Reading, options: StreamOptions, blocks: Range<usize>) -> Self {
        let abreast = abreast(&options);
        let mut order = ReadingOrder::new(&reading.data, &options, abreast, blocks);
        let window_number = order.first_window();
        let mut source = Source::new(reading, std::mem::take(&mut order.blocks), order.position, CHUNK);
        source.share_memory();
        Self {
            source,
            next: Window::default(),
            options: StreamOptions { batch: options.batch.max(1), ..options },
            order,
            window_number,
            abreast,
        }
    }

    /// Reads the first window, on a pool of its own where there is one.
    fn open(&mut self, pool: Option<rayon::ThreadPool>) -> Result<(), DataError> {
        let rows = self.order.window;
        match pool {
            Some(pool) => pool.install(|| self.source.read(rows, &mut self.next)),
            None => self.source.read(rows, &mut self.next),
        }
    }

    fn run(&mut self, ready: &Sender<Result<Batch, StreamError>>, used: &Receiver<Batch>) -> Result<(), DataError> {
        let data = self.source.data.clone();
        let schema = &data.binding.schema;
        let (mut current, mut next) = (Window::default(), std::mem::take(&mut self.next));
        let mut permutation = Vec::new();
        let mut at = 0;
        // Of the next window, rows that may be read already.
        let mut due = 0;
        let mut begun: Option<Filling> = None;
        loop {
            if at == current.len() {
                self.source.read(self.order.window, &mut next)?;
                std::mem::swap(&mut current, &mut next);
                self.source.take_back(&mut next);
                (at, due) = (std::mem::take(&mut self.order.begin), 0);
                if at >= current.len() {
                    // The rows are at their end.
                    if let Some(Filling { mut batch, .. }) = begun.filter(|_| self.order.discard == 0) {
                        combine(schema, &mut batch);
                        let _ = ready.send(Ok(self.finished(batch)));
                    }
                    return Ok(());
                }
                if let Order::Shuffled { seed, epoch } = self.options.order {
                    permute_window(seed, epoch, self.window_number, current.len(), &mut permutation);
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
            let goal = due.min(self.order.window);
            let fill = |one: &mut Filling| {
                gather(schema, &current.parts, &std::mem::take(&mut one.runs), &mut one.batch);
                if one.full {
                    combine(schema, &mut one.batch);
                }
            };
            let ((), read) = rayon::join(
                || filling.par_iter_mut().for_each(fill),
                || if goal >= next.rows + CHUNK { self.source.read(goal, &mut next) } else { Ok(()) },
            );
            for one in filling {
                if !one.full {
                    begun = Some(one);
                } else if self.order.discard > 0 {
                    self.order.discard -= 1;
                } else if ready.send(Ok(self.finished(one.batch))).is_err() {
                    return Ok(());
                }
            }
            read?;
        }
    }

    /// A batch that is whole, with its leaves.
    fn finished(&self, mut batch: Batch) -> Batch {
        batch.leaves.set_whole(batch.units(), self.options.leaves);
        batch.global_rows = batch.rows;
        batch
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
