//! CSV and TSV with a header: list columns split at a declared separator, bound and read in blocks
//! of records. What a record is, `records` says.
//!
//! Opening walks over the whole file once to check every record's shape, to count the rows and to
//! note where each block begins. A fault has the line on which its record begins, or on which the
//! quote at fault opened.
//!
//! - `fault`: what is wrong with a file. - `sample`: its first records. - `value`: from texts to
//!   values.

mod fault;
mod sample;
mod value;

use super::bind::{Binding, ColumnType};
use super::block::{ColumnFormat, DataFile, FileFormat, RowBlock, RowBlockReader};
use super::error::{DataError, FaultKind, Location};
use super::passthrough::{Observed, TextKind, Texts};
use super::records::{CsvRecord, LineEnd, RecordError, Records, Start};
use crate::batch::Batch;
use crate::comm;
use fault::{changed, check_delimiter, failed, wrong_count};
pub(super) use sample::sample;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use value::{ENCODING_HELP, Rounded, mark_vector, numbers, scalar, shown, trimmed, value};

/// Records of a block.
const BLOCK: u64 = 16_384;

#[derive(Debug)]
pub(crate) struct CsvFile {
    delimiter: u8,
    /// By required column: the field that holds it.
    fields: Vec<usize>,
    /// By column to pass through: the field that holds it, and the type of its texts.
    passthrough: Vec<Option<(usize, TextKind)>>,
    /// Fields of a record.
    count: usize,
    /// Where each block begins.
    blocks: Vec<Start>,
    /// How the first line ends.
    line_end: Option<LineEnd>,
}

/// Opens and binds a file; also the rows of each block. A file without rows is not bound.
pub(crate) fn open(
    file: File,
    path: &Path,
    length: u64,
    delimiter: u8,
    binding: &Binding,
) -> Result<(DataFile, Vec<u64>), DataError> {
    let mut records = records_at(file, path, delimiter, (Start { offset: 0, line: 1 }, None))?;
    let mut record = CsvRecord::new();
    if !records.read(&mut record).map_err(|e| failed(path, e, delimiter, &[]))? {
        return Err(without_header(path));
    }
    let header = names(path, &record)?;
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let header_line = record.start.line;
    let (mut blocks, mut sizes, mut rows) = (Vec::new(), Vec::new(), 0u64);
    let (mut fields, mut passthrough) = (Vec::new(), Vec::new());
    let mut more = records.read(&mut record);
    if !matches!(more, Ok(false)) {
        // Before the first record's own faults, which another delimiter explains.
        check_delimiter(path, (&names, header_line), delimiter, binding)?;
        fields = binding.locate(path, &names)?;
        passthrough = binding.locate_passthrough(path, &names)?;
    }
    let mut observed = vec![Observed::default(); passthrough.len()];
    while more.map_err(|e| failed(path, e, delimiter, &names))? {
        if record.len() != names.len() {
            return Err(wrong_count(path, &record, names.len(), delimiter));
        }
        for (observed, field) in observed.iter_mut().zip(&passthrough) {
            field.iter().for_each(|&field| observed.see(trimmed(record.field(field))));
        }
        if rows % BLOCK == 0 {
            comm::progress();
            blocks.push(record.start);
            sizes.push(0);
        }
        rows += 1;
        *sizes.last_mut().expect("a block begins with the first row") += 1;
        more = records.read(&mut record);
    }
    let line_end = records.line_end();
    let digest = xxhash_rust::xxh3::xxh3_64(header.join("\n").as_bytes());
    // An id takes two characters of text at least, with its separator, and eight bytes in a batch.
    let decoded_bytes = length.saturating_mul(4);
    let count = names.len();
    let columns = binding.passthrough.iter().zip(observed).zip(passthrough);
    let passthrough: Vec<_> =
        columns.map(|((passthrough, observed), field)| Some((field?, observed.kind(&passthrough.required)))).collect();
    let kinds = passthrough.iter().map(|column| column.map(|(_, kind)| kind.data_type())).collect();
    let contents = Box::new(CsvFile { delimiter, fields, passthrough, count, blocks, line_end });
    let path = path.to_path_buf();
    Ok((DataFile { path, length, rows, decoded_bytes, digest, passthrough: kinds, contents }, sizes))
}

