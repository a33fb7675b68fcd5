//! A model in memory: an executor, dense weights, tables, and the row numbers between a batch and a
//! step.

use crate::batch::Batch;
use crate::checkpoint::{Contents, Loaded};
use crate::cpu::UnsupportedIsa;
use crate::exec::cuda::DeviceError;
use crate::exec::{Backend, CallSpan, CheckError, DenseState, ExecError, Executor, ProfileRow, Roofline, StepInputs};
use crate::random::Stream;
use crate::table::{self, FrequencyCounter, Resolved, Table, TableError};
use crate::threads::{ThreadError, Threads};
use crate::{Error, Result};
use din_program::{Isa, Program};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the CPU is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Default: all cores.
    pub threads: Option<usize>,
    /// Default: the best level that both the CPU and the program have.
    pub isa: Option<Isa>,
}

impl CpuOptions {
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    program: Arc<Program>,
    executor: Box<dyn Executor>,
    /// Those of the executor too, where steps run on the host.
    threads: Arc<Threads>,
    /// Whether the executor has the values of `state` and `tables`.
    uploaded: bool,
    /// Whether the executor's values are newer than those of `state` and `tables`.
    ahead: bool,
    state: DenseState,
    tables: Vec<Table>,
    /// By table, by its features: row numbers of a batch.
    resolved: Resolved,
    lookups: Duration,
    /// Whether the OOV rows are those of evaluation: see [`Table::fill_oov_row`].
    settled: bool,
}

impl From<ExecError> for Error {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Check(error) => error.into(),
            ExecError::Device(error) => error.into(),
            ExecError::Code(_) | ExecError::Memory { .. } | ExecError::Thread(_) => Error::machine(error.to_string()),
        }
    }
}

impl From<CheckError> for Error {
    fn from(error: CheckError) -> Self {
        match error {
            // A program is read from a run directory or an executable: one that contradicts itself was altered there.
            CheckError::Schedule { .. } | CheckError::Input(_) => Error::input(error.to_string()),
        }
    }
}

impl From<UnsupportedIsa> for Error {
    fn from(error: UnsupportedIsa) -> Self {
        Error::input(error.to_string())
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Input(_) | DeviceError::NoDevice { .. } => Error::input(error.to_string()),
            _ => Error::machine(error.to_string()),
        }
    }
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Memory { .. } => Error::machine(error.to_string()),
            _ => Error::input(error.to_string()),
        }
    }
}

impl From<ThreadError> for Error {
    fn from(error: ThreadError) -> Self {
        Error::machine(error.to_string())
    }
}

impl Session {
    /// A model before training: weights drawn from (seed, name, position), tables with the OOV row alone or all fixed rows.
    pub fn new(executor: Box<dyn Executor>, threads: Arc<Threads>, seed: u64) -> Result<Self> {
        let program = executor.program().clone();
        let mut state = DenseState::new(&program);
        for (parameter, numbers) in program.parameters.iter().zip(&mut state.params) {
            Stream::new(seed, &format!("parameter {}", parameter.name), 0).fill(parameter.init, numbers);
        }
        for (spec, numbers) in program.states.iter().zip(&mut state.states) {
            Stream::new(seed, &format!("state {}", spec.name), 0).fill(spec.init, numbers);
        }
        let mut tables = Vec::with_capacity(program.tables.len());
        for spec in &program.tables {
            let slots = program.updates.get(spec.update as usize).map_or(&[][..], |u| &u.slots);
            tables.push(Table::with_threads(spec, slots, seed, &threads)?);
        }
        Ok(Self::with(executor, threads, state, tables, false))
    }

    /// A model as a checkpoint holds it.
    pub fn restored(executor: Box<dyn Executor>, threads: Arc<Threads>, loaded: Loaded) -> Self {
        Self::with(executor, threads, loaded.state, loaded.tables, true)
    }

    fn with(
        executor: Box<dyn Executor>,
        threads: Arc<Threads>,
        state: DenseState,
        tables: Vec<Table>,
        settled: bool,
    ) -> Self {
        let program = executor.program().clone();
        Self {
            executor,
            threads,
            uploaded: false,
            ahead: false,
            state,
            tables,
            resolved: program.tables.iter().map(|t| vec![Vec::new(); t.features.len()]).collect(),
            program,
            lookups: Duration::ZERO,
            settled,
        }
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Threads that read data beside the steps. Steps on the host use the cores themselves, and one reader is soon
    /// faster than they are; a device leaves the cores alone and is much faster than one.
    pub fn reading_threads(&self) -> usize {
        let threads = self.threads.count();
        if self.executor.runs_on_host() { 1 + threads / 8 } else { threads.min(16) }
    }

    /// Gives the executor the values that it does not have.
    fn upload(&mut self) -> Result<()> {
        if !self.uploaded {
            self.executor.upload(&self.state, &self.tables)?;
            self.uploaded = true;
        }
        Ok(())
    }

    /// Brings the executor's values back, where they are newer.
    fn download(&mut self) -> Result<()> {
        if std::mem::take(&mut self.ahead) {
            self.executor.download(&mut self.state, &mut self.tables)?;
        }
        Ok(())
    }

    /// After training: gives every growing table its OOV row. A device's tables come to
    /// the host for it, and go back with the next step.
    fn fill_oov_row(&mut self) -> Result<()> {
        if self.settled || !self.tables.iter().any(Table::is_dynamic) {
            return Ok(());
        }
        self.download()?;
        self.tables.iter_mut().for_each(|table| table.fill_oov_row(&self.threads));
        self.changed_on_host();
        self.settled = true;
        Ok(())
    }

    /// Before training.
    fn clear_oov_row(&mut self) {
        if std::mem::take(&mut self.settled) && self.tables.iter().any(Table::is_dynamic) {
            self.tables.iter_mut().for_each(Table::clear_oov_row);
            self.changed_on_host();
        }
    }

    /// A device's values are those of before.
    fn changed_on_host(&mut self) {
        self.uploaded = false;
    }

    /// The model as it is now; a device's values are brought back for it.
    pub fn contents(&mut self) -> Result<Contents<'_>> {
        self.fill_oov_row()?;
        self.download()?;
        Ok(Contents { program: &self.program, state: &self.state, tables: &self.tables })
    }

