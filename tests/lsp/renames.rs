//! Renaming: the compiler finds the same model afterwards, but for the name.

use crate::client::{Editor, path_of, root};
use crate::every_spec::Beside;
use crate::text::{edited, position, specs, words};
use din_compiler::front::{CheckOptions, check};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// What is renamed to: no name of any spec.
const NEW: &str = "zz_renamed_zz";

/// What a model is, as text: both graphs, and what it reads of the data.
fn meaning(path: &Path, text: &str) -> String {
    let beside = Beside(path.parent().unwrap().to_path_buf());
    let checked = check("spec.din", text, &beside, &CheckOptions::default());
    let model = checked.model.unwrap_or_else(|| panic!("{}: {:?}\n{text}", path.display(), checked.diagnostics));
    // Places move.
    let placeless = |text: String| -> Vec<String> {
        text.lines().map(|line| line.split(" @").next().unwrap().to_owned()).collect()
    };
    let columns: Vec<String> = model.schema.features.iter().map(|f| format!("{} {:?}", f.path(), f.source)).collect();
    let labels: Vec<&str> = model.schema.labels.iter().map(|l| l.column.as_str()).collect();
    let keys: Vec<&str> = model.schema.keys.iter().map(|k| k.column.as_str()).collect();
    let (train, infer) = (placeless(model.train.text()), placeless(model.infer.text()));
    format!("{train:#?}\n{infer:#?}\n{columns:?}\n{labels:?}\n{keys:?}")
}

fn rename(editor: &mut Editor, uri: &str, text: &str, at: usize, new: &str) -> Result<Value, String> {
    let params = json!({ "textDocument": { "uri": uri }, "position": position(text, at), "newName": new });
    editor.request("textDocument/rename", params).map(|edit| edit["changes"].clone()).map_err(|refused| {
        assert_eq!(refused.code, -32803, "{refused:?}");
        refused.message
    })
}

/// Names of every model are renamed: what it computes, and the columns that it reads, stay.
#[test]
fn a_renamed_model_is_the_same_model() {
    let root = root();
    let mut editor = Editor::start(&root.join("models"));
    let (mut renamed, mut refused) = (0, Vec::new());
    // Each renaming asks all files of the folder: some models are enough.
    for path in specs(&root.join("models")).into_iter().step_by(5) {
        let text = fs::read_to_string(&path).unwrap();
        let beside = Beside(path.parent().unwrap().to_path_buf());
        if check("spec.din", &text, &beside, &CheckOptions::default()).model.is_none() {
            continue;
        }
        let before = meaning(&path, &text);
        let uri = editor.open(&path, &text);
        let mut seen = BTreeSet::new();
        // Each model has others of its names renamed.
        for (at, word) in words(&text).into_iter().skip(renamed % 61).step_by(61) {
            let place = position(&text, at);
            let prepared = json!({ "textDocument": { "uri": uri }, "position": place });
            if editor.request("textDocument/prepareRename", prepared).is_err() || !seen.insert(word) {
                continue;
            }
            let changes = match rename(&mut editor, &uri, &text, at, NEW) {
                Ok(changes) => changes,
                Err(why) => {
                    refused.push(format!("{}: `{word}`: {why}", path.display()));
                    continue;
                }
            };
            let after = edited(&text, &changes[&uri]);
            assert!(after.contains(NEW), "{}: {word}", path.display());
            // A model or schema of another file may have changed too.
            if changes.as_object().unwrap().len() == 1 {
                let found = meaning(&path, &after).replace(NEW, word);
                // An input that is made of a column has the name of its field.
                let plain = |text: &str| text.replace(word, "·");
                assert_eq!(plain(&found), plain(&before), "{}: {word}", path.display());
            }
            renamed += 1;
        }
        editor.close(&uri);
    }
    println!("{renamed} renamed, {} refused: {refused:#?}", refused.len());
    assert!(renamed > 5 && refused.len() * 4 < renamed, "{renamed} renamed, {refused:#?}");
    editor.end();
}

