//! The order of rows in sums over them, of a table whose update has some: that of
//! [`Table::order_rows`], so that a sum depends neither on when an id came nor on where its row is.
//!
//! The kernels that sum row gradients sort occurrences by a number per row, and the update runs
//! over rows in that order. For such a table the number is the row's position in the order; where
//! the row lies is said beside it, as for a table with a cache.

use crate::leaves::LeafRange;
use crate::table::Table;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RowOrder {
    /// By position.
    rows: Vec<u32>,
    /// By row of the table; `None` of one that is not in the order.
    positions: Vec<Option<u32>>,
    /// Room for finding the order.
    distinct: Vec<u32>,
    order: Vec<u32>,
    buckets: LeafRange,
}

impl RowOrder {
    /// Orders the rows that a batch reads, by features; or all rows. Rows are below the table's
    /// number of them. An OOV row that no batch of training reads is not among all.
    pub fn set(&mut self, table: &Table, batch: &[Vec<u32>], all: bool) {
        let Self { rows, positions, distinct, order, buckets } = self;
        rows.iter().for_each(|&row| positions[row as usize] = None);
        // A table that is smaller is another one.
        positions.truncate(table.rows());
        positions.resize(table.rows(), None);
        distinct.clear();
        if all {
            distinct.extend(0..table.rows() as u32);
        } else {
            for &row in batch.iter().flatten() {
                // Each once.
                if positions[row as usize].replace(0).is_none() {
                    distinct.push(row);
                }
            }
        }
        table.order_rows(distinct, order, buckets);
        rows.clear();
        rows.extend(order.iter().map(|&at| distinct[at as usize]));
        for (position, &row) in (0..).zip(rows.iter()) {
            positions[row as usize] = Some(position);
        }
    }

    /// The rows, in order.
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The positions of rows that a batch reads.
    pub fn positions_of<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        rows.iter().map(|&row| self.positions[row as usize].expect("the batch was ordered with all of its rows"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use din_program::schema::{Init, KeyType, TableKind, TableSpec, UpdateRule};

    /// Ids that come in different orders have one order.
    #[test]
    fn positions_are_those_of_ids() {
        let spec = TableSpec {
            name: "t".into(),
            kind: TableKind::Dynamic { key: KeyType::Int64 },
            width: 1,
            init: Init::Constant(0.0),
            update: 0,
            features: vec![],
            reads_frequency: false,
            update_rule: UpdateRule::Sparse,
            frozen: false,
            vectors: None,
            admission: None,
            location: String::new(),
        };
        let ids: Vec<u64> = (0..40).map(|k| k * 977 % 1009).collect();
        let orders = [false, true].map(|reversed| {
            let mut table = Table::new(&spec, &[], 1).unwrap();
            table.keep_ids(16);
            let mut coming = ids.clone();
            if reversed {
                coming.reverse();
            }
            let mut rows = Vec::new();
            table.resolve_train(&coming, &mut rows).unwrap();
            let id_of = |row: u32| coming[rows.iter().position(|&r| r == row).unwrap()];
            let mut order = RowOrder::default();
            let batch = [rows[3..9].to_vec(), rows[5..30].to_vec()];
            order.set(&table, &batch, false);
            let some: Vec<u32> = order.positions_of(&batch[1]).collect();
            assert!(some.iter().zip(&batch[1]).all(|(&at, &row)| order.rows()[at as usize] == row));
            assert_eq!(order.rows().len(), 27);
            order.set(&table, &batch, true);
            order.rows().iter().map(|&row| id_of(row)).collect::<Vec<u64>>()
        });
        assert_eq!(orders[0], orders[1]);
        assert_eq!(orders[0].len(), ids.len());
    }
}
