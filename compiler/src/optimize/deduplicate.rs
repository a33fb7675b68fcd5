//! Computes what depends on the rows of one entity once for each distinct combination of rows:
//! towers over ids.
//!
//! A value belongs to an entity if it is computed, element by element, from parameters and from
//! rows of features of one feature group (`item.id`, `item.brand`) on one axis. Elements that read
//! the same rows have the same value, so it is computed on a unique axis
//! ([`crate::graph::UniqueKeys`]) and then broadcast. Its gradient comes back summed, so the
//! products of the backward pass are fewer too. Values that mix entities (a user with an item) stay
//! where they are: pairs hardly repeat.
//!
//! Which elements agree is seen in the batch, at the price of hashing its row numbers, of reading
//! what is broadcast, and of summing the gradients. The compiler cannot know how many agree, so it
//! does this only for values that cost far more than that ([`Thresholds::least`]).

use super::cost::element_flops;
use super::rewrite::rebuild_by_id;
use crate::graph::{
    AxisId, GLOBAL, Graph, GroupId, InputId, InputKind, Node, NodeId, NodeOperands, Op, Root, TableId, UniqueKeys,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// The pass's thresholds.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Least operations of an element of a value that is computed on a group, beside those that pay
    /// for its own width.
    pub least: f64,
    /// Operations that a number of the value must have cost.
    pub least_each: f64,
}

/// Measured (`bench_deduplicate`): above this it gains even where hardly any id repeats, below it
/// may lose.
impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { least: 4096.0, least_each: 128.0 }
    }
}

/// Most keys of a group; see `din_program::schedule::MAX_KEYS`.
const MAX_KEYS: usize = din_program::schedule::MAX_KEYS;

/// Bounds the work on hostile graphs, which grows with the square.
const MOST: usize = 4096;

/// An axis and a feature group: what tells entities apart.
type Entity = (AxisId, GroupId);

/// Look-ups.
type Keys = BTreeSet<(TableId, InputId)>;

pub(super) fn run(graph: &mut Graph) {
    deduplicate(graph, Thresholds::default());
}

/// See the module.
pub fn deduplicate(graph: &mut Graph, thresholds: Thresholds) {
    let order = graph.order();
    let entities = find_entities(graph, &order);
    if entities.len() > MOST {
        return;
    }
    // In a model of one entity every sample is a distinct element.
    let mut whole: FxHashSet<&Entity> = FxHashSet::default();
    for root in &graph.roots {
        if let Root::Prediction { node, .. } = root {
            whole.extend(entities.get(node));
        }
    }
    let mut chosen: FxHashSet<NodeId> = FxHashSet::default();
    let mut keys: FxHashMap<&Entity, Keys> = FxHashMap::default();
    for &id in &order {
        let Some(entity) = entities.get(&id).filter(|t| !whole.contains(t)) else { continue };
        let subgraph = entity_subgraph(graph, id, &entities);
        let cost: f64 = subgraph.iter().map(|&id| element_flops(graph, id)).sum();
        let looked_up: Keys = subgraph.iter().filter_map(|&id| look_up(graph.node(id))).collect();
        if looked_up.len() <= MAX_KEYS
            && cost >= thresholds.least + thresholds.least_each * graph.node(id).width() as f64
        {
            chosen.insert(id);
            keys.entry(entity).or_default().extend(looked_up);
        }
    }
    let fits = |entity: &Entity| keys.get(entity).is_some_and(|k| k.len() <= MAX_KEYS);
    chosen.retain(|id| fits(&entities[id]));
    if chosen.is_empty() {
        return;
    }
    let mut groups: FxHashMap<&Entity, AxisId> = FxHashMap::default();
    // In the order of the graph, so that numbers do not depend on hashing.
    let mut added = Vec::new();
    for id in order.iter().filter(|id| chosen.contains(id)) {
        let entity = &entities[id];
        if !groups.contains_key(entity) {
            groups.insert(entity, AxisId((graph.axes.count() + added.len()) as u32));
            let key = |&(table, input): &(TableId, InputId)| {
                (table.0, graph.ids_feature(input).expect("verify: a lookup reads ids"))
            };
            added.push(UniqueKeys { over: entity.0, keys: keys[entity].iter().map(key).collect() });
        }
    }
    let needed: FxHashSet<NodeId> = chosen.iter().flat_map(|&id| entity_subgraph(graph, id, &entities)).collect();
    let groups: FxHashMap<NodeId, AxisId> = needed.iter().map(|id| (*id, groups[&entities[id]])).collect();
    for grouping in added {
        graph.axes.add_unique(grouping);
    }
    let original: FxHashMap<NodeId, NodeOperands> =
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
        let spread = new.broadcast(on_group, node.axis, &node.shape, node.span);
        spread.expect("a unique axis is an ancestor of the axis that it is over")
    });
}

/// The entity that each value belongs to, where it belongs to one.
fn find_entities(graph: &Graph, order: &[NodeId]) -> FxHashMap<NodeId, Entity> {
    let mut entities: FxHashMap<NodeId, Entity> = FxHashMap::default();
    for &id in order {
        let node = graph.node(id);
        if node.axis == GLOBAL {
            continue;
        }
        let entity = match node.op {
            Op::Lookup { input, .. } => {
                let input = &graph.inputs[input.index()];
                let InputKind::Ids { group, .. } = input.kind else {
                    unreachable!("`verify` holds the input of a look-up to be ids")
                };
                (input.axis == node.axis).then_some((node.axis, group))
            }
            // A broadcast value is its operand's, in a deeper axis.
            Op::Broadcast => None,
            ref op if op.is_per_element() => {
                let mut all = node.operands.iter().filter(|o| graph.node(**o).axis != GLOBAL).map(|o| entities.get(o));
                match all.next() {
                    Some(Some(first)) if all.all(|t| t == Some(first)) => Some(*first),
                    _ => None,
                }
            }
            // Other sources belong to no entity, and a reduction mixes elements.
            _ => None,
        };
        // Operands in an ancestor belong to another entity, which lives there.
        if let Some(entity) = entity.filter(|t| t.0 == node.axis) {
            entities.insert(id, entity);
        }
    }
    entities
}

/// The value and everything of its entity that it is computed from.
fn entity_subgraph(graph: &Graph, id: NodeId, entities: &FxHashMap<NodeId, Entity>) -> Vec<NodeId> {
    let mut seen: FxHashSet<NodeId> = FxHashSet::default();
    let mut stack = vec![id];
    while let Some(id) = stack.pop() {
        if seen.insert(id) {
            stack.extend(graph.node(id).operands.iter().filter(|o| entities.contains_key(o)));
        }
    }
    let mut all: Vec<NodeId> = seen.into_iter().collect();
    all.sort_unstable();
    all
}

fn look_up(node: &Node) -> Option<(TableId, InputId)> {
    if let Op::Lookup { table, input } = node.op { Some((table, input)) } else { None }
}
