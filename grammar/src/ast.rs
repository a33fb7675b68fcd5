//! The typed syntax tree of a `.din` file: what was written, with spans, nothing resolved.
//!
//! Guarantees: every node has the span of its text; doc comments (`///` on an item or member, `//!`
//! on the file) are kept in `docs`, one string per line without the marker; nesting is bounded by
//! the parser.

mod columns;

pub use columns::*;

use crate::span::Span;

#[derive(Clone, Debug, PartialEq)]
pub struct Ident {
    pub name: String,
    pub span: Span,
}

pub type Docs = Vec<String>;

#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub docs: Docs,
    pub edition: Option<Edition>,
    pub imports: Vec<Use>,
    pub items: Vec<Item>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Edition {
    pub year: u32,
    pub span: Span,
}

/// `use std.activation.{dice, prelu}`, `use std.attention.interest`, `use towers.tower` (the file
/// `towers.din` beside this one).
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The module: `std.activation`, `towers`.
    pub path: Vec<Ident>,
    /// The names taken from it, never empty; each with an optional `as` name.
    pub names: Vec<UseName>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UseName {
    pub name: Ident,
    pub alias: Option<Ident>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Function(Function),
    Regularizer(Regularizer),
    Optimizer(Optimizer),
    Metric(MetricDecl),
    Schema(SchemaDecl),
    Model(Model),
    Test(Test),
}

impl Item {
    /// The name that it defines; a test defines none.
    pub fn name(&self) -> Option<&Ident> {
        match self {
            Item::Function(f) => Some(&f.name),
            Item::Regularizer(r) => Some(&r.name),
            Item::Optimizer(o) => Some(&o.name),
            Item::Metric(m) => Some(&m.name),
            Item::Schema(s) => Some(&s.name),
            Item::Model(m) => Some(&m.name),
            Item::Test(_) => None,
        }
    }
}

/// `fn dice(x: [n], momentum = 0.99, eps = 1e-8) -> [n] { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub docs: Docs,
    pub name: Ident,
    pub parameters: Vec<ParameterDecl>,
    pub result: Option<Type>,
    pub body: Block,
    pub span: Span,
}

/// A formal parameter: `x: [n]`, `momentum = 0.99`, `hidden: list = [80, 40]`, `lambda`.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterDecl {
    pub name: Ident,
    pub ty: Option<Type>,
    pub default: Option<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    pub kind: TypeKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TypeKind {
    /// `[n]`, `[m, n]`, `[16]`; `[]` does not occur: a scalar is `[1]`.
    Shape(Vec<Dimension>),
    /// `s => [d]`: varies over a ragged axis which the function calls `s`.
    Ragged { axis: Ident, element: Vec<Dimension> },
    /// `list of [d]`: a list whose items are all of the type, which is no list type itself.
    ListOf(Box<Type>),
    /// `list`, `fn`, `int`, `float`, `bool`, `prediction`, …: resolved by the checker.
    Named(Ident),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Dimension {
    Name(Ident),
    Size { value: u64, span: Span },
}

/// `regularizer adaptive(lambda) = lambda / frequency * weight`
#[derive(Clone, Debug, PartialEq)]
pub struct Regularizer {
    pub docs: Docs,
    pub name: Ident,
    pub parameters: Vec<ParameterDecl>,
    pub body: Expr,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptimizerScope {
    Weight,
    Row,
    Tensor,
}

/// `optimizer adam(lr = 1e-3) per weight { state m = 0, v = 0 … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    pub docs: Docs,
    pub name: Ident,
    pub parameters: Vec<ParameterDecl>,
    pub scope: OptimizerScope,
    pub body: Block,
    pub span: Span,
}

/// `metric gauc(target: prediction, by: key, weight = impressions)`: a signature; the runtime
/// computes it.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricDecl {
    pub docs: Docs,
    pub name: Ident,
    pub parameters: Vec<ParameterDecl>,
    pub span: Span,
}

/// `schema shop { features … label … key … }`: what comes in, for several models.
#[derive(Clone, Debug, PartialEq)]
pub struct SchemaDecl {
    pub docs: Docs,
    pub name: Ident,
    /// Of any kind: the checker says which a schema may have.
    pub members: Vec<Member>,
    pub span: Span,
}

