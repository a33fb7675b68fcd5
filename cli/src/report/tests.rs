use super::*;

/// A file of two findings, one of them in the library first, with what formats must escape.
fn checked() -> Vec<CheckedFile> {
    let mut sources = SourceMap::default();
    let spec = sources.add("./a,b:c %d/é.din", "let é = f(x)\nlet y = 3\n");
    let library = sources.add("std.layer", "fn f(x) {\n");
    let setting = sources.add(front::SETTING, "lr=2");
    let first = Diagnostic::error("E0301", "shapes <differ> & \"more\" 50%", Span::new(library, 3, 4), "here")
        .label(Span::new(spec, 4, 6), "in this call")
        .note("expected [2]\nfound [3], \u{1b}[0m");
    let second = Diagnostic::warning("W0203", "unused", Span::new(spec, 18, 19), "").help("leave it out");
    let third = Diagnostic::error("E0212", "no such hyper-parameter", Span::new(setting, 0, 2), "");
    let again = second.clone();
    let diagnostics = vec![first, second, third];
    let name = "./a,b:c %d/é.din".to_string();
    let one = CheckedFile { name: name.clone(), diagnostics, sources: sources.clone(), failure: None };
    let other = CheckedFile { name: "other.din".into(), diagnostics: vec![again], sources, failure: None };
    let failure = Some(Failure::user_error("gone.din: cannot read"));
    let gone = CheckedFile { name: "gone.din".into(), diagnostics: Vec::new(), sources: SourceMap::default(), failure };
    vec![one, other, gone]
}

#[test]
fn a_finding_has_its_place_in_a_file_on_disk_and_is_reported_once() {
    let files = checked();
    let found = findings(&files);
    let places: Vec<(&str, &str, usize, usize)> =
        found.iter().map(|f| (f.diagnostic.code, f.place.file.as_str(), f.place.line, f.place.column)).collect();
    let file = "a,b:c %d/é.din";
    assert_eq!(places, [("E0301", file, 1, 5), ("W0203", file, 2, 5), ("E0212", file, 1, 1)]);
}

/// They move with their lines, and equal findings of equal lines have others.
#[test]
fn fingerprints_are_those_of_lines() {
    let of = |text: &str, places: &[usize]| -> Vec<String> {
        let mut sources = SourceMap::default();
        let spec = sources.add("a.din", text);
        let unused = |&at: &usize| Diagnostic::warning("W0203", "unused", Span::new(spec, at, at + 1), "");
        let diagnostics = places.iter().map(unused).collect();
        let file = CheckedFile { name: "a.din".into(), diagnostics, sources, failure: None };
        findings(&[file]).into_iter().map(|f| f.fingerprint).collect()
    };
    let one = of("let y = 3\n", &[4]);
    assert_eq!(of("// more\n\n  let y = 3\n", &[15]), one);
    assert_ne!(of("let y = 4\n", &[4]), one);
    let two = of("let y = 3\nlet y = 3\n", &[4, 14]);
    assert_eq!(two[0], one[0]);
    assert_ne!(two[1], two[0]);
}

#[test]
fn paths_are_shown_from_the_current_folder() {
    let here = std::env::current_dir().expect("a current folder");
    let inside = here.join("models/a.din");
    assert_eq!(shown_path(inside.to_str().expect("UTF-8")), "models/a.din");
    assert_eq!(shown_path("./models/../a.din"), "a.din");
    assert_eq!(shown_path("../a.din"), "../a.din");
    assert_eq!(shown_path("/a/./b.din"), "/a/b.din");
}

#[test]
fn workflow_commands_are_escaped() {
    let text = text(&checked(), ReportFormat::Github);
    let expected = "::error file=a%2Cb%3Ac %25d/é.din,line=1,endLine=1,col=5,endColumn=6,title=E0301::\
                    shapes <differ> & \"more\" 50%25: here%0Anote: expected [2]%0Afound [3], \u{1b}[0m\n\
                    ::warning file=a%2Cb%3Ac %25d/é.din,line=2,endLine=2,col=5,endColumn=6,title=W0203::\
                    unused%0Ahelp: leave it out\n\
                    ::error file=a%2Cb%3Ac %25d/é.din,line=1,endLine=1,col=1,endColumn=1,title=E0212::\
                    no such hyper-parameter\n\
                    ::error::gone.din: cannot read\n";
    assert_eq!(text, expected);
}

#[test]
fn junit_has_a_case_for_each_file() {
    let text = text(&checked(), ReportFormat::Junit);
    let document = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let suites = document.root_element();
    let suite = suites.first_element_child().expect("a suite");
    for element in [suites, suite] {
        for (name, value) in [("name", "din.check"), ("tests", "3"), ("failures", "1"), ("errors", "1")] {
            assert_eq!(element.attribute(name), Some(value), "{text}");
        }
    }
    let cases: Vec<roxmltree::Node<'_, '_>> = suite.children().filter(|node| node.is_element()).collect();
    let names: Vec<_> = cases.iter().map(|case| case.attribute("name").expect("a name")).collect();
    assert_eq!(names, ["a,b:c %d/é.din", "other.din", "gone.din"]);
    let of = |case: usize| -> Vec<&str> {
        cases[case].children().filter(|node| node.is_element()).map(|node| node.tag_name().name()).collect()
    };
    assert_eq!((of(0), of(1), of(2)), (vec!["failure", "system-out"], vec!["system-out"], vec!["error"]));
    let failure = cases[0].first_element_child().expect("a failure");
    assert_eq!(failure.attribute("message"), Some("shapes <differ> & \"more\" 50% (and 1 more)"));
    assert_eq!(failure.attribute("type"), Some("E0301"));
    let drawn = failure.text().expect("a text");
    assert!(drawn.contains("error[E0301]: shapes <differ> & \"more\" 50%") && drawn.contains("E0212"), "{drawn}");
}

#[test]
fn gitlab_has_the_documented_fields_and_a_fingerprint_for_each_issue() {
    let text = text(&checked(), ReportFormat::Gitlab);
    let issues: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(issues.len(), 4);
    let prints: BTreeSet<&str> = issues.iter().map(|issue| issue["fingerprint"].as_str().expect("a text")).collect();
    assert_eq!(prints.len(), 4);
    for issue in &issues {
        assert!(issue["description"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(issue["check_name"].is_string());
        let severity = issue["severity"].as_str().expect("a text");
        assert!(["info", "minor", "major", "critical", "blocker"].contains(&severity));
        let path = issue["location"]["path"].as_str().expect("a text");
        assert!(!path.starts_with("./") && !path.starts_with('/'), "{path}");
        assert!(issue["location"]["lines"]["begin"].as_u64().is_some_and(|line| line >= 1));
    }
}

#[test]
fn markdown_has_a_row_for_each_finding() {
    let text = text(&checked(), ReportFormat::Markdown);
    assert!(text.starts_with("**din check**: 3 files, 3 errors, 1 warning\n"), "{text}");
    assert!(text.contains("| error | `a,b:c %d/é.din:1:5` | E0301 | shapes &lt;differ> & \"more\" 50% |\n"), "{text}");
}
