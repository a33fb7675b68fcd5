//! Columns that have a rule: value by value, nulls among them.

use super::{Bad, Spans, list, plain};
use crate::batch::Batch;
use crate::data::bind::{BatchColumn, ClassTexts, ColumnType, RequiredColumn};
use crate::data::rule::{BoundRule, RawValue};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

/// Appends what the rule makes of the values of the spans.
pub(super) fn ruled(
    required: &RequiredColumn,
    rule: &BoundRule,
    array: &ArrayRef,
    spans: Spans,
    out: &mut Batch,
) -> Result<(), Bad> {
    let BatchColumn::Feature(f) = required.target else { unreachable!("only features have rules") };
    let (ids, numbers) = (&mut out.ids[f], &mut out.dense[f]);
    if let ColumnType::Numbers { width } = required.values
        && width > 1
    {
        return vectors(rule, array, spans, width, ids, numbers);
    }
    each_value(array, spans, |i, value| rule.append(value, ids, numbers).map_err(|refused| Bad::Refused(i, refused)))
}

/// Appends the classes whose texts the spans hold, and which of them are known.
pub(super) fn classes(
    array: &ArrayRef,
    spans: Spans,
    classes: &ClassTexts,
    labels: &mut Vec<f32>,
    present: &mut Vec<f32>,
) -> Result<(), Bad> {
    each_value(array, spans, |i, value| {
        let (label, known) = match value {
            RawValue::Text(text) => classes.value(text).ok_or_else(|| Bad::Class(i, text.to_string()))?,
            RawValue::Null if classes.may_be_missing() => (0.0, 0.0),
            RawValue::Null => return Err(Bad::Null(i)),
            RawValue::Integer(_) | RawValue::Number(_) => {
                unreachable!("the type of a column is checked before its values are read")
            }
        };
        labels.push(label);
        present.push(known);
        Ok(())
    })
}

/// Appends the texts of the spans, empty ones for nulls.
pub(super) fn texts(array: &ArrayRef, spans: Spans, texts: &mut Vec<String>) -> Result<(), Bad> {
    each_value(array, spans, |_, value| {
        texts.push(match value {
            RawValue::Text(text) => text.to_string(),
            RawValue::Null => String::new(),
            RawValue::Integer(_) | RawValue::Number(_) => {
                unreachable!("the type of a column is checked before its values are read")
            }
        });
        Ok(())
    })
}

fn vectors(
    rule: &BoundRule,
    array: &ArrayRef,
    spans: Spans,
    width: usize,
    ids: &mut Vec<u64>,
    numbers: &mut Vec<f32>,
) -> Result<(), Bad> {
    let absent = |i: usize, ids: &mut Vec<u64>, numbers: &mut Vec<f32>| {
        (0..width)
            .try_for_each(|_| rule.append(RawValue::Null, ids, numbers).map_err(|refused| Bad::Refused(i, refused)))
    };
    let elements = spans.iter().flat_map(|&(begin, end)| begin..end);
    if *array.data_type() == DataType::Null {
        return elements.into_iter().try_for_each(|i| {
            absent(i, ids, numbers)?;
            rule.mark_vector(width, numbers);
            Ok(())
        });
    }
    let (offsets, values) = list(array).ok_or(Bad::Type)?;
    let values = plain(&values);
    for i in elements {
        if array.is_null(i) {
            absent(i, ids, numbers)?;
            rule.mark_vector(width, numbers);
            continue;
        }
        let span = (offsets[i], offsets[i + 1]);
        if span.1 - span.0 != width {
            return Err(Bad::Width(i, width, span.1 - span.0));
        }
        each_value(&values, &[span], |_, value| {
            rule.append(value, ids, numbers).map_err(|refused| Bad::Refused(i, refused))
        })?;
        rule.mark_vector(width, numbers);
    }
    Ok(())
}

/// Calls `give` with the values of the spans and their indices, in order.
fn each_value(
    array: &ArrayRef,
    spans: Spans,
    mut give: impl FnMut(usize, RawValue) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let mut elements = spans.iter().flat_map(|&(begin, end)| begin..end);
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let is_null = |i: usize| nulls.is_some_and(|nulls| nulls.is_null(i));
    if *array.data_type() == DataType::Null {
        return elements.try_for_each(|i| give(i, RawValue::Null));
    }
    if let Some(flags) = array.as_boolean_opt() {
        return elements.try_for_each(|i| match is_null(i) {
            true => give(i, RawValue::Null),
            false => give(i, RawValue::Integer(i128::from(flags.value(i)))),
        });
    }
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = dictionary.values().as_binary_opt::<i32>().ok_or(Bad::Type)?;
        // Without a value all keys are null.
        let keys = if values.is_empty() { vec![0; array.len()] } else { dictionary.normalized_keys() };
        return elements.try_for_each(|i| {
            if is_null(i) {
                return give(i, RawValue::Null);
            }
            let key = Some(keys[i]).filter(|&key| key < values.len()).ok_or(Bad::Type)?;
            if values.is_null(key) {
                return give(i, RawValue::Null);
            }
            let bytes = values.value(key);
            let text = std::str::from_utf8(bytes).map_err(|_| Bad::Text(i, bytes.to_vec()))?;
            give(i, RawValue::Text(text))
        });
    }
    if let Some(texts) = array.as_binary_opt::<i32>() {
        return elements.try_for_each(|i| {
            if is_null(i) {
                return give(i, RawValue::Null);
            }
            let bytes = texts.value(i);
            let text = std::str::from_utf8(bytes).map_err(|_| Bad::Text(i, bytes.to_vec()))?;
            give(i, RawValue::Text(text))
        });
    }
    typed!(array, [Float32Type, Float64Type], values => {
        elements.try_for_each(|i| match is_null(i) {
            true => give(i, RawValue::Null),
            false => give(i, RawValue::Number(values[i] as f64)),
        })
    }, else integers!(array, values => {
        elements.try_for_each(|i| match is_null(i) {
            true => give(i, RawValue::Null),
            false => give(i, RawValue::Integer(values[i] as i128)),
        })
    }, else Err(Bad::Type)))
}
