//! Diagnostics as text: drawn for a terminal, one line each, or as JSON lines.
//!
//! Guarantees: all styles say the same facts in the same order and never panic, whatever the spans;
//! the first label is the primary one and gives the place. Colour is the caller's choice: nothing
//! is read from the environment.

use crate::{Diagnostic, FileId, Severity, SourceMap, Span};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt::Write;
use std::ops::Range;

/// The form in which diagnostics are rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The source with its labels drawn under it.
    Human {
        /// Whether to write the escapes that colour a terminal.
        color: bool,
    },
    /// `file:line:column: error[E0301]: message`, one line a diagnostic.
    Concise,
    /// One JSON object per line: `severity`, `code`, `message`, `file`, `line`, `column`, `labels`,
    /// `notes`, `help`.
    Json,
}

/// All diagnostics in the order given, each ended by a line break.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap, style: Style) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        match style {
            Style::Human { color } => {
                let renderer = if color { Renderer::styled() } else { Renderer::plain() };
                out += &renderer.decor_style(DecorStyle::Ascii).render(&[drawn(diagnostic, sources)]);
                out += "\n\n";
            }
            Style::Concise => {
                let place = diagnostic.labels.first().map(|l| sources.location(l.span));
                let place = place.map(|p| p + ": ").unwrap_or_default();
                let message = diagnostic.message.replace('\n', " ");
                // Writing to a string cannot fail.
                let _ = writeln!(out, "{place}{}[{}]: {message}", severity(diagnostic), diagnostic.code);
            }
            Style::Json => {
                out += &serde_json::to_string(&json(diagnostic, sources)).expect("a JSON value can be written");
                out.push('\n');
            }
        }
    }
    out
}

fn severity(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn drawn<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
    // One snippet a file, in the order in which the labels name the files.
    let mut files: Vec<FileId> = Vec::new();
    for label in &diagnostic.labels {
        if !files.contains(&label.span.file) {
            files.push(label.span.file);
        }
    }
    for id in files {
        let Some(file) = sources.get(id) else { continue };
        let text = if file.text.is_empty() { " " } else { file.text.as_str() };
        let mut snippet: Snippet<'a, Annotation<'a>> = Snippet::source(text).path(file.name.as_str());
        for (i, label) in diagnostic.labels.iter().enumerate().filter(|(_, l)| l.span.file == id) {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let annotation = kind.span(within(text, label.span));
            let said = (!label.text.is_empty()).then_some(label.text.as_str());
            snippet = snippet.annotation(annotation.label(said));
        }
        group = group.element(snippet);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    group
}

/// The span, moved inside the text and onto whole characters.
fn within(text: &str, span: Span) -> Range<usize> {
    let down = |mut i: usize| {
        i = i.min(text.len());
        while !text.is_char_boundary(i) {
            i -= 1;
        }
        i
    };
    let start = down(span.start as usize);
    start..down(span.end as usize).max(start)
}

#[derive(Serialize)]
struct Json<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    labels: Vec<JsonLabel<'a>>,
    notes: &'a [String],
    help: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonLabel<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    /// Just behind the last character.
    end_line: usize,
    end_column: usize,
    text: &'a str,
}

fn json<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Json<'a> {
    let labels: Vec<JsonLabel> = diagnostic
        .labels
        .iter()
        .map(|label| {
            let (line, column) = sources.line_column(label.span);
            let (end_line, end_column) = sources.line_column(Span { start: label.span.end, ..label.span });
            let file = sources.get(label.span.file).map_or("?", |f| f.name.as_str());
            JsonLabel { file, line, column, end_line, end_column, text: &label.text }
        })
        .collect();
    let first = labels.first();
    Json {
        severity: severity(diagnostic),
        code: diagnostic.code,
        message: &diagnostic.message,
        file: first.map(|l| l.file),
        line: first.map(|l| l.line),
        column: first.map(|l| l.column),
        labels,
        notes: &diagnostic.notes,
        help: diagnostic.help.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_files() -> (SourceMap, Vec<Diagnostic>) {
        let mut sources = SourceMap::default();
        let a = sources.add("a.din", "let x = f(é, 2)\nlet y = 3\n");
        let b = sources.add("std.b", "fn f(x) {\n    x\n}\n");
        let first = Diagnostic::error("E0301", "shapes differ", Span::new(a, 14, 15), "this is `[1]`")
            .label(Span::new(b, 5, 6), "`f` takes it here")
            .note("expected [2]")
            .help("write `[2]`");
        let second = Diagnostic::warning("W0201", "unused", Span::new(a, 21, 22), "");
        (sources, vec![first, second])
    }

    #[test]
    fn human_draws_labels_in_two_files() {
        let (sources, diagnostics) = two_files();
        let text = render(&diagnostics, &sources, Style::Human { color: false });
        let expected = "\
error[E0301]: shapes differ
 --> a.din:1:14
  |
1 | let x = f(é, 2)
  |              ^ this is `[1]`
  |
 ::: std.b:1:6
  |
1 | fn f(x) {
  |      - `f` takes it here
  |
  = note: expected [2]
  = help: write `[2]`

warning[W0201]: unused
 --> a.din:2:5
  |
2 | let y = 3
  |     ^

";
        assert_eq!(text, expected, "{text}");
        assert!(render(&diagnostics, &sources, Style::Human { color: true }).contains("\u{1b}["));
    }

    #[test]
    fn concise_is_one_line_each() {
        let (sources, diagnostics) = two_files();
        assert_eq!(
            render(&diagnostics, &sources, Style::Concise),
            "a.din:1:14: error[E0301]: shapes differ\na.din:2:5: warning[W0201]: unused\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let (sources, diagnostics) = two_files();
        let text = render(&diagnostics, &sources, Style::Json);
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["code"], "E0301");
        assert_eq!(lines[0]["column"], 14);
        assert_eq!(lines[0]["labels"][1]["file"], "std.b");
        assert_eq!(lines[0]["labels"][1]["end_column"], 7);
        assert_eq!(lines[1]["severity"], "warning");
        assert!(lines[1]["help"].is_null());
    }

    #[test]
    fn any_span_is_drawn() {
        let mut sources = SourceMap::default();
        let empty = sources.add("empty", "");
        let accents = sources.add("accents", "éé\n\néé");
        for file in [empty, accents, FileId(9)] {
            for (start, end) in [(0, 0), (0, 1), (1, 1), (3, 2), (4, 9), (5, 5), (99, 100), (0, u32::MAX)] {
                let span = Span { file, start, end };
                let one = [Diagnostic::error("E0000", "m", span, "here").label(span, "again")];
                for style in [Style::Human { color: false }, Style::Human { color: true }, Style::Concise, Style::Json]
                {
                    assert!(!render(&one, &sources, style).is_empty());
                }
            }
        }
    }
}
