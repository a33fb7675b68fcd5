//! The engine on a device: a model's values live there, a step writes its batch once and reads its loss.
//!
//! Guarantees:
//! - The order of the CPU engine's step: all gradients at the old weights, then tables, then parameters, then states.
//! - A program, its launches and every batch are checked before the device sees them.
//! - Device memory grows by a quarter more than asked and stays: batches of varying sizes soon allocate nothing. Batches whose sizes fall into
//!   the same buckets have the same layout, hence the same list of commands.
//! - A step may be asked for while another runs: the host writes what it needs behind it, and the loss comes when it is asked for.
//! - An error before the first launch of a step changes nothing; after a later one the values are lost ([`DeviceError::Lost`]) until they
//!   are uploaded again.
//!
//! The host keeps the index of a table, makes its new rows and passes the table to every step; the rows that the device has are its own until
//! [`CudaExecutor::download`]. Where the device's memory is too small for a table (`budget`), it has some rows of it (`cache`), and the host's table has
//! the others: then a step that fails leaves the host's rows at different steps, and only a checkpoint has the model.

mod profile;
mod residency;
mod row_number_uses;
mod steps;

use super::device_model::{DenseValues, DeviceTable};
use super::driver::{Command, DeviceError, Driver};
use super::host_times::{HostPart, HostTimes};
use super::memory::{BlockBases, BlockLayout, DeviceBlock, NULL, RelativePtr, SizeBuckets};
use super::profile::DeviceProfile;
use super::step_args::{InstanceArgs, Instances, StagedSchedule, UploadPlan};
use super::table_updates::{FeatureRows, TableLookups, TableUpdates, UpdateInputs};
use super::upload_copy::{ArraySource, UploadCopy};
use crate::exec::common::{self, CallSpan, CheckError, DenseState, Layout, Lookup, ProfileRow, Roofline, StepInputs};
use crate::exec::{Backend, ExecError, Executor};
use crate::table::Table;
use crate::threads::Threads;
use din_program::Program;
use din_program::cuda::Cuda;
use din_program::schedule::{KernelArg, Root, Schedule, Storage};
use din_program::schema::FeatureKind;
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
    /// They write what a step needs.
    threads: Arc<Threads>,
    values: DenseValues,
    tables: Vec<DeviceTable>,
    /// Of the training and the inference schedule.
    layouts: [Layout; 2],
    /// By table.
    readers: Vec<Vec<Lookup>>,
    /// Of the training and the inference schedule, by table, by its features.
    row_number_uses: [Vec<Vec<RowNumberUses>>; 2],
    stage: UploadPlan,
    /// By turns: a batch is written while the step before reads its own.
    staged: [DeviceBlock; 2],
    turn: usize,
    space: BlockLayout,
    arena: DeviceBlock,
    work: DeviceBlock,
    scratch: DeviceBlock,
    /// The memory of a step's list.
    list: Vec<Command<'static>>,
    options: CudaOptions,
    /// Bytes for tables, once it is known that there is a limit.
    budget: Option<usize>,
    /// Losses that are on their way, those that came and were not asked for, and whether rows of tables are on their way back to the host.
    pending_losses: usize,
    losses: VecDeque<f32>,
    moving: bool,
    /// Steps done.
    step: u64,
    /// Whether the values are on the device.
    uploaded: bool,
    /// By prediction, of the last inference.
    logits: Vec<Vec<f32>>,
    /// While it is measured where time goes.
    profile: Option<DeviceProfile>,
    times: HostTimes,
}

/// Choices that change no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaOptions {
    /// Into how many buckets sizes between a power of two and the next fall, for which memory is laid out alike; 0: each size has its own layout.
    pub buckets: usize,
    /// Bytes of the device's memory for tables; larger ones are there in parts. `None`: three quarters of what is unused at the first upload, so
    /// that the rest is a step's.
    pub memory: Option<usize>,
}

impl Default for CudaOptions {
    fn default() -> Self {
        CudaOptions { buckets: 8, memory: None }
    }
}

/// All parameters with one update.
struct TensorUpdate {
    update: usize,
    /// Where its buffers are in the memory of updates.
    at: usize,
    space: BlockLayout,
    ready: StagedSchedule,
}

