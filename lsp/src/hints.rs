//! Shapes behind the names of `let`.

use crate::documents::{Document, Documents};
use din_compiler::front::analysis::{SymbolKind, ValueForm};
use gen_lsp_types::{InlayHint, InlayHintKind, Label, Range, Tooltip};

pub(crate) fn hints(documents: &Documents, document: &Document, range: Range) -> Vec<InlayHint> {
    let analysis = documents.analysis(document);
    let (start, end) = (document.offset(range.start), document.offset(range.end));
    let mut hints = Vec::new();
    for (_, symbol) in analysis.symbols() {
        let Some(span) = symbol.definition.filter(|span| span.file.0 == 0) else { continue };
        let shown = matches!(symbol.kind, SymbolKind::Value | SymbolKind::Output | SymbolKind::LoopVariable);
        // One shape: a function that is called with several has none of its own.
        let [value] = analysis.values(span) else { continue };
        let inside = start <= span.end as usize && span.end as usize <= end;
        if !shown || !inside || value.form != ValueForm::Tensor {
            continue;
        }
        hints.push(InlayHint {
            position: document.range(span).end,
            label: Label::String(format!(": {}", value.text)),
            kind: Some(InlayHintKind::Type),
            text_edits: None,
            tooltip: value.axis.clone().map(Tooltip::String),
            padding_left: None,
            padding_right: None,
            data: None,
        });
    }
    hints.sort_by_key(|hint| (hint.position.line, hint.position.character));
    hints
}
