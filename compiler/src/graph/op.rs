//! The operations of a graph, and what is known of each from the operation alone. Their meaning is
//! in the table at the top of [`crate::graph`].

use super::{AxisId, InputId, ParamId, StateId, TableId};
use crate::elementwise::{BinaryOp, UnaryOp};
use din_program::schedule::Statistic;

/// Products with `concat(k, k * q)`, whose second half is absorbed into the weight, `W1 + diag(q)
/// W2`, once per sample.
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
    Lookup {
        table: TableId,
        input: InputId,
    },
    Length(AxisId),
    Position(AxisId),
    /// Of samples, or of requests.
    SampleNumber(AxisId),
    /// Whether a component is kept; see the table.
    DropoutMask {
        site: usize,
        rate: f64,
    },
    Count(AxisId),
    Unary(UnaryOp),
    Binary(BinaryOp),
    Select,
    StopGradient,
    Broadcast,
    /// See [`AxisTree::first_name`](din_program::axes::AxisTree::first_name).
    Rename {
        to: AxisId,
    },
    /// A vector as the entries of a fixed axis.
    Unflatten {
        to: AxisId,
    },
    /// The entries of a fixed axis as one vector.
    Flatten,
    Concat,
    Slice {
        start: usize,
    },
    Reshape,
    MatMul,
    MatMulT,
    Outer,
    Absorbed(Absorbed),
    Sum {
        to: AxisId,
    },
    Max {
        to: AxisId,
    },
    SumValue,
    Statistic(Statistic),
    /// What [`Op::Scan`] of the same number is at the entry before; behind it if `backward`.
    Previous {
        scan: usize,
        backward: bool,
    },
    /// The end of a recurrence, whose number is the graph's own.
    Scan {
        scan: usize,
        backward: bool,
    },
}

/// What an operation holds beside its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute {
    Number(f64),
    Index(usize),
    Axis(AxisId),
}

/// An operation without operands, exactly: equal keys, equal operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpKey {
    name: &'static str,
    attributes: [Option<u64>; 2],
}

