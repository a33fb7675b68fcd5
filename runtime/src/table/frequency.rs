//! The counting pass: how many training samples contain an id, in any field of its table (`n_i` of
//! Zhou et al., 2017, Eq. 9).
//!
//! An id counts once per sample, however often and in however many fields the sample has it. The
//! OOV row has the frequency of an id that one sample contains, or where ids are admitted the sum
//! of the frequencies of those that are not.
//!
//! Where several ranks read the data, each counts the ids of its own samples ([`IdFrequencies`]),
//! and [`join_frequencies`] sends the counts to the ranks that own the rows. They are integers: the
//! sums are those of one rank.

use super::{AdmittedIds, Sharding, Table, TableError};
use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages, ids, push_id};
use din_program::schema::Schema;
use rustc_hash::FxHashMap;
use std::convert::Infallible;

/// Samples that contain an id. An integer: f32 stops counting at 2^24.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    samples: u64,
    /// The last of them, from 1.
    last: u64,
}

impl Count {
    /// Counts a sample, once.
    fn add(&mut self, sample: u64) {
        if self.last != sample {
            *self = Self { samples: self.samples + 1, last: sample };
        }
    }
}

/// Frequencies of the ids of one table over one pass of the training data, read in file order.
#[derive(Debug)]
pub struct FrequencyCounter {
    /// Indices into `Batch::ids`.
    features: Vec<usize>,
    /// By row.
    counts: Vec<Count>,
    samples: u64,
}

/// The count of a row of a table.
fn count_of<'a>(counts: &'a mut Vec<Count>, table: &Table, row: u32) -> &'a mut Count {
    let row = row as usize;
    if row >= counts.len() {
        counts.resize((row + 1).max(table.rows()), Count::default());
    }
    &mut counts[row]
}

impl FrequencyCounter {
    /// `features` are those of the table's specification.
    pub fn new(features: &[u32]) -> Self {
        Self { features: indices(features), counts: Vec::new(), samples: 0 }
    }

    /// Counts the samples of a batch; new ids get rows, which count as OOV until training
    /// reads them.
    pub fn add(&mut self, table: &mut Table, schema: &Schema, batch: &Batch) -> Result<(), TableError> {
        let Self { features, counts, samples } = self;
        for_each_id(features, schema, batch, |sample, id| {
            let row = table.row_of(id)?;
            count_of(counts, table, row).add(*samples + sample);
            Ok(())
        })?;
        self.samples += batch.rows as u64;
        Ok(())
    }

    /// Adds what was counted elsewhere: ids with the number of samples that contain them.
    ///
    /// # Errors
    /// An id that a fixed table does not have, or no memory.
    pub fn add_counts(
        &mut self,
        table: &mut Table,
        mut counted: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), TableError> {
        counted.try_for_each(|(id, samples)| {
            let row = table.row_of(id)?;
            count_of(&mut self.counts, table, row).samples += samples;
            Ok(())
        })
    }

    /// Writes the frequencies into the table.
    pub fn finish(mut self, table: &mut Table) {
        self.counts.resize(table.rows(), Count::default());
        for (target, count) in table.frequency_mut().iter_mut().zip(&self.counts) {
            *target = count.samples as f32;
        }
        if table.is_dynamic() {
            table.frequency_mut()[0] = 1.0;
        }
    }
}

/// Frequencies of the ids of one table over the samples that one rank reads, whichever rank owns
/// their rows.
#[derive(Debug)]
pub struct IdFrequencies {
    /// Indices into `Batch::ids`.
    features: Vec<usize>,
    counts: FxHashMap<u64, Count>,
    samples: u64,
}

impl IdFrequencies {
    /// `features` are those of the table's specification.
    pub fn new(features: &[u32]) -> Self {
        Self { features: indices(features), counts: FxHashMap::default(), samples: 0 }
    }

    /// Counts the samples of a batch: whole samples, and each on one rank.
    pub fn add(&mut self, schema: &Schema, batch: &Batch) {
        let Self { features, counts, samples } = self;
        let counted = for_each_id(features, schema, batch, |sample, id| {
            counts.entry(id).or_default().add(*samples + sample);
            Ok::<(), Infallible>(())
        });
        let Ok(()) = counted;
        self.samples += batch.rows as u64;
    }

    /// Samples so far that contain an id; `None` where none does.
    pub fn samples_with(&self, id: u64) -> Option<u64> {
        self.counts.get(&id).map(|count| count.samples)
    }

    /// A message for each rank: the ids that it has rows for, ascending, each with its count
    /// ([`id_counts`] reads it). `shard` is the table's, `None` for one that every rank has whole.
    pub fn into_messages(self, shard: Option<&Sharding>, ranks: usize) -> Messages {
        let mut counted: Vec<(u64, u64)> = self.counts.into_iter().map(|(id, count)| (id, count.samples)).collect();
        counted.sort_unstable();
        let mut parts = vec![Vec::new(); if shard.is_some() { ranks } else { 1 }];
        for (id, samples) in counted {
            let part = &mut parts[shard.map_or(0, |sharding| sharding.owner(id))];
            push_id(part, id);
            push_id(part, samples);
        }
        let mut messages = Messages::default();
        (0..ranks).for_each(|rank| messages.push(&parts[if shard.is_some() { rank } else { 0 }]));
        messages
    }
}

/// The ids and counts of a message of [`IdFrequencies::into_messages`].
pub fn id_counts(message: &[u32]) -> impl Iterator<Item = (u64, u64)> {
    ids(message).step_by(2).zip(ids(message).skip(1).step_by(2))
}

/// Ends a counting pass of all ranks: gives the tables of a rank, each by its number, the
/// frequencies over the samples of all ranks, and decides which ids are admitted; says how many,
/// where not all are.
///
/// # Errors
/// An id that a fixed table does not have, no memory, or another rank that failed.
pub fn join_frequencies(
    tables: &mut [Table],
    counted: Vec<(usize, IdFrequencies)>,
    ranks: &dyn Communicator,
) -> crate::Result<Vec<AdmittedIds>> {
    let mut chosen = Vec::new();
    let mut received = Messages::default();
    for (number, frequencies) in counted {
        let table = &mut tables[number];
        let messages = frequencies.into_messages(table.shard(), ranks.size());
        ranks.all_to_all(Channel::Step, &messages, &mut received)?;
        if let Some(admission) = table.admission {
            let mut counts: FxHashMap<u64, u64> = FxHashMap::default();
            for (id, samples) in received.iter().flat_map(id_counts) {
                *counts.entry(id).or_default() += samples;
            }
            let (admitted, counted) = table.admit(admission, counts, ranks)?;
            chosen.push(AdmittedIds { table: number, admitted, counted });
            continue;
        }
        let mut counter = FrequencyCounter::new(&[]);
        received.iter().try_for_each(|message| counter.add_counts(table, id_counts(message)))?;
        counter.finish(table);
    }
    Ok(chosen)
}

fn indices(features: &[u32]) -> Vec<usize> {
    features.iter().map(|&feature| feature as usize).collect()
}

/// Calls `each` with every id that the features have in a batch, beside its sample's number in the
/// batch, from 1; sample after sample.
fn for_each_id<E>(
    features: &[usize],
    schema: &Schema,
    batch: &Batch,
    mut each: impl FnMut(u64, u64) -> Result<(), E>,
) -> Result<(), E> {
    let request_of = batch.request_of();
    for sample in 0..batch.rows {
        for &feature in features {
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
            batch.ids[feature][range].iter().try_for_each(|&id| each(sample as u64 + 1, id))?;
        }
    }
    Ok(())
}
