//! Bytes that a rank needs.

use super::{Division, ModelUse};
use crate::table::{Placement, Table};
use din_program::SlotScope;
use din_program::schema::{FeatureKind, TableKind};
use serde::Serialize;

/// Rows of data that reading holds at most: two windows of so many bytes, or so many samples.
const WINDOWS: u64 = 2;
const WINDOW_BYTES: u64 = 256 << 20;
const WINDOW_ROWS: u64 = 1 << 20;

/// Bytes of a table on one rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableMemory {
    /// Rows, with that of ids that training never saw.
    pub rows: u64,
    pub weights: u64,
    /// By optimizer state: name and bytes.
    pub state: Vec<(String, u64)>,
    pub frequency: u64,
    pub updates: u64,
    pub index: u64,
    /// All of these.
    pub total: u64,
    /// What else it needs for a moment: while its index is doubled, or while a checkpoint is
    /// written.
    pub transient: u64,
}

/// Bytes of one rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryPlan {
    /// All tables.
    pub tables: u64,
    /// Parameters, their optimizer's state, and states.
    pub dense: u64,
    /// The step's buffers, fetched rows, and messages.
    pub step: u64,
    /// What data are read through, at most.
    pub reading: u64,
    /// The largest of the tables' transients.
    pub transient: u64,
    /// All of these.
    pub total: u64,
    /// Of the total, what the device must hold where it is not the CPU: everything but indices,
    /// transients and reading; on several ranks the dense part and the step alone.
    pub device: Option<u64>,
    /// What a rank has, where that is known.
    pub available: Option<u64>,
}

impl MemoryPlan {
    /// What has to fit into what is available.
    pub fn needed(&self) -> u64 {
        self.device.unwrap_or(self.total)
    }
}

/// A table on the rank that has the most of its rows.
pub(super) fn table(model: &ModelUse<'_>, division: &Division, table: usize, placement: Placement) -> TableMemory {
    let spec = &model.program.tables[table];
    let ids = match placement {
        Placement::Replicated => model.tables[table].rows,
        Placement::Sharded => (model.tables[table].rows as f64 * division.largest_share()).ceil() as u64,
    };
    let (rows, index, ordered) = match spec.kind {
        TableKind::Fixed { size } if placement == Placement::Sharded && division.ranks > 1 => {
            (ids, Table::owned_ids_bytes(size, ids), 0)
        }
        TableKind::Fixed { .. } => (ids, 0, 0),
        TableKind::Dynamic { .. } => (ids + 1, Table::index_bytes(ids), Table::ORDERED_ID_BYTES * ids),
    };
    let width = u64::from(spec.width);
    let values = |scope: SlotScope| match scope {
        SlotScope::Weight => width * rows,
        SlotScope::Row => rows,
        SlotScope::Tensor => 1,
    };
    let slots = model.program.slots(spec.update);
    let state: Vec<(String, u64)> = slots.iter().map(|slot| (slot.name.clone(), 4 * values(slot.per))).collect();
    let (weights, each) = (4 * width * rows, 4 * rows);
    let total = weights + state.iter().map(|(_, bytes)| bytes).sum::<u64>() + 2 * each + index;
    TableMemory {
        rows,
        weights,
        state,
        frequency: each,
        updates: each,
        index,
        total,
        transient: ordered.max(index / 2),
    }
}

/// Parameters with their optimizer's state, and states.
pub(super) fn dense(model: &ModelUse<'_>) -> u64 {
    let program = model.program;
    let parameters = program.parameters.iter().map(|parameter| {
        let values = |scope: SlotScope| match scope {
            SlotScope::Weight => parameter.width() as u64,
            SlotScope::Row | SlotScope::Tensor => 1,
        };
        let slots = program.slots(parameter.update).iter().map(|slot| values(slot.per));
        parameter.width() as u64 + slots.sum::<u64>()
    });
    4 * (parameters.sum::<u64>() + program.states.iter().map(|s| s.width() as u64).sum::<u64>())
}

/// What reading holds at most.
pub(super) fn reading(model: &ModelUse<'_>) -> u64 {
    let schema = &model.program.schema;
    let features = schema.features.iter().map(|feature| {
        let each = match feature.kind {
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => 8.0,
            FeatureKind::Dense { width } => 4.0 * f64::from(width),
        };
        each * feature.sequence.map_or(1.0, |s| model.lengths[s as usize])
    });
    let sample = features.sum::<f64>() + 8.0 * (schema.labels.len() + schema.keys.len()) as f64;
    WINDOWS * WINDOW_BYTES.min((sample * WINDOW_ROWS as f64) as u64)
}

/// The step's buffers on the busiest rank: the schedule's, fetched rows with their gradients, and
/// messages of so many bytes.
pub(super) fn step(model: &ModelUse<'_>, division: &Division, threads: u32, messages: f64, fetched: f64) -> u64 {
    let part = division.part(model, division.busiest());
    (model.buffer_bytes(part, threads) + 2.0 * fetched + messages) as u64
}
