//! A region as AVX-512 machine code: sixteen columns at a time, which Cranelift's vectors of four
//! cannot do.
//!
//! The function has the same signature and meaning as Cranelift's (`super::cranelift`), rounding of
//! sums over columns apart. Rows whose width is no multiple of sixteen end in a block with a lane
//! mask. Rows of a table are prefetched some elements ahead.
//!
//! - `asm`: instructions as bytes. - `vector`: the region's body as vector operations. - `block`:
//!   their registers.

mod asm;
mod block;
mod vector;

use super::math::{Arithmetic, Repr};
use crate::plan::region::{Access, Instruction, OutputMode, Region, StridedView};
use asm::{Address, Assembler, Condition, Gpr, Mask, Masking, VectorOperand, Zmm};
use block::{AddressLocation, Frame, OutOfRegisters};
use din_program::schedule::KernelArg;
use rustc_hash::FxHashMap;
use vector::{Id, VectorOperation, VectorProgram};

/// Narrower rows are left to Cranelift.
const LEAST_WIDTH: u32 = 4;
/// Rows of a table are asked for this many elements before they are read.
const AHEAD: i32 = 12;
/// Bytes of a cache line.
const LINE: i32 = 64;
const BLOCK: i32 = 64;
const TAIL: Mask = Mask(7);
/// Free for addresses: callee-saved ones and those that nothing else uses.
const ADDRESS_REGISTERS: [Gpr; 9] = [Gpr(8), Gpr(9), Gpr(10), Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
const SAVED: [Gpr; 6] = [Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
/// Constants that get a register of their own.
const PINNED: usize = 12;

/// The code of a region.
#[derive(Debug, PartialEq, Eq)]
pub struct AssembledKernel {
    pub bytes: Vec<u8>,
    /// Where it was asked for: a line an instruction.
    pub text: String,
}

/// A row that the body reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    argument: u32,
    access: Access,
    stride: u32,
}

/// The code of a region, or `None` for one that Cranelift serves better: narrow rows, f64, calls,
/// too many values at once.
pub fn build(region: &Region, listing: bool) -> Option<AssembledKernel> {
    let flat = region.is_flat();
    if region.uniform || (!flat && region.width < LEAST_WIDTH) {
        return None;
    }
    let lowered = Lowered::new(region, flat)?;
    [PINNED, 0].into_iter().find_map(|pinned| lowered.assemble(region, flat, pinned, listing).ok())
}

struct Lowered {
    program: VectorProgram,
    slots: Vec<Slot>,
    results: Vec<block::RowResult>,
    uses: Vec<u32>,
}

impl Lowered {
    fn new(region: &Region, flat: bool) -> Option<Lowered> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut slot = |p: &StridedView| {
            let s = Slot { argument: p.argument, access: p.access, stride: p.stride };
            let found = slots.iter().position(|o| *o == s);
            found.unwrap_or_else(|| {
                slots.push(s);
                slots.len() - 1
            }) as u32
        };
        let mut program = VectorProgram::default();
        let mut values: Vec<Repr<Id, Id>> = Vec::with_capacity(region.body.len());
        for i in &region.body {
            let value = match i {
                Instruction::Const(c) => Repr::Number(program.constant(*c)),
                Instruction::Load(p) => {
                    let one = if flat { p.access == Access::Once } else { p.width != region.width };
                    let column = 4 * p.column as i32;
                    Repr::Number(program.emit(VectorOperation::Load { slot: slot(p), column, one }))
                }
                Instruction::Unary(op, a) => {
                    let a = program.of_repr(values[a.0 as usize]);
                    program.unary(*op, a)
                }
                Instruction::Binary(op, a, b) => {
                    let (x, y) = (program.of_repr(values[a.0 as usize]), program.of_repr(values[b.0 as usize]));
                    program.binary(*op, x, y, region.exponent(*b))?
                }
                Instruction::Select(c, a, b) => {
                    let mask = program.to_mask(values[c.0 as usize]);
                    let (x, y) = (program.of_repr(values[a.0 as usize]), program.of_repr(values[b.0 as usize]));
                    Repr::Number(program.choose(mask, x, y))
                }
            };
            values.push(value);
        }
        let mut results = Vec::with_capacity(region.outputs.len());
        for o in &region.outputs {
            if o.mode != OutputMode::StoreRowSum && o.place.width != region.width {
                return None;
            }
            results.push(block::RowResult {
                value: program.of_repr(values[o.value.0 as usize]),
                slot: slot(&o.place),
                column: 4 * o.place.column as i32,
                mode: o.mode,
            });
        }
        let mut uses = vec![0; program.operations.len()];
        for r in &results {
            uses[r.value.0 as usize] += 1;
        }
        for k in (0..uses.len()).rev() {
            if uses[k] > 0 {
                for o in program.operations[k].operands() {
                    uses[o.0 as usize] += 1;
                }
            }
        }
        Some(Lowered { program, slots, results, uses })
    }

    fn assemble(
        &self,
        region: &Region,
        flat: bool,
        pinned: usize,
        listing: bool,
    ) -> Result<AssembledKernel, OutOfRegisters> {
        let mut asm = Assembler::new(listing);
        let mut free = u32::MAX;
        // From the last register on; more sums and constants than registers are too much pressure.
        let mut registers = (0..32).rev();
        let mut reserve = || {
            let register = registers.next().ok_or(OutOfRegisters)?;
            free &= !(1 << register);
            Ok(Zmm(register))
        };
        let row_sums = self.results.iter().filter(|r| r.mode == OutputMode::StoreRowSum);
        let sums: Vec<Zmm> = row_sums.map(|_| reserve()).collect::<Result<_, OutOfRegisters>>()?;
        // The most used constants get registers.
        let mut wanted: Vec<(u32, u32)> = Vec::new();
        for (k, operation) in self.program.operations.iter().enumerate() {
            if let VectorOperation::Constant(bits) = operation {
                wanted.push((self.uses[k], *bits));
            }
        }
        wanted.retain(|w| w.0 > 0);
        wanted.sort_by_key(|w| (std::cmp::Reverse(w.0), w.1));
        let constants = wanted.iter().take(pinned).map(|w| Ok((w.1, reserve()?)));
        let constants: FxHashMap<u32, Zmm> = constants.collect::<Result<_, OutOfRegisters>>()?;

        let addresses: Vec<AddressLocation> = (0..self.slots.len())
            .map(|k| match ADDRESS_REGISTERS.get(k) {
                Some(&r) => AddressLocation::Register(r),
                None => AddressLocation::Stack(8 * (k - ADDRESS_REGISTERS.len()) as i32),
            })
            .collect();
        let stack = 8 * self.slots.len().saturating_sub(ADDRESS_REGISTERS.len()) as i32;
        for r in SAVED {
            asm.push(r);
        }
        if stack > 0 {
            asm.add_number(Gpr::RSP, -stack);
        }
        let mut pins: Vec<(u32, Zmm)> = constants.iter().map(|(b, r)| (*b, *r)).collect();
        pins.sort_unstable_by_key(|p| p.0);
        for (bits, r) in pins {
            asm.unary(asm::BROADCAST, r, VectorOperand::Constant(bits), Masking::All);
        }
        let frame = Frame {
            program: &self.program,
            results: &self.results,
            uses: &self.uses,
            addresses: &addresses,
            constants: &constants,
            sums: &sums,
            free,
        };
        let mut writer = Writer { asm: &mut asm, region, lowered: self, frame: &frame };
        if flat {
            writer.flat()?;
        } else {
            writer.rows()?;
        }
        if stack > 0 {
            asm.add_number(Gpr::RSP, stack);
        }
        for r in SAVED.into_iter().rev() {
            asm.pop(r);
        }
        asm.ret();
        let (bytes, text) = asm.finish();
        Ok(AssembledKernel { bytes, text })
    }
}

