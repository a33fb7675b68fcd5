//! The CUDA executor on the shim, compared with the CPU executor: tables that grow between steps,
//! values that move between the two, memory that is used again, and what goes wrong.

use crate::models::{files, model, name, samples, small};
use crate::units::units;
use din_compiler::codegen::cuda;
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::cuda::{Cuda, Precision};
use din_program::schema::TableKind;
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::cuda::{CudaExecutor, CudaOptions, DeviceError};
use din_runtime::exec::{Backend, DenseState, Executor, ProfileRow};
use din_runtime::session::Session;
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use din_tests::cuda::{ARCHITECTURE, Columns, Device, Shim, Trainer, columns};
use din_tests::random_graph::Random;
use din_tests::tables::tables;
use std::sync::Arc;

pub struct Case {
    pub model: CheckedModel,
    pub program: Arc<Program>,
    pub launches: Arc<Cuda>,
    pub device: Device,
}

pub fn case(wanted: &str) -> Case {
    let file = files().into_iter().find(|f| name(f) == wanted);
    let unit = || units().into_iter().find(|(name, _)| name == wanted).unwrap().1;
    let model = file.map_or_else(unit, |file| model(&file));
    let levels = vec![cpu::detect()];
    let compiled = compile(&model, &CompileOptions { levels, checked: false, ..CompileOptions::default() }).unwrap();
    let made = cuda::program(&compiled.program, &compiled.kernels, &small()).unwrap();
    let device = Device::compile(&made.source, 1).unwrap();
    Case { model, program: Arc::new(compiled.program), launches: Arc::new(made.launches), device }
}

impl Case {
    /// A model before training; tables have the OOV row alone.
    pub fn start(&self) -> (DenseState, Vec<Table>) {
        let mut r = Random::new(5);
        let mut state = DenseState::new(&self.program);
        for values in &mut state.params {
            let numbers = r.numbers(values.len());
            values.iter_mut().zip(numbers).for_each(|(to, from)| *to = from as f32 * 0.2);
        }
        let mut tables = tables(&self.program, 9).unwrap();
        tables.iter_mut().for_each(|t| t.frequency_mut().fill(4.0));
        (state, tables)
    }

    pub fn trainer(&self, state: DenseState, tables: Vec<Table>) -> Trainer<Shim<'_>> {
        Trainer::new(&self.program, &self.launches, Shim::new(&self.device, 3), state, tables).unwrap()
    }

    /// One with other choices, from the start.
    pub fn trainer_with(&self, options: CudaOptions) -> Result<Trainer<Shim<'_>>, DeviceError> {
        let (state, tables) = self.start();
        Trainer::with(&self.program, &self.launches, Shim::new(&self.device, 3), state, tables, options)
    }

    /// A batch whose row numbers are ids, from `first` on.
    pub fn batch(&self, r: &mut Random, size: usize, first: u32) -> Columns {
        let mut batch = columns(&self.program, &samples(&self.model, r, size, 9));
        for (table, features) in self.program.tables.iter().zip(&mut batch.row_numbers) {
            let size = match table.kind {
                TableKind::Fixed { size, .. } => size as u32,
                TableKind::Dynamic { .. } => u32::MAX,
            };
            features.iter_mut().flatten().for_each(|id| *id = (*id + first) % size);
        }
        batch
    }
}

/// The batch with rows for its ids.
pub fn resolved(batch: &Columns, tables: &mut [Table]) -> Columns {
    let mut batch = batch.clone();
    for (table, features) in tables.iter_mut().zip(&mut batch.row_numbers) {
        for rows in features {
            let ids: Vec<u64> = rows.iter().map(|&id| u64::from(id)).collect();
            table.resolve_train(&ids, rows).unwrap();
        }
        // As if a counting pass had been.
        table.frequency_mut().fill(4.0);
    }
    batch
}

pub fn on_gpu(trainer: &mut Trainer<Shim<'_>>, batch: &Columns) -> Result<f32, DeviceError> {
    let batch = resolved(batch, &mut trainer.tables);
    let loss = trainer.engine.train_step(&mut trainer.tables, &batch.inputs())?;
    Ok(loss)
}

fn on_cpu(engine: &mut CpuExecutor, state: &mut DenseState, tables: &mut [Table], batch: &Columns) -> f32 {
    let batch = resolved(batch, tables);
    engine.train_step(state, tables, &batch.inputs()).unwrap()
}

