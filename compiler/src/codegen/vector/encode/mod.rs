//! Vector instructions of a target: what blocks and loops ask for, behind one trait. It says how
//! many lanes and registers there are, and how constants, masks and the ends of rows are done.
//!
//! - `evex`: AVX-512. - `vex`: AVX2 with FMA.
//!
//! Both share the table of opcodes below; they differ in prefixes, and in what has no equal in the
//! other. Instructions of another architecture would be a third implementation; it would also need
//! what `loops` calls of the `Assembler`.

mod evex;
mod vex;

pub use evex::Evex;
pub use vex::Vex;

use super::assembler::{Address, Assembler};
use super::program::VectorOperator;
use crate::codegen::math::Comparison;

/// A vector register, by hardware number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorRegister(pub u8);

/// A register that holds one truth value per lane: of the mask registers where the target has them,
/// else a vector register whose lanes are all ones or all zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskRegister(pub u8);

/// The last operand of a vector instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOperand {
    Register(VectorRegister),
    Vector(Address),
    /// One f32 for all lanes.
    Broadcast(Address),
    /// The same, of the constants behind the code.
    Constant(u32),
}

/// Which lanes of a block exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveLanes {
    All,
    /// The lower half, where the target has instructions of that length.
    Half,
    /// The first `count`, which are those of `mask`.
    First {
        count: i32,
        mask: MaskRegister,
    },
    /// Those of the mask: the first ones, of which there may be any number.
    Masked(MaskRegister),
}

/// Of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    SquareRoot,
    OfIntegers,
}

/// Which operand of a fused multiply-add its result overwrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FusedForm {
    /// `to = to * last + middle`
    FactorByLast,
    /// `to = middle * to + last`
    FactorByMiddle,
    /// `to = middle * last + to`
    Addend,
}

/// Vector instructions of f32. Operands of instructions are never the register that `to` names,
/// unless they say so. "Lanes" are those that the block around an instruction has: the instruction
/// may compute more of them.
pub trait VectorEncoding {
    /// f32 of one register.
    const LANES: i32;
    const REGISTERS: u8;
    /// Mask registers that blocks may use, a bit each; 0 where masks are in vector registers.
    const MASKS: u8;
    /// The mask register of lanes that exist; `None` where masks are in vector registers.
    const TAIL: Option<MaskRegister>;
    /// Whether [`VectorOperand::Broadcast`] may be the last operand of any instruction.
    const BROADCASTS: bool;
    /// Whether the target has [`LiveLanes::Half`].
    const HALVES: bool;
    /// How many constants may get registers of their own: what is tried, best first.
    const PINNED: &'static [usize];
    /// Blocks of a row that stand one after another rather than in a loop.
    const UNROLLED: i32;

    /// `mask =` the first `count` lanes. Overwrites `rax`.
    fn mask_first(asm: &mut Assembler, mask: MaskRegister, count: i32);
    /// `mask =` as many first lanes as `rax` says, which is less than all. Overwrites `rax`, `rdx`.
    fn mask_counted(asm: &mut Assembler, mask: MaskRegister);
    /// Whether blocks of these lanes read vectors from memory as operands of instructions.
    fn reads_vectors(lanes: LiveLanes) -> bool;
    /// Whether [`VectorEncoding::store`] and [`VectorEncoding::accumulate`] need a spare register.
    fn needs_spare(lanes: LiveLanes) -> bool;

    /// A vector from memory; lanes that do not exist are 0.
    fn load(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes);
    /// A vector of BF16 from memory, each in the lower half of its lane: shifted by 16 it is an
    /// f32. Lanes that do not exist are 0. May read up to [`din_program::BF16_PADDING`] bytes
    /// behind those that do.
    fn load_bf16(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes);
    /// One BF16 for all lanes, in the lower half of each.
    fn broadcast_bf16(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes);
    /// One f32 for all lanes: a broadcast or a constant.
    fn broadcast(asm: &mut Assembler, to: VectorRegister, from: VectorOperand, lanes: LiveLanes);
    fn copy(asm: &mut Assembler, to: VectorRegister, from: VectorRegister, lanes: LiveLanes);
    /// `to = middle op last`; `to` may be an operand.
    fn binary(
        asm: &mut Assembler,
        operator: VectorOperator,
        to: VectorRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    );
    /// A multiply-add over its operand `to`, rounded once.
    fn fused(
        asm: &mut Assembler,
        form: FusedForm,
        to: VectorRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    );
    /// `to = op last`; `to` may be the operand.
    fn convert(asm: &mut Assembler, how: Conversion, to: VectorRegister, last: VectorOperand, lanes: LiveLanes);
    /// 32-bit lanes shifted, to the left or, with the sign, to the right; `to` may be `from`.
    fn shift(asm: &mut Assembler, to: VectorRegister, from: VectorRegister, left: bool, by: u8, lanes: LiveLanes);
    /// `to = middle how last`; where masks are vectors, `to` may be an operand.
    fn compare(
        asm: &mut Assembler,
        how: Comparison,
        to: MaskRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    );
    /// `to =` the last operand where the mask is set, else the middle one; `to` may be any of them.
    fn choose(
        asm: &mut Assembler,
        to: VectorRegister,
        mask: MaskRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    );
    /// The lanes that exist to memory.
    fn store(asm: &mut Assembler, from: VectorRegister, to: Address, lanes: LiveLanes, spare: Option<VectorRegister>);
    /// `sum += value` in the lanes that exist; the others stay.
    fn accumulate(
        asm: &mut Assembler,
        sum: VectorRegister,
        value: VectorRegister,
        lanes: LiveLanes,
        spare: Option<VectorRegister>,
    );
    fn zero(asm: &mut Assembler, to: VectorRegister);
    /// Sums the lanes of `x` into lane 0; `spare` is overwritten.
    fn sum_lanes(asm: &mut Assembler, x: VectorRegister, spare: VectorRegister);
    /// Lane 0 to memory.
    fn store_one(asm: &mut Assembler, from: VectorRegister, to: Address);
}

