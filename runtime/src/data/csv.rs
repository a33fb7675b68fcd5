//! CSV and TSV with a header: RFC 4180 quoting, list columns split at a declared separator, bound and read in blocks of lines.
//!
//! Opening walks over the whole file once to count its rows and to note where each block begins. Guarantees that faults carry the
//! line on which their record begins.

use super::bind::{Binding, EXACT_INTEGERS, Target, Values, Wanted};
use super::carried::{Observed, Texts};
use super::decode::label_value;
use super::error::{DataError, FaultKind, Place};
use super::files::{DataFile, Format, Unit, UnitReader};
use super::string_id;
use crate::batch::{Batch, KeyColumn};
use arrow::datatypes::DataType;
use csv::{ByteRecord, Position, Reader, ReaderBuilder, Terminator};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Records of a unit.
const BLOCK: u64 = 16_384;

#[derive(Debug)]
pub(crate) struct CsvFile {
    separator: u8,
    /// By wanted column: the field that holds it.
    fields: Vec<usize>,
    /// By column to pass through: the field that holds it, and the type of its texts.
    carried: Vec<Option<(usize, DataType)>>,
    /// Fields of a record.
    count: usize,
    /// Where each block begins.
    blocks: Vec<Position>,
}

fn builder(separator: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    // Field counts are checked here, with better words.
    builder
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .terminator(Terminator::CRLF)
        .buffer_capacity(1 << 18);
    builder
}

fn failed(path: &Path, error: &csv::Error) -> DataError {
    match error.kind() {
        csv::ErrorKind::Io(e) => DataError::io(path, e),
        _ => DataError::new(FaultKind::Damaged, path, "readable CSV", error.to_string()),
    }
}

/// Opens and binds a file; also the rows of each block.
pub(crate) fn open(
    path: &Path,
    length: u64,
    separator: u8,
    binding: &Binding,
) -> Result<(DataFile, Vec<u64>), DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
    let mut reader = builder(separator).from_reader(file);
    let mut record = ByteRecord::new();
    if !reader.read_byte_record(&mut record).map_err(|e| failed(path, &e))? {
        return Err(DataError::new(FaultKind::EmptyFile, path, "a header line", "no lines")
            .help("write the names of the columns first"));
    }
    let header: Vec<String> = record
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let name = if i == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
            String::from_utf8_lossy(name).trim().to_string()
        })
        .collect();
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let fields = binding.locate(path, &names)?;
    let carried = binding.locate_carried(path, &names)?;
    let mut observed = vec![Observed::default(); carried.len()];
    let (mut blocks, mut sizes, mut rows) = (Vec::new(), Vec::new(), 0u64);
    loop {
        let position = reader.position().clone();
        if !reader.read_byte_record(&mut record).map_err(|e| failed(path, &e))? {
            break;
        }
        if record.len() != names.len() {
            let line = record.position().map_or(0, Position::line);
            return Err(DataError::new(
                FaultKind::FieldCount,
                path,
                format!("{} fields, as in the header", names.len()),
                record.len().to_string(),
            )
            .at(Place::Line(line))
            .help(format!("quote fields that contain `{}`", separator as char)));
        }
        for (observed, field) in observed.iter_mut().zip(&carried) {
            field.iter().for_each(|&field| observed.see(trimmed(&record[field])));
        }
        if rows % BLOCK == 0 {
            blocks.push(position);
            sizes.push(0);
        }
        rows += 1;
        if let Some(last) = sizes.last_mut() {
            *last += 1;
        }
    }
    let digest = xxhash_rust::xxh3::xxh3_64(header.join("\n").as_bytes());
    // An id takes two characters of text at least, with its separator, and eight bytes in a batch.
    let decoded_bytes = length.saturating_mul(4);
    let count = names.len();
    let columns = binding.carried.iter().zip(observed).zip(carried);
    let carried: Vec<_> =
        columns.map(|((carried, observed), field)| Some((field?, observed.kind(&carried.wanted)))).collect();
    let kinds = carried.iter().map(|column| column.as_ref().map(|(_, kind)| kind.clone())).collect();
    let format = Format::Csv(CsvFile { separator, fields, carried, count, blocks });
    let path = path.to_path_buf();
    Ok((DataFile { path, length, rows, decoded_bytes, digest, carried: kinds, format }, sizes))
}

