//! The CPU executor: runs a program's schedules on the CPU.
//!
//! Guarantees:
//! - A program is checked once, when it is loaded, and every batch before it is run; neither can
//!   make the executor leave its buffers (generated code is trusted, see `crate::jit`).
//! - The same values, batch and ISA level give the same bits at any number of threads.
//! - Nothing is allocated in a step once capacities have grown to the batches' sizes.
//!
//! - `prepare`: from a checked schedule to what runs.
//! - `bound_schedule`: its memory and addresses. `memory`: blocks that grow.
//! - `tiling`: tiles and chunks.
//! - `step`, `exchange`: the parts of a step. `phase`, `calls`, `reduce`: the work.
//! - `profile`: where time goes. `roofline`: what this machine could do at most.

mod bound_schedule;
mod calls;
mod exchange;
mod memory;
mod phase;
mod prepare;
mod profile;
mod reduce;
mod roofline;
mod step;
mod tiling;

use crate::comm::Communicator;
use crate::exec::common::{
    self, CallSpan, CheckError, DenseState, Lookup, MAX_SLOTS, ProfileRow, Roofline, ScheduleRole, StepInputs, lookups,
};
use crate::exec::{Backend, ExecError, Executor};
use crate::jit::{CodeError, CodeImage, KernelFn};
use crate::kernels::{Microkernels, StridedRows};
use crate::leaves::LeafRange;
use crate::table::{Occurrences, RowReads, Table};
use crate::threads::Threads;
use bound_schedule::{BoundSchedule, RowUpdate};
use din_program::schedule::ScheduleRoot;
use din_program::{Isa, Program, TablePrecision};
use exchange::ExchangeBuffers;
use phase::ThreadScratch;
use prepare::PreparedSchedule;
use reduce::Reducer;
use std::collections::VecDeque;
use std::sync::Arc;

/// Schedules: the training schedule, the inference schedules on tables in f32 and in BF16, then the
/// updates of tables, then those of parameters; where there are any, the sums of the squares of
/// gradients follow in the same order.
const TRAIN: usize = 0;
const INFER: usize = 1;
const INFER_BF16: usize = 2;
const UPDATES: usize = 3;

/// Runs one program.
#[derive(Debug)]
pub struct CpuExecutor {
    program: Arc<Program>,
    isa: Isa,
    kernels: Microkernels,
    threads: Arc<Threads>,
    /// Keeps the code that the schedules' kernels point into.
    _image: Option<CodeImage>,
    schedules: Vec<BoundSchedule>,
    /// The inference schedule that ran last.
    inferred: usize,
    scratch: Vec<ThreadScratch>,
    /// By table.
    occurrences: Vec<Occurrences>,
    /// By table.
    lookups: Vec<Vec<Lookup>>,
    /// Row numbers of each table's lookups; empty between steps, kept for their allocations.
    reads: Vec<Vec<RowReads<'static>>>,
    /// By table: the leaves of its update.
    row_leaves: Vec<LeafRange>,
    /// The leaves of what runs, where they are all.
    leaves: LeafRange,
    /// Elements by axis in the global batch, where it has other ranks.
    global_counts: Vec<u32>,
    /// Stands for labels without data.
    zeros: Vec<f32>,
    reducer: Reducer,
    /// See [`Storage::SquaredNorms`](din_program::schedule::Storage::SquaredNorms).
    squared_norms: Vec<f32>,
    /// By table: where the terms of its row gradients are.
    gradients: Vec<Vec<Option<StridedRows>>>,
    exchange: ExchangeBuffers,
    /// Of steps whose loss was not asked for yet.
    losses: VecDeque<f32>,
}

// SAFETY: the addresses kept inside lead into memory that the executor owns, or are bound anew by
// every call before they are used.
unsafe impl Send for CpuExecutor {}

impl CpuExecutor {
    /// Loads a program: its code of the highest level up to `isa` (see [`crate::cpu::choose`]),
    /// checked schedules, and threads.
    pub fn new(program: Arc<Program>, threads: Arc<Threads>, isa: Isa) -> Result<CpuExecutor, ExecError> {
        let image = CodeImage::load(&program, isa)?;
        let kernels = image.functions();
        let mut executor = Self::build(program, threads, isa, &kernels)?;
        executor._image = Some(image);
        Ok(executor)
    }

    /// An executor whose kernels are given, one for each of the program's.
    ///
    /// # Safety
    ///
    /// Each function keeps to the buffers of every call that names it, and lives as long as the
    /// executor.
    pub unsafe fn with_kernels(
        program: Arc<Program>,
        threads: Arc<Threads>,
        isa: Isa,
        kernels: &[KernelFn],
    ) -> Result<CpuExecutor, ExecError> {
        Self::build(program, threads, isa, kernels)
    }

