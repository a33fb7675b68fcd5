//! The corrections that diagnostics know, as edits.

use crate::documents::{Document, Documents};
use din_grammar::FileId;
use gen_lsp_types::{
    CodeAction, CodeActionContext, CodeActionKind, CodeActionResponse, Range, TextEdit, WorkspaceEdit,
};
use std::collections::HashMap;

pub(crate) fn actions(
    documents: &Documents,
    document: &Document,
    range: Range,
    context: &CodeActionContext,
) -> Vec<CodeActionResponse> {
    let wanted = context
        .only
        .as_ref()
        .is_none_or(|only| only.iter().any(|kind| matches!(kind, CodeActionKind::QuickFix | CodeActionKind::Empty)));
    if !wanted {
        return Vec::new();
    }
    let analysis = documents.analysis(document);
    let (start, end) = (document.offset(range.start), document.offset(range.end));
    let mut actions = Vec::new();
    for fault in &analysis.diagnostics {
        let touched = fault.labels.iter().any(|label| {
            label.span.file == FileId(0) && label.span.start as usize <= end && start <= label.span.end as usize
        });
        let own = fault.edits.iter().all(|edit| edit.span.file == FileId(0));
        if !touched || !own || fault.edits.is_empty() {
            continue;
        }
        let edits =
            fault.edits.iter().map(|edit| TextEdit { range: document.range(edit.span), new_text: edit.text.clone() });
        let changes = HashMap::from([(document.uri.clone(), edits.collect())]);
        let answered = context.diagnostics.iter().filter(|shown| {
            matches!(&shown.code, Some(gen_lsp_types::Code::String(code)) if code == fault.code)
                && fault.labels.iter().any(|label| document.range(label.span) == shown.range)
        });
        let diagnostics: Vec<_> = answered.cloned().collect();
        actions.push(CodeActionResponse::CodeAction(CodeAction {
            title: fault.edit_title(),
            kind: Some(CodeActionKind::QuickFix),
            diagnostics: (!diagnostics.is_empty()).then_some(diagnostics),
            is_preferred: Some(true),
            edit: Some(WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() }),
            ..CodeAction::default()
        }));
    }
    actions
}
