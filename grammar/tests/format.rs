//! The formatter keeps the tree and the comments, and is idempotent: on the texts of the language's
//! page, on mutations of them, and on generated files with line ends and comments wherever the
//! language allows them.
#![allow(clippy::unwrap_used)]

mod generate;

use din_grammar::{FileId, format, parse};
use proptest::prelude::*;

const TEXTS: [&str; 7] = [
    include_str!("texts/din.din"),
    include_str!("texts/activation.din"),
    include_str!("texts/attention.din"),
    include_str!("texts/layer.din"),
    include_str!("texts/optimizer.din"),
    include_str!("texts/regularizer.din"),
    include_str!("texts/all.din"),
];

/// The tree as text, without its spans.
fn tree(text: &str) -> String {
    let tree = format!("{:?}", parse(text, FileId(0)).unwrap_or_else(|e| panic!("{e:?}\n{text}")));
    let mut out = String::new();
    let mut rest = tree.as_str();
    while let Some(at) = rest.find("Span { file") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = &rest[rest.find('}').unwrap() + 1..];
    }
    out + rest
}

/// Ordinary comments in order, without strings being mistaken for them.
fn comments(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut quoted = false;
        let bytes = line.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'\\' if quoted => i += 1,
                b'"' => quoted = !quoted,
                b'/' if !quoted && bytes.get(i + 1) == Some(&b'/') => {
                    found.push(line[i..].trim_end().to_owned());
                    break;
                }
                _ => {}
            }
            i += 1;
        }
    }
    found
}

fn check(text: &str) -> String {
    let formatted = format(text).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
    assert_eq!(tree(&formatted), tree(text), "{text}\n-----\n{formatted}");
    assert_eq!(comments(&formatted), comments(text), "{text}\n-----\n{formatted}");
    let again = format(&formatted).unwrap();
    assert_eq!(again, formatted, "not idempotent:\n{text}");
    assert!(formatted.is_empty() || formatted.ends_with('\n'));
    assert!(formatted.lines().all(|line| line.trim_end() == line), "blanks at a line's end:\n{formatted}");
    formatted
}

#[test]
fn texts_keep_their_tree() {
    for text in TEXTS {
        check(text);
    }
}

