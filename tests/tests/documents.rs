//! Every example of Din in the documents is right. A file checks without errors, and without
//! warnings; members of a model check inside the rest of one. The pages of codes have a test of
//! their own, `codes.rs`.

use din_compiler::front::{CheckOptions, NoFiles, check, test};
use din_compiler::picture::picture;
use din_grammar::{FileId, parse};
use din_tests::documents::{Example, diagnostics, documents, examples, text};
use din_tests::specs::{Beside, root};
use std::collections::BTreeSet;

/// Documents with a `din fragment`: a file that cannot be checked by itself.
const FRAGMENTS: [(&str, &str); 1] = [("docs/reference/syntax.md", "imports a file that the reader is to imagine")];

/// What an example of members may name without declaring it; described in
/// docs/reference/README.md.
const LOG: [(&str, &str); 5] = [
    ("features user", "{ gender: category(2) }"),
    ("features ad", "{ good_id: category }"),
    ("features scene", "{ hour: category(24) }"),
    ("sequence visited", "{ good_id: category from visited_good_ids }"),
    ("label click", ": binary"),
];

/// The members in a model: what they lack of [`LOG`], and a prediction, settings and a report.
fn framed(members: &str) -> String {
    let mut lines = String::new();
    for (declared, rest) in LOG {
        if !members.contains(&format!("{declared} ")) && !members.contains(&format!("{declared}:")) {
            lines += &format!("{declared} {rest}\n");
        }
    }
    let predicts = members.contains("predict click ");
    let prediction = if predicts { "" } else { "predict click ~ bernoulli(logit = others(other.id))" };
    let other = if predicts { "" } else { "features other { id: category }\nembedding others [1] for other.id" };
    format!(
        "use std.loss.cross_entropy\nuse std.metric.auc\nuse std.optimizer.adam\nuse std.regularizer.adaptive\n\
         model framed {{\n{members}\n{lines}\
         {other}\n{prediction}\n\
         train {{ loss cross_entropy(click)  optimizer adam()  batch 1  epochs 1 }}\n\
         report auc(click)\n}}\n"
    )
}

fn parses(text: &str) -> bool {
    parse(text, FileId(0)).is_ok()
}

/// A `test` block of a file that fails.
fn failed_test(text: &str) -> Option<String> {
    let failed = test("example.din", text, &NoFiles).reports.into_iter().find(|report| !report.failures.is_empty())?;
    let failure = failed.failures.first().expect("it failed");
    Some(format!("test \"{}\": expected {}, found {}", failed.name, failure.expected, failure.found))
}

/// What is wrong with an example of `document`.
fn fault(document: &str, example: &Example) -> Option<String> {
    let Example { kind, text, .. } = example;
    let said = |found: Vec<din_grammar::Diagnostic>| {
        let lines: Vec<String> = found.iter().map(|d| format!("{}: {}", d.code, d.message)).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    };
    match kind.as_str() {
        "din" if parses(text) => said(diagnostics("example.din", text)).or_else(|| failed_test(text)),
        "din" if parses(&format!("model framed {{\n{text}\n}}\n")) => {
            // A part of a model leaves some of it unused.
            let mut found = diagnostics("example.din", &framed(text));
            found.retain(|d| d.is_error());
            said(found)
        }
        "din" => Some("neither a file nor members of a model".into()),
        "din expression" => (!parses(&format!("regularizer r() = {text}"))).then(|| "not an expression".into()),
        "din fragment" if !FRAGMENTS.iter().any(|(listed, _)| *listed == document) => {
            Some("only the documents of `FRAGMENTS` have a `din fragment`".into())
        }
        "din fragment" => (!parses(text)).then(|| "not a file".into()),
        other => Some(format!("unknown kind of example `{other}`")),
    }
}

/// Documents whose tables have Din in their last column, where its head is `Din`.
const TABLES: &str = "docs/guide/from-";

/// The pieces of Din in those tables, each with its line.
fn table_pieces(markdown: &str) -> Vec<(usize, String)> {
    let (mut pieces, mut is_din) = (Vec::new(), false);
    for (number, line) in (1..).zip(markdown.lines()) {
        let Some(last) = line.strip_suffix(" |").and_then(|line| line.rsplit(" | ").next()) else {
            is_din = false;
            continue;
        };
        if last == "Din" {
            is_din = true;
        } else if is_din {
            pieces.extend(last.split('`').skip(1).step_by(2).map(|piece| (number, piece.to_string())));
        }
    }
    pieces
}

