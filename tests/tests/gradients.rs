//! Derivatives against central differences in f64, every primitive, on random graphs.

use din_compiler::autodiff::{Dependence, DifferentiateError, dependences, differentiate};
use din_compiler::graph::{BATCH, BinaryOp, Graph, NodeId, Op, ParamId, Root, Shape, UnaryOp, verify};
use din_grammar::Span;
use din_tests::differences;
use din_tests::primitives::{PRIMITIVES, primitive};
use din_tests::random_graph::{Case, Options, case, has_empty};
use std::collections::BTreeMap;

fn check(case: &Case, seed: u64, what: &str) {
    differences::check(&case.graph, &case.inputs, &case.values, seed)
        .unwrap_or_else(|e| panic!("{what}, seed {seed}, {e}"));
}

fn differentiated(seed: u64, options: &Options) -> Case {
    let mut case = case(seed, options);
    verify(&case.graph).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    differentiate(&mut case.graph).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    verify(&case.graph).unwrap_or_else(|e| panic!("seed {seed}, differentiated: {e}"));
    case
}

#[test]
fn every_primitive_by_finite_differences() {
    for (k, &name) in PRIMITIVES.iter().enumerate() {
        let (mut checked, mut seed) = (0, 1000 * k as u64);
        while checked < 12 {
            seed += 1;
            assert!(seed < 1000 * k as u64 + 400, "`{name}` is drawn too seldom");
            let options = Options { draws: 4, focus: Some(name), ..Options::default() };
            let case = differentiated(seed, &options);
            let forward = |n| primitive(&case.graph.node(n).op) == name;
            if case.graph.order().into_iter().any(forward) {
                check(&case, seed, name);
                checked += 1;
            }
        }
    }
}

#[test]
fn random_graphs_by_finite_differences() {
    for seed in 0..150 {
        check(&differentiated(seed, &Options::default()), seed, "random");
    }
}

/// The generator's own promises.
#[test]
fn random_graphs_are_varied() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut empty = 0;
    let n = 300;
    for seed in 0..n {
        let case = case(seed, &Options::default());
        verify(&case.graph).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        empty += usize::from(has_empty(&case));
        let mut names: Vec<_> = case.graph.order().iter().map(|&id| primitive(&case.graph.node(id).op)).collect();
        names.sort();
        names.dedup();
        names.iter().for_each(|name| *seen.entry(name).or_default() += 1);
    }
    for name in PRIMITIVES.iter() {
        let count = seen.get(name).copied().unwrap_or(0);
        assert!(count * 5 >= n as usize, "`{name}` in {count} of {n} graphs");
    }
    assert!(empty * 10 >= n as usize, "{empty} of {n} graphs have an empty list");
}

/// What a jump or a `stop_gradient` cuts off has no gradient, and why is told by its dependence.
#[test]
fn dependences_say_what_has_a_gradient_and_why_the_rest_has_none() {
    let at = |k| Span { start: k, end: k + 1, ..Span::default() };
    // The dependence of `a` under `through`, and which of the two parameters have a gradient.
    let build = |through: &dyn Fn(&mut Graph, NodeId) -> NodeId| {
        let mut g = Graph::default();
        g.params = vec![Shape::scalar(), Shape::scalar()];
        let (a, b) = (g.param(ParamId(0), at(1)), g.param(ParamId(1), at(2)));
        let reached = through(&mut g, a);
        let loss = g.binary(BinaryOp::Multiply, reached, b, at(9)).unwrap();
        g.roots.push(Root::Loss(loss));
        let found = dependences(&g, loss);
        assert_eq!(found[b.index()], Dependence::Differentiable);
        let place = match found[a.index()] {
            Dependence::Flat { at, op } => Some((g.node(at).span.start, op)),
            Dependence::None | Dependence::Stopped { .. } | Dependence::Differentiable => None,
        };
        (found[a.index()], place, differentiate(&mut g).unwrap().params)
    };
    let alone = vec![ParamId(1)];
    let (_, place, learned) = build(&|g, a| g.unary(UnaryOp::Sign, a, at(5)));
    assert_eq!((place, &learned), (Some((5, "`sign`")), &alone));
    // Of several jumps the one nearest to the parameter.
    let (_, place, learned) = build(&|g, a| {
        let one = g.constant(1.0, at(6));
        let less = g.binary(BinaryOp::Less, a, one, at(4)).unwrap();
        g.select(less, one, one, at(7)).unwrap()
    });
    assert_eq!((place, &learned), (Some((4, "a comparison")), &alone));
    // Beside another way to the loss a jump is in order.
    let (found, _, learned) = build(&|g, a| {
        let sign = g.unary(UnaryOp::Sign, a, at(5));
        g.binary(BinaryOp::Add, sign, a, at(6)).unwrap()
    });
    assert_eq!((found, learned), (Dependence::Differentiable, vec![ParamId(0), ParamId(1)]));
    // A `stop_gradient` before or behind the jump says that it is meant.
    for (before, behind) in [(true, false), (false, true), (true, true)] {
        let nearest = std::cell::Cell::new(None);
        let stop = |g: &mut Graph, x: NodeId, place: Span| {
            let stopped = g.stop_gradient(x, place);
            nearest.set(nearest.get().or(Some(stopped)));
            stopped
        };
        let (found, _, learned) = build(&|g, a| {
            let still = if before { stop(g, a, at(4)) } else { a };
            let sign = g.unary(UnaryOp::Sign, still, at(5));
            if behind { stop(g, sign, at(6)) } else { sign }
        });
        assert_eq!((found, &learned), (Dependence::Stopped { at: nearest.get().unwrap() }, &alone));
    }
    let (found, _, learned) = build(&|g, _| g.constant(2.0, at(5)));
    assert_eq!((found, &learned), (Dependence::None, &alone));
}

/// On random graphs a parameter or look-up has a gradient exactly where its dependence says so.
#[test]
fn dependences_agree_with_gradients() {
    let mut without = 0;
    for seed in 0..200 {
        let mut graph = case(seed, &Options::default()).graph;
        let loss = differences::loss_node(&graph).unwrap();
        let found = dependences(&graph, loss);
        let (mut params, mut rows) = (Vec::new(), Vec::new());
        for id in graph.ids().collect::<Vec<_>>() {
            let reached = found[id.index()] == Dependence::Differentiable;
            match &graph.node(id).op {
                Op::Param(p) if reached => params.push(*p),
                Op::Lookup { table, input } if reached => rows.push((*table, *input)),
                Op::Param(_) | Op::Lookup { .. } => without += 1,
                _ => {}
            }
        }
        params.sort();
        params.dedup();
        rows.sort();
        rows.dedup();
        let gradients = differentiate(&mut graph).unwrap();
        assert_eq!((gradients.params, gradients.rows), (params, rows), "seed {seed}");
    }
    assert!(without > 20, "{without} without a gradient");
}

/// What `front` lets through has a loss, and that is one number.
#[test]
fn a_loss_that_is_none_is_told() {
    let at = |k| Span { start: k, end: k + 1, ..Span::default() };
    assert_eq!(differentiate(&mut Graph::default()).unwrap_err(), DifferentiateError::NoLoss);
    let mut g = Graph::default();
    let wide = g.constant_of(1.0, BATCH, Shape::scalar(), at(3));
    g.roots.push(Root::Loss(wide));
    assert_eq!(differentiate(&mut g).unwrap_err(), DifferentiateError::NotOneNumber { node: wide, span: at(3) });
}
