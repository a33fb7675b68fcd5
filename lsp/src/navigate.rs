//! From a name to its definition, and to all places where it stands.

use crate::documents::{Document, Documents};
use crate::workspace;
use din_compiler::front::analysis::{Analysis, NameOccurrence, NameRole, SymbolId, SymbolKind, analyse_names};
use din_grammar::{FileId, Span};
use gen_lsp_types::{DocumentHighlight, DocumentHighlightKind, Location, Position, Range};
use std::path::{Path, PathBuf};

/// Where the name at a place is defined; of an alias, what it stands for.
pub(crate) fn definition(documents: &Documents, document: &Document, position: Position) -> Option<Location> {
    let analysis = documents.analysis(document);
    let found = analysis.occurrence_at(document.offset(position))?;
    let span = analysis.symbol(analysis.target(found.symbol)).definition?;
    documents.location(document, &analysis, span)
}

/// The places of a name in its document.
pub(crate) fn highlights(
    documents: &Documents,
    document: &Document,
    position: Position,
) -> Option<Vec<DocumentHighlight>> {
    let analysis = documents.analysis(document);
    let found = analysis.occurrence_at(document.offset(position))?;
    let same = analysis.occurrences().iter().filter(|o| o.symbol == found.symbol);
    let shown = same.map(|o| DocumentHighlight {
        range: document.range(o.span),
        kind: Some(match o.role {
            NameRole::Read | NameRole::Import => DocumentHighlightKind::Read,
            NameRole::Definition | NameRole::Write => DocumentHighlightKind::Write,
        }),
    });
    Some(shown.collect())
}

pub(crate) fn references(
    documents: &Documents,
    roots: &[PathBuf],
    document: &Document,
    position: Position,
    with_definition: bool,
) -> Option<Vec<Location>> {
    let analysis = documents.analysis(document);
    let found = analysis.occurrence_at(document.offset(position))?;
    let mut all = Vec::new();
    for file in occurrences_everywhere(documents, roots, document, &analysis, found.symbol) {
        let shown = file.occurrences.iter().filter(|o| with_definition || o.role != NameRole::Definition);
        all.extend(shown.map(|o| Location { uri: documents.uri_of(&file.path), range: file.range(documents, o) }));
    }
    Some(all)
}

/// The places of one symbol in one file.
pub(crate) struct FileOccurrences {
    pub path: PathBuf,
    pub text: String,
    pub occurrences: Vec<NameOccurrence>,
    /// The symbol, in `analysis`.
    pub symbol: SymbolId,
    pub analysis: std::rc::Rc<Analysis>,
}

impl FileOccurrences {
    pub fn range(&self, documents: &Documents, occurrence: &NameOccurrence) -> Range {
        crate::position::Lines::new(&self.text, documents.unit).range(&self.text, occurrence.span)
    }
}

/// The path and place of a definition.
type DefinitionPlace = (PathBuf, u32, u32);

/// The places of a symbol in all files that can name it: the document itself, and of what other
/// files can import the file that defines it and the specs of the workspace.
pub(crate) fn occurrences_everywhere(
    documents: &Documents,
    roots: &[PathBuf],
    document: &Document,
    analysis: &std::rc::Rc<Analysis>,
    symbol: SymbolId,
) -> Vec<FileOccurrences> {
    let own = document.path.clone().unwrap_or_else(|| PathBuf::from(&document.uri.0));
    let here = analysis.occurrences().iter().filter(|o| o.symbol == symbol).copied().collect();
    let mut found = vec![FileOccurrences {
        path: own.clone(),
        text: document.text.clone(),
        occurrences: here,
        symbol,
        analysis: std::rc::Rc::clone(analysis),
    }];
    let kind = analysis.symbol(symbol).kind;
    let exported = match kind {
        SymbolKind::Function
        | SymbolKind::Regularizer
        | SymbolKind::Optimizer
        | SymbolKind::Metric
        | SymbolKind::Schema
        | SymbolKind::Parameter
        // Of a schema.
        | SymbolKind::Features
        | SymbolKind::Sequence
        | SymbolKind::Field
        | SymbolKind::Label
        | SymbolKind::Key => true,
        SymbolKind::Model
        | SymbolKind::Module
        | SymbolKind::Alias
        | SymbolKind::Builtin
        | SymbolKind::Size
        | SymbolKind::Axis
        | SymbolKind::Value
        | SymbolKind::Layer
        | SymbolKind::Weight
        | SymbolKind::Constant
        | SymbolKind::State
        | SymbolKind::LoopVariable
        | SymbolKind::Table
        | SymbolKind::Hyper
        | SymbolKind::Output
        | SymbolKind::Given => false,
    };
    let Some(place) = place_of(analysis, &own, symbol).filter(|_| exported) else { return found };
    let name = &analysis.symbol(symbol).name;
    let mut paths = workspace::specs(roots);
    paths.extend(documents.all().filter_map(|document| document.path.clone()));
    paths.push(place.0.clone());
    paths.sort();
    paths.dedup();
    for path in paths.into_iter().filter(|path| *path != own) {
        let Some(text) = documents.text_of(&path).filter(|text| text.contains(name.as_str())) else { continue };
        let beside = documents.beside(Some(&path));
        let other = std::rc::Rc::new(analyse_names(&path.display().to_string(), &text, &beside));
        let same = other.symbols().map(|(id, _)| id).find(|id| place_of(&other, &path, *id).as_ref() == Some(&place));
        let Some(symbol) = same else { continue };
        let occurrences = other.occurrences().iter().filter(|o| o.symbol == symbol).copied().collect();
        found.push(FileOccurrences { path, text, occurrences, symbol, analysis: other });
    }
    found
}

/// Where a symbol is defined, whichever file is analysed.
fn place_of(analysis: &Analysis, own: &Path, symbol: SymbolId) -> Option<DefinitionPlace> {
    let Span { file, start, end } = analysis.symbol(symbol).definition?;
    let path = match file {
        FileId(0) => own.to_path_buf(),
        other => {
            let name = &analysis.sources.get(other)?.name;
            if name.starts_with("std.") { crate::library::file_of(name)? } else { PathBuf::from(name) }
        }
    };
    Some((path, start, end))
}
