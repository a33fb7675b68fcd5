//! Runs generated CUDA source on the CPU: compiled by the host's C++ compiler against `tests/shim`,
//! which checks every access.

mod device;
mod driver;
mod graph;
mod model;
mod rows;
mod training;

pub use device::{Device, Failure};
pub use driver::{ARCHITECTURE, Shim};
pub use graph::{Corpus, varied};
pub use model::{Columns, Trainer, columns};
pub use rows::{FeatureRows, RowResults, TableRows, sum_rows};
pub use training::{ROWS, STEPS, Storage, close, same, samples, train};
