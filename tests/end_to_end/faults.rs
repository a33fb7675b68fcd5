//! Wrong input: a located error, exit code 1, and nothing written.

use crate::support::*;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Columns and a row of CSV that the small model reads.
const HEAD: &str = "user_id,gender,age_level,good_id,cate_id,visited_good_ids,visited_cate_ids,click";
const GOOD: &str = "1,0,3,100,7,5|6,1|2,1";

/// Trains on a CSV file with the given text, valid data being good; asserts exit code 1 and that no
/// run directory is left.
#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    refused_as("train.csv", text.as_bytes(), parts);
}

#[track_caller]
fn refused_as(name: &str, bytes: &[u8], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, bytes).unwrap();
    let out = folder.path().join("deep/run");
    let line = "train {model} --train {file} --valid {data}/valid.parquet --out {out}";
    let ran = din(line, &[("model", &small()), ("file", &file), ("data", data()), ("out", &out)]).expect(1);
    for part in parts {
        assert!(ran.err.contains(part), "expected `{part}` in:\n{}", ran.err);
    }
    assert!(!out.exists(), "a run directory is left");
}

fn csv(rows: &[&str]) -> String {
    format!("{HEAD}\n{}\n", rows.join("\n"))
}

#[test]
fn the_good_row_is_good() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("train.csv");
    fs::write(&file, csv(&[GOOD, "2,1,3,101,7,,,0"])).unwrap();
    let out = folder.path().join("run");
    let line = "train {model} --train {file} --valid {data}/valid.parquet --out {out} --epochs 1";
    din(line, &[("model", &small()), ("file", &file), ("data", data()), ("out", &out)]).expect(0);
}

/// Wherever the process runs out of file descriptors, a system error is reported and no file is
/// blamed.
#[test]
fn too_few_file_descriptors_are_the_machines_fault() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.csv");
    let mut said = String::new();
    for limit in 4..64 {
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut command = std::process::Command::new("sh");
        let line = "predict {run} --data {data}/test.parquet --out {out} --threads 1";
        let paths = [("run", trained()), ("data", data()), ("out", &out)];
        let ran = run(command.arg("-c").arg(script).arg(din_path()), line, &paths);
        if ran.code == 0 {
            let data = "test.parquet: cannot open the file: Too many open files";
            assert!(said.contains(data), "expected `{data}` in:\n{said}");
            return;
        }
        said += &ran.expect(3).err;
        assert!(!said.contains("help: the file"), "{said}");
    }
    panic!("64 file descriptors are not enough:\n{said}");
}

#[test]
fn a_missing_column() {
    let text = csv(&[GOOD]).replace("cate_id,visited_good", "category,visited_good");
    refused(&text, &["train.csv", "\"cate_id\"", "small.din:"]);
}

#[test]
fn a_wrong_type() {
    refused(&csv(&[GOOD, "1,0,3,shoe,7,5|6,1|2,1"]), &["train.csv: line 3, column \"good_id\"", "shoe"]);
}

#[test]
fn lists_of_unequal_length() {
    refused(&csv(&[GOOD, "1,0,3,100,7,5|6|7,1|2,1"]), &["train.csv: line 3", "visited"]);
}

#[test]
fn a_label_that_is_not_a_number() {
    refused(
        &csv(&[GOOD, "1,0,3,100,7,5|6,1|2,NaN"]),
        &["train.csv: line 3, column \"click\"", "expected 0 or 1", "NaN"],
    );
}

#[test]
fn an_id_out_of_range() {
    refused(&csv(&[GOOD, "1,2,3,100,7,5|6,1|2,1"]), &["train.csv: line 3, column \"gender\"", "small.din:"]);
}

#[test]
fn a_fault_after_many_good_rows_leaves_nothing_either() {
    let mut rows = vec![GOOD; 5000];
    rows.push("1,0,3,100,7,5|6,1|2,2");
    refused(&csv(&rows), &["train.csv: line 5002, column \"click\""]);
}

#[test]
fn a_truncated_parquet_file() {
    let whole = fs::read(data().join("train.parquet")).unwrap();
    refused_as("train.parquet", &whole[..whole.len() / 2], &["train.parquet", "expected"]);
    refused_as("train.parquet", &whole[..whole.len() - 1], &["train.parquet", "expected"]);
}

#[test]
fn empty_files() {
    refused_as("train.parquet", b"", &["train.parquet"]);
    refused_as("train.csv", b"", &["train.csv"]);
    refused(&format!("{HEAD}\n"), &["train.csv"]);
}

#[test]
fn no_such_file_and_a_file_that_is_no_data() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let train = |file: &str| {
        let line = format!("train {{model}} --train {file} --valid {{data}}/valid.parquet --out {{out}}");
        din(&line, &[("model", &small()), ("data", data()), ("out", &out)])
    };
    train("nowhere.parquet").expect(1).says("nowhere.parquet");
    train(small().to_str().unwrap()).expect(1).says("small.din");
    assert!(!out.exists());
}

