//! The runtime: runs a program. Data, tables, the engine, training, metrics, checkpoints. Knows nothing of syntax.

pub mod batch;
pub mod checkpoint;
pub mod code;
pub mod container;
pub mod data;
pub mod device;
pub mod engine;
pub mod evaluate;
pub mod gemm;
mod identity;
mod lanes;
pub mod metric;
pub mod predict;
pub mod random;
pub mod run;
mod spread;
pub mod synth;
pub mod table;
pub mod train;
