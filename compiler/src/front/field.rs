//! Fields of groups: their kinds, where their values come from, and what stands for missing ones.

use super::compile_time::CATEGORIES;
use super::computed::{ColumnSource, Computed, ComputedResult};
use super::declarations::{PendingCross, PendingGap};
use super::elaborator::Elaborator;
use super::scope::{NameScope, Referent};
use super::value::ExprValue;
use din_grammar::ast::{self, FeatureKindName, FieldSource, IdsDecl, OutsideDecl};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{
    Boundaries, ColumnValue, ColumnValues, Combination, DataStatistic, DataStatisticKind, Feature, FeatureKind,
    FeatureSource, KeyType, Made, Missing, Replacement, Step, ValueRule,
};

/// The group that fields are declared in.
#[derive(Clone, Copy)]
pub(super) struct FieldGroup<'a> {
    pub name: &'a ast::Ident,
    /// Index of its sequence in the schema.
    pub sequence: Option<u32>,
    pub common: bool,
    /// Whether prediction reads its columns.
    pub at_prediction: bool,
}

/// Whole numbers up to this, 2^53, are exact as compile-time numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a field's own declaration says, before its column is known to have missing values.
pub(super) struct Declared {
    pub kind: FeatureKind,
    pub holds: ColumnValues,
    pub makes: Made,
    /// The column's values are the feature's.
    pub as_is: bool,
    /// Step of the rule whose statistic is gathered.
    pub statistic: Option<DataStatisticKind>,
}

impl<'a> Elaborator<'a> {
    /// Declares a field, and the mark beside it.
    pub(super) fn field_of(
        &mut self,
        scope: &mut NameScope<'a>,
        group: FieldGroup<'a>,
        field: &'a ast::FeatureField,
        names: &mut Vec<&'a ast::Ident>,
    ) {
        if !self.new_field(group, &field.name, names) {
            return;
        }
        if !self.declares_field(&group.name.name, &field.name.name) {
            return;
        }
        let group = FieldGroup { at_prediction: group.at_prediction && field.after_label.is_none(), ..group };
        let pooled = field.pooled.as_ref();
        let sequence = match pooled {
            Some(pooled) => self.pooled_list(group, field, pooled),
            None => group.sequence,
        };
        let feature = self.declarations.schema.features.len() as u32;
        let (kind, source) = self.field_source(scope, group, field).unwrap_or_else(|| {
            self.declarations.poisoned_tables = true;
            (FeatureKind::Dynamic { key: KeyType::Int64 }, FeatureSource::column(&field.name.name))
        });
        let mark = field.missing.as_ref().and_then(|missing| missing.mark.as_ref());
        let marked = match (&source, pooled.is_some()) {
            (FeatureSource::Column(column) | FeatureSource::Rule { column, .. }, true) => {
                Some(FeatureSource::ListMark { column: column.clone() })
            }
            (FeatureSource::Rule { column, rule }, false) => rule.missing.as_ref().map(|missing| {
                let missing = Missing { becomes: Replacement::Number(1.0), ..missing.clone() };
                let rule = ValueRule { holds: rule.holds, missing: Some(missing), makes: Made::Mark };
                FeatureSource::Rule { column: column.clone(), rule }
            }),
            (FeatureSource::Features(Combination::Gap { of, missing: Some(_), .. }), false) => {
                let missing = Some(Replacement::Number(1.0));
                Some(FeatureSource::Features(Combination::Gap { of: *of, makes: Made::Mark, missing }))
            }
            (
                FeatureSource::Column(_)
                | FeatureSource::ListMark { .. }
                | FeatureSource::Features(_)
                | FeatureSource::Absent,
                _,
            ) => None,
        };
        self.push_feature(group, &field.name, kind, source, sequence);
        if let Some(pooled) = pooled {
            self.pooling(group, field, pooled, feature);
        }
        if let (Some(mark), Some(source)) = (mark, marked)
            && self.declares_field(&group.name.name, &mark.name)
            && self.new_field(group, mark, names)
        {
            let number = self.declarations.schema.features.len();
            let of_field = self.declarations.gaps.iter().find(|gap| gap.feature == feature as usize).cloned();
            self.declarations.gaps.extend(of_field.map(|gap| PendingGap { feature: number, ..gap }));
            self.push_feature(group, mark, FeatureKind::Dense { width: 1 }, source, group.sequence);
        }
    }

