//! Constants, identities, signs, and reassociation of sums and products so that the shallow part is
//! computed first.

use super::{Found, Simplifier};
use crate::graph::{
    BinaryOp::{self, Add, Divide, Multiply, Power, Subtract},
    NodeId, Op,
    UnaryOp::{self, Negate},
};

pub(super) fn rule(s: &mut Simplifier, id: NodeId) -> Found {
    match *s.op(id) {
        Op::Unary(op) => unary(s, id, op),
        Op::Binary(op) => {
            let found = fold_constants(s, id, op).or_else(|| binary(s, id, op));
            found.or_else(|| regroup(s, id, op)).or_else(|| factor(s, id, op))
        }
        Op::Select => select(s, id),
        Op::SumValue => sum_value(s, id),
        Op::Sum { to } => {
            // A sign goes out of a sum.
            let x = s.operand(id, 0);
            if !s.is_unary(x, Negate) {
                return None;
            }
            let inner = s.operand(x, 0);
            let sum = s.sum(inner, to)?;
            s.unary(Negate, sum)
        }
        _ => None,
    }
}

/// A constant of the type of `like`.
fn constant_like(s: &mut Simplifier, value: f64, like: NodeId) -> Found {
    let (axis, shape) = (s.node(like).axis, s.node(like).shape.clone());
    Some(s.g.constant_of(value, axis, shape, s.s))
}

fn unary(s: &mut Simplifier, id: NodeId, op: UnaryOp) -> Found {
    let x = s.operand(id, 0);
    if let Some(c) = s.constant(x) {
        let value = (op.description().value)(c);
        return if value.is_finite() { constant_like(s, value, id) } else { None };
    }
    match op {
        Negate if s.is_unary(x, Negate) => Some(s.operand(x, 0)),
        Negate if s.is_binary(x, Subtract) => {
            let (a, b) = (s.operand(x, 0), s.operand(x, 1));
            s.binary(Subtract, b, a)
        }
        Negate if s.is_binary(x, Multiply) => {
            let (a, c) = (s.operand(x, 0), s.constant(s.operand(x, 1))?);
            let factor = constant_like(s, -c, s.operand(x, 1))?;
            s.binary(Multiply, a, factor)
        }
        UnaryOp::Abs if s.is_unary(x, UnaryOp::Abs) => Some(x),
        UnaryOp::Abs if s.is_unary(x, Negate) => {
            let inner = s.operand(x, 0);
            s.unary(op, inner)
        }
        _ => None,
    }
}

/// Both operands constant.
fn fold_constants(s: &mut Simplifier, id: NodeId, op: BinaryOp) -> Found {
    let (a, b) = (s.constant(s.operand(id, 0))?, s.constant(s.operand(id, 1))?);
    let value = (op.description().value)(a, b);
    if value.is_finite() { constant_like(s, value, id) } else { None }
}

/// Whether a value is finite whatever the data and weights are, so that 0 times it is 0.
fn surely_finite(s: &Simplifier, id: NodeId) -> bool {
    match s.op(id) {
        Op::Const(c) => c.is_finite(),
        Op::Length(_) | Op::Position(_) | Op::SampleNumber(_) | Op::Count(_) | Op::Unary(UnaryOp::Not) => true,
        Op::Binary(op) => matches!(op, BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Equal),
        _ => false,
    }
}

