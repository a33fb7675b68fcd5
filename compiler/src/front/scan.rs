//! Recurrences over a sequence: `scan` and `shift`.

use super::elaborator::Elaborator;
use super::value::{ArgumentValue, Callee, ExprValue, Over, PartialArgument, Tensor, number_text, shape_text};
use crate::graph::{AxisId, BinaryOp, NodeId, Shape, TypeError};
use din_grammar::{Diagnostic, Span};
use std::rc::Rc;

/// The state before the first entry.
#[derive(Clone, Copy)]
enum Start {
    Zeros,
    Value(NodeId),
}

/// What `scan` is given.
struct Scanned<'a> {
    step: Rc<Callee<'a>>,
    /// Where `step` stands.
    at: Span,
    start: Start,
    /// The entries, and the components of the state.
    axis: AxisId,
    width: usize,
    /// Not 0 where an entry changes the state; all do without one.
    condition: Option<(NodeId, Span)>,
}

impl<'a> Elaborator<'a> {
    /// `scan(step, start over s)`: the state after each entry, which `step` makes of the one
    /// before.
    pub(super) fn scan(&mut self, step: (ExprValue<'a>, Span), start: ArgumentValue<'a>, span: Span) -> ExprValue<'a> {
        let Some(of) = self.scanned(step, start) else { return ExprValue::Poison };
        let number = self.walk.graph.unused_scan();
        let before = self.walk.graph.previous(number, false, of.axis, of.width, span);
        let begun = match of.start {
            Start::Zeros => Ok(before),
            Start::Value(start) => self.begun(start, before, of.axis, span),
        };
        let before = match begun {
            Ok(state) => state,
            Err(e) => return self.type_error(e, span),
        };
        let state = ExprValue::Tensor(Tensor { node: before, fields: None });
        let given = vec![ArgumentValue { name: None, value: state, over: None, span: of.at }];
        let next = self.apply(&of.step, given, span);
        let mut next = self.tensor(next, of.at);
        if next.as_ref().is_some_and(|next| !self.sees_the_entry_before(next.node, before, of.at)) {
            // Goes on with some state: what training alone refuses must not hide what comes behind.
            next = Some(Tensor { node: before, fields: None });
        }
        let made = next.and_then(|next| self.next_state(&next, before, &of));
        // The recurrence ends whatever was wrong, so that the graph stays one.
        let node = self.walk.graph.scan(number, false, made.as_ref().map_or(before, |next| next.node), span);
        match made {
            Some(next) => ExprValue::Tensor(Tensor { node, fields: next.fields }),
            None => ExprValue::Poison,
        }
    }

