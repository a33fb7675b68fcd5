//! Leaves: how a global batch is cut, so that sums over it do not depend on ranks or threads.
//!
//! A batch of `n` units (requests where the schema has them, else samples) is cut once into
//! consecutive *leaves* of nearly equal size. Every sum over samples or entries is made within each
//! leaf in a fixed order, and the leaves' sums are joined by one binary tree over leaf numbers. The
//! number of leaves is a power of two and depends on the batch and on a number that the run
//! records, on nothing else. A rank owns consecutive leaves, so that what it has to say about a sum
//! is one value for each subtree that lies in them.

use din_program::Program;
use std::ops::Range;

/// Leaves of a batch that is large enough.
pub const DEFAULT_LEAVES: u32 = 16;

/// The same of a program that computes once per distinct id: it does so within each leaf, so more
/// leaves are more work (`bench/results/2026-11-28-leaves.md`).
pub const DEDUPLICATING_LEAVES: u32 = 4;

/// Leaves of a program's batches, unless others are asked for. Requests within a batch do not cross
/// leaves, so there are no more than have room for one of them.
pub fn default_leaves(program: &Program) -> u32 {
    let deduplicates = program.train.axes.uniques().next().is_some();
    let most = if deduplicates { DEDUPLICATING_LEAVES } else { DEFAULT_LEAVES };
    match &program.schema.in_batch {
        Some(requests) => most.min(1 << (program.training.batch / requests.size).max(1).ilog2()),
        None => most,
    }
}

/// Most leaves of a batch.
pub const MAX_LEAVES: u32 = 1024;

/// Whether a run may have so many leaves.
pub fn is_allowed(leaves: u32) -> bool {
    leaves.is_power_of_two() && leaves <= MAX_LEAVES
}

/// A leaf has at least so many units, where a batch has enough for more than one: a tile that is
/// not full costs nearly as much as one that is.
const LEAST_UNITS: usize = 64;

/// Leaves of a batch with so many units: a power of two, at most `most` (one itself).
pub fn leaf_count(units: usize, most: u32) -> usize {
    debug_assert!(most.is_power_of_two(), "the number of leaves is a power of two");
    let fitting = (units / LEAST_UNITS).max(1);
    (most as usize).min(1 << fitting.ilog2())
}

/// The first unit of leaf `leaf` of `leaves`; of `leaf == leaves`, the number of units.
pub fn leaf_begin(leaf: usize, leaves: usize, units: usize) -> usize {
    leaf * units / leaves
}

/// The leaves that a rank owns.
///
/// With fewer leaves than ranks, some ranks own none.
pub fn owned_leaves(rank: usize, ranks: usize, leaves: usize) -> Range<usize> {
    rank * leaves / ranks..(rank + 1) * leaves / ranks
}

/// The largest subtrees of the tree over `leaves` leaves that lie in `owned`, in order. All
/// subtrees are aligned: one of `2^k` leaves begins at a multiple of `2^k`.
pub fn subtrees(owned: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let Range { mut start, end } = owned;
    std::iter::from_fn(move || {
        let left = end.checked_sub(start).filter(|&left| left > 0)?;
        let aligned = if start == 0 { usize::MAX } else { 1 << start.trailing_zeros() };
        let size = aligned.min(1 << left.ilog2());
        start += size;
        Some(start - size..start)
    })
}

/// The tree that joins what the ranks of a run have of a sum over the global batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumTree {
    /// Over so many leaves of the batch: a rank has one value for each of the largest subtrees of
    /// its leaves.
    OverLeaves(usize),
    /// Over rank numbers: a rank has one value.
    OverRanks,
}

impl SumTree {
    /// The tree's leaves that a rank has.
    pub fn owned(self, rank: usize, ranks: usize) -> Range<usize> {
        match self {
            SumTree::OverLeaves(leaves) => owned_leaves(rank, ranks, leaves),
            SumTree::OverRanks => rank..rank + 1,
        }
    }

    /// All of its leaves.
    pub fn leaves(self, ranks: usize) -> usize {
        match self {
            SumTree::OverLeaves(leaves) => leaves,
            SumTree::OverRanks => ranks,
        }
    }
}

/// The part of a global batch that a batch is: some consecutive leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafRange {
    /// First unit of each leaf in the batch, then the batch's units: from 0. One more than leaves.
    pub bounds: Vec<u32>,
    /// Number of the first leaf in the global batch.
    pub first: usize,
    /// Leaves of the global batch: a power of two.
    pub total: usize,
}

impl LeafRange {
    /// The leaves of a batch that is the global one.
    pub fn whole(units: usize, most: u32) -> LeafRange {
        let mut leaves = LeafRange::default();
        leaves.set_whole(units, most);
        leaves
    }

    /// The same in place.
    pub fn set_whole(&mut self, units: usize, most: u32) {
        let total = leaf_count(units, most);
        self.bounds.clear();
        self.bounds.extend((0..=total).map(|leaf| leaf_begin(leaf, total, units) as u32));
        (self.first, self.total) = (0, total);
    }

