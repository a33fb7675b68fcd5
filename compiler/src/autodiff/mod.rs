//! Reverse-mode differentiation: adds to a graph the nodes and roots of dLoss/dParam and
//! dLoss/dRow.
//!
//! One walk from the loss back to its operands. A node's *adjoint* is dLoss/dNode, an array of the
//! node's own axis and shape; it is the sum of what the node's users contribute ([`adjoint`]), and
//! it is passed on by the node's rule ([`rules`], one arm an op, the derivative beside the
//! meaning). A node that depends on no parameter and no table row gets no adjoint, and neither does
//! one that the loss reads only through `stop_gradient` or an operation whose derivative is 0
//! everywhere: nothing is added for it. Whether a model may say so is decided by the front end, by
//! [`dependences`].
//!
//! Forward nodes are not touched, so a graph may be split or simplified before and simplified again
//! after.

mod adjoint;
mod builder;
mod dependence;
mod rules;

pub use builder::GradientBuilder;
pub use dependence::{Dependence, dependences};

use crate::graph::{
    AxisId, GLOBAL, Graph, InputId, Node, NodeId, Op, ParamId, Recurrence, Root, Shape, TableId, TypeError,
};
use adjoint::Adjoint;
use din_grammar::Span;
use std::collections::BTreeMap;
use std::fmt;

/// What received a gradient root, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gradients {
    pub params: Vec<ParamId>,
    pub rows: Vec<(TableId, InputId)>,
}

/// Why there is no gradient: a bug of the compiler, as `front` lets no such graph through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DifferentiateError {
    /// The graph has no `Loss` root.
    NoLoss,
    /// The loss must be one number for the whole batch.
    NotOneNumber { node: NodeId, span: Span },
    /// A derivative could not be typed: the graph does not pass `verify`.
    Type { node: NodeId, error: TypeError, span: Span },
}

impl DifferentiateError {
    /// The text at fault.
    pub fn span(&self) -> Span {
        match self {
            Self::NoLoss => Span::default(),
            Self::NotOneNumber { span, .. } | Self::Type { span, .. } => *span,
        }
    }
}

impl fmt::Display for DifferentiateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLoss => write!(f, "there is no loss to differentiate"),
            Self::NotOneNumber { .. } => write!(f, "the loss must be one number for the whole batch"),
            Self::Type { node, error, .. } => write!(f, "node {} cannot be differentiated: {error:?}", node.index()),
        }
    }
}

impl std::error::Error for DifferentiateError {}

/// Adds a `ParamGradient` root for every parameter and a `RowGradient` root for every (table,
/// input) that the loss depends on; several nodes that read the same parameter or rows are summed.
/// What the loss does not reach gets no root. Returns what got one.
pub fn differentiate(graph: &mut Graph) -> Result<Gradients, DifferentiateError> {
    let loss = graph.roots.iter().find_map(|r| if let Root::Loss(n) = r { Some(*n) } else { None });
    let loss = loss.ok_or(DifferentiateError::NoLoss)?;
    let span = graph.node(loss).span;
    if graph.node(loss).axis != GLOBAL || graph.node(loss).shape != Shape::scalar() {
        return Err(DifferentiateError::NotOneNumber { node: loss, span });
    }
    let order = graph.order_from([loss]);
    let active = active(graph, &order);
    let backward = Backward::new(graph, &order, &active, loss);

    let mut adjoints: BTreeMap<NodeId, Adjoint> = BTreeMap::new();
    let mut learned: BTreeMap<Learned, Vec<NodeId>> = BTreeMap::new();
    if active[loss.index()] {
        let one = graph.constant(1.0, span);
        adjoints.entry(loss).or_default().add(one);
    }
    for &id in order.iter().rev() {
        backward.enter(graph, id, &mut adjoints);
        let Some(adjoint) = adjoints.remove(&id) else { continue };
        let span = graph.node(id).span;
        let fail = |error| DifferentiateError::Type { node: id, error, span };
        let g = adjoint.finish(graph, id).map_err(fail)?;
        match learned_by(graph.node(id)) {
            Some(what) => learned.entry(what).or_default().push(g),
            None if backward.leave(graph, id, g) => {}
            None => rules::propagate(graph, id, g, &active, &mut adjoints).map_err(fail)?,
        }
    }

    let mut gradients = Gradients::default();
    for (what, parts) in learned {
        let span = graph.node(parts[0]).span;
        let fail = |error| DifferentiateError::Type { node: parts[0], error, span };
        let node = adjoint::total(graph, &parts, span).map_err(fail)?;
        match what {
            Learned::Param(param) => {
                gradients.params.push(param);
                graph.roots.push(Root::ParamGradient { param, node });
            }
            Learned::Rows(table, input, _) => {
                gradients.rows.push((table, input));
                graph.roots.push(Root::RowGradient { table, input, node });
            }
        }
    }
    Ok(gradients)
}

