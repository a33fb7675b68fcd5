//! Conditions of metrics: `auc(bought) where click.label`.

use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::walk::Context;
use crate::graph::{BATCH, GLOBAL, Shape};
use din_grammar::Diagnostic;
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_program::schema::{Output, OutputPurpose};

impl<'a> Elaborator<'a> {
    /// Finds the conditions of all metrics of the report, each once.
    pub(super) fn collect_conditions(&mut self, model: &'a ast::Model) {
        let reports = model
            .members
            .iter()
            .filter_map(|member| if let MemberKind::Report { metrics } = &member.kind { Some(metrics) } else { None });
        for metric in reports.flatten() {
            let ExprKind::Where { condition, .. } = &metric.kind else { continue };
            let condition: &'a ast::Expr = condition;
            let text = self.condition_text(condition);
            if !is_present(condition) && !self.conditions.iter().any(|(known, _)| *known == text) {
                self.conditions.push((text, condition));
            }
        }
    }

    /// A condition as it is written, on one line.
    fn condition_text(&self, condition: &ast::Expr) -> String {
        self.sources.text(condition.span).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Which of the model's outputs a condition is, and its text.
    pub(super) fn condition_of_metric(&mut self, condition: &'a ast::Expr) -> Option<(u32, String)> {
        if is_present(condition) {
            let message = "metrics leave out samples whose label is missing";
            let d = Diagnostic::error("E0614", message, condition.span, "always so");
            self.report(d.help("remove `where present`"));
            return None;
        }
        let text = self.condition_text(condition);
        match self.conditions.iter().position(|(known, _)| *known == text) {
            Some(index) => Some(((self.outputs.len() + index) as u32, text)),
            None => {
                let message = "no reported metric has this condition";
                let d = Diagnostic::error("E0621", message, condition.span, "cannot choose a checkpoint");
                self.report(d.help("write it as it stands in `report`"));
                None
            }
        }
    }

    /// Computes the conditions in the graph of the walk, after the outputs.
    pub(super) fn compute_conditions(&mut self, scope: &mut NameScope<'a>) {
        for (_, condition) in self.conditions.clone() {
            let value = self.in_context(Context::Loss, |me| me.expr(scope, condition));
            // A missing label is 0 here.
            self.walk.bare.clear();
            let Some(t) = self.tensor(value, condition.span) else { continue };
            self.walk.bare.clear();
            let node = self.walk.graph.node(t.node);
            let request = Some(node.axis) == self.walk.graph.axes.request();
            if (node.axis != BATCH && !request) || node.shape.width() != 1 {
                let found = match node.axis {
                    GLOBAL => "a value that does not depend on the sample".to_string(),
                    _ => self.describe_tensor(&t),
                };
                let message = "a condition of a metric is one value per sample";
                let d = Diagnostic::error("E0614", message, condition.span, found.clone());
                self.report(d.note(format!("expected [1] for every sample\nfound {found}")));
                continue;
            }
            let mut node = t.node;
            if request {
                let built = self.walk.graph.replicated(node, condition.span);
                node = built.expect("a value per request can be one per sample");
            }
            if self.walk.graph.node(node).shape != Shape::scalar() {
                let built = self.walk.graph.reshape(node, Shape::scalar(), condition.span);
                node = built.expect("its width is 1");
            }
            self.walk.outputs.push(node);
        }
    }

    /// What the inference graph computes beside predictions and loss.
    pub(super) fn all_outputs(&self) -> Vec<Output> {
        let conditions = self.conditions.iter().map(|(text, condition)| Output {
            name: text.clone(),
            purpose: OutputPurpose::Condition,
            width: 1,
            location: self.location(condition.span),
        });
        self.outputs.iter().cloned().chain(conditions).collect()
    }
}

fn is_present(condition: &ast::Expr) -> bool {
    matches!(&condition.kind, ExprKind::Name(name) if name == "present")
}
