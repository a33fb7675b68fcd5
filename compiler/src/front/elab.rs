//! The state of the walk: graph under construction, names in scope, the path that names parameters, the trace of calls, and reporting.
//!
//! # Names of parameters and states
//!
//! A parameter's name is the path of what leads to it, then its own name: `taste.unit.0.weight`. The path grows by
//! - the name of a `let` or `layer` whose value is being computed (`let (a, b)` gives `a_b`), the label of a `predict`;
//! - the number of the turn of a `for`, from 0;
//! - the name of a called function, when the call stands in none of a `let`, `layer`, assignment or `predict` of the same body
//!   (`sum(linear(unit, 1) * history over s)` as the value of `interest` gives `taste.linear.weight`).
//!
//! Assignments add nothing. Two parameters of one name are an error (E0501), unless both come from calls of one `layer`.

use super::declare::Declarations;
use super::load::{Definition, Module, listed};
use super::value::{Builtin, Callee, Tensor, Value, nearest, reserved};
use crate::graph::{AxisId, BATCH, GLOBAL, Graph, InputId, NodeId, Shape, StateId};
use din_grammar::{Diagnostic, SourceMap, Span, ast};
use din_program::schema::{Parameter, Prediction, State};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// Calls inside calls.
pub(super) const MAX_CALLS: usize = 48;
/// Expressions inside expressions, over all calls.
const MAX_DEPTH: usize = 400;
/// Nodes of one graph.
const MAX_NODES: usize = 100_000;
/// Expressions evaluated for one model.
const MAX_STEPS: u64 = 1_000_000;
/// Components of one value.
pub(super) const MAX_WIDTH: f64 = 16_777_216.0;

/// What a name in scope stands for.
#[derive(Clone, Debug)]
pub(super) struct Binding<'a> {
    pub name: &'a str,
    pub bound: Bound<'a>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Bound<'a> {
    Value(Value<'a>),
    State(StateId, Tensor),
    /// Index into the schema's labels.
    Label(usize),
    /// Index into the schema's keys.
    Key(usize),
    /// Optimizer state: its slot and its value now.
    Slot(u32, Tensor),
}

/// A size that a function's types have bound.
#[derive(Clone, Debug)]
pub(super) struct Dimension<'a> {
    pub name: &'a str,
    /// `None` where the argument was faulty.
    pub size: Option<usize>,
    pub span: Span,
}

/// Names visible in one body.
#[derive(Clone, Debug)]
pub(super) struct Scope<'a> {
    pub module: usize,
    pub blocks: Vec<Vec<Binding<'a>>>,
    pub dimensions: Vec<Dimension<'a>>,
    /// Ragged axes by name.
    pub axes: Vec<(&'a str, AxisId, Span)>,
    /// The function whose body it is.
    pub function: Option<&'a str>,
    /// States declared in the body.
    pub states: Vec<(StateId, Span)>,
}

impl<'a> Scope<'a> {
    pub fn new(module: usize, function: Option<&'a str>) -> Self {
        Scope {
            module,
            blocks: vec![Vec::new()],
            dimensions: Vec::new(),
            axes: Vec::new(),
            function,
            states: Vec::new(),
        }
    }

    pub fn find(&self, name: &str) -> Option<&Binding<'a>> {
        self.blocks.iter().rev().flat_map(|b| b.iter().rev()).find(|b| b.name == name)
    }

    pub fn find_mut(&mut self, name: &str) -> Option<&mut Binding<'a>> {
        self.blocks.iter_mut().rev().flat_map(|b| b.iter_mut().rev()).find(|b| b.name == name)
    }

    pub fn bind(&mut self, name: &'a str, value: Value<'a>, span: Span) {
        self.bind_as(name, Bound::Value(value), span);
    }

    pub fn bind_as(&mut self, name: &'a str, bound: Bound<'a>, span: Span) {
        if let Some(block) = self.blocks.last_mut() {
            block.push(Binding { name, bound, span });
        }
    }

    pub fn axis(&self, name: &str) -> Option<AxisId> {
        self.axes.iter().find(|a| a.0 == name).map(|a| a.1)
    }
}

/// What is being elaborated, which decides what some names mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Model,
    /// Labels stand for their predictions.
    Loss,
    /// An optimizer or regularizer.
    Update(ast::Scope),
}

/// One call in progress.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub name: String,
    pub call: Span,
}

/// The layers whose calls enclose a parameter: the path of each and which call of it.
pub(super) type LayerTag = Vec<(String, u32)>;

