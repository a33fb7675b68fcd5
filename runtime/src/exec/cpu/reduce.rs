//! Reductions over all samples: the chunks' partial copies, joined pairwise, those of a leaf first
//! and then by a tree over leaf numbers, so that bits do not depend on threads; and the place where
//! the ranks of a run join what each has.

use super::phase::PhaseRunner;
use super::prepare::PreparedReduction;
use super::tiling::LeafChunks;
use crate::comm::{Channel, Communicator, Messages, RankReduction, sum_counts};
use crate::exec::ExecError;
use crate::exec::common::{combine, components};
use crate::kernels::{Microkernels, join_partials, store_results};
use crate::leaves::{SumTree, subtrees};
use crate::threads::ThreadPool;
use din_program::schedule::{Combine, GLOBAL};
use std::sync::Arc;

/// Floats of one job; its copies stay in the first-level cache.
const BLOCK: usize = 512;
/// Below this many floats nobody is woken.
const SMALL: usize = 32 * 1024;

/// Combines every reduction over all samples that a step has: losses, gradients of dense
/// parameters, statistics, maxima. On one rank, the tree over its leaves is all; ranks join their
/// subtrees.
#[derive(Debug, Default)]
pub(super) struct Reducer {
    ranks: Option<Arc<dyn Communicator>>,
    joined: RankReduction,
    received: Messages,
}

impl Reducer {
    /// The reducer of a rank of a run.
    pub fn over(ranks: Arc<dyn Communicator>) -> Self {
        Reducer { ranks: Some(ranks), ..Reducer::default() }
    }

    /// How this rank reaches the others.
    pub fn ranks(&self) -> Option<&Arc<dyn Communicator>> {
        self.ranks.as_ref()
    }

    /// Reduces the partials of one phase to the values that its later phases read. Called once per
    /// phase with reductions, in the order of the schedule, the same on every rank.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn reduce(&mut self, partials: &mut PhasePartials<'_>) -> Result<(), ExecError> {
        let Some(ranks) = &self.ranks else {
            partials.run(Stage::Both);
            return Ok(());
        };
        partials.run(Stage::Join);
        self.joined.begin();
        let mut leaves = None;
        for partial in partials.of_ranks() {
            self.joined.add(partial.combine, partial.width);
            partial.subtrees.for_each(|value| self.joined.push(value));
            assert!(leaves.is_none_or(|leaves| leaves == partial.leaves), "a phase runs on one batch");
            leaves = Some(partial.leaves);
        }
        if let Some(leaves) = leaves {
            self.joined
                .join(&**ranks, Channel::Step, SumTree::OverLeaves(leaves), combine)
                .map_err(ExecError::Ranks)?;
            partials.set_totals(self.joined.totals());
        }
        partials.run(Stage::Store);
        Ok(())
    }

    /// Adds up, over the ranks, what each has of a global batch, such as elements by axis.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn sum_counts(&mut self, counts: &mut [u32]) -> Result<(), ExecError> {
        let Some(ranks) = &self.ranks else { return Ok(()) };
        sum_counts(&**ranks, Channel::Step, counts, &mut self.received).map_err(ExecError::Ranks)
    }
}

/// The partial copies of one phase.
pub(super) struct PhasePartials<'a> {
    runner: &'a PhaseRunner<'a>,
    phase: usize,
    pool: &'a mut ThreadPool,
}

/// What this rank has of a reduction whose other leaves are on other ranks.
struct RankPartial<S> {
    combine: Combine,
    /// Floats of a value; of a statistic, those of a partial.
    width: usize,
    /// Leaves of the global batch.
    leaves: usize,
    /// The value of each of the largest subtrees that this rank has whole, in their order.
    subtrees: S,
}

/// What the jobs of a reduction do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Join the chunks' copies to those of the largest whole subtrees.
    Join,
    /// Store the first copy where the schedule wants the result.
    Store,
    Both,
}

