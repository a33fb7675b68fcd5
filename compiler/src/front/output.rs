//! What prediction writes: outputs, and the columns of predictions, labels and keys.

use super::distribution::DistributionName;
use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::value::ExprValue;
use crate::graph::{BATCH, GLOBAL};
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{Distribution, Label, LabelKind, Output, OutputPurpose};

/// What the columns of a prediction are called behind the name of its label. Of a faulty one it
/// does not matter.
fn columns(distribution: &ast::Expr, label: Option<&Label>) -> Vec<String> {
    let ExprKind::Call { callee, .. } = &distribution.kind else { return Vec::new() };
    let ExprKind::Name(word) = &callee.kind else { return Vec::new() };
    let named = DistributionName::ALL.into_iter().find(|(text, _)| text == word);
    let (Some((_, name)), Some(label)) = (named, label) else { return Vec::new() };
    let classes = match label.kind {
        LabelKind::Class { size } => size,
        LabelKind::Binary | LabelKind::Number | LabelKind::Count | LabelKind::Weight => 0,
    };
    let of = match name {
        DistributionName::Bernoulli => Distribution::Bernoulli,
        DistributionName::Normal => Distribution::Normal,
        DistributionName::Poisson => Distribution::Poisson,
        DistributionName::Quantile => Distribution::Quantile { level: 0.5 },
        DistributionName::Categorical => Distribution::Categorical { classes },
        DistributionName::Ordinal => Distribution::Ordinal { classes },
    };
    of.columns(label).into_iter().map(|(_, what)| what).collect()
}

impl<'a> Elaborator<'a> {
    /// `output query = e`: a value of the network with a name, as by `let`, that prediction writes
    /// on request.
    pub(super) fn output(&mut self, scope: &mut NameScope<'a>, name: &'a ast::Ident, value: &'a ast::Expr) {
        self.fresh(scope, name);
        let found = self.under(Some(name.name.clone()), true, |me| me.expr(scope, value));
        let Some(t) = self.tensor(found, value.span) else {
            scope.bind(&name.name, ExprValue::Poison, name.span);
            return;
        };
        self.note(scope, name.span, &ExprValue::Tensor(t.clone()));
        scope.bind(&name.name, ExprValue::Tensor(t.clone()), name.span);
        let node = self.walk.graph.node(t.node);
        let request = Some(node.axis) == self.walk.graph.axes.request();
        if node.axis != BATCH && !request {
            let text = self.describe_tensor(&t);
            let message = format!("the output `{}` is a vector per sample", name.name);
            let d = Diagnostic::error("E0624", message, value.span, text.clone());
            self.report(if node.axis == GLOBAL {
                d.note("expected a vector for every sample\nfound a value that does not depend on the sample")
                    .help("weights are in the checkpoints of a run")
            } else {
                let axis = self.axis_text(node.axis);
                d.note(format!("expected a vector for every sample\nfound {text}"))
                    .help(format!("reduce it over {axis}, such as by `sum` or `mean`"))
            });
            return;
        }
        let width = node.shape.width();
        let node = self.per_sample(t.node, value.span);
        self.walk.outputs.push(node);
        // The second walk finds them in the same order.
        if !self.outputs.iter().any(|output| output.name == name.name) {
            let location = self.location(name.span);
            let purpose = OutputPurpose::Written;
            self.outputs.push(Output { name: name.name.clone(), purpose, width: width as u32, location });
        }
    }

    /// Two of the columns that `din predict` writes must not have one name.
    pub(super) fn output_columns(&mut self, members: &[&'a ast::Member]) {
        let mut probabilities: Vec<(String, Span, &str)> = Vec::new();
        let mut labels: Vec<(String, Span, &str)> = Vec::new();
        let mut keys: Vec<(String, Span, &str)> = Vec::new();
        let mut outputs: Vec<(String, Span, &str)> = Vec::new();
        for member in members {
            match &member.kind {
                MemberKind::Predict { target, distribution } => {
                    let label = self.declarations.schema.labels.iter().find(|label| label.name == target.name);
                    for what in columns(distribution, label) {
                        probabilities.push((format!("{}_{what}", target.name), target.span, "predicted here"));
                    }
                }
                MemberKind::Label { name, column, .. } => {
                    let at = column.as_ref().unwrap_or(name);
                    labels.push((at.name.clone(), at.span, "a label here"));
                }
                MemberKind::Key { name, column, .. } => {
                    let at = column.as_ref().unwrap_or(name);
                    keys.push((at.name.clone(), at.span, "a key here"));
                }
                MemberKind::Output { name, .. } => outputs.push((name.name.clone(), name.span, "put out here")),
                MemberKind::Features { .. }
                | MemberKind::Sequence { .. }
                | MemberKind::Embedding(_)
                | MemberKind::Hyper { .. }
                | MemberKind::Let(_)
                | MemberKind::Layer(_)
                | MemberKind::Param(_)
                | MemberKind::Constant(_)
                | MemberKind::Train(_)
                | MemberKind::Report { .. }
                | MemberKind::Assert { .. }
                | MemberKind::Common { .. }
                | MemberKind::Request(_) => {}
            }
        }
        // What a group has twice in itself is another fault, but for keys.
        let mut seen = probabilities;
        for (group, among_themselves) in [(labels, false), (keys, true), (outputs, true)] {
            let known = seen.len();
            for column in group {
                let end = if among_themselves { seen.len() } else { known };
                if let Some((name, first, what)) = seen[..end].iter().find(|b| b.0 == column.0) {
                    let d = Diagnostic::error(
                        "E0415",
                        format!("two columns of the output are called `{name}`"),
                        column.1,
                        "passed through to the output of `din predict`",
                    );
                    let d = d.label(*first, *what);
                    self.report(d.help("name another column with `from`, or remove one of them"));
                }
                seen.push(column);
            }
        }
    }
}
