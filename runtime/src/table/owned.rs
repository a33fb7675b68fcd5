//! The ids of a fixed table that one rank owns, with their rows.

use super::shard::Sharding;

/// Ascending ids. The row of an id is its place among them.
///
/// A bit for each id of the whole table says whether the rank owns it. A look-up reads one cache
/// line and takes no branch that depends on the id. With the counts of each line this takes a sixth
/// of a byte per id of the table, however many ranks there are.
#[derive(Debug)]
pub(super) struct OwnedIds {
    blocks: Vec<Block>,
    count: usize,
    /// Ids of the whole table.
    size: u64,
}

/// The bits of consecutive ids: one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Block {
    words: [u64; WORDS],
    /// By word: the number of owned ids in the words of the block before it.
    before_word: [u16; WORDS],
    /// Owned ids before the block.
    before: u32,
}

const WORDS: usize = 6;
/// Ids of a block.
const BLOCK: u64 = WORDS as u64 * u64::BITS as u64;

impl Block {
    fn ids(&self) -> usize {
        usize::from(self.before_word[WORDS - 1]) + self.words[WORDS - 1].count_ones() as usize
    }
}

impl OwnedIds {
    /// Those of 0 to `size - 1`, which fit 32 bits.
    pub fn new(size: u64, sharding: &Sharding) -> Self {
        let buckets = sharding.owned();
        let owns = |id: u64| id < size && buckets.contains(&(sharding.bucket(id) as usize));
        let mut count = 0;
        let blocks = (0..size.div_ceil(BLOCK)).map(|number| {
            let mut block = Block { before: count, ..Block::default() };
            let mut id = number * BLOCK;
            for w in 0..WORDS {
                block.before_word[w] = (count - block.before) as u16;
                for bit in 0..u64::BITS {
                    block.words[w] |= u64::from(owns(id)) << bit;
                    id += 1;
                }
                count += block.words[w].count_ones();
            }
            block
        });
        let blocks = blocks.collect();
        Self { blocks, count: count as usize, size }
    }

    /// Bytes for a table of `size` ids.
    pub fn bytes_for(size: u64) -> u64 {
        size.div_ceil(BLOCK) * size_of::<Block>() as u64
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// The ids of the rows from `row` on.
    pub fn ids_from(&self, row: usize) -> impl Iterator<Item = u64> {
        let first = self.blocks.partition_point(|block| block.before as usize + block.ids() <= row);
        let skipped = self.blocks.get(first).map_or(0, |block| row - block.before as usize);
        let words = (first as u64 * BLOCK..)
            .step_by(u64::BITS as usize)
            .zip(self.blocks[first..].iter().flat_map(|block| block.words));
        let bits = |mut word: u64| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| u64::from(word.trailing_zeros()))?;
                word &= word - 1;
                Some(bit)
            })
        };
        words.flat_map(move |(begin, word)| bits(word).map(move |bit| begin + bit)).skip(skipped)
    }

    /// The id of a row.
    pub fn id(&self, row: usize) -> u64 {
        self.ids_from(row).next().expect("rows are as many as owned ids")
    }

    /// The row of an id; `None` for one that another rank owns or no table has.
    #[inline]
    pub fn row(&self, id: u64) -> Option<u32> {
        if id >= self.size {
            return None;
        }
        let block = &self.blocks[(id / BLOCK) as usize];
        let (w, bit) = ((id % BLOCK / u64::from(u64::BITS)) as usize, id % u64::from(u64::BITS));
        let before = (block.words[w] & ((1 << bit) - 1)).count_ones();
        let owned = block.words[w] >> bit & 1 != 0;
        owned.then_some(block.before + u32::from(block.before_word[w]) + before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_one_row_on_one_rank() {
        for (size, buckets, ranks) in
            [(0, 16, 2), (1, 16, 3), (5, 16, 16), (384, 16, 2), (1000, 16, 3), (5000, 4, 4), (70_000, 64, 2)]
        {
            let parts: Vec<OwnedIds> =
                (0..ranks).map(|rank| OwnedIds::new(size, &Sharding { buckets, rank, ranks })).collect();
            let mut next = vec![0; ranks];
            for id in 0..size {
                let owner = Sharding { buckets, rank: 0, ranks }.owner(id);
                for (rank, part) in parts.iter().enumerate() {
                    assert_eq!(part.row(id), (rank == owner).then_some(next[owner]), "id {id} of {size}, rank {rank}");
                }
                assert_eq!(parts[owner].id(next[owner] as usize), id);
                next[owner] += 1;
            }
            for (part, rows) in parts.iter().zip(next) {
                assert_eq!(part.len(), rows as usize);
                let ids: Vec<u64> = (0..part.len()).map(|row| part.id(row)).collect();
                for row in [0, 1, part.len() / 2, part.len().saturating_sub(1), part.len()] {
                    assert!(part.ids_from(row).eq(ids.iter().skip(row).copied()), "from row {row} of {size}");
                }
                assert!([size, size + 1, 1 << 32, u64::MAX].iter().all(|&id| part.row(id).is_none()));
            }
        }
    }
}
