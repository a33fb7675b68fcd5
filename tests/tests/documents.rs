//! Every example of Din in the documents is right. A file checks without errors, and without
//! warnings; members of a model check inside the rest of one. The pages of codes have a test of
//! their own, `codes.rs`.

use din_grammar::{FileId, parse};
use din_tests::documents::{Example, diagnostics, documents, examples, text};

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
    format!(
        "use std.loss.cross_entropy\nuse std.metric.auc\nuse std.optimizer.adam\nuse std.regularizer.adaptive\n\
         model framed {{\n{members}\n{lines}\
         features other {{ id: category }}\nembedding others [1] for other.id\n\
         predict click ~ bernoulli(logit = others(other.id))\n\
         train {{ loss cross_entropy(click)  optimizer adam()  batch 1  epochs 1 }}\n\
         report auc(click)\n}}\n"
    )
}

fn parses(text: &str) -> bool {
    parse(text, FileId(0)).is_ok()
}

/// What is wrong with an example of `document`.
fn fault(document: &str, example: &Example) -> Option<String> {
    let Example { kind, text, .. } = example;
    let said = |found: Vec<din_grammar::Diagnostic>| {
        let lines: Vec<String> = found.iter().map(|d| format!("{}: {}", d.code, d.message)).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    };
    match kind.as_str() {
        "din" if parses(text) => said(diagnostics("example.din", text)),
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
    assert_eq!(faults("din", "embedding [8] for each of user, scene\n"), None);
    assert!(faults("din", "embedding [8] for each of shop\n").expect("a fault").contains("E0404"));
    assert!(faults("din", "x +\n").expect("a fault").contains("neither"));
    assert!(faults("din fragment", "").is_some() && faults("din maybe", "").is_some());
}