impl<'a> PhasePartials<'a> {
    pub(super) fn new(runner: &'a PhaseRunner<'a>, phase: usize, pool: &'a mut ThreadPool) -> Self {
        PhasePartials { runner, phase, pool }
    }

    pub(super) fn any(&self) -> bool {
        reductions(self.runner, self.phase).next().is_some()
    }

    /// The reductions of which other ranks have leaves, in the order of the schedule, after the
    /// chunks' copies were joined. Each rank has the same ones, a rank without leaves too.
    fn of_ranks(&self) -> impl Iterator<Item = RankPartial<impl Iterator<Item = &[f32]>>> {
        reductions(self.runner, self.phase).filter(|(_, copies, _)| copies.over_ranks).map(|(r, copies, _)| {
            let numbers = copies.leaves.first..copies.leaves.first + copies.leaves.begins.len() - 1;
            let subtrees = subtrees(numbers).map(move |leaves| {
                // SAFETY: the copy holds the reduction's floats, and nothing writes to it while
                // `self` is borrowed.
                unsafe { std::slice::from_raw_parts(copies.of_leaf(leaves.start).cast_const(), r.width) }
            });
            RankPartial { combine: r.combine, width: r.width, leaves: copies.leaves.total, subtrees }
        })
    }

    /// Sets the totals of the reductions of [`PhasePartials::of_ranks`].
    fn set_totals<'t>(&mut self, mut totals: impl Iterator<Item = &'t [f32]>) {
        for (r, copies, _) in reductions(self.runner, self.phase).filter(|(_, copies, _)| copies.over_ranks) {
            let total = totals.next().expect("each reduction has a total");
            assert_eq!(total.len(), r.width, "a total has the width of its reduction");
            // SAFETY: there is one copy at least, and `self` is borrowed exclusively.
            unsafe { std::ptr::copy_nonoverlapping(total.as_ptr(), copies.first, r.width) };
        }
    }

    fn run(&mut self, stage: Stage) {
        let (runner, phase) = (self.runner, self.phase);
        let (mut jobs, mut floats) = (0, 0);
        for (r, copies, _) in reductions(runner, phase) {
            jobs += blocks(r);
            floats += r.width * copies.leaves.begins.len();
        }
        let job = |job: usize, _: usize| {
            let mut block = job;
            for (r, copies, into) in reductions(runner, phase) {
                if block < blocks(r) {
                    // SAFETY: the copies of this phase's chunks lie `stride` apart, each of the
                    // reduction's width; `into` is a global buffer of the checked width in the
                    // arena, away from the copies; jobs write disjoint blocks.
                    unsafe {
                        if stage != Stage::Store {
                            join(r, block, copies, runner.kernels);
                        }
                        if stage != Stage::Join {
                            store(r, block, copies.first, into);
                        }
                    }
                    return;
                }
                block -= blocks(r);
            }
        };
        if floats < SMALL {
            for i in 0..jobs {
                job(i, 0);
            }
        } else {
            self.pool.run(jobs, &job);
        }
    }
}

/// The copies of one reduction, by chunk.
#[derive(Clone, Copy)]
struct ChunkCopies<'a> {
    first: *mut f32,
    /// Floats from one to the next.
    stride: usize,
    leaves: LeafChunks<'a>,
    /// Whether other leaves are on other ranks, which take part in the reduction.
    over_ranks: bool,
}

