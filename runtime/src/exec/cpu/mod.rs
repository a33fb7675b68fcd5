//! The CPU executor: runs a program's schedules on the CPU.
//!
//! Guarantees:
//! - A program is checked once, when it is loaded, and every batch before it is run; neither can make the engine leave its buffers
//!   (generated code is trusted, see `crate::jit`).
//! - The same values, batch and ISA level give the same bits at any number of threads.
//! - Nothing is allocated in a step once capacities have grown to the batches' sizes.
//!
//! - `description`, `validate`, `signature`, `prepare`: from a program to what runs, every number checked. - `launches`: checks of its CUDA form. - `inputs`: checks of a batch. - `lookups`: what reads rows of tables. - `instance`: memory and addresses
//!   of a schedule. - `layout`, `group`: where a batch's elements lie. - `tiles`: tiles and chunks. - `phase`, `reduce`: the work. - `pool`: threads. - `profile`: where time goes. - `roof`: what
//!   this machine could do at most.
//!
//! A training step is three runs: forward and backward (the `train` schedule); the rows that the batch touched; the updates of all
//! tables and parameters, phase by phase side by side, since none reads what another writes.

mod instance;
mod memory;
mod phase;
mod prepare;
mod profile;
mod reduce;
mod roofline;
mod tiles;

pub use roofline::Roofline;

use crate::exec::ExecError;
use crate::exec::common::{
    self, CallSpan, CheckError, DenseState, Lookup, MAX_SLOTS, ProfileRow, Purpose, StepInputs, lookups,
};
use crate::jit::{CodeError, CodeImage, KernelFn};
use crate::kernels::Gemm;
use crate::table::{Occurrences, Table};
use crate::threads::pool::Pool;
use din_program::schedule::{KernelArg, Root, Storage};
use din_program::schema::UpdateRule;
use din_program::{Isa, Program};
use instance::{Instance, RowUpdate};
use phase::{Scratch, Shared};
use prepare::Prepared;
use std::sync::Arc;

/// Instances: the training schedule, the inference schedule, then the updates of tables, then those of parameters.
const TRAIN: usize = 0;
const INFER: usize = 1;
const UPDATES: usize = 2;

/// Runs one program.
#[derive(Debug)]
pub struct CpuExecutor {
    program: Arc<Program>,
    isa: Isa,
    gemm: Gemm,
    pool: Pool,
    /// Keeps the code that the instances' kernels point into.
    _image: Option<CodeImage>,
    instances: Vec<Instance>,
    scratch: Vec<Scratch>,
    /// By table.
    occurrences: Vec<Occurrences>,
    /// By table.
    lookups: Vec<Vec<Lookup>>,
    /// Row numbers of one table's lookups; empty between steps, kept for its allocation.
    slices: Vec<Vec<&'static [u32]>>,
    /// Stands for labels without data.
    zeros: Vec<f32>,
}

// SAFETY: the addresses kept inside lead into memory that the engine owns, or are bound anew by every call before they are used.
unsafe impl Send for CpuExecutor {}

impl CpuExecutor {
    /// Loads a program: its code of the highest level up to `isa` (see [`crate::cpu::choose`]), checked schedules, and `threads` threads.
    pub fn new(program: Arc<Program>, threads: usize, isa: Isa) -> Result<CpuExecutor, ExecError> {
        let image = CodeImage::load(&program, isa)?;
        let kernels = image.functions();
        let mut engine = Self::build(program, threads, isa, &kernels)?;
        engine._image = Some(image);
        Ok(engine)
    }

    /// An engine whose kernels are given, one for each of the program's.
    ///
    /// # Safety
    ///
    /// Each function keeps to the buffers of every call that names it, and lives as long as the engine.
    pub unsafe fn with_kernels(
        program: Arc<Program>,
        threads: usize,
        isa: Isa,
        kernels: &[KernelFn],
    ) -> Result<CpuExecutor, ExecError> {
        Self::build(program, threads, isa, kernels)
    }

