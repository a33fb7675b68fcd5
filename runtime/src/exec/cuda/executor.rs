//! The executor on a device. The model lives on the device; a step uploads its batch once and reads
//! back its loss.
//!
//! Guarantees:
//! - The order of the CPU executor's step: all gradients at the old weights, then tables, then
//!   parameters, then states.
//! - A program, its launches and every batch are checked before the device sees them.
//! - Device memory grows by a quarter more than needed and is kept: batches of varying sizes soon
//!   allocate nothing. Batches whose sizes fall into the same buckets have the same memory layout,
//!   hence the same list of commands.
//! - A step may be submitted while another one runs: the host prepares it meanwhile, and the loss
//!   arrives when it is asked for.
//! - An error before the first launch of a step changes nothing. After a later error the model on
//!   the device is lost ([`DeviceError::Lost`]) until it is uploaded again.
//!
//! The host keeps the index of a table, creates its new rows and passes the table to every step;
//! the rows on the device are newer than the host's until [`CudaExecutor::download`]. If the
//! device's memory is too small for a table (`budget`), the device has some of its rows
//! (`table_cache`) and the host's table has the others. Then a step that fails leaves the host's
//! rows at different steps, and only a checkpoint has the model.
//!
//! On one rank of several (`ranks`) all rows stay in the host's tables: a step brings those that it
//! was given with the batch, and the host updates its own.

mod profile;
mod ranks;
mod residency;
mod row_number_uses;
mod staging;
mod steps;

use super::device_model::DeviceModel;
use super::driver::{Command, DeviceError, Driver};
use super::host_times::HostTimes;
use super::memory::{BlockBases, BlockLayout, DeviceBlock, SizeBuckets};
use super::profile::DeviceProfile;
use super::step_args::UploadPlan;
use super::upload_copy::UploadCopy;
use crate::comm::Communicator;
use crate::exec::common::{self, CallSpan, CheckError, DenseState, Layout, Lookup, ProfileRow, Roofline, StepInputs};
use crate::exec::{Backend, BatchCut, ExecError, Executor};
use crate::table::Table;
use crate::threads::Threads;
use din_program::Isa;
use din_program::Program;
use din_program::cuda::Cuda;
use ranks::RankSteps;
use residency::HostTables;
use row_number_uses::{RowNumberUses, row_number_uses};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Schedules of [`Cuda`], then the updates.
const TRAIN: usize = 0;
const INFER: usize = 1;
const UPDATES: usize = 2;

impl From<CheckError> for DeviceError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Input(_) => Self::Input(error.to_string()),
            other => Self::Program(other.to_string()),
        }
    }
}

/// Runs one program on one device. See the module.
#[derive(Debug)]
pub struct CudaExecutor<D: Driver> {
    program: Arc<Program>,
    cuda: Arc<Cuda>,
    driver: D,
    /// Threads of the host, which copy what a step needs.
    threads: Arc<Threads>,
    model: DeviceModel,
    /// Of the training and the inference schedule.
    layouts: [Layout; 2],
    /// By table.
    lookups: Vec<Vec<Lookup>>,
    /// Of the training and the inference schedule, by table, by its features.
    row_number_uses: [Vec<Vec<RowNumberUses>>; 2],
    memory: StepMemory,
    losses: LossQueue,
    options: CudaOptions,
    /// On one rank of several.
    ranks: Option<RankSteps>,
    /// By prediction, of the last inference.
    predicted: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
    /// While it is measured where time goes.
    profile: Option<DeviceProfile>,
    times: HostTimes,
}

/// Device memory of a step, and what the host keeps to lay it out.
#[derive(Debug)]
struct StepMemory {
    /// What the host uploads.
    plan: UploadPlan,
    /// Double-buffered: a batch is written while the step before reads its own.
    batches: [DeviceBlock; 2],
    /// The one of the last batch.
    batch: usize,
    /// The buffers of the training or inference schedule.
    arena_layout: BlockLayout,
    arena: DeviceBlock,
    /// The buffers of the updates.
    work: DeviceBlock,
    scratch: DeviceBlock,
    /// Room for a step's list of commands.
    commands: Vec<Command<'static>>,
}

/// Losses of steps, oldest first.
#[derive(Debug, Default)]
struct LossQueue {
    /// Those that are still on their way to the host.
    in_flight: usize,
    /// Those that came and were not asked for.
    arrived: VecDeque<f32>,
}

