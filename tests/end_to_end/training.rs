//! Training: what a run holds, and that its bits depend on what they may depend on alone.

use crate::support::*;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn lines(run: &Path) -> String {
    fs::read_to_string(run.join("metrics.jsonl")).unwrap()
}

#[test]
fn a_run_holds_spec_program_metrics_and_checkpoints() {
    let run = trained();
    assert_eq!(names(run), ["best.json", "checkpoints", "metrics.jsonl", "program.bin", "run.json", "spec"]);
    assert_eq!(fs::read_to_string(run.join("spec/small.din")).unwrap(), fs::read_to_string(small()).unwrap());
    let record = json(&run.join("run.json"));
    assert_eq!((record["train"]["rows"].as_u64(), record["valid"]["rows"].as_u64()), (Some(3200), Some(400)));
    let lines: Vec<serde_json::Value> = lines(run).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    // 3200 rows in batches of 256: 12.5 steps.
    assert_eq!((lines[0]["step"].as_u64(), lines[1]["step"].as_u64()), (Some(13), Some(26)));
    assert!(lines[1]["train_loss"].as_f64() < lines[0]["train_loss"].as_f64());
    let best = json(&run.join("best.json"));
    let aucs: Vec<f64> = lines.iter().map(|l| l["valid"]["auc(click)"].as_f64().unwrap()).collect();
    assert_eq!(best["value"].as_f64().unwrap(), aucs.iter().copied().fold(0.0, f64::max));
    let files = &hashes(run).pop().unwrap().1;
    for file in ["dense.safetensors", "table.good.safetensors", "table.cate.safetensors"] {
        assert_eq!(files[file].as_str().unwrap().len(), 64);
    }
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    train(&one, "--threads 1").expect(0);
    train(&two, "--threads 2").expect(0);
    assert_eq!(hashes(&one), hashes(&two));
    assert_eq!(lines(&one), lines(&two));
    assert_eq!(hashes(&one), hashes(trained()));
}

#[test]
fn a_profile_shows_steps_and_kernels_and_changes_no_bits() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let shown = train(&run, "--threads 2 --profile").expect(0).out;
    assert_eq!(hashes(&run), hashes(trained()));
    // Two epochs of 12.5 batches of 256.
    assert!(shown.contains("26 steps, 6400 samples, 2 threads"), "{shown}");
    assert!(shown.contains("matmul"), "{shown}");
    let trace = json(&run.join("trace.json"));
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().all(|e| e["ph"] == "X" && e["dur"].as_f64().unwrap() >= 0.0));
    for thread in [1, 2] {
        let ends: Vec<(f64, f64)> = events
            .iter()
            .filter(|e| e["tid"] == thread)
            .map(|e| (e["ts"].as_f64().unwrap(), e["ts"].as_f64().unwrap() + e["dur"].as_f64().unwrap()))
            .collect();
        // What one thread does, it does one after the other (times are rounded to nanoseconds).
        assert!(ends.windows(2).all(|w| w[0].1 <= w[1].0 + 2e-3), "thread {thread}");
    }
    assert!(events.iter().any(|e| e["cat"] == "train"));
}

#[test]
fn a_lower_isa_level_can_be_forced_and_is_recorded() {
    let folder = TempDir::new().unwrap();
    let (run, again) = (folder.path().join("run"), folder.path().join("again"));
    train(&run, "--isa v2").expect(0);
    train(&again, "--isa v2 --threads 1").expect(0);
    assert_eq!(hashes(&run), hashes(&again));
    assert_eq!(json(&run.join("run.json"))["backend"], "cpu v2");
    // Other roundings, the same model.
    let auc = |run: &Path| json(&run.join("best.json"))["value"].as_f64().unwrap();
    assert!((auc(&run) - auc(trained())).abs() < 0.01, "{} {}", auc(&run), auc(trained()));
}

#[test]
fn another_seed_gives_other_bits() {
    let folder = TempDir::new().unwrap();
    let other = folder.path().join("other");
    train(&other, "--seed 5").expect(0);
    assert_ne!(hashes(&other), hashes(trained()));
}

#[test]
fn a_run_stopped_after_an_epoch_and_resumed_equals_the_uninterrupted_one() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, "--epochs 1").expect(0);
    assert_eq!(lines(&run).lines().count(), 1);
    // Without naming the data again: the run knows them.
    din("train {model} --out {run} --resume --epochs 2 --threads 1", &[("model", &small()), ("run", &run)]).expect(0);
    assert_eq!(hashes(&run), hashes(trained()));
    assert_eq!(lines(&run), lines(trained()));
    assert_eq!(fs::read(run.join("best.json")).unwrap(), fs::read(trained().join("best.json")).unwrap());
}

