//! `din check`: diagnostics of specs and libraries, shown and in reports; nothing else is written.

use crate::args::CheckArgs;
use crate::failure::{Failure, Outcome, SYSTEM_ERROR, USAGE_ERROR, USER_ERROR};
use crate::lints::{LintLevel, LintLevels};
use crate::project::{PROJECT_FILE, Project, Projects, over_budget};
use crate::report::{self, CheckedFile};
use crate::sources::{self, Beside};
use crate::terminal::Console;
use din_compiler::front;
use din_compiler::model::CheckedModel;
use din_grammar::Span;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of stack of a thread that checks: as many as the first thread has.
const STACK: usize = 8 << 20;

pub fn check(console: &Console, args: &CheckArgs) -> Outcome {
    let mut projects = Projects::default();
    let paths = files(args, &mut projects)?;
    let mut checked = Vec::with_capacity(paths.len());
    for (file, summary) in checked_files(args, &paths, &mut projects)? {
        console.diagnostics(&file.diagnostics, &file.sources);
        if console.human()
            && !console.quiet
            && let Some(summary) = summary
        {
            summary.remarks.iter().for_each(|remark| console.remark(remark));
            console.result(summary.line);
        }
        checked.push(file);
    }
    for project in projects.all() {
        if let Some(read) = &project.read {
            console.diagnostics(&read.diagnostics, &read.sources);
            if read.failure.is_some() || !read.diagnostics.is_empty() {
                let (name, sources, failure) = (read.name.clone(), read.sources.clone(), read.failure.clone());
                checked.push(CheckedFile { name, diagnostics: read.diagnostics.clone(), sources, failure });
            }
        }
    }
    concluded(console, args, &checked)
}

/// What is said of all files together, and the exit code.
fn concluded(console: &Console, args: &CheckArgs, checked: &[CheckedFile]) -> Outcome {
    let mut code = 0;
    for failure in checked.iter().filter_map(|file| file.failure.as_ref()) {
        console.error(&failure.message);
        code = code.max(failure.code);
    }
    let shown: Vec<_> = checked.iter().flat_map(|file| &file.diagnostics).cloned().collect();
    let errors = shown.iter().filter(|d| d.is_error()).count();
    let warnings = shown.len() - errors;
    if errors > 0 {
        code = code.max(USER_ERROR);
    }
    if console.format().is_report() {
        console.result_raw(&report::text(checked, console.format()));
    }
    for (format, path) in &args.outputs {
        if let Some(file) = checked.iter().find(|file| is_same_file(path, Path::new(&file.name))) {
            let help = "name another file for the report";
            console.error(&format!("{}: {} is checked\n  help: {help}", path.display(), file.name));
            code = code.max(USER_ERROR);
            continue;
        }
        let text = report::text(checked, *format);
        if let Err(failure) = sources::write(path, &text) {
            console.error(&failure.message);
            code = code.max(failure.code);
        }
    }
    console.more_about(&shown);
    if errors + warnings > 0 && console.human() {
        console.remark(format!("{}, {}", count(errors, "error"), count(warnings, "warning")));
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::reported(code)),
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| std::fs::canonicalize(path).ok();
    whole(one).is_some_and(|whole_path| Some(whole_path) == whole(other))
}

/// The files to check: those of the command line, else those that the project names.
fn files(args: &CheckArgs, projects: &mut Projects) -> Result<Vec<PathBuf>, Failure> {
    if !args.files.is_empty() {
        return sources::expanded(&args.files);
    }
    let project = projects.of_folder(Path::new(""))?;
    if let Some(paths) = &project.paths {
        // Folders that are named from the current one have no `./` in front.
        let here = project.folder.as_path() == Path::new(".");
        let named = |path: &String| if here { PathBuf::from(path) } else { project.folder.join(path) };
        return sources::expanded(&paths.iter().map(named).collect::<Vec<_>>());
    }
    // A file that cannot be used is the reason.
    if project.read.as_ref().is_some_and(|read| read.failure.is_some() || !read.diagnostics.is_empty()) {
        return Ok(Vec::new());
    }
    let help = format!("write `din check models`, or `paths = [\"models\"]` under `[check]` in {PROJECT_FILE}");
    Err(Failure {
        code: USAGE_ERROR,
        message: format!("expected files or folders to check, found none\n  help: {help}"),
    })
}

