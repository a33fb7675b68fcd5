//! One request each: what is answered.

use crate::client::{Editor, path_of, root};
use crate::text::{edited, position, slice};
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

/// A model with what hovers and hints tell apart.
const SPEC: &str = "\
edition 2026
use std.activation.relu
use std.layer.{linear, mlp}
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.adam
use towers.tower

model m {
    features ad { good: category  cate: category }
    sequence visited { good: category from goods  cate: category from cates }
    label click: binary
    hyper width = 2 * 8
    embedding good [width] for ad.good, visited.good
    embedding cate [8] for ad.cate, visited.cate
    // é😀
    let ad_vector = embed(ad)
    let history = embed(visited)
    let taste = mean(history over visited)
    let hidden = mlp(concat(taste, ad_vector), [width, 4], relu)
    predict click ~ bernoulli(logit = linear(tower(hidden, 3), 1))
    train { loss cross_entropy(click)  optimizer adam(lr = 1e-3)  batch 8  epochs 1 }
    report auc(click)
}
";
const TOWERS: &str = "\
edition 2026
use std.activation.relu
use std.layer.linear

/// A tower of one layer.
fn tower(x: [n], size: int) -> [size] {
    let inner = linear(x, size)
    relu(inner)
}
";

struct Open {
    editor: Editor,
    folder: TempDir,
    uri: String,
    text: String,
}

fn open() -> Open {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("towers.din"), TOWERS).unwrap();
    let path = folder.path().join("m.din");
    fs::write(&path, SPEC).unwrap();
    let mut editor = Editor::start(folder.path());
    let uri = editor.open(&path, SPEC);
    Open { editor, folder, uri, text: SPEC.to_owned() }
}

impl Open {
    /// The place of `word` where `context` stands.
    fn place(&self, context: &str, word: &str) -> Value {
        let at = self.text.find(context).unwrap_or_else(|| panic!("`{context}` is not there"));
        position(&self.text, at + context.find(word).unwrap())
    }

    fn hover(&mut self, context: &str, word: &str) -> String {
        let place = self.place(context, word);
        let hover = self.editor.at("textDocument/hover", &self.uri, &place);
        assert!(!hover.is_null(), "no hover of `{word}` in `{context}`");
        assert_eq!(slice(&self.text, &hover["range"]), word);
        hover["contents"]["value"].as_str().unwrap().to_owned()
    }

