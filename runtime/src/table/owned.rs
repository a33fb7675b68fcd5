//! The ids of a fixed table that one rank owns, with their rows.

use super::shard::Sharding;

/// Ascending ids. The row of an id is its place among them.
///
/// A look-up reads two cache lines: the groups' begins, and one group, about as many ids as a line
/// has. That is 4.25 bytes per id.
#[derive(Debug)]
pub(super) struct OwnedIds {
    ids: Vec<u32>,
    /// By group of consecutive numbers, as many as `1 << shift`: how many ids lie before it. One
    /// more than groups.
    begins: Vec<u32>,
    shift: u32,
}

/// About so many ids are in a group.
const GROUP: u64 = 16;

/// log2 of the numbers of a group, where a rank owns so many of `size` ids.
fn group_bits(size: u64, owned: u64) -> u32 {
    (GROUP.saturating_mul(size) / owned.max(1)).max(1).ilog2()
}

impl OwnedIds {
    /// Those of 0 to `size - 1`, which fit 32 bits.
    pub fn new(size: u64, sharding: &Sharding) -> Self {
        let buckets = sharding.owned();
        let owns = |&id: &u64| buckets.contains(&(sharding.bucket(id) as usize));
        let mut ids: Vec<u32> = (0..size).filter(owns).map(|id| id as u32).collect();
        ids.shrink_to_fit();
        let shift = group_bits(size, ids.len() as u64);
        let groups = (size >> shift) + 1;
        let mut begins = Vec::with_capacity(groups as usize + 1);
        let mut before = 0;
        for group in 0..=groups {
            before += ids[before..].iter().take_while(|&&id| u64::from(id) < group << shift).count();
            begins.push(before as u32);
        }
        Self { ids, begins, shift }
    }

    /// Bytes for so many of `size` ids.
    pub fn bytes_for(size: u64, owned: u64) -> u64 {
        (owned + (size >> group_bits(size, owned)) + 2) * size_of::<u32>() as u64
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn bytes(&self) -> usize {
        (self.ids.len() + self.begins.len()) * size_of::<u32>()
    }

    /// The id of a row.
    pub fn id(&self, row: usize) -> u64 {
        u64::from(self.ids[row])
    }

    /// The row of an id; `None` for one that another rank owns or no table has.
    #[inline]
    pub fn row(&self, id: u64) -> Option<u32> {
        let group = (id >> self.shift) as usize;
        let &[begin, end] = self.begins.get(group..)?.first_chunk::<2>()?;
        let ids = &self.ids[begin as usize..end as usize];
        ids.binary_search(&(id as u32)).ok().map(|at| begin + at as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_has_one_row_on_one_rank() {
        for (size, buckets, ranks) in
            [(0, 16, 2), (1, 16, 3), (5, 16, 16), (1000, 16, 3), (5000, 4, 4), (70_000, 64, 2)]
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
                assert!([size, size + 1, 1 << 32, u64::MAX].iter().all(|&id| part.row(id).is_none()));
            }
        }
    }
}
