//! Steps: what is written, done and read for a batch, in order.

use super::super::command_list::{CommandList, ScheduleKernels};
use super::super::driver::{ASYNC_READS, DeviceError, DevicePtr, Driver};
use super::super::host_times::HostPart;
use super::super::memory::{BlockBases, BlockLayout, RelativePtr, bytes_of_mut};
use super::super::step_args::StagedSchedule;
use super::super::table_cache::RowMoves;
use super::super::table_updates::{TableUpdateProgram, TableUpdates};
use super::residency::HostTables;
use super::staging::{StagedStep, StagedTensors, TensorUpdate, result_ptr};
use super::{CudaExecutor, INFER, TRAIN, UPDATES};
use crate::exec::common::StepInputs;
use crate::table::Table;
use din_program::Program;
use din_program::cuda::Cuda;
use din_program::schedule::{Schedule, ScheduleRoot};

/// What a training step needs, staged.
struct StagedTraining {
    step: StagedStep,
    moves: Vec<(usize, RowMoves)>,
    of_tables: TableUpdates,
    of_params: StagedTensors,
}

/// The kernels of a program's schedules.
#[derive(Clone, Copy)]
pub(super) struct ProgramKernels<'a> {
    pub program: &'a Program,
    pub cuda: &'a Cuda,
}

impl<'a> ProgramKernels<'a> {
    pub fn schedule(self, schedule: usize) -> ScheduleKernels<'a> {
        ScheduleKernels { cuda: self.cuda, launches: &self.cuda.schedules[schedule], location: "" }
    }

    fn table(self, update: &TableUpdateProgram) -> ScheduleKernels<'a> {
        self.schedule(UPDATES + update.update).at(&self.program.tables[update.table].location)
    }

    pub fn tensor(self, update: &TensorUpdate) -> ScheduleKernels<'a> {
        self.schedule(UPDATES + update.update)
    }
}

/// A training step that can be run.
struct Listed<'a> {
    list: CommandList<'a>,
    /// Where its loss will be.
    loss: Option<DevicePtr>,
    of_tables: TableUpdates,
    bases: BlockBases,
}

impl<D: Driver> CudaExecutor<D> {
    /// One step of training; gives the batch's loss. Losses of earlier steps that were not asked
    /// for are forgotten.
    pub fn train_step(&mut self, tables: &mut [Table], inputs: &StepInputs<'_>) -> Result<f32, DeviceError> {
        self.train_ahead(tables, inputs)?;
        let mut loss = 0.0;
        while let Some(next) = self.next_loss()? {
            loss = next;
        }
        self.take_back(&mut HostTables::Own(tables))?;
        Ok(loss)
    }

    /// One step of training that the device does while the host goes on;
    /// [`CudaExecutor::next_loss`] waits for it. A failure of a kernel may be reported there, or by
    /// the next call. Where tables are there in parts, the next step waits for this one.
    pub fn train_ahead(&mut self, tables: &mut [Table], inputs: &StepInputs<'_>) -> Result<(), DeviceError> {
        self.take_back(&mut HostTables::Own(tables))?;
        self.make_room_for_loss()?;
        self.times.begin();
        let (program, cuda) = (self.program.clone(), self.cuda.clone());
        let Listed { list, loss, of_tables, bases } = match self.train_list(&program, &cuda, tables, inputs) {
            Ok(ready) => ready,
            Err(e) => return Err(self.cancel_step(e)),
        };
        self.times.done(HostPart::List);
        self.model.uploaded = false;
        self.run(list)?;
        self.times.done(HostPart::Run);
        self.begin_loss_read(loss)?;
        self.add_to_profile(&of_tables, &bases)?;
        self.model.step += 1;
        self.model.trained = true;
        self.model.rows_moving = true;
        self.model.uploaded = true;
        Ok(())
    }

    /// The loss of the oldest step whose loss was not given yet; `None` where there is none.
    pub fn next_loss(&mut self) -> Result<Option<f32>, DeviceError> {
        match self.losses.arrived.pop_front() {
            Some(loss) => Ok(Some(loss)),
            None if self.losses.in_flight == 0 => Ok(None),
            None => self.finish_loss_read().map(Some),
        }
    }

    /// Losses that nobody asks for stay few on the device.
    pub(super) fn make_room_for_loss(&mut self) -> Result<(), DeviceError> {
        while self.losses.in_flight >= ASYNC_READS {
            let loss = self.finish_loss_read()?;
            self.losses.arrived.push_back(loss);
        }
        Ok(())
    }

