//! A log, a spec, runs of `din` on it, and what they come to.

use crate::support::{DIN, Ended, Mpi, ended};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The training that the tests compare, with the tables whose place is chosen: rows of a dynamic
/// and of a fixed table are divided, those of the others are on every rank.
pub const TRAIN: &str = "train {log}/small.din --train {log}/train --valid {log}/valid.parquet";

/// The same for `placement`, which one process by itself takes no notice of.
pub const SHARDED: &str = "--placement good=sharded,cate=sharded,user.age_level=sharded";

/// A folder with the spec `small.din`, six files of training data in `train`, `valid.parquet` and
/// `test.parquet`. All tests read it.
pub fn log() -> &'static Path {
    static LOG: OnceLock<TempDir> = OnceLock::new();
    LOG.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("train")).unwrap();
        for seed in 1..=3 {
            let made = at(&format!("made{seed}"));
            let line = format!("synth --rows 1500 --users 150 --goods 200 --categories 10 --seed {seed} --out");
            let mut synth = Command::new(DIN);
            synth.args(line.split(' ')).arg(&made).stdout(Stdio::null()).stderr(Stdio::null());
            assert!(synth.status().unwrap().success());
            for name in ["train", "test"] {
                let to = at(&format!("train/{seed}{name}.parquet"));
                std::fs::rename(made.join(name).with_extension("parquet"), to).unwrap();
            }
        }
        std::fs::rename(at("made1/valid.parquet"), at("valid.parquet")).unwrap();
        std::fs::rename(at("made2/valid.parquet"), at("test.parquet")).unwrap();
        let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/end_to_end/small.din");
        std::fs::copy(spec, at("small.din")).unwrap();
        folder
    })
    .path()
}

/// The runs of a test.
pub struct Scene {
    folder: TempDir,
}

/// Ranks that run, or the one process.
pub struct Running {
    child: Child,
    mpi: Option<Mpi>,
    /// What their environment names them by.
    name: String,
}

const NAME: &str = "DIN_TEST_RUN";

impl Scene {
    pub fn new() -> Scene {
        log();
        // In memory where that is possible: ranks flush what they write, and wait for it.
        Scene { folder: TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap() }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Words that spaces separate; `{log}` and `{folder}` are the log and the folder of this scene.
    pub fn words(&self, line: &str) -> Vec<String> {
        let line = line.replace("{log}", log().to_str().unwrap());
        let line = line.replace("{folder}", self.folder.path().to_str().unwrap());
        line.split_whitespace().map(str::to_string).collect()
    }

    /// Runs `din` as one process.
    pub fn alone(&self, line: &str) -> Ended {
        ended(Command::new(DIN).args(self.words(line)).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// Runs `din` on ranks of one thread each.
    pub fn on(&self, mpi: Mpi, ranks: usize, line: &str) -> Ended {
        ended(mpi.run(ranks).arg(DIN).args(self.words(line)).args(["--threads", "1"]))
    }

    /// Starts `din` on ranks of one thread each, with more options of the launcher.
    pub fn start(&self, mpi: Mpi, ranks: usize, options: &[&str], line: &str) -> Running {
        let mut command = mpi.run(ranks);
        command.args(options).arg(DIN).args(self.words(line)).args(["--threads", "1"]);
        Running::start(command, Some(mpi))
    }

    /// Starts `din` as one process.
    pub fn start_alone(&self, line: &str) -> Running {
        let mut command = Command::new(DIN);
        command.args(self.words(line)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(command, None)
    }

    /// Names of the checkpoints of a run, ascending, and of nothing else; none where there is no
    /// run.
    pub fn checkpoints(&self, run: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.at(run).join("checkpoints")) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("step-")).collect();
        names.sort();
        names
    }

    /// Waits until a run has so many checkpoints, or more.
    pub fn wait_for_checkpoints(&self, run: &str, count: usize) {
        let begin = Instant::now();
        while self.checkpoints(run).len() < count {
            assert!(begin.elapsed() < Duration::from_secs(120), "{run} has {:?}", self.checkpoints(run));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The last checkpoint of a run is whole: one process can use it.
    #[track_caller]
    pub fn last_is_valid(&self, run: &str) {
        let line = format!("eval {{folder}}/{run} --data {{log}}/test.parquet --checkpoint last -q");
        let evaluated = self.alone(&line);
        assert_eq!(evaluated.code, Some(0), "{:?} {evaluated:?}", self.checkpoints(run));
    }
}

impl Running {
    fn start(mut command: Command, mpi: Option<Mpi>) -> Running {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        let child = command.env(NAME, &name).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Running { child, mpi, name }
    }

    /// The launcher, or the one process.
    pub fn launcher(&self) -> u32 {
        self.child.id()
    }

    /// The process of a rank, as soon as there is one; `None` where the run has ended before.
    pub fn process(&mut self, rank: usize) -> Option<u32> {
        let Some(mpi) = self.mpi else { return Some(self.child.id()) };
        let wanted = [format!("{NAME}={}", self.name), format!("{}={rank}", mpi.rank_variable())];
        loop {
            let is_rank = |process: &u32| has_in_environment(*process, &wanted) && !is_keeper(*process);
            if let Some(process) = processes().find(is_rank) {
                return Some(process);
            }
            if self.child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a process of the run still exists.
    pub fn runs(&mut self, process: u32) -> bool {
        // One whose end its parent has not taken yet has no environment.
        let there = std::fs::read(format!("/proc/{process}/environ")).is_ok_and(|bytes| !bytes.is_empty());
        there && self.child.try_wait().unwrap().is_none()
    }

    /// Kills a process; whether it was still there.
    pub fn kill(&mut self, process: u32) -> bool {
        let there = self.runs(process);
        if there {
            // It may end at this very moment.
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).stderr(Stdio::null()).status();
        }
        there
    }

    /// Waits for the end, which has to come within a time; then no process is left.
    #[track_caller]
    pub fn ended_within(mut self, limit: Duration) -> Ended {
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begin.elapsed() >= limit {
                let left = self.left();
                left.iter().for_each(|process| crate::support::signal("-KILL", *process));
                let ended = Ended::of(self.child);
                panic!("the run has not ended within {limit:?}: {left:?} were left, {ended:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let took = begin.elapsed();
        // A process that was killed may need a moment to be gone.
        while !self.left().is_empty() {
            assert!(begin.elapsed() < limit, "{:?} are left", self.left());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ended { took, ..Ended::of(self.child) }
    }

    /// Processes of this run that still exist.
    fn left(&self) -> Vec<u32> {
        let wanted = [format!("{NAME}={}", self.name)];
        processes().filter(|process| has_in_environment(*process, &wanted)).collect()
    }
}

fn processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether a process is the one that keeps a rank's connection to its launcher.
fn is_keeper(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "din-keeper")
}

/// A process that has ended, also one whose parent has not heard of it yet, has no environment.
fn has_in_environment(process: u32, wanted: &[String]) -> bool {
    let Ok(bytes) = std::fs::read(format!("/proc/{process}/environ")) else { return false };
    wanted.iter().all(|wanted| bytes.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
}
