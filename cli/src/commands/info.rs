//! `din info`: what a model, a run or an executable holds.

use crate::args::Info;
use crate::compile::compile;
use crate::failure::Outcome;
use crate::terminal::Console;
use din_program::Program;
use din_program::SlotScope;
use din_program::schema::{self, FeatureKind, KeyType, TableKind};
use din_runtime::bundle::{self, Bundle, GpuKernels};
use din_runtime::exec::cuda::CudaImage;
use din_runtime::fs::metadata;
use din_runtime::run_dir::{RunDirectory, RunRecord};
use din_runtime::table::Table;
use serde_json::json;
use std::fmt::Write;

pub fn info(console: &Console, args: &Info) -> Outcome {
    let found = metadata(&args.what)?;
    if found.as_ref().is_some_and(|found| found.is_dir()) {
        let run = RunDirectory::open(&args.what)?;
        let record = run.record()?;
        let program = run.program(&record)?;
        show(console, &program, None, args.json);
        if !args.json {
            console.result_raw(&of_run(&run, &record)?);
        }
        return Ok(());
    }
    if found.is_some_and(|found| found.is_file())
        && let Some(Bundle { program, kernels }) = bundle::read(&args.what)?
    {
        show(console, &program, kernels.as_ref(), args.json);
        return Ok(());
    }
    let program = compile(console, &args.what, &args.sets)?.program;
    show(console, &program, None, args.json);
    Ok(())
}

fn of_run(run: &RunDirectory, record: &RunRecord) -> Result<String, crate::failure::Failure> {
    let mut text = String::new();
    let valid = record.valid.as_ref().map_or("no validation data".into(), |v| format!("{} of validation", v.rows));
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\nrun: {} rows of training, {valid}; seed {}, batch {}, on {}",
        record.train.rows, record.seed, record.batch, record.backend
    );
    for line in run.epochs(u64::MAX)? {
        let _ = write!(text, "  epoch {} (step {}): train loss {:.4}", line.epoch, line.step, line.train_loss);
        for (name, value) in line.valid.iter().flatten() {
            let value = value.as_f64().map_or("undefined".into(), |v| format!("{v:.4}"));
            let _ = write!(text, ", {name} {value}");
        }
        let _ = writeln!(text);
    }
    if let Some(best) = run.best()? {
        let _ = writeln!(text, "  best: {}", best.checkpoint);
    }
    Ok(text)
}

/// Numbers an optimizer keeps beside `weights` numbers in `rows` rows.
fn slots(program: &Program, update: u32, weights: u64, rows: u64) -> u64 {
    let slots = program.updates.get(update as usize).map_or(&[][..], |u| &u.slots);
    let one = |scope: SlotScope| match scope {
        SlotScope::Weight => weights,
        SlotScope::Row => rows,
        SlotScope::Tensor => 1,
    };
    slots.iter().map(|s| one(s.per)).sum()
}

