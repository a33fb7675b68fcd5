//! A region as vector code of our own: as many columns at a time as the level's vectors have lanes,
//! where Cranelift's have four.
//!
//! The function has the same signature and meaning as Cranelift's (`super::cranelift`), rounding of
//! sums over columns apart. Rows whose width is no multiple of the lanes end in a block of fewer.
//! Rows of a table are prefetched some elements ahead.
//!
//! - `program`: the region's body as vector operations. - `loops`: loops around blocks. - `block`:
//!   a block's registers and instructions. - `frame`: what blocks have in common. - `encode`: what
//!   instructions each level has. - `assembler`: bytes.

mod assembler;
mod block;
mod encode;
mod frame;
mod loops;
mod program;
#[cfg(test)]
mod tests;

use super::math::{Arithmetic, Repr};
use crate::plan::region::{Access, Instruction, OutputMode, Region, StridedView};
use assembler::{Assembler, Gpr};
use din_program::schedule::KernelArg;
use din_program::{Isa, TablePrecision};
use encode::{Evex, LiveLanes, MaskRegister, VectorEncoding, VectorOperand, VectorRegister, Vex};
use frame::{AddressLocation, Frame, KeptResult, OutOfRegisters, RowResult, SpillCount, SumLocation};
use loops::LoopWriter;
use program::{Id, VectorOperation, VectorProgram};
use rustc_hash::FxHashMap;
use std::marker::PhantomData;

/// Narrower rows are left to Cranelift.
const LEAST_WIDTH: u32 = 4;
/// Registers that sums over columns leave to blocks.
const LEFT_BY_SUMS: usize = 8;
/// Free for addresses: callee-saved ones and those that nothing else uses.
const ADDRESS_REGISTERS: [Gpr; 9] = [Gpr(8), Gpr(9), Gpr(10), Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];
/// Numbers of blocks that take turns, in the order in which they are tried.
const TOGETHER: [usize; 4] = [4, 3, 2, 1];
/// Least number of values in a block with which blocks take turns: of shorter blocks, a CPU runs
/// several at a time by itself.
const LEAST_IN_TURNS: usize = 10;
const SAVED: [Gpr; 6] = [Gpr(3), Gpr(5), Gpr(12), Gpr(13), Gpr(14), Gpr(15)];

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
    precision: TablePrecision,
}

impl Slot {
    /// From one row to the next.
    fn row_bytes(&self) -> i32 {
        self.precision.bytes() as i32 * self.stride as i32
    }
}

/// The code of a region at a level, or `None` for what Cranelift serves better: level v2, narrow
/// rows, f64, calls.
pub fn build(region: &Region, isa: Isa, listing: bool) -> Option<AssembledKernel> {
    match isa {
        Isa::V2 => None,
        Isa::V3 => build_for::<Vex>(region, listing),
        Isa::V4 => build_for::<Evex>(region, listing),
    }
}

fn build_for<T: VectorEncoding>(region: &Region, listing: bool) -> Option<AssembledKernel> {
    let flat = region.is_flat();
    if region.uniform || (!flat && region.width < LEAST_WIDTH) {
        return None;
    }
    let lowered = Lowered::new(region, flat)?;
    // The first way that keeps nothing on the stack, else that which moves least.
    let computed = lowered.readers.iter().filter(|readers| !readers.is_empty()).count();
    let together = if computed < LEAST_IN_TURNS { &[1][..] } else { &TOGETHER };
    let kept = lowered.keep::<T>(region, flat);
    let keeps: &[&[usize]] = if kept.is_empty() { &[&[]] } else { &[&kept, &[]] };
    for &kept in keeps {
        for &together in together {
            for &pinned in T::PINNED {
                let way = Way { together, kept, pinned, spills: None };
                if let Ok((kernel, _)) = lowered.assemble::<T>(region, flat, way, listing) {
                    return Some(kernel);
                }
            }
        }
    }
    let mut best: Option<(usize, SpillCount)> = None;
    for &pinned in T::PINNED {
        let way = Way { together: 1, kept: &[], pinned, spills: Some(0) };
        let Ok((_, spills)) = lowered.assemble::<T>(region, flat, way, listing) else { continue };
        if best.is_none_or(|(_, b)| spills.moves < b.moves) {
            best = Some((pinned, spills));
        }
    }
    let (pinned, spills) = best?;
    let way = Way { together: 1, kept: &[], pinned, spills: Some(spills.places) };
    let again = lowered.assemble::<T>(region, flat, way, listing);
    Some(again.expect("it was assembled before, with less of the stack").0)
}

