//! A batch of samples as columns: ids as 64-bit keys, sequences as CSR offsets, nothing padded.

use crate::leaves::LeafRange;
use arrow_array::ArrayRef;

/// Columns of `rows` samples, in the order of the schema. Reused from batch to batch: clearing
/// keeps the allocations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Samples.
    pub rows: usize,
    /// First sample of each request, then `rows`; empty where the schema has no requests. Common
    /// features have one value (or list) per request instead of one per sample.
    pub requests: Vec<u32>,
    /// By sequence: `rows + 1` offsets; the entries of sample `s` are `offsets[s]..offsets[s + 1]`.
    pub offsets: Vec<Vec<u32>>,
    /// By feature: 64-bit keys of a categorical feature (an int64 id's bits, a string's stable
    /// hash, a fixed category's number), one per sample or one per entry of its sequence; empty for
    /// numeric features.
    pub ids: Vec<Vec<u64>>,
    /// By feature: `width` values per sample (or entry); empty for categorical features.
    pub dense: Vec<Vec<f32>>,
    /// By label: its value; 0 where missing.
    pub labels: Vec<Vec<f32>>,
    /// By label: 1 where present, else 0.
    pub present: Vec<Vec<f32>>,
    /// By key column.
    pub keys: Vec<KeyColumn>,
    /// Which leaves of its global batch it is: all of them on one rank. Empty in a batch that no
    /// stream of a data set made.
    pub leaves: LeafRange,
    /// Samples of the global batch; 0 where `leaves` is empty.
    pub global_rows: usize,
    /// Place of its first sample in the global batch.
    pub first_row: usize,
    /// Of prediction: by column that is passed through, arrays that hold its `rows` values one
    /// after the other.
    pub passthrough: Vec<Vec<ArrayRef>>,
}

impl Batch {
    /// By sample, its request; empty where there are none.
    pub fn request_of(&self) -> Vec<u32> {
        let spans = self.requests.windows(2).enumerate();
        spans.flat_map(|(r, w)| std::iter::repeat_n(r as u32, (w[1] - w[0]) as usize)).collect()
    }
}

/// Values of a `key` column, to tell which rows have the same.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyColumn {
    /// 64 bits of an integer, with or without a sign.
    Int64(Vec<i64>),
    String(Vec<String>),
}