/// The operations without attributes, but for the element-wise ones and the statistics.
const PLAIN: [Op; 14] = [
    Op::Select,
    Op::StopGradient,
    Op::Broadcast,
    Op::Flatten,
    Op::Concat,
    Op::Reshape,
    Op::MatMul,
    Op::MatMulT,
    Op::Outer,
    Op::Absorbed(Absorbed::Product),
    Op::Absorbed(Absorbed::ProductT),
    Op::Absorbed(Absorbed::Outer),
    Op::Absorbed(Absorbed::Sum),
    Op::SumValue,
];

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
            Op::Position(_) => "position",
            Op::SampleNumber(_) => "sample_number",
            Op::DropoutMask { .. } => "dropout_mask",
            Op::Count(_) => "count",
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Select => "select",
            Op::StopGradient => "stop_gradient",
            Op::Broadcast => "broadcast",
            Op::Rename { .. } => "rename",
            Op::Unflatten { .. } => "unflatten",
            Op::Flatten => "flatten",
            Op::Concat => "concat",
            Op::Slice { .. } => "slice",
            Op::Reshape => "reshape",
            Op::MatMul => "matmul",
            Op::MatMulT => "matmul_t",
            Op::Outer => "outer",
            Op::Absorbed(Absorbed::Product) => "absorbed_matmul",
            Op::Absorbed(Absorbed::ProductT) => "absorbed_matmul_t",
            Op::Absorbed(Absorbed::Outer) => "absorbed_outer",
            Op::Absorbed(Absorbed::Sum) => "absorbed_sum",
            Op::Sum { .. } => "sum",
            Op::Max { .. } => "max_over",
            Op::SumValue => "sum_value",
            Op::Statistic(statistic) => statistic.description().name,
            Op::Previous { .. } => "previous",
            Op::Scan { .. } => "scan",
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
            | Op::Position(_)
            | Op::SampleNumber(_)
            | Op::Count(_)
            | Op::Previous { .. } => 0,
            Op::Unary(_)
            | Op::StopGradient
            | Op::Broadcast
            | Op::Rename { .. }
            | Op::Unflatten { .. }
            | Op::Flatten
            | Op::Slice { .. }
            | Op::Reshape
            | Op::Sum { .. }
            | Op::Max { .. }
            | Op::SumValue
            | Op::Statistic(_)
            | Op::Scan { .. } => 1,
            Op::Binary(_) | Op::MatMul | Op::MatMulT | Op::Outer => 2,
            Op::Select | Op::Absorbed(_) | Op::DropoutMask { .. } => 3,
            Op::Concat => return None,
        })
    }

    /// What it holds, in the order of the textual form.
    pub fn attributes(&self) -> [Option<Attribute>; 2] {
        match self {
            Op::Const(c) => [Some(Attribute::Number(*c)), None],
            Op::Input(k) => [Some(Attribute::Index(k.index())), None],
            Op::Param(k) => [Some(Attribute::Index(k.index())), None],
            Op::State(k) => [Some(Attribute::Index(k.index())), None],
            Op::Lookup { table, input } => {
                [Some(Attribute::Index(table.index())), Some(Attribute::Index(input.index()))]
            }
            Op::Length(axis)
            | Op::Position(axis)
            | Op::SampleNumber(axis)
            | Op::Count(axis)
            | Op::Rename { to: axis }
            | Op::Unflatten { to: axis }
            | Op::Sum { to: axis }
            | Op::Max { to: axis } => [Some(Attribute::Axis(*axis)), None],
            Op::Slice { start } => [Some(Attribute::Index(*start)), None],
            Op::DropoutMask { site, rate } => [Some(Attribute::Index(*site)), Some(Attribute::Number(*rate))],
            Op::Previous { scan, backward } | Op::Scan { scan, backward } => {
                [Some(Attribute::Index(*scan)), Some(Attribute::Index(usize::from(*backward)))]
            }
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::StopGradient
            | Op::Broadcast
            | Op::Flatten
            | Op::Concat
            | Op::Reshape
            | Op::MatMul
            | Op::MatMulT
            | Op::Outer
            | Op::Absorbed(_)
            | Op::SumValue
            | Op::Statistic(_) => [None, None],
        }
    }

    /// The operation of that name, if it has no attributes.
    pub fn without_attributes(name: &str) -> Option<Op> {
        let unary = UnaryOp::ALL.iter().map(|&op| Op::Unary(op));
        let binary = BinaryOp::ALL.iter().map(|&op| Op::Binary(op));
        let statistics = Statistic::ALL.iter().map(|&statistic| Op::Statistic(statistic));
        PLAIN.into_iter().chain(statistics).chain(unary).chain(binary).find(|op| op.name() == name)
    }

    /// What equal operations have in common, and no others: numbers compare by their bits.
    pub fn key(&self) -> OpKey {
        let bits = |attribute| match attribute {
            Attribute::Number(x) => x.to_bits(),
            Attribute::Index(k) => k as u64,
            Attribute::Axis(axis) => u64::from(axis.0),
        };
        OpKey { name: self.name(), attributes: self.attributes().map(|attribute| attribute.map(bits)) }
    }

    /// The number of the recurrence that it begins or ends.
    pub fn recurrence(&self) -> Option<usize> {
        if let Op::Previous { scan, .. } | Op::Scan { scan, .. } = self { Some(*scan) } else { None }
    }

    /// Whether each element of the value is computed from its operands at that element alone.
    pub fn is_per_element(&self) -> bool {
        match self {
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Select
            | Op::DropoutMask { .. }
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
            | Op::Position(_)
            | Op::SampleNumber(_)
            | Op::Count(_)
            | Op::Rename { .. }
            | Op::Unflatten { .. }
            | Op::Flatten
            | Op::Outer
            | Op::Absorbed(_)
            | Op::Sum { .. }
            | Op::Max { .. }
            | Op::Statistic(_)
            | Op::Previous { .. }
            | Op::Scan { .. } => false,
        }
    }
}
