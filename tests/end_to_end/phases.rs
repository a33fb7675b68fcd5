//! Training in phases, as `docs/operations/phases.md` has it: calibration by a second run, and a
//! table that starts from that of another run.

use crate::support::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The spec of the page.
fn calibration() -> String {
    let page = fs::read_to_string(root().join("docs/operations/phases.md")).unwrap();
    let begin = page.find("```din\n").unwrap() + "```din\n".len();
    page[begin..begin + page[begin..].find("```").unwrap()].to_string()
}

/// Of each row of a CSV two of its columns.
fn columns(path: &Path, names: [&str; 2]) -> Vec<[f64; 2]> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let places = names.map(|name| head.iter().position(|column| *column == name).unwrap());
    lines.map(|line| places.map(|place| line[place].parse().unwrap())).collect()
}

/// The derivative of the log loss by the inverse temperature.
fn slope(rows: &[[f64; 2]], inverse: f64) -> f64 {
    rows.iter().map(|[logit, label]| logit * (1.0 / (1.0 + (-inverse * logit).exp()) - label)).sum()
}

#[test]
fn the_temperature_is_that_of_the_least_log_loss() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    fs::write(here.join("calibration.din"), calibration()).unwrap();
    let paths = [("here", here), ("data", data()), ("run", trained())];
    let do_all = |lines: &[&str]| lines.iter().for_each(|line| drop(din(line, &paths).expect(0)));
    do_all(&[
        "predict {run} --data {data}/valid.parquet --out {here}/valid.csv --logits",
        "train {here}/calibration.din --train {here}/valid.csv --out {here}/calibrated",
        "predict {run} --data {data}/test.parquet --out {here}/test.csv --logits",
        "eval {here}/calibrated --data {here}/test.csv",
        "predict {here}/calibrated --data {here}/test.csv --out {here}/p.csv --logits",
    ]);
    // The log loss is convex in the inverse temperature: bisection.
    let valid = columns(&here.join("valid.csv"), ["click_logit", "click"]);
    let (mut low, mut high) = (1e-3, 1e3);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if slope(&valid, middle) < 0.0 { low = middle } else { high = middle }
    }
    let before = columns(&here.join("test.csv"), ["click_logit", "click"]);
    let after = columns(&here.join("p.csv"), ["click_logit", "click"]);
    assert_eq!(before.len(), 400);
    for ([before, _], [after, _]) in before.iter().zip(&after) {
        let found = after / before;
        assert!((found / low - 1.0).abs() < 5e-3, "inverse temperature {found}, expected {low}");
    }
}

/// Tensors of a file of the newest checkpoint.
fn table(run: &Path) -> (Vec<u8>, Vec<u8>, usize) {
    let checkpoints = run.join("checkpoints");
    let newest: PathBuf = checkpoints.join(names(&checkpoints).pop().unwrap());
    let bytes = fs::read(newest.join("table.good.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let of = |name: &str| tensors.tensor(name).unwrap().data().to_vec();
    let width = tensors.tensor("weight").unwrap().shape()[1];
    (of("keys"), of("weight"), width)
}

#[test]
fn a_table_starts_from_that_of_another_run() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let (keys, weights, width) = table(trained());
    let rows = keys.len() / 8;
    let tensors = [
        ("ids", TensorView::new(Dtype::U64, vec![rows], &keys).unwrap()),
        ("vectors", TensorView::new(Dtype::F32, vec![rows, width], &weights).unwrap()),
    ];
    fs::write(here.join("goods.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    let text = fs::read_to_string(small()).unwrap();
    let options = "{ init from \"goods.safetensors\"  optimizer frozen }";
    let text = text.replace("{ regularize adaptive(0.001) }", options).replace("use std.regularizer.adaptive\n", "");
    fs::write(here.join("second.din"), text).unwrap();
    train_model(&here.join("second.din"), &here.join("second"), "--epochs 1").expect(0).says("start from");
    let (second_keys, second_weights, _) = table(&here.join("second"));
    let row = |key: &[u8]| second_keys.chunks(8).position(|own| own == key).unwrap();
    for (key, vector) in keys.chunks(8).zip(weights.chunks(4 * width)) {
        assert_eq!(&second_weights[row(key) * 4 * width..][..4 * width], vector);
    }
}
