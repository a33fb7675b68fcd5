//! From the text of a field to the values of a batch.

use crate::batch::{Batch, KeyColumn};
use crate::data::bind::{BatchColumn, ColumnType, EXACT_INTEGERS, RequiredColumn};
use crate::data::decode::label_value;
use crate::data::error::{DataError, FaultKind, Location};
use crate::data::rule::RawValue;
use crate::data::string_id;
use std::path::Path;

pub(super) const ENCODING_HELP: &str = "save the file as UTF-8";

/// Whether a column had an integer that f32 does not hold exactly.
#[derive(Clone, Debug)]
pub(super) enum Rounded {
    No,
    Found(DataError),
    Reported,
}

impl Rounded {
    /// Looks at the texts of a record's field and at the numbers that were made of them.
    pub fn look<'a>(
        &mut self,
        required: &RequiredColumn,
        (path, line): (&Path, u64),
        texts: impl Iterator<Item = &'a [u8]>,
        numbers: &[f32],
    ) {
        // Smaller integers are all exact.
        if !matches!(self, Self::No) || required.rule.is_some() || !numbers.iter().any(|x| x.abs() >= EXACT_INTEGERS) {
            return;
        }
        let integer = |text: &[u8]| std::str::from_utf8(trimmed(text)).ok()?.parse::<i128>().ok();
        let mut pairs = texts.zip(numbers).filter_map(|(text, &x)| Some((integer(text)?, x)));
        if let Some((integer, x)) = pairs.find(|&(integer, x)| integer != x as i128) {
            *self = Self::Found(required.rounded(path, integer, x).at(Location::Line(line)));
        }
    }

    pub fn take(&mut self) -> Option<DataError> {
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
pub(super) fn numbers<'b>(required: &RequiredColumn, batch: &'b Batch) -> &'b [f32] {
    match required.target {
        BatchColumn::Feature(f) => &batch.dense[f],
        BatchColumn::Label(_) | BatchColumn::Key(_) => &[],
    }
}

/// The beginning of a value, for messages.
pub(super) fn shown(text: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(text).chars().take(40).collect::<String>())
}

pub(super) fn trimmed(field: &[u8]) -> &[u8] {
    field.trim_ascii()
}

pub(super) fn scalar(
    required: &RequiredColumn,
    path: &Path,
    field: &[u8],
    separator: u8,
    out: &mut Batch,
) -> Result<(), DataError> {
    if let ColumnType::Numbers { width } = required.values
        && width > 1
    {
        if field.is_empty() && required.rule.as_ref().is_some_and(|rule| rule.replaces_nulls()) {
            (0..width).try_for_each(|_| value(required, path, b"", out))?;
            mark_vector(required, width, out);
            return Ok(());
        }
        let found = if field.is_empty() { 0 } else { field.split(|&b| b == separator).count() };
        if found != width {
            return Err(required.wrong_width(path, width, found));
        }
        field.split(|&b| b == separator).try_for_each(|item| value(required, path, trimmed(item), out))?;
        mark_vector(required, width, out);
        return Ok(());
    }
    value(required, path, field, out)
}

/// Makes the mark of a vector from those of its components, where the column is one of marks.
pub(super) fn mark_vector(required: &RequiredColumn, width: usize, out: &mut Batch) {
    if let (Some(rule), BatchColumn::Feature(f)) = (&required.rule, required.target) {
        rule.mark_vector(width, &mut out.dense[f]);
    }
}

