//! Recurrences: which nodes are computed entry by entry, and an order of the graph in which each
//! recurrence stands as a whole.

use super::{Graph, NodeId, Op};
use rustc_hash::FxHashMap;

/// The nodes between an [`Op::Previous`] and its [`Op::Scan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recurrence {
    /// The state of the entry before.
    pub previous: NodeId,
    /// The state of the entry.
    pub scan: NodeId,
    /// From the last entry of each list to the first.
    pub backward: bool,
    /// What is computed entry by entry, operands first; with `previous` and `scan`.
    pub members: Vec<NodeId>,
}

/// A part of a graph that is computed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphStage {
    Node(NodeId),
    Recurrence(Recurrence),
}

impl Graph {
    /// A number that no recurrence of the graph has.
    pub fn unused_scan(&self) -> usize {
        self.ids().filter_map(|id| self.node(id).op.recurrence()).max().map_or(0, |last| last + 1)
    }

    /// The end of each recurrence, by its number.
    pub fn scans(&self) -> FxHashMap<usize, NodeId> {
        let scan = |id: NodeId| if let Op::Scan { scan, .. } = self.node(id).op { Some((scan, id)) } else { None };
        self.ids().filter_map(scan).collect()
    }

    /// The recurrences among the nodes of `order`, which lists operands first. The end of one that
    /// `order` has the beginning of is in it, too.
    pub fn recurrences(&self, order: &[NodeId]) -> Vec<Recurrence> {
        let begins = |&id: &NodeId| {
            let Op::Previous { scan, backward } = self.node(id).op else { return None };
            Some((id, scan, backward))
        };
        let begins: Vec<(NodeId, usize, bool)> = order.iter().filter_map(begins).collect();
        if begins.is_empty() {
            return Vec::new();
        }
        let scans = self.scans();
        let recurrence = |(previous, number, backward): (NodeId, usize, bool)| {
            let scan = *scans.get(&number).expect("`verify`: a recurrence has an end");
            let (mut depends, mut needed) = (vec![false; self.bound()], vec![false; self.bound()]);
            (depends[previous.index()], needed[scan.index()]) = (true, true);
            for &id in order {
                depends[id.index()] |= self.node(id).operands.iter().any(|o| depends[o.index()]);
            }
            for &id in order.iter().rev().filter(|id| depends[id.index()]) {
                if needed[id.index()] {
                    self.node(id).operands.iter().for_each(|o| needed[o.index()] = true);
                }
            }
            let inside = |id: &NodeId| *id == previous || *id == scan || (depends[id.index()] && needed[id.index()]);
            let members = order.iter().copied().filter(inside).collect();
            Recurrence { previous, scan, backward, members }
        };
        begins.into_iter().map(recurrence).collect()
    }

    /// What the roots need, in an order in which everything stands after what it needs, a
    /// recurrence after what all of its members need.
    pub fn stages(&self) -> Vec<GraphStage> {
        self.stages_from(self.roots.iter().map(|r| r.node()))
    }

    /// The same of what `starts` need.
    pub fn stages_from(&self, starts: impl IntoIterator<Item = NodeId>) -> Vec<GraphStage> {
        let order = self.order_from(starts);
        let recurrences = self.recurrences(&order);
        if recurrences.is_empty() {
            return order.into_iter().map(GraphStage::Node).collect();
        }
        // By node: the number of its recurrence.
        let mut of: FxHashMap<NodeId, usize> = FxHashMap::default();
        for (k, recurrence) in recurrences.iter().enumerate() {
            of.extend(recurrence.members.iter().map(|&id| (id, k)));
        }
        let needs = |id: NodeId| -> Vec<NodeId> {
            let members = of.get(&id).map_or(std::slice::from_ref(&id), |&k| &recurrences[k].members);
            let operands = members.iter().flat_map(|&m| self.node(m).operands.iter().copied());
            operands.filter(|o| of.get(o).is_none_or(|k| of.get(&id) != Some(k))).collect()
        };
        let mut stages = Vec::new();
        let mut seen = vec![false; self.bound()];
        let mut stack: Vec<(NodeId, Vec<NodeId>)> = Vec::new();
        let enter = |id: NodeId, seen: &mut [bool], stack: &mut Vec<(NodeId, Vec<NodeId>)>| {
            if seen[id.index()] {
                return;
            }
            match of.get(&id) {
                Some(&k) => recurrences[k].members.iter().for_each(|m| seen[m.index()] = true),
                None => seen[id.index()] = true,
            }
            let mut needs = needs(id);
            needs.reverse();
            stack.push((id, needs));
        };
        for id in order {
            enter(id, &mut seen, &mut stack);
            while let Some((id, left)) = stack.last_mut() {
                match left.pop() {
                    Some(need) => enter(need, &mut seen, &mut stack),
                    None => {
                        stages.push(match of.get(id) {
                            Some(&k) => GraphStage::Recurrence(recurrences[k].clone()),
                            None => GraphStage::Node(*id),
                        });
                        stack.pop();
                    }
                }
            }
        }
        stages
    }
}
