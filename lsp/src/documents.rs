//! Open documents and their analyses, which are made when something is asked and kept until a text
//! that they read changes.

use crate::library;
use crate::position::{ColumnUnit, Lines};
use crate::uri::{path_of, uri_of};
use din_compiler::front::analysis::{Analysis, analyse};
use din_compiler::front::{FileFault, SourceProvider};
use din_grammar::Span;
use gen_lsp_types::{Location, Position, Range, TextDocumentContentChangeEvent, Uri};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Most bytes of an imported file or vocabulary that are read while typing. What depends on a
/// larger vocabulary stays unchecked, as if the file were not there.
const LIMIT: u64 = 4 << 20;

/// One open document.
pub(crate) struct Document {
    pub uri: Uri,
    /// Of a file.
    pub path: Option<PathBuf>,
    pub version: i32,
    pub text: String,
    pub lines: Lines,
    analysis: RefCell<Option<CachedAnalysis>>,
}

struct CachedAnalysis {
    analysis: Rc<Analysis>,
    /// The files whose texts went into it.
    read: Vec<PathBuf>,
}

impl Document {
    /// As diagnostics call it.
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| self.uri.0.clone(), |path| path.display().to_string())
    }

    pub fn offset(&self, position: Position) -> usize {
        self.lines.offset(&self.text, position)
    }

    pub fn range(&self, span: Span) -> Range {
        self.lines.range(&self.text, span)
    }
}

pub(crate) struct Documents {
    open: BTreeMap<String, Document>,
    pub unit: ColumnUnit,
}

impl Documents {
    pub fn new(unit: ColumnUnit) -> Self {
        Self { open: BTreeMap::new(), unit }
    }

    pub fn get(&self, uri: &Uri) -> Option<&Document> {
        self.open.get(&uri.0)
    }

    pub fn all(&self) -> impl Iterator<Item = &Document> {
        self.open.values()
    }

    pub fn open(&mut self, uri: Uri, version: i32, text: String) {
        let path = path_of(&uri);
        self.forget(path.as_deref());
        let lines = Lines::new(&text, self.unit);
        let document = Document { path, version, text, lines, analysis: RefCell::default(), uri };
        self.open.insert(document.uri.0.clone(), document);
    }

    pub fn close(&mut self, uri: &Uri) {
        if let Some(closed) = self.open.remove(&uri.0) {
            self.forget(closed.path.as_deref());
        }
    }

    /// Applies edits in their order; each is of the text that the one before left.
    pub fn change(&mut self, uri: &Uri, version: i32, changes: Vec<TextDocumentContentChangeEvent>) {
        let unit = self.unit;
        let Some(document) = self.open.get_mut(&uri.0) else { return };
        for change in changes {
            match change {
                TextDocumentContentChangeEvent::TextDocumentContentChangePartial(change) => {
                    let start = document.offset(change.range.start);
                    let end = document.offset(change.range.end).max(start);
                    document.text.replace_range(start..end, &change.text);
                }
                TextDocumentContentChangeEvent::TextDocumentContentChangeWholeDocument(change) => {
                    document.text = change.text;
                }
            }
            document.lines = Lines::new(&document.text, unit);
        }
        document.version = version;
        *document.analysis.borrow_mut() = None;
        let path = document.path.clone();
        self.forget(path.as_deref());
    }

    /// Forgets the analyses that read a file.
    pub fn forget(&self, path: Option<&Path>) {
        let Some(path) = path else { return };
        for document in self.open.values() {
            document.analysis.borrow_mut().take_if(|cached| cached.read.iter().any(|read| read == path));
        }
    }

    /// What is known of a document.
    pub fn analysis(&self, document: &Document) -> Rc<Analysis> {
        if let Some(cached) = &*document.analysis.borrow() {
            return Rc::clone(&cached.analysis);
        }
        let beside = self.beside(document.path.as_deref());
        let analysis = Rc::new(analyse(&document.name(), &document.text, &beside));
        let read = beside.read.into_inner();
        *document.analysis.borrow_mut() = Some(CachedAnalysis { analysis: Rc::clone(&analysis), read });
        analysis
    }

    /// The files beside a spec, as they are in the editor.
    pub fn beside(&self, path: Option<&Path>) -> FilesBeside<'_> {
        let folder = path.and_then(Path::parent).map(Path::to_path_buf);
        FilesBeside { documents: self, folder, read: RefCell::default() }
    }

    /// The text of a file: that of the editor where it is open.
    pub fn text_of(&self, path: &Path) -> Option<String> {
        match self.open.values().find(|document| document.path.as_deref() == Some(path)) {
            Some(document) => Some(document.text.clone()),
            None => limited(path),
        }
    }

    /// The file of a place; `None` where an editor cannot open it.
    pub fn file_of(&self, document: &Document, analysis: &Analysis, span: Span) -> Option<Uri> {
        if span.file.0 == 0 {
            return Some(document.uri.clone());
        }
        let name = &analysis.sources.get(span.file)?.name;
        let path = if name.starts_with("std.") { library::file_of(name)? } else { PathBuf::from(name) };
        Some(self.uri_of(&path))
    }

    /// As the editor calls a file: as it was opened, where it is.
    pub fn uri_of(&self, path: &Path) -> Uri {
        let open = self.open.values().find(|document| document.path.as_deref() == Some(path));
        open.map_or_else(|| uri_of(path), |document| document.uri.clone())
    }

    pub fn location(&self, document: &Document, analysis: &Analysis, span: Span) -> Option<Location> {
        let uri = self.file_of(document, analysis, span)?;
        let text = &analysis.sources.get(span.file)?.text;
        Some(Location { uri, range: Lines::new(text, self.unit).range(text, span) })
    }
}

/// What a spec imports, from its folder.
pub(crate) struct FilesBeside<'a> {
    documents: &'a Documents,
    folder: Option<PathBuf>,
    read: RefCell<Vec<PathBuf>>,
}

impl SourceProvider for FilesBeside<'_> {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let mut path = self.folder.clone()?;
        path.extend(module);
        path.set_extension("din");
        // Also of what is not there: it may come.
        self.read.borrow_mut().push(path.clone());
        let text = self.documents.text_of(&path)?;
        Some((path.display().to_string(), text))
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        let path = self.folder.as_ref().ok_or(FileFault::Missing)?.join(path);
        self.read.borrow_mut().push(path.clone());
        let text = limited(&path).ok_or(FileFault::Missing)?;
        Ok((path.display().to_string(), text))
    }
}

/// The text of a regular file that is not too large.
fn limited(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    fs::File::open(path).ok()?.take(LIMIT + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= LIMIT).then_some(text)
}
