//! CUDA C++ from schedules and regions: one source per program, and how its kernels are launched
//! (`din_program::cuda`).
//!
//! A phase of a schedule becomes one kernel. A block processes one tile after the other; the
//! buffers of a tile lie in shared memory, and the calls of the phase run in order, with a barrier
//! where one needs what another wrote. A kernel launch separates phases. There are no atomic
//! additions: a thread owns what it writes, a block owns its copy of the partial sums, and a small
//! kernel after the phase joins the copies.
//!
//! - `kernel_ir`: a kernel as statements; `call`: its calls of functions in the `*.cuh` files.
//!   `verify`: the rules that every kernel keeps. `print`, `print_call`: its text.
//! - `kernel_builder`: arrays, memory and barriers of a kernel that is being built. `region`,
//!   `product`, `absorb`, `statistic`: the calls of a schedule; `thread_tile`: how the threads of a
//!   block share a product. `phase`, `join`: from a phase to its kernels.
//! - `prelude.cuh`, `join.cuh`, `statistic.cuh`, `product.cuh`: the functions that kernels call.
//!   `rows.cuh`: the kernels that sum row gradients by row.
//!
//! Guarantees: equal schedules and options give equal text; the text needs no header; a schedule
//! made by `plan` never panics here, and one that `plan` cannot have made is an error.

mod absorb;
mod call;
mod join;
mod kernel_builder;
mod kernel_ir;
mod phase;
mod print;
mod print_call;
mod product;
mod region;
mod statistic;
mod thread_tile;
mod verify;

use super::CodegenError;
use crate::plan::Kernels;
use din_program::Program;
use din_program::cuda::{ALIGN, Cuda, Launches, PointerArg, Precision, ScalarArg, Tiling, print_rows_header};
use din_program::schedule::{
    AxisId, AxisKind, AxisTree, BATCH, BufferId, KernelArg, MAX_WIDTH, Operation, Schedule, Statistic,
};

/// What every source begins with.
pub const PRELUDE: &str = concat!(
    include_str!("prelude.cuh"),
    "\n",
    include_str!("join.cuh"),
    "\n",
    include_str!("statistic.cuh"),
    "\n",
    include_str!("product.cuh")
);
/// The kernels that ready a table's update, behind the names by which they find what they are given
/// ([`print_rows_header`]).
pub const ROWS: &str = include_str!("rows.cuh");

/// Choices of the back end. All but the precision leave results the same up to the order of sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodegenOptions {
    pub precision: Precision,
    /// Threads of a block; a multiple of 32.
    pub threads: u32,
    /// Most chunks of a phase.
    pub chunks: u32,
    /// Most samples a tile, and most requests; fewer where batches are small, and halved where
    /// shared memory is short.
    pub batch_tile: u32,
    /// Sequence entries a tile, and most samples of it.
    pub sequence_tile: u32,
    pub sequence_samples: u32,
    /// Samples, or requests, a tile of a recurrence: the rows of a step, while all lists run.
    pub recurrence_tile: u32,
    /// Rows of a table a tile.
    pub row_tile: u32,
    /// Shared memory that a block may use, in bytes.
    pub shared_limit: u32,
}

impl Default for CodegenOptions {
    fn default() -> Self {
        CodegenOptions {
            precision: Precision::F32,
            threads: 256,
            chunks: 256,
            batch_tile: 32,
            sequence_tile: 64,
            sequence_samples: 32,
            recurrence_tile: 16,
            row_tile: 64,
            shared_limit: 96 << 10,
        }
    }
}

/// What a schedule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulePurpose {
    Step,
    /// An update of rows of a table.
    Rows,
    /// An update of a tensor's elements.
    Tensor,
}

/// A schedule with what it needs to know of its program.
#[derive(Clone, Debug)]
pub struct ScheduleUnit<'a> {
    /// Part of its kernels' names; a C identifier.
    pub name: String,
    pub schedule: &'a Schedule,
    pub purpose: SchedulePurpose,
    /// Width by table.
    pub widths: &'a [u32],
    pub axes: &'a AxisTree,
    /// AxisId by feature.
    pub features: &'a [AxisId],
}

/// A source and its launches.
#[derive(Clone, Debug)]
pub struct CudaSource {
    pub source: String,
    pub launches: Cuda,
}

