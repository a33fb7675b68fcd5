//! The documents of the repository as tests read them: examples in Markdown, and what `din check`
//! says of them.

use crate::specs::root;
use din_compiler::front::{CheckOptions, NoFiles, check, check_library};
use din_grammar::ast::Item;
use din_grammar::{Diagnostic, FileId, parse};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A block between two lines of three backticks.
#[derive(Clone, Debug)]
pub struct Example {
    /// What stands behind the first backticks, such as `din` or `din fails`.
    pub kind: String,
    pub text: String,
    /// The line of its first backticks, from 1.
    pub line: usize,
}

/// The text of a file, named from the root of the repository.
///
/// # Panics
///
/// Where it cannot be read.
pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The Markdown files of the repository, named from its root: those in `docs`, and those beside it.
///
/// # Panics
///
/// Where a folder cannot be read.
pub fn documents() -> Vec<String> {
    let mut files = Vec::new();
    below(&root().join("docs"), &mut files);
    let beside = fs::read_dir(root()).expect("the root can be listed");
    files.extend(beside.map(|entry| entry.expect("the root can be listed").path()).filter(|path| path.is_file()));
    let named = |path: PathBuf| path.strip_prefix(root()).ok()?.to_str().map(str::to_owned);
    let mut names: Vec<String> = files.into_iter().filter_map(named).filter(|name| name.ends_with(".md")).collect();
    names.sort();
    names
}

/// The examples of a document.
///
/// # Panics
///
/// Where one is not closed.
pub fn examples(markdown: &str) -> Vec<Example> {
    let mut found = Vec::new();
    let mut open: Option<Example> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => open = Some(Example { kind: kind.into(), text: String::new(), line: index + 1 }),
            (Some(_), Some(example)) => found.push(example),
            (None, Some(example)) => open = Some(Example { text: example.text + line + "\n", ..example }),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "an example is not closed: {open:?}");
    found
}

/// What `din check` says of a text: a file with a model is a spec, any other a library.
pub fn diagnostics(name: &str, text: &str) -> Vec<Diagnostic> {
    let is_library =
        parse(text, FileId(0)).is_ok_and(|file| !file.items.iter().any(|item| matches!(item, Item::Model(_))));
    match is_library {
        true => check_library(name, text, &NoFiles).0,
        false => check(name, text, &NoFiles, &CheckOptions::default()).diagnostics,
    }
}

/// `E0302`, `W0203`; `E0000` is for tests of rendering only.
pub fn is_code(text: &str) -> bool {
    let digits = text.strip_prefix(['E', 'W']).filter(|digits| digits.len() == 4);
    digits.is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()) && d.starts_with('0') && d != "0000")
}

/// The codes in string literals of the compiler, the grammar, and what reads projects.
///
/// # Panics
///
/// Where a source cannot be read.
pub fn codes_of_sources() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["grammar/src", "compiler/src", "cli/src/project"] {
        below(&root().join(folder), &mut files);
    }
    let mut codes = BTreeSet::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        codes.extend(text.split('"').filter(|part| is_code(part)).map(str::to_owned));
    }
    codes
}

/// The codes in the first column of a page's tables, each of which links to its own page.
///
/// # Panics
///
/// Where a code is listed without its link.
pub fn codes_of_page(path: &str) -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for line in text(path).lines() {
        let cell = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let code = cell.trim_start_matches('[').get(..5).filter(|code| is_code(code));
        if let Some(code) = code {
            assert_eq!(cell, format!("[{code}](codes/{code}.md)"), "{path}: a listed code links to its page");
            codes.insert(code.to_string());
        }
    }
    codes
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.map(|entry| entry.expect("a folder can be listed").path()) {
        if path.is_dir() { below(&path, files) } else { files.push(path) }
    }
}
