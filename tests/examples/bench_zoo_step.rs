//! Our side of `bench/zoo_compare.py`: training steps of a model of `models/` from given weights.
//!
//! ```text
//! bench_zoo_step LOG MODEL [--start FILE] [--dense] [--serve] [--rounds 1] [--threads 2] [--batch 1024]
//!     [--steps 1000] [--isa v4]
//! ```
//!
//! `LOG` is the training file of `din synth`; whole batches of it are taken, so many at most.
//! Dropout is off; `--dense` is the model's optimizer `with dense updates`. A round starts from the
//! initial weights, where every id of the log has its row, and takes one step on each batch, which
//! begins with its ids in memory and ends with updated weights. It prints a line of JSON:
//! `{"step_seconds": [..], "losses": [..], "peak_kib": n}`; with `--serve`, one for each line of
//! standard input. `--start` writes what the peers need, and runs nothing (safetensors, without the
//! names of features):
//!
//! - `param.<name>`, `table.<name>`: f32, initial values; of a growing table the rows of the log's
//!   ids, in their order, and `ids.<name>`, i64, the ids.

use din_program::Isa;
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{BatchCut, StepInputs};
use din_runtime::leaves::default_leaves;
use din_runtime::session::ModelState;
use din_runtime::threads::Threads;
use din_tests::process::peak_kib;
use din_tests::zoo::{MODELS, Zoo, in_order, with_dense_updates, without_dropout};
use safetensors::tensor::{Dtype, TensorView};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    log: PathBuf,
    model: String,
    start: Option<PathBuf>,
    dense: bool,
    serve: bool,
    rounds: usize,
    threads: usize,
    batch: usize,
    steps: usize,
    isa: Isa,
}

impl Arguments {
    fn parse() -> Outcome<Arguments> {
        let mut words = std::env::args().skip(1);
        let (Some(log), Some(model)) = (words.next(), words.next()) else {
            return Err("usage: bench_zoo_step LOG MODEL [--start FILE] [--dense] [--serve] [--threads 2]".into());
        };
        if !MODELS.contains(&model.as_str()) {
            return Err(format!("`{model}` is no model; there are {}", MODELS.join(", ")).into());
        }
        let mut found = Arguments {
            log: log.into(),
            model,
            start: None,
            dense: false,
            serve: false,
            rounds: 1,
            threads: 2,
            batch: 1024,
            steps: 1000,
            isa: cpu::detect(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--start" => found.start = Some(value()?.into()),
                "--dense" => found.dense = true,
                "--serve" => found.serve = true,
                "--rounds" => found.rounds = value()?.parse()?,
                "--threads" => found.threads = value()?.parse()?,
                "--batch" => found.batch = value()?.parse()?,
                "--steps" => found.steps = value()?.parse()?,
                "--isa" => {
                    let level = value()?;
                    let known =
                        [Isa::V2, Isa::V3, Isa::V4].into_iter().find(|isa| format!("{isa:?}").to_lowercase() == level);
                    found.isa = known.ok_or_else(|| format!("--isa {level} is none of v2, v3, v4"))?;
                }
                _ => return Err(format!("`{word}` is no option").into()),
            }
        }
        Ok(found)
    }
}

/// A tensor's name, kind, shape and bytes.
type Written = (String, Dtype, Vec<usize>, Vec<u8>);

fn floats(name: String, shape: Vec<usize>, values: &[f32]) -> Written {
    (name, Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// Writes the initial weights.
fn write_start(zoo: &Zoo, path: &Path) -> Outcome<()> {
    let start = zoo.start();
    let mut written = Vec::new();
    for (parameter, values) in zoo.program.parameters.iter().zip(&start.dense.params) {
        let shape = parameter.shape.iter().map(|&n| n as usize).collect();
        written.push(floats(format!("param.{}", parameter.name), shape, values));
    }
    for table in &start.tables {
        let values = in_order(table, table.weights());
        let shape = vec![values.len() / table.width(), table.width()];
        written.push(floats(format!("table.{}", table.name()), shape, &values));
        if table.is_dynamic() {
            let ids: Vec<u64> = table.in_key_order().into_iter().map(|(id, _, _)| id).collect();
            let bytes = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            written.push((format!("ids.{}", table.name()), Dtype::I64, vec![ids.len()], bytes));
        }
    }
    let views = written.iter().map(|(name, dtype, shape, bytes)| {
        Ok::<_, safetensors::SafeTensorError>((name.clone(), TensorView::new(*dtype, shape.clone(), bytes)?))
    });
    safetensors::serialize_to_file(views.collect::<Result<Vec<_>, _>>()?, None, path)?;
    Ok(())
}

/// One step on each batch: its seconds and losses.
fn round(
    engine: &mut CpuExecutor,
    state: &mut ModelState,
    batches: &[&Batch],
    threads: &Threads,
) -> Outcome<(Vec<f64>, Vec<f32>)> {
    let mut rows = state.row_numbers();
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for batch in batches {
        let begin = Instant::now();
        state.resolve_train(threads, batch, &mut rows)?;
        let inputs = StepInputs {
            rows: batch.rows,
            requests: &batch.requests,
            offsets: &batch.offsets,
            row_numbers: &rows,
            dense: &batch.dense,
            labels: &batch.labels,
            present: &batch.present,
            fetched: None,
            cut: BatchCut::Whole(default_leaves(engine.program())),
            first_row: 0,
            epoch: 1,
        };
        losses.push(engine.train_step(&mut state.dense, &mut state.tables, &inputs)?);
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok((seconds, losses))
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let threads = Threads::new(arguments.threads)?;
    let model = if arguments.dense { with_dense_updates(&arguments.model) } else { without_dropout(&arguments.model) };
    let zoo = Zoo::of(model, &arguments.log, arguments.batch, threads.clone(), &[arguments.isa]);
    if let Some(path) = &arguments.start {
        return write_start(&zoo, path);
    }
    let whole = zoo.batches.iter().filter(|batch| batch.rows == arguments.batch);
    let batches: Vec<&Batch> = whole.take(arguments.steps).collect();
    let mut engine = CpuExecutor::new(zoo.program.clone(), threads.clone(), arguments.isa)?;
    // Warm, as the peers are: capacities grow, memory is touched.
    round(&mut engine, &mut zoo.start(), &batches[..batches.len().min(4)], &threads)?;
    let asked = std::io::stdin().lines();
    let rounds: Box<dyn Iterator<Item = ()>> = match arguments.serve {
        true => Box::new(asked.map_while(Result::ok).map(drop)),
        false => Box::new((0..arguments.rounds).map(drop)),
    };
    for () in rounds {
        let (seconds, losses) = round(&mut engine, &mut zoo.start(), &batches, &threads)?;
        println!("{}", serde_json::json!({ "step_seconds": seconds, "losses": losses, "peak_kib": peak_kib() }));
    }
    Ok(())
}
