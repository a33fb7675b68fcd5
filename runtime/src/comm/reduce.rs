//! Reductions over all samples, joined over the ranks of a run.
//!
//! Each rank has one value for each largest subtree of its leaves ([`crate::leaves::subtrees`]).
//! The subtrees of all ranks, in the order of ranks, cut the tree over leaf numbers once, so every
//! rank can finish it: two siblings become their parent, the earlier one first. Which rank had
//! which leaves changes no bit. Where each rank has one value alone, the tree is over rank numbers
//! ([`SumTree`]).

use super::{Channel, Communicator, Messages, floats_as_words, words_as_floats};
use crate::Result;
use crate::leaves::{SumTree, subtrees};
use din_program::schedule::Combine;
use std::ops::Range;

/// Up to so many words that every rank would receive, all values go to all ranks: one exchange. Of
/// more, sums go in blocks, and each rank joins its own: two exchanges of less.
pub(crate) const WHOLE_WORDS: usize = 16 * 1024;

/// Joins the reductions of one phase after the other; its buffers are used again.
///
/// [`RankReduction::begin`], then for each reduction [`RankReduction::add`] and, for each subtree
/// of what this rank has of the tree in their order, [`RankReduction::push`]; then
/// [`RankReduction::join`].
#[derive(Debug, Default)]
pub struct RankReduction {
    reductions: Vec<Width>,
    /// By reduction, by subtree of this rank.
    values: Vec<f32>,
    /// By reduction.
    totals: Vec<f32>,
    /// Of the tree: values that wait for their right siblings.
    waiting: Vec<f32>,
    ranges: Vec<Range<usize>>,
    /// The blocks that this rank joined.
    blocks: Vec<f32>,
    send: Messages,
    received: Messages,
}

/// One reduction.
#[derive(Clone, Copy, Debug)]
struct Width {
    combine: Combine,
    /// Floats of a value.
    floats: usize,
}

/// How the values reach the ranks that join them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Every rank joins every value.
    Whole,
    /// Rank `p` of so many joins block `p` of every sum; other values are joined by every rank.
    Blocks(usize),
}

impl Way {
    /// The floats of a value that go to a rank.
    fn part(self, of: Width, to: usize) -> Range<usize> {
        match (self, of.combine) {
            (Way::Blocks(ranks), Combine::Sum) => of.floats * to / ranks..of.floats * (to + 1) / ranks,
            (Way::Whole, _) | (Way::Blocks(_), Combine::Max | Combine::Statistic(_)) => 0..of.floats,
        }
    }
}

impl RankReduction {
    /// Forgets the reductions of the phase before.
    pub fn begin(&mut self) {
        self.reductions.clear();
        self.values.clear();
    }

    /// A reduction whose values have so many floats.
    pub fn add(&mut self, combine: Combine, floats: usize) {
        self.reductions.push(Width { combine, floats });
    }

    /// The value of the next subtree of the reduction that was added last.
    pub fn push(&mut self, value: &[f32]) {
        self.values.extend_from_slice(value);
    }

    /// Finishes the tree: then every rank has the same [`RankReduction::totals`]. `operation` joins
    /// the value of later leaves to that of earlier ones. Over the numbers of ranks that are no
    /// power of two, the subtrees without siblings are joined last, from the last to the first.
    ///
    /// # Errors
    /// Another rank failed.
    ///
    /// # Panics
    /// The ranks do not have the same reductions, or not one value for each of their subtrees.
    pub fn join(
        &mut self,
        ranks: &dyn Communicator,
        channel: Channel,
        tree: SumTree,
        operation: impl Fn(Combine, &mut [f32], &[f32]),
    ) -> Result<()> {
        let (rank, size) = (ranks.rank(), ranks.size());
        let trees = |rank: usize| subtrees(tree.owned(rank, size));
        let floats: usize = self.reductions.iter().map(|reduction| reduction.floats).sum();
        assert_eq!(self.values.len(), floats * trees(rank).count(), "one value for each subtree of each reduction");
        self.totals.resize(floats, 0.0);
        if size == 1 {
            self.totals.copy_from_slice(&self.values);
            return Ok(());
        }
        // Known to every rank, and the same on all.
        let all_trees: usize = (0..size).map(|rank| trees(rank).count()).sum();
        let sums = self.reductions.iter().any(|reduction| reduction.combine == Combine::Sum);
        let way = if sums && floats * all_trees > WHOLE_WORDS { Way::Blocks(size) } else { Way::Whole };
        match way {
            Way::Whole => ranks.all_gather(channel, floats_as_words(&self.values), &mut self.received)?,
            Way::Blocks(_) => {
                self.divide(way, size, trees(rank).count());
                ranks.all_to_all(channel, &self.send, &mut self.received)?;
            }
        }
        self.finish_trees(way, rank, size, tree, operation);
        if let Way::Blocks(_) = way {
            ranks.all_gather(channel, floats_as_words(&self.blocks), &mut self.received)?;
            self.assemble(way);
        }
        Ok(())
    }

