//! `param`, `state` and `update`: instances by their path names, initialisers, and the new values
//! of states.

use super::elaborator::Elaborator;
use super::scope::{NameScope, Referent};
use super::value::{ExprValue, Tensor, counted, shape_text};
use super::walk::{CallFrame, VariableInstance, VariableKind};
use crate::graph::{AxisId, GLOBAL, NodeId, Op, ParamId, Shape, StateId};
use din_grammar::ast::{self, ExprKind};
use din_grammar::{Diagnostic, Span};
use din_program::schedule::MAX_WIDTH;
use din_program::schema::{Init, Parameter, State};
use std::rc::Rc;

impl<'a> Elaborator<'a> {
    /// Sizes of a `param` or `state`.
    pub fn declared_shape(&mut self, scope: &NameScope<'a>, v: &'a ast::Variable) -> Option<Shape> {
        let Some(ty) = &v.ty else {
            self.report(
                Diagnostic::error("E0317", format!("`{}` has no shape", v.name.name), v.name.span, "shape missing")
                    .help(format!("write it: `{}: [n]`", v.name.name)),
            );
            return None;
        };
        let ast::TypeKind::Shape(dimensions) = &ty.kind else {
            self.report(
                Diagnostic::error("E0317", "not a shape", ty.span, "parameters and states do not vary over the data")
                    .note("expected a shape, such as `[n]` or `[k, n]`"),
            );
            return None;
        };
        if dimensions.len() > 2 || dimensions.is_empty() {
            self.report(
                Diagnostic::error(
                    "E0317",
                    "at most two sizes are possible",
                    ty.span,
                    counted(dimensions.len(), "size"),
                )
                .note("expected a vector `[n]` or a matrix `[k, n]`"),
            );
            return None;
        }
        let mut sizes = Vec::new();
        for dimension in dimensions {
            sizes.push(match dimension {
                ast::Dimension::Size { value, span } => self.size(ExprValue::Number(*value as f64), "a size", *span)?,
                ast::Dimension::Name(n) => {
                    let value = self.resolve(scope, &n.name, n.span);
                    self.size(value, "a size", n.span)?
                }
            });
        }
        let shape = Shape(sizes.into());
        if shape.width() > MAX_WIDTH as usize {
            let found = format!("{} has {} values", shape_text(&shape), shape.width());
            self.report(
                Diagnostic::error("E0702", "this tensor is too large", ty.span, found.clone())
                    .note(format!("expected at most {MAX_WIDTH} values\nfound {found}"))
                    .help("choose smaller sizes"),
            );
            return None;
        }
        Some(shape)
    }

    /// Checks what `param` and `state` share: the place, the name, the shape and the initial value.
    /// `None` where a fault was reported.
    fn declared(
        &mut self,
        scope: &mut NameScope<'a>,
        v: &'a ast::Variable,
        span: Span,
        kind: VariableKind,
    ) -> Option<(usize, NodeId)> {
        if let super::walk::Context::Update(_) = self.walk.context {
            let message = match kind {
                VariableKind::State => "no `state` is possible here in an update",
                VariableKind::Parameter => "no `param` is possible in an update",
                VariableKind::Constant => "no `constant` is possible in an update",
            };
            self.report(
                Diagnostic::error("E0504", message, v.name.span, "would be a weight of its own")
                    .help("an optimizer keeps what it needs in `state name = 0`, outside loops and conditions"),
            );
            return None;
        }
        if !self.fresh(scope, &v.name) {
            return None;
        }
        let shape = self.declared_shape(scope, v)?;
        let init = self.init(scope, v.init.as_ref(), &shape)?;
        self.instance(&v.name.name, v.name.span, (shape, init), span, kind)
    }

    pub fn param(&mut self, scope: &mut NameScope<'a>, v: &'a ast::Variable, span: Span) {
        let value = self.declared(scope, v, span, VariableKind::Parameter);
        let value = value.map_or(ExprValue::Poison, |(_, node)| ExprValue::Tensor(Tensor { node, fields: None }));
        self.note(scope, v.name.span, &value);
        scope.bind(&v.name.name, value, v.name.span);
    }

    /// `constant random: [d, 32] = normal(1)`: a state that keeps its value.
    pub fn constant(&mut self, scope: &mut NameScope<'a>, v: &'a ast::Variable, span: Span) {
        let value = match self.declared(scope, v, span, VariableKind::Constant) {
            Some((id, node)) => {
                if self.walk.training {
                    self.walk.updated.entry(StateId(id as u32)).or_insert((node, v.name.span));
                }
                ExprValue::Tensor(Tensor { node, fields: None })
            }
            None => ExprValue::Poison,
        };
        self.note(scope, v.name.span, &value);
        scope.bind(&v.name.name, value, v.name.span);
    }

