//! Rebuilding a graph node by node: what every pass is made of.

use crate::graph::{Graph, Node, NodeId};

/// Replaces `graph` by what `rule` makes of each node that the roots need, operands first. The rule
/// receives the node with its operands already in the new graph, and returns a node of the new
/// graph of the same axis and shape.
pub(crate) fn rebuild(graph: &mut Graph, mut rule: impl FnMut(&mut Graph, Node) -> NodeId) {
    rebuild_by_id(graph, |new, _, node, _| rule(new, node));
}

/// The same; the rule also receives the node's old number, and by old number what earlier nodes
/// became.
pub(super) fn rebuild_by_id(graph: &mut Graph, mut rule: impl FnMut(&mut Graph, NodeId, Node, &[NodeId]) -> NodeId) {
    let order = graph.order();
    let mut new = graph.without_nodes();
    let mut map = vec![NodeId::end(); graph.bound()];
    for id in order {
        let mut node = graph.node(id).clone();
        for o in &mut node.operands {
            *o = map[o.index()];
        }
        let (axis, shape) = (node.axis, node.shape.clone());
        let made = rule(&mut new, id, node, &map);
        assert!(
            new.node(made).axis == axis && new.node(made).shape == shape,
            "a rewrite of node {} changed its type",
            id.index()
        );
        map[id.index()] = made;
    }
    new.roots = graph.roots.clone();
    for root in &mut new.roots {
        let node = root.node_mut();
        *node = map[node.index()];
    }
    *graph = new;
}