fn binary(s: &mut Simplifier, id: NodeId, op: BinaryOp) -> Found {
    let (a, b) = (s.operand(id, 0), s.operand(id, 1));
    let (ca, cb) = (s.constant(a), s.constant(b));
    match op {
        // Constants stand right.
        Add | Multiply if ca.is_some() => s.binary(op, b, a),
        Add | Subtract if cb == Some(0.0) => s.broadcast_like(a, id),
        Subtract if ca == Some(0.0) => {
            let b = s.broadcast_like(b, id)?;
            s.unary(Negate, b)
        }
        Add if s.is_unary(b, Negate) => {
            let b = s.operand(b, 0);
            s.binary(Subtract, a, b)
        }
        Add if s.is_unary(a, Negate) => {
            let a = s.operand(a, 0);
            s.binary(Subtract, b, a)
        }
        Subtract if s.is_unary(b, Negate) => {
            let b = s.operand(b, 0);
            s.binary(Add, a, b)
        }
        Multiply => product(s, id, a, b, cb),
        Divide if cb == Some(1.0) => s.broadcast_like(a, id),
        // The reciprocal of a power of two is exact.
        Divide if cb.is_some_and(|c| c.is_normal() && c.to_bits() & ((1 << 52) - 1) == 0) => {
            let reciprocal = constant_like(s, 1.0 / cb?, b)?;
            s.binary(Multiply, a, reciprocal)
        }
        Divide if s.is_unary(a, Negate) && s.same_type(a, id) => {
            let a = s.operand(a, 0);
            let quotient = s.binary(Divide, a, b)?;
            s.unary(Negate, quotient)
        }
        // One division above, a product for each element or component below.
        Divide if ca != Some(1.0) && smaller(s, b, id) && s.same_type(a, id) => {
            let one = s.number(1.0);
            let reciprocal = s.binary(Divide, one, b)?;
            s.binary(Multiply, a, reciprocal)
        }
        Power => match cb? {
            1.0 => s.broadcast_like(a, id),
            2.0 => {
                let square = s.binary(Multiply, a, a)?;
                s.broadcast_like(square, id)
            }
            0.5 => {
                let root = s.unary(UnaryOp::Sqrt, a)?;
                s.broadcast_like(root, id)
            }
            _ => None,
        },
        BinaryOp::Max | BinaryOp::Min if a == b => Some(a),
        _ => None,
    }
}

fn product(s: &mut Simplifier, id: NodeId, a: NodeId, b: NodeId, cb: Option<f64>) -> Found {
    match cb {
        Some(1.0) => return s.broadcast_like(a, id),
        Some(0.0) if surely_finite(s, a) => return constant_like(s, 0.0, id),
        Some(-1.0) => {
            let x = s.broadcast_like(a, id)?;
            return s.unary(Negate, x);
        }
        Some(c) if s.is_unary(a, Negate) => {
            let (x, factor) = (s.operand(a, 0), constant_like(s, -c, b)?);
            return s.binary(Multiply, x, factor);
        }
        Some(c) if s.is_binary(a, Multiply) => {
            let (x, inner) = (s.operand(a, 0), s.operand(a, 1));
            let value = s.constant(inner)? * c;
            // The product of both constants has the type of both together.
            let typed = s.g.binary(Multiply, inner, b, s.s).ok()?;
            let factor = constant_like(s, value, typed)?;
            return s.binary(Multiply, x, factor);
        }
        _ => {}
    }
    // A sign goes out of a product where that makes it no larger.
    for (x, y) in [(a, b), (b, a)] {
        if s.is_unary(x, Negate) && s.same_type(x, id) {
            let inner = s.operand(x, 0);
            let product = if x == a { s.binary(Multiply, inner, y)? } else { s.binary(Multiply, y, inner)? };
            return s.unary(Negate, product);
        }
    }
    None
}

