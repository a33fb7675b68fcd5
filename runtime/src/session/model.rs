//! The values of a model in memory, apart from the executor that runs its steps.

use crate::batch::Batch;
use crate::comm::{Communicator, LongOperation};
use crate::exec::DenseState;
use crate::leaves::default_leaves;
use crate::random::Stream;
use crate::statistics::Statistics;
use crate::table::{self, FrequencyCounter, IdFrequencies, Resolved, ShardPlan, Sharding, Table};
use crate::threads::Threads;
use crate::{Error, Result};
use din_program::{Program, TablePrecision};
use std::sync::Arc;

/// Dense parameters, states, tables and the optimizer's state. Reading needs no exclusive access,
/// so that one model in an `Arc` serves several sessions.
#[derive(Debug)]
pub struct ModelState {
    program: Arc<Program>,
    pub dense: DenseState,
    /// By table of the program.
    pub tables: Vec<Table>,
    /// What the training data decide of features.
    pub statistics: Statistics,
    /// Whether the OOV rows are those of evaluation: see [`Table::fill_oov_row`].
    oov_filled: bool,
    /// What it was loaded for.
    purpose: LoadPurpose,
}

/// What a model is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPurpose {
    /// Training: everything.
    Training,
    /// Inference alone: of tables only the weights, in this precision.
    Inference(TablePrecision),
    /// Inference that also asks how often training has seen an id.
    Examination,
}

impl LoadPurpose {
    /// What tables are stored as.
    pub fn precision(self) -> TablePrecision {
        match self {
            Self::Training | Self::Examination => TablePrecision::F32,
            Self::Inference(precision) => precision,
        }
    }
}

impl ModelState {
    /// A model before training: weights drawn from (seed, name, component), tables with the OOV row
    /// alone or all fixed rows. An executor has accepted the program.
    ///
    /// # Errors
    /// There is no memory for the tables.
    pub fn new(program: Arc<Program>, threads: &Threads, seed: u64) -> Result<Self> {
        let sharding = Sharding::local(default_leaves(&program));
        let plan = ShardPlan { sharding, ..ShardPlan::whole(program.tables.len()) };
        Self::of_shard(program, threads, seed, &plan)
    }

    /// The same on one rank of a run: its tables have the rows that the plan gives it.
    ///
    /// # Errors
    /// As [`ModelState::new`].
    pub fn of_shard(program: Arc<Program>, threads: &Threads, seed: u64, plan: &ShardPlan) -> Result<Self> {
        let _operation = LongOperation::begin();
        let mut dense = DenseState::new(&program);
        dense.seed = seed;
        for (parameter, values) in program.parameters.iter().zip(&mut dense.params) {
            Stream::new(seed, &format!("parameter {}", parameter.name), 0).fill(parameter.init, values);
        }
        for (spec, values) in program.states.iter().zip(&mut dense.states) {
            Stream::new(seed, &format!("state {}", spec.name), 0).fill(spec.init, values);
        }
        let tables = table::of_program(&program, seed, plan, threads)?;
        let statistics = Statistics::default();
        Ok(Self { program, dense, tables, statistics, oov_filled: false, purpose: LoadPurpose::Training })
    }

    /// A model as a checkpoint holds it, OOV rows included, its tables loaded for `purpose`.
    pub fn restored(
        program: Arc<Program>,
        dense: DenseState,
        mut tables: Vec<Table>,
        statistics: Statistics,
        plan: &ShardPlan,
        purpose: LoadPurpose,
    ) -> Self {
        if purpose == LoadPurpose::Training {
            table::keep_ids(&program, &mut tables, plan);
        }
        Self { program, dense, tables, statistics, oov_filled: true, purpose }
    }

    /// Rounds the tables to BF16; the model is from then on for inference on a CPU alone.
    ///
    /// # Errors
    /// There is no memory for a table in both forms.
    pub(super) fn round_tables(&mut self) -> Result<()> {
        self.purpose = LoadPurpose::Inference(TablePrecision::Bf16);
        for table in &mut self.tables {
            table.round_to_bf16()?;
        }
        Ok(())
    }

