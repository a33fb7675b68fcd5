//! Parquet: opened, bound, and read one row group at a time, only the required columns.
//!
//! Guarantees that no damaged file brings the process down: the decoding library may panic on some
//! of them, so every call into it is fenced and what it says becomes a located fault.
//!
//! - `input`: the file's bytes, and the system calls that fail. - `schema`: the columns' types.
//! - `encryption`: which columns are encrypted. - `pages`: how many list entries come.
//! - `sample`: the first rows. - `group`: reading a row group. - `lists`: from levels to lists of
//!   numbers. - `fence`: calls into the decoding library.

mod encryption;
mod fence;
mod group;
mod input;
mod lists;
mod pages;
mod sample;
mod schema;

use super::bind::{Binding, RequiredColumn};
use super::block::{ColumnFormat, DataFile, FileFormat, RowBlock, RowBlockReader, SomeColumns};
use super::error::{DAMAGED_HELP, DataError, FaultKind, Location};
use arrow_schema::{DataType, Field, Fields};
use fence::{fenced, said};
use group::ReadColumns;
use input::PositionedFile;
use lists::ListLevels;
use pages::ENTRIES;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Encoding;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

pub(super) use sample::sample;

/// Rows decoded at once, at most: small enough for the caches, large enough to hide the cost of a
/// call.
const RECORDS: usize = 4096;

#[derive(Debug)]
pub(crate) struct ParquetFile(Arc<ParquetLayout>);

/// What is known of a file before its rows are read.
#[derive(Debug)]
struct ParquetLayout {
    /// In bytes.
    length: u64,
    metadata: Arc<ParquetMetaData>,
    projected: Vec<Projected>,
    /// By required column: its index among the projected ones.
    columns: Vec<usize>,
    /// By column to pass through: its index among the projected ones.
    passthrough: Vec<Option<usize>>,
}

/// A column that is read.
#[derive(Debug)]
struct Projected {
    /// Its index among the file's columns.
    root: usize,
    purpose: Purpose,
    /// The types that it is read by.
    levels: FieldLevels,
    /// Of a list column whose levels become lists here.
    lists: Option<ListLevels>,
}

/// The first of the columns that the binding asks for which a projected one is.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Required(usize),
    Passthrough(usize),
}

impl Purpose {
    /// As what faults speak of the column.
    fn required(self, binding: &Binding) -> &RequiredColumn {
        match self {
            Self::Required(index) => &binding.required[index],
            Self::Passthrough(index) => &binding.passthrough[index].required,
        }
    }
}

/// Opens and binds a file; also the rows of each row group.
pub(crate) fn open(file: File, path: &Path, length: u64, binding: &Binding) -> Result<(DataFile, Vec<u64>), DataError> {
    let input = PositionedFile::new(Arc::new(file), length);
    let damaged = |what: String| match input.failure() {
        Some(failure) => DataError::failed(path, &failure.action, &failure.error),
        None => DataError::new(FaultKind::Damaged, path, "a whole Parquet file", what).help(DAMAGED_HELP),
    };
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
    // A file without rows is not bound: whatever its columns are, it takes no part.
    let without_rows = metadata.row_groups().iter().all(|group| group.num_rows() == 0);
    let roots = if without_rows { Vec::new() } else { binding.locate(path, &names)? };
    let passthrough = if without_rows { Vec::new() } else { binding.locate_passthrough(path, &names)? };
    let purpose = |root: usize| {
        let required = roots.iter().position(|&r| r == root).map(Purpose::Required);
        required.or_else(|| passthrough.iter().position(|&r| r == Some(root)).map(Purpose::Passthrough))
    };
    let mut projected = roots.clone();
    projected.extend(passthrough.iter().flatten());
    projected.sort_unstable();
    projected.dedup();
    let metadata = fenced(|| {
        let metadata = schema::readable(metadata, |root| projected.binary_search(&root).is_ok());
        let metadata = metadata.and_then(|metadata| ArrowReaderMetadata::try_new(Arc::new(metadata), options));
        metadata.map_err(|e| said(&e))
    })
    .map_err(damaged)?;
    for (required, &root) in binding.required.iter().zip(&roots) {
        schema::check_type(required, path, metadata.schema().field(root).data_type(), &described[root])?;
    }
    for (passthrough, root) in binding.passthrough.iter().zip(&passthrough) {
        if let Some(root) = root.filter(|_| !passthrough.is_label()) {
            schema::check_type(
                &passthrough.required,
                path,
                metadata.schema().field(root).data_type(),
                &described[root],
            )?;
        }
    }
    let kind = |root: usize| schema::passed_through(metadata.schema().field(root).data_type(), &described[root]);
    let kinds = passthrough.iter().map(|root| root.map(kind)).collect();
    let encrypted_columns = encryption::encrypted_columns(&input).map_err(|e| damaged(said(&e)))?;
    let mut sizes = Vec::new();
    let mut decoded_bytes: u64 = 0;
    for (index, group) in metadata.metadata().row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows())
            .map_err(|_| damaged(format!("row group {index} with {} rows", group.num_rows())))?;
        // A value takes at least a hundred-thousandth of a byte of the file, or the footer lies.
        if rows / 100_000 > length {
            return Err(damaged(format!("row group {index} with {rows} rows in {length} bytes")));
        }
        if group.num_columns() != parquet_schema.num_columns() {
            return Err(damaged(format!("row group {index} with {} columns", group.num_columns())));
        }
        sizes.push(rows);
        for (leaf, chunk) in group.columns().iter().enumerate() {
            let root = parquet_schema.get_column_root_idx(leaf);
            let Some(required) = purpose(root).map(|purpose| purpose.required(binding)) else { continue };
            schema::check_codec(required, path, chunk.compression())?;
            if encrypted_columns.contains(&(index, leaf)) {
                let (expected, found) = ("a column that is not encrypted", "an encrypted one");
                return Err(encrypted(required.fault(FaultKind::Format, path, expected, found)));
            }
            let values = u64::try_from(chunk.num_values())
                .map_err(|_| damaged(format!("a column with {} values", chunk.num_values())))?;
            decoded_bytes = decoded_bytes.saturating_add(values.saturating_mul(8));
        }
    }
    let fields = with_dictionaries(&metadata);
    let metadata = metadata.metadata().clone();
    let schema = metadata.file_metadata().schema_descr();
    let place = |root: usize| projected.binary_search(&root).expect("every column that is asked for is projected");
    let columns = roots.iter().map(|&root| place(root)).collect();
    let places = passthrough.iter().map(|root| root.map(place)).collect();
    let projected = projected.into_iter().map(|root| {
        let projection = ProjectionMask::roots(schema, [root]);
        let levels = fenced(|| parquet_to_arrow_field_levels(schema, projection, Some(&fields)).map_err(|e| said(&e)));
        let purpose = purpose(root).expect("a column is projected for a purpose");
        let lists = ListLevels::new(schema, root, &fields[root]);
        levels.map(|levels| Projected { root, purpose, levels, lists })
    });
    let projected = projected.collect::<Result<_, _>>().map_err(damaged)?;
    let file = DataFile {
        path: path.to_path_buf(),
        length,
        rows: sizes.iter().sum(),
        decoded_bytes,
        digest,
        passthrough: kinds,
        contents: Box::new(ParquetFile(Arc::new(ParquetLayout {
            length,
            metadata,
            projected,
            columns,
            passthrough: places,
        }))),
    };
    Ok((file, sizes))
}

