//! What reading costs beside training: a data set read as `din train` reads it.
//!
//! ```text
//! bench_reading --spec models/din.din --data DIR/train.parquet [--threads 2] [--isa v4] [--rounds 5] [--batch 1024]
//!     [--train yes|no]
//! ```
//!
//! Each round reads some epochs in shuffled order and drops their batches, trains on as many
//! batches that are in memory, and trains on an epoch while it is read. The first windows of epochs
//! are read while the epoch before runs out, as in training. Prints two JSON lines per round. The
//! first has CPU nanoseconds of reading per sample, of an epoch by itself and of consecutive ones,
//! and the seconds until the first batch of a data set that nobody has begun to read; the second
//! samples per second of both ways to train.

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_program::{Isa, Program};
use din_runtime::batch::Batch;
use din_runtime::data::{Batches, Dataset, Order, ReadMode, StreamOptions};
use din_runtime::session::{CpuOptions, Device, Session};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Batches that are kept in memory.
const KEPT: usize = 128;
/// Epochs that are read and dropped in a round; the fastest counts.
const READINGS: usize = 5;

/// An epoch after the other, the first window of each read while the one before runs out.
struct Epochs<'a> {
    data: &'a Dataset,
    options: StreamOptions,
    number: u64,
    ahead: Option<Batches>,
}

impl Epochs<'_> {
    fn stream(&mut self) -> Outcome<Batches> {
        let order = Order::Shuffled { seed: 1, epoch: self.number };
        self.number += 1;
        Ok(self.data.stream(StreamOptions { order, ..self.options })?)
    }

    /// Reads an epoch; gives its samples.
    fn run(&mut self, mut each: impl FnMut(&Batch) -> Outcome<()>) -> Outcome<u64> {
        let mut batches = match self.ahead.take() {
            Some(batches) => batches,
            None => self.stream()?,
        };
        let mut samples = 0;
        while let Some(batch) = batches.next()? {
            each(&batch)?;
            samples += batch.rows as u64;
            batches.recycle(batch);
            if self.ahead.is_none() && self.data.rows() - samples <= self.data.window_rows(&self.options) {
                self.ahead = Some(self.stream()?);
            }
        }
        Ok(samples)
    }
}

/// CPU seconds of this process so far, of all threads: in hundredths.
fn cpu_seconds() -> Outcome<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may contain spaces; the times are fields 14 and 15 of all.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

fn session(program: &Arc<Program>, options: &CpuOptions) -> Outcome<Session> {
    let threads = options.start_threads()?;
    let executor = Device::Cpu.executor(program, options, &threads)?;
    Ok(Session::new(executor, threads, 1)?)
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> = words.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let get = |name: &str, default: &'static str| given.get(name).copied().unwrap_or(default);
    let isa = match get("--isa", "") {
        "v2" => Some(Isa::V2),
        "v3" => Some(Isa::V3),
        "v4" => Some(Isa::V4),
        _ => None,
    };
    let spec = get("--spec", "models/din.din");
    let checked = check(spec, &std::fs::read_to_string(spec)?, &NoFiles, &CheckOptions::default());
    let model = checked.model.ok_or_else(|| format!("{:?}", checked.diagnostics))?;
    let program = Arc::new(compile(&model, &CompileOptions::default())?.program);
    let paths: Vec<&str> = get("--data", "").split(',').collect();
    let options = CpuOptions { threads: Some(get("--threads", "2").parse()?), isa };
    let mut session = session(&program, &options)?;
    let batch: usize = get("--batch", "1024").parse()?;
    let reading = StreamOptions {
        threads: session.reading_threads(),
        ..StreamOptions::new(batch, Order::Shuffled { seed: 1, epoch: 0 })
    };
    let data = Dataset::open(&paths, &program.schema, ReadMode::Train)?;
    let mut kept = Vec::new();
    let mut batches = data.stream(reading)?;
    while kept.len() < KEPT
        && let Some(batch) = batches.next()?
    {
        kept.push(batch);
    }
    drop(batches);
    let steps = data.rows().div_ceil(batch as u64) as usize;
    for _ in 0..get("--rounds", "5").parse::<usize>()? {
        let begin = Instant::now();
        data.stream(StreamOptions { opening_threads: options.thread_count(), ..reading })?.next()?;
        let first = begin.elapsed().as_secs_f64();

        let samples = data.rows();
        let mut own = f64::INFINITY;
        for _ in 0..READINGS {
            let before = cpu_seconds()?;
            let mut batches = data.stream(reading)?;
            while let Some(batch) = batches.next()? {
                batches.recycle(batch);
            }
            own = own.min(cpu_seconds()? - before);
        }

        // As in training, memory goes from epoch to epoch.
        let mut epochs = Epochs { data: &data, options: reading, number: 0, ahead: None };
        epochs.run(|_| Ok(()))?;
        let before = cpu_seconds()?;
        (0..READINGS).try_for_each(|_| epochs.run(|_| Ok(())).map(drop))?;
        let chained = (cpu_seconds()? - before) / READINGS as f64;
        println!(
            "{}",
            serde_json::json!({
                "reading_ns_per_sample": (own * 1e9 / samples as f64).round(),
                "of_consecutive_epochs": (chained * 1e9 / samples as f64).round(),
                "seconds_to_first_batch": first,
            })
        );
        if get("--train", "yes") == "no" {
            continue;
        }
        let begin = Instant::now();
        epochs.run(|batch| session.train(batch).map(drop).map_err(Into::into))?;
        let trained = samples as f64 / begin.elapsed().as_secs_f64();
        drop(epochs);
        let begin = Instant::now();
        let mut alone = 0;
        for step in 0..steps {
            let batch = &kept[step % kept.len()];
            session.train(batch)?;
            alone += batch.rows;
        }
        let alone = alone as f64 / begin.elapsed().as_secs_f64();
        println!(
            "{}",
            serde_json::json!({
                "samples_per_second_reading": trained.round(),
                "samples_per_second_in_memory": alone.round(),
            })
        );
    }
    Ok(())
}
