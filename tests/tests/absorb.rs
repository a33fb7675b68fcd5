//! `k (W1 + diag(q) W2)` instead of `concat(k, k * q) W`: the same numbers forward and backward,
//! for empty and long histories, at every level.

use din_compiler::graph::{Absorbed, Graph, Op};
use din_compiler::interpret::{Magnitudes, run_magnitude};
use din_compiler::optimize;
use din_program::Isa;
use din_runtime::cpu;
use din_tests::machine;
use din_tests::random_graph::Case;
use din_tests::unit::{activation_case, activation_unit, activation_units};

/// Width of an id, hidden units, samples, longest history.
const SIZES: [(usize, usize, usize, usize); 6] =
    [(16, 80, 9, 40), (16, 36, 40, 7), (4, 8, 5, 3), (5, 17, 30, 20), (3, 33, 1, 200), (8, 16, 12, 0)];

/// The unit with its gradients, and the same folded.
fn both(seed: u64, (width, hidden, batch, most): (usize, usize, usize, usize)) -> (Case, Graph) {
    folded(activation_case(seed, activation_unit(width, hidden).0, batch, most))
}

fn folded(mut case: Case) -> (Case, Graph) {
    optimize::train(&mut case.graph, true).unwrap();
    let mut folded = case.graph.clone();
    optimize::run(&mut folded, optimize::LOWER, true).unwrap();
    (case, folded)
}

fn folds(graph: &Graph) -> Vec<Absorbed> {
    let fold = |id| match graph.node(id).op {
        Op::Absorbed(fold) => Some(fold),
        _ => None,
    };
    let mut found: Vec<Absorbed> = graph.order().into_iter().filter_map(fold).collect();
    found.sort_by_key(|&f| f as u8);
    found
}

/// Values of each root of `found` against the interpreter's of the unfolded graph, within `bound`
/// epsilon times what was summed.
fn compare(case: &Case, expected: &Magnitudes, found: &[Vec<f64>], bound: f64, what: &str) {
    for (root, numbers) in case.graph.roots.iter().zip(found) {
        let (values, scales) = (expected.value(root.node()), expected.scale(root.node()));
        assert_eq!(values.len(), numbers.len(), "{what}: {root:?}");
        for (i, ((v, s), x)) in values.iter().zip(scales).zip(numbers).enumerate() {
            assert!(s.is_finite());
            assert!((x - v).abs() <= bound * s, "{what}: {root:?}[{i}]: {x} for {v}, scale {s:.3e}");
        }
    }
}

#[test]
fn all_four_products_are_folded() {
    let (_, folded) = both(1, SIZES[0]);
    assert_eq!(folds(&folded), [Absorbed::Product, Absorbed::ProductT, Absorbed::Outer, Absorbed::Sum]);
    // Nothing twice as wide as a row is left on the history.
    let wide = |id| folded.node(id).axis == din_tests::unit::VISITED && folded.node(id).width() == 96;
    assert!(!folded.order().into_iter().any(wide));
}

#[test]
fn folded_graphs_keep_every_root() {
    for seed in 0..30 {
        let (case, folded) = both(seed, SIZES[seed as usize % SIZES.len()]);
        let expected = run_magnitude(&case.graph, &case.inputs, &case.values).unwrap();
        let run = din_compiler::interpret::run(&folded, &case.inputs, &case.values).unwrap();
        let found: Vec<Vec<f64>> = folded.roots.iter().map(|r| run.value(r.node()).to_vec()).collect();
        compare(&case, &expected, &found, 64.0 * f64::EPSILON, &format!("seed {seed}"));
    }
}

#[test]
fn generated_code_folds_alike_at_every_level() {
    for seed in 0..12 {
        let (case, folded) = both(seed, SIZES[seed as usize % SIZES.len()]);
        let expected = run_magnitude(&case.graph, &case.inputs, &case.values).unwrap();
        let folded = Case { graph: folded, ..case.clone() };
        for isa in [Isa::V2, Isa::V3, Isa::V4].into_iter().filter(|l| *l <= cpu::detect()) {
            let one = machine::run(&folded, 1, isa).unwrap();
            let found: Vec<Vec<f64>> = one.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect();
            let bound = 32.0 * f64::from(f32::EPSILON);
            compare(&case, &expected, &found, bound, &format!("seed {seed}, {isa:?}"));
            assert_eq!(one, machine::run(&folded, 2, isa).unwrap(), "seed {seed}, {isa:?}: threads");
        }
    }
}

/// Two weights on one input share their outer product: nothing is counted twice.
#[test]
fn two_products_of_one_input_fold_apart() {
    let (case, graph) = folded(activation_case(3, activation_units(16, 24, 2).0, 11, 30));
    // Sums of two such gradients are not taken apart: those towards `k` and `q` stay as they were.
    assert_eq!(folds(&graph), [Absorbed::Product, Absorbed::Product, Absorbed::Outer]);
    let expected = run_magnitude(&case.graph, &case.inputs, &case.values).unwrap();
    let one = machine::run(&Case { graph, ..case.clone() }, 1, cpu::detect()).unwrap();
    let found: Vec<Vec<f64>> = one.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect();
    compare(&case, &expected, &found, 32.0 * f64::from(f32::EPSILON), "two weights");
}
