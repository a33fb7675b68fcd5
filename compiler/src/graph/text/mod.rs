//! The textual form of a graph: readable, complete, and parsed back to an equal graph.
//!
//! ```text
//! axis batch under once
//! axis visited under batch
//! input 0 "visited.good_id": ids 4 of 1 : visited [1]
//! table 0 [16]
//! param 0 [192, 80]
//! %0 = lookup(0, 0) : visited [16] @0:512..525
//! %1 = param(0) : once [192, 80] @0:700..712
//! %2 = sum(%0, batch) : batch [16] @0:800..821
//! root named "taste" %2
//! ```
//!
//! Nodes stand in the order of [`Graph::order_all`] and are numbered by it. Arguments are operands,
//! then what the op holds (a number, an index, an axis). After `@` stands the span: file, start and
//! end byte. Two graphs are equal when their texts are.

mod parse;

pub use parse::ParseError;

use super::{Attribute, AxisId, AxisKind, AxisTree, Graph, InputKind, Node, NodeId, Root, Shape, UniqueKeys};
use std::fmt::{self, Display, Write};

/// How an axis is called: by its name where that is a word and nobody else's, else `d` and its
/// number.
fn label(axes: &AxisTree, id: AxisId) -> String {
    let plain = |name: &str| {
        let numbered = name.strip_prefix('d').is_some_and(|n| n.parse::<u32>().is_ok());
        let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        word && !numbered && name.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    match axes.get(id) {
        Some(d) if plain(&d.name) && axes.iter().filter(|(_, o)| o.name == d.name).count() == 1 => d.name.clone(),
        _ => format!("d{}", id.0),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn kind(kind: &InputKind) -> String {
    match kind {
        InputKind::Ids { feature, group } => format!("ids {feature} of {}", group.0),
        InputKind::Dense { feature } => format!("dense {feature}"),
        InputKind::Label { label } => format!("label {label}"),
        InputKind::Present { label } => format!("present {label}"),
        InputKind::Step => "step".into(),
        InputKind::Epoch => "epoch".into(),
        InputKind::SquaredNorms => "squared_norms".into(),
        InputKind::Weight => "weight".into(),
        InputKind::Gradient => "gradient".into(),
        InputKind::Slot { slot } => format!("slot {slot}"),
        InputKind::Frequency => "frequency".into(),
        InputKind::UpdateCount => "updates".into(),
        InputKind::InBatch => "in_batch".into(),
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "[{}]", axes.join(", "))
    }
}

fn arguments(graph: &Graph, node: &Node, number: &[usize]) -> String {
    let mut all: Vec<String> = node.operands.iter().map(|o| format!("%{}", number[o.index()])).collect();
    all.extend(node.op.attributes().into_iter().flatten().map(|attribute| match attribute {
        Attribute::Number(x) => format!("{x:?}"),
        Attribute::Index(k) => k.to_string(),
        Attribute::Axis(axis) => label(&graph.axes, axis),
    }));
    all.join(", ")
}

fn root(root: &Root) -> String {
    match root {
        Root::Loss(_) => "loss".into(),
        Root::Prediction { index, .. } => format!("prediction {index}"),
        Root::Output { index, .. } => format!("output {index}"),
        Root::Named { name, .. } => format!("named {}", quoted(name)),
        Root::State { state, .. } => format!("state {}", state.0),
        Root::ParamGradient { param, .. } => format!("param_gradient {}", param.0),
        Root::RowGradient { table, input, .. } => format!("row_gradient {} {}", table.0, input.0),
        Root::Weight(_) => "weight".into(),
        Root::Slot { slot, .. } => format!("slot {slot}"),
    }
}

impl Graph {
    /// The textual form.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        for (id, axis) in self.axes.iter().skip(1) {
            let name = label(&self.axes, id);
            let other = if name == axis.name { String::new() } else { format!(" named {}", quoted(&axis.name)) };
            let label = |id: AxisId| label(&self.axes, id);
            let kind = match &axis.kind {
                AxisKind::Global => "global".into(),
                AxisKind::Batch { request: None } => "batch".into(),
                AxisKind::Batch { request: Some(request) } => format!("batch of {}", label(*request)),
                AxisKind::Request => "request".into(),
                AxisKind::Sequence { sequence, parent, shared } => {
                    let shared = shared.map_or(String::new(), |s| format!(" shared {}", label(s)));
                    format!("sequence {sequence} under {}{shared}", label(*parent))
                }
                AxisKind::Fixed { size } => format!("fixed {size}"),
                AxisKind::Second { of } => format!("second name of {}", label(*of)),
                AxisKind::Steps { of } => format!("steps of {}", label(*of)),
                AxisKind::Pairs { of, second } => format!("pairs of {} with {}", label(*of), label(*second)),
                AxisKind::Unique(UniqueKeys { over, keys }) => {
                    let keys: Vec<String> = keys.iter().map(|(table, feature)| format!("{table} {feature}")).collect();
                    format!("unique of {} by {}", label(*over), keys.join(" "))
                }
            };
            writeln!(out, "axis {name}{other} = {kind}")?;
        }
        for (k, i) in self.inputs.iter().enumerate() {
            let axis = label(&self.axes, i.axis);
            writeln!(out, "input {k} {}: {} : {axis} {}", quoted(&i.name), kind(&i.kind), i.shape)?;
        }
        for (k, width) in self.tables.iter().enumerate() {
            writeln!(out, "table {k} [{width}]")?;
        }
        for (what, shapes) in [("param", &self.params), ("state", &self.states)] {
            for (k, shape) in shapes.iter().enumerate() {
                writeln!(out, "{what} {k} {shape}")?;
            }
        }
        let mut number = vec![0; self.bound()];
        for (k, id) in self.order_all().into_iter().enumerate() {
            number[id.index()] = k;
            let node = self.node(id);
            let (op, span) = (node.op.name(), node.span);
            write!(out, "%{k} = {op}({})", arguments(self, node, &number))?;
            write!(out, " : {} {}", label(&self.axes, node.axis), node.shape)?;
            writeln!(out, " @{}:{}..{}", span.file.0, span.start, span.end)?;
        }
        for r in &self.roots {
            let at = |id: NodeId| number[id.index()];
            writeln!(out, "root {} %{}", root(r), at(r.node()))?;
        }
        Ok(())
    }
}

/// Equal up to the numbering of nodes.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.text() == other.text()
    }
}
