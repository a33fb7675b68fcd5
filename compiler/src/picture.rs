//! The picture of a model: its groups of features with their tables, the values that it names, and
//! what it predicts, as a graph in DOT, the language of Graphviz.
#![warn(missing_docs)]

use crate::model::CheckedModel;
use din_grammar::ast::{self, Block, Expr, ExprKind, Item, MemberKind, StatementKind};
use din_grammar::parts::ExprPart;
use din_grammar::{FileId, parse};
use din_program::schema::FeatureKind;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Longest line of an expression in a node, in characters.
const COLUMNS: usize = 46;

/// What a node stands for.
#[derive(Clone, Copy)]
enum NodeKind {
    /// A group of features, or a sequence.
    Group,
    /// A `let`, a `param` or an `output`.
    Value,
    /// A `layer`, whose weights are shared by those that call it.
    Layer,
    Prediction,
}

impl NodeKind {
    /// Attributes in DOT.
    fn style(self) -> &'static str {
        match self {
            Self::Group => "style=filled fillcolor=\"#dfe9f5\"",
            Self::Value => "style=rounded",
            Self::Layer => "style=\"rounded,dashed\"",
            Self::Prediction => "style=\"rounded,filled\" fillcolor=\"#e3f1dd\"",
        }
    }
}

/// The text of the graph: inputs at the bottom, predictions at the top. Loss and metrics are not in
/// it.
pub fn picture(model: &CheckedModel) -> String {
    let spec = model.sources.files().first().expect("a model is made from a file");
    let file = parse(&spec.text, FileId(0)).expect("the front end has parsed it");
    let found = file.items.iter().find_map(|item| match item {
        Item::Model(found) => Some(found),
        Item::Function(_)
        | Item::Regularizer(_)
        | Item::Optimizer(_)
        | Item::Metric(_)
        | Item::Schema(_)
        | Item::Test(_) => None,
    });
    let mut drawing = Drawing { model, nodes: String::new(), edges: String::new(), names: BTreeMap::new() };
    for member in &found.expect("the front end has found it").members {
        drawing.member(&member.kind);
    }
    let Drawing { nodes, edges, .. } = drawing;
    format!(
        "digraph {} {{\n  rankdir=BT\n  bgcolor=white\n  node [shape=box fontname=\"Helvetica\" fontsize=11]\n  \
         edge [arrowsize=0.6 color=\"#555555\"]\n{nodes}{edges}}}\n",
        quoted(&model.name)
    )
}

struct Drawing<'a> {
    model: &'a CheckedModel,
    nodes: String,
    edges: String,
    /// The node of each name that is drawn.
    names: BTreeMap<String, String>,
}

impl Drawing<'_> {
    fn member(&mut self, member: &MemberKind) {
        match member {
            MemberKind::Let(ast::Let { pattern, value }) => {
                let names: Vec<String> = pattern.names().into_iter().map(|name| name.name.clone()).collect();
                self.value(NodeKind::Value, &names.join(", "), value);
                let node = names.join(", ");
                self.names.extend(names.into_iter().map(|name| (name, node.clone())));
            }
            MemberKind::Layer(ast::Layer { name, value }) => {
                self.value(NodeKind::Layer, &name.name, value);
                self.names.insert(name.name.clone(), name.name.clone());
            }
            MemberKind::Param(variables) => {
                for variable in variables {
                    self.node(NodeKind::Value, &variable.name.name, &["a weight".to_string()]);
                    self.names.insert(variable.name.name.clone(), variable.name.name.clone());
                }
            }
            MemberKind::Output { name, value } => {
                self.value(NodeKind::Value, &name.name, value);
                self.names.insert(name.name.clone(), name.name.clone());
            }
            MemberKind::Predict { target, distribution } => {
                self.value(NodeKind::Prediction, &target.name, distribution);
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
    fn value(&mut self, kind: NodeKind, name: &str, value: &Expr) {
        let mut read = Vec::new();
        names_of(value, &mut read);
        let mut sources: Vec<String> = Vec::new();
        for read in read {
            let source = self.names.get(&read).cloned().or_else(|| self.group(&read));
            sources.extend(source.filter(|source| !sources.contains(source)));
        }
        let lines = wrapped(self.model.sources.text(value.span));
        self.node(kind, name, &lines);
        for source in sources {
            let _ = writeln!(self.edges, "  {} -> {}", quoted(&source), quoted(name));
        }
    }

    /// The node of a group, which is made when it is read first; `None` where there is none of that
    /// name.
    fn group(&mut self, name: &str) -> Option<String> {
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
        let title = if is_sequence { format!("{name} (sequence)") } else { name.to_string() };
        self.names.insert(name.to_string(), title.clone());
        self.node(NodeKind::Group, &title, &lines);
        Some(title)
    }

    /// A title in bold, and lines below it.
    fn node(&mut self, kind: NodeKind, title: &str, lines: &[String]) {
        let rows: String = lines
            .iter()
            .map(|line| {
                format!(
                    "<TR><TD ALIGN=\"LEFT\"><FONT FACE=\"Courier\" POINT-SIZE=\"10\">{}</FONT></TD></TR>",
                    escaped(line)
                )
            })
            .collect();
        let _ = writeln!(
            self.nodes,
            "  {} [{} label=<<TABLE BORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"1\">\
             <TR><TD><B>{}</B></TD></TR>{rows}</TABLE>>]",
            quoted(title),
            kind.style(),
            escaped(title)
        );
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
            StatementKind::Param(_) | StatementKind::State(_) => {}
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

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Text of a label that is HTML to Graphviz.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
