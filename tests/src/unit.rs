//! The first layer of DIN's activation unit as a graph, and random data for it.

use crate::random_graph::{Case, Random};
use din_compiler::graph::{
    AxisId, BATCH, BinaryOp, GLOBAL, Graph, GroupId, Input, InputId, InputKind, NodeId, ParamId, Root, Shape, TableId,
    UnaryOp,
};
use din_compiler::interpret::{Inputs, Values};
use din_grammar::Span;

/// The history's axis.
pub const VISITED: AxisId = AxisId(2);
const FIELDS: u32 = 3;

/// `sum(sigmoid(concat(k, q, k - q, k * q) @ W + b) @ v * k over visited)`, k and q being three
/// embedded ids of `width` each. The loss is the sum of it all.
pub fn activation_unit(width: usize, hidden: usize) -> (Graph, NodeId) {
    activation_units(width, hidden, 1)
}

/// The same with `layers` products of the concatenation, each by a weight of its own, added up.
///
/// # Panics
///
/// Never: the shapes fit.
#[allow(clippy::unwrap_used)]
pub fn activation_units(width: usize, hidden: usize, layers: u32) -> (Graph, NodeId) {
    let s = Span::default();
    let mut g = Graph::default();
    g.axes.add_sequence("visited", 0, BATCH);
    let embed = |g: &mut Graph, axis| {
        let mut fields = Vec::new();
        for feature in 0..FIELDS {
            let feature_id = feature + FIELDS * (axis - 1);
            let kind = InputKind::Ids { feature: feature_id, group: GroupId(feature_id) };
            g.inputs.push(Input { name: format!("f{feature}"), kind, axis: AxisId(axis), shape: Shape::scalar() });
            if g.tables.len() < FIELDS as usize {
                g.tables.push(width);
            }
            let input = InputId(g.inputs.len() as u32 - 1);
            fields.push(g.lookup(TableId(feature), input, s));
        }
        g.concat(fields, s).unwrap()
    };
    let q = embed(&mut g, 1);
    let k = embed(&mut g, 2);
    g.params = vec![Shape::vector(hidden), Shape::matrix(hidden, 1)];
    g.params.extend((0..layers).map(|_| Shape::matrix(4 * FIELDS as usize * width, hidden)));
    let difference = g.binary(BinaryOp::Subtract, k, q, s).unwrap();
    let product = g.binary(BinaryOp::Multiply, k, q, s).unwrap();
    let x = g.concat(vec![k, q, difference, product], s).unwrap();
    let (mut y, v) = (g.param(ParamId(0), s), g.param(ParamId(1), s));
    for layer in 0..layers {
        let w = g.param(ParamId(2 + layer), s);
        let product = g.matmul(x, w, s).unwrap();
        y = g.binary(BinaryOp::Add, product, y, s).unwrap();
    }
    let y = g.unary(UnaryOp::Sigmoid, y, s);
    let weight = g.matmul(y, v, s).unwrap();
    let weighted = g.binary(BinaryOp::Multiply, weight, k, s).unwrap();
    let taste = g.sum(weighted, BATCH, s).unwrap();
    let total = g.sum_value(taste, s);
    let loss = g.sum(total, GLOBAL, s).unwrap();
    g.roots.push(Root::Loss(loss));
    g.roots.push(Root::Named { name: "taste".into(), node: taste });
    (g, loss)
}

/// A unit's graph with random weights, ids and histories of 0 to `most` entries; a third are empty.
pub fn activation_case(seed: u64, graph: Graph, batch: usize, most: usize) -> Case {
    let mut r = Random::new(seed);
    let mut offsets = vec![0];
    for _ in 0..batch {
        let n = if r.below(3) == 0 { 0 } else { r.below(most + 1) };
        offsets.push(offsets[offsets.len() - 1] + n);
    }
    let mut inputs = Inputs { batch, offsets: vec![vec![], vec![], offsets], ..Inputs::default() };
    let rows = 17;
    for (k, input) in graph.inputs.iter().enumerate() {
        let n = if input.axis == VISITED { inputs.offsets[2][batch] } else { batch };
        let table = TableId(k as u32 % FIELDS);
        inputs.rows.insert((table, InputId(k as u32)), (0..n).map(|_| r.below(rows)).collect());
        inputs.numbers.push(Vec::new());
    }
    let mut values = Values::default();
    for shape in &graph.params {
        values.params.push(r.numbers(shape.width()));
    }
    for &width in &graph.tables {
        values.tables.push(r.numbers(rows * width));
    }
    Case { graph, inputs, values }
}
