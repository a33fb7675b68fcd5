//! Arrow arrays to columns of a batch: one typed loop per column, whole slices where a list column
//! is read entire.
//!
//! Guarantees that a value is either written as the table in `data` says or reported with its row
//! and column; ids are never truncated and lists of one sequence are never of different lengths.
//! After an error the batch is in no defined state.

// One body serves every primitive type: for one of them the cast does nothing.
#![allow(clippy::unnecessary_cast)]

use super::bind::{BatchColumn, Binding, ColumnType, EXACT_INTEGERS, RequiredColumn};
use super::error::{DataError, FaultKind, Location};
use super::rule::Refused;
use super::string_id;
use crate::batch::{Batch, KeyColumn};
use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use din_program::schema::LabelKind;
use std::path::Path;
use std::sync::Arc;

/// Runs `$body` with the values of a primitive array of the listed types.
macro_rules! typed {
    ($array:expr, [$($kind:ident),*], $values:ident => $body:expr, else $other:expr) => {
        match $array.data_type() {
            $(t if *t == $kind::DATA_TYPE => {
                let $values = $array.as_primitive::<$kind>().values();
                $body
            })*
            _ => $other,
        }
    };
}
macro_rules! integers {
    ($array:expr, $values:ident => $body:expr, else $other:expr) => {
        typed!($array, [Int64Type, Int32Type, UInt32Type, UInt64Type, Int16Type, UInt16Type, Int8Type, UInt8Type],
            $values => $body, else $other)
    };
}

mod ruled;

/// A value that may not be there, by its index in the array.
enum Bad {
    Null(usize),
    Label(usize, LabelKind, f64),
    Range(usize, u64, String),
    NotFinite(usize, String),
    Width(usize, usize, usize),
    /// Bytes that are not UTF-8.
    Text(usize, Vec<u8>),
    /// None of the label's classes.
    Class(usize, String),
    /// By the column's rule.
    Refused(usize, Refused),
    /// A type that binding let through although no arm reads it.
    Type,
}

/// Half-open ranges of an array.
type Spans<'a> = &'a [(usize, usize)];

/// Scratch of one reader.
#[derive(Default)]
pub(crate) struct Decoder {
    /// By sequence: raw offsets of its first column in this record batch, and which required column
    /// that is.
    lists: Vec<Option<(usize, Vec<usize>)>>,
    spans: Vec<(usize, usize)>,
    /// By required column; a row group's batches share one dictionary.
    dictionaries: Vec<Option<Dictionary>>,
    /// By required column: whether it had an integer that f32 does not hold exactly.
    rounded: Vec<bool>,
    /// Not yet reported.
    warnings: Vec<DataError>,
}

/// A dictionary of strings, hashed once.
#[derive(Clone)]
struct Dictionary {
    values: ArrayRef,
    /// Of all values; `None` where one of them is not UTF-8, so that each is to be looked at.
    ids: Option<Vec<u64>>,
}

