//! A model in memory and what runs its steps: for training, evaluation and prediction.
//!
//! - `model`: the values. - `ranks`: rows that other ranks own. - `device`: where steps run. -
//!   `inference`: a data set through a model.
//! - `undefined`: predictions that are not a number. - `error`: whose fault an error is.

mod device;
mod error;
mod inference;
mod model;
mod ranks;
pub(crate) mod undefined;

pub use device::{CpuOptions, Device};
pub use inference::{DataPass, OnSignal, PassEvent};
pub(crate) use inference::{InferenceOptions, Inferred, PassPosition, infer_all};
pub use model::{LoadPurpose, ModelState};
pub use ranks::{AskedRows, RowAsker};

use crate::batch::Batch;
use crate::comm::{Channel, Communicator, LocalCommunicator};
use crate::exec::{Backend, BatchCut, CallSpan, Executor, FetchedRows, ProfileRow, Roofline, StepInputs};
use crate::leaves::{LeafRange, RequestCut, default_leaves};
use crate::statistics::Statistics;
use crate::table::{self, AdmittedIds, FrequencyCounter, IdFrequencies, Resolved, ShardPlan, Table};
use crate::threads::Threads;
use crate::{Error, Result};
use din_program::Program;
use din_program::schema::Schema;
use ranks::{Purpose, RowFetcher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An executor with the model that it runs on.
#[derive(Debug)]
pub struct Session {
    program: Arc<Program>,
    executor: Box<dyn Executor>,
    /// Those of the executor too, where steps run on the host.
    threads: Arc<Threads>,
    /// Whether the executor has the values of the model.
    uploaded: bool,
    /// Whether the executor's values are newer than those of the model.
    ahead: bool,
    model: Model,
    row_numbers: Resolved,
    lookups: Duration,
    /// Most leaves of a batch.
    leaves: u32,
    /// Number of the epoch that the next step belongs to, from 1.
    epoch: u32,
    cut: OwnCut,
    /// Of a run of several ranks.
    ranks: Option<Ranks>,
}

/// What a session has of a run of several ranks.
#[derive(Debug)]
struct Ranks {
    asker: RowAsker,
    fetcher: RowFetcher,
    /// Rows of batches that are not asked for ahead.
    asked: AskedRows,
    /// Whether the asker knows which ids have rows.
    admitted_shared: bool,
}

/// Whose model it is.
#[derive(Debug)]
enum Model {
    /// The session's, which may train it.
    Owned(Box<ModelState>),
    /// One that others read too; its OOV rows are filled.
    Shared(Arc<ModelState>),
}

impl Model {
    fn get(&self) -> &ModelState {
        match self {
            Self::Owned(model) => model,
            Self::Shared(model) => model,
        }
    }

    fn get_mut(&mut self) -> Result<&mut ModelState> {
        match self {
            Self::Owned(model) => Ok(model),
            Self::Shared(_) => Err(Error::input("a model that is shared can be read only, not trained")),
        }
    }
}

impl Session {
    /// A model before training: see [`ModelState::new`].
    ///
    /// # Errors
    /// There is no memory for the tables.
    pub fn new(executor: Box<dyn Executor>, threads: Arc<Threads>, seed: u64) -> Result<Self> {
        let model = ModelState::new(executor.program().clone(), &threads, seed)?;
        Ok(Self::with_model(executor, threads, model))
    }

    /// A session that owns its model, and may train it.
    pub fn with_model(executor: Box<dyn Executor>, threads: Arc<Threads>, model: ModelState) -> Self {
        Self::with(executor, threads, Model::Owned(Box::new(model)))
    }

    /// A session that predicts with a model that others read at the same time:
    /// [`Session::into_shared`] gives one. A GPU gets a copy, or of a table that is too large the
    /// rows that batches read.
    pub fn reader(executor: Box<dyn Executor>, threads: Arc<Threads>, model: Arc<ModelState>) -> Self {
        Self::with(executor, threads, Model::Shared(model))
    }

    fn with(executor: Box<dyn Executor>, threads: Arc<Threads>, model: Model) -> Self {
        Self {
            program: executor.program().clone(),
            leaves: default_leaves(executor.program()),
            epoch: 1,
            row_numbers: model.get().row_numbers(),
            executor,
            threads,
            uploaded: false,
            ahead: false,
            model,
            lookups: Duration::ZERO,
            cut: OwnCut::default(),
            ranks: None,
        }
    }

    /// The model as it is now, for several sessions to read.
    ///
    /// # Errors
    /// The executor's values cannot be brought back.
    pub fn into_shared(mut self) -> Result<Arc<ModelState>> {
        self.model()?;
        Ok(match self.model {
            Model::Owned(model) => Arc::from(model),
            Model::Shared(model) => model,
        })
    }

    /// Cuts training batches into so many leaves at most, a power of two up to
    /// [`crate::leaves::MAX_LEAVES`]: it decides the bits of what is trained.
    pub fn set_leaves(&mut self, leaves: u32) {
        self.leaves = leaves;
    }

    /// Makes this the session of one rank of a run: its tables are those of the plan, every rank
    /// calls the session's methods that train or predict in the same order, and training batches
    /// are the rank's part of the global ones.
    ///
    /// # Errors
    /// The executor cannot run a part of a batch.
    pub fn join_ranks(&mut self, ranks: Arc<dyn Communicator>, plan: ShardPlan) -> Result<()> {
        self.executor.join_ranks(ranks.clone())?;
        self.uploaded = false;
        let plan = Arc::new(plan);
        self.ranks = Some(Ranks {
            asker: RowAsker::new(self.program.clone(), plan.clone(), ranks.clone(), self.threads.clone()),
            fetcher: RowFetcher::new(self.program.clone(), plan, ranks),
            asked: AskedRows::default(),
            admitted_shared: false,
        });
        Ok(())
    }

    /// Asks for the rows of batches to train, ahead of [`Session::submit_asked`]; `None` on one
    /// rank. Every rank calls it, behind the counting pass.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn row_asker(&mut self) -> Result<Option<RowAsker>> {
        self.share_admitted()?;
        Ok(self.ranks.as_ref().map(|ranks| ranks.asker.clone()))
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Threads that read data beside the steps. Steps on the host use the cores themselves, and one
    /// reader is soon faster than they are; a GPU leaves the cores alone and is much faster than
    /// one.
    pub fn reading_threads(&self) -> usize {
        let threads = self.threads.count();
        if self.executor.runs_on_host() { 1 + threads / 8 } else { threads.min(16) }
    }

    /// Gives the executor the values that it does not have.
    fn upload(&mut self) -> Result<()> {
        if !self.uploaded {
            let model = self.model.get();
            self.executor.upload(&model.dense, &model.tables)?;
            self.uploaded = true;
        }
        Ok(())
    }

    /// Brings the executor's values back, where they are newer.
    fn download(&mut self) -> Result<()> {
        if std::mem::take(&mut self.ahead) {
            let model = self.model.get_mut()?;
            self.executor.download(&mut model.dense, &mut model.tables)?;
        }
        Ok(())
    }

    /// After training: gives every dynamic table its OOV row. A GPU's tables come to the host for
    /// it, and go back with the next step.
    fn fill_oov_rows(&mut self) -> Result<()> {
        if self.model.get().needs_oov_rows() {
            self.download()?;
            let ranks = self.ranks.as_ref().map_or(&LocalCommunicator as &dyn Communicator, |r| &**r.fetcher.ranks());
            self.model.get_mut()?.fill_oov_rows(ranks, &self.threads)?;
            self.uploaded = false;
        }
        Ok(())
    }

    /// The model as it is now; a GPU's values are brought back for it.
    ///
    /// # Errors
    /// The executor's values cannot be brought back.
    pub fn model(&mut self) -> Result<&ModelState> {
        self.fill_oov_rows()?;
        self.download()?;
        Ok(self.model.get())
    }

    /// What decides the bits of results beside program, data and seed.
    pub fn backend(&self) -> Backend {
        self.executor.backend()
    }

    /// Steps done.
    pub fn step_number(&self) -> u64 {
        self.model.get().dense.step
    }

    /// The tables in the host's memory.
    pub fn tables(&self) -> &[Table] {
        &self.model.get().tables
    }

    /// What the training data decide of features: the place that the model has for it.
    pub fn statistics(&self) -> &Statistics {
        &self.model.get().statistics
    }

    /// The tables, for rows that are given before training.
    ///
    /// # Errors
    /// The model is shared.
    pub fn untrained_tables(&mut self) -> Result<&mut [Table]> {
        self.uploaded = false;
        Ok(&mut self.model.get_mut()?.tables)
    }

    /// See [`ModelState::frequency_counters`].
    pub fn frequency_counters(&self) -> Vec<(usize, FrequencyCounter)> {
        self.model.get().frequency_counters()
    }

    /// Adds a batch of the counting pass.
    ///
    /// # Errors
    /// As [`ModelState::count`].
    pub fn count(&mut self, counters: &mut [(usize, FrequencyCounter)], batch: &Batch) -> Result<()> {
        self.model.get_mut()?.count(counters, batch)
    }

    /// Writes the frequencies into the tables.
    ///
    /// # Errors
    /// The model is shared.
    pub fn finish_counting(&mut self, counters: Vec<(usize, FrequencyCounter)>) -> Result<()> {
        self.model.get_mut()?.finish_counting(counters);
        self.uploaded = false;
        Ok(())
    }

    /// See [`ModelState::id_frequencies`].
    pub fn id_frequencies(&self) -> Vec<(usize, IdFrequencies)> {
        self.model.get().id_frequencies()
    }

    /// Writes what the ranks have counted into the tables, all ranks together, and decides which
    /// ids are admitted; says how many, where not all are.
    ///
    /// # Errors
    /// An id that a fixed table does not have, no memory, a shared model, or another rank failed.
    pub fn join_frequencies(&mut self, counted: Vec<(usize, IdFrequencies)>) -> Result<Vec<AdmittedIds>> {
        let ranks = self.ranks.as_ref().map_or(&LocalCommunicator as &dyn Communicator, |r| &**r.fetcher.ranks());
        let admitted = table::join_frequencies(&mut self.model.get_mut()?.tables, counted, ranks)?;
        self.uploaded = false;
        if let Some(ranks) = &mut self.ranks {
            ranks.admitted_shared = false;
        }
        Ok(admitted)
    }

    /// Tells the asker which ids have rows, where not all that training sees have; before the first
    /// step, and behind the counting pass.
    fn share_admitted(&mut self) -> Result<()> {
        if let Some(ranks) = self.ranks.as_mut().filter(|ranks| !ranks.admitted_shared) {
            ranks.asker.set_admitted(table::admitted_ids(&self.model.get().tables, &**ranks.fetcher.ranks())?);
            ranks.admitted_shared = true;
        }
        Ok(())
    }

    /// Starts (from zero) or stops measuring where time goes.
    pub fn set_profile(&mut self, on: bool) -> Result<()> {
        self.lookups = Duration::ZERO;
        Ok(self.executor.set_profile(on)?)
    }

    /// What was measured, slowest first, and the first calls one by one.
    pub fn profile(&self) -> (Vec<ProfileRow>, Vec<CallSpan>) {
        (self.executor.profile(), self.executor.spans())
    }

    /// What steps run on, where that is not the CPU.
    pub fn device(&self) -> Option<Backend> {
        (!self.executor.runs_on_host()).then(|| self.executor.backend())
    }

    pub fn threads(&self) -> &Arc<Threads> {
        &self.threads
    }

    /// What one core does at most, where steps run on the host.
    pub fn roofline(&self) -> Option<Roofline> {
        self.executor.roofline()
    }

    /// Time that training has spent on finding the rows of ids.
    pub fn lookups(&self) -> Duration {
        self.lookups
    }

    /// Later steps belong to the epoch of this number, from 1.
    pub fn set_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
    }

    /// One training step; gives the mean loss of the batch. Losses of earlier steps that were not
    /// asked for are forgotten.
    ///
    /// # Errors
    /// As [`Session::submit_step`] and [`Session::next_loss`].
    pub fn train(&mut self, batch: &Batch) -> Result<f32> {
        self.submit_step(batch)?;
        let mut last = None;
        while let Some(loss) = self.next_loss()? {
            last = Some(loss);
        }
        Ok(last.expect("the step that was just submitted has a loss"))
    }

    /// The mean loss of the batch of the oldest step whose loss was not given yet; `None` where
    /// there is none. Waits for that step.
    ///
    /// # Errors
    /// The step failed.
    pub fn next_loss(&mut self) -> Result<Option<f32>> {
        Ok(self.executor.next_loss()?)
    }

    /// How many losses are best left for later, so that the next batch is prepared while a step
    /// runs.
    pub fn steps_in_flight(&self) -> usize {
        usize::from(!self.executor.runs_on_host())
    }

    /// Begins one training step, whose loss [`Session::next_loss`] gives; a GPU may still be at it
    /// on return.
    ///
    /// # Errors
    /// The batch does not fit the model, memory is short, the model is shared, or another rank
    /// failed.
    pub fn submit_step(&mut self, batch: &Batch) -> Result<()> {
        self.share_admitted()?;
        if let Some(ranks) = &mut self.ranks {
            let mut asked = std::mem::take(&mut ranks.asked);
            ranks.asker.ask(Some(batch), Purpose::Training, Channel::Step, &mut asked)?;
            let submitted = self.submit_asked(batch, &asked, false);
            if let Some(ranks) = &mut self.ranks {
                ranks.asked = asked;
            }
            return submitted.map(drop);
        }
        self.clear_oov_rows()?;
        let model = self.model.get_mut()?;
        let begin = Instant::now();
        model.resolve_train(&self.threads, batch, &mut self.row_numbers)?;
        self.lookups += begin.elapsed();
        self.upload()?;
        let model = self.model.get_mut()?;
        let cut = self.cut.of_whole(&self.program.schema, batch, self.leaves);
        let inputs = inputs(batch, &self.row_numbers, None, cut, self.epoch);
        self.executor.submit_step(&mut model.dense, &mut model.tables, &inputs)?;
        self.ahead = true;
        Ok(())
    }

    /// [`Session::submit_step`] of a batch whose rows were asked for ([`Session::row_asker`]), on
    /// one rank of a run: every rank submits its part of the same global batch. `asks_to_stop` is
    /// this rank's word; returns whether any rank asks to stop.
    ///
    /// # Errors
    /// As [`Session::submit_step`].
    pub fn submit_asked(&mut self, batch: &Batch, asked: &AskedRows, asks_to_stop: bool) -> Result<bool> {
        self.clear_oov_rows()?;
        let begin = Instant::now();
        let ranks = self.ranks.as_mut().expect("rows are asked for on ranks alone");
        let model = self.model.get_mut()?;
        let stop = ranks.fetcher.fetch(asked, &mut model.tables, Table::resolve_train, asks_to_stop)?;
        self.lookups += begin.elapsed();
        self.upload()?;
        let ranks = self.ranks.as_ref().expect("rows are asked for on ranks alone");
        let model = self.model.get_mut()?;
        let cut = self.cut.of_part(&self.program.schema, batch);
        let inputs = inputs(batch, &asked.positions, Some(&ranks.fetcher.fetched), cut, self.epoch);
        self.executor.submit_step(&mut model.dense, &mut model.tables, &inputs)?;
        self.ahead = true;
        Ok(stop)
    }

    /// Takes the OOV rows back before training.
    fn clear_oov_rows(&mut self) -> Result<()> {
        self.model.get().check_trainable()?;
        if self.model.get_mut()?.clear_oov_rows() {
            self.uploaded = false;
        }
        Ok(())
    }

    /// Rounds the tables to BF16: what follows is inference on a CPU. Of a run of several ranks,
    /// every rank calls it.
    ///
    /// # Errors
    /// There is no memory for a table in both forms, or the model is shared.
    pub fn round_tables(&mut self) -> Result<()> {
        self.fill_oov_rows()?;
        self.download()?;
        self.uploaded = false;
        self.model.get_mut()?.round_tables()
    }

    /// Predictions without training: see [`Session::predicted`].
    ///
    /// # Errors
    /// The batch does not fit the model, or the executor fails.
    pub fn infer(&mut self, batch: &Batch) -> Result<()> {
        self.fill_oov_rows()?;
        self.model.get().resolve_read(&self.threads, batch, &mut self.row_numbers)?;
        self.upload()?;
        let cut = self.cut.of_whole(&self.program.schema, batch, self.leaves);
        let inputs = inputs(batch, &self.row_numbers, None, cut, self.epoch);
        match &mut self.model {
            Model::Owned(model) => self.executor.infer(&model.dense, &mut model.tables, &inputs)?,
            Model::Shared(model) => self.executor.infer_shared(&model.dense, &model.tables, &inputs)?,
        };
        Ok(())
    }

    /// [`Session::infer`] on any rank of a run: every rank calls it as often as the others, with a
    /// batch of its own or none.
    ///
    /// # Errors
    /// As [`Session::infer`], or another rank failed.
    pub(crate) fn infer_together(&mut self, batch: Option<&Batch>) -> Result<()> {
        if self.ranks.is_none() {
            return batch.map_or(Ok(()), |batch| self.infer(batch));
        }
        self.fill_oov_rows()?;
        let ranks = self.ranks.as_mut().expect("there are several ranks");
        ranks.asker.ask(batch, Purpose::Reading, Channel::Step, &mut ranks.asked)?;
        let model = self.model.get_mut()?;
        let rows_of = |table: &mut Table, ids: &[u64], rows: &mut Vec<u32>| table.resolve_read(ids, rows);
        ranks.fetcher.fetch(&ranks.asked, &mut model.tables, rows_of, false)?;
        if let Some(batch) = batch {
            self.upload()?;
            let ranks = self.ranks.as_ref().expect("there are several ranks");
            let model = self.model.get_mut()?;
            let (rows, fetched) = (&ranks.asked.positions, Some(&ranks.fetcher.fetched[..]));
            let cut = self.cut.of_whole(&self.program.schema, batch, self.leaves);
            let inputs = inputs(batch, rows, fetched, cut, self.epoch);
            self.executor.infer(&model.dense, &mut model.tables, &inputs)?;
        }
        Ok(())
    }

    /// Root of prediction `index` from the last [`Session::infer`], sample by sample.
    pub fn predicted(&self, index: usize) -> &[f32] {
        self.executor.predicted(index)
    }

    /// Values of output `index` from the last [`Session::infer`], sample by sample.
    pub fn output(&self, index: usize) -> &[f32] {
        self.executor.output(index)
    }
}

