//! Functions of a column after the `from` of a field: `log(1 + price)`, `buckets(age, [18, 30])`.

use super::elaborator::Elaborator;
use super::scope::{NameScope, Referent};
use super::value::ExprValue;
use din_grammar::ast::{self, BinaryOperator, Expr, ExprKind, UnaryOperator};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{CalendarPart, LARGEST_GAP, Step};

/// What a function makes of a column.
#[derive(Clone, Debug)]
pub(super) struct Computed {
    pub column: ColumnSource,
    pub steps: Vec<Step>,
    pub result: ComputedResult,
}

/// What a function is of.
#[derive(Clone, Debug)]
pub(super) enum ColumnSource {
    Column(ast::Ident),
    Gap(GapColumns),
}

/// The columns of `gap(later, earlier)` or `before(moment, times)`.
#[derive(Clone, Debug)]
pub(super) struct GapColumns {
    pub later: ast::Ident,
    pub earlier: ast::Ident,
    /// The later one has one time per sample, although the field is one of a sequence.
    pub of_sample: bool,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum ComputedResult {
    Number,
    /// Ascending boundaries.
    Buckets(Vec<f32>),
    Quantiles {
        buckets: u32,
        span: Span,
    },
    Calendar(CalendarPart),
}

const CALENDAR: [(&str, CalendarPart); 4] = [
    ("hour", CalendarPart::Hour),
    ("weekday", CalendarPart::Weekday),
    ("day", CalendarPart::Day),
    ("month", CalendarPart::Month),
];

pub(super) const FUNCTIONS: [&str; 11] =
    ["log", "clip", "standard", "buckets", "quantiles", "hour", "weekday", "day", "month", "gap", "before"];
/// Those of two columns.
pub(super) const OF_TWO_COLUMNS: [&str; 2] = ["gap", "before"];
/// Buckets of quantiles, at most.
const MOST_BUCKETS: f64 = 65_536.0;

impl<'a> Elaborator<'a> {
    /// A function of a column.
    pub(super) fn computed(&mut self, scope: &mut NameScope<'a>, e: &'a Expr) -> Option<Computed> {
        let ExprKind::Call { callee, arguments } = &e.kind else { unreachable!("the grammar takes a call here") };
        let mut steps = Vec::new();
        let word = callee_name(callee);
        let calendar = CALENDAR.iter().find(|(name, _)| *name == word).map(|&(_, part)| part);
        let (column, result) = match (word, arguments.as_slice()) {
            (_, [x]) if plain(arguments) && calendar.is_some() => {
                let part = calendar.expect("the guard says so");
                (self.column_value(scope, &x.value, &mut steps)?, ComputedResult::Calendar(part))
            }
            ("buckets", [x, boundaries]) if plain(arguments) => {
                let column = self.column_value(scope, &x.value, &mut steps)?;
                (column, ComputedResult::Buckets(self.boundaries(scope, &boundaries.value)?))
            }
            ("quantiles", [x, count]) if plain(arguments) => {
                let column = self.column_value(scope, &x.value, &mut steps)?;
                let value = self.expr(scope, &count.value);
                let n = self.number(value, "the number of buckets", count.value.span)?;
                if n.fract() != 0.0 || !(2.0..=MOST_BUCKETS).contains(&n) {
                    self.report(
                        Diagnostic::error("E0417", "how many buckets?", count.value.span, format!("{n}"))
                            .note(format!("expected a whole number from 2 to {MOST_BUCKETS}\nfound {n}"))
                            .help("10 buckets are ten parts with equally many values"),
                    );
                    return None;
                }
                (column, ComputedResult::Quantiles { buckets: n as u32, span: e.span })
            }
            _ => (self.column_value(scope, e, &mut steps)?, ComputedResult::Number),
        };
        let standards = steps.iter().filter(|step| matches!(step, Step::Standard { .. })).count();
        if standards > 1 {
            self.report(
                Diagnostic::error("E0417", "a number is standardised once", e.span, "twice here")
                    .help("leave one `standard` out"),
            );
            return None;
        }
        if let ColumnSource::Gap(gap) = &column {
            self.gap_fits(gap, &steps, &result)?;
        }
        Some(Computed { column, steps, result })
    }

    /// Whether the function has a value for every gap: what it is of is known when a batch is put
    /// together, where there is no row to name.
    fn gap_fits(&mut self, gap: &GapColumns, steps: &[Step], result: &ComputedResult) -> Option<()> {
        let refused = match result {
            ComputedResult::Number | ComputedResult::Buckets(_) => None,
            ComputedResult::Quantiles { .. } => Some("quantiles"),
            ComputedResult::Calendar(_) => Some("a part of a date"),
        };
        let standard =
            steps.iter().any(|step| matches!(step, Step::Standard { .. })).then_some("a standardised number");
        if let Some(what) = refused.or(standard) {
            let d = Diagnostic::error("E0417", format!("{what} of a gap"), gap.span, "not of a gap");
            self.report(d.help("write `log(1 + clip(…, 0, 2_592_000))`, or `buckets(…, [3600, 86_400])`"));
            return None;
        }
        if Step::range(steps, (-LARGEST_GAP, LARGEST_GAP)).is_none() {
            let message = "this has no value for some gaps";
            let d = Diagnostic::error("E0417", message, gap.span, "may be negative, or very large");
            self.report(
                d.note("times of data are at times in the wrong order")
                    .help("limit the gap first: `log(1 + clip(gap(shown_at, made_at), 0, 2_592_000))`"),
            );
            return None;
        }
        Some(())
    }

