//! A data set read by several ranks: each decodes some of the blocks, and gets its leaves of every
//! global batch, or in the order of the files an equal share of it.
//!
//! The order of blocks and the permutation of a window are functions that every rank computes. So
//! each of them knows which rank decodes a unit, which batch it is in, and which rank owns its
//! leaf: nobody asks for samples, they are sent. Where the schema has requests, the samples of each
//! one are known to the rank that decoded them, and are told to all others window by window.
//!
//! Guarantees that the batches of all ranks, joined in the order of the ranks, are those of one
//! rank that reads alone; that no column of a block is decoded by two ranks; and that no rank waits
//! for another that has ended.
//!
//! - `division`: whether ranks read together. - `blocks`: who decodes what, and where the units of
//!   a window lie. - `shared`: blocks that all ranks decode together, by columns. - `columns`:
//!   which columns are whose.
//! - `exchange`: messages between ranks. - `samples`: batches as messages. - `turns`: one stream at
//!   a time.

mod blocks;
mod columns;
mod division;
mod exchange;
mod samples;
mod shared;
mod turns;

pub use division::RowDivision;
pub(super) use division::{BatchDivision, RankReaders, Readers};
pub(crate) use turns::{Turn, Turns};

use super::Inner;
use super::block::RowBlock;
use super::error::StreamError;
use super::gather::gather;
use super::source::Source;
use super::stream::{CHUNK, Order, Reading, ReadingOrder, StreamOptions, permute_window};
use super::window::Window;
use crate::batch::Batch;
use blocks::{GlobalWindow, RankUnits, Reader, Segment, Share, SharedBlocks};
use crossbeam_channel::{Receiver, Sender};
use exchange::SampleExchange;
use shared::SharedReader;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a step of a stream on ranks gives: `None` where a rank does not go on.
type Step<T> = std::result::Result<Option<T>, StreamError>;

/// How many batches one exchange is for: of small ones more, the same number on all ranks.
pub(super) fn abreast(options: &StreamOptions) -> usize {
    const MOST: usize = 16;
    (CHUNK / options.batch.max(1)).clamp(1, MOST)
}

/// Decodes a rank's blocks, and makes its batches.
pub(super) struct RankProducer {
    source: Source,
    shared: SharedReader,
    blocks: SharedBlocks,
    options: StreamOptions,
    order: ReadingOrder,
    /// Number of the window that is read next.
    window_number: u64,
    exchange: SampleExchange,
    turn: Turn,
}

impl RankProducer {
    /// `dropped` is set where nobody wants more.
    pub fn new(
        reading: Reading,
        options: StreamOptions,
        readers: RankReaders,
        dropped: Arc<AtomicBool>,
    ) -> RankProducer {
        let (ranks, data) = (readers.ranks.clone(), reading.data.clone());
        let mut order = ReadingOrder::new(&data, &options, abreast(&options), 0..data.blocks.len());
        let window_number = order.first_window();
        let blocks = std::mem::take(&mut order.blocks);
        // A block with more rows than a quarter of a rank's share of a window is for all ranks:
        // given to one, it would leave others without work.
        let rows: u64 = blocks.iter().map(|block| block.rows).sum();
        let largest = rows.min(order.window as u64) / (4 * ranks.size() as u64);
        let by_columns = |block: &_| is_large(&data, block, largest);
        let blocks = SharedBlocks::new(blocks, ranks.size(), order.position, by_columns);
        let (own, position) = blocks.of_rank(ranks.rank());
        let shared = SharedReader::new(&reading, blocks.of_all(), &*ranks);
        let (exchange, turn) = SampleExchange::new(data, options.leaves, readers, dropped);
        let source = Source::new(reading, own, position, CHUNK);
        let options = StreamOptions { batch: options.batch.max(1), ..options };
        RankProducer { source, shared, blocks, options, order, window_number, exchange, turn }
    }

    /// Makes batches until the rows end, or a stream is dropped on some rank.
    pub fn run(
        mut self,
        ready: &Sender<Result<Batch, StreamError>>,
        used: &Receiver<Batch>,
    ) -> Result<(), StreamError> {
        let mut next = Window::default();
        let plan = self.plan();
        // Before it is this stream's turn: only what is decoded is told to others.
        self.source.read(plan.alone, &mut next)?;
        self.shared.decode(u64::MAX)?;
        self.turn.wait().map_err(StreamError::Ranks)?;
        if self.exchange.agree(&self.options).map_err(StreamError::Ranks)? {
            self.produce(plan, next, ready, used)?;
        }
        self.turn.pass();
        Ok(())
    }

