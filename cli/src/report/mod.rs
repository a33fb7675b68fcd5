//! Findings of `check` in the formats that CI systems read, each written as a whole at the end:
//! SARIF, JUnit, GitLab's Code Quality, GitHub's workflow commands.
//!
//! Guarantees: a finding that several specs share, as in a file that they import, is reported once;
//! places are in files on disk, named from the current folder with `/`; the same findings give the
//! same bytes.

mod github;
mod gitlab;
mod junit;
mod markdown;
mod sarif;

use crate::args::ReportFormat;
use crate::failure::Failure;
use din_compiler::front;
use din_grammar::{Diagnostic, SourceMap, Span, Style, render};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// What was found in a file that was checked.
#[derive(Debug)]
pub struct CheckedFile {
    /// As the command line, or the walk through a folder, names it.
    pub name: String,
    pub diagnostics: Vec<Diagnostic>,
    pub sources: SourceMap,
    /// Why it was not read.
    pub failure: Option<Failure>,
}

impl CheckedFile {
    fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.is_error()).count()
    }
}

/// All findings as a text of the format.
pub fn text(files: &[CheckedFile], format: ReportFormat) -> String {
    let rendered = |style: Style| files.iter().map(|file| render(&file.diagnostics, &file.sources, style)).collect();
    match format {
        ReportFormat::Human => rendered(Style::Human { color: false }),
        ReportFormat::Concise => rendered(Style::Concise),
        ReportFormat::Json => rendered(Style::Json),
        ReportFormat::Markdown => markdown::text(files),
        ReportFormat::Sarif => sarif::text(files),
        ReportFormat::Github => github::text(files),
        ReportFormat::Gitlab => gitlab::text(files),
        ReportFormat::Junit => junit::text(files),
    }
}

/// Characters of a file on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FilePlace {
    file: String,
    line: usize,
    column: usize,
    /// Just behind the last character.
    end_line: usize,
    end_column: usize,
}

/// A finding with its place and what tells it from all others.
struct Finding<'a> {
    diagnostic: &'a Diagnostic,
    sources: &'a SourceMap,
    /// That of the first label in a file on disk; else the beginning of the file that was checked.
    place: FilePlace,
    /// SHA-256 of code, file, message, the text of the line, and how many equal ones came before:
    /// the same as long as the line is, wherever it moves.
    fingerprint: String,
}

/// The findings of all files, each once.
fn findings(files: &[CheckedFile]) -> Vec<Finding<'_>> {
    let (mut found, mut known, mut equal) = (Vec::new(), BTreeSet::new(), BTreeMap::<String, u32>::new());
    for file in files {
        for diagnostic in &file.diagnostics {
            let sources = &file.sources;
            let on_disk = diagnostic.labels.iter().find_map(|label| place(sources, label.span));
            let place = on_disk.unwrap_or_else(|| FilePlace {
                file: shown_path(&file.name),
                line: 1,
                column: 1,
                end_line: 1,
                end_column: 1,
            });
            let FilePlace { file, line, column, .. } = &place;
            if !known.insert((file.clone(), *line, *column, diagnostic.code, diagnostic.message.clone())) {
                continue;
            }
            let what = format!("{}\0{file}\0{}\0{}", diagnostic.code, diagnostic.message, line_of(sources, diagnostic));
            let before = equal.entry(what.clone()).or_default();
            let fingerprint = din_runtime::fs::sha256(format!("{what}\0{before}").as_bytes());
            *before += 1;
            found.push(Finding { diagnostic, sources, place, fingerprint });
        }
    }
    found
}

/// The text of the line of the primary label, without the space around it.
fn line_of<'a>(sources: &'a SourceMap, diagnostic: &Diagnostic) -> &'a str {
    let Some(label) = diagnostic.labels.first() else { return "" };
    let (line, _) = sources.line_column(label.span);
    sources.get(label.span.file).and_then(|file| file.text.lines().nth(line - 1)).map_or("", str::trim)
}

/// The place of a span; `None` in the library and in what is no file, such as `--set`.
fn place(sources: &SourceMap, span: Span) -> Option<FilePlace> {
    let name = &sources.get(span.file)?.name;
    if name == front::SETTING || front::library_sources().iter().any(|(module, _)| module == name) {
        return None;
    }
    let (line, column) = sources.line_column(span);
    let (end_line, end_column) = sources.line_column(Span { start: span.end, ..span });
    Some(FilePlace { file: shown_path(name), line, column, end_line, end_column })
}

/// A path as reports have it: from the current folder, with `/`, without `.` and needless `..`.
fn shown_path(path: &str) -> String {
    let path = Path::new(path);
    let here = std::env::current_dir().ok();
    let inside = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    let mut parts: Vec<String> = Vec::new();
    for part in inside.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if parts.last().is_some_and(|last| last != ".." && !last.is_empty()) => {
                parts.pop();
            }
            Component::ParentDir => parts.push("..".into()),
            // Makes the path begin with `/`.
            Component::RootDir => parts.push(String::new()),
            Component::Prefix(prefix) => parts.push(prefix.as_os_str().to_string_lossy().into_owned()),
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
        }
    }
    parts.join("/")
}

/// The message with everything that is said beside it, each on a line of its own.
fn full_message(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    let said = |text: &str| text.is_empty() || diagnostic.message.ends_with(text);
    if let Some(label) = diagnostic.labels.first().filter(|label| !said(&label.text)) {
        text += &format!(": {}", label.text);
    }
    for note in &diagnostic.notes {
        text += &format!("\nnote: {note}");
    }
    if let Some(help) = &diagnostic.help {
        text += &format!("\nhelp: {help}");
    }
    text
}

#[cfg(test)]
mod tests;
