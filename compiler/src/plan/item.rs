//! The planner's view of a graph: work items with flat operands. Views (slices, reshapes,
//! parameters, inputs, look-ups) dissolve into operands; a concat becomes copies into its columns;
//! what must outlive the step becomes a root or a commit.

use crate::graph::{Absorbed, AxisId, BATCH, BinaryOp, GLOBAL, Graph, InputKind, NodeId, Op, Root, UnaryOp};
use din_grammar::Span;
use din_program::axes::AxisTree;
use din_program::schedule::{KernelArg, SegmentReduction, Statistic, Storage};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkItemId(pub usize);

/// Where an operand's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OperandSource {
    Const(f64),
    /// A buffer that the runtime provides.
    External {
        place: Storage,
        axis: AxisId,
        width: u32,
    },
    /// Rows of a table by row numbers, which are on `axis`.
    Gather {
        table: u32,
        rows: KernelArg,
        axis: AxisId,
        width: u32,
    },
    Item(WorkItemId),
}

/// Columns `column..column + width` of a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkOperand {
    pub src: OperandSource,
    pub column: u32,
    pub width: u32,
    /// Whether the operand is over a second name: pairs read it at their second entry.
    pub second: bool,
}

impl WorkOperand {
    /// The item whose result it is a view of.
    pub fn item(&self) -> Option<WorkItemId> {
        match self.src {
            OperandSource::Item(i) => Some(i),
            OperandSource::Const(_) | OperandSource::External { .. } | OperandSource::Gather { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ElementwiseOp {
    Copy,
    /// Operands as [`super::region::Instruction::DropoutMask`].
    DropoutMask {
        rate: f64,
    },
    Unary(UnaryOp),
    Binary(BinaryOp),
    Select,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WorkKind {
    Elementwise(ElementwiseOp),
    /// Operands `x`, `w`; `w` is `k x n`.
    MatMul {
        k: u32,
        n: u32,
    },
    /// Operands `x`, `w`; `w` is `k x n`, the result has `k` columns.
    MatMulT {
        k: u32,
        n: u32,
    },
    Outer {
        k: u32,
        n: u32,
    },
    /// Operands as the graph's; `w` is `2 e x n`.
    Absorbed {
        form: Absorbed,
        e: u32,
        n: u32,
    },
    Sum {
        to: AxisId,
    },
    Max {
        to: AxisId,
    },
    /// Over requests, their entries, or a group: what shares each; see the schedule's operation.
    SegmentReduce(SegmentReduction),
    RowSum,
    /// Joined from chunks; operand `x`.
    Statistic(Statistic),
    /// The state of the entry before, in a recurrence or of a value that is there before. In a
    /// recurrence it has no operand, since it comes first: see [`WorkItem::carried`].
    Carry,
    /// A vector of each sample as the entries of a fixed axis; operand `x`, on the samples.
    Unflatten,
    /// The entries of a fixed axis as a vector of each sample; operand `x`, on the entries.
    Flatten,
    /// Its parts are copies with `into` set to it; no work of its own.
    Concat,
}

/// Where an item's result goes other than a buffer of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Destination {
    /// Columns from `column` of a concat's buffer.
    Concat { item: WorkItemId, column: u32 },
    /// In place over the weights or a slot: update programs only.
    External { place: Storage, axis: AxisId, width: u32 },
}

#[derive(Clone, Debug, PartialEq)]
pub struct WorkItem {
    pub kind: WorkKind,
    /// The axis whose elements the work iterates; never a second name.
    pub axis: AxisId,
    /// Columns that the work iterates (of the operand, for reductions).
    pub width: u32,
    /// AxisId and width of the result.
    pub result: (AxisId, u32),
    pub operands: Vec<WorkOperand>,
    /// Items that must come first although no value flows: readers of what a commit overwrites,
    /// parts of a concat.
    pub after: Vec<WorkItemId>,
    pub into: Option<Destination>,
    /// Index into [`WorkList::recurrences`] of the one that it belongs to.
    pub recurrence: Option<usize>,
    /// Of a [`WorkKind::Carry`] in a recurrence: the state that it takes from the step before.
    pub carried: Option<WorkOperand>,
    pub span: Span,
}

impl WorkItem {
    /// What it reads, now or at the next step.
    pub fn reads(&self) -> impl Iterator<Item = &WorkOperand> {
        self.operands.iter().chain(&self.carried)
    }

    /// Items whose results it needs.
    pub fn needs(&self) -> impl Iterator<Item = WorkItemId> + '_ {
        self.operands.iter().filter_map(WorkOperand::item).chain(self.after.iter().copied())
    }

    /// Whether a region computes it, or reads it to reduce it.
    pub fn is_in_a_region(&self) -> bool {
        matches!(self.kind, WorkKind::Elementwise(_) | WorkKind::Sum { .. } | WorkKind::Max { .. } | WorkKind::RowSum)
    }

    /// Whether its result exists only after the phase: joined from the chunks' partial copies.
    pub fn joins_chunks(&self) -> bool {
        match self.kind {
            WorkKind::Outer { .. } | WorkKind::Statistic(_) | WorkKind::Absorbed { form: Absorbed::Outer, .. } => true,
            WorkKind::Sum { to } | WorkKind::Max { to } => to == GLOBAL,
            WorkKind::Elementwise(_)
            | WorkKind::MatMul { .. }
            | WorkKind::MatMulT { .. }
            | WorkKind::Absorbed { form: Absorbed::Product | Absorbed::ProductT | Absorbed::Sum, .. }
            | WorkKind::SegmentReduce(_)
            | WorkKind::RowSum
            | WorkKind::Carry
            | WorkKind::Unflatten
            | WorkKind::Flatten
            | WorkKind::Concat => false,
        }
    }
}

/// Items that run step by step, and the [`WorkKind::Carry`] that takes a state, of a recurrence or
/// of a value that is there before, from the step before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkRecurrence {
    pub carry: WorkItemId,
    pub backward: bool,
}

/// A graph's items and where its roots are.
pub struct WorkList {
    pub items: Vec<WorkItem>,
    /// One operand a root of the graph, in order; none for commits.
    pub roots: Vec<Option<WorkOperand>>,
    pub recurrences: Vec<WorkRecurrence>,
    pub axes: AxisTree,
}

struct Lowering<'g> {
    graph: &'g Graph,
    items: Vec<WorkItem>,
    operands: FxHashMap<NodeId, WorkOperand>,
    /// Copies made so far: gathers and constants as views.
    copies: FxHashMap<(NodeId, u32), WorkOperand>,
    /// By number of a scan: the item that carries its state, and the state.
    carries: BTreeMap<usize, (WorkItemId, bool)>,
    states: BTreeMap<usize, WorkOperand>,
}

/// Turns what `order` (topological) lists of `graph` into items.
pub fn lower(graph: &Graph, order: &[NodeId]) -> WorkList {
    let mut l = Lowering {
        graph,
        items: Vec::new(),
        operands: FxHashMap::default(),
        copies: FxHashMap::default(),
        carries: BTreeMap::new(),
        states: BTreeMap::new(),
    };
    for &id in order {
        let mut operand = l.lower(id);
        // Under either name, entries are the rows of the same buffers.
        let axis = graph.node(id).axis;
        operand.second = graph.axes.first_name(axis) != axis;
        l.operands.insert(id, operand);
    }
    let mut roots = Vec::new();
    for root in &graph.roots {
        roots.push(l.root(root));
    }
    let recurrences = l.recurrences();
    WorkList { items: l.items, roots, recurrences, axes: graph.axes.clone() }
}

impl Lowering<'_> {
    fn push(&mut self, item: WorkItem) -> WorkOperand {
        let width = item.result.1;
        self.items.push(item);
        WorkOperand { src: OperandSource::Item(WorkItemId(self.items.len() - 1)), column: 0, width, second: false }
    }

