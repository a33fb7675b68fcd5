//! `din tune`: a study that is killed goes on to the same, every trial can be trained again to the
//! same bits, nothing is selected on the test file, and Optuna's own reader agrees
//! (`tests/reports/study.py`).

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn spec() -> PathBuf {
    root().join("tests/end_to_end/tune.din")
}

/// `din tune` of the tiny model on the synthetic log.
fn tune(out: &Path, more: &str) -> Ran {
    tune_model(&spec(), out, more)
}

fn tune_model(model: &Path, out: &Path, more: &str) -> Ran {
    let line =
        format!("tune {{model}} --train {{data}}/train.parquet --valid {{data}}/valid.parquet --out {{out}} {more}");
    din(&line, &[("model", model), ("data", data()), ("out", out)])
}

/// Lines of a journal without what differs from run to run: moments, and paths of the folder.
fn journal(study: &Path) -> Vec<Value> {
    let text = fs::read_to_string(study.join("journal.log")).unwrap();
    let text = text.replace(study.to_str().unwrap(), "STUDY");
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        for moment in ["datetime_start", "datetime_complete"] {
            if line.get(moment).is_some() {
                line[moment] = Value::Null;
            }
        }
        if line["user_attr"].get("outcome").is_some() {
            line["user_attr"]["outcome"]["seconds"] = Value::Null;
        }
    }
    lines
}

/// Checkpoints of the trials of a study.
fn weights(study: &Path) -> Vec<(String, Vec<(String, Value)>)> {
    let of = |name: String| (name.clone(), hashes(&study.join("trials").join(name)));
    names(&study.join("trials")).into_iter().map(of).collect()
}

const SMALL: &str = "--trials 7 --seeds 1 --seed 5 --threads 1";

