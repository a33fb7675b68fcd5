//! The lines of a journal: operations, distributions and values as Optuna has them.

use super::{JobRecord, JournalError, OutcomeRecord, RecordedJob, RecordedStudy, RecordedTrial, TrialState};
use crate::space::{ChosenValue, Domain};
use serde_json::{Map, Value, json};
use std::path::Path;

pub const CREATE_STUDY: u64 = 0;
pub const SET_STUDY_ATTRIBUTE: u64 = 2;
pub const CREATE_TRIAL: u64 = 4;
pub const SET_STATE: u64 = 6;
pub const SET_INTERMEDIATE: u64 = 7;
pub const SET_TRIAL_ATTRIBUTE: u64 = 8;

/// The distribution of a value, as JSON in a string.
pub fn distribution(chosen: &ChosenValue) -> Value {
    let range = |low: &f64, high: &f64, log: bool| {
        let attributes = json!({"step": null, "low": low, "high": high, "log": log});
        json!({"name": "FloatDistribution", "attributes": attributes})
    };
    let distribution = match &chosen.domain {
        Domain::Choices(choices) => {
            let choices: Vec<Value> = choices.iter().map(|&choice| number(choice)).collect();
            json!({"name": "CategoricalDistribution", "attributes": {"choices": choices}})
        }
        Domain::Linear { low, high } => range(low, high, false),
        Domain::Log { low, high } => range(low, high, true),
    };
    distribution.to_string().into()
}

/// A whole number as one, so that Optuna shows `2` and not `2.0`.
fn number(value: f64) -> Value {
    const EXACT: f64 = (1u64 << 53) as f64;
    if value.fract() == 0.0 && value.abs() <= EXACT { json!(value as i64) } else { json!(value) }
}

/// Of a choice, its number in the list.
pub fn internal(chosen: &ChosenValue) -> Value {
    match &chosen.domain {
        Domain::Choices(choices) => json!(choices.iter().position(|&choice| choice == chosen.value)),
        Domain::Linear { .. } | Domain::Log { .. } => json!(chosen.value),
    }
}

fn chosen(name: &str, distribution: &Value, internal: &Value) -> Option<ChosenValue> {
    let distribution: Value = serde_json::from_str(distribution.as_str()?).ok()?;
    let attributes = &distribution["attributes"];
    let name = name.to_string();
    match distribution["name"].as_str()? {
        "CategoricalDistribution" => {
            let choices: Vec<f64> =
                attributes["choices"].as_array()?.iter().map(Value::as_f64).collect::<Option<_>>()?;
            let value = *choices.get(internal.as_u64()? as usize)?;
            Some(ChosenValue { name, domain: Domain::Choices(choices), value })
        }
        "FloatDistribution" => {
            let (low, high) = (attributes["low"].as_f64()?, attributes["high"].as_f64()?);
            let domain = match attributes["log"].as_bool()? {
                true => Domain::Log { low, high },
                false => Domain::Linear { low, high },
            };
            Some(ChosenValue { name, domain, value: internal.as_f64()? })
        }
        _ => None,
    }
}

/// Reads all lines.
pub fn read(path: &Path, bytes: &[u8]) -> Result<RecordedStudy, JournalError> {
    let mut study = RecordedStudy::default();
    for (k, line) in bytes.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let value: Option<Value> = serde_json::from_slice(line).ok();
        if value.as_ref().and_then(|line| apply(&mut study, line)).is_none() {
            let place = format!("{}:{}", path.display(), k + 1);
            return Err(JournalError::Damaged(format!("{place}: expected a line of a journal of `din tune`")));
        }
    }
    Ok(study)
}

/// Applies a line; `None` where it is not one of ours or of Optuna's.
fn apply(study: &mut RecordedStudy, line: &Value) -> Option<()> {
    let attribute = || line["user_attr"].as_object()?.iter().next();
    match line["op_code"].as_u64()? {
        SET_STUDY_ATTRIBUTE => {
            let (key, value) = attribute()?;
            study.attributes.insert(key.clone(), value.clone());
        }
        CREATE_TRIAL => {
            let mut values = Vec::new();
            for (name, internal) in line["params"].as_object()? {
                values.push(chosen(name, &line["distributions"][name], internal)?);
            }
            let attributes: Map<String, Value> = line["user_attrs"].as_object()?.clone();
            let job: JobRecord = serde_json::from_value(attributes.get("job")?.clone()).ok()?;
            let trial = study.trials.len();
            study.trials.push(RecordedTrial { values, state: TrialState::Running, value: None, attributes });
            begin(study, trial, job)?;
        }
        SET_STATE => {
            let trial = trial_of(study, line)?;
            trial.state = TrialState::of_code(line["state"].as_u64()?)?;
            trial.value = line["values"].get(0).and_then(Value::as_f64);
        }
        SET_TRIAL_ATTRIBUTE => {
            let (key, value) = attribute()?;
            let number = line["trial_id"].as_u64()? as usize;
            trial_of(study, line)?.attributes.insert(key.clone(), value.clone());
            match key.as_str() {
                "job" => begin(study, number, serde_json::from_value(value.clone()).ok()?)?,
                "outcome" => {
                    let outcome: OutcomeRecord = serde_json::from_value(value.clone()).ok()?;
                    let job = study.jobs.get_mut(outcome.job).filter(|job| job.trial == number)?;
                    job.outcome = Some(outcome);
                }
                _ => {}
            }
        }
        // The study itself, values that run directories have too, and what a dashboard notes.
        0..=10 => {}
        _ => return None,
    }
    Some(())
}

fn begin(study: &mut RecordedStudy, trial: usize, job: JobRecord) -> Option<()> {
    (job.number == study.jobs.len()).then(|| study.jobs.push(RecordedJob { trial, job, outcome: None }))
}

fn trial_of<'s>(study: &'s mut RecordedStudy, line: &Value) -> Option<&'s mut RecordedTrial> {
    study.trials.get_mut(line["trial_id"].as_u64()? as usize)
}
