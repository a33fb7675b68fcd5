//! AVX-512: sixteen lanes, 32 registers, mask registers; any instruction reads one f32 for all
//! lanes from memory. Ends of rows are masked.

use super::super::assembler::{Address, Assembler, place};
use super::super::program::VectorOperator;
use super::{
    ADD, BROADCAST, BROADCAST_WORD, COMPARE, Conversion, FusedForm, LOAD, LiveLanes, MaskRegister, ODD, Opcode, SHIFT,
    STORE, STORE_ONE, UPPER_PAIR, VectorEncoding, VectorOperand, VectorRegister, WIDEN, arithmetic, conversion, fused,
    opcode, predicate, shift_extension, shift_name,
};
use crate::codegen::math::Comparison;

pub struct Evex;

const AND: Opcode = opcode("vpandd", 1, 1, 0xdb);
const XOR: Opcode = opcode("vpxord", 1, 1, 0xef);
/// Where the mask is set the last operand, else the middle one.
const BLEND: Opcode = opcode("vblendmps", 2, 1, 0x65);
const UPPER_HALF: Opcode = Opcode { name: "vextractf64x4", map: 3, prefix: 1, w: 1, opcode: 0x1b };
const UPPER_QUARTER: Opcode = opcode("vextractf32x4", 3, 1, 0x19);

/// Why no block has half the lanes.
const NO_HALVES: &str = "the ends of rows are masked";

/// Which lanes an instruction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Masking {
    All,
    /// Those of the mask; the others become 0.
    Zeroed(MaskRegister),
    /// Those of the mask; the others stay.
    Kept(MaskRegister),
}

fn show(operand: VectorOperand) -> String {
    match operand {
        VectorOperand::Register(r) => format!("zmm{}", r.0),
        VectorOperand::Vector(a) => format!("[{}]", place(a)),
        VectorOperand::Broadcast(a) => format!("[{}]{{1to16}}", place(a)),
        VectorOperand::Constant(bits) => format!("{:e}{{1to16}}", f32::from_bits(bits)),
    }
}

fn show_masking(masking: Masking) -> String {
    match masking {
        Masking::All => String::new(),
        Masking::Zeroed(k) => format!("{{k{}}}{{z}}", k.0),
        Masking::Kept(k) => format!("{{k{}}}", k.0),
    }
}

fn kept(lanes: LiveLanes) -> Masking {
    match lanes {
        LiveLanes::All => Masking::All,
        LiveLanes::Half => unreachable!("{NO_HALVES}"),
        LiveLanes::First { mask, .. } | LiveLanes::Masked(mask) => Masking::Kept(mask),
    }
}

fn zeroed(lanes: LiveLanes) -> Masking {
    match lanes {
        LiveLanes::All => Masking::All,
        LiveLanes::Half => unreachable!("{NO_HALVES}"),
        LiveLanes::First { mask, .. } | LiveLanes::Masked(mask) => Masking::Zeroed(mask),
    }
}

/// An instruction of `length` 0 (128 bits), 1 or 2 (512).
#[allow(clippy::too_many_arguments)]
fn evex(
    asm: &mut Assembler,
    o: Opcode,
    length: u8,
    register: u8,
    middle: u8,
    last: VectorOperand,
    masking: Masking,
    immediate: Option<u8>,
) {
    let widens = o.opcode != BROADCAST.opcode;
    let (b, x, broadcast) = match last {
        VectorOperand::Register(r) => (r.0 >> 3 & 1, r.0 >> 4 & 1, false),
        VectorOperand::Vector(a) => (a.base.0 >> 3 & 1, a.index.map_or(0, |(i, _)| i.0 >> 3 & 1), false),
        VectorOperand::Broadcast(a) => (a.base.0 >> 3 & 1, a.index.map_or(0, |(i, _)| i.0 >> 3 & 1), widens),
        VectorOperand::Constant(_) => (0, 0, widens),
    };
    let (zero, k) = match masking {
        Masking::All => (0, 0),
        Masking::Zeroed(k) => (1, k.0),
        Masking::Kept(k) => (0, k.0),
    };
    let not = |bit: u8| bit & 1 ^ 1;
    asm.bytes(&[
        0x62,
        not(register >> 3) << 7 | not(x) << 6 | not(b) << 5 | not(register >> 4) << 4 | o.map,
        o.w << 7 | (!middle & 15) << 3 | 4 | o.prefix,
        zero << 7 | length << 5 | u8::from(broadcast) << 4 | not(middle >> 4) << 3 | k,
        o.opcode,
    ]);
    match last {
        VectorOperand::Register(r) => asm.register_operand(register, r.0),
        VectorOperand::Vector(a) | VectorOperand::Broadcast(a) => asm.memory(register, a),
        VectorOperand::Constant(bits) => {
            asm.constant_operand(register, vec![bits], i32::from(immediate.is_some()));
        }
    }
    if let Some(byte) = immediate {
        asm.bytes(&[byte]);
    }
}

