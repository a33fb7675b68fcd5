//! Fuzz targets: functions that take any bytes, and panic where a property of what they test does
//! not hold. `fuzz/` gives each of them to libFuzzer, and `tests/tests/fuzz.rs` replays the corpora
//! of `tests/corpus/`, and mutations of them, on the base Rust.

mod data;
mod mutations;
mod program;
mod seal;
mod seeds;
mod text;

pub use data::{csv, parquet};
pub use mutations::mutate;
pub use program::{bundle, program};
pub use seeds::{Seed, seeds};
pub use text::{checker, formatter, parser};

/// What became of an input. Neither is wrong; that a target knows both shows that its corpus
/// reaches what it tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Refused,
}

impl Outcome {
    fn of(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}
