//! The few x86-64 instructions on general registers that loops around vector code need, as bytes
//! (Intel 64 manual, volume 2) and, where asked for, as text; jumps; constants. Vector instructions
//! are written by `encode`.
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

/// A place of a jump that is not known yet.
#[must_use]
pub struct Forward(usize);

/// Condition of a jump.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    Below = 2,
    AboveEqual = 3,
    Equal = 4,
    Above = 7,
}

pub struct Assembler {
    code: Vec<u8>,
    /// One line an instruction, where wanted.
    text: Option<Vec<String>>,
    /// Constants behind the code, and the displacements that lead to each.
    constants: BTreeMap<Vec<u32>, Vec<usize>>,
}

const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// The text of an address, without brackets.
pub fn place(a: Address) -> String {
    let mut s = NAMES[a.base.0 as usize].to_string();
    if let Some((index, scale)) = a.index {
        s.push_str(&format!(" + {}*{scale}", NAMES[index.0 as usize]));
    }
    if a.displacement != 0 {
        s.push_str(&format!(" + {}", a.displacement));
    }
    s
}

impl Assembler {
    pub fn new(listing: bool) -> Assembler {
        Assembler { code: Vec::new(), text: listing.then(Vec::new), constants: BTreeMap::new() }
    }

    /// Adds a line to the listing, where one is wanted.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.text {
            lines.push(text());
        }
    }

    /// Bytes of an instruction.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    /// An immediate or a displacement.
    pub fn word(&mut self, x: i32) {
        self.code.extend_from_slice(&x.to_le_bytes());
    }

    /// ModRM, SIB and a displacement of 32 bits of a memory operand.
    pub fn memory(&mut self, register: u8, a: Address) {
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

    /// ModRM of a register.
    pub fn register_operand(&mut self, register: u8, other: u8) {
        self.code.push(0xc0 | (register & 7) << 3 | other & 7);
    }

    /// ModRM of a constant behind the code, of `words`; `behind`: how many bytes of the instruction
    /// follow the displacement.
    pub fn constant_operand(&mut self, register: u8, words: Vec<u32>, behind: i32) {
        self.code.push((register & 7) << 3 | 5);
        let at = self.code.len();
        self.constants.entry(words).or_default().push(at);
        // How far the instruction goes on, until the constants' places are known.
        self.word(4 + behind);
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

    /// The code with its constants behind it, each at a multiple of its size, and the listing.
    pub fn finish(mut self) -> (Vec<u8>, String) {
        self.align(4);
        for (words, uses) in std::mem::take(&mut self.constants) {
            self.align(4 * words.len());
            let place = self.code.len();
            for at in uses {
                let mut rest = [0; 4];
                rest.copy_from_slice(&self.code[at..at + 4]);
                let end = at as i32 + i32::from_le_bytes(rest);
                self.patch(at, place as i32 - end);
            }
            for word in words {
                self.code.extend_from_slice(&word.to_le_bytes());
            }
        }
        (self.code, self.text.unwrap_or_default().join("\n"))
    }

    fn align(&mut self, to: usize) {
        while !self.code.len().is_multiple_of(to) {
            self.code.push(0xcc);
        }
    }
}