fn close(found: f32, expected: f32, what: &str) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{what}: {found} for {expected}");
}

/// From step to step the ids move on, so that tables grow; then the device's values go to the CPU
/// engine, and from there to another device.
fn moves(wanted: &str) {
    let case = case(wanted);
    let mut cpu = CpuExecutor::new(case.program.clone(), Threads::new(2).unwrap(), cpu::detect()).unwrap();
    let (mut state, mut tables) = case.start();
    let (first, second) = case.start();
    let mut trainer = case.trainer(first, second);
    let mut r = Random::new(11);
    let mut rows = Vec::new();
    for step in 0..6 {
        let batch = case.batch(&mut r, 10, 9 * step);
        let expected = on_cpu(&mut cpu, &mut state, &mut tables, &batch);
        close(on_gpu(&mut trainer, &batch).unwrap(), expected, &format!("{wanted}, step {step}"));
        rows.push(tables.iter().map(Table::rows).sum::<usize>());
    }
    assert!(rows.windows(2).all(|w| w[0] < w[1]), "{rows:?}");
    trainer.download().unwrap();
    let Trainer { state: mut moved, tables: mut moved_tables, .. } = trainer;
    assert_eq!(moved.step, 6);
    for (a, b) in moved_tables.iter().zip(&tables) {
        assert_eq!((a.rows(), a.updates()), (b.rows(), b.updates()), "{}", a.name());
    }
    for step in 6..9 {
        let batch = case.batch(&mut r, 10, 9 * step);
        let expected = on_cpu(&mut cpu, &mut state, &mut tables, &batch);
        let found = on_cpu(&mut cpu, &mut moved, &mut moved_tables, &batch);
        close(found, expected, &format!("{wanted}, step {step}, moved to the CPU"));
    }
    let mut trainer = case.trainer(moved, moved_tables);
    for step in 9..12 {
        let batch = case.batch(&mut r, 10, 9 * step);
        let expected = on_cpu(&mut cpu, &mut state, &mut tables, &batch);
        close(on_gpu(&mut trainer, &batch).unwrap(), expected, &format!("{wanted}, step {step}, moved back"));
    }
    // Inference reads what the steps have written.
    let columns = case.batch(&mut r, 17, 0);
    let batch = resolved(&columns, &mut tables);
    let again = resolved(&columns, &mut trainer.tables);
    cpu.infer(&state, &tables, &batch.inputs()).unwrap();
    trainer.engine.infer(&mut trainer.tables, &again.inputs()).unwrap();
    assert_eq!(trainer.engine.predicted(0).len(), 17);
    for (found, expected) in trainer.engine.predicted(0).iter().zip(cpu.predicted(0)) {
        assert!((found - expected).abs() <= 1e-4 * (1.0 + expected.abs()), "{found} for {expected}");
    }
}

#[test]
fn din_moves_between_devices() {
    moves("din");
}

/// Every row is updated in each step.
#[test]
fn kuairand_moves_between_devices() {
    moves("kuairand");
}

#[test]
fn memory_is_used_again() {
    let case = case("din");
    let (state, tables) = case.start();
    let mut trainer = case.trainer(state, tables);
    let mut r = Random::new(2);
    let batches: Vec<Columns> = [3, 12, 1, 30, 7, 19].map(|n| case.batch(&mut r, n, 0)).into();
    // All ids have rows after the first time: tables no longer grow.
    for _ in 0..2 {
        for batch in &batches {
            on_gpu(&mut trainer, batch).unwrap();
        }
    }
    let before = trainer.engine.driver().allocations;
    for batch in batches.iter().rev() {
        on_gpu(&mut trainer, batch).unwrap();
    }
    assert_eq!(trainer.engine.driver().allocations, before, "batches of sizes that have been there");
    // One more sample each time: a block grows each time it is a quarter larger, not each time.
    // Only allocations are looked at.
    trainer.engine.driver().idle.set(true);
    for n in 30..60 {
        on_gpu(&mut trainer, &case.batch(&mut r, n, 0)).unwrap();
    }
    let grown = trainer.engine.driver().allocations - before;
    assert!(grown <= 4 * 6, "{grown} allocations for 30 batches");
}

