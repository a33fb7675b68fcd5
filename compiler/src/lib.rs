//! The compiler: a syntax tree to a checked model, to a graph, to a program. Pure: no files, no threads, no devices.

pub mod autodiff;
pub mod codegen;
pub mod compile;
pub mod elementwise;
pub mod front;
pub mod graph;
pub mod interpret;
pub mod model;
pub mod optimize;
pub mod plan;

pub use compile::{CompileError, CompileOptions, Compiled, PassRun, compile, compile_observed};
