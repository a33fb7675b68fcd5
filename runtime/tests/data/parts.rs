//! A data set in parts: consecutive whole blocks for each rank, which are all of it together.

use crate::support::*;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use std::path::Path;

/// Parquet files with so many rows each, in row groups of `group` rows.
fn files(directory: &Path, rows: &[i64], group: usize) -> Dataset {
    let mut first = 0;
    for (number, &rows) in rows.iter().enumerate() {
        write(&directory.join(format!("{number}.parquet")), &[records(first..first + rows)], group);
        first += rows;
    }
    Dataset::open(&[directory], &schema(), ReadMode::Evaluate).unwrap()
}

#[test]
fn parts_follow_each_other_and_are_the_whole() {
    for (rows, group) in [(vec![1_000], 1_000), (vec![700, 5, 300], 100), (vec![3_000], 30), (vec![64], 7)] {
        let directory = tempfile::tempdir().unwrap();
        let data = files(directory.path(), &rows, group);
        for ranks in [1, 2, 3, 4, 8, 16] {
            let (mut next, mut most) = (0, 0);
            for rank in 0..ranks {
                let part = data.part_rows(rank, ranks);
                assert_eq!(part.start, next);
                next = part.end;
                most = most.max(part.end - part.start);
                let options = StreamOptions { part: Some((rank, ranks)), ..StreamOptions::new(64, Order::File) };
                let batches = collect(&data, options).unwrap();
                let items: Vec<u64> = batches.iter().flat_map(|batch| batch.ids[0].clone()).collect();
                // The item of row r is r.
                assert_eq!(items, part.clone().collect::<Vec<_>>(), "{rows:?}, rank {rank} of {ranks}");
                let full = batches.iter().filter(|batch| batch.rows == 64).count();
                assert!(full + 1 >= batches.len(), "a batch ends before its part");
                let rest = collect(&data, StreamOptions { skip: 2, threads: 2, ..options }).unwrap();
                assert_eq!(rest, batches[batches.len().min(2)..]);
            }
            assert_eq!(next, data.rows());
            assert!(most <= data.rows() / ranks as u64 + group as u64 + 1, "{most} rows of {ranks} ranks");
        }
    }
}

#[test]
fn a_part_is_shuffled_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let data = files(directory.path(), &[1_000], 100);
    let order = Order::Shuffled { seed: 3, epoch: 0 };
    for rank in 0..3 {
        let options = StreamOptions { part: Some((rank, 3)), window_rows: 150, ..StreamOptions::new(32, order) };
        let batches = collect(&data, options).unwrap();
        let mut items: Vec<u64> = batches.iter().flat_map(|batch| batch.ids[0].clone()).collect();
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert_eq!(items, data.part_rows(rank, 3).collect::<Vec<_>>());
    }
}
