//! One kernel under construction: arrays are declared as calls name them, tile buffers get their
//! memory, and a barrier is inserted where a call touches what another one wrote since the last
//! barrier.

use super::kernel_ir::{
    Array, ArrayBinding, ArrayId, ArrayView, ElementKind, IndexBound, KernelIr, PartialSum, Rows, Stmt, Var, VarType,
};
use super::{ArgNumbering, SchedulePurpose, ScheduleUnit};
use din_program::cuda::{PointerArg, Precision};
use din_program::schedule::{
    AxisId, AxisKind, BATCH, BufferId, GLOBAL, KernelArg, Operation, Phase, SlotId, Storage, View,
};

/// Memory that two buffers may share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Arena(SlotId),
    Tile(TileBuffer),
    Buffer(BufferId),
    /// Declared by the back end itself.
    Own(ArrayId),
    /// Shared memory of a call: all such arrays lie in one place.
    CallShared,
}

/// A buffer of the tile's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileBuffer {
    /// One of the schedule's.
    Planned(SlotId),
    /// The back end's own, of which a phase has one at most: rows times those of their samples, or
    /// what both gradients of an absorbed product have in common (see `absorb`).
    Products,
}

/// What a call cannot be made of; the program is at fault, not the input.
pub type LoweringError = String;

/// Values from one row of a tile buffer to the next: rows that are read along k lie in other banks
/// than their neighbours (there are 32, and a load of four numbers takes four), eight rows in all
/// of them.
pub fn pitch(width: u32) -> u32 {
    let more = if width < 8 { 0 } else { (width.wrapping_neg().wrapping_add(4)) % 8 };
    width.saturating_add(more)
}

/// Where a tile buffer lies.
#[derive(Clone, Copy, Debug)]
pub struct TileSlot {
    pub buffer: TileBuffer,
    pub axis: AxisId,
    pub shared: Option<u32>,
    pub scratch: (u32, u32),
}

pub struct KernelBuilder<'a> {
    pub unit: &'a ScheduleUnit<'a>,
    pub phase: &'a Phase,
    pub precision: Precision,
    pub numbering: &'a mut ArgNumbering,
    pub kernel: KernelIr,
    pub slots: Vec<TileSlot>,
    /// Where shared memory is free.
    pub base: u32,
    declared: Vec<(KernelArg, ArrayId)>,
    /// Arrays that are also declared with the rows of all tiles; see [`KernelBuilder::whole`].
    whole: Vec<(KernelArg, ArrayId)>,
    /// Offsets and members.
    lists: Vec<(PointerArg, ArrayId)>,
    memory: Vec<Memory>,
    written: Vec<Memory>,
    read: Vec<Memory>,
    /// The product of two views that a call has made and the next one needs, and where it is.
    pub common: Option<((View, View), ArrayId)>,
    /// What was read and written before the tile's first barrier, once there was one.
    first: Option<(Vec<Memory>, Vec<Memory>)>,
    names: u32,
}

impl<'a> KernelBuilder<'a> {
    pub fn new(
        unit: &'a ScheduleUnit<'a>,
        phase: &'a Phase,
        precision: Precision,
        numbering: &'a mut ArgNumbering,
        kernel: KernelIr,
    ) -> Self {
        KernelBuilder {
            unit,
            phase,
            precision,
            numbering,
            kernel,
            slots: Vec::new(),
            base: 0,
            declared: Vec::new(),
            whole: Vec::new(),
            lists: Vec::new(),
            memory: Vec::new(),
            written: Vec::new(),
            read: Vec::new(),
            common: None,
            first: None,
            names: 0,
        }
    }

    /// Whether buffers are addressed by row number here.
    fn by_row_number(&self, place: Storage, axis: AxisId) -> bool {
        let kept = match place {
            Storage::Weight | Storage::UpdateSlot(_) | Storage::Frequency | Storage::UpdateCount => true,
            Storage::Arena(_)
            | Storage::Tile(_)
            | Storage::Partial
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
            | Storage::Gradient
            | Storage::InBatch => false,
        };
        kept && self.unit.purpose == SchedulePurpose::Rows && axis == BATCH
    }

