//! Every example of Din in the documents is right. A file checks without errors, and without
//! warnings; members of a model check inside the rest of one. The pages of codes have a test of
//! their own, `codes.rs`.

use din_compiler::front::analysis::analyse;
use din_compiler::front::{CheckOptions, NoFiles, check, test};
use din_compiler::picture::{Picture, svg};
use din_grammar::{FileId, parse};
use din_tests::documents::{Example, diagnostics, documents, examples, text};
use din_tests::specs::{Beside, root};
use std::collections::BTreeSet;
use std::sync::LazyLock;

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

/// What an example of members may name of the library.
const IMPORTS: &str = "use std.loss.cross_entropy\nuse std.metric.{auc, gauc, log_loss, ndcg, pcoc}\n\
                       use std.optimizer.adam\nuse std.regularizer.adaptive\n";

/// The members in a model: what they lack of [`LOG`], and a prediction, settings and a report.
fn framed(members: &str) -> String {
    let mut lines = String::new();
    for (declared, rest) in LOG {
        if !members.contains(&format!("{declared} ")) && !members.contains(&format!("{declared}:")) {
            lines += &format!("{declared} {rest}\n");
        }
    }
    let predicts = members.contains("predict click ");
    let prediction = if predicts { "" } else { "predict click ~ bernoulli(logit = others(other.other))" };
    let other = "features other { other: category from framed_id }\nembedding others [1] for other.other";
    let other = if predicts { "" } else { other };
    let report = if members.contains("report auc(click)") { "" } else { "report auc(click)" };
    format!(
        "model framed {{\n{members}\n{lines}\
         {other}\n{prediction}\n\
         train {{ loss cross_entropy(click)  optimizer adam()  batch 1  epochs 1 }}\n\
         {report}\n}}\n"
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
            let mut found = diagnostics("example.din", &(IMPORTS.to_string() + &framed(text)));
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

/// The library's names with their modules.
fn library() -> &'static [(String, String)] {
    static NAMES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(root().join("stdlib")).expect("the library can be listed") {
            let path = entry.expect("the library can be listed").path();
            let module = path.file_stem().expect("a file of the library has a name").to_string_lossy().into_owned();
            let file = parse(&std::fs::read_to_string(&path).expect("UTF-8"), FileId(0)).expect("the library is right");
            names.extend(file.items.iter().filter_map(|item| Some((module.clone(), item.name()?.name.clone()))));
        }
        names
    });
    &NAMES
}

/// `use` of what a text names of the library, but not of what is builtin too.
fn imports(text: &str) -> String {
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let wanted = |name: &str| words.contains(name) && !["tanh", "sigmoid"].contains(&name);
    let named = library().iter().filter(|(_, name)| wanted(name));
    named.map(|(module, name)| format!("use std.{module}.{name}\n")).collect()
}

/// Words that begin a setting of `train`.
const SETTINGS: [&str; 9] =
    ["loss", "optimizer", "batch", "epochs", "seed", "regularize", "select", "clip", "patience"];

/// The model in which pieces stand.
const FRAME: &str = "\
    model framed {
    features user { gender: category(2) }
    features ad { good_id: category }
    features scene { hour: category(24) }
    sequence visited { good_id: category from visited_good_ids }
    key request_id: int64
    request by request_id
    label click: binary
    label buy: binary
    label stay: number
    label action: class(5)
    label importance: weight
    embedding [8] for each of user, ad, scene
    embedding past [8] for visited.good_id
    embedding wide [1] for each of user, ad
    let x = embed(user, ad, scene)
    let history = embed(visited)
    let candidate = embed(ad)
    let piece = x
    predict click ~ bernoulli(logit = linear(x, 1))
    predict buy ~ bernoulli(logit = linear(concat(x, sum(history over visited), wide(user, ad), piece), 1))
    predict stay ~ normal(mean = linear(x, 1))
    predict action ~ categorical(logits = linear(x, 5))
    train {
    loss cross_entropy(click) + cross_entropy(buy) + squared_error(stay) + softmax_cross_entropy(action)
    optimizer adam()
    batch 1
    epochs 1
    }
    report auc(click)
    }
