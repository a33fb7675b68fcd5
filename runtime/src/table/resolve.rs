//! Row numbers of a whole batch: by table, by its features.

use super::{Table, TableError};
use crate::batch::Batch;
use din_program::schema;
use rayon::prelude::*;

/// Row numbers by table, by its features.
pub type Resolved = Vec<Vec<Vec<u32>>>;

fn ids(batch: &Batch, feature: u32) -> &[u64] {
    batch.ids.get(feature as usize).map_or(&[], Vec::as_slice)
}

/// [`Table::resolve_train`] for a batch. `resolved` has a place for every feature of every table.
pub fn resolve_train(
    tables: &mut [Table],
    specs: &[schema::Table],
    batch: &Batch,
    resolved: &mut Resolved,
) -> Result<(), TableError> {
    // Tables are independent of one another: each resolves its ids on its own.
    tables.par_iter_mut().zip(resolved).zip(specs).try_for_each(|((table, resolved), spec)| {
        for (&feature, rows) in spec.features.iter().zip(resolved.iter_mut()) {
            table.resolve_train(ids(batch, feature), rows)?;
        }
        Ok(())
    })
}

/// [`Table::resolve_read`] for a batch.
pub fn resolve_read(
    tables: &[Table],
    specs: &[schema::Table],
    batch: &Batch,
    resolved: &mut Resolved,
) -> Result<(), TableError> {
    tables.par_iter().zip(resolved).zip(specs).try_for_each(|((table, resolved), spec)| {
        for (&feature, rows) in spec.features.iter().zip(resolved.iter_mut()) {
            table.resolve_read(ids(batch, feature), rows)?;
        }
        Ok(())
    })
}
