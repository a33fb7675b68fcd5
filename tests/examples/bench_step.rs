//! Our side of the step benchmark (`bench/run.py --ours`): every batch of a Parquet file once, in
//! file order, from given weights.
//!
//! ```text
//! bench_step --spec bench/din_step.din --data target/bench/step.parquet --init target/bench/init.safetensors
//!     [--names bench/names.json] [--threads 2] [--batch 1024] [--rounds 1] [--task train|infer] [--isa v4]
//!     [--device cpu|cuda:N] [--precision f32|tf32|bf16] [--prefill 0] [--tables f32|bf16]
//!     [--serve] [--profile] [--roofline]
//! ```
//!
//! A step's time is that of looking up its rows, forward, backward and updates; the file is read
//! before. `--task infer` runs the forward part of the inference schedule alone, at the initial
//! weights. Prints one JSON line a round: `{"step_seconds": [..], "losses": [..], "peak_kib": n}`;
//! with `--serve`, one round for each line of standard input. `--prefill` gives growing tables so
//! many rows, which keep from round to round what training made of them. `--profile` prints where
//! time went to standard error in the end; `--roofline` ends with a line of JSON, what all threads
//! together do at most per second, measured in the same process, and the floating-point operations
//! of a step's products and statistics as its calls count them: `{"flops": f, "cache_bytes": c,
//! "bytes": b, "step_flops": n}`.

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, Compiled, codegen, compile};
use din_program::cuda::Precision;
use din_program::{Isa, Program, TablePrecision};
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::cuda;
use din_runtime::exec::{BatchCut, DenseState, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::table::{self, Resolved, Table};
use din_runtime::threads::Threads;
use din_tests::process::peak_kib;
use din_tests::tables::tables;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    spec: PathBuf,
    data: PathBuf,
    init: PathBuf,
    names: PathBuf,
    threads: usize,
    batch: usize,
    rounds: usize,
    infer: bool,
    isa: Isa,
    device: Option<u32>,
    precision: Precision,
    prefill: u64,
    /// Of inference on a CPU.
    tables: TablePrecision,
    serve: bool,
    profile: bool,
    roofline: bool,
}

impl Arguments {
    fn parse() -> Outcome<Arguments> {
        let mut values = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        let (mut serve, mut profile, mut roofline) = (false, false, false);
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some("serve") => serve = true,
                Some("profile") => profile = true,
                Some("roofline") => roofline = true,
                Some(name) => {
                    let value = words.next().ok_or_else(|| format!("--{name} needs a value"))?;
                    values.insert(name.to_string(), value);
                }
                None => return Err(format!("unexpected `{word}`").into()),
            }
        }
        let mut take = |name: &str, default: Option<&str>| {
            let given = values.remove(name).or(default.map(str::to_string));
            given.ok_or_else(|| format!("--{name} is missing"))
        };
        let found = Arguments {
            spec: take("spec", None)?.into(),
            data: take("data", None)?.into(),
            init: take("init", None)?.into(),
            names: take("names", Some("bench/names.json"))?.into(),
            threads: take("threads", Some("2"))?.parse()?,
            batch: take("batch", Some("1024"))?.parse()?,
            rounds: take("rounds", Some("1"))?.parse()?,
            infer: match take("task", Some("train"))?.as_str() {
                "train" => false,
                "infer" => true,
                task => return Err(format!("--task {task} is neither train nor infer").into()),
            },
            isa: match take("isa", Some(""))?.as_str() {
                "v2" => Isa::V2,
                "v3" => Isa::V3,
                "v4" => Isa::V4,
                "" => cpu::detect(),
                isa => return Err(format!("--isa {isa} is none of v2, v3, v4").into()),
            },
            device: match take("device", Some("cpu"))?.as_str() {
                "cpu" => None,
                device => Some(device.strip_prefix("cuda:").ok_or("--device: expected cpu or cuda:N")?.parse()?),
            },
            precision: match take("precision", Some("f32"))?.as_str() {
                "f32" => Precision::F32,
                "tf32" => Precision::Tf32,
                "bf16" => Precision::Bf16,
                precision => return Err(format!("--precision {precision} is none of f32, tf32, bf16").into()),
            },
            prefill: take("prefill", Some("0"))?.parse()?,
            tables: match take("tables", Some("f32"))?.as_str() {
                "f32" => TablePrecision::F32,
                "bf16" => TablePrecision::Bf16,
                precision => return Err(format!("--tables {precision} is none of f32, bf16").into()),
            },
            serve,
            profile,
            roofline,
        };
        match values.into_keys().next() {
            Some(name) => Err(format!("unknown option --{name}").into()),
            None => Ok(found),
        }
    }
}

/// Initial weights by the program's names.
struct Init {
    bytes: Vec<u8>,
    names: serde_json::Value,
}