/// What is said of a file without errors.
struct Summary {
    line: String,
    remarks: Vec<String>,
}

/// Checks files on all cores; the outcomes have the order of the files.
fn checked_files(
    args: &CheckArgs,
    paths: &[PathBuf],
    projects: &mut Projects,
) -> Result<Vec<(CheckedFile, Option<Summary>)>, Failure> {
    let jobs = paths.iter().map(|path| Ok((path, projects.of(path)?))).collect::<Result<Vec<_>, Failure>>()?;
    let outcomes: Vec<OnceLock<_>> = jobs.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(((path, project), outcome)) = {
            let job = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(job).zip(outcomes.get(job))
        } {
            let set = outcome.set(checked_file(args, path, project));
            assert!(set.is_ok(), "a number is given out once");
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(jobs.len()) {
            // Without another thread, this one does all of it.
            let _ = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        }
        work();
    });
    Ok(outcomes.into_iter().map(|outcome| outcome.into_inner().expect("each file was checked")).collect())
}

fn checked_file(args: &CheckArgs, path: &Path, project: &Project) -> (CheckedFile, Option<Summary>) {
    let name = path.display().to_string();
    let text = match sources::read(path) {
        Ok(text) => text,
        Err(failure) => {
            let (diagnostics, sources) = Default::default();
            return (CheckedFile { name, diagnostics, sources, failure: Some(failure) }, None);
        }
    };
    let provider = Beside::of(path);
    let named = model_name(&text);
    let (mut diagnostics, sources, model) = match named {
        NamedModel::None => {
            let (diagnostics, sources) = front::check_library(&name, &text, &provider);
            (diagnostics, sources, None)
        }
        NamedModel::At(_) | NamedModel::Unknown => {
            let options = front::CheckOptions { sets: args.sets.clone() };
            let checked = front::check(&name, &text, &provider, &options);
            (checked.diagnostics, checked.sources, checked.model)
        }
    };
    levels(args, project).apply(&mut diagnostics);
    let mut failure = None;
    if let (Some(model), NamedModel::At(span)) = (&model, named)
        && model.missing_vocabularies.is_empty()
    {
        match over_budget(&project.budget, model, span) {
            Ok(over) => diagnostics.extend(over),
            Err(bug) => failure = Some(Failure { code: SYSTEM_ERROR, message: format!("{name}: {bug}") }),
        }
    }
    let right = failure.is_none() && !diagnostics.iter().any(|d| d.is_error());
    let file = CheckedFile { name, diagnostics, sources, failure };
    let summary = right.then(|| summary(&file, model.as_ref()));
    (file, summary)
}

fn levels(args: &CheckArgs, project: &Project) -> LintLevels {
    let mut levels = project.lints.clone();
    let given = [(&args.allow, LintLevel::Allow), (&args.warn, LintLevel::Warn), (&args.deny, LintLevel::Deny)];
    for (sets, level) in given {
        sets.iter().for_each(|&set| levels.set_by_command(set, level));
    }
    levels
}

fn summary(file: &CheckedFile, model: Option<&CheckedModel>) -> Summary {
    let name = &file.name;
    let Some(model) = model else {
        return Summary { line: format!("{name}: library"), remarks: Vec::new() };
    };
    let remarks = model.missing_vocabularies.iter().map(|missing| {
        let path = &model.schema.vocabularies[missing.vocabulary as usize].path;
        let place = file.sources.location(missing.span);
        format!("{place}: there is no file `{path}`; what depends on it is not checked")
    });
    let weights: usize = model.parameters.iter().map(|p| p.width()).sum();
    let (tables, features) = (model.tables.len(), model.schema.features.len());
    Summary {
        line: format!("{name}: model {}: {features} features, {tables} tables, {weights} dense weights", model.name),
        remarks: remarks.collect(),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The model of a text.
#[derive(Clone, Copy)]
enum NamedModel {
    /// There is none: the text is a library.
    None,
    /// Its name is there.
    At(Span),
    /// The text does not parse. It counts as a model, so that its errors are shown in the same way.
    Unknown,
}

fn model_name(text: &str) -> NamedModel {
    // The file that is checked is the first of its sources.
    let Ok(file) = din_grammar::parse(text, din_grammar::FileId(0)) else { return NamedModel::Unknown };
    let named = file.models().next().map(|model| model.name.span);
    named.map_or(NamedModel::None, NamedModel::At)
}
