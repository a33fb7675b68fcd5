//! A training of a trial: its command, its process, and what came of it.

use super::settings::{Objective, RungEnd, Rungs};
use super::wait;
use crate::args::TuneArgs;
use crate::device::DeviceArg;
use crate::failure::{Failure, SYSTEM_ERROR, USAGE_ERROR};
use clap::ValueEnum;
use din_runtime::checkpoint;
use din_runtime::child;
use din_runtime::run_dir::{MetricsLine, RunDirectory};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What `din train` is told of a trial.
pub struct TrialRun<'a> {
    pub args: &'a TuneArgs,
    pub sets: Vec<(String, String)>,
    pub seed: u64,
    pub rungs: Rungs,
    pub end: RungEnd,
}

impl TrialRun<'_> {
    /// The arguments of `din`, but for what changes no bit: threads, resuming.
    pub fn arguments(&self, out: &Path) -> Vec<String> {
        let args = self.args;
        let text = |path: &Path| path.display().to_string();
        let mut list = vec!["train".to_string(), text(&args.spec.model)];
        for (option, paths) in [("--train", &args.train), ("--valid", &args.valid)] {
            list.push(option.into());
            list.extend(paths.iter().map(|path| text(path)));
        }
        let mut option =
            |name: &str, value: Option<String>| list.extend(value.into_iter().flat_map(|v| [name.into(), v]));
        option("--out", Some(text(out)));
        for (name, value) in &self.sets {
            option("--set", Some(format!("{name}={value}")));
        }
        option("--seed", Some(self.seed.to_string()));
        let epochs = match self.end {
            RungEnd::Epochs(epochs) => Some(epochs),
            RungEnd::Step(_) | RungEnd::Whole => args.steps.epochs,
        };
        option("--epochs", epochs.map(|epochs| epochs.to_string()));
        option("--batch", args.steps.batch.map(|batch| batch.to_string()));
        option("--leaves", args.steps.leaves.map(|leaves| leaves.to_string()));
        option("--evaluate-every", self.rungs.evaluate_every.map(|steps| steps.to_string()));
        if let RungEnd::Step(step) = self.end {
            option("--stop-after", Some(step.to_string()));
        }
        option("--device", args.device.device.as_ref().map(DeviceArg::to_string));
        option("--gpu-table-memory", args.device.gpu_table_memory.map(|bytes| bytes.to_string()));
        option("--precision", args.precision.and_then(|p| Some(p.to_possible_value()?.get_name().to_string())));
        option("--isa", args.cpu.isa.and_then(|level| Some(level.to_possible_value()?.get_name().to_string())));
        option("--list-separator", args.input.list_separator.map(|byte| char::from(byte).to_string()));
        list
    }

    /// The line for a shell that trains the same again, into another folder.
    pub fn command_line(&self, out: &Path) -> String {
        std::iter::once("din".to_string())
            .chain(self.arguments(out))
            .map(|word| quoted(&word))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A word of a shell's command line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// As long as the system may take to end a process that was killed.
const LONGEST_END: Duration = Duration::from_secs(60);

/// A process that trains.
pub struct TrialProcess {
    child: Child,
    log: PathBuf,
    /// Where the log began to be of this process.
    log_begin: u64,
    began: Instant,
}

/// How a process ended.
pub enum TrialExit {
    Done {
        seconds: f64,
    },
    /// Why it failed.
    Failed {
        cause: String,
        seconds: f64,
    },
    /// It was asked to stop, and has a checkpoint.
    Stopped,
}

impl TrialProcess {
    /// Starts `din` with arguments, which train into `run`; what it says is appended to `log`.
    pub fn start(arguments: &[String], run: &Path, log: &Path) -> Result<Self, Failure> {
        wait_until_free(run)?;
        let failed =
            |what: &str, e: &io::Error| Failure::system_error(format!("{}: cannot {what}: {e}", log.display()));
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).map_err(|e| failed("make its folder", &e))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(|e| failed("open", &e))?;
        let log_begin = file.metadata().map_err(|e| failed("read", &e))?.len();
        let child = child::spawn(
            own_command()?.args(arguments).stdin(Stdio::null()).stdout(clone(&file, log)?).stderr(clone(&file, log)?),
        );
        let child = child.map_err(|e| Failure::system_error(format!("cannot start a training: {e}")))?;
        Ok(Self { child, log: log.into(), log_begin, began: Instant::now() })
    }

    pub fn ask_to_stop(&self) {
        child::ask_to_stop(&self.child);
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system failed it: the fault is not the trial's, and others would meet it too.
    pub fn exit(&mut self) -> Result<Option<TrialExit>, Failure> {
        let status =
            self.child.try_wait().map_err(|e| Failure::system_error(format!("cannot wait for a training: {e}")))?;
        status.map(|status| self.ended(status)).transpose()
    }

    fn ended(&self, status: ExitStatus) -> Result<TrialExit, Failure> {
        use std::os::unix::process::ExitStatusExt;
        let seconds = self.began.elapsed().as_secs_f64();
        let cause = || self.last_error().unwrap_or_else(|| format!("{status}; see {}", self.log.display()));
        match status.code().map(|code| code as u8) {
            Some(0) => Ok(TrialExit::Done { seconds }),
            Some(crate::failure::INTERRUPTED) => Ok(TrialExit::Stopped),
            Some(code @ (SYSTEM_ERROR | USAGE_ERROR)) => {
                Err(Failure { code: SYSTEM_ERROR.max(code), message: format!("a training failed: {}", cause()) })
            }
            Some(_) => Ok(TrialExit::Failed { cause: cause(), seconds }),
            None => {
                let signal = status.signal().map_or("a signal".into(), |number| format!("signal {number}"));
                Ok(TrialExit::Failed { cause: format!("ended by {signal}"), seconds })
            }
        }
    }

    /// The first line of the last error in the log of this process.
    fn last_error(&self) -> Option<String> {
        let text = fs::read(&self.log).ok()?;
        let text = String::from_utf8_lossy(text.get(self.log_begin as usize..)?).into_owned();
        let line = text.lines().rev().find(|line| line.starts_with("error"))?;
        Some(line.trim_start_matches("error: ").to_string())
    }
}

/// Waits for a process of a study that was killed to leave the run directory, which it has locked:
/// the system may take a moment to free its memory.
fn wait_until_free(run: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let held = match File::open(run) {
            Ok(folder) => matches!(folder.try_lock(), Err(TryLockError::WouldBlock)),
            // Not made yet, or for the training to refuse.
            Err(_) => false,
        };
        if !held {
            return Ok(());
        }
        if begun.elapsed() > LONGEST_END {
            let help = "end it, and go on by --resume";
            let run = run.display();
            return Err(Failure::user_error(format!("{run}: another process trains into it\n  help: {help}")));
        }
        wait();
    }
}

