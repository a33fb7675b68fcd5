//! What ranks send to each other, measured.

use super::{Channel, Communicator, Ending, Messages, RankWarning};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What went through one channel of a rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelTraffic {
    /// Operations.
    pub operations: u64,
    /// Bytes to other ranks, and from them; what a rank sends to itself does not count.
    pub sent: u64,
    pub received: u64,
    /// In operations, waiting for other ranks included.
    pub time: Duration,
}

impl ChannelTraffic {
    /// Adds what went through at another time.
    pub fn add(&mut self, other: ChannelTraffic) {
        self.operations += other.operations;
        self.sent += other.sent;
        self.received += other.received;
        self.time += other.time;
    }

    /// What went through since `before`.
    pub fn since(self, before: ChannelTraffic) -> ChannelTraffic {
        ChannelTraffic {
            operations: self.operations - before.operations,
            sent: self.sent - before.sent,
            received: self.received - before.received,
            time: self.time - before.time,
        }
    }
}

/// A communicator that measures another.
#[derive(Debug)]
pub struct MeasuredCommunicator {
    inner: Arc<dyn Communicator>,
    /// By channel.
    counters: [Counters; Channel::ALL.len()],
}

#[derive(Debug, Default)]
struct Counters {
    operations: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    nanoseconds: AtomicU64,
}

impl MeasuredCommunicator {
    pub fn new(inner: Arc<dyn Communicator>) -> Self {
        Self { inner, counters: Default::default() }
    }

    /// By channel, what went through so far.
    pub fn traffic(&self) -> [ChannelTraffic; Channel::ALL.len()] {
        self.counters.each_ref().map(|counters| ChannelTraffic {
            operations: counters.operations.load(Ordering::Relaxed),
            sent: counters.sent.load(Ordering::Relaxed),
            received: counters.received.load(Ordering::Relaxed),
            time: Duration::from_nanos(counters.nanoseconds.load(Ordering::Relaxed)),
        })
    }

    fn count(&self, channel: Channel, begin: Instant, sent: usize, received: &Messages) {
        let counters = &self.counters[channel.index()];
        let own = received.range(self.rank()).len();
        let add = |counter: &AtomicU64, number: u64| counter.fetch_add(number, Ordering::Relaxed);
        add(&counters.operations, 1);
        add(&counters.sent, 4 * sent as u64);
        add(&counters.received, 4 * (received.words.len() - own) as u64);
        add(&counters.nanoseconds, begin.elapsed().as_nanos() as u64);
    }
}

impl Communicator for MeasuredCommunicator {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn all_to_all(&self, channel: Channel, send: &Messages, received: &mut Messages) -> Result<()> {
        let begin = Instant::now();
        self.inner.all_to_all(channel, send, received)?;
        self.count(channel, begin, send.words.len() - send.range(self.rank()).len(), received);
        Ok(())
    }

    fn all_gather(&self, channel: Channel, message: &[u32], received: &mut Messages) -> Result<()> {
        let begin = Instant::now();
        self.inner.all_gather(channel, message, received)?;
        self.count(channel, begin, message.len() * (self.size() - 1), received);
        Ok(())
    }

    fn host(&self, rank: usize) -> String {
        self.inner.host(rank)
    }

    fn warn(&self, warning: &RankWarning) -> bool {
        self.inner.warn(warning)
    }

    fn finish(&self) -> Result<()> {
        self.inner.finish()
    }

    fn fail(&self, error: &Error) -> Ending {
        self.inner.fail(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::in_process;

    #[test]
    fn what_goes_to_others_is_counted() {
        std::thread::scope(|scope| {
            for inner in in_process(3) {
                scope.spawn(move || {
                    let rank = inner.rank();
                    let ranks = MeasuredCommunicator::new(inner);
                    let (mut send, mut received) = (Messages::default(), Messages::default());
                    // Rank r sends r + 1 words to rank 0, 10 to rank 1 and none to rank 2.
                    for words in [rank + 1, 10, 0] {
                        send.push(&vec![7; words]);
                    }
                    ranks.all_to_all(Channel::Ahead, &send, &mut received).unwrap();
                    ranks.all_gather(Channel::Step, &[1, 2], &mut received).unwrap();
                    let [step, ahead, data, pass] = ranks.traffic();
                    assert_eq!((step.operations, step.sent, step.received), (1, 16, 16));
                    let expected = [(1, 40, 4 * (2 + 3)), (1, 8, 80), (1, 4 * 13, 0)][rank];
                    assert_eq!((ahead.operations, ahead.sent, ahead.received), expected);
                    assert_eq!([data, pass], [ChannelTraffic::default(); 2]);
                });
            }
        });
    }
}
