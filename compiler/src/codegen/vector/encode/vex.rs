//! AVX2 with FMA: eight lanes, sixteen registers. Masks are vectors; constants lie in memory once
//! per lane, so that instructions can read them. Blocks of at most four lanes use the lower halves
//! of registers.
//!
//! A masked store takes many operations on AMD CPUs before Zen 5: where the number of lanes is
//! known, they are stored in pieces of four, two and one.

use super::super::assembler::{Address, Assembler, place};
use super::super::program::VectorOperator;
use super::{
    ADD, BROADCAST, BROADCAST_WORD, COMPARE, Conversion, FusedForm, LOAD, LiveLanes, MaskRegister, ODD, Opcode, SHIFT,
    STORE, STORE_ONE, UPPER_PAIR, VectorEncoding, VectorOperand, VectorRegister, WIDEN, arithmetic, conversion, fused,
    opcode, predicate, shift_extension, shift_name,
};
use crate::codegen::math::Comparison;

pub struct Vex;

const AND: Opcode = opcode("vandps", 1, 0, 0x54);
const XOR: Opcode = opcode("vxorps", 1, 0, 0x57);
/// Where the mask is set the last operand, else the middle one.
const BLEND: Opcode = opcode("vblendvps", 3, 1, 0x4a);
const UPPER_HALF: Opcode = opcode("vextractf128", 3, 1, 0x19);
const MASKED_LOAD: Opcode = opcode("vmaskmovps", 2, 1, 0x2c);
const MASKED_STORE: Opcode = opcode("vmaskmovps", 2, 1, 0x2e);
const STORE_PAIR: Opcode = opcode("vmovlps", 1, 0, 0x13);
const EXTRACT: Opcode = opcode("vextractps", 3, 1, 0x17);
const OF_GENERAL: Opcode = opcode("vmovd", 1, 1, 0x6e);
const BROADCAST_INTEGER: Opcode = opcode("vpbroadcastd", 2, 1, 0x58);
const GREATER_INTEGER: Opcode = opcode("vpcmpgtd", 1, 1, 0x66);

/// Half a register.
const HALF: i32 = Vex::LANES / 2;

/// What stands in memory or in a register.
#[derive(Clone, Copy, Debug)]
enum Operand {
    Register(u8),
    Memory(Address),
    /// The constants behind the code, by lane.
    Lanes([u32; 8]),
}

fn operand(last: VectorOperand) -> Operand {
    match last {
        VectorOperand::Register(r) => Operand::Register(r.0),
        VectorOperand::Vector(a) => Operand::Memory(a),
        VectorOperand::Constant(bits) => Operand::Lanes([bits; 8]),
        VectorOperand::Broadcast(_) => unreachable!("instructions do not broadcast their operands"),
    }
}

fn show(last: VectorOperand, length: u8) -> String {
    match last {
        VectorOperand::Register(r) => register(r, length),
        VectorOperand::Vector(a) | VectorOperand::Broadcast(a) => format!("[{}]", place(a)),
        VectorOperand::Constant(bits) => format!("{:e}", f32::from_bits(bits)),
    }
}

fn register(r: VectorRegister, length: u8) -> String {
    format!("{}{}", if length == 1 { "ymm" } else { "xmm" }, r.0)
}

