//! The OOV row of a dynamic table: the mean of the vectors of its rare ids, from exact sums.
//!
//! The sums are of integers, multiples of 2^-60, so that the bits of the row depend on the table's
//! rows alone: not on their order, on threads, or on how they are divided over ranks.

use super::Table;
use crate::Result;
use crate::comm::{Channel, Communicator, Messages};
use crate::threads::Threads;
use din_program::SlotScope;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// Vectors are summed in multiples of 2^-60; 2^32 of the largest fit the 127 bits of a sum.
const UNIT: f64 = (1u64 << 60) as f64;

/// Larger weights count as this.
const LARGEST: f64 = (1u64 << 34) as f64;

/// An id is rare while at most so many batches have updated its row.
const RARE: f32 = 3.0;

/// Rows that a thread takes at a time.
const PART: usize = 4096;

/// What the OOV row is computed from: the exact sum of vectors of a table, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OovSums {
    /// Whether they are the rare ids' vectors. Where there are no rare ids, all ids' are summed.
    rare: bool,
    /// Ids whose vectors are summed.
    ids: u64,
    /// By component.
    sums: Vec<i128>,
}

impl OovSums {
    /// Adds the sums of another part of the same table. Common ids count only where no part has a
    /// rare one.
    pub fn add(&mut self, other: &OovSums) {
        match (self.rare, other.rare) {
            (true, false) => {}
            (false, true) => self.clone_from(other),
            (true, true) | (false, false) => {
                self.ids += other.ids;
                self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
            }
        }
    }

    /// Words of the sums of a table with so many components: the flag, the ids, and four words per
    /// sum.
    fn word_count(width: usize) -> usize {
        3 + 4 * width
    }

    fn push_words(&self, words: &mut Vec<u32>) {
        words.extend([u32::from(self.rare), self.ids as u32, (self.ids >> 32) as u32]);
        words.extend(self.sums.iter().flat_map(|&sum| [0, 32, 64, 96].map(|shift| (sum >> shift) as u32)));
    }

    /// What [`OovSums::push_words`] appended.
    fn from_words(words: &[u32]) -> Self {
        let (&[rare, low, high], sums) = words.split_first_chunk::<3>().expect("sums are told after how many they are");
        let sum = |words: &[u32; 4]| words.iter().rev().fold(0i128, |sum, &word| sum << 32 | i128::from(word));
        Self {
            rare: rare != 0,
            ids: u64::from(high) << 32 | u64::from(low),
            sums: sums.as_chunks::<4>().0.iter().map(sum).collect(),
        }
    }
}

impl Table {
    /// The sums over the rows that this table has: see [`Table::fill_oov_row`].
    pub fn oov_sums(&self, threads: &Threads) -> OovSums {
        if self.frozen {
            // Its rows have no updates.
            let (ids, sums) = self.sum_of_vectors(0.0..=0.0, threads);
            return OovSums { rare: false, ids, sums };
        }
        let (ids, sums) = self.sum_of_vectors(1.0..=RARE, threads);
        if ids > 0 {
            return OovSums { rare: true, ids, sums };
        }
        let (ids, sums) = self.sum_of_vectors(1.0..=f32::INFINITY, threads);
        OovSums { rare: false, ids, sums }
    }

