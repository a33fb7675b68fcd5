//! The memory that a table takes, and that one of some size would.

use super::index::Index;
use super::owned::OwnedIds;
use super::{Kind, Table};
use din_program::schema::{self, TableKind};
use din_program::{SlotScope, UpdateSlot};
use std::ops::RangeInclusive;

impl Table {
    /// Peak memory in bytes per id while the table is trained. The row takes 4 bytes for each
    /// component, each value of the optimizer's state, the count and the number of updates. A
    /// dynamic table needs 48 to 96 more: 32 for an index that is half full and 16 for the order of
    /// the ids while a checkpoint is written, or 96 while the index is being doubled.
    pub fn bytes_per_id(spec: &schema::TableSpec, slots: &[UpdateSlot]) -> RangeInclusive<u64> {
        let width = u64::from(spec.width);
        let numbers = |slot: &UpdateSlot| match slot.per {
            SlotScope::Weight => width,
            SlotScope::Row => 1,
            SlotScope::Tensor => 0,
        };
        let row = 4 * (width + 2 + slots.iter().map(numbers).sum::<u64>());
        let ordered = Self::ORDERED_ID_BYTES;
        match spec.kind {
            TableKind::Fixed { .. } => row..=row + ordered,
            TableKind::Dynamic { .. } => {
                let (full, doubled) = Index::BYTES_PER_KEY;
                row + full + ordered..=row + full + doubled
            }
        }
    }

    /// Most rows of a table, the OOV row included.
    pub const MOST_ROWS: u64 = u32::MAX as u64 - 1;

    /// Bytes per id of a dynamic table for the order of its ids, while a checkpoint is written.
    pub const ORDERED_ID_BYTES: u64 = size_of::<(u64, u32, bool)>() as u64;

    /// Bytes of the index of a dynamic table with so many ids.
    pub fn index_bytes(ids: u64) -> u64 {
        Index::bytes_for(ids)
    }

    /// Bytes by which one rank of several finds its rows of a fixed table with `size` ids.
    pub fn owned_ids_bytes(size: u64) -> u64 {
        OwnedIds::bytes_for(size)
    }

    /// Bytes that rows, state and index take.
    pub fn bytes(&self) -> u64 {
        let numbers: usize = self.slots.iter().map(|s| s.slab.values.as_slice().len()).sum();
        let index = match &self.kind {
            Kind::Fixed { owned, .. } => owned.as_ref().map_or(0, OwnedIds::bytes),
            Kind::Dynamic { index } => index.bytes(),
        };
        let row = self.width * self.precision().bytes() + 8;
        (numbers * 4 + self.rows * row + index) as u64
    }
}
