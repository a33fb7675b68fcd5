//! CSV and TSV with a header: list columns split at a declared separator, bound and read in blocks
//! of records. What a record is, `records` says.
//!
//! Opening walks over the whole file once to check every record's shape, to count the rows and to
//! note where each block begins. A fault has the line on which its record begins, or on which the
//! quote at fault opened.

use super::bind::{BatchColumn, Binding, ColumnType, EXACT_INTEGERS, RequiredColumn};
use super::block::{ColumnFormat, DataFile, FileFormat, RowBlock, RowBlockReader};
use super::decode::label_value;
use super::error::{DataError, FaultKind, Location};
use super::passthrough::{Observed, TextKind, Texts};
use super::records::{CsvRecord, LineEnd, Malformed, Problem, RecordError, Records, Start};
use super::string_id;
use crate::batch::{Batch, KeyColumn};
use crate::comm;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Records of a block.
const BLOCK: u64 = 16_384;

const QUOTE_HELP: &str = "where a value contains a quote, write it twice and quote the whole field: `\"5\"\" disk\"`";

const ENCODING_HELP: &str = "save the file as UTF-8";

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
        return Err(DataError::new(FaultKind::EmptyFile, path, "a header line", "no lines")
            .help("write the names of the columns first"));
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

/// Refuses a header that is one field because the columns are separated in another way.
fn check_delimiter(
    path: &Path,
    (names, line): (&[&str], u64),
    delimiter: u8,
    binding: &Binding,
) -> Result<(), DataError> {
    let &[name] = names else { return Ok(()) };
    let other = name.bytes().find(|&byte| other_delimiter(byte, delimiter));
    let Some(other) = other.filter(|_| binding.required.iter().all(|required| required.column != name)) else {
        return Ok(());
    };
    let expected = format!("columns separated by {}, as the file's name says", named(delimiter));
    let found = format!("a header of one field with {} in it", named(other));
    Err(DataError::new(FaultKind::Format, path, expected, found)
        .at(Location::Line(line))
        .help(delimiter_help(other, delimiter)))
}

/// Whether a byte separates columns in files other than those with this delimiter.
fn other_delimiter(byte: u8, delimiter: u8) -> bool {
    byte != delimiter && matches!(byte, b',' | b';' | b'\t' | b'|')
}

fn delimiter_help(other: u8, delimiter: u8) -> String {
    match other {
        b',' => "give the file the ending .csv if commas separate its columns".into(),
        b'\t' => "give the file the ending .tsv if tabs separate its columns".into(),
        _ => format!("write the file with {} between the columns", named(delimiter)),
    }
}

/// A delimiter in messages.
fn named(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "a tab".into(),
        other => format!("`{}`", char::from(other)),
    }
}

fn wrong_count(path: &Path, record: &CsvRecord, expected: usize, delimiter: u8) -> DataError {
    let (first, last) = (record.start.line, record.last_line);
    let help = if last > first {
        format!("a quoted field goes on to line {last}: close it where it ends, and write quotes inside it twice")
    } else if record.len() > expected {
        format!("quote fields that contain {}", named(delimiter))
    } else {
        "take the line out if it is a comment or a total; if the record is cut short, write it again".into()
    };
    let expected = format!("{expected} fields, as in the header");
    DataError::new(FaultKind::FieldCount, path, expected, record.len().to_string()).at(Location::Line(first)).help(help)
}

