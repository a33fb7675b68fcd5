//! Training steps of one rank of several, by host staging.
//!
//! The rank's part of the batch comes to the device together with the rows that it reads. A step
//! stops behind every phase whose reductions are over all samples: one copy brings the rank's
//! values to the host, where they are joined with those of the other ranks by a tree over rank
//! numbers, and one brings the totals back. So all later phases compute with the global batch, and
//! each rank updates the dense part by itself. Row gradients are summed by row on the device; the
//! host sends the sums to the owners of the rows, and updates its own by the CPU's code.
//!
//! Guarantees: the same bits for the same number of ranks; an error before the first launch changes
//! nothing on this rank.

use super::super::driver::{DeviceError, DevicePtr, Driver};
use super::super::host_times::HostPart;
use super::super::memory::{BlockBases, BlockLayout, DeviceBlock, RelativePtr, bytes_of, bytes_of_mut};
use super::staging::{StagedStep, StagedTensors, result_ptr};
use super::steps::{ProgramKernels, loss_ptr};
use super::{CudaExecutor, TRAIN};
use crate::comm::{Channel, Communicator, Messages, RankReduction, sum_counts};
use crate::exec::common::{self, Layout, StepInputs};
use crate::exec::cuda::table_updates::TableUpdates;
use crate::exec::{ExecError, RowUpdates, row_updates};
use crate::kernels::{partial_of_results, store_results};
use crate::leaves::SumTree;
use crate::table::Table;
use crate::threads::Threads;
use din_program::cuda::Cuda;
use din_program::schedule::{AxisId, BufferId, Combine, GLOBAL, Operation, Phase, Statistic};
use din_program::{Isa, Program};
use std::sync::Arc;

/// What the steps of a rank need beside those of a single one.
#[derive(Debug)]
pub(super) struct RankSteps {
    ranks: Arc<dyn Communicator>,
    /// Exchanges the sums of row gradients, and updates the rows that this rank owns.
    rows: Box<dyn RowUpdates>,
    /// The phases of the training schedule that ranks reduce together, in order.
    phases: Vec<JoinedPhase>,
    joined: RankReduction,
    received: Messages,
    /// Elements by axis of the global batch.
    global_counts: Vec<u32>,
    /// The results of one phase side by side, on the device and here.
    results: DeviceBlock,
    values: Vec<f32>,
    /// One value of a reduction.
    value: Vec<f32>,
}

/// A phase that ends with reductions over all samples.
#[derive(Debug)]
struct JoinedPhase {
    /// The launches of the schedule up to the one that joins the copies of this phase's sums.
    end: usize,
    reductions: Vec<JoinedReduction>,
}

#[derive(Debug)]
struct JoinedReduction {
    how: JoinedValue,
    /// Where the launch leaves this rank's result, and reads the total; its floats.
    into: BufferId,
    floats: usize,
}

/// What is joined of a result.
#[derive(Clone, Copy, Debug)]
enum JoinedValue {
    /// The result itself.
    Sum,
    Max,
    /// Of all elements of an axis.
    Statistic(Statistic, AxisId),
}

impl JoinedValue {
    fn combine(self) -> Combine {
        match self {
            JoinedValue::Sum => Combine::Sum,
            JoinedValue::Max => Combine::Max,
            JoinedValue::Statistic(statistic, _) => Combine::Statistic(statistic),
        }
    }
}

impl JoinedReduction {
    /// Makes a result the value that ranks join: of a statistic the partial.
    fn value_of(&self, result: &[f32], layout: &Layout, value: &mut Vec<f32>) {
        value.clear();
        match self.how {
            JoinedValue::Sum | JoinedValue::Max => value.extend_from_slice(result),
            JoinedValue::Statistic(statistic, axis) => {
                partial_of_results(statistic, result, layout.count(axis) as f32, value);
            }
        }
    }

    /// The reverse, of the total.
    fn result_of(&self, total: &[f32], result: &mut [f32]) {
        match self.how {
            JoinedValue::Sum | JoinedValue::Max => result.copy_from_slice(total),
            JoinedValue::Statistic(statistic, _) => {
                let width = common::components(statistic, total.len());
                assert_eq!(result.len(), statistic.result_width(width as u32) as usize, "a partial has its results");
                // SAFETY: both have the floats of `width` components, and are apart.
                unsafe { store_results(statistic, total.as_ptr(), result.as_mut_ptr(), width) }
            }
        }
    }
}

