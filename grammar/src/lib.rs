//! The syntax of Din: text to a typed syntax tree with spans, diagnostics and their rendering, and
//! the formatter. Knows nothing of meaning: names are not resolved and types not checked here.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[allow(missing_docs, reason = "the names are those of the grammar in docs/reference/syntax.md")]
pub mod ast;
pub mod diagnostic;
pub mod format;
#[allow(missing_docs, reason = "pest generates an enum of the rules in din.pest")]
pub mod parse;
pub mod parts;
pub mod render;
mod scan;
pub mod span;
pub mod suggest;

pub use diagnostic::{Diagnostic, LabelledSpan, Severity, TextReplacement};
pub use format::format;
pub use parse::{parse, parse_recovering};
pub use render::{Style, render};
pub use scan::MEMBER_WORDS;
pub use span::{FileId, SourceFile, SourceMap, Span};
