//! `predict`: from the network to predictions, and what a label's name stands for.

use super::distribution::usual;
use super::elaborator::Elaborator;
use super::load::listed;
use super::scope::{NameScope, Referent};
use super::sign::{Sign, sign_of};
use super::value::{ExprValue, nearest};
use super::walk::Context;
use crate::graph::{BATCH, BinaryOp, GLOBAL, NodeId, Op, Shape, UnaryOp};
use din_grammar::ast;
use din_grammar::{Diagnostic, Span};
use din_program::schema::{Distribution, Prediction};
use rustc_hash::FxHashSet;

impl<'a> Elaborator<'a> {
    /// `predict click ~ bernoulli(logit = …)`
    pub fn predict(&mut self, scope: &mut NameScope<'a>, target: &'a ast::Ident, distribution: &'a ast::Expr) {
        let label = match scope.find(&target.name).map(|b| b.referent.clone()) {
            Some(Referent::Label(label)) => label,
            _ => {
                let known: Vec<String> = self.declarations.schema.labels.iter().map(|l| l.name.clone()).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let mut d = Diagnostic::error(
                    "E0620",
                    format!("`{}` is not a label", target.name),
                    target.span,
                    "nothing to predict",
                );
                d = match nearest(&target.name, known.iter().copied()) {
                    Some(near) => d.did_you_mean(target.span, near),
                    None if known.is_empty() => d.help(format!("declare it: `label {}: binary`", target.name)),
                    None => d.help(format!("labels are {}", listed(&known))),
                };
                self.report(d);
                self.unpredicted = true;
                return;
            }
        };
        let kind = self.declarations.schema.labels[label].kind;
        let call = self.distribution_call(scope, distribution, kind);
        let call = call.filter(|call| self.fits_label(label, call.distribution, distribution.span));
        let index = match self.predictions.iter().position(|p| p.label as usize == label) {
            Some(i) => i,
            None => {
                // Of a faulty one nothing is read.
                let distribution = call.as_ref().map_or(Distribution::Bernoulli, |call| call.distribution);
                self.predictions.push(Prediction { name: target.name.clone(), label: label as u32, distribution });
                self.predictions.len() - 1
            }
        };
        if self.walk.predicted.len() <= index {
            self.walk.predicted.resize(index + 1, None);
            self.walk.predicted_at.resize(index + 1, target.span);
        } else if self.walk.predicted.get(index).is_some() {
            self.report(
                Diagnostic::error("E0618", format!("`{}` is predicted twice", target.name), target.span, "again here")
                    .label(self.walk.predicted_at[index], "first here")
                    .help("keep one `predict` for each label"),
            );
            return;
        }
        let Some(call) = call else { return };
        let mut parameters = Vec::new();
        for (place, &(parameter, argument)) in call.parameters.iter().enumerate() {
            // The weights of a second parameter have its name in theirs.
            let value = self.under(Some(target.name.clone()), true, |me| {
                let second = (place > 0).then(|| parameter.to_string());
                me.under(second, true, |me| me.expr(scope, argument))
            });
            let width = match call.distribution {
                Distribution::Categorical { classes } => classes as usize,
                Distribution::Bernoulli
                | Distribution::Normal
                | Distribution::Poisson
                | Distribution::Quantile { .. }
                | Distribution::Ordinal { .. } => 1,
            };
            let Some(node) = self.parameter(parameter, width, value, argument.span) else { return };
            parameters.push((parameter, node));
        }
        if let (Distribution::Ordinal { classes }, [(_, score)]) = (call.distribution, parameters.as_mut_slice()) {
            let built = self.under(Some(target.name.clone()), true, |me| {
                me.ordinal_log_probabilities(*score, classes as usize, distribution.span)
            });
            let Some(node) = built else { return };
            *score = node;
        }
        self.walk.predicted[index] = Some(self.predicted_value(call.distribution, &parameters, distribution.span));
    }

