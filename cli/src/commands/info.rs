//! `din info`: what a model, a run or an executable holds.

use super::description::Description;
use crate::args::InfoArgs;
use crate::compile::compile;
use crate::failure::Outcome;
use crate::progress::place_of;
use crate::terminal::Console;
use din_program::Program;
use din_runtime::bundle::{self, Bundle, GpuKernels};
use din_runtime::fs::metadata;
use din_runtime::run_dir::{RunDirectory, RunRecord};
use serde_json::json;
use std::fmt::Write;

pub fn info(console: &Console, args: &InfoArgs) -> Outcome {
    let found = metadata(&args.what)?;
    if found.as_ref().is_some_and(|found| found.is_dir()) {
        let run = RunDirectory::open(&args.what)?;
        let record = run.record()?;
        let program = run.program(&record)?;
        show(console, &program, None, args.json)?;
        if !args.json {
            console.result_raw(&of_run(&run, &record)?);
        }
        return Ok(());
    }
    if found.is_some_and(|found| found.is_file())
        && let Some(Bundle { program, kernels }) = bundle::read(&args.what)?
    {
        return show(console, &program, kernels.as_ref(), args.json);
    }
    let program = compile(console, &args.what, &args.sets)?.program;
    show(console, &program, None, args.json)
}

fn of_run(run: &RunDirectory, record: &RunRecord) -> Result<String, crate::failure::Failure> {
    let mut text = String::new();
    let valid = record.valid.as_ref().map_or("no validation data".into(), |v| format!("{} of validation", v.rows));
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\nrun: {} rows of training, {valid}; seed {}, batch {}, {} leaves, on {}",
        record.train.rows, record.seed, record.batch, record.leaves, record.backend
    );
    for line in run.metrics(u64::MAX)? {
        let place = match line.ends_epoch() {
            true => format!("epoch {} (step {})", line.epoch, line.step),
            false => place_of(&line),
        };
        let _ = write!(text, "  {place}: train loss {:.4}", line.train_loss);
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

pub fn show(console: &Console, program: &Program, kernels: Option<&GpuKernels>, as_json: bool) -> Outcome {
    let description = Description::new(program, kernels)?;
    if as_json {
        console.result(json!(description).to_string());
    } else {
        console.result_raw(&description.to_string());
    }
    Ok(())
}
