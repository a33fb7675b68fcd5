//! Phases of items to phases of calls: regions are assembled, products and reductions become calls,
//! buffers are placed.

use super::item::{Destination, ElementwiseOp, OperandSource, WorkItem, WorkItemId, WorkKind, WorkList, WorkOperand};
use super::phase::{self, PhaseItems, PhaseLevels};
use super::region::{Access, Instruction, OutputMode, Region, RegionOutput, StridedView, ValueId};
use super::storage::BufferPlan;
use super::{Kernels, PlanOptions};
use crate::elementwise::Cost;
use crate::graph::{Absorbed, BinaryOp, UnaryOp};
use din_grammar::{SourceMap, Span};
use din_program::TablePrecision;
use din_program::schedule::{
    AxisId, BATCH, BufferId, Call, Combine, GLOBAL, KernelArg, Operation, Phase, Reduction, Schedule, StepLoop,
    Storage, View,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// Why the result of a product or reduction has a buffer.
const STORED: &str = "`prune` leaves no item without a user, and no user fuses with a product or reduction";

/// Everything about one schedule in the making.
pub struct Emitter<'a> {
    all: &'a WorkList,
    options: &'a PlanOptions,
    sources: &'a SourceMap,
    kernels: &'a mut Kernels,
    storage: BufferPlan,
    /// Result buffer of an item.
    buffers: FxHashMap<WorkItemId, BufferId>,
    transposed: FxHashMap<(BufferId, u32, u32, u32), BufferId>,
    /// Gradients of absorbed products whose call is made.
    absorbed: FxHashSet<WorkItemId>,
    phase_of: FxHashMap<WorkItemId, usize>,
    /// By phase: the items, of any phase, that read one of its items.
    users: Vec<Vec<WorkItemId>>,
    phases: Vec<Phase>,
    name: &'a str,
}

/// A region with what it was made from.
struct OpenRegion {
    region: Region,
    values: FxHashMap<WorkItemId, ValueId>,
    fills: Vec<(BufferId, f32)>,
    span: Span,
}

pub fn emit(
    all: &WorkList,
    groups: &[PhaseItems],
    name: &str,
    options: &PlanOptions,
    sources: &SourceMap,
    kernels: &mut Kernels,
) -> (Schedule, Vec<Option<View>>) {
    let mut phase_of = FxHashMap::default();
    for (p, g) in groups.iter().enumerate() {
        for &i in &g.items {
            phase_of.insert(i, p);
        }
    }
    let users = users_by_phase(all, &phase_of, groups.len());
    let mut e = Emitter {
        all,
        options,
        sources,
        kernels,
        storage: BufferPlan::default(),
        buffers: FxHashMap::default(),
        transposed: FxHashMap::default(),
        absorbed: FxHashSet::default(),
        phase_of,
        users,
        phases: Vec::new(),
        name,
    };
    for (p, g) in groups.iter().enumerate() {
        e.group(p, g);
    }
    let end = e.phases.len();
    let mut roots = Vec::new();
    for root in &all.roots {
        roots.push(root.as_ref().map(|o| {
            let view = e.view(o);
            e.storage.touch(view.buffer, end, 0);
            view
        }));
    }
    let (buffers, slots, tile_slots) = e.storage.finish();
    let schedule = Schedule { axes: all.axes.clone(), buffers, slots, tile_slots, phases: e.phases, roots: vec![] };
    (schedule, roots)
}

/// By phase: the items, of any phase, that read one of its items.
fn users_by_phase(all: &WorkList, phase_of: &FxHashMap<WorkItemId, usize>, phases: usize) -> Vec<Vec<WorkItemId>> {
    let mut users = vec![Vec::new(); phases];
    for (k, user) in all.items.iter().enumerate() {
        let user_id = WorkItemId(k);
        if !phase_of.contains_key(&user_id) {
            continue;
        }
        for need in user.reads().filter_map(WorkOperand::item) {
            if let Some(&p) = phase_of.get(&need)
                && users[p].last() != Some(&user_id)
            {
                users[p].push(user_id);
            }
        }
    }
    users
}

