//! Every element-wise operation, at widths with and without a tail, gives relocation-free code at
//! every level.
#![allow(clippy::unwrap_used)]

use din_compiler::codegen::{LEVELS, generate};
use din_compiler::graph::{BATCH, BinaryOp, Graph, Input, InputKind, Root, Shape, UnaryOp};
use din_compiler::plan::{Kernels, PlanOptions, plan};
use din_grammar::{SourceMap, Span};
use din_program::schedule::Statistic;

const UNARY: [UnaryOp; 10] = [
    UnaryOp::Negate,
    UnaryOp::Exp,
    UnaryOp::Log,
    UnaryOp::Sqrt,
    UnaryOp::Sigmoid,
    UnaryOp::Tanh,
    UnaryOp::Softplus,
    UnaryOp::Abs,
    UnaryOp::Sign,
    UnaryOp::Not,
];
const BINARY: [BinaryOp; 10] = [
    BinaryOp::Add,
    BinaryOp::Subtract,
    BinaryOp::Multiply,
    BinaryOp::Divide,
    BinaryOp::Min,
    BinaryOp::Max,
    BinaryOp::Power,
    BinaryOp::Less,
    BinaryOp::LessEqual,
    BinaryOp::Equal,
];

#[test]
fn every_operation_compiles_without_relocations() {
    let span = Span::default();
    let mut kernels = Kernels::default();
    for width in [1, 3, 4, 17, 64] {
        let mut g = Graph::default();
        for (k, w) in [(0, width), (1, 1)] {
            let kind = InputKind::Dense { feature: k };
            let input = Input { name: format!("x{k}"), kind, axis: BATCH, shape: Shape::vector(w) };
            g.inputs.push(input);
        }
        let x = g.input(din_compiler::graph::InputId(0), span);
        let s = g.input(din_compiler::graph::InputId(1), span);
        let mut values = vec![x];
        for op in UNARY {
            values.push(g.unary(op, x, span));
        }
        for op in BINARY {
            values.push(g.binary(op, x, s, span).unwrap());
        }
        let two = g.constant(2.0, span);
        values.push(g.binary(BinaryOp::Power, x, two, span).unwrap());
        let c = g.binary(BinaryOp::Less, x, s, span).unwrap();
        values.push(g.select(c, x, s, span).unwrap());
        let moments = g.statistic(Statistic::Moments, x, span).unwrap();
        let total = g.sum(x, din_compiler::graph::GLOBAL, span).unwrap();
        let rows = g.sum_value(x, span);
        let once = g.unary(UnaryOp::Softplus, total, span);
        for (k, &node) in values.iter().chain(&[moments, total, rows, once]).enumerate() {
            g.roots.push(Root::Named { name: format!("v{k}"), node });
        }
        let schedule = plan(&g, &g.order(), "t", &PlanOptions::default(), &SourceMap::default(), &mut kernels).unwrap();
        assert_eq!(schedule.roots.len(), values.len() + 4);
    }
    for level in LEVELS {
        let code = generate(&kernels, level).unwrap();
        assert_eq!(code.entries.len(), kernels.regions.len());
        assert!(!code.bytes.is_empty());
    }
}
