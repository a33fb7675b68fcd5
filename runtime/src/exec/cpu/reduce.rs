//! Reductions over all samples: the chunks' partial copies, joined pairwise by a tree over chunk
//! numbers, so that bits do not depend on threads; and the place where the ranks of a run join what
//! each has.

use super::phase::PhaseRunner;
use super::prepare::PreparedReduction;
use crate::kernels::Microkernels;
use crate::threads::ThreadPool;
use din_program::schedule::Combine;
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
    fn reduce(&self, partials: &mut PhasePartials<'_>);
}

/// The reducer of a run of one rank: the tree over its chunks is all.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalReducer;

impl Reducer for LocalReducer {
    fn reduce(&self, partials: &mut PhasePartials<'_>) {
        partials.run(Stage::Both);
    }
}

/// The partial copies of one phase.
pub struct PhasePartials<'a> {
    runner: &'a PhaseRunner<'a>,
    phase: usize,
    pool: &'a mut ThreadPool,
}

/// What the jobs of a reduction do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Join the chunks' copies to the first.
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

    /// Joins the chunks' copies by the tree: then [`PhasePartials::totals`] are those of this rank.
    pub fn join_chunks(&mut self) {
        self.run(Stage::Join);
    }

    /// This rank's total of each reduction, in the order of the schedule, after
    /// [`PhasePartials::join_chunks`]. Moments are `[mean, M2, count]`.
    pub fn totals(&mut self) -> Vec<(Combine, &mut [f32])> {
        let totals = reductions(self.runner, self.phase).map(|(r, copies, _)| {
            // SAFETY: the first chunk's copy holds the reduction's floats; the reductions of a
            // phase have copies apart from each other, and `self` is borrowed as long as the slices
            // live.
            (r.combine, unsafe { std::slice::from_raw_parts_mut(copies.first, r.width) })
        });
        totals.collect()
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
            floats += r.width * copies.count;
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
struct ChunkCopies {
    first: *mut f32,
    /// Floats from one to the next.
    stride: usize,
    count: usize,
}

/// Each reduction of a phase with its copies and where its result goes.
fn reductions<'a>(
    runner: &'a PhaseRunner<'a>,
    phase: usize,
) -> impl Iterator<Item = (&'a PreparedReduction, ChunkCopies, *mut f32)> {
    runner.schedules.iter().filter(move |s| s.chunks(phase) > 0).flat_map(move |schedule| {
        schedule.prepared.phases[phase].reductions.iter().map(move |r| {
            let first = schedule.partials.pointer().wrapping_add(r.offset);
            let (stride, count) = (schedule.prepared.partial_floats, schedule.chunks(phase));
            (r, ChunkCopies { first, stride, count }, schedule.addresses[r.into.index()])
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

/// Joins one block of all copies to the first.
///
/// # Safety
///
/// All copies are valid for the reduction's width, and nobody else uses the block.
unsafe fn join(r: &PreparedReduction, block: usize, copies: ChunkCopies, kernels: Microkernels) {
    let (begin, end) = bounds(r, block);
    let mut step = 1;
    while step < copies.count {
        for chunk in (0..copies.count - step).step_by(2 * step) {
            let of = |chunk: usize| copies.first.wrapping_add(chunk * copies.stride + begin);
            let (a, b) = (of(chunk), of(chunk + step));
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
        step *= 2;
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
