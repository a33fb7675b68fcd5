//! Training on ranks that goes wrong ends in time, with one message and a valid checkpoint, and
//! goes on with another number of ranks to the bits of an undisturbed run.

use crate::same::assert_same;
use crate::scene::{Running, SHARDED, Scene, TRAIN};
use crate::support::{DIN, Ended, Mpi, ended, host, signal};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// Steps of an epoch.
const STEPS: u64 = 16;

/// More than any test takes: what is disturbed does not end by itself.
fn line() -> String {
    format!("{TRAIN} --out {{folder}}/run --epochs 1000 --checkpoint-every 5 --rank-timeout 3 {SHARDED}")
}

/// The step of the last checkpoint.
fn step(scene: &Scene) -> u64 {
    scene.checkpoints("run").pop().unwrap().trim_start_matches("step-").parse().unwrap()
}

/// Goes on for one epoch or two, with another number of ranks; an undisturbed process comes to the
/// same.
#[track_caller]
fn goes_on(scene: &Scene, ranks: usize) {
    let epochs = step(scene) / STEPS + 2;
    let line = format!("{TRAIN} --epochs {epochs} --out");
    let resume = format!("{line} {{folder}}/run --resume {SHARDED}");
    let resumed = match ranks {
        1 => scene.alone(&resume),
        _ => scene.on(Mpi::Open, ranks, &resume),
    };
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let undisturbed = scene.alone(&format!("{line} {{folder}}/one"));
    assert_eq!(undisturbed.code, Some(0), "{undisturbed:?}");
    assert_eq!(step(scene), epochs * STEPS);
    assert_same(&scene.at("one"), &scene.at("run"));
}

/// Training on three ranks that has written two checkpoints; with options of the launcher.
fn begun(scene: &Scene, mpi: Mpi, options: &[&str]) -> Running {
    let running = scene.start(mpi, 3, options, &line());
    scene.wait_for_checkpoints("run", 2);
    running
}

#[test]
fn a_killed_rank_ends_training_at_once() {
    for (mpi, victim, ranks) in [(Mpi::Open, 0, 4), (Mpi::Mpich, 2, 2)] {
        let scene = Scene::new();
        let mut running = begun(&scene, mpi, &[]);
        let process = running.process(victim).unwrap();
        signal("-KILL", process);
        let ended = running.ended_within(Duration::from_secs(4));
        let message = format!("error: rank {victim} on {}: its process has ended", host());
        assert!(ended.errors().len() == 1 && ended.errors()[0].starts_with(&message), "{ended:?}");
        assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
        scene.last_is_valid("run");
        goes_on(&scene, ranks);
    }
}

#[test]
fn a_stopped_rank_ends_training_within_the_timeout() {
    for (mpi, victim, ranks) in [(Mpi::Open, 1, 2), (Mpi::Mpich, 0, 1)] {
        let scene = Scene::new();
        let mut running = begun(&scene, mpi, &[]);
        let process = running.process(victim).unwrap();
        signal("-STOP", process);
        // No rank needs its time to the full; the launcher needs a moment to end.
        let ended = running.ended_within(Duration::from_secs(5));
        let message = format!("error: rank {victim} on {}: nothing came from it for ", host());
        assert!(ended.errors().len() == 1 && ended.errors()[0].starts_with(&message), "{ended:?}");
        assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
        scene.last_is_valid("run");
        goes_on(&scene, ranks);
    }
}

/// The kinds of signal that ask ranks to stop: from Ctrl-C in the terminal of the launcher, and
/// from a batch system.
#[test]
fn a_signal_to_the_launcher_stops_all_ranks_behind_one_step() {
    for (mpi, name, ranks) in
        [(Mpi::Open, "-INT", 2), (Mpi::Open, "-TERM", 1), (Mpi::Mpich, "-INT", 4), (Mpi::Mpich, "-TERM", 2)]
    {
        let scene = Scene::new();
        // Open MPI's gives the ranks a second by default, and waits for it to pass.
        let patient = ["--mca", "odls_base_sigkill_timeout", "4"];
        let options = if matches!(mpi, Mpi::Open) { &patient[..] } else { &[] };
        let running = begun(&scene, mpi, options);
        signal(name, running.launcher());
        let ended = running.ended_within(Duration::from_secs(40));
        let message = format!("stopped at step {}; a checkpoint holds the place", step(&scene));
        assert_eq!(ended.err.matches(&message).count(), 1, "{mpi:?} {name} {ended:?}");
        assert!(ended.errors().is_empty(), "{mpi:?} {name} {ended:?}");
        // Of the launchers, Open MPI's has a code of its own for it, and MPICH's now and then loses
        // the one of the ranks.
        let codes = if matches!(mpi, Mpi::Open) { &[1][..] } else { &[130, 0] };
        assert!(ended.code.is_some_and(|code| codes.contains(&code)), "{mpi:?} {name} {ended:?}");
        scene.last_is_valid("run");
        goes_on(&scene, ranks);
    }
}

