//! Expressions: names, fields, conditions, operators. Compile-time arithmetic is in `compile_time`,
//! tensor arithmetic in `tensor`, calls in `call`.

use super::distribution::DistributionName;
use super::elaborator::Elaborator;
use super::foreign;
use super::scope::NameScope;
use super::value::{Builtin, Callee, ExprValue, Tensor, fields_text, nearest};
use super::walk::Context;
use crate::graph::Shape;
use din_grammar::ast::{self, BinaryOperator, Expr, ExprKind, UnaryOperator};
use din_grammar::{Diagnostic, Span};
use din_program::schema::FeatureKind;

/// What the terms under a `where present` read.
#[derive(Default)]
struct PresentTerms {
    /// A label.
    named: bool,
    /// One that may be missing.
    masked: bool,
}

impl<'a> Elaborator<'a> {
    /// The value of an expression.
    pub fn expr(&mut self, scope: &mut NameScope<'a>, e: &'a Expr) -> ExprValue<'a> {
        if !self.enter(e.span) {
            return ExprValue::Poison;
        }
        let value = self.expr_inner(scope, e);
        self.note(scope, e.span, &value);
        self.leave();
        value
    }

    fn expr_inner(&mut self, scope: &mut NameScope<'a>, e: &'a Expr) -> ExprValue<'a> {
        match &e.kind {
            ExprKind::Name(name) => self.resolve(scope, name, e.span),
            ExprKind::Int(n) => ExprValue::Number(*n as f64),
            ExprKind::Float(x) => ExprValue::Number(*x),
            ExprKind::Text(text) => ExprValue::Text(text.as_str().into()),
            ExprKind::Bool(b) => ExprValue::Bool(*b),
            ExprKind::List(items) => ExprValue::List(items.iter().map(|i| self.expr(scope, i)).collect()),
            ExprKind::Comprehension { value, each } => self.comprehension(scope, value, each, e.span),
            ExprKind::Tuple(items) => ExprValue::Tuple(items.iter().map(|i| self.expr(scope, i)).collect()),
            ExprKind::Hole => self.fault(
                Diagnostic::error("E0313", "`_` outside the arguments of a call", e.span, "nothing to leave open here")
                    .help("`_` leaves an argument open: `mlp(_, [64], relu)`"),
            ),
            ExprKind::Call { callee, arguments } => self.call(scope, e, callee, arguments),
            ExprKind::Field { base, name } => {
                if let Some(fault) = self.foreign_member(scope, e) {
                    return fault;
                }
                let base_value = self.expr(scope, base);
                self.field(base_value, base.span, name, e.span)
            }
            ExprKind::SecondName { value, axis } => self.second_name(scope, value, axis, e.span),
            ExprKind::Unary { op, value } => {
                let v = self.expr(scope, value);
                self.unary(*op, v, value.span, e.span)
            }
            ExprKind::Binary { op, left, right } => {
                let l = self.expr(scope, left);
                if *op == BinaryOperator::Product
                    && let Some(matrix) = self.transposed(scope, right)
                {
                    return self.transposed_product((l, left.span), matrix, e.span);
                }
                let r = self.expr(scope, right);
                self.binary(*op, (l, left.span), (r, right.span), e.span)
            }
            ExprKind::If { condition, then, otherwise } => match self.expr(scope, condition) {
                ExprValue::Bool(c) => self.block(scope, if c { then } else { otherwise }),
                ExprValue::Poison => ExprValue::Poison,
                ExprValue::Tensor(t) => {
                    let found = self.describe_tensor(&t);
                    self.fault(
                        Diagnostic::error(
                            "E0310",
                            "`if` chooses at compile time",
                            condition.span,
                            "varies with the data",
                        )
                        .note(format!("expected a compile-time bool, such as `training`\nfound {found}"))
                        .help("use `select(condition, a, b)`, which chooses by component"),
                    )
                }
                other => {
                    let found = self.describe(&other);
                    self.fault(
                        Diagnostic::error("E0310", "`if` chooses at compile time", condition.span, "not a bool")
                            .note(format!("expected a compile-time bool, such as `training`\nfound {found}")),
                    )
                }
            },
            ExprKind::Where { value, condition } => self.where_(scope, value, condition, e.span),
            ExprKind::Quantity { value, unit } => {
                let scale = match unit.name.as_str() {
                    "B" => 1.0,
                    "KB" => 1e3,
                    "MB" => 1e6,
                    "GB" => 1e9,
                    "TB" => 1e12,
                    "KiB" => 1024.0,
                    "MiB" => 1024f64.powi(2),
                    "GiB" => 1024f64.powi(3),
                    "TiB" => 1024f64.powi(4),
                    _ => {
                        let known = ["B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"];
                        let factor = match unit.name.as_str() {
                            "k" | "K" => Some(1e3),
                            "m" | "M" => Some(1e6),
                            "b" | "G" | "bn" => Some(1e9),
                            _ => None,
                        };
                        let Some(factor) = factor else {
                            return self.unknown_word("E0307", "unit", unit, &known);
                        };
                        let number = super::value::number_text(value * factor);
                        return self.fault(
                            Diagnostic::error(
                                "E0307",
                                format!("unknown unit `{}`", unit.name),
                                unit.span,
                                "not known here",
                            )
                            .help(format!("write the number out, `{number}`; units are those of memory, such as `MB`")),
                        );
                    }
                };
                ExprValue::Quantity(value * scale)
            }
        }
    }

    /// `base.name`
    fn field(&mut self, base: ExprValue<'a>, base_span: Span, name: &'a ast::Ident, span: Span) -> ExprValue<'a> {
        match base {
            ExprValue::Poison => ExprValue::Poison,
            ExprValue::Group(g) => {
                let group = &self.declarations.groups[g];
                let features = &self.declarations.schema.features;
                if let Some(f) = group.features.clone().find(|&f| features[f].name == name.name) {
                    self.declarations.named_features.insert(f);
                    return ExprValue::Feature(f);
                }
                let known: Vec<&str> = group.features.clone().map(|f| features[f].name.as_str()).collect();
                let mut d = Diagnostic::error(
                    "E0213",
                    format!("group `{}` has no field `{}`", group.name, name.name),
                    name.span,
                    "no such field",
                )
                .label(group.span, "the group");
                let has = super::load::listed(&known);
                let of_entries = self.declarations.schema.features[group.features.start].sequence.is_some();
                let near = nearest(&name.name, known.iter().copied());
                d = match near {
                    Some(near) => d.did_you_mean(name.span, near),
                    None => d.help(match name.name.as_str() {
                        "length" | "len" | "size" | "count" if of_entries => {
                            format!("the number of entries is `length({})`", group.name)
                        }
                        word if Builtin::by_name(word).is_some() && of_entries => {
                            format!("`{word}` is a function: `{word}(embed({0}) over {0})`", group.name)
                        }
                        word if Builtin::by_name(word).is_some() => {
                            format!("`{word}` is a function: `{word}(embed({}))`", group.name)
                        }
                        _ => format!("it has {has}"),
                    }),
                };
                self.fault(d)
            }
            ExprValue::Tensor(t) => match &t.fields {
                None => {
                    let found = self.describe_tensor(&t);
                    let none = || "fields come from `embed(group)`; a matrix product has none".into();
                    let help = self.as_function(&t, name).unwrap_or_else(none);
                    self.fault(
                        Diagnostic::error("E0213", format!("no field `{}`", name.name), name.span, "no such field")
                            .label(base_span, found)
                            .help(help),
                    )
                }
                Some(fields) => {
                    let mut found = fields.iter().filter(|f| *f.name == *name.name);
                    match (found.next(), found.next()) {
                        (Some(f), None) => {
                            let (start, shape) = (f.start, Shape::vector(f.width));
                            let built = self.walk.graph.slice(t.node, start, shape, span);
                            self.built(built, span)
                        }
                        (Some(_), Some(_)) => self.fault(
                            Diagnostic::error(
                                "E0213",
                                format!("two fields are called `{}`", name.name),
                                name.span,
                                "which one?",
                            )
                            .label(base_span, fields_text(fields))
                            .help("take the field before the values are joined"),
                        ),
                        (None, _) => {
                            let mut d = Diagnostic::error(
                                "E0213",
                                format!("no field `{}`", name.name),
                                name.span,
                                "no such field",
                            )
                            .label(base_span, fields_text(fields));
                            let names: Vec<&str> = fields.iter().map(|f| &*f.name).collect();
                            d = match nearest(&name.name, names.iter().copied()) {
                                Some(near) => d.did_you_mean(name.span, near),
                                None => d.help(match self.as_function(&t, name) {
                                    Some(help) => help,
                                    None => format!("it has {}", super::load::listed(&names)),
                                }),
                            };
                            self.fault(d)
                        }
                    }
                }
            },
            ExprValue::Prediction { index, named, .. } => self.prediction_field(index, named, name, span),
            ExprValue::Label { index, named } => match name.name.as_str() {
                "label" => {
                    self.note_label(index, named);
                    ExprValue::Tensor(Tensor { node: self.label_node(index, span), fields: None })
                }
                "present" => self.presence_field(index, named, span),
                // A word of predictions, of which there is none.
                word if DistributionName::ALL.iter().any(|(_, of)| of.fields().contains(&word)) => {
                    self.not_predicted(index, span)
                }
                _ => self.unknown_word("E0213", "field", name, &["label", "present"]),
            },
            other => {
                let found = self.describe(&other);
                self.fault(
                    Diagnostic::error("E0213", format!("no field `{}`", name.name), name.span, "no such field")
                        .label(base_span, found),
                )
            }
        }
    }

    /// Help for `x.mean()` and `x.T`: how the builtin function of this name is called, or what is
    /// written for the property.
    fn as_function(&self, t: &Tensor, word: &ast::Ident) -> Option<String> {
        let name = word.name.as_str();
        let Some(builtin) = Builtin::by_name(name) else {
            let home = super::elaborator::library_home(name).map(|_| format!("`{name}` is a function: `{name}(x)`"));
            return home.or_else(|| foreign::property(name).map(str::to_owned));
        };
        let axis = self.walk.graph.node(t.node).axis;
        Some(match super::builtin::reduces(builtin) && self.walk.graph.axes.has_entries(axis) {
            true => format!("`{name}` is a function: `{name}(x over {})`", self.axis_here(axis)),
            false => format!("`{name}` is a function: `{name}(x)`"),
        })
    }

    /// `value where condition`: 0 for samples that do not count.
    fn where_(&mut self, scope: &mut NameScope<'a>, value: &'a Expr, condition: &'a Expr, span: Span) -> ExprValue<'a> {
        if self.walk.context != Context::Loss {
            return self.fault(
                Diagnostic::error("E0612", "`where` outside `loss`", span, "says which samples count for a loss")
                    .help("use `select(condition, a, 0)`, or in a reduction `sum(a over s where condition)`"),
            );
        }
        let builtin = scope.find("present").is_none();
        if builtin && matches!(&condition.kind, ExprKind::Name(n) if n == "present") {
            let mut terms = PresentTerms::default();
            let result = self.present(scope, value, condition.span, &mut terms);
            // A function may be called with labels that are always present.
            let called = self.sampling || !self.walk.frames.is_empty();
            let meant = terms.masked || (called && terms.named);
            if !meant && !matches!(result, ExprValue::Poison) {
                return self.fault(
                    Diagnostic::error("E0612", "no label that may be missing is named here", condition.span, "always present")
                        .label(value.span, "this loss")
                        .help(if self.declarations.schema.labels.iter().any(|label| label.missing.is_some()) {
                            "write `where present` after a term that reads the prediction: in the model's `loss`, or in a function that takes the prediction"
                        } else {
                            "drop `where present`, or give the label a `missing` value: `label click: binary missing -1`"
                        }),
                );
            }
            return result;
        }
        let (v, c) = self.where_known(|me| {
            let v = me.expr(scope, value);
            let c = me.expr(scope, condition);
            let (v, c) = (me.tensor(v, value.span), me.tensor(c, condition.span));
            let known = c.as_ref().map(|c| c.node);
            ((v, c), known)
        });
        let (Some(v), Some(c)) = (v, c) else { return ExprValue::Poison };
        let zero = self.walk.graph.constant(0.0, span);
        let built = self.walk.graph.select(c.node, v.node, zero, span);
        self.built(built, span)
    }

    /// `value where present`: each term of a sum counts where the labels in it are present.
    fn present(
        &mut self,
        scope: &mut NameScope<'a>,
        value: &'a Expr,
        at: Span,
        terms: &mut PresentTerms,
    ) -> ExprValue<'a> {
        if !self.enter(value.span) {
            return ExprValue::Poison;
        }
        let result =
            if let ExprKind::Binary { op: op @ (BinaryOperator::Add | BinaryOperator::Subtract), left, right } =
                &value.kind
            {
                let l = self.present(scope, left, at, terms);
                let r = self.present(scope, right, at, terms);
                self.binary(*op, (l, left.span), (r, right.span), value.span)
            } else {
                self.present_term(scope, value, at, terms)
            };
        self.leave();
        result
    }

    fn present_term(
        &mut self,
        scope: &mut NameScope<'a>,
        value: &'a Expr,
        at: Span,
        terms: &mut PresentTerms,
    ) -> ExprValue<'a> {
        let outside = std::mem::take(&mut self.walk.bare);
        let mut v = self.expr(scope, value);
        if let ExprValue::Label { .. } = v {
            v = self.tensor(v, value.span).map_or(ExprValue::Poison, ExprValue::Tensor);
        }
        let inside = std::mem::replace(&mut self.walk.bare, outside);
        let mut done = Vec::new();
        for (label, _) in inside {
            terms.named = true;
            if done.contains(&label) || self.declarations.schema.labels[label as usize].missing.is_none() {
                continue;
            }
            done.push(label);
            terms.masked = true;
            let Some(t) = self.tensor(v, value.span) else { return ExprValue::Poison };
            let present = self.presence(label, at);
            let zero = self.walk.graph.constant(0.0, at);
            let built = self.walk.graph.select(present, t.node, zero, value.span);
            v = self.built(built, value.span);
        }
        v
    }

    fn unary(&mut self, op: UnaryOperator, v: ExprValue<'a>, at: Span, span: Span) -> ExprValue<'a> {
        match (op, v) {
            (_, ExprValue::Poison) => ExprValue::Poison,
            (UnaryOperator::Negate, ExprValue::Number(n)) => ExprValue::Number(-n),
            (UnaryOperator::Not, ExprValue::Bool(b)) => ExprValue::Bool(!b),
            (op, v) => {
                let Some(t) = self.tensor(v, at) else { return ExprValue::Poison };
                let op = match op {
                    UnaryOperator::Negate => crate::graph::UnaryOp::Negate,
                    UnaryOperator::Not => crate::graph::UnaryOp::Not,
                };
                let node = self.walk.graph.unary(op, t.node, span);
                ExprValue::Tensor(Tensor { node, fields: t.fields })
            }
        }
    }

    /// `w` of `transpose(w)`, with its place.
    fn transposed(&mut self, scope: &mut NameScope<'a>, e: &'a Expr) -> Option<(ExprValue<'a>, Span)> {
        let ExprKind::Call { callee, arguments } = &e.kind else { return None };
        let (ExprKind::Name(name), [matrix]) = (&callee.kind, arguments.as_slice()) else { return None };
        let plain = matrix.is_plain() && !matches!(matrix.value.kind, ExprKind::Hole);
        if name != Builtin::Transpose.name() || !plain {
            return None;
        }
        let ExprValue::Function(function) = self.expr(scope, callee) else { return None };
        let Callee::Builtin(Builtin::Transpose) = &*function else { return None };
        Some((self.expr(scope, &matrix.value), matrix.span))
    }

    fn transposed_product(&mut self, x: (ExprValue<'a>, Span), w: (ExprValue<'a>, Span), span: Span) -> ExprValue<'a> {
        match (self.tensor(x.0, x.1), self.tensor(w.0, w.1)) {
            (Some(left), Some(right)) => self.product((left, x.1), (right, w.1), true, span),
            (None, _) | (_, None) => ExprValue::Poison,
        }
    }

    pub(super) fn binary(
        &mut self,
        op: BinaryOperator,
        l: (ExprValue<'a>, Span),
        r: (ExprValue<'a>, Span),
        span: Span,
    ) -> ExprValue<'a> {
        if op == BinaryOperator::Range {
            return self.range(l, r, span);
        }
        match (&l.0, &r.0) {
            (ExprValue::Poison, _) | (_, ExprValue::Poison) => return ExprValue::Poison,
            (&ExprValue::Number(a), &ExprValue::Number(b)) => return self.numbers(op, a, b, r.1, span),
            (&ExprValue::Quantity(a), &ExprValue::Quantity(b)) => {
                return match self.numbers(op, a, b, r.1, span) {
                    ExprValue::Number(n) if op != BinaryOperator::Divide => ExprValue::Quantity(n),
                    v => v,
                };
            }
            (&ExprValue::Bool(a), &ExprValue::Bool(b)) => match op {
                BinaryOperator::And => return ExprValue::Bool(a && b),
                BinaryOperator::Or => return ExprValue::Bool(a || b),
                BinaryOperator::Equal => return ExprValue::Bool(a == b),
                BinaryOperator::NotEqual => return ExprValue::Bool(a != b),
                _ => {}
            },
            (ExprValue::Text(a), ExprValue::Text(b)) => match op {
                BinaryOperator::Equal => return ExprValue::Bool(a == b),
                BinaryOperator::NotEqual => return ExprValue::Bool(a != b),
                _ => {}
            },
            (ExprValue::List(a), ExprValue::List(b)) if op == BinaryOperator::Add => {
                return self.list_value(a.iter().chain(b.iter()).cloned().collect(), span);
            }
            _ => {}
        }
        if matches!(op, BinaryOperator::Equal | BinaryOperator::NotEqual) {
            if let (&ExprValue::Feature(a), &ExprValue::Feature(b)) = (&l.0, &r.0)
                && (self.has_ids(a) || self.has_ids(b))
            {
                return self.ids_equal(op == BinaryOperator::NotEqual, (a, l.1), (b, r.1), span);
            }
            for (value, at) in [&l, &r] {
                let ExprValue::Feature(f) = value else { continue };
                let feature = &self.declarations.schema.features[*f];
                if matches!(feature.kind, FeatureKind::Dense { .. }) {
                    continue;
                }
                let path = feature.path();
                return self.fault(
                    Diagnostic::error("E0320", "ids cannot be compared", *at, format!("`{path}` holds ids"))
                        .help("compare fields with ids with each other: `visited.cate_id == ad.cate_id`"),
                );
            }
        }
        self.arithmetic(op, l, r, span)
    }
}