impl Init {
    /// The tensor of a table or parameter, if the file has it: `kind` is `table` or `param`, `name`
    /// the program's.
    fn get(&self, kind: &str, name: &str) -> Outcome<Option<Vec<f32>>> {
        let own = self.names[kind].as_object().and_then(|map| map.iter().find(|(_, v)| *v == name));
        let own = own.map(|(k, _)| k.clone()).ok_or_else(|| format!("{kind} `{name}` is not in the names"))?;
        let file = SafeTensors::deserialize(&self.bytes)?;
        let Ok(view) = file.tensor(&format!("init.{kind}.{own}")) else { return Ok(None) };
        Ok(Some(view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }
}

/// Where steps run.
enum Runs {
    Cpu(Box<CpuExecutor>),
    Gpu(Box<Gpu>),
}

type Gpu = din_runtime::exec::cuda::CudaExecutor<cuda::Gpu>;

/// The program's engine on a GPU, its kernels compiled or from the cache.
fn on_gpu(
    compiled: &Compiled,
    program: &Arc<Program>,
    number: u32,
    precision: Precision,
    threads: &Arc<Threads>,
) -> Outcome<Gpu> {
    let options = codegen::cuda::CodegenOptions { precision, ..codegen::cuda::CodegenOptions::default() };
    let made = codegen::cuda::program(program, &compiled.kernels, &options)?;
    let (_, architecture) = cuda::Gpu::probe(number)?;
    let target = cuda::CudaTarget::Cubin(architecture);
    let image = cuda::ImageCache::of_user().compile(&cuda::Nvrtc::load()?, &made.source, "step.cu", target)?;
    let gpu = cuda::Gpu::open(number, &[image])?;
    Ok(Gpu::with(program.clone(), Arc::new(made.launches), gpu, cuda::CudaOptions::default(), threads.clone())?)
}

/// A model in training.
struct Side {
    program: Arc<Program>,
    runs: Runs,
    state: DenseState,
    tables: Vec<Table>,
    resolved: Resolved,
    threads: Arc<Threads>,
}

impl Side {
    /// Everything at the initial weights; those that the file leaves out at the program's own.
    /// Tables that were filled stay.
    fn reset(&mut self, init: &Init, prefill: u64, precision: TablePrecision) -> Outcome<()> {
        if prefill > 0 && !self.tables.is_empty() {
            return Ok(());
        }
        self.state = DenseState::new(&self.program);
        for (p, numbers) in self.program.parameters.iter().zip(&mut self.state.params) {
            if let Some(found) = init.get("param", &p.name)? {
                *numbers = found;
            }
        }
        self.tables = tables(&self.program, 1)?;
        for (table, spec) in self.tables.iter_mut().zip(&self.program.tables) {
            if let Some(weights) = init.get("table", &spec.name)? {
                let first = usize::from(table.is_dynamic()) * table.width();
                if table.is_dynamic() {
                    for id in 0..weights.len() / table.width() {
                        table.insert_loaded(id as u64, true)?;
                    }
                }
                table.weights_mut()[first..].copy_from_slice(&weights);
            } else if table.is_dynamic() {
                for id in 0..prefill {
                    table.insert_loaded(id, true)?;
                }
            }
            if precision == TablePrecision::Bf16 {
                table.round_to_bf16()?;
            }
        }
        if let Runs::Gpu(engine) = &mut self.runs {
            engine.upload(&self.state, &self.tables)?;
        }
        Ok(())
    }

    /// One step; the batch's loss, or on a GPU that of a step before where it is there already.
    fn step(&mut self, batch: &Batch, infer: bool) -> Outcome<Option<f32>> {
        let specs = &self.program.tables;
        match infer {
            true => table::resolve_read(&self.threads, &self.tables, specs, batch, &mut self.resolved)?,
            false => table::resolve_train(&self.threads, &mut self.tables, specs, batch, &mut self.resolved)?,
        }
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
        let loss = match &mut self.runs {
            Runs::Cpu(engine) if infer => Some(engine.infer(&self.state, &self.tables, &inputs)?.unwrap_or(f32::NAN)),
            Runs::Cpu(engine) => Some(engine.train_step(&mut self.state, &mut self.tables, &inputs)?),
            Runs::Gpu(engine) if infer => Some(engine.infer(&mut self.tables, &inputs)?.unwrap_or(f32::NAN)),
            Runs::Gpu(engine) => {
                engine.train_ahead(&mut self.tables, &inputs)?;
                None
            }
        };
        Ok(loss)
    }

    /// Keeps a GPU at work for a while: the clocks of one that had nothing to do are low. The peers
    /// do so for as long (`bench/peers/harness.py`).
    fn busy(&mut self, batches: &[Batch], infer: bool) -> Outcome<()> {
        let begin = Instant::now();
        while matches!(self.runs, Runs::Gpu(_)) && begin.elapsed().as_secs_f64() < 0.2 {
            self.round(&batches[..batches.len().min(4)], infer)?;
        }
        Ok(())
    }

    /// Every batch once: seconds and loss of each.
    fn round(&mut self, batches: &[Batch], infer: bool) -> Outcome<(Vec<f64>, Vec<f32>)> {
        let (mut seconds, mut losses) = (Vec::new(), Vec::new());
        if let (Runs::Gpu(_), Some(first)) = (&self.runs, batches.first()) {
            // Waits for the upload, and changes nothing.
            self.step(first, true)?;
        }
        let begin = Instant::now();
        for batch in batches {
            let start = Instant::now();
            losses.extend(self.step(batch, infer)?);
            // The loss of the step before; this one's is on its way.
            if let Runs::Gpu(engine) = &mut self.runs
                && seconds.len() > losses.len()
            {
                losses.extend(engine.next_loss()?);
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
        if let Runs::Gpu(engine) = &mut self.runs {
            while let Some(loss) = engine.next_loss()? {
                losses.push(loss);
            }
            seconds.fill(begin.elapsed().as_secs_f64() / batches.len() as f64);
        }
        Ok((seconds, losses))
    }
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse()?;
    let threads = Threads::new(arguments.threads)?;
    let text = std::fs::read_to_string(&arguments.spec)?;
    let checked = check(&arguments.spec.to_string_lossy(), &text, &NoFiles, &CheckOptions::default());
    let model = checked.model.ok_or_else(|| format!("{:?}", checked.diagnostics))?;
    let isa = arguments.isa;
    let compiled = compile(&model, &CompileOptions { levels: vec![isa], ..CompileOptions::default() })?;
    let program = Arc::new(compiled.program.clone());
    let dataset = Dataset::open(&[&arguments.data], &program.schema, ReadMode::Train)?;
    let mut stream = dataset.stream(StreamOptions::new(arguments.batch, Order::File))?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next()? {
        batches.push(batch);
    }
    let init = Init {
        bytes: std::fs::read(&arguments.init)?,
        names: serde_json::from_slice(&std::fs::read(&arguments.names)?)?,
    };
    let mut side = Side {
        runs: match arguments.device {
            None => Runs::Cpu(Box::new(CpuExecutor::new(program.clone(), threads.clone(), isa)?)),
            Some(number) => Runs::Gpu(Box::new(on_gpu(&compiled, &program, number, arguments.precision, &threads)?)),
        },
        state: DenseState::default(),
        tables: Vec::new(),
        resolved: program.tables.iter().map(|t| vec![Vec::new(); t.features.len()]).collect(),
        program,
        threads,
    };
    side.reset(&init, arguments.prefill, arguments.tables)?;
    // Warm, as the peers are: capacities grow, memory is touched.
    side.round(&batches[..batches.len().min(4)], arguments.infer)?;
    if let Runs::Cpu(engine) = &mut side.runs {
        engine.set_profile(arguments.profile || arguments.roofline);
    }
    let asked = std::io::stdin().lines();
    let rounds: Box<dyn Iterator<Item = ()>> = match arguments.serve {
        true => Box::new(asked.map_while(Result::ok).map(drop)),
        false => Box::new((0..arguments.rounds).map(drop)),
    };
    let mut count = 0;
    for () in rounds {
        count += 1;
        side.busy(&batches, arguments.infer)?;
        side.reset(&init, arguments.prefill, arguments.tables)?;
        let (seconds, losses) = side.round(&batches, arguments.infer)?;
        println!("{}", serde_json::json!({ "step_seconds": seconds, "losses": losses, "peak_kib": peak_kib() }));
    }
    if let Runs::Cpu(engine) = &side.runs
        && arguments.roofline
    {
        let (roof, threads) = (engine.roofline(), arguments.threads as f64);
        let steps = (count * batches.len()).max(1) as f64;
        let step_flops = engine.profile().iter().map(|r| r.flops).sum::<f64>() / steps;
        let (flops, cache_bytes, bytes) = (threads * roof.flops, threads * roof.cache_bytes, threads * roof.bytes);
        println!(
            "{}",
            serde_json::json!({ "flops": flops, "cache_bytes": cache_bytes, "bytes": bytes, "step_flops": step_flops })
        );
    }
    if let Runs::Cpu(engine) = &side.runs
        && arguments.profile
    {
        for row in engine.profile() {
            eprintln!("{row:?}");
        }
    }
    if matches!(side.runs, Runs::Gpu(_)) && arguments.profile && !arguments.infer {
        // A round of its own: launches are timed one by one.
        side.busy(&batches, false)?;
        side.reset(&init, arguments.prefill, arguments.tables)?;
        if let Runs::Gpu(engine) = &mut side.runs {
            engine.set_profile(true)?;
        }
        side.round(&batches, false)?;
        if let Runs::Gpu(engine) = &side.runs {
            let rows = engine.profile();
            let all: f64 = rows.iter().map(|r| r.seconds).sum();
            for row in rows {
                let (ms, share) = (1e3 * row.seconds / batches.len() as f64, 100.0 * row.seconds / all);
                let rates = (row.flops / row.seconds / 1e9, row.bytes / row.seconds / 1e9);
                eprintln!(
                    "{share:5.1} %  {ms:8.4} ms  {:8.0} GFLOP/s  {:7.0} GB/s  {}  {}",
                    rates.0, rates.1, row.name, row.location
                );
            }
        }
    }
    Ok(())
}
