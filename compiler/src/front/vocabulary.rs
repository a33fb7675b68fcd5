//! Vocabularies: files whose lines are the ids of a field, `category of string in "cities.txt"`.
//!
//! They are read before the walk, each once. What is wrong with a file is said where a field is
//! declared by it; a file that is not there leaves the number of its entries open.

use super::load::Module;
use super::{FileFault, SourceProvider};
use din_grammar::ast::{self, FeatureKindName, MemberKind};
use din_grammar::{Diagnostic, FileId, SourceMap, Span};
use din_program::schema::Vocabulary;
use rustc_hash::FxHashMap;

/// Faulty lines of a file of which something is said.
const SHOWN: usize = 3;

/// The files that the fields of a compilation name, by their paths from the folder of the spec.
pub(super) type Vocabularies = FxHashMap<String, VocabularyFile>;

/// A file, as it was found.
#[derive(Debug)]
pub(super) enum VocabularyFile {
    /// Its text: entries one a line.
    Read(String),
    /// What is wrong in it, with the places.
    Faulty(Vec<Diagnostic>),
    /// Why it cannot be read.
    Unreadable(String),
    /// There is none.
    Missing,
}

/// Reads what the fields of the root file and of its imported schemas name. The files become
/// sources for diagnostics.
pub(super) fn read(provider: &dyn SourceProvider, modules: &[Module], sources: &mut SourceMap) -> Vocabularies {
    let mut found = Vocabularies::default();
    let items = modules.iter().flat_map(|module| &module.file.items);
    let members = items.flat_map(|item| match item {
        ast::Item::Model(model) => model.members.as_slice(),
        ast::Item::Schema(schema) => schema.members.as_slice(),
        ast::Item::Function(_)
        | ast::Item::Regularizer(_)
        | ast::Item::Optimizer(_)
        | ast::Item::Metric(_)
        | ast::Item::Test(_) => &[],
    });
    for member in members {
        let (MemberKind::Features { fields, .. } | MemberKind::Sequence { fields, .. }) = &member.kind else {
            continue;
        };
        for field in fields {
            let FeatureKindName::Category { vocabulary: Some(file), .. } = &field.kind.kind else { continue };
            if file.path.is_empty() || found.contains_key(&file.path) {
                continue;
            }
            let outcome = match provider.vocabulary(&file.path) {
                Ok((display, text)) => {
                    let id = sources.add_recorded(file.path.as_str(), display, text.as_str());
                    let faults = faults_of(id, &text);
                    if faults.is_empty() { VocabularyFile::Read(text) } else { VocabularyFile::Faulty(faults) }
                }
                Err(FileFault::Missing) => VocabularyFile::Missing,
                Err(FileFault::Unreadable(why)) => VocabularyFile::Unreadable(why),
            };
            found.insert(file.path.clone(), outcome);
        }
    }
    found
}

fn faults_of(id: FileId, text: &str) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let mut first: FxHashMap<&str, Span> = FxHashMap::default();
    for entry in Vocabulary::entries(text) {
        let at = entry.as_ptr() as usize - text.as_ptr() as usize;
        let span = Span::new(id, at, at + entry.len());
        let fault = if entry.is_empty() {
            Diagnostic::error("E0424", "a vocabulary has an empty line", span, "no entry")
                .note("expected one entry per line")
                .help("remove the line")
        } else if entry.trim() != entry {
            Diagnostic::error("E0424", "white space around an entry", span, "as it stands")
                .note(format!("expected `{}`\nfound {entry:?}", entry.trim()))
                .help("remove the white space")
        } else if let Some(&first) = first.get(entry) {
            Diagnostic::error("E0424", format!("`{entry}` stands in the vocabulary twice"), span, "again here")
                .label(first, "first here")
                .help("remove one of the lines: an entry has one row")
        } else {
            first.insert(entry, span);
            continue;
        };
        faults.push(fault);
        if faults.len() == SHOWN {
            break;
        }
    }
    faults
}
