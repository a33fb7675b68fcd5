//! Random valid graphs with a loss, and random inputs for them.
//!
//! A case is made from a seed alone. It has one to six samples, up to three sequences (in a good
//! part of the cases with empty lists, sometimes with nothing but empty lists), widths from 1 to
//! 20, and draws from all primitives alike. While it grows it is computed by the interpreter, and
//! what would be delicate is not taken: values beyond 30, comparisons and maxima within [`MARGIN`]
//! of a tie, roots and logarithms near 0. So central differences are meaningful, and f32 seldom
//! takes the other branch.
//!
//! Every value that nothing uses goes into the loss, so everything is live. All given numbers are
//! exact in f32.
//!
//! - `random`: the numbers. - `draw`: uses of primitives.

mod draw;
mod random;

pub use random::Random;

use crate::primitives::PRIMITIVES;
use din_compiler::graph::{
    AxisId, BATCH, BinaryOp, GLOBAL, Graph, GroupId, Input, InputId, InputKind, NodeId, ParamId, Root, Shape, StateId,
    TableId, UnaryOp,
};
use din_compiler::interpret::{Inputs, Run, Values};
use din_grammar::{Span, span::FileId};

/// Least distance from a jump or kink.
pub const MARGIN: f64 = 1e-2;
const LARGEST: f64 = 30.0;

/// A graph and everything it needs to run.
#[derive(Clone, Debug)]
pub struct Case {
    pub graph: Graph,
    pub inputs: Inputs,
    pub values: Values,
}

/// What to make.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of random draws; 0 for 24.
    pub draws: usize,
    /// Draw this primitive three times first, right on parameters, rows and data.
    pub focus: Option<&'static str>,
    /// Most positions of a drawn value; 0 for 20.
    pub widest: usize,
}

/// Whether some list of some sequence is empty.
pub fn has_empty(case: &Case) -> bool {
    case.inputs.offsets.iter().any(|o| o.windows(2).any(|w| w[0] == w[1]))
}

/// A case from a seed. Its roots: `Loss`, a `Prediction`, a `State` for each state, two `Named`.
pub fn case(seed: u64, options: &Options) -> Case {
    let mut maker = Maker::new(seed, if options.widest == 0 { 20 } else { options.widest });
    maker.sources();
    if let Some(focus) = options.focus {
        let mut made = 0;
        for _ in 0..60 {
            made += usize::from(maker.draw(focus).is_some());
            if made == 3 {
                break;
            }
        }
    }
    let draws = if options.draws == 0 { 24 } else { options.draws };
    for _ in 0..draws {
        let name = PRIMITIVES[maker.r.below(PRIMITIVES.len())];
        maker.draw(name);
    }
    maker.finish()
}

/// Requests of 1 to 3 samples above the batch; some of the sequences become common.
fn requests(r: &mut Random, g: &mut Graph, inputs: &mut Inputs) {
    let sequences: Vec<AxisId> = (2..g.axes.count() as u32).map(AxisId).filter(|_| r.chance(0.6)).collect();
    inputs.requests = vec![0];
    let mut at = 0;
    while at < inputs.batch {
        at = inputs.batch.min(at + 1 + r.below(3));
        inputs.requests.push(at);
    }
    g.axes.add_requests(&sequences);
    inputs.offsets.resize(g.axes.count(), Vec::new());
    for &s in &sequences {
        let Some(entries) = g.axes.shared(s) else { continue };
        let mut offsets = std::mem::take(&mut inputs.offsets[s.index()]);
        offsets.truncate(inputs.requests.len());
        inputs.offsets[entries.index()] = offsets;
    }
}

struct Maker {
    r: Random,
    g: Graph,
    inputs: Inputs,
    values: Values,
    run: Run,
    /// What may be used as an operand.
    pool: Vec<NodeId>,
    features: u32,
    widest: usize,
}

type Made = Option<NodeId>;

