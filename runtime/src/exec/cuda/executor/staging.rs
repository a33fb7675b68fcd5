//! What a step uploads: the batch's columns and row numbers, and the pointers and scalars of every
//! schedule that it runs.

use super::super::command_list::CommandList;
use super::super::driver::DeviceError;
use super::super::host_times::HostPart;
use super::super::memory::{BlockLayout, NULL, RelativePtr};
use super::super::step_args::{InstanceArgs, Instances, ScheduleRef, StagedSchedule, UploadPlan, no_pointer};
use super::super::table_updates::{FeatureRows, SummedRows, TableLookups, TableUpdates, UpdateInputs};
use super::super::upload_copy::ArraySource;
use super::{CudaExecutor, TRAIN, UPDATES};
use crate::exec::common::{Lookup, StepInputs};
use crate::exec::cuda::Driver;
use din_program::Program;
use din_program::schedule::{BufferId, KernelArg, Schedule, ScheduleRoot, Storage};
use din_program::schema::FeatureKind;

/// What orders rows on the device, their numbers or their positions in the order of sums, and where
/// rows are if that is not where their number says: their places in a table's cache, or the numbers
/// beside positions. [`NULL`] for what is not uploaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowNumberPtrs {
    numbers: RelativePtr,
    places: RelativePtr,
}

impl RowNumberPtrs {
    /// What kernels index the table's arrays by.
    fn indices(self) -> RelativePtr {
        if self.places == NULL { self.numbers } else { self.places }
    }
}

/// Where the numbers of [`RowNumberPtrs`] come from.
struct RowSources {
    numbers: ArraySource,
    places: ArraySource,
    positions: ArraySource,
}

/// The row numbers of a batch.
pub(super) struct StagedRowNumbers {
    /// By table, by its features.
    by_feature: Vec<Vec<RowNumberPtrs>>,
    /// By axis, by the keys of unique axes.
    by_key: Vec<Vec<RowNumberPtrs>>,
}

/// The columns of a batch, by their numbers.
struct BatchColumns {
    labels: Vec<RelativePtr>,
    present: Vec<RelativePtr>,
    dense: Vec<RelativePtr>,
}

/// A batch and the training or inference schedule, staged.
pub(super) struct StagedStep {
    pub schedule: StagedSchedule,
    /// By arena slot.
    pub slots: Vec<RelativePtr>,
    pub row_numbers: StagedRowNumbers,
}

/// All parameters with one update.
pub(super) struct TensorUpdate {
    pub update: usize,
    /// Where its buffers are in the memory of updates.
    pub at: usize,
    pub layout: BlockLayout,
    pub staged: StagedSchedule,
}

impl TensorUpdate {
    /// Where its buffers end.
    fn end(&self) -> usize {
        self.at + self.layout.bytes
    }
}

/// What runs over the gradients of parameters.
pub(super) struct StagedTensors {
    pub updates: Vec<TensorUpdate>,
    /// The sums of the squares of gradients, which run before the updates.
    pub squared_norms: Vec<TensorUpdate>,
    /// What these sums are where there is no gradient; [`NULL`] where there are no sums.
    zeros: RelativePtr,
    /// Where the buffers of all of them end.
    pub end: usize,
}

impl StagedTensors {
    pub fn all(&self) -> impl Iterator<Item = &TensorUpdate> {
        self.updates.iter().chain(&self.squared_norms)
    }
}

impl<D: Driver> CudaExecutor<D> {
    /// Lists what makes the sum of the squares of the gradient of each table and parameter 0.
    pub(super) fn list_no_squares(&self, list: &mut CommandList<'_>, tensors: &StagedTensors) {
        let count = self.program.squared_norms.len();
        if count > 0 {
            let zeros = list.bases().resolve(tensors.zeros);
            list.copy(zeros, self.model.dense.squared_norm(0), count * size_of::<f32>());
        }
    }

