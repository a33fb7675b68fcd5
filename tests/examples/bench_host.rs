//! What the host does for a device's training steps, and how long it takes: the production engine
//! and its binding of NVIDIA's driver, on a driver that does nothing (`tests/shim/idle.cpp`).
//!
//! ```text
//! bench_host [--spec bench/din_step.din] [--batches 1024,4096,16384,65536] [--steps 200] [--threads 2] [--quantile 0.5] [--dynamic] [--json]
//! ```
//!
//! Batches are made as `bench/data.py` makes them: histories of 31 on average and at most 100, ids
//! by a Zipf law. `--dynamic`: the ids of items are looked up in an index, as any 64-bit id is,
//! rather than being row numbers. A line a batch size: medians (on a busy machine, a lower
//! `--quantile`) in microseconds of finding the rows (`resolve`), of the parts of the engine's
//! work, and of all of a step. What the driver itself takes for a copy and a graph is not in it.

use din_compiler::codegen::cuda as generated;
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::cuda::Cuda;
use din_program::schema::FeatureKind;
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cuda::{CudaExecutor, CudaImage, CudaOptions, CudaTarget, Gpu, HOST_PARTS};
use din_runtime::exec::{BatchCut, DenseState, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::random::Stream;
use din_runtime::table::{self, Resolved, Table};
use din_runtime::threads::Threads;
use din_tests::tables::tables;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Of a history, on average and at most.
const MEAN: f64 = 31.0;
const MOST: f64 = 100.0;

struct Arguments {
    spec: PathBuf,
    batches: Vec<usize>,
    steps: usize,
    threads: usize,
    quantile: f64,
    dynamic: bool,
    json: bool,
}

impl Arguments {
    fn parse() -> Outcome<Arguments> {
        let mut found = Arguments {
            spec: "bench/din_step.din".into(),
            batches: vec![1024, 4096, 16384, 65536],
            steps: 200,
            threads: 2,
            quantile: 0.5,
            dynamic: false,
            json: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--spec" => found.spec = value()?.into(),
                "--batches" => found.batches = value()?.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--steps" => found.steps = value()?.parse()?,
                "--threads" => found.threads = value()?.parse()?,
                "--quantile" => found.quantile = value()?.parse()?,
                "--dynamic" => found.dynamic = true,
                "--json" => found.json = true,
                _ => return Err(format!("unknown option {word}").into()),
            }
        }
        Ok(found)
    }
}

