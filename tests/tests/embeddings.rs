//! Settings of embedding tables, on one rank and on several that are threads of this process.
#![allow(clippy::unwrap_used)]

use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_runtime::batch::Batch;
use din_runtime::comm::{Communicator, LocalCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::random::Stream;
use din_runtime::table::Placement;
use din_runtime::threads::Threads;
use din_tests::batches::batch;
use din_tests::random_graph::Random;
use din_tests::rank_training::{Row, TrainedRank, bits, train_rank};
use din_tests::specs;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The seed of [`train_rank`].
const SEED: u64 = 11;

fn program(file: &str, text: &str) -> Arc<Program> {
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
    Arc::new(compile(&specs::checked(file, text), &options).unwrap().program)
}

fn trained(program: &Arc<Program>, batches: &[Batch], ranks: usize) -> Vec<TrainedRank> {
    let comms = if ranks == 1 { vec![Arc::new(LocalCommunicator) as Arc<dyn Communicator>] } else { in_process(ranks) };
    std::thread::scope(|scope| {
        let run = |comm| {
            scope.spawn(move || {
                let threads = Threads::new(1).unwrap();
                let executor = CpuExecutor::new(program.clone(), threads.clone(), cpu::detect()).unwrap();
                let placements = vec![Placement::Sharded; program.tables.len()];
                train_rank(Box::new(executor), threads, batches, 16, &comm, placements)
            })
        };
        let handles: Vec<_> = comms.into_iter().map(run).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// The rows of a table on all ranks.
fn rows(ranks: &[TrainedRank], table: usize) -> BTreeMap<u64, Row> {
    ranks.iter().flat_map(|rank| rank.tables[table].clone()).collect()
}

#[test]
fn frozen_rows_stay_as_they_start_and_have_no_state() {
    let program = program("frozen.din", specs::FROZEN);
    let mut random = Random::new(5);
    let batches: Vec<Batch> = (0..4).map(|_| batch(&program.schema, 200, &mut random)).collect();
    for ranks in [1, 3] {
        let trained = trained(&program, &batches, ranks);
        for (t, spec) in program.tables.iter().enumerate() {
            let mut rows = rows(&trained, t);
            let oov = rows.remove(&u64::MAX);
            assert_eq!(oov.is_some(), spec.name != "kinds");
            let key = Stream::key(SEED, &format!("table {}", spec.name));
            let start = |id: u64| {
                let mut start = vec![0.0; spec.width as usize];
                Stream::keyed(key, id).fill(spec.init, &mut start);
                start
            };
            assert!(rows.len() > 3, "{} ids", rows.len());
            if spec.name == "own" {
                assert!(rows.iter().all(|(&id, row)| row[..3] != bits(&start(id))), "it is trained");
                continue;
            }
            // Weights, frequency, number of updates; nothing of an optimizer.
            let expected = |id: u64| [bits(&start(id)), vec![0, 0]].concat();
            rows.iter().for_each(|(&id, row)| assert_eq!(*row, expected(id), "{} of {}", id, spec.name));
            for (k, &found) in oov.iter().flat_map(|row| row.iter().take(5).enumerate()) {
                let mean = rows.keys().map(|&id| f64::from(start(id)[k])).sum::<f64>() / rows.len() as f64;
                assert!((f64::from(f32::from_bits(found)) - mean).abs() < 1e-6, "the mean of all rows");
            }
        }
    }
}
