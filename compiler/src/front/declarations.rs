//! What the declarations of a model say: features, labels, keys, hyper-parameters and tables.

use crate::graph::GroupId;
use din_grammar::{Span, ast};
use din_program::schema::{Schema, TableSpec};
use rustc_hash::FxHashSet;

#[derive(Clone, Debug)]
pub(super) struct FeatureGroup<'a> {
    pub name: &'a str,
    pub span: Span,
    /// Indices of its features in the schema.
    pub features: std::ops::Range<usize>,
}

/// How the network reads a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableReader {
    /// By its own name, and by `embed` where it is the only table of a feature.
    Name,
    /// By the name of its family (an index), and by `embed` as above.
    Family(usize),
    /// By `embed` alone: the table of a `for each of` without a name.
    Embed,
}

/// The tables of `embedding wide [1] for each of user, ad`.
#[derive(Clone, Debug)]
pub(super) struct TableFamily<'a> {
    pub name: &'a str,
    pub span: Span,
    /// Feature and table, in the order of the groups and their fields.
    pub tables: Vec<(usize, usize)>,
}

/// What the walk knows before the first `let`.
#[derive(Default)]
pub(super) struct Declarations<'a> {
    pub schema: Schema,
    pub groups: Vec<FeatureGroup<'a>>,
    pub feature_spans: Vec<Span>,
    pub label_spans: Vec<Span>,
    pub tables: Vec<TableSpec>,
    pub table_spans: Vec<Span>,
    /// How the network reads each table.
    pub table_readers: Vec<TableReader>,
    pub families: Vec<TableFamily<'a>>,
    /// The options of each table that training reads.
    pub table_settings: Vec<Vec<&'a ast::Setting>>,
    /// Of each table, the rate at which its ids are dropped in training.
    pub table_dropouts: Vec<f64>,
    /// Tables by feature.
    pub tables_of: Vec<Vec<usize>>,
    /// Some table was faulty: a feature without one may be its.
    pub poisoned_tables: bool,
    pub hypers: Vec<(String, f64, Span)>,
    pub used_features: FxHashSet<usize>,
    pub used_tables: FxHashSet<usize>,
}

impl Declarations<'_> {
    /// The group that declares the feature.
    pub fn group_of(&self, feature: usize) -> GroupId {
        let group = self.groups.iter().position(|g| g.features.contains(&feature));
        GroupId(group.expect("every feature is declared in a group") as u32)
    }
}
