//! Optimizers and regularizers: each pair that a weight needs becomes one update graph over rows (or over the elements of a tensor).

use super::elab::{Bound, Elab, Frame, Phase, Scope};
use super::load::item_kind;
use super::names;
use super::value::{Given, Tensor, Value, shape_text};
use crate::graph::{AxisId, BATCH, BinaryOp, GLOBAL, Graph, InputId, InputKind, Node, Root, Shape};
use crate::model::{Slot, SlotScope, Update, UpdateScope};
use din_grammar::ast::{self, ExprKind, StatementKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::UpdateRule;

/// `adam(lr = 1e-3)`: a definition and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Rule<'a> {
    pub module: usize,
    pub kind: RuleKind<'a>,
    pub arguments: Vec<f64>,
    /// Of an optimizer: which rows of a table a step updates.
    pub updates: UpdateRule,
    pub span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum RuleKind<'a> {
    Optimizer(&'a ast::Optimizer),
    Regularizer(&'a ast::Regularizer),
}

impl<'a> Rule<'a> {
    pub fn name(&self) -> &'a ast::Ident {
        match self.kind {
            RuleKind::Optimizer(o) => &o.name,
            RuleKind::Regularizer(r) => &r.name,
        }
    }

    fn parameters(&self) -> &'a [ast::Parameter] {
        match self.kind {
            RuleKind::Optimizer(o) => &o.parameters,
            RuleKind::Regularizer(r) => &r.parameters,
        }
    }

    /// Names its body reads.
    fn reads(&self) -> names::Names<'a> {
        let mut out = names::Names::default();
        match self.kind {
            RuleKind::Optimizer(o) => names::in_block(&o.body, &mut out),
            RuleKind::Regularizer(r) => names::in_expr(&r.body, &mut out),
        }
        out
    }

    fn key(&self) -> String {
        let bits: Vec<u64> = self.arguments.iter().map(|a| a.to_bits()).collect();
        format!("{}.{}{bits:?}", self.module, self.name().name)
    }
}

/// Update programs, equal ones once.
#[derive(Default)]
pub(super) struct Updates {
    pub all: Vec<Update>,
    /// `None` where one was faulty.
    known: Vec<(String, Option<u32>)>,
}

