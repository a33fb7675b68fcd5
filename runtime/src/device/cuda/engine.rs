//! The engine on a device: a model's values live there, a step writes its batch once and reads its loss.
//!
//! Guarantees:
//! - The order of the CPU engine's step: all gradients at the old weights, then tables, then parameters, then states. Row gradients are summed in
//!   its order too.
//! - A program, its launches and every batch are checked before the device sees them.
//! - Device memory grows by a quarter more than asked and stays: batches of varying sizes soon allocate nothing.
//! - An error before the first launch of a step changes nothing; after a later one the values are lost ([`DeviceError::Lost`]) until they
//!   are uploaded again.
//!
//! The host keeps the index of a table, makes its new rows and passes the table to every step; the rows that the device has are its own until
//! [`Engine::download`].

use super::driver::{DeviceError, Driver, Launch};
use super::held::{DeviceTable, Values};
use super::memory::{At, Bases, Block, NONE, Space, bytes_of_mut};
use super::profile::{Profile, Ran};
use super::rows::{FeatureRows, TableUpdate, Wanted};
use super::stage::{Given, Instances, Ready, Stage};
use crate::device::Steps;
use crate::engine::{self as cpu, EngineError, Layout, ProfileRow, Span, State, StepInputs};
use crate::table::Table;
use din_program::Program;
use din_program::cuda::{Cuda, Grid, Launches};
use din_program::schedule::{Axes, ONCE, Place, Root, Schedule, Source};
use std::fmt;
use std::sync::Arc;

/// Schedules of [`Cuda`], then the updates.
const TRAIN: usize = 0;
const INFER: usize = 1;
const UPDATES: usize = 2;

impl From<EngineError> for DeviceError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Input(_) => Self::Input(error.to_string()),
            other => Self::Program(other.to_string()),
        }
    }
}

/// Runs one program on one device. See the module.
#[derive(Debug)]
pub struct Engine<D: Driver> {
    program: Arc<Program>,
    cuda: Arc<Cuda>,
    driver: D,
    values: Values,
    tables: Vec<DeviceTable>,
    layout: Layout,
    stage: Stage,
    staged: Block,
    space: Space,
    arena: Block,
    work: Block,
    scratch: Block,
    /// Steps done.
    step: u64,
    /// Whether the values are on the device.
    held: bool,
    /// By prediction, of the last inference.
    logits: Vec<Vec<f32>>,
    /// While it is measured where time goes.
    profile: Option<Profile>,
}

/// The kernels of a schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernels<'a> {
    pub cuda: &'a Cuda,
    pub launches: &'a Launches,
    /// For kernels without a line of their own.
    pub location: &'a str,
}

/// Launches a schedule whose data is on the device.
pub(super) fn run<D: Driver>(
    driver: &mut D,
    kernels: &Kernels<'_>,
    ready: &Ready,
    bases: &Bases,
    scratch: &mut Block,
) -> Result<(), DeviceError> {
    for launch in &kernels.launches.launches {
        let mut space = Space::default();
        space.array(ready.scratch(kernels.cuda, kernels.launches, launch), "scratch")?;
        if space.bytes > 0 {
            scratch.reserve(driver, space.bytes, "scratch")?;
            space.tell(driver, scratch.at, false);
        }
        let blocks = match launch.grid {
            Grid::Tiles { .. } => kernels.cuda.chunks,
            Grid::Blocks(blocks) => blocks,
        };
        driver.launch(&Launch {
            kernel: &launch.kernel,
            location: &launch.location,
            grid: (blocks, ready.instances),
            threads: kernels.cuda.threads,
            shared: launch.shared,
            addresses: bases.resolve(ready.addresses),
            words: bases.resolve(ready.words),
            scratch: if space.bytes > 0 { scratch.at } else { 0 },
        })?;
    }
    Ok(())
}

/// All parameters with one update.
struct TensorUpdate {
    update: usize,
    space: Space,
    ready: Ready,
}

