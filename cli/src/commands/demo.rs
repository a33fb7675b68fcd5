//! `din demo`: from synthetic data to trained models, a pooling model and DIN, compared with the
//! truth that generated the data.

use super::{run, synth};
use crate::args::DemoArgs;
use crate::failure::{Failure, Outcome};
use crate::sources::folder_of;
use crate::terminal::Console;
use din_compiler::front::{self, NoFiles};
use din_runtime::comm::LocalCommunicator;
use din_runtime::fs::metadata;
use din_runtime::session::{CpuOptions, Device};
use din_runtime::train::{TrainingEnd, TrainingOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The two sides of Figure 2 of the paper, as they stand in `models/`.
const MODELS: [(&str, &str, &str); 2] = [
    ("base", "models/base.din", include_str!("../../../models/base.din")),
    ("din", "models/din.din", include_str!("../../../models/din.din")),
];

/// Settings that suit 150,000 rows: the models' own are for logs of real size.
const BATCH: u32 = 512;
const EPOCHS: u32 = 3;

pub fn demo(console: &Console, args: &DemoArgs) -> Outcome {
    let (folder, temporary) = match &args.out {
        Some(folder) => (folder.clone(), false),
        None => (temporary_folder()?, true),
    };
    if metadata(&folder)?.is_some() {
        let help = "choose another --out";
        return Err(Failure::user_error(format!("{}: already exists\n  help: {help}", folder.display())));
    }
    let outcome = compare(console, args, &folder);
    if temporary {
        // What the system keeps of a temporary folder is its own affair.
        let _ = std::fs::remove_dir_all(&folder);
    }
    outcome
}

fn temporary_folder() -> Result<PathBuf, Failure> {
    let base = std::env::temp_dir();
    (0..1000)
        .map(|k| base.join(format!("din-demo-{}-{k}", std::process::id())))
        .find(|path| !path.exists())
        .ok_or_else(|| Failure::system_error(format!("{}: no free name for a folder", base.display())))
}

fn compare(console: &Console, args: &DemoArgs, folder: &std::path::Path) -> Outcome {
    let data = folder.join("data");
    let truth = synth::make(console, &data, &args.world, false)?;
    let rows: Vec<String> = truth.splits.iter().map(|s| format!("{} rows in {}", s.rows, s.file)).collect();
    console.remark(format!("synthetic log of seed {}: {}", truth.seed, rows.join(", ")));
    let mut table = Vec::new();
    for (name, path, text) in MODELS {
        let checked = front::check(path, text, &NoFiles, &front::CheckOptions::default());
        console.diagnostics(&checked.diagnostics, &checked.sources);
        let model =
            checked.model.ok_or_else(|| Failure::system_error(format!("the embedded {path} does not check")))?;
        let began = Instant::now();
        let program = Arc::new(crate::compile::compile_model(&model)?.program);
        let options = TrainingOptions {
            spec_folder: folder_of(Path::new(path)).into(),
            train: vec![data.join("train.parquet")],
            valid: vec![data.join("valid.parquet")],
            out: folder.join(name),
            resume: None,
            epochs: Some(EPOCHS),
            batch: Some(BATCH),
            leaves: None,
            seed: Some(args.world.seed),
            cpu: CpuOptions { threads: args.threads.map(|n| n as usize), isa: None },
            device: Device::Cpu,
            list_separator: None,
            checkpoint_every: None,
            evaluate_every: None,
            stop_after: None,
            profile: false,
            placements: Vec::new(),
            ranks: Arc::new(LocalCommunicator),
        };
        let summary = run::train_named(console, &program, &options, name)?;
        if summary.ending == TrainingEnd::Interrupted {
            return Err(Failure::reported(crate::failure::INTERRUPTED));
        }
        let best = summary.best.map_or(0, |b| b.epoch);
        let line = summary.lines.iter().find(|l| l.epoch == best);
        let metric = |kind: &str| {
            line.and_then(|l| l.valid.as_ref())
                .and_then(|v| v.iter().find(|(name, _)| name.starts_with(kind)))
                .and_then(|(_, value)| value.as_f64())
        };
        table.push((name, metric("auc("), metric("gauc("), Some(began.elapsed().as_secs_f64())));
    }
    let bayes = truth.splits.iter().find(|s| s.file == "valid.parquet").and_then(|s| s.bayes);
    table.push(("truth", bayes.map(|b| b.auc), bayes.map(|b| b.gauc), None));
    console.result("validation     AUC    GAUC   seconds");
    for (name, auc, gauc, seconds) in table {
        let number = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.4}"));
        let seconds = seconds.map_or(String::new(), |s| format!("{s:9.1}"));
        console.result(format!("{name:<10} {:>7} {:>7} {seconds}", number(auc), number(gauc)));
    }
    Ok(())
}
