//! Training on several ranks gives the bits of one: for every kind of model, at any number of ranks
//! and threads. Ranks are threads of this process.

use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_runtime::batch::Batch;
use din_runtime::comm::{Communicator, LocalCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::table::Placement;
use din_runtime::threads::Threads;
use din_tests::batches::batch;
use din_tests::random_graph::Random;
use din_tests::rank_training::{Row, TrainedRank, bits, train_rank};
use din_tests::specs;
use std::collections::BTreeMap;
use std::sync::Arc;

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
        let run = |comm| {
            scope.spawn(move || {
                let threads = Threads::new(threads).unwrap();
                let executor = CpuExecutor::new(program.clone(), threads.clone(), cpu::detect()).unwrap();
                let placements = vec![placement; program.tables.len()];
                train_rank(Box::new(executor), threads, batches, leaves, &comm, placements)
            })
        };
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

/// The norm of all gradients is summed over the rows of several tables and over dense weights; rows
/// lie on several ranks and come in another order at every number of ranks. Together with an
/// optimizer that sums over rows itself.
#[test]
fn a_limit_of_the_norm_of_all_gradients_has_the_bits_of_one_rank() {
    let spec = |table: &str, rule: &str| {
        format!(
            "edition 2026\nuse std.activation.relu\nuse std.layer.linear\nuse std.loss.cross_entropy\n\
             use std.metric.log_loss\nuse std.optimizer.{{adam, sgd}}\nuse std.pooling.mean_pool\n\
             optimizer trust(lr) per tensor {{\n    state norm = 0\n    norm = 0.9 * norm + sqrt(sum(grad * grad))\n\
             weight = weight - lr * grad / (norm + 0.1)\n}}\n\
             model unit {{\nfeatures one {{ e: {table}  f: {table} from one_f }}\n\
             sequence many {{ e: {table} from many_e }}\nlabel y: binary\n\
             embedding table [5] for one.e, many.e {{ optimizer adam(lr = 0.1) {rule} }}\n\
             embedding other [3] for one.f {{ optimizer trust(lr = 0.1) }}\n\
             let x = concat(table(one.e) * mean_pool(table(many.e)), other(one.f))\n\
             let hidden = relu(linear(x, 4))\npredict y ~ bernoulli(logit = linear(hidden, 1))\n\
             train {{ loss cross_entropy(y)  optimizer sgd(lr = 0.1)  clip global_norm 0.01  batch 5  epochs 1 }}\n\
             report log_loss(y)\n}}\n"
        )
    };
    for table in ["category", "category(70)"] {
        for rule in ["", "with dense updates"] {
            let model = specs::checked("unit.din", &spec(table, rule));
            check(&format!("{table} {rule}"), &model, &SIZES, 16, &[2, 4]);
        }
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
