//! Reports of `check`, levels of warnings, and the settings of a project.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A model with an error, one with two warnings, a library, and one that is right.
fn specs() -> TempDir {
    let folder = TempDir::new().unwrap();
    let small = fs::read_to_string(small()).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("wrong.din", &small.replace("embed(visited)", "embed(visits)"));
    write("warned.din", &small.replace("    predict", "    let spare = 1\n    let more = 2\n    predict"));
    write("library.din", "fn f(x: [n]) -> [n] { x }\n");
    write("right.din", &small);
    folder
}

/// Runs `din` in a folder.
fn din_in(folder: &Path, line: &str) -> Ran {
    run(Command::new(din_path()).current_dir(folder), line, &[])
}

/// That it is valid by the schema of the standard, tests/reports shows.
#[test]
fn sarif_has_every_finding_at_its_place() {
    let folder = specs();
    let ran = din_in(folder.path(), "check . gone.din --format sarif").expect(1);
    let log: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    let results = run["results"].as_array().unwrap();
    let codes: Vec<&str> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
    assert_eq!(codes, ["W0203", "W0203", "E0204"]);
    for result in results {
        let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        let file = folder.path().join(place["artifactLocation"]["uri"].as_str().unwrap());
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().nth(place["region"]["startLine"].as_u64().unwrap() as usize - 1).unwrap();
        let column = place["region"]["startColumn"].as_u64().unwrap() as usize - 1;
        let at: String = line.chars().skip(column).collect();
        assert!(["visits", "spare", "more"].iter().any(|name| at.starts_with(name)), "{at}");
    }
}

/// A test case for each file that was checked; what the schema of the most common reader demands.
#[test]
fn junit_reports_every_file() {
    let folder = specs();
    let ran = din_in(folder.path(), "check . --format junit").expect(1);
    let document = roxmltree::Document::parse(&ran.out).unwrap();
    let suites = document.root_element();
    assert_eq!(suites.tag_name().name(), "testsuites");
    let elements = |node: roxmltree::Node<'_, '_>| node.children().filter(|n| n.is_element()).count();
    assert_eq!(elements(suites), 1);
    let suite = suites.first_element_child().unwrap();
    for name in ["name", "tests", "failures", "errors"] {
        assert!(suite.attribute(name).is_some(), "{name}");
    }
    assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("4"), Some("1")));
    assert_eq!(elements(suite), 4);
    for case in suite.children().filter(|node| node.is_element()) {
        assert_eq!(case.tag_name().name(), "testcase");
        assert!(case.attribute("name").is_some_and(|name| name.ends_with(".din")));
        let failed = case.children().any(|node| node.has_tag_name("failure"));
        assert_eq!(failed, case.attribute("name").unwrap().ends_with("wrong.din"));
    }
}

#[test]
fn reports_go_to_files_beside_what_is_shown() {
    let folder = specs();
    let line = "check . --format concise --output sarif=a.sarif --output gitlab=b.json --output junit=c.xml";
    let ran = din_in(folder.path(), line).expect(1).says("wrong.din:");
    assert!(ran.out.is_empty(), "{}", ran.out);
    for (file, format) in [("a.sarif", "sarif"), ("b.json", "gitlab"), ("c.xml", "junit")] {
        let shown = din_in(folder.path(), &format!("check . --format {format}")).out;
        assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), shown);
    }
    din_in(folder.path(), "check . --output sarif").expect(2).says("FORMAT=FILE");
    din_in(folder.path(), "check . --output xml=a").expect(2).says("formats are human, concise");
    din_in(folder.path(), "check right.din --output sarif=nowhere/a").expect(1).says("nowhere");
    din_in(folder.path(), "check right.din --output json=right.din").expect(1).says("is checked");
    din_in(folder.path(), "info right.din --format sarif").expect(2).says("--format");
}

#[test]
fn patterns_stand_for_files() {
    let folder = specs();
    let named = |line: &str| -> Vec<String> {
        let out = din_in(folder.path(), line).out;
        out.lines().map(|line| line.split(':').next().unwrap().to_string()).collect()
    };
    assert_eq!(named("check r*.din lib*"), ["right.din", "library.din"]);
    // Each once.
    assert_eq!(named("check right.din ri*.din right.din"), ["right.din"]);
    fs::create_dir_all(folder.path().join("deep/er")).unwrap();
    fs::copy(small(), folder.path().join("deep/er/one.din")).unwrap();
    assert_eq!(named("check **/o*.din"), ["deep/er/one.din"]);
    din_in(folder.path(), "check *.dim").expect(1).says("*.dim: expected files that the pattern matches, found none");
    din_in(folder.path(), "check a[.din").expect(1).says("the pattern is wrong");
}

