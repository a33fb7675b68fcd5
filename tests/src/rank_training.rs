//! Training on one rank of several that are threads of a process, on any executor.
#![allow(clippy::unwrap_used)]

use crate::batches::part;
use din_runtime::batch::Batch;
use din_runtime::comm::Communicator;
use din_runtime::exec::{DenseState, Executor};
use din_runtime::session::{ModelState, Session};
use din_runtime::table::{Placement, ShardPlan, Sharding, Table};
use din_runtime::threads::Threads;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table's row: weights, frequency, updates and optimizer states.
pub type Row = Vec<u32>;

/// What one rank has after training.
#[derive(Clone, Debug)]
pub struct TrainedRank {
    /// By batch; the bits of f32, as all numbers here.
    pub losses: Vec<u32>,
    pub dense: DenseState,
    /// By table, by id; the OOV row has the largest id.
    pub tables: Vec<BTreeMap<u64, Row>>,
    /// Optimizer states with one value per table.
    pub per_tensor: Vec<u32>,
}

/// Trains on one rank's parts of the batches.
///
/// # Panics
///
/// Where something fails.
pub fn train_rank(
    executor: Box<dyn Executor>,
    threads: Arc<Threads>,
    batches: &[Batch],
    leaves: u32,
    ranks: &Arc<dyn Communicator>,
    placements: Vec<Placement>,
) -> TrainedRank {
    let program = executor.program().clone();
    let (rank, size) = (ranks.rank(), ranks.size());
    let plan = ShardPlan { sharding: Sharding { buckets: leaves, rank, ranks: size }, placements };
    let model = ModelState::of_shard(program.clone(), &threads, 11, &plan).unwrap();
    let mut session = Session::with_model(executor, threads, model);
    session.set_leaves(leaves);
    if size > 1 {
        session.join_ranks(ranks.clone(), plan).unwrap();
    }
    let schema = &program.schema;
    let parts: Vec<Batch> = batches.iter().map(|batch| part(schema, batch, leaves, rank, size)).collect();
    let mut counted = session.id_frequencies();
    for (_, frequencies) in &mut counted {
        parts.iter().for_each(|part| frequencies.add(schema, part));
    }
    session.join_frequencies(counted).unwrap();
    let losses = parts.iter().map(|part| session.train(part).unwrap().to_bits()).collect();
    let model = session.model().unwrap();
    let rows = |(t, table): (usize, &Table)| {
        let slots = program.slots(program.tables[t].update);
        let row = |row: usize| {
            let fields = table.row_fields().into_iter();
            fields.flat_map(|(field, width)| bits(&table.field(field)[row * width..][..width])).collect()
        };
        assert_eq!(slots.len(), table.slot_count());
        let mut rows: BTreeMap<u64, Row> =
            table.in_key_order().into_iter().map(|(id, number, _)| (id, row(number as usize))).collect();
        if table.is_dynamic() {
            // The OOV row, which every rank has.
            rows.insert(u64::MAX, row(0));
        }
        rows
    };
    let per_tensor = model.tables.iter().flat_map(|table| {
        let slots = (0..table.slot_count()).filter(|&k| table.slot_scope(k) == din_program::SlotScope::Tensor);
        slots.flat_map(|k| bits(table.slot(k))).collect::<Vec<_>>()
    });
    let tables = model.tables.iter().enumerate().map(rows).collect();
    TrainedRank { losses, dense: model.dense.clone(), tables, per_tensor: per_tensor.collect() }
}

/// The bits of numbers.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
