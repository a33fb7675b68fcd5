//! A checked schedule in the form that runs: every call with its strides, every argument with how
//! its address is found.

use crate::exec::ExecError;
use crate::exec::common::{ScheduleRole, Validator};
use crate::jit::KernelFn;
use crate::kernels;
use din_program::Program;
use din_program::schedule::{
    AbsorbedWeight, AxisId, AxisTree, Buffer, BufferId, BufferUse, Call, Combine, Extent, GLOBAL, KernelArg, Operation,
    Phase, Schedule, ScheduleRoot, SegmentReduction, Slot, Statistic, StepLoop, Storage, Work,
};

/// How an argument's base address is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum ArgSource {
    /// The same for the whole step; index into the step's buffer addresses.
    Buffer(u32),
    /// Other addresses of the step: parents, row numbers, tables, functions.
    Argument(KernelArg),
    /// Moved back by the tile's first element.
    Tile { slot: u32, axis: AxisId, width: u32 },
    /// The chunk's copy, at `offset` floats.
    Partial { offset: usize },
    /// Summed row gradients of the tile.
    Gradient { width: u32 },
}

/// A call's operation. Widths are in floats.
#[derive(Clone, Copy, Debug)]
pub(super) enum PreparedOp {
    /// `args`: its first argument; the others follow.
    Kernel {
        function: KernelFn,
        args: usize,
    },
    Fill {
        out: StridedOperand,
        width: usize,
        value: f32,
    },
    MatMul {
        x: StridedOperand,
        w: StridedOperand,
        out: StridedOperand,
        k: usize,
        n: usize,
        accumulate: bool,
    },
    AbsorbedMatMul(AbsorbedMatMul),
    AbsorbedOuter(AbsorbedOuter),
    /// `first`: in the chunk's first tile it stores instead of adding.
    Outer {
        x: StridedOperand,
        g: StridedOperand,
        out: StridedOperand,
        k: usize,
        n: usize,
        first: bool,
    },
    Transpose {
        w: StridedOperand,
        out: StridedOperand,
        k: usize,
        n: usize,
    },
    Statistic {
        statistic: Statistic,
        x: StridedOperand,
        out: StridedOperand,
        width: usize,
    },
    SegmentReduce(SegmentReduce),
    Carry {
        x: StridedOperand,
        out: StridedOperand,
        width: usize,
    },
    Unflatten(FixedEntries),
    Flatten(FixedEntries),
}

/// See [`Operation::AbsorbedMatMul`].
#[derive(Clone, Copy, Debug)]
pub(super) struct AbsorbedMatMul {
    pub x: StridedOperand,
    pub q: StridedOperand,
    pub w: StridedOperand,
    pub transposed: bool,
    pub out: StridedOperand,
    pub e: usize,
    pub n: usize,
}

/// See [`Operation::AbsorbedOuter`].
#[derive(Clone, Copy, Debug)]
pub(super) struct AbsorbedOuter {
    pub x: StridedOperand,
    pub g: StridedOperand,
    pub weight: Option<WeightGradient>,
    pub sample: Option<SampleGradient>,
    pub e: usize,
    pub n: usize,
}

/// The gradient of an absorbed weight, a partial.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightGradient {
    pub q: StridedOperand,
    pub out: StridedOperand,
}

/// The gradient of what was absorbed, by sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleGradient {
    pub w: StridedOperand,
    pub out: StridedOperand,
}

/// See [`Operation::SegmentReduce`].
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentReduce {
    pub how: SegmentReduction,
    pub x: StridedOperand,
    pub out: StridedOperand,
    pub width: usize,
    /// What `x` is on.
    pub from: AxisId,
}

/// See [`Operation::Unflatten`].
#[derive(Clone, Copy, Debug)]
pub(super) struct FixedEntries {
    /// Of the entries.
    pub entries: StridedOperand,
    /// Of the samples.
    pub samples: StridedOperand,
    /// Entries of a sample.
    pub size: usize,
    /// Columns of an entry.
    pub width: usize,
}

/// Where an operation finds a matrix, or a row per element.
#[derive(Clone, Copy, Debug)]
pub(super) struct StridedOperand {
    /// Index into the phase's arguments.
    pub arg: usize,
    /// First column.
    pub column: usize,
    /// Floats from one row to the next; of a partial, its width.
    pub stride: usize,
}

#[derive(Debug)]
pub(super) struct PreparedCall {
    pub axis: AxisId,
    pub op: PreparedOp,
    /// For profiles.
    pub name: String,
    pub location: String,
    pub work: Work,
}

/// Calls that run step by step.
#[derive(Clone, Debug)]
pub(super) struct PreparedRecurrence {
    /// Indices into [`PreparedPhase::calls`].
    pub calls: std::ops::Range<usize>,
    pub backward: bool,
}

