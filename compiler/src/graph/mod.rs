//! The tensor graph: what every later phase reads. petgraph holds it; [`Graph`] keeps the invariants.
//!
//! # Meaning
//!
//! A node is a value. It has a **axis** (its index axes) and a **value shape** (what stands at each element). With
//! `n(D)` elements in axis `D` and width `w` (the product of the shape), a value is an `n(D) x w` array of numbers.
//! Axes form a tree by `parent`: `once` (one element) is the root, `batch` (the samples) its child, each sequence
//! a child of `batch` (the entries of all samples, grouped by sample, a sample's in order), `rows` (the distinct rows of a table
//! touched by a batch, or the elements of one dense tensor) a child of `once` that only update graphs use.
//!
//! Where samples of one request have features in common, there are two kinds of axis more: `request` (the requests of the batch), a
//! child of `once` and a second parent of `batch`, and, for each sequence that is common, its entries taken once a request, a child of
//! `request` and a second parent of the sequence: the sequence then is the pairs of a sample and an entry of its request. A value lives
//! where its operands do, so what depends on common features alone is computed once a request by construction.
//!
//! A **group** has one element for all elements of an axis that read the same rows of some tables ([`UniqueKeys`]); it is an ancestor of that
//! axis, and what is computed from those rows alone can be computed on it. The pass `optimize::deduplicate` makes groups.
//!
//! An operand may live in the node's axis or in an ancestor of it; element `i` of the node then reads the
//! operand's element `ancestor(i)`. The node's axis is the shallowest that has all its operands' axes as ancestors (or is one), unless
//! the op says otherwise. Operands in axes without such a one (two sequences) are an error.
//! Elementwise ops take operands of one shape, or of width 1, which stand for every position. `Broadcast` does the same explicitly; nothing else broadcasts.
//!
//! Below, `x_i` is the operand's vector at element `i` (after the ancestor rule), `i -> p` says that `p` is `i`'s ancestor.
//!
//! | op | value at element `i` |
//! | --- | --- |
//! | `Const(c)` | `c` at every element and position; once and `[1]` unless the node says otherwise (see [`Graph::constant_of`]) |
//! | `Input(k)` | given from outside: see [`InputKind`] |
//! | `Param(k)` | dense parameter `k`; once |
//! | `State(k)` | state `k` as it was at the start of the step; once |
//! | `Lookup{table, input}` | the row of `table` for the id at `i`; axis of `input` or a group that has the look-up, `[width of table]` |
//! | `Length(D)` | number of elements of `D` under `i`; axis `parent(D)`, `[1]` |
//! | `Count(D)` | number of elements of `D` in the global batch; once, `[1]` |
//! | `Unary`, `Binary`, `Select{c, a, b}` | by position; comparisons give 0 or 1; `Select` is `a` where `c != 0`, else `b` |
//! | `StopGradient(x)` | `x_i`; its derivative is 0 |
//! | `Broadcast(x)` | `x_i` at every element of the node's axis and, where `x` has width 1, in every component of its shape |
//! | `Concat(xs)` | the operands' vectors one behind the other; widths add |
//! | `Slice{x, start}` | positions `start..start+w` of `x_i`, `w` being the node's width |
//! | `Reshape(x)` | the same numbers under another shape of equal width |
//! | `MatMul{x, w}` | `x_i W`; `x` has shape `[k]`, `w` is once and `[k, n]` |
//! | `MatMulT{x, w}` | `x_i W^T`; `x` has shape `[n]`, `w` is once and `[k, n]` |
//! | `Outer{x, g}` | `sum_i x_i^T g_i` over the elements of the deeper axis; once, `[k, n]` |
//! | `Absorbed(Product){k, q, w}` | `concat(k_i, k_i * q_i) W`; `k` is `[e]` on a sequence, `q` `[e]` on the samples, `w` once and `[2 e, n]` |
//! | `Absorbed(ProductT){g, q, w}` | `h[..e] + h[e..] * q_i` with `h = g_i W^T`: the gradient of the above towards `k`; `[e]` |
//! | `Absorbed(Outer){k, q, g}` | `sum_i concat(k_i, k_i * q_i)^T g_i`: the one towards `w`; once, `[2 e, n]` |
//! | `Absorbed(Sum){k, g, w}` | `sum over i -> p of (g_i W^T)[e..] * k_i`: the one towards `q`; on the samples, `[e]` |
//! | `Sum{x, to}` | `sum over i -> p of x_i` at each `p` of `to`; 0 where there is none |
//! | `Max{x, to}` | the same with maximum; 0 where there is none |
//! | `SumValue(x)` | sum over the positions of `x_i`; `[1]` |
//! | `Moments(x)` | over all elements of `x`'s axis: mean then biased variance, by position; once, `[2 w]`; for no elements all 0 |
//!
//! Derivatives stand in `autodiff`, one arm an op; `verify` checks all of the above. `Absorbed` comes from the last pass of all
//! (`optimize::absorb`) and is not differentiated.

