//! A checked schedule in the form that runs: every call with its strides, every argument with how its address is found.

use crate::exec::ExecError;
use crate::exec::common::{Purpose, Validator};
use crate::jit::KernelFn;
use din_program::Program;
use din_program::schedule::{
    AbsorbedWeight, AxisId, AxisTree, Buffer, BufferId, Call, Combine, GLOBAL, KernelArg, Operation, Root, Schedule,
    Slot, Storage, View, Work,
};

/// How an argument's base address is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// The same for the whole step; index into the step's buffer addresses.
    Buffer(u32),
    /// Other addresses of the step: parents, row numbers, tables, functions.
    Argument(KernelArg),
    /// Moved back by the tile's first element.
    Tile { slot: u32, axis: AxisId, width: u32 },
    /// The chunk's copy, at `offset` numbers.
    Partial { offset: usize },
    /// Summed row gradients of the tile.
    Gradient { width: u32 },
}

/// Strides, columns and widths are in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Kernel(KernelFn),
    Fill {
        width: usize,
        value: f32,
    },
    MatMul {
        x: Strided,
        w: Strided,
        out: Strided,
        k: usize,
        n: usize,
        accumulate: bool,
    },
    Absorbed {
        x: Strided,
        q: Strided,
        w: Strided,
        transposed: bool,
        out: Strided,
        e: usize,
        n: usize,
    },
    /// `weight`: q and where the partial begins; `sample`: w and out.
    AbsorbedOuter {
        x: Strided,
        g: Strided,
        weight: Option<(Strided, usize)>,
        sample: Option<(Strided, Strided)>,
        e: usize,
        n: usize,
    },
    /// `first`: in the chunk's first tile it stores instead of adding.
    Outer {
        x: Strided,
        g: Strided,
        out: usize,
        k: usize,
        n: usize,
        first: bool,
    },
    Transpose {
        w: Strided,
        out: usize,
        k: usize,
        n: usize,
    },
    Moments {
        x: Strided,
        width: usize,
    },
    /// `from`: what `x` is on.
    SegmentSum {
        x: Strided,
        out: Strided,
        width: usize,
        from: AxisId,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Strided {
    pub column: usize,
    pub stride: usize,
}

#[derive(Debug)]
pub(super) struct PreparedCall {
    pub axis: AxisId,
    pub op: Op,
    /// Its first argument; MatMul has x, w, out; Fold x, q, w, out; AbsorbedOuter x, g, q, partial, w, out without what is
    /// absent; Outer x, g, out; Transpose w, out; Moments x, out; Fill one.
    pub args: usize,
    /// For profiles.
    pub name: String,
    pub location: String,
    pub work: Work,
}

/// A partial buffer of a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partial {
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
    /// Index into [`Prepared::tilings`].
    pub tiling: usize,
    pub calls: Vec<PreparedCall>,
    pub args: Vec<Arg>,
    /// Arguments that change from tile to tile.
    pub tile_args: Vec<u32>,
    /// Buffers of the whole step that the calls read or write: (buffer, axis, width), each once.
    pub far: Vec<(u32, AxisId, usize)>,
    pub partials: Vec<Partial>,
    pub reductions: Vec<PreparedReduction>,
    /// Whether a call reads summed row gradients.
    pub gradient: bool,
    /// The phase that counts the touches of rows: the first over them.
    pub touches: bool,
}

/// A schedule ready to run.
#[derive(Debug)]
pub(super) struct Prepared {
    pub name: String,
    pub axes: AxisTree,
    pub buffers: Vec<Buffer>,
    /// By buffer: whether a call or a result names it; the others were not checked.
    pub used: Vec<bool>,
    pub slots: Vec<Slot>,
    pub tile_slots: Vec<Slot>,
    pub roots: Vec<Root>,
    pub phases: Vec<PreparedPhase>,
    /// Distinct pairs of axis and tile size.
    pub tilings: Vec<(AxisId, u32)>,
    /// By tiling, by axis: whether its tiles hold tile buffers of the axis.
    pub tiled: Vec<Vec<bool>>,
    /// Pairs of axes: a call reads which element of the second is above each of the first.
    pub ancestors: Vec<(AxisId, AxisId)>,
    /// Numbers of one chunk's partial copies.
    pub partial_floats: usize,
    /// Most arguments of a phase.
    pub most_args: usize,
    /// Widest moments.
    pub moments: usize,
    /// Numbers of the largest matrix of a sample.
    pub fold: usize,
}

