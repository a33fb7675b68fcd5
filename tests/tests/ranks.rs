//! Training on several ranks gives the bits of one: for every kind of model, at any number of ranks
//! and threads. Ranks are threads of this process.
#![allow(clippy::unwrap_used)]

use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::schema::{FeatureKind, KeyType, Schema};
use din_runtime::batch::{Batch, KeyColumn};
use din_runtime::comm::{Communicator, LocalCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::exec::DenseState;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::leaves::LeafRange;
use din_runtime::session::{ModelState, Session};
use din_runtime::table::{Placement, ShardPlan, Sharding, Table};
use din_runtime::threads::Threads;
use din_tests::random_graph::Random;
use din_tests::specs;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table's row: weights, frequency, updates and optimizer states.
type Row = Vec<u32>;

/// What is compared: losses, dense values, and by table the rows by id.
#[derive(Debug, PartialEq)]
struct Trained {
    losses: Vec<u32>,
    dense: Vec<u32>,
    tables: Vec<BTreeMap<u64, Row>>,
    /// Optimizer states with one value per table.
    per_tensor: Vec<u32>,
}

fn program(model: &CheckedModel) -> Arc<Program> {
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
    Arc::new(compile(model, &options).unwrap().program)
}

/// A batch for any schema: lists of 0 to 6 entries, few distinct ids, requests of 1 to 5 samples.
fn batch(schema: &Schema, rows: usize, random: &mut Random) -> Batch {
    let mut batch = Batch::for_schema(schema);
    batch.rows = rows;
    if schema.requests.is_some() {
        let mut end = 0;
        while end < rows {
            end = (end + 1 + random.below(5)).min(rows);
            batch.requests.push(end as u32);
        }
    }
    let units = |common: bool| if common { batch.requests.len() - 1 } else { rows };
    for (sequence, offsets) in schema.sequences.iter().zip(&mut batch.offsets) {
        for _ in 0..units(sequence.common) {
            offsets.push(offsets.last().unwrap() + random.below(7) as u32);
        }
    }
    for (f, feature) in schema.features.iter().enumerate() {
        let elements = match feature.sequence {
            Some(s) => *batch.offsets[s as usize].last().unwrap() as usize,
            None => units(feature.common),
        };
        match feature.kind {
            FeatureKind::Dense { width, .. } => batch.dense[f] = floats(random, elements * width as usize),
            FeatureKind::Fixed { size, .. } => {
                batch.ids[f] = (0..elements).map(|_| random.below(size.min(60) as usize) as u64).collect();
            }
            FeatureKind::Dynamic { .. } => {
                batch.ids[f] =
                    (0..elements).map(|_| (random.below(90) as u64).wrapping_mul(0x1234_5678_9abc_def1)).collect();
            }
        }
    }
    for l in 0..schema.labels.len() {
        batch.labels[l] = (0..rows).map(|_| random.below(2) as f32).collect();
        batch.present[l] = vec![1.0; rows];
    }
    for (key, column) in schema.keys.iter().zip(&mut batch.keys) {
        *column = match key.kind {
            KeyType::Int64 => KeyColumn::Int64(Vec::new()),
            KeyType::String => KeyColumn::String(Vec::new()),
        };
    }
    batch
}

fn floats(random: &mut Random, count: usize) -> Vec<f32> {
    random.numbers(count).into_iter().map(|x| x as f32).collect()
}

/// The part of a global batch that a rank owns.
fn part(schema: &Schema, whole: &Batch, most: u32, rank: usize, ranks: usize) -> Batch {
    let units = if schema.requests.is_some() { whole.requests.len() - 1 } else { whole.rows };
    let leaves = LeafRange::of_rank(units, most, rank, ranks);
    let first = din_runtime::leaves::leaf_begin(leaves.first, leaves.total, units);
    let last = first + *leaves.bounds.last().unwrap() as usize;
    let samples = match &schema.requests {
        Some(_) => whole.requests[first] as usize..whole.requests[last] as usize,
        None => first..last,
    };
    let mut part = Batch::for_schema(schema);
    part.rows = samples.len();
    part.leaves = leaves;
    part.global_rows = whole.rows;
    if schema.requests.is_some() {
        part.requests = whole.requests[first..=last].iter().map(|&r| r - samples.start as u32).collect();
    }
    let units = |common: bool| if common { first..last } else { samples.clone() };
    let of =
        |offsets: &[u32], units: std::ops::Range<usize>| offsets[units.start] as usize..offsets[units.end] as usize;
    for (s, sequence) in schema.sequences.iter().enumerate() {
        let offsets = &whole.offsets[s];
        let units = units(sequence.common);
        part.offsets[s] = offsets[units.start..=units.end].iter().map(|o| o - offsets[units.start]).collect();
    }
    for (f, feature) in schema.features.iter().enumerate() {
        let elements = match feature.sequence {
            Some(s) => of(&whole.offsets[s as usize], units(schema.sequences[s as usize].common)),
            None => units(feature.common),
        };
        match feature.kind {
            FeatureKind::Dense { width, .. } => {
                let width = width as usize;
                part.dense[f] = whole.dense[f][elements.start * width..elements.end * width].to_vec();
            }
            FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. } => part.ids[f] = whole.ids[f][elements].to_vec(),
        }
    }
    for l in 0..schema.labels.len() {
        part.labels[l] = whole.labels[l][samples.clone()].to_vec();
        part.present[l] = whole.present[l][samples.clone()].to_vec();
    }
    part
}

