//! Samples as messages: the columns of a batch one after the other, in the order of the schema.
//!
//! A message begins with the number of samples and, where the schema has requests, of requests, and
//! their samples. Lists are sent as lengths. An id takes two words, one where the table has at most
//! 2^32 of them; a float one, and so a label; a binary label and the presence of any label take a
//! bit. Columns that are passed through are arrays.

use crate::batch::{Batch, KeyColumn};
use crate::comm::{floats_as_words, ids, words_as_floats};
use crate::data::arrays::{Message, push_arrays, push_bytes};
use crate::data::bind::Binding;
use arrow_schema::DataType;
use din_program::schema::{Feature, FeatureKind, LabelKind, Schema};

/// Whether every id of a feature is one word.
fn is_narrow(feature: &Feature) -> bool {
    matches!(feature.kind, FeatureKind::Fixed { size, .. } if size <= 1 << 32)
}

/// The features that have columns.
fn own_columns(schema: &Schema) -> impl Iterator<Item = (usize, &Feature)> {
    schema.features.iter().enumerate().filter(|(_, feature)| feature.is_decoded())
}

/// Appends all samples of a batch.
pub(super) fn encode(binding: &Binding, batch: &Batch, words: &mut Vec<u32>) {
    let schema = &binding.schema;
    words.push(batch.rows as u32);
    if schema.requests.is_some() {
        words.push(batch.units() as u32);
        words.extend(lengths(&batch.requests));
    }
    batch.offsets.iter().for_each(|offsets| words.extend(lengths(offsets)));
    for (f, feature) in own_columns(schema) {
        match feature.kind {
            FeatureKind::Dense { .. } => words.extend_from_slice(floats_as_words(&batch.dense[f])),
            FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. } if is_narrow(feature) => {
                words.extend(batch.ids[f].iter().map(|&id| id as u32));
            }
            FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. } => push_ids(&batch.ids[f], words),
        }
    }
    for (label, values) in schema.labels.iter().zip(&batch.labels) {
        match label.kind {
            LabelKind::Binary => push_flags(values, words),
            LabelKind::Number | LabelKind::Count | LabelKind::Weight | LabelKind::Class { .. } => {
                words.extend_from_slice(floats_as_words(values))
            }
        }
    }
    batch.present.iter().for_each(|flags| push_flags(flags, words));
    for keys in &batch.keys {
        match keys {
            KeyColumn::Int64(keys) => {
                words.push(keys.len() as u32);
                keys.iter().for_each(|&key| words.extend([key as u32, (key >> 32) as u32]));
            }
            KeyColumn::String(keys) => {
                words.push(keys.len() as u32);
                keys.iter().for_each(|key| push_bytes(key.as_bytes(), words));
            }
        }
    }
    // A batch without rows may lack the columns.
    (0..binding.passthrough.len())
        .for_each(|c| push_arrays(batch.passthrough.get(c).map_or(&[], Vec::as_slice), words));
}

/// Appends what [`encode`] wrote to an empty batch that was made for the schema.
pub(super) fn decode(binding: &Binding, words: &[u32], batch: &mut Batch) {
    let schema = &binding.schema;
    let mut message = Message { words };
    batch.rows = message.number();
    let requests = schema.requests.as_ref().map(|_| message.number());
    if let Some(requests) = requests {
        push_offsets(message.take(requests), &mut batch.requests);
    }
    let units = |common: bool| if common { requests.unwrap_or(batch.rows) } else { batch.rows };
    for (sequence, offsets) in schema.sequences.iter().zip(&mut batch.offsets) {
        push_offsets(message.take(units(sequence.common)), offsets);
    }
    for (f, feature) in own_columns(schema) {
        let elements = match feature.sequence {
            Some(s) => *batch.offsets[s as usize].last().expect("offsets begin with 0") as usize,
            None => units(feature.common),
        };
        match feature.kind {
            FeatureKind::Dense { width } => {
                batch.dense[f].extend_from_slice(words_as_floats(message.take(elements * width as usize)));
            }
            FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. } if is_narrow(feature) => {
                batch.ids[f].extend(message.take(elements).iter().map(|&id| u64::from(id)));
            }
            FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. } => {
                batch.ids[f].extend(ids(message.take(2 * elements)));
            }
        }
    }
    let flags = |message: &mut Message, flags: &mut Vec<f32>| {
        let bits = message.take(batch.rows.div_ceil(32));
        flags.extend((0..batch.rows).map(|row| (bits[row / 32] >> (row % 32) & 1) as f32));
    };
    for (label, values) in schema.labels.iter().zip(&mut batch.labels) {
        match label.kind {
            LabelKind::Binary => flags(&mut message, values),
            LabelKind::Number | LabelKind::Count | LabelKind::Weight | LabelKind::Class { .. } => {
                values.extend_from_slice(words_as_floats(message.take(batch.rows)));
            }
        }
    }
    batch.present.iter_mut().for_each(|present| flags(&mut message, present));
    for keys in &mut batch.keys {
        let count = message.number();
        match keys {
            KeyColumn::Int64(keys) => keys.extend(ids(message.take(2 * count)).map(|key| key as i64)),
            KeyColumn::String(keys) => keys.extend((0..count).map(|_| text(&mut message))),
        }
    }
    batch.passthrough.resize(binding.passthrough.len(), Vec::new());
    for (column, arrays) in binding.passthrough.iter().zip(&mut batch.passthrough) {
        // No file has a column without a type.
        arrays.extend(message.arrays(column.kind.as_ref().unwrap_or(&DataType::Null)));
    }
    assert!(message.words.is_empty(), "all ranks have one schema");
}

/// From offsets to lengths.
fn lengths(offsets: &[u32]) -> impl Iterator<Item = u32> {
    offsets.windows(2).map(|pair| pair[1] - pair[0])
}

/// From lengths to offsets, which begin with 0.
fn push_offsets(lengths: &[u32], offsets: &mut Vec<u32>) {
    let mut end = *offsets.last().expect("offsets begin with 0");
    offsets.extend(lengths.iter().map(|length| {
        end += length;
        end
    }));
}

fn push_ids(ids: &[u64], words: &mut Vec<u32>) {
    let begin = words.len();
    words.resize(begin + 2 * ids.len(), 0);
    for (pair, &id) in words[begin..].as_chunks_mut::<2>().0.iter_mut().zip(ids) {
        *pair = [id as u32, (id >> 32) as u32];
    }
}

/// Flags that are 0 or 1, as bits.
fn push_flags(flags: &[f32], words: &mut Vec<u32>) {
    let word = |flags: &[f32]| flags.iter().rev().fold(0, |word, &flag| word << 1 | u32::from(flag != 0.0));
    words.extend(flags.chunks(32).map(word));
}

fn text(message: &mut Message) -> String {
    String::from_utf8(message.bytes()).expect("a text was sent")
}