impl ChunkCopies<'_> {
    fn of_chunk(&self, chunk: usize) -> *mut f32 {
        self.first.wrapping_add(chunk * self.stride)
    }

    /// The first copy of a leaf, by its number in the global batch.
    fn of_leaf(&self, leaf: usize) -> *mut f32 {
        self.of_chunk(self.leaves.begins[leaf - self.leaves.first] as usize)
    }

    /// The pairs of copies that are joined, the second to the first, in this order.
    fn pairs(&self) -> impl Iterator<Item = (*mut f32, *mut f32)> {
        let LeafChunks { begins, first, total } = self.leaves;
        let of_leaf = begins.windows(2).flat_map(move |chunks| {
            let (begin, end) = (chunks[0] as usize, chunks[1] as usize);
            doubled(end - begin).flat_map(move |step| {
                (begin..end - step)
                    .step_by(2 * step)
                    .map(move |chunk| (self.of_chunk(chunk), self.of_chunk(chunk + step)))
            })
        });
        let last = first + begins.len() - 1;
        let over_leaves = doubled(total).flat_map(move |step| {
            let whole = first.next_multiple_of(2 * step)..(last + 1).saturating_sub(2 * step);
            whole.step_by(2 * step).map(move |leaf| (self.of_leaf(leaf), self.of_leaf(leaf + step)))
        });
        of_leaf.chain(over_leaves)
    }
}

/// 1, 2, 4, ..., below `end`.
fn doubled(end: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |step| Some(2 * step)).take_while(move |&step| step < end)
}

/// Each reduction of a phase with its copies and where its result goes.
fn reductions<'a>(
    runner: &'a PhaseRunner<'a>,
    phase: usize,
) -> impl Iterator<Item = (&'a PreparedReduction, ChunkCopies<'a>, *mut f32)> {
    let running = runner.schedules.iter().filter_map(move |s| Some((s, s.running(phase)?)));
    running.flat_map(|(schedule, p)| {
        p.reductions.iter().map(move |r| {
            let first = schedule.partials.pointer().wrapping_add(r.offset);
            let leaves = schedule.tilings[p.tiling].leaves();
            let over_ranks = schedule.over_ranks && p.axis != GLOBAL;
            let copies = ChunkCopies { first, stride: schedule.prepared.partial_floats, leaves, over_ranks };
            (r, copies, schedule.addresses[r.into.index()])
        })
    })
}

fn blocks(r: &PreparedReduction) -> usize {
    match r.combine {
        Combine::Sum | Combine::Max => r.width.div_ceil(BLOCK),
        Combine::Statistic(_) => 1,
    }
}

/// Floats `begin..end` of a block.
fn bounds(r: &PreparedReduction, block: usize) -> (usize, usize) {
    match r.combine {
        Combine::Sum | Combine::Max => (block * BLOCK, ((block + 1) * BLOCK).min(r.width)),
        Combine::Statistic(_) => (0, r.width),
    }
}

/// Joins one block of all copies: those of the largest whole subtrees, then in the first copy of
/// each, have the totals.
///
/// # Safety
///
/// All copies are valid for the reduction's width, and nobody else uses the block.
unsafe fn join(r: &PreparedReduction, block: usize, copies: ChunkCopies<'_>, kernels: Microkernels) {
    let (begin, end) = bounds(r, block);
    for (a, b) in copies.pairs() {
        let (a, b) = (a.wrapping_add(begin), b.wrapping_add(begin));
        // SAFETY: both copies are valid and different.
        unsafe {
            match r.combine {
                Combine::Sum => kernels.add(a, b, end - begin),
                Combine::Max => kernels.max(a, b, end - begin),
                Combine::Statistic(statistic) => join_partials(statistic, a, b, components(statistic, r.width)),
            }
        }
    }
}

/// Stores one block of the total where the schedule wants it.
///
/// # Safety
///
/// `total` is valid for the reduction's width, and `into` for the result; they are apart.
unsafe fn store(r: &PreparedReduction, block: usize, total: *const f32, into: *mut f32) {
    let (begin, end) = bounds(r, block);
    // SAFETY: the caller vouches for both, and the block lies in them.
    unsafe {
        match r.combine {
            Combine::Sum | Combine::Max => {
                std::ptr::copy_nonoverlapping(total.add(begin), into.add(begin), end - begin);
            }
            Combine::Statistic(statistic) => store_results(statistic, total, into, components(statistic, r.width)),
        }
    }
}
