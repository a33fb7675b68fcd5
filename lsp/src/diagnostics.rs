//! Faults as an editor shows them.

use crate::documents::{Document, Documents};
use din_grammar::{FileId, Severity, Span};
use gen_lsp_types::{
    Code, Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, DiagnosticTag, Message,
    PublishDiagnosticsParams,
};

/// Where the pages of codes can be read.
const SOURCE: &str = "din";

pub(crate) fn publication(documents: &Documents, document: &Document) -> PublishDiagnosticsParams {
    let analysis = documents.analysis(document);
    let diagnostics = analysis.diagnostics.iter().map(|fault| shown(documents, document, fault)).collect();
    PublishDiagnosticsParams { uri: document.uri.clone(), version: Some(document.version), diagnostics }
}

/// A fault at its place in the document; one of an imported file stands at the import.
fn shown(documents: &Documents, document: &Document, fault: &din_grammar::Diagnostic) -> Diagnostic {
    let analysis = documents.analysis(document);
    let own = |span: Span| span.file == FileId(0);
    let primary = fault.labels.iter().find(|label| own(label.span));
    let span = primary.map_or_else(
        || {
            let name = fault.labels.first().and_then(|label| analysis.sources.get(label.span.file));
            let imports = &analysis.tree.imports;
            let import = imports.iter().find(|import| {
                let module: Vec<&str> = import.path.iter().map(|part| part.name.as_str()).collect();
                name.is_some_and(|file| file.recorded == format!("{}.din", module.join("/")))
            });
            import.map_or(Span::default(), |import| import.span)
        },
        |label| label.span,
    );
    let mut message = fault.message.clone();
    if let Some(label) = fault.labels.first().filter(|label| !label.text.is_empty()) {
        message += &format!("\n{}", label.text);
    }
    for note in &fault.notes {
        message += &format!("\n{note}");
    }
    if let Some(help) = &fault.help {
        message += &format!("\nhelp: {help}");
    }
    let others = fault.labels.iter().filter(|label| label.span != span && !label.text.is_empty());
    let related: Vec<DiagnosticRelatedInformation> = others
        .filter_map(|label| {
            let location = documents.location(document, &analysis, label.span)?;
            Some(DiagnosticRelatedInformation { location, message: label.text.clone() })
        })
        .collect();
    Diagnostic {
        range: document.range(span),
        severity: Some(match fault.severity {
            Severity::Error => DiagnosticSeverity::Error,
            Severity::Warning => DiagnosticSeverity::Warning,
        }),
        code: Some(Code::String(fault.code.into())),
        source: Some(SOURCE.into()),
        message: Message::String(message),
        // Names that nothing reads are greyed.
        tags: fault.code.starts_with("W02").then(|| vec![DiagnosticTag::Unnecessary]),
        related_information: (!related.is_empty()).then_some(related),
        ..Diagnostic::default()
    }
}
