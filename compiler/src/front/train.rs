//! `train`: the loss, the optimizers and the settings.

use super::by_path::{ByPath, FrozenWeights, OptimizerChoice, RegularizerChoice};
use super::clip::Clip;
use super::elaborator::Elaborator;
use super::foreign;
use super::load::listed;
use super::report::same_metric;
use super::rule::RuleCall;
use super::scope::NameScope;
use super::update::{Before, Updates};
use super::value::{counted, number_text};
use super::walk::Context;
use crate::graph::{BATCH, GLOBAL};
use crate::model::UpdateScope;
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{Direction, Metric, Training};

pub(super) const SETTINGS: [&str; 9] =
    ["loss", "optimizer", "regularize", "clip", "batch", "epochs", "seed", "select", "patience"];

/// The settings of `train`, each at most once for all weights.
pub(super) struct TrainSettings<'a> {
    pub settings: Vec<&'a ast::Setting>,
    pub span: Span,
}

impl<'a> TrainSettings<'a> {
    pub fn setting(&self, word: &str) -> Option<&'a ast::Setting> {
        self.settings.iter().copied().find(|s| s.word.name == word && s.weights.is_empty())
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
                self.weights_elsewhere(s, true);
                let for_all = |s: &&ast::Setting| s.word.name == word && s.weights.is_empty();
                if !SETTINGS.contains(&word) {
                    match super::value::reserved(word) {
                        Some(r) => self.not_built(r.what, r.instead, s.word.span),
                        None => self.unknown_word("E0606", "setting of `train`", &s.word, &SETTINGS),
                    };
                } else if let Some(of) = self.unit_of(&train.settings, s) {
                    let d = Diagnostic::error("E0607", format!("`{of}` has no unit"), s.span, "a setting of its own");
                    self.report(d.help(format!("the number alone says it: remove `{word}`")).edit(s.span, ""));
                } else if let Some(first) = settings.iter().copied().find(for_all).filter(|_| for_all(&s)) {
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
                let there = train.settings.iter().any(|s| s.word.name == word && s.weights.is_empty());
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
            if self.walk.presence_read.contains(&(label, span)) {
                continue;
            }
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
        let Some(mut t) = self.tensor(value, e.span) else { return };
        // A value per request counts for each of its samples.
        t.node = self.per_sample(t.node, e.span);
        let node = self.walk.graph.node(t.node);
        if node.shape.width() != 1 || node.axis != BATCH {
            let found = match node.axis {
                GLOBAL => "a value that does not depend on the sample".into(),
                _ => self.describe_tensor(&t),
            };
            let mut d = Diagnostic::error("E0610", "a loss is one value per sample", e.span, found.clone())
                .note(format!("expected [1] for every sample\nfound {found}"));
            if self.walk.graph.axes.has_entries(node.axis) {
                match self.not_reduced_before(d, t.node) {
                    Some(reduced) => d = reduced,
                    None => return,
                }
            }
            self.report(d);
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

    /// The setting before `s` on its line, if `s` has no value and so is a word behind that one's:
    /// `patience 3 epochs`.
    fn unit_of(&self, settings: &'a [ast::Setting], s: &'a ast::Setting) -> Option<&'a str> {
        let at = settings.iter().position(|other| std::ptr::eq(other, s))?;
        let before = settings.get(at.checked_sub(1)?)?;
        let line = |span: Span| self.sources.line_column(span).0;
        let behind = s.values.is_empty() && !before.values.is_empty() && line(before.word.span) == line(s.word.span);
        behind.then_some(before.word.name.as_str())
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

    /// Gives every table and parameter its update program. Returns those that stay as they are.
    pub fn assign_updates(
        &mut self,
        scope: &mut NameScope<'a>,
        train: &TrainSettings<'a>,
        updates: &mut Updates,
    ) -> FrozenWeights {
        let optimizers = self.by_path(train, "optimizer", |me, s| {
            let choice = me.optimizer_choice(scope, s)?;
            if let OptimizerChoice::Steps(optimizer, _) = &choice {
                me.doubtful_rate(optimizer);
            }
            Some(choice)
        });
        let regularizers = self.by_path(train, "regularize", |me, s| me.regularizer_choice(scope, s));
        let clip = train.setting("clip").and_then(|s| self.clip(scope, s));
        let mut frozen = FrozenWeights::default();
        for t in 0..self.declarations.tables.len() {
            if self.table_update(scope, t, (&optimizers, &regularizers), clip, updates) == Some(Updated::Frozen) {
                frozen.tables.push(t);
            }
        }
        for p in 0..self.parameters.len() {
            let name = self.parameters[p].name.clone();
            // Vectors are never decayed.
            let decays = self.parameters[p].shape.len() == 2;
            let regularizer = if decays { regularizers.choose(&name, false).flatten() } else { None };
            let Some(optimizer) = optimizers.choose(&name, false).flatten() else { continue };
            let OptimizerChoice::Steps(optimizer, _) = optimizer else {
                self.parameters[p].update = updates.of_frozen_elements(train.span);
                frozen.parameters.push(p);
                continue;
            };
            let before = Before { clip, regularizer: regularizer.and_then(RegularizerChoice::rule) };
            if let Some(u) = self.update_program(updates, optimizer, &before, UpdateScope::Elements) {
                self.parameters[p].update = u;
            }
        }
        if let Some(clip) = clip {
            self.sum_squares(updates, clip);
        }
        // A fault may have left out weights, or a rule of theirs.
        if !self.has_errors() {
            self.useless_paths("optimizer", &optimizers);
            self.useless_paths("regularize", &regularizers);
            self.useless_regularizer(&regularizers);
            self.all_frozen(&optimizers, &frozen);
        }
        frozen
    }

    /// Gives a table its update program; `None` where a fault was reported.
    fn table_update(
        &mut self,
        scope: &mut NameScope<'a>,
        t: usize,
        (optimizers, regularizers): (&ByPath<'a, OptimizerChoice<'a>>, &ByPath<'a, RegularizerChoice<'a>>),
        clip: Option<Clip>,
        updates: &mut Updates,
    ) -> Option<Updated> {
        let name = self.declarations.tables[t].name.clone();
        let settings = self.declarations.table_settings[t].clone();
        let own = |word: &str| settings.iter().copied().find(|s| s.word.name == word);
        let regularizer = match own("regularize") {
            Some(s) => Some(self.regularizer_choice(scope, s)),
            // What is for the rest is for matrices.
            None => regularizers.choose(&name, true).map(|choice| choice.cloned()),
        };
        let optimizer = match own("optimizer") {
            Some(s) => self.optimizer_choice(scope, s),
            None => optimizers.choose(&name, false).flatten().cloned(),
        };
        let regularizer = match &regularizer {
            Some(Some(choice)) => choice.rule(),
            Some(None) => return None,
            None => None,
        };
        let width = self.declarations.tables[t].width;
        let (optimizer, rule) = match optimizer? {
            OptimizerChoice::Steps(optimizer, rule) => (optimizer, rule),
            OptimizerChoice::Frozen { span } => {
                if let Some(s) = own("admit") {
                    let d = Diagnostic::error("E0627", "`admit` of a frozen table", s.span, "no row is trained");
                    let d = d.label(span, "frozen here").note("ids that are not admitted would train the OOV row");
                    self.report(d.help("remove `admit`, or train the table"));
                    return None;
                }
                let table = &mut self.declarations.tables[t];
                (table.update, table.frozen) = (updates.of_frozen_rows(width, span), true);
                return Some(Updated::Frozen);
            }
        };
        let counts = optimizer.reads_frequency() || regularizer.is_some_and(RuleCall::reads_frequency);
        let before = Before { clip, regularizer };
        let update = self.update_program(updates, &optimizer, &before, UpdateScope::Rows { width, rule })?;
        let table = &mut self.declarations.tables[t];
        (table.update, table.reads_frequency, table.update_rule) = (update, counts, rule);
        Some(Updated::ByOptimizer)
    }

    /// Reports a regularizer of all matrices where there is none.
    fn useless_regularizer(&mut self, rules: &ByPath<'a, RegularizerChoice<'a>>) {
        let mut useless = rules.all().filter(|(path, _, chosen)| path.is_none() && !chosen);
        if let Some(rule) = useless.find_map(|(_, choice, _)| choice.and_then(RegularizerChoice::rule)) {
            self.report(
                Diagnostic::warning(
                    "W0604",
                    "`regularize` in `train` finds no matrix to act on",
                    rule.span,
                    "has no effect",
                )
                .help("tables are regularized by an option of their own: `embedding … { regularize … }`"),
            );
        }
    }

    /// Reports that nothing is left to train.
    fn all_frozen(&mut self, optimizers: &ByPath<'a, OptimizerChoice<'a>>, frozen: &FrozenWeights) {
        let all = self.declarations.tables.len() + self.parameters.len();
        if all == 0 || frozen.parameters.len() + frozen.tables.len() < all {
            return;
        }
        let word = |choice: &OptimizerChoice<'a>| match choice {
            OptimizerChoice::Frozen { span } => Some(*span),
            OptimizerChoice::Steps(..) => None,
        };
        let span = optimizers.all().find_map(|(_, choice, _)| choice.and_then(word));
        let of_table =
            || *self.declarations.table_spans.first().expect("what no setting of `train` freezes is a table");
        let span = span.unwrap_or_else(of_table);
        let d = Diagnostic::error("E0607", "all weights are frozen", span, "nothing is left to train");
        self.report(d.help("give an optimizer to some of them: `optimizer adam(lr = 1e-3) for …`"));
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
            let near = n.round().clamp(least, 1e6);
            let note = format!("expected a whole number from {least} to {}\nfound {}", u32::MAX, number_text(n));
            let d = Diagnostic::error("E0607", message, e.span, number_text(n)).note(note);
            self.report(d.help(format!("write a whole number, such as `{word} {}`", number_text(near))));
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

/// What a step does with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Updated {
    ByOptimizer,
    Frozen,
}
