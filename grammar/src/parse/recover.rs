//! stub
use super::{Grammar, Rule};
use crate::scan::Scan;
use crate::{Diagnostic, FileId, Span};
use pest::Parser;

pub(super) fn errors(_text: &str, file: FileId, scan: Scan) -> Vec<Diagnostic> {
    let mut errors = scan.errors;
    if errors.is_empty()
        && let Err(e) = Grammar::parse(Rule::file, &scan.cooked)
    {
        let at = match e.location {
            pest::error::InputLocation::Pos(p) => p,
            pest::error::InputLocation::Span((a, _)) => a,
        };
        errors.push(Diagnostic::error("E0101", format!("{}", e.variant.message()), Span::new(file, at, at), "here"));
    }
    errors
}