/// `use` of what a text names of the library.
fn imports(text: &str) -> String {
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut lines = String::new();
    for entry in std::fs::read_dir(root().join("stdlib")).expect("the library can be listed") {
        let path = entry.expect("the library can be listed").path();
        let module = path.file_stem().expect("a file of the library has a name").to_string_lossy().into_owned();
        let file = parse(&std::fs::read_to_string(&path).expect("UTF-8"), FileId(0)).expect("the library is right");
        for name in file.items.iter().filter_map(|item| item.name()) {
            let of_frame = ["cross_entropy", "auc", "adam", "adaptive"].contains(&name.name.as_str());
            let builtin = ["sum", "tanh", "sigmoid"].contains(&name.name.as_str());
            if words.contains(name.name.as_str()) && !of_frame && !builtin {
                lines += &format!("use std.{module}.{}\n", name.name);
            }
        }
    }
    lines
}

/// Labels that pieces name beside the click: declaration, prediction, loss.
const LABELS: [(&str, &str, &str, &str); 4] = [
    ("importance", "label importance: weight", "", ""),
    ("buy", "label buy: binary", "predict buy ~ bernoulli(logit = others(other.id))", "cross_entropy(buy)"),
    ("stay", "label stay: number", "predict stay ~ normal(mean = others(other.id))", "squared_error(stay)"),
    (
        "action",
        "label action: class(5)",
        "predict action ~ categorical(logits = others(other.id) * logits)\nparam logits: [5] = 1",
        "softmax_cross_entropy(action)",
    ),
];

/// A word of the reference, an option or verb of the command, or the end of a file's name; `None`
/// where the piece is none of these.
fn fault_of_word(piece: &str) -> Option<Option<String>> {
    let known = |pages: &[&str]| pages.iter().any(|page| text(page).contains(piece));
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphabetic() || c == '_');
    if let Some(command) = piece.strip_prefix("mpirun ") {
        return Some((!command.contains("din train")).then(|| "starts no training".into()));
    }
    if piece.starts_with("--") || piece.starts_with("din ") || piece.starts_with('.') {
        return Some((!known(&["docs/reference/command.md"])).then(|| "is not in command.md".into()));
    }
    let pages = ["docs/reference/language.md", "docs/reference/stdlib.md"];
    piece.split(' ').all(is_word).then(|| (!known(&pages)).then(|| "is in no page of the reference".into()))
}

