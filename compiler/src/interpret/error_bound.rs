//! How far an f32 backend may stray: a running error analysis beside the values.
//!
//! For every number the interpreter also computes an **error scale** in units of `f32::EPSILON`:
//! what each operation rounds (the magnitude of its result, or for sums and products the sum of the
//! magnitudes of what was summed) plus what its operands' errors become through its partial
//! derivatives, all terms positive. A correct f32 evaluation in any order of summation lies within
//! a small multiple of `EPSILON x scale` of the f64 value; tests allow 32.
//!
//! The scale is infinite where f32 may rightly take the other side of a jump: a comparison, `sign`,
//! `not` or a condition within the errors of its operands, a `max` whose derivative depends on a
//! near-tie, or a number that leaves f32's range. Data that f32 represents exactly has scale 0.

use super::{Inputs, InterpretError, Run, Values, ops, put, run, steps};
use crate::elementwise::{GUARD, jump, times};
use crate::graph::{AxisId, BATCH, BinaryOp, Graph, GraphStage, NodeId, Op, Recurrence};
use crate::statistic::meaning_of;

/// Values and their error scales.
#[derive(Clone, Debug)]
pub struct Magnitudes {
    pub run: Run,
    scales: Vec<Option<Vec<f64>>>,
}

impl Magnitudes {
    pub fn value(&self, id: NodeId) -> &[f64] {
        self.run.value(id)
    }

    /// The error scale of each number of [`Magnitudes::value`], in units of `f32::EPSILON`.
    pub fn scale(&self, id: NodeId) -> &[f64] {
        self.scales.get(id.index()).and_then(|v| v.as_deref()).expect("a run computes what the roots need")
    }
}

/// [`super::run`] with error scales.
pub fn run_magnitude(graph: &Graph, inputs: &Inputs, values: &Values) -> Result<Magnitudes, InterpretError> {
    let run = run(graph, inputs, values)?;
    let mut m = Magnitudes { run, scales: vec![None; graph.bound()] };
    for stage in graph.stages() {
        match stage {
            GraphStage::Node(id) => m.compute(graph, id),
            GraphStage::Recurrence(recurrence) => m.compute_recurrence(graph, &recurrence),
        }
    }
    Ok(m)
}

impl Magnitudes {
    fn compute(&mut self, graph: &Graph, id: NodeId) {
        let mut scale = compute(graph, self, id);
        let width = graph.node(id).width();
        let elements = self.run.elements(graph.node(id).axis);
        for (&i, scale) in elements.iter().zip(scale.chunks_exact_mut(width)) {
            for (s, v) in scale.iter_mut().zip(&self.value(id)[i * width..(i + 1) * width]) {
                if v.is_nan() || v.abs() >= 1e37 || s.is_nan() {
                    *s = f64::INFINITY;
                }
            }
        }
        match &mut self.scales[id.index()] {
            Some(all) if self.run.step.is_some() => put(all, &scale, width, &elements),
            all => *all = Some(scale),
        }
    }

    /// Step by step, like the values in [`Run::compute_stage`].
    fn compute_recurrence(&mut self, graph: &Graph, recurrence: &Recurrence) {
        let previous = graph.node(recurrence.previous);
        let lists = self.run.sizes.parents[previous.axis.index()].clone();
        for &id in &recurrence.members {
            self.scales[id.index()] = Some(vec![0.0; lists.len() * graph.node(id).width()]);
        }
        for step in steps(&lists, recurrence.backward) {
            let scales = step.before(self.scale(recurrence.scan), previous.width());
            let before = self.scales[recurrence.previous.index()].as_mut().expect("it was set above");
            put(before, &scales, previous.width(), &step.entries);
            self.run.step = Some(step.entries);
            for &id in recurrence.members.iter().filter(|id| **id != recurrence.previous) {
                self.compute(graph, id);
            }
            self.run.step = None;
        }
    }
}