mod build;
mod op;
mod order;
mod text;
mod verify;

pub use build::TypeError;
pub use op::{Absorbed, Op, OpKey};
pub use text::ParseError;
pub use verify::{VerifyError, verify};

use din_grammar::Span;

use petgraph::stable_graph::NodeIndex;
use petgraph::stable_graph::StableDiGraph;
use serde::{Deserialize, Serialize};

/// A node of a [`Graph`].
pub type NodeId = NodeIndex<u32>;

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
    TableId
}

pub use crate::elementwise::{BinaryOp, UnaryOp};
pub use din_program::schedule::{AxisId, BATCH, GLOBAL};

/// One index axis set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// `once`, `batch`, the name of a sequence, `rows`.
    pub name: String,
    /// `None` for `once` alone.
    pub parent: Option<AxisId>,
    /// The second parent: `request` for `batch`, a common sequence's entries once a request for the sequence.
    pub common: Option<AxisId>,
    /// What a group joins.
    pub group: Option<UniqueKeys>,
}

/// Elements of `over` with equal rows in all of `keys` (look-ups on it) are one, in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueKeys {
    pub over: AxisId,
    pub keys: Vec<(TableId, InputId)>,
}

impl Axis {
    /// One with a single parent.
    pub fn under(parent: AxisId, name: impl Into<String>) -> Self {
        Axis { name: name.into(), parent: Some(parent), common: None, group: None }
    }
}

/// Shape of the value at one element: rank 1, or rank 2 for a matrix (which lives in `once`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    pub fn scalar() -> Self {
        Shape(vec![1])
    }
    pub fn vector(n: usize) -> Self {
        Shape(vec![n])
    }
    pub fn matrix(k: usize, n: usize) -> Self {
        Shape(vec![k, n])
    }
    /// Number of positions.
    pub fn width(&self) -> usize {
        self.0.iter().product()
    }
}

/// What an [`Op::Input`] or the ids of an [`Op::Lookup`] are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Ids of categorical feature `feature` of the schema; only `Lookup` reads it. Shape `[1]`.
    Ids { feature: u32 },
    /// Numeric feature `feature` of the schema.
    Dense { feature: u32 },
    /// Label `label` of the schema: 0 or 1, 0 where missing.
    Label { label: u32 },
    /// 1 where label `label` is present, else 0.
    Present { label: u32 },
    /// Number of steps done before this one, plus 1; once. The only input of train graphs that is not data.
    Step,
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

impl Input {
    /// The feature's group, or the name of what has none.
    pub fn group(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(group, _)| group)
    }
}

/// A value: operation, operands in order, type, and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub op: Op,
    pub operands: Vec<NodeId>,
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
    /// Mean loss of the global batch plus nothing else (regularizers join gradients); once, `[1]`.
    Loss(NodeId),
    /// Logit or probability of prediction `index`; batch, `[1]`.
    Prediction { index: u32, node: NodeId },
    /// A value that is wanted by name (`--dump`, tests, attention scores).
    Named { name: String, node: NodeId },
    /// The state's value after the step.
    State { state: StateId, node: NodeId },
    /// dLoss/dParam, the parameter's shape.
    ParamGradient { param: ParamId, node: NodeId },
    /// dLoss/dRow at each element of the input's axis, for the ids of `input`; axis of `input`, `[table width]`.
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
            | Root::Named { node, .. }
            | Root::State { node, .. }
            | Root::ParamGradient { node, .. }
            | Root::RowGradient { node, .. }
            | Root::Slot { node, .. } => node,
        }
    }
}