/// The source of a program: its training and inference schedules, then its updates.
pub fn program<'p>(
    program: &'p Program,
    kernels: &Kernels,
    options: &CodegenOptions,
) -> Result<CudaSource, CodegenError> {
    let widths: Vec<u32> = program.tables.iter().map(|t| t.width).collect();
    let axis = |f| program.train.axes.feature(f).expect("the schedule's axes are those of the schema");
    let features: Vec<AxisId> = program.schema.features.iter().map(axis).collect();
    let unit = |name: String, schedule: &'p Schedule, purpose| ScheduleUnit {
        name,
        schedule,
        purpose,
        widths: &widths,
        axes: &schedule.axes,
        features: &features,
    };
    let options = &CodegenOptions { batch_tile: batch_tile(options, program.training.batch), ..options.clone() };
    let mut units = vec![
        unit("train".into(), &program.train, SchedulePurpose::Step),
        unit("infer".into(), &program.infer, SchedulePurpose::Step),
    ];
    for (k, update) in program.updates.iter().enumerate() {
        let purpose = if update.rows { SchedulePurpose::Rows } else { SchedulePurpose::Tensor };
        units.push(unit(format!("update{k}"), &update.schedule, purpose));
    }
    source(&program.model, &units, kernels, options)
}

/// Fewest samples of a tile, if so many are allowed. A tile reads every weight that its samples are
/// multiplied by and leaves a copy of its gradient, whose bytes a smaller one has over again: with
/// eight rows for DIN's 42 k weights they take as long as the products.
const LEAST_TILE: u32 = 16;

/// Samples a tile, so that a batch has one for each chunk; a chunk may have many, but a block that
/// has none leaves its multiprocessor idle.
fn batch_tile(options: &CodegenOptions, batch: u32) -> u32 {
    let each = batch.div_ceil(options.chunks.max(1)).checked_next_multiple_of(ALIGN);
    match each {
        Some(each) => each.max(LEAST_TILE).min(options.batch_tile),
        None => options.batch_tile,
    }
}

