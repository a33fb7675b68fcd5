//! Every spec of the repository, opened and asked about.

use crate::client::{Editor, path_of, root};
use crate::text::{edited, offset, position, slice, specs, words};
use din_compiler::front::{CheckOptions, FileFault, SourceProvider, check, check_library};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files beside a spec, read independently of the server.
pub struct Beside(pub PathBuf);

impl SourceProvider for Beside {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let path = self.0.join(format!("{}.din", module.join("/")));
        Some((path.display().to_string(), fs::read_to_string(&path).ok()?))
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        let text = fs::read_to_string(self.0.join(path)).map_err(|_| FileFault::Missing)?;
        Ok((path.to_owned(), text))
    }
}

/// The codes that `din check` gives, sorted.
pub fn codes(path: &Path, text: &str) -> Vec<String> {
    let name = path.display().to_string();
    let beside = Beside(path.parent().unwrap().to_path_buf());
    // As `din check` decides it; a file that does not parse has the same syntax errors either way.
    let tree = din_grammar::parse(text, din_grammar::FileId(0));
    let model = tree.is_ok_and(|file| file.items.iter().any(|i| matches!(i, din_grammar::ast::Item::Model(_))));
    let diagnostics = match model {
        true => check(&name, text, &beside, &CheckOptions::default()).diagnostics,
        false => check_library(&name, text, &beside).0,
    };
    let mut codes: Vec<String> = diagnostics.iter().map(|d| d.code.to_owned()).collect();
    codes.sort();
    codes
}

