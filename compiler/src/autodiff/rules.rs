//! The derivative of every op: given `g`, the adjoint of `y = op(x, …)`, what each operand's adjoint gains.
//!
//! `g` has the node's axis and shape. What an arm computes for an operand may stand in a deeper axis than the operand (which was
//! repeated along it) and, for a scalar operand, at several positions; `fit` sums over both, which is the derivative of repeating.

use super::adjoint::Adjoint;
use crate::graph::{
    AxisId,
    BinaryOp::{self, Add, Divide, Equal, Less, LessEqual, Multiply, Power, Subtract},
    GLOBAL, Graph, Node, NodeId, Op, Shape, TypeError,
    UnaryOp::{self, Log, Negate, Sigmoid, Sign},
};
use din_grammar::Span;
use std::collections::BTreeMap;

type Built = Result<NodeId, TypeError>;

/// Whether a gradient passes from the node to operand `k`.
pub(super) fn passes(op: &Op, k: usize) -> bool {
    *op != Op::StopGradient && flat(op, k).is_none()
}

/// The name of an op whose derivative by operand `k` is 0 wherever it exists.
pub(super) fn flat(op: &Op, k: usize) -> Option<&'static str> {
    Some(match op {
        Op::Unary(UnaryOp::Sign) => "`sign`",
        Op::Unary(UnaryOp::Not) => "`not`",
        Op::Binary(BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Equal) => "a comparison",
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
        let mut b = Build { graph, s: node.span };
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

/// What the adjoint of operand `k` gains, before [`Build::fit`].
fn gain(b: &mut Build, node: &Node, y: NodeId, g: NodeId, k: usize) -> Built {
    let x = node.operands[k];
    let other = |at: usize| node.operands[at];
    match node.op {
        Op::Unary(op) => unary(b, op, x, y, g),
        Op::Binary(op) => binary(b, op, (other(0), other(1)), y, g, k),
        // y = c != 0 ? a : b; the branch taken gains g.
        Op::Select => {
            let zero = b.number(0.0);
            if k == 1 { b.graph.select(other(0), g, zero, b.s) } else { b.graph.select(other(0), zero, g, b.s) }
        }
        // y = (x_0, x_1, …); x_k gains its positions of g.
        Op::Concat => {
            let start = node.operands[..k].iter().map(|&o| b.graph.node(o).width()).sum();
            let shape = b.graph.node(x).shape.clone();
            b.graph.slice(g, start, shape, b.s)
        }
        // y = x[start..]; those positions of dx gain g.
        Op::Slice { .. } => b.flatten(g),
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
        // Y = sum_i x_i^T h_i: dx_i = h_i G^T, dh_i = x_i G; each at the axis of the other, which may be the shallower.
        Op::Outer => {
            let gain = if k == 0 { b.graph.matmul_t(other(1), g, b.s)? } else { b.graph.matmul(other(0), g, b.s)? };
            let (axis, shape) = (b.graph.node(x).axis, b.graph.node(gain).shape.clone());
            // Where both are defined; `fit` sums what lies deeper than x.
            let over = b.graph.axes.join(b.graph.node(gain).axis, axis).unwrap_or(axis);
            b.graph.repeat(gain, over, &shape, b.s)
        }
        // y_p = sum of x_i under p: dx_i = g_p.
        Op::Sum { .. } => b.repeat(g, x),
        // y_p = the greatest x_i under p, by position: its gradient is shared evenly among the elements that attain it.
        // (The count is 0 where there is no element; the guard keeps that from making a NaN that nobody reads.)
        Op::Max { to } => {
            let attains = b.binary(Equal, x, y)?;
            let ties = b.graph.sum(attains, to, b.s)?;
            let one = b.number(1.0);
            let ties = b.binary(BinaryOp::Max, ties, one)?;
            let share = b.binary(Divide, g, ties)?;
            b.binary(Multiply, attains, share)
        }
        // y = sum of the positions of x: every position gains g.
        Op::SumValue => b.repeat(g, x),
        Op::Moments => moments(b, x, y, g),
        // No operands, or no gradient: `propagate` does not come here.
        Op::Const(_)
        | Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Lookup { .. }
        | Op::Length(_)
        | Op::Count(_)
        | Op::StopGradient => Err(TypeError::Empty),
    }
}

fn unary(b: &mut Build, op: UnaryOp, x: NodeId, y: NodeId, g: NodeId) -> Built {
    match op {
        // y = -x: dx = -g
        UnaryOp::Negate => Ok(b.graph.unary(Negate, g, b.s)),
        // y = e^x: dx = g y
        UnaryOp::Exp => b.binary(Multiply, g, y),
        // y = log x: dx = g / x
        UnaryOp::Log => b.binary(Divide, g, x),
        // y = sqrt x: dx = g / (2 y); infinite at 0
        UnaryOp::Sqrt => {
            let half = b.times(g, 0.5)?;
            b.binary(Divide, half, y)
        }
        // y = 1 / (1 + e^-x): dx = g y (1 - y)
        UnaryOp::Sigmoid => {
            let one = b.number(1.0);
            let rest = b.binary(Subtract, one, y)?;
            let slope = b.binary(Multiply, y, rest)?;
            b.binary(Multiply, g, slope)
        }
        // y = tanh x: dx = g (1 - y^2)
        UnaryOp::Tanh => {
            let one = b.number(1.0);
            let square = b.binary(Multiply, y, y)?;
            let slope = b.binary(Subtract, one, square)?;
            b.binary(Multiply, g, slope)
        }
        // y = log(1 + e^x): dx = g sigmoid(x)
        UnaryOp::Softplus => {
            let slope = b.graph.unary(Sigmoid, x, b.s);
            b.binary(Multiply, g, slope)
        }
        // y = |x|: dx = g sign(x); 0 at 0
        UnaryOp::Abs => {
            let slope = b.graph.unary(Sign, x, b.s);
            b.binary(Multiply, g, slope)
        }
        // Flat.
        UnaryOp::Sign | UnaryOp::Not => Err(TypeError::Empty),
    }
}

fn binary(b: &mut Build, op: BinaryOp, (l, r): (NodeId, NodeId), y: NodeId, g: NodeId, k: usize) -> Built {
    match (op, k) {
        // y = l + r: both gain g.
        (Add, _) | (Subtract, 0) => Ok(g),
        // y = l - r: dl = g, dr = -g; negated after the sum over what r was repeated along.
        (Subtract, _) => {
            let fitted = b.fit(g, r)?;
            Ok(b.graph.unary(Negate, fitted, b.s))
        }
        // y = l r: dl = g r, dr = g l.
        (Multiply, 0) => b.binary(Multiply, g, r),
        (Multiply, _) => b.binary(Multiply, g, l),
        // y = l / r: dl = g / r, dr = -(g y) / r; r is the same along what it was repeated along, so it divides the sum.
        (Divide, 0) => b.binary(Divide, g, r),
        (Divide, _) => {
            let product = b.binary(Multiply, g, y)?;
            let fitted = b.fit(product, r)?;
            let quotient = b.binary(Divide, fitted, r)?;
            Ok(b.graph.unary(Negate, quotient, b.s))
        }
        // y = the greater (smaller): it gains g; where both are equal, each gains half of it.
        (BinaryOp::Max, _) | (BinaryOp::Min, _) => {
            let (low, high) = if (op == BinaryOp::Max) == (k == 0) { (r, l) } else { (l, r) };
            let strict = b.binary(Less, low, high)?;
            let loose = b.binary(LessEqual, low, high)?;
            let twice = b.binary(Add, strict, loose)?;
            let share = b.times(twice, 0.5)?;
            b.binary(Multiply, g, share)
        }
        // y = l ^ r: dl = g r l^(r-1), dr = g y log l (l > 0).
        (Power, 0) => {
            let slope = match b.graph.node(r).op {
                Op::Const(0.0) => return b.times(g, 0.0),
                Op::Const(1.0) => return Ok(g),
                Op::Const(2.0) => b.times(l, 2.0)?,
                Op::Const(c) => {
                    let less = b.number(c - 1.0);
                    let power = b.binary(Power, l, less)?;
                    b.times(power, c)?
                }
                _ => {
                    let one = b.number(1.0);
                    let less = b.binary(Subtract, r, one)?;
                    let power = b.binary(Power, l, less)?;
                    b.binary(Multiply, r, power)?
                }
            };
            b.binary(Multiply, g, slope)
        }
        (Power, _) => {
            let log = b.graph.unary(Log, l, b.s);
            let slope = b.binary(Multiply, y, log)?;
            b.binary(Multiply, g, slope)
        }
        // Flat.
        (Less | LessEqual | Equal, _) => Err(TypeError::Empty),
    }
}

/// y = (m, v), m = sum_i x_i / n, v = sum_i (x_i - m)^2 / n, n the elements of the global batch.
/// dx_i = dm / n + dv 2 (x_i - m) / n, m's share in v being 0 because sum_i (x_i - m) = 0.
fn moments(b: &mut Build, x: NodeId, y: NodeId, g: NodeId) -> Built {
    let (axis, shape) = (b.graph.node(x).axis, b.graph.node(x).shape.clone());
    let w = shape.width();
    let n = if axis == GLOBAL { b.number(1.0) } else { b.graph.count(axis, b.s) };
    let one = b.number(1.0);
    // 0 / 1 where there is no element, instead of a NaN that nobody reads.
    let n = b.binary(BinaryOp::Max, n, one)?;
    let mean = b.graph.slice(y, 0, shape.clone(), b.s)?;
    let of_mean = b.graph.slice(g, 0, shape.clone(), b.s)?;
    let of_variance = b.graph.slice(g, w, shape, b.s)?;
    let level = b.binary(Divide, of_mean, n)?;
    let twice = b.times(of_variance, 2.0)?;
    let slope = b.binary(Divide, twice, n)?;
    let centred = b.binary(Subtract, x, mean)?;
    let varying = b.binary(Multiply, centred, slope)?;
    b.binary(Add, varying, level)
}

/// A graph and the span of what is differentiated.
struct Build<'a> {
    graph: &'a mut Graph,
    s: Span,
}

impl Build<'_> {
    fn number(&mut self, value: f64) -> NodeId {
        self.graph.constant(value, self.s)
    }

    fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Built {
        self.graph.binary(op, a, b, self.s)
    }

    fn times(&mut self, x: NodeId, factor: f64) -> Built {
        let factor = self.number(factor);
        self.binary(Multiply, x, factor)
    }

    /// `g` repeated to the axis and shape of `x`.
    fn repeat(&mut self, g: NodeId, x: NodeId) -> Built {
        let (axis, shape): (AxisId, Shape) = (self.graph.node(x).axis, self.graph.node(x).shape.clone());
        self.graph.repeat(g, axis, &shape, self.s)
    }

    /// As a vector.
    fn flatten(&mut self, g: NodeId) -> Built {
        let shape = Shape::vector(self.graph.node(g).width());
        if self.graph.node(g).shape == shape { Ok(g) } else { self.graph.reshape(g, shape, self.s) }
    }

    /// Sums `g` over the positions and the elements that `x` was repeated along, to the axis and shape of `x`.
    fn fit(&mut self, g: NodeId, x: NodeId) -> Built {
        let (axis, shape) = (self.graph.node(x).axis, self.graph.node(x).shape.clone());
        let mut g = g;
        if shape.width() == 1 && self.graph.node(g).width() > 1 {
            g = self.graph.sum_value(g, self.s);
        }
        if self.graph.node(g).axis != axis {
            g = self.graph.sum(g, axis, self.s)?;
        }
        if self.graph.node(g).shape != shape {
            g = self.graph.reshape(g, shape, self.s)?;
        }
        Ok(g)
    }
}
