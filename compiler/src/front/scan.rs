//! Recurrences over a sequence: `scan`.

use super::elaborator::Elaborator;
use super::value::{
    ArgumentValue, Callee, ExprValue, Over, PartialArgument, RecordField, Tensor, counted, number_text, shape_text,
};
use crate::graph::{AxisId, BinaryOp, NodeId, Shape, TypeError};
use din_grammar::{Diagnostic, Span};
use std::rc::Rc;

/// The fields of a part of the state, if it is a record.
type PartFields = Option<Rc<[RecordField]>>;

/// The state before the first entry.
#[derive(Clone, Copy)]
enum Start {
    Zeros,
    Value(NodeId),
}

/// A part of the state: all of it, or an item of a tuple.
struct StatePart {
    start: Start,
    width: usize,
    /// Of a record that it begins as.
    fields: PartFields,
}

/// What `scan` is given.
struct Scanned<'a> {
    step: Rc<Callee<'a>>,
    /// Where `step` and the start stand.
    at: Span,
    start_at: Span,
    /// Side by side in the state.
    parts: Vec<StatePart>,
    /// Whether the parts are the items of a tuple; otherwise there is one.
    is_tuple: bool,
    /// The entries.
    axis: AxisId,
    /// From the last entry of each list to the first.
    backward: bool,
    /// Not 0 where an entry changes the state; all do without one.
    condition: Option<(NodeId, Span)>,
}

impl Scanned<'_> {
    /// Components of the state.
    fn width(&self) -> usize {
        self.parts.iter().map(|part| part.width).sum()
    }
}

impl<'a> Elaborator<'a> {
    /// `scan(step, start over s)`: the state after each entry, which `step` makes of the one
    /// before; with `backward` of the one behind.
    pub(super) fn scan(
        &mut self,
        step: (ExprValue<'a>, Span),
        start: ArgumentValue<'a>,
        backward: bool,
        span: Span,
    ) -> ExprValue<'a> {
        let Some(of) = self.scanned(step, start, backward) else { return ExprValue::Poison };
        let number = self.walk.graph.unused_scan();
        let previous = self.walk.graph.previous(number, backward, of.axis, of.width(), span);
        let before = match self.before(&of, previous, span) {
            Ok(before) => before,
            Err(e) => return self.type_error(e, span),
        };
        let argument = |part: &Tensor| ArgumentValue {
            name: None,
            value: ExprValue::Tensor(part.clone()),
            over: None,
            span: of.at,
        };
        let given = before.iter().map(argument).collect();
        let next = self.apply(&of.step, given, span);
        let mut next = self.parts_of(next, &of);
        if next.as_ref().is_some_and(|next| !self.sees_the_entry_before(next, previous, of.at)) {
            // Goes on with some state: what training alone refuses must not hide what comes behind.
            next = Some(before.clone());
        }
        let made = next.and_then(|next| self.next_state(next, &before, &of));
        // The recurrence ends whatever was wrong, so that the graph stays one.
        let node = self.walk.graph.scan(number, backward, made.as_ref().map_or(previous, |next| next.0), span);
        let Some((_, fields)) = made else { return ExprValue::Poison };
        match self.divided(node, &of, fields, span) {
            Ok(parts) if of.is_tuple => ExprValue::Tuple(parts.into_iter().map(ExprValue::Tensor).collect()),
            Ok(parts) => {
                let [part] = <[Tensor; 1]>::try_from(parts).expect("a state that is no tuple has one part");
                ExprValue::Tensor(part)
            }
            Err(e) => self.type_error(e, span),
        }
    }

    /// The parts of a state, with the fields of each.
    fn divided(
        &mut self,
        state: NodeId,
        of: &Scanned<'a>,
        fields: Vec<PartFields>,
        span: Span,
    ) -> Result<Vec<Tensor>, TypeError> {
        let mut start = 0;
        let mut tensors = Vec::with_capacity(of.parts.len());
        for (part, fields) in of.parts.iter().zip(fields) {
            let node = match of.is_tuple {
                true => self.walk.graph.slice(state, start, Shape::vector(part.width), span)?,
                false => state,
            };
            tensors.push(Tensor { node, fields });
            start += part.width;
        }
        Ok(tensors)
    }