    /// Stages a batch, which was laid out, and the training or inference schedule. `global_counts`:
    /// elements by axis of the global batch, where this one is a part of it.
    pub(super) fn stage_step(
        &mut self,
        which: usize,
        inputs: &StepInputs<'_>,
        global_counts: Option<&[u32]>,
    ) -> Result<StagedStep, DeviceError> {
        self.memory.plan.clear();
        self.memory.arena_layout.clear();
        self.model.epoch = inputs.epoch;
        let row_numbers = self.stage_row_numbers(which, inputs)?;
        let columns = self.stage_columns(inputs)?;
        let weights = self.stage_weights(inputs)?;
        let program = self.program.clone();
        let model = &self.model;
        let place = |place: Storage| match place {
            Storage::Param(k) => Ok(model.dense.param(k as usize)),
            Storage::State(k) => Ok(RelativePtr::Fixed(model.dense.state(k as usize))),
            Storage::Dense(k) => column(&columns.dense, k, place),
            Storage::Label(k) => column(&columns.labels, k, place),
            Storage::Present(k) => column(&columns.present, k, place),
            Storage::Arena(_)
            | Storage::Tile(_)
            | Storage::Partial
            | Storage::Length(_)
            | Storage::Position(_)
            | Storage::SampleNumber(_)
            | Storage::Components(_)
            | Storage::DropoutKey(_)
            | Storage::Count(_)
            | Storage::Step
            | Storage::Epoch
            | Storage::SquaredNorms
            | Storage::Weight
            | Storage::Gradient
            | Storage::InBatch
            | Storage::UpdateSlot(_)
            | Storage::Frequency
            | Storage::UpdateCount => Err(no_pointer(place)),
        };
        let source = |source: KernelArg| match source {
            KernelArg::Rows { table, feature } => {
                let position = feature_position(&program, table, feature).ok_or_else(|| no_pointer(source))?;
                Ok(row_numbers.by_feature[table as usize][position].indices())
            }
            KernelArg::UniqueRows { axis, key } => Ok(row_numbers.by_key[axis.index()][key as usize].indices()),
            KernelArg::Table(t) => Ok(weights[t as usize]),
            KernelArg::Buffer(_) | KernelArg::Ancestor { .. } | KernelArg::RowIndex | KernelArg::Function(_) => {
                Err(no_pointer(source))
            }
        };
        let memory = &mut self.memory;
        let args = InstanceArgs {
            samples: inputs.rows,
            room: memory.arena_layout.buckets.room(inputs.rows),
            layout: Some(&self.layouts[which]),
            global_counts,
            row_count: None,
            numbers: model.next_step(),
            home: &RelativePtr::Arena,
            place: &place,
            source: &source,
        };
        let schedule = if which == TRAIN { &program.train } else { &program.infer };
        let schedule = ScheduleRef { cuda: &self.cuda, launches: &self.cuda.schedules[which], schedule };
        let mut instances = Instances::default();
        let slots = instances.add(&mut memory.plan, &mut memory.arena_layout, schedule, &args)?;
        Ok(StagedStep { schedule: instances.stage(&mut memory.plan)?, slots, row_numbers })
    }

    /// By table: where its rows are, by row number. Rows that were fetched come with the batch.
    fn stage_weights(&mut self, inputs: &StepInputs<'_>) -> Result<Vec<RelativePtr>, DeviceError> {
        let Some(fetched) = inputs.fetched else {
            return Ok(self.model.tables.iter().map(|table| RelativePtr::Fixed(table.weights.at)).collect());
        };
        let plan = &mut self.memory.plan;
        let tables = self.program.tables.iter().zip(fetched).enumerate();
        let rows = tables.map(|(table, (spec, fetched))| {
            let (count, width) = (fetched.count, spec.width as usize);
            let room = plan.layout.buckets.room(count).saturating_mul(width);
            plan.column_within(count * width, room, ArraySource::Fetched(table), "fetched rows")
        });
        rows.collect()
    }

