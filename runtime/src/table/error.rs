//! What can go wrong in a table.

use std::fmt;

/// What can go wrong in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableError {
    /// An id that is no row of a fixed table.
    OutOfRange { table: String, id: u64, size: u64 },
    /// 2^32 - 2 rows.
    Full { table: String },
    /// The machine gave no memory.
    Memory { bytes: u64 },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { table, id, size } => {
                write!(f, "table `{table}`: expected an id from 0 to {}, found {id}", size.saturating_sub(1))
            }
            Self::Full { table } => write!(f, "table `{table}`: expected fewer than 2^32 - 1 distinct ids, found more"),
            Self::Memory { bytes } => {
                write!(
                    f,
                    "no memory for a table part of {} MiB; use a machine with more, or narrower tables",
                    bytes >> 20
                )
            }
        }
    }
}

impl std::error::Error for TableError {}
