//! The runtime: runs a program. Data, tables, executors, training, metrics, checkpoints. Knows nothing of syntax.

pub mod batch;
pub mod bundle;
pub mod checkpoint;
pub mod cpu;
pub mod data;
pub mod document;
pub mod error;
pub mod evaluate;
pub mod exec;
pub mod fs;
mod identity;
pub mod jit;
pub mod kernels;
mod lanes;
pub mod metric;
pub mod predict;
pub mod random;
pub mod run_dir;
pub mod session;
pub mod signal;
pub mod synth;
pub mod table;
pub mod threads;
pub mod train;

pub use error::{Error, ErrorKind, Result};