    /// The elements of every axis of the batch.
    pub(super) fn lay_out(&mut self, which: usize, inputs: &StepInputs<'_>) {
        let program = &self.program;
        let numbers = |table: u32, feature: u32| -> &[u32] {
            let position = feature_position(program, table, feature).expect("a key of a unique axis is a feature's");
            &inputs.row_numbers[table as usize][position]
        };
        self.layouts[which].set(inputs.rows, inputs.requests, inputs.offsets);
        self.layouts[which].begin_at(inputs.first_row);
        for tiling in &self.cuda.schedules[which].tilings {
            if self.layouts[which].axes.steps_of(tiling.axis).is_some() {
                self.layouts[which].order_steps(tiling.axis, tiling.samples);
            }
        }
        self.layouts[which].join(&numbers);
        self.times.done(HostPart::Layout);
    }

    /// Stages the row numbers that kernels read, and the places of the rows where a table is
    /// partially resident.
    fn stage_row_numbers(&mut self, which: usize, inputs: &StepInputs<'_>) -> Result<StagedRowNumbers, DeviceError> {
        let (plan, tables) = (&mut self.memory.plan, &self.model.tables);
        let mut stage = |table: usize, count: usize, sources: RowSources| {
            let cached = tables[table].cache.is_some();
            let ordered = which == TRAIN && tables[table].order.is_some();
            let places = match (cached, ordered) {
                (true, _) => plan.column(count, sources.places, "places of rows")?,
                (false, true) => plan.column(count, sources.numbers, "row numbers")?,
                (false, false) => NULL,
            };
            let numbers = match (ordered, which == TRAIN || !cached) {
                (true, _) => plan.column(count, sources.positions, "positions of rows")?,
                (false, true) => plan.column(count, sources.numbers, "row numbers")?,
                (false, false) => NULL,
            };
            Ok::<_, DeviceError>(RowNumberPtrs { numbers, places })
        };
        let mut by_feature = Vec::with_capacity(inputs.row_numbers.len());
        for (table, features) in inputs.row_numbers.iter().enumerate() {
            let mut ptrs = Vec::with_capacity(features.len());
            for (feature, row_numbers) in features.iter().enumerate() {
                let sources = RowSources {
                    numbers: ArraySource::Rows { table, feature },
                    places: ArraySource::Places { table, feature },
                    positions: ArraySource::Positions { table, feature },
                };
                ptrs.push(match self.row_number_uses[which][table][feature].numbers {
                    true => stage(table, row_numbers.len(), sources)?,
                    false => RowNumberPtrs { numbers: NULL, places: NULL },
                });
            }
            by_feature.push(ptrs);
        }
        let layout = &self.layouts[which];
        let mut by_key = vec![Vec::new(); layout.axes.count()];
        for (axis, unique) in layout.axes.uniques() {
            for (key, &(table, _)) in unique.keys.iter().enumerate() {
                let table = table as usize;
                let sources = RowSources {
                    numbers: ArraySource::UniqueRows { table, axis, key },
                    places: ArraySource::UniquePlaces { table, axis, key },
                    positions: ArraySource::UniquePositions { table, axis, key },
                };
                by_key[axis.index()].push(stage(table, layout.count(axis), sources)?);
            }
        }
        Ok(StagedRowNumbers { by_feature, by_key })
    }

