//! Vectors of features: `embed(group)`, `embed(group.field)` and tables called as functions.

use super::elab::Elab;
use super::load::listed;
use super::value::{Field, Given, Tensor, Value, counted};
use crate::graph::{InputKind, Shape, TableId};
use din_grammar::{Diagnostic, Span};
use din_program::schema::FeatureKind;
use std::rc::Rc;

impl<'a> Elab<'a> {
    /// `embed(ad)`, `embed(ad.good_id)`
    pub fn embed(&mut self, value: Value<'a>, at: Span, span: Span) -> Value<'a> {
        match value {
            Value::Poison => Value::Poison,
            Value::Feature(f) => match self.vector(f, at) {
                Some(t) => Value::Tensor(t),
                None => Value::Poison,
            },
            Value::Group(g) => {
                let features = self.declarations.groups[g].features.clone();
                let mut nodes = Vec::new();
                let mut fields = Vec::new();
                let mut start = 0;
                let mut poison = false;
                for f in features {
                    let Some(t) = self.vector(f, at) else {
                        poison = true;
                        continue;
                    };
                    let width = self.graph.node(t.node).width();
                    let name: Rc<str> = self.declarations.schema.features[f].name.as_str().into();
                    fields.push(Field { name, start, width });
                    start += width;
                    nodes.push(t.node);
                }
                if poison || nodes.is_empty() {
                    return Value::Poison;
                }
                let built = if nodes.len() == 1 { Ok(nodes[0]) } else { self.graph.concat(nodes, span) };
                match built {
                    Ok(node) => Value::Tensor(Tensor { node, fields: Some(fields.into()) }),
                    Err(e) => self.type_error(e, span),
                }
            }
            other => {
                let found = self.describe(&other);
                self.fault(
                    Diagnostic::error("E0307", "`embed` takes a group or one of its fields", at, found.clone()).note(
                        format!("expected a group, such as `ad`, or a field, such as `ad.good_id`\nfound {found}"),
                    ),
                )
            }
        }
    }

    /// The vector of a feature: its table's row, or the numbers themselves.
    pub fn vector(&mut self, feature: usize, at: Span) -> Option<Tensor> {
        let f = &self.declarations.schema.features[feature];
        if let FeatureKind::Dense { width } = f.kind {
            return Some(self.dense_input(feature, width, at));
        }
        let path = f.path();
        let span = self.declarations.feature_spans[feature];
        let tables = self.declarations.tables_of[feature].clone();
        match tables.as_slice() {
            [table] => Some(self.lookup(*table, feature, at)),
            [] => {
                let kind = if self.declarations.poisoned_tables { None } else { Some(()) };
                kind?;
                self.report(
                    Diagnostic::error(
                        "E0402",
                        format!("no table holds vectors for `{path}`"),
                        at,
                        "cannot be embedded",
                    )
                    .label(span, "declared here")
                    .help(format!("add `embedding name [16] for {path}`")),
                );
                None
            }
            many => {
                let names: Vec<String> = many.iter().map(|&t| self.declarations.tables[t].name.clone()).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let all = listed(&names);
                let mut d = Diagnostic::error(
                    "E0403",
                    format!("{} tables hold vectors for `{path}`", many.len()),
                    at,
                    format!("which of {all}?"),
                );
                for &t in many {
                    d = d.label(self.declarations.table_spans[t], "one of them");
                }
                self.report(d.help(format!("call the table: `{}({path})`", names.first().copied().unwrap_or("table"))));
                None
            }
        }
    }

    pub fn lookup(&mut self, table: usize, feature: usize, span: Span) -> Tensor {
        self.declarations.used_features.insert(feature);
        self.declarations.used_tables.insert(table);
        let key = (table as u32, feature as u32);
        if let Some(&node) = self.run.lookups.get(&key) {
            return Tensor { node, fields: None };
        }
        let path = self.declarations.schema.features[feature].path();
        let domain = self.feature_domain(feature);
        let kind = InputKind::Ids { feature: feature as u32 };
        let input = self.input((0, feature as u32), path, kind, domain, Shape::scalar());
        let node = self.graph.lookup(TableId(table as u32), input, span);
        self.run.lookups.insert(key, node);
        Tensor { node, fields: None }
    }

    /// `good(ad.good_id)`
    pub fn table_call(&mut self, table: usize, given: &[Given<'a>], span: Span) -> Value<'a> {
        let name = self.declarations.tables[table].name.clone();
        let [g] = given else {
            return self.fault(
                Diagnostic::error(
                    "E0209",
                    format!("the table `{name}` takes one feature"),
                    span,
                    counted(given.len(), "argument"),
                )
                .help(format!("write `{name}(group.field)`")),
            );
        };
        match g.value.clone().unwrap_or(Value::Poison) {
            Value::Poison => Value::Poison,
            Value::Feature(f) if self.declarations.tables[table].features.contains(&(f as u32)) => {
                Value::Tensor(self.lookup(table, f, span))
            }
            Value::Feature(f) => {
                let path = self.declarations.schema.features[f].path();
                let at = self.declarations.table_spans[table];
                self.fault(
                    Diagnostic::error("E0407", format!("the table `{name}` is not for `{path}`"), g.span, "other ids")
                        .label(at, "its features are listed here")
                        .help(format!("add `{path}` to the features after `for`, if both hold the same ids")),
                )
            }
            other => {
                let found = self.describe(&other);
                self.fault(
                    Diagnostic::error("E0407", format!("the table `{name}` takes a feature"), g.span, found.clone())
                        .note(format!("expected a categorical feature, such as `ad.good_id`\nfound {found}")),
                )
            }
        }
    }
}
