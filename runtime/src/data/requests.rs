//! From flat rows to requests: neighbouring rows of one unit with one key become the samples of a
//! request, and what they have in common is kept once. Rows that contradict each other are a
//! located error.

use super::bind::{BatchColumn, Binding};
use super::error::{DataError, FaultKind, Location};
use super::gather::{PartRange, gather_side};
use crate::batch::{Batch, KeyColumn};
use din_program::schema::{FeatureKind, Schema};
use std::path::Path;

/// Rows as the files have them, and how many of them were taken.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub rows: Batch,
    pub taken: usize,
    /// Number in the file of the first of them.
    pub first_row: u64,
    /// The next row begins a request whatever its key: a unit begins.
    pub fresh: bool,
}

impl Flat {
    pub fn new(schema: &Schema) -> Flat {
        let flat = Schema { requests: None, ..schema.clone() };
        Flat { rows: Batch::for_schema(&flat), ..Flat::default() }
    }

    /// Moves whole requests to `into` until it has `goal` rows; the last one may go on in rows that
    /// are not read yet. Returns whether the goal is reached, that is, whether another request
    /// begins.
    pub fn drain(
        &mut self,
        binding: &Binding,
        key: usize,
        file: &Path,
        goal: usize,
        into: &mut Batch,
    ) -> Result<bool, DataError> {
        let schema = &binding.schema;
        while self.taken < self.rows.rows {
            let begin = self.taken;
            let goes_on =
                !self.fresh && into.rows > 0 && same(&self.rows.keys[key], begin, &into.keys[key], into.rows - 1);
            if !goes_on && into.rows >= goal {
                return Ok(true);
            }
            let mut end = begin + 1;
            while end < self.rows.rows && same(&self.rows.keys[key], begin, &self.rows.keys[key], end) {
                end += 1;
            }
            if !goes_on {
                self.append(schema, true, begin..begin + 1, into);
                into.requests.push(into.rows as u32);
            }
            for row in begin + usize::from(!goes_on)..end {
                self.agrees(binding, file, row, into)?;
            }
            self.append(schema, false, begin..end, into);
            *into.requests.last_mut().expect("a batch of requests has their offsets") = into.rows as u32;
            self.fresh = false;
            self.taken = end;
        }
        Ok(false)
    }

    fn append(&self, schema: &Schema, common: bool, rows: std::ops::Range<usize>, into: &mut Batch) {
        gather_side(schema, std::slice::from_ref(&self.rows), common, &[PartRange { part: 0, units: rows }], into);
    }

    /// The row's common values are those of the last request of `with`.
    fn agrees(&self, binding: &Binding, file: &Path, row: usize, with: &Batch) -> Result<(), DataError> {
        let schema = &binding.schema;
        let request = with.requests.len() - 2;
        for (f, feature) in schema.features.iter().enumerate().filter(|(_, f)| f.common && f.is_decoded()) {
            let range = |batch: &Batch, unit: usize| match feature.sequence {
                Some(s) => {
                    let offsets = &batch.offsets[s as usize];
                    offsets[unit] as usize..offsets[unit + 1] as usize
                }
                None => unit..unit + 1,
            };
            let (here, there) = (range(&self.rows, row), range(with, request));
            let equal = match feature.kind {
                FeatureKind::Dense { width } => {
                    let numbers = |b: &Batch, r: std::ops::Range<usize>| {
                        let w = width as usize;
                        b.dense[f][r.start * w..r.end * w].iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                    };
                    numbers(&self.rows, here) == numbers(with, there)
                }
                FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => self.rows.ids[f][here] == with.ids[f][there],
            };
            if !equal {
                let required = binding.required.iter().find(|w| w.target == BatchColumn::Feature(f));
                let key = schema.requests.as_ref().map_or("", |r| schema.keys[r.key as usize].name.as_str());
                let (expected, found) = ("the value of the other rows of its request", "another");
                let error = match required {
                    Some(w) => w.fault(FaultKind::NotCommon, file, expected, found),
                    None => DataError::new(FaultKind::NotCommon, file, expected, found),
                };
                return Err(error.at(Location::Row(self.first_row + row as u64)).help(format!(
                    "rows side by side with one `{key}` are one request; give this one another, or take `{}` out of `common`",
                    feature.group
                )));
            }
        }
        Ok(())
    }
}

/// Whether two rows have one key.
pub(super) fn same(a: &KeyColumn, i: usize, b: &KeyColumn, j: usize) -> bool {
    match (a, b) {
        (KeyColumn::Int64(a), KeyColumn::Int64(b)) => a[i] == b[j],
        (KeyColumn::String(a), KeyColumn::String(b)) => a[i] == b[j],
        (KeyColumn::Int64(_), KeyColumn::String(_)) | (KeyColumn::String(_), KeyColumn::Int64(_)) => {
            unreachable!("both batches were made for one schema")
        }
    }
}
