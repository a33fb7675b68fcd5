//! The front end: source text to a checked [`Model`].
//!
//! Resolving, checking and elaborating are one walk: a function body is interpreted abstractly at every instantiation, with numbers,
//! lists and functions known at compile time and tensors as graph nodes. It runs twice, for the training graph (`training` is true) and the
//! inference graph, over one list of parameters and states.
//!
//! Guarantees: every independent fault is reported once and nothing that follows from it (a faulty value is *poison*, which every operation
//! passes on); never a panic, whatever the text; bounded depth and work; the same text gives the same model.

use crate::model::Model;
use din_grammar::{Diagnostic, SourceMap};

/// Where imported files beside the model come from; `std.*` is embedded and never asked for.
pub trait SourceProvider {
    /// Display name and text of module `towers` or `shared.towers`; `None` where there is none.
    fn read(&self, module: &[String]) -> Option<(String, String)>;
}

/// A provider without files: only `std.*` can be imported.
pub struct NoFiles;

impl SourceProvider for NoFiles {
    fn read(&self, _module: &[String]) -> Option<(String, String)> {
        None
    }
}

/// What the command line adds to the text.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--set name=value`, in order.
    pub sets: Vec<(String, String)>,
}

/// The outcome of [`check`]: `model` is there exactly when no diagnostic is an error.
#[derive(Debug)]
pub struct Checked {
    pub model: Option<Model>,
    /// In source order within a file.
    pub diagnostics: Vec<Diagnostic>,
    pub sources: SourceMap,
}

/// Checks the model in `text`; `name` is how diagnostics call the file.
pub fn check(name: &str, text: &str, _provider: &dyn SourceProvider, _options: &Options) -> Checked {
    let mut sources = SourceMap::default();
    sources.add(name, text);
    Checked { model: None, diagnostics: Vec::new(), sources }
}

/// Checks a file without a model: names and arity everywhere, and every definition instantiated at sample sizes where the types of its
/// parameters say which.
pub fn check_library(name: &str, text: &str, _provider: &dyn SourceProvider) -> (Vec<Diagnostic>, SourceMap) {
    let mut sources = SourceMap::default();
    sources.add(name, text);
    (Vec::new(), sources)
}
