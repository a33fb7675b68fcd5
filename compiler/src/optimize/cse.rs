//! Common subexpressions: nodes with the same op, operands and type become one; of spans, the first
//! stays. Operands of commutative ops count as equal in either order (`a + b` and `b + a` round
//! alike).

use super::rewrite::rebuild;
use crate::graph::{AxisId, Graph, Node, NodeId, NodeOperands, Op, OpKey, Shape};
use rustc_hash::FxHashMap;

/// Whether the two operands may be exchanged.
pub(super) fn commutes(op: &Op) -> bool {
    matches!(op, Op::Binary(op) if op.description().commutes)
}

pub(super) fn run(graph: &mut Graph) {
    let mut known: FxHashMap<(OpKey, NodeOperands, AxisId, Shape), NodeId> = FxHashMap::default();
    rebuild(graph, |new, node: Node| {
        let mut operands = node.operands.clone();
        if commutes(&node.op) {
            operands.sort();
        }
        let key = (node.op.key(), operands, node.axis, node.shape.clone());
        *known.entry(key).or_insert_with(|| new.push(node))
    });
}
