//! The syntax of Din: text to a typed syntax tree with spans, diagnostics and their rendering, and the formatter.
//! Knows nothing of meaning: names are not resolved and types not checked here.

pub mod ast;
pub mod diagnostic;
pub mod format;
pub mod parse;
pub mod render;
mod scan;
pub mod span;
pub mod suggest;

pub use diagnostic::{Diagnostic, LabelledSpan, Severity};
pub use format::format;
pub use parse::parse;
pub use render::{Style, render};
pub use span::{FileId, SourceFile, SourceMap, Span};