    /// Stages labels and numeric features; a label that the batch lacks is zeros.
    fn stage_columns(&mut self, inputs: &StepInputs<'_>) -> Result<BatchColumns, DeviceError> {
        let memory = &mut self.memory;
        let mut zeros = None;
        let mut or_zeros = |plan: &mut UploadPlan, values: &[f32], source: ArraySource, what| match (values, zeros) {
            ([], Some(at)) => Ok(at),
            ([], None) if inputs.rows > 0 => {
                let at = plan.column(inputs.rows, ArraySource::Zeros, "zeros")?;
                zeros = Some(at);
                Ok(at)
            }
            (values, _) => plan.column(values.len(), source, what),
        };
        let (mut labels, mut present, mut dense) = (Vec::new(), Vec::new(), Vec::new());
        for (k, values) in inputs.labels.iter().enumerate() {
            labels.push(or_zeros(&mut memory.plan, values, ArraySource::Label(k), "labels")?);
        }
        for (k, values) in inputs.present.iter().enumerate() {
            present.push(or_zeros(&mut memory.plan, values, ArraySource::Present(k), "presence of labels")?);
        }
        for (k, (values, feature)) in inputs.dense.iter().zip(&self.program.schema.features).enumerate() {
            let width = if let FeatureKind::Dense { width } = feature.kind { width.max(1) as usize } else { 1 };
            let room = memory.arena_layout.buckets.room(values.len() / width) * width;
            dense.push(memory.plan.column_within(values.len(), room, ArraySource::Dense(k), "values of a feature")?);
        }
        Ok(BatchColumns { labels, present, dense })
    }

    /// Stages the updates of tables, or the sums of the gradients of fetched rows.
    pub(super) fn stage_tables(
        &mut self,
        inputs: &StepInputs<'_>,
        step: &StagedStep,
    ) -> Result<TableUpdates, DeviceError> {
        let program = self.program.clone();
        let mut lookups = Vec::with_capacity(program.tables.len());
        for (table, spec) in program.tables.iter().enumerate().filter(|(_, spec)| !spec.frozen) {
            let features = self.lookups[table].iter().map(|lookup| self.feature_rows(inputs, step, table, lookup));
            let features = features.collect::<Result<_, _>>()?;
            let rows = match inputs.fetched {
                Some(fetched) => SummedRows::Fetched(fetched[table].count),
                None => SummedRows::Held(&self.model.tables[table]),
            };
            lookups.push(TableLookups { table, spec, rows, features });
        }
        let updates = UpdateInputs {
            cuda: &self.cuda,
            updates: &program.updates,
            launches: &|update| &self.cuda.schedules[UPDATES + update],
            numbers: self.model.next_step(),
            squared_norms: match program.squared_norms.as_slice() {
                [] => &[],
                of_all => &of_all[..program.tables.len()],
            },
            squared_norm: &|number| RelativePtr::Fixed(self.model.dense.squared_norm(number)),
        };
        TableUpdates::new(&mut self.memory.plan, &updates, &lookups)
    }

    /// What a lookup reads of a table, and the gradients of its rows.
    fn feature_rows(
        &self,
        inputs: &StepInputs<'_>,
        step: &StagedStep,
        table: usize,
        lookup: &Lookup,
    ) -> Result<FeatureRows, DeviceError> {
        let row_numbers = &step.row_numbers;
        let (ptrs, elements) = match lookup.unique {
            None => {
                let rows = inputs.row_numbers[table][lookup.feature].len();
                (row_numbers.by_feature[table][lookup.feature], rows)
            }
            Some((axis, key)) => (row_numbers.by_key[axis.index()][key as usize], self.layouts[TRAIN].count(axis)),
        };
        let train = &self.program.train;
        let (gradient, stride) = match lookup.view {
            None => (NULL, 0),
            Some(view) => {
                let at = result_ptr(train, view.buffer, &step.slots)?.plus(view.column as usize * 4);
                (at, train.buffers[view.buffer.index()].width)
            }
        };
        Ok(FeatureRows { rows: ptrs.numbers, places: ptrs.places, elements, gradient, stride })
    }

    /// Stages the updates of parameters, and the sums of the squares of their gradients. Their
    /// buffers lie behind `work` bytes, those of the tables' updates.
    pub(super) fn stage_params(&mut self, slots: &[RelativePtr], work: usize) -> Result<StagedTensors, DeviceError> {
        let program = self.program.clone();
        let update = |param: usize| Some(program.parameters[param].update);
        let updates = self.stage_tensor_programs(slots, work, &update)?;
        let work = updates.last().map_or(work, TensorUpdate::end);
        let squared_norm = |param: usize| program.squared_norm_of_parameter(param);
        let squared_norms = self.stage_tensor_programs(slots, work, &squared_norm)?;
        let end = squared_norms.last().map_or(work, TensorUpdate::end);
        let zeros = match program.squared_norms.len() {
            0 => NULL,
            count => self.memory.plan.put(&vec![0.0f32; count], "zeros")?,
        };
        Ok(StagedTensors { updates, squared_norms, zeros, end })
    }