/// What is wrong with a piece of a table: a word, members of a model, settings of `train`, or an
/// expression of `x`, `history` and `candidate`.
fn fault_of_piece(piece: &str) -> Option<String> {
    if let Some(fault) = fault_of_word(piece) {
        return fault;
    }
    let is_members = parses(&format!("model framed {{\n{piece}\n}}\n"));
    let is_setting = parses(&format!("model framed {{\ntrain {{\n{piece}\n}}\n}}\n"));
    let mut members = String::new();
    let mut loss = "loss cross_entropy(click)".to_string();
    for (name, label, prediction, term) in LABELS {
        if !piece.contains(name) {
            continue;
        }
        members += &format!("{label}\n");
        if !piece.starts_with("predict ") {
            members += &format!("{prediction}\n");
        }
        if !term.is_empty() {
            loss += &format!(" + {term}");
        }
    }
    let values = "embedding good [8] for ad.good_id, visited.good_id\nembedding [8] for each of user, scene\n\
                  let x = embed(ad.good_id)\nlet history = embed(visited)\nlet candidate = embed(ad)\n";
    let mut settings = vec![loss, "optimizer adam()".into(), "batch 1".into(), "epochs 1".into()];
    if is_members {
        if piece.starts_with("predict ") {
            members += values;
        }
        members += piece;
    } else if is_setting {
        members += values;
        members += "key request_id: int64\nrequest by request_id\n";
        let word = piece.split(' ').next().unwrap_or_default();
        settings.retain(|setting| !setting.starts_with(word) || piece.contains(" for "));
        let whole = word != "loss" || piece.contains("click");
        settings.push(if whole { piece.into() } else { format!("{piece} + cross_entropy(click)") });
    } else {
        members += values;
        members += "embedding wide [1] for each of user, ad\n";
        members += &format!("let piece = {piece}\n");
        members += "predict click ~ bernoulli(logit = sum(piece) + others(other.id))\n";
    }
    if members.contains("predict click ") && members.contains("others") {
        members += "\nfeatures other { id: category }\nembedding others [1] for other.id\n";
    }
    let plain = "loss cross_entropy(click)  optimizer adam()  batch 1  epochs 1";
    let spec = framed(&members).replace(plain, &settings.join("\n"));
    let found = diagnostics("piece.din", &(imports(&spec) + &spec));
    let lines: Vec<String> =
        found.iter().filter(|d| d.is_error()).map(|d| format!("{}: {}", d.code, d.message)).collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

#[test]
fn pieces_of_din_in_tables_are_right() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for document in documents().iter().filter(|document| document.starts_with(TABLES)) {
        for (line, piece) in table_pieces(&text(document)) {
            checked += 1;
            if let Some(fault) = fault_of_piece(&piece) {
                wrong.push(format!("{document}:{line}: `{piece}`: {fault}"));
            }
        }
    }
    assert!(checked >= 100, "only {checked} pieces were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_pieces_are_found() {
    for right in ["batch 512", "label clk: binary", "mlp(x, [8], relu)", "--train", "pairwise"] {
        assert_eq!(fault_of_piece(right), None, "{right}");
    }
    for wrong in ["batch big", "label clk: binaries", "mlp(y, [8], relu)", "--trane", "pairwize", "mlp(x,", ""] {
        assert!(fault_of_piece(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn examples_of_the_documents_are_right() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for document in documents() {
        if document.starts_with("docs/reference/codes/") {
            continue;
        }
        for example in examples(&text(&document)).iter().filter(|example| example.kind.starts_with("din")) {
            checked += 1;
            if let Some(fault) = fault(&document, example) {
                wrong.push(format!("{document}:{}: {fault}", example.line));
            }
        }
    }
    assert!(checked >= 11, "only {checked} examples were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The test sees what is wrong.
#[test]
fn wrong_examples_are_found() {
    let faults = |kind: &str, text: &str| fault("a.md", &Example { kind: kind.into(), text: text.into(), line: 1 });
    assert_eq!(faults("din", "fn f(x: [n]) -> [n] { x }\n"), None);
    assert!(faults("din", "fn f(x: [n]) -> [n] { y }\n").expect("a fault").contains("E0204"));
    let tested = |value: &str| format!("fn f(x: [n]) -> [n] {{ 2 * x }}\ntest \"t\" {{ expect f(1) = {value} }}\n");
    assert_eq!(faults("din", &tested("2")), None);
    assert!(faults("din", &tested("3")).expect("a fault").contains("expected 3, found 2"));
    assert_eq!(faults("din", "embedding [8] for each of user, scene\n"), None);
    assert!(faults("din", "embedding [8] for each of shop\n").expect("a fault").contains("E0404"));
    assert!(faults("din", "x +\n").expect("a fault").contains("neither"));
    assert!(faults("din fragment", "").is_some() && faults("din maybe", "").is_some());
}

/// Text of SVG or DOT without references to characters, in which Graphviz writes dashes and spaces.
fn decoded(text: &str) -> String {
    let named = [("&#45;", "-"), ("&#160;", " "), ("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    named.into_iter().fold(text.to_string(), |text, (reference, character)| text.replace(reference, character))
}

/// What stands between each `start` and the next `<`.
fn between<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split('<').next()).collect()
}

/// Nodes and edges of a picture, and the lines of their labels.
fn parts_of_picture(dot: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for line in dot.lines() {
        if let Some((from, to)) = line.trim().split_once(" -> ") {
            parts.push(format!("{}->{}", from.trim_matches('"'), to.trim_matches('"')));
        } else if let Some((name, label)) = line.trim().split_once("\" [") {
            parts.push(name.trim_matches('"').to_string());
            parts.extend(between(label, "<B>").into_iter().map(decoded));
            parts.extend(between(label, "POINT-SIZE=\"10\">").into_iter().map(decoded));
        }
    }
    parts.sort();
    parts
}

/// `cargo xtask pictures` draws them anew.
#[test]
fn the_pictures_of_the_gallery_are_those_of_the_models() {
    let page = text("docs/gallery.md");
    let shown: Vec<&str> =
        page.split("](gallery/").skip(1).filter_map(|rest| rest.split_once(".svg)")).map(|(n, _)| n).collect();
    assert!(shown.len() >= 6, "{shown:?}");
    for name in shown {
        let path = page.split("](../models/").filter_map(|rest| rest.split_once(')')).map(|(path, _)| path);
        let path = path.into_iter().find(|path| path.split('/').next_back() == Some(&format!("{name}.din")));
        let path = root().join("models").join(path.unwrap_or_else(|| panic!("the page does not link to {name}.din")));
        let spec = std::fs::read_to_string(&path).expect("UTF-8");
        let folder = path.parent().expect("a model is in a folder").to_path_buf();
        let checked = check("model.din", &spec, &Beside(folder), &CheckOptions::default());
        let expected = parts_of_picture(&picture(&checked.model.expect("models are right")));
        let svg = text(&format!("docs/gallery/{name}.svg"));
        let graph = svg.split_once("</title>").expect("the graph has a title").1;
        let mut found: Vec<String> = between(graph, "<title>").into_iter().map(decoded).collect();
        let texts = graph.split("<text ").skip(1).filter_map(|rest| rest.split_once('>')?.1.split('<').next());
        found.extend(texts.map(decoded));
        found.sort();
        assert_eq!(found, expected, "{name}: `cargo xtask pictures` draws it anew");
    }
}
