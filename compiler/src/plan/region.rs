//! Fused regions: what one generated kernel does. A region iterates the elements of one axis and,
//! within an element, the columns `0..width`; its body is a scalar SSA program evaluated at every
//! (element, column).
//!
//! Guarantees: a body refers only to earlier instructions; operands of width 1 stand for every
//! column; outputs are written after all loads of the same (element, column), so in-place updates
//! are safe.

use crate::graph::{BinaryOp, UnaryOp};
pub use din_program::Access;
use din_program::schedule::{AxisId, KernelArg, MathFunction};
use din_program::{ArrayUse, Signature, TablePrecision};
use std::hash::{Hash, Hasher};

/// Index into [`Region::body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A strided array: column `c` of row `r` is the number at
/// `args[argument] + (r * stride + column + c) * precision.bytes()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StridedView {
    pub argument: u32,
    pub access: Access,
    pub stride: u32,
    pub column: u32,
    /// The region's width, or 1: the same number for every column.
    pub width: u32,
    /// F32 but for the rows of a table.
    pub precision: TablePrecision,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instruction {
    Const(f64),
    Load(StridedView),
    Unary(UnaryOp, ValueId),
    Binary(BinaryOp, ValueId, ValueId),
    /// `b` where `a != 0`, else `c`
    Select(ValueId, ValueId, ValueId),
    /// [`din_program::dropout::factor`] at `sample`, `first`, `second`, `component`, and the two
    /// words of the key, whose bits the last two values have.
    DropoutMask {
        rate: f64,
        of: [ValueId; 6],
    },
}

impl Eq for Instruction {}

impl Hash for Instruction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Const(c) => c.to_bits().hash(state),
            Self::Load(p) => p.hash(state),
            Self::Unary(op, a) => (op, a).hash(state),
            Self::Binary(op, a, b) => (op, a, b).hash(state),
            Self::Select(a, b, c) => (a, b, c).hash(state),
            Self::DropoutMask { rate, of } => (rate.to_bits(), of).hash(state),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputMode {
    /// Overwrites.
    Store,
    /// Adds to what is there.
    Add,
    /// Maximum with what is there.
    Max,
    /// Overwrites with the sum over the columns; the place has width 1.
    StoreRowSum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionOutput {
    pub value: ValueId,
    pub place: StridedView,
    pub mode: OutputMode,
}

/// One kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    pub axis: AxisId,
    pub width: u32,
    /// Once and width 1: computed in f64, stored as f32.
    pub uniform: bool,
    /// At v3 and v4, exponentials and sigmoids are computed by fewer operations, with other last
    /// bits. Set in inference.
    pub short_functions: bool,
    /// What each argument points at; indices are used by places and accesses.
    pub arguments: Vec<KernelArg>,
    pub body: Vec<Instruction>,
    pub outputs: Vec<RegionOutput>,
}

impl Region {
    pub fn new(axis: AxisId, width: u32, uniform: bool) -> Self {
        let (arguments, body, outputs) = (Vec::new(), Vec::new(), Vec::new());
        Region { axis, width, uniform, short_functions: false, arguments, body, outputs }
    }

    /// The argument that points at `source`, added if new.
    pub fn argument(&mut self, source: KernelArg) -> u32 {
        if let Some(k) = self.arguments.iter().position(|s| *s == source) {
            return k as u32;
        }
        self.arguments.push(source);
        self.arguments.len() as u32 - 1
    }

    /// The value of `instruction`, reusing an equal earlier one.
    pub fn emit(&mut self, instruction: Instruction) -> ValueId {
        if let Some(k) = self.body.iter().position(|i| *i == instruction) {
            return ValueId(k as u32);
        }
        self.body.push(instruction);
        ValueId(self.body.len() as u32 - 1)
    }

    /// What the region's code does with its arguments.
    pub fn signature(&self) -> Signature {
        let loads = self.body.iter().filter_map(|instruction| match instruction {
            Instruction::Load(place) => Some((*place, false)),
            Instruction::Const(_)
            | Instruction::Unary(..)
            | Instruction::Binary(..)
            | Instruction::Select(..)
            | Instruction::DropoutMask { .. } => None,
        });
        let stores = self.outputs.iter().map(|output| (output.place, true));
        let mut arrays: Vec<ArrayUse> = Vec::new();
        for (place, writes) in loads.chain(stores) {
            let found = ArrayUse {
                argument: place.argument,
                access: place.access,
                stride: place.stride,
                columns: place.column + place.width,
                writes,
                precision: place.precision,
            };
            if !arrays.contains(&found) {
                arrays.push(found);
            }
        }
        let functions =
            self.arguments.iter().zip(0..).filter_map(|(source, argument)| Some((argument, source.function()?)));
        Signature { arguments: self.arguments.len() as u32, arrays, functions: functions.collect() }
    }

    /// The value as a number that is known now: the exponent of a power.
    pub fn exponent(&self, value: ValueId) -> Option<f64> {
        if let Instruction::Const(c) = self.body[value.0 as usize] { Some(c) } else { None }
    }

    /// Whether elements and columns form one flat range: every array is dense, as wide as the
    /// region, and addressed by row.
    pub fn is_flat(&self) -> bool {
        let flat = |p: &StridedView| {
            p.access == Access::Row && p.stride == self.width && p.column == 0 && p.width == self.width
        };
        let scalar = |p: &StridedView| p.access == Access::Once && p.width == 1;
        let loads = self.body.iter().all(|i| match i {
            Instruction::Load(p) => flat(p) || scalar(p),
            Instruction::Const(_)
            | Instruction::Unary(..)
            | Instruction::Binary(..)
            | Instruction::Select(..)
            | Instruction::DropoutMask { .. } => true,
        });
        loads && self.outputs.iter().all(|o| o.mode == OutputMode::Store && flat(&o.place))
    }
}

/// What generated code calls for an instruction; everything else is inline.
pub fn functions(region: &Region, instruction: &Instruction) -> Vec<MathFunction> {
    match instruction {
        Instruction::Binary(BinaryOp::Power, _, b) => {
            if region.exponent(*b).is_some_and(is_simple_power) {
                vec![]
            } else {
                vec![MathFunction::Pow]
            }
        }
        Instruction::Unary(op, _) if region.uniform => op.description().double.functions(),
        Instruction::Unary(..)
        | Instruction::Binary(..)
        | Instruction::Const(_)
        | Instruction::Load(_)
        | Instruction::Select(..)
        | Instruction::DropoutMask { .. } => vec![],
    }
}

/// Exponents that become multiplications or a square root.
pub fn is_simple_power(exponent: f64) -> bool {
    exponent == 0.5 || (exponent.fract() == 0.0 && exponent.abs() <= 32.0)
}

impl Region {
    /// Adds the addresses of the functions that its code will call to the arguments.
    pub fn add_functions(&mut self) {
        let mut wanted: Vec<MathFunction> = Vec::new();
        for i in &self.body {
            wanted.extend(functions(self, i));
        }
        for f in wanted {
            self.argument(KernelArg::Function(f));
        }
    }
}