/// An instruction of either encoding: opcode map (1 is `0F`, 2 `0F 38`, 3 `0F 3A`), prefix (1 is
/// `66`, 2 `F3`), W, opcode.
#[derive(Clone, Copy, Debug)]
struct Opcode {
    name: &'static str,
    map: u8,
    prefix: u8,
    w: u8,
    opcode: u8,
}

const fn opcode(name: &'static str, map: u8, prefix: u8, opcode: u8) -> Opcode {
    Opcode { name, map, prefix, w: 0, opcode }
}

const ADD: Opcode = opcode("vaddps", 1, 0, 0x58);
const SHIFT: Opcode = opcode("vpshiftd", 1, 1, 0x72);
const COMPARE: Opcode = opcode("vcmpps", 1, 0, 0xc2);
const BROADCAST: Opcode = opcode("vbroadcastss", 2, 1, 0x18);
const BROADCAST_WORD: Opcode = opcode("vpbroadcastw", 2, 1, 0x79);
const WIDEN: Opcode = opcode("vpmovzxwd", 2, 1, 0x33);
const LOAD: Opcode = opcode("vmovups", 1, 0, 0x10);
const STORE: Opcode = opcode("vmovups", 1, 0, 0x11);
const STORE_ONE: Opcode = opcode("vmovss", 1, 2, 0x11);
const UPPER_PAIR: Opcode = opcode("vmovhlps", 1, 0, 0x12);
const ODD: Opcode = opcode("vmovshdup", 1, 2, 0x16);

/// The instruction of an operator; `and` and `xor` are the encoding's own.
fn arithmetic(operator: VectorOperator, and: Opcode, xor: Opcode) -> Opcode {
    match operator {
        VectorOperator::Add => ADD,
        VectorOperator::Subtract => opcode("vsubps", 1, 0, 0x5c),
        VectorOperator::Multiply => opcode("vmulps", 1, 0, 0x59),
        VectorOperator::Divide => opcode("vdivps", 1, 0, 0x5e),
        VectorOperator::Minimum => opcode("vminps", 1, 0, 0x5d),
        VectorOperator::Maximum => opcode("vmaxps", 1, 0, 0x5f),
        VectorOperator::And => and,
        VectorOperator::Xor => xor,
        VectorOperator::AddIntegers => opcode("vpaddd", 1, 1, 0xfe),
        VectorOperator::SubtractIntegers => opcode("vpsubd", 1, 1, 0xfa),
    }
}

fn conversion(how: Conversion) -> Opcode {
    match how {
        Conversion::SquareRoot => opcode("vsqrtps", 1, 0, 0x51),
        Conversion::OfIntegers => opcode("vcvtdq2ps", 1, 0, 0x5b),
    }
}

fn fused(form: FusedForm) -> Opcode {
    match form {
        FusedForm::FactorByLast => opcode("vfmadd132ps", 2, 1, 0x98),
        FusedForm::FactorByMiddle => opcode("vfmadd213ps", 2, 1, 0xa8),
        FusedForm::Addend => opcode("vfmadd231ps", 2, 1, 0xb8),
    }
}

/// Opcode extension of a shift by an immediate.
fn shift_extension(left: bool) -> u8 {
    if left { 6 } else { 4 }
}

fn shift_name(left: bool) -> &'static str {
    if left { "vpslld" } else { "vpsrad" }
}

/// Immediate of `vcmpps`; none signals.
fn predicate(how: Comparison) -> u8 {
    match how {
        Comparison::Equal => 0x00,
        Comparison::NotEqual => 0x04,
        Comparison::Less => 0x11,
        Comparison::LessEqual => 0x12,
        Comparison::NotGreaterEqual => 0x19,
        Comparison::Greater => 0x1e,
    }
}