    fn external(&self, place: Storage, at: AxisId, width: usize) -> WorkOperand {
        let width = width as u32;
        WorkOperand { src: OperandSource::External { place, axis: at, width }, column: 0, width, second: false }
    }

    fn lower(&mut self, id: NodeId) -> WorkOperand {
        let node = self.graph.node(id).clone();
        let width = node.width();
        let own = node.axis;
        let ops: Vec<WorkOperand> = node.operands.iter().map(|o| self.operands[o]).collect();
        let axes = &self.graph.axes;
        let item = |kind: WorkKind, at: AxisId, columns: usize, operands: Vec<WorkOperand>| WorkItem {
            kind,
            axis: axes.first_name(at),
            width: columns as u32,
            result: (axes.first_name(own), width as u32),
            operands,
            after: Vec::new(),
            into: None,
            recurrence: None,
            carried: None,
            span: node.span,
        };
        match node.op {
            Op::Const(c) => WorkOperand { src: OperandSource::Const(c), column: 0, width: width as u32, second: false },
            Op::Input(k) => {
                let input = &self.graph.inputs[k.index()];
                let place = match input.kind {
                    InputKind::Ids { .. } => unreachable!("`verify` lets look-ups alone read ids"),
                    InputKind::Dense { feature } => Storage::Dense(feature),
                    InputKind::Label { label } => Storage::Label(label),
                    InputKind::Present { label } => Storage::Present(label),
                    InputKind::Step => Storage::Step,
                    InputKind::Epoch => Storage::Epoch,
                    InputKind::SquaredNorms => Storage::SquaredNorms,
                    InputKind::Weight => Storage::Weight,
                    InputKind::Gradient => Storage::Gradient,
                    InputKind::Slot { slot } => Storage::UpdateSlot(slot),
                    InputKind::Frequency => Storage::Frequency,
                    InputKind::UpdateCount => Storage::UpdateCount,
                    InputKind::InBatch => Storage::InBatch,
                };
                self.external(place, input.axis, input.shape.width())
            }
            Op::Param(k) => self.external(Storage::Param(k.0), GLOBAL, width),
            Op::State(k) => self.external(Storage::State(k.0), GLOBAL, width),
            Op::Lookup { table, input } => {
                let rows = match self.graph.unique_key(node.axis, table, input) {
                    Some(key) => KernelArg::UniqueRows { axis: node.axis, key: key as u32 },
                    None => {
                        let feature = self.graph.ids_feature(input).expect("verify: a lookup reads ids");
                        KernelArg::Rows { table: table.0, feature }
                    }
                };
                let src = OperandSource::Gather { table: table.0, rows, axis: own, width: width as u32 };
                WorkOperand { src, column: 0, width: width as u32, second: false }
            }
            Op::Length(d) => self.external(Storage::Length(d), node.axis, 1),
            Op::Position(d) => self.external(Storage::Position(d), d, 1),
            Op::SampleNumber(d) => self.external(Storage::SampleNumber(d), d, 1),
            Op::DropoutMask { site, rate } => {
                let key = self.external(Storage::DropoutKey(site as u32), GLOBAL, 2);
                let half = |column| WorkOperand { column, width: 1, ..key };
                let component = match width {
                    1 => WorkOperand { src: OperandSource::Const(0.0), ..half(0) },
                    _ => self.external(Storage::Components(width as u32), GLOBAL, width),
                };
                let operands = ops.into_iter().chain([component, half(0), half(1)]).collect();
                self.push(item(WorkKind::Elementwise(ElementwiseOp::DropoutMask { rate }), own, width, operands))
            }
            Op::Count(d) => self.external(Storage::Count(d), GLOBAL, 1),
            Op::StopGradient | Op::Reshape => ops[0],
            Op::Rename { to } => {
                let from = self.graph.node(node.operands[0]).axis;
                if axes.first_name(from) == axes.first_name(to) {
                    return ops[0];
                }
                self.push(item(WorkKind::Elementwise(ElementwiseOp::Copy), own, width, ops))
            }
            Op::Unflatten { .. } => {
                let x = self.viewable(node.operands[0], BATCH);
                self.push(item(WorkKind::Unflatten, own, width, vec![x]))
            }
            Op::Flatten => {
                let at = self.graph.node(node.operands[0]).axis;
                let x = self.viewable(node.operands[0], at);
                let columns = x.width as usize;
                self.push(item(WorkKind::Flatten, at, columns, vec![x]))
            }
            Op::Previous { scan, backward } => {
                self.carries.insert(scan, (WorkItemId(self.items.len()), backward));
                self.push(item(WorkKind::Carry, own, width, Vec::new()))
            }
            Op::Scan { scan, .. } => {
                let state = self.viewable(node.operands[0], own);
                self.states.insert(scan, state);
                state
            }
            Op::Broadcast => self.push(item(WorkKind::Elementwise(ElementwiseOp::Copy), own, width, ops)),
            Op::Slice { start } => match ops[0].src {
                OperandSource::Const(_) => WorkOperand { width: width as u32, ..ops[0] },
                OperandSource::External { .. } | OperandSource::Gather { .. } | OperandSource::Item(_) => {
                    WorkOperand { column: ops[0].column + start as u32, width: width as u32, ..ops[0] }
                }
            },
            Op::Unary(op) => self.push(item(WorkKind::Elementwise(ElementwiseOp::Unary(op)), own, width, ops)),
            Op::Binary(op) => self.push(item(WorkKind::Elementwise(ElementwiseOp::Binary(op)), own, width, ops)),
            Op::Select => self.push(item(WorkKind::Elementwise(ElementwiseOp::Select), own, width, ops)),
            Op::SumValue => {
                let columns = ops[0].width as usize;
                self.push(item(WorkKind::RowSum, own, columns, ops))
            }
            Op::Sum { to } => {
                let mut at = self.graph.node(node.operands[0]).axis;
                let mut x = None;
                loop {
                    let (next, shared) = self.step(at, to);
                    let made = if shared {
                        let x = x.unwrap_or_else(|| self.viewable(node.operands[0], at));
                        item(WorkKind::SegmentReduce(SegmentReduction::Sum), next, width, vec![x])
                    } else {
                        item(WorkKind::Sum { to: next }, at, width, vec![x.unwrap_or(ops[0])])
                    };
                    let sum = self.push(WorkItem { result: (next, width as u32), ..made });
                    if next == to {
                        break sum;
                    }
                    (at, x) = (next, Some(sum));
                }
            }
            Op::Max { to } => {
                let at = self.graph.node(node.operands[0]).axis;
                if Some(to) != self.graph.axes.shared(at) {
                    return self.push(item(WorkKind::Max { to }, at, width, ops));
                }
                let x = self.viewable(node.operands[0], at);
                self.push(item(WorkKind::SegmentReduce(SegmentReduction::Max), to, width, vec![x]))
            }
            Op::Concat => {
                let mut whole = item(WorkKind::Concat, own, width, Vec::new());
                let into = WorkItemId(self.items.len() + ops.len());
                let mut column = 0;
                for o in ops {
                    let mut part = item(WorkKind::Elementwise(ElementwiseOp::Copy), own, o.width as usize, vec![o]);
                    part.result.1 = o.width;
                    part.into = Some(Destination::Concat { item: into, column });
                    whole.after.push(WorkItemId(self.items.len()));
                    self.items.push(part);
                    column += o.width;
                }
                self.push(whole)
            }
            Op::MatMul | Op::MatMulT => {
                let w = &self.graph.node(node.operands[1]).shape.0;
                let (k, n) = (w[0] as u32, w[1] as u32);
                let x = self.viewable(node.operands[0], node.axis);
                let w = self.viewable(node.operands[1], GLOBAL);
                let kind = if node.op == Op::MatMul { WorkKind::MatMul { k, n } } else { WorkKind::MatMulT { k, n } };
                self.push(item(kind, own, width, vec![x, w]))
            }
            Op::Outer => {
                let (x, g) = (node.operands[0], node.operands[1]);
                let (dx, dg) = (self.graph.node(x).axis, self.graph.node(g).axis);
                let at = self.graph.axes.join(dx, dg).expect("`verify` joins the axes of operands");
                let (k, n) = (self.graph.node(x).width() as u32, self.graph.node(g).width() as u32);
                let x = self.viewable(x, at);
                let g = self.viewable(g, at);
                self.push(item(WorkKind::Outer { k, n }, at, width, vec![x, g]))
            }
            Op::Absorbed(form) => {
                let at = self.graph.node(node.operands[0]).axis;
                let widths: Vec<u32> = node.operands.iter().map(|&o| self.graph.node(o).width() as u32).collect();
                let axes: Vec<AxisId> = node.operands.iter().map(|&o| self.graph.node(o).axis).collect();
                let (e, n) = match form {
                    Absorbed::Product | Absorbed::Sum => (widths[0], widths[2] / (2 * widths[0])),
                    Absorbed::ProductT => (width as u32, widths[0]),
                    Absorbed::Outer => (widths[0], widths[2]),
                };
                let ops = node.operands.iter().zip(axes).map(|(&o, d)| self.viewable(o, d)).collect();
                self.push(item(WorkKind::Absorbed { form, e, n }, at, width, ops))
            }
            Op::Statistic(statistic) => {
                let at = self.graph.node(node.operands[0]).axis;
                let x = self.viewable(node.operands[0], at);
                let columns = x.width as usize;
                self.push(item(WorkKind::Statistic(statistic), at, columns, vec![x]))
            }
        }
    }

