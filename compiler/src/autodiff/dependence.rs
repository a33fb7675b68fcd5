//! How the loss depends on each node: which nodes a gradient arrives at, and why at the others none
//! does.
//!
//! The rules are those of [`super::differentiate`]: something learned has a gradient exactly where
//! this says [`Dependence::Differentiable`].

use super::rules;
use crate::graph::{Graph, NodeId, Op};

/// How the loss depends on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependence {
    /// Not at all.
    None,
    /// On every path a `stop_gradient` comes behind the node, and before the loss; `at` is one that
    /// is nearest to the node on its path.
    Stopped { at: NodeId },
    /// No gradient arrives: `at`, an operation on a path without `stop_gradient`, has the
    /// derivative 0 everywhere. Of several such operations on a path it is the one nearest to the
    /// node.
    Flat { at: NodeId, op: &'static str },
    /// On at least one path every operation has a derivative: a gradient arrives.
    Differentiable,
}

impl Dependence {
    /// Of two paths' dependences the one that decides what the node is told.
    fn or(self, other: Dependence) -> Dependence {
        let rank = |d| match d {
            Dependence::None => 0,
            Dependence::Stopped { .. } => 1,
            Dependence::Flat { .. } => 2,
            Dependence::Differentiable => 3,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

/// How `loss` depends on each node, by node number.
pub fn dependences(graph: &Graph, loss: NodeId) -> Vec<Dependence> {
    let mut found = vec![Dependence::None; graph.bound()];
    found[loss.index()] = Dependence::Differentiable;
    let order = graph.order_from([loss]);
    let recurrences = graph.recurrences(&order);
    loop {
        walk(graph, &order, &mut found);
        // The loss depends on a state as it does on what the entry behind reads of it.
        let mut changed = false;
        for r in &recurrences {
            let joined = found[r.scan.index()].or(found[r.previous.index()]);
            changed |= joined != std::mem::replace(&mut found[r.scan.index()], joined);
        }
        if !changed {
            return found;
        }
    }
}

/// One pass from the loss down.
fn walk(graph: &Graph, order: &[NodeId], found: &mut [Dependence]) {
    for &id in order.iter().rev() {
        let node = graph.node(id);
        let own = found[id.index()];
        for (k, operand) in node.operands.iter().enumerate() {
            let through = match rules::flat(&node.op, k) {
                _ if node.op == Op::StopGradient => Dependence::Stopped { at: id },
                _ if matches!(own, Dependence::Stopped { .. }) => own,
                Some(op) => Dependence::Flat { at: id, op },
                None => own,
            };
            let before = &mut found[operand.index()];
            *before = before.or(through);
        }
    }
}
