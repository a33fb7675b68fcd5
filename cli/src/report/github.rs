//! Workflow commands of GitHub Actions: each finding is an annotation of a line of the pull
//! request.

use super::{CheckedFile, Finding, findings, full_message};

pub(super) fn text(files: &[CheckedFile]) -> String {
    let mut out: String = findings(files).iter().map(command).collect();
    for failure in files.iter().filter_map(|file| file.failure.as_ref()) {
        out += &format!("::error::{}\n", message(&failure.message));
    }
    out
}

fn command(finding: &Finding<'_>) -> String {
    let kind = if finding.diagnostic.is_error() { "error" } else { "warning" };
    let place = &finding.place;
    let mut properties = format!("file={},line={}", property(&place.file), place.line);
    properties += &format!(",endLine={}", place.end_line);
    // Columns are shown within a line alone.
    if place.end_line == place.line {
        properties += &format!(",col={},endColumn={}", place.column, place.end_column);
    }
    format!(
        "::{kind} {properties},title={}::{}\n",
        property(finding.diagnostic.code),
        message(&full_message(finding.diagnostic))
    )
}

/// Of the text behind `::`, as GitHub decodes it.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Of the value of a property.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