#[test]
fn refusals_change_nothing_and_failures_are_told() {
    let case = case("din");
    let (state, tables) = case.start();
    let (first, second) = case.start();
    let (mut trainer, mut other) = (case.trainer(state, tables), case.trainer(first, second));
    let mut r = Random::new(4);
    let batches: Vec<Columns> = (0..4).map(|k| case.batch(&mut r, 6 + 20 * k, 0)).collect();
    let expected: Vec<f32> = batches.iter().map(|b| on_gpu(&mut other, b).unwrap()).collect();
    assert_eq!(on_gpu(&mut trainer, &batches[0]), Ok(expected[0]));

    // No memory.
    trainer.engine.driver().refused.set(1);
    let batch = resolved(&batches[1], &mut trainer.tables);
    let error = trainer.engine.train_step(&mut trainer.tables, &batch.inputs()).unwrap_err();
    assert!(matches!(error, DeviceError::Memory { .. }) && error.to_string().contains("smaller batch"), "{error}");
    trainer.engine.driver().refused.set(usize::MAX);
    // A row that is not there.
    let mut wrong = resolved(&batches[1], &mut trainer.tables);
    wrong.row_numbers[0][0][0] = 1 << 20;
    let error = trainer.engine.train_step(&mut trainer.tables, &wrong.inputs()).unwrap_err();
    assert!(matches!(error, DeviceError::Input(_)) && error.to_string().contains("names row 1048576"), "{error}");
    // Neither has changed anything.
    assert_eq!(on_gpu(&mut trainer, &batches[1]), Ok(expected[1]));

    trainer.download().unwrap();
    let driver = trainer.engine.driver();
    let mut launches = driver.list.lines().filter(|l| l.starts_with("Launch"));
    let at = launches.position(|l| l.contains("\"din_train_1\"")).unwrap();
    driver.failing.set(driver.launches + at as u64 + 1);
    let error = on_gpu(&mut trainer, &batches[2]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("din.din:") && text.contains("din_train_"), "{text}");
    assert_eq!(on_gpu(&mut trainer, &batches[2]), Err(DeviceError::Lost));
    assert_eq!(trainer.download(), Err(DeviceError::Lost));
    trainer.engine.upload(&trainer.state, &trainer.tables).unwrap();
    assert_eq!(on_gpu(&mut trainer, &batches[2]), Ok(expected[2]));
    assert_eq!(on_gpu(&mut trainer, &batches[3]), Ok(expected[3]));
}

/// Steps are asked for before the losses of those before them: the same losses, in order, and the
/// same values.
fn runs_ahead(options: CudaOptions) {
    let case = case("din");
    let (mut one_by_one, mut ahead) = (case.trainer_with(options).unwrap(), case.trainer_with(options).unwrap());
    let mut r = Random::new(14);
    let batches: Vec<Columns> = (0..11).map(|k| case.batch(&mut r, 6 + k, [0, 30, 60, 90][k % 4])).collect();
    let expected: Vec<f32> = batches.iter().map(|b| on_gpu(&mut one_by_one, b).unwrap()).collect();
    let mut found = Vec::new();
    assert_eq!(ahead.engine.next_loss(), Ok(None));
    for (k, batch) in batches.iter().enumerate() {
        let batch = resolved(batch, &mut ahead.tables);
        ahead.engine.train_ahead(&mut ahead.tables, &batch.inputs()).unwrap();
        // One behind, and then none for longer than fetches last.
        if (1..4).contains(&k) {
            found.push(ahead.engine.next_loss().unwrap().unwrap());
        }
        if k == 6 {
            // Inference between them is of the values so far.
            let batch = resolved(&batches[0], &mut ahead.tables);
            ahead.engine.infer(&mut ahead.tables, &batch.inputs()).unwrap();
        }
    }
    while let Some(loss) = ahead.engine.next_loss().unwrap() {
        found.push(loss);
    }
    assert_eq!(found, expected);
    crate::lists::same(&mut one_by_one, &mut ahead);
}

#[test]
fn steps_run_ahead() {
    runs_ahead(CudaOptions::default());
}

#[test]
fn steps_run_ahead_in_parts() {
    runs_ahead(CudaOptions { table_memory: Some(24 << 10), ..CudaOptions::default() });
}

