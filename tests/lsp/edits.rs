//! Random edits, as a hand on the keyboard that has lost its mind.

use crate::client::{Editor, root};
use crate::every_spec::{codes, published_codes};
use crate::text::{Dice, position, specs, words};
use serde_json::json;
use std::fs;

/// What is typed: parts of the language, and letters of several bytes.
const TYPED: [&str; 30] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "/",
    "//",
    "\n",
    ".",
    ",",
    ":",
    "=",
    " ",
    "é",
    "😀",
    "\t",
    "let ",
    "model ",
    "use std.",
    "fn f(x: [n]) {",
    "train {",
    "for i in 0..3 {",
    "visited.",
    "over ",
    "_",
    "9",
    "1e",
    "sum(",
];
const ASKED: [&str; 6] = [
    "textDocument/hover",
    "textDocument/definition",
    "textDocument/completion",
    "textDocument/signatureHelp",
    "textDocument/documentHighlight",
    "textDocument/prepareRename",
];

#[test]
fn a_thousand_random_edits_leave_the_server_standing() {
    let root = root();
    let mut editor = Editor::start(&root.join("models"));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let models = specs(&root.join("models"));
    let library = specs(&root.join("stdlib"));
    let mut made = 0;
    while made < 1_000 {
        let path = match dice.below(4) {
            0 => &library[dice.below(library.len())],
            _ => &models[dice.below(models.len())],
        };
        let mut text = fs::read_to_string(path).unwrap();
        let uri = editor.open(path, &text);
        for _ in 0..25 {
            let boundary = |at: usize, text: &str| (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let start = boundary(dice.below(text.len() + 1), &text);
            let end = match dice.below(3) {
                0 => start,
                1 => boundary((start + dice.below(4)).min(text.len()), &text),
                _ => boundary((start + dice.below(60)).min(text.len()), &text),
            }
            .max(start);
            let typed = match dice.below(8) {
                0 => String::new(),
                1 => {
                    let found = words(&text);
                    found.get(dice.below(found.len())).map_or("", |(_, word)| word).to_owned()
                }
                _ => TYPED[dice.below(TYPED.len())].to_owned(),
            };
            let range = json!({ "start": position(&text, start), "end": position(&text, end) });
            text.replace_range(start..end, &typed);
            editor.change(&uri, Some(range), &typed);
            made += 1;
            let place = position(&text, (start + typed.len()).min(text.len()));
            let document = json!({ "uri": uri });
            let method = ASKED[dice.below(ASKED.len())];
            let params = json!({ "textDocument": document, "position": place });
            match editor.request(method, params) {
                Ok(_) => {}
                // No name under the cursor, or one of the library.
                Err(refused) => assert_eq!(refused.code, -32803, "{method}: {refused:?}\n{text}"),
            }
            let whole = json!({ "textDocument": document });
            match dice.below(4) {
                0 => drop(editor.ask("textDocument/semanticTokens/full", whole)),
                1 => drop(editor.ask("textDocument/documentSymbol", whole)),
                2 => drop(editor.ask("textDocument/foldingRange", whole)),
                _ => {}
            }
            let range = json!({ "start": { "line": 0, "character": 0 }, "end": place });
            match dice.below(3) {
                0 => {
                    let params = json!({
                        "textDocument": document, "range": range, "context": { "diagnostics": [] },
                    });
                    editor.ask("textDocument/codeAction", params);
                }
                1 => drop(editor.ask("textDocument/inlayHint", json!({ "textDocument": document, "range": range }))),
                _ => {}
            }
        }
        // Both sides have the same text: else the faults would differ.
        let faults = editor.faults(&uri);
        assert_eq!(published_codes(&faults), codes(path, &text), "{}\n{text}", path.display());
        editor.close(&uri);
    }
    editor.end();
}
