//! Functions that the language itself knows: elementwise operations, reductions, statistics,
//! concat, embedding.

use super::elaborator::Elaborator;
use super::value::{ArgumentValue, Builtin, ExprValue, Over, RecordField, Tensor, counted};
use crate::graph::{BATCH, BinaryOp, GLOBAL, NodeId, Shape, UnaryOp};
use din_grammar::{Diagnostic, Span};
use din_program::schedule::Statistic;
use std::rc::Rc;

/// Most fields of one record.
const MAX_FIELDS: usize = 4096;

/// Whether it reduces over the entries of a sequence: `sum(x over s)`.
pub(super) fn reduces(builtin: Builtin) -> bool {
    use Builtin::*;
    match builtin {
        Sum | Mean | Max | Softmax | First | Last => true,
        Unary(_) | Min | StopGradient | Select | Position | Scan | Shift | Statistic(_) | Concat | Embed | Length
        | Size | Transpose | Dropout | Fields | Split | Zip | Pairs | Enumerate | Overlap => false,
    }
}

/// Help for a named argument, which builtin functions do not take.
fn by_position(builtin: Builtin, name: &str) -> String {
    let axis = matches!(name, "axis" | "dim" | "axes" | "keepdims" | "keepdim" | "reduction_indices");
    let form = builtin.form();
    match (axis, reduces(builtin)) {
        (true, true) => format!(
            "there are no numbers of axes: `{0}(x over s)` reduces the entries of a sequence, `{0}(x)` the components",
            builtin.name()
        ),
        (true, false) => format!("there are no numbers of axes, and the last one is meant: write `{form}`"),
        (false, _) => format!("builtin functions take their arguments by position: `{form}`"),
    }
}