impl Decoder {
    /// Appends the rows of `records`; its column for the required column `i` is `columns[i]`, and
    /// that for column `i` to pass through `passthrough[i]`. `first_row` is the file's row number
    /// of the first.
    pub fn append(
        &mut self,
        binding: &Binding,
        file: &Path,
        first_row: u64,
        records: &[ArrayRef],
        (columns, passthrough): (&[usize], &[Option<usize>]),
        out: &mut Batch,
    ) -> Result<(), DataError> {
        let rows = records.first().map_or(0, |array| array.len());
        self.lists.clear();
        self.lists.resize(binding.schema.sequences.len(), None);
        self.dictionaries.resize(binding.required.len(), None);
        self.rounded.resize(binding.required.len(), false);
        for (index, required) in binding.required.iter().enumerate() {
            let array = plain(&records[columns[index]]);
            let Some(sequence) = required.sequence else {
                if let (ColumnType::Lists, BatchColumn::Feature(f)) = (required.values, required.target) {
                    out.dense[f].extend((0..rows).map(|row| f32::from(u8::from(array.is_null(row)))));
                    continue;
                }
                let dictionary = &mut self.dictionaries[index];
                leaf(required, &array, &[(0, rows)], dictionary, out)
                    .map_err(|bad| located(bad, required, file, |element| first_row + element as u64))?;
                self.warn(index, required, file, &array, &[(0, rows)], |element| first_row + element as u64);
                continue;
            };
            if array.null_count() > 0 && !binding.schema.sequences[sequence].missing {
                let row = (0..rows).find(|&r| array.is_null(r)).expect("nulls are counted");
                return Err(required.null(file).at(Location::Row(first_row + row as u64)));
            }
            let (offsets, values) =
                list(&array).ok_or_else(|| required.wrong_type(file, &array.data_type().to_string(), false, false))?;
            let values = plain(&values);
            self.align(binding, file, first_row, index, sequence, &offsets, out)?;
            self.spans.clear();
            for pair in offsets.windows(2) {
                let (begin, end) = binding.kept(sequence, pair[0], pair[1]);
                match self.spans.last_mut() {
                    Some(last) if last.1 == begin => last.1 = end,
                    _ if begin < end => self.spans.push((begin, end)),
                    _ => {}
                }
            }
            let row = |element| first_row + offsets.partition_point(|&o| o <= element) as u64 - 1;
            leaf(required, &values, &self.spans, &mut self.dictionaries[index], out)
                .map_err(|bad| located(bad, required, file, row))?;
            let spans = std::mem::take(&mut self.spans);
            self.warn(index, required, file, &values, &spans, row);
            self.spans = spans;
        }
        out.passthrough.resize(binding.passthrough.len(), Vec::new());
        for (c, place) in passthrough.iter().enumerate() {
            let passthrough = &binding.passthrough[c];
            let row = |index: usize| Location::Row(first_row + index as u64);
            let array = place.map(|place| match passthrough.kind {
                Some(DataType::Utf8) => text(&records[place], &passthrough.required, file, row),
                _ => Ok(records[place].clone()),
            });
            passthrough.append(file, array.transpose()?.as_ref(), rows, row, &mut out.passthrough[c])?;
        }
        out.rows += rows;
        for label in 0..out.labels.len() {
            // Columns that the mode does not read.
            out.labels[label].resize(out.rows, 0.0);
            out.present[label].resize(out.rows, 0.0);
        }
        Ok(())
    }

    /// Moves the warnings since the last call to `to`.
    pub fn warnings(&mut self, to: &mut Vec<DataError>) {
        to.append(&mut self.warnings);
    }

    /// Warns, once, of a numeric feature that has an integer which f32 does not hold exactly. `row`
    /// says which row an element is of.
    fn warn(
        &mut self,
        index: usize,
        required: &RequiredColumn,
        file: &Path,
        array: &ArrayRef,
        spans: Spans,
        row: impl Fn(usize) -> u64,
    ) {
        let as_is = matches!(required.values, ColumnType::Numbers { .. }) && required.rule.is_none();
        if !as_is || self.rounded[index] {
            return;
        }
        // Elements that are vectors: their numbers, and which vector a number is of.
        let found = match list(array) {
            Some((offsets, numbers)) => {
                let spans: Vec<_> = spans.iter().map(|&(b, e)| (offsets[b], offsets[e])).collect();
                let element = |(i, value, becomes)| (offsets.partition_point(|&o| o <= i) - 1, value, becomes);
                rounded(&numbers, &spans).map(element)
            }
            None => rounded(array, spans),
        };
        if let Some((element, value, becomes)) = found {
            self.rounded[index] = true;
            self.warnings.push(required.rounded(file, value, becomes).at(Location::Row(row(element))));
        }
    }