fn three(
    asm: &mut Assembler,
    o: Opcode,
    to: VectorRegister,
    middle: VectorRegister,
    last: VectorOperand,
    masking: Masking,
) {
    evex(asm, o, 2, to.0, middle.0, last, masking, None);
    asm.note(|| format!("{} zmm{}{}, zmm{}, {}", o.name, to.0, show_masking(masking), middle.0, show(last)));
}

fn two(asm: &mut Assembler, o: Opcode, to: VectorRegister, last: VectorOperand, masking: Masking) {
    evex(asm, o, 2, to.0, 0, last, masking, None);
    asm.note(|| format!("{} zmm{}{}, {}", o.name, to.0, show_masking(masking), show(last)));
}

impl VectorEncoding for Evex {
    const LANES: i32 = 16;
    const REGISTERS: u8 = 32;
    const MASKS: u8 = 0b0111_1110;
    const TAIL: Option<MaskRegister> = Some(MaskRegister(7));
    const BROADCASTS: bool = true;
    const HALVES: bool = false;
    const PINNED: &'static [usize] = &[12, 0];
    const UNROLLED: i32 = 2;

    fn mask_first(asm: &mut Assembler, mask: MaskRegister, count: i32) {
        let bits = (1 << count) - 1;
        // mov eax, bits; kmovw mask, eax
        asm.bytes(&[0xb8]);
        asm.word(bits);
        asm.bytes(&[0xc5, 0xf8, 0x92, 0xc0 | mask.0 << 3]);
        asm.note(|| format!("k{} = {bits:#06x}", mask.0));
    }

    fn mask_counted(asm: &mut Assembler, mask: MaskRegister) {
        // mov edx, -1; bzhi eax, edx, eax; kmovw mask, eax
        asm.bytes(&[0xba, 0xff, 0xff, 0xff, 0xff, 0xc4, 0xe2, 0x78, 0xf5, 0xc2]);
        asm.bytes(&[0xc5, 0xf8, 0x92, 0xc0 | mask.0 << 3]);
        asm.note(|| format!("k{} = lowest rax lanes", mask.0));
    }

    fn reads_vectors(lanes: LiveLanes) -> bool {
        lanes == LiveLanes::All
    }

    fn needs_spare(_: LiveLanes) -> bool {
        false
    }

    fn load(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes) {
        two(asm, LOAD, to, VectorOperand::Vector(from), zeroed(lanes));
    }

    fn load_bf16(asm: &mut Assembler, to: VectorRegister, from: Address, lanes: LiveLanes) {
        two(asm, WIDEN, to, VectorOperand::Vector(from), zeroed(lanes));
    }

    fn broadcast_bf16(asm: &mut Assembler, to: VectorRegister, from: Address, _: LiveLanes) {
        two(asm, BROADCAST_WORD, to, VectorOperand::Vector(from), Masking::All);
    }

    fn broadcast(asm: &mut Assembler, to: VectorRegister, from: VectorOperand, _: LiveLanes) {
        two(asm, BROADCAST, to, from, Masking::All);
    }

    fn copy(asm: &mut Assembler, to: VectorRegister, from: VectorRegister, _: LiveLanes) {
        two(asm, LOAD, to, VectorOperand::Register(from), Masking::All);
    }

