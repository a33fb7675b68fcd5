//! The element-wise operations: one table row per operation, with its name, its meaning in f64, its
//! derivative, how errors pass through it, and what it costs.
//!
//! The textual form of graphs, the functions of the language, autodiff, the interpreter and its
//! error bounds, the cost model and the planner all read this table. To add an operation, add its
//! variant and its row here, and its machine code in `codegen::math` (CPU) and `codegen::cuda`.

use crate::autodiff::GradientBuilder;
use crate::graph::{NodeId, Op, TypeError};
use din_program::schedule::MathFunction;
use serde::{Deserialize, Serialize};

/// Declares an enum with the list of its variants.
macro_rules! operations {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$of])* $variant),* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[$name] = &[$($name::$variant),*];
        }
    };
}

operations! {
    /// An operation on each component of one operand.
    UnaryOp {
        Negate,
        Exp,
        /// Natural logarithm.
        Log,
        Sqrt,
        /// `1 / (1 + exp(-x))`
        Sigmoid,
        Tanh,
        /// `log(1 + exp(x))`, stable
        Softplus,
        Abs,
        /// -1, 0 or 1
        Sign,
        /// 1 where `x` is 0, else 0
        Not,
    }
}

operations! {
    /// An operation on each pair of components of two operands.
    BinaryOp {
        Add,
        Subtract,
        Multiply,
        Divide,
        Min,
        Max,
        /// `a ^ b`; for a constant integral `b` any `a`, else `a > 0`
        Power,
        Less,
        LessEqual,
        Equal,
    }
}

type Built = Result<NodeId, TypeError>;

/// The derivative of `y = op(x)`.
pub enum UnaryDerivative {
    /// What the adjoint of `x` gains, from `x`, `y` and the adjoint `g` of `y`.
    Gain(fn(&mut GradientBuilder, x: NodeId, y: NodeId, g: NodeId) -> Built),
    /// 0 wherever it exists. With the operation's name in messages.
    Zero(&'static str),
}

/// How costly one evaluation is to a planner that may repeat it instead of storing its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A few instructions: repeated where that saves a store and a load.
    Cheap,
    /// A polynomial, a division or a call: stored.
    Expensive,
}

/// How code on f64, that of the step's scalars, computes an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubleCode {
    /// By the same instructions as on f32.
    Inline,
    /// By calling the function.
    Call(MathFunction),
    /// As `1 / (1 + exp(-x))`.
    Sigmoid,
    /// As `max(x, 0) + log1p(exp(-|x|))`.
    Softplus,
}

impl DoubleCode {
    /// The functions that the code calls, in order.
    pub fn functions(self) -> Vec<MathFunction> {
        match self {
            DoubleCode::Inline => vec![],
            DoubleCode::Call(function) => vec![function],
            DoubleCode::Sigmoid => vec![MathFunction::Exp],
            DoubleCode::Softplus => vec![MathFunction::Exp, MathFunction::Log1p],
        }
    }
}

/// The table's row of a unary operation.
pub struct UnaryDescription {
    /// In the textual form of graphs and, if it is a function of the language, there.
    pub name: &'static str,
    /// Whether the language has it as a function; otherwise it is an operator.
    pub is_function: bool,
    pub value: fn(f64) -> f64,
    pub derivative: UnaryDerivative,
    /// The error scale of `y = op(x)` in units of `f32::EPSILON`, `x` having the scale `e`.
    pub error: fn(x: f64, y: f64, e: f64) -> f64,
    pub cost: Cost,
    pub double: DoubleCode,
}