    fn build(program: Arc<Program>, threads: usize, isa: Isa, kernels: &[KernelFn]) -> Result<CpuExecutor, ExecError> {
        if kernels.len() != program.kernels.len() {
            let why = format!("{} functions for {} kernels", kernels.len(), program.kernels.len());
            return Err(CodeError(why).into());
        }
        common::check_description(&program)?;
        let prepare = |schedule, name: &str, purpose| Prepared::new(&program, schedule, name, purpose, kernels);
        let mut instances = vec![
            Instance::new(prepare(&program.train, "train", Purpose::Step)?),
            Instance::new(prepare(&program.infer, "infer", Purpose::Step)?),
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
        for (t, table) in program.tables.iter().enumerate() {
            let u = update(table.update, &table.name, true)?;
            let name = format!("update {} of {}", u.name, table.name);
            let purpose = Purpose::Rows { width: table.width, slots: &u.slots };
            let mut instance = Instance::new(prepare(&u.schedule, &name, purpose)?);
            instance.rows = Some(RowUpdate {
                table: t,
                width: table.width as usize,
                gradients: vec![(std::ptr::null(), 0); lookups[t].len()],
                touches: std::ptr::null_mut(),
            });
            instances.push(instance);
        }
        for parameter in &program.parameters {
            let u = update(parameter.update, &parameter.name, false)?;
            let name = format!("update {} of {}", u.name, parameter.name);
            instances.push(Instance::new(prepare(&u.schedule, &name, Purpose::Tensor { slots: &u.slots })?));
        }
        let pool = Pool::new(threads)?;
        Ok(CpuExecutor {
            isa,
            gemm: Gemm::new(isa),
            _image: None,
            scratch: (0..pool.threads()).map(|_| Scratch::default()).collect(),
            pool,
            instances,
            occurrences: program.tables.iter().map(|_| Occurrences::new()).collect(),
            slices: lookups.iter().map(|r| Vec::with_capacity(r.len())).collect(),
            lookups,
            zeros: Vec::new(),
            program,
        })
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The level asked for; the runtime's own products run at it, generated code at it or below.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// One step of training: forward, backward, states, updates of the touched rows and of the parameters. Returns the batch's loss.
    ///
    /// On an error nothing was changed. A loss that is not finite is a step too, but weights and
    /// states stay as they were.
    pub fn train_step(
        &mut self,
        state: &mut DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<f32, ExecError> {
        let loss = self.gradients(state, tables, inputs)?;
        if let Some(loss) = loss.filter(|loss| !loss.is_finite()) {
            // The weights stay those that the loss was computed with, to look for the reason.
            state.step += 1;
            return Ok(loss);
        }
        self.touched(tables, inputs);
        self.bind_updates(state, tables)?;
        self.run()?;
        for root in &self.instances[TRAIN].prepared.roots {
            if let Root::State { state: k, buffer } = root {
                state.states[*k as usize].copy_from_slice(self.instances[TRAIN].result(*buffer));
            }
        }
        state.step += 1;
        Ok(self.loss(TRAIN).unwrap_or(0.0))
    }

    /// Forward and backward of a training step alone: nothing is changed, results can be read by [`CpuExecutor::train_results`].
    pub fn gradients(
        &mut self,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        common::check_step(&self.program, state, tables, inputs, true)?;
        self.bind_step(TRAIN, state, tables, inputs)?;
        self.run()?;
        self.instances[TRAIN].ran = true;
        Ok(self.loss(TRAIN))
    }

    /// Predictions (see [`CpuExecutor::logits`]) and, where labels are given, the loss.
    pub fn infer(
        &mut self,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        common::check_step(&self.program, state, tables, inputs, false)?;
        self.bind_step(INFER, state, tables, inputs)?;
        self.run()?;
        self.instances[INFER].ran = true;
        Ok(self.loss(INFER))
    }

    /// Logits of prediction `index` from the last [`CpuExecutor::infer`], one a sample.
    pub fn logits(&self, index: usize) -> &[f32] {
        self.prediction(INFER, index)
    }

    /// Logits of prediction `index` from the last training step, before its updates; empty where the training schedule has none.
    pub fn train_logits(&self, index: usize) -> &[f32] {
        self.prediction(TRAIN, index)
    }

    fn prediction(&self, instance: usize, prediction: usize) -> &[f32] {
        let instance = &self.instances[instance];
        let found = instance.prepared.roots.iter().find_map(|root| match root {
            Root::Prediction { index, buffer } if *index as usize == prediction => Some(*buffer),
            _ => None,
        });
        found.map_or(&[], |buffer| instance.result(buffer))
    }

    fn loss(&self, instance: usize) -> Option<f32> {
        let instance = &self.instances[instance];
        let found = instance.prepared.roots.iter().find_map(|root| match root {
            Root::Loss(buffer) => Some(*buffer),
            _ => None,
        });
        found.and_then(|buffer| instance.result(buffer).first().copied())
    }

    /// Results of the last training step, in the schedule's order: the whole buffer of each, row-major. (A row gradient is columns
    /// of it.)
    pub fn train_results(&self) -> impl Iterator<Item = (&Root, &[f32])> {
        self.results(TRAIN)
    }

    /// Results of the last inference.
    pub fn infer_results(&self) -> impl Iterator<Item = (&Root, &[f32])> {
        self.results(INFER)
    }

    fn results(&self, instance: usize) -> impl Iterator<Item = (&Root, &[f32])> {
        let instance = &self.instances[instance];
        instance.prepared.roots.iter().map(|root| (root, instance.result(root.buffer())))
    }

    /// Starts (from zero) or stops measuring where time goes.
    pub fn set_profile(&mut self, on: bool) {
        for scratch in &mut self.scratch {
            scratch.clock.switch(on.then_some(self.instances.as_slice()));
        }
    }

    /// What was measured since [`CpuExecutor::set_profile`], calls that ran, slowest first.
    pub fn profile(&self) -> Vec<ProfileRow> {
        let mut rows = profile::rows(&self.instances);
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
        profile::spans(&self.instances, self.scratch.iter().map(|s| &s.clock))
    }

    /// What one core of this machine does at most, measured now.
    pub fn roof(&self) -> Roofline {
        Roofline::measure(self.gemm)
    }

    /// Readies the training or inference schedule, alone, for a checked batch.
    fn bind_step(
        &mut self,
        which: usize,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<(), ExecError> {
        if self.zeros.len() < inputs.rows {
            self.zeros.resize(inputs.rows + inputs.rows / 4, 0.0);
        }
        for (i, instance) in self.instances.iter_mut().enumerate() {
            instance.active = i == which;
        }
        let (zeros, program) = (&self.zeros, &self.program);
        let column = |columns: &[Vec<f32>], k: u32| match columns[k as usize].as_slice() {
            [] => zeros.as_ptr().cast_mut(),
            column => column.as_ptr().cast_mut(),
        };
        let place = |place: Storage| match place {
            Storage::Param(k) => state.params[k as usize].as_ptr().cast_mut(),
            Storage::State(k) => state.states[k as usize].as_ptr().cast_mut(),
            Storage::Dense(k) => inputs.dense[k as usize].as_ptr().cast_mut(),
            Storage::Label(k) => column(inputs.labels, k),
            Storage::Present(k) => column(inputs.present, k),
            _ => std::ptr::null_mut(),
        };
        let rows = |table: u32, feature: u32| -> &[u32] {
            let served = &program.tables[table as usize].features;
            let numbers = served.iter().zip(&inputs.row_numbers[table as usize]).find(|(f, _)| **f == feature);
            numbers.map_or(&[], |(_, n)| n)
        };
        let source = |source: KernelArg| match source {
            KernelArg::Rows { table, feature } => rows(table, feature).as_ptr().cast_mut().cast(),
            KernelArg::Table(t) => tables[t as usize].weights_ptr().cast(),
            _ => std::ptr::null_mut(),
        };
        let instance = &mut self.instances[which];
        instance.ran = false;
        instance.size(inputs.rows, inputs.requests, inputs.offsets, &rows, state.step + 1)?;
        instance.bind(&place, &source);
        Ok(())
    }

    /// Finds the distinct rows of every table, tables side by side.
    fn touched(&mut self, tables: &[Table], inputs: &StepInputs<'_>) {
        /// The jobs' own parts of two vectors.
        struct Parts(*mut Occurrences, *mut Vec<&'static [u32]>);
        // SAFETY: job `t` uses the parts at `t` alone.
        unsafe impl Sync for Parts {}
        let parts = Parts(self.occurrences.as_mut_ptr(), self.slices.as_mut_ptr());
        let (program, lookups, layout) = (&self.program, &self.lookups, &self.instances[TRAIN].layout);
        self.pool.run(tables.len(), &|t, _| {
            let parts = &parts;
            // SAFETY: both vectors have one entry a table, and this job's is used by no other.
            let (occurrences, slices) = unsafe { (&mut *parts.0.add(t), &mut *parts.1.add(t)) };
            debug_assert_eq!(program.tables[t].features.len(), inputs.row_numbers[t].len());
            for lookup in &lookups[t] {
                let rows = match lookup.unique {
                    None => inputs.row_numbers[t][lookup.feature].as_slice(),
                    Some((axis, key)) => &layout.unique(axis).rows[key as usize],
                };
                // SAFETY: the slices are dropped below, before the borrows of `inputs` and of the layout end.
                slices.push(unsafe { std::mem::transmute::<&[u32], &'static [u32]>(rows) });
            }
            occurrences.build(slices, tables[t].rows());
            if program.tables[t].update_rule == UpdateRule::Dense {
                occurrences.cover(tables[t].rows());
            }
            slices.clear();
        });
    }

    /// Readies the updates of all tables with touched rows and of all parameters with gradients.
    fn bind_updates(&mut self, state: &mut DenseState, tables: &mut [Table]) -> Result<(), ExecError> {
        let step = state.step + 1;
        let (steps, updates) = self.instances.split_at_mut(UPDATES);
        let train = &mut steps[TRAIN];
        train.active = false;
        steps[INFER].active = false;
        let train = &steps[TRAIN];
        let (of_tables, of_params) = updates.split_at_mut(tables.len());
        for (t, (instance, table)) in of_tables.iter_mut().zip(tables).enumerate() {
            let touched = &self.occurrences[t];
            instance.active = !touched.rows.is_empty();
            if !instance.active {
                continue;
            }
            if let Some(update) = &mut instance.rows {
                update.touches = table.touches_ptr();
                for (lookup, gradient) in self.lookups[t].iter().zip(&mut update.gradients) {
                    *gradient = lookup.view.map_or((std::ptr::null(), 0), |view| {
                        let stride = train.prepared.buffers[view.buffer.index()].width as usize;
                        let base = train.addresses[view.buffer.index()].wrapping_add(view.column as usize);
                        (base.cast_const(), stride)
                    });
                }
            }
            let place = |place: Storage| match place {
                Storage::Weight => table.weights_ptr(),
                Storage::UpdateSlot(k) => table.slot_ptr(k as usize),
                Storage::Frequency => table.count_ptr(),
                Storage::UpdateCount => table.touches_ptr(),
                Storage::InBatch => touched.touched.as_ptr().cast_mut(),
                _ => std::ptr::null_mut(),
            };
            let source = |source: KernelArg| match source {
                KernelArg::RowIndex => touched.rows.as_ptr().cast_mut().cast(),
                _ => std::ptr::null_mut(),
            };
            instance.size(touched.rows.len(), &[], &[], &|_, _| &[], step)?;
            instance.bind(&place, &source);
        }
        for (k, instance) in of_params.iter_mut().enumerate() {
            let gradient = train.prepared.roots.iter().find_map(|root| match root {
                Root::ParamGradient { param, buffer } if *param as usize == k => Some(train.addresses[buffer.index()]),
                _ => None,
            });
            instance.active = gradient.is_some();
            let Some(gradient) = gradient else { continue };
            let weight = state.params[k].as_mut_ptr();
            let mut slots = [std::ptr::null_mut(); MAX_SLOTS];
            for (slot, values) in slots.iter_mut().zip(&mut state.param_slots[k]) {
                *slot = values.as_mut_ptr();
            }
            let place = |place: Storage| match place {
                Storage::Weight => weight,
                Storage::Gradient => gradient,
                Storage::UpdateSlot(k) => slots[k as usize],
                _ => std::ptr::null_mut(),
            };
            instance.size(state.params[k].len(), &[], &[], &|_, _| &[], step)?;
            instance.bind(&place, &|_| std::ptr::null_mut());
        }
        Ok(())
    }

    /// Runs the active instances, whose addresses are bound.
    fn run(&mut self) -> Result<(), ExecError> {
        for instance in self.instances.iter().filter(|i| i.active) {
            for scratch in &mut self.scratch {
                scratch.fit(instance)?;
            }
        }
        Shared::new(&self.instances, &self.occurrences, self.gemm, &mut self.scratch).run(&mut self.pool);
        Ok(())
    }
}