    /// A parameter of a distribution: a vector of this width per sample.
    fn parameter(&mut self, parameter: &str, width: usize, value: ExprValue<'a>, span: Span) -> Option<NodeId> {
        let mut t = self.tensor(value, span)?;
        // A value per request holds for each of its samples.
        t.node = self.per_sample(t.node, span);
        let node = self.walk.graph.node(t.node);
        if node.shape.width() != width || node.axis != BATCH {
            let found = self.describe_tensor(&t);
            let message = match parameter {
                "logit" => "a logit is one value per sample".to_string(),
                "logits" => format!("the logits are {width} values per sample, one per class"),
                other => format!("`{other}` is one value per sample"),
            };
            let mut d = Diagnostic::error("E0609", message, span, found.clone());
            d = if node.axis == GLOBAL {
                d.note(format!("expected [{width}] for every sample\nfound a value that does not depend on the sample"))
            } else {
                d.note(format!("expected [{width}] for every sample\nfound {found}"))
            };
            if self.walk.graph.axes.has_entries(node.axis) {
                if let Some(d) = self.not_reduced_before(d, t.node) {
                    self.report(d);
                }
            } else {
                self.report(d.help(format!("end the network with `linear(…, {width})`")));
            }
            return None;
        }
        let sign = sign_of(&self.walk.graph, &self.declarations.schema, t.node);
        if parameter == "logit" && node.op == Op::Unary(UnaryOp::Sigmoid) {
            self.report(
                Diagnostic::warning("W0605", "this logit is a probability already", span, "from 0 to 1")
                    .note("the probability is `sigmoid(logit)`: it would lie between 0.5 and 0.73")
                    .help("leave the last `sigmoid` out"),
            );
        } else if parameter == "logit" && sign.never_negative() {
            self.report(
                Diagnostic::warning("W0605", "this logit is never below 0", span, "no probability below 0.5")
                    .note("the probability is `sigmoid(logit)`")
                    .help("end the network without an activation, such as with `linear(…, 1)`"),
            );
        } else if parameter == "logits" && self.is_softmax(t.node) {
            self.report(
                Diagnostic::warning("W0605", "these logits are probabilities already", span, "from 0 to 1")
                    .note("the probabilities are `softmax(logits)`")
                    .help("leave the last `softmax` out"),
            );
        } else if matches!(parameter, "std" | "rate") && matches!(sign, Sign::Any(_)) {
            let help = match parameter {
                "std" => "make it positive: `softplus(…) + 1e-3`",
                _ => "give its logarithm, `log_rate = …`, or make it positive: `softplus(…)`",
            };
            let message = format!("this `{parameter}` may be below 0");
            let d = Diagnostic::warning("W0611", message, span, "the loss is not a number there");
            self.report(d.help(help));
        }
        let shape = Shape::vector(width);
        let node = if self.walk.graph.node(t.node).shape == shape {
            t.node
        } else {
            self.walk.graph.reshape(t.node, shape, span).expect("its width is that of the shape")
        };
        Some(if parameter == "probability" { self.logit_of_probability(node, span) } else { node })
    }

    /// Whether a value is `exp(x)` divided by its sum.
    fn is_softmax(&self, value: NodeId) -> bool {
        let graph = &self.walk.graph;
        let op = |id: NodeId| &graph.node(id).op;
        match (op(value), graph.node(value).operands.as_slice()) {
            (Op::Binary(BinaryOp::Divide), [above, below]) => {
                *op(*above) == Op::Unary(UnaryOp::Exp)
                    && *op(*below) == Op::SumValue
                    && graph.node(*below).operands.as_slice() == [*above]
            }
            _ => false,
        }
    }

    /// The fault of a value per entry where one per sample is needed, with the place at which the
    /// entries came in and how they are reduced there. `None` where that place was reported before.
    pub(super) fn not_reduced_before(&mut self, mut d: Diagnostic, value: NodeId) -> Option<Diagnostic> {
        let axis = self.axis_here(self.walk.graph.node(value).axis);
        let mut help = format!("reduce it: `sum(… over {axis})`");
        if let Some((joined, entries)) = self.axis_enters(value) {
            if !self.walk.entered.insert(joined) {
                return None;
            }
            d = d.label(joined, format!("this becomes one value per entry of `{axis}`"));
            if let Some(entries) = entries {
                let text = self.on_one_line(entries);
                // `mean(x)` over the components, which was meant over the entries.
                let reduced = text
                    .split_once('(')
                    .filter(|(name, rest)| matches!(*name, "sum" | "mean" | "max") && !rest.contains(" over "));
                // `embed(visited)` has the place of the group.
                let text = if text.contains('(') { text.clone() } else { format!("embed({text})") };
                help = match (reduced, text.strip_suffix(')')) {
                    (Some(_), Some(open)) => format!("reduce it over the entries: `{open} over {axis})`"),
                    _ if text.len() < 40 => format!("reduce it before: `mean({text} over {axis})`"),
                    _ => format!("reduce it before: `mean(… over {axis})`"),
                };
                if entries != joined {
                    d = d.label(entries, format!("this varies over `{axis}`"));
                }
            }
        }
        Some(d.help(help))
    }

