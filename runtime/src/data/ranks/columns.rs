//! Which columns of a block are whose, where all ranks decode it, and how they become rows again.
//!
//! Guarantees that a column of the files is read by one rank, and that lists of one sequence are of
//! equal lengths, whichever ranks have read them.

use super::samples;
use crate::batch::Batch;
use crate::data::bind::{BatchColumn, Binding, kept};
use crate::data::block::SomeColumns;
use crate::data::error::{DataError, Location};
use crate::data::gather::{PartRange, gather};
use crate::data::known::{check_times, end_absent_lists};
use din_program::schema::{FeatureKind, Keep, Schema};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Some of the columns of a data set.
#[derive(Debug)]
pub(super) struct ColumnSet {
    /// Of these columns alone; units are rows.
    pub binding: Binding,
    /// By column, its index among all.
    pub columns: SomeColumns,
    /// By column of the batch, its index among all.
    features: Vec<usize>,
    sequences: Vec<usize>,
    labels: Vec<usize>,
    keys: Vec<usize>,
    /// By sequence, which entries are kept where other sets have lists of it too. These are read
    /// whole and shortened before they are sent: their lengths are to be compared.
    shortened: Vec<Option<Keep>>,
}

/// Distributes the columns, which have so many bytes (the required ones, then those that are passed
/// through), to as many sets as there are ranks: the largest first, each to the set that has the
/// fewest. What is one column of the files stays together.
pub(super) fn distribute(binding: &Binding, bytes: &[u64], ranks: usize) -> Vec<ColumnSet> {
    let mut files_columns: BTreeMap<&str, SomeColumns> = BTreeMap::new();
    for (index, required) in binding.required.iter().enumerate() {
        files_columns.entry(&required.column).or_default().required.push(index);
    }
    for (index, passthrough) in binding.passthrough.iter().enumerate() {
        files_columns.entry(&passthrough.required.column).or_default().passthrough.push(index);
    }
    let first = |columns: &SomeColumns| match columns.required.first() {
        Some(&index) => index,
        None => binding.required.len() + columns.passthrough[0],
    };
    let mut files_columns: Vec<_> = files_columns.into_values().collect();
    files_columns.sort_by_key(|columns| (std::cmp::Reverse(bytes[first(columns)]), first(columns)));
    let mut sets = vec![(0u64, SomeColumns::default()); ranks];
    for columns in files_columns {
        let count = |set: &SomeColumns| set.required.len() + set.passthrough.len();
        let (total, set) = sets.iter_mut().min_by_key(|(total, set)| (*total, count(set))).expect("there is a rank");
        *total = total.saturating_add(bytes[first(&columns)]);
        set.required.extend(columns.required);
        set.passthrough.extend(columns.passthrough);
    }
    let is_divided = |sequence: usize| {
        let has = |set: &SomeColumns| set.required.iter().any(|&i| binding.required[i].sequence == Some(sequence));
        sets.iter().filter(|(_, set)| has(set)).count() > 1
    };
    let divided: Vec<bool> = (0..binding.schema.sequences.len()).map(is_divided).collect();
    sets.into_iter().map(|(_, columns)| ColumnSet::new(binding, columns, &divided)).collect()
}

