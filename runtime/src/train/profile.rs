//! Where a training run's time went: `din train --profile`.

use crate::Result;
use crate::comm::{Channel, ChannelTraffic, Communicator, Messages, ids, push_id};
use crate::data::{Dataset, ReadingProfile};
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
    /// By rank, where there are several.
    pub ranks: Vec<RankProfile>,
    /// By rank, of the training data.
    pub reading: Vec<ReadingProfile>,
}

/// Where the time of one rank went, and what it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankProfile {
    /// As those of [`TrainingProfile`].
    pub training: Duration,
    pub waiting: Duration,
    pub lookups: Duration,
    /// By channel.
    pub traffic: [ChannelTraffic; Channel::ALL.len()],
}

impl RankProfile {
    fn to_words(self) -> Vec<u32> {
        let times = [self.training, self.waiting, self.lookups].map(|time| time.as_nanos() as u64);
        let traffic = self.traffic.iter().flat_map(|t| [t.operations, t.sent, t.received, t.time.as_nanos() as u64]);
        let mut words = Vec::new();
        times.into_iter().chain(traffic).for_each(|number| push_id(&mut words, number));
        words
    }

    fn from_words(words: &[u32]) -> Self {
        let mut numbers = ids(words);
        let mut next = || numbers.next().expect("ranks send what `to_words` makes");
        let mut time = || Duration::from_nanos(next());
        let (training, waiting, lookups) = (time(), time(), time());
        let traffic = std::array::from_fn(|_| ChannelTraffic {
            operations: next(),
            sent: next(),
            received: next(),
            time: Duration::from_nanos(next()),
        });
        Self { training, waiting, lookups, traffic }
    }
}

/// What training adds up while it runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub steps: u64,
    pub samples: u64,
    pub training: Duration,
    pub waiting: Duration,
    /// What was sent meanwhile, by channel; 0 on one rank.
    pub traffic: [ChannelTraffic; Channel::ALL.len()],
}

impl TrainingProfile {
    /// `data` are those of training; `spec_folder`: from where places in the spec are named. Every
    /// rank makes its profile.
    ///
    /// # Errors
    /// Another rank failed.
    pub(super) fn new(
        session: &Session,
        times: Times,
        data: &Dataset,
        spec_folder: &Path,
        communicator: &dyn Communicator,
    ) -> Result<TrainingProfile> {
        let mut ranks = Vec::new();
        if communicator.size() > 1 {
            let Times { training, waiting, traffic, .. } = times;
            let own = RankProfile { training, waiting, lookups: session.lookups(), traffic };
            let mut received = Messages::default();
            communicator.all_gather(Channel::Step, &own.to_words(), &mut received)?;
            ranks.extend(received.iter().map(RankProfile::from_words));
        }
        let device = session.device();
        let (mut rows, mut spans) = session.profile();
        let locations = rows.iter_mut().map(|r| &mut r.location).chain(spans.iter_mut().map(|s| &mut s.location));
        locations.for_each(|location| *location = seen_from(spec_folder, location));
        Ok(TrainingProfile {
            steps: times.steps,
            samples: times.samples,
            threads: session.threads().count(),
            training: times.training,
            waiting: times.waiting,
            lookups: session.lookups(),
            rows: rows.into_iter().filter(|r| r.schedule != "infer").collect(),
            spans,
            roof: session.roofline(),
            ranks,
            reading: data.reading_profile(communicator)?,
            device,
        })
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
