//! Drawing one use of a primitive, its operands kept where it is smooth.

use super::{MARGIN, Made, Maker};
use din_compiler::graph::{AxisId, AxisKind, BATCH, BinaryOp, GLOBAL, InputKind, NodeId, Op, Shape, StateId, UnaryOp};
use din_program::schedule::Statistic;

impl Maker {
    /// Draws one use of a primitive; `None` where it came to nothing.
    pub(super) fn draw(&mut self, name: &str) -> Made {
        let span = self.span();
        if let Some(&op) = UnaryOp::ALL.iter().find(|op| op.name() == name) {
            return self.draw_unary(op);
        }
        if let Some(&op) = BinaryOp::ALL.iter().find(|op| op.name() == name) {
            return self.draw_binary(op);
        }
        if let Some(&statistic) = Statistic::ALL.iter().find(|s| s.description().name == name) {
            let x = self.vector();
            let id = self.g.statistic(statistic, x, span).ok()?;
            return self.take(id);
        }
        match name {
            "const" => {
                let value = f64::from((self.r.number() * 3.0) as f32);
                let id = if self.r.chance(0.3) {
                    let (axis, width) = (self.varying_axis(), self.width());
                    self.g.constant_of(value, axis, Shape::vector(width), span)
                } else {
                    self.g.constant(value, span)
                };
                self.take(id)
            }
            "input" => self.draw_input(),
            "param" => {
                let (k, n) = (self.width(), self.width());
                let shape = if self.r.chance(0.3) { Shape::matrix(k, n + 1) } else { Shape::vector(n) };
                Some(self.param(shape))
            }
            "state" => {
                let shape = Shape::vector(self.width());
                let numbers = self.r.numbers(shape.width());
                self.values.states.push(numbers);
                self.g.states.push(shape);
                let id = self.g.state(StateId(self.g.states.len() as u32 - 1), span);
                self.take(id)
            }
            "lookup" => {
                let axis = self.varying_axis();
                self.lookup(axis)
            }
            "length" => {
                // A fixed axis has a constant in place of lengths.
                let ragged = |d: &AxisId| {
                    let axes = &self.g.axes;
                    axes.has_entries(*d) && axes.first_name(*d) != BATCH && axes.fixed(*d).is_none()
                };
                let ragged: Vec<AxisId> = self.axes().into_iter().filter(ragged).collect();
                let axis = self.r.pick(&ragged)?;
                let id = self.g.length(axis, span);
                self.take(id)
            }
            "position" => {
                let lists =
                    |d: &AxisId| matches!(self.g.axes.kind(*d), AxisKind::Sequence { .. } | AxisKind::Fixed { .. });
                let lists: Vec<AxisId> = self.axes().into_iter().filter(lists).collect();
                let axis = self.r.pick(&lists)?;
                let id = self.g.position(axis, span);
                self.take(id)
            }
            "sample_number" => {
                let axis = if self.r.chance(0.5) { BATCH } else { self.g.axes.request().unwrap_or(BATCH) };
                let id = self.g.sample_number(axis, span);
                self.take(id)
            }
            "dropout_mask" => {
                let (axis, width) = (self.varying_axis(), self.width());
                let second = self.g.axes.second_of_pairs(axis).unwrap_or(axis);
                if axis != BATCH && self.g.axes.first_name(second) == BATCH {
                    // The language has no dropout of samples under a second name.
                    return None;
                }
                let (site, rate) = (self.r.below(3), [0.1, 0.5, 0.75][self.r.below(3)]);
                let id = self.g.dropout_mask(site, rate, axis, Shape::vector(width), span).ok()?;
                for operand in self.g.node(id).operands.clone() {
                    for id in self.g.order_from([operand]) {
                        self.keep(id);
                    }
                }
                self.take(id)
            }
            "count" => {
                let axis = self.varying_axis();
                let id = self.g.count(axis, span);
                self.take(id)
            }
            "select" => {
                let a = self.any();
                let b = self.beside(a);
                let x = self.beside(a);
                let y = self.beside(x);
                if !self.clear(x, y) {
                    return None;
                }
                let c = self.binary(BinaryOp::Less, x, y)?;
                let id = self.g.select(c, a, b, span).ok()?;
                self.take(id)
            }
            "stop_gradient" => {
                let x = self.any();
                let id = self.g.stop_gradient(x, span);
                self.take(id)
            }
            "broadcast" => {
                let x = self.any();
                let (from, shape) = (self.axis(x), self.shape(x));
                let deeper: Vec<AxisId> =
                    self.axes().into_iter().filter(|&d| self.g.axes.is_ancestor(from, d)).collect();
                let axis = if shape.0.len() == 2 { GLOBAL } else { self.r.pick(&deeper)? };
                let wider = shape == Shape::scalar() && self.r.chance(0.5);
                let to = if wider { Shape::vector(self.width()) } else { shape.clone() };
                if (axis, &to) == (from, &shape) {
                    return None;
                }
                let id = self.g.broadcast(x, axis, &to, span).expect("to a deeper axis, or a scalar");
                self.take(id)
            }
            "rename" => {
                let named: Vec<AxisId> = self
                    .axes()
                    .into_iter()
                    .filter(|&d| self.g.axes.pairs(self.g.axes.first_name(d)).is_some())
                    .collect();
                let axis = self.r.pick(&named)?;
                self.rename(axis)
            }
            "unflatten" => {
                let fixed: Vec<AxisId> = self.axes().into_iter().filter(|&d| self.g.axes.fixed(d).is_some()).collect();
                let axis = self.r.pick(&fixed)?;
                self.unflatten(axis)
            }
            "flatten" => {
                let fixed = |m: &Self, id: NodeId| matches!(m.g.axes.kind(m.axis(id)), AxisKind::Fixed { .. });
                let x = self.where_(|m, id| fixed(m, id) && m.shape(id).0.len() == 1)?;
                let id = self.g.flatten(x, span).ok()?;
                self.take(id)
            }
            "concat" => self.draw_concat(),
            "slice" => {
                let x = self.where_(|m, id| m.g.node(id).width() > 1)?;
                let shape = self.shape(x);
                let (start, part) = match *shape.0.as_slice() {
                    // Whole rows of a matrix, as a matrix or flat.
                    [k, n] if self.r.chance(0.7) => {
                        let from = self.r.below(k);
                        let rows = 1 + self.r.below(k - from);
                        (from * n, if self.r.chance(0.8) { Shape::matrix(rows, n) } else { Shape::vector(rows * n) })
                    }
                    _ => {
                        let from = self.r.below(shape.width());
                        (from, Shape::vector((1 + self.r.below(shape.width() - from)).min(24)))
                    }
                };
                let id = self.g.slice(x, start, part, span).ok()?;
                self.take(id)
            }
            "reshape" => {
                let x = self.where_(|m, id| m.g.node(id).axis == GLOBAL)?;
                let shape = self.shape(x);
                let to = if shape.0.len() == 2 {
                    Shape::vector(shape.width())
                } else {
                    let divisors: Vec<usize> =
                        (1..=shape.width()).filter(|k| shape.width().is_multiple_of(*k)).collect();
                    let k = self.r.pick(&divisors)?;
                    Shape::matrix(k, shape.width() / k)
                };
                let id = self.g.reshape(x, to, span).ok()?;
                self.take(id)
            }
            "matmul" | "matmul_t" => {
                let x = self.vector();
                let k = self.shape(x).width();
                let n = if k == 1 { 2 + self.r.below(9) } else { self.width() };
                let shape = if name == "matmul" { Shape::matrix(k, n) } else { Shape::matrix(n, k) };
                let fits = |m: &Self, id: NodeId| {
                    let s = &m.g.node(id).shape.0;
                    s.len() == 2 && s[usize::from(name == "matmul_t")] == k
                };
                let w = match self.where_(fits) {
                    Some(w) if self.r.chance(0.7) => w,
                    _ => self.param(shape),
                };
                let id = if name == "matmul" { self.g.matmul(x, w, span) } else { self.g.matmul_t(x, w, span) };
                self.take(id.ok()?)
            }
            "outer" => {
                let x = self.vector();
                let axis = self.axis(x);
                let g = self.where_(|m, id| {
                    let n = m.g.node(id);
                    n.shape.0.len() == 1 && m.g.axes.join(n.axis, axis).is_some()
                })?;
                let id = self.g.outer(x, g, span).ok()?;
                self.take(id)
            }
            "sum" | "max_over" => self.draw_reduction(name),
            "previous" | "scan" => self.draw_recurrence(),
            "sum_value" => {
                let x = self.any();
                let id = self.g.sum_value(x, span);
                self.take(id)
            }
            _ => None,
        }
    }