/// Choices that change no result but for [`CudaOptions::isa`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// Into how many buckets sizes between a power of two and the next fall, for which memory is
    /// laid out alike; 0: each size has its own layout.
    pub buckets: usize,
    /// Bytes of the device's memory for tables; larger ones are there in parts. `None`: three
    /// quarters of what is unused at the first upload, so that the rest is a step's.
    pub table_memory: Option<usize>,
    /// On several ranks: the level of the code that updates rows on the host; it decides bits.
    /// `None`: the best that the CPU has.
    pub isa: Option<Isa>,
}

impl Default for CudaOptions {
    fn default() -> Self {
        CudaOptions { buckets: 8, table_memory: None, isa: None }
    }
}

impl StepMemory {
    fn new(buckets: SizeBuckets) -> StepMemory {
        StepMemory {
            plan: UploadPlan::new(buckets),
            batches: Default::default(),
            batch: 0,
            arena_layout: BlockLayout::new(buckets),
            arena: DeviceBlock::default(),
            work: DeviceBlock::default(),
            scratch: DeviceBlock::default(),
            commands: Vec::new(),
        }
    }

    fn free(&mut self, driver: &mut impl Driver) {
        for block in self.batches.iter_mut().chain([&mut self.arena, &mut self.work, &mut self.scratch]) {
            block.free(driver);
        }
    }
}

impl<D: Driver> CudaExecutor<D> {
    /// An executor for a program and its CUDA form. It has no values before
    /// [`CudaExecutor::upload`].
    pub fn new(program: Arc<Program>, cuda: Arc<Cuda>, driver: D) -> Result<CudaExecutor<D>, DeviceError> {
        Self::with(program, cuda, driver, CudaOptions::default(), Threads::caller())
    }

