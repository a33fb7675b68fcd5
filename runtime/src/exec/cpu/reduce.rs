//! Reductions over all samples: the chunks' partial copies, joined pairwise, those of a leaf first
//! and then by a tree over leaf numbers, so that bits do not depend on threads; and the place where
//! the ranks of a run join what each has.

use super::phase::PhaseRunner;
use super::prepare::PreparedReduction;
use super::tiling::LeafChunks;
use crate::exec::ExecError;
use crate::kernels::Microkernels;
use crate::leaves::subtrees;
use crate::threads::ThreadPool;
use din_program::schedule::{Combine, GLOBAL};
use std::fmt;

/// Floats of one job; its copies stay in the first-level cache.
const BLOCK: usize = 512;
/// Below this many floats nobody is woken.
const SMALL: usize = 32 * 1024;

/// Combines every reduction over all samples that a training step has: losses, gradients of dense
/// parameters, moments, maxima.
pub trait Reducer: fmt::Debug + Send + Sync {
    /// Reduces the partials of one phase to the values that its later phases read. Called once per
    /// phase with reductions, in the order of the schedule, the same on every rank.
    ///
    /// # Errors
    /// Another rank failed.
    fn reduce(&self, partials: &mut PhasePartials<'_>) -> Result<(), ExecError>;

    /// Adds up, over the ranks, what each has of a global batch: elements by axis.
    ///
    /// # Errors
    /// Another rank failed.
    fn sum_counts(&self, counts: &mut [u32]) -> Result<(), ExecError>;
}

/// The reducer of a run of one rank: its leaves are all.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalReducer;

impl Reducer for LocalReducer {
    fn reduce(&self, partials: &mut PhasePartials<'_>) -> Result<(), ExecError> {
        partials.run(Stage::Both);
        Ok(())
    }

    fn sum_counts(&self, _counts: &mut [u32]) -> Result<(), ExecError> {
        Ok(())
    }
}

/// The partial copies of one phase.
pub struct PhasePartials<'a> {
    runner: &'a PhaseRunner<'a>,
    phase: usize,
    pool: &'a mut ThreadPool,
}

/// What this rank has of a reduction whose other leaves are on other ranks.
#[derive(Debug)]
pub struct RankPartial<'a> {
    pub combine: Combine,
    /// Floats of a value. Moments are `[mean, M2, count]`.
    pub width: usize,
    /// Leaves of the global batch.
    pub leaves: usize,
    /// The first leaf and the value of each of the largest subtrees that this rank has whole, in
    /// their order.
    pub subtrees: Vec<(usize, &'a [f32])>,
    /// Where the total of all ranks goes: see [`PhasePartials::set_total`].
    total: *mut f32,
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

impl fmt::Debug for PhasePartials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhasePartials").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl<'a> PhasePartials<'a> {
    pub(super) fn new(runner: &'a PhaseRunner<'a>, phase: usize, pool: &'a mut ThreadPool) -> Self {
        PhasePartials { runner, phase, pool }
    }

    pub(super) fn any(&self) -> bool {
        reductions(self.runner, self.phase).next().is_some()
    }

    /// Joins the chunks' copies by the tree, as far as this rank has its subtrees whole.
    pub fn join(&mut self) {
        self.run(Stage::Join);
    }

    /// The reductions of which other ranks have leaves, in the order of the schedule, after
    /// [`PhasePartials::join`]. Each rank has the same ones, a rank without leaves too.
    pub fn of_ranks(&self) -> Vec<RankPartial<'_>> {
        let over_ranks = reductions(self.runner, self.phase).filter(|(_, copies, _)| copies.over_ranks);
        let partial = |(r, copies, _): (&PreparedReduction, ChunkCopies<'_>, *mut f32)| {
            let numbers = copies.leaves.first..copies.leaves.first + copies.leaves.begins.len() - 1;
            let subtrees = subtrees(numbers).map(|leaves| {
                let copy = copies.of_leaf(leaves.start);
                // SAFETY: the copy holds the reduction's floats, and nothing writes to it while
                // `self` is borrowed.
                (leaves.start, unsafe { std::slice::from_raw_parts(copy.cast_const(), r.width) })
            });
            RankPartial {
                combine: r.combine,
                width: r.width,
                leaves: copies.leaves.total,
                subtrees: subtrees.collect(),
                total: copies.first,
            }
        };
        over_ranks.map(partial).collect()
    }

    /// Sets the total of reduction `index` of [`PhasePartials::of_ranks`].
    pub fn set_total(&mut self, index: usize, total: &[f32]) {
        let partial = &self.of_ranks()[index];
        assert_eq!(total.len(), partial.width, "a total has the width of its reduction");
        // SAFETY: there is one copy at least, and `self` is borrowed exclusively.
        unsafe { std::ptr::copy_nonoverlapping(total.as_ptr(), partial.total, total.len()) };
    }

    /// Stores the totals where the later phases read them.
    pub fn store(&mut self) {
        self.run(Stage::Store);
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
        Combine::Moments => 1,
    }
}

/// Floats `begin..end` of a block.
fn bounds(r: &PreparedReduction, block: usize) -> (usize, usize) {
    match r.combine {
        Combine::Sum | Combine::Max => (block * BLOCK, ((block + 1) * BLOCK).min(r.width)),
        Combine::Moments => (0, r.width),
    }
}

/// Components of which a partial of moments has `[mean, M2, count]`.
fn moments_width(r: &PreparedReduction) -> usize {
    (r.width - 1) / 2
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
                Combine::Moments => {
                    let width = moments_width(r);
                    join_moments(a, b, *b.add(2 * width), width);
                }
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
            Combine::Moments => {
                let width = moments_width(r);
                let count = *total.add(2 * width);
                for i in 0..width {
                    *into.add(i) = *total.add(i);
                    *into.add(width + i) = if count > 0.0 { *total.add(width + i) / count } else { 0.0 };
                }
            }
        }
    }
}

/// Joins the total of later samples to that of earlier ones, as the tree over chunks does.
pub fn combine(combine: Combine, total: &mut [f32], more: &[f32]) {
    assert_eq!(total.len(), more.len(), "totals of one reduction have one width");
    let pairs = total.iter_mut().zip(more);
    match combine {
        Combine::Sum => pairs.for_each(|(a, b)| *a += b),
        Combine::Max => pairs.for_each(|(a, b)| *a = if *b > *a { *b } else { *a }),
        Combine::Moments => {
            let width = (total.len() - 1) / 2;
            // SAFETY: both have `2 * width + 1` floats.
            unsafe { join_moments(total.as_mut_ptr(), more.as_ptr(), more[2 * width], width) }
        }
    }
}

/// Joins `[mean, M2]` of `count` more elements to `[mean, M2, count]`. Chan, Golub & LeVeque 1983,
/// Eq. 2.1.
///
/// # Safety
///
/// `total` is valid for `2 * width + 1` floats, `more` for `2 * width`.
pub(super) unsafe fn join_moments(total: *mut f32, more: *const f32, count: f32, width: usize) {
    // SAFETY: the caller vouches for the sizes.
    unsafe {
        let before = *total.add(2 * width);
        if count == 0.0 {
            return;
        }
        let all = before + count;
        let (share, weight) = (count / all, before * (count / all));
        for i in 0..width {
            let delta = *more.add(i) - *total.add(i);
            *total.add(i) += delta * share;
            *total.add(width + i) += *more.add(width + i) + delta * delta * weight;
        }
        *total.add(2 * width) = all;
    }
}
