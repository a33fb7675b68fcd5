//! The logit of a probability that the spec computes: `bernoulli(probability = a * b)`.
//!
//! `log(p / (1 - p))` of a number in f32 is infinite where `p` is near 1, and loses its digits
//! before. So the logarithms of `p` and of `1 - p` are made from the structure of the expression,
//! and each without a difference of near numbers:
//!
//! | `p` | `ln p` | `ln (1 - p)` |
//! | --- | --- | --- |
//! | `sigmoid(z)` | `-softplus(-z)` | `-softplus(z)` |
//! | `1 - a` | that of `1 - a` | that of `a` |
//! | `a * b` | `ln a + ln b` | that of `1 - a` and of `a (1 - b)`, added |
//! | `min(a, b)`, `max(a, b)`, `select(c, a, b)` | likewise | the other one of the two; likewise |
//! | `w * a + (1 - w) * b` | those of `w a` and `(1 - w) b`, added | those of `w (1 - a)` and `(1 - w) (1 - b)` |
//! | `(g * a + h * b + …) / (g + h + …)` | those of `g a`, `h b`, …, added | those of `g (1 - a)`, … |
//!
//! where `x` and `y` are added as `ln(e^x + e^y) = x + softplus(y - x)`, and the weights `g`, `h`
//! of a mean are `exp`, `softplus`, `sigmoid` or positive numbers. Any other expression is computed
//! as it is written and clamped to [`CLAMP`] and 1 less that.

use super::elaborator::Elaborator;
use crate::graph::{BinaryOp, Graph, Node, NodeId, Op, UnaryOp};
use din_grammar::{Diagnostic, Span};
use rustc_hash::FxHashMap;

/// How far a probability of unknown structure stays from 0 and 1: the distance of 1 from the next
/// smaller number of f32.
pub(super) const CLAMP: f64 = 1.0 / 16_777_216.0;

/// Most terms of a sum that is looked at as a mean: `x + x` of `x + x`, and so on, has many.
const MAX_TERMS: usize = 1024;

/// A probability, or the weight of one: the logarithms of it and of its complement.
#[derive(Clone, Copy, Debug)]
struct Logarithms {
    /// `ln p`
    of: NodeId,
    /// `ln (1 - p)`
    complement: NodeId,
}

/// How a probability is made of others.
enum Structure {
    Sigmoid(NodeId),
    Constant(f64),
    Complement(NodeId),
    Product(NodeId, NodeId),
    Least(NodeId, NodeId),
    Largest(NodeId, NodeId),
    Select(NodeId, NodeId, NodeId),
    /// The operation moves components or elements alone.
    Moved,
    /// `w * a + (1 - w) * b`
    Between {
        weight: NodeId,
        a: NodeId,
        b: NodeId,
    },
    /// A weighted mean: weights (`None` is 1) and probabilities.
    Mean(Vec<(Option<NodeId>, NodeId)>),
    Unknown,
}

impl Structure {
    /// The probabilities that it is made of.
    fn parts(&self, node: &Node) -> Vec<NodeId> {
        match self {
            Self::Sigmoid(_) | Self::Constant(_) | Self::Unknown => Vec::new(),
            Self::Complement(a) => vec![*a],
            Self::Product(a, b) | Self::Least(a, b) | Self::Largest(a, b) | Self::Select(_, a, b) => vec![*a, *b],
            Self::Moved => node.operands.to_vec(),
            Self::Between { weight, a, b } => vec![*weight, *a, *b],
            Self::Mean(terms) => terms.iter().map(|(_, p)| *p).collect(),
        }
    }
}

impl Elaborator<'_> {
    /// The logit of a probability in the graph. Warns of one whose structure is not known.
    pub fn logit_of_probability(&mut self, probability: NodeId, span: Span) -> NodeId {
        let graph = &mut self.walk.graph;
        // What it is made of has smaller numbers: a graph is built from the operands up.
        let mut structures: FxHashMap<NodeId, Structure> = FxHashMap::default();
        let mut open = vec![probability];
        while let Some(id) = open.pop() {
            structures.entry(id).or_insert_with(|| {
                let structure = structure(graph, id);
                open.extend(structure.parts(graph.node(id)));
                structure
            });
        }
        let mut ids: Vec<NodeId> = structures.keys().copied().collect();
        ids.sort_unstable();
        // What is made of an unknown part is unknown as a whole: a part may be above 1.
        let unknown = ids.iter().find(|id| matches!(structures[*id], Structure::Unknown)).copied();
        // A place in the library says nothing of the model.
        let library = |at: Span| self.sources.get(at.file).is_some_and(|f| f.name.starts_with("std."));
        let unknown = unknown.map(|id| graph.node(id).span).map(|at| if library(at) { span } else { at });
        if unknown.is_some() {
            structures.insert(probability, Structure::Unknown);
            ids = vec![probability];
        }
        let mut made: FxHashMap<NodeId, Logarithms> = FxHashMap::default();
        for id in ids {
            let logarithms = Builder { graph: &mut *graph, made: &made, span }.logarithms(id, &structures[&id]);
            made.insert(id, logarithms);
        }
        let Logarithms { of, complement } = made[&probability];
        let logit = Builder { graph: &mut *graph, made: &made, span }.binary(BinaryOp::Subtract, of, complement);
        if let Some(at) = unknown
            && self.walk.training
        {
            self.report(
                Diagnostic::warning("W0606", "this may not be a probability", at, "clamped to 6e-8 and 1 - 6e-8")
                    .note("known are `sigmoid`, products, `1 - p`, `min`, `max`, `select` and weighted means of these")
                    .help("end the network with `sigmoid(linear(…, 1))`, or give a `logit`"),
            );
        }
        logit
    }
}