/// A parameter or state of one walk.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub node: NodeId,
    pub layers: LayerTag,
    /// The calls that led to it, outermost first.
    pub frames: Rc<[Frame]>,
    /// Its declaration.
    pub declared: Span,
}

impl Instance {
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
    /// The logit of the prediction in such a check.
    SampleLogit,
}

/// What one walk (for `training` true or false) has made so far.
#[derive(Default)]
pub(super) struct Run {
    pub inputs: FxHashMap<InputKey, InputId>,
    pub lookups: FxHashMap<(u32, u32), NodeId>,
    /// Parameters and states by name.
    pub variables: FxHashMap<String, Instance>,
    pub updated: FxHashMap<StateId, (NodeId, Span)>,
    pub layer_calls: FxHashMap<String, u32>,
    /// Node of the logit, by prediction.
    pub logits: Vec<Option<NodeId>>,
    pub predicted_at: Vec<Span>,
    pub loss: Option<NodeId>,
    /// Predictions read in the loss and not under `where present`.
    pub bare: Vec<(usize, Span)>,
}

pub(super) struct Elab<'a> {
    pub modules: &'a [Module],
    pub sources: &'a SourceMap,
    pub diagnostics: Vec<Diagnostic>,
    reported: FxHashSet<(&'static str, Span, String)>,
    pub graph: Graph,
    pub training: bool,
    pub phase: Phase,
    pub declarations: Declarations<'a>,
    pub parameters: Vec<Parameter>,
    pub parameter_spans: Vec<Span>,
    pub parameter_ids: FxHashMap<String, usize>,
    pub states: Vec<State>,
    pub state_ids: FxHashMap<String, usize>,
    pub predictions: Vec<Prediction>,
    pub run: Run,
    pub path: Vec<String>,
    /// Whether the call at hand stands in a `let`, `layer`, assignment or `predict`.
    pub named: bool,
    pub frames: Vec<Frame>,
    pub layers: LayerTag,
    /// Definitions are checked by themselves, outside any model.
    pub sampling: bool,
    /// A `predict` is faulty or none is there: labels without prediction are its consequence.
    pub unpredicted: bool,
    depth: usize,
    steps: u64,
    exhausted: bool,
}

impl<'a> Elab<'a> {
    pub fn new(modules: &'a [Module], sources: &'a SourceMap) -> Self {
        Elab {
            modules,
            sources,
            diagnostics: Vec::new(),
            reported: FxHashSet::default(),
            graph: Graph::default(),
            training: true,
            phase: Phase::Model,
            declarations: Declarations::default(),
            parameters: Vec::new(),
            parameter_spans: Vec::new(),
            parameter_ids: FxHashMap::default(),
            states: Vec::new(),
            state_ids: FxHashMap::default(),
            predictions: Vec::new(),
            run: Run::default(),
            path: Vec::new(),
            named: false,
            frames: Vec::new(),
            layers: Vec::new(),
            sampling: false,
            unpredicted: false,
            depth: 0,
            steps: 0,
            exhausted: false,
        }
    }

    /// Reports a fault once; inside functions with the trace of calls that led there.
    pub fn report(&mut self, mut diagnostic: Diagnostic) {
        let Some(first) = diagnostic.labels.first() else { return };
        if !self.reported.insert((diagnostic.code, first.span, diagnostic.message.clone())) {
            return;
        }
        // The library is right in itself: what several of its lines say of one call is one fault of that call.
        let in_library = self.sources.get(first.span.file).is_some_and(|f| f.name.starts_with("std."));
        if let Some(outer) = self.frames.first()
            && in_library
            && !self.reported.insert((diagnostic.code, outer.call, String::new()))
        {
            return;
        }
        // A definition that is checked by itself is called from nowhere.
        let frames = if self.sampling { self.frames.get(1..).unwrap_or_default() } else { &self.frames };
        if let Some(outer) = frames.first()
            && diagnostic.labels.iter().all(|l| l.span != outer.call)
        {
            diagnostic.labels.push(din_grammar::Label { span: outer.call, text: "in this call".into() });
        }
        const SHOWN: usize = 6;
        for frame in frames.iter().rev().take(SHOWN) {
            diagnostic.notes.push(format!("in `{}`, called at {}", frame.name, self.sources.location(frame.call)));
        }
        if frames.len() > SHOWN {
            diagnostic.notes.push(format!("and {} calls further out", frames.len() - SHOWN));
        }
        self.diagnostics.push(diagnostic);
    }