impl CsvFile {
    /// The line of a unit's row, found by reading up to it.
    pub fn place(&self, path: &Path, unit: Unit, row: u64) -> Result<Place, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
        let mut reader = builder(self.separator).from_reader(file);
        reader.seek(self.blocks[unit.index].clone()).map_err(|e| failed(path, &e))?;
        let mut record = ByteRecord::new();
        for _ in 0..=row {
            reader.read_byte_record(&mut record).map_err(|e| failed(path, &e))?;
        }
        Ok(Place::Line(record.position().map_or(0, Position::line)))
    }

    pub fn reader(
        &self,
        binding: &Binding,
        path: &Path,
        unit: Unit,
        skip: u64,
    ) -> Result<Box<dyn UnitReader>, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
        let mut reader = builder(self.separator).from_reader(file);
        reader.seek(self.blocks[unit.index].clone()).map_err(|e| failed(path, &e))?;
        let mut block = BlockReader {
            path: path.to_path_buf(),
            separator: binding.options.list_separator,
            fields: self.fields.clone(),
            carried: self
                .carried
                .iter()
                .map(|column| column.as_ref().map(|(field, kind)| (*field, Texts::new(kind))))
                .collect(),
            lines: Vec::new(),
            rounded: vec![Rounded::No; binding.wanted.len()],
            count: self.count,
            reader,
            record: ByteRecord::new(),
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
    separator: u8,
    fields: Vec<usize>,
    /// By column to pass through: its field, and values that are not yet appended.
    carried: Vec<Option<(usize, Texts)>>,
    /// Lines of the rows whose values those are.
    lines: Vec<u64>,
    /// By wanted column.
    rounded: Vec<Rounded>,
    count: usize,
    reader: Reader<File>,
    record: ByteRecord,
    left: u64,
    /// By sequence: the wanted column that set this row's length, and the length.
    ends: Vec<Option<(usize, usize)>>,
}

impl BlockReader {
    fn advance(&mut self) -> Result<(), DataError> {
        let more = self.reader.read_byte_record(&mut self.record).map_err(|e| failed(&self.path, &e))?;
        if !more || self.record.len() != self.count {
            return Err(DataError::new(
                FaultKind::Damaged,
                &self.path,
                "the records it had when it was opened",
                "others",
            )
            .at(Place::Line(self.reader.position().line()))
            .help("the file changed while it was read: start again"));
        }
        self.left -= 1;
        Ok(())
    }

    fn row(&mut self, binding: &Binding, out: &mut Batch) -> Result<(), DataError> {
        self.ends.fill(None);
        for (index, wanted) in binding.wanted.iter().enumerate() {
            let field = trimmed(&self.record[self.fields[index]]);
            let before = numbers(wanted, out).len();
            let Some(sequence) = wanted.sequence else {
                scalar(wanted, &self.path, field, self.separator, out)?;
                let vector = matches!(wanted.values, Values::Numbers { width } if width > 1);
                let items = field.split(|&b| vector && b == self.separator);
                self.rounded[index].look(wanted, (&self.path, &self.record), items, &numbers(wanted, out)[before..]);
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
            self.rounded[index].look(wanted, (&self.path, &self.record), items, &numbers(wanted, out)[before..]);
        }
        for (carried, column) in binding.carried.iter().zip(&mut self.carried) {
            if let Some((field, texts)) = column {
                let text = trimmed(&self.record[*field]);
                texts.push(text).map_err(|expected| {
                    let found = format!("`{}`", String::from_utf8_lossy(&text[..text.len().min(40)]));
                    carried.wanted.bad_value(&self.path, expected, found)
                })?;
            }
        }
        Ok(())
    }
}

impl UnitReader for BlockReader {
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError> {
        let rows = limit.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        for _ in 0..rows {
            self.advance()?;
            let line = self.record.position().map_or(0, Position::line);
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
        (path, record): (&Path, &ByteRecord),
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
            let line = record.position().map_or(0, Position::line);
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
    let shown = || format!("`{}`", String::from_utf8_lossy(&text[..text.len().min(40)]));
    let bad = |expected: &str| wanted.bad_value(path, expected, shown());
    let string = || std::str::from_utf8(text).map_err(|_| bad("text in UTF-8"));
    match (wanted.values, wanted.target) {
        (Values::IntegerIds, Target::Feature(f)) => {
            let id = string()?;
            // Also what only fits without a sign, as the unsigned columns of Parquet.
            let id = id.parse::<i64>().map(|v| v as u64).or_else(|_| id.parse::<u64>());
            out.ids[f].push(id.map_err(|_| {
                wanted
                    .fault(FaultKind::BadValue, path, "an integer", shown())
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
                _ => string()?.parse::<f64>().map_err(|_| wanted.text_label(path, shown()))?,
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
