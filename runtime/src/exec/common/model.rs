//! What a step reads and writes: model values and a batch's columns. Tables are `crate::table`.

use din_program::schema::Init;
use din_program::{Program, SlotScope};

/// Most optimizer states of one update.
pub const MAX_SLOTS: usize = 8;

/// Dense parameters, their optimizer states, and states such as running means. Tables are kept apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DenseState {
    /// By parameter: its numbers, row-major.
    pub params: Vec<Vec<f32>>,
    /// By parameter, by optimizer slot: as many numbers as the weight, or 1.
    pub param_slots: Vec<Vec<Vec<f32>>>,
    /// By state.
    pub states: Vec<Vec<f32>>,
    /// Steps done so far.
    pub step: u64,
}

impl DenseState {
    /// Everything allocated in the program's shapes. Constants and optimizer states have their initial values; weights with a random
    /// initialiser are 0, for the trainer to fill.
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
        }
    }
}

/// A batch with its ids resolved to row numbers.
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// Samples.
    pub rows: usize,
    /// First sample of each request, then `rows`; empty where the schema has no requests.
    pub requests: &'a [u32],
    /// By sequence: `rows + 1` offsets from 0; for a common one `requests + 1`.
    pub offsets: &'a [Vec<u32>],
    /// By table, by its features: row numbers, one an element of the feature's axis.
    pub row_numbers: &'a [Vec<Vec<u32>>],
    /// By feature: `width` numbers an element; empty for categorical features.
    pub dense: &'a [Vec<f32>],
    /// By label: one number a sample. A label without data may be empty and reads 0.
    pub labels: &'a [Vec<f32>],
    /// By label: 1 where present. May be empty and reads 0.
    pub present: &'a [Vec<f32>],
}
