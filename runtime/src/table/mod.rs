//! Embedding tables: an index from id to row number, and slabs with one row per id (weights,
//! optimizer state, frequency, updates).
//!
//! Guarantees:
//! - A row starts with values that depend on the seed, the table's name, the id and the component,
//!   not on when the id came.
//! - An id has its own row from the first training batch that contains it.
//! - Row 0 of a dynamic table is the OOV row: evaluation reads it for ids that training never saw,
//!   and never inserts. No training step reads it; it is 0 while training goes on, and for
//!   evaluation [`Table::fill_oov_row`] makes it the mean of the vectors of rare ids, or of all ids
//!   of a frozen table (`docs/decisions/0001-oov-ids.md`).
//! - Where ids are admitted ([`Table::admits`]), those that are not read the OOV row, which is then
//!   trained like any row, on the first rank of several (`docs/decisions/0048-admission.md`).
//! - Rows are contiguous: row `r` of a slab of width `w` begins at `pointer + r * w`. Pointers hold
//!   until the next call that can insert (`resolve_train`, `insert_loaded`, counting); they must be
//!   fetched after all ids of a step are resolved.
//!
//! A table may be one rank's part of a table that is divided over ranks ([`Table::of_shard`]): it
//! has rows for the ids that the rank owns, and is asked for no others.
//!
//! The rest of the runtime uses a table through four things:
//! - rows for ids: [`resolve_train`], [`resolve_read`] and [`FrequencyCounter`];
//! - arrays of rows for an executor to read and update: [`Table::row_fields`], [`Table::field`],
//!   and their addresses for generated code;
//! - the OOV row: [`Table::fill_oov_row`], [`Table::clear_oov_row`], and [`fill_oov_rows`] of all
//!   ranks;
//! - its state for checkpoints: [`Table::in_key_order`] with the fields, and
//!   [`Table::insert_loaded`].
//!
//! Files:
//! - `error`: what can go wrong.
//! - `region`: memory that grows without copying.
//! - `index`: the hash index.
//! - `field`: what is kept per row.
//! - `order`: the order of rows in sums over them.
//! - `occurrences`: which elements of a batch read which rows.
//! - `frequency`: the counting pass of Eq. (9).
//! - `admission`: which of the counted ids get rows.
//! - `oov`: the OOV row.
//! - `owned`: the rows of a fixed table that one rank owns.
//! - `resolve`: the row numbers of a whole batch.
//! - `shard`: which rank has a row.
//! - `size`: the memory that it takes.
//! - `weights`: what its rows are stored as.

mod admission;
mod error;
mod field;
mod frequency;
mod index;
mod occurrences;
mod oov;
mod order;
mod owned;
mod region;
mod resolve;
mod shard;
mod size;
mod weights;

pub use admission::{AdmittedIds, admitted_ids};
pub use error::TableError;
pub use field::RowField;
pub use frequency::{FrequencyCounter, IdFrequencies, id_counts, join_frequencies};
pub use occurrences::{Occurrences, RowReads};
pub use oov::{OovSums, fill_oov_rows};
pub use order::keep_ids;
pub use resolve::{Resolved, resolve_read, resolve_train};
pub use shard::{Placement, ShardPlan, Sharding};
pub use weights::{RowValues, row_words};

use crate::column_loops;
use crate::random::Stream;
use crate::threads::Threads;
use din_program::schema::{self, TableKind};
use din_program::{Program, SlotScope, TablePrecision, UpdateSlot};
use index::{Index, Mark};
use order::KeptIds;
use owned::OwnedIds;
use region::Slab;
use std::sync::{Mutex, PoisonError};
use weights::Weights;

/// For an id that training has not seen; no row, of which there are fewer.
const OTHER: u32 = u32::MAX;

/// Rows that a thread takes at a time.
const PART: usize = 4096;

/// One embedding table. See the module.
#[derive(Debug)]
pub struct Table {
    name: String,
    width: usize,
    init: schema::Init,
    /// Key of the rows' random streams.
    stream: u64,
    kind: Kind,
    /// Whether training leaves its rows as they start.
    frozen: bool,
    /// Which ids have rows of their own: the others train the OOV row.
    admission: Option<schema::Admission>,
    /// Of which ids it has the rows, where it is a part.
    shard: Option<Sharding>,
    rows: usize,
    weights: Weights,
    slots: Vec<TableSlot>,
    frequency: Slab,
    updates: Slab,
    /// Where its update sums over rows.
    kept_ids: Option<KeptIds>,
}

#[derive(Debug)]
enum Kind {
    /// Without `owned`, all ids: each is its row number.
    Fixed {
        size: u64,
        owned: Option<OwnedIds>,
    },
    Dynamic {
        index: Index,
    },
}