    /// The array of a source, declared on first use.
    pub fn source(&mut self, source: KernelArg) -> Result<ArrayId, LoweringError> {
        if let Some((_, id)) = self.declared.iter().find(|(s, _)| *s == source) {
            return Ok(*id);
        }
        let (array, memory) = match source {
            KernelArg::Buffer(id) => self.buffer(id)?,
            KernelArg::Ancestor { of, to } => {
                let axes = self.unit.axes;
                let written = axes.parent(of) == Some(to)
                    || of == BATCH
                    || axes.steps_of(of).is_some()
                    || axes.steps_of(to) == Some(of)
                    || axes.second_of_pairs(of) == Some(to)
                    || axes.unique(to).is_some();
                if !written || !axes.is_indexed(of, to) {
                    return Err(format!("axis {} above axis {}", to.0, of.0));
                }
                let rows = self.inside(of)?;
                let local = self.kernel.walk.holds(of) && self.kernel.walk.unit() == Some(to);
                let bound = if local { IndexBound::Local(to) } else { IndexBound::Whole(axes.first_name(to)) };
                let name = match axes.kind(to) {
                    AxisKind::Unique(_) => format!("unique{}_{}", to.0, of.0),
                    _ if axes.steps_of(of).is_some() => format!("above{}_{}", to.0, of.0),
                    AxisKind::Steps { .. } => format!("place{}", of.0),
                    AxisKind::Batch { .. } => format!("sample{}", of.0),
                    AxisKind::Request => format!("request{}", of.0),
                    AxisKind::Sequence { .. } | AxisKind::Fixed { .. } => format!("entry{}", of.0),
                    AxisKind::Second { .. } => format!("second{}", of.0),
                    AxisKind::Global | AxisKind::Pairs { .. } => {
                        return Err(format!("axis {} above axis {}", to.0, of.0));
                    }
                };
                (self.addressed(source, name, ElementKind::Index(bound), rows, 1), None)
            }
            KernelArg::Rows { table, feature } => {
                let axis = self.unit.features.get(feature as usize).copied();
                let axis = axis.ok_or_else(|| format!("feature {feature} does not exist"))?;
                let rows = self.inside(axis)?;
                let name = format!("rows{table}_{feature}");
                (self.addressed(source, name, ElementKind::Index(IndexBound::Table(Some(table))), rows, 1), None)
            }
            KernelArg::Table(t) => {
                let width = self.unit.widths.get(t as usize).copied();
                let width = width.ok_or_else(|| format!("table {t} does not exist"))?;
                (self.addressed(source, format!("table{t}"), ElementKind::F32, Rows::Table(Some(t)), width), None)
            }
            KernelArg::RowIndex => {
                let rows = self.inside(BATCH)?;
                (self.addressed(source, "row_index".into(), ElementKind::Index(IndexBound::Table(None)), rows, 1), None)
            }
            KernelArg::UniqueRows { axis, key } => {
                let found = self.unit.axes.unique(axis).and_then(|unique| unique.keys.get(key as usize));
                let Some(&(table, _)) = found else {
                    return Err(format!("key {key} of axis {}", axis.0));
                };
                let rows = self.inside(axis)?;
                let name = format!("unique_rows{}_{key}", axis.0);
                (self.addressed(source, name, ElementKind::Index(IndexBound::Table(Some(table))), rows, 1), None)
            }
            KernelArg::Function(f) => return Err(format!("{f:?} is no array")),
        };
        let id = self.declare(array, memory);
        self.declared.push((source, id));
        Ok(id)
    }

    /// The array of a source with the rows of all tiles: pairs read it at their second entries,
    /// which may lie in another tile.
    pub fn whole(&mut self, source: KernelArg) -> Result<ArrayId, LoweringError> {
        if let Some((_, id)) = self.whole.iter().find(|(s, _)| *s == source) {
            return Ok(*id);
        }
        let id = self.source(source)?;
        let Rows::Local(axis) = self.rows(id) else { return Ok(id) };
        let (array, memory) = (self.array(id).clone(), self.memory(id));
        if !matches!(array.binding, ArrayBinding::Address(_)) {
            return Err(format!("`{}` is read beyond its tile", array.name));
        }
        let whole = Array { name: format!("all_{}", array.name), rows: Rows::Whole(axis), ..array };
        let id = self.declare(whole, Some(memory));
        self.whole.push((source, id));
        Ok(id)
    }

    fn addressed(&mut self, source: KernelArg, name: String, numbers: ElementKind, rows: Rows, width: u32) -> Array {
        let number = self.numbering.source(source);
        Array { name, numbers, rows, width, stride: width, binding: ArrayBinding::Address(number) }
    }

    /// What the elements of a group stand for, elements of `over`.
    pub fn members(&mut self, group: AxisId, over: AxisId) -> ArrayId {
        self.list(PointerArg::Members(group), format!("members{}", group.0), over, over)
    }