/// Something that learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Learned {
    Param(ParamId),
    /// At the ids of the input, or in a group that joins them.
    Rows(TableId, InputId, AxisId),
}

fn learned_by(node: &Node) -> Option<Learned> {
    match &node.op {
        Op::Param(p) => Some(Learned::Param(*p)),
        Op::Lookup { table, input } => Some(Learned::Rows(*table, *input, node.axis)),
        _ => None,
    }
}

/// By node number: whether something learned reaches the node along operands that have a
/// derivative, or through the state of a recurrence.
fn active(graph: &Graph, order: &[NodeId]) -> Vec<bool> {
    let mut active = vec![false; graph.bound()];
    let recurrences = graph.recurrences(order);
    loop {
        for &id in order {
            let node = graph.node(id);
            active[id.index()] |= learned_by(node).is_some()
                || node.operands.iter().enumerate().any(|(k, o)| rules::passes(&node.op, k) && active[o.index()]);
        }
        let reached = |r: &&Recurrence| active[r.scan.index()] && !active[r.previous.index()];
        let reached: Vec<NodeId> = recurrences.iter().filter(reached).map(|r| r.previous).collect();
        if reached.is_empty() {
            return active;
        }
        reached.into_iter().for_each(|id| active[id.index()] = true);
    }
}

/// Recurrences of the derivative. The adjoint of a state is the sum of what its users at the entry
/// contribute and of what reaches it through the entry behind it, so the derivative of a recurrence
/// is one that runs the other way: its own state is the adjoint of [`Op::Previous`].
struct Backward {
    /// By the end and by the beginning of a recurrence that has a derivative: the number of the
    /// recurrence that is its derivative.
    ends: BTreeMap<NodeId, usize>,
    begins: BTreeMap<NodeId, usize>,
}

impl Backward {
    fn new(graph: &Graph, order: &[NodeId], active: &[bool], loss: NodeId) -> Backward {
        let recurrences = graph.recurrences(order);
        let reached = reached(graph, order, active, loss, &recurrences);
        let differentiable = recurrences.iter().filter(|r| reached[r.previous.index()]);
        let numbered = || differentiable.clone().zip(graph.unused_scan()..);
        Backward {
            ends: numbered().map(|(r, number)| (r.scan, number)).collect(),
            begins: numbered().map(|(r, number)| (r.previous, number)).collect(),
        }
    }

    /// Before the contributions to the adjoint of `id` are summed: to that of a state adds what
    /// reaches it through the entry behind it.
    fn enter(&self, graph: &mut Graph, id: NodeId, adjoints: &mut BTreeMap<NodeId, Adjoint>) {
        let Some(&scan) = self.ends.get(&id) else { return };
        let node = graph.node(id).clone();
        let Op::Scan { backward, .. } = node.op else { unreachable!("a recurrence ends with its state") };
        let carried = graph.previous(scan, !backward, node.axis, node.width(), node.span);
        adjoints.entry(id).or_default().add(carried);
    }

    /// Takes the adjoint `g` of the state of the entry before, if `id` is one: it is carried to
    /// that entry.
    fn leave(&self, graph: &mut Graph, id: NodeId, g: NodeId) -> bool {
        let Some(&scan) = self.begins.get(&id) else { return false };
        let Op::Previous { backward, .. } = graph.node(id).op else { unreachable!("a recurrence begins with a state") };
        let span = graph.node(id).span;
        graph.scan(scan, !backward, g, span);
        true
    }
}

/// By node number: whether an adjoint arrives at the node from the loss.
fn reached(graph: &Graph, order: &[NodeId], active: &[bool], loss: NodeId, recurrences: &[Recurrence]) -> Vec<bool> {
    let mut reached = vec![false; graph.bound()];
    reached[loss.index()] = active[loss.index()];
    loop {
        for &id in order.iter().rev().filter(|id| active[id.index()]) {
            let node = graph.node(id);
            for (k, o) in node.operands.iter().enumerate() {
                reached[o.index()] |= reached[id.index()] && rules::passes(&node.op, k) && active[o.index()];
            }
        }
        let carried = |r: &&Recurrence| reached[r.previous.index()] && !reached[r.scan.index()];
        let ends: Vec<NodeId> = recurrences.iter().filter(carried).map(|r| r.scan).collect();
        if ends.is_empty() {
            return reached;
        }
        ends.into_iter().for_each(|id| reached[id.index()] = true);
    }
}
