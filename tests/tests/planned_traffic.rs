//! The bytes that ranks send in training steps, against what `din plan` predicts. Ranks are threads
//! of this process.

use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::schema::{FeatureKind, KeyType};
use din_runtime::batch::{Batch, KeyColumn};
use din_runtime::comm::{Communicator, MeasuredCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::leaves::{DEFAULT_LEAVES, LeafRange};
use din_runtime::placement::{IdDistribution, ModelUse, Plan, Rates, RunPlanOptions, TableIds, choose};
use din_runtime::random::Stream;
use din_runtime::session::{ModelState, Session};
use din_runtime::table::{ShardPlan, Sharding};
use din_runtime::threads::Threads;
use din_tests::specs;
use std::sync::Arc;

const BATCH: usize = 2048;
const LENGTH: usize = 12;
const ROWS: u64 = 20_000;
const EXPONENT: f64 = 1.05;
const STEPS: u64 = 3;

/// Ids drawn by Zipf's law: of each, the part of all draws that it or a more frequent one has.
fn ends(rows: u64) -> Vec<f64> {
    let mut end = 0.0;
    let ends = (1..=rows).map(|k| {
        end += (k as f64).powf(-EXPONENT);
        end
    });
    ends.collect()
}

/// A rank's part of a global batch: samples are drawn by their number in the global one.
fn part(program: &Program, number: u64, rank: usize, ranks: usize) -> Batch {
    let schema = &program.schema;
    let leaves = LeafRange::of_rank(BATCH, DEFAULT_LEAVES, rank, ranks);
    let before: u32 =
        (0..rank).map(|rank| *LeafRange::of_rank(BATCH, DEFAULT_LEAVES, rank, ranks).bounds.last().unwrap()).sum();
    let mut batch = Batch::for_schema(schema);
    batch.rows = *leaves.bounds.last().unwrap() as usize;
    (batch.leaves, batch.global_rows) = (leaves, BATCH);
    let samples = before as usize..before as usize + batch.rows;
    for offsets in &mut batch.offsets {
        *offsets = (0..=batch.rows).map(|sample| (sample * LENGTH) as u32).collect();
    }
    for (f, feature) in schema.features.iter().enumerate() {
        let entries = if feature.sequence.is_some() { LENGTH } else { 1 };
        let stream = Stream::new(number, "ids", f as u64);
        let ends = ends(match feature.kind {
            FeatureKind::Fixed { size, .. } => size,
            FeatureKind::Dynamic { .. } => ROWS,
            FeatureKind::Dense { .. } => panic!("the models have no numeric features"),
        });
        let total = ends.last().unwrap();
        batch.ids[f] = (samples.start * entries..samples.end * entries)
            .map(|entry| ends.partition_point(|end| *end <= stream.uniform(entry as u64) * total) as u64)
            .collect();
    }
    for (label, present) in batch.labels.iter_mut().zip(&mut batch.present) {
        *label = samples.clone().map(|sample| (sample % 2) as f32).collect();
        *present = vec![1.0; label.len()];
    }
    for (key, column) in schema.keys.iter().zip(&mut batch.keys) {
        *column = match key.kind {
            KeyType::Int64 => KeyColumn::Int64(Vec::new()),
            KeyType::String => KeyColumn::String(Vec::new()),
        };
    }
    batch
}

/// Bytes that a rank sends in a step.
fn sent(program: &Arc<Program>, inner: Arc<dyn Communicator>) -> f64 {
    let (rank, ranks) = (inner.rank(), inner.size());
    let measured = Arc::new(MeasuredCommunicator::new(inner));
    let sent = || measured.traffic().iter().map(|traffic| traffic.sent).sum::<u64>();
    let threads = Threads::new(1).unwrap();
    let executor = CpuExecutor::new(program.clone(), threads.clone(), cpu::detect()).unwrap();
    let plan = ShardPlan {
        sharding: Sharding { buckets: DEFAULT_LEAVES, rank, ranks },
        placements: program.tables.iter().map(|table| choose(table, ranks, None)).collect(),
    };
    let model = ModelState::of_shard(program.clone(), &threads, 1, &plan).unwrap();
    let mut session = Session::with_model(Box::new(executor), threads, model);
    session.set_leaves(DEFAULT_LEAVES);
    session.join_ranks(measured.clone(), plan).unwrap();
    let parts: Vec<Batch> = (0..STEPS).map(|number| part(program, number, rank, ranks)).collect();
    let mut counted = session.id_frequencies();
    for (_, frequencies) in &mut counted {
        parts.iter().for_each(|part| frequencies.add(&program.schema, part));
    }
    session.join_frequencies(counted).unwrap();
    let before = sent();
    for part in &parts {
        assert!(session.train(part).unwrap().is_finite());
    }
    (sent() - before) as f64 / STEPS as f64
}

fn check(name: &str, model: &CheckedModel) {
    let options = CompileOptions { levels: vec![cpu::detect()], ..CompileOptions::default() };
    let program = Arc::new(compile(model, &options).unwrap().program);
    let tables = program.tables.iter().map(|table| {
        let rows = match table.kind {
            din_program::schema::TableKind::Fixed { size } => size,
            din_program::schema::TableKind::Dynamic { .. } => ROWS,
        };
        TableIds { rows, distribution: IdDistribution::Zipf { rows, exponent: EXPONENT } }
    });
    let lengths = vec![LENGTH as f64; program.schema.sequences.len()];
    let model = ModelUse { program: &program, tables: tables.collect(), lengths, candidates: 1.0, samples: None };
    for ranks in [2, 3, 4, 16] {
        let of_ranks: Vec<f64> = std::thread::scope(|scope| {
            let run = |inner| scope.spawn(|| sent(&program, inner));
            let running: Vec<_> = in_process(ranks).into_iter().map(run).collect();
            running.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        let options = RunPlanOptions {
            ranks,
            batch: BATCH as u32,
            leaves: DEFAULT_LEAVES,
            threads: 1,
            epochs: 1,
            placements: vec![None; program.tables.len()],
            rates: Rates::cpu(1),
            memory: None,
        };
        let plan = Plan::new(&model, &options);
        // Batches are made where they are trained: no samples travel.
        let predicted = plan.traffic.total.sent - plan.traffic.samples.sent;
        // Ranks with as many leaves differ by where frequent ids happen to be.
        let found = match ranks.is_power_of_two() {
            true => of_ranks.iter().sum::<f64>() / ranks as f64,
            false => of_ranks[plan.rank],
        };
        assert!((predicted / found - 1.0).abs() < 0.02, "{name}, {ranks} ranks: {predicted} predicted, {of_ranks:?}");
    }
}

#[test]
fn bytes_per_step_are_those_of_the_plan() {
    for name in ["din", "din_dice"] {
        check(name, &specs::model(&specs::root().join(format!("models/{name}.din"))));
    }
}

/// Squares of gradients are summed over the rows of tables before the updates.
#[test]
fn bytes_of_the_norm_of_all_gradients_are_those_of_the_plan() {
    let spec = "
edition 2026
use std.loss.cross_entropy
use std.metric.log_loss
use std.optimizer.sgd
model limited {
    features ad { item: category  shop: category }
    label click: binary
    embedding item [500] for ad.item
    embedding shop [20] for ad.shop
    predict click ~ bernoulli(logit = sum(item(ad.item)) + sum(shop(ad.shop)))
    train { loss cross_entropy(click)  optimizer sgd(lr = 0.1)  clip global_norm 0.1  batch 2048  epochs 1 }
    report log_loss(click)
}";
    check("limited", &specs::checked("limited.din", spec));
}

/// An optimizer that sums over the rows of a table, which lie on several ranks.
#[test]
fn bytes_of_sums_over_rows_are_those_of_the_plan() {
    let spec = "
edition 2026
use std.loss.cross_entropy
use std.metric.log_loss
use std.optimizer.sgd
optimizer normed(lr) per tensor {
    state norm = 0
    norm = sqrt(sum(grad * grad))
    weight = weight - lr * grad / (norm + 1)
}
model normed_rows {
    features ad { item: category }
    label click: binary
    embedding item [500] for ad.item { optimizer normed(lr = 0.1) }
    predict click ~ bernoulli(logit = sum(item(ad.item)))
    train { loss cross_entropy(click)  optimizer sgd(lr = 0.1)  batch 2048  epochs 1 }
    report log_loss(click)
}";
    check("normed", &specs::checked("normed.din", spec));
}
