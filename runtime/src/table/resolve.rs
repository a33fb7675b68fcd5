//! Row numbers of a whole batch: by table, by its features.
//!
//! Nearly all ids of a batch have been seen before, and finding their rows changes nothing: that is
//! done first, in parts that any thread takes. What is left is done a table after the other, in the
//! order of the batch, so rows do not depend on threads.

use super::{Table, TableError};
use crate::batch::Batch;
use crate::threads::Threads;
use din_program::schema;
use std::sync::Mutex;

/// Row numbers by table, by its features.
pub type Resolved = Vec<Vec<Vec<u32>>>;

/// Most ids of a part.
const PART: usize = 8192;

/// Ids of one feature in one table, with room for their rows.
struct Part<'a> {
    table: &'a Table,
    ids: &'a [u64],
    rows: &'a mut [u32],
    found: bool,
}

/// [`Table::resolve_train`] for a batch. `resolved` has a place for every feature of every table.
pub fn resolve_train(
    threads: &Threads,
    tables: &mut [Table],
    specs: &[schema::Table],
    batch: &Batch,
    resolved: &mut Resolved,
) -> Result<(), TableError> {
    let mut found = find(threads, tables, specs, batch, resolved).into_iter();
    for ((table, spec), resolved) in tables.iter_mut().zip(specs).zip(resolved) {
        for (ids, rows) in parts(spec, batch, resolved) {
            if found.next() != Some(true) {
                table.settle_train(ids, rows)?;
            }
        }
    }
    Ok(())
}

/// [`Table::resolve_read`] for a batch.
pub fn resolve_read(
    threads: &Threads,
    tables: &[Table],
    specs: &[schema::Table],
    batch: &Batch,
    resolved: &mut Resolved,
) -> Result<(), TableError> {
    let mut found = find(threads, tables, specs, batch, resolved).into_iter();
    for ((table, spec), resolved) in tables.iter().zip(specs).zip(resolved) {
        for (ids, rows) in parts(spec, batch, resolved) {
            if found.next() != Some(true) {
                table.settle_read(ids, rows)?;
            }
        }
    }
    Ok(())
}

/// The ids of a table's features in a batch, part by part, with room for their rows.
fn parts<'a>(
    spec: &'a schema::Table,
    batch: &'a Batch,
    resolved: &'a mut [Vec<u32>],
) -> impl Iterator<Item = (&'a [u64], &'a mut [u32])> {
    spec.features.iter().zip(resolved).flat_map(|(&feature, rows)| {
        let ids = batch.ids.get(feature as usize).map_or(&[][..], Vec::as_slice);
        rows.resize(ids.len(), 0);
        ids.chunks(PART).zip(rows.chunks_mut(PART))
    })
}

/// [`Table::find`] for a batch, by part.
fn find(
    threads: &Threads,
    tables: &[Table],
    specs: &[schema::Table],
    batch: &Batch,
    resolved: &mut Resolved,
) -> Vec<bool> {
    let mut all = Vec::new();
    for ((table, spec), resolved) in tables.iter().zip(specs).zip(resolved) {
        let parts = parts(spec, batch, resolved);
        all.extend(parts.map(|(ids, rows)| Mutex::new(Part { table, ids, rows, found: false })));
    }
    threads.parallel_for(all.len(), &|k| {
        if let Ok(mut part) = all[k].lock() {
            let Part { table, ids, rows, .. } = &mut *part;
            part.found = table.find(ids, rows);
        }
    });
    all.into_iter().map(|part| part.into_inner().is_ok_and(|p| p.found)).collect()
}
