//! The runtime: runs a program. Data, tables, the engine, training, metrics, checkpoints. Knows nothing of syntax.

pub mod batch;
pub mod data;
pub mod container;
pub mod run;
pub mod code;
pub mod engine;
pub mod gemm;
pub mod random;
pub mod synth;
pub mod table;
pub mod checkpoint;
pub mod metric;
