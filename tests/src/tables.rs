//! The tables of a program in one process.

use din_program::Program;
use din_runtime::table::{self, ShardPlan, Table, TableError};
use din_runtime::threads::Threads;

/// The tables as a session has them before training, in the program's order.
///
/// # Errors
/// There is no memory for them.
pub fn tables(program: &Program, seed: u64) -> Result<Vec<Table>, TableError> {
    table::of_program(program, seed, &ShardPlan::whole(program.tables.len()), &Threads::caller())
}