    /// Writes the offsets of a sequence from its first column; checks the lengths of the others
    /// against it.
    #[allow(clippy::too_many_arguments)]
    fn align(
        &mut self,
        binding: &Binding,
        file: &Path,
        first_row: u64,
        index: usize,
        sequence: usize,
        offsets: &[usize],
        out: &mut Batch,
    ) -> Result<(), DataError> {
        let required = &binding.required[index];
        if let Some((first, expected)) = &self.lists[sequence] {
            let length = |o: &[usize], r: usize| o[r + 1] - o[r];
            let differs = (0..offsets.len() - 1).find(|&r| length(expected, r) != length(offsets, r));
            return match differs {
                None => Ok(()),
                Some(row) => {
                    let lengths = (length(expected, row), length(offsets, row));
                    let name = &binding.schema.sequences[sequence].name;
                    Err(required
                        .unequal(file, &binding.required[*first], name, lengths)
                        .at(Location::Row(first_row + row as u64)))
                }
            };
        }
        let target = &mut out.offsets[sequence];
        let mut end = *target.last().expect("offsets begin with 0") as usize;
        target.reserve(offsets.len());
        for pair in offsets.windows(2) {
            let (begin, stop) = binding.kept(sequence, pair[0], pair[1]);
            end += stop - begin;
            target.push(end as u32);
        }
        if u32::try_from(end).is_err() {
            return Err(required
                .fault(FaultKind::TooLarge, file, "fewer than 2^32 list entries in a window of rows", end.to_string())
                .help("lower the shuffle window or the batch size, or declare `keep last n`"));
        }
        self.lists[sequence] = Some((index, offsets.to_vec()));
        Ok(())
    }
}

/// Whether a required column can be read from arrays of this type.
pub(crate) fn accepts(required: &RequiredColumn, kind: &DataType) -> bool {
    let item = match (required.sequence, kind) {
        (None, kind) => kind,
        (Some(_), DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _)) => f.data_type(),
        (Some(_), _) => return false,
    };
    if required.values == ColumnType::Lists {
        return matches!(kind, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
    }
    if *item == DataType::Null {
        // Only lists without an entry, or nulls that become something.
        let replaced = required.rule.as_ref().is_some_and(|rule| rule.replaces_nulls());
        return required.sequence.is_some() || replaced || required.values == ColumnType::Texts;
    }
    let number =
        |t: &DataType| t.is_integer() || matches!(t, DataType::Float16 | DataType::Float32 | DataType::Float64);
    match required.values {
        ColumnType::IntegerIds | ColumnType::IntegerKeys => item.is_integer(),
        // Text is read as bytes: that it is UTF-8 is checked here and not by the library.
        ColumnType::StringIds | ColumnType::StringKeys | ColumnType::Texts | ColumnType::ClassTexts => {
            *item == DataType::Binary
        }
        ColumnType::FixedIds { .. } => item.is_integer() || *item == DataType::Boolean,
        ColumnType::Label { .. } => number(item) || *item == DataType::Boolean,
        ColumnType::Numbers { width: 1 } => number(item),
        ColumnType::Numbers { .. } => match item {
            DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => number(f.data_type()),
            _ => false,
        },
        ColumnType::Lists => unreachable!("any lists are accepted above"),
    }
}

/// The array without the encoding that no loop reads: half floats.
fn plain(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float16 => Arc::new(array.as_primitive::<Float16Type>().unary::<_, Float32Type>(f32::from)),
        _ => array.clone(),
    }
}

/// Offsets and values of a list array.
fn list(array: &ArrayRef) -> Option<(Vec<usize>, ArrayRef)> {
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            Some((list.value_offsets().iter().map(|&o| o as usize).collect(), list.values().clone()))
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            Some((list.value_offsets().iter().map(|&o| o as usize).collect(), list.values().clone()))
        }
        DataType::FixedSizeList(_, width) => {
            let list = array.as_fixed_size_list();
            let width = *width as usize;
            Some(((0..=list.len()).map(|r| (list.offset() + r) * width).collect(), list.values().clone()))
        }
        _ => None,
    }
}