/// The graph. Operand edges (operand -> user, weight = operand position) mirror `Node::operands`.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) nodes: StableDiGraph<Node, u32, u32>,
    pub axes: Vec<Axis>,
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
    /// An empty graph with axes `once` and one child of it (`batch`, or `rows` for update graphs).
    pub fn new(child: &str) -> Self {
        Graph {
            nodes: StableDiGraph::default(),
            axes: vec![
                Axis { name: "once".into(), parent: None, common: None, group: None },
                Axis::under(GLOBAL, child),
            ],
            inputs: Vec::new(),
            tables: Vec::new(),
            params: Vec::new(),
            states: Vec::new(),
            roots: Vec::new(),
        }
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.index()]
    }

    /// Adds `request` above the samples and, for each of the sequences, its entries once a request. Returns the request's axis.
    pub fn add_requests(&mut self, common: &[AxisId]) -> AxisId {
        let request = AxisId(self.axes.len() as u32);
        self.axes.push(Axis::under(GLOBAL, "request"));
        self.axes[BATCH.index()].common = Some(request);
        for &sequence in common {
            let entries = AxisId(self.axes.len() as u32);
            let name = self.axis(sequence).name.clone();
            self.axes.push(Axis::under(request, name));
            self.axes[sequence.index()].common = Some(entries);
        }
        request
    }

    /// The axis of the requests, where there are any.
    pub fn request(&self) -> Option<AxisId> {
        self.axes[BATCH.index()].common
    }

    /// Adds a group of what reads the same rows. Returns its axis.
    pub fn add_group(&mut self, grouping: UniqueKeys) -> AxisId {
        let name = format!("distinct {}", self.axis(grouping.over).name);
        self.axes.push(Axis { group: Some(grouping), ..Axis::under(GLOBAL, name) });
        AxisId(self.axes.len() as u32 - 1)
    }

    /// The number of a look-up among a group's keys.
    pub fn group_key(&self, group: AxisId, table: TableId, input: InputId) -> Option<usize> {
        let grouping = self.axis(group).group.as_ref()?;
        grouping.keys.iter().position(|k| *k == (table, input))
    }

    /// Whether the axis is a ragged axis: a sequence, over the samples or once a request.
    pub fn is_sequence(&self, d: AxisId) -> bool {
        self.axis(d).parent.is_some_and(|p| p != GLOBAL)
    }

    /// The sequence that a ragged axis belongs to, over the samples; any other axis itself.
    pub fn sequence_of(&self, d: AxisId) -> AxisId {
        let of = self.axes.iter().position(|s| s.common == Some(d) && s.parent == Some(BATCH));
        of.map_or(d, |k| AxisId(k as u32))
    }

    /// Whether `a` is `b` or an ancestor of `b`.
    pub fn is_ancestor(&self, a: AxisId, b: AxisId) -> bool {
        let above = self.axis(b);
        a == b
            || [above.parent, above.common].into_iter().flatten().any(|p| self.is_ancestor(a, p))
            || self.axis(a).group.as_ref().is_some_and(|g| self.is_ancestor(g.over, b))
    }

    /// The shallowest axis that both are ancestors of, or are; `None` where there is none.
    pub fn join(&self, a: AxisId, b: AxisId) -> Option<AxisId> {
        if self.is_ancestor(a, b) {
            return Some(b);
        }
        if self.is_ancestor(b, a) {
            return Some(a);
        }
        let below: Vec<AxisId> = (0..self.axes.len() as u32)
            .map(AxisId)
            .filter(|&d| self.is_ancestor(a, d) && self.is_ancestor(b, d))
            .collect();
        below.iter().copied().find(|&d| below.iter().all(|&other| self.is_ancestor(d, other)))
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