/// `test "name" in training { given … expect … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    pub docs: Docs,
    /// The text in quotes.
    pub name: Ident,
    /// `in training`: `training` is true.
    pub training: bool,
    pub parts: Vec<TestPart>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TestPart {
    pub kind: TestPartKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TestPartKind {
    Let(Let),
    Layer(Layer),
    /// `given history: samples => s => [2] = [[[1, 2], [3, 4]]]`
    Given {
        name: Ident,
        /// The axes, outermost first.
        axes: Vec<Ident>,
        shape: Vec<Dimension>,
        value: Expr,
    },
    /// `given param unit.0.weight = [[1], [2]]`, `given state mean = [0]`
    GivenWeight {
        state: bool,
        path: Ident,
        value: Expr,
    },
    /// `expect f(x) = [1, 2] within 1e-9`
    Expect {
        value: Expr,
        expected: Expr,
        within: Option<Expr>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub docs: Docs,
    pub name: Ident,
    /// `on shop`: the schema whose columns it reads.
    pub schema: Option<Ident>,
    pub members: Vec<Member>,
    pub span: Span,
}

/// One member of a model, in the order written.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub docs: Docs,
    pub kind: MemberKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MemberKind {
    /// `features user { gender: category(2) … }`
    Features {
        name: Ident,
        known: Option<KnownDecl>,
        fields: Vec<FeatureField>,
    },
    /// `sequence visited (keep last 100) { good_id: category from visited_good_ids … }`
    Sequence {
        name: Ident,
        keep: Option<KeepDecl>,
        known: Option<KnownDecl>,
        missing: Option<MissingDecl>,
        fields: Vec<FeatureField>,
    },
    /// `label click: binary missing -1`, `label kind: class("photo", "video")`
    Label {
        name: Ident,
        kind: Ident,
        /// What stands in parentheses behind the kind.
        classes: Vec<Expr>,
        column: Option<Ident>,
        missing: Option<Expr>,
    },
    /// `key user_id: int64`
    Key {
        name: Ident,
        kind: Ident,
        column: Option<Ident>,
    },
    /// `embedding good [16] for ad.good_id, visited.good_id { regularize adaptive(0.01) }`,
    /// `embedding [8] for each of user, scene`
    Embedding(Embedding),
    /// `hyper lr = 1e-3 in log(1e-4, 1e-2)`
    Hyper {
        name: Ident,
        default: Expr,
        space: Option<Expr>,
        /// `when layers > 1`: there is such a hyper-parameter only then.
        condition: Option<Expr>,
    },
    /// `let (a, b) = …`
    Let(Let),
    /// `layer tower = mlp(_, [64], relu)`
    Layer(Layer),
    /// `param bias: [1] = 0`; `param a: [n] = 0, b: [n] = 0` has two
    Param(Vec<Variable>),
    /// `constant table: [4, 8] = normal(1)`, one or several
    Constant(Vec<Variable>),
    /// `predict click ~ bernoulli(logit = …)`
    Predict {
        target: Ident,
        distribution: Expr,
    },
    /// `train { loss … optimizer … }`
    Train(Train),
    /// `report auc(click), gauc(click, by = user_id)`
    Report {
        metrics: Vec<ReportedMetric>,
    },
    /// `assert parameters(dense) < 1_000_000`
    /// `output query = e`
    Output {
        name: Ident,
        value: Expr,
    },
    Assert {
        condition: Expr,
    },
    /// `common user, visited by request_id`
    Common {
        groups: Vec<Ident>,
        by: Ident,
    },
    /// `request by request_id`, `request of 64`
    Request(RequestDecl),
}

/// What a request is.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestDecl {
    /// Neighbouring rows with one value of this key.
    By(Ident),
    /// So many consecutive samples of a training batch.
    Of { count: u64, span: Span },
}

/// `auc(bought) where click.label by user.city`: a metric, and what slices its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedMetric {
    pub metric: Expr,
    pub by: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    pub width: Expr,
    pub target: EmbeddingTarget,
    /// `{ init normal(0.01)  regularize adaptive(0.01)  optimizer sgd(0.1) }`
    pub options: Vec<Setting>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EmbeddingTarget {
    /// `good [16] for ad.good_id, visited.good_id`: one table.
    Fields { name: Ident, paths: Vec<FieldPath> },
    /// `[16] for each of user, scene`, `wide [1] for each of user`: a table for each field.
    EachOf { name: Option<Ident>, groups: Vec<Ident> },
}

impl Embedding {
    pub fn name(&self) -> Option<&Ident> {
        match &self.target {
            EmbeddingTarget::Fields { name, .. } => Some(name),
            EmbeddingTarget::EachOf { name, .. } => name.as_ref(),
        }
    }
}

/// `ad.good_id`
#[derive(Clone, Debug, PartialEq)]
pub struct FieldPath {
    pub group: Ident,
    pub field: Ident,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    pub settings: Vec<Setting>,
    pub span: Span,
}

/// A word and its values: `loss cross_entropy(click)`, `batch 1024`, `regularize l2(0.01)`, `clip
/// global_norm 5`.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub docs: Docs,
    pub word: Ident,
    pub values: Vec<Expr>,
    /// `optimizer adam(lr = 1e-3) with dense updates`
    pub updates: Option<UpdatesDecl>,
    /// `optimizer sgd(lr = 0.1) for tower.hidden, item`: paths of weights or tables; none where the
    /// setting is for all.
    pub weights: Vec<Ident>,
    /// `init from "vectors.safetensors" else normal(0.02)`: the file; what is behind `else` is a
    /// value.
    pub file: Option<FileDecl>,
    /// `admit when frequency >= 5`, `admit top 1000 by frequency`; the number is the value.
    pub admission: Option<AdmissionDecl>,
    pub span: Span,
}

