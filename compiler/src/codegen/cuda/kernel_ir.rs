//! A CUDA kernel as a small statement tree: `kernel_builder`, `region`, `product` and `phase` build
//! it, `verify` checks it and `print` writes it.
//!
//! The tree has no pointers and no arithmetic on indices. An index is a variable with an
//! [`IndexBound`], which says what it stays below; an access names an array, a row and a column,
//! each with such an index. So the verifier can read off that an access lies inside its array.
//! Control flow consists of loops whose [`LoopRange`] says which threads take which values, so the
//! verifier can also read off which threads run a statement together.

use super::call::DeviceCall;
use crate::graph::{BinaryOp, UnaryOp};
use din_program::schedule::AxisId;

/// Index into [`KernelIr::variables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var(pub u32);

/// Index into [`KernelIr::arrays`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArrayId(pub u32);

/// What an index stays below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexBound {
    Below(u32),
    /// The tile's elements of an axis, counted from its first.
    Local(AxisId),
    /// The batch's elements of an axis.
    Whole(AxisId),
    /// The rows of a table; in an update, `None`, of the one that is updated.
    Table(Option<u32>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarType {
    F32,
    F64,
    Index(IndexBound),
}

#[derive(Clone, Debug, PartialEq)]
pub struct LocalVar {
    pub name: String,
    pub ty: VarType,
}

/// What an array holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementKind {
    F32,
    /// `u32`, each such an index; in memory an element is counted from the batch's first, and a
    /// local one from the tile's once it is loaded.
    Index(IndexBound),
}

/// How many rows it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    One,
    Local(AxisId),
    /// All elements of an axis whose tiles are others: kernels read them alone.
    Whole(AxisId),
    Table(Option<u32>),
}

/// Where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrayBinding {
    /// A device address, by its number; local arrays begin at the tile's first element.
    Address(u32),
    /// In the block's copy of the partial sums.
    Partial { offset: u32 },
    /// In shared memory, of constant size.
    Shared { offset: u32 },
    /// A tile buffer: in shared memory at `shared`, where it is there (and, if it is one of
    /// entries, the tile is not long); else in scratch, behind this many numbers a sample and an
    /// entry.
    Slot { shared: Option<u32>, scratch: (u32, u32) },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub name: String,
    pub numbers: ElementKind,
    pub rows: Rows,
    pub width: u32,
    /// Values from one row to the next.
    pub stride: u32,
    pub binding: ArrayBinding,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row {
    First,
    At(Var),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Column {
    Fixed(u32),
    /// The variable and so many columns.
    At(Var, u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element {
    pub array: ArrayId,
    pub row: Row,
    pub column: Column,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ValueExpr {
    Number(f64),
    Load(Element),
    Unary(UnaryOp, Var),
    Binary(BinaryOp, Var, Var),
    /// `x ^ n` by multiplications.
    Power(Var, i32),
    /// The second where the first is not 0, else the third.
    Select(Var, Var, Var),
    /// As the instruction of a region.
    DropoutMask {
        rate: f64,
        of: [Var; 6],
    },
    /// Sum over the lanes of the warp, the same in each.
    WarpSum(Var),
    /// An index into an axis of which each sample has as many elements under its request as it has
    /// entries: entry `row` of `sample` is the one of equal place, counted from `first`.
    Paired {
        first: Var,
        row: Var,
        sample: Var,
    },
}

/// Which values an index takes, and in which threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoopRange {
    /// Columns `0..width`, one per thread of the block, again from the first thread on.
    Columns { width: u32 },
    /// Columns `0..width`, one per thread of the grid.
    Grid { width: u32 },
    /// Columns `0..width`, one per lane of the warp.
    Lanes { width: u32 },
    /// The tile's elements of an axis: every `groups`-th from the thread's group on; see
    /// [`Stmt::Split`].
    Rows { axis: AxisId, group: Option<Var>, groups: u32 },
    /// The tile's elements, one per warp.
    Warps { axis: AxisId },
    /// The entries of a sample (or request) in order.
    Entries { axis: AxisId, sample: Var },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulation {
    Add,
    Max,
}

/// An array as a function of the prelude sees it: columns of all its rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArrayView {
    pub array: ArrayId,
    pub rows: Rows,
    pub column: u32,
    pub columns: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    Comment(String),
    /// A variable's value; set once, or again by `Accumulation`.
    Let {
        to: Var,
        value: ValueExpr,
    },
    /// `to = to + value`, or the greater.
    Accumulate {
        to: Var,
        how: Accumulation,
        value: Var,
    },
    Store {
        at: Element,
        value: Var,
    },
    /// The same on an element of an array.
    AccumulateInto {
        at: Element,
        how: Accumulation,
        value: Var,
    },
    /// `over` is set to each value of the range.
    For {
        over: Var,
        range: LoopRange,
        body: Vec<Stmt>,
    },
    /// Cuts the threads into `groups` groups of `width`, the rest being idle: `column` is the
    /// thread's place in its group, `thread` its number.
    Split {
        width: u32,
        groups: u32,
        column: Var,
        group: Var,
        thread: Var,
        body: Vec<Stmt>,
    },
    /// One thread of the block.
    Single {
        body: Vec<Stmt>,
    },
    /// The first lane of the warp.
    FirstLane {
        body: Vec<Stmt>,
    },
    /// The steps of the tile, one after the other: inside, the tile's entries are those of the
    /// step, and all threads wait for each other at its end.
    Steps {
        /// From the last step to the first.
        backward: bool,
        body: Vec<Stmt>,
    },
    /// All threads of the block wait for each other.
    Barrier,
    /// A function of the prelude that all threads of the block call together; it has barriers of
    /// its own or not.
    Call(DeviceCall),
}

/// Copies of partial sums: how they begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartialSum {
    pub offset: u32,
    pub width: u32,
    pub start: f32,
    /// Whether one call alone adds to all of it, and stores what the block's first tile has: then
    /// nothing is filled.
    pub stored: bool,
}

/// How many tiles a phase had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tiles {
    One,
    Samples {
        samples: u32,
        elements: u32,
        spread: bool,
    },
    /// The number of a word.
    Word(u32),
}

/// How the tiles of a kernel are found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Walk {
    /// There is one element; blocks share its columns.
    Once,
    /// Tiles of `samples` elements of axis `unit` (samples, rows, requests, their entries), whose
    /// number is a word; or of fewer, where they are `spread` over the chunks.
    Samples { unit: AxisId, samples: u32, elements: u32, spread: bool },
    /// Copies of partial sums are joined: those of so many tiles.
    Join { tiles: Tiles },
    /// Tiles of whole elements of `unit` (samples, requests) by the elements of `axis` under them;
    /// numbers of words and addresses.
    Sequence {
        unit: AxisId,
        axis: AxisId,
        samples: u32,
        entries: u32,
        tiles: u32,
        longest: u32,
        bounds: u32,
        offsets: u32,
    },
    /// Tiles of `samples` elements of `unit` with their entries, which `axis` numbers by step;
    /// numbers of words and addresses.
    Steps {
        unit: AxisId,
        axis: AxisId,
        samples: u32,
        elements: u32,
        longest: u32,
        offsets: u32,
        steps: u32,
        tiles: u32,
    },
}

