//! Vectors of features: `embed(group)`, `embed(group.field)` and tables called as functions.

use super::declarations::{PooledField, Pooling, TableFamily, TableReader};
use super::elaborator::Elaborator;
use super::load::listed;
use super::value::{ArgumentValue, ExprValue, RecordField, Tensor, counted};
use super::walk::InputKey;
use crate::graph::{BinaryOp, InputKind, NodeId, Shape, TableId, TypeError, UnaryOp};
use din_grammar::{Diagnostic, Span};
use din_program::schema::FeatureKind;
use std::rc::Rc;

impl<'a> Elaborator<'a> {
    /// `embed(ad)`, `embed(ad.good_id)`: one group or field.
    pub fn embed(&mut self, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        match value {
            ExprValue::Poison => ExprValue::Poison,
            ExprValue::Feature(f) => match self.vector(f, at) {
                Some(t) => ExprValue::Tensor(t),
                None => ExprValue::Poison,
            },
            ExprValue::Group(g) => {
                let features = self.declarations.groups[g].features.clone();
                let mut parts = Vec::new();
                for f in features {
                    let t = self.vector(f, at);
                    // The other fields have the same tables, as a rule: one question is enough.
                    let ambiguous = t.is_none() && self.declarations.tables_of[f].len() > 1;
                    parts.push((f, t));
                    if ambiguous {
                        break;
                    }
                }
                self.record(parts, span)
            }
            other => {
                let found = self.describe(&other);
                let help = match &other {
                    ExprValue::Text(text) => format!("write the name without quotes: `embed({text})`"),
                    ExprValue::Tensor(_) => "it is a vector already: leave `embed` out".into(),
                    ExprValue::Function(_) if found.starts_with("the table") => {
                        let table = self.sources.text(at);
                        format!("a table is called itself: `{table}(group.field)`; `embed` takes the group")
                    }
                    ExprValue::Number(_) => {
                        "widths stand where tables are declared, `embedding name [8] for …`: leave the number out"
                            .into()
                    }
                    _ => "name a group or a field: `embed(ad)`, `embed(ad.good_id)`".to_owned(),
                };
                let d = Diagnostic::error("E0307", "`embed` takes a group or one of its fields", at, found.clone());
                let expected = "expected a group, such as `ad`, or a field, such as `ad.good_id`";
                self.fault(d.note(format!("{expected}\nfound {found}")).help(help))
            }
        }
    }

