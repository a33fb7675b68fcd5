//! What is allowed and hardly ever meant: a logarithm of, or a division by, what may be 0 (W0608),
//! a root or logarithm of what may be below 0 (W0611), a sigmoid of a sigmoid (W0609), and a
//! learning rate that trains nothing or takes too long steps (W0607).
//!
//! Seen in the training graph, at places of the file that is checked: the library knows what it
//! does.

use super::elaborator::Elaborator;
use super::rule::RuleCall;
use super::schedule::RuleArgument;
use super::sign::{LENGTH, Sign, Zero, signs};
use super::value::number_text;
use crate::graph::{BinaryOp, Graph, NodeId, Op, UnaryOp};
use din_grammar::{Diagnostic, FileId, Span, ast};

/// Optimizers of the library whose steps are about as long as the learning rate.
const NORMALISED: [&str; 4] = ["adam", "adamw", "adagrad", "rowwise_adagrad"];

impl<'a> Elaborator<'a> {
    /// Functions of the graph whose value is hardly meant.
    pub(super) fn doubtful_functions(&mut self, file: FileId) {
        let graph = &self.walk.graph;
        let signs = signs(graph, &self.declarations.schema);
        let mut found = Vec::new();
        for id in graph.ids() {
            let node = graph.node(id);
            if node.span.file != file {
                continue;
            }
            let sign = |k: usize| &signs[node.operands[k].index()];
            // At an entry its list is not empty.
            let entry = graph.axes.has_entries(node.axis);
            let zero = |k: usize| match sign(k) {
                Sign::NonNegative(Zero::Empty(_)) if entry => None,
                Sign::NonNegative(zero) => Some(zero),
                Sign::Positive | Sign::Any(_) | Sign::Unknown => None,
            };
            let any = |k: usize| match sign(k) {
                Sign::Any(why) => Some(why),
                Sign::Positive | Sign::NonNegative(_) | Sign::Unknown => None,
            };
            // Of what the compiler makes of a distribution, the text has no sign.
            let text = self.sources.text(node.span);
            match node.op {
                Op::Unary(UnaryOp::Log) if text.starts_with("log") => {
                    found.extend(zero(0).map(|zero| logarithm_of_zero(zero, node.span)));
                    found.extend(any(0).map(|why| {
                        below_zero("this logarithm may be of a number below 0", why, node.span)
                            .help("make it positive: `log(softplus(x))`, or `log(max(x, 1e-6))`")
                    }));
                }
                Op::Unary(UnaryOp::Sqrt) if text.starts_with("sqrt") => found.extend(any(0).map(|why| {
                    below_zero("this square root may be of a number below 0", why, node.span)
                        .help("make it positive: `sqrt(max(x, 1e-6))`, or `sqrt(abs(x) + 1e-6)`")
                })),
                Op::Binary(BinaryOp::Power) if text.contains('^') => {
                    let whole =
                        matches!(graph.node(source(graph, node.operands[1])).op, Op::Const(c) if c.fract() == 0.0);
                    found.extend(any(0).filter(|_| !whole).map(|why| {
                        below_zero("this power may be of a number below 0", why, node.span)
                            .help("make it positive: `max(x, 1e-6) ^ y`")
                    }));
                }
                Op::Binary(BinaryOp::Divide) if text.contains('/') => {
                    let divisor = graph.node(source(graph, node.operands[1])).span;
                    let at = if divisor.file == file { divisor } else { node.span };
                    found.extend(zero(1).and_then(|zero| division_by_zero(zero, at)));
                    found.extend(any(1).map(|why| {
                        Diagnostic::warning("W0608", "this division may be by 0", at, "above, below and near 0")
                            .note(format!("{why} has any sign: the quotient grows without limit"))
                            .help("divide by what is above 0: `x / (abs(y) + 1e-6)`, or `x / softplus(y)`")
                    }));
                }
                Op::Unary(UnaryOp::Sigmoid) if graph.node(node.operands[0]).op == Op::Unary(UnaryOp::Sigmoid) => {
                    found.push(
                        Diagnostic::warning("W0609", "this is a sigmoid of a sigmoid", node.span, "from 0.5 to 0.73")
                            .label(graph.node(node.operands[0]).span, "from 0 to 1")
                            .help("leave one of them out"),
                    );
                }
                _ => {}
            }
        }
        found.into_iter().for_each(|warning| self.report(warning));
    }

    /// The learning rate of the model's optimizer.
    pub(super) fn doubtful_rate(&mut self, optimizer: &RuleCall<'a, ast::Optimizer>) {
        let definition = optimizer.definition;
        if self.modules[optimizer.module].name != "std.optimizer" {
            return;
        }
        let Some(k) = definition.parameters.iter().position(|p| p.name.name == "lr") else { return };
        let RuleArgument::Number(rate) = optimizer.arguments[k] else { return };
        let name = definition.name.name.as_str();
        let text = number_text(rate);
        if rate == 0.0 {
            let d = Diagnostic::warning("W0607", "a learning rate of 0 trains nothing", optimizer.span, "no step");
            let help = "or `optimizer frozen` for weights that are to stay as they are";
            self.report(d.help(format!("write a rate such as `{name}(lr = 1e-3)`, {help}")));
        } else if rate > 1.0 && NORMALISED.contains(&name) {
            self.report(
                Diagnostic::warning(
                    "W0607",
                    format!("a learning rate of {text} is large"),
                    optimizer.span,
                    text.clone(),
                )
                .note(format!("a step of `{name}` changes each weight by about the learning rate"))
                .help(format!("write a rate such as `{name}(lr = 1e-3)`")),
            );
        }
    }
}

/// A value before it is repeated along another axis.
fn source(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Op::Broadcast = graph.node(id).op {
        id = graph.node(id).operands[0];
    }
    id
}

fn below_zero(message: &str, why: &str, at: Span) -> Diagnostic {
    Diagnostic::warning("W0611", message, at, "not a number there").note(format!("{why} may be below 0"))
}

fn logarithm_of_zero(zero: &Zero, at: Span) -> Diagnostic {
    let warning = |label: &str| Diagnostic::warning("W0608", "this logarithm may be of 0", at, label);
    let of = |why: &str| {
        warning("minus infinity there")
            .note(format!("{why} may be 0"))
            .help("add a small number before: `log(x + 1e-6)`, or `log(1 + x)`")
    };
    match zero {
        Zero::Reached(why) => of(why),
        Zero::Empty(why) => of(why),
        Zero::Rounded => warning("minus infinity where `sigmoid` rounds to 0")
            .note("`sigmoid(x)` of a number below -88 is 0 in 32 bits")
            .help("`log(sigmoid(x))` is `-softplus(-x)`, exact for any `x`"),
    }
}

/// Nothing is said of a sigmoid, which rounds to 0 far from where networks are.
fn division_by_zero(zero: &Zero, at: Span) -> Option<Diagnostic> {
    let of = |why: &str| Diagnostic::warning("W0608", "this division may be by 0", at, format!("{why} may be 0"));
    Some(match zero {
        Zero::Reached(why) => of(why)
            .note("0 divided by 0 is not a number, and ends training")
            .help("add a small number: `x / (y + 1e-6)`"),
        Zero::Empty(why) => of(why).note("0 divided by 0 is not a number: one empty list ends training").help(format!(
            "divide by `max(y, {})`; the mean of entries is `mean(x over s)`, 0 of an empty list",
            // Weights may be small, a list that is not empty is at least 1 long.
            if *why == LENGTH { "1" } else { "1e-6" }
        )),
        Zero::Rounded => return None,
    })
}
