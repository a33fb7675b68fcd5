//! The few x86-64 and AVX-512 instructions that vector programs need, as bytes (Intel 64 manual,
//! volume 2: REX, VEX and EVEX prefixes) and, where asked for, as text.
//!
//! Guarantees position-independent code: constants stand behind it and are read relative to the
//! instruction.

use std::collections::BTreeMap;

/// A general register, by hardware number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpr(pub u8);

impl Gpr {
    pub const RAX: Gpr = Gpr(0);
    pub const RCX: Gpr = Gpr(1);
    pub const RDX: Gpr = Gpr(2);
    pub const RSP: Gpr = Gpr(4);
    pub const RSI: Gpr = Gpr(6);
    pub const RDI: Gpr = Gpr(7);
    pub const R11: Gpr = Gpr(11);
}

/// A vector register, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zmm(pub u8);

/// A mask register, 1 to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(pub u8);

/// `base + index * scale + displacement`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub base: Gpr,
    pub index: Option<(Gpr, u8)>,
    pub displacement: i32,
}

impl Address {
    pub fn at(base: Gpr, displacement: i32) -> Address {
        Address { base, index: None, displacement }
    }
}

/// The last operand of a vector instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOperand {
    Register(Zmm),
    Vector(Address),
    /// One f32 for all lanes.
    Broadcast(Address),
    /// The same, of the constants behind the code.
    Constant(u32),
}

/// A vector instruction: opcode map (1 is `0F`, 2 `0F 38`, 3 `0F 3A`), prefix (1 is `66`, 2 `F3`),
/// W, opcode.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    name: &'static str,
    map: u8,
    prefix: u8,
    w: u8,
    opcode: u8,
}

const fn vector(name: &'static str, map: u8, prefix: u8, opcode: u8) -> Vector {
    Vector { name, map, prefix, w: 0, opcode }
}

pub const ADD: Vector = vector("vaddps", 1, 0, 0x58);
pub const MULTIPLY: Vector = vector("vmulps", 1, 0, 0x59);
pub const SUBTRACT: Vector = vector("vsubps", 1, 0, 0x5c);
pub const MINIMUM: Vector = vector("vminps", 1, 0, 0x5d);
pub const DIVIDE: Vector = vector("vdivps", 1, 0, 0x5e);
pub const MAXIMUM: Vector = vector("vmaxps", 1, 0, 0x5f);
pub const SQRT: Vector = vector("vsqrtps", 1, 0, 0x51);
pub const OF_INTEGERS: Vector = vector("vcvtdq2ps", 1, 0, 0x5b);
pub const COMPARE: Vector = vector("vcmpps", 1, 0, 0xc2);
pub const AND: Vector = vector("vpandd", 1, 1, 0xdb);
pub const XOR: Vector = vector("vpxord", 1, 1, 0xef);
pub const ADD_INTEGERS: Vector = vector("vpaddd", 1, 1, 0xfe);
pub const SUBTRACT_INTEGERS: Vector = vector("vpsubd", 1, 1, 0xfa);
pub const SHIFT: Vector = vector("vpshiftd", 1, 1, 0x72);
/// `d = d * last + middle`
pub const FMA132: Vector = vector("vfmadd132ps", 2, 1, 0x98);
/// `d = middle * d + last`
pub const FMA213: Vector = vector("vfmadd213ps", 2, 1, 0xa8);
/// `d = middle * last + d`
pub const FMA231: Vector = vector("vfmadd231ps", 2, 1, 0xb8);
/// Where the mask is set the last operand, else the middle one.
pub const BLEND: Vector = vector("vblendmps", 2, 1, 0x65);
pub const BROADCAST: Vector = vector("vbroadcastss", 2, 1, 0x18);
pub const LOAD: Vector = vector("vmovups", 1, 0, 0x10);
const STORE: Vector = vector("vmovups", 1, 0, 0x11);
const STORE_ONE: Vector = vector("vmovss", 1, 2, 0x11);
const UPPER_HALF: Vector = Vector { name: "vextractf64x4", map: 3, prefix: 1, w: 1, opcode: 0x1b };
const UPPER_QUARTER: Vector = vector("vextractf32x4", 3, 1, 0x19);
const UPPER_PAIR: Vector = vector("vmovhlps", 1, 0, 0x12);
const ODD: Vector = vector("vmovshdup", 1, 2, 0x16);

