//! Where everything is kept that a region's blocks have in common.

use super::assembler::Gpr;
use super::encode::VectorRegister;
use super::program::{Id, VectorProgram};
use crate::plan::region::OutputMode;
use rustc_hash::FxHashMap;

/// One instruction needs more values at once than there are registers.
#[derive(Debug)]
pub struct OutOfRegisters;

/// Where the address of a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressLocation {
    Register(Gpr),
    /// Bytes above the stack pointer.
    Stack(i32),
}

/// Where the sum over the columns is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumLocation {
    Register(VectorRegister),
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

/// The registers that keep a result to which many elements add, of a row of an ancestor or of the
/// global axis. When an element has another row, they are stored to the old row and loaded from the
/// new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptResult {
    pub slot: u32,
    /// Bytes into the row.
    pub column: i32,
    /// One for each block of the row.
    pub registers: Vec<VectorRegister>,
}

/// What stays the same from block to block.
pub struct Frame<'a> {
    pub program: &'a VectorProgram,
    pub results: &'a [RowResult],
    /// By operation: the operations that read it, in their order; the number of operations stands
    /// for a result.
    pub readers: &'a [Vec<u32>],
    pub addresses: &'a [AddressLocation],
    pub constants: &'a FxHashMap<u32, VectorRegister>,
    /// Sums over the columns, by row-sum result.
    pub sums: &'a [SumLocation],
    /// By result: its registers, if it is kept in registers.
    pub kept: &'a [Option<KeptResult>],
    /// Registers that blocks may use, a bit each.
    pub free: u32,
    /// Whether values that find no register may go to the stack.
    pub may_spill: bool,
    /// Where values that found no register lie: bytes above the stack pointer.
    pub spilled: i32,
}

/// What a block kept on the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillCount {
    /// Vectors at once.
    pub places: u32,
    /// Vectors stored and loaded again.
    pub moves: u32,
}
