//! The models of `models/` against PyTorch's float64 (`tests/reference/zoo`): the losses of 50
//! steps, and all gradients of the first one. Of models in which rounding to f32 grows from step to
//! step, the fixture says how many steps tell something.

use din_runtime::cpu;
use din_tests::specs::root;
use din_tests::zoo::{MODELS, STEPS, Zoo, make_log};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Of the relative difference of a loss, and of that of a gradient's norm and product.
const BOUND: f64 = 1e-4;

/// Models whose 50 losses are all compared, at least.
const COMPARED: usize = 25;

/// What PyTorch has of a model.
#[derive(Deserialize)]
struct Expected {
    /// Steps that are compared.
    steps: usize,
    losses: Vec<f64>,
    /// By weight and table: the norm, and the product with cos(1), cos(2), …
    gradients: BTreeMap<String, [f64; 2]>,
}

fn summary(gradient: &[f64]) -> [f64; 2] {
    let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
    [norm, gradient.iter().zip(1..).map(|(x, k)| x * f64::from(k).cos()).sum()]
}

fn compare(name: &str, expected: &Expected, zoo: &Zoo) {
    let trained = zoo.train(cpu::detect());
    assert_eq!(expected.losses.len(), STEPS, "{name}");
    for (step, (found, torch)) in trained.losses.iter().zip(&expected.losses).take(expected.steps).enumerate() {
        assert!((found - torch).abs() <= BOUND * torch, "{name}, step {step}: loss {found}, PyTorch has {torch}");
    }
    let names: Vec<&String> = trained.gradients.keys().collect();
    assert_eq!(names, expected.gradients.keys().collect::<Vec<_>>(), "{name}");
    for (weight, gradient) in &trained.gradients {
        let ([norm, product], [torch, torch_product]) = (summary(gradient), expected.gradients[weight]);
        let off = (norm - torch).abs().max((product - torch_product).abs());
        assert!(off <= BOUND * torch, "{name}, gradient of {weight}: norm {norm}, PyTorch has {torch}; off by {off}");
    }
}

#[test]
fn losses_and_gradients_are_pytorchs() {
    let text = std::fs::read(root().join("tests/reference/fixtures/zoo.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&text).unwrap();
    assert_eq!(expected.keys().collect::<Vec<_>>(), MODELS.iter().collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let log = make_log(folder.path());
    for name in MODELS {
        compare(name, &expected[*name], &Zoo::new(name, &log, 1, &[cpu::detect()]));
    }
    let whole = expected.values().filter(|model| model.steps == STEPS).count();
    assert!(whole >= COMPARED, "{whole} models are compared over all steps");
}

/// A folder of models has no model that PyTorch was not asked about.
#[test]
fn all_models_of_the_folders_are_compared() {
    for folder in ["interaction", "sequence", "multitask", "retrieval"] {
        for entry in std::fs::read_dir(root().join("models").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let name = format!("{folder}/{stem}");
            assert!(stem == "columns" || MODELS.contains(&name.as_str()), "{name} is not in `MODELS`");
        }
    }
}
