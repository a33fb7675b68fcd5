//! Typed construction: each function computes the node's axis and shape from its operands, by the
//! rules at the top of `graph`, and says what is wrong as a [`TypeError`] without spans; the
//! elaborator adds those.

use super::{
    Absorbed, AxisId, AxisKind, BATCH, BinaryOp, GLOBAL, Graph, InputId, Node, NodeId, Op, ParamId, Shape, StateId,
    TableId, UnaryOp,
};
use din_grammar::Span;
use din_program::schedule::Statistic;

/// Why a node cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeError {
    /// Two operands vary over axes of which neither contains the other.
    AxisTree { left: AxisId, right: AxisId },
    /// Two shapes that must agree.
    Shapes { left: Shape, right: Shape },
    /// An operand must be once and of rank 2.
    NotAMatrix { found: Shape, axis: AxisId },
    /// A vector was needed.
    NotAVector { found: Shape },
    /// `start + width` passes the operand's width.
    OutOfRange { width: usize, end: usize },
    /// `to` is not an ancestor of the operand's axis.
    NotAnAncestor { of: AxisId, to: AxisId },
    /// An op that needs an operand got none.
    Empty,
}

type Built = Result<NodeId, TypeError>;

impl Graph {
    fn make(&mut self, op: Op, operands: &[NodeId], axis: AxisId, shape: Shape, span: Span) -> NodeId {
        self.push(Node { op, operands: operands.into(), axis, shape, span })
    }

    fn join_all(&self, operands: &[NodeId]) -> Result<AxisId, TypeError> {
        let mut axis = GLOBAL;
        for &o in operands {
            let d = self.node(o).axis;
            axis = self.axes.join(axis, d).ok_or(TypeError::AxisTree { left: axis, right: d })?;
        }
        Ok(axis)
    }

    pub fn constant(&mut self, value: f64, span: Span) -> NodeId {
        self.make(Op::Const(value), &[], GLOBAL, Shape::scalar(), span)
    }

    /// `value` at every element of `axis` and every component of `shape`.
    pub fn constant_of(&mut self, value: f64, axis: AxisId, shape: Shape, span: Span) -> NodeId {
        self.make(Op::Const(value), &[], axis, shape, span)
    }

    /// `x` at every element of `axis` and, where it is a scalar, in every component of `shape`; `x`
    /// itself where it has that type already.
    pub fn broadcast(&mut self, x: NodeId, axis: AxisId, shape: &Shape, span: Span) -> Built {
        let Node { axis: from, shape: found, .. } = self.node(x).clone();
        if from == axis && found == *shape {
            return Ok(x);
        }
        if !self.axes.is_ancestor(from, axis) {
            return Err(TypeError::NotAnAncestor { of: axis, to: from });
        }
        if found != *shape && found.width() != 1 {
            return Err(TypeError::Shapes { left: found, right: shape.clone() });
        }
        Self::matrices_are_once(axis, shape)?;
        Ok(self.make(Op::Broadcast, &[x], axis, shape.clone(), span))
    }

    /// What a [`Op::Broadcast`] broadcasts; `None` for any other node.
    pub fn broadcast_source(&self, id: NodeId) -> Option<NodeId> {
        let node = self.node(id);
        (node.op == Op::Broadcast).then(|| node.operands[0])
    }

    /// `x` under the other name of its entries, or by their other numbers, `to`; `x` itself where
    /// it has these.
    pub fn rename(&mut self, x: NodeId, to: AxisId, span: Span) -> Built {
        let Node { axis, shape, .. } = self.node(x).clone();
        if axis == to {
            return Ok(x);
        }
        if self.axes.entries(axis) != self.axes.entries(to) {
            return Err(TypeError::AxisTree { left: axis, right: to });
        }
        Ok(self.make(Op::Rename { to }, &[x], to, shape, span))
    }

    /// A vector as the entries of the fixed axis `to`, equal parts of it in order.
    pub fn unflatten(&mut self, x: NodeId, to: AxisId, span: Span) -> Built {
        let Node { axis, shape, .. } = self.node(x).clone();
        let AxisKind::Fixed { size } = *self.axes.kind(to) else {
            return Err(TypeError::AxisTree { left: axis, right: to });
        };
        if !self.axes.is_ancestor(axis, BATCH) {
            return Err(TypeError::NotAnAncestor { of: to, to: axis });
        }
        if shape.0.len() != 1 || !shape.width().is_multiple_of(size as usize) {
            return Err(TypeError::NotAVector { found: shape });
        }
        Ok(self.make(Op::Unflatten { to }, &[x], to, Shape::vector(shape.width() / size as usize), span))
    }

