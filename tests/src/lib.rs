//! What the tests that cross crates share.

pub mod agreement;
pub mod batches;
pub mod cuda;
pub mod differences;
pub mod documents;
pub mod fuzz;
pub mod machine;
pub mod mutations;
pub mod primitives;
pub mod process;
pub mod random_graph;
pub mod rank_training;
pub mod requests;
pub mod specs;
pub mod tables;
pub mod towers;
pub mod unit;
pub mod zoo;