/// The batch as data sets give it.
fn batch_of(program: &Program, columns: &Columns) -> Batch {
    let mut ids = vec![Vec::new(); program.schema.features.len()];
    for (table, numbers) in program.tables.iter().zip(&columns.row_numbers) {
        for (&f, rows) in table.features.iter().zip(numbers) {
            ids[f as usize] = rows.iter().map(|&row| u64::from(row)).collect();
        }
    }
    Batch {
        rows: columns.rows,
        offsets: columns.offsets.clone(),
        ids,
        dense: columns.dense.clone(),
        labels: columns.labels.clone(),
        present: columns.present.clone(),
        ..Batch::default()
    }
}

/// What `din train` does: a counting pass, steps, evaluation and a checkpoint between them, and it
/// goes on from the checkpoint elsewhere.
#[test]
fn a_session_trains_on_a_device() {
    session(CudaOptions::default());
}

/// The same where the device has no room for the tables.
#[test]
fn a_session_trains_in_parts() {
    session(CudaOptions { table_memory: Some(24 << 10), ..CudaOptions::default() });
}

fn session(options: CudaOptions) {
    let case: &'static Case = Box::leak(Box::new(case("din")));
    let threads = Threads::new(2).unwrap();
    let session = |executor: Box<dyn Executor>| Session::new(executor, threads.clone(), 7).unwrap();
    let on_cpu = CpuExecutor::new(case.program.clone(), threads.clone(), cpu::detect()).unwrap();
    let (program, launches, shim) = (case.program.clone(), case.launches.clone(), Shim::new(&case.device, 8));
    let on_shim = CudaExecutor::with(program, launches, shim, options, threads.clone()).unwrap();
    let (mut cpu, mut gpu) = (session(Box::new(on_cpu)), session(Box::new(on_shim)));
    let backend = Backend::Cuda { architecture: ARCHITECTURE, precision: Precision::F32 };
    assert_eq!(gpu.backend(), backend);
    let mut r = Random::new(21);
    let batches: Vec<Batch> =
        (0..8).map(|k| batch_of(&case.program, &case.batch(&mut r, 8 + k as usize, 5 * k))).collect();
    // Values are there already when counts come.
    gpu.infer(&batches[0]).unwrap();
    for session in [&mut cpu, &mut gpu] {
        let mut counters = session.frequency_counters();
        assert!(!counters.is_empty());
        batches.iter().for_each(|b| session.count(&mut counters, b).unwrap());
        session.finish_counting(counters).unwrap();
    }
    gpu.set_profile(true).unwrap();
    for (k, batch) in batches.iter().enumerate() {
        let expected = cpu.train(batch).unwrap();
        match k % 2 {
            0 => close(gpu.train(batch).unwrap(), expected, &format!("step {k}")),
            _ => {
                gpu.submit_step(batch).unwrap();
                close(gpu.next_loss().unwrap().unwrap(), expected, &format!("step {k}"));
                assert_eq!(gpu.next_loss().unwrap(), None);
            }
        }
        assert_eq!(gpu.step_number(), k as u64 + 1);
        if k == 3 || k == 5 {
            cpu.infer(batch).unwrap();
            gpu.infer(batch).unwrap();
            for (found, expected) in gpu.predicted(0).iter().zip(cpu.predicted(0)) {
                assert!((found - expected).abs() <= 1e-4 * (1.0 + expected.abs()), "{found} for {expected}");
            }
            assert_eq!(gpu.model().unwrap().dense.step, k as u64 + 1);
        }
    }
    // Training alone, on the device alone.
    let (rows, spans) = gpu.profile();
    let steps = |r: &ProfileRow| r.schedule != "train" || r.calls == 8;
    assert!(rows.iter().all(|r| steps(r) && !r.name.starts_with("din_infer")) && !spans.is_empty(), "{rows:?}");
    assert_eq!((gpu.device(), cpu.device()), (Some(backend), None));
    let (found, expected) = (gpu.model().unwrap(), cpu.model().unwrap());
    assert_eq!(found.dense.step, expected.dense.step);
    for (a, b) in found.tables.iter().zip(&expected.tables) {
        assert_eq!((a.rows(), a.updates(), a.frequency()), (b.rows(), b.updates(), b.frequency()), "{}", a.name());
    }
    for (a, b) in found.dense.params.iter().zip(&expected.dense.params) {
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} for {b}"));
    }
}