    /// The parts of the state before each entry: `previous`, or what the recurrence begins with.
    fn before(&mut self, of: &Scanned<'a>, previous: NodeId, span: Span) -> Result<Vec<Tensor>, TypeError> {
        let fields = of.parts.iter().map(|part| part.fields.clone()).collect();
        let mut before = self.divided(previous, of, fields, span)?;
        for (part, tensor) in of.parts.iter().zip(&mut before) {
            if let Start::Value(start) = part.start {
                tensor.node = self.begun(start, tensor.node, of, span)?;
            }
        }
        Ok(before)
    }

    /// What `step` gave, by part of the state.
    fn parts_of(&mut self, next: ExprValue<'a>, of: &Scanned<'a>) -> Option<Vec<Tensor>> {
        let items = match (&next, of.is_tuple) {
            (ExprValue::Poison, _) => return None,
            (ExprValue::Tuple(items), true) if items.len() == of.parts.len() => items.to_vec(),
            (ExprValue::Tuple(_), _) | (_, true) => {
                let found = self.describe(&next);
                let (wanted, help) = match of.is_tuple {
                    true => (
                        format!("a tuple of {}, the parts that the state begins with", of.parts.len()),
                        "end the step with as many values, in this order: `(h, c)`",
                    ),
                    false => (
                        "one vector, as the state begins with".into(),
                        "begin with a tuple, a size or vector for each part: `scan(step, (32, 32) over s)`",
                    ),
                };
                self.report(
                    Diagnostic::error("E0315", "a step changes the parts of the state", of.at, found.clone())
                        .note(format!("expected {wanted}\nfound {found}"))
                        .help(help),
                );
                return None;
            }
            (_, false) => vec![next],
        };
        let tensors: Vec<Option<Tensor>> = items.into_iter().map(|item| self.tensor(item, of.at)).collect();
        tensors.into_iter().collect()
    }

