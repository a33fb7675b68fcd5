//! What is computed of lists and of components against PyTorch in float64: value and every
//! derivative on random input, within 1e-12 (relative above 1).
//!
//! The logit of each model is `sum(value * upstream)` and the loss the logit, so that the loss has
//! the fixture's derivatives (times 1 / samples, the loss being a mean).

use super::fixture::Tensors;
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::interpret::{InterpreterSession, Samples, TableData, TensorData};

/// Samples, and the components of each: four vectors of three.
const SAMPLES: usize = 5;
const COMPONENTS: usize = 12;

fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{what}[{i}]: found {a:e}, PyTorch has {b:e}");
    }
}

/// Compares `value`, in which `LIST` is the list of the four vectors of a sample.
fn case(name: &str, uses: &str, value: &str) {
    let all = Tensors::read("interactions");
    let get = |what: &str| all.get(&format!("{name}/{what}"));
    let upstream = get("upstream");
    let width = upstream.len() / SAMPLES;
    let value = value.replace("LIST", "split(embed(one), 4)");
    let text = format!(
        "edition 2026\n{uses}\nuse std.metric.log_loss\nuse std.optimizer.sgd\n\
         fn plain(p: prediction) -> [1] {{ p.logit }}\n\
         model unit {{\nfeatures given {{ upstream: number[{width}] }}\nfeatures one {{ e: category({SAMPLES}) }}\n\
         embedding x [{COMPONENTS}] for one.e\nlabel y: binary\nlet value = {value}\n\
         predict y ~ bernoulli(logit = sum(concat(value) * given.upstream))\n\
         train {{ loss plain(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }}\nreport log_loss(y)\n}}\n"
    );
    let checked = check("unit.din", &text, &NoFiles, &CheckOptions::default());
    let model = checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics));

    // The fixture's name of a weight.
    let own = |path: &str| path.trim_start_matches("value.").to_string();
    let weights = model
        .parameters
        .iter()
        .map(|p| TensorData::new(&model.updates[p.update as usize], get(&own(&p.name)).to_vec()));
    let update = &model.updates[model.tables[0].update as usize];
    let table = TableData::new(update, COMPONENTS, get("x").to_vec(), Vec::new());
    let mut session = InterpreterSession::new(&model, weights.collect(), Vec::new(), vec![table]).unwrap();

    let mut batch = Samples { batch: SAMPLES, labels: vec![vec![0.0; SAMPLES]], ..Samples::default() };
    batch.rows.insert((0, model.tables[0].features[0]), (0..SAMPLES).collect());
    let given = model.schema.features.iter().position(|f| f.name == "upstream").unwrap();
    batch.dense.insert(given as u32, upstream.to_vec());

    let products: Vec<f64> = get("value").iter().zip(upstream).map(|(v, u)| v * u).collect();
    let expected: Vec<f64> = products.chunks(width).map(|row| row.iter().sum()).collect();
    let report = session.train(&batch).unwrap();
    close(name, &report.predictions[0], &expected);
    let scaled = |numbers: &[f64]| numbers.iter().map(|g| g * SAMPLES as f64).collect::<Vec<_>>();
    for (p, g) in model.parameters.iter().zip(&report.param_gradients) {
        let own = own(&p.name);
        close(&format!("{name}: gradient of {own}"), &scaled(g), get(&format!("gradient.{own}")));
    }
    let rows: Vec<f64> = report.row_gradients[0].values().flatten().copied().collect();
    close(&format!("{name}: gradient of x"), &scaled(&rows), get("gradient.x"));
}

#[test]
fn interactions() {
    for (name, value) in [
        ("fm", "fm(LIST)"),
        ("inner_products", "inner_products(LIST)"),
        ("attentional_pairs", "attentional_pairs(LIST, 2)"),
    ] {
        case(name, &format!("use std.interaction.{name}"), value);
    }
}

#[test]
fn components_and_lists() {
    for (name, value) in [
        ("softmax_of_components", "concat(softmax(embed(one)) * embed(one), max(embed(one)), min(embed(one)))"),
        (
            "reductions_of_a_list",
            "concat(sum(LIST), mean(LIST), max(LIST), min(LIST), \
             sum([a * b for (a, b) in zip(softmax(LIST), LIST)]))",
        ),
    ] {
        case(name, "", value);
    }
}
