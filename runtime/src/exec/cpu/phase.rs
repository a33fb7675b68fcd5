//! Runs one phase: chunks over the threads of the pool, tiles of a chunk in order, calls of a tile in order, then the reductions.

use super::instance::{Instance, RowUpdate};
use super::memory::Region;
use super::prepare::{Arg, Op, PreparedPhase, Strided};
use super::profile::Clock;
use super::reduce;
use crate::exec::ExecError;
use crate::exec::common::ElementRange;
use crate::exec::common::Layout;
use crate::kernels::{Gemm, MatMul, Outer, transpose};
use crate::table::Occurrences;
use crate::threads::pool::Pool;
use din_program::schedule::{AxisId, BATCH, GLOBAL};

/// What one thread works with; reused from phase to phase.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    tile: Region,
    gradient: Region,
    moments: Region,
    /// A sample's matrix.
    fold: Region,
    args: Vec<*mut u8>,
    pub clock: Clock,
}

// SAFETY: the addresses in `args` are only used by the thread that runs a phase with this scratch.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Makes room for the tiles of an instance.
    pub fn fit(&mut self, instance: &Instance) -> Result<(), ExecError> {
        self.tile.reserve(instance.tile_floats)?;
        self.moments.reserve(2 * instance.prepared.moments)?;
        self.fold.reserve(instance.prepared.fold)?;
        if let Some(update) = &instance.rows {
            let sizes = instance.prepared.tilings.iter().filter(|t| t.0 != GLOBAL).map(|t| t.1 as usize);
            let rows = sizes.max().unwrap_or(0).min(instance.counts[1].next_power_of_two());
            self.gradient.reserve(super::memory::area(update.width, rows)?)?;
        }
        let missing = instance.prepared.most_args.saturating_sub(self.args.len());
        self.args.reserve(missing);
        Ok(())
    }
}

/// Everything that the threads of a region share.
pub(super) struct Shared<'a> {
    pub instances: &'a [Instance],
    /// By table, for updates of rows.
    pub occurrences: &'a [Occurrences],
    pub gemm: Gemm,
    scratch: *mut Scratch,
}

