//! Runs the phases of schedules: chunks over the threads of the pool, tiles of a chunk in order,
//! calls of a tile in order, then the reductions.

use super::bound_schedule::{BoundSchedule, RowUpdate};
use super::calls::TileCall;
use super::memory::{StepMemory, area};
use super::prepare::{ArgSource, PreparedPhase};
use super::profile::Clock;
use super::reduce::{PhasePartials, Reducer};
use crate::exec::ExecError;
use crate::exec::common::ElementRange;
use crate::kernels::Microkernels;
use crate::prefetch::prefetch_second_level;
use crate::table::Occurrences;
use crate::threads::ThreadPool;
use din_program::schedule::GLOBAL;

/// What one thread works with; reused from phase to phase.
#[derive(Debug, Default)]
pub(super) struct ThreadScratch {
    tile: StepMemory,
    gradient: StepMemory,
    partial: StepMemory,
    /// Columns of a sample's absorbed weight.
    panel: StepMemory,
    args: Vec<*mut u8>,
    pub clock: Clock,
}

// SAFETY: the addresses in `args` are only used by the thread that runs a phase with this scratch.
unsafe impl Send for ThreadScratch {}

impl ThreadScratch {
    /// Makes room for the tiles of a schedule.
    pub fn fit(&mut self, schedule: &BoundSchedule) -> Result<(), ExecError> {
        self.tile.reserve(schedule.tile_floats)?;
        self.partial.reserve(schedule.prepared.statistic_floats)?;
        self.panel.reserve(schedule.prepared.panel_floats)?;
        if let Some(update) = &schedule.rows {
            let sizes = schedule.prepared.tilings.iter().filter(|t| t.0 != GLOBAL).map(|t| t.1 as usize);
            // An update whose phases are all global sums no row gradients.
            let rows = sizes.max().map_or(0, |most| most.min(schedule.counts[1].next_power_of_two()));
            self.gradient.reserve(area(update.width, rows)?)?;
        }
        let missing = schedule.prepared.most_args.saturating_sub(self.args.len());
        self.args.reserve(missing);
        Ok(())
    }
}

/// Schedules that run together, and everything that the threads share meanwhile.
pub(super) struct PhaseRunner<'a> {
    pub schedules: &'a [BoundSchedule],
    /// By table, for updates of rows.
    pub occurrences: &'a [Occurrences],
    pub kernels: Microkernels,
    scratch: *mut ThreadScratch,
}

// SAFETY: `scratch` points at one `ThreadScratch` per thread, each used by its thread alone;
// addresses inside the schedules lead to memory that the calls of different chunks write in
// disjoint parts (each its own tiles' elements, its own partial copies, its own rows).
unsafe impl Sync for PhaseRunner<'_> {}

impl<'a> PhaseRunner<'a> {
    /// `scratch` holds one for each thread of the pool and is borrowed as long as the value lives.
    pub fn new(
        schedules: &'a [BoundSchedule],
        occurrences: &'a [Occurrences],
        kernels: Microkernels,
        scratch: &'a mut [ThreadScratch],
    ) -> Self {
        PhaseRunner { schedules, occurrences, kernels, scratch: scratch.as_mut_ptr() }
    }