    /// Where the elements of a common sequence begin by request, or by sample those of any; of the
    /// samples, by request; of a group, where the members of each begin. Of the whole batch.
    pub fn offsets(&mut self, of: AxisId, by: AxisId) -> ArrayId {
        let into = self.unit.axes.segment_source(by).filter(|_| of == by).unwrap_or(of);
        self.list(PointerArg::Offsets(of), format!("begin{}", of.0), by, into)
    }

    /// Values of elements of `into`, by element of `by`, of the whole batch.
    fn list(&mut self, pointer: PointerArg, name: String, by: AxisId, into: AxisId) -> ArrayId {
        if let Some((_, id)) = self.lists.iter().find(|(p, _)| *p == pointer) {
            return *id;
        }
        let (rows, binding) = (Rows::Whole(by), ArrayBinding::Address(self.numbering.pointer(pointer)));
        let numbers = ElementKind::Index(IndexBound::Whole(into));
        let id = self.declare(Array { name, numbers, rows, width: 1, stride: 1, binding }, None);
        self.lists.push((pointer, id));
        id
    }

    /// The axis of the requests, where the element of `to` above one of `of` is found by the
    /// sample's request.
    pub fn by_request(&self, of: AxisId, to: AxisId) -> Option<AxisId> {
        let axes = self.unit.axes;
        if axes.steps_of(of).is_some() {
            // Their order is not that of the lists.
            return None;
        }
        let per_request = Some(to) == axes.request() || axes.is_per_request(to);
        let on_samples = axes.has_entries(of) && !axes.is_per_request(of);
        if on_samples && per_request && axes.is_indexed(of, to) { axes.request() } else { None }
    }

    /// Rows of an array over an axis: the tile's, where it has them.
    fn inside(&self, axis: AxisId) -> Result<Rows, LoweringError> {
        match axis {
            GLOBAL => Ok(Rows::One),
            d if self.kernel.walk.holds(d) => Ok(Rows::Local(d)),
            d if self.kernel.walk.unit().is_some() && d.index() < self.unit.axes.count() => Ok(Rows::Whole(d)),
            d => Err(format!("axis {} in a phase over axis {}", d.0, self.phase.axis.0)),
        }
    }

    fn buffer(&mut self, id: BufferId) -> Result<(Array, Option<Memory>), LoweringError> {
        let b = self.unit.schedule.buffers.get(id.index()).ok_or_else(|| format!("buffer {} does not exist", id.0))?;
        let rows = if self.by_row_number(b.place, b.axis) { Rows::Table(None) } else { self.inside(b.axis)? };
        let (letter, binding, memory) = match b.place {
            Storage::Tile(slot) => {
                let buffer = TileBuffer::Planned(slot);
                let found = self.slots.iter().find(|s| s.buffer == buffer);
                let found = found.ok_or_else(|| format!("tile slot {} has no place", slot.0))?;
                ("tile", ArrayBinding::Slot { shared: found.shared, scratch: found.scratch }, Memory::Tile(buffer))
            }
            Storage::Partial => {
                let at = self.phase.reductions.iter().position(|r| r.partial == id);
                let at = at.ok_or_else(|| format!("partial {} is not reduced by its phase", id.0))?;
                let offset = self.kernel.partials[at].offset;
                ("partial", ArrayBinding::Partial { offset }, Memory::Buffer(id))
            }
            Storage::Arena(slot) => ("b", ArrayBinding::Address(self.numbering.buffer(id)), Memory::Arena(slot)),
            Storage::Param(_)
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
            | Storage::Gradient
            | Storage::InBatch
            | Storage::Weight
            | Storage::UpdateSlot(_)
            | Storage::Frequency
            | Storage::UpdateCount => {
                let binding = ArrayBinding::Address(self.numbering.buffer(id));
                let name = place_name(b.place);
                return Ok((
                    Array { name, numbers: ElementKind::F32, rows, width: b.width, stride: b.width, binding },
                    Some(Memory::Buffer(id)),
                ));
            }
        };
        let name = format!("{letter}{}", id.0);
        let stride = if matches!(b.place, Storage::Tile(_)) { pitch(b.width) } else { b.width };
        Ok((Array { name, numbers: ElementKind::F32, rows, width: b.width, stride, binding }, Some(memory)))
    }

    fn declare(&mut self, array: Array, memory: Option<Memory>) -> ArrayId {
        let id = ArrayId(self.kernel.arrays.len() as u32);
        self.kernel.arrays.push(array);
        self.memory.push(memory.unwrap_or(Memory::Own(id)));
        id
    }

