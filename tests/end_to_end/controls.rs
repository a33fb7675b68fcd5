//! Dropout, schedules, limits of gradients and early stopping in whole runs.

use crate::support::*;
use crate::training::stopped_by;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The small model with everything that depends on step, epoch or seed; `settings` go into `train`.
fn controlled(folder: &Path, settings: &str) -> PathBuf {
    let text = fs::read_to_string(small()).unwrap();
    let changed = text
        .replace("use std.regularizer.adaptive\n", "use std.regularizer.adaptive\nuse std.schedule.{cosine, warmup}\n")
        .replace("visited.cate_id\n", "visited.cate_id { dropout 0.3 }\n")
        .replace("[16], dice)", "[16], dice, dropout_rate = 0.2)")
        .replace("adam(lr = lr)", "adam(lr = lr * warmup(step, 10) * 0.9 ^ (epoch - 1))\n        clip norm 0.5")
        .replace("epochs 2", &format!("epochs 2\n        {settings}"))
        .replace("use std.schedule.{cosine, warmup}", "use std.schedule.warmup");
    let path = folder.join("controlled.din");
    fs::write(&path, changed).unwrap();
    path
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let model = controlled(folder.path(), "");
    let [one, two, three] = ["one", "two", "three"].map(|name| folder.path().join(name));
    train_model(&model, &one, "--threads 1").expect(0);
    train_model(&model, &two, "--threads 2").expect(0);
    assert_eq!(hashes(&one), hashes(&two));
    train_model(&model, &three, "--threads 2 --seed 4").expect(0);
    assert_ne!(hashes(&one), hashes(&three));
}

#[test]
fn a_run_killed_and_resumed_equals_the_uninterrupted_one() {
    let folder = TempDir::new().unwrap();
    stopped_by(&controlled(folder.path(), ""), "-KILL", None, "");
}

#[test]
fn patience_ends_a_run_and_a_resumed_one() {
    let folder = TempDir::new().unwrap();
    // With a rate of 0 only Dice's statistics change, so that the metric soon stands still.
    let model = controlled(folder.path(), "patience 2");
    let text = fs::read_to_string(&model).unwrap().replace("lr = lr *", "lr = 0 * lr *");
    fs::write(&model, text).unwrap();
    let (run, parts) = (folder.path().join("run"), folder.path().join("parts"));
    let ran = train_model(&model, &run, "--epochs 9").expect(0);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.contains("stopped early: auc(click) got no better in 2 epochs"), "{said}");
    let lines = |run: &Path| fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    // It ends two epochs after the first of the best ones.
    let auc: Vec<f64> = lines(&run)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["valid"]["auc(click)"].as_f64().unwrap())
        .collect();
    let greatest = auc.iter().copied().fold(0.0, f64::max);
    let best = 1 + auc.iter().position(|&x| x == greatest).unwrap();
    assert_eq!((auc.len(), json(&run.join("best.json"))["epoch"].as_u64()), (best + 2, Some(best as u64)));
    assert!(auc.len() < 9);
    // Stopped after two epochs and resumed, it ends at the same one; resumed again, it does
    // nothing.
    train_model(&model, &parts, "--epochs 2").expect(0);
    for _ in 0..2 {
        din("train {model} --out {run} --resume --epochs 9", &[("model", &model), ("run", &parts)]).expect(0);
        assert_eq!(lines(&parts), lines(&run));
    }
    assert_eq!(hashes(&parts).last(), hashes(&run).last());
}

#[test]
fn patience_needs_validation_data() {
    let folder = TempDir::new().unwrap();
    let model = controlled(folder.path(), "patience 2");
    let (run, line) = (folder.path().join("run"), "train {model} --train {data}/train.parquet --out {run}");
    din(line, &[("model", &model), ("data", data()), ("run", &run)])
        .expect(1)
        .says("the spec has `patience`, but there are no validation data to stop early by")
        .says("--valid FILE");
    assert!(!run.exists());
}