impl ColumnSet {
    fn new(all: &Binding, mut columns: SomeColumns, divided: &[bool]) -> ColumnSet {
        columns.required.sort_unstable();
        columns.passthrough.sort_unstable();
        let (mut features, mut labels, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut sequences: Vec<usize> =
            columns.required.iter().filter_map(|&index| all.required[index].sequence).collect();
        sequences.sort_unstable();
        sequences.dedup();
        let place = |of: &[usize], index: usize| of.iter().position(|&i| i == index);
        let mut required = Vec::with_capacity(columns.required.len());
        for &index in &columns.required {
            let mut column = all.required[index].clone();
            let (of, index) = match &mut column.target {
                BatchColumn::Feature(index) => (&mut features, index),
                BatchColumn::Label(index) => (&mut labels, index),
                BatchColumn::Key(index) => (&mut keys, index),
            };
            of.push(*index);
            *index = of.len() - 1;
            column.sequence = column.sequence.and_then(|sequence| place(&sequences, sequence));
            required.push(column);
        }
        let mut schema = Schema {
            features: features.iter().map(|&f| all.schema.features[f].clone()).collect(),
            sequences: sequences.iter().map(|&s| all.schema.sequences[s].clone()).collect(),
            labels: labels.iter().map(|&l| all.schema.labels[l].clone()).collect(),
            keys: keys.iter().map(|&k| all.schema.keys[k].clone()).collect(),
            // Rules have their statistics and vocabularies, and combinations are made later.
            statistics: Vec::new(),
            vocabularies: Vec::new(),
            known: Vec::new(),
            requests: None,
            in_batch: None,
        };
        for feature in &mut schema.features {
            feature.common = false;
            feature.sequence = feature.sequence.and_then(|s| place(&sequences, s as usize)).map(|s| s as u32);
        }
        let mut shortened = Vec::with_capacity(sequences.len());
        for (sequence, &s) in schema.sequences.iter_mut().zip(&sequences) {
            sequence.common = false;
            shortened.push(if divided[s] { sequence.keep.take() } else { None });
        }
        let passthrough = columns.passthrough.iter().map(|&index| all.passthrough[index].clone()).collect();
        let binding = Binding { schema, options: all.options.clone(), required, passthrough };
        ColumnSet { binding, columns, features, sequences, labels, keys, shortened }
    }

    /// The key column of the set's batches that is this one of all.
    pub fn key(&self, key: usize) -> Option<usize> {
        self.keys.iter().position(|&k| k == key)
    }

    /// Appends these rows of a batch of the set.
    pub fn encode(&self, rows: &Batch, of: PartRange, scratch: &mut Batch, words: &mut Vec<u32>) {
        let schema = &self.binding.schema;
        scratch.clear();
        gather(schema, std::slice::from_ref(rows), &[of], scratch);
        for (s, keep) in self.shortened.iter().enumerate() {
            if let Some(keep) = keep {
                words.extend(scratch.offsets[s].windows(2).map(|pair| pair[1] - pair[0]));
                shorten(schema, s, *keep, scratch);
            }
        }
        samples::encode(&self.binding, scratch, words);
    }

    /// Reads so many rows that [`ColumnSet::encode`] wrote.
    pub fn decode(&self, words: &[u32], rows: usize, into: &mut ReceivedColumns) {
        let mut rest = words;
        for (s, keep) in self.shortened.iter().enumerate() {
            into.lengths[s].clear();
            if keep.is_some() {
                let (lengths, columns) = rest.split_at(rows);
                rest = columns;
                into.lengths[s].extend_from_slice(lengths);
            }
        }
        into.batch.clear();
        samples::decode(&self.binding, rest, &mut into.batch);
        assert_eq!(into.batch.rows, rows, "all ranks cut rows in the same way");
    }
}

/// Columns as a rank received them.
#[derive(Debug)]
pub(super) struct ReceivedColumns {
    batch: Batch,
    /// By sequence of the set, the lengths of its lists before they were shortened.
    lengths: Vec<Vec<u32>>,
}

impl ReceivedColumns {
    pub fn new(set: &ColumnSet) -> ReceivedColumns {
        let schema = &set.binding.schema;
        ReceivedColumns { batch: Batch::for_schema(schema), lengths: vec![Vec::new(); schema.sequences.len()] }
    }

    /// Lengths of a sequence's lists in the file, or as far as they are read where no other set has
    /// them.
    fn lengths(&self, set: &ColumnSet, sequence: usize) -> Vec<u32> {
        match set.shortened[sequence] {
            Some(_) => self.lengths[sequence].clone(),
            None => self.batch.offsets[sequence].windows(2).map(|pair| pair[1] - pair[0]).collect(),
        }
    }
}

/// Moves the columns of all sets, of the same rows, to an empty batch. `first_row` of the file is
/// the first of them.
///
/// # Errors
/// Lists of one sequence have different lengths, or a time does not come before its row's moment.
pub(super) fn put_together(
    all: &Binding,
    sets: &[ColumnSet],
    received: &mut [ReceivedColumns],
    (file, first_row): (&Path, u64),
    into: &mut Batch,
) -> Result<(), DataError> {
    for sequence in 0..all.schema.sequences.len() {
        // The sets that have it, by their first column: the first of them all says what the lengths
        // are, as where one rank reads.
        let place = |(number, set): (usize, &ColumnSet)| {
            let first = set.columns.required.iter().find(|&&index| all.required[index].sequence == Some(sequence))?;
            Some((*first, number, set.sequences.iter().position(|&s| s == sequence)?))
        };
        let mut places: Vec<_> = sets.iter().enumerate().filter_map(place).collect();
        places.sort_unstable();
        let [(first, number, at), others @ ..] = places.as_slice() else { continue };
        if others.is_empty() {
            continue;
        }
        let expected = received[*number].lengths(&sets[*number], *at);
        for (column, number, at) in others {
            let found = received[*number].lengths(&sets[*number], *at);
            if let Some(row) = (0..expected.len()).find(|&row| expected[row] != found[row]) {
                let lengths = (expected[row] as usize, found[row] as usize);
                let name = &all.schema.sequences[sequence].name;
                return Err(all.required[*column]
                    .unequal(file, &all.required[*first], name, lengths)
                    .at(Location::Row(first_row + row as u64)));
            }
        }
    }
    into.passthrough.resize(all.passthrough.len(), Vec::new());
    for (set, ReceivedColumns { batch, .. }) in sets.iter().zip(received) {
        into.rows = batch.rows;
        for (from, &f) in set.features.iter().enumerate() {
            std::mem::swap(&mut batch.ids[from], &mut into.ids[f]);
            std::mem::swap(&mut batch.dense[from], &mut into.dense[f]);
        }
        for (from, &s) in set.sequences.iter().enumerate() {
            std::mem::swap(&mut batch.offsets[from], &mut into.offsets[s]);
        }
        for (from, &l) in set.labels.iter().enumerate() {
            std::mem::swap(&mut batch.labels[from], &mut into.labels[l]);
            std::mem::swap(&mut batch.present[from], &mut into.present[l]);
        }
        for (from, &k) in set.keys.iter().enumerate() {
            std::mem::swap(&mut batch.keys[from], &mut into.keys[k]);
        }
        for (from, &c) in set.columns.passthrough.iter().enumerate() {
            std::mem::swap(&mut batch.passthrough[from], &mut into.passthrough[c]);
        }
    }
    for flags in into.labels.iter_mut().chain(&mut into.present) {
        // Columns that the mode does not read.
        flags.resize(into.rows, 0.0);
    }
    end_absent_lists(&all.schema, into.rows, into);
    let place = |row: u64| Ok(Location::Row(first_row + row));
    check_times(all, into, 0..into.rows, file, place)
}

/// Keeps some entries of every list of a sequence.
fn shorten(schema: &Schema, sequence: usize, keep: Keep, batch: &mut Batch) {
    let mut spans = Vec::with_capacity(batch.rows);
    let mut end = 0;
    for offset in 1..batch.offsets[sequence].len() {
        let (begin, stop) = kept(Some(keep), end, batch.offsets[sequence][offset] as usize);
        end = batch.offsets[sequence][offset] as usize;
        spans.push(begin..stop);
    }
    for (f, feature) in schema.features.iter().enumerate().filter(|(_, f)| f.sequence == Some(sequence as u32)) {
        match feature.kind {
            FeatureKind::Dense { width } => keep_spans(&spans, width as usize, &mut batch.dense[f]),
            FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. } => keep_spans(&spans, 1, &mut batch.ids[f]),
        }
    }
    let mut end = 0;
    for (offset, span) in batch.offsets[sequence][1..].iter_mut().zip(spans) {
        end += span.len() as u32;
        *offset = end;
    }
}

