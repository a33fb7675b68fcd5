//! What every running verb shares: errors with a fault, files that are whole or absent, the run directory, stopping on Ctrl-C.

pub mod error;
pub mod file;

pub use error::{Error, Fault, Result};