pub fn show(console: &Console, program: &Program, kernels: Option<&GpuKernels>, as_json: bool) {
    let dense: u64 = program.parameters.iter().map(|p| p.width() as u64).sum();
    let dense_slots: u64 = program.parameters.iter().map(|p| slots(program, p.update, p.width() as u64, 1)).sum();
    let states: u64 = program.states.iter().map(|s| s.width() as u64).sum();
    let update = |k: u32| program.updates.get(k as usize).map_or("?", |u| u.name.as_str());
    let bytes = |t: &schema::Table| {
        Table::bytes_per_id(t, program.updates.get(t.update as usize).map_or(&[][..], |u| &u.slots))
    };
    if as_json {
        let tables: Vec<_> = program.tables.iter().map(|t| json!({
            "name": t.name,
            "width": t.width,
            "rows": match t.kind { TableKind::Fixed { size } => json!(size), TableKind::Dynamic { .. } => json!(null) },
            "features": t.features.iter().filter_map(|&f| program.schema.features.get(f as usize)).map(|f| f.path()).collect::<Vec<_>>(),
            "update": update(t.update),
            "bytes_per_id": { "least": bytes(t).start(), "most": bytes(t).end() },
        })).collect();
        let parameters: Vec<_> =
            program.parameters.iter().map(|p| json!({ "name": p.name, "shape": p.shape })).collect();
        let states_: Vec<_> = program.states.iter().map(|s| json!({ "name": s.name, "shape": s.shape })).collect();
        let code: Vec<_> = program
            .code
            .iter()
            .map(|c| json!({ "isa": format!("{:?}", c.isa).to_lowercase(), "bytes": c.bytes.len() }))
            .collect();
        let cuda = kernels.map(|k| {
            let image = |i: &CudaImage| json!({ "target": i.target.to_string(), "bytes": i.code.len() });
            json!({
                "precision": k.launches.precision.to_string(),
                "images": k.images.iter().map(image).collect::<Vec<_>>(),
            })
        });
        let columns: Vec<_> =
            program.schema.features.iter().map(|f| json!({ "column": f.column, "feature": f.path() })).collect();
        let value = json!({
            "model": program.model,
            "program": program.hash(),
            "format": program.format,
            "compiler": program.compiler,
            "triple": program.triple,
            "hypers": program.hypers.iter().map(|(n, v)| json!({ "name": n, "value": v })).collect::<Vec<_>>(),
            "columns": columns,
            "labels": program.schema.labels.iter().map(|l| &l.column).collect::<Vec<_>>(),
            "keys": program.schema.keys.iter().map(|k| &k.column).collect::<Vec<_>>(),
            "tables": tables,
            "parameters": parameters,
            "states": states_,
            "dense_weights": dense,
            "kernels": program.kernels.len(),
            "code": code,
            "cuda": cuda,
            "report": program.metrics.iter().map(|m| &m.name).collect::<Vec<_>>(),
        });
        console.result(value.to_string());
        return;
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "model {} ({}, program {:.12})", program.model, program.compiler, program.hash());
    let _ = writeln!(text, "\ncolumns");
    for f in &program.schema.features {
        let kind = match f.kind {
            FeatureKind::Dynamic { key: KeyType::Int64 } => "int64 id".to_string(),
            FeatureKind::Dynamic { key: KeyType::String } => "string id".to_string(),
            FeatureKind::Fixed { size, clip } => format!("id 0..{size}{}", if clip { ", clipped" } else { "" }),
            FeatureKind::Dense { width: 1 } => "number".to_string(),
            FeatureKind::Dense { width } => format!("{width} numbers"),
        };
        let list = f.sequence.and_then(|s| program.schema.sequences.get(s as usize));
        let list = list.map_or(String::new(), |s| format!(", list of sequence {}", s.name));
        let _ = writeln!(text, "  {:<24} {kind}{list}", f.column);
    }
    for l in &program.schema.labels {
        let _ = writeln!(text, "  {:<24} label, 0 or 1", l.column);
    }
    for k in &program.schema.keys {
        let _ = writeln!(text, "  {:<24} key", k.column);
    }
    let _ = writeln!(text, "\ntables");
    for t in &program.tables {
        let rows = match t.kind {
            TableKind::Fixed { size } => format!("{size} rows"),
            TableKind::Dynamic { .. } => "rows as ids come".to_string(),
        };
        let (least, most) = bytes(t).into_inner();
        let _ = writeln!(
            text,
            "  {:<24} [{}], {rows}, {least} to {most} bytes per id in training, {}",
            t.name,
            t.width,
            update(t.update)
        );
    }
    let _ = writeln!(text, "\nparameters");
    for p in &program.parameters {
        let _ = writeln!(text, "  {:<32} {:?}, {}", p.name, p.shape, update(p.update));
    }
    for s in &program.states {
        let _ = writeln!(text, "  {:<32} {:?}, state", s.name, s.shape);
    }
    let _ = writeln!(
        text,
        "  together {dense} dense weights and {states} states; {} KiB with the optimizer's",
        (4 * (dense + dense_slots + states)).div_ceil(1024)
    );
    let code: Vec<String> = program
        .code
        .iter()
        .map(|c| format!("{} ({} KiB)", format!("{:?}", c.isa).to_lowercase(), c.bytes.len().div_ceil(1024)))
        .collect();
    let _ = writeln!(text, "\ncode: {} kernels for x86-64 {}", program.kernels.len(), code.join(", "));
    if let Some(kernels) = kernels {
        let size = |i: &CudaImage| format!("{} ({} KiB)", i.target, i.code.len().div_ceil(1024));
        let images: Vec<String> = kernels.images.iter().map(size).collect();
        let _ = writeln!(text, "GPU: {}, products in {}", images.join(", "), kernels.launches.precision);
    }
    let metrics: Vec<&str> = program.metrics.iter().map(|m| m.name.as_str()).collect();
    let selected = program.metrics.get(program.training.select as usize).map_or("the last epoch", |m| m.name.as_str());
    let _ = writeln!(
        text,
        "training: batch {}, {} epochs, seed {}; reports {}; best by {selected}",
        program.training.batch,
        program.training.epochs,
        program.training.seed,
        metrics.join(", ")
    );
    console.result_raw(&text);
}
