//! Values that are known at compile time: arithmetic of numbers, and what a number, a size or a
//! list is expected to be.

use super::elaborator::Elaborator;
use super::value::ExprValue;
use din_grammar::ast::BinaryOperator;
use din_grammar::{Diagnostic, Span};
use std::rc::Rc;

/// What messages call the size of a `category(n)`.
pub(super) const CATEGORIES: &str = "the number of categories";

impl<'a> Elaborator<'a> {
    pub(super) fn numbers(&mut self, op: BinaryOperator, a: f64, b: f64, at: Span, span: Span) -> ExprValue<'a> {
        let result = match op {
            BinaryOperator::Equal => return ExprValue::Bool(a == b),
            BinaryOperator::NotEqual => return ExprValue::Bool(a != b),
            BinaryOperator::Less => return ExprValue::Bool(a < b),
            BinaryOperator::LessEqual => return ExprValue::Bool(a <= b),
            BinaryOperator::Greater => return ExprValue::Bool(a > b),
            BinaryOperator::GreaterEqual => return ExprValue::Bool(a >= b),
            BinaryOperator::Add => a + b,
            BinaryOperator::Subtract => a - b,
            BinaryOperator::Multiply => a * b,
            BinaryOperator::Divide => a / b,
            BinaryOperator::Power => a.powf(b),
            BinaryOperator::Range => unreachable!("ranges are made before numbers are reckoned with"),
            BinaryOperator::Product | BinaryOperator::And | BinaryOperator::Or => {
                let what =
                    if op == BinaryOperator::Product { "`@` takes a vector and a matrix" } else { "takes two bools" };
                let message =
                    if op == BinaryOperator::Product { what.to_string() } else { format!("`{}` {what}", symbol(op)) };
                return self.fault(Diagnostic::error("E0307", message, span, "two numbers"));
            }
        };
        if !result.is_finite() {
            let message =
                if op == BinaryOperator::Divide && b == 0.0 { "division by zero" } else { "not a finite number" };
            return self.fault(
                Diagnostic::error("E0311", message, at, format!("{a} {} {b}", symbol(op)))
                    .help("compile-time numbers are finite"),
            );
        }
        ExprValue::Number(result)
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
    pub fn number(&mut self, value: ExprValue<'a>, what: &str, span: Span) -> Option<f64> {
        match value {
            ExprValue::Number(n) => Some(n),
            ExprValue::Poison => None,
            other => {
                let found = self.describe(&other);
                let help = match &other {
                    ExprValue::Quantity(_) => "write the number alone, without a unit",
                    ExprValue::Text(_) if what.starts_with("the hyper-parameter") => {
                        "number the choices, `hyper kind = 0 in [0, 1]`, and choose by `if kind == 1 { … } else { … }`"
                    }
                    ExprValue::Text(_) => "write a number, without quotes",
                    ExprValue::Tensor(_) => "write a number that is known before data are read, or a `hyper`",
                    _ => "write a number, such as `1`",
                };
                self.report(
                    Diagnostic::error("E0307", format!("{what} must be a number"), span, "not a compile-time number")
                        .note(format!("expected a compile-time number\nfound {found}"))
                        .help(help),
                );
                None
            }
        }
    }

    /// A positive integer within the limit of sizes.
    pub fn size(&mut self, value: ExprValue<'a>, what: &str, span: Span) -> Option<usize> {
        let n = self.number(value, what, span)?;
        if n >= 1.0 && n.fract() == 0.0 && n <= super::elaborator::MAX_WIDTH {
            return Some(n as usize);
        }
        let limit = super::elaborator::MAX_WIDTH;
        let ids = what == CATEGORIES;
        let message =
            if n > limit { format!("{what} is too large") } else { format!("{what} must be a positive whole number") };
        self.report(
            Diagnostic::error("E0312", message, span, format!("{n}"))
                .note(format!("expected a whole number from 1 to {limit}\nfound {n}"))
                .help(match (ids, n > limit) {
                    (true, true) => {
                        "leave the size out, `category`: the table then grows; or hash: `category(1_000_000, hash)`"
                            .into()
                    }
                    (true, false) => "ids of any number are `category`, without a size".into(),
                    (false, true) => format!("write a number up to {limit}"),
                    (false, false) => format!("write a whole number, such as `{}`", n.round().max(1.0)),
                }),
        );
        None
    }

    /// Items of a list.
    pub fn list(&mut self, value: ExprValue<'a>, what: &str, span: Span) -> Option<Rc<[ExprValue<'a>]>> {
        match value {
            ExprValue::List(items) => Some(items),
            ExprValue::Poison => None,
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

pub(super) fn symbol(op: BinaryOperator) -> &'static str {
    match op {
        BinaryOperator::Or => "or",
        BinaryOperator::And => "and",
        BinaryOperator::Equal => "==",
        BinaryOperator::NotEqual => "!=",
        BinaryOperator::Less => "<",
        BinaryOperator::LessEqual => "<=",
        BinaryOperator::Greater => ">",
        BinaryOperator::GreaterEqual => ">=",
        BinaryOperator::Range => "..",
        BinaryOperator::Add => "+",
        BinaryOperator::Subtract => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Product => "@",
        BinaryOperator::Power => "^",
    }
}
