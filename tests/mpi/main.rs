//! Ranks that `mpirun` has started, under Open MPI and under MPICH: what they send each other, and
//! how their run ends.
//!
//! `cargo xtask test --mpi` builds the libraries, says where they are, and runs these tests. A rank
//! is this test binary again, which then runs [`role::a_rank`] alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod command;
mod ends;
mod exchange;
mod failures;
mod fields;
mod gpu;
mod kills;
mod role;
mod same;
mod scene;
mod support;
