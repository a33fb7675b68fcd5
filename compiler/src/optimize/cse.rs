//! Common subexpressions: nodes with the same op, operands and type become one; of spans, the first stays.
//! Operands of commutative ops count as equal in either order (`a + b` and `b + a` round alike).

use super::rewrite::rebuild;
use crate::graph::{AxisId, Graph, Node, NodeId, Op, Shape};
use rustc_hash::FxHashMap;
use std::mem::{Discriminant, discriminant};

/// An op by its bits, so that constants compare exactly.
type OpKey = (Discriminant<Op>, u64, u64);

fn key(op: &Op) -> OpKey {
    let (a, b) = match op {
        Op::Const(c) => (c.to_bits(), 0),
        Op::Input(k) => (k.0.into(), 0),
        Op::Param(k) => (k.0.into(), 0),
        Op::State(k) => (k.0.into(), 0),
        Op::Lookup { table, input } => (table.0.into(), input.0.into()),
        Op::Length(d) | Op::Count(d) => (d.0.into(), 0),
        Op::Unary(op) => (*op as u64, 0),
        Op::Binary(op) => (*op as u64, 0),
        Op::Slice { start } => (*start as u64, 0),
        Op::Sum { to } | Op::Max { to } => (to.0.into(), 0),
        Op::Absorbed(form) => (*form as u64, 0),
        Op::Select
        | Op::StopGradient
        | Op::Broadcast
        | Op::Concat
        | Op::Reshape
        | Op::MatMul
        | Op::MatMulT
        | Op::Outer
        | Op::SumValue
        | Op::Moments => (0, 0),
    };
    (discriminant(op), a, b)
}

/// Whether the two operands may be exchanged.
pub(super) fn commutes(op: &Op) -> bool {
    matches!(op, Op::Binary(op) if op.description().commutes)
}

pub(super) fn run(graph: &mut Graph) {
    let mut known: FxHashMap<(OpKey, Vec<NodeId>, AxisId, Shape), NodeId> = FxHashMap::default();
    rebuild(graph, |new, node: Node| {
        let mut operands = node.operands.clone();
        if commutes(&node.op) {
            operands.sort();
        }
        let key = (key(&node.op), operands, node.axis, node.shape.clone());
        *known.entry(key).or_insert_with(|| new.push(node))
    });
}
