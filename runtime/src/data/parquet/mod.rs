//! Parquet: opened, bound, and read one row group at a time, only the wanted columns.
//!
//! Guarantees that no damaged file brings the process down: the decoding library may panic on some of
//! them, so every call into it is fenced and what it says becomes a located fault.
//!
//! - `input`: the file's bytes, and the system calls that fail. - `schema`: the columns' types.
//! - `encryption`: which columns are encrypted.

mod encryption;
mod input;
mod schema;

use super::bind::{Binding, Wanted};
use super::decode::Decoder;
use super::error::{DAMAGED_HELP, DataError, FaultKind, Place};
use super::files::{DataFile, Format, Unit, UnitReader};
use crate::batch::Batch;
use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;
use input::Input;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use rayon::prelude::*;
use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

/// Rows decoded at once: small enough for the caches, large enough to hide the cost of a call.
const RECORDS: usize = 4096;

#[derive(Debug)]
pub(crate) struct ParquetFile {
    /// In bytes.
    length: u64,
    metadata: ArrowReaderMetadata,
    /// One for each projected column.
    projections: Vec<ProjectionMask>,
    /// By wanted column: its index among the projected ones.
    columns: Vec<usize>,
}

/// Opens and binds a file; also the rows of each row group.
pub(crate) fn open(file: File, path: &Path, length: u64, binding: &Binding) -> Result<(DataFile, Vec<u64>), DataError> {
    let input = Input::new(Arc::new(file), length);
    let damaged = |what: String| match input.failure() {
        Some(failure) => DataError::failed(path, &failure.action, &failure.error),
        None => DataError::new(FaultKind::Damaged, path, "a whole Parquet file", what).help(DAMAGED_HELP),
    };
    let tail = input.tail(encryption::TAIL).map_err(|e| damaged(said(&e)))?;
    if encryption::is_footer_encrypted(&tail) {
        return Err(encrypted(DataError::new(
            FaultKind::Format,
            path,
            "a Parquet file that is not encrypted",
            "one whose footer is encrypted",
        )));
    }
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = fenced(|| {
        ParquetMetaDataReader::new()
            .with_metadata_options(Some(options.metadata_options().clone()))
            .parse_and_finish(&input)
            .map_err(|e| said(&e))
    })
    .map_err(damaged)?;
    let digest = xxhash_rust::xxh3::xxh3_64(format!("{metadata:?}").as_bytes());
    let parquet_schema = metadata.file_metadata().schema_descr_ptr();
    let described = parquet_schema.root_schema().get_fields();
    let names: Vec<&str> = described.iter().map(|column| column.name()).collect();
    let roots = binding.locate(path, &names)?;
    let mut projected = roots.clone();
    projected.sort_unstable();
    projected.dedup();
    let metadata = fenced(|| {
        let metadata = schema::readable(metadata, |root| projected.binary_search(&root).is_ok());
        let metadata = metadata.and_then(|metadata| ArrowReaderMetadata::try_new(Arc::new(metadata), options));
        metadata.map_err(|e| said(&e))
    })
    .map_err(damaged)?;
    for (wanted, &root) in binding.wanted.iter().zip(&roots) {
        schema::check_type(wanted, path, metadata.schema().field(root).data_type(), &described[root])?;
    }
    let groups = metadata.metadata().row_groups();
    let encrypted_columns = encryption::encrypted_columns(&input).map_err(|e| damaged(said(&e)))?;
    let mut sizes = Vec::with_capacity(groups.len());
    let mut decoded_bytes: u64 = 0;
    for (index, group) in groups.iter().enumerate() {
        let rows = u64::try_from(group.num_rows())
            .map_err(|_| damaged(format!("row group {index} with {} rows", group.num_rows())))?;
        // A value takes at least a hundred-thousandth of a byte of the file, or the footer lies.
        if rows / 100_000 > length {
            return Err(damaged(format!("row group {index} with {rows} rows in {length} bytes")));
        }
        sizes.push(rows);
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let root = parquet_schema.get_column_root_idx(leaf);
            let Some(wanted) = roots.iter().position(|&r| r == root).map(|w| &binding.wanted[w]) else { continue };
            schema::check_codec(wanted, path, chunk.compression())?;
            if encrypted_columns.contains(&(index, leaf)) {
                let (expected, found) = ("a column that is not encrypted", "an encrypted one");
                return Err(encrypted(wanted.fault(FaultKind::Format, path, expected, found)));
            }
            let values = u64::try_from(chunk.num_values())
                .map_err(|_| damaged(format!("a column with {} values", chunk.num_values())))?;
            decoded_bytes += values.saturating_mul(8);
        }
    }
    let projections = projected.iter().map(|&root| ProjectionMask::roots(&parquet_schema, [root])).collect();
    let columns = roots.iter().filter_map(|r| projected.binary_search(r).ok()).collect();
    let metadata = with_dictionaries(&metadata);
    let file = DataFile {
        path: path.to_path_buf(),
        length,
        rows: sizes.iter().sum(),
        decoded_bytes,
        digest,
        format: Format::Parquet(ParquetFile { length, metadata, projections, columns }),
    };
    Ok((file, sizes))
}

