//! A run of one rank.

use super::{Channel, Communicator, Ending, Messages, RankWarning};
use crate::{Error, Result};

/// The only rank of a run: what it sends it receives.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalCommunicator;

impl Communicator for LocalCommunicator {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_to_all(&self, _channel: Channel, send: &Messages, received: &mut Messages) -> Result<()> {
        received.clone_from(send);
        Ok(())
    }

    fn all_gather(&self, _channel: Channel, message: &[u32], received: &mut Messages) -> Result<()> {
        received.clear();
        received.push(message);
        Ok(())
    }

    fn host(&self, _rank: usize) -> String {
        super::watch::host_name()
    }

    fn warn(&self, _warning: &RankWarning) -> bool {
        false
    }

    fn finish(&self) -> Result<()> {
        Ok(())
    }

    fn fail(&self, error: &Error) -> Ending {
        Ending { error: error.clone(), reported: false }
    }
}
