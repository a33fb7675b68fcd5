//! How ranks share the rows of a data set that they read in the order of the files.

use super::Turn;
use crate::comm::{Channel, Communicator};
use crate::data::Inner;
use crate::data::block::RowBlock;
use crate::data::stream::{CHUNK, StreamOptions};
use std::ops::Range;
use std::sync::Arc;

/// How ranks share the rows of a data set that they read in the order of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowDivision {
    /// Each reads consecutive whole blocks by itself (row groups, blocks of records): its part.
    ByBlocks,
    /// All go through the rows together, and each gets an equal share of every batch.
    ByBatches,
}

/// With whom a stream reads.
pub(crate) enum Readers {
    /// Alone, these blocks.
    Alone(Range<usize>),
    /// With the other ranks, all blocks.
    Ranks(RankReaders),
}

/// How ranks read together.
pub(crate) struct RankReaders {
    pub ranks: Arc<dyn Communicator>,
    pub channel: Channel,
    pub turn: Turn,
    pub division: BatchDivision,
}

/// Which samples of a batch are a rank's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchDivision {
    /// Its leaves: what comes on a rank is a part of the global batch.
    Leaves,
    /// As many as any other rank's: what comes on a rank is a batch by itself.
    Even,
}

impl Inner {
    /// How so many ranks share the rows: by blocks where their parts are about equally large.
    pub fn division(&self, ranks: usize) -> RowDivision {
        let rows = |rank| self.blocks[self.blocks_of(rank, ranks)].iter().map(|block| block.rows).sum::<u64>();
        let largest = (0..ranks).map(rows).max().expect("there is a rank");
        // At most an eighth more than an equal share.
        let even = 8 * u128::from(largest) * ranks as u128 <= 9 * u128::from(self.rows);
        if even { RowDivision::ByBlocks } else { RowDivision::ByBatches }
    }

    /// Where a rank's rows begin if all have equally many.
    pub fn even_begin(&self, rank: usize, ranks: usize) -> u64 {
        (u128::from(self.rows) * rank as u128 / ranks as u128) as u64
    }

    /// Blocks of a rank where ranks share them: consecutive ones, about equally many rows.
    pub fn blocks_of(&self, rank: usize, ranks: usize) -> Range<usize> {
        assert!(rank < ranks, "a rank is one of the ranks");
        // Where a rank's rows would begin if blocks could be cut, at the nearest end of a block.
        let begin = |rank: usize| {
            let even = self.even_begin(rank, ranks);
            let mut end = 0;
            let nearer = |block: &RowBlock| {
                let begin = end;
                end += block.rows;
                begin.abs_diff(even) >= end.abs_diff(even)
            };
            self.blocks.iter().map(nearer).take_while(|&nearer| nearer).count()
        };
        begin(rank)..begin(rank + 1)
    }

    /// How a rank reads in the order of the files together with others: their batches, and how they
    /// are made. `options` are those of a rank that reads alone.
    pub fn together(&self, options: StreamOptions, ranks: Arc<dyn Communicator>) -> (StreamOptions, Readers) {
        // What a step of shared row groups distributes is then one batch, so that samples travel
        // once.
        let batch = (options.batch.min(CHUNK) * ranks.size()).max(CHUNK);
        let window_bytes = options.window_bytes.saturating_mul(ranks.size() as u64);
        let (channel, turn, division) = (Channel::Pass, self.pass_turns.next(), BatchDivision::Even);
        let readers = Readers::Ranks(RankReaders { ranks, channel, turn, division });
        (StreamOptions { batch, window_bytes, ..options }, readers)
    }
}
