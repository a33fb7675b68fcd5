//! The definitions of a file as a tree, and what can be folded.

use crate::documents::{Document, Documents};
use din_compiler::front::analysis;
use din_grammar::Span;
use din_grammar::ast::{Item, MemberKind};
use gen_lsp_types::{DocumentSymbol, FoldingRange, SymbolKind};

fn kind(kind: analysis::SymbolKind) -> SymbolKind {
    use analysis::SymbolKind as Kind;
    match kind {
        Kind::Function | Kind::Builtin | Kind::Layer | Kind::Metric => SymbolKind::Function,
        Kind::Regularizer | Kind::Optimizer => SymbolKind::Method,
        Kind::Schema => SymbolKind::Interface,
        Kind::Model => SymbolKind::Class,
        Kind::Module | Kind::Alias => SymbolKind::Module,
        Kind::Parameter
        | Kind::Value
        | Kind::Weight
        | Kind::State
        | Kind::LoopVariable
        | Kind::Output
        | Kind::Given => SymbolKind::Variable,
        Kind::Size | Kind::Axis => SymbolKind::TypeParameter,
        Kind::Features => SymbolKind::Struct,
        Kind::Sequence | Kind::Table => SymbolKind::Array,
        Kind::Field => SymbolKind::Field,
        Kind::Label => SymbolKind::Event,
        Kind::Key => SymbolKind::Key,
        Kind::Constant | Kind::Hyper => SymbolKind::Constant,
    }
}

pub(crate) fn symbols(documents: &Documents, document: &Document) -> Vec<DocumentSymbol> {
    let analysis = documents.analysis(document);
    // In the order of the file; what begins later within another belongs to it.
    let mut own: Vec<(Span, Span, &analysis::Symbol)> = analysis
        .symbols()
        .filter_map(|(_, symbol)| Some((symbol.whole?, symbol.definition?, symbol)))
        .filter(|(whole, name, symbol)| whole.file.0 == 0 && name.file.0 == 0 && is_shown(symbol.kind))
        .collect();
    own.sort_by_key(|(whole, name, _)| (whole.start, std::cmp::Reverse(whole.end), name.start));
    let mut open: Vec<(u32, DocumentSymbol)> = Vec::new();
    let mut roots = Vec::new();
    for (whole, name, symbol) in own {
        close(&mut open, &mut roots, Some(whole.start));
        open.push((whole.end, entry(document, whole, name, symbol)));
    }
    close(&mut open, &mut roots, None);
    roots
}

fn is_shown(kind: analysis::SymbolKind) -> bool {
    use analysis::SymbolKind as Kind;
    match kind {
        Kind::Parameter | Kind::Size | Kind::Axis | Kind::LoopVariable | Kind::Module | Kind::Alias | Kind::Builtin => {
            false
        }
        Kind::Function
        | Kind::Regularizer
        | Kind::Optimizer
        | Kind::Metric
        | Kind::Schema
        | Kind::Model
        | Kind::Value
        | Kind::Layer
        | Kind::Weight
        | Kind::Constant
        | Kind::State
        | Kind::Features
        | Kind::Sequence
        | Kind::Field
        | Kind::Label
        | Kind::Key
        | Kind::Table
        | Kind::Hyper
        | Kind::Output
        | Kind::Given => true,
    }
}

/// Moves what ended before a place, or all at the end of the file, into what it stands in.
fn close(open: &mut Vec<(u32, DocumentSymbol)>, roots: &mut Vec<DocumentSymbol>, before: Option<u32>) {
    while open.last().is_some_and(|(end, _)| before.is_none_or(|before| *end <= before)) {
        let Some((_, done)) = open.pop() else { return };
        match open.last_mut() {
            Some((_, outer)) => outer.children.get_or_insert_default().push(done),
            None => roots.push(done),
        }
    }
}

#[allow(deprecated, reason = "the structure has the field")]
fn entry(document: &Document, whole: Span, name: Span, symbol: &analysis::Symbol) -> DocumentSymbol {
    let range = document.range(whole.to(name));
    DocumentSymbol {
        name: symbol.name.clone(),
        detail: Some(symbol.kind.text().into()),
        kind: kind(symbol.kind),
        tags: None,
        deprecated: None,
        range,
        selection_range: document.range(name),
        children: None,
    }
}

pub(crate) fn folds(documents: &Documents, document: &Document) -> Vec<FoldingRange> {
    let analysis = documents.analysis(document);
    let mut spans = Vec::new();
    if let (Some(first), Some(last)) = (analysis.tree.imports.first(), analysis.tree.imports.last()) {
        spans.push(first.span.to(last.span));
    }
    for item in &analysis.tree.items {
        let members = match item {
            Item::Function(f) => {
                spans.push(f.span);
                continue;
            }
            Item::Optimizer(o) => {
                spans.push(o.span);
                continue;
            }
            Item::Test(t) => {
                spans.push(t.span);
                continue;
            }
            Item::Regularizer(_) | Item::Metric(_) => continue,
            Item::Model(m) => {
                spans.push(m.span);
                &m.members
            }
            Item::Schema(s) => {
                spans.push(s.span);
                &s.members
            }
        };
        let blocks = members.iter().filter(|member| {
            let kind = &member.kind;
            matches!(kind, MemberKind::Features { .. } | MemberKind::Sequence { .. })
                || matches!(kind, MemberKind::Embedding(_) | MemberKind::Train(_))
        });
        spans.extend(blocks.map(|member| member.span));
    }
    let ranges = spans.into_iter().map(|span| document.range(span));
    let several = ranges.filter(|range| range.end.line > range.start.line);
    several
        .map(|range| FoldingRange { start_line: range.start.line, end_line: range.end.line, ..FoldingRange::default() })
        .collect()
}