    /// A state of which each entry makes the next one: `tanh(a state W + b)`, by one weight or two,
    /// from what is drawn; or one that is there before.
    fn draw_recurrence(&mut self) -> Made {
        let lists = |d: &AxisId| matches!(self.g.axes.kind(*d), AxisKind::Sequence { .. });
        let lists: Vec<AxisId> = self.axes().into_iter().filter(lists).collect();
        let axis = self.r.pick(&lists)?;
        let (scan, backward, span) = (self.g.unused_scan(), self.r.chance(0.4), self.span());
        let given = self.where_(|m, id| m.axis(id) == axis && m.shape(id).0.len() == 1)?;
        if self.r.chance(0.2) {
            let width = self.shape(given).width();
            let end = self.g.scan(scan, backward, given, span);
            let before = self.g.previous(scan, backward, axis, width, span);
            return self.take_recurrence(before, end);
        }
        let width = if self.r.chance(0.5) { self.shape(given).width() } else { 1 + self.r.below(6) };
        let fits = |m: &Self, id: NodeId| {
            let node = m.g.node(id);
            let shape = node.shape == Shape::scalar() || node.shape == Shape::vector(width);
            shape && m.g.axes.join(node.axis, axis) == Some(axis)
        };
        let (factor, added) = (self.where_(fits), self.where_(fits));
        let before = self.g.previous(scan, backward, axis, width, span);
        let mut state = before;
        if width > 1 && self.r.chance(0.7) {
            let w = self.param(Shape::matrix(width, width));
            state = self.g.matmul(state, w, span).ok()?;
        }
        let mut inside = vec![state];
        for (op, operand) in [(BinaryOp::Multiply, factor), (BinaryOp::Add, added)] {
            if let Some(operand) = operand {
                state = self.g.binary(op, state, operand, span).ok()?;
                inside.push(state);
            }
        }
        state = self.g.unary(UnaryOp::Tanh, state, span);
        if width > 2 && self.r.chance(0.5) {
            let start = 1 + self.r.below(width - 1);
            let end = self.g.slice(before, 0, Shape::vector(start), span).ok()?;
            let begin = self.g.slice(state, start, Shape::vector(width - start), span).ok()?;
            state = self.g.concat(vec![begin, end], span).ok()?;
        }
        let end = self.g.scan(scan, backward, state, span);
        let made = self.take_recurrence(before, end);
        if made.is_some() && self.r.chance(0.5) {
            self.pool.extend(self.r.pick(&inside));
        }
        made
    }

