//! What `diff` says of two models, and the script of the action that uses it.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The small model with texts replaced, beside the small model.
struct Pair {
    folder: TempDir,
}

impl Pair {
    #[track_caller]
    fn new(replaced: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut text = fs::read_to_string(small()).unwrap();
        for (from, to) in replaced {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        fs::write(folder.path().join("new.din"), text).unwrap();
        Self { folder }
    }

    fn new_file(&self) -> PathBuf {
        self.folder.path().join("new.din")
    }

    #[track_caller]
    fn diff(&self, code: i32) -> Value {
        let ran = din("diff {old} {new} --format json", &[("old", &small()), ("new", &self.new_file())]).expect(code);
        serde_json::from_str(&ran.out).unwrap()
    }
}

/// `added input ad.brand_id`
fn changes(difference: &Value) -> Vec<String> {
    let changes = difference["changes"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_string();
    changes.map(|c| format!("{} {} {}", word(&c["change"]), word(&c["part"]), word(&c["name"]))).collect()
}

/// Tensors with a fate.
fn tensors(difference: &Value, fate: &str) -> Vec<String> {
    let all = difference["checkpoint"]["tensors"].as_array().unwrap().iter();
    all.filter(|t| t["fate"] == fate).map(|t| t["tensor"].as_str().unwrap().to_string()).collect()
}

#[test]
fn comments_layout_and_names_of_locals_are_no_difference() {
    let pair = Pair::new(&[
        ("//! A small DIN", "//! Another word"),
        ("candidate", "wanted"),
        ("    let history = embed(visited)\n", "    // The past.\n    let history =\n        1 * embed(visited)\n\n"),
    ]);
    let difference = pair.diff(0);
    assert_eq!(difference["verdict"], "same");
    assert_eq!((changes(&difference).len(), difference["operations"].as_array().unwrap().len()), (0, 0));
    let ran = din("diff {old} {new}", &[("old", &small()), ("new", &pair.new_file())]).expect(0);
    assert!(ran.out.contains("The models are the same."), "{}", ran.out);
}

#[test]
fn weights_under_another_name_are_found() {
    let difference = Pair::new(&[("let hidden =", "let trunk ="), ("linear(hidden", "linear(trunk")]).diff(10);
    assert!(changes(&difference).iter().all(|change| change.starts_with("renamed ")), "{:?}", changes(&difference));
    assert!(changes(&difference).contains(&"renamed parameter hidden.0.weight".to_string()));
    assert!(tensors(&difference, "renamed").contains(&"parameter hidden.0.weight".to_string()));
    assert_eq!(tensors(&difference, "new").len() + tensors(&difference, "dropped").len(), 0);
}

#[test]
fn a_wider_layer_does_not_fit() {
    let difference = Pair::new(&[("[16], dice", "[32], dice")]).diff(11);
    assert_eq!(difference["verdict"], "incompatible");
    let resized = tensors(&difference, "resized");
    assert!(resized.contains(&"parameter hidden.0.weight".to_string()), "{resized:?}");
    assert!(tensors(&difference, "kept").contains(&"table good".to_string()));
    let changes = changes(&difference);
    assert!(changes.contains(&"changed prediction click".to_string()), "{changes:?}");
    // Only the prediction is another one, which the loss reads.
    assert!(!changes.contains(&"changed loss loss".to_string()), "{changes:?}");
    let cost = difference["cost"].as_array().unwrap();
    for what in ["dense_weights", "dense_bytes", "flops_per_sample"] {
        assert!(cost[1][what].as_f64() > cost[0][what].as_f64(), "{what}");
    }
    assert_eq!(cost[0]["row_bytes_per_sample"], cost[1]["row_bytes_per_sample"]);
    // 2 tables of width 4 for one ad and 20 visits, and 2 of width 2: in f32.
    assert_eq!(cost[0]["row_bytes_per_sample"], f64::from(4 * (2 * 4 * 21 + 2 * 2)));
}

#[test]
fn settings_optimizer_and_loss_are_compared_by_themselves() {
    let of = |replaced: &[(&str, &str)], code| changes(&Pair::new(replaced).diff(code));
    assert_eq!(of(&[("batch 256", "batch 512")], 10), ["changed training batch"]);
    assert_eq!(of(&[("adam(lr = lr)", "adam(lr = 2 * lr)")], 10), ["changed optimizer all weights"]);
    let lr = of(&[("lr = 3e-3", "lr = 4e-3")], 10);
    assert_eq!(lr, ["changed optimizer all weights", "changed hyper lr"]);
    assert_eq!(of(&[("adaptive(0.001)", "adaptive(0.002)")], 10), ["changed optimizer good"]);
    assert_eq!(of(&[("loss cross_entropy(click)", "loss 2 * cross_entropy(click)")], 10), ["changed loss loss"]);
    assert_eq!(of(&[(", log_loss(click)", ""), ("gauc, log_loss", "gauc")], 10), ["removed metric log_loss(click)"]);
    assert_eq!(of(&[("keep last 20", "keep last 30")], 10), ["changed sequence visited"]);
    let sgd = of(&[("std.optimizer.adam", "std.optimizer.sgd"), ("adam(lr = lr)", "sgd(lr = lr)")], 10);
    assert_eq!(sgd, ["changed optimizer all weights"]);
}

#[test]
fn inputs_that_come_and_go_are_named() {
    let pair = Pair::new(&[
        ("gender: category(2)  ", ""),
        ("    features ad", "    features spot { price: number }\n    features ad"),
        ("taste, candidate)", "taste, candidate, spot.price)"),
    ]);
    let difference = pair.diff(11);
    let all = changes(&difference);
    for change in ["added input spot.price", "removed input user.gender", "removed table user.gender"] {
        assert!(all.contains(&change.to_string()), "{all:?}");
    }
    let paths = [("old", small()), ("new", pair.new_file())];
    let paths: Vec<(&str, &Path)> = paths.iter().map(|(name, path)| (*name, path.as_path())).collect();
    let text = din("diff {old} {new}", &paths).expect(11).out;
    assert!(text.contains("  + input spot.price: kind number, values column price"), "{text}");
    assert!(text.contains("  - table user.gender: width 2, rows 2 rows"), "{text}");
    let markdown = din("diff {old} {new} --format markdown", &paths).expect(11).out;
    assert!(markdown.contains("| added | input | `spot.price` |"), "{markdown}");
    // Every table has cells of one number.
    for table in markdown.split("\n\n").filter(|part| part.starts_with('|')) {
        let cells: Vec<usize> = table.lines().map(|line| line.replace("\\|", "").matches('|').count()).collect();
        assert!(cells.iter().all(|n| *n == cells[0]), "{table}");
    }
}

#[test]
fn runs_and_executables_are_models() {
    let folder = TempDir::new().unwrap();
    let exe = folder.path().join("ranker");
    din("build {model} -o {exe}", &[("model", &small()), ("exe", &exe)]).expect(0);
    let wide = Pair::new(&[("[16], dice", "[32], dice")]);
    for old in [trained(), &exe] {
        din("diff {old} {new}", &[("old", old), ("new", &small())]).expect(0);
        din("diff {old} {new}", &[("old", old), ("new", &wide.new_file())]).expect(11);
    }
}

#[test]
fn what_is_no_model_is_an_error() {
    let folder = TempDir::new().unwrap();
    let wrong = folder.path().join("wrong.din");
    fs::write(&wrong, fs::read_to_string(small()).unwrap().replace("embed(visited)", "embed(visits)")).unwrap();
    let with = |line: &str| din(line, &[("old", &small()), ("new", &wrong), ("here", folder.path())]);
    with("diff {old} {new}").expect(1).says("E0204");
    with("diff {old} nowhere.din").expect(1).says("nowhere.din");
    with("diff {old} nowhere:a.din").expect(1).says("nowhere:a.din");
    with("diff {old} {here}").expect(1).says("expected a run directory");
    with("diff {old}").expect(2);
    with("diff {old} {old} --format sarif").expect(2).says("--format");
}

/// A repository with the small model in `models` and a library that it imports.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("models")).unwrap();
        let repository = Self { folder };
        let small = fs::read_to_string(small()).unwrap();
        let small = small.replace("use std.attention.interest\n", "use std.attention.interest\nuse parts.doubled\n");
        repository.write(
            "models/small.din",
            &small.replace(
                "mlp(concat(embed(user), taste, candidate)",
                "mlp(doubled(concat(embed(user), taste, candidate))",
            ),
        );
        repository.write("models/parts.din", "fn doubled(x: [n]) -> [n] { 2 * x }\n");
        repository.git("init --quiet --initial-branch=main");
        repository.commit();
        repository
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap();
        assert!(text.contains(from), "{from}");
        self.write(name, &text.replace(from, to));
    }

