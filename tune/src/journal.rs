//! The journal of a study: one JSON object per line, appended and never changed, as Optuna's
//! `JournalStorage` with `JournalFileBackend` has them. Optuna and its dashboard read it;
//! attributes that they append are left alone.
//!
//! What goes on from here is in attributes of the trials: `job` (where a trial was sent) and
//! `outcome` (what came of it). The line of an outcome is the last that a job writes, so a job is
//! either done or begins again.

mod lines;

use crate::space::ChosenValue;
use crate::time::iso;
use din_runtime::fs::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Who writes: Optuna tells its own lines from others' by it.
const WORKER: &str = "din";

/// A journal that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// It is not as it was written: which line, and what was expected.
    Damaged(String),
    /// Another process writes to it.
    Locked(String),
    /// The system's.
    System(String),
}

/// Optuna's states of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    Running,
    Complete,
    Pruned,
    Failed,
}

impl TrialState {
    fn code(self) -> u64 {
        match self {
            Self::Running => 0,
            Self::Complete => 1,
            Self::Pruned => 2,
            Self::Failed => 3,
        }
    }

    fn of_code(code: u64) -> Option<Self> {
        [Self::Running, Self::Complete, Self::Pruned, Self::Failed].into_iter().find(|state| state.code() == code)
    }
}

/// Where a trial was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// From 0, over all trials.
    pub number: usize,
    pub rung: usize,
    /// The step that it trains up to; null where it goes to the end, or to an epoch.
    pub stop_after: Option<u64>,
    /// The epochs that it trains; null where it goes to the end, or to a step.
    pub epochs: Option<u32>,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// The job's number.
    pub job: usize,
    /// The metric of the best checkpoint by then; null where it failed.
    pub value: Option<f64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// It goes no further by itself: `patience`.
    pub ended: bool,
    /// Samples that the trial has been trained on by then.
    pub samples: u64,
    /// Seconds that the job took.
    pub seconds: f64,
}

/// A trial as the journal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedTrial {
    /// By name.
    pub values: Vec<ChosenValue>,
    pub state: TrialState,
    pub value: Option<f64>,
    pub attributes: Map<String, Value>,
}

/// A job as the journal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedJob {
    pub trial: usize,
    pub job: JobRecord,
    pub outcome: Option<OutcomeRecord>,
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordedStudy {
    pub attributes: Map<String, Value>,
    pub trials: Vec<RecordedTrial>,
    /// In the order in which they began.
    pub jobs: Vec<RecordedJob>,
}

