//! What ranks say to each other about the data.
//!
//! Guarantees that all ranks take part in the same exchanges. Every message begins with a word that
//! says whether its rank goes on: where one does not, because its stream was dropped, all of them
//! end after that exchange.

use super::blocks::GlobalWindow;
use super::division::{BatchDivision, RankReaders};
use super::{Turn, samples};
use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages};
use crate::data::Inner;
use crate::data::combine::combine;
use crate::data::gather::gather;
use crate::data::stream::StreamOptions;
use crate::data::window::{Window, runs};
use crate::leaves::{LeafRange, leaf_begin, leaf_count, owned_leaves};
use crate::{Error, Result};
use crossbeam_channel::Receiver;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// First word of a message: its rank goes on.
const GOES_ON: u32 = 0;
/// First word of a message: the stream was dropped.
const DROPPED: u32 = 1;

/// What ranks say to each other.
pub(super) struct SampleExchange {
    data: Arc<Inner>,
    pub ranks: Arc<dyn Communicator>,
    channel: Channel,
    division: BatchDivision,
    leaves: u32,
    /// By rank, samples for it.
    to: Vec<Batch>,
    /// By rank, samples from it.
    from: Vec<Batch>,
    sent: Messages,
    received: Messages,
    /// Set where the stream is no longer wanted.
    dropped: Arc<AtomicBool>,
}

impl SampleExchange {
    /// Gives also the stream's turn.
    pub fn new(
        data: Arc<Inner>,
        leaves: u32,
        readers: RankReaders,
        dropped: Arc<AtomicBool>,
    ) -> (SampleExchange, Turn) {
        let RankReaders { ranks, channel, turn, division } = readers;
        let to = vec![Batch::for_schema(&data.binding.schema); ranks.size()];
        let (from, sent, received) = (to.clone(), Messages::default(), Messages::default());
        (SampleExchange { data, ranks, channel, division, leaves, to, from, sent, received, dropped }, turn)
    }

    /// Gathers a message of each rank; `None` where a rank does not go on.
    pub fn gather(&mut self, message: impl Iterator<Item = u32>) -> Result<Option<Vec<&[u32]>>> {
        self.sent.clear();
        self.sent.words.push(self.first_word());
        self.sent.words.extend(message);
        self.ranks.all_gather(self.channel, &self.sent.words, &mut self.received)?;
        Ok(self.contents())
    }

    /// Sends each rank what `write` appends for it, and receives one message of each; `None` where
    /// a rank does not go on.
    pub fn send(&mut self, mut write: impl FnMut(usize, &mut Vec<u32>)) -> Result<Option<Vec<&[u32]>>> {
        self.sent.clear();
        let first = self.first_word();
        for to in 0..self.ranks.size() {
            self.sent.words.push(first);
            if first == GOES_ON {
                write(to, &mut self.sent.words);
            }
            self.sent.end_message();
        }
        self.ranks.all_to_all(self.channel, &self.sent, &mut self.received)?;
        Ok(self.contents())
    }

    /// What a message of this rank begins with.
    fn first_word(&self) -> u32 {
        if self.dropped.load(Ordering::Relaxed) { DROPPED } else { GOES_ON }
    }

    /// By rank, what was received behind the first words, if all ranks go on.
    fn contents(&self) -> Option<Vec<&[u32]>> {
        self.received.iter().map(|message| (message[0] == GOES_ON).then_some(&message[1..])).collect()
    }

    /// Compares what all ranks are about to read; false where a rank does not go on.
    ///
    /// # Errors
    /// They differ.
    pub fn agree(&mut self, options: &StreamOptions) -> Result<bool> {
        let StreamOptions {
            batch,
            order,
            skip,
            prefetch: _,
            window_rows,
            window_bytes,
            threads: _,
            opening_threads: _,
            leaves,
        } = *options;
        let read = (self.data.fingerprint(), batch, order, skip, window_rows, window_bytes, leaves);
        let digest = xxhash_rust::xxh3::xxh3_64(format!("{read:?}").as_bytes());
        let Some(digests) = self.gather([digest as u32, (digest >> 32) as u32].into_iter())? else {
            return Ok(false);
        };
        match digests.iter().position(|other| *other != digests[0]) {
            None => Ok(true),
            Some(rank) => Err(Error::input(format!("rank {rank} reads other data than rank 0, or in another way"))
                .help("give all ranks the same files, with the same names, and the same options")),
        }
    }

