//! The examples of docs/reference are right: `din` blocks are files, `din expression` blocks are
//! expressions; and the page lists exactly the reserved words and the codes that the crate has.
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
    let source = [
        "scan/mod.rs",
        "scan/brackets.rs",
        "parse/build.rs",
        "parse/expression.rs",
        "parse/explain.rs",
        "parse/recover.rs",
    ]
    .map(|f| std::fs::read_to_string(format!("{}/src/{f}", env!("CARGO_MANIFEST_DIR"))).unwrap())
    .concat();
    for number in 101..=120 {
        let code = format!("E0{number}");
        assert_eq!(source.contains(&format!("\"{code}\"")), page.contains(&format!("| {code} |")), "{code}");
    }
}

/// Every code that the compiler gives is listed, and no other.
#[test]
fn diagnostics_are_listed() {
    let mut used = std::collections::BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../compiler/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                used.extend(text.split('"').filter(|t| is_code(t)).map(str::to_owned));
            }
        }
    }
    let page = page("diagnostics.md");
    let cells = page.lines().filter_map(|l| l.strip_prefix("| ")?.split(' ').next());
    let listed: std::collections::BTreeSet<String> = cells.filter(|t| is_code(t)).map(str::to_owned).collect();
    // Codes of syntax are on their own page.
    used.retain(|code| !code.starts_with("E01"));
    let missing: Vec<_> = used.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&used).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/reference/diagnostics.md lacks {missing:?}, and lists {stale:?}"
    );
}

fn is_code(text: &str) -> bool {
    text.len() == 5
        && text.starts_with(['E', 'W'])
        && text[1..].starts_with('0')
        && text[1..].bytes().all(|b| b.is_ascii_digit())
}
