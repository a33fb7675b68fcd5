//! Embedding tables: which features they hold, their rows and options.

use super::declarations::{TableFamily, TableReader};
use super::elaborator::Elaborator;
use super::load::listed;
use super::scope::{NameScope, Referent};
use super::value::{Callee, ExprValue, nearest, number_text};
use crate::graph::Shape;
use din_grammar::ast::{self, EmbeddingTarget, ExprKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{
    Admission, ColumnValues, Combination, Feature, FeatureKind, FeatureSource, Init, KeyType, Made, TableKind,
    TableSpec, UpdateRule, VectorFile,
};
use std::rc::Rc;

/// What a table may be given in braces.
pub(super) const OPTIONS: [&str; 5] = ["init", "regularize", "optimizer", "dropout", "admit"];

const ADMIT_HELP: &str = "write `admit when frequency >= 5` or `admit top 1000000 by frequency`";

impl<'a> Elaborator<'a> {
    pub fn embedding(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Embedding, span: Span) {
        let value = self.expr(scope, &e.width);
        let width = self.size(value, "the width of a table", e.width.span);
        let mut options: Vec<&'a ast::Setting> = Vec::new();
        for option in &e.options {
            let word = option.word.name.as_str();
            self.updates_elsewhere(option);
            self.weights_elsewhere(option, false);
            if !OPTIONS.contains(&word) {
                match super::value::reserved(word) {
                    Some(r) => self.not_built(r.what, r.instead, option.word.span),
                    None => self.unknown_word("E0409", "option of a table", &option.word, &OPTIONS),
                };
                continue;
            }
            if let Some(first) = options.iter().find(|o| o.word.name == word) {
                let d = Diagnostic::error("E0605", format!("`{word}` is given twice"), option.word.span, "again here");
                self.report(d.label(first.word.span, "first here").help("remove one of them"));
                continue;
            }
            if self.old_dense_updates(option) {
                continue;
            }
            let one = option.values.len() == 1 || option.file.is_some();
            if !one && word != "admit" {
                let from = option.values.first().is_some_and(|v| matches!(&v.kind, ExprKind::Name(n) if n == "from"));
                let help = match word {
                    "init" if from => "a file is named by a string: `init from \"vectors.safetensors\"`".into(),
                    _ => format!("write `{word}` and one value on its line"),
                };
                self.report(
                    Diagnostic::error(
                        "E0607",
                        format!("`{word}` takes one value"),
                        option.span,
                        format!("{}", option.values.len()),
                    )
                    .help(help),
                );
                continue;
            }
            options.push(option);
        }
        let admission = self.admission(scope, &options);
        let init = match options.iter().find_map(|o| if o.word.name == "init" { o.values.first() } else { None }) {
            Some(value) => {
                let shape = Shape::vector(width.unwrap_or(1));
                self.init(scope, Some(value), &shape)
            }
            None => Some(Init::Normal(0.01)),
        };
        let dropout = match options.iter().find(|o| o.word.name == "dropout").and_then(|o| o.values.first()) {
            Some(rate) => {
                let value = self.expr(scope, rate);
                self.dropout_rate(value, rate.span)
            }
            None => Some(0.0),
        };
        let dropout = dropout.unwrap_or(0.0);
        let (Some(width), Some(init)) = (width, init) else {
            self.declarations.poisoned_tables = true;
            if let Some(name) = e.name() {
                self.claim(scope, name, Referent::Value(ExprValue::Poison));
            }
            return;
        };
        match &e.target {
            EmbeddingTarget::Fields { name, paths } => {
                let mut features = Vec::new();
                let mut spans = Vec::new();
                for path in paths {
                    match self.table_feature(scope, path) {
                        Some(f) if features.contains(&(f as u32)) => {
                            let text = self.declarations.schema.features[f].path();
                            let d = Diagnostic::error(
                                "E0412",
                                format!("`{text}` is listed twice"),
                                path.span,
                                "again here",
                            );
                            self.report(d.help("remove one of them"));
                        }
                        Some(f) => {
                            features.push(f as u32);
                            spans.push(path.span);
                        }
                        None => self.declarations.poisoned_tables = true,
                    }
                }
                if features.is_empty() {
                    self.claim(scope, name, Referent::Value(ExprValue::Poison));
                    return;
                }
                let kind = self.table_kind(&features, &spans, &name.name);
                let index = self.declarations.tables.len();
                let table = ExprValue::Function(Rc::new(Callee::Table(index)));
                if !self.claim(scope, name, Referent::Value(table)) {
                    self.declarations.poisoned_tables = true;
                } else {
                    let source = (TableReader::Name, name.span);
                    self.add_table(
                        name.name.clone(),
                        width,
                        kind,
                        init,
                        features,
                        source,
                        (&options, dropout, admission),
                    );
                }
            }
            EmbeddingTarget::EachOf { name, groups } => {
                let features = self.each_of(scope, groups);
                let (reader, at) = match name {
                    Some(name) => {
                        let index = self.declarations.families.len();
                        self.declarations.families.push(TableFamily {
                            name: &name.name,
                            span: name.span,
                            tables: Vec::new(),
                        });
                        let family = ExprValue::Function(Rc::new(Callee::Family(index)));
                        if !self.claim(scope, name, Referent::Value(family)) {
                            self.declarations.poisoned_tables = true;
                            return;
                        }
                        (TableReader::Family(index), name.span)
                    }
                    None => (TableReader::Embed, span),
                };
                let mut reported: Option<Span> = None;
                for (f, group) in features {
                    let path = self.declarations.schema.features[f].path();
                    if reader == TableReader::Embed
                        && let Some(first) = self.nameless_table(f)
                    {
                        if reported.replace(group.span) == Some(group.span) {
                            continue;
                        }
                        self.report(
                            Diagnostic::error(
                                "E0403",
                                format!("`{path}` has two tables without a name"),
                                group.span,
                                "again here",
                            )
                            .label(self.declarations.table_spans[first], "first here")
                            .help("name one: `embedding wide [8] for each of …`, read by `wide(…)`"),
                        );
                        continue;
                    }
                    let kind = self.table_kind(&[f as u32], &[group.span], &path);
                    let table_name = match name {
                        Some(name) => format!("{}.{path}", name.name),
                        None => path,
                    };
                    let table = self.declarations.tables.len();
                    self.add_table(
                        table_name,
                        width,
                        kind,
                        init,
                        vec![f as u32],
                        (reader, at),
                        (&options, dropout, admission),
                    );
                    if let TableReader::Family(index) = reader {
                        self.declarations.families[index].tables.push((f, table));
                    }
                }
            }
        }
    }

    /// Which ids the options admit; `None` where they say nothing, or a fault was reported.
    fn admission(&mut self, scope: &mut NameScope<'a>, options: &[&'a ast::Setting]) -> Option<Admission> {
        let option = options.iter().find(|o| o.word.name == "admit")?;
        let (Some(decl), Some(limit)) = (&option.admission, option.values.first()) else {
            let d = Diagnostic::error("E0627", "`admit` without a rule that is known", option.span, "which ids?");
            self.report(d.help(ADMIT_HELP));
            return None;
        };
        if decl.by.name != "frequency" {
            let found = format!("ids are not admitted by `{}`", decl.by.name);
            let d = Diagnostic::error("E0627", found, decl.by.span, "not known here");
            self.report(d.note("expected `frequency`, the number of samples that contain an id").help(ADMIT_HELP));
            return None;
        }
        let value = self.expr(scope, limit);
        let limited = self.number(value, "the limit of `admit`", limit.span)?;
        const MOST: f64 = 9_007_199_254_740_992.0;
        if limited.fract() != 0.0 || !(1.0..=MOST).contains(&limited) {
            let found = number_text(limited);
            let d =
                Diagnostic::error("E0627", "the limit of `admit` is no number of samples or ids", limit.span, &found);
            self.report(d.note(format!("expected a whole number of at least 1\nfound {found}")).help(ADMIT_HELP));
            return None;
        }
        Some(if decl.top { Admission::Top(limited as u64) } else { Admission::AtLeast(limited as u64) })
    }

    /// Whether a fault of a family's options has been reported for another of its tables.
    fn is_reported(&self, code: &str, span: Span) -> bool {
        self.diagnostics.iter().any(|d| d.code == code && d.labels.first().is_some_and(|label| label.span == span))
    }

    /// Whether a table has ids to choose from; reports one that has a row for each from the start.
    fn can_admit(&mut self, kind: TableKind, options: &[&'a ast::Setting]) -> bool {
        let (TableKind::Fixed { size }, Some(option)) = (kind, options.iter().find(|o| o.word.name == "admit")) else {
            return true;
        };
        if !self.is_reported("E0627", option.span) {
            let d = Diagnostic::error("E0627", "`admit` for ids of a fixed number", option.span, "every id has a row");
            let d = d.note(format!("the table has a row for each id from 0 to {}", size - 1));
            self.report(d.help("remove `admit`, or declare the field as a `category` without a number"));
        }
        false
    }

    /// The file that a table's options name, if it can have vectors of the table's ids.
    fn vectors(&mut self, features: &[u32], reader: TableReader, options: &[&'a ast::Setting]) -> Option<VectorFile> {
        let file = options.iter().find_map(|o| o.file.as_ref())?;
        let fault =
            |what: &str, label: &str, help: &str| Some(Diagnostic::error("E0626", what, file.span, label).help(help));
        let of_file = "give each table a line of its own: `embedding name [16] for group.field { init from … }`";
        let feature = &self.declarations.schema.features[*features.first().expect("a table has features") as usize];
        let found = match (reader, IdOrigin::of(feature)) {
            (TableReader::Embed | TableReader::Family(_), _) => {
                fault("one file for a family of tables", "has the vectors of one table", of_file)
            }
            (TableReader::Name, IdOrigin::Cross) => {
                fault("vectors for the ids of a cross", "cannot name these ids", "the ids of a cross have no names")
            }
            (TableReader::Name, IdOrigin::Hashed(_)) => {
                fault("vectors for hashed ids", "cannot name these ids", "use a `category` without `hash`")
            }
            (TableReader::Name, IdOrigin::Vocabulary(_)) => {
                fault("vectors for the rows of a vocabulary", "cannot name these ids", "use a `category of string`")
            }
            (TableReader::Name, IdOrigin::Column | IdOrigin::Buckets | IdOrigin::Calendar | IdOrigin::Gap)
                if file.path.is_empty() =>
            {
                fault("the path of a file is empty", "no file", "write `init from \"vectors.safetensors\"`")
            }
            (TableReader::Name, IdOrigin::Column | IdOrigin::Buckets | IdOrigin::Calendar | IdOrigin::Gap) => None,
        };
        if let Some(fault) = found {
            if !self.is_reported("E0626", file.span) {
                self.report(fault);
            }
            return None;
        }
        Some(VectorFile { path: file.path.clone(), location: self.location(file.span) })
    }

    /// The categorical fields of the groups, each with the name of its group as `for each of` lists
    /// it.
    fn each_of(&mut self, scope: &NameScope<'a>, groups: &'a [ast::Ident]) -> Vec<(usize, &'a ast::Ident)> {
        let mut features = Vec::new();
        let mut seen: Vec<&'a ast::Ident> = Vec::new();
        for name in groups {
            let Some(Referent::Value(ExprValue::Group(group))) = scope.find(&name.name).map(|b| b.referent.clone())
            else {
                self.declarations.poisoned_tables = true;
                self.unknown_group(name);
                continue;
            };
            if let Some(first) = seen.iter().find(|n| n.name == name.name) {
                let d = Diagnostic::error("E0412", format!("`{}` is listed twice", name.name), name.span, "again here");
                self.report(d.label(first.span, "first here").help("remove one of them"));
                continue;
            }
            seen.push(name);
            let fields = self.declarations.groups[group].features.clone();
            let before = features.len();
            for f in fields.clone() {
                if !matches!(self.declarations.schema.features[f].kind, FeatureKind::Dense { .. }) {
                    features.push((f, name));
                }
            }
            // In the second walk over a schema's group, its ids may be what is not read.
            if features.len() == before && !fields.is_empty() && self.reading.is_none() {
                let declared = self.declarations.groups[group].span;
                self.report(
                    Diagnostic::error("E0408", "tables need ids", name.span, "has numbers only")
                        .label(declared, "declared here")
                        .help(format!("remove `{}`: numbers need no table", name.name)),
                );
            }
        }
        features
    }

    /// The table of a feature that only `embed` reads.
    pub fn nameless_table(&self, feature: usize) -> Option<usize> {
        let readers = &self.declarations.table_readers;
        self.declarations.tables_of[feature].iter().copied().find(|&t| readers[t] == TableReader::Embed)
    }

    #[allow(clippy::too_many_arguments)]
    pub fn add_table(
        &mut self,
        name: String,
        width: usize,
        kind: TableKind,
        init: Init,
        features: Vec<u32>,
        (reader, span): (TableReader, Span),
        (options, dropout, admission): (&[&'a ast::Setting], f64, Option<Admission>),
    ) {
        let index = self.declarations.tables.len();
        for &f in &features {
            self.declarations.tables_of[f as usize].push(index);
        }
        let location = self.location(span);
        let admission = admission.filter(|_| self.can_admit(kind, options));
        let vectors = self.vectors(&features, reader, options);
        self.declarations.tables.push(TableSpec {
            name,
            width: width as u32,
            kind,
            init,
            features,
            update: 0,
            reads_frequency: false,
            update_rule: UpdateRule::Sparse,
            frozen: false,
            vectors,
            admission,
            location,
        });
        self.declarations.table_spans.push(span);
        self.declarations.table_readers.push(reader);
        self.declarations.table_settings.push(options.to_vec());
        self.declarations.table_dropouts.push(dropout);
    }

    /// The feature that a path names; reports one that there is not.
    pub fn path_feature(&mut self, scope: &NameScope<'a>, path: &'a ast::FieldPath) -> Option<usize> {
        let Some(Referent::Value(ExprValue::Group(g))) = scope.find(&path.group.name).map(|b| b.referent.clone())
        else {
            self.unknown_group(&path.group);
            return None;
        };
        let group = self.declarations.groups[g].clone();
        let features = &self.declarations.schema.features;
        let Some(f) = group.features.clone().find(|&f| features[f].name == path.field.name) else {
            let known: Vec<&str> = group.features.clone().map(|f| features[f].name.as_str()).collect();
            let mut d = Diagnostic::error(
                "E0404",
                format!("group `{}` has no field `{}`", group.name, path.field.name),
                path.field.span,
                "no such field",
            )
            .label(group.span, "the group");
            d = match nearest(&path.field.name, known.iter().copied()) {
                Some(near) => d.did_you_mean(path.field.span, near),
                None => d.help(format!("it has {}", listed(&known))),
            };
            self.report(d);
            return None;
        };
        Some(f)
    }

    /// The same of a feature that tables may hold.
    pub fn table_feature(&mut self, scope: &NameScope<'a>, path: &'a ast::FieldPath) -> Option<usize> {
        let f = self.path_feature(scope, path)?;
        self.declarations.named_features.insert(f);
        if !self.has_ids(f) {
            let declared = self.declarations.feature_spans[f];
            self.report(
                Diagnostic::error("E0408", "tables need ids", path.span, "a number")
                    .label(declared, "declared as a number here")
                    .help("use the number itself, or declare it as a `category`"),
            );
            return None;
        }
        Some(f)
    }

    /// All features of a table must hold ids of one kind.
    fn table_kind(&mut self, features: &[u32], spans: &[Span], name: &str) -> TableKind {
        let origin = |f: u32, me: &Self| IdOrigin::of(&me.declarations.schema.features[f as usize]);
        let kind = |f: u32, me: &Self| match me.declarations.schema.features[f as usize].kind {
            FeatureKind::Fixed { size, .. } => TableKind::Fixed { size },
            FeatureKind::Dynamic { key } => TableKind::Dynamic { key },
            FeatureKind::Dense { .. } => unreachable!("a table is declared for categorical features alone"),
        };
        let (&first, &first_at) = features.iter().zip(spans).next().expect("a table has features");
        let wanted = kind(first, self);
        for (&f, &span) in features.iter().zip(spans).skip(1) {
            let found = kind(f, self);
            let origins = (origin(first, self), origin(f, self));
            let text = |f: u32, me: &Self| ids_text(&me.declarations.schema.features[f as usize]);
            let (wanted_text, found_text) = (text(first, self), text(f, self));
            if (found != wanted || origins.0 != origins.1) && !self.declarations.poisoned_tables {
                let a = self.declarations.schema.features[first as usize].path();
                self.report(
                    Diagnostic::error(
                        "E0405",
                        format!("the features of table `{name}` hold different ids"),
                        span,
                        &found_text,
                    )
                    .label(first_at, &wanted_text)
                    .note(format!("expected {wanted_text}, as `{a}` has\nfound {found_text}"))
                    .help("declare both as the same kind of `category`, or give each its own table"),
                );
            }
        }
        wanted
    }
}

/// `int64 ids`, `ids 0 to 9 of buckets`
pub(super) fn ids_text(feature: &Feature) -> String {
    let ids = match feature.kind {
        FeatureKind::Fixed { size, .. } => format!("ids 0 to {}", size - 1),
        FeatureKind::Dynamic { key: KeyType::Int64 } => "int64 ids".into(),
        FeatureKind::Dynamic { key: KeyType::String } => "string ids".into(),
        FeatureKind::Dense { .. } => "numbers".into(),
    };
    ids + IdOrigin::of(feature).said()
}

/// How the ids of a feature came about: ids of different origins mean different things, although
/// they may be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdOrigin {
    Column,
    Hashed(ColumnIds),
    Buckets,
    Calendar,
    /// By its number.
    Vocabulary(u32),
    Cross,
    Gap,
}

/// What was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColumnIds {
    Integers,
    Strings,
}

impl IdOrigin {
    pub(super) fn of(feature: &Feature) -> Self {
        match &feature.source {
            FeatureSource::Features(Combination::Gap { .. }) => Self::Gap,
            FeatureSource::Features(
                Combination::Cross { .. } | Combination::Equal { .. } | Combination::Overlap { .. },
            ) => Self::Cross,
            FeatureSource::Rule { rule, .. } => match (&rule.makes, rule.holds) {
                (Made::HashedId { .. }, ColumnValues::Strings) => Self::Hashed(ColumnIds::Strings),
                (Made::HashedId { .. }, ColumnValues::Integers | ColumnValues::Numbers { .. }) => {
                    Self::Hashed(ColumnIds::Integers)
                }
                (Made::Bucket { .. }, _) => Self::Buckets,
                (Made::Calendar { .. }, _) => Self::Calendar,
                (Made::VocabularyRow { vocabulary }, _) => Self::Vocabulary(*vocabulary),
                (Made::Id | Made::FixedId { .. } | Made::Number { .. } | Made::Mark, _) => Self::Column,
            },
            FeatureSource::Column(_) | FeatureSource::ListMark { .. } => Self::Column,
            FeatureSource::Absent => unreachable!("a declared feature has a source"),
        }
    }

    /// Behind what the ids are.
    fn said(self) -> &'static str {
        match self {
            Self::Column => "",
            Self::Hashed(ColumnIds::Integers) => " by a hash of integers",
            Self::Hashed(ColumnIds::Strings) => " by a hash of strings",
            Self::Buckets => " of buckets",
            Self::Calendar => " of dates and times",
            Self::Vocabulary(_) => " of a vocabulary",
            Self::Cross => " of a cross",
            Self::Gap => " of buckets of a gap",
        }
    }
}