/// Stops a run inside its second epoch or a later one by a signal, resumes it to that epoch's end,
/// and compares it with a run that was never stopped; all with `more` arguments.
pub fn stopped_by(model: &Path, signal: &str, code: Option<i32>, more: &str) {
    let folder = TempDir::new().unwrap();
    let (run, copy) = (folder.path().join("run"), folder.path().join("copy"));
    train_model(model, &run, &format!("--epochs 1 {more}")).expect(0);
    let checkpoints = run.join("checkpoints");
    // A signal that whoever runs the tests ignores would stay ignored.
    let mut child = std::process::Command::new("env")
        .arg("--default-signal")
        .arg(din_path())
        .args(["train", model.to_str().unwrap(), "--out", run.to_str().unwrap()])
        .args(["--resume", "--epochs", "400", "--checkpoint-every", "5"])
        .args(more.split_whitespace())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    while names(&checkpoints).iter().all(|name| name.as_str() <= "step-0000000013") {
        assert!(begun.elapsed().as_secs() < 120, "no checkpoint came");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let signalled = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(child.wait().unwrap().code(), code);
    let whole = names(&checkpoints).into_iter().rfind(|name| name.starts_with("step-")).unwrap();
    let manifest = json(&checkpoints.join(whole).join("manifest.json"));
    let epochs = manifest["position"]["epoch"].as_u64().unwrap() + 1;
    din(
        &format!("train {{model}} --out {{run}} --resume --epochs {epochs} {more}"),
        &[("model", model), ("run", &run)],
    )
    .expect(0);
    train_model(model, &copy, &format!("--epochs {epochs} {more}")).expect(0);
    assert_eq!(hashes(&run).last(), hashes(&copy).last());
    assert_eq!(lines(&run), lines(&copy));
    assert!(names(&checkpoints).iter().all(|name| name.starts_with("step-")), "{:?}", names(&checkpoints));
}

#[test]
fn a_run_stopped_by_ctrl_c_and_resumed_equals_the_uninterrupted_one() {
    stopped_by(&small(), "-INT", Some(130), "");
}

#[test]
fn a_run_killed_and_resumed_equals_the_uninterrupted_one() {
    stopped_by(&small(), "-KILL", None, "");
}

/// The files of a run and of its checkpoints, with their contents.
fn contents(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = ["run.json", "program.bin", "metrics.jsonl", "best.json"]
        .map(|name| (name.to_string(), fs::read(run.join(name)).unwrap()))
        .into();
    for step in names(&run.join("checkpoints")) {
        for name in names(&run.join("checkpoints").join(&step)) {
            let bytes = fs::read(run.join("checkpoints").join(&step).join(&name)).unwrap();
            files.push((format!("{step}/{name}"), bytes));
        }
    }
    files
}

#[test]
fn a_stop_after_the_last_checkpoint_and_before_best_is_made_good_on_resume() {
    let folder = TempDir::new().unwrap();
    let (first, run) = (folder.path().join("first"), folder.path().join("run"));
    train(&first, "--epochs 1").expect(0);
    copy_folder(trained(), &run);
    // As after a kill behind the last epoch's checkpoint: the other files are still those of the
    // epoch before.
    for name in ["metrics.jsonl", "best.json"] {
        fs::copy(first.join(name), run.join(name)).unwrap();
    }
    for step in names(&first.join("checkpoints")) {
        copy_folder(&first.join("checkpoints").join(&step), &run.join("checkpoints").join(&step));
    }
    fs::write(run.join(".best.json.1-0.tmp"), "{").unwrap();
    fs::write(run.join(".metrics.jsonl.1-0.tmp"), "").unwrap();
    fs::write(run.join(".trace.json.1-0.tmp"), "").unwrap();
    fs::create_dir(run.join("checkpoints/.step-0000000026.1.tmp")).unwrap();
    din("train {model} --out {run} --resume", &[("model", &small()), ("run", &run)]).expect(0);
    assert_eq!(json(&run.join("best.json"))["epoch"], 2, "the log no longer makes the second epoch the best");
    assert_eq!(names(&run), names(trained()));
    assert_eq!(contents(&run), contents(trained()));
}

#[test]
fn only_whole_checkpoints_under_their_own_names_are_resumed_from() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, "--epochs 1").expect(0);
    let checkpoints = run.join("checkpoints");
    let step = names(&checkpoints).pop().unwrap();
    // A copy that someone put aside, and a file of theirs, are neither taken for the newest nor in
    // the way.
    copy_folder(&checkpoints.join(&step), &checkpoints.join("step-old"));
    fs::write(checkpoints.join(".step-x"), "mine").unwrap();
    let resume = || din("train {model} --out {run} --resume", &[("model", &small()), ("run", &run)]);
    resume().expect(0);
    assert_eq!(lines(&run), lines(trained()));
    assert!(checkpoints.join("step-old/manifest.json").is_file() && checkpoints.join(".step-x").is_file());
    let last = hashes(trained()).pop().unwrap().0;
    assert!(names(&checkpoints).contains(&last), "{:?}", names(&checkpoints));
    // A checkpoint whose manifest cannot be seen is not passed over for an older one.
    let manifest = checkpoints.join(&last).join("manifest.json");
    fs::remove_file(&manifest).unwrap();
    resume().expect(1).says(&format!("{last}/manifest.json: expected the manifest of a checkpoint, found none"));
    std::os::unix::fs::symlink("manifest.json", &manifest).unwrap();
    resume().expect(3).says("manifest.json: cannot look for");
}

