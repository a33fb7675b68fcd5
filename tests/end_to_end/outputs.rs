//! Where results go: none is lost in silence, and none lands on what it must not replace.

#![cfg(unix)]

use crate::support::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Runs with standard output on a device that is always full.
fn full(line: &str, paths: &[(&str, &Path)]) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" > /dev/full"]).arg(din_path()).stdin(fs::File::open(small()).unwrap());
    run(&mut command, line, paths)
}

#[test]
fn a_result_that_cannot_be_written_ends_with_3() {
    let paths: [(&str, &Path); 3] = [("run", trained()), ("data", data()), ("model", &small())];
    for line in [
        "eval {run} --data {data}/valid.parquet",
        "eval {run} --data {data}/valid.parquet --json -q",
        "info {run}",
        "fmt -",
        "emit {model} --stage graph",
        "check {model}",
    ] {
        full(line, &paths).expect(3).says("standard output: cannot write");
    }
}

#[test]
fn a_closed_pipe_ends_the_reading_alone() {
    let mut command = Command::new(din_path());
    command.args(["emit", "--stage", "graph"]).arg(small()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    ran(child.wait_with_output().unwrap()).expect(0);
}

#[test]
fn predictions_never_replace_the_data_they_are_of() {
    let folder = TempDir::new().unwrap();
    let (file, hard, soft) =
        (folder.path().join("a.parquet"), folder.path().join("b.parquet"), folder.path().join("c.parquet"));
    fs::copy(data().join("test.parquet"), &file).unwrap();
    fs::hard_link(&file, &hard).unwrap();
    symlink(&file, &soft).unwrap();
    let before = fs::read(&file).unwrap();
    for out in [&file, &hard, &soft] {
        let line = "predict {run} --data {file} --out {out} --force";
        din(line, &[("run", trained()), ("file", &file), ("out", out)]).expect(1).says("found the input");
        assert!(fs::read(&file).unwrap() == before);
    }
    assert_eq!(names(folder.path()), ["a.parquet", "b.parquet", "c.parquet"]);
}

#[test]
fn build_replaces_its_own_executables_and_else_what_force_names() {
    let folder = TempDir::new().unwrap();
    let (spec, out, pipe) = (folder.path().join("s.din"), folder.path().join("out"), folder.path().join("pipe"));
    fs::copy(small(), &spec).unwrap();
    let build =
        |out: &Path, more: &str| din(&format!("build {{spec}} -o {{out}} {more}"), &[("spec", &spec), ("out", out)]);
    fs::write(&out, "mine").unwrap();
    build(&out, "").expect(1).says("--force");
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    build(&out, "--force").expect(0);
    build(&out, "").expect(0);
    build(&spec, "--force").expect(1).says("found the input");
    assert_eq!(fs::read(&spec).unwrap(), fs::read(small()).unwrap());
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    build(&pipe, "--force").expect(1).says("found a pipe");
    build(Path::new("/dev/null"), "--force").expect(1).says("found a device");
    assert_eq!(names(folder.path()), ["out", "pipe", "s.din"]);
}

#[test]
fn build_honours_the_mask() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(din_path());
    run(&mut command, "build {spec} -o {out}", &[("spec", &small()), ("out", &out)]).expect(0);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn formatting_follows_a_link_and_keeps_the_mode() {
    let folder = TempDir::new().unwrap();
    let (file, link) = (folder.path().join("r.din"), folder.path().join("l.din"));
    fs::write(&file, fs::read_to_string(small()).unwrap().replace("edition 2026", "edition    2026")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("r.din", &link).unwrap();
    let owner = fs::metadata(&file).unwrap().uid();
    din("fmt {link}", &[("link", &link)]).expect(0);
    assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().contains("\nedition 2026\n"));
    let after = fs::metadata(&file).unwrap();
    assert_eq!((after.permissions().mode() & 0o777, after.uid()), (0o640, owner));
}

/// Plain descent on a number: the gradient of its weight is as large as the number, so that a large
/// step leaves 32 bits at once.
const DESCENT: &str = "edition 2026

use std.layer.linear
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.sgd

model m {
    features a { item: category   price: number }
    label click: binary
    hyper lr = 0.1

    embedding e [4] for a.item { init normal(1) }

    predict click ~ bernoulli(logit = linear(embed(a), 1))

    train {
        loss      cross_entropy(click)
        optimizer sgd(lr = lr)
        batch     4
        epochs    1
    }
    report auc(click)
}
";

#[test]
fn weights_that_diverge_in_the_last_step_are_not_kept() {
    let folder = TempDir::new().unwrap();
    let (spec, file, run) = (folder.path().join("m.din"), folder.path().join("a.csv"), folder.path().join("run"));
    fs::write(&spec, DESCENT).unwrap();
    fs::write(&file, "item,price,click\n1,1000,1\n2,2000,1\n3,3000,1\n").unwrap();
    let paths: [(&str, &Path); 3] = [("model", &spec), ("file", &file), ("run", &run)];
    let line = "train {model} --train {file} --out {run} --set";
    din(&format!("{line} lr=1e39"), &paths).expect(1).says("`lr` is too large");
    din(&format!("{line} lr=3e38"), &paths).expect(1).says("the training diverged: number ");
    assert_eq!(names(folder.path()), ["a.csv", "m.din"]);
    din(&format!("{line} lr=1e-9"), &paths).expect(0);
}

#[test]
fn a_signal_that_was_ignored_stays_ignored_and_a_hang_up_leaves_a_checkpoint() {
    let folder = TempDir::new().unwrap();
    let paths: [(&str, &Path); 2] = [("model", &small()), ("data", data())];
    let line =
        "train {model} --train {data}/train.parquet --epochs 100000 --batch 16 --checkpoint-every 5 -q --threads 1";
    for (before, stops) in [("trap '' HUP", "TERM"), (":", "HUP")] {
        let run = folder.path().join(stops);
        // The shell's own loop waits for the first checkpoint, then hangs up. What ignores that
        // goes on to a later checkpoint, and is ended then.
        let script = format!(
            "{before}; newest() {{ ls {0}/checkpoints 2>/dev/null | grep '^step' | tail -n 1; }}; \
             \"$0\" \"$@\" & p=$!; while [ -z \"$(newest)\" ]; do sleep 0.05; done; last=$(newest); kill -HUP $p; \
             if [ {stops} = TERM ]; then while [ \"$(newest)\" = \"$last\" ]; do kill -0 $p || exit 99; sleep 0.05; done; \
             kill -TERM $p; fi; wait $p",
            run.display()
        );
        let mut command = Command::new("env");
        command.args(["--default-signal", "sh", "-c", &script]).arg(din_path());
        crate::support::run(&mut command, &format!("{line} --out {}", run.display()), &paths).expect(130);
        assert!(!hashes(&run).is_empty());
    }
}

#[test]
fn a_run_is_not_made_of_a_file() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("mine");
    fs::write(&out, "text").unwrap();
    train(&out, "").expect(1).says("mine: expected a new folder, found a file");
    assert_eq!(fs::read_to_string(&out).unwrap(), "text");
}
