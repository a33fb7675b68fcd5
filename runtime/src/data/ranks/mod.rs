//! A data set read by several ranks: each decodes some of the blocks, and gets its leaves of every
//! global batch.
//!
//! The order of blocks and the permutation of a window are functions that every rank computes. So
//! each of them knows which rank decodes a unit, which batch it is in, and which rank owns its leaf:
//! nobody asks for samples, they are sent. Where the schema has requests, the samples of each one
//! are known to the rank that decoded them, and are told to all others window by window.
//!
//! Guarantees that the batches of all ranks, joined in the order of the ranks, are those of one rank
//! that reads alone; that no block is decoded by two ranks; and that all ranks take part in the same
//! exchanges. Every message begins with a word that says whether its rank goes on: where one does
//! not, because its stream was dropped, all of them end after that exchange.
//!
//! - `blocks`: who decodes what. - `samples`: batches as messages. - `turns`: one stream at a time.

mod blocks;
mod samples;
mod turns;

pub(crate) use turns::{Turn, Turns};

use super::Inner;
use super::error::StreamError;
use super::gather::gather;
use super::source::Source;
use super::stream::{CHUNK, Order, ReadingOrder, StreamOptions, permute_window};
use super::window::{Window, runs};
use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages};
use crate::leaves::{LeafRange, leaf_begin, leaf_count, owned_leaves};
use crate::{Error, Result};
use blocks::{GlobalWindow, Segment, SharedBlocks};
use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// First word of a message: its rank goes on.
const GOES_ON: u32 = 0;
/// First word of a message: the stream was dropped.
const DROPPED: u32 = 1;

/// How many batches one exchange is for: of small ones more, the same number on all ranks.
pub(super) fn abreast(options: &StreamOptions) -> usize {
    const MOST: usize = 16;
    (CHUNK / options.batch.max(1)).clamp(1, MOST)
}

/// Decodes a rank's blocks, and makes its batches.
pub(super) struct RankProducer {
    source: Source,
    blocks: SharedBlocks,
    options: StreamOptions,
    order: ReadingOrder,
    /// Number of the window that is read next.
    window_number: u64,
    exchange: Exchange,
}

impl RankProducer {
    pub fn new(
        data: Arc<Inner>,
        options: StreamOptions,
        decoded: Arc<AtomicU64>,
        ranks: Arc<dyn Communicator>,
    ) -> RankProducer {
        let mut order = ReadingOrder::new(&data, &options, abreast(&options));
        let window_number = order.first_window();
        let blocks = SharedBlocks::new(std::mem::take(&mut order.blocks), ranks.size(), order.position);
        let (own, position) = blocks.of_rank(ranks.rank());
        let exchange = Exchange::new(data.clone(), options.leaves, ranks);
        let source = Source::new(data, own, position, CHUNK, decoded);
        let options = StreamOptions { batch: options.batch.max(1), ..options };
        RankProducer { source, blocks, options, order, window_number, exchange }
    }

