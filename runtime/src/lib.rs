//! The runtime: runs a program. Data, tables, the engine, training, metrics, checkpoints. Knows nothing of syntax.

pub mod batch;
pub mod container;
pub mod run;
pub mod code;
pub mod engine;
pub mod gemm;
