//! Din's side of the comparison with TorchRec (`bench/ranks_torchrec.py`): every batch of a Parquet
//! file once, in file order, from given weights, on the ranks that `mpirun` has started.
//!
//! ```text
//! mpirun -n 2 bench_ranks --spec din.din --data step.parquet --init init.safetensors --library libdin_mpi.so
//!     [--names bench/names.json] [--threads 1] [--batch 4096] [--isa v4]
//! ```
//!
//! A step is what training does with a batch that has been read: ids travel while the step before
//! runs, rows come from their owners, forward, backward, gradients to their owners, updates. The
//! first rank prints one JSON line: `{"step_seconds": [..], "losses": [..], "peak_kib": n}`.

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_program::{Isa, Program};
use din_runtime::batch::Batch;
use din_runtime::comm::{Communicator, ConnectOptions, connect};
use din_runtime::cpu;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::placement::shard_plan;
use din_runtime::session::{AskedRows, ModelState, Session};
use din_runtime::threads::Threads;
use din_tests::process::peak_kib;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Batches that are trained before those that count: capacities grow, memory is touched.
const WARM: usize = 4;

/// Initial weights by the program's names.
struct Init<'a> {
    tensors: SafeTensors<'a>,
    names: serde_json::Value,
}

impl Init<'_> {
    /// The tensor of a table or parameter: `kind` is `table` or `param`, `name` the program's.
    fn get(&self, kind: &str, name: &str) -> Outcome<Vec<f32>> {
        let own = self.names[kind].as_object().and_then(|map| map.iter().find(|(_, v)| *v == name));
        let (own, _) = own.ok_or_else(|| format!("{kind} `{name}` is not in the names"))?;
        let view = self.tensors.tensor(&format!("init.{kind}.{own}"))?;
        Ok(view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

/// A model at the initial weights, this rank's part of it.
fn session(
    program: &Arc<Program>,
    init: &Init<'_>,
    (threads, isa): (&Arc<Threads>, Isa),
    ranks: &Arc<dyn Communicator>,
) -> Outcome<Session> {
    let executor = CpuExecutor::new(program.clone(), threads.clone(), isa)?;
    let plan = shard_plan(program, DEFAULT_LEAVES, &**ranks, &[])?;
    let mut model = ModelState::of_shard(program.clone(), threads, 1, &plan)?;
    for (spec, values) in program.parameters.iter().zip(&mut model.dense.params) {
        *values = init.get("param", &spec.name)?;
    }
    for (spec, table) in program.tables.iter().zip(&mut model.tables) {
        let (weights, width) = (init.get("table", &spec.name)?, table.width());
        for (id, row, _) in table.in_key_order() {
            let (id, row) = (id as usize * width, row as usize * width);
            table.weights_mut()[row..row + width].copy_from_slice(&weights[id..id + width]);
        }
    }
    let mut session = Session::with_model(Box::new(executor), threads.clone(), model);
    session.set_leaves(DEFAULT_LEAVES);
    if ranks.size() > 1 {
        session.join_ranks(ranks.clone(), plan)?;
    }
    Ok(session)
}

/// Every batch once: seconds and loss of each.
fn round(session: &mut Session, batches: &[Batch]) -> Outcome<(Vec<f64>, Vec<f32>)> {
    let Some(asker) = session.row_asker()? else {
        return train_alone(session, batches);
    };
    let (ready_in, ready) = sync_channel(1);
    std::thread::scope(|scope| {
        let ask = move || -> din_runtime::Result<()> {
            for batch in batches {
                let mut asked = AskedRows::default();
                asker.ask_ahead(batch, &mut asked)?;
                if ready_in.send(asked).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let asking = scope.spawn(ask);
        let (mut seconds, mut losses) = (Vec::new(), Vec::new());
        let mut begin = Instant::now();
        for (batch, asked) in batches.iter().zip(ready) {
            session.submit_asked(batch, &asked, false)?;
            losses.push(session.next_loss()?.ok_or("a step has a loss")?);
            // What a step waits for its rows is part of it.
            seconds.push(begin.elapsed().as_secs_f64());
            begin = Instant::now();
        }
        asking.join().map_err(|_| "the thread that asks for rows ended")??;
        Ok((seconds, losses))
    })
}

fn train_alone(session: &mut Session, batches: &[Batch]) -> Outcome<(Vec<f64>, Vec<f32>)> {
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for batch in batches {
        let begin = Instant::now();
        losses.push(session.train(batch)?);
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok((seconds, losses))
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let pairs = words.chunks(2).map(|pair| match pair {
        [name, value] => Ok((name.as_str(), value.as_str())),
        _ => Err("every option needs a value"),
    });
    let given = pairs.collect::<Result<BTreeMap<_, _>, _>>()?;
    let get = |name: &str, default: Option<&'static str>| {
        given.get(name).copied().or(default).ok_or_else(|| format!("{name} is missing"))
    };
    let ranks = connect(&ConnectOptions { library: Some(get("--library", None)?.into()), ..Default::default() })?;
    let isa = match get("--isa", Some(""))? {
        "v2" => Isa::V2,
        "v3" => Isa::V3,
        "v4" => Isa::V4,
        "" => cpu::detect(),
        isa => return Err(format!("--isa {isa} is none of v2, v3, v4").into()),
    };
    let spec = get("--spec", None)?;
    let checked = check(spec, &std::fs::read_to_string(spec)?, &NoFiles, &CheckOptions::default());
    let model = checked.model.ok_or_else(|| format!("{:?}", checked.diagnostics))?;
    let program = Arc::new(compile(&model, &CompileOptions { levels: vec![isa], ..Default::default() })?.program);
    let data = Dataset::open(&[get("--data", None)?], &program.schema, ReadMode::Train)?;
    let batch = get("--batch", Some("4096"))?.parse()?;
    let mut stream = data.stream_on(StreamOptions::new(batch, Order::File), ranks.clone())?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next()? {
        batches.push(batch);
    }
    drop(stream);
    let bytes = std::fs::read(get("--init", None)?)?;
    let names = serde_json::from_slice(&std::fs::read(get("--names", Some("bench/names.json"))?)?)?;
    let init = Init { tensors: SafeTensors::deserialize(&bytes)?, names };
    let threads = Threads::new(get("--threads", Some("1"))?.parse()?)?;
    round(&mut session(&program, &init, (&threads, isa), &ranks)?, &batches[..batches.len().min(WARM)])?;
    let (seconds, losses) = round(&mut session(&program, &init, (&threads, isa), &ranks)?, &batches)?;
    if ranks.rank() == 0 {
        println!("{}", serde_json::json!({ "step_seconds": seconds, "losses": losses, "peak_kib": peak_kib() }));
    }
    ranks.finish()?;
    Ok(())
}