    /// `gap(later, earlier)`, or `before(moment, times)` in a sequence.
    fn gap(
        &mut self,
        scope: &NameScope<'a>,
        word: &str,
        e: &'a Expr,
        arguments: &'a [ast::Argument],
    ) -> Option<ColumnSource> {
        let columns: Vec<ast::Ident> = arguments
            .iter()
            .filter(|argument| argument.is_plain() && !self.is_constant(scope, &argument.value))
            .filter_map(|argument| match &argument.value.kind {
                ExprKind::Name(name) | ExprKind::Text(name) => {
                    Some(ast::Ident { name: name.clone(), span: argument.value.span })
                }
                _ => None,
            })
            .collect();
        match <[ast::Ident; 2]>::try_from(columns) {
            Ok([later, earlier]) if arguments.len() == 2 => {
                Some(ColumnSource::Gap(GapColumns { later, earlier, of_sample: word == "before", span: e.span }))
            }
            Ok(_) | Err(_) => {
                let message = format!("`{word}` is of two columns");
                let d = Diagnostic::error("E0417", message, e.span, "other arguments");
                let form = if word == "gap" { "gap(shown_at, made_at)" } else { "before(shown_at, clicked_at)" };
                self.report(d.help(format!("name them: `{form}`")));
                None
            }
        }
    }

    /// The column that an expression is of; its steps are appended.
    fn column_value(&mut self, scope: &mut NameScope<'a>, e: &'a Expr, steps: &mut Vec<Step>) -> Option<ColumnSource> {
        match &e.kind {
            ExprKind::Unary { op: UnaryOperator::Negate, value } => {
                let column = self.column_value(scope, value, steps)?;
                steps.push(Step::Multiply(-1.0));
                Some(column)
            }
            ExprKind::Binary { op, left, right } => {
                let constants = (self.is_constant(scope, left), self.is_constant(scope, right));
                let (of, constant, first) = match constants {
                    (true, false) => (right, left, true),
                    (false, true) => (left, right, false),
                    (true, true) => return self.no_column(e.span),
                    (false, false) => {
                        self.report(
                            Diagnostic::error("E0417", "a function of two columns", e.span, "more than one column")
                                .help(
                                    "declare a field for each, and compute with them in the network; the time between two \
                                     is `gap(shown_at, made_at)`",
                                ),
                        );
                        return None;
                    }
                };
                let column = self.column_value(scope, of, steps)?;
                let value = self.expr(scope, constant);
                let c = self.number(value, "a constant of a column's function", constant.span)?;
                match (op, first) {
                    (BinaryOperator::Add, _) => steps.push(Step::Add(c)),
                    (BinaryOperator::Subtract, false) => steps.push(Step::Add(-c)),
                    (BinaryOperator::Subtract, true) => steps.extend([Step::Multiply(-1.0), Step::Add(c)]),
                    (BinaryOperator::Multiply, _) => steps.push(Step::Multiply(c)),
                    (BinaryOperator::Divide, false) if c != 0.0 => steps.push(Step::Divide(c)),
                    (
                        BinaryOperator::Divide
                        | BinaryOperator::Or
                        | BinaryOperator::And
                        | BinaryOperator::Equal
                        | BinaryOperator::NotEqual
                        | BinaryOperator::Less
                        | BinaryOperator::LessEqual
                        | BinaryOperator::Greater
                        | BinaryOperator::GreaterEqual
                        | BinaryOperator::Product
                        | BinaryOperator::Power
                        | BinaryOperator::Range,
                        _,
                    ) => return self.not_of_a_column(e.span),
                }
                Some(column)
            }
            ExprKind::Call { callee, arguments } => {
                let word = callee_name(callee);
                if !FUNCTIONS.contains(&word) {
                    let known = super::load::listed(&FUNCTIONS);
                    self.report(
                        Diagnostic::error("E0417", "not a function of a column", callee.span, "not known here")
                            .note(format!("known are {known}"))
                            .help(super::foreign::of_column(word)),
                    );
                    return None;
                }
                if OF_TWO_COLUMNS.contains(&word) {
                    return self.gap(scope, word, e, arguments);
                }
                match (word, arguments.as_slice()) {
                    ("log", [x]) if plain(arguments) => {
                        let column = self.column_value(scope, &x.value, steps)?;
                        steps.push(Step::Log);
                        Some(column)
                    }
                    ("standard", [x]) if plain(arguments) => {
                        let column = self.column_value(scope, &x.value, steps)?;
                        let statistic = self.declarations.schema.statistics.len() as u32;
                        steps.push(Step::Standard { statistic });
                        Some(column)
                    }
                    ("clip", [x, least, most]) if plain(arguments) => {
                        let column = self.column_value(scope, &x.value, steps)?;
                        let (low, high) = (self.expr(scope, &least.value), self.expr(scope, &most.value));
                        let low = self.number(low, "the least number of `clip`", least.value.span)?;
                        let high = self.number(high, "the greatest number of `clip`", most.value.span)?;
                        if low > high {
                            let d = Diagnostic::error("E0417", "the limits of `clip` descend", most.value.span, "less");
                            self.report(d.label(least.value.span, "than this").help("write the lower limit first"));
                            return None;
                        }
                        steps.push(Step::Clip(low, high));
                        Some(column)
                    }
                    (word, _) => {
                        let form = match word {
                            "log" => "log(x)",
                            "clip" => "clip(x, 0, 1)",
                            "standard" => "standard(x)",
                            "buckets" => "buckets(x, [1, 10, 100])",
                            "quantiles" => "quantiles(x, 10)",
                            _ => "hour(seconds)",
                        };
                        let of_two = matches!(word, "buckets" | "quantiles") && arguments.len() == 2;
                        let of_one = CALENDAR.iter().any(|(name, _)| *name == word) && arguments.len() == 1;
                        let outermost = of_two || of_one;
                        let help = match outermost {
                            true => format!("`{word}` makes ids: it stands outermost"),
                            false => format!("write `{form}`"),
                        };
                        let d = Diagnostic::error("E0417", format!("`{word}` cannot stand so"), e.span, "not this way");
                        self.report(d.help(help));
                        None
                    }
                }
            }
            ExprKind::Name(_) | ExprKind::Text(_) if self.is_constant(scope, e) => self.no_column(e.span),
            ExprKind::Name(name) | ExprKind::Text(name) => {
                Some(ColumnSource::Column(ast::Ident { name: name.clone(), span: e.span }))
            }
            ExprKind::Int(_) | ExprKind::Float(_) => self.no_column(e.span),
            _ => self.not_of_a_column(e.span),
        }
    }

