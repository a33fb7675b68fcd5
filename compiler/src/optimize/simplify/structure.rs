//! Concatenations, slices and shapes: numbers that only move are read from where they came from.

use super::{Found, Simplifier};
use crate::graph::{BinaryOp::Multiply, NodeId, Op, Shape, UnaryOp::Negate};

pub(super) fn rule(s: &mut Simplifier, id: NodeId) -> Found {
    match *s.op(id) {
        Op::Concat => concat(s, id),
        Op::Slice { start } => slice(s, id, start),
        Op::Reshape => reshape(s, id),
        // There and back.
        Op::Unflatten { .. } | Op::Flatten => {
            let x = s.operand(id, 0);
            let (axis, width) = (s.node(id).axis, s.node(id).width());
            match s.op(x) {
                Op::Unflatten { .. } | Op::Flatten => {
                    let back = s.operand(x, 0);
                    (s.node(back).axis == axis && s.node(back).width() == width).then_some(back)
                }
                Op::Const(_) => s.constant_like(x, id),
                _ => None,
            }
        }
        Op::MatMulT => {
            // A scalar times a column: elementwise.
            let (x, w) = (s.operand(id, 0), s.operand(id, 1));
            let shape = s.node(id).shape.clone();
            if s.node(x).width() != 1 {
                return None;
            }
            let column = s.reshape(w, shape.clone())?;
            let product = s.binary(Multiply, x, column)?;
            if s.node(product).shape == shape { Some(product) } else { s.reshape(product, shape) }
        }
        _ => None,
    }
}

fn concat(s: &mut Simplifier, id: NodeId) -> Found {
    let operands = s.node(id).operands.clone();
    if let &[only] = operands.as_slice() {
        return Some(only);
    }
    // Nested concatenations are one.
    if operands.iter().any(|&o| *s.op(o) == Op::Concat) {
        let mut flat = Vec::new();
        for o in operands {
            match s.node(o) {
                n if n.op == Op::Concat => flat.extend(&n.operands),
                _ => flat.push(o),
            }
        }
        return s.concat(flat);
    }
    // Neighbours that stand side by side in one value, or are one constant, are one piece.
    let mut joined: Vec<NodeId> = Vec::new();
    for &o in &operands {
        match joined.last().and_then(|&last| join(s, last, o)) {
            Some(both) => *joined.last_mut()? = both,
            None => joined.push(o),
        }
    }
    if joined.len() == operands.len() {
        return None;
    }
    if joined.len() == 1 { s.broadcast_like(joined[0], id) } else { s.concat(joined) }
}

fn join(s: &mut Simplifier, a: NodeId, b: NodeId) -> Found {
    let width = s.node(a).width() + s.node(b).width();
    match (s.op(a).clone(), s.op(b).clone()) {
        (Op::Const(x), Op::Const(y)) if x.to_bits() == y.to_bits() && s.node(a).axis == s.node(b).axis => {
            let axis = s.node(a).axis;
            Some(s.g.constant_of(x, axis, Shape::vector(width), s.s))
        }
        (Op::Slice { start }, Op::Slice { start: next })
            if s.operand(a, 0) == s.operand(b, 0) && start + s.node(a).width() == next =>
        {
            let x = s.operand(a, 0);
            s.slice(x, start, Shape::vector(width))
        }
        _ => None,
    }
}

fn slice(s: &mut Simplifier, id: NodeId, start: usize) -> Found {
    let x = s.operand(id, 0);
    let shape = s.node(id).shape.clone();
    let width = shape.width();
    if width == s.node(x).width() {
        return if s.node(x).shape == shape { Some(x) } else { s.reshape(x, shape) };
    }
    match s.op(x).clone() {
        Op::Const(_) => s.constant_like(x, id),
        Op::Slice { start: inner } => {
            let x = s.operand(x, 0);
            s.slice(x, inner + start, shape)
        }
        Op::Reshape => {
            let x = s.operand(x, 0);
            s.slice(x, start, shape)
        }
        Op::Unary(Negate) => {
            let x = s.operand(x, 0);
            let part = s.slice(x, start, shape)?;
            s.unary(Negate, part)
        }
        Op::Concat => {
            let end = start + width;
            let operands = s.node(x).operands.clone();
            let mut parts = Vec::new();
            let mut at = 0;
            for &o in &operands {
                let w = s.node(o).width();
                let (from, to) = (start.max(at), end.min(at + w));
                if from < to {
                    parts.push((o, from - at, to - from));
                }
                at += w;
            }
            if parts.len() == operands.len() && parts.len() > 1 {
                return None;
            }
            let mut pieces = Vec::new();
            for (o, from, w) in parts {
                pieces.push(s.slice(o, from, Shape::vector(w))?);
            }
            let flat = if pieces.len() == 1 { pieces[0] } else { s.concat(pieces)? };
            // The pieces may live above the slice.
            let axis = s.node(id).axis;
            let flat = if s.node(flat).shape == shape { flat } else { s.reshape(flat, shape.clone())? };
            s.broadcast(flat, axis, &shape)
        }
        _ => None,
    }
}

fn reshape(s: &mut Simplifier, id: NodeId) -> Found {
    let x = s.operand(id, 0);
    let shape = s.node(id).shape.clone();
    if s.node(x).shape == shape {
        return Some(x);
    }
    match *s.op(x) {
        Op::Const(_) => s.constant_like(x, id),
        Op::Reshape => {
            let x = s.operand(x, 0);
            s.reshape(x, shape)
        }
        Op::Slice { start } => {
            let x = s.operand(x, 0);
            s.slice(x, start, shape)
        }
        _ => None,
    }
}

impl Simplifier<'_> {
    /// The constant `c` under the type of `like`.
    fn constant_like(&mut self, c: NodeId, like: NodeId) -> Found {
        let value = self.constant(c)?;
        let (axis, shape) = (self.node(like).axis, self.node(like).shape.clone());
        Some(self.g.constant_of(value, axis, shape, self.s))
    }
}
