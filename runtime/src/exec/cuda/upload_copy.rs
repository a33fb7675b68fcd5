//! The values of a step's upload: where each array's values come from, and how several threads copy
//! them into the staging buffer, once.
//!
//! Row numbers are checked against the rows of their table while they are copied: the device sees
//! none of them before all are known to be valid.

use super::device_model::DeviceTable;
use super::memory::{BlockBases, words_of};
use super::row_order::RowOrder;
use super::step_args::{UploadPlan, members, offsets};
use crate::column_loops;
use crate::exec::common::{Layout, StepInputs};
use crate::threads::Threads;
use din_program::schedule::AxisId;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where numbers are.
#[derive(Clone, Copy, Debug)]
pub(super) enum ArraySource {
    /// The stage's own words and addresses, from a position on; bounds of a tiling.
    Own(usize),
    Pointers(usize),
    Tiles(usize),
    /// Row numbers of a feature, by its position in the table, and where the rows are.
    Rows {
        table: usize,
        feature: usize,
    },
    Places {
        table: usize,
        feature: usize,
    },
    /// The rows' positions in the order of a table's sums.
    Positions {
        table: usize,
        feature: usize,
    },
    /// All rows of a table in that order.
    OrderedRows(usize),
    /// As of features, of a key of a unique axis.
    UniqueRows {
        table: usize,
        axis: AxisId,
        key: usize,
    },
    UniquePlaces {
        table: usize,
        axis: AxisId,
        key: usize,
    },
    UniquePositions {
        table: usize,
        axis: AxisId,
        key: usize,
    },
    /// The rows of a table that were fetched for the step.
    Fetched(usize),
    Dense(usize),
    Label(usize),
    Present(usize),
    Zeros,
    /// Of the layout.
    Offsets(AxisId),
    Members(AxisId),
    /// Of the order of a recurrence.
    Steps(AxisId),
    StepTiles(AxisId),
    Lengths(AxisId),
    ListPositions(AxisId),
    SampleNumbers(AxisId),
    Components,
    Above {
        of: AxisId,
        to: AxisId,
    },
}

/// An array of a step's write, in numbers of 4 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlannedArray {
    pub at: usize,
    pub count: usize,
    pub numbers: ArraySource,
}

/// What a step's numbers are copied from.
pub(super) struct UploadCopy<'a> {
    pub plan: &'a UploadPlan,
    pub inputs: &'a StepInputs<'a>,
    pub layout: &'a Layout,
    pub tables: &'a [DeviceTable],
    pub bases: BlockBases,
}

/// Values that a thread copies at a time.
const CHUNK: usize = 32 << 10;

/// From so many bytes on, columns go past the caches: the device reads them from memory, and they
/// would drive out what the next step reads.
const STREAM: usize = 8 << 20;

