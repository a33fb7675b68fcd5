//! Rules of the repository that a reader relies on: links lead somewhere, the map is short, a
//! public type name has one definition, and lines fit the screen.

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
    for part in ["grammar", "program", "compiler", "runtime", "tune", "report", "lsp", "cli", "tests"] {
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

/// A file that nothing names would not be compiled.
#[test]
fn every_file_of_tests_is_in_a_binary() {
    let folder = root().join("tests/tests");
    let manifest = read(&root().join("tests/Cargo.toml"));
    let modules = read(&folder.join("main.rs"));
    let (mut checked, mut missing) = (0, Vec::new());
    for entry in fs::read_dir(&folder).expect("tests are there") {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_stem().expect("an entry has a name").to_string_lossy().into_owned();
        let named = modules.lines().any(|line| line == format!("mod {name};"));
        let binary = manifest.contains(&format!("[[test]]\nname = \"{name}\""));
        checked += 1;
        if name != "main" && named == binary {
            missing.push(name);
        }
    }
    assert!(checked > 20, "only {checked} files were found");
    assert!(missing.is_empty(), "neither a module of main.rs nor a binary of Cargo.toml, or both: {missing:?}");
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
    for part in
        ["grammar/src", "program/src", "compiler/src", "runtime/src", "tune/src", "report/src", "lsp/src", "cli/src"]
    {
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

/// Columns of a line of code at most, the contents of string literals aside, and of a comment.
const CODE_COLUMNS: usize = 120;
const COMMENT_COLUMNS: usize = 100;

/// What a reader of Rust code is inside of at the beginning of a line.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Code,
    Text,
    /// With so many `#`.
    RawText(usize),
}

/// The columns of a line without the contents of its string literals, and what its end is inside
/// of.
fn columns_of_code(line: &str, mut inside: Inside) -> (usize, Inside) {
    let characters: Vec<char> = line.chars().collect();
    let hashes = |from: usize| characters[from..].iter().take_while(|&&c| c == '#').count();
    let (mut columns, mut at) = (0, 0);
    while at < characters.len() {
        let c = characters[at];
        match inside {
            Inside::Code => {
                columns += 1;
                match c {
                    '/' if characters.get(at + 1) == Some(&'/') => return (columns, inside),
                    // `'"'` and `'\"'`
                    '"' if at > 0 && characters[at - 1] == '\'' && characters.get(at + 1) == Some(&'\'') => {}
                    '"' if at > 0 && characters[at - 1] == '\\' => {}
                    '"' => {
                        let before = characters[..at].iter().rev().take_while(|&&c| c == '#').count();
                        let raw = characters[..at - before].last() == Some(&'r');
                        inside = if raw { Inside::RawText(before) } else { Inside::Text };
                    }
                    _ => {}
                }
            }
            Inside::Text => match c {
                '\\' => at += 1,
                '"' => {
                    columns += 1;
                    inside = Inside::Code;
                }
                _ => {}
            },
            Inside::RawText(count) if c == '"' && hashes(at + 1) >= count => {
                columns += 1;
                inside = Inside::Code;
            }
            Inside::RawText(_) => {}
        }
        at += 1;
    }
    (columns, inside)
}

/// Lines of Rust that are too long. Tables and what is set off as code in comments are not wrapped.
fn long_lines(text: &str) -> Vec<usize> {
    let (mut inside, mut fenced, mut found) = (Inside::Code, false, Vec::new());
    for (number, line) in text.lines().enumerate() {
        let begin = line.trim_start();
        if inside == Inside::Code && begin.starts_with("//") {
            let comment = begin.trim_start_matches(['/', '!']).trim_start();
            let fence = comment.starts_with("```");
            let set_off = fence || fenced || comment.starts_with('|');
            fenced ^= fence;
            if line.chars().count() > COMMENT_COLUMNS && !set_off {
                found.push(number + 1);
            }
            continue;
        }
        fenced = false;
        let (columns, end) = columns_of_code(line, inside);
        inside = end;
        if columns > CODE_COLUMNS {
            found.push(number + 1);
        }
    }
    found
}

#[test]
fn lines_of_rust_fit_the_screen() {
    let many = "x + ".repeat(40);
    assert_eq!(long_lines(&format!("let a = {many};\nlet b = \"{many}\";\n// {many}\n/// ```\n/// {many}")), [1, 3]);
    assert_eq!(long_lines(&format!("let q = ['\"', '\\''];\nlet a = {many};\nlet r = r#\"\"{many}\n{many}\"#;")), [2]);
    let (mut checked, mut long) = (0, Vec::new());
    for file in files(&root(), "rs") {
        checked += 1;
        long.extend(long_lines(&read(&file)).into_iter().map(|line| format!("{}:{line}", file.display())));
    }
    assert!(checked > 400, "only {checked} files were found");
    assert!(
        long.is_empty(),
        "code over {CODE_COLUMNS} columns or a comment over {COMMENT_COLUMNS}:\n{}",
        long.join("\n")
    );
}
