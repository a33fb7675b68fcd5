//! `din diff`: what differs between two models.

mod report;

use crate::args::{DiffArgs, ReportFormat};
use crate::failure::{COMPATIBLE, Failure, INCOMPATIBLE, Outcome};
use crate::sources;
use crate::terminal::Console;
use din_compiler::difference::{ModelDifference, Verdict};
use din_compiler::model::CheckedModel;
use din_program::Program;
use din_runtime::bundle::{self, Bundle};
use din_runtime::fs::metadata;
use din_runtime::run_dir::RunDirectory;
use report::DifferenceReport;
use serde_json::json;
use std::path::Path;

pub fn diff(console: &Console, args: &DiffArgs) -> Outcome {
    // A report has no place for diagnostics.
    let shown = if console.format().is_report() { console.for_people() } else { console.clone() };
    let (old, new) = (model(&shown, &args.old)?, model(&shown, &args.new)?);
    let difference = ModelDifference::between(&old, &new)
        .map_err(|bug| Failure::system_error(format!("{} and {}: {bug}; this is a bug of din", args.old, args.new)))?;
    let verdict = difference.verdict;
    let report = DifferenceReport { old: (&args.old, &old.name), new: (&args.new, &new.name), difference };
    match console.format() {
        ReportFormat::Human | ReportFormat::Concise => console.result_raw(&report.text()),
        ReportFormat::Markdown => console.result_raw(&report.markdown()),
        ReportFormat::Json => console.result(json!(report).to_string()),
        ReportFormat::Sarif | ReportFormat::Github | ReportFormat::Gitlab | ReportFormat::Junit => {
            unreachable!("refused before: formats of findings")
        }
    }
    match verdict {
        Verdict::Same => Ok(()),
        Verdict::Compatible => Err(Failure::reported(COMPATIBLE)),
        Verdict::Incompatible => Err(Failure::reported(INCOMPATIBLE)),
    }
}

/// What differs between two models, each beside what it is called, as `din diff` prints it.
pub fn text(old: (&str, &CheckedModel), new: (&str, &CheckedModel)) -> Result<String, Failure> {
    let difference = ModelDifference::between(old.1, new.1)
        .map_err(|bug| Failure::system_error(format!("{} and {}: {bug}; this is a bug of din", old.0, new.0)))?;
    Ok(DifferenceReport { old: (old.0, &old.1.name), new: (new.0, &new.1.name), difference }.text())
}

/// The model that an argument names.
fn model(console: &Console, named: &str) -> Result<CheckedModel, Failure> {
    let path = Path::new(named);
    let model = match (metadata(path)?, named.split_once(':')) {
        (Some(found), _) if found.is_dir() => {
            let run = RunDirectory::open(path)?;
            of_program(&run.program(&run.record()?)?, named)?
        }
        (Some(found), _) if found.is_file() => match bundle::read(path)? {
            Some(Bundle { program, .. }) => of_program(&program, named)?,
            None => sources::checked(console, path, &[])?,
        },
        (Some(_), _) | (None, None) => sources::checked(console, path, &[])?,
        (None, Some((revision, path))) => sources::checked_of_revision(console, revision, path)?,
    };
    match model.missing_vocabularies.first() {
        None => Ok(model),
        Some(missing) => {
            let path = &model.schema.vocabularies[missing.vocabulary as usize].path;
            let place = model.sources.location(missing.span);
            Err(Failure::user_error(format!(
                "{place}: there is no file `{path}`, whose lines are ids\n  help: its path is that from the folder of the spec"
            )))
        }
    }
}

fn of_program(program: &Program, named: &str) -> Result<CheckedModel, Failure> {
    sources::recorded(program).ok_or_else(|| {
        let help = "compare it with the version of din that made it";
        Failure::user_error(format!(
            "{named}: this version does not accept the spec, which was of {}\n  help: {help}",
            program.compiler
        ))
    })
}