#[test]
fn a_run_directory_has_one_writer_and_any_number_of_readers() {
    let folder = TempDir::new().unwrap();
    let (run, empty) = (folder.path().join("run"), folder.path().join("empty"));
    copy_folder(trained(), &run);
    fs::create_dir(&empty).unwrap();
    let held = [&run, &empty].map(|path| fs::File::open(path).unwrap());
    for lock in &held {
        lock.lock().unwrap();
    }
    let resume = || din("train {model} --out {run} --resume", &[("model", &small()), ("run", &run)]);
    resume().expect(1).says("another process is training into this folder");
    train(&empty, "").expect(1).says("another process is training into this folder");
    assert!(empty.is_dir() && names(&empty).is_empty());
    din("eval {run} --data {data}/test.parquet", &[("run", &run), ("data", data())]).expect(0);
    assert_eq!(contents(&run), contents(trained()));
    drop(held);
    resume().expect(0);
    train(&empty, "").expect(0);
    assert_eq!(contents(&empty), contents(trained()));
}

#[test]
fn what_a_kill_left_of_a_run_directory_in_the_making_is_replaced() {
    let folder = TempDir::new().unwrap();
    // The order in which a run directory is made; a kill may come behind each.
    let made = [".run.json.making.tmp", "checkpoints", "spec", "program.bin", "metrics.jsonl", ".run.json.7-0.tmp"];
    for count in 0..=made.len() {
        let run = folder.path().join(count.to_string());
        fs::create_dir(&run).unwrap();
        for name in &made[..count] {
            match *name {
                "checkpoints" | "spec" => fs::create_dir(run.join(name)).unwrap(),
                _ => fs::write(run.join(name), "half").unwrap(),
            }
        }
        train(&run, "--threads 1").expect(0);
        assert_eq!(names(&run), names(trained()));
        assert_eq!(contents(&run), contents(trained()));
    }
}

#[test]
fn resuming_with_other_settings_is_refused() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, "--epochs 1").expect(0);
    let again = |more: &str| {
        din(&format!("train {{model}} --out {{run}} --resume {more}"), &[("model", &small()), ("run", &run)])
    };
    again("--seed 77").expect(1).says("the run began with seed 0, not 77");
    again("--batch 8").expect(1).says("the run began with batch 256, not 8");
    again("--leaves 8").expect(1).says("the run began with leaves 16, not 8");
    for leaves in ["0", "12", "2048", "two"] {
        again(&format!("--leaves {leaves}")).expect(2).says("expected a power of two from 1 to 1024");
    }
    again("--set lr=0.5").expect(1).says("another spec or other --set values");
    let other = data().join("test.parquet");
    again(&format!("--train {}", other.display())).expect(1).says("not those that the run began with");
}

#[test]
fn leaves_are_recorded_like_the_batch() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, "--epochs 1 --leaves 4").expect(0);
    let last = run.join("checkpoints").join(names(&run.join("checkpoints")).pop().unwrap());
    for file in [run.join("run.json"), last.join("manifest.json")] {
        let found = json(&file);
        assert_eq!((found["format"].as_u64(), found["leaves"].as_u64()), (Some(4), Some(4)), "{}", file.display());
        assert_eq!(found["ranks"].as_u64(), Some(1));
    }
    assert!(din("info {run}", &[("run", &run)]).expect(0).out.contains(", 4 leaves, on "));
    din("train {model} --out {run} --resume --epochs 2", &[("model", &small()), ("run", &run)]).expect(0);
}