    fn build(
        program: Arc<Program>,
        threads: Arc<Threads>,
        isa: Isa,
        kernels: &[KernelFn],
    ) -> Result<CpuExecutor, ExecError> {
        if kernels.len() != program.kernels.len() {
            let why = format!("{} functions for {} kernels", kernels.len(), program.kernels.len());
            return Err(CodeError(why).into());
        }
        common::check_description(&program)?;
        let prepare = |schedule, name: &str, role| PreparedSchedule::new(&program, schedule, name, role, kernels);
        let mut schedules = vec![
            BoundSchedule::new(prepare(&program.train, "train", ScheduleRole::F32_STEP)?),
            BoundSchedule::new(prepare(&program.infer, "infer", ScheduleRole::F32_STEP)?),
            BoundSchedule::new(prepare(
                &program.infer_bf16,
                "infer_bf16",
                ScheduleRole::Step { tables: TablePrecision::Bf16 },
            )?),
        ];
        let update = |index: u32, of: &str, rows: bool| match program.updates.get(index as usize) {
            Some(u) if u.rows == rows && u.slots.len() <= MAX_SLOTS => Ok(u),
            _ => Err(ExecError::from(CheckError::Schedule {
                schedule: format!("update of {of}"),
                location: String::new(),
                why: format!("update {index} of {} does not serve it", program.updates.len()),
            })),
        };
        let lookups = lookups(&program);
        if let Some(t) = lookups.iter().position(|lookups| lookups.len() > usize::from(u16::MAX)) {
            let why = format!("table `{}` is read in more than {} places", program.tables[t].name, u16::MAX);
            return Err(CheckError::Input(why).into());
        }
        let of_table = |t: usize, index: u32| -> Result<BoundSchedule, ExecError> {
            let table = &program.tables[t];
            let u = update(index, &table.name, true)?;
            let name = format!("update {} of {}", u.name, table.name);
            let role = ScheduleRole::Rows { width: table.width, slots: &u.slots };
            let mut schedule = BoundSchedule::new(prepare(&u.schedule, &name, role)?);
            schedule.rows = Some(RowUpdate {
                table: t,
                width: table.width as usize,
                gradients: vec![None; lookups[t].len()],
                updates: std::ptr::null_mut(),
            });
            Ok(schedule)
        };
        let of_parameter = |k: usize, index: u32| -> Result<BoundSchedule, ExecError> {
            let name = &program.parameters[k].name;
            let u = update(index, name, false)?;
            let name = format!("update {} of {name}", u.name);
            Ok(BoundSchedule::new(prepare(&u.schedule, &name, ScheduleRole::Tensor { slots: &u.slots })?))
        };
        for (t, table) in program.tables.iter().enumerate() {
            schedules.push(of_table(t, table.update)?);
        }
        for (k, parameter) in program.parameters.iter().enumerate() {
            schedules.push(of_parameter(k, parameter.update)?);
        }
        for (number, &index) in program.squared_norms.iter().enumerate() {
            let mut schedule = match number.checked_sub(program.tables.len()) {
                None => of_table(number, index)?,
                Some(k) => of_parameter(k, index)?,
            };
            schedule.prepared.count_no_updates();
            schedules.push(schedule);
        }
        Ok(CpuExecutor {
            isa,
            kernels: Microkernels::new(isa),
            _image: None,
            scratch: (0..threads.count()).map(|_| ThreadScratch::default()).collect(),
            threads,
            schedules,
            inferred: INFER,
            occurrences: program.tables.iter().map(|_| Occurrences::new()).collect(),
            reads: lookups.iter().map(|_| Vec::new()).collect(),
            row_leaves: vec![LeafRange::default(); program.tables.len()],
            leaves: LeafRange::default(),
            global_counts: Vec::new(),
            lookups,
            zeros: Vec::new(),
            reducer: Reducer::default(),
            squared_norms: vec![0.0; program.squared_norms.len()],
            gradients: program.tables.iter().map(|_| Vec::new()).collect(),
            exchange: ExchangeBuffers::default(),
            losses: VecDeque::new(),
            program,
        })
    }