    /// Runs all active schedules, phase by phase in step with each other.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn run(&self, pool: &mut ThreadPool, reducer: &mut Reducer) -> Result<(), ExecError> {
        let active = self.schedules.iter().filter(|s| s.active);
        let Some(phases) = active.map(|s| s.prepared.phases.len()).max() else { return Ok(()) };
        for phase in 0..phases {
            let jobs: usize = self.schedules.iter().map(|s| s.chunks(phase)).sum();
            let job = |job: usize, thread: usize| {
                let mut job = job;
                for (at, schedule) in self.schedules.iter().enumerate() {
                    let chunks = schedule.chunks(phase);
                    if job < chunks {
                        // SAFETY: `thread` is below the pool's threads, for each of which there is
                        // a scratch, used by it alone.
                        let scratch = unsafe { &mut *self.scratch.add(thread) };
                        self.chunk(at, phase, job, scratch);
                        return;
                    }
                    job -= chunks;
                }
            };
            // Global work is not worth waking anybody.
            if self.schedules.iter().all(|s| s.chunks(phase) == 0 || s.is_global(phase)) {
                for i in 0..jobs {
                    job(i, 0);
                }
            } else {
                pool.run(jobs, &job);
            }
            let mut partials = PhasePartials::new(self, phase, pool);
            if partials.any() {
                reducer.reduce(&mut partials)?;
            }
        }
        Ok(())
    }

    fn chunk(&self, at: usize, phase: usize, chunk: usize, scratch: &mut ThreadScratch) {
        let schedule = &self.schedules[at];
        let p = &schedule.prepared.phases[phase];
        let (tiling, layout) = (&schedule.tilings[p.tiling], &schedule.layout);
        let copies = schedule.partials.pointer().wrapping_add(chunk * schedule.prepared.partial_floats);
        for partial in &p.partials {
            if let Some(start) = partial.start {
                // SAFETY: the partials hold `partial_floats` floats for each chunk, and this chunk
                // is this thread's.
                unsafe { std::slice::from_raw_parts_mut(copies.add(partial.offset), partial.width).fill(start) };
            }
        }
        scratch.args.clear();
        scratch.args.extend_from_slice(&schedule.arguments[phase]);
        for (arg, address) in p.args.iter().zip(&mut scratch.args) {
            if let ArgSource::Partial { offset } = arg {
                *address = copies.wrapping_add(*offset).cast();
            }
        }
        let mut begin = scratch.clock.start();
        let tiles = tiling.chunk(chunk);
        let last = tiles.end;
        for (count, tile) in tiles.enumerate() {
            let range = |axis| tiling.range(tile, axis, layout);
            for &i in &p.tile_args {
                scratch.args[i as usize] = match p.args[i as usize] {
                    ArgSource::Tile { slot, axis, width } => {
                        let base = scratch.tile.pointer().wrapping_add(schedule.tile_slots[slot as usize]);
                        base.wrapping_sub(range(axis).0 * width as usize).cast()
                    }
                    ArgSource::Gradient { width } => {
                        scratch.gradient.pointer().wrapping_sub(range(p.axis).0 * width as usize).cast()
                    }
                    ArgSource::Buffer(_) | ArgSource::Argument(_) | ArgSource::Partial { .. } => {
                        unreachable!("preparing lists only arguments that change from tile to tile")
                    }
                };
            }
            if let Some(update) = &schedule.rows {
                let occurrences = &self.occurrences[update.table];
                // SAFETY: rows are distinct, so no other chunk writes their update counts; the
                // scratch was sized by `fit`.
                unsafe {
                    sum_row_gradients(self.kernels, update, occurrences, range(p.axis), p, scratch.gradient.pointer());
                }
                if p.gradient {
                    begin = scratch.clock.stop(at, phase, p.calls.len(), begin, range(p.axis));
                }
            }
            // Runs a call for some of its elements.
            let mut run = |number: usize, elements: ElementRange, before: ElementRange| {
                let call = &p.calls[number];
                let tile_call = TileCall {
                    kernels: self.kernels,
                    args: &scratch.args,
                    axis: call.axis,
                    elements,
                    before,
                    tile,
                    first_tile: count == 0,
                    tiling,
                    layout,
                    partial: scratch.partial.pointer(),
                    panel: scratch.panel.pointer(),
                };
                // SAFETY: the schedule was checked, sized for this batch and its addresses bound,
                // so the operation stays inside its buffers; generated code is trusted to do so.
                // The scratch was sized by `fit`.
                unsafe { tile_call.run(&call.op) };
                begin = scratch.clock.stop(at, phase, number, begin, elements);
            };
            let mut number = 0;
            while let Some(call) = p.calls.get(number) {
                if let Some(recurrence) = p.recurrences.iter().find(|r| r.calls.start == number) {
                    // A tile of a phase over steps is a leaf.
                    let steps = layout.steps(p.axis).of_leaf(tile);
                    let elements = |step: usize| (steps[step] as usize, steps[step + 1] as usize);
                    let last = steps.len() - 1;
                    let mut before = (0, 0);
                    for step in 0..last {
                        let treated = elements(if recurrence.backward { last - 1 - step } else { step });
                        recurrence.calls.clone().for_each(|number| run(number, treated, before));
                        before = treated;
                    }
                    number = recurrence.calls.end;
                    continue;
                }
                if tile + 1 < last {
                    for &(buffer, axis, width) in &p.prefetched {
                        let (from, to) = tiling.range(tile + 1, axis, layout);
                        // Each call asks for its part, so that the requests do not crowd.
                        let end = |n: usize| from * width + (to - from) * width * n / p.calls.len();
                        let first = schedule.addresses[buffer as usize].wrapping_add(end(number));
                        prefetch_second_level(first, (end(number + 1) - end(number)) * size_of::<f32>());
                    }
                }
                run(number, range(call.axis), (0, 0));
                number += 1;
            }
        }
    }
}

/// Sums the row gradients of the distinct rows `range` into `out`, in the order of their
/// occurrences, and counts the rows' updates.
///
/// # Safety
///
/// `out` has room for the range's rows; addresses and elements of the update are those of the
/// current step.
unsafe fn sum_row_gradients(
    kernels: Microkernels,
    update: &RowUpdate,
    occurrences: &Occurrences,
    range: ElementRange,
    p: &PreparedPhase,
    out: *mut f32,
) {
    if p.counts_updates {
        for i in (range.0..range.1).filter(|&i| !occurrences.of(i).is_empty()) {
            // SAFETY: row numbers are below the table's rows, for each of which there is a count.
            unsafe { *update.updates.add(occurrences.rows[i] as usize) += 1.0 };
        }
    }
    if p.gradient && p.axis != GLOBAL {
        // SAFETY: the caller vouches for the room; an occurrence names an element of its feature's
        // axis, which the feature's gradient covers.
        unsafe { kernels.sum_rows(occurrences.segments(), range, &update.gradients, update.width, out) };
    }
}
