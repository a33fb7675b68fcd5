//! The tensor graph: what every later phase reads. petgraph holds it; [`Graph`] keeps the
//! invariants.
//!
//! # Meaning
//!
//! A node is a value. It has an **axis** (what it has one element for; see [`din_program::axes`])
//! and a **value shape** (what stands at each element). With `n(D)` elements on axis `D` and width
//! `w` (the product of the shape), a value is an `n(D) x w` array.
//!
//! Where samples of one request have features in common, those features live on the request axis,
//! and the entries of a common list on its axis per request. A value lives where its operands do,
//! so what depends on common features alone is computed once per request by construction. On a
//! unique axis, what is computed from row numbers alone is computed once per distinct combination;
//! the pass `optimize::deduplicate` adds such axes.
//!
//! An operand may live in the node's axis or in an ancestor of it; element `i` of the node then
//! reads the operand's element `ancestor(i)`. The node's axis is the shallowest that has all its
//! operands' axes as ancestors (or is one), unless the op says otherwise. Operands in axes without
//! such a one (two sequences) are an error. Elementwise ops take operands of one shape, or of width
//! 1, which stand for every component. `Broadcast` does the same explicitly; nothing else
//! broadcasts.
//!
//! Below, `x_i` is the operand's vector at element `i` (after the ancestor rule), `i -> p` says
//! that `p` is `i`'s ancestor.
//!
//! | op | value at element `i` |
//! | --- | --- |
//! | `Const(c)` | `c` at every element and component; global and `[1]` unless the node says otherwise (see [`Graph::constant_of`]) |
//! | `Input(k)` | given from outside: see [`InputKind`] |
//! | `Param(k)` | dense parameter `k`; global |
//! | `State(k)` | state `k` as it was at the start of the step; global |
//! | `Lookup{table, input}` | the row of `table` for the id at `i`; axis of `input` or a group that has the look-up, `[width of table]` |
//! | `Length(D)` | number of elements of `D` under `i`; axis `parent(D)`, `[1]` |
//! | `Position(D)` | on a sequence `D`: the number of entries before `i` in its list; axis `D`, `[1]` |
//! | `SampleNumber(D)` | on the samples: the place of `i` in the global batch, from 0; on the requests: that of the request's first sample; axis `D`, `[1]` |
//! | `DropoutMask{site, rate}(s, a, b)` | at each component 0 with probability `rate`, else `1 / (1 - rate)`: a function of seed, step, site, the numbers `s_i`, `a_i`, `b_i` and the component (see [`din_program::dropout`]); `[w]` as the node says |
//! | `Count(D)` | number of elements of `D` in the global batch; global, `[1]` |
//! | `Unary`, `Binary`, `Select{c, a, b}` | by component; comparisons give 0 or 1; `Select` is `a` where `c != 0`, else `b` |
//! | `StopGradient(x)` | `x_i`; its derivative is 0 |
//! | `Broadcast(x)` | `x_i` at every element of the node's axis and, where `x` has width 1, in every component of its shape |
//! | `Rename{x, to}` | `x_i`, on the axis `to`, which has the same elements under another name or in another order |
//! | `Unflatten{x, to}` | on the fixed axis `to`, of `m` entries: at entry `j`, components `j w..(j + 1) w` of `x` at its sample; `[w]`, `x` being `[m w]` |
//! | `Flatten(x)` | the entries of a fixed axis, one vector behind the other, at each sample; `[m w]`, `x` being `[w]` |
//! | `Concat(xs)` | the operands' vectors one behind the other; widths add |
//! | `Slice{x, start}` | components `start..start+w` of `x_i`, `w` being the node's width |
//! | `Reshape(x)` | the same numbers under another shape of equal width |
//! | `MatMul{x, w}` | `x_i W`; `x` has shape `[k]`, `w` is global and `[k, n]` |
//! | `MatMulT{x, w}` | `x_i W^T`; `x` has shape `[n]`, `w` is global and `[k, n]` |
//! | `Outer{x, g}` | `sum_i x_i^T g_i` over the elements of the deeper axis; global, `[k, n]` |
//! | `Absorbed(Product){k, q, w}` | `concat(k_i, k_i * q_i) W`; `k` is `[e]` on a sequence, `q` `[e]` on the samples, `w` global and `[2 e, n]` |
//! | `Absorbed(ProductT){g, q, w}` | `h[..e] + h[e..] * q_i` with `h = g_i W^T`: the gradient of the above towards `k`; `[e]` |
//! | `Absorbed(Outer){k, q, g}` | `sum_i concat(k_i, k_i * q_i)^T g_i`: the one towards `w`; global, `[2 e, n]` |
//! | `Absorbed(Sum){k, g, w}` | `sum over i -> p of (g_i W^T)[e..] * k_i`: the one towards `q`; on the samples, `[e]` |
//! | `Sum{x, to}` | `sum over i -> p of x_i` at each `p` of `to`; 0 where there is none |
//! | `Max{x, to}` | the same with maximum; 0 where there is none |
//! | `SumValue(x)` | sum over the components of `x_i`; `[1]` |
//! | `Statistic(s){x}` | over all elements of `x`'s axis: the results of `s` by component, such as mean then biased variance (see `statistic`); global, `[r w]` for `r` results; for no elements all 0 |
//!
//! | `Scan{s, backward}(x)` | `x_i`: the state that recurrence `s` leaves at entry `i` of a sequence; axis of `x` |
//! | `Previous{s, backward}` | the same at the entry before `i` in its list, or behind it if `backward`; 0 where there is none; axis and shape as the node says, those of the scan |
//!
//! What depends on `Previous{s}` and is needed by `Scan{s}` is the recurrence: values on the
//! sequence, computed element by element, one entry of each list after the other ([`Recurrence`]).
//! So nothing of it depends on itself, and the operands of the graph have no cycle.
//!
//! Derivatives stand in `autodiff`, one arm an op; `verify` checks all of the above. `Absorbed`
//! comes from the last pass of all (`optimize::absorb`) and is not differentiated.

