//! The flat schedule of a step: phases of calls over tiles, with every buffer planned.
//!
//! # How it runs
//!
//! What axes there are is in [`crate::axes`]. Elements of a sequence are grouped by the element
//! that owns them: those of sample `s` are `offsets[s]..offsets[s + 1]`.
//!
//! A [`Phase`] walks an axis in **tiles**. For `batch` a tile is up to `tile_rows` samples; for a
//! sequence it is consecutive whole samples whose entries together reach `tile_rows` (so one sample
//! never crosses a tile, and a tile has one sample at least); for requests and their entries the
//! same with requests instead of samples; for the global axis there is one tile. A tile lies in one
//! **leaf** of the batch: the consecutive samples, or whole requests, into which the batch is cut
//! once. Consecutive tiles of a leaf form one **chunk**, or several where there are few leaves. All
//! depend on the data alone. Chunks run in parallel in any order, the tiles of a chunk one after
//! the other, the calls of a tile in order. A call over axis `D` treats the elements of `D` that
//! lie in the tile.
//!
//! A [`Storage::Partial`] buffer has one copy per chunk, zeroed (or set to its identity) before the
//! chunk's first tile; after the phase the copies are combined pairwise, first those of a leaf,
//! then by a tree over leaf numbers, into the buffer `into`. So no result depends on threads or
//! ranks.
//!
//! # Calling a kernel
//!
//! `extern "C" fn(args: *const *mut u8, begin: u64, end: u64)`: elements `begin..end` of the call's
//! axis, absolute. Each argument is a base address such that element `i` of the argument's axis
//! stands at `base + i * stride`; for tile buffers the base is moved back by the tile's first
//! element. Strides, columns and widths are compiled into the kernel.
//!
//! # Recurrences
//!
//! A tile of a phase over the steps of a sequence ([`AxisKind::Steps`]) is a whole leaf. The calls
//! of a [`StepLoop`] run for the elements of one step after the other.

mod operation;
mod statistic;

pub use crate::axes::{AxisId, AxisKind, AxisTree, BATCH, GLOBAL, MAX_KEYS};
pub use operation::{AbsorbedWeight, AccessKind, BufferUse, Extent, MathFunction, Operation, SegmentReduction, Work};
pub use statistic::{Statistic, StatisticDescription};

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u32);
        impl $name {
            /// As an index of a slice.
            pub fn index(self) -> usize { self.0 as usize }
        }
    )* };
}
id! {
    /// Index into [`Schedule::buffers`].
    BufferId,
    /// Index into [`Schedule::slots`].
    SlotId,
    /// Index into `Program::kernels`.
    KernelId
}

/// Most numbers of one element of a buffer: those of a weight, or of its gradient, are one
/// element's.
pub const MAX_WIDTH: u32 = 1 << 26;

/// What a step does, with every buffer planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The axes of its buffers and calls.
    pub axes: AxisTree,
    /// Calls name them by index.
    pub buffers: Vec<Buffer>,
    /// Arena storage; buffers with disjoint lifetimes share a slot.
    pub slots: Vec<Slot>,
    /// Scratch of one thread, in f32 numbers for each element of the tile's own axis; see
    /// [`Storage::Tile`].
    pub tile_slots: Vec<Slot>,
    /// One after the other.
    pub phases: Vec<Phase>,
    /// The results.
    pub roots: Vec<ScheduleRoot>,
}

/// `elements(axis) x width` f32 numbers, 64-byte aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The axis whose elements it has room for.
    pub axis: AxisId,
    /// Floats per element.
    pub width: u32,
}

