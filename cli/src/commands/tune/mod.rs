//! `din tune`: a study of trials, each a process of `din train` with a run directory of its own.
//!
//! - `space`: what of the spec is searched. - `settings`: data, metric, rungs, and what may not
//!   change. - `trial`: a trial's command and process. - `run`: the loop over jobs.
//! - `winner`: the winner with other seeds and on test data. - `report`: lines, table and JSON.
//!
//! What is tried next is decided by `din-tune` from the journal alone.

mod report;
mod run;
mod settings;
mod space;
mod trial;
mod winner;

use crate::args::{HalvingArg, TuneArgs};
use crate::failure::{Failure, INTERRUPTED, Outcome, SYSTEM_ERROR, USER_ERROR};
use crate::terminal::Console;
use din_runtime::data::ReadMode;
use din_runtime::fs::metadata;
use din_runtime::signal;
use din_tune::{ChosenValue, Journal, JournalError, Ladder, RecordedStudy, Scheduler, TrialState};
use serde_json::{Map, Value, json};
use settings::{Objective, Rungs, StudyData};
use space::SpecSpace;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const STOP_HELP: &str = "stopped; the same command and --resume go on";

/// Between two looks at the processes.
const POLL: Duration = Duration::from_millis(20);

fn wait() {
    std::thread::sleep(POLL);
}

fn failed(error: JournalError) -> Failure {
    match error {
        JournalError::Damaged(message) => {
            Failure::user_error(format!("{message}\n  help: put the journal back as it was, or choose another --out"))
        }
        JournalError::Locked(message) => {
            Failure::user_error(format!("{message}\n  help: wait for it, or choose another --out"))
        }
        JournalError::System(message) => Failure { code: SYSTEM_ERROR, message },
    }
}

/// A study that is open.
struct StudyRun<'a> {
    console: &'a Console,
    args: &'a TuneArgs,
    space: SpecSpace<'a>,
    objective: Objective,
    /// Rows of the training data.
    rows: u64,
    seed: u64,
    /// Epochs of a whole training.
    epochs: u32,
    scheduler: Scheduler,
    journal: Journal,
    /// Of the study in the journal.
    attributes: Map<String, Value>,
    trials: Vec<Trial>,
    jobs: Vec<run::JobState>,
    began: Instant,
}

/// A trial of the study.
#[derive(Clone, Debug)]
struct Trial {
    values: Vec<ChosenValue>,
    state: TrialState,
    /// The metric at its last rung, as the journal has it.
    value: Option<f64>,
    /// Why it failed.
    cause: Option<String>,
    samples: u64,
    /// The highest rung that it has reached.
    rung: usize,
}

pub fn tune(console: &Console, args: &TuneArgs) -> Outcome {
    let space = SpecSpace::read(&args.spec.model, &args.spec.sets)?;
    let start = space.choose(console, &[])?;
    // Whether others are there depends on those that are chosen first.
    if start.next.is_none() {
        let model = args.spec.model.display();
        return Err(Failure::user_error(format!(
            "{model}: there is nothing to search: no hyper-parameter that is not set has a space\n  \
             help: give one a space, such as `hyper lr = 1e-3 in log(1e-4, 1e-2)`, and use it: `adam(lr = lr)`"
        )));
    }
    // With the default values the spec is right, and says what data it reads.
    let model = crate::sources::checked(console, &args.spec.model, &start.sets)?;
    let fixed = space.fixed(&start.hypers);
    if !fixed.is_empty() {
        console.remark(format!("without a space, kept as they are: {}", fixed.join(", ")));
    }
    let objective = Objective::of(args, &model)?;
    let separator = args.input.list_separator;
    let train = StudyData::open("--train", &args.train, &model, ReadMode::Train, separator)?;
    let valid = StudyData::open("--valid", &args.valid, &model, ReadMode::Evaluate, separator)?;
    let test = match args.test.is_empty() {
        true => None,
        false => Some(StudyData::open("--test", &args.test, &model, ReadMode::Evaluate, separator)?),
    };
    if let Some(test) = &test {
        settings::refuse_selection_on(test, &[&train, &valid])?;
    }
    let epochs = args.steps.epochs.unwrap_or(model.training.epochs);
    let batch = args.steps.batch.unwrap_or(model.training.batch);
    let rungs = Rungs::new(args, epochs, batch, train.rows);
    if rungs.ends.len() == 1 && args.halving != HalvingArg::Off && args.rungs > 1 {
        let help = match args.halving {
            HalvingArg::Epochs => "; --halving samples also has rungs within an epoch",
            HalvingArg::Samples | HalvingArg::Off => "",
        };
        console.warning(format!("a training is too short for halving: every trial is trained whole{help}"));
    }
    let seed = args.seed.unwrap_or(model.training.seed);
    let record = settings::record(args, &model, &objective, (&train, &valid), (seed, &rungs));
    let (journal, study) = open(console, args, &objective, &record)?;
    settings::check_same(&args.out, study.attributes.get("din"), &record)?;
    signal::install();
    let scheduler = Scheduler {
        sampler: args.sampler.into(),
        seed,
        trials: args.trials as usize,
        ladder: Ladder { rungs: rungs.ends.len(), factor: args.reduction_factor as usize },
        parallel: args.jobs as usize,
    };
    let mut study = StudyRun {
        console,
        args,
        space,
        objective,
        rows: train.rows,
        seed,
        epochs,
        scheduler,
        journal,
        attributes: study.attributes.clone(),
        trials: study.trials.iter().enumerate().map(|(number, _)| recorded(&study, number)).collect(),
        jobs: study.jobs.iter().map(run::JobState::recorded).collect(),
        began: Instant::now(),
    };
    study.restore()?;
    study.run()?;
    study.conclude(test.as_ref())
}