/// The source of some schedules; `title` stands in its first line.
pub fn source(
    title: &str,
    units: &[ScheduleUnit<'_>],
    kernels: &Kernels,
    options: &CodegenOptions,
) -> Result<CudaSource, CodegenError> {
    if std::env::var_os("DIN_FORBID_CODEGEN").is_some() {
        return Err(CodegenError::Forbidden);
    }
    let threads = options.threads.is_multiple_of(32) && (32..=1024).contains(&options.threads);
    // What joins the copies of so many chunks has room in shared memory.
    if !threads || !(1..=MOST_CHUNKS).contains(&options.chunks) {
        let why = format!("blocks of {} threads, {} chunks", options.threads, options.chunks);
        return Err(CodegenError::Kernel { name: title.into(), why });
    }
    let title = title.replace(['\n', '\\'], " ");
    let precision = match options.precision {
        Precision::F32 => 0,
        Precision::Tf32 => 1,
        Precision::Bf16 => 2,
    };
    let mut text = format!(
        "// {title}: CUDA C++ by din {}. Threads of a block: {}. Products in {:?}.\n\n#define DIN_THREADS {}u\n#define DIN_PRECISION {precision}\n\n{PRELUDE}\n",
        env!("CARGO_PKG_VERSION"),
        options.threads,
        options.precision,
        options.threads,
    );
    let rows = units.iter().any(|u| u.purpose == SchedulePurpose::Rows);
    if rows {
        text.push_str(&print_rows_header());
        text.push_str(ROWS);
        text.push('\n');
    }
    let mut schedules = Vec::new();
    for unit in units {
        schedules.push(self::unit(unit, kernels, options, &mut text)?);
    }
    let launches = Cuda { precision: options.precision, threads: options.threads, chunks: options.chunks, schedules };
    Ok(CudaSource { source: text, launches })
}

fn unit(
    unit: &ScheduleUnit<'_>,
    kernels: &Kernels,
    options: &CodegenOptions,
    text: &mut String,
) -> Result<Launches, CodegenError> {
    sane(unit).map_err(|why| CodegenError::Kernel { name: unit.name.clone(), why })?;
    let mut numbering = ArgNumbering::default();
    let mut made = Vec::new();
    for (number, phase) in unit.schedule.phases.iter().enumerate() {
        let maker = phase::PhaseEmitter { unit, kernels, options, number: number as u32, phase };
        let failed = |why| CodegenError::Kernel { name: format!("din_{}_{number}", unit.name), why };
        made.extend(maker.make(&mut numbering).map_err(failed)?);
    }
    let strides = (numbering.pointers.len() as u32, numbering.scalars.len() as u32);
    let mut launches = Vec::new();
    for mut m in made {
        m.kernel.strides = strides;
        verify::verify(&m.kernel).map_err(|why| CodegenError::Kernel { name: m.kernel.name.clone(), why })?;
        text.push_str(&print::print(&m.kernel));
        launches.push(m.launch);
    }
    Ok(Launches {
        name: unit.name.clone(),
        pointers: numbering.pointers,
        scalars: numbering.scalars,
        tilings: numbering.tilings,
        partial_floats: numbering.partial_floats,
        launches,
    })
}

/// Most chunks: three numbers for every eighth of them and each of 32 columns are 48 KiB.
const MOST_CHUNKS: u32 = 1 << 10;

// Joining a statistic takes no more than three.
const _: () = {
    let mut k = 0;
    while k < Statistic::ALL.len() {
        assert!(statistic::planes(Statistic::ALL[k]) <= 3);
        k += 1;
    }
};

// Index arithmetic stays within 32 bits.
const _: () = assert!(MAX_WIDTH <= 1 << 26);

/// Refuses schedules whose axes or sizes no other check foresees.
fn sane(unit: &ScheduleUnit<'_>) -> Result<(), String> {
    let schedule = unit.schedule;
    schedule.axes.check()?;
    for (id, axis) in schedule.axes.iter() {
        let owner = schedule.axes.parent(id);
        let supported = match axis.kind {
            AxisKind::Sequence { parent, .. } => owner == Some(BATCH) || Some(parent) == schedule.axes.request(),
            AxisKind::Second { of } => of == BATCH || owner == Some(BATCH),
            AxisKind::Steps { .. } => owner == Some(BATCH) || owner == schedule.axes.request(),
            AxisKind::Pairs { .. } => true,
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Fixed { .. }
            | AxisKind::Unique(_) => true,
        };
        if !supported {
            return Err(format!("axis `{}`: lists in lists do not run on a GPU yet", axis.name));
        }
    }
    let known = |d: AxisId| d.index() < schedule.axes.count();
    for b in &schedule.buffers {
        if b.width == 0 || b.width > MAX_WIDTH || !known(b.axis) {
            return Err(format!("a buffer of width {} over axis {}", b.width, b.axis.0));
        }
    }
    for phase in &schedule.phases {
        for call in &phase.calls {
            if let Operation::Kernel { args, .. } = &call.op
                && let Some(arg) = args.iter().find(|arg| !arg.axes().all(known))
            {
                return Err(format!("argument {arg:?} at {}", call.location));
            }
            let (rows, columns, stride) = match call.op {
                Operation::Kernel { .. } | Operation::Fill { .. } => (1, 1, 1),
                Operation::MatMul { k, n, w_stride, .. } | Operation::Transpose { k, n, w_stride, .. } => {
                    (k, n, w_stride)
                }
                Operation::AbsorbedMatMul { e, n, .. } | Operation::AbsorbedOuter { e, n, .. } => (e, n, 1),
                Operation::Outer { k, n, .. } => (k, n, 1),
                Operation::Statistic { width, .. }
                | Operation::SegmentReduce { width, .. }
                | Operation::Carry { width, .. } => (1, width, 1),
                Operation::Unflatten { size, width, .. } | Operation::Flatten { size, width, .. } => (size, width, 1),
            };
            let size = u64::from(rows) * u64::from(columns);
            if size == 0 || size > u64::from(MAX_WIDTH) || stride > MAX_WIDTH || !known(call.axis) || !known(phase.axis)
            {
                return Err(format!("a call of {rows} x {columns} over axis {} at {}", call.axis.0, call.location));
            }
        }
    }
    Ok(())
}

/// The numbers of a schedule's addresses, words and tilings, given out as they are asked for.
#[derive(Debug, Default)]
struct ArgNumbering {
    pointers: Vec<PointerArg>,
    scalars: Vec<ScalarArg>,
    tilings: Vec<Tiling>,
    partial_floats: u32,
}

fn number<T: PartialEq>(all: &mut Vec<T>, one: T) -> u32 {
    let at = all.iter().position(|other| *other == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    });
    at as u32
}

impl ArgNumbering {
    fn pointer(&mut self, pointer: PointerArg) -> u32 {
        number(&mut self.pointers, pointer)
    }

    fn buffer(&mut self, id: BufferId) -> u32 {
        self.pointer(PointerArg::Buffer(id))
    }

    fn source(&mut self, source: KernelArg) -> u32 {
        self.pointer(PointerArg::Argument(source))
    }

    fn scalar(&mut self, scalar: ScalarArg) -> u32 {
        number(&mut self.scalars, scalar)
    }

    fn tiling(&mut self, tiling: Tiling) -> u32 {
        number(&mut self.tilings, tiling)
    }
}
