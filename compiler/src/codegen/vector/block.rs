//! A vector program as instructions at one or more places of the columns: registers are given in
//! one walk, constants and single-use operands are read from memory where an instruction can. Where
//! registers do not suffice, the value that is read latest goes to the stack, or is loaded again.
//!
//! Blocks that are written together take turns, operation by operation. Each is one long chain of
//! operations, so a CPU that is to run several at a time must find them close to each other: its
//! schedulers hold some hundred operations that wait for their operands.

use super::assembler::{Address, Assembler, Gpr};
use super::encode::{Conversion, FusedForm, LiveLanes, MaskRegister, VectorEncoding, VectorOperand, VectorRegister};
use super::frame::{AddressLocation, Frame, OutOfRegisters, RowResult, SpillCount, SumLocation};
use super::program::{Id, VectorOperation, VectorOperator};
use crate::plan::region::OutputMode;
use din_program::TablePrecision::{Bf16, F32};
use std::marker::PhantomData;

/// Why the operands of a fused multiply-add can be encoded.
const ONE_FROM_MEMORY: &str = "the factor or the addend is in a register";

struct BlockWriter<'a, 'f, T> {
    asm: &'a mut Assembler,
    frame: &'f Frame<'f>,
    /// Added to columns that move: a register, and the bytes of the block at hand.
    index: Option<Gpr>,
    offset: i32,
    /// Lanes of the block at hand.
    lanes: LiveLanes,
    /// Operations of one block. Values are numbered block by block, `count` of them each.
    count: usize,
    /// The register of each value: a vector register, or a mask register for a comparison.
    place: Vec<Option<u8>>,
    /// The number of each value's copy on the stack.
    copy: Vec<Option<u32>>,
    left: Vec<u32>,
    free: u32,
    free_masks: u8,
    free_copies: Vec<u32>,
    /// Vector registers that the instruction at hand reads.
    read: u32,
    /// Whether stores may have begun, after which no load may be repeated.
    finishing: bool,
    spills: SpillCount,
    target: PhantomData<T>,
}

/// The operator by which a value joins what is in its row already.
fn joining(mode: OutputMode) -> VectorOperator {
    match mode {
        OutputMode::Add => VectorOperator::Add,
        OutputMode::Max => VectorOperator::Maximum,
        OutputMode::Store | OutputMode::StoreRowSum => unreachable!("{mode:?} overwrites"),
    }
}

/// The columns of a row that one vector covers.
#[derive(Clone, Copy, Debug)]
pub struct ColumnVector {
    /// Bytes from the column at which the index is.
    pub offset: i32,
    /// Lanes that have a column.
    pub lanes: LiveLanes,
}

/// Writes blocks that take turns. Columns that move are `index` and the block's offset further, in
/// bytes.
pub fn emit<T: VectorEncoding>(
    asm: &mut Assembler,
    frame: &Frame,
    index: Option<Gpr>,
    blocks: &[ColumnVector],
) -> Result<SpillCount, OutOfRegisters> {
    let count = frame.program.operations.len();
    let left: Vec<u32> = frame.readers.iter().map(|r| r.len() as u32).collect();
    let mut writer = BlockWriter {
        asm,
        frame,
        index,
        offset: 0,
        lanes: LiveLanes::All,
        count,
        place: vec![None; count * blocks.len()],
        copy: vec![None; count * blocks.len()],
        left: left.repeat(blocks.len()),
        free: frame.free,
        free_masks: T::MASKS,
        free_copies: Vec::new(),
        read: 0,
        finishing: false,
        spills: SpillCount::default(),
        target: PhantomData::<T>,
    };
    for k in (0..count).filter(|&k| !frame.readers[k].is_empty()) {
        for (number, block) in blocks.iter().enumerate() {
            (writer.offset, writer.lanes, writer.read) = (block.offset, block.lanes, 0);
            writer.operation(Id((number * count + k) as u32))?;
        }
    }
    writer.finishing = true;
    for (number, block) in blocks.iter().enumerate() {
        (writer.offset, writer.lanes) = (block.offset, block.lanes);
        writer.results(number)?;
    }
    Ok(writer.spills)
}

