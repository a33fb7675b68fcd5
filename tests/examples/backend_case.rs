//! One case of `tests/tests/backend.rs`, node by node, to find the one that a back end gets wrong:
//! `cargo run -p din-tests --example backend_case -- SEED`.

use din_compiler::graph::Root;
use din_compiler::optimize;
use din_runtime::cpu;
use din_tests::agreement::worst_error;
use din_tests::machine::{name_all, run};
use din_tests::primitives::PRIMITIVES;
use din_tests::random_graph::{Case, Options, case};
use std::error::Error;

fn compare(case: &Case, what: &str) -> Result<(), Box<dyn Error>> {
    let found = run(case, 1, cpu::detect())?;
    println!("{what}: {:.2} epsilon times scale", worst_error(case, &found, 32.0, what));
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let seed: u64 = std::env::args().nth(1).ok_or("expected a seed")?.parse()?;
    let focus = Some(PRIMITIVES[seed as usize % PRIMITIVES.len()]);
    let mut whole = case(seed, &Options { draws: 16, focus, ..Options::default() });
    if seed % 3 == 2 {
        optimize::train(&mut whole.graph, true).map_err(|e| format!("{e:?}"))?;
    }
    for (k, node) in whole.graph.order().into_iter().enumerate() {
        let mut alone = whole.clone();
        alone.graph.roots = vec![Root::Named { name: format!("n{k}"), node }];
        compare(&alone, &format!("node {k}"))?;
    }
    name_all(&mut whole);
    compare(&whole, "all nodes")
}
