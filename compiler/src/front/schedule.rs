//! Schedules: arguments of optimizers and regularizers that change from step to step. They are
//! expressions of `step`, `epoch` and numbers; each becomes a small graph, which every update graph
//! with this argument takes in.

use super::conform::TypeWord;
use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::update::SharedInputs;
use super::value::{ExprValue, Tensor, number_text};
use super::walk::{Context, GraphWalk};
use crate::graph::{GLOBAL, Graph, Input, InputId, InputKind, Node, NodeId, Op, Root, Shape};
use crate::interpret::{self, Inputs, Values};
use din_grammar::{Diagnostic, Span, ast};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// An argument of a rule.
#[derive(Clone, Debug)]
pub(super) enum RuleArgument {
    Number(f64),
    /// Its one root is the value, whose inputs are [`InputKind::Step`] and [`InputKind::Epoch`].
    Schedule(Rc<Graph>),
}

/// The same on the walk that elaborates it.
#[derive(Clone, Copy, Debug)]
pub(super) enum ElaboratedArgument {
    Number(f64),
    Schedule(NodeId),
}

impl RuleArgument {
    pub fn of(argument: ElaboratedArgument, graph: &Graph) -> RuleArgument {
        match argument {
            ElaboratedArgument::Number(n) => RuleArgument::Number(n),
            ElaboratedArgument::Schedule(node) => RuleArgument::Schedule(Rc::new(alone(graph, node))),
        }
    }

    /// What tells it from other arguments.
    pub fn key(&self) -> String {
        match self {
            RuleArgument::Number(n) => format!("{:x}", n.to_bits()),
            RuleArgument::Schedule(graph) => graph.text(),
        }
    }
}

/// What `value` is computed from, as a graph of its own.
fn alone(graph: &Graph, value: NodeId) -> Graph {
    let mut own = Graph::new("rows");
    let mut made: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    for id in graph.order_from([value]) {
        let mut node = graph.node(id).clone();
        node.operands.iter_mut().for_each(|operand| *operand = made[operand]);
        if let Op::Input(input) = &mut node.op {
            own.inputs.push(graph.inputs[input.index()].clone());
            *input = InputId(own.inputs.len() as u32 - 1);
        }
        made.insert(id, own.push(node));
    }
    own.roots = vec![Root::Named { name: "value".into(), node: made[&value] }];
    own
}

/// Whether a value depends on numbers, the step and the epoch alone.
fn is_schedule(graph: &Graph, value: NodeId) -> bool {
    graph.order_from([value]).into_iter().all(|id| {
        let node = graph.node(id);
        node.axis == GLOBAL
            && match node.op {
                Op::Input(input) => matches!(graph.inputs[input.index()].kind, InputKind::Step | InputKind::Epoch),
                Op::Const(_)
                | Op::Unary(_)
                | Op::Binary(_)
                | Op::Select
                | Op::StopGradient
                | Op::Broadcast
                | Op::Concat
                | Op::Slice { .. }
                | Op::Reshape
                | Op::SumValue => true,
                Op::Param(_)
                | Op::State(_)
                | Op::Lookup { .. }
                | Op::Length(_)
                | Op::Position(_)
                | Op::SampleNumber(_)
                | Op::DropoutMask { .. }
                | Op::Count(_)
                | Op::Rename { .. }
                | Op::Unflatten { .. }
                | Op::Flatten
                | Op::MatMul
                | Op::MatMulT
                | Op::Outer
                | Op::Absorbed(_)
                | Op::Sum { .. }
                | Op::Max { .. }
                | Op::Statistic(_)
                | Op::Previous { .. }
                | Op::Scan { .. } => false,
            }
    })
}

