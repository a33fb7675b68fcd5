//! The columns of the data that a model reads: each has one type, and a label is no input.

use super::computed::OF_TWO_COLUMNS;
use super::elaborator::Elaborator;
use din_grammar::ast::{self, ExprKind, FeatureKindName, FieldSource, IdsDecl, MemberKind};
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
    /// A column has one kind, and a label's column is no feature.
    pub(super) fn columns(&mut self, members: &[&'a ast::Member]) {
        let mut seen: Vec<(&'a str, ColumnKind, bool, Span)> = Vec::new();
        let mut labels: Vec<(&'a str, Span)> = Vec::new();
        let mut keys: Vec<Span> = Vec::new();
        for member in members {
            match &member.kind {
                MemberKind::Features { fields, .. } | MemberKind::Sequence { fields, .. } => {
                    let list = matches!(member.kind, MemberKind::Sequence { .. });
                    for f in fields {
                        let kind = match (&f.kind.kind, &f.source) {
                            (FeatureKindName::Category { of: Some(IdsDecl::Tuple { .. }), .. }, _) => continue,
                            (FeatureKindName::Other(_), _) => continue,
                            (_, Some(FieldSource::Computed(_))) => ColumnKind::Numbers,
                            (FeatureKindName::Category { of: Some(IdsDecl::Type(k)), .. }, _) if k.name == "string" => {
                                ColumnKind::Strings
                            }
                            (FeatureKindName::Category { .. }, _) => ColumnKind::Integers,
                            (FeatureKindName::Number { .. }, _) => ColumnKind::Numbers,
                        };
                        let vector = matches!(f.kind.kind, FeatureKindName::Number { width: Some(_) });
                        let list = list || vector || f.pooled.is_some();
                        match &f.source {
                            Some(FieldSource::Computed(e)) => match times_in(e) {
                                Some((of_sample, times)) => {
                                    for (place, (name, span)) in times.into_iter().enumerate() {
                                        let list = list && !(of_sample && place == 0);
                                        self.column(&mut seen, (name, span), ColumnKind::Times, list);
                                    }
                                }
                                None => {
                                    for (name, span) in names_in(e) {
                                        self.column(&mut seen, (name, span), kind, list);
                                    }
                                }
                            },
                            Some(FieldSource::Column(column)) => {
                                self.column(&mut seen, (&column.name, column.span), kind, list);
                            }
                            None => self.column(&mut seen, (&f.name.name, f.name.span), kind, list),
                        }
                        if let Some(weights) = f.pooled.as_ref().and_then(|pooled| pooled.weights.as_ref()) {
                            self.column(&mut seen, (&weights.name, weights.span), ColumnKind::Numbers, true);
                        }
                    }
                }
                MemberKind::Key { name, kind, column } => {
                    let kind = if kind.name == "string" { ColumnKind::Strings } else { ColumnKind::Integers };
                    let at = column.as_ref().unwrap_or(name);
                    keys.push(at.span);
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
                | MemberKind::Predict { .. }
                | MemberKind::Train(_)
                | MemberKind::Report { .. }
                | MemberKind::Output { .. }
                | MemberKind::Assert { .. }
                | MemberKind::Common { .. }
                | MemberKind::Request { .. } => {}
            }
        }
        for (name, span) in &labels {
            if let Some(first) = seen.iter().find(|s| s.0 == *name && !keys.contains(&s.3)) {
                self.report(
                    Diagnostic::error(
                        "E0602",
                        format!("the column `{name}` is a label and an input"),
                        first.3,
                        "an input here",
                    )
                    .label(*span, "a label here: the answer leaks")
                    .help("take the column out of the features"),
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
                .help("a column has one type: name another column with `from`"),
            );
            return;
        }
        if seen.iter().any(|s| (s.0, s.1) == (name, kind)) {
            return;
        }
        seen.push((name, kind, list, at));
    }
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