/// Keeps the entries of these spans, which follow each other; an entry has `width` values.
fn keep_spans<T: Copy>(spans: &[Range<usize>], width: usize, values: &mut Vec<T>) {
    let mut end = 0;
    for span in spans {
        values.copy_within(span.start * width..span.end * width, end);
        end += span.len() * width;
    }
    values.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{OpenOptions, ReadMode};
    use din_program::schema::{Feature, FeatureSource, KeyType, Label, LabelKind, Sequence};

    fn feature(column: &str, sequence: Option<u32>) -> Feature {
        Feature {
            group: "g".into(),
            name: column.into(),
            source: FeatureSource::column(column),
            kind: FeatureKind::Dynamic { key: KeyType::Int64 },
            sequence,
            common: false,
            at_prediction: true,
            location: "m.din:3:5".into(),
        }
    }

    #[test]
    fn a_column_is_in_one_set_and_sets_have_equal_bytes() {
        let keep = Some(Keep { last: true, count: 2 });
        let schema = Schema {
            // `a` is read twice; `s` has two large lists.
            features: vec![
                feature("a", None),
                feature("x", Some(0)),
                feature("y", Some(0)),
                feature("a", None),
                feature("b", None),
            ],
            sequences: vec![Sequence {
                name: "s".into(),
                keep,
                missing: false,
                common: false,
                location: "m.din:2:5".into(),
            }],
            labels: vec![Label {
                name: "l".into(),
                column: "l".into(),
                kind: LabelKind::Binary,
                classes: Vec::new(),
                missing: None,
                location: "m.din:8:5".into(),
            }],
            ..Schema::default()
        };
        let binding = Binding::new(&schema, &OpenOptions::new(ReadMode::Train));
        let bytes = [10, 100, 90, 10, 5, 1];
        let columns = |ranks: usize| -> Vec<Vec<usize>> {
            distribute(&binding, &bytes, ranks).iter().map(|set| set.columns.required.clone()).collect()
        };
        assert_eq!(columns(1), [[0, 1, 2, 3, 4, 5]]);
        assert_eq!(columns(2), [vec![1, 4], vec![0, 2, 3, 5]]);
        assert_eq!(columns(3), [vec![1], vec![2], vec![0, 3, 4, 5]]);
        assert_eq!(columns(7), [vec![1], vec![2], vec![0, 3], vec![4], vec![5], vec![], vec![]]);
        // Lists are shortened by their reader unless others have lists of the sequence too.
        for (ranks, divided) in [(1, false), (2, true)] {
            for set in distribute(&binding, &bytes, ranks) {
                assert_eq!(set.binding.schema.sequences[0].keep, if divided { None } else { keep });
                assert_eq!(set.shortened, [if divided { keep } else { None }]);
            }
        }
    }
}