#[derive(Debug)]
struct TableSlot {
    scope: SlotScope,
    init: f32,
    slab: Slab,
}

/// The tables of a program before training, in its order, as one rank of a run has them: its part
/// of each, and the ids of rows where an update sums over them.
///
/// # Errors
/// There is no memory for them.
pub fn of_program(program: &Program, seed: u64, plan: &ShardPlan, threads: &Threads) -> Result<Vec<Table>, TableError> {
    let mut tables = Vec::with_capacity(program.tables.len());
    for (t, spec) in program.tables.iter().enumerate() {
        tables.push(Table::of_shard(spec, program.slots(spec.update), seed, plan.shard(t), threads)?);
    }
    keep_ids(program, &mut tables, plan);
    Ok(tables)
}

impl Table {
    /// The table as it is before training: a dynamic one with the OOV row alone, a fixed one with
    /// all rows.
    pub fn new(spec: &schema::TableSpec, slots: &[UpdateSlot], seed: u64) -> Result<Table, TableError> {
        Self::of_shard(spec, slots, seed, None, &Threads::caller())
    }

    /// The same for the part of a table that one rank owns, `None` for all of it; the rows of a
    /// fixed table are drawn on these threads.
    pub fn of_shard(
        spec: &schema::TableSpec,
        slots: &[UpdateSlot],
        seed: u64,
        shard: Option<Sharding>,
        threads: &Threads,
    ) -> Result<Table, TableError> {
        let mut table = Self::blank(spec, slots, seed, shard, TablePrecision::F32)?;
        if table.admits() {
            let stream = Stream::new(seed, &format!("OOV row of table {}", spec.name), 0);
            stream.fill(table.init, table.weights.trained_mut().row_mut(0));
        }
        if let Kind::Fixed { owned, .. } = &table.kind {
            let (key, init, width) = (table.stream, table.init, table.width.max(1));
            let weights = table.weights.trained_mut().values.as_mut_slice();
            let parts: Vec<Mutex<&mut [f32]>> = weights.chunks_mut(PART * width).map(Mutex::new).collect();
            threads.parallel_for(parts.len(), &|part| {
                let mut rows = parts[part].lock().unwrap_or_else(PoisonError::into_inner);
                let rows = rows.chunks_mut(width);
                let fill = |(id, row): (u64, &mut [f32])| Stream::keyed(key, id).fill(init, row);
                match owned {
                    None => (part as u64 * PART as u64..).zip(rows).for_each(fill),
                    Some(owned) => owned.ids_from(part * PART).zip(rows).for_each(fill),
                }
            });
        }
        Ok(table)
    }

    /// The same with weights of 0 in the rows of a fixed table, for whoever writes all of them.
    pub(crate) fn blank(
        spec: &schema::TableSpec,
        slots: &[UpdateSlot],
        seed: u64,
        shard: Option<Sharding>,
        precision: TablePrecision,
    ) -> Result<Table, TableError> {
        let width = spec.width as usize;
        let kind = match spec.kind {
            TableKind::Fixed { size } if size >= u64::from(OTHER) => {
                return Err(TableError::Full { table: spec.name.clone() });
            }
            TableKind::Fixed { size } => {
                Kind::Fixed { size, owned: shard.map(|sharding| OwnedIds::new(size, &sharding)) }
            }
            TableKind::Dynamic { .. } => Kind::Dynamic { index: Index::new()? },
        };
        let rows = match &kind {
            Kind::Fixed { owned: Some(owned), .. } => owned.len(),
            Kind::Fixed { size, owned: None } => *size as usize,
            Kind::Dynamic { .. } => 1,
        };
        let mut table = Table {
            name: spec.name.clone(),
            width,
            init: spec.init,
            stream: Stream::key(seed, &format!("table {}", spec.name)),
            kind,
            frozen: spec.frozen,
            admission: spec.admission,
            shard,
            rows: 0,
            weights: Weights::new(precision, width),
            slots: slots
                .iter()
                .map(|slot| TableSlot {
                    scope: slot.per,
                    init: slot.init,
                    slab: Slab::new(if slot.per == SlotScope::Weight { width } else { 1 }),
                })
                .collect(),
            frequency: Slab::new(1),
            updates: Slab::new(1),
            kept_ids: None,
        };
        for slot in table.slots.iter_mut().filter(|s| s.scope == SlotScope::Tensor) {
            slot.slab.extend_to(1)?;
            slot.slab.row_mut(0)[0] = slot.init;
        }
        table.extend_to(rows)?;
        Ok(table)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part of the table that it is; `None` where it has all rows.
    pub fn shard(&self) -> Option<&Sharding> {
        self.shard.as_ref()
    }

    /// Components of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of every slab, the OOV row included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn is_dynamic(&self) -> bool {
        matches!(self.kind, Kind::Dynamic { .. })
    }