fn compute(graph: &Graph, m: &Magnitudes, id: NodeId) -> Vec<f64> {
    let node = graph.node(id);
    let (axis, width) = (node.axis, node.width());
    let value = m.value(id);
    let n = m.run.sizes.count(axis);
    let elements = m.run.elements(axis);
    let x = ops::Operands::new(graph, &m.run, id);
    let scales: Vec<&[f64]> = node.operands.iter().map(|&o| m.scale(o)).collect();
    // Operand `k`'s value and error at component `j` of element `i` of `d`.
    let at = |k: usize, d: AxisId, i: usize, j: usize| {
        let j = if x.width(k) == 1 { 0 } else { j };
        (x.at(k, d, i)[j], scales[k][x.offset(k, d, i) + j])
    };
    let each = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        elements.iter().flat_map(|&i| (0..width).map(move |j| (i, j))).map(|(i, j)| f(i, j)).collect()
    };
    // What one term `a b` of a sum of products adds.
    let product = |(a, ea): (f64, f64), (b, eb): (f64, f64)| times(b, ea) + times(a, eb) + (a * b).abs();
    match &node.op {
        Op::Length(_) | Op::Position(_) | Op::SampleNumber(_) | Op::Count(_) => vec![0.0; value.len()],
        Op::Const(_) | Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Lookup { .. } => {
            value.iter().map(|&v| if f64::from(v as f32) == v { 0.0 } else { v.abs() }).collect()
        }
        // The factor of what is kept is rounded; which components are kept is exact.
        Op::DropoutMask { .. } => value.to_vec(),
        Op::Unary(op) => each(&|i, j| {
            let (v, e) = at(0, axis, i, j);
            (op.description().error)(v, value[i * width + j], e)
        }),
        Op::Binary(BinaryOp::Equal) if is_max_of(graph, node.operands[1], node.operands[0]) => attains(graph, m, id),
        Op::Binary(op) => {
            let error = op.description().error;
            each(&|i, j| error(at(0, axis, i, j), at(1, axis, i, j), value[i * width + j]))
        }
        Op::Select => each(&|i, j| {
            let (c, e) = at(0, axis, i, j);
            let taken = at(if c != 0.0 { 1 } else { 2 }, axis, i, j).1;
            // Both branches equal: no jump.
            if at(1, axis, i, j) == at(2, axis, i, j) { taken } else { taken + jump(c, e) }
        }),
        // The numbers of all elements, in the same order.
        Op::Flatten => scales[0].to_vec(),
        Op::Unflatten { .. } => m.run.sizes.expand(scales[0], x.width(0), graph.node(node.operands[0]).axis, BATCH),
        Op::Rename { .. } => scales[0].to_vec(),
        Op::Previous { .. } => unreachable!("`compute_recurrence` has the scale of a state"),
        Op::StopGradient | Op::Reshape | Op::Broadcast | Op::Scan { .. } => each(&|i, j| at(0, axis, i, j).1),
        Op::Slice { start } => each(&|i, j| at(0, axis, i, start + j).1),
        Op::Concat => {
            let parts = 0..node.operands.len();
            let owner: Vec<(usize, usize)> = parts.flat_map(|k| (0..x.width(k)).map(move |j| (k, j))).collect();
            each(&|i, j| at(owner[j].0, axis, i, owner[j].1).1)
        }
        Op::MatMul => each(&|i, c| {
            (0..x.width(0)).map(|r| product(at_wide(&x, &scales, 0, axis, i, r), at(1, axis, i, r * width + c))).sum()
        }),
        Op::MatMulT => each(&|i, r| {
            let k = x.width(0);
            (0..k).map(|c| product(at_wide(&x, &scales, 0, axis, i, c), at(1, axis, i, r * k + c))).sum()
        }),
        Op::Outer => {
            let over = ops::outer_axis(graph, id);
            let columns = x.width(1);
            let mut out = vec![0.0; width];
            for i in 0..m.run.sizes.count(over) {
                for (j, o) in out.iter_mut().enumerate() {
                    *o += product(at(0, over, i, j / columns), at(1, over, i, j % columns));
                }
            }
            out
        }
        // Comes after everything that is measured; what it stands for is measured instead.
        Op::Absorbed(_) => vec![f64::INFINITY; value.len()],
        Op::Sum { .. } | Op::Max { .. } => {
            let from = graph.node(node.operands[0]).axis;
            let mut out = vec![0.0f64; n * width];
            for i in 0..x.count(0) {
                let p = m.run.sizes.ancestor(from, axis, i);
                for j in 0..width {
                    let (v, e) = at(0, from, i, j);
                    let o = &mut out[p * width + j];
                    *o = if matches!(node.op, Op::Sum { .. }) { *o + e + v.abs() } else { o.max(e) };
                }
            }
            out
        }
        Op::SumValue => {
            each(&|i, _| (0..x.width(0)).map(|j| at_wide(&x, &scales, 0, axis, i, j)).map(|(v, e)| e + v.abs()).sum())
        }
        Op::Statistic(statistic) => {
            let from = graph.node(node.operands[0]).axis;
            let (w, error) = (x.width(0), meaning_of(*statistic).error);
            let mut out = vec![0.0; width];
            for j in 0..w {
                let column: Vec<(f64, f64)> = (0..x.count(0)).map(|i| at(0, from, i, j)).collect();
                let results: Vec<f64> = value[j..].iter().step_by(w).copied().collect();
                let mut of_results = vec![0.0; results.len()];
                error(&column, &results, &mut of_results);
                of_results.iter().enumerate().for_each(|(k, &scale)| out[k * w + j] = scale);
            }
            out
        }
    }
}

/// Position `j` of operand `k`, without scalar repetition.
fn at_wide(x: &ops::Operands, scales: &[&[f64]], k: usize, d: AxisId, i: usize, j: usize) -> (f64, f64) {
    (x.at(k, d, i)[j], scales[k][x.offset(k, d, i) + j])
}

fn is_max_of(graph: &Graph, max: NodeId, x: NodeId) -> bool {
    let node = graph.node(max);
    matches!(node.op, Op::Max { .. }) && *node.operands == [x]
}

/// `Equal(x, max of x)`: whoever attains the maximum does so exactly in f32 too, unless another
/// element comes near it.
fn attains(graph: &Graph, m: &Magnitudes, id: NodeId) -> Vec<f64> {
    let node = graph.node(id);
    let (x, max) = (node.operands[0], node.operands[1]);
    let (from, to, w) = (graph.node(x).axis, graph.node(max).axis, node.width());
    let n = m.run.sizes.count(from);
    let near = |i: usize, j: usize| {
        let p = m.run.sizes.ancestor(from, to, i);
        let e = m.scale(x)[i * w + j] + m.scale(max)[p * w + j];
        (p, m.value(max)[p * w + j] - m.value(x)[i * w + j] <= GUARD * e)
    };
    let mut rivals = vec![0usize; m.run.sizes.count(to) * w];
    for i in 0..n {
        for j in 0..w {
            let (p, near) = near(i, j);
            rivals[p * w + j] += usize::from(near);
        }
    }
    let scale = |i: usize, j: usize| {
        let (p, near) = near(i, j);
        if near && rivals[p * w + j] > 1 { f64::INFINITY } else { 0.0 }
    };
    (0..n).flat_map(|i| (0..w).map(move |j| (i, j))).map(|(i, j)| scale(i, j)).collect()
}