    /// The totals, in the order in which the reductions were added.
    pub fn totals(&self) -> impl Iterator<Item = &[f32]> {
        let mut begin = 0;
        self.reductions.iter().map(move |reduction| {
            begin += reduction.floats;
            &self.totals[begin - reduction.floats..begin]
        })
    }

    /// Makes the message for each rank: its part of every value.
    fn divide(&mut self, way: Way, ranks: usize, trees: usize) {
        self.send.clear();
        for to in 0..ranks {
            let mut begin = 0;
            for &reduction in &self.reductions {
                let part = way.part(reduction, to);
                for _ in 0..trees {
                    let value = &self.values[begin..begin + reduction.floats];
                    self.send.words.extend_from_slice(floats_as_words(&value[part.clone()]));
                    begin += reduction.floats;
                }
            }
            self.send.end_message();
        }
    }

    /// Joins what was received: to `totals`, blocks of sums to `blocks`.
    fn finish_trees(
        &mut self,
        way: Way,
        rank: usize,
        ranks: usize,
        tree: SumTree,
        operation: impl Fn(Combine, &mut [f32], &[f32]),
    ) {
        let Self { reductions, totals, waiting, ranges, blocks, received, .. } = self;
        blocks.clear();
        // Floats before a reduction: of one value as it was sent, and as it is.
        let (mut sent, mut whole) = (0, 0);
        for &reduction in &*reductions {
            let part = way.part(reduction, rank);
            let width = part.len();
            waiting.clear();
            ranges.clear();
            for from in 0..ranks {
                let message = words_as_floats(received.get(from));
                let trees = || subtrees(tree.owned(from, ranks));
                let begin = sent * trees().count();
                for (k, subtree) in trees().enumerate() {
                    let value = &message[begin + k * width..][..width];
                    add_subtree(subtree, value, waiting, ranges, |a, b| operation(reduction.combine, a, b));
                }
            }
            if tree == SumTree::OverRanks {
                while ranges.len() > 1 {
                    join_last(width, waiting, ranges, |a, b| operation(reduction.combine, a, b));
                }
            }
            assert!(ranges.len() == 1 && ranges[0] == (0..tree.leaves(ranks)), "ranks own all leaves once");
            match (way, reduction.combine) {
                (Way::Blocks(_), Combine::Sum) => blocks.extend_from_slice(waiting),
                (Way::Whole, _) | (Way::Blocks(_), Combine::Max | Combine::Statistic(_)) => {
                    totals[whole..whole + width].copy_from_slice(waiting);
                }
            }
            sent += width;
            whole += reduction.floats;
        }
    }

    /// Puts the blocks of sums that the ranks joined where they belong.
    fn assemble(&mut self, way: Way) {
        for (from, message) in self.received.iter().enumerate() {
            let (mut sent, mut whole) = (0, 0);
            for &reduction in &self.reductions {
                if reduction.combine == Combine::Sum {
                    let part = way.part(reduction, from);
                    let block = words_as_floats(&message[sent..sent + part.len()]);
                    self.totals[whole + part.start..whole + part.end].copy_from_slice(block);
                    sent += part.len();
                }
                whole += reduction.floats;
            }
            assert_eq!(sent, message.len(), "ranks have the same reductions");
        }
    }
}