    /// Update programs of parameters: `of` gives that of each.
    fn stage_tensor_programs(
        &mut self,
        slots: &[RelativePtr],
        mut work: usize,
        of: &dyn Fn(usize) -> Option<u32>,
    ) -> Result<Vec<TensorUpdate>, DeviceError> {
        let program = self.program.clone();
        let mut updates = Vec::new();
        for (number, update) in program.updates.iter().enumerate().filter(|(_, u)| !u.rows) {
            let mut instances = Instances::default();
            let mut layout = BlockLayout::default();
            let mut any = false;
            for (param, parameter) in
                program.parameters.iter().enumerate().filter(|(k, _)| of(*k) == Some(number as u32))
            {
                let gradient = program.train.roots.iter().find_map(|root| match root {
                    ScheduleRoot::ParamGradient { param: of, buffer } if *of as usize == param => Some(*buffer),
                    ScheduleRoot::ParamGradient { .. }
                    | ScheduleRoot::RowGradient { .. }
                    | ScheduleRoot::State { .. }
                    | ScheduleRoot::Loss(_)
                    | ScheduleRoot::Prediction { .. }
                    | ScheduleRoot::Output { .. }
                    | ScheduleRoot::Named { .. } => None,
                });
                let Some(gradient) = gradient else { continue };
                let gradient = result_ptr(&program.train, gradient, slots)?;
                let launches = &self.cuda.schedules[UPDATES + number];
                let schedule = ScheduleRef { cuda: &self.cuda, launches, schedule: &update.schedule };
                let (dense, squared_norm) = (&self.model.dense, program.squared_norm_of_parameter(param));
                let place = |place: Storage| match place {
                    Storage::UpdateSlot(_) if squared_norm == Some(number as u32) => {
                        Ok(RelativePtr::Fixed(dense.squared_norm(program.tables.len() + param)))
                    }
                    place => dense.update_ptr(place, param, gradient),
                };
                let width = parameter.width();
                let args = InstanceArgs {
                    samples: width,
                    room: width,
                    layout: None,
                    global_counts: None,
                    row_count: None,
                    numbers: self.model.next_step(),
                    home: &|at| RelativePtr::Work(work + at),
                    place: &place,
                    source: &|source| Err(no_pointer(source)),
                };
                instances.add(&mut self.memory.plan, &mut layout, schedule, &args)?;
                any = true;
            }
            if any {
                let (at, bytes) = (work, layout.bytes);
                let staged = instances.stage(&mut self.memory.plan)?;
                updates.push(TensorUpdate { update: number, at, layout, staged });
                work += bytes;
            }
        }
        Ok(updates)
    }
}

/// The position of a feature among those that a table serves.
fn feature_position(program: &Program, table: u32, feature: u32) -> Option<usize> {
    program.tables[table as usize].features.iter().position(|f| *f == feature)
}

/// A column of the batch.
fn column(columns: &[RelativePtr], k: u32, place: Storage) -> Result<RelativePtr, DeviceError> {
    columns.get(k as usize).copied().ok_or_else(|| no_pointer(place))
}

/// Where a result is; results are in the arena.
pub(super) fn result_ptr(schedule: &Schedule, id: BufferId, slots: &[RelativePtr]) -> Result<RelativePtr, DeviceError> {
    match schedule.buffers[id.index()].place {
        Storage::Arena(slot) => Ok(slots[slot.index()]),
        place => Err(DeviceError::Program(format!("a result in {place:?}"))),
    }
}
