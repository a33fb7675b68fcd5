//! Models with `common` features on the shim: the same losses, logits and tables as the model
//! without `common` on the CPU, where a value that requests share is there once a sample.

use crate::models::small;
use din_compiler::codegen::cuda;
use din_compiler::{CompileOptions, compile};
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::cuda::CudaExecutor as Device;
use din_runtime::exec::{BatchCut, DenseState, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use din_tests::cuda::{self as shim, Shim};
use din_tests::random_graph::Random;
use din_tests::requests::{E, IDS, Log, UNIT, logs, model};
use din_tests::tables::tables;
use std::sync::Arc;

/// Losses of training, logits afterwards, and all weights of tables.
#[derive(Debug, PartialEq)]
struct Trained {
    losses: Vec<f32>,
    logits: Vec<f32>,
    tables: Vec<f32>,
}

/// Among short requests some whose samples, or entries, make a tile alone, in shared memory or
/// beyond.
fn mixed() -> Vec<Log> {
    let mut all = logs();
    all.truncate(3);
    all.push(Log::new(20, vec![40, 1, 2, 90], vec![3, 0, 30, 5]));
    all.push(Log::new(21, vec![1; 30], vec![1; 30]));
    all.push(Log::new(22, vec![17], vec![0]));
    all
}

/// Rows of fixed tables are ids.
fn rows(program: &din_program::Program, batch: &Batch) -> Vec<Vec<Vec<u32>>> {
    let of = |f: &u32| batch.ids[*f as usize].iter().map(|&id| id as u32).collect();
    program.tables.iter().map(|t| t.features.iter().map(of).collect()).collect()
}

fn inputs<'a>(batch: &'a Batch, row_numbers: &'a [Vec<Vec<u32>>]) -> StepInputs<'a> {
    StepInputs {
        rows: batch.rows,
        requests: &batch.requests,
        offsets: &batch.offsets,
        row_numbers,
        dense: &batch.dense,
        labels: &batch.labels,
        present: &batch.present,
        fetched: None,
        cut: BatchCut::Whole(DEFAULT_LEAVES),
        first_row: 0,
        epoch: 1,
    }
}

fn start(program: &din_program::Program) -> (DenseState, Vec<Table>) {
    let mut r = Random::new(5);
    let mut state = DenseState::new(program);
    let mut fill = |values: &mut [f32]| {
        let numbers = r.numbers(values.len());
        values.iter_mut().zip(numbers).for_each(|(to, from)| *to = from as f32 * 0.2);
    };
    state.params.iter_mut().for_each(|p| fill(p));
    let mut tables = tables(program, 9).unwrap();
    for table in &mut tables {
        assert_eq!(table.rows(), IDS);
        fill(table.weights_mut());
        table.frequency_mut().fill(3.0);
    }
    (state, tables)
}

fn on_cpu(common: bool, activation: &str) -> Trained {
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
    let program = Arc::new(compile(&model(common, activation), &options).unwrap().program);
    let mut engine = CpuExecutor::new(program.clone(), Threads::new(1).unwrap(), cpu::detect()).unwrap();
    let (mut state, mut tables) = start(&program);
    let mut losses = Vec::new();
    for log in mixed() {
        let batch = log.batch(common);
        let rows = rows(&program, &batch);
        losses.push(engine.train_step(&mut state, &mut tables, &inputs(&batch, &rows)).unwrap());
    }
    let batch = mixed()[3].batch(common);
    engine.infer(&state, &tables, &inputs(&batch, &rows(&program, &batch))).unwrap();
    let logits = engine.predicted(0).to_vec();
    Trained { losses, logits, tables: tables.iter().flat_map(|t| t.weights().to_vec()).collect() }
}

fn on_device(common: bool, activation: &str, seeds: &[u64]) -> Vec<Trained> {
    let options = CompileOptions { levels: vec![], checked: true, ..CompileOptions::default() };
    let compiled = compile(&model(common, activation), &options).unwrap();
    let made = cuda::program(&compiled.program, &compiled.kernels, &small()).unwrap();
    let (program, launches) = (Arc::new(compiled.program), Arc::new(made.launches));
    let device = shim::Device::compile(&made.source, 1).unwrap();
    let train = |&seed: &u64| {
        let (mut state, mut tables) = start(&program);
        let mut engine = Device::new(program.clone(), launches.clone(), Shim::new(&device, seed)).unwrap();
        engine.upload(&state, &tables).unwrap();
        let mut losses = Vec::new();
        for log in mixed() {
            let batch = log.batch(common);
            let rows = rows(&program, &batch);
            losses.push(engine.train_step(&mut tables, &inputs(&batch, &rows)).unwrap_or_else(|e| panic!("{e}")));
        }
        let batch = mixed()[3].batch(common);
        engine.infer(&mut tables, &inputs(&batch, &rows(&program, &batch))).unwrap_or_else(|e| panic!("{e}"));
        let logits = engine.predicted(0).to_vec();
        engine.download(&mut state, &mut tables).unwrap();
        Trained { losses, logits, tables: tables.iter().flat_map(|t| t.weights().to_vec()).collect() }
    };
    seeds.iter().map(train).collect()
}

fn agree(found: &Trained, expected: &Trained, what: &str) {
    let close = |a: &[f32], b: &[f32], bound: f32| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= bound * b.abs().max(0.1))
    };
    assert!(close(&found.losses, &expected.losses, 2e-5), "{what}: {:?} {:?}", found.losses, expected.losses);
    assert!(close(&found.logits, &expected.logits, 1e-3), "{what}: {:?} {:?}", found.logits, expected.logits);
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let off = norm(&mut found.tables.iter().zip(&expected.tables).map(|(a, b)| a - b));
    let off = off / norm(&mut expected.tables.iter().copied());
    assert!(found.tables.len() == expected.tables.len() && off < 1e-4, "{what}: tables are off by {off:e}");
}

/// What is stored of pairs of a candidate and an entry is a layer of the unit or a key's gradient,
/// never their concatenation.
#[test]
fn pairs_store_no_concatenation() {
    let options = CompileOptions { levels: vec![], checked: true, ..CompileOptions::default() };
    let program = compile(&model(true, "dice"), &options).unwrap().program;
    let axes = &program.train.axes;
    for schedule in [&program.train, &program.infer] {
        let pairs = schedule.buffers.iter().filter(|b| axes.shared(b.axis).is_some() && axes.has_entries(b.axis));
        let mut widths: Vec<usize> = pairs.map(|b| b.width as usize).collect();
        widths.sort_unstable();
        widths.dedup();
        assert!(widths.iter().all(|w| [1, E, UNIT[0], UNIT[1]].contains(w)), "{widths:?}");
    }
}

#[test]
fn deduplicated_equals_replicated() {
    let expected = on_cpu(false, "dice");
    let once = on_device(true, "dice", &[1, 2]);
    agree(&once[0], &expected, "common on the device, flat on the CPU");
    assert!(once[0] == once[1], "the order of threads changes bits");
    agree(&on_device(false, "dice", &[3])[0], &expected, "flat on the device and on the CPU");
}
