//! Optimizers and regularizers: each pair that a table or parameter has becomes one update graph,
//! over rows of a table or over the elements of a tensor.

use super::clip::{Clip, ClipKind};
use super::elaborator::Elaborator;
use super::rule::{RuleCall, RuleDefinition, RuleKey};
use super::schedule::RuleArgument;
use super::scope::{NameScope, Referent};
use super::value::{ExprValue, Tensor, shape_text};
use super::walk::{CallFrame, Context, GraphWalk};
use crate::graph::{AxisId, BATCH, BinaryOp, GLOBAL, Graph, InputId, InputKind, Node, Root, Shape};
use crate::model::{OptimizerSlot, UpdateGraph, UpdateScope};
use din_grammar::ast::{self, StatementKind};
use din_grammar::{Diagnostic, Span};
use din_program::SlotScope;
use din_program::schema::UpdateRule;

/// What is done to a gradient before the optimizer sees it.
#[derive(Default)]
pub(super) struct Before<'r, 'a> {
    pub clip: Option<Clip>,
    pub regularizer: Option<&'r RuleCall<'a, ast::Regularizer>>,
}

/// What tells update graphs apart: optimizer, regularizer, limit and what they run over.
type UpdateKey = (RuleKey, Option<RuleKey>, Option<(ClipKind, u64)>, UpdateScope);

/// The different update graphs of a model.
#[derive(Default)]
pub(super) struct Updates {
    pub all: Vec<UpdateGraph>,
    /// See [`CheckedModel::squared_norms`](crate::model::CheckedModel::squared_norms).
    pub squared_norms: Vec<u32>,
    /// `None` where one was faulty.
    known: Vec<(UpdateKey, Option<u32>)>,
    /// The one of frozen tables.
    frozen: Option<u32>,
}

impl Updates {
    /// Index of the update of frozen tables, which does nothing.
    pub fn of_frozen_rows(&mut self, width: u32, span: Span) -> u32 {
        *self.frozen.get_or_insert_with(|| {
            let scope = UpdateScope::Rows { width, rule: UpdateRule::Sparse };
            let graph = Graph::new("rows");
            self.all.push(UpdateGraph { name: "frozen".into(), scope, slots: Vec::new(), graph, span });
            self.all.len() as u32 - 1
        })
    }
}

/// Name of an update that changes nothing; no optimizer's, which is an identifier.
const FROZEN: &str = "no update";

impl Updates {
    /// Index of the update of parameters that stay as they are: each element becomes what it was.
    pub fn of_frozen_elements(&mut self, span: Span) -> u32 {
        let known = self.all.iter().position(|update| update.name == FROZEN);
        let number = known.unwrap_or_else(|| {
            let mut graph = Graph::new("rows");
            let (name, kind, shape) = ("weight".into(), InputKind::Weight, Shape::scalar());
            graph.inputs.push(crate::graph::Input { name, kind, axis: BATCH, shape });
            let weight = graph.input(InputId(0), span);
            graph.roots = vec![Root::Weight(weight)];
            let scope = UpdateScope::Elements;
            self.all.push(UpdateGraph { name: FROZEN.into(), scope, slots: Vec::new(), graph, span });
            self.all.len() - 1
        });
        number as u32
    }
}

impl<'a> Elaborator<'a> {
    /// Index of the update program for these rules; `None` where a fault was reported.
    pub fn update_program(
        &mut self,
        updates: &mut Updates,
        optimizer: &RuleCall<'a, ast::Optimizer>,
        before: &Before<'_, 'a>,
        over: UpdateScope,
    ) -> Option<u32> {
        let clip = before.clip.map(|clip| (clip.kind, clip.limit.to_bits()));
        let key = (optimizer.key(), before.regularizer.map(RuleCall::key), clip, over);
        if let Some((_, index)) = updates.known.iter().find(|(k, _)| *k == key) {
            return *index;
        }
        let built = self.build_update(optimizer, before, over);
        let index = built.map(|update| {
            updates.all.push(update);
            updates.all.len() as u32 - 1
        });
        updates.known.push((key, index));
        index
    }

