//! What the tests that cross crates share.

pub mod cuda;
pub mod differences;
pub mod machine;
pub mod random_graph;
pub mod unit;