    /// Whether the group has no field of the name yet.
    fn new_field(&mut self, group: FieldGroup<'a>, name: &'a ast::Ident, names: &mut Vec<&'a ast::Ident>) -> bool {
        if let Some(first) = names.iter().find(|n| n.name == name.name) {
            let message = format!("`{}.{}` is defined twice", group.name.name, name.name);
            let d = Diagnostic::error("E0203", message, name.span, "again here");
            self.report(d.label(first.span, "first here").help("rename one of them"));
            return false;
        }
        names.push(name);
        true
    }

    pub(super) fn push_feature(
        &mut self,
        group: FieldGroup<'a>,
        name: &ast::Ident,
        kind: FeatureKind,
        source: FeatureSource,
        sequence: Option<u32>,
    ) {
        let location = self.location(name.span);
        self.declarations.schema.features.push(Feature {
            group: group.name.name.clone(),
            name: name.name.clone(),
            source,
            kind,
            sequence,
            common: group.common,
            at_prediction: group.at_prediction,
            location,
        });
        self.declarations.feature_spans.push(name.span);
    }

    fn field_source(
        &mut self,
        scope: &mut NameScope<'a>,
        group: FieldGroup<'a>,
        field: &'a ast::FeatureField,
    ) -> Option<(FeatureKind, FeatureSource)> {
        if let FeatureKindName::Category { size, outside, of: Some(IdsDecl::Tuple { fields, span }), vocabulary } =
            &field.kind.kind
        {
            if let Some(file) = vocabulary {
                self.report(
                    Diagnostic::error("E0424", "the ids of a cross are no lines of a file", file.span, "a vocabulary")
                        .label(*span, "of these fields")
                        .help("declare a field that is crossed by it: `category of string in …`"),
                );
                return None;
            }
            return self.cross(scope, field, size.as_ref(), *outside, (fields, *span));
        }
        let (column, computed) = match &field.source {
            None => (field.name.name.clone(), None),
            Some(FieldSource::Column(column)) => (column.name.clone(), None),
            Some(FieldSource::Computed(e)) => {
                let computed = self.computed(scope, e)?;
                match computed.column.clone() {
                    ColumnSource::Column(column) => (column.name, Some(computed)),
                    ColumnSource::Gap(gap) => return self.gap_field(scope, group, field, gap, computed),
                }
            }
        };
        let declared = match computed {
            None => self.feature_kind(scope, &field.kind)?,
            Some(computed) => self.computed_kind(scope, group, field, computed)?,
        };
        let pooled = field.pooled.is_some();
        if pooled && matches!(declared.kind, FeatureKind::Dense { .. }) {
            self.report(
                Diagnostic::error("E0418", "only ids are pooled", field.kind.span, "numbers")
                    .help("put the list into a `sequence`, and reduce it: `mean(x over s)`"),
            );
            return None;
        }
        let Declared { mut kind, holds, makes, as_is, statistic } = declared;
        if let Some(kind) = statistic {
            let feature = self.declarations.schema.features.len() as u32;
            self.declarations.schema.statistics.push(DataStatistic { feature, kind });
        }
        let missing = match &field.missing {
            Some(missing) if !pooled => Some(self.missing(scope, field, missing, &mut kind, holds, &makes)?),
            Some(missing) => {
                if let Some(at) = missing.value.as_ref().or(missing.replacement.as_ref()) {
                    self.report(
                        Diagnostic::error("E0416", "a missing list is an empty one", at.span, "has no value")
                            .help("write `missing`, and `mark name` for a 0/1 field beside it"),
                    );
                    return None;
                }
                None
            }
            None => None,
        };
        Some(match (as_is, missing) {
            (true, None) => (kind, FeatureSource::Column(column)),
            (_, missing) => (kind, FeatureSource::Rule { column, rule: ValueRule { holds, missing, makes } }),
        })
    }