fn located(bad: Bad, required: &RequiredColumn, file: &Path, row: impl Fn(usize) -> u64) -> DataError {
    let (element, error) = match bad {
        Bad::Null(i) => (i, required.null(file)),
        Bad::Label(i, kind, found) => (i, required.bad_label(file, kind, found)),
        Bad::Range(i, size, found) => (i, required.out_of_range(file, size, found)),
        Bad::NotFinite(i, found) => (i, required.not_finite(file, found)),
        Bad::Width(i, width, found) => (i, required.wrong_width(file, width, found)),
        Bad::Text(i, found) => (i, not_text(required, file, &found)),
        Bad::Class(i, found) => (i, required.not_a_class(file, &found)),
        Bad::Refused(i, refused) => (i, required.refused(file, refused)),
        Bad::Type => return required.wrong_type(file, "another type than the file's schema says", false, false),
    };
    error.at(Location::Row(row(element)))
}

/// Bytes as text, in an array of its own; any other array as it is.
fn text(
    array: &ArrayRef,
    required: &RequiredColumn,
    file: &Path,
    row: impl Fn(usize) -> Location,
) -> Result<ArrayRef, DataError> {
    let mut texts = StringBuilder::new();
    let mut push = |index: usize, bytes: Option<&[u8]>| {
        let checked =
            bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| not_text(required, file, bytes).at(row(index))));
        texts.append_option(checked.transpose()?);
        Ok(())
    };
    match array.data_type() {
        DataType::Binary => {
            let mut bytes = array.as_binary::<i32>().iter().enumerate();
            bytes.try_for_each(|(index, bytes)| push(index, bytes))?;
        }
        DataType::Dictionary(_, values) if **values == DataType::Binary => {
            let dictionary = array.as_any_dictionary();
            let (keys, values) = (dictionary.normalized_keys(), dictionary.values().as_binary::<i32>());
            for (index, &key) in keys.iter().enumerate() {
                let is_null = dictionary.is_null(index) || values.is_null(key);
                push(index, (!is_null).then(|| values.value(key)))?;
            }
        }
        _ => return Ok(array.clone()),
    }
    Ok(Arc::new(texts.finish()))
}

fn not_text(required: &RequiredColumn, file: &Path, found: &[u8]) -> DataError {
    const SHOWN: usize = 40;
    let more = if found.len() > SHOWN { "…" } else { "" };
    let shown = found[..found.len().min(SHOWN)].escape_ascii();
    required
        .fault(FaultKind::BadValue, file, "text in UTF-8", format!("the bytes `{shown}{more}`"))
        .help("write the column as UTF-8; bytes that are no text, as hexadecimal digits")
}

fn refuse_nulls(array: &dyn Array, spans: Spans) -> Result<(), Bad> {
    if array.null_count() > 0 {
        for &(begin, end) in spans {
            if let Some(i) = (begin..end).find(|&i| array.is_null(i)) {
                return Err(Bad::Null(i));
            }
        }
    }
    Ok(())
}

