//! Everything that CI checks of the CUDA back end without a GPU, on a GPU: fails, never falls back.
//! `bench/gpu.sh` runs it.
//!
//! ```text
//! gpu_check [--device 0] [--only graphs,units,models,steps] [--quick] [--threads N] [--seconds N]
//! ```
//!
//! - `graphs`: random graphs, forward and backward, against the interpreter, within 32 epsilon
//!   times the magnitude of what was summed; and products on tensor cores within what their
//!   operands' rounding allows.
//! - `units`, `models`: twenty training steps of every unit of the standard library, every
//!   optimizer and every model, and inference, against the interpreter: every tensor within 1e-4 of
//!   its norm; two runs equal bit for bit.
//! - `steps`: 200 steps of DIN on batches of 1024, with the launches that users get: losses and
//!   weights within 1e-4 of the CPU's; a second run, and one that goes to the host and back in the
//!   middle, equal bit for bit.
//!
//! A kernel that fails takes all of its context with it, of checks beside it too: what failed is
//! done again alone, each launch waited for, so that the error names its kernel. After `--seconds`
//! those under way are named and the rest is given up.
//!
//! `--quick`: few of each, for compute-sanitizer. Needs NVIDIA's driver and NVRTC; `DIN_ROOT` names
//! the repository where it was built elsewhere.

use din_compiler::codegen::cuda::{self, CodegenOptions};
use din_compiler::model::CheckedModel;
use din_compiler::optimize;
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::cuda::{Cuda, Precision};
use din_runtime::cpu;
use din_runtime::exec::DenseState;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::cuda::{CudaExecutor as Device, CudaImage, CudaTarget, Gpu, ImageCache, Nvrtc};
use din_runtime::random::Stream;
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use din_tests::agreement::worst_error;
use din_tests::cuda::{Columns, Corpus, STEPS, Storage, train, varied};
use din_tests::random_graph::Case;
use din_tests::specs;
use din_tests::tables::tables;
use din_tests::unit::{activation_case, activation_unit};
use std::collections::BTreeSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A GPU, and who compiles for it.
struct Machine {
    number: u32,
    target: CudaTarget,
    nvrtc: Nvrtc,
    cache: ImageCache,
    /// Whether each launch is waited for.
    waits: AtomicBool,
}

/// KernelArg compiled for the GPU.
struct Compiled<'m> {
    machine: &'m Machine,
    image: CudaImage,
}

impl Machine {
    fn compile(&self, source: &str) -> Result<Compiled<'_>, String> {
        let image = self.cache.compile(&self.nvrtc, source, "check.cu", self.target).map_err(|e| e.to_string())?;
        Ok(Compiled { machine: self, image })
    }
}

impl Storage for Compiled<'_> {
    type Driver<'a>
        = Gpu
    where
        Self: 'a;

    fn driver(&self, _: u64) -> Gpu {
        let opened = Gpu::open(self.machine.number, std::slice::from_ref(&self.image));
        let mut gpu = opened.unwrap_or_else(|e| panic!("the GPU that was there before: {e}"));
        if self.machine.waits.load(Ordering::Relaxed) {
            gpu.wait_for_each(true);
        }
        gpu
    }
}

/// What is checked, by name.
type Job<'a> = (String, Box<dyn Fn() -> Outcome<()> + Sync + Send + 'a>);

/// Why a job failed, if it did.
fn attempt((_, job): &Job<'_>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(job)) {
        Ok(found) => found.map_err(|e| e.to_string()),
        Err(said) => {
            let text = said.downcast_ref::<String>().cloned();
            Err(text.or_else(|| said.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many jobs failed, of all; each is told, and done again alone. Ends the process when there is
/// no more time.
fn all(machine: &Machine, jobs: &[Job<'_>], threads: usize, time: Duration) -> (usize, usize) {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (failed, under_way) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let (finished, watch) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let watch = watch;
            if watch.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                for &k in lock(&under_way).iter() {
                    let (name, _): &Job<'_> = &jobs[k];
                    println!("FAIL  {name}: not done after {} s of all", time.as_secs());
                }
                let (done, failed) = (done.load(Ordering::Relaxed), lock(&failed).len());
                println!("{done} of {} done, {failed} of them failed; no more time", jobs.len());
                // Nothing is closed: a driver that hangs would be waited for.
                std::process::abort();
            }
        });
        let work = || {
            while let Some(k) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&k| k < jobs.len()) {
                let (name, begun) = (&jobs[k].0, Instant::now());
                lock(&under_way).insert(k);
                match attempt(&jobs[k]) {
                    Ok(()) => println!("ok    {name}, {:.1} s", begun.elapsed().as_secs_f64()),
                    Err(why) => {
                        println!("FAIL  {name}: {why}");
                        lock(&failed).insert(k);
                    }
                }
                done.fetch_add(1, Ordering::Relaxed);
                lock(&under_way).remove(&k);
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|w| drop(w.join()));
        machine.waits.store(true, Ordering::Relaxed);
        let again = lock(&failed).clone();
        for k in again {
            lock(&under_way).insert(k);
            match attempt(&jobs[k]) {
                Ok(()) => println!("alone ok    {}", jobs[k].0),
                Err(why) => println!("alone FAIL  {}: {why}", jobs[k].0),
            }
            lock(&under_way).remove(&k);
        }
        drop(finished);
    });
    let failed = lock(&failed).len();
    (failed, jobs.len())
}

