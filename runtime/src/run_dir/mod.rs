//! The run directory: what a run was made of, its epochs, its checkpoints.

mod record;

pub use record::*;