fn records_at(
    mut file: File,
    path: &Path,
    delimiter: u8,
    (start, line_end): (Start, Option<LineEnd>),
) -> Result<Records<File>, DataError> {
    file.seek(SeekFrom::Start(start.offset))
        .and_then(|_| Records::new(file, delimiter, start, line_end))
        .map_err(|e| DataError::io(path, &e))
}

fn without_header(path: &Path) -> DataError {
    DataError::new(FaultKind::EmptyFile, path, "a header line", "no lines").help("write the names of the columns first")
}

/// The names of the columns.
fn names(path: &Path, header: &CsvRecord) -> Result<Vec<String>, DataError> {
    header
        .fields()
        .map(|name| match std::str::from_utf8(name) {
            Ok(name) => Ok(name.trim().to_string()),
            Err(_) => Err(DataError::new(FaultKind::BadValue, path, "names of columns in UTF-8", shown(name))
                .at(Location::Line(header.start.line))
                .help(ENCODING_HELP)),
        })
        .collect()
}

impl FileFormat for CsvFile {
    /// The line of a block's row, found by reading up to it.
    fn locate(&self, path: &Path, block: RowBlock, row: u64) -> Result<Location, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
        let mut records = records_at(file, path, self.delimiter, (self.blocks[block.index], self.line_end))?;
        let mut record = CsvRecord::new();
        for _ in 0..=row {
            if !records.read(&mut record).map_err(|e| failed(path, e, self.delimiter, &[]))? {
                return Err(changed(path, record.start.line));
            }
        }
        Ok(Location::Line(record.start.line))
    }

    fn reader(
        &self,
        binding: &Binding,
        path: &Path,
        block: RowBlock,
        skip: u64,
    ) -> Result<Box<dyn RowBlockReader>, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
        let mut block = CsvBlockReader {
            path: path.to_path_buf(),
            separator: binding.options.list_separator,
            fields: self.fields.clone(),
            passthrough: self
                .passthrough
                .iter()
                .map(|column| column.map(|(field, kind)| (field, Texts::new(kind))))
                .collect(),
            lines: Vec::new(),
            rounded: vec![Rounded::No; binding.required.len()],
            count: self.count,
            records: records_at(file, path, self.delimiter, (self.blocks[block.index], self.line_end))?,
            record: CsvRecord::new(),
            left: block.rows,
            ends: vec![None; binding.schema.sequences.len()],
        };
        for _ in 0..skip {
            block.advance()?;
        }
        Ok(Box::new(block))
    }

    /// A record is read as a whole.
    fn by_columns(&self) -> Option<&dyn ColumnFormat> {
        None
    }
}

struct CsvBlockReader {
    path: PathBuf,
    /// Between the entries of a list.
    separator: u8,
    fields: Vec<usize>,
    /// By column to pass through: its field, and values that are not yet appended.
    passthrough: Vec<Option<(usize, Texts)>>,
    /// Lines of the rows whose values those are.
    lines: Vec<u64>,
    /// By required column.
    rounded: Vec<Rounded>,
    count: usize,
    records: Records<File>,
    record: CsvRecord,
    left: u64,
    /// By sequence: the required column that set this row's length, and the length.
    ends: Vec<Option<(usize, usize)>>,
}

impl CsvBlockReader {
    /// Reads the next record, which was whole when the file was opened.
    fn advance(&mut self) -> Result<(), DataError> {
        let line = match self.records.read(&mut self.record) {
            Ok(true) if self.record.len() == self.count => {
                self.left -= 1;
                return Ok(());
            }
            Ok(_) => self.record.start.line,
            Err(RecordError::Io(e)) => return Err(DataError::io(&self.path, &e)),
            Err(RecordError::Malformed(malformed)) => malformed.line,
        };
        Err(changed(&self.path, line))
    }

