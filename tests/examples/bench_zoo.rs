//! Samples per second of the models of `models/`, in training and in inference (`bench/zoo.py`).
//!
//! ```text
//! bench_zoo LOG [--rounds 5] [--threads 1] [--steps 100] [--isa v4] [MODEL…]
//! ```
//!
//! `LOG` is the training file of `din synth`. A step begins with the ids of a batch in memory and
//! ends with updated weights, or with logits; batches are of the size that the model says, dropout
//! is as in the model. Models take turns: in each round each model trains on so many batches, and
//! infers so many. Prints a line of JSON for each: `{"model": name, "batch": samples, "train":
//! samples per second, "infer": samples per second}`.

use din_compiler::{CompileOptions, compile};
use din_program::{Isa, Program};
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{BatchCut, StepInputs};
use din_runtime::leaves::default_leaves;
use din_runtime::session::ModelState;
use din_runtime::table::Resolved;
use din_runtime::threads::Threads;
use din_tests::zoo::{MODELS, SEED, model};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    log: PathBuf,
    rounds: usize,
    threads: usize,
    steps: usize,
    isa: Isa,
    models: Vec<String>,
}

impl Arguments {
    fn parse() -> Outcome<Arguments> {
        let mut words = std::env::args().skip(1);
        let log = words.next().ok_or("usage: bench_zoo LOG [--rounds 5] [--threads 1] [--steps 100] [MODEL…]")?.into();
        let isa = cpu::detect();
        let mut found = Arguments { log, rounds: 5, threads: 1, steps: 100, isa, models: Vec::new() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => found.rounds = value()?.parse()?,
                "--threads" => found.threads = value()?.parse()?,
                "--steps" => found.steps = value()?.parse()?,
                "--isa" => {
                    let level = value()?;
                    let known =
                        [Isa::V2, Isa::V3, Isa::V4].into_iter().find(|isa| format!("{isa:?}").to_lowercase() == level);
                    found.isa = known.ok_or_else(|| format!("--isa {level} is none of v2, v3, v4"))?;
                }
                name if MODELS.contains(&name) => found.models.push(name.to_string()),
                _ => return Err(format!("`{word}` is no model and no option").into()),
            }
        }
        if found.models.is_empty() {
            found.models = MODELS.iter().map(ToString::to_string).collect();
        }
        Ok(found)
    }
}

/// A model, and batches for it.
struct Side {
    name: String,
    program: Arc<Program>,
    engine: CpuExecutor,
    state: ModelState,
    rows: Resolved,
    batches: Vec<Batch>,
}

impl Side {
    fn new(name: &str, log: &Path, arguments: &Arguments, threads: &Arc<Threads>) -> Outcome<Side> {
        let options = CompileOptions { levels: vec![arguments.isa], ..CompileOptions::default() };
        let program = Arc::new(compile(&model(name), &options)?.program);
        let dataset = Dataset::open(&[log], &program.schema, ReadMode::Train)?;
        let mut stream = dataset.stream(StreamOptions::new(program.training.batch as usize, Order::File))?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.next()? {
            batches.push(batch);
        }
        let engine = CpuExecutor::new(program.clone(), threads.clone(), arguments.isa)?;
        let mut state = ModelState::new(program.clone(), threads, SEED)?;
        let mut counters = state.frequency_counters();
        for batch in &batches {
            state.count(&mut counters, batch)?;
        }
        state.finish_counting(counters);
        let rows = state.row_numbers();
        Ok(Side { name: name.to_string(), program, engine, state, rows, batches })
    }

    /// Samples per second of so many steps, from the first batch on.
    fn rate(&mut self, steps: usize, infer: bool, threads: &Threads) -> Outcome<f64> {
        let (mut samples, leaves) = (0, default_leaves(&self.program));
        let begin = Instant::now();
        for batch in self.batches.iter().cycle().take(steps) {
            match infer {
                true => self.state.resolve_read(threads, batch, &mut self.rows)?,
                false => self.state.resolve_train(threads, batch, &mut self.rows)?,
            }
            let inputs = StepInputs {
                rows: batch.rows,
                requests: &batch.requests,
                offsets: &batch.offsets,
                row_numbers: &self.rows,
                dense: &batch.dense,
                labels: &batch.labels,
                present: &batch.present,
                fetched: None,
                cut: BatchCut::Whole(leaves),
                first_row: 0,
                epoch: 1,
            };
            if infer {
                self.engine.infer(&self.state.dense, &self.state.tables, &inputs)?;
            } else {
                self.engine.train_step(&mut self.state.dense, &mut self.state.tables, &inputs)?;
            }
            samples += batch.rows;
        }
        Ok(samples as f64 / begin.elapsed().as_secs_f64())
    }
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let threads = Threads::new(arguments.threads)?;
    let mut sides = Vec::new();
    for name in &arguments.models {
        let mut side = Side::new(name, &arguments.log, &arguments, &threads)?;
        // Warm: capacities have grown, every id has its row.
        side.rate(side.batches.len(), false, &threads)?;
        side.rate(2, true, &threads)?;
        sides.push(side);
    }
    for _ in 0..arguments.rounds {
        for side in &mut sides {
            let train = side.rate(arguments.steps, false, &threads)?;
            let infer = side.rate(arguments.steps, true, &threads)?;
            let batch = side.program.training.batch;
            println!("{}", serde_json::json!({ "model": side.name, "batch": batch, "train": train, "infer": infer }));
        }
    }
    Ok(())
}