/// What one rank has after training.
#[derive(Clone)]
struct TrainedRank {
    losses: Vec<u32>,
    dense: DenseState,
    tables: Vec<BTreeMap<u64, Row>>,
    per_tensor: Vec<u32>,
}

/// Trains on one rank's parts of the batches.
fn train_rank(
    program: &Arc<Program>,
    batches: &[Batch],
    leaves: u32,
    threads: usize,
    ranks: &Arc<dyn Communicator>,
    placement: Placement,
) -> TrainedRank {
    let threads = Threads::new(threads).unwrap();
    let executor = CpuExecutor::new(program.clone(), threads.clone(), cpu::detect()).unwrap();
    let (rank, size) = (ranks.rank(), ranks.size());
    let plan = ShardPlan {
        sharding: Sharding { buckets: leaves, rank, ranks: size },
        placements: vec![placement; program.tables.len()],
    };
    let model = ModelState::of_shard(program.clone(), &threads, 11, &plan).unwrap();
    let mut session = Session::with_model(Box::new(executor), threads, model);
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

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn train(
    program: &Arc<Program>,
    batches: &[Batch],
    leaves: u32,
    ranks: usize,
    threads: usize,
    placement: Placement,
) -> Trained {
    let comms = if ranks == 1 { vec![Arc::new(LocalCommunicator) as Arc<dyn Communicator>] } else { in_process(ranks) };
    let all: Vec<_> = std::thread::scope(|scope| {
        let run = |comm| scope.spawn(move || train_rank(program, batches, leaves, threads, &comm, placement));
        let handles: Vec<_> = comms.into_iter().map(run).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let TrainedRank { losses, dense, mut tables, per_tensor } = all[0].clone();
    for (rank, other) in all.iter().enumerate().skip(1) {
        assert_eq!(other.losses, losses, "losses of rank {rank}");
        assert!(other.dense == dense, "dense values of rank {rank}");
        assert_eq!(other.per_tensor, per_tensor, "per tensor, rank {rank}");
        for (table, others) in tables.iter_mut().zip(&other.tables) {
            for (&id, row) in others {
                let there = table.insert(id, row.clone());
                // Replicated rows, and OOV rows, are the same everywhere; others lie on one rank.
                assert!(
                    there.is_none_or(|there| (placement == Placement::Replicated || id == u64::MAX) && there == *row)
                );
            }
        }
    }
    let dense =
        dense.params.iter().chain(dense.param_slots.iter().flatten()).chain(&dense.states).flat_map(|v| bits(v));
    Trained { losses, dense: dense.collect(), tables, per_tensor }
}

fn check(name: &str, model: &CheckedModel, sizes: &[usize], leaves: u32, ranks: &[usize]) {
    let program = program(model);
    let mut random = Random::new(5);
    let batches: Vec<Batch> = sizes.iter().map(|&rows| batch(&program.schema, rows, &mut random)).collect();
    let expected = train(&program, &batches, leaves, 1, 1, Placement::Sharded);
    assert!(expected.tables.iter().all(|rows| !rows.is_empty()), "{name}: something is trained");
    assert_eq!(train(&program, &batches, leaves, 1, 3, Placement::Sharded), expected, "{name}: 1 rank, 3 threads");
    for &count in ranks {
        for (threads, placement) in [(1, Placement::Sharded), (2, Placement::Replicated)] {
            let found = train(&program, &batches, leaves, count, threads, placement);
            assert!(found.losses == expected.losses, "{name}: losses of {count} ranks, {placement:?}");
            assert!(found.dense == expected.dense, "{name}: dense values of {count} ranks, {placement:?}");
            assert!(found.tables == expected.tables, "{name}: rows of {count} ranks, {placement:?}");
            assert!(found == expected, "{name}: {count} ranks, {placement:?}");
        }
    }
}

/// Batches of several leaves, of one, and of fewer samples than ranks.
const SIZES: [usize; 6] = [1030, 300, 3, 1, 130, 1100];

#[test]
fn every_small_model_has_the_bits_of_one_rank() {
    for (name, model) in specs::units() {
        check(&name, &model, &SIZES, 16, &[2, 3]);
    }
}

#[test]
fn the_papers_models_have_the_bits_of_one_rank() {
    for name in ["base", "din", "din_dice"] {
        let model = specs::model(&specs::root().join(format!("models/{name}.din")));
        check(name, &model, &SIZES, 16, &[4]);
    }
}

#[test]
fn more_ranks_and_more_leaves_change_nothing() {
    let units = specs::units();
    for (name, leaves, ranks) in [("unit_momentum", 16, 16), ("requests", 64, 8), ("towers", 16, 4)] {
        let (_, model) = units.iter().find(|(unit, _)| unit == name).unwrap();
        check(name, model, &[4200, 5], leaves, &[ranks]);
    }
}

/// An optimizer with a state per tensor sums over the rows of a table, which lie on several ranks
/// and come in another order at every number of ranks; the table grows from step to step.
#[test]
fn sums_over_the_rows_of_a_table_have_the_bits_of_one_rank() {
    let spec = |table: &str, rule: &str| {
        format!(
            "edition 2026\nuse std.activation.relu\nuse std.layer.linear\nuse std.loss.cross_entropy\n\
             use std.metric.log_loss\nuse std.optimizer.sgd\nuse std.pooling.mean_pool\n\
             optimizer trust(lr) per tensor {{\n    state norm = 0\n\
             norm = 0.9 * norm + sqrt(sum(grad * grad)) + mean(weight * weight)\n\
             weight = weight - lr * grad / (norm + 0.1)\n}}\n\
             model unit {{\nfeatures one {{ e: {table} }}\nsequence many {{ e: {table} from many_e }}\nlabel y: binary\n\
             embedding table [5] for one.e, many.e {{ optimizer trust(lr = 0.1) {rule} }}\n\
             predict y ~ bernoulli(logit = linear(relu(table(one.e) * mean_pool(table(many.e))), 1))\n\
             train {{ loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }}\nreport log_loss(y)\n}}\n"
        )
    };
    for table in ["category", "category(70)"] {
        for rule in ["", "with dense updates"] {
            let model = specs::checked("unit.din", &spec(table, rule));
            check(&format!("{table} {rule}"), &model, &SIZES, 16, &[2, 3, 8]);
        }
    }
}