    fn no_column<T>(&mut self, span: Span) -> Option<T> {
        self.report(
            Diagnostic::error("E0417", "a function of no column", span, "the same for every row")
                .help("name a column: `log(1 + price)`; one whose name is no word stands in quotes"),
        );
        None
    }

    fn not_of_a_column<T>(&mut self, span: Span) -> Option<T> {
        self.report(
            Diagnostic::error("E0417", "not a function of a column", span, "not possible here")
                .note("expected `+`, `-`, `*` and `/` with a number, `log`, `clip` and `standard`")
                .help("compute it in the network, or in the data"),
        );
        None
    }

    /// Whether an expression has the same value for every row: numbers, and names of numbers.
    fn is_constant(&self, scope: &NameScope<'a>, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Int(_) | ExprKind::Float(_) => true,
            ExprKind::Name(name) => {
                scope.find(name).is_some_and(|b| matches!(b.referent, Referent::Value(ExprValue::Number(_))))
            }
            ExprKind::Unary { value, .. } => self.is_constant(scope, value),
            ExprKind::Binary { left, right, .. } => self.is_constant(scope, left) && self.is_constant(scope, right),
            _ => false,
        }
    }

    pub(super) fn boundaries(&mut self, scope: &mut NameScope<'a>, e: &'a Expr) -> Option<Vec<f32>> {
        let value = self.expr(scope, e);
        let ExprValue::List(items) = value else {
            if !matches!(value, ExprValue::Poison) {
                let found = self.describe(&value);
                self.report(
                    Diagnostic::error("E0417", "boundaries are a list", e.span, &found)
                        .note(format!("expected a list of ascending numbers\nfound {found}"))
                        .help("write `buckets(x, [1, 10, 100])`; for `n` buckets of the data, `quantiles(x, n)`"),
                );
            }
            return None;
        };
        let mut boundaries: Vec<f32> = Vec::with_capacity(items.len());
        for item in items.iter() {
            let n = self.number(item.clone(), "a boundary", e.span)?;
            self.within_f32(n, "a boundary", e.span).then_some(())?;
            if let Some(&last) = boundaries.last()
                && last >= n as f32
            {
                self.report(
                    Diagnostic::error("E0417", "boundaries do not ascend", e.span, format!("{n} follows {last}"))
                        .note("expected each number above the one before it, in 32 bits")
                        .help("order the boundaries, and write each once"),
                );
                return None;
            }
            boundaries.push(n as f32);
        }
        if boundaries.is_empty() {
            let d = Diagnostic::error("E0417", "no boundaries", e.span, "an empty list");
            self.report(d.help("one boundary makes two buckets: `buckets(x, [0.5])`"));
            return None;
        }
        Some(boundaries)
    }
}

fn callee_name(callee: &Expr) -> &str {
    match &callee.kind {
        ExprKind::Name(name) => name,
        _ => "",
    }
}

fn plain(arguments: &[ast::Argument]) -> bool {
    arguments.iter().all(ast::Argument::is_plain)
}