// SAFETY: `scratch` points at one `Scratch` a thread, each used by its thread alone; addresses inside the instances lead to memory that
// the calls of different chunks write in disjoint parts (each its own tiles' elements, its own partial copies, its own rows).
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// `scratch` holds one for each thread of the pool and is borrowed as long as the value lives.
    pub fn new(
        instances: &'a [Instance],
        occurrences: &'a [Occurrences],
        gemm: Gemm,
        scratch: &'a mut [Scratch],
    ) -> Self {
        Shared { instances, occurrences, gemm, scratch: scratch.as_mut_ptr() }
    }

    /// Runs all active instances, phase by phase in step with each other.
    pub fn run(&self, pool: &mut Pool) {
        let phases = self.instances.iter().filter(|i| i.active).map(|i| i.prepared.phases.len()).max().unwrap_or(0);
        for phase in 0..phases {
            let jobs: usize = self.instances.iter().map(|i| i.chunks(phase)).sum();
            let job = |job: usize, thread: usize| {
                let mut job = job;
                for (at, instance) in self.instances.iter().enumerate() {
                    let chunks = instance.chunks(phase);
                    if job < chunks {
                        // SAFETY: `thread` is below the pool's threads, for each of which there is a scratch, used by it alone.
                        let scratch = unsafe { &mut *self.scratch.add(thread) };
                        self.chunk(at, phase, job, scratch);
                        return;
                    }
                    job -= chunks;
                }
            };
            // Work of `once` is not worth waking anybody.
            if self.instances.iter().all(|i| i.chunks(phase) == 0 || i.once(phase)) {
                for i in 0..jobs {
                    job(i, 0);
                }
            } else {
                pool.run(jobs, &job);
            }
            reduce::reduce(self, phase, pool);
        }
    }

    fn chunk(&self, at: usize, phase: usize, chunk: usize, scratch: &mut Scratch) {
        let instance = &self.instances[at];
        let p = &instance.prepared.phases[phase];
        let (tiling, layout) = (&instance.tilings[p.tiling], &instance.layout);
        let copies = instance.partials.pointer().wrapping_add(chunk * instance.prepared.partial_floats);
        for partial in &p.partials {
            if let Some(start) = partial.start {
                // SAFETY: the region holds `partial_floats` numbers for each of `MAX_CHUNKS` chunks, and this chunk is this thread's.
                unsafe { std::slice::from_raw_parts_mut(copies.add(partial.offset), partial.width).fill(start) };
            }
        }
        scratch.args.clear();
        scratch.args.extend_from_slice(&instance.arguments[phase]);
        for (arg, address) in p.args.iter().zip(&mut scratch.args) {
            if let Arg::Partial { offset } = arg {
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
                    Arg::Tile { slot, axis, width } => {
                        let base = scratch.tile.pointer().wrapping_add(instance.tile_slots[slot as usize]);
                        base.wrapping_sub(range(axis).0 * width as usize).cast()
                    }
                    Arg::Gradient { width } => {
                        scratch.gradient.pointer().wrapping_sub(range(p.axis).0 * width as usize).cast()
                    }
                    _ => continue,
                };
            }
            if let Some(update) = &instance.rows {
                // SAFETY: rows are distinct, so no other chunk writes these touches; the scratch was sized by `fit`.
                unsafe {
                    let touched = &self.occurrences[update.table];
                    gather(self.gemm, update, touched, range(p.axis), p, scratch.gradient.pointer());
                }
                if p.gradient {
                    begin = scratch.clock.stop(at, phase, p.calls.len(), begin, range(p.axis));
                }
            }
            for (number, call) in p.calls.iter().enumerate() {
                if tile + 1 < last {
                    for &(buffer, axis, width) in &p.far {
                        let (from, to) = tiling.range(tile + 1, axis, layout);
                        // Each call asks for its part, so that the requests do not crowd.
                        let part = |n: usize| (from * width + (to - from) * width * n / p.calls.len()) * 4;
                        prefetch(instance.addresses[buffer as usize].cast(), part(number), part(number + 1));
                    }
                }
                let elements = range(call.axis);
                if let Op::Absorbed { .. } | Op::AbsorbedOuter { .. } = call.op {
                    let samples = range(BATCH);
                    // `validate` lets these run over sequences alone.
                    let entries = &layout.offsets(call.axis)[samples.0..=samples.1];
                    // SAFETY: as below.
                    unsafe {
                        let args = &scratch.args[call.args..];
                        self.fold(&call.op, args, samples.0, entries, scratch.fold.pointer());
                    }
                    begin = scratch.clock.stop(at, phase, number, begin, elements);
                    continue;
                }
                if let Op::SegmentSum { .. } = call.op {
                    let units = tiling.units(tile);
                    // SAFETY: as below.
                    unsafe { self.segment_sum(&call.op, &scratch.args[call.args..], units, layout, call.axis) };
                    begin = scratch.clock.stop(at, phase, number, begin, elements);
                    continue;
                }
                // SAFETY: the schedule was checked, the instance sized for this batch and its addresses bound, so the operation stays
                // inside its buffers; generated code is trusted to do so.
                unsafe {
                    self.call(&call.op, &scratch.args[call.args..], elements, count == 0, scratch.moments.pointer())
                };
                begin = scratch.clock.stop(at, phase, number, begin, elements);
            }
        }
    }

    /// Folded products, sample by sample: `entries` has the samples' offsets from `first` on, and the end of the last.
    ///
    /// # Safety
    ///
    /// `args` are the call's argument addresses, valid for these samples and entries; `matrix` has room for the call's `e x n`.
    unsafe fn fold(&self, op: &Op, args: &[*mut u8], first: usize, entries: &[u32], matrix: *mut f32) {
        let base = |arg: usize, s: Strided| args[arg].cast::<f32>().wrapping_add(s.column);
        for (k, entry) in entries.windows(2).enumerate() {
            let (sample, begin, rows) = (first + k, entry[0] as usize, (entry[1] - entry[0]) as usize);
            match *op {
                Op::Absorbed { x, q, w, transposed, out, e, n } => {
                    if rows == 0 {
                        continue;
                    }
                    let (from, to) = if transposed { (n, e) } else { (e, n) };
                    let q = base(1, q).wrapping_add(sample * q.stride);
                    let m = MatMul {
                        rows,
                        k: from,
                        n: to,
                        x: base(0, x).wrapping_add(begin * x.stride),
                        x_stride: x.stride,
                        w: matrix,
                        w_stride: to,
                        out: base(3, out).wrapping_add(begin * out.stride),
                        out_stride: out.stride,
                        accumulate: false,
                    };
                    // SAFETY: columns, strides and sizes were checked against the buffers; the matrix is `e x n`.
                    unsafe {
                        self.gemm.fold(base(2, w), q, e, n, transposed, matrix);
                        self.gemm.matmul(&m);
                    }
                }
                Op::AbsorbedOuter { x, g, weight, sample: towards, e, n } => {
                    let o = Outer {
                        rows,
                        k: e,
                        n,
                        x: base(0, x).wrapping_add(begin * x.stride),
                        x_stride: x.stride,
                        g: base(1, g).wrapping_add(begin * g.stride),
                        g_stride: g.stride,
                        out: matrix,
                        out_stride: n,
                        accumulate: false,
                    };
                    let next = if weight.is_some() { 4 } else { 2 };
                    let weight = weight.map(|(q, out)| {
                        let sums = args[3].cast::<f32>().wrapping_add(out);
                        (base(2, q).wrapping_add(sample * q.stride).cast_const(), sums)
                    });
                    let towards = towards.map(|(w, out)| {
                        let second = base(next, w).wrapping_add(e * n);
                        (second.cast_const(), base(next + 1, out).wrapping_add(sample * out.stride))
                    });
                    // SAFETY: as above.
                    unsafe {
                        if rows == 0 {
                            if let Some((_, out)) = towards {
                                std::slice::from_raw_parts_mut(out, e).fill(0.0);
                            }
                            continue;
                        }
                        self.gemm.outer(&o);
                        self.gemm.unfold(matrix, e, n, weight, towards);
                    }
                }
                _ => {}
            }
        }
    }

    /// Sums over the samples of each of the requests, or over what each element of a group stands for, in their order.
    ///
    /// # Safety
    ///
    /// `args` are the call's argument addresses, valid for these units and what they share.
    unsafe fn segment_sum(&self, op: &Op, args: &[*mut u8], units: ElementRange, layout: &Layout, axis: AxisId) {
        let Op::SegmentSum { x, out, width, from: over } = *op else { return };
        let base = |arg: usize, s: Strided| args[arg].cast::<f32>().wrapping_add(s.column);
        let (from, into) = (base(0, x), base(1, out));
        if layout.axes.unique(axis).is_some() {
            let group = layout.unique(axis);
            for g in units.0..units.1 {
                let to = into.wrapping_add(g * out.stride);
                let members = &group.members[group.begins[g] as usize..group.begins[g + 1] as usize];
                // SAFETY: the schedule was checked: both buffers have these columns at every element.
                unsafe {
                    std::slice::from_raw_parts_mut(to, width).fill(0.0);
                    for &i in members {
                        self.gemm.add(to, from.wrapping_add(i as usize * x.stride).cast_const(), width);
                    }
                }
            }
            return;
        }
        let sequence = (over != BATCH).then_some(over);
        let requests = units;
        for request in requests.0..requests.1 {
            let samples = layout.requests()[request] as usize..layout.requests()[request + 1] as usize;
            let (first, rows) = match sequence {
                None => (request, 1),
                Some(_) => {
                    let entries = layout.offsets(axis);
                    (entries[request] as usize, (entries[request + 1] - entries[request]) as usize)
                }
            };
            for row in 0..rows {
                let to = into.wrapping_add((first + row) * out.stride);
                // SAFETY: the schedule was checked: both buffers have these columns at every element.
                unsafe { std::slice::from_raw_parts_mut(to, width).fill(0.0) };
            }
            for sample in samples {
                let begin = sequence.map_or(sample, |s| layout.offsets(s)[sample] as usize);
                for row in 0..rows {
                    let term = from.wrapping_add((begin + row) * x.stride);
                    let to = into.wrapping_add((first + row) * out.stride);
                    // SAFETY: as above; a sample has the entries of its request.
                    unsafe { self.gemm.add(to, term.cast_const(), width) };
                }
            }
        }
    }

    /// # Safety
    ///
    /// `args` are the call's argument addresses, valid for `elements`; `scratch` has room for two of the call's widths.
    #[inline]
    unsafe fn call(&self, op: &Op, args: &[*mut u8], elements: ElementRange, first_tile: bool, scratch: *mut f32) {
        let (begin, end) = elements;
        let at =
            |arg: usize, column: usize, stride: usize| args[arg].cast::<f32>().wrapping_add(begin * stride + column);
        match *op {
            Op::Kernel(function) => {
                if begin < end {
                    // SAFETY: the caller vouches for the arguments.
                    unsafe { function(args.as_ptr(), begin as u64, end as u64) }
                }
            }
            Op::Fill { width, value } => {
                // SAFETY: elements `begin..end` of the buffer are the caller's.
                unsafe { std::slice::from_raw_parts_mut(at(0, 0, width), (end - begin) * width).fill(value) }
            }
            Op::MatMul { x, w, out, k, n, accumulate } => {
                let m = MatMul {
                    rows: end - begin,
                    k,
                    n,
                    x: at(0, x.column, x.stride),
                    x_stride: x.stride,
                    w: args[1].cast::<f32>().wrapping_add(w.column),
                    w_stride: w.stride,
                    out: at(2, out.column, out.stride),
                    out_stride: out.stride,
                    accumulate,
                };
                // SAFETY: columns and strides were checked against the buffers.
                unsafe { self.gemm.matmul(&m) }
            }
            Op::Outer { x, g, out, k, n, first } => {
                let o = Outer {
                    rows: end - begin,
                    k,
                    n,
                    x: at(0, x.column, x.stride),
                    x_stride: x.stride,
                    g: at(1, g.column, g.stride),
                    g_stride: g.stride,
                    out: args[2].cast::<f32>().wrapping_add(out),
                    out_stride: n,
                    accumulate: !(first && first_tile),
                };
                // SAFETY: columns and strides were checked against the buffers.
                unsafe { self.gemm.outer(&o) }
            }
            // Run sample by sample, or by what is shared: see `fold` and `segment_sum`.
            Op::Absorbed { .. } | Op::AbsorbedOuter { .. } | Op::SegmentSum { .. } => {}
            Op::Transpose { w, out, k, n } => {
                let w_at = args[0].cast::<f32>().wrapping_add(w.column);
                // SAFETY: both matrices were checked to lie in their buffers.
                unsafe { transpose(w_at, w.stride, args[1].cast::<f32>().wrapping_add(out), k, n) }
            }
            Op::Moments { x, width } => {
                let rows = end - begin;
                if rows > 0 {
                    // SAFETY: `x` was checked; the partial holds `2 * width + 1` numbers, the scratch `2 * width`.
                    unsafe {
                        let m2 = scratch.wrapping_add(width);
                        self.gemm.moments(at(0, x.column, x.stride), x.stride, rows, width, scratch, m2);
                        reduce::join_moments(args[1].cast(), scratch, rows as f32, width);
                    }
                }
            }
        }
    }
}

