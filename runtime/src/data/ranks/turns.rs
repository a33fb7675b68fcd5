//! Whose turn it is to speak with the other ranks: the streams of a data set, in the order in which
//! they were started, which is the same on all ranks.

use crate::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Mutex, PoisonError};

/// The end of the stream that was started last.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<Option<Receiver<()>>>);

/// A stream's place.
pub(crate) struct Turn {
    before: Option<Receiver<()>>,
    after: Sender<()>,
}

impl Turns {
    /// The place behind all streams that were started so far.
    pub fn next(&self) -> Turn {
        let (after, end) = bounded(1);
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(end);
        Turn { before, after }
    }
}

impl Turn {
    /// Waits until the streams before have said all they had to say.
    ///
    /// # Errors
    /// One of them failed, so that what other ranks say next is meant for it.
    pub fn wait(&self) -> Result<()> {
        match self.before.as_ref().map(Receiver::recv) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Error::machine("an earlier stream of the same data failed")),
        }
    }

    /// Says that the stream has nothing more to say. One that fails does not.
    pub fn pass(self) {
        // Nobody waits where the next stream has failed already.
        let _ = self.after.send(());
    }
}
