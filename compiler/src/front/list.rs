//! Lists: ranges, comprehensions, the functions that make lists and those that reduce them.

use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::value::{Builtin, ExprValue, Tensor, counted};
use super::walk::Context;
use crate::graph::{BinaryOp, NodeId, Shape, TypeError, UnaryOp};
use din_grammar::ast::{self, BinaryOperator, Expr, ForEach};
use din_grammar::{Diagnostic, Span};
use std::rc::Rc;

/// Most items of a list.
const MAX_LIST: usize = 65_536;

impl<'a> Elaborator<'a> {
    /// A list of these items; reports one that is too long.
    pub(super) fn list_value(&mut self, items: Vec<ExprValue<'a>>, span: Span) -> ExprValue<'a> {
        if items.len() <= MAX_LIST { ExprValue::List(items.into()) } else { self.too_long(items.len(), span) }
    }

    fn too_long(&mut self, length: usize, span: Span) -> ExprValue<'a> {
        self.fault(
            Diagnostic::error("E0702", "this list is too long", span, counted(length, "item"))
                .note(format!("expected at most {MAX_LIST} items")),
        )
    }

    /// `a..b`: the whole numbers from `a` to `b - 1`.
    pub(super) fn range(&mut self, l: (ExprValue<'a>, Span), r: (ExprValue<'a>, Span), span: Span) -> ExprValue<'a> {
        let (start, end) = (self.range_end(l.0, l.1), self.range_end(r.0, r.1));
        let (Some(start), Some(end)) = (start, end) else { return ExprValue::Poison };
        if end < start {
            return self.fault(
                Diagnostic::error("E0312", "this range runs backwards", span, format!("{start} to {end}"))
                    .help(format!("`a..b` holds a, a + 1, … up to b - 1; write `{end}..{start}`")),
            );
        }
        if end - start > MAX_LIST as f64 {
            return self.too_long((end - start) as usize, span);
        }
        let items = (0..(end - start) as usize).map(|i| ExprValue::Number(start + i as f64)).collect();
        self.list_value(items, span)
    }

    fn range_end(&mut self, value: ExprValue<'a>, span: Span) -> Option<f64> {
        let n = self.number(value, "an end of a range", span)?;
        // Beyond 2^53 the next whole number is no f64.
        if n.fract() == 0.0 && n.abs() <= 9_007_199_254_740_992.0 {
            return Some(n);
        }
        self.report(
            Diagnostic::error("E0312", "an end of a range must be a whole number", span, format!("{n}"))
                .note(format!("expected a whole number\nfound {n}")),
        );
        None
    }

    /// `[value for … in …]`
    pub(super) fn comprehension(
        &mut self,
        scope: &mut NameScope<'a>,
        value: &'a Expr,
        each: &'a [ForEach],
        span: Span,
    ) -> ExprValue<'a> {
        let mut items = Vec::new();
        if self.fill(scope, value, each, &mut items, span) { self.list_value(items, span) } else { ExprValue::Poison }
    }

    /// The items of the loops `each`, the first of which is the outermost; `false` after a fault of
    /// the loops themselves.
    fn fill(
        &mut self,
        scope: &mut NameScope<'a>,
        value: &'a Expr,
        each: &'a [ForEach],
        items: &mut Vec<ExprValue<'a>>,
        span: Span,
    ) -> bool {
        let Some((outer, inner)) = each.split_first() else {
            if items.len() > MAX_LIST {
                self.too_long(items.len(), span);
                return false;
            }
            let item = self.expr(scope, value);
            items.push(self.usable(item, value.span));
            return true;
        };
        let mut whole = true;
        let ran = self.turns(scope, outer, |me, scope| {
            whole = me.fill(scope, value, inner, items, span);
            whole
        });
        ran && whole
    }

    /// Runs `turn` for each item of a list, with its names bound and its number in the path, until
    /// one returns `false`; whether there is a list to run over.
    pub(super) fn turns(
        &mut self,
        scope: &mut NameScope<'a>,
        each: &'a ForEach,
        mut turn: impl FnMut(&mut Self, &mut NameScope<'a>) -> bool,
    ) -> bool {
        let value = self.expr(scope, &each.list);
        let Some(items) = self.list(value, "what `for` runs over", each.list.span) else { return false };
        self.fresh_names(scope, &each.pattern);
        for (i, item) in items.iter().enumerate() {
            if self.exhausted() {
                return false;
            }
            scope.blocks.push(Vec::new());
            let bound = self.bind_pattern(scope, &each.pattern, item.clone(), each.list.span);
            let named = self.walk.named;
            let go_on = self.under(Some(i.to_string()), named, |me| turn(me, scope));
            scope.blocks.pop();
            if !go_on || !bound {
                break;
            }
        }
        true
    }

    /// Binds a name to a value, and several names to the parts of a tuple or list; `false` where
    /// the value has not as many parts. `at` is the place of what the whole pattern is bound to.
    pub(super) fn bind_pattern(
        &mut self,
        scope: &mut NameScope<'a>,
        pattern: &'a ast::Pattern,
        value: ExprValue<'a>,
        at: Span,
    ) -> bool {
        let (parts, span) = match pattern {
            ast::Pattern::Name(name) => {
                self.note(scope, name.span, &value);
                scope.bind(&name.name, value, name.span);
                return true;
            }
            ast::Pattern::Parts { parts, span } => (parts, *span),
        };
        let (items, mut fine) = match value {
            ExprValue::Tuple(items) | ExprValue::List(items) if items.len() == parts.len() => (Some(items), true),
            ExprValue::Poison => (None, true),
            other => {
                self.no_parts(parts.len(), span, &other, at);
                (None, false)
            }
        };
        for (i, part) in parts.iter().enumerate() {
            let value = items.as_ref().map_or(ExprValue::Poison, |items| items[i].clone());
            fine &= self.bind_pattern(scope, part, value, at);
        }
        fine
    }

    /// Reports a value that has not as many parts as the pattern at `pattern` has.
    fn no_parts(&mut self, wanted: usize, pattern: Span, value: &ExprValue<'a>, at: Span) {
        let found = match value {
            ExprValue::List(items) => format!("a list of {}", items.len()),
            other => self.describe(other),
        };
        let mut d = Diagnostic::error("E0315", format!("{wanted} names for this value"), at, found.clone())
            .label(pattern, format!("takes {wanted} parts"))
            .note(format!("expected a tuple or list of {wanted}\nfound {found}"));
        if let ExprValue::Tensor(t) = value {
            d = d.help(if t.fields.is_some() {
                "the list of the vectors of a record is `fields(x)`".to_owned()
            } else {
                format!("a vector is divided by `split(x, {wanted})`")
            });
        }
        self.report(d);
    }

    /// `fields(x)`: the vectors of a record.
    pub(super) fn fields(&mut self, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let Some(fields) = t.fields.clone() else {
            let found = self.describe_tensor(&t);
            return self.fault(
                Diagnostic::error("E0213", "`fields` takes a record", at, found)
                    .note("expected a value that has fields, such as `embed(ad)` or `concat(a, b)`")
                    .help("a plain vector is divided into equal parts by `split(x, n)`"),
            );
        };
        let parts = fields.iter().map(|f| (f.start, f.width));
        self.parts(t.node, parts, span)
    }

    /// `split(x)`, the components; `split(x, n)`, `n` vectors of equal size.
    pub(super) fn split(
        &mut self,
        (value, at): (ExprValue<'a>, Span),
        number: Option<(ExprValue<'a>, Span)>,
        span: Span,
    ) -> ExprValue<'a> {
        let t = self.tensor(value, at);
        let number = match number {
            None => None,
            Some((n, at)) => match self.size(n, "the number of parts", at) {
                Some(n) => Some((n, at)),
                None => return ExprValue::Poison,
            },
        };
        let Some(t) = t else { return ExprValue::Poison };
        let node = self.walk.graph.node(t.node);
        let (width, rank) = (node.width(), node.shape.0.len());
        if rank != 1 {
            let found = self.describe_tensor(&t);
            return self.fault(
                Diagnostic::error("E0301", "`split` divides vectors", at, found.clone())
                    .note(format!("expected a vector\nfound {found}")),
            );
        }
        let (parts, at) = number.unwrap_or((width, at));
        if !width.is_multiple_of(parts) {
            let found = self.describe_tensor(&t);
            return self.fault(
                Diagnostic::error(
                    "E0301",
                    format!("{width} components do not split into {parts} equal parts"),
                    at,
                    found,
                )
                .help(format!("choose a number that divides {width}")),
            );
        }
        if parts > MAX_LIST {
            return self.too_long(parts, span);
        }
        let each = width / parts;
        self.parts(t.node, (0..parts).map(|i| (i * each, each)), span)
    }

    /// Parts of a vector, by first component and width.
    fn parts(&mut self, node: NodeId, parts: impl Iterator<Item = (usize, usize)>, span: Span) -> ExprValue<'a> {
        let whole = self.walk.graph.node(node).width();
        let items = parts
            .map(|(start, width)| {
                if width == whole {
                    return ExprValue::Tensor(Tensor { node, fields: None });
                }
                let built = self.walk.graph.slice(node, start, Shape::vector(width), span);
                self.built(built, span)
            })
            .collect();
        self.list_value(items, span)
    }

    /// `pairs(xs)`: each item with each later one.
    pub(super) fn pairs_of(&mut self, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        let Some(items) = self.list(value, "what `pairs` takes", at) else { return ExprValue::Poison };
        let length = items.len() * items.len().saturating_sub(1) / 2;
        if length > MAX_LIST {
            return self.too_long(length, span);
        }
        let with_later = |(i, a): (usize, &ExprValue<'a>)| {
            let a = a.clone();
            items[i + 1..].iter().map(move |b| ExprValue::Tuple([a.clone(), b.clone()].into())).collect::<Vec<_>>()
        };
        self.list_value(items.iter().enumerate().flat_map(with_later).collect(), span)
    }

    /// `zip(xs, ys, …)`: the first items of all lists as a tuple, then the second ones, and so on.
    pub(super) fn zip(&mut self, lists: Vec<(ExprValue<'a>, Span)>, span: Span) -> ExprValue<'a> {
        let mut columns: Vec<(Rc<[ExprValue<'a>]>, Span)> = Vec::new();
        let mut poison = false;
        for (value, at) in lists {
            match self.list(value, "what `zip` takes", at) {
                Some(items) => columns.push((items, at)),
                None => poison = true,
            }
        }
        if poison {
            return ExprValue::Poison;
        }
        let (first, first_at) = columns[0].clone();
        if let Some((other, at)) = columns.iter().find(|(items, _)| items.len() != first.len()) {
            let (expected, found) = (counted(first.len(), "item"), counted(other.len(), "item"));
            return self.fault(
                Diagnostic::error("E0316", "`zip` of lists of different lengths", *at, &found)
                    .label(first_at, &expected)
                    .note(format!("expected {expected}\nfound {found}")),
            );
        }
        let row = |i: usize| ExprValue::Tuple(columns.iter().map(|(items, _)| items[i].clone()).collect());
        self.list_value((0..first.len()).map(row).collect(), span)
    }

    /// `enumerate(xs)`: each item behind its index, from 0.
    pub(super) fn enumerate(&mut self, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        let Some(items) = self.list(value, "what `enumerate` takes", at) else { return ExprValue::Poison };
        let numbered =
            |(i, item): (usize, &ExprValue<'a>)| ExprValue::Tuple([ExprValue::Number(i as f64), item.clone()].into());
        self.list_value(items.iter().enumerate().map(numbered).collect(), span)
    }

    /// `sum(xs)` and `mean(xs)` of the items of a list; 0 where there are none.
    pub(super) fn total_of_list(&mut self, mean: bool, items: &[ExprValue<'a>], at: Span, span: Span) -> ExprValue<'a> {
        let Some(first) = items.first() else { return ExprValue::Number(0.0) };
        let first = match first {
            ExprValue::Number(_) => first.clone(),
            other => match self.tensor(other.clone(), at) {
                Some(t) => ExprValue::Tensor(t),
                None => return ExprValue::Poison,
            },
        };
        let total = items[1..]
            .iter()
            .fold(first, |total, item| self.binary(BinaryOperator::Add, (total, at), (item.clone(), at), span));
        if !mean || items.len() == 1 {
            return total;
        }
        let number = ExprValue::Number(items.len() as f64);
        self.binary(BinaryOperator::Divide, (total, at), (number, at), span)
    }

    /// `min(xs)` and `max(xs)`: by component, over the items of a list.
    pub(super) fn extremum_of_list(
        &mut self,
        builtin: Builtin,
        items: &[ExprValue<'a>],
        at: Span,
        span: Span,
    ) -> ExprValue<'a> {
        let name = builtin.name();
        let Some((first, rest)) = items.split_first() else {
            return self.fault(
                Diagnostic::error("E0209", format!("`{name}` of an empty list"), at, "no items")
                    .note("expected at least one item"),
            );
        };
        let start = match first {
            ExprValue::Number(_) => first.clone(),
            other => match self.tensor(other.clone(), at) {
                Some(t) => ExprValue::Tensor(t),
                None => return ExprValue::Poison,
            },
        };
        rest.iter().fold(start, |so_far, item| self.extremum(builtin, (so_far, at), (item.clone(), at), span))
    }

    /// `min(x)` and `max(x)` over the components of one value.
    pub(super) fn extremum_of_components(
        &mut self,
        builtin: Builtin,
        value: ExprValue<'a>,
        at: Span,
        span: Span,
    ) -> ExprValue<'a> {
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        if !self.reduces_a_vector(builtin, &t, at) {
            return ExprValue::Poison;
        }
        let op = if builtin == Builtin::Max { BinaryOp::Max } else { BinaryOp::Min };
        let built = self.of_components(op, t.node, span);
        self.built(built, span)
    }

    /// The least or greatest component, by halving: the first half with the last, which share a
    /// component if their number is odd.
    fn of_components(&mut self, op: BinaryOp, x: NodeId, span: Span) -> Result<NodeId, TypeError> {
        let mut x = x;
        loop {
            let width = self.walk.graph.node(x).width();
            if width == 1 {
                return Ok(x);
            }
            let half = width.div_ceil(2);
            let first = self.walk.graph.slice(x, 0, Shape::vector(half), span)?;
            let last = self.walk.graph.slice(x, width - half, Shape::vector(half), span)?;
            x = self.walk.graph.binary(op, first, last, span)?;
        }
    }

    /// Whether a value is a vector of a model, of which components may be compared.
    fn reduces_a_vector(&mut self, builtin: Builtin, t: &Tensor, at: Span) -> bool {
        let name = builtin.name();
        if matches!(self.walk.context, Context::Update(_)) {
            self.report(
                Diagnostic::error("E0321", format!("`{name}` over components in an update"), at, "not possible here")
                    .help("in an optimizer or regularizer, `sum` and `mean` reduce"),
            );
            return false;
        }
        let rank = self.walk.graph.node(t.node).shape.0.len();
        if rank != 1 {
            let found = self.describe_tensor(t);
            self.report(
                Diagnostic::error("E0301", format!("`{name}` takes a vector"), at, found.clone())
                    .note(format!("expected a vector\nfound {found}")),
            );
        }
        rank == 1
    }

    /// Warns of a softmax over one component.
    fn softmax_of_one(&mut self, t: &Tensor, at: Span, span: Span) {
        let node = self.walk.graph.node(t.node);
        let library = self.sources.get(span.file).is_some_and(|file| file.name.starts_with("std."));
        if node.width() != 1 || library {
            return;
        }
        let axes = &self.walk.graph.axes;
        let help = if axes.has_entries(node.axis) {
            let axis = self.axis_here(node.axis);
            format!("over the entries it is `softmax(… over {axis})`")
        } else {
            "it is over the components of a vector, or the items of a list".into()
        };
        let d = Diagnostic::warning("W0610", "a softmax over one component is always 1", at, "one component");
        self.report(d.help(help));
    }

    /// `softmax(x)` over the components of one value.
    pub(super) fn softmax_of_components(&mut self, value: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        if !self.reduces_a_vector(Builtin::Softmax, &t, at) {
            return ExprValue::Poison;
        }
        self.softmax_of_one(&t, at, span);
        let built = self.of_components(BinaryOp::Max, t.node, span).and_then(|greatest| {
            // Subtracted so that `exp` does not overflow: it cancels, and so does its gradient.
            let greatest = self.walk.graph.stop_gradient(greatest, span);
            let below = self.walk.graph.binary(BinaryOp::Subtract, t.node, greatest, span)?;
            let weights = self.walk.graph.unary(UnaryOp::Exp, below, span);
            let total = self.walk.graph.sum_value(weights, span);
            self.walk.graph.binary(BinaryOp::Divide, weights, total, span)
        });
        match built {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: t.fields }),
            Err(e) => self.type_error(e, span),
        }
    }

    /// `softmax(xs)`: a list of as many, by component `exp(x)` divided by the sum of `exp(x)` over
    /// the items.
    pub(super) fn softmax_of_list(&mut self, items: &[ExprValue<'a>], at: Span, span: Span) -> ExprValue<'a> {
        if items.is_empty() {
            return ExprValue::List([].into());
        }
        let ExprValue::Tensor(greatest) = self.extremum_of_list(Builtin::Max, items, at, span) else {
            // Of numbers or of faulty items.
            return match self.numbers_of(items) {
                Some(numbers) => softmax_of_numbers(&numbers),
                None => ExprValue::Poison,
            };
        };
        let greatest = Tensor { node: self.walk.graph.stop_gradient(greatest.node, span), fields: greatest.fields };
        let mut weights = Vec::new();
        for item in items {
            let of_greatest = (ExprValue::Tensor(greatest.clone()), at);
            let below = self.binary(BinaryOperator::Subtract, (item.clone(), at), of_greatest, span);
            let Some(below) = self.tensor(below, at) else { return ExprValue::Poison };
            let node = self.walk.graph.unary(UnaryOp::Exp, below.node, span);
            weights.push(ExprValue::Tensor(Tensor { node, fields: below.fields }));
        }
        let total = self.total_of_list(false, &weights, at, span);
        let shares = weights
            .into_iter()
            .map(|weight| self.binary(BinaryOperator::Divide, (weight, at), (total.clone(), at), span))
            .collect();
        self.list_value(shares, span)
    }

    fn numbers_of(&self, items: &[ExprValue<'a>]) -> Option<Vec<f64>> {
        let number = |item: &ExprValue<'a>| match item {
            ExprValue::Number(n) => Some(*n),
            _ => None,
        };
        items.iter().map(number).collect()
    }
}

fn softmax_of_numbers<'a>(numbers: &[f64]) -> ExprValue<'a> {
    let greatest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = numbers.iter().map(|n| (n - greatest).exp()).collect();
    let total: f64 = weights.iter().sum();
    ExprValue::List(weights.iter().map(|w| ExprValue::Number(w / total)).collect())
}
