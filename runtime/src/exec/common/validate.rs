//! Checks a schedule once, when a program is loaded, so that running it cannot leave its buffers.
//! What a program says is input: a contradiction is an error with the location of what asked for
//! the call. Machine code itself is trusted, as that of any executable is: that it keeps to the
//! signature recorded beside it cannot be seen.

use super::CheckError;
use super::model::MAX_SLOTS;
use din_program::schedule::{
    AccessKind, AxisId, AxisKind, AxisTree, BATCH, Buffer, BufferId, BufferUse, Call, Combine, Extent, GLOBAL,
    KernelArg, MAX_WIDTH, Operation, Phase, Schedule, ScheduleRoot, Storage, View,
};
use din_program::schema::FeatureKind;
use din_program::{Program, SlotScope, TablePrecision, UpdateSlot};

/// What the schedule is for: it decides which places it may name.
#[derive(Clone, Copy, Debug)]
pub enum ScheduleRole<'a> {
    /// Training or inference of the model, on tables of a precision.
    Step { tables: TablePrecision },
    /// An update of rows of `width` weights.
    Rows { width: u32, slots: &'a [UpdateSlot] },
    /// An update of a tensor, over its elements.
    Tensor { slots: &'a [UpdateSlot] },
}

impl ScheduleRole<'_> {
    /// Training or inference on tables as they are trained.
    pub const F32_STEP: Self = Self::Step { tables: TablePrecision::F32 };
}

pub struct Validator<'a> {
    pub program: &'a Program,
    pub schedule: &'a Schedule,
    /// For messages: `train`, `update adam`.
    pub name: &'a str,
    pub role: ScheduleRole<'a>,
    pub axes: &'a AxisTree,
}

pub(super) type Validity = Result<(), String>;

/// The text only where the condition does not hold.
pub(super) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Validity {
    if holds { Ok(()) } else { Err(why()) }
}