    fn row(&mut self, binding: &Binding, out: &mut Batch) -> Result<(), DataError> {
        self.ends.fill(None);
        for (index, required) in binding.required.iter().enumerate() {
            let field = trimmed(self.record.field(self.fields[index]));
            let (at, before) = (self.record.start.line, numbers(required, out).len());
            let Some(sequence) = required.sequence else {
                scalar(required, &self.path, field, self.separator, out)?;
                let vector = matches!(required.values, ColumnType::Numbers { width } if width > 1);
                let items = field.split(|&b| vector && b == self.separator);
                self.rounded[index].look(required, (&self.path, at), items, &numbers(required, out)[before..]);
                continue;
            };
            let length = if field.is_empty() { 0 } else { field.iter().filter(|&&b| b == self.separator).count() + 1 };
            // A vector inside a list has the same separator: `width` entries an element.
            let width = match required.values {
                ColumnType::Numbers { width } => width.max(1),
                ColumnType::IntegerIds
                | ColumnType::StringIds
                | ColumnType::FixedIds { .. }
                | ColumnType::Label { .. }
                | ColumnType::ClassTexts
                | ColumnType::IntegerKeys
                | ColumnType::StringKeys
                | ColumnType::Texts
                | ColumnType::Lists => 1,
            };
            if length % width != 0 {
                return Err(required.wrong_width(&self.path, width, length));
            }
            let length = length / width;
            let (begin, end) = binding.kept(sequence, 0, length);
            match self.ends[sequence] {
                None => {
                    let offsets = &mut out.offsets[sequence];
                    let last = *offsets.last().expect("offsets begin with 0");
                    offsets.push(last + (end - begin) as u32);
                    self.ends[sequence] = Some((index, length));
                }
                Some((_, expected)) if expected == length => {}
                Some((first, expected)) => {
                    let name = &binding.schema.sequences[sequence].name;
                    return Err(required.unequal(&self.path, &binding.required[first], name, (expected, length)));
                }
            }
            let items = field.split(|&b| b == self.separator).skip(begin * width).take((end - begin) * width);
            for (number, item) in items.clone().enumerate() {
                value(required, &self.path, trimmed(item), out)?;
                if width > 1 && (number + 1) % width == 0 {
                    mark_vector(required, width, out);
                }
            }
            self.rounded[index].look(required, (&self.path, at), items, &numbers(required, out)[before..]);
        }
        for (passthrough, column) in binding.passthrough.iter().zip(&mut self.passthrough) {
            if let Some((field, texts)) = column {
                let text = trimmed(self.record.field(*field));
                texts
                    .push(text)
                    .map_err(|expected| passthrough.required.bad_value(&self.path, expected, shown(text)))?;
            }
        }
        Ok(())
    }
}

impl RowBlockReader for CsvBlockReader {
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError> {
        let rows = self.left.min(limit as u64) as usize;
        for _ in 0..rows {
            self.advance()?;
            let line = self.record.start.line;
            self.row(binding, out).map_err(|e| e.at(Location::Line(line)))?;
            if !self.passthrough.is_empty() {
                self.lines.push(line);
            }
        }
        out.passthrough.resize(binding.passthrough.len(), Vec::new());
        let columns = binding.passthrough.iter().zip(&mut self.passthrough).zip(&mut out.passthrough);
        for ((passthrough, column), out) in columns {
            let array = column.as_mut().map(|(_, texts)| texts.take());
            let line = |index: usize| Location::Line(self.lines[index]);
            passthrough.append(&self.path, array.as_ref(), rows, line, out)?;
        }
        self.lines.clear();
        out.rows += rows;
        for label in 0..out.labels.len() {
            out.labels[label].resize(out.rows, 0.0);
            out.present[label].resize(out.rows, 0.0);
        }
        Ok(rows)
    }

    fn warnings(&mut self, to: &mut Vec<DataError>) {
        to.extend(self.rounded.iter_mut().filter_map(Rounded::take));
    }
}