/// An array of f32: one row of `width` numbers for each element of `axis`, rows contiguous.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// The axis that it has a row per element of.
    pub axis: AxisId,
    /// Floats per row, at most [`MAX_WIDTH`].
    pub width: u32,
    /// Where its rows lie.
    pub place: Storage,
}

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Storage {
    /// The step's arena.
    Arena(SlotId),
    /// A thread's scratch, for the elements of the current tile; index into
    /// [`Schedule::tile_slots`].
    Tile(SlotId),
    /// One copy per chunk; global axis.
    Partial,
    /// Dense parameter.
    Param(u32),
    /// State, as at the start of the step.
    State(u32),
    /// Numeric feature of the schema.
    Dense(u32),
    /// Label of the schema; 0 where it is missing.
    Label(u32),
    /// 1 where the label is present, else 0.
    Present(u32),
    /// Entries of the sequence axis under each sample, as f32.
    Length(AxisId),
    /// Place of each entry of the sequence axis in its list, from 0, as f32.
    Position(AxisId),
    /// Place of each sample in the global batch, from 0, as f32; of each request, that of its first
    /// sample. On the axis of one or the other.
    SampleNumber(AxisId),
    /// So many numbers, 0, 1, 2 and so on, as f32; global.
    Components(u32),
    /// Key of the random numbers of a dropout at this step: two `u32`, as bits; global. See
    /// [`crate::dropout`].
    DropoutKey(u32),
    /// Elements of the axis in the global batch, as f32; global.
    Count(AxisId),
    /// Number of this step, from 1, as f32; global.
    Step,
    /// Number of the epoch that the step belongs to, from 1, as f32; global.
    Epoch,
    /// Update programs of a model that limits gradients by the norm of all of them: the sum of the
    /// squares of the gradient of each table, then of each parameter, 0 where there is none;
    /// global.
    SquaredNorms,
    /// Update programs: the weights themselves, updated in place. For tables, addressed by row
    /// number (see [`KernelArg::RowIndex`]).
    Weight,
    /// Update programs: summed gradient of the rows, in the order of the row index; or of the
    /// tensor.
    Gradient,
    /// Update programs of tables: 1 where the batch has the row, else 0, in the order of the row
    /// index.
    InBatch,
    /// Update programs: optimizer state, addressed as the weights.
    UpdateSlot(u32),
    /// Update programs: per table row, addressed by row number, as f32.
    Frequency,
    /// Update programs: per table row, addressed by row number, as f32; already incremented for
    /// this step.
    UpdateCount,
}

/// What a kernel argument points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KernelArg {
    /// The first row of a buffer.
    Buffer(BufferId),
    /// `u32` for each element of `of`: the element of `to` above it. See [`AxisTree::is_indexed`].
    Ancestor {
        /// Axis of the elements.
        of: AxisId,
        /// Axis of their ancestors.
        to: AxisId,
    },
    /// `u32` for each element of the feature's axis: the row number of its id in the table.
    Rows {
        /// Index into `Program::tables`.
        table: u32,
        /// Index into `Schema::features`.
        feature: u32,
    },
    /// `u32` for each element of a unique axis: its row number by key `key`.
    UniqueRows {
        /// The unique axis.
        axis: AxisId,
        /// Index into `UniqueKeys::keys`.
        key: u32,
    },
    /// Weights of a table, by row number; row stride is the table's width.
    Table(u32),
    /// Update programs over a table: `u32` row number of each touched row.
    RowIndex,
    /// Address of a function of the runtime; see [`MathFunction`].
    Function(MathFunction),
}

impl KernelArg {
    /// The buffer that it points at.
    pub fn buffer(self) -> Option<BufferId> {
        if let KernelArg::Buffer(id) = self { Some(id) } else { None }
    }

    /// The function that it points at.
    pub fn function(self) -> Option<MathFunction> {
        if let KernelArg::Function(function) = self { Some(function) } else { None }
    }

    /// The axes that it names itself.
    pub fn axes(self) -> impl Iterator<Item = AxisId> {
        let (of, to) = match self {
            KernelArg::Ancestor { of, to } => (Some(of), Some(to)),
            KernelArg::UniqueRows { axis, .. } => (Some(axis), None),
            KernelArg::Buffer(_)
            | KernelArg::Rows { .. }
            | KernelArg::Table(_)
            | KernelArg::RowIndex
            | KernelArg::Function(_) => (None, None),
        };
        of.into_iter().chain(to)
    }
}

/// Columns `column..` of a buffer's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The buffer.
    pub buffer: BufferId,
    /// The first column, from 0.
    pub column: u32,
}

/// One operation over the elements of an axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Whose elements are treated.
    pub axis: AxisId,
    /// What is done.
    pub op: Operation,
    /// `file:line:column` of what asked for it, for profiles and errors.
    pub location: String,
}