    /// What a rank owns of a global batch with so many units.
    pub fn of_rank(units: usize, most: u32, rank: usize, ranks: usize) -> LeafRange {
        let total = leaf_count(units, most);
        let owned = owned_leaves(rank, ranks, total);
        let begin = leaf_begin(owned.start, total, units);
        let bounds = (owned.start..=owned.end).map(|leaf| (leaf_begin(leaf, total, units) - begin) as u32);
        LeafRange { bounds: bounds.collect(), first: owned.start, total }
    }

    /// Leaves in the batch.
    pub fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// Their numbers in the global batch.
    pub fn numbers(&self) -> Range<usize> {
        self.first..self.first + self.count()
    }
}

/// How a batch whose requests are consecutive samples of itself (`request of 64`) is cut.
///
/// The leaves are cut first, as of samples, so that ranks agree on them; then the samples of each
/// leaf into requests of nearly equal size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCut {
    /// First sample of each request, then the number of samples.
    pub requests: Vec<u32>,
    /// The leaves, their bounds in requests.
    pub leaves: LeafRange,
}

impl RequestCut {
    /// Cuts the samples of these leaves into as few requests of at most `size` as can be.
    pub fn set(&mut self, samples: &LeafRange, size: u32) {
        (self.leaves.first, self.leaves.total) = (samples.first, samples.total);
        self.leaves.bounds.clear();
        self.leaves.bounds.push(0);
        self.requests.clear();
        self.requests.push(0);
        for leaf in samples.bounds.windows(2) {
            let count = leaf[1] - leaf[0];
            let requests = count.div_ceil(size);
            let end = |request: u32| (u64::from(request) * u64::from(count) / u64::from(requests)) as u32;
            self.requests.extend((1..=requests).map(|request| leaf[0] + end(request)));
            self.leaves.bounds.push(self.requests.len() as u32 - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_own_all_leaves_once() {
        for leaves in [1, 2, 16, 64, 1024] {
            for ranks in 1..=40 {
                let mut at = 0;
                for rank in 0..ranks {
                    let owned = owned_leaves(rank, ranks, leaves);
                    assert_eq!(owned.start, at);
                    at = owned.end;
                    let mut covered = owned.start;
                    for tree in subtrees(owned.clone()) {
                        assert_eq!(tree.start, covered);
                        assert!(tree.len().is_power_of_two() && tree.start.is_multiple_of(tree.len()));
                        // Twice as large would not be aligned, or not owned.
                        let parent = tree.start / (2 * tree.len()) * 2 * tree.len();
                        assert!(parent < owned.start || parent + 2 * tree.len() > owned.end);
                        covered = tree.end;
                    }
                    assert_eq!(covered, owned.end);
                }
                assert_eq!(at, leaves);
            }
        }
    }

    #[test]
    fn leaves_depend_on_the_batch_alone() {
        for (units, leaves) in [(0, 1), (1, 1), (127, 1), (128, 2), (256, 4), (1000, 8), (1024, 16), (4096, 16)] {
            assert_eq!(leaf_count(units, 16), leaves, "{units}");
            let whole = LeafRange::whole(units, 16);
            for ranks in [1, 2, 3, 5, 16] {
                let mut bounds = vec![0];
                for rank in 0..ranks {
                    let own = LeafRange::of_rank(units, 16, rank, ranks);
                    let end = *bounds.last().unwrap();
                    bounds.extend(own.bounds[1..].iter().map(|bound| end + bound));
                }
                assert_eq!(bounds, whole.bounds);
            }
        }
    }

    #[test]
    fn requests_within_a_batch_do_not_depend_on_ranks() {
        let (mut whole, mut part) = (RequestCut::default(), RequestCut::default());
        for samples in [0, 1, 63, 64, 65, 200, 1000, 1024, 4096] {
            for size in [2, 7, 64, 100] {
                whole.set(&LeafRange::whole(samples, 16), size);
                let sizes: Vec<u32> = whole.requests.windows(2).map(|pair| pair[1] - pair[0]).collect();
                assert_eq!(sizes.iter().sum::<u32>() as usize, samples);
                assert!(sizes.iter().all(|&own| (1..=size).contains(&own)), "{samples} by {size}: {sizes:?}");
                for ranks in [2, 3, 16] {
                    let mut joined = vec![0];
                    for rank in 0..ranks {
                        part.set(&LeafRange::of_rank(samples, 16, rank, ranks), size);
                        let end = *joined.last().unwrap();
                        joined.extend(part.requests[1..].iter().map(|sample| end + sample));
                        assert_eq!(part.leaves.bounds.last().copied(), Some(part.requests.len() as u32 - 1));
                    }
                    assert_eq!(joined, whole.requests, "{samples} by {size} on {ranks} ranks");
                }
            }
        }
        whole.set(&LeafRange::whole(1024, 16), 64);
        assert_eq!(whole.requests, (0..=16).map(|request| 64 * request).collect::<Vec<u32>>());
    }
}