/// The phases of the training schedule that ranks reduce together. Those over the global axis have
/// on every rank what they need.
fn joined_phases(program: &Program, cuda: &Cuda) -> Result<Vec<JoinedPhase>, DeviceError> {
    let schedule = &program.train;
    let mut phases = Vec::new();
    for (number, phase) in schedule.phases.iter().enumerate() {
        if phase.axis == GLOBAL || phase.reductions.is_empty() {
            continue;
        }
        let last = cuda.schedules[TRAIN].launches.iter().rposition(|launch| launch.phase as usize == number);
        let last = last.ok_or_else(|| DeviceError::Program(format!("nothing joins the sums of phase {number}")))?;
        let reductions = phase.reductions.iter().map(|reduction| {
            let how = match reduction.combine {
                Combine::Sum => JoinedValue::Sum,
                Combine::Max => JoinedValue::Max,
                Combine::Statistic(statistic) => {
                    JoinedValue::Statistic(statistic, statistic_axis(phase, reduction.partial)?)
                }
            };
            let floats = schedule.buffers[reduction.into.index()].width as usize;
            Ok(JoinedReduction { how, into: reduction.into, floats })
        });
        phases.push(JoinedPhase { end: last + 1, reductions: reductions.collect::<Result<_, DeviceError>>()? });
    }
    Ok(phases)
}

/// Whose elements the statistic in a partial buffer is of.
fn statistic_axis(phase: &Phase, partial: BufferId) -> Result<AxisId, DeviceError> {
    let axis = phase.calls.iter().find_map(|call| match &call.op {
        Operation::Statistic { out, .. } if *out == partial => Some(call.axis),
        Operation::Statistic { .. }
        | Operation::Kernel { .. }
        | Operation::Fill { .. }
        | Operation::MatMul { .. }
        | Operation::AbsorbedMatMul { .. }
        | Operation::AbsorbedOuter { .. }
        | Operation::Outer { .. }
        | Operation::Transpose { .. }
        | Operation::SegmentReduce { .. }
        | Operation::Carry { .. }
        | Operation::Unflatten { .. }
        | Operation::Flatten { .. } => None,
    });
    axis.ok_or_else(|| DeviceError::Program(format!("no call writes the statistic in buffer {}", partial.0)))
}

impl RankSteps {
    /// Those of a checked program; `host` is what updates rows.
    ///
    /// # Errors
    /// The program has no code for this CPU, or its CUDA form contradicts it.
    pub fn new(
        program: &Arc<Program>,
        cuda: &Cuda,
        (threads, isa): (Arc<Threads>, Option<Isa>),
        ranks: Arc<dyn Communicator>,
    ) -> Result<RankSteps, ExecError> {
        Ok(RankSteps {
            rows: row_updates(program.clone(), threads, isa, ranks.clone())?,
            ranks,
            phases: joined_phases(program, cuda)?,
            joined: RankReduction::default(),
            received: Messages::default(),
            global_counts: Vec::new(),
            results: DeviceBlock::default(),
            values: Vec::new(),
            value: Vec::new(),
        })
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        self.results.free(driver);
    }

    /// Counts the elements of the global batch.
    fn count(&mut self, layout: &Layout) -> Result<(), ExecError> {
        self.global_counts.clear();
        self.global_counts.extend(layout.axes.ids().map(|axis| layout.count(axis) as u32));
        sum_counts(&*self.ranks, Channel::Step, &mut self.global_counts, &mut self.received).map_err(ExecError::Ranks)
    }

    /// Makes room for the results of every phase, which are copied as words of declared arrays.
    fn reserve_results<D: Driver>(&mut self, driver: &mut D) -> Result<(), DeviceError> {
        let floats = |phase: &JoinedPhase| phase.reductions.iter().map(|r| r.floats).sum();
        let most = self.phases.iter().map(floats).max().unwrap_or(0);
        let mut space = BlockLayout::default();
        space.exact(most, "results of a phase")?;
        self.results.reserve(driver, space.bytes, "results of a phase")?;
        space.declare(driver, self.results.at, true);
        Ok(())
    }