/// The journal in `--out`: a new one, or with `--resume` the one that is there.
fn open(
    console: &Console,
    args: &TuneArgs,
    objective: &Objective,
    record: &Map<String, Value>,
) -> Result<(Journal, RecordedStudy), Failure> {
    let path = args.out.join("journal.log");
    let out = args.out.display();
    match (metadata(&path)?.is_some(), args.resume) {
        (true, false) => {
            return Err(Failure::user_error(format!(
                "{out}: already holds a study\n  help: add --resume to go on with it, or choose another --out"
            )));
        }
        (true, true) => {}
        (false, resume) => {
            if resume {
                console.remark(format!("{out}: no study yet; starting from the beginning"));
            }
            if !is_free(&args.out)? {
                let help = "choose another --out";
                return Err(Failure::user_error(format!("{out}: expected a new or an empty folder\n  help: {help}")));
            }
            let made = fs::create_dir_all(&args.out);
            made.map_err(|e| Failure::from(din_runtime::Error::file("make", &args.out, &e)))?;
            let name = args.spec.model.file_stem().expect("a spec that was read has a file name");
            let name = name.to_string_lossy().into_owned();
            let attributes = [("din", Value::Object(record.clone())), ("metric", json!(objective.title()))];
            Journal::create(&path, &name, objective.maximizes(), &attributes).map_err(failed)?;
        }
    }
    Journal::open(&path).map_err(failed)
}

/// Whether there is nothing at a path, or an empty folder.
fn is_free(path: &Path) -> Result<bool, Failure> {
    let entries = match metadata(path)? {
        None => return Ok(true),
        Some(found) if !found.is_dir() => return Ok(false),
        Some(_) => fs::read_dir(path).map_err(|e| Failure::from(din_runtime::Error::file("read", path, &e)))?,
    };
    // What a stop left while the journal was first written.
    let left = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    Ok(entries.flatten().all(|entry| left(&entry.file_name())))
}

/// A trial as the journal has it.
fn recorded(study: &RecordedStudy, number: usize) -> Trial {
    let trial = &study.trials[number];
    let done = study.jobs.iter().filter(|job| job.trial == number);
    let last = done.filter_map(|job| Some((job.job.rung, job.outcome.as_ref()?))).next_back();
    Trial {
        values: trial.values.clone(),
        state: trial.state,
        value: last.and_then(|(_, outcome)| outcome.value),
        cause: last.and_then(|(_, outcome)| outcome.cause.clone()),
        samples: last.map_or(0, |(_, outcome)| outcome.samples),
        rung: last.map_or(0, |(rung, _)| rung),
    }
}

impl StudyRun<'_> {
    /// A stop between an outcome and the state that follows from it lost only the state.
    fn restore(&mut self) -> Outcome {
        for number in 0..self.trials.len() {
            let last = self.jobs.iter().rev().find(|job| job.trial == number).and_then(|job| job.outcome.as_ref());
            let state = match last {
                Some(outcome) => run::state_after(outcome),
                None => continue,
            };
            if self.trials[number].state == TrialState::Running && state != TrialState::Running {
                self.journal.end_trial(number, state, self.trials[number].value).map_err(failed)?;
                self.trials[number].state = state;
            }
        }
        Ok(())
    }

    /// The best trial: of those that were trained furthest, the one with the best metric.
    fn best(&self) -> Option<usize> {
        let rank = |number: usize| {
            let trial = &self.trials[number];
            let value = trial.value.filter(|_| trial.state != TrialState::Failed)?;
            Some((self.trained_whole(number), trial.rung, self.objective.loss(value)))
        };
        let mut best: Option<(usize, (bool, usize, f64))> = None;
        for number in 0..self.trials.len() {
            let Some(rank) = rank(number) else { continue };
            let better = best.is_none_or(|(_, (whole, rung, loss))| {
                (rank.0, rank.1) > (whole, rung) || (rank.0, rank.1) == (whole, rung) && rank.2 < loss
            });
            if better {
                best = Some((number, rank));
            }
        }
        best.map(|(number, _)| number)
    }

    fn trained_whole(&self, number: usize) -> bool {
        self.trials[number].state == TrialState::Complete
    }

    /// Ends what may still be promoted, trains the winner, and prints what was found.
    fn conclude(&mut self, test: Option<&StudyData>) -> Outcome {
        for number in 0..self.trials.len() {
            if self.trials[number].state == TrialState::Running {
                let value = self.trials[number].value;
                self.journal.end_trial(number, TrialState::Pruned, value).map_err(failed)?;
                self.trials[number].state = TrialState::Pruned;
            }
        }
        let Some(best) = self.best() else {
            let cause = self.trials.iter().find_map(|trial| trial.cause.clone());
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            return Err(Failure { code: USER_ERROR, message: format!("no trial came to a value{cause}") });
        };
        let winner = self.train_winner(best, test)?;
        if signal::asked() {
            self.console.remark(format!("{}: {STOP_HELP}", self.args.out.display()));
            return Err(Failure::reported(INTERRUPTED));
        }
        self.report(best, winner.as_ref())
    }
}
