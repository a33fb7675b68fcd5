//! Loops over elements and columns around blocks, and the addresses of rows.

use super::assembler::{Address, Assembler, Condition, Gpr};
use super::block::{self, ColumnVector};
use super::encode::{LiveLanes, MaskRegister, VectorEncoding, VectorRegister};
use super::frame::{AddressLocation, Frame, KeptResult, OutOfRegisters, SpillCount, SumLocation};
use super::{Lowered, Slot};
use crate::plan::region::{Access, OutputMode, Region};
use din_program::schedule::KernelArg;
use std::marker::PhantomData;

/// Rows of a table are asked for this many elements before they are read.
const AHEAD: i32 = 12;
/// Most groups of a row's blocks that are written one after another rather than as a loop.
const UNROLLED_TURNS: i32 = 3;
/// Bytes of a cache line.
const LINE: i32 = 64;

/// Loops around blocks. `rdi` holds the argument addresses, `rsi` the element, `rdx` the end, `rcx`
/// bytes into the row.
pub struct LoopWriter<'a, 'f, T> {
    pub asm: &'a mut Assembler,
    pub region: &'a Region,
    pub lowered: &'a Lowered,
    pub frame: &'f Frame<'f>,
    /// Most blocks that take turns.
    pub together: usize,
    /// For the lanes that exist at the end of a row.
    pub tail: Option<MaskRegister>,
    /// Most that a block kept on the stack, and all that blocks moved.
    pub spills: SpillCount,
    pub target: PhantomData<T>,
}

/// What is done with a result that is kept in registers: load it from its row, or store it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptMove {
    Load,
    Store,
}

fn argument(k: u32) -> Address {
    Address::at(Gpr::RDI, 8 * k as i32)
}

/// Whether rows of `width` columns end in a block whose lanes are masked.
pub fn is_masked<T: VectorEncoding>(width: i32) -> bool {
    let rest = width % T::LANES;
    rest > 0 && !(T::HALVES && rest == T::LANES / 2)
}

/// Why there is a mask.
const TAIL: &str = "`Lowered::assemble` gives a mask to each region whose rows need one";

impl<T: VectorEncoding> LoopWriter<'_, '_, T> {
    /// Bytes of a block.
    const BLOCK: i32 = 4 * T::LANES;

    fn blocks(&mut self, index: Option<Gpr>, blocks: &[ColumnVector]) -> Result<(), OutOfRegisters> {
        let spills = block::emit::<T>(self.asm, self.frame, index, blocks)?;
        self.spills.places = self.spills.places.max(spills.places);
        self.spills.moves += spills.moves;
        Ok(())
    }

    /// `count` adjacent blocks, all of whose lanes have a column.
    fn whole(count: usize) -> Vec<ColumnVector> {
        (0..count as i32).map(|b| ColumnVector { offset: b * Self::BLOCK, lanes: LiveLanes::All }).collect()
    }

    /// Writes the blocks in groups that take turns: as few groups as can be, of nearly equal sizes.
    fn in_turns(&mut self, blocks: &[ColumnVector]) -> Result<(), OutOfRegisters> {
        let groups = blocks.len().div_ceil(self.together);
        for g in 0..groups {
            self.blocks(None, &blocks[g * blocks.len() / groups..(g + 1) * blocks.len() / groups])?;
        }
        Ok(())
    }

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
    pub fn flat(&mut self) -> Result<(), OutOfRegisters> {
        let bytes = 4 * self.region.width as i32;
        for (k, slot) in self.lowered.slots.iter().enumerate() {
            self.set(k, |me, to| me.asm.load(to, argument(slot.argument)));
        }
        self.asm.multiply(Gpr::RCX, Gpr::RSI, bytes);
        self.asm.multiply(Gpr::RDX, Gpr::RDX, bytes);
        if self.together > 1 {
            self.while_fits(self.together)?;
        }
        self.while_fits(1)?;
        self.asm.compare_registers(Gpr::RCX, Gpr::RDX);
        let done = self.asm.jump(Condition::AboveEqual);
        self.asm.move_register(Gpr::RAX, Gpr::RDX);
        self.asm.subtract(Gpr::RAX, Gpr::RCX);
        self.asm.shift_right(Gpr::RAX, 2);
        let tail = self.tail.expect(TAIL);
        T::mask_counted(self.asm, tail);
        self.blocks(Some(Gpr::RCX), &[ColumnVector { offset: 0, lanes: LiveLanes::Masked(tail) }])?;
        self.asm.land(done);
        Ok(())
    }

