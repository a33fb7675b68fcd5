//! What a step reads and writes: model values and a batch's columns. Tables are `crate::table`.

use crate::leaves::LeafRange;
use crate::table::{RowValues, Table};
use din_program::schema::Init;
use din_program::{Program, SlotScope};
use std::ops::Range;

/// Most optimizer states of one update.
pub const MAX_SLOTS: usize = 8;

/// Dense parameters, their optimizer states, and states such as running means. Tables are kept
/// apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseState {
    /// By parameter: its values, row-major.
    pub params: Vec<Vec<f32>>,
    /// By parameter, by optimizer slot: as many values as the weight, or 1.
    pub param_slots: Vec<Vec<Vec<f32>>>,
    /// By state.
    pub states: Vec<Vec<f32>>,
    /// Steps done so far.
    pub step: u64,
    /// Of the run: what the random numbers of its steps are made from.
    pub seed: u64,
}

impl DenseState {
    /// Everything allocated in the program's shapes. Constants and optimizer states have their
    /// initial values; weights with a random initialiser are 0, for the trainer to fill.
    pub fn new(program: &Program) -> DenseState {
        let start = |init: Init| match init {
            Init::Constant(c) => c as f32,
            Init::Normal(_) | Init::Uniform(_) => 0.0,
        };
        let slots = |update: u32, width: usize| match program.updates.get(update as usize) {
            Some(update) => update
                .slots
                .iter()
                .map(|slot| match slot.per {
                    SlotScope::Weight => vec![slot.init; width],
                    SlotScope::Row | SlotScope::Tensor => vec![slot.init],
                })
                .collect(),
            None => Vec::new(),
        };
        DenseState {
            params: program.parameters.iter().map(|p| vec![start(p.init); p.width()]).collect(),
            param_slots: program.parameters.iter().map(|p| slots(p.update, p.width())).collect(),
            states: program.states.iter().map(|s| vec![start(s.init); s.width()]).collect(),
            step: 0,
            seed: 0,
        }
    }
}

/// What a step has beside its batch and the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepNumbers {
    /// Of the run.
    pub seed: u64,
    /// The step's number, from 1.
    pub step: u64,
    /// Number of the epoch that it belongs to, from 1.
    pub epoch: u32,
}

/// A batch with its ids resolved to row numbers.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// Samples.
    pub rows: usize,
    /// First sample of each request, then `rows`; empty where the schema has no requests. Those
    /// within a batch are cut by [`crate::leaves::RequestCut`].
    pub requests: &'a [u32],
    /// By sequence: `rows + 1` offsets from 0; for a common one `requests + 1`.
    pub offsets: &'a [Vec<u32>],
    /// By table, by its features: row numbers, one per element of the feature's axis.
    pub row_numbers: &'a [Vec<Vec<u32>>],
    /// By feature: `width` values per element; empty for categorical features.
    pub dense: &'a [Vec<f32>],
    /// By label: one value per sample. A label without data may be empty and reads 0.
    pub labels: &'a [Vec<f32>],
    /// By label: 1 where present. May be empty and reads 0.
    pub present: &'a [Vec<f32>],
    /// By table, the rows that were fetched for this step: row numbers then index those. `None`
    /// where tables are read in place.
    pub fetched: Option<&'a [FetchedRows]>,
    /// How the batch is cut into leaves.
    pub cut: BatchCut<'a>,
    /// Place of its first sample in the global batch.
    pub first_row: usize,
    /// Number of the epoch that the step belongs to, from 1.
    pub epoch: u32,
}

/// Which leaves a batch is: see [`crate::leaves`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchCut<'a> {
    /// All leaves of the global batch, at most so many.
    Whole(u32),
    /// All leaves of the global batch, these.
    All(&'a LeafRange),
    /// Those of the global batch that this rank owns. Other ranks run the same step.
    Part(&'a LeafRange),
}

impl<'a> StepInputs<'a> {
    /// The numbers of the next step of a model in this state.
    pub fn numbers(&self, state: &DenseState) -> StepNumbers {
        StepNumbers { seed: state.seed, step: state.step + 1, epoch: self.epoch }
    }

    /// Where the step reads the rows of a table.
    pub fn row_source(&self, table: usize) -> RowSource<'a> {
        let rows = match self.fetched {
            None => RowBuffer::Table,
            Some(fetched) => RowBuffer::Fetched(&fetched[table]),
        };
        RowSource { row_numbers: &self.row_numbers[table], rows }
    }
}

/// Rows of one table that were fetched for a step from the ranks that own them. Row numbers of the
/// step are positions among these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchedRows {
    /// Rows.
    pub count: usize,
    /// The table's width of numbers per row.
    pub values: RowValues,
    /// By rank: which of the rows it owns, and gets gradients for. Of a replicated table, all.
    pub owned_by: Vec<Range<u32>>,
    /// By rank: the rows that it has fetched from this one, by their numbers in this rank's table.
    pub served: Vec<Vec<u32>>,
}

/// Where a step reads the rows of one table. Generated code finds row `n` of a table of width `w`
/// at `base + n * w`; it does not know what the base is.
#[derive(Clone, Copy, Debug)]
pub struct RowSource<'a> {
    /// By feature of the table: row numbers, which index `rows`.
    pub row_numbers: &'a [Vec<u32>],
    pub rows: RowBuffer<'a>,
}

/// What row numbers index.
#[derive(Clone, Copy, Debug)]
pub enum RowBuffer<'a> {
    /// The table itself.
    Table,
    /// A copy of the rows that the step needs.
    Fetched(&'a FetchedRows),
}

impl RowSource<'_> {
    /// Rows that there are.
    pub fn count(&self, table: &Table) -> usize {
        match self.rows {
            RowBuffer::Table => table.rows(),
            RowBuffer::Fetched(fetched) => fetched.count,
        }
    }

    /// The first row.
    pub fn base(&self, table: &Table) -> *const u8 {
        match self.rows {
            RowBuffer::Table => table.first_row(),
            RowBuffer::Fetched(fetched) => fetched.values.first_row(),
        }
    }
}