impl UploadCopy<'_> {
    /// Copies all of it; false where a row number is none of its table.
    pub fn copy(&self, to: &mut [u32], threads: &Threads) -> bool {
        let numbers = self.plan.layout.bytes / 4;
        let Some(to) = to.get_mut(..numbers) else { return false };
        let chunks: Vec<Mutex<&mut [u32]>> = to.chunks_mut(CHUNK).map(Mutex::new).collect();
        let sound = AtomicBool::new(true);
        threads.parallel_for(chunks.len(), &|k| {
            let copied = chunks[k].lock().is_ok_and(|mut to| self.copy_chunk(k * CHUNK, &mut to));
            if !copied {
                sound.store(false, Ordering::Relaxed);
            }
        });
        sound.into_inner()
    }

    /// What belongs to the numbers from `begin` on.
    fn copy_chunk(&self, begin: usize, to: &mut [u32]) -> bool {
        let (parts, end) = (&self.plan.parts, begin + to.len());
        let first = parts.partition_point(|p| p.at + p.count <= begin);
        let mut sound = true;
        for part in parts[first..].iter().take_while(|p| p.at < end) {
            let (from, until) = (part.at.max(begin), (part.at + part.count).min(end));
            sound &= self.copy_part(part.numbers, from - part.at, &mut to[from - begin..until - begin]);
        }
        sound
    }

    /// Some of an array, from its number `first` on.
    fn copy_part(&self, numbers: ArraySource, first: usize, to: &mut [u32]) -> bool {
        let end = first + to.len();
        let (inputs, layout) = (self.inputs, self.layout);
        let unique = |axis, key: usize| &layout.unique(axis).rows[key][first..end];
        match numbers {
            ArraySource::Own(at) => to.copy_from_slice(&self.plan.own[at + first..at + end]),
            ArraySource::Pointers(at) => {
                // They begin and end at even numbers, as chunks do.
                let addresses = &self.plan.pointers[at + first / 2..at + end / 2];
                for (to, &address) in to.as_chunks_mut::<2>().0.iter_mut().zip(addresses) {
                    to.copy_from_slice(words_of(&[self.bases.resolve(address)]));
                }
            }
            ArraySource::Tiles(k) => to.copy_from_slice(&self.plan.tiles[k][first..end]),
            ArraySource::Rows { table, feature } => {
                return self.copy_rows(table, &inputs.row_numbers[table][feature][first..end], to);
            }
            ArraySource::UniqueRows { table, axis, key } => return self.copy_rows(table, unique(axis, key), to),
            ArraySource::Places { table, feature } => {
                self.copy_places(table, &inputs.row_numbers[table][feature][first..end], to);
            }
            ArraySource::UniquePlaces { table, axis, key } => self.copy_places(table, unique(axis, key), to),
            ArraySource::Positions { table, feature } => {
                self.copy_positions(table, &inputs.row_numbers[table][feature][first..end], to);
            }
            ArraySource::UniquePositions { table, axis, key } => self.copy_positions(table, unique(axis, key), to),
            ArraySource::OrderedRows(table) => to.copy_from_slice(&self.order(table).rows()[first..end]),
            ArraySource::Fetched(table) => {
                let fetched = inputs.fetched.expect("fetched rows are staged where there are some");
                to.copy_from_slice(&words_of(fetched[table].values.trained())[first..end]);
            }
            ArraySource::Dense(k) => to.copy_from_slice(&words_of(&inputs.dense[k])[first..end]),
            ArraySource::Label(k) => to.copy_from_slice(&words_of(&inputs.labels[k])[first..end]),
            ArraySource::Present(k) => to.copy_from_slice(&words_of(&inputs.present[k])[first..end]),
            ArraySource::Zeros => to.fill(0),
            ArraySource::Offsets(d) => to.copy_from_slice(&offsets(layout, d)[first..end]),
            ArraySource::Members(d) => to.copy_from_slice(&members(layout, d)[first..end]),
            ArraySource::Steps(d) => to.copy_from_slice(&layout.steps(d).begins()[first..end]),
            ArraySource::StepTiles(d) => to.copy_from_slice(&layout.steps(d).leaves()[first..end]),
            ArraySource::Lengths(d) => {
                let lengths = offsets(layout, d)[first..=end].windows(2).map(|w| (w[1] - w[0]) as f32);
                to.iter_mut().zip(lengths).for_each(|(to, length)| *to = length.to_bits());
            }
            ArraySource::ListPositions(d) => layout.positions_from(d, first, to),
            ArraySource::SampleNumbers(d) => layout.sample_numbers_from(d, first, to),
            ArraySource::Components => {
                to.iter_mut().zip(first..).for_each(|(to, component)| *to = (component as f32).to_bits());
            }
            ArraySource::Above { of, to: above } => layout.above(of, above, first, to),
        }
        true
    }

    fn copy_rows(&self, table: usize, rows: &[u32], to: &mut [u32]) -> bool {
        let most = if self.plan.layout.bytes > STREAM {
            column_loops::stream_max(rows, to)
        } else {
            column_loops::copy_max(rows, to)
        };
        let rows = match self.inputs.fetched {
            Some(fetched) => fetched[table].count,
            None => self.tables[table].rows,
        };
        (most as usize) < rows
    }

    fn order(&self, table: usize) -> &RowOrder {
        self.tables[table].order.as_ref().expect("positions are staged of a table with an order")
    }

    fn copy_positions(&self, table: usize, rows: &[u32], to: &mut [u32]) {
        to.iter_mut().zip(self.order(table).positions_of(rows)).for_each(|(to, position)| *to = position);
    }

    fn copy_places(&self, table: usize, rows: &[u32], to: &mut [u32]) {
        if let Some(cache) = &self.tables[table].cache {
            to.iter_mut().zip(cache.places_of(rows)).for_each(|(to, place)| *to = place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{RelativePtr, SizeBuckets};
    use super::*;
    use din_program::schedule::{AxisTree, BATCH};
    use din_program::schema::{Schema, Sequence};

    /// Arrays of several chunks, whose ends lie anywhere, and small ones between them.
    #[test]
    fn threads_copy_what_stands_there() {
        let sequence =
            Sequence { name: "s".into(), keep: None, missing: false, common: false, location: String::new() };
        let schema = Schema { sequences: vec![sequence], ..Schema::default() };
        let samples = CHUNK + 77;
        let mut offsets = vec![0u32];
        for s in 0..samples as u32 {
            offsets.push(offsets[s as usize] + s.wrapping_mul(2_654_435_761) % 7);
        }
        let entries = offsets[samples] as usize;
        let numbers =
            |n: usize, factor: u32| (0..n as u32).map(|k| k.wrapping_mul(factor) % 1000).collect::<Vec<u32>>();
        let mut rows = vec![vec![numbers(samples, 7), numbers(entries, 13)]];
        let (dense, label) = (vec![0.5; 3 * samples], vec![1.0; samples]);
        let (own, addresses) =
            (numbers(301, 3), vec![RelativePtr::Work(12), RelativePtr::Fixed(u64::MAX - 5), RelativePtr::Staged(4)]);
        let mut layout = Layout::new(AxisTree::of_schema(&schema));
        layout.set(samples, &[], std::slice::from_ref(&offsets));
        let mut tables = vec![DeviceTable::default()];
        let d = AxisId(2);
        let mut plan = UploadPlan::new(SizeBuckets { per_doubling: 8 });
        plan.column(samples, ArraySource::Rows { table: 0, feature: 0 }, "").unwrap();
        plan.put(&own, "").unwrap();
        plan.column(entries, ArraySource::Rows { table: 0, feature: 1 }, "").unwrap();
        plan.pointers(&addresses).unwrap();
        plan.column(entries, ArraySource::Above { of: d, to: BATCH }, "").unwrap();
        plan.column(samples, ArraySource::Lengths(d), "").unwrap();
        plan.column(samples + 1, ArraySource::Offsets(d), "").unwrap();
        plan.column(3 * samples, ArraySource::Dense(0), "").unwrap();
        plan.column(samples, ArraySource::Label(0), "").unwrap();
        plan.column(samples, ArraySource::Zeros, "").unwrap();

        let bases = BlockBases { staged: 1 << 33, arena: 1 << 34, work: 1 << 35 };
        let above: Vec<u32> =
            (0..samples).flat_map(|s| vec![s as u32; (offsets[s + 1] - offsets[s]) as usize]).collect();
        let lengths: Vec<f32> = offsets.windows(2).map(|w| (w[1] - w[0]) as f32).collect();
        let resolved = addresses.iter().map(|a| bases.resolve(*a)).collect::<Vec<u64>>();
        let expected = [
            rows[0][0].clone(),
            own,
            rows[0][1].clone(),
            words_of(&resolved).to_vec(),
            above,
            words_of(&lengths).to_vec(),
            offsets.clone(),
            words_of(&dense).to_vec(),
            words_of(&label).to_vec(),
            vec![0; samples],
        ];
        let offsets = [offsets];
        let mut copy = |rows: &[Vec<Vec<u32>>], table_rows: usize| {
            tables[0].rows = table_rows;
            let inputs = StepInputs {
                rows: samples,
                requests: &[],
                offsets: &offsets,
                row_numbers: rows,
                dense: std::slice::from_ref(&dense),
                labels: std::slice::from_ref(&label),
                present: &[],
                fetched: None,
                cut: crate::exec::BatchCut::Whole(1),
                first_row: 0,
                epoch: 1,
            };
            let mut to = vec![9; plan.layout.bytes / 4 + 5];
            let contents = UploadCopy { plan: &plan, inputs: &inputs, layout: &layout, tables: &tables, bases };
            contents.copy(&mut to, &Threads::caller()).then_some(to)
        };
        let to = copy(&rows, 1000).unwrap();
        assert_eq!(plan.parts.len(), expected.len());
        for (part, expected) in plan.parts.iter().zip(&expected) {
            assert!(to[part.at..part.at + part.count] == *expected, "{part:?}");
        }
        assert_eq!(to[to.len() - 5..], [9; 5]);
        // A row that is not there, in any chunk.
        for at in [0, CHUNK - 1, CHUNK, entries - 1] {
            let sound = std::mem::replace(&mut rows[0][1][at], 1000);
            assert_eq!((copy(&rows, 1000), copy(&rows, 1001).is_some()), (None, true));
            rows[0][1][at] = sound;
        }
    }
}
