//! Whether din itself works: a tiny model is compiled, and trained at each level that the processor
//! has.

use super::{Checkup, Health};
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_program::{Isa, Program};
use din_runtime::cpu;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::session::{CpuOptions, Device, Session};
use std::path::Path;
use std::sync::Arc;

/// One table with two rows that have opposite labels.
const SPEC: &str = "edition 2026

use std.loss.cross_entropy
use std.metric.log_loss
use std.optimizer.sgd

model trial {
    features ad { item: category(2) }
    label click: binary
    embedding item [1] for ad.item
    predict click ~ bernoulli(logit = sum(item(ad.item)))
    train { loss cross_entropy(click)  optimizer sgd(lr = 1)  batch 2  epochs 1 }
    report log_loss(click)
}
";
const ROWS: &str = "item,click\n0,1\n1,0\n";
const STEPS: u64 = 8;

pub(super) fn trial() -> Checkup {
    let name = "din";
    match try_all() {
        Ok(levels) => {
            let levels: Vec<String> = levels.iter().map(|&isa| format!("v{}", cpu::level(isa))).collect();
            let found =
                format!("{}: compiles and trains a tiny model by its code for {}", version(), levels.join(", "));
            Checkup::good(name, found)
        }
        Err(why) => {
            let effect = "nothing can be trained";
            let help = "see the reason; memory that is executable may be forbidden here, or TMPDIR full";
            Checkup::poor(name, Health::Broken, format!("{}: {why}", version()), effect, help)
        }
    }
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn try_all() -> Result<Vec<Isa>, String> {
    let model =
        check("trial.din", SPEC, &NoFiles, &CheckOptions::default()).model.ok_or("its own spec does not check")?;
    let compiled = crate::compile::compile_model(&model).map_err(|failure| failure.message)?;
    let program = Arc::new(compiled.program);
    let file = std::env::temp_dir().join(format!("din-doctor-{}.csv", std::process::id()));
    std::fs::write(&file, ROWS).map_err(|why| format!("{}: cannot be written: {why}", file.display()))?;
    let levels: Vec<Isa> = [Isa::V2, Isa::V3, Isa::V4].into_iter().filter(|&isa| cpu::runs(isa)).collect();
    let tried = levels.iter().try_for_each(|&isa| train(&program, &file, isa));
    // What the system keeps of a temporary file is its own affair.
    let _ = std::fs::remove_file(&file);
    tried.map(|()| levels)
}

/// Trains on the two rows, and sees that the logits have the signs of the labels.
fn train(program: &Arc<Program>, file: &Path, isa: Isa) -> Result<(), String> {
    let level = cpu::level(isa);
    let logits = logits(program, file, isa).map_err(|error| format!("v{level}: {}", error.message))?;
    match logits.as_slice() {
        [first, second] if *first > 0.0 && *second < 0.0 => Ok(()),
        logits => Err(format!("v{level}: training does not learn two rows: logits {logits:?}")),
    }
}

/// What a trained session predicts for the rows.
fn logits(program: &Arc<Program>, file: &Path, isa: Isa) -> din_runtime::Result<Vec<f32>> {
    let data = Dataset::open(&[file], &program.schema, ReadMode::Train)?;
    let options = CpuOptions { isa: Some(isa), ..CpuOptions::default() };
    let threads = options.start_threads()?;
    let executor = Device::Cpu.executor(program, &options, &threads)?;
    let mut session = Session::new(executor, threads, 1)?;
    for _ in 0..STEPS {
        let mut batches = data.stream(StreamOptions::new(2, Order::File))?;
        while let Some(batch) = batches.next()? {
            session.train(&batch)?;
            batches.recycle(batch);
        }
    }
    let mut logits = Vec::new();
    let mut batches = data.stream(StreamOptions::new(2, Order::File))?;
    while let Some(batch) = batches.next()? {
        session.infer(&batch)?;
        logits.extend_from_slice(session.predicted(0));
        batches.recycle(batch);
    }
    Ok(logits)
}