/// Cases on the GPU within `bound` epsilon times scale; of one source, whose first `most` are run.
fn graphs(machine: &Machine, cases: Vec<Case>, options: &CodegenOptions, bound: f64, most: usize) -> Outcome<()> {
    let corpus = Corpus::new(cases, options)?;
    let place = machine.compile(&corpus.source)?;
    // Keeps the context between cases: to make one takes longer than a case.
    let _kept = place.driver(0);
    for k in 0..corpus.len().min(most) {
        let found = corpus.run(place.driver(0), k)?;
        worst_error(corpus.case(k), &found, bound, &format!("case {k}"));
        if corpus.run(place.driver(0), k)? != found {
            return Err(format!("case {k}: a second run has other bits").into());
        }
    }
    Ok(())
}

/// Small tiles, so that small batches have several of them and some that are long.
fn small() -> CodegenOptions {
    CodegenOptions {
        threads: 128,
        batch_tile: 4,
        sequence_tile: 16,
        sequence_samples: 4,
        recurrence_tile: 4,
        row_tile: 16,
        ..CodegenOptions::default()
    }
}

/// Activation units and their gradients, of several sizes.
fn units(seed: u64) -> Vec<Case> {
    let sizes = [(16, 80, 9, 40), (16, 36, 40, 7), (5, 17, 30, 20), (4, 8, 5, 3)];
    let case = |(width, hidden, batch, most)| {
        let mut case = activation_case(seed + 50, activation_unit(width, hidden).0, batch, most);
        // A unit has a derivative.
        optimize::train(&mut case.graph, true).map(|_| case)
    };
    sizes.into_iter().filter_map(|size| case(size).ok()).collect()
}

/// A batch of DIN's benchmark sizes: ids by their feature's place, lists of 0 to 100 entries.
fn batch(program: &Program, rows: usize, ids: usize, number: u64) -> Columns {
    let draw = |name: &str, i: usize| Stream::new(number, name, 0).uniform(i as u64);
    let offsets = program.schema.sequences.iter().map(|s| {
        let mut offsets = vec![0u32];
        for i in 0..rows {
            let length = (draw(&s.name, i).powi(3) * 101.0) as u32;
            offsets.push(offsets[i] + length);
        }
        offsets
    });
    let offsets: Vec<Vec<u32>> = offsets.collect();
    let count = |f: u32| {
        let sequence = program.schema.features[f as usize].sequence;
        sequence.map_or(rows, |s| offsets[s as usize].last().map_or(0, |&n| n as usize))
    };
    let numbers = |f: &u32| -> Vec<u32> {
        let path = program.schema.features[*f as usize].path();
        (0..count(*f)).map(|i| (draw(&path, i).powi(2) * ids as f64) as u32).collect()
    };
    let row_numbers = program.tables.iter().map(|t| t.features.iter().map(numbers).collect()).collect();
    let labels = program.schema.labels.len();
    Columns {
        rows,
        requests: vec![],
        row_numbers,
        offsets,
        dense: vec![Vec::new(); program.schema.features.len()],
        labels: vec![(0..rows).map(|i| f32::from(draw("label", i) < 0.3)).collect(); labels],
        present: vec![vec![1.0; rows]; labels],
    }
}

