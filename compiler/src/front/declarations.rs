//! What the declarations of a model say: features, labels, keys, hyper-parameters and tables.

use super::computed::GapColumns;
use super::field::FieldGroup;
use super::search::HyperParameter;
use crate::graph::GroupId;
use crate::model::MissingVocabulary;
use din_grammar::{Span, ast};
use din_program::schema::{Missing, Schema, TableSpec};
use rustc_hash::{FxHashMap, FxHashSet};

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

/// `category of (user.gender, ad.cate_id)`, whose parts are not looked up yet.
pub(super) struct PendingCross<'a> {
    /// Index of the cross in the schema.
    pub feature: usize,
    pub fields: &'a [ast::FieldPath],
    pub span: Span,
}

/// A field that is made of two columns of times, which are no features yet.
#[derive(Clone)]
pub(super) struct PendingGap<'a> {
    /// Index of the field, or of its mark, in the schema.
    pub feature: usize,
    pub group: FieldGroup<'a>,
    pub columns: GapColumns,
    /// What a missing time becomes.
    pub missing: Option<Missing>,
}

/// `known at clicked_at before shown_at`, whose columns are no features yet.
pub(super) struct PendingKnown<'a> {
    pub group: FieldGroup<'a>,
    pub times: &'a ast::Ident,
    pub moment: &'a ast::Ident,
    pub span: Span,
}

/// How the vectors of a list become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Sum,
    Mean,
    /// Their sum divided by the square root of their number.
    SquareRoot,
    Max,
}

/// A list that is read as one vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct PooledField {
    pub by: Pooling,
    /// Index of the weights in the schema.
    pub weights: Option<usize>,
}

/// The weights of a pooled list: its group, its name, and their column.
pub(super) type PendingWeights<'a> = (FieldGroup<'a>, &'a ast::Ident, &'a ast::Ident);

/// What the walk knows before the first `let`.
#[derive(Default)]
pub(super) struct Declarations<'a> {
    pub schema: Schema,
    /// Its vocabularies whose files are not there.
    pub missing_vocabularies: Vec<MissingVocabulary>,
    pub groups: Vec<FeatureGroup<'a>>,
    pub feature_spans: Vec<Span>,
    /// Crosses, the features whose lists have weights, gaps, and times that are checked, until all
    /// groups are declared.
    pub crosses: Vec<PendingCross<'a>>,
    pub weights: Vec<(usize, PendingWeights<'a>)>,
    pub gaps: Vec<PendingGap<'a>>,
    pub known: Vec<PendingKnown<'a>>,
    /// By feature.
    pub pooled: FxHashMap<usize, PooledField>,
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
    /// Those that are there, and those whose condition does not hold.
    pub hypers: Vec<HyperParameter>,
    pub used_features: FxHashSet<usize>,
    /// Features and labels that the model names, whether or not that comes to something.
    pub named_features: FxHashSet<usize>,
    pub named_labels: FxHashSet<usize>,
    pub used_tables: FxHashSet<usize>,
    /// Features without a table that were reported.
    pub tableless: FxHashSet<usize>,
}

impl Declarations<'_> {
    /// Whether the file of a vocabulary is not there.
    pub fn is_missing(&self, vocabulary: u32) -> bool {
        self.missing_vocabularies.iter().any(|missing| missing.vocabulary == vocabulary)
    }

    /// Notes that the network reads a feature, and so what that is made of.
    pub fn use_feature(&mut self, feature: usize) {
        self.used_features.insert(feature);
        if let Some(combination) = self.schema.features[feature].combination() {
            self.used_features.extend(combination.parts().iter().map(|&part| part as usize));
        }
    }

    /// Whether the model declares something of this name.
    pub fn declares(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group.name == name)
            || self.tables.iter().any(|table| table.name == name)
            || self.families.iter().any(|family| family.name == name)
            || self.hypers.iter().any(|hyper| hyper.value.is_some() && hyper.name == name)
            || self.schema.labels.iter().any(|label| label.name == name)
            || self.schema.keys.iter().any(|key| key.name == name)
    }

    /// The group that declares the feature.
    pub fn group_of(&self, feature: usize) -> GroupId {
        let group = self.groups.iter().position(|g| g.features.contains(&feature));
        GroupId(group.expect("every feature is declared in a group") as u32)
    }
}
