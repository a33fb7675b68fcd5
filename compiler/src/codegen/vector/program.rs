//! What a region computes at as many columns as a vector has lanes: a straight line of vector
//! operations, equal ones once.

use crate::codegen::math::{Arithmetic, Comparison};
use din_program::TablePrecision;
use rustc_hash::FxHashMap;

/// Index into [`VectorProgram::operations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Minimum,
    Maximum,
    And,
    Xor,
    AddIntegers,
    SubtractIntegers,
}

impl VectorOperator {
    pub fn commutes(self) -> bool {
        // Minimum and maximum give their second operand where one is NaN.
        !matches!(self, Self::Subtract | Self::Divide | Self::Minimum | Self::Maximum | Self::SubtractIntegers)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorOperation {
    /// The same bits in every lane.
    Constant(u32),
    /// `column` bytes into the row at address `slot`; one number for all lanes, or one for
    /// each that move with the columns. A number in BF16 becomes an f32.
    Load {
        slot: u32,
        column: i32,
        one: bool,
        precision: TablePrecision,
    },
    Binary(VectorOperator, Id, Id),
    /// `a * b + c`
    Fma(Id, Id, Id),
    Sqrt(Id),
    OfIntegers(Id),
    Shift {
        value: Id,
        left: bool,
        by: u8,
    },
    /// A mask.
    Compare(Comparison, Id, Id),
    /// The second where the mask is set, else the third.
    Choose(Id, Id, Id),
}

impl VectorOperation {
    pub fn operands(&self) -> impl Iterator<Item = Id> {
        let found = match *self {
            Self::Constant(_) | Self::Load { .. } => [None; 3],
            Self::Binary(_, a, b) | Self::Compare(_, a, b) => [Some(a), Some(b), None],
            Self::Fma(a, b, c) | Self::Choose(a, b, c) => [Some(a), Some(b), Some(c)],
            Self::Sqrt(a) | Self::OfIntegers(a) | Self::Shift { value: a, .. } => [Some(a), None, None],
        };
        found.into_iter().flatten()
    }

    /// The same operation on other values: each operand is replaced by what `to` gives for it.
    pub fn with_operands(self, to: impl Fn(Id) -> Id) -> VectorOperation {
        match self {
            Self::Constant(_) | Self::Load { .. } => self,
            Self::Binary(operator, a, b) => Self::Binary(operator, to(a), to(b)),
            Self::Compare(how, a, b) => Self::Compare(how, to(a), to(b)),
            Self::Fma(a, b, c) => Self::Fma(to(a), to(b), to(c)),
            Self::Choose(a, b, c) => Self::Choose(to(a), to(b), to(c)),
            Self::Sqrt(a) => Self::Sqrt(to(a)),
            Self::OfIntegers(a) => Self::OfIntegers(to(a)),
            Self::Shift { value, left, by } => Self::Shift { value: to(value), left, by },
        }
    }
}

#[derive(Debug, Default)]
pub struct VectorProgram {
    pub operations: Vec<VectorOperation>,
    known: FxHashMap<VectorOperation, Id>,
}

impl VectorProgram {
    pub fn emit(&mut self, operation: VectorOperation) -> Id {
        *self.known.entry(operation).or_insert_with(|| {
            self.operations.push(operation);
            Id(self.operations.len() as u32 - 1)
        })
    }

    fn binary(&mut self, operator: VectorOperator, x: Id, y: Id) -> Id {
        self.emit(VectorOperation::Binary(operator, x, y))
    }
}

impl Arithmetic for VectorProgram {
    type Value = Id;
    type Mask = Id;

    fn constant(&mut self, x: f64) -> Id {
        self.emit(VectorOperation::Constant((x as f32).to_bits()))
    }

    fn integer(&mut self, x: i32) -> Id {
        self.emit(VectorOperation::Constant(x as u32))
    }

    fn bits(&mut self, x: Id) -> Id {
        x
    }

    fn float(&mut self, x: Id) -> Id {
        x
    }

    fn add(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::Add, x, y)
    }

    fn subtract(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::Subtract, x, y)
    }

    fn multiply(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::Multiply, x, y)
    }

    fn divide(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::Divide, x, y)
    }

    fn negate(&mut self, x: Id) -> Id {
        let sign = self.integer(i32::MIN);
        self.binary(VectorOperator::Xor, x, sign)
    }

    fn absolute(&mut self, x: Id) -> Id {
        let rest = self.integer(i32::MAX);
        self.binary(VectorOperator::And, x, rest)
    }

    fn sqrt(&mut self, x: Id) -> Id {
        self.emit(VectorOperation::Sqrt(x))
    }

    fn mul_add(&mut self, x: Id, y: Id, z: Id) -> Id {
        self.emit(VectorOperation::Fma(x, y, z))
    }

    fn add_integers(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::AddIntegers, x, y)
    }

    fn subtract_integers(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::SubtractIntegers, x, y)
    }

    fn and(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::And, x, y)
    }

    fn exclusive_or(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::Xor, x, y)
    }

    fn shift_left(&mut self, x: Id, by: i64) -> Id {
        self.emit(VectorOperation::Shift { value: x, left: true, by: by as u8 })
    }

    fn shift_right(&mut self, x: Id, by: i64) -> Id {
        self.emit(VectorOperation::Shift { value: x, left: false, by: by as u8 })
    }

    fn of_integers(&mut self, x: Id) -> Id {
        self.emit(VectorOperation::OfIntegers(x))
    }

    fn compare(&mut self, how: Comparison, x: Id, y: Id) -> Id {
        self.emit(VectorOperation::Compare(how, x, y))
    }

    fn choose(&mut self, mask: Id, x: Id, y: Id) -> Id {
        self.emit(VectorOperation::Choose(mask, x, y))
    }

    // The instructions give their second operand where one is NaN, and where both are zeros.
    fn least(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::Minimum, x, y)
    }

    fn greatest(&mut self, x: Id, y: Id) -> Id {
        self.binary(VectorOperator::Maximum, x, y)
    }
}