    /// The ids with so many updates: their number, and the sum of their vectors.
    fn sum_of_vectors(&self, counted: RangeInclusive<f32>, threads: &Threads) -> (u64, Vec<i128>) {
        let (width, rows) = (self.width(), self.rows());
        let (weights, updates) = (self.weights(), self.updates());
        let total = Mutex::new((0u64, vec![0i128; width]));
        threads.parallel_for(rows.div_ceil(PART), &|part| {
            let (mut ids, mut sums) = (0, vec![0i128; width]);
            for row in (part * PART).max(1)..((part + 1) * PART).min(rows) {
                if counted.contains(&updates[row]) {
                    ids += 1;
                    for (sum, &weight) in sums.iter_mut().zip(&weights[row * width..]) {
                        *sum += (f64::from(weight).clamp(-LARGEST, LARGEST) * UNIT) as i128;
                    }
                }
            }
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.0 += ids;
            total.1.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        });
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a dynamic table the OOV row that follows from the sums of all its parts, with its
    /// optimizer state made anew.
    pub fn set_oov_row(&mut self, sums: &OovSums) {
        debug_assert!(self.is_dynamic(), "a fixed table has no OOV row");
        for (weight, &sum) in self.weights_mut()[..sums.sums.len()].iter_mut().zip(&sums.sums) {
            *weight = (sum as f64 / sums.ids.max(1) as f64 / UNIT) as f32;
        }
        for slot in self.slots.iter_mut().filter(|s| s.scope != SlotScope::Tensor) {
            slot.slab.row_mut(0).fill(slot.init);
        }
    }

    /// Makes the OOV row of a dynamic table with all its rows the mean of the vectors of the rare
    /// ids, those whose rows at most [`RARE`] batches have updated; where every id is common, and
    /// of a frozen table, of all ids; without any id, 0. Where ids are admitted, it stays as it was
    /// trained. To be called between training and evaluation, and before saving.
    pub fn fill_oov_row(&mut self, threads: &Threads) {
        if self.is_dynamic() && !self.admits() {
            let sums = self.oov_sums(threads);
            self.set_oov_row(&sums);
        }
    }

    /// Takes back [`Table::fill_oov_row`] before training goes on: an optimizer that reduces over
    /// all rows must not see whether, or when, the table was evaluated or saved.
    pub fn clear_oov_row(&mut self) {
        if self.is_dynamic() && !self.admits() {
            self.weights.trained_mut().row_mut(0).fill(0.0);
        }
    }
}

/// [`Table::fill_oov_row`] for the tables of a rank, all ranks together: the sums of tables that
/// are divided are joined.
///
/// # Errors
/// Another rank failed.
pub fn fill_oov_rows(tables: &mut [Table], ranks: &dyn Communicator, threads: &Threads) -> Result<()> {
    share_trained_oov_rows(tables, ranks)?;
    let divided = |table: &&mut Table| table.is_dynamic() && table.shard().is_some() && !table.admits();
    tables.iter_mut().filter(|table| !divided(table)).for_each(|table| table.fill_oov_row(threads));
    let mut words = Vec::new();
    tables.iter_mut().filter(divided).for_each(|table| table.oov_sums(threads).push_words(&mut words));
    if words.is_empty() {
        // Which tables are divided is the same on all ranks: none of them has anything to say.
        return Ok(());
    }
    let mut received = Messages::default();
    ranks.all_gather(Channel::Step, &words, &mut received)?;
    let mut at = 0;
    for table in tables.iter_mut().filter(divided) {
        let place = at..at + OovSums::word_count(table.width());
        at = place.end;
        let joined =
            received.iter().map(|words| OovSums::from_words(&words[place.clone()])).reduce(|mut sums, other| {
                sums.add(&other);
                sums
            });
        table.set_oov_row(&joined.expect("a run has a rank"));
    }
    Ok(())
}

/// Gives the OOV rows that the first rank has trained, with all that is kept of them, to the
/// others.
fn share_trained_oov_rows(tables: &mut [Table], ranks: &dyn Communicator) -> Result<()> {
    let trained = |table: &&mut Table| table.admits() && table.shard().is_some();
    let mut words = Vec::new();
    let mut any = false;
    for table in tables.iter_mut().filter(trained) {
        any = true;
        if table.trains_oov_row() {
            for (field, width) in table.row_fields() {
                words.extend(table.field(field)[..width].iter().map(|value| value.to_bits()));
            }
        }
    }
    if !any || ranks.size() == 1 {
        return Ok(());
    }
    let mut received = Messages::default();
    ranks.all_gather(Channel::Step, &words, &mut received)?;
    let mut values = received.get(0).iter().map(|&word| f32::from_bits(word));
    for table in tables.iter_mut().filter(trained) {
        for (field, width) in table.row_fields() {
            table.field_mut(field)[..width].iter_mut().zip(&mut values).for_each(|(to, value)| *to = value);
        }
    }
    Ok(())
}
