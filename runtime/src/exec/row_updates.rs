//! Updates of a rank's rows by the host, for an executor whose device has no tables of its own.

use super::ExecError;
use super::common::{FetchedRows, StepNumbers};
use super::cpu::CpuExecutor;
use crate::comm::Communicator;
use crate::cpu;
use crate::table::Table;
use crate::threads::Threads;
use din_program::{Isa, Program};
use std::fmt;
use std::sync::Arc;

/// Brings the sums of row gradients to the owners of the rows, and updates those of this rank.
pub trait RowUpdates: fmt::Debug + Send {
    /// Where the sums of the gradients of a table's fetched rows are to be written: the table's
    /// width of floats for each of `rows` rows.
    fn fetched_sums(&mut self, table: usize, rows: usize) -> &mut [f32];

    /// Exchanges the sums that were written, and updates this rank's rows; `numbers` are
    /// those of the step. Every rank calls it, with a sum for each row that it has fetched.
    ///
    /// # Errors
    /// Another rank failed.
    fn update_rows(
        &mut self,
        tables: &mut [Table],
        fetched: &[FetchedRows],
        numbers: StepNumbers,
    ) -> Result<(), ExecError>;
}

impl RowUpdates for CpuExecutor {
    fn fetched_sums(&mut self, table: usize, rows: usize) -> &mut [f32] {
        self.fetched_sums(table, rows)
    }

    fn update_rows(
        &mut self,
        tables: &mut [Table],
        fetched: &[FetchedRows],
        numbers: StepNumbers,
    ) -> Result<(), ExecError> {
        self.update_rows(tables, fetched, numbers)
    }
}

/// The updates of a program's rows on one rank, by the code of the CPU; without `isa` at the best
/// level that there is.
///
/// # Errors
/// The program has no code for this CPU.
pub fn row_updates(
    program: Arc<Program>,
    threads: Arc<Threads>,
    isa: Option<Isa>,
    ranks: Arc<dyn Communicator>,
) -> Result<Box<dyn RowUpdates>, ExecError> {
    let mut rows = CpuExecutor::new(program, threads, isa.unwrap_or_else(cpu::detect))?;
    rows.set_ranks(ranks);
    Ok(Box::new(rows))
}
