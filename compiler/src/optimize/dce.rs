//! Dead code: keeps the nodes that the roots need.

use super::rewrite::rebuild;
use crate::graph::Graph;

pub(super) fn run(graph: &mut Graph) {
    if graph.order().len() < graph.len() {
        rebuild(graph, |new, node| new.push(node));
    }
}
