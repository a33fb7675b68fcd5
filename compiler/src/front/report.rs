//! `report` and `assert`: what is measured, and what a model may cost.

use super::elaborator::Elaborator;
use super::load::listed;
use super::scope::{NameScope, Referent};
use super::update::Updates;
use super::value::{ExprValue, number_text};
use super::walk::Context;
use din_grammar::ast::{self, BinaryOperator, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::SlotScope;
use din_program::schema::{
    FeatureKind, GroupBy, GroupWeight, Metric, MetricKind, MetricName, RankedMeasure, TableKind,
};

impl<'a> Elaborator<'a> {
    /// Everything that `report` lists.
    pub fn metrics(&mut self, scope: &mut NameScope<'a>, model: &'a ast::Model) -> Vec<Metric> {
        let mut all: Vec<(Metric, Span)> = Vec::new();
        let mut reported = false;
        for member in &model.members {
            let MemberKind::Report { metrics } = &member.kind else { continue };
            reported = true;
            for e in metrics {
                let Some(metric) = self.metric(scope, e) else { continue };
                if let Some((_, first)) = all.iter().find(|(m, _)| same_metric(m, &metric)) {
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
        let mut metrics: Vec<Metric> = all.into_iter().map(|m| m.0).collect();
        self.tell_apart(&mut metrics);
        metrics
    }

    /// Names that several metrics would have say what groups the rows.
    fn tell_apart(&self, metrics: &mut [Metric]) {
        let names: Vec<String> = metrics.iter().map(|m| m.name.clone()).collect();
        for metric in metrics {
            let Some(by) = metric.kind.grouping() else { continue };
            if names.iter().filter(|n| **n == metric.name).count() > 1 {
                let schema = &self.declarations.schema;
                let by = match by {
                    GroupBy::Key(k) => schema.keys[k as usize].name.clone(),
                    GroupBy::Feature(f) | GroupBy::Common(f) => schema.features[f as usize].path(),
                };
                let label = &self.predictions[metric.prediction as usize].name;
                metric.name = metric_name(&metric.kind, label, Some(&by));
            }
        }
    }

    /// `gauc(click, by = user_id, weight = clicks)`
    pub fn metric(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<Metric> {
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
            if !matches!(value, ExprValue::Poison) {
                let found = self.describe(&value);
                self.report(Diagnostic::error("E0206", format!("`{name}` is not a metric"), callee.span, found));
            }
            return None;
        };
        let id = definition.item?;
        let item = self.item(id);
        let ast::Item::Metric(metric) = item else {
            let kind = super::load::item_kind(item);
            self.report(
                Diagnostic::error("E0206", format!("`{name}` is not a metric"), callee.span, format!("a {kind}"))
                    .note(format!("expected a metric\nfound the {kind} `{name}`")),
            );
            return None;
        };
        if self.modules[id.module].name != "std.metric" {
            self.not_built("metrics outside `std.metric`", "report one of the library", callee.span);
            return None;
        }
        let mut target = None;
        let mut by = None;
        let mut weight = GroupWeight::Impressions;
        let mut k = None;
        let mut given: Vec<(usize, Span)> = Vec::new();
        let mut faulty = false;
        for (i, a) in arguments.iter().enumerate() {
            if !self.no_axis(name, a) {
                faulty = true;
            }
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
                "weight" => match self.group_weight(&a.value) {
                    Some(w) => weight = w,
                    None => faulty = true,
                },
                "k" => match self.samples_of_group(scope, &a.value) {
                    Some(samples) => k = Some(samples),
                    None => faulty = true,
                },
                other => unreachable!("`std.metric` has no parameter `{other}`"),
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
        let kind = MetricName::from_text(&metric.name.name).expect("`MetricName` has every metric of `std.metric`");
        let ranked = |measure| {
            let k = k.unwrap_or(RANKED_SAMPLES);
            Some(MetricKind::Ranked { measure, by: by?, k })
        };
        let kind = match kind {
            MetricName::Auc => MetricKind::Auc,
            MetricName::Gauc => MetricKind::Gauc { by: by?, weight },
            MetricName::LogLoss => MetricKind::LogLoss,
            MetricName::PrAuc => MetricKind::PrAuc,
            MetricName::NormalizedEntropy => MetricKind::NormalizedEntropy,
            MetricName::RelativeInformationGain => MetricKind::RelativeInformationGain,
            MetricName::Calibration => MetricKind::Calibration,
            MetricName::Brier => MetricKind::Brier,
            MetricName::Ndcg => ranked(RankedMeasure::Ndcg)?,
            MetricName::HitRate => ranked(RankedMeasure::HitRate)?,
            MetricName::ReciprocalRank => ranked(RankedMeasure::ReciprocalRank)?,
        };
        Some(Metric { name: metric_name(&kind, label, None), prediction: target as u32, kind })
    }

    /// `k`: how many samples of a group count.
    fn samples_of_group(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<u32> {
        let found = match self.expr(scope, e) {
            ExprValue::Poison => return None,
            ExprValue::Number(n) if n >= 1.0 && n <= f64::from(u32::MAX) && n.fract() == 0.0 => return Some(n as u32),
            ExprValue::Number(n) => number_text(n),
            other => self.describe(&other),
        };
        self.report(
            Diagnostic::error("E0614", "`k` is a whole number of samples, 1 at least", e.span, found)
                .help("write a number such as `k = 10`"),
        );
        None
    }

    pub fn metric_target(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<usize> {
        let value = self.in_context(Context::Loss, |me| me.expr(scope, e));
        self.walk.bare.clear();
        match value {
            ExprValue::Prediction { index, .. } => Some(index),
            ExprValue::Poison => None,
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

    pub fn group_by(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<GroupBy> {
        if let ExprKind::Name(name) = &e.kind
            && let Some(Referent::Key(k)) = scope.find(name).map(|b| b.referent.clone())
        {
            return Some(GroupBy::Key(k as u32));
        }
        let found = match self.expr(scope, e) {
            ExprValue::Poison => return None,
            ExprValue::Feature(f) => {
                let feature = &self.declarations.schema.features[f];
                if feature.sequence.is_none() && !matches!(feature.kind, FeatureKind::Dense { .. }) {
                    let common = feature.common;
                    self.declarations.used_features.insert(f);
                    let f = f as u32;
                    return Some(if common { GroupBy::Common(f) } else { GroupBy::Feature(f) });
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
                .note(format!("expected a key or a feature with one id per sample\nfound {found}"))
                .help("declare one: `key user_id: int64`"),
        );
        None
    }

    pub fn group_weight(&mut self, e: &'a ast::Expr) -> Option<GroupWeight> {
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
    pub fn assert(&mut self, scope: &mut NameScope<'a>, condition: &'a ast::Expr, updates: &Updates) {
        let (op, left, right) = match &condition.kind {
            ExprKind::Binary { op, left, right } if op.is_comparison() => (*op, left, right),
            _ => {
                let mut read = super::names::Names::default();
                super::names::in_expr(condition, &mut read);
                if ["parameters", "memory"].iter().any(|n| read.contains_key(n) && scope.find(n).is_none()) {
                    self.report(
                        Diagnostic::error(
                            "E0619",
                            "an assertion must be a single comparison",
                            condition.span,
                            "not a comparison",
                        )
                        .help("write one `assert` for each: `assert parameters(dense) < 1_000_000`"),
                    );
                    return;
                }
                match self.expr(scope, condition) {
                    ExprValue::Bool(true) | ExprValue::Poison => {}
                    ExprValue::Bool(false) => {
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
        let (Some(l), Some(r)) = (l, r) else { return };
        if let (Some(a), Some(b)) = (l.unit, r.unit)
            && a != b
        {
            self.report(
                Diagnostic::error(
                    "E0619",
                    "the two sides of an assertion must have the same unit",
                    right.span,
                    unit_text(b),
                )
                .label(left.span, unit_text(a))
                .help("compare `parameters(…)` with a number, `memory(…)` with an amount such as `24GiB`"),
            );
            return;
        }
        let (a, a_open, b, b_open) = (l.value, l.open, r.value, r.open);
        let holds = match op {
            BinaryOperator::Less => a < b,
            BinaryOperator::LessEqual => a <= b,
            BinaryOperator::Greater => a > b,
            BinaryOperator::GreaterEqual => a >= b,
            BinaryOperator::Equal => a == b,
            BinaryOperator::NotEqual => a != b,
            BinaryOperator::Or
            | BinaryOperator::And
            | BinaryOperator::Add
            | BinaryOperator::Subtract
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Product
            | BinaryOperator::Power => unreachable!("`op` is a comparison"),
        };
        // Tables that grow are counted with the rows they have at the start: a lower bound.
        let upper = matches!(op, BinaryOperator::Less | BinaryOperator::LessEqual);
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

    /// One side of an assertion.
    fn budget(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr, updates: &Updates) -> Option<Budget> {
        if let ExprKind::Call { callee, arguments } = &e.kind
            && let ExprKind::Name(what) = &callee.kind
            && matches!(what.as_str(), "parameters" | "memory")
            && scope.find(what).is_none()
        {
            let of = match arguments.as_slice() {
                [ast::Argument { name: None, over: None, value: ast::Expr { kind: ExprKind::Name(n), .. }, .. }] => n,
                _ => "",
            };
            let memory = what == "memory";
            let unit = Some(if memory { Unit::Bytes } else { Unit::Weights });
            return match of {
                "dense" => {
                    let cost = |p: &din_program::schema::Parameter| {
                        let slots = updates
                            .all
                            .get(p.update as usize)
                            .map_or(0, |u| u.slots.iter().filter(|s| s.per == SlotScope::Weight).count());
                        p.width() as f64 * if memory { 4.0 * (1 + slots) as f64 } else { 1.0 }
                    };
                    Some(Budget { value: self.parameters.iter().map(cost).sum(), open: false, unit })
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
                    Some(Budget { value: total, open, unit })
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
            ExprValue::Number(value) => Some(Budget { value, open: false, unit: None }),
            ExprValue::Quantity(value) => Some(Budget { value, open: false, unit: Some(Unit::Bytes) }),
            ExprValue::Poison => None,
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

/// A number in an assertion.
struct Budget {
    value: f64,
    /// It is only a lower bound.
    open: bool,
    /// `None` of a plain number.
    unit: Option<Unit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Weights,
    Bytes,
}

fn unit_text(unit: Unit) -> &'static str {
    match unit {
        Unit::Weights => "a number of weights",
        Unit::Bytes => "an amount of memory",
    }
}

/// Whether two metrics measure the same, whatever they are called.
pub(super) fn same_metric(a: &Metric, b: &Metric) -> bool {
    a.prediction == b.prediction && a.kind == b.kind
}

/// `k` where a call does not say it: as in the signatures of `std.metric`.
pub(super) const RANKED_SAMPLES: u32 = 10;

/// `auc(click)`, `gauc(click, by = user_id, weight = clicks)`, `ndcg(click, k = 10)`
fn metric_name(kind: &MetricKind, label: &str, by: Option<&str>) -> String {
    let by = by.map(|by| format!(", by = {by}")).unwrap_or_default();
    let options = match *kind {
        MetricKind::Gauc { weight: GroupWeight::Clicks, .. } => ", weight = clicks".to_string(),
        MetricKind::Gauc { weight: GroupWeight::None, .. } => ", weight = none".to_string(),
        MetricKind::Ranked { k, .. } => format!(", k = {k}"),
        MetricKind::Gauc { weight: GroupWeight::Impressions, .. }
        | MetricKind::Auc
        | MetricKind::LogLoss
        | MetricKind::PrAuc
        | MetricKind::NormalizedEntropy
        | MetricKind::RelativeInformationGain
        | MetricKind::Calibration
        | MetricKind::Brier => String::new(),
    };
    format!("{}({label}{by}{options})", kind.name().text())
}
