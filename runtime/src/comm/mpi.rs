//! Ranks that are processes, on an MPI library.

use super::keeper::ConnectionKeeper;
use super::library::MpiLibrary;
use super::watch::{RankWatch, progress};
use super::{Channel, Communicator, Ending, Messages, RankWarning};
use crate::{Error, Result};
use std::ffi::c_int;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Words of a message that travel with its length.
const SHORT: usize = 61;
/// What every rank first sends to every other one: the rounds that its messages take, the length
/// of the message as two words, and the message if all of its messages are short.
const FIRST: usize = 3 + SHORT;

/// A rank of a run under MPI.
#[derive(Debug)]
pub(super) struct MpiCommunicator {
    pub exchange: Exchange,
    pub watch: RankWatch,
    /// The machines, by rank.
    pub hosts: Arc<[String]>,
    /// Of the launcher's connection, where it needs one.
    pub keeper: Option<ConnectionKeeper>,
}

impl MpiCommunicator {
    /// Communicates, as long as no rank has ended. An error of MPI ends the run, unless it is the
    /// consequence of another rank's end.
    fn communicate(&self, channel: Channel, act: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<()>) -> Result<()> {
        self.watch.check()?;
        let waiting = self.watch.waiting(channel);
        let outcome = act(&|| self.watch.check());
        drop(waiting);
        outcome.or_else(|error| {
            self.watch.check_soon()?;
            Err(self.watch.fail(&error).error)
        })
    }
}

impl Communicator for MpiCommunicator {
    fn rank(&self) -> usize {
        self.exchange.rank
    }

    fn size(&self) -> usize {
        self.exchange.size
    }

    fn all_to_all(&self, channel: Channel, send: &Messages, received: &mut Messages) -> Result<()> {
        self.communicate(channel, |check| self.exchange.all_to_all(channel, send, received, check))
    }

    fn all_gather(&self, channel: Channel, message: &[u32], received: &mut Messages) -> Result<()> {
        self.communicate(channel, |check| self.exchange.all_gather(channel, message, received, check))
    }

    fn host(&self, rank: usize) -> String {
        self.hosts[rank].clone()
    }

    fn warn(&self, warning: &RankWarning) -> bool {
        self.watch.warn(warning);
        true
    }

    fn finish(&self) -> Result<()> {
        // No rank says that it goes before all have come so far.
        self.all_gather(Channel::Step, &[], &mut Messages::default())?;
        self.watch.finished();
        self.watch.settle();
        self.exchange.library.finish()?;
        self.keeper.iter().for_each(ConnectionKeeper::dismiss);
        Ok(())
    }

    fn fail(&self, error: &Error) -> Ending {
        self.exchange.library.stop();
        self.watch.fail(error)
    }
}

/// How messages travel: first a block of fixed size from every rank to every other one, with the
/// lengths and the messages if they are short; then the messages of any length, in rounds.
#[derive(Debug)]
pub(super) struct Exchange {
    pub library: MpiLibrary,
    pub rank: usize,
    pub size: usize,
    /// Words of one message that travel in one round.
    round: usize,
    buffers: [Mutex<Buffers>; Channel::ALL.len()],
}

/// What belongs to an operation of one channel while it is under way.
#[derive(Debug, Default)]
struct Buffers {
    send: Vec<u32>,
    received: Vec<u32>,
    sent: Pieces,
    taken: Pieces,
}

/// Pieces of a buffer, one for each rank, as MPI has them.
#[derive(Debug, Default)]
struct Pieces {
    counts: Vec<c_int>,
    offsets: Vec<c_int>,
}

impl Pieces {
    /// Pieces of these lengths, one after the other; their length together. One rank's does not
    /// travel, but has its place.
    fn set(&mut self, lengths: impl Iterator<Item = usize>, without: Option<usize>) -> usize {
        let int = |number: usize| c_int::try_from(number).expect("a round is shorter");
        self.counts.clear();
        self.offsets.clear();
        let mut end = 0;
        for (rank, length) in lengths.enumerate() {
            self.counts.push(if without == Some(rank) { 0 } else { int(length) });
            self.offsets.push(int(end));
            end += length;
        }
        end
    }
}