#[test]
fn validation_on_the_training_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let line = "train {model} --train {data}/train.parquet --valid {data}/train.parquet --out {out}";
    din(line, &[("model", &small()), ("data", data()), ("out", &out)]).expect(1).says("the same file in both");
    // By another path too: a hard link has no path in common with it.
    let link = folder.path().join("valid.parquet");
    fs::hard_link(data().join("train.parquet"), &link).unwrap();
    let line = "train {model} --train {data}/train.parquet --valid {link} --out {out}";
    let paths = [("model", small()), ("data", data().into()), ("link", link.clone()), ("out", out.clone())];
    din(line, &paths.each_ref().map(|(name, path)| (*name, path.as_path()))).expect(1).says("the same file in both");
    assert!(!out.exists());
    let eval = din("eval {run} --data {link}", &[("run", trained()), ("link", &link)]).expect(0);
    assert!(eval.err.contains("trained on this file"), "{}", eval.err);
}

#[test]
fn what_a_folder_holds_besides_data_is_reported() {
    let folder = TempDir::new().unwrap();
    fs::copy(data().join("test.parquet"), folder.path().join("a.parquet")).unwrap();
    fs::write(folder.path().join("README.txt"), "Clicks of May.\n").unwrap();
    let paths = [("run", trained()), ("folder", folder.path())];
    let eval = din("eval {run} --data {folder}", &paths).expect(0);
    assert!(eval.err.contains("not read") && eval.err.contains("README.txt"), "{}", eval.err);
    fs::copy(data().join("test.parquet"), folder.path().join("000001_0")).unwrap();
    din("eval {run} --data {folder}", &paths).expect(1).says("000001_0");
}

#[test]
fn a_run_is_never_overwritten() {
    let before = hashes(trained());
    train(trained(), "").expect(1).says("expected a new folder, found one with a run");
    assert_eq!(hashes(trained()), before);
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    train(folder.path(), "").expect(1).says("expected a new folder, found one with files");
    assert_eq!(names(folder.path()), ["notes.txt"]);
}

#[test]
fn an_altered_checkpoint_is_refused() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, "--epochs 1").expect(0);
    let file = run.join("checkpoints").join(&hashes(&run)[0].0).join("dense.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let ran = din("eval {run} --data {data}/test.parquet", &[("run", &run), ("data", data())]);
    ran.expect(1).says("dense.safetensors: the file was altered");
}

#[test]
fn predictions_of_bad_data_leave_no_file() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bad.csv");
    let mut rows = vec![GOOD; 3000];
    rows.push("1,0,3,x,7,5|6,1|2,1");
    fs::write(&file, csv(&rows)).unwrap();
    for name in ["p.csv", "p.parquet"] {
        let out = folder.path().join(name);
        let line = "predict {run} --data {file} --out {out}";
        din(line, &[("run", trained()), ("file", &file), ("out", &out)]).expect(1).says("line 3002");
    }
    let line = "predict {run} --data {file} --out scores.txt";
    din(line, &[("run", trained()), ("file", &file)]).expect(1).says(".parquet or .csv");
    assert_eq!(names(folder.path()), ["bad.csv"]);
}

#[test]
fn a_wrong_spec_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let spec = folder.path().join("wrong.din");
    fs::write(&spec, fs::read_to_string(small()).unwrap().replace("embed(visited)", "embed(visits)")).unwrap();
    let out = folder.path().join("out");
    let paths: [(&str, &Path); 3] = [("spec", &spec), ("out", &out), ("data", data())];
    for line in [
        "check {spec}",
        "build {spec} -o {out}",
        "train {spec} --train {data}/train.parquet --out {out}",
        "info {spec}",
        "emit {spec}",
    ] {
        din(line, &paths).expect(1).says("visits");
    }
    assert_eq!(names(folder.path()), ["wrong.din"]);
}

#[test]
fn a_runs_list_separator_is_kept() {
    let folder = TempDir::new().unwrap();
    let (file, run) = (folder.path().join("log.csv"), folder.path().join("run"));
    let rows = [GOOD, "2,1,3,101,7,,,0", "3,1,4,100,7,6|5,2|1,0"];
    fs::write(&file, csv(&rows).replace('|', "^")).unwrap();
    let paths = [("model", small()), ("file", file), ("run", run)];
    let paths = paths.each_ref().map(|(name, path)| (*name, path.as_path()));
    din("train {model} --train {file} --out {run} --epochs 1 --list-separator ^", &paths).expect(0);
    let shown = din("eval {run} --data {file} --list-separator ^ -q", &paths).expect(0).out;
    assert_eq!(din("eval {run} --data {file} -q", &paths).expect(0).out, shown);
    let line = "train {model} --out {run} --resume --epochs 2 --list-separator ;";
    din(line, &paths).expect(1).says("the run began with list separator `^`, not `;`");
}