    /// Values in shared memory that one call uses.
    pub fn shared(&mut self, width: u32) -> ArrayId {
        self.kernel.shared = self.kernel.shared.max(self.base + width);
        self.names += 1;
        let name = format!("sums{}", self.names);
        let array = Array {
            name,
            numbers: ElementKind::F32,
            rows: Rows::One,
            width,
            stride: width,
            binding: ArrayBinding::Shared { offset: self.base },
        };
        let id = self.declare(array, None);
        self.memory[id.0 as usize] = Memory::CallShared;
        id
    }

    /// [`TileBuffer::Products`], which [`super::phase`] made room for.
    pub fn products(&mut self, width: u32) -> Result<ArrayId, LoweringError> {
        let found = self.slots.iter().find(|s| s.buffer == TileBuffer::Products).copied();
        let found = found.ok_or("the products of an absorbed weight have no place")?;
        let rows = self.inside(found.axis)?;
        self.names += 1;
        let array = Array {
            name: format!("products{}", self.names),
            numbers: ElementKind::F32,
            rows,
            width,
            stride: pitch(width),
            binding: ArrayBinding::Slot { shared: found.shared, scratch: found.scratch },
        };
        Ok(self.declare(array, Some(Memory::Tile(TileBuffer::Products))))
    }

    pub fn view(&mut self, view: View, columns: u32) -> Result<ArrayView, LoweringError> {
        let array = self.source(KernelArg::Buffer(view.buffer))?;
        let rows = self.rows(array);
        Ok(ArrayView { array, rows, column: view.column, columns })
    }

    fn array(&self, array: ArrayId) -> &Array {
        self.kernel.array(array).expect("arrays are named by the builder that declares them")
    }

    pub fn rows(&self, array: ArrayId) -> Rows {
        self.array(array).rows
    }

    pub fn width(&self, array: ArrayId) -> u32 {
        self.array(array).width
    }

    pub fn stride(&self, array: ArrayId) -> u32 {
        self.array(array).stride
    }

    pub fn name(&self, array: ArrayId) -> String {
        self.array(array).name.clone()
    }

    /// A variable with a number behind its name where the name alone would be taken.
    pub fn index(&mut self, name: &str, bound: IndexBound) -> Var {
        self.names += 1;
        let name = format!("{name}{}", self.names);
        self.kernel.variable(name, VarType::Index(bound))
    }

    pub fn number(&mut self, name: &str, ty: VarType) -> Var {
        self.names += 1;
        let name = format!("{name}{}", self.names);
        self.kernel.variable(name, ty)
    }

    pub fn memory(&self, array: ArrayId) -> Memory {
        self.memory[array.0 as usize]
    }

    /// Whether an array is a partial sum whose first tile is stored.
    pub fn stored(&self, array: ArrayId) -> bool {
        let at = self.kernel.array(array).map(|a| a.binding);
        let stored = |offset| self.kernel.partials.iter().any(|p| p.offset == offset && p.stored);
        matches!(at, Some(ArrayBinding::Partial { offset }) if stored(offset))
    }

    /// Whether two arrays may lie in the same place.
    pub fn overlap(&self, a: ArrayId, b: ArrayId) -> bool {
        self.memory(a) == self.memory(b)
    }

    /// A barrier, if threads could meet what others read or write since the last one.
    pub fn settle(&mut self, reads: &[ArrayId], writes: &[ArrayId]) -> Option<Stmt> {
        let reads: Vec<Memory> = reads.iter().map(|&a| self.memory(a)).collect();
        let writes: Vec<Memory> = writes.iter().map(|&a| self.memory(a)).collect();
        let meets = reads.iter().any(|m| self.written.contains(m))
            || writes.iter().any(|m| self.written.contains(m) || self.read.contains(m));
        if meets {
            self.settled();
        }
        self.read.extend(reads);
        self.written.extend(writes);
        meets.then_some(Stmt::Barrier)
    }

    /// A barrier was passed.
    pub fn settled(&mut self) {
        let passed = (std::mem::take(&mut self.read), std::mem::take(&mut self.written));
        self.first.get_or_insert(passed);
    }