/// An instruction of `length` 0 (128 bits) or 1.
fn vex(asm: &mut Assembler, o: Opcode, length: u8, register: u8, middle: u8, last: Operand, immediate: Option<u8>) {
    let (b, x) = match last {
        Operand::Register(r) => (r >> 3, 0),
        Operand::Memory(a) => (a.base.0 >> 3, a.index.map_or(0, |(i, _)| i.0 >> 3)),
        Operand::Lanes(_) => (0, 0),
    };
    let not = |bit: u8| bit & 1 ^ 1;
    let rest = o.w << 7 | (!middle & 15) << 3 | length << 2 | o.prefix;
    if o.map == 1 && o.w == 0 && b == 0 && x == 0 {
        asm.bytes(&[0xc5, not(register >> 3) << 7 | rest]);
    } else {
        asm.bytes(&[0xc4, not(register >> 3) << 7 | not(x) << 6 | not(b) << 5 | o.map, rest]);
    }
    asm.bytes(&[o.opcode]);
    match last {
        Operand::Register(r) => asm.register_operand(register, r),
        Operand::Memory(a) => asm.memory(register, a),
        Operand::Lanes(words) => asm.constant_operand(register, words.to_vec(), i32::from(immediate.is_some())),
    }
    if let Some(byte) = immediate {
        asm.bytes(&[byte]);
    }
}

/// Length of the instructions of a block.
fn length(lanes: LiveLanes) -> u8 {
    match lanes {
        LiveLanes::Half => 0,
        LiveLanes::First { count, .. } if count < HALF => 0,
        LiveLanes::All | LiveLanes::First { .. } | LiveLanes::Masked(_) => 1,
    }
}

fn three(
    asm: &mut Assembler,
    o: Opcode,
    to: VectorRegister,
    middle: VectorRegister,
    last: VectorOperand,
    lanes: LiveLanes,
) {
    let l = length(lanes);
    vex(asm, o, l, to.0, middle.0, operand(last), None);
    asm.note(|| format!("{} {}, {}, {}", o.name, register(to, l), register(middle, l), show(last, l)));
}

fn two(asm: &mut Assembler, o: Opcode, to: VectorRegister, last: VectorOperand, length: u8) {
    vex(asm, o, length, to.0, 0, operand(last), None);
    asm.note(|| format!("{} {}, {}", o.name, register(to, length), show(last, length)));
}

fn to_memory(asm: &mut Assembler, o: Opcode, length: u8, from: VectorRegister, to: Address) {
    vex(asm, o, length, from.0, 0, Operand::Memory(to), None);
    asm.note(|| format!("{} [{}], {}", o.name, place(to), register(from, length)));
}

/// The first `count` of four lanes.
fn store_few(asm: &mut Assembler, from: VectorRegister, to: Address, count: i32) {
    match count {
        0 => {}
        1 => to_memory(asm, STORE_ONE, 0, from, to),
        2 => to_memory(asm, STORE_PAIR, 0, from, to),
        3 => {
            to_memory(asm, STORE_PAIR, 0, from, to);
            let third = Address { displacement: to.displacement + 8, ..to };
            vex(asm, EXTRACT, 0, from.0, 0, Operand::Memory(third), Some(2));
            asm.note(|| format!("{} [{}], xmm{}, 2", EXTRACT.name, place(third), from.0));
        }
        HALF => to_memory(asm, STORE, 0, from, to),
        _ => unreachable!("there are four lanes"),
    }
}

/// `to =` the upper half of `from`.
fn upper_half(asm: &mut Assembler, to: VectorRegister, from: VectorRegister) {
    vex(asm, UPPER_HALF, 1, from.0, 0, Operand::Register(to.0), Some(1));
    asm.note(|| format!("{} xmm{}, ymm{}, 1", UPPER_HALF.name, to.0, from.0));
}

const SPARE: &str = "`needs_spare` asked for a register";

impl VectorEncoding for Vex {
    const LANES: i32 = 8;
    const REGISTERS: u8 = 16;
    const MASKS: u8 = 0;
    const TAIL: Option<MaskRegister> = None;
    const BROADCASTS: bool = false;
    const HALVES: bool = true;
    const PINNED: &'static [usize] = &[10, 6, 3, 0];
    const UNROLLED: i32 = 4;

    fn mask_first(asm: &mut Assembler, mask: MaskRegister, count: i32) {
        let words = std::array::from_fn(|k| if (k as i32) < count { u32::MAX } else { 0 });
        vex(asm, LOAD, 1, mask.0, 0, Operand::Lanes(words), None);
        asm.note(|| format!("ymm{} = mask of {count} lanes", mask.0));
    }