/// Adds up, over the ranks, what each has of a global batch, such as elements by axis. `received`
/// is for the messages.
///
/// # Errors
/// Another rank failed.
///
/// # Panics
/// The ranks do not have as many counts.
pub fn sum_counts(
    ranks: &dyn Communicator,
    channel: Channel,
    counts: &mut [u32],
    received: &mut Messages,
) -> Result<()> {
    ranks.all_gather(channel, counts, received)?;
    counts.fill(0);
    for of_rank in received.iter() {
        assert_eq!(of_rank.len(), counts.len(), "ranks run the same program");
        counts.iter_mut().zip(of_rank).for_each(|(sum, count)| *sum += count);
    }
    Ok(())
}

/// Adds the next subtree, and joins siblings as long as there are any. `waiting` has the values of
/// the subtrees in `ranges`.
fn add_subtree(
    tree: Range<usize>,
    value: &[f32],
    waiting: &mut Vec<f32>,
    ranges: &mut Vec<Range<usize>>,
    operation: impl Fn(&mut [f32], &[f32]),
) {
    let width = value.len();
    // Of one size, and the left one begins where their parent does.
    let siblings = |left: &Range<usize>, right: &Range<usize>| {
        left.end == right.start && left.len() == right.len() && left.start.is_multiple_of(2 * left.len())
    };
    match ranges.last_mut() {
        Some(left) if siblings(left, &tree) => {
            let at = waiting.len() - width;
            operation(&mut waiting[at..], value);
            left.end = tree.end;
        }
        Some(_) | None => {
            waiting.extend_from_slice(value);
            ranges.push(tree);
        }
    }
    while let [.., left, right] = &ranges[..]
        && siblings(left, right)
    {
        join_last(width, waiting, ranges, &operation);
    }
}

