//! The run directory: what a run was made of, its epochs, its checkpoints.

pub mod document;
mod record;

pub use record::*;
