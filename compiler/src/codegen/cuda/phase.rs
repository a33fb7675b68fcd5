//! From a phase to its kernels: how the phase is cut into tiles so that its buffers fit in shared
//! memory, and its calls; `join` has the kernel that joins its partial sums.
//!
//! A phase of one element, whose work is wide and short, becomes several kernels over many blocks
//! rather than the work of one block.

use super::kernel_builder::{KernelBuilder, LoweringError, Memory, TileBuffer, TileSlot, partials, pitch};
use super::kernel_ir::{KernelIr, Stmt, Walk};
use super::product;
use super::region;
use super::statistic::device_statistic;
use super::{ArgNumbering, CodegenOptions, SchedulePurpose, ScheduleUnit};
use crate::plan::Kernels;
use din_program::cuda::{ALIGN, Grid, Launch, PointerArg, ScalarArg, Tiling};
use din_program::schedule::{
    AxisId, AxisKind, BATCH, BufferId, Call, GLOBAL, KernelId, Operation, Phase, Slot, SlotId, StepLoop, Storage,
};

/// A kernel and how it is launched.
pub struct PhaseKernel {
    pub kernel: KernelIr,
    pub launch: Launch,
}

/// How a phase is cut, and where its tile buffers lie.
struct PhaseLayout {
    tiling: Tiling,
    slots: Vec<TileSlot>,
    /// Values of shared memory that they take.
    shared: u32,
    /// See [`Launch::scratch`].
    scratch: (u32, u32),
}

/// What a phase is made from.
pub struct PhaseEmitter<'a> {
    pub unit: &'a ScheduleUnit<'a>,
    pub kernels: &'a Kernels,
    pub options: &'a CodegenOptions,
    /// Its number, and itself.
    pub number: u32,
    pub phase: &'a Phase,
}

