//! The examples of docs/reference/syntax.md are right: `din` blocks are files, `din expression`
//! blocks are expressions; and the page lists exactly the reserved words that the crate has.
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
            "din" | "din fragment" => assert_eq!(format(&text).unwrap_or_else(|e| panic!("{e:?}\n{text}")), text),
            "din expression" => drop(parse(&format!("regularizer r() = {text}"), FileId(0)).unwrap()),
            _ => continue,
        }
        count += 1;
    }
    assert_eq!(count, 5);
}

#[test]
fn reserved_words_are_listed() {
    let page = page("syntax.md");
    assert!(page.contains(&format!("`{}`", RESERVED.join(" "))));
    for word in RESERVED {
        assert_eq!(parse(&format!("fn {word}(x) {{ x }}"), FileId(0)).unwrap_err()[0].code, "E0103", "{word}");
    }
}

/// Rules of `din.pest` that are part of a production of another name on the page.
const PART_OF: [(&str, &str); 61] = [
    ("on_schema", "model"),
    ("in_training", "test"),
    ("given_type", "given"),
    ("given_axis", "given"),
    ("tolerance", "expect"),
    ("list_type", "type"),
    ("ty_of_item", "item"),
    ("plain_type", "item"),
    ("for_each", "for"),
    ("tuple", "kind"),
    ("computed", "source"),
    ("missing_list", "sequence"),
    ("replacement", "missing"),
    ("marked", "mark"),
    ("minus", "literal"),
    ("import_path", "import"),
    ("import_group", "import"),
    ("import_name", "import"),
    ("alias", "import"),
    ("scope", "optimizer"),
    ("result", "function"),
    ("ty", "type"),
    ("fn_type", "type"),
    ("ragged", "type"),
    ("dimension", "shape"),
    ("let_", "statement"),
    ("layer", "statement"),
    ("parameter_list", "statement"),
    ("constant_list", "statement"),
    ("state_list", "statement"),
    ("update", "statement"),
    ("assign", "statement"),
    ("for_loop", "statement"),
    ("prefix", "operand"),
    ("infix", "expression"),
    ("call", "operand"),
    ("second_name", "operand"),
    ("argument_name", "argument"),
    ("list", "primary"),
    ("group", "primary"),
    ("if_", "primary"),
    ("keep", "sequence"),
    ("fields", "features"),
    ("feature_field", "field"),
    ("feature_body", "field"),
    ("category", "kind"),
    ("category_size", "kind"),
    ("vocabulary", "kind"),
    ("numeric", "kind"),
    ("classes", "label"),
    ("column", "field"),
    ("after_label", "field"),
    ("known_at", "known"),
    ("assertion", "assert"),
    ("reported", "report"),
    ("each_of", "embedding"),
    ("field_paths", "embedding"),
    ("field_path", "path"),
    ("for_weights", "setting"),
    ("vectors", "setting"),
    ("admission", "setting"),
];

/// Rules that say how a text is read, described under *Text*, and those that only divide others.
const WITHOUT_PRODUCTION: [&str; 26] = [
    "end_of_test_part",
    "test_word",
    "WHITESPACE",
    "nl",
    "heading",
    "letter",
    "reserved",
    "identifier",
    "any_word",
    "digits",
    "count",
    "number",
    "string",
    "hole",
    "file_doc",
    "doc",
    "end_of_statement",
    "statement_word",
    "end_of_member",
    "member_word",
    "end_of_setting",
    "setting_word",
    "embedding_head",
    "width",
    "setting_body",
    "updates",
];

/// What a user can write is on the page: each rule of the grammar has its production, and each of
/// its words stands there.
#[test]
fn the_grammar_is_on_the_page() {
    let page = page("syntax.md");
    let productions: String =
        blocks(&page).into_iter().filter(|(kind, _)| kind == "text").map(|(_, text)| text).collect();
    let produced = |name: &str| productions.lines().any(|l| l.split_once('=').is_some_and(|(n, _)| n.trim() == name));
    let grammar = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/din.pest")).unwrap();
    let (mut rules, mut words, mut wrong) = (0, 0, Vec::new());
    for line in grammar.lines().filter(|line| !line.starts_with("//")) {
        let rule = line.split_once(" = ").or(line.split_once("= ")).map(|(name, _)| name.trim());
        let rule = rule.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'));
        if let Some(rule) = rule.filter(|rule| !["k_", "p_", "lone_"].iter().any(|prefix| rule.starts_with(prefix))) {
            rules += 1;
            let part = PART_OF.iter().find(|(part, _)| *part == rule).map(|(_, whole)| *whole);
            if !WITHOUT_PRODUCTION.contains(&rule) && !produced(part.unwrap_or(rule)) {
                wrong.push(format!("the rule `{rule}` has no production on the page"));
            }
        }
        // A word of the grammar is written in quotes there too; those of settings and operators
        // stand in the text.
        let words_of_line = line.split('"').skip(1).step_by(2);
        for word in words_of_line.filter(|w| w.len() > 1 && w.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
            words += 1;
            let there = match rule.is_some_and(|rule| rule.starts_with("k_")) {
                true => productions.contains(&format!("'{word}'")),
                false => page.split(['`', '\'', ' ', '|']).any(|part| part == word),
            };
            if !there {
                wrong.push(format!("the word `{word}` is not on the page"));
            }
        }
    }
    assert!(rules > 60 && words > 100, "only {rules} rules and {words} words were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
