//! One walk over a model or definition: the graph that it makes, the path that names parameters,
//! and the calls in progress.
//!
//! # Names of parameters and states
//!
//! A parameter's name is the path of what leads to it, then its own name: `taste.unit.0.weight`.
//! The path grows by
//! - the name of a `let` or `layer` whose value is being computed (`let (a, b)` gives `a_b`), the
//!   label of a `predict`;
//! - the number of the turn of a `for`, from 0;
//! - the name of a called function, if the call stands in no `let`, `layer`, assignment or
//!   `predict` of the same body (`sum(linear(unit, 1) * history over s)` as the value of `interest`
//!   gives `taste.linear.weight`).
//!
//! Assignments add nothing. Two parameters of one name are an error (E0501), unless both come from
//! calls of one `layer`.

use super::distribution::PredictedValue;
use crate::graph::{AxisId, Graph, InputId, NodeId, StateId};
use din_grammar::{Span, ast};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// What is being elaborated, which decides what some names mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Model,
    /// Labels stand for their predictions.
    Loss,
    /// An optimizer or regularizer.
    Update(ast::OptimizerScope),
}

/// One call in progress.
#[derive(Clone, Debug)]
pub(super) struct CallFrame {
    pub name: String,
    pub call: Span,
    /// What the function's types call the axes of its arguments.
    pub axes: Vec<(AxisId, String)>,
}

/// The layers whose calls enclose a parameter: the path of each and which call of it.
pub(super) type LayerTag = Vec<(String, u32)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VariableKind {
    Parameter,
    /// Kept with the states, and never updated.
    Constant,
    State,
}

/// A parameter or state of one walk.
#[derive(Clone, Debug)]
pub(super) struct VariableInstance {
    pub node: NodeId,
    pub kind: VariableKind,
    pub layers: LayerTag,
    /// The calls that led to it, outermost first.
    pub frames: Rc<[CallFrame]>,
    /// Its declaration.
    pub declared: Span,
}

impl VariableInstance {
    /// The places that led to it: the calls, outermost first, then its own declaration.
    pub fn trace(&self) -> impl Iterator<Item = Span> {
        self.frames.iter().map(|f| f.call).chain([self.declared])
    }
}

/// What the graph has one input for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum InputKey {
    Feature(usize),
    Label(u32),
    /// Whether a label is known.
    Present(u32),
    /// A parameter of a definition that is checked by itself, by the number of inputs before it.
    Sample(usize),
    /// A parameter of the prediction in such a check.
    SamplePrediction(&'static str),
}

/// One elaboration, of a model for `training` true or false or of a definition: the graph that it
/// makes and what it has met on the way.
pub(super) struct GraphWalk {
    pub graph: Graph,
    pub training: bool,
    pub context: Context,
    /// What leads to the parameters that are made now; see the module.
    pub path: Vec<String>,
    /// Whether the call at hand stands in a `let`, `layer`, assignment or `predict`.
    pub named: bool,
    /// The calls in progress, outermost first.
    pub frames: Vec<CallFrame>,
    pub layers: LayerTag,
    pub inputs: FxHashMap<InputKey, InputId>,
    /// By table and feature: the rows, and what the network sees of them, which dropout changes.
    pub lookups: FxHashMap<(u32, u32), NodeId>,
    pub vectors: FxHashMap<(u32, u32), NodeId>,
    /// Parameters and states by name.
    pub variables: FxHashMap<String, VariableInstance>,
    pub updated: FxHashMap<StateId, (NodeId, Span)>,
    pub layer_calls: FxHashMap<String, u32>,
    /// Calls of `dropout` so far, each of which draws numbers of its own.
    pub dropouts: usize,
    /// By prediction; `None` where it is faulty.
    pub predicted: Vec<Option<PredictedValue>>,
    pub predicted_at: Vec<Span>,
    /// In the order of the spec.
    pub outputs: Vec<NodeId>,
    pub loss: Option<NodeId>,
    /// Where entries of a sequence came into a value per sample, as far as that was reported.
    pub entered: FxHashSet<Span>,
    /// Labels read in the loss and not under `where present`, each with where the model names it.
    pub bare: Vec<(u32, Span)>,
    /// Labels whose presence is read through a name in the model: what reads it says itself what a
    /// missing label does.
    pub presence_read: Vec<(u32, Span)>,
}

impl GraphWalk {
    pub fn new(graph: Graph, training: bool, context: Context) -> Self {
        GraphWalk {
            graph,
            training,
            context,
            path: Vec::new(),
            named: false,
            frames: Vec::new(),
            layers: Vec::new(),
            inputs: FxHashMap::default(),
            lookups: FxHashMap::default(),
            vectors: FxHashMap::default(),
            variables: FxHashMap::default(),
            updated: FxHashMap::default(),
            layer_calls: FxHashMap::default(),
            dropouts: 0,
            predicted: Vec::new(),
            predicted_at: Vec::new(),
            outputs: Vec::new(),
            loss: None,
            entered: FxHashSet::default(),
            bare: Vec::new(),
            presence_read: Vec::new(),
        }
    }
}
