//! The pages of codes, which `din explain` prints: there is one for each code that the compiler can
//! give, its failing example gives that code first, and its corrected example checks.
//! `DIN_BLESS=1` links the codes of the reference's tables to their pages.

use din_grammar::format;
use din_tests::documents::{codes_of_page, codes_of_sources, diagnostics, examples, is_code, text};
use din_tests::specs::root;
use std::collections::BTreeSet;

/// Codes that no short text of one file gives.
const WITHOUT_FAILING_EXAMPLE: [(&str, &str); 6] = [
    ("E0107", "128 brackets in one line show nothing"),
    ("E0109", "a text of 1 MiB"),
    ("E0205", "two files"),
    ("E0704", "65 files"),
    ("E0901", "the settings of a project"),
    ("E0902", "the settings of a project"),
];

/// Of these, the ones whose remedy is not a text either.
const WITHOUT_CORRECTED_EXAMPLE: [&str; 5] = ["E0109", "E0205", "E0704", "E0901", "E0902"];

fn pages() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("docs/reference/codes")).expect("the folder of pages");
    let names = entries.map(|entry| entry.expect("a folder can be listed").file_name().into_string().expect("UTF-8"));
    names.map(|name| name.strip_suffix(".md").expect("a page").to_owned()).collect()
}

/// Makes each code in the first column of a page's tables a link to its page.
fn link_codes(path: &str) {
    let linked = |line: &str| match line.strip_prefix("| ").and_then(|rest| rest.split_once(" |")) {
        Some((code, rest)) if is_code(code) => format!("| [{code}](codes/{code}.md) |{rest}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    let page: String = text(path).lines().map(linked).collect();
    std::fs::write(root().join(path), page).expect("the page can be written");
}

#[test]
fn every_code_has_a_line_and_a_page() {
    let tables = ["docs/reference/syntax.md", "docs/reference/diagnostics.md"];
    if std::env::var_os("DIN_BLESS").is_some() {
        tables.into_iter().for_each(link_codes);
        return;
    }
    let used = codes_of_sources();
    assert!(used.len() > 100, "only {} codes were found", used.len());
    let list = text("cli/src/codes.rs");
    let list = list.split("= pages! {").nth(1).and_then(|rest| rest.split('}').next()).expect("the list of pages");
    let carried: BTreeSet<String> = list.split_whitespace().map(str::to_owned).collect();
    let mut listed = codes_of_page(tables[0]);
    assert!(listed.iter().all(|code| code.starts_with("E01")), "{listed:?}");
    listed.extend(codes_of_page(tables[1]));
    let places =
        [("the tables of docs/reference", listed), ("docs/reference/codes", pages()), ("cli/src/codes.rs", carried)];
    for (place, found) in places {
        let missing: Vec<_> = used.difference(&found).collect();
        let stale: Vec<_> = found.difference(&used).collect();
        assert!(missing.is_empty() && stale.is_empty(), "{place}: {missing:?} are missing, {stale:?} are not given");
    }
}

#[test]
fn pages_have_one_form() {
    let mut wrong = Vec::new();
    for code in pages() {
        let page = text(&format!("docs/reference/codes/{code}.md"));
        let mut example = false;
        for (index, line) in page.lines().enumerate() {
            example ^= line.starts_with("```");
            if index > 0 && !example && line.chars().count() > 100 && !line.contains("](") {
                wrong.push(format!("{code}:{}: over 100 columns", index + 1));
            }
            // `din explain` prints the text of a link, line by line.
            if !example && line.matches("](").count() != line.matches(".md").count() {
                wrong.push(format!("{code}:{}: a link is broken over two lines", index + 1));
            }
        }
        if !page.starts_with(&format!("# {code}: ")) || !page.contains("\n\nRead on: [") {
            wrong.push(format!("{code}: begins with `# {code}: title` and ends with `Read on: [`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn examples_fail_and_are_corrected() {
    let mut wrong = Vec::new();
    for code in pages() {
        let page = text(&format!("docs/reference/codes/{code}.md"));
        let (mut failing, mut corrected) = (0, 0);
        for example in examples(&page) {
            let at = format!("docs/reference/codes/{code}.md:{}", example.line);
            let found = diagnostics("example.din", &example.text);
            let said: Vec<String> = found.iter().map(|d| format!("{}: {}", d.code, d.message)).collect();
            match example.kind.as_str() {
                "din fails" => {
                    failing += 1;
                    if found.first().is_none_or(|d| d.code != code || d.is_error() != code.starts_with('E')) {
                        wrong.push(format!("{at}: expected {code} first, found {said:?}"));
                    }
                }
                "din" => {
                    corrected += 1;
                    if !found.is_empty() {
                        wrong.push(format!("{at}: expected nothing to be said of it, found {said:?}"));
                    } else if format(&example.text).as_deref() != Ok(example.text.as_str()) {
                        wrong.push(format!("{at}: is not in the layout of `din fmt`"));
                    }
                }
                // A file of several, which imports one that is not there.
                "din fragment" => {
                    if found.iter().any(|d| d.code != "E0201") {
                        wrong.push(format!("{at}: expected only an unknown module, found {said:?}"));
                    }
                }
                "toml" => {}
                other => wrong.push(format!("{at}: unknown kind of example `{other}`")),
            }
        }
        let fails = !WITHOUT_FAILING_EXAMPLE.iter().any(|(without, _)| *without == code);
        let is_corrected = !WITHOUT_CORRECTED_EXAMPLE.contains(&code.as_str());
        if failing != usize::from(fails) || corrected != usize::from(is_corrected) {
            wrong.push(format!("{code}: {failing} failing and {corrected} corrected examples"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
