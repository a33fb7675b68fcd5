//! Bytes that a rank needs.

use super::plan::rows_on_device;
use super::traffic::{Traffic, TrafficPlan};
use super::{Division, ModelUse, RunPlanOptions, TablePlan};
use crate::data::{Order, StreamOptions};
use crate::table::{Placement, Table};
use din_program::SlotScope;
use din_program::schema::{FeatureKind, KeyType, TableKind};
use serde::Serialize;

/// What a process takes that trains nearly nothing: the executable's pages, the compiler's memory,
/// stacks, the decoder. Measured.
const PROCESS: u64 = 28 << 20;
/// What it takes besides with MPI. Measured with Open MPI on one machine.
const MPI: u64 = 12 << 20;

/// Memory of the arena that is used, over what the expected batch needs: a quarter is added when
/// the arena grows, and about half of that is touched, since it consists of huge pages.
const ARENA: f64 = 1.125;

/// Bytes for each occurrence of an id while row gradients are summed: see `table::Occurrences`.
const OCCURRENCE_BYTES: f64 = 32.0;
/// Bytes of its row number.
const NUMBER_BYTES: f64 = 4.0;
/// Bytes for each occurrence and each distinct id while distinct ids are found: see
/// `session::ranks`.
const FINDING_BYTES: (f64, f64) = (12.0, 22.0);
/// Batches of which a rank has asked for rows.
const ASKED: f64 = 3.0;

/// Bytes beside a sample for its place in a window, on one rank; on several, where each knows those
/// of all ranks.
const PLACE_BYTES: (f64, f64) = (12.0, 20.0);
/// What decoding holds while a row group is read, and what the allocator keeps of it. Measured.
const DECODING: f64 = (20 << 20) as f64;
/// What a file's row counts for besides its values when a window is cut.
const ROW_BYTES: f64 = 16.0;

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
    /// written, for which its ids are sorted and the rows of one array gathered.
    pub transient: u64,
}