impl Emitter<'_> {
    /// The buffer of an item that is read from memory.
    fn stored(&self, id: WorkItemId) -> BufferId {
        *self.buffers.get(&id).expect(STORED)
    }

    fn item(&self, id: WorkItemId) -> &WorkItem {
        &self.all.items[id.0]
    }

    fn group(&mut self, number: usize, group: &PhaseItems) {
        let PhaseLevels { levels, recurrences } = phase::levels(self.all, group);
        self.transposes(group);
        self.place(number, group, &levels);
        let mut phase = Phase::new(group.axis, self.tile_rows(group.axis));
        let mut late: Vec<WorkItemId> = Vec::new();
        let last = levels.values().copied().max().expect("`prune` drops phases without items") as usize;
        // One more level than there are items of: the maxima of the last one are put right there.
        let mut members_of: Vec<Vec<WorkItemId>> = vec![Vec::new(); last + 2];
        for &i in &group.items {
            members_of[levels[&i] as usize].push(i);
        }
        for (level, members) in members_of.iter().enumerate() {
            if let Some(r) = recurrences.iter().find(|r| r.levels.start as usize == level) {
                let first = phase.calls.len() as u32;
                phase.recurrences.push(StepLoop { calls: first..first, backward: r.backward });
            }
            self.regions(&mut phase, members);
            for &i in members {
                if let WorkKind::Absorbed { form: Absorbed::Outer | Absorbed::Sum, .. } = self.item(i).kind {
                    self.absorbed_gradients(&mut phase, i, group);
                } else {
                    self.product(&mut phase, i);
                }
                if let WorkKind::Sum { to } | WorkKind::Max { to } = self.item(i).kind
                    && to == GLOBAL
                {
                    let combine =
                        if matches!(self.item(i).kind, WorkKind::Max { .. }) { Combine::Max } else { Combine::Sum };
                    self.reduction(&mut phase, i, combine);
                }
            }
            // Maxima of the level before: what nothing was joined to becomes 0.
            let before = level.checked_sub(1).map_or(&[] as &[WorkItemId], |before| &members_of[before]);
            for &i in before {
                if let WorkKind::Max { to } = self.item(i).kind {
                    if to == GLOBAL {
                        late.push(i);
                    } else {
                        let call = self.empty_maximum(i, to);
                        self.push(&mut phase, call);
                    }
                }
            }
            if recurrences.iter().any(|r| r.levels.contains(&(level as u32))) {
                let running = phase.recurrences.last_mut().expect("its first level comes first");
                running.calls.end = phase.calls.len() as u32;
            }
        }
        self.keep_whole(&phase);
        self.phases.push(phase);
        if !late.is_empty() {
            let mut phase = Phase::new(GLOBAL, 1);
            for i in late {
                let call = self.empty_maximum(i, GLOBAL);
                self.push(&mut phase, call);
            }
            self.phases.push(phase);
        }
    }

    /// What the calls of a recurrence use lives through all of its steps: other columns of a shared
    /// slot would be other rows of it.
    fn keep_whole(&mut self, phase: &Phase) {
        for StepLoop { calls, .. } in &phase.recurrences {
            let range = calls.start as usize..calls.end as usize;
            for call in &phase.calls[range.clone()] {
                self.touch(call, self.now(), range.start);
                self.touch(call, self.now(), range.end - 1);
            }
        }
    }

    /// Elements of an axis that a tile has at most, or reaches. Over a fixed axis it has as many
    /// samples as one over the samples, over its pairs a quarter: short lists would make tiles
    /// whose calls cost more than their work.
    fn tile_rows(&self, axis: AxisId) -> u32 {
        let axes = &self.all.axes;
        let PlanOptions { batch_tile, sequence_tile, .. } = *self.options;
        if axes.parent(axis) == Some(GLOBAL) {
            return batch_tile;
        }
        let of_tile = match (axes.fixed(axis), axes.second_of_pairs(axis).and_then(|second| axes.fixed(second))) {
            (Some(size), _) => size.saturating_mul(batch_tile),
            (None, Some(size)) => size.saturating_mul(size).saturating_mul(batch_tile / 4),
            (None, None) => 0,
        };
        sequence_tile.max(of_tile)
    }

    /// The phase in the making; the schedule may have more phases than there are groups.
    fn now(&self) -> usize {
        self.phases.len()
    }

    /// Decides which results get a buffer, and whether it outlives the tile.
    fn place(&mut self, number: usize, group: &PhaseItems, levels: &FxHashMap<WorkItemId, u32>) {
        let mut stored: FxHashMap<WorkItemId, bool> = FxHashMap::default();
        for &id in &self.users[number] {
            let (user, inside) = (self.item(id), self.phase_of[&id] == number);
            for o in user.reads() {
                let Some(need) = o.item().filter(|need| self.phase_of.get(need) == Some(&number)) else { continue };
                let fused = inside && phase::fuses(self.item(need), o, user) && levels.get(&need) == levels.get(&id);
                if !fused {
                    *stored.entry(need).or_default() |= !inside;
                }
            }
        }
        for o in self.all.roots.iter().flatten() {
            if let OperandSource::Item(need) = o.src
                && self.phase_of.get(&need) == Some(&number)
            {
                stored.insert(need, true);
            }
        }
        for &i in &group.items {
            let Some(&outlives) = stored.get(&i) else { continue };
            let (axis, width) = self.item(i).result;
            let arena = outlives || axis == GLOBAL;
            let buffer = if arena { self.storage.arena(axis, width) } else { self.storage.tile(axis, width) };
            self.buffers.insert(i, buffer);
        }
    }

    /// Transposed weights of the phase's products. Each is made where its weight first can be read
    /// by a phase of one element that is there already, so that most share the first phase; else in
    /// a phase of its own.
    fn transposes(&mut self, group: &PhaseItems) {
        for &i in &group.items {
            let item = self.item(i).clone();
            let (k, n, w) = match item.kind {
                WorkKind::MatMulT { k, n } => (k, n, item.operands[1]),
                WorkKind::Absorbed { form: Absorbed::ProductT, e, n } => (2 * e, n, item.operands[2]),
                WorkKind::Absorbed { form: Absorbed::Product | Absorbed::Outer | Absorbed::Sum, .. } => continue,
                WorkKind::Elementwise(_)
                | WorkKind::MatMul { .. }
                | WorkKind::Outer { .. }
                | WorkKind::Sum { .. }
                | WorkKind::Max { .. }
                | WorkKind::SegmentReduce(_)
                | WorkKind::RowSum
                | WorkKind::Carry
                | WorkKind::Unflatten
                | WorkKind::Flatten
                | WorkKind::Statistic(_)
                | WorkKind::Concat => continue,
            };
            let w = self.view(&w);
            if k == 1 || n == 1 || self.transposed.contains_key(&(w.buffer, w.column, k, n)) {
                continue;
            }
            let made = self.storage.made(w.buffer);
            let alone = |p: &Phase| p.axis == GLOBAL && p.reductions.is_empty();
            let found = made.and_then(|made| (made..self.now()).find(|&p| alone(&self.phases[p])));
            let number = found.unwrap_or_else(|| {
                self.phases.push(Phase::new(GLOBAL, 1));
                self.now() - 1
            });
            let out = self.storage.arena(GLOBAL, k * n);
            self.transposed.insert((w.buffer, w.column, k, n), out);
            let call = Call {
                axis: GLOBAL,
                op: Operation::Transpose { w, w_stride: n, out: View { buffer: out, column: 0 }, k, n },
                location: self.sources.recorded_location(item.span),
            };
            self.touch(&call, number, self.phases[number].calls.len());
            self.phases[number].calls.push(call);
        }
    }

    /// An operand as columns of a buffer; only for operands that `lower` made viewable, and roots.
    fn view(&mut self, o: &WorkOperand) -> View {
        let buffer = match o.src {
            OperandSource::External { place, axis, width } => Some(self.storage.external(place, axis, width)),
            OperandSource::Item(i) => self.buffers.get(&i).copied(),
            OperandSource::Const(_) | OperandSource::Gather { .. } => None,
        };
        let buffer = buffer.expect(
            "`lower` copies constants and gathers where a plain array is needed, and `place` stores \
             every item that is read",
        );
        View { buffer, column: o.column }
    }

    fn product(&mut self, phase: &mut Phase, id: WorkItemId) {
        let item = self.item(id).clone();
        let whole = |buffer| View { buffer, column: 0 };
        let op = match item.kind {
            WorkKind::MatMul { k, n } => {
                let (x, w) = (self.view(&item.operands[0]), self.view(&item.operands[1]));
                Operation::MatMul { x, w, w_stride: n, out: whole(self.stored(id)), k, n, accumulate: false }
            }
            WorkKind::MatMulT { k, n } => {
                let (x, mut w) = (self.view(&item.operands[0]), self.view(&item.operands[1]));
                if let Some(&t) = self.transposed.get(&(w.buffer, w.column, k, n)) {
                    w = whole(t);
                }
                Operation::MatMul { x, w, w_stride: k, out: whole(self.stored(id)), k: n, n: k, accumulate: false }
            }
            WorkKind::Outer { k, n } => {
                let (x, g) = (self.view(&item.operands[0]), self.view(&item.operands[1]));
                let partial = self.reduction(phase, id, Combine::Sum);
                Operation::Outer { x, g, out: whole(partial), k, n }
            }
            WorkKind::Absorbed { form: Absorbed::Product, e, n } => {
                let [x, q, w] = [0, 1, 2].map(|k| self.view(&item.operands[k]));
                Operation::AbsorbedMatMul { x, q, w, transposed: false, out: whole(self.stored(id)), e, n }
            }
            WorkKind::Absorbed { form: Absorbed::ProductT, e, n } => {
                let [x, q, mut w] = [0, 1, 2].map(|k| self.view(&item.operands[k]));
                if let Some(&t) = self.transposed.get(&(w.buffer, w.column, 2 * e, n)) {
                    w = whole(t);
                }
                Operation::AbsorbedMatMul { x, q, w, transposed: true, out: whole(self.stored(id)), e, n }
            }
            WorkKind::SegmentReduce(how) => {
                let x = self.view(&item.operands[0]);
                Operation::SegmentReduce { how, x, out: whole(self.stored(id)), width: item.width }
            }
            WorkKind::Statistic(statistic) => {
                let x = self.view(&item.operands[0]);
                let out = self.reduction(phase, id, Combine::Statistic(statistic));
                Operation::Statistic { statistic, x, out, width: item.width }
            }
            WorkKind::Carry => {
                let state = item.reads().next().copied().expect("`lower` says what a carry reads");
                Operation::Carry { x: self.view(&state), out: whole(self.stored(id)), width: item.width }
            }
            WorkKind::Unflatten => {
                let x = self.view(&item.operands[0]);
                Operation::Unflatten { x, out: whole(self.stored(id)), size: self.fixed(item.axis), width: item.width }
            }
            WorkKind::Flatten => {
                let x = self.view(&item.operands[0]);
                Operation::Flatten { x, out: whole(self.stored(id)), size: self.fixed(item.axis), width: item.width }
            }
            WorkKind::Elementwise(_)
            | WorkKind::Sum { .. }
            | WorkKind::Max { .. }
            | WorkKind::RowSum
            | WorkKind::Concat => return,
            WorkKind::Absorbed { form: Absorbed::Outer | Absorbed::Sum, .. } => return,
        };
        let location = self.sources.recorded_location(item.span);
        self.push(phase, Call { axis: item.axis, op, location });
    }

    /// Entries of each sample on a fixed axis.
    fn fixed(&self, axis: AxisId) -> u32 {
        self.all.axes.fixed(axis).expect("`verify`: these are operations of a fixed axis")
    }

    /// Adds a call to the phase in the making; what it reads and writes lives until then at least.
    fn push(&mut self, phase: &mut Phase, call: Call) {
        let number = self.now();
        self.touch(&call, number, phase.calls.len());
        phase.calls.push(call);
    }

    fn touch(&mut self, call: &Call, phase: usize, number: usize) {
        for buffer in call.op.buffers() {
            self.storage.touch(buffer, phase, number);
        }
    }

    /// The gradients of an absorbed product towards its weight and towards `q`, by one call where
    /// both are wanted: they share the outer product of each sample. Called for either item; the
    /// call is made at the first.
    fn absorbed_gradients(&mut self, phase: &mut Phase, id: WorkItemId, group: &PhaseItems) {
        let item = self.item(id).clone();
        let WorkKind::Absorbed { form, e, n } = item.kind else { return };
        // Outer has k, q, g; Sum has k, g, w.
        let towards_weight = form == Absorbed::Outer;
        let (k, g) =
            if towards_weight { (item.operands[0], item.operands[2]) } else { (item.operands[0], item.operands[1]) };
        // A call made before may have served it.
        let mut open = group.items.iter().copied().filter(|o| !self.absorbed.contains(o));
        let partner = open.find(|&o| match self.item(o).kind {
            WorkKind::Absorbed { form: Absorbed::Outer, .. } if !towards_weight => {
                (self.item(o).operands[0], self.item(o).operands[2]) == (k, g)
            }
            WorkKind::Absorbed { form: Absorbed::Sum, .. } if towards_weight => {
                (self.item(o).operands[0], self.item(o).operands[1]) == (k, g)
            }
            _ => false,
        });
        if !self.absorbed.insert(id) {
            return;
        }
        self.absorbed.extend(partner);
        let (outer, sum) = if towards_weight { (Some(id), partner) } else { (partner, Some(id)) };
        let (x, g) = (self.view(&k), self.view(&g));
        let weight = outer.map(|o| {
            let q = self.item(o).operands[1];
            (self.view(&q), self.reduction(phase, o, Combine::Sum))
        });
        let sample = sum.map(|s| {
            let w = self.item(s).operands[2];
            (self.view(&w), View { buffer: self.stored(s), column: 0 })
        });
        let weight = weight.map(|(q, partial)| (q, View { buffer: partial, column: 0 }));
        let op = Operation::AbsorbedOuter { x, g, weight, sample, e, n };
        let location = self.sources.recorded_location(item.span);
        self.push(phase, Call { axis: item.axis, op, location });
    }

    /// The partial of an item that is joined from chunks; made on first use.
    fn reduction(&mut self, phase: &mut Phase, id: WorkItemId, combine: Combine) -> BufferId {
        let into = self.stored(id);
        if let Some(r) = phase.reductions.iter().find(|r| r.into == into) {
            return r.partial;
        }
        let width = match combine {
            Combine::Statistic(statistic) => statistic.partial_width(self.item(id).width),
            Combine::Sum | Combine::Max => self.storage.buffer(into).width,
        };
        let partial = self.storage.partial(width);
        self.storage.touch(into, self.phases.len(), 0);
        phase.reductions.push(Reduction { partial, into, combine });
        partial
    }

    /// `out = -inf ? 0 : out`, in place.
    fn empty_maximum(&mut self, id: WorkItemId, to: AxisId) -> Call {
        let item = self.item(id).clone();
        let buffer = self.stored(id);
        let mut region = Region::new(to, item.width, false);
        let argument = region.argument(KernelArg::Buffer(buffer));
        let place = StridedView {
            argument,
            access: Access::Row,
            stride: item.width,
            column: 0,
            width: item.width,
            precision: TablePrecision::F32,
        };
        let x = region.emit(Instruction::Load(place));
        let least = region.emit(Instruction::Const(f64::NEG_INFINITY));
        let zero = region.emit(Instruction::Const(0.0));
        let empty = region.emit(Instruction::Binary(BinaryOp::Equal, x, least));
        let value = region.emit(Instruction::Select(empty, zero, x));
        region.outputs.push(RegionOutput { value, place, mode: OutputMode::Store });
        self.kernel(region, item.span)
    }

    fn kernel(&mut self, mut region: Region, span: Span) -> Call {
        region.add_functions();
        let has_short = |i: &Instruction| matches!(i, Instruction::Unary(UnaryOp::Exp | UnaryOp::Sigmoid, _));
        region.short_functions = self.options.inference && !region.uniform && region.body.iter().any(has_short);
        let location = self.sources.recorded_location(span);
        let (axis, args) = (region.axis, region.arguments.clone());
        let kernel = self.kernels.add(region, self.name, &location);
        Call { axis, op: Operation::Kernel { kernel, args }, location }
    }

    /// The regions of one level, one for each axis and width, in the order of their first items.
    fn regions(&mut self, phase: &mut Phase, members: &[WorkItemId]) {
        let mut open: Vec<OpenRegion> = Vec::new();
        for &i in members {
            let item = self.item(i).clone();
            if !item.is_in_a_region() {
                continue;
            }
            let at = open.iter().position(|o| o.region.axis == item.axis && o.region.width == item.width);
            let at = at.unwrap_or_else(|| {
                let uniform = item.axis == GLOBAL && item.width == 1;
                open.push(OpenRegion {
                    region: Region::new(item.axis, item.width, uniform),
                    values: FxHashMap::default(),
                    fills: Vec::new(),
                    span: item.span,
                });
                open.len() - 1
            });
            let mut region = open.remove(at);
            self.join(phase, &mut region, i, &item);
            open.insert(at, region);
        }
        for o in open {
            for &(buffer, value) in &o.fills {
                let axis = self.storage.buffer(buffer).axis;
                let location = self.sources.recorded_location(o.span);
                self.push(phase, Call { axis, op: Operation::Fill { buffer, value }, location });
            }
            if !o.region.outputs.is_empty() {
                let call = self.kernel(o.region, o.span);
                self.push(phase, call);
            }
        }
    }

    /// Adds one item to its region.
    fn join(&mut self, phase: &mut Phase, open: &mut OpenRegion, id: WorkItemId, item: &WorkItem) {
        let v: Vec<ValueId> = item.operands.iter().map(|o| self.operand(open, o, item)).collect();
        match item.kind {
            WorkKind::Elementwise(map) => {
                let value = match map {
                    ElementwiseOp::Copy => v[0],
                    ElementwiseOp::Unary(op) => open.region.emit(Instruction::Unary(op, v[0])),
                    ElementwiseOp::Binary(op) => open.region.emit(Instruction::Binary(op, v[0], v[1])),
                    ElementwiseOp::Select => open.region.emit(Instruction::Select(v[0], v[1], v[2])),
                    ElementwiseOp::DropoutMask { rate } => {
                        let of = v.try_into().expect("a mask is lowered with six operands");
                        open.region.emit(Instruction::DropoutMask { rate, of })
                    }
                };
                open.values.insert(id, value);
                let target = match item.into {
                    Some(Destination::Concat { item: concat, column }) => {
                        self.buffers.get(&concat).map(|&b| (b, column))
                    }
                    Some(Destination::External { place, axis, width }) => {
                        Some((self.storage.external(place, axis, width), 0))
                    }
                    None => self.buffers.get(&id).map(|&b| (b, 0)),
                };
                if let Some((buffer, column)) = target {
                    let place = self.column(open, buffer, column, item.width, item.axis, false);
                    open.region.outputs.push(RegionOutput { value, place, mode: OutputMode::Store });
                }
            }
            WorkKind::RowSum => {
                let buffer = self.stored(id);
                let place = self.column(open, buffer, 0, 1, item.axis, false);
                open.region.outputs.push(RegionOutput { value: v[0], place, mode: OutputMode::StoreRowSum });
            }
            WorkKind::Sum { to } | WorkKind::Max { to } => {
                let buffer = self.stored(id);
                let maximum = matches!(item.kind, WorkKind::Max { .. });
                let (combine, write, start) = if maximum {
                    (Combine::Max, OutputMode::Max, f32::NEG_INFINITY)
                } else {
                    (Combine::Sum, OutputMode::Add, 0.0)
                };
                let buffer = if to == GLOBAL {
                    self.reduction(phase, id, combine)
                } else {
                    open.fills.push((buffer, start));
                    buffer
                };
                let place = self.column(open, buffer, 0, item.width, item.axis, false);
                open.region.outputs.push(RegionOutput { value: v[0], place, mode: write });
            }
            WorkKind::MatMul { .. }
            | WorkKind::MatMulT { .. }
            | WorkKind::Outer { .. }
            | WorkKind::Absorbed { .. }
            | WorkKind::SegmentReduce(_)
            | WorkKind::Statistic(_)
            | WorkKind::Carry
            | WorkKind::Unflatten
            | WorkKind::Flatten
            | WorkKind::Concat => unreachable!("`is_in_a_region` leaves {:?} out", item.kind),
        }
    }

    /// An operand's value in a region: a register, a constant or a load.
    fn operand(&mut self, open: &mut OpenRegion, o: &WorkOperand, user: &WorkItem) -> ValueId {
        match o.src {
            OperandSource::Const(c) => open.region.emit(Instruction::Const(c)),
            OperandSource::Item(i) if open.values.contains_key(&i) && phase::fuses(self.item(i), o, user) => {
                open.values[&i]
            }
            OperandSource::Gather { table, rows, axis, width } => {
                let argument = open.region.argument(KernelArg::Table(table));
                let rows = open.region.argument(rows);
                let access = if axis == user.axis {
                    Access::Indexed { index: rows }
                } else {
                    let above = self.above(user.axis, axis, o.second);
                    Access::Nested { outer: rows, inner: open.region.argument(above) }
                };
                let precision = self.options.tables;
                let place =
                    StridedView { argument, access, stride: width, column: o.column, width: o.width, precision };
                open.region.emit(Instruction::Load(place))
            }
            OperandSource::External { .. } | OperandSource::Item(_) => {
                let view = self.view(o);
                let place = self.column(open, view.buffer, view.column, o.width, user.axis, o.second);
                open.region.emit(Instruction::Load(place))
            }
        }
    }

    /// Which element of `to` is above each one of `of`. If `of` is an axis of pairs: above the
    /// first entry of each, or above the second one if `second`.
    fn above(&self, of: AxisId, to: AxisId, second: bool) -> KernelArg {
        let to = match self.all.axes.second_of_pairs(of) {
            Some(name) if second => name,
            Some(_) | None => to,
        };
        KernelArg::Ancestor { of, to }
    }

    /// Columns of a buffer as seen by a region over `axis`; if that is an axis of pairs, possibly
    /// at their second entries.
    fn column(
        &mut self,
        open: &mut OpenRegion,
        buffer: BufferId,
        column: u32,
        width: u32,
        axis: AxisId,
        second: bool,
    ) -> StridedView {
        let b = self.storage.buffer(buffer).clone();
        let argument = open.region.argument(KernelArg::Buffer(buffer));
        let by_row_number =
            matches!(b.place, Storage::Weight | Storage::UpdateSlot(_) | Storage::Frequency | Storage::UpdateCount);
        let access = if b.axis == axis {
            if by_row_number && self.options.rows && b.axis == BATCH {
                Access::Indexed { index: open.region.argument(KernelArg::RowIndex) }
            } else {
                Access::Row
            }
        } else if b.axis == GLOBAL {
            Access::Once
        } else {
            let above = self.above(axis, b.axis, second);
            Access::Indexed { index: open.region.argument(above) }
        };
        StridedView { argument, access, stride: b.width, column, width, precision: TablePrecision::F32 }
    }
}

/// A short name for profiles: the operations of a region.
pub fn describe(region: &Region) -> String {
    let mut words: Vec<&str> = Vec::new();
    for i in &region.body {
        let word = match i {
            Instruction::Unary(op, _) if op.description().cost == Cost::Expensive => op.name(),
            Instruction::Load(StridedView { access: Access::Indexed { .. } | Access::Nested { .. }, .. }) => "gather",
            Instruction::Binary(BinaryOp::Multiply, ..) => "multiply",
            Instruction::Select(..) => "select",
            Instruction::DropoutMask { .. } => "dropout",
            Instruction::Unary(..) | Instruction::Binary(..) | Instruction::Const(_) | Instruction::Load(_) => continue,
        };
        if !words.contains(&word) && words.len() < 4 {
            words.push(word);
        }
    }
    if region.outputs.iter().any(|o| o.mode == OutputMode::Add) {
        words.push("sum");
    }
    if words.is_empty() { "copy".into() } else { words.join("_") }
}
