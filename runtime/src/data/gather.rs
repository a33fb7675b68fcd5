//! Batches as containers: made for a schema, cleared, and filled with rows of other batches.
//!
//! Guarantees that after every operation all columns of a batch describe the same `rows` samples,
//! and that a cleared batch keeps its allocations. Columns are filled side by side, on the threads
//! of the pool in which this is called.

use super::passthrough::append_rows;
use crate::batch::{Batch, KeyColumn};
use crate::leaves::LeafRange;
use crate::prefetch::prefetch;
use din_program::schema::{Feature, FeatureKind, KeyType, Schema};
use rayon::prelude::*;
use std::ops::Range;

/// Consecutive units of one of several batches: requests where the schema has them, else rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartRange {
    pub part: usize,
    pub units: Range<usize>,
}

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
            leaves: LeafRange::default(),
            global_rows: 0,
            first_row: 0,
            passthrough: Vec::new(),
        }
    }

    /// Requests where the schema has them, else samples.
    pub(crate) fn units(&self) -> usize {
        self.requests.len().checked_sub(1).unwrap_or(self.rows)
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
        self.passthrough.iter_mut().for_each(Vec::clear);
        self.leaves.bounds.clear();
        (self.leaves.first, self.leaves.total) = (0, 0);
        (self.global_rows, self.first_row) = (0, 0);
        for key in &mut self.keys {
            match key {
                KeyColumn::Int64(v) => v.clear(),
                KeyColumn::String(v) => v.clear(),
            }
        }
    }
}

/// Appends these units of `parts`, in this order. All batches were made for `schema`.
pub(super) fn gather(schema: &Schema, parts: &[Batch], units: &[PartRange], to: &mut Batch) {
    if schema.requests.is_none() {
        return gather_side(schema, parts, false, units, to);
    }
    let mut rows = Vec::with_capacity(units.len());
    let mut end = to.rows as u32;
    for PartRange { part, units } in units {
        let starts = &parts[*part].requests;
        to.requests.extend(starts[units.start + 1..=units.end].iter().map(|&next| end + next - starts[units.start]));
        end += starts[units.end] - starts[units.start];
        rows.push(PartRange { part: *part, units: starts[units.start] as usize..starts[units.end] as usize });
    }
    gather_side(schema, parts, true, units, to);
    gather_side(schema, parts, false, &rows, to);
}

/// Appends the columns that requests have in common, or the samples' own.
pub(super) fn gather_side(schema: &Schema, parts: &[Batch], common: bool, rows: &[PartRange], to: &mut Batch) {
    for (s, offsets) in to.offsets.iter_mut().enumerate().filter(|(s, _)| schema.sequences[*s].common == common) {
        let mut end = *offsets.last().expect("offsets begin with 0");
        let source = |PartRange { part, units }: &PartRange| &parts[*part].offsets[s][units.start..=units.end];
        for (i, range) in rows.iter().enumerate() {
            if let Some(later) = rows.get(i + SHORT_AHEAD) {
                prefetch(source(later).as_ptr(), size_of_val(source(later)));
            }
            let source = source(range);
            let first = source[0];
            offsets.extend(source[1..].iter().map(|&o| end + o - first));
            end += source[source.len() - 1] - first;
        }
    }
    let features = schema.features.par_iter().zip(&mut to.ids).zip(&mut to.dense).enumerate();
    // What is made of others, or absent, is made of the whole batch.
    let wanted = |feature: &Feature| feature.common == common && feature.is_decoded();
    features.filter(|(_, ((feature, _), _))| wanted(feature)).for_each(|(f, ((feature, ids), dense))| {
        // Of the sequence's entries, or of rows.
        let offsets = |part: usize| feature.sequence.map(|s| &parts[part].offsets[s as usize][..]);
        match feature.kind {
            FeatureKind::Dense { width } => copy(rows, |p| &parts[p].dense[f], offsets, width as usize, dense),
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => {
                copy(rows, |p| &parts[p].ids[f], offsets, 1, ids)
            }
        }
    });
    if common {
        return;
    }
    for l in 0..schema.labels.len() {
        copy(rows, |p| &parts[p].labels[l], |_| None, 1, &mut to.labels[l]);
        copy(rows, |p| &parts[p].present[l], |_| None, 1, &mut to.present[l]);
    }
    for (k, target) in to.keys.iter_mut().enumerate() {
        for PartRange { part, units } in rows {
            match (&parts[*part].keys[k], &mut *target) {
                (KeyColumn::Int64(s), KeyColumn::Int64(t)) => extend_if_read(s, units, t),
                (KeyColumn::String(s), KeyColumn::String(t)) => extend_if_read(s, units, t),
                (KeyColumn::Int64(_), KeyColumn::String(_)) | (KeyColumn::String(_), KeyColumn::Int64(_)) => {
                    unreachable!("parts and target were made for one schema")
                }
            }
        }
    }
    // Parts without rows may lack the columns.
    let filled = || rows.iter().filter(|range| !range.units.is_empty());
    let passthrough = filled().next().map_or(0, |range| parts[range.part].passthrough.len());
    to.passthrough.resize(passthrough.max(to.passthrough.len()), Vec::new());
    for (c, target) in to.passthrough.iter_mut().enumerate() {
        for PartRange { part, units } in filled() {
            append_rows(&parts[*part].passthrough[c], units.clone(), target);
        }
    }
    to.rows += rows.iter().map(|run| run.units.len()).sum::<usize>();
}

/// Appends rows of a key column, which is empty where the mode does not read it.
fn extend_if_read<T: Clone>(from: &[T], rows: &Range<usize>, to: &mut Vec<T>) {
    if !from.is_empty() {
        to.extend_from_slice(&from[rows.clone()]);
    }
}

/// Appends a column of `width` values per row, or per entry where there are offsets.
fn copy<'a, T: Copy + 'a>(
    rows: &[PartRange],
    column: impl Fn(usize) -> &'a Vec<T>,
    offsets: impl Fn(usize) -> Option<&'a [u32]>,
    width: usize,
    to: &mut Vec<T>,
) {
    let values = |PartRange { part, units }: &PartRange| {
        let (begin, end) = match offsets(*part) {
            Some(offsets) => (offsets[units.start] as usize, offsets[units.end] as usize),
            None => (units.start, units.end),
        };
        &column(*part)[begin * width..end * width]
    };
    let runs: Vec<&[T]> = rows.iter().map(values).collect();
    let values: usize = runs.iter().map(|run| run.len()).sum();
    to.reserve(values);
    // Lists lie all over the window: the time is that of waiting for memory.
    let ahead = if values > 4 * runs.len() { LONG_AHEAD } else { SHORT_AHEAD };
    for (i, run) in runs.iter().enumerate() {
        if let Some(later) = runs.get(i + ahead) {
            prefetch(later.as_ptr(), size_of_val(*later).min(1024));
        }
        match run {
            // Without the call that copies any number of values.
            [value] => to.push(*value),
            run => to.extend_from_slice(run),
        }
    }
}

/// How many ranges ahead memory is prefetched: of lists, and of shorter ranges, which are copied
/// faster.
const LONG_AHEAD: usize = 8;
const SHORT_AHEAD: usize = 32;
