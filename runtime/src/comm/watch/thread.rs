//! The thread that watches: what it reads from the other ranks, tells them and decides.

use super::judge::{RankObservation, judge};
use super::note::{self, Cause, Note, Pulse};
use super::warnings::HeardWarnings;
use super::{Shared, WatchOptions};
use crate::comm::{Notice, RankWarning};
use crate::signal;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The thread looks at its own state at least so often.
const TICK: Duration = Duration::from_millis(100);
/// After a signal that asks to stop, a rank that goes is taken for stopped by it; but a launcher
/// also sends signals because a rank has died, at the same moment.
const SIGNALLED: Duration = Duration::from_millis(300);

/// A connection to another rank.
struct Link {
    stream: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Link {
    /// Sends what waits to be sent, as far as the connection takes it.
    fn flush(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(sent) if sent > 0 => drop(self.outgoing.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Full, or closed: reading notices the latter.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Reads what is there; whether the other end is still open.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(bytes) => self.incoming.extend(&buffer[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}

/// A run that ends.
struct End {
    cause: Cause,
    /// Ranks that were to report and did not.
    passed_over: Vec<usize>,
    /// Since when it is the turn of the next one.
    turn: Instant,
    /// When a rank reported.
    reported: Option<Instant>,
}

/// All that the thread has.
pub(super) struct Watcher {
    links: Vec<Option<Link>>,
    observed: Vec<RankObservation>,
    woken: UnixStream,
    shared: Arc<Shared>,
    options: WatchOptions,
    last_pulse: Option<Instant>,
    /// When the thread last counted time.
    counted: Instant,
    /// When it first saw that a signal asks to stop.
    signalled: Option<Instant>,
    told_finished: Option<Instant>,
    /// How long this rank's operation has been under way that cannot tell its progress.
    operating: Duration,
    /// Of all ranks, on the first one.
    warnings: HeardWarnings,
    end: Option<End>,
}

impl Watcher {
    pub fn new(
        streams: Vec<Option<TcpStream>>,
        woken: UnixStream,
        shared: Arc<Shared>,
        options: WatchOptions,
    ) -> Watcher {
        let link = |stream| Link { stream, incoming: Vec::new(), outgoing: Vec::new() };
        Watcher {
            observed: vec![RankObservation::new(); streams.len()],
            links: streams.into_iter().map(|stream| stream.map(link)).collect(),
            woken,
            shared,
            options,
            last_pulse: None,
            counted: Instant::now(),
            signalled: None,
            told_finished: None,
            operating: Duration::ZERO,
            warnings: HeardWarnings::default(),
            end: None,
        }
    }

    /// Watches until it is told to stop, or ends the process.
    pub fn run(mut self) {
        loop {
            self.wait();
            for rank in 0..self.links.len() {
                self.listen(rank);
            }
            if signal::asked() {
                self.signalled.get_or_insert_with(Instant::now);
            }
            let stop = self.attend();
            self.count();
            self.pulse();
            self.report();
            self.show_warnings();
            self.links.iter_mut().flatten().for_each(Link::flush);
            self.settle();
            if stop || self.over() {
                return;
            }
        }
    }

    /// Waits until something comes in, or for the next tick.
    fn wait(&self) {
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut polled = vec![entry(self.woken.as_raw_fd(), libc::POLLIN)];
        for link in self.links.iter().flatten() {
            let writes = if link.outgoing.is_empty() { 0 } else { libc::POLLOUT };
            polled.push(entry(link.stream.as_raw_fd(), libc::POLLIN | writes));
        }
        let milliseconds = TICK.min(self.options.interval()).as_millis() as i32;
        // SAFETY: the entries are as many as the number says, and their files are open. What it
        // answers is not needed: everything is read without blocking.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, milliseconds) };
        let _ = (&self.woken).read(&mut [0; 64]);
    }

    /// Reads and heeds what a rank tells.
    fn listen(&mut self, rank: usize) {
        let Some(link) = &mut self.links[rank] else { return };
        let open = link.fill();
        let mut garbled = false;
        let mut notes = Vec::new();
        loop {
            match note::read(&mut link.incoming) {
                Ok(Some(note)) => notes.push(note),
                Ok(None) => break,
                Err(_) => {
                    garbled = true;
                    break;
                }
            }
        }
        for note in notes {
            match note {
                Note::Alive(pulse) => self.observed[rank].tell(pulse),
                Note::Ends(cause) => self.adopt(cause),
                Note::Reported => self.reported(),
                Note::Warns(warning) => self.warnings.hear(rank, warning, self.observed.len(), Instant::now()),
                Note::Finished => self.observed[rank].running = false,
            }
        }
        if !open || garbled {
            self.links[rank] = None;
            if std::mem::replace(&mut self.observed[rank].running, false) {
                let by_signal = self.signalled.is_some_and(|since| since.elapsed() >= SIGNALLED);
                self.adopt(if by_signal { Cause::Stopped } else { Cause::Died { rank } });
                // The launcher may be about to kill this rank too.
                self.report();
            }
        }
    }

    /// The run ends with this cause, unless it ends already.
    fn adopt(&mut self, cause: Cause) {
        if self.end.is_some() {
            return;
        }
        if let Some(mute) = cause.mute() {
            self.observed[mute].running = mute == self.options.rank;
        }
        self.tell_all(&Note::Ends(cause.clone()));
        self.end = Some(End { cause: cause.clone(), passed_over: Vec::new(), turn: Instant::now(), reported: None });
        self.shared.lock().cause = Some(cause);
        self.shared.failed.store(true, Ordering::Release);
        self.shared.changed.notify_all();
    }

    /// What the rank's own threads want; whether the thread is to end.
    fn attend(&mut self) -> bool {
        let (own, warnings, finished, stop) = {
            let mut state = self.shared.lock();
            (state.own.take(), std::mem::take(&mut state.warnings), state.finished, state.stop)
        };
        for warning in warnings {
            self.warn(warning);
        }
        if let Some(error) = own {
            self.adopt(Cause::failed(self.options.rank, &error));
        }
        if finished && self.told_finished.is_none() {
            self.tell_all(&Note::Finished);
            self.told_finished = Some(Instant::now());
        }
        stop
    }

    /// Counts the time that passed, and judges.
    fn count(&mut self) {
        // A longer gap is one in which this thread did not run, and may not have heard of others.
        let passed = self.counted.elapsed().min(TICK * 2);
        self.counted = Instant::now();
        self.observed.iter_mut().for_each(|observed| observed.pass(passed));
        let own = self.shared.pulse(self.options.progress);
        self.watch_operation(own, passed);
        self.observed[self.options.rank].tell(own);
        let late = self.told_finished.is_some_and(|since| since.elapsed() >= self.options.limit());
        if late && self.end.is_none() {
            let milliseconds = self.options.limit().as_millis() as u64;
            self.adopt(Cause::Stuck { milliseconds });
        }
        if self.told_finished.is_none()
            && self.end.is_none()
            && let Some(cause) = judge(&self.observed, self.options.limit())
        {
            self.adopt(cause);
        }
    }

    /// Warns of an operation of this rank that takes as long as a rank that hangs.
    fn watch_operation(&mut self, own: Pulse, passed: Duration) {
        let goes_on = own.operates && own.progress == self.observed[self.options.rank].pulse.progress;
        let (before, limit) = (self.operating, self.options.limit());
        self.operating = if goes_on { before + passed } else { Duration::ZERO };
        if before < limit && self.operating >= limit {
            let seconds = limit.as_secs_f64();
            self.warn(format!("an operation such as a flush to the disk takes longer than {seconds:.1} s").into());
        }
    }

    /// Tells the others how far this rank is, when it is time to.
    fn pulse(&mut self) {
        if self.last_pulse.is_none_or(|last| last.elapsed() >= self.options.interval()) {
            self.last_pulse = Some(Instant::now());
            let pulse: Pulse = self.observed[self.options.rank].pulse;
            self.links.iter_mut().flatten().for_each(|link| {
                // A rank that does not read gets no more of them.
                if link.outgoing.is_empty() {
                    note::write(&Note::Alive(pulse), &mut link.outgoing);
                }
            });
        }
    }

    fn tell_all(&mut self, note: &Note) {
        for link in self.links.iter_mut().flatten() {
            note::write(note, &mut link.outgoing);
            link.flush();
        }
    }

    /// Passes a warning of this rank on to the first one.
    fn warn(&mut self, warning: RankWarning) {
        if self.options.rank == 0 {
            self.warnings.hear(0, warning, self.observed.len(), Instant::now());
        } else if let Some(link) = &mut self.links[0] {
            note::write(&Note::warns(&warning), &mut link.outgoing);
        }
    }

    /// Shows warnings, if this is the first rank.
    fn show_warnings(&mut self) {
        let nothing_more = self.end.is_some() || self.told_finished.is_some() && self.others_have_finished();
        for warning in self.warnings.take(Instant::now(), nothing_more, &self.options.hosts) {
            self.options.reporter.show(&Notice::Warning(warning));
        }
    }

    fn others_have_finished(&self) -> bool {
        self.observed.iter().enumerate().all(|(rank, observed)| rank == self.options.rank || !observed.running)
    }

    /// Says that nothing is left to be told, once it is so.
    fn settle(&mut self) {
        let told = self.told_finished.is_some() && self.links.iter().flatten().all(|link| link.outgoing.is_empty());
        let heard = self.options.rank > 0 || self.others_have_finished() && !self.warnings.waits();
        if self.end.is_some() || told && heard {
            self.shared.lock().settled = true;
            self.shared.changed.notify_all();
        }
    }

    /// Reports why the run ends, if it is this rank's turn.
    fn report(&mut self) {
        let own = self.options.rank;
        let Some(end) = &mut self.end else { return };
        if end.reported.is_some() {
            return;
        }
        let mute = end.cause.mute();
        loop {
            // One that has finished still answers, until it closes its connection.
            let in_turn = |rank: &usize| {
                let answers = *rank == own || self.links[*rank].is_some();
                answers && mute != Some(*rank) && !end.passed_over.contains(rank)
            };
            match (0..self.observed.len()).find(in_turn) {
                Some(rank) if rank != own && end.turn.elapsed() < self.options.turn() => return,
                Some(rank) if rank != own => {
                    end.passed_over.push(rank);
                    end.turn = Instant::now();
                }
                // Where no other is left, the one that hangs reports what it still can.
                Some(_) | None => break,
            }
        }
        let error = end.cause.error(&self.options.hosts);
        self.show_warnings();
        self.options.reporter.show(&Notice::Error(error));
        self.tell_all(&Note::Reported);
        self.reported();
    }

    /// A rank has reported.
    fn reported(&mut self) {
        if let Some(end) = &mut self.end {
            end.reported.get_or_insert_with(Instant::now);
            self.shared.lock().reported = true;
            self.shared.changed.notify_all();
        }
    }

    /// Ends the process where its main thread does not.
    fn over(&self) -> bool {
        let Some(end) = &self.end else { return false };
        let late = end.reported.is_some_and(|at| at.elapsed() >= self.options.grace());
        if late {
            (self.options.exit)(end.cause.error(&self.options.hosts).exit_code());
        }
        late
    }
}