/// The error of a record that cannot be read. `names`: of the columns, where the header is known.
fn failed(path: &Path, failure: RecordError, delimiter: u8, names: &[&str]) -> DataError {
    let Malformed { line, field, problem } = match failure {
        RecordError::Io(e) => return DataError::io(path, &e),
        RecordError::Malformed(malformed) => malformed,
    };
    let quote_help = QUOTE_HELP.to_string();
    let (expected, found, help) = match problem {
        Problem::OpenQuote => {
            ("a quote that closes the field".into(), "none to the end of the file".into(), quote_help)
        }
        Problem::BareQuote { text } if text.trim().is_empty() => (
            "a quote only where a field begins".into(),
            "space before a quote".into(),
            "take the space out, so that the field begins with its quote".into(),
        ),
        Problem::BareQuote { text } => {
            ("an unquoted field without quotes".into(), format!("a quote after `{text}`"), quote_help)
        }
        Problem::AfterQuote { text, line: closed } => {
            let after = match closed == line {
                true => "the closing quote".to_string(),
                false => format!("the quote that closes the field in line {closed}"),
            };
            let expected = format!("{} or the end of the line after {after}", named(delimiter));
            match text.bytes().next().filter(|&byte| other_delimiter(byte, delimiter)) {
                Some(other) => (expected, named(other), delimiter_help(other, delimiter)),
                None => (expected, format!("`{text}`"), quote_help),
            }
        }
        Problem::LoneCr => (
            "lines that end with LF or CRLF, as the first one does".into(),
            "a CR alone".into(),
            "take it out, or quote the field that contains it".into(),
        ),
        Problem::TooLong { limit } => (
            format!("a record of at most {} MiB", limit >> 20),
            "a longer one".into(),
            "look for a quote that opens here and is never closed".into(),
        ),
    };
    let error = DataError::new(FaultKind::Malformed, path, expected, found).at(Location::Line(line)).help(help);
    match names.get(field) {
        Some(name) => error.column(*name),
        None => error,
    }
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
                | ColumnType::IntegerKeys
                | ColumnType::StringKeys => 1,
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
            for item in items.clone() {
                value(required, &self.path, trimmed(item), out)?;
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

fn changed(path: &Path, line: u64) -> DataError {
    DataError::new(FaultKind::Damaged, path, "the records that the file had when it was opened", "other records")
        .at(Location::Line(line))
        .help("the file changed while it was read: start again")
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

/// Whether a column had an integer that f32 does not hold exactly.
#[derive(Clone, Debug)]
enum Rounded {
    No,
    Found(DataError),
    Reported,
}

impl Rounded {
    /// Looks at the texts of a record's field and at the numbers that were made of them.
    fn look<'a>(
        &mut self,
        required: &RequiredColumn,
        (path, line): (&Path, u64),
        texts: impl Iterator<Item = &'a [u8]>,
        numbers: &[f32],
    ) {
        // Smaller integers are all exact.
        if !matches!(self, Self::No) || !numbers.iter().any(|x| x.abs() >= EXACT_INTEGERS) {
            return;
        }
        let integer = |text: &[u8]| std::str::from_utf8(trimmed(text)).ok()?.parse::<i128>().ok();
        let mut pairs = texts.zip(numbers).filter_map(|(text, &x)| Some((integer(text)?, x)));
        if let Some((integer, x)) = pairs.find(|&(integer, x)| integer != x as i128) {
            *self = Self::Found(required.rounded(path, integer, x).at(Location::Line(line)));
        }
    }

    fn take(&mut self) -> Option<DataError> {
        if !matches!(self, Self::Found(_)) {
            return None;
        }
        match std::mem::replace(self, Self::Reported) {
            Self::Found(warning) => Some(warning),
            Self::No | Self::Reported => None,
        }
    }
}

/// The numbers of a numeric feature; none of another column.
fn numbers<'b>(required: &RequiredColumn, batch: &'b Batch) -> &'b [f32] {
    match required.target {
        BatchColumn::Feature(f) => &batch.dense[f],
        BatchColumn::Label(_) | BatchColumn::Key(_) => &[],
    }
}

/// The beginning of a value, for messages.
fn shown(text: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(text).chars().take(40).collect::<String>())
}

fn trimmed(field: &[u8]) -> &[u8] {
    field.trim_ascii()
}

fn scalar(
    required: &RequiredColumn,
    path: &Path,
    field: &[u8],
    separator: u8,
    out: &mut Batch,
) -> Result<(), DataError> {
    if let ColumnType::Numbers { width } = required.values
        && width > 1
    {
        let found = if field.is_empty() { 0 } else { field.split(|&b| b == separator).count() };
        if found != width {
            return Err(required.wrong_width(path, width, found));
        }
        return field.split(|&b| b == separator).try_for_each(|item| value(required, path, trimmed(item), out));
    }
    value(required, path, field, out)
}