    /// Says which items run step by step: those between a carry and the state that it carries.
    fn recurrences(&mut self) -> Vec<WorkRecurrence> {
        let mut recurrences = Vec::new();
        for (&scan, &(carry, backward)) in &self.carries {
            let state = self.states[&scan];
            let n = self.items.len();
            let (mut depends, mut needed) = (vec![false; n], vec![false; n]);
            depends[carry.0] = true;
            if let Some(last) = state.item() {
                needed[last.0] = true;
            }
            for k in 0..n {
                depends[k] |= self.items[k].needs().any(|need| depends[need.0]);
            }
            for k in (0..n).rev() {
                if needed[k] {
                    self.items[k].needs().for_each(|need| needed[need.0] = true);
                }
            }
            let members: Vec<usize> = (0..n).filter(|&k| depends[k] && needed[k]).collect();
            for &k in members.iter().chain([&carry.0]) {
                self.items[k].recurrence = Some(recurrences.len());
                // The parts of a concat are written where its buffer is made.
                if self.items[k].kind == WorkKind::Concat {
                    for part in self.items[k].after.clone() {
                        self.items[part.0].recurrence = Some(recurrences.len());
                    }
                }
            }
            let item = &mut self.items[carry.0];
            if members.is_empty() {
                item.operands.push(state)
            } else {
                item.carried = Some(state)
            }
            recurrences.push(WorkRecurrence { carry, backward });
        }
        recurrences
    }

