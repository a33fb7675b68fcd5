//! Local algebra: each node is replaced by a cheaper one of the same meaning, operands first, until
//! nothing changes.
//!
//! Rules come in three families: [`elementwise`] (constants, identities, signs, reassociation
//! towards shallower axes), [`structure`] (concatenations, slices, shapes) and [`invariance`] (what
//! is broadcast along an axis is computed without it). Rules may change rounding (they
//! reassociate), but not what a finite computation means, and they never make a NaN or infinity of
//! an empty sequence: what is divided by a length is not moved to where the length is 0.

mod elementwise;
mod invariance;
mod structure;

use super::rewrite::rebuild;
use crate::graph::{AxisId, BinaryOp, Graph, Node, NodeId, Op, Shape, TypeError, UnaryOp};
use din_grammar::Span;

/// Rounds of rewriting; each finds what the one before exposed. Two or three suffice in practice.
const ROUNDS: usize = 8;

pub(super) fn run(graph: &mut Graph) {
    for _ in 0..ROUNDS {
        let mut changed = false;
        rebuild(graph, |new, node| {
            let id = new.push(node);
            let mut s = Simplifier { g: new, s: Span::default(), changed: false, depth: 0 };
            let better = s.simple(id);
            changed |= s.changed;
            better
        });
        if !changed {
            break;
        }
    }
}

/// `stop_gradient` is the identity where nothing is to be differentiated any more.
pub(super) fn erase_stops(graph: &mut Graph) {
    if graph.ids().any(|id| graph.node(id).op == Op::StopGradient) {
        rebuild(graph, |new, node| if node.op == Op::StopGradient { node.operands[0] } else { new.push(node) });
    }
}

/// How deeply rules may apply to what rules made; a later round goes on.
const DEPTH: usize = 16;

/// Applies rules to nodes of a graph under construction. Builders here return simplified nodes.
struct Simplifier<'a> {
    g: &'a mut Graph,
    /// Span of the node being replaced.
    s: Span,
    changed: bool,
    depth: usize,
}

/// What a rule found: `None` where it does not apply.
type Found = Option<NodeId>;

impl Simplifier<'_> {
    /// `id`, or something cheaper of the same type.
    fn simple(&mut self, id: NodeId) -> NodeId {
        if self.depth >= DEPTH {
            return id;
        }
        let outer = std::mem::replace(&mut self.s, self.g.node(id).span);
        self.depth += 1;
        let found = elementwise::rule(self, id)
            .or_else(|| structure::rule(self, id))
            .or_else(|| invariance::rule(self, id))
            .filter(|&better| better != id && self.same_type(better, id));
        self.depth -= 1;
        self.s = outer;
        self.changed |= found.is_some();
        found.unwrap_or(id)
    }

    fn same_type(&self, a: NodeId, b: NodeId) -> bool {
        let (a, b) = (self.g.node(a), self.g.node(b));
        a.axis == b.axis && a.shape == b.shape
    }

    fn node(&self, id: NodeId) -> &Node {
        self.g.node(id)
    }

    fn op(&self, id: NodeId) -> &Op {
        &self.g.node(id).op
    }

    fn operand(&self, id: NodeId, k: usize) -> NodeId {
        self.g.node(id).operands[k]
    }

    fn constant(&self, id: NodeId) -> Option<f64> {
        if let Op::Const(c) = self.op(id) { Some(*c) } else { None }
    }

    fn is_unary(&self, id: NodeId, op: UnaryOp) -> bool {
        *self.op(id) == Op::Unary(op)
    }

    fn is_binary(&self, id: NodeId, op: BinaryOp) -> bool {
        *self.op(id) == Op::Binary(op)
    }

    /// Whether `a` lives strictly above `b`.
    fn above(&self, a: AxisId, b: AxisId) -> bool {
        a != b && self.g.axes.is_ancestor(a, b)
    }

    fn ok(&mut self, built: Result<NodeId, TypeError>) -> Found {
        built.ok().map(|id| self.simple(id))
    }

    fn unary(&mut self, op: UnaryOp, x: NodeId) -> Found {
        let id = self.g.unary(op, x, self.s);
        Some(self.simple(id))
    }

    fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Found {
        let id = self.g.binary(op, a, b, self.s);
        self.ok(id)
    }

    fn number(&mut self, value: f64) -> NodeId {
        self.g.constant(value, self.s)
    }

    /// `x` under the axis and shape of `like`.
    fn broadcast_like(&mut self, x: NodeId, like: NodeId) -> Found {
        let (axis, shape) = (self.node(like).axis, self.node(like).shape.clone());
        self.broadcast(x, axis, &shape)
    }

    fn broadcast(&mut self, x: NodeId, axis: AxisId, shape: &Shape) -> Found {
        if let (Some(c), true) = (self.constant(x), self.g.axes.is_ancestor(self.node(x).axis, axis)) {
            return Some(self.g.constant_of(c, axis, shape.clone(), self.s));
        }
        let id = self.g.broadcast(x, axis, shape, self.s);
        self.ok(id)
    }

    fn slice(&mut self, x: NodeId, start: usize, shape: Shape) -> Found {
        let id = self.g.slice(x, start, shape, self.s);
        self.ok(id)
    }

    fn reshape(&mut self, x: NodeId, shape: Shape) -> Found {
        let id = self.g.reshape(x, shape, self.s);
        self.ok(id)
    }

    fn concat(&mut self, operands: Vec<NodeId>) -> Found {
        let id = self.g.concat(operands, self.s);
        self.ok(id)
    }

    fn sum(&mut self, x: NodeId, to: AxisId) -> Found {
        let id = self.g.sum(x, to, self.s);
        self.ok(id)
    }

    fn sum_value(&mut self, x: NodeId) -> Found {
        let id = self.g.sum_value(x, self.s);
        Some(self.simple(id))
    }

    /// The same op on other operands, with the type they give; `None` where they do not fit. Of the
    /// operations that compute each element from operands at that element.
    fn again(&mut self, like: NodeId, operands: &[NodeId]) -> Found {
        let op = self.op(like).clone();
        let id = match (&op, operands) {
            (Op::Unary(op), &[x]) => Ok(self.g.unary(*op, x, self.s)),
            (Op::StopGradient, &[x]) => Ok(self.g.stop_gradient(x, self.s)),
            (Op::Binary(op), &[a, b]) => self.g.binary(*op, a, b, self.s),
            (Op::Select, &[c, a, b]) => self.g.select(c, a, b, self.s),
            (Op::Concat, _) => self.g.concat(operands.to_vec(), self.s),
            (Op::MatMul, &[x, w]) => self.g.matmul(x, w, self.s),
            (Op::MatMulT, &[x, w]) => self.g.matmul_t(x, w, self.s),
            (Op::SumValue, &[x]) => Ok(self.g.sum_value(x, self.s)),
            (op, operands) => unreachable!("{} of {} operands is not built again", op.name(), operands.len()),
        };
        self.ok(id)
    }
}
