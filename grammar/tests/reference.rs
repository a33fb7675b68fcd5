//! The examples of docs/reference are right: `din` blocks are files, `din expression` blocks are expressions; and the page
//! lists exactly the reserved words and the codes that the crate has.
#![allow(clippy::unwrap_used)]

use din_grammar::parse::RESERVED;
use din_grammar::{FileId, format, parse};

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/reference/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The fenced blocks of a page, with what stands behind the fence.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(kind), None) => open = Some((kind.to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((kind, text))) => open = Some((kind, text + line + "\n")),
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn examples_parse_and_are_laid_out() {
    let mut count = 0;
    for (kind, text) in blocks(&page("syntax.md")) {
        match kind.as_str() {
            "din" => assert_eq!(format(&text).unwrap_or_else(|e| panic!("{e:?}\n{text}")), text),
            "din expression" => drop(parse(&format!("regularizer r() = {text}"), FileId(0)).unwrap()),
            _ => continue,
        }
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn reserved_words_and_codes_are_listed() {
    let page = page("syntax.md");
    assert!(page.contains(&format!("`{}`", RESERVED.join(" "))));
    for word in RESERVED {
        assert_eq!(parse(&format!("fn {word}(x) {{ x }}"), FileId(0)).unwrap_err()[0].code, "E0103", "{word}");
    }
    let source = ["scan.rs", "parse/build.rs", "parse/expression.rs", "parse/explain.rs", "parse/recover.rs"]
        .map(|f| std::fs::read_to_string(format!("{}/src/{f}", env!("CARGO_MANIFEST_DIR"))).unwrap())
        .concat();
    for number in 101..=120 {
        let code = format!("E0{number}");
        assert_eq!(source.contains(&format!("\"{code}\"")), page.contains(&format!("| {code} |")), "{code}");
    }
}
