//! One arm an op: the table at the top of [`crate::graph`], executed.

use super::{Inputs, Run};
use crate::graph::{Absorbed, BATCH, Graph, NodeId, Op};
use crate::statistic::meaning_of;
use din_program::dropout;

/// The operands of a node, read by the ancestor rule.
pub(crate) struct Operands<'a> {
    graph: &'a Graph,
    run: &'a Run,
    id: NodeId,
}

impl<'a> Operands<'a> {
    pub(crate) fn new(graph: &'a Graph, run: &'a Run, id: NodeId) -> Self {
        Operands { graph, run, id }
    }

    fn operand(&self, k: usize) -> NodeId {
        self.graph.node(self.id).operands[k]
    }

    pub(crate) fn width(&self, k: usize) -> usize {
        self.graph.node(self.operand(k)).width()
    }

    /// Number of elements in operand `k`'s own axis.
    pub(crate) fn count(&self, k: usize) -> usize {
        self.run.sizes.count(self.graph.node(self.operand(k)).axis)
    }

    /// Where operand `k`'s vector at element `i` of `axis` starts.
    pub(crate) fn offset(&self, k: usize, axis: crate::graph::AxisId, i: usize) -> usize {
        let from = self.graph.node(self.operand(k)).axis;
        self.run.sizes.ancestor(axis, from, i) * self.width(k)
    }

    /// Operand `k`'s vector at element `i` of `axis`.
    pub(crate) fn at(&self, k: usize, axis: crate::graph::AxisId, i: usize) -> &'a [f64] {
        let start = self.offset(k, axis, i);
        &self.run.value(self.operand(k))[start..start + self.width(k)]
    }
}

/// Position `j` of a vector, or its one number.
fn component(x: &[f64], j: usize) -> f64 {
    if x.len() == 1 { x[0] } else { x[j] }
}

