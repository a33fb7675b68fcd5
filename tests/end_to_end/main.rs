//! The real `din` binary from a spec to predictions: what it writes, prints and exits with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod bf16;
mod bundle;
mod checks;
mod commands;
mod controls;
mod differences;
mod evaluations;
mod faults;
mod features;
mod gpu;
mod injection;
mod known;
mod labels;
mod outputs;
mod phases;
mod plan;
mod predictions;
mod projects;
mod requests;
mod runs;
mod support;
mod training;
mod tune;
mod tutorial;
mod vectors;
mod vocabularies;
