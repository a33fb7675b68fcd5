//! Executes schedules.

mod error;
mod model;
pub mod pool;

pub use error::EngineError;
pub use model::{MAX_SLOTS, State, StepInputs, TableView, Touched};
