//! Which elements of a batch touched which rows of a table: the order in which sparse gradients are
//! summed.
//!
//! Guarantees distinct rows ascending, and the occurrences of a row in the order in which the reads
//! are given: by (leaf, feature, element). Sums taken in this order have the same bits at any
//! number of threads. Nothing is allocated once the vectors have grown to the size of a batch.

use crate::kernels::{Occurrence, RowSegments};

/// The distinct rows of a batch as CSR.
#[derive(Clone, Debug, Default)]
pub struct Occurrences {
    /// Distinct rows, ascending.
    pub rows: Vec<u32>,
    /// `rows.len() + 1`; the occurrences of `rows[i]` are `items[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<u32>,
    pub items: Vec<Occurrence>,
    /// After [`Occurrences::cover`]: 1 for each row that occurs, 0 for the others.
    pub touched: Vec<f32>,
    /// All occurrences in the order in which they are given.
    given: Vec<Occurrence>,
    /// Row and place in `given`.
    pairs: Vec<u64>,
    sorted: Vec<u64>,
    counts: Vec<u32>,
}

/// Consecutive elements of one leaf that read rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowReads<'a> {
    /// Row numbers.
    pub rows: &'a [u32],
    pub feature: u16,
    pub leaf: u16,
    /// Number of the first element.
    pub first: u32,
}

/// Most bits of a digit: its counters fit the first-level cache.
const DIGIT: u32 = 11;

impl Occurrences {
    pub fn new() -> Self {
        Self::default()
    }