/// Which lanes an instruction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    All,
    /// Those of the mask; the others become 0.
    Zeroed(Mask),
    /// Those of the mask; the others stay.
    Kept(Mask),
}

/// A place of a jump that is not known yet.
#[must_use]
pub struct Forward(usize);

/// Condition of a jump.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    Below = 2,
    AboveEqual = 3,
    Above = 7,
}

pub struct Assembler {
    code: Vec<u8>,
    /// One line an instruction, where wanted.
    text: Option<Vec<String>>,
    constants: BTreeMap<u32, Vec<usize>>,
}

const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

fn show(operand: VectorOperand) -> String {
    match operand {
        VectorOperand::Register(r) => format!("zmm{}", r.0),
        VectorOperand::Vector(a) => format!("[{}]", place(a)),
        VectorOperand::Broadcast(a) => format!("[{}]{{1to16}}", place(a)),
        VectorOperand::Constant(bits) => format!("{:e}{{1to16}}", f32::from_bits(bits)),
    }
}

fn place(a: Address) -> String {
    let mut s = NAMES[a.base.0 as usize].to_string();
    if let Some((index, scale)) = a.index {
        s.push_str(&format!(" + {}*{scale}", NAMES[index.0 as usize]));
    }
    if a.displacement != 0 {
        s.push_str(&format!(" + {}", a.displacement));
    }
    s
}

fn lanes(l: Masking) -> String {
    match l {
        Masking::All => String::new(),
        Masking::Zeroed(k) => format!("{{k{}}}{{z}}", k.0),
        Masking::Kept(k) => format!("{{k{}}}", k.0),
    }
}

impl Assembler {
    pub fn new(listing: bool) -> Assembler {
        Assembler { code: Vec::new(), text: listing.then(Vec::new), constants: BTreeMap::new() }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.text {
            lines.push(text());
        }
    }

    fn word(&mut self, x: i32) {
        self.code.extend_from_slice(&x.to_le_bytes());
    }

    /// ModRM, SIB and displacement of a memory operand.
    fn memory(&mut self, register: u8, a: Address) {
        let (register, base) = ((register & 7) << 3, a.base.0 & 7);
        match a.index {
            Some((index, scale)) => {
                self.code.push(0x84 | register);
                self.code.push((scale.trailing_zeros() as u8) << 6 | (index.0 & 7) << 3 | base);
            }
            None => {
                self.code.push(0x80 | register | base);
                if base == 4 {
                    self.code.push(0x24);
                }
            }
        }
        self.word(a.displacement);
    }

