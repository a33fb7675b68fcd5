//! Losses over the samples of a request against PyTorch (`tests/reference/request_losses.py`):
//! value and derivative by each sample's score, within 1e-12 (relative above 1).

use super::fixture::Tensors;
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::interpret::{InterpreterSession, Samples, TableData};

const BOUND: f64 = 1e-12;

/// The loss, in the language, of samples whose labels are all known.
fn compare(name: &str, function: &str, loss: &str) {
    compare_where(name, function, loss, false);
}

/// The loss, in the language; the scores are rows of a table, one per sample, so that row gradients
/// are theirs. With `missing`, some labels are not known.
fn compare_where(name: &str, function: &str, loss: &str, missing: bool) {
    let all = Tensors::read("request_losses");
    let (scores, labels, kind) = match missing {
        true => (all.get("score_known"), all.get("label_known"), "binary missing -1"),
        false => (all.get("score"), all.get("label"), "binary"),
    };
    let samples = labels.len();
    let of_library = name.trim_end_matches("_known");
    let import = if function.is_empty() { format!("use std.loss.{of_library}\n") } else { String::new() };
    let text = format!(
        "edition 2026\n{import}use std.metric.auc\nuse std.optimizer.sgd\n{function}\n\
         model losses {{\nfeatures one {{ e: category({samples}) }}\nlabel y: {kind}\n\
         key q: int64\nrequest by q\nembedding rows [1] for one.e\n\
         predict y ~ bernoulli(logit = rows(one.e))\n\
         train {{ loss {loss}  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }}\nreport auc(y)\n}}\n"
    );
    let checked = check("losses.din", &text, &NoFiles, &CheckOptions::default());
    let model = checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics));
    let table = TableData::new(&model.updates[model.tables[0].update as usize], 1, scores.to_vec(), Vec::new());
    let mut session = InterpreterSession::new(&model, Vec::new(), Vec::new(), vec![table]).unwrap();
    let requests: Vec<usize> = all.integers("requests").into_iter().map(|end| end as usize).collect();
    let batch = Samples {
        batch: samples,
        rows: [((0, 0), (0..samples).collect())].into(),
        requests,
        labels: vec![labels.to_vec()],
        present: if missing { vec![all.get("known").to_vec()] } else { Vec::new() },
        ..Samples::default()
    };
    let report = session.train(&batch).unwrap();
    let close = |what: &str, found: f64, expected: f64| {
        let off = (found - expected).abs();
        assert!(off <= BOUND * expected.abs().max(1.0), "{name}/{what}: {found:e}, reference {expected:e}");
    };
    close("loss", report.loss, all.get(&format!("{name}/loss"))[0]);
    for (sample, expected) in all.get(&format!("{name}/gradient")).iter().enumerate() {
        close(&format!("gradient[{sample}]"), report.row_gradients[0][&sample][0], *expected);
    }
}

#[test]
fn library_losses() {
    compare("listwise", "", "listwise(y)");
    compare("pairwise", "", "pairwise(y)");
}

/// Samples whose label is missing are no candidates, and in no pair.
#[test]
fn library_losses_of_known_labels() {
    compare_where("listwise_known", "", "listwise(y)", true);
    compare_where("pairwise_known", "", "pairwise(y) where present", true);
    compare_where(
        "pairwise_known",
        "fn known(p: bernoulli, y: label) -> [1] {\n\
         let worse = y > (y.label as other) and (y.present as other)\n\
         sum(softplus((p.logit as other) - p.logit) over other where worse) where p.present\n}\n",
        "known(y, y)",
        true,
    );
}

#[test]
fn losses_written_out() {
    compare(
        "weighted",
        "fn weighted(p: bernoulli) -> [1] {\nlet rank = 1 + sum(p.logit < (p.logit as other) over other)\n\
         let gain = 1 / log(1 + rank)\nlet apart = abs(gain - (gain as other))\n\
         sum(apart * softplus((p.logit as other) - p.logit) over other where p.label > (p.label as other))\n}\n",
        "weighted(y)",
    );
    compare(
        "spread",
        "fn spread(z: [1], y: [1]) -> [1] {\n\
         softmax(z over request) * (max(z over request) - mean(z over request where y)) / length(request)\n}\n",
        "spread(y.logit, y.label)",
    );
    compare(
        "nearness",
        "fn nearness(z: [1], y: [1]) -> [1] {\nlet far = mean(abs(z - (z as other)) over request)\n\
         sum(far over other) + max(z * (z as other) * (y as other) over other)\n}\n",
        "nearness(y.logit, y.label)",
    );
}
