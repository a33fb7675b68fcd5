//! The picture of a model: its groups of features with their tables, the values that it names, and
//! what it predicts. Loss and metrics are not in it.
//!
//! - `parts`: what a picture is made of. - `layout`: where boxes stand. - `svg`, `html`, `text`:
//!   the picture in SVG, as a page, and in the languages of Graphviz and Mermaid.
#![warn(missing_docs)]

mod html;
mod layout;
mod parts;
mod svg;
mod text;

pub use html::html;
pub use parts::{Picture, PictureKind, PictureNode};
pub use svg::svg;
pub use text::{dot, mermaid};

use crate::front::analysis::{Analysis, SymbolKind, ValueForm};
use crate::model::CheckedModel;
use din_grammar::Span;
use din_grammar::ast::{self, Block, Expr, ExprKind, MemberKind, StatementKind};
use din_grammar::parts::ExprPart;
use din_program::schema::FeatureKind;
use std::collections::BTreeMap;

/// Longest line of an expression in a node, in characters.
const COLUMNS: usize = 46;

impl Picture {
    /// The picture of a model, with what `analysis` of the same text knows of its values: shapes
    /// and comments. Those are of the hyper-parameters that the text has.
    pub fn of(model: &CheckedModel, analysis: &Analysis) -> Self {
        let mut drawing = Drawing { model, analysis, nodes: Vec::new(), edges: Vec::new(), names: BTreeMap::new() };
        let found = analysis.tree.models().next().expect("the front end has found it");
        for member in &found.members {
            drawing.member(&member.kind);
        }
        Self { model: model.name.clone(), nodes: drawing.nodes, edges: drawing.edges }
    }
}

struct Drawing<'a> {
    model: &'a CheckedModel,
    analysis: &'a Analysis,
    nodes: Vec<PictureNode>,
    edges: Vec<(usize, usize)>,
    /// The node of each name that is drawn.
    names: BTreeMap<String, usize>,
}

