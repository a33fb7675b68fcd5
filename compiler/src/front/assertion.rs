//! `assert`: what a model may cost.

use super::elaborator::Elaborator;
use super::load::listed;
use super::scope::NameScope;
use super::update::Updates;
use super::value::{ExprValue, number_text};
use din_grammar::Diagnostic;
use din_grammar::ast::{self, BinaryOperator, ExprKind};
use din_program::SlotScope;
use din_program::schema::{Admission, FeatureSource, Made, TableKind, TableSpec, ValueRule};

impl<'a> Elaborator<'a> {
    /// `assert parameters(dense) < 1_000_000`
    pub fn assert(&mut self, scope: &mut NameScope<'a>, condition: &'a ast::Expr, updates: &Updates) {
        let (op, left, right) = match &condition.kind {
            ExprKind::Binary { op, left, right } if op.is_comparison() => (*op, left, right),
            _ => {
                let mut read = super::names::Names::default();
                super::names::in_expr(condition, &mut read);
                if ["parameters", "memory"].iter().any(|n| read.contains_key(n) && scope.find(n).is_none()) {
                    self.report(
                        Diagnostic::error(
                            "E0619",
                            "an assertion must be a single comparison",
                            condition.span,
                            "not a comparison",
                        )
                        .help("write one `assert` for each: `assert parameters(dense) < 1_000_000`"),
                    );
                    return;
                }
                match self.expr(scope, condition) {
                    ExprValue::Bool(true) | ExprValue::Poison => {}
                    ExprValue::Bool(false) => {
                        let d = Diagnostic::error("E0619", "an assertion does not hold", condition.span, "is false");
                        self.report(d.help("correct the numbers that it compares, or the assertion"));
                    }
                    other => {
                        let found = self.describe(&other);
                        self.report(
                            Diagnostic::error("E0619", "an assertion compares numbers", condition.span, found)
                                .help("write `parameters(dense) < 1_000_000`"),
                        );
                    }
                }
                return;
            }
        };
        let (l, r) = (self.budget(scope, left, updates), self.budget(scope, right, updates));
        let (Some(l), Some(r)) = (l, r) else { return };
        if let (Some(a), Some(b)) = (l.unit, r.unit)
            && a != b
        {
            self.report(
                Diagnostic::error(
                    "E0619",
                    "the two sides of an assertion must have the same unit",
                    right.span,
                    unit_text(b),
                )
                .label(left.span, unit_text(a))
                .help("compare `parameters(…)` with a number, `memory(…)` with an amount such as `24GiB`"),
            );
            return;
        }
        let (a, a_open, b, b_open) = (l.value, l.open, r.value, r.open);
        let holds = match op {
            BinaryOperator::Less => a < b,
            BinaryOperator::LessEqual => a <= b,
            BinaryOperator::Greater => a > b,
            BinaryOperator::GreaterEqual => a >= b,
            BinaryOperator::Equal => a == b,
            BinaryOperator::NotEqual => a != b,
            BinaryOperator::Or
            | BinaryOperator::And
            | BinaryOperator::Range
            | BinaryOperator::Add
            | BinaryOperator::Subtract
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Product
            | BinaryOperator::Power => unreachable!("`op` is a comparison"),
        };
        // Tables that grow are counted with the rows they have at the start: a lower bound.
        let upper = matches!(op, BinaryOperator::Less | BinaryOperator::LessEqual);
        if (a_open || b_open) && (holds || !upper || b_open) {
            let growing: Vec<String> = self
                .declarations
                .tables
                .iter()
                .filter(|t| matches!(t.kind, TableKind::Dynamic { .. }) || self.lacks_vocabulary(t))
                .map(|t| t.name.clone())
                .collect();
            let growing: Vec<&str> = growing.iter().map(String::as_str).collect();
            self.report(
                Diagnostic::warning(
                    "W0603",
                    "this cannot be decided before the data is read",
                    condition.span,
                    "not decided",
                )
                .note(format!("how many rows there are is not known yet of {}", listed(&growing)))
                .help("assert what is fixed, such as `parameters(dense)`"),
            );
        } else if !holds {
            let least = |open: bool| if open { "at least " } else { "" };
            let unit = match l.unit.or(r.unit) {
                Some(Unit::Bytes) => " bytes",
                Some(Unit::Weights) | None => "",
            };
            let d = Diagnostic::error("E0619", "an assertion does not hold", condition.span, "is false").note(format!(
                "the left side is {}{}{unit}\nthe right side is {}{}{unit}",
                least(a_open),
                number_text(a),
                least(b_open),
                number_text(b)
            ));
            // An amount of memory that was written as a bare number.
            let bare = unit == " bytes" && (l.unit.is_none() || r.unit.is_none());
            self.report(d.help(if bare {
                "a number without a unit is of bytes: write an amount such as `24GiB`"
            } else {
                "make the model smaller, or the limit larger; `din info FILE` lists what it has"
            }));
        }
    }