/// Several sessions read one model: on a CPU, on a device, and on one with some of the rows.
#[test]
fn a_shared_model_is_read_on_devices() {
    let case: &'static Case = Box::leak(Box::new(case("din")));
    let threads = Threads::new(2).unwrap();
    let on_cpu = || Box::new(CpuExecutor::new(case.program.clone(), threads.clone(), cpu::detect()).unwrap());
    let on_shim = |options| {
        let shim = Shim::new(&case.device, 8);
        let (program, launches) = (case.program.clone(), case.launches.clone());
        Box::new(CudaExecutor::with(program, launches, shim, options, threads.clone()).unwrap())
    };
    let mut r = Random::new(23);
    let batches: Vec<Batch> = (0..6).map(|k| batch_of(&case.program, &case.batch(&mut r, 8, 30 * (k % 3)))).collect();
    let mut trained = Session::new(on_cpu(), threads.clone(), 7).unwrap();
    let mut counters = trained.frequency_counters();
    batches.iter().for_each(|batch| trained.count(&mut counters, batch).unwrap());
    trained.finish_counting(counters).unwrap();
    for batch in &batches {
        assert!(trained.train(batch).unwrap().is_finite());
    }
    let model = trained.into_shared().unwrap();
    let before: Vec<Vec<f32>> = model.tables.iter().map(|table| table.weights().to_vec()).collect();
    let mut reference = Session::reader(on_cpu(), threads.clone(), model.clone());
    let some = CudaOptions { table_memory: Some(24 << 10), ..CudaOptions::default() };
    for options in [CudaOptions::default(), some] {
        let mut reader = Session::reader(on_shim(options), threads.clone(), model.clone());
        for batch in batches.iter().chain(&batches) {
            reference.infer(batch).unwrap();
            reader.infer(batch).unwrap();
            for (found, expected) in reader.predicted(0).iter().zip(reference.predicted(0)) {
                assert!((found - expected).abs() <= 1e-4 * (1.0 + expected.abs()), "{found} for {expected}");
            }
        }
        let error = reader.train(&batches[0]).unwrap_err().to_string();
        assert!(error.contains("a model that is shared can be read only"), "{error}");
    }
    assert!(model.tables.iter().zip(&before).all(|(table, before)| table.weights() == before));
}

/// Launches are data like any other: numbers that lead nowhere are errors.
#[test]
fn launches_that_do_not_fit_are_refused() {
    use din_program::cuda::{Grid, PointerArg, Tiling};
    use din_program::schedule::{AxisId, BATCH, BufferId, KernelArg};
    let case = case("din");
    let refused = |change: &dyn Fn(&mut Cuda), said: &str| {
        let mut launches = (*case.launches).clone();
        change(&mut launches);
        let driver = Shim::new(&case.device, 1);
        let made = CudaExecutor::new(case.program.clone(), Arc::new(launches), driver);
        let Err(error) = made else { panic!("nothing was said: {said}") };
        assert!(matches!(error, DeviceError::Program(_)) && error.to_string().contains(said), "{error}");
    };
    refused(&|c| c.schedules.truncate(2), "schedules");
    refused(&|c| c.threads = 48, "48 threads");
    refused(&|c| c.schedules[0].pointers[0] = PointerArg::Buffer(BufferId(1 << 20)), "buffer 1048576");
    refused(&|c| c.schedules[1].pointers[0] = PointerArg::Tiles(99), "tiling 99");
    refused(&|c| c.schedules[0].pointers[0] = PointerArg::Argument(KernelArg::Table(77)), "table 77");
    refused(&|c| c.schedules[0].tilings[0].samples = 0, "tiles of");
    // There are no requests for samples to be under.
    refused(&|c| c.schedules[0].pointers[0] = PointerArg::Offsets(BATCH), "axis 1 has no entries");
    refused(&|c| c.schedules[0].tilings[0] = Tiling { axis: BATCH, samples: 4, entries: 4 }, "axis 1 has no entries");
    let above = KernelArg::Ancestor { of: BATCH, to: AxisId(2) };
    refused(&|c| c.schedules[0].pointers[0] = PointerArg::Argument(above), "elements of axis 2 above those of axis 1");
    refused(&|c| c.schedules[0].launches[0].grid = Grid::Tiles { tiling: 50 }, "tiling 50");
    refused(&|c| c.schedules[0].launches[0].phase = 1 << 20, "phase 1048576");
}