impl<T: VectorEncoding> BlockWriter<'_, '_, T> {
    fn allocate(&mut self) -> Result<VectorRegister, OutOfRegisters> {
        if self.free == 0 {
            self.spill()?;
        }
        let r = self.free.trailing_zeros();
        self.free &= !(1 << r);
        Ok(VectorRegister(r as u8))
    }

    fn deallocate(&mut self, r: VectorRegister) {
        self.free |= 1 << r.0;
    }

    /// The operation of a value, with the operands that its block has.
    fn operation_of(&self, id: Id) -> VectorOperation {
        let (block, k) = (id.0 as usize / self.count, id.0 as usize % self.count);
        self.frame.program.operations[k].with_operands(|o| Id(o.0 + (block * self.count) as u32))
    }

    /// See [`Frame::readers`].
    fn readers(&self, k: usize) -> &[u32] {
        &self.frame.readers[k % self.count]
    }

    /// Whether the value is in a mask register.
    fn is_mask(&self, id: Id) -> bool {
        T::MASKS != 0 && matches!(self.operation_of(id), VectorOperation::Compare(..))
    }

    /// Frees the register whose value is read latest, among those that the instruction at hand does
    /// not read.
    fn spill(&mut self) -> Result<(), OutOfRegisters> {
        if !self.frame.may_spill {
            return Err(OutOfRegisters);
        }
        let next = |k: usize| {
            let readers = self.readers(k);
            readers[readers.len() - self.left[k] as usize]
        };
        let candidates = self.place.iter().enumerate().filter_map(|(k, place)| {
            let register = (*place)?;
            let other = self.is_mask(Id(k as u32)) || self.read >> register & 1 == 1 || self.left[k] == 0;
            (!other).then(|| (next(k), k, register))
        });
        let (_, k, register) = candidates.max().ok_or(OutOfRegisters)?;
        let again = match self.operation_of(Id(k as u32)) {
            VectorOperation::Constant(_) => true,
            VectorOperation::Load { .. } => !self.finishing,
            VectorOperation::Binary(..)
            | VectorOperation::Fma(..)
            | VectorOperation::Sqrt(_)
            | VectorOperation::OfIntegers(_)
            | VectorOperation::Shift { .. }
            | VectorOperation::Compare(..)
            | VectorOperation::Choose(..) => false,
        };
        self.spills.moves += 1;
        if !again && self.copy[k].is_none() {
            let copy = self.free_copies.pop().unwrap_or_else(|| {
                self.spills.places += 1;
                self.spills.places - 1
            });
            self.copy[k] = Some(copy);
            T::store(self.asm, VectorRegister(register), self.stack(copy), LiveLanes::All, None);
        }
        self.place[k] = None;
        self.deallocate(VectorRegister(register));
        Ok(())
    }

    /// The address of a copy on the stack.
    fn stack(&self, copy: u32) -> Address {
        Address::at(Gpr::RSP, self.frame.spilled + 4 * T::LANES * copy as i32)
    }

    fn address(&mut self, slot: u32, column: i32, moves: bool) -> Address {
        let base = match self.frame.addresses[slot as usize] {
            AddressLocation::Register(r) => r,
            AddressLocation::Stack(at) => {
                self.asm.load(Gpr::R11, Address::at(Gpr::RSP, at));
                Gpr::R11
            }
        };
        if !moves {
            return Address::at(base, column);
        }
        Address { base, index: self.index.map(|i| (i, 1)), displacement: column + self.offset }
    }

    /// The same in a row of BF16, in which columns are half as far from each other. Overwrites
    /// `rax`.
    fn bf16_address(&mut self, slot: u32, column: i32, moves: bool) -> Address {
        let first = self.address(slot, column, false);
        if !moves {
            return first;
        }
        if let Some(index) = self.index {
            self.asm.move_register(Gpr::RAX, index);
            self.asm.shift_right(Gpr::RAX, 1);
        }
        Address { index: self.index.map(|_| (Gpr::RAX, 1)), displacement: column + self.offset / 2, ..first }
    }

    /// The register that holds a value now.
    fn held(&self, id: Id) -> Option<VectorRegister> {
        if let VectorOperation::Constant(bits) = self.operation_of(id)
            && let Some(&register) = self.frame.constants.get(&bits)
        {
            return Some(register);
        }
        self.place[id.0 as usize].map(VectorRegister)
    }

