//! The analytic cost of a graph: floating-point operations as a function of how many elements the
//! axes have.

use crate::graph::{Absorbed, Graph, NodeId, Op};

/// Operations of one run of what the roots need, with `counts[d]` elements in axis `d`.
///
/// A multiply-add counts 2: a product of a vector with a `k x n` matrix is `2 k n`, so is an outer
/// product. An elementwise op, transcendental or not, counts 1 a component; a sum or maximum 1 for
/// each number it reads; a statistic what its description says. Moving numbers (lookups, `Concat`,
/// `Slice`, `Reshape`,
/// `StopGradient`, `Broadcast`) counts 0.
pub fn flops(graph: &Graph, counts: &[f64]) -> f64 {
    graph.order().iter().map(|&id| node_flops(graph, id, counts)).sum()
}

/// Operations of one element of a node that is computed element by element, `once` or not.
pub(super) fn element_flops(graph: &Graph, id: NodeId) -> f64 {
    let node = graph.node(id);
    match node.op {
        Op::Unary(_) | Op::Binary(_) | Op::Select | Op::DropoutMask { .. } => node.width() as f64,
        Op::MatMul | Op::MatMulT => 2.0 * (node.width() * graph.node(node.operands[0]).width()) as f64,
        Op::SumValue => graph.node(node.operands[0]).width() as f64,
        Op::Const(_)
        | Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Lookup { .. }
        | Op::Length(_)
        | Op::Position(_)
        | Op::SampleNumber(_)
        | Op::Count(_)
        | Op::StopGradient
        | Op::Broadcast
        | Op::Rename { .. }
        | Op::Unflatten { .. }
        | Op::Flatten
        | Op::Concat
        | Op::Slice { .. }
        | Op::Reshape
        | Op::Previous { .. }
        | Op::Scan { .. } => 0.0,
        // Not computed element by element: see `node_flops`.
        Op::Outer | Op::Absorbed(_) | Op::Sum { .. } | Op::Max { .. } | Op::Statistic(_) => 0.0,
    }
}

/// Operations of one node.
pub(crate) fn node_flops(graph: &Graph, id: NodeId, counts: &[f64]) -> f64 {
    let node = graph.node(id);
    let operand = |k: usize| graph.node(node.operands[k]);
    let count = |d: crate::graph::AxisId| counts[d.index()];
    let (n, width) = (count(node.axis), node.width() as f64);
    match &node.op {
        Op::Unary(_)
        | Op::Select
        | Op::DropoutMask { .. }
        | Op::Binary(_)
        | Op::MatMul
        | Op::MatMulT
        | Op::SumValue => n * element_flops(graph, id),
        Op::Outer => {
            let over = graph.axes.join(operand(0).axis, operand(1).axis).expect("`verify` joins the axes of operands");
            2.0 * count(over) * width
        }
        Op::Absorbed(form) => {
            let (e, m) = match form {
                Absorbed::Product | Absorbed::Sum => {
                    (operand(0).width(), operand(2).width() / (2 * operand(0).width()))
                }
                Absorbed::ProductT => (node.width(), operand(0).width()),
                Absorbed::Outer => (operand(0).width(), operand(2).width()),
            };
            let (entries, samples) = (count(operand(0).axis), count(crate::graph::BATCH));
            // The sum takes the outer product's sample gradients: no product of its own.
            let products = if *form == Absorbed::Sum { 0.0 } else { 2.0 * entries * (e * m) as f64 };
            products + 2.0 * samples * (e * m) as f64
        }
        Op::Sum { .. } | Op::Max { .. } => count(operand(0).axis) * width,
        Op::Statistic(statistic) => statistic.description().flops * count(operand(0).axis) * operand(0).width() as f64,
        Op::Const(_)
        | Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Lookup { .. }
        | Op::Length(_)
        | Op::Position(_)
        | Op::SampleNumber(_)
        | Op::Count(_)
        | Op::StopGradient
        | Op::Broadcast
        | Op::Rename { .. }
        | Op::Unflatten { .. }
        | Op::Flatten
        | Op::Concat
        | Op::Slice { .. }
        | Op::Reshape
        | Op::Previous { .. }
        | Op::Scan { .. } => 0.0,
    }
}
