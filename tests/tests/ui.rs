//! Wrong specs and what is said of them: every `tests/ui/<topic>/<name>.din` is checked and its
//! diagnostics, as a terminal shows them, are compared with `<name>.stderr`. `DIN_BLESS=1` writes
//! the files anew; read the difference before it is committed.
//!
//! Comments at the top of a file may say how it is checked: `// set: name=value` stands for
//! `--set`, `// library` for a file without a model. Files to import lie in
//! `tests/ui/<topic>/parts/`.
#![allow(clippy::unwrap_used)]

use din_compiler::front::{CheckOptions, check, check_library};
use din_grammar::{Style, render};
use din_tests::documents::codes_of_page;
use din_tests::specs::{self, Beside, shown};
use std::path::Path;

fn diagnose(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let provider = Beside(path.parent().unwrap().to_path_buf());
    let directives = || text.lines().take_while(|l| l.starts_with("//")).filter_map(|l| l.strip_prefix("// "));
    let (diagnostics, sources) = if directives().any(|d| d == "library") {
        check_library(&shown(path), &text, &provider)
    } else {
        let set = |d: &str| {
            let (name, value) = d.strip_prefix("set: ")?.split_once('=')?;
            Some((name.to_string(), value.to_string()))
        };
        let options = CheckOptions { sets: directives().filter_map(set).collect() };
        let checked = check(&shown(path), &text, &provider, &options);
        let errors = checked.diagnostics.iter().any(|d| d.is_error());
        assert_eq!(checked.model.is_none(), errors, "{}: a model exactly where there is no error", path.display());
        (checked.diagnostics, checked.sources)
    };
    render(&diagnostics, &sources, Style::Human { color: false })
}

#[test]
fn wrong_specs_are_told_exactly() {
    let bless = std::env::var_os("DIN_BLESS").is_some();
    let specs = specs::inside("tests/ui");
    assert!(specs.len() >= 40, "{} specs", specs.len());
    let mut wrong = Vec::new();
    for path in &specs {
        let found = diagnose(path);
        let expected_path = path.with_extension("stderr");
        assert!(!found.is_empty(), "{}: nothing is said of it", path.display());
        if bless {
            std::fs::write(&expected_path, &found).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if found != expected {
            wrong.push(format!("--- {}\nexpected\n{expected}\nfound\n{found}", shown(path)));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} of {} differ; DIN_BLESS=1 accepts", wrong.join("\n"), wrong.len(), specs.len());
}

#[test]
fn no_expectation_is_left_behind() {
    for topic in std::fs::read_dir(specs::root().join("tests/ui")).unwrap() {
        for entry in std::fs::read_dir(topic.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "stderr") {
                assert!(path.with_extension("din").exists(), "{}", path.display());
            }
        }
    }
}

/// Every code but those of syntax has a spec here; E0704 needs more files than a folder should
/// hold, and is tested beside the loader; E09xx are of projects, and end_to_end/checks.rs has them.
#[test]
fn every_code_is_shown() {
    if std::env::var_os("DIN_BLESS").is_some() {
        return;
    }
    let codes = codes_of_page("docs/reference/diagnostics.md");
    let mut shown = String::new();
    for path in specs::inside("tests/ui") {
        shown += &std::fs::read_to_string(path.with_extension("stderr")).unwrap_or_default();
    }
    let missing: Vec<&String> =
        codes.iter().filter(|c| *c != "E0704" && !c.starts_with("E09") && !shown.contains(&format!("[{c}]"))).collect();
    assert!(missing.is_empty(), "no spec in tests/ui shows {missing:?}");
}