    /// The value as a last operand: from memory if it is nowhere else and nobody else reads it.
    fn last(&mut self, id: Id) -> Result<VectorOperand, OutOfRegisters> {
        let k = id.0 as usize;
        if self.held(id).is_none() {
            if let Some(copy) = self.copy[k] {
                return Ok(VectorOperand::Vector(self.stack(copy)));
            }
            let once = self.readers(k).len() == 1;
            match self.operation_of(id) {
                VectorOperation::Constant(bits) => return Ok(VectorOperand::Constant(bits)),
                VectorOperation::Load { slot, column, one: true, precision: F32 } if once && T::BROADCASTS => {
                    return Ok(VectorOperand::Broadcast(self.address(slot, column, false)));
                }
                VectorOperation::Load { slot, column, one: false, precision: F32 }
                    if once && T::reads_vectors(self.lanes) =>
                {
                    return Ok(VectorOperand::Vector(self.address(slot, column, true)));
                }
                VectorOperation::Load { .. }
                | VectorOperation::Binary(..)
                | VectorOperation::Fma(..)
                | VectorOperation::Sqrt(_)
                | VectorOperation::OfIntegers(_)
                | VectorOperation::Shift { .. }
                | VectorOperation::Compare(..)
                | VectorOperation::Choose(..) => {}
            }
        }
        Ok(VectorOperand::Register(self.register(id)?))
    }

    /// The value in a register, brought there if need be.
    fn register(&mut self, id: Id) -> Result<VectorRegister, OutOfRegisters> {
        if let Some(r) = self.held(id) {
            self.read |= 1 << r.0;
            return Ok(r);
        }
        let r = self.allocate()?;
        self.read |= 1 << r.0;
        self.place[id.0 as usize] = Some(r.0);
        if let Some(copy) = self.copy[id.0 as usize] {
            self.spills.moves += 1;
            T::load(self.asm, r, self.stack(copy), LiveLanes::All);
            return Ok(r);
        }
        match self.operation_of(id) {
            VectorOperation::Constant(bits) => {
                T::broadcast(self.asm, r, VectorOperand::Constant(bits), self.lanes);
            }
            VectorOperation::Load { slot, column, one, precision: Bf16 } => {
                let from = self.bf16_address(slot, column, !one);
                match one {
                    true => T::broadcast_bf16(self.asm, r, from, self.lanes),
                    false => T::load_bf16(self.asm, r, from, self.lanes),
                }
                T::shift(self.asm, r, r, true, 16, self.lanes);
            }
            VectorOperation::Load { slot, column, one: true, precision: F32 } => {
                let from = self.address(slot, column, false);
                T::broadcast(self.asm, r, VectorOperand::Broadcast(from), self.lanes);
            }
            VectorOperation::Load { slot, column, one: false, precision: F32 } => {
                let from = self.address(slot, column, true);
                T::load(self.asm, r, from, self.lanes);
            }
            VectorOperation::Binary(..)
            | VectorOperation::Fma(..)
            | VectorOperation::Sqrt(_)
            | VectorOperation::OfIntegers(_)
            | VectorOperation::Shift { .. }
            | VectorOperation::Compare(..)
            | VectorOperation::Choose(..) => {
                unreachable!("an operation stands before its readers, and its value in a register or on the stack")
            }
        }
        Ok(r)
    }

    /// One reader of the value is done; its register is free after the last.
    fn release(&mut self, id: Id) {
        let k = id.0 as usize;
        self.left[k] -= 1;
        let constant = matches!(self.operation_of(id), VectorOperation::Constant(_));
        if self.left[k] == 0 {
            self.free_copies.extend(self.copy[k].take());
        }
        // Constants come back from memory whenever they are wanted: they hold a register for one
        // instruction only.
        if self.left[k] == 0 || constant {
            match self.place[k].take() {
                Some(m) if self.is_mask(id) => self.free_masks |= 1 << m,
                Some(r) => self.deallocate(VectorRegister(r)),
                None => {}
            }
        }
    }

