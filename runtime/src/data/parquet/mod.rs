//! Parquet: opened, bound, and read one row group at a time, only the required columns.
//!
//! Guarantees that no damaged file brings the process down: the decoding library may panic on some
//! of them, so every call into it is fenced and what it says becomes a located fault.
//!
//! - `input`: the file's bytes, and the system calls that fail. - `schema`: the columns' types.
//! - `encryption`: which columns are encrypted. - `pages`: how many list entries come.

mod encryption;
mod input;
mod pages;
mod schema;

use super::bind::{Binding, RequiredColumn};
use super::block::{ColumnFormat, DataFile, FileFormat, RowBlock, RowBlockReader};
use super::decode::Decoder;
use super::error::{DAMAGED_HELP, DataError, FaultKind, Location};
use crate::batch::Batch;
use arrow_array::{ArrayRef, new_empty_array};
use arrow_schema::{ArrowError, DataType, Field, Fields};
use input::PositionedFile;
use pages::{ENTRIES, Excess, LONGEST, Pages};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection, RowSelector,
};
use parquet::arrow::{FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use rayon::prelude::*;
use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};

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
        levels.map(|levels| Projected { root, purpose, levels })
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
        self.0.columns.iter().map(|&column| of_root(self.0.projected[column].root)).collect()
    }

    fn reader(
        &self,
        binding: &Binding,
        columns: &[usize],
        path: &Path,
        block: RowBlock,
        skip: u64,
    ) -> Result<Box<dyn RowBlockReader>, DataError> {
        self.begin(binding, self.0.some_columns(columns), path, block, skip)
    }
}

impl ParquetFile {
    fn begin(
        &self,
        binding: &Binding,
        columns: Columns,
        path: &Path,
        block: RowBlock,
        skip: u64,
    ) -> Result<Box<dyn RowBlockReader>, DataError> {
        let file = File::open(path).map_err(|e| DataError::failed(path, "open the file", &e))?;
        let mut reader = GroupReader {
            path: path.to_path_buf(),
            file: Arc::new(file),
            layout: self.0.clone(),
            columns,
            block,
            piece: self.0.piece(block),
            readers: Vec::new(),
            decoder: Decoder::default(),
            records: Vec::new(),
            next_row: block.first_row + skip,
        };
        reader.begin(binding)?;
        Ok(Box::new(reader))
    }
}

/// Columns that are read together.
#[derive(Debug)]
struct Columns {
    /// Indices among the projected ones, and what for.
    read: Vec<(usize, Purpose)>,
    /// By required column: its index in `read`.
    required: Vec<usize>,
    /// By column to pass through: its index in `read`.
    passthrough: Vec<Option<usize>>,
}

impl ParquetLayout {
    fn all_columns(&self) -> Columns {
        let read = self.projected.iter().enumerate().map(|(index, column)| (index, column.purpose)).collect();
        Columns { read, required: self.columns.clone(), passthrough: self.passthrough.clone() }
    }