    fn build_update(
        &mut self,
        optimizer: &RuleCall<'a, ast::Optimizer>,
        before: &Before<'_, 'a>,
        over: UpdateScope,
    ) -> Option<UpdateGraph> {
        let definition = optimizer.definition;
        if definition.scope == ast::OptimizerScope::Row && over == UpdateScope::Elements {
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
        let walk = GraphWalk::new(Graph::new("rows"), true, Context::Update(definition.scope));
        let (update, walk) = self.on_walk(walk, |me| me.update_graph(optimizer, before, over));
        let failed = self.diagnostics.iter().skip(errors).any(Diagnostic::is_error);
        let (slots, roots) = update?;
        if failed {
            return None;
        }
        let mut graph = walk.graph;
        graph.roots = roots;
        let name = match before.regularizer {
            Some(r) => format!("{} + {}", definition.name.name, r.definition.name.name),
            None => definition.name.name.clone(),
        };
        Some(UpdateGraph { name, scope: over, slots, graph, span: optimizer.span })
    }

    pub(super) fn update_input(
        &mut self,
        name: &str,
        kind: InputKind,
        axis: AxisId,
        width: usize,
        span: Span,
    ) -> Tensor {
        let id = InputId(self.walk.graph.inputs.len() as u32);
        let shape = Shape::vector(width);
        self.walk.graph.inputs.push(crate::graph::Input { name: name.into(), kind, axis, shape });
        Tensor { node: self.walk.graph.input(id, span), fields: None }
    }

    pub(super) fn step_input(&mut self, shared: &mut SharedInputs, span: Span) -> Tensor {
        let made = shared.step.take().unwrap_or_else(|| self.update_input("step", InputKind::Step, GLOBAL, 1, span));
        shared.step.insert(made).clone()
    }

    pub(super) fn epoch_input(&mut self, shared: &mut SharedInputs, span: Span) -> Tensor {
        let made = shared.epoch.take().unwrap_or_else(|| self.update_input("epoch", InputKind::Epoch, GLOBAL, 1, span));
        shared.epoch.insert(made).clone()
    }

    /// A regularizer by itself, for a row of width 3.
    pub fn regularizer_alone(&mut self, rule: &RuleCall<'a, ast::Regularizer>) {
        let r = rule.definition;
        let over = UpdateScope::Rows { width: 3, rule: UpdateRule::Sparse };
        self.walk = GraphWalk::new(Graph::new("rows"), self.walk.training, Context::Update(ast::OptimizerScope::Row));
        let weight = self.update_input("weight", InputKind::Weight, BATCH, 3, r.name.span);
        let mut scope = NameScope::new(rule.module, None);
        self.ambient(rule, &mut scope, &mut SharedInputs::default(), over);
        scope.bind("weight", ExprValue::Tensor(weight.clone()), r.name.span);
        let value = self.expr(&mut scope, &r.body);
        if let Some(t) = self.tensor(value, r.body.span) {
            self.same_fields("+", (&weight, r.name.span), (&t, r.body.span));
        }
    }

    /// The names that a rule's body may read beside its own.
    fn ambient<D: RuleDefinition>(
        &mut self,
        rule: &RuleCall<'a, D>,
        scope: &mut NameScope<'a>,
        shared: &mut SharedInputs,
        over: UpdateScope,
    ) {
        let reads = rule.definition.reads();
        let span = rule.definition.name().span;
        for (parameter, argument) in rule.definition.parameters().iter().zip(&rule.arguments) {
            let value = match argument {
                RuleArgument::Number(n) => ExprValue::Number(*n),
                RuleArgument::Schedule(graph) => ExprValue::Tensor(self.take_in(graph, shared, rule.span)),
            };
            scope.bind(&parameter.name.name, value, parameter.name.span);
        }
        let rows = over != UpdateScope::Elements;
        if reads.contains_key("step") || (reads.contains_key("updates") && !rows) {
            let t = self.step_input(shared, span);
            scope.bind("step", ExprValue::Tensor(t.clone()), span);
            if !rows {
                // Every step updates a dense weight.
                scope.bind("updates", ExprValue::Tensor(t), span);
            }
        }
        if reads.contains_key("updates") && rows {
            let t = match &shared.updates {
                Some(t) => t.clone(),
                None => self.update_input("updates", InputKind::UpdateCount, BATCH, 1, span),
            };
            shared.updates = Some(t.clone());
            scope.bind("updates", ExprValue::Tensor(t), span);
        }
        if reads.contains_key("frequency") {
            if !rows {
                let name = &rule.definition.name().name;
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
                scope.bind("frequency", ExprValue::Poison, span);
                return;
            }
            let t = match &shared.frequency {
                Some(t) => t.clone(),
                None => self.update_input("frequency", InputKind::Frequency, BATCH, 1, span),
            };
            shared.frequency = Some(t.clone());
            scope.bind("frequency", ExprValue::Tensor(t), span);
        }
    }

    fn update_graph(
        &mut self,
        optimizer: &RuleCall<'a, ast::Optimizer>,
        before: &Before<'_, 'a>,
        over: UpdateScope,
    ) -> Option<(Vec<OptimizerSlot>, Vec<Root>)> {
        let definition = optimizer.definition;
        let width = match over {
            UpdateScope::Rows { width, .. } => width as usize,
            UpdateScope::Elements => 1,
        };
        let mut shared = SharedInputs::default();
        let weight = self.update_input("weight", InputKind::Weight, BATCH, width, definition.name.span);
        let mut grad = self.update_input("grad", InputKind::Gradient, BATCH, width, definition.name.span);
        if let Some(clip) = before.clip {
            grad = self.clipped(&grad, clip)?;
        }
        if let Some(rule) = before.regularizer {
            let r = rule.definition;
            let context = Context::Update(match over {
                UpdateScope::Elements => ast::OptimizerScope::Weight,
                UpdateScope::Rows { .. } => ast::OptimizerScope::Row,
            });
            let mut scope = NameScope::new(rule.module, None);
            self.ambient(rule, &mut scope, &mut shared, over);
            scope.bind("weight", ExprValue::Tensor(weight.clone()), r.name.span);
            self.walk.frames.push(CallFrame { name: r.name.name.clone(), call: rule.span, axes: Vec::new() });
            let value = self.in_context(context, |me| me.expr(&mut scope, &r.body));
            let joined = self.tensor(value, r.body.span).and_then(|t| {
                let fields = self.same_fields("+", (&grad, definition.name.span), (&t, r.body.span))?;
                let mut node = t.node;
                if let UpdateScope::Rows { rule: UpdateRule::Dense, .. } = over {
                    // A penalty acts on the rows of the batch, whichever rows the optimizer treats.
                    let in_batch = self.update_input("in_batch", InputKind::InBatch, BATCH, 1, rule.span);
                    let zero = self.walk.graph.constant(0.0, rule.span);
                    node = self.walk.graph.select(in_batch.node, node, zero, r.body.span).ok()?;
                }
                let node = self.walk.graph.binary(BinaryOp::Add, grad.node, node, r.body.span).ok()?;
                Some(Tensor { node, fields })
            });
            self.walk.frames.pop();
            grad = joined?;
        }
        let mut scope = NameScope::new(optimizer.module, None);
        self.ambient(optimizer, &mut scope, &mut shared, over);
        scope.bind_as("weight", Referent::Weight(weight.clone()), definition.name.span);
        scope.bind("grad", ExprValue::Tensor(grad), definition.name.span);
        self.walk.frames.push(CallFrame { name: definition.name.name.clone(), call: optimizer.span, axes: Vec::new() });
        let result = self.optimizer_body(definition, &mut scope, &weight, width);
        self.walk.frames.pop();
        result
    }

    fn optimizer_body(
        &mut self,
        definition: &'a ast::Optimizer,
        scope: &mut NameScope<'a>,
        weight: &Tensor,
        width: usize,
    ) -> Option<(Vec<OptimizerSlot>, Vec<Root>)> {
        let mut slots: Vec<OptimizerSlot> = Vec::new();
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
                ast::OptimizerScope::Weight => (SlotScope::Weight, BATCH, width),
                ast::OptimizerScope::Row => (SlotScope::Row, BATCH, 1),
                ast::OptimizerScope::Tensor => (SlotScope::Tensor, GLOBAL, 1),
            };
            slots.push(OptimizerSlot { name: v.name.name.clone(), per, init });
            let t = self.update_input(&v.name.name, InputKind::Slot { slot }, axis, w, v.name.span);
            starts.push((t.node, v.name.span));
            scope.bind_as(&v.name.name, Referent::Slot(slot, t), v.name.span);
        }
        if let Some(value) = &definition.body.value {
            self.report(
                Diagnostic::error("E0319", "the value of this expression is not used", value.span, "has no effect")
                    .help("an optimizer assigns: `weight = …`"),
            );
        }
        let mut roots = Vec::new();
        for binding in scope.blocks.iter().flatten() {
            match &binding.referent {
                Referent::Weight(t) => {
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
                }
                &Referent::Slot(slot, ref t) => {
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
                Referent::Value(_)
                | Referent::State(..)
                | Referent::Label(_)
                | Referent::Key(_)
                | Referent::Absent(_) => {}
            }
        }
        Some((slots, roots))
    }