impl Prepared {
    pub fn new(
        program: &Program,
        schedule: &Schedule,
        name: &str,
        purpose: Purpose<'_>,
        kernels: &[KernelFn],
    ) -> Result<Prepared, ExecError> {
        let axes = &schedule.axes;
        Validator { program, schedule, name, purpose, axes }.check()?;
        let mut prepared = Prepared {
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
            moments: 0,
            fold: 0,
        };
        let rows = matches!(purpose, Purpose::Rows { .. });
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
                args: Vec::new(),
                tile_args: Vec::new(),
                far: Vec::new(),
                partials: Vec::new(),
                reductions: Vec::new(),
                gradient: false,
                touches: rows && phase.axis != GLOBAL && !prepared.phases.iter().any(|p| p.touches),
            };
            let mut offset = 0;
            for r in &phase.reductions {
                let width = schedule.buffers[r.partial.index()].width as usize;
                let start = match r.combine {
                    _ if written_whole_first(phase, r.partial, width) => None,
                    Combine::Max => Some(f32::NEG_INFINITY),
                    Combine::Sum | Combine::Moments => Some(0.0),
                };
                p.partials.push(Partial { offset, width, start });
                prepared.used[r.into.index()] = true;
                p.reductions.push(PreparedReduction { offset, width, into: r.into, combine: r.combine });
                offset += super::memory::lines(width);
            }
            prepared.partial_floats = prepared.partial_floats.max(offset);
            for call in &phase.calls {
                prepared.call(program, phase, call, rows, kernels, &mut p);
            }
            p.tile_args = (0..p.args.len() as u32)
                .filter(|&i| matches!(p.args[i as usize], Arg::Tile { .. } | Arg::Gradient { .. }))
                .collect();
            for arg in &p.args {
                if let Arg::Buffer(b) = *arg
                    && let Buffer { place: Storage::Arena(_), axis, width, .. } = prepared.buffers[b as usize]
                    && axis != GLOBAL
                    && axes.tile_axis(axis) == axes.tile_axis(phase.axis)
                    && !p.far.contains(&(b, axis, width as usize))
                {
                    p.far.push((b, axis, width as usize));
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

    fn call(
        &mut self,
        program: &Program,
        phase: &din_program::schedule::Phase,
        call: &Call,
        rows: bool,
        kernels: &[KernelFn],
        p: &mut PreparedPhase,
    ) {
        let args = p.args.len();
        let strided =
            |v: View| Strided { column: v.column as usize, stride: self.buffers[v.buffer.index()].width as usize };
        let buffers = &self.buffers;
        let width = |id: BufferId| Some(&buffers[id.index()]).filter(|b| b.axis == call.axis).map(|b| b.width);
        let work = call.work(width, AbsorbedWeight::PerSample);
        let (op, name) = match &call.op {
            Operation::Kernel { kernel, .. } => {
                let name = program
                    .kernels
                    .get(kernel.index())
                    .map_or_else(|| format!("kernel {}", kernel.0), |k| k.name.clone());
                (Op::Kernel(kernels[kernel.index()]), name)
            }
            Operation::Fill { buffer, value } => {
                let width = self.buffers[buffer.index()].width as usize;
                (Op::Fill { width, value: *value }, format!("fill {width}"))
            }
            &Operation::MatMul { x, w, w_stride, out, k, n, accumulate } => {
                let (k, n) = (k as usize, n as usize);
                let weight = Strided { column: w.column as usize, stride: w_stride as usize };
                let op = Op::MatMul { x: strided(x), w: weight, out: strided(out), k, n, accumulate };
                (op, format!("matmul {k}x{n}"))
            }
            &Operation::AbsorbedMatMul { x, q, w, transposed, out, e, n } => {
                let (e, n) = (e as usize, n as usize);
                self.fold = self.fold.max(e * n);
                let weight = Strided { column: w.column as usize, stride: if transposed { 2 * e } else { n } };
                let op = Op::Absorbed { x: strided(x), q: strided(q), w: weight, transposed, out: strided(out), e, n };
                (op, if transposed { format!("fold {n}x{e}") } else { format!("fold {e}x{n}") })
            }
            &Operation::AbsorbedOuter { x, g, weight, sample, e, n } => {
                let (e, n) = (e as usize, n as usize);
                self.fold = self.fold.max(e * n);
                let op = Op::AbsorbedOuter {
                    x: strided(x),
                    g: strided(g),
                    weight: weight.map(|(q, out)| (strided(q), out.column as usize)),
                    sample: sample.map(|(w, out)| (Strided { column: w.column as usize, stride: n }, strided(out))),
                    e,
                    n,
                };
                (op, format!("fold outer {e}x{n}"))
            }
            &Operation::Outer { x, g, out, k, n } => {
                let width = self.buffers[out.buffer.index()].width as usize;
                let (k, n) = (k as usize, n as usize);
                let here = !phase.calls[..p.calls.len()].iter().any(|c| c.op.buffers().contains(&out.buffer));
                let first = here && written_whole_first(phase, out.buffer, width);
                let op = Op::Outer { x: strided(x), g: strided(g), out: out.column as usize, k, n, first };
                (op, format!("outer {k}x{n}"))
            }
            &Operation::Transpose { w, w_stride, out, k, n } => {
                let (k, n) = (k as usize, n as usize);
                let weight = Strided { column: w.column as usize, stride: w_stride as usize };
                let op = Op::Transpose { w: weight, out: out.column as usize, k, n };
                (op, format!("transpose {k}x{n}"))
            }
            &Operation::SegmentSum { x, out, width } => {
                let from = self.axes.segment_source(call.axis).expect("validated: a segment sum has a source");
                let op = Op::SegmentSum { x: strided(x), out: strided(out), width: width as usize, from };
                (op, format!("sum shared {width}"))
            }
            &Operation::Moments { x, width, .. } => {
                self.moments = self.moments.max(width as usize);
                let op = Op::Moments { x: strided(x), width: width as usize };
                (op, format!("moments {width}"))
            }
        };
        for source in call.op.args() {
            let arg = self.arg(source, phase, rows, p);
            p.args.push(arg);
        }
        p.calls.push(PreparedCall { axis: call.axis, op, args, name, location: call.location.clone(), work });
    }

    fn arg(
        &mut self,
        source: KernelArg,
        phase: &din_program::schedule::Phase,
        rows: bool,
        p: &mut PreparedPhase,
    ) -> Arg {
        match source {
            KernelArg::Buffer(id) => {
                let b = &self.buffers[id.index()];
                match b.place {
                    Storage::Tile(slot) => {
                        self.tiled[p.tiling][b.axis.index()] = true;
                        Arg::Tile { slot: slot.0, axis: b.axis, width: b.width }
                    }
                    Storage::Partial => {
                        let at = phase.reductions.iter().position(|r| r.partial == id).unwrap_or_default();
                        Arg::Partial { offset: p.partials[at].offset }
                    }
                    Storage::Gradient if rows => {
                        p.gradient = true;
                        Arg::Gradient { width: b.width }
                    }
                    _ => {
                        self.used[id.index()] = true;
                        Arg::Buffer(id.0)
                    }
                }
            }
            KernelArg::Ancestor { of, to } => {
                if !self.ancestors.contains(&(of, to)) {
                    self.ancestors.push((of, to));
                }
                Arg::Argument(source)
            }
            _ => Arg::Argument(source),
        }
    }
}

/// Whether the first call that names the partial is an outer product that covers it: it may then store instead of adding to zeros.
fn written_whole_first(phase: &din_program::schedule::Phase, id: BufferId, width: usize) -> bool {
    match phase.calls.iter().find(|c| c.op.buffers().contains(&id)).map(|c| &c.op) {
        Some(&Operation::Outer { out, k, n, .. }) => {
            out.buffer == id && out.column == 0 && k as usize * n as usize == width
        }
        _ => false,
    }
}