    /// The first sum on the way from `at` to its ancestor `to`: what it sums into, and whether that
    /// is shared rather than a parent.
    fn step(&self, at: AxisId, to: AxisId) -> (AxisId, bool) {
        let axes = &self.graph.axes;
        if let Some(unique) = axes.unique(to) {
            return if unique.over == at { (to, true) } else { self.step(at, unique.over) };
        }
        let parent = axes.parent(at).expect("verify: a sum goes to an ancestor, and the global axis has none");
        match axes.shared(at) {
            _ if to == GLOBAL || to == parent => (to, false),
            Some(shared) if shared == to => (to, true),
            // From a sequence to the requests, or to what is over them: by the samples.
            Some(_) | None => (parent, false),
        }
    }

    /// The axis of an operand's source.
    fn axis_of(&self, o: &WorkOperand) -> AxisId {
        match o.src {
            OperandSource::Const(_) => din_program::schedule::GLOBAL,
            OperandSource::External { axis, .. } | OperandSource::Gather { axis, .. } => axis,
            OperandSource::Item(i) => self.items[i.0].result.0,
        }
    }

    /// An operand that is a plain array with one row for each element of `at`: a copy where it is
    /// gathered, constant or shallower.
    fn viewable(&mut self, id: NodeId, at: AxisId) -> WorkOperand {
        let o = self.operands[&id];
        let indexed = matches!(
            o.src,
            OperandSource::External {
                place: Storage::Weight
                    | Storage::UpdateSlot(_)
                    | Storage::Frequency
                    | Storage::UpdateCount
                    | Storage::InBatch
                    | Storage::Gradient,
                ..
            }
        );
        let plain = matches!(o.src, OperandSource::External { .. } | OperandSource::Item(_)) && !indexed;
        if plain && self.axis_of(&o) == self.graph.axes.first_name(at) {
            return o;
        }
        self.copy(id, at, o.width.max(self.graph.node(id).width() as u32))
    }