    fn draw_input(&mut self) -> Made {
        let (axis, width) = (self.varying_axis(), self.width());
        let batch = self.inputs.batch;
        let count = |m: &Self, f: &dyn Fn(&InputKind) -> bool| m.g.inputs.iter().filter(|i| f(&i.kind)).count();
        match self.r.below(6) {
            0 => {
                let label = count(self, &|k| matches!(k, InputKind::Label { .. })) as u32;
                let bits = (0..batch).map(|_| self.r.below(2) as f64).collect();
                let id = self.new_input(InputKind::Label { label }, BATCH, Shape::scalar(), bits);
                let span = self.span();
                let id = self.g.input(id, span);
                self.take(id)
            }
            1 if count(self, &|k| *k == InputKind::Step) == 0 => {
                let step = vec![1.0 + self.inputs.steps as f64];
                let id = self.new_input(InputKind::Step, GLOBAL, Shape::scalar(), step);
                let span = self.span();
                let id = self.g.input(id, span);
                self.take(id)
            }
            _ => Some(self.dense(axis, width)),
        }
    }

    fn draw_unary(&mut self, op: UnaryOp) -> Made {
        let mut x = self.any();
        match op {
            UnaryOp::Exp => x = self.unary(UnaryOp::Tanh, x),
            UnaryOp::Log | UnaryOp::Sqrt => x = self.positive(x, 0.25)?,
            UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Not => {
                let zero = self.number(0.0);
                if !self.clear(x, zero) {
                    return None;
                }
            }
            _ => {}
        }
        if op == UnaryOp::Not && self.r.chance(0.5) {
            // Of something that is 0 or 1.
            let y = self.beside(x);
            if self.clear(x, y) {
                x = self.binary(BinaryOp::Less, x, y)?;
            }
        }
        let id = self.unary(op, x);
        self.take(id)
    }

