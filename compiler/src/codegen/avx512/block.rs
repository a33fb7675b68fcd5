//! A vector program as instructions at one place of the columns: registers are given in one walk,
//! constants and single-use operands are read from memory where an instruction can.

use super::asm::{self, Address, Assembler, Gpr, Mask, Masking, VectorOperand, Zmm};
use super::vector::{Id, VectorOperation, VectorOperator, VectorProgram};
use crate::codegen::math::Comparison;
use crate::plan::region::OutputMode;
use rustc_hash::FxHashMap;

/// Why the operands of a fused multiply-add can be encoded.
const ONE_FROM_MEMORY: &str = "the factor or the addend is in a register";

/// More values are alive at once than there are registers.
#[derive(Debug)]
pub struct OutOfRegisters;

/// Where the address of a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressLocation {
    Register(Gpr),
    /// Bytes above the stack pointer.
    Stack(i32),
}

#[derive(Clone, Copy, Debug)]
pub struct RowResult {
    pub value: Id,
    pub slot: u32,
    /// Bytes into the row.
    pub column: i32,
    pub mode: OutputMode,
}

/// What stays the same from block to block.
pub struct Frame<'a> {
    pub program: &'a VectorProgram,
    pub results: &'a [RowResult],
    /// How often an operation or a result reads each operation.
    pub uses: &'a [u32],
    pub addresses: &'a [AddressLocation],
    pub constants: &'a FxHashMap<u32, Zmm>,
    /// Sums over the columns, by row-sum result.
    pub sums: &'a [Zmm],
    /// Registers that blocks may use, a bit each.
    pub free: u32,
}

pub struct BlockWriter<'a, 'f> {
    asm: &'a mut Assembler,
    frame: &'f Frame<'f>,
    /// Added to columns that move: a register and a number of bytes.
    index: Option<Gpr>,
    offset: i32,
    tail: Option<Mask>,
    place: Vec<Option<u8>>,
    left: Vec<u32>,
    free: u32,
    free_masks: u8,
}

/// Writes the block whose moving columns start `index + offset` bytes further; `tail` masks the
/// lanes that exist.
pub fn emit(
    asm: &mut Assembler,
    frame: &Frame,
    index: Option<Gpr>,
    offset: i32,
    tail: Option<Mask>,
) -> Result<(), OutOfRegisters> {
    let n = frame.program.operations.len();
    let mut block = BlockWriter {
        asm,
        frame,
        index,
        offset,
        tail,
        place: vec![None; n],
        left: frame.uses.to_vec(),
        free: frame.free,
        free_masks: 0b0111_1110,
    };
    for k in 0..n {
        if frame.uses[k] > 0 {
            block.operation(Id(k as u32))?;
        }
    }
    block.results()
}

impl BlockWriter<'_, '_> {
    fn allocate(&mut self) -> Result<Zmm, OutOfRegisters> {
        if self.free == 0 {
            return Err(OutOfRegisters);
        }
        let r = self.free.trailing_zeros();
        self.free &= !(1 << r);
        Ok(Zmm(r as u8))
    }

    fn deallocate(&mut self, r: Zmm) {
        self.free |= 1 << r.0;
    }

