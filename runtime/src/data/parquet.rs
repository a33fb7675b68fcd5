//! Parquet: opened, bound, and read one row group at a time, only the wanted columns.
//!
//! Guarantees that no damaged file brings the process down: the decoding library may panic on some of them, so every call into it
//! is fenced and what it says becomes a located fault.

use super::bind::Binding;
use super::decode::{Decoder, accepts};
use super::error::{DAMAGED_HELP, DataError, FaultKind, Place};
use super::files::{DataFile, Format, Unit, UnitReader};
use crate::batch::Batch;
use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Encoding;
use parquet::file::metadata::ParquetMetaData;
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
    metadata: ArrowReaderMetadata,
    /// One for each projected column.
    projections: Vec<ProjectionMask>,
    /// By wanted column: its index among the projected ones.
    columns: Vec<usize>,
}

/// Opens and binds a file; also the rows of each row group. A file without rows is not bound.
pub(crate) fn open(file: File, path: &Path, length: u64, binding: &Binding) -> Result<(DataFile, Vec<u64>), DataError> {
    let damaged =
        |what: String| DataError::new(FaultKind::Damaged, path, "a whole Parquet file", what).help(DAMAGED_HELP);
    let metadata = fenced(|| {
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new().with_skip_arrow_metadata(true))
            .map_err(|e| e.to_string())
    })
    .map_err(damaged)?;
    let schema = metadata.schema().clone();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let without_rows = metadata.metadata().row_groups().iter().all(|group| group.num_rows() == 0);
    let roots = if without_rows { Vec::new() } else { binding.locate(path, &names)? };
    for (wanted, &root) in binding.wanted.iter().zip(&roots) {
        let kind = schema.field(root).data_type();
        if !accepts(wanted, kind) {
            let (item, listed) = item(kind);
            let strings = matches!(item, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
            return Err(wanted.wrong_type(path, &spoken(kind), strings, listed));
        }
    }
    let mut projected = roots.clone();
    projected.sort_unstable();
    projected.dedup();
    let columns = roots.iter().filter_map(|r| projected.binary_search(r).ok()).collect();
    let groups = metadata.metadata().row_groups();
    let mut sizes = Vec::with_capacity(groups.len());
    let mut decoded_bytes = 0;
    for (index, group) in groups.iter().enumerate() {
        let rows = u64::try_from(group.num_rows())
            .map_err(|_| damaged(format!("row group {index} with {} rows", group.num_rows())))?;
        // A value takes at least a hundred-thousandth of a byte of the file, or the footer lies.
        if rows / 100_000 > length {
            return Err(damaged(format!("row group {index} with {rows} rows in {length} bytes")));
        }
        sizes.push(rows);
        for leaf in group.columns() {
            let root = leaf.column_path().parts().first().map_or("", String::as_str);
            if projected.iter().any(|&p| names[p] == root) {
                decoded_bytes += 8 * u64::try_from(leaf.num_values()).unwrap_or(0);
            }
        }
    }
    let projections = projected.iter().map(|&root| ProjectionMask::roots(metadata.parquet_schema(), [root])).collect();
    let metadata = with_dictionaries(&metadata);
    let digest = xxhash_rust::xxh3::xxh3_64(format!("{:?}", metadata.metadata()).as_bytes());
    let file = DataFile {
        path: path.to_path_buf(),
        length,
        rows: sizes.iter().sum(),
        decoded_bytes,
        digest,
        format: Format::Parquet(ParquetFile { metadata, projections, columns }),
    };
    Ok((file, sizes))
}