/// The fake driver, compiled.
fn library(folder: &Path) -> Outcome<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/idle.cpp");
    let library = folder.join("libcuda.so");
    let mut command = std::process::Command::new(std::env::var("CXX").unwrap_or_else(|_| "g++".into()));
    command.args(["-std=c++17", "-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
    match command.status()?.success() {
        true => Ok(library),
        false => Err("the fake driver was not compiled".into()),
    }
}

/// Program and launches; with `dynamic` the items' ids have no bound.
fn made(spec: &Path, dynamic: bool) -> Outcome<(Arc<Program>, Arc<Cuda>)> {
    let mut text = std::fs::read_to_string(spec)?;
    if dynamic {
        for bound in ["(100_000)", "(10_000)", "(1_000)"] {
            text = text.replace(&format!("category{bound}"), "category");
        }
    }
    let checked = check(&spec.to_string_lossy(), &text, &NoFiles, &CheckOptions::default());
    let model = checked.model.ok_or_else(|| format!("{:?}", checked.diagnostics))?;
    let levels = vec![cpu::detect()];
    let compiled = compile(&model, &CompileOptions { levels, checked: false, ..CompileOptions::default() })?;
    let made = generated::program(&compiled.program, &compiled.kernels, &generated::CodegenOptions::default())?;
    Ok((Arc::new(compiled.program), Arc::new(made.launches)))
}

/// Ids `0..rows`, by a Zipf law, in places of their own: a table of quantiles.
fn zipf(rows: usize) -> Vec<u64> {
    let weights: Vec<f64> = (0..rows).map(|i| (i as f64 + 10.0).powf(-1.05)).collect();
    let all: f64 = weights.iter().sum();
    let mut order = Vec::new();
    Stream::new(7, "order", rows as u64).permutation(rows as u32, &mut order);
    let (count, mut quantiles, mut sum) = (1 << 18, Vec::new(), 0.0);
    for (i, weight) in weights.iter().enumerate() {
        sum += weight;
        let end = (sum / all * count as f64).round() as usize;
        quantiles.resize(end.max(quantiles.len()), u64::from(order[i]));
    }
    quantiles
}

/// Rows of a feature's table, for drawing ids.
fn ids_of(path: &str, kind: &FeatureKind) -> usize {
    match kind {
        FeatureKind::Fixed { size, .. } => *size as usize,
        _ if path.contains("good") => 100_000,
        _ if path.contains("shop") => 10_000,
        _ => 1000,
    }
}

fn batch(program: &Program, laws: &mut BTreeMap<usize, Vec<u64>>, rows: usize, number: u64) -> Batch {
    let stream = |name: &str| Stream::new(1, name, number);
    let schema = &program.schema;
    let mut batch = Batch { rows, ..Batch::default() };
    for sequence in &schema.sequences {
        let (draws, mut offsets) = (stream(&sequence.name), vec![0u32]);
        // An exponential law that is cut: its mean is below the scale.
        let length = |s: usize| (-(1.0 - draws.uniform(s as u64)).ln() * (MEAN * 1.06)).floor().min(MOST) as u32;
        let mut end = 0;
        for s in 0..rows {
            end += length(s);
            offsets.push(end);
        }
        batch.offsets.push(offsets);
    }
    for feature in &schema.features {
        let count = feature.sequence.map_or(rows, |s| batch.offsets[s as usize][rows] as usize);
        let draws = stream(&feature.path());
        let (mut ids, mut numbers) = (Vec::new(), Vec::new());
        if let FeatureKind::Dense { width } = feature.kind {
            numbers = (0..count * width as usize).map(|i| draws.uniform(i as u64) as f32).collect();
        } else {
            let size = ids_of(&feature.path(), &feature.kind);
            let law = laws.entry(size).or_insert_with(|| zipf(size));
            ids = (0..count).map(|i| law[draws.below(i as u64, law.len() as u64) as usize]).collect();
        }
        batch.ids.push(ids);
        batch.dense.push(numbers);
    }
    for label in &schema.labels {
        let draws = stream(&label.name);
        batch.labels.push((0..rows).map(|i| f32::from(draws.uniform(i as u64) < 0.3)).collect());
        batch.present.push(vec![1.0; rows]);
    }
    batch
}

struct Side {
    program: Arc<Program>,
    engine: CudaExecutor<Gpu>,
    tables: Vec<Table>,
    resolved: Resolved,
    threads: Arc<Threads>,
}

impl Side {
    /// One step as `train` does it; microseconds of finding rows, of the engine's parts, and of
    /// all.
    fn step(&mut self, batch: &Batch) -> Outcome<Vec<f64>> {
        let begin = Instant::now();
        table::resolve_train(&self.threads, &mut self.tables, &self.program.tables, batch, &mut self.resolved)?;
        let resolve = begin.elapsed();
        let inputs = StepInputs {
            rows: batch.rows,
            requests: &batch.requests,
            offsets: &batch.offsets,
            row_numbers: &self.resolved,
            dense: &batch.dense,
            labels: &batch.labels,
            present: &batch.present,
            fetched: None,
            cut: BatchCut::Whole(DEFAULT_LEAVES),
            first_row: 0,
            epoch: 1,
        };
        self.engine.train_ahead(&mut self.tables, &inputs)?;
        self.engine.next_loss()?;
        let all = begin.elapsed();
        let parts = HOST_PARTS.iter().map(|&(part, _)| self.engine.host_times().of(part));
        Ok([resolve].into_iter().chain(parts).chain([all]).map(|t| t.as_secs_f64() * 1e6).collect())
    }
}

fn quantile(mut values: Vec<f64>, at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() as f64 * at) as usize).copied().unwrap_or(0.0)
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let threads = Threads::new(arguments.threads)?;
    let folder = tempfile::tempdir()?;
    let library = library(folder.path())?;
    let (program, launches) = made(&arguments.spec, arguments.dynamic)?;
    let names: Vec<&str> =
        ["resolve"].into_iter().chain(HOST_PARTS.iter().map(|&(_, name)| name)).chain(["all"]).collect();
    if !arguments.json {
        print!("{:>8} {:>9}", "batch", "entries");
        names.iter().for_each(|name| print!(" {name:>9}"));
        println!(" {:>12}", "samples/s");
    }
    let mut laws = BTreeMap::new();
    for &rows in &arguments.batches {
        let image = CudaImage { target: CudaTarget::Cubin(90), code: vec![0; 8], log: String::new() };
        let gpu = Gpu::open_with(&library, 0, &[image])?;
        let mut side = Side {
            engine: CudaExecutor::with(
                program.clone(),
                launches.clone(),
                gpu,
                CudaOptions::default(),
                threads.clone(),
            )?,
            tables: tables(&program, 1)?,
            resolved: program.tables.iter().map(|t| vec![Vec::new(); t.features.len()]).collect(),
            program: program.clone(),
            threads: threads.clone(),
        };
        side.engine.upload(&DenseState::new(&program), &side.tables)?;
        // Enough of them that a batch's ids are not in the core's own cache.
        let count = (65536 / rows).clamp(2, 16) as u64;
        let batches: Vec<Batch> = (0..count).map(|k| batch(&program, &mut laws, rows, k)).collect();
        // Capacities grow, ids get their rows, lists are captured.
        for _ in 0..4 {
            batches.iter().try_for_each(|batch| side.step(batch).map(drop))?;
        }
        let steps = (arguments.steps * 4096 / rows).clamp(12, 4 * arguments.steps);
        let mut times = vec![Vec::new(); names.len()];
        for step in 0..steps {
            let found = side.step(&batches[step % batches.len()])?;
            times.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
        let medians: Vec<f64> = times.into_iter().map(|all| quantile(all, arguments.quantile)).collect();
        let all = medians.last().copied().unwrap_or(f64::NAN);
        let entries = batches.iter().flat_map(|b| &b.offsets).map(|o| o[rows] as usize).sum::<usize>() / batches.len();
        if arguments.json {
            let parts: BTreeMap<&str, f64> = names.iter().copied().zip(medians.iter().copied()).collect();
            let captures = format!("{:?}", side.engine.driver().captures());
            let line = serde_json::json!({ "batch": rows, "entries": entries, "us": parts, "captures": captures });
            println!("{line}");
        } else {
            print!("{rows:>8} {entries:>9}");
            medians.iter().for_each(|us| print!(" {us:>9.1}"));
            println!(" {:>12.0}", rows as f64 / all * 1e6);
        }
    }
    Ok(())
}