fn encrypted(error: DataError) -> DataError {
    error.help("decrypt the file with the program that wrote it")
}

/// Text columns that are dictionary-encoded throughout are read as dictionaries: each string is
/// hashed once per row group.
fn with_dictionaries(metadata: &ArrowReaderMetadata) -> Fields {
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
    metadata
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
        .collect()
}

impl FileFormat for ParquetFile {
    fn locate(&self, _: &Path, block: RowBlock, row: u64) -> Result<Location, DataError> {
        Ok(Location::Row(block.first_row + row))
    }

    fn reader(
        &self,
        binding: &Binding,
        path: &Path,
        block: RowBlock,
        skip: u64,
    ) -> Result<Box<dyn RowBlockReader>, DataError> {
        self.begin(binding, self.0.all_columns(), path, block, skip)
    }

    fn by_columns(&self) -> Option<&dyn ColumnFormat> {
        Some(self)
    }
}

impl ColumnFormat for ParquetFile {
    fn bytes(&self, block: RowBlock) -> Vec<u64> {
        let schema = self.0.metadata.file_metadata().schema_descr();
        let chunks = self.0.metadata.row_group(block.index).columns();
        let of_root = |root: usize| {
            let leaves = chunks.iter().enumerate().filter(|&(leaf, _)| schema.get_column_root_idx(leaf) == root);
            // A footer may say anything; it decides only who reads what.
            leaves.map(|(_, chunk)| u64::try_from(chunk.uncompressed_size()).unwrap_or(0)).fold(0, u64::saturating_add)
        };
        let of_column = |column: usize| of_root(self.0.projected[column].root);
        let required = self.0.columns.iter().map(|&column| of_column(column));
        required.chain(self.0.passthrough.iter().map(|column| column.map_or(0, of_column))).collect()
    }

    fn reader(
        &self,
        binding: &Binding,
        columns: &SomeColumns,
        path: &Path,
        block: RowBlock,
        skip: u64,
    ) -> Result<Box<dyn RowBlockReader>, DataError> {
        self.begin(binding, self.0.some_columns(columns), path, block, skip)
    }
}

impl ParquetLayout {
    fn all_columns(&self) -> ReadColumns {
        let read = self.projected.iter().enumerate().map(|(index, column)| (index, column.purpose)).collect();
        ReadColumns { read, required: self.columns.clone(), passthrough: self.passthrough.clone() }
    }

    /// Some columns, as all columns of a binding.
    fn some_columns(&self, columns: &SomeColumns) -> ReadColumns {
        let mut read: Vec<(usize, Purpose)> = Vec::new();
        let mut place = |column: usize, purpose: Purpose| {
            read.iter().position(|&(read, _)| read == column).unwrap_or_else(|| {
                read.push((column, purpose));
                read.len() - 1
            })
        };
        let required = columns.required.iter().enumerate();
        let required = required.map(|(index, &column)| place(self.columns[column], Purpose::Required(index))).collect();
        let passthrough = columns.passthrough.iter().enumerate();
        let passthrough = passthrough
            .map(|(index, &column)| Some(place(self.passthrough[column]?, Purpose::Passthrough(index))))
            .collect();
        ReadColumns { read, required, passthrough }
    }

    /// Rows of a row group to decode at once, if its lists are about equally long.
    fn piece(&self, block: RowBlock) -> usize {
        let group = self.metadata.row_group(block.index);
        let schema = self.metadata.file_metadata().schema_descr();
        let lists = group.columns().iter().enumerate().filter(|&(leaf, _)| schema.column(leaf).max_rep_level() > 0);
        let read = lists.filter(|&(leaf, _)| {
            let root = schema.get_column_root_idx(leaf);
            self.projected.iter().any(|column| column.root == root)
        });
        let entries = read.map(|(_, chunk)| chunk.num_values() as u64 / block.rows).fold(0, u64::max);
        (ENTRIES / entries.max(1)).clamp(1, RECORDS as u64) as usize
    }
}