    /// A weight that has diverged (it is not finite, or too large for a model that learns
    /// anything), with the name of its tensor or table. A device's weights are brought back for it.
    pub fn diverged_weight(&mut self) -> Result<Option<(String, f32)>> {
        const TOO_LARGE: f32 = 1e9;
        let Contents { program, state, tables } = self.contents()?;
        let parameters = program.parameters.iter().map(|p| &p.name).zip(&state.params);
        let states = program.states.iter().map(|s| &s.name).zip(&state.states);
        let dense = parameters.chain(states).map(|(name, numbers)| (name, &numbers[..]));
        let tables = program.tables.iter().map(|t| &t.name).zip(tables.iter().map(Table::weights));
        let diverged = |x: &f32| !x.is_finite() || x.abs() >= TOO_LARGE;
        Ok(dense
            .chain(tables)
            .find_map(|(name, numbers)| numbers.iter().copied().find(diverged).map(|weight| (name.clone(), weight))))
    }

    /// What decides the bits of results beside program, data and seed.
    pub fn backend(&self) -> Backend {
        self.executor.backend()
    }

    /// Steps done.
    pub fn step_number(&self) -> u64 {
        self.state.step
    }

    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Counters of the tables whose regularizer reads counts; empty where none does.
    pub fn counters(&self) -> Vec<(usize, FrequencyCounter)> {
        let counting = self.program.tables.iter().enumerate().filter(|(_, t)| t.reads_frequency);
        counting.map(|(k, t)| (k, FrequencyCounter::new(&t.features))).collect()
    }

    /// Adds a batch of the counting pass.
    pub fn count(&mut self, counters: &mut [(usize, FrequencyCounter)], batch: &Batch) -> Result<()> {
        for (k, counter) in counters {
            if let Some(table) = self.tables.get_mut(*k) {
                counter.add(table, &self.program.schema, batch)?;
            }
        }
        Ok(())
    }

    pub fn finish_counting(&mut self, counters: Vec<(usize, FrequencyCounter)>) {
        for (k, counter) in counters {
            if let Some(table) = self.tables.get_mut(k) {
                counter.finish(table);
            }
        }
        self.changed_on_host();
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

    /// One training step; gives the mean loss of the batch. Losses of earlier steps that were not asked for are forgotten.
    pub fn train(&mut self, batch: &Batch) -> Result<f32> {
        self.train_ahead(batch)?;
        let mut loss = f32::NAN;
        while let Some(next) = self.next_loss()? {
            loss = next;
        }
        Ok(loss)
    }

    /// The mean loss of the batch of the oldest step whose loss was not given yet; `None` where there is none. Waits for that step.
    pub fn next_loss(&mut self) -> Result<Option<f32>> {
        Ok(self.executor.next_loss()?)
    }

    /// How many losses are best left for later, so that the next batch is readied while a step runs.
    pub fn ahead(&self) -> usize {
        usize::from(!self.executor.runs_on_host())
    }

    /// One training step, whose loss [`Session::next_loss`] gives; a device may still be at it on return.
    pub fn train_ahead(&mut self, batch: &Batch) -> Result<()> {
        self.clear_oov_row();
        let begin = Instant::now();
        table::resolve_train(&self.threads, &mut self.tables, &self.program.tables, batch, &mut self.resolved)?;
        self.lookups += begin.elapsed();
        self.upload()?;
        let inputs = inputs(batch, &self.resolved);
        self.executor.submit_step(&mut self.state, &mut self.tables, &inputs)?;
        self.ahead = true;
        Ok(())
    }

    /// Predictions without training: see [`Session::logits`].
    pub fn infer(&mut self, batch: &Batch) -> Result<()> {
        self.fill_oov_row()?;
        table::resolve_read(&self.threads, &self.tables, &self.program.tables, batch, &mut self.resolved)?;
        self.upload()?;
        let inputs = inputs(batch, &self.resolved);
        self.executor.infer(&self.state, &mut self.tables, &inputs)?;
        Ok(())
    }

    /// Logits of prediction `index` from the last [`Session::infer`], one a sample.
    pub fn logits(&self, index: usize) -> &[f32] {
        self.executor.logits(index)
    }
}

fn inputs<'a>(batch: &'a Batch, row_numbers: &'a [Vec<Vec<u32>>]) -> StepInputs<'a> {
    StepInputs {
        rows: batch.rows,
        requests: &batch.requests,
        offsets: &batch.offsets,
        row_numbers,
        dense: &batch.dense,
        labels: &batch.labels,
        present: &batch.present,
        fetched: None,
        counts: None,
    }
}
