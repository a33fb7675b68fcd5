//! A model in memory: an engine (the CPU's, or beside it a device's), dense weights, tables, and the row numbers between a batch and a step.

use crate::batch::Batch;
use crate::checkpoint::{Contents, Loaded};
use crate::cpu::UnsupportedIsa;
use crate::exec::cpu::CpuExecutor;
use crate::exec::cuda::DeviceError;
use crate::exec::{CallSpan, CheckError, DenseState, ExecError, ProfileRow, StepInputs, Steps};
use crate::random::Stream;
use crate::table::{self, Counter, Resolved, Table, TableError};
use crate::{Error, Result};
use din_program::{Isa, Program};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the machine is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Default: all cores.
    pub threads: Option<usize>,
    /// Default: the best level that both the CPU and the program have.
    pub isa: Option<Isa>,
}

impl Machine {
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }
}

/// Where steps run.
#[derive(Debug)]
enum Backend {
    Cpu,
    /// A device, which has its own values once they are `uploaded`; the host's are behind them where `ahead`.
    Device {
        steps: Box<dyn Steps>,
        uploaded: bool,
        ahead: bool,
    },
}

impl Backend {
    /// The loss, where it is there already.
    fn train(
        &mut self,
        engine: &mut CpuExecutor,
        state: &mut DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<Option<f32>> {
        self.upload(state, tables)?;
        match self {
            Self::Cpu => Ok(Some(engine.train_step(state, tables, inputs)?)),
            Self::Device { steps, ahead, .. } => {
                steps.train_ahead(tables, inputs)?;
                *ahead = true;
                state.step += 1;
                Ok(None)
            }
        }
    }

    fn infer(
        &mut self,
        engine: &mut CpuExecutor,
        state: &DenseState,
        tables: &mut [Table],
        inputs: &StepInputs<'_>,
    ) -> Result<()> {
        self.upload(state, tables)?;
        match self {
            Self::Cpu => engine.infer(state, tables, inputs).map(|_| ())?,
            Self::Device { steps, .. } => steps.infer(tables, inputs).map(|_| ())?,
        }
        Ok(())
    }

    /// Gives a device the values that it does not have.
    fn upload(&mut self, state: &DenseState, tables: &[Table]) -> Result<()> {
        if let Self::Device { steps, uploaded: uploaded @ false, .. } = self {
            steps.upload(state, tables)?;
            *uploaded = true;
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    program: Arc<Program>,
    engine: CpuExecutor,
    backend: Backend,
    state: DenseState,
    tables: Vec<Table>,
    /// By table, by its features: row numbers of a batch.
    resolved: Resolved,
    lookups: Duration,
    /// Whether the rows for unseen ids are those of evaluation: see [`Table::fill_oov_row`].
    settled: bool,
    /// Of steps on the CPU, that were not given yet.
    losses: VecDeque<f32>,
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

/// Threads that work on tables and a device's batches (the engine has its own). Heeded if it is called before the first of them starts.
pub fn set_threads(threads: usize) {
    crate::threads::set_threads(threads);
    // An error says that they have started already.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build_global();
}

/// An engine for the program on this machine.
pub fn engine(program: &Arc<Program>, machine: &Machine) -> Result<CpuExecutor> {
    let isa = crate::cpu::choose(machine.isa)?;
    Ok(CpuExecutor::new(program.clone(), machine.thread_count(), isa)?)
}

impl Session {
    /// A model before training: weights drawn from (seed, name, position), tables with row `unseen` alone or all fixed rows.
    pub fn new(engine: CpuExecutor, seed: u64) -> Result<Self> {
        let program = engine.program().clone();
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
            tables.push(Table::new(spec, slots, seed)?);
        }
        Ok(Self::with(engine, state, tables, false))
    }

    /// A model as a checkpoint holds it.
    pub fn restored(engine: CpuExecutor, loaded: Loaded) -> Self {
        Self::with(engine, loaded.state, loaded.tables, true)
    }

    fn with(engine: CpuExecutor, state: DenseState, tables: Vec<Table>, settled: bool) -> Self {
        let program = engine.program().clone();
        Self {
            engine,
            backend: Backend::Cpu,
            state,
            tables,
            resolved: program.tables.iter().map(|t| vec![Vec::new(); t.features.len()]).collect(),
            program,
            lookups: Duration::ZERO,
            settled,
            losses: VecDeque::new(),
        }
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Threads that read data beside the steps. The CPU's steps use the cores themselves, and one reader is soon faster than they are; a
    /// device leaves the cores alone and is much faster than one.
    pub fn reading_threads(&self) -> usize {
        let threads = self.engine.threads();
        match &self.backend {
            Backend::Cpu => 1 + threads / 8,
            Backend::Device { .. } => threads.min(16),
        }
    }

    /// Steps run on a device from now on.
    pub fn set_device(&mut self, steps: Box<dyn Steps>) {
        self.backend = Backend::Device { steps, uploaded: false, ahead: false };
    }

    /// Brings a device's values back, where they are ahead of the host's.
    fn download(&mut self) -> Result<()> {
        if let Backend::Device { steps, ahead, .. } = &mut self.backend
            && std::mem::take(ahead)
        {
            steps.download(&mut self.state, &mut self.tables)?;
        }
        Ok(())
    }

    /// After training: gives every growing table its row for unseen ids. A device's tables come to
    /// the host for it, and go back with the next step.
    fn fill_oov_row(&mut self) -> Result<()> {
        if self.settled || !self.tables.iter().any(Table::is_dynamic) {
            return Ok(());
        }
        self.download()?;
        self.tables.iter_mut().for_each(Table::fill_oov_row);
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
        if let Backend::Device { uploaded, .. } = &mut self.backend {
            *uploaded = false;
        }
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
    pub fn backend(&self) -> crate::exec::Backend {
        match &self.backend {
            Backend::Cpu => crate::exec::Backend::Cpu(self.engine.isa()),
            Backend::Device { steps, .. } => steps.backend(),
        }
    }

    /// Steps done.
    pub fn step_number(&self) -> u64 {
        self.state.step
    }

    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Counters of the tables whose regularizer reads counts; empty where none does.
    pub fn counters(&self) -> Vec<(usize, Counter)> {
        let counting = self.program.tables.iter().enumerate().filter(|(_, t)| t.counts);
        counting.map(|(k, t)| (k, Counter::new(&t.features))).collect()
    }

    /// Adds a batch of the counting pass.
    pub fn count(&mut self, counters: &mut [(usize, Counter)], batch: &Batch) -> Result<()> {
        for (k, counter) in counters {
            if let Some(table) = self.tables.get_mut(*k) {
                counter.add(table, &self.program.schema, batch)?;
            }
        }
        Ok(())
    }

    pub fn finish_counting(&mut self, counters: Vec<(usize, Counter)>) {
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
        match &mut self.backend {
            Backend::Cpu => self.engine.set_profile(on),
            Backend::Device { steps, .. } => steps.set_profile(on)?,
        }
        Ok(())
    }

    /// What was measured, slowest first, and the first calls one by one.
    pub fn profile(&self) -> (Vec<ProfileRow>, Vec<CallSpan>) {
        match &self.backend {
            Backend::Cpu => (self.engine.profile(), self.engine.spans()),
            Backend::Device { steps, .. } => (steps.profile(), steps.spans()),
        }
    }

    /// What steps run on, where that is not the CPU.
    pub fn device(&self) -> Option<crate::exec::Backend> {
        match &self.backend {
            Backend::Cpu => None,
            Backend::Device { steps, .. } => Some(steps.backend()),
        }
    }

    pub fn engine(&self) -> &CpuExecutor {
        &self.engine
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
        match (self.losses.pop_front(), &mut self.backend) {
            (None, Backend::Device { steps, .. }) => Ok(steps.next_loss()?),
            (loss, _) => Ok(loss),
        }
    }

    /// How many losses are best left for later, so that the next batch is readied while a step runs.
    pub fn ahead(&self) -> usize {
        match self.backend {
            Backend::Cpu => 0,
            Backend::Device { .. } => 1,
        }
    }

    /// One training step, whose loss [`Session::next_loss`] gives; a device may still be at it on return.
    pub fn train_ahead(&mut self, batch: &Batch) -> Result<()> {
        self.clear_oov_row();
        let begin = Instant::now();
        table::resolve_train(&mut self.tables, &self.program.tables, batch, &mut self.resolved)?;
        self.lookups += begin.elapsed();
        let inputs = inputs(batch, &self.resolved);
        let loss = self.backend.train(&mut self.engine, &mut self.state, &mut self.tables, &inputs);
        self.losses.extend(loss?);
        Ok(())
    }

    /// Predictions without training: see [`Session::logits`].
    pub fn infer(&mut self, batch: &Batch) -> Result<()> {
        self.fill_oov_row()?;
        table::resolve_read(&self.tables, &self.program.tables, batch, &mut self.resolved)?;
        let inputs = inputs(batch, &self.resolved);
        self.backend.infer(&mut self.engine, &self.state, &mut self.tables, &inputs)
    }

    /// Logits of prediction `index` from the last [`Session::infer`], one a sample.
    pub fn logits(&self, index: usize) -> &[f32] {
        match &self.backend {
            Backend::Cpu => self.engine.logits(index),
            Backend::Device { steps, .. } => steps.logits(index),
        }
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
    }
}