/// Which part of a message of a length travels in a round.
fn part(length: usize, round: usize, number: usize) -> Range<usize> {
    (number * round).min(length)..((number + 1) * round).min(length)
}

/// Appends the first block of a message.
fn push_first(to: &mut Vec<u32>, rounds: usize, message: &[u32]) {
    let end = to.len() + FIRST;
    let length = message.len() as u64;
    to.extend([rounds as u32, length as u32, (length >> 32) as u32]);
    if rounds == 0 {
        to.extend(message);
    }
    to.resize(end, 0);
}

/// Makes room for the messages whose first blocks have come; the most rounds that any rank needs.
fn make_room(first: &[u32], received: &mut Messages) -> usize {
    received.ends.clear();
    let (mut end, mut rounds) = (0, 0);
    for block in first.chunks_exact(FIRST) {
        rounds = rounds.max(block[0] as usize);
        end += (u64::from(block[2]) << 32 | u64::from(block[1])) as usize;
        received.ends.push(end);
    }
    // What was in it before is overwritten.
    received.words.resize(end, 0);
    rounds
}

/// Takes the messages out of their first blocks.
fn take_short(first: &[u32], received: &mut Messages) {
    for (rank, block) in first.chunks_exact(FIRST).enumerate() {
        let range = received.range(rank);
        let length = range.len();
        received.words[range].copy_from_slice(&block[3..3 + length]);
    }
}

impl Exchange {
    /// `round_words`: most words that a rank sends or receives at a time.
    pub fn new(library: MpiLibrary, (rank, size): (usize, usize), round_words: usize) -> Self {
        // MPI's counts and offsets are ints.
        let round = (round_words.min(c_int::MAX as usize) / size).max(1);
        Self { library, rank, size, round, buffers: Default::default() }
    }

    /// Rounds that a rank needs whose longest message has this length.
    fn rounds(&self, longest: usize) -> usize {
        if longest <= SHORT { 0 } else { longest.div_ceil(self.round) }
    }

    /// See [`Communicator::all_to_all`]; `check` is asked while it waits.
    pub fn all_to_all(
        &self,
        channel: Channel,
        send: &Messages,
        received: &mut Messages,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        assert_eq!(send.count(), self.size, "one message for each rank");
        let mut buffers = self.buffers[channel.index()].lock().unwrap_or_else(PoisonError::into_inner);
        let buffers = &mut *buffers;
        let longest = send.iter().map(<[u32]>::len).max().expect("there is a rank");
        let rounds = self.rounds(longest);
        buffers.send.clear();
        send.iter().for_each(|message| push_first(&mut buffers.send, rounds, message));
        buffers.received.resize(self.size * FIRST, 0);
        for pieces in [&mut buffers.sent, &mut buffers.taken] {
            pieces.set((0..self.size).map(|_| FIRST), Some(self.rank));
        }
        self.staged_to_each(channel, buffers, check)?;
        // What a rank sends to itself does not travel.
        let own = self.rank * FIRST..(self.rank + 1) * FIRST;
        buffers.received[own.clone()].copy_from_slice(&buffers.send[own]);

        let rounds = make_room(&buffers.received, received);
        if rounds == 0 {
            take_short(&buffers.received, received);
            return Ok(());
        }
        let own = received.range(self.rank);
        received.words[own].copy_from_slice(send.get(self.rank));
        if rounds == 1 {
            buffers.sent.set(send.iter().map(<[u32]>::len), Some(self.rank));
            buffers.taken.set((0..self.size).map(|rank| received.range(rank).len()), Some(self.rank));
            return self.to_each(channel, send, received, buffers, check);
        }
        for number in 0..rounds {
            let sent = |rank: usize| part(send.get(rank).len(), self.round, number);
            let taken = |rank: usize| part(received.range(rank).len(), self.round, number);
            buffers.send.clear();
            (0..self.size).for_each(|rank| buffers.send.extend(&send.get(rank)[sent(rank)]));
            buffers.sent.set((0..self.size).map(|rank| sent(rank).len()), Some(self.rank));
            let end = buffers.taken.set((0..self.size).map(|rank| taken(rank).len()), Some(self.rank));
            buffers.received.resize(end, 0);
            self.staged_to_each(channel, buffers, check)?;
            progress();
            for rank in (0..self.size).filter(|&rank| rank != self.rank) {
                unstage(buffers, received, rank, self.round, number);
            }
        }
        Ok(())
    }

