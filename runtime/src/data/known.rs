//! Rows as they were decoded: lists that no column has, and times that must come before a moment.

use super::Inner;
use super::bind::{BatchColumn, Binding, RequiredColumn};
use super::block::RowBlock;
use super::error::{DataError, FaultKind, Location};
use crate::batch::Batch;
use din_program::schema::{KnownBefore, Schema};
use std::ops::Range;
use std::path::Path;

/// Ends the lists, of these rows of a batch, of sequences that have no column here: they are empty.
pub(super) fn end_absent_lists(schema: &Schema, rows: usize, batch: &mut Batch) {
    for (s, offsets) in batch.offsets.iter_mut().enumerate() {
        let decoded = |f: &din_program::schema::Feature| f.sequence == Some(s as u32) && f.is_decoded();
        if !schema.features.iter().any(decoded) {
            let end = *offsets.last().expect("offsets begin with 0");
            offsets.resize(offsets.len() + rows, end);
        }
    }
}

/// Checks the times of these rows of a batch, in which every row has its own values. `place` is
/// where in the file the n-th of them is.
///
/// # Errors
/// A time that does not come before its row's moment: the first one, with how many rows have one.
pub(super) fn check_times(
    binding: &Binding,
    batch: &Batch,
    rows: Range<usize>,
    file: &Path,
    place: impl Fn(u64) -> Result<Location, DataError>,
) -> Result<(), DataError> {
    for known in &binding.schema.known {
        let late = |row: usize| {
            let moment = batch.ids[known.moment as usize][row] as i64;
            let times = &batch.ids[known.times as usize];
            let times = match binding.schema.features[known.times as usize].sequence {
                Some(s) => {
                    let offsets = &batch.offsets[s as usize];
                    &times[offsets[row] as usize..offsets[row + 1] as usize]
                }
                None => &times[row..row + 1],
            };
            times.iter().position(|&time| time as i64 >= moment).map(|at| (at, times[at] as i64, moment))
        };
        let mut found = rows.clone().filter_map(|row| late(row).map(|late| (row, late)));
        if let Some((row, late)) = found.next() {
            let error = too_late(binding, known, late, (1 + found.count(), rows.len()), file);
            return Err(error.at(place((row - rows.start) as u64)?));
        }
    }
    Ok(())
}

fn too_late(
    binding: &Binding,
    known: &KnownBefore,
    (entry, time, moment): (usize, i64, i64),
    (late, of): (usize, usize),
    file: &Path,
) -> DataError {
    let column = |feature: u32| -> &RequiredColumn {
        let required = binding.required.iter().find(|r| r.target == BatchColumn::Feature(feature as usize));
        required.expect("the times of groups are read where they are checked")
    };
    let entry = match binding.schema.features[known.times as usize].sequence {
        Some(_) => format!(" in entry {entry}"),
        None => String::new(),
    };
    let (times, moments) = (column(known.times), &column(known.moment).column);
    let expected = format!("a time before {moment}, the \"{moments}\" of the row");
    DataError::new(FaultKind::KnownTooLate, file, expected, format!("{time}{entry}"))
        .column(times.column.clone())
        .required_by(format!("`{}`", known.group), known.location.clone())
        .help(format!(
            "{late} of {of} rows that were read together have such a time: what happened later must not be an input; \
             cut the lists at the moment of the row"
        ))
}

/// Finishes the last `rows` rows of a batch, decoded from behind row `before` of a block.
pub(super) fn finish_rows(
    data: &Inner,
    block: RowBlock,
    before: u64,
    rows: usize,
    batch: &mut Batch,
) -> Result<(), DataError> {
    end_absent_lists(&data.binding.schema, rows, batch);
    let file = &data.files[block.file];
    let range = batch.rows - rows..batch.rows;
    check_times(&data.binding, batch, range, &file.path, |row| file.locate(block, before + row))
}
