//! Executors: what runs the steps of a program. The CPU and CUDA.
//!
//! - `common`: what both share. - `cpu`, `cuda`: the executors. - `error`: why they refuse.

mod backend;
mod common;
pub mod cpu;
pub mod cuda;
mod error;

pub use common::{CallSpan, CheckError, DenseState, MAX_SLOTS, ProfileRow, StepInputs};
pub use error::ExecError;

pub use backend::Backend;

use crate::table::Table;
use cuda::DeviceError;
use std::fmt;

/// What a training session asks of an engine whose values live on a device; see [`cuda::CudaExecutor`].
pub trait Steps: fmt::Debug {
    /// What decides the bits of results, as a run records it.
    fn backend(&self) -> Backend;
    fn upload(&mut self, state: &DenseState, tables: &[Table]) -> Result<(), DeviceError>;
    fn download(&mut self, state: &mut DenseState, tables: &mut [Table]) -> Result<(), DeviceError>;
    /// Of tables that the device does not have whole, the host's have the other rows, and get those that make way.
    /// It does not wait for the step: the host readies the next one meanwhile.
    fn train_ahead(&mut self, tables: &mut [Table], inputs: &StepInputs<'_>) -> Result<(), DeviceError>;
    /// The loss of the oldest step whose loss was not given yet; `None` where there is none.
    fn next_loss(&mut self) -> Result<Option<f32>, DeviceError>;
    fn infer(&mut self, tables: &mut [Table], inputs: &StepInputs<'_>) -> Result<Option<f32>, DeviceError>;
    fn logits(&self, index: usize) -> &[f32];
    /// Starts (from zero) or stops measuring where the time of training steps goes.
    fn set_profile(&mut self, on: bool) -> Result<(), DeviceError>;
    fn profile(&self) -> Vec<ProfileRow>;
    fn spans(&self) -> Vec<CallSpan>;
}