impl<D: Driver> Engine<D> {
    /// An engine for a program and its CUDA form. It has no values before [`Engine::upload`].
    pub fn new(program: Arc<Program>, cuda: Arc<Cuda>, driver: D) -> Result<Engine<D>, DeviceError> {
        cpu::check_cuda(&program, &cuda)?;
        Ok(Engine {
            tables: program.tables.iter().map(|_| DeviceTable::default()).collect(),
            logits: vec![Vec::new(); program.predictions.len()],
            layout: Layout::new(Axes::new(&program.schema)),
            program,
            cuda,
            driver,
            values: Values::default(),
            stage: Stage::default(),
            staged: Block::default(),
            space: Space::default(),
            arena: Block::default(),
            work: Block::default(),
            scratch: Block::default(),
            step: 0,
            held: false,
            profile: None,
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

    /// Makes the device's values those of the host.
    pub fn upload(&mut self, state: &State, tables: &[Table]) -> Result<(), DeviceError> {
        cpu::check_model(&self.program, state, tables)?;
        self.held = false;
        self.values.upload(&mut self.driver, state)?;
        for (held, table) in self.tables.iter_mut().zip(tables) {
            held.rows = 0;
            held.sync(&mut self.driver, table)?;
        }
        self.step = state.step;
        self.held = true;
        Ok(())
    }

    /// Makes the host's values those of the device; rows that the device has not seen stay as they are.
    pub fn download(&mut self, state: &mut State, tables: &mut [Table]) -> Result<(), DeviceError> {
        cpu::check_model(&self.program, state, tables)?;
        self.check_held()?;
        self.values.download(&mut self.driver, state)?;
        for (held, table) in self.tables.iter().zip(tables) {
            held.download(&mut self.driver, table)?;
        }
        state.step = self.step;
        Ok(())
    }

    /// One step of training; gives the batch's loss.
    pub fn train_step(&mut self, tables: &[Table], inputs: &StepInputs<'_>) -> Result<f32, DeviceError> {
        self.sync(tables, inputs, true)?;
        let (ready, slots, columns) = self.stage_step(TRAIN, inputs)?;
        let (program, cuda) = (self.program.clone(), self.cuda.clone());
        let of_tables = self.stage_tables(inputs, &slots, &columns)?;
        let of_params = self.stage_params(&slots)?;
        let work = of_tables.iter().map(|(_, u)| u.bytes()).chain(of_params.iter().map(|u| u.space.bytes)).max();
        self.work.reserve(&mut self.driver, work.unwrap_or(0), "updates")?;
        let bases = self.write()?;

        self.held = false;
        let kernels = |schedule: usize| Kernels { cuda: &cuda, launches: &cuda.schedules[schedule], location: "" };
        run(&mut self.driver, &kernels(TRAIN), &ready, &bases, &mut self.scratch)?;
        for (t, update) in &of_tables {
            let kernels = Kernels { location: &program.tables[*t].location, ..kernels(UPDATES + update.update) };
            update.run(&mut self.driver, &kernels, &bases, &mut self.scratch)?;
        }
        for update in &of_params {
            update.space.tell(&mut self.driver, bases.work, false);
            run(&mut self.driver, &kernels(UPDATES + update.update), &update.ready, &bases, &mut self.scratch)?;
        }
        for root in &program.train.roots {
            if let Root::State { state, buffer } = root {
                let from = bases.resolve(slot_of(&program.train, *buffer, &slots));
                let bytes = program.states[*state as usize].width() * 4;
                self.driver.copy(from, self.values.state(*state as usize), bytes)?;
            }
        }
        let loss = self.loss(&program.train, &slots, &bases)?;
        self.note(inputs, &of_tables, &bases)?;
        self.step += 1;
        self.held = true;
        Ok(loss.unwrap_or(0.0))
    }

    /// Starts (from zero) or stops measuring where the time of training steps goes.
    pub fn set_profile(&mut self, on: bool) -> Result<(), DeviceError> {
        self.driver.measure(on)?;
        self.profile = on.then(Profile::default);
        Ok(())
    }

    /// What was measured since [`Engine::set_profile`]: a row a kernel, slowest first.
    pub fn profile(&self) -> Vec<ProfileRow> {
        self.profile.as_ref().map_or_else(Vec::new, Profile::rows)
    }

    /// The first launches since [`Engine::set_profile`], one by one.
    pub fn spans(&self) -> Vec<Span> {
        self.profile.as_ref().map_or_else(Vec::new, Profile::spans)
    }

    /// Adds a training step to the profile, where there is one.
    fn note(
        &mut self,
        inputs: &StepInputs<'_>,
        of_tables: &[(usize, TableUpdate)],
        bases: &Bases,
    ) -> Result<(), DeviceError> {
        let Some(profile) = &mut self.profile else { return Ok(()) };
        let (program, cuda) = (&*self.program, &*self.cuda);
        let (axes, rows) = (&self.layout.axes, Axes::rows());
        let (launches, count) = (&cuda.schedules[TRAIN], |d| self.layout.count(d));
        profile.worked(program, &Ran { name: "train", schedule: &program.train, launches, axes, count: &count });
        for (t, update) in of_tables {
            let (spec, number) = (&program.tables[*t], update.update);
            let distinct = update.distinct(&mut self.driver, bases)?;
            let occurrences = inputs.row_numbers[*t].iter().map(Vec::len).sum();
            let kernels = update.kernels();
            profile.summed(&kernels, &spec.location, occurrences, distinct, spec.width);
            let name = format!("update {}", program.updates[number].name);
            let (launches, schedule) = (&cuda.schedules[UPDATES + number], &program.updates[number].schedule);
            let count = |d| if d == ONCE { 1 } else { distinct };
            profile.worked(program, &Ran { name: &name, schedule, launches, axes: &rows, count: &count });
        }
        for (number, update) in program.updates.iter().enumerate().filter(|(_, u)| !u.rows) {
            let trained = |k: usize| {
                program
                    .train
                    .roots
                    .iter()
                    .any(|r| matches!(r, Root::ParamGradient { param, .. } if *param as usize == k))
            };
            let of = program.parameters.iter().enumerate();
            let widths = of.filter(|(k, p)| p.update as usize == number && trained(*k)).map(|(_, p)| p.width());
            let (instances, elements) = widths.fold((0, 0), |(n, all), width| (n + 1, all + width));
            let name = format!("update {}", update.name);
            let (launches, schedule) = (&cuda.schedules[UPDATES + number], &update.schedule);
            let count = |d| if d == ONCE { instances } else { elements };
            profile.worked(program, &Ran { name: &name, schedule, launches, axes: &rows, count: &count });
        }
        profile.add(&self.driver.measured()?);
        Ok(())
    }

    /// Predictions (see [`Engine::logits`]) and, where labels are given, the loss.
    pub fn infer(&mut self, tables: &[Table], inputs: &StepInputs<'_>) -> Result<Option<f32>, DeviceError> {
        self.sync(tables, inputs, false)?;
        let (ready, slots, _) = self.stage_step(INFER, inputs)?;
        let bases = self.write()?;
        let (program, cuda) = (self.program.clone(), self.cuda.clone());
        let kernels = Kernels { cuda: &cuda, launches: &cuda.schedules[INFER], location: "" };
        run(&mut self.driver, &kernels, &ready, &bases, &mut self.scratch)?;
        for root in &program.infer.roots {
            if let Root::Prediction { index, buffer } = root {
                let logits = &mut self.logits[*index as usize];
                logits.resize(inputs.rows, 0.0);
                let at = bases.resolve(slot_of(&program.infer, *buffer, &slots));
                self.driver.read(at, bytes_of_mut(logits))?;
            }
        }
        let loss = self.loss(&program.infer, &slots, &bases)?;
        if self.profile.is_some() {
            // It is of training.
            self.driver.measured()?;
        }
        Ok(loss)
    }

    /// Logits of prediction `index` from the last [`Engine::infer`], one a sample.
    pub fn logits(&self, index: usize) -> &[f32] {
        self.logits.get(index).map_or(&[], Vec::as_slice)
    }

    fn check_held(&self) -> Result<(), DeviceError> {
        if self.held { Ok(()) } else { Err(DeviceError::Lost) }
    }

    /// Checks a batch and brings new rows over.
    fn sync(&mut self, tables: &[Table], inputs: &StepInputs<'_>, labels: bool) -> Result<(), DeviceError> {
        self.check_held()?;
        cpu::check_batch(&self.program, tables, inputs, labels)?;
        for (held, table) in self.tables.iter_mut().zip(tables) {
            held.sync(&mut self.driver, table)?;
        }
        Ok(())
    }

    /// Gives the step's blocks their memory and writes what is staged.
    fn write(&mut self) -> Result<Bases, DeviceError> {
        self.staged.reserve(&mut self.driver, self.stage.space.bytes, "a batch")?;
        self.arena.reserve(&mut self.driver, self.space.bytes, "the buffers of a step")?;
        let bases = Bases { staged: self.staged.at, arena: self.arena.at, work: self.work.at };
        self.driver.write(bases.staged, self.stage.finish(&bases))?;
        self.stage.space.tell(&mut self.driver, bases.staged, true);
        self.space.tell(&mut self.driver, bases.arena, false);
        Ok(bases)
    }

    /// Stages a batch and the training or inference schedule; gives the places of its arena slots, and of the row numbers by table and feature.
    fn stage_step(&mut self, which: usize, inputs: &StepInputs<'_>) -> Result<(Ready, Vec<At>, Columns), DeviceError> {
        let program = self.program.clone();
        self.layout.set(inputs.rows, inputs.requests, inputs.offsets);
        let stage = &mut self.stage;
        stage.clear();
        self.space.clear();
        let mut rows: Columns = Vec::with_capacity(inputs.row_numbers.len());
        for of_table in inputs.row_numbers {
            rows.push(of_table.iter().map(|r| stage.put(r, "row numbers")).collect::<Result<_, _>>()?);
        }
        let mut zeros = None;
        let mut column = |stage: &mut Stage, values: &[f32], what| match values {
            [] if inputs.rows > 0 => match zeros {
                Some(at) => Ok(at),
                None => {
                    let at = stage.fill(std::iter::repeat(0.0f32), inputs.rows, "zeros")?;
                    zeros = Some(at);
                    Ok(at)
                }
            },
            values => stage.put(values, what),
        };
        let (mut labels, mut present, mut dense) = (Vec::new(), Vec::new(), Vec::new());
        for values in inputs.labels {
            labels.push(column(stage, values, "labels")?);
        }
        for values in inputs.present {
            present.push(column(stage, values, "presence of labels")?);
        }
        for values in inputs.dense {
            dense.push(stage.put(values, "numbers of a feature")?);
        }
        let (values, tables) = (&self.values, &self.tables);
        let of = |all: &[At], k: u32| all.get(k as usize).copied().unwrap_or(NONE);
        let place = |place: Place| match place {
            Place::Param(k) => values.param(k as usize),
            Place::State(k) => At::Fixed(values.state(k as usize)),
            Place::Dense(k) => of(&dense, k),
            Place::Label(k) => of(&labels, k),
            Place::Present(k) => of(&present, k),
            _ => NONE,
        };
        let source = |source: Source| match source {
            Source::Rows { table, feature } => {
                let served = program.tables[table as usize].features.iter().position(|f| *f == feature);
                served.map_or(NONE, |at| rows[table as usize][at])
            }
            Source::Table(t) => At::Fixed(tables[t as usize].weights.at),
            _ => NONE,
        };
        let given = Given {
            samples: inputs.rows,
            layout: Some(&self.layout),
            step: self.step + 1,
            home: At::Arena,
            place: &place,
            source: &source,
        };
        let mut instances = Instances::default();
        let schedule = if which == TRAIN { &program.train } else { &program.infer };
        let parts = (&*self.cuda, &self.cuda.schedules[which], schedule);
        let slots = instances.add(stage, &mut self.space, parts, &given)?;
        Ok((instances.ready(stage)?, slots, rows))
    }

    fn stage_tables(
        &mut self,
        inputs: &StepInputs<'_>,
        slots: &[At],
        rows: &Columns,
    ) -> Result<Vec<(usize, TableUpdate)>, DeviceError> {
        let program = self.program.clone();
        let train = &program.train;
        let mut updates = Vec::new();
        for (t, spec) in program.tables.iter().enumerate() {
            let numbers = inputs.row_numbers[t].iter().zip(&rows[t]);
            let features: Vec<FeatureRows> = spec
                .features
                .iter()
                .zip(numbers)
                .map(|(feature, (numbers, &rows))| {
                    let view = train.roots.iter().find_map(|root| match root {
                        Root::RowGradient { table, feature: f, view } if *table as usize == t && f == feature => {
                            Some(*view)
                        }
                        _ => None,
                    });
                    let (gradient, stride) = view.map_or((NONE, 0), |view| {
                        let at = slot_of(train, view.buffer, slots).plus(view.column as usize * 4);
                        (at, train.buffers[view.buffer.index()].width)
                    });
                    FeatureRows { rows, elements: numbers.len(), gradient, stride }
                })
                .collect();
            let wanted = Wanted {
                cuda: &self.cuda,
                launches: &self.cuda.schedules[UPDATES + spec.update as usize],
                update: &program.updates[spec.update as usize],
                spec,
                held: &self.tables[t],
                features: &features,
                step: self.step + 1,
            };
            updates.extend(TableUpdate::new(&mut self.stage, &wanted)?.map(|u| (t, u)));
        }
        Ok(updates)
    }

    fn stage_params(&mut self, slots: &[At]) -> Result<Vec<TensorUpdate>, DeviceError> {
        let program = self.program.clone();
        let mut updates = Vec::new();
        for (number, update) in program.updates.iter().enumerate().filter(|(_, u)| !u.rows) {
            let mut instances = Instances::default();
            let mut space = Space::default();
            let mut any = false;
            for (k, parameter) in program.parameters.iter().enumerate() {
                let gradient = program.train.roots.iter().find_map(|root| match root {
                    Root::ParamGradient { param, buffer } if *param as usize == k => Some(*buffer),
                    _ => None,
                });
                let Some(gradient) = gradient.filter(|_| parameter.update as usize == number) else { continue };
                let gradient = slot_of(&program.train, gradient, slots);
                let place = |place: Place| match place {
                    Place::Weight => self.values.param(k),
                    Place::Gradient => gradient,
                    Place::UpdateSlot(slot) => self.values.slot(k, slot as usize),
                    _ => NONE,
                };
                let given = Given {
                    samples: parameter.width(),
                    layout: None,
                    step: self.step + 1,
                    home: At::Work,
                    place: &place,
                    source: &|_| NONE,
                };
                let parts = (&*self.cuda, &self.cuda.schedules[UPDATES + number], &update.schedule);
                instances.add(&mut self.stage, &mut space, parts, &given)?;
                any = true;
            }
            if any {
                updates.push(TensorUpdate { update: number, space, ready: instances.ready(&mut self.stage)? });
            }
        }
        Ok(updates)
    }

    fn loss(&mut self, schedule: &Schedule, slots: &[At], bases: &Bases) -> Result<Option<f32>, DeviceError> {
        let found = schedule.roots.iter().find_map(|r| if let Root::Loss(buffer) = r { Some(*buffer) } else { None });
        let Some(buffer) = found else { return Ok(None) };
        let mut loss = [0.0f32];
        self.driver.read(bases.resolve(slot_of(schedule, buffer, slots)), bytes_of_mut(&mut loss))?;
        Ok(Some(loss[0]))
    }
}

/// By table, by its features: the row numbers.
type Columns = Vec<Vec<At>>;

/// Where a result is; results are in the arena.
fn slot_of(schedule: &Schedule, id: din_program::schedule::BufferId, slots: &[At]) -> At {
    match schedule.buffers.get(id.index()).map(|b| b.place) {
        Some(Place::Arena(slot)) => slots.get(slot.index()).copied().unwrap_or(NONE),
        _ => NONE,
    }
}

impl<D: Driver + fmt::Debug> Steps for Engine<D> {
    fn level(&self) -> String {
        self.driver.level()
    }
    fn upload(&mut self, state: &State, tables: &[Table]) -> Result<(), DeviceError> {
        self.upload(state, tables)
    }
    fn download(&mut self, state: &mut State, tables: &mut [Table]) -> Result<(), DeviceError> {
        self.download(state, tables)
    }
    fn train_step(&mut self, tables: &[Table], inputs: &StepInputs<'_>) -> Result<f32, DeviceError> {
        self.train_step(tables, inputs)
    }
    fn infer(&mut self, tables: &[Table], inputs: &StepInputs<'_>) -> Result<Option<f32>, DeviceError> {
        self.infer(tables, inputs)
    }
    fn logits(&self, index: usize) -> &[f32] {
        self.logits(index)
    }
    fn set_profile(&mut self, on: bool) -> Result<(), DeviceError> {
        self.set_profile(on)
    }
    fn profile(&self) -> Vec<ProfileRow> {
        self.profile()
    }
    fn spans(&self) -> Vec<Span> {
        self.spans()
    }
}

impl<D: Driver> Drop for Engine<D> {
    fn drop(&mut self) {
        let driver = &mut self.driver;
        self.values.free(driver);
        self.tables.iter_mut().for_each(|t| t.free(driver));
        for block in [&mut self.staged, &mut self.arena, &mut self.work, &mut self.scratch] {
            block.free(driver);
        }
    }
}