/// How two copies of a partial sum become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Combine {
    /// Identity 0.
    Sum,
    /// Identity -inf.
    Max,
    /// As the statistic says; `into` receives its results.
    Statistic(Statistic),
}

impl Combine {
    /// What each float of a copy is before anything is joined to it.
    pub fn start(self) -> f32 {
        match self {
            Combine::Sum => 0.0,
            Combine::Max => f32::NEG_INFINITY,
            Combine::Statistic(statistic) => statistic.description().start,
        }
    }

    /// Floats of the result of partials of so many; `None` where no partial has so many.
    pub fn result_width(self, partial_width: u32) -> Option<u32> {
        match self {
            Combine::Sum | Combine::Max => Some(partial_width),
            Combine::Statistic(statistic) => {
                statistic.components(partial_width).map(|width| statistic.result_width(width))
            }
        }
    }
}

/// Joins the chunks' copies of `partial` into `into` after the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reduction {
    /// A buffer of [`Storage::Partial`].
    pub partial: BufferId,
    /// What receives the result: an arena buffer on the global axis.
    pub into: BufferId,
    /// How copies are joined.
    pub combine: Combine,
}

/// Calls over the steps of a sequence ([`AxisKind::Steps`]) that run for the entries of one step
/// after the other: all calls for the first step, then all for the second one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLoop {
    /// Indices into [`Phase::calls`]; not empty.
    pub calls: std::ops::Range<u32>,
    /// From the last step to the first.
    pub backward: bool,
}

/// Calls between two reductions over all samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// The axis that its tiles are cut from.
    pub axis: AxisId,
    /// Elements that a tile has at most, or reaches; see the module.
    pub tile_rows: u32,
    /// In order, for each tile.
    pub calls: Vec<Call>,
    /// Consecutive calls that run step by step; ascending, without overlap.
    pub recurrences: Vec<StepLoop>,
    /// What follows once all chunks are done.
    pub reductions: Vec<Reduction>,
}

impl Phase {
    /// A phase that does nothing yet.
    pub fn new(axis: AxisId, tile_rows: u32) -> Phase {
        Phase { axis, tile_rows, calls: Vec::new(), recurrences: Vec::new(), reductions: Vec::new() }
    }
}

/// A result that outlives the schedule; always an arena buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ScheduleRoot {
    /// Mean loss of the batch: one float.
    Loss(BufferId),
    /// Root of prediction `index`, as its distribution has it.
    Prediction {
        /// Index into `Program::predictions`.
        index: u32,
        /// One float per sample.
        buffer: BufferId,
    },
    /// The values of output `index`.
    Output {
        /// Index into `Program::outputs`.
        index: u32,
        /// As many floats per sample as the output is wide.
        buffer: BufferId,
    },
    /// A value that a test asks for by name.
    Named {
        /// The name.
        name: String,
        /// Its values.
        buffer: BufferId,
    },
    /// New value of a state.
    State {
        /// Index into `Program::states`.
        state: u32,
        /// As wide as the state.
        buffer: BufferId,
    },
    /// Gradient of a dense parameter, summed over the batch.
    ParamGradient {
        /// Index into `Program::parameters`.
        param: u32,
        /// As wide as the parameter.
        buffer: BufferId,
    },
    /// One row for each element of the feature's axis, or of a group over it with the feature in a
    /// key (there may be one of each): as many columns of the view as the table is wide.
    RowGradient {
        /// Index into `Program::tables`.
        table: u32,
        /// Index into `Schema::features`.
        feature: u32,
        /// The first of the columns that hold the gradient.
        view: View,
    },
}

impl ScheduleRoot {
    /// The buffer that holds the result.
    pub fn buffer(&self) -> BufferId {
        match self {
            ScheduleRoot::Loss(buffer)
            | ScheduleRoot::Prediction { buffer, .. }
            | ScheduleRoot::Output { buffer, .. }
            | ScheduleRoot::Named { buffer, .. }
            | ScheduleRoot::State { buffer, .. }
            | ScheduleRoot::ParamGradient { buffer, .. } => *buffer,
            ScheduleRoot::RowGradient { view, .. } => view.buffer,
        }
    }
}