    fn mask_counted(asm: &mut Assembler, mask: MaskRegister) {
        // The general register 0 is `rax`.
        vex(asm, OF_GENERAL, 0, mask.0, 0, Operand::Register(0), None);
        vex(asm, BROADCAST_INTEGER, 1, mask.0, 0, Operand::Register(mask.0), None);
        let numbers = std::array::from_fn(|k| k as u32);
        vex(asm, GREATER_INTEGER, 1, mask.0, mask.0, Operand::Lanes(numbers), None);
        asm.note(|| format!("ymm{} = mask of rax lanes", mask.0));
    }

    fn reads_vectors(lanes: LiveLanes) -> bool {
        match lanes {
            LiveLanes::All | LiveLanes::Half => true,
            LiveLanes::First { .. } | LiveLanes::Masked(_) => false,
        }
    }

    fn needs_spare(lanes: LiveLanes) -> bool {
        match lanes {
            LiveLanes::All | LiveLanes::Masked(_) => false,
            LiveLanes::Half | LiveLanes::First { .. } => true,
        }
    }

    fn load(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes) {
        match lanes {
            LiveLanes::All | LiveLanes::Half => two(asm, LOAD, to, VectorOperand::Vector(from), length(lanes)),
            LiveLanes::First { mask, .. } | LiveLanes::Masked(mask) => {
                three(asm, MASKED_LOAD, to, VectorRegister(mask.0), VectorOperand::Vector(from), lanes);
            }
        }
    }

    fn load_bf16(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes) {
        two(asm, WIDEN, to, VectorOperand::Vector(from), length(lanes));
        match lanes {
            LiveLanes::All | LiveLanes::Half => {}
            // There is no masked load of 16 bits.
            LiveLanes::First { mask, .. } | LiveLanes::Masked(mask) => {
                three(asm, AND, to, VectorRegister(mask.0), VectorOperand::Register(to), lanes);
            }
        }
    }

    fn broadcast_bf16(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes) {
        two(asm, BROADCAST_WORD, to, VectorOperand::Vector(from), length(lanes));
    }

    fn broadcast(asm: &mut Assembler, to: VectorRegister, from: VectorOperand, lanes: LiveLanes) {
        let l = length(lanes);
        match from {
            VectorOperand::Broadcast(a) => {
                vex(asm, BROADCAST, l, to.0, 0, Operand::Memory(a), None);
                asm.note(|| format!("{} {}, [{}]", BROADCAST.name, register(to, l), place(a)));
            }
            VectorOperand::Constant(_) => two(asm, LOAD, to, from, l),
            VectorOperand::Register(_) | VectorOperand::Vector(_) => unreachable!("it is one f32 in memory"),
        }
    }

    fn copy(asm: &mut Assembler, to: VectorRegister, from: VectorRegister, lanes: LiveLanes) {
        two(asm, LOAD, to, VectorOperand::Register(from), length(lanes));
    }

    fn binary(
        asm: &mut Assembler,
        operator: VectorOperator,
        to: VectorRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    ) {
        three(asm, arithmetic(operator, AND, XOR), to, middle, last, lanes);
    }

    fn fused(
        asm: &mut Assembler,
        form: FusedForm,
        to: VectorRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    ) {
        three(asm, fused(form), to, middle, last, lanes);
    }

    fn convert(asm: &mut Assembler, how: Conversion, to: VectorRegister, last: VectorOperand, lanes: LiveLanes) {
        two(asm, conversion(how), to, last, length(lanes));
    }

    fn shift(asm: &mut Assembler, to: VectorRegister, from: VectorRegister, left: bool, by: u8, lanes: LiveLanes) {
        let l = length(lanes);
        vex(asm, SHIFT, l, shift_extension(left), to.0, Operand::Register(from.0), Some(by));
        asm.note(|| format!("{} {}, {}, {by}", shift_name(left), register(to, l), register(from, l)));
    }

