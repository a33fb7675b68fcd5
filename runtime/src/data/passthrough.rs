//! Columns that prediction passes through to its output: keys, and labels whatever their values.
//!
//! Guarantees that a value comes out as it went in, in the type that its column has in the files.
//! Where files disagree, the column gets a type for the values of all of them, and a value that
//! this type does not hold exactly is a located error.

use super::bind::{BatchColumn, ColumnType, RequiredColumn};
use super::error::{DataError, FaultKind, Location};
use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, UInt64Builder};
use arrow_array::{Array, ArrayRef, NullArray, new_null_array};
use arrow_cast::display::array_value_to_string;
use arrow_cast::{can_cast_types, cast};
use arrow_ord::cmp::distinct;
use arrow_schema::{ArrowError, DataType};
use std::num::IntErrorKind::{NegOverflow, PosOverflow};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A column to pass through.
#[derive(Clone, Debug)]
pub(crate) struct PassthroughColumn {
    pub required: RequiredColumn,
    /// Type in the output; `None` where no file has the column.
    pub kind: Option<DataType>,
}

impl PassthroughColumn {
    /// Labels may be absent, and null; keys may not.
    pub fn is_label(&self) -> bool {
        matches!(self.required.target, BatchColumn::Label(_))
    }

    /// Makes the output's type one for the values of a file's column of type `found` too.
    ///
    /// # Errors
    /// There is no such type.
    pub fn widen(&mut self, file: &Path, found: &DataType) -> Result<(), DataError> {
        let widened = match &self.kind {
            None => found.clone(),
            Some(kind) => common(kind, found).ok_or_else(|| {
                let expected = format!("{kind}, as in the files before");
                self.required
                    .fault(FaultKind::WrongType, file, expected, found.to_string())
                    .help("give the column one type in all files")
            })?,
        };
        self.kind = Some(widened);
        Ok(())
    }

    /// Appends so many nulls, of a file that does not have the column.
    pub fn append_absent(&self, rows: usize, out: &mut Vec<ArrayRef>) {
        // No file has a column without a type: it is not in the output.
        out.extend(self.kind.as_ref().map(|kind| new_null_array(kind, rows)));
    }

    /// Appends so many values of a file, nulls where the file does not have the column. `place`
    /// says where in the file the value with an index is.
    ///
    /// # Errors
    /// A key that is null, or a value that the output's type does not hold.
    pub fn append(
        &self,
        file: &Path,
        array: Option<&ArrayRef>,
        rows: usize,
        place: impl Fn(usize) -> Location,
        out: &mut Vec<ArrayRef>,
    ) -> Result<(), DataError> {
        let (Some(kind), Some(array)) = (&self.kind, array) else {
            self.append_absent(rows, out);
            return Ok(());
        };
        let nulls = array.logical_nulls().filter(|_| !self.is_label());
        if let Some(index) = nulls.and_then(|nulls| (0..rows).find(|&i| nulls.is_null(i))) {
            return Err(self.required.null(file).at(place(index)));
        }
        let unreadable =
            |e: ArrowError| self.required.fault(FaultKind::Damaged, file, format!("values of {kind}"), e.to_string());
        if array.data_type() == kind {
            out.push(array.clone());
            return Ok(());
        }
        // What does not fit becomes a null, and is seen when it is converted back.
        let fitted = cast(array, kind).map_err(unreadable)?;
        if *kind != DataType::Utf8 {
            let back = cast(&fitted, array.data_type()).map_err(unreadable)?;
            let changed = distinct(&back, array).map_err(unreadable)?;
            if let Some(index) = changed.values().set_indices().next() {
                let found = array_value_to_string(array, index).map_err(unreadable)?;
                let expected = format!("a value that {kind} holds exactly, as other files need it");
                return Err(self
                    .required
                    .fault(FaultKind::WrongType, file, expected, found)
                    .at(place(index))
                    .help("give the column one type in all files"));
            }
        }
        out.push(fitted);
        Ok(())
    }
}

