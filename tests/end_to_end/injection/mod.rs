//! Fault injection: every system call of a short command fails, comes short, or is the last one of
//! a killed process, one call at a time.
//!
//! A C library that is loaded before libc (`calls.c`) counts the calls on files of the test's
//! folder and disturbs one of them. The command first runs undisturbed, which shows how many calls
//! of a kind there are and what the result must be; then it runs once for each call. After a failed
//! call the process ends with exit code 3 and the system's error message, every file under its
//! final name is whole, and continuing leads to exactly the files of the undisturbed run.

use crate::support::{din, din_path, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Linux's numbers, as errors that the named calls can give.
const EIO: &str = "5";
const EINTR: &str = "4";
const EPERM: &str = "1";
const EMFILE: &str = "24";
const ENOSPC: &str = "28";

/// One call to disturb: the `at`-th of its kind, from 1.
#[derive(Clone, Copy, Debug)]
struct Disturbance {
    kind: &'static str,
    at: usize,
    with: &'static str,
}

/// How a process ended.
#[derive(Debug)]
struct Ended {
    /// `None` after a signal.
    code: Option<i32>,
    signal: Option<i32>,
    out: String,
    err: String,
    /// Whether the call to disturb came.
    hit: bool,
    /// By kind, how many calls there were.
    calls: BTreeMap<String, usize>,
}

fn library() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("calls.so");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "gcc".into());
        let status = Command::new(compiler)
            .args(["-O1", "-Wall", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o"])
            .arg(&path)
            .arg(root().join("tests/end_to_end/injection/calls.c"))
            .arg("-ldl")
            .status()
            .expect("a C compiler");
        assert!(status.success(), "calls.c does not compile");
        (folder, path)
    });
    path
}

fn spec() -> PathBuf {
    root().join("tests/end_to_end/injection/tiny.din")
}

/// The tiny model as an executable: it starts in milliseconds.
fn executable() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("tiny");
        din("build {spec} -o {exe} -q", &[("spec", &spec()), ("exe", &path)]).expect(0);
        (folder, path)
    });
    path
}

/// A folder of its own with a small log in `d`.
struct Scene {
    folder: TempDir,
    path: PathBuf,
}

impl Scene {
    /// In memory where that is possible: what is flushed is waited for, and there are thousands of
    /// flushes.
    fn new() -> Self {
        Self::inside(TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap())
    }

    fn inside(folder: TempDir) -> Self {
        let path = folder.path().canonicalize().unwrap().join("scene");
        fs::create_dir(&path).unwrap();
        let line = "synth --out {data} --rows 200 --users 20 --goods 20 --categories 3 --seed 3 -q";
        din(line, &[("data", &path.join("d"))]).expect(0);
        Self { folder, path }
    }

    /// Runs a program in the folder with words that blanks separate.
    fn run(&self, program: &Path, line: &str, disturbance: Option<Disturbance>) -> Ended {
        let log = self.folder.path().join("log");
        let _ = fs::remove_file(&log);
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).current_dir(&self.path).stdin(Stdio::null());
        command.env("LD_PRELOAD", library()).env("DIN_INJECT_BELOW", &self.path);
        command.env("DIN_INJECT_LOG", &log);
        if let Some(Disturbance { kind, at, with }) = disturbance {
            command.env("DIN_INJECT_KIND", kind).env("DIN_INJECT_AT", at.to_string());
            command.env("DIN_INJECT_WITH", with);
        }
        let output = command.output().unwrap();
        let log = fs::read_to_string(&log).unwrap_or_default();
        let mut calls = BTreeMap::new();
        for line in log.lines().filter(|line| !line.starts_with("hit ")) {
            *calls.entry(line.split(' ').next().unwrap().to_string()).or_insert(0) += 1;
        }
        Ended {
            code: output.status.code(),
            signal: output.status.signal(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            hit: log.lines().any(|line| line.starts_with("hit ")),
            calls,
        }
    }

    fn remove(&self, name: &str) {
        let path = self.path.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    }

    /// The files below `name`, or the file itself, hidden ones too.
    fn tree(&self, name: &str) -> Tree {
        fn walk(path: &Path, root: &Path, into: &mut Tree) {
            if path.is_dir() {
                for entry in fs::read_dir(path).unwrap() {
                    walk(&entry.unwrap().path(), root, into);
                }
            } else if path.exists() {
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                into.insert(name, fs::read(path).unwrap());
            }
        }
        let mut all = BTreeMap::new();
        walk(&self.path.join(name), &self.path.join(name), &mut all);
        all
    }
}