/// A function that three files know, by its name and by another: all are edited.
#[test]
fn a_rename_reaches_the_files_that_import_the_name() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let towers = "edition 2026\n\n/// A tower.\nfn tower(x: [n], width: int) -> [width] {\n    param w: [width, n] = 0\n    w @ x\n}\n";
    let user = "edition 2026\nuse towers.tower\n\nfn two(x: [n]) -> [4] { tower(tower(x, 8), width = 4) }\n";
    let other = "edition 2026\nuse towers.{tower as t}\n\nfn one(x: [n]) -> [4] { t(x, width = 4) }\n";
    for (name, text) in [("towers.din", towers), ("user.din", user), ("other.din", other)] {
        fs::write(folder.join(name), text).unwrap();
    }
    let mut editor = Editor::start(folder);
    let uri = editor.open(&folder.join("user.din"), user);
    let apply = |changes: &Value| {
        for (uri, edits) in changes.as_object().unwrap() {
            let path = path_of(uri);
            fs::write(&path, edited(&fs::read_to_string(&path).unwrap(), edits)).unwrap();
        }
    };
    let changes = rename(&mut editor, &uri, user, user.find("tower(tower").unwrap(), "stack").unwrap();
    assert_eq!(changes.as_object().unwrap().len(), 3, "{changes}");
    apply(&changes);
    assert_eq!(fs::read_to_string(folder.join("towers.din")).unwrap(), towers.replace("fn tower", "fn stack"));
    let stacked = user.replace("{ tower(tower", "{ stack(stack").replace("use towers.tower", "use towers.stack");
    assert_eq!(fs::read_to_string(folder.join("user.din")).unwrap(), stacked);
    let aliased = fs::read_to_string(folder.join("other.din")).unwrap();
    assert!(aliased.contains("{stack as t}") && aliased.contains("{ t(x"), "{aliased}");

    // A parameter is named by calls of other files.
    editor.change(&uri, None, &stacked);
    let changes = rename(&mut editor, &uri, &stacked, stacked.find("width = 4").unwrap(), "size").unwrap();
    assert_eq!(changes.as_object().unwrap().len(), 3, "{changes}");
    apply(&changes);
    assert!(fs::read_to_string(folder.join("towers.din")).unwrap().contains("size: int) -> [size]"));
    assert!(fs::read_to_string(folder.join("other.din")).unwrap().contains("t(x, size = 4)"));
    editor.end();
}

#[test]
fn a_name_that_would_change_the_meaning_is_refused() {
    let folder = TempDir::new().unwrap();
    let text =
        "edition 2026\nuse std.activation.prelu\n\nfn f(x: [n]) -> [n] {\n    let y = tanh(x)\n    prelu(y + x)\n}\n";
    let mut editor = Editor::start(folder.path());
    let uri = editor.open(&folder.path().join("f.din"), text);
    let mut refused = |word: &str, new: &str, part: &str| {
        let why = rename(&mut editor, &uri, text, text.find(word).unwrap(), new).unwrap_err();
        assert!(why.contains(part), "{word} to {new}: {why}");
    };
    refused("y = tanh", "x", "would change what");
    refused("y = tanh", "prelu", "would change what");
    refused("y = tanh", "let", "is no name");
    refused("y = tanh", "a b", "is no name");
    refused("tanh(x)", "g", "a word of the language");
    refused("prelu(y", "g", "of the standard library");
    refused("edition", "g", "no name here");
    let broken = "fn f(x: [n]) -> [n] { x }\nfn g( {\n";
    editor.change(&uri, None, broken);
    let why = rename(&mut editor, &uri, broken, 3, "h").unwrap_err();
    assert!(why.contains("syntax errors"), "{why}");
    editor.end();
}

/// A field, label or key under a new name still reads its column.
#[test]
fn a_renamed_field_keeps_its_column() {
    let path = root().join("models/din.din");
    let text = fs::read_to_string(&path).unwrap();
    let mut editor = Editor::start(path.parent().unwrap());
    let uri = editor.open(&path, &text);
    for (word, declared) in [
        ("age_level", "zz: category(10) from age_level"),
        ("click: binary", "zz: binary from click"),
        ("user_id: int64", "zz: int64 from user_id"),
        ("pid: category(10)", "zz: category(10) from pid"),
    ] {
        let changes = rename(&mut editor, &uri, &text, text.find(word).unwrap(), "zz").unwrap();
        let after = edited(&text, &changes[&uri]);
        assert!(after.contains(declared), "{after}");
    }
    editor.end();
}