impl PhaseEmitter<'_> {
    /// The kernels of the phase in the order of their launches.
    pub fn make(&self, numbering: &mut ArgNumbering) -> Result<Vec<PhaseKernel>, LoweringError> {
        let mut made = match self.phase.axis {
            GLOBAL => self.once(numbering)?,
            axis => match self.unit.axes.kind(axis) {
                AxisKind::Global => return Err(format!("a phase over axis {}", axis.0)),
                AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Unique(_) => {
                    vec![self.samples(axis, numbering)?]
                }
                // Where nothing is summed by request, a request's entries are many blocks' work:
                // each may stand for hundreds of pairs.
                AxisKind::Sequence { .. }
                    if self.unit.axes.is_per_request(axis) && self.phase.calls.iter().all(|c| c.axis == axis) =>
                {
                    vec![self.samples(axis, numbering)?]
                }
                AxisKind::Sequence { .. } | AxisKind::Fixed { .. } | AxisKind::Pairs { .. } => {
                    vec![self.sequence(axis, numbering)?]
                }
                AxisKind::Steps { .. } => vec![self.steps(axis, numbering)?],
                AxisKind::Second { .. } => return Err(format!("a phase over another name of axis {}", axis.0)),
            },
        };
        if !self.phase.reductions.is_empty() {
            let grid = made.first().map_or(Grid::Blocks(1), |m| m.launch.grid);
            made.push(self.join(grid, numbering)?);
        }
        Ok(made)
    }

    pub(super) fn name(&self) -> String {
        format!("din_{}_{}", self.unit.name, self.number)
    }

    pub(super) fn kernel(&self, name: String, walk: Walk) -> KernelIr {
        KernelIr {
            name,
            comment: Vec::new(),
            walk,
            threads: self.options.threads,
            chunks: self.options.chunks,
            strides: (0, 0),
            variables: Vec::new(),
            arrays: Vec::new(),
            copies: None,
            partials: Vec::new(),
            scratch: (0, 0),
            shared: 0,
            begin_barrier: false,
            end_barrier: false,
            body: Vec::new(),
        }
    }

    pub(super) fn launch(&self, kernel: &KernelIr, grid: Grid, calls: &[Call], always_scratch: bool) -> Launch {
        Launch {
            kernel: kernel.name.clone(),
            phase: self.number,
            grid,
            shared: kernel.shared * 4,
            scratch: kernel.scratch,
            always_scratch,
            location: calls.first().map_or_else(String::new, |c| c.location.clone()),
        }
    }

    fn sums(&self, kernel: &mut KernelIr, numbering: &mut ArgNumbering) -> Result<(), LoweringError> {
        let (partials, floats) = partials(self.unit, self.phase)?;
        if floats > 0 {
            kernel.copies = Some((numbering.pointer(PointerArg::Partials), floats));
            kernel.partials = partials;
            numbering.partial_floats = numbering.partial_floats.max(floats);
        }
        Ok(())
    }

    /// All calls of the phase: those of a recurrence in a loop over its steps.
    fn all_calls(&self, builder: &mut KernelBuilder<'_>) -> Result<(), LoweringError> {
        let (calls, mut done) = (&self.phase.calls, 0);
        let part = |range: std::ops::Range<usize>| {
            calls.get(range.clone()).ok_or_else(|| format!("calls {range:?} of {}", calls.len()))
        };
        for StepLoop { calls: of_loop, backward } in &self.phase.recurrences {
            let (begin, end) = (of_loop.start as usize, of_loop.end as usize);
            self.calls(builder, part(done..begin)?)?;
            done = end;
            let at = builder.kernel.body.len();
            builder.common = None;
            self.calls(builder, part(begin..end)?)?;
            builder.common = None;
            // All threads wait at the end of a step.
            builder.settled();
            let body = builder.kernel.body.split_off(at);
            builder.push(Stmt::Steps { backward: *backward, body });
        }
        self.calls(builder, part(done..calls.len())?)
    }

    /// Calls, one behind the other.
    fn calls(&self, builder: &mut KernelBuilder<'_>, calls: &[Call]) -> Result<(), LoweringError> {
        for (k, call) in calls.iter().enumerate() {
            if call.axis != GLOBAL && !builder.kernel.walk.holds(call.axis) {
                return Err(format!("a call over axis {} at {}", call.axis.0, call.location));
            }
            let (what, region) = match &call.op {
                Operation::Kernel { kernel, args } => {
                    let region = self.kernels.regions.get(kernel.index());
                    let region = region.ok_or_else(|| format!("kernel {} does not exist", kernel.0))?;
                    let name = self.kernels.names.get(kernel.index()).map_or("", String::as_str);
                    (name.to_string(), Some((region, args)))
                }
                op => (describe(op), None),
            };
            let line = format!("{}: {what}", call.location);
            builder.push(Stmt::Comment(line.replace(['\n', '\\'], " ")));
            match region {
                Some((found, args)) => region::region(builder, found, args),
                None => product::product(builder, call, calls.get(k + 1)),
            }
            .map_err(|why| format!("{what}: {why}"))?;
        }
        Ok(())
    }

    fn once(&self, numbering: &mut ArgNumbering) -> Result<Vec<PhaseKernel>, LoweringError> {
        let mut made = Vec::new();
        for (k, (calls, blocks)) in self.segments().into_iter().enumerate() {
            let name = if k == 0 { self.name() } else { format!("{}_{k}", self.name()) };
            let mut kernel = self.kernel(name, Walk::Once);
            self.sums(&mut kernel, numbering)?;
            kernel.comment = vec![format!("Phase {}, one element.", self.number)];
            let mut builder = KernelBuilder::new(self.unit, self.phase, self.options.precision, numbering, kernel);
            self.calls(&mut builder, calls)?;
            builder.edges();
            let kernel = builder.kernel;
            let launch = self.launch(&kernel, Grid::Blocks(blocks), calls, false);
            made.push(PhaseKernel { kernel, launch });
        }
        Ok(made)
    }

    /// The calls of a phase of one element, cut so that what needs a barrier is one block's, and
    /// wide work is shared by many.
    fn segments(&self) -> Vec<(&[Call], u32)> {
        let calls = &self.phase.calls[..];
        if !self.phase.reductions.is_empty() {
            return vec![(calls, 1)];
        }
        let mut found: Vec<(usize, usize, u32)> = Vec::new();
        for (k, call) in calls.iter().enumerate() {
            let width = self.spread(call);
            let blocks = width.div_ceil(self.options.threads).min(self.options.chunks);
            match found.last_mut() {
                Some((_, end, 1)) if blocks <= 1 => *end = k + 1,
                Some((from, end, all)) if *all > 1 && blocks > 1 && self.apart(&calls[*from..*end], call) => {
                    (*end, *all) = (k + 1, blocks.max(*all));
                }
                _ => found.push((k, k + 1, blocks.max(1))),
            }
        }
        found.into_iter().map(|(from, to, blocks)| (&calls[from..to], blocks)).collect()
    }

    /// Values that blocks may share; 0 where one block must do all.
    fn spread(&self, call: &Call) -> u32 {
        match &call.op {
            Operation::Kernel { kernel, .. } => match self.kernels.regions.get(kernel.index()) {
                Some(r) if region::spreads(r) => r.width,
                // One that does not exist is refused with the call.
                Some(_) | None => 0,
            },
            Operation::Fill { buffer, .. } => self.unit.schedule.buffers.get(buffer.index()).map_or(0, |b| b.width),
            Operation::Transpose { k, n, .. } => k * n,
            Operation::MatMul { .. }
            | Operation::AbsorbedMatMul { .. }
            | Operation::AbsorbedOuter { .. }
            | Operation::Outer { .. }
            | Operation::SegmentReduce { .. }
            | Operation::Carry { .. }
            | Operation::Unflatten { .. }
            | Operation::Flatten { .. }
            | Operation::Statistic { .. } => 0,
        }
    }

    /// Whether a call neither reads nor writes what the others write, nor writes what they read.
    fn apart(&self, others: &[Call], call: &Call) -> bool {
        let (reads, writes) = self.touched(call);
        others.iter().all(|other| {
            let (theirs, written) = self.touched(other);
            !written.iter().any(|m| reads.contains(m) || writes.contains(m))
                && !theirs.iter().any(|m| writes.contains(m))
        })
    }

    fn touched(&self, call: &Call) -> (Vec<Memory>, Vec<Memory>) {
        // A buffer that does not exist is refused by what builds the call.
        let memory = |id: BufferId| match self.unit.schedule.buffers.get(id.index()).map(|b| b.place) {
            Some(Storage::Arena(s)) => Memory::Arena(s),
            Some(Storage::Tile(s)) => Memory::Tile(TileBuffer::Planned(s)),
            Some(
                Storage::Partial
                | Storage::Param(_)
                | Storage::State(_)
                | Storage::Dense(_)
                | Storage::Label(_)
                | Storage::Present(_)
                | Storage::Length(_)
                | Storage::Position(_)
                | Storage::SampleNumber(_)
                | Storage::Components(_)
                | Storage::DropoutKey(_)
                | Storage::Count(_)
                | Storage::Step
                | Storage::Epoch
                | Storage::SquaredNorms
                | Storage::Weight
                | Storage::Gradient
                | Storage::InBatch
                | Storage::UpdateSlot(_)
                | Storage::Frequency
                | Storage::UpdateCount,
            )
            | None => Memory::Buffer(id),
        };
        let signature = |kernel: KernelId| {
            let region = self.kernels.regions.get(kernel.index());
            region.expect("the planner numbers kernels by their regions").signature()
        };
        let reads = call.op.reads().into_iter().map(memory).collect();
        (reads, call.op.writes(signature).into_iter().map(memory).collect())
    }

    fn samples(&self, unit: AxisId, numbering: &mut ArgNumbering) -> Result<PhaseKernel, LoweringError> {
        let wanted = match self.unit.purpose {
            SchedulePurpose::Step if self.unit.axes.is_per_request(unit) => self.options.sequence_tile,
            SchedulePurpose::Step => self.options.batch_tile,
            SchedulePurpose::Rows => self.options.row_tile,
            SchedulePurpose::Tensor => 2 * self.options.threads,
        };
        let candidates = [wanted, wanted / 2, wanted / 4];
        let laid = self.layout(candidates, |samples| Tiling { axis: unit, samples, entries: 0 });
        let elements = numbering.scalar(ScalarArg::Elements(unit));
        let samples = laid.tiling.samples;
        let spread = self.spreads(unit);
        self.tiled(numbering, laid, Walk::Samples { unit, samples, elements, spread })
    }

    fn sequence(&self, axis: AxisId, numbering: &mut ArgNumbering) -> Result<PhaseKernel, LoweringError> {
        let unit = self.unit.axes.parent(axis).ok_or_else(|| format!("a sequence phase over axis {}", axis.0))?;
        let wanted = self.options.sequence_tile;
        let candidates = [wanted, wanted * 3 / 4, wanted / 2];
        let samples = self.options.sequence_samples.next_multiple_of(ALIGN);
        let laid = self.layout(candidates, |entries| Tiling { axis, samples, entries });
        let entries = laid.tiling.entries;
        let number = numbering.tiling(laid.tiling);
        let walk = Walk::Sequence {
            unit,
            axis,
            samples,
            entries,
            tiles: numbering.scalar(ScalarArg::Tiles(number)),
            longest: numbering.scalar(ScalarArg::Longest(number)),
            bounds: numbering.pointer(PointerArg::Tiles(number)),
            offsets: numbering.pointer(PointerArg::Offsets(axis)),
        };
        self.tiled(numbering, laid, walk)
    }

    /// Tiles of some samples or requests, with all steps of their lists. A tile's entries have room
    /// in scratch alone.
    fn steps(&self, axis: AxisId, numbering: &mut ArgNumbering) -> Result<PhaseKernel, LoweringError> {
        let unit = self.unit.axes.parent(axis).ok_or_else(|| format!("steps over axis {}", axis.0))?;
        let samples = self.options.recurrence_tile.next_multiple_of(ALIGN);
        let tiling = Tiling { axis, samples, entries: 0 };
        let (mut slots, mut scratch) = (Vec::new(), (0u32, 0u32));
        for (buffer, s) in self.tile_buffers() {
            slots.push(TileSlot { buffer, axis: s.axis, shared: None, scratch });
            let room = if s.axis == axis { &mut scratch.1 } else { &mut scratch.0 };
            *room = room.saturating_add(s.width);
        }
        let number = numbering.tiling(tiling);
        let walk = Walk::Steps {
            unit,
            axis,
            samples,
            elements: numbering.scalar(ScalarArg::Elements(unit)),
            longest: numbering.scalar(ScalarArg::Longest(number)),
            offsets: numbering.pointer(PointerArg::Offsets(axis)),
            steps: numbering.pointer(PointerArg::Steps(axis)),
            tiles: numbering.pointer(PointerArg::StepTiles(axis)),
        };
        self.tiled(numbering, PhaseLayout { tiling, slots, shared: 0, scratch }, walk)
    }

    /// Whether tiles are the smaller the fewer elements there are: a batch has few requests, and
    /// behind each may be hundreds of samples; how many elements a group has is seen in the batch.
    pub(super) fn spreads(&self, unit: AxisId) -> bool {
        self.unit.axes.tile_axis(unit) != BATCH
    }

    fn tiled(&self, numbering: &mut ArgNumbering, laid: PhaseLayout, walk: Walk) -> Result<PhaseKernel, LoweringError> {
        let PhaseLayout { tiling, slots, shared, scratch } = laid;
        let mut kernel = self.kernel(self.name(), walk);
        self.sums(&mut kernel, numbering)?;
        let always_scratch = slots.iter().any(|s| s.shared.is_none());
        kernel.scratch = scratch;
        kernel.shared = shared;
        let of = |axis: AxisId| match self.unit.axes.kind(axis) {
            AxisKind::Request => "requests".into(),
            AxisKind::Batch { .. } => "samples".into(),
            AxisKind::Unique(_) => "distinct elements".into(),
            AxisKind::Global
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => {
                format!("entries of axis {}", axis.0)
            }
        };
        kernel.comment = vec![match walk {
            Walk::Sequence { unit, axis, samples, entries, .. } => {
                let (under, units) = (of(axis), of(unit));
                format!("Phase {}, tiles of {entries} {under}, {samples} {units} at most.", self.number)
            }
            Walk::Steps { unit, samples, .. } => {
                format!("Phase {}, tiles of the steps of {samples} {}.", self.number, of(unit))
            }
            Walk::Samples { spread: true, .. } => {
                format!("Phase {}, tiles of {} {} at most.", self.number, tiling.samples, of(tiling.axis))
            }
            Walk::Samples { spread: false, .. } | Walk::Once | Walk::Join { .. } => {
                format!("Phase {}, tiles of {} {}.", self.number, tiling.samples, of(tiling.axis))
            }
        }];
        let grid = Grid::Tiles { tiling: numbering.tiling(tiling) };
        let mut builder = KernelBuilder::new(self.unit, self.phase, self.options.precision, numbering, kernel);
        builder.slots = slots;
        builder.base = shared;
        self.all_calls(&mut builder)?;
        builder.edges();
        let kernel = builder.kernel;
        let launch = self.launch(&kernel, grid, &self.phase.calls, always_scratch);
        Ok(PhaseKernel { kernel, launch })
    }

    /// Tile buffers that the calls use, as wide as they need them.
    fn tile_buffers(&self) -> Vec<(TileBuffer, Slot)> {
        let mut slots: Vec<(TileBuffer, Slot)> = Vec::new();
        let mut add = |slot: SlotId, axis: AxisId, width: u32| {
            let buffer = TileBuffer::Planned(slot);
            match slots.iter_mut().find(|(of, _)| *of == buffer) {
                Some((_, slot)) => slot.width = slot.width.max(width),
                None => slots.push((buffer, Slot { axis, width })),
            }
        };
        let mut used = |id: BufferId| {
            if let Some(b) = self.unit.schedule.buffers.get(id.index())
                && let Storage::Tile(slot) = b.place
            {
                add(slot, b.axis, pitch(b.width));
            }
        };
        let mut own = None;
        for call in &self.phase.calls {
            call.op.buffers().into_iter().for_each(&mut used);
            if let Operation::AbsorbedMatMul { transposed: false, e, .. } | Operation::AbsorbedOuter { e, .. } =
                &call.op
            {
                own = own.max(Some((*e, call.axis.0)));
            }
        }
        if let Some((width, axis)) = own {
            slots.push((TileBuffer::Products, Slot { axis: AxisId(axis), width: pitch(width) }));
        }
        slots
    }

    /// The first candidate under which all slots fit in shared memory; under the last, the widest
    /// that do not fit go to scratch.
    fn layout(&self, candidates: [u32; 3], tiling: impl Fn(u32) -> Tiling) -> PhaseLayout {
        let slots = self.tile_buffers();
        let room = u64::from((self.options.shared_limit / 4).saturating_sub(self.sums_of_groups()));
        let size = |t: &Tiling, s: &Slot| u64::from(t.capacity(s.axis)) * u64::from(s.width);
        let whole = |n: u32| tiling((n / ALIGN * ALIGN).max(ALIGN));
        let fits = |t: &Tiling| slots.iter().map(|(_, s)| size(t, s)).sum::<u64>() <= room;
        let chosen = candidates.into_iter().map(whole).find(fits);
        let tiling = chosen.unwrap_or(whole(candidates[2]));
        let mut order: Vec<usize> = (0..slots.len()).collect();
        order.sort_by_key(|&k| std::cmp::Reverse(slots[k].1.width));
        let mut all: u64 = slots.iter().map(|(_, s)| size(&tiling, s)).sum();
        let mut spilled = vec![false; slots.len()];
        for k in order {
            if all <= room {
                break;
            }
            spilled[k] = true;
            all -= size(&tiling, &slots[k].1);
        }
        let (mut laid, mut at, mut scratch) = (Vec::new(), 0, (0, 0));
        for ((buffer, s), spilled) in slots.iter().zip(spilled) {
            let shared = (!spilled).then_some(at);
            laid.push(TileSlot { buffer: *buffer, axis: s.axis, shared, scratch });
            if !spilled {
                // No more than there is room for.
                at += size(&tiling, s) as u32;
            }
            // Those of entries lie in scratch where the tile is long.
            if tiling.entries > 0 && s.axis == tiling.axis {
                scratch.1 = u32::saturating_add(scratch.1, s.width);
            } else if spilled {
                scratch.0 = u32::saturating_add(scratch.0, s.width);
            }
        }
        PhaseLayout { tiling, slots: laid, shared: at, scratch }
    }

    /// Most numbers that the sums of a region's groups of threads take.
    fn sums_of_groups(&self) -> u32 {
        let all = |r: &crate::plan::region::Region| {
            let sums = r.outputs.iter().filter(|o| o.mode != crate::plan::region::OutputMode::Store).count() as u32;
            sums * self.options.threads.min(r.width.saturating_mul(region::SUMMED))
        };
        let regions = self.phase.calls.iter().filter_map(|c| match &c.op {
            Operation::Kernel { kernel, .. } => self.kernels.regions.get(kernel.index()),
            _ => None,
        });
        let per_thread = self.phase.calls.iter().map(|c| match c.op {
            Operation::Statistic { statistic, .. } => device_statistic(statistic).shared_per_thread,
            Operation::SegmentReduce { .. } => 1,
            Operation::Kernel { .. }
            | Operation::Fill { .. }
            | Operation::MatMul { .. }
            | Operation::AbsorbedMatMul { .. }
            | Operation::AbsorbedOuter { .. }
            | Operation::Outer { .. }
            | Operation::Carry { .. }
            | Operation::Unflatten { .. }
            | Operation::Flatten { .. }
            | Operation::Transpose { .. } => 0,
        });
        let parts = per_thread.max().map_or(0, |values| values * self.options.threads);
        regions.map(all).max().unwrap_or(0).max(parts)
    }
}