    /// An EVEX instruction of `length` 0 (128 bits), 1 or 2 (512).
    #[allow(clippy::too_many_arguments)]
    fn evex(
        &mut self,
        v: Vector,
        length: u8,
        register: u8,
        middle: u8,
        last: VectorOperand,
        which: Masking,
        immediate: Option<u8>,
    ) {
        let (b, x, broadcast) = match last {
            VectorOperand::Register(r) => (r.0 >> 3 & 1, r.0 >> 4 & 1, 0),
            VectorOperand::Vector(a) | VectorOperand::Broadcast(a) => {
                let x = a.index.map_or(0, |(i, _)| i.0 >> 3 & 1);
                (
                    a.base.0 >> 3 & 1,
                    x,
                    u8::from(matches!(last, VectorOperand::Broadcast(_)) && v.opcode != BROADCAST.opcode),
                )
            }
            VectorOperand::Constant(_) => (0, 0, u8::from(v.opcode != BROADCAST.opcode)),
        };
        let (zero, k) = match which {
            Masking::All => (0, 0),
            Masking::Zeroed(k) => (1, k.0),
            Masking::Kept(k) => (0, k.0),
        };
        let not = |bit: u8| bit & 1 ^ 1;
        self.code.push(0x62);
        self.code.push(not(register >> 3) << 7 | not(x) << 6 | not(b) << 5 | not(register >> 4) << 4 | v.map);
        self.code.push(v.w << 7 | (!middle & 15) << 3 | 4 | v.prefix);
        self.code.push(zero << 7 | length << 5 | broadcast << 4 | not(middle >> 4) << 3 | k);
        self.code.push(v.opcode);
        match last {
            VectorOperand::Register(r) => self.code.push(0xc0 | (register & 7) << 3 | r.0 & 7),
            VectorOperand::Vector(a) | VectorOperand::Broadcast(a) => self.memory(register, a),
            VectorOperand::Constant(bits) => {
                self.code.push((register & 7) << 3 | 5);
                let at = self.code.len();
                self.constants.entry(bits).or_default().push(at);
                // How far the instruction goes on behind the displacement, until the constants'
                // places are known.
                self.word(4 + i32::from(immediate.is_some()));
            }
        }
        self.code.extend(immediate);
    }

    /// `to = middle op last`
    pub fn binary(&mut self, v: Vector, to: Zmm, middle: Zmm, last: VectorOperand, which: Masking) {
        self.evex(v, 2, to.0, middle.0, last, which, None);
        self.note(|| format!("{} zmm{}{}, zmm{}, {}", v.name, to.0, lanes(which), middle.0, show(last)));
    }

    /// `to = op last`
    pub fn unary(&mut self, v: Vector, to: Zmm, last: VectorOperand, which: Masking) {
        self.evex(v, 2, to.0, 0, last, which, None);
        self.note(|| format!("{} zmm{}{}, {}", v.name, to.0, lanes(which), show(last)));
    }

    pub fn compare(&mut self, predicate: u8, to: Mask, middle: Zmm, last: VectorOperand) {
        self.evex(COMPARE, 2, to.0, middle.0, last, Masking::All, Some(predicate));
        self.note(|| format!("{} k{}, zmm{}, {}, {predicate}", COMPARE.name, to.0, middle.0, show(last)));
    }

    /// 32-bit lanes shifted, to the left or, with the sign, to the right.
    pub fn shift(&mut self, to: Zmm, from: Zmm, left: bool, by: u8) {
        self.evex(SHIFT, 2, if left { 6 } else { 4 }, to.0, VectorOperand::Register(from), Masking::All, Some(by));
        self.note(|| format!("{} zmm{}, zmm{}, {by}", if left { "vpslld" } else { "vpsrad" }, to.0, from.0));
    }

    pub fn store(&mut self, from: Zmm, to: Address, tail: Option<Mask>) {
        let which = tail.map_or(Masking::All, Masking::Kept);
        self.evex(STORE, 2, from.0, 0, VectorOperand::Vector(to), which, None);
        self.note(|| format!("vmovups [{}]{}, zmm{}", place(to), lanes(which), from.0));
    }

    pub fn store_one(&mut self, from: Zmm, to: Address) {
        self.evex(STORE_ONE, 0, from.0, 0, VectorOperand::Vector(to), Masking::All, None);
        self.note(|| format!("vmovss [{}], xmm{}", place(to), from.0));
    }