    fn git(&self, line: &str) {
        let mut command = Command::new("git");
        command.current_dir(self.folder.path()).args(line.split_whitespace());
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "a").env(format!("GIT_{role}_EMAIL"), "a@example.org");
        }
        ran(command.output().unwrap()).expect(0);
    }

    fn commit(&self) {
        self.git("add --all");
        self.git("commit --quiet --message change");
    }

    fn din(&self, line: &str) -> Ran {
        run(Command::new(din_path()).current_dir(self.folder.path()), line, &[])
    }

    /// The script of the action with these variables; with it what it wrote as summary and output.
    fn action(&self, variables: &[(&str, &str)]) -> (Ran, String, String) {
        let mut command = Command::new("bash");
        let (summary, outputs) = (self.folder.path().join(".summary"), self.folder.path().join(".outputs"));
        for file in [&summary, &outputs] {
            fs::write(file, "before\n").unwrap();
        }
        command.current_dir(self.folder.path()).arg(root().join("ci/action.sh")).env("DIN", din_path());
        command.env("GITHUB_STEP_SUMMARY", &summary).env("GITHUB_OUTPUT", &outputs);
        command.envs(variables.iter().copied());
        let ran = ran(command.output().unwrap());
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        (ran, read(&summary), read(&outputs))
    }
}