/// Steps and epochs at which the range of a schedule is checked.
const STEPS: [f64; 22] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6,
    1e7,
];
const EPOCHS: [f64; 8] = [1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// The values of a schedule, each behind the epoch and the step.
fn values(graph: &Graph) -> impl Iterator<Item = (f64, f64, f64)> {
    let value = graph.roots[0].node();
    let places = EPOCHS.into_iter().flat_map(|epoch| STEPS.into_iter().map(move |step| (epoch, step)));
    places.filter(|(epoch, step)| step >= epoch).map(move |(epoch, step)| {
        let numbers = graph.inputs.iter().map(|input| match input.kind {
            InputKind::Epoch => vec![epoch],
            _ => vec![step],
        });
        let inputs = Inputs { numbers: numbers.collect(), offsets: vec![vec![]; 2], ..Inputs::default() };
        let run = interpret::run(graph, &inputs, &Values::default());
        (epoch, step, run.expect("a schedule is arithmetic on global numbers").value(value)[0])
    })
}

impl<'a> Elaborator<'a> {
    /// A walk for the arguments of a rule.
    pub(super) fn schedule_walk(&self) -> GraphWalk {
        // Names in scope may stand for values of the graph at hand.
        GraphWalk::new(self.walk.graph.clone(), true, Context::Update(ast::OptimizerScope::Tensor))
    }

    /// Makes `step` and `epoch` known in a new block of the scope, but for names that the model has
    /// given to something else.
    pub(super) fn bind_step_and_epoch(&mut self, scope: &mut NameScope<'a>, span: Span) {
        let mut block = Vec::new();
        for (name, kind) in [("step", InputKind::Step), ("epoch", InputKind::Epoch)] {
            if scope.find(name).is_none() && !self.modules[scope.module].names.contains_key(name) {
                block.push((name, Tensor { node: self.number_input(name, kind, span), fields: None }));
            }
        }
        scope.blocks.push(Vec::new());
        for (name, tensor) in block {
            scope.bind(name, ExprValue::Tensor(tensor), span);
        }
    }

    fn number_input(&mut self, name: &str, kind: InputKind, span: Span) -> NodeId {
        let id = InputId(self.walk.graph.inputs.len() as u32);
        self.walk.graph.inputs.push(Input { name: name.into(), kind, axis: GLOBAL, shape: Shape::scalar() });
        self.walk.graph.input(id, span)
    }

    /// The node of a schedule for a parameter of this type: one number at each step, in the type's
    /// range wherever it is looked at.
    pub(super) fn schedule(&mut self, t: &Tensor, word: Option<TypeWord>, what: &str, span: Span) -> Option<NodeId> {
        if !is_schedule(&self.walk.graph, t.node) || self.walk.graph.node(t.node).width() != 1 {
            let found = self.describe_tensor(t);
            self.report(
                Diagnostic::error("E0307", format!("{what} must be a number"), span, "not known before the step")
                    .note(format!("expected a number, or an expression of `step` and `epoch`\nfound {found}")),
            );
            return None;
        }
        let graph = alone(&self.walk.graph, t.node);
        for (epoch, step, value) in values(&graph) {
            let fits = word.is_none_or(|word| word.holds(&ExprValue::Number(value)));
            if fits && (value as f32).is_finite() {
                continue;
            }
            let (range, found) = match word {
                Some(word) => (word.text().replace("compile-time ", ""), number_text(value)),
                None => ("a finite number".into(), number_text(value)),
            };
            self.report(
                Diagnostic::error("E0311", format!("{what} leaves its range"), span, format!("is {found} there"))
                    .note(format!("expected {range} at every step\nfound {found} at step {step} of epoch {epoch}"))
                    .help("limit it, such as by `max(…, 0)` or `min(…, 1)`"),
            );
            return None;
        }
        if graph.inputs.is_empty() {
            let (_, _, value) = values(&graph).next().expect("a schedule is looked at in the first step");
            let found = number_text(value);
            self.report(
                Diagnostic::warning("W0607", format!("{what} is {found} at every step"), span, "no schedule")
                    .note("it is computed from numbers alone")
                    .help("give a schedule `step` or `epoch`, and multiply: `1e-3 * warmup(step, 1000)`"),
            );
        }
        Some(t.node)
    }

    /// Warns of a call of `std.schedule` whose value is the same at every step.
    pub(super) fn doubtful_schedule(&mut self, function: &str, value: &ExprValue<'a>, span: Span) {
        let ExprValue::Tensor(t) = value else { return };
        if !is_schedule(&self.walk.graph, t.node) {
            return;
        }
        let graph = alone(&self.walk.graph, t.node);
        let mut all = values(&graph).map(|(_, _, value)| value);
        let first = all.next().expect("a schedule is looked at in the first step");
        // One that is computed of numbers alone is told as the argument that it is.
        if graph.inputs.is_empty() || all.any(|other| other != first) {
            return;
        }
        let found = number_text(first);
        self.report(
            Diagnostic::warning("W0607", format!("`{function}` is {found} at every step"), span, "changes nothing")
                .note("its steps are over when the first one begins: they are numbers of steps, not shares of a run")
                .help("write more steps, such as `warmup(step, 1000)`, or leave it out"),
        );
    }

    /// Warns of a list of steps that do not ascend: of `[10, 20]`, or of the first parts of
    /// `[(10, a), (20, b)]`.
    pub(super) fn steps_ascend(&mut self, function: &str, list: &ExprValue<'a>, span: Span) {
        let ExprValue::List(items) = list else { return };
        let number = |value: &ExprValue<'a>| match value {
            ExprValue::Number(n) => Some(*n),
            _ => None,
        };
        let begins = |item: &ExprValue<'a>| match item {
            ExprValue::Tuple(parts) => parts.first().and_then(number),
            other => number(other),
        };
        let Some(steps) = items.iter().map(begins).collect::<Option<Vec<f64>>>() else { return };
        let Some(pair) = steps.windows(2).find(|pair| pair[0] >= pair[1]) else { return };
        let (before, after) = (number_text(pair[0]), number_text(pair[1]));
        self.report(
            Diagnostic::warning(
                "W0607",
                format!("the steps of `{function}` do not ascend"),
                span,
                format!("{after} follows {before}"),
            )
            .note("expected each step above the one before it")
            .help(format!("write {after} before {before}, or correct the number")),
        );
    }

    /// A schedule's value in an update graph.
    pub(super) fn take_in(&mut self, schedule: &Graph, shared: &mut SharedInputs, span: Span) -> Tensor {
        let mut made: FxHashMap<NodeId, NodeId> = FxHashMap::default();
        for id in schedule.order() {
            let node = schedule.node(id);
            let here = match node.op {
                Op::Input(input) => match schedule.inputs[input.index()].kind {
                    InputKind::Epoch => self.epoch_input(shared, span).node,
                    _ => self.step_input(shared, span).node,
                },
                _ => {
                    let operands = node.operands.iter().map(|operand| made[operand]).collect();
                    self.walk.graph.push(Node { operands, ..node.clone() })
                }
            };
            made.insert(id, here);
        }
        Tensor { node: made[&schedule.roots[0].node()], fields: None }
    }
}
