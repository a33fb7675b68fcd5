//! Which of the ids that were counted have a row of their own, decided once, before training.
//!
//! What is decided depends on the counts of all ranks alone, not on how the table is divided. Ids
//! that have rows already, since a file of vectors names them, keep these and are not chosen from.

use super::{FrequencyCounter, Table};
use crate::Result;
use crate::comm::{Channel, Communicator, Messages, ids, push_id, sum_over_ranks};
use din_program::schema::Admission;
use rustc_hash::{FxHashMap, FxHashSet};

/// How many of the ids in the training data have rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmittedIds {
    /// Number of the table.
    pub table: usize,
    pub admitted: u64,
    pub counted: u64,
}

/// Ids and the number of samples that contain each.
type IdCounts = Vec<(u64, u64)>;

/// Which ids are admitted: those of more than so many samples, and of those with just as many the
/// ids up to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    above: u64,
    ties_to: Option<u64>,
}

impl Line {
    fn admits(self, (id, samples): (u64, u64)) -> bool {
        samples > self.above || samples == self.above && self.ties_to.is_some_and(|last| id <= last)
    }

    /// The line of `most` ids. `open` are those of this rank; `total` adds a count over the ranks.
    fn of_top(open: &IdCounts, most: u64, total: &dyn Fn(u64) -> Result<u64>) -> Result<Line> {
        // Most samples first, of equally many the smaller id.
        let mut ordered = open.clone();
        ordered.sort_unstable_by_key(|&(id, samples)| (std::cmp::Reverse(samples), id));
        let more_than = |above: u64| total(ordered.partition_point(|&(_, samples)| samples > above) as u64);
        let above = least(|above| Ok(more_than(above)? <= most))?;
        let left = most - more_than(above)?;
        // Every counted id is in a sample.
        if above == 0 || left == 0 {
            return Ok(Line { above, ties_to: None });
        }
        let first = ordered.partition_point(|&(_, samples)| samples > above);
        let ties = &ordered[first..ordered.partition_point(|&(_, samples)| samples >= above)];
        let up_to = |last: u64| total(ties.partition_point(|&(id, _)| id <= last) as u64);
        Ok(Line { above, ties_to: Some(least(|last| Ok(up_to(last)? >= left))?) })
    }
}

/// The least number for which something holds that holds for all larger ones, and for the largest.
fn least(holds: impl Fn(u64) -> Result<bool>) -> Result<u64> {
    let (mut low, mut high) = (0, u64::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

impl Table {
    /// Gives rows to the ids that are admitted, with their frequencies. `counts` are those of the
    /// ids that this rank may have rows for, over the samples of all ranks. The OOV row has the
    /// frequencies of the others together. Of a table that is divided, all ranks call it.
    ///
    /// # Errors
    /// No memory, or another rank failed.
    pub(super) fn admit(
        &mut self,
        admission: Admission,
        counts: FxHashMap<u64, u64>,
        ranks: &dyn Communicator,
    ) -> Result<(u64, u64)> {
        let divided = self.shard.is_some();
        let total = |own: u64| -> Result<u64> { if divided { Ok(sum_over_ranks([own], ranks)?[0]) } else { Ok(own) } };
        let mut counted: IdCounts = counts.into_iter().collect();
        counted.sort_unstable();
        let open: IdCounts = counted.iter().copied().filter(|&(id, _)| !self.has_row(id)).collect();
        let line = match admission {
            Admission::AtLeast(samples) => Line { above: samples.saturating_sub(1), ties_to: None },
            Admission::Top(most) => Line::of_top(&open, most, &total)?,
        };
        let admitted: IdCounts =
            counted.iter().copied().filter(|&(id, samples)| self.has_row(id) || line.admits((id, samples))).collect();
        let samples = |counts: &IdCounts| counts.iter().map(|&(_, samples)| samples).sum::<u64>();
        let others = total(samples(&counted) - samples(&admitted))?;
        let numbers = (total(admitted.len() as u64)?, total(counted.len() as u64)?);
        let mut counter = FrequencyCounter::new(&[]);
        counter.add_counts(self, admitted.into_iter())?;
        counter.finish(self);
        self.frequency_mut()[0] = others.max(1) as f32;
        Ok(numbers)
    }
}

/// By table, the ids that have rows on any rank, where others have none and read the OOV row.
/// All ranks call it.
///
/// # Errors
/// Another rank failed.
pub fn admitted_ids(tables: &[Table], ranks: &dyn Communicator) -> Result<Vec<Option<FxHashSet<u64>>>> {
    let mut received = Messages::default();
    let mut of_table = |table: &Table| -> Result<Option<FxHashSet<u64>>> {
        if !table.admits() {
            return Ok(None);
        }
        let own = table.in_key_order().into_iter().map(|(id, _, _)| id);
        if table.shard().is_none() {
            return Ok(Some(own.collect()));
        }
        let mut words = Vec::new();
        own.for_each(|id| push_id(&mut words, id));
        ranks.all_gather(Channel::Step, &words, &mut received)?;
        Ok(Some(received.iter().flat_map(ids).collect()))
    };
    tables.iter().map(&mut of_table).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_line_of_the_top_is_that_of_sorting(
            counts in prop::collection::btree_map(any::<u64>(), 1u64..6, 0..40),
            most in 1u64..45,
        ) {
            let counts: IdCounts = counts.into_iter().collect();
            let line = Line::of_top(&counts, most, &Ok).unwrap();
            let mut sorted = counts.clone();
            sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            for (at, &count) in sorted.iter().enumerate() {
                prop_assert_eq!(line.admits(count), (at as u64) < most, "{:?} of {:?}", count, line);
            }
        }
    }

    #[test]
    fn the_largest_id_and_the_largest_count_are_counted() {
        let counts = vec![(0, 7), (u64::MAX, u64::MAX)];
        let line = |most| Line::of_top(&counts, most, &Ok).unwrap();
        assert_eq!([line(1), line(2)].map(|line| line.admits((0, 7))), [false, true]);
        assert!(line(1).admits((u64::MAX, u64::MAX)));
    }
}