    /// The records of several groups or fields as one, as `concat` joins them; `read` is what one
    /// group or field gives. A single field has its own name in the result.
    pub(super) fn joined_record(
        &mut self,
        groups: Vec<(ExprValue<'a>, Span)>,
        span: Span,
        mut read: impl FnMut(&mut Self, ExprValue<'a>, Span) -> ExprValue<'a>,
    ) -> ExprValue<'a> {
        let mut names: Vec<Option<String>> = Vec::new();
        let mut records = Vec::new();
        for (value, at) in groups {
            let field = if let ExprValue::Feature(f) = value { Some(f) } else { None };
            names.push(field.map(|f| self.declarations.schema.features[f].name.clone()));
            records.push(ArgumentValue { name: None, value: read(self, value, at), over: None, span: at });
        }
        let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
        self.concat(&records, &names, span)
    }

    /// The vectors of features one behind the other, named by the features; poison where one is
    /// faulty.
    fn record(&mut self, parts: Vec<(usize, Option<Tensor>)>, span: Span) -> ExprValue<'a> {
        let mut nodes = Vec::new();
        let mut fields = Vec::new();
        let mut start = 0;
        for (f, t) in parts {
            let Some(t) = t else { return ExprValue::Poison };
            let width = self.walk.graph.node(t.node).width();
            let name: Rc<str> = self.declarations.schema.features[f].name.as_str().into();
            fields.push(RecordField { name, start, width });
            start += width;
            nodes.push(t.node);
        }
        let built = match nodes.as_slice() {
            [] => return ExprValue::Poison,
            &[one] => Ok(one),
            _ => self.walk.graph.concat(nodes, span),
        };
        match built {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: Some(fields.into()) }),
            Err(e) => self.type_error(e, span),
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
        if let Some(table) = self.nameless_table(feature) {
            return Some(self.lookup(table, feature, at));
        }
        match tables.as_slice() {
            [table] => Some(self.lookup(*table, feature, at)),
            [] => {
                if self.declarations.poisoned_tables {
                    return None;
                }
                // Once for all uses.
                if !self.declarations.tableless.insert(feature) {
                    return None;
                }
                let d = Diagnostic::error(
                    "E0402",
                    format!("no table holds vectors for `{path}`"),
                    at,
                    "cannot be embedded",
                );
                let d = d.label(span, "declared here");
                // A field of the same name has a table, or has none either.
                let own = &self.declarations.schema.features[feature];
                let same = |other: usize| {
                    let of = &self.declarations.schema.features[other];
                    other != feature && of.name == own.name && of.kind == own.kind
                };
                let alike: Vec<usize> = (0..self.declarations.schema.features.len()).filter(|&f| same(f)).collect();
                let held = alike.iter().find_map(|&f| self.declarations.tables_of[f].first().map(|&table| (f, table)));
                let named = |&(_, table): &(usize, usize)| self.declarations.table_readers[table] == TableReader::Name;
                let other = |f: usize| self.declarations.schema.features[f].path();
                let help = match held.filter(named) {
                    Some((f, table)) => {
                        let t = &self.declarations.tables[table];
                        format!(
                            "give it the table of `{0}`: `embedding {1} [{2}] for {0}, {path}`; or one of its own, \
                             `embedding name [16] for {path}`",
                            other(f),
                            t.name,
                            t.width
                        )
                    }
                    None => {
                        let also: Vec<String> = alike.iter().map(|&f| format!(", {}", other(f))).collect();
                        let shown = if held.is_none() { also.concat() } else { String::new() };
                        let free = !self.declarations.declares(&own.name);
                        let name = if free { own.name.as_str() } else { "name" };
                        format!("add `embedding {name} [16] for {path}{shown}`")
                    }
                };
                if held.is_none() {
                    self.declarations.tableless.extend(alike);
                }
                self.report(d.help(help));
                None
            }
            many @ [first, ..] => {
                let names: Vec<String> = many.iter().map(|&t| self.reader_name(t)).collect();
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
                self.report(d.help(format!("call the table: `{}({path})`", self.reader_name(*first))));
                None
            }
        }
    }

    pub fn lookup(&mut self, table: usize, feature: usize, span: Span) -> Tensor {
        self.declarations.use_feature(feature);
        self.declarations.used_tables.insert(table);
        let key = (table as u32, feature as u32);
        if let Some(&node) = self.walk.vectors.get(&key) {
            return Tensor { node, fields: None };
        }
        let path = self.declarations.schema.features[feature].path();
        let axis = self.feature_axis(feature);
        let kind = InputKind::Ids { feature: feature as u32, group: self.declarations.group_of(feature) };
        let input = self.input(InputKey::Feature(feature), path, kind, axis, Shape::scalar());
        let mut node = self.walk.graph.lookup(TableId(table as u32), input, span);
        if let Some(pooled) = self.declarations.pooled.get(&feature).copied() {
            node = self.pool(node, pooled, span).expect("a list of vectors is pooled over its own axis");
        }
        self.walk.lookups.insert(key, node);
        let rate = self.declarations.table_dropouts[table];
        let node = self.dropped(node, Shape::scalar(), rate, span).expect("a mask of the look-up's own axis fits it");
        self.walk.vectors.insert(key, node);
        Tensor { node, fields: None }
    }

    /// The vectors of a list as one.
    fn pool(&mut self, vectors: NodeId, pooled: PooledField, span: Span) -> Result<NodeId, TypeError> {
        let entries = self.walk.graph.node(vectors).axis;
        let to = self.walk.graph.axes.parent(entries).expect("entries have lists above them");
        let one = self.walk.graph.constant(1.0, span);
        let Some(weights) = pooled.weights else {
            let number = self.length(entries, span);
            let number = self.walk.graph.binary(BinaryOp::Max, number, one, span)?;
            let divisor = match pooled.by {
                Pooling::Max => return self.walk.graph.max(vectors, to, span),
                Pooling::Sum => return self.walk.graph.sum(vectors, to, span),
                Pooling::Mean => number,
                Pooling::SquareRoot => self.walk.graph.unary(UnaryOp::Sqrt, number, span),
            };
            let sum = self.walk.graph.sum(vectors, to, span)?;
            return self.walk.graph.binary(BinaryOp::Divide, sum, divisor, span);
        };
        let weights = self.dense_input(weights, 1, span).node;
        let weighted = self.walk.graph.binary(BinaryOp::Multiply, vectors, weights, span)?;
        let sum = self.walk.graph.sum(weighted, to, span)?;
        let divisor = match pooled.by {
            Pooling::Max => unreachable!("a maximum has no weights"),
            Pooling::Sum => return Ok(sum),
            Pooling::Mean => self.walk.graph.sum(weights, to, span)?,
            Pooling::SquareRoot => {
                let squares = self.walk.graph.binary(BinaryOp::Multiply, weights, weights, span)?;
                let squares = self.walk.graph.sum(squares, to, span)?;
                self.walk.graph.unary(UnaryOp::Sqrt, squares, span)
            }
        };
        // Without an entry, or where all weights are 0, the sum is 0 and stays so.
        let divisor = self.walk.graph.select(divisor, divisor, one, span)?;
        self.walk.graph.binary(BinaryOp::Divide, sum, divisor, span)
    }

    /// What the network calls to read a table: its own name, or that of its family.
    pub fn reader_name(&self, table: usize) -> String {
        match self.declarations.table_readers[table] {
            TableReader::Family(f) => self.declarations.families[f].name.to_string(),
            TableReader::Name | TableReader::Embed => self.declarations.tables[table].name.clone(),
        }
    }

    /// `good(ad.good_id)`
    pub fn table_call(&mut self, table: usize, given: &[ArgumentValue<'a>], span: Span) -> ExprValue<'a> {
        let name = self.declarations.tables[table].name.clone();
        let Some(g) = self.table_argument(&name, given, "group.field", span) else { return ExprValue::Poison };
        match g.value.clone() {
            ExprValue::Poison => ExprValue::Poison,
            ExprValue::Feature(f) if self.declarations.tables[table].features.contains(&(f as u32)) => {
                ExprValue::Tensor(self.lookup(table, f, span))
            }
            ExprValue::Feature(f) => {
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

    /// `wide(user)`, the record of a group's vectors in the family; `wide(user.gender)`, one of
    /// them; `wide(user, ad)`, both records as one.
    pub fn family_call(&mut self, family: usize, given: &[ArgumentValue<'a>], span: Span) -> ExprValue<'a> {
        let name = self.declarations.families[family].name;
        let mut groups = Vec::new();
        // One by one: several are possible, but none at all is not.
        for given in given.chunks(1).chain(given.is_empty().then_some(given)) {
            match self.table_argument(name, given, "group", span) {
                Some(g) => groups.push((g.value.clone(), g.span)),
                None => return ExprValue::Poison,
            }
        }
        match groups.as_slice() {
            [(value, at)] => self.family_read(family, value.clone(), *at, span),
            _ => self.joined_record(groups, span, |me, value, at| me.family_read(family, value, at, span)),
        }
    }

    /// What a family has for a group or field.
    fn family_read(&mut self, family: usize, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        let TableFamily { name, span: declared, tables } = self.declarations.families[family].clone();
        let (features, what) = match value {
            ExprValue::Poison => return ExprValue::Poison,
            ExprValue::Feature(f) => {
                if let Some(&(_, table)) = tables.iter().find(|t| t.0 == f) {
                    return ExprValue::Tensor(self.lookup(table, f, span));
                }
                (f..f + 1, self.declarations.schema.features[f].path())
            }
            ExprValue::Group(group) => {
                (self.declarations.groups[group].features.clone(), self.declarations.groups[group].name.into())
            }
            other => {
                let found = self.describe(&other);
                return self.fault(
                    Diagnostic::error("E0407", format!("`{name}` takes a group or a feature"), at, found.clone()).note(
                        format!("expected a group, such as `ad`, or a field, such as `ad.good_id`\nfound {found}"),
                    ),
                );
            }
        };
        let held: Vec<(usize, usize)> = tables.into_iter().filter(|(f, _)| features.contains(f)).collect();
        if held.is_empty() {
            return self.fault(
                Diagnostic::error("E0407", format!("`{name}` has no table for `{what}`"), at, "no such table")
                    .label(declared, "its groups are listed here")
                    .help("add the group after `for each of`; numbers have no table"),
            );
        }
        let parts = held.into_iter().map(|(f, table)| (f, Some(self.lookup(table, f, span)))).collect();
        self.record(parts, span)
    }

    /// The one argument of a call of the table, or family of tables, `name`.
    fn table_argument<'g>(
        &mut self,
        name: &str,
        given: &'g [ArgumentValue<'a>],
        form: &str,
        span: Span,
    ) -> Option<&'g ArgumentValue<'a>> {
        if let [one] = given {
            let error = match (one.name, &one.over) {
                (None, None) => return Some(one),
                (Some(n), _) => Diagnostic::error(
                    "E0208",
                    format!("`{name}` has no parameter `{}`", n.name),
                    n.span,
                    "no such parameter",
                ),
                (None, Some(_)) => Diagnostic::error(
                    "E0314",
                    format!("`{name}` takes no axis"),
                    one.span,
                    "`over` is not possible here",
                ),
            };
            self.report(error.help(format!("write `{name}({form})`")));
            return None;
        }
        self.report(
            Diagnostic::error(
                "E0209",
                format!("the table `{name}` takes one feature"),
                span,
                counted(given.len(), "argument"),
            )
            .help(format!("write `{name}({form})`")),
        );
        None
    }
}
