//! Reading `din.toml`. What is wrong in it is said at its place, and what is right holds.

use super::budget::{Amount, Budget, Limits};
use super::{Project, ProjectText};
use crate::lints::{LintLevel, LintSet};
use crate::sources;
use din_grammar::suggest::nearest;
use din_grammar::{Diagnostic, FileId, SourceMap, Span};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectFile {
    #[serde(default)]
    check: CheckTable,
    #[serde(default)]
    lints: BTreeMap<Spanned<String>, LintLevel>,
    #[serde(default)]
    budget: BudgetTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckTable {
    paths: Option<Spanned<Vec<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetTable {
    parameters: Option<Amount>,
    flops_per_sample: Option<Amount>,
    bytes_per_sample: Option<Amount>,
    table_memory: Option<Amount>,
    #[serde(default)]
    rows: BTreeMap<String, Amount>,
    #[serde(default)]
    lengths: BTreeMap<String, Amount>,
    #[serde(default)]
    models: BTreeMap<String, ModelTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    parameters: Option<Amount>,
    flops_per_sample: Option<Amount>,
    bytes_per_sample: Option<Amount>,
    table_memory: Option<Amount>,
}

/// The project of a file that is there.
pub(super) fn read(path: &Path) -> Project {
    let (name, folder) = (path.display().to_string(), din_runtime::fs::parent(path).to_path_buf());
    let text = match sources::project_text(path) {
        Ok(text) => text,
        Err(failure) => {
            let read =
                ProjectText { name, diagnostics: Vec::new(), sources: SourceMap::default(), failure: Some(failure) };
            return Project { folder, read: Some(read), ..Project::default() };
        }
    };
    let mut sources = SourceMap::default();
    let file = sources.add(&name, &text);
    let mut project = Project { folder, ..Project::default() };
    let diagnostics = match toml::from_str::<ProjectFile>(&text) {
        Ok(parsed) => taken(&mut project, parsed, file),
        Err(error) => vec![refused(&error, file, text.len())],
    };
    project.read = Some(ProjectText { name, diagnostics, sources, failure: None });
    project
}

/// Takes the settings over; gives what is wrong with them.
fn taken(project: &mut Project, parsed: ProjectFile, file: FileId) -> Vec<Diagnostic> {
    let mut wrong = Vec::new();
    if let Some(paths) = parsed.check.paths {
        if paths.as_ref().is_empty() {
            let at = span(file, paths.span());
            wrong.push(
                Diagnostic::error("E0901", "`paths` names nothing to check", at, "empty")
                    .help("write `paths = [\"models\"]`, or leave it out"),
            );
        }
        project.paths = Some(paths.into_inner());
    }
    for (name, level) in parsed.lints {
        match name.as_ref().parse::<LintSet>() {
            Ok(set) => project.lints.set_in_project(set, level),
            Err(why) => {
                let message = format!("`{}` is no warning", name.as_ref());
                let at = span(file, name.span());
                wrong.push(Diagnostic::error("E0901", message, at, "not known").help(why));
            }
        }
    }
    let BudgetTable { parameters, flops_per_sample, bytes_per_sample, table_memory, rows, lengths, models } =
        parsed.budget;
    let limits = Limits { parameters, flops_per_sample, bytes_per_sample, table_memory };
    let of_model = |table: ModelTable| {
        let ModelTable { parameters, flops_per_sample, bytes_per_sample, table_memory } = table;
        Limits { parameters, flops_per_sample, bytes_per_sample, table_memory }
    };
    let models = models.into_iter().map(|(name, table)| (name, of_model(table))).collect();
    project.budget = Budget { limits, models, rows, lengths };
    wrong
}

/// What the reader of TOML says, at its place.
fn refused(error: &toml::de::Error, file: FileId, length: usize) -> Diagnostic {
    let at = span(file, error.span().unwrap_or(length..length));
    let message = error.message().trim();
    // ``unknown field `x`, expected one of `a`, `b` ``
    let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    if let Some((name, expected)) = unknown {
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        return Diagnostic::error("E0901", format!("there is no setting `{name}`"), at, "not known").help(help);
    }
    let one_line: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Diagnostic::error("E0901", one_line.join("; "), at, "here").help("docs/ci.md has a whole example")
}

fn span(file: FileId, range: Range<usize>) -> Span {
    Span::new(file, range.start, range.end)
}