#[test]
fn revisions_have_their_own_imports() {
    let repository = Repository::new();
    repository.din("diff main:models/small.din models/small.din").expect(0);
    repository.replace("models/parts.din", "2 * x", "3 * x");
    let ran = repository.din("diff main:models/small.din models/small.din").expect(10);
    assert!(ran.out.contains("~ prediction click: computed otherwise"), "{}", ran.out);
    fs::remove_file(repository.folder.path().join("models/parts.din")).unwrap();
    repository.commit();
    repository.write("models/parts.din", "fn doubled(x: [n]) -> [n] { 3 * x }\n");
    repository.din("diff main:models/small.din models/small.din").expect(1).says("E0201");
    repository.din("diff main~1:./models/small.din models/small.din").expect(10);
    repository
        .din("diff main:gone.din models/small.din")
        .expect(1)
        .says("main:gone.din: path 'gone.din' does not exist");
}

#[test]
fn the_action_checks_and_describes_what_differs() {
    let repository = Repository::new();
    let base = [("DIN_FILES", "models"), ("DIN_BASE", "main")];
    let (ran, summary, outputs) = repository.action(&base);
    ran.expect(0);
    assert_eq!(outputs, "before\nverdict=same\n");
    assert_eq!(summary, "before\n**din check**: 2 files, 0 errors, 0 warnings\n");
    // What an imported file changes is a difference of the model.
    repository.replace("models/parts.din", "2 * x", "3 * x");
    let (ran, summary, outputs) = repository.action(&base);
    ran.expect(0);
    assert!(outputs.contains("verdict=compatible"), "{outputs}");
    assert!(summary.contains("| changed | prediction | `click` | computed otherwise |"), "{summary}");
    repository.replace("models/small.din", "[16], dice", "[32], dice");
    let (ran, _, outputs) = repository.action(&base);
    ran.expect(0);
    assert!(outputs.contains("verdict=incompatible"), "{outputs}");
    let strict = [base[0], base[1], ("DIN_FAIL_ON_INCOMPATIBLE", "true")];
    let (ran, _, _) = repository.action(&strict);
    assert!(ran.expect(1).out.contains("::error::a model differs from main"));
    // A warning, then an error.
    repository.replace("models/small.din", "    predict", "    let spare = 1\n    predict");
    let (ran, _, outputs) = repository.action(&[base[0]]);
    assert!(ran.expect(0).out.contains("::warning file=models/small.din,line="));
    assert_eq!(outputs, "before\nverdict=unknown\n", "nothing was compared");
    let (ran, summary, _) = repository.action(&[base[0], ("DIN_DENY", "warnings"), ("DIN_SARIF", "out.sarif")]);
    assert!(ran.expect(1).out.contains("title=W0203::"));
    assert!(summary.contains("1 error, 0 warnings"), "{summary}");
    assert_eq!(json(&repository.folder.path().join("out.sarif"))["version"], "2.1.0");
}

#[test]
fn the_demonstration_is_what_the_action_says() {
    let mut command = Command::new("bash");
    command.arg(root().join("tests/demonstration/run.sh")).env("DIN", din_path());
    let page = ran(command.output().unwrap()).expect(0).out;
    let committed = fs::read_to_string(root().join("docs/ci-demonstration.md")).unwrap();
    let command = "DIN=target/debug/din tests/demonstration/run.sh > docs/ci-demonstration.md";
    assert!(page == committed, "the page is old; look at what changes: {command}\n{page}");
}
