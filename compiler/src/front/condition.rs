//! What metrics read of each sample beside its prediction: conditions, `auc(bought) where
//! click.label`, weights, `auc(click, sample_weight = importance)`, and numbers that slice,
//! `auc(click) by buckets(ad.price, [1, 10])`.

use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::walk::Context;
use crate::graph::{BATCH, GLOBAL, Shape};
use din_grammar::Diagnostic;
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_program::schema::{Output, OutputPurpose};

/// The parameter of metrics that says how much a sample counts.
pub(super) const SAMPLE_WEIGHT: &str = "sample_weight";

/// An expression of `report` that is computed once per sample.
#[derive(Clone)]
pub(super) struct ReportValue<'a> {
    /// As it is written, on one line.
    pub text: String,
    pub expr: &'a ast::Expr,
    pub purpose: OutputPurpose,
}

impl<'a> Elaborator<'a> {
    /// Finds what all metrics of the report read, each once.
    pub(super) fn collect_report_values(&mut self, module: usize, model: &'a ast::Model) {
        let reports = model
            .members
            .iter()
            .filter_map(|member| if let MemberKind::Report { metrics } = &member.kind { Some(metrics) } else { None });
        for reported in reports.flatten() {
            let mut call = &reported.metric;
            if let ExprKind::Where { value, condition } = &call.kind {
                if !is_present(condition) {
                    self.collect_report_value(condition, OutputPurpose::Condition);
                }
                call = value;
            }
            if let Some(weight) = self.sample_weight(module, call) {
                self.collect_report_value(weight, OutputPurpose::SampleWeight);
            }
            if let Some((number, _)) = reported.by.as_ref().and_then(buckets) {
                self.collect_report_value(number, OutputPurpose::Slice);
            }
        }
    }

    /// The argument for a metric's parameter `sample_weight`, by its name or place.
    fn sample_weight(&self, module: usize, call: &'a ast::Expr) -> Option<&'a ast::Expr> {
        let ExprKind::Call { callee, arguments } = &call.kind else { return None };
        let ExprKind::Name(name) = &callee.kind else { return None };
        let ast::Item::Metric(metric) = self.item(self.modules[module].names.get(name)?.item?) else { return None };
        let is_weight = |(place, argument): &(usize, &ast::Argument)| match &argument.name {
            Some(name) => name.name == SAMPLE_WEIGHT,
            None => metric.parameters.get(*place).is_some_and(|parameter| parameter.name.name == SAMPLE_WEIGHT),
        };
        arguments.iter().enumerate().find(is_weight).map(|(_, argument)| &argument.value)
    }

    /// Which of the model's outputs the weights of a metric's samples are.
    pub(super) fn weight_of_metric(&mut self, weight: &'a ast::Expr) -> Option<u32> {
        let index = self.report_value(weight, OutputPurpose::SampleWeight);
        if index.is_none() {
            let message = "no reported metric has these weights";
            let d = Diagnostic::error("E0621", message, weight.span, "cannot choose a checkpoint");
            self.report(d.help("write the metric as it stands in `report`"));
        }
        index
    }

    fn collect_report_value(&mut self, expr: &'a ast::Expr, purpose: OutputPurpose) {
        if self.report_value(expr, purpose).is_none() {
            let text = self.text_on_one_line(expr);
            self.report_values.push(ReportValue { text, expr, purpose });
        }
    }

    /// An expression as it is written, on one line.
    pub(super) fn text_on_one_line(&self, e: &ast::Expr) -> String {
        self.on_one_line(e.span)
    }

    /// Which of the model's outputs an expression of `report` is, where it has been collected.
    pub(super) fn report_value(&self, e: &ast::Expr, purpose: OutputPurpose) -> Option<u32> {
        let text = self.text_on_one_line(e);
        let index = self.report_values.iter().position(|known| known.purpose == purpose && known.text == text)?;
        Some((self.outputs.len() + index) as u32)
    }

    /// Which of the model's outputs a condition is, and its text.
    pub(super) fn condition_of_metric(&mut self, condition: &'a ast::Expr) -> Option<(u32, String)> {
        if is_present(condition) {
            let message = "metrics leave out samples whose label is missing";
            let d = Diagnostic::error("E0614", message, condition.span, "always so");
            self.report(d.help("remove `where present`"));
            return None;
        }
        let index = self.report_value(condition, OutputPurpose::Condition);
        if index.is_none() {
            let message = "no reported metric has this condition";
            let d = Diagnostic::error("E0621", message, condition.span, "cannot choose a checkpoint");
            self.report(d.help("write it as it stands in `report`"));
        }
        Some((index?, self.text_on_one_line(condition)))
    }

    /// Computes them in the graph of the walk, after the outputs.
    pub(super) fn compute_report_values(&mut self, scope: &mut NameScope<'a>) {
        for ReportValue { expr, purpose, .. } in self.report_values.clone() {
            let value = self.in_context(Context::Loss, |me| me.expr(scope, expr));
            // A missing label is 0 here.
            self.walk.bare.clear();
            let Some(t) = self.tensor(value, expr.span) else { continue };
            self.walk.bare.clear();
            let node = self.walk.graph.node(t.node);
            let request = Some(node.axis) == self.walk.graph.axes.request();
            if (node.axis != BATCH && !request) || node.shape.width() != 1 {
                let found = match node.axis {
                    GLOBAL => "a value that does not depend on the sample".to_string(),
                    _ => self.describe_tensor(&t),
                };
                let message = match purpose {
                    OutputPurpose::Condition => "a condition of a metric is one value per sample",
                    OutputPurpose::SampleWeight => "the weight of a sample is one value per sample",
                    OutputPurpose::Slice => "the rows of a metric are sliced by one number per sample",
                    OutputPurpose::Written => unreachable!("`report` has no outputs"),
                };
                let d = Diagnostic::error("E0614", message, expr.span, found.clone());
                self.report(d.note(format!("expected [1] for every sample\nfound {found}")));
                continue;
            }
            let mut node = self.per_sample(t.node, expr.span);
            if self.walk.graph.node(node).shape != Shape::scalar() {
                let built = self.walk.graph.reshape(node, Shape::scalar(), expr.span);
                node = built.expect("its width is 1");
            }
            self.walk.outputs.push(node);
        }
    }

    /// What the inference graph computes beside predictions and loss.
    pub(super) fn all_outputs(&self) -> Vec<Output> {
        let values = self.report_values.iter().map(|value| Output {
            name: value.text.clone(),
            purpose: value.purpose,
            width: 1,
            location: self.location(value.expr.span),
        });
        self.outputs.iter().cloned().chain(values).collect()
    }
}

/// The number and the boundaries of `buckets(ad.price, [1, 10])`.
pub(super) fn buckets(by: &ast::Expr) -> Option<(&ast::Expr, &ast::Expr)> {
    let ExprKind::Call { callee, arguments } = &by.kind else { return None };
    let named = matches!(&callee.kind, ExprKind::Name(name) if name == "buckets");
    match arguments.as_slice() {
        [number, boundaries] if named && number.is_plain() && boundaries.is_plain() => {
            Some((&number.value, &boundaries.value))
        }
        _ => None,
    }
}

fn is_present(condition: &ast::Expr) -> bool {
    matches!(&condition.kind, ExprKind::Name(name) if name == "present")
}