/// How a region is assembled.
#[derive(Clone, Copy, Debug)]
struct Way<'a> {
    /// Most blocks that take turns.
    together: usize,
    /// Indices of the results that are kept in registers from element to element.
    kept: &'a [usize],
    /// Constants in registers.
    pinned: usize,
    /// Vectors for which there is room on the stack; `None` where all must find a register.
    spills: Option<u32>,
}

struct Lowered {
    program: VectorProgram,
    slots: Vec<Slot>,
    results: Vec<RowResult>,
    /// See [`Frame::readers`].
    readers: Vec<Vec<u32>>,
}

impl Lowered {
    fn new(region: &Region, flat: bool) -> Option<Lowered> {
        let mut slots: Vec<Slot> = Vec::new();
        let mut slot = |p: &StridedView| {
            let s = Slot { argument: p.argument, access: p.access, stride: p.stride, precision: p.precision };
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
                    let (precision, column) = (p.precision, p.precision.bytes() as i32 * p.column as i32);
                    Repr::Number(program.emit(VectorOperation::Load { slot: slot(p), column, one, precision }))
                }
                Instruction::Unary(op, a) => {
                    let a = program.of_repr(values[a.0 as usize]);
                    program.unary(*op, a, region.short_functions)
                }
                Instruction::Binary(op, a, b) => {
                    let (x, y) = (program.of_repr(values[a.0 as usize]), program.of_repr(values[b.0 as usize]));
                    program.binary(*op, x, y, region.exponent(*b))?
                }
                Instruction::DropoutMask { rate, of } => {
                    let of = of.map(|value| program.of_repr(values[value.0 as usize]));
                    Repr::Number(program.dropout_mask(*rate, of))
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
            results.push(RowResult {
                value: program.of_repr(values[o.value.0 as usize]),
                slot: slot(&o.place),
                column: 4 * o.place.column as i32,
                mode: o.mode,
            });
        }
        let count = program.operations.len();
        let mut live = vec![false; count];
        for r in &results {
            live[r.value.0 as usize] = true;
        }
        for (k, operation) in program.operations.iter().enumerate().rev() {
            if live[k] {
                operation.operands().for_each(|o| live[o.0 as usize] = true);
            }
        }
        let mut readers = vec![Vec::new(); count];
        for (k, operation) in program.operations.iter().enumerate().filter(|(k, _)| live[*k]) {
            operation.operands().for_each(|o| readers[o.0 as usize].push(k as u32));
        }
        for r in &results {
            readers[r.value.0 as usize].push(count as u32);
        }
        Some(Lowered { program, slots, results, readers })
    }

    /// The results that may be kept in registers from element to element: what is added to a row
    /// that neighbouring elements, or all of them, share. Otherwise each addition would wait for
    /// the store of the one before.
    fn keep<T: VectorEncoding>(&self, region: &Region, flat: bool) -> Vec<usize> {
        let shared = |r: &RowResult| match self.slots[r.slot as usize].access {
            Access::Once => true,
            Access::Indexed { index } => matches!(region.arguments[index as usize], KernelArg::Ancestor { .. }),
            Access::Row | Access::Nested { .. } => false,
        };
        let alone = |r: &RowResult| self.results.iter().filter(|o| o.slot == r.slot).count() == 1;
        let fits = |r: &RowResult| shared(r) && alone(r) && (r.slot as usize) < ADDRESS_REGISTERS.len();
        let added = |r: &RowResult| matches!(r.mode, OutputMode::Add | OutputMode::Max);
        let blocks = region.width.div_ceil(T::LANES as u32) as usize;
        let most = usize::from(T::REGISTERS) / 2 / blocks;
        let found = self.results.iter().enumerate().filter(|(_, r)| !flat && added(r) && fits(r));
        found.map(|(k, _)| k).take(most).collect()
    }

