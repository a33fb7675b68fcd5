//! The winner: trained again with other seeds, and evaluated on the test data.

use super::settings::{Objective, Rungs, StudyData};
use super::trial::{RunProgress, TrialExit, TrialProcess, TrialRun, own_command};
use super::{STOP_HELP, StudyRun, wait};
use crate::failure::{Failure, INTERRUPTED};
use din_runtime::signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The winner trained with one seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeedRun {
    pub seed: u64,
    pub run: PathBuf,
    /// On the validation data.
    pub valid: f64,
    /// On the test data, where there are any.
    pub test: Option<f64>,
    pub samples: u64,
}

/// What was made of the winner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WinnerReport {
    pub trial: usize,
    pub runs: Vec<SeedRun>,
    /// How often the test data have been evaluated in this study, this time included.
    pub test_evaluations: u32,
}

/// The attribute `test` of a study: what its winner came to on the test data.
#[derive(Serialize, Deserialize)]
struct TestRecord {
    /// Trial, seeds, and hashes of the files.
    of: Value,
    /// By seed.
    values: Vec<f64>,
    /// How often a winner of this study has been evaluated.
    evaluations: u32,
}

impl StudyRun<'_> {
    /// Trains the winner with `--seeds` seeds, and evaluates them on `--test`. What was done before
    /// is not done again.
    pub fn train_winner(&mut self, trial: usize, test: Option<&StudyData>) -> Result<Option<WinnerReport>, Failure> {
        if self.args.seeds == 0 {
            return Ok(None);
        }
        let mut runs = Vec::new();
        let (sets, rungs) = self.settings_of(trial)?;
        for k in 1..=u64::from(self.args.seeds) {
            // Not the trials' own seed: the winner was selected with it.
            let seed = self.seed.wrapping_add(k);
            let run = self.args.out.join("winner").join(format!("{trial:04}-seed-{seed}"));
            runs.push(self.train_seed(&sets, &rungs, seed, run)?);
        }
        let mut report = WinnerReport { trial, runs, test_evaluations: 0 };
        if let Some(test) = test {
            self.evaluate(&mut report, test)?;
        }
        Ok(Some(report))
    }

    fn train_seed(
        &mut self,
        sets: &[(String, String)],
        rungs: &Rungs,
        seed: u64,
        run: PathBuf,
    ) -> Result<SeedRun, Failure> {
        let end = super::settings::RungEnd::Whole;
        let settings = TrialRun { args: self.args, sets: sets.to_vec(), seed, rungs: rungs.clone(), end };
        let mut arguments = settings.arguments(&run);
        arguments.push("--resume".into());
        if let Some(threads) = self.args.cpu.threads {
            arguments.extend(["--threads".into(), threads.to_string()]);
        }
        let name =
            run.file_name().expect("a run of the winner is a folder below the study").to_string_lossy().into_owned();
        let mut training =
            TrialProcess::start(&arguments, &run, &self.args.out.join("logs").join(format!("{name}.log")))?;
        let mut asked = false;
        loop {
            if signal::asked() && !asked {
                training.ask_to_stop();
                asked = true;
            }
            match training.exit()? {
                None => wait(),
                Some(TrialExit::Done { .. }) => break,
                Some(TrialExit::Stopped) => {
                    self.console.remark(format!("{}: {STOP_HELP}", self.args.out.display()));
                    return Err(Failure::reported(INTERRUPTED));
                }
                Some(TrialExit::Failed { cause, .. }) => {
                    return Err(Failure::user_error(format!("the winner, trained with seed {seed}: {cause}")));
                }
            }
        }
        let progress = RunProgress::read(&run, &self.objective, end, self.rows)?;
        let undefined = || Failure::user_error(format!("{}: {} is undefined", run.display(), self.objective.metric));
        let valid = progress.value.ok_or_else(undefined)?;
        self.console
            .remark(format!("winner, seed {seed}: {} {valid:.4} on the validation data", self.objective.title()));
        Ok(SeedRun { seed, run, valid, test: None, samples: progress.samples })
    }

    /// The test values are kept in the journal: the same runs are not evaluated again.
    fn evaluate(&mut self, report: &mut WinnerReport, test: &StudyData) -> Result<(), Failure> {
        let files: Vec<&String> = test.files.iter().map(|(_, hash)| hash).collect();
        let seeds: Vec<u64> = report.runs.iter().map(|run| run.seed).collect();
        let of = json!({"trial": report.trial, "seeds": seeds, "files": files});
        let had = self.attributes.get("test").cloned().map(serde_json::from_value::<TestRecord>).transpose();
        let had = had.map_err(|e| {
            let journal = self.args.out.join("journal.log");
            Failure::user_error(format!(
                "{}: the test values are not as they were written: {e}\n  help: put the file back, or choose another --out",
                journal.display()
            ))
        })?;
        let times = had.as_ref().map_or(0, |had| had.evaluations);
        let values = match had.filter(|had| had.of == of && had.values.len() == report.runs.len()) {
            Some(had) => {
                report.test_evaluations = times;
                had.values
            }
            None => {
                let paths = &self.args.test;
                let values = report.runs.iter().map(|run| evaluated(&run.run, paths, &self.objective));
                let values = values.collect::<Result<Vec<f64>, Failure>>()?;
                report.test_evaluations = times + 1;
                let kept = TestRecord { of, values: values.clone(), evaluations: report.test_evaluations };
                let kept = serde_json::to_value(kept).expect("numbers and texts become JSON");
                self.journal.set_attribute("test", &kept).map_err(super::failed)?;
                self.attributes.insert("test".into(), kept);
                values
            }
        };
        for (run, value) in report.runs.iter_mut().zip(values) {
            run.test = Some(value);
        }
        Ok(())
    }
}

/// The metric of a run on data, by `din eval`.
fn evaluated(run: &Path, data: &[PathBuf], objective: &Objective) -> Result<f64, Failure> {
    let mut command = own_command()?;
    command.arg("eval").arg(run).arg("--data").args(data).args(["--json", "--quiet", "--color", "never"]);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Failure::system_error(format!("cannot start an evaluation: {e}")))?;
    if signal::asked() {
        return Err(Failure::reported(INTERRUPTED));
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let cause = said.lines().find(|line| line.starts_with("error")).unwrap_or("it failed").to_string();
        let code = output.status.code().map_or(crate::failure::SYSTEM_ERROR, |code| code as u8);
        return Err(Failure {
            code,
            message: format!("{} on --test: {}", run.display(), cause.trim_start_matches("error: ")),
        });
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let metrics = report["metrics"].as_array().into_iter().flatten();
    let value = metrics.filter(|metric| metric["name"] == objective.metric.as_str()).find_map(|m| m["value"].as_f64());
    let undefined = || Failure::user_error(format!("--test: {} is undefined on these data", objective.metric));
    value.map(|value| objective.recorded(value)).ok_or_else(undefined)
}