    /// Refuses training of a model that was loaded for inference.
    pub(super) fn check_trainable(&self) -> Result<()> {
        match self.purpose {
            LoadPurpose::Training => Ok(()),
            LoadPurpose::Inference(_) | LoadPurpose::Examination => {
                Err(Error::input("a model that was loaded for inference can be read only, not trained"))
            }
        }
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// A place for the row numbers of a batch, by table, by its features.
    pub fn row_numbers(&self) -> Resolved {
        self.program.tables.iter().map(|t| vec![Vec::new(); t.features.len()]).collect()
    }

    /// Row numbers of a training batch; new ids get rows.
    ///
    /// # Errors
    /// An id that a fixed table does not have, or no memory.
    pub fn resolve_train(&mut self, threads: &Threads, batch: &Batch, rows: &mut Resolved) -> Result<()> {
        Ok(table::resolve_train(threads, &mut self.tables, &self.program.tables, batch, rows)?)
    }

    /// Row numbers of a batch to predict; ids that training never saw read the OOV row.
    ///
    /// # Errors
    /// An id that a fixed table does not have.
    pub fn resolve_read(&self, threads: &Threads, batch: &Batch, rows: &mut Resolved) -> Result<()> {
        Ok(table::resolve_read(threads, &self.tables, &self.program.tables, batch, rows)?)
    }

    /// Whether evaluation would read OOV rows that are not filled.
    pub(super) fn needs_oov_rows(&self) -> bool {
        !self.oov_filled && self.tables.iter().any(Table::is_dynamic)
    }

    /// After training: gives every dynamic table its OOV row, all ranks together.
    pub(super) fn fill_oov_rows(&mut self, ranks: &dyn Communicator, threads: &Threads) -> Result<()> {
        table::fill_oov_rows(&mut self.tables, ranks, threads)?;
        self.oov_filled = true;
        Ok(())
    }

    /// Before training; whether that changed a table.
    pub(super) fn clear_oov_rows(&mut self) -> bool {
        let changes = std::mem::take(&mut self.oov_filled) && self.tables.iter().any(Table::is_dynamic);
        if changes {
            self.tables.iter_mut().for_each(Table::clear_oov_row);
        }
        changes
    }

    /// Counters of the tables whose ids are counted and all have rows; empty where none are.
    pub fn frequency_counters(&self) -> Vec<(usize, FrequencyCounter)> {
        let counted = self.program.tables.iter().enumerate().filter(|(_, t)| t.is_counted() && t.admission.is_none());
        counted.map(|(k, t)| (k, FrequencyCounter::new(&t.features))).collect()
    }

    /// Counters of all tables whose ids are counted, for the samples that a rank reads.
    pub fn id_frequencies(&self) -> Vec<(usize, IdFrequencies)> {
        let counted = self.program.tables.iter().enumerate().filter(|(_, t)| t.is_counted());
        counted.map(|(k, t)| (k, IdFrequencies::new(&t.features))).collect()
    }

    /// Adds a batch of the counting pass.
    ///
    /// # Errors
    /// An id that a fixed table does not have, or no memory.
    pub fn count(&mut self, counters: &mut [(usize, FrequencyCounter)], batch: &Batch) -> Result<()> {
        for (k, counter) in counters {
            counter.add(&mut self.tables[*k], &self.program.schema, batch)?;
        }
        Ok(())
    }

    /// Writes the frequencies into the tables.
    pub fn finish_counting(&mut self, counters: Vec<(usize, FrequencyCounter)>) {
        counters.into_iter().for_each(|(k, counter)| counter.finish(&mut self.tables[k]));
    }

    /// A weight that has diverged (it is not finite, or too large for a model that learns
    /// anything), with the name of its tensor or table.
    pub fn diverged_weight(&self) -> Option<(String, f32)> {
        const TOO_LARGE: f32 = 1e9;
        let program = &self.program;
        let parameters = program.parameters.iter().map(|p| &p.name).zip(&self.dense.params);
        let states = program.states.iter().map(|s| &s.name).zip(&self.dense.states);
        let dense = parameters.chain(states).map(|(name, values)| (name, &values[..]));
        let mut tables = program.tables.iter().zip(&self.tables);
        let diverged = |x: f32| !x.is_finite() || x.abs() >= TOO_LARGE;
        let found = dense.map(|(name, values)| (name, values.iter().copied().find(|&x| diverged(x))));
        let (name, weight) = found
            .chain(tables.by_ref().map(|(spec, table)| (&spec.name, table.find_weight(diverged))))
            .find(|(_, weight)| weight.is_some())?;
        Some((name.clone(), weight?))
    }
}