const TRAIN: &str = "train --train d/train.parquet --valid d/valid.parquet --out out --threads 1 --evaluate-every 6 -q";
const RESUME: &str = "train --out out --resume --threads 1 --evaluate-every 6 -q";

type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// That two trees are equal, or which files differ.
fn equal(whole: &Tree, found: &Tree) -> Result<(), String> {
    let names: BTreeSet<_> = whole.keys().chain(found.keys()).collect();
    let differing: Vec<_> = names.into_iter().filter(|name| whole.get(*name) != found.get(*name)).collect();
    if differing.is_empty() { Ok(()) } else { Err(format!("{differing:?} differ")) }
}

/// A failed call is reported as the machine's, in the system's words.
fn reported(ended: &Ended, disturbance: Disturbance) -> Result<(), String> {
    if ended.signal.is_some() {
        return Err("a signal".into());
    }
    if ended.err.contains("bug") || ended.err.contains("panicked") {
        return Err("a panic".into());
    }
    match ended.code {
        Some(0) => Ok(()),
        Some(3) => {
            let words = std::io::Error::from_raw_os_error(disturbance.with.parse().unwrap());
            let words = words.to_string();
            if ended.err.contains(&words) && ended.hit { Ok(()) } else { Err(format!("no `{words}`")) }
        }
        code => Err(format!("exit code {code:?}")),
    }
}

/// What a disturbed process has to do.
#[derive(Clone, Copy, PartialEq)]
enum Must {
    /// Say so, with exit code 3, or do without the call and end as if nothing were.
    Report,
    /// End as if nothing were: the call is made again, or does not matter.
    Bear,
    /// Nothing: it is killed.
    Die,
}