/// Asks for the bytes `from..to` behind `base`, which the next tile works on, as far as the second-level cache.
#[inline]
fn prefetch(base: *const u8, from: usize, to: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (from..to).step_by(64) {
        // SAFETY: a prefetch reads nothing that the program can see; any address is allowed.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(base.wrapping_add(line).cast())
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (base, from, to);
}

/// Sums the gradient rows of distinct rows `range` into `out`, in the order of their occurrences, and counts their touches.
///
/// # Safety
///
/// `out` has room for the range's rows; addresses and elements of the update are those of the current step.
unsafe fn gather(
    gemm: Gemm,
    update: &RowUpdate,
    touched: &Occurrences,
    range: ElementRange,
    p: &PreparedPhase,
    out: *mut f32,
) {
    if p.touches && !update.touches.is_null() {
        for i in (range.0..range.1).filter(|&i| !touched.of(i).is_empty()) {
            // SAFETY: row numbers are below the table's rows.
            unsafe { *update.touches.add(touched.rows[i] as usize) += 1.0 };
        }
    }
    if p.gradient && p.axis != GLOBAL {
        // SAFETY: the caller vouches for the room; an occurrence names an element of its feature's axis, which the feature's
        // gradient covers.
        unsafe { gemm.sum_rows(touched, range, &update.gradients, update.width, out) };
    }
}
