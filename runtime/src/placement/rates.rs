//! What a rank does per second.

use serde::Serialize;

/// Where rates come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSource {
    /// Rates of another machine: see `docs/operations/planning.md`.
    Default,
    /// The vendor's peaks; nothing was measured, so no time can be shorter.
    Published,
    /// Steps of this program, or exchanges between ranks, timed on this machine.
    Measured,
    /// The user's.
    Given,
}

/// What one rank does per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    pub source: RateSource,
    /// Where bandwidth, latency and overhead come from.
    pub communication: RateSource,
    /// Floating-point operations of matrix products.
    pub products: f64,
    /// Bytes that calls read and write.
    pub values: f64,
    /// Bytes of table rows that are read and written in updates.
    pub rows: f64,
    /// Ids whose rows are found and whose occurrences are sorted.
    pub ids: f64,
    /// Samples that one thread reads: decodes, permutes, puts into batches. `None` where reading is
    /// expected to take nothing from the steps.
    pub reading: Option<f64>,
    /// Bytes that a rank sends to others while it receives as many.
    pub bandwidth: f64,
    /// Seconds before the first byte of a message arrives.
    pub latency: f64,
    /// Seconds that a rank is busy with each message, however short.
    pub message: f64,
    /// Bytes between the host, which sends, and the device that computes; `None` where they are
    /// one.
    pub staging: Option<f64>,
}

impl Rates {
    /// A rank of so many cores, each as one core of an AMD EPYC was measured (AVX2,
    /// `models/din.din` at batch 1024), and 100 Gbit/s Ethernet.
    pub fn cpu(threads: u32) -> Self {
        let threads = f64::from(threads);
        Self {
            source: RateSource::Default,
            communication: RateSource::Default,
            products: 45e9 * threads,
            values: 20e9 * threads,
            rows: 10e9 * threads,
            ids: 60e6 * threads,
            reading: None,
            bandwidth: 12.5e9,
            latency: 10e-6,
            message: 1e-6,
            staging: None,
        }
    }

    /// A rank with one NVIDIA H100 SXM: 67 TFLOP/s in f32, 3.35 TB/s.
    pub fn h100() -> Self {
        Self::gpu(3.35e12)
    }

    /// A rank with one NVIDIA H200 SXM: 67 TFLOP/s in f32, 4.8 TB/s.
    pub fn h200() -> Self {
        Self::gpu(4.8e12)
    }

    /// Each GPU has a port of 400 Gbit/s and PCIe 5.0 x16; its host finds the rows of ids, at the
    /// rate of `docs/internals/tables.md`.
    fn gpu(memory: f64) -> Self {
        Self {
            source: RateSource::Published,
            communication: RateSource::Published,
            products: 67e12,
            values: memory,
            rows: memory,
            ids: 1.0 / 3.5e-9,
            reading: None,
            bandwidth: 50e9,
            latency: 2e-6,
            message: 1e-6,
            staging: Some(64e9),
        }
    }

    /// Whether steps run where communication does.
    pub fn on_host(&self) -> bool {
        self.staging.is_none()
    }

    /// Seconds of a collective operation in which every rank has a message of its own for every
    /// other one. They are sent one after the other, and arrive side by side.
    pub(super) fn all_to_all(&self, ranks: usize, bytes: f64) -> f64 {
        self.latency + (ranks as f64 - 1.0) * self.message + self.transfer(bytes)
    }

    /// Seconds of a collective operation in which all ranks get the same: messages double in each
    /// of `log2(ranks)` rounds.
    pub(super) fn all_gather(&self, ranks: usize, bytes: f64) -> f64 {
        (ranks as f64).log2().ceil() * (self.latency + self.message) + self.transfer(bytes)
    }

    /// `bytes`: the larger one of what is sent and received.
    fn transfer(&self, bytes: f64) -> f64 {
        bytes / self.bandwidth + self.staging.map_or(0.0, |staging| bytes / staging)
    }
}
