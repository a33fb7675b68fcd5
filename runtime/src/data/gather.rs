//! Batches as containers: made for a schema, cleared, and filled with rows of other batches.
//!
//! Guarantees that after every operation all columns of a batch describe the same `rows` samples, and that a cleared batch
//! keeps its allocations.

use crate::batch::{Batch, KeyColumn};
use din_program::schema::{FeatureKind, KeyType, Schema};
use std::ops::Range;

impl Batch {
    /// No rows, one column for each feature, sequence, label and key.
    pub fn for_schema(schema: &Schema) -> Batch {
        Batch {
            rows: 0,
            requests: if schema.requests.is_some() { vec![0] } else { Vec::new() },
            offsets: vec![vec![0]; schema.sequences.len()],
            ids: vec![Vec::new(); schema.features.len()],
            dense: vec![Vec::new(); schema.features.len()],
            labels: vec![Vec::new(); schema.labels.len()],
            present: vec![Vec::new(); schema.labels.len()],
            keys: schema
                .keys
                .iter()
                .map(|k| match k.kind {
                    KeyType::Int64 => KeyColumn::Int64(Vec::new()),
                    KeyType::String => KeyColumn::String(Vec::new()),
                })
                .collect(),
        }
    }

    /// Removes all rows; keeps columns and allocations.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.requests.truncate(1);
        for offsets in &mut self.offsets {
            offsets.clear();
            offsets.push(0);
        }
        self.ids.iter_mut().for_each(Vec::clear);
        self.dense.iter_mut().for_each(Vec::clear);
        self.labels.iter_mut().for_each(Vec::clear);
        self.present.iter_mut().for_each(Vec::clear);
        for key in &mut self.keys {
            match key {
                KeyColumn::Int64(v) => v.clear(),
                KeyColumn::String(v) => v.clear(),
            }
        }
    }
}

/// Appends units of `from` in the order given: requests where the schema has them, else rows. Both batches were made for `schema`;
/// `scratch` is for the rows of the requests.
pub(crate) fn gather(schema: &Schema, from: &Batch, units: &[u32], scratch: &mut Vec<u32>, to: &mut Batch) {
    if schema.requests.is_none() {
        return gather_side(schema, from, false, units, to);
    }
    scratch.clear();
    for &unit in units {
        scratch.extend(from.requests[unit as usize]..from.requests[unit as usize + 1]);
        to.requests.push((to.rows + scratch.len()) as u32);
    }
    gather_side(schema, from, true, units, to);
    gather_side(schema, from, false, scratch, to);
}

/// The columns that requests have in common, or the samples' own.
fn gather_side(schema: &Schema, from: &Batch, common: bool, rows: &[u32], to: &mut Batch) {
    for (s, offsets) in to.offsets.iter_mut().enumerate().filter(|(s, _)| schema.sequences[*s].common == common) {
        let source = &from.offsets[s];
        let mut end = offsets.last().copied().unwrap_or(0);
        offsets.extend(rows.iter().map(|&r| {
            end += source[r as usize + 1] - source[r as usize];
            end
        }));
    }
    for (f, feature) in schema.features.iter().enumerate().filter(|(_, f)| f.common == common) {
        let offsets = feature.sequence.map(|s| from.offsets[s as usize].as_slice());
        match feature.kind {
            FeatureKind::Dense { width } => {
                gather_column(&from.dense[f], offsets, width as usize, rows, &mut to.dense[f]);
            }
            _ => gather_column(&from.ids[f], offsets, 1, rows, &mut to.ids[f]),
        }
    }
    if common {
        return;
    }
    for l in 0..schema.labels.len() {
        gather_column(&from.labels[l], None, 1, rows, &mut to.labels[l]);
        gather_column(&from.present[l], None, 1, rows, &mut to.present[l]);
    }
    for (source, target) in from.keys.iter().zip(&mut to.keys) {
        match (source, target) {
            (KeyColumn::Int64(s), KeyColumn::Int64(t)) if !s.is_empty() => gather_column(s, None, 1, rows, t),
            (KeyColumn::String(s), KeyColumn::String(t)) if !s.is_empty() => {
                t.extend(rows.iter().map(|&r| s[r as usize].clone()));
            }
            _ => {}
        }
    }
    to.rows += rows.len();
}

#[inline]
fn gather_column<T: Copy>(from: &[T], offsets: Option<&[u32]>, width: usize, rows: &[u32], to: &mut Vec<T>) {
    match offsets {
        None if width == 1 => to.extend(rows.iter().map(|&r| from[r as usize])),
        None => {
            for &r in rows {
                to.extend_from_slice(&from[r as usize * width..(r as usize + 1) * width]);
            }
        }
        Some(offsets) => {
            let total: usize = rows.iter().map(|&r| (offsets[r as usize + 1] - offsets[r as usize]) as usize).sum();
            to.reserve(total * width);
            for &r in rows {
                let (begin, end) = (offsets[r as usize] as usize, offsets[r as usize + 1] as usize);
                to.extend_from_slice(&from[begin * width..end * width]);
            }
        }
    }
}

/// Appends consecutive units of `from`: requests where the schema has them, else rows.
pub(crate) fn append(schema: &Schema, from: &Batch, units: Range<usize>, to: &mut Batch) {
    if schema.requests.is_none() {
        return append_side(schema, from, false, units, to);
    }
    let rows = from.requests[units.start] as usize..from.requests[units.end] as usize;
    let base = to.rows as u32;
    to.requests.extend(from.requests[units.start + 1..=units.end].iter().map(|&r| r - rows.start as u32 + base));
    append_side(schema, from, true, units, to);
    append_side(schema, from, false, rows, to);
}

/// The columns that requests have in common, or the samples' own.
pub(super) fn append_side(schema: &Schema, from: &Batch, common: bool, rows: Range<usize>, to: &mut Batch) {
    for (s, offsets) in to.offsets.iter_mut().enumerate().filter(|(s, _)| schema.sequences[*s].common == common) {
        let source = &from.offsets[s];
        let (base, first) = (offsets.last().copied().unwrap_or(0), source[rows.start]);
        offsets.extend(source[rows.start + 1..=rows.end].iter().map(|&o| o - first + base));
    }
    for (f, feature) in schema.features.iter().enumerate().filter(|(_, f)| f.common == common) {
        let (begin, end) = match feature.sequence {
            Some(s) => {
                let offsets = &from.offsets[s as usize];
                (offsets[rows.start] as usize, offsets[rows.end] as usize)
            }
            None => (rows.start, rows.end),
        };
        match feature.kind {
            FeatureKind::Dense { width } => {
                let width = width as usize;
                to.dense[f].extend_from_slice(&from.dense[f][begin * width..end * width]);
            }
            _ => to.ids[f].extend_from_slice(&from.ids[f][begin..end]),
        }
    }
    if common {
        return;
    }
    for l in 0..schema.labels.len() {
        to.labels[l].extend_from_slice(&from.labels[l][rows.clone()]);
        to.present[l].extend_from_slice(&from.present[l][rows.clone()]);
    }
    for (source, target) in from.keys.iter().zip(&mut to.keys) {
        match (source, target) {
            (KeyColumn::Int64(s), KeyColumn::Int64(t)) if !s.is_empty() => t.extend_from_slice(&s[rows.clone()]),
            (KeyColumn::String(s), KeyColumn::String(t)) if !s.is_empty() => t.extend_from_slice(&s[rows.clone()]),
            _ => {}
        }
    }
    to.rows += rows.len();
}
