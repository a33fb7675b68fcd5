//! Hyper-parameters and the spaces that they are searched in.

use super::elaborator::Elaborator;
use super::load::Loader;
use super::scope::NameScope;
use super::{CheckOptions, SourceProvider, sorted, vocabulary};
use din_grammar::{Diagnostic, SourceMap};

/// A hyper-parameter of a model, as it is with the values that are set.
#[derive(Clone, Debug, PartialEq)]
pub struct HyperParameter {
    /// Its name.
    pub name: String,
    /// `None` where its condition does not hold: it is not there.
    pub value: Option<f64>,
    /// What `in` says.
    pub space: Option<SearchSpace>,
}

impl HyperParameter {
    /// Name and value, if it is there.
    pub(super) fn there(&self) -> Option<(String, f64)> {
        self.value.map(|value| (self.name.clone(), value))
    }
}

/// Where a hyper-parameter may lie.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchSpace {
    /// `in [16, 32]`: at least one value, in the order of the spec.
    Choices(Vec<f64>),
    /// `in linear(low, high)`, with `low < high`.
    Linear {
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
    },
    /// `in log(low, high)`, with `0 < low < high`: its logarithm lies evenly.
    Log {
        /// The least value.
        low: f64,
        /// The greatest value.
        high: f64,
    },
}

impl SearchSpace {
    /// Whether a value lies in it.
    pub fn contains(&self, value: f64) -> bool {
        match self {
            Self::Choices(choices) => choices.contains(&value),
            Self::Linear { low, high } | Self::Log { low, high } => *low <= value && value <= *high,
        }
    }
}

/// The outcome of [`hyper_parameters`].
#[derive(Debug)]
pub struct HyperOutcome {
    /// In the order of the spec; empty where something is wrong.
    pub hypers: Vec<HyperParameter>,
    /// In source order within a file.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that the diagnostics have places in.
    pub sources: SourceMap,
}

/// The hyper-parameters of the model in `text`, with the values that are set. Nothing else of the
/// model is checked: it may be one that is wrong until other hyper-parameters are set too.
pub fn hyper_parameters(name: &str, text: &str, provider: &dyn SourceProvider, options: &CheckOptions) -> HyperOutcome {
    let mut loader = Loader::new(provider);
    let root = loader.root(name, text);
    let sets = loader.settings(&options.sets);
    let Loader { modules, sources, diagnostics, .. } = loader;
    let Some(root) = root else {
        return HyperOutcome { hypers: Vec::new(), diagnostics: sorted(diagnostics), sources };
    };
    let vocabularies = vocabulary::Vocabularies::default();
    let mut elaborator = Elaborator::new(&modules, &sources, &vocabularies);
    elaborator.diagnostics = diagnostics;
    if let Some(model) = modules[root].file.models().next() {
        elaborator.hypers(&mut NameScope::new(root, None), model, &sets);
    }
    let mut hypers = std::mem::take(&mut elaborator.declarations.hypers);
    if elaborator.has_errors() {
        hypers.clear();
    }
    let diagnostics = sorted(std::mem::take(&mut elaborator.diagnostics));
    drop(elaborator);
    HyperOutcome { hypers, diagnostics, sources }
}
