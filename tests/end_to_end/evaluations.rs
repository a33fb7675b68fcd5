//! Evaluations within epochs: `train --evaluate-every`.

use crate::support::*;
use crate::training::stopped_by;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn auc(line: &Value) -> f64 {
    line["valid"]["auc(click)"].as_f64().unwrap()
}

#[test]
fn they_change_no_weights_and_the_best_is_chosen_among_them() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let ran = train(&run, "--evaluate-every 5 --threads 1").expect(0);
    assert_eq!(hashes(&run).last(), hashes(trained()).last());
    // Two epochs of 3,200 samples, 12.5 batches of 256.
    let (all, whole) = (lines(&run), lines(trained()));
    let places = |line: &Value| ["epoch", "step", "samples"].map(|name| line[name].as_u64());
    let within = |epoch, step, samples| [Some(epoch), Some(step), Some(samples)];
    let end = |epoch, step| [Some(epoch), Some(step), None];
    let expected = [
        within(1, 5, 1280),
        within(1, 10, 2560),
        end(1, 13),
        within(2, 15, 512),
        within(2, 20, 1792),
        within(2, 25, 3072),
        end(2, 26),
    ];
    assert_eq!(all.iter().map(places).collect::<Vec<_>>(), expected);
    assert_eq!([&all[2], &all[6]], [&whole[0], &whole[1]]);
    // The mean over an epoch so far: less and less is of the first steps.
    assert!(all[0]["train_loss"].as_f64() > all[1]["train_loss"].as_f64());
    let best = json(&run.join("best.json"));
    assert_eq!(best["value"].as_f64().unwrap(), all.iter().map(auc).fold(0.0, f64::max));
    assert!(format!("{}{}", ran.out, ran.err).contains("epoch 1, step 5: train loss "));
    let text = "eval {run} --data {data}/valid.parquet --json";
    let ran = din(text, &[("run", &run), ("data", data())]).expect(0);
    let evaluated: Value = serde_json::from_str(&ran.out).unwrap();
    let metrics = evaluated["metrics"].as_array().unwrap();
    let measured = metrics.iter().find(|metric| metric["name"] == "auc(click)").unwrap();
    assert_eq!(measured["value"], best["value"]);
}

/// With a rate that is much too high, validation gets worse after the first steps.
#[test]
fn the_best_may_lie_within_an_epoch() {
    let folder = TempDir::new().unwrap();
    let (model, run) = (folder.path().join("fast.din"), folder.path().join("run"));
    fs::write(&model, fs::read_to_string(small()).unwrap().replace("adam(lr = lr)", "adam(lr = 0.1)")).unwrap();
    train_model(&model, &run, "--evaluate-every 3").expect(0);
    let (all, best) = (lines(&run), json(&run.join("best.json")));
    let chosen = all.iter().find(|line| best["checkpoint"] == format!("step-{:010}", line["step"].as_u64().unwrap()));
    let chosen = chosen.unwrap();
    assert!(chosen["samples"].is_u64(), "the best is at an epoch's end: {all:?}");
    assert_eq!((chosen["epoch"].as_u64(), auc(chosen)), (best["epoch"].as_u64(), best["value"].as_f64().unwrap()));
    let text = "eval {run} --data {data}/valid.parquet --json";
    let ran = din(text, &[("run", &run), ("data", data())]).expect(0);
    let evaluated: Value = serde_json::from_str(&ran.out).unwrap();
    let metrics = evaluated["metrics"].as_array().unwrap();
    assert!(metrics.iter().any(|metric| metric["name"] == "auc(click)" && metric["value"] == best["value"]));
}

#[test]
fn a_run_killed_between_them_and_resumed_equals_the_uninterrupted_one() {
    stopped_by(&small(), "-KILL", None, "--evaluate-every 4");
}

#[test]
fn they_need_validation_data() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let line = "train {model} --train {data}/train.parquet --out {run} --evaluate-every 5";
    din(line, &[("model", &small()), ("data", data()), ("run", &run)])
        .expect(1)
        .says("--evaluate-every: there are no validation data to evaluate")
        .says("--valid FILE");
    assert!(!run.exists());
}
