//! The steps of the CPU executor. A training step has four parts: `fetch`, `run`, `exchange` and
//! `apply`.
//!
//! All gradients are those at the old weights: nothing that `run` reads is written before `apply`.
//! There the updates of all tables and parameters run phase by phase side by side, since none reads
//! what another writes. Where they read the norm of all gradients, the sums of squares of all of
//! them run before.

use super::bound_schedule::BatchShape;
use super::phase::PhaseRunner;
use super::{CpuExecutor, INFER, INFER_BF16, TRAIN, UPDATES};
use crate::exec::ExecError;
use crate::exec::common::{self, BatchCut, DenseState, MAX_SLOTS, StepInputs, StepNumbers};
use crate::leaves::DEFAULT_LEAVES;
use crate::table::Table;
use din_program::TablePrecision;
use din_program::schedule::{KernelArg, ScheduleRoot, Storage};

impl CpuExecutor {
    /// One step of training: forward, backward, states, updates of the rows in the batch and of the
    /// parameters. Returns the batch's loss; 0 of a program without one.
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
        self.exchange(tables, inputs)?;
        self.apply(state, tables, inputs.numbers(state))?;
        state.step += 1;
        Ok(loss.unwrap_or(0.0))
    }

    /// Forward and backward of a training step alone: nothing is changed, results can be read by
    /// [`CpuExecutor::train_results`].
    pub fn gradients(
        &mut self,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        common::check_step(&self.program, state, tables, inputs, true)?;
        self.fetch(TRAIN, state, tables, inputs)?;
        self.run(TRAIN)
    }

    /// Predictions (see [`CpuExecutor::predicted`]) and, where labels are given, the loss.
    pub fn infer(
        &mut self,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>, ExecError> {
        common::check_step(&self.program, state, tables, inputs, false)?;
        // All tables are in one precision: that was checked.
        self.inferred = match tables.first().map(Table::precision) {
            None | Some(TablePrecision::F32) => INFER,
            Some(TablePrecision::Bf16) => INFER_BF16,
        };
        self.fetch(self.inferred, state, tables, inputs)?;
        self.run(self.inferred)
    }

    /// From ids to rows: binds the training or inference schedule to a checked batch and to the
    /// rows that it reads.
    ///
    /// Reads the inputs; takes the addresses of dense values, of the inputs' columns and, by
    /// [`StepInputs::row_source`], of the tables or of the rows that were fetched from them. Writes
    /// the schedule's layout and addresses alone: tables that are read in place are not copied.
    fn fetch(
        &mut self,
        which: usize,
        state: &DenseState,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<(), ExecError> {
        if self.zeros.len() < inputs.rows {
            self.zeros.resize(inputs.rows + inputs.rows / 4, 0.0);
        }
        for (i, schedule) in self.schedules.iter_mut().enumerate() {
            schedule.active = i == which;
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
            other => unreachable!("validated: a step's schedule has no {other:?}"),
        };
        let rows = |table: u32, feature: u32| -> &[u32] {
            let served = program.tables[table as usize].features.iter().position(|f| *f == feature);
            let served = served.expect("validated: row numbers are of features that the table serves");
            &inputs.row_source(table as usize).row_numbers[served]
        };
        let source = |source: KernelArg| match source {
            KernelArg::Rows { table, feature } => rows(table, feature).as_ptr().cast_mut().cast(),
            KernelArg::Table(t) => inputs.row_source(t as usize).base(&tables[t as usize]).cast_mut(),
            other => unreachable!("validated: a step's schedule has no {other:?}"),
        };
        let schedule = &mut self.schedules[which];
        schedule.ran = false;
        let leaves = match inputs.cut {
            BatchCut::Whole(most) => {
                let requests = inputs.requests.len().checked_sub(1);
                self.leaves.set_whole(requests.unwrap_or(inputs.rows), most);
                &self.leaves
            }
            BatchCut::All(leaves) | BatchCut::Part(leaves) => leaves,
        };
        let batch = BatchShape {
            samples: inputs.rows,
            requests: inputs.requests,
            sequences: inputs.offsets,
            leaves,
            first_row: inputs.first_row,
        };
        schedule.size(&batch, &rows, inputs.numbers(state))?;
        schedule.over_ranks = matches!(inputs.cut, BatchCut::Part(_));
        if schedule.over_ranks {
            self.global_counts.clear();
            self.global_counts.extend(schedule.counts.iter().map(|&count| count as u32));
            self.reducer.sum_counts(&mut self.global_counts)?;
            schedule.set_global_counts(&self.global_counts);
        }
        schedule.bind(&place, &source);
        Ok(())
    }

    /// Runs the phases of the schedule that was bound; returns the loss.
    ///
    /// Reads what [`CpuExecutor::fetch`] bound; writes the schedule's own memory alone. Every
    /// reduction over all samples goes through the executor's [`super::Reducer`].
    fn run(&mut self, which: usize) -> Result<Option<f32>, ExecError> {
        for scratch in &mut self.scratch {
            scratch.fit(&self.schedules[which])?;
        }
        let runner = PhaseRunner::new(&self.schedules, &self.occurrences, self.kernels, &mut self.scratch);
        runner.run(&mut self.threads.pool(), &mut self.reducer)?;
        self.schedules[which].ran = true;
        Ok(self.loss(which))
    }

    /// Updates tables with rows in the batch, parameters with gradients, and states.
    ///
    /// Reads the gradients of the training schedule, in their order by the occurrences; writes
    /// weights, optimizer states and update counts of tables, and dense values. Reductions in here
    /// are over a rank's own rows or parameters.
    fn apply(&mut self, state: &mut DenseState, tables: &mut [Table], numbers: StepNumbers) -> Result<(), ExecError> {
        if !self.squared_norms.is_empty() {
            self.squared_norms.fill(0.0);
            self.stop_all();
            self.bind_row_programs(UpdateProgram::SquaredNorm, tables, numbers)?;
            self.bind_tensor_programs(UpdateProgram::SquaredNorm, state, numbers)?;
            self.run_updates()?;
        }
        self.stop_all();
        self.bind_row_programs(UpdateProgram::Update, tables, numbers)?;
        self.bind_tensor_programs(UpdateProgram::Update, state, numbers)?;
        self.run_updates()?;
        for root in &self.schedules[TRAIN].prepared.roots {
            if let ScheduleRoot::State { state: k, buffer } = root {
                state.states[*k as usize].copy_from_slice(self.schedules[TRAIN].result(*buffer));
            }
        }
        Ok(())
    }

    /// Runs the updates that were bound.
    pub(super) fn run_updates(&mut self) -> Result<(), ExecError> {
        for schedule in self.schedules.iter().filter(|s| s.active) {
            for scratch in &mut self.scratch {
                scratch.fit(schedule)?;
            }
        }
        let runner = PhaseRunner::new(&self.schedules, &self.occurrences, self.kernels, &mut self.scratch);
        runner.run(&mut self.threads.pool(), &mut self.reducer)
    }

    /// The sums of the squares of this program's gradients, of its tables as the exchange has left
    /// them; those of parameters are the caller's to fill in.
    pub fn squared_norms_of_tables(
        &mut self,
        tables: &mut [Table],
        numbers: StepNumbers,
    ) -> Result<&mut [f32], ExecError> {
        if !self.squared_norms.is_empty() {
            self.squared_norms.fill(0.0);
            self.stop_all();
            self.bind_row_programs(UpdateProgram::SquaredNorm, tables, numbers)?;
            self.run_updates()?;
        }
        Ok(&mut self.squared_norms)
    }

    /// No schedule takes part in the next run.
    pub(super) fn stop_all(&mut self) {
        self.schedules.iter_mut().for_each(|schedule| schedule.active = false);
    }

    /// Binds such a program of all tables with rows in the batch; `numbers` are those of the step.
    pub(super) fn bind_row_programs(
        &mut self,
        which: UpdateProgram,
        tables: &mut [Table],
        numbers: StepNumbers,
    ) -> Result<(), ExecError> {
        let first = self.first_program(which);
        let squared_norms = self.squared_norms.as_mut_ptr();
        let of_tables = &mut self.schedules[first..][..tables.len()];
        for (t, (schedule, table)) in of_tables.iter_mut().zip(tables).enumerate() {
            let occurrences = &self.occurrences[t];
            // Where ranks sum over a table's rows together, one without rows takes part.
            schedule.active = match schedule.over_ranks {
                true => self.exchange.global_row_counts[t] > 0,
                false => !occurrences.rows.is_empty(),
            };
            if !schedule.active {
                continue;
            }
            let update = schedule.rows.as_mut().expect("the schedule of a table's update has its rows");
            update.updates = table.updates_ptr();
            update.gradients.clone_from(&self.gradients[t]);
            let place = |place: Storage| match (which, place) {
                (UpdateProgram::SquaredNorm, Storage::UpdateSlot(_)) => squared_norms.wrapping_add(t),
                (_, Storage::Weight) => table.weights_ptr(),
                (_, Storage::UpdateSlot(k)) => table.slot_ptr(k as usize),
                (_, Storage::Frequency) => table.frequency_ptr(),
                (_, Storage::UpdateCount) => table.updates_ptr(),
                (_, Storage::InBatch) => occurrences.touched.as_ptr().cast_mut(),
                (_, Storage::SquaredNorms) => squared_norms,
                (_, other) => unreachable!("validated: an update of rows has no {other:?}"),
            };
            let source = |source: KernelArg| match source {
                KernelArg::RowIndex => occurrences.rows.as_ptr().cast_mut().cast(),
                other => unreachable!("validated: an update of rows has no {other:?}"),
            };
            let shape = BatchShape::rows(occurrences.rows.len(), &self.row_leaves[t]);
            schedule.size(&shape, &no_features, numbers)?;
            if schedule.over_ranks {
                schedule.set_global_counts(&[1, self.exchange.global_row_counts[t]]);
            }
            schedule.bind(&place, &source);
        }
        Ok(())
    }

    /// Binds such a program of all parameters with gradients.
    fn bind_tensor_programs(
        &mut self,
        which: UpdateProgram,
        state: &mut DenseState,
        numbers: StepNumbers,
    ) -> Result<(), ExecError> {
        let (first, tables) = (self.first_program(which), self.program.tables.len());
        let squared_norms = self.squared_norms.as_mut_ptr();
        let leaves = &mut self.leaves;
        let (steps, programs) = self.schedules.split_at_mut(UPDATES);
        let train = &steps[TRAIN];
        let of_params = &mut programs[first - UPDATES + tables..][..state.params.len()];
        for (k, schedule) in of_params.iter_mut().enumerate() {
            let gradient = train.prepared.roots.iter().find_map(|root| match root {
                ScheduleRoot::ParamGradient { param, buffer } if *param as usize == k => {
                    Some(train.addresses[buffer.index()])
                }
                _ => None,
            });
            schedule.active = gradient.is_some();
            let Some(gradient) = gradient else { continue };
            let weight = state.params[k].as_mut_ptr();
            let mut slots = [std::ptr::null_mut(); MAX_SLOTS];
            for (slot, values) in slots.iter_mut().zip(&mut state.param_slots[k]) {
                *slot = values.as_mut_ptr();
            }
            let place = |place: Storage| match (which, place) {
                (UpdateProgram::SquaredNorm, Storage::UpdateSlot(_)) => squared_norms.wrapping_add(tables + k),
                (_, Storage::Weight) => weight,
                (_, Storage::Gradient) => gradient,
                (_, Storage::UpdateSlot(k)) => slots[k as usize],
                (_, Storage::SquaredNorms) => squared_norms,
                (_, other) => unreachable!("validated: an update of a tensor has no {other:?}"),
            };
            let source =
                |source: KernelArg| -> *mut u8 { unreachable!("validated: an update of a tensor has no {source:?}") };
            leaves.set_whole(state.params[k].len(), DEFAULT_LEAVES);
            schedule.size(&BatchShape::rows(state.params[k].len(), leaves), &no_features, numbers)?;
            schedule.bind(&place, &source);
        }
        Ok(())
    }

    /// The schedule of such a program of the first table.
    fn first_program(&self, which: UpdateProgram) -> usize {
        match which {
            UpdateProgram::Update => UPDATES,
            UpdateProgram::SquaredNorm => UPDATES + self.program.tables.len() + self.program.parameters.len(),
        }
    }
}

/// What runs over the gradients of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpdateProgram {
    /// Sums the squares of a gradient.
    SquaredNorm,
    /// Updates the weights.
    Update,
}

/// For schedules of updates, which have no unique axes.
fn no_features<'a>(table: u32, feature: u32) -> &'a [u32] {
    unreachable!("validated: an update reads no feature, found {feature} of table {table}")
}