    pub fn state(&mut self, scope: &mut NameScope<'a>, v: &'a ast::Variable, span: Span) {
        match self.declared(scope, v, span, VariableKind::State) {
            Some((id, node)) => {
                let state = StateId(id as u32);
                scope.states.push((state, v.name.span));
                scope.bind_as(&v.name.name, Referent::State(state, Tensor { node, fields: None }), v.name.span);
            }
            None => scope.bind(&v.name.name, ExprValue::Poison, v.name.span),
        }
    }

    /// The parameter or state of this name below the current path, declared at `at`: a new one, or
    /// in later calls of a layer the same one.
    pub fn instance(
        &mut self,
        name: &str,
        at: Span,
        (shape, init): (Shape, Init),
        span: Span,
        kind: VariableKind,
    ) -> Option<(usize, NodeId)> {
        let name = self.full_name(name);
        let frames: Rc<[CallFrame]> = self.walk.frames.iter().cloned().collect();
        if let Some(before) = self.walk.variables.get(&name).cloned() {
            // The outermost calls in which the two differ are reported.
            let trace = || frames.iter().map(|f| f.call).chain([span]);
            let innermost = frames.last().map_or(span, |f| f.call);
            let differ = before.trace().zip(trace()).find(|(a, b)| a != b);
            let (first, call) = differ.unwrap_or((innermost, innermost));
            if before.kind != kind || before.layers == self.walk.layers || before.layers.len() != self.walk.layers.len()
            {
                self.same_name(&name, kind, first, call);
                return None;
            }
            let layer = before.layers.last().map_or(String::new(), |t| t.0.clone());
            if kind == VariableKind::State {
                self.report(
                    Diagnostic::error(
                        "E0503",
                        format!("layer `{layer}` has state and is called twice"),
                        call,
                        "called again here",
                    )
                    .label(first, "first called here")
                    .label(at, format!("its state `{name}`"))
                    .note("the statistics of two inputs would be mixed")
                    .help("make one layer for each input, or use an activation without state"),
                );
                return None;
            }
            let old = self.walk.graph.node(before.node).shape.clone();
            if old != shape {
                let (a, b) = (shape_text(&old), shape_text(&shape));
                self.report(
                    Diagnostic::error(
                        "E0502",
                        format!("layer `{layer}` is shared by inputs of different sizes"),
                        call,
                        format!("needs `{name}` to be {b}"),
                    )
                    .label(first, format!("made it {a}"))
                    .note(format!("expected {a}\nfound {b}"))
                    .help("give every call an input of one size"),
                );
                return None;
            }
            let ids = match kind {
                VariableKind::State | VariableKind::Constant => &self.state_ids,
                VariableKind::Parameter => &self.parameter_ids,
            };
            return Some((ids[&name], before.node));
        }
        let sizes: Vec<u32> = shape.0.iter().map(|&n| n as u32).collect();
        let location = self.location(at);
        let ids = match kind {
            VariableKind::State | VariableKind::Constant => &mut self.state_ids,
            VariableKind::Parameter => &mut self.parameter_ids,
        };
        let next = ids.len();
        let id = *ids.entry(name.clone()).or_insert(next);
        let known = match kind {
            VariableKind::State | VariableKind::Constant => self.states.get(id).map(|state| &state.shape),
            VariableKind::Parameter => self.parameters.get(id).map(|parameter| &parameter.shape),
        };
        // In a library, functions that are looked at one by one may have weights of one name.
        if !self.sampling
            && let Some(trained) = known.filter(|trained| **trained != sizes).cloned()
        {
            let trained = shape_text(&Shape(trained.into_iter().map(|n| n as usize).collect()));
            let outside = shape_text(&shape);
            let call = frames.first().map_or(span, |frame| frame.call);
            self.report(
                Diagnostic::error(
                    "E0511",
                    format!("`{name}` is {trained} in training and {outside} outside training"),
                    call,
                    format!("{outside} outside training"),
                )
                .label(at, "declared here")
                .help("give both branches of `if training` values of one size"),
            );
            return None;
        }
        if id == next {
            let what = match kind {
                VariableKind::State | VariableKind::Constant => {
                    self.states.push(State { name: name.clone(), shape: sizes, init, location });
                    if kind == VariableKind::State { "state" } else { "constant" }
                }
                VariableKind::Parameter => {
                    self.parameters.push(Parameter { name: name.clone(), shape: sizes, init, update: 0, location });
                    "parameter"
                }
            };
            if !self.walk.training {
                self.report(
                    Diagnostic::error(
                        "E0510",
                        format!("the {what} `{name}` exists only outside training"),
                        at,
                        "never trained",
                    )
                    .help("declare it outside `if training { … }`"),
                );
            }
        }
        let list = match kind {
            VariableKind::State | VariableKind::Constant => &mut self.walk.graph.states,
            VariableKind::Parameter => &mut self.walk.graph.params,
        };
        while list.len() <= id {
            list.push(Shape::scalar());
        }
        list[id] = shape;
        let node = match kind {
            VariableKind::State | VariableKind::Constant => self.walk.graph.state(StateId(id as u32), at),
            VariableKind::Parameter => self.walk.graph.param(ParamId(id as u32), at),
        };
        self.walk
            .variables
            .insert(name, VariableInstance { node, kind, layers: self.walk.layers.clone(), frames, declared: span });
        Some((id, node))
    }

