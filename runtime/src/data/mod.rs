//! Data: Parquet and CSV files bound to a schema and streamed as [`Batch`](crate::batch::Batch)es.
//!
//! [`Dataset::open`] checks every file against the spec before a row is read (columns, types, emptiness) and reports the first fault
//! with its file, column and the place in the spec that asked for it. [`Dataset::stream`] then decodes on threads of its own: never more
//! than two windows of rows are in memory, only the needed columns are read, and faults of single rows are located by file, row and
//! column. The order of samples depends on the files, the seed, the epoch and the window alone.
//!
//! - `error`: the located faults.
//! - `bind`: from the schema to wanted columns, and their types.
//! - `files`: paths to files and units (row groups, blocks of lines).
//! - `parquet`, `csv`: the two readers; `decode`: Arrow arrays to batch columns.
//! - `gather`: copying rows between batches. - `requests`: from flat rows to requests.
//! - `source`: rows in reading order. - `window`: rows that are permuted together.
//! - `stream`: order, batches, the decoding threads.
//!
//! # What values mean
//!
//! | in the spec | Parquet | CSV | null |
//! | --- | --- | --- | --- |
//! | `category` | any integer | integer | error |
//! | `category of string` | text in UTF-8: strings, JSON, enums, unmarked bytes | any text | error |
//! | `category(n)` | any integer or boolean, `0..n` | integer | error |
//! | `number`, `number[k]` | integer or float; list of length `k` | number; list of `k` | error; NaN and infinities too |
//! | in a sequence | list of the above | list, split at the separator | error; an empty list is fine |
//! | `label` | 0 or 1: boolean, integer, float | 0, 1, true, false | missing if the label has `missing`, else error |
//! | `key` | any integer or string | text | error |
//!
//! A string id is the 64-bit XXH3 hash of its UTF-8 bytes: stable, and two strings with one hash are one id (for ten million
//! distinct strings the chance that any two collide is 3e-6). An empty CSV field is a null, in a list column the empty list.

mod bind;
mod csv;
mod decode;
mod error;
mod files;
mod gather;
mod parquet;
mod requests;
mod source;
mod stream;
mod window;

pub use error::{DataError, Fault, FaultKind, Place};
pub use stream::{Batches, Order, StreamOptions};

use bind::Binding;
use din_program::schema::Schema;
use files::DataFile;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the data are read for; decides which columns must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Features and labels. Key columns are not read, but for the one that tells requests apart: [`Batch::keys`](crate::batch::Batch::keys) has the
    /// others as empty columns.
    Train,
    /// Features, labels and keys.
    Evaluate,
    /// Features and keys. Labels are not read: `labels` and `present` are 0.
    Predict,
}

/// How files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    pub mode: Mode,
    /// Separates the entries of a list in a CSV field.
    pub list_separator: u8,
}

impl OpenOptions {
    pub fn new(mode: Mode) -> Self {
        Self { mode, list_separator: b'|' }
    }
}

/// One or more files as one list of rows, bound to a schema. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dataset {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub binding: Binding,
    pub files: Vec<DataFile>,
    /// Row groups and blocks of lines in file order.
    pub units: Vec<files::Unit>,
    pub rows: u64,
    /// About so many bytes a row takes in a batch.
    pub row_bytes: u64,
}

impl Dataset {
    /// Opens files and directories (their `.parquet`, `.pq`, `.csv`, `.tsv` files in the order of their names, not their
    /// subdirectories) as one data set and checks every column's presence and type.
    pub fn open<P: AsRef<Path>>(paths: &[P], schema: &Schema, mode: Mode) -> Result<Dataset, DataError> {
        Self::open_with(paths, schema, &OpenOptions::new(mode))
    }

    pub fn open_with<P: AsRef<Path>>(
        paths: &[P],
        schema: &Schema,
        options: &OpenOptions,
    ) -> Result<Dataset, DataError> {
        let binding = Binding::new(schema, options);
        let (files, units) = files::open(paths, &binding)?;
        let rows = units.iter().map(|u| u.rows).sum();
        if rows == 0 {
            let first = files.first().map_or_else(PathBuf::new, |f| f.path.clone());
            return Err(DataError::new(FaultKind::NoRows, &first, "at least one row", "none")
                .help("check what wrote the file, or name another"));
        }
        let bytes: u64 = files.iter().map(|f| f.decoded_bytes).sum();
        Ok(Dataset { inner: Arc::new(Inner { binding, files, units, rows, row_bytes: bytes / rows + 16 }) })
    }

    /// Rows of all files together; at least 1.
    pub fn rows(&self) -> u64 {
        self.inner.rows
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.inner.files.iter().map(|f| f.path.as_path())
    }

    pub fn schema(&self) -> &Schema {
        &self.inner.binding.schema
    }

    /// Changes when a file's name, size, row count or footer does; a resumed run compares it with the one it began with.
    pub fn fingerprint(&self) -> String {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for file in &self.inner.files {
            hash.update(file.path.file_name().map(|n| n.as_encoded_bytes()).unwrap_or_default());
            hash.update(&file.length.to_le_bytes());
            hash.update(&file.rows.to_le_bytes());
            hash.update(&file.digest.to_le_bytes());
        }
        format!("{:016x}", hash.digest())
    }

    /// Starts decoding. See [`StreamOptions`].
    pub fn stream(&self, options: StreamOptions) -> Result<Batches, DataError> {
        Batches::start(self.inner.clone(), options)
    }
}

/// The id of a string: XXH3, 64 bits, seed 0, of its UTF-8 bytes.
#[inline]
pub fn string_id(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}