    fn operation(&mut self, id: Id) -> Result<(), OutOfRegisters> {
        let lanes = self.lanes;
        let to = match self.operation_of(id) {
            // Brought in by their first reader.
            VectorOperation::Constant(_) | VectorOperation::Load { .. } => return Ok(()),
            VectorOperation::Binary(operator, a, b) => {
                let swap = operator.commutes() && self.held(a).is_none() && self.held(b).is_some();
                let (x, y) = if swap { (b, a) } else { (a, b) };
                let middle = self.register(x)?;
                let last = self.last(y)?;
                self.release(a);
                self.release(b);
                let to = self.allocate()?;
                T::binary(self.asm, operator, to, middle, last, lanes);
                to.0
            }
            VectorOperation::Fma(a, b, c) => self.fma(a, b, c)?.0,
            VectorOperation::Sqrt(a) => self.convert(Conversion::SquareRoot, a)?.0,
            VectorOperation::OfIntegers(a) => self.convert(Conversion::OfIntegers, a)?.0,
            VectorOperation::Shift { value, left, by } => {
                let from = self.register(value)?;
                self.release(value);
                let to = self.allocate()?;
                T::shift(self.asm, to, from, left, by, lanes);
                to.0
            }
            VectorOperation::Compare(how, a, b) => {
                let middle = self.register(a)?;
                let last = self.last(b)?;
                self.release(a);
                self.release(b);
                let to = self.allocate_mask()?;
                T::compare(self.asm, how, to, middle, last, lanes);
                to.0
            }
            VectorOperation::Choose(mask, a, b) => {
                let m = self.mask(mask)?;
                let middle = self.register(b)?;
                let last = self.last(a)?;
                self.release(a);
                self.release(b);
                let to = self.allocate()?;
                T::choose(self.asm, to, m, middle, last, lanes);
                self.release(mask);
                to.0
            }
        };
        self.place[id.0 as usize] = Some(to);
        Ok(())
    }

    fn allocate_mask(&mut self) -> Result<MaskRegister, OutOfRegisters> {
        if T::MASKS == 0 {
            return Ok(MaskRegister(self.allocate()?.0));
        }
        if self.free_masks == 0 {
            return Err(OutOfRegisters);
        }
        let m = self.free_masks.trailing_zeros() as u8;
        self.free_masks &= !(1 << m);
        Ok(MaskRegister(m))
    }

    /// The register of a comparison's result.
    fn mask(&mut self, id: Id) -> Result<MaskRegister, OutOfRegisters> {
        if T::MASKS == 0 {
            return Ok(MaskRegister(self.register(id)?.0));
        }
        Ok(MaskRegister(self.place[id.0 as usize].expect("a comparison keeps its mask until its last reader")))
    }

    fn convert(&mut self, how: Conversion, a: Id) -> Result<VectorRegister, OutOfRegisters> {
        let last = self.last(a)?;
        self.release(a);
        let to = self.allocate()?;
        T::convert(self.asm, how, to, last, self.lanes);
        Ok(to)
    }

    /// `a * b + c`, over the register of an operand that nobody reads again.
    fn fma(&mut self, a: Id, b: Id, c: Id) -> Result<VectorRegister, OutOfRegisters> {
        let lanes = self.lanes;
        // At most one operand may come from memory: the addend if it can, else the second factor.
        let (a, b) = if self.held(a).is_none() && self.held(b).is_some() { (b, a) } else { (a, b) };
        let x = self.register(a)?;
        let (y, z) = if self.held(c).is_none() {
            let y = self.register(b)?;
            (VectorOperand::Register(y), self.last(c)?)
        } else {
            // Held before another value needs its register.
            let z = self.register(c)?;
            (self.last(b)?, VectorOperand::Register(z))
        };
        let dies = |me: &Self, id: Id| {
            let count = [a, b, c].iter().filter(|&&o| o == id).count() as u32;
            // A constant without a register of its own has been brought for this instruction alone.
            let last = if let VectorOperation::Constant(bits) = me.operation_of(id) {
                !me.frame.constants.contains_key(&bits)
            } else {
                me.left[id.0 as usize] == 1
            };
            last && count == 1
        };
        let to = match (y, z) {
            (_, VectorOperand::Register(z)) if dies(self, c) => {
                T::fused(self.asm, FusedForm::Addend, z, x, y, lanes);
                self.place[c.0 as usize] = None;
                z
            }
            (_, _) if dies(self, a) => {
                self.over_factor(x, y, z);
                self.place[a.0 as usize] = None;
                x
            }
            (VectorOperand::Register(y), z) if dies(self, b) => {
                T::fused(self.asm, FusedForm::FactorByMiddle, y, x, z, lanes);
                self.place[b.0 as usize] = None;
                y
            }
            (y, z) => {
                let to = self.allocate()?;
                T::copy(self.asm, to, x, lanes);
                self.over_factor(to, y, z);
                to
            }
        };
        for id in [a, b, c] {
            self.release(id);
        }
        Ok(to)
    }

