//! The operations of a graph, and what is known of each from the operation alone. Their meaning is in
//! the table at the top of [`crate::graph`].

use super::{AxisId, InputId, ParamId, StateId, TableId};
use crate::elementwise::{BinaryOp, UnaryOp};
use std::mem::{Discriminant, discriminant};

/// Products with `concat(k, k * q)`, whose second half is folded into the weight, `W1 + diag(q) W2`, once a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Absorbed {
    Product,
    ProductT,
    Outer,
    Sum,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Const(f64),
    Input(InputId),
    Param(ParamId),
    State(StateId),
    Lookup { table: TableId, input: InputId },
    Length(AxisId),
    Count(AxisId),
    Unary(UnaryOp),
    Binary(BinaryOp),
    Select,
    StopGradient,
    Broadcast,
    Concat,
    Slice { start: usize },
    Reshape,
    MatMul,
    MatMulT,
    Outer,
    Absorbed(Absorbed),
    Sum { to: AxisId },
    Max { to: AxisId },
    SumValue,
    Moments,
}

/// An op by its bits, so that constants compare exactly.
pub type OpKey = (Discriminant<Op>, u64, u64);

impl Op {
    /// The op's name in the textual form.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Const(_) => "const",
            Op::Input(_) => "input",
            Op::Param(_) => "param",
            Op::State(_) => "state",
            Op::Lookup { .. } => "lookup",
            Op::Length(_) => "length",
            Op::Count(_) => "count",
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Select => "select",
            Op::StopGradient => "stop_gradient",
            Op::Broadcast => "broadcast",
            Op::Concat => "concat",
            Op::Slice { .. } => "slice",
            Op::Reshape => "reshape",
            Op::MatMul => "matmul",
            Op::MatMulT => "matmul_t",
            Op::Outer => "outer",
            Op::Absorbed(Absorbed::Product) => "fold_product",
            Op::Absorbed(Absorbed::ProductT) => "fold_product_t",
            Op::Absorbed(Absorbed::Outer) => "fold_outer",
            Op::Absorbed(Absorbed::Sum) => "fold_sum",
            Op::Sum { .. } => "sum",
            Op::Max { .. } => "max_over",
            Op::SumValue => "sum_value",
            Op::Moments => "moments",
        }
    }

    /// Number of operands; `None` for [`Op::Concat`], which takes one or more.
    pub fn arity(&self) -> Option<usize> {
        Some(match self {
            Op::Const(_)
            | Op::Input(_)
            | Op::Param(_)
            | Op::State(_)
            | Op::Lookup { .. }
            | Op::Length(_)
            | Op::Count(_) => 0,
            Op::Unary(_)
            | Op::StopGradient
            | Op::Broadcast
            | Op::Slice { .. }
            | Op::Reshape
            | Op::Sum { .. }
            | Op::Max { .. }
            | Op::SumValue
            | Op::Moments => 1,
            Op::Binary(_) | Op::MatMul | Op::MatMulT | Op::Outer => 2,
            Op::Select | Op::Absorbed(_) => 3,
            Op::Concat => return None,
        })
    }

    /// What equal operations have in common, and no others.
    pub fn key(&self) -> OpKey {
        let (a, b) = match self {
            Op::Const(c) => (c.to_bits(), 0),
            Op::Input(k) => (k.0.into(), 0),
            Op::Param(k) => (k.0.into(), 0),
            Op::State(k) => (k.0.into(), 0),
            Op::Lookup { table, input } => (table.0.into(), input.0.into()),
            Op::Length(d) | Op::Count(d) => (d.0.into(), 0),
            Op::Unary(op) => (*op as u64, 0),
            Op::Binary(op) => (*op as u64, 0),
            Op::Slice { start } => (*start as u64, 0),
            Op::Sum { to } | Op::Max { to } => (to.0.into(), 0),
            Op::Absorbed(form) => (*form as u64, 0),
            Op::Select
            | Op::StopGradient
            | Op::Broadcast
            | Op::Concat
            | Op::Reshape
            | Op::MatMul
            | Op::MatMulT
            | Op::Outer
            | Op::SumValue
            | Op::Moments => (0, 0),
        };
        (discriminant(self), a, b)
    }

    /// Whether each element of the value is computed from its operands at that element alone.
    pub fn is_per_element(&self) -> bool {
        match self {
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::StopGradient
            | Op::Broadcast
            | Op::Concat
            | Op::Slice { .. }
            | Op::Reshape
            | Op::MatMul
            | Op::MatMulT
            | Op::SumValue => true,
            Op::Const(_)
            | Op::Input(_)
            | Op::Param(_)
            | Op::State(_)
            | Op::Lookup { .. }
            | Op::Length(_)
            | Op::Count(_)
            | Op::Outer
            | Op::Absorbed(_)
            | Op::Sum { .. }
            | Op::Max { .. }
            | Op::Moments => false,
        }
    }
}
