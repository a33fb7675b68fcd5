//! A table in Markdown, such as for the summary of a job.

use super::{CheckedFile, findings};
use crate::markdown::{cell, code};
use std::fmt::Write;

pub(super) fn text(files: &[CheckedFile]) -> String {
    let found = findings(files);
    let errors = found.iter().filter(|finding| finding.diagnostic.is_error()).count();
    let unread: Vec<&str> = files.iter().filter_map(|f| f.failure.as_ref()).map(|f| f.message.as_str()).collect();
    let (checked, warnings) = (files.len(), found.len() - errors);
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "**din check**: {}, {}, {}",
        count(checked, "file"),
        count(errors + unread.len(), "error"),
        count(warnings, "warning")
    );
    if !found.is_empty() {
        let _ = writeln!(out, "\n| | place | code | message |\n| --- | --- | --- | --- |");
    }
    for finding in &found {
        let kind = if finding.diagnostic.is_error() { "error" } else { "warning" };
        let place = format!("{}:{}:{}", finding.place.file, finding.place.line, finding.place.column);
        let message = cell(&finding.diagnostic.message);
        let _ = writeln!(out, "| {kind} | {} | {} | {message} |", code(&place), finding.diagnostic.code);
    }
    for message in unread {
        let _ = writeln!(out, "\n{}", cell(message));
    }
    out
}
