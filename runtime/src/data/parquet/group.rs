//! Reading a row group, in pieces of all columns that are asked for.

use super::fence::{fenced, said, said_by_arrow};
use super::input::PositionedFile;
use super::lists::ReadLists;
use super::pages::{Excess, LONGEST, Pages};
use super::{ParquetFile, ParquetLayout, Purpose};
use crate::batch::Batch;
use crate::data::bind::{Binding, RequiredColumn};
use crate::data::block::{RowBlock, RowBlockReader};
use crate::data::decode::Decoder;
use crate::data::error::{DAMAGED_HELP, DataError, FaultKind, Location};
use arrow_array::{ArrayRef, new_empty_array};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector};
use rayon::prelude::*;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

impl ParquetFile {
    /// Begins reading some columns of a row group, without its first `skip` rows.
    pub(super) fn begin(
        &self,
        binding: &Binding,
        columns: ReadColumns,
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
pub(super) struct ReadColumns {
    /// Indices among the projected ones, and what for.
    pub read: Vec<(usize, Purpose)>,
    /// By required column: its index in `read`.
    pub required: Vec<usize>,
    /// By column to pass through: its index in `read`.
    pub passthrough: Vec<Option<usize>>,
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

/// One projected column of a row group.
struct ColumnReader {
    purpose: Purpose,
    input: PositionedFile,
    excess: Arc<Mutex<Option<Excess>>>,
    reader: Decoding,
}

/// What decodes a column.
enum Decoding {
    Library(Box<ParquetRecordBatchReader>),
    /// So many rows at once.
    Lists(Box<dyn ReadLists>, usize),
}

impl ColumnReader {
    fn excess(&self) -> Option<Excess> {
        *self.excess.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next rows; none at the end.
    fn next(&mut self) -> Result<ArrayRef, String> {
        fenced(|| match &mut self.reader {
            Decoding::Lists(lists, rows) => lists.next(*rows).map_err(|e| said(&e)),
            Decoding::Library(reader) => match reader.next().transpose().map_err(|e| said_by_arrow(&e))? {
                Some(records) if records.num_columns() == 1 => Ok(records.column(0).clone()),
                Some(records) => Err(format!("{} columns where one was asked for", records.num_columns())),
                None => Ok(new_empty_array(&DataType::Null)),
            },
        })
    }
}

struct GroupReader {
    path: PathBuf,
    file: Arc<File>,
    layout: Arc<ParquetLayout>,
    columns: ReadColumns,
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
                let reader = match &projected.lists {
                    Some(lists) => pages
                        .of_column(lists.leaf)
                        .map(|pages| Decoding::Lists(lists.reader(pages, skip as usize), self.piece)),
                    None => {
                        ParquetRecordBatchReader::try_new_with_row_groups(&projected.levels, &pages, self.piece, rest)
                            .map(|reader| Decoding::Library(Box::new(reader)))
                    }
                };
                reader.map_err(|e| said(&e))
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

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;
    use crate::data::parquet::pages::ENTRIES;
    use crate::data::{OpenOptions, ReadMode};
    use din_program::schema::{Feature, FeatureKind, FeatureSource, KeyType, Schema, Sequence};
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
            source: FeatureSource::column("x"),
            kind: FeatureKind::Dynamic { key: KeyType::Int64 },
            sequence: Some(0),
            common: false,
            at_prediction: true,
            location: "m.din:3:5".into(),
        };
        let sequence =
            Sequence { name: "h".into(), keep: None, missing: false, common: false, location: "m.din:2:5".into() };
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