/// Appends the values of the spans to the column that `required` fills.
fn leaf(
    required: &RequiredColumn,
    array: &ArrayRef,
    spans: Spans,
    dictionary: &mut Option<Dictionary>,
    out: &mut Batch,
) -> Result<(), Bad> {
    if let Some(rule) = &required.rule {
        return ruled::ruled(required, rule, array, spans, out);
    }
    if let (ColumnType::Texts, BatchColumn::Key(k)) = (required.values, required.target) {
        let KeyColumn::String(texts) = &mut out.keys[k] else { unreachable!("the binding makes it a column of texts") };
        return ruled::texts(array, spans, texts);
    }
    if *array.data_type() == DataType::Null {
        // Arrow counts no nulls in such an array: there is nothing else in it.
        return spans.iter().find(|(begin, end)| begin < end).map_or(Ok(()), |&(begin, _)| Err(Bad::Null(begin)));
    }
    if let (ColumnType::ClassTexts, BatchColumn::Label(l)) = (required.values, required.target) {
        return ruled::classes(array, spans, required.class_texts(), &mut out.labels[l], &mut out.present[l]);
    }
    if !matches!(required.values, ColumnType::Label { missing: Some(_), .. }) {
        refuse_nulls(array, spans)?;
    }
    match (required.values, required.target) {
        (ColumnType::IntegerIds, BatchColumn::Feature(f)) => integer_ids(array, spans, &mut out.ids[f]),
        (ColumnType::StringIds, BatchColumn::Feature(f)) => string_ids(array, spans, dictionary, &mut out.ids[f]),
        (ColumnType::FixedIds { size, clip }, BatchColumn::Feature(f)) => {
            fixed_ids(array, spans, size, clip, &mut out.ids[f])
        }
        (ColumnType::Numbers { width: 1 }, BatchColumn::Feature(f)) => numbers(array, spans, &mut out.dense[f]),
        (ColumnType::Numbers { width }, BatchColumn::Feature(f)) => vectors(array, spans, width, &mut out.dense[f]),
        (ColumnType::Label { kind, missing }, BatchColumn::Label(l)) => {
            labels(array, spans, (kind, missing), &mut out.labels[l], &mut out.present[l])
        }
        (ColumnType::IntegerKeys, BatchColumn::Key(k)) => match &mut out.keys[k] {
            KeyColumn::Int64(keys) => integers!(array, values => {
                spans.iter().for_each(|&(b, e)| keys.extend(values[b..e].iter().map(|&v| v as i64)));
                Ok(())
            }, else Err(Bad::Type)),
            KeyColumn::String(_) => unreachable!("the batch was made for the schema of the binding"),
        },
        (ColumnType::StringKeys, BatchColumn::Key(k)) => match &mut out.keys[k] {
            KeyColumn::String(keys) => each_string(array, spans, |text| keys.push(text.to_string())),
            KeyColumn::Int64(_) => unreachable!("the batch was made for the schema of the binding"),
        },
        (ColumnType::Texts, _) => unreachable!("texts are those of keys"),
        (ColumnType::ClassTexts, _) => unreachable!("texts of classes are those of labels"),
        (ColumnType::Lists, _) => unreachable!("whether lists are missing is seen without their values"),
        (
            ColumnType::IntegerIds | ColumnType::StringIds | ColumnType::FixedIds { .. } | ColumnType::Numbers { .. },
            BatchColumn::Label(_) | BatchColumn::Key(_),
        )
        | (ColumnType::Label { .. }, BatchColumn::Feature(_) | BatchColumn::Key(_))
        | (ColumnType::IntegerKeys | ColumnType::StringKeys, BatchColumn::Feature(_) | BatchColumn::Label(_)) => {
            unreachable!("the binding gives a column the type of what it fills")
        }
    }
}

fn integer_ids(array: &ArrayRef, spans: Spans, out: &mut Vec<u64>) -> Result<(), Bad> {
    integers!(array, values => {
        for &(begin, end) in spans {
            // Sign-extended, so that an id is one whatever the width of its column.
            out.extend(values[begin..end].iter().map(|&v| v as i64 as u64));
        }
        Ok(())
    }, else Err(Bad::Type))
}