    fn labels(&mut self, typed: &str, behind: &str) -> Vec<String> {
        let at = self.text.find(behind).unwrap() + behind.len();
        let text = format!("{}{typed}{}", &self.text[..at], &self.text[at..]);
        self.editor.change(&self.uri, None, &text);
        let place = position(&text, at + typed.len());
        let items = self.editor.at("textDocument/completion", &self.uri, &place);
        self.editor.change(&self.uri, None, &self.text);
        items.as_array().unwrap().iter().map(|item| item["label"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn hovers_tell_types_axes_shapes_numbers_and_docs() {
    let mut open = open();
    assert_eq!(open.editor.faults(&open.uri), Vec::<Value>::new());
    let mut says = |context: &str, word: &str, parts: &[&str]| {
        let text = open.hover(context, word);
        for part in parts {
            assert!(text.contains(part), "`{word}` in `{context}`: expected `{part}` in\n{text}");
        }
    };
    says("let history", "history", &["visited => [good: 16, cate: 8]", "one per entry of visited"]);
    says("concat(taste", "taste", &["[good: 16, cate: 8]", "one per row"]);
    says("let hidden", "hidden", &["[4]", "let hidden = mlp("]);
    says("[width, 4]", "width", &["hyper width = 2 * 8", "`16`"]);
    says("tower(hidden", "tower", &["fn tower(x: [n], size: int) -> [size]", "A tower of one layer.", "towers.din"]);
    says("mlp(concat", "mlp", &["fn mlp(", "std.layer"]);
    says("for ad.good", "good", &["good: category", "field of `ad`"]);
    says("mean(history", "mean", &["mean(x)", "function of the language"]);
    says("predict click", "click", &["label click: binary"]);
    says("std.layer", "std.layer", &["module"]);
    open.editor.end();
}

/// In a library, shapes have the names of its types; in a function of the file at hand, the sizes
/// of its calls.
#[test]
fn functions_tell_the_shapes_that_they_are_called_with() {
    let mut open = open();
    let towers = open.editor.open(&open.folder.path().join("towers.din"), TOWERS);
    let place = position(TOWERS, TOWERS.find("relu(inner").unwrap() + 5);
    let hover = open.editor.at("textDocument/hover", &towers, &place);
    assert!(hover["contents"]["value"].as_str().unwrap().contains("let inner = linear(x, size)"), "{hover}");
    let text = "fn twice(x: [n]) -> [n] {\n    let y = x + x\n    y\n}\n";
    let path = open.folder.path().join("twice.din");
    let uri = open.editor.open(&path, text);
    let hover = open.editor.at("textDocument/hover", &uri, &position(text, text.find("y\n}").unwrap()));
    assert!(hover["contents"]["value"].as_str().unwrap().contains("`[n]`, one per row"), "{hover}");
    open.editor.end();
}

#[test]
fn definitions_of_the_library_are_read_only_files() {
    let mut open = open();
    let place = open.place("mlp(concat", "mlp");
    let definition = open.editor.at("textDocument/definition", &open.uri, &place);
    let path = path_of(definition["uri"].as_str().unwrap());
    assert!(path.starts_with(open.editor.cache.path()) && path.ends_with("std/layer.din"), "{}", path.display());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, fs::read_to_string(root().join("stdlib/layer.din")).unwrap());
    assert!(fs::metadata(&path).unwrap().permissions().readonly());
    assert_eq!(slice(&text, &definition["range"]), "mlp");
    // The copy is a document like any other, and its names lead on.
    let uri = open.editor.open(&path, &text);
    let inside = position(&text, text.find("linear(").unwrap());
    assert!(!open.editor.at("textDocument/hover", &uri, &inside).is_null());
    open.editor.end();
}

#[test]
fn references_reach_other_files() {
    let mut open = open();
    let uri = open.editor.open(&open.folder.path().join("towers.din"), TOWERS);
    let place = position(TOWERS, TOWERS.find("tower(x").unwrap());
    let mut count = |with: bool| {
        let params = json!({
            "textDocument": { "uri": uri }, "position": place, "context": { "includeDeclaration": with },
        });
        open.editor.ask("textDocument/references", params).as_array().unwrap().len()
    };
    // The definition; the import and the call in the model.
    assert_eq!((count(true), count(false)), (3, 2));
    open.editor.end();
}

/// What is typed in one document is seen in those that import it, before it is saved.
#[test]
fn imports_are_as_they_are_in_the_editor() {
    let mut open = open();
    assert_eq!(open.editor.faults(&open.uri), Vec::<Value>::new());
    let towers = open.editor.open(&open.folder.path().join("towers.din"), TOWERS);
    open.editor.faults(&towers);
    open.editor.published.remove(&open.uri);
    open.editor.change(&towers, None, &TOWERS.replace("tower(", "turret("));
    let faults = open.editor.faults(&open.uri);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0]["code"], "E0202");
    assert_eq!(slice(&open.text, &faults[0]["range"]), "tower");
    // A syntax error there stands at the import here.
    open.editor.published.remove(&open.uri);
    open.editor.change(&towers, None, "fn tower( {");
    let faults = open.editor.faults(&open.uri);
    assert!(faults.iter().any(|f| slice(&open.text, &f["range"]) == "use towers.tower"), "{faults:?}");
    open.editor.end();
}

#[test]
fn hints_show_the_shapes_of_lets() {
    let mut open = open();
    let range = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 99, "character": 0 } });
    let hints =
        open.editor.ask("textDocument/inlayHint", json!({ "textDocument": { "uri": open.uri }, "range": range }));
    let labels: Vec<&str> = hints.as_array().unwrap().iter().map(|hint| hint["label"].as_str().unwrap()).collect();
    let expected = [": [good: 16, cate: 8]", ": visited => [good: 16, cate: 8]", ": [good: 16, cate: 8]", ": [4]"];
    assert_eq!(labels, expected);
    open.editor.end();
}

