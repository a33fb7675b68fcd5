//! Distributions: how a label is predicted, and what of a prediction the loss can read.

use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::value::{ExprValue, Tensor, counted, number_text};
use super::walk::InputKey;
use crate::graph::{BATCH, BinaryOp, InputKind, NodeId, Op, Shape, UnaryOp};
use din_grammar::ast::{self, ExprKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{Distribution, LabelKind};

/// A word before the parameters of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DistributionName {
    Bernoulli,
    Normal,
    Poisson,
    Quantile,
    Categorical,
    Ordinal,
}

impl DistributionName {
    pub const ALL: [(&'static str, Self); 6] = [
        ("bernoulli", Self::Bernoulli),
        ("normal", Self::Normal),
        ("poisson", Self::Poisson),
        ("quantile", Self::Quantile),
        ("categorical", Self::Categorical),
        ("ordinal", Self::Ordinal),
    ];

    pub fn of(distribution: Distribution) -> Self {
        match distribution {
            Distribution::Bernoulli => Self::Bernoulli,
            Distribution::Normal => Self::Normal,
            Distribution::Poisson => Self::Poisson,
            Distribution::Quantile { .. } => Self::Quantile,
            Distribution::Categorical { .. } => Self::Categorical,
            Distribution::Ordinal { .. } => Self::Ordinal,
        }
    }

    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(_, name)| *name == self).map(|(text, _)| *text).expect("`ALL` lists every name")
    }

    /// Its parameters that are tensors.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Bernoulli => &["logit", "probability"],
            Self::Normal => &["mean", "std"],
            Self::Poisson => &["rate", "log_rate"],
            Self::Quantile => &["value"],
            Self::Categorical => &["logits"],
            Self::Ordinal => &["score"],
        }
    }

    /// How it is written.
    pub fn example(self) -> &'static str {
        match self {
            Self::Bernoulli => "bernoulli(logit = …)",
            Self::Normal => "normal(mean = …)",
            Self::Poisson => "poisson(log_rate = …)",
            Self::Quantile => "quantile(0.9, value = …)",
            Self::Categorical => "categorical(logits = …)",
            Self::Ordinal => "ordinal(score = …)",
        }
    }

    /// What the loss and its functions can read of a prediction.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Bernoulli => &["logit", "probability", "label", "present"],
            Self::Normal => &["mean", "std", "label", "present"],
            Self::Poisson => &["rate", "log_rate", "label", "present"],
            Self::Quantile => &["value", "level", "label", "present"],
            Self::Categorical => &["logits", "probabilities", "one_hot", "label", "present"],
            Self::Ordinal => &["log_probabilities", "probabilities", "one_hot", "label", "present"],
        }
    }

    /// The loss that the library has for it.
    pub fn loss(self) -> &'static str {
        match self {
            Self::Bernoulli => "cross_entropy",
            Self::Normal => "squared_error",
            Self::Poisson => "poisson_nll",
            Self::Quantile => "pinball",
            Self::Categorical => "softmax_cross_entropy",
            Self::Ordinal => "ordinal_nll",
        }
    }

    /// Whether it predicts labels that are one of two classes or more.
    pub fn is_of_classes(self) -> bool {
        match self {
            Self::Bernoulli | Self::Categorical | Self::Ordinal => true,
            Self::Normal | Self::Poisson | Self::Quantile => false,
        }
    }
}

/// How a label of the kind is predicted most often; `None` of one that is not predicted.
pub(super) fn usual(kind: LabelKind) -> Option<DistributionName> {
    match kind {
        LabelKind::Binary => Some(DistributionName::Bernoulli),
        LabelKind::Number => Some(DistributionName::Normal),
        LabelKind::Count => Some(DistributionName::Poisson),
        LabelKind::Weight => None,
        LabelKind::Class { .. } => Some(DistributionName::Categorical),
    }
}

/// `normal(mean = …, std = …)` as it is written.
pub(super) struct DistributionCall<'a> {
    pub distribution: Distribution,
    /// The parameters that are tensors, in the order written.
    pub parameters: Vec<(&'static str, &'a ast::Expr)>,
}

/// A prediction of one walk: what its parameters are in the graph.
#[derive(Clone, Copy, Debug)]
pub(super) struct PredictedValue {
    pub distribution: Distribution,
    /// Logit, mean, rate, the value of a quantile, or a logit per class.
    pub root: NodeId,
    /// Of a normal distribution whose `std` is given.
    pub std: Option<NodeId>,
    /// Of a Poisson distribution: the logarithm of its rate.
    pub log_rate: Option<NodeId>,
}