    /// Where, on the way to a value over a sequence, one over the sequence first joins one that is
    /// not over it, and which operand that is: the place of a forgotten `over`. `None` where it is
    /// in the library.
    fn axis_enters(&self, value: NodeId) -> Option<(Span, Option<Span>)> {
        let graph = &self.walk.graph;
        let mut seen: FxHashSet<NodeId> = FxHashSet::default();
        let mut stack = vec![value];
        let mut first: Option<NodeId> = None;
        // What an operand is before it is repeated along another axis.
        let source = |mut id: NodeId| {
            while let Op::Broadcast | Op::Rename { .. } = graph.node(id).op {
                id = graph.node(id).operands[0];
            }
            id
        };
        let over = |&o: &NodeId| graph.axes.has_entries(graph.node(source(o)).axis);
        let of_the_sample = |o: &NodeId| {
            let axis = graph.node(source(*o)).axis;
            axis != GLOBAL && !graph.axes.has_entries(axis)
        };
        while let Some(id) = stack.pop() {
            let node = graph.node(id);
            if !graph.axes.has_entries(node.axis) || !seen.insert(id) {
                continue;
            }
            if node.operands.iter().any(over) && node.operands.iter().any(of_the_sample) {
                first = Some(first.map_or(id, |f| f.min(id)));
            }
            stack.extend(node.operands.iter().copied());
        }
        let joined = graph.node(first?);
        let library = |span: Span| self.sources.get(span.file).is_some_and(|f| f.name.starts_with("std."));
        // A look-up has the place of the first of its uses.
        let entries = joined.operands.iter().map(|&o| graph.node(source(o))).find_map(|node| match node.op {
            Op::Lookup { .. } | Op::Input(_) => None,
            _ => graph.axes.has_entries(node.axis).then_some(node.span),
        });
        (!library(joined.span)).then_some((joined.span, entries.filter(|&span| !library(span))))
    }

    /// A label's name: in `loss` its prediction, or its values where it has none; a fault
    /// elsewhere.
    pub fn label_value(&mut self, label: usize, declared: Span, span: Span) -> ExprValue<'a> {
        let name = self.declarations.schema.labels[label].name.clone();
        if self.walk.context != Context::Loss {
            return self.fault(
                Diagnostic::error("E0601", format!("the label `{name}` is used as an input"), span, "leaks the answer")
                    .label(declared, "declared as a label here")
                    .help("labels are seen by `loss` and `report` only; declare what is known at prediction time as a feature"),
            );
        }
        match self.predictions.iter().position(|p| p.label as usize == label) {
            Some(index) => match self.walk.predicted.get(index) {
                Some(Some(predicted)) => {
                    ExprValue::Prediction { index, named: span, distribution: predicted.distribution }
                }
                // Its fault has been reported.
                Some(None) | None => ExprValue::Poison,
            },
            None if self.unpredicted => ExprValue::Poison,
            None => ExprValue::Label { index: label as u32, named: span },
        }
    }

    /// Reports a label without a prediction where one is needed.
    pub fn not_predicted(&mut self, label: u32, span: Span) -> ExprValue<'a> {
        let label = label as usize;
        let (name, kind) = (&self.declarations.schema.labels[label].name, self.declarations.schema.labels[label].kind);
        let help = match usual(kind) {
            Some(usual) => format!("add `predict {name} ~ {}`", usual.example()),
            None => format!("multiply the loss by the weight: `{name} * cross_entropy(click)`"),
        };
        let message = format!("the label `{name}` has no prediction");
        let declared = self.declarations.label_spans[label];
        self.fault(
            Diagnostic::error("E0611", message, span, "nothing to compare with")
                .label(declared, "declared here")
                .help(help),
        )
    }
}