/// How the value of a node is a probability.
fn structure(graph: &Graph, id: NodeId) -> Structure {
    let node = graph.node(id);
    let operand = |k: usize| node.operands[k];
    match node.op {
        Op::Unary(UnaryOp::Sigmoid) => Structure::Sigmoid(operand(0)),
        Op::Const(value) if value > 0.0 && value < 1.0 => Structure::Constant(value),
        Op::Binary(BinaryOp::Subtract) if constant(graph, operand(0)) == Some(1.0) => Structure::Complement(operand(1)),
        Op::Binary(BinaryOp::Add) => between(graph, id).unwrap_or_else(|| mean(graph, id, None)),
        Op::Binary(BinaryOp::Divide) => mean(graph, operand(0), Some(operand(1))),
        Op::Binary(BinaryOp::Multiply) => Structure::Product(operand(0), operand(1)),
        Op::Binary(BinaryOp::Min) => Structure::Least(operand(0), operand(1)),
        Op::Binary(BinaryOp::Max) => Structure::Largest(operand(0), operand(1)),
        Op::Select => Structure::Select(operand(0), operand(1), operand(2)),
        Op::StopGradient
        | Op::Broadcast
        | Op::Slice { .. }
        | Op::Reshape
        | Op::Concat
        | Op::Rename { .. }
        | Op::Unflatten { .. }
        | Op::Flatten => Structure::Moved,
        Op::Const(_)
        | Op::Binary(BinaryOp::Subtract | BinaryOp::Power | BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Equal)
        | Op::Unary(_)
        | Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Lookup { .. }
        | Op::Length(_)
        | Op::Position(_)
        | Op::Count(_)
        | Op::SampleNumber(_)
        | Op::DropoutMask { .. }
        | Op::MatMul
        | Op::MatMulT
        | Op::Outer
        | Op::Absorbed(_)
        | Op::Sum { .. }
        | Op::Max { .. }
        | Op::SumValue
        | Op::Statistic(_)
        | Op::Previous { .. }
        | Op::Scan { .. } => Structure::Unknown,
    }
}

fn constant(graph: &Graph, id: NodeId) -> Option<f64> {
    if let Op::Const(value) = graph.node(id).op { Some(value) } else { None }
}

/// The factors of a product of two.
fn factors(graph: &Graph, id: NodeId) -> Option<(NodeId, NodeId)> {
    let node = graph.node(id);
    (node.op == Op::Binary(BinaryOp::Multiply)).then(|| (node.operands[0], node.operands[1]))
}

/// `w * a + (1 - w) * b`, its factors and terms in any order.
fn between(graph: &Graph, id: NodeId) -> Option<Structure> {
    let operands = &graph.node(id).operands;
    let (first, second) = (factors(graph, operands[0])?, factors(graph, operands[1])?);
    for (w, a) in [first, (first.1, first.0)] {
        for (v, b) in [second, (second.1, second.0)] {
            if complement_of(graph, v) == Some(w) {
                return Some(Structure::Between { weight: w, a, b });
            }
            if complement_of(graph, w) == Some(v) {
                return Some(Structure::Between { weight: v, a: b, b: a });
            }
        }
    }
    None
}

/// `a` of `1 - a`.
fn complement_of(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let difference = node.op == Op::Binary(BinaryOp::Subtract) && constant(graph, node.operands[0]) == Some(1.0);
    difference.then(|| node.operands[1])
}

/// The terms of a sum, but for zeros; none where there are more than [`MAX_TERMS`].
fn terms(graph: &Graph, sum: NodeId) -> Vec<NodeId> {
    let (mut found, mut open) = (Vec::new(), vec![sum]);
    while let Some(id) = open.pop() {
        if found.len() + open.len() >= MAX_TERMS {
            return Vec::new();
        }
        let node = graph.node(id);
        if node.op == Op::Binary(BinaryOp::Add) {
            open.extend(node.operands.iter().rev());
        } else if constant(graph, id) != Some(0.0) {
            found.push(id);
        }
    }
    found
}

