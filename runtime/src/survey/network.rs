//! What communication between the ranks of this run costs: exchanges of a few sizes, timed.

use crate::Result;
use crate::comm::{Channel, Communicator, Messages, ids, push_id};
use crate::placement::{RateSource, Rates};
use std::time::{Duration, Instant};

/// Exchanges of so few words cost what a message costs, however short.
const SHORT: usize = 16;
/// Words that a rank sends to all others together: from 256 KiB to 4 MiB.
const LONG: [usize; 3] = [1 << 16, 1 << 18, 1 << 20];
/// How often an exchange is timed.
const SHORT_TIMES: usize = 400;
const LONG_TIMES: usize = 24;

/// Puts what communication between these ranks costs into `rates`. All ranks call it, and get the
/// same. One rank has nobody to talk to: its rates stay as they are.
///
/// The model is that of [`Rates`]: an all-to-all among `N` ranks takes the latency, `N - 1`
/// overheads and the bytes over the bandwidth; an all-gather takes `log2 N` times latency and
/// overhead, and the bytes over the bandwidth. Latency and overhead come from short exchanges of
/// both kinds; between two ranks these take the same, and half of it counts for each. The bandwidth
/// comes from long ones.
///
/// # Errors
/// Another rank failed.
pub fn measure_network(ranks: &dyn Communicator, rates: Rates) -> Result<Rates> {
    let size = ranks.size();
    if size == 1 {
        return Ok(rates);
    }
    let mut exchanges = Exchanges { ranks, send: Messages::default(), received: Messages::default() };
    let to_all = exchanges.median(SHORT_TIMES, |exchanges| exchanges.all_to_all(SHORT))?;
    let gather = exchanges.median(SHORT_TIMES, |exchanges| exchanges.all_gather(SHORT))?;
    let mut per_byte = Vec::new();
    for words in LONG {
        let time = exchanges.median(LONG_TIMES, |exchanges| exchanges.all_to_all(words / (size - 1)))?;
        per_byte.push((time - to_all).max(0.0) / (4 * words) as f64);
    }
    per_byte.sort_by(f64::total_cmp);
    let (latency, message) = latency_and_message(size, to_all, gather);
    let bandwidth = match per_byte[LONG.len() / 2] {
        per_byte if per_byte > 0.0 => 1.0 / per_byte,
        // Faster than the clock can tell.
        _ => rates.bandwidth,
    };
    Ok(Rates { communication: RateSource::Measured, bandwidth, latency, message, ..rates })
}

/// Seconds of latency and of overhead per message, from a short all-to-all and a short all-gather.
fn latency_and_message(size: usize, to_all: f64, gather: f64) -> (f64, f64) {
    let round = gather / (size as f64).log2().ceil();
    let message = match size {
        2 => 0.5 * to_all.min(round),
        more => ((to_all - round) / (more as f64 - 2.0)).clamp(0.0, round),
    };
    let latency = match size {
        2 => to_all - message,
        _ => round - message,
    };
    (latency, message)
}

/// Exchanges between all ranks.
struct Exchanges<'a> {
    ranks: &'a dyn Communicator,
    send: Messages,
    received: Messages,
}

impl Exchanges<'_> {
    /// So many words to each other rank.
    fn all_to_all(&mut self, words: usize) -> Result<()> {
        self.send.clear();
        for to in 0..self.ranks.size() {
            if to != self.ranks.rank() {
                self.send.words.resize(self.send.words.len() + words, 7);
            }
            self.send.end_message();
        }
        self.ranks.all_to_all(Channel::Step, &self.send, &mut self.received)
    }

    fn all_gather(&mut self, words: usize) -> Result<()> {
        let message = vec![7; words];
        self.ranks.all_gather(Channel::Step, &message, &mut self.received)
    }

    /// Seconds of an exchange: the median of so many, of the rank where it is longest.
    fn median(&mut self, times: usize, exchange: impl Fn(&mut Self) -> Result<()>) -> Result<f64> {
        // Buffers grow.
        exchange(self)?;
        exchange(self)?;
        let mut all = Vec::with_capacity(times);
        for _ in 0..times {
            let begin = Instant::now();
            exchange(self)?;
            all.push(begin.elapsed());
        }
        all.sort_unstable();
        longest(self.ranks, all[times / 2]).map(|time| time.as_secs_f64())
    }
}

/// The longest of all ranks' times.
fn longest(ranks: &dyn Communicator, own: Duration) -> Result<Duration> {
    let (mut message, mut received) = (Vec::new(), Messages::default());
    push_id(&mut message, own.as_nanos() as u64);
    ranks.all_gather(Channel::Step, &message, &mut received)?;
    let longest = received.iter().flat_map(ids).max().expect("every rank sends its time");
    Ok(Duration::from_nanos(longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::{LocalCommunicator, in_process};

    /// What the model says of a network comes back from it.
    #[test]
    fn the_fit_inverts_the_model() {
        for (size, latency, message) in [(3, 10e-6, 1e-6), (4, 5e-6, 2e-6), (64, 20e-6, 0.5e-6)] {
            let rounds = f64::from(size as u32).log2().ceil();
            let (to_all, gather) = (latency + (size as f64 - 1.0) * message, rounds * (latency + message));
            let (found, each) = latency_and_message(size, to_all, gather);
            assert!((found / latency - 1.0).abs() < 1e-9 && (each / message - 1.0).abs() < 1e-9, "{size}");
        }
        let (latency, message) = latency_and_message(2, 4e-6, 4e-6);
        assert_eq!((latency, message), (2e-6, 2e-6));
        // Exchanges that the model does not explain still give no negative times.
        for (to_all, gather) in [(1e-6, 9e-6), (9e-6, 1e-6)] {
            for size in [2, 3, 8] {
                let (latency, message) = latency_and_message(size, to_all, gather);
                assert!(latency >= 0.0 && message >= 0.0, "{size}: {latency}, {message}");
            }
        }
    }

    #[test]
    fn all_ranks_get_the_same_rates_and_one_rank_keeps_its_own() {
        let given = Rates::cpu(1);
        assert_eq!(measure_network(&LocalCommunicator, given).unwrap(), given);
        let found: Vec<Rates> = std::thread::scope(|scope| {
            let run = |ranks: std::sync::Arc<dyn Communicator>| scope.spawn(move || measure_network(&*ranks, given));
            let running: Vec<_> = in_process(3).into_iter().map(run).collect();
            running.into_iter().map(|rank| rank.join().unwrap().unwrap()).collect()
        });
        assert!(found.iter().all(|rates| *rates == found[0]), "{found:?}");
        assert_eq!(found[0].communication, RateSource::Measured);
        assert!(found[0].bandwidth.is_finite() && found[0].bandwidth > 0.0);
    }
}