    /// `count` blocks at a time from `rcx` on, while as many fit before `rdx`.
    fn while_fits(&mut self, count: usize) -> Result<(), OutOfRegisters> {
        let bytes = count as i32 * Self::BLOCK;
        // The last place where they fit.
        self.asm.lea(Gpr::RSI, Address::at(Gpr::RDX, -bytes));
        self.asm.lea(Gpr::RAX, Address::at(Gpr::RCX, bytes));
        self.asm.compare_registers(Gpr::RAX, Gpr::RDX);
        let none = self.asm.jump(Condition::Above);
        let head = self.asm.here();
        self.blocks(Some(Gpr::RCX), &Self::whole(count))?;
        self.asm.add_number(Gpr::RCX, bytes);
        self.asm.compare_registers(Gpr::RSI, Gpr::RCX);
        self.asm.jump_back(Condition::AboveEqual, head);
        self.asm.land(none);
        Ok(())
    }

    /// Elements one by one, and the columns of each in blocks.
    pub fn rows(&mut self) -> Result<(), OutOfRegisters> {
        let (width, slots) = (self.region.width as i32, &self.lowered.slots);
        let (blocks, rest) = (width / T::LANES, width % T::LANES);
        let end = match rest {
            0 => None,
            count if is_masked::<T>(width) => Some(LiveLanes::First { count, mask: self.tail.expect(TAIL) }),
            _ => Some(LiveLanes::Half),
        };
        if let Some(LiveLanes::First { count, mask }) = end {
            T::mask_first(self.asm, mask, count);
        }
        self.asm.compare_registers(Gpr::RSI, Gpr::RDX);
        let nothing = self.asm.jump(Condition::AboveEqual);
        for (k, slot) in slots.iter().enumerate() {
            match slot.access {
                Access::Once => self.set(k, |me, to| me.asm.load(to, argument(slot.argument))),
                Access::Row => self.set(k, |me, to| {
                    me.asm.multiply(to, Gpr::RSI, slot.row_bytes());
                    me.asm.add_memory(to, argument(slot.argument));
                }),
                // Anew for each element.
                Access::Indexed { .. } | Access::Nested { .. } => {}
            }
        }
        let end = end.map(|lanes| ColumnVector { offset: blocks * Self::BLOCK, lanes });
        let mut all = Self::whole(blocks as usize);
        all.extend(end);
        self.begin_kept(&all)?;
        let element = self.asm.here();
        for (k, slot) in slots.iter().enumerate() {
            if let Access::Indexed { .. } | Access::Nested { .. } = slot.access {
                match self.frame.kept.iter().flatten().any(|kept| kept.slot as usize == k) {
                    true => self.follow_kept(k, slot, &all)?,
                    false => self.set(k, |me, to| me.indexed(slot, to, Gpr::RSI)),
                }
            }
        }
        self.prefetch();
        for &sum in self.frame.sums {
            match sum {
                SumLocation::Register(s) => T::zero(self.asm, s),
                SumLocation::Stack(at) => {
                    let [zero, _] = self.spare()?;
                    T::zero(self.asm, zero);
                    T::store(self.asm, zero, Address::at(Gpr::RSP, at), LiveLanes::All, None);
                }
            }
        }
        // Two blocks at a time at least, so that one waits while the other computes.
        let step = self.together.max(2) as i32;
        let kept = self.frame.kept.iter().any(Option::is_some);
        // What is kept is in registers of its own for each block.
        if kept || blocks <= T::UNROLLED.max(UNROLLED_TURNS * step) {
            self.in_turns(&all)?;
        } else {
            self.asm.zero(Gpr::RCX);
            let head = self.asm.here();
            for first in (0..step).step_by(self.together) {
                let part = Self::whole(step as usize);
                self.blocks(Some(Gpr::RCX), &part[first as usize..][..self.together])?;
            }
            self.asm.add_number(Gpr::RCX, step * Self::BLOCK);
            self.asm.compare_number(Gpr::RCX, blocks / step * step * Self::BLOCK);
            self.asm.jump_back(Condition::Below, head);
            let rest = all[(blocks / step * step) as usize..].to_vec();
            if !rest.is_empty() {
                self.in_turns(&rest)?;
            }
        }
        self.row_sums()?;
        for (k, slot) in slots.iter().enumerate().filter(|(_, s)| s.access == Access::Row) {
            let by = slot.row_bytes();
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
        for kept in self.frame.kept.iter().flatten() {
            self.move_kept(kept, &all, KeptMove::Store)?;
        }
        self.asm.land(nothing);
        Ok(())
    }

    /// The results that are kept in registers, for the first element.
    fn begin_kept(&mut self, blocks: &[ColumnVector]) -> Result<(), OutOfRegisters> {
        for kept in self.frame.kept.iter().flatten() {
            let slot = self.lowered.slots[kept.slot as usize];
            if slot.access != Access::Once {
                self.set(kept.slot as usize, |me, to| me.indexed(&slot, to, Gpr::RSI));
            }
            self.move_kept(kept, blocks, KeptMove::Load)?;
        }
        Ok(())
    }

    /// The address of the slot's row for the element; where that is another row, the results that
    /// are kept of it are stored to the old one, and loaded from the new one.
    fn follow_kept(&mut self, k: usize, slot: &Slot, blocks: &[ColumnVector]) -> Result<(), OutOfRegisters> {
        let home = self.kept_address(k);
        self.indexed(slot, Gpr::RAX, Gpr::RSI);
        self.asm.compare_registers(Gpr::RAX, home);
        let same = self.asm.jump(Condition::Equal);
        let of_slot = |kept: &&KeptResult| kept.slot as usize == k;
        for kept in self.frame.kept.iter().flatten().filter(of_slot) {
            self.move_kept(kept, blocks, KeptMove::Store)?;
        }
        self.asm.move_register(home, Gpr::RAX);
        for kept in self.frame.kept.iter().flatten().filter(of_slot) {
            self.move_kept(kept, blocks, KeptMove::Load)?;
        }
        self.asm.land(same);
        Ok(())
    }

    fn kept_address(&self, slot: usize) -> Gpr {
        match self.frame.addresses[slot] {
            AddressLocation::Register(r) => r,
            AddressLocation::Stack(_) => unreachable!("`Lowered::keep` takes slots with a register"),
        }
    }

    fn move_kept(&mut self, kept: &KeptResult, blocks: &[ColumnVector], how: KeptMove) -> Result<(), OutOfRegisters> {
        let base = self.kept_address(kept.slot as usize);
        for (block, &register) in blocks.iter().zip(&kept.registers) {
            let at = Address::at(base, kept.column + block.offset);
            match how {
                KeptMove::Load => T::load(self.asm, register, at, block.lanes),
                KeptMove::Store => {
                    let spare = if T::needs_spare(block.lanes) { Some(self.spare()?[0]) } else { None };
                    T::store(self.asm, register, at, block.lanes, spare);
                }
            }
        }
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
        self.asm.multiply(to, index, slot.row_bytes());
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
            for line in (0..slot.row_bytes()).step_by(LINE as usize).take(4) {
                self.asm.prefetch(Address::at(Gpr::RAX, line));
            }
        }
    }