    /// Units of a batch that are a rank's.
    fn units_of(&self, batch: &Range<usize>, rank: usize) -> Range<usize> {
        let ranks = self.ranks.size();
        match self.division {
            BatchDivision::Leaves => {
                let leaves = leaf_count(batch.len(), self.leaves);
                let owned = owned_leaves(rank, ranks, leaves);
                let begin = |leaf| batch.start + leaf_begin(leaf, leaves, batch.len());
                begin(owned.start)..begin(owned.end)
            }
            BatchDivision::Even => {
                let begin = |rank| batch.start + batch.len() * rank / ranks;
                begin(rank)..begin(rank + 1)
            }
        }
    }

    /// This rank's parts of some batches of a window, of which `own` has the units that it decoded;
    /// `None` where a rank does not go on.
    pub fn batches(
        &mut self,
        global: &GlobalWindow,
        own: &Window,
        batches: &[Range<usize>],
        used: &Receiver<Batch>,
    ) -> Result<Option<Vec<Batch>>> {
        if batches.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let data = self.data.clone();
        let schema = &data.binding.schema;
        let (rank, ranks) = (self.ranks.rank(), self.ranks.size());
        let decoded = |to: usize| {
            let units = batches.iter().flat_map(|batch| self.units_of(batch, to));
            own.runs(units.map(|unit| global.place(unit)).filter(|(owner, _)| *owner == rank).map(|(_, index)| index))
        };
        let decoded: Vec<_> = (0..ranks).map(decoded).collect();
        let (mut send, mut from) = (std::mem::take(&mut self.to), std::mem::take(&mut self.from));
        send.par_iter_mut().zip(decoded).for_each(|(batch, units)| {
            batch.clear();
            gather(schema, &own.parts, &units, batch);
        });
        let write = |to: usize, words: &mut Vec<u32>| {
            if to != rank {
                samples::encode(&data.binding, &send[to], words);
            }
        };
        let Some(received) = self.send(write)? else { return Ok(None) };
        from.par_iter_mut().enumerate().filter(|(from, _)| *from != rank).for_each(|(from, batch)| {
            batch.clear();
            samples::decode(&data.binding, received[from], batch);
        });
        std::mem::swap(&mut send[rank], &mut from[rank]);
        let mut next = vec![0; ranks];
        let mut made = Vec::with_capacity(batches.len());
        for batch in batches {
            let place = |unit| {
                let (from, _) = global.place(unit);
                next[from] += 1;
                (from, next[from] - 1)
            };
            let own = self.units_of(batch, rank);
            let (count, samples) = (own.len(), global.samples(own.clone()));
            let before = global.samples(batch.start..own.start);
            let units = runs(own.map(place));
            let mut to = used.try_recv().unwrap_or_else(|_| Batch::for_schema(schema));
            to.clear();
            (to.leaves, to.global_rows, to.first_row) = match self.division {
                BatchDivision::Leaves => {
                    let leaves = LeafRange::of_rank(batch.len(), self.leaves, rank, ranks);
                    (leaves, global.samples(batch.clone()), before)
                }
                BatchDivision::Even => (LeafRange::whole(count, self.leaves), samples, 0),
            };
            made.push((to, units));
        }
        made.par_iter_mut().for_each(|(batch, units)| {
            gather(schema, &from, units, batch);
            combine(schema, batch);
        });
        (self.to, self.from) = (send, from);
        Ok(Some(made.into_iter().map(|(batch, _)| batch).collect()))
    }
}