/// The value of a node whose operands are computed: at all elements, or in a recurrence at those of
/// a step.
pub(crate) fn compute(graph: &Graph, run: &Run, inputs: &Inputs, id: NodeId) -> Vec<f64> {
    let node = graph.node(id);
    let (axis, width) = (node.axis, node.width());
    let n = run.sizes.count(axis);
    let x = Operands::new(graph, run, id);
    // `element(i)` appends the node's vector at `i`.
    let each = |element: &mut dyn FnMut(usize, &mut Vec<f64>)| {
        let elements = run.elements(axis);
        let mut out = Vec::with_capacity(elements.len() * width);
        elements.into_iter().for_each(|i| element(i, &mut out));
        out
    };
    match &node.op {
        Op::Unary(op) => {
            let value = op.description().value;
            each(&mut |i, out| out.extend(x.at(0, axis, i).iter().map(|&v| value(v))))
        }
        Op::Binary(op) => {
            let value = op.description().value;
            each(&mut |i, out| {
                let (a, b) = (x.at(0, axis, i), x.at(1, axis, i));
                out.extend((0..width).map(|j| value(component(a, j), component(b, j))));
            })
        }
        Op::Select => each(&mut |i, out| {
            let (c, a, b) = (x.at(0, axis, i), x.at(1, axis, i), x.at(2, axis, i));
            out.extend((0..width).map(|j| if component(c, j) != 0.0 { component(a, j) } else { component(b, j) }));
        }),
        Op::DropoutMask { site, rate } => {
            let key = dropout::key(inputs.seed, *site as u32, inputs.steps + 1);
            each(&mut |i, out| {
                let [sample, first, second] = [0, 1, 2].map(|k| x.at(k, axis, i)[0] as f32);
                let at = |component: usize| [sample, first, second, component as f32];
                out.extend((0..width).map(|component| dropout::factor(*rate, key, at(component))));
            })
        }
        Op::Broadcast => each(&mut |i, out| {
            let v = x.at(0, axis, i);
            out.extend((0..width).map(|j| component(v, j)));
        }),
        // The numbers of all elements, in the same order.
        Op::Flatten => run.value(node.operands[0]).to_vec(),
        Op::Unflatten { .. } => {
            let from = node.operands[0];
            run.sizes.expand(run.value(from), x.width(0), graph.node(from).axis, BATCH)
        }
        // The elements have the same numbers here.
        Op::Rename { .. } => run.value(node.operands[0]).to_vec(),
        Op::StopGradient | Op::Reshape | Op::Scan { .. } => each(&mut |i, out| out.extend_from_slice(x.at(0, axis, i))),
        Op::Concat => each(&mut |i, out| {
            (0..node.operands.len()).for_each(|k| out.extend_from_slice(x.at(k, axis, i)));
        }),
        Op::Slice { start } => each(&mut |i, out| out.extend_from_slice(&x.at(0, axis, i)[*start..start + width])),
        Op::MatMul => each(&mut |i, out| {
            let (v, w) = (x.at(0, axis, i), x.at(1, axis, i));
            out.extend((0..width).map(|c| (0..v.len()).map(|r| v[r] * w[r * width + c]).sum::<f64>()));
        }),
        Op::MatMulT => each(&mut |i, out| {
            let (v, w) = (x.at(0, axis, i), x.at(1, axis, i));
            out.extend((0..width).map(|r| (0..v.len()).map(|c| v[c] * w[r * v.len() + c]).sum::<f64>()));
        }),
        Op::Outer => {
            let over = outer_axis(graph, id);
            let (k, m) = (x.width(0), x.width(1));
            let mut out = vec![0.0; k * m];
            for i in 0..run.sizes.count(over) {
                let (a, b) = (x.at(0, over, i), x.at(1, over, i));
                for r in 0..k {
                    for c in 0..m {
                        out[r * m + c] += a[r] * b[c];
                    }
                }
            }
            out
        }
        Op::Absorbed(form) => {
            let (e, from) = (x.width(0), graph.node(node.operands[0]).axis);
            // Column `c` of row `r` of the matrix, in operand 2.
            let w = |r: usize, c: usize, n: usize| x.at(2, crate::graph::GLOBAL, 0)[r * n + c];
            match form {
                Absorbed::Product => each(&mut |i, out| {
                    let (k, q) = (x.at(0, axis, i), x.at(1, axis, i));
                    let term = |r: usize, c: usize| k[r] * (w(r, c, width) + q[r] * w(e + r, c, width));
                    out.extend((0..width).map(|c| (0..e).map(|r| term(r, c)).sum::<f64>()));
                }),
                Absorbed::ProductT => each(&mut |i, out| {
                    let (g, q) = (x.at(0, axis, i), x.at(1, axis, i));
                    let n = g.len();
                    let term = |r: usize, c: usize| g[c] * (w(r, c, n) + q[r] * w(width + r, c, n));
                    out.extend((0..width).map(|r| (0..n).map(|c| term(r, c)).sum::<f64>()));
                }),
                Absorbed::Outer => {
                    let n = x.width(2);
                    let mut out = vec![0.0; 2 * e * n];
                    for i in 0..run.sizes.count(from) {
                        let (k, q, g) = (x.at(0, from, i), x.at(1, from, i), x.at(2, from, i));
                        for r in 0..e {
                            for c in 0..n {
                                out[r * n + c] += k[r] * g[c];
                                out[(e + r) * n + c] += k[r] * q[r] * g[c];
                            }
                        }
                    }
                    out
                }
                Absorbed::Sum => {
                    let mut out = vec![0.0; n * e];
                    for i in 0..run.sizes.count(from) {
                        let p = run.sizes.ancestor(from, axis, i);
                        let (k, g) = (x.at(0, from, i), x.at(1, from, i));
                        for r in 0..e {
                            out[p * e + r] += k[r] * (0..g.len()).map(|c| g[c] * w(e + r, c, g.len())).sum::<f64>();
                        }
                    }
                    out
                }
            }
        }
        Op::Sum { .. } | Op::Max { .. } => {
            let from = graph.node(node.operands[0]).axis;
            let mut out = vec![0.0; n * width];
            let mut seen = vec![false; n];
            let maximum = matches!(node.op, Op::Max { .. });
            for i in 0..x.count(0) {
                let p = run.sizes.ancestor(from, axis, i);
                let first = !std::mem::replace(&mut seen[p], true);
                for (o, &v) in out[p * width..(p + 1) * width].iter_mut().zip(x.at(0, from, i)) {
                    *o = match (maximum, first) {
                        (true, true) => v,
                        (true, false) => o.max(v),
                        (false, _) => *o + v,
                    };
                }
            }
            out
        }
        Op::SumValue => each(&mut |i, out| out.push(x.at(0, axis, i).iter().sum())),
        Op::Statistic(statistic) => {
            let from = graph.node(node.operands[0]).axis;
            let (n, w) = (x.count(0), x.width(0));
            let value = meaning_of(*statistic).value;
            let mut results = vec![0.0; width / w];
            let mut out = vec![0.0; width];
            for j in 0..if n == 0 { 0 } else { w } {
                let column: Vec<f64> = (0..n).map(|i| x.at(0, from, i)[j]).collect();
                value(&column, &mut results);
                results.iter().enumerate().for_each(|(k, &result)| out[k * w + j] = result);
            }
            out
        }
        Op::Const(_)
        | Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Lookup { .. }
        | Op::Length(_)
        | Op::Position(_)
        | Op::SampleNumber(_)
        | Op::Count(_)
        | Op::Previous { .. } => unreachable!("`source` and `compute_stage` compute {}", node.op.name()),
    }
}

/// The deeper of an `Outer`'s two axes.
pub(crate) fn outer_axis(graph: &Graph, id: NodeId) -> crate::graph::AxisId {
    let node = graph.node(id);
    let (a, b) = (graph.node(node.operands[0]).axis, graph.node(node.operands[1]).axis);
    graph.axes.join(a, b).expect("`verify` joins the axes of operands")
}