    /// The entries of a fixed axis as one vector.
    pub fn flatten(&mut self, x: NodeId, span: Span) -> Built {
        let Node { axis, shape, .. } = self.node(x).clone();
        let AxisKind::Fixed { size } = *self.axes.kind(axis) else {
            return Err(TypeError::AxisTree { left: axis, right: BATCH });
        };
        if shape.0.len() != 1 {
            return Err(TypeError::NotAVector { found: shape });
        }
        Ok(self.make(Op::Flatten, &[x], BATCH, Shape::vector(size as usize * shape.width()), span))
    }

    /// A value that is the same for all samples of a request, once for each of them (and each
    /// entry, on a sequence).
    pub fn replicated(&mut self, x: NodeId, span: Span) -> Built {
        let Node { axis, shape, .. } = self.node(x).clone();
        let over = self.axes.sharers(axis);
        match over {
            Some(below) => self.broadcast(x, below, &shape, span),
            None => Ok(x),
        }
    }

    pub fn input(&mut self, input: InputId, span: Span) -> NodeId {
        let i = &self.inputs[input.index()];
        let (axis, shape) = (i.axis, i.shape.clone());
        self.make(Op::Input(input), &[], axis, shape, span)
    }

    pub fn param(&mut self, param: ParamId, span: Span) -> NodeId {
        let shape = self.params[param.index()].clone();
        self.make(Op::Param(param), &[], GLOBAL, shape, span)
    }

    pub fn state(&mut self, state: StateId, span: Span) -> NodeId {
        let shape = self.states[state.index()].clone();
        self.make(Op::State(state), &[], GLOBAL, shape, span)
    }

    pub fn lookup(&mut self, table: TableId, input: InputId, span: Span) -> NodeId {
        let axis = self.inputs[input.index()].axis;
        let shape = Shape::vector(self.tables[table.index()]);
        self.make(Op::Lookup { table, input }, &[], axis, shape, span)
    }

    /// Of each list of an axis of entries, how many it has: a constant on a fixed axis.
    pub fn length(&mut self, axis: AxisId, span: Span) -> NodeId {
        let axis = self.axes.first_name(axis);
        if let AxisKind::Fixed { size } = *self.axes.kind(axis) {
            return self.constant(f64::from(size), span);
        }
        let parent = self.axes.parent(axis).expect("lengths are of ragged axes, which have a parent");
        self.make(Op::Length(axis), &[], parent, Shape::scalar(), span)
    }

    /// Of each entry of a sequence or a fixed axis, its place in its list, from 0.
    pub fn position(&mut self, axis: AxisId, span: Span) -> NodeId {
        self.make(Op::Position(axis), &[], axis, Shape::scalar(), span)
    }

    /// Of each sample, its place in the global batch, from 0; of each request, that of its first
    /// sample.
    pub fn sample_number(&mut self, axis: AxisId, span: Span) -> NodeId {
        self.make(Op::SampleNumber(axis), &[], axis, Shape::scalar(), span)
    }

    /// What a value of `shape` on `axis` is multiplied by in dropout `site`. Not on the global
    /// axis, nor on a unique one.
    pub fn dropout_mask(&mut self, site: usize, rate: f64, axis: AxisId, shape: Shape, span: Span) -> Built {
        let (first, second) = match *self.axes.kind(axis) {
            AxisKind::Pairs { of, second } => (Some(of), Some(second)),
            AxisKind::Sequence { .. } | AxisKind::Fixed { .. } | AxisKind::Second { .. } | AxisKind::Steps { .. } => {
                (Some(axis), None)
            }
            AxisKind::Global | AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Unique(_) => (None, None),
        };
        let by = if self.axes.is_ancestor(BATCH, axis) {
            BATCH
        } else {
            self.axes.request().expect("what lies under no sample lies under a request, but for the global axis")
        };
        let sample = self.sample_number(by, span);
        let mut place = |entries: Option<AxisId>| match entries {
            None => Ok(self.constant(0.0, span)),
            Some(entries) => {
                let name = self.axes.entries(entries);
                let place = self.position(name, span);
                if name == entries { Ok(place) } else { self.rename(place, entries, span) }
            }
        };
        let operands = [sample, place(first)?, place(second)?];
        Ok(self.make(Op::DropoutMask { site, rate }, &operands, axis, shape, span))
    }

