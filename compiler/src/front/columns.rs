//! The columns of the data that a model reads: each has one type, and a label is no input.

use super::elaborator::Elaborator;
use din_grammar::ast::{self, FeatureKindName, MemberKind};
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
    pub(super) fn columns(&mut self, model: &'a ast::Model) {
        let mut seen: Vec<(&'a str, ColumnKind, bool, Span)> = Vec::new();
        let mut labels: Vec<(&'a str, Span)> = Vec::new();
        let mut keys: Vec<Span> = Vec::new();
        for member in &model.members {
            match &member.kind {
                MemberKind::Features { fields, .. } | MemberKind::Sequence { fields, .. } => {
                    let list = matches!(member.kind, MemberKind::Sequence { .. });
                    for f in fields {
                        let kind = match &f.kind.kind {
                            FeatureKindName::Category { key: Some(k), .. } if k.name == "string" => ColumnKind::Strings,
                            FeatureKindName::Category { .. } => ColumnKind::Integers,
                            FeatureKindName::Number { width } => {
                                let list = list || width.is_some();
                                self.column(&mut seen, &f.column, &f.name, ColumnKind::Numbers, list);
                                continue;
                            }
                            FeatureKindName::Other(_) => continue,
                        };
                        self.column(&mut seen, &f.column, &f.name, kind, list);
                    }
                }
                MemberKind::Key { name, kind, column } => {
                    let kind = if kind.name == "string" { ColumnKind::Strings } else { ColumnKind::Integers };
                    keys.push(column.as_ref().unwrap_or(name).span);
                    self.column(&mut seen, column, name, kind, false);
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
        column: &'a Option<ast::Ident>,
        name: &'a ast::Ident,
        kind: ColumnKind,
        list: bool,
    ) {
        let at = column.as_ref().unwrap_or(name);
        let text = |kind: ColumnKind, list: bool| {
            let what = match kind {
                ColumnKind::Integers => "int64 ids",
                ColumnKind::Strings => "string ids",
                ColumnKind::Numbers => "numbers",
            };
            if list { format!("lists of {what}") } else { what.to_string() }
        };
        if let Some(&(_, k, l, first)) = seen.iter().find(|s| s.0 == at.name) {
            if (k, l) != (kind, list) {
                self.report(
                    Diagnostic::error(
                        "E0406",
                        format!("the column `{}` is read in two ways", at.name),
                        at.span,
                        format!("as {}", text(kind, list)),
                    )
                    .label(first, format!("as {}", text(k, l)))
                    .help("a column has one type: name another column with `from`"),
                );
            }
            return;
        }
        seen.push((&at.name, kind, list, at.span));
    }
}