impl<D: Driver> CudaExecutor<D> {
    /// An engine for a program and its CUDA form. It has no values before [`CudaExecutor::upload`].
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
            tables: program.tables.iter().map(|_| DeviceTable::default()).collect(),
            logits: vec![Vec::new(); program.predictions.len()],
            layouts: [&program.train, &program.infer].map(|s| Layout::new(s.axes.clone())),
            row_number_uses: [TRAIN, INFER].map(|which| row_number_uses(&program, &cuda, which)),
            readers: common::lookups(&program),
            program,
            cuda,
            driver,
            threads,
            values: DenseValues::default(),
            stage: UploadPlan::new(buckets),
            staged: Default::default(),
            turn: 0,
            space: BlockLayout::new(buckets),
            arena: DeviceBlock::default(),
            work: DeviceBlock::default(),
            scratch: DeviceBlock::default(),
            list: Vec::new(),
            budget: options.memory,
            options,
            pending_losses: 0,
            losses: VecDeque::new(),
            moving: false,
            step: 0,
            uploaded: false,
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
        self.step
    }

    /// How long the host's work for the last training step took.
    pub fn host_times(&self) -> &HostTimes {
        &self.times
    }

    /// Makes the device's values those of the host.
    pub fn upload(&mut self, state: &DenseState, tables: &[Table]) -> Result<(), DeviceError> {
        common::check_model(&self.program, state, tables)?;
        self.uploaded = false;
        self.moving = false;
        // Of steps before it.
        self.losses.clear();
        while self.pending_losses > 0 {
            let _ = self.finish_loss_read();
        }
        self.values.upload(&mut self.driver, state)?;
        if self.options.memory.is_none() && self.budget.is_none() {
            self.budget = self.driver.free_memory()?.map(|bytes| bytes / 4 * 3);
        }
        self.upload_tables(tables)?;
        self.step = state.step;
        self.uploaded = true;
        Ok(())
    }

    /// Makes the host's values those of the device; rows that the device has not seen stay as they are.
    pub fn download(&mut self, state: &mut DenseState, tables: &mut [Table]) -> Result<(), DeviceError> {
        common::check_model(&self.program, state, tables)?;
        self.check_uploaded()?;
        self.take_back(tables)?;
        self.values.download(&mut self.driver, state)?;
        for (held, table) in self.tables.iter().zip(tables) {
            held.download(&mut self.driver, table)?;
        }
        state.step = self.step;
        Ok(())
    }

    /// Logits of prediction `index` from the last [`CudaExecutor::infer`], one a sample.
    pub fn logits(&self, index: usize) -> &[f32] {
        self.logits.get(index).map_or(&[], Vec::as_slice)
    }

    fn check_uploaded(&self) -> Result<(), DeviceError> {
        if self.uploaded { Ok(()) } else { Err(DeviceError::Lost) }
    }

    /// Gives the step's blocks their memory and writes what is staged.
    fn write(&mut self, which: usize, tables: &[Table], inputs: &StepInputs<'_>) -> Result<BlockBases, DeviceError> {
        let bytes = self.stage.space.bytes;
        self.turn = 1 - self.turn;
        let staged = &mut self.staged[self.turn];
        staged.reserve(&mut self.driver, bytes, "a batch")?;
        self.arena.reserve(&mut self.driver, self.space.bytes, "the buffers of a step")?;
        let bases = BlockBases { staged: staged.at, arena: self.arena.at, work: self.work.at };
        let (stage, layout) = (&self.stage, &self.layouts[which]);
        let contents = UploadCopy { stage, inputs, layout, tables: &self.tables, bases };
        if !contents.copy(self.driver.staging_buffer(bytes)?, &self.threads) {
            common::check_batch(&self.program, tables, inputs, which == TRAIN)?;
            return Err(DeviceError::Input("the batch names rows that are not there".into()));
        }
        self.driver.upload(bases.staged, bytes)?;
        self.stage.space.tell(&mut self.driver, bases.staged, true);
        self.space.tell(&mut self.driver, bases.arena, false);
        Ok(bases)
    }

    /// Stages a batch and the training or inference schedule; gives the places of its arena slots, and of the row numbers by table and feature.
    fn stage_step(
        &mut self,
        which: usize,
        inputs: &StepInputs<'_>,
    ) -> Result<(StagedSchedule, Vec<RelativePtr>, RowsAt), DeviceError> {
        let program = self.program.clone();
        let schedule = if which == TRAIN { &program.train } else { &program.infer };
        let numbers = |table: u32, feature: u32| -> &[u32] {
            let served = program.tables[table as usize].features.iter().position(|f| *f == feature);
            served.map_or(&[], |at| &inputs.row_numbers[table as usize][at])
        };
        self.layouts[which].set(inputs.rows, inputs.requests, inputs.offsets);
        self.layouts[which].join(&numbers);
        self.times.done(HostPart::Layout);
        let layout = &self.layouts[which];
        let stage = &mut self.stage;
        stage.clear();
        self.space.clear();
        // Row numbers, and the places of the rows where a table is there in parts.
        let cached = |table: usize| self.tables[table].cache.is_some();
        let column = |stage: &mut UploadPlan, table: usize, count: usize, numbers: ArraySource, places: ArraySource| {
            let there = if cached(table) { stage.column(count, places, "places of rows")? } else { NULL };
            let asked = which == TRAIN || !cached(table);
            Ok::<_, DeviceError>((if asked { stage.column(count, numbers, "row numbers")? } else { NULL }, there))
        };
        let mut rows: Columns = Vec::with_capacity(inputs.row_numbers.len());
        for (table, features) in inputs.row_numbers.iter().enumerate() {
            let of = |(feature, r): (usize, &Vec<u32>)| match self.row_number_uses[which][table][feature].numbers {
                true => {
                    let (numbers, places) =
                        (ArraySource::Rows { table, feature }, ArraySource::Places { table, feature });
                    column(stage, table, r.len(), numbers, places)
                }
                false => Ok((NULL, NULL)),
            };
            rows.push(features.iter().enumerate().map(of).collect::<Result<_, _>>()?);
        }
        let mut of_uniques: Columns = vec![Vec::new(); schedule.axes.count()];
        for (axis, keys) in schedule.axes.uniques() {
            let count = layout.count(axis);
            let of = |(key, &(table, _)): (usize, &(u32, u32))| {
                let table = table as usize;
                let (numbers, places) =
                    (ArraySource::UniqueRows { table, axis, key }, ArraySource::UniquePlaces { table, axis, key });
                column(stage, table, count, numbers, places)
            };
            of_uniques[axis.index()] = keys.keys.iter().enumerate().map(of).collect::<Result<_, _>>()?;
        }
        let mut zeros = None;
        let mut column = |stage: &mut UploadPlan, values: &[f32], numbers: ArraySource, what| match (values, zeros) {
            ([], Some(at)) => Ok(at),
            ([], None) if inputs.rows > 0 => {
                let at = stage.column(inputs.rows, ArraySource::Zeros, "zeros")?;
                zeros = Some(at);
                Ok(at)
            }
            (values, _) => stage.column(values.len(), numbers, what),
        };
        let (mut labels, mut present, mut dense) = (Vec::new(), Vec::new(), Vec::new());
        for (k, values) in inputs.labels.iter().enumerate() {
            labels.push(column(stage, values, ArraySource::Label(k), "labels")?);
        }
        for (k, values) in inputs.present.iter().enumerate() {
            present.push(column(stage, values, ArraySource::Present(k), "presence of labels")?);
        }
        for (k, (values, feature)) in inputs.dense.iter().zip(&program.schema.features).enumerate() {
            let width = if let FeatureKind::Dense { width } = feature.kind { width.max(1) as usize } else { 1 };
            let room = self.space.buckets.room(values.len() / width) * width;
            dense.push(stage.column_within(values.len(), room, ArraySource::Dense(k), "numbers of a feature")?);
        }
        let (values, tables) = (&self.values, &self.tables);
        let of = |all: &[RelativePtr], k: u32| all.get(k as usize).copied().unwrap_or(NULL);
        let place = |place: Storage| match place {
            Storage::Param(k) => values.param(k as usize),
            Storage::State(k) => RelativePtr::Fixed(values.state(k as usize)),
            Storage::Dense(k) => of(&dense, k),
            Storage::Label(k) => of(&labels, k),
            Storage::Present(k) => of(&present, k),
            _ => NULL,
        };
        let placed = |(numbers, places): (RelativePtr, RelativePtr)| if places == NULL { numbers } else { places };
        let source = |source: KernelArg| match source {
            KernelArg::Rows { table, feature } => {
                let served = program.tables[table as usize].features.iter().position(|f| *f == feature);
                served.map_or(NULL, |at| placed(rows[table as usize][at]))
            }
            KernelArg::UniqueRows { axis, key } => placed(of_uniques[axis.index()][key as usize]),
            KernelArg::Table(t) => RelativePtr::Fixed(tables[t as usize].weights.at),
            _ => NULL,
        };
        let given = InstanceArgs {
            samples: inputs.rows,
            room: self.space.buckets.room(inputs.rows),
            layout: Some(layout),
            step: self.step + 1,
            home: &RelativePtr::Arena,
            place: &place,
            source: &source,
        };
        let mut instances = Instances::default();
        let parts = (&*self.cuda, &self.cuda.schedules[which], schedule);
        let slots = instances.add(stage, &mut self.space, parts, &given)?;
        Ok((instances.ready(stage)?, slots, (rows, of_uniques)))
    }

    fn stage_tables(
        &mut self,
        inputs: &StepInputs<'_>,
        slots: &[RelativePtr],
        (rows, of_uniques): &RowsAt,
    ) -> Result<TableUpdates, DeviceError> {
        let program = self.program.clone();
        let train = &program.train;
        let feature = |t: usize, reader: &Lookup| {
            let ((rows, places), elements) = match reader.unique {
                None => (rows[t][reader.feature], inputs.row_numbers[t][reader.feature].len()),
                Some((axis, key)) => (of_uniques[axis.index()][key as usize], self.layouts[TRAIN].count(axis)),
            };
            let (gradient, stride) = reader.view.map_or((NULL, 0), |view| {
                let at = slot_of(train, view.buffer, slots).plus(view.column as usize * 4);
                (at, train.buffers[view.buffer.index()].width)
            });
            FeatureRows { rows, places, elements, gradient, stride }
        };
        let wanted: Vec<TableLookups<'_>> = program
            .tables
            .iter()
            .enumerate()
            .map(|(table, spec)| TableLookups {
                table,
                spec,
                held: &self.tables[table],
                features: self.readers[table].iter().map(|reader| feature(table, reader)).collect(),
            })
            .collect();
        let made = UpdateInputs {
            cuda: &self.cuda,
            updates: &program.updates,
            launches: &|update| &self.cuda.schedules[UPDATES + update],
            step: self.step + 1,
        };
        TableUpdates::new(&mut self.stage, &made, &wanted)
    }

    /// Their buffers lie behind `work` bytes, those of the tables' updates.
    fn stage_params(&mut self, slots: &[RelativePtr], mut work: usize) -> Result<Vec<TensorUpdate>, DeviceError> {
        let program = self.program.clone();
        let mut updates = Vec::new();
        for (number, update) in program.updates.iter().enumerate().filter(|(_, u)| !u.rows) {
            let mut instances = Instances::default();
            let mut space = BlockLayout::default();
            let home = |at: usize| RelativePtr::Work(work + at);
            let mut any = false;
            for (k, parameter) in program.parameters.iter().enumerate() {
                let gradient = program.train.roots.iter().find_map(|root| match root {
                    Root::ParamGradient { param, buffer } if *param as usize == k => Some(*buffer),
                    _ => None,
                });
                let Some(gradient) = gradient.filter(|_| parameter.update as usize == number) else { continue };
                let gradient = slot_of(&program.train, gradient, slots);
                let place = |place: Storage| match place {
                    Storage::Weight => self.values.param(k),
                    Storage::Gradient => gradient,
                    Storage::UpdateSlot(slot) => self.values.slot(k, slot as usize),
                    _ => NULL,
                };
                let given = InstanceArgs {
                    samples: parameter.width(),
                    room: parameter.width(),
                    layout: None,
                    step: self.step + 1,
                    home: &home,
                    place: &place,
                    source: &|_| NULL,
                };
                let parts = (&*self.cuda, &self.cuda.schedules[UPDATES + number], &update.schedule);
                instances.add(&mut self.stage, &mut space, parts, &given)?;
                any = true;
            }
            if any {
                let (at, bytes) = (work, space.bytes);
                updates.push(TensorUpdate { update: number, at, space, ready: instances.ready(&mut self.stage)? });
                work += bytes;
            }
        }
        Ok(updates)
    }
}

/// By table, by its features, or by group, by its keys: row numbers, and where the rows are if that is elsewhere.
type Columns = Vec<Vec<(RelativePtr, RelativePtr)>>;

/// By table, and by group.
type RowsAt = (Columns, Columns);

/// Where a result is; results are in the arena.
fn slot_of(schedule: &Schedule, id: din_program::schedule::BufferId, slots: &[RelativePtr]) -> RelativePtr {
    match schedule.buffers.get(id.index()).map(|b| b.place) {
        Some(Storage::Arena(slot)) => slots.get(slot.index()).copied().unwrap_or(NULL),
        _ => NULL,
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
        self.train_ahead(tables, inputs)?;
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
        _tables: &[Table],
        _inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        let why = "a GPU exchanges rows with the tables in the host's memory: it needs a model of its own";
        Err(DeviceError::Input(why.into()).into())
    }
    fn logits(&self, index: usize) -> &[f32] {
        self.logits(index)
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
        let driver = &mut self.driver;
        self.values.free(driver);
        self.tables.iter_mut().for_each(|t| t.free(driver));
        for block in self.staged.iter_mut().chain([&mut self.arena, &mut self.work, &mut self.scratch]) {
            block.free(driver);
        }
    }
}
