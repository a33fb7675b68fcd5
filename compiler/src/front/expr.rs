//! Expressions: names, compile-time arithmetic, fields, conditions. Tensor arithmetic is in `tensor`, calls in `call`.

use super::elab::{Elab, InputKey, Phase, Scope};
use super::value::{Tensor, Value, fields_text, nearest};
use crate::graph::{BATCH, Shape};
use din_grammar::ast::{self, BinaryOp, Expr, ExprKind, UnaryOp};
use din_grammar::{Diagnostic, Span};
use din_program::schema::FeatureKind;
use std::rc::Rc;

/// Most items of a list.
const MAX_LIST: usize = 65_536;

impl<'a> Elab<'a> {
    /// The value of an expression.
    pub fn expr(&mut self, scope: &mut Scope<'a>, e: &'a Expr) -> Value<'a> {
        if !self.enter(e.span) {
            return Value::Poison;
        }
        let value = self.expr_inner(scope, e);
        self.leave();
        value
    }

    fn expr_inner(&mut self, scope: &mut Scope<'a>, e: &'a Expr) -> Value<'a> {
        match &e.kind {
            ExprKind::Name(name) => self.resolve(scope, name, e.span),
            ExprKind::Int(n) => Value::Number(*n as f64),
            ExprKind::Float(x) => Value::Number(*x),
            ExprKind::Text(text) => Value::Text(text.as_str().into()),
            ExprKind::Bool(b) => Value::Bool(*b),
            ExprKind::List(items) => Value::List(items.iter().map(|i| self.expr(scope, i)).collect()),
            ExprKind::Tuple(items) => Value::Tuple(items.iter().map(|i| self.expr(scope, i)).collect()),
            ExprKind::Hole => self.fault(
                Diagnostic::error("E0313", "`_` outside the arguments of a call", e.span, "nothing to leave open here")
                    .help("`_` leaves an argument open: `mlp(_, [64], relu)`"),
            ),
            ExprKind::Call { callee, arguments } => self.call(scope, e, callee, arguments),
            ExprKind::Field { base, name } => {
                let base_value = self.expr(scope, base);
                self.field(base_value, base.span, name, e.span)
            }
            ExprKind::Unary { op, value } => {
                let v = self.expr(scope, value);
                self.unary(*op, v, value.span, e.span)
            }
            ExprKind::Binary { op, left, right } => {
                let l = self.expr(scope, left);
                let r = self.expr(scope, right);
                self.binary(*op, (l, left.span), (r, right.span), e.span)
            }
            ExprKind::If { condition, then, otherwise } => match self.expr(scope, condition) {
                Value::Bool(c) => self.block(scope, if c { then } else { otherwise }),
                Value::Poison => Value::Poison,
                Value::Tensor(t) => {
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
                        return self.unknown_word("E0307", "unit", unit, &known);
                    }
                };
                Value::Quantity(value * scale)
            }
        }
    }

    /// `base.name`
    fn field(&mut self, base: Value<'a>, base_span: Span, name: &'a ast::Ident, span: Span) -> Value<'a> {
        match base {
            Value::Poison => Value::Poison,
            Value::Group(g) => {
                let group = &self.declarations.groups[g];
                let features = &self.declarations.schema.features;
                if let Some(f) = group.features.clone().find(|&f| features[f].name == name.name) {
                    return Value::Feature(f);
                }
                let known: Vec<&str> = group.features.clone().map(|f| features[f].name.as_str()).collect();
                let mut d = Diagnostic::error(
                    "E0213",
                    format!("group `{}` has no field `{}`", group.name, name.name),
                    name.span,
                    "no such field",
                )
                .label(group.span, "the group");
                d.help = match nearest(&name.name, known.iter().copied()) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None => Some(format!("it has {}", super::load::listed(&known))),
                };
                self.fault(d)
            }
            Value::Tensor(t) => match &t.fields {
                None => {
                    let found = self.describe_tensor(&t);
                    self.fault(
                        Diagnostic::error("E0213", format!("no field `{}`", name.name), name.span, "no such field")
                            .label(base_span, found)
                            .help("fields come from `embed(group)`; a matrix product has none"),
                    )
                }
                Some(fields) => {
                    let mut found = fields.iter().filter(|f| *f.name == *name.name);
                    match (found.next(), found.next()) {
                        (Some(f), None) => {
                            let (start, shape) = (f.start, Shape::vector(f.width));
                            let built = self.graph.slice(t.node, start, shape, span);
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
                            .help("take the field before `concat`"),
                        ),
                        (None, _) => {
                            let mut d = Diagnostic::error(
                                "E0213",
                                format!("no field `{}`", name.name),
                                name.span,
                                "no such field",
                            )
                            .label(base_span, fields_text(fields));
                            d.help = nearest(&name.name, fields.iter().map(|f| &*f.name))
                                .map(|near| format!("did you mean `{near}`?"));
                            self.fault(d)
                        }
                    }
                }
            },
            Value::Prediction(p) => self.prediction_field(p, name, span),
            other => {
                let found = self.describe(&other);
                self.fault(
                    Diagnostic::error("E0213", format!("no field `{}`", name.name), name.span, "no such field")
                        .label(base_span, found),
                )
            }
        }
    }

    /// `.logit`, `.probability` and `.label` of a prediction.
    fn prediction_field(&mut self, p: usize, name: &ast::Ident, span: Span) -> Value<'a> {
        let Some(Some(logit)) = self.run.logits.get(p).copied() else { return Value::Poison };
        let node = match name.name.as_str() {
            "logit" => logit,
            "probability" => self.graph.unary(crate::graph::UnaryOp::Sigmoid, logit, span),
            "label" => self.label_node(p, span),
            _ => return self.unknown_word("E0213", "field", name, &["logit", "probability", "label"]),
        };
        Value::Tensor(Tensor { node, fields: None })
    }

    fn label_node(&mut self, p: usize, span: Span) -> crate::graph::NodeId {
        let label = self.predictions[p].label;
        let name = format!("label {}", self.predictions[p].name);
        let input =
            self.input(InputKey::Label(label), name, crate::graph::InputKind::Label { label }, BATCH, Shape::scalar());
        self.graph.input(input, span)
    }

    /// A label's name: its prediction in `loss`, a fault elsewhere.
    pub fn label_value(&mut self, label: usize, declared: Span, span: Span) -> Value<'a> {
        let name = self.declarations.schema.labels[label].name.clone();
        if self.phase != Phase::Loss {
            return self.fault(
                Diagnostic::error("E0601", format!("the label `{name}` is used as an input"), span, "leaks the answer")
                    .label(declared, "declared as a label here")
                    .help("labels are seen by `loss` and `report` only; declare what is known at prediction time as a feature"),
            );
        }
        match self.predictions.iter().position(|p| p.label as usize == label) {
            Some(p) => {
                if self.declarations.schema.labels[label].missing.is_some() {
                    self.run.bare.push((p, span));
                }
                Value::Prediction(p)
            }
            None if self.unpredicted => Value::Poison,
            None => self.fault(
                Diagnostic::error(
                    "E0611",
                    format!("the label `{name}` has no prediction"),
                    span,
                    "nothing to compare with",
                )
                .label(declared, "declared here")
                .help(format!("add `predict {name} ~ bernoulli(logit = …)`")),
            ),
        }
    }

    /// `value where condition`: 0 for samples that do not count.
    fn where_(&mut self, scope: &mut Scope<'a>, value: &'a Expr, condition: &'a Expr, span: Span) -> Value<'a> {
        if self.phase != Phase::Loss {
            return self.fault(
                Diagnostic::error("E0612", "`where` outside `loss`", span, "says which samples count for a loss")
                    .help("use `select(condition, a, 0)`"),
            );
        }
        let builtin = scope.find("present").is_none();
        if builtin && matches!(&condition.kind, ExprKind::Name(n) if n == "present") {
            let mut masked = false;
            let result = self.present(scope, value, condition.span, &mut masked);
            if !masked && !matches!(result, Value::Poison) {
                return self.fault(
                    Diagnostic::error("E0612", "no label that may be missing is named here", condition.span, "always present")
                        .label(value.span, "this loss")
                        .help(if self.declarations.schema.labels.iter().any(|label| label.missing.is_some()) {
                            "write `where present` after the term that names the label, in the model's `loss`"
                        } else {
                            "drop `where present`, or give the label a `missing` value: `label click: binary missing -1`"
                        }),
                );
            }
            return result;
        }
        let v = self.expr(scope, value);
        let c = self.expr(scope, condition);
        let (v, c) = (self.tensor(v, value.span), self.tensor(c, condition.span));
        let (Some(v), Some(c)) = (v, c) else { return Value::Poison };
        let zero = self.graph.constant(0.0, span);
        let built = self.graph.select(c.node, v.node, zero, span);
        self.built(built, span)
    }

    /// `value where present`: each term of a sum counts where the labels in it are present.
    fn present(&mut self, scope: &mut Scope<'a>, value: &'a Expr, at: Span, masked: &mut bool) -> Value<'a> {
        if !self.enter(value.span) {
            return Value::Poison;
        }
        let result =
            if let ExprKind::Binary { op: op @ (BinaryOp::Add | BinaryOp::Subtract), left, right } = &value.kind {
                let l = self.present(scope, left, at, masked);
                let r = self.present(scope, right, at, masked);
                self.binary(*op, (l, left.span), (r, right.span), value.span)
            } else {
                self.present_term(scope, value, at, masked)
            };
        self.leave();
        result
    }

    fn present_term(&mut self, scope: &mut Scope<'a>, value: &'a Expr, at: Span, masked: &mut bool) -> Value<'a> {
        let outside = std::mem::take(&mut self.run.bare);
        let mut v = self.expr(scope, value);
        let inside = std::mem::replace(&mut self.run.bare, outside);
        let mut done = Vec::new();
        for (p, _) in inside {
            if done.contains(&p) {
                continue;
            }
            done.push(p);
            *masked = true;
            let Some(t) = self.tensor(v, value.span) else { return Value::Poison };
            let label = self.predictions[p].label;
            let name = format!("present {}", self.predictions[p].name);
            let kind = crate::graph::InputKind::Present { label };
            let input = self.input(InputKey::Present(label), name, kind, BATCH, Shape::scalar());
            let present = self.graph.input(input, at);
            let zero = self.graph.constant(0.0, at);
            let built = self.graph.select(present, t.node, zero, value.span);
            v = self.built(built, value.span);
        }
        v
    }

    fn unary(&mut self, op: UnaryOp, v: Value<'a>, at: Span, span: Span) -> Value<'a> {
        match (op, v) {
            (_, Value::Poison) => Value::Poison,
            (UnaryOp::Negate, Value::Number(n)) => Value::Number(-n),
            (UnaryOp::Not, Value::Bool(b)) => Value::Bool(!b),
            (op, v) => {
                let Some(t) = self.tensor(v, at) else { return Value::Poison };
                let op = match op {
                    UnaryOp::Negate => crate::graph::UnaryOp::Negate,
                    UnaryOp::Not => crate::graph::UnaryOp::Not,
                };
                let node = self.graph.unary(op, t.node, span);
                Value::Tensor(Tensor { node, fields: t.fields })
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, l: (Value<'a>, Span), r: (Value<'a>, Span), span: Span) -> Value<'a> {
        match (&l.0, &r.0) {
            (Value::Poison, _) | (_, Value::Poison) => return Value::Poison,
            (&Value::Number(a), &Value::Number(b)) => return self.numbers(op, a, b, r.1, span),
            (&Value::Quantity(a), &Value::Quantity(b)) => {
                return match self.numbers(op, a, b, r.1, span) {
                    Value::Number(n) if op != BinaryOp::Divide => Value::Quantity(n),
                    v => v,
                };
            }
            (&Value::Bool(a), &Value::Bool(b)) => match op {
                BinaryOp::And => return Value::Bool(a && b),
                BinaryOp::Or => return Value::Bool(a || b),
                BinaryOp::Equal => return Value::Bool(a == b),
                BinaryOp::NotEqual => return Value::Bool(a != b),
                _ => {}
            },
            (Value::Text(a), Value::Text(b)) => match op {
                BinaryOp::Equal => return Value::Bool(a == b),
                BinaryOp::NotEqual => return Value::Bool(a != b),
                _ => {}
            },
            (Value::List(a), Value::List(b)) if op == BinaryOp::Add => {
                if a.len() + b.len() > MAX_LIST {
                    return self.fault(
                        Diagnostic::error(
                            "E0702",
                            "this list is too long",
                            span,
                            format!("{} items", a.len() + b.len()),
                        )
                        .note(format!("expected at most {MAX_LIST} items")),
                    );
                }
                return Value::List(a.iter().chain(b.iter()).cloned().collect::<Vec<_>>().into());
            }
            _ => {}
        }
        if matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) {
            for (value, at) in [&l, &r] {
                let Value::Feature(f) = value else { continue };
                let feature = &self.declarations.schema.features[*f];
                if matches!(feature.kind, FeatureKind::Dense { .. }) {
                    continue;
                }
                let path = feature.path();
                return self.fault(
                    Diagnostic::error("E0320", "ids cannot be compared", *at, format!("`{path}` holds ids")).help(
                        "prepare a column of the data that is 1 where they are equal, else 0, and declare it as a `number`",
                    ),
                );
            }
        }
        self.arithmetic(op, l, r, span)
    }

    fn numbers(&mut self, op: BinaryOp, a: f64, b: f64, at: Span, span: Span) -> Value<'a> {
        let result = match op {
            BinaryOp::Equal => return Value::Bool(a == b),
            BinaryOp::NotEqual => return Value::Bool(a != b),
            BinaryOp::Less => return Value::Bool(a < b),
            BinaryOp::LessEqual => return Value::Bool(a <= b),
            BinaryOp::Greater => return Value::Bool(a > b),
            BinaryOp::GreaterEqual => return Value::Bool(a >= b),
            BinaryOp::Add => a + b,
            BinaryOp::Subtract => a - b,
            BinaryOp::Multiply => a * b,
            BinaryOp::Divide => a / b,
            BinaryOp::Power => a.powf(b),
            BinaryOp::Product | BinaryOp::And | BinaryOp::Or => {
                let what = if op == BinaryOp::Product { "`@` takes a vector and a matrix" } else { "takes two bools" };
                let message =
                    if op == BinaryOp::Product { what.to_string() } else { format!("`{}` {what}", symbol(op)) };
                return self.fault(Diagnostic::error("E0307", message, span, "two numbers"));
            }
        };
        if !result.is_finite() {
            let message = if op == BinaryOp::Divide && b == 0.0 { "division by zero" } else { "not a finite number" };
            return self.fault(
                Diagnostic::error("E0311", message, at, format!("{a} {} {b}", symbol(op)))
                    .help("compile-time numbers are finite"),
            );
        }
        Value::Number(result)
    }

    /// Whether a number that the program computes with is finite in 32 bits; reports it where it is
    /// not.
    pub fn within_f32(&mut self, n: f64, what: &str, span: Span) -> bool {
        let finite = (n as f32).is_finite();
        if !finite {
            self.report(
                Diagnostic::error("E0311", format!("{what} is too large"), span, "infinite in 32 bits")
                    .note(format!("expected a number of at most {:e} in size\nfound {n:e}", f32::MAX)),
            );
        }
        finite
    }

    /// A compile-time number.
    pub fn number(&mut self, value: Value<'a>, what: &str, span: Span) -> Option<f64> {
        match value {
            Value::Number(n) => Some(n),
            Value::Poison => None,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error("E0307", format!("{what} must be a number"), span, "not a compile-time number")
                        .note(format!("expected a compile-time number\nfound {found}")),
                );
                None
            }
        }
    }

    /// A positive integer within the limit of sizes.
    pub fn size(&mut self, value: Value<'a>, what: &str, span: Span) -> Option<usize> {
        let n = self.number(value, what, span)?;
        if n >= 1.0 && n.fract() == 0.0 && n <= super::elab::MAX_WIDTH {
            return Some(n as usize);
        }
        let limit = super::elab::MAX_WIDTH;
        let message =
            if n > limit { format!("{what} is too large") } else { format!("{what} must be a positive whole number") };
        self.report(
            Diagnostic::error("E0312", message, span, format!("{n}"))
                .note(format!("expected a whole number from 1 to {limit}\nfound {n}")),
        );
        None
    }

    /// Items of a list.
    pub fn list(&mut self, value: Value<'a>, what: &str, span: Span) -> Option<Rc<[Value<'a>]>> {
        match value {
            Value::List(items) => Some(items),
            Value::Poison => None,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error("E0307", format!("{what} must be a list"), span, "not a compile-time list")
                        .note(format!("expected a list, such as `[80, 40]`\nfound {found}")),
                );
                None
            }
        }
    }
}

pub(super) fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Or => "or",
        BinaryOp::And => "and",
        BinaryOp::Equal => "==",
        BinaryOp::NotEqual => "!=",
        BinaryOp::Less => "<",
        BinaryOp::LessEqual => "<=",
        BinaryOp::Greater => ">",
        BinaryOp::GreaterEqual => ">=",
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::Product => "@",
        BinaryOp::Power => "^",
    }
}
