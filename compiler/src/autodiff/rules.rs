//! The derivative of every op: given `g`, the adjoint of `y = op(x, …)`, what each operand's
//! adjoint gains.
//!
//! `g` has the node's axis and shape. What an arm computes for an operand may stand in a deeper
//! axis than the operand (which was broadcast along it) and, for a scalar operand, at several
//! components; `fit` sums over both, which is the derivative of a broadcast.

use super::adjoint::Adjoint;
use super::builder::GradientBuilder;
use crate::elementwise::{BinaryDerivative, BinaryGradient, UnaryDerivative};
use crate::graph::{
    BinaryOp::{self, Divide, Equal, Multiply},
    Graph, Node, NodeId, Op, TypeError,
};
use crate::statistic::meaning_of;
use std::collections::BTreeMap;

type Built = Result<NodeId, TypeError>;

/// Whether a gradient passes from the node to operand `k`.
pub(super) fn passes(op: &Op, k: usize) -> bool {
    *op != Op::StopGradient && flat(op, k).is_none()
}

/// The name of an op whose derivative by operand `k` is 0 wherever it exists.
pub(super) fn flat(op: &Op, k: usize) -> Option<&'static str> {
    Some(match op {
        Op::Unary(op) => match op.description().derivative {
            UnaryDerivative::Zero(name) => name,
            UnaryDerivative::Gain(_) => return None,
        },
        Op::Binary(op) => match op.description().derivative {
            BinaryDerivative::Zero(name) => name,
            BinaryDerivative::Gain(_) => return None,
        },
        Op::Select if k == 0 => "the condition of a `select`",
        _ => return None,
    })
}

/// Adds what node `id` with adjoint `g` gives to its active operands.
pub(super) fn propagate(
    graph: &mut Graph,
    id: NodeId,
    g: NodeId,
    active: &[bool],
    adjoints: &mut BTreeMap<NodeId, Adjoint>,
) -> Result<(), TypeError> {
    let node = graph.node(id).clone();
    for (k, &x) in node.operands.iter().enumerate() {
        if !active[x.index()] || !passes(&node.op, k) {
            continue;
        }
        let mut b = GradientBuilder { graph, s: node.span };
        let gain = gain(&mut b, &node, id, g, k)?;
        if let Op::Slice { start } = node.op {
            adjoints.entry(x).or_default().add_piece(start, gain);
        } else {
            let fitted = b.fit(gain, x)?;
            adjoints.entry(x).or_default().add(fitted);
        }
    }
    Ok(())
}

/// What the adjoint of operand `k` gains, before [`GradientBuilder::fit`].
fn gain(b: &mut GradientBuilder, node: &Node, y: NodeId, g: NodeId, k: usize) -> Built {
    let x = node.operands[k];
    let other = |at: usize| node.operands[at];
    match node.op {
        Op::Unary(op) => match op.description().derivative {
            UnaryDerivative::Gain(gain) => gain(b, x, y, g),
            UnaryDerivative::Zero(_) => Err(TypeError::Empty),
        },
        Op::Binary(op) => match op.description().derivative {
            BinaryDerivative::Gain(gain) => gain(b, BinaryGradient { l: other(0), r: other(1), y, g }, k),
            BinaryDerivative::Zero(_) => Err(TypeError::Empty),
        },
        // y = c != 0 ? a : b; the branch taken gains g.
        Op::Select => {
            let zero = b.number(0.0);
            if k == 1 { b.graph.select(other(0), g, zero, b.s) } else { b.graph.select(other(0), zero, g, b.s) }
        }
        // y = (x_0, x_1, …); x_k gains its components of g.
        Op::Concat => {
            let start = node.operands[..k].iter().map(|&o| b.graph.node(o).width()).sum();
            let shape = b.graph.node(x).shape.clone();
            b.graph.slice(g, start, shape, b.s)
        }
        // y = x[start..]; those components of dx gain g.
        Op::Slice { .. } => b.flatten(g),
        // y = x at every element and component: dx is the sum of g over them, which `fit` takes.
        Op::Broadcast => Ok(g),
        // The same values; what reaches the state through the entry behind is in `g`.
        Op::Scan { .. } => Ok(g),
        // The same values, under the name that the entries have in the operand.
        Op::Rename { .. } => {
            let axis = b.graph.node(x).axis;
            b.graph.rename(g, axis, b.s)
        }
        // Each entry is a part of the vector, and gives its gradient to that part.
        Op::Unflatten { .. } => b.graph.flatten(g, b.s),
        Op::Flatten => {
            let axis = b.graph.node(x).axis;
            b.graph.unflatten(g, axis, b.s)
        }
        // The same numbers under the operand's shape.
        Op::Reshape => {
            let shape = b.graph.node(x).shape.clone();
            b.graph.reshape(g, shape, b.s)
        }
        // y_i = x_i W: dx_i = g_i W^T, dW = sum_i x_i^T g_i.
        Op::MatMul if k == 0 => b.graph.matmul_t(g, other(1), b.s),
        Op::MatMul => b.graph.outer(other(0), g, b.s),
        // y_i = x_i W^T: dx_i = g_i W, dW = sum_i g_i^T x_i.
        Op::MatMulT if k == 0 => b.graph.matmul(g, other(1), b.s),
        Op::MatMulT => b.graph.outer(g, other(0), b.s),
        // Made after differentiation.
        Op::Absorbed(_) => Err(TypeError::NotAVector { found: node.shape.clone() }),
        // Y = sum_i x_i^T h_i: dx_i = h_i G^T, dh_i = x_i G; each at the axis of the other, which
        // may be the shallower.
        Op::Outer => {
            let gain = if k == 0 { b.graph.matmul_t(other(1), g, b.s)? } else { b.graph.matmul(other(0), g, b.s)? };
            let (axis, shape) = (b.graph.node(x).axis, b.graph.node(gain).shape.clone());
            // Where both are defined; `fit` sums what lies deeper than x.
            let over = b.graph.axes.join(b.graph.node(gain).axis, axis).expect("`verify` joins the axes of operands");
            b.graph.broadcast(gain, over, &shape, b.s)
        }
        // y_p = sum of x_i under p: dx_i = g_p.
        Op::Sum { .. } => b.broadcast_to(g, x),
        // y_p = the greatest x_i under p, by component: its gradient is shared evenly among the
        // elements that attain it. (The count is 0 where there is no element; the guard keeps that
        // from making a NaN that nobody reads.)
        Op::Max { to } => {
            let attains = b.binary(Equal, x, y)?;
            let ties = b.graph.sum(attains, to, b.s)?;
            let one = b.number(1.0);
            let ties = b.binary(BinaryOp::Max, ties, one)?;
            let share = b.binary(Divide, g, ties)?;
            b.binary(Multiply, attains, share)
        }
        // y = sum of the components of x: every component gains g.
        Op::SumValue => b.broadcast_to(g, x),
        Op::Statistic(statistic) => (meaning_of(statistic).gain)(b, x, y, g),
        // No operands, or no gradient: `propagate` does not come here.
        Op::Const(_)
        | Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Lookup { .. }
        | Op::Length(_)
        | Op::Position(_)
        | Op::SampleNumber(_)
        | Op::DropoutMask { .. }
        | Op::Count(_)
        | Op::Previous { .. }
        | Op::StopGradient => Err(TypeError::Empty),
    }
}
