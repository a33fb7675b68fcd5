//! The real `din` binary from a spec to predictions: what it writes, prints and exits with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod bundle;
mod commands;
mod faults;
mod features;
mod gpu;
mod injection;
mod outputs;
mod plan;
mod predictions;
mod requests;
mod runs;
mod support;
mod training;