impl Walk {
    /// What tiles are whole elements of.
    pub fn unit(&self) -> Option<AxisId> {
        match *self {
            Walk::Once | Walk::Join { .. } => None,
            Walk::Samples { unit, .. } | Walk::Sequence { unit, .. } | Walk::Steps { unit, .. } => Some(unit),
        }
    }

    /// The axis under the unit.
    pub fn under(&self) -> Option<AxisId> {
        match *self {
            Walk::Once | Walk::Join { .. } | Walk::Samples { .. } => None,
            Walk::Sequence { axis, .. } | Walk::Steps { axis, .. } => Some(axis),
        }
    }

    /// Whether a tile has elements of the axis.
    pub fn holds(&self, axis: AxisId) -> bool {
        self.unit() == Some(axis) || self.under() == Some(axis)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct KernelIr {
    pub name: String,
    /// What stands above it.
    pub comment: Vec<String>,
    pub walk: Walk,
    pub threads: u32,
    pub chunks: u32,
    /// Addresses and words of an instance.
    pub strides: (u32, u32),
    pub variables: Vec<LocalVar>,
    pub arrays: Vec<Array>,
    /// Address of the copies and the numbers of each, where there are any.
    pub copies: Option<(u32, u32)>,
    pub partials: Vec<PartialSum>,
    /// Values of scratch a sample and an entry, where some are.
    pub scratch: (u32, u32),
    /// Shared memory before the slots, and with them, in numbers.
    pub shared: u32,
    /// Whether threads wait after the partial sums began, and at the end of each tile.
    pub begin_barrier: bool,
    pub end_barrier: bool,
    pub body: Vec<Stmt>,
}

impl KernelIr {
    pub fn variable(&mut self, name: impl Into<String>, ty: VarType) -> Var {
        self.variables.push(LocalVar { name: name.into(), ty });
        Var(self.variables.len() as u32 - 1)
    }

    pub fn named(&self, var: Var) -> Option<&LocalVar> {
        self.variables.get(var.0 as usize)
    }

    /// Whether calls ask if a tile is the block's first.
    pub fn needs_first_tile(&self) -> bool {
        self.partials.iter().any(|p| p.stored)
    }

    pub fn array(&self, id: ArrayId) -> Option<&Array> {
        self.arrays.get(id.0 as usize)
    }
}