fn fixed_ids(array: &ArrayRef, spans: Spans, size: u64, clip: bool, out: &mut Vec<u64>) -> Result<(), Bad> {
    if let Some(flags) = array.as_boolean_opt() {
        for &(begin, end) in spans {
            for i in begin..end {
                let id = u64::from(flags.value(i));
                match (id < size, clip) {
                    (true, _) => out.push(id),
                    (false, true) => out.push(size.saturating_sub(1)),
                    (false, false) => return Err(Bad::Range(i, size, "true".into())),
                }
            }
        }
        return Ok(());
    }
    integers!(array, values => {
        for &(begin, end) in spans {
            for (i, &v) in values[begin..end].iter().enumerate() {
                #[allow(clippy::unnecessary_fallible_conversions, clippy::useless_conversion)]
                let id = match u64::try_from(v) {
                    Ok(id) if id < size => id,
                    _ if !clip => return Err(Bad::Range(begin + i, size, v.to_string())),
                    Ok(_) => size.saturating_sub(1),
                    Err(_) => 0,
                };
                out.push(id);
            }
        }
        Ok(())
    }, else Err(Bad::Type))
}

/// Calls `f` with the strings of the spans, in order. They come as bytes, plain or by a dictionary.
fn each_string(array: &ArrayRef, spans: Spans, mut f: impl FnMut(&str)) -> Result<(), Bad> {
    let not_text = |i: usize, bytes: &[u8]| Bad::Text(i, bytes.to_vec());
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = dictionary.values().as_binary_opt::<i32>().ok_or(Bad::Type)?;
        let keys = dictionary.keys();
        return integers!(keys, keys => {
            for i in spans.iter().flat_map(|&(begin, end)| begin..end) {
                let key = Some(keys[i] as usize).filter(|&key| key < values.len()).ok_or(Bad::Type)?;
                let bytes = values.value(key);
                f(std::str::from_utf8(bytes).map_err(|_| not_text(i, bytes))?);
            }
            Ok(())
        }, else Err(Bad::Type));
    }
    let array = array.as_binary_opt::<i32>().ok_or(Bad::Type)?;
    for &(begin, end) in spans {
        let offsets = &array.value_offsets()[begin..=end];
        let start = offsets[0] as usize;
        // Text is checked as a whole, which is faster, and is then cut where no character is.
        let whole = std::str::from_utf8(&array.value_data()[start..offsets[end - begin] as usize]);
        for (i, pair) in (begin..end).zip(offsets.windows(2)) {
            let text = match whole {
                Ok(text) => text.get(pair[0] as usize - start..pair[1] as usize - start),
                Err(_) => std::str::from_utf8(array.value(i)).ok(),
            };
            f(text.ok_or_else(|| not_text(i, array.value(i)))?);
        }
    }
    Ok(())
}

fn string_ids(array: &ArrayRef, spans: Spans, cache: &mut Option<Dictionary>, out: &mut Vec<u64>) -> Result<(), Bad> {
    let Some(dictionary) = array.as_any_dictionary_opt() else {
        return each_string(array, spans, |text| out.push(string_id(text)));
    };
    let values = dictionary.values();
    let known = match cache {
        Some(known) if Arc::ptr_eq(&known.values, values) => known,
        _ => {
            let mut ids = Vec::with_capacity(values.len());
            let ids = match each_string(values, &[(0, values.len())], |text| ids.push(string_id(text))) {
                Ok(()) => Some(ids),
                Err(Bad::Text(..)) => None,
                Err(other) => return Err(other),
            };
            cache.insert(Dictionary { values: values.clone(), ids })
        }
    };
    let Some(ids) = &known.ids else {
        return each_string(array, spans, |text| out.push(string_id(text)));
    };
    if values.null_count() > 0 {
        let keys = dictionary.normalized_keys();
        for &(begin, end) in spans {
            if let Some(i) = (begin..end).find(|&i| values.is_null(keys[i])) {
                return Err(Bad::Null(i));
            }
        }
    }
    let keys = dictionary.keys();
    integers!(keys, keys => {
        for &(begin, end) in spans {
            for &key in &keys[begin..end] {
                out.push(*ids.get(key as usize).ok_or(Bad::Type)?);
            }
        }
        Ok(())
    }, else Err(Bad::Type))
}

