//! Data: Parquet and CSV files bound to a schema and streamed as [`Batch`](crate::batch::Batch)es.
//!
//! [`Dataset::open`] checks every file against the spec before a row is read (columns, types,
//! emptiness) and reports the first fault with its file, column and the place in the spec that
//! asked for it. [`Dataset::stream`] then decodes on threads of its own: never more than two
//! windows of rows are in memory, only the needed columns are read, and faults of single rows are
//! located by file, row and column. The order of samples depends on the files, the seed, the epoch
//! and the window alone.
//!
//! - `error`: the located faults.
//! - `bind`: from the schema to required columns, and their types.
//! - `passthrough`: columns that pass through prediction. - `arrays`: these as messages.
//! - `files`: paths to files and their blocks (row groups, blocks of records).
//! - `format`: Parquet, CSV, or neither.
//! - `parquet`, `csv`: the two readers. - `records`: the records of a CSV file.
//! - `decode`: Arrow arrays to batch columns. - `rule`: from a column's value to a feature's.
//! - `combine`: features that are made of others. - `known`: times that must come before a moment.
//! - `gather`: copying rows between batches. - `requests`: from flat rows to requests.
//! - `source`: rows in reading order. - `decoded`: how many. - `window`: rows that are permuted
//!   together. - `spare`: their memory, from stream to stream.
//! - `sample`: what first rows show of columns.
//! - `stream`: order, batches, the decoding threads. - `ranks`: the same on several ranks.
//!
//! # What values mean
//!
//! | in the spec | Parquet | CSV | null |
//! | --- | --- | --- | --- |
//! | `category` | any integer | integer | error |
//! | `category of string` | text in UTF-8: strings, JSON, enums, unmarked bytes | any text | error |
//! | `category(n)` | any integer or boolean, `0..n` | integer | error |
//! | `number`, `number[k]` | integer or float; list of length `k` | number; list of `k` | error; NaN and infinities too |
//! | with `missing` | the same | the same; an empty field is a null | what the spec says; NaN of a `number` too |
//! | from a function of a column | integer or float | number | error |
//! | in a sequence | list of the above | list, split at the separator | error; an empty list is fine |
//! | `binary` label | 0 or 1: boolean, integer, float | 0, 1, true, false | missing if the label has `missing`, else error |
//! | `number`, `count`, `weight` label | boolean, integer, float | a number, true, false | the same; a value that is none of the kind is an error |
//! | `label`, to predict | anything | anything | passed through |
//! | `key` | any integer or string | an integer from -2^63 to 2^64 - 1; text | error |
//!
//! Features that are made of others have no column. A string id is the 64-bit XXH3 hash of its
//! UTF-8 bytes: stable, and two strings with one hash are one id (for ten million distinct strings
//! the chance that any two collide is 3e-6). An empty CSV field is a null, in a list column the
//! empty list.

mod arrays;
mod bind;
mod block;
mod combine;
mod csv;
mod decode;
mod decoded;
mod error;
mod files;
mod format;
mod gather;
mod known;
mod parquet;
mod passthrough;
mod ranks;
mod records;
mod requests;
mod rule;
mod sample;
mod source;
mod spare;
mod stream;
mod window;

pub(crate) use arrays::{Message, push_arrays, push_bytes};
pub use decoded::{Decoded, ReadingProfile};
pub use error::{DataError, DataFault, FaultKind, Location, StreamError};
pub use ranks::RowDivision;
pub(crate) use rule::own_id;
pub use sample::{SampledColumn, SampledKind, sample};
pub use stream::{Batches, Order, StreamOptions};

use crate::comm::{Channel, Communicator};
use crate::identity::FileIdentity;
use crate::statistics::Statistics;
use arrow_schema::Field;
use bind::Binding;
use block::DataFile;
use decoded::DecodedCounters;
use din_program::schema::Schema;
use files::OpenedFiles;
use ranks::{BatchDivision, RankReaders, Readers};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the data are read for; decides which columns must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Features and labels. Key columns are not read, but for the one that separates requests:
    /// [`Batch::keys`](crate::batch::Batch::keys) has the others as empty columns.
    Train,
    /// Features, labels and keys.
    Evaluate,
    /// Features; keys and labels only to pass them through, as
    /// [`Batch::passthrough`](crate::batch::Batch::passthrough), but for the key that separates
    /// requests. `labels` and `present` are 0, and a label may have any value, or no column.
    Predict,
}

