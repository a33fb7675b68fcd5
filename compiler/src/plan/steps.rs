//! Recurrences, prepared for calls that treat the entries of one step of all lists.
//!
//! What a recurrence computes moves to the axis of the steps of its sequence
//! ([`AxisKind::Steps`](crate::graph::AxisKind::Steps)), on which the entries of a step lie side by
//! side. What it reads of the sequence is brought there before, so that products with what does
//! not depend on the state are made for all entries at once, and what others read of it is brought
//! back.

use crate::graph::{AxisId, Graph, Node, NodeId, Op, Root};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// The graph in this form; `None` where it has no recurrence. `order` lists operands first.
pub(super) fn by_step(graph: &Graph, order: &[NodeId]) -> Option<Graph> {
    let recurrences = graph.recurrences(order);
    if recurrences.is_empty() {
        return None;
    }
    let mut new = graph.without_nodes();
    let mut steps: BTreeMap<AxisId, AxisId> = BTreeMap::new();
    let mut members: FxHashMap<NodeId, AxisId> = FxHashMap::default();
    for recurrence in &recurrences {
        let sequence = graph.node(recurrence.previous).axis;
        let axis = *steps.entry(sequence).or_insert_with(|| new.axes.add_steps(sequence));
        members.extend(recurrence.members.iter().map(|&id| (id, axis)));
    }
    let mut pass = Steps { new, map: FxHashMap::default(), renamed: FxHashMap::default() };
    for &id in order {
        let node = graph.node(id);
        let at = match (members.get(&id), node.operands.as_slice()) {
            (Some(&axis), _) => Some(axis),
            // A sum of outer products over the entries has the same terms in either order.
            (None, &[x, g]) if node.op == Op::Outer => {
                let over = graph.axes.join(graph.node(x).axis, graph.node(g).axis);
                let steps = members.get(&x).or(members.get(&g)).copied();
                steps.filter(|&steps| over == pass.new.axes.steps_of(steps))
            }
            (None, _) => None,
        };
        let operands = node.operands.iter().map(|o| pass.operand(graph.node(*o).axis, *o, at)).collect();
        let axis = members.get(&id).copied().unwrap_or(node.axis);
        let made = pass.new.push(Node { operands, axis, ..node.clone() });
        pass.map.insert(id, made);
    }
    for root in &graph.roots {
        let mut root: Root = root.clone();
        let node = graph.node(root.node());
        *root.node_mut() = pass.operand(node.axis, root.node(), None);
        pass.new.roots.push(root);
    }
    Some(pass.new)
}

struct Steps {
    new: Graph,
    map: FxHashMap<NodeId, NodeId>,
    /// Values by other numbers.
    renamed: FxHashMap<(NodeId, AxisId), NodeId>,
}

impl Steps {
    /// What an old value, which was on `axis`, is for a user that works on the steps `at`, or where
    /// it was.
    fn operand(&mut self, axis: AxisId, old: NodeId, at: Option<AxisId>) -> NodeId {
        let made = self.map[&old];
        let to = match at {
            Some(steps) if self.new.axes.steps_of(steps) == Some(axis) => steps,
            Some(_) | None => axis,
        };
        if self.new.node(made).axis == to {
            return made;
        }
        if let Some(&renamed) = self.renamed.get(&(made, to)) {
            return renamed;
        }
        let span = self.new.node(made).span;
        let renamed = self.new.rename(made, to, span).expect("both are numbers of the same entries");
        self.renamed.insert((made, to), renamed);
        renamed
    }
}
