//! The CUDA back end without a GPU: the generated source on the shim against the interpreter, what
//! the shim itself finds, and what NVRTC makes of the source.
#![allow(clippy::unwrap_used)]

mod engine;
mod fragments;
mod gpu;
mod graphs;
mod joins;
mod lists;
mod models;
mod nvrtc;
mod profile;
mod ranks;
mod refusals;
mod requests;
mod rows;
mod shim;
mod snapshots;
mod tables;
mod units;
