//! What both executors share: the model's dense values, a step's inputs, the checks of a program
//! and of a batch, where a batch's elements lie, and the rows of a profile. Knows neither executor.
//!
//! - `model`: dense values and inputs. - `description`, `validate`, `signature`: a program's
//!   numbers. `launches`: those of its CUDA form. `check`: a batch, the model's values and the
//!   tables.
//! - `layout`, `unique`: the elements of every axis. - `lookups`: what reads rows of tables.
//! - `combine`: how two values of a reduction become one. - `profile`: where the time of steps
//!   goes.

mod check;
mod combine;
mod description;
mod error;
mod launches;
mod layout;
mod lookups;
mod model;
mod profile;
mod signature;
mod steps;
mod unique;
mod validate;

pub(super) use check::{
    TableUse, check_batch, check_batch_except, check_fetched_rows, check_model, check_step, check_tables, check_whole,
};
pub(super) use combine::{combine, components};
pub(super) use description::check_description;
pub use error::CheckError;
pub(super) use launches::check_launches;
pub(super) use layout::{ElementRange, Layout};
pub(super) use lookups::{Lookup, lookups};
pub use model::{BatchCut, DenseState, FetchedRows, MAX_SLOTS, RowBuffer, RowSource, StepInputs, StepNumbers};
pub use profile::{CallSpan, ProfileRow, Roofline};
pub(super) use validate::{ScheduleRole, Validator};