    /// Makes batches until the rows end, or `dropped` on some rank.
    pub fn run(
        mut self,
        turn: Turn,
        ready: &Sender<std::result::Result<Batch, StreamError>>,
        used: &Receiver<Batch>,
        dropped: &AtomicBool,
    ) -> std::result::Result<(), StreamError> {
        let mut next = Window::default();
        let (mut segments, mut goal) = self.plan();
        // Before it is this stream's turn: only what is decoded is told to others.
        self.source.read(goal, &mut next)?;
        turn.wait().map_err(StreamError::Ranks)?;
        if !self.exchange.agree(&self.options, dropped).map_err(StreamError::Ranks)? {
            turn.pass();
            return Ok(());
        }
        let (mut current, mut global) = (Window::default(), GlobalWindow::default());
        let (mut at, mut permutation) = (0, Vec::new());
        loop {
            if segments.is_empty() {
                // The rows are at their end; what is left is the last batch.
                let rest = at..global.len();
                if !rest.is_empty()
                    && self.order.discard == 0
                    && let Some(batches) = self.exchange(&global, &current, &[rest], used, dropped)?
                {
                    batches.into_iter().for_each(|batch| drop(ready.send(Ok(batch))));
                }
                turn.pass();
                return Ok(());
            }
            self.source.read(goal, &mut next)?;
            let Some(read) = self.join(&segments, &next, &mut permutation, dropped)? else {
                turn.pass();
                return Ok(());
            };
            self.blocks.advance(read.rows);
            let before = std::mem::replace(&mut global, read);
            self.keep(&before, at, &current, &mut next);
            global.put_first(&before, at, self.exchange.ranks.size());
            at = std::mem::take(&mut self.order.begin);
            std::mem::swap(&mut current, &mut next);
            self.source.take_back(&mut next);
            (segments, goal) = self.plan();
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
                let due = (goal as u128 * at as u128 / global.len() as u128) as usize;
                let due = if due >= next.rows + CHUNK { due } else { 0 };
                let (source, exchange) = (&mut self.source, &mut self.exchange);
                let (made, read) = rayon::join(
                    || exchange.batches(&global, &current, &batches, used, dropped),
                    || source.read(due, &mut next),
                );
                let Some(made) = made.map_err(StreamError::Ranks)? else {
                    turn.pass();
                    return Ok(());
                };
                // Where nobody takes them any more, the next exchange says so.
                made.into_iter().for_each(|batch| drop(ready.send(Ok(batch))));
                read?;
            }
        }
    }

    /// What the next window is made of, and how many rows of it this rank decodes.
    fn plan(&self) -> (Vec<Segment>, usize) {
        let segments = self.blocks.window(self.order.window);
        let rank = self.exchange.ranks.rank();
        let own = segments.iter().filter(|segment| segment.rank == rank).map(|segment| segment.rows).sum::<u64>();
        (segments, own as usize)
    }

    /// All units of a window in the order of batches, of which `own` has this rank's in reading
    /// order; `None` where a rank does not go on.
    fn join(
        &mut self,
        segments: &[Segment],
        own: &Window,
        permutation: &mut Vec<u32>,
        dropped: &AtomicBool,
    ) -> std::result::Result<Option<GlobalWindow>, StreamError> {
        let mut window = if self.source.data.binding.schema.requests.is_some() {
            let samples = (0..own.len()).map(|unit| own.samples(unit) as u32);
            let Some(samples) = self.exchange.gather(samples, dropped).map_err(StreamError::Ranks)? else {
                return Ok(None);
            };
            let samples: Vec<&[u32]> = samples.iter().map(|message| &message[1..]).collect();
            GlobalWindow::new(segments, Some(&samples))
        } else {
            GlobalWindow::new(segments, None)
        };
        if let Order::Shuffled { seed, epoch } = self.options.order {
            permute_window(seed, epoch, self.window_number, window.len(), permutation);
            window.permute(permutation);
            self.window_number += 1;
        }
        Ok(Some(window))
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

    fn exchange(
        &mut self,
        global: &GlobalWindow,
        own: &Window,
        batches: &[Range<usize>],
        used: &Receiver<Batch>,
        dropped: &AtomicBool,
    ) -> std::result::Result<Option<Vec<Batch>>, StreamError> {
        self.exchange.batches(global, own, batches, used, dropped).map_err(StreamError::Ranks)
    }
}

/// What ranks say to each other.
struct Exchange {
    data: Arc<Inner>,
    ranks: Arc<dyn Communicator>,
    leaves: u32,
    /// By rank, samples for it.
    send: Vec<Batch>,
    /// By rank, samples from it.
    from: Vec<Batch>,
    sent: Messages,
    received: Messages,
}

impl Exchange {
    fn new(data: Arc<Inner>, leaves: u32, ranks: Arc<dyn Communicator>) -> Exchange {
        let batches = vec![Batch::for_schema(&data.binding.schema); ranks.size()];
        let (sent, received) = (Messages::default(), Messages::default());
        Exchange { data, ranks, leaves, send: batches.clone(), from: batches, sent, received }
    }

    /// Gathers a message of each rank, behind its first word; `None` where a rank does not go on.
    fn gather(&mut self, message: impl Iterator<Item = u32>, dropped: &AtomicBool) -> Result<Option<&Messages>> {
        self.sent.clear();
        self.sent.words.push(first_word(dropped));
        self.sent.words.extend(message);
        self.ranks.all_gather(Channel::Data, &self.sent.words, &mut self.received)?;
        Ok(go_on(&self.received).then_some(&self.received))
    }