#[test]
fn a_signal_to_one_rank_stops_all() {
    for (mpi, victim, ranks) in [(Mpi::Open, 1, 1), (Mpi::Mpich, 0, 4)] {
        let scene = Scene::new();
        let mut running = begun(&scene, mpi, &[]);
        let process = running.process(victim).unwrap();
        signal("-TERM", process);
        let ended = running.ended_within(Duration::from_secs(20));
        let message = format!("stopped at step {}; a checkpoint holds the place", step(&scene));
        assert_eq!(ended.err.matches(&message).count(), 1, "{mpi:?} {ended:?}");
        assert_eq!((ended.code, ended.errors().len()), (Some(130), 0), "{mpi:?} {ended:?}");
        scene.last_is_valid("run");
        goes_on(&scene, ranks);
    }
}

/// Rows of a CSV file for the small model.
pub fn rows(count: u32) -> String {
    let row = |k: u32| {
        let (good, cate, click) = (100 + k % 30, k % 7, k % 3 / 2);
        format!("{},{},{},{good},{cate},{}|{},1|2,{click}\n", k % 20, k % 2, k % 5, k % 9, k % 4)
    };
    "user_id,gender,age_level,good_id,cate_id,visited_good_ids,visited_cate_ids,click\n".to_string()
        + &(0..count).map(row).collect::<String>()
}

#[test]
fn a_wrong_row_that_one_rank_reads_is_reported_once_with_its_place() {
    let scene = Scene::new();
    let train = scene.at("train");
    fs::create_dir(&train).unwrap();
    (0..6).for_each(|k| fs::write(train.join(format!("{k}.csv")), rows(400)).unwrap());
    let good = fs::read_to_string(train.join("4.csv")).unwrap();
    let bad: Vec<&str> = good.lines().collect();
    let bad = [&bad[..200], &["7,0,3,shoe,7,5|6,1|2,1"], &bad[201..]].concat().join("\n");
    fs::write(train.join("4.csv"), bad + "\n").unwrap();
    let lines = [
        "train {log}/small.din --train {folder}/train --valid {log}/valid.parquet --out {folder}/run --batch 64",
        "train {log}/small.din --train {log}/train --valid {folder}/train --out {folder}/run",
        "predict {folder}/trained --data {folder}/train --out {folder}/run.csv",
        "eval {folder}/trained --data {folder}/train",
    ];
    let trained = scene.alone("train {log}/small.din --train {log}/train --out {folder}/trained --epochs 1 -q");
    assert_eq!(trained.code, Some(0), "{trained:?}");
    for mpi in Mpi::BOTH {
        for line in lines {
            let mut command = mpi.run(3);
            command.arg(DIN).args(scene.words(line));
            let ended = ended(command.args(["--threads", "1", "--rank-timeout", "15"]));
            let errors = ended.errors();
            assert_eq!((ended.code, errors.len()), (Some(1), 1), "{mpi:?} {line}: {ended:?}");
            assert!(errors[0].contains("4.csv: line 201, column \"good_id\""), "{mpi:?} {line}: {ended:?}");
            let rank = errors[0].strip_prefix("error: rank ").and_then(|rest| rest.split_once(' ')).unwrap().0;
            assert_ne!(rank, "0", "the wrong row is not of the first rank's part: {mpi:?} {line}: {ended:?}");
            assert!(ended.took < Duration::from_secs(10), "{ended:?}");
            assert!(!scene.at("run").exists() && !scene.at("run.csv").exists(), "{mpi:?} {line}: something is left");
        }
    }
}

/// The library that makes system calls fail.
fn calls() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("calls.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/end_to_end/injection/calls.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
        let mut command = Command::new(compiler);
        command.args(["-O1", "-Wall", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o"]).arg(&path).arg(source).arg("-ldl");
        assert!(command.status().expect("a C compiler").success());
        (folder, path)
    });
    path
}

/// A call of the system by one rank, on a file below a folder: the `at`-th of its kind is
/// disturbed.
struct Call<'a> {
    below: &'a Path,
    kind: &'a str,
    at: usize,
    with: &'a str,
}

/// Three ranks, one of which meets a disturbed call.
fn disturbed(scene: &Scene, mpi: Mpi, victim: usize, call: Call<'_>, line: &str) -> Ended {
    let log = scene.at("calls");
    let script = format!(
        "if [ \"${}\" = {victim} ]; then export LD_PRELOAD={}; fi; exec \"$0\" \"$@\"",
        mpi.rank_variable(),
        calls().display()
    );
    let mut command = mpi.run(3);
    command.args(["sh", "-c", &script, DIN]).args(scene.words(line)).args(["--threads", "1"]);
    command.env("DIN_INJECT_BELOW", call.below).env("DIN_INJECT_LOG", &log).env("DIN_INJECT_KIND", call.kind);
    command.env("DIN_INJECT_AT", call.at.to_string()).env("DIN_INJECT_WITH", call.with);
    let ended = ended(&mut command);
    let calls = fs::read_to_string(&log).unwrap_or_default();
    assert!(calls.lines().any(|line| line.starts_with("hit ")), "the call came: {calls}\n{ended:?}");
    ended
}