    /// Sets the barriers at the edges of the tile, where they are needed: after the partial sums
    /// began, and before the next tile.
    pub fn edges(&mut self) {
        let (reads, writes) = self.first.clone().unwrap_or((self.read.clone(), self.written.clone()));
        // What a tile reads and writes by address are rows of its own.
        let shared = |m: &&Memory| match m {
            Memory::Tile(_) | Memory::Own(_) | Memory::CallShared => true,
            Memory::Buffer(id) => self.phase.reductions.iter().any(|r| r.partial == *id),
            Memory::Arena(_) => false,
        };
        let clash = |these: &[Memory], those: &[Memory]| these.iter().filter(shared).any(|m| those.contains(m));
        let again = clash(&writes, &self.written) || clash(&writes, &self.read) || clash(&reads, &self.written);
        let sums = |m: &Memory| matches!(m, Memory::Buffer(_)) && shared(&m);
        self.kernel.begin_barrier = reads.iter().chain(&writes).any(sums);
        self.kernel.end_barrier = again;
    }

    pub fn push(&mut self, statement: Stmt) {
        self.kernel.body.push(statement);
    }
}

/// Whether one call of a phase alone touches a partial sum, and adds to all of it: the gradient of
/// a weight.
fn stored(phase: &Phase, partial: BufferId, width: u32) -> bool {
    let whole = |out: View, rows: u32, n: u32| {
        (out.buffer == partial).then(|| out.column == 0 && rows.saturating_mul(n) == width)
    };
    let mut uses = phase.calls.iter().filter_map(|call| match &call.op {
        Operation::Outer { out, k, n, .. } => whole(*out, *k, *n),
        Operation::AbsorbedOuter { weight: Some((_, out)), e, n, .. } => whole(*out, e.saturating_mul(2), *n),
        Operation::Kernel { args, .. } => args.contains(&KernelArg::Buffer(partial)).then_some(false),
        Operation::Statistic { out, .. } => (*out == partial).then_some(false),
        Operation::Fill { buffer, .. } => (*buffer == partial).then_some(false),
        Operation::MatMul { out, .. }
        | Operation::AbsorbedMatMul { out, .. }
        | Operation::SegmentReduce { out, .. }
        | Operation::Carry { out, .. }
        | Operation::Unflatten { out, .. }
        | Operation::Flatten { out, .. }
        | Operation::Transpose { out, .. } => (out.buffer == partial).then_some(false),
        Operation::AbsorbedOuter { weight: None, .. } => None,
    });
    phase.axis != GLOBAL && uses.next() == Some(true) && uses.next().is_none()
}

/// The partial sums of a phase, one behind the other; and the numbers of a copy.
pub fn partials(unit: &ScheduleUnit<'_>, phase: &Phase) -> Result<(Vec<PartialSum>, u32), LoweringError> {
    let (mut partials, mut offset) = (Vec::new(), 0u32);
    for r in &phase.reductions {
        let width = unit.schedule.buffers.get(r.partial.index()).map(|b| b.width);
        let width = width.ok_or_else(|| format!("buffer {} does not exist", r.partial.0))?;
        let start = r.combine.start();
        partials.push(PartialSum { offset, width, start, stored: stored(phase, r.partial, width) });
        let end = offset.checked_add(width).and_then(|end| end.checked_next_multiple_of(din_program::cuda::ALIGN));
        offset = end.ok_or("the partial sums of a phase are more than 2^32 values")?;
    }
    Ok((partials, offset))
}

fn place_name(place: Storage) -> String {
    match place {
        Storage::Arena(s) => format!("arena{}", s.0),
        Storage::Tile(s) => format!("tile{}", s.0),
        Storage::Partial => "partial".into(),
        Storage::Param(k) => format!("param{k}"),
        Storage::State(k) => format!("state{k}"),
        Storage::Dense(k) => format!("dense{k}"),
        Storage::Label(k) => format!("label{k}"),
        Storage::Present(k) => format!("present{k}"),
        Storage::Length(d) => format!("length{}", d.0),
        Storage::Position(d) => format!("position{}", d.0),
        Storage::SampleNumber(d) => format!("sample_number{}", d.0),
        Storage::Components(width) => format!("components{width}"),
        Storage::DropoutKey(site) => format!("dropout_key{site}"),
        Storage::Count(d) => format!("total{}", d.0),
        Storage::Step => "step".into(),
        Storage::Epoch => "epoch".into(),
        Storage::SquaredNorms => "squared_norms".into(),
        Storage::Weight => "weight".into(),
        Storage::Gradient => "gradient".into(),
        Storage::InBatch => "touched".into(),
        Storage::UpdateSlot(k) => format!("slot{k}"),
        Storage::Frequency => "row_count".into(),
        Storage::UpdateCount => "touches".into(),
    }
}
