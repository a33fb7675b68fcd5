//! The modules of the runtime form layers: no two of them import each other, directly or through
//! others. Read from the source's own paths, tests aside.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each module imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The code of a file without comments and without what is compiled for tests alone.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let inline = lines.by_ref().find(|line| !line.trim().starts_with("#[")).is_some_and(|l| l.ends_with('{'));
            if inline {
                lines.by_ref().find(|line| *line == "}");
            }
        } else {
            kept.push_str(line.split("//").next().unwrap_or(line));
            kept.push('\n');
        }
    }
    kept
}

/// The first name of every path that begins with `crate::`; those in braces too.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let (mut depth, mut item) = (0, String::new());
                for c in list.chars() {
                    match c {
                        '}' if depth == 0 => break,
                        ',' if depth == 0 => found.extend([name(std::mem::take(&mut item).trim())]),
                        _ => {
                            depth += i32::from(c == '{') - i32::from(c == '}');
                            item.push(c);
                        }
                    }
                }
                found.insert(name(item.trim()));
            }
            None => {
                found.insert(name(rest));
            }
        }
    }
    found
}

/// A module that is reached from itself, with the way.
fn cycle(imports: &Imports) -> Option<Vec<String>> {
    fn visit(at: &str, imports: &Imports, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        if let Some(first) = path.iter().position(|p| p == at) {
            return Some([&path[first..], &[at.to_string()]].concat());
        }
        if !done.insert(at.to_string()) {
            return None;
        }
        path.push(at.to_string());
        let found = imports[at].iter().find_map(|next| visit(next, imports, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| visit(module, imports, &mut Vec::new(), &mut done))
}

/// The imports between the folders and files directly in `root`, whose path in the crate is
/// `prefix`.
fn imports(root: &Path, prefix: &[&str]) -> Imports {
    let mut files = Vec::new();
    sources(root, &mut files);
    let module_of = |path: &Path| {
        let first = path.strip_prefix(root).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_string()
    };
    // Whoever names the crate's own modules stands above all of them.
    files.retain(|f| !["lib", "mod"].contains(&module_of(f).as_str()) && !f.ends_with("tests.rs"));
    let modules: BTreeSet<String> = files.iter().map(|f| module_of(f)).collect();
    let mut all: Imports = modules.iter().map(|m| (m.clone(), BTreeSet::new())).collect();
    for file in &files {
        let mut code = code(&std::fs::read_to_string(file).unwrap());
        for part in prefix {
            code = code.replace(&format!("crate::{part}::"), "crate::");
        }
        let module = module_of(file);
        for name in crate_paths(&code) {
            // What the crate's root exports of a module, such as `Error`.
            let name = match name.as_str() {
                "Error" | "ErrorKind" | "Result" => "error".to_string(),
                _ => name,
            };
            if name != module && modules.contains(&name) {
                all.get_mut(&module).unwrap().insert(name);
            }
        }
    }
    all
}

#[test]
fn no_module_imports_itself_through_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let all = imports(&root, &[]);
    assert!(all["exec"].contains("table") && all["exec"].contains("kernels") && all["train"].contains("error"));
    assert_eq!(cycle(&all), None, "{all:#?}");
}

#[test]
fn executors_do_not_import_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exec");
    let all = imports(&root, &["exec"]);
    assert!(all["cpu"].contains("common") && all["cuda"].contains("common"));
    assert!(all["common"].is_empty() && !all["cpu"].contains("cuda") && !all["cuda"].contains("cpu"));
}

#[test]
fn a_cycle_is_found() {
    let text = "//! crate::d\nuse crate::b::{self, X};\nuse crate::{c::{Y, Z}, Error};\n#[cfg(test)]\nmod tests {\n    use crate::e;\n}\n";
    assert_eq!(crate_paths(&code(text)), ["Error", "b", "c"].map(String::from).into());
    let module = |name: &str, of: &[&str]| (name.to_string(), of.iter().map(ToString::to_string).collect());
    let line: Imports = [module("a", &["b", "c"]), module("b", &["c"]), module("c", &[])].into();
    assert_eq!(cycle(&line), None);
    let circle: Imports = [module("a", &["b"]), module("b", &["c"]), module("c", &["b"])].into();
    assert_eq!(cycle(&circle), Some(["b", "c", "b"].map(String::from).to_vec()));
}