/// Names in a run's folder of checkpoints that are no checkpoint's.
fn half_checkpoints(scene: &Scene) -> Vec<String> {
    let entries = fs::read_dir(scene.at("run/checkpoints")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with("step-")).collect()
}

#[test]
fn a_full_disk_under_one_rank_ends_all_and_leaves_no_half_checkpoint() {
    // The call of its kind that fails, and by which error. A rank other than the first makes three
    // of each kind, or nine openings, for a checkpoint.
    for (mpi, victim, kind, at, number, text) in [
        (Mpi::Open, 1, "write", 9, 28, "No space left on device"),
        (Mpi::Open, 0, "write", 30, 28, "No space left on device"),
        (Mpi::Open, 2, "fsync", 4, 5, "Input/output error"),
        (Mpi::Mpich, 1, "open", 14, 13, "Permission denied"),
        (Mpi::Mpich, 2, "write", 2, 28, "No space left on device"),
    ] {
        let scene = Scene::new();
        let call = Call { below: &scene.at("run/checkpoints"), kind, at, with: &number.to_string() };
        let ended = disturbed(&scene, mpi, victim, call, &line());
        let errors = ended.errors();
        assert_eq!((ended.code, errors.len()), (Some(3), 1), "{mpi:?} {victim} {kind}: {ended:?}");
        let place = format!("error: rank {victim} on {}: ", host());
        assert!(errors[0].starts_with(&place) && errors[0].contains(text), "{mpi:?} {victim} {kind}: {ended:?}");
        if at == 2 {
            assert!(!scene.at("run").exists(), "there was no checkpoint: nothing is kept");
            continue;
        }
        assert_eq!(half_checkpoints(&scene), [""; 0], "{mpi:?} {victim} {kind}");
        assert!(!scene.checkpoints("run").is_empty(), "the one before stays: {mpi:?} {victim} {kind} {ended:?}");
        scene.last_is_valid("run");
        goes_on(&scene, 1 + victim);
    }
}

/// A slow disk is none that fails: all ranks wait for it.
#[test]
fn a_flush_of_one_rank_that_takes_longer_than_the_timeout_is_waited_for() {
    for (mpi, victim) in [(Mpi::Open, 0), (Mpi::Mpich, 1)] {
        let scene = Scene::new();
        let line = format!("{TRAIN} --epochs 1 {SHARDED} --out {{folder}}");
        let call = Call { below: &scene.at("run/checkpoints"), kind: "fsync", at: 2, with: "sleep6" };
        let slow = disturbed(&scene, mpi, victim, call, &format!("{line}/run --rank-timeout 3"));
        assert_eq!((slow.code, slow.errors().len()), (Some(0), 0), "{mpi:?} {victim}: {slow:?}");
        let warning = format!("warning: rank {victim} on {}: an operation such as a flush to the disk", host());
        assert!(slow.warnings().len() == 1 && slow.warnings()[0].starts_with(&warning), "{mpi:?} {victim}: {slow:?}");
        let undisturbed = scene.alone(&format!("{line}/one"));
        assert_eq!(undisturbed.code, Some(0), "{undisturbed:?}");
        assert_same(&scene.at("one"), &scene.at("run"));
    }
}

/// One rank gets the signal while it reads the data.
#[test]
fn a_signal_to_one_rank_stops_evaluation_and_prediction_on_all() {
    let scene = Scene::new();
    let trained = scene.alone("train {log}/small.din --train {log}/train --out {folder}/run --epochs 1 -q");
    assert_eq!(trained.code, Some(0), "{trained:?}");
    for (mpi, victim) in [(Mpi::Open, 1), (Mpi::Mpich, 0), (Mpi::Mpich, 2)] {
        for (line, outcome) in [
            ("eval {folder}/run --data {log}/train", "nothing is measured"),
            ("predict {folder}/run --data {log}/train --out {folder}/p.csv", "nothing is written"),
        ] {
            let train = crate::scene::log().join("train").canonicalize().unwrap();
            let call = Call { below: &train, kind: "read", at: 20, with: "term" };
            let stopped = disturbed(&scene, mpi, victim, call, line);
            assert_eq!((stopped.code, stopped.errors().len()), (Some(130), 1), "{mpi:?} {victim} {line}: {stopped:?}");
            assert!(stopped.errors()[0].ends_with(&format!("stopped; {outcome}")), "{mpi:?} {victim}: {stopped:?}");
            assert!(stopped.out.is_empty(), "{mpi:?} {victim} {line}: {stopped:?}");
            let left = fs::read_dir(scene.at("")).unwrap().map(|entry| entry.unwrap().file_name());
            let mut left: Vec<_> = left.filter(|name| name != "calls").collect();
            left.sort();
            assert_eq!(left, ["run"], "{mpi:?} {victim} {line}");
            fs::remove_file(scene.at("calls")).unwrap();
        }
    }
}