/// Loops around blocks. `rdi` holds the argument addresses, `rsi` the element, `rdx` the end, `rcx`
/// bytes into the row.
struct Writer<'a, 'f> {
    asm: &'a mut Assembler,
    region: &'a Region,
    lowered: &'a Lowered,
    frame: &'f Frame<'f>,
}

fn argument(k: u32) -> Address {
    Address::at(Gpr::RDI, 8 * k as i32)
}

impl Writer<'_, '_> {
    /// Runs `emit` with a register, and stores that to the slot's location.
    fn set(&mut self, slot: usize, emit: impl FnOnce(&mut Self, Gpr)) {
        match self.frame.addresses[slot] {
            AddressLocation::Register(r) => emit(self, r),
            AddressLocation::Stack(at) => {
                emit(self, Gpr::RAX);
                self.asm.store_register(Gpr::RAX, Address::at(Gpr::RSP, at));
            }
        }
    }

    /// All arrays dense: one loop over elements times columns.
    fn flat(&mut self) -> Result<(), OutOfRegisters> {
        let bytes = 4 * self.region.width as i32;
        for (k, slot) in self.lowered.slots.iter().enumerate() {
            self.set(k, |me, to| me.asm.load(to, argument(slot.argument)));
        }
        self.asm.multiply(Gpr::RCX, Gpr::RSI, bytes);
        self.asm.multiply(Gpr::RDX, Gpr::RDX, bytes);
        // The last place where a whole block fits.
        self.asm.lea(Gpr::RSI, Address::at(Gpr::RDX, -BLOCK));
        self.asm.lea(Gpr::RAX, Address::at(Gpr::RCX, BLOCK));
        self.asm.compare_registers(Gpr::RAX, Gpr::RDX);
        let none = self.asm.jump(Condition::Above);
        let head = self.asm.here();
        block::emit(self.asm, self.frame, Some(Gpr::RCX), 0, None)?;
        self.asm.add_number(Gpr::RCX, BLOCK);
        self.asm.compare_registers(Gpr::RSI, Gpr::RCX);
        self.asm.jump_back(Condition::AboveEqual, head);
        self.asm.land(none);
        self.asm.compare_registers(Gpr::RCX, Gpr::RDX);
        let done = self.asm.jump(Condition::AboveEqual);
        self.asm.move_register(Gpr::RAX, Gpr::RDX);
        self.asm.subtract(Gpr::RAX, Gpr::RCX);
        self.asm.shift_right(Gpr::RAX, 2);
        self.asm.lowest_lanes(TAIL);
        block::emit(self.asm, self.frame, Some(Gpr::RCX), 0, Some(TAIL))?;
        self.asm.land(done);
        Ok(())
    }