#[test]
fn warnings_have_levels() {
    let folder = specs();
    let check = |more: &str| din_in(folder.path(), &format!("check warned.din {more}"));
    check("").expect(0).says("0 errors, 2 warnings");
    check("--deny warnings").expect(1).says("error[W0203]");
    check("--deny W0201,W0203").expect(1).says("2 errors, 0 warnings");
    check("--deny W0201").expect(0);
    assert_eq!(check("--allow w0203").expect(0).err, "");
    check("--deny warnings --allow W0203").expect(0);
    check("--deny E0301").expect(2).says("E0301 is an error, which has no level");
    check("--allow W9").expect(2).says("there is no such code");
}

#[test]
fn a_project_says_what_is_checked_and_how_grave_warnings_are() {
    let folder = specs();
    let here = folder.path();
    let project = |text: &str| fs::write(here.join("din.toml"), text).unwrap();
    din_in(here, "check").expect(2).says("expected files or folders to check");
    project("[check]\npaths = [\"warned.din\", \"lib*\"]\n\n[lints]\nW0203 = \"deny\"\n");
    din_in(here, "check").expect(1).says("error[W0203]").says("2 errors");
    din_in(here, "check --warn W0203").expect(0);
    // The nearest one above a spec; paths are from its folder.
    fs::create_dir_all(here.join("deep/er")).unwrap();
    fs::copy(here.join("warned.din"), here.join("deep/warned.din")).unwrap();
    din_in(&here.join("deep"), "check warned.din").expect(1).says("error[W0203]");
    din_in(&here.join("deep/er"), "check").expect(1).says("error[W0203]");
    fs::write(here.join("deep/din.toml"), "[lints]\nwarnings = \"allow\"\n").unwrap();
    assert_eq!(din_in(here, "check deep/warned.din").expect(0).err, "");
    din_in(here, "check deep/warned.din warned.din").expect(1).says("2 errors, 0 warnings");
}

#[test]
fn what_is_wrong_with_a_project_has_its_place() {
    let folder = specs();
    let check = |text: &str| {
        fs::write(folder.path().join("din.toml"), text).unwrap();
        din_in(folder.path(), "check right.din --format concise").expect(1).err
    };
    for (text, said) in [
        ("[chek]\n", "din.toml:1:2: error[E0901]: there is no setting `chek`"),
        ("[check]\npath = [\"a\"]\n", "din.toml:2:1: error[E0901]: there is no setting `path`"),
        ("[check]\npaths = []\n", "din.toml:2:9: error[E0901]: `paths` names nothing to check"),
        ("[lints]\nW9999 = \"deny\"\n", "din.toml:2:1: error[E0901]: `W9999` is no warning"),
        ("[lints]\nE0301 = \"allow\"\n", "din.toml:2:1: error[E0901]: `E0301` is no warning"),
        ("[lints]\nW0201 = \"forbid\"\n", "din.toml:2:9: error[E0901]: unknown variant `forbid`"),
        ("[budget]\nparameters = -1\n", "din.toml:2:14: error[E0901]: expected a number above 0, found -1"),
        ("[budget]\ntable_memory = \"much\"\n", "din.toml:2:16: error[E0901]: expected a number of bytes"),
        ("[budget]\nparameters = \n", "din.toml:2:1"),
        ("[budget.models.m]\nrows = 1\n", "din.toml:2:1: error[E0901]: there is no setting `rows`"),
    ] {
        let found = check(text);
        assert!(found.contains(said), "{text}: expected `{said}`, found:\n{found}");
    }
    fs::write(folder.path().join("din.toml"), "[chek]\n").unwrap();
    din_in(folder.path(), "check right.din").expect(1).says("did you mean `check`?");
    // In reports too.
    let ran = din_in(folder.path(), "check right.din --format gitlab").expect(1);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()[0]["location"]["path"], "din.toml");
}

#[test]
fn models_have_budgets() {
    let folder = specs();
    let check = |text: &str| {
        fs::write(folder.path().join("din.toml"), text).unwrap();
        din_in(folder.path(), "check right.din")
    };
    let info: Value = serde_json::from_str(&din("info {m} --json", &[("m", &small())]).out).unwrap();
    let weights = info["dense_weights"].as_u64().unwrap();
    check(&format!("[budget]\nparameters = {weights}\n")).expect(0);
    check(&format!("[budget]\nparameters = {}\n", weights - 1)).expect(1).says("error[E0902]").says("`parameters`");
    check("[budget]\nflops_per_sample = 1e9\nbytes_per_sample = \"1 MiB\"\n").expect(0);
    check("[budget]\nflops_per_sample = 10\n").expect(1).says("operations per sample");
    check("[budget]\nbytes_per_sample = 4\n").expect(1).says("of table rows per sample");
    check("[budget]\ntable_memory = \"1GiB\"\n").expect(1).says("[budget.rows]");
    // Of one model instead of all.
    let name = info["model"].as_str().unwrap();
    check(&format!("[budget]\nparameters = 1\n[budget.models.{name}]\nparameters = 1e9\n")).expect(0);
    check(&format!("[budget.models.{name}]\nparameters = 1\n")).expect(1).says("exceeds its budget");
}
