//! Losses and predictions of class labels against PyTorch and mpmath
//! (`tests/reference/class_losses.py`): value and derivatives of each sample, within 1e-12
//! (relative above 1), also where logits are far apart and cut points 1e-6.

use super::fixture::Tensors;
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::interpret::{InterpreterSession, Samples, StepReport, TableData, TensorData};
use din_compiler::model::CheckedModel;

const BOUND: f64 = 1e-12;

fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= BOUND * expected.abs().max(1.0),
            "{what}: {found:e}, reference {expected:e}"
        );
    }
}

/// A model whose parameters of the distribution are rows of a table, one per sample.
fn model(samples: usize, classes: usize, width: usize, prediction: &str, loss: &str) -> CheckedModel {
    let text = format!(
        "edition 2026\nuse std.loss.{loss}\nuse std.metric.accuracy\nuse std.optimizer.sgd\n\
         model losses {{\nfeatures one {{ e: category({samples}) }}\nlabel y: class({classes})\n\
         embedding rows [{width}] for one.e\nlet z = rows(one.e)\n\
         predict y ~ {prediction}\n\
         train {{ loss {loss}(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }}\nreport accuracy(y)\n}}\n"
    );
    let checked = check("losses.din", &text, &NoFiles, &CheckOptions::default());
    checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics))
}

/// Steps of one sample each, so that the loss of a step is that of the sample.
fn steps(model: &CheckedModel, rows: &[f64], weights: &[Vec<f64>], labels: &[f64]) -> Vec<StepReport> {
    let update = |k: u32| &model.updates[k as usize];
    let width = rows.len() / labels.len();
    let tables = vec![TableData::new(update(model.tables[0].update), width, rows.to_vec(), Vec::new())];
    let params = model.parameters.iter().zip(weights);
    let params = params.map(|(p, weights)| TensorData::new(update(p.update), weights.clone())).collect();
    let session = InterpreterSession::new(model, params, Vec::new(), tables).unwrap();
    let step = |(sample, &label): (usize, &f64)| {
        let rows = [((0, 0), vec![sample])].into_iter().collect();
        let batch = Samples { batch: 1, rows, labels: vec![vec![label]], ..Samples::default() };
        session.clone().train(&batch).unwrap()
    };
    labels.iter().enumerate().map(step).collect()
}

#[test]
fn softmax_of_logits() {
    let all = Tensors::read("class_losses");
    let get = |what: &str| all.get(&format!("categorical/{what}"));
    let (logits, labels) = (get("logits"), get("label"));
    let classes = logits.len() / labels.len();
    let model = model(labels.len(), classes, classes, "categorical(logits = z)", "softmax_cross_entropy");
    for (sample, report) in steps(&model, logits, &[], labels).iter().enumerate() {
        let own = sample * classes..(sample + 1) * classes;
        close(&format!("loss[{sample}]"), &[report.loss], &get("loss")[sample..=sample]);
        close(&format!("root[{sample}]"), &report.predictions[0], &logits[own.clone()]);
        close(&format!("gradient[{sample}]"), &report.row_gradients[0][&sample], &get("gradient")[own]);
    }
}

#[test]
fn ordered_classes() {
    let all = Tensors::read("class_losses");
    for classes in [2, 3, 5] {
        let get = |what: &str| all.get(&format!("ordinal{classes}/{what}"));
        let (score, labels) = (get("score"), get("label"));
        let model = model(labels.len(), classes, 1, "ordinal(score = z)", "ordinal_nll");
        let names: Vec<&str> = model.parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["y.first_cut", "y.log_gaps"][..names.len()], "{classes} classes");
        let weights = get("weights");
        let parts: Vec<Vec<f64>> = vec![weights[..1].to_vec(), weights[1..].to_vec()];
        for (sample, report) in steps(&model, score, &parts, labels).iter().enumerate() {
            let at = |what: &str| format!("{what}[{sample}] of {classes} classes");
            close(&at("loss"), &[report.loss], &get("loss")[sample..=sample]);
            let own = sample * classes..(sample + 1) * classes;
            close(&at("log probabilities"), &report.predictions[0], &get("log_probabilities")[own]);
            let gradient = &report.row_gradients[0][&sample];
            close(&at("gradient of the score"), gradient, &get("gradient.score")[sample..=sample]);
            let own = sample * weights.len()..(sample + 1) * weights.len();
            close(&at("gradient of the cut points"), &report.param_gradients.concat(), &get("gradient.weights")[own]);
        }
    }
}