    fn copy(&mut self, id: NodeId, at: AxisId, width: u32) -> WorkOperand {
        let at = self.graph.axes.first_name(at);
        if let Some(o) = self.copies.get(&(id, at.0)) {
            return *o;
        }
        let o = self.operands[&id];
        let span = self.graph.node(id).span;
        let copied = self.push(WorkItem {
            kind: WorkKind::Elementwise(ElementwiseOp::Copy),
            axis: at,
            width,
            result: (at, width),
            operands: vec![o],
            after: Vec::new(),
            into: None,
            recurrence: None,
            carried: None,
            span,
        });
        self.copies.insert((id, at.0), copied);
        copied
    }

    fn root(&mut self, root: &Root) -> Option<WorkOperand> {
        let id = root.node();
        let node = self.graph.node(id);
        let width = node.width() as u32;
        let (at, place) = match root {
            Root::Weight(_) => (BATCH, Some(Storage::Weight)),
            Root::Slot { slot, .. } => (self.slot_axis(*slot), Some(Storage::UpdateSlot(*slot))),
            Root::RowGradient { .. } | Root::Named { .. } => (self.graph.axes.first_name(node.axis), None),
            Root::Loss(_) | Root::State { .. } | Root::ParamGradient { .. } => (GLOBAL, None),
            Root::Prediction { .. } | Root::Output { .. } => (BATCH, None),
        };
        if let Some(place) = place {
            self.commit(id, at, place, width);
            return None;
        }
        let o = self.operands[&id];
        let own = match o.src {
            // A root buffer is an item's whole result, or for row gradients any columns of it;
            // never an external one.
            OperandSource::Item(i) => {
                let r = self.items[i.0].result;
                let whole = matches!(root, Root::RowGradient { .. }) || (o.column == 0 && r.1 == width);
                whole && r.0 == at && self.items[i.0].into.is_none()
            }
            OperandSource::Const(_) | OperandSource::External { .. } | OperandSource::Gather { .. } => false,
        };
        Some(if own { o } else { self.copy(id, at, width) })
    }