#[test]
fn completions_know_the_place() {
    let mut open = open();
    let mut has = |typed: &str, behind: &str, wanted: &[&str], unwanted: &[&str]| {
        let labels = open.labels(typed, behind);
        for word in wanted {
            assert!(labels.iter().any(|label| label == word), "`{typed}`: no `{word}` in {labels:?}");
        }
        for word in unwanted {
            assert!(!labels.iter().any(|label| label == word), "`{typed}`: `{word}` in {labels:?}");
        }
    };
    has("use ", "edition 2026\n", &["std", "towers"], &["mlp"]);
    has("use std.", "edition 2026\n", &["layer", "loss"], &["mlp"]);
    has("use std.attention.", "edition 2026\n", &["interest"], &["mlp"]);
    has("use towers.{", "edition 2026\n", &["tower"], &["mlp"]);
    has("    fea", "label click: binary\n", &["features", "embedding"], &["fn"]);
    has("    let x = ad.", "    // é😀\n", &["good", "cate"], &["mlp"]);
    has("    let x = ad_vector.", "let ad_vector = embed(ad)\n", &["good", "cate"], &["mlp"]);
    has("    let x = sum(history over ", "let history = embed(visited)\n", &["visited"], &["ad", "mlp"]);
    has("    let x = ml", "let history = embed(visited)\n", &["mlp", "history", "interest"], &["taste", "model"]);
    has("    let x = tower(hidden, ", "concat(taste, ad_vector), [width, 4], relu)\n", &["size = ", "hidden"], &[]);
    has("        ", "train {", &["loss", "batch"], &["features"]);
    has("    // ", "label click: binary\n", &[], &["features", "mlp"]);
    open.editor.end();
}

/// A name of the library that is not imported is completed with its import.
#[test]
fn completions_import_what_they_name() {
    let mut open = open();
    let at = open.text.find("    let taste").unwrap();
    let text = format!("{}    let x = inter\n{}", &open.text[..at], &open.text[at..]);
    open.editor.change(&open.uri, None, &text);
    let place = position(&text, at + "    let x = inter".len());
    let items = open.editor.at("textDocument/completion", &open.uri, &place);
    let item = items.as_array().unwrap().iter().find(|item| item["label"] == "interest").unwrap().clone();
    assert!(item["detail"].as_str().unwrap().starts_with("fn interest("), "{item}");
    let imported = edited(&text, &item["additionalTextEdits"]);
    assert!(imported.contains("use towers.tower\nuse std.attention.interest\n\nmodel"), "{imported}");
    open.editor.end();
}

#[test]
fn signatures_follow_the_arguments() {
    let mut open = open();
    let at = open.text.find("    let taste").unwrap();
    let mut active = |typed: &str| {
        let text = format!("{}{typed}\n{}", &open.text[..at], &open.text[at..]);
        open.editor.change(&open.uri, None, &text);
        let place = position(&text, at + typed.len());
        let help = open.editor.at("textDocument/signatureHelp", &open.uri, &place);
        let signature = &help["signatures"][0];
        let index = help["activeParameter"].as_u64().unwrap_or(99) as usize;
        let parameter = signature["parameters"][index]["label"].as_str().unwrap_or("").to_owned();
        (signature["label"].as_str().unwrap_or("").to_owned(), parameter)
    };
    let heading = "fn tower(x: [n], size: int) -> [size]".to_owned();
    assert_eq!(active("    let x = tower("), (heading.clone(), "x: [n]".into()));
    assert_eq!(active("    let x = tower(concat(a, b), "), (heading.clone(), "size: int".into()));
    assert_eq!(active("    let x = tower(size = 3"), (heading, "size: int".into()));
    assert_eq!(active("    let x = 3"), (String::new(), String::new()));
    open.editor.end();
}

