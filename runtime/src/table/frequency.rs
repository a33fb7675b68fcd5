//! The counting pass: how many training samples contain an id, in any field of its table (`n_i` of
//! Zhou et al., 2017, Eq. 9).
//!
//! An id counts once per sample, however often and in however many fields the sample has it. The
//! OOV row has the frequency of an id that one sample contains; training does not update it.

use super::{Table, TableError};
use crate::batch::Batch;
use din_program::schema::Schema;

/// Frequencies of the ids of one table over one pass of the training data, read in file order.
#[derive(Debug)]
pub struct FrequencyCounter {
    /// Indices into `Batch::ids`.
    features: Vec<usize>,
    /// By row: samples that contain it. Integers: f32 stops counting at 2^24.
    counts: Vec<u64>,
    /// By row: the last sample that contained it, from 1.
    last: Vec<u64>,
    sample: u64,
}

impl FrequencyCounter {
    /// `features` are those of the table's specification.
    pub fn new(features: &[u32]) -> Self {
        Self {
            features: features.iter().map(|&f| f as usize).collect(),
            counts: Vec::new(),
            last: Vec::new(),
            sample: 0,
        }
    }

    /// Counts the samples of a batch; new ids get rows, which count as OOV until training
    /// reads them.
    pub fn add(&mut self, table: &mut Table, schema: &Schema, batch: &Batch) -> Result<(), TableError> {
        let request_of = batch.request_of();
        for sample in 0..batch.rows {
            self.sample += 1;
            for &feature in &self.features {
                let spec = &schema.features[feature];
                let request = request_of.get(sample).map_or(0, |&r| r as usize);
                let unit = if spec.common { request } else { sample };
                let range = match spec.sequence {
                    Some(s) => {
                        let offsets = &batch.offsets[s as usize];
                        offsets[unit] as usize..offsets[unit + 1] as usize
                    }
                    None => unit..unit + 1,
                };
                for &id in &batch.ids[feature][range] {
                    let row = table.row_of(id)? as usize;
                    if row >= self.counts.len() {
                        self.counts.resize((row + 1).max(table.rows()), 0);
                        self.last.resize(self.counts.len(), 0);
                    }
                    if self.last[row] != self.sample {
                        self.last[row] = self.sample;
                        self.counts[row] += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the frequencies into the table.
    pub fn finish(mut self, table: &mut Table) {
        self.counts.resize(table.rows(), 0);
        for (target, &count) in table.frequency_mut().iter_mut().zip(&self.counts) {
            *target = count as f32;
        }
        if table.is_dynamic() {
            table.frequency_mut()[0] = 1.0;
        }
    }
}