    fn draw_binary(&mut self, op: BinaryOp) -> Made {
        let (mut a, mut b) = {
            let a = self.any();
            (a, self.beside(a))
        };
        if self.r.chance(0.5) {
            (a, b) = (b, a);
        }
        match op {
            BinaryOp::Divide => b = self.positive(b, 0.5)?,
            BinaryOp::Power => match self.r.below(4) {
                0 => b = self.positive(b, 0.0)?,
                1 => b = self.number(2.0),
                2 => b = self.number(3.0),
                _ => b = self.number(-0.5),
            },
            BinaryOp::Min | BinaryOp::Max | BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Equal
                if !self.clear(a, b) =>
            {
                return None;
            }
            _ => {}
        }
        let integral = matches!(self.g.node(b).op, Op::Const(c) if c >= 1.0);
        if op == BinaryOp::Power && !integral {
            a = self.unary(UnaryOp::Tanh, a);
            a = self.positive(a, 0.3)?;
        }
        let id = self.binary(op, a, b)?;
        self.take(id)
    }

    fn draw_concat(&mut self) -> Made {
        let first = self.vector();
        let mut operands = vec![first];
        let mut axis = self.axis(first);
        let mut width = self.shape(first).width();
        for _ in 0..1 + self.r.below(4) {
            let next = self.where_(|m, id| {
                let n = m.g.node(id);
                n.shape.0.len() == 1 && m.g.axes.join(n.axis, axis).is_some() && width + n.width() <= 2 * m.widest
            });
            let Some(next) = next else { break };
            axis = self.g.axes.join(axis, self.axis(next))?;
            width += self.shape(next).width();
            operands.push(next);
        }
        let span = self.span();
        let id = self.g.concat(operands, span).ok()?;
        self.take(id)
    }

    fn draw_reduction(&mut self, name: &str) -> Made {
        let x = self.where_(|m, id| m.g.node(id).axis != GLOBAL)?;
        let from = self.axis(x);
        let above = |to: &AxisId| match name {
            "sum" => *to != from && self.g.axes.is_ancestor(*to, from),
            _ => {
                let axes = &self.g.axes;
                let above = [axes.parent(from), axes.second_of_pairs(from), axes.shared(from)];
                *to == GLOBAL || above.contains(&Some(*to))
            }
        };
        let above: Vec<AxisId> = self.axes().into_iter().filter(above).collect();
        let to = self.r.pick(&above)?;
        let span = self.span();
        if name == "sum" {
            let id = self.g.sum(x, to, span).ok()?;
            return self.take(id);
        }
        let id = self.g.max(x, to, span).ok()?;
        self.keep(id);
        // No rival near a maximum.
        let (w, n) = (self.shape(x).width(), self.count(from));
        let mut near = vec![0; self.count(to) * w];
        for i in 0..n {
            let p = self.run.sizes().ancestor(from, to, i);
            for j in 0..w {
                let gap = self.run.value(id)[p * w + j] - self.run.value(x)[i * w + j];
                near[p * w + j] += usize::from(gap < MARGIN);
            }
        }
        if near.iter().all(|&n| n <= 1) { self.take(id) } else { None }
    }
}