    /// The arguments of `scan`; `None` where one of them is at fault.
    fn scanned(&mut self, (step, step_at): (ExprValue<'a>, Span), start: ArgumentValue<'a>) -> Option<Scanned<'a>> {
        let step = match step {
            ExprValue::Poison => return None,
            ExprValue::Function(step) => step,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error("E0308", "`scan` repeats a function", step_at, found)
                        .note("expected a function of the state before each entry")
                        .help("leave the state open with `_`: `scan(gru_cell(_, x, attention = 1), 32 over s)`"),
                );
                return None;
            }
        };
        let at = start.span;
        let Some(Over { axis, condition }) = start.over else {
            self.no_entries(&start.value, "scan", "scan(step, 32 over s)", at);
            return None;
        };
        if self.no_sequence(axis, "`scan`", at) {
            return None;
        }
        let condition = match condition {
            None => None,
            Some((value, place)) => Some((self.tensor(value, place)?.node, place)),
        };
        let (start, width) = match start.value {
            ExprValue::Number(n) if n >= 1.0 && n.fract() == 0.0 && n <= super::elaborator::MAX_WIDTH => {
                (Start::Zeros, n as usize)
            }
            ExprValue::Number(n) => {
                self.report(
                    Diagnostic::error("E0312", "no size of a state", at, number_text(n))
                        .note("expected a whole number from 1: the state begins as so many zeros")
                        .help("or give the vector that it begins with"),
                );
                return None;
            }
            other => {
                let node = self.tensor(other, at)?.node;
                (Start::Value(node), self.walk.graph.node(node).width())
            }
        };
        // Entries that are kept once per request stay so where all that is read is.
        let mut read: Vec<NodeId> = Vec::new();
        tensors(&step, &mut read);
        read.extend(condition.map(|c| c.0));
        if let Start::Value(node) = start {
            read.push(node);
        }
        let graph = &self.walk.graph;
        let of_requests = |shared: &AxisId| read.iter().all(|&x| graph.axes.is_ancestor(graph.node(x).axis, *shared));
        let axis = graph.axes.shared(axis).filter(of_requests).unwrap_or(axis);
        if let Start::Value(start) = start {
            let node = graph.node(start);
            let per_list = graph.axes.parent(axis).is_some_and(|owners| graph.axes.is_ancestor(node.axis, owners));
            if !per_list || node.shape.0.len() != 1 {
                let found = self.describe_tensor(&Tensor { node: start, fields: None });
                self.report(
                    Diagnostic::error("E0301", "a recurrence begins with one vector per list", at, found)
                        .help("reduce it first, or give a number, for so many zeros"),
                );
                return None;
            }
        }
        Some(Scanned { step, at: step_at, start, axis, width, condition })
    }

    /// `start` at the first entry of each list, else the state before.
    fn begun(&mut self, start: NodeId, before: NodeId, axis: AxisId, span: Span) -> Result<NodeId, TypeError> {
        let place = self.walk.graph.position(axis, span);
        let zero = self.walk.graph.constant(0.0, span);
        let first = self.walk.graph.binary(BinaryOp::Equal, place, zero, span)?;
        self.walk.graph.select(first, start, before, span)
    }

    /// Refuses a step that reads the state of other entries than the one before; whether it does
    /// not.
    fn sees_the_entry_before(&mut self, next: NodeId, before: NodeId, at: Span) -> bool {
        let graph = &self.walk.graph;
        let order = graph.order_from([next]);
        let mut reads = vec![false; graph.bound()];
        reads[before.index()] = true;
        for &id in &order {
            let node = graph.node(id);
            if !node.operands.iter().any(|o| reads[o.index()]) {
                continue;
            }
            reads[id.index()] = true;
            if !node.op.is_per_element() {
                let place = node.span;
                let d = Diagnostic::error("E0324", "a step sees the states of other entries", at, "this step")
                    .label(place, "reduces over the entries, or the batch, what depends on the state")
                    .note("expected what is computed of the state before one entry: the others are not there yet")
                    .help("reduce what `scan` gives: `mean(scan(step, 32 over s) over s)`");
                self.report(d);
                return false;
            }
        }
        true
    }

    /// What `step` made, as the state of each entry: of the axis and width of the state before,
    /// which stays where the condition does not hold.
    fn next_state(&mut self, next: &Tensor, before: NodeId, of: &Scanned<'a>) -> Option<Tensor> {
        let &Scanned { at, axis, width, condition, .. } = of;
        let node = self.walk.graph.node(next.node);
        let (found, shape) = (node.axis, node.shape.clone());
        if shape != Shape::vector(width) {
            let found = shape_text(&shape);
            self.report(
                Diagnostic::error("E0302", "a step changes the size of the state", at, found.clone())
                    .note(format!("expected [{width}], the size that the state begins with\nfound {found}")),
            );
            return None;
        }
        let graph = &mut self.walk.graph;
        for (varies, place) in [(found, at)].into_iter().chain(condition.map(|(c, p)| (graph.node(c).axis, p))) {
            if !graph.axes.is_ancestor(varies, axis) {
                let (found, wanted) = (self.axis_text(varies), self.axis_text(axis));
                self.report(
                    Diagnostic::error("E0303", "a step over another axis", place, format!("varies over {found}"))
                        .note(format!("expected a value over {wanted}, or one per sample"))
                        .help("reduce what varies over more"),
                );
                return None;
            }
        }
        let kept = match condition {
            None => Ok(next.node),
            Some((condition, _)) => self.walk.graph.select(condition, next.node, before, at),
        };
        let states = kept.and_then(|states| self.walk.graph.broadcast(states, axis, &shape, at));
        match states {
            Ok(node) => Some(Tensor { node, fields: next.fields.clone() }),
            Err(e) => {
                self.type_error(e, at);
                None
            }
        }
    }

    /// `shift(x over s)`: at each entry the value of the one before it, 0 at the first.
    pub(super) fn shift(
        &mut self,
        value: ExprValue<'a>,
        over: Option<Over<'a>>,
        at: Span,
        span: Span,
    ) -> ExprValue<'a> {
        let Some(over) = over else { return self.no_entries(&value, "shift", "shift(x over s)", at) };
        if let Some((_, place)) = over.condition {
            return self.fault(
                Diagnostic::error("E0314", "`shift` takes no condition", place, "`where` is not possible here")
                    .help("choose with `select(c, shift(x over s), y)`"),
            );
        }
        if self.no_sequence(over.axis, "`shift`", at) {
            return ExprValue::Poison;
        }
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let (varies, shape) = (self.walk.graph.node(t.node).axis, self.walk.graph.node(t.node).shape.clone());
        let axes = &self.walk.graph.axes;
        if axes.on_samples(varies) != axes.on_samples(over.axis) || shape.0.len() != 1 {
            let (found, wanted) = (self.axis_text(varies), self.axis_text(over.axis));
            return self.fault(
                Diagnostic::error(
                    "E0314",
                    "the value does not vary over this axis",
                    at,
                    format!("varies over {found}"),
                )
                .note(format!("expected a value over {wanted}")),
            );
        }
        let number = self.walk.graph.unused_scan();
        self.walk.graph.scan(number, false, t.node, span);
        let node = self.walk.graph.previous(number, false, varies, shape.width(), span);
        ExprValue::Tensor(Tensor { node, fields: t.fields })
    }

    /// Refuses an axis whose entries are not those of a sequence, in order.
    fn no_sequence(&mut self, axis: AxisId, what: &str, at: Span) -> bool {
        if self.unordered(axis, what, at) {
            return true;
        }
        let second = self.walk.graph.axes.first_name(axis) != axis;
        if second {
            let name = self.axis_text(axis);
            self.report(
                Diagnostic::error("E0314", format!("{what} over a second name"), at, format!("{name} is one"))
                    .help("name the sequence itself"),
            );
        }
        if !second && self.walk.graph.axes.fixed(axis).is_some() {
            let name = self.axis_text(axis);
            self.report(
                Diagnostic::error("E0314", format!("{what} over a list"), at, format!("{name} is one"))
                    .note("expected a sequence")
                    .help("in a function, a `for` runs over the list itself"),
            );
            return true;
        }
        second
    }
}

/// The values that a function is given beside what is left open.
fn tensors(callee: &Callee<'_>, found: &mut Vec<NodeId>) {
    match callee {
        Callee::Partial(p) => {
            tensors(&p.callee, found);
            for argument in &p.arguments {
                if let PartialArgument::Given(given) = argument {
                    of_value(&given.value, found);
                }
            }
        }
        Callee::Layer { inner, .. } => tensors(inner, found),
        Callee::Defined { .. } | Callee::Builtin(_) | Callee::Table(_) | Callee::Family(_) => {}
    }
}

fn of_value(value: &ExprValue<'_>, found: &mut Vec<NodeId>) {
    match value {
        ExprValue::Tensor(t) => found.push(t.node),
        ExprValue::List(items) | ExprValue::Tuple(items) => items.iter().for_each(|item| of_value(item, found)),
        ExprValue::Function(inner) => tensors(inner, found),
        ExprValue::Number(_)
        | ExprValue::Bool(_)
        | ExprValue::Text(_)
        | ExprValue::Group(_)
        | ExprValue::Feature(_)
        | ExprValue::Prediction { .. }
        | ExprValue::Label { .. }
        | ExprValue::Quantity(_)
        | ExprValue::Nothing
        | ExprValue::Poison => {}
    }
}