    /// Compares what all ranks are about to read; false where a rank does not go on.
    ///
    /// # Errors
    /// They differ.
    fn agree(&mut self, options: &StreamOptions, dropped: &AtomicBool) -> Result<bool> {
        let StreamOptions { batch, order, skip, prefetch: _, window_rows, window_bytes, threads: _, part, leaves } =
            *options;
        let read = (self.data.fingerprint(), batch, order, skip, window_rows, window_bytes, part, leaves);
        let digest = xxhash_rust::xxh3::xxh3_64(format!("{read:?}").as_bytes());
        let Some(digests) = self.gather([digest as u32, (digest >> 32) as u32].into_iter(), dropped)? else {
            return Ok(false);
        };
        match digests.iter().position(|other| other != digests.get(0)) {
            None => Ok(true),
            Some(rank) => Err(Error::input(format!("rank {rank} reads other data than rank 0, or in another way"))
                .help("give all ranks the same files, with the same names, and the same options")),
        }
    }

    /// Units of a batch that are a rank's.
    fn units_of(&self, batch: &Range<usize>, rank: usize) -> Range<usize> {
        let leaves = leaf_count(batch.len(), self.leaves);
        let owned = owned_leaves(rank, self.ranks.size(), leaves);
        let begin = |leaf| batch.start + leaf_begin(leaf, leaves, batch.len());
        begin(owned.start)..begin(owned.end)
    }

    /// This rank's parts of some batches of a window, of which `own` has the units that it decoded;
    /// `None` where a rank does not go on.
    fn batches(
        &mut self,
        global: &GlobalWindow,
        own: &Window,
        batches: &[Range<usize>],
        used: &Receiver<Batch>,
        dropped: &AtomicBool,
    ) -> Result<Option<Vec<Batch>>> {
        if batches.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let data = self.data.clone();
        let schema = &data.binding.schema;
        let (rank, ranks) = (self.ranks.rank(), self.ranks.size());
        let first = first_word(dropped);
        let decoded = |to: usize| {
            let units = batches.iter().flat_map(|batch| self.units_of(batch, to));
            own.runs(units.map(|unit| global.place(unit)).filter(|(owner, _)| *owner == rank).map(|(_, index)| index))
        };
        let decoded: Vec<_> = (0..ranks).map(decoded).collect();
        self.send.par_iter_mut().zip(decoded).for_each(|(batch, units)| {
            batch.clear();
            if first == GOES_ON {
                gather(schema, &own.parts, &units, batch);
            }
        });
        self.sent.clear();
        for (to, batch) in self.send.iter().enumerate() {
            self.sent.words.push(first);
            if to != rank {
                samples::encode(schema, batch, &mut self.sent.words);
            }
            self.sent.end_message();
        }
        self.ranks.all_to_all(Channel::Data, &self.sent, &mut self.received)?;
        if !go_on(&self.received) {
            return Ok(None);
        }
        let received = &self.received;
        self.from.par_iter_mut().enumerate().filter(|(from, _)| *from != rank).for_each(|(from, batch)| {
            batch.clear();
            samples::decode(schema, &received.get(from)[1..], batch);
        });
        std::mem::swap(&mut self.send[rank], &mut self.from[rank]);
        let mut next = vec![0; ranks];
        let mut made = Vec::with_capacity(batches.len());
        for batch in batches {
            let place = |unit| {
                let (from, _) = global.place(unit);
                next[from] += 1;
                (from, next[from] - 1)
            };
            let units = runs(self.units_of(batch, rank).map(place));
            let mut to = used.try_recv().unwrap_or_else(|_| Batch::for_schema(schema));
            to.clear();
            to.leaves = LeafRange::of_rank(batch.len(), self.leaves, rank, ranks);
            to.global_rows = global.samples(batch.clone());
            made.push((to, units));
        }
        made.par_iter_mut().for_each(|(batch, units)| gather(schema, &self.from, units, batch));
        Ok(Some(made.into_iter().map(|(batch, _)| batch).collect()))
    }
}

/// What a message of this rank begins with.
fn first_word(dropped: &AtomicBool) -> u32 {
    if dropped.load(Ordering::Relaxed) { DROPPED } else { GOES_ON }
}

/// Whether all ranks go on.
fn go_on(messages: &Messages) -> bool {
    messages.iter().all(|message| message[0] == GOES_ON)
}
