//! What does not vary along an axis is computed without it.
//!
//! A node's axis is the deepest of its operands', so only `Broadcast` and constants of a deep type
//! make a value vary less than its type says. Users take the value itself where their type stays
//! the same; otherwise the op is done on the values themselves and the result is broadcast.

use super::{Found, Simplifier};
use crate::graph::{AxisId, BinaryOp, GLOBAL, NodeId, NodeOperands, Op, Shape};

pub(super) fn rule(s: &mut Simplifier, id: NodeId) -> Found {
    match *s.op(id) {
        Op::Broadcast => {
            let x = s.operand(id, 0);
            if s.constant(x).is_some() || s.same_type(x, id) {
                return s.broadcast_like(x, id);
            }
            let inner = s.g.broadcast_source(x)?;
            s.broadcast_like(inner, id)
        }
        Op::Unary(_) | Op::StopGradient | Op::Binary(_) | Op::Select => elementwise(s, id),
        Op::Concat => {
            let operands = s.node(id).operands.clone();
            let bare: NodeOperands = operands.iter().map(|&o| along_components(s, o)).collect::<Option<_>>()?;
            if bare == operands {
                return None;
            }
            let concat = s.again(id, &bare)?;
            s.broadcast_like(concat, id)
        }
        Op::Slice { .. } | Op::Reshape | Op::SumValue | Op::MatMul | Op::MatMulT => moved(s, id),
        Op::Sum { to } => sum(s, id, to),
        Op::Outer => outer(s, id),
        _ => None,
    }
}

/// The value that `id` broadcasts, or itself; a constant of a deep type as a scalar.
fn bare(s: &mut Simplifier, id: NodeId) -> NodeId {
    if let (Some(c), false) = (s.constant(id), s.node(id).axis == GLOBAL && s.node(id).shape == Shape::scalar()) {
        return s.number(c);
    }
    s.g.broadcast_source(id).unwrap_or(id)
}

/// The same, broadcast to the shape of `id` (so that only the axis is lesser).
fn along_components(s: &mut Simplifier, id: NodeId) -> Found {
    let shape = s.node(id).shape.clone();
    if let Some(c) = s.constant(id) {
        let once = s.node(id).axis == GLOBAL;
        return Some(if once { id } else { s.g.constant_of(c, GLOBAL, shape, s.s) });
    }
    let Some(x) = s.g.broadcast_source(id) else { return Some(id) };
    let axis = s.node(x).axis;
    if axis == s.node(id).axis { Some(id) } else { s.broadcast(x, axis, &shape) }
}

fn elementwise(s: &mut Simplifier, id: NodeId) -> Found {
    let operands = s.node(id).operands.clone();
    let stripped: NodeOperands = operands.iter().map(|&o| bare(s, o)).collect();
    if stripped == operands {
        return None;
    }
    let result = s.again(id, &stripped)?;
    s.broadcast_like(result, id)
}

/// Ops that act on one vector at a time: on the value above, then broadcast.
fn moved(s: &mut Simplifier, id: NodeId) -> Found {
    let x = s.operand(id, 0);
    let inner = along_components(s, x)?;
    if inner == x || s.constant(x).is_some() && *s.op(id) != Op::SumValue {
        return None;
    }
    let shape = s.node(id).shape.clone();
    let result = match *s.op(id) {
        Op::Slice { start } => s.slice(inner, start, shape)?,
        Op::Reshape => s.reshape(inner, shape)?,
        _ => {
            let mut operands = s.node(id).operands.clone();
            operands[0] = inner;
            s.again(id, &operands)?
        }
    };
    s.broadcast_like(result, id)
}

/// Number of elements of `axis` under each element of `to`.
fn length(s: &mut Simplifier, axis: AxisId, to: AxisId) -> Found {
    if s.g.axes.parent(axis) == Some(to) && to != GLOBAL {
        return Some(s.g.length(axis, s.s));
    }
    let one = s.g.constant_of(1.0, axis, Shape::scalar(), s.s);
    s.g.sum(one, to, s.s).ok()
}

/// The sum of a broadcast value is the value times the number of elements; 0 where there are none,
/// whatever the value.
fn sum(s: &mut Simplifier, id: NodeId, to: AxisId) -> Found {
    let x = s.operand(id, 0);
    let from = s.node(x).axis;
    if s.constant(x) == Some(1.0) && s.node(x).shape == Shape::scalar() {
        let parent = s.g.axes.parent(from) == Some(to) && to != GLOBAL;
        return parent.then(|| s.g.length(from, s.s));
    }
    let inner = along_components(s, x)?;
    let above = s.node(inner).axis;
    if inner == x || above == from {
        return None;
    }
    // First down to where the value lives, or to `to` if that lies deeper. What varies with the
    // second entry of a pair alone is not summed to the first, nor the other way round.
    let stop = if s.g.axes.is_ancestor(above, to) { to } else { above };
    if !s.g.axes.is_ancestor(to, stop) {
        return None;
    }
    let n = length(s, from, stop)?;
    let product = s.binary(BinaryOp::Multiply, inner, n)?;
    let guarded = if s.constant(inner).is_some() { product } else { unless_empty(s, product, from)? };
    if stop == to { Some(guarded) } else { s.sum(guarded, to) }
}

/// `sum_i x_i^T g_p(i)` is `sum_p (sum_{i -> p} x_i)^T g_p`: the deeper operand is summed to where
/// the other one lives, so both operands of an outer product live in one axis.
fn outer(s: &mut Simplifier, id: NodeId) -> Found {
    let (x, g) = (s.operand(id, 0), s.operand(id, 1));
    let over = s.g.axes.join(s.node(x).axis, s.node(g).axis)?;
    let (mut x, mut g) = (along_components(s, x)?, along_components(s, g)?);
    let deepest = s.g.axes.join(s.node(x).axis, s.node(g).axis)?;
    if deepest != over {
        // Both were broadcast: the deeper one counts how often.
        let n = length(s, over, deepest)?;
        let counted = if s.node(x).axis == deepest { &mut x } else { &mut g };
        *counted = s.binary(BinaryOp::Multiply, *counted, n)?;
        x = unless_empty(s, x, over)?;
        g = unless_empty(s, g, over)?;
    }
    let (dx, dg) = (s.node(x).axis, s.node(g).axis);
    if dx != dg && dx == deepest {
        g = unless_empty(s, g, deepest)?;
        x = s.sum(x, dg)?;
    } else if dx != dg {
        x = unless_empty(s, x, deepest)?;
        g = s.sum(g, dx)?;
    } else if deepest == over {
        return None;
    }
    s.g.outer(x, g, s.s).ok()
}

/// `x`, but 0 where no element of `axis` lies under it: nothing may come of what stands there.
fn unless_empty(s: &mut Simplifier, x: NodeId, axis: AxisId) -> Found {
    let at = s.node(x).axis;
    let n = if at == GLOBAL { s.g.count(axis, s.s) } else { length(s, axis, at)? };
    let zero = s.number(0.0);
    let id = s.g.select(n, x, zero, s.s);
    s.ok(id)
}