/// Appends one value. An empty one is a null.
fn value(required: &RequiredColumn, path: &Path, text: &[u8], out: &mut Batch) -> Result<(), DataError> {
    if text.is_empty() && !matches!(required.values, ColumnType::Label { missing: Some(_) }) {
        return Err(required.null(path));
    }
    let bad = |expected: &str| required.bad_value(path, expected, shown(text));
    let string = || {
        std::str::from_utf8(text)
            .map_err(|_| required.fault(FaultKind::BadValue, path, "text in UTF-8", shown(text)).help(ENCODING_HELP))
    };
    match (required.values, required.target) {
        (ColumnType::IntegerIds, BatchColumn::Feature(f)) => {
            let id = string()?;
            // Also what only fits without a sign, as the unsigned columns of Parquet.
            let id = id.parse::<i64>().map(|v| v as u64).or_else(|_| id.parse::<u64>());
            out.ids[f].push(id.map_err(|_| {
                required
                    .fault(FaultKind::BadValue, path, "an integer", shown(text))
                    .help("declare the feature `category of string`, or correct the value")
            })?);
        }
        (ColumnType::StringIds, BatchColumn::Feature(f)) => out.ids[f].push(string_id(string()?)),
        (ColumnType::FixedIds { size, clip }, BatchColumn::Feature(f)) => {
            let id = string()?.parse::<i128>().map_err(|_| bad("an integer"))?;
            out.ids[f].push(match u64::try_from(id) {
                Ok(id) if id < size => id,
                _ if !clip => return Err(required.out_of_range(path, size, id.to_string())),
                _ if id < 0 => 0,
                _ => size.saturating_sub(1),
            });
        }
        (ColumnType::Numbers { .. }, BatchColumn::Feature(f)) => {
            let number = string()?.parse::<f64>().map_err(|_| bad("a number"))? as f32;
            if !number.is_finite() {
                return Err(required.not_finite(path, String::from_utf8_lossy(text)));
            }
            out.dense[f].push(number);
        }
        (ColumnType::Label { missing }, BatchColumn::Label(l)) => {
            let number = match text {
                b"" => f64::NAN,
                b"true" | b"True" | b"TRUE" => 1.0,
                b"false" | b"False" | b"FALSE" => 0.0,
                _ => string()?.parse::<f64>().map_err(|_| required.text_label(path, shown(text)))?,
            };
            let (label, known) =
                label_value(number, missing, text.is_empty()).ok_or_else(|| required.bad_label(path, number))?;
            out.labels[l].push(label);
            out.present[l].push(known);
        }
        (ColumnType::IntegerKeys, BatchColumn::Key(k)) => {
            // Also what only fits without a sign, as the unsigned columns of Parquet.
            let key = string()?;
            let key = key.parse::<i64>().or_else(|_| key.parse::<u64>().map(|v| v as i64));
            let key = key.map_err(|_| bad("an integer from -2^63 to 2^64 - 1"))?;
            match &mut out.keys[k] {
                KeyColumn::Int64(keys) => keys.push(key),
                KeyColumn::String(_) => unreachable!("the batch was made for the schema of the binding"),
            }
        }
        (ColumnType::StringKeys, BatchColumn::Key(k)) => {
            let key = string()?.to_string();
            match &mut out.keys[k] {
                KeyColumn::String(keys) => keys.push(key),
                KeyColumn::Int64(_) => unreachable!("the batch was made for the schema of the binding"),
            }
        }
        (
            ColumnType::IntegerIds | ColumnType::StringIds | ColumnType::FixedIds { .. } | ColumnType::Numbers { .. },
            BatchColumn::Label(_) | BatchColumn::Key(_),
        )
        | (ColumnType::Label { .. }, BatchColumn::Feature(_) | BatchColumn::Key(_))
        | (ColumnType::IntegerKeys | ColumnType::StringKeys, BatchColumn::Feature(_) | BatchColumn::Label(_)) => {
            unreachable!("the binding gives a column the type of what it fills")
        }
    }
    Ok(())
}