    /// Ids whose rows exist.
    pub fn ids(&self) -> usize {
        match &self.kind {
            Kind::Fixed { .. } => self.rows,
            Kind::Dynamic { index } => index.len(),
        }
    }

    /// Makes the rows up to `rows` with their optimizer state; weights are still 0.
    fn extend_to(&mut self, rows: usize) -> Result<(), TableError> {
        self.weights.extend_to(rows)?;
        self.frequency.extend_to(rows)?;
        self.updates.extend_to(rows)?;
        for slot in self.slots.iter_mut().filter(|s| s.scope != SlotScope::Tensor) {
            slot.slab.extend_to(rows)?;
            if slot.init != 0.0 {
                let width = slot.slab.width;
                slot.slab.values.as_mut_slice()[self.rows * width..].fill(slot.init);
            }
        }
        self.rows = rows;
        Ok(())
    }

    /// A new row for an id.
    #[cold]
    fn add(&mut self, id: u64, mark: Mark) -> Result<u32, TableError> {
        debug_assert!(self.shard.is_none_or(|sharding| sharding.owns(id)), "a rank adds only ids that it owns");
        let row = self.rows;
        if row as u64 >= Self::MOST_ROWS {
            return Err(TableError::Full { table: self.name.clone() });
        }
        self.extend_to(row + 1)?;
        // One in BF16 is read from a checkpoint.
        if let Weights::F32(weights) = &mut self.weights {
            Stream::keyed(self.stream, id).fill(self.init, weights.row_mut(row));
        }
        if let Kind::Dynamic { index } = &mut self.kind {
            index.insert(id, row as u32, mark)?;
            if let Some(kept) = &mut self.kept_ids {
                kept.push(id);
            }
        }
        Ok(row as u32)
    }

    /// Row numbers of the ids that training has seen, [`OTHER`] for the rest; whether there were no
    /// others.
    fn find(&self, ids: &[u64], rows: &mut [u32]) -> bool {
        match &self.kind {
            // Generated code addresses rows without further checks.
            Kind::Fixed { size, owned: None } => column_loops::narrow(ids, rows, *size),
            Kind::Fixed { owned: Some(owned), .. } => ids.iter().zip(rows).fold(true, |all, (&id, row)| {
                *row = owned.row(id).unwrap_or(OTHER);
                all && *row != OTHER
            }),
            Kind::Dynamic { index } => index.find(ids, rows, OTHER),
        }
    }

    /// The error of ids of which a fixed table of `size` does not have all.
    #[cold]
    fn out_of_range(&self, ids: &[u64], size: u64) -> TableError {
        let id = *ids.iter().find(|&&id| id >= size).expect("a rank is asked for no id that another owns");
        TableError::OutOfRange { table: self.name.clone(), id, size }
    }

    /// Row numbers of the ids of a training batch, written over `rows`. New ids get rows.
    pub fn resolve_train(&mut self, ids: &[u64], rows: &mut Vec<u32>) -> Result<(), TableError> {
        rows.resize(ids.len(), 0);
        if self.find(ids, rows) { Ok(()) } else { self.settle_train(ids, rows) }
    }

    /// Rows for what [`Table::find`] has left of a feature's ids: those that are new in this batch.
    fn settle_train(&mut self, ids: &[u64], rows: &mut [u32]) -> Result<(), TableError> {
        if let Kind::Fixed { size, .. } = self.kind {
            return Err(self.out_of_range(ids, size));
        }
        for (&id, row) in ids.iter().zip(rows).filter(|(_, row)| **row == OTHER) {
            *row = if self.is_unadmitted(id) { 0 } else { self.insert_loaded(id, true)? };
        }
        Ok(())
    }

    /// Whether only ids that were admitted have rows of their own; the others read the OOV row, and
    /// train it.
    pub fn admits(&self) -> bool {
        self.admission.is_some()
    }

    /// Whether a dynamic table has a row for an id, seen or not.
    fn has_row(&self, id: u64) -> bool {
        matches!(&self.kind, Kind::Dynamic { index } if index.get(id).is_some())
    }

    fn is_unadmitted(&self, id: u64) -> bool {
        self.admits() && !self.has_row(id)
    }

    /// Whether its OOV row is the one that training updates: of a divided table, that of the first
    /// rank.
    fn trains_oov_row(&self) -> bool {
        self.admits() && self.shard.is_none_or(|sharding| sharding.rank == 0)
    }

    /// Row numbers for evaluation, written over `rows`: ids that training never saw read the OOV
    /// row; nothing is inserted.
    pub fn resolve_read(&self, ids: &[u64], rows: &mut Vec<u32>) -> Result<(), TableError> {
        rows.resize(ids.len(), 0);
        if self.find(ids, rows) { Ok(()) } else { self.settle_read(ids, rows) }
    }

