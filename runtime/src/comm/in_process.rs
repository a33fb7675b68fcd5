//! Ranks that are threads of one process: for tests of what ranks do.

use super::{Channel, Communicator, Ending, Messages, RankWarning};
use crate::{Error, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A rank waits so long for the others before it takes them for failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Communicators of so many ranks, by rank.
pub fn in_process(ranks: usize) -> Vec<Arc<dyn Communicator>> {
    let meeting = Arc::new(Channel::ALL.map(|_| Meeting::new(ranks)));
    let rank = |rank| Arc::new(ThreadRank { rank, ranks, meeting: meeting.clone() }) as Arc<dyn Communicator>;
    (0..ranks).map(rank).collect()
}

#[derive(Debug)]
struct ThreadRank {
    rank: usize,
    ranks: usize,
    meeting: Arc<[Meeting; Channel::ALL.len()]>,
}

/// Where the ranks of one channel exchange messages, round after round.
#[derive(Debug)]
struct Meeting {
    state: Mutex<Round>,
    changed: Condvar,
}

#[derive(Debug)]
struct Round {
    /// What each rank brought to this round.
    brought: Vec<Option<Arc<Messages>>>,
    /// Ranks that took what is theirs.
    taken: usize,
    /// Why a rank is gone.
    failed: Option<Error>,
}

impl Meeting {
    fn new(ranks: usize) -> Self {
        let round = Round { brought: vec![None; ranks], taken: 0, failed: None };
        Self { state: Mutex::new(round), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`; an error where a rank is gone or does not come.
    fn wait<'a>(
        &'a self,
        mut round: MutexGuard<'a, Round>,
        ready: impl Fn(&Round) -> bool,
    ) -> Result<MutexGuard<'a, Round>> {
        let end = Instant::now() + PATIENCE;
        while !ready(&round) {
            let left = end.saturating_duration_since(Instant::now());
            if let Some(error) = &round.failed {
                return Err(error.clone());
            }
            if left.is_zero() {
                return Err(Error::machine("another rank does not come to a communication"));
            }
            round = self.changed.wait_timeout(round, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(round)
    }

    /// Brings a rank's messages, and gives those of all ranks once they are there.
    fn meet(&self, rank: usize, messages: Messages) -> Result<Vec<Arc<Messages>>> {
        // The round before is over when all have taken theirs.
        let mut round = self.wait(self.lock(), |round| round.brought[rank].is_none())?;
        round.brought[rank] = Some(Arc::new(messages));
        self.changed.notify_all();
        let mut round = self.wait(round, |round| round.brought.iter().all(Option::is_some))?;
        let all = round.brought.iter().flatten().cloned().collect();
        round.taken += 1;
        if round.taken == round.brought.len() {
            round.taken = 0;
            round.brought.fill(None);
            self.changed.notify_all();
        }
        Ok(all)
    }
}

impl Communicator for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.ranks
    }

    fn all_to_all(&self, channel: Channel, send: &Messages, received: &mut Messages) -> Result<()> {
        assert_eq!(send.count(), self.ranks, "one message for each rank");
        let all = self.meeting[channel.index()].meet(self.rank, send.clone())?;
        received.clear();
        all.iter().for_each(|from| received.push(from.get(self.rank)));
        Ok(())
    }

    fn all_gather(&self, channel: Channel, message: &[u32], received: &mut Messages) -> Result<()> {
        let mut own = Messages::default();
        own.push(message);
        let all = self.meeting[channel.index()].meet(self.rank, own)?;
        received.clear();
        all.iter().for_each(|from| received.push(from.get(0)));
        Ok(())
    }

    fn host(&self, _rank: usize) -> String {
        super::watch::host_name()
    }

    fn warn(&self, _warning: &RankWarning) -> bool {
        false
    }

    fn finish(&self) -> Result<()> {
        self.all_gather(Channel::Step, &[], &mut Messages::default())
    }

    fn fail(&self, error: &Error) -> Ending {
        self.end(error);
        let first = self.meeting[Channel::Step.index()].lock().failed.clone();
        Ending { error: first.expect("it was set above"), reported: false }
    }
}

impl ThreadRank {
    /// Waits for this rank end with an error, if none did before.
    fn end(&self, error: &Error) {
        for meeting in self.meeting.iter() {
            meeting.lock().failed.get_or_insert_with(|| error.clone());
            meeting.changed.notify_all();
        }
    }
}

/// A rank that ends, in whatever way, is waited for by none.
impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.end(&Error::machine(format!("rank {} has ended", self.rank)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_gets_what_was_sent_to_it() {
        let ranks = in_process(3);
        std::thread::scope(|scope| {
            for comm in ranks {
                scope.spawn(move || {
                    let (mut send, mut received) = (Messages::default(), Messages::default());
                    for round in 0..50u32 {
                        send.clear();
                        for to in 0..3 {
                            send.push(&vec![round * 100 + comm.rank() as u32 * 10 + to; to as usize + 1]);
                        }
                        comm.all_to_all(Channel::Step, &send, &mut received).unwrap();
                        for from in 0..3 {
                            let word = round * 100 + from as u32 * 10 + comm.rank() as u32;
                            assert_eq!(received.get(from), vec![word; comm.rank() + 1]);
                        }
                        comm.all_gather(Channel::Data, &[round, comm.rank() as u32], &mut received).unwrap();
                        assert!(received.iter().enumerate().all(|(from, message)| message == [round, from as u32]));
                    }
                });
            }
        });
    }

    #[test]
    fn a_rank_that_is_gone_is_an_error() {
        let mut ranks = in_process(2);
        drop(ranks.pop());
        assert!(ranks[0].all_gather(Channel::Step, &[], &mut Messages::default()).is_err());
    }

    #[test]
    fn ranks_that_finish_wait_for_each_other_and_the_first_error_is_that_of_all() {
        let ranks = in_process(2);
        std::thread::scope(|scope| {
            ranks.iter().for_each(|comm| drop(scope.spawn(|| comm.finish().unwrap())));
        });
        let ended = ranks[1].fail(&Error::input("log.csv: line 3"));
        assert_eq!(ended, Ending { error: Error::input("log.csv: line 3"), reported: false });
        let seen = ranks[0].all_gather(Channel::Data, &[], &mut Messages::default()).unwrap_err();
        assert_eq!(seen, Error::input("log.csv: line 3"));
        assert_eq!(ranks[0].fail(&Error::machine("other")).error, seen);
    }
}