/// The line that is written does not parse; everything around it still has its names.
#[test]
fn a_half_written_file_has_its_other_names() {
    let mut open = open();
    let half = open.text.replace("let hidden = mlp(", "let hidden = mlp(concat(taste, \n    let hidden_2 = mlp(");
    open.editor.change(&open.uri, None, &half);
    let faults = open.editor.faults(&open.uri);
    assert!(!faults.is_empty() && faults.iter().all(|f| f["code"].as_str().unwrap().starts_with("E01")), "{faults:?}");
    open.text = half;
    assert!(open.hover("let taste", "taste").contains("[good: 16, cate: 8]"));
    assert!(open.hover("tower(hidden, 3", "tower").contains("A tower of one layer."));
    let symbols =
        open.editor.ask("textDocument/documentSymbol", json!({ "textDocument": { "uri": open.uri } })).to_string();
    for name in ["\"taste\"", "\"hidden\"", "\"history\"", "\"click\"", "\"m\""] {
        assert!(symbols.contains(name), "{name} in {symbols}");
    }
    open.editor.end();
}

/// Columns behind letters of several bytes, in both units that can be agreed on.
#[test]
fn columns_count_what_was_agreed() {
    let spec = "fn f(x: [n]) -> [n] { x }\n// é😀\ntest \"é😀\" { given a: samples => [2] = [[1, 2]]  expect f(a) = [[1, 2]] }\n";
    for (encodings, unit) in
        [(&["utf-16"][..], "utf-16"), (&["utf-32", "utf-8", "utf-16"][..], "utf-8"), (&[][..], "utf-16")]
    {
        let folder = TempDir::new().unwrap();
        let mut editor = Editor::start_with(folder.path(), encodings);
        assert_eq!(editor.capabilities["positionEncoding"], unit);
        let uri = editor.open(&folder.path().join("é file.din"), spec);
        let line = spec.lines().nth(2).unwrap();
        let before = &line[..line.find("f(a)").unwrap()];
        let columns = if unit == "utf-8" { before.len() } else { before.encode_utf16().count() };
        let place = json!({ "line": 2, "character": columns });
        let hover = editor.at("textDocument/hover", &uri, &place);
        let expected = json!({ "start": place, "end": { "line": 2, "character": columns + 1 } });
        assert_eq!(hover["range"], expected, "{hover}");
        // An edit behind them.
        editor.change(&uri, Some(expected), "g");
        let faults = editor.faults(&uri);
        assert!(faults.iter().any(|f| f["message"].as_str().unwrap().contains("unknown name `g`")), "{faults:?}");
        editor.end();
    }
}

#[test]
fn what_is_not_known_is_refused_and_nothing_ends() {
    let mut open = open();
    let refused = open.editor.request("textDocument/unknown", json!({})).unwrap_err();
    assert_eq!(refused.code, -32601, "{refused:?}");
    let refused = open.editor.request("textDocument/hover", json!({ "position": 3 })).unwrap_err();
    assert_eq!(refused.code, -32602, "{refused:?}");
    let closed =
        json!({ "textDocument": { "uri": "file:///not/open.din" }, "position": { "line": 0, "character": 0 } });
    let refused = open.editor.request("textDocument/hover", closed).unwrap_err();
    assert!(refused.message.contains("is not open"), "{refused:?}");
    open.editor.tell("workspace/didChangeConfiguration", json!({ "settings": {} }));
    open.editor.tell("textDocument/didChange", json!({ "nonsense": true }));
    // A buffer without a file.
    let document = json!({ "uri": "untitled:Untitled-1", "languageId": "din", "version": 1, "text": TOWERS });
    open.editor.tell("textDocument/didOpen", json!({ "textDocument": document }));
    let place = position(TOWERS, TOWERS.find("linear(x").unwrap());
    assert!(!open.editor.at("textDocument/hover", "untitled:Untitled-1", &place).is_null());
    open.editor.close("untitled:Untitled-1");
    open.editor.close(&open.uri.clone());
    let begin = json!({ "line": 0, "character": 0 });
    let closed = json!({ "textDocument": { "uri": open.uri }, "position": begin });
    assert!(open.editor.request("textDocument/hover", closed).is_err());
    open.editor.end();
}
