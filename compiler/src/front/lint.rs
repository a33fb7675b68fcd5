//! What is allowed and hardly ever meant: a logarithm of what may be 0 (W0608), a sigmoid of a
//! sigmoid (W0609), and a learning rate that trains nothing or takes too long steps (W0607).
//!
//! Seen in the training graph, at places of the file that is checked: the library knows what it
//! does.

use super::elaborator::Elaborator;
use super::rule::RuleCall;
use super::schedule::RuleArgument;
use super::value::number_text;
use crate::graph::{BinaryOp, Graph, NodeId, Op, UnaryOp};
use din_grammar::{Diagnostic, FileId, ast};

/// Optimizers of the library whose steps are about as long as the learning rate.
const NORMALISED: [&str; 4] = ["adam", "adamw", "adagrad", "rowwise_adagrad"];

impl<'a> Elaborator<'a> {
    /// Functions of the graph whose value is hardly meant.
    pub(super) fn doubtful_functions(&mut self, file: FileId) {
        let mut found = Vec::new();
        for id in self.walk.graph.ids() {
            let node = self.walk.graph.node(id);
            let Some(&operand) = node.operands.first().filter(|_| node.span.file == file) else { continue };
            match node.op {
                Op::Unary(UnaryOp::Log) => {
                    let Some(zero) = zero(&self.walk.graph, operand) else { continue };
                    found.push(match zero {
                        Zero::Reached(why) => Diagnostic::warning(
                            "W0608",
                            "this logarithm may be of 0",
                            node.span,
                            "minus infinity there",
                        )
                        .note(format!("{why} may be 0"))
                        .help("add a small number before: `log(x + 1e-6)`, or `log(1 + x)`"),
                        Zero::Sigmoid => Diagnostic::warning(
                            "W0608",
                            "this logarithm may be of 0",
                            node.span,
                            "minus infinity where `sigmoid` rounds to 0",
                        )
                        .note("`sigmoid(x)` of a number below -88 is 0 in 32 bits")
                        .help("`log(sigmoid(x))` is `-softplus(-x)`, exact for any `x`"),
                    });
                }
                Op::Unary(UnaryOp::Sigmoid) if self.walk.graph.node(operand).op == Op::Unary(UnaryOp::Sigmoid) => {
                    found.push(
                        Diagnostic::warning("W0609", "this is a sigmoid of a sigmoid", node.span, "from 0.5 to 0.73")
                            .label(self.walk.graph.node(operand).span, "from 0 to 1")
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

/// Whether a value, from how it is made, is never below 0.
pub(super) fn never_negative(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.op {
        Op::Unary(UnaryOp::Exp | UnaryOp::Softplus) => true,
        Op::Broadcast | Op::Reshape | Op::Slice { .. } | Op::StopGradient => never_negative(graph, node.operands[0]),
        _ => zero(graph, id).is_some(),
    }
}

/// Whether a value is what a linear layer gives, and so of any sign.
pub(super) fn of_any_sign(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.op {
        Op::MatMul => true,
        Op::Binary(BinaryOp::Add) => {
            let bias = |k: usize| matches!(graph.node(node.operands[k]).op, Op::Param(_) | Op::Broadcast);
            (bias(0) && of_any_sign(graph, node.operands[1])) || (bias(1) && of_any_sign(graph, node.operands[0]))
        }
        Op::Reshape | Op::Slice { .. } => of_any_sign(graph, node.operands[0]),
        _ => false,
    }
}

/// Why a value may be 0.
enum Zero {
    /// What is 0 for some inputs.
    Reached(&'static str),
    /// It rounds to 0.
    Sigmoid,
}

/// Whether a value, from how it is made, is never below 0 and may be 0. Of a value of which that is
/// not known nothing is said.
fn zero(graph: &Graph, id: NodeId) -> Option<Zero> {
    let node = graph.node(id);
    let constant = |k: usize| constant(graph, node.operands[k]);
    match node.op {
        Op::Const(0.0) => Some(Zero::Reached("the number")),
        Op::Unary(UnaryOp::Abs) => Some(Zero::Reached("`abs(x)`")),
        Op::Unary(UnaryOp::Sigmoid) => Some(Zero::Sigmoid),
        Op::Unary(UnaryOp::Sqrt) => zero(graph, node.operands[0]),
        Op::Length(_) => Some(Zero::Reached("the length of a list")),
        Op::Position(_) => Some(Zero::Reached("the place of the first entry")),
        Op::Binary(BinaryOp::Max) if constant(0) == Some(0.0) || constant(1) == Some(0.0) => {
            Some(Zero::Reached("`max(x, 0)`"))
        }
        Op::Select if is_relu(graph, id) => Some(Zero::Reached("`max(x, 0)`")),
        Op::Binary(BinaryOp::Power) if constant(1).is_some_and(|c| c > 0.0 && c % 2.0 == 0.0) => {
            Some(Zero::Reached("an even power"))
        }
        Op::Binary(BinaryOp::Multiply) if node.operands[0] == node.operands[1] => Some(Zero::Reached("a square")),
        Op::Broadcast | Op::Reshape | Op::Slice { .. } | Op::Rename { .. } | Op::StopGradient => {
            node.operands.first().and_then(|&of| zero(graph, of))
        }
        // Of no entries a sum is 0.
        Op::Sum { .. } => match zero(graph, node.operands[0])? {
            Zero::Reached(why) => Some(Zero::Reached(why)),
            Zero::Sigmoid => Some(Zero::Reached("the sum over an empty list")),
        },
        _ => None,
    }
}

/// The number that a value is for every element and component, where it is one.
fn constant(graph: &Graph, id: NodeId) -> Option<f64> {
    match graph.node(id).op {
        Op::Const(c) => Some(c),
        Op::Broadcast => graph.node(id).operands.first().and_then(|&of| match graph.node(of).op {
            Op::Const(c) => Some(c),
            _ => None,
        }),
        _ => None,
    }
}

/// Whether a select is `select(x > 0, x, 0)`.
fn is_relu(graph: &Graph, id: NodeId) -> bool {
    let [condition, value, other] = graph.node(id).operands[..] else { return false };
    let condition = graph.node(condition);
    condition.op == Op::Binary(BinaryOp::Less)
        && condition.operands[1] == value
        && constant(graph, condition.operands[0]) == Some(0.0)
        && constant(graph, other) == Some(0.0)
}
