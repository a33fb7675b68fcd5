//! Whether numbers of a back end agree with the interpreter, in units of what rounding may do.

use crate::random_graph::Case;
use din_compiler::graph::NodeId;
use din_compiler::interpret::run_magnitude;

/// The largest error of the roots' numbers, in epsilon times the magnitude of what was summed.
///
/// # Panics
///
/// Where an error is above `bound`.
pub fn worst_error(case: &Case, found: &[Vec<f32>], bound: f64, what: &str) -> f64 {
    let expected = run_magnitude(&case.graph, &case.inputs, &case.values).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut worst = 0.0f64;
    for (root, numbers) in case.graph.roots.iter().zip(found) {
        let (values, scales) = (expected.value(root.node()), expected.scale(root.node()));
        assert_eq!(values.len(), numbers.len(), "{what}: {root:?}");
        for (i, ((v, s), x)) in values.iter().zip(scales).zip(numbers).enumerate() {
            if s.is_infinite() {
                continue;
            }
            let error = (f64::from(*x) - v).abs() / f64::from(f32::EPSILON);
            // The variance of equal numbers is the square of the mean's rounding, not 0: second
            // order, and below it.
            let most = bound * s + 8.0 * f64::from(f32::EPSILON);
            assert!(
                error <= most,
                "{what}: {root:?}[{i}]: {x} for {v}, {error:.1} epsilon, scale {s:.3e}\n{}{numbers:?}\n{values:?}\n{:?}",
                around(case, root.node(), 4),
                case.inputs.offsets
            );
            if *s > 0.0 {
                worst = worst.max(error / s);
            }
        }
    }
    worst
}

/// A node and its operands, a few levels down.
fn around(case: &Case, id: NodeId, depth: usize) -> String {
    let node = case.graph.node(id);
    let own = format!("{id:?} {:?} {:?} {:?} {:?}\n", node.op, node.operands, node.axis, node.shape);
    let below = if depth == 0 { &[][..] } else { &node.operands };
    own + &below.iter().map(|&o| around(case, o, depth - 1)).collect::<String>()
}