    /// The arguments of `scan`; `None` where one of them is at fault.
    fn scanned(
        &mut self,
        (step, step_at): (ExprValue<'a>, Span),
        start: ArgumentValue<'a>,
        backward: bool,
    ) -> Option<Scanned<'a>> {
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
        let (items, is_tuple) = match start.value {
            ExprValue::Tuple(items) => (items.to_vec(), true),
            value => (vec![value], false),
        };
        let parts: Vec<Option<StatePart>> = items.into_iter().map(|item| self.state_part(item, at)).collect();
        let parts = parts.into_iter().collect::<Option<Vec<StatePart>>>()?;
        if let Callee::Partial(partial) = &*step
            && partial.holes() != parts.len()
        {
            let (found, wanted) = (counted(partial.holes(), "argument"), counted(parts.len(), "part"));
            self.report(
                Diagnostic::error(
                    "E0315",
                    "a step of other parts than the state",
                    step_at,
                    format!("leaves {found} open"),
                )
                .label(at, wanted.clone())
                .note(format!("expected one open argument for each part of the state, {wanted}\nfound {found}"))
                .help("leave `_` for each part: `scan(lstm_cell(_, _, x), (32, 32) over s)`"),
            );
            return None;
        }
        // Entries that are kept once per request stay so where all that is read is.
        let mut read: Vec<NodeId> = Vec::new();
        tensors(&step, &mut read);
        read.extend(condition.map(|c| c.0));
        let begins = |part: &StatePart| match part.start {
            Start::Zeros => None,
            Start::Value(node) => Some(node),
        };
        read.extend(parts.iter().filter_map(begins));
        let graph = &self.walk.graph;
        let of_requests = |shared: &AxisId| read.iter().all(|&x| graph.axes.is_ancestor(graph.node(x).axis, *shared));
        let axis = graph.axes.shared(axis).filter(of_requests).unwrap_or(axis);
        for start in parts.iter().filter_map(begins) {
            let graph = &self.walk.graph;
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
        let of = Scanned { step, at: step_at, start_at: at, parts, is_tuple, axis, backward, condition };
        if of.width() as f64 > super::elaborator::MAX_WIDTH {
            let (found, most) = (counted(of.width(), "component"), super::elaborator::MAX_WIDTH);
            self.report(
                Diagnostic::error("E0702", "the state is too wide", at, found.clone())
                    .note(format!("expected at most {most} components in all parts\nfound {found}"))
                    .help("give the parts fewer components"),
            );
            return None;
        }
        Some(of)
    }

    /// How a part of the state begins: a number of zeros, or a vector.
    fn state_part(&mut self, value: ExprValue<'a>, at: Span) -> Option<StatePart> {
        match value {
            ExprValue::Number(n) if n >= 1.0 && n.fract() == 0.0 && n <= super::elaborator::MAX_WIDTH => {
                Some(StatePart { start: Start::Zeros, width: n as usize, fields: None })
            }
            ExprValue::Number(n) => {
                self.report(
                    Diagnostic::error("E0312", "no size of a state", at, number_text(n))
                        .note("expected a whole number from 1: the state begins as so many zeros")
                        .help("or give the vector that it begins with"),
                );
                None
            }
            other => {
                let Tensor { node, fields } = self.tensor(other, at)?;
                Some(StatePart { start: Start::Value(node), width: self.walk.graph.node(node).width(), fields })
            }
        }
    }

    /// `start` at the entry of each list at which the recurrence begins, else the state before.
    fn begun(&mut self, start: NodeId, before: NodeId, of: &Scanned<'a>, span: Span) -> Result<NodeId, TypeError> {
        let place = self.position(of.axis, span)?;
        let begin = match of.backward {
            false => self.walk.graph.constant(0.0, span),
            true => {
                let (length, one) = (self.length(of.axis, span), self.walk.graph.constant(1.0, span));
                self.walk.graph.binary(BinaryOp::Subtract, length, one, span)?
            }
        };
        let first = self.walk.graph.binary(BinaryOp::Equal, place, begin, span)?;
        self.walk.graph.select(first, start, before, span)
    }

    /// Refuses a step that reads the state of other entries than the one before; whether it does
    /// not.
    fn sees_the_entry_before(&mut self, next: &[Tensor], previous: NodeId, at: Span) -> bool {
        let graph = &self.walk.graph;
        let order = graph.order_from(next.iter().map(|part| part.node));
        let mut reads = vec![false; graph.bound()];
        reads[previous.index()] = true;
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

    /// What `step` made, as the state of each entry, with the fields of its parts.
    fn next_state(
        &mut self,
        next: Vec<Tensor>,
        before: &[Tensor],
        of: &Scanned<'a>,
    ) -> Option<(NodeId, Vec<PartFields>)> {
        let mut parts = Vec::with_capacity(next.len());
        for (k, (next, before)) in next.iter().zip(before).enumerate() {
            parts.push(self.next_part(k, next, before, of)?);
        }
        let nodes: Vec<NodeId> = parts.iter().map(|part| part.node).collect();
        let fields = parts.into_iter().map(|part| part.fields).collect();
        let state = if of.is_tuple { self.walk.graph.concat(nodes, of.at) } else { Ok(nodes[0]) };
        match state {
            Ok(node) => Some((node, fields)),
            Err(e) => {
                self.type_error(e, of.at);
                None
            }
        }
    }

    /// Part `k` of what `step` made, as that of the state of each entry: of the axis and width of
    /// the part before, which stays where the condition does not hold.
    fn next_part(&mut self, k: usize, next: &Tensor, before: &Tensor, of: &Scanned<'a>) -> Option<Tensor> {
        let &Scanned { at, axis, condition, .. } = of;
        let width = of.parts[k].width;
        let node = self.walk.graph.node(next.node);
        let (found, shape) = (node.axis, node.shape.clone());
        if shape != Shape::vector(width) {
            let found = shape_text(&shape);
            let what = if of.is_tuple { format!("part {} of the state", k + 1) } else { "the state".into() };
            self.report(
                Diagnostic::error("E0302", "a step changes the size of the state", at, found.clone())
                    .note(format!("expected [{width}], the size that {what} begins with\nfound {found}")),
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
        let fields = self.same_fields("scan", (before, of.start_at), (next, at))?;
        let kept = match condition {
            None => Ok(next.node),
            Some((condition, _)) => self.walk.graph.select(condition, next.node, before.node, at),
        };
        match kept.and_then(|states| self.walk.graph.broadcast(states, axis, &shape, at)) {
            Ok(node) => Some(Tensor { node, fields }),
            Err(e) => {
                self.type_error(e, at);
                None
            }
        }
    }

    /// Refuses an axis whose entries are not those of a sequence, in order.
    pub(super) fn no_sequence(&mut self, axis: AxisId, what: &str, at: Span) -> bool {
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
