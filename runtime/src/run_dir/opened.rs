//! Opening a run directory on every rank of a run: the first one writes, the others read.

use super::{RunDirectory, RunRecord};
use crate::comm::{Channel, Communicator, on_first_rank, share_outcomes};
use crate::error::{Error, Result};
use std::path::Path;

/// A run that was opened to go on with it, and what it recorded when it began.
#[derive(Clone, Debug)]
pub struct OpenedRun {
    pub directory: RunDirectory,
    pub record: RunRecord,
}

impl OpenedRun {
    /// Opens a run directory; the first rank locks it for writing, the others read. `None` where
    /// there is nothing, or what a process left that was stopped before the run had begun.
    ///
    /// # Errors
    /// It is no run, was altered, or another process is training into it.
    pub fn to_resume(path: &Path, ranks: &dyn Communicator) -> Result<Option<Self>> {
        // What the first rank sees is so for all.
        let looks = ranks.rank() == 0;
        let begun = if looks { RunDirectory::may_have_begun(path) } else { Ok(true) };
        let seen = share_outcomes(ranks, Channel::Step, begun.map(|begun| begun.to_string()))?;
        if seen[0] == false.to_string() {
            return Ok(None);
        }
        let directory = open_as_rank(path, ranks, || RunDirectory::open_to_write(path))?;
        let record = directory.record()?;
        Ok(Some(Self { directory, record }))
    }
}

/// The run directory that the first rank gets for writing by `open`; the other ranks, when it is
/// there, for reading.
pub fn open_as_rank(
    path: &Path,
    ranks: &dyn Communicator,
    open: impl FnOnce() -> Result<RunDirectory>,
) -> Result<RunDirectory> {
    let mut opened = None;
    let opens = || {
        opened = Some(open()?);
        Ok(())
    };
    let shared = on_first_rank(ranks, Channel::Step, opens);
    if let (Err(_), Some(made)) = (&shared, &opened) {
        // Another rank has gone on, and failed, before this one heard that all have come so far.
        made.clear_unless_begun();
    }
    shared?;
    match opened {
        Some(directory) => Ok(directory),
        None => RunDirectory::open(path).map_err(|error| {
            let message = error.message.lines().next().expect("an error has a message");
            Error { message: format!("rank {}: {message}", ranks.rank()), ..error }
                .help("choose an --out that all hosts of the run see under the same path")
        }),
    }
}