    fn binary(
        asm: &mut Assembler,
        operator: VectorOperator,
        to: VectorRegister,
        middle: VectorRegister,
        last: VectorOperand,
        _: LiveLanes,
    ) {
        three(asm, arithmetic(operator, AND, XOR), to, middle, last, Masking::All);
    }

    fn fused(
        asm: &mut Assembler,
        form: FusedForm,
        to: VectorRegister,
        middle: VectorRegister,
        last: VectorOperand,
        _: LiveLanes,
    ) {
        three(asm, fused(form), to, middle, last, Masking::All);
    }

    fn convert(asm: &mut Assembler, how: Conversion, to: VectorRegister, last: VectorOperand, _: LiveLanes) {
        two(asm, conversion(how), to, last, Masking::All);
    }

    fn shift(asm: &mut Assembler, to: VectorRegister, from: VectorRegister, left: bool, by: u8, _: LiveLanes) {
        let last = VectorOperand::Register(from);
        evex(asm, SHIFT, 2, shift_extension(left), to.0, last, Masking::All, Some(by));
        asm.note(|| format!("{} zmm{}, zmm{}, {by}", shift_name(left), to.0, from.0));
    }

    fn compare(
        asm: &mut Assembler,
        how: Comparison,
        to: MaskRegister,
        middle: VectorRegister,
        last: VectorOperand,
        _: LiveLanes,
    ) {
        let predicate = predicate(how);
        evex(asm, COMPARE, 2, to.0, middle.0, last, Masking::All, Some(predicate));
        asm.note(|| format!("{} k{}, zmm{}, {}, {predicate}", COMPARE.name, to.0, middle.0, show(last)));
    }

    fn choose(
        asm: &mut Assembler,
        to: VectorRegister,
        mask: MaskRegister,
        middle: VectorRegister,
        last: VectorOperand,
        _: LiveLanes,
    ) {
        three(asm, BLEND, to, middle, last, Masking::Kept(mask));
    }

    fn store(asm: &mut Assembler, from: VectorRegister, to: Address, lanes: LiveLanes, _: Option<VectorRegister>) {
        let masking = kept(lanes);
        evex(asm, STORE, 2, from.0, 0, VectorOperand::Vector(to), masking, None);
        asm.note(|| format!("{} [{}]{}, zmm{}", STORE.name, place(to), show_masking(masking), from.0));
    }

    fn accumulate(
        asm: &mut Assembler,
        sum: VectorRegister,
        value: VectorRegister,
        lanes: LiveLanes,
        _: Option<VectorRegister>,
    ) {
        three(asm, ADD, sum, sum, VectorOperand::Register(value), kept(lanes));
    }

    fn zero(asm: &mut Assembler, to: VectorRegister) {
        three(asm, XOR, to, to, VectorOperand::Register(to), Masking::All);
    }

    fn sum_lanes(asm: &mut Assembler, x: VectorRegister, spare: VectorRegister) {
        let (rx, rt) = (VectorOperand::Register(x), VectorOperand::Register(spare));
        evex(asm, UPPER_HALF, 2, x.0, 0, rt, Masking::All, Some(1));
        evex(asm, ADD, 1, x.0, x.0, rt, Masking::All, None);
        evex(asm, UPPER_QUARTER, 1, x.0, 0, rt, Masking::All, Some(1));
        evex(asm, ADD, 0, x.0, x.0, rt, Masking::All, None);
        evex(asm, UPPER_PAIR, 0, spare.0, x.0, rx, Masking::All, None);
        evex(asm, ADD, 0, x.0, x.0, rt, Masking::All, None);
        evex(asm, ODD, 0, spare.0, 0, rx, Masking::All, None);
        evex(asm, ADD, 0, x.0, x.0, rt, Masking::All, None);
        asm.note(|| format!("sum of lanes zmm{} (zmm{})", x.0, spare.0));
    }

    fn store_one(asm: &mut Assembler, from: VectorRegister, to: Address) {
        evex(asm, STORE_ONE, 0, from.0, 0, VectorOperand::Vector(to), Masking::All, None);
        asm.note(|| format!("{} [{}], xmm{}", STORE_ONE.name, place(to), from.0));
    }
}
