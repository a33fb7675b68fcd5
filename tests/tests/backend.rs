//! Generated code equals the interpreter on random graphs, forward and backward, within 32 epsilon
//! times the magnitude of what was summed; every primitive occurs in at least 100 graphs, empty
//! sequences in at least a tenth.
#![allow(clippy::unwrap_used)]

use din_compiler::codegen::LEVELS;
use din_compiler::graph::{BATCH, BinaryOp, Graph, Input, InputId, InputKind, Op, Root, Shape, UnaryOp, verify};
use din_compiler::interpret::{Inputs, Values};
use din_compiler::optimize;
use din_compiler::plan::{Kernels, PlanOptions, plan};
use din_grammar::{SourceMap, Span};
use din_program::Isa;
use din_runtime::cpu;
use din_tests::agreement::worst_error;
use din_tests::machine::{self, name_all};
use din_tests::primitives::{PRIMITIVES, primitive};
use din_tests::random_graph::{Case, Options, case, has_empty};
use std::collections::BTreeMap;

/// Compares all roots; gives the largest error in units of epsilon times scale.
fn compare(case: &Case, isa: Isa, what: &str) -> f64 {
    let found = machine::run(case, 1, isa).unwrap_or_else(|e| panic!("{what}: {e}"));
    worst_error(case, &found, 32.0, what)
}

#[test]
fn random_graphs() {
    let isa = cpu::detect();
    let mut levels = vec![Isa::V2, Isa::V3, Isa::V4];
    levels.retain(|l| *l <= isa);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut graphs, mut empty, mut worst) = (0, 0, 0.0f64);
    for seed in 0.. {
        let focus = PRIMITIVES[seed as usize % PRIMITIVES.len()];
        let mut c = case(seed, &Options { draws: 16, focus: Some(focus), widest: 0 });
        verify(&c.graph).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        if seed % 3 == 1 {
            name_all(&mut c);
        }
        if seed % 3 == 2 {
            optimize::train(&mut c.graph, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        let mut here: Vec<&str> = c.graph.order().iter().map(|&id| primitive(&c.graph.node(id).op)).collect();
        here.sort_unstable();
        here.dedup();
        for p in here {
            *seen.entry(p).or_default() += 1;
        }
        graphs += 1;
        empty += usize::from(has_empty(&c));
        worst = worst.max(compare(&c, levels[seed as usize % levels.len()], &format!("seed {seed}")));
        let covered = PRIMITIVES.iter().all(|p| seen.get(p).is_some_and(|&n| n >= 100));
        if covered && graphs >= 300 {
            break;
        }
        assert!(seed < 20_000, "not every primitive in 100 graphs: {seen:?}");
    }
    assert!(empty * 10 >= graphs, "{empty} of {graphs} graphs have empty sequences");
    println!("{graphs} graphs, {empty} with empty sequences, worst error {worst:.2} epsilon times scale");
}

/// Rows of up to ten vectors of sixteen and a rest: the loops over columns, which narrow rows do
/// not reach.
#[test]
fn wide_random_graphs() {
    let levels = [Isa::V2, Isa::V3, Isa::V4];
    let mut wide = 0;
    for seed in 100_000..100_000 + 3 * PRIMITIVES.len() as u64 {
        let focus = PRIMITIVES[seed as usize % PRIMITIVES.len()];
        let mut c = case(seed, &Options { draws: 10, focus: Some(focus), widest: 170 });
        match seed % 3 {
            1 => name_all(&mut c),
            2 => {
                let mut differentiated = c.graph.clone();
                if optimize::train(&mut differentiated, true).is_ok() {
                    c.graph = differentiated;
                }
            }
            _ => {}
        }
        // The sum over a row runs in one chain a lane: over a whole matrix of 20,000 numbers its
        // error grows past the bound.
        let sums = c.graph.order().into_iter().filter(|&id| c.graph.node(id).op == Op::SumValue);
        if sums.into_iter().any(|id| c.graph.node(c.graph.node(id).operands[0]).width() > 2048) {
            continue;
        }
        wide += usize::from(c.graph.order().iter().any(|&id| c.graph.node(id).width() > 48));
        for isa in levels.into_iter().filter(|l| *l <= cpu::detect()) {
            compare(&c, isa, &format!("seed {seed}, {isa:?}"));
        }
    }
    assert!(wide > PRIMITIVES.len(), "{wide} graphs with wide rows");
}

/// More sums over columns in one region than AVX-512 has registers.
#[test]
fn many_row_sums_of_one_region() {
    const SUMS: usize = 40;
    let span = Span::default();
    let mut graph = Graph::default();
    let kind = InputKind::Dense { feature: 0 };
    graph.inputs.push(Input { name: "x".into(), kind, axis: BATCH, shape: Shape::vector(8) });
    let x = graph.input(InputId(0), span);
    for k in 0..SUMS {
        let factor = graph.constant((k + 1) as f64, span);
        let scaled = graph.binary(BinaryOp::Multiply, x, factor, span).unwrap();
        let node = graph.sum_value(scaled, span);
        graph.roots.push(Root::Named { name: format!("sum {k}"), node });
    }
    // Two samples whose numbers sum to 36 and to -8.
    let numbers = (1..=8).map(f64::from).chain([-1.0; 8]).collect();
    let inputs = Inputs { batch: 2, offsets: vec![vec![]; 2], numbers: vec![numbers], ..Inputs::default() };
    let case = Case { graph, inputs, values: Values::default() };
    for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
        let found = machine::run(&case, 1, isa).unwrap();
        let expected: Vec<Vec<f32>> = (1..=SUMS).map(|k| vec![36.0 * k as f32, -8.0 * k as f32]).collect();
        assert_eq!(found, expected, "{isa:?}");
    }
}

/// What would be one kernel of thousands of operations is several of bounded size, which store what
/// the next ones need.
#[test]
fn large_regions_are_split() {
    const STEPS: usize = 600;
    let span = Span::default();
    let mut graph = Graph::default();
    let kind = InputKind::Dense { feature: 0 };
    graph.inputs.push(Input { name: "x".into(), kind, axis: BATCH, shape: Shape::vector(5) });
    let x = graph.input(InputId(0), span);
    // Each value is made of the one before it and of one far back, so that many are alive at once.
    let mut values = vec![x];
    for k in 1..=STEPS {
        let (last, back) = (values[k - 1], values[k / 2]);
        let sum = graph.binary(BinaryOp::Add, last, back, span).unwrap();
        values.push(graph.unary(UnaryOp::Tanh, sum, span));
    }
    let total = graph.sum_value(values[STEPS], span);
    for (name, node) in [("last", values[STEPS]), ("total", total)] {
        graph.roots.push(Root::Named { name: name.into(), node });
    }
    let mut kernels = Kernels::default();
    let schedule =
        plan(&graph, &graph.order(), "t", &PlanOptions::default(), &SourceMap::default(), &mut kernels).unwrap();
    let calls: usize = schedule.phases.iter().map(|p| p.calls.len()).sum();
    let sizes: Vec<usize> = kernels.regions.iter().map(|r| r.body.len()).collect();
    // 1200 items, at most 256 per kernel, each with loads of at most two values.
    assert!(calls >= 5 && sizes.iter().all(|&n| n <= 3 * 256), "{calls} calls, {sizes:?}");

    let numbers = (0..15).map(|k| f64::from(k) / 8.0 - 1.0).collect();
    let inputs = Inputs { batch: 3, offsets: vec![vec![]; 2], numbers: vec![numbers], ..Inputs::default() };
    let case = Case { graph, inputs, values: Values::default() };
    for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
        compare(&case, isa, "split");
    }
}