    /// Two instances that would have one name; reported once per pair of calls.
    pub fn same_name(&mut self, name: &str, kind: VariableKind, first: Span, call: Span) {
        let already =
            self.diagnostics.iter().any(|d| d.code == "E0501" && d.labels.first().is_some_and(|l| l.span == call));
        if already {
            return;
        }
        let what = match kind {
            VariableKind::State => "states",
            VariableKind::Constant => "constants",
            VariableKind::Parameter => "parameters",
        };
        let mut d = Diagnostic::error("E0501", format!("two {what} are called `{name}`"), call, "makes it again");
        if first != call {
            d = d.label(first, "first made here");
        }
        self.report(d.help("give each of the two calls its own name with `let`, or share one with `layer`"));
    }

    pub fn update(&mut self, scope: &mut NameScope<'a>, name: &'a ast::Ident, value: &'a ast::Expr) {
        let bound = scope.find(&name.name).map(|b| (b.referent.clone(), b.span));
        let (state, old) = match bound {
            Some((Referent::State(state, t), _)) => (state, t),
            Some((Referent::Value(ExprValue::Poison), _)) => return,
            Some((_, first)) => {
                self.report(
                    Diagnostic::error(
                        "E0504",
                        format!("`{}` is not a state", name.name),
                        name.span,
                        "cannot be updated",
                    )
                    .label(first, "bound here")
                    .help("assign a new value with `=` alone, or declare it with `state`"),
                );
                return;
            }
            None => {
                self.resolve(scope, &name.name, name.span);
                return;
            }
        };
        if !self.walk.training {
            return;
        }
        let v = self.under(None, true, |me| me.expr(scope, value));
        let Some(t) = self.tensor(v, value.span) else {
            self.walk.updated.entry(state).or_insert((old.node, name.span));
            return;
        };
        let (node, before) = (self.walk.graph.node(t.node), self.walk.graph.node(old.node).shape.clone());
        if node.axis != GLOBAL || !(node.shape == before || node.shape.width() == 1) {
            let found = self.describe_tensor(&t);
            let mut d = Diagnostic::error(
                "E0507",
                format!("the new value of `{}` does not fit it", name.name),
                value.span,
                found.clone(),
            );
            d = if node.axis == GLOBAL {
                d.note(format!("expected {}\nfound {found}", shape_text(&before)))
            } else {
                d.note("expected one value for the whole batch")
                    .help("reduce it over the batch first: `let (m, v) = moments(x)`")
            };
            self.report(d);
            self.walk.updated.entry(state).or_insert((old.node, name.span));
            return;
        }
        let node = self.keep_when_empty(t.node, old.node, value.span);
        if let Some((_, first)) = self.walk.updated.insert(state, (node, name.span)) {
            self.report(
                Diagnostic::error("E0506", format!("`{}` is updated twice", name.name), name.span, "again here")
                    .label(first, "first here")
                    .help("write one `update` with the final value"),
            );
        }
    }