/// `when frequency >= …`, `top … by frequency`
#[derive(Clone, Debug, PartialEq)]
pub struct AdmissionDecl {
    pub top: bool,
    /// `frequency`
    pub by: Ident,
}

/// `from "vectors.safetensors"`
#[derive(Clone, Debug, PartialEq)]
pub struct FileDecl {
    pub path: String,
    /// Of the path.
    pub span: Span,
}

/// `with dense updates`, `with sparse updates`
#[derive(Clone, Debug, PartialEq)]
pub struct UpdatesDecl {
    pub dense: bool,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub statements: Vec<Statement>,
    /// The value of the block: its last expression, if any.
    pub value: Option<Box<Expr>>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub kind: StatementKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    Let(Let),
    Layer(Layer),
    /// `param alpha: [n] = 0`; one statement per variable, `param a: [n] = 0, b: [n] = 0` gives
    /// two.
    Param(Variable),
    /// `constant random: [n, 32] = normal(1)`
    Constant(Variable),
    /// `state mean: [n] = 0`; in an optimizer the type is absent: the scope gives it.
    State(Variable),
    /// `update mean = …`
    Update {
        name: Ident,
        value: Expr,
    },
    /// `x = …`, a new value under an old name
    Assign {
        name: Ident,
        value: Expr,
    },
    /// `for h in sizes { … }`, `for (a, b) in pairs(xs) { … }`, unrolled
    For {
        each: ForEach,
        body: Block,
    },
    /// An expression whose value is not used; the checker refuses it.
    Expr(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    pub name: Ident,
    pub ty: Option<Type>,
    /// A number or an initialiser: `0`, `normal(0.01)`.
    pub init: Option<Expr>,
}

/// What `let` and `for` bind: a name, or the parts of a tuple or list, `(m, v)`, `((a, b), c)`.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    Name(Ident),
    /// Two or more.
    Parts {
        parts: Vec<Pattern>,
        span: Span,
    },
}

impl Pattern {
    /// The names that it binds, in the order written.
    pub fn names(&self) -> Vec<&Ident> {
        match self {
            Pattern::Name(name) => vec![name],
            Pattern::Parts { parts, .. } => parts.iter().flat_map(Pattern::names).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    pub pattern: Pattern,
    pub value: Expr,
}

/// `for h in sizes`, `for (a, b) in pairs(xs)`
#[derive(Clone, Debug, PartialEq)]
pub struct ForEach {
    pub pattern: Pattern,
    pub list: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: Ident,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Name(String),
    /// As written without `_`: `1_000_000` is 1000000.
    Int(i64),
    Float(f64),
    Text(String),
    Bool(bool),
    /// `[200, 80]`
    List(Vec<Expr>),
    /// `[f(x) for x in xs]`; of several `for` the first is the outermost loop
    Comprehension {
        value: Box<Expr>,
        each: Vec<ForEach>,
    },
    /// `(mean, var)`, two or more
    Tuple(Vec<Expr>),
    /// `_`, a hole in a partial application
    Hole,
    Call {
        callee: Box<Expr>,
        arguments: Vec<Argument>,
    },
    /// `visited.good_id`
    Field {
        base: Box<Expr>,
        name: Ident,
    },
    /// `entries as t`: the entries that the value varies over, under the second name `t`; of a
    /// list, its items as entries
    SecondName {
        value: Box<Expr>,
        axis: Ident,
    },
    Unary {
        op: UnaryOperator,
        value: Box<Expr>,
    },
    Binary {
        op: BinaryOperator,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `if c { a } else { b }`
    If {
        condition: Box<Expr>,
        then: Block,
        otherwise: Block,
    },
    /// `x where present`: an expression with a condition on the samples that count
    Where {
        value: Box<Expr>,
        condition: Box<Expr>,
    },
    /// `24GiB`: a number with a unit
    Quantity {
        value: f64,
        unit: Ident,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOperator {
    Negate,
    Not,
}

/// By precedence, loosest first: `or`, `and`, comparisons, `..`, `+ -`, `* / @`, unary `-`, `^`
/// (right).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOperator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// `0..n`: the whole numbers from 0 to n - 1
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    /// `x @ w`: matrix product
    Product,
    Power,
}

impl BinaryOperator {
    pub fn is_comparison(self) -> bool {
        match self {
            Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual => true,
            Self::Or
            | Self::And
            | Self::Range
            | Self::Add
            | Self::Subtract
            | Self::Multiply
            | Self::Divide
            | Self::Product
            | Self::Power => false,
        }
    }
}

/// `x`, `momentum = 0.9`, `x over s`, `x over s where c`
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    pub name: Option<Ident>,
    pub value: Expr,
    /// The axis of a ragged reduction: `sum(x over s)`.
    pub over: Option<Ident>,
    /// The condition of a reduction, on its entries: `sum(x over s where c)`.
    pub condition: Option<Expr>,
    pub span: Span,
}

impl Argument {
    /// Neither named nor over an axis.
    pub fn is_plain(&self) -> bool {
        self.name.is_none() && self.over.is_none()
    }
}