impl Drawing<'_> {
    fn member(&mut self, member: &MemberKind) {
        match member {
            MemberKind::Let(ast::Let { pattern, value }) => {
                self.value(PictureKind::Value, &pattern.names(), Some(value));
            }
            MemberKind::Layer(ast::Layer { name, value }) => self.value(PictureKind::Layer, &[name], Some(value)),
            MemberKind::Param(variables) | MemberKind::Constant(variables) => {
                variables.iter().for_each(|variable| self.value(PictureKind::Layer, &[&variable.name], None));
            }
            MemberKind::Output { name, value } => self.value(PictureKind::Value, &[name], Some(value)),
            MemberKind::Predict { target, distribution } => {
                self.value(PictureKind::Prediction, &[target], Some(distribution));
            }
            // What comes in is drawn where it is read. The others say nothing of how a
            // prediction is computed.
            MemberKind::Features { .. }
            | MemberKind::Sequence { .. }
            | MemberKind::Label { .. }
            | MemberKind::Key { .. }
            | MemberKind::Embedding(_)
            | MemberKind::Hyper { .. }
            | MemberKind::Train(_)
            | MemberKind::Report { .. }
            | MemberKind::Assert { .. }
            | MemberKind::Common { .. }
            | MemberKind::Request { .. } => {}
        }
    }

    /// A node with the text of its expression, and an edge from each name that this reads.
    fn value(&mut self, kind: PictureKind, names: &[&ast::Ident], value: Option<&Expr>) {
        let mut read = Vec::new();
        value.iter().for_each(|value| names_of(value, &mut read));
        let mut sources: Vec<usize> = Vec::new();
        for read in read {
            let source = self.names.get(&read).copied().or_else(|| self.group(&read));
            sources.extend(source.filter(|source| !sources.contains(source)));
        }
        let span = names.first().expect("a pattern has a name").span;
        let lines = value.map_or_else(|| vec!["a weight".into()], |value| wrapped(self.model.sources.text(value.span)));
        let summary = match self.analysis.values(span) {
            [only] if only.form == ValueForm::Tensor => Some(only),
            _ => None,
        };
        let weights = names.iter().map(|name| self.weights(&name.name)).sum();
        let text: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
        let index = self.nodes.len();
        self.nodes.push(PictureNode {
            name: text.join(", "),
            kind,
            lines,
            shape: summary.filter(|_| names.len() == 1).map(|summary| summary.text.clone()),
            axis: summary.and_then(|summary| summary.axis.clone()),
            weights,
            docs: self.docs(span),
            place: self.model.sources.location(span),
        });
        self.edges.extend(sources.into_iter().map(|source| (source, index)));
        self.names.extend(text.into_iter().map(|name| (name.to_string(), index)));
    }

    /// Weights whose path begins with a name.
    fn weights(&self, name: &str) -> usize {
        let of = |path: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.model.parameters.iter().filter(|parameter| of(&parameter.name)).map(|parameter| parameter.width()).sum()
    }

    /// The comment of what is defined at a place.
    fn docs(&self, span: Span) -> Vec<String> {
        self.analysis.defined_at(span).map_or_else(Vec::new, |id| self.analysis.symbol(id).docs.clone())
    }

    /// The node of a group, which is made when it is read first; `None` where there is none of that
    /// name.
    fn group(&mut self, name: &str) -> Option<usize> {
        let lines: Vec<String> = (0..)
            .zip(&self.model.schema.features)
            .filter(|(_, feature)| feature.group == name)
            .map(|(index, feature)| {
                let path = feature.path();
                let tables = self.model.tables.iter().filter(|table| table.features.contains(&index));
                // A family's tables are named by the field: `wide.ad.good_id`.
                let widths = tables.map(|table| match table.name.trim_end_matches(&path).trim_end_matches('.') {
                    "" => format!(" [{}]", table.width),
                    name => format!(" {name} [{}]", table.width),
                });
                let numbers = match feature.kind {
                    FeatureKind::Dense { width: 1 } => " number".to_string(),
                    FeatureKind::Dense { width } => format!(" number[{width}]"),
                    FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => String::new(),
                };
                format!("{}:{numbers}{}", feature.name, widths.collect::<Vec<_>>().join(","))
                    .trim_end_matches(':')
                    .into()
            })
            .collect();
        if lines.is_empty() {
            return None;
        }
        let is_sequence = self.model.schema.sequences.iter().any(|sequence| sequence.name == name);
        let (kind, axis) = match is_sequence {
            true => (PictureKind::Sequence, Some(format!("one per entry of {name}"))),
            false => (PictureKind::Features, None),
        };
        let is_group = |kind: SymbolKind| matches!(kind, SymbolKind::Features | SymbolKind::Sequence);
        let mut symbols = self.analysis.symbols().map(|(_, symbol)| symbol);
        let symbol = symbols.find(|symbol| is_group(symbol.kind) && symbol.name == name);
        let index = self.nodes.len();
        self.nodes.push(PictureNode {
            name: name.into(),
            kind,
            lines,
            shape: None,
            axis,
            weights: 0,
            docs: symbol.map_or_else(Vec::new, |symbol| symbol.docs.clone()),
            place: symbol
                .and_then(|symbol| symbol.definition)
                .map_or_else(String::new, |span| self.analysis.sources.location(span)),
        });
        self.names.insert(name.to_string(), index);
        Some(index)
    }
}

/// The names in an expression, in the order written. An axis to reduce over is none.
fn names_of(value: &Expr, names: &mut Vec<String>) {
    if let ExprKind::Name(name) = &value.kind {
        names.push(name.clone());
    }
    for part in value.parts() {
        match part {
            ExprPart::Expr(part) => names_of(part, names),
            ExprPart::Block(block) => names_of_block(block, names),
        }
    }
}

fn names_of_block(block: &Block, names: &mut Vec<String>) {
    for statement in &block.statements {
        match &statement.kind {
            StatementKind::Let(ast::Let { value, .. })
            | StatementKind::Layer(ast::Layer { value, .. })
            | StatementKind::Update { value, .. }
            | StatementKind::Assign { value, .. }
            | StatementKind::Expr(value) => names_of(value, names),
            StatementKind::For { each, body } => {
                names_of(&each.list, names);
                names_of_block(body, names);
            }
            StatementKind::Param(_) | StatementKind::Constant(_) | StatementKind::State(_) => {}
        }
    }
    if let Some(value) = &block.value {
        names_of(value, names);
    }
}

/// Lines of at most [`COLUMNS`] characters, divided at white space where that is possible, but not
/// between the name of an argument and its value.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.replace(" = ", "\0=\0").split_whitespace() {
        let word = word.replace('\0', " ");
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(_) | None => lines.push(word),
        }
    }
    lines
}
