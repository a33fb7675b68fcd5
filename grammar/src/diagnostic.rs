//! Diagnostics: one [`Diagnostic`] per independent fault of the input, with a stable code, labelled
//! spans in one or more files, what was expected and found, and one help. `render` prints them.

use crate::span::Span;
use serde::{Deserialize, Serialize};

/// How grave a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// There is no model.
    Error,
    /// The model is used as it is, unless `check` is told to deny it.
    Warning,
}

/// A span and the text that is printed there. The first label of a diagnostic is the primary one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledSpan {
    /// The place.
    pub span: Span,
    /// What is said there; may be empty.
    pub text: String,
}

/// A replacement of text that an editor can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextReplacement {
    /// What is replaced; empty where text is added.
    pub span: Span,
    /// What stands there instead.
    pub text: String,
}

/// What is said of one fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Whether it is an error.
    pub severity: Severity,
    /// Stable, such as `E0301`; listed in docs/reference/diagnostics.md. By hundreds: E01xx syntax,
    /// E02xx names and imports, E03xx types, shapes and axes, E04xx features and tables, E05xx
    /// parameters, state and sharing, E06xx training, loss and report, E07xx limits; W.... the same
    /// ranges for warnings.
    pub code: &'static str,
    /// One line without the place: what is wrong.
    pub message: String,
    /// Places, the primary one first; never empty.
    pub labels: Vec<LabelledSpan>,
    /// Extra lines: `expected …`, `found …`, the trace of calls.
    pub notes: Vec<String>,
    /// One way to fix it.
    pub help: Option<String>,
    /// The help as edits that are made together, where it says all that is to be written; else
    /// empty.
    pub edits: Vec<TextReplacement>,
}

impl Diagnostic {
    /// An error whose primary label is `label` at `span`.
    pub fn error(code: &'static str, message: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message, span, label)
    }

    /// A warning whose primary label is `label` at `span`.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message, span, label)
    }

    fn new(
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        label: impl Into<String>,
    ) -> Self {
        let labels = vec![LabelledSpan { span, text: label.into() }];
        Self { severity, code, message: message.into(), labels, notes: Vec::new(), help: None, edits: Vec::new() }
    }

    /// With another label.
    #[must_use]
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(LabelledSpan { span, text: text.into() });
        self
    }

    /// With another note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// With this help.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// With an edit that does what the help says.
    #[must_use]
    pub fn edit(mut self, span: Span, text: impl Into<String>) -> Self {
        self.edits.push(TextReplacement { span, text: text.into() });
        self
    }

    /// With the help that the word at `span` was probably meant to be `word`, and the edit.
    #[must_use]
    pub fn did_you_mean(self, span: Span, word: &str) -> Self {
        self.help(format!("did you mean `{word}`?")).edit(span, word)
    }

    /// What its edits do, for a menu.
    pub fn edit_title(&self) -> String {
        match self.edits.as_slice() {
            [only] if only.text.is_empty() => "remove it".to_owned(),
            [only] if only.span.start < only.span.end => format!("replace it by `{}`", only.text.trim()),
            [only] => format!("add `{}`", only.text.trim()),
            _ => self.help.clone().unwrap_or_else(|| self.message.clone()),
        }
    }

    /// Whether it is an error rather than a warning.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
