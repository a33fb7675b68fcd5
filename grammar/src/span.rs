//! Source positions. A [`Span`] is a byte range in one file of a [`SourceMap`]; every node of the
//! syntax tree, every graph node and every diagnostic label carries one.

use serde::{Deserialize, Serialize};

/// Index of a file in a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct FileId(pub u32);

/// A half-open byte range `[start, end)` in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Span {
    /// The file, in the [`SourceMap`] of the compilation.
    pub file: FileId,
    /// Bytes before the first character.
    pub start: u32,
    /// Bytes before the character that follows the last one.
    pub end: u32,
}

impl Span {
    /// Bytes `start..end` of a file.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        Self { file, start: start as u32, end: end as u32 }
    }

    /// The smallest span that covers both; spans of different files give `self`.
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// One source file as the compiler saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As shown to the user: a path, or `std.activation` for the embedded library.
    pub name: String,
    /// As a program records it, wherever the spec lies: the path from the spec's own folder.
    pub recorded: String,
    /// Its contents.
    pub text: String,
}

/// All files of one compilation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a file that is recorded by the name that is shown.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let name = name.into();
        self.add_recorded(name.clone(), name, text)
    }

    /// Adds a file that is recorded by another name than is shown.
    pub fn add_recorded(
        &mut self,
        recorded: impl Into<String>,
        name: impl Into<String>,
        text: impl Into<String>,
    ) -> FileId {
        self.files.push(SourceFile { name: name.into(), recorded: recorded.into(), text: text.into() });
        FileId(self.files.len() as u32 - 1)
    }

    /// The file of that index; `None` where it is of another map.
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// All files, in the order in which they were added.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text under `span`; empty when the span lies outside the file.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.file).and_then(|f| f.text.get(span.start as usize..span.end as usize)).unwrap_or("")
    }

    /// `(line, column)` of the start of `span`, both from 1; columns count characters.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let Some(file) = self.get(span.file) else { return (1, 1) };
        let before = file.text.get(..span.start as usize).unwrap_or(&file.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        (line, column)
    }

    /// `file:line:column` of the start of `span`, the file as shown.
    pub fn location(&self, span: Span) -> String {
        self.located(span, |file| &file.name)
    }

    /// `file:line:column` of the start of `span`, the file as recorded.
    pub fn recorded_location(&self, span: Span) -> String {
        self.located(span, |file| &file.recorded)
    }

    fn located(&self, span: Span, name: impl Fn(&SourceFile) -> &str) -> String {
        let (line, column) = self.line_column(span);
        format!("{}:{line}:{column}", self.get(span.file).map_or("?", name))
    }
}
