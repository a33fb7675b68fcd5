//! Random graphs, forward and backward: the generated source agrees with the interpreter within 32
//! epsilon times the magnitude of what was summed. Tiles are small and chunks few, so that small
//! batches have many of both, and long tiles too.

use din_compiler::codegen::cuda::CodegenOptions;
use din_compiler::graph::Op;
use din_compiler::optimize;
use din_program::cuda::Precision;
use din_tests::agreement::worst_error;
use din_tests::cuda::{Corpus, Device, Shim, varied};
use din_tests::primitives::{PRIMITIVES, primitive};
use din_tests::random_graph::{self, Case, case, has_empty};
use din_tests::unit::{activation_case, activation_unit};
use std::collections::BTreeMap;

/// Small tiles: several a batch of six samples; those of requests have four numbers at least, as
/// all.
fn small(threads: u32) -> CodegenOptions {
    CodegenOptions {
        threads,
        chunks: 3,
        batch_tile: 4,
        sequence_tile: 4,
        sequence_samples: 3,
        recurrence_tile: 4,
        row_tile: 4,
        ..CodegenOptions::default()
    }
}

fn agree(cases: Vec<Case>, options: &CodegenOptions, what: &str) -> f64 {
    let corpus = Corpus::new(cases, options).unwrap();
    let device = Device::compile(&corpus.source, 0).unwrap();
    let mut worst = 0.0f64;
    for k in 0..corpus.len() {
        let found = corpus.run(Shim::new(&device, k as u64 + 1), k).unwrap_or_else(|e| panic!("{what}, case {k}: {e}"));
        worst = worst.max(worst_error(corpus.case(k), &found, 32.0, &format!("{what}, case {k}")));
    }
    worst
}

#[test]
fn random_graphs() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut cases, mut empty, mut requests, mut groups) = (Vec::new(), 0, 0, 0);
    for seed in 0..6 * PRIMITIVES.len() as u64 {
        let c = varied(seed, 0, 12);
        let mut here: Vec<&str> = c.graph.order().iter().map(|&id| primitive(&c.graph.node(id).op)).collect();
        here.sort_unstable();
        here.dedup();
        here.into_iter().for_each(|p| *seen.entry(p).or_default() += 1);
        empty += usize::from(has_empty(&c));
        requests += usize::from(c.graph.axes.request().is_some());
        groups += usize::from(c.graph.axes.uniques().next().is_some());
        cases.push(c);
    }
    let graphs = cases.len();
    assert!(requests * 4 >= graphs, "{requests} of {graphs} graphs have requests");
    assert!(groups * 3 >= graphs, "{groups} of {graphs} graphs have groups");
    assert!(empty * 10 >= graphs, "{empty} of {graphs} graphs have empty sequences");
    let least = PRIMITIVES.iter().map(|p| seen.get(p).copied().unwrap_or(0)).min();
    assert!(least >= Some(30), "{seen:?}");
    let worst = agree(cases, &small(64), "random graphs");
    println!("{graphs} graphs, worst error {worst:.2} epsilon times scale");
}

/// Rows wider than a block has threads, and all groups of threads between.
#[test]
fn wide_random_graphs() {
    let mut cases = Vec::new();
    for seed in 100_000..100_000 + PRIMITIVES.len() as u64 {
        let c = varied(seed, 170, 6);
        // See `backend.rs`.
        let sums = c.graph.order().into_iter().filter(|&id| c.graph.node(id).op == Op::SumValue);
        if sums.into_iter().all(|id| c.graph.node(c.graph.node(id).operands[0]).width() <= 2048) {
            cases.push(c);
        }
    }
    // With little shared memory most buffers lie in scratch.
    agree(cases, &CodegenOptions { shared_limit: 6 << 10, ..small(128) }, "wide graphs");
}