    /// See [`Communicator::all_gather`]; `check` is asked while it waits.
    pub fn all_gather(
        &self,
        channel: Channel,
        message: &[u32],
        received: &mut Messages,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let mut buffers = self.buffers[channel.index()].lock().unwrap_or_else(PoisonError::into_inner);
        let buffers = &mut *buffers;
        buffers.send.clear();
        push_first(&mut buffers.send, self.rounds(message.len()), message);
        buffers.received.resize(self.size * FIRST, 0);
        buffers.taken.set((0..self.size).map(|_| FIRST), None);
        self.staged_to_all(channel, buffers, check)?;

        let rounds = make_room(&buffers.received, received);
        if rounds == 0 {
            take_short(&buffers.received, received);
            return Ok(());
        }
        if rounds == 1 {
            buffers.taken.set((0..self.size).map(|rank| received.range(rank).len()), None);
            return self.to_all(channel, message, received, buffers, check);
        }
        for number in 0..rounds {
            let taken = |rank: usize| part(received.range(rank).len(), self.round, number);
            buffers.send.clear();
            buffers.send.extend(&message[part(message.len(), self.round, number)]);
            let end = buffers.taken.set((0..self.size).map(|rank| taken(rank).len()), None);
            buffers.received.resize(end, 0);
            self.staged_to_all(channel, buffers, check)?;
            progress();
            (0..self.size).for_each(|rank| unstage(buffers, received, rank, self.round, number));
        }
        Ok(())
    }

    /// Exchanges the messages themselves; the pieces are those of `send` and `received`.
    fn to_each(
        &self,
        channel: Channel,
        send: &Messages,
        received: &mut Messages,
        buffers: &mut Buffers,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let (sent, taken) = (&buffers.sent, &buffers.taken);
        // SAFETY: the pieces are one per rank and lie inside the two. All stay as they are until
        // the operation is complete, since `complete` waits for that; where it does not come to
        // that, MPI is called no more, and what other processes may still write to is given up
        // below.
        let started = unsafe {
            (self.library.all_to_all)(
                channel.index() as c_int,
                send.words.as_ptr(),
                sent.counts.as_ptr(),
                sent.offsets.as_ptr(),
                received.words.as_mut_ptr(),
                taken.counts.as_ptr(),
                taken.offsets.as_ptr(),
            )
        };
        let outcome = self.complete(channel, started, check);
        if outcome.is_err() {
            std::mem::forget((std::mem::take(buffers), std::mem::take(received)));
        }
        outcome
    }

    /// Exchanges what the buffers hold.
    fn staged_to_each(&self, channel: Channel, buffers: &mut Buffers, check: &dyn Fn() -> Result<()>) -> Result<()> {
        let (sent, taken) = (&buffers.sent, &buffers.taken);
        // SAFETY: as in `to_each`; all belongs to the buffers.
        let started = unsafe {
            (self.library.all_to_all)(
                channel.index() as c_int,
                buffers.send.as_ptr(),
                sent.counts.as_ptr(),
                sent.offsets.as_ptr(),
                buffers.received.as_mut_ptr(),
                taken.counts.as_ptr(),
                taken.offsets.as_ptr(),
            )
        };
        let outcome = self.complete(channel, started, check);
        if outcome.is_err() {
            std::mem::forget(std::mem::take(buffers));
        }
        outcome
    }

    /// Sends the message itself to all; the pieces are those of `received`.
    fn to_all(
        &self,
        channel: Channel,
        message: &[u32],
        received: &mut Messages,
        buffers: &mut Buffers,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let taken = &buffers.taken;
        // SAFETY: as in `to_each`.
        let started = unsafe {
            (self.library.all_gather)(
                channel.index() as c_int,
                message.as_ptr(),
                message.len() as c_int,
                received.words.as_mut_ptr(),
                taken.counts.as_ptr(),
                taken.offsets.as_ptr(),
            )
        };
        let outcome = self.complete(channel, started, check);
        if outcome.is_err() {
            std::mem::forget((std::mem::take(buffers), std::mem::take(received)));
        }
        outcome
    }