/// How files are read.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    pub mode: ReadMode,
    /// Separates the entries of a list in a CSV field.
    pub list_separator: u8,
    /// Those of the training data, where the schema has any.
    pub statistics: Statistics,
    /// Features with string ids whose texts [`Batch::keys`](crate::batch::Batch::keys) has behind
    /// the keys of the schema, in this order; empty for nulls. In [`ReadMode::Evaluate`] alone.
    pub texts: Vec<u32>,
}

impl OpenOptions {
    pub fn new(mode: ReadMode) -> Self {
        Self { mode, list_separator: b'|', statistics: Statistics::default(), texts: Vec::new() }
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
    /// Of every file.
    pub identities: HashSet<FileIdentity>,
    /// Row groups and blocks of records in file order.
    pub blocks: Vec<block::RowBlock>,
    /// What folders hold besides data.
    pub left_out: Vec<PathBuf>,
    pub rows: u64,
    /// About so many bytes a row takes in a batch.
    pub row_bytes: u64,
    pub warnings: Warnings,
    pub spare: spare::SpareParts,
    /// Of the streams on several ranks: those of batches that have leaves, and those in the order
    /// of the files.
    pub turns: ranks::Turns,
    pub pass_turns: ranks::Turns,
    pub decoded: DecodedCounters,
}

/// What the rows that were read so far give reason to warn of: the first of each column, in
/// reading order.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<Vec<Warning>>);

#[derive(Debug)]
struct Warning {
    fault: DataError,
    reported: bool,
}

impl Warnings {
    fn lock(&self) -> MutexGuard<'_, Vec<Warning>> {
        // What a thread left when it panicked is whole: warnings are added one by one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, found: &mut Vec<DataError>) {
        if found.is_empty() {
            return;
        }
        let mut known = self.lock();
        for fault in found.drain(..) {
            if known.iter().all(|w| (w.fault.kind, &w.fault.column) != (fault.kind, &fault.column)) {
                known.push(Warning { fault, reported: false });
            }
        }
    }

    /// Adds the warnings of `other` that it has not handed on before, about rows read after these.
    pub fn take_from(&self, other: &Warnings) {
        let new =
            |warning: &mut Warning| (!std::mem::replace(&mut warning.reported, true)).then(|| warning.fault.clone());
        let mut found: Vec<DataError> = other.lock().iter_mut().filter_map(new).collect();
        self.add(&mut found);
    }
}

impl Inner {
    /// `rows`, or as many rows as take `bytes` bytes, if these are fewer; one at least.
    fn window_rows(&self, rows: usize, bytes: u64) -> usize {
        (bytes / self.row_bytes).min(rows as u64).max(1) as usize
    }

    /// See [`Dataset::fingerprint`].
    fn fingerprint(&self) -> String {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for file in &self.files {
            hash.update(file.path.file_name().expect("a file has a name").as_encoded_bytes());
            hash.update(&file.length.to_le_bytes());
            hash.update(&file.rows.to_le_bytes());
            hash.update(&file.digest.to_le_bytes());
        }
        format!("{:016x}", hash.digest())
    }
}

impl Dataset {
    /// Opens files and directories (the data files in them, in the order of their names) as one
    /// data set and checks every column's presence and type. In a directory, a subdirectory or a
    /// file that may be data of another kind is an error, and so is one file twice. Files without
    /// rows take no part: their columns are not looked at.
    pub fn open<P: AsRef<Path>>(paths: &[P], schema: &Schema, mode: ReadMode) -> Result<Dataset, DataError> {
        Self::open_with(paths, schema, &OpenOptions::new(mode))
    }

