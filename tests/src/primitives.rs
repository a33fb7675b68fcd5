//! The operations of a graph by name: what random graphs draw from, and what tests count to see
//! that each is covered.

use din_compiler::graph::{BinaryOp, Op, UnaryOp};
use din_program::schedule::Statistic;
use std::sync::LazyLock;

/// All that are neither element-wise nor statistics.
const OTHERS: &[&str] = &[
    "const",
    "input",
    "param",
    "state",
    "lookup",
    "length",
    "position",
    "sample_number",
    "dropout_mask",
    "count",
    "select",
    "stop_gradient",
    "broadcast",
    "rename",
    "unflatten",
    "flatten",
    "concat",
    "slice",
    "reshape",
    "matmul",
    "matmul_t",
    "outer",
    "sum",
    "max_over",
    "sum_value",
    "previous",
    "scan",
];

/// All primitives by the name under which [`primitive`] and `random_graph::Options::focus` know
/// them.
pub static PRIMITIVES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let unary = UnaryOp::ALL.iter().map(|op| op.name());
    let binary = BinaryOp::ALL.iter().map(|op| op.name());
    let statistics = Statistic::ALL.iter().map(|statistic| statistic.description().name);
    OTHERS.iter().copied().chain(statistics).chain(unary).chain(binary).collect()
});

/// The name of an op in [`PRIMITIVES`]; one for all products with an absorbed weight, which only
/// the last pass makes.
pub fn primitive(op: &Op) -> &'static str {
    if let Op::Absorbed(_) = op { "absorbed" } else { op.name() }
}
