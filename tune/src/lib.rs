//! Search over hyper-parameters: what is tried next, how far it is trained, and the journal of
//! what came of it. No processes and no terminal: the command runs the trials.
//!
//! A study is a list of jobs. A job trains one trial up to one rung: a new trial up to rung 0, or
//! one that is promoted up to the next. Every decision is a function of the jobs so far, so a study
//! that is read back from its journal goes on as if it had never stopped.
//!
//! - `space`: where values may lie. - `sampler`: suggestions, random or by TPE. - `parzen`: the
//!   densities that TPE compares. - `halving`: rungs, and which trial is promoted.
//! - `study`: the next job. - `journal`: the file, in the format of Optuna's journal storage.
#![forbid(unsafe_code)]

mod halving;
mod journal;
mod parzen;
mod sampler;
mod space;
mod study;
mod time;

pub use halving::{Ladder, TrialProgress};
pub use journal::{
    JobRecord, Journal, JournalError, OutcomeRecord, RecordedJob, RecordedStudy, RecordedTrial, TrialState,
};
pub use sampler::{Evidence, Sampler, Suggester};
pub use space::{ChosenValue, Domain};
pub use study::{JobOutcome, NextJob, Scheduler, StudyJob};
