//! Rules of the repository that a reader relies on: links lead somewhere, the map is short, and a
//! public type name has one definition.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the repository").to_path_buf()
}

/// Files below `folder` that end in `extension`; build outputs and hidden folders are left out.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries.map(|e| e.expect("a folder can be listed").path()) {
        let name = entry.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        if entry.is_dir() && !name.starts_with('.') && name != "target" {
            found.extend(files(&entry, extension));
        } else if entry.extension().is_some_and(|e| e == extension) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The targets of a Markdown text's links: what stands between `](` and `)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let (mut checked, mut broken) = (0, Vec::new());
    for document in files(&root(), "md") {
        for target in links(&read(&document)) {
            let file = target.split('#').next().expect("splitting gives one part at least");
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let folder = document.parent().expect("a file lies in a folder");
            if !folder.join(file).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(checked > 100, "only {checked} links were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_map_is_short_and_names_what_is_there() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let words = text.split_whitespace().count();
    assert!(words < 1000, "{words} words");
    let paths: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|code| code.contains('/')).collect();
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths {
        // Names of a part, such as `exec/cpu`, are below a crate's sources.
        let there = ["", "runtime/src", "compiler/src"].iter().any(|at| root().join(at).join(path).exists());
        assert!(there, "ARCHITECTURE.md names `{path}`");
    }
}

/// The documents cite tests by name; a test that is renamed must be renamed there.
#[test]
fn tests_that_documents_cite_are_there() {
    let mut sources = String::new();
    for part in ["grammar", "program", "compiler", "runtime", "cli", "tests"] {
        files(&root().join(part), "rs").iter().for_each(|file| sources += &read(file));
    }
    let (mut checked, mut missing) = (0, Vec::new());
    for document in files(&root().join("docs/internals"), "md") {
        let text = read(&document);
        for name in text.split('`').skip(1).step_by(2) {
            let sentence = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if sentence && name.matches('_').count() >= 3 {
                checked += 1;
                if !sources.contains(&format!("fn {name}(")) {
                    missing.push(format!("{}: {name}", document.display()));
                }
            }
        }
    }
    assert!(checked > 30, "only {checked} names were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The name that a line defines as a public type, if it does.
fn public_type(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let rest = rest.trim_start();
    let rest = ["struct ", "enum ", "trait ", "type "].iter().find_map(|word| rest.strip_prefix(word))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

#[test]
fn a_public_type_name_has_one_definition() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in ["grammar/src", "program/src", "compiler/src", "runtime/src", "cli/src"] {
        for file in files(&root().join(part), "rs") {
            for (number, line) in read(&file).lines().enumerate() {
                if let Some(name) = public_type(line) {
                    places.entry(name.into()).or_default().push(format!("{}:{}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(places.len() > 400, "only {} types were found", places.len());
    let twice: Vec<String> =
        places.iter().filter(|(_, at)| at.len() > 1).map(|(n, at)| format!("{n}: {at:?}")).collect();
    assert!(twice.is_empty(), "{}", twice.join("\n"));
}