    fn slot_axis(&self, slot: u32) -> AxisId {
        let input = self.graph.inputs.iter().find(|i| i.kind == InputKind::Slot { slot });
        input.map_or(BATCH, |i| i.axis)
    }

    /// Writes a value over the weights or a slot, after everything that reads the old one.
    fn commit(&mut self, id: NodeId, at: AxisId, place: Storage, width: u32) {
        let reads = |o: &WorkOperand| matches!(o.src, OperandSource::External { place: p, .. } if p == place);
        let after = self.items.iter().enumerate().filter(|(_, i)| i.operands.iter().any(reads));
        let after = after.map(|(k, _)| WorkItemId(k)).collect();
        let operand = self.operands[&id];
        let target = self.graph.inputs.iter().find(|i| match i.kind {
            InputKind::Weight => place == Storage::Weight,
            InputKind::Slot { slot } => place == Storage::UpdateSlot(slot),
            _ => false,
        });
        let width = target.map_or(width, |i| i.shape.width() as u32);
        self.items.push(WorkItem {
            kind: WorkKind::Elementwise(ElementwiseOp::Copy),
            axis: at,
            width,
            result: (at, width),
            operands: vec![operand],
            after,
            into: Some(Destination::External { place, axis: at, width }),
            recurrence: None,
            carried: None,
            span: self.graph.node(id).span,
        });
    }
}