impl Maker {
    fn new(seed: u64, widest: usize) -> Self {
        let mut r = Random::new(seed);
        let mut g = Graph::default();
        let batch = 1 + r.below(6);
        let mut inputs =
            Inputs { batch, offsets: vec![vec![], vec![]], steps: seed % 20, seed: seed ^ 0xD1CE, ..Inputs::default() };
        for k in 0..r.below(4) {
            g.axes.add_sequence(format!("s{k}"), k as u32, BATCH);
            let (all_empty, some_empty) = (r.chance(0.08), r.chance(0.5));
            let mut offsets = vec![0];
            for _ in 0..batch {
                let n = if all_empty || some_empty && r.chance(0.4) { 0 } else { 1 + r.below(6) };
                offsets.push(offsets[offsets.len() - 1] + n);
            }
            inputs.offsets.push(offsets);
        }
        if r.chance(0.35) {
            requests(&mut r, &mut g, &mut inputs);
        }
        // Lists of one length; of some lists, pairs of entries, and pairs of the samples of
        // requests.
        for k in 0..[0, 1, 1, 2][r.below(4)] {
            g.axes.add_fixed(format!("f{k}"), 1 + r.below(4) as u32);
        }
        let lists = |d: &AxisId| g.axes.parent(*d) == Some(BATCH) || *d == BATCH && g.axes.request().is_some();
        let lists: Vec<AxisId> = g.axes.ids().filter(lists).collect();
        for list in lists.into_iter().filter(|_| r.chance(0.5)) {
            g.axes.add_pairs(list, "t");
        }
        inputs.offsets.resize(g.axes.count(), Vec::new());
        let run = Run::new(&g, &inputs).expect("the offsets fit the axes");
        Maker { r, g, inputs, values: Values::default(), run, pool: Vec::new(), features: 0, widest }
    }

    /// A span of its own for every node, as if each stood on its own line.
    fn span(&mut self) -> Span {
        let at = self.g.len() * 10;
        Span::new(FileId(0), at, at + 5)
    }

    fn width(&mut self) -> usize {
        if self.r.chance(0.2) { 1 } else { 1 + self.r.below(self.widest) }
    }

    fn axes(&self) -> Vec<AxisId> {
        (0..self.g.axes.count() as u32).map(AxisId).collect()
    }

    fn varying_axis(&mut self) -> AxisId {
        let axes = self.axes();
        self.r.pick(&axes[1..]).unwrap_or(BATCH)
    }

    fn count(&self, d: AxisId) -> usize {
        self.run.sizes().count(d)
    }

    fn axis(&self, id: NodeId) -> AxisId {
        self.g.node(id).axis
    }

    fn shape(&self, id: NodeId) -> Shape {
        self.g.node(id).shape.clone()
    }

    /// Computes a node; takes it unless its values are wild.
    fn take(&mut self, id: NodeId) -> Made {
        self.run.compute(&self.g, &self.inputs, &self.values, id).expect("the maker's graphs run");
        let tame = self.run.value(id).iter().all(|v| v.is_finite() && v.abs() <= LARGEST);
        let fine = tame && (self.shape(id).width() > 1 || self.shape(id).0.len() == 1);
        if fine {
            self.pool.push(id);
            Some(id)
        } else {
            None
        }
    }

    /// Computes a recurrence and offers its state before and after each entry. What it makes of
    /// states is not delicate.
    fn take_recurrence(&mut self, before: NodeId, end: NodeId) -> Made {
        let (g, inputs, values) = (&self.g, &self.inputs, &self.values);
        for stage in g.stages_from([before]) {
            let computed = self.run.compute_stage(g, &stage, &mut |run, id| run.compute(g, inputs, values, id));
            computed.expect("the maker's graphs run");
        }
        self.pool.extend([before, end]);
        Some(end)
    }

    /// Computes a node without offering it as an operand.
    fn keep(&mut self, id: NodeId) -> NodeId {
        self.run.compute(&self.g, &self.inputs, &self.values, id).expect("the maker's graphs run");
        id
    }

    /// Something learned or given in every axis, to draw from.
    fn sources(&mut self) {
        for _ in 0..2 {
            self.new_table();
        }
        self.draw("param");
        for d in 1..self.g.axes.count() {
            let (w, d) = (self.width(), AxisId(d as u32));
            self.lookup(d);
            self.dense(d, w);
            if self.g.axes.fixed(d).is_some() {
                self.unflatten(d);
            }
            self.rename(d);
        }
    }

    fn new_table(&mut self) -> TableId {
        let (width, rows) = (self.width(), 2 + self.r.below(10));
        self.g.tables.push(width);
        let weights = self.r.numbers(rows * width);
        self.values.tables.push(weights);
        TableId(self.g.tables.len() as u32 - 1)
    }

    fn new_input(&mut self, kind: InputKind, axis: AxisId, shape: Shape, numbers: Vec<f64>) -> InputId {
        let k = self.g.inputs.len();
        let name = format!("g{}.x{k}", k % 2);
        self.g.inputs.push(Input { name, kind, axis, shape });
        self.inputs.numbers.push(numbers);
        InputId(self.g.inputs.len() as u32 - 1)
    }