    /// Later training steps are those of one rank of a run: each runs a part of the global batch
    /// ([`crate::exec::BatchCut::Part`]) on rows that were fetched from their owners.
    pub fn set_ranks(&mut self, ranks: Arc<dyn Communicator>) {
        self.reducer = Reducer::over(ranks);
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The level asked for; the runtime's own products run at it, generated code at it or below.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Root of prediction `index` from the last [`CpuExecutor::infer`], sample by sample.
    pub fn predicted(&self, index: usize) -> &[f32] {
        self.prediction(self.inferred, index)
    }

    /// Values of prediction `index` from the last training step, before its updates; empty where
    /// the training schedule has none.
    pub fn train_predicted(&self, index: usize) -> &[f32] {
        self.prediction(TRAIN, index)
    }

    fn prediction(&self, schedule: usize, prediction: usize) -> &[f32] {
        let schedule = &self.schedules[schedule];
        let found = schedule.prepared.roots.iter().find_map(|root| match root {
            ScheduleRoot::Prediction { index, buffer } if *index as usize == prediction => Some(*buffer),
            _ => None,
        });
        found.map_or(&[], |buffer| schedule.result(buffer))
    }

    /// Values of output `index` from the last [`CpuExecutor::infer`], sample by sample.
    pub fn output(&self, output: usize) -> &[f32] {
        let schedule = &self.schedules[INFER];
        let found = schedule.prepared.roots.iter().find_map(|root| match root {
            ScheduleRoot::Output { index, buffer } if *index as usize == output => Some(*buffer),
            _ => None,
        });
        found.map_or(&[], |buffer| schedule.result(buffer))
    }

    fn loss(&self, schedule: usize) -> Option<f32> {
        let schedule = &self.schedules[schedule];
        let found = schedule.prepared.roots.iter().find_map(|root| match root {
            ScheduleRoot::Loss(buffer) => Some(*buffer),
            _ => None,
        });
        found.and_then(|buffer| schedule.result(buffer).first().copied())
    }

    /// Results of the last training step, in the schedule's order: the whole buffer of each,
    /// row-major. (A row gradient is columns of it.)
    pub fn train_results(&self) -> impl Iterator<Item = (&ScheduleRoot, &[f32])> {
        self.results(TRAIN)
    }

    /// Results of the last inference.
    pub fn infer_results(&self) -> impl Iterator<Item = (&ScheduleRoot, &[f32])> {
        self.results(self.inferred)
    }

    fn results(&self, schedule: usize) -> impl Iterator<Item = (&ScheduleRoot, &[f32])> {
        let schedule = &self.schedules[schedule];
        schedule.prepared.roots.iter().map(|root| (root, schedule.result(root.buffer())))
    }

    /// Starts (from zero) or stops measuring where time goes.
    pub fn set_profile(&mut self, on: bool) {
        for scratch in &mut self.scratch {
            scratch.clock.switch(on.then_some(self.schedules.as_slice()));
        }
    }

    /// What was measured since [`CpuExecutor::set_profile`], calls that ran, slowest first.
    pub fn profile(&self) -> Vec<ProfileRow> {
        let mut rows = profile::rows(&self.schedules);
        for scratch in &self.scratch {
            scratch.clock.collect(&mut rows);
        }
        for row in &mut rows {
            row.flops *= row.elements as f64;
            row.bytes *= row.elements as f64;
        }
        rows.retain(|row| row.calls > 0);
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        rows
    }

    /// The first calls since [`CpuExecutor::set_profile`], one by one.
    pub fn spans(&self) -> Vec<CallSpan> {
        profile::spans(&self.schedules, self.scratch.iter().map(|s| &s.clock))
    }

    /// What one core of this machine does at most while all threads work, measured now.
    pub fn roofline(&self) -> Roofline {
        roofline::measure(self.kernels, &self.threads)
    }
}

impl Executor for CpuExecutor {
    fn program(&self) -> &Arc<Program> {
        self.program()
    }
    fn backend(&self) -> Backend {
        Backend::Cpu(self.isa)
    }
    fn runs_on_host(&self) -> bool {
        true
    }
    fn join_ranks(&mut self, ranks: Arc<dyn Communicator>) -> Result<(), ExecError> {
        self.set_ranks(ranks);
        Ok(())
    }
    fn upload(&mut self, _state: &DenseState, _tables: &[Table]) -> Result<(), ExecError> {
        Ok(())
    }
    fn download(&mut self, _state: &mut DenseState, _tables: &mut [Table]) -> Result<(), ExecError> {
        Ok(())
    }
    fn submit_step(
        &mut self,
        state: &mut DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<(), ExecError> {
        let loss = self.train_step(state, tables, inputs)?;
        self.losses.push_back(loss);
        Ok(())
    }
    fn next_loss(&mut self) -> Result<Option<f32>, ExecError> {
        Ok(self.losses.pop_front())
    }
    fn infer(
        &mut self,
        state: &DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        self.infer(state, tables, inputs)
    }
    fn infer_shared(
        &mut self,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        self.infer(state, tables, inputs)
    }
    fn predicted(&self, index: usize) -> &[f32] {
        self.predicted(index)
    }

    fn output(&self, index: usize) -> &[f32] {
        self.output(index)
    }
    fn set_profile(&mut self, on: bool) -> Result<(), ExecError> {
        self.set_profile(on);
        Ok(())
    }
    fn profile(&self) -> Vec<ProfileRow> {
        self.profile()
    }
    fn spans(&self) -> Vec<CallSpan> {
        self.spans()
    }
    fn roofline(&self) -> Option<Roofline> {
        Some(self.roofline())
    }
}
