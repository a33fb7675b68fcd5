//! What derivatives are built with.

use crate::graph::{AxisId, BinaryOp, GLOBAL, Graph, NodeId, Op, Shape, TypeError, UnaryOp};
use din_grammar::Span;

type Built = Result<NodeId, TypeError>;

/// Adds nodes of a derivative to a graph; they carry the span of what is differentiated.
pub struct GradientBuilder<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) s: Span,
}

impl GradientBuilder<'_> {
    /// What a node is computed by.
    pub(crate) fn op(&self, id: NodeId) -> &Op {
        &self.graph.node(id).op
    }

    pub(crate) fn number(&mut self, value: f64) -> NodeId {
        self.graph.constant(value, self.s)
    }

    pub(crate) fn unary(&mut self, op: UnaryOp, x: NodeId) -> NodeId {
        self.graph.unary(op, x, self.s)
    }

    pub(crate) fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> Built {
        self.graph.binary(op, a, b, self.s)
    }

    pub(crate) fn times(&mut self, x: NodeId, factor: f64) -> Built {
        let factor = self.number(factor);
        self.binary(BinaryOp::Multiply, x, factor)
    }

    /// Elements of the axis of `x` in the global batch, at least 1.
    pub(crate) fn elements(&mut self, x: NodeId) -> Built {
        let axis = self.graph.node(x).axis;
        let n = if axis == GLOBAL { self.number(1.0) } else { self.graph.count(axis, self.s) };
        let one = self.number(1.0);
        self.binary(BinaryOp::Max, n, one)
    }

    /// Result `k` of a statistic of `x`, in the shape of `x`; `results` has those of the statistic,
    /// or their adjoints.
    pub(crate) fn result(&mut self, results: NodeId, k: usize, x: NodeId) -> Built {
        let shape = self.graph.node(x).shape.clone();
        self.graph.slice(results, k * shape.width(), shape, self.s)
    }

    /// `g` broadcast to the axis and shape of `x`.
    pub(super) fn broadcast_to(&mut self, g: NodeId, x: NodeId) -> Built {
        let (axis, shape): (AxisId, Shape) = (self.graph.node(x).axis, self.graph.node(x).shape.clone());
        self.graph.broadcast(g, axis, &shape, self.s)
    }

    /// As a vector.
    pub(super) fn flatten(&mut self, g: NodeId) -> Built {
        let shape = Shape::vector(self.graph.node(g).width());
        if self.graph.node(g).shape == shape { Ok(g) } else { self.graph.reshape(g, shape, self.s) }
    }

    /// Sums `g` over the components and the elements that `x` was broadcast along, to the axis and
    /// shape of `x`.
    pub(crate) fn fit(&mut self, g: NodeId, x: NodeId) -> Built {
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
