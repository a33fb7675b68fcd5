//! Hostile input meets bounded depth and bounded work: never a panic, an overflow or a wait.
#![allow(clippy::unwrap_used)]

use din_grammar::parse::{MAX_BYTES, MAX_NESTING};
use din_grammar::{FileId, SourceMap, Style, format, parse, render};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const TEXTS: [&str; 6] = [
    include_str!("texts/din.din"),
    include_str!("texts/activation.din"),
    include_str!("texts/attention.din"),
    include_str!("texts/layer.din"),
    include_str!("texts/optimizer.din"),
    include_str!("texts/regularizer.din"),
];

/// Parses; what is wrong is located inside the text, has a code and can be drawn.
fn check(text: &str) {
    let mut sources = SourceMap::default();
    let file = sources.add("hostile.din", text);
    if let Err(errors) = parse(text, file) {
        assert!(!errors.is_empty());
        for error in &errors {
            assert!(error.code.starts_with("E01"), "{error:?}");
            for label in &error.labels {
                assert!(label.span.start <= label.span.end && label.span.end as usize <= text.len(), "{error:?}");
                assert!(text.is_char_boundary(label.span.start as usize), "{error:?}");
                assert!(text.is_char_boundary(label.span.end as usize), "{error:?}");
            }
        }
        assert!(errors.len() < 200);
        if text.len() < 10_000 {
            assert!(!render(&errors, &sources, Style::Human { color: true }).is_empty());
        }
    }
}

fn timed(name: &str, text: &str) {
    let start = Instant::now();
    check(text);
    let took = start.elapsed();
    println!("{name}: {} bytes in {took:?}", text.len());
    // A whole megabyte takes a few seconds without optimisation; anything superlinear takes
    // minutes.
    assert!(took < Duration::from_secs(60), "{name} took {took:?}");
}

#[test]
fn formatting_is_bounded_too() {
    for depth in [MAX_NESTING / 2, MAX_NESTING - 1] {
        for (open, close) in
            [("(", ")"), ("[", "]"), ("f(1, g = ", ")"), ("if a { ", " } else { b }"), ("if a {\n", "\n} else { b }")]
        {
            let text = format!("fn f(x) {{ {}x{} }}", open.repeat(depth), close.repeat(depth));
            if parse(&text, FileId(0)).is_ok() {
                assert!(format(&text).is_ok());
            }
        }
    }
    let start = Instant::now();
    for unit in [
        "let a = b * (c + d) // e\n",
        "for i in [1, 2, 3] { x = x }\n",
        "f(a, // b\nc)\n",
        "f(aaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbb + c)\n",
    ] {
        let text = format!("fn f(x) {{\n{}}}", unit.repeat(40_000 / unit.len()));
        assert!(format(&text).is_ok());
    }
    let list = format!("fn f(x) {{ [{}] }}", "1, ".repeat(20_000));
    assert!(format(&list).is_ok());
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

fn code(text: &str) -> &'static str {
    parse(text, FileId(0)).unwrap_err()[0].code
}

#[test]
fn nesting_at_the_limit_parses_on_a_small_stack() {
    // Tests run on threads of 2 MiB, without optimisation.
    let deep = MAX_NESTING - 1;
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("f(", ")"),
        ("f(g = ", ")"),
        ("-(", ")"),
        ("if a { ", " } else { b }"),
        ("1 + (", ")"),
    ] {
        let text = format!("fn f(x) {{ {}x{} }}", open.repeat(deep), close.repeat(deep));
        assert!(parse(&text, FileId(0)).is_ok() || code(&text) == "E0107", "{open}");
        let text = format!("fn f(x) {{ {}x{} }}", open.repeat(deep / 2), close.repeat(deep / 2));
        assert!(parse(&text, FileId(0)).is_ok(), "{open}");
    }
    let loops = format!("fn f(x) {{ {}{} }}", "for i in a { ".repeat(deep), "}".repeat(deep));
    assert!(parse(&loops, FileId(0)).is_ok());
    let parens = format!("fn f(x) {{ {}x{} }}", "(".repeat(deep), ")".repeat(deep));
    assert!(parse(&parens, FileId(0)).is_ok());
}

