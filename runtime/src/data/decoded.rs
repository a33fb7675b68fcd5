//! How much of a data set was decoded, on which rank, and in how much memory.

use super::Dataset;
use super::block::RowBlock;
use crate::comm::{Channel, Communicator, Messages, ids, push_id};
use crate::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a process has decoded of a data set, by all of its streams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Rows. Of blocks that all ranks decode, each some columns, those that this rank has put
    /// together.
    pub rows: u64,
    /// About so many bytes: of Parquet, of the columns that it has decoded, neither compressed nor
    /// as they are in a batch; of CSV, of the text. What is left of a block counts when it is
    /// begun.
    pub bytes: u64,
}

/// Counts [`Decoded`].
#[derive(Debug, Default)]
pub(crate) struct DecodedCounters {
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl DecodedCounters {
    pub fn add_rows(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// A block is begun, which has so many bytes, without its first `skip` rows.
    pub fn add_bytes(&self, bytes: u64, block: RowBlock, skip: u64) {
        let left = u128::from(bytes) * u128::from(block.rows - skip) / u128::from(block.rows.max(1));
        self.bytes.fetch_add(left as u64, Ordering::Relaxed);
    }

    pub fn get(&self) -> Decoded {
        Decoded { rows: self.rows.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// What a rank has read of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadingProfile {
    pub decoded: Decoded,
    /// Bytes of memory that its process had at most, whatever for.
    pub peak_memory: u64,
}

impl Dataset {
    /// What each rank has read so far, by rank. Every rank of the run calls it.
    ///
    /// # Errors
    /// The system does not tell how much memory the process had, or another rank failed.
    pub fn reading_profile(&self, ranks: &dyn Communicator) -> Result<Vec<ReadingProfile>> {
        let Decoded { rows, bytes } = self.decoded();
        let mut words = Vec::new();
        [rows, bytes, peak_memory()?].into_iter().for_each(|number| push_id(&mut words, number));
        let mut received = Messages::default();
        ranks.all_gather(Channel::Step, &words, &mut received)?;
        let profile = |words| {
            let mut numbers = ids(words);
            let mut next = || numbers.next().expect("every rank sends three numbers");
            ReadingProfile { decoded: Decoded { rows: next(), bytes: next() }, peak_memory: next() }
        };
        Ok(received.iter().map(profile).collect())
    }
}

/// The largest resident memory of this process so far, in bytes.
fn peak_memory() -> Result<u64> {
    let path = Path::new("/proc/self/status");
    let text = std::fs::read_to_string(path).map_err(|e| Error::file("read", path, &e))?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    let kibibytes: Option<u64> = kibibytes;
    Ok(1024 * kibibytes.ok_or_else(|| Error::machine(format!("{}: expected a line VmHWM", path.display())))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_kept_when_memory_is_given_back() {
        let before = peak_memory().unwrap();
        let filled = vec![1u8; 64 << 20];
        assert_eq!(filled.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 64 << 20);
        drop(filled);
        assert!(peak_memory().unwrap() >= before.max(64 << 20));
    }
}