    /// The occurrences of every row, as the terms of a sum.
    pub fn segments(&self) -> RowSegments<'_> {
        RowSegments { offsets: &self.offsets, occurrences: &self.items }
    }

    /// Elements that read row `rows[i]`.
    #[inline]
    pub fn of(&self, i: usize) -> &[Occurrence] {
        &self.items[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// Sorts the row numbers of all reads of one table, each below `table_rows` (at most 2^32);
    /// fewer than 2^32 in all. Leaves ascend.
    pub fn build(&mut self, reads: &[RowReads<'_>], table_rows: usize) {
        debug_assert!(reads.is_sorted_by_key(|reads| reads.leaf), "reads come by ascending leaf");
        let total: usize = reads.iter().map(|r| r.rows.len()).sum();
        self.rows.clear();
        self.offsets.clear();
        self.items.clear();
        if total == 0 {
            self.offsets.push(0);
            return;
        }
        // Stable radix sort by row, least digit first; the place in the order given rides along.
        let bits = usize::BITS - (table_rows.max(2) - 1).leading_zeros();
        let passes = bits.div_ceil(DIGIT);
        let digit = bits.div_ceil(passes);
        match passes {
            1 => self.sort::<1>(reads, total, digit),
            2 => self.sort::<2>(reads, total, digit),
            3 => self.sort::<3>(reads, total, digit),
            _ => unreachable!("row numbers have at most 32 bits, which are three digits"),
        }
        self.emit();
    }

    /// Adds the rows below `table_rows` that do not occur, each with no occurrence: every row is
    /// there then, still ascending.
    pub fn cover(&mut self, table_rows: usize) {
        let distinct = self.rows.len();
        self.touched.clear();
        self.touched.resize(table_rows, 0.0);
        for &row in &self.rows {
            self.touched[row as usize] = 1.0;
        }
        self.offsets.resize(table_rows + 1, 0);
        // From the back, so that no entry is overwritten before it is read: `rows[i] >= i`.
        let (mut end, mut above) = (self.items.len() as u32, table_rows);
        for i in (0..distinct).rev() {
            let row = self.rows[i] as usize;
            let begin = self.offsets[i];
            self.offsets[row + 1..=above].fill(end);
            (end, above) = (begin, row);
        }
        self.offsets[..=above].fill(0);
        self.rows.clear();
        self.rows.extend(0..table_rows as u32);
    }

    /// Puts the rows into this order: the row that was at `order[i]` is the `i`th. Rows that
    /// `order` leaves out go.
    pub fn reorder(&mut self, order: &[u32]) {
        let had = std::mem::take(self);
        self.offsets.push(0);
        for &at in order {
            self.rows.push(had.rows[at as usize]);
            self.items.extend_from_slice(had.of(at as usize));
            self.offsets.push(self.items.len() as u32);
        }
        if !had.touched.is_empty() {
            self.touched.extend(order.iter().map(|&at| had.touched[at as usize]));
        }
    }

    fn sort<const PASSES: usize>(&mut self, reads: &[RowReads<'_>], total: usize, digit: u32) {
        let (size, mask) = (1usize << digit, (1u64 << digit) - 1);
        self.counts.clear();
        self.counts.resize(size * PASSES, 0);
        self.pairs.resize(total, 0);
        self.sorted.resize(total, 0);
        self.given.clear();
        self.given.reserve(total);
        // One set of counters a digit, all counted while the pairs are made.
        let mut flat = 0;
        for &RowReads { rows, feature, leaf, first } in reads {
            let elements = first..first + rows.len() as u32;
            self.given.extend(elements.map(|element| Occurrence { feature, leaf, element }));
            for (&row, pair) in rows.iter().zip(&mut self.pairs[flat..]) {
                *pair = u64::from(row) << 32 | flat as u64;
                flat += 1;
                for pass in 0..PASSES {
                    let value = (u64::from(row) >> (pass as u32 * digit) & mask) as usize;
                    self.counts[pass * size + value] += 1;
                }
            }
        }
        for (pass, counts) in self.counts.chunks_exact_mut(size).enumerate() {
            let mut sum = 0;
            for count in counts.iter_mut() {
                sum += std::mem::replace(count, sum);
            }
            let shift = 32 + pass as u32 * digit;
            for &pair in &self.pairs {
                let place = &mut counts[(pair >> shift & mask) as usize];
                self.sorted[*place as usize] = pair;
                *place += 1;
            }
            std::mem::swap(&mut self.pairs, &mut self.sorted);
        }
    }

    fn emit(&mut self) {
        let total = self.pairs.len();
        self.rows.resize(total, 0);
        self.offsets.resize(total + 1, 0);
        self.items.resize(total, Occurrence::default());
        // Without branches: a row is written over until the next one begins.
        // No row has that number.
        let (mut distinct, mut last) = (0, u64::MAX);
        for (at, (&pair, item)) in self.pairs.iter().zip(&mut self.items).enumerate() {
            let row = pair >> 32;
            distinct += usize::from(row != last);
            last = row;
            self.rows[distinct - 1] = row as u32;
            // The end of the row so far; the next row begins there.
            self.offsets[distinct] = at as u32 + 1;
            *item = self.given[pair as u32 as usize];
        }
        self.rows.truncate(distinct);
        self.offsets.truncate(distinct + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 128 }))]
        #[test]
        fn equals_a_sorted_map(
            table_rows in prop_oneof![1usize..5, 1usize..3000, 1usize..5_000_000],
            lengths in prop::collection::vec(0usize..300, 0..5),
            seed in any::<u64>(),
        ) {
            let stream = crate::random::Stream::new(seed, "occurrences", 0);
            let mut at = 0;
            let features: Vec<Vec<u32>> = lengths.iter().map(|&n| (0..n).map(|_| {
                at += 1;
                // Squared: some rows are common.
                ((stream.uniform(at).powi(2) * table_rows as f64) as u32).min(table_rows as u32 - 1)
            }).collect()).collect();
            let reads: Vec<RowReads<'_>> = [1u16, 4, 6].iter().enumerate().flat_map(|(third, &leaf)| {
                features.iter().enumerate().map(move |(feature, rows)| {
                    let (from, to) = (rows.len() * third / 3, rows.len() * (third + 1) / 3);
                    RowReads { rows: &rows[from..to], feature: feature as u16, leaf, first: from as u32 }
                })
            }).collect();
            let mut expected: BTreeMap<u32, Vec<Occurrence>> = BTreeMap::new();
            for &RowReads { rows, feature, leaf, first } in &reads {
                for (element, &row) in (first..).zip(rows) {
                    expected.entry(row).or_default().push(Occurrence { feature, leaf, element });
                }
            }
            let mut occurrences = Occurrences::new();
            // Twice, and after something else: nothing is left over.
            occurrences.build(&[RowReads { rows: &[3, 1, 1], feature: 0, leaf: 0, first: 0 }], 4);
            for _ in 0..2 {
                occurrences.build(&reads, table_rows);
                prop_assert_eq!(&occurrences.rows, &expected.keys().copied().collect::<Vec<_>>());
                for (i, (_, items)) in expected.iter().enumerate() {
                    prop_assert_eq!(occurrences.of(i), items.as_slice());
                }
                prop_assert_eq!(occurrences.offsets.len(), expected.len() + 1);
            }
            if table_rows < 3000 {
                occurrences.cover(table_rows);
                prop_assert_eq!(&occurrences.rows, &(0..table_rows as u32).collect::<Vec<_>>());
                for row in 0..table_rows {
                    let items = expected.get(&(row as u32)).map_or(&[][..], Vec::as_slice);
                    prop_assert_eq!(occurrences.of(row), items);
                    prop_assert_eq!(occurrences.touched[row], f32::from(!items.is_empty()));
                }
            }
        }
    }
}
