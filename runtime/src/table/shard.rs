//! Which rank has a row of a table.
//!
//! The ids of a table are divided into *buckets* by a hash, as many as a batch has leaves at most
//! ([`crate::leaves`]), and a rank owns consecutive buckets, as it owns consecutive leaves. Sums
//! over the rows of a table are made within each bucket, by ascending id, and joined by the tree
//! over bucket numbers: they do not depend on ranks, nor on the order in which ids came.

use crate::leaves::{DEFAULT_LEAVES, owned_leaves};

/// Where the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Every row on the rank that owns its bucket.
    Sharded,
    /// Every row on every rank.
    Replicated,
}

/// How rows are divided over the ranks of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharding {
    /// Buckets: a power of two.
    pub buckets: u32,
    pub rank: usize,
    pub ranks: usize,
}

impl Sharding {
    /// A run of one rank.
    pub fn local(buckets: u32) -> Self {
        Self { buckets, rank: 0, ranks: 1 }
    }

    /// The bucket of an id.
    pub fn bucket(&self, id: u64) -> u32 {
        // The finaliser of SplitMix64 (Steele, Lea & Flood, 2014).
        let mut x = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        // The upper bits, times the number of buckets.
        (((x >> 32) * u64::from(self.buckets)) >> 32) as u32
    }

    /// The rank that owns a bucket.
    pub fn owner_of_bucket(&self, bucket: u32) -> usize {
        // `owned_leaves` gives rank r the buckets from r * buckets / ranks on.
        ((bucket as usize + 1) * self.ranks - 1) / self.buckets as usize
    }

    /// The rank that owns an id.
    pub fn owner(&self, id: u64) -> usize {
        self.owner_of_bucket(self.bucket(id))
    }

    /// Whether this rank owns an id.
    pub fn owns(&self, id: u64) -> bool {
        self.owner(id) == self.rank
    }

    /// The buckets of this rank.
    pub fn owned(&self) -> std::ops::Range<usize> {
        owned_leaves(self.rank, self.ranks, self.buckets as usize)
    }
}

/// Where one rank of a run has the rows of a model's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    pub sharding: Sharding,
    /// By table of the program.
    pub placements: Vec<Placement>,
}

impl ShardPlan {
    /// All rows of so many tables in one process.
    pub fn whole(tables: usize) -> Self {
        Self { sharding: Sharding::local(DEFAULT_LEAVES), placements: vec![Placement::Replicated; tables] }
    }

    /// The part of a table that the rank has; `None` where it has all rows.
    pub fn shard(&self, table: usize) -> Option<Sharding> {
        match self.placements[table] {
            Placement::Sharded => Some(self.sharding).filter(|sharding| sharding.ranks > 1),
            Placement::Replicated => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_those_of_leaves() {
        for buckets in [1, 16, 64, 1024] {
            for ranks in 1..=buckets.min(40) as usize {
                for rank in 0..ranks {
                    let sharding = Sharding { buckets, rank, ranks };
                    assert!(sharding.owned().all(|bucket| sharding.owner_of_bucket(bucket as u32) == rank));
                }
            }
        }
    }

    #[test]
    fn buckets_are_about_equally_full() {
        let sharding = Sharding::local(16);
        let mut counts = [0; 16];
        (0..16_000).for_each(|id| counts[sharding.bucket(id) as usize] += 1);
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
