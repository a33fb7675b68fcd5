//! The sign of values, from how they are made: whether a logarithm, a root, a division or a
//! parameter of a distribution may be of what has no result.
//!
//! A sign is told only where it is sure from the text: of a weight, or of a column of the data as
//! it is, nothing is said.

use crate::graph::{BinaryOp, Graph, InputKind, Node, NodeId, Op, UnaryOp};
use din_program::schema::{
    Combination, FeatureKind, FeatureSource, LARGEST_GAP, LabelKind, Made, Replacement, Schema, Step,
};
use std::borrow::Cow;

/// What messages call the length of a list.
pub(super) const LENGTH: &str = "the length of a list";

/// What is known of the sign of all components of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sign {
    Positive,
    /// Never below 0, and 0 for some inputs.
    NonNegative(Zero),
    /// Above, below or near 0; what makes it so.
    Any(Cow<'static, str>),
    Unknown,
}

/// Why a value may be 0.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Zero {
    /// What is 0 for some inputs.
    Reached(Cow<'static, str>),
    /// What is 0 where a list has no entries, and not 0 at an entry.
    Empty(&'static str),
    /// A sigmoid, which rounds to 0.
    Rounded,
}

impl Sign {
    fn reached(why: &'static str) -> Sign {
        Sign::NonNegative(Zero::Reached(why.into()))
    }

    fn any(why: &'static str) -> Sign {
        Sign::Any(why.into())
    }

    fn of_number(n: f64) -> Sign {
        if n > 0.0 {
            Sign::Positive
        } else if n == 0.0 {
            Sign::reached("the number")
        } else {
            Sign::any("a number below 0")
        }
    }

    /// Of all numbers between two.
    fn between((least, most): (f64, f64), what: &str) -> Sign {
        if least > 0.0 {
            Sign::Positive
        } else if least == 0.0 {
            Sign::NonNegative(Zero::Reached(what.to_owned().into()))
        } else if most > 0.0 {
            Sign::Any(what.to_owned().into())
        } else {
            Sign::Unknown
        }
    }

    pub fn never_negative(&self) -> bool {
        matches!(self, Sign::Positive | Sign::NonNegative(_))
    }

    /// Of what is one of two values.
    fn either(a: &Sign, b: &Sign) -> Sign {
        match (a, b) {
            (Sign::Positive, Sign::Positive) => Sign::Positive,
            (zero @ Sign::NonNegative(_), Sign::Positive | Sign::NonNegative(_)) | (Sign::Positive, zero) => {
                zero.clone()
            }
            (Sign::NonNegative(_) | Sign::Any(_) | Sign::Unknown, _) => Sign::Unknown,
        }
    }
}

/// The signs of all values of a graph, by number.
pub(super) fn signs(graph: &Graph, schema: &Schema) -> Vec<Sign> {
    let mut signs = Vec::new();
    for id in graph.ids() {
        let found = sign(graph, schema, graph.node(id), &signs);
        signs.resize(id.index(), Sign::Unknown);
        signs.push(found);
    }
    signs
}

/// The sign of one value.
pub(super) fn sign_of(graph: &Graph, schema: &Schema, id: NodeId) -> Sign {
    signs(graph, schema).swap_remove(id.index())
}

/// The sign of a node whose operands have signs.
fn sign(graph: &Graph, schema: &Schema, node: &Node, known: &[Sign]) -> Sign {
    let of = |k: usize| node.operands.get(k).and_then(|o| known.get(o.index())).unwrap_or(&Sign::Unknown);
    match node.op {
        Op::Const(n) => Sign::of_number(n),
        Op::Input(input) => of_input(schema, &graph.inputs[input.index()].kind),
        Op::Lookup { .. } => Sign::any("a vector of a table"),
        Op::MatMul => Sign::any("what a layer gives"),
        Op::Length(axis) if graph.axes.has_entries(axis) => Sign::NonNegative(Zero::Empty(LENGTH)),
        Op::Length(_) | Op::Count(_) => Sign::Positive,
        Op::Position(_) => Sign::reached("the place of the first entry"),
        Op::SampleNumber(_) | Op::DropoutMask { .. } => Sign::reached("what is left out"),
        Op::Unary(op) => of_unary(op, of(0)),
        Op::Binary(op) => of_binary(op, node, graph, (of(0), of(1))),
        Op::Select if is_relu(graph, node) => Sign::reached("`max(x, 0)`"),
        Op::Select => Sign::either(of(1), of(2)),
        Op::StopGradient
        | Op::Broadcast
        | Op::Rename { .. }
        | Op::Unflatten { .. }
        | Op::Flatten
        | Op::Slice { .. }
        | Op::Reshape
        | Op::SumValue
        | Op::Scan { .. } => of(0).clone(),
        // Of no entries both are 0; an entry always pairs with itself.
        Op::Sum { to } | Op::Max { to } => {
            let from = graph.node(node.operands[0]).axis;
            let maybe_empty = graph.axes.may_be_empty(from) && !graph.axes.has_entries(to);
            match of(0) {
                Sign::Positive | Sign::NonNegative(Zero::Rounded) if maybe_empty => {
                    Sign::NonNegative(Zero::Empty("the sum over an empty list"))
                }
                other => other.clone(),
            }
        }
        Op::Param(_)
        | Op::State(_)
        | Op::Concat
        | Op::MatMulT
        | Op::Outer
        | Op::Absorbed(_)
        | Op::Statistic(_)
        | Op::Previous { .. } => Sign::Unknown,
    }
}

/// Whether a select is `select(x > 0, x, 0)`.
fn is_relu(graph: &Graph, node: &Node) -> bool {
    let &[condition, value, other] = node.operands.as_slice() else { return false };
    let condition = graph.node(condition);
    condition.op == Op::Binary(BinaryOp::Less)
        && condition.operands[1] == value
        && constant(graph, condition.operands[0]) == Some(0.0)
        && constant(graph, other) == Some(0.0)
}

/// The number that a value is for every element and component, where it is one.
fn constant(graph: &Graph, id: NodeId) -> Option<f64> {
    match graph.node(id).op {
        Op::Const(c) => Some(c),
        Op::Broadcast => constant(graph, graph.node(id).operands[0]),
        _ => None,
    }
}

fn of_unary(op: UnaryOp, x: &Sign) -> Sign {
    match op {
        UnaryOp::Exp | UnaryOp::Softplus => Sign::Positive,
        UnaryOp::Sigmoid => Sign::NonNegative(Zero::Rounded),
        UnaryOp::Abs => Sign::reached("`abs(x)`"),
        UnaryOp::Not => Sign::reached("a condition"),
        UnaryOp::Sqrt => match x {
            Sign::Positive | Sign::NonNegative(_) => x.clone(),
            Sign::Any(_) | Sign::Unknown => Sign::Unknown,
        },
        UnaryOp::Negate => match x {
            Sign::Positive | Sign::NonNegative(_) => Sign::any("a negated number"),
            Sign::Any(_) | Sign::Unknown => x.clone(),
        },
        UnaryOp::Log | UnaryOp::Tanh | UnaryOp::Sign => Sign::Unknown,
    }
}

fn of_binary(op: BinaryOp, node: &Node, graph: &Graph, (a, b): (&Sign, &Sign)) -> Sign {
    use Sign::{Any, NonNegative, Positive, Unknown};
    // The operand before it is repeated along another axis.
    let made_of = |k: usize| {
        let mut id = node.operands[k];
        while let Op::Broadcast = graph.node(id).op {
            id = graph.node(id).operands[0];
        }
        &graph.node(id).op
    };
    // What rounds to 0 far away is as good as above 0 where it is a part of something else.
    let above = |sign: &Sign| matches!(sign, NonNegative(Zero::Rounded)).then_some(Positive);
    let (of_a, of_b) = (above(a), above(b));
    let (a, b) = (of_a.as_ref().unwrap_or(a), of_b.as_ref().unwrap_or(b));
    let number = |k: usize| constant(graph, node.operands[k]);
    let column = |k: usize| match made_of(k) {
        Op::Input(input) => matches!(graph.inputs[input.index()].kind, InputKind::Dense { .. }),
        _ => false,
    };
    let place = |k: usize| matches!(made_of(k), Op::Length(_) | Op::Position(_));
    match op {
        BinaryOp::Add => match (a, b) {
            _ if number(0) == Some(0.0) => b.clone(),
            _ if number(1) == Some(0.0) => a.clone(),
            (Positive, Positive | NonNegative(_)) | (NonNegative(_), Positive) => Positive,
            (NonNegative(_), NonNegative(_)) => a.clone(),
            // A weight that is added to what has any sign changes nothing.
            (Any(_), Any(_)) => a.clone(),
            (Any(_), _) if number(1).is_some() || matches!(made_of(1), Op::Param(_)) => a.clone(),
            (_, Any(_)) if number(0).is_some() || matches!(made_of(0), Op::Param(_)) => b.clone(),
            (Positive | NonNegative(_) | Any(_) | Unknown, _) => Unknown,
        },
        BinaryOp::Subtract => match (a, b) {
            (Any(_), Any(_)) => a.clone(),
            (Any(_), _) if number(1).is_some() => a.clone(),
            (_, Any(_)) if number(0).is_some() => b.clone(),
            // `length(s) - 1 - position(s)` is the place from the end.
            _ if place(0) || place(1) => Unknown,
            (NonNegative(Zero::Reached(_)), Positive | NonNegative(Zero::Reached(_))) => Sign::any("a difference"),
            _ if column(0) && !place(1) && number(1) != Some(0.0) => Sign::any("a difference"),
            (Positive | NonNegative(_) | Any(_) | Unknown, _) => Unknown,
        },
        BinaryOp::Multiply if node.operands[0] == node.operands[1] => match a {
            Positive => Positive,
            NonNegative(_) | Any(_) | Unknown => Sign::reached("a square"),
        },
        BinaryOp::Multiply => match (a, b) {
            (Positive, other) | (other, Positive) => other.clone(),
            (NonNegative(_), NonNegative(_)) | (Any(_), Any(_)) => a.clone(),
            (NonNegative(_) | Any(_) | Unknown, _) => Unknown,
        },
        BinaryOp::Divide => match (a, b) {
            (other, Positive | NonNegative(_)) => other.clone(),
            (_, Any(_) | Unknown) => Unknown,
        },
        BinaryOp::Max => match (a, b) {
            (Positive, _) | (_, Positive) => Positive,
            _ if number(0) == Some(0.0) || number(1) == Some(0.0) => Sign::reached("`max(x, 0)`"),
            (NonNegative(_), _) => a.clone(),
            (_, NonNegative(_)) => b.clone(),
            (Any(_), Any(_)) => a.clone(),
            (Any(_) | Unknown, Any(_) | Unknown) => Unknown,
        },
        BinaryOp::Min => match (a, b) {
            (Any(_), _) => a.clone(),
            (_, Any(_)) => b.clone(),
            (Positive | NonNegative(_) | Unknown, _) => Sign::either(a, b),
        },
        BinaryOp::Power => match (a, number(1)) {
            (Positive, _) => Positive,
            (_, Some(n)) if n > 0.0 && n % 2.0 == 0.0 => Sign::reached("an even power"),
            (NonNegative(_), Some(n)) if n > 0.0 => a.clone(),
            (NonNegative(_) | Any(_) | Unknown, _) => Unknown,
        },
        BinaryOp::Less | BinaryOp::LessEqual | BinaryOp::Equal => Sign::reached("a condition"),
    }
}

fn of_input(schema: &Schema, input: &InputKind) -> Sign {
    match *input {
        InputKind::Dense { feature } => {
            // A definition that is checked by itself has no columns.
            schema.features.get(feature as usize).map_or(Sign::Unknown, |feature| {
                let width = matches!(feature.kind, FeatureKind::Dense { width: 1 });
                if width { of_feature(&feature.source, &feature.path()) } else { Sign::Unknown }
            })
        }
        InputKind::Label { label } => match schema.labels.get(label as usize).map(|label| label.kind) {
            Some(LabelKind::Binary | LabelKind::Count | LabelKind::Weight | LabelKind::Class { .. }) => {
                Sign::reached("the label")
            }
            Some(LabelKind::Number) | None => Sign::Unknown,
        },
        InputKind::Present { .. } => Sign::reached("a condition"),
        InputKind::Step | InputKind::Epoch => Sign::Positive,
        InputKind::Ids { .. }
        | InputKind::SquaredNorms
        | InputKind::Weight
        | InputKind::Gradient
        | InputKind::Slot { .. }
        | InputKind::Frequency
        | InputKind::UpdateCount
        | InputKind::InBatch => Sign::Unknown,
    }
}

/// The sign of a numeric feature, by what its declaration says of it.
fn of_feature(source: &FeatureSource, path: &str) -> Sign {
    let (made, missing) = match source {
        // A column that prediction does not read is absent there alone.
        FeatureSource::Column(_) | FeatureSource::Absent => return Sign::Unknown,
        FeatureSource::ListMark { .. } | FeatureSource::Features(Combination::Equal { .. }) => {
            return Sign::reached("a mark");
        }
        FeatureSource::Features(Combination::Overlap { .. }) => return Sign::reached("`overlap(…)`"),
        FeatureSource::Features(Combination::Cross { .. }) => return Sign::Unknown,
        FeatureSource::Features(Combination::Gap { makes, missing, .. }) => {
            (of_made(makes, path, true), missing.as_ref())
        }
        FeatureSource::Rule { rule, .. } => {
            (of_made(&rule.makes, path, false), rule.missing.as_ref().map(|missing| &missing.becomes))
        }
    };
    let missing = match missing {
        Some(Replacement::Number(n)) => *n,
        Some(Replacement::Id(_) | Replacement::Text(_) | Replacement::OwnId) | None => return made,
    };
    let named = || format!("`{path}`, where it is missing,").into();
    match made {
        Sign::Any(_) => made,
        Sign::Positive | Sign::NonNegative(_) | Sign::Unknown if missing < 0.0 => Sign::Any(named()),
        Sign::Positive | Sign::Unknown if missing == 0.0 => Sign::NonNegative(Zero::Reached(named())),
        Sign::Positive | Sign::NonNegative(_) | Sign::Unknown => made,
    }
}

/// The sign of what is made of a column's values, or of a gap.
fn of_made(made: &Made, path: &str, gap: bool) -> Sign {
    match made {
        Made::Mark => Sign::reached("a mark"),
        Made::Number { steps } => {
            let what = format!("`{path}`");
            let clipped = steps.iter().rposition(|step| matches!(step, Step::Clip(..)));
            let (start, rest) = match clipped.map(|i| (&steps[i], &steps[i + 1..])) {
                Some((&Step::Clip(least, most), rest)) => ((least, most), rest),
                Some(_) | None if gap => ((-LARGEST_GAP, LARGEST_GAP), steps.as_slice()),
                Some(_) | None => match steps.last() {
                    Some(Step::Standard { .. } | Step::Log) => return Sign::Any(what.into()),
                    Some(Step::Add(_) | Step::Multiply(_) | Step::Divide(_) | Step::Clip(..)) | None => {
                        return Sign::Unknown;
                    }
                },
            };
            match Step::range(rest, start) {
                Some(range) => Sign::between(range, &what),
                None => match rest.last() {
                    Some(Step::Standard { .. }) => Sign::Any(what.into()),
                    _ => Sign::Unknown,
                },
            }
        }
        Made::Id
        | Made::VocabularyRow { .. }
        | Made::FixedId { .. }
        | Made::HashedId { .. }
        | Made::Bucket { .. }
        | Made::Calendar { .. } => Sign::Unknown,
    }
}
