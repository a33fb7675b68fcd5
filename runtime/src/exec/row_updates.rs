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

    /// Exchanges the sums that were written. Every rank calls it, with a sum for each row that it
    /// has fetched.
    ///
    /// # Errors
    /// Another rank failed.
    fn exchange_rows(&mut self, tables: &[Table], fetched: &[FetchedRows]) -> Result<(), ExecError>;

    /// Behind the exchange: the sums of the squares of gradients that updates read
    /// ([`Storage::SquaredNorms`](din_program::schedule::Storage::SquaredNorms)), of all ranks'
    /// rows and 0 for parameters, which the caller fills in; empty where no update reads them.
    ///
    /// # Errors
    /// Another rank failed.
    fn squared_norms(&mut self, tables: &mut [Table], numbers: StepNumbers) -> Result<&mut [f32], ExecError>;

    /// Updates this rank's rows, behind all of these; `numbers` are those of the step.
    ///
    /// # Errors
    /// Another rank failed.
    fn update_rows(&mut self, tables: &mut [Table], numbers: StepNumbers) -> Result<(), ExecError>;
}

impl RowUpdates for CpuExecutor {
    fn fetched_sums(&mut self, table: usize, rows: usize) -> &mut [f32] {
        self.fetched_sums(table, rows)
    }

    fn exchange_rows(&mut self, tables: &[Table], fetched: &[FetchedRows]) -> Result<(), ExecError> {
        self.exchange_rows(tables, fetched)
    }

    fn squared_norms(&mut self, tables: &mut [Table], numbers: StepNumbers) -> Result<&mut [f32], ExecError> {
        self.squared_norms_of_tables(tables, numbers)
    }

    fn update_rows(&mut self, tables: &mut [Table], numbers: StepNumbers) -> Result<(), ExecError> {
        self.update_rows(tables, numbers)
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
