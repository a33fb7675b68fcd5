//! What the planner ([`crate::placement`]) is told instead of assuming it: how often ids occur in
//! the log of a run, how long its lists are, and what this machine does per second.
//!
//! - `log`: from a run directory. - `machine`: by steps that are timed. - `network`: by exchanges
//!   between ranks that are timed.

mod log;
mod machine;
mod network;

pub use log::{LogSurvey, measure_reading};
pub use machine::measure;
pub use network::measure_network;