    /// Sums the lanes of `x` into lane 0; `t` is overwritten.
    pub fn sum_lanes(&mut self, x: Zmm, t: Zmm) {
        let (rx, rt) = (VectorOperand::Register(x), VectorOperand::Register(t));
        self.evex(UPPER_HALF, 2, x.0, 0, rt, Masking::All, Some(1));
        self.evex(ADD, 1, x.0, x.0, rt, Masking::All, None);
        self.evex(UPPER_QUARTER, 1, x.0, 0, rt, Masking::All, Some(1));
        self.evex(ADD, 0, x.0, x.0, rt, Masking::All, None);
        self.evex(UPPER_PAIR, 0, t.0, x.0, rx, Masking::All, None);
        self.evex(ADD, 0, x.0, x.0, rt, Masking::All, None);
        self.evex(ODD, 0, t.0, 0, rx, Masking::All, None);
        self.evex(ADD, 0, x.0, x.0, rt, Masking::All, None);
        self.note(|| format!("sum of lanes zmm{} (zmm{})", x.0, t.0));
    }

    fn rex(&mut self, w: bool, register: u8, index: u8, base: u8) {
        let rex = 0x40 | u8::from(w) << 3 | (register >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0x40 {
            self.code.push(rex);
        }
    }

    fn with_memory(&mut self, name: &str, w: bool, opcode: &[u8], register: u8, a: Address) {
        self.rex(w, register, a.index.map_or(0, |(i, _)| i.0), a.base.0);
        self.code.extend_from_slice(opcode);
        self.memory(register, a);
        self.note(|| format!("{name} {}, [{}]", NAMES[register as usize & 15], place(a)));
    }

    pub fn load(&mut self, to: Gpr, a: Address) {
        self.with_memory("mov", true, &[0x8b], to.0, a);
    }

    /// A `u32`, widened.
    pub fn load_half(&mut self, to: Gpr, a: Address) {
        self.with_memory("mov dword", false, &[0x8b], to.0, a);
    }

    pub fn store_register(&mut self, from: Gpr, a: Address) {
        self.with_memory("mov to memory:", true, &[0x89], from.0, a);
    }

    pub fn add_memory(&mut self, to: Gpr, a: Address) {
        self.with_memory("add", true, &[0x03], to.0, a);
    }

    pub fn lea(&mut self, to: Gpr, a: Address) {
        self.with_memory("lea", true, &[0x8d], to.0, a);
    }

    pub fn prefetch(&mut self, a: Address) {
        self.with_memory("prefetcht0", false, &[0x0f, 0x18], 1, a);
    }

    fn with_register(&mut self, name: &str, w: bool, opcode: &[u8], register: u8, other: Gpr) {
        self.rex(w, register, 0, other.0);
        self.code.extend_from_slice(opcode);
        self.code.push(0xc0 | (register & 7) << 3 | other.0 & 7);
        self.note(|| format!("{name} {}, {}", NAMES[other.0 as usize], NAMES[register as usize & 15]));
    }

    pub fn move_register(&mut self, to: Gpr, from: Gpr) {
        self.with_register("mov", true, &[0x89], from.0, to);
    }

    pub fn subtract(&mut self, to: Gpr, from: Gpr) {
        self.with_register("sub", true, &[0x29], from.0, to);
    }

    pub fn compare_registers(&mut self, a: Gpr, b: Gpr) {
        self.with_register("cmp", true, &[0x39], b.0, a);
    }

    /// `to = from` where the last comparison said at least.
    pub fn move_if_not_below(&mut self, to: Gpr, from: Gpr) {
        self.with_register("cmovae to/from:", true, &[0x0f, 0x43], to.0, from);
    }

    pub fn zero(&mut self, to: Gpr) {
        self.with_register("xor", false, &[0x31], to.0, to);
    }

    /// `to = from * by`
    pub fn multiply(&mut self, to: Gpr, from: Gpr, by: i32) {
        self.with_register("imul", true, &[0x69], to.0, from);
        self.word(by);
        self.note(|| format!("    times {by}"));
    }

    fn with_immediate(&mut self, name: &str, extension: u8, to: Gpr, by: i32) {
        self.rex(true, 0, 0, to.0);
        self.code.push(0x81);
        self.code.push(0xc0 | extension << 3 | to.0 & 7);
        self.word(by);
        self.note(|| format!("{name} {}, {by}", NAMES[to.0 as usize]));
    }

    pub fn add_number(&mut self, to: Gpr, by: i32) {
        self.with_immediate("add", 0, to, by);
    }

    pub fn compare_number(&mut self, a: Gpr, b: i32) {
        self.with_immediate("cmp", 7, a, b);
    }

    pub fn shift_right(&mut self, to: Gpr, by: u8) {
        self.rex(true, 0, 0, to.0);
        self.code.extend_from_slice(&[0xc1, 0xe8 | to.0 & 7, by]);
        self.note(|| format!("shr {}, {by}", NAMES[to.0 as usize]));
    }

    /// `mask =` the lowest `rax` lanes; `rax` is overwritten, and so is `rdx`.
    pub fn lowest_lanes(&mut self, mask: Mask) {
        // mov edx, -1; bzhi eax, edx, eax; kmovw mask, eax
        self.code.extend_from_slice(&[0xba, 0xff, 0xff, 0xff, 0xff, 0xc4, 0xe2, 0x78, 0xf5, 0xc2]);
        self.code.extend_from_slice(&[0xc5, 0xf8, 0x92, 0xc0 | mask.0 << 3]);
        self.note(|| format!("k{} = lowest rax lanes", mask.0));
    }

    /// `mask =` these lanes; `rax` is overwritten.
    pub fn lanes(&mut self, mask: Mask, bits: u16) {
        self.code.push(0xb8);
        self.word(i32::from(bits));
        self.code.extend_from_slice(&[0xc5, 0xf8, 0x92, 0xc0 | mask.0 << 3]);
        self.note(|| format!("k{} = {bits:#06x}", mask.0));
    }

    pub fn push(&mut self, r: Gpr) {
        self.rex(false, 0, 0, r.0);
        self.code.push(0x50 | r.0 & 7);
        self.note(|| format!("push {}", NAMES[r.0 as usize]));
    }

    pub fn pop(&mut self, r: Gpr) {
        self.rex(false, 0, 0, r.0);
        self.code.push(0x58 | r.0 & 7);
        self.note(|| format!("pop {}", NAMES[r.0 as usize]));
    }

    pub fn ret(&mut self) {
        self.code.extend_from_slice(&[0xc5, 0xf8, 0x77, 0xc3]);
        self.note(|| "vzeroupper; retq".into());
    }

    pub fn here(&self) -> usize {
        self.code.len()
    }

    /// A jump back to a place that [`Assembler::here`] gave.
    pub fn jump_back(&mut self, when: Condition, to: usize) {
        let forward = self.jump(when);
        let distance = to as i64 - self.code.len() as i64;
        self.patch(forward.0, distance as i32);
    }

    pub fn jump(&mut self, when: Condition) -> Forward {
        self.code.extend_from_slice(&[0x0f, 0x80 | when as u8]);
        self.word(0);
        self.note(|| format!("jump if {when:?}"));
        Forward(self.code.len() - 4)
    }

    /// The jump leads here.
    pub fn land(&mut self, jump: Forward) {
        let distance = self.code.len() - jump.0 - 4;
        self.patch(jump.0, distance as i32);
        self.note(|| "target:".into());
    }

    fn patch(&mut self, at: usize, value: i32) {
        self.code[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// The code with its constants behind it, and the listing.
    pub fn finish(mut self) -> (Vec<u8>, String) {
        while !self.code.len().is_multiple_of(4) {
            self.code.push(0xcc);
        }
        for (bits, uses) in std::mem::take(&mut self.constants) {
            let place = self.code.len();
            for at in uses {
                let mut rest = [0; 4];
                rest.copy_from_slice(&self.code[at..at + 4]);
                let end = at as i32 + i32::from_le_bytes(rest);
                self.patch(at, place as i32 - end);
            }
            self.code.extend_from_slice(&bits.to_le_bytes());
        }
        (self.code, self.text.unwrap_or_default().join("\n"))
    }
}