/// A journal that is open for writing, and locked.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Begins a journal, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, name: &str, maximize: bool, attributes: &[(&str, Value)]) -> Result<(), JournalError> {
        // Optuna's numbers of directions.
        let direction = if maximize { 2 } else { 1 };
        let mut lines = vec![json!({"op_code": lines::CREATE_STUDY, "study_name": name, "directions": [direction]})];
        lines.extend(attributes.iter().map(|(key, value)| study_attribute(key, value)));
        write_atomically(path, text_of(&lines).as_bytes()).map_err(|e| JournalError::System(e.message))
    }

    /// Opens and locks a journal, and reads it. A last line that is not whole, left by a process
    /// that was killed while it wrote, is cut off.
    ///
    /// # Errors
    /// The file cannot be read, another process has locked it, or it is not a journal.
    pub fn open(path: &Path) -> Result<(Self, RecordedStudy), JournalError> {
        let failed =
            |what: &str, e: &io::Error| JournalError::System(format!("{}: cannot {what}: {e}", path.display()));
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(|e| failed("open", &e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::Locked(format!("{}: another process runs this study", path.display())));
            }
            // Some file systems have no locks.
            Err(TryLockError::Error(_)) => {}
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| failed("read", &e))?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(|e| failed("repair", &e))?;
        }
        let study = lines::read(path, &bytes[..whole])?;
        Ok((Self { path: path.to_path_buf(), file }, study))
    }

    /// Appends lines; when this returns they are durable.
    fn append(&mut self, lines: &[Value]) -> Result<(), JournalError> {
        let written = self.file.write_all(text_of(lines).as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|e| JournalError::System(format!("{}: cannot write: {e}", self.path.display())))
    }

    /// A trial that begins, with its first job.
    ///
    /// # Errors
    /// The file cannot be written, as for all that follow.
    pub fn begin_trial(
        &mut self,
        values: &[ChosenValue],
        job: &JobRecord,
        attributes: &[(&str, Value)],
    ) -> Result<(), JournalError> {
        let mut all: Map<String, Value> =
            attributes.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        all.insert("job".into(), json!(job));
        let named = |of: fn(&ChosenValue) -> Value| -> Map<String, Value> {
            values.iter().map(|chosen| (chosen.name.clone(), of(chosen))).collect()
        };
        self.append(&[json!({
            "op_code": lines::CREATE_TRIAL,
            "study_id": 0,
            "datetime_start": iso(SystemTime::now()),
            "state": TrialState::Running.code(),
            "value": null,
            "values": null,
            "distributions": named(lines::distribution),
            "params": named(lines::internal),
            "user_attrs": all,
            "system_attrs": {},
            "intermediate_values": {},
        })])
    }

    /// A job that sends a trial further, with attributes that change by it.
    ///
    /// # Errors
    /// As above.
    pub fn promote(&mut self, trial: usize, job: &JobRecord, attributes: &[(&str, Value)]) -> Result<(), JournalError> {
        let mut lines: Vec<Value> = attributes.iter().map(|(key, value)| trial_attribute(trial, key, value)).collect();
        // Behind what belongs to it: the job is there when its line is.
        lines.push(trial_attribute(trial, "job", &json!(job)));
        self.append(&lines)
    }

    /// What came of a job: the values of the metric that are new, by step, then the outcome.
    ///
    /// # Errors
    /// As above.
    pub fn outcome(&mut self, trial: usize, curve: &[(u64, f64)], outcome: &OutcomeRecord) -> Result<(), JournalError> {
        let op = lines::SET_INTERMEDIATE;
        let value = |(step, value): &(u64, f64)| {
            let mut line = json!({"op_code": op, "trial_id": trial, "step": step});
            line["intermediate_value"] = json!(value);
            line
        };
        let mut lines: Vec<Value> = curve.iter().map(value).collect();
        lines.push(trial_attribute(trial, "outcome", &json!(outcome)));
        self.append(&lines)
    }

    /// The state in which a trial ends.
    ///
    /// # Errors
    /// As above.
    pub fn end_trial(&mut self, trial: usize, state: TrialState, value: Option<f64>) -> Result<(), JournalError> {
        self.append(&[json!({
            "op_code": lines::SET_STATE,
            "trial_id": trial,
            "state": state.code(),
            "values": value.map(|value| vec![value]),
            "datetime_complete": iso(SystemTime::now()),
        })])
    }

    /// Sets an attribute of the study.
    ///
    /// # Errors
    /// As above.
    pub fn set_attribute(&mut self, key: &str, value: &Value) -> Result<(), JournalError> {
        self.append(&[study_attribute(key, value)])
    }
}

fn study_attribute(key: &str, value: &Value) -> Value {
    json!({"op_code": lines::SET_STUDY_ATTRIBUTE, "study_id": 0, "user_attr": {key: value}})
}

fn trial_attribute(trial: usize, key: &str, value: &Value) -> Value {
    json!({"op_code": lines::SET_TRIAL_ATTRIBUTE, "trial_id": trial, "user_attr": {key: value}})
}

fn text_of(lines: &[Value]) -> String {
    let mut text = String::new();
    for line in lines {
        let mut line = line.clone();
        line["worker_id"] = WORKER.into();
        text += &line.to_string();
        text.push('\n');
    }
    text
}