    /// Two registers that only blocks use.
    fn spare(&self) -> Result<[VectorRegister; 2], OutOfRegisters> {
        let first = self.frame.free;
        // Without its lowest bit.
        let second = first & first.wrapping_sub(1);
        if second == 0 {
            return Err(OutOfRegisters);
        }
        Ok([first, second].map(|free| VectorRegister(free.trailing_zeros() as u8)))
    }

    fn row_sums(&mut self) -> Result<(), OutOfRegisters> {
        let results = self.lowered.results.iter().filter(|r| r.mode == OutputMode::StoreRowSum);
        for (r, &sum) in results.zip(self.frame.sums) {
            let [spare, other] = self.spare()?;
            let sum = match sum {
                SumLocation::Register(s) => s,
                SumLocation::Stack(at) => {
                    T::load(self.asm, other, Address::at(Gpr::RSP, at), LiveLanes::All);
                    other
                }
            };
            T::sum_lanes(self.asm, sum, spare);
            let base = match self.frame.addresses[r.slot as usize] {
                AddressLocation::Register(base) => base,
                AddressLocation::Stack(at) => {
                    self.asm.load(Gpr::R11, Address::at(Gpr::RSP, at));
                    Gpr::R11
                }
            };
            T::store_one(self.asm, sum, Address::at(base, r.column));
        }
        Ok(())
    }
}