    /// The code, and what the blocks need of the stack.
    fn assemble<T: VectorEncoding>(
        &self,
        region: &Region,
        flat: bool,
        way: Way<'_>,
        listing: bool,
    ) -> Result<(AssembledKernel, SpillCount), OutOfRegisters> {
        let Way { together, kept, pinned, spills: room } = way;
        let mut asm = Assembler::new(listing);
        let mut free = u32::MAX >> (32 - T::REGISTERS);
        // From the last register on; more constants than registers are too much pressure.
        let mut registers = (0..T::REGISTERS).rev();
        let mut reserve = || {
            let register = registers.next().ok_or(OutOfRegisters)?;
            free &= !(1 << register);
            Ok(VectorRegister(register))
        };
        let mut stack = 8 * self.slots.len().saturating_sub(ADDRESS_REGISTERS.len()) as i32;
        let mut on_stack = |vectors: i32| {
            let at = stack;
            stack += 4 * T::LANES * vectors;
            at
        };
        let row_sums = self.results.iter().filter(|r| r.mode == OutputMode::StoreRowSum);
        let mut sums = Vec::new();
        for k in 0..row_sums.count() {
            sums.push(match k < usize::from(T::REGISTERS) - LEFT_BY_SUMS {
                true => SumLocation::Register(reserve()?),
                false => SumLocation::Stack(on_stack(1)),
            });
        }
        let spilled = on_stack(room.unwrap_or(0) as i32);
        let blocks = region.width.div_ceil(T::LANES as u32);
        let keep = |(k, r): (usize, &RowResult)| {
            let registers = || (0..blocks).map(|_| reserve()).collect::<Result<_, OutOfRegisters>>();
            let result = |registers| KeptResult { slot: r.slot, column: r.column, registers };
            kept.contains(&k).then(registers).transpose().map(|found| found.map(result))
        };
        let kept: Vec<Option<KeptResult>> = self.results.iter().enumerate().map(keep).collect::<Result<_, _>>()?;
        let masked = flat || loops::is_masked::<T>(region.width as i32);
        let tail = match T::TAIL {
            Some(mask) => Some(mask),
            None if masked => Some(MaskRegister(reserve()?.0)),
            None => None,
        };
        // The most used constants get registers.
        let mut wanted: Vec<(usize, u32)> = Vec::new();
        for (k, operation) in self.program.operations.iter().enumerate() {
            if let VectorOperation::Constant(bits) = operation {
                wanted.push((self.readers[k].len(), *bits));
            }
        }
        wanted.retain(|w| w.0 > 0);
        wanted.sort_by_key(|w| (std::cmp::Reverse(w.0), w.1));
        let constants = wanted.iter().take(pinned).map(|w| Ok((w.1, reserve()?)));
        let constants: FxHashMap<u32, VectorRegister> = constants.collect::<Result<_, OutOfRegisters>>()?;

        let addresses: Vec<AddressLocation> = (0..self.slots.len())
            .map(|k| match ADDRESS_REGISTERS.get(k) {
                Some(&r) => AddressLocation::Register(r),
                None => AddressLocation::Stack(8 * (k - ADDRESS_REGISTERS.len()) as i32),
            })
            .collect();
        for r in SAVED {
            asm.push(r);
        }
        if stack > 0 {
            asm.add_number(Gpr::RSP, -stack);
        }
        let mut pins: Vec<(u32, VectorRegister)> = constants.iter().map(|(b, r)| (*b, *r)).collect();
        pins.sort_unstable_by_key(|p| p.0);
        for (bits, r) in pins {
            T::broadcast(&mut asm, r, VectorOperand::Constant(bits), LiveLanes::All);
        }
        let frame = Frame {
            program: &self.program,
            results: &self.results,
            readers: &self.readers,
            addresses: &addresses,
            constants: &constants,
            sums: &sums,
            kept: &kept,
            free,
            may_spill: room.is_some(),
            spilled,
        };
        let mut writer = LoopWriter {
            asm: &mut asm,
            region,
            lowered: self,
            frame: &frame,
            together,
            tail,
            spills: SpillCount::default(),
            target: PhantomData::<T>,
        };
        if flat {
            writer.flat()?;
        } else {
            writer.rows()?;
        }
        let spills = writer.spills;
        if stack > 0 {
            asm.add_number(Gpr::RSP, stack);
        }
        for r in SAVED.into_iter().rev() {
            asm.pop(r);
        }
        asm.ret();
        let (bytes, text) = asm.finish();
        Ok((AssembledKernel { bytes, text }, spills))
    }
}
