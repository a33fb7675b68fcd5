//! `predict`, `train`, `report` and `assert`: from the network to what is trained and measured.

use super::elaborator::Elaborator;
use super::foreign;
use super::load::listed;
use super::report::same_metric;
use super::rule::RuleCall;
use super::scope::{NameScope, Referent};
use super::update::Updates;
use super::value::{counted, nearest, number_text};
use super::walk::Context;
use crate::graph::{BATCH, GLOBAL, NodeId, Op, Shape, UnaryOp};
use crate::model::UpdateScope;
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{Direction, Metric, Prediction, Training, UpdateRule};
use rustc_hash::FxHashSet;

pub(super) const SETTINGS: [&str; 7] = ["loss", "optimizer", "regularize", "batch", "epochs", "seed", "select"];

/// An optimizer and which rows of a table its steps update.
type TableOptimizer<'a> = (RuleCall<'a, ast::Optimizer>, UpdateRule);

/// The settings of `train`, each at most once.
pub(super) struct TrainSettings<'a> {
    pub settings: Vec<&'a ast::Setting>,
    pub span: Span,
}

impl<'a> TrainSettings<'a> {
    pub fn setting(&self, word: &str) -> Option<&'a ast::Setting> {
        self.settings.iter().copied().find(|s| s.word.name == word)
    }

    pub fn value(&self, word: &str) -> Option<&'a ast::Expr> {
        self.setting(word).and_then(|s| s.values.first())
    }
}

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
                d.help = Some(match nearest(&target.name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => format!("declare it: `label {}: binary`", target.name),
                    None => format!("labels are {}", listed(&known)),
                });
                self.report(d);
                self.unpredicted = true;
                return;
            }
        };
        let index = match self.predictions.iter().position(|p| p.label as usize == label) {
            Some(i) => i,
            None => {
                self.predictions.push(Prediction { name: target.name.clone(), label: label as u32 });
                self.predictions.len() - 1
            }
        };
        if self.walk.logits.len() <= index {
            self.walk.logits.resize(index + 1, None);
            self.walk.predicted_at.resize(index + 1, target.span);
        } else if self.walk.logits.get(index).is_some() {
            self.report(
                Diagnostic::error("E0618", format!("`{}` is predicted twice", target.name), target.span, "again here")
                    .label(self.walk.predicted_at[index], "first here")
                    .help("keep one `predict` for each label"),
            );
            return;
        }
        let Some(argument) = self.bernoulli(distribution) else { return };
        let value = self.under(Some(target.name.clone()), true, |me| me.expr(scope, argument));
        let Some(mut t) = self.tensor(value, argument.span) else { return };
        if Some(self.walk.graph.node(t.node).axis) == self.walk.graph.axes.request() {
            // A logit per request holds for each of its samples.
            t.node =
                self.walk.graph.replicated(t.node, argument.span).expect("a value per request can be one per sample");
        }
        let node = self.walk.graph.node(t.node);
        if node.shape.width() != 1 || node.axis != BATCH {
            let found = self.describe_tensor(&t);
            let mut d = Diagnostic::error("E0609", "a logit is one value per sample", argument.span, found.clone());
            d = if node.axis == GLOBAL {
                d.note("expected [1] for every sample\nfound a value that does not depend on the sample")
            } else {
                d.note(format!("expected [1] for every sample\nfound {found}"))
            };
            d = if self.walk.graph.axes.is_ragged(node.axis) {
                let axes = &self.walk.graph.axes;
                let axis = axes.axis(axes.second_of_pairs(node.axis).unwrap_or(node.axis)).name.clone();
                if let Some(entered) = self.axis_enters(t.node) {
                    d = d.label(entered, format!("this becomes one value per entry of `{axis}`"));
                }
                d.help(format!("reduce it: `sum(… over {axis})`"))
            } else {
                d.help("end the network with `linear(…, 1)`")
            };
            self.report(d);
            return;
        }
        if node.op == Op::Unary(UnaryOp::Sigmoid) {
            self.report(
                Diagnostic::warning("W0605", "this logit is a probability already", argument.span, "from 0 to 1")
                    .note("the probability is `sigmoid(logit)`: it would lie between 0.5 and 0.73")
                    .help("leave the last `sigmoid` out"),
            );
        }
        let node = self.walk.graph.node(t.node);
        let node = if node.shape == Shape::scalar() {
            t.node
        } else {
            self.walk.graph.reshape(t.node, Shape::scalar(), argument.span).expect("its width is 1")
        };
        self.walk.logits[index] = Some(node);
    }

    /// Where, on the way to a value over a sequence, one over the sequence first joins one that is
    /// not over it: the place of a forgotten `over`. `None` where that is in the library.
    fn axis_enters(&self, value: NodeId) -> Option<Span> {
        let axis = self.walk.graph.node(value).axis;
        let mut seen: FxHashSet<NodeId> = FxHashSet::default();
        let mut stack = vec![value];
        let mut first: Option<NodeId> = None;
        while let Some(id) = stack.pop() {
            let node = self.walk.graph.node(id);
            if node.axis != axis || !seen.insert(id) {
                continue;
            }
            let over = |&o: &NodeId| self.walk.graph.node(o).axis == axis;
            let of_the_sample = |&o: &NodeId| self.walk.graph.node(o).axis == BATCH;
            if node.operands.iter().any(over) && node.operands.iter().any(of_the_sample) {
                first = Some(first.map_or(id, |f| f.min(id)));
            }
            stack.extend(node.operands.iter().copied());
        }
        let span = self.walk.graph.node(first?).span;
        let library = self.sources.get(span.file).is_some_and(|f| f.name.starts_with("std."));
        (!library).then_some(span)
    }

    /// The logit's expression.
    fn bernoulli(&mut self, distribution: &'a ast::Expr) -> Option<&'a ast::Expr> {
        let wrong = |me: &mut Self, span: Span, text: &str| {
            me.report(
                Diagnostic::error("E0608", "a label is predicted by a distribution", span, text)
                    .help("write `bernoulli(logit = …)`"),
            );
            None
        };
        let ExprKind::Call { callee, arguments } = &distribution.kind else {
            return wrong(self, distribution.span, "not a distribution");
        };
        let ExprKind::Name(name) = &callee.kind else { return wrong(self, callee.span, "not a distribution") };
        if name != "bernoulli" {
            let word = ast::Ident { name: name.clone(), span: callee.span };
            self.unknown_word("E0608", "distribution", &word, &["bernoulli"]);
            return None;
        }
        let [argument] = arguments.as_slice() else {
            return wrong(self, distribution.span, &counted(arguments.len(), "argument"));
        };
        if !self.no_axis("bernoulli", argument) {
            return None;
        }
        match argument.name.as_ref().map(|n| n.name.as_str()) {
            Some("logit") => Some(&argument.value),
            Some("probability") => {
                let instead = "write the log odds: `bernoulli(logit = log(p / (1 - p)))`";
                self.not_built("`bernoulli(probability = …)`", instead, argument.span);
                None
            }
            Some(_) => wrong(self, argument.span, "not a parameter of `bernoulli`"),
            None => wrong(self, argument.span, "logit or probability?"),
        }
    }

    /// The one `train` block and its settings.
    pub fn train_settings(&mut self, model: &'a ast::Model) -> Option<TrainSettings<'a>> {
        let mut found: Option<TrainSettings<'a>> = None;
        for member in &model.members {
            let MemberKind::Train(train) = &member.kind else { continue };
            if let Some(first) = &found {
                let d = Diagnostic::error("E0605", "`train` is given twice", member.span, "again here");
                let d = d.label(first.span, "first here").help("join the two blocks");
                self.report(d);
                continue;
            }
            let mut settings: Vec<&'a ast::Setting> = Vec::new();
            for s in &train.settings {
                let word = s.word.name.as_str();
                self.updates_elsewhere(s);
                if !SETTINGS.contains(&word) {
                    match super::value::reserved(word) {
                        Some(r) => self.not_built(r.what, r.instead, s.word.span),
                        None => self.unknown_word("E0606", "setting of `train`", &s.word, &SETTINGS),
                    };
                } else if let Some(first) = settings.iter().find(|o| o.word.name == word) {
                    let d = Diagnostic::error("E0605", format!("`{word}` is given twice"), s.word.span, "again here");
                    self.report(d.label(first.word.span, "first here").help("remove one of them"));
                } else if self.old_dense_updates(s) {
                    settings.push(s);
                } else if s.values.len() != 1 {
                    let found = counted(s.values.len(), "value");
                    self.report(
                        Diagnostic::error("E0607", format!("`{word}` takes one value"), s.span, found)
                            .help(format!("write `{word}` and one value on its line")),
                    );
                    settings.push(s);
                } else {
                    settings.push(s);
                }
            }
            for (word, example) in [
                ("loss", "loss cross_entropy(click)"),
                ("optimizer", "optimizer adam(lr = 1e-3)"),
                ("batch", "batch 1024"),
                ("epochs", "epochs 1"),
            ] {
                // A misspelled word has been reported already.
                let slip = |s: &&ast::Setting| {
                    !SETTINGS.contains(&s.word.name.as_str()) && foreign::word(&s.word.name, &SETTINGS) == Some(word)
                };
                let there = train.settings.iter().any(|s| s.word.name == word);
                if !there && !train.settings.iter().any(|s| slip(&s)) {
                    self.report(
                        Diagnostic::error("E0604", format!("`train` has no `{word}`"), train.span, "missing here")
                            .help(format!("add a line such as `{example}`")),
                    );
                }
            }
            found = Some(TrainSettings { settings, span: train.span });
        }
        if found.is_none() {
            self.report(
                Diagnostic::error(
                    "E0603",
                    format!("model `{}` has no `train`", model.name.name),
                    model.name.span,
                    "cannot be trained",
                )
                .help("add `train { loss … optimizer … batch … epochs … }`"),
            );
        }
        found
    }

    /// The loss of this run: mean over the samples of the global batch.
    pub fn loss(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) {
        let value = self.in_context(Context::Loss, |me| me.under(Some("loss".into()), true, |me| me.expr(scope, e)));
        for (p, span) in std::mem::take(&mut self.walk.bare) {
            let label = self.predictions[p].label as usize;
            if self.declarations.schema.labels[label].missing.is_none() {
                continue;
            }
            let name = self.predictions[p].name.clone();
            let at = self.declarations.label_spans[label];
            self.report(
                Diagnostic::error(
                    "E0613",
                    format!("the label `{name}` may be missing"),
                    span,
                    "not known for every sample",
                )
                .label(at, "declared with a `missing` value")
                .help("say what a missing label does: `… where present` leaves the sample out of this loss"),
            );
        }
        let Some(t) = self.tensor(value, e.span) else { return };
        let node = self.walk.graph.node(t.node);
        if node.shape.width() != 1 || node.axis != BATCH {
            let found = self.describe_tensor(&t);
            self.report(
                Diagnostic::error("E0610", "a loss is one value per sample", e.span, found.clone())
                    .note(format!("expected [1] for every sample\nfound {found}")),
            );
            return;
        }
        match self.walk.graph.mean_once(t.node, e.span) {
            // `mean_once` divides by the number of samples: the loss varies over them alone.
            Ok(node) => self.walk.loss = Some(node),
            Err(error) => {
                self.type_error(error, e.span);
            }
        }
    }

    /// The optimizer of a setting.
    fn optimizer(&mut self, scope: &mut NameScope<'a>, s: &'a ast::Setting) -> Option<TableOptimizer<'a>> {
        Some((self.rule(scope, s.values.first()?)?, update_rule(s)))
    }

    /// `with dense updates` says how an optimizer treats tables; no other setting has it.
    pub fn updates_elsewhere(&mut self, s: &ast::Setting) {
        if let Some(updates) = &s.updates
            && s.word.name != "optimizer"
        {
            let words = if updates.dense { "with dense updates" } else { "with sparse updates" };
            let message = format!("`{words}` belongs to an optimizer");
            let d = Diagnostic::error("E0607", message, updates.span, "not understood here");
            self.report(d.help(format!("write `optimizer adam(lr = 1e-3) {words}`, or remove the words")));
        }
    }

    /// Reports `on every row`, the former words for dense updates.
    pub fn old_dense_updates(&mut self, s: &ast::Setting) -> bool {
        let [_, old @ ..] = s.values.as_slice() else { return false };
        let old_words = old.len() == 3
            && old
                .iter()
                .zip(["on", "every", "row"])
                .all(|(e, word)| matches!(&e.kind, ExprKind::Name(n) if n == word));
        if s.word.name != "optimizer" || !old_words {
            return false;
        }
        let span = Span::new(old[0].span.file, old[0].span.start as usize, old[2].span.end as usize);
        self.report(
            Diagnostic::error("E0607", "`on every row` is now `with dense updates`", span, "not understood")
                .help("write `optimizer adam(lr = 1e-3) with dense updates`"),
        );
        true
    }

    /// Gives every table and parameter its update program.
    pub fn assign_updates(&mut self, scope: &mut NameScope<'a>, train: &TrainSettings<'a>, updates: &mut Updates) {
        let optimizer = train.setting("optimizer").and_then(|s| self.optimizer(scope, s));
        let regularizer = train.value("regularize").and_then(|e| self.rule(scope, e));
        for t in 0..self.declarations.tables.len() {
            let mut own = optimizer.clone();
            let mut penalty = None;
            let mut faulty = false;
            for s in self.declarations.table_settings[t].clone() {
                let Some(e) = s.values.first() else { continue };
                match s.word.name.as_str() {
                    "optimizer" => {
                        own = self.optimizer(scope, s);
                        faulty |= own.is_none();
                    }
                    "regularize" => {
                        penalty = self.rule(scope, e);
                        faulty |= penalty.is_none();
                    }
                    // The table reads `init`, and has refused words that it does not know.
                    _ => {}
                }
            }
            let Some((o, update_rule)) = own.filter(|_| !faulty) else { continue };
            let width = self.declarations.tables[t].width;
            let counts = o.reads_frequency() || penalty.as_ref().is_some_and(RuleCall::reads_frequency);
            let over = UpdateScope::Rows { width, rule: update_rule };
            if let Some(u) = self.update_program(updates, &o, penalty.as_ref(), over) {
                let table = &mut self.declarations.tables[t];
                (table.update, table.reads_frequency, table.update_rule) = (u, counts, update_rule);
            }
        }
        let Some((optimizer, _)) = optimizer else { return };
        for p in 0..self.parameters.len() {
            let decays = self.parameters[p].shape.len() == 2;
            let regularizer = regularizer.as_ref().filter(|_| decays);
            if let Some(u) = self.update_program(updates, &optimizer, regularizer, UpdateScope::Elements) {
                self.parameters[p].update = u;
            }
        }
        if let Some(r) = &regularizer
            && !self.parameters.iter().any(|p| p.shape.len() == 2)
            && !self.has_errors()
        {
            self.report(
                Diagnostic::warning(
                    "W0604",
                    "`regularize` in `train` finds no matrix to act on",
                    r.span,
                    "has no effect",
                )
                .help("tables are regularized by an option of their own: `embedding … { regularize … }`"),
            );
        }
    }

    fn whole(
        &mut self,
        scope: &mut NameScope<'a>,
        train: &TrainSettings<'a>,
        word: &str,
        least: f64,
        default: f64,
    ) -> f64 {
        let Some(e) = train.value(word) else { return default };
        let value = self.expr(scope, e);
        let Some(n) = self.number(value, &format!("`{word}`"), e.span) else { return default };
        if n < least || n.fract() != 0.0 || n > f64::from(u32::MAX) {
            let large = n > f64::from(u32::MAX);
            let message =
                if large { format!("`{word}` is too large") } else { format!("`{word}` must be a whole number") };
            self.report(Diagnostic::error("E0607", message, e.span, number_text(n)).note(format!(
                "expected a whole number from {least} to {}\nfound {}",
                u32::MAX,
                number_text(n)
            )));
            return default;
        }
        n
    }

    /// Batch, epochs, seed and which metric chooses the checkpoint.
    pub fn training(&mut self, scope: &mut NameScope<'a>, train: &TrainSettings<'a>, metrics: &[Metric]) -> Training {
        let batch = self.whole(scope, train, "batch", 1.0, 1.0) as u32;
        let epochs = self.whole(scope, train, "epochs", 1.0, 1.0) as u32;
        let seed = self.whole(scope, train, "seed", 0.0, 0.0) as u64;
        let ranking = |m: &Metric| m.kind.direction() == Direction::HigherIsBetter;
        let mut select = metrics.iter().position(ranking).unwrap_or(0) as u32;
        if let Some(e) = train.value("select") {
            let found = match &e.kind {
                ExprKind::Name(name) => {
                    let called = |m: &Metric| m.name.split('(').next() == Some(name);
                    let all: Vec<&str> = metrics.iter().filter(|m| called(m)).map(|m| m.name.as_str()).collect();
                    if all.len() > 1 {
                        let help = format!("reported are {}: write one of them in full", listed(&all));
                        self.report(
                            Diagnostic::error(
                                "E0621",
                                format!("{} reported metrics are called `{name}`", all.len()),
                                e.span,
                                "which one?",
                            )
                            .help(help),
                        );
                        return Training { batch, epochs, seed, select };
                    }
                    metrics.iter().position(called)
                }
                _ => {
                    let wanted = self.metric(scope, e);
                    if wanted.is_none() {
                        return Training { batch, epochs, seed, select };
                    }
                    wanted.and_then(|wanted| metrics.iter().position(|m| same_metric(m, &wanted)))
                }
            };
            match found {
                Some(i) => select = i as u32,
                None => {
                    let known: Vec<&str> = metrics.iter().map(|m| m.name.as_str()).collect();
                    let help = format!("reported are {}", listed(&known));
                    self.report(
                        Diagnostic::error("E0621", "this metric is not reported", e.span, "cannot choose a checkpoint")
                            .help(help),
                    );
                }
            }
        }
        Training { batch, epochs, seed, select }
    }
}

/// The rows that a step of the setting's optimizer updates: sparse unless it says otherwise.
fn update_rule(optimizer: &ast::Setting) -> UpdateRule {
    match &optimizer.updates {
        Some(updates) if updates.dense => UpdateRule::Dense,
        Some(_) | None => UpdateRule::Sparse,
    }
}