    /// Where data of that axis come in: those of a common sequence once per request; for pairs of
    /// entries, on the axis of the entries; for lists of one length, on the samples.
    fn given(&self, axis: AxisId) -> AxisId {
        let axis = self.g.axes.first_name(match self.g.axes.second_of_pairs(axis) {
            Some(second) => second,
            None => axis,
        });
        if self.g.axes.fixed(axis).is_some() {
            return BATCH;
        }
        self.g.axes.shared(axis).filter(|_| axis != BATCH).unwrap_or(axis)
    }

    fn dense(&mut self, axis: AxisId, width: usize) -> NodeId {
        let axis = self.given(axis);
        let feature = self.features;
        self.features += 1;
        let numbers = self.r.numbers(self.run.sizes().count(axis) * width);
        let input = self.new_input(InputKind::Dense { feature }, axis, Shape::vector(width), numbers);
        let span = self.span();
        let id = self.g.input(input, span);
        self.take(id).expect("data are within range")
    }

    fn lookup(&mut self, axis: AxisId) -> Made {
        let axis = self.given(axis);
        let table = TableId(self.r.below(self.g.tables.len()) as u32);
        let ids = |i: &Input| matches!(i.kind, InputKind::Ids { .. }) && i.axis == axis;
        let known: Vec<usize> = (0..self.g.inputs.len()).filter(|&k| ids(&self.g.inputs[k])).collect();
        let input = match self.r.pick(&known) {
            Some(k) if self.r.chance(0.3) => InputId(k as u32),
            _ => {
                let feature = self.features;
                self.features += 1;
                let group = GroupId(self.g.inputs.len() as u32 % 2);
                self.new_input(InputKind::Ids { feature, group }, axis, Shape::scalar(), vec![])
            }
        };
        let rows = self.values.tables[table.index()].len() / self.g.tables[table.index()];
        let n = self.count(axis);
        let drawn: Vec<usize> = (0..n).map(|_| self.r.below(rows)).collect();
        self.inputs.rows.entry((table, input)).or_insert(drawn);
        let span = self.span();
        let id = self.g.lookup(table, input, span);
        self.take(id)
    }

    /// Some vector of the samples, or of what is above them, as the entries of a fixed axis.
    pub(super) fn unflatten(&mut self, axis: AxisId) -> Made {
        let axis = self.g.axes.first_name(axis);
        let size = self.g.axes.fixed(axis)? as usize;
        let fits = |m: &Self, id: NodeId| {
            let node = m.g.node(id);
            let vector = node.shape.0.len() == 1 && node.width().is_multiple_of(size);
            vector && m.g.axes.is_ancestor(node.axis, BATCH)
        };
        let x = match self.where_(fits) {
            Some(x) if self.r.chance(0.7) => x,
            _ => {
                let parts = 1 + self.r.below(self.widest.div_ceil(size));
                self.dense(BATCH, size * parts)
            }
        };
        let span = self.span();
        let id = self.g.unflatten(x, axis, span).ok()?;
        self.take(id)
    }

    /// Some value of the entries of `axis` under its other name.
    pub(super) fn rename(&mut self, axis: AxisId) -> Made {
        let first = self.g.axes.first_name(axis);
        let [second, _] = self.g.axes.pairs(first)?;
        let to = if axis == first { second } else { first };
        let x = self.where_(|m, id| m.axis(id) == axis)?;
        let span = self.span();
        let id = self.g.rename(x, to, span).ok()?;
        self.take(id)
    }

    fn param(&mut self, shape: Shape) -> NodeId {
        let numbers = self.r.numbers(shape.width());
        self.g.params.push(shape);
        self.values.params.push(numbers);
        let span = self.span();
        let id = self.g.param(ParamId(self.g.params.len() as u32 - 1), span);
        self.take(id).expect("weights are within range")
    }

    /// A random operand; recent ones more often, so that graphs grow deep.
    fn any(&mut self) -> NodeId {
        let n = self.pool.len();
        let back = if self.r.chance(0.5) { self.r.below(n.min(8)) } else { self.r.below(n) };
        self.pool[n - 1 - back]
    }

    fn where_(&mut self, holds: impl Fn(&Self, NodeId) -> bool) -> Made {
        let fit: Vec<NodeId> = self.pool.iter().copied().filter(|&id| holds(self, id)).collect();
        let recent = fit.len().saturating_sub(12);
        if self.r.chance(0.5) { self.r.pick(&fit[recent..]) } else { self.r.pick(&fit) }
    }

    fn vector(&mut self) -> NodeId {
        match self.where_(|m, id| m.g.node(id).shape.0.len() == 1) {
            Some(id) => id,
            None => self.dense(BATCH, 3),
        }
    }