    /// Makes batches, of which `next` has some of the first window's rows; `None` where a rank does
    /// not go on.
    fn produce(
        &mut self,
        mut plan: Plan,
        mut next: Window,
        ready: &Sender<Result<Batch, StreamError>>,
        used: &Receiver<Batch>,
    ) -> Step<()> {
        let (mut current, mut global) = (Window::default(), GlobalWindow::default());
        let (mut at, mut permutation) = (0, Vec::new());
        // Where nobody takes batches any more, the next exchange says so.
        let send = |made: Vec<Batch>| made.into_iter().for_each(|batch| drop(ready.send(Ok(batch))));
        loop {
            if plan.segments.is_empty() {
                // The rows are at their end; what is left is the last batch.
                let rest = at..global.len();
                if !rest.is_empty() && self.order.discard == 0 {
                    let made = self.exchange.batches(&global, &current, &[rest], used);
                    made.map_err(StreamError::Ranks)?.into_iter().for_each(send);
                }
                return Ok(Some(()));
            }
            self.source.read(plan.alone, &mut next)?;
            while !self.shared.is_complete() {
                if self.shared.step(&mut self.exchange, &mut self.source)?.is_none() {
                    return Ok(None);
                }
            }
            let Some(read) = self.join(&plan, &mut next, &mut permutation)? else { return Ok(None) };
            self.blocks.advance(read.rows);
            let before = std::mem::replace(&mut global, read);
            self.keep(&before, at, &current, &mut next);
            global.put_first(&before, at, self.exchange.ranks.size());
            at = std::mem::take(&mut self.order.begin);
            std::mem::swap(&mut current, &mut next);
            self.source.take_back(&mut next);
            plan = self.plan();
            loop {
                let mut batches = Vec::new();
                while batches.len() < abreast(&self.options)
                    && let Some(batch) = global.batch(at, self.options.batch)
                {
                    at = batch.end;
                    batches.push(batch);
                }
                if batches.is_empty() {
                    break;
                }
                let discarded = self.order.discard.min(batches.len() as u64);
                self.order.discard -= discarded;
                batches.drain(..discarded as usize);
                // As much of the next window as was handed out of this one.
                let due = |rows: u64| (u128::from(rows) * at as u128 / global.len() as u128) as u64;
                let (alone, together) = (due(plan.alone as u64) as usize, due(self.shared.rows()));
                let (source, shared, exchange) = (&mut self.source, &mut self.shared, &mut self.exchange);
                let (made, read) = rayon::join(
                    || exchange.batches(&global, &current, &batches, used),
                    || {
                        if alone >= next.rows + CHUNK {
                            source.read(alone, &mut next)?;
                        }
                        shared.decode(together)
                    },
                );
                let Some(made) = made.map_err(StreamError::Ranks)? else { return Ok(None) };
                send(made);
                read?;
                while self.shared.has_step(together) {
                    if self.shared.step(&mut self.exchange, &mut self.source)?.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Plans the next window.
    fn plan(&mut self) -> Plan {
        let segments = self.blocks.window(self.order.window);
        let own = Reader::Rank(self.exchange.ranks.rank());
        let alone = segments.iter().filter(|segment| segment.reader == own).map(|segment| segment.rows).sum::<u64>();
        self.shared.begin(segments.iter().filter(|segment| segment.reader == Reader::All).copied().collect());
        Plan { segments, alone: alone as usize }
    }

    /// All units of a window in the order of batches. `own` has those that this rank decoded alone,
    /// and gets those that it put together.
    fn join(&mut self, plan: &Plan, own: &mut Window, permutation: &mut Vec<u32>) -> Step<GlobalWindow> {
        let shares = self.shares(plan);
        let alone = own.len() as u32;
        own.append(&mut self.shared.window);
        let mut window = if self.source.data.binding.schema.requests.is_some() {
            let samples = (0..own.len()).map(|unit| own.samples(unit) as u32);
            let messages = self.exchange.gather(std::iter::once(alone).chain(samples)).map_err(StreamError::Ranks)?;
            let Some(messages) = messages else { return Ok(None) };
            let units = messages.into_iter().map(|message| {
                let (&alone, samples) = message.split_first().expect("a message begins with the units decoded alone");
                RankUnits { alone, samples: Some(samples) }
            });
            let units: Vec<_> = units.collect();
            GlobalWindow::new(&shares, &units)
        } else {
            let alone = |rank| shares.iter().filter(move |share| share.rank == rank && !share.by_columns);
            let alone = |rank| alone(rank).map(|share| share.rows as u32).sum();
            let units = (0..self.exchange.ranks.size()).map(|rank| RankUnits { alone: alone(rank), samples: None });
            GlobalWindow::new(&shares, &units.collect::<Vec<_>>())
        };
        if let Order::Shuffled { seed, epoch } = self.options.order {
            permute_window(seed, epoch, self.window_number, window.len(), permutation);
            window.permute(permutation);
            self.window_number += 1;
        }
        Ok(Some(window))
    }

    /// Where the rows of a window lie that is read.
    fn shares(&self, plan: &Plan) -> Vec<Share> {
        let mut together = self.shared.shares().iter();
        let mut shares = Vec::with_capacity(plan.segments.len());
        for segment in &plan.segments {
            match segment.reader {
                Reader::Rank(rank) => shares.push(Share { rank, rows: segment.rows, by_columns: false }),
                Reader::All => shares.extend(together.next().expect("every segment of all ranks has its shares")),
            }
        }
        shares
    }

    /// Copies this rank's units from `from` on, which no batch has taken, behind those of the next
    /// window: [`GlobalWindow::put_first`] knows them there.
    fn keep(&mut self, global: &GlobalWindow, from: usize, current: &Window, next: &mut Window) {
        let rank = self.exchange.ranks.rank();
        let own = (from..global.len()).map(|unit| global.place(unit)).filter(|(owner, _)| *owner == rank);
        let own = current.runs(own.map(|(_, index)| index));
        if !own.is_empty() {
            let mut part = self.source.part();
            gather(&self.source.data.binding.schema, &current.parts, &own, &mut part);
            next.push(part);
        }
    }
}

/// What a window is made of.
struct Plan {
    segments: Vec<Segment>,
    /// Rows that this rank decodes alone.
    alone: usize,
}

/// Whether a block has more than so many rows, and columns that can be read by themselves.
fn is_large(data: &Inner, block: &RowBlock, rows: u64) -> bool {
    block.rows > rows && data.files[block.file].contents.by_columns().is_some()
}