#[test]
fn a_study_that_is_killed_goes_on_to_the_same() {
    let folder = TempDir::new().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let ran = tune(&whole, SMALL).expect(0);
    assert!(ran.out.contains("7 trials: ") && ran.out.contains("trained again with seeds 6"), "{}", ran.out);
    assert!(ran.err.contains("without a space, kept as they are: wide = 4"), "{}", ran.err);
    let all = journal(&whole).len();
    // Killed when some trials are done, again further on, and at last with half a line.
    for (turn, lines) in [all / 4, all / 2, all / 2 + 3].into_iter().enumerate() {
        let line = format!(
            "tune {} --train {}/train.parquet --valid {}/valid.parquet --out {} --resume {SMALL}",
            spec().display(),
            data().display(),
            data().display(),
            killed.display()
        );
        let mut child = Command::new(din_path())
            .args(line.split_whitespace())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let written = || fs::read_to_string(killed.join("journal.log")).map_or(0, |text| text.lines().count());
        while written() < lines && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if turn == 2 {
            let text = fs::read_to_string(killed.join("journal.log")).unwrap();
            fs::write(killed.join("journal.log"), text + "{\"op_code\":8,\"trial_id\":0,\"us").unwrap();
        }
    }
    tune(&killed, SMALL).expect(1).says("already holds a study");
    let again = tune(&killed, &format!("{SMALL} --resume")).expect(0);
    assert_eq!(journal(&killed), journal(&whole));
    assert_eq!(weights(&killed), weights(&whole));
    let shown = |text: &str| text.replace(killed.to_str().unwrap(), "").replace(whole.to_str().unwrap(), "");
    assert_eq!(shown(&again.out), shown(&ran.out));
    // Once more changes nothing.
    let last = tune(&killed, &format!("{SMALL} --resume --json")).expect(0);
    assert_eq!(journal(&killed), journal(&whole));
    let result: Value = serde_json::from_str(&last.out).unwrap();
    let trials = result["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 7);
    // A parameter that is not there is not part of the trial.
    assert!(trials.iter().all(|t| (t["values"]["layers"] == 2.0) == t["values"].get("second").is_some()), "{trials:?}");
    assert!(trials.iter().any(|t| t["state"] == "pruned") && trials.iter().any(|t| t["state"] == "complete"));
    // The line of each trial, stopped at a rung or not, trains the same again, undisturbed.
    let lines = journal(&whole);
    for number in [0, result["best"].as_u64().unwrap()] {
        let of = |line: &&Value| line["trial_id"] == number && line["user_attr"].get("command").is_some();
        let promoted = lines.iter().rev().find(of).map(|line| line["user_attr"]["command"].clone());
        let begun = lines.iter().filter(|line| line["op_code"] == 4).nth(number as usize).unwrap();
        let command = promoted.unwrap_or_else(|| begun["user_attrs"]["command"].clone());
        let command = command.as_str().unwrap().strip_prefix("din ").unwrap().to_string();
        let mut din = Command::new(din_path());
        run(din.current_dir(folder.path()), &command, &[]).expect(0);
        let again = hashes(&folder.path().join(format!("trial-{number:04}")));
        assert_eq!(again, hashes(&whole.join("trials").join(format!("{number:04}"))), "trial {number}");
    }
}

/// Each difference from the study's own settings is named.
#[test]
fn a_study_goes_on_with_its_own_settings_alone() {
    let folder = TempDir::new().unwrap();
    let study = folder.path().join("study");
    tune(&study, "--trials 1 --halving off --seeds 0 --sampler random").expect(0);
    let same = "--halving off --seeds 0 --sampler random --resume";
    for (more, named) in [
        ("--halving samples --seeds 0 --sampler random --resume".to_string(), "--halving was \"off\", is \"samples\""),
        ("--halving off --seeds 0 --resume".to_string(), "--sampler was \"random\", is \"tpe\""),
        (format!("{same} --set wide=3"), "--set was {}, is {\"wide\":\"3\"}"),
        (format!("{same} --seed 9"), "--seed was"),
        (format!("{same} --epochs 3"), "--epochs was 1, is 3"),
        (format!("{same} --metric log_loss"), "--metric was \"auc(click)\", is \"log_loss(click)\""),
    ] {
        tune(&study, &more).expect(1).says(named);
    }
    let other = folder.path().join("tune.din");
    fs::write(&other, fs::read_to_string(spec()).unwrap().replace("batch 64", "batch 65")).unwrap();
    tune_model(&other, &study, same).expect(1).says("the study began with another spec (SHA-256): spec was");
    let line = "tune {model} --train {data}/valid.parquet --valid {data}/test.parquet --out {out} --resume \
                --halving off --seeds 0 --sampler random";
    let paths = [("model", &*spec()), ("data", data()), ("out", &*study)];
    din(line, &paths).expect(1).says("the study began with other training data: --train was");
    // More trials are no other study.
    let ran = tune(&study, &format!("{same} --trials 2")).expect(0);
    assert!(ran.out.contains("2 trials: 2 trained whole"), "{}", ran.out);
    fs::write(study.join("journal.log"), "{\"op_code\":0}\n{}\n").unwrap();
    tune(&study, same).expect(1).says("journal.log:2: expected a line of a journal");
}

/// The test file is refused as what trials are selected on, under another name and as a copy too.
#[test]
fn selection_on_the_test_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let (study, copy, link) =
        (folder.path().join("study"), folder.path().join("copy.parquet"), folder.path().join("link.parquet"));
    fs::copy(data().join("valid.parquet"), &copy).unwrap();
    fs::hard_link(&copy, &link).unwrap();
    for test in [&data().join("valid.parquet"), &data().join("train.parquet"), &copy, &link] {
        let line = "tune {model} --train {data}/train.parquet --valid {data}/valid.parquet --test {test} --out {out}";
        let paths = [("model", &*spec()), ("data", data()), ("test", test), ("out", &*study)];
        din(line, &paths).expect(1).says("selection on the test file is refused");
        assert!(!study.exists());
    }
    let line = "tune {model} --train {data}/train.parquet --valid {data}/valid.parquet --test {data}/test.parquet \
                --out {out} --trials 1 --halving off --seeds 2 --json";
    let paths = [("model", &*spec()), ("data", data()), ("out", &*study)];
    let result: Value = serde_json::from_str(&din(line, &paths).expect(0).out).unwrap();
    let winner = &result["winner"];
    assert_eq!((winner["test_evaluations"].as_u64(), winner["runs"].as_array().map(Vec::len)), (Some(1), Some(2)));
    // The values are those of `eval`.
    for run in winner["runs"].as_array().unwrap() {
        let line = format!("eval {} --data {{data}}/test.parquet --json", run["run"].as_str().unwrap());
        let report: Value = serde_json::from_str(&din(&line, &[("data", data())]).expect(0).out).unwrap();
        assert_eq!(report["metrics"][0]["value"], run["test"]);
    }
    // The second time they are read from the journal: no evaluation is added.
    let again: Value = serde_json::from_str(&din(&format!("{line} --resume"), &paths).expect(0).out).unwrap();
    assert_eq!(again["winner"], *winner);
}

