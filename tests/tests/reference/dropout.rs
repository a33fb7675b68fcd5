//! Dropout against PyTorch (`tests/reference/dropout.py`): which components are kept, drawn there
//! once more by NumPy, and the loss, logits and gradients that PyTorch computes with these masks.

use super::fixture::Tensors;
use din_compiler::interpret::{InterpreterSession, Samples, TableData, TensorData};
use din_program::dropout;
use din_tests::specs;

const SPEC: &str = "edition 2026
use std.layer.linear
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.sgd

model dropped {
    features one { e: category(4) }
    sequence many { e: category(6) from many_e }
    label y: binary
    embedding one_rows [4] for one.e
    embedding many_rows [3] for many.e
    let x = many_rows(many.e)
    let a = dropout(linear(one_rows(one.e), 5), 0.3)
    let b = sum(dropout(tanh(linear(x, 4)), 0.5) over many)
    let c = sum(sum(dropout(x * (x as t) + x, 0.25) over t) over many)
    predict y ~ bernoulli(logit = linear(concat(a, b, c), 1))
    train { loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }
    report auc(y)
}
";

fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{what}: {found:e}, PyTorch {expected:e}");
    }
}

/// In the order of the script: of each sample its own components, then of each entry its components
/// and those of its pairs.
fn kept(seed: u64, step: u64, offsets: &[usize]) -> Vec<f64> {
    let mut kept = Vec::new();
    let mut push = |site: u32, rate: f64, place: [usize; 3], width: usize| {
        let [sample, first, second] = place.map(|place| place as f32);
        let key = dropout::key(seed, site, step);
        let factors = (0..width).map(|c| dropout::factor(rate, key, [sample, first, second, c as f32]));
        kept.extend(factors.map(|factor| factor * (1.0 - rate)));
    };
    for (sample, list) in offsets.windows(2).enumerate() {
        let entries = list[1] - list[0];
        push(0, 0.3, [sample, 0, 0], 5);
        for first in 0..entries {
            push(1, 0.5, [sample, first, 0], 4);
            (0..entries).for_each(|second| push(2, 0.25, [sample, first, second], 3));
        }
    }
    kept
}

#[test]
fn masks_values_and_gradients() {
    let all = Tensors::read("dropout");
    let places = |name: &str| all.integers(name).into_iter().map(|i| i as usize).collect::<Vec<_>>();
    let seed = all.ids("seed")[0] as u64;
    let model = specs::checked("dropped.din", SPEC);
    let update = |k: u32| &model.updates[k as usize];
    let params = model.parameters.iter().map(|p| TensorData::new(update(p.update), all.get(&p.name).to_vec()));
    let tables = model
        .tables
        .iter()
        .map(|t| TableData::new(update(t.update), t.width as usize, all.get(&t.name).to_vec(), Vec::new()));
    let mut session = InterpreterSession::new(&model, params.collect(), Vec::new(), tables.collect()).unwrap();
    let offsets = places("offsets");
    let samples = Samples {
        batch: offsets.len() - 1,
        rows: [((0, 0), places("one")), ((1, 1), places("many"))].into(),
        labels: vec![all.get("label").to_vec()],
        offsets: vec![offsets.clone()],
        ..Samples::default()
    };
    session.seed = seed;
    for step in [1, 2, 1000] {
        let get = |what: &str| all.get(&format!("{step}/{what}"));
        close(&format!("masks of step {step}"), &kept(seed, step, &offsets), get("kept"));
        let mut session = session.clone();
        session.steps = step - 1;
        let report = session.train(&samples).unwrap();
        close("loss", &[report.loss], get("loss"));
        close("logits", &report.predictions[0], get("logits"));
        for (parameter, gradient) in model.parameters.iter().zip(&report.param_gradients) {
            close(&parameter.name, gradient, get(&format!("gradient.{}", parameter.name)));
        }
        for (table, gradients) in model.tables.iter().zip(&report.row_gradients) {
            let expected = get(&format!("gradient.{}", table.name));
            let width = table.width as usize;
            for (row, expected) in expected.chunks(width).enumerate() {
                let absent = vec![0.0; width];
                close(&format!("row {row} of {}", table.name), gradients.get(&row).unwrap_or(&absent), expected);
            }
        }
    }
}