/// String columns that are dictionary-encoded throughout are read as dictionaries: each string is hashed once a row group.
fn with_dictionaries(metadata: &ArrowReaderMetadata) -> ArrowReaderMetadata {
    let encoded = |root: &str| {
        metadata.metadata().row_groups().iter().all(|group| {
            group.columns().iter().filter(|c| c.column_path().parts().first().is_some_and(|p| p == root)).all(|c| {
                c.dictionary_page_offset().is_some()
                    && c.page_encoding_stats_mask()
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
        .map(|field| match field.data_type() {
            kind @ DataType::Utf8 if encoded(field.name()) => Arc::new(dictionary(field, kind)),
            DataType::List(item) if *item.data_type() == DataType::Utf8 && encoded(field.name()) => {
                let item = Arc::new(dictionary(item, item.data_type()));
                Arc::new(field.as_ref().clone().with_data_type(DataType::List(item)))
            }
            _ => field.clone(),
        })
        .collect();
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
    let inner: Arc<ParquetMetaData> = metadata.metadata().clone();
    fenced(|| ArrowReaderMetadata::try_new(inner, options).map_err(|e| e.to_string()))
        .unwrap_or_else(|_| metadata.clone())
}

fn item(kind: &DataType) -> (&DataType, bool) {
    match kind {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => (f.data_type(), true),
        DataType::Dictionary(_, v) => (v, false),
        other => (other, false),
    }
}

/// The name of a type in messages.
fn spoken(kind: &DataType) -> String {
    match kind {
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => {
            format!("lists of {}", spoken(f.data_type()))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "strings".into(),
        DataType::Dictionary(_, v) => spoken(v),
        DataType::Boolean => "booleans".into(),
        DataType::Binary | DataType::LargeBinary => "bytes (not marked as strings)".into(),
        other => other.to_string().to_lowercase(),
    }
}

impl ParquetFile {
    pub fn reader(
        &self,
        _binding: &Binding,
        path: &Path,
        unit: Unit,
        skip: u64,
    ) -> Result<Box<dyn UnitReader>, DataError> {
        let reader = |projection: &ProjectionMask| {
            // A file of its own: handles that are copies of one share their place in it.
            let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
            fenced(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                    .with_projection(projection.clone())
                    .with_row_groups(vec![unit.index])
                    .with_batch_size(RECORDS)
                    .with_offset(skip as usize)
                    .build()
                    .map_err(|e| e.to_string())
            })
            .map_err(|what| damaged_at(path, unit.first_row + skip, what))
        };
        Ok(Box::new(GroupReader {
            path: path.to_path_buf(),
            columns: self.columns.clone(),
            readers: self.projections.iter().map(reader).collect::<Result<_, _>>()?,
            decoder: Decoder::default(),
            records: Vec::new(),
            next_row: unit.first_row + skip,
            end_row: unit.first_row + unit.rows,
        }))
    }
}

fn damaged_at(path: &Path, row: u64, what: String) -> DataError {
    DataError::new(FaultKind::Damaged, path, "readable rows", what).at(Place::Row(row)).help(DAMAGED_HELP)
}

struct GroupReader {
    path: PathBuf,
    columns: Vec<usize>,
    /// By projected column, so that they are decoded side by side.
    readers: Vec<ParquetRecordBatchReader>,
    decoder: Decoder,
    /// By projected column: decoded rows that are not yet appended; empty where there are none.
    records: Vec<ArrayRef>,
    /// Row number in the file of the first of them.
    next_row: u64,
    end_row: u64,
}

impl UnitReader for GroupReader {
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError> {
        let damaged = |row, what| damaged_at(&self.path, row, what);
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
            let decoded: Vec<_> = self.readers.par_iter_mut().map(next_records).collect();
            let decoded: Result<Vec<ArrayRef>, String> = decoded.into_iter().collect();
            let decoded = decoded.map_err(|what| damaged(self.next_row, what))?;
            let expected = left.min(RECORDS);
            if let Some(rows) = decoded.iter().map(|array| array.len()).find(|&rows| rows != expected) {
                let what = match rows {
                    0 => format!("the end of the row group {left} rows early"),
                    _ => format!("{rows} rows where {expected} of {left} were to come"),
                };
                return Err(damaged(self.next_row, what));
            }
            self.records = decoded;
        }
        let decoded = self.records[0].len();
        let rows = decoded.min(limit);
        let now: Vec<ArrayRef> = self.records.iter().map(|array| array.slice(0, rows)).collect();
        // Values of a damaged page can be inconsistent in ways that only show here.
        fenced(|| Ok(self.decoder.append(binding, &self.path, self.next_row, &now, &self.columns, out)))
            .unwrap_or_else(|what| Err(damaged_at(&self.path, self.next_row, what)))?;
        if rows < decoded {
            self.records.iter_mut().for_each(|array| *array = array.slice(rows, decoded - rows));
        } else {
            self.records.clear();
        }
        self.next_row += rows as u64;
        Ok(rows)
    }
}

/// The next rows of a column; none at its end.
fn next_records(reader: &mut ParquetRecordBatchReader) -> Result<ArrayRef, String> {
    fenced(|| match reader.next().transpose().map_err(|e| e.to_string())? {
        Some(records) if records.num_columns() == 1 => Ok(records.column(0).clone()),
        Some(records) => Err(format!("{} columns where one was asked for", records.num_columns())),
        None => Ok(new_empty_array(&DataType::Null)),
    })
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