    /// Whether a file that is not there decides how many rows the table has.
    fn lacks_vocabulary(&self, table: &TableSpec) -> bool {
        table.features.iter().any(|&feature| match &self.declarations.schema.features[feature as usize].source {
            FeatureSource::Rule { rule: ValueRule { makes: Made::VocabularyRow { vocabulary }, .. }, .. } => {
                self.declarations.is_missing(*vocabulary)
            }
            FeatureSource::Rule { .. }
            | FeatureSource::Column(_)
            | FeatureSource::ListMark { .. }
            | FeatureSource::Features(_)
            | FeatureSource::Absent => false,
        })
    }

    /// One side of an assertion.
    fn budget(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr, updates: &Updates) -> Option<Budget> {
        if let ExprKind::Call { callee, arguments } = &e.kind
            && let ExprKind::Name(what) = &callee.kind
            && matches!(what.as_str(), "parameters" | "memory")
            && scope.find(what).is_none()
        {
            let of = match arguments.as_slice() {
                [ast::Argument { name: None, over: None, value: ast::Expr { kind: ExprKind::Name(n), .. }, .. }] => n,
                _ => "",
            };
            let memory = what == "memory";
            let unit = Some(if memory { Unit::Bytes } else { Unit::Weights });
            return match of {
                "dense" => {
                    let cost = |p: &din_program::schema::Parameter| {
                        let slots = updates
                            .all
                            .get(p.update as usize)
                            .map_or(0, |u| u.slots.iter().filter(|s| s.per == SlotScope::Weight).count());
                        p.width() as f64 * if memory { 4.0 * (1 + slots) as f64 } else { 1.0 }
                    };
                    Some(Budget { value: self.parameters.iter().map(cost).sum(), open: false, unit })
                }
                "tables" => {
                    let mut total = 0.0;
                    let mut open = false;
                    for t in &self.declarations.tables {
                        let rows = match (t.kind, t.admission) {
                            (TableKind::Fixed { size }, _) if self.lacks_vocabulary(t) => {
                                open = true;
                                size as f64
                            }
                            (TableKind::Fixed { size }, _) => size as f64,
                            // And the OOV row.
                            (TableKind::Dynamic { .. }, Some(Admission::Top(ids))) if t.vectors.is_none() => {
                                ids as f64 + 1.0
                            }
                            (TableKind::Dynamic { .. }, _) => {
                                open = true;
                                1.0
                            }
                        };
                        let mut numbers = f64::from(t.width);
                        if memory && let Some(u) = updates.all.get(t.update as usize) {
                            for s in &u.slots {
                                numbers += if s.per == SlotScope::Weight { f64::from(t.width) } else { 1.0 };
                            }
                        }
                        total += rows * numbers * if memory { 4.0 } else { 1.0 };
                    }
                    Some(Budget { value: total, open, unit })
                }
                _ => {
                    self.report(
                        Diagnostic::error("E0619", format!("`{what}` of what?"), e.span, "not understood")
                            .help(format!("write `{what}(dense)` or `{what}(tables)`")),
                    );
                    None
                }
            };
        }
        match self.expr(scope, e) {
            ExprValue::Number(value) => Some(Budget { value, open: false, unit: None }),
            ExprValue::Quantity(value) => Some(Budget { value, open: false, unit: Some(Unit::Bytes) }),
            ExprValue::Poison => None,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error("E0619", "an assertion compares numbers", e.span, found)
                        .help("write `parameters(dense) < 1_000_000`"),
                );
                None
            }
        }
    }
}

/// A number in an assertion.
struct Budget {
    value: f64,
    /// It is only a lower bound.
    open: bool,
    /// `None` of a plain number.
    unit: Option<Unit>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Weights,
    Bytes,
}

fn unit_text(unit: Unit) -> &'static str {
    match unit {
        Unit::Weights => "a number of weights",
        Unit::Bytes => "an amount of memory",
    }
}