impl Validator<'_> {
    pub fn check(&self) -> Result<(), CheckError> {
        self.axes().and_then(|()| self.uniques()).map_err(|why| self.error("", why))?;
        for phase in &self.schedule.phases {
            self.phase(phase).map_err(|why| self.error("", why))?;
            for call in &phase.calls {
                self.call(phase, call).map_err(|why| self.error(&call.location, why))?;
            }
        }
        for (i, root) in self.schedule.roots.iter().enumerate() {
            self.root(root).map_err(|why| self.error("", why))?;
            if self.schedule.roots[..i].iter().any(|other| self.same(root, other)) {
                return Err(self.error("", format!("two results for {root:?}")));
            }
        }
        Ok(())
    }

    fn error(&self, location: &str, why: String) -> CheckError {
        CheckError::Schedule { schedule: self.name.to_string(), location: location.to_string(), why }
    }

    fn axes(&self) -> Validity {
        let axes = &self.schedule.axes;
        axes.check()?;
        // Those of the model's data, then fixed ones, pairs of entries, steps of recurrences and
        // unique ones.
        let mut expected = match self.role {
            ScheduleRole::Step { .. } => AxisTree::of_schema(&self.program.schema),
            ScheduleRole::Rows { .. } | ScheduleRole::Tensor { .. } => AxisTree::rows(),
        };
        for (_, axis) in axes.iter().skip(expected.count()) {
            let added = match axis.kind {
                AxisKind::Fixed { .. }
                | AxisKind::Second { .. }
                | AxisKind::Steps { .. }
                | AxisKind::Pairs { .. }
                | AxisKind::Unique(_) => true,
                AxisKind::Global | AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Sequence { .. } => false,
            };
            if matches!(self.role, ScheduleRole::Step { .. }) && added {
                expected.push(axis.clone());
            }
        }
        ensure(*axes == expected, || format!("expected the axes {expected:?}, found {axes:?}"))?;
        for slot in self.schedule.slots.iter().chain(&self.schedule.tile_slots) {
            self.axis(slot.axis)?;
            ensure(slot.width <= MAX_WIDTH, || format!("a slot of width {}", slot.width))?;
        }
        Ok(())
    }

    /// What the keys of unique axes name is on the axis that they join, and has row numbers.
    fn uniques(&self) -> Validity {
        for (id, unique) in self.schedule.axes.uniques() {
            for &(table, feature) in &unique.keys {
                self.row_numbers(table, feature)?;
                ensure(self.feature_axis(feature) == Some(unique.over), || {
                    format!("axis {} joins axis {} by feature {feature}, which is not on it", id.0, unique.over.0)
                })?;
            }
        }
        Ok(())
    }

    fn row_numbers(&self, table: u32, feature: u32) -> Validity {
        let found = self.program.schema.features.get(feature as usize);
        let categorical = found.is_some_and(|f| !matches!(f.kind, FeatureKind::Dense { .. }));
        let served = self.program.tables.get(table as usize).is_some_and(|t| t.features.contains(&feature));
        ensure(categorical && served && matches!(self.role, ScheduleRole::Step { .. }), || {
            format!("row numbers of feature {feature} in table {table}, which does not resolve it here")
        })
    }

    pub fn axis(&self, d: AxisId) -> Validity {
        let count = self.schedule.axes.count();
        ensure(d.index() < count, || format!("axis {} of {count}", d.0))
    }

    pub fn sequence(&self, d: AxisId) -> Validity {
        self.axis(d)?;
        ensure(self.axes.has_entries(d), || format!("axis {} has no entries", d.0))
    }

    fn phase(&self, phase: &Phase) -> Validity {
        self.axis(phase.axis)?;
        ensure(phase.tile_rows > 0, || "a phase with tiles of no rows".into())?;
        for (i, r) in phase.reductions.iter().enumerate() {
            let (partial, into) = (self.buffer(r.partial)?, self.buffer(r.into)?);
            ensure(partial.place == Storage::Partial, || {
                format!("reduction of buffer {}, which is no partial", r.partial.0)
            })?;
            ensure(matches!(into.place, Storage::Arena(_)) && into.axis == GLOBAL, || {
                format!("reduction into buffer {}, which is not of the arena and global", r.into.0)
            })?;
            let again = phase.reductions[..i].iter().any(|o| o.partial == r.partial || o.into == r.into);
            ensure(!again, || format!("buffers {} and {} are reduced twice", r.partial.0, r.into.0))?;
            let fits = r.combine.result_width(partial.width) == Some(into.width);
            ensure(fits, || format!("reduction of width {} into width {}", partial.width, into.width))?;
        }
        self.recurrences(phase)
    }

    /// Recurrences are consecutive calls, element by element, over the steps that the phase is
    /// over.
    fn recurrences(&self, phase: &Phase) -> Validity {
        let mut next = 0;
        for r in &phase.recurrences {
            let inside = next <= r.calls.start && r.calls.start < r.calls.end;
            ensure(inside && r.calls.end as usize <= phase.calls.len(), || {
                format!("a recurrence of calls {:?} of {}", r.calls, phase.calls.len())
            })?;
            ensure(self.axes.steps_of(phase.axis).is_some(), || {
                format!("a recurrence in a phase over axis {}", phase.axis.0)
            })?;
            for call in &phase.calls[r.calls.start as usize..r.calls.end as usize] {
                let by_element =
                    matches!(call.op, Operation::Kernel { .. } | Operation::MatMul { .. } | Operation::Carry { .. });
                ensure(by_element && call.axis == phase.axis, || {
                    format!("a call of a recurrence over axis {} that is not element by element", call.axis.0)
                })?;
            }
            next = r.calls.end;
        }
        Ok(())
    }

    /// The buffer, with its place checked.
    pub fn buffer(&self, id: BufferId) -> Result<&Buffer, String> {
        let count = self.schedule.buffers.len();
        let b = self.schedule.buffers.get(id.index()).ok_or_else(|| format!("buffer {} of {count}", id.0))?;
        self.axis(b.axis)?;
        ensure(b.width > 0 && b.width <= MAX_WIDTH, || format!("buffer {} of width {}", id.0, b.width))?;
        self.place(id, b)?;
        Ok(b)
    }

    fn place(&self, id: BufferId, b: &Buffer) -> Validity {
        let is = |axis: AxisId, width: u32| {
            ensure(b.axis == axis && b.width == width, || {
                format!(
                    "buffer {} ({:?}) has axis {} and width {}, expected axis {} and width {width}",
                    id.0, b.place, b.axis.0, b.width, axis.0
                )
            })
        };
        let slot = |slots: &[din_program::schedule::Slot], slot: u32| {
            let found = slots.get(slot as usize);
            ensure(found.is_some_and(|s| s.axis == b.axis && s.width >= b.width), || {
                format!("buffer {} ({:?}) does not fit its slot {found:?}", id.0, b.place)
            })
        };
        match b.place {
            Storage::Arena(s) => return slot(&self.schedule.slots, s.0),
            Storage::Tile(s) => return slot(&self.schedule.tile_slots, s.0),
            Storage::Partial => return is(GLOBAL, b.width),
            Storage::Step | Storage::Epoch => return is(GLOBAL, 1),
            Storage::Count(d) => {
                self.axis(d)?;
                return is(GLOBAL, 1);
            }
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
            | Storage::SquaredNorms
            | Storage::Weight
            | Storage::Gradient
            | Storage::UpdateSlot(_)
            | Storage::InBatch
            | Storage::Frequency
            | Storage::UpdateCount => {}
        }
        let foreign = || Err(format!("buffer {} is {:?}, which this schedule cannot have", id.0, b.place));
        match self.role {
            ScheduleRole::Step { .. } => self.step_place(b, &is).unwrap_or_else(foreign),
            ScheduleRole::Rows { .. } | ScheduleRole::Tensor { .. } if b.place == Storage::SquaredNorms => {
                is(GLOBAL, narrow(self.program.squared_norms.len()))
            }
            ScheduleRole::Rows { width, slots } => match b.place {
                Storage::Weight | Storage::Gradient => is(BATCH, width),
                Storage::Frequency | Storage::UpdateCount | Storage::InBatch => is(BATCH, 1),
                Storage::UpdateSlot(k) => {
                    match slots.get(k as usize).filter(|_| (k as usize) < MAX_SLOTS).map(|s| s.per) {
                        Some(SlotScope::Weight) => is(BATCH, width),
                        Some(SlotScope::Row) => is(BATCH, 1),
                        Some(SlotScope::Tensor) => is(GLOBAL, 1),
                        None => foreign(),
                    }
                }
                _ => foreign(),
            },
            ScheduleRole::Tensor { slots } => match b.place {
                Storage::Weight | Storage::Gradient => is(BATCH, 1),
                Storage::UpdateSlot(k) => {
                    match slots.get(k as usize).filter(|_| (k as usize) < MAX_SLOTS).map(|s| s.per) {
                        Some(SlotScope::Weight) => is(BATCH, 1),
                        Some(SlotScope::Row | SlotScope::Tensor) => is(GLOBAL, 1),
                        None => foreign(),
                    }
                }
                _ => foreign(),
            },
        }
    }

    /// `None` for places that a step does not have.
    fn step_place(&self, b: &Buffer, is: &dyn Fn(AxisId, u32) -> Validity) -> Option<Validity> {
        let p = self.program;
        Some(match b.place {
            Storage::Param(k) => is(GLOBAL, narrow(p.parameters.get(k as usize)?.width())),
            Storage::State(k) => is(GLOBAL, narrow(p.states.get(k as usize)?.width())),
            Storage::Dense(k) => match p.schema.features.get(k as usize)?.kind {
                FeatureKind::Dense { width } => is(self.feature_axis(k)?, width),
                FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => return None,
            },
            Storage::Label(k) | Storage::Present(k) => {
                p.schema.labels.get(k as usize)?;
                is(BATCH, 1)
            }
            Storage::Position(d) => self.sequence(d).and_then(|()| is(d, 1)),
            Storage::SampleNumber(d) if d == BATCH || self.axes.request() == Some(d) => is(d, 1),
            Storage::Components(width) => is(GLOBAL, width),
            Storage::DropoutKey(_) => is(GLOBAL, 2),
            Storage::Length(d) => {
                self.sequence(d).and_then(|()| is(self.axes.parent(d).expect("a sequence has a parent"), 1))
            }
            _ => return None,
        })
    }

    pub(super) fn feature_axis(&self, feature: u32) -> Option<AxisId> {
        let feature = self.program.schema.features.get(feature as usize)?;
        self.axes.feature(feature)
    }

    /// A buffer seen through a view, of `columns` columns at each element.
    fn view(&self, v: View, columns: usize) -> Result<&Buffer, String> {
        let b = self.buffer(v.buffer)?;
        ensure(v.column as usize + columns <= b.width as usize, || {
            format!(
                "columns {}..{} of buffer {} of width {}",
                v.column,
                v.column as usize + columns,
                v.buffer.0,
                b.width
            )
        })?;
        let by_number = matches!(self.role, ScheduleRole::Rows { .. })
            && matches!(b.place, Storage::Weight | Storage::UpdateSlot(_) | Storage::Frequency | Storage::UpdateCount);
        ensure(!by_number, || {
            format!("buffer {} is addressed by row number, which only generated code does", v.buffer.0)
        })?;
        Ok(b)
    }

    /// A view of the call's own axis.
    fn along(&self, call: &Call, v: View, columns: u32) -> Result<&Buffer, String> {
        let b = self.view(v, columns as usize)?;
        ensure(b.axis == call.axis, || {
            format!("buffer {} of axis {} in a call over axis {}", v.buffer.0, b.axis.0, call.axis.0)
        })?;
        Ok(b)
    }

    /// A `k x n` matrix in a global buffer.
    fn matrix(&self, v: View, stride: u32, k: u32, n: u32) -> Result<&Buffer, String> {
        let size = if k == 0 || n == 0 { 0 } else { (k as usize - 1) * stride as usize + n as usize };
        let b = self.view(v, size)?;
        ensure(b.axis == GLOBAL, || format!("buffer {} is used as a matrix but is not once", v.buffer.0))?;
        Ok(b)
    }

    /// A view of the samples.
    fn on_samples(&self, v: View, columns: u32) -> Result<&Buffer, String> {
        let b = self.view(v, columns as usize)?;
        ensure(b.axis == BATCH, || format!("buffer {} is not on the samples", v.buffer.0))?;
        Ok(b)
    }

    /// A product with an absorbed weight runs over a sequence, and its sizes are plausible.
    fn absorbed(&self, call: &Call, e: u32, n: u32) -> Validity {
        let sequence = self.axes.parent(call.axis) == Some(BATCH) && self.axes.has_entries(call.axis);
        ensure(sequence, || format!("an absorbed product over axis {}", call.axis.0))?;
        ensure(e > 0 && n > 0 && u64::from(e) * u64::from(n) < 1 << 28, || format!("an absorbed product of {e} x {n}"))
    }

    fn writable(&self, v: View, b: &Buffer) -> Validity {
        ensure(matches!(b.place, Storage::Arena(_) | Storage::Tile(_)), || {
            format!("buffer {} ({:?}) is written", v.buffer.0, b.place)
        })
    }

    fn partial(&self, phase: &Phase, id: BufferId) -> Result<&Buffer, String> {
        let b = self.buffer(id)?;
        ensure(b.place == Storage::Partial, || format!("buffer {} is no partial", id.0))?;
        ensure(phase.reductions.iter().any(|r| r.partial == id), || {
            format!("partial {} is not reduced by its phase", id.0)
        })?;
        Ok(b)
    }

    fn call(&self, phase: &Phase, call: &Call) -> Validity {
        self.axis(call.axis)?;
        ensure(call.axis != GLOBAL || phase.axis == GLOBAL, || {
            format!("a call over once in a phase over axis {}", phase.axis.0)
        })?;
        ensure(phase.axis == GLOBAL || self.axes.tile_axis(call.axis) == self.axes.tile_axis(phase.axis), || {
            format!("a call over axis {} in a phase over axis {}", call.axis.0, phase.axis.0)
        })?;
        ensure(self.axes.steps_of(call.axis).is_none() || call.axis == phase.axis, || {
            format!("a call over the steps of axis {} in a phase over axis {}", call.axis.0, phase.axis.0)
        })?;
        match &call.op {
            Operation::Kernel { kernel, args } => {
                let kernels = &self.program.kernels;
                let found = kernels.get(kernel.index());
                let found = found.ok_or_else(|| format!("kernel {} of {}", kernel.0, kernels.len()))?;
                for arg in args {
                    self.source(phase, *arg)?;
                }
                self.signature(call, &found.signature, args)?;
            }
            Operation::Fill { .. }
            | Operation::MatMul { .. }
            | Operation::Outer { .. }
            | Operation::SegmentReduce { .. } => {}
            Operation::Carry { .. } => {
                let number = phase.calls.iter().position(|c| std::ptr::eq(c, call)).expect("a call of the phase");
                let inside = phase.recurrences.iter().any(|r| r.calls.contains(&(number as u32)));
                ensure(inside, || "a state is carried outside of a recurrence".into())?;
            }
            Operation::Unflatten { size, .. } | Operation::Flatten { size, .. } => {
                let fixed = self.axes.fixed(call.axis) == Some(*size) && self.axes.first_name(call.axis) == call.axis;
                ensure(fixed, || format!("vectors of {size} parts over axis {}", call.axis.0))?;
            }
            Operation::AbsorbedMatMul { e, n, .. } | Operation::AbsorbedOuter { e, n, .. } => {
                self.absorbed(call, *e, *n)?;
            }
            Operation::Transpose { .. } => {
                ensure(call.axis == GLOBAL, || "a transposition that is not once".into())?;
            }
            Operation::Statistic { statistic, out, width, .. } => {
                let (b, name) = (self.partial(phase, *out)?, statistic.description().name);
                ensure(statistic.components(b.width) == Some(*width), || {
                    format!("{name} of width {width} into a partial of width {}", b.width)
                })?;
                let combine = Combine::Statistic(*statistic);
                let reduced = phase.reductions.iter().any(|r| r.partial == *out && r.combine == combine);
                ensure(reduced, || format!("partial {out:?} of {name} is reduced otherwise"))?;
            }
        }
        let uses = call.op.uses();
        for operand in &uses {
            self.operand(phase, call, operand)?;
        }
        for written in uses.iter().filter(|u| u.access != AccessKind::Read) {
            // A product may write columns of the buffer that it reads other columns of.
            let apart = |read: &BufferUse| match (&call.op, read.columns, written.columns) {
                (Operation::MatMul { .. }, Some(r), Some(w)) => {
                    let same_rows = read.extent == Extent::Elements && written.extent == Extent::Elements;
                    let before = |a: &BufferUse, columns: u32, b: &BufferUse| a.view.column + columns <= b.view.column;
                    same_rows && (before(read, r, written) || before(written, w, read))
                }
                _ => false,
            };
            let read = uses.iter().filter(|u| u.access == AccessKind::Read);
            let over = read.filter(|r| r.view.buffer == written.view.buffer).find(|r| !apart(r));
            ensure(over.is_none(), || {
                format!("the result is written over an operand, buffer {}", written.view.buffer.0)
            })?;
        }
        Ok(())
    }

    /// One operand of a call other than a kernel's.
    fn operand(&self, phase: &Phase, call: &Call, operand: &BufferUse) -> Validity {
        let BufferUse { view, extent, columns, access } = *operand;
        // All columns that there are: any view fits.
        let count = columns.map_or(0, |columns| columns);
        let b = match extent {
            Extent::Elements => self.along(call, view, count)?,
            Extent::Samples => self.on_samples(view, count)?,
            Extent::Summed => {
                let from = self.axes.segment_source(call.axis);
                let b = self.view(view, count as usize)?;
                ensure(Some(b.axis) == from && !matches!(b.place, Storage::Tile(_)), || {
                    format!("buffer {} of axis {} summed over axis {}", view.buffer.0, b.axis.0, call.axis.0)
                })?;
                b
            }
            Extent::Matrix { rows, stride } => {
                let b = self.matrix(view, stride, rows, count)?;
                ensure(b.place != Storage::Partial, || {
                    format!("buffer {} is used as a matrix but is a partial", view.buffer.0)
                })?;
                b
            }
            Extent::Partial { rows } => {
                self.partial(phase, view.buffer)?;
                self.matrix(view, count, rows, count)?;
                return Ok(());
            }
        };
        if access == AccessKind::Read { Ok(()) } else { self.writable(view, b) }
    }

    pub fn source(&self, phase: &Phase, source: KernelArg) -> Validity {
        match source {
            KernelArg::Buffer(id) => {
                let b = self.buffer(id)?;
                if b.place == Storage::Partial {
                    self.partial(phase, id)?;
                }
                let gathered = b.place == Storage::Gradient && matches!(self.role, ScheduleRole::Rows { .. });
                ensure(!gathered || phase.axis == BATCH, || {
                    "row gradients are read once, outside of their rows".into()
                })?;
                Ok(())
            }
            KernelArg::Ancestor { of, to } => {
                self.axis(of)?;
                self.axis(to)?;
                ensure(self.axes.is_indexed(of, to), || {
                    format!("elements of axis {} above those of axis {}", to.0, of.0)
                })
            }
            KernelArg::Rows { table, feature } => self.row_numbers(table, feature),
            KernelArg::UniqueRows { axis, key } => {
                self.axis(axis)?;
                let found = self.axes.unique(axis).is_some_and(|unique| (key as usize) < unique.keys.len());
                ensure(found, || format!("key {key} of axis {}", axis.0))
            }
            KernelArg::Table(t) => ensure(
                (t as usize) < self.program.tables.len() && matches!(self.role, ScheduleRole::Step { .. }),
                || format!("table {t} of {}", self.program.tables.len()),
            ),
            KernelArg::RowIndex => ensure(matches!(self.role, ScheduleRole::Rows { .. }), || {
                "a row index outside of an update of rows".into()
            }),
            KernelArg::Function(_) => Ok(()),
        }
    }

    /// A result: readable after the phases.
    fn result(&self, id: BufferId, axis: AxisId, width: usize) -> Validity {
        let b = self.buffer(id)?;
        ensure(matches!(b.place, Storage::Arena(_)), || {
            format!("result {} ({:?}) is not in the arena", id.0, b.place)
        })?;
        ensure(b.axis == axis && b.width as usize == width, || {
            format!(
                "result {} has axis {} and width {}, expected axis {} and width {width}",
                id.0, b.axis.0, b.width, axis.0
            )
        })
    }

    fn root(&self, root: &ScheduleRoot) -> Validity {
        let p = self.program;
        match root {
            ScheduleRoot::Loss(id) => self.result(*id, GLOBAL, 1),
            ScheduleRoot::Prediction { index, buffer } => {
                let found = p.predictions.get(*index as usize).ok_or_else(|| format!("prediction {index}"))?;
                self.result(*buffer, BATCH, found.distribution.width())
            }
            ScheduleRoot::Output { index, buffer } => {
                let found = p.outputs.get(*index as usize).ok_or_else(|| format!("output {index}"))?;
                self.result(*buffer, BATCH, found.width as usize)
            }
            ScheduleRoot::Named { buffer, .. } => {
                let b = self.buffer(*buffer)?;
                self.result(*buffer, b.axis, b.width as usize)
            }
            ScheduleRoot::State { state, buffer } => {
                let width = p.states.get(*state as usize).map(|s| s.width()).ok_or_else(|| format!("state {state}"))?;
                self.result(*buffer, GLOBAL, width)
            }
            ScheduleRoot::ParamGradient { param, buffer } => {
                let found = p.parameters.get(*param as usize).ok_or_else(|| format!("parameter {param}"))?;
                self.result(*buffer, GLOBAL, found.width())
            }
            ScheduleRoot::RowGradient { table, feature, view } => {
                let found = p.tables.get(*table as usize).ok_or_else(|| format!("table {table}"))?;
                ensure(found.features.contains(feature), || {
                    format!("gradient of table `{}` for feature {feature}, which it does not serve", found.name)
                })?;
                let b = self.view(*view, found.width as usize)?;
                let axis = self.feature_axis(*feature).ok_or_else(|| format!("feature {feature}"))?;
                let unique = self.axes.unique(b.axis);
                let joined = unique.is_some_and(|unique| unique.keys.contains(&(*table, *feature)));
                self.result(view.buffer, if joined { b.axis } else { axis }, b.width as usize)
            }
        }
    }

    /// Whether two roots are the same result.
    fn same(&self, a: &ScheduleRoot, b: &ScheduleRoot) -> bool {
        let axis = |v: &View| self.schedule.buffers.get(v.buffer.index()).map(|b| b.axis);
        match (a, b) {
            (ScheduleRoot::Loss(_), ScheduleRoot::Loss(_)) => true,
            (ScheduleRoot::Prediction { index: a, .. }, ScheduleRoot::Prediction { index: b, .. }) => a == b,
            (ScheduleRoot::Output { index: a, .. }, ScheduleRoot::Output { index: b, .. }) => a == b,
            (ScheduleRoot::State { state: a, .. }, ScheduleRoot::State { state: b, .. }) => a == b,
            (ScheduleRoot::ParamGradient { param: a, .. }, ScheduleRoot::ParamGradient { param: b, .. }) => a == b,
            (
                ScheduleRoot::RowGradient { table: a, feature: f, view: v },
                ScheduleRoot::RowGradient { table: b, feature: g, view: w },
            ) => (a, f) == (b, g) && axis(v) == axis(w),
            _ => false,
        }
    }
}

/// The width of a tensor as buffers have it. One that is too large for them becomes `u32::MAX`,
/// which is above [`MAX_WIDTH`] and so equals the width of no checked buffer.
fn narrow(width: usize) -> u32 {
    width.min(u32::MAX as usize) as u32
}