/// A partial buffer of a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartialCopy {
    pub offset: usize,
    pub width: usize,
    /// What a chunk's copy holds before its first tile; `None`: its first call stores all of it.
    pub start: Option<f32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PreparedReduction {
    pub offset: usize,
    /// Of the partial.
    pub width: usize,
    pub into: BufferId,
    pub combine: Combine,
}

#[derive(Debug)]
pub(super) struct PreparedPhase {
    pub axis: AxisId,
    /// Index into [`PreparedSchedule::tilings`].
    pub tiling: usize,
    pub calls: Vec<PreparedCall>,
    pub recurrences: Vec<PreparedRecurrence>,
    pub args: Vec<ArgSource>,
    /// Arguments that change from tile to tile.
    pub tile_args: Vec<u32>,
    /// Buffers of the whole step that the calls read or write, prefetched for the next tile:
    /// (buffer, axis, width), each once.
    pub prefetched: Vec<(u32, AxisId, usize)>,
    pub partials: Vec<PartialCopy>,
    pub reductions: Vec<PreparedReduction>,
    /// Whether a call reads summed row gradients.
    pub gradient: bool,
    /// The phase that counts the updates of rows: the first over them.
    pub counts_updates: bool,
}

/// A schedule ready to run.
#[derive(Debug)]
pub(super) struct PreparedSchedule {
    pub name: String,
    pub axes: AxisTree,
    pub buffers: Vec<Buffer>,
    /// By buffer: whether a call or a result names it; the others were not checked.
    pub used: Vec<bool>,
    pub slots: Vec<Slot>,
    pub tile_slots: Vec<Slot>,
    pub roots: Vec<ScheduleRoot>,
    pub phases: Vec<PreparedPhase>,
    /// Distinct pairs of axis and tile size.
    pub tilings: Vec<(AxisId, u32)>,
    /// By tiling, by axis: whether its tiles hold tile buffers of the axis.
    pub tiled: Vec<Vec<bool>>,
    /// Pairs of axes: a call reads which element of the second is above each of the first.
    pub ancestors: Vec<(AxisId, AxisId)>,
    /// Floats of one chunk's partial copies.
    pub partial_floats: usize,
    /// Most arguments of a phase.
    pub most_args: usize,
    /// Floats of the largest partial of a statistic.
    pub statistic_floats: usize,
    /// Floats of the largest panel of an absorbed weight.
    pub panel_floats: usize,
}

impl PreparedRecurrence {
    fn new(recurrence: &StepLoop) -> PreparedRecurrence {
        let calls = recurrence.calls.start as usize..recurrence.calls.end as usize;
        PreparedRecurrence { calls, backward: recurrence.backward }
    }
}

impl PreparedSchedule {
    /// Leaves the updates of rows uncounted: another schedule over them counts.
    pub fn count_no_updates(&mut self) {
        self.phases.iter_mut().for_each(|phase| phase.counts_updates = false);
    }

    pub fn new(
        program: &Program,
        schedule: &Schedule,
        name: &str,
        role: ScheduleRole<'_>,
        kernels: &[KernelFn],
    ) -> Result<PreparedSchedule, ExecError> {
        let axes = &schedule.axes;
        Validator { program, schedule, name, role, axes }.check()?;
        let mut prepared = PreparedSchedule {
            name: name.to_string(),
            axes: axes.clone(),
            buffers: schedule.buffers.clone(),
            used: vec![false; schedule.buffers.len()],
            slots: schedule.slots.clone(),
            tile_slots: schedule.tile_slots.clone(),
            roots: schedule.roots.clone(),
            phases: Vec::new(),
            tilings: Vec::new(),
            tiled: Vec::new(),
            ancestors: Vec::new(),
            partial_floats: 0,
            most_args: 0,
            statistic_floats: 0,
            panel_floats: 0,
        };
        let rows = matches!(role, ScheduleRole::Rows { .. });
        for phase in &schedule.phases {
            let key = (phase.axis, phase.tile_rows);
            let tiling = prepared.tilings.iter().position(|t| *t == key).unwrap_or_else(|| {
                prepared.tilings.push(key);
                prepared.tiled.push(vec![false; schedule.axes.count()]);
                prepared.tilings.len() - 1
            });
            let mut p = PreparedPhase {
                axis: phase.axis,
                tiling,
                calls: Vec::new(),
                recurrences: phase.recurrences.iter().map(PreparedRecurrence::new).collect(),
                args: Vec::new(),
                tile_args: Vec::new(),
                prefetched: Vec::new(),
                partials: Vec::new(),
                reductions: Vec::new(),
                gradient: false,
                counts_updates: rows && phase.axis != GLOBAL && !prepared.phases.iter().any(|p| p.counts_updates),
            };
            let mut offset = 0;
            for r in &phase.reductions {
                let width = schedule.buffers[r.partial.index()].width as usize;
                let start = (!written_whole_first(phase, r.partial, width)).then(|| r.combine.start());
                p.partials.push(PartialCopy { offset, width, start });
                prepared.used[r.into.index()] = true;
                p.reductions.push(PreparedReduction { offset, width, into: r.into, combine: r.combine });
                offset += super::memory::lines(width);
            }
            prepared.partial_floats = prepared.partial_floats.max(offset);
            for call in &phase.calls {
                prepared.call(program, phase, call, rows, kernels, &mut p);
            }
            p.tile_args = (0..p.args.len() as u32)
                .filter(|&i| matches!(p.args[i as usize], ArgSource::Tile { .. } | ArgSource::Gradient { .. }))
                .collect();
            for arg in &p.args {
                if let ArgSource::Buffer(b) = *arg
                    && let Buffer { place: Storage::Arena(_), axis, width, .. } = prepared.buffers[b as usize]
                    && axis != GLOBAL
                    && axes.tile_axis(axis) == axes.tile_axis(phase.axis)
                    && !p.prefetched.contains(&(b, axis, width as usize))
                {
                    p.prefetched.push((b, axis, width as usize));
                }
            }
            prepared.most_args = prepared.most_args.max(p.args.len());
            prepared.phases.push(p);
        }
        for root in &schedule.roots {
            prepared.used[root.buffer().index()] = true;
        }
        Ok(prepared)
    }

