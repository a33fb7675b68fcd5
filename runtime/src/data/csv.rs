//! CSV and TSV with a header: list columns split at a declared separator, bound and read in blocks
//! of records. What a record is, `records` says.
//!
//! Opening walks over the whole file once to check every record's shape, to count the rows and to
//! note where each block begins. A fault has the line on which its record begins, or on which the
//! quote at fault opened.

use super::bind::{Binding, EXACT_INTEGERS, Target, Values, Wanted};
use super::carried::{Observed, TextKind, Texts};
use super::decode::label_value;
use super::error::{DataError, FaultKind, Place};
use super::files::{DataFile, Format, Unit, UnitReader};
use super::records::{Failure, LineEnd, Malformed, Problem, Record, Records, Start};
use super::string_id;
use crate::batch::{Batch, KeyColumn};
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Records of a unit.
const BLOCK: u64 = 16_384;

const QUOTE_HELP: &str = "where a value contains a quote, write it twice and quote the whole field: `\"5\"\" disk\"`";

const ENCODING_HELP: &str = "save the file as UTF-8";

#[derive(Debug)]
pub(crate) struct CsvFile {
    delimiter: u8,
    /// By wanted column: the field that holds it.
    fields: Vec<usize>,
    /// By column to pass through: the field that holds it, and the type of its texts.
    carried: Vec<Option<(usize, TextKind)>>,
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
    let mut record = Record::new();
    if !records.read(&mut record).map_err(|e| failed(path, e, delimiter, &[]))? {
        return Err(DataError::new(FaultKind::EmptyFile, path, "a header line", "no lines")
            .help("write the names of the columns first"));
    }
    let header = names(path, &record)?;
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let header_line = record.start.line;
    let (mut blocks, mut sizes, mut rows) = (Vec::new(), Vec::new(), 0u64);
    let (mut fields, mut carried) = (Vec::new(), Vec::new());
    let mut more = records.read(&mut record);
    if !matches!(more, Ok(false)) {
        // Before the first record's own faults, which another delimiter explains.
        check_delimiter(path, (&names, header_line), delimiter, binding)?;
        fields = binding.locate(path, &names)?;
        carried = binding.locate_carried(path, &names)?;
    }
    let mut observed = vec![Observed::default(); carried.len()];
    while more.map_err(|e| failed(path, e, delimiter, &names))? {
        if record.len() != names.len() {
            return Err(wrong_count(path, &record, names.len(), delimiter));
        }
        for (observed, field) in observed.iter_mut().zip(&carried) {
            field.iter().for_each(|&field| observed.see(trimmed(record.field(field))));
        }
        if rows % BLOCK == 0 {
            blocks.push(record.start);
            sizes.push(0);
        }
        rows += 1;
        if let Some(last) = sizes.last_mut() {
            *last += 1;
        }
        more = records.read(&mut record);
    }
    let line_end = records.line_end();
    let digest = xxhash_rust::xxh3::xxh3_64(header.join("\n").as_bytes());
    // An id takes two characters of text at least, with its separator, and eight bytes in a batch.
    let decoded_bytes = length.saturating_mul(4);
    let count = names.len();
    let columns = binding.carried.iter().zip(observed).zip(carried);
    let carried: Vec<_> =
        columns.map(|((carried, observed), field)| Some((field?, observed.kind(&carried.wanted)))).collect();
    let kinds = carried.iter().map(|column| column.map(|(_, kind)| kind.data_type())).collect();
    let format = Format::Csv(CsvFile { delimiter, fields, carried, count, blocks, line_end });
    let path = path.to_path_buf();
    Ok((DataFile { path, length, rows, decoded_bytes, digest, carried: kinds, format }, sizes))
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
fn names(path: &Path, header: &Record) -> Result<Vec<String>, DataError> {
    header
        .fields()
        .map(|name| match std::str::from_utf8(name) {
            Ok(name) => Ok(name.trim().to_string()),
            Err(_) => Err(DataError::new(FaultKind::BadValue, path, "names of columns in UTF-8", shown(name))
                .at(Place::Line(header.start.line))
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
    let Some(other) = other.filter(|_| binding.wanted.iter().all(|wanted| wanted.column != name)) else {
        return Ok(());
    };
    let expected = format!("columns separated by {}, as the file's name says", named(delimiter));
    let found = format!("a header of one field with {} in it", named(other));
    Err(DataError::new(FaultKind::Format, path, expected, found)
        .at(Place::Line(line))
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

fn wrong_count(path: &Path, record: &Record, expected: usize, delimiter: u8) -> DataError {
    let (first, last) = (record.start.line, record.last_line);
    let help = if last > first {
        format!("a quoted field goes on to line {last}: close it where it ends, and write quotes inside it twice")
    } else if record.len() > expected {
        format!("quote fields that contain {}", named(delimiter))
    } else {
        "take the line out if it is a comment or a total; if the record is cut short, write it again".into()
    };
    let expected = format!("{expected} fields, as in the header");
    DataError::new(FaultKind::FieldCount, path, expected, record.len().to_string()).at(Place::Line(first)).help(help)
}

/// The error of a record that cannot be read. `names`: of the columns, where the header is known.
fn failed(path: &Path, failure: Failure, delimiter: u8, names: &[&str]) -> DataError {
    let Malformed { line, field, problem } = match failure {
        Failure::Io(e) => return DataError::io(path, &e),
        Failure::Malformed(malformed) => malformed,
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
    let error = DataError::new(FaultKind::Malformed, path, expected, found).at(Place::Line(line)).help(help);
    match names.get(field) {
        Some(name) => error.column(*name),
        None => error,
    }
}

impl CsvFile {
    /// The line of a unit's row, found by reading up to it.
    pub fn place(&self, path: &Path, unit: Unit, row: u64) -> Result<Place, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
        let mut records = records_at(file, path, self.delimiter, (self.blocks[unit.index], self.line_end))?;
        let mut record = Record::new();
        for _ in 0..=row {
            if !records.read(&mut record).map_err(|e| failed(path, e, self.delimiter, &[]))? {
                return Err(changed(path, record.start.line));
            }
        }
        Ok(Place::Line(record.start.line))
    }

    pub fn reader(
        &self,
        binding: &Binding,
        path: &Path,
        unit: Unit,
        skip: u64,
    ) -> Result<Box<dyn UnitReader>, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
        let mut block = BlockReader {
            path: path.to_path_buf(),
            separator: binding.options.list_separator,
            fields: self.fields.clone(),
            carried: self.carried.iter().map(|column| column.map(|(field, kind)| (field, Texts::new(kind)))).collect(),
            lines: Vec::new(),
            rounded: vec![Rounded::No; binding.wanted.len()],
            count: self.count,
            records: records_at(file, path, self.delimiter, (self.blocks[unit.index], self.line_end))?,
            record: Record::new(),
            left: unit.rows,
            ends: vec![None; binding.schema.sequences.len()],
        };
        for _ in 0..skip {
            block.advance()?;
        }
        Ok(Box::new(block))
    }
}

struct BlockReader {
    path: PathBuf,
    /// Between the entries of a list.
    separator: u8,
    fields: Vec<usize>,
    /// By column to pass through: its field, and values that are not yet appended.
    carried: Vec<Option<(usize, Texts)>>,
    /// Lines of the rows whose values those are.
    lines: Vec<u64>,
    /// By wanted column.
    rounded: Vec<Rounded>,
    count: usize,
    records: Records<File>,
    record: Record,
    left: u64,
    /// By sequence: the wanted column that set this row's length, and the length.
    ends: Vec<Option<(usize, usize)>>,
}

impl BlockReader {
    /// Reads the next record, which was whole when the file was opened.
    fn advance(&mut self) -> Result<(), DataError> {
        let line = match self.records.read(&mut self.record) {
            Ok(true) if self.record.len() == self.count => {
                self.left -= 1;
                return Ok(());
            }
            Ok(_) => self.record.start.line,
            Err(Failure::Io(e)) => return Err(DataError::io(&self.path, &e)),
            Err(Failure::Malformed(malformed)) => malformed.line,
        };
        Err(changed(&self.path, line))
    }

    fn row(&mut self, binding: &Binding, out: &mut Batch) -> Result<(), DataError> {
        self.ends.fill(None);
        for (index, wanted) in binding.wanted.iter().enumerate() {
            let field = trimmed(self.record.field(self.fields[index]));
            let (at, before) = (self.record.start.line, numbers(wanted, out).len());
            let Some(sequence) = wanted.sequence else {
                scalar(wanted, &self.path, field, self.separator, out)?;
                let vector = matches!(wanted.values, Values::Numbers { width } if width > 1);
                let items = field.split(|&b| vector && b == self.separator);
                self.rounded[index].look(wanted, (&self.path, at), items, &numbers(wanted, out)[before..]);
                continue;
            };
            let length = if field.is_empty() { 0 } else { field.iter().filter(|&&b| b == self.separator).count() + 1 };
            // A vector inside a list has the same separator: `width` entries an element.
            let width = match wanted.values {
                Values::Numbers { width } => width.max(1),
                _ => 1,
            };
            if length % width != 0 {
                return Err(wanted.wrong_width(&self.path, width, length));
            }
            let length = length / width;
            let (begin, end) = binding.kept(sequence, 0, length);
            match self.ends[sequence] {
                None => {
                    let offsets = &mut out.offsets[sequence];
                    let last = offsets.last().copied().unwrap_or(0);
                    offsets.push(last + (end - begin) as u32);
                    self.ends[sequence] = Some((index, length));
                }
                Some((_, expected)) if expected == length => {}
                Some((first, expected)) => {
                    let name = &binding.schema.sequences[sequence].name;
                    return Err(wanted.unequal(&self.path, &binding.wanted[first], name, (expected, length)));
                }
            }
            let items = field.split(|&b| b == self.separator).skip(begin * width).take((end - begin) * width);
            for item in items.clone() {
                value(wanted, &self.path, trimmed(item), out)?;
            }
            self.rounded[index].look(wanted, (&self.path, at), items, &numbers(wanted, out)[before..]);
        }
        for (carried, column) in binding.carried.iter().zip(&mut self.carried) {
            if let Some((field, texts)) = column {
                let text = trimmed(self.record.field(*field));
                texts.push(text).map_err(|expected| carried.wanted.bad_value(&self.path, expected, shown(text)))?;
            }
        }
        Ok(())
    }
}

fn changed(path: &Path, line: u64) -> DataError {
    DataError::new(FaultKind::Damaged, path, "the records that the file had when it was opened", "other records")
        .at(Place::Line(line))
        .help("the file changed while it was read: start again")
}

impl UnitReader for BlockReader {
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError> {
        let rows = limit.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for _ in 0..rows {
            self.advance()?;
            let line = self.record.start.line;
            self.row(binding, out).map_err(|e| e.at(Place::Line(line)))?;
            if !self.carried.is_empty() {
                self.lines.push(line);
            }
        }
        out.carried.resize(binding.carried.len(), Vec::new());
        let columns = binding.carried.iter().zip(&mut self.carried).zip(&mut out.carried);
        for ((carried, column), out) in columns {
            let array = column.as_mut().map(|(_, texts)| texts.take());
            let line = |index: usize| Place::Line(self.lines[index]);
            carried.append(&self.path, array.as_ref(), rows, line, out)?;
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
    Told,
}

impl Rounded {
    /// Looks at the texts of a record's field and at the numbers that were made of them.
    fn look<'a>(
        &mut self,
        wanted: &Wanted,
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
            *self = Self::Found(wanted.rounded(path, integer, x).at(Place::Line(line)));
        }
    }

    fn take(&mut self) -> Option<DataError> {
        if !matches!(self, Self::Found(_)) {
            return None;
        }
        match std::mem::replace(self, Self::Told) {
            Self::Found(warning) => Some(warning),
            Self::No | Self::Told => None,
        }
    }
}

/// The numbers of a numeric feature; none of another column.
fn numbers<'b>(wanted: &Wanted, batch: &'b Batch) -> &'b [f32] {
    match wanted.target {
        Target::Feature(f) => &batch.dense[f],
        Target::Label(_) | Target::Key(_) => &[],
    }
}

/// The beginning of a value, for messages.
fn shown(text: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(text).chars().take(40).collect::<String>())
}

fn trimmed(field: &[u8]) -> &[u8] {
    field.trim_ascii()
}

fn scalar(wanted: &Wanted, path: &Path, field: &[u8], separator: u8, out: &mut Batch) -> Result<(), DataError> {
    if let Values::Numbers { width } = wanted.values
        && width > 1
    {
        let found = if field.is_empty() { 0 } else { field.split(|&b| b == separator).count() };
        if found != width {
            return Err(wanted.wrong_width(path, width, found));
        }
        return field.split(|&b| b == separator).try_for_each(|item| value(wanted, path, trimmed(item), out));
    }
    value(wanted, path, field, out)
}

/// Appends one value. An empty one is a null.
fn value(wanted: &Wanted, path: &Path, text: &[u8], out: &mut Batch) -> Result<(), DataError> {
    if text.is_empty() && !matches!(wanted.values, Values::Label { missing: Some(_) }) {
        return Err(wanted.null(path));
    }
    let bad = |expected: &str| wanted.bad_value(path, expected, shown(text));
    let string = || {
        std::str::from_utf8(text)
            .map_err(|_| wanted.fault(FaultKind::BadValue, path, "text in UTF-8", shown(text)).help(ENCODING_HELP))
    };
    match (wanted.values, wanted.target) {
        (Values::IntegerIds, Target::Feature(f)) => {
            let id = string()?;
            // Also what only fits without a sign, as the unsigned columns of Parquet.
            let id = id.parse::<i64>().map(|v| v as u64).or_else(|_| id.parse::<u64>());
            out.ids[f].push(id.map_err(|_| {
                wanted
                    .fault(FaultKind::BadValue, path, "an integer", shown(text))
                    .help("declare the feature `category of string`, or correct the value")
            })?);
        }
        (Values::StringIds, Target::Feature(f)) => out.ids[f].push(string_id(string()?)),
        (Values::FixedIds { size, clip }, Target::Feature(f)) => {
            let id = string()?.parse::<i128>().map_err(|_| bad("an integer"))?;
            out.ids[f].push(match u64::try_from(id) {
                Ok(id) if id < size => id,
                _ if !clip => return Err(wanted.out_of_range(path, size, id.to_string())),
                _ if id < 0 => 0,
                _ => size.saturating_sub(1),
            });
        }
        (Values::Numbers { .. }, Target::Feature(f)) => {
            let number = string()?.parse::<f64>().map_err(|_| bad("a number"))? as f32;
            if !number.is_finite() {
                return Err(wanted.not_finite(path, String::from_utf8_lossy(text)));
            }
            out.dense[f].push(number);
        }
        (Values::Label { missing }, Target::Label(l)) => {
            let number = match text {
                b"" => f64::NAN,
                b"true" | b"True" | b"TRUE" => 1.0,
                b"false" | b"False" | b"FALSE" => 0.0,
                _ => string()?.parse::<f64>().map_err(|_| wanted.text_label(path, shown(text)))?,
            };
            let (label, known) =
                label_value(number, missing, text.is_empty()).ok_or_else(|| wanted.bad_label(path, number))?;
            out.labels[l].push(label);
            out.present[l].push(known);
        }
        (Values::IntegerKeys, Target::Key(k)) => {
            // Also what only fits without a sign, as the unsigned columns of Parquet.
            let key = string()?;
            let key = key.parse::<i64>().or_else(|_| key.parse::<u64>().map(|v| v as i64));
            let key = key.map_err(|_| bad("an integer from -2^63 to 2^64 - 1"))?;
            if let KeyColumn::Int64(keys) = &mut out.keys[k] {
                keys.push(key);
            }
        }
        (Values::StringKeys, Target::Key(k)) => {
            let key = string()?.to_string();
            if let KeyColumn::String(keys) = &mut out.keys[k] {
                keys.push(key);
            }
        }
        _ => return Err(bad("a value of the declared type")),
    }
    Ok(())
}
