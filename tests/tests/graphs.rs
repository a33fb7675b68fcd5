//! The graphs of all models: sound, printed and parsed back, and cheaper after the passes.

use din_compiler::front::{self, NoFiles};
use din_compiler::graph::{Graph, verify};
use din_compiler::model::CheckedModel;
use din_compiler::optimize;
use din_tests::random_graph::{Options, case};
use std::path::Path;

fn round_trip(graph: &Graph, what: &str) {
    let text = graph.text();
    let back: Graph = text.parse().unwrap_or_else(|e| panic!("{what}: {e}"));
    verify(&back).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(back == *graph, "{what}");
    assert_eq!(back.text(), text, "{what}");
}

#[test]
fn random_graphs_come_back_from_their_text() {
    for seed in 0..200 {
        let mut graph = case(seed, &Options::default()).graph;
        round_trip(&graph, &format!("seed {seed}"));
        optimize::train(&mut graph, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        round_trip(&graph, &format!("seed {seed}, trained"));
    }
}

/// All models of the zoo.
fn models() -> Vec<(String, CheckedModel)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "din"));
    files.sort();
    let read = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let checked = front::check(&name, &text, &NoFiles, &front::CheckOptions::default());
        let model = checked.model.unwrap_or_else(|| panic!("{name}: {:?}", checked.diagnostics));
        (name, model)
    };
    files.iter().map(|f| read(f)).collect()
}

#[test]
fn graphs_of_models_are_sound_and_come_back_from_their_text() {
    for (name, model) in models() {
        let updates = model.updates.iter().map(|u| (u.name.as_str(), &u.graph));
        for (part, graph) in [("train", &model.train), ("infer", &model.infer)].into_iter().chain(updates) {
            let what = format!("{name}, {part}");
            verify(graph).unwrap_or_else(|e| panic!("{what}: {e}"));
            round_trip(graph, &what);
            let mut best = graph.clone();
            optimize::run(&mut best, optimize::INFER, true).unwrap_or_else(|e| panic!("{what}: {e}"));
            round_trip(&best, &what);
            // Splitting a product adds small nodes and takes work away: what counts is the work,
            // here for 1024 samples with 31 entries.
            let mut counts = vec![31.0 * 1024.0; best.axes.count()];
            counts[..2].copy_from_slice(&[1.0, 1024.0]);
            let (before, after) = (optimize::flops(graph, &counts), optimize::flops(&best, &counts));
            assert!(after <= before, "{what}: {before} operations became {after}");
        }
        let mut train = model.train.clone();
        let gradients = optimize::train(&mut train, true).unwrap_or_else(|e| panic!("{name}: {e}"));
        round_trip(&train, &name);
        // Everything learns.
        assert_eq!(gradients.params.len(), model.parameters.len(), "{name}");
        let mut tables: Vec<_> = gradients.rows.iter().map(|(t, _)| t.0).collect();
        tables.dedup();
        assert_eq!(tables.len(), model.tables.len(), "{name}");
    }
}
