//! What depends only on the rows of one thing, once for each distinct one: towers over ids.
//!
//! A value is *of a thing* where it is computed from rows of features of one group of the model (`item.id`, `item.brand`), all on one
//! axis, and parameters, element by element. Elements that read the same rows have the same value, so it is computed on a
//! group ([`crate::graph::UniqueKeys`]) and then spread. Its gradient comes back summed, so the products of the backward
//! pass are fewer too. Values that mix things (a user with an item) stay where they are: pairs hardly repeat.
//!
//! Which elements agree is seen in the batch, at the price of hashing its row numbers, of reading what is spread, and of summing what comes
//! back. The compiler cannot know how many agree, so it does this only for values that cost far more than that ([`Thresholds::least`]).

use super::cost::element_flops;
use super::rewrite::rebuild_by_id;
use crate::graph::{AxisId, GLOBAL, Graph, GroupId, InputId, InputKind, Node, NodeId, Op, Root, TableId, UniqueKeys};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// The pass's thresholds.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Least operations of an element of a value that is computed on a group, beside those that pay for its own width.
    pub least: f64,
    /// Operations that a number of the value must have cost.
    pub least_each: f64,
}

/// Measured (`bench_distinct`): from here on it gains even where nearly every id is another, below it may lose.
impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { least: 4096.0, least_each: 128.0 }
    }
}

/// Most keys of a group; see `din_program::schedule::MAX_KEYS`.
const MAX_KEYS: usize = din_program::schedule::MAX_KEYS;

/// Bounds the work on hostile graphs, which grows with the square.
const MOST: usize = 4096;

/// An axis and a feature group: by what things are told apart.
type Thing = (AxisId, GroupId);

/// Look-ups.
type Keys = BTreeSet<(TableId, InputId)>;

pub(super) fn run(graph: &mut Graph) {
    deduplicate(graph, Thresholds::default());
}

/// See the module.
pub fn deduplicate(graph: &mut Graph, thresholds: Thresholds) {
    let order = graph.order();
    let things = things(graph, &order);
    if things.len() > MOST {
        return;
    }
    // A model of one thing: its samples are what is told apart.
    let mut whole: FxHashSet<&Thing> = FxHashSet::default();
    for root in &graph.roots {
        if let Root::Prediction { node, .. } = root {
            whole.extend(things.get(node));
        }
    }
    let mut chosen: FxHashSet<NodeId> = FxHashSet::default();
    let mut keys: FxHashMap<&Thing, Keys> = FxHashMap::default();
    for &id in &order {
        let Some(thing) = things.get(&id).filter(|t| !whole.contains(t)) else { continue };
        let below = below(graph, id, &things);
        let cost: f64 = below.iter().map(|&id| element_flops(graph, id)).sum();
        let looked_up: Keys = below.iter().filter_map(|&id| look_up(graph.node(id))).collect();
        if looked_up.len() <= MAX_KEYS
            && cost >= thresholds.least + thresholds.least_each * graph.node(id).width() as f64
        {
            chosen.insert(id);
            keys.entry(thing).or_default().extend(looked_up);
        }
    }
    let fits = |thing: &Thing| keys.get(thing).is_some_and(|k| k.len() <= MAX_KEYS);
    chosen.retain(|id| fits(&things[id]));
    if chosen.is_empty() {
        return;
    }
    let mut groups: FxHashMap<&Thing, AxisId> = FxHashMap::default();
    // In the order of the graph, so that numbers do not depend on hashing.
    let mut added = Vec::new();
    for id in order.iter().filter(|id| chosen.contains(id)) {
        let thing = &things[id];
        if !groups.contains_key(thing) {
            groups.insert(thing, AxisId((graph.axes.count() + added.len()) as u32));
            let key = |&(table, input): &(TableId, InputId)| {
                (table.0, graph.ids_feature(input).expect("verify: a lookup reads ids"))
            };
            added.push(UniqueKeys { over: thing.0, keys: keys[thing].iter().map(key).collect() });
        }
    }
    let needed: FxHashSet<NodeId> = chosen.iter().flat_map(|&id| below(graph, id, &things)).collect();
    let groups: FxHashMap<NodeId, AxisId> = needed.iter().map(|id| (*id, groups[&things[id]])).collect();
    for grouping in added {
        graph.axes.add_unique(grouping);
    }
    let original: FxHashMap<NodeId, Vec<NodeId>> =
        needed.iter().map(|&id| (id, graph.node(id).operands.clone())).collect();
    let mut made: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    rebuild_by_id(graph, |new, id, node, map| {
        let Some(&group) = groups.get(&id) else { return new.push(node) };
        let operands = original[&id].iter().map(|o| made.get(o).copied().unwrap_or(map[o.index()])).collect();
        let on_group = new.push(Node { operands, axis: group, ..node.clone() });
        made.insert(id, on_group);
        if !chosen.contains(&id) {
            return new.push(node);
        }
        // A group is an ancestor of what it joins: repeating cannot be mistyped.
        new.repeat(on_group, node.axis, &node.shape, node.span).unwrap_or_else(|_| new.push(node))
    });
}

/// What each value is of, where it is of one thing.
fn things(graph: &Graph, order: &[NodeId]) -> FxHashMap<NodeId, Thing> {
    let mut things: FxHashMap<NodeId, Thing> = FxHashMap::default();
    for &id in order {
        let node = graph.node(id);
        if node.axis == GLOBAL {
            continue;
        }
        let thing = match node.op {
            Op::Lookup { input, .. } => {
                let input = &graph.inputs[input.index()];
                let InputKind::Ids { group, .. } = input.kind else {
                    unreachable!("`verify` holds the input of a look-up to be ids")
                };
                (input.axis == node.axis).then_some((node.axis, group))
            }
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::StopGradient
            | Op::Concat
            | Op::Slice { .. }
            | Op::Reshape
            | Op::MatMul
            | Op::MatMulT
            | Op::SumValue => {
                let mut all = node.operands.iter().filter(|o| graph.node(**o).axis != GLOBAL).map(|o| things.get(o));
                match all.next() {
                    Some(Some(first)) if all.all(|t| t == Some(first)) => Some(*first),
                    _ => None,
                }
            }
            _ => None,
        };
        // Operands in an ancestor belong to another thing, which lives there.
        if let Some(thing) = thing.filter(|t| t.0 == node.axis) {
            things.insert(id, thing);
        }
    }
    things
}

/// The value and all of its thing that it is computed from.
fn below(graph: &Graph, id: NodeId, things: &FxHashMap<NodeId, Thing>) -> Vec<NodeId> {
    let mut seen: FxHashSet<NodeId> = FxHashSet::default();
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        if seen.insert(id) {
            stack.extend(graph.node(id).operands.iter().filter(|o| things.contains_key(o)));
        }
    }
    let mut all: Vec<NodeId> = seen.into_iter().collect();
    all.sort_unstable();
    all
}

fn look_up(node: &Node) -> Option<(TableId, InputId)> {
    match node.op {
        Op::Lookup { table, input } => Some((table, input)),
        _ => None,
    }
}
