//! The journal: what is written is read back, a half line is repaired, damage is named.
#![allow(clippy::unwrap_used)]

use din_tune::{ChosenValue, Domain, JobRecord, Journal, JournalError, OutcomeRecord, TrialState};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn values() -> Vec<ChosenValue> {
    let value = |name: &str, domain: Domain, value: f64| ChosenValue { name: name.into(), domain, value };
    vec![
        value("layers", Domain::Choices(vec![1.0, 2.0, 0.5]), 2.0),
        value("lr", Domain::Log { low: 1e-4, high: 1e-2 }, 3.185e-4),
        value("rate", Domain::Linear { low: 0.0, high: 0.5 }, 0.25),
    ]
}

fn job(number: usize, rung: usize) -> JobRecord {
    JobRecord { number, rung, stop_after: Some(10), epochs: None }
}

fn outcome(job: usize, value: Option<f64>) -> OutcomeRecord {
    let cause = value.is_none().then(|| "diverged".to_string());
    OutcomeRecord { job, value, cause, ended: false, samples: 640, seconds: 1.5 }
}

fn write(path: &Path) {
    Journal::create(path, "model", true, &[("din", json!({"seed": 1}))]).unwrap();
    let (mut journal, study) = Journal::open(path).unwrap();
    assert_eq!((study.trials.len(), study.jobs.len()), (0, 0));
    journal.begin_trial(&values(), &job(0, 0), &[("command", json!("din train"))]).unwrap();
    journal.outcome(0, &[(320, 0.6), (640, 0.625)], &outcome(0, Some(0.625))).unwrap();
    journal.begin_trial(&values()[1..], &job(1, 0), &[]).unwrap();
    journal.outcome(1, &[], &outcome(1, None)).unwrap();
    journal.end_trial(1, TrialState::Failed, None).unwrap();
    journal.promote(0, &job(2, 1), &[("command", json!("din train further"))]).unwrap();
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.log");
    write(&path);
    let (_, study) = Journal::open(&path).unwrap();
    assert_eq!(study.attributes["din"], json!({"seed": 1}));
    assert_eq!(study.trials[0].values, values());
    assert_eq!(study.trials[1].values, values()[1..]);
    assert_eq!((study.trials[0].state, study.trials[1].state), (TrialState::Running, TrialState::Failed));
    assert_eq!(study.trials[0].attributes["command"], json!("din train further"));
    let jobs: Vec<_> = study.jobs.iter().map(|job| (job.trial, job.job.clone(), job.outcome.clone())).collect();
    let expected =
        [(0, job(0, 0), Some(outcome(0, Some(0.625)))), (1, job(1, 0), Some(outcome(1, None))), (0, job(2, 1), None)];
    assert_eq!(jobs, expected);
}

/// Cut anywhere, as by a process that was killed while it wrote: it opens, what was whole is still
/// there, and what is appended then is read.
#[test]
fn a_journal_that_was_cut_anywhere_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.log");
    write(&path);
    let bytes = fs::read(&path).unwrap();
    let begun = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
    for cut in (begun..bytes.len()).step_by(37) {
        fs::write(&path, &bytes[..cut]).unwrap();
        let (mut journal, study) = Journal::open(&path).unwrap();
        let lines = bytes[..cut].iter().filter(|&&b| b == b'\n').count();
        assert_eq!(fs::read(&path).unwrap().iter().filter(|&&b| b == b'\n').count(), lines);
        journal.begin_trial(&values(), &job(study.jobs.len(), 0), &[]).unwrap();
        drop(journal);
        let (_, again) = Journal::open(&path).unwrap();
        assert_eq!(again.trials.len(), study.trials.len() + 1);
    }
}

#[test]
fn damage_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.log");
    write(&path);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (k, wrong) in
        [(2, "{\"op_code\": 4"), (3, "{}"), (2, "{\"op_code\": 99}"), (3, "{\"op_code\":8,\"trial_id\":9}")]
    {
        let mut changed: Vec<&str> = lines.clone();
        changed[k] = wrong;
        fs::write(&path, changed.join("\n") + "\n").unwrap();
        let Err(JournalError::Damaged(message)) = Journal::open(&path) else { panic!("{wrong}: it was read") };
        assert!(message.contains(&format!("journal.log:{}", k + 1)), "{message}");
    }
    // Every byte of a line may be wrong: an error or another study, never a panic.
    for at in (0..text.len()).step_by(11) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = b'7';
        fs::write(&path, &bytes).unwrap();
        let _ = Journal::open(&path);
    }
}

#[test]
fn one_process_at_a_time_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.log");
    write(&path);
    let held = Journal::open(&path).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Locked(_))));
    drop(held);
    Journal::open(&path).unwrap();
}

/// Lines of Optuna's dashboard, such as a note, do no harm.
#[test]
fn attributes_of_others_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.log");
    write(&path);
    let note = |op: u64, id: &str| {
        let mut line: Value = json!({"op_code": op, "worker_id": "x", "system_attr": {"dashboard:note": "good"}});
        line[id] = json!(0);
        format!("{line}\n")
    };
    let text = fs::read_to_string(&path).unwrap() + &note(3, "study_id") + &note(9, "trial_id");
    fs::write(&path, text).unwrap();
    assert_eq!(Journal::open(&path).unwrap().1.jobs.len(), 3);
}
