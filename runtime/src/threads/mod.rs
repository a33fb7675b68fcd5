//! Threads: a pool for the phases of a step, and a parallel loop for work on a batch's columns.

mod parallel_for;
pub mod pool;

pub(crate) use parallel_for::{parallel_for, set_threads};
pub use pool::ThreadError;