    fn lanes(&self) -> Masking {
        self.tail.map_or(Masking::All, Masking::Zeroed)
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

    /// The register that holds a value now.
    fn held(&self, id: Id) -> Option<Zmm> {
        match self.frame.program.operations[id.0 as usize] {
            VectorOperation::Constant(bits) => self.frame.constants.get(&bits).copied(),
            _ => self.place[id.0 as usize].map(Zmm),
        }
    }

    /// The value as a last operand: from memory if it is nowhere else and nobody else reads it.
    fn last(&mut self, id: Id) -> Result<VectorOperand, OutOfRegisters> {
        if let Some(r) = self.held(id) {
            return Ok(VectorOperand::Register(r));
        }
        Ok(match self.frame.program.operations[id.0 as usize] {
            VectorOperation::Constant(bits) => VectorOperand::Constant(bits),
            VectorOperation::Load { slot, column, one: true } if self.frame.uses[id.0 as usize] == 1 => {
                VectorOperand::Broadcast(self.address(slot, column, false))
            }
            VectorOperation::Load { slot, column, one: false }
                if self.frame.uses[id.0 as usize] == 1 && self.tail.is_none() =>
            {
                VectorOperand::Vector(self.address(slot, column, true))
            }
            _ => VectorOperand::Register(self.register(id)?),
        })
    }

    /// The value in a register, brought there if need be.
    fn register(&mut self, id: Id) -> Result<Zmm, OutOfRegisters> {
        if let Some(r) = self.held(id) {
            return Ok(r);
        }
        let r = self.allocate()?;
        self.place[id.0 as usize] = Some(r.0);
        match self.frame.program.operations[id.0 as usize] {
            VectorOperation::Constant(bits) => {
                self.asm.unary(asm::BROADCAST, r, VectorOperand::Constant(bits), Masking::All)
            }
            VectorOperation::Load { slot, column, one: true } => {
                let from = self.address(slot, column, false);
                self.asm.unary(asm::BROADCAST, r, VectorOperand::Broadcast(from), Masking::All);
            }
            VectorOperation::Load { slot, column, one: false } => {
                let from = self.address(slot, column, true);
                self.asm.unary(asm::LOAD, r, VectorOperand::Vector(from), self.lanes());
            }
            VectorOperation::Binary(..)
            | VectorOperation::Fma(..)
            | VectorOperation::Sqrt(_)
            | VectorOperation::OfIntegers(_)
            | VectorOperation::Shift { .. }
            | VectorOperation::Compare(..)
            | VectorOperation::Choose(..) => unreachable!("an operation stands before its readers"),
        }
        Ok(r)
    }

    /// One reader of the value is done; its register is free after the last.
    fn release(&mut self, id: Id) {
        let k = id.0 as usize;
        self.left[k] -= 1;
        let constant = matches!(self.frame.program.operations[k], VectorOperation::Constant(_));
        let masks = matches!(self.frame.program.operations[k], VectorOperation::Compare(..));
        // Constants come back from memory whenever they are wanted: they hold a register for one
        // instruction only.
        if self.left[k] == 0 || constant {
            match self.place[k].take() {
                Some(m) if masks => self.free_masks |= 1 << m,
                Some(r) => self.deallocate(Zmm(r)),
                None => {}
            }
        }
    }

    fn operation(&mut self, id: Id) -> Result<(), OutOfRegisters> {
        let operation = self.frame.program.operations[id.0 as usize];
        match operation {
            // Brought in by their first reader.
            VectorOperation::Constant(_) | VectorOperation::Load { .. } => {}
            VectorOperation::Binary(operator, a, b) => {
                let swap = operator.commutes() && self.held(a).is_none() && self.held(b).is_some();
                let (x, y) = if swap { (b, a) } else { (a, b) };
                let middle = self.register(x)?;
                let last = self.last(y)?;
                self.release(a);
                self.release(b);
                let to = self.allocate()?;
                self.asm.binary(instruction(operator), to, middle, last, Masking::All);
                self.place[id.0 as usize] = Some(to.0);
            }
            VectorOperation::Fma(a, b, c) => {
                let to = self.fma(a, b, c)?;
                self.place[id.0 as usize] = Some(to.0);
            }
            VectorOperation::Sqrt(a) | VectorOperation::OfIntegers(a) => {
                let last = self.last(a)?;
                self.release(a);
                let to = self.allocate()?;
                let v = if matches!(operation, VectorOperation::Sqrt(_)) { asm::SQRT } else { asm::OF_INTEGERS };
                self.asm.unary(v, to, last, Masking::All);
                self.place[id.0 as usize] = Some(to.0);
            }
            VectorOperation::Shift { value, left, by } => {
                let from = self.register(value)?;
                self.release(value);
                let to = self.allocate()?;
                self.asm.shift(to, from, left, by);
                self.place[id.0 as usize] = Some(to.0);
            }
            VectorOperation::Compare(how, a, b) => {
                let middle = self.register(a)?;
                let last = self.last(b)?;
                self.release(a);
                self.release(b);
                if self.free_masks == 0 {
                    return Err(OutOfRegisters);
                }
                let m = self.free_masks.trailing_zeros() as u8;
                self.free_masks &= !(1 << m);
                self.asm.compare(predicate(how), Mask(m), middle, last);
                self.place[id.0 as usize] = Some(m);
            }
            VectorOperation::Choose(mask, a, b) => {
                let m = self.place[mask.0 as usize].expect("a comparison keeps its mask until its last reader");
                let middle = self.register(b)?;
                let last = self.last(a)?;
                self.release(a);
                self.release(b);
                let to = self.allocate()?;
                self.asm.binary(asm::BLEND, to, middle, last, Masking::Kept(Mask(m)));
                self.release(mask);
                self.place[id.0 as usize] = Some(to.0);
            }
        }
        Ok(())
    }

    /// `a * b + c`, over the register of an operand that nobody reads again.
    fn fma(&mut self, a: Id, b: Id, c: Id) -> Result<Zmm, OutOfRegisters> {
        // At most one operand may come from memory: the addend if it can, else the second factor.
        let (a, b) = if self.held(a).is_none() && self.held(b).is_some() { (b, a) } else { (a, b) };
        let x = self.register(a)?;
        let (y, z) = if self.held(c).is_none() {
            let y = self.register(b)?;
            (VectorOperand::Register(y), self.last(c)?)
        } else {
            (self.last(b)?, VectorOperand::Register(self.register(c)?))
        };
        let dies = |me: &Self, id: Id| {
            let count = [a, b, c].iter().filter(|&&o| o == id).count() as u32;
            let constant = matches!(me.frame.program.operations[id.0 as usize], VectorOperation::Constant(_));
            !constant && me.left[id.0 as usize] == count && count == 1
        };
        let to = match (y, z) {
            (_, VectorOperand::Register(z)) if dies(self, c) => {
                self.asm.binary(asm::FMA231, z, x, y, Masking::All);
                self.place[c.0 as usize] = None;
                z
            }
            (_, _) if dies(self, a) => {
                match (y, z) {
                    (VectorOperand::Register(y), z) => self.asm.binary(asm::FMA213, x, y, z, Masking::All),
                    (y, VectorOperand::Register(z)) => self.asm.binary(asm::FMA132, x, z, y, Masking::All),
                    (_, _) => unreachable!("{ONE_FROM_MEMORY}"),
                }
                self.place[a.0 as usize] = None;
                x
            }
            (VectorOperand::Register(y), z) if dies(self, b) => {
                self.asm.binary(asm::FMA213, y, x, z, Masking::All);
                self.place[b.0 as usize] = None;
                y
            }
            (y, z) => {
                let to = self.allocate()?;
                self.asm.unary(asm::LOAD, to, VectorOperand::Register(x), Masking::All);
                match (y, z) {
                    (VectorOperand::Register(y), z) => self.asm.binary(asm::FMA213, to, y, z, Masking::All),
                    (y, VectorOperand::Register(z)) => self.asm.binary(asm::FMA132, to, z, y, Masking::All),
                    (_, _) => unreachable!("{ONE_FROM_MEMORY}"),
                }
                to
            }
        };
        for id in [a, b, c] {
            self.release(id);
        }
        Ok(to)
    }

    /// All values first, then the stores: a result may lie where a load reads.
    fn results(&mut self) -> Result<(), OutOfRegisters> {
        let mut values = Vec::with_capacity(self.frame.results.len());
        for r in self.frame.results {
            values.push(self.register(r.value)?);
        }
        let mut sum = 0;
        for (r, &value) in self.frame.results.iter().zip(&values) {
            match r.mode {
                OutputMode::Store => {
                    let to = self.address(r.slot, r.column, true);
                    self.asm.store(value, to, self.tail);
                }
                OutputMode::Add | OutputMode::Max => {
                    let (t, to) = (self.allocate()?, self.address(r.slot, r.column, true));
                    self.asm.unary(asm::LOAD, t, VectorOperand::Vector(to), self.lanes());
                    let v = if r.mode == OutputMode::Add { asm::ADD } else { asm::MAXIMUM };
                    self.asm.binary(v, t, t, VectorOperand::Register(value), Masking::All);
                    self.asm.store(t, to, self.tail);
                    self.deallocate(t);
                }
                OutputMode::StoreRowSum => {
                    let to = self.frame.sums[sum];
                    sum += 1;
                    let which = self.tail.map_or(Masking::All, Masking::Kept);
                    self.asm.binary(asm::ADD, to, to, VectorOperand::Register(value), which);
                }
            }
        }
        Ok(())
    }
}

fn instruction(operator: VectorOperator) -> asm::Vector {
    match operator {
        VectorOperator::Add => asm::ADD,
        VectorOperator::Subtract => asm::SUBTRACT,
        VectorOperator::Multiply => asm::MULTIPLY,
        VectorOperator::Divide => asm::DIVIDE,
        VectorOperator::Minimum => asm::MINIMUM,
        VectorOperator::Maximum => asm::MAXIMUM,
        VectorOperator::And => asm::AND,
        VectorOperator::Xor => asm::XOR,
        VectorOperator::AddIntegers => asm::ADD_INTEGERS,
        VectorOperator::SubtractIntegers => asm::SUBTRACT_INTEGERS,
    }
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