pub fn published_codes(faults: &[Value]) -> Vec<String> {
    let mut codes: Vec<String> = faults.iter().map(|d| d["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes
}

/// Asks about a spec; the words that have a hover, and those that have a definition.
fn visit(editor: &mut Editor, path: &Path, every: usize) -> (usize, usize) {
    let text = fs::read_to_string(path).unwrap();
    let uri = editor.open(path, &text);
    let shown = path.display();
    let faults = editor.faults(&uri);
    assert_eq!(published_codes(&faults), codes(path, &text), "{shown}");
    let document = json!({ "textDocument": { "uri": uri } });

    let formatting = json!({ "textDocument": { "uri": uri }, "options": { "tabSize": 4, "insertSpaces": true } });
    let formatted = editor.ask("textDocument/formatting", formatting);
    match din_grammar::format(&text) {
        Ok(expected) => assert_eq!(edited(&text, &formatted), expected, "{shown}"),
        Err(_) => assert!(formatted.is_null(), "{shown}"),
    }
    let lines = text.lines().count() as u64 + 1;
    let tokens = editor.ask("textDocument/semanticTokens/full", document.clone());
    let data = tokens["data"].as_array().unwrap();
    let (mut line, mut column) = (0, 0);
    for token in data.chunks(5) {
        let number = |i: usize| token[i].as_u64().unwrap();
        column = if number(0) == 0 { column + number(1) } else { number(1) };
        line += number(0);
        assert!(line < lines, "{shown}");
        let start = json!({ "line": line, "character": column });
        let end = json!({ "line": line, "character": column + number(2) });
        let word = slice(&text, &json!({ "start": start, "end": end }));
        let is_name = word.chars().all(|c| c.is_ascii_alphanumeric() || "_. \n".contains(c));
        assert!(is_name && !word.is_empty(), "{shown}:{line}: `{word}`");
    }
    editor.ask("textDocument/documentSymbol", document.clone());
    editor.ask("textDocument/foldingRange", document);
    let whole = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": lines, "character": 0 } });
    editor.ask("textDocument/inlayHint", json!({ "textDocument": { "uri": uri }, "range": whole }));

    let (mut hovers, mut definitions) = (0, 0);
    for (at, word) in words(&text).into_iter().step_by(every) {
        let place = position(&text, at);
        let hover = editor.at("textDocument/hover", &uri, &place);
        if !hover.is_null() {
            hovers += 1;
            assert!(slice(&text, &hover["range"]).contains(word), "{shown}: {hover}");
            assert!(!hover["contents"]["value"].as_str().unwrap().is_empty());
        }
        let definition = editor.at("textDocument/definition", &uri, &place);
        if !definition.is_null() {
            definitions += 1;
            let file = path_of(definition["uri"].as_str().unwrap());
            let there = if file == path { text.clone() } else { fs::read_to_string(&file).unwrap() };
            let named = slice(&there, &definition["range"]);
            // A module is its file; a name that `as` gave leads to another.
            assert!(named == word || named.is_empty() || text.contains(" as "), "{shown}: {word} is {named}");
        }
        editor.at("textDocument/documentHighlight", &uri, &place);
    }
    editor.close(&uri);
    (hovers, definitions)
}

#[test]
fn every_model_and_library_answers_at_every_name() {
    let root = root();
    let mut editor = Editor::start(&root.join("models"));
    let (mut hovers, mut definitions) = (0, 0);
    for path in specs(&root.join("models")).iter().chain(&specs(&root.join("stdlib"))) {
        let (h, d) = visit(&mut editor, path, 5);
        hovers += h;
        definitions += d;
    }
    assert!(hovers > 600 && definitions > 600, "{hovers} hovers, {definitions} definitions");
    editor.end();
}

#[test]
fn every_faulty_spec_answers() {
    let root = root();
    let mut editor = Editor::start(&root.join("tests/ui"));
    let mut hovers = 0;
    for path in specs(&root.join("tests/ui")) {
        // `--set` is not the editor's.
        if !fs::read_to_string(&path).unwrap().contains("// set: ") {
            hovers += visit(&mut editor, &path, 13).0;
        }
    }
    assert!(hovers > 500, "{hovers} hovers");
    editor.end();
}

/// Of every correction that is offered for a spec of tests/ui, the fault is gone once it is made.
#[test]
fn corrections_mend_the_fault_that_they_are_offered_for() {
    let root = root();
    let mut editor = Editor::start(&root.join("tests/ui"));
    let mut made = 0;
    for path in specs(&root.join("tests/ui")) {
        let text = fs::read_to_string(&path).unwrap();
        let uri = editor.open(&path, &text);
        let faults = editor.faults(&uri);
        for fault in &faults {
            let context = json!({ "diagnostics": [fault] });
            let params = json!({ "textDocument": { "uri": uri }, "range": fault["range"], "context": context });
            let actions = editor.ask("textDocument/codeAction", params);
            let offered = actions.as_array().unwrap().iter().filter(|action| action["diagnostics"] == json!([fault]));
            for action in offered.collect::<Vec<_>>() {
                let mended = edited(&text, &action["edit"]["changes"][&uri]);
                editor.change(&uri, None, &mended);
                let left = editor.faults(&uri);
                // One that is reported once for all uses of a name goes on to the next use.
                let at = moved(&text, &action["edit"]["changes"][&uri], offset(&text, &fault["range"]["start"]));
                let same = |f: &Value| {
                    let there = offset(&mended, &f["range"]["start"]) == at;
                    there && f["code"] == fault["code"] && f["message"] == fault["message"]
                };
                assert!(!left.iter().any(same), "{}: {}: {fault}", path.display(), action["title"]);
                editor.change(&uri, None, &text);
                made += 1;
            }
        }
        editor.close(&uri);
    }
    assert!(made > 25, "{made} corrections");
    editor.end();
}

/// Where a byte is after edits.
fn moved(text: &str, edits: &Value, at: usize) -> usize {
    let mut place = at as isize;
    for edit in edits.as_array().unwrap() {
        let (start, end) = (offset(text, &edit["range"]["start"]), offset(text, &edit["range"]["end"]));
        if end <= at && start < end || end < at {
            place += edit["newText"].as_str().unwrap().len() as isize - (end - start) as isize;
        }
    }
    place as usize
}

/// Time from a key stroke to the answer, on the largest model.
#[test]
fn answers_come_at_once() {
    let root = root();
    let largest = specs(&root.join("models")).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let text = fs::read_to_string(&largest).unwrap();
    let mut editor = Editor::start(&root.join("models"));
    let uri = editor.open(&largest, &text);
    editor.faults(&uri);
    let words = words(&text);
    let last = text.rfind('}').unwrap();
    for turn in 0..30 {
        // Every request is the first after an edit, and waits for the analysis.
        let end = position(&text, last);
        editor.change(&uri, Some(json!({ "start": end, "end": end })), if turn % 2 == 0 { " " } else { "\n" });
        let (at, _) = words[(turn * 37) % words.len()];
        let place = position(&text, at);
        match turn % 3 {
            0 => editor.at("textDocument/hover", &uri, &place),
            1 => editor.at("textDocument/completion", &uri, &place),
            _ => editor.at("textDocument/definition", &uri, &place),
        };
    }
    let mut slowest = Vec::new();
    for (method, times) in &mut editor.times {
        times.sort();
        slowest.push((times[times.len() / 2], *times.last().unwrap(), method.clone()));
    }
    println!("{}: {slowest:?}", largest.display());
    // Builds for tests are not optimised, and the machine is shared.
    let limit = if cfg!(debug_assertions) { 10_000 } else { 50 };
    for (median, _, method) in slowest {
        assert!(median < Duration::from_millis(limit), "{method}: {median:?}");
    }
    editor.end();
}