    /// `to = to * y + z`
    fn over_factor(&mut self, to: VectorRegister, y: VectorOperand, z: VectorOperand) {
        match (y, z) {
            (VectorOperand::Register(y), z) => T::fused(self.asm, FusedForm::FactorByMiddle, to, y, z, self.lanes),
            (y, VectorOperand::Register(z)) => T::fused(self.asm, FusedForm::FactorByLast, to, z, y, self.lanes),
            (_, _) => unreachable!("{ONE_FROM_MEMORY}"),
        }
    }

    /// All values of a block first, then its stores: a result may lie where a load reads.
    fn results(&mut self, block: usize) -> Result<(), OutOfRegisters> {
        let value = |r: &RowResult| Id(r.value.0 + (block * self.count) as u32);
        let values: Vec<Id> = self.frame.results.iter().map(value).collect();
        for &id in &values {
            self.read = 0;
            self.register(id)?;
        }
        let mut sum = 0;
        for ((r, id), kept) in self.frame.results.iter().zip(values).zip(self.frame.kept) {
            self.read = 0;
            let value = self.register(id)?;
            if let Some(kept) = kept {
                let sum = kept.registers[(self.offset / (4 * T::LANES)) as usize];
                let last = VectorOperand::Register(value);
                T::binary(self.asm, joining(r.mode), sum, sum, last, self.lanes);
                continue;
            }
            match r.mode {
                OutputMode::Store => {
                    let to = self.address(r.slot, r.column, true);
                    self.store(value, to)?;
                }
                OutputMode::Add | OutputMode::Max => {
                    let (t, to) = (self.allocate()?, self.address(r.slot, r.column, true));
                    self.read |= 1 << t.0;
                    T::load(self.asm, t, to, self.lanes);
                    T::binary(self.asm, joining(r.mode), t, t, VectorOperand::Register(value), self.lanes);
                    self.store(t, to)?;
                    self.deallocate(t);
                }
                OutputMode::StoreRowSum => {
                    let to = self.frame.sums[sum];
                    sum += 1;
                    self.accumulate(to, value)?;
                }
            }
        }
        Ok(())
    }

    /// A register for one instruction, where the target needs one.
    fn spare(&mut self) -> Result<Option<VectorRegister>, OutOfRegisters> {
        T::needs_spare(self.lanes).then(|| self.allocate()).transpose()
    }

    fn store(&mut self, value: VectorRegister, to: Address) -> Result<(), OutOfRegisters> {
        let spare = self.spare()?;
        T::store(self.asm, value, to, self.lanes, spare);
        spare.into_iter().for_each(|s| self.deallocate(s));
        Ok(())
    }

    fn accumulate(&mut self, sum: SumLocation, value: VectorRegister) -> Result<(), OutOfRegisters> {
        let spare = self.spare()?;
        match sum {
            SumLocation::Register(sum) => T::accumulate(self.asm, sum, value, self.lanes, spare),
            SumLocation::Stack(at) => {
                self.read |= spare.map_or(0, |s| 1 << s.0);
                let (t, home) = (self.allocate()?, Address::at(Gpr::RSP, at));
                T::load(self.asm, t, home, LiveLanes::All);
                T::accumulate(self.asm, t, value, self.lanes, spare);
                T::store(self.asm, t, home, LiveLanes::All, None);
                self.deallocate(t);
            }
        }
        spare.into_iter().for_each(|s| self.deallocate(s));
        Ok(())
    }
}
