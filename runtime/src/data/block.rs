//! Files as blocks of rows: the interface between the readers of the formats and what reads whole
//! data sets.

use super::bind::Binding;
use super::error::{DataError, Location};
use crate::batch::Batch;
use arrow_schema::DataType;
use std::fmt;
use std::path::{Path, PathBuf};

/// A file, opened and bound.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// As given, for messages.
    pub path: PathBuf,
    pub length: u64,
    pub rows: u64,
    /// About so many bytes its required columns take in a batch.
    pub decoded_bytes: u64,
    /// Of the footer or header.
    pub digest: u64,
    /// By column to pass through, its type; `None` where the file does not have it.
    pub passthrough: Vec<Option<DataType>>,
    pub contents: Box<dyn FileFormat>,
}

impl DataFile {
    /// Where the row of a block is.
    pub fn locate(&self, block: RowBlock, row: u64) -> Result<Location, DataError> {
        self.contents.locate(&self.path, block, row)
    }

    /// About how many bytes there are to decode of all columns of a block that are read: of CSV,
    /// its text.
    pub fn bytes(&self, binding: &Binding, block: RowBlock) -> u64 {
        match self.contents.by_columns() {
            Some(columns) => binding.distinct_bytes(&columns.bytes(block), &binding.all_columns()),
            None => (u128::from(self.length) * u128::from(block.rows) / u128::from(self.rows.max(1))) as u64,
        }
    }

    /// Starts reading a block, without its first `skip` rows.
    pub fn reader(&self, binding: &Binding, block: RowBlock, skip: u64) -> Result<Box<dyn RowBlockReader>, DataError> {
        self.contents.reader(binding, &self.path, block, skip)
    }
}

/// What a format knows of a file that it has opened and bound. `files` opens a file by its format.
pub(crate) trait FileFormat: fmt::Debug + Send + Sync {
    /// Where the row of a block is.
    fn locate(&self, path: &Path, block: RowBlock, row: u64) -> Result<Location, DataError>;

    /// Starts reading a block, without its first `skip` rows.
    fn reader(
        &self,
        binding: &Binding,
        path: &Path,
        block: RowBlock,
        skip: u64,
    ) -> Result<Box<dyn RowBlockReader>, DataError>;

    /// The same by columns, where each of them can be read by itself.
    fn by_columns(&self) -> Option<&dyn ColumnFormat>;
}

/// Some columns of a binding, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SomeColumns {
    /// Indices among those that are required.
    pub required: Vec<usize>,
    /// Indices among those that are passed through.
    pub passthrough: Vec<usize>,
}

/// A format whose columns can be read by themselves.
pub(crate) trait ColumnFormat {
    /// About how many bytes there are to decode of each required column of a block, then of each
    /// column to pass through, 0 where the file does not have it.
    fn bytes(&self, block: RowBlock) -> Vec<u64>;

    /// Starts reading some columns of a block, without its first `skip` rows. `columns` has, by
    /// column of `binding`, its index in the binding that the file was opened with.
    fn reader(
        &self,
        binding: &Binding,
        columns: &SomeColumns,
        path: &Path,
        block: RowBlock,
        skip: u64,
    ) -> Result<Box<dyn RowBlockReader>, DataError>;
}

/// Consecutive rows of one file that can be read by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowBlock {
    pub file: usize,
    /// Row group of a Parquet file, or index into the blocks of a CSV.
    pub index: usize,
    /// Row number in the file of its first row.
    pub first_row: u64,
    pub rows: u64,
}

/// Reads a block from its beginning to its end.
pub(crate) trait RowBlockReader: Send {
    /// Appends up to `limit` rows; 0 at the end of the block.
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError>;

    /// Moves the warnings since the last call to `to`, at most one for each column of the block.
    fn warnings(&mut self, to: &mut Vec<DataError>);
}