    /// If an axis is empty in a batch, statistics over it are meaningless: the state keeps its
    /// value.
    pub fn keep_when_empty(&mut self, value: NodeId, old: NodeId, span: Span) -> NodeId {
        let mut axes: Vec<AxisId> = Vec::new();
        let mut seen = rustc_hash::FxHashSet::default();
        let mut stack = vec![value];
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = self.walk.graph.node(id);
            if matches!(node.op, Op::Statistic(_))
                && let Some(&x) = node.operands.first()
            {
                let axis = self.walk.graph.node(x).axis;
                if axis.index() > 1 && !axes.contains(&axis) {
                    axes.push(axis);
                }
                continue;
            }
            stack.extend(node.operands.iter().copied());
        }
        axes.sort();
        let mut kept = value;
        for axis in axes {
            let count = self.walk.graph.count(axis, span);
            kept = self.walk.graph.select(count, kept, old, span).expect("a state and its new value have one axis");
        }
        kept
    }

    /// In training every state must get a new value.
    pub fn check_states(&mut self, scope: &NameScope<'a>) {
        if !self.walk.training || self.exhausted() {
            return;
        }
        for &(state, span) in &scope.states {
            if !self.walk.updated.contains_key(&state) {
                let name = self.states[state.index()].name.clone();
                self.report(
                    Diagnostic::error(
                        "E0505",
                        format!("the state `{name}` is never updated"),
                        span,
                        "stays as it starts",
                    )
                    .help("add `update … = …`, or declare it with `constant` or `param`"),
                );
            }
        }
    }

    /// How a weight of this shape starts.
    pub fn init(&mut self, scope: &mut NameScope<'a>, init: Option<&'a ast::Expr>, shape: &Shape) -> Option<Init> {
        let (fan_in, fan_out) = match shape.0.as_slice() {
            [k, n] => (*k as f64, *n as f64),
            _ => (0.0, 0.0),
        };
        let glorot = Init::Uniform((6.0 / (fan_in + fan_out).max(1.0)).sqrt());
        let Some(init) = init else {
            return Some(if shape.0.len() == 2 { glorot } else { Init::Constant(0.0) });
        };
        if let ExprKind::Call { callee, arguments } = &init.kind
            && let ExprKind::Name(name) = &callee.kind
            && matches!(name.as_str(), "normal" | "uniform" | "glorot" | "fan_in")
        {
            let takes = usize::from(matches!(name.as_str(), "normal" | "uniform"));
            if arguments.len() != takes || arguments.iter().any(|a| a.name.is_some() || a.over.is_some()) {
                self.report(
                    Diagnostic::error("E0410", format!("`{name}` takes {}", counted(takes, "argument")), init.span, "")
                        .help("initialisers are `normal(std)`, `uniform(limit)`, `glorot()`, `fan_in()` and numbers"),
                );
                return None;
            }
            if takes == 0 {
                if shape.0.len() != 2 {
                    self.report(
                        Diagnostic::error("E0410", format!("`{name}()` needs a matrix"), init.span, shape_text(shape))
                            .help("use `normal(0.01)` or a number"),
                    );
                    return None;
                }
                return Some(if name == "glorot" { glorot } else { Init::Uniform(1.0 / fan_in.max(1.0).sqrt()) });
            }
            let argument = &arguments.first()?.value;
            let value = self.expr(scope, argument);
            let n = self.number(value, "the spread of an initialiser", argument.span)?;
            if !self.within_f32(n, "the spread of an initialiser", argument.span) {
                return None;
            }
            if n < 0.0 {
                self.report(
                    Diagnostic::error(
                        "E0410",
                        "the spread of an initialiser is negative",
                        argument.span,
                        format!("{n}"),
                    )
                    .help("write a number of at least 0"),
                );
                return None;
            }
            return Some(if name == "normal" { Init::Normal(n) } else { Init::Uniform(n) });
        }
        let word = if let ExprKind::Call { callee, .. } = &init.kind { callee } else { init };
        if let ExprKind::Name(name) = &word.kind
            && !self.has_meaning(scope, name)
        {
            self.report(
                Diagnostic::error("E0410", format!("unknown initialiser `{name}`"), word.span, "not known here").help(
                    match name.as_str() {
                        "file" | "load" | "pretrained" | "from_pretrained" | "safetensors" => {
                            "vectors of a file are `init from \"vectors.safetensors\"`, an option of a table"
                        }
                        _ => "initialisers are `normal(std)`, `uniform(limit)`, `glorot()`, `fan_in()` and numbers",
                    },
                ),
            );
            return None;
        }
        let value = self.expr(scope, init);
        if let ExprValue::Tensor(_) = value {
            let found = self.describe(&value);
            self.report(
                Diagnostic::error("E0410", "not an initialiser", init.span, found)
                    .help("initialisers are `normal(std)`, `uniform(limit)`, `glorot()`, `fan_in()` and numbers"),
            );
            return None;
        }
        let n = self.number(value, "an initialiser", init.span)?;
        self.within_f32(n, "an initialiser", init.span).then_some(Init::Constant(n))
    }
}