mod build;
mod op;
mod order;
mod recurrence;
mod text;
mod verify;

pub use build::TypeError;
pub use op::{Absorbed, Attribute, Op, OpKey};
pub use recurrence::{GraphStage, Recurrence};
pub use text::ParseError;
pub use verify::{VerifyError, verify};

use din_grammar::Span;

use petgraph::stable_graph::NodeIndex;
use petgraph::stable_graph::StableDiGraph;
use serde::{Deserialize, Serialize};
use smallvec::{SmallVec, smallvec};

/// A node of a [`Graph`].
pub type NodeId = NodeIndex<u32>;

/// The operands of a node, in order; few of them are stored in the node itself.
pub type NodeOperands = SmallVec<[NodeId; 4]>;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);
        impl $name { pub fn index(self) -> usize { self.0 as usize } }
    )* };
}
id! {
    /// Index into [`Graph::inputs`].
    InputId,
    /// Index into the model's dense parameters.
    ParamId,
    /// Index into the model's states.
    StateId,
    /// Index into the model's tables.
    TableId,
    /// Number of a feature group of the model, in the order of their declarations.
    GroupId
}

pub use crate::elementwise::{BinaryOp, UnaryOp};
pub use din_program::axes::{Axis, AxisId, AxisKind, AxisTree, BATCH, GLOBAL, UniqueKeys};

/// Shape of the value at one element: rank 1, or rank 2 for a matrix (which lives on the global
/// axis).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape(pub SmallVec<[usize; 2]>);

impl Shape {
    pub fn scalar() -> Self {
        Shape(smallvec![1])
    }
    pub fn vector(n: usize) -> Self {
        Shape(smallvec![n])
    }
    pub fn matrix(k: usize, n: usize) -> Self {
        Shape(smallvec![k, n])
    }
    /// Number of components.
    pub fn width(&self) -> usize {
        self.0.iter().product()
    }
}

/// What an [`Op::Input`] or the ids of an [`Op::Lookup`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Ids of categorical feature `feature` of the schema; only `Lookup` reads it. Shape `[1]`.
    Ids { feature: u32, group: GroupId },
    /// Numeric feature `feature` of the schema.
    Dense { feature: u32 },
    /// Label `label` of the schema: 0 or 1, 0 where missing.
    Label { label: u32 },
    /// 1 where label `label` is present, else 0.
    Present { label: u32 },
    /// Number of steps done before this one, plus 1; global. Not data, as the next.
    Step,
    /// Number of the epoch that the step belongs to, from 1; global.
    Epoch,
    /// Of update graphs, where gradients are limited by the norm of all of them: the sum of the
    /// squares of the gradient of each table, then of each parameter; global, a vector.
    SquaredNorms,
    // Inputs of update graphs; axis `rows`.
    /// The weight before the update: a row of a table, or an element of a dense tensor.
    Weight,
    /// Its gradient (mean over the global batch, as the loss says), rows summed over occurrences.
    Gradient,
    /// Optimizer state `slot`, as wide as the weight or `[1]` (per row).
    Slot { slot: u32 },
    /// Number of training samples that contain the row's id; `[1]`.
    Frequency,
    /// Number of batches that had the row so far, this one included; `[1]`.
    UpdateCount,
    /// 1 where this batch has the row, else 0; `[1]`.
    InBatch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Of a feature, its path: `item.brand`.
    pub name: String,
    pub kind: InputKind,
    pub axis: AxisId,
    pub shape: Shape,
}

/// A value: operation, operands in order, type, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: Op,
    pub operands: NodeOperands,
    pub axis: AxisId,
    pub shape: Shape,
    /// The text that asked for it; derivatives carry the span of what they differentiate.
    pub span: Span,
}

impl Node {
    pub fn width(&self) -> usize {
        self.shape.width()
    }
}

