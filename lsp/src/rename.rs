//! Renaming. A new name is given only if every file means the same with it: its names stand for the
//! same definitions as before, and it has the same faults.

use crate::documents::{Document, Documents};
use crate::library;
use crate::navigate::{FileOccurrences, occurrences_everywhere};
use din_compiler::front::analysis::{Analysis, NameRole, SymbolId, SymbolKind, analyse, analyse_names};
use din_compiler::front::{FileFault, SourceProvider};
use din_grammar::parse::RESERVED;
use gen_lsp_types::{Position, PrepareRenamePlaceholder, PrepareRenameResult, TextEdit, WorkspaceEdit};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Whether the name at a place can have another one, and where it stands.
pub(crate) fn prepare(
    documents: &Documents,
    document: &Document,
    position: Position,
) -> Result<PrepareRenameResult, String> {
    let analysis = documents.analysis(document);
    let found = analysis.occurrence_at(document.offset(position)).ok_or("there is no name here")?;
    own_name(documents, document, &analysis, found.symbol)?;
    let placeholder = analysis.sources.text(found.span).to_owned();
    Ok(PrepareRenameResult::PrepareRenamePlaceholder(PrepareRenamePlaceholder {
        range: document.range(found.span),
        placeholder,
    }))
}

/// Refuses names that are not the user's.
fn own_name(documents: &Documents, document: &Document, analysis: &Analysis, symbol: SymbolId) -> Result<(), String> {
    let symbol = analysis.symbol(symbol);
    if symbol.kind == SymbolKind::Builtin {
        return Err(format!("`{}` is a word of the language", symbol.name));
    }
    if symbol.kind == SymbolKind::Module {
        return Err("a module is renamed with its file".into());
    }
    let definition = symbol.definition.ok_or("it has no definition")?;
    let uri = documents.file_of(document, analysis, definition);
    let path = uri.as_ref().and_then(crate::uri::path_of);
    if path.is_some_and(|path| library::is_copy(&path)) {
        return Err(format!("`{}` is of the standard library", symbol.name));
    }
    Ok(())
}

pub(crate) fn rename(
    documents: &Documents,
    roots: &[PathBuf],
    document: &Document,
    position: Position,
    new: &str,
) -> Result<WorkspaceEdit, String> {
    let analysis = documents.analysis(document);
    let found = analysis.occurrence_at(document.offset(position)).ok_or("there is no name here")?;
    own_name(documents, document, &analysis, found.symbol)?;
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = new.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && new.chars().all(letters);
    if !is_name || new == "_" || RESERVED.contains(&new) {
        return Err(format!("`{new}` is no name: a name has letters, digits and `_`, and is no word of the language"));
    }
    if !analysis.whole {
        return Err("the file has syntax errors, so that names could be overlooked".into());
    }
    let files = occurrences_everywhere(documents, roots, document, &analysis, found.symbol);
    let renamed: Vec<RenamedFile> = files.iter().map(|file| RenamedFile::new(documents, file, new)).collect();
    let texts: HashMap<PathBuf, String> = renamed.iter().map(|file| (file.path.clone(), file.text.clone())).collect();
    for (before, after) in files.iter().zip(&renamed) {
        same_meaning(documents, before, after, &texts)
            .map_err(|why| format!("`{new}` would change what {} means: {why}", before.path.display()))?;
    }
    let changes = renamed.into_iter().filter(|file| !file.edits.is_empty());
    let changes = changes.map(|file| {
        let uri =
            if file.path == Path::new(&document.uri.0) { document.uri.clone() } else { documents.uri_of(&file.path) };
        (uri, file.edits)
    });
    Ok(WorkspaceEdit { changes: Some(changes.collect()), ..WorkspaceEdit::default() })
}

struct RenamedFile {
    path: PathBuf,
    edits: Vec<TextEdit>,
    text: String,
}

impl RenamedFile {
    fn new(documents: &Documents, file: &FileOccurrences, new: &str) -> Self {
        let symbol = file.analysis.symbol(file.symbol);
        let mut changes: Vec<(usize, usize, String)> = Vec::new();
        for occurrence in &file.occurrences {
            let span = occurrence.span;
            changes.push((span.start as usize, span.end as usize, new.to_owned()));
            // The data's column keeps its name.
            if occurrence.role == NameRole::Definition
                && let Some(at) = symbol.own_column
            {
                changes.push((at.start as usize, at.start as usize, format!(" from {}", symbol.name)));
            }
        }
        changes.sort();
        let lines = crate::position::Lines::new(&file.text, documents.unit);
        let mut text = String::new();
        let mut written = 0;
        let mut edits = Vec::new();
        for (start, end, new_text) in changes {
            text.push_str(&file.text[written..start]);
            text.push_str(&new_text);
            written = end;
            let range =
                gen_lsp_types::Range { start: lines.position(&file.text, start), end: lines.position(&file.text, end) };
            edits.push(TextEdit { range, new_text });
        }
        text.push_str(&file.text[written..]);
        Self { path: file.path.clone(), edits, text }
    }
}

/// The files as they would be.
struct Renamed<'a> {
    beside: crate::documents::FilesBeside<'a>,
    folder: PathBuf,
    texts: &'a HashMap<PathBuf, String>,
}

impl SourceProvider for Renamed<'_> {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let mut path = self.folder.clone();
        path.extend(module);
        path.set_extension("din");
        match self.texts.get(&path) {
            Some(text) => Some((path.display().to_string(), text.clone())),
            None => self.beside.read(module),
        }
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        self.beside.vocabulary(path)
    }
}

fn same_meaning(
    documents: &Documents,
    before: &FileOccurrences,
    after: &RenamedFile,
    texts: &HashMap<PathBuf, String>,
) -> Result<(), String> {
    let folder = before.path.parent().unwrap_or(Path::new("")).to_path_buf();
    let beside = documents.beside(Some(&before.path));
    let name = before.path.display().to_string();
    let provider = Renamed { beside: documents.beside(Some(&before.path)), folder, texts };
    let old_names = analyse_names(&name, &before.text, &beside);
    let new_names = analyse_names(&name, &after.text, &provider);
    if resolution(&old_names) != resolution(&new_names) {
        return Err("another definition has that name".into());
    }
    let (old, new) = (analyse(&name, &before.text, &beside), analyse(&name, &after.text, &provider));
    let codes = |analysis: &Analysis| -> Vec<&str> { analysis.diagnostics.iter().map(|d| d.code).collect() };
    let (was, is) = (codes(&old), codes(&new));
    if was == is {
        return Ok(());
    }
    let added = new.diagnostics.iter().find(|d| d.is_error()).or(new.diagnostics.first());
    Err(added.map_or_else(|| "a fault would vanish".to_owned(), |d| format!("{}: {}", d.code, d.message)))
}

/// For each name of a file, the first place at which the same definition is named, and its role.
fn resolution(analysis: &Analysis) -> Vec<(usize, NameRole)> {
    let mut first: HashMap<SymbolId, usize> = HashMap::new();
    let occurrences = analysis.occurrences().iter().enumerate();
    occurrences.map(|(index, o)| (*first.entry(o.symbol).or_insert(index), o.role)).collect()
}