impl UnaryOp {
    /// The table's row.
    pub fn description(self) -> UnaryDescription {
        use UnaryDerivative::{Gain, Zero};
        match self {
            UnaryOp::Negate => UnaryDescription {
                name: "negate",
                is_function: false,
                value: |x| -x,
                // dx = -g
                derivative: Gain(|b, _, _, g| Ok(b.unary(UnaryOp::Negate, g))),
                error: |_, _, e| e,
                cost: Cost::Cheap,
                double: DoubleCode::Inline,
            },
            UnaryOp::Exp => UnaryDescription {
                name: "exp",
                is_function: true,
                value: f64::exp,
                // dx = g y
                derivative: Gain(|b, _, y, g| b.binary(BinaryOp::Multiply, g, y)),
                // Beyond a relative error of about 1 the linear estimate says nothing.
                error: |_, y, e| if GUARD * e > 1.0 { f64::INFINITY } else { steep(y, y, e) },
                cost: Cost::Expensive,
                double: DoubleCode::Call(MathFunction::Exp),
            },
            UnaryOp::Log => UnaryDescription {
                name: "log",
                is_function: true,
                value: f64::ln,
                // dx = g / x
                derivative: Gain(|b, x, _, g| b.binary(BinaryOp::Divide, g, x)),
                error: |x, y, e| near_zero(x, y, e).unwrap_or_else(|| steep(1.0 / x, y, e)),
                cost: Cost::Expensive,
                double: DoubleCode::Call(MathFunction::Log),
            },
            UnaryOp::Sqrt => UnaryDescription {
                name: "sqrt",
                is_function: true,
                value: f64::sqrt,
                // dx = g / (2 y); infinite at 0
                derivative: Gain(|b, _, y, g| {
                    let half = b.times(g, 0.5)?;
                    b.binary(BinaryOp::Divide, half, y)
                }),
                error: |x, y, e| near_zero(x, y, e).unwrap_or_else(|| steep(0.5 / y, y, e)),
                cost: Cost::Expensive,
                double: DoubleCode::Inline,
            },
            UnaryOp::Sigmoid => UnaryDescription {
                name: "sigmoid",
                is_function: true,
                value: sigmoid,
                // dx = g y (1 - y)
                derivative: Gain(|b, _, y, g| {
                    let one = b.number(1.0);
                    let rest = b.binary(BinaryOp::Subtract, one, y)?;
                    let slope = b.binary(BinaryOp::Multiply, y, rest)?;
                    b.binary(BinaryOp::Multiply, g, slope)
                }),
                // Near 1, `1 - y` carries the information; both are rounded to about EPSILON.
                error: |_, y, e| steep(y * (1.0 - y), y, e),
                cost: Cost::Expensive,
                double: DoubleCode::Sigmoid,
            },
            UnaryOp::Tanh => UnaryDescription {
                name: "tanh",
                is_function: true,
                value: f64::tanh,
                // dx = g (1 - y^2)
                derivative: Gain(|b, _, y, g| {
                    let one = b.number(1.0);
                    let square = b.binary(BinaryOp::Multiply, y, y)?;
                    let slope = b.binary(BinaryOp::Subtract, one, square)?;
                    b.binary(BinaryOp::Multiply, g, slope)
                }),
                error: |_, y, e| steep(1.0 - y * y, y, e),
                cost: Cost::Expensive,
                double: DoubleCode::Call(MathFunction::Tanh),
            },
            UnaryOp::Softplus => UnaryDescription {
                name: "softplus",
                is_function: true,
                value: |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
                // dx = g sigmoid(x)
                derivative: Gain(|b, x, _, g| {
                    let slope = b.unary(UnaryOp::Sigmoid, x);
                    b.binary(BinaryOp::Multiply, g, slope)
                }),
                error: |x, y, e| steep(sigmoid(x), y, e),
                cost: Cost::Expensive,
                double: DoubleCode::Softplus,
            },
            UnaryOp::Abs => UnaryDescription {
                name: "abs",
                is_function: true,
                value: f64::abs,
                // dx = g sign(x); 0 at 0
                derivative: Gain(|b, x, _, g| {
                    let slope = b.unary(UnaryOp::Sign, x);
                    b.binary(BinaryOp::Multiply, g, slope)
                }),
                error: |_, _, e| e,
                cost: Cost::Cheap,
                double: DoubleCode::Inline,
            },
            UnaryOp::Sign => UnaryDescription {
                name: "sign",
                is_function: true,
                // 0 and NaN stay what they are.
                value: |x| {
                    if x > 0.0 {
                        1.0
                    } else if x < 0.0 {
                        -1.0
                    } else {
                        x * 0.0
                    }
                },
                derivative: Zero("`sign`"),
                error: |x, _, e| jump(x, e),
                cost: Cost::Cheap,
                double: DoubleCode::Inline,
            },
            UnaryOp::Not => UnaryDescription {
                name: "not",
                is_function: false,
                value: |x| f64::from(x == 0.0),
                derivative: Zero("`not`"),
                error: |x, _, e| jump(x, e),
                cost: Cost::Cheap,
                double: DoubleCode::Inline,
            },
        }
    }

