//! Which rank decodes which block of rows, and which units of a window lie on which rank.
//!
//! Guarantees that all ranks come to the same answers: they are functions of the blocks, the number
//! of ranks, and the samples per request that all ranks were told.

use crate::data::block::RowBlock;
use std::ops::Range;

/// Blocks in reading order, each with the rank that decodes it. A window takes their rows from
/// where the last one ended.
#[derive(Debug)]
pub(super) struct SharedBlocks {
    blocks: Vec<(RowBlock, usize)>,
    /// The first block with rows that are in no window so far.
    next: usize,
    /// Its rows that are.
    taken: u64,
}

/// Rows of a block that are in a window; more of the last one, to the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub rank: usize,
    pub rows: u64,
}

impl SharedBlocks {
    /// Gives each block to the rank that has the fewest rows so far, so that every window's rows
    /// are about evenly distributed. Windows begin `position` rows behind the first.
    pub fn new(order: Vec<RowBlock>, ranks: usize, position: u64) -> SharedBlocks {
        let mut rows = vec![0u64; ranks];
        let owned = |block: RowBlock| {
            let rank = (0..ranks).min_by_key(|&rank| rows[rank]).expect("there is a rank");
            rows[rank] += block.rows;
            (block, rank)
        };
        let blocks = order.into_iter().map(owned).collect();
        let mut shared = SharedBlocks { blocks, next: 0, taken: 0 };
        shared.advance(position);
        shared
    }

    /// The blocks of a rank in reading order, and its rows before the first window.
    pub fn of_rank(&self, rank: usize) -> (Vec<RowBlock>, u64) {
        let own = |blocks: Range<usize>| self.blocks[blocks].iter().filter(move |(_, owner)| *owner == rank);
        let before: u64 = own(0..self.next).map(|(block, _)| block.rows).sum();
        let begun = own(self.next..self.blocks.len().min(self.next + 1)).map(|_| self.taken).sum::<u64>();
        (own(0..self.blocks.len()).map(|&(block, _)| block).collect(), before + begun)
    }

    /// What a window of so many rows is made of; nothing at the end of the rows.
    pub fn window(&self, rows: usize) -> Vec<Segment> {
        let mut left = rows as u64;
        let mut taken = self.taken;
        let mut segments = Vec::new();
        for (block, rank) in &self.blocks[self.next..] {
            if left == 0 {
                break;
            }
            let rows = (block.rows - std::mem::take(&mut taken)).min(left);
            left -= rows;
            segments.push(Segment { rank: *rank, rows });
        }
        segments
    }

    /// Goes on behind so many rows.
    pub fn advance(&mut self, rows: u64) {
        self.taken += rows;
        while let Some((block, _)) = self.blocks.get(self.next)
            && self.taken >= block.rows
        {
            self.taken -= block.rows;
            self.next += 1;
        }
    }
}

/// Where the units of a window lie, in the order in which batches take them.
#[derive(Debug, Default)]
pub(super) struct GlobalWindow {
    /// By unit: its rank, and which one it is there.
    places: Vec<(u32, u32)>,
    /// By unit, its samples; empty where units are rows.
    samples: Vec<u32>,
    /// Samples of all units.
    pub rows: u64,
}

impl GlobalWindow {
    /// The units of these segments in reading order. By rank, `requests` has the samples of each
    /// of its requests, where the schema has them.
    pub fn new(segments: &[Segment], requests: Option<&[&[u32]]>) -> GlobalWindow {
        let mut window = GlobalWindow::default();
        let ranks = segments.iter().map(|segment| segment.rank + 1).max().unwrap_or(0);
        let mut next = vec![0u32; ranks];
        for Segment { rank, rows } in segments {
            let mut read = 0;
            while read < *rows {
                let samples = requests.map_or(1, |requests| requests[*rank][next[*rank] as usize]);
                window.places.push((*rank as u32, next[*rank]));
                if requests.is_some() {
                    window.samples.push(samples);
                }
                next[*rank] += 1;
                read += u64::from(samples);
            }
            window.rows += read;
        }
        window
    }

    /// Units.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Rank of a unit, and which one it is there.
    pub fn place(&self, unit: usize) -> (usize, usize) {
        let (rank, index) = self.places[unit];
        (rank as usize, index as usize)
    }

    /// Samples of some units.
    pub fn samples(&self, units: Range<usize>) -> usize {
        if self.samples.is_empty() { units.len() } else { self.samples[units].iter().map(|&s| s as usize).sum() }
    }

    /// Reorders the units: the one that was at `order[i]` is the `i`th.
    pub fn permute(&mut self, order: &[u32]) {
        self.places = order.iter().map(|&unit| self.places[unit as usize]).collect();
        if !self.samples.is_empty() {
            self.samples = order.iter().map(|&unit| self.samples[unit as usize]).collect();
        }
    }

    /// Puts units of the window before, from `from` on, before all others. On their ranks they lie
    /// behind the units of this window, in their order.
    pub fn put_first(&mut self, before: &GlobalWindow, from: usize, ranks: usize) {
        let mut next = vec![0u32; ranks];
        self.places.iter().for_each(|&(rank, _)| next[rank as usize] += 1);
        let place = |&(rank, _): &(u32, u32)| {
            let next = &mut next[rank as usize];
            *next += 1;
            (rank, *next - 1)
        };
        let places: Vec<_> = before.places[from..].iter().map(place).collect();
        self.rows += before.samples(from..before.len()) as u64;
        self.places.splice(0..0, places);
        self.samples.splice(0..0, before.samples.iter().skip(from).copied());
    }

    /// The units of the batch that begins with unit `begin`: as many as fit into so many samples,
    /// one at least. `None` where units of the next window may belong to it.
    pub fn batch(&self, begin: usize, batch: usize) -> Option<Range<usize>> {
        let (mut end, mut samples) = (begin, 0);
        while end < self.len() {
            let more = self.samples(end..end + 1);
            if samples > 0 && samples + more > batch {
                break;
            }
            samples += more;
            end += 1;
        }
        (samples >= batch || end < self.len()).then_some(begin..end)
    }
}