/// A type for the values of both; `None` where there is none.
fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b || *b == DataType::Null {
        return Some(a.clone());
    }
    if *a == DataType::Null {
        return Some(b.clone());
    }
    let bits = |kind: &DataType| kind.primitive_width().map_or(1, |bytes| 8 * bytes);
    let numeric = |kind: &DataType| kind.is_integer() || kind.is_floating() || *kind == DataType::Boolean;
    if !numeric(a) || !numeric(b) {
        let text = can_cast_types(a, &DataType::Utf8) && can_cast_types(b, &DataType::Utf8);
        return text.then_some(DataType::Utf8);
    }
    let (narrow, wide) = if bits(a) <= bits(b) { (a, b) } else { (b, a) };
    Some(match (narrow.is_floating(), wide.is_floating()) {
        (true, true) => wide.clone(),
        (false, false) if *narrow == DataType::Boolean => wide.clone(),
        (false, false) if narrow.is_signed_integer() == wide.is_signed_integer() => wide.clone(),
        (false, false) if wide.is_signed_integer() && bits(narrow) < bits(wide) => wide.clone(),
        (false, false) if bits(wide) < 32 => DataType::Int32,
        (false, false) if bits(wide) < 64 => DataType::Int64,
        // Keys without a sign beside keys with one: none of them is below 0, or it is an error.
        (false, false) => DataType::UInt64,
        (true, false) | (false, true) => DataType::Float64,
    })
}

/// The type of a column of a text file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    /// No value in the whole column.
    Null,
    Boolean,
    Int64,
    UInt64,
    Float64,
    Text,
}

impl TextKind {
    pub fn data_type(self) -> DataType {
        match self {
            Self::Null => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::UInt64 => DataType::UInt64,
            Self::Float64 => DataType::Float64,
            Self::Text => DataType::Utf8,
        }
    }
}

/// What the texts of a column are, to give it a type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    booleans: bool,
    negative: bool,
    /// From 0 to 2^63 - 1.
    natural: bool,
    /// From 2^63 to 2^64 - 1.
    large: bool,
    /// An integer of more than 53 bits, which float64 may not hold.
    wide: bool,
    floats: bool,
    texts: bool,
}

/// `true` and `false` as CSV writers spell them.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

impl Observed {
    /// Takes the text of a field into account; an empty one is a null.
    pub fn see(&mut self, text: &[u8]) {
        if text.is_empty() || self.texts {
            return;
        }
        let Ok(text) = std::str::from_utf8(text) else {
            self.texts = true;
            return;
        };
        const ZERO: i128 = 0;
        const LEAST: i128 = i64::MIN as i128;
        const LARGE: i128 = 1 << 63;
        const LARGEST: i128 = u64::MAX as i128;
        const WIDE: u128 = 1 << 53;
        let integer = text.parse::<i128>();
        self.wide |= integer.as_ref().is_ok_and(|integer| integer.unsigned_abs() > WIDE);
        match integer {
            Ok(LEAST..ZERO) => self.negative = true,
            Ok(ZERO..LARGE) => self.natural = true,
            Ok(LARGE..=LARGEST) => self.large = true,
            // More digits than any type has.
            Ok(_) => self.texts = true,
            Err(e) if matches!(e.kind(), PosOverflow | NegOverflow) => self.texts = true,
            Err(_) if boolean(text).is_some() => self.booleans = true,
            Err(_) if text.parse::<f64>().is_ok() => self.floats = true,
            Err(_) => self.texts = true,
        }
    }

