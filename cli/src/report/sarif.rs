//! SARIF 2.1.0, which code scanning of GitHub and many editors read.

use super::{CheckedFile, FilePlace, Finding, findings, full_message, place};
use crate::codes::CodePage;
use crate::failure::Failure;
use din_grammar::{Severity, SourceMap, Span};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool,
    invocations: [Invocation; 1],
    /// A column is a Unicode character.
    column_kind: &'static str,
    results: Vec<SarifResult<'a>>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: &'static str,
    short_description: Message<&'static str>,
    help: Help,
    default_configuration: Configuration,
}

#[derive(Serialize)]
struct Help {
    text: String,
    markdown: &'static str,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    /// Whether all files could be read.
    execution_successful: bool,
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: &'static str,
    message: Message<String>,
}

#[derive(Serialize)]
struct Message<T> {
    text: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'static str,
    message: Message<String>,
    locations: [SarifLocation; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<SarifLocation>,
    partial_fingerprints: Fingerprints,
}

#[derive(Serialize)]
struct Fingerprints {
    #[serde(rename = "dinFinding/v1")]
    finding: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifLocation {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    /// The module of the library that a place lies in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    start_column: usize,
    end_line: usize,
    end_column: usize,
}

pub(super) fn text(files: &[CheckedFile]) -> String {
    let found = findings(files);
    let mut codes: Vec<&'static str> = found.iter().map(|finding| finding.diagnostic.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let index = |code: &str| codes.binary_search(&code).expect("the codes are those of the findings");
    let results = found.iter().map(|finding| result(finding, index(finding.diagnostic.code))).collect();
    let failures = files.iter().filter_map(|file| file.failure.as_ref());
    let notification =
        |failure: &Failure| Notification { level: "error", message: Message { text: failure.message.clone() } };
    let notifications: Vec<Notification> = failures.map(notification).collect();
    let log = Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "din",
                    version: env!("CARGO_PKG_VERSION"),
                    rules: codes.iter().map(|code| rule(code)).collect(),
                },
            },
            invocations: [Invocation {
                execution_successful: notifications.is_empty(),
                tool_execution_notifications: notifications,
            }],
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    serde_json::to_string_pretty(&log).expect("texts and numbers are written as JSON") + "\n"
}

fn rule(code: &str) -> Rule {
    let page = CodePage::of(code).expect("a code has a page, as a test of the pages ensures");
    let level = if page.code.starts_with('W') { "warning" } else { "error" };
    Rule {
        id: page.code,
        short_description: Message { text: page.title() },
        help: Help { text: page.plain(), markdown: page.text },
        default_configuration: Configuration { level },
    }
}

fn result<'a>(finding: &Finding<'a>, rule_index: usize) -> SarifResult<'a> {
    let (diagnostic, sources) = (finding.diagnostic, finding.sources);
    let primary = diagnostic.labels.first().map(|label| label.span);
    // The first label in a file on disk; what it is not, is said beside it.
    let mut location = SarifLocation {
        id: None,
        physical_location: Some(physical(&finding.place)),
        logical_locations: Vec::new(),
        message: None,
    };
    if let Some(span) = primary.filter(|&span| place(sources, span).is_none()) {
        location.logical_locations = logical(sources, span);
    }
    let labels = diagnostic.labels.iter().skip(1).zip(1..);
    let related = labels.map(|(label, id)| {
        let physical_location = place(sources, label.span).as_ref().map(physical);
        let logical_locations = if physical_location.is_none() { logical(sources, label.span) } else { Vec::new() };
        let message = (!label.text.is_empty()).then(|| Message { text: label.text.clone() });
        SarifLocation { id: Some(id), physical_location, logical_locations, message }
    });
    SarifResult {
        rule_id: diagnostic.code,
        rule_index,
        level: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        message: Message { text: full_message(diagnostic) },
        locations: [location],
        related_locations: related.collect(),
        partial_fingerprints: Fingerprints { finding: finding.fingerprint.clone() },
    }
}

fn physical(place: &FilePlace) -> PhysicalLocation {
    PhysicalLocation {
        artifact_location: ArtifactLocation { uri: uri(&place.file) },
        region: Region {
            start_line: place.line,
            start_column: place.column,
            end_line: place.end_line,
            end_column: place.end_column,
        },
    }
}

fn logical(sources: &SourceMap, span: Span) -> Vec<LogicalLocation> {
    let name = sources.get(span.file).map_or("?", |file| file.name.as_str());
    vec![LogicalLocation { fully_qualified_name: name.into(), kind: "module" }]
}

/// A path as the reference of a URI: what RFC 3986 does not allow in a path is percent-encoded.
fn uri(path: &str) -> String {
    let mut out = String::new();
    if path.starts_with('/') {
        out += "file://";
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}