/// Wherever the repository has files of the language, they keep their tree too.
#[test]
fn library_and_models_keep_their_tree() {
    for folder in ["../stdlib", "../models"] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "din") {
                check(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}

#[test]
fn the_model_of_the_language_page_is_laid_out_as_there() {
    let text = TEXTS[0];
    // But for the distance of comments, and of the last column of the features.
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let formatted = check(text);
    assert_eq!(plain(&formatted), plain(text));
    assert_eq!(formatted.lines().count(), text.lines().count());
    let squeezed: String = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect();
    assert_eq!(check(&squeezed), formatted);
}

#[test]
fn a_brace_on_its_own_line_is_put_behind_the_name() {
    let text = TEXTS[0];
    let broken = text.replacen("features user  {", "features user\n  {", 1);
    assert_ne!(broken, text);
    assert_eq!(check(&broken), check(text));
}

#[test]
fn layout() {
    let text = "\
use std.layer.{linear, mlp, // the layers
   interest}
// before
fn f(x: [ n ],y:s=>[ d ])->[ n ]
{ // behind
    // first


    let (a,b)=(x,y)
    let abc = if training { x } else { // c1
      y // c2
      // c3
    } // c4
    let b=-x^2+not (a ) - f( // inside
       a, // one
       b // two
       // three
    ) // end
    if training { a } else if b { c } else { d }
}
regularizer a(x)=x
/// Doc
model m {features u  after   label {a:category(10,clip) c:category  of string   in \"a.txt\" b:number[4] from x} label a : binary missing -1
label bcd: class( 5 )from c
label e: class(\"x\",\"y\",)   missing \"z\"
key abc:int64
train { loss f ( x )
  batch   10 } }";
    let expected = "\
use std.layer.{
    linear,
    mlp,  // the layers
    interest,
}

// before
fn f(x: [n], y: s => [d]) -> [n] {  // behind
    // first

    let (a, b) = (x, y)
    let abc    = if training { x } else {  // c1
        y  // c2
        // c3
    }  // c4
    let b = -x ^ 2 +
        not (a) -
        f(  // inside
            a,  // one
            b,  // two
            // three
        )  // end
    if training { a } else if b { c } else { d }
}

regularizer a(x) = x

/// Doc
model m {
    features u after label { a: category(10, clip)   c: category of string in \"a.txt\"   b: number[4] from x }
    label a: binary missing -1
    label bcd: class(5) from c
    label e: class(\"x\", \"y\") missing \"z\"
    key   abc: int64
    train {
        loss  f(x)
        batch 10
    }
}
";
    let formatted = check(text);
    assert_eq!(formatted, expected, "\n{formatted}");
}

#[test]
fn long_lines_are_broken() {
    let call = format!("fn f(x) {{ g({}) }}", ["a_rather_long_name"; 10].join(", "));
    let formatted = check(&call);
    assert!(formatted.lines().all(|line| line.len() <= 120), "{formatted}");
    assert!(formatted.contains("        a_rather_long_name,\n    )\n"), "{formatted}");
    let sum = format!("fn f(x) {{ {} }}", ["a_rather_long_name"; 10].join(" + "));
    assert!(check(&sum).lines().all(|line| line.len() <= 120));
}

#[test]
fn wrong_text_is_not_formatted() {
    assert_eq!(format("fn f(x) { let }").unwrap_err()[0].code, "E0101");
}

/// Every spec of the repository that parses.
fn specs() -> Vec<String> {
    fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "din") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    for folder in ["../stdlib", "../models", "../bench", "../tests/reference", "../tests/ui", "texts", "tests/texts"] {
        let folder = std::path::Path::new(folder);
        if folder.is_dir() {
            walk(folder, &mut paths);
        }
    }
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts.filter(|text| parse(text, FileId(0)).is_ok()).collect()
}

/// The text with another layout but the same tree: bodies joined on one line, blanks and empty
/// lines anywhere, line ends in brackets. `next(n)` chooses a number below `n`.
fn laid_anew(text: &str, mut next: impl FnMut(usize) -> usize) -> String {
    let wanted = tree(text);
    let mut text: String = text.to_owned();
    // Bodies on one line, where the grammar lets them be.
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|i| at + i) {
        at = open + 1;
        let Some(close) = closing(&text, open) else { continue };
        if next(3) == 0 {
            continue;
        }
        let body = &text[open..=close];
        if body.contains('\n') && !body.contains("//") && !body.contains('"') {
            let joined = format!(
                "{}{}{}",
                &text[..open],
                body.split_whitespace().collect::<Vec<_>>().join(" "),
                &text[close + 1..]
            );
            if parse(&joined, FileId(0)).is_ok() && tree(&joined) == wanted {
                text = joined;
            }
        }
    }
    // Blanks, outside of strings and comments.
    let mut out = String::new();
    let mut depth = Vec::new();
    let mut line_start = true;
    for line in text.lines() {
        let code = line.split("//").next().unwrap();
        if code.contains('"') || line.trim_start().starts_with("//") {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        for c in code.chars() {
            match c {
                '(' | '[' | '{' => depth.push(c),
                ')' | ']' | '}' => drop(depth.pop()),
                _ => {}
            }
            out.push(c);
            let inside = matches!(depth.last(), Some('(' | '['));
            if c == ' ' && !line_start {
                out.push_str(["", " ", "   ", if inside { "\n " } else { "\t" }][next(4)]);
            } else if inside && matches!(c, ',' | '(' | '[') {
                out.push_str(["", " ", "\n", "\n\n     "][next(4)]);
            }
            line_start &= c == ' ';
        }
        out.push_str(&line[code.len()..]);
        out.push_str(["\n", "\n", "\n", "\n\n", "\n   \n\n", "\n      "][next(6)]);
        line_start = true;
    }
    out
}

/// The brace that closes the one at `open`, by counting.
fn closing(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(open + i),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// From the reviews: a block of features on one line that does not fit gets its columns at once.
#[test]
fn a_block_that_does_not_fit_on_its_line_has_columns() {
    let fields =
        "user_id_number_one: category  gender_of_the_user: category(3)  city: category of string  item_id: category";
    let text = format!("model m {{\n    features first {{ {fields} }}\n    features b {{ a: number }}\n}}\n");
    let expected = "\
model m {
    features first {
        user_id_number_one: category
        gender_of_the_user: category(3)
        city:               category of string
        item_id:            category
    }
    features b { a: number }
}
";
    assert_eq!(check(&text), expected);
    let settings = "loss cross_entropy(click) + 0.5 * cross_entropy(bought)  optimizer adam(lr = 1e-3)  batch 1024  epochs 2  seed 7";
    let formatted = check(&format!("model m {{ train {{ {settings} }} }}"));
    assert!(formatted.contains("\n        batch     1024\n        epochs    2\n"), "{formatted}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_layout_of_a_spec(
        which in any::<prop::sample::Index>(),
        choices in proptest::collection::vec(any::<u8>(), 64..512),
    ) {
        static SPECS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
        let specs = SPECS.get_or_init(specs);
        prop_assert!(specs.len() > 100, "{} specs", specs.len());
        let mut i = 0;
        let text = laid_anew(&specs[which.index(specs.len())], |n| {
            i += 1;
            usize::from(choices[i % choices.len()]) % n
        });
        prop_assert!(parse(&text, FileId(0)).is_ok(), "{}", text);
        check(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_files(text in generate::file()) {
        check(&text);
    }

    #[test]
    fn mutations(
        which in 0..TEXTS.len(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..9), 1..8),
    ) {
        let mut text = TEXTS[which].to_owned();
        for (place, kind) in edits {
            let at = place.index(text.len());
            if text.is_char_boundary(at) {
                let what = ["\n", "\n\n\n", " // c\n", "  ", "// d\n", "\n/// e\n", "\t", "\r\n", "\n    // f\n\n"][kind];
                text.insert_str(at, what);
            }
        }
        // Most such files are still right: line ends and comments may stand almost anywhere in
        // brackets.
        if parse(&text, FileId(0)).is_ok() {
            check(&text);
        }
    }
}