";

/// The frame with `line` in place of the one that begins in the same way, or before the one that
/// begins with `place`.
fn frame_with(line: &str, start: &str, place: &str) -> String {
    let (replaced, lines) = (FRAME.lines().any(|own| own.trim_start().starts_with(start)), FRAME.lines());
    lines
        .map(|own| match own.trim_start() {
            own if own.starts_with(start) => format!("{line}\n"),
            own if own.starts_with(place) && !replaced => format!("{line}\n{own}\n"),
            own => format!("{own}\n"),
        })
        .collect()
}

/// A model with a piece in it: a member, a setting, or an expression.
fn model_with(piece: &str) -> String {
    let words: Vec<&str> = piece.split(' ').collect();
    match words.as_slice() {
        ["loss", ..] => {
            let loss =
                FRAME.lines().find_map(|line| line.trim_start().strip_prefix("loss ")).expect("the frame has a loss");
            frame_with(&format!("loss {loss} + {}", &piece[5..]), "loss ", "")
        }
        [word, ..] if SETTINGS.contains(word) => {
            let is_more = piece.contains(" for ");
            frame_with(piece, if is_more { piece } else { word }, "epochs ")
        }
        [word @ ("label" | "predict"), name, ..] => frame_with(piece, &format!("{word} {name} "), "train"),
        _ if parses(&format!("model framed {{\n{piece}\n}}\n")) => framed(piece),
        _ => frame_with(&format!("let piece = {piece}"), "let piece", ""),
    }
}

/// A word of the reference, an option or verb of the command, or the end of a file's name; `None`
/// where the piece is none of these.
fn fault_of_word(piece: &str) -> Option<Option<String>> {
    let known = |piece: &str, pages: &[&str]| pages.iter().any(|page| text(page).contains(piece));
    let command = ["docs/reference/command.md"];
    let reference = ["docs/reference/language.md", "docs/reference/stdlib.md"];
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphabetic() || c == '_');
    if piece.starts_with("--") || piece.starts_with('.') {
        return Some((!known(piece, &command)).then(|| "is not in command.md".into()));
    }
    if let Some((_, verb)) = piece.split_once("din ") {
        let verb = verb.split(' ').next().unwrap_or_default();
        return Some((!known(&format!("| `{verb} "), &command)).then(|| "is no verb".into()));
    }
    if !piece.split(' ').all(is_word) || SETTINGS.iter().any(|word| piece.starts_with(&format!("{word} "))) {
        return None;
    }
    Some((!known(piece, &reference)).then(|| "is in no page of the reference".into()))
}

/// What is wrong with a piece of a table: a word, a member of a model, a setting of `train`, or an
/// expression of `x`, `history` and `candidate`.
fn fault_of_piece(piece: &str) -> Option<String> {
    if let Some(fault) = fault_of_word(piece) {
        return fault;
    }
    let spec = model_with(piece);
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
    for wrong in ["batch big", "label clk: binaries", "mlp(y, [8], relu)", "--trane", "pairwize", "mlp(x,"] {
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
    assert!(faults("din", &tested("3")).expect("a fault").contains("expected [3], found [2]"));
    assert_eq!(faults("din", "embedding [8] for each of user, scene\n"), None);
    assert!(faults("din", "embedding [8] for each of shop\n").expect("a fault").contains("E0404"));
    assert!(faults("din", "x +\n").expect("a fault").contains("neither"));
    assert!(faults("din fragment", "").is_some() && faults("din maybe", "").is_some());
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
        let beside = Beside(path.parent().expect("a model is in a folder").to_path_buf());
        let checked = check("model.din", &spec, &beside, &CheckOptions::default());
        let analysis = analyse("model.din", &spec, &beside);
        let expected = svg(&Picture::of(&checked.model.expect("models are right"), &analysis));
        let found = text(&format!("docs/gallery/{name}.svg"));
        assert!(found == expected, "{name}: `cargo xtask pictures` draws it anew");
    }
}
