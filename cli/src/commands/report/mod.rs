//! `din report`: a page about trained runs.

mod data;
mod training;

use super::description::Description;
use super::diff;
use super::examined::LoadedRun;
use crate::args::ReportArgs;
use crate::failure::{Failure, Outcome};
use crate::sources;
use crate::terminal::Console;
use din_compiler::front;
use din_program::Program;
use din_report::{RunFact, RunReport, RunSection, SpecDifference, html};
use din_runtime::fs::{metadata, not_an_input, write_atomically};
use std::path::{Path, PathBuf};

pub fn report(console: &Console, args: &ReportArgs) -> Outcome {
    if args.out.extension().is_none_or(|e| !e.eq_ignore_ascii_case("html") && !e.eq_ignore_ascii_case("htm")) {
        let help = "name a file that ends in .html";
        return Err(Failure::user_error(format!("{}: expected an .html file\n  help: {help}", args.out.display())));
    }
    if metadata(&args.out)?.is_some() && !args.force {
        let help = "choose another --out, or pass --force to replace it";
        return Err(Failure::user_error(format!("{}: already exists\n  help: {help}", args.out.display())));
    }
    not_an_input(&args.out, args.data.iter().map(PathBuf::as_path))?;
    let runs = LoadedRun::all(&args.runs)?;
    let mut report = RunReport {
        title: title(&runs),
        made_by: format!("din {}", env!("CARGO_PKG_VERSION")),
        ..RunReport::default()
    };
    for run in &runs {
        report.runs.push(section(run)?);
    }
    training::curves(&runs, &mut report)?;
    report.differences = differences(console, &runs)?;
    if !args.data.is_empty() {
        report.data = Some(data::measure(console, args, &runs)?);
    }
    write_atomically(&args.out, html(&report).as_bytes())?;
    let of = if runs.len() == 1 { "a run".into() } else { format!("{} runs", runs.len()) };
    console.remark(format!("{}: a report of {of}", args.out.display()));
    Ok(())
}

fn title(runs: &[LoadedRun]) -> String {
    match runs {
        [one] => format!("Run {}: model {}", one.name, one.record.model),
        several => {
            let names: Vec<&str> = several.iter().map(|run| run.name.as_str()).collect();
            format!("Runs {}", names.join(", "))
        }
    }
}

fn section(run: &LoadedRun) -> Result<RunSection, Failure> {
    let LoadedRun { name, directory, record, program } = run;
    let fact = |name: &str, value: String| RunFact { name: name.into(), value };
    let files = |data: &din_runtime::run_dir::DataRecord| {
        let paths: Vec<String> = data.files.iter().map(|file| file.path.display().to_string()).collect();
        format!("{} rows: {}", data.rows, paths.join(", "))
    };
    let mut facts = vec![
        fact("directory", directory.path().display().to_string()),
        fact("model", record.model.clone()),
        fact("made by", format!("din {}", record.din)),
        fact("device", format!("{} ({})", record.device, record.backend)),
        fact("seed, batch, leaves", format!("{}, {}, {}", record.seed, record.batch, record.leaves)),
        fact("ranks", record.ranks.to_string()),
        fact("training data", files(&record.train)),
    ];
    if let Some(valid) = &record.valid {
        facts.push(fact("validation data", files(valid)));
    }
    if let Some(best) = directory.best()? {
        let by = match (&best.metric, best.value) {
            (Some(metric), Some(value)) => format!(", {metric} {value:.4}"),
            (Some(_), None) | (None, Some(_) | None) => String::new(),
        };
        facts.push(fact("best checkpoint", format!("{} (epoch {}{by})", best.checkpoint, best.epoch)));
    }
    if !program.hypers.is_empty() {
        let hypers: Vec<String> = program.hypers.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        facts.push(fact("hyper-parameters", hypers.join(", ")));
    }
    let description = Description::new(program, None)?;
    Ok(RunSection {
        name: name.clone(),
        facts,
        tables: description.table_cells(),
        parameters: description.parameter_cells(),
        kernels: training::kernels(directory.path())?,
        spec: spec(program),
    })
}

/// The texts that a model was made from, without the library's.
fn spec(program: &Program) -> String {
    let own = |name: &str| name != front::SETTING && name.ends_with(".din");
    let texts: Vec<&(String, String)> = program.sources.iter().filter(|(name, _)| own(name)).collect();
    match &texts[..] {
        [(_, text)] => text.clone(),
        several => several.iter().map(|(name, text)| format!("// {name}\n\n{text}\n")).collect(),
    }
}

/// Between the first model and each other one.
fn differences(console: &Console, runs: &[LoadedRun]) -> Result<Vec<SpecDifference>, Failure> {
    let [first, others @ ..] = runs else { return Ok(Vec::new()) };
    let Some(old) = sources::recorded(&first.program) else {
        console.warning(format!("{}: this version does not accept the spec; no differences are shown", first.name));
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (k, run) in others.iter().enumerate() {
        match sources::recorded(&run.program) {
            Some(new) => {
                let text = diff::text((&first.name, &old), (&run.name, &new))?;
                found.push(SpecDifference { run: k + 1, text });
            }
            None => console.warning(format!("{}: this version does not accept the spec; no differences", run.name)),
        }
    }
    Ok(found)
}

/// A path as it is shown.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