/// Joins the last of two or more values that wait to the one before it.
fn join_last(
    width: usize,
    waiting: &mut Vec<f32>,
    ranges: &mut Vec<Range<usize>>,
    operation: impl Fn(&mut [f32], &[f32]),
) {
    let right = ranges.pop().expect("two values wait");
    ranges.last_mut().expect("two values wait").end = right.end;
    let kept = waiting.len() - width;
    let (lefts, right) = waiting.split_at_mut(kept);
    operation(&mut lefts[kept - width..], right);
    waiting.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::in_process;
    use crate::random::Stream;
    use din_program::schedule::Statistic;

    /// A join that shows in the bits which values were joined in which order.
    fn operation(combine: Combine, a: &mut [f32], b: &[f32]) {
        for (k, (a, &b)) in a.iter_mut().zip(b).enumerate() {
            *a = match combine {
                Combine::Sum => *a + b,
                Combine::Max => a.max(b),
                // Neither symmetric nor associative, and different by component.
                Combine::Statistic(_) => *a * 0.75 + b * 0.5 + k as f32,
            };
        }
    }

    /// The definition.
    fn tree(combine: Combine, leaves: &[Vec<f32>]) -> Vec<f32> {
        let [one] = leaves else {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            let mut value = tree(combine, left);
            operation(combine, &mut value, &tree(combine, right));
            return value;
        };
        one.clone()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// By reduction, by leaf.
    type LeafValues = Vec<(Combine, Vec<Vec<f32>>)>;

    fn leaf_values(shape: &[(Combine, usize)], leaves: usize, seed: u64) -> LeafValues {
        let mut at = 0;
        let stream = Stream::new(seed, "reductions", 0);
        let mut number = || {
            at += 1;
            // Sizes that differ, so that another order rounds otherwise.
            ((stream.uniform(at) - 0.5) * [1.0, 10.0, 1e3, 1e6, 1e-2][at as usize % 5]) as f32
        };
        let values = shape
            .iter()
            .map(|&(combine, width)| (combine, (0..leaves).map(|_| (0..width).map(|_| number()).collect()).collect()));
        values.collect()
    }

    /// Joins each set of values after the other on every rank, and compares with the definition.
    fn check(ranks: usize, leaves: usize, phases: &[LeafValues], expected: &[Vec<Vec<u32>>]) {
        std::thread::scope(|scope| {
            for comm in in_process(ranks) {
                scope.spawn(move || {
                    let mut reduction = RankReduction::default();
                    for (phase, expected) in phases.iter().zip(expected) {
                        reduction.begin();
                        for (combine, values) in phase {
                            reduction.add(*combine, values[0].len());
                            for leaves in subtrees(SumTree::OverLeaves(leaves).owned(comm.rank(), ranks)) {
                                reduction.push(&tree(*combine, &values[leaves]));
                            }
                        }
                        reduction.join(&*comm, Channel::Step, SumTree::OverLeaves(leaves), operation).unwrap();
                        let totals: Vec<Vec<u32>> = reduction.totals().map(bits).collect();
                        assert!(totals == *expected, "{ranks} ranks, {leaves} leaves, {} reductions", phase.len());
                    }
                });
            }
        });
    }

    #[test]
    fn any_ranks_have_the_bits_of_the_tree() {
        use Combine::{Max, Sum};
        let moments = Combine::Statistic(Statistic::Moments);
        let shapes: [&[(Combine, usize)]; 6] = [
            &[(Sum, 1)],
            &[(moments, 7), (Sum, 13), (Max, 3), (Sum, 1)],
            &[],
            // Large: in blocks, also of fewer floats than ranks.
            &[(Sum, 1), (Sum, 16_411), (moments, 31), (Sum, 5), (Max, 2)],
            // Large, but no sum.
            &[(moments, 1_601), (Max, 15_001)],
            // Small again, in buffers that are larger.
            &[(Sum, 2), (Max, 1)],
        ];
        for leaves in [1, 2, 4, 8, 16, 32, 64] {
            let phases: Vec<_> =
                shapes.iter().enumerate().map(|(k, shape)| leaf_values(shape, leaves, k as u64)).collect();
            let expected: Vec<Vec<_>> = phases
                .iter()
                .map(|phase| phase.iter().map(|(combine, values)| bits(&tree(*combine, values))).collect())
                .collect();
            for ranks in [1, 2, 3, 4, 5, 8, 16] {
                check(ranks, leaves, &phases, &expected);
            }
        }
    }

    /// One value of each rank, neighbours first: of five `((0 1) (2 3)) 4`, of seven
    /// `((0 1) (2 3)) ((4 5) 6)`.
    #[test]
    fn values_of_ranks_join_by_rank_numbers() {
        use Combine::{Max, Sum};
        const MOMENTS: Combine = Combine::Statistic(Statistic::Moments);
        for ranks in 1..=9 {
            let values = leaf_values(&[(Sum, 5), (MOMENTS, 3), (Max, 2), (Sum, 16_411)], ranks, ranks as u64);
            let expected: Vec<Vec<u32>> = values
                .iter()
                .map(|(combine, of_rank)| {
                    let mut level = of_rank.clone();
                    while level.len() > 1 {
                        let pairs = level.chunks(2).map(|pair| {
                            let mut value = pair[0].clone();
                            pair[1..].iter().for_each(|right| operation(*combine, &mut value, right));
                            value
                        });
                        level = pairs.collect();
                    }
                    bits(&level[0])
                })
                .collect();
            std::thread::scope(|scope| {
                for comm in in_process(ranks) {
                    let (values, expected) = (&values, &expected);
                    scope.spawn(move || {
                        let mut reduction = RankReduction::default();
                        reduction.begin();
                        for (combine, of_rank) in values {
                            reduction.add(*combine, of_rank[0].len());
                            reduction.push(&of_rank[comm.rank()]);
                        }
                        reduction.join(&*comm, Channel::Step, SumTree::OverRanks, operation).unwrap();
                        let totals: Vec<Vec<u32>> = reduction.totals().map(bits).collect();
                        assert!(totals == *expected, "{ranks} ranks");
                    });
                }
            });
        }
    }

    /// The sums above depend on the order: a chain over leaves has other bits than the tree.
    #[test]
    fn the_values_tell_orders_apart() {
        let values = leaf_values(&[(Combine::Sum, 50)], 16, 1);
        let (combine, leaves) = &values[0];
        let chain = leaves[1..].iter().fold(leaves[0].clone(), |mut sum, leaf| {
            operation(*combine, &mut sum, leaf);
            sum
        });
        assert_ne!(bits(&chain), bits(&tree(*combine, leaves)));
    }
}