    /// By result of a phase: where its launches leave it, where it lies in the block, and its
    /// bytes.
    fn places(
        &self,
        phase: &JoinedPhase,
        program: &Program,
        slots: &[RelativePtr],
        bases: &BlockBases,
    ) -> Result<Vec<(DevicePtr, DevicePtr, usize)>, DeviceError> {
        let mut at = self.results.at;
        let places = phase.reductions.iter().map(|reduction| {
            let into = bases.resolve(result_ptr(&program.train, reduction.into, slots)?);
            let (here, bytes) = (at, reduction.floats * 4);
            at += bytes as u64;
            Ok((into, here, bytes))
        });
        places.collect()
    }

    /// Makes the results of a phase, which the block has, those of all ranks.
    fn join_results<D: Driver>(&mut self, phase: usize, layout: &Layout, driver: &mut D) -> Result<(), ExecError> {
        let Self { ranks, phases, joined, results, values, value, .. } = self;
        let reductions = &phases[phase].reductions;
        values.resize(reductions.iter().map(|reduction| reduction.floats).sum(), 0.0);
        driver.read(results.at, bytes_of_mut(values))?;
        joined.begin();
        let mut at = 0;
        for reduction in reductions {
            reduction.value_of(&values[at..at + reduction.floats], layout, value);
            joined.add(reduction.how.combine(), value.len());
            joined.push(value);
            at += reduction.floats;
        }
        joined.join(&**ranks, Channel::Step, SumTree::OverRanks, common::combine).map_err(ExecError::Ranks)?;
        let mut at = 0;
        for (reduction, total) in reductions.iter().zip(joined.totals()) {
            reduction.result_of(total, &mut values[at..at + reduction.floats]);
            at += reduction.floats;
        }
        Ok(driver.write(results.at, bytes_of(values))?)
    }
}

/// A step of a rank, staged and uploaded.
struct StagedPart {
    step: StagedStep,
    of_tables: TableUpdates,
    of_params: StagedTensors,
    bases: BlockBases,
}

impl<D: Driver> CudaExecutor<D> {
    /// One training step of a rank of several, of its part of the batch. Every rank does the same
    /// step. The loss is that of the global batch; [`CudaExecutor::next_loss`] waits for it.
    ///
    /// # Errors
    /// The batch does not fit, the device fails, or another rank failed. After an error that is not
    /// of the batch the model on the device is lost.
    pub(super) fn train_part(&mut self, tables: &mut [Table], inputs: &StepInputs<'_>) -> Result<(), ExecError> {
        let Some(mut ranks) = self.ranks.take() else {
            return Err(DeviceError::Input("it is a part of a batch, and there are no other ranks".into()).into());
        };
        let done = self.train_part_with(&mut ranks, tables, inputs);
        self.ranks = Some(ranks);
        done
    }