/// DenseState and tables of `ids` rows at their first weights.
fn fresh(program: &Program, ids: usize) -> Outcome<(DenseState, Vec<Table>)> {
    let mut state = DenseState::new(program);
    for (k, values) in state.params.iter_mut().enumerate() {
        let stream = Stream::new(3, &program.parameters[k].name, 0);
        values.iter_mut().enumerate().for_each(|(i, v)| *v = (stream.uniform(i as u64) as f32 - 0.5) * 0.2);
    }
    let mut tables = tables(program, 1)?;
    for (table, spec) in tables.iter_mut().zip(&program.tables) {
        if table.is_dynamic() {
            for id in 1..ids as u64 {
                table.insert_loaded(id, true)?;
            }
        }
        let stream = Stream::new(4, &spec.name, 0);
        table
            .weights_mut()
            .iter_mut()
            .enumerate()
            .for_each(|(i, w)| *w = (stream.uniform(i as u64) as f32 - 0.5) * 0.1);
        // Eq. (9) divides by it.
        table.frequency_mut().fill(3.0);
    }
    Ok((state, tables))
}

/// Losses, then all weights.
type Trained = (Vec<f32>, Vec<Vec<f32>>);

fn weights(state: DenseState, tables: &[Table]) -> Vec<Vec<f32>> {
    state.params.into_iter().chain(tables.iter().map(|t| t.weights().to_vec())).collect()
}

/// Whether two runs are equal bit for bit.
fn same(a: &Trained, b: &Trained) -> Outcome<()> {
    if let Some(step) = a.0.iter().zip(&b.0).position(|(x, y)| x.to_bits() != y.to_bits()) {
        return Err(format!("step {step}: loss {}, before {}", a.0[step], b.0[step]).into());
    }
    for (k, (x, y)) in a.1.iter().zip(&b.1).enumerate() {
        if let Some(i) = x.iter().zip(y).position(|(x, y)| x.to_bits() != y.to_bits()) {
            return Err(format!("number {i} of tensor {k}: {}, before {}", x[i], y[i]).into());
        }
    }
    Ok(())
}

/// Whether two runs are within 1e-4, tensor by tensor.
fn close(a: &Trained, b: &Trained) -> Outcome<()> {
    // Written so that what is no number is far.
    let near = |x: &f32, y: &f32| (x - y).abs() <= 1e-4 * y.abs().max(1e-3);
    let far = a.0.iter().zip(&b.0).position(|(x, y)| !near(x, y));
    if let Some(step) = far {
        return Err(format!("step {step}: loss {} on the GPU, {} on the CPU", a.0[step], b.0[step]).into());
    }
    for (k, (x, y)) in a.1.iter().zip(&b.1).enumerate() {
        let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let (off, size) = (norm(&mut x.iter().zip(y).map(|(x, y)| x - y)), norm(&mut y.iter().copied()));
        if off.is_nan() || off > 1e-4 * size {
            return Err(format!("tensor {k} is off by {off:e}, its norm is {size:e}").into());
        }
    }
    Ok(())
}

fn steps(machine: &Machine, model: &CheckedModel, count: u64) -> Outcome<()> {
    const IDS: usize = 20_000;
    let options = CompileOptions { levels: vec![cpu::detect()], ..CompileOptions::default() };
    let compiled = compile(model, &options)?;
    let mut program = compiled.program.clone();
    program.tables.iter_mut().for_each(|t| t.kind = din_program::schema::TableKind::Fixed { size: IDS as u64 });
    let made = cuda::program(&program, &compiled.kernels, &CodegenOptions::default())?;
    let place = machine.compile(&made.source)?;
    let (program, launches): (Arc<Program>, Arc<Cuda>) = (Arc::new(program), Arc::new(made.launches));
    let batches: Vec<Columns> = (1..=8).map(|n| batch(&program, 1024, IDS, n)).collect();
    let of_step = |step: u64| batches[step as usize % batches.len()].inputs();

    let on_gpu = |moves: bool| -> Outcome<Trained> {
        let (mut state, mut tables) = fresh(&program, IDS)?;
        let mut engine = Device::new(program.clone(), launches.clone(), place.driver(0))?;
        engine.upload(&state, &tables)?;
        let mut losses = Vec::new();
        for step in 0..count {
            losses.push(engine.train_step(&mut tables, &of_step(step))?);
            if moves && step == count / 2 {
                engine.download(&mut state, &mut tables)?;
                engine = Device::new(program.clone(), launches.clone(), place.driver(0))?;
                engine.upload(&state, &tables)?;
            }
        }
        engine.download(&mut state, &mut tables)?;
        Ok((losses, weights(state, &tables)))
    };
    let first = on_gpu(false)?;
    same(&on_gpu(false)?, &first).map_err(|why| format!("a second run: {why}"))?;
    same(&on_gpu(true)?, &first).map_err(|why| format!("a run that went to the host and back: {why}"))?;
    let (mut state, mut tables) = fresh(&program, IDS)?;
    let mut engine = CpuExecutor::new(program.clone(), Threads::new(4)?, cpu::detect())?;
    let mut losses = Vec::new();
    for step in 0..count {
        losses.push(engine.train_step(&mut state, &mut tables, &of_step(step))?);
    }
    close(&first, &(losses, weights(state, &tables)))
}

