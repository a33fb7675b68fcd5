//! The file of predictions: which columns it has, what is in them, and which rows have no value.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A model without weights to speak of: the logit is `a.x`, or an expression of it, plus a parameter
/// that stays 0.
fn spec(logit: &str, more: &str) -> String {
    format!(
        "edition 2026\n
use std.loss.cross_entropy\nuse std.metric.auc\nuse std.optimizer.sgd\n
fn shifted(v: [1]) -> [1] {{\n    param b: [1] = 0\n    v + b\n}}\n
model m {{
    features a {{ x: number }}
    label click: binary
    {more}
    predict click ~ bernoulli(logit = shifted({logit}))
    train {{ loss cross_entropy(click)  optimizer sgd(lr = 0)  batch 64  epochs 1 }}
    report auc(click)
}}\n"
    )
}

/// A folder with a spec and the run that was trained on `x,click` and `key` columns.
struct Trained {
    folder: TempDir,
}

impl Trained {
    fn new(logit: &str, more: &str, data: &str) -> Self {
        let trained = Self { folder: TempDir::new().unwrap() };
        fs::write(trained.at("m.din"), spec(logit, more)).unwrap();
        trained.write("train.csv", data);
        trained.din("train {at}/m.din --train {at}/train.csv --out {at}/run").expect(0);
        trained
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn din(&self, line: &str) -> Ran {
        din(line, &[("at", self.folder.path())])
    }

    /// The lines of the predictions for a file.
    fn predict(&self, data: &str, more: &str) -> Vec<String> {
        let line = format!("predict {{at}}/run --data {{at}}/{data} --out {{at}}/p.csv --force {more}");
        self.din(&line).expect(0);
        lines(&self.at("p.csv"))
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_string).collect()
}

const DATA: &str = "id,x,click\n1,0,0\n2,1,1\n";

#[test]
fn logits_are_written_on_request_and_the_summary_says_what_each_column_is() {
    let trained = Trained::new("a.x", "key id: int64", DATA);
    // Probabilities of f32 saturate; logits do not.
    trained.write("new.csv", "id,x\n18446744073709551615,40\n3,50\n");
    let plain = trained.predict("new.csv", "");
    assert_eq!(plain, ["id,click_probability", "18446744073709551615,1.0", "3,1.0"]);
    let both = trained.predict("new.csv", "--logits");
    let head = "id,click_probability,click_logit";
    assert_eq!(both, [head, "18446744073709551615,1.0,40.0", "3,1.0,50.0"]);
    let line = "predict {at}/run --data {at}/new.csv --out {at}/q.parquet --logits";
    trained
        .din(line)
        .expect(0)
        .says("q.parquet: 2 rows")
        .says("id: key")
        .says("click_probability: probability that the label is 1")
        .says("click_logit: logit");
}

#[test]
fn predictions_mind_no_label() {
    let trained = Trained::new("a.x", "key id: int64", DATA);
    trained.write("new.csv", "id,x,click\n1,0,\n2,0,-1\n3,0,1\n");
    let head = "id,click,click_probability";
    assert_eq!(trained.predict("new.csv", ""), [head, "1,,0.5", "2,-1,0.5", "3,1,0.5"]);
    trained.write("new.csv", "id,x,click\n1,0,\n");
    assert_eq!(trained.predict("new.csv", ""), [head, "1,,0.5"]);
    trained.write("new.csv", "id,x,click\n1,0,no\n");
    assert_eq!(trained.predict("new.csv", ""), [head, "1,no,0.5"]);
    // Evaluation still does.
    let eval = trained.din("eval {at}/run --data {at}/new.csv").expect(1);
    assert!(eval.err.contains("expected 0 or 1"), "{}", eval.err);
}

#[test]
fn two_columns_of_one_name_are_refused_before_anything_is_read() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("m.din");
    fs::write(&file, spec("a.x", "key old: int64 from click_probability")).unwrap();
    din("check {m}", &[("m", &file)])
        .expect(1)
        .says("E0415")
        .says("two columns of the output are called `click_probability`");

    // Only where logits are written.
    let data = DATA.replace("id", "click_logit");
    let trained = Trained::new("a.x", "key old: int64 from click_logit", &data);
    trained.predict("train.csv", "");
    trained
        .din("predict {at}/run --data {at}/missing.csv --out {at}/q.csv --logits")
        .expect(1)
        .says("two columns would be called \"click_logit\"")
        .says("m.din:");
    assert!(!trained.at("q.csv").exists());
}

#[test]
fn a_row_without_a_value_is_named_in_its_file_and_the_weights_are_not_blamed() {
    let trained = Trained::new("log(1 + a.x)", "key id: int64", DATA);
    trained.write("refund.csv", "id,x,click\n1,0,0\n2,-3,1\n");
    for verb in ["predict {at}/run --out {at}/p.csv", "eval {at}/run"] {
        let ran = trained.din(&format!("{verb} --data {{at}}/train.csv {{at}}/refund.csv")).expect(1);
        let ran = ran
            .says("refund.csv: line 3: the prediction of `click` is not a number")
            .says("all weights are finite")
            .says("a.x = -3");
        assert!(!ran.err.contains("learning rate"), "{}", ran.err);
    }
    assert!(!trained.at("p.csv").exists());
}