/// Whether a weight of a mean is above 0 whatever the data.
fn positive(graph: &Graph, id: NodeId) -> bool {
    let function = matches!(graph.node(id).op, Op::Unary(UnaryOp::Exp | UnaryOp::Softplus | UnaryOp::Sigmoid));
    function || constant(graph, id).is_some_and(|value| value > 0.0)
}

/// A mean of probabilities by weights: `(g * a + h * b) / (g + h)`, `(a + b) / 2`,
/// `g / (g + h) * a + h / (g + h) * b`, `0.25 * a + 0.75 * b`.
fn mean(graph: &Graph, sum: NodeId, divisor: Option<NodeId>) -> Structure {
    let quotient = |id: NodeId| {
        let node = graph.node(id);
        (node.op == Op::Binary(BinaryOp::Divide)).then(|| (node.operands[0], node.operands[1]))
    };
    let weights: Option<Vec<NodeId>> =
        divisor.filter(|&d| constant(graph, d).is_none()).map(|divisor| terms(graph, divisor));
    let mut found = Vec::new();
    let mut total = 0.0;
    for term in terms(graph, sum) {
        let Some((a, b)) = factors(graph, term) else {
            found.push((None, term));
            total += 1.0;
            continue;
        };
        let weighs = |w: NodeId| match &weights {
            Some(weights) => weights.contains(&w),
            None => constant(graph, w).is_some() || (divisor.is_none() && quotient(w).is_some()),
        };
        let (w, p) = if weighs(a) { (a, b) } else { (b, a) };
        let (weight, divided_by) = match quotient(w) {
            Some((weight, by)) if divisor.is_none() => (weight, Some(by)),
            _ => (w, None),
        };
        if let Some(by) = divided_by {
            // All are divided by the sum of all.
            let mut expected = terms(graph, by);
            let of = |t: &NodeId| factors(graph, *t).map(|(a, b)| [quotient(a), quotient(b)]);
            let weighing = |t: &NodeId| of(t).into_iter().flatten().flatten().find(|q| q.1 == by).map(|q| q.0);
            let own: Option<Vec<NodeId>> = terms(graph, sum).iter().map(weighing).collect();
            let Some(mut own) = own else { return Structure::Unknown };
            own.sort_unstable();
            expected.sort_unstable();
            if own != expected || !positive(graph, weight) {
                return Structure::Unknown;
            }
            total = 1.0;
        } else if let Some(c) = constant(graph, weight) {
            total += c;
        } else if weights.is_none() {
            return Structure::Unknown;
        }
        if !positive(graph, weight) {
            return Structure::Unknown;
        }
        found.push((Some(weight), p));
    }
    let whole = match (&weights, divisor) {
        (Some(weights), _) => {
            let mut own: Vec<NodeId> = found.iter().filter_map(|(w, _)| *w).collect();
            let mut weights = weights.clone();
            own.sort_unstable();
            weights.sort_unstable();
            own.len() == found.len() && own == weights
        }
        (None, Some(divisor)) => constant(graph, divisor).is_some_and(|d| (total - d).abs() <= 1e-12 * d.abs()),
        (None, None) => (total - 1.0f64).abs() <= 1e-12,
    };
    if whole && !found.is_empty() { Structure::Mean(found) } else { Structure::Unknown }
}

/// Makes logarithms in the graph.
struct Builder<'g> {
    graph: &'g mut Graph,
    made: &'g FxHashMap<NodeId, Logarithms>,
    span: Span,
}

