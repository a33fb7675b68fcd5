//! Tests of the runtime by its public functions, in one binary of the package `din-tests`, so that
//! they are not optimised as the runtime is. What needs a process of its own is a binary beside it.
#![allow(clippy::unwrap_used)]

mod data;
mod engine;
mod evaluation;
mod metrics;
mod placement;