    /// What a null, or a value that stands for one, becomes.
    pub(super) fn missing(
        &mut self,
        scope: &mut NameScope<'a>,
        field: &ast::FeatureField,
        missing: &'a ast::MissingDecl,
        kind: &mut FeatureKind,
        holds: ColumnValues,
        makes: &Made,
    ) -> Option<Missing> {
        let value = match &missing.value {
            None => None,
            Some(e) => Some(self.missing_value(scope, e, holds)?),
        };
        let becomes = match (&missing.replacement, &mut *kind, makes) {
            (None, FeatureKind::Dense { .. }, _) => {
                let (name, mark) = (&field.name.name, missing.mark.is_none());
                let more =
                    if mark { format!(", and `mark no_{name}` for a 0/1 field beside it") } else { String::new() };
                self.report(
                    Diagnostic::error("E0416", "a missing number needs a value", missing.span, "which number?")
                        .help(format!("write `missing as 0`{more}")),
                );
                return None;
            }
            // The one behind the others.
            (
                None,
                FeatureKind::Fixed { size, .. },
                Made::Bucket { .. } | Made::Calendar { .. } | Made::VocabularyRow { .. },
            ) => {
                *size += 1;
                Replacement::Id(*size - 1)
            }
            (None, FeatureKind::Fixed { size, .. }, Made::FixedId { .. }) => {
                let size = *size;
                self.report(
                    Diagnostic::error("E0416", "which category is a missing one?", missing.span, "not said")
                        .note(format!("expected one of the ids 0 to {}", size - 1))
                        .help(format!("write `missing as 0`; or `category({})` and `missing as {size}`", size + 1)),
                );
                return None;
            }
            (None, FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. }, _) => Replacement::OwnId,
            (Some(e), FeatureKind::Dense { .. }, _) => {
                let value = self.expr(scope, e);
                let n = self.number(value, "the value of a missing number", e.span)?;
                self.within_f32(n, "this number", e.span).then_some(())?;
                Replacement::Number(n as f32)
            }
            (
                Some(e),
                FeatureKind::Fixed { size, .. },
                Made::FixedId { .. } | Made::Bucket { .. } | Made::Calendar { .. },
            ) => {
                let (size, value) = (*size, self.expr(scope, e));
                let n = self.number(value, "the category of a missing value", e.span)?;
                if n.fract() != 0.0 || n < 0.0 || n >= size as f64 {
                    self.report(
                        Diagnostic::error("E0416", "not one of the categories", e.span, format!("{n}"))
                            .note(format!("expected an id from 0 to {}\nfound {n}", size - 1))
                            .help("write one of these ids"),
                    );
                    return None;
                }
                Replacement::Id(n as u64)
            }
            (Some(e), FeatureKind::Fixed { .. }, Made::VocabularyRow { vocabulary }) => {
                let ColumnValue::Text(text) = self.missing_value(scope, e, holds)? else {
                    unreachable!("a column of strings has texts")
                };
                self.entry(*vocabulary, &text, e.span)?
            }
            (Some(e), FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. }, _) => {
                match self.missing_value(scope, e, holds)? {
                    ColumnValue::Integer(id) => Replacement::Id(id as u64),
                    ColumnValue::Text(text) => Replacement::Text(text),
                    ColumnValue::Number(_) => unreachable!("ids of a number's column are buckets"),
                }
            }
        };
        Some(Missing { value, becomes })
    }

    /// A value of a column, as the field's kind says what it holds.
    fn missing_value(
        &mut self,
        scope: &mut NameScope<'a>,
        e: &'a ast::Expr,
        holds: ColumnValues,
    ) -> Option<ColumnValue> {
        let value = self.expr(scope, e);
        let (found, expected, help) = match (value, holds) {
            (ExprValue::Poison, _) => return None,
            (ExprValue::Text(text), ColumnValues::Strings) => return Some(ColumnValue::Text(text.to_string())),
            (ExprValue::Number(n), ColumnValues::Numbers { .. }) => return Some(ColumnValue::Number(n)),
            (ExprValue::Number(n), ColumnValues::Integers) if n.fract() == 0.0 && n.abs() <= EXACT => {
                return Some(ColumnValue::Integer(n as i64));
            }
            (other, ColumnValues::Strings) => (self.describe(&other), "a text", "write it in quotes"),
            (ExprValue::Number(n), ColumnValues::Integers) => {
                (format!("{n}"), "a whole number up to 2^53", "write one of the column's ids")
            }
            (other, ColumnValues::Integers) => {
                (self.describe(&other), "a whole number", "declare the field `category of string` if its ids are texts")
            }
            (other, ColumnValues::Numbers { .. }) => (self.describe(&other), "a number", "write a number"),
        };
        self.report(
            Diagnostic::error("E0416", "not a value of this column", e.span, &found)
                .note(format!("expected {expected}\nfound {found}"))
                .help(help),
        );
        None
    }

    fn feature_kind(&mut self, scope: &mut NameScope<'a>, kind: &'a ast::FeatureKindDecl) -> Option<Declared> {
        match &kind.kind {
            FeatureKindName::Category { size, outside, of, vocabulary } => {
                let key = match of {
                    None => KeyType::Int64,
                    Some(IdsDecl::Type(word)) => self.key_type(word)?,
                    Some(IdsDecl::Tuple { .. }) => unreachable!("crosses have no column"),
                };
                let holds = match key {
                    KeyType::Int64 => ColumnValues::Integers,
                    KeyType::String => ColumnValues::Strings,
                };
                if let Some(file) = vocabulary {
                    return self.of_vocabulary(kind, size.as_ref(), key, file);
                }
                let Some(size) = size else {
                    let kind = FeatureKind::Dynamic { key };
                    return Some(Declared { kind, holds, makes: Made::Id, as_is: true, statistic: None });
                };
                let value = self.expr(scope, size);
                let n = self.size(value, CATEGORIES, size.span)?;
                let (size, at) = (n as u64, size.span);
                let clip = *outside == OutsideDecl::Clipped;
                let kind = FeatureKind::Fixed { size, clip };
                match (outside, of, key) {
                    (OutsideDecl::Hashed, _, _) => {
                        let makes = Made::HashedId { size };
                        Some(Declared { kind, holds, makes, as_is: false, statistic: None })
                    }
                    (OutsideDecl::Refused | OutsideDecl::Clipped, Some(IdsDecl::Type(word)), KeyType::String) => {
                        let message = "a fixed number of categories needs integer ids";
                        self.report(
                            Diagnostic::error("E0405", message, word.span, "string ids")
                                .label(at, format!("ids 0 to {}", n - 1))
                                .help(format!(
                                    "leave the size out, `category of string`, or hash them: `category({n}, hash) of string`"
                                )),
                        );
                        None
                    }
                    (OutsideDecl::Refused | OutsideDecl::Clipped, _, _) => {
                        let makes = Made::FixedId { size, clip };
                        Some(Declared { kind, holds, makes, as_is: true, statistic: None })
                    }
                }
            }
            FeatureKindName::Number { width } => {
                let width = match width {
                    None => 1,
                    Some(w) => {
                        let value = self.expr(scope, w);
                        self.size(value, "the width of a number", w.span)? as u32
                    }
                };
                let (kind, holds) = (FeatureKind::Dense { width }, ColumnValues::Numbers { width });
                let makes = Made::Number { steps: Vec::new() };
                Some(Declared { kind, holds, makes, as_is: true, statistic: None })
            }
            FeatureKindName::Other(word) => {
                if let Some(r) = super::value::reserved(&word.name) {
                    self.not_built(r.what, r.instead, kind.span);
                } else if let Some(help) = super::foreign::kind(&word.name) {
                    let d = Diagnostic::error(
                        "E0401",
                        format!("unknown kind of feature `{}`", word.name),
                        word.span,
                        "not known here",
                    );
                    self.report(d.help(help));
                } else {
                    self.unknown_word("E0401", "kind of feature", word, &["category", "number"]);
                }
                None
            }
        }
    }

    /// The kind of a field that a function of a column makes.
    pub(super) fn computed_kind(
        &mut self,
        scope: &mut NameScope<'a>,
        group: FieldGroup<'a>,
        field: &'a ast::FeatureField,
        computed: Computed,
    ) -> Option<Declared> {
        let Computed { steps, result, .. } = computed;
        let statistic = self.declarations.schema.statistics.len() as u32;
        let moments = steps.iter().any(|step| matches!(step, Step::Standard { .. }));
        let holds = ColumnValues::Numbers { width: 1 };
        let path = format!("{}.{}", group.name.name, field.name.name);
        match (&field.kind.kind, result) {
            (FeatureKindName::Number { width: None }, ComputedResult::Number) => Some(Declared {
                kind: FeatureKind::Dense { width: 1 },
                holds,
                makes: Made::Number { steps },
                as_is: false,
                statistic: moments.then_some(DataStatisticKind::Moments),
            }),
            (
                FeatureKindName::Category { size: None, of: None, vocabulary: None, .. },
                ComputedResult::Buckets(boundaries),
            ) => {
                let size = boundaries.len() as u64 + 1;
                Some(Declared {
                    kind: FeatureKind::Fixed { size, clip: false },
                    holds,
                    makes: Made::Bucket { steps, boundaries: Boundaries::Given(boundaries) },
                    as_is: false,
                    statistic: moments.then_some(DataStatisticKind::Moments),
                })
            }
            (
                FeatureKindName::Category { size: None, of: None, vocabulary: None, .. },
                ComputedResult::Quantiles { buckets, span },
            ) => {
                if moments {
                    self.report(
                        Diagnostic::error("E0417", "quantiles of a standardised number", span, "no other buckets")
                            .help("leave `standard` out: it changes no quantile"),
                    );
                    return None;
                }
                Some(Declared {
                    kind: FeatureKind::Fixed { size: u64::from(buckets), clip: false },
                    holds,
                    makes: Made::Bucket { steps, boundaries: Boundaries::Quantiles { statistic } },
                    as_is: false,
                    statistic: Some(DataStatisticKind::Quantiles { buckets }),
                })
            }
            (
                FeatureKindName::Category { size: None, of: None, vocabulary: None, .. },
                ComputedResult::Calendar(part),
            ) => Some(Declared {
                kind: FeatureKind::Fixed { size: part.size(), clip: false },
                holds,
                makes: Made::Calendar { steps, part },
                as_is: false,
                statistic: moments.then_some(DataStatisticKind::Moments),
            }),
            (FeatureKindName::Other(_), _) => {
                self.feature_kind(scope, &field.kind);
                None
            }
            (FeatureKindName::Number { .. }, ComputedResult::Number) => {
                self.report(
                    Diagnostic::error("E0417", "functions are of plain numbers", field.kind.span, "a vector")
                        .help(format!("declare `{path}` as `number`, without a width")),
                );
                None
            }
            (
                FeatureKindName::Number { .. },
                ComputedResult::Buckets(_) | ComputedResult::Quantiles { .. } | ComputedResult::Calendar(_),
            ) => {
                self.report(
                    Diagnostic::error("E0417", "what this makes is a category", field.kind.span, "a number")
                        .help(format!("declare `{path}` as `category`")),
                );
                None
            }
            (FeatureKindName::Category { .. }, ComputedResult::Number) => {
                self.report(
                    Diagnostic::error("E0417", "a number is no category", field.kind.span, "ids")
                        .help("make buckets of it: `category from buckets(x, [1, 10, 100])`, or declare it `number`"),
                );
                None
            }
            (
                FeatureKindName::Category { .. },
                ComputedResult::Buckets(_) | ComputedResult::Quantiles { .. } | ComputedResult::Calendar(_),
            ) => {
                let message = "which categories there are follows from the function";
                self.report(
                    Diagnostic::error("E0417", message, field.kind.span, "again here").help("write `category` alone"),
                );
                None
            }
        }
    }

    pub(super) fn key_type(&mut self, kind: &ast::Ident) -> Option<KeyType> {
        match kind.name.as_str() {
            "int64" => Some(KeyType::Int64),
            "string" => Some(KeyType::String),
            _ => {
                self.unknown_word("E0401", "type of id", kind, &["int64", "string"]);
                None
            }
        }
    }

    /// `category(1000, hash) of (user.gender, ad.cate_id)`: its parts are looked up when all groups
    /// are declared.
    fn cross(
        &mut self,
        scope: &mut NameScope<'a>,
        field: &'a ast::FeatureField,
        size: Option<&'a ast::Expr>,
        outside: OutsideDecl,
        (fields, span): (&'a [ast::FieldPath], Span),
    ) -> Option<(FeatureKind, FeatureSource)> {
        let source = field.source.as_ref().map(|source| match source {
            FieldSource::Column(column) => column.span,
            FieldSource::Computed(e) => e.span,
        });
        let missing = field.missing.as_ref().map(|missing| missing.span);
        let pooled = field.pooled.as_ref().map(|pooled| pooled.span);
        if let Some(at) = source.or(missing).or(pooled) {
            self.report(
                Diagnostic::error("E0419", "a cross is made of fields alone", at, "has no column")
                    .label(span, "of these fields")
                    .help("say it of the fields that are crossed"),
            );
            return None;
        }
        if fields.len() < 2 {
            self.report(
                Diagnostic::error("E0419", "a cross has two fields at least", span, "one")
                    .help("name another: `category of (user.gender, ad.cate_id)`"),
            );
            return None;
        }
        let size = match size {
            None => None,
            Some(e) => {
                let value = self.expr(scope, e);
                let n = self.size(value, "the number of categories", e.span)?;
                if outside != OutsideDecl::Hashed {
                    self.report(
                        Diagnostic::error(
                            "E0419",
                            "a cross with a fixed number of ids is hashed",
                            e.span,
                            "not hashed",
                        )
                        .help(format!("write `category({n}, hash) of (…)`, or leave the size out for a growing table")),
                    );
                    return None;
                }
                Some(n as u64)
            }
        };
        let feature = self.declarations.schema.features.len();
        self.declarations.crosses.push(PendingCross { feature, fields, span });
        let kind = match size {
            Some(size) => FeatureKind::Fixed { size, clip: false },
            None => FeatureKind::Dynamic { key: KeyType::Int64 },
        };
        Some((kind, FeatureSource::Features(Combination::Cross { of: Vec::new(), size })))
    }

    /// After all groups: features that are in no group, and the parts of crosses.
    pub(super) fn finish_fields(&mut self, scope: &NameScope<'a>) {
        for (feature, (group, name, column)) in std::mem::take(&mut self.declarations.weights) {
            let weights = self.declarations.schema.features.len();
            let sequence = self.declarations.schema.features[feature].sequence;
            let name = ast::Ident { name: format!("weights of {}", name.name), span: column.span };
            let source = FeatureSource::column(&column.name);
            self.push_feature(group, &name, FeatureKind::Dense { width: 1 }, source, sequence);
            self.declarations.used_features.insert(weights);
            if let Some(pooled) = self.declarations.pooled.get_mut(&feature) {
                pooled.weights = Some(weights);
            }
        }
        self.finish_gaps();
        self.finish_known();
        for PendingCross { feature, fields, span } in std::mem::take(&mut self.declarations.crosses) {
            let mut of = Vec::new();
            for path in fields {
                match self.path_feature(scope, path) {
                    Some(part) if self.may_cross(feature, part, path.span) => of.push(part as u32),
                    Some(_) | None => self.declarations.poisoned_tables = true,
                }
            }
            for (k, part) in of.iter().enumerate() {
                if of[..k].contains(part) {
                    let path = self.declarations.schema.features[*part as usize].path();
                    let d = Diagnostic::error("E0419", format!("`{path}` is crossed with itself"), span, "twice");
                    self.report(d.help("remove one of them"));
                    break;
                }
            }
            let source = &mut self.declarations.schema.features[feature].source;
            if let FeatureSource::Features(Combination::Cross { of: parts, .. }) = source {
                *parts = of;
            }
        }
    }

    /// Whether a part of a cross has one id where the cross has one.
    fn may_cross(&mut self, feature: usize, part: usize, at: Span) -> bool {
        let (cross, part) = (&self.declarations.schema.features[feature], &self.declarations.schema.features[part]);
        let path = part.path();
        let d = if matches!(part.kind, FeatureKind::Dense { .. }) {
            Diagnostic::error("E0419", format!("`{path}` has no ids"), at, "a number")
                .help("make buckets of it: `category from buckets(x, [1, 10, 100])`")
        } else if let Some(Combination::Gap { .. }) = part.combination() {
            Diagnostic::error("E0419", format!("`{path}` is of two columns"), at, "a gap")
                .help("cross other fields, or make the gap's buckets in the data")
        } else if part.combination().is_some() {
            Diagnostic::error("E0419", format!("`{path}` is a cross itself"), at, "a cross")
                .help("name the fields that it is of")
        } else if part.sequence.is_some() && part.sequence != cross.sequence {
            Diagnostic::error("E0419", format!("`{path}` has several ids"), at, "a list")
                .help("declare the cross in the same `sequence`: it then has an id for each entry")
        } else if cross.common && !part.common {
            let group = &part.group;
            Diagnostic::error("E0419", format!("`{path}` differs within a request"), at, "not common")
                .note(format!("`{}` is declared `common`, `{group}` is not", cross.group))
                .help("declare the cross in a group that is not `common`")
        } else {
            return true;
        };
        self.report(d);
        false
    }

    /// `sequence visited missing mark no_history`: a number of the model's own name space.
    pub(super) fn list_mark(
        &mut self,
        scope: &mut NameScope<'a>,
        group: FieldGroup<'a>,
        mark: &'a ast::Ident,
        column: String,
    ) {
        let feature = self.declarations.schema.features.len();
        if self.claim(scope, mark, Referent::Value(ExprValue::Feature(feature))) {
            let source = FeatureSource::ListMark { column };
            self.push_feature(group, mark, FeatureKind::Dense { width: 1 }, source, None);
        }
    }
}