fn encrypted(error: DataError) -> DataError {
    error.help("decrypt the file with the program that wrote it")
}

/// Text columns that are dictionary-encoded throughout are read as dictionaries: each string is hashed
/// once a row group.
fn with_dictionaries(metadata: &ArrowReaderMetadata) -> ArrowReaderMetadata {
    let encoded = |root: usize| {
        let schema = metadata.parquet_schema();
        metadata.metadata().row_groups().iter().all(|group| {
            let chunks = group.columns().iter().enumerate();
            chunks.filter(|&(leaf, _)| schema.get_column_root_idx(leaf) == root).all(|(_, chunk)| {
                chunk.dictionary_page_offset().is_some()
                    && chunk
                        .page_encoding_stats_mask()
                        .is_some_and(|m| m.is_only(Encoding::PLAIN_DICTIONARY) || m.is_only(Encoding::RLE_DICTIONARY))
            })
        })
    };
    let dictionary = |field: &Field, kind: &DataType| {
        field.clone().with_data_type(DataType::Dictionary(Box::new(DataType::Int32), Box::new(kind.clone())))
    };
    let fields: Fields = metadata
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(root, field)| match field.data_type() {
            kind @ DataType::Binary if encoded(root) => Arc::new(dictionary(field, kind)),
            DataType::List(item) if *item.data_type() == DataType::Binary && encoded(root) => {
                let item = Arc::new(dictionary(item, item.data_type()));
                Arc::new(field.as_ref().clone().with_data_type(DataType::List(item)))
            }
            _ => field.clone(),
        })
        .collect();
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
    let inner: Arc<ParquetMetaData> = metadata.metadata().clone();
    fenced(|| ArrowReaderMetadata::try_new(inner, options).map_err(|e| said(&e))).unwrap_or_else(|_| metadata.clone())
}

impl ParquetFile {
    pub fn reader(
        &self,
        binding: &Binding,
        path: &Path,
        unit: Unit,
        skip: u64,
    ) -> Result<Box<dyn UnitReader>, DataError> {
        let file = File::open(path).map_err(|e| DataError::failed(path, "open the file", &e))?;
        let file = Arc::new(file);
        let column = |(index, projection): (usize, &ProjectionMask)| {
            let wanted = self.columns.iter().position(|&c| c == index).expect("a projected column is wanted");
            let input = Input::new(file.clone(), self.length);
            let reader = fenced(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(input.clone(), self.metadata.clone())
                    .with_projection(projection.clone())
                    .with_row_groups(vec![unit.index])
                    .with_batch_size(RECORDS)
                    .with_offset(skip as usize)
                    .build()
                    .map_err(|e| said(&e))
            });
            match reader {
                Ok(reader) => Ok(ColumnReader { wanted, input, reader }),
                Err(what) => Err(unread(&binding.wanted[wanted], path, unit.first_row + skip, &input, what)),
            }
        };
        Ok(Box::new(GroupReader {
            path: path.to_path_buf(),
            columns: self.columns.clone(),
            readers: self.projections.iter().enumerate().map(column).collect::<Result<_, _>>()?,
            decoder: Decoder::default(),
            records: Vec::new(),
            next_row: unit.first_row + skip,
            end_row: unit.first_row + unit.rows,
        }))
    }
}

/// The fault of a column whose rows from `row` on could not be decoded: the machine's if a system call
/// failed, else the file's.
fn unread(wanted: &Wanted, path: &Path, row: u64, input: &Input, what: String) -> DataError {
    let error = match input.failure() {
        Some(failure) => DataError::failed(path, &failure.action, &failure.error).column(wanted.column.clone()),
        None => damaged(wanted, path, what),
    };
    error.at(Place::Row(row))
}

