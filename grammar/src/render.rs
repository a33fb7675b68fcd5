//! Diagnostics as text.
use crate::{Diagnostic, SourceMap};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Human { color: bool },
    Concise,
    Json,
}

/// Draws the diagnostics, in their order.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap, _style: Style) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let at = d.labels.first().map(|l| sources.location(l.span)).unwrap_or_default();
        out.push_str(&format!("{at}: error[{}]: {}\n", d.code, d.message));
    }
    out
}