/// What a rule sees of a value. An empty one is a null.
fn raw_value<'a>(required: &RequiredColumn, path: &Path, text: &'a [u8]) -> Result<RawValue<'a>, DataError> {
    if text.is_empty() {
        return Ok(RawValue::Null);
    }
    let found = |expected: &str| required.bad_value(path, expected, shown(text));
    let text = std::str::from_utf8(text)
        .map_err(|_| required.fault(FaultKind::BadValue, path, "text in UTF-8", shown(text)).help(ENCODING_HELP))?;
    match required.values {
        ColumnType::IntegerIds => {
            let id = text.parse::<i64>().map(i128::from).or_else(|_| text.parse::<u64>().map(i128::from));
            Ok(RawValue::Integer(id.map_err(|_| {
                found("an integer").help("declare the feature `category of string`, or correct the value")
            })?))
        }
        ColumnType::FixedIds { .. } => Ok(RawValue::Integer(text.parse().map_err(|_| found("an integer"))?)),
        ColumnType::StringIds => Ok(RawValue::Text(text)),
        ColumnType::Numbers { .. } => Ok(RawValue::Number(text.parse().map_err(|_| found("a number"))?)),
        ColumnType::Label { .. }
        | ColumnType::ClassTexts
        | ColumnType::IntegerKeys
        | ColumnType::StringKeys
        | ColumnType::Texts
        | ColumnType::Lists => {
            unreachable!("features of other types have no rules")
        }
    }
}

/// Appends one value. An empty one is a null.
pub(super) fn value(required: &RequiredColumn, path: &Path, text: &[u8], out: &mut Batch) -> Result<(), DataError> {
    if let (Some(rule), BatchColumn::Feature(f)) = (&required.rule, required.target) {
        let raw = raw_value(required, path, text)?;
        return rule.append(raw, &mut out.ids[f], &mut out.dense[f]).map_err(|refused| required.refused(path, refused));
    }
    if let (ColumnType::Lists, BatchColumn::Feature(f), true) = (required.values, required.target, text.is_empty()) {
        out.dense[f].push(1.0);
        return Ok(());
    }
    let nulls = match required.values {
        ColumnType::Label { missing, .. } => missing.is_some(),
        ColumnType::ClassTexts => required.class_texts().may_be_missing(),
        ColumnType::Texts => true,
        ColumnType::IntegerIds
        | ColumnType::StringIds
        | ColumnType::FixedIds { .. }
        | ColumnType::Numbers { .. }
        | ColumnType::IntegerKeys
        | ColumnType::StringKeys
        | ColumnType::Lists => false,
    };
    if text.is_empty() && !nulls {
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
        (ColumnType::Label { kind, missing }, BatchColumn::Label(l)) => {
            let number = match text {
                b"" => f64::NAN,
                b"true" | b"True" | b"TRUE" => 1.0,
                b"false" | b"False" | b"FALSE" => 0.0,
                _ => string()?.parse::<f64>().map_err(|_| required.text_label(path, kind, shown(text)))?,
            };
            let (label, known) = label_value(number, kind, missing, text.is_empty())
                .ok_or_else(|| required.bad_label(path, kind, number))?;
            out.labels[l].push(label);
            out.present[l].push(known);
        }
        (ColumnType::ClassTexts, BatchColumn::Label(l)) => {
            let (label, known) = match string()? {
                "" => (0.0, 0.0),
                class => required.class_texts().value(class).ok_or_else(|| required.not_a_class(path, class))?,
            };
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
        (ColumnType::StringKeys | ColumnType::Texts, BatchColumn::Key(k)) => {
            let key = string()?.to_string();
            match &mut out.keys[k] {
                KeyColumn::String(keys) => keys.push(key),
                KeyColumn::Int64(_) => unreachable!("the batch was made for the schema of the binding"),
            }
        }
        (ColumnType::Lists, BatchColumn::Feature(f)) => out.dense[f].push(0.0),
        (
            ColumnType::IntegerIds
            | ColumnType::StringIds
            | ColumnType::FixedIds { .. }
            | ColumnType::Numbers { .. }
            | ColumnType::Lists,
            BatchColumn::Label(_) | BatchColumn::Key(_),
        )
        | (ColumnType::Label { .. } | ColumnType::ClassTexts, BatchColumn::Feature(_) | BatchColumn::Key(_))
        | (
            ColumnType::IntegerKeys | ColumnType::StringKeys | ColumnType::Texts,
            BatchColumn::Feature(_) | BatchColumn::Label(_),
        ) => {
            unreachable!("the binding gives a column the type of what it fills")
        }
    }
    Ok(())
}