/// What a graph is for; each root is a node that must be computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Root {
    /// Mean loss of the global batch plus nothing else (regularizers join gradients); global,
    /// `[1]`.
    Loss(NodeId),
    /// The root of prediction `index`, such as its logit; batch, a vector.
    Prediction { index: u32, node: NodeId },
    /// The value of output `index`; batch, a vector.
    Output { index: u32, node: NodeId },
    /// A value that is wanted by name (`--dump`, tests, attention scores).
    Named { name: String, node: NodeId },
    /// The state's value after the step.
    State { state: StateId, node: NodeId },
    /// dLoss/dParam, the parameter's shape.
    ParamGradient { param: ParamId, node: NodeId },
    /// dLoss/dRow at each element of the input's axis, for the ids of `input`; axis of `input`,
    /// `[table width]`.
    RowGradient { table: TableId, input: InputId, node: NodeId },
    /// In an update graph: the weight after the step.
    Weight(NodeId),
    /// In an update graph: slot after the step.
    Slot { slot: u32, node: NodeId },
}

impl Root {
    pub fn node(&self) -> NodeId {
        match self {
            Root::Loss(n) | Root::Weight(n) => *n,
            Root::Prediction { node, .. }
            | Root::Output { node, .. }
            | Root::Named { node, .. }
            | Root::State { node, .. }
            | Root::ParamGradient { node, .. }
            | Root::RowGradient { node, .. }
            | Root::Slot { node, .. } => *node,
        }
    }

    pub fn node_mut(&mut self) -> &mut NodeId {
        match self {
            Root::Loss(n) | Root::Weight(n) => n,
            Root::Prediction { node, .. }
            | Root::Output { node, .. }
            | Root::Named { node, .. }
            | Root::State { node, .. }
            | Root::ParamGradient { node, .. }
            | Root::RowGradient { node, .. }
            | Root::Slot { node, .. } => node,
        }
    }
}

/// The graph. Operand edges (operand -> user, weight = operand number) mirror `Node::operands`.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) nodes: StableDiGraph<Node, u32, u32>,
    pub axes: AxisTree,
    pub inputs: Vec<Input>,
    /// Width of a row, by table.
    pub tables: Vec<usize>,
    /// Shapes, by parameter.
    pub params: Vec<Shape>,
    /// Shapes, by state.
    pub states: Vec<Shape>,
    pub roots: Vec<Root>,
}

impl Default for Graph {
    fn default() -> Self {
        Self::new("batch")
    }
}

impl Graph {
    /// An empty graph with the global axis and one child of it (`batch`, or `rows` for update
    /// graphs).
    pub fn new(child: &str) -> Self {
        Graph {
            nodes: StableDiGraph::default(),
            axes: AxisTree::new(child),
            inputs: Vec::new(),
            tables: Vec::new(),
            params: Vec::new(),
            states: Vec::new(),
            roots: Vec::new(),
        }
    }

    /// A graph over the same axes, inputs, tables, parameters and states, without nodes and roots:
    /// what a rewrite begins with.
    pub(crate) fn without_nodes(&self) -> Self {
        Graph {
            nodes: StableDiGraph::default(),
            axes: self.axes.clone(),
            inputs: self.inputs.clone(),
            tables: self.tables.clone(),
            params: self.params.clone(),
            states: self.states.clone(),
            roots: Vec::new(),
        }
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub fn axis(&self, id: AxisId) -> &Axis {
        self.axes.axis(id)
    }

    /// The feature whose ids an input holds; `None` for any other input.
    pub fn ids_feature(&self, input: InputId) -> Option<u32> {
        match self.inputs[input.index()].kind {
            InputKind::Ids { feature, .. } => Some(feature),
            InputKind::Dense { .. }
            | InputKind::Label { .. }
            | InputKind::Present { .. }
            | InputKind::Step
            | InputKind::Epoch
            | InputKind::SquaredNorms
            | InputKind::Weight
            | InputKind::Gradient
            | InputKind::Slot { .. }
            | InputKind::Frequency
            | InputKind::UpdateCount
            | InputKind::InBatch => None,
        }
    }

    /// The number of a lookup among the keys of the unique axis `axis`; `None` where the axis is of
    /// another kind or lacks the lookup.
    pub fn unique_key(&self, axis: AxisId, table: TableId, input: InputId) -> Option<usize> {
        let feature = self.ids_feature(input)?;
        self.axes.unique(axis)?.keys.iter().position(|k| *k == (table.0, feature))
    }

    /// Adds a node as it is; the caller vouches for its type (`verify` checks it).
    pub fn push(&mut self, node: Node) -> NodeId {
        let operands = node.operands.clone();
        let id = self.nodes.add_node(node);
        for (k, operand) in operands.into_iter().enumerate() {
            self.nodes.add_edge(operand, id, k as u32);
        }
        id
    }

    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.node_indices()
    }
}