    /// The same with other choices, on several threads of the host.
    pub fn with(
        program: Arc<Program>,
        cuda: Arc<Cuda>,
        driver: D,
        options: CudaOptions,
        threads: Arc<Threads>,
    ) -> Result<CudaExecutor<D>, DeviceError> {
        common::check_launches(&program, &cuda)?;
        let buckets = SizeBuckets { per_doubling: options.buckets };
        Ok(CudaExecutor {
            model: DeviceModel::new(&program, options.table_memory),
            predicted: vec![Vec::new(); program.predictions.len()],
            outputs: vec![Vec::new(); program.outputs.len()],
            layouts: [&program.train, &program.infer].map(|s| Layout::new(s.axes.clone())),
            row_number_uses: [TRAIN, INFER].map(|which| row_number_uses(&program, &cuda, which)),
            lookups: common::lookups(&program),
            program,
            cuda,
            driver,
            threads,
            memory: StepMemory::new(buckets),
            losses: LossQueue::default(),
            ranks: None,
            options,
            profile: None,
            times: HostTimes::default(),
        })
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Steps done.
    pub fn step_number(&self) -> u64 {
        self.model.step
    }

    /// How long the host's work for the last training step took.
    pub fn host_times(&self) -> &HostTimes {
        &self.times
    }

    /// Makes the device's values those of the host.
    pub fn upload(&mut self, state: &DenseState, tables: &[Table]) -> Result<(), DeviceError> {
        common::check_model(&self.program, state, tables)?;
        self.model.uploaded = false;
        self.model.rows_moving = false;
        // Of steps before it.
        self.losses.arrived.clear();
        while self.losses.in_flight > 0 {
            let _ = self.finish_loss_read();
        }
        self.model.dense.upload(&mut self.driver, state)?;
        if self.ranks.is_none() && self.options.table_memory.is_none() && self.model.budget.is_none() {
            self.model.budget = self.driver.free_memory()?.map(|bytes| bytes / 4 * 3);
        }
        self.upload_tables(tables)?;
        (self.model.step, self.model.seed) = (state.step, state.seed);
        self.model.trained = false;
        self.model.uploaded = true;
        Ok(())
    }

    /// Makes the host's values those of the device; rows that the device has not seen stay as they
    /// are.
    pub fn download(&mut self, state: &mut DenseState, tables: &mut [Table]) -> Result<(), DeviceError> {
        common::check_model(&self.program, state, tables)?;
        self.check_uploaded()?;
        self.take_back(&mut HostTables::Own(tables))?;
        self.model.dense.download(&mut self.driver, state)?;
        if self.ranks.is_none() {
            for (held, table) in self.model.tables.iter().zip(tables) {
                held.download(&mut self.driver, table)?;
            }
        }
        state.step = self.model.step;
        self.model.trained = false;
        Ok(())
    }

    /// Root of prediction `index` from the last [`CudaExecutor::infer`], sample by sample.
    pub fn predicted(&self, index: usize) -> &[f32] {
        self.predicted.get(index).map_or(&[], Vec::as_slice)
    }

    /// Values of output `index` from the last [`CudaExecutor::infer`], sample by sample.
    pub fn output(&self, index: usize) -> &[f32] {
        self.outputs.get(index).map_or(&[], Vec::as_slice)
    }

    fn check_uploaded(&self) -> Result<(), DeviceError> {
        if self.model.uploaded { Ok(()) } else { Err(DeviceError::Lost) }
    }

    /// Reserves the step's memory and uploads the batch.
    fn upload_batch(
        &mut self,
        which: usize,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<BlockBases, DeviceError> {
        let (memory, driver) = (&mut self.memory, &mut self.driver);
        let bytes = memory.plan.layout.bytes;
        memory.batch = 1 - memory.batch;
        let batch = &mut memory.batches[memory.batch];
        batch.reserve(driver, bytes, "a batch")?;
        memory.arena.reserve(driver, memory.arena_layout.bytes, "the buffers of a step")?;
        let bases = BlockBases { staged: batch.at, arena: memory.arena.at, work: memory.work.at };
        let (plan, layout) = (&memory.plan, &self.layouts[which]);
        let copy = UploadCopy { plan, inputs, layout, tables: &self.model.tables, bases };
        if !copy.copy(driver.staging_buffer(bytes)?, &self.threads) {
            common::check_batch(&self.program, tables, inputs, which == TRAIN)?;
            return Err(DeviceError::Input("row index out of range".into()));
        }
        driver.upload(bases.staged, bytes)?;
        memory.plan.layout.declare(driver, bases.staged, true);
        memory.arena_layout.declare(driver, bases.arena, false);
        Ok(bases)
    }
}

impl<D: Driver + fmt::Debug> Executor for CudaExecutor<D> {
    fn program(&self) -> &Arc<Program> {
        self.program()
    }
    fn backend(&self) -> Backend {
        Backend::Cuda { architecture: self.driver.architecture(), precision: self.cuda.precision }
    }
    fn runs_on_host(&self) -> bool {
        false
    }
    fn join_ranks(&mut self, ranks: Arc<dyn Communicator>) -> Result<(), ExecError> {
        self.ranks = Some(RankSteps::new(&self.program, &self.cuda, (self.threads.clone(), self.options.isa), ranks)?);
        // The tables are the host's from now on.
        self.model.uploaded = false;
        for table in &mut self.model.tables {
            table.free(&mut self.driver);
            // What is summed here are fetched rows, by their positions.
            table.order = None;
        }
        Ok(())
    }
    fn upload(&mut self, state: &DenseState, tables: &[Table]) -> Result<(), ExecError> {
        Ok(self.upload(state, tables)?)
    }
    fn download(&mut self, state: &mut DenseState, tables: &mut [Table]) -> Result<(), ExecError> {
        Ok(self.download(state, tables)?)
    }
    fn submit_step(
        &mut self,
        state: &mut DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<(), ExecError> {
        match inputs.cut {
            BatchCut::Whole(_) | BatchCut::All(_) => self.train_ahead(tables, inputs)?,
            BatchCut::Part(_) => self.train_part(tables, inputs)?,
        }
        state.step += 1;
        Ok(())
    }
    fn next_loss(&mut self) -> Result<Option<f32>, ExecError> {
        Ok(self.next_loss()?)
    }
    fn infer(
        &mut self,
        _state: &DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        Ok(self.infer(tables, inputs)?)
    }
    fn infer_shared(
        &mut self,
        _state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        Ok(self.infer_shared(tables, inputs)?)
    }
    fn predicted(&self, index: usize) -> &[f32] {
        self.predicted(index)
    }

    fn output(&self, index: usize) -> &[f32] {
        self.output(index)
    }
    fn set_profile(&mut self, on: bool) -> Result<(), ExecError> {
        Ok(self.set_profile(on)?)
    }
    fn profile(&self) -> Vec<ProfileRow> {
        self.profile()
    }
    fn spans(&self) -> Vec<CallSpan> {
        self.spans()
    }
    fn roofline(&self) -> Option<Roofline> {
        None
    }
}

impl<D: Driver> Drop for CudaExecutor<D> {
    fn drop(&mut self) {
        self.model.free(&mut self.driver);
        self.memory.free(&mut self.driver);
        if let Some(ranks) = &mut self.ranks {
            ranks.free(&mut self.driver);
        }
    }
}
