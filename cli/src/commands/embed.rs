//! `din embed` and `din attribute`: the vectors of a table.

use crate::args::{AttributeArgs, EmbedArgs};
use crate::failure::{Failure, Outcome};
use crate::terminal::Console;
use din_program::{Program, TablePrecision};
use din_runtime::checkpoint::LoadedCheckpoint;
use din_runtime::embedding::{EmbeddedId, TableVectors};
use din_runtime::fs::metadata;
use din_runtime::run_dir::RunDirectory;
use din_runtime::session::LoadPurpose;
use din_runtime::table::ShardPlan;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// A checkpoint of a run, to read its tables.
fn load(run: &Path, checkpoint: &str) -> Result<(Arc<Program>, String, LoadedCheckpoint), Failure> {
    let run = RunDirectory::open(run)?;
    let record = run.record()?;
    let program = Arc::new(run.program(&record)?);
    let plan = ShardPlan::whole(program.tables.len());
    let purpose = LoadPurpose::Inference(TablePrecision::F32);
    let (name, loaded) = run.load(checkpoint, &program, &record, &plan, purpose)?;
    Ok((program, name, loaded))
}

pub fn embed(console: &Console, args: &EmbedArgs) -> Outcome {
    if metadata(&args.out)?.is_some() && !args.force {
        let help = "choose another --out, or pass --force to replace it";
        return Err(Failure::user_error(format!("{}: already exists\n  help: {help}", args.out.display())));
    }
    let (program, checkpoint, loaded) = load(&args.run, &args.checkpoint)?;
    let embedding = TableVectors::of(&program, &loaded.model.tables, &args.table)?;
    let rows = embedding.write(&args.out)?;
    console.remark(format!("{}: {rows} rows of table `{}`, checkpoint {checkpoint}", args.out.display(), args.table));
    Ok(())
}

pub fn attribute(console: &Console, args: &AttributeArgs) -> Outcome {
    let (program, _, loaded) = load(&args.run, &args.checkpoint)?;
    let embedding = TableVectors::of(&program, &loaded.model.tables, &args.table)?;
    let found = embedding.neighbours(&args.id, args.neighbours as usize)?;
    if args.json {
        let id = |id: &EmbeddedId| match id {
            EmbeddedId::Integer(id) => json!(id),
            EmbeddedId::Hash(_) | EmbeddedId::Oov => json!(id.to_string()),
            EmbeddedId::Text(text) => json!(text),
        };
        let lines: Vec<_> = found.iter().map(|n| json!({ "id": id(&n.id), "cosine": n.cosine })).collect();
        console.result(json!({ "table": args.table, "id": args.id, "neighbours": lines }).to_string());
        return Ok(());
    }
    let ids: Vec<String> = found.iter().map(|neighbour| neighbour.id.to_string()).collect();
    let longest = ids.iter().map(|id| id.chars().count()).max().unwrap_or(0);
    for (id, neighbour) in ids.iter().zip(&found) {
        console.result(format!("{id:<longest$}  {:.4}", neighbour.cosine));
    }
    Ok(())
}