/// Runs a command once for each call of the given kinds, with that call disturbed. `before`
/// restores the folder before each run, `after` checks it.
fn through(
    scene: &Scene,
    (program, line): (&Path, &str),
    kinds: &[(&'static str, &'static str)],
    must: Must,
    before: impl Fn(),
    after: impl Fn(&Ended) -> Result<(), String>,
) {
    before();
    let plain = scene.run(program, line, None);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    let mut faults = Vec::new();
    for &(kind, with) in kinds {
        let calls = plain.calls.get(kind).copied().unwrap_or(0);
        assert!(calls > 0, "no call of kind {kind}: {:?}", plain.calls);
        let mut hits = 0;
        for at in 1..=calls {
            before();
            let disturbance = Disturbance { kind, at, with };
            let ended = scene.run(program, line, Some(disturbance));
            hits += usize::from(ended.hit);
            let outcome = match must {
                Must::Report => reported(&ended, disturbance),
                Must::Bear if ended.code != Some(0) => Err("a call that does not matter is reported".into()),
                Must::Die if ended.signal.is_some() != ended.hit => Err("the call came, but no end".into()),
                Must::Bear | Must::Die => Ok(()),
            };
            if let Err(fault) = outcome.and_then(|()| after(&ended)) {
                faults.push(format!("{disturbance:?}: {fault}\n    {ended:?}"));
            }
        }
        // What two threads do is counted in the order in which they come to it: the last may stay
        // away.
        assert!(hits + 3 >= calls, "{kind}: {hits} of {calls} calls came");
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Trains with each call of the kinds disturbed; goes on after each, and compares with the
/// undisturbed run.
fn train_through(kinds: &[(&'static str, &'static str)], must: Must) {
    let scene = Scene::new();
    assert_eq!(scene.run(executable(), TRAIN, None).code, Some(0));
    let whole = scene.tree("out");
    through(
        &scene,
        (executable(), TRAIN),
        kinds,
        must,
        || scene.remove("out"),
        |ended| {
            if ended.code == Some(0) {
                equal(&whole, &scene.tree("out"))?;
            }
            go_on(&scene)?;
            equal(&whole, &scene.tree("out"))
        },
    );
}

/// Goes on with the run in `out`, or begins it where there is none: by one command.
fn go_on(scene: &Scene) -> Result<(), String> {
    let next = scene.run(executable(), &format!("{TRAIN} --resume"), None);
    if next.code == Some(0) { Ok(()) } else { Err(format!("going on fails: {next:?}")) }
}

#[test]
fn training_with_a_write_or_flush_that_fails() {
    train_through(&[("write", ENOSPC), ("write", EIO), ("fsync", EIO)], Must::Report);
}

#[test]
fn training_with_a_name_or_folder_that_cannot_be_made() {
    train_through(&[("rename", EIO), ("rename", EPERM), ("mkdir", ENOSPC), ("unlink", EIO)], Must::Report);
}

#[test]
fn training_with_a_file_that_cannot_be_opened() {
    train_through(&[("open", EMFILE), ("open", EIO)], Must::Report);
}

#[test]
fn training_with_a_read_that_fails() {
    train_through(&[("read", EIO), ("readdir", EIO)], Must::Report);
}

#[test]
fn training_with_a_stat_that_fails() {
    train_through(&[("stat", EIO), ("truncate", EIO), ("flock", EIO)], Must::Report);
}

#[test]
fn training_with_calls_that_are_interrupted_or_come_short() {
    let kinds = [("read", EINTR), ("read", "short"), ("write", EINTR), ("write", "short"), ("chmod", EPERM)];
    train_through(&kinds, Must::Bear);
}

#[test]
fn training_killed_before_any_change_of_the_disk() {
    let kinds = [("rename", "kill"), ("mkdir", "kill"), ("unlink", "kill"), ("write", "kill"), ("fsync", "kill")];
    train_through(&kinds, Must::Die);
}

#[test]
fn training_from_csv_with_a_call_that_fails() {
    let scene = Scene::new();
    let rows = |count: u64| {
        let row = |i: u64| format!("{},{},{}\r\n", i % 7, i % 20, u64::from(i.is_multiple_of(3)));
        "user_id,good_id,click\r\n".to_string() + &(0..count).map(row).collect::<String>()
    };
    fs::write(scene.path.join("d/train.csv"), rows(160)).unwrap();
    fs::write(scene.path.join("d/valid.csv"), rows(20)).unwrap();
    let line = TRAIN.replace(".parquet", ".csv");
    assert_eq!(scene.run(executable(), &line, None).code, Some(0));
    let whole = scene.tree("out");
    let after = |ended: &Ended| if ended.code == Some(0) { equal(&whole, &scene.tree("out")) } else { Ok(()) };
    let before = || scene.remove("out");
    let fails = [("open", EIO), ("read", EIO), ("stat", EIO)];
    through(&scene, (executable(), &line), &fails, Must::Report, before, after);
    through(&scene, (executable(), &line), &[("read", EINTR), ("read", "short")], Must::Bear, before, after);
}

/// Files of a run that is stopped in its second epoch: a resume reads, cleans and goes on.
fn stopped(scene: &Scene) {
    scene.remove("out");
    let third = Disturbance { kind: "rename", at: 14, with: "kill" };
    let ended = scene.run(executable(), TRAIN, Some(third));
    assert!(ended.signal.is_some(), "{ended:?}");
}

/// Resumes with each call of the kinds disturbed, resumes once more, and compares with a run that
/// was never stopped.
fn resume_through(kinds: &[(&'static str, &'static str)], must: Must) {
    let scene = Scene::new();
    assert_eq!(scene.run(executable(), TRAIN, None).code, Some(0));
    let whole = scene.tree("out");
    let after = |ended: &Ended| {
        if ended.code == Some(0) {
            equal(&whole, &scene.tree("out"))?;
        }
        go_on(&scene)?;
        equal(&whole, &scene.tree("out"))
    };
    through(&scene, (executable(), RESUME), kinds, must, || stopped(&scene), after);
}

#[test]
fn resuming_with_a_call_that_fails() {
    let kinds = [
        ("open", EIO),
        ("read", EIO),
        ("readdir", EIO),
        ("stat", EIO),
        ("mmap", EIO),
        ("unlink", EIO),
        ("rename", EIO),
    ];
    resume_through(&kinds, Must::Report);
}

#[test]
fn resuming_killed_before_any_change_of_the_disk() {
    resume_through(&[("rename", "kill"), ("unlink", "kill"), ("mkdir", "kill")], Must::Die);
}

/// A command that writes one file: after a failure the file is as it was before, or the whole new
/// one where only the folder could not be flushed; and nothing lies beside it.
fn output_through(scene: &Scene, program: &Path, line: &str, out: &str, before: impl Fn()) {
    before();
    let old = scene.tree(out);
    let beside = scene.tree("");
    assert_eq!(scene.run(program, line, None).code, Some(0));
    let (new, whole) = (scene.tree(out), scene.tree(""));
    assert_ne!(old, new, "`{line}` changes nothing");
    let after = |ended: &Ended| match ended.code {
        Some(0) => equal(&whole, &scene.tree("")),
        _ if scene.tree(out) == new => equal(&whole, &scene.tree("")),
        _ => equal(&beside, &scene.tree("")),
    };
    let kinds = [("open", EIO), ("read", EIO), ("stat", EIO), ("write", ENOSPC), ("fsync", EIO), ("rename", EIO)];
    through(scene, (program, line), &kinds, Must::Report, before, after);
}

#[test]
fn predicting_with_a_call_that_fails() {
    let scene = Scene::new();
    assert_eq!(scene.run(executable(), TRAIN, None).code, Some(0));
    let write = || fs::write(scene.path.join("p.parquet"), "yesterday's").unwrap();
    let line = "predict out --data d/test.parquet --out p.parquet --force --threads 1 -q";
    output_through(&scene, executable(), line, "p.parquet", write);
    let csv = "predict out --data d/test.parquet --out p.csv --threads 1 -q";
    output_through(&scene, executable(), csv, "p.csv", || scene.remove("p.csv"));
}

#[test]
fn a_signal_to_stop_leaves_no_part_of_an_output() {
    let scene = Scene::new();
    assert_eq!(scene.run(executable(), TRAIN, None).code, Some(0));
    let din = din_path();
    let commands = [
        (executable(), "predict out --data d/test.parquet --out p.csv --threads 1 -q"),
        (din.as_path(), "synth --out s --rows 200 --users 20 --goods 20 --categories 3 -q"),
    ];
    for (program, line) in commands {
        let before = scene.tree("");
        let plain = scene.run(program, line, None);
        assert_eq!(plain.code, Some(0), "{plain:?}");
        let whole = scene.tree("");
        let mut stopped = 0;
        for at in 1..=plain.calls["open"] {
            scene.remove("p.csv");
            scene.remove("s");
            let ended = scene.run(program, line, Some(Disturbance { kind: "open", at, with: "term" }));
            match (ended.code, ended.signal) {
                // Before anything is written, or after everything is.
                (None, Some(15)) => equal(&before, &scene.tree("")).unwrap(),
                (Some(0), None) => equal(&whole, &scene.tree("")).unwrap(),
                (Some(130), None) => {
                    assert!(ended.err.contains("stopped; nothing is written"), "{ended:?}");
                    equal(&before, &scene.tree("")).unwrap();
                    stopped += 1;
                }
                _ => panic!("`{line}`, call {at}: {ended:?}"),
            }
        }
        assert!(stopped > 0, "`{line}` is never stopped");
        scene.remove("s");
        scene.remove("p.csv");
    }
}

#[test]
fn building_with_a_call_that_fails() {
    // `din` itself is written, which may be more than there is room for in memory.
    let scene = Scene::inside(TempDir::new().unwrap());
    fs::copy(spec(), scene.path.join("tiny.din")).unwrap();
    output_through(&scene, &din_path(), "build tiny.din -o tiny -q", "tiny", || scene.remove("tiny"));
}

#[test]
fn formatting_with_a_call_that_fails() {
    let scene = Scene::new();
    let loose = fs::read_to_string(spec()).unwrap().replace("    embedding", "  embedding");
    let write = || fs::write(scene.path.join("loose.din"), &loose).unwrap();
    output_through(&scene, &din_path(), "fmt loose.din", "loose.din", write);
}

#[test]
fn evaluating_and_reporting_with_a_call_that_fails() {
    let scene = Scene::new();
    assert_eq!(scene.run(executable(), TRAIN, None).code, Some(0));
    let whole = scene.tree("");
    let kinds = [("open", EIO), ("read", EIO), ("stat", EIO)];
    let din = din_path();
    let commands =
        [(executable(), "eval out --data d/test.parquet --threads 1 -q --json"), (din.as_path(), "info out --json")];
    for (program, line) in commands {
        let plain = scene.run(program, line, None).out;
        let after = |ended: &Ended| {
            if ended.code == Some(0) && ended.out != plain {
                return Err(format!("other results: {}", ended.out));
            }
            equal(&whole, &scene.tree(""))
        };
        through(&scene, (program, line), &kinds, Must::Report, || {}, after);
    }
}