    pub fn count(&mut self, axis: AxisId, span: Span) -> NodeId {
        let axis = self.axes.first_name(axis);
        self.make(Op::Count(axis), &[], GLOBAL, Shape::scalar(), span)
    }

    pub fn unary(&mut self, op: UnaryOp, x: NodeId, span: Span) -> NodeId {
        let Node { axis, shape, .. } = self.node(x).clone();
        self.make(Op::Unary(op), &[x], axis, shape, span)
    }

    pub fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId, span: Span) -> Built {
        let axis = self.join_all(&[a, b])?;
        let shape = self.elementwise(&[a, b])?;
        Self::matrices_are_once(axis, &shape)?;
        Ok(self.make(Op::Binary(op), &[a, b], axis, shape, span))
    }

    pub fn select(&mut self, condition: NodeId, a: NodeId, b: NodeId, span: Span) -> Built {
        let operands = [condition, a, b];
        let axis = self.join_all(&operands)?;
        let shape = self.elementwise(&operands)?;
        Self::matrices_are_once(axis, &shape)?;
        Ok(self.make(Op::Select, &operands, axis, shape, span))
    }

    fn matrices_are_once(axis: AxisId, shape: &Shape) -> Result<(), TypeError> {
        if shape.0.len() == 1 || axis == GLOBAL {
            return Ok(());
        }
        Err(TypeError::NotAMatrix { found: shape.clone(), axis })
    }

    /// One shape for all; width 1 fits every shape.
    pub fn elementwise(&self, operands: &[NodeId]) -> Result<Shape, TypeError> {
        let mut shape = Shape::scalar();
        for &o in operands {
            let s = &self.node(o).shape;
            if shape.width() == 1 {
                shape = s.clone();
            } else if s.width() != 1 && *s != shape {
                return Err(TypeError::Shapes { left: shape, right: s.clone() });
            }
        }
        Ok(shape)
    }

    pub fn stop_gradient(&mut self, x: NodeId, span: Span) -> NodeId {
        let Node { axis, shape, .. } = self.node(x).clone();
        self.make(Op::StopGradient, &[x], axis, shape, span)
    }

    pub fn concat(&mut self, operands: Vec<NodeId>, span: Span) -> Built {
        if operands.is_empty() {
            return Err(TypeError::Empty);
        }
        let axis = self.join_all(&operands)?;
        let mut width = 0;
        for &o in &operands {
            let s = &self.node(o).shape;
            if s.0.len() != 1 {
                return Err(TypeError::NotAVector { found: s.clone() });
            }
            width += s.width();
        }
        Ok(self.make(Op::Concat, &operands, axis, Shape::vector(width), span))
    }

    /// Positions `start..start + shape.width()` of the operand, row-major, as `shape`.
    pub fn slice(&mut self, x: NodeId, start: usize, shape: Shape, span: Span) -> Built {
        let (axis, width) = (self.node(x).axis, self.node(x).width());
        let end = start + shape.width();
        if end > width {
            return Err(TypeError::OutOfRange { width, end });
        }
        Ok(self.make(Op::Slice { start }, &[x], axis, shape, span))
    }

    pub fn reshape(&mut self, x: NodeId, shape: Shape, span: Span) -> Built {
        let Node { axis, shape: from, .. } = self.node(x).clone();
        if from.width() != shape.width() {
            return Err(TypeError::Shapes { left: from, right: shape });
        }
        Ok(self.make(Op::Reshape, &[x], axis, shape, span))
    }

    fn matrix(&self, w: NodeId) -> Result<(usize, usize), TypeError> {
        let n = self.node(w);
        match (n.axis, n.shape.0.as_slice()) {
            (GLOBAL, &[k, m]) => Ok((k, m)),
            (axis, _) => Err(TypeError::NotAMatrix { found: n.shape.clone(), axis }),
        }
    }

    pub fn matmul(&mut self, x: NodeId, w: NodeId, span: Span) -> Built {
        let (k, n) = self.matrix(w)?;
        let Node { axis, shape, .. } = self.node(x).clone();
        if shape != Shape::vector(k) {
            return Err(TypeError::Shapes { left: shape, right: Shape::matrix(k, n) });
        }
        Ok(self.make(Op::MatMul, &[x, w], axis, Shape::vector(n), span))
    }

    pub fn matmul_t(&mut self, x: NodeId, w: NodeId, span: Span) -> Built {
        let (k, n) = self.matrix(w)?;
        let Node { axis, shape, .. } = self.node(x).clone();
        if shape != Shape::vector(n) {
            return Err(TypeError::Shapes { left: shape, right: Shape::matrix(n, k) });
        }
        Ok(self.make(Op::MatMulT, &[x, w], axis, Shape::vector(k), span))
    }

    pub fn outer(&mut self, x: NodeId, g: NodeId, span: Span) -> Built {
        self.join_all(&[x, g])?;
        for &o in &[x, g] {
            if self.node(o).shape.0.len() != 1 {
                return Err(TypeError::NotAVector { found: self.node(o).shape.clone() });
            }
        }
        let shape = Shape::matrix(self.node(x).width(), self.node(g).width());
        Ok(self.make(Op::Outer, &[x, g], GLOBAL, shape, span))
    }

    /// See [`Absorbed`]; `verify` checks the operands.
    pub(crate) fn absorbed(&mut self, form: Absorbed, operands: [NodeId; 3], span: Span) -> NodeId {
        let (a, c) = (self.node(operands[0]), self.node(operands[2]));
        let matrix = || self.matrix(operands[2]).expect("the last operand of an absorbed product is a matrix");
        let (axis, shape) = match form {
            Absorbed::Product => (a.axis, Shape::vector(matrix().1)),
            Absorbed::ProductT => (a.axis, Shape::vector(matrix().0 / 2)),
            Absorbed::Outer => (GLOBAL, Shape::matrix(2 * a.width(), c.width())),
            Absorbed::Sum => (BATCH, Shape::vector(a.width())),
        };
        self.make(Op::Absorbed(form), &operands, axis, shape, span)
    }

    pub fn sum(&mut self, x: NodeId, to: AxisId, span: Span) -> Built {
        self.reduce(Op::Sum { to }, x, to, span)
    }

    pub fn max(&mut self, x: NodeId, to: AxisId, span: Span) -> Built {
        self.reduce(Op::Max { to }, x, to, span)
    }

    fn reduce(&mut self, op: Op, x: NodeId, to: AxisId, span: Span) -> Built {
        let Node { axis, shape, .. } = self.node(x).clone();
        if !self.axes.is_ancestor(to, axis) || to == axis {
            return Err(TypeError::NotAnAncestor { of: axis, to });
        }
        Ok(self.make(op, &[x], to, shape, span))
    }

    /// The state of the entry before (behind, if `backward`) in recurrence `scan`: a vector of
    /// `width` on the sequence `axis`.
    pub fn previous(&mut self, scan: usize, backward: bool, axis: AxisId, width: usize, span: Span) -> NodeId {
        self.make(Op::Previous { scan, backward }, &[], axis, Shape::vector(width), span)
    }

    /// The state of each entry in recurrence `scan`: `next`, which is on the sequence.
    pub fn scan(&mut self, scan: usize, backward: bool, next: NodeId, span: Span) -> NodeId {
        let Node { axis, shape, .. } = self.node(next).clone();
        self.make(Op::Scan { scan, backward }, &[next], axis, shape, span)
    }

    pub fn sum_value(&mut self, x: NodeId, span: Span) -> NodeId {
        let axis = self.node(x).axis;
        self.make(Op::SumValue, &[x], axis, Shape::scalar(), span)
    }

    pub fn statistic(&mut self, statistic: Statistic, x: NodeId, span: Span) -> Built {
        let Node { shape, .. } = self.node(x).clone();
        if shape.0.len() != 1 {
            return Err(TypeError::NotAVector { found: shape });
        }
        let results = statistic.description().results as usize;
        Ok(self.make(Op::Statistic(statistic), &[x], GLOBAL, Shape::vector(results * shape.width()), span))
    }

    /// `sum(x to batch or once) / count`: the mean over all elements of the operand's axis.
    pub fn mean_once(&mut self, x: NodeId, span: Span) -> Built {
        let axis = self.node(x).axis;
        let total = self.sum(x, GLOBAL, span)?;
        let count = self.count(if axis == GLOBAL { BATCH } else { axis }, span);
        self.binary(BinaryOp::Divide, total, count, span)
    }
}
