//! The columns of the data that a model reads: each has one type, and what is known after the label
//! is no input.

use super::computed::OF_TWO_COLUMNS;
use super::elaborator::Elaborator;
use din_grammar::ast::{self, ExprKind, FeatureKindName, FieldSource, IdsDecl, KnownDecl, MemberKind};
use din_grammar::{Diagnostic, Span};

/// What kind of column a name is bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    Integers,
    Strings,
    Numbers,
    /// Whole numbers whose differences are taken: the column may also be read as ids or numbers.
    Times,
}

impl ColumnKind {
    /// Whether a column can be read as both.
    fn agrees_with(self, other: ColumnKind) -> bool {
        match (self, other) {
            (Self::Strings, Self::Times) | (Self::Times, Self::Strings) => false,
            (Self::Times, _) | (_, Self::Times) => true,
            (Self::Integers | Self::Strings | Self::Numbers, Self::Integers | Self::Strings | Self::Numbers) => {
                self == other
            }
        }
    }
}

impl<'a> Elaborator<'a> {
    /// A column has one kind, and no input of the network is a label's column or known after it.
    pub(super) fn columns(&mut self, members: &[&'a ast::Member]) {
        let mut seen: Vec<(&'a str, ColumnKind, bool, Span)> = Vec::new();
        let mut labels: Vec<(&'a str, Span)> = Vec::new();
        // What the network may read; what is known after the label only, with where that is said.
        let mut inputs: Vec<(&'a str, Span)> = Vec::new();
        let mut later: Vec<(&'a str, Span, Span)> = Vec::new();
        for member in members {
            match &member.kind {
                MemberKind::Features { known, fields, .. } | MemberKind::Sequence { known, fields, .. } => {
                    let list = matches!(member.kind, MemberKind::Sequence { .. });
                    let of_group = match known {
                        Some(KnownDecl::AfterLabel(span)) => Some(*span),
                        Some(KnownDecl::Before { times, moment, .. }) => {
                            self.column(&mut seen, (&times.name, times.span), ColumnKind::Times, list);
                            self.column(&mut seen, (&moment.name, moment.span), ColumnKind::Times, false);
                            None
                        }
                        None => None,
                    };
                    for field in fields {
                        let columns = columns_of(field, list);
                        for &(name, span, kind, list) in &columns {
                            self.column(&mut seen, (name, span), kind, list);
                        }
                        let columns = columns.into_iter().map(|(name, span, ..)| (name, span));
                        match field.after_label.or(of_group) {
                            Some(said) => later.extend(columns.map(|(name, span)| (name, span, said))),
                            None => inputs.extend(columns),
                        }
                    }
                }
                MemberKind::Key { name, kind, column } => {
                    let kind = if kind.name == "string" { ColumnKind::Strings } else { ColumnKind::Integers };
                    let at = column.as_ref().unwrap_or(name);
                    self.column(&mut seen, (&at.name, at.span), kind, false);
                }
                MemberKind::Label { name, column, .. } => {
                    let at = column.as_ref().unwrap_or(name);
                    labels.push((&at.name, at.span));
                }
                MemberKind::Embedding(_)
                | MemberKind::Hyper { .. }
                | MemberKind::Let(_)
                | MemberKind::Layer(_)
                | MemberKind::Param(_)
                | MemberKind::Constant(_)
                | MemberKind::Predict { .. }
                | MemberKind::Train(_)
                | MemberKind::Report { .. }
                | MemberKind::Output { .. }
                | MemberKind::Assert { .. }
                | MemberKind::Common { .. }
                | MemberKind::Request(_) => {}
            }
        }
        for (name, span) in &labels {
            if let Some(&(_, first)) = inputs.iter().find(|input| input.0 == *name) {
                self.report(
                    Diagnostic::error(
                        "E0602",
                        format!("the column `{name}` is a label and an input"),
                        first,
                        "an input here",
                    )
                    .label(*span, "a label here: the answer leaks")
                    .help("take the column out of the features"),
                );
            }
        }
        for (name, _, said) in later {
            if let Some(&(_, input)) = inputs.iter().find(|input| input.0 == name) {
                self.report(
                    Diagnostic::error(
                        "E0425",
                        format!("the column `{name}` is known after the label, and an input"),
                        input,
                        "an input here",
                    )
                    .label(said, "known after the label only")
                    .help("say it of both fields, or of none"),
                );
            }
        }
    }

    fn column(
        &mut self,
        seen: &mut Vec<(&'a str, ColumnKind, bool, Span)>,
        (name, at): (&'a str, Span),
        kind: ColumnKind,
        list: bool,
    ) {
        let text = |kind: ColumnKind, list: bool| {
            let what = match kind {
                ColumnKind::Integers => "int64 ids",
                ColumnKind::Strings => "string ids",
                ColumnKind::Numbers => "numbers",
                ColumnKind::Times => "whole numbers",
            };
            if list { format!("lists of {what}") } else { what.to_string() }
        };
        let other = |s: &&(&str, ColumnKind, bool, Span)| s.0 == name && (s.2 != list || !s.1.agrees_with(kind));
        if let Some(&(_, k, l, first)) = seen.iter().find(other) {
            self.report(
                Diagnostic::error(
                    "E0406",
                    format!("the column `{name}` is read in two ways"),
                    at,
                    format!("as {}", text(kind, list)),
                )
                .label(first, format!("as {}", text(k, l)))
                .help(if l != list && [k, kind].contains(&ColumnKind::Times) {
                    format!(
                        "a column has one time per row or a list of them; how long the entries of a `sequence` were before \
                         the row's `{name}` is `before({name}, …)`"
                    )
                } else {
                    "a column has one type: name another column with `from`".to_owned()
                }),
            );
            return;
        }
        if seen.iter().any(|s| (s.0, s.1) == (name, kind)) {
            return;
        }
        seen.push((name, kind, list, at));
    }
}

/// The columns that a field reads, as what, and whether as lists.
fn columns_of(field: &ast::FeatureField, list: bool) -> Vec<(&str, Span, ColumnKind, bool)> {
    let kind = match (&field.kind.kind, &field.source) {
        (FeatureKindName::Category { of: Some(IdsDecl::Tuple { .. }), .. } | FeatureKindName::Other(_), _) => {
            return Vec::new();
        }
        (_, Some(FieldSource::Computed(_))) => ColumnKind::Numbers,
        (FeatureKindName::Category { of: Some(IdsDecl::Type(k)), .. }, _) if k.name == "string" => ColumnKind::Strings,
        (FeatureKindName::Category { .. }, _) => ColumnKind::Integers,
        (FeatureKindName::Number { .. }, _) => ColumnKind::Numbers,
    };
    let vector = matches!(field.kind.kind, FeatureKindName::Number { width: Some(_) });
    let list = list || vector || field.pooled.is_some();
    let mut columns: Vec<_> = match &field.source {
        Some(FieldSource::Computed(e)) => match times_in(e) {
            Some((of_sample, times)) => {
                let times = times.into_iter().enumerate();
                times.map(|(k, (name, at))| (name, at, ColumnKind::Times, list && !(of_sample && k == 0))).collect()
            }
            None => names_in(e).into_iter().map(|(name, at)| (name, at, kind, list)).collect(),
        },
        Some(FieldSource::Column(column)) => vec![(column.name.as_str(), column.span, kind, list)],
        None => vec![(field.name.name.as_str(), field.name.span, kind, list)],
    };
    if let Some(weights) = field.pooled.as_ref().and_then(|pooled| pooled.weights.as_ref()) {
        columns.push((weights.name.as_str(), weights.span, ColumnKind::Numbers, true));
    }
    columns
}

/// The columns of the `gap` or `before` that a function is of, and whether the first has one time
/// per sample.
fn times_in(e: &ast::Expr) -> Option<(bool, Vec<(&str, Span)>)> {
    match &e.kind {
        ExprKind::Unary { value, .. } => times_in(value),
        ExprKind::Binary { left, right, .. } => times_in(left).or_else(|| times_in(right)),
        ExprKind::Call { callee, arguments } => match &callee.kind {
            ExprKind::Name(word) if OF_TWO_COLUMNS.contains(&word.as_str()) => {
                let columns = arguments.iter().flat_map(|argument| names_in(&argument.value)).collect();
                Some((word == "before", columns))
            }
            _ => arguments.first().and_then(|argument| times_in(&argument.value)),
        },
        _ => None,
    }
}

/// The names and texts in a function of a column: its columns, and constants by name.
fn names_in(e: &ast::Expr) -> Vec<(&str, Span)> {
    match &e.kind {
        ExprKind::Name(name) | ExprKind::Text(name) => vec![(name, e.span)],
        ExprKind::Unary { value, .. } => names_in(value),
        ExprKind::Binary { left, right, .. } => [names_in(left), names_in(right)].concat(),
        // Columns are in the first argument.
        ExprKind::Call { arguments, .. } => arguments.first().map(|a| names_in(&a.value)).unwrap_or_default(),
        _ => Vec::new(),
    }
}
