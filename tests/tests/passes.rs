//! Every pass keeps the meaning of every root; `split_products` brings the activation unit to its
//! closed form.

use din_compiler::autodiff::differentiate;
use din_compiler::graph::{AxisId, BATCH, Graph, Input, InputKind, Op, ParamId, Root, Shape};
use din_compiler::interpret::{Magnitudes, run_magnitude};
use din_compiler::optimize::{self, PASSES, Pass, flops};
use din_grammar::Span;
use din_tests::random_graph::{Case, Options, case};
use din_tests::unit::{VISITED, activation_unit};

/// A name for each root that does not depend on node numbers.
fn name(root: &Root) -> String {
    match root {
        Root::Loss(_) => "loss".into(),
        Root::Prediction { index, .. } => format!("prediction {index}"),
        Root::Output { index, .. } => format!("output {index}"),
        Root::Named { name, .. } => format!("named {name}"),
        Root::State { state, .. } => format!("state {}", state.0),
        Root::ParamGradient { param, .. } => format!("gradient of parameter {}", param.0),
        Root::RowGradient { table, input, .. } => format!("gradient of table {}, input {}", table.0, input.0),
        Root::Weight(_) => "weight".into(),
        Root::Slot { slot, .. } => format!("slot {slot}"),
    }
}

fn evaluate(graph: &Graph, case: &Case) -> Magnitudes {
    run_magnitude(graph, &case.inputs, &case.values).unwrap()
}

/// All roots of `b` equal those of the same name of `a`, up to f64 rounding of either order of
/// summation.
fn same(case: &Case, a: &Graph, b: &Graph, what: &str) {
    let (left, right) = (evaluate(a, case), evaluate(b, case));
    let names = |g: &Graph| g.roots.iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(a), names(b), "{what}");
    for (p, q) in a.roots.iter().zip(&b.roots) {
        let (x, y, e) = (left.value(p.node()), right.value(q.node()), left.scale(p.node()));
        assert_eq!(x.len(), y.len(), "{what}: {}", name(p));
        for i in 0..x.len() {
            let bound = 64.0 * f64::EPSILON * (e[i] + right.scale(q.node())[i] + 1e-3);
            assert!((x[i] - y[i]).abs() <= bound, "{what}: {}[{i}]: {} became {}", name(p), x[i], y[i]);
        }
    }
}

