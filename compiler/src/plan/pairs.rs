//! Pairs of entries, prepared for phases whose tiles have all pairs of some first entries.
//!
//! A value over pairs is reduced to its first entries, or over all samples. What is reduced to the
//! second entries is computed anew for the pairs turned round, that is, with the two entries of
//! each pair exchanged: `sum over i of f(x_i, y_j)` at each `j` is, at each `i`, the sum over `j`
//! of `f(x_j, y_i)`. So this needs no buffer with the pairs of the whole batch, and no sum crosses
//! tiles. What a value over pairs reads lies on its first entries, on the second ones, or is
//! global.

use crate::graph::{AxisId, AxisKind, GLOBAL, Graph, Node, NodeId, Op, Root};
use rustc_hash::FxHashMap;
use smallvec::smallvec;

/// The graph in this form; `None` where it has no pairs. `order` lists operands first.
pub(super) fn by_first_entry(graph: &Graph, order: &[NodeId]) -> Option<Graph> {
    if !graph.axes.ids().any(|id| graph.axes.second_of_pairs(id).is_some()) {
        return None;
    }
    let new = graph.without_nodes();
    let mut pass = Rows { new, map: FxHashMap::default(), spread: FxHashMap::default(), turned: FxHashMap::default() };
    for &id in order {
        let made = pass.node(graph.node(id));
        pass.map.insert(id, made);
    }
    for root in &graph.roots {
        let mut root: Root = root.clone();
        *root.node_mut() = pass.map[&root.node()];
        pass.new.roots.push(root);
    }
    Some(pass.new)
}

struct Rows {
    new: Graph,
    map: FxHashMap<NodeId, NodeId>,
    /// Values over samples and other axes above the entries, broadcast to the first entries.
    spread: FxHashMap<(NodeId, AxisId), NodeId>,
    /// By value over pairs, the same for the pairs turned round; by value over entries, the same
    /// under their other name.
    turned: FxHashMap<NodeId, NodeId>,
}

impl Rows {
    /// The axes of the first and second entries, of an axis of pairs.
    fn entries(&self, axis: AxisId) -> Option<(AxisId, AxisId)> {
        match *self.new.axes.kind(axis) {
            AxisKind::Pairs { of, second } => Some((of, second)),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Unique(_) => None,
        }
    }

    fn node(&mut self, node: &Node) -> NodeId {
        let mut node = Node { operands: node.operands.iter().map(|o| self.map[o]).collect(), ..node.clone() };
        // Where the work is done: an outer product is summed over the deeper axis of its operands.
        let at = match (&node.op, node.operands.as_slice()) {
            (Op::Outer, &[x, g]) => {
                let (x, g) = (self.new.node(x).axis, self.new.node(g).axis);
                self.new.axes.join(x, g).expect("`verify` joins the axes of operands")
            }
            _ => node.axis,
        };
        if let Some((first, second)) = self.entries(at) {
            for k in 0..node.operands.len() {
                let axis = self.new.node(node.operands[k]).axis;
                if ![at, first, second, GLOBAL].contains(&axis) {
                    node.operands[k] = self.spread(node.operands[k], first);
                }
            }
        }
        let reduced = match node.op {
            Op::Sum { to } | Op::Max { to } => self.entries(self.new.node(node.operands[0]).axis).map(|e| (e, to)),
            _ => None,
        };
        match reduced {
            Some(((first, second), to)) if to != first && to != GLOBAL => self.reduction(node, first, second, to),
            Some(_) | None => self.new.push(node),
        }
    }

    /// A reduction of pairs to what is not their first entries.
    fn reduction(&mut self, node: Node, first: AxisId, second: AxisId, to: AxisId) -> NodeId {
        let by_first = |op: &Op| match op {
            Op::Max { .. } => Op::Max { to: first },
            Op::Sum { .. } => Op::Sum { to: first },
            other => unreachable!("{} is no reduction", other.name()),
        };
        let x = if to == second { self.turn(node.operands[0]) } else { node.operands[0] };
        let half = Node { op: by_first(&node.op), operands: smallvec![x], axis: first, ..node.clone() };
        let half = self.new.push(half);
        if to == second {
            return self.new.push(Node { op: Op::Rename { to }, operands: smallvec![half], ..node });
        }
        // Every entry has a pair, so no maximum of an empty set (which is 0) is among these.
        self.new.push(Node { operands: smallvec![half], ..node })
    }

    fn spread(&mut self, x: NodeId, to: AxisId) -> NodeId {
        if let Some(&made) = self.spread.get(&(x, to)) {
            return made;
        }
        let (shape, span) = (self.new.node(x).shape.clone(), self.new.node(x).span);
        let made = self.new.broadcast(x, to, &shape, span).expect("what is above pairs is above their first entries");
        self.spread.insert((x, to), made);
        made
    }

    /// The value for the pairs turned round.
    fn turn(&mut self, x: NodeId) -> NodeId {
        for id in self.new.order_from([x]) {
            if self.turned.contains_key(&id) {
                continue;
            }
            let node = self.new.node(id).clone();
            let Some((first, second)) = self.entries(node.axis) else { continue };
            assert!(
                node.op.is_per_element() || matches!(node.op, Op::Const(_)),
                "a value over pairs is computed pair by pair, {} is not",
                node.op.name()
            );
            let operands = node.operands.iter().map(|&o| self.under_other_name(o, first, second)).collect();
            let made = self.new.push(Node { operands, ..node });
            self.turned.insert(id, made);
        }
        self.turned[&x]
    }

    /// An operand of a value over pairs, for the pairs turned round.
    fn under_other_name(&mut self, x: NodeId, first: AxisId, second: AxisId) -> NodeId {
        if let Some(&made) = self.turned.get(&x) {
            return made;
        }
        let (axis, span) = (self.new.node(x).axis, self.new.node(x).span);
        let to = match axis {
            _ if axis == first => second,
            _ if axis == second => first,
            _ => return x,
        };
        let made = match self.new.node(x) {
            Node { op: Op::Rename { .. }, operands, .. } if self.new.node(operands[0]).axis == to => operands[0],
            _ => self.new.rename(x, to, span).expect("both are names of the same entries"),
        };
        self.turned.insert(x, made);
        made
    }
}
