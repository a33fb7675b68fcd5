//! Words for what the grammar refused.
use crate::{Diagnostic, Span};

pub(super) fn reserved_name(word: &str, span: Span) -> Diagnostic {
    Diagnostic::error("E0103", format!("`{word}` is a reserved word"), span, "used as a name")
        .help(format!("choose another name, such as `{word}_`"))
}