/// The activation unit with `q` absorbed into its weight, and the gradients of that: empty, short
/// and long histories.
#[test]
fn folded_products() {
    // The last has more tiles than chunks.
    const SIZES: [(usize, usize, usize, usize); 7] = [
        (16, 80, 9, 40),
        (16, 36, 40, 7),
        (4, 8, 5, 3),
        (5, 17, 30, 20),
        (3, 33, 1, 90),
        (8, 16, 12, 0),
        (4, 8, 400, 5),
    ];
    let (mut cases, mut unfolded) = (Vec::new(), Vec::new());
    for (seed, (width, hidden, batch, most)) in SIZES.into_iter().enumerate() {
        let mut case = activation_case(seed as u64, activation_unit(width, hidden).0, batch, most);
        optimize::train(&mut case.graph, true).unwrap();
        let mut folded = case.clone();
        optimize::run(&mut folded.graph, optimize::LOWER, true).unwrap();
        assert!(folded.graph.ids().any(|id| matches!(folded.graph.node(id).op, Op::Absorbed(_))));
        unfolded.push(case);
        cases.push(folded);
    }
    let options = CodegenOptions {
        threads: 128,
        chunks: 37,
        batch_tile: 8,
        sequence_tile: 32,
        sequence_samples: 8,
        ..CodegenOptions::default()
    };
    let corpus = Corpus::new(cases, &options).unwrap();
    let device = Device::compile(&corpus.source, 1).unwrap();
    for (k, case) in unfolded.iter().enumerate() {
        let found = corpus.run(Shim::new(&device, 7), k).unwrap_or_else(|e| panic!("unit {k}: {e}"));
        worst_error(case, &found, 32.0, &format!("unit {k}"));
        // Neither the order of threads nor that of blocks changes a bit.
        assert_eq!(found, corpus.run(Shim::new(&device, 8), k).unwrap());
    }
}

/// Tensor cores: TF32 keeps 10 bits of an operand's mantissa, BF16 7, so a product of two is off by
/// 2^-10 or 2^-7 of its magnitude at most (rounding to nearest, two operands), and a graph of a few
/// of them by twice that; sums are f32 as before.
#[test]
fn products_on_tensor_cores() {
    let sizes = [(16, 80, 9, 40), (16, 36, 40, 7), (5, 17, 30, 20), (4, 8, 5, 3)];
    let (mut cases, mut unfolded) = (Vec::new(), Vec::new());
    for (seed, (width, hidden, batch, most)) in sizes.into_iter().enumerate() {
        let mut case = activation_case(seed as u64 + 50, activation_unit(width, hidden).0, batch, most);
        optimize::train(&mut case.graph, true).unwrap();
        let mut folded = case.clone();
        optimize::run(&mut folded.graph, optimize::LOWER, true).unwrap();
        unfolded.push(case);
        cases.push(folded);
    }
    for seed in 0..PRIMITIVES.len() as u64 {
        let focus = ["matmul", "matmul_t", "outer"][seed as usize % 3];
        let mut c = case(seed, &random_graph::Options { draws: 8, focus: Some(focus), widest: 40 });
        if seed % 2 == 0 {
            let mut differentiated = c.graph.clone();
            if optimize::train(&mut differentiated, true).is_ok() {
                c.graph = differentiated;
            }
        }
        unfolded.push(c.clone());
        cases.push(c);
    }
    for (precision, unit) in [(Precision::Tf32, 2f64.powi(-10)), (Precision::Bf16, 2f64.powi(-7))] {
        let options = CodegenOptions { precision, sequence_tile: 32, sequence_samples: 8, ..small(128) };
        let corpus = Corpus::new(cases.clone(), &options).unwrap();
        let device = Device::compile(&corpus.source, 0).unwrap();
        let (mut worst, mut exact) = (0.0f64, true);
        for (k, case) in unfolded.iter().enumerate() {
            let found = corpus.run(Shim::new(&device, 3), k).unwrap_or_else(|e| panic!("{precision:?}, case {k}: {e}"));
            let bound = 2.0 * unit / f64::from(f32::EPSILON);
            let error = worst_error(case, &found, bound, &format!("{precision:?}, case {k}"));
            exact &= error < 32.0;
            worst = worst.max(error * f64::from(f32::EPSILON) / unit);
        }
        assert!(!exact, "{precision:?} was not used");
        println!("{precision:?}: worst error {worst:.2} units of the operands' rounding times scale");
    }
}
