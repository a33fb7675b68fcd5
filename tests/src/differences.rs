//! Central differences: the gradient roots of a differentiated graph against its own loss.

use crate::random_graph::Random;
use din_compiler::graph::{Graph, NodeId, Op, Root};
use din_compiler::interpret::{Inputs, InterpretError, Run, Values, run};

/// The node of the `Loss` root.
pub fn loss_node(graph: &Graph) -> Option<NodeId> {
    graph.roots.iter().find_map(|r| if let Root::Loss(n) = r { Some(*n) } else { None })
}

/// The loss at `values`, what stands behind a `stop_gradient` keeping the value it has in `still`.
fn loss(graph: &Graph, node: NodeId, inputs: &Inputs, still: &Run, values: &Values) -> Result<f64, InterpretError> {
    let mut run = Run::new(graph, inputs)?;
    for stage in graph.stages_from([node]) {
        run.compute_stage(graph, &stage, &mut |run, id| match graph.node(id).op {
            Op::StopGradient => {
                run.set(id, still.value(id).to_vec());
                Ok(())
            }
            _ => run.compute(graph, inputs, values, id),
        })?;
    }
    Ok(run.value(node)[0])
}

/// The gradient by every parameter and table entry, from the graph's roots; 0 where there is no
/// root.
pub fn gradient(graph: &Graph, inputs: &Inputs, values: &Values) -> Result<Values, InterpretError> {
    let run = run(graph, inputs, values)?;
    let zeros = |of: &[Vec<f64>]| of.iter().map(|v| vec![0.0; v.len()]).collect::<Vec<_>>();
    let mut g = Values { params: zeros(&values.params), states: vec![], tables: zeros(&values.tables) };
    for root in &graph.roots {
        let value = run.value(root.node());
        match root {
            Root::ParamGradient { param, .. } => g.params[param.index()] = value.to_vec(),
            Root::RowGradient { table, input, .. } => {
                let w = graph.tables[table.index()];
                for (&row, part) in inputs.rows[&(*table, *input)].iter().zip(value.chunks(w)) {
                    for (j, p) in part.iter().enumerate() {
                        g.tables[table.index()][row * w + j] += p;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(g)
}

/// Checks the derivative along random directions in each parameter and table, half of them along a
/// position or two only. The message says where it fails.
pub fn check(graph: &Graph, inputs: &Inputs, values: &Values, seed: u64) -> Result<(), String> {
    let said = |e: InterpretError| e.to_string();
    let node = loss_node(graph).ok_or("there is no loss")?;
    let exact = gradient(graph, inputs, values).map_err(said)?;
    let still = run(graph, inputs, values).map_err(said)?;
    let mut r = Random::new(seed);
    let h = 1e-6;
    let params = values.params.len();
    let tensor = |v: &Values, k: usize| if k < params { v.params[k].clone() } else { v.tables[k - params].clone() };
    for k in (0..params + values.tables.len()).flat_map(|k| [k; 3]) {
        let at = tensor(values, k);
        let derivative = tensor(&exact, k);
        let sparse = r.chance(0.5);
        let share = if sparse { 2.0 / at.len() as f64 } else { 1.0 };
        let direction: Vec<f64> = at.iter().map(|_| if r.chance(share) { r.number() } else { 0.0 }).collect();
        let moved = |by: f64| {
            let mut v = values.clone();
            let moved = at.iter().zip(&direction).map(|(x, d)| x + by * d).collect();
            if k < params {
                v.params[k] = moved
            } else {
                v.tables[k - params] = moved
            }
            loss(graph, node, inputs, &still, &v).map_err(said)
        };
        let (up, down) = (moved(h)?, moved(-h)?);
        let found = (up - down) / (2.0 * h);
        let terms = derivative.iter().zip(&direction).map(|(g, d)| g * d);
        let (expected, scale) = terms.fold((0.0, 1.0), |(sum, scale), t| (sum + t, scale + f64::abs(t)));
        // Rounding of both losses over the step, and what the third derivative leaves.
        let tolerance = 2e-5 * scale + 1e-12 * (up.abs() + 1.0) / h;
        if (found - expected).abs() > tolerance || !found.is_finite() {
            return Err(format!("tensor {k}: differences give {found}, the graph {expected}"));
        }
    }
    Ok(())
}
