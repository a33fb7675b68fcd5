//! `dropout(x, rate)`, and `dropout` of a table's ids: a mask in training, `x` itself otherwise.

use super::elaborator::Elaborator;
use super::value::{ExprValue, Tensor, number_text, shape_text};
use super::walk::Context;
use crate::graph::{BATCH, BinaryOp, GLOBAL, NodeId, Shape, TypeError};
use din_grammar::{Diagnostic, Span};

/// Most components of what is dropped: their numbers are exact in f32.
const MOST: usize = 1 << 24;

impl<'a> Elaborator<'a> {
    pub(super) fn dropout(
        &mut self,
        (value, at): (ExprValue<'a>, Span),
        (rate, rate_at): (ExprValue<'a>, Span),
        span: Span,
    ) -> ExprValue<'a> {
        let (tensor, rate) = (self.tensor(value, at), self.dropout_rate(rate, rate_at));
        let (Some(t), Some(rate)) = (tensor, rate) else { return ExprValue::Poison };
        let node = self.walk.graph.node(t.node);
        let (axis, shape) = (node.axis, node.shape.clone());
        if matches!(self.walk.context, Context::Update(_)) {
            return self.fault(
                Diagnostic::error(
                    "E0314",
                    "`dropout` in an optimizer or regularizer",
                    span,
                    "not a value of the model",
                )
                .help("apply it to values of the model, such as `dropout(relu(x), 0.5)`"),
            );
        }
        if axis == GLOBAL {
            let found = self.describe_tensor(&t);
            return self.fault(
                Diagnostic::error("E0314", "`dropout` of a value that does not vary", at, found)
                    .note("expected a value that varies over the samples or a sequence")
                    .help("apply it to what is computed from the weight, such as `dropout(x @ w, 0.5)`"),
            );
        }
        if self.walk.graph.axes.second_of_pairs(axis).is_some_and(|t| self.walk.graph.axes.first_name(t) == BATCH)
            || (axis != BATCH && self.walk.graph.axes.first_name(axis) == BATCH)
        {
            let found = self.describe_tensor(&t);
            return self.fault(
                Diagnostic::error("E0314", "`dropout` of pairs of samples", at, found)
                    .help("apply it in the network, before the loss"),
            );
        }
        if shape.0.len() != 1 || shape.width() > MOST {
            let found = shape_text(&shape);
            return self.fault(
                Diagnostic::error("E0301", "`dropout` takes a vector", at, found.clone())
                    .note(format!("expected a vector of at most {MOST} components\nfound {found}")),
            );
        }
        match self.dropped(t.node, shape, rate, span) {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: t.fields }),
            Err(error) => self.type_error(error, span),
        }
    }

    /// A rate of dropout: reports anything else.
    pub(super) fn dropout_rate(&mut self, rate: ExprValue<'a>, at: Span) -> Option<f64> {
        let found = match rate {
            ExprValue::Poison => return None,
            ExprValue::Number(rate) if rate >= 0.0 && (rate as f32) < 1.0 => return Some(rate),
            ExprValue::Number(n) => number_text(n),
            other => self.describe(&other),
        };
        self.report(
            Diagnostic::error("E0307", "not a rate of dropout", at, found.clone())
                .note(format!("expected a compile-time number of at least 0 and below 1\nfound {found}"))
                .help("the rate is the share of what becomes 0, such as 0.5"),
        );
        None
    }

    /// `x` times a mask of this shape, of a dropout of its own, in training; `x` itself otherwise.
    pub(super) fn dropped(&mut self, x: NodeId, mask: Shape, rate: f64, span: Span) -> Result<NodeId, TypeError> {
        if !self.walk.training || rate == 0.0 {
            return Ok(x);
        }
        let site = self.walk.dropouts;
        self.walk.dropouts += 1;
        let axis = self.walk.graph.node(x).axis;
        let mask = self.walk.graph.dropout_mask(site, rate, axis, mask, span)?;
        self.walk.graph.binary(BinaryOp::Multiply, x, mask, span)
    }
}
