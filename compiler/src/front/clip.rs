//! `clip value c` and `clip norm c`: limits of the gradient that an optimizer sees.

use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::value::{ExprValue, Tensor, counted, number_text};
use crate::graph::{BATCH, BinaryOp, GLOBAL, NodeId, TypeError, UnaryOp};
use din_grammar::ast::{self, ExprKind};
use din_grammar::{Diagnostic, Span};

/// What the limit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClipKind {
    /// Each component.
    Value,
    /// The Euclidean norm of the tensor's gradient; of a table, of the rows of the batch.
    Norm,
}

/// A limit of gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clip {
    pub kind: ClipKind,
    pub limit: f64,
    pub span: Span,
}

impl<'a> Elaborator<'a> {
    /// The setting `clip` of `train`; `None` where there is none, or a fault was reported.
    pub(super) fn clip(&mut self, scope: &mut NameScope<'a>, setting: &'a ast::Setting) -> Option<Clip> {
        let form = "write `clip value 1.0` or `clip norm 5.0`";
        let [kind, limit] = setting.values.as_slice() else {
            let found = counted(setting.values.len(), "value");
            self.report(
                Diagnostic::error("E0607", "`clip` takes a kind of limit and a number", setting.span, found).help(form),
            );
            return None;
        };
        let kind = match &kind.kind {
            ExprKind::Name(word) if word == "value" => ClipKind::Value,
            ExprKind::Name(word) if word == "norm" => ClipKind::Norm,
            ExprKind::Name(word) if word == "global_norm" => {
                let instead = "write `clip norm 5.0`, which limits the gradient of each tensor by itself";
                self.not_built("`clip global_norm`", instead, kind.span);
                return None;
            }
            _ => {
                let d = Diagnostic::error("E0607", "not a kind of limit", kind.span, "value or norm?");
                self.report(d.help(form));
                return None;
            }
        };
        let value = self.expr(scope, limit);
        let n = self.number(value, "a limit of gradients", limit.span)?;
        if !self.within_f32(n, "a limit of gradients", limit.span) {
            return None;
        }
        if n as f32 <= 0.0 {
            self.report(
                Diagnostic::error("E0607", "a limit of gradients must be above 0", limit.span, number_text(n))
                    .note(format!("expected a number above 0\nfound {}", number_text(n)))
                    .help("leave `clip` out to limit nothing"),
            );
            return None;
        }
        Some(Clip { kind, limit: n, span: setting.span })
    }

    /// The gradient within the limit.
    pub(super) fn clipped(&mut self, grad: &Tensor, clip: Clip) -> Option<Tensor> {
        match self.clipped_node(grad.node, clip) {
            Ok(node) => Some(Tensor { node, fields: grad.fields.clone() }),
            Err(error) => match self.type_error(error, clip.span) {
                ExprValue::Tensor(t) => Some(t),
                _ => None,
            },
        }
    }

    fn clipped_node(&mut self, grad: NodeId, Clip { kind, limit, span }: Clip) -> Result<NodeId, TypeError> {
        let g = &mut self.walk.graph;
        let most = g.constant(limit, span);
        match kind {
            ClipKind::Value => {
                let least = g.constant(-limit, span);
                let below = g.binary(BinaryOp::Min, grad, most, span)?;
                g.binary(BinaryOp::Max, below, least, span)
            }
            ClipKind::Norm => {
                debug_assert_eq!(g.node(grad).axis, BATCH, "gradients are of rows or elements");
                let squares = g.binary(BinaryOp::Multiply, grad, grad, span)?;
                let of_rows = g.sum_value(squares, span);
                let total = g.sum(of_rows, GLOBAL, span)?;
                let norm = g.unary(UnaryOp::Sqrt, total, span);
                let exceeds = g.binary(BinaryOp::Less, most, norm, span)?;
                let share = g.binary(BinaryOp::Divide, most, norm, span)?;
                let one = g.constant(1.0, span);
                let factor = g.select(exceeds, share, one, span)?;
                g.binary(BinaryOp::Multiply, grad, factor, span)
            }
        }
    }
}
