//! `predict`, `train`, `report` and `assert`: from the network to what is trained and measured.

use super::elab::{Bound, Elab, Phase, Scope};
use super::load::listed;
use super::update::{Rule, Updates};
use super::value::{Value, counted, nearest, number_text};
use crate::graph::{BATCH, ONCE, Shape};
use crate::model::{SlotScope, UpdateScope};
use din_grammar::ast::{self, BinaryOp, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{FeatureKind, GroupBy, GroupWeight, Metric, MetricKind, Prediction, TableKind, Training};

const SETTINGS: [&str; 7] = ["loss", "optimizer", "regularize", "batch", "epochs", "seed", "select"];

/// The settings of `train`, each at most once.
pub(super) struct TrainSettings<'a> {
    pub settings: Vec<&'a ast::Setting>,
    pub span: Span,
}

impl<'a> TrainSettings<'a> {
    pub fn value(&self, word: &str) -> Option<&'a ast::Expr> {
        self.settings.iter().find(|s| s.word.name == word).and_then(|s| s.values.first())
    }
}

impl<'a> Elab<'a> {
    /// `predict click ~ bernoulli(logit = …)`
    pub fn predict(&mut self, scope: &mut Scope<'a>, target: &'a ast::Ident, distribution: &'a ast::Expr) {
        let label = match scope.find(&target.name).map(|b| b.bound.clone()) {
            Some(Bound::Label(label)) => label,
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
        if self.run.logits.len() <= index {
            self.run.logits.resize(index + 1, None);
            self.run.predicted_at.resize(index + 1, target.span);
        } else if self.run.logits.get(index).is_some() {
            self.report(
                Diagnostic::error("E0618", format!("`{}` is predicted twice", target.name), target.span, "again here")
                    .label(self.run.predicted_at[index], "first here")
                    .help("keep one `predict` for each label"),
            );
            return;
        }
        let Some(argument) = self.bernoulli(distribution) else { return };
        let value = self.under(Some(target.name.clone()), true, |me| me.expr(scope, argument));
        let Some(t) = self.tensor(value, argument.span) else { return };
        let node = self.graph.node(t.node);
        if node.shape.width() != 1 || node.domain != BATCH {
            let found = self.describe_tensor(&t);
            let mut d = Diagnostic::error("E0609", "a logit is one number a sample", argument.span, found.clone());
            d = if node.domain == ONCE {
                d.note("expected [1] for every sample\nfound a value that does not depend on the sample")
            } else {
                d.note(format!("expected [1] for every sample\nfound {found}"))
            };
            d = if node.domain.index() > 1 {
                let axis = self.graph.domain(node.domain).name.clone();
                d.help(format!("reduce it: `sum(… over {axis})`"))
            } else {
                d.help("end the network with `linear(…, 1)`")
            };
            self.report(d);
            return;
        }
        let node = if node.shape == Shape::scalar() {
            t.node
        } else {
            self.graph.reshape(t.node, Shape::scalar(), argument.span).unwrap_or(t.node)
        };
        self.run.logits[index] = Some(node);
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
        match argument.name.as_ref().map(|n| n.name.as_str()) {
            Some("logit") => Some(&argument.value),
            Some("probability") => {
                self.not_built("`bernoulli(probability = …)`", argument.span);
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
                if !SETTINGS.contains(&word) {
                    match super::value::reserved(word) {
                        Some(what) => self.not_built(what, s.word.span),
                        None => self.unknown_word("E0606", "setting of `train`", &s.word, &SETTINGS),
                    };
                } else if let Some(first) = settings.iter().find(|o| o.word.name == word) {
                    let d = Diagnostic::error("E0605", format!("`{word}` is given twice"), s.word.span, "again here");
                    self.report(d.label(first.word.span, "first here").help("remove one of them"));
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
                // A slip in the word itself has been told.
                let slip = |s: &&ast::Setting| {
                    !SETTINGS.contains(&s.word.name.as_str()) && nearest(&s.word.name, SETTINGS) == Some(word)
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
    pub fn loss(&mut self, scope: &mut Scope<'a>, e: &'a ast::Expr) {
        self.phase = Phase::Loss;
        let value = self.under(Some("loss".into()), true, |me| me.expr(scope, e));
        self.phase = Phase::Model;
        for (p, span) in std::mem::take(&mut self.run.bare) {
            let name = self.predictions[p].name.clone();
            let at = self.declarations.label_spans[self.predictions[p].label as usize];
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
        let node = self.graph.node(t.node);
        if node.shape.width() != 1 || node.domain != BATCH {
            let found = self.describe_tensor(&t);
            self.report(
                Diagnostic::error("E0610", "a loss is one number a sample", e.span, found.clone())
                    .note(format!("expected [1] for every sample\nfound {found}")),
            );
            return;
        }
        match self.graph.mean_once(t.node, e.span) {
            // `mean_once` divides by the number of samples: the loss varies over them alone.
            Ok(node) => self.run.loss = Some(node),
            Err(error) => {
                self.type_error(error, e.span);
            }
        }
    }

    /// Gives every table and parameter its update program.
    pub fn assign_updates(&mut self, scope: &mut Scope<'a>, train: &TrainSettings<'a>, updates: &mut Updates) {
        let optimizer = train.value("optimizer").and_then(|e| self.rule(scope, e, true));
        let regularizer = train.value("regularize").and_then(|e| self.rule(scope, e, false));
        for t in 0..self.declarations.tables.len() {
            let mut own: [Option<Rule<'a>>; 2] = [optimizer.clone(), None];
            let mut faulty = false;
            for s in self.declarations.table_settings[t].clone() {
                let Some(e) = s.values.first() else { continue };
                let index = match s.word.name.as_str() {
                    "optimizer" => 0,
                    "regularize" => 1,
                    _ => continue,
                };
                own[index] = self.rule(scope, e, index == 0);
                faulty |= own[index].is_none();
            }
            let [Some(o), r] = own else { continue };
            if faulty {
                continue;
            }
            let width = self.declarations.tables[t].width;
            let counts = self.counts(&o) || r.as_ref().is_some_and(|r| self.counts(r));
            if let Some(u) = self.update_program(updates, &o, r.as_ref(), UpdateScope::Rows { width }) {
                self.declarations.tables[t].update = u;
                self.declarations.tables[t].counts = counts;
            }
        }
        let Some(optimizer) = optimizer else { return };
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

    fn whole(&mut self, scope: &mut Scope<'a>, train: &TrainSettings<'a>, word: &str, least: f64, default: f64) -> f64 {
        let Some(e) = train.value(word) else { return default };
        let value = self.expr(scope, e);
        let Some(n) = self.number(value, &format!("`{word}`"), e.span) else { return default };
        if n < least || n.fract() != 0.0 || n > f64::from(u32::MAX) {
            self.report(
                Diagnostic::error("E0607", format!("`{word}` must be a whole number"), e.span, number_text(n))
                    .note(format!("expected a whole number from {least} to {}\nfound {n}", u32::MAX)),
            );
            return default;
        }
        n
    }

    /// Batch, epochs, seed and which metric chooses the checkpoint.
    pub fn training(&mut self, scope: &mut Scope<'a>, train: &TrainSettings<'a>, metrics: &[Metric]) -> Training {
        let batch = self.whole(scope, train, "batch", 1.0, 1.0) as u32;
        let epochs = self.whole(scope, train, "epochs", 1.0, 1.0) as u32;
        let seed = self.whole(scope, train, "seed", 0.0, 0.0) as u64;
        let ranking = |m: &Metric| !matches!(m.kind, MetricKind::LogLoss);
        let mut select = metrics.iter().position(ranking).unwrap_or(0) as u32;
        if let Some(e) = train.value("select") {
            let found = match &e.kind {
                ExprKind::Name(name) => metrics.iter().position(|m| m.name.split('(').next() == Some(name)),
                _ => {
                    let wanted = self.metric(scope, e);
                    if wanted.is_none() {
                        return Training { batch, epochs, seed, select };
                    }
                    metrics.iter().position(|m| Some(m) == wanted.as_ref())
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

    /// Everything that `report` lists.
    pub fn metrics(&mut self, scope: &mut Scope<'a>, model: &'a ast::Model) -> Vec<Metric> {
        let mut all: Vec<(Metric, Span)> = Vec::new();
        let mut reported = false;
        for member in &model.members {
            let MemberKind::Report { metrics } = &member.kind else { continue };
            reported = true;
            for e in metrics {
                let Some(metric) = self.metric(scope, e) else { continue };
                if let Some((_, first)) = all.iter().find(|(m, _)| m.name == metric.name) {
                    let d = Diagnostic::error(
                        "E0622",
                        format!("`{}` is reported twice", metric.name),
                        e.span,
                        "again here",
                    );
                    self.report(d.label(*first, "first here").help("remove one of them"));
                    continue;
                }
                all.push((metric, e.span));
            }
        }
        if !reported {
            self.report(
                Diagnostic::error(
                    "E0603",
                    format!("model `{}` has no `report`", model.name.name),
                    model.name.span,
                    "no metric",
                )
                .help("add a line such as `report auc(click), log_loss(click)`"),
            );
        }
        all.into_iter().map(|m| m.0).collect()
    }

    /// `gauc(click, by = user_id, weight = clicks)`
    fn metric(&mut self, scope: &mut Scope<'a>, e: &'a ast::Expr) -> Option<Metric> {
        let ExprKind::Call { callee, arguments } = &e.kind else {
            self.report(
                Diagnostic::error("E0614", "a metric is applied to a label", e.span, "not a call")
                    .help("write it as `auc(click)`"),
            );
            return None;
        };
        let ExprKind::Name(name) = &callee.kind else {
            self.report(Diagnostic::error("E0614", "not a metric", callee.span, "not a name"));
            return None;
        };
        let Some(&definition) = self.modules[scope.module].names.get(name.as_str()) else {
            let value = self.resolve(scope, name, callee.span);
            if !matches!(value, Value::Poison) {
                let found = self.describe(&value);
                self.report(Diagnostic::error("E0206", format!("`{name}` is not a metric"), callee.span, found));
            }
            return None;
        };
        if definition.module == usize::MAX {
            return None;
        }
        let module = &self.modules[definition.module];
        let ast::Item::Metric(metric) = &module.file.items[definition.item] else {
            let kind = super::load::item_kind(&module.file.items[definition.item]);
            self.report(
                Diagnostic::error("E0206", format!("`{name}` is not a metric"), callee.span, format!("a {kind}"))
                    .note(format!("expected a metric\nfound the {kind} `{name}`")),
            );
            return None;
        };
        if module.name != "std.metric" {
            self.not_built("metrics outside `std.metric`", callee.span);
            return None;
        }
        let mut target = None;
        let mut by = None;
        let mut weight = GroupWeight::Impressions;
        let mut given: Vec<(usize, Span)> = Vec::new();
        let mut faulty = false;
        for (i, a) in arguments.iter().enumerate() {
            let index = match &a.name {
                None => Some(i),
                Some(n) => metric.parameters.iter().position(|p| p.name.name == n.name),
            };
            let Some((index, parameter)) = index.and_then(|i| Some((i, metric.parameters.get(i)?))) else {
                let known: Vec<&str> = metric.parameters.iter().map(|p| p.name.name.as_str()).collect();
                match &a.name {
                    Some(n) => self.unknown_word("E0208", "argument", n, &known),
                    None => self.fault(
                        Diagnostic::error("E0210", format!("too many arguments for `{name}`"), a.span, "one too many")
                            .help(format!("it takes {}", listed(&known))),
                    ),
                };
                faulty = true;
                continue;
            };
            if let Some((_, first)) = given.iter().find(|g| g.0 == index) {
                let d = Diagnostic::error(
                    "E0211",
                    format!("`{}` is given twice", parameter.name.name),
                    a.span,
                    "again here",
                );
                self.report(d.label(*first, "first here").help("drop one of them"));
                faulty = true;
                continue;
            }
            given.push((index, a.span));
            match parameter.name.name.as_str() {
                "target" => target = self.metric_target(scope, &a.value),
                "by" => by = self.group_by(scope, &a.value),
                _ => match self.group_weight(&a.value) {
                    Some(w) => weight = w,
                    None => faulty = true,
                },
            }
        }
        for (i, p) in metric.parameters.iter().enumerate() {
            if p.default.is_none() && !given.iter().any(|g| g.0 == i) {
                let what = &p.name.name;
                let help = if what == "by" {
                    format!("say what groups the rows: `{name}(click, by = user_id)`")
                } else {
                    format!("name a label: `{name}(click)`")
                };
                self.report(
                    Diagnostic::error(
                        "E0209",
                        format!("1 argument is missing in the call of `{name}`"),
                        e.span,
                        format!("`{what}` not given"),
                    )
                    .label(metric.name.span, "defined here")
                    .help(help),
                );
                faulty = true;
            }
        }
        let target = target?;
        if faulty {
            return None;
        }
        let label = &self.predictions[target].name;
        let (kind, name) = match name_of(metric) {
            "auc" => (MetricKind::Auc, format!("auc({label})")),
            "log_loss" => (MetricKind::LogLoss, format!("log_loss({label})")),
            _ => {
                let name = match weight {
                    GroupWeight::Impressions => format!("gauc({label})"),
                    GroupWeight::Clicks => format!("gauc({label}, weight = clicks)"),
                    GroupWeight::None => format!("gauc({label}, weight = none)"),
                };
                (MetricKind::Gauc { by: by?, weight }, name)
            }
        };
        Some(Metric { name, prediction: target as u32, kind })
    }

    fn metric_target(&mut self, scope: &mut Scope<'a>, e: &'a ast::Expr) -> Option<usize> {
        self.phase = Phase::Loss;
        let in_loss = self.run.in_loss.clone();
        let value = self.expr(scope, e);
        self.run.in_loss = in_loss;
        self.run.bare.clear();
        self.phase = Phase::Model;
        match value {
            Value::Prediction(p) => Some(p),
            Value::Poison => None,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error("E0614", "a metric compares a label with its prediction", e.span, found.clone())
                        .note(format!("expected the name of a label\nfound {found}")),
                );
                None
            }
        }
    }

    fn group_by(&mut self, scope: &mut Scope<'a>, e: &'a ast::Expr) -> Option<GroupBy> {
        if let ExprKind::Name(name) = &e.kind
            && let Some(Bound::Key(k)) = scope.find(name).map(|b| b.bound.clone())
        {
            return Some(GroupBy::Key(k as u32));
        }
        let found = match self.expr(scope, e) {
            Value::Poison => return None,
            Value::Feature(f) => {
                let feature = &self.declarations.schema.features[f];
                if feature.sequence.is_none() && !matches!(feature.kind, FeatureKind::Dense { .. }) {
                    return Some(GroupBy::Feature(f as u32));
                }
                match feature.sequence {
                    Some(_) => "a feature of a sequence".to_string(),
                    None => "a number".to_string(),
                }
            }
            other => self.describe(&other),
        };
        self.report(
            Diagnostic::error("E0614", "rows are grouped by a key or a categorical feature", e.span, found.clone())
                .note(format!("expected a key or a feature with one id a sample\nfound {found}"))
                .help("declare one: `key user_id: int64`"),
        );
        None
    }

    fn group_weight(&mut self, e: &'a ast::Expr) -> Option<GroupWeight> {
        match &e.kind {
            ExprKind::Name(n) => match n.as_str() {
                "impressions" => Some(GroupWeight::Impressions),
                "clicks" => Some(GroupWeight::Clicks),
                "none" => Some(GroupWeight::None),
                _ => {
                    let word = ast::Ident { name: n.clone(), span: e.span };
                    self.unknown_word("E0614", "weight of groups", &word, &["impressions", "clicks", "none"]);
                    None
                }
            },
            _ => {
                self.report(
                    Diagnostic::error("E0614", "not a weight of groups", e.span, "not a word")
                        .help("known are `impressions`, `clicks` and `none`"),
                );
                None
            }
        }
    }

    /// `assert parameters(dense) < 1_000_000`
    pub fn assert(&mut self, scope: &mut Scope<'a>, condition: &'a ast::Expr, updates: &Updates) {
        let (op, left, right) = match &condition.kind {
            ExprKind::Binary { op, left, right }
                if matches!(
                    op,
                    BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Greater | BinaryOp::GreaterEqual | BinaryOp::Equal
                ) =>
            {
                (*op, left, right)
            }
            _ => {
                match self.expr(scope, condition) {
                    Value::Bool(true) | Value::Poison => {}
                    Value::Bool(false) => {
                        self.report(Diagnostic::error(
                            "E0619",
                            "an assertion does not hold",
                            condition.span,
                            "is false",
                        ));
                    }
                    other => {
                        let found = self.describe(&other);
                        self.report(
                            Diagnostic::error("E0619", "an assertion compares numbers", condition.span, found)
                                .help("write `parameters(dense) < 1_000_000`"),
                        );
                    }
                }
                return;
            }
        };
        let (l, r) = (self.budget(scope, left, updates), self.budget(scope, right, updates));
        let (Some((a, a_open)), Some((b, b_open))) = (l, r) else { return };
        let holds = match op {
            BinaryOp::Less => a < b,
            BinaryOp::LessEqual => a <= b,
            BinaryOp::Greater => a > b,
            BinaryOp::GreaterEqual => a >= b,
            _ => a == b,
        };
        // Tables that grow are counted with the rows they have at the start: a lower bound.
        let upper = matches!(op, BinaryOp::Less | BinaryOp::LessEqual);
        if (a_open || b_open) && (holds || !upper || b_open) {
            let growing: Vec<String> = self
                .declarations
                .tables
                .iter()
                .filter(|t| matches!(t.kind, TableKind::Dynamic { .. }))
                .map(|t| t.name.clone())
                .collect();
            let growing: Vec<&str> = growing.iter().map(String::as_str).collect();
            self.report(
                Diagnostic::warning(
                    "W0603",
                    "this cannot be decided before the data is read",
                    condition.span,
                    "not decided",
                )
                .note(format!("{} grow with the data", listed(&growing)))
                .help("assert what is fixed, such as `parameters(dense)`"),
            );
        } else if !holds {
            let least = |open: bool| if open { "at least " } else { "" };
            self.report(Diagnostic::error("E0619", "an assertion does not hold", condition.span, "is false").note(
                format!(
                    "the left side is {}{}\nthe right side is {}{}",
                    least(a_open),
                    number_text(a),
                    least(b_open),
                    number_text(b)
                ),
            ));
        }
    }

    /// A number in an assertion, and whether it is only a lower bound.
    fn budget(&mut self, scope: &mut Scope<'a>, e: &'a ast::Expr, updates: &Updates) -> Option<(f64, bool)> {
        if let ExprKind::Call { callee, arguments } = &e.kind
            && let ExprKind::Name(what) = &callee.kind
            && matches!(what.as_str(), "parameters" | "memory")
            && scope.find(what).is_none()
        {
            let of = match arguments.as_slice() {
                [ast::Argument { value: ast::Expr { kind: ExprKind::Name(n), .. }, .. }] => n.as_str(),
                _ => "",
            };
            let memory = what == "memory";
            return match of {
                "dense" => {
                    let cost = |p: &din_program::schema::Parameter| {
                        let slots = updates
                            .all
                            .get(p.update as usize)
                            .map_or(0, |u| u.slots.iter().filter(|s| s.per == SlotScope::Weight).count());
                        p.width() as f64 * if memory { 4.0 * (1 + slots) as f64 } else { 1.0 }
                    };
                    Some((self.parameters.iter().map(cost).sum(), false))
                }
                "tables" => {
                    let mut total = 0.0;
                    let mut open = false;
                    for t in &self.declarations.tables {
                        let rows = match t.kind {
                            TableKind::Fixed { size } => size as f64,
                            TableKind::Dynamic { .. } => {
                                open = true;
                                1.0
                            }
                        };
                        let mut numbers = f64::from(t.width);
                        if memory && let Some(u) = updates.all.get(t.update as usize) {
                            for s in &u.slots {
                                numbers += if s.per == SlotScope::Weight { f64::from(t.width) } else { 1.0 };
                            }
                        }
                        total += rows * numbers * if memory { 4.0 } else { 1.0 };
                    }
                    Some((total, open))
                }
                _ => {
                    self.report(
                        Diagnostic::error("E0619", format!("`{what}` of what?"), e.span, "not understood")
                            .help(format!("write `{what}(dense)` or `{what}(tables)`")),
                    );
                    None
                }
            };
        }
        match self.expr(scope, e) {
            Value::Number(n) | Value::Quantity(n) => Some((n, false)),
            Value::Poison => None,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error("E0619", "an assertion compares numbers", e.span, found)
                        .help("write `parameters(dense) < 1_000_000`"),
                );
                None
            }
        }
    }
}

fn name_of(metric: &ast::Metric) -> &str {
    &metric.name.name
}