#[test]
fn what_cannot_be_searched_is_said() {
    let folder = TempDir::new().unwrap();
    let study = folder.path().join("study");
    tune_model(&small(), &study, "").expect(1).says("there is nothing to search").says("in log(1e-4, 1e-2)");
    tune(&study, "--set lr=1e-3 --set layers=1").expect(1).says("there is nothing to search");
    tune(&study, "--set wid=3").expect(1).says("there is no hyper-parameter `wid` to set").says("it has lr, layers");
    tune(&study, "--metric gauc").expect(1).says("--metric gauc: expected one metric of the report");
    tune(&study, "--trials 0").expect(2);
    tune(&study, "--sampler grid").expect(2);
    tune(&study, "--reduction-factor 1").expect(2);
    tune(&study, "--timeout soon").expect(2).says("expected a time such as 90s");
    assert!(!study.exists());
    fs::create_dir(&study).unwrap();
    fs::write(study.join("notes.txt"), "mine").unwrap();
    tune(&study, "--trials 1").expect(1).says("expected a new or an empty folder");
}

/// A trial that fails ends itself alone; where all fail the study ends, with the cause.
#[test]
fn trials_that_fail_are_recorded_with_their_cause() {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("model.din");
    let text = fs::read_to_string(spec()).unwrap();
    // Of the sizes, one is more than an assertion allows.
    let asserted = text
        .replace("hyper wide   = 4", "hyper wide   = 4 in [4, 400]")
        .replace("    predict click", "    assert parameters(dense) < 1_000\n    predict click");
    fs::write(&model, &asserted).unwrap();
    let study = folder.path().join("study");
    let ran = tune_model(&model, &study, "--trials 6 --halving off --sampler random --seeds 0 --json").expect(0);
    let result: Value = serde_json::from_str(&ran.out).unwrap();
    for trial in result["trials"].as_array().unwrap() {
        let failed = trial["values"]["wide"] == 400.0;
        assert_eq!(trial["state"], if failed { "failed" } else { "complete" });
        assert_eq!(trial["cause"].as_str().is_some_and(|cause| cause.contains("E06")), failed, "{trial}");
    }
    let states: Vec<_> = result["trials"].as_array().unwrap().iter().map(|t| t["state"].clone()).collect();
    assert!(states.contains(&"failed".into()) && states.contains(&"complete".into()), "{states:?}");
    fs::write(&model, text.replace("log(1e-4, 1e-1)", "log(1e30, 1e35)").replace("lr     = 3e-3", "lr = 1e30"))
        .unwrap();
    let study = folder.path().join("diverged");
    tune_model(&model, &study, "--trials 9 --seeds 0").expect(1).says("the first 5 trials all failed");
}
