//! Where a training run's time went: `din train --profile`.

use crate::exec::{Backend, CallSpan, ProfileRow, Roofline};
use crate::session::Session;
use din_program::schema::seen_from;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Everything that was measured. Seconds of kernels are summed over threads, or the device's own;
/// the rest is wall time.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingProfile {
    pub steps: u64,
    pub samples: u64,
    /// Of the CPU.
    pub threads: usize,
    /// What the kernels ran on, where that is not the CPU.
    pub device: Option<Backend>,
    /// From the first batch of an epoch to its last step, over the epochs.
    pub training: Duration,
    /// Of it, waiting for the next batch to be read.
    pub waiting: Duration,
    /// Of it, finding the rows of ids.
    pub lookups: Duration,
    /// Slowest first.
    pub rows: Vec<ProfileRow>,
    /// The first calls, one by one.
    pub spans: Vec<CallSpan>,
    /// What a core does at most; of the CPU alone.
    pub roof: Option<Roofline>,
}

/// What training adds up while it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub steps: u64,
    pub samples: u64,
    pub training: Duration,
    pub waiting: Duration,
}

impl TrainingProfile {
    /// `spec_folder`: from where places in the spec are named.
    pub(super) fn new(session: &Session, times: Times, spec_folder: &Path) -> TrainingProfile {
        let device = session.device();
        let (mut rows, mut spans) = session.profile();
        let locations = rows.iter_mut().map(|r| &mut r.location).chain(spans.iter_mut().map(|s| &mut s.location));
        locations.for_each(|location| *location = seen_from(spec_folder, location));
        TrainingProfile {
            steps: times.steps,
            samples: times.samples,
            threads: session.threads().count(),
            training: times.training,
            waiting: times.waiting,
            lookups: session.lookups(),
            rows: rows.into_iter().filter(|r| r.schedule != "infer").collect(),
            spans,
            roof: session.roofline(),
            device,
        }
    }

    /// Seconds of all kernels, over threads.
    pub fn kernels(&self) -> f64 {
        self.rows.iter().map(|r| r.seconds).sum()
    }

    /// Seconds that the products alone would take one core at its peak: no order of the same work
    /// is faster.
    pub fn floor(&self) -> Option<f64> {
        self.roof.map(|roof| self.rows.iter().map(|r| r.flops).sum::<f64>() / roof.flops)
    }

    /// The trace in the form of Chrome's trace viewer and Perfetto: complete events, microseconds.
    pub fn chrome_trace(&self) -> Value {
        let micros = |d: Duration| d.as_nanos() as f64 / 1e3;
        let event = |s: &CallSpan| {
            json!({
                "name": s.name, "cat": s.schedule, "ph": "X", "pid": 1, "tid": s.thread + 1,
                "ts": micros(s.begin), "dur": micros(s.length), "args": { "from": s.location },
            })
        };
        json!({ "displayTimeUnit": "ms", "traceEvents": self.spans.iter().map(event).collect::<Vec<_>>() })
    }
}