impl<'a> Elaborator<'a> {
    pub fn builtin(&mut self, builtin: Builtin, given: Vec<ArgumentValue<'a>>, span: Span) -> ExprValue<'a> {
        let (given, backward) = match builtin {
            Builtin::Scan | Builtin::Shift => match self.direction(builtin, given) {
                Some(directed) => directed,
                None => return ExprValue::Poison,
            },
            _ => (given, false),
        };
        let name = builtin.name();
        let (least, most) = builtin.arity();
        if given.len() < least || most.is_some_and(|most| given.len() > most) {
            let (code, few) = if given.len() < least { ("E0209", "too few") } else { ("E0210", "too many") };
            let wanted = match most {
                Some(most) if most == least => least.to_string(),
                Some(most) => format!("{least} to {most}"),
                None => format!("at least {least}"),
            };
            let d = Diagnostic::error(
                code,
                format!("{few} arguments for `{name}`"),
                span,
                counted(given.len(), "argument"),
            );
            let d = d.note(format!("expected {wanted}\nfound {}", given.len()));
            return self.fault(match reduces(builtin) && code == "E0210" {
                true => self.without_axis(d, name, &given, span),
                false if builtin == Builtin::Embed => d.help("one group at a time: `concat(embed(user), embed(ad))`"),
                false => d.help(format!("write `{}`", builtin.form())),
            });
        }
        for (k, g) in given.iter().enumerate() {
            if let Some(n) = g.name {
                return self.fault(
                    Diagnostic::error(
                        "E0208",
                        format!("`{name}` has no parameter `{}`", n.name),
                        n.span,
                        "no such parameter",
                    )
                    .help(by_position(builtin, &n.name)),
                );
            }
            let reduces = reduces(builtin) && given.len() == 1;
            let of_axis = match builtin {
                Builtin::Length | Builtin::Position | Builtin::Shift => true,
                Builtin::Scan => k == 1,
                _ => false,
            };
            if g.over.is_some() && !reduces && !of_axis {
                return self.fault(
                    Diagnostic::error(
                        "E0314",
                        format!("`{name}` takes no axis"),
                        g.span,
                        "`over` is not possible here",
                    )
                    .help(match builtin {
                        Builtin::Min => "the least over the entries is `-max(-x over s)`",
                        _ => "`over` stands in `sum(x over s)`, `mean`, `max`, `softmax`, `first` and `last`",
                    }),
                );
            }
        }
        let mut arguments = given.into_iter();
        let first = arguments.next().expect("every builtin takes at least one argument");
        if builtin == Builtin::Shift {
            return self.shift(first, backward, span);
        }
        let (value, at) = (first.value, first.span);
        if builtin == Builtin::Scan {
            let start = arguments.next().expect("`scan` takes two arguments");
            return self.scan((value, at), start, backward, span);
        }
        let rest: Vec<(ExprValue<'a>, Span)> = arguments.map(|g| (g.value, g.span)).collect();
        if matches!(builtin, Builtin::Dropout | Builtin::Split)
            && let (ExprValue::Number(_), Some((ExprValue::Tensor(_), second))) = (&value, rest.first())
        {
            let (first, second) = (self.on_one_line(at), (self.on_one_line(*second), *second));
            return self.fault(
                Diagnostic::error("E0307", format!("the arguments of `{name}` stand in another order"), at, "a number")
                    .label(second.1, "the value")
                    .note(format!("the order is `{}`", builtin.form()))
                    .help(format!("write `{name}({}, {first})`", second.0)),
            );
        }
        match builtin {
            Builtin::Scan | Builtin::Shift => unreachable!("called above"),
            Builtin::Unary(op) => self.elementwise(op, value, at, span),
            Builtin::Min | Builtin::Max => match rest.into_iter().next() {
                Some(other) => self.extremum(builtin, (value, at), other, span),
                None => self.extreme(builtin, value, first.over, at, span),
            },
            Builtin::Softmax => self.softmax(value, first.over, at, span),
            Builtin::First | Builtin::Last => self.end(builtin == Builtin::Last, value, first.over, at, span),
            Builtin::StopGradient => match self.tensor(value, at) {
                Some(t) => {
                    ExprValue::Tensor(Tensor { node: self.walk.graph.stop_gradient(t.node, span), fields: t.fields })
                }
                None => ExprValue::Poison,
            },
            Builtin::Select => self.select(value, at, rest, span),
            Builtin::Sum | Builtin::Mean => self.total(builtin == Builtin::Mean, value, first.over, at, span),
            Builtin::Statistic(statistic) => self.statistic(statistic, value, at, span),
            Builtin::Embed => match rest.as_slice() {
                [] => self.embed(value, at, span),
                _ => {
                    let groups = std::iter::once((value, at)).chain(rest).collect();
                    self.joined_record(groups, span, |me, value, at| me.embed(value, at, span))
                }
            },
            Builtin::Overlap => {
                let other = rest.into_iter().next().expect("`overlap` takes two arguments");
                self.overlap((value, at), other, span)
            }
            Builtin::Length | Builtin::Position => self.of_axis(builtin, (value, at), first.over, span),
            Builtin::Dropout => {
                let rate = rest.into_iter().next().expect("`dropout` takes two arguments");
                self.dropout((value, at), rate, span)
            }
            Builtin::Size => match self.tensor(value, at) {
                Some(t) => ExprValue::Number(self.walk.graph.node(t.node).width() as f64),
                None => ExprValue::Poison,
            },
            Builtin::Transpose => self.fault(
                Diagnostic::error("E0309", "a transposed matrix stands on the right of `@`", span, "not a value")
                    .help("write the product with it, `x @ transpose(w)`"),
            ),
            Builtin::Fields => self.fields(value, at, span),
            Builtin::Split => self.split((value, at), rest.into_iter().next(), span),
            Builtin::Pairs => self.pairs_of(value, at, span),
            Builtin::Enumerate => self.enumerate(value, at, span),
            Builtin::Zip => {
                let mut lists = vec![(value, at)];
                lists.extend(rest);
                self.zip(lists, span)
            }
            // Calls of `concat` go through `concat` below; this is one passed as a function.
            Builtin::Concat => {
                let mut all = vec![(value, at)];
                all.extend(rest);
                let given: Vec<ArgumentValue<'a>> = all
                    .into_iter()
                    .map(|(value, span)| ArgumentValue { name: None, value, over: None, span })
                    .collect();
                let labels = vec![None; given.len()];
                self.concat(&given, &labels, span)
            }
        }
    }

    /// `mean(x, axis = 1)`: how the reduction of its first argument is written.
    fn without_axis(&self, d: Diagnostic, name: &str, given: &[ArgumentValue<'a>], span: Span) -> Diagnostic {
        let Some(first) = given.first() else { return d };
        let text = self.on_one_line(first.span);
        let reduced = match (&first.over, &first.value) {
            (Some(_), _) => text,
            (None, ExprValue::Tensor(t)) => {
                let axis = self.walk.graph.node(t.node).axis;
                match self.walk.graph.axes.has_entries(axis) {
                    true => format!("{text} over {}", self.axis_here(axis)),
                    false => text,
                }
            }
            (None, _) => return d.help(format!("over the entries of a sequence `s`, write `{name}(x over s)`")),
        };
        let call = format!("{name}({reduced})");
        d.help(format!("write `{call}`: axes have names and not numbers, and nothing is padded or masked"))
            .edit(span, call)
    }

    /// `length(s)` and `position(s)`.
    fn of_axis(
        &mut self,
        builtin: Builtin,
        (value, at): (ExprValue<'a>, Span),
        over: Option<Over<'a>>,
        span: Span,
    ) -> ExprValue<'a> {
        match over {
            Some(over) if matches!(value, ExprValue::Nothing) => {
                let built = if builtin == Builtin::Position {
                    if self.unordered(over.axis, "`position`", at) {
                        return ExprValue::Poison;
                    }
                    self.position(over.axis, span)
                } else if let Some(size) = self.walk.graph.axes.fixed(over.axis) {
                    return ExprValue::Number(f64::from(size));
                } else {
                    Ok(self.length(over.axis, span))
                };
                self.built(built, span)
            }
            _ if matches!(value, ExprValue::Poison) => ExprValue::Poison,
            _ => {
                if let (ExprValue::List(items), Builtin::Length, None) = (&value, builtin, &over) {
                    return ExprValue::Number(items.len() as f64);
                }
                let name = builtin.name();
                let help =
                    format!("name a sequence: `{name}(visited)`, or in a function the axis of its type: `{name}(s)`");
                self.fault(Diagnostic::error("E0314", format!("`{name}` takes an axis"), at, "not an axis").help(help))
            }
        }
    }

    fn elementwise(&mut self, op: UnaryOp, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        if let ExprValue::Number(n) = value {
            let y = (op.description().value)(n);
            if y.is_finite() {
                return ExprValue::Number(y);
            }
            return self.fault(
                Diagnostic::error("E0311", "not a finite number", at, format!("of {n}"))
                    .help("compile-time numbers are finite"),
            );
        }
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        ExprValue::Tensor(Tensor { node: self.walk.graph.unary(op, t.node, span), fields: t.fields })
    }

    pub(super) fn extremum(
        &mut self,
        builtin: Builtin,
        l: (ExprValue<'a>, Span),
        r: (ExprValue<'a>, Span),
        span: Span,
    ) -> ExprValue<'a> {
        let max = builtin == Builtin::Max;
        if let (&ExprValue::Number(a), &ExprValue::Number(b)) = (&l.0, &r.0) {
            return ExprValue::Number(if max { a.max(b) } else { a.min(b) });
        }
        let (lt, rt) = (self.tensor(l.0, l.1), self.tensor(r.0, r.1));
        let (Some(lt), Some(rt)) = (lt, rt) else { return ExprValue::Poison };
        let Some(fields) = self.same_fields(builtin.name(), (&lt, l.1), (&rt, r.1)) else { return ExprValue::Poison };
        let op = if max { BinaryOp::Max } else { BinaryOp::Min };
        match self.walk.graph.binary(op, lt.node, rt.node, span) {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields }),
            Err(e) => self.type_error(e, span),
        }
    }

    fn select(
        &mut self,
        condition: ExprValue<'a>,
        at: Span,
        rest: Vec<(ExprValue<'a>, Span)>,
        span: Span,
    ) -> ExprValue<'a> {
        let mut rest = rest.into_iter();
        let (Some(a), Some(b)) = (rest.next(), rest.next()) else { return ExprValue::Poison };
        if let ExprValue::Number(n) = condition {
            let chosen = if n == 0.0 { "the third" } else { "the second" };
            let [x, y, z] = [at, a.1, b.1].map(|span| self.on_one_line(span));
            let d = Diagnostic::warning("W0615", "this `select` always chooses the same", at, "a number");
            let d = d.label(if n == 0.0 { b.1 } else { a.1 }, "always this one");
            self.report(d.note(format!("it chooses {chosen} argument for every sample")).help(format!(
                "the condition stands first: `select({z}, {x}, {y})`; what is known before data are read is chosen by `if`"
            )));
        }
        let condition = self.tensor(condition, at);
        let (ta, tb) = (self.tensor(a.0, a.1), self.tensor(b.0, b.1));
        let (Some(c), Some(ta), Some(tb)) = (condition, ta, tb) else { return ExprValue::Poison };
        let Some(fields) = self.same_fields("select", (&ta, a.1), (&tb, b.1)) else { return ExprValue::Poison };
        let wider = if self.walk.graph.node(ta.node).width() >= self.walk.graph.node(tb.node).width() {
            (&ta, a.1)
        } else {
            (&tb, b.1)
        };
        let plain = Tensor { node: c.node, fields: None };
        if self.same_fields("select", wider, (&plain, at)).is_none() {
            return ExprValue::Poison;
        }
        match self.walk.graph.select(c.node, ta.node, tb.node, span) {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields }),
            Err(e) => self.type_error(e, span),
        }
    }

