//! Names by what they stand for, for highlighting. Words, numbers and comments are left to the
//! grammar of the editor.

use crate::documents::{Document, Documents};
use din_compiler::front::analysis::{NameRole, SymbolKind};
use gen_lsp_types::{SemanticToken, SemanticTokens, SemanticTokensLegend};

/// The types of tokens, in the order of their numbers.
const TYPES: [&str; 8] =
    ["function", "parameter", "variable", "property", "type", "namespace", "typeParameter", "class"];
const MODIFIERS: [&str; 3] = ["declaration", "readonly", "defaultLibrary"];

pub(crate) fn legend() -> SemanticTokensLegend {
    let names = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    SemanticTokensLegend { token_types: names(&TYPES), token_modifiers: names(&MODIFIERS) }
}

fn token_type(kind: SymbolKind) -> u32 {
    let word = match kind {
        SymbolKind::Function
        | SymbolKind::Regularizer
        | SymbolKind::Optimizer
        | SymbolKind::Metric
        | SymbolKind::Alias
        | SymbolKind::Builtin
        | SymbolKind::Layer
        | SymbolKind::Table => "function",
        SymbolKind::Parameter => "parameter",
        SymbolKind::Value
        | SymbolKind::Weight
        | SymbolKind::Constant
        | SymbolKind::State
        | SymbolKind::LoopVariable
        | SymbolKind::Label
        | SymbolKind::Key
        | SymbolKind::Hyper
        | SymbolKind::Output
        | SymbolKind::Given => "variable",
        SymbolKind::Field => "property",
        SymbolKind::Features | SymbolKind::Sequence => "type",
        SymbolKind::Module => "namespace",
        SymbolKind::Size | SymbolKind::Axis => "typeParameter",
        SymbolKind::Schema | SymbolKind::Model => "class",
    };
    TYPES.iter().position(|known| *known == word).expect("`TYPES` has every word above") as u32
}

pub(crate) fn tokens(documents: &Documents, document: &Document) -> SemanticTokens {
    let analysis = documents.analysis(document);
    let mut data = Vec::new();
    let (mut line, mut column) = (0, 0);
    for occurrence in analysis.occurrences() {
        let symbol = analysis.symbol(occurrence.symbol);
        let range = document.range(occurrence.span);
        // A token is on one line; names are.
        if range.start.line != range.end.line || range.start == range.end {
            continue;
        }
        let delta_line = range.start.line - line;
        let delta_start = if delta_line == 0 { range.start.character - column } else { range.start.character };
        (line, column) = (range.start.line, range.start.character);
        let declared = occurrence.role == NameRole::Definition;
        let constant = symbol.kind == SymbolKind::Hyper;
        let of_library = symbol.definition.is_none_or(|span| {
            analysis.sources.get(span.file).is_some_and(|file| span.file.0 != 0 && file.name.starts_with("std."))
        });
        data.push(SemanticToken {
            delta_line,
            delta_start,
            length: range.end.character - range.start.character,
            token_type: token_type(symbol.kind),
            token_modifiers_bitset: u32::from(declared) | u32::from(constant) << 1 | u32::from(of_library) << 2,
        });
    }
    SemanticTokens { result_id: None, data }
}