fn clone(file: &File, path: &Path) -> Result<Stdio, Failure> {
    let clone = file.try_clone().map_err(|e| Failure::from(din_runtime::Error::file("open", path, &e)))?;
    Ok(clone.into())
}

/// This executable again.
pub fn own_command() -> Result<Command, Failure> {
    let own = std::env::current_exe();
    own.map(Command::new).map_err(|e| Failure::system_error(format!("cannot find the executable of din: {e}")))
}

/// What a run directory says of a trial.
pub struct RunProgress {
    /// The metric, as the journal has it, of the run's best checkpoint; `None` where undefined.
    pub value: Option<f64>,
    /// The same of each evaluation, by the samples that were trained on before.
    pub curve: Vec<(u64, f64)>,
    pub samples: u64,
    /// It ended before its end: `patience`.
    pub ended: bool,
}

impl RunProgress {
    /// `rows` are those of the training data.
    pub fn read(run: &Path, objective: &Objective, end: RungEnd, rows: u64) -> Result<Self, Failure> {
        let directory = RunDirectory::open(run)?;
        let lines = directory.metrics(u64::MAX)?;
        let best = directory.best()?;
        let metric = |line: &MetricsLine| {
            let value = line.valid.as_ref()?.get(&objective.metric)?.as_f64()?;
            Some(objective.recorded(value))
        };
        let chosen = best.and_then(|best| lines.iter().find(|line| checkpoint::name(line.step) == best.checkpoint));
        let samples = |line: &MetricsLine| match line.samples {
            Some(samples) => u64::from(line.epoch - 1) * rows + samples,
            None => u64::from(line.epoch) * rows,
        };
        let last = lines.last();
        let ended = match end {
            RungEnd::Step(step) => last.is_none_or(|line| line.step < step),
            RungEnd::Epochs(epochs) => last.is_none_or(|line| line.epoch < epochs),
            RungEnd::Whole => true,
        };
        Ok(Self {
            value: chosen.and_then(metric),
            curve: lines.iter().filter_map(|line| Some((samples(line), metric(line)?))).collect(),
            samples: last.map_or(0, samples),
            ended,
        })
    }
}