/// What a call does, for the comment above it.
fn describe(op: &Operation) -> String {
    match op {
        Operation::Kernel { .. } => String::new(),
        Operation::Fill { value, .. } => format!("fill with {value}"),
        Operation::MatMul { k, n, .. } => format!("product by {k} x {n}"),
        Operation::AbsorbedMatMul { transposed, e, n, .. } => {
            format!("folded product by {} x {n}{}", 2 * e, if *transposed { ", transposed" } else { "" })
        }
        Operation::AbsorbedOuter { e, n, .. } => format!("gradients of a folded product by {} x {n}", 2 * e),
        Operation::Outer { k, n, .. } => format!("gradient of a weight, {k} x {n}"),
        Operation::Transpose { k, n, .. } => format!("transposed weight, {k} x {n}"),
        Operation::SegmentReduce { width, .. } => format!("sums over samples of {width} columns"),
        Operation::Carry { width, .. } => format!("states of {width} columns of the step before"),
        Operation::Unflatten { size, width, .. } => format!("vectors as {size} entries of {width} columns"),
        Operation::Flatten { size, width, .. } => format!("{size} entries of {width} columns as vectors"),
        Operation::Statistic { statistic, width, .. } => {
            format!("{} of {width} columns", statistic.description().name)
        }
    }
}