    /// Its name in the textual form of graphs.
    pub fn name(self) -> &'static str {
        self.description().name
    }
}

/// The derivative of `y = op(l, r)`.
pub enum BinaryDerivative {
    /// What the adjoint of operand `k` (0: `l`, 1: `r`) gains.
    Gain(fn(&mut GradientBuilder, BinaryGradient, k: usize) -> Built),
    /// 0 wherever it exists. With the operation's name in messages.
    Zero(&'static str),
}

/// What the derivative of a binary operation is made from: the operands, the result, and the
/// adjoint of the result.
#[derive(Clone, Copy, Debug)]
pub struct BinaryGradient {
    pub l: NodeId,
    pub r: NodeId,
    pub y: NodeId,
    pub g: NodeId,
}

/// A value and its error scale.
type Approximate = (f64, f64);

/// The table's row of a binary operation.
pub struct BinaryDescription {
    /// In the textual form of graphs.
    pub name: &'static str,
    pub value: fn(f64, f64) -> f64,
    pub derivative: BinaryDerivative,
    /// The error scale of `y = op(a, b)` in units of `f32::EPSILON`.
    pub error: fn(a: Approximate, b: Approximate, y: f64) -> f64,
    /// Whether the operands may be exchanged without a change of any bit. (Those of `min` and `max`
    /// may not: they differ on which of two zeros or NaNs they return.)
    pub commutes: bool,
}

impl BinaryOp {
    /// The table's row.
    pub fn description(self) -> BinaryDescription {
        use BinaryDerivative::{Gain, Zero};
        use BinaryOp::{Divide, Multiply, Power, Subtract};
        let comparison = Zero("a comparison");
        match self {
            BinaryOp::Add => BinaryDescription {
                name: "add",
                value: |a, b| a + b,
                // dl = dr = g
                derivative: Gain(|_, d, _| Ok(d.g)),
                error: |(_, ea), (_, eb), y| ea + eb + y.abs(),
                commutes: true,
            },
            BinaryOp::Subtract => BinaryDescription {
                name: "subtract",
                value: |a, b| a - b,
                // dl = g, dr = -g; negated after the sum over what r was broadcast along.
                derivative: Gain(|b, d, k| match k {
                    0 => Ok(d.g),
                    _ => {
                        let fitted = b.fit(d.g, d.r)?;
                        Ok(b.unary(UnaryOp::Negate, fitted))
                    }
                }),
                error: |(_, ea), (_, eb), y| ea + eb + y.abs(),
                commutes: false,
            },
            BinaryOp::Multiply => BinaryDescription {
                name: "multiply",
                value: |a, b| a * b,
                // dl = g r, dr = g l
                derivative: Gain(|b, d, k| b.binary(Multiply, d.g, if k == 0 { d.r } else { d.l })),
                error: |(a, ea), (b, eb), y| times(b, ea) + times(a, eb) + y.abs(),
                commutes: true,
            },
            BinaryOp::Divide => BinaryDescription {
                name: "divide",
                value: |a, b| a / b,
                // dl = g / r, dr = -(g y) / r; r is the same along what it was broadcast along, so
                // it divides the sum.
                derivative: Gain(|b, d, k| match k {
                    0 => b.binary(Divide, d.g, d.r),
                    _ => {
                        let product = b.binary(Multiply, d.g, d.y)?;
                        let fitted = b.fit(product, d.r)?;
                        let quotient = b.binary(Divide, fitted, d.r)?;
                        Ok(b.unary(UnaryOp::Negate, quotient))
                    }
                }),
                error: |(_, ea), (b, eb), y| {
                    if eb > 0.0 && b.abs() <= 2.0 * GUARD * eb {
                        return f64::INFINITY;
                    }
                    times(1.0 / b, ea) + times(y / b, eb) + y.abs()
                },
                commutes: false,
            },
            BinaryOp::Min => BinaryDescription {
                name: "min",
                value: f64::min,
                derivative: Gain(|b, d, k| extremum(b, d, k == 1)),
                error: |(_, ea), (_, eb), _| ea.max(eb),
                commutes: false,
            },
            BinaryOp::Max => BinaryDescription {
                name: "max",
                value: f64::max,
                derivative: Gain(|b, d, k| extremum(b, d, k == 0)),
                error: |(_, ea), (_, eb), _| ea.max(eb),
                commutes: false,
            },
            BinaryOp::Power => BinaryDescription {
                name: "power",
                value: f64::powf,
                // dl = g r l^(r-1), dr = g y log l (l > 0)
                derivative: Gain(|b, d, k| {
                    let slope = if k == 0 {
                        match *b.op(d.r) {
                            Op::Const(0.0) => return b.times(d.g, 0.0),
                            Op::Const(1.0) => return Ok(d.g),
                            Op::Const(2.0) => b.times(d.l, 2.0)?,
                            Op::Const(c) => {
                                let less = b.number(c - 1.0);
                                let power = b.binary(Power, d.l, less)?;
                                b.times(power, c)?
                            }
                            _ => {
                                let one = b.number(1.0);
                                let less = b.binary(Subtract, d.r, one)?;
                                let power = b.binary(Power, d.l, less)?;
                                b.binary(Multiply, d.r, power)?
                            }
                        }
                    } else {
                        let log = b.unary(UnaryOp::Log, d.l);
                        b.binary(Multiply, d.y, log)?
                    };
                    b.binary(Multiply, d.g, slope)
                }),
                error: |(a, ea), (b, eb), y| {
                    let by_base = if b == 0.0 { 0.0 } else { b * a.powf(b - 1.0) };
                    let by_exponent = if eb == 0.0 { 0.0 } else { y * a.abs().ln() };
                    times(by_base, ea) + times(by_exponent, eb) + y.abs()
                },
                commutes: false,
            },
            BinaryOp::Less => BinaryDescription {
                name: "less",
                value: |a, b| f64::from(a < b),
                derivative: comparison,
                error: |(a, ea), (b, eb), _| jump(a - b, ea + eb),
                commutes: false,
            },
            BinaryOp::LessEqual => BinaryDescription {
                name: "less_equal",
                value: |a, b| f64::from(a <= b),
                derivative: comparison,
                error: |(a, ea), (b, eb), _| jump(a - b, ea + eb),
                commutes: false,
            },
            BinaryOp::Equal => BinaryDescription {
                name: "equal",
                value: |a, b| f64::from(a == b),
                derivative: comparison,
                error: |(a, ea), (b, eb), _| jump(a - b, ea + eb),
                commutes: true,
            },
        }
    }