    pub fn open_with<P: AsRef<Path>>(
        paths: &[P],
        schema: &Schema,
        options: &OpenOptions,
    ) -> Result<Dataset, DataError> {
        let mut binding = Binding::new(schema, options);
        let OpenedFiles { files, identities, blocks, left_out } = files::open(paths, &binding)?;
        for file in &files {
            for (passthrough, kind) in binding.passthrough.iter_mut().zip(&file.passthrough) {
                kind.iter().try_for_each(|kind| passthrough.widen(&file.path, kind))?;
            }
        }
        let rows = blocks.iter().map(|u| u.rows).sum();
        if rows == 0 {
            let first = files.first().map_or_else(PathBuf::new, |f| f.path.clone());
            return Err(DataError::new(FaultKind::NoRows, &first, "at least one row", "none")
                .help("check what wrote the file, or name another"));
        }
        let bytes: u64 = files.iter().map(|f| f.decoded_bytes).sum();
        let (row_bytes, warnings) = (bytes / rows + 16, Warnings::default());
        let inner = Inner {
            binding,
            files,
            identities,
            blocks,
            left_out,
            rows,
            row_bytes,
            warnings,
            spare: spare::SpareParts::default(),
            turns: ranks::Turns::default(),
            pass_turns: ranks::Turns::default(),
            decoded: DecodedCounters::default(),
        };
        Ok(Dataset { inner: Arc::new(inner) })
    }

    /// How it was opened.
    pub fn options(&self) -> &OpenOptions {
        &self.inner.binding.options
    }

    /// Rows of all files together; at least 1.
    pub fn rows(&self) -> u64 {
        self.inner.rows
    }

    /// Number of rows in a window of a stream in shuffled order.
    pub fn window_rows(&self, options: &StreamOptions) -> u64 {
        self.inner.window_rows(options.window_rows, options.window_bytes) as u64
    }

    /// How so many ranks share the rows that they read in the order of the files.
    pub fn row_division(&self, ranks: usize) -> RowDivision {
        self.inner.division(ranks)
    }

    /// The rows of a rank's part: consecutive ones, all parts about equally many. Rows are counted
    /// from 0 over all files in their order; the parts of all ranks follow each other. They end
    /// with blocks where ranks share these ([`RowDivision::ByBlocks`]), else anywhere, so that a
    /// request may begin in one part and end in the next.
    ///
    /// # Panics
    /// `rank` is not less than `ranks`.
    pub fn part_rows(&self, rank: usize, ranks: usize) -> Range<u64> {
        let inner = &self.inner;
        match inner.division(ranks) {
            RowDivision::ByBlocks => {
                let blocks = inner.blocks_of(rank, ranks);
                let rows = |blocks: Range<usize>| inner.blocks[blocks].iter().map(|block| block.rows).sum::<u64>();
                let first = rows(0..blocks.start);
                first..first + rows(blocks)
            }
            RowDivision::ByBatches => inner.even_begin(rank, ranks)..inner.even_begin(rank + 1, ranks),
        }
    }

    /// What this process has decoded so far.
    pub fn decoded(&self) -> Decoded {
        self.inner.decoded.get()
    }

    /// `batch`, or fewer rows where so many would take more than 64 MiB: for evaluation and
    /// prediction, whose results do not depend on it.
    pub fn bounded_batch(&self, batch: usize) -> usize {
        const LARGEST: u64 = 64 << 20;
        (batch as u64).min(LARGEST / self.inner.row_bytes).max(1) as usize
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.inner.files.iter().map(|f| f.path.as_path())
    }

    /// Name and type of the columns of [`Batch::passthrough`](crate::batch::Batch::passthrough)
    /// that files have.
    pub fn passthrough(&self) -> impl Iterator<Item = Field> {
        self.inner.binding.passthrough.iter().filter_map(|passthrough| {
            let kind = passthrough.kind.clone()?;
            Some(Field::new(&passthrough.required.column, kind, passthrough.is_label()))
        })
    }

    /// What the rows that were read so far give reason to warn of: for each column the first, which
    /// is given once.
    pub fn warnings(&self) -> Vec<DataError> {
        let mut known = self.inner.warnings.lock();
        let new = known.iter_mut().filter(|warning| !warning.reported);
        new.map(|warning| {
            warning.reported = true;
            warning.fault.clone()
        })
        .collect()
    }

    /// Frees the memory that streams hand on to each other and none uses now.
    pub(crate) fn free_spare_memory(&self) {
        self.inner.spare.free();
    }

