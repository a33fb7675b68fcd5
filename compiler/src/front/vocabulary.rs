//! Vocabularies: files whose lines are the ids of a field, `category of string in "cities.txt"`.
//!
//! They are read before the walk, each once. What is wrong with a file is said where a field is
//! declared by it; a file that is not there leaves the number of its entries open.

use super::elaborator::Elaborator;
use super::field::Declared;
use super::load::Module;
use super::{FileFault, SourceProvider};
use crate::model::MissingVocabulary;
use din_grammar::ast::{self, FeatureKindName, MemberKind};
use din_grammar::{Diagnostic, FileId, SourceMap, Span};
use din_program::schema::{ColumnValues, FeatureKind, KeyType, Made, Replacement, Vocabulary};
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

impl<'a> Elaborator<'a> {
    /// `category of string in "cities.txt"`: a row for each line, and the OOV row.
    pub(super) fn of_vocabulary(
        &mut self,
        kind: &ast::FeatureKindDecl,
        size: Option<&'a ast::Expr>,
        key: KeyType,
        file: &'a ast::FileDecl,
    ) -> Option<Declared> {
        if let Some(size) = size {
            self.report(
                Diagnostic::error("E0424", "how many ids there are follows from the file", size.span, "again here")
                    .label(file.span, "an id for each line")
                    .help("leave the size out: `category of string in …`"),
            );
            return None;
        }
        if key != KeyType::String {
            self.report(
                Diagnostic::error("E0424", "the lines of a file are strings", kind.span, "integers")
                    .label(file.span, "lines")
                    .help(format!("write `category of string in \"{}\"`", file.path)),
            );
            return None;
        }
        if file.path.is_empty() {
            self.report(
                Diagnostic::error("E0424", "the path of a file is empty", file.span, "no file")
                    .help("write `category of string in \"cities.txt\"`"),
            );
            return None;
        }
        let found = self.vocabularies.get(&file.path).expect("the files of all fields are read before the walk");
        let text = match found {
            VocabularyFile::Read(text) if Vocabulary::entries(text).next().is_some() => text.as_str(),
            VocabularyFile::Missing => "",
            VocabularyFile::Read(_) => {
                self.report(
                    Diagnostic::error("E0424", format!("`{}` is empty", file.path), file.span, "no entries")
                        .note("expected one entry per line, one at least")
                        .help("check what wrote the file"),
                );
                return None;
            }
            VocabularyFile::Faulty(faults) => {
                faults.iter().for_each(|fault| self.report(fault.clone()));
                return None;
            }
            VocabularyFile::Unreadable(why) => {
                self.report(
                    Diagnostic::error("E0424", format!("`{}` is no vocabulary", file.path), file.span, "named here")
                        .note(why)
                        .help("expected a text file in UTF-8, with one entry per line"),
                );
                return None;
            }
        };
        let known = self.declarations.schema.vocabularies.iter().position(|v| v.path == file.path);
        let vocabulary = known.unwrap_or_else(|| {
            let number = self.declarations.schema.vocabularies.len();
            if matches!(found, VocabularyFile::Missing) {
                let missing = MissingVocabulary { vocabulary: number as u32, span: file.span };
                self.declarations.missing_vocabularies.push(missing);
            }
            let (path, location) = (file.path.clone(), self.location(file.span));
            self.declarations.schema.vocabularies.push(Vocabulary { path, text: text.to_string(), location });
            number
        }) as u32;
        let size = Vocabulary::entries(text).count() as u64 + 1;
        Some(Declared {
            kind: FeatureKind::Fixed { size, clip: false },
            holds: ColumnValues::Strings,
            makes: Made::VocabularyRow { vocabulary },
            as_is: false,
            statistic: None,
        })
    }

    /// The entry of a vocabulary that stands for a missing text, as its row.
    pub(super) fn entry(&mut self, vocabulary: u32, text: &str, at: Span) -> Option<Replacement> {
        let Vocabulary { path, text: entries, .. } = &self.declarations.schema.vocabularies[vocabulary as usize];
        if let Some(row) = Vocabulary::entries(entries).position(|entry| entry == text) {
            return Some(Replacement::Id(row as u64));
        }
        if self.declarations.is_missing(vocabulary) {
            // Which row it is decides nothing: without the file there is no program.
            return Some(Replacement::Id(0));
        }
        let d = Diagnostic::error("E0416", "not an entry of the vocabulary", at, format!("`{text}`"))
            .note(format!("expected a line of `{path}`\nfound `{text}`"))
            .help("write `missing` alone, for a row of its own, or one of the entries");
        self.report(d);
        None
    }
}