    /// What [`Table::find`] has left reads the OOV row.
    fn settle_read(&self, ids: &[u64], rows: &mut [u32]) -> Result<(), TableError> {
        match self.kind {
            Kind::Fixed { size, .. } => Err(self.out_of_range(ids, size)),
            Kind::Dynamic { .. } => {
                rows.iter_mut().filter(|row| **row == OTHER).for_each(|row| *row = 0);
                Ok(())
            }
        }
    }

    /// The row of an id, made if it is not there; leaves the mark alone.
    pub(crate) fn row_of(&mut self, id: u64) -> Result<u32, TableError> {
        match &self.kind {
            Kind::Fixed { size, owned: None } if id < *size => Ok(id as u32),
            Kind::Fixed { size, owned: None } => Err(self.out_of_range(&[id], *size)),
            Kind::Fixed { size, owned: Some(owned) } => owned.row(id).ok_or_else(|| self.out_of_range(&[id], *size)),
            Kind::Dynamic { index } => match index.get(id) {
                Some((row, _)) => Ok(row),
                None => self.add(id, Mark::Oov),
            },
        }
    }

    /// The row of an id read from a checkpoint or a fixture, made if it is not there; `seen` as it
    /// was saved, true for preloaded weights.
    pub fn insert_loaded(&mut self, id: u64, seen: bool) -> Result<u32, TableError> {
        let row = self.row_of(id)?;
        if let Kind::Dynamic { index } = &mut self.kind {
            index.set_mark(id, if seen { Mark::Seen } else { Mark::Oov });
        }
        Ok(row)
    }

    /// Gives an id that the table may have its row before training; evaluation reads it, whether or
    /// not training ever sees the id.
    ///
    /// # Errors
    /// An id that a fixed table does not have, or no memory.
    pub fn give_row(&mut self, id: u64, vector: &[f32]) -> Result<(), TableError> {
        let row = self.insert_loaded(id, true)? as usize;
        self.weights_mut()[row * vector.len()..][..vector.len()].copy_from_slice(vector);
        Ok(())
    }

    /// Every id with its row and whether training has seen it, ascending by id. The OOV row has no
    /// id and is not among them. For checkpoints, between steps.
    pub fn in_key_order(&self) -> Vec<(u64, u32, bool)> {
        match &self.kind {
            Kind::Fixed { size, owned: None } => (0..*size).map(|id| (id, id as u32, true)).collect(),
            Kind::Fixed { owned: Some(owned), .. } => {
                (0..).zip(owned.ids_from(0)).map(|(row, id)| (id, row, true)).collect()
            }
            Kind::Dynamic { index } => index.in_key_order(),
        }
    }

    /// `rows x width`, of a table in f32.
    pub fn weights(&self) -> &[f32] {
        self.weights.trained().values.as_slice()
    }
    pub fn weights_mut(&mut self) -> &mut [f32] {
        self.weights.trained_mut().values.as_mut_slice()
    }
    /// Optimizer state `k`: `rows x width`, `rows`, or one value, by its scope.
    pub fn slot(&self, k: usize) -> &[f32] {
        self.slots[k].slab.values.as_slice()
    }
    pub fn slot_mut(&mut self, k: usize) -> &mut [f32] {
        self.slots[k].slab.values.as_mut_slice()
    }
    /// Values per row in slot `k`; of a `Tensor` slot, 1 in total.
    pub fn slot_width(&self, k: usize) -> usize {
        self.slots[k].slab.width
    }
    pub fn slot_scope(&self, k: usize) -> SlotScope {
        self.slots[k].scope
    }
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }
    /// By row: number of training samples that contain the id (see [`FrequencyCounter`]); 0 without
    /// a counting pass.
    pub fn frequency(&self) -> &[f32] {
        self.frequency.values.as_slice()
    }
    pub fn frequency_mut(&mut self) -> &mut [f32] {
        self.frequency.values.as_mut_slice()
    }
    /// By row: number of updates so far.
    pub fn updates(&self) -> &[f32] {
        self.updates.values.as_slice()
    }
    pub fn updates_mut(&mut self) -> &mut [f32] {
        self.updates.values.as_mut_slice()
    }

    // Base addresses for generated code. Writing through them is for whoever has exclusive use of
    // the table.
    pub fn weights_ptr(&self) -> *mut f32 {
        self.weights.trained().values.pointer()
    }
    pub fn slot_ptr(&self, k: usize) -> *mut f32 {
        self.slots[k].slab.values.pointer()
    }
    pub fn frequency_ptr(&self) -> *mut f32 {
        self.frequency.values.pointer()
    }
    pub fn updates_ptr(&self) -> *mut f32 {
        self.updates.values.pointer()
    }
}

#[cfg(test)]
mod tests;
