//! What a step reads and writes: model values, table views, a batch's columns and the rows that it touches.

use din_program::schema::Init;
use din_program::{Program, SlotScope};

/// Most optimizer states of one update.
pub const MAX_SLOTS: usize = 8;

/// Dense parameters, their optimizer states, and states such as running means. Tables are kept apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// By parameter: its numbers, row-major.
    pub params: Vec<Vec<f32>>,
    /// By parameter, by optimizer slot: as many numbers as the weight, or 1.
    pub param_slots: Vec<Vec<Vec<f32>>>,
    /// By state.
    pub states: Vec<Vec<f32>>,
    /// Steps done so far.
    pub step: u64,
}

impl State {
    /// Everything allocated in the program's shapes. Constants and optimizer states have their initial values; weights with a random
    /// initialiser are 0, for the trainer to fill.
    pub fn new(program: &Program) -> State {
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
        State {
            params: program.parameters.iter().map(|p| vec![start(p.init); p.width()]).collect(),
            param_slots: program.parameters.iter().map(|p| slots(p.update, p.width())).collect(),
            states: program.states.iter().map(|s| vec![start(s.init); s.width()]).collect(),
            step: 0,
        }
    }
}

/// A table's memory for one step: `rows` rows of `width` weights, and what its optimizer keeps, by row number.
///
/// The pointers must stay valid, and nobody else may read or write behind them, while the engine's call lasts.
#[derive(Clone, Copy, Debug)]
pub struct TableView {
    pub rows: usize,
    pub width: usize,
    /// `rows x width`.
    pub weights: *mut f32,
    /// By optimizer slot: `rows x width`, `rows`, or 1 number, by its scope. Unused ones are null.
    pub slots: [*mut f32; MAX_SLOTS],
    /// By row: training samples that contain the id. May be null where no regularizer reads it.
    pub counts: *const f32,
    /// By row: updates so far. May be null where no optimizer reads it.
    pub touches: *mut f32,
}

/// The distinct rows of one table that a batch touches, with where.
#[derive(Clone, Copy, Debug, Default)]
pub struct Touched<'a> {
    /// Distinct row numbers.
    pub rows: &'a [u32],
    /// `rows.len() + 1`: the occurrences of `rows[i]` are `offsets[i]..offsets[i + 1]`.
    pub offsets: &'a [u32],
    /// By occurrence: index into the table's `features`.
    pub slots: &'a [u32],
    /// By occurrence: element of that feature's domain.
    pub elements: &'a [u32],
}

/// A batch with its ids resolved to row numbers.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// Samples.
    pub rows: usize,
    /// By sequence: `rows + 1` offsets from 0.
    pub offsets: &'a [Vec<u32>],
    /// By feature: row numbers, one an element of the feature's domain; empty for numeric features.
    pub row_numbers: &'a [Vec<u32>],
    /// By feature: `width` numbers an element; empty for categorical features.
    pub dense: &'a [Vec<f32>],
    /// By label: one number a sample. A label without data may be empty and reads 0.
    pub labels: &'a [Vec<f32>],
    /// By label: 1 where present. May be empty and reads 0.
    pub present: &'a [Vec<f32>],
}