fn numbers(array: &ArrayRef, spans: Spans, out: &mut Vec<f32>) -> Result<(), Bad> {
    typed!(array, [Float32Type, Float64Type], values => {
        for &(begin, end) in spans {
            let at = out.len();
            out.extend(values[begin..end].iter().map(|&v| v as f32));
            // Also what is finite in f64 and not in f32.
            if let Some(i) = out[at..].iter().position(|v| !v.is_finite()) {
                return Err(Bad::NotFinite(begin + i, values[begin + i].to_string()));
            }
        }
        Ok(())
    }, else integers!(array, values => {
        spans.iter().for_each(|&(b, e)| out.extend(values[b..e].iter().map(|&v| v as f32)));
        Ok(())
    }, else Err(Bad::Type)))
}

/// The first integer that f32 does not hold exactly, by its index, and what it becomes.
fn rounded(array: &ArrayRef, spans: Spans) -> Option<(usize, i128, f32)> {
    integers!(array, values => {
        spans.iter().find_map(|&(begin, end)| {
            let values = &values[begin..end];
            // Nearly all columns have small integers alone, which this sees fastest.
            if values.iter().fold(true, |all, &v| all & ((v as f32).abs() < EXACT_INTEGERS)) {
                return None;
            }
            let changed = |&v: &_| v as f32 as i128 != v as i128;
            let at = values.iter().position(changed)?;
            Some((begin + at, values[at] as i128, values[at] as f32))
        })
    }, else None)
}

fn vectors(array: &ArrayRef, spans: Spans, width: usize, out: &mut Vec<f32>) -> Result<(), Bad> {
    let (offsets, values) = list(array).ok_or(Bad::Type)?;
    let values = plain(&values);
    for &(begin, end) in spans {
        for i in begin..end {
            let (first, last) = (offsets[i], offsets[i + 1]);
            if last - first != width {
                return Err(Bad::Width(i, width, last - first));
            }
            let span = [(first, last)];
            refuse_nulls(&values, &span).and_then(|()| numbers(&values, &span, out)).map_err(|bad| match bad {
                Bad::Null(_) => Bad::Null(i),
                Bad::NotFinite(_, found) => Bad::NotFinite(i, found),
                other => other,
            })?;
        }
    }
    Ok(())
}

fn labels(
    array: &ArrayRef,
    spans: Spans,
    (kind, missing): (LabelKind, Option<f64>),
    labels: &mut Vec<f32>,
    present: &mut Vec<f32>,
) -> Result<(), Bad> {
    let nulls = array.nulls().filter(|n| n.null_count() > 0);
    let mut push = |i: usize, value: f64| {
        let (label, known) =
            label_value(value, kind, missing, nulls.is_some_and(|n| n.is_null(i))).ok_or(Bad::Label(i, kind, value))?;
        labels.push(label);
        present.push(known);
        Ok(())
    };
    if let Some(flags) = array.as_boolean_opt() {
        return spans
            .iter()
            .try_for_each(|&(b, e)| (b..e).try_for_each(|i| push(i, f64::from(u8::from(flags.value(i))))));
    }
    typed!(array, [Float32Type, Float64Type], values => {
        spans.iter().try_for_each(|&(b, e)| (b..e).try_for_each(|i| push(i, values[i] as f64)))
    }, else integers!(array, values => {
        spans.iter().try_for_each(|&(b, e)| (b..e).try_for_each(|i| push(i, values[i] as f64)))
    }, else Err(Bad::Type)))
}

/// Label and presence of a value; `None` if it is neither one of the label's kind nor the missing
/// one. A column of f32 has the missing value as f32.
#[inline]
pub(crate) fn label_value(value: f64, kind: LabelKind, missing: Option<f64>, null: bool) -> Option<(f32, f32)> {
    if let Some(missing) = missing
        && (null || value == missing || value == f64::from(missing as f32) || (value.is_nan() && missing.is_nan()))
    {
        return Some((0.0, 0.0));
    }
    kind.holds(value).then_some((value as f32 + 0.0, 1.0))
}