    /// The new value of a weight or slot, checked against what it was.
    pub fn slot_value(&mut self, old: &Tensor, value: ExprValue<'a>, span: Span) -> Option<Tensor> {
        let t = self.tensor(value, span)?;
        let (node, before) = (self.walk.graph.node(t.node), self.walk.graph.node(old.node));
        if node.axis == before.axis && node.shape == before.shape {
            return Some(t);
        }
        let deeper = !self.walk.graph.axes.is_ancestor(node.axis, before.axis);
        if deeper || node.shape.width() != 1 {
            let (a, b) = (shape_text(&before.shape), shape_text(&node.shape));
            let d = Diagnostic::error("E0507", "the new value does not fit", span, &b);
            let d = d.note(format!("expected {a}\nfound {b}{}", if deeper { ", one per row" } else { "" }));
            self.report(d.help("reduce it with `mean(…)` or `sum(…)`"));
            return None;
        }
        let Node { axis, shape, .. } = before.clone();
        let node = self.walk.graph.broadcast(t.node, axis, &shape, span);
        Some(Tensor { node: node.expect("a scalar of an ancestor axis was found above"), fields: None })
    }
}

/// Inputs that optimizer and regularizer share.
#[derive(Default)]
pub(super) struct SharedInputs {
    step: Option<Tensor>,
    epoch: Option<Tensor>,
    updates: Option<Tensor>,
    frequency: Option<Tensor>,
}

fn scope_text(scope: ast::OptimizerScope) -> &'static str {
    match scope {
        ast::OptimizerScope::Weight => "weight",
        ast::OptimizerScope::Row => "row",
        ast::OptimizerScope::Tensor => "tensor",
    }
}
