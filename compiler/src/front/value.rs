//! What an expression can be while a model is checked: everything but tensors is known at compile
//! time.
//!
//! [`ExprValue::Poison`] stands for a value whose fault has been reported; every operation on it
//! gives poison again, without a report.

use crate::graph::{AxisId, NodeId, UnaryOp};
use din_grammar::{Span, ast};
use din_program::schedule::Statistic;
use din_program::schema::Distribution;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub(super) enum ExprValue<'a> {
    /// A compile-time number; sizes are integral ones.
    Number(f64),
    Bool(bool),
    Text(Rc<str>),
    List(Rc<[ExprValue<'a>]>),
    Tuple(Rc<[ExprValue<'a>]>),
    Function(Rc<Callee<'a>>),
    Tensor(Tensor),
    /// A `features` or `sequence` block of the model.
    Group(usize),
    /// One field of a group, before its table: index into the schema's features.
    Feature(usize),
    /// A label where `loss` and `report` see it.
    Prediction {
        /// Index into the model's predictions.
        index: usize,
        /// Where the model names the label.
        named: Span,
        distribution: Distribution,
    },
    /// A label that is not predicted, where `loss` sees it: its values.
    Label {
        /// Index into the schema's labels.
        index: u32,
        /// Where the model names it.
        named: Span,
    },
    /// `24GiB`, in bytes.
    Quantity(f64),
    /// A block or function without a value.
    Nothing,
    Poison,
}

/// A graph node, and what the fields of its components are called.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub node: NodeId,
    /// Present for records; consecutive and covering the value.
    pub fields: Option<Rc<[RecordField]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordField {
    pub name: Rc<str>,
    pub start: usize,
    pub width: usize,
}

/// Something that can be called.
#[derive(Debug)]
pub(super) enum Callee<'a> {
    Defined {
        module: usize,
        function: &'a ast::Function,
    },
    Builtin(Builtin),
    Table(usize),
    /// The tables of `embedding wide [1] for each of user`: index into the model's families.
    Family(usize),
    /// `dice(momentum = 0.9, _)`
    Partial(PartialApplication<'a>),
    /// `layer tower = …`: its parameters stand under `path`, whoever calls.
    Layer {
        path: Vec<String>,
        inner: Rc<Callee<'a>>,
    },
}

#[derive(Debug)]
pub(super) struct PartialApplication<'a> {
    pub callee: Rc<Callee<'a>>,
    /// At least one of them is a hole.
    pub arguments: Vec<PartialArgument<'a>>,
}

impl PartialApplication<'_> {
    /// The number of arguments that are left open.
    pub fn holes(&self) -> usize {
        self.arguments.iter().filter(|a| matches!(a, PartialArgument::Hole { .. })).count()
    }
}

/// An argument of a partial application.
#[derive(Clone, Debug)]
pub(super) enum PartialArgument<'a> {
    Given(ArgumentValue<'a>),
    /// `_`, with what is said beside it.
    Hole {
        name: Option<&'a ast::Ident>,
        over: Option<Over<'a>>,
        span: Span,
    },
}

/// `over s`, perhaps `where c`.
#[derive(Clone, Debug)]
pub(super) struct Over<'a> {
    pub axis: AxisId,
    /// The condition on the entries, and its place in the text.
    pub condition: Option<(ExprValue<'a>, Span)>,
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub(super) struct ArgumentValue<'a> {
    pub name: Option<&'a ast::Ident>,
    pub value: ExprValue<'a>,
    /// `over s`, resolved.
    pub over: Option<Over<'a>>,
    pub span: Span,
}

impl ArgumentValue<'_> {
    /// An argument whose fault is reported.
    pub fn poison(span: Span) -> Self {
        Self { name: None, value: ExprValue::Poison, over: None, span }
    }
}

/// Functions the compiler knows; all others are written in the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    /// One that is a function of the language.
    Unary(UnaryOp),
    Min,
    Max,
    StopGradient,
    Select,
    Sum,
    Mean,
    Softmax,
    First,
    Last,
    Position,
    Scan,
    Shift,
    Overlap,
    /// One that is a function of the language.
    Statistic(Statistic),
    Concat,
    Embed,
    Length,
    Size,
    /// Of a matrix, on the right of `@`.
    Transpose,
    Dropout,
    Fields,
    Split,
    Zip,
    Pairs,
    Enumerate,
}

impl Builtin {
    const OTHERS: [(&'static str, Builtin); 24] = [
        ("min", Builtin::Min),
        ("max", Builtin::Max),
        ("stop_gradient", Builtin::StopGradient),
        ("select", Builtin::Select),
        ("sum", Builtin::Sum),
        ("mean", Builtin::Mean),
        ("softmax", Builtin::Softmax),
        ("first", Builtin::First),
        ("last", Builtin::Last),
        ("position", Builtin::Position),
        ("scan", Builtin::Scan),
        ("shift", Builtin::Shift),
        ("overlap", Builtin::Overlap),
        ("concat", Builtin::Concat),
        ("embed", Builtin::Embed),
        ("length", Builtin::Length),
        ("size", Builtin::Size),
        ("transpose", Builtin::Transpose),
        ("dropout", Builtin::Dropout),
        ("fields", Builtin::Fields),
        ("split", Builtin::Split),
        ("zip", Builtin::Zip),
        ("pairs", Builtin::Pairs),
        ("enumerate", Builtin::Enumerate),
    ];

    /// All of them, with their names.
    pub fn all() -> impl Iterator<Item = (&'static str, Builtin)> {
        let functions = UnaryOp::ALL.iter().filter(|op| op.description().is_function);
        let statistics = Statistic::ALL.iter().map(|&s| (s.description().name, Builtin::Statistic(s)));
        functions.map(|&op| (op.name(), Builtin::Unary(op))).chain(statistics).chain(Self::OTHERS)
    }

    pub fn by_name(name: &str) -> Option<Builtin> {
        Self::all().find(|(n, _)| *n == name).map(|(_, b)| b)
    }

    pub fn name(self) -> &'static str {
        Self::all().find(|(_, b)| *b == self).map(|(n, _)| n).expect("`all` lists every builtin")
    }