    fn train_part_with(
        &mut self,
        ranks: &mut RankSteps,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<(), ExecError> {
        self.make_room_for_loss()?;
        self.times.begin();
        let (program, cuda) = (self.program.clone(), self.cuda.clone());
        let kernels = ProgramKernels { program: &program, cuda: &cuda };
        let part = self.stage_part(ranks, kernels, tables, inputs)?;
        self.model.uploaded = false;
        self.run_phases(ranks, kernels, &part)?;
        let fetched = inputs.fetched.expect("the batch was checked: its rows are fetched");
        let frozen = |table: usize| kernels.program.tables[table].frozen;
        for (table, rows) in fetched.iter().enumerate().filter(|(table, _)| !frozen(*table)) {
            let sums = ranks.rows.fetched_sums(table, rows.count);
            if let Some(summed) = part.of_tables.tables.iter().find(|summed| summed.table == table) {
                self.driver.read(part.bases.resolve(summed.sums), bytes_of_mut(sums))?;
            }
        }
        if !program.squared_norms.is_empty() {
            // Every update reads what all gradients make, those of rows among them.
            ranks.rows.exchange_rows(tables, fetched)?;
            self.join_squares(ranks, kernels, &part, tables)?;
        }
        // The device updates its part of the model while the host is at the rows.
        let mut list = self.list(part.bases);
        self.list_dense_updates(&mut list, kernels, &part.step, &part.of_params)?;
        self.run(list)?;
        self.begin_loss_read(loss_ptr(&program.train, &part.step.slots, &part.bases)?)?;
        self.times.done(HostPart::Run);
        if program.squared_norms.is_empty() {
            ranks.rows.exchange_rows(tables, fetched)?;
        }
        ranks.rows.update_rows(tables, self.model.next_step())?;
        self.add_to_profile(&part.of_tables, &part.bases)?;
        self.model.step += 1;
        self.model.trained = true;
        self.model.uploaded = true;
        Ok(())
    }

    /// Sums the squares of the gradients of parameters on the device, of rows on the host, and
    /// makes all sums known to both. Every rank has the gradients of the global batch.
    fn join_squares(
        &mut self,
        ranks: &mut RankSteps,
        kernels: ProgramKernels<'_>,
        part: &StagedPart,
        tables: &mut [Table],
    ) -> Result<(), ExecError> {
        let mut list = self.list(part.bases);
        self.list_no_squares(&mut list, &part.of_params);
        for sum in &part.of_params.squared_norms {
            list.schedule(&kernels.tensor(sum), &sum.staged);
        }
        self.run(list)?;
        let all = ranks.rows.squared_norms(tables, self.model.next_step())?;
        let (_, of_params) = all.split_at_mut(kernels.program.tables.len());
        self.driver.read(self.model.dense.squared_norm(kernels.program.tables.len()), bytes_of_mut(of_params))?;
        Ok(self.driver.write(self.model.dense.squared_norm(0), bytes_of(all))?)
    }

    /// Checks the part of the batch, stages all that its step needs, and uploads it.
    fn stage_part(
        &mut self,
        ranks: &mut RankSteps,
        kernels: ProgramKernels<'_>,
        tables: &[Table],
        inputs: &StepInputs<'_>,
    ) -> Result<StagedPart, ExecError> {
        self.check_uploaded()?;
        common::check_fetched_rows(inputs)?;
        common::check_batch(kernels.program, tables, inputs, true)?;
        self.times.done(HostPart::Check);
        self.lay_out(TRAIN, inputs);
        ranks.count(&self.layouts[TRAIN])?;
        let step = self.stage_step(TRAIN, inputs, Some(&ranks.global_counts))?;
        self.times.done(HostPart::Stage);
        let of_tables = self.stage_tables(inputs, &step)?;
        self.times.done(HostPart::Tables);
        let of_params = self.stage_params(&step.slots, of_tables.bytes())?;
        self.times.done(HostPart::Params);
        self.memory.work.reserve(&mut self.driver, of_params.end, "updates")?;
        let of_params_staged = of_params.all().map(|u| (kernels.tensor(u), &u.staged));
        self.reserve_scratch(std::iter::once((kernels.schedule(TRAIN), &step.schedule)).chain(of_params_staged))?;
        ranks.reserve_results(&mut self.driver)?;
        let bases = self.upload_batch(TRAIN, tables, inputs)?;
        self.times.done(HostPart::Write);
        Ok(StagedPart { step, of_tables, of_params, bases })
    }

    /// Runs the training schedule and the sums of row gradients, and stops for each phase that
    /// ranks reduce together.
    fn run_phases(
        &mut self,
        ranks: &mut RankSteps,
        kernels: ProgramKernels<'_>,
        part: &StagedPart,
    ) -> Result<(), ExecError> {
        let StagedPart { step, of_tables, of_params, bases } = part;
        let schedule = kernels.schedule(TRAIN);
        let location = |table: usize| kernels.program.tables[table].location.as_str();
        let of_sums = of_tables.tables.first().map(|first| schedule.at(location(first.table)));
        let mut list = self.list(*bases);
        list.set_side_stream(true);
        of_tables.list_sort(&mut list, of_sums);
        for update in of_params.all() {
            list.arrays(&update.layout, bases.work + update.at as u64);
        }
        self.list_leading_tensors(&mut list, kernels, of_params);
        list.set_side_stream(false);
        let mut begin = 0;
        for phase in 0..ranks.phases.len() {
            let end = ranks.phases[phase].end;
            list.part(&schedule, &step.schedule, begin..end);
            let places = ranks.places(&ranks.phases[phase], kernels.program, &step.slots, bases)?;
            places.iter().for_each(|&(result, here, bytes)| list.copy(result, here, bytes));
            list.join();
            self.run(list)?;
            ranks.join_results(phase, &self.layouts[TRAIN], &mut self.driver)?;
            list = self.list(*bases);
            places.iter().for_each(|&(result, here, bytes)| list.copy(here, result, bytes));
            begin = end;
        }
        list.part(&schedule, &step.schedule, begin..schedule.launches.launches.len());
        list.join();
        of_tables.list_sums(&mut list, of_sums);
        Ok(self.run(list)?)
    }
}