    /// Some of the required columns, as all columns of a binding that passes none through.
    fn some_columns(&self, columns: &[usize]) -> Columns {
        let mut read: Vec<(usize, Purpose)> = Vec::new();
        let place = |(index, &column): (usize, &usize)| {
            let column = self.columns[column];
            read.iter().position(|&(read, _)| read == column).unwrap_or_else(|| {
                read.push((column, Purpose::Required(index)));
                read.len() - 1
            })
        };
        let required = columns.iter().enumerate().map(place).collect();
        Columns { read, required, passthrough: Vec::new() }
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

/// The fault of a column whose rows from `row` on could not be decoded: the machine's if a system
/// call failed, else the file's.
fn unread(required: &RequiredColumn, path: &Path, row: u64, input: &PositionedFile, what: String) -> DataError {
    let error = match input.failure() {
        Some(failure) => DataError::failed(path, &failure.action, &failure.error).column(required.column.clone()),
        None => damaged(required, path, what),
    };
    error.at(Location::Row(row))
}

fn damaged(required: &RequiredColumn, path: &Path, what: String) -> DataError {
    required.fault(FaultKind::Damaged, path, "readable values", what).help(DAMAGED_HELP)
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
    purpose: Purpose,
    input: PositionedFile,
    excess: Arc<Mutex<Option<Excess>>>,
    reader: ParquetRecordBatchReader,
}

impl ColumnReader {
    fn excess(&self) -> Option<Excess> {
        *self.excess.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
    file: Arc<File>,
    layout: Arc<ParquetLayout>,
    columns: Columns,
    block: RowBlock,
    /// Rows decoded at once.
    piece: usize,
    /// By column that is read, so that they are decoded side by side.
    readers: Vec<ColumnReader>,
    decoder: Decoder,
    /// By column that is read: decoded rows that are not yet appended; empty where there are none.
    records: Vec<ArrayRef>,
    /// Row number in the file of the first of them.
    next_row: u64,
}

impl GroupReader {
    /// Begins decoding at `next_row`.
    fn begin(&mut self, binding: &Binding) -> Result<(), DataError> {
        let skip = self.next_row - self.block.first_row;
        let left = self.left();
        let column = |&(column, purpose): &(usize, Purpose)| {
            let projected = &self.layout.projected[column];
            let input = PositionedFile::new(self.file.clone(), self.layout.length);
            let excess = Arc::default();
            let pages = Pages {
                input: input.clone(),
                metadata: self.layout.metadata.clone(),
                group: self.block.index,
                skip,
                piece: self.piece,
                excess: Arc::clone(&excess),
            };
            let rest = [RowSelector::skip(skip as usize), RowSelector::select(left)];
            let rest = (skip > 0).then(|| RowSelection::from(rest.to_vec()));
            let reader = fenced(|| {
                ParquetRecordBatchReader::try_new_with_row_groups(&projected.levels, &pages, self.piece, rest)
                    .map_err(|e| said(&e))
            });
            match reader {
                Ok(reader) => Ok(ColumnReader { purpose, input, excess, reader }),
                Err(what) => Err(unread(purpose.required(binding), &self.path, self.next_row, &input, what)),
            }
        };
        self.readers = self.columns.read.iter().map(column).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Rows of the row group from `next_row` on.
    fn left(&self) -> usize {
        let end = self.block.first_row + self.block.rows;
        usize::try_from(end - self.next_row).expect("addresses have 64 bits")
    }

    /// Decodes the next piece of rows of every column, in order; fewer rows where these have too
    /// many list entries.
    fn decode(&mut self, binding: &Binding) -> Result<Vec<Result<ArrayRef, String>>, DataError> {
        loop {
            let decoded = self.readers.par_iter_mut().map(ColumnReader::next).collect();
            let excess = self.readers.iter().find_map(|column| Some((column.excess()?, column.purpose)));
            match excess {
                None => return Ok(decoded),
                Some((Excess::Piece, _)) => {
                    self.piece = (self.piece / 4).max(1);
                    self.begin(binding)?;
                }
                Some((Excess::List { row }, purpose)) => {
                    let expected = format!("a list of at most {LONGEST} entries");
                    return Err(purpose
                        .required(binding)
                        .fault(FaultKind::TooLarge, &self.path, expected, "a longer one")
                        .at(Location::Row(self.block.first_row + row))
                        .help("write only the entries that the model is to read"));
                }
            }
        }
    }
}

impl RowBlockReader for GroupReader {
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError> {
        let left = self.left();
        if left == 0 || limit == 0 {
            return Ok(0);
        }
        if self.columns.read.is_empty() {
            // A schema without columns: rows are counted only.
            let rows = limit.min(left);
            out.rows += rows;
            self.next_row += rows as u64;
            return Ok(rows);
        }
        if self.records.is_empty() {
            let decoded = self.decode(binding)?;
            let expected = left.min(self.piece);
            for (column, decoded) in self.readers.iter().zip(decoded) {
                let required = column.purpose.required(binding);
                let array = decoded.map_err(|what| unread(required, &self.path, self.next_row, &column.input, what))?;
                if array.len() != expected {
                    let what = match array.len() {
                        0 => format!("the end of the row group {left} rows early"),
                        rows => format!("{rows} rows instead of {expected} ({left} left in the row group)"),
                    };
                    return Err(damaged(required, &self.path, what).at(Location::Row(self.next_row)));
                }
                self.records.push(array);
            }
        }
        let decoded = self.records[0].len();
        let rows = decoded.min(limit);
        let now: Vec<ArrayRef> = self.records.iter().map(|array| array.slice(0, rows)).collect();
        // ColumnType of a damaged page can be inconsistent in ways that only show here.
        let columns = (&self.columns.required[..], &self.columns.passthrough[..]);
        fenced(|| Ok(self.decoder.append(binding, &self.path, self.next_row, &now, columns, out))).unwrap_or_else(
            |what| {
                Err(DataError::new(FaultKind::Damaged, &self.path, "readable rows", what)
                    .at(Location::Row(self.next_row))
                    .help(DAMAGED_HELP))
            },
        )?;
        if rows < decoded {
            self.records.iter_mut().for_each(|array| *array = array.slice(rows, decoded - rows));
        } else {
            self.records.clear();
        }
        self.next_row += rows as u64;
        Ok(rows)
    }

    fn warnings(&mut self, to: &mut Vec<DataError>) {
        self.decoder.warnings(to);
    }
}

thread_local! {
    /// Whether this thread is inside the fence, where a panic is an expected way to say that the
    /// input is bad.
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

#[cfg(test)]
mod tests {
    use super::super::{OpenOptions, ReadMode};
    use super::*;
    use din_program::schema::{Feature, FeatureKind, KeyType, Schema, Sequence};
    use parquet::column::writer::ColumnWriter;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    const LONG: usize = 8192;

    /// Writes a row group of lists; the entries of a row are its number.
    fn lists(path: &Path, lengths: &[usize]) {
        let message = "message m { required group x (LIST) { repeated group list { required int64 element; } } }";
        let message = Arc::new(parse_message_type(message).expect("well-formed"));
        let file = File::create(path).expect("a folder of our own");
        let mut writer = SerializedFileWriter::new(file, message, Default::default()).expect("written");
        let mut group = writer.next_row_group().expect("the first");
        let mut column = group.next_column().expect("written").expect("there is one");
        let ColumnWriter::Int64ColumnWriter(typed) = column.untyped() else { panic!("a column of int64") };
        for (row, &length) in lengths.iter().enumerate() {
            let begins: Vec<i16> = (0..length.max(1)).map(|entry| i16::from(entry > 0)).collect();
            let present = vec![i16::from(length > 0); length.max(1)];
            typed.write_batch(&vec![row as i64; length], Some(&present), Some(&begins)).expect("written");
        }
        column.close().expect("written");
        group.close().expect("written");
        writer.close().expect("written");
    }

    fn binding() -> Binding {
        let feature = Feature {
            group: "h".into(),
            name: "x".into(),
            column: "x".into(),
            kind: FeatureKind::Dynamic { key: KeyType::Int64 },
            sequence: Some(0),
            common: false,
            location: "m.din:3:5".into(),
        };
        let sequence = Sequence { name: "h".into(), keep: None, common: false, location: "m.din:2:5".into() };
        let schema = Schema { features: vec![feature], sequences: vec![sequence], ..Schema::default() };
        Binding::new(&schema, &OpenOptions::new(ReadMode::Train))
    }

    /// Begins reading the one row group of a file.
    fn begin(path: &Path, binding: &Binding, skip: usize) -> Box<dyn RowBlockReader> {
        let file = File::open(path).expect("written before");
        let length = file.metadata().expect("open").len();
        let (file, groups) = open(file, path, length, binding).expect("sound");
        let block = RowBlock { file: 0, index: 0, first_row: 0, rows: groups[0] };
        file.reader(binding, block, skip as u64).expect("sound")
    }

    /// Reads the rows from `skip` on, piece by piece; the rows and the entries of each piece.
    fn pieces(path: &Path, lengths: &[usize], skip: usize) -> Vec<(usize, usize)> {
        let binding = binding();
        let mut reader = begin(path, &binding, skip);
        let mut pieces = Vec::new();
        let mut row = skip;
        loop {
            let mut batch = Batch::for_schema(&binding.schema);
            batch.clear();
            let rows = reader.read(&binding, usize::MAX, &mut batch).expect("sound");
            if rows == 0 {
                assert_eq!(row, lengths.len());
                return pieces;
            }
            for (read, pair) in batch.offsets[0].windows(2).enumerate() {
                let entries = &batch.ids[0][pair[0] as usize..pair[1] as usize];
                assert_eq!(entries.len(), lengths[row + read]);
                assert!(entries.iter().all(|&entry| entry == (row + read) as u64));
            }
            row += rows;
            pieces.push((rows, batch.ids[0].len()));
        }
    }

    #[test]
    fn pieces_of_long_lists_have_few_rows() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let path = directory.path().join("a.parquet");
        // Lists of one length: the footer says how many rows make a piece.
        let lengths = [LONG; 300];
        lists(&path, &lengths);
        let fitting = ENTRIES as usize / LONG;
        assert_eq!(pieces(&path, &lengths, 0), [(fitting, fitting * LONG), (300 - fitting, (300 - fitting) * LONG)]);
        // Short ones and then long ones, so that the average says nothing.
        let lengths: Vec<usize> = [vec![1; 5_000], vec![0; 100], vec![LONG; 400], vec![2; 1_000]].concat();
        lists(&path, &lengths);
        for skip in [0, 5_300] {
            let pieces = pieces(&path, &lengths, skip);
            let largest = pieces.iter().map(|&(_, entries)| entries).max().expect("there are pieces");
            assert!(largest <= ENTRIES as usize + LONG, "{largest} entries at once");
            assert!(pieces.len() < 60, "{} pieces", pieces.len());
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let path = directory.path().join("a.parquet");
        lists(&path, &[3, 0, LONGEST as usize + 1, 3]);
        let binding = binding();
        let mut batch = Batch::for_schema(&binding.schema);
        batch.clear();
        let mut reader = begin(&path, &binding, 0);
        let read = std::iter::repeat_with(|| reader.read(&binding, usize::MAX, &mut batch));
        let error = read.take(4).find_map(Result::err).expect("the third row is refused");
        assert_eq!((error.kind, error.location), (FaultKind::TooLarge, Some(Location::Row(2))), "{error}");
        assert_eq!(error.expected, "a list of at most 16777216 entries");
        // Behind it rows are read.
        assert_eq!(begin(&path, &binding, 3).read(&binding, 1, &mut batch), Ok(1));
    }
}