    /// Begins to bring the loss of a step to the host; it is 0 of a program without one.
    pub(super) fn begin_loss_read(&mut self, loss: Option<DevicePtr>) -> Result<(), DeviceError> {
        match loss {
            Some(at) => {
                self.driver.read_async(at, size_of::<f32>())?;
                self.losses.in_flight += 1;
            }
            None => self.losses.arrived.push_back(0.0),
        }
        Ok(())
    }

    pub(super) fn finish_loss_read(&mut self) -> Result<f32, DeviceError> {
        let mut loss = [0.0f32];
        self.losses.in_flight -= 1;
        let done = self.driver.finish_read(bytes_of_mut(&mut loss));
        // The step has failed, and with it those behind it.
        self.model.uploaded &= done.is_ok();
        done.map(|()| loss[0])
    }

    /// What a training step does, with its batch written.
    fn train_list<'a>(
        &mut self,
        program: &'a Program,
        cuda: &'a Cuda,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Listed<'a>, DeviceError> {
        let staged = self.stage_train(program, cuda, tables, inputs)?;
        let bases = self.upload_batch(TRAIN, tables, inputs)?;
        self.times.done(HostPart::Write);
        self.list_train(program, cuda, staged, bases)
    }

    /// Checks a batch, stages all that its training step needs, and reserves memory for it.
    fn stage_train(
        &mut self,
        program: &Program,
        cuda: &Cuda,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<StagedTraining, DeviceError> {
        self.sync(&mut HostTables::Own(tables), inputs, TRAIN)?;
        self.times.done(HostPart::Check);
        self.lay_out(TRAIN, inputs);
        let step = self.stage_step(TRAIN, inputs, None)?;
        let moves = self.stage_moves(tables)?;
        self.times.done(HostPart::Stage);
        let of_tables = self.stage_tables(inputs, &step)?;
        self.times.done(HostPart::Tables);
        let of_params = self.stage_params(&step.slots, of_tables.bytes())?;
        self.times.done(HostPart::Params);
        self.memory.work.reserve(&mut self.driver, of_params.end, "updates")?;
        let kernels = ProgramKernels { program, cuda };
        let of_step = [(kernels.schedule(TRAIN), &step.schedule)].into_iter();
        let of_tables_staged = of_tables.programs.iter().chain(&of_tables.squared_norms);
        let of_tables_staged = of_tables_staged.map(|p| (kernels.table(p), &p.staged));
        let of_params_staged = of_params.all().map(|u| (kernels.tensor(u), &u.staged));
        self.reserve_scratch(of_step.chain(of_tables_staged).chain(of_params_staged))?;
        Ok(StagedTraining { step, moves, of_tables, of_params })
    }

    /// The commands of a training step. What needs the batch alone runs on the side stream beside
    /// the step's own launches, and the updates of parameters and states beside those of tables.
    fn list_train<'a>(
        &mut self,
        program: &'a Program,
        cuda: &'a Cuda,
        StagedTraining { step, moves, of_tables, of_params }: StagedTraining,
        bases: BlockBases,
    ) -> Result<Listed<'a>, DeviceError> {
        let kernels = ProgramKernels { program, cuda };
        let of_table = |p: &TableUpdateProgram| kernels.table(p);
        let mut list = self.list(bases);
        self.list_moves(&mut list, &moves, program, &kernels.schedule(TRAIN));
        let squares = !program.squared_norms.is_empty();
        list.set_side_stream(true);
        match squares {
            // Every update reads what all gradients make: nothing leads it.
            true => of_tables.list_sort(&mut list, of_tables.programs.first().map(of_table)),
            false => of_tables.list_leading(&mut list, &of_table),
        }
        for update in of_params.all() {
            list.arrays(&update.layout, bases.work + update.at as u64);
        }
        self.list_leading_tensors(&mut list, kernels, &of_params);
        list.set_side_stream(false);
        list.schedule(&kernels.schedule(TRAIN), &step.schedule);
        list.join();
        if squares {
            self.list_no_squares(&mut list, &of_params);
            of_tables.list_squared_norms(&mut list, &of_table);
            for sum in &of_params.squared_norms {
                list.schedule(&kernels.tensor(sum), &sum.staged);
            }
        }
        // All launches have one scratch.
        let scratch = |u: &TensorUpdate| u.staged.most_scratch(cuda, kernels.tensor(u).launches);
        list.set_side_stream(of_params.updates.iter().all(|u| scratch(u) == 0));
        self.list_dense_updates(&mut list, kernels, &step, &of_params)?;
        list.set_side_stream(false);
        match squares {
            true => of_tables.list_whole(&mut list, &of_table),
            false => of_tables.list(&mut list, &of_table),
        }
        list.join();
        let loss = loss_ptr(&program.train, &step.slots, &bases)?;
        Ok(Listed { list, loss, of_tables, bases })
    }

    /// What needs no gradient of the updates of parameters.
    pub(super) fn list_leading_tensors<'a>(
        &self,
        list: &mut CommandList<'a>,
        kernels: ProgramKernels<'a>,
        of_params: &StagedTensors,
    ) {
        // Where updates read what all gradients make, nothing leads them.
        for update in of_params.updates.iter().filter(|_| kernels.program.squared_norms.is_empty()) {
            list.leading(&kernels.tensor(update), &update.staged);
        }
    }

    /// The updates of parameters, but for what leads them, and of states.
    pub(super) fn list_dense_updates<'a>(
        &self,
        list: &mut CommandList<'a>,
        kernels: ProgramKernels<'a>,
        step: &StagedStep,
        of_params: &StagedTensors,
    ) -> Result<(), DeviceError> {
        for update in &of_params.updates {
            match kernels.program.squared_norms.is_empty() {
                true => list.rest(&kernels.tensor(update), &update.staged),
                false => list.schedule(&kernels.tensor(update), &update.staged),
            }
        }
        let program = kernels.program;
        for root in &program.train.roots {
            if let ScheduleRoot::State { state, buffer } = root {
                let from = list.bases().resolve(result_ptr(&program.train, *buffer, &step.slots)?);
                let bytes = program.states[*state as usize].width() * 4;
                list.copy(from, self.model.dense.state(*state as usize), bytes);
            }
        }
        Ok(())
    }

    /// Predictions (see [`CudaExecutor::predicted`]) and, where labels are given, the loss.
    pub fn infer(&mut self, tables: &mut [Table], inputs: &StepInputs<'_>) -> Result<Option<f32>, DeviceError> {
        self.infer_with(HostTables::Own(tables), inputs)
    }

    /// The same on tables that others read at the same time; no step may have changed the model
    /// since it was uploaded.
    pub fn infer_shared(&mut self, tables: &[Table], inputs: &StepInputs<'_>) -> Result<Option<f32>, DeviceError> {
        if self.model.trained {
            return Err(DeviceError::Input("the model on the GPU is newer than the one that is shared".into()));
        }
        self.infer_with(HostTables::Shared(tables), inputs)
    }

    fn infer_with(&mut self, mut tables: HostTables<'_>, inputs: &StepInputs<'_>) -> Result<Option<f32>, DeviceError> {
        let program = self.program.clone();
        let (slots, bases) = self.run_schedule(INFER, &program, &mut tables, inputs)?;
        for root in &program.infer.roots {
            let (into, buffer, width) = match root {
                ScheduleRoot::Prediction { index, buffer } => {
                    let width = program.predictions[*index as usize].distribution.width();
                    (&mut self.predicted[*index as usize], buffer, width)
                }
                ScheduleRoot::Output { index, buffer } => {
                    let width = program.outputs[*index as usize].width as usize;
                    (&mut self.outputs[*index as usize], buffer, width)
                }
                ScheduleRoot::Loss(_)
                | ScheduleRoot::Named { .. }
                | ScheduleRoot::State { .. }
                | ScheduleRoot::ParamGradient { .. }
                | ScheduleRoot::RowGradient { .. } => continue,
            };
            into.resize(inputs.rows * width, 0.0);
            let at = bases.resolve(result_ptr(&program.infer, *buffer, &slots)?);
            self.driver.read(at, bytes_of_mut(into))?;
        }
        let loss = self.loss(loss_ptr(&program.infer, &slots, &bases)?)?;
        self.finish_schedule(&mut tables)?;
        Ok(loss)
    }

    /// Forward and backward of a training step alone: nothing is changed. The results of the
    /// training schedule, in its order: the whole buffer of each, row-major. (A row gradient is
    /// columns of it.)
    pub fn gradients(&mut self, tables: &mut [Table], inputs: &StepInputs<'_>) -> Result<Vec<Vec<f32>>, DeviceError> {
        let (program, mut tables) = (self.program.clone(), HostTables::Own(tables));
        let (slots, bases) = self.run_schedule(TRAIN, &program, &mut tables, inputs)?;
        let mut results = Vec::new();
        for root in &program.train.roots {
            let id = root.buffer();
            let buffer = &program.train.buffers[id.index()];
            let mut numbers = vec![0.0; self.layouts[TRAIN].count(buffer.axis) * buffer.width as usize];
            let at = bases.resolve(result_ptr(&program.train, id, &slots)?);
            self.driver.read(at, bytes_of_mut(&mut numbers))?;
            results.push(numbers);
        }
        self.finish_schedule(&mut tables)?;
        Ok(results)
    }

    /// Runs a schedule alone; gives where its results are. [`CudaExecutor::finish_schedule`]
    /// follows when they are read.
    fn run_schedule(
        &mut self,
        which: usize,
        program: &Program,
        tables: &mut HostTables<'_>,
        inputs: &StepInputs<'_>,
    ) -> Result<(Vec<RelativePtr>, BlockBases), DeviceError> {
        self.take_back(tables)?;
        let cuda = self.cuda.clone();
        let (list, slots, bases) = match self.schedule_list(which, program, &cuda, tables, inputs) {
            Ok(ready) => ready,
            Err(e) => return Err(self.cancel_step(e)),
        };
        self.model.uploaded = false;
        self.run(list)?;
        Ok((slots, bases))
    }

    fn finish_schedule(&mut self, tables: &mut HostTables<'_>) -> Result<(), DeviceError> {
        if self.profile.is_some() {
            // It is of training steps.
            self.driver.timed_launches()?;
        }
        self.model.rows_moving = true;
        self.model.uploaded = true;
        self.take_back(tables)
    }

    /// A schedule alone, with its batch written.
    fn schedule_list<'a>(
        &mut self,
        which: usize,
        program: &'a Program,
        cuda: &'a Cuda,
        tables: &mut HostTables<'_>,
        inputs: &StepInputs<'_>,
    ) -> Result<(CommandList<'a>, Vec<RelativePtr>, BlockBases), DeviceError> {
        self.sync(tables, inputs, which)?;
        self.lay_out(which, inputs);
        let StagedStep { schedule: staged, slots, .. } = self.stage_step(which, inputs, None)?;
        let moves = self.stage_moves(tables.get())?;
        let kernels = ScheduleKernels { cuda, launches: &cuda.schedules[which], location: "" };
        self.reserve_scratch([(kernels, &staged)].into_iter())?;
        let bases = self.upload_batch(which, tables.get(), inputs)?;
        let mut list = self.list(bases);
        self.list_moves(&mut list, &moves, program, &kernels);
        list.schedule(&kernels, &staged);
        Ok((list, slots, bases))
    }

    fn loss(&mut self, at: Option<DevicePtr>) -> Result<Option<f32>, DeviceError> {
        let Some(at) = at else { return Ok(None) };
        let mut loss = [0.0f32];
        self.driver.read(at, bytes_of_mut(&mut loss))?;
        Ok(Some(loss[0]))
    }

    /// Room for the launch with the most scratch.
    pub(super) fn reserve_scratch<'a>(
        &mut self,
        all: impl Iterator<Item = (ScheduleKernels<'a>, &'a StagedSchedule)>,
    ) -> Result<(), DeviceError> {
        let most = all.map(|(kernels, ready)| ready.most_scratch(kernels.cuda, kernels.launches)).max();
        let mut space = BlockLayout::default();
        space.exact(most.unwrap_or(0), "scratch")?;
        self.memory.scratch.reserve(&mut self.driver, space.bytes, "its longest list (`keep last n` shortens it)")
    }

    /// An empty list.
    pub(super) fn list<'a>(&mut self, bases: BlockBases) -> CommandList<'a> {
        CommandList::new::<D>(std::mem::take(&mut self.memory.commands), bases, &self.memory.scratch)
    }

    pub(super) fn run(&mut self, list: CommandList<'_>) -> Result<(), DeviceError> {
        let (list, done) = list.run(&mut self.driver);
        self.memory.commands = list;
        done.inspect_err(|_| {
            // Nothing of it reads its batch any more: see `cancel_step`.
            let _ = self.driver.wait();
        })
    }
}

/// Where the loss will be.
pub(super) fn loss_ptr(
    schedule: &Schedule,
    slots: &[RelativePtr],
    bases: &BlockBases,
) -> Result<Option<DevicePtr>, DeviceError> {
    for root in &schedule.roots {
        if let ScheduleRoot::Loss(buffer) = root {
            return Ok(Some(bases.resolve(result_ptr(schedule, *buffer, slots)?)));
        }
    }
    Ok(None)
}
