//! Concatenations inside concatenations: where another node concatenates a run of the same
//! operands, it stands for the run.
//!
//! `simplify` flattens; before differentiation the parts are put together again, so that the
//! adjoint of an embedded record is one value, of which the row gradients are slices, instead of a
//! sum for each of its fields.

use super::rewrite::rebuild;
use crate::graph::{Graph, Node, NodeId, NodeOperands, Op};
use rustc_hash::FxHashMap;

pub(super) fn run(graph: &mut Graph) {
    let order = graph.order();
    let nodes: Vec<(NodeId, Node)> = order.into_iter().map(|id| (id, graph.node(id).clone())).collect();
    // The concatenations, longest first.
    let mut parts: Vec<Node> = nodes.iter().map(|(_, n)| n.clone()).filter(|n| n.op == Op::Concat).collect();
    parts.retain(|n| n.operands.len() > 1);
    parts.sort_by_key(|n| std::cmp::Reverse(n.operands.len()));

    // New numbers of old nodes, and of the concatenations made so far, by their old operands.
    let mut new_of: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    let mut made: FxHashMap<NodeOperands, NodeId> = FxHashMap::default();
    // `rebuild` walks the same order.
    let mut old = nodes.into_iter();
    rebuild(graph, |new, node| {
        let Some((id, original)) = old.next() else { return new.push(node) };
        let built =
            if node.op == Op::Concat { concat(new, &original, &parts, &new_of, &mut made) } else { new.push(node) };
        new_of.insert(id, built);
        built
    });
}

/// Builds a concatenation from shared runs, each made when first needed.
fn concat(
    new: &mut Graph,
    node: &Node,
    parts: &[Node],
    new_of: &FxHashMap<NodeId, NodeId>,
    made: &mut FxHashMap<NodeOperands, NodeId>,
) -> NodeId {
    if let Some(&known) = made.get(&node.operands) {
        return known;
    }
    let all = &node.operands;
    let mut operands = NodeOperands::new();
    let mut at = 0;
    while at < all.len() {
        let fits = |p: &&Node| p.operands.len() < all.len() && all[at..].starts_with(&p.operands);
        match parts.iter().find(fits) {
            Some(part) => {
                operands.push(concat(new, part, parts, new_of, made));
                at += part.operands.len();
            }
            None => {
                operands.extend(new_of.get(&all[at]).copied());
                at += 1;
            }
        }
    }
    let id = new.push(Node { operands, ..node.clone() });
    made.insert(all.clone(), id);
    id
}