    /// Reports and gives poison.
    pub fn fault(&mut self, diagnostic: Diagnostic) -> Value<'a> {
        self.report(diagnostic);
        Value::Poison
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Counts one expression; false when the limits are passed (reported once), and then for good.
    pub fn enter(&mut self, span: Span) -> bool {
        if self.exhausted {
            return false;
        }
        self.depth += 1;
        self.steps += 1;
        let limit = if self.depth > MAX_DEPTH {
            Some(("E0701", format!("expressions are nested more than {MAX_DEPTH} deep")))
        } else if self.steps > MAX_STEPS {
            Some(("E0703", format!("checking takes more than {MAX_STEPS} steps")))
        } else if self.graph.len() > MAX_NODES {
            Some(("E0702", format!("the graph has more than {MAX_NODES} operations")))
        } else {
            None
        };
        if let Some((code, message)) = limit {
            self.report(
                Diagnostic::error(code, message, span, "the limit is passed here")
                    .help("unroll less: shorten the lists that `for` runs over, or the chain of calls"),
            );
            self.exhausted = true;
            self.depth -= 1;
            return false;
        }
        true
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Stops the walk after a limit was reported.
    pub fn exhaust(&mut self) {
        self.exhausted = true;
    }

    pub fn location(&self, span: Span) -> String {
        self.sources.recorded_location(span)
    }

    /// Runs `body` with the path that `names` add.
    pub fn under<T>(&mut self, name: Option<String>, named: bool, body: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.named;
        let depth = self.path.len();
        self.path.extend(name);
        self.named = named;
        let value = body(self);
        self.named = before;
        self.path.truncate(depth);
        value
    }

    /// `taste.unit.0.weight`
    pub fn full_name(&self, own: &str) -> String {
        let mut name = self.path.join(".");
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(own);
        name
    }

    /// What an axis is called: the sequence's name.
    pub fn axis_text(&self, axis: AxisId) -> String {
        match axis {
            GLOBAL => "nothing: it is one value for the whole batch".into(),
            BATCH => "the samples only".into(),
            d if Some(d) == self.graph.axes.request() => "the requests only".into(),
            d => format!("`{}`", self.graph.axis(d).name),
        }
    }

    /// What a value is, for messages.
    pub fn describe(&self, value: &Value<'a>) -> String {
        match value {
            Value::Number(n) => format!("the number {}", super::value::number_text(*n)),
            Value::Bool(b) => format!("`{b}`"),
            Value::Text(_) => "a text".into(),
            Value::List(_) => "a list".into(),
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::Function(f) => match &**f {
                Callee::Table(t) => format!("the table `{}`", self.declarations.tables[*t].name),
                Callee::Family(f) => format!("the tables `{}`", self.declarations.families[*f].name),
                other => format!("the function `{}`", other.name()),
            },
            Value::Tensor(t) => self.describe_tensor(t),
            Value::Group(g) => format!("the group `{}`", self.declarations.groups[*g].name),
            Value::Feature(f) => format!("the feature `{}`", self.declarations.schema.features[*f].path()),
            Value::Prediction(_) => "a prediction".into(),
            Value::Quantity(_) => "an amount of memory".into(),
            Value::Nothing => "no value".into(),
            Value::Poison => "a faulty value".into(),
        }
    }

    pub fn describe_tensor(&self, t: &Tensor) -> String {
        let node = self.graph.node(t.node);
        let shape = match &t.fields {
            Some(fields) => super::value::fields_text(fields),
            None => super::value::shape_text(&node.shape),
        };
        if self.graph.axes.is_ragged(node.axis) {
            format!("{} => {shape}", self.graph.axis(node.axis).name)
        } else {
            shape
        }
    }

    /// Resolves a name; reports it when unknown.
    pub fn resolve(&mut self, scope: &Scope<'a>, name: &str, span: Span) -> Value<'a> {
        if let Some(binding) = scope.find(name) {
            let binding = binding.clone();
            return match binding.bound {
                Bound::Value(v) => v,
                Bound::State(_, t) | Bound::Slot(_, t) => Value::Tensor(t),
                Bound::Label(label) => self.label_value(label, binding.span, span),
                Bound::Key(_) => self.fault(
                    Diagnostic::error("E0206", format!("`{name}` is a key, not a feature"), span, "not a value")
                        .label(binding.span, "declared here: carried through for grouping and output")
                        .help("to feed the column to the model, declare it in a `features` block as well"),
                ),
            };
        }
        if let Some(d) = scope.dimensions.iter().find(|d| d.name == name) {
            return d.size.map_or(Value::Poison, |n| Value::Number(n as f64));
        }
        let own = scope.function == Some(name);
        if let Some(builtin) = Builtin::by_name(name).filter(|_| own) {
            return Value::Function(Rc::new(Callee::Builtin(builtin)));
        }
        if let Some(&definition) = self.modules[scope.module].names.get(name) {
            return self.defined(definition, name, span);
        }
        if name == "training" {
            return Value::Bool(self.training);
        }
        if let Some(builtin) = Builtin::by_name(name) {
            return Value::Function(Rc::new(Callee::Builtin(builtin)));
        }
        self.unknown(scope, name, span)
    }

    fn defined(&mut self, definition: Definition, name: &str, span: Span) -> Value<'a> {
        if definition.is_lost() {
            return Value::Poison;
        }
        let modules = self.modules;
        match &modules[definition.module].file.items[definition.item] {
            ast::Item::Function(function) => {
                Value::Function(Rc::new(Callee::Defined { module: definition.module, function }))
            }
            other => {
                let kind = super::load::item_kind(other);
                let d = Diagnostic::error("E0206", format!("`{name}` is not a function"), span, "used as a value");
                let d = d.note(format!("expected a function or value\nfound {kind} `{name}`"));
                self.fault(match other {
                    ast::Item::Optimizer(_) => d.help("an optimizer stands after the word `optimizer`"),
                    ast::Item::Regularizer(_) => d.help("a regularizer stands after the word `regularize`"),
                    ast::Item::Metric(_) => d.help("a metric stands after the word `report`"),
                    _ => d,
                })
            }
        }
    }

    fn unknown(&mut self, scope: &Scope<'a>, name: &str, span: Span) -> Value<'a> {
        if let Some(r) = reserved(name) {
            return self.not_built(r.what, r.instead, span);
        }
        let mut d = Diagnostic::error("E0204", format!("unknown name `{name}`"), span, "not in scope");
        let mut known: Vec<&str> = scope.blocks.iter().flatten().map(|b| b.name).collect();
        known.extend(scope.dimensions.iter().map(|d| d.name));
        known.extend(self.modules[scope.module].names.keys().map(String::as_str));
        known.extend(Builtin::all().map(|b| b.0));
        known.sort_unstable();
        d.help = if let (Phase::Update(_), Some(now)) = (self.phase, renamed(name)) {
            Some(format!("write `{now}`, as `{name}` is called now"))
        } else if let Some(module) = library_home(name) {
            Some(format!("add `use {module}.{name}`"))
        } else {
            nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
        };
        self.fault(d)
    }

    /// E0790: a word that is kept for something not there yet.
    pub fn not_built(&mut self, what: &str, instead: &str, span: Span) -> Value<'a> {
        self.fault(
            Diagnostic::error("E0790", format!("{what}: reserved, not built yet"), span, "not built yet").help(instead),
        )
    }

    /// An unknown word among `known`.
    pub fn unknown_word(&mut self, code: &'static str, what: &str, word: &ast::Ident, known: &[&str]) -> Value<'a> {
        let mut d = Diagnostic::error(code, format!("unknown {what} `{}`", word.name), word.span, "not known here");
        d.help = Some(match nearest(&word.name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.len() == 1 => format!("the only one is {}", listed(known)),
            None => format!("known are {}", listed(known)),
        });
        self.fault(d)
    }

    /// The input of the key in the graph of this walk, added where it is not there yet.
    pub fn input(
        &mut self,
        key: InputKey,
        name: String,
        kind: crate::graph::InputKind,
        axis: AxisId,
        shape: Shape,
    ) -> InputId {
        if let Some(&id) = self.run.inputs.get(&key) {
            return id;
        }
        let id = InputId(self.graph.inputs.len() as u32);
        self.graph.inputs.push(crate::graph::Input { name, kind, axis, shape });
        self.run.inputs.insert(key, id);
        id
    }
}

/// What a former name of an optimizer's or regularizer's scope is called now.
fn renamed(name: &str) -> Option<&'static str> {
    match name {
        "count" => Some("frequency"),
        "touches" => Some("updates"),
        _ => None,
    }
}

/// The library module that defines `name`.
pub(super) fn library_home(name: &str) -> Option<&'static str> {
    let heads = ["fn", "optimizer", "regularizer", "metric"];
    super::load::LIBRARY
        .iter()
        .find_map(|(module, text)| heads.iter().any(|h| text.contains(&format!("\n{h} {name}("))).then_some(*module))
}
