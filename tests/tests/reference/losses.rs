//! Losses and predicted probabilities against PyTorch and mpmath (`tests/reference/losses.py`):
//! value and derivatives of each sample, within 1e-12 (relative above 1), also where a probability
//! is 1e-260 from 0 or from 1.

use super::fixture::Tensors;
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::interpret::{InterpreterSession, Samples, TableData};

const BOUND: f64 = 1e-12;

fn close(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= BOUND * expected.abs().max(1.0), "{what}: {found:e}, reference {expected:e}");
}

/// The inputs `a` and `b` are rows of tables, one per sample, so that row gradients are theirs.
fn compare(name: &str, kind: &str, prediction: &str, loss: &str) {
    let all = Tensors::read("losses");
    let get = |what: &str| all.get(&format!("{name}/{what}"));
    let label = get("label");
    let samples = label.len();
    let inputs: Vec<&str> = ["a", "b"].into_iter().filter(|input| all.has(&format!("{name}/{input}"))).collect();
    let tables: String =
        inputs.iter().map(|t| format!("embedding {t}_rows [1] for one.e\nlet {t} = {t}_rows(one.e)\n")).collect();
    let function = loss.split('(').next().unwrap();
    let metric = if kind == "binary" { "auc" } else { "rmse" };
    let text = format!(
        "edition 2026\nuse std.loss.{function}\nuse std.metric.{metric}\nuse std.optimizer.sgd\n\
         fn between(w: [1], a: [1], b: [1]) -> [1] {{ w * a + (1 - w) * b }}\n\
         fn mixed(g: [1], h: [1], a: [1], b: [1]) -> [1] {{ (g * a + h * b) / (g + h) }}\n\
         model losses {{\nfeatures one {{ e: category({samples}) }}\nlabel y: {kind}\nlabel t: number\n{tables}\
         predict y ~ {prediction}\n\
         train {{ loss {loss} + 0 * t  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }}\nreport {metric}(y)\n}}\n"
    );
    let checked = check("losses.din", &text, &NoFiles, &CheckOptions::default());
    let model = checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics));
    let warned: Vec<_> = checked.diagnostics.iter().filter(|d| d.code == "W0606").map(|d| &d.message).collect();
    assert!(warned.is_empty(), "{name}: {warned:?}");
    let data = model
        .tables
        .iter()
        .zip(&inputs)
        .map(|(t, input)| TableData::new(&model.updates[t.update as usize], 1, get(input).to_vec(), Vec::new()));
    let session = InterpreterSession::new(&model, Vec::new(), Vec::new(), data.collect()).unwrap();
    // Each sample alone, so that the loss of a step is that of the sample.
    for sample in 0..samples {
        let rows = (0..inputs.len()).map(|t| ((t as u32, 0), vec![sample])).collect();
        let labels = vec![vec![label[sample]]; 2];
        let batch = Samples { batch: 1, rows, labels, ..Samples::default() };
        let report = session.clone().train(&batch).unwrap();
        close(&format!("{name}[{sample}]"), report.loss, get("loss")[sample]);
        for (input, gradient) in inputs.iter().zip(&report.row_gradients) {
            let what = format!("gradient.{input}");
            close(&format!("{name}/{what}[{sample}]"), gradient[&sample][0], get(&what)[sample]);
        }
    }
}

#[test]
fn numbers_and_counts() {
    compare("squared_error", "number", "normal(mean = a)", "squared_error(y)");
    compare("huber", "number", "normal(mean = a)", "huber(y, delta = 0.7)");
    compare("gaussian_nll", "number", "normal(mean = a, std = softplus(b) + 0.1)", "gaussian_nll(y)");
    compare("poisson_nll", "count", "poisson(log_rate = a)", "poisson_nll(y)");
    compare("poisson_nll_rate", "count", "poisson(rate = softplus(a))", "poisson_nll(y)");
    compare("pinball", "number", "quantile(0.9, value = a)", "pinball(y)");
    compare("soft_cross_entropy", "binary", "bernoulli(logit = a)", "soft_cross_entropy(y, t)");
}

#[test]
fn probabilities_far_from_one_half() {
    for (name, probability) in [
        ("product", "sigmoid(a) * sigmoid(b)"),
        ("complement", "1 - sigmoid(a) * (1 - sigmoid(b))"),
        ("either", "1 - (1 - sigmoid(a)) * (1 - 0.5 * sigmoid(b))"),
        ("between", "between(sigmoid(b), sigmoid(a), sigmoid(2 * a + 1))"),
        ("mixture", "mixed(exp(a), exp(2 * b), sigmoid(b), sigmoid(a))"),
        ("mean", "(sigmoid(a) + sigmoid(b)) / 2"),
        ("least", "min(sigmoid(a), sigmoid(b)) * max(sigmoid(a), 0.25)"),
    ] {
        compare(name, "binary", &format!("bernoulli(probability = {probability})"), "cross_entropy(y)");
    }
}