    /// How it is called.
    pub fn form(self) -> String {
        let name = self.name();
        match self {
            Builtin::Select => "select(condition, a, b)".into(),
            Builtin::Dropout => "dropout(x, 0.1)".into(),
            Builtin::Overlap => "overlap(visited.cate_id, ad.cate_id)".into(),
            Builtin::Split => "split(x, 4)".into(),
            Builtin::Concat | Builtin::Zip => format!("{name}(a, b)"),
            Builtin::Scan => "scan(step, 32 over s)".into(),
            Builtin::First | Builtin::Last | Builtin::Shift => format!("{name}(x over s)"),
            Builtin::Position | Builtin::Length => format!("{name}(s)"),
            Builtin::Embed => "embed(ad)".into(),
            Builtin::Transpose => "x @ transpose(w)".into(),
            Builtin::Pairs | Builtin::Enumerate => format!("{name}(xs)"),
            Builtin::Unary(_)
            | Builtin::Min
            | Builtin::Max
            | Builtin::StopGradient
            | Builtin::Sum
            | Builtin::Mean
            | Builtin::Softmax
            | Builtin::Statistic(_)
            | Builtin::Size
            | Builtin::Fields => format!("{name}(x)"),
        }
    }

    /// Fewest and most arguments; `None` where any number is possible.
    pub fn arity(self) -> (usize, Option<usize>) {
        match self {
            Builtin::Select => (3, Some(3)),
            Builtin::Dropout | Builtin::Overlap | Builtin::Scan => (2, Some(2)),
            Builtin::Min | Builtin::Max | Builtin::Split => (1, Some(2)),
            Builtin::Concat | Builtin::Zip | Builtin::Embed => (1, None),
            Builtin::Unary(_)
            | Builtin::StopGradient
            | Builtin::Sum
            | Builtin::Mean
            | Builtin::Softmax
            | Builtin::First
            | Builtin::Last
            | Builtin::Position
            | Builtin::Shift
            | Builtin::Statistic(_)
            | Builtin::Length
            | Builtin::Size
            | Builtin::Transpose
            | Builtin::Fields
            | Builtin::Pairs
            | Builtin::Enumerate => (1, Some(1)),
        }
    }
}

/// A word that the language keeps for what is not there yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    pub word: &'static str,
    pub what: &'static str,
    /// What to write for the time being.
    pub instead: &'static str,
}

const fn reserve(word: &'static str, what: &'static str, instead: &'static str) -> Reserved {
    Reserved { word, what, instead }
}

pub(super) const LEAVE_OUT: &str = "leave it out for now";

pub(super) const RESERVED: [Reserved; 8] = [
    reserve("negatives", "sampled negatives", "prepare them as rows or columns of the data"),
    reserve("evict", "eviction of rows", LEAVE_OUT),
    reserve("accumulate", "gradient accumulation", "take a larger `batch`, or several ranks, which share one"),
    reserve(
        "set",
        "set-valued features",
        "pool a list column, `tags: category of string pooled by mean`, or declare a `sequence`",
    ),
    reserve(
        "learning_rate",
        "a learning rate beside the optimizer's",
        "give it to the optimizer, `optimizer adam(lr = 1e-3)`; a table may have its own",
    ),
    reserve(
        "vocabulary",
        "a vocabulary as an option",
        "leave it out: rows are made as ids come; fixed ones are declared by `category of string in \"file.txt\"`",
    ),
    reserve("shuffle", "ways to shuffle", "leave it out: training shuffles, by `seed`"),
    reserve(
        "decoupled",
        "decoupled weight decay",
        "import `adamw` from `std.optimizer`, or write an optimizer: `weight = weight - lr * decay * weight`",
    ),
];

pub(super) fn reserved(name: &str) -> Option<&'static Reserved> {
    RESERVED.iter().find(|r| r.word == name)
}

impl<'a> Callee<'a> {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            Callee::Defined { function, .. } => function.name.name.clone(),
            Callee::Builtin(b) => b.name().into(),
            Callee::Table(_) | Callee::Family(_) => "table".into(),
            Callee::Partial(p) => p.callee.name(),
            Callee::Layer { path, inner } => path.last().cloned().unwrap_or_else(|| inner.name()),
        }
    }
}

/// The known name that was probably meant. A name of one letter is near every other: it suggests
/// nothing.
pub(super) fn nearest<'n>(name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if name.chars().count() < 2 { None } else { din_grammar::suggest::nearest(name, candidates) }
}

/// `[good_id: 16, shop_id: 16]`
pub(super) fn fields_text(fields: &[RecordField]) -> String {
    let parts: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.name, f.width)).collect();
    format!("[{}]", parts.join(", "))
}

/// `[48]`, `[48, 80]`
pub(super) fn shape_text(shape: &crate::graph::Shape) -> String {
    let parts: Vec<String> = shape.0.iter().map(usize::to_string).collect();
    format!("[{}]", parts.join(", "))
}

/// `1 argument`, `2 arguments`
pub(super) fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// As `f64` prints, integers without a point; with an exponent where many zeros would stand.
pub(super) fn number_text(n: f64) -> String {
    if n != 0.0 && !(1e-6..1e15).contains(&n.abs()) { format!("{n:e}") } else { format!("{n}") }
}