impl<'a> Elab<'a> {
    /// An optimizer or regularizer as a setting names it.
    pub fn rule(&mut self, scope: &mut Scope<'a>, e: &'a ast::Expr, optimizer: bool) -> Option<Rule<'a>> {
        let (callee, arguments): (&'a ast::Expr, &'a [ast::Argument]) = match &e.kind {
            ExprKind::Call { callee, arguments } => (callee, arguments),
            _ => (e, &[]),
        };
        let wanted = if optimizer { "optimizer" } else { "regularizer" };
        let ExprKind::Name(name) = &callee.kind else {
            let a = article(wanted);
            self.report(Diagnostic::error("E0607", format!("not {a} {wanted}"), e.span, "not understood").help(
                format!(
                    "write the name of {a} {wanted} and its arguments, such as `{}`",
                    if optimizer { "adam(lr = 1e-3)" } else { "l2(1e-4)" }
                ),
            ));
            return None;
        };
        let Some(&definition) = self.modules[scope.module].names.get(name.as_str()) else {
            let value = self.resolve(scope, name, callee.span);
            if !matches!(value, Value::Poison) {
                let found = self.describe(&value);
                let a = article(wanted);
                self.report(
                    Diagnostic::error("E0206", format!("`{name}` is not {a} {wanted}"), callee.span, found.clone())
                        .note(format!("expected {a} {wanted}\nfound {found}")),
                );
            }
            return None;
        };
        if definition.is_lost() {
            return None;
        }
        let modules = self.modules;
        let item = &modules[definition.module].file.items[definition.item];
        let kind = match item {
            ast::Item::Optimizer(o) if optimizer => RuleKind::Optimizer(o),
            ast::Item::Regularizer(r) if !optimizer => RuleKind::Regularizer(r),
            other => {
                let found = item_kind(other);
                self.report(
                    Diagnostic::error(
                        "E0206",
                        format!("`{name}` is not {} {wanted}", article(wanted)),
                        callee.span,
                        format!("a {found}"),
                    )
                    .note(format!("expected {} {wanted}\nfound the {found} `{name}`", article(wanted))),
                );
                return None;
            }
        };
        let mut rule =
            Rule { module: definition.module, kind, arguments: Vec::new(), updates: UpdateRule::Sparse, span: e.span };
        let mut given = Vec::new();
        for a in arguments {
            if !self.no_axis(name, a) {
                return None;
            }
            let value = self.expr(scope, &a.value);
            given.push(Given { name: a.name.as_ref(), value: Some(value), over: None, span: a.span });
        }
        let slots = self.arrange(rule.name(), rule.parameters(), given, e.span)?;
        let mut inner = Scope::new(rule.module, None);
        for (parameter, slot) in rule.parameters().iter().zip(slots) {
            let (value, span) = match slot {
                Some(g) => (g.value.unwrap_or(Value::Poison), g.span),
                None => match &parameter.default {
                    Some(d) => (self.expr(&mut inner, d), d.span),
                    None => (Value::Poison, e.span),
                },
            };
            let value = match &parameter.ty {
                Some(ast::Type { kind: ast::TypeKind::Named(word), .. }) => {
                    let word = self.type_word(word)?;
                    self.kind(&rule.name().name, parameter, word, value, span)
                }
                _ => value,
            };
            let what = format!("`{}` of `{}`", parameter.name.name, rule.name().name);
            let n = self.number(value, &what, span)?;
            if !self.within_f32(n, &what, span) {
                return None;
            }
            inner.bind(&parameter.name.name, Value::Number(n), parameter.name.span);
            rule.arguments.push(n);
        }
        Some(rule)
    }

    /// Index of the update program for these rules; `None` where a fault was reported.
    pub fn update_program(
        &mut self,
        updates: &mut Updates,
        optimizer: &Rule<'a>,
        regularizer: Option<&Rule<'a>>,
        over: UpdateScope,
    ) -> Option<u32> {
        let key = format!("{}+{}@{over:?}", optimizer.key(), regularizer.map(Rule::key).unwrap_or_default());
        if let Some((_, index)) = updates.known.iter().find(|(k, _)| *k == key) {
            return *index;
        }
        let built = self.build_update(optimizer, regularizer, over);
        let index = built.map(|update| {
            updates.all.push(update);
            updates.all.len() as u32 - 1
        });
        updates.known.push((key, index));
        index
    }

    /// Whether the rule reads the frequency of a row's id.
    pub fn reads_frequency(&self, rule: &Rule<'a>) -> bool {
        rule.reads().contains_key("frequency")
    }

    fn build_update(
        &mut self,
        optimizer: &Rule<'a>,
        regularizer: Option<&Rule<'a>>,
        over: UpdateScope,
    ) -> Option<Update> {
        let RuleKind::Optimizer(definition) = optimizer.kind else { return None };
        if definition.scope == ast::Scope::Row && over == UpdateScope::Elements {
            let name = &definition.name.name;
            self.report(
                Diagnostic::error(
                    "E0616",
                    format!("`{name}` works on the rows of tables"),
                    optimizer.span,
                    "dense weights have no rows",
                )
                .label(definition.name.span, "`per row` is said here")
                .help(format!(
                    "give it to tables, `embedding … {{ optimizer {name}(…) }}`, and another one to `train`"
                )),
            );
            return None;
        }
        let errors = self.diagnostics.len();
        let graph = std::mem::replace(&mut self.graph, Graph::new("rows"));
        let run = std::mem::take(&mut self.run);
        let phase = self.phase;
        let training = std::mem::replace(&mut self.training, true);
        let update = self.update_graph(definition, optimizer, regularizer, over);
        self.phase = phase;
        self.training = training;
        self.run = run;
        let graph = std::mem::replace(&mut self.graph, graph);
        let failed = self.diagnostics.iter().skip(errors).any(Diagnostic::is_error);
        let (slots, roots) = update?;
        if failed {
            return None;
        }
        let mut graph = graph;
        graph.roots = roots;
        let name = match regularizer {
            Some(r) => format!("{} + {}", definition.name.name, r.name().name),
            None => definition.name.name.clone(),
        };
        Some(Update { name, scope: over, slots, graph, span: optimizer.span })
    }

    fn update_input(&mut self, name: &str, kind: InputKind, axis: AxisId, width: usize, span: Span) -> Tensor {
        let id = InputId(self.graph.inputs.len() as u32);
        let shape = Shape::vector(width);
        self.graph.inputs.push(crate::graph::Input { name: name.into(), kind, axis, shape });
        Tensor { node: self.graph.input(id, span), fields: None }
    }

    /// A regularizer by itself, for a row of width 3.
    pub fn regularizer_alone(&mut self, rule: &Rule<'a>) {
        let RuleKind::Regularizer(r) = rule.kind else { return };
        let over = UpdateScope::Rows { width: 3, rule: UpdateRule::Sparse };
        self.graph = Graph::new("rows");
        self.run = super::elab::Run::default();
        self.phase = Phase::Update(ast::Scope::Row);
        let weight = self.update_input("weight", InputKind::Weight, BATCH, 3, r.name.span);
        let mut scope = Scope::new(rule.module, None);
        self.ambient(rule, &mut scope, &mut Ambient::default(), over);
        scope.bind("weight", Value::Tensor(weight.clone()), r.name.span);
        let value = self.expr(&mut scope, &r.body);
        if let Some(t) = self.tensor(value, r.body.span) {
            self.same_fields("+", (&weight, r.name.span), (&t, r.body.span));
        }
    }

    /// The names that a rule's body may read beside its own.
    fn ambient(&mut self, rule: &Rule<'a>, scope: &mut Scope<'a>, shared: &mut Ambient, over: UpdateScope) {
        let reads = rule.reads();
        let span = rule.name().span;
        for (parameter, n) in rule.parameters().iter().zip(&rule.arguments) {
            scope.bind(&parameter.name.name, Value::Number(*n), parameter.name.span);
        }
        let rows = over != UpdateScope::Elements;
        if reads.contains_key("step") || (reads.contains_key("updates") && !rows) {
            let t = match &shared.step {
                Some(t) => t.clone(),
                None => self.update_input("step", InputKind::Step, GLOBAL, 1, span),
            };
            shared.step = Some(t.clone());
            scope.bind("step", Value::Tensor(t.clone()), span);
            if !rows {
                // Every step updates a dense weight.
                scope.bind("updates", Value::Tensor(t), span);
            }
        }
        if reads.contains_key("updates") && rows {
            let t = match &shared.updates {
                Some(t) => t.clone(),
                None => self.update_input("updates", InputKind::UpdateCount, BATCH, 1, span),
            };
            shared.updates = Some(t.clone());
            scope.bind("updates", Value::Tensor(t), span);
        }
        if reads.contains_key("frequency") {
            if !rows {
                let name = &rule.name().name;
                self.report(
                    Diagnostic::error(
                        "E0617",
                        format!("`{name}` works on ids"),
                        rule.span,
                        "dense weights have no ids",
                    )
                    .label(span, "its definition reads `frequency`")
                    .help(format!("give it to tables: `embedding … {{ regularize {name}(…) }}`")),
                );
                scope.bind("frequency", Value::Poison, span);
                return;
            }
            let t = match &shared.frequency {
                Some(t) => t.clone(),
                None => self.update_input("frequency", InputKind::Frequency, BATCH, 1, span),
            };
            shared.frequency = Some(t.clone());
            scope.bind("frequency", Value::Tensor(t), span);
        }
    }

    fn update_graph(
        &mut self,
        definition: &'a ast::Optimizer,
        optimizer: &Rule<'a>,
        regularizer: Option<&Rule<'a>>,
        over: UpdateScope,
    ) -> Option<(Vec<Slot>, Vec<Root>)> {
        let width = match over {
            UpdateScope::Rows { width, .. } => width as usize,
            UpdateScope::Elements => 1,
        };
        let mut shared = Ambient::default();
        let weight = self.update_input("weight", InputKind::Weight, BATCH, width, definition.name.span);
        let mut grad = self.update_input("grad", InputKind::Gradient, BATCH, width, definition.name.span);
        if let Some(rule) = regularizer
            && let RuleKind::Regularizer(r) = rule.kind
        {
            let elements = over == UpdateScope::Elements;
            self.phase = Phase::Update(if elements { ast::Scope::Weight } else { ast::Scope::Row });
            let mut scope = Scope::new(rule.module, None);
            self.ambient(rule, &mut scope, &mut shared, over);
            scope.bind("weight", Value::Tensor(weight.clone()), r.name.span);
            self.frames.push(Frame { name: r.name.name.clone(), call: rule.span });
            let value = self.expr(&mut scope, &r.body);
            let joined = self.tensor(value, r.body.span).and_then(|t| {
                let fields = self.same_fields("+", (&grad, definition.name.span), (&t, r.body.span))?;
                let mut node = t.node;
                if let UpdateScope::Rows { rule: UpdateRule::Dense, .. } = over {
                    // A penalty acts on the rows of the batch, whichever rows the optimizer treats.
                    let in_batch = self.update_input("in_batch", InputKind::InBatch, BATCH, 1, rule.span);
                    let zero = self.graph.constant(0.0, rule.span);
                    node = self.graph.select(in_batch.node, node, zero, r.body.span).ok()?;
                }
                let node = self.graph.binary(BinaryOp::Add, grad.node, node, r.body.span).ok()?;
                Some(Tensor { node, fields })
            });
            self.frames.pop();
            grad = joined?;
        }
        self.phase = Phase::Update(definition.scope);
        let mut scope = Scope::new(optimizer.module, None);
        self.ambient(optimizer, &mut scope, &mut shared, over);
        scope.bind_as("weight", Bound::Slot(u32::MAX, weight.clone()), definition.name.span);
        scope.bind("grad", Value::Tensor(grad), definition.name.span);
        self.frames.push(Frame { name: definition.name.name.clone(), call: optimizer.span });
        let result = self.optimizer_body(definition, &mut scope, &weight, width);
        self.frames.pop();
        result
    }

    fn optimizer_body(
        &mut self,
        definition: &'a ast::Optimizer,
        scope: &mut Scope<'a>,
        weight: &Tensor,
        width: usize,
    ) -> Option<(Vec<Slot>, Vec<Root>)> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut starts = Vec::new();
        scope.blocks.push(Vec::new());
        for statement in &definition.body.statements {
            if self.exhausted() {
                return None;
            }
            let StatementKind::State(v) = &statement.kind else {
                self.statement(scope, statement);
                continue;
            };
            if let Some(first) = scope.find(&v.name.name) {
                let d = Diagnostic::error(
                    "E0203",
                    format!("`{}` is defined twice", v.name.name),
                    v.name.span,
                    "again here",
                );
                let d = d.label(first.span, "first here").help("rename one of them");
                self.report(d);
                continue;
            }
            if let Some(ty) = &v.ty {
                let per = scope_text(definition.scope);
                self.report(
                    Diagnostic::error(
                        "E0317",
                        "the state of an optimizer has no shape of its own",
                        ty.span,
                        "not needed",
                    )
                    .label(definition.name.span, format!("`per {per}` gives it"))
                    .help(format!("write `state {} = 0`", v.name.name)),
                );
            }
            let init = match &v.init {
                Some(e) => {
                    let value = self.expr(scope, e);
                    self.number(value, "the start of a state", e.span).unwrap_or(0.0)
                }
                None => 0.0,
            };
            let slot = slots.len() as u32;
            let (per, axis, w) = match definition.scope {
                ast::Scope::Weight => (SlotScope::Weight, BATCH, width),
                ast::Scope::Row => (SlotScope::Row, BATCH, 1),
                ast::Scope::Tensor => (SlotScope::Tensor, GLOBAL, 1),
            };
            slots.push(Slot { name: v.name.name.clone(), per, init });
            let t = self.update_input(&v.name.name, InputKind::Slot { slot }, axis, w, v.name.span);
            starts.push((t.node, v.name.span));
            scope.bind_as(&v.name.name, Bound::Slot(slot, t), v.name.span);
        }
        if let Some(value) = &definition.body.value {
            self.report(
                Diagnostic::error("E0319", "the value of this expression is not used", value.span, "has no effect")
                    .help("an optimizer assigns: `weight = …`"),
            );
        }
        let mut roots = Vec::new();
        let end: Vec<(u32, Tensor)> = scope
            .blocks
            .iter()
            .flatten()
            .filter_map(|b| match &b.bound {
                Bound::Slot(s, t) => Some((*s, t.clone())),
                _ => None,
            })
            .collect();
        for (slot, t) in end {
            if slot == u32::MAX {
                if t.node == weight.node {
                    self.report(
                        Diagnostic::error(
                            "E0615",
                            format!("`{}` never sets `weight`", definition.name.name),
                            definition.name.span,
                            "leaves every weight as it is",
                        )
                        .help("assign it: `weight = weight - lr * grad`"),
                    );
                }
                roots.push(Root::Weight(t.node));
                continue;
            }
            let (start, span) = starts[slot as usize];
            if t.node == start {
                let name = &slots[slot as usize].name;
                self.report(
                    Diagnostic::error(
                        "E0505",
                        format!("the state `{name}` is never updated"),
                        span,
                        "stays as it starts",
                    )
                    .help(format!("assign it, `{name} = …`, or use a number instead")),
                );
            }
            roots.push(Root::Slot { slot, node: t.node });
        }
        Some((slots, roots))
    }

    /// The new value of a weight or slot, checked against what it was.
    pub fn slot_value(&mut self, old: &Tensor, value: Value<'a>, span: Span) -> Option<Tensor> {
        let t = self.tensor(value, span)?;
        let (node, before) = (self.graph.node(t.node), self.graph.node(old.node));
        if node.axis == before.axis && node.shape == before.shape {
            return Some(t);
        }
        let deeper = !self.graph.axes.is_ancestor(node.axis, before.axis);
        if deeper || node.shape.width() != 1 {
            let (a, b) = (shape_text(&before.shape), shape_text(&node.shape));
            let d = Diagnostic::error("E0507", "the new value does not fit", span, &b);
            let d = d.note(format!("expected {a}\nfound {b}{}", if deeper { ", one per row" } else { "" }));
            self.report(d.help("reduce it with `mean(…)` or `sum(…)`"));
            return None;
        }
        let Node { axis, shape, .. } = before.clone();
        let node = self.graph.broadcast(t.node, axis, &shape, span);
        Some(Tensor { node: node.expect("a scalar of an ancestor axis was found above"), fields: None })
    }
}

/// Inputs that optimizer and regularizer share.
#[derive(Default)]
struct Ambient {
    step: Option<Tensor>,
    updates: Option<Tensor>,
    frequency: Option<Tensor>,
}

fn scope_text(scope: ast::Scope) -> &'static str {
    match scope {
        ast::Scope::Weight => "weight",
        ast::Scope::Row => "row",
        ast::Scope::Tensor => "tensor",
    }
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
