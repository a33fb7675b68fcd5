//! The runtime: runs a program. Data, tables, the engine, training, metrics, checkpoints. Knows nothing of syntax.

pub mod batch;
