//! Which rank hangs.
//!
//! Counted is the time in which this process ran, not what a clock shows: after a pause of the
//! whole job, or of this process, nobody is late.

use super::note::{Cause, Pulse};
use crate::comm::Channel;
use std::time::Duration;

/// What is known of a rank, this one included.
#[derive(Clone, Copy, Debug)]
pub(super) struct RankObservation {
    /// The last that it told.
    pub pulse: Pulse,
    /// How long nothing came from it.
    pub silent: Duration,
    /// How long it has made no progress, and had no operation under way that cannot tell it.
    pub still: Duration,
    /// Whether it is still in the run: neither gone nor finished.
    pub running: bool,
}

impl RankObservation {
    pub fn new() -> Self {
        Self { pulse: Pulse::default(), silent: Duration::ZERO, still: Duration::ZERO, running: true }
    }

    /// Time passed.
    pub fn pass(&mut self, time: Duration) {
        self.silent += time;
        self.still += time;
    }

    /// It told how far it is.
    pub fn tell(&mut self, pulse: Pulse) {
        self.silent = Duration::ZERO;
        if pulse.progress != self.pulse.progress || pulse.operates {
            self.still = Duration::ZERO;
        }
        self.pulse = pulse;
    }
}

/// Why the run hangs, if one of the ranks hangs: it is silent for `limit`, or stands still for so
/// long and is not waiting for another. Channel by channel, those that wait are excused by those
/// that do not: training waits for the batches ahead, and those for the data.
pub(super) fn judge(ranks: &[RankObservation], limit: Duration) -> Option<Cause> {
    let running: Vec<(usize, &RankObservation)> =
        ranks.iter().enumerate().filter(|(_, observed)| observed.running).collect();
    let milliseconds = |time: Duration| time.as_millis() as u64;
    if let Some((rank, observed)) = running.iter().find(|(_, observed)| observed.silent >= limit) {
        return Some(Cause::Silent { rank: *rank, milliseconds: milliseconds(observed.silent) });
    }
    let mut suspects = running.clone();
    for channel in Channel::ALL {
        let mut others = suspects.clone();
        others.retain(|(_, observed)| !observed.pulse.waits[channel.index()]);
        if !others.is_empty() {
            suspects = others;
        } else if suspects.len() == running.len() {
            // Every rank waits, and none for what another has still to do.
            let least = running.iter().map(|(_, observed)| observed.still).min()?;
            return (least >= limit).then(|| Cause::Stuck { milliseconds: milliseconds(least) });
        }
    }
    let (rank, observed) = suspects.into_iter().find(|(_, observed)| observed.still >= limit)?;
    Some(Cause::Still { rank, milliseconds: milliseconds(observed.still) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A rank that was silent and still for so many seconds, and waits on these channels.
    fn rank(silent: u64, still: u64, waits: &[Channel]) -> RankObservation {
        let mut observed = RankObservation::new();
        waits.iter().for_each(|channel| observed.pulse.waits[channel.index()] = true);
        RankObservation { silent: Duration::from_secs(silent), still: Duration::from_secs(still), ..observed }
    }

    #[test]
    fn who_waits_for_a_rank_that_hangs_is_not_the_one() {
        use Channel::{Ahead, Data, Step};
        for (ranks, culprit) in [
            // All is well, or not late yet.
            (vec![rank(0, 0, &[]), rank(9, 9, &[Step])], None),
            // A stopped process, and those that wait for it.
            (vec![rank(0, 10, &[Step]), rank(10, 10, &[]), rank(0, 10, &[Step])], Some(("silent", 1))),
            // A frozen thread of steps, whose batches ahead wait for the others.
            (vec![rank(0, 10, &[Step]), rank(0, 10, &[Ahead]), rank(0, 10, &[Step])], Some(("still", 1))),
            // Frozen reading: the others get no data, and no rank is in a step.
            (vec![rank(0, 10, &[Data]), rank(0, 10, &[Data]), rank(0, 10, &[])], Some(("still", 2))),
            // The same, and one rank still trains on what it has.
            (vec![rank(0, 10, &[Step]), rank(0, 10, &[Data]), rank(0, 10, &[])], Some(("still", 2))),
            // A long write that reports progress, for which the others wait.
            (vec![rank(0, 10, &[Step]), rank(0, 1, &[])], None),
            // Nobody communicates, and one rank does nothing.
            (vec![rank(0, 3, &[]), rank(0, 12, &[])], Some(("still", 1))),
            // A communication that does not end.
            (vec![rank(0, 10, &[Step]), rank(0, 12, &[Step, Data])], Some(("stuck", 0))),
        ] {
            let found = judge(&ranks, LIMIT).map(|cause| match cause {
                Cause::Silent { rank, .. } => ("silent", rank),
                Cause::Still { rank, .. } => ("still", rank),
                Cause::Stuck { .. } => ("stuck", 0),
                Cause::Failed { .. } | Cause::Died { .. } | Cause::Stopped => unreachable!("nothing of that is judged"),
            });
            assert_eq!(found, culprit, "{ranks:?}");
        }
    }

    #[test]
    fn a_rank_that_has_finished_may_be_silent() {
        let done = RankObservation { running: false, ..rank(99, 99, &[]) };
        assert_eq!(judge(&[done, rank(0, 0, &[])], LIMIT), None);
        assert_eq!(judge(&[done, done], LIMIT), None);
    }

    #[test]
    fn progress_and_words_reset_what_is_counted() {
        let mut observed = rank(8, 8, &[]);
        observed.tell(Pulse::default());
        assert_eq!((observed.silent, observed.still), (Duration::ZERO, Duration::from_secs(8)));
        observed.tell(Pulse { progress: 1, ..Pulse::default() });
        assert_eq!(observed.still, Duration::ZERO);
        observed.pass(Duration::from_secs(2));
        assert_eq!((observed.silent, observed.still), (Duration::from_secs(2), Duration::from_secs(2)));
        // A long operation tells as long as the process answers.
        observed.tell(Pulse { progress: 1, operates: true, ..Pulse::default() });
        assert_eq!((observed.silent, observed.still), (Duration::ZERO, Duration::ZERO));
        observed.pass(LIMIT);
        assert_eq!(judge(&[rank(0, 10, &[Channel::Step]), observed], LIMIT).map(|cause| cause.mute()), Some(Some(1)));
    }
}
