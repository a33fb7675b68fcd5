//! Executors: what runs the steps of a program. The CPU and CUDA.
//!
//! - `common`: what both share. - `cpu`, `cuda`: the executors. - `backend`: what decides the bits
//!   of results. - `row_updates`: updates by the host beside a device. - `error`: why they refuse.

mod backend;
mod common;
pub mod cpu;
pub mod cuda;
mod error;
mod row_updates;

pub use backend::Backend;
pub use common::{
    BatchCut, CallSpan, CheckError, DenseState, FetchedRows, MAX_SLOTS, ProfileRow, Roofline, RowBuffer, RowSource,
    StepInputs,
};
pub use error::ExecError;
pub use row_updates::{RowUpdates, row_updates};

use crate::comm::Communicator;
use crate::table::Table;
use din_program::Program;
use std::fmt;
use std::sync::Arc;

/// Runs the steps of one program on a model: its dense state and its tables, which the caller owns.
///
/// An executor may keep the model's values in memory of its own. They are the caller's after
/// [`Executor::upload`] and, once steps have run, newer than the caller's until
/// [`Executor::download`]. Where the caller's memory is the model itself, both do nothing.
pub trait Executor: fmt::Debug {
    fn program(&self) -> &Arc<Program>;

    /// What decides the bits of results.
    fn backend(&self) -> Backend;

    /// Whether steps run on the host's cores and in the caller's memory.
    fn runs_on_host(&self) -> bool;

    /// Steps are from now on those of one rank of a run: see [`BatchCut::Part`].
    ///
    /// # Errors
    /// The executor runs whole batches alone.
    fn join_ranks(&mut self, ranks: Arc<dyn Communicator>) -> Result<(), ExecError>;

    /// Makes the executor's values those of the caller.
    fn upload(&mut self, state: &DenseState, tables: &[Table]) -> Result<(), ExecError>;

    /// Makes the caller's values those of the executor.
    fn download(&mut self, state: &mut DenseState, tables: &mut [Table]) -> Result<(), ExecError>;

    /// Begins one step of training, and counts it in `state.step`. An executor with memory of its
    /// own does not wait for the step; where it holds only some rows of a table, `tables` has the
    /// others, and gets those that make way.
    fn submit_step(
        &mut self,
        state: &mut DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<(), ExecError>;

    /// The loss of the oldest step whose loss was not given yet; waits for that step. `None` where
    /// there is none.
    fn next_loss(&mut self) -> Result<Option<f32>, ExecError>;

    /// One step of training; gives the batch's loss. Losses of earlier steps that were not asked
    /// for are forgotten.
    fn train_step(
        &mut self,
        state: &mut DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<f32, ExecError> {
        self.submit_step(state, tables, inputs)?;
        let mut last = None;
        while let Some(loss) = self.next_loss()? {
            last = Some(loss);
        }
        Ok(last.expect("the step that was just submitted has a loss"))
    }

    /// Predictions (see [`Executor::predicted`]) and, where labels are given, the loss.
    fn infer(
        &mut self,
        state: &DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError>;

    /// [`Executor::infer`] on a model that others read at the same time.
    ///
    /// # Errors
    /// As [`Executor::infer`]; or the executor has trained the model, so that it is not the one
    /// that others read.
    fn infer_shared(
        &mut self,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError>;

    /// Root of prediction `index` from the last [`Executor::infer`], sample by sample.
    fn predicted(&self, index: usize) -> &[f32];

    /// Values of output `index` from the last [`Executor::infer`], sample by sample.
    fn output(&self, index: usize) -> &[f32];

    /// Starts (from zero) or stops measuring where the time of steps goes.
    fn set_profile(&mut self, on: bool) -> Result<(), ExecError>;

    /// What was measured since [`Executor::set_profile`], slowest first.
    fn profile(&self) -> Vec<ProfileRow>;

    /// The first calls since [`Executor::set_profile`], one by one.
    fn spans(&self) -> Vec<CallSpan>;

    /// What one core does at most, measured now; `None` where steps do not run on the host's cores.
    fn roofline(&self) -> Option<Roofline>;
}
