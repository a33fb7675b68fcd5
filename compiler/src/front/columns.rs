//! The columns of the data that a model reads: each has one type, and a label is no input.

use super::elaborator::Elaborator;
use din_grammar::ast::{self, ExprKind, FeatureKindName, FieldSource, IdsDecl, MemberKind};
use din_grammar::{Diagnostic, Span};

/// What kind of column a name is bound to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    Integers,
    Strings,
    Numbers,
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
                            Some(FieldSource::Computed(e)) => {
                                for (name, span) in names_in(e) {
                                    self.column(&mut seen, (name, span), kind, list);
                                }
                            }
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
                | MemberKind::Predict { .. }
                | MemberKind::Train(_)
                | MemberKind::Report { .. }
                | MemberKind::Output { .. }
                | MemberKind::Assert { .. }
                | MemberKind::Common { .. } => {}
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
            };
            if list { format!("lists of {what}") } else { what.to_string() }
        };
        if let Some(&(_, k, l, first)) = seen.iter().find(|s| s.0 == name) {
            if (k, l) != (kind, list) {
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
            }
            return;
        }
        seen.push((name, kind, list, at));
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
