//! Which rank decodes which block of rows, and which units of a window lie on which rank.
//!
//! Guarantees that all ranks come to the same answers: they are functions of the blocks, the number
//! of ranks, and the samples per request that all ranks were told.

use crate::data::block::RowBlock;
use std::ops::Range;

/// Who decodes a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// A rank, all of its columns.
    Rank(usize),
    /// All ranks, each some of the columns.
    All,
}

/// Blocks in reading order, each with who decodes it. A window takes their rows from where the last
/// one ended.
#[derive(Debug)]
pub(super) struct SharedBlocks {
    blocks: Vec<(RowBlock, Reader)>,
    /// The first block with rows that are in no window so far.
    next: usize,
    /// Its rows that are.
    taken: u64,
}

/// Rows of a block that are in a window; more of the last one, to the end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub reader: Reader,
    pub block: RowBlock,
    /// Rows of the block before the first.
    pub begin: u64,
    pub rows: u64,
}

impl SharedBlocks {
    /// Blocks for which `by_columns` holds are decoded by all ranks. Each other one is given to the
    /// rank that has the fewest rows so far, so that every window's rows are about evenly
    /// distributed. Windows begin `position` rows behind the first.
    pub fn new(
        order: Vec<RowBlock>,
        ranks: usize,
        position: u64,
        by_columns: impl Fn(&RowBlock) -> bool,
    ) -> SharedBlocks {
        let mut rows = vec![0u64; ranks];
        let reader = |block: RowBlock| {
            if by_columns(&block) {
                return (block, Reader::All);
            }
            let rank = (0..ranks).min_by_key(|&rank| rows[rank]).expect("there is a rank");
            rows[rank] += block.rows;
            (block, Reader::Rank(rank))
        };
        let blocks = order.into_iter().map(reader).collect();
        let mut shared = SharedBlocks { blocks, next: 0, taken: 0 };
        shared.advance(position);
        shared
    }

    /// The blocks that a rank decodes alone, in reading order, and their rows before the first
    /// window.
    pub fn of_rank(&self, rank: usize) -> (Vec<RowBlock>, u64) {
        let own = self.blocks.iter().enumerate().filter(|(_, (_, reader))| *reader == Reader::Rank(rank));
        let before = |(index, (block, _)): (usize, &(RowBlock, Reader))| match index.cmp(&self.next) {
            std::cmp::Ordering::Less => block.rows,
            std::cmp::Ordering::Equal => self.taken,
            std::cmp::Ordering::Greater => 0,
        };
        (own.clone().map(|(_, (block, _))| *block).collect(), own.map(before).sum())
    }

    /// The blocks that all ranks decode.
    pub fn of_all(&self) -> impl Iterator<Item = RowBlock> {
        self.blocks.iter().filter(|(_, reader)| *reader == Reader::All).map(|(block, _)| *block)
    }

    /// What a window of so many rows is made of; nothing at the end of the rows.
    pub fn window(&self, rows: usize) -> Vec<Segment> {
        let mut left = rows as u64;
        let mut taken = self.taken;
        let mut segments = Vec::new();
        for &(block, reader) in &self.blocks[self.next..] {
            if left == 0 {
                break;
            }
            let begin = std::mem::take(&mut taken);
            let rows = (block.rows - begin).min(left);
            left -= rows;
            segments.push(Segment { reader, block, begin, rows });
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

/// Rows that lie on one rank, side by side in reading order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub rank: usize,
    /// More in the last one of a window, to the end of a request.
    pub rows: u64,
    /// Of a block that all ranks decode: such rows lie behind all others of the rank.
    pub by_columns: bool,
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

/// What a rank read of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankUnits<'a> {
    /// Units of blocks that it decoded alone; those of other blocks lie behind them.
    pub alone: u32,
    /// By unit, its samples, where units are requests.
    pub samples: Option<&'a [u32]>,
}

impl GlobalWindow {
    /// The units of these shares in reading order. By rank, `units` has what it read.
    pub fn new(shares: &[Share], units: &[RankUnits]) -> GlobalWindow {
        let mut window = GlobalWindow::default();
        let mut next: Vec<[u32; 2]> = units.iter().map(|units| [0, units.alone]).collect();
        for Share { rank, rows, by_columns } in shares {
            let next = &mut next[*rank][usize::from(*by_columns)];
            let mut read = 0;
            while read < *rows {
                let samples = units[*rank].samples.map_or(1, |samples| samples[*next as usize]);
                window.places.push((*rank as u32, *next));
                if units[*rank].samples.is_some() {
                    window.samples.push(samples);
                }
                *next += 1;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn windows_take_every_row_once_and_a_block_has_one_reader() {
        for case in 0..200 {
            let draw = Stream::new(5, "blocks", case);
            let ranks = 1 + draw.below(0, 6) as usize;
            let rows = (0..1 + draw.below(1, 20)).map(|index| 1 + draw.below(2 + index, 50));
            let block = |(index, rows)| RowBlock { file: 0, index, first_row: 0, rows };
            let order: Vec<RowBlock> = rows.enumerate().map(block).collect();
            let total: u64 = order.iter().map(|block| block.rows).sum();
            let position = draw.below(30, total + 1);
            let mut shared = SharedBlocks::new(order.clone(), ranks, position, |block| block.rows > 45);
            let mut readers: Vec<usize> = shared.of_all().map(|block| block.index).collect();
            let mut before = 0;
            for rank in 0..ranks {
                let (own, skipped) = shared.of_rank(rank);
                assert!(own.is_sorted_by_key(|block| block.index));
                readers.extend(own.iter().map(|block| block.index));
                before += skipped;
            }
            assert!(before <= position);
            readers.sort_unstable();
            assert_eq!(readers, (0..order.len()).collect::<Vec<_>>());
            // Windows that end up to three rows late, as requests do.
            let (mut next, mut taken) = (position, 0);
            loop {
                let window = shared.window(1 + draw.below(31, 60) as usize);
                let rows: u64 = window.iter().map(|segment| segment.rows).sum();
                let Some(last) = window.last() else { break };
                for segment in &window {
                    let first: u64 = order[..segment.block.index].iter().map(|block| block.rows).sum();
                    assert_eq!(first + segment.begin, next, "segments follow each other");
                    next += segment.rows;
                }
                let late = draw.below(32 + taken, 4).min(last.block.rows - last.begin - last.rows);
                next += late;
                shared.advance(rows + late);
                taken += 1;
            }
            assert_eq!(next, total);
        }
    }
}
