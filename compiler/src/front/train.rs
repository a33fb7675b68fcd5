//! `train`: the loss, the optimizers and the settings.

use super::elaborator::Elaborator;
use super::foreign;
use super::load::listed;
use super::report::same_metric;
use super::rule::RuleCall;
use super::scope::NameScope;
use super::update::{Before, Updates};
use super::value::{counted, number_text};
use super::walk::Context;
use crate::graph::BATCH;
use crate::model::UpdateScope;
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{Direction, Metric, TableSpec, Training, UpdateRule};

pub(super) const SETTINGS: [&str; 9] =
    ["loss", "optimizer", "regularize", "clip", "batch", "epochs", "seed", "select", "patience"];

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
                } else if s.values.len() != 1 && word != "clip" {
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
        for (label, span) in std::mem::take(&mut self.walk.bare) {
            let label = label as usize;
            let declared = &self.declarations.schema.labels[label];
            if declared.missing.is_none() {
                continue;
            }
            let name = declared.name.clone();
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
        if let Some((optimizer, _)) = &optimizer {
            self.doubtful_rate(optimizer);
        }
        let regularizer = train.value("regularize").and_then(|e| self.rule(scope, e));
        let clip = train.setting("clip").and_then(|s| self.clip(scope, s));
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
            let TableSpec { width, frozen, .. } = self.declarations.tables[t];
            if frozen {
                self.declarations.tables[t].update = updates.frozen(width, self.declarations.table_spans[t]);
                continue;
            }
            let counts = o.reads_frequency() || penalty.as_ref().is_some_and(RuleCall::reads_frequency);
            let over = UpdateScope::Rows { width, rule: update_rule };
            let before = Before { clip, regularizer: penalty.as_ref() };
            if let Some(u) = self.update_program(updates, &o, &before, over) {
                let table = &mut self.declarations.tables[t];
                (table.update, table.reads_frequency, table.update_rule) = (u, counts, update_rule);
            }
        }
        let Some((optimizer, _)) = optimizer else { return };
        for p in 0..self.parameters.len() {
            let decays = self.parameters[p].shape.len() == 2;
            let regularizer = regularizer.as_ref().filter(|_| decays);
            let before = Before { clip, regularizer };
            if let Some(u) = self.update_program(updates, &optimizer, &before, UpdateScope::Elements) {
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

    /// Batch, epochs, seed, patience and which metric chooses the checkpoint.
    pub fn training(&mut self, scope: &mut NameScope<'a>, train: &TrainSettings<'a>, metrics: &[Metric]) -> Training {
        let batch = self.whole(scope, train, "batch", 1.0, 1.0) as u32;
        let epochs = self.whole(scope, train, "epochs", 1.0, 1.0) as u32;
        let seed = self.whole(scope, train, "seed", 0.0, 0.0) as u64;
        let patience = self.whole(scope, train, "patience", 1.0, 0.0) as u32;
        let patience = (patience > 0).then_some(patience);
        self.patience_without_metric(train, metrics);
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
                        return Training { batch, epochs, seed, select, patience };
                    }
                    metrics.iter().position(called)
                }
                _ => {
                    let wanted = self.metric(scope, e);
                    if wanted.is_none() {
                        return Training { batch, epochs, seed, select, patience };
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
        Training { batch, epochs, seed, select, patience }
    }
}

impl<'a> Elaborator<'a> {
    /// `patience` waits for a better metric, so there must be one.
    fn patience_without_metric(&mut self, train: &TrainSettings<'a>, metrics: &[Metric]) {
        if let Some(s) = train.setting("patience").filter(|_| metrics.is_empty() && !self.has_errors()) {
            self.report(
                Diagnostic::error("E0621", "`patience` needs a metric", s.span, "nothing is reported")
                    .help("add `report auc(click)`: training ends when the metric of `select` gets no better"),
            );
        }
    }
}

/// The rows that a step of the setting's optimizer updates: sparse unless it says otherwise.
fn update_rule(optimizer: &ast::Setting) -> UpdateRule {
    match &optimizer.updates {
        Some(updates) if updates.dense => UpdateRule::Dense,
        Some(_) | None => UpdateRule::Sparse,
    }
}
