//! Row groups that are too large for one rank: all decode them together, by columns.

use super::ranks::{compare, on, on_ranks, shuffled};
use super::requests;
use super::support::*;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use din_program::schema::Keep;
use din_runtime::comm::in_process;
use din_runtime::data::{Dataset, FaultKind, Location, ReadMode, StreamError, StreamOptions};
use std::sync::Arc;

/// In several steps, windows ending within.
#[test]
fn large_row_groups_are_shared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let rows = 50_000;
    // Lists of up to three entries, of which one or two are read.
    write(&path, &[records(0..rows)], 40_000);
    for (keep, ranks) in [(None, 2), (Some((true, 2)), 3), (Some((false, 1)), 2), (Some((true, 2)), 8)] {
        let mut schema = schema();
        schema.sequences[0].keep = keep.map(|(last, count)| Keep { last, count });
        let open = || Dataset::open(&[&path], &schema, ReadMode::Evaluate).unwrap();
        for (batch, window, threads) in [(1_000, 30_000, 1), (7_777, 1 << 20, 2)] {
            for skip in [0, 4] {
                let options = StreamOptions { threads, skip, ..shuffled(batch, window) };
                let what = format!("{keep:?}, {options:?}, {ranks} ranks");
                let read = on_ranks(&open, options, ranks);
                let decoded = compare(&open(), options, &read, &what);
                if skip == 0 {
                    assert_eq!(decoded.iter().sum::<u64>(), rows as u64, "{what}");
                    let even = rows as u64 / ranks as u64;
                    assert!(decoded.iter().all(|rows| rows.abs_diff(even) < 50), "{what}: {decoded:?}");
                }
            }
        }
    }
}

#[test]
fn requests_of_large_row_groups_are_shared() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    write(&path, &[requests::records(0..12_000)], 15 * 1_600);
    let open = || Dataset::open(&[&path], &requests::schema(), ReadMode::Train).unwrap();
    for ranks in [2, 3, 8] {
        for options in [shuffled(500, 9_001), shuffled(64, 1 << 20)] {
            let what = format!("{options:?}, {ranks} ranks");
            let decoded = compare(&open(), options, &on_ranks(&open, options, ranks), &what);
            assert_eq!(decoded.iter().sum::<u64>(), open().rows(), "{what}");
            let even = open().rows() / ranks as u64;
            assert!(decoded.iter().all(|rows| rows.abs_diff(even) < 200), "{what}: {decoded:?}");
        }
    }
}

/// One request of more rows than a step reads at a time.
#[test]
fn a_request_may_be_longer_than_a_step() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    let rows = 40_000;
    let each = |f: &dyn Fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..rows).map(f))) };
    let lists = (0..rows).map(|_| Some([Some(1), Some(2)]));
    let lists = arrow_array::ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>(lists);
    // Rows 5 to 30004 are one request.
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("request", each(&|r| if (5..30_005).contains(&r) { -1 } else { r / 3 })),
        ("age", each(&|_| 7)),
        ("items", Arc::new(lists)),
        ("item", each(&|r| r)),
        ("click", each(&|r| r % 2)),
    ];
    write(&path, &[RecordBatch::try_from_iter(columns).unwrap()], 1 << 20);
    let open = || Dataset::open(&[&path], &requests::schema(), ReadMode::Train).unwrap();
    for ranks in [2, 3] {
        for window in [1_000, 1 << 20] {
            let options = shuffled(700, window);
            compare(&open(), options, &on_ranks(&open, options, ranks), &format!("{ranks} ranks, {window}"));
        }
    }
}

/// A fault that one rank sees in its columns, and one that is seen only where columns of several
/// ranks meet.
#[test]
fn faults_in_shared_row_groups_are_located() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let good = records(0..30_000);
    let replaced = |column: &str, with: ArrayRef| {
        let mut columns = good.columns().to_vec();
        columns[good.schema().index_of(column).unwrap()] = with;
        RecordBatch::try_new(good.schema(), columns).unwrap()
    };
    let click = |r: i64| if r == 23_456 { 5 } else { 0 };
    let click = replaced("click", Arc::new(Int64Array::from_iter_values((0..30_000).map(click))));
    // One list is longer than that of the other column, by an entry that is not kept.
    let length = |r: i64| r % 4 + i64::from(r == 23_455);
    let lists = (0..30_000).map(|r| Some((0..length(r)).map(Some).collect::<Vec<_>>()));
    let lists = arrow_array::ListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>(lists);
    let items = replaced("items", Arc::new(lists));
    let mut schema = schema();
    schema.sequences[0].keep = Some(Keep { last: true, count: 2 });
    for (records, kind, row) in [(click, FaultKind::BadLabel, 23_456), (items, FaultKind::UnequalLength, 23_455)] {
        write(&path, &[records], 1 << 20);
        let open = || Dataset::open(&[&path], &schema, ReadMode::Train).unwrap();
        let alone = collect(&open(), shuffled(100, 1 << 20)).unwrap_err();
        assert_eq!((alone.kind, alone.location), (kind, Some(Location::Row(row))));
        for ranks in [2, 4, 6] {
            let read = on(in_process(ranks), &open, shuffled(100, 1 << 20));
            assert!(read.iter().all(Result::is_err));
            let faults = read.iter().filter_map(|read| match read {
                Err(StreamError::Data(error)) => Some(error),
                Ok(_) | Err(StreamError::Ranks(_)) => None,
            });
            assert_eq!(faults.collect::<Vec<_>>(), [&alone], "{ranks} ranks");
        }
    }
}
