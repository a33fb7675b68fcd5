//! `clip value c`, `clip norm c` and `clip global_norm c`: limits of the gradient that an optimizer
//! sees.
//!
//! The norm of all gradients together takes a sum over tables and parameters, which no update
//! program has: each has one more, which sums the squares of its gradient and runs before the first
//! update, and the updates read all of these sums ([`InputKind::SquaredNorms`]).

use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::update::Updates;
use super::value::{ExprValue, Tensor, counted, number_text};
use crate::graph::{
    BATCH, BinaryOp, GLOBAL, Graph, Input, InputId, InputKind, NodeId, Root, Shape, TypeError, UnaryOp,
};
use crate::model::{OptimizerSlot, UpdateGraph, UpdateScope};
use din_grammar::ast::{self, ExprKind};
use din_grammar::{Diagnostic, Span};
use din_program::SlotScope;
use din_program::schema::UpdateRule;

/// What the limit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClipKind {
    /// Each component.
    Value,
    /// The Euclidean norm of the tensor's gradient; of a table, of the rows of the batch.
    Norm,
    /// The Euclidean norm of all gradients of the step taken together.
    GlobalNorm,
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
        let form = "write `clip value 1.0`, `clip norm 5.0` or `clip global_norm 5.0`";
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
            ExprKind::Name(word) if word == "global_norm" => ClipKind::GlobalNorm,
            _ => {
                let d = Diagnostic::error("E0607", "not a kind of limit", kind.span, "value, norm or global_norm?");
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
        let squared = match kind {
            ClipKind::Value => {
                let g = &mut self.walk.graph;
                let (least, most) = (g.constant(-limit, span), g.constant(limit, span));
                let below = g.binary(BinaryOp::Min, grad, most, span)?;
                return g.binary(BinaryOp::Max, below, least, span);
            }
            ClipKind::Norm => squares(&mut self.walk.graph, grad, span)?,
            ClipKind::GlobalNorm => {
                let gradients = self.declarations.tables.len() + self.parameters.len();
                let of_each = self.update_input("squared_norms", InputKind::SquaredNorms, GLOBAL, gradients, span);
                self.walk.graph.sum_value(of_each.node, span)
            }
        };
        let g = &mut self.walk.graph;
        let norm = g.unary(UnaryOp::Sqrt, squared, span);
        let most = g.constant(limit, span);
        let exceeds = g.binary(BinaryOp::Less, most, norm, span)?;
        let share = g.binary(BinaryOp::Divide, most, norm, span)?;
        let one = g.constant(1.0, span);
        let factor = g.select(exceeds, share, one, span)?;
        g.binary(BinaryOp::Multiply, grad, factor, span)
    }

    /// Gives every table and parameter what sums the squares of its gradient, where the limit is on
    /// the norm of all.
    pub(super) fn sum_squares(&self, updates: &mut Updates, clip: Clip) {
        if clip.kind != ClipKind::GlobalNorm {
            return;
        }
        let rows = |width| UpdateScope::Rows { width, rule: UpdateRule::Sparse };
        let of_tables = self.declarations.tables.iter().map(|table| rows(table.width));
        let of_parameters = self.parameters.iter().map(|_| UpdateScope::Elements);
        let first = updates.all.len();
        for over in of_tables.chain(of_parameters) {
            let known = updates.all[first..].iter().position(|update| update.scope == over);
            let number = known.map_or(updates.all.len(), |known| first + known);
            if known.is_none() {
                updates.all.push(sum_of_squares(over, clip.span));
            }
            updates.squared_norms.push(number as u32);
        }
    }
}

/// The sum of the squares of a gradient, over all of its rows or elements.
fn squares(g: &mut Graph, grad: NodeId, span: Span) -> Result<NodeId, TypeError> {
    debug_assert_eq!(g.node(grad).axis, BATCH, "gradients are of rows or elements");
    let squares = g.binary(BinaryOp::Multiply, grad, grad, span)?;
    let of_rows = g.sum_value(squares, span);
    g.sum(of_rows, GLOBAL, span)
}

/// What sums the squares of a gradient into a slot.
fn sum_of_squares(over: UpdateScope, span: Span) -> UpdateGraph {
    let width = match over {
        UpdateScope::Rows { width, .. } => width as usize,
        UpdateScope::Elements => 1,
    };
    let name = "squared_norm";
    let mut graph = Graph::new("rows");
    graph.inputs = vec![
        Input { name: "grad".into(), kind: InputKind::Gradient, axis: BATCH, shape: Shape::vector(width) },
        // It is written alone, and gives the sum its type.
        Input { name: name.into(), kind: InputKind::Slot { slot: 0 }, axis: GLOBAL, shape: Shape::scalar() },
    ];
    let grad = graph.input(InputId(0), span);
    let node = squares(&mut graph, grad, span).expect("a gradient can be multiplied by itself and summed");
    graph.roots = vec![Root::Slot { slot: 0, node }];
    let slots = vec![OptimizerSlot { name: name.into(), per: SlotScope::Tensor, init: 0.0 }];
    UpdateGraph { name: "squared norm".into(), scope: over, slots, graph, span }
}