    fn rows(&mut self) -> Result<(), OutOfRegisters> {
        let (width, slots) = (self.region.width as i32, &self.lowered.slots);
        let (blocks, rest) = (width / 16, width % 16);
        if rest > 0 {
            self.asm.lanes(TAIL, (1u16 << rest) - 1);
        }
        self.asm.compare_registers(Gpr::RSI, Gpr::RDX);
        let nothing = self.asm.jump(Condition::AboveEqual);
        for (k, slot) in slots.iter().enumerate() {
            match slot.access {
                Access::Once => self.set(k, |me, to| me.asm.load(to, argument(slot.argument))),
                Access::Row => self.set(k, |me, to| {
                    me.asm.multiply(to, Gpr::RSI, 4 * slot.stride as i32);
                    me.asm.add_memory(to, argument(slot.argument));
                }),
                // Anew for each element.
                Access::Indexed { .. } | Access::Nested { .. } => {}
            }
        }
        let element = self.asm.here();
        for (k, slot) in slots.iter().enumerate() {
            if let Access::Indexed { .. } | Access::Nested { .. } = slot.access {
                self.set(k, |me, to| me.indexed(slot, to, Gpr::RSI));
            }
        }
        self.prefetch();
        for &s in self.frame.sums {
            self.asm.binary(asm::XOR, s, s, VectorOperand::Register(s), Masking::All);
        }
        if blocks <= 2 {
            for b in 0..blocks {
                block::emit(self.asm, self.frame, None, b * BLOCK, None)?;
            }
        } else {
            self.asm.zero(Gpr::RCX);
            let head = self.asm.here();
            // Two blocks at a time, so that one waits while the other computes.
            block::emit(self.asm, self.frame, Some(Gpr::RCX), 0, None)?;
            block::emit(self.asm, self.frame, Some(Gpr::RCX), BLOCK, None)?;
            self.asm.add_number(Gpr::RCX, 2 * BLOCK);
            self.asm.compare_number(Gpr::RCX, blocks / 2 * 2 * BLOCK);
            self.asm.jump_back(Condition::Below, head);
            if blocks % 2 == 1 {
                block::emit(self.asm, self.frame, None, (blocks - 1) * BLOCK, None)?;
            }
        }
        if rest > 0 {
            block::emit(self.asm, self.frame, None, blocks * BLOCK, Some(TAIL))?;
        }
        self.row_sums();
        for (k, slot) in slots.iter().enumerate().filter(|(_, s)| s.access == Access::Row) {
            let by = 4 * slot.stride as i32;
            match self.frame.addresses[k] {
                AddressLocation::Register(r) => self.asm.add_number(r, by),
                AddressLocation::Stack(at) => {
                    let home = Address::at(Gpr::RSP, at);
                    self.asm.load(Gpr::RAX, home);
                    self.asm.add_number(Gpr::RAX, by);
                    self.asm.store_register(Gpr::RAX, home);
                }
            }
        }
        self.asm.add_number(Gpr::RSI, 1);
        self.asm.compare_registers(Gpr::RSI, Gpr::RDX);
        self.asm.jump_back(Condition::Below, element);
        self.asm.land(nothing);
        Ok(())
    }