    /// The type that holds all values of a column required so.
    pub fn kind(self, required: &RequiredColumn) -> TextKind {
        match required.values {
            ColumnType::StringKeys | ColumnType::ClassTexts => return TextKind::Text,
            // Whatever else the texts are is a fault of its row.
            ColumnType::IntegerKeys if self.large && !self.negative => return TextKind::UInt64,
            ColumnType::IntegerKeys => return TextKind::Int64,
            ColumnType::IntegerIds
            | ColumnType::StringIds
            | ColumnType::FixedIds { .. }
            | ColumnType::Numbers { .. }
            | ColumnType::Label { .. }
            | ColumnType::Texts
            | ColumnType::Lists => {}
        }
        let integers = self.negative || self.natural || self.large;
        match (self.texts, self.booleans, self.floats, integers) {
            (true, ..) | (_, true, true, _) | (_, true, _, true) => TextKind::Text,
            (_, true, ..) => TextKind::Boolean,
            (_, _, true, _) if self.wide => TextKind::Text,
            (_, _, true, _) => TextKind::Float64,
            (_, _, _, true) if self.negative && self.large => TextKind::Text,
            (_, _, _, true) if self.large => TextKind::UInt64,
            (_, _, _, true) => TextKind::Int64,
            (false, false, false, false) => TextKind::Null,
        }
    }
}

/// The values of a column of a text file as they are read.
#[derive(Debug)]
pub(crate) enum Texts {
    /// So many nulls.
    Null(usize),
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    UInt64(UInt64Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
}

impl Texts {
    pub fn new(kind: TextKind) -> Self {
        match kind {
            TextKind::Null => Self::Null(0),
            TextKind::Boolean => Self::Boolean(BooleanBuilder::new()),
            TextKind::Int64 => Self::Int64(Int64Builder::new()),
            TextKind::UInt64 => Self::UInt64(UInt64Builder::new()),
            TextKind::Float64 => Self::Float64(Float64Builder::new()),
            TextKind::Text => Self::Text(StringBuilder::new()),
        }
    }

    /// Appends the value of a text, an empty one as a null.
    ///
    /// # Errors
    /// What was expected of it.
    pub fn push(&mut self, text: &[u8]) -> Result<(), &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "text in UTF-8")?;
        let text = (!text.is_empty()).then_some(text);
        match self {
            Self::Null(count) if text.is_none() => *count += 1,
            Self::Null(_) => return Err("the text that it had when it was opened"),
            Self::Boolean(values) => {
                let value = text.map(|text| boolean(text).ok_or("true or false"));
                values.append_option(value.transpose()?);
            }
            Self::Int64(values) => {
                values.append_option(parsed(text, "an integer from -2^63 to 2^63 - 1")?);
            }
            Self::UInt64(values) => {
                values.append_option(parsed(text, "an integer from 0 to 2^64 - 1")?);
            }
            Self::Float64(values) => values.append_option(parsed(text, "a number")?),
            Self::Text(values) => values.append_option(text),
        }
        Ok(())
    }

    /// What was appended; the next values start anew.
    pub fn take(&mut self) -> ArrayRef {
        match self {
            Self::Null(count) => Arc::new(NullArray::new(std::mem::take(count))),
            Self::Boolean(values) => Arc::new(values.finish()),
            Self::Int64(values) => Arc::new(values.finish()),
            Self::UInt64(values) => Arc::new(values.finish()),
            Self::Float64(values) => Arc::new(values.finish()),
            Self::Text(values) => Arc::new(values.finish()),
        }
    }
}

fn parsed<T: std::str::FromStr>(text: Option<&str>, expected: &'static str) -> Result<Option<T>, &'static str> {
    text.map(|text| text.parse().map_err(|_| expected)).transpose()
}

/// Appends these rows of a column that lies in several arrays.
pub(crate) fn append_rows(arrays: &[ArrayRef], rows: Range<usize>, to: &mut Vec<ArrayRef>) {
    let mut first = 0;
    for array in arrays {
        let end = first + array.len();
        let (from, until) = (rows.start.max(first), rows.end.min(end));
        if from < until {
            to.push(array.slice(from - first, until - from));
        }
        first = end;
    }
}
