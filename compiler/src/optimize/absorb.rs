//! Products with `concat(k, k * q)`, `k` on a sequence and `q` on the samples: the second half is
//! absorbed into the weight, so that an entry is multiplied by one matrix of half the height, `W1 +
//! diag(q) W2`, which is made once a sample. The gradients follow suit: towards `k` by the
//! transposed weight, towards `w` and `q` from the sample's outer product `sum_i k_i^T g_i`.
//!
//! What it costs is of the order of `e n` operations a sample; what it saves, as many an entry. It
//! pays from three entries or so.
//!
//! The last pass: what it makes ([`crate::graph::Absorbed`]) is neither differentiated nor
//! simplified.

use super::rewrite::rebuild_by_id;
use crate::graph::{Absorbed, BATCH, BinaryOp, Graph, NodeId, Op};
use rustc_hash::FxHashMap;

/// Narrower products are left as they are.
const LEAST: usize = 8;

/// `concat(k, k * q)`
#[derive(Clone, Copy, Debug)]
struct Pair {
    k: NodeId,
    q: NodeId,
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug)]
enum Change {
    Absorbed(Absorbed, [NodeId; 3]),
    /// `rest + Absorbed(ProductT)`
    Add(Option<NodeId>, [NodeId; 3]),
}

pub(super) fn run(graph: &mut Graph) {
    let order = graph.order();
    let mut users: FxHashMap<NodeId, Vec<NodeId>> = FxHashMap::default();
    for &id in &order {
        for &o in &graph.node(id).operands {
            users.entry(o).or_default().push(id);
        }
    }
    let roots: Vec<NodeId> = graph.roots.iter().map(|r| r.node()).collect();
    let mut changes: FxHashMap<NodeId, Change> = FxHashMap::default();
    // By weight: the pair that it is multiplied with.
    let mut weights: FxHashMap<NodeId, Pair> = FxHashMap::default();
    for &id in &order {
        let node = graph.node(id);
        if node.op == Op::MatMul
            && node.width() >= LEAST
            && let Some(pair) = pair(graph, node.operands[0])
        {
            weights.insert(node.operands[1], pair);
            changes.insert(id, Change::Absorbed(Absorbed::Product, [pair.k, pair.q, node.operands[1]]));
        }
    }
    for &id in &order {
        let node = graph.node(id);
        match node.op {
            Op::Outer if graph.node(node.operands[1]).axis == graph.node(node.operands[0]).axis => {
                if let Some(pair) = pair(graph, node.operands[0])
                    && node.shape.0[1] >= LEAST
                {
                    changes.insert(id, Change::Absorbed(Absorbed::Outer, [pair.k, pair.q, node.operands[1]]));
                }
            }
            Op::MatMulT => {
                if let Some(&pair) = weights.get(&node.operands[1]) {
                    backward(graph, id, pair, &users, &roots, &mut changes);
                }
            }
            _ => {}
        }
    }
    if changes.is_empty() {
        return;
    }
    rebuild_by_id(graph, |new, id, node, map| {
        let at = |ids: [NodeId; 3]| ids.map(|o| map[o.index()]);
        match changes.get(&id) {
            None => new.push(node),
            Some(&Change::Absorbed(form, operands)) => new.absorbed(form, at(operands), node.span),
            Some(&Change::Add(rest, operands)) => {
                let product = new.absorbed(Absorbed::ProductT, at(operands), node.span);
                match rest {
                    None => product,
                    Some(rest) => {
                        let sum = new.binary(BinaryOp::Add, map[rest.index()], product, node.span);
                        sum.expect("both have the type of the sum that they replace")
                    }
                }
            }
        }
    });
}

/// The factors of `k * q`, one on the product's own axis and one on the samples.
fn factors(graph: &Graph, id: NodeId) -> Option<Pair> {
    let node = graph.node(id);
    let (Op::Binary(BinaryOp::Multiply), &[a, b]) = (&node.op, node.operands.as_slice()) else { return None };
    let (k, q) = if graph.node(a).axis == node.axis { (a, b) } else { (b, a) };
    let (nk, nq) = (graph.node(k), graph.node(q));
    let fits = nk.axis == node.axis && nq.axis == BATCH && nk.shape == node.shape && nq.shape == node.shape;
    fits.then_some(Pair { k, q })
}

/// `concat(k, k * q)`, `k` perhaps as its parts.
fn pair(graph: &Graph, x: NodeId) -> Option<Pair> {
    let node = graph.node(x);
    let sequence = graph.axes.parent(node.axis) == Some(BATCH) && graph.axes.first_name(node.axis) == node.axis;
    if node.op != Op::Concat || !sequence {
        return None;
    }
    let (&last, parts) = node.operands.split_last()?;
    let pair = factors(graph, last)?;
    let k = graph.node(pair.k);
    let same = parts == [pair.k] || (k.op == Op::Concat && *k.operands == *parts);
    (same && k.width() >= LEAST && k.shape.0.len() == 1).then_some(pair)
}

/// Finds, behind `t = g W^T`, `(rest + t[..e]) + t[e..] * q` and `sum(t[e..] * k)`; both are
/// replaced, or neither.
fn backward(
    graph: &Graph,
    t: NodeId,
    pair: Pair,
    users: &FxHashMap<NodeId, Vec<NodeId>>,
    roots: &[NodeId],
    changes: &mut FxHashMap<NodeId, Change>,
) -> Option<()> {
    let e = graph.node(pair.k).width();
    let (g, w) = (graph.node(t).operands[0], graph.node(t).operands[1]);
    let users_of =
        |id: NodeId| if roots.contains(&id) { &[][..] } else { users.get(&id).map_or(&[][..], Vec::as_slice) };
    // The only user of a value.
    let only = |id: NodeId| match users_of(id) {
        &[user] => Some(user),
        _ => None,
    };
    let [a, b] = *users_of(t) else { return None };
    let start = |id: NodeId| match graph.node(id) {
        n if n.width() == e => match n.op {
            Op::Slice { start } => Some(start),
            _ => None,
        },
        _ => None,
    };
    let (low, high) = match (start(a)?, start(b)?) {
        (0, s) if s == e => (a, b),
        (s, 0) if s == e => (b, a),
        _ => return None,
    };
    let (mut scaled, mut summed) = (None, None);
    for &user in users_of(high) {
        match graph.node(user).operands.as_slice() {
            ops if graph.node(user).op != Op::Binary(BinaryOp::Multiply) || ops.len() != 2 => return None,
            ops if ops.contains(&pair.q) && scaled.is_none() => scaled = Some(user),
            ops if ops.contains(&pair.k) && summed.is_none() => summed = Some(user),
            _ => return None,
        }
    }
    let is_add = |id: NodeId| graph.node(id).op == Op::Binary(BinaryOp::Add);
    let other = |id: NodeId, one: NodeId| graph.node(id).operands.iter().copied().find(|&o| o != one);
    let scaled = scaled?;
    let total = only(scaled).filter(|&r| is_add(r))?;
    let first = other(total, scaled)?;
    let rest = if first == low {
        only(low)?;
        None
    } else {
        // (rest + low) + scaled, the inner sum for nobody else.
        let inner = only(low).filter(|&r| r == first && is_add(r))?;
        only(inner)?;
        Some(other(inner, low)?)
    };
    if let Some(summed) = summed {
        let sum = only(summed)?;
        if graph.node(sum).op != (Op::Sum { to: BATCH }) {
            return None;
        }
        changes.insert(sum, Change::Absorbed(Absorbed::Sum, [pair.k, g, w]));
    }
    changes.insert(total, Change::Add(rest, [g, pair.q, w]));
    Some(())
}
