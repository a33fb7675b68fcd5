//! What every running verb shares: errors with a fault, files that are whole or absent, the run directory, stopping on Ctrl-C.

pub mod directory;
pub mod document;
pub mod error;
pub mod file;
pub mod interrupt;

pub use directory::RunDirectory;
pub use error::{Error, Fault, Result};