    /// Sends what the buffers hold to all.
    fn staged_to_all(&self, channel: Channel, buffers: &mut Buffers, check: &dyn Fn() -> Result<()>) -> Result<()> {
        let taken = &buffers.taken;
        // SAFETY: as in `to_each`; all belongs to the buffers.
        let started = unsafe {
            (self.library.all_gather)(
                channel.index() as c_int,
                buffers.send.as_ptr(),
                buffers.send.len() as c_int,
                buffers.received.as_mut_ptr(),
                taken.counts.as_ptr(),
                taken.offsets.as_ptr(),
            )
        };
        let outcome = self.complete(channel, started, check);
        if outcome.is_err() {
            std::mem::forget(std::mem::take(buffers));
        }
        outcome
    }

    /// Waits until an operation that was started is complete. After an error MPI is called no more.
    fn complete(&self, channel: Channel, started: c_int, check: &dyn Fn() -> Result<()>) -> Result<()> {
        let outcome = self.library.checked("communicate", started).and_then(|()| self.wait(channel, check));
        if outcome.is_err() {
            self.library.stop();
        }
        outcome
    }

    fn wait(&self, channel: Channel, check: &dyn Fn() -> Result<()>) -> Result<()> {
        let mut pause = Pause::new(channel);
        loop {
            let mut complete = 0;
            // SAFETY: the flag is a local that may be written to.
            let code = unsafe { (self.library.test)(channel.index() as c_int, &mut complete) };
            self.library.checked("communicate", code)?;
            if complete != 0 {
                return Ok(());
            }
            check()?;
            pause.wait();
        }
    }
}

/// Puts the part of a message that came in a round where it belongs.
fn unstage(buffers: &Buffers, received: &mut Messages, rank: usize, round: usize, number: usize) {
    let part = part(received.range(rank).len(), round, number);
    let begin = buffers.taken.offsets[rank] as usize;
    let to = received.range(rank).start;
    received.words[to + part.start..to + part.end].copy_from_slice(&buffers.received[begin..begin + part.len()]);
}

/// Waiting for others: at first at full speed, since an answer is often on its way; then leaving
/// the core to others, such as the rank that is waited for.
#[derive(Debug)]
struct Pause {
    rounds: u32,
    channel: Channel,
}

impl Pause {
    fn new(channel: Channel) -> Self {
        Self { rounds: 0, channel }
    }

    fn wait(&mut self) {
        // The step waits for nothing else; the others are ahead of it, and have time.
        let (spins, yields, least, most) = match self.channel {
            Channel::Step => (100, 400, 20, 100),
            Channel::Ahead | Channel::Data | Channel::Pass => (0, 20, 50, 200),
        };
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds <= spins {
            std::hint::spin_loop();
        } else if self.rounds <= spins + yields {
            std::thread::yield_now();
        } else {
            let microseconds = (u64::from(self.rounds - spins - yields) * least).min(most);
            std::thread::sleep(Duration::from_micros(microseconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_blocks_carry_lengths_and_short_messages() {
        let messages: [&[u32]; 3] = [&[], &[7, 8], &[9; SHORT]];
        let mut first = Vec::new();
        messages.iter().for_each(|message| push_first(&mut first, 0, message));
        let mut received = Messages { words: vec![5; 4], ends: vec![4] };
        assert_eq!(make_room(&first, &mut received), 0);
        take_short(&first, &mut received);
        assert_eq!(received.iter().collect::<Vec<_>>(), messages);
    }

    #[test]
    fn one_rank_with_a_long_message_makes_all_go_on() {
        let mut first = Vec::new();
        push_first(&mut first, 0, &[1]);
        push_first(&mut first, 3, &[2; 1000]);
        let mut received = Messages::default();
        assert_eq!(make_room(&first, &mut received), 3);
        assert_eq!(received.ends, [1, 1001]);
    }

    #[test]
    fn rounds_hold_every_word_once() {
        for length in [0, 1, 9, 10, 11, 95] {
            let parts: Vec<usize> = (0..10).flat_map(|number| part(length, 10, number)).collect();
            assert_eq!(parts, (0..length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_a_rank_has_for_itself_is_no_piece() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.set([3, 5, 2].into_iter(), Some(1)), 10);
        assert_eq!((pieces.counts, pieces.offsets), (vec![3, 0, 2], vec![0, 3, 8]));
    }
}