    /// Its name in the textual form of graphs.
    pub fn name(self) -> &'static str {
        self.description().name
    }
}

/// Both forms are the same number; each is used where its exponential cannot overflow.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// What operand `k` of a minimum or maximum gains: all of g where it is the result, half of it
/// where both operands are equal. `left` says whether `l` is the greater one where it gains: of a
/// maximum, for its own operand `l`.
fn extremum(b: &mut GradientBuilder, d: BinaryGradient, left: bool) -> Built {
    let (low, high) = if left { (d.r, d.l) } else { (d.l, d.r) };
    let strict = b.binary(BinaryOp::Less, low, high)?;
    let loose = b.binary(BinaryOp::LessEqual, low, high)?;
    let twice = b.binary(BinaryOp::Add, strict, loose)?;
    let share = b.times(twice, 0.5)?;
    b.binary(BinaryOp::Multiply, d.g, share)
}

/// Room for the error of a difference before a jump counts as safe.
pub(crate) const GUARD: f64 = 64.0 * f32::EPSILON as f64;

/// `m e`, an exact 0 silencing any error.
pub(crate) fn times(m: f64, e: f64) -> f64 {
    if m == 0.0 { 0.0 } else { m.abs() * e }
}

/// 0 where `distance` from a jump is beyond the error `e`, else infinite.
pub(crate) fn jump(distance: f64, e: f64) -> f64 {
    if e == 0.0 || distance.abs() > GUARD * e { 0.0 } else { f64::INFINITY }
}

/// What an error `e` becomes by a slope, and what rounding `y` adds.
fn steep(slope: f64, y: f64, e: f64) -> f64 {
    times(slope, e) + y.abs()
}

/// The error scale where `x` is not safely positive.
fn near_zero(x: f64, y: f64, e: f64) -> Option<f64> {
    (x <= 2.0 * GUARD * e).then(|| if e == 0.0 { y.abs() } else { f64::INFINITY })
}
