//! The loop over the jobs of a study.

use super::settings::{RungEnd, Rungs};
use super::trial::{RunProgress, TrialExit, TrialProcess, TrialRun};
use super::{STOP_HELP, StudyRun, Trial, failed, wait};
use crate::failure::{Failure, INTERRUPTED, Outcome, USER_ERROR};
use din_runtime::signal;
use din_tune::{ChosenValue, JobOutcome, JobRecord, NextJob, OutcomeRecord, RecordedJob, StudyJob, TrialState};
use serde_json::json;
use std::path::PathBuf;

/// Trials that may all fail at the start before the study is given up: the fault is not theirs.
const HOPELESS: usize = 5;

/// A job of the study.
pub struct JobState {
    pub trial: usize,
    pub rung: usize,
    pub outcome: Option<OutcomeRecord>,
}

impl JobState {
    pub fn recorded(job: &RecordedJob) -> Self {
        Self { trial: job.trial, rung: job.job.rung, outcome: job.outcome.clone() }
    }
}

/// A job that goes on.
struct Running {
    job: usize,
    end: RungEnd,
    training: TrialProcess,
}

impl StudyRun<'_> {
    /// Runs jobs until none is left, or time is up.
    pub fn run(&mut self) -> Outcome {
        let mut running: Vec<Running> = Vec::new();
        // Those that were under way when the study was stopped go on first.
        let mut left: Vec<usize> = (0..self.jobs.len()).filter(|&job| self.jobs[job].outcome.is_none()).collect();
        left.reverse();
        let outcome = self.work(&mut running, &mut left);
        if outcome.is_err() {
            // Their checkpoints let them go on; the fault is said when they have stopped.
            running.iter().for_each(|job| job.training.ask_to_stop());
            for job in &mut running {
                while let Ok(None) = job.training.exit() {
                    wait();
                }
            }
        }
        outcome
    }

    fn work(&mut self, running: &mut Vec<Running>, left: &mut Vec<usize>) -> Outcome {
        let mut asked = false;
        loop {
            if signal::asked() && !asked {
                running.iter().for_each(|job| job.training.ask_to_stop());
                asked = true;
            }
            let mut waits = asked;
            while !waits && running.len() < self.scheduler.parallel {
                match self.next(left)? {
                    Some(job) => running.extend(self.start(job)?),
                    None => waits = true,
                }
            }
            if running.is_empty() && waits {
                if asked {
                    self.console.remark(format!("{}: {STOP_HELP}", self.args.out.display()));
                    return Err(Failure::reported(INTERRUPTED));
                }
                return Ok(());
            }
            let mut ended = None;
            for (k, job) in running.iter_mut().enumerate() {
                if let Some(exit) = job.training.exit()? {
                    ended = Some((k, exit));
                    break;
                }
            }
            match ended {
                Some((k, exit)) => {
                    let job = running.remove(k);
                    self.finish(job.job, job.end, exit)?;
                }
                None => wait(),
            }
        }
    }

    /// The next job; `None` where none is to begin now.
    fn next(&mut self, left: &mut Vec<usize>) -> Result<Option<usize>, Failure> {
        if let Some(job) = left.pop() {
            return Ok(Some(job));
        }
        if self.args.timeout.is_some_and(|timeout| self.began.elapsed() >= timeout) {
            return Ok(None);
        }
        let loss = |outcome: &OutcomeRecord| match outcome.value {
            Some(value) => JobOutcome::Scored { loss: self.objective.loss(value), ended: outcome.ended },
            None => JobOutcome::Failed,
        };
        let known =
            |job: &JobState| StudyJob { trial: job.trial, rung: job.rung, outcome: job.outcome.as_ref().map(loss) };
        let jobs: Vec<StudyJob> = self.jobs.iter().map(known).collect();
        let given_up: Vec<bool> = self.trials.iter().map(|trial| trial.state == TrialState::Pruned).collect();
        match self.scheduler.next(&jobs, &given_up) {
            NextJob::Wait | NextJob::Done => Ok(None),
            NextJob::Promote { trial, rung } => self.promote(trial, rung).map(Some),
            NextJob::Begin => self.begin(&jobs).map(Some),
        }
    }

    fn begin(&mut self, jobs: &[StudyJob]) -> Result<usize, Failure> {
        let seen: Vec<Vec<ChosenValue>> = self.trials.iter().map(|trial| trial.values.clone()).collect();
        let suggester = self.scheduler.suggester(jobs, &seen);
        let mut values: Vec<ChosenValue> = Vec::new();
        let sets = loop {
            let choice = self.space.choose(self.console, &values)?;
            match choice.next {
                Some((name, domain)) => {
                    let value = suggester.suggest(&name, &domain);
                    values.push(ChosenValue { name, domain, value });
                }
                None => break choice.sets,
            }
        };
        let (number, job) = (self.trials.len(), self.jobs.len());
        let trial = Trial { values, state: TrialState::Running, value: None, cause: None, samples: 0, rung: 0 };
        let rungs = self.rungs_of(&sets).unwrap_or_else(|_| Rungs { ends: vec![RungEnd::Whole], evaluate_every: None });
        let end = rungs.ends.first().copied().unwrap_or(RungEnd::Whole);
        let (_, command) = self.commands(number, sets, rungs, end);
        let attributes = [("command", json!(command)), ("run", json!(self.run_directory(number)))];
        self.journal.begin_trial(&trial.values, &job_record(job, 0, end), &attributes).map_err(failed)?;
        self.trials.push(trial);
        self.jobs.push(JobState { trial: number, rung: 0, outcome: None });
        Ok(job)
    }

    fn promote(&mut self, trial: usize, rung: usize) -> Result<usize, Failure> {
        let (sets, rungs) = self.settings_of(trial)?;
        let end = end_of(&rungs, rung);
        let (_, command) = self.commands(trial, sets, rungs, end);
        let job = self.jobs.len();
        self.journal.promote(trial, &job_record(job, rung, end), &[("command", json!(command))]).map_err(failed)?;
        self.jobs.push(JobState { trial, rung, outcome: None });
        Ok(job)
    }

    /// Starts the process of a job; `None` where the values do not make a model, which is its
    /// outcome.
    fn start(&mut self, job: usize) -> Result<Option<Running>, Failure> {
        let JobState { trial, rung, .. } = self.jobs[job];
        let sets = self.space.choose(self.console, &self.trials[trial].values)?.sets;
        let rungs = match self.rungs_of(&sets) {
            Ok(rungs) => rungs,
            Err(cause) => {
                self.finish(job, RungEnd::Whole, TrialExit::Failed { cause, seconds: 0.0 })?;
                return Ok(None);
            }
        };
        let end = end_of(&rungs, rung);
        let (mut arguments, _) = self.commands(trial, sets, rungs, end);
        // A stop may have left a part of it.
        arguments.push("--resume".into());
        let threads = self.args.cpu.threads.map_or_else(all_threads, |threads| threads as usize);
        arguments.extend(["--threads".into(), (threads / self.scheduler.parallel).max(1).to_string()]);
        arguments.extend(["--color".into(), "never".into()]);
        let log = self.args.out.join("logs").join(format!("{trial:04}.log"));
        let training = TrialProcess::start(&arguments, &self.run_directory(trial), &log)?;
        Ok(Some(Running { job, end, training }))
    }

    /// Records how a job ended.
    fn finish(&mut self, job: usize, end: RungEnd, exit: TrialExit) -> Outcome {
        let JobState { trial, rung, .. } = self.jobs[job];
        let (cause, seconds) = match exit {
            TrialExit::Done { seconds } => (None, seconds),
            // It was asked to stop, perhaps before it could listen: it goes on by --resume.
            TrialExit::Stopped | TrialExit::Failed { .. } if signal::asked() => return Ok(()),
            TrialExit::Stopped => (Some("stopped by a signal".to_string()), 0.0),
            TrialExit::Failed { cause, seconds } => (Some(cause), seconds),
        };
        // A trial that failed may have been evaluated before.
        let progress = RunProgress::read(&self.run_directory(trial), &self.objective, end, self.rows);
        let (progress, cause) = match (progress, cause) {
            (Ok(progress), Some(cause)) => (Some(progress), Some(cause)),
            (Err(_), Some(cause)) => (None, Some(cause)),
            (Ok(progress), None) if progress.value.is_none() => {
                let cause = format!("{} is undefined on the validation data", self.objective.metric);
                (Some(progress), Some(cause))
            }
            (Ok(progress), None) => (Some(progress), None),
            (Err(error), None) => return Err(error),
        };
        let value = progress.as_ref().filter(|_| cause.is_none()).and_then(|progress| progress.value);
        let outcome = OutcomeRecord {
            job,
            value,
            cause: cause.clone(),
            ended: progress.as_ref().is_some_and(|progress| progress.ended),
            samples: progress.as_ref().map_or(0, |progress| progress.samples),
            seconds,
        };
        let curve = progress.map_or_else(Vec::new, |progress| progress.curve);
        self.journal.outcome(trial, &curve, &outcome).map_err(failed)?;
        let state = state_after(&outcome);
        if state != TrialState::Running {
            self.journal.end_trial(trial, state, value).map_err(failed)?;
        }
        let known = &mut self.trials[trial];
        (known.value, known.cause, known.state, known.rung) = (value, cause, state, rung);
        known.samples = outcome.samples;
        self.jobs[job].outcome = Some(outcome);
        self.say(trial);
        self.give_up()
    }

    /// Where all trials fail from the start, the fault is one of the data or the spec.
    fn give_up(&self) -> Outcome {
        let ended = self.jobs.iter().filter(|job| job.outcome.is_some());
        let failed = self.trials.iter().filter(|trial| trial.state == TrialState::Failed).count();
        if failed < HOPELESS || failed < ended.count() {
            return Ok(());
        }
        let cause = self.trials.iter().find_map(|trial| trial.cause.clone());
        // A journal that another program has written to may lack it.
        let cause = cause.unwrap_or_else(|| "no cause is recorded".into());
        let logs = self.args.out.join("logs");
        Err(Failure {
            code: USER_ERROR,
            message: format!(
                "the first {failed} trials all failed; the first of them: {cause}\n  help: {} has what they said",
                logs.display()
            ),
        })
    }

    pub(super) fn run_directory(&self, trial: usize) -> PathBuf {
        self.args.out.join("trials").join(format!("{trial:04}"))
    }

    /// `--set` and rungs of a trial.
    pub(super) fn settings_of(&self, trial: usize) -> Result<(Vec<(String, String)>, Rungs), Failure> {
        let sets = self.space.choose(self.console, &self.trials[trial].values)?.sets;
        let rungs = self.rungs_of(&sets).map_err(|cause| Failure::user_error(format!("trial {trial}: {cause}")))?;
        Ok((sets, rungs))
    }

    /// The rungs of a trial with these values: its batch may be one of them.
    fn rungs_of(&self, sets: &[(String, String)]) -> Result<Rungs, String> {
        let model = self.space.model(sets)?;
        if self.args.steps.epochs.is_none() && model.training.epochs != self.epochs && self.scheduler.ladder.rungs > 1 {
            return Err(format!(
                "halving compares trainings of the same length, and with these values the spec has {} epochs, not {}; \
                 give --epochs, or --halving off",
                model.training.epochs, self.epochs
            ));
        }
        let batch = self.args.steps.batch.unwrap_or(model.training.batch);
        let mut rungs = Rungs::new(self.args, self.epochs, batch, self.rows);
        // With a smaller batch than the spec's there may be steps for more rungs.
        if rungs.ends.len() > self.scheduler.ladder.rungs {
            rungs.ends.truncate(self.scheduler.ladder.rungs - 1);
            rungs.ends.push(RungEnd::Whole);
        }
        Ok(rungs)
    }

    /// The arguments of a trial's process, and the line that trains the same again.
    pub(super) fn commands(
        &self,
        trial: usize,
        sets: Vec<(String, String)>,
        rungs: Rungs,
        end: RungEnd,
    ) -> (Vec<String>, String) {
        let run = TrialRun { args: self.args, sets, seed: self.seed, rungs, end };
        let again = PathBuf::from(format!("trial-{trial:04}"));
        (run.arguments(&self.run_directory(trial)), run.command_line(&again))
    }
}

/// The state of a trial whose last job came to this.
pub fn state_after(outcome: &OutcomeRecord) -> TrialState {
    match (&outcome.cause, outcome.ended) {
        (Some(_), _) => TrialState::Failed,
        (None, true) => TrialState::Complete,
        (None, false) => TrialState::Running,
    }
}

/// The end of a rung; the last one of a trial that has fewer.
fn end_of(rungs: &Rungs, rung: usize) -> RungEnd {
    rungs.ends.get(rung).copied().unwrap_or(RungEnd::Whole)
}

fn job_record(number: usize, rung: usize, end: RungEnd) -> JobRecord {
    let (stop_after, epochs) = match end {
        RungEnd::Step(step) => (Some(step), None),
        RungEnd::Epochs(epochs) => (None, Some(epochs)),
        RungEnd::Whole => (None, None),
    };
    JobRecord { number, rung, stop_after, epochs }
}

fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