fn damaged(wanted: &Wanted, path: &Path, what: String) -> DataError {
    wanted.fault(FaultKind::Damaged, path, "readable values", what).help(DAMAGED_HELP)
}

/// What the library says of an error, without the layers that it came through.
fn said(error: &ParquetError) -> String {
    let text = match error {
        ParquetError::General(text) | ParquetError::NYI(text) | ParquetError::EOF(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains("CRC checksum mismatch") { "a page that does not fit its checksum".into() } else { text }
}

/// One projected column of a row group.
struct ColumnReader {
    /// The first wanted column that it is for.
    wanted: usize,
    input: Input,
    reader: ParquetRecordBatchReader,
}

impl ColumnReader {
    /// The next rows; none at the end.
    fn next(&mut self) -> Result<ArrayRef, String> {
        fenced(|| match self.reader.next().transpose().map_err(|e| said_by_arrow(&e))? {
            Some(records) if records.num_columns() == 1 => Ok(records.column(0).clone()),
            Some(records) => Err(format!("{} columns where one was asked for", records.num_columns())),
            None => Ok(new_empty_array(&DataType::Null)),
        })
    }
}

/// As [`said`]; Arrow's errors hold those of Parquet as text.
fn said_by_arrow(error: &ArrowError) -> String {
    match error {
        ArrowError::ParquetError(text) => {
            let text = text.strip_prefix("Parquet error: ").or(text.strip_prefix("EOF: ")).unwrap_or(text);
            said(&ParquetError::General(text.to_string()))
        }
        other => other.to_string(),
    }
}

struct GroupReader {
    path: PathBuf,
    columns: Vec<usize>,
    /// By projected column, so that they are decoded side by side.
    readers: Vec<ColumnReader>,
    decoder: Decoder,
    /// By projected column: decoded rows that are not yet appended; empty where there are none.
    records: Vec<ArrayRef>,
    /// Row number in the file of the first of them.
    next_row: u64,
    end_row: u64,
}

impl UnitReader for GroupReader {
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError> {
        let left = usize::try_from(self.end_row - self.next_row).unwrap_or(usize::MAX);
        if left == 0 || limit == 0 {
            return Ok(0);
        }
        if self.columns.is_empty() {
            // A schema without columns: rows are counted only.
            let rows = limit.min(left);
            out.rows += rows;
            self.next_row += rows as u64;
            return Ok(rows);
        }
        if self.records.is_empty() {
            let decoded: Vec<_> = self.readers.par_iter_mut().map(ColumnReader::next).collect();
            let expected = left.min(RECORDS);
            for (column, decoded) in self.readers.iter().zip(decoded) {
                let wanted = &binding.wanted[column.wanted];
                let array = decoded.map_err(|what| unread(wanted, &self.path, self.next_row, &column.input, what))?;
                if array.len() != expected {
                    let what = match array.len() {
                        0 => format!("the end of the row group {left} rows early"),
                        rows => format!("{rows} rows where {expected} of {left} were to come"),
                    };
                    return Err(damaged(wanted, &self.path, what).at(Place::Row(self.next_row)));
                }
                self.records.push(array);
            }
        }
        let decoded = self.records[0].len();
        let rows = decoded.min(limit);
        let now: Vec<ArrayRef> = self.records.iter().map(|array| array.slice(0, rows)).collect();
        // Values of a damaged page can be inconsistent in ways that only show here.
        fenced(|| Ok(self.decoder.append(binding, &self.path, self.next_row, &now, &self.columns, out)))
            .unwrap_or_else(|what| {
                Err(DataError::new(FaultKind::Damaged, &self.path, "readable rows", what)
                    .at(Place::Row(self.next_row))
                    .help(DAMAGED_HELP))
            })?;
        if rows < decoded {
            self.records.iter_mut().for_each(|array| *array = array.slice(rows, decoded - rows));
        } else {
            self.records.clear();
        }
        self.next_row += rows as u64;
        Ok(rows)
    }
}

thread_local! {
    /// Whether this thread is inside the fence, where a panic is an expected way to say that the input is bad.
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Calls into the decoding library; a panic there becomes an error, and is not printed.
fn fenced<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !FENCED.get() {
                other(info);
            }
        }));
    });
    let before = FENCED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    FENCED.set(before);
    result.unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<String>().cloned();
        let said = said.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_string()));
        Err(format!("bytes that cannot be decoded ({})", said.unwrap_or_else(|| "no reason given".into())))
    })
}
