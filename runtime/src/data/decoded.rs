//! How much of a data set was decoded.

use super::block::RowBlock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a process has decoded of a data set, by all of its streams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Rows. Of blocks that all ranks decode, each some columns, those that this rank has put
    /// together.
    pub rows: u64,
    /// About so many bytes: of Parquet, of the columns that it has decoded, neither compressed nor
    /// as they are in a batch; of CSV, of the text. What is left of a block counts when it is begun.
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