fn main() -> Outcome<()> {
    let (mut number, mut quick, mut only) = (0u32, false, "graphs,units,models,steps".to_string());
    let mut threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let mut time = Duration::MAX;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--device" => number = value()?.parse()?,
            "--only" => only = value()?,
            "--threads" => threads = value()?.parse()?,
            "--seconds" => time = Duration::from_secs(value()?.parse()?),
            "--quick" => quick = true,
            _ => return Err(format!("unexpected `{word}`").into()),
        }
    }
    let (name, architecture) = Gpu::probe(number)?;
    let (nvrtc, target) = (Nvrtc::load()?, CudaTarget::Cubin(architecture));
    println!("GPU {number}: {name}, sm_{architecture}; NVRTC {:?}", nvrtc.version());
    let machine = Machine { number, target, nvrtc, cache: ImageCache::of_user(), waits: AtomicBool::new(false) };
    let machine = &machine;
    let mut jobs: Vec<Job<'_>> = Vec::new();
    for part in only.split(',') {
        match part {
            "graphs" => {
                // The sources of `--quick` are among the others: they are compiled already.
                let (many, sets, most) = if quick { (16, 2, 4) } else { (16, 16, 16) };
                for set in 0..sets {
                    let seeds = move || set * many..(set + 1) * many;
                    let cases = move |widest, draws| seeds().map(|s| varied(s, widest, draws)).collect();
                    let job = move || graphs(machine, cases(0, 12), &small(), 32.0, most);
                    jobs.push((format!("graphs {:?}", seeds()), Box::new(job)));
                    if set % 4 == 0 {
                        let wide = move || graphs(machine, cases(120, 6), &CodegenOptions::default(), 32.0, most);
                        jobs.push((format!("wide graphs {:?}", seeds()), Box::new(wide)));
                        for (precision, unit) in [(Precision::Tf32, 2f64.powi(-10)), (Precision::Bf16, 2f64.powi(-7))] {
                            // See `products_on_tensor_cores`.
                            let bound = 2.0 * unit / f64::from(f32::EPSILON);
                            let options = CodegenOptions { precision, ..small() };
                            let cases = move || units(set);
                            let job = move || graphs(machine, cases(), &options, bound, most);
                            jobs.push((format!("units in {precision:?}, {set}"), Box::new(job)));
                        }
                    }
                }
            }
            "units" | "models" => {
                let models: Vec<(String, CheckedModel)> = match part {
                    "units" => specs::units(),
                    _ => specs::files().iter().map(|f| (specs::name(f), specs::model(f))).collect(),
                };
                for (name, model) in models.into_iter().take(if quick { 2 } else { usize::MAX }) {
                    // AdaGrad's first step has the size of the rate whatever the gradient: rounding
                    // of one near 0 shows.
                    let bound = if name == "unit_adagrad" { 1e-3 } else { 1e-4 };
                    let of_steps = if quick { 3 } else { STEPS };
                    let title = format!("{part}: {name}");
                    let job = move || {
                        train(&name, &model, &small(), (of_steps, bound), |source| machine.compile(source));
                        Ok(())
                    };
                    jobs.push((title, Box::new(job)));
                }
            }
            "steps" => {
                let model = specs::model(&specs::root().join("models/din.din"));
                let count = if quick { 3 } else { 200 };
                jobs.push((format!("{count} steps of DIN"), Box::new(move || steps(machine, &model, count))));
            }
            _ => return Err(format!("--only {part}: expected graphs, units, models or steps").into()),
        }
    }
    let (failed, of) = all(machine, &jobs, threads, time);
    println!("{} of {of} passed", of - failed);
    if failed > 0 { Err(format!("{failed} of {of} failed").into()) } else { Ok(()) }
}