    /// `to =` the address of the slot's row for the element in `at`.
    fn indexed(&mut self, slot: &Slot, to: Gpr, at: Gpr) {
        let entry = |base: Gpr, index: Gpr| Address { base, index: Some((index, 4)), displacement: 0 };
        let index = match slot.access {
            Access::Indexed { index } => {
                self.asm.load(Gpr::R11, argument(index));
                self.asm.load_half(Gpr::R11, entry(Gpr::R11, at));
                Gpr::R11
            }
            Access::Nested { outer, inner } => {
                self.asm.load(Gpr::R11, argument(inner));
                self.asm.load_half(Gpr::R11, entry(Gpr::R11, at));
                self.asm.load(Gpr::RAX, argument(outer));
                self.asm.load_half(Gpr::R11, entry(Gpr::RAX, Gpr::R11));
                Gpr::R11
            }
            Access::Row | Access::Once => at,
        };
        self.asm.multiply(to, index, 4 * slot.stride as i32);
        self.asm.add_memory(to, argument(slot.argument));
    }

    /// Asks for the table rows of a later element of the call.
    fn prefetch(&mut self) {
        let far = |s: &&Slot| match s.access {
            Access::Indexed { index: by } | Access::Nested { outer: by, .. } => {
                matches!(
                    self.region.arguments[by as usize],
                    KernelArg::Rows { .. } | KernelArg::UniqueRows { .. } | KernelArg::RowIndex
                )
            }
            Access::Row | Access::Once => false,
        };
        let rows: Vec<Slot> = self.lowered.slots.iter().filter(far).copied().collect();
        if rows.is_empty() {
            return;
        }
        // rcx = min(element + AHEAD, end - 1)
        self.asm.lea(Gpr::RCX, Address::at(Gpr::RSI, AHEAD));
        self.asm.lea(Gpr::RAX, Address::at(Gpr::RDX, -1));
        self.asm.compare_registers(Gpr::RCX, Gpr::RDX);
        self.asm.move_if_not_below(Gpr::RCX, Gpr::RAX);
        for slot in rows {
            self.indexed(&slot, Gpr::RAX, Gpr::RCX);
            for line in (0..4 * slot.stride as i32).step_by(LINE as usize).take(4) {
                self.asm.prefetch(Address::at(Gpr::RAX, line));
            }
        }
    }

    fn row_sums(&mut self) {
        let results = self.lowered.results.iter().filter(|r| r.mode == OutputMode::StoreRowSum);
        for (r, &sum) in results.zip(self.frame.sums) {
            // Blocks are over: every register that they used is free.
            let t = Zmm(self.frame.free.trailing_zeros() as u8);
            self.asm.sum_lanes(sum, t);
            let base = match self.frame.addresses[r.slot as usize] {
                AddressLocation::Register(base) => base,
                AddressLocation::Stack(at) => {
                    self.asm.load(Gpr::R11, Address::at(Gpr::RSP, at));
                    Gpr::R11
                }
            };
            self.asm.store_one(sum, Address::at(base, r.column));
        }
    }
}