/// `(x + y) + z` as `x + (y + z)` (and so for products) where `y + z` is smaller than `x + y`: of a
/// shallower axis, or a scalar beside a vector.
fn regroup(s: &mut Simplifier, id: NodeId, op: BinaryOp) -> Found {
    if !matches!(op, Add | Multiply) {
        return None;
    }
    let (a, b) = (s.operand(id, 0), s.operand(id, 1));
    for (pair, z) in [(a, b), (b, a)] {
        if !s.is_binary(pair, op) {
            continue;
        }
        let (p, q) = (s.operand(pair, 0), s.operand(pair, 1));
        for (x, y) in [(p, q), (q, p)] {
            let axis = s.g.axes.join(s.node(y).axis, s.node(z).axis);
            let Some(axis) = axis else { continue };
            let width = s.node(y).width().max(s.node(z).width());
            let shallower = s.above(axis, s.node(pair).axis) && width <= s.node(pair).width();
            let narrower = axis == s.node(pair).axis && width < s.node(pair).width();
            // A vector that is the only wide operand of both products stays where it is.
            if shallower || narrower {
                let inner = s.binary(op, y, z)?;
                return s.binary(op, x, inner);
            }
        }
    }
    None
}

/// Whether `a` is of a shallower axis than `b`, or narrower in the same.
fn smaller(s: &Simplifier, a: NodeId, b: NodeId) -> bool {
    let (na, nb) = (s.node(a), s.node(b));
    s.above(na.axis, nb.axis) || na.axis == nb.axis && na.width() < nb.width()
}

/// `x u + x v` as `x (u + v)`, and `x + x v` as `x (1 + v)` where `v` is smaller than `x`; so for
/// differences.
fn factor(s: &mut Simplifier, id: NodeId, op: BinaryOp) -> Found {
    if !matches!(op, Add | Subtract) {
        return None;
    }
    let (a, b) = (s.operand(id, 0), s.operand(id, 1));
    let factors = |s: &Simplifier, of: NodeId| {
        let product = s.is_binary(of, Multiply) && s.same_type(of, id);
        product.then(|| (s.operand(of, 0), s.operand(of, 1)))
    };
    if let (Some((a0, a1)), Some((b0, b1))) = (factors(s, a), factors(s, b)) {
        for (x, u) in [(a0, a1), (a1, a0)] {
            for (y, v) in [(b0, b1), (b1, b0)] {
                if x == y && s.same_type(x, id) {
                    let sum = s.binary(op, u, v)?;
                    return s.binary(Multiply, x, sum);
                }
            }
        }
    }
    for (product, other) in [(a, b), (b, a)] {
        let Some((p, q)) = factors(s, product) else { continue };
        for (x, v) in [(p, q), (q, p)] {
            if x == other && s.same_type(x, id) && smaller(s, v, x) {
                let one = s.number(1.0);
                // `x v - x` or `x - x v`
                let sum = if product == a { s.binary(op, v, one)? } else { s.binary(op, one, v)? };
                return s.binary(Multiply, x, sum);
            }
        }
    }
    None
}

fn select(s: &mut Simplifier, id: NodeId) -> Found {
    let (c, a, b) = (s.operand(id, 0), s.operand(id, 1), s.operand(id, 2));
    match s.constant(c) {
        Some(c) => s.broadcast_like(if c != 0.0 { a } else { b }, id),
        None if a == b => s.broadcast_like(a, id),
        None => None,
    }
}

/// A scalar factor, and a sign, go out of a sum over components.
fn sum_value(s: &mut Simplifier, id: NodeId) -> Found {
    let x = s.operand(id, 0);
    if s.node(x).shape == s.node(id).shape {
        return Some(x);
    }
    if let (Some(c), true) = (s.constant(x), s.node(x).axis == s.node(id).axis) {
        return constant_like(s, c * s.node(x).width() as f64, id);
    }
    if s.is_unary(x, Negate) {
        let inner = s.operand(x, 0);
        let sum = s.sum_value(inner)?;
        return s.unary(Negate, sum);
    }
    if s.is_binary(x, Multiply) {
        let (a, b) = (s.operand(x, 0), s.operand(x, 1));
        for (scalar, wide) in [(a, b), (b, a)] {
            if s.node(scalar).width() == 1 {
                let sum = s.sum_value(wide)?;
                let product = s.binary(Multiply, sum, scalar)?;
                return s.broadcast_like(product, id);
            }
        }
    }
    None
}
