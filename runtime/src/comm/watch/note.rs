//! What the watching threads tell each other, and how it travels: a length of four bytes, then the
//! note as postcard writes it.

use crate::comm::{Channel, RankWarning};
use crate::error::ErrorKind;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Longest note; a message of an error that is longer is cut.
const LIMIT: usize = 1 << 20;
/// Longest message of an error, in bytes.
const MESSAGE: usize = 1 << 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Note {
    /// The rank runs.
    Alive(Pulse),
    /// The run ends.
    Ends(Cause),
    /// The rank has reported why the run ends.
    Reported,
    /// The rank warns; to the first rank.
    Warns(RankWarning),
    /// The run is over on this rank, and it will close the connection.
    Finished,
}

/// How far a rank is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pulse {
    /// Its progress counter.
    pub progress: u64,
    /// Whether an operation is under way that cannot tell its progress.
    pub operates: bool,
    /// Whether it waits for others, by channel.
    pub waits: [bool; Channel::ALL.len()],
}

/// Why a run ends before it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cause {
    /// A rank met an error.
    Failed { rank: usize, kind: ErrorKind, message: String },
    /// A rank's process ended without a word.
    Died { rank: usize },
    /// Nothing came from a rank for so long.
    Silent { rank: usize, milliseconds: u64 },
    /// A rank answers, but made no progress for so long, and waits for nobody.
    Still { rank: usize, milliseconds: u64 },
    /// All ranks wait in a communication that does not complete.
    Stuck { milliseconds: u64 },
    /// Signals have stopped the ranks.
    Stopped,
}

impl Cause {
    /// The error of a rank, as the cause of the end.
    pub fn failed(rank: usize, error: &Error) -> Self {
        Self::Failed { rank, kind: error.kind, message: cut(&error.message) }
    }

    /// The rank that cannot report it: it is gone, or hangs.
    pub fn mute(&self) -> Option<usize> {
        match self {
            Self::Died { rank } | Self::Silent { rank, .. } | Self::Still { rank, .. } => Some(*rank),
            Self::Failed { .. } | Self::Stuck { .. } | Self::Stopped => None,
        }
    }

    /// What the run ends with; `hosts` by rank.
    pub fn error(&self, hosts: &[String]) -> Error {
        let place = |rank: usize| format!("rank {rank} on {}", hosts[rank]);
        let seconds = |milliseconds: u64| format!("{:.1} s", milliseconds as f64 / 1000.0);
        let resume = "training goes on from its last checkpoint by the same command with --resume";
        match self {
            Self::Failed { rank, kind, message } => {
                Error { kind: *kind, message: message.clone() }.of_rank(*rank, &hosts[*rank])
            }
            Self::Died { rank } => {
                let why = "its process has ended without a word: it was killed, perhaps for memory, or crashed";
                Error::machine(format!("{}: {why}", place(*rank))).help(resume)
            }
            Self::Silent { rank, milliseconds } => {
                let why = "its process is stopped, or its machine cannot be reached";
                let quiet = seconds(*milliseconds);
                Error::machine(format!("{}: nothing came from it for {quiet}: {why}", place(*rank))).help(resume)
            }
            Self::Still { rank, milliseconds } => {
                let still = seconds(*milliseconds);
                Error::machine(format!("{}: it has made no progress for {still}, and waits for no rank", place(*rank)))
                    .help("if its steps may take so long, allow more by --rank-timeout")
            }
            Self::Stuck { milliseconds } => {
                let still = seconds(*milliseconds);
                let first = &hosts[0];
                Error::machine(format!("rank 0 on {first} and all others: a communication has not ended for {still}"))
                    .help("look at the network between the machines, or allow more by --rank-timeout")
            }
            Self::Stopped => {
                let message = "stopped by a signal before the ranks had ended together".to_string();
                Error { kind: ErrorKind::Stopped, message }
            }
        }
    }
}

impl Note {
    /// A warning.
    pub fn warns(warning: &RankWarning) -> Self {
        Self::Warns(RankWarning { about: cut(&warning.about), text: cut(&warning.text) })
    }
}

/// As much of a message as a note holds.
fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(MESSAGE)].to_string()
}

/// Appends a note to what is to be sent.
pub(super) fn write(note: &Note, to: &mut Vec<u8>) {
    let bytes = postcard::to_stdvec(note).expect("memory takes what is written");
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend(bytes);
}

/// Takes the next whole note from the front of what was received.
pub(super) fn read(from: &mut Vec<u8>) -> Result<Option<Note>> {
    let foreign = || Error::machine("what came is no note of this version of din");
    let Some((length, rest)) = from.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > LIMIT {
        return Err(foreign());
    }
    let Some(bytes) = rest.get(..length) else { return Ok(None) };
    let note = postcard::from_bytes(bytes).map_err(|_| foreign())?;
    from.drain(..4 + length);
    Ok(Some(note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_arrive_whole_however_they_are_cut() {
        let pulse = Pulse { progress: 1 << 40, operates: true, waits: [true, false, true, false] };
        let failed = Cause::failed(3, &Error::input("log.csv: line 7"));
        let notes = [Note::Alive(pulse), Note::warns(&"é".into()), Note::Ends(failed), Note::Reported, Note::Finished];
        let mut sent = Vec::new();
        notes.iter().for_each(|note| write(note, &mut sent));
        let (mut waiting, mut arrived) = (Vec::new(), Vec::new());
        for byte in sent {
            waiting.push(byte);
            arrived.extend(read(&mut waiting).unwrap());
        }
        assert_eq!(arrived, notes);
        assert!(waiting.is_empty());
    }

    #[test]
    fn what_is_no_note_is_an_error() {
        assert!(read(&mut vec![255; 8]).is_err());
        assert!(read(&mut [&[2, 0, 0, 0][..], &[77, 1]].concat()).is_err());
    }

    #[test]
    fn errors_name_rank_host_and_cause_and_keep_their_exit_code() {
        let hosts = ["north".to_string(), "south".to_string()];
        let data = Cause::failed(1, &Error::input("log.csv: line 7")).error(&hosts);
        assert_eq!((data.message.as_str(), data.exit_code()), ("rank 1 on south: log.csv: line 7", 1));
        let died = Cause::Died { rank: 0 }.error(&hosts);
        assert!(died.message.starts_with("rank 0 on north: its process has ended"), "{died}");
        assert_eq!(died.exit_code(), 3);
        assert_eq!(Cause::Stopped.error(&hosts).exit_code(), 130);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let Cause::Failed { message, .. } = Cause::failed(0, &Error::input("x".to_string() + &"é".repeat(MESSAGE)))
        else {
            unreachable!("that is what it makes")
        };
        assert!(message.len() <= MESSAGE && message.len() > MESSAGE - 2);
    }
}
