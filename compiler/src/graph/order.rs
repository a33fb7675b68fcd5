//! Deterministic topological orders.
//!
//! Both orders are depth-first postorders: from the roots in their order, operands in their order.
//! So they depend on what is computed and not on how nodes happen to be numbered, and a value
//! stands shortly before its first user.
//!
//! Who needs the state of the entry before needs the whole recurrence, whose end comes later in
//! the order if nothing else needs it.

use super::{Graph, NodeId, Op};
use std::collections::VecDeque;

impl Graph {
    /// The nodes that the roots need, each after its operands. (In a cyclic graph, which `verify`
    /// refuses, every node still stands once.)
    pub fn order(&self) -> Vec<NodeId> {
        self.order_from(self.roots.iter().map(|r| r.node()))
    }

    /// All nodes: those that the roots need, as in [`Graph::order`], then the others by number,
    /// each after its operands.
    pub fn order_all(&self) -> Vec<NodeId> {
        self.order_from(self.roots.iter().map(|r| r.node()).chain(self.ids()))
    }

    /// The nodes that `starts` need, each after its operands.
    pub fn order_from(&self, starts: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
        let mut seen = vec![false; self.bound()];
        let mut order = Vec::new();
        // (node, number of operands already walked)
        let mut stack: Vec<(NodeId, usize)> = Vec::new();
        let mut starts: VecDeque<NodeId> = starts.into_iter().collect();
        let mut scans = None;
        while let Some(start) = starts.pop_front() {
            if !std::mem::replace(&mut seen[start.index()], true) {
                stack.push((start, 0));
            }
            while let Some((id, k)) = stack.last_mut() {
                match self.node(*id).operands.get(*k) {
                    Some(&operand) => {
                        *k += 1;
                        if !std::mem::replace(&mut seen[operand.index()], true) {
                            stack.push((operand, 0));
                        }
                    }
                    None => {
                        if let Op::Previous { scan, .. } = self.node(*id).op {
                            // A graph in the making may not have it yet.
                            starts.extend(scans.get_or_insert_with(|| self.scans()).get(&scan));
                        }
                        order.push(*id);
                        stack.pop();
                    }
                }
            }
        }
        order
    }

    /// One more than the greatest node number: the length of a vector indexed by node.
    pub fn bound(&self) -> usize {
        self.ids().last().map_or(0, |id| id.index() + 1)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{BinaryOp, Graph, Root, UnaryOp};
    use din_grammar::Span;

    #[test]
    fn operands_first_roots_only_and_independent_of_numbers() {
        let s = Span::default();
        let mut g = Graph::default();
        let dead = g.constant(9.0, s);
        let a = g.constant(1.0, s);
        let b = g.constant(2.0, s);
        let sum = g.binary(BinaryOp::Add, b, a, s).expect("scalars");
        let out = g.unary(UnaryOp::Exp, sum, s);
        g.roots.push(Root::Named { name: "y".into(), node: out });
        assert_eq!(g.order(), vec![b, a, sum, out]);
        assert_eq!(g.order_all(), vec![b, a, sum, out, dead]);
    }
}
