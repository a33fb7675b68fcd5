//! What a table keeps for each row, as arrays: for checkpoints, and for executors that hold rows in
//! memory of their own.

use super::Table;
use din_program::SlotScope;

/// An array with some values per row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowField {
    Weights,
    Frequency,
    Updates,
    /// Optimizer state of this number, one that is kept per weight or per row.
    Slot(usize),
}

impl Table {
    /// All arrays with values per row, and how many values that are.
    pub fn row_fields(&self) -> Vec<(RowField, usize)> {
        let fixed = [(RowField::Weights, self.width()), (RowField::Frequency, 1), (RowField::Updates, 1)];
        let slots = (0..self.slot_count()).filter(|&k| self.slot_scope(k) != SlotScope::Tensor);
        fixed.into_iter().chain(slots.map(|k| (RowField::Slot(k), self.slot_width(k)))).collect()
    }

    /// The values of all rows, one row after the other.
    pub fn field(&self, field: RowField) -> &[f32] {
        match field {
            RowField::Weights => self.weights(),
            RowField::Frequency => self.frequency(),
            RowField::Updates => self.updates(),
            RowField::Slot(k) => self.slot(k),
        }
    }

    pub fn field_mut(&mut self, field: RowField) -> &mut [f32] {
        match field {
            RowField::Weights => self.weights_mut(),
            RowField::Frequency => self.frequency_mut(),
            RowField::Updates => self.updates_mut(),
            RowField::Slot(k) => self.slot_mut(k),
        }
    }
}