    /// Sum or mean over the components of the value; in an optimizer `per tensor` over the tensor's
    /// rows as well.
    pub fn reduce_components(&mut self, mean: bool, t: &Tensor, span: Span) -> ExprValue<'a> {
        if let super::walk::Context::Update(din_grammar::ast::OptimizerScope::Weight) = self.walk.context {
            return self.fault(
                Diagnostic::error("E0321", "one weight is seen at a time here", span, "nothing to reduce")
                    .help("an optimizer that reduces is `per row` or `per tensor`"),
            );
        }
        let (width, axis) = (self.walk.graph.node(t.node).width(), self.walk.graph.node(t.node).axis);
        let mut node = self.walk.graph.sum_value(t.node, span);
        if self.reduces_rows() && axis == BATCH {
            let built = self.walk.graph.sum(node, GLOBAL, span);
            match built {
                Ok(n) => node = n,
                Err(e) => return self.type_error(e, span),
            }
        }
        if mean {
            let n = self.walk.graph.constant(width as f64, span);
            let mut built = self.walk.graph.binary(BinaryOp::Divide, node, n, span);
            if self.reduces_rows() && axis == BATCH {
                let count = self.walk.graph.count(BATCH, span);
                built = built.and_then(|x| self.walk.graph.binary(BinaryOp::Divide, x, count, span));
            }
            return self.built(built, span);
        }
        ExprValue::Tensor(Tensor { node, fields: None })
    }

    /// A statistic, by component, over all elements that the value varies over: its one result, or
    /// a tuple of its results.
    fn statistic(&mut self, statistic: Statistic, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        let results = statistic.description().results as usize;
        let poison = || match results {
            1 => ExprValue::Poison,
            _ => ExprValue::Tuple(vec![ExprValue::Poison; results].into()),
        };
        let Some(t) = self.tensor(value, at) else { return poison() };
        let node = self.walk.graph.node(t.node);
        let (axis, width) = (node.axis, node.width());
        if axis == GLOBAL {
            let (found, name) = (self.describe_tensor(&t), statistic.description().name);
            self.report(
                Diagnostic::error("E0314", format!("`{name}` of a value that does not vary"), at, found)
                    .note("expected a value that varies over the samples or a sequence"),
            );
            return poison();
        }
        if self.walk.graph.axes.second_of_pairs(axis).is_some() {
            let (found, name) = (self.describe_tensor(&t), statistic.description().name);
            self.report(
                Diagnostic::error("E0314", format!("`{name}` of a value over pairs of entries"), at, found)
                    .help("reduce it to one of the two first, such as `sum(x over t)`"),
            );
            return poison();
        }
        // What is the same for all samples of a request counts as often as they are.
        let replicated = self.walk.graph.replicated(t.node, span);
        let all = match replicated.and_then(|x| self.walk.graph.statistic(statistic, x, span)) {
            Ok(n) => n,
            Err(e) => return self.type_error(e, span),
        };
        if results == 1 {
            return ExprValue::Tensor(Tensor { node: all, fields: t.fields });
        }
        let result = |k: usize| self.walk.graph.slice(all, k * width, Shape::vector(width), span);
        let of_results: Vec<_> = (0..results).map(result).collect();
        ExprValue::Tuple(of_results.into_iter().map(|result| self.built(result, span)).collect())
    }

    /// Joins values and records; the names of fields are kept.
    pub fn concat(&mut self, given: &[ArgumentValue<'a>], labels: &[Option<&str>], span: Span) -> ExprValue<'a> {
        if let [only] = given
            && let (None, Some(over)) = (only.name, &only.over)
        {
            return self.joined_entries(only, over, span);
        }
        let mut operands = Vec::new();
        let mut fields: Vec<RecordField> = Vec::new();
        let mut start = 0;
        let mut poison = false;
        // The operands with their names; a list stands for its items.
        let mut parts: Vec<(&ArgumentValue<'a>, ExprValue<'a>, Rc<str>)> = Vec::new();
        for (i, g) in given.iter().enumerate() {
            let name = match labels.get(i) {
                Some(Some(label)) => String::from(*label),
                _ => format!("_{i}"),
            };
            match &g.value {
                ExprValue::List(items) => {
                    let item = |(j, item): (usize, &ExprValue<'a>)| (g, item.clone(), format!("{name}_{j}").into());
                    parts.extend(items.iter().enumerate().map(item));
                }
                value => parts.push((g, value.clone(), name.into())),
            }
        }
        for (g, value, name) in parts {
            if let Some(n) = g.name {
                self.report(
                    Diagnostic::error(
                        "E0208",
                        format!("`concat` has no parameter `{}`", n.name),
                        n.span,
                        "no such parameter",
                    )
                    .help(by_position(Builtin::Concat, &n.name)),
                );
                poison = true;
                continue;
            }
            if g.over.is_some() {
                self.report(
                    Diagnostic::error(
                        "E0314",
                        "`concat` of several values takes no axis",
                        g.span,
                        "`over` is not possible here",
                    )
                    .help("join the values, or reduce them first: `concat(sum(x over s), y)`"),
                );
                poison = true;
                continue;
            }
            let Some(t) = self.tensor(value, g.span) else {
                poison = true;
                continue;
            };
            let node = self.walk.graph.node(t.node);
            let (width, shape) = (node.width(), node.shape.clone());
            if shape.0.len() != 1 {
                let found = super::value::shape_text(&shape);
                self.report(
                    Diagnostic::error("E0301", "`concat` joins vectors", g.span, found.clone())
                        .note(format!("expected a vector\nfound {found}")),
                );
                poison = true;
                continue;
            }
            match &t.fields {
                Some(inner) => {
                    fields.extend(inner.iter().map(|f| RecordField { start: f.start + start, ..f.clone() }));
                }
                None => fields.push(RecordField { name, start, width }),
            }
            start += width;
            if start as f64 > super::elaborator::MAX_WIDTH || fields.len() > MAX_FIELDS {
                self.report(
                    Diagnostic::error("E0702", "the joined value is too wide", g.span, counted(start, "component"))
                        .note(format!(
                            "expected at most {} components and {MAX_FIELDS} fields\nfound {start} and {}",
                            super::elaborator::MAX_WIDTH,
                            fields.len()
                        ))
                        .help("join less"),
                );
                return ExprValue::Poison;
            }
            operands.push((t, g.span));
        }
        if poison || operands.is_empty() {
            if !poison {
                self.report(
                    Diagnostic::error("E0209", "`concat` joins nothing", span, "no arguments")
                        .help("give it values to join"),
                );
            }
            return ExprValue::Poison;
        }
        let mut deepest = 0;
        for i in 1..operands.len() {
            let (a, b) = (&operands[deepest], &operands[i]);
            let (da, db) = (self.walk.graph.node(a.0.node).axis, self.walk.graph.node(b.0.node).axis);
            match self.walk.graph.axes.join(da, db) {
                Some(d) if d != da => deepest = i,
                Some(_) => {}
                None => {
                    let (at, bt) = (self.axis_text(da), self.axis_text(db));
                    let d = Diagnostic::error(
                        "E0303",
                        "`concat` of values over different axes",
                        b.1,
                        format!("varies over {bt}"),
                    )
                    .label(a.1, format!("varies over {at}"))
                    .note("expected one axis: entries of different sequences have no order in common")
                    .help(format!("reduce one of them first, such as `sum(x over {})`", bt.trim_matches('`')));
                    return self.fault(d);
                }
            }
        }
        let nodes: Vec<NodeId> = operands.iter().map(|o| o.0.node).collect();
        let built = if nodes.len() == 1 { Ok(nodes[0]) } else { self.walk.graph.concat(nodes, span) };
        match built {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: Some(fields.into()) }),
            Err(e) => self.type_error(e, span),
        }
    }
}