    /// Where in the files a row is; rows are counted from 0 over all files in their order.
    ///
    /// # Panics
    /// The data set does not have the row.
    pub fn locate(&self, row: u64) -> Result<(&Path, Location), DataError> {
        let mut before = 0;
        let block = self.inner.blocks.iter().find(|block| {
            before += block.rows;
            row < before
        });
        let block = block.expect("the row is one of the data set's");
        let file = &self.inner.files[block.file];
        Ok((&file.path, file.locate(*block, row - (before - block.rows))?))
    }

    /// Whether the file at `path` is one of these, by whatever path or link; false where there is
    /// none.
    pub fn holds(&self, path: &Path) -> bool {
        FileIdentity::of(path).is_ok_and(|identity| self.inner.identities.contains(&identity))
    }

    /// Says what folders hold that is documentation or code by its name, and therefore not read;
    /// none where there is nothing of the kind.
    pub fn left_out(&self) -> Option<String> {
        let names: Vec<String> = self.inner.left_out.iter().map(|path| path.display().to_string()).collect();
        (!names.is_empty()).then(|| format!("not read, as documentation or code by name: {}", names.join(", ")))
    }

    /// Separates the entries of a list in a CSV field.
    pub fn list_separator(&self) -> u8 {
        self.inner.binding.options.list_separator
    }

    pub fn schema(&self) -> &Schema {
        &self.inner.binding.schema
    }

    /// Changes when a file's name, size, row count or footer does; a resumed run compares it with
    /// the one it began with.
    pub fn fingerprint(&self) -> String {
        self.inner.fingerprint()
    }

    /// Starts decoding. See [`StreamOptions`].
    pub fn stream(&self, options: StreamOptions) -> Result<Batches, DataError> {
        Batches::start(self.inner.clone(), options, Readers::Alone(0..self.inner.blocks.len()))
    }

    /// Starts decoding on several ranks, each of which is to call this with the same data and
    /// options (but for `threads` and `prefetch`). The global batches are those of
    /// [`Dataset::stream`]; what comes on a rank are its leaves of each of them, in a batch without
    /// rows where it owns none. A block of rows (a row group, records of a CSV) is decoded by one
    /// rank, or by all of them, each some columns; samples are sent to the ranks that own their
    /// leaves.
    ///
    /// A stream that is dropped early is to be dropped on all ranks, behind the same batch. Another
    /// that is started meanwhile waits for the end of the one before it, and is to be dropped
    /// later. No other data set may be streamed so on the same ranks at the same time.
    pub fn stream_on(&self, options: StreamOptions, ranks: Arc<dyn Communicator>) -> Result<Batches, DataError> {
        if ranks.size() == 1 {
            return self.stream(options);
        }
        let (channel, turn, division) = (Channel::Data, self.inner.turns.next(), BatchDivision::Leaves);
        let readers = Readers::Ranks(RankReaders { ranks, channel, turn, division });
        Batches::start(self.inner.clone(), options, readers)
    }

    /// Starts decoding in the order of the files on several ranks, each of which is to call this
    /// with the same data and options (but for `threads` and `prefetch`). Every row comes on one
    /// rank, in batches of at most `options.batch` or some thousand samples (of requests, so many
    /// samples and a request):
    ///
    /// - [`RowDivision::ByBlocks`]: on each rank the rows of its part, with no word to the others.
    /// - [`RowDivision::ByBatches`]: on all ranks equally many batches. Of the first batches of all
    ///   ranks, joined in the order of the ranks, come the first rows of the data set, and so on. A
    ///   batch may have no rows. Where a rank drops the stream early, the others' end soon.
    ///
    /// While a stream of [`Dataset::stream_on`] runs, this one does too; but one at a time.
    ///
    /// # Panics
    /// `options` ask for another order.
    pub fn stream_in_order(&self, options: StreamOptions, ranks: &Arc<dyn Communicator>) -> Result<Batches, DataError> {
        assert_eq!(options.order, Order::File, "rows that ranks share in the order of the files are read in it");
        let (options, readers) = match self.row_division(ranks.size()) {
            RowDivision::ByBlocks => (options, Readers::Alone(self.inner.blocks_of(ranks.rank(), ranks.size()))),
            RowDivision::ByBatches => self.inner.together(options, ranks.clone()),
        };
        Batches::start(self.inner.clone(), options, readers)
    }
}

/// The id of a string: XXH3, 64 bits, seed 0, of its UTF-8 bytes.
#[inline]
pub fn string_id(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}