/// Room for the requests of a batch that are consecutive samples of it.
#[derive(Debug, Default)]
struct OwnCut {
    samples: LeafRange,
    requests: RequestCut,
}

impl OwnCut {
    /// The requests of the global batch, and its leaves, at most so many.
    fn of_whole<'a>(&'a mut self, schema: &Schema, batch: &'a Batch, leaves: u32) -> (&'a [u32], BatchCut<'a>) {
        let Some(requests) = &schema.in_batch else { return (&batch.requests, BatchCut::Whole(leaves)) };
        self.samples.set_whole(batch.rows, leaves);
        self.requests.set(&self.samples, requests.size);
        (&self.requests.requests, BatchCut::All(&self.requests.leaves))
    }

    /// The requests of a rank's part of a batch, and its leaves.
    fn of_part<'a>(&'a mut self, schema: &Schema, batch: &'a Batch) -> (&'a [u32], BatchCut<'a>) {
        let Some(requests) = &schema.in_batch else { return (&batch.requests, BatchCut::Part(&batch.leaves)) };
        self.requests.set(&batch.leaves, requests.size);
        (&self.requests.requests, BatchCut::Part(&self.requests.leaves))
    }
}

fn inputs<'a>(
    batch: &'a Batch,
    row_numbers: &'a [Vec<Vec<u32>>],
    fetched: Option<&'a [FetchedRows]>,
    (requests, cut): (&'a [u32], BatchCut<'a>),
    epoch: u32,
) -> StepInputs<'a> {
    StepInputs {
        rows: batch.rows,
        requests,
        offsets: &batch.offsets,
        row_numbers,
        dense: &batch.dense,
        labels: &batch.labels,
        present: &batch.present,
        fetched,
        cut,
        first_row: batch.first_row,
        epoch,
    }
}
