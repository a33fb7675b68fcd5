//! `report`: what is measured.

use super::condition::{SAMPLE_WEIGHT, buckets};
use super::elaborator::Elaborator;
use super::foreign;
use super::load::listed;
use super::scope::{NameScope, Referent};
use super::value::{ExprValue, number_text};
use super::walk::Context;
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{
    Distribution, FeatureKind, GroupBy, GroupWeight, Metric, MetricKind, MetricName, OutputPurpose, RankedMeasure,
    SliceBy, Slicing,
};

impl<'a> Elaborator<'a> {
    /// Everything that `report` lists.
    pub fn metrics(&mut self, scope: &mut NameScope<'a>, model: &'a ast::Model) -> Vec<Metric> {
        let mut all: Vec<(Metric, Span)> = Vec::new();
        let mut reported = false;
        for member in &model.members {
            let MemberKind::Report { metrics } = &member.kind else { continue };
            reported = true;
            for ast::ReportedMetric { metric: e, by } in metrics {
                let Some(mut metric) = self.metric(scope, e) else { continue };
                if let Some(by) = by {
                    let Some(slicing) = self.slicing(scope, by) else { continue };
                    metric.slices.push(slicing);
                }
                // The same metric, sliced by something else, is reported once with all its slices.
                if let Some((known, first)) = all.iter_mut().find(|(m, _)| same_metric(m, &metric)) {
                    let new = |slicing: &Slicing| known.slices.iter().all(|other| other.by != slicing.by);
                    if !metric.slices.is_empty() && metric.slices.iter().all(new) {
                        known.slices.append(&mut metric.slices);
                        continue;
                    }
                    let by = by.as_ref();
                    let sliced = by.map(|by| format!(" by {}", self.text_on_one_line(by))).unwrap_or_default();
                    let message = format!("`{}{sliced}` is reported twice", metric.name);
                    let d = Diagnostic::error("E0622", message, e.span, "again here");
                    let first = *first;
                    self.report(d.label(first, "first here").help("remove one of them"));
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
                let of = |index: u32| self.report_values[index as usize - self.outputs.len()].text.as_str();
                let (weights, condition) = (metric.sample_weight.map(of), metric.condition.map(of));
                metric.name = metric_name(&metric.kind, label, Some(&by), weights, condition);
            }
        }
    }

    /// `gauc(click, by = user_id, weight = clicks)`, perhaps `where` a condition holds.
    pub fn metric(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<Metric> {
        let (e, condition) = if let ExprKind::Where { value, condition } = &e.kind {
            (&**value, Some(self.condition_of_metric(condition)?))
        } else {
            (e, None)
        };
        let ExprKind::Call { callee, arguments } = &e.kind else {
            // `ndcg@10(click)`
            let at = match &e.kind {
                ExprKind::Binary { left, .. } => match &left.kind {
                    ExprKind::Name(name) => MetricName::from_text(name),
                    _ => None,
                },
                ExprKind::Name(name) => MetricName::from_text(name),
                _ => None,
            };
            let ranked = matches!(at, Some(MetricName::Ndcg | MetricName::HitRate | MetricName::ReciprocalRank));
            let name = at.map_or("auc", MetricName::text);
            let list = matches!(e.kind, ExprKind::List(_) | ExprKind::Tuple(_));
            self.report(Diagnostic::error("E0614", "a metric is applied to a label", e.span, "not a call").help(
                match ranked {
                    _ if list => "metrics stand without brackets: `report auc(click), log_loss(click)`".to_owned(),
                    true => format!("write `{name}(click, by = user_id, k = 10)`"),
                    false => format!("write `{name}(click)`"),
                },
            ));
            return None;
        };
        let ExprKind::Name(name) = &callee.kind else {
            self.report(Diagnostic::error("E0614", "not a metric", callee.span, "not a name"));
            return None;
        };
        let Some(&definition) = self.modules[scope.module].names.get(name.as_str()) else {
            if !self.has_meaning(scope, name) {
                let names: Vec<&str> = MetricName::ALL.iter().map(|metric| metric.text()).collect();
                self.unknown_word("E0204", "metric", &ast::Ident { name: name.clone(), span: callee.span }, &names);
                return None;
            }
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
        let mut sample_weight = None;
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
                    Some(n) => {
                        let message = format!("unknown argument `{}`", n.name);
                        let d = Diagnostic::error("E0208", message, n.span, "not known here");
                        self.fault(foreign::argument(d, n, &known))
                    }
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
                "target" => target = self.metric_target(scope, name, parameter, &a.value),
                "by" => by = self.group_by(scope, &a.value, Grouping::OfMetric),
                "weight" => match self.group_weight(&a.value) {
                    Some(w) => weight = w,
                    None => faulty = true,
                },
                SAMPLE_WEIGHT => match self.weight_of_metric(&a.value) {
                    Some(index) => sample_weight = Some((index, self.text_on_one_line(&a.value))),
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
            // What is missing may be what was called by another name.
            if p.default.is_none() && !faulty && !given.iter().any(|g| g.0 == i) {
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
            MetricName::Accuracy => MetricKind::Accuracy,
            MetricName::PrAuc => MetricKind::PrAuc,
            MetricName::NormalizedEntropy => MetricKind::NormalizedEntropy,
            MetricName::RelativeInformationGain => MetricKind::RelativeInformationGain,
            MetricName::Calibration => MetricKind::Calibration,
            MetricName::Brier => MetricKind::Brier,
            MetricName::RootMeanSquaredError => MetricKind::RootMeanSquaredError,
            MetricName::MeanAbsoluteError => MetricKind::MeanAbsoluteError,
            MetricName::Xauc => MetricKind::Xauc,
            MetricName::Ndcg => ranked(RankedMeasure::Ndcg)?,
            MetricName::HitRate => ranked(RankedMeasure::HitRate)?,
            MetricName::ReciprocalRank => ranked(RankedMeasure::ReciprocalRank)?,
        };
        let (condition, text) = condition.unzip();
        let (sample_weight, weights) = sample_weight.unzip();
        let name = metric_name(&kind, label, None, weights.as_deref(), text.as_deref());
        Some(Metric { name, prediction: target as u32, kind, condition, sample_weight, slices: Vec::new() })
    }

    /// `by user.city`, `by buckets(ad.price, [1, 10])`: what slices the rows of a metric.
    fn slicing(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<Slicing> {
        let name = self.text_on_one_line(e);
        let of_buckets = matches!(&e.kind, ExprKind::Call { callee, .. }
            if matches!(&callee.kind, ExprKind::Name(name) if name == "buckets"));
        let by = match buckets(e) {
            Some((number, boundaries)) => {
                let output = self.report_value(number, OutputPurpose::Slice);
                let output = output.expect("the numbers that slice have been collected");
                SliceBy::Bucket { output, boundaries: self.boundaries(scope, boundaries)? }
            }
            None if of_buckets => {
                let message = "`buckets` takes a number and its boundaries";
                let d = Diagnostic::error("E0614", message, e.span, "other arguments");
                self.report(d.help("write `by buckets(ad.price, [1, 10, 100])`"));
                return None;
            }
            None => SliceBy::Value(self.group_by(scope, e, Grouping::Slices)?),
        };
        Some(Slicing { name, by })
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

    /// The prediction that a metric measures, of the type that its signature asks for.
    fn metric_target(
        &mut self,
        scope: &mut NameScope<'a>,
        metric: &str,
        parameter: &'a ast::ParameterDecl,
        e: &'a ast::Expr,
    ) -> Option<usize> {
        if let ExprKind::Name(name) = &e.kind
            && scope.find(name).is_none()
            && let Some(defined) = self.value_of_model(scope, name)
        {
            let help = self.name_a_label(metric);
            let message = "a metric compares a label with its prediction";
            let d = Diagnostic::error("E0614", message, e.span, "a value of the network");
            self.report(d.label(defined, "defined here").help(help));
            return None;
        }
        let value = self.in_context(Context::Loss, |me| me.expr(scope, e));
        self.walk.bare.clear();
        match value {
            ExprValue::Prediction { index, .. } => {
                let ty = parameter.ty.as_ref().expect("`std.metric` gives every target a type");
                let ast::TypeKind::Named(word) = &ty.kind else { unreachable!("a target is a prediction") };
                let word = self.type_word(word)?;
                if word.holds(&value) {
                    return Some(index);
                }
                let (expected, found) = (word.text(), self.describe(&value));
                let measures = match self.predictions[index].distribution {
                    Distribution::Bernoulli => {
                        "of a label of 0 and 1, report `auc`, `log_loss` or `brier`, the mean of `(p - y)^2`"
                    }
                    Distribution::Normal | Distribution::Poisson | Distribution::Quantile { .. } => {
                        "for numbers and counts there are `rmse`, `mae` and `xauc`"
                    }
                    Distribution::Categorical { .. } | Distribution::Ordinal { .. } => {
                        "for labels of classes there are `accuracy` and `log_loss`"
                    }
                };
                let message = format!("`{metric}` measures {expected}");
                self.report(
                    Diagnostic::error("E0614", message, e.span, found.clone())
                        .label(self.walk.predicted_at[index], "predicted here")
                        .note(format!("expected {expected}\nfound {found}"))
                        .help(measures),
                );
                None
            }
            ExprValue::Label { index, .. } => {
                self.not_predicted(index, e.span);
                None
            }
            ExprValue::Poison => None,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error("E0614", "a metric compares a label with its prediction", e.span, found.clone())
                        .note(format!("expected the name of a label\nfound {found}"))
                        .help(self.name_a_label(metric)),
                );
                None
            }
        }
    }

    /// Help where a metric is given something else than a label.
    fn name_a_label(&self, metric: &str) -> String {
        let names: Vec<&str> = self.predictions.iter().map(|p| p.name.as_str()).collect();
        match names.first() {
            None => format!("name the label that is predicted: `{metric}(click)`"),
            Some(first) => {
                format!(
                    "name the label, whose prediction is measured: `{metric}({first})`; predicted: {}",
                    listed(&names)
                )
            }
        }
    }

    fn group_by(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr, grouping: Grouping) -> Option<GroupBy> {
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
        let (message, help) = match grouping {
            Grouping::OfMetric => {
                let keys = self.declarations.schema.keys.first().map(|key| key.name.clone());
                let help = match keys {
                    Some(key) => format!("name one: `by = {key}`"),
                    None => "declare one, `key user_id: int64`, and write `by = user_id`".to_owned(),
                };
                ("rows are grouped by a key or a categorical feature", help)
            }
            Grouping::Slices => (
                "rows are sliced by a key, a categorical feature or buckets of a number",
                "of a number, write its boundaries: `by buckets(ad.price, [1, 10, 100])`".to_owned(),
            ),
        };
        self.report(
            Diagnostic::error("E0614", message, e.span, found.clone())
                .note(format!("expected a key or a feature with one id per sample\nfound {found}"))
                .help(help),
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
}

/// What rows are grouped for.
#[derive(Clone, Copy, Debug)]
enum Grouping {
    /// The argument `by` of a metric: one value over all groups.
    OfMetric,
    /// `by` behind a metric: one value per group.
    Slices,
}

/// Whether two metrics measure the same, whatever they are called.
pub(super) fn same_metric(a: &Metric, b: &Metric) -> bool {
    a.prediction == b.prediction && a.kind == b.kind && a.condition == b.condition && a.sample_weight == b.sample_weight
}

/// `k` where a call does not say it: as in the signatures of `std.metric`.
pub(super) const RANKED_SAMPLES: u32 = 10;

/// `auc(click)`, `gauc(click, by = user_id, weight = clicks)`, `ndcg(click, k = 10) where user.new`
fn metric_name(
    kind: &MetricKind,
    label: &str,
    by: Option<&str>,
    weights: Option<&str>,
    condition: Option<&str>,
) -> String {
    let weights = weights.map(|text| format!(", {SAMPLE_WEIGHT} = {text}")).unwrap_or_default();
    let by = by.map(|by| format!(", by = {by}")).unwrap_or_default();
    let options = match *kind {
        MetricKind::Gauc { weight: GroupWeight::Clicks, .. } => ", weight = clicks".to_string(),
        MetricKind::Gauc { weight: GroupWeight::None, .. } => ", weight = none".to_string(),
        MetricKind::Ranked { k, .. } => format!(", k = {k}"),
        MetricKind::Gauc { weight: GroupWeight::Impressions, .. }
        | MetricKind::Auc
        | MetricKind::LogLoss
        | MetricKind::Accuracy
        | MetricKind::PrAuc
        | MetricKind::NormalizedEntropy
        | MetricKind::RelativeInformationGain
        | MetricKind::Calibration
        | MetricKind::Brier
        | MetricKind::RootMeanSquaredError
        | MetricKind::MeanAbsoluteError
        | MetricKind::Xauc => String::new(),
    };
    let condition = condition.map(|text| format!(" where {text}")).unwrap_or_default();
    format!("{}({label}{by}{options}{weights}){condition}", kind.name().text())
}
