//! Tests that cross crates, in one binary: each would link everything again, and tests of different
//! files share the cores. What needs a process of its own, or is run by itself, is a binary of its
//! own (`Cargo.toml`).
#![allow(clippy::unwrap_used)]

mod absorb;
mod agree;
mod backend;
mod bf16;
mod deduplicate;
mod differences;
mod embeddings;
mod features;
mod fixed;
mod gradients;
mod graphs;
mod passes;
mod planned_traffic;
mod ranks;
mod recurrences;
mod reference;
mod requests;
mod times;
mod traffic;
mod training_controls;
mod units;
mod zoo;
