//! The order of a table's rows in sums over them: by bucket, within a bucket by id, so that no sum
//! depends on the order in which ids came, or on which rank has which bucket.

use super::{Kind, ShardPlan, Sharding, Table};
use crate::leaves::LeafRange;
use din_program::Program;

/// What is kept for sums over a table's rows.
#[derive(Debug)]
pub(super) struct KeptIds {
    sharding: Sharding,
    /// By row, of a dynamic table; the OOV row's is not used.
    ids: Vec<u64>,
}

impl KeptIds {
    pub fn push(&mut self, id: u64) {
        self.ids.push(id);
    }
}

/// Lets every table of a program whose update programs sum over rows keep the ids of its rows.
pub fn keep_ids(program: &Program, tables: &mut [Table], plan: &ShardPlan) {
    for (number, table) in tables.iter_mut().enumerate() {
        if program.is_summed_over_rows(number) {
            table.keep_ids(plan.sharding.buckets);
        }
    }
}

impl Table {
    /// Keeps the id of each row, which [`Table::order_rows`] needs: 8 bytes per row of a dynamic
    /// table. `buckets`: those of the run.
    pub fn keep_ids(&mut self, buckets: u32) {
        let sharding = self.shard.unwrap_or(Sharding::local(buckets));
        let ids = match &self.kind {
            Kind::Fixed { .. } => Vec::new(),
            Kind::Dynamic { index } => {
                let mut ids = vec![0; self.rows];
                index.in_key_order().into_iter().for_each(|(id, row, _)| ids[row as usize] = id);
                ids
            }
        };
        self.kept_ids = Some(KeptIds { sharding, ids });
    }

    fn id_of(&self, row: u32) -> u64 {
        match &self.kind {
            Kind::Fixed { owned: None, .. } => u64::from(row),
            Kind::Fixed { owned: Some(owned), .. } => owned.id(row as usize),
            Kind::Dynamic { .. } => self.kept().ids[row as usize],
        }
    }

    fn kept(&self) -> &KeptIds {
        self.kept_ids.as_ref().expect("a table whose rows are summed keeps their ids")
    }

    /// Puts the positions of `rows` (row numbers, each once) into the order of sums, without an OOV
    /// row that is not trained here (one that is comes first), and says where the buckets lie in
    /// them. After [`Table::keep_ids`].
    pub fn order_rows(&self, rows: &[u32], order: &mut Vec<u32>, buckets: &mut LeafRange) {
        let sharding = self.kept().sharding;
        let is_oov = |row: u32| row == 0 && self.is_dynamic();
        let mut keyed: Vec<(u32, Option<u64>, u32)> = (0..)
            .zip(rows)
            .filter(|&(_, &row)| !is_oov(row) || self.trains_oov_row())
            .map(|(at, &row)| match is_oov(row) {
                // The first bucket is the first rank's.
                true => (0, None, at),
                false => {
                    let id = self.id_of(row);
                    (sharding.bucket(id), Some(id), at)
                }
            })
            .collect();
        keyed.sort_unstable();
        order.clear();
        order.extend(keyed.iter().map(|&(_, _, at)| at));
        let owned = sharding.owned();
        buckets.bounds.clear();
        let end = |bucket: usize| keyed.partition_point(|key| (key.0 as usize) < bucket) as u32;
        buckets.bounds.extend((owned.start..=owned.end).map(end));
        (buckets.first, buckets.total) = (owned.start, sharding.buckets as usize);
    }
}
