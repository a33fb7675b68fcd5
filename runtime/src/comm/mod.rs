//! Communication between the ranks of a run.
//!
//! A run of several processes trains one model: each process is a *rank*, numbered from 0. All that
//! ranks say to each other goes through a [`Communicator`]. Its operations are collective: every
//! rank calls them in the same order on one [`Channel`]. They only move data; nothing is summed on
//! the way, since the order of such a sum would be the library's.
//!
//! - `local`: one rank.
//! - `mpi`: processes that `mpirun` or another launcher has started, which [`connect()`] joins;
//!   `watch` sees to it that a rank which fails or hangs ends them all, and `keeper` that they have
//!   the time to.
//! - `in_process`: ranks that are threads of one process, for tests.
//! - `reduce`: reductions over all samples, joined over ranks. - `measured`: what is sent.
//! - `outcome`: how a part of the work ended on every rank. - `warning`: what a rank warns of.

mod connect;
mod in_process;
mod keeper;
mod launch;
mod library;
mod local;
mod measured;
mod messages;
mod mpi;
mod outcome;
mod reduce;
mod warning;
mod watch;

pub use connect::{ConnectOptions, Notice, Reporter, connect};
pub use in_process::in_process;
pub use library::{FoundMpi, find_mpi};
pub use local::LocalCommunicator;
pub use measured::{ChannelTraffic, MeasuredCommunicator};
pub use messages::{Messages, floats_as_words, ids, push_id, words_as_bf16, words_as_bf16_mut, words_as_floats};
pub use outcome::{any_rank, check_agreement, on_first_rank, share_outcomes, sum_over_ranks};
pub(crate) use reduce::WHOLE_WORDS;
pub use reduce::{RankReduction, sum_counts};
pub use warning::RankWarning;
pub use watch::{Ending, LongOperation, progress};

use crate::{Error, Result};
use std::fmt;

/// Operations on different channels do not wait for each other: each may be used by a thread of its
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The step: rows, gradients, reductions, and what training decides between steps.
    Step,
    /// The ids of the batches ahead.
    Ahead,
    /// Samples of the training data on their way to their ranks.
    Data,
    /// Samples of a data pass in the order of the files. The training data of the next epoch may be
    /// under way at the same time.
    Pass,
}

impl Channel {
    /// All channels, in order.
    pub const ALL: [Channel; 4] = [Channel::Step, Channel::Ahead, Channel::Data, Channel::Pass];

    /// As an index of a slice.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// How the ranks of a run reach each other.
pub trait Communicator: fmt::Debug + Send + Sync {
    /// This rank's number, from 0.
    fn rank(&self) -> usize;

    /// Ranks of the run.
    fn size(&self) -> usize;

    /// Sends message `p` of `send` to rank `p`, the own rank included, and receives one of each
    /// rank, in their order. Returns when all of them are here.
    ///
    /// # Errors
    /// Another rank failed, or does not answer.
    fn all_to_all(&self, channel: Channel, send: &Messages, received: &mut Messages) -> Result<()>;

    /// Sends one message to every rank, the own rank included, and receives one of each, in their
    /// order.
    ///
    /// # Errors
    /// As [`Communicator::all_to_all`].
    fn all_gather(&self, channel: Channel, message: &[u32], received: &mut Messages) -> Result<()>;

    /// The name of a rank's machine.
    fn host(&self, rank: usize) -> String;

    /// Passes a warning of this rank on to the first rank, which shows it soon: one of several
    /// ranks about the same once. `false` where the ranks have no such way, and the caller is to
    /// show it.
    fn warn(&self, warning: &RankWarning) -> bool;

    /// The run is over on this rank: waits until it is on every rank, and ends communication. To be
    /// called once, while no other thread communicates; nothing is sent after it.
    ///
    /// # Errors
    /// As [`Communicator::all_to_all`].
    fn finish(&self) -> Result<()>;

    /// Ends the run on every rank because of an error: one of this rank, or one that an operation
    /// returned. The error that came first is what the run ends with, and one rank reports it. To
    /// be called before the process ends, except after [`Communicator::finish`].
    fn fail(&self, error: &Error) -> Ending;
}