impl<'a> Elaborator<'a> {
    /// The distribution of a value of the network that stands in its place, as in `example`.
    fn meant_distribution(
        &self,
        scope: &NameScope<'a>,
        word: &str,
        value: &ast::Expr,
        example: &str,
    ) -> Option<String> {
        let text = self.on_one_line(value.span);
        let probability = word == "sigmoid" && example.starts_with("bernoulli");
        self.has_meaning(scope, word).then(|| match probability {
            true => format!("bernoulli(probability = {text})"),
            false => example.replace('…', &text),
        })
    }

    /// Reads `bernoulli(logit = …)` and the like.
    pub fn distribution_call(
        &mut self,
        scope: &mut NameScope<'a>,
        distribution: &'a ast::Expr,
        kind: LabelKind,
    ) -> Option<DistributionCall<'a>> {
        let example = usual(kind).unwrap_or(DistributionName::Normal).example();
        let wrong = |me: &mut Self, span: Span, text: &str, example: &str| {
            me.report(
                Diagnostic::error("E0608", "a label is predicted by a distribution", span, text)
                    .help(format!("write `{example}`")),
            );
            None
        };
        let ExprKind::Call { callee, arguments } = &distribution.kind else {
            return wrong(self, distribution.span, "not a distribution", example);
        };
        let ExprKind::Name(word) = &callee.kind else { return wrong(self, callee.span, "not a distribution", example) };
        let Some((_, name)) = DistributionName::ALL.into_iter().find(|(text, _)| text == word) else {
            let word = ast::Ident { name: word.clone(), span: callee.span };
            // A value of the network where the distribution is to be said.
            if let Some(example) = self.meant_distribution(scope, &word.name, distribution, example) {
                let d =
                    Diagnostic::error("E0608", "a label is predicted by a distribution", distribution.span, "a value");
                self.report(d.help(format!("write `{example}`")).edit(distribution.span, example));
                return None;
            }
            self.unknown_word("E0608", "distribution", &word, &DistributionName::ALL.map(|(text, _)| text));
            return None;
        };
        let example = name.example();
        let mut parameters: Vec<(&'static str, &'a ast::Expr)> = Vec::new();
        let mut level = None;
        for (place, argument) in arguments.iter().enumerate() {
            if !self.no_axis(name.text(), argument) {
                return None;
            }
            let given = argument.name.as_ref().map(|n| n.name.as_str());
            if name == DistributionName::Quantile && (given == Some("level") || (given.is_none() && place == 0)) {
                level = Some(&argument.value);
                continue;
            }
            let Some(given) = given else {
                let which = format!("{}?", name.parameters().join(" or "));
                return wrong(self, argument.span, &which, example);
            };
            let Some(&parameter) = name.parameters().iter().find(|p| **p == given) else {
                let text = format!("not a parameter of `{}`", name.text());
                return wrong(self, argument.span, &text, example);
            };
            if parameters.iter().any(|(p, _)| *p == parameter) {
                return wrong(self, argument.span, "given twice", example);
            }
            parameters.push((parameter, &argument.value));
        }
        let level = match (name, level) {
            (DistributionName::Quantile, Some(level)) => Some(self.quantile_level(scope, level)?),
            (DistributionName::Quantile, None) => return wrong(self, distribution.span, "which quantile?", example),
            (
                DistributionName::Bernoulli
                | DistributionName::Normal
                | DistributionName::Poisson
                | DistributionName::Categorical
                | DistributionName::Ordinal,
                _,
            ) => None,
        };
        let has = |p: &str| parameters.iter().any(|(given, _)| *given == p);
        let enough = match name {
            DistributionName::Bernoulli | DistributionName::Poisson => parameters.len() == 1,
            DistributionName::Normal => has("mean"),
            DistributionName::Quantile => has("value"),
            DistributionName::Categorical => has("logits"),
            DistributionName::Ordinal => has("score"),
        };
        // Of a label without classes the distribution is refused.
        let classes = match kind {
            LabelKind::Class { size } => size,
            LabelKind::Binary | LabelKind::Number | LabelKind::Count | LabelKind::Weight => 2,
        };
        if !enough {
            return wrong(self, distribution.span, &counted(parameters.len(), "parameter"), example);
        }
        let of = match name {
            DistributionName::Bernoulli => Distribution::Bernoulli,
            DistributionName::Normal => Distribution::Normal,
            DistributionName::Poisson => Distribution::Poisson,
            DistributionName::Quantile => {
                Distribution::Quantile { level: level.expect("a quantile without a level is refused above") }
            }
            DistributionName::Categorical => Distribution::Categorical { classes },
            DistributionName::Ordinal => Distribution::Ordinal { classes },
        };
        Some(DistributionCall { distribution: of, parameters })
    }

    /// The level of a quantile: above 0 and below 1.
    fn quantile_level(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<f64> {
        let value = self.expr(scope, e);
        let level = self.number(value, "the level of a quantile", e.span)?;
        if level > 0.0 && level < 1.0 {
            return Some(level);
        }
        self.report(
            Diagnostic::error("E0608", "the level of a quantile is above 0 and below 1", e.span, number_text(level))
                .help("write the share of the labels that lie below it, such as `quantile(0.9, value = …)`"),
        );
        None
    }

    /// Reports a distribution that does not predict labels of the kind.
    pub fn fits_label(&mut self, label: usize, of: Distribution, span: Span) -> bool {
        let declared = &self.declarations.schema.labels[label];
        let kind = declared.kind;
        // Of a label whose kind is unknown the fault has been reported.
        if of.predicts(kind) || self.unpredicted {
            return true;
        }
        let word = kind.word();
        let name = DistributionName::of(of).text();
        let message = format!("`{name}` does not predict the label `{}`", declared.name);
        let mut d = Diagnostic::error("E0608", message, span, format!("the label is a `{word}`"))
            .label(self.declarations.label_spans[label], "declared here");
        d.help = Some(match (usual(kind), of) {
            (None, _) => "the loss reads a weight, `w * cross_entropy(click)`; it is not predicted".into(),
            (Some(_), Distribution::Poisson) if kind == LabelKind::Number => {
                "`poisson` predicts a `count`; for a `number` write `normal(mean = …)`".into()
            }
            (Some(_), Distribution::Bernoulli) if matches!(kind, LabelKind::Class { .. }) => {
                "`bernoulli` predicts a `binary` label; for classes write `categorical(logits = …)`, or \
                 `ordinal(score = …)` if they are in an order"
                    .into()
            }
            (Some(usual), _) => format!("write `{}`, or declare the label as another kind", usual.example()),
        });
        self.report(d);
        false
    }

    /// `.logit`, `.mean`, `.label` and the like of a prediction.
    pub fn prediction_field(&mut self, p: usize, named: Span, name: &ast::Ident, span: Span) -> ExprValue<'a> {
        let label = self.predictions[p].label;
        if name.name == "present" {
            return self.presence_field(label, named, span);
        }
        self.note_label(label, named);
        let Some(Some(predicted)) = self.walk.predicted.get(p).copied() else { return ExprValue::Poison };
        let of = DistributionName::of(predicted.distribution);
        let root = predicted.root;
        let graph = &mut self.walk.graph;
        let node = match (of, name.name.as_str()) {
            (_, "label") => self.label_node(label, span),
            (DistributionName::Bernoulli, "logit")
            | (DistributionName::Normal, "mean")
            | (DistributionName::Poisson, "rate")
            | (DistributionName::Quantile, "value") => root,
            (DistributionName::Categorical, "logits") | (DistributionName::Ordinal, "log_probabilities") => root,
            (DistributionName::Categorical, "probabilities") => {
                let logits = ExprValue::Tensor(Tensor { node: root, fields: None });
                return self.softmax_of_components(logits, span, span);
            }
            (DistributionName::Ordinal, "probabilities") => graph.unary(UnaryOp::Exp, root, span),
            (DistributionName::Categorical | DistributionName::Ordinal, "one_hot") => {
                let classes = graph.node(root).width();
                self.one_hot(label, classes, span)
            }
            (DistributionName::Bernoulli, "probability") => graph.unary(UnaryOp::Sigmoid, root, span),
            (DistributionName::Normal, "std") => match predicted.std {
                Some(std) => std,
                None => return self.no_std(p, name),
            },
            (DistributionName::Poisson, "log_rate") => {
                predicted.log_rate.expect("every Poisson prediction has the logarithm of its rate")
            }
            (DistributionName::Quantile, "level") => {
                let Distribution::Quantile { level } = predicted.distribution else {
                    unreachable!("the name is that of the distribution")
                };
                return ExprValue::Number(level);
            }
            (
                DistributionName::Bernoulli
                | DistributionName::Normal
                | DistributionName::Poisson
                | DistributionName::Quantile
                | DistributionName::Categorical
                | DistributionName::Ordinal,
                _,
            ) => return self.unknown_word("E0213", "field", name, of.fields()),
        };
        ExprValue::Tensor(Tensor { node, fields: None })
    }

    fn no_std(&mut self, p: usize, name: &ast::Ident) -> ExprValue<'a> {
        let at = self.walk.predicted_at[p];
        let label = &self.predictions[p].name;
        let message = format!("the prediction of `{label}` has no `std`");
        self.fault(
            Diagnostic::error("E0213", message, name.span, "not given")
                .label(at, "predicted here")
                .help("give it: `normal(mean = …, std = softplus(…))`; or take `squared_error`, which needs none"),
        )
    }

    /// What the loss can read of a prediction, from its one parameter or two; `probability` stands
    /// for the logit that was made of it, and `score` for the logarithms of probabilities.
    pub fn predicted_value(
        &mut self,
        distribution: Distribution,
        parameters: &[(&'static str, NodeId)],
        span: Span,
    ) -> PredictedValue {
        let of = |name: &str| parameters.iter().find(|(p, _)| *p == name).map(|(_, node)| *node);
        let graph = &mut self.walk.graph;
        let (root, log_rate) = match distribution {
            Distribution::Bernoulli => (of("logit").or(of("probability")), None),
            Distribution::Normal => (of("mean"), None),
            Distribution::Quantile { .. } => (of("value"), None),
            Distribution::Poisson => match (of("rate"), of("log_rate")) {
                (Some(rate), _) => (Some(rate), Some(graph.unary(UnaryOp::Log, rate, span))),
                (None, log_rate) => (log_rate.map(|l| graph.unary(UnaryOp::Exp, l, span)), log_rate),
            },
            Distribution::Categorical { .. } => (of("logits"), None),
            Distribution::Ordinal { .. } => (of("score"), None),
        };
        PredictedValue {
            distribution,
            root: root.expect("a distribution's call has its parameters"),
            std: of("std"),
            log_rate,
        }
    }

    /// The label's values in the graph.
    pub fn label_node(&mut self, label: u32, span: Span) -> NodeId {
        let name = format!("label {}", self.declarations.schema.labels[label as usize].name);
        let input = self.input(InputKey::Label(label), name, InputKind::Label { label }, BATCH, Shape::scalar());
        self.walk.graph.input(input, span)
    }

    /// 1 at the class that the label is, else 0.
    fn one_hot(&mut self, label: u32, classes: usize, span: Span) -> NodeId {
        let label = self.label_node(label, span);
        let graph = &mut self.walk.graph;
        let numbers: Vec<NodeId> = (0..classes).map(|class| graph.constant(class as f64, span)).collect();
        const FITS: &str = "a scalar per sample compares with a vector";
        let numbers = graph.concat(numbers, span).expect("scalars can be joined");
        graph.binary(BinaryOp::Equal, numbers, label, span).expect(FITS)
    }

    /// `.present` of a label that the model names at `named`.
    pub fn presence_field(&mut self, label: u32, named: Span, span: Span) -> ExprValue<'a> {
        self.walk.presence_read.push((label, named));
        ExprValue::Tensor(Tensor { node: self.presence(label, span), fields: None })
    }

    /// 1 for each sample whose label is known, else 0.
    pub fn presence(&mut self, label: u32, span: Span) -> NodeId {
        let declared = &self.declarations.schema.labels[label as usize];
        if declared.missing.is_none() {
            return self.walk.graph.constant_of(1.0, BATCH, Shape::scalar(), span);
        }
        let name = format!("present {}", declared.name);
        let input = self.input(InputKey::Present(label), name, InputKind::Present { label }, BATCH, Shape::scalar());
        self.walk.graph.input(input, span)
    }

    /// Runs `body`, which gives a value and the condition under which that counts. The labels of
    /// which the condition says that they are known are not noted as read by it.
    pub fn where_known<T>(&mut self, body: impl FnOnce(&mut Self) -> (T, Option<NodeId>)) -> T {
        let outside = std::mem::take(&mut self.walk.bare);
        let (value, condition) = body(self);
        let inside = std::mem::replace(&mut self.walk.bare, outside);
        let known = condition.map_or(Vec::new(), |condition| self.labels_known(condition));
        for (label, named) in inside.into_iter().filter(|(label, _)| !known.contains(label)) {
            self.note_label(label, named);
        }
        value
    }

    /// The labels that are known wherever a condition holds: it is their presence, or that and
    /// more.
    fn labels_known(&self, condition: NodeId) -> Vec<u32> {
        let mut known = Vec::new();
        let mut parts = vec![condition];
        while let Some(part) = parts.pop() {
            let node = self.walk.graph.node(part);
            if let Op::Input(input) = node.op
                && let InputKind::Present { label } = self.walk.graph.inputs[input.0 as usize].kind
            {
                known.push(label);
            } else if node.op == Op::Binary(BinaryOp::Min) {
                // `a and b`: the lesser of their truths.
                let truths: Option<Vec<NodeId>> = node.operands.iter().map(|&x| self.truth_of(x)).collect();
                parts.extend(truths.into_iter().flatten());
            }
        }
        known
    }

    /// What a value is the truth of, 0 or 1: `not not x`.
    fn truth_of(&self, value: NodeId) -> Option<NodeId> {
        let not = |value: NodeId| {
            let node = self.walk.graph.node(value);
            (node.op == Op::Unary(UnaryOp::Not)).then(|| node.operands[0])
        };
        not(not(value)?)
    }

    /// Notes that the loss reads a label, which may have to be under `where present`.
    pub fn note_label(&mut self, label: u32, named: Span) {
        if !self.walk.bare.contains(&(label, named)) {
            self.walk.bare.push((label, named));
        }
    }
}
