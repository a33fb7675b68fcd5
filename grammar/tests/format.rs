//! The formatter keeps the tree and the comments, and is idempotent: on the texts of the language's page, on mutations of
//! them, and on generated files with line ends and comments wherever the language allows them.
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
model m {features u {a:category(10,clip) b:number[4] from x} label a : binary missing -1
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
    features u { a: category(10, clip)   b: number[4] from x }
    label a: binary missing -1
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_files(text in generate::file()) {
        check(&text);
    }

    #[test]
    fn mutations(which in 0..TEXTS.len(), edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..9), 1..8)) {
        let mut text = TEXTS[which].to_owned();
        for (place, kind) in edits {
            let at = place.index(text.len());
            if text.is_char_boundary(at) {
                let what = ["\n", "\n\n\n", " // c\n", "  ", "// d\n", "\n/// e\n", "\t", "\r\n", "\n    // f\n\n"][kind];
                text.insert_str(at, what);
            }
        }
        // Most such files are still right: line ends and comments may stand almost anywhere in brackets.
        if parse(&text, FileId(0)).is_ok() {
            check(&text);
        }
    }
}
