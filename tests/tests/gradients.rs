//! Derivatives against central differences in f64, every primitive, on random graphs.
#![allow(clippy::unwrap_used)]

use din_compiler::autodiff::{DifferentiateError, differentiate};
use din_compiler::graph::{BATCH, BinaryOp, Graph, NodeId, ParamId, Root, Shape, UnaryOp, verify};
use din_grammar::Span;
use din_tests::differences;
use din_tests::primitives::{PRIMITIVES, primitive};
use din_tests::random_graph::{Case, Options, case, has_empty};
use std::collections::BTreeMap;

fn check(case: &Case, seed: u64, what: &str) {
    differences::check(&case.graph, &case.inputs, &case.values, seed)
        .unwrap_or_else(|e| panic!("{what}, seed {seed}, {e}"));
}

fn differentiated(seed: u64, options: &Options) -> Option<Case> {
    let mut case = case(seed, options);
    verify(&case.graph).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    match differentiate(&mut case.graph) {
        Ok(_) => {}
        // Something learned may reach the loss through comparisons alone.
        Err(DifferentiateError::Flat { .. }) => return None,
        Err(e) => panic!("seed {seed}: {e}"),
    }
    verify(&case.graph).unwrap_or_else(|e| panic!("seed {seed}, differentiated: {e}"));
    Some(case)
}

#[test]
fn every_primitive_by_finite_differences() {
    for (k, &name) in PRIMITIVES.iter().enumerate() {
        let (mut checked, mut seed) = (0, 1000 * k as u64);
        while checked < 12 {
            seed += 1;
            assert!(seed < 1000 * k as u64 + 400, "`{name}` is drawn too seldom");
            let options = Options { draws: 4, focus: Some(name), widest: 0 };
            let Some(case) = differentiated(seed, &options) else { continue };
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
        if let Some(case) = differentiated(seed, &Options::default()) {
            check(&case, seed, "random");
        }
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
    for name in PRIMITIVES {
        let count = seen.get(name).copied().unwrap_or(0);
        assert!(count * 5 >= n as usize, "`{name}` in {count} of {n} graphs");
    }
    assert!(empty * 10 >= n as usize, "{empty} of {n} graphs have an empty list");
}

/// What cannot learn is refused with its place; what is stopped on purpose has no gradient and is no error.
#[test]
fn flat_uses_are_refused_and_stopped_ones_are_not() {
    let at = |k| Span { start: k, end: k + 1, ..Span::default() };
    let build = |through: &dyn Fn(&mut Graph, NodeId) -> NodeId| {
        let mut g = Graph::default();
        g.params = vec![Shape::scalar(), Shape::scalar()];
        let (a, b) = (g.param(ParamId(0), at(1)), g.param(ParamId(1), at(2)));
        let a = through(&mut g, a);
        let loss = g.binary(BinaryOp::Multiply, a, b, at(9)).unwrap();
        g.roots.push(Root::Loss(loss));
        differentiate(&mut g)
    };
    let sign = build(&|g, a| g.unary(UnaryOp::Sign, a, at(5))).unwrap_err();
    assert_eq!(sign.span(), at(5));
    assert_eq!(sign.to_string(), "parameter 0 reaches the loss only through `sign`, whose derivative is 0 everywhere");
    let compared = build(&|g, a| {
        let one = g.constant(1.0, at(6));
        g.select(a, one, one, at(7)).unwrap()
    });
    assert_eq!(compared.unwrap_err().span(), at(7));
    // Beside another way to the loss it is in order.
    let both = build(&|g, a| {
        let sign = g.unary(UnaryOp::Sign, a, at(5));
        g.binary(BinaryOp::Add, sign, a, at(6)).unwrap()
    });
    assert_eq!(both.unwrap().params, [ParamId(0), ParamId(1)]);
    let stopped = build(&|g, a| g.stop_gradient(a, at(5)));
    assert_eq!(stopped.unwrap().params, [ParamId(1)]);
    assert_eq!(differentiate(&mut Graph::default()).unwrap_err(), DifferentiateError::NoLoss);
    let mut g = Graph::default();
    let wide = g.constant_of(1.0, BATCH, Shape::scalar(), at(3));
    g.roots.push(Root::Loss(wide));
    assert_eq!(differentiate(&mut g).unwrap_err(), DifferentiateError::NotOneNumber { node: wide, span: at(3) });
}
