//! Where the time of steps goes, by call of a schedule.

use std::time::Duration;

/// Totals of one call of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRow {
    /// `train`, `infer`, `update adam of good`.
    pub schedule: String,
    pub phase: usize,
    /// Kernel's name, or such as `matmul 192x80`.
    pub name: String,
    /// `file:line:column` of what asked for it.
    pub location: String,
    /// Times called, once per tile.
    pub calls: u64,
    pub elements: u64,
    /// Summed over threads.
    pub seconds: f64,
    /// Floating-point operations (products and statistics only), and bytes of rows read and written
    /// if nothing is cached.
    pub flops: f64,
    pub bytes: f64,
}

/// One call on one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSpan {
    pub schedule: String,
    pub name: String,
    pub location: String,
    pub thread: usize,
    /// Since the profile began.
    pub begin: Duration,
    pub length: Duration,
}

/// What one core of a machine does at most while all threads work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Floating-point operations per second in products.
    pub flops: f64,
    /// Bytes per second, read and written, of a copy within the core's second-level cache.
    pub cache_bytes: f64,
    /// Bytes per second, read from memory in order.
    pub bytes: f64,
}
