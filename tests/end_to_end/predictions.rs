//! The file of predictions: which columns it has, what is in them, and which rows have no value.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A model whose logit is the given expression, plus a parameter that stays 0.
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
    train {{ loss cross_entropy(click)  optimizer sgd(lr = 1e-30)  batch 64  epochs 1 }}
    report auc(click)
}}\n"
    )
}

/// A folder with a spec and a run that was trained on the given CSV text.
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

#[test]
fn a_loss_without_a_value_names_the_row_that_it_comes_from() {
    let trained = Trained::new("log(1 + a.x)", "key id: int64", DATA);
    trained.write("refund.csv", "id,x,click\n1,0,0\n2,-3,1\n");
    let line = "train {at}/m.din --train {at}/train.csv {at}/refund.csv --out {at}/run2";
    let ran = trained
        .din(line)
        .expect(1)
        .says("refund.csv: line 3: the loss became NaN at step 1 (epoch 1, batch 1)")
        .says("all weights are finite")
        .says("a.x = -3");
    assert!(!ran.err.contains("learning rate"), "{}", ran.err);
    assert!(!trained.at("run2").exists());
}

#[test]
fn weights_that_diverged_are_blamed_where_they_did() {
    let trained = Trained::new("a.x", "key id: int64", DATA);
    let diverging = spec("scaled(a.x)", "key id: int64")
        .replace("sgd(lr = 1e-30)  batch 64  epochs 1", "sgd(lr = 1e18)  batch 1  epochs 9")
        .replace("model m", "fn scaled(v: [1]) -> [1] {\n    param w: [1] = 1\n    v * w * w\n}\n\nmodel m");
    trained.write("m.din", &diverging);
    trained.write("both.csv", "id,x,click\n1,1,0\n2,1,1\n");
    trained
        .din("train {at}/m.din --train {at}/both.csv --out {at}/run2")
        .expect(1)
        .says("the weights have diverged: one of `")
        .says("lower the learning rate");
}

/// `warning:` lines of standard error.
fn warnings(ran: &Ran) -> Vec<&str> {
    ran.err.lines().filter(|line| line.starts_with("warning:")).collect()
}

#[test]
fn an_integer_that_f32_rounds_is_warned_of_once_by_every_verb() {
    let data = "id,x,click\n1,16777216,0\n2,16777217,1\n3,16777219,1\n";
    let trained = Trained::new("a.x / 1000000", "key id: int64", DATA);
    trained.write("seconds.csv", data);
    trained.write("valid.csv", data);
    for line in [
        "train {at}/m.din --train {at}/seconds.csv --valid {at}/valid.csv --out {at}/run2 --epochs 2",
        "eval {at}/run --data {at}/seconds.csv",
        "predict {at}/run --data {at}/seconds.csv --out {at}/p.csv -q",
    ] {
        let ran = trained.din(line).expect(0);
        let found = warnings(&ran);
        assert_eq!(found.len(), 1, "{}", ran.err);
        for part in [".csv: line 3, column \"x\"", "16777217, which becomes 16777216", "m.din:13:"] {
            assert!(found[0].contains(part), "expected `{part}` in: {}", found[0]);
        }
    }
    assert!(warnings(&trained.din("eval {at}/run --data {at}/train.csv")).iter().all(|w| !w.contains("f32")));
}

#[test]
fn training_data_that_teach_nothing_are_warned_of() {
    let trained = Trained::new("a.x", "key id: int64", DATA);
    trained.write("zeros.csv", "id,x,click\n1,0,0\n2,1,0\n");
    trained.write("unknown.csv", "id,x,click\n1,0,-1\n2,1,-1\n");
    let line = "train {at}/m.din --valid {at}/train.csv --epochs 2";
    let ran = trained.din(&format!("{line} --train {{at}}/zeros.csv --out {{at}}/zeros")).expect(0);
    let [warning] = warnings(&ran)[..] else { panic!("{}", ran.err) };
    assert!(warning.contains("all 2 known values are 0") && warning.contains("m.din:14:"), "{warning}");
    let missing = spec("a.x", "key id: int64")
        .replace("click: binary", "click: binary missing -1")
        .replace("cross_entropy(click)  ", "cross_entropy(click) where present  ");
    trained.write("m.din", &missing);
    let ran = trained.din(&format!("{line} --train {{at}}/unknown.csv --out {{at}}/unknown")).expect(0);
    let [warning] = warnings(&ran)[..] else { panic!("{}", ran.err) };
    assert!(warning.contains("no row has a known value"), "{warning}");
    trained.write("both.csv", "id,x,click\n3,0,1\n4,1,0\n");
    let ran = trained.din("train {at}/m.din --valid {at}/both.csv --train {at}/train.csv --out {at}/both");
    assert_eq!(warnings(&ran.expect(0)), [""; 0]);
}

#[test]
fn validation_data_that_choose_no_epoch_are_warned_of_once() {
    let trained = Trained::new("a.x", "key id: int64", DATA);
    trained.write("zeros.csv", "id,x,click\n1,0,0\n2,1,0\n");
    let ran = trained
        .din("train {at}/m.din --train {at}/train.csv --valid {at}/zeros.csv --epochs 2 --out {at}/undefined")
        .expect(0);
    let [warning] = warnings(&ran)[..] else { panic!("{}", ran.err) };
    assert!(warning.contains("auc(click) is undefined"), "{warning}");
    assert!(!ran.err.contains("best so far"), "{}", ran.err);
}

#[test]
fn a_fault_of_the_validation_data_is_found_before_training() {
    let trained = Trained::new("a.x", "key id: int64", DATA);
    trained.write("valid.csv", "id,x,click\n1,0,0\n2,,1\n");
    let line = "train {at}/m.din --train {at}/train.csv --valid {at}/valid.csv --out {at}/run2";
    let ran = trained.din(line).expect(1).says("valid.csv: line 3, column \"x\"");
    assert!(!ran.err.contains("epoch"), "{}", ran.err);
    assert!(!trained.at("run2").exists());
}
