//! Derivatives against central differences in f64, every primitive, on random graphs.
#![allow(clippy::unwrap_used)]

use din_compiler::autodiff::{DifferentiateError, differentiate};
use din_compiler::graph::{Op, Root, verify};
use din_compiler::interpret::{Run, Values, run};
use din_tests::random_graph::{Case, Options, PRIMITIVES, Random, case, has_empty, primitive};
use std::collections::BTreeMap;

/// The loss at `values`, what stands behind a `stop_gradient` staying as it is at the case's own values.
fn loss(case: &Case, still: &Run, values: &Values) -> f64 {
    let g = &case.graph;
    let loss = g.roots.iter().find_map(|r| if let Root::Loss(n) = r { Some(*n) } else { None }).unwrap();
    let mut run = Run::new(g, &case.inputs).unwrap();
    for id in g.order_from([loss]) {
        match g.node(id).op {
            Op::StopGradient => run.set(id, still.value(id).to_vec()),
            _ => run.compute(g, &case.inputs, values, id).unwrap(),
        }
    }
    run.value(loss)[0]
}

/// The gradient by all parameters and tables, from the graph's roots.
fn gradient(case: &Case) -> Values {
    let run = run(&case.graph, &case.inputs, &case.values).unwrap();
    let zeros = |of: &[Vec<f64>]| of.iter().map(|v| vec![0.0; v.len()]).collect::<Vec<_>>();
    let mut g = Values { params: zeros(&case.values.params), states: vec![], tables: zeros(&case.values.tables) };
    for root in &case.graph.roots {
        let value = run.value(root.node());
        match root {
            Root::ParamGradient { param, .. } => g.params[param.index()] = value.to_vec(),
            Root::RowGradient { table, input, .. } => {
                let w = case.graph.tables[table.index()];
                for (&row, part) in case.inputs.rows[&(*table, *input)].iter().zip(value.chunks(w)) {
                    for (j, p) in part.iter().enumerate() {
                        g.tables[table.index()][row * w + j] += p;
                    }
                }
            }
            _ => {}
        }
    }
    g
}

/// Directional derivatives along a random direction in each parameter and table, three each.
fn check(case: &Case, seed: u64, what: &str) {
    let g = gradient(case);
    let still = run(&case.graph, &case.inputs, &case.values).unwrap();
    let mut r = Random::new(seed);
    let h = 1e-6;
    let tensors = case.values.params.len() + case.values.tables.len();
    for k in (0..tensors).flat_map(|k| [k; 3]) {
        let at = |v: &mut Values| -> *mut Vec<f64> {
            let n = v.params.len();
            if k < n { &mut v.params[k] } else { &mut v.tables[k - n] }
        };
        let (mut low, mut high, mut exact) = (case.values.clone(), case.values.clone(), g.clone());
        // SAFETY: each pointer is to a vector of a value that lives on.
        let (low_t, high_t, exact_t) = unsafe { (&mut *at(&mut low), &mut *at(&mut high), &*at(&mut exact)) };
        let sparse = r.chance(0.5);
        let mut expected = 0.0;
        let mut scale = 1.0;
        for j in 0..low_t.len() {
            let d = if sparse && !r.chance(2.0 / low_t.len() as f64) { 0.0 } else { r.number() };
            low_t[j] -= h * d;
            high_t[j] += h * d;
            expected += d * exact_t[j];
            scale += (d * exact_t[j]).abs();
        }
        let (up, down) = (loss(case, &still, &high), loss(case, &still, &low));
        let found = (up - down) / (2.0 * h);
        // Rounding of the two losses over the step, and the third derivative.
        let tolerance = 2e-5 * scale + 1e-9 * (up.abs() + 1.0) / h * 1e-3;
        assert!(
            (found - expected).abs() <= tolerance,
            "{what}, seed {seed}, tensor {k}: differences give {found}, the graph {expected}"
        );
    }
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
            let options = Options { draws: 4, focus: Some(name) };
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