    fn compare(
        asm: &mut Assembler,
        how: Comparison,
        to: MaskRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    ) {
        let (l, predicate) = (length(lanes), predicate(how));
        vex(asm, COMPARE, l, to.0, middle.0, operand(last), Some(predicate));
        let to = register(VectorRegister(to.0), l);
        asm.note(|| format!("{} {to}, {}, {}, {predicate}", COMPARE.name, register(middle, l), show(last, l)));
    }

    fn choose(
        asm: &mut Assembler,
        to: VectorRegister,
        mask: MaskRegister,
        middle: VectorRegister,
        last: VectorOperand,
        lanes: LiveLanes,
    ) {
        let l = length(lanes);
        vex(asm, BLEND, l, to.0, middle.0, operand(last), Some(mask.0 << 4));
        let mask = register(VectorRegister(mask.0), l);
        asm.note(|| format!("{} {}, {}, {}, {mask}", BLEND.name, register(to, l), register(middle, l), show(last, l)));
    }

    fn store(asm: &mut Assembler, from: VectorRegister, to: Address, lanes: LiveLanes, spare: Option<VectorRegister>) {
        match lanes {
            LiveLanes::All => to_memory(asm, STORE, 1, from, to),
            LiveLanes::Half => store_few(asm, from, to, HALF),
            LiveLanes::First { count, .. } if count < HALF => store_few(asm, from, to, count),
            LiveLanes::First { count, .. } => {
                let spare = spare.expect(SPARE);
                store_few(asm, from, to, HALF);
                upper_half(asm, spare, from);
                store_few(asm, spare, Address { displacement: to.displacement + 4 * HALF, ..to }, count - HALF);
            }
            LiveLanes::Masked(mask) => {
                vex(asm, MASKED_STORE, 1, from.0, mask.0, Operand::Memory(to), None);
                asm.note(|| format!("{} [{}], ymm{}, ymm{}", MASKED_STORE.name, place(to), mask.0, from.0));
            }
        }
    }

    fn accumulate(
        asm: &mut Assembler,
        sum: VectorRegister,
        value: VectorRegister,
        lanes: LiveLanes,
        spare: Option<VectorRegister>,
    ) {
        let value = match lanes {
            LiveLanes::All => value,
            LiveLanes::Half => {
                let spare = spare.expect(SPARE);
                // Clears the upper half.
                Self::copy(asm, spare, value, lanes);
                spare
            }
            LiveLanes::First { mask, .. } => {
                let spare = spare.expect(SPARE);
                three(asm, AND, spare, VectorRegister(mask.0), VectorOperand::Register(value), lanes);
                spare
            }
            LiveLanes::Masked(_) => unreachable!("a row has a known number of columns"),
        };
        three(asm, ADD, sum, sum, VectorOperand::Register(value), LiveLanes::All);
    }

    fn zero(asm: &mut Assembler, to: VectorRegister) {
        three(asm, XOR, to, to, VectorOperand::Register(to), LiveLanes::All);
    }

    fn sum_lanes(asm: &mut Assembler, x: VectorRegister, spare: VectorRegister) {
        let (rx, rt) = (Operand::Register(x.0), Operand::Register(spare.0));
        upper_half(asm, spare, x);
        vex(asm, ADD, 0, x.0, x.0, rt, None);
        vex(asm, UPPER_PAIR, 0, spare.0, x.0, rx, None);
        vex(asm, ADD, 0, x.0, x.0, rt, None);
        vex(asm, ODD, 0, spare.0, 0, rx, None);
        vex(asm, ADD, 0, x.0, x.0, rt, None);
        asm.note(|| format!("sum of lanes ymm{} (ymm{})", x.0, spare.0));
    }

    fn store_one(asm: &mut Assembler, from: VectorRegister, to: Address) {
        to_memory(asm, STORE_ONE, 0, from, to);
    }
}