    /// Something that an elementwise op can take beside `a`.
    fn beside(&mut self, a: NodeId) -> NodeId {
        let (axis, shape) = (self.axis(a), self.shape(a));
        let scalar = self.r.chance(0.25);
        let found = self.where_(|m, id| {
            let n = m.g.node(id);
            id != a
                && m.g.axes.join(n.axis, axis).is_some()
                && if scalar { n.shape == Shape::scalar() } else { n.shape == shape }
        });
        if let Some(b) = found {
            return b;
        }
        if shape.0.len() == 2 || self.r.chance(0.5) {
            return self.param(shape);
        }
        let above: Vec<AxisId> =
            self.axes().into_iter().filter(|&d| d != GLOBAL && self.g.axes.join(d, axis).is_some()).collect();
        let axis = self.r.pick(&above).unwrap_or(BATCH);
        self.dense(axis, shape.width())
    }

    fn number(&mut self, value: f64) -> NodeId {
        let span = self.span();
        let id = self.g.constant(value, span);
        self.keep(id)
    }

    fn unary(&mut self, op: UnaryOp, x: NodeId) -> NodeId {
        let span = self.span();
        let id = self.g.unary(op, x, span);
        self.keep(id)
    }

    fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Made {
        let span = self.span();
        let id = self.g.binary(op, a, b, span).ok()?;
        Some(self.keep(id))
    }

    /// `softplus(x) + least`: positive.
    fn positive(&mut self, x: NodeId, least: f64) -> Made {
        let soft = self.unary(UnaryOp::Softplus, x);
        let least = self.number(least);
        self.binary(BinaryOp::Add, soft, least)
    }

    /// Whether `a - b` stays clear of 0 everywhere.
    fn clear(&mut self, a: NodeId, b: NodeId) -> bool {
        match self.binary(BinaryOp::Subtract, a, b) {
            Some(d) => self.run.value(d).iter().all(|v| v.abs() > MARGIN),
            None => false,
        }
    }

    /// One number for each element, differently bent, so that adjoints vary: `softplus(sum of
    /// positions of x c)`.
    fn bend(&mut self, x: NodeId) -> Made {
        let c = f64::from((0.2 + 0.5 * self.r.unit()) as f32) / (self.shape(x).width() as f64).sqrt();
        let total = {
            let s = self.span();
            self.g.sum_value(x, s)
        };
        self.keep(total);
        let c = self.number(f64::from(c as f32));
        let scaled = self.binary(BinaryOp::Multiply, total, c)?;
        Some(if self.r.chance(0.5) { self.unary(UnaryOp::Softplus, scaled) } else { self.unary(UnaryOp::Tanh, scaled) })
    }

    /// The loss takes in everything that nothing else uses.
    fn finish(mut self) -> Case {
        let mut used = vec![false; self.g.bound()];
        for id in self.g.ids() {
            // Operands of what the pool holds; abandoned trials do not count.
            if self.pool.contains(&id) {
                for n in self.g.order_from([id]).iter().filter(|&&n| n != id) {
                    used[n.index()] = true;
                }
            }
        }
        let sinks: Vec<NodeId> = self.pool.iter().copied().filter(|id| !used[id.index()]).collect();
        let mut loss = self.number(0.0);
        let mut logit: Option<NodeId> = None;
        for x in sinks {
            let bent = self.bend(x).expect("sums of positions are elementwise");
            let mut term = bent;
            if self.axis(bent) == BATCH {
                logit = Some(bent);
            }
            if self.axis(term) != GLOBAL {
                let span = self.span();
                term = self.g.sum(term, GLOBAL, span).expect("once lies above all");
                self.keep(term);
            }
            loss = self.binary(BinaryOp::Add, loss, term).expect("scalars");
        }
        let span = self.span();
        let prediction = match logit {
            Some(logit) => logit,
            None => self.g.broadcast(loss, BATCH, &Shape::scalar(), span).expect("once lies above all"),
        };
        self.g.roots.push(Root::Loss(loss));
        self.g.roots.push(Root::Prediction { index: 0, node: prediction });
        for k in 0..self.g.states.len() {
            let state = StateId(k as u32);
            let shape = self.g.states[k].clone();
            let found = self.where_(|m, id| m.axis(id) == GLOBAL && m.shape(id) == shape);
            let node = found.unwrap_or_else(|| {
                let s = self.span();
                self.g.state(state, s)
            });
            self.g.roots.push(Root::State { state, node });
        }
        for name in ["a", "b"] {
            let node = self.any();
            self.g.roots.push(Root::Named { name: name.into(), node });
        }
        Case { graph: self.g, inputs: self.inputs, values: self.values }
    }
}
