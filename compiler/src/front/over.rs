//! Reductions over the entries of a sequence, and second names of entries, by which they pair with
//! themselves.

use super::elaborator::Elaborator;
use super::scope::{NameScope, NamedAxis};
use super::value::{Builtin, ExprValue, Over, Tensor};
use super::walk::Context;
use crate::graph::{AxisId, AxisKind, BATCH, BinaryOp, NodeId, Shape, TypeError, UnaryOp};
use din_grammar::ast::{self, Expr};
use din_grammar::{Diagnostic, Span};

/// -2^100, which takes part in a maximum in place of an entry that a condition leaves out: less
/// than any score of a model. Exact in f32, and of a size at which differences stay finite.
const LEAST: f64 = -1.267_650_600_228_229_4e30;

/// The name of the samples of each request, as an axis.
pub(super) const REQUEST: &str = "request";

/// What is reduced.
struct Reduced {
    value: Tensor,
    /// The axis of the value, and that of the result.
    from: AxisId,
    to: AxisId,
    /// Not 0 where an entry counts; all count without one.
    condition: Option<NodeId>,
}

type Built = Result<NodeId, TypeError>;

impl<'a> Elaborator<'a> {
    /// The axis that a name stands for: one of the scope's, or in a loss `request`, the samples of
    /// each request.
    pub(super) fn axis_called(&mut self, scope: &NameScope<'a>, name: &'a str, at: Span) -> Option<NamedAxis<'a>> {
        if let Some(named) = scope.axis(name) {
            return Some(named);
        }
        if name != REQUEST {
            return None;
        }
        let fault = if self.walk.context != Context::Loss {
            Some((
                "samples of a request are seen together by `loss` only",
                "not in the network: a prediction depends on its own sample alone",
            ))
        } else if self.walk.graph.axes.request().is_none() {
            Some((
                "the model has no requests",
                "declare them: `request by request_id`, `request_id` being a `key`, or `request of 64` for samples \
                 that are together in a batch",
            ))
        } else {
            None
        };
        if let Some((message, help)) = fault {
            self.report(Diagnostic::error("E0314", message, at, "not an axis here").help(help));
        }
        let axis = fault.is_none().then_some(BATCH);
        Some(NamedAxis { name, axis, span: at })
    }

    /// Number of entries by list; of the samples, by request.
    pub(super) fn length(&mut self, axis: AxisId, span: Span) -> NodeId {
        let axis = self.walk.graph.axes.first_name(axis);
        if axis == BATCH {
            let request = self.walk.graph.axes.request().expect("samples have a name where there are requests");
            let ones = self.walk.graph.constant_of(1.0, BATCH, Shape::scalar(), span);
            return self.walk.graph.sum(ones, request, span).expect("the requests are above the samples");
        }
        let axis = self.walk.graph.axes.shared(axis).unwrap_or(axis);
        self.walk.graph.length(axis, span)
    }

    /// Place of each entry in its list, from 0; if `axis` is a second name, as a value over that.
    pub(super) fn position(&mut self, axis: AxisId, span: Span) -> Built {
        let first = self.walk.graph.axes.first_name(axis);
        let entries = self.walk.graph.axes.shared(first).unwrap_or(first);
        let position = self.walk.graph.position(entries, span);
        if first == axis {
            return Ok(position);
        }
        let position = self.walk.graph.broadcast(position, first, &Shape::scalar(), span)?;
        self.walk.graph.rename(position, axis, span)
    }

    /// The value that a reduction is of: it must vary over the axis, and its condition at most over
    /// the same.
    fn reduced(&mut self, mut value: Tensor, over: Over<'a>, at: Span) -> Option<Reduced> {
        if self.walk.graph.axes.first_name(over.axis) == BATCH {
            value.node = self.per_sample(value.node, at);
        }
        let varies = self.walk.graph.node(value.node).axis;
        let to = self.above(varies, over.axis, at)?;
        let Some((condition, place)) = over.condition else {
            return Some(Reduced { value, from: varies, to, condition: None });
        };
        let condition = self.condition(&mut value, condition, place, at)?;
        let from = self.walk.graph.node(value.node).axis;
        let to = if from == varies { to } else { self.above(from, over.axis, at)? };
        Some(Reduced { value, from, to, condition: Some(condition) })
    }

    /// A value per request, once for each of its samples; any other value itself.
    pub(super) fn per_sample(&mut self, x: NodeId, span: Span) -> NodeId {
        if Some(self.walk.graph.node(x).axis) != self.walk.graph.axes.request() {
            return x;
        }
        self.walk.graph.replicated(x, span).expect("a value per request can be one per sample")
    }

    /// The axis that a value over `varies` has once it is reduced over `axis`.
    fn above(&mut self, varies: AxisId, axis: AxisId, at: Span) -> Option<AxisId> {
        let axes = &self.walk.graph.axes;
        if let AxisKind::Pairs { of, second } = *axes.kind(varies)
            && [of, second].contains(&axis)
        {
            return Some(if axis == of { second } else { of });
        }
        if axes.second_of_pairs(varies).is_none() && axes.on_samples(varies) == axes.on_samples(axis) {
            return if axes.first_name(varies) == BATCH { axes.request() } else { axes.parent(varies) };
        }
        let entries = |id: AxisId| axes.on_samples(axes.first_name(id));
        let same_entries = entries(varies) == entries(axis);
        let ragged = axes.has_entries(varies);
        let (axis, over) = (self.entries_text(axis), self.axis_text(varies));
        let help = if !ragged {
            let of = axis.trim_matches('`');
            match (of == REQUEST, self.walk.frames.is_empty()) {
                (true, _) => "a sum of equal values is the value times `length(request)`".to_owned(),
                (false, true) => {
                    format!("give it a value per entry, such as `embed({of})`; a value per sample is not reduced")
                }
                (false, false) => format!("give it what varies over {axis}; a value per sample is not reduced"),
            }
        } else if same_entries {
            "these are the same entries under another name: reduce over that".to_owned()
        } else {
            format!("it has one value for each entry of {over}: write `over {}`", over.trim_matches('`'))
        };
        self.report(
            Diagnostic::error("E0314", "the value does not vary over this axis", at, format!("varies over {over}"))
                .note(format!("expected a value over {axis}"))
                .help(help),
        );
        None
    }

    /// What the entries of an axis are called where it is reduced.
    fn entries_text(&self, axis: AxisId) -> String {
        if axis == BATCH { format!("`{REQUEST}`") } else { self.axis_text(axis) }
    }

    /// The condition of a reduction of `value`. If `value` has one element per entry of a common
    /// sequence and request, and the condition varies with the samples, `value` is broadcast to
    /// them.
    fn condition(&mut self, value: &mut Tensor, condition: ExprValue<'a>, place: Span, at: Span) -> Option<NodeId> {
        let condition = self.tensor(condition, place)?;
        let plain = Tensor { node: condition.node, fields: None };
        self.same_fields("where", (value, at), (&plain, place))?;
        let (varies, of) = (self.walk.graph.node(plain.node).axis, self.walk.graph.node(value.node).axis);
        let axes = &self.walk.graph.axes;
        let both = axes.join(varies, of).filter(|both| axes.on_samples(*both) == axes.on_samples(of));
        if let Some(both) = both {
            let shape = self.walk.graph.node(value.node).shape.clone();
            let spread = self.walk.graph.broadcast(value.node, both, &shape, at);
            value.node = spread.expect("a value may be broadcast to an axis under its own");
        } else {
            let (found, wanted) = (self.axis_text(varies), self.axis_text(of));
            self.report(
                Diagnostic::error(
                    "E0303",
                    "the condition varies over more than the value",
                    place,
                    format!("varies over {found}"),
                )
                .label(at, format!("varies over {wanted}"))
                .help("reduce a value that varies over both"),
            );
            return None;
        }
        if self.walk.graph.node(value.node).width() == 1 && self.walk.graph.node(plain.node).width() > 1 {
            let found = self.describe_tensor(&plain);
            self.report(
                Diagnostic::error("E0301", "a condition wider than the value", place, found).label(at, "one component"),
            );
            return None;
        }
        Some(plain.node)
    }

    /// `x` where the condition holds, else `otherwise`.
    fn counted(&mut self, x: NodeId, of: &Reduced, otherwise: f64, span: Span) -> Built {
        let Some(condition) = of.condition else { return Ok(x) };
        let otherwise = self.walk.graph.constant(otherwise, span);
        self.walk.graph.select(condition, x, otherwise, span)
    }

    /// 1 at each entry that counts.
    fn ones(&mut self, of: &Reduced, span: Span) -> Built {
        let one = self.walk.graph.constant(1.0, span);
        let ones = self.counted(one, of, 0.0, span)?;
        let shape = self.walk.graph.node(ones).shape.clone();
        self.walk.graph.broadcast(ones, of.from, &shape, span)
    }

    /// `sum` and `mean`, over an axis or over the components.
    pub(super) fn total(
        &mut self,
        mean: bool,
        value: ExprValue<'a>,
        over: Option<Over<'a>>,
        at: Span,
        span: Span,
    ) -> ExprValue<'a> {
        if let (ExprValue::List(items), None) = (&value, &over) {
            return self.total_of_list(mean, &items.clone(), at, span);
        }
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let Some(over) = over else { return self.reduce_components(mean, &t, span) };
        let Some(of) = self.reduced(t, over, at) else { return ExprValue::Poison };
        let sum = self.counted(of.value.node, &of, 0.0, span).and_then(|x| self.walk.graph.sum(x, of.to, span));
        let built = match sum {
            Ok(sum) if mean => self.divide_by_number(sum, &of, span),
            other => other,
        };
        self.of_fields(built, of, span)
    }

    /// A sum of entries divided by how many they are.
    fn divide_by_number(&mut self, sum: NodeId, of: &Reduced, span: Span) -> Built {
        let number = match of.condition {
            None => self.length(self.list_of(of), span),
            Some(_) => {
                let ones = self.ones(of, span)?;
                self.walk.graph.sum(ones, of.to, span)?
            }
        };
        let one = self.walk.graph.constant(1.0, span);
        // An empty sum is 0; divided by 1 it stays so.
        let number = self.walk.graph.binary(BinaryOp::Max, number, one, span)?;
        self.walk.graph.binary(BinaryOp::Divide, sum, number, span)
    }

    /// The axis of the entries that are reduced.
    fn list_of(&self, of: &Reduced) -> AxisId {
        match *self.walk.graph.axes.kind(of.from) {
            AxisKind::Pairs { of, .. } => of,
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Unique(_) => of.from,
        }
    }

    /// `max(x over s)`; `max(x)` and `min(x)`, over the components or the items of a list.
    pub(super) fn extreme(
        &mut self,
        builtin: Builtin,
        value: ExprValue<'a>,
        over: Option<Over<'a>>,
        at: Span,
        span: Span,
    ) -> ExprValue<'a> {
        let Some(over) = over else {
            return match &value {
                ExprValue::List(items) => self.extremum_of_list(builtin, &items.clone(), at, span),
                _ => self.extremum_of_components(builtin, value, at, span),
            };
        };
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let Some(of) = self.reduced(t, over, at) else { return ExprValue::Poison };
        let built = self.greatest(&of, span).and_then(|greatest| {
            if of.condition.is_none() {
                return Ok(greatest);
            }
            let ones = self.ones(&of, span)?;
            let any = self.walk.graph.max(ones, of.to, span)?;
            let zero = self.walk.graph.constant(0.0, span);
            self.walk.graph.select(any, greatest, zero, span)
        });
        self.of_fields(built, of, span)
    }

    /// The greatest value of the entries that count.
    fn greatest(&mut self, of: &Reduced, span: Span) -> Built {
        let x = self.counted(of.value.node, of, LEAST, span)?;
        self.walk.graph.max(x, of.to, span)
    }

    /// `softmax(x over s)`: by component, `exp(x)` divided by its sum over the entries. Without an
    /// axis over the components of a value, or the items of a list.
    pub(super) fn softmax(
        &mut self,
        value: ExprValue<'a>,
        over: Option<Over<'a>>,
        at: Span,
        span: Span,
    ) -> ExprValue<'a> {
        let Some(over) = over else {
            return match &value {
                ExprValue::List(items) => self.softmax_of_list(&items.clone(), at, span),
                _ => self.softmax_of_components(value, at, span),
            };
        };
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let Some(of) = self.reduced(t, over, at) else { return ExprValue::Poison };
        let built = self.shares(&of, span);
        self.of_fields(built, of, span)
    }

    fn shares(&mut self, of: &Reduced, span: Span) -> Built {
        // The greatest value is subtracted so that `exp` does not overflow: it cancels, and so does
        // its gradient.
        let greatest = self.greatest(of, span)?;
        let greatest = self.walk.graph.stop_gradient(greatest, span);
        let below = self.walk.graph.binary(BinaryOp::Subtract, of.value.node, greatest, span)?;
        // What is left out may lie above the greatest: it is taken out before `exp`, whose gradient
        // would not be finite.
        let below = self.counted(below, of, 0.0, span)?;
        let weight = self.walk.graph.unary(UnaryOp::Exp, below, span);
        let weight = self.counted(weight, of, 0.0, span)?;
        let mut total = self.walk.graph.sum(weight, of.to, span)?;
        if of.condition.is_some() {
            // At least 1 where any entry counts, else 0.
            let half = self.walk.graph.constant(0.5, span);
            total = self.walk.graph.binary(BinaryOp::Max, total, half, span)?;
        }
        self.walk.graph.binary(BinaryOp::Divide, weight, total, span)
    }

    /// `first(x over s)` and `last(x over s)`: the value at one entry.
    pub(super) fn end(
        &mut self,
        last: bool,
        value: ExprValue<'a>,
        over: Option<Over<'a>>,
        at: Span,
        span: Span,
    ) -> ExprValue<'a> {
        let name = if last { "last" } else { "first" };
        let Some(over) = over else { return self.no_entries(&value, name, &format!("{name}(x over s)"), at) };
        let axis = over.axis;
        if self.unordered(axis, &format!("`{name}`"), at) {
            return ExprValue::Poison;
        }
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let Some(of) = self.reduced(t, over, at) else { return ExprValue::Poison };
        let built = self.at_end(last, &of, axis, span);
        self.of_fields(built, of, span)
    }

    /// Refuses a function of the entries of an axis, without one: `form` is how it is called. Of a
    /// faulty value nothing more is said.
    pub(super) fn no_entries(&mut self, value: &ExprValue<'a>, name: &str, form: &str, at: Span) -> ExprValue<'a> {
        if let ExprValue::Poison = value {
            return ExprValue::Poison;
        }
        self.fault(
            Diagnostic::error("E0314", format!("`{name}` of which entries?"), at, "no axis")
                .help(format!("name the axis: `{form}`")),
        )
    }

    /// Refuses what asks for the order of a request's samples, which means nothing.
    pub(super) fn unordered(&mut self, axis: AxisId, what: &str, at: Span) -> bool {
        let samples = self.walk.graph.axes.first_name(axis) == BATCH;
        if samples {
            let message = format!("{what} of the samples of a request");
            self.report(
                Diagnostic::error("E0314", message, at, "they have no order")
                    .help("reduce them by `sum`, `mean`, `max` or `softmax`"),
            );
        }
        samples
    }

    fn at_end(&mut self, last: bool, of: &Reduced, axis: AxisId, span: Span) -> Built {
        let position = self.position(axis, span)?;
        let zero = self.walk.graph.constant(0.0, span);
        let end = match (of.condition, last) {
            (None, false) => zero,
            (None, true) => {
                let length = self.length(axis, span);
                let one = self.walk.graph.constant(1.0, span);
                self.walk.graph.binary(BinaryOp::Subtract, length, one, span)?
            }
            // Of the entries that count, the greatest place; for the first one, the greatest
            // negated place, negated again.
            (Some(_), last) => {
                let turned = if last { position } else { self.walk.graph.unary(UnaryOp::Negate, position, span) };
                let shape = Shape::scalar();
                let turned = self.walk.graph.broadcast(turned, of.from, &shape, span)?;
                let turned = self.counted(turned, of, LEAST, span)?;
                let greatest = self.walk.graph.max(turned, of.to, span)?;
                if last { greatest } else { self.walk.graph.unary(UnaryOp::Negate, greatest, span) }
            }
        };
        let there = self.walk.graph.binary(BinaryOp::Equal, position, end, span)?;
        let value = self.walk.graph.select(there, of.value.node, zero, span)?;
        // In a list of which no entry counts, `end` is -2^100 or 2^100, which is no entry's place;
        // in an empty list there is nothing to add. The sum is 0 in both.
        self.walk.graph.sum(value, of.to, span)
    }

    /// A built node with the fields of what was reduced.
    fn of_fields(&mut self, built: Built, of: Reduced, span: Span) -> ExprValue<'a> {
        match built {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: of.value.fields }),
            Err(e) => self.type_error(e, span),
        }
    }

    /// `value as t`: the entries that the value varies over, under another name; of a list, its
    /// items as entries.
    pub(super) fn second_name(
        &mut self,
        scope: &mut NameScope<'a>,
        value: &'a Expr,
        name: &'a ast::Ident,
        span: Span,
    ) -> ExprValue<'a> {
        let v = self.expr(scope, value);
        if let ExprValue::List(items) = &v {
            return self.list_as_entries(scope, (&items.clone(), value.span), name, span);
        }
        let Some(mut t) = self.tensor(v, value.span) else {
            self.lost_axis(scope, name, name.span);
            return ExprValue::Poison;
        };
        let samples_pair = self.walk.context == Context::Loss && self.walk.graph.axes.request().is_some();
        if samples_pair {
            t.node = self.per_sample(t.node, value.span);
        }
        let shape = self.walk.graph.node(t.node).shape.clone();
        let axes = &mut self.walk.graph.axes;
        let varies = axes.on_samples(self.walk.graph.nodes[t.node].axis);
        let entries = match axes.kind(varies) {
            AxisKind::Sequence { .. } | AxisKind::Fixed { .. } | AxisKind::Second { .. } => axes.first_name(varies),
            AxisKind::Batch { .. } if samples_pair => BATCH,
            AxisKind::Pairs { .. } => {
                let found = self.describe_tensor(&t);
                self.lost_axis(scope, name, name.span);
                return self.fault(
                    Diagnostic::error("E0322", "pairs of entries have no other name", value.span, found)
                        .help("reduce the value to one of the two first, such as `sum(x over t)`"),
                );
            }
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Steps { .. }
            | AxisKind::Unique(_) => {
                let found = self.describe_tensor(&t);
                self.lost_axis(scope, name, name.span);
                let help = if self.walk.context == Context::Loss && !samples_pair {
                    "samples pair within requests, which the model has none of: declare `request of 64`, or \
                     `request by` a key"
                } else {
                    "give it `embed(…)` of a sequence, whose entries pair, or a list, such as `fields(x)`"
                };
                return self.fault(
                    Diagnostic::error("E0322", "only entries get a second name", value.span, found)
                        .note("expected a value over entries, or a list; in `loss`, where there are requests, one per sample")
                        .help(help),
                );
            }
        };
        let [second, _] = match axes.pairs(entries) {
            Some(found) => found,
            None => axes.add_pairs(entries, &name.name),
        };
        let to = if varies == second { entries } else { second };
        if to == second {
            // For messages: what these entries are called here.
            axes.get_mut(second).expect("it was found or added").name.clone_from(&name.name);
        }
        if !self.name_axis(scope, name, to) {
            return ExprValue::Poison;
        }
        let built =
            self.walk.graph.broadcast(t.node, varies, &shape, span).and_then(|x| self.walk.graph.rename(x, to, span));
        match built {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: t.fields }),
            Err(e) => self.type_error(e, span),
        }
    }

    /// Makes the name of an axis known in the body; `false` where that is not possible.
    pub(super) fn name_axis(&mut self, scope: &mut NameScope<'a>, name: &'a ast::Ident, axis: AxisId) -> bool {
        match scope.axis(&name.name) {
            Some(NamedAxis { axis: None, .. }) => return false,
            Some(NamedAxis { axis: Some(known), .. }) if known == axis => return true,
            Some(NamedAxis { span: first, .. }) => {
                self.report(
                    Diagnostic::error(
                        "E0322",
                        format!("`{}` is the name of another axis", name.name),
                        name.span,
                        "not these entries",
                    )
                    .label(first, "named here")
                    .help("choose a name that is not in use"),
                );
                return false;
            }
            None => {}
        }
        if let Some(known) = scope.axes.iter().find(|named| named.axis == Some(axis)) {
            let other = known.name;
            self.report(
                Diagnostic::error(
                    "E0322",
                    "these entries have two names already",
                    name.span,
                    format!("`{}` would be the third", name.name),
                )
                .label(known.span, "the other one")
                .help(format!("write `as {other}`")),
            );
            return false;
        }
        let named = NamedAxis { name: &name.name, axis: Some(axis), span: name.span };
        scope.axes.push(named);
        scope.seconds.push(named);
        true
    }

    /// The value of a body, which may not vary over what only the body has a name for.
    pub(super) fn keep_inside(
        &mut self,
        scope: &NameScope<'a>,
        function: &'a ast::Function,
        value: ExprValue<'a>,
    ) -> ExprValue<'a> {
        let ExprValue::Tensor(t) = &value else { return value };
        let axis = self.walk.graph.node(t.node).axis;
        let over =
            |named: &&NamedAxis<'a>| named.axis.is_some_and(|second| axis == second || self.pairs_with(axis, second));
        let Some(named) = scope.seconds.iter().find(over).copied() else { return value };
        let at = function.body.value.as_ref().map_or(function.name.span, |v| v.span);
        let found = self.describe_tensor(t);
        self.fault(
            Diagnostic::error(
                "E0322",
                format!("the value of `{}` varies over `{}`", function.name.name, named.name),
                at,
                found,
            )
            .label(named.span, "known in the body of the function only")
            .help(format!("reduce it first, such as `sum(x over {})`", named.name)),
        )
    }

    /// Whether `pairs` are pairs of entries that are called `entries` as the first or the second.
    fn pairs_with(&self, pairs: AxisId, entries: AxisId) -> bool {
        let axes = &self.walk.graph.axes;
        axes.second_of_pairs(pairs).is_some_and(|second| second == entries || axes.first_name(second) == entries)
    }
}