#[test]
fn every_pass_keeps_every_root() {
    for seed in 0..300 {
        let case = case(seed, &Options::default());
        for pass in PASSES {
            let mut graph = case.graph.clone();
            optimize::run(&mut graph, &[*pass], true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            same(&case, &case.graph, &graph, &format!("seed {seed}, {}", pass.name));
        }
    }
}

/// Forward passes, gradients, backward passes: the same roots as gradients alone.
#[test]
fn optimised_training_equals_plain() {
    let mut compared = 0;
    for seed in 0..400 {
        let case = case(seed, &Options::default());
        let (mut plain, mut best) = (case.graph.clone(), case.graph.clone());
        differentiate(&mut plain).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        optimize::train(&mut best, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        // A gradient that is found to be 0 everywhere may have gone, and no other.
        let values = evaluate(&plain, &case);
        let kept = |r: &Root| best.roots.iter().any(|b| name(b) == name(r));
        for root in plain.roots.iter().filter(|r| !kept(r)) {
            let zero = values.value(root.node()).iter().all(|&v| v == 0.0);
            assert!(zero, "seed {seed}: {} is lost", name(root));
        }
        plain.roots.retain(kept);
        same(&case, &plain, &best, &format!("seed {seed}"));
        assert!(best.len() <= plain.len() + 8, "seed {seed}: {} nodes became {}", plain.len(), best.len());
        compared += 1;
    }
    assert!(compared > 200, "{compared} graphs");
}

/// Passes find their fixed point: a second run changes nothing.
#[test]
fn passes_are_idempotent() {
    for seed in 0..150 {
        let mut graph = case(seed, &Options::default()).graph;
        optimize::run(&mut graph, optimize::INFER, true).unwrap();
        let once = graph.text();
        optimize::run(&mut graph, optimize::INFER, true).unwrap();
        assert_eq!(graph.text(), once, "seed {seed}");
    }
}

/// `concat(k, q, k - q, k * q) W = k (Wk + Wd) + q (Wq - Wd) + (k * q) Wp`: two E-wide rows an
/// entry, one a sample.
#[test]
fn the_activation_unit_has_the_flops_of_its_closed_form() {
    let (b, n, e, h) = (1024.0, 1024.0 * 31.0, 48.0, 80.0);
    let counts = [1.0, b, n];
    let (plain, _) = activation_unit(16, 80);
    // k - q, k * q; the product; bias, sigmoid; the weight; the weighted sum; the sums to one
    // number.
    let rest = n * (2.0 * h) + n * 2.0 * h + n * e + n * e + b * e + b;
    assert_eq!(flops(&plain, &counts), n * 2.0 * e + n * 2.0 * 4.0 * e * h + rest);

    let mut split = plain.clone();
    optimize::run(&mut split, optimize::FORWARD, true).unwrap();
    // k * q; one 2E-wide product an entry, one E-wide a sample; their sum; two combined weights;
    // bias joins the sample's term.
    let entry = n * (e + 2.0 * 2.0 * e * h + h + h) + n * 2.0 * h + n * 2.0 * e;
    let sample = b * (2.0 * e * h + h) + b * e + b;
    assert_eq!(flops(&split, &counts), entry + sample + 2.0 * e * h);
    let wide = |g: &Graph| -> Vec<(AxisId, usize)> {
        let products = g.order().into_iter().filter(|&id| g.node(id).op == Op::MatMul);
        products.map(|id| (g.node(id).axis, g.node(g.node(id).operands[0]).width())).collect()
    };
    let mut found = wide(&split);
    found.sort();
    assert_eq!(found, [(BATCH, 48), (VISITED, 80), (VISITED, 96)]);
}

/// The check above would see a rewrite that got lost: without any one of these passes the unit
/// costs more.
#[test]
fn a_lost_rewrite_costs_more() {
    let (b, n) = (1024.0, 1024.0 * 31.0);
    let counts = [1.0, b, n];
    let cost = |passes: &[Pass]| {
        let (mut g, _) = activation_unit(16, 80);
        optimize::run(&mut g, passes, true).unwrap();
        flops(&g, &counts)
    };
    let whole = cost(optimize::FORWARD);
    for planted in ["split_products", "simplify"] {
        let without: Vec<Pass> = optimize::FORWARD.iter().filter(|p| p.name != planted).copied().collect();
        assert!(without.len() < optimize::FORWARD.len());
        assert!(cost(&without) > whole, "without `{planted}`: {} is not above {whole}", cost(&without));
    }
}

/// Gradients after the split cost what the split costs: no 4E-wide product remains anywhere.
#[test]
fn the_activation_unit_is_split_backward_too() {
    let (mut g, _) = activation_unit(16, 80);
    optimize::train(&mut g, true).unwrap();
    for id in g.order() {
        let node = g.node(id);
        let wide = node.axis == VISITED && node.width() > 96;
        assert!(!wide, "{:?} is {} wide on the sequence", node.op, node.width());
        if node.op == Op::Outer {
            let axes: Vec<AxisId> = node.operands.iter().map(|&o| g.node(o).axis).collect();
            assert_eq!(axes[0], axes[1], "outer products have both operands in one axis");
        }
    }
    let (b, n, e, h) = (1024.0, 1024.0 * 31.0, 48.0, 80.0);
    let (mut plain, _) = activation_unit(16, 80);
    differentiate(&mut plain).unwrap();
    let counts = [1.0, b, n];
    // Products alone: forward, dx, dW of 4E against 2E an entry and E a sample.
    let (before, after) = (flops(&plain, &counts), flops(&g, &counts));
    let (wide, narrow) = (3.0 * 2.0 * n * 4.0 * e * h, 3.0 * 2.0 * (n * 2.0 * e * h + b * e * h));
    assert!(after < before - 0.9 * (wide - narrow), "{before} became {after}");
}

/// A concatenation whose pieces live in one axis and do not repeat keeps its single product.
#[test]
fn a_plain_concatenation_keeps_its_product() {
    let s = Span::default();
    let mut g = Graph::default();
    g.params.push(Shape::matrix(7, 5));
    let mut parts = Vec::new();
    for (k, w) in [3, 4].into_iter().enumerate() {
        let kind = InputKind::Dense { feature: k as u32 };
        g.inputs.push(Input { name: format!("x{k}"), kind, axis: BATCH, shape: Shape::vector(w) });
        parts.push(g.input(din_compiler::graph::InputId(k as u32), s));
    }
    let x = g.concat(parts, s).unwrap();
    let w = g.param(ParamId(0), s);
    let y = g.matmul(x, w, s).unwrap();
    g.roots.push(Root::Named { name: "y".into(), node: y });
    let n = g.len();
    optimize::run(&mut g, optimize::FORWARD, true).unwrap();
    assert_eq!(g.len(), n);
}

/// A pass that breaks the graph is named.
#[test]
fn the_culprit_is_named() {
    let bad = Pass {
        name: "bad",
        run: |g| {
            let node = g.ids().next().unwrap();
            g.roots.push(Root::Prediction { index: 77, node });
            g.roots.push(Root::Prediction { index: 77, node });
        },
    };
    let mut graph = case(1, &Options::default()).graph;
    let error = optimize::run(&mut graph, &[PASSES[0], bad], true).unwrap_err();
    assert_eq!(error.pass, "bad");
}