#[test]
fn deeper_nesting_is_an_error() {
    let n = MAX_NESTING;
    assert_eq!(code(&format!("fn f(x) {{ {}x{} }}", "(".repeat(n), ")".repeat(n))), "E0107");
    assert_eq!(code(&"[".repeat(1000)), "E0107");
    assert_eq!(code(&"{".repeat(1_000_000)), "E0107");
    assert_eq!(code(&format!("fn f(x) {{ {}x }}", "-".repeat(100_000))), "E0107");
    assert_eq!(code(&format!("fn f(x) {{ {}x }}", "not ".repeat(100_000))), "E0107");
    assert_eq!(code(&format!("fn f(x) {{ x{} }}", " ^ x".repeat(100_000))), "E0107");
    assert_eq!(code(&format!("fn f(x) {{ x{} }}", " + x".repeat(100_000))), "E0107");
    assert_eq!(code(&format!("fn f(x) {{ x{} }}", ".y".repeat(100_000))), "E0107");
    assert_eq!(code(&format!("fn f(x) {{ x{} }}", "()".repeat(100_000))), "E0107");
    assert_eq!(code(&format!("fn f(x) {{ {}x {} }}", "if a { b } else ".repeat(10_000), "")), "E0101");
    assert_eq!(code(&format!("fn f(x) {{ {} {{ x }} }}", "if a { b } else ".repeat(10_000))), "E0107");
}

#[test]
fn large_files_are_refused_by_size() {
    assert_eq!(code(&"\n".repeat(MAX_BYTES + 1)), "E0109");
    assert!(parse(&"\n".repeat(MAX_BYTES), FileId(0)).is_ok());
}

#[test]
fn work_is_linear() {
    let fill = |unit: &str| unit.repeat(80_000 / unit.len());
    timed("many functions", &fill("fn f(x) { x }\n"));
    timed("many bad functions", &fill("fn f(x { x }\n"));
    timed("many bad definitions", &fill("fun f(x) { x }\n"));
    timed("many statements", &format!("fn f(x) {{\n{}}}", fill("let a = b * (c + d)\n")));
    timed("many bad statements", &format!("fn f(x) {{\n{}}}", fill("let a b\n")));
    timed("many bad members", &format!("model m {{\n{}}}", fill("features u { a categ }\n")));
    timed("one long list", &format!("fn f(x) {{ [{}] }}", fill("1, ")));
    timed("one long bad list", &format!("fn f(x) {{ [{} 1 1] }}", fill("1, ")));
    timed("bad nested loops", &format!("fn f(x) {{ {} x x {} }}", "for i in a { ".repeat(100), "} ".repeat(100)));
    let mixed = format!("{} x x {}", "f((g = h([".repeat(30), "]))) ".repeat(30));
    timed("bad nested mixture", &format!("fn f(x) {{ {mixed} }}"));
    timed("closing brackets", &fill(")"));
    timed("open brackets on lines", &fill("let a = (\n"));
    timed("open definitions", &fill("\n\nfn f(x) {"));
    timed("quotes", &fill("\""));
    timed("quotes on lines", &fill("\"\n"));
    timed("doc comments", &fill("///\n"));
    timed("file comments", &fill("//!\n"));
    timed("colons", &format!("model m {{ features u {{ {} }} }}", fill("a:")));
    timed("one long use", &fill("use a.b "));
    timed("words", &fill("a "));
    timed("bang", &fill("!"));
    timed("open comment", &fill("/*"));
    timed("characters", &fill("é€"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_words(words in proptest::collection::vec(word(), 0..80)) {
        check(&words.join(" "));
        check(&format!("model m {{\n{}\n}}", words.join(" ")));
        check(&format!("fn f(x) {{\n{}\n}}", words.join(" ")));
    }

    #[test]
    fn any_mutation(
        which in 0..TEXTS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..4, word()), 1..6),
    ) {
        let mut text = TEXTS[which].to_owned();
        for (place, kind, word) in edits {
            let at = place.index(text.len().max(1));
            mutate(&mut text, at, kind, &word);
        }
        check(&text);
    }
}

fn word() -> impl Strategy<Value = String> {
    let words = [
        "fn",
        "model",
        "use",
        "let",
        "layer",
        "param",
        "constant",
        "state",
        "update",
        "for",
        "in",
        "if",
        "else",
        "and",
        "not",
        "over",
        "features",
        "sequence",
        "label",
        "embedding",
        "train",
        "loss",
        "report",
        "key",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "=",
        "==",
        "~",
        "->",
        "=>",
        ".",
        "+",
        "-",
        "*",
        "^",
        "\n",
        "\"",
        "\"a\"",
        "//",
        "///",
        "//!",
        "1",
        "1e-3",
        "24GiB",
        "_",
        "x",
        "category",
        "from",
        "of",
        "é",
        "&&",
        ";",
        "!",
        "'",
        "#",
        "/*",
        "\\",
        "\r\n",
        "\t",
    ];
    proptest::sample::select(words.to_vec()).prop_map(str::to_owned)
}

fn mutate(text: &mut String, at: usize, kind: usize, word: &str) {
    let at = (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap();
    let end = text[at..].char_indices().nth(1 + kind * 3).map_or(text.len(), |(i, _)| at + i);
    match kind {
        0 => text.insert_str(at, word),
        1 => text.replace_range(at..end, ""),
        2 => text.replace_range(at..end, word),
        _ => {
            let piece = text[at..end].to_owned();
            text.insert_str(at, &piece);
        }
    }
}
