//! Targets that take the text of a spec.

use super::Outcome;
use din_compiler::front::{self, CheckOptions, NoFiles};
use din_grammar::{Diagnostic, FileId, SourceMap, Style, format, parse, render};

const NAME: &str = "fuzz.din";

/// Parses, and renders what is wrong in every style.
///
/// # Panics
///
/// Where an error has no place, or no style shows it.
pub fn parser(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    let mut sources = SourceMap::default();
    let file = sources.add(NAME, text.clone());
    match parse(&text, file) {
        Ok(_) => Outcome::Accepted,
        Err(errors) => {
            assert!(!errors.is_empty(), "the text is refused without an error");
            shown(&errors, &sources);
            Outcome::Refused
        }
    }
}

/// Checks the text as a model and as a library, without files to import.
///
/// # Panics
///
/// Where the text has neither a model nor an error, or both.
pub fn checker(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    let checked = front::check(NAME, &text, &NoFiles, &CheckOptions::default());
    let errors = checked.diagnostics.iter().any(Diagnostic::is_error);
    assert_eq!(checked.model.is_none(), errors, "there is a model exactly where there is no error");
    shown(&checked.diagnostics, &checked.sources);
    let (diagnostics, sources) = front::check_library(NAME, &text, &NoFiles);
    shown(&diagnostics, &sources);
    Outcome::of(checked.model.is_some())
}

/// Formats, and formats the result.
///
/// # Panics
///
/// Where the result is another tree, or is not its own format, or a text is formatted that does not
/// parse.
pub fn formatter(data: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(data);
    let Ok(formatted) = format(&text) else {
        assert!(parse(&text, FileId::default()).is_err(), "a text that parses is not formatted");
        return Outcome::Refused;
    };
    assert_eq!(tree(&formatted), tree(&text), "the formatted text means something else:\n{formatted}");
    assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "formatting again changes the text");
    Outcome::Accepted
}

/// Every style renders every diagnostic, which has a place.
fn shown(diagnostics: &[Diagnostic], sources: &SourceMap) {
    assert!(diagnostics.iter().all(|d| !d.labels.is_empty()), "a diagnostic has no place: {diagnostics:?}");
    for style in [Style::Human { color: false }, Style::Human { color: true }, Style::Concise, Style::Json] {
        let text = render(diagnostics, sources, style);
        assert_eq!(text.is_empty(), diagnostics.is_empty(), "{style:?}");
    }
}

/// The syntax tree of a text that parses, as text without its spans.
fn tree(text: &str) -> String {
    let tree = parse(text, FileId::default()).expect("what is formatted parses");
    let tree = format!("{tree:?}");
    let mut parts = tree.split("Span { file");
    let first = parts.next().expect("a split has a first part").to_string();
    parts.fold(first, |out, part| {
        let (_, rest) = part.split_once('}').expect("a span ends");
        out + rest
    })
}