#[test]
fn evaluation_and_prediction_agree_with_the_training_run() {
    let run = trained();
    let eval = din("eval {run} --data {data}/valid.parquet --json", &[("run", run), ("data", data())]).expect(0);
    assert!(eval.err.contains("the best checkpoint was chosen on this file"), "{}", eval.err);
    let report: serde_json::Value = serde_json::from_str(&eval.out).unwrap();
    assert_eq!(report["metrics"][0]["value"], json(&run.join("best.json"))["value"]);
    let trained_on = din("eval {run} --data {data}/train.parquet", &[("run", run), ("data", data())]).expect(0);
    assert!(trained_on.err.contains("trained on this file"));

    let folder = TempDir::new().unwrap();
    let out = folder.path().join("p.csv");
    let line = "predict {run} --data {data}/valid.parquet --out {out}";
    din(line, &[("run", run), ("data", data()), ("out", &out)]).expect(0);
    din(line, &[("run", run), ("data", data()), ("out", &out)]).expect(1).says("already exists");
    let text = fs::read_to_string(&out).unwrap();
    let mut rows = text.lines();
    assert_eq!(rows.next(), Some("user_id,click,click_probability"));
    let rows: Vec<(bool, f64)> = rows
        .map(|row| {
            let fields: Vec<&str> = row.split(',').collect();
            (fields[1].parse::<f64>().unwrap() == 1.0, fields[2].parse().unwrap())
        })
        .collect();
    assert_eq!(rows.len(), 400);
    // AUC by definition, over all pairs of the printed probabilities.
    let (mut pairs, mut won) = (0.0, 0.0);
    for (_, p) in rows.iter().filter(|r| r.0) {
        for (_, q) in rows.iter().filter(|r| !r.0) {
            pairs += 1.0;
            won += if p > q {
                1.0
            } else if p == q {
                0.5
            } else {
                0.0
            };
        }
    }
    let auc = report["metrics"][0]["value"].as_f64().unwrap();
    assert!((won / pairs - auc).abs() < 1e-6, "{} {auc}", won / pairs);
    let parquet = folder.path().join("p.parquet");
    din(line, &[("run", run), ("data", data()), ("out", &parquet)]).expect(0);
    assert_eq!(&fs::read(&parquet).unwrap()[..4], b"PAR1");
    assert_eq!(names(folder.path()), ["p.csv", "p.parquet"]);
}

#[test]
fn prediction_needs_no_labels_and_an_unknown_id_reads_the_oov_row() {
    let folder = TempDir::new().unwrap();
    let (file, out) = (folder.path().join("today.csv"), folder.path().join("p.csv"));
    let head = "user_id,gender,age_level,good_id,cate_id,visited_good_ids,visited_cate_ids";
    // Two goods that no training row has; nothing visited.
    fs::write(&file, format!("{head}\n7,0,3,-5,2,,\n8,0,3,-6,2,,\n9,1,3,-6,2,-9|-8,2|2\n")).unwrap();
    let line = "predict {run} --data {file} --out {out}";
    din(line, &[("run", trained()), ("file", &file), ("out", &out)]).expect(0);
    let text = fs::read_to_string(&out).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["user_id", "click_probability"]);
    assert_eq!((rows[1][0], rows[2][0], rows[3][0]), ("7", "8", "9"));
    assert_eq!(rows[1][1], rows[2][1], "both goods read the OOV row");
    assert_ne!(rows[2][1], rows[3][1]);
    din("eval {run} --data {file}", &[("run", trained()), ("file", &file)]).expect(1).says("\"click\"");
}

/// Checkpoints and evaluations make the OOV row anew. An optimizer that reduces over all rows of a
/// growing table must not see that, or it would matter when the run was looked at or stopped.
#[test]
fn looking_at_a_run_does_not_change_it() {
    let folder = TempDir::new().unwrap();
    let spec = folder.path().join("m.din");
    let text = fs::read_to_string(small()).unwrap();
    let (head, model) = text.split_once("model small").unwrap();
    let trust = "optimizer trust(lr) per tensor {\n    \
                 weight = weight - lr * grad * sqrt(sum(weight * weight)) / (sqrt(sum(grad * grad)) + 1e-6)\n}\n\n";
    let model = model.replace("optimizer adam(lr = lr)", "optimizer trust(lr = lr) with dense updates");
    let head = head.replace("use std.optimizer.adam\n", "");
    fs::write(&spec, format!("{head}{trust}model small{model}")).unwrap();
    let run = |name: &str, more: &str| {
        let out = folder.path().join(name);
        let line = format!("train {{spec}} --train {{data}}/train.parquet --out {{out}} --epochs 2 --threads 1 {more}");
        din(&line, &[("spec", &spec), ("data", data()), ("out", &out)]).expect(0);
        hashes(&out).pop().unwrap().1
    };
    let alone = run("alone", "");
    assert_eq!(run("checkpoints", "--checkpoint-every 3"), alone);
    assert_eq!(run("validated", &format!("--valid {}/valid.parquet", data().display())), alone);
}