/// Bytes of one rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryPlan {
    /// All tables.
    pub tables: u64,
    /// Parameters, their optimizer's state, and states.
    pub dense: u64,
    /// The step's buffers, occurrences of ids, fetched rows, and messages.
    pub step: u64,
    /// Windows and batches of data.
    pub reading: u64,
    /// The process itself, with the library for MPI.
    pub process: u64,
    /// All of these: what the process holds while it trains.
    pub training: u64,
    /// The largest of the tables' transients.
    pub transient: u64,
    /// The most that the process holds: in training, or with the transient behind an epoch, when
    /// its checkpoint is written and at most the next one's first window is in memory.
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
    let (rows, index) = match spec.kind {
        TableKind::Fixed { size } if placement == Placement::Sharded && division.ranks > 1 => {
            (ids, Table::owned_ids_bytes(size))
        }
        TableKind::Fixed { .. } => (ids, 0),
        TableKind::Dynamic { .. } => (ids + 1, Table::index_bytes(ids)),
    };
    let width = u64::from(spec.width);
    let values = |scope: SlotScope| match scope {
        SlotScope::Weight => width * rows,
        SlotScope::Row => rows,
        SlotScope::Tensor => 1,
    };
    let slots = model.program.slots(spec.update);
    let state: Vec<(String, u64)> = slots.iter().map(|slot| (slot.name.clone(), 4 * values(slot.per))).collect();
    let weights = 4 * width * rows;
    // What is never written takes no memory.
    let updates = if spec.frozen { 0 } else { 4 * rows };
    let frequency = if spec.is_counted() { 4 * rows } else { 0 };
    let total = weights + state.iter().map(|(_, bytes)| bytes).sum::<u64>() + frequency + updates + index;
    TableMemory {
        rows,
        weights,
        state,
        frequency,
        updates,
        index,
        total,
        transient: (Table::ORDERED_ID_BYTES * ids + weights).max(index / 2),
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

/// Bytes of a sample in memory, and what it counts for when windows are cut.
fn sample_bytes(model: &ModelUse<'_>) -> (f64, f64) {
    let schema = &model.program.schema;
    let per_sample = |common: bool| if common { 1.0 / model.candidates } else { 1.0 };
    let (mut held, mut counted) = (0.0, ROW_BYTES);
    for feature in &schema.features {
        let (bytes, values) = match feature.kind {
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => (8.0, 1.0),
            FeatureKind::Dense { width } => (4.0 * f64::from(width), f64::from(width)),
        };
        let entries = feature.sequence.map_or(1.0, |s| model.lengths[s as usize]);
        held += bytes * entries * per_sample(feature.common);
        // In the file every sample has them.
        counted += 8.0 * values * entries;
    }
    held += schema.sequences.iter().map(|sequence| 4.0 * per_sample(sequence.common)).sum::<f64>();
    for key in &schema.keys {
        held += match key.kind {
            KeyType::Int64 => 8.0,
            KeyType::String => 40.0,
        };
    }
    // A label is a value, and whether there is one.
    held += 8.0 * schema.labels.len() as f64;
    counted += 8.0 * (schema.labels.len() + schema.keys.len()) as f64;
    (held, counted)
}

/// What reading holds.
struct Reading {
    /// At most: windows of which a rank has its part, and finished batches.
    most: u64,
    /// Behind the last step of an epoch, when its checkpoint is written: the next one's first
    /// window.
    between_epochs: u64,
}

fn reading(model: &ModelUse<'_>, division: &Division, options: &RunPlanOptions) -> Reading {
    let stream = StreamOptions::new(options.batch as usize, Order::File);
    let (held, counted) = sample_bytes(model);
    let window = (stream.window_bytes as f64 / counted).min(stream.window_rows as f64);
    let all = model.samples.map_or(f64::INFINITY, |samples| samples as f64);
    // The next window is read while one is used, also that of the next epoch.
    let next = if options.epochs > 1 { all.min(window) } else { 0.0 };
    let rows = (all + next).min(2.0 * window);
    let batch = held * division.part(model, division.busiest()).samples;
    // One is being filled, and one is in the step.
    let ready = stream.prefetch as f64 + 2.0;
    let (row, batches) = match division.ranks {
        1 => (held + PLACE_BYTES.0, ready),
        // Samples of one exchange: decoded and encoded, to be sent and received.
        ranks => (held / ranks as f64 + PLACE_BYTES.1, ready + ASKED - 1.0 + 4.0),
    };
    let between_epochs = if options.epochs > 1 { next * row + stream.prefetch as f64 * batch + DECODING } else { 0.0 };
    Reading { most: (rows * row + batches * batch + DECODING) as u64, between_epochs: between_epochs as u64 }
}

/// What the step holds on the busiest rank: the schedule's buffers, the occurrences of ids, fetched
/// rows with the sums of their gradients, and messages.
fn step(
    model: &ModelUse<'_>,
    division: &Division,
    options: &RunPlanOptions,
    tables: &[TablePlan],
    traffic: &TrafficPlan,
) -> u64 {
    let part = division.part(model, division.busiest());
    let mut bytes = ARENA * model.arena_bytes(part) + model.working_bytes(part, options.threads);
    for table in tables {
        let row = f64::from(4 * table.width);
        bytes += table.entries * (OCCURRENCE_BYTES + NUMBER_BYTES) + 8.0 * table.distinct;
        if division.ranks > 1 {
            bytes += ASKED * (table.entries * FINDING_BYTES.0 + table.distinct * FINDING_BYTES.1);
            bytes += (ASKED - 1.0) * table.entries * NUMBER_BYTES;
            bytes += 2.0 * table.distinct * row;
        }
    }
    if division.ranks > 1 {
        // Messages have what a rank sends to itself, too.
        let all = division.ranks as f64 / (division.ranks as f64 - 1.0);
        let both = |sum: Traffic| all * (sum.sent + sum.received);
        bytes += ASKED * both(traffic.tables.ids) + both(traffic.tables.rows) + both(traffic.tables.gradients);
        bytes += both(traffic.blocks) + both(traffic.gathered);
    }
    bytes as u64
}

/// All of a rank's memory.
pub(super) fn of_rank(
    model: &ModelUse<'_>,
    division: &Division,
    options: &RunPlanOptions,
    tables: &[TablePlan],
    traffic: &TrafficPlan,
) -> MemoryPlan {
    let of_tables: u64 = tables.iter().map(|table| table.memory.total).sum();
    let index: u64 = tables.iter().map(|table| table.memory.index).sum();
    let dense = dense(model);
    let (step, reading) = (step(model, division, options, tables, traffic), reading(model, division, options));
    let process = if division.ranks > 1 { PROCESS + MPI } else { PROCESS };
    let training = of_tables + dense + step + reading.most + process;
    let transient = tables.iter().map(|table| table.memory.transient).max().unwrap_or(0);
    let between_epochs = training - reading.most + reading.between_epochs;
    MemoryPlan {
        tables: of_tables,
        dense,
        step,
        reading: reading.most,
        process,
        training,
        transient,
        total: training.max(between_epochs + transient),
        device: (!options.rates.on_host()).then_some(match rows_on_device(options) {
            true => of_tables - index + dense + step,
            false => dense + step,
        }),
        available: options.memory,
    }
}
