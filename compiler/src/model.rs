//! The checked model: what the front end hands to the rest of the compiler. Every name is resolved,
//! every value typed, functions are inlined, parameters and states have their path names.
#![warn(missing_docs)]

use crate::graph::Graph;
use din_grammar::{SourceMap, Span};
use din_program::SlotScope;
use din_program::schema::{Metric, Output, Parameter, Prediction, Schema, State, TableSpec, Training, UpdateRule};

/// A model that [`crate::front::check`] has accepted.
#[derive(Clone, Debug)]
pub struct CheckedModel {
    /// As the spec names it.
    pub name: String,
    /// All files that it was made from, the spec first.
    pub sources: SourceMap,
    /// The columns of the data that it reads.
    pub schema: Schema,
    /// Its vocabularies whose files were not there: no more is known of them than the OOV row, and
    /// there is no program.
    pub missing_vocabularies: Vec<MissingVocabulary>,
    /// Embedding tables, by index.
    pub tables: Vec<TableSpec>,
    /// Dense parameters, by index.
    pub parameters: Vec<Parameter>,
    /// States, by index.
    pub states: Vec<State>,
    /// One per label that is predicted.
    pub predictions: Vec<Prediction>,
    /// What inference computes beside predictions and loss; see `Program::outputs`.
    pub outputs: Vec<Output>,
    /// What `report` asks for, in its order.
    pub metrics: Vec<Metric>,
    /// The settings of `train`.
    pub training: Training,
    /// The row and tensor update programs; tables and parameters refer to them by index.
    pub updates: Vec<UpdateGraph>,
    /// Where gradients are limited by the norm of all of them: what sums the squares of each, as in
    /// `Program::squared_norms`. Else empty.
    pub squared_norms: Vec<u32>,
    /// `training` is true. Roots: `Loss`, `Prediction`s, `State`s. No gradients yet: `autodiff`
    /// adds them.
    pub train: Graph,
    /// `training` is false. Roots: `Prediction`s, `Output`s, and the `Loss` (for reports).
    pub infer: Graph,
    /// Hyper-parameters and their values, after `--set`.
    pub hypers: Vec<(String, f64)>,
}

/// A vocabulary whose file was not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingVocabulary {
    /// Index into the vocabularies of the schema.
    pub vocabulary: u32,
    /// Where the spec names it.
    pub span: Span,
}

/// What an update runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateScope {
    /// `rows` are rows of a table, values as wide as it: those that the rule says.
    Rows {
        /// Components of a row.
        width: u32,
        /// Which rows a step updates.
        rule: UpdateRule,
    },
    /// `rows` are the elements of a dense tensor, width 1.
    Elements,
}

/// An `optimizer` with the `regularizer` joined to its gradient, as a graph over
/// [`crate::graph::BATCH`] = `rows`. Roots: `Weight` and one `Slot` per slot. Inputs: Weight,
/// Gradient, Slot, Frequency, UpdateCount, InBatch, Step, Epoch, SquaredNorms. What sums the
/// squares of gradients has no `Weight`.
#[derive(Clone, Debug)]
pub struct UpdateGraph {
    /// `adam + adaptive`
    pub name: String,
    /// What it runs over.
    pub scope: UpdateScope,
    /// Optimizer state, by number of the graph's slots.
    pub slots: Vec<OptimizerSlot>,
    /// One step for one row or element.
    pub graph: Graph,
    /// Where the spec asks for the optimizer.
    pub span: Span,
}

/// Optimizer state beside a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerSlot {
    /// As the optimizer declares it: `m`.
    pub name: String,
    /// As wide as the weight (`per weight`), or one value per row (`per row`) or per tensor (`per
    /// tensor`).
    pub per: SlotScope,
    /// The value before the first step.
    pub init: f64,
}
