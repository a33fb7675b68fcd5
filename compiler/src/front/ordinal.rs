//! `ordinal(score = …)`: cumulative logits with ordered cut points. McCullagh, "Regression Models
//! for Ordinal Data", 1980, the proportional odds model.

use super::elaborator::Elaborator;
use super::walk::VariableKind;
use crate::graph::{BinaryOp, NodeId, Shape, TypeError, UnaryOp};
use din_grammar::Span;
use din_program::schema::Init;

impl<'a> Elaborator<'a> {
    /// The logarithms of the probabilities of `classes` classes, 2 at least, from one score per
    /// sample: `P(label <= k) = sigmoid(cut[k] - score)`. The cut points are weights below the
    /// current path: `first_cut`, and the logarithms of the distances to the next ones, `log_gaps`,
    /// so that they stay in their order. They begin where a score of 0 gives every class but the
    /// first and last a similar probability.
    pub(super) fn ordinal_log_probabilities(&mut self, score: NodeId, classes: usize, at: Span) -> Option<NodeId> {
        // From the logit of `1 / classes` to that of `1 - 1 / classes`.
        let last = ((classes - 1) as f64).ln();
        let inner = classes - 2;
        let first = self.weight("first_cut", 1, -last, at)?;
        let gaps = match inner {
            0 => None,
            _ => Some(self.weight("log_gaps", inner, (2.0 * last / inner as f64).ln(), at)?),
        };
        let built = self.cumulative(score, first, gaps, inner, at);
        Some(built.expect("scalars and vectors of the classes' sizes fit together"))
    }

    fn weight(&mut self, name: &str, width: usize, init: f64, at: Span) -> Option<NodeId> {
        let weight = (Shape::vector(width), Init::Constant(init));
        self.instance(name, at, weight, at, VariableKind::Parameter).map(|(_, node)| node)
    }

    /// `gaps` has `inner` components.
    fn cumulative(
        &mut self,
        score: NodeId,
        first: NodeId,
        gaps: Option<NodeId>,
        inner: usize,
        at: Span,
    ) -> Result<NodeId, TypeError> {
        let graph = &mut self.walk.graph;
        let gaps = gaps.map(|gaps| graph.unary(UnaryOp::Exp, gaps, at));
        let mut cuts = vec![first];
        for k in 0..inner {
            let gap = graph.slice(gaps.expect("inner classes have gaps"), k, Shape::scalar(), at)?;
            cuts.push(graph.binary(BinaryOp::Add, cuts[k], gap, at)?);
        }
        let cuts = graph.concat(cuts, at)?;
        // ln sigmoid(d) and ln sigmoid(-d): of being at most, or above, each cut point.
        let d = graph.binary(BinaryOp::Subtract, cuts, score, at)?;
        let mut log_sigmoid = |of: NodeId| {
            let below = graph.unary(UnaryOp::Negate, of, at);
            let lost = graph.unary(UnaryOp::Softplus, below, at);
            graph.unary(UnaryOp::Negate, lost, at)
        };
        let at_most = log_sigmoid(d);
        let above = {
            let lost = graph.unary(UnaryOp::Softplus, d, at);
            graph.unary(UnaryOp::Negate, lost, at)
        };
        let lowest = graph.slice(at_most, 0, Shape::scalar(), at)?;
        let highest = graph.slice(above, inner, Shape::scalar(), at)?;
        let Some(gaps) = gaps else { return graph.concat(vec![lowest, highest], at) };
        // sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), a difference of near
        // numbers no more; and 1 - exp(-gap) = tanh(gap / 2) (1 + exp(-gap)).
        let half = graph.constant(0.5, at);
        let half = graph.binary(BinaryOp::Multiply, gaps, half, at)?;
        let tanh = graph.unary(UnaryOp::Tanh, half, at);
        let narrow = graph.unary(UnaryOp::Log, tanh, at);
        let negative = graph.unary(UnaryOp::Negate, gaps, at);
        let wide = graph.unary(UnaryOp::Softplus, negative, at);
        let width = graph.binary(BinaryOp::Add, narrow, wide, at)?;
        let next = graph.slice(at_most, 1, Shape::vector(inner), at)?;
        let before = graph.slice(above, 0, Shape::vector(inner), at)?;
        let middle = graph.binary(BinaryOp::Add, next, before, at)?;
        let middle = graph.binary(BinaryOp::Add, middle, width, at)?;
        graph.concat(vec![lowest, middle, highest], at)
    }
}