impl Builder<'_> {
    fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        self.graph.binary(op, a, b, self.span).expect("the operands were combined in the spec, too")
    }

    fn unary(&mut self, op: UnaryOp, a: NodeId) -> NodeId {
        self.graph.unary(op, a, self.span)
    }

    /// `ln(e^a + e^b)`
    fn added(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let difference = self.binary(BinaryOp::Subtract, b, a);
        let softplus = self.unary(UnaryOp::Softplus, difference);
        self.binary(BinaryOp::Add, a, softplus)
    }

    /// `-softplus(a)`
    fn minus_softplus(&mut self, a: NodeId) -> NodeId {
        let softplus = self.unary(UnaryOp::Softplus, a);
        self.unary(UnaryOp::Negate, softplus)
    }

    /// The operation of a node on another operand.
    fn moved(&mut self, id: NodeId, operands: Vec<NodeId>) -> NodeId {
        let node = self.graph.node(id).clone();
        self.graph.push(Node { operands: operands.into(), ..node })
    }

    /// The logarithm of a weight above 0.
    fn of_weight(&mut self, weight: NodeId) -> NodeId {
        let node = self.graph.node(weight);
        if node.op == Op::Unary(UnaryOp::Exp) {
            return node.operands[0];
        }
        if node.op == Op::Unary(UnaryOp::Sigmoid) {
            let z = node.operands[0];
            let minus = self.unary(UnaryOp::Negate, z);
            return self.minus_softplus(minus);
        }
        match constant(self.graph, weight) {
            Some(value) => self.graph.constant(value.ln(), self.span),
            None => self.unary(UnaryOp::Log, weight),
        }
    }

    fn logarithms(&mut self, id: NodeId, structure: &Structure) -> Logarithms {
        let part = |me: &Self, id: &NodeId| me.made[id];
        match structure {
            Structure::Sigmoid(z) => {
                let minus = self.unary(UnaryOp::Negate, *z);
                Logarithms { of: self.minus_softplus(minus), complement: self.minus_softplus(*z) }
            }
            Structure::Constant(value) => {
                let node = self.graph.node(id).clone();
                let mut constant = |value: f64| self.graph.constant_of(value, node.axis, node.shape.clone(), self.span);
                Logarithms { of: constant(value.ln()), complement: constant((-value).ln_1p()) }
            }
            Structure::Complement(a) => {
                let Logarithms { of, complement } = part(self, a);
                Logarithms { of: complement, complement: of }
            }
            Structure::Product(a, b) => {
                let (a, b) = (part(self, a), part(self, b));
                let of = self.binary(BinaryOp::Add, a.of, b.of);
                let second = self.binary(BinaryOp::Add, a.of, b.complement);
                Logarithms { of, complement: self.added(a.complement, second) }
            }
            Structure::Least(a, b) | Structure::Largest(a, b) => {
                let (a, b) = (part(self, a), part(self, b));
                let least = matches!(structure, Structure::Least(..));
                let (op, other) = if least { (BinaryOp::Min, BinaryOp::Max) } else { (BinaryOp::Max, BinaryOp::Min) };
                let of = self.binary(op, a.of, b.of);
                Logarithms { of, complement: self.binary(other, a.complement, b.complement) }
            }
            Structure::Select(condition, a, b) => {
                let (a, b) = (part(self, a), part(self, b));
                let mut select = |a, b| {
                    let built = self.graph.select(*condition, a, b, self.span);
                    built.expect("the operands were combined in the spec, too")
                };
                Logarithms { of: select(a.of, b.of), complement: select(a.complement, b.complement) }
            }
            Structure::Moved => {
                let parts: Vec<Logarithms> =
                    self.graph.node(id).operands.clone().iter().map(|o| part(self, o)).collect();
                let of = self.moved(id, parts.iter().map(|p| p.of).collect());
                Logarithms { of, complement: self.moved(id, parts.iter().map(|p| p.complement).collect()) }
            }
            Structure::Between { weight, a, b } => {
                let (w, a, b) = (part(self, weight), part(self, a), part(self, b));
                let mut sum = |a: NodeId, b: NodeId| {
                    let (a, b) = (self.binary(BinaryOp::Add, w.of, a), self.binary(BinaryOp::Add, w.complement, b));
                    self.added(a, b)
                };
                Logarithms { of: sum(a.of, b.of), complement: sum(a.complement, b.complement) }
            }
            Structure::Mean(terms) => {
                let mut sums: Option<Logarithms> = None;
                for (weight, p) in terms {
                    let mut p = part(self, p);
                    if let Some(weight) = weight {
                        let weight = self.of_weight(*weight);
                        p.of = self.binary(BinaryOp::Add, weight, p.of);
                        p.complement = self.binary(BinaryOp::Add, weight, p.complement);
                    }
                    sums = Some(match sums {
                        None => p,
                        Some(sums) => Logarithms {
                            of: self.added(sums.of, p.of),
                            complement: self.added(sums.complement, p.complement),
                        },
                    });
                }
                let sums = sums.expect("a mean has a term");
                // The sum of both is that of the weights.
                let total = self.added(sums.of, sums.complement);
                Logarithms {
                    of: self.binary(BinaryOp::Subtract, sums.of, total),
                    complement: self.binary(BinaryOp::Subtract, sums.complement, total),
                }
            }
            Structure::Unknown => {
                let (least, largest) =
                    (self.graph.constant(CLAMP, self.span), self.graph.constant(1.0 - CLAMP, self.span));
                let above = self.binary(BinaryOp::Max, id, least);
                let clamped = self.binary(BinaryOp::Min, above, largest);
                let one = self.graph.constant(1.0, self.span);
                let complement = self.binary(BinaryOp::Subtract, one, clamped);
                Logarithms { of: self.unary(UnaryOp::Log, clamped), complement: self.unary(UnaryOp::Log, complement) }
            }
        }
    }
}