    /// Sequences of which a call reads the places of entries.
    pub fn positions(&self) -> impl Iterator<Item = AxisId> + '_ {
        self.buffers.iter().zip(&self.used).filter_map(|(buffer, used)| {
            let Storage::Position(axis) = buffer.place else { return None };
            used.then_some(axis)
        })
    }

    /// 0, 1, 2, … for its widest buffer of [`Storage::Components`].
    pub fn components(&self) -> Vec<f32> {
        let widths = self.buffers.iter().filter_map(|buffer| match buffer.place {
            Storage::Components(width) => Some(width),
            _ => None,
        });
        (0..widths.max().unwrap_or(0)).map(|component| component as f32).collect()
    }

    /// Axes of which a call reads the places of samples in the global batch.
    pub fn sample_numbers(&self) -> impl Iterator<Item = AxisId> + '_ {
        self.buffers.iter().zip(&self.used).filter_map(|(buffer, used)| {
            let Storage::SampleNumber(axis) = buffer.place else { return None };
            used.then_some(axis)
        })
    }

    fn call(
        &mut self,
        program: &Program,
        phase: &Phase,
        call: &Call,
        rows: bool,
        functions: &[KernelFn],
        p: &mut PreparedPhase,
    ) {
        let args = p.args.len();
        for source in call.op.args() {
            let arg = self.arg(source, phase, rows, p);
            p.args.push(arg);
        }
        let buffers = &self.buffers;
        let width_of = |id: BufferId| buffers[id.index()].width as usize;
        let operand = |(k, used): (usize, &BufferUse)| StridedOperand {
            arg: args + k,
            column: used.view.column as usize,
            stride: match used.extent {
                Extent::Matrix { stride, .. } => stride as usize,
                Extent::Elements | Extent::Samples | Extent::Summed | Extent::Partial { .. } => {
                    width_of(used.view.buffer)
                }
            },
        };
        let uses = call.op.uses();
        let mut operands = uses.iter().enumerate().map(operand);
        let mut next = || operands.next().expect("an operation's uses list each of its operands, in order");
        let (op, name) = match call.op {
            Operation::Kernel { kernel, .. } => {
                let function = functions[kernel.index()];
                (PreparedOp::Kernel { function, args }, program.kernels[kernel.index()].name.clone())
            }
            Operation::Fill { buffer, value } => {
                let width = width_of(buffer);
                (PreparedOp::Fill { out: next(), width, value }, format!("fill {width}"))
            }
            Operation::MatMul { k, n, accumulate, .. } => {
                let (k, n) = (k as usize, n as usize);
                let op = PreparedOp::MatMul { x: next(), w: next(), out: next(), k, n, accumulate };
                (op, format!("matmul {k}x{n}"))
            }
            Operation::AbsorbedMatMul { transposed, e, n, .. } => {
                let (e, n) = (e as usize, n as usize);
                self.panel_floats = self.panel_floats.max(kernels::panel_floats(e, n));
                let op = AbsorbedMatMul { x: next(), q: next(), w: next(), transposed, out: next(), e, n };
                let (from, to) = if transposed { (n, e) } else { (e, n) };
                (PreparedOp::AbsorbedMatMul(op), format!("absorbed matmul {from}x{to}"))
            }
            Operation::AbsorbedOuter { weight, sample, e, n, .. } => {
                let (e, n) = (e as usize, n as usize);
                let op = AbsorbedOuter {
                    x: next(),
                    g: next(),
                    weight: weight.map(|_| WeightGradient { q: next(), out: next() }),
                    sample: sample.map(|_| SampleGradient { w: next(), out: next() }),
                    e,
                    n,
                };
                (PreparedOp::AbsorbedOuter(op), format!("absorbed outer {e}x{n}"))
            }
            Operation::Outer { out, k, n, .. } => {
                let (k, n) = (k as usize, n as usize);
                let here = !phase.calls[..p.calls.len()].iter().any(|c| c.op.buffers().contains(&out.buffer));
                let first = here && written_whole_first(phase, out.buffer, width_of(out.buffer));
                (PreparedOp::Outer { x: next(), g: next(), out: next(), k, n, first }, format!("outer {k}x{n}"))
            }
            Operation::Transpose { k, n, .. } => {
                let (k, n) = (k as usize, n as usize);
                (PreparedOp::Transpose { w: next(), out: next(), k, n }, format!("transpose {k}x{n}"))
            }
            Operation::SegmentReduce { how, width, .. } => {
                let from = self.axes.segment_source(call.axis).expect("validated: a segment sum has a source");
                let op = SegmentReduce { how, x: next(), out: next(), width: width as usize, from };
                let name = match how {
                    SegmentReduction::Sum => "sum",
                    SegmentReduction::Max => "maximum",
                };
                (PreparedOp::SegmentReduce(op), format!("segment {name} {width}"))
            }
            Operation::Carry { width, .. } => {
                let width = width as usize;
                (PreparedOp::Carry { x: next(), out: next(), width }, format!("carry {width}"))
            }
            Operation::Unflatten { size, width, .. } => {
                let (size, width) = (size as usize, width as usize);
                let (samples, entries) = (next(), next());
                let op = FixedEntries { entries, samples, size, width };
                (PreparedOp::Unflatten(op), format!("unflatten {size}x{width}"))
            }
            Operation::Flatten { size, width, .. } => {
                let (size, width) = (size as usize, width as usize);
                let (entries, samples) = (next(), next());
                let op = FixedEntries { entries, samples, size, width };
                (PreparedOp::Flatten(op), format!("flatten {size}x{width}"))
            }
            Operation::Statistic { statistic, width, .. } => {
                self.statistic_floats = self.statistic_floats.max(statistic.partial_width(width) as usize);
                let op = PreparedOp::Statistic { statistic, x: next(), out: next(), width: width as usize };
                (op, format!("{} {width}", statistic.description().name))
            }
        };
        let width = |id: BufferId| Some(&buffers[id.index()]).filter(|b| b.axis == call.axis).map(|b| b.width);
        let work = call.work(width, AbsorbedWeight::PerSample);
        p.calls.push(PreparedCall { axis: call.axis, op, name, location: call.location.clone(), work });
    }

    fn arg(&mut self, source: KernelArg, phase: &Phase, rows: bool, p: &mut PreparedPhase) -> ArgSource {
        match source {
            KernelArg::Buffer(id) => {
                let b = &self.buffers[id.index()];
                match b.place {
                    Storage::Tile(slot) => {
                        self.tiled[p.tiling][b.axis.index()] = true;
                        ArgSource::Tile { slot: slot.0, axis: b.axis, width: b.width }
                    }
                    Storage::Partial => {
                        let at = phase.reductions.iter().position(|r| r.partial == id);
                        let at = at.expect("validated: a phase reduces each partial that its calls name");
                        ArgSource::Partial { offset: p.partials[at].offset }
                    }
                    Storage::Gradient if rows => {
                        p.gradient = true;
                        ArgSource::Gradient { width: b.width }
                    }
                    Storage::Arena(_)
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
                    | Storage::UpdateSlot(_)
                    | Storage::InBatch
                    | Storage::Frequency
                    | Storage::UpdateCount => {
                        self.used[id.index()] = true;
                        ArgSource::Buffer(id.0)
                    }
                }
            }
            KernelArg::Ancestor { of, to } => {
                if !self.ancestors.contains(&(of, to)) {
                    self.ancestors.push((of, to));
                }
                ArgSource::Argument(source)
            }
            KernelArg::Rows { .. }
            | KernelArg::UniqueRows { .. }
            | KernelArg::Table(_)
            | KernelArg::RowIndex
            | KernelArg::Function(_) => ArgSource::Argument(source),
        }
    }
}

/// Whether the first call that names the partial is an outer product that covers it: it may then
/// store instead of adding to zeros.
fn written_whole_first(phase: &Phase, id: BufferId, width: usize) -> bool {
    match phase.calls.iter().find(|c| c.op.buffers().contains(&id)).map(|c| &c.op) {
        Some(&Operation::Outer { out, k, n, .. }) => {
            out.buffer == id && out.column == 0 && k as usize * n as usize == width
        }
        _ => false,
    }
}
