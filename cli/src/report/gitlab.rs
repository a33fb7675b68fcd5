//! GitLab's Code Quality report: a JSON array of issues, each with a fingerprint of its own.

use super::{CheckedFile, Finding, findings, full_message, shown_path};
use serde::Serialize;

#[derive(Serialize)]
struct Issue<'a> {
    description: String,
    check_name: &'a str,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
    end: usize,
}

pub(super) fn text(files: &[CheckedFile]) -> String {
    let mut issues: Vec<Issue<'_>> = findings(files).into_iter().map(issue).collect();
    for file in files {
        if let Some(failure) = &file.failure {
            issues.push(Issue {
                description: failure.message.clone(),
                check_name: "unreadable",
                fingerprint: din_runtime::fs::sha256(format!("unreadable\0{}", file.name).as_bytes()),
                severity: "blocker",
                location: Location { path: shown_path(&file.name), lines: Lines { begin: 1, end: 1 } },
            });
        }
    }
    serde_json::to_string_pretty(&issues).expect("texts and numbers are written as JSON") + "\n"
}

fn issue(finding: Finding<'_>) -> Issue<'_> {
    let place = finding.place;
    Issue {
        description: full_message(finding.diagnostic),
        check_name: finding.diagnostic.code,
        fingerprint: finding.fingerprint,
        severity: if finding.diagnostic.is_error() { "major" } else { "minor" },
        location: Location { path: place.file, lines: Lines { begin: place.line, end: place.end_line } },
    }
}
