//! Times that must come before a row's moment, and columns that prediction does not read.

use super::ranks::on;
use super::support::*;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use din_program::schema::{Keep, KnownBefore, Schema};
use din_runtime::batch::Batch;
use din_runtime::comm::{Communicator, in_process};
use din_runtime::data::{DataFault, Dataset, FaultKind, Location, Order, ReadMode, StreamError, StreamOptions};
use std::path::Path;
use std::sync::Arc;

const ROWS: i64 = 20_000;

/// Item, list of items, label; the times of the list must come before `shown`.
fn timed() -> Schema {
    let mut schema = Schema {
        features: vec![
            feature("item", INT, None),
            feature("items", INT, Some(0)),
            feature("clicked", INT, Some(0)),
            feature("shown", INT, None),
        ],
        sequences: vec![sequence("visited", Some(Keep { last: true, count: 2 }))],
        labels: vec![label("click", None)],
        known: vec![KnownBefore { group: "visited".into(), times: 2, moment: 3, location: "m.din:4:22".into() }],
        ..Schema::default()
    };
    schema.features[2].at_prediction = false;
    schema.features[3].at_prediction = false;
    schema
}

/// Row `r` was shown at `100 r`, and has `r % 4` entries, the last one clicked 1 before that.
/// Those of the rows `late` have one entry, clicked when the row was shown.
fn write_log(path: &Path, late: &[i64]) {
    let entries = |r: i64| if late.contains(&r) { 1 } else { r % 4 };
    let lists = |value: &dyn Fn(i64, i64) -> i64| -> ArrayRef {
        let list = |r: i64| Some((0..entries(r)).map(|k| Some(value(r, k))).collect::<Vec<_>>());
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..ROWS).map(list)))
    };
    let plain =
        |value: &dyn Fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..ROWS).map(value))) };
    let clicked = |r: i64, k: i64| if late.contains(&r) { 100 * r } else { 100 * r - (entries(r) - k) };
    let columns = vec![
        ("item", plain(&|r| r)),
        ("items", lists(&|r, k| 7 * r + k)),
        ("clicked", lists(&clicked)),
        ("shown", plain(&|r| 100 * r)),
        ("click", plain(&|r| r % 2)),
    ];
    write(path, &[RecordBatch::try_from_iter(columns).unwrap()], 1 << 20);
}

fn found(fault: &DataFault, row: i64) {
    assert_eq!((fault.kind, fault.location), (FaultKind::KnownTooLate, Some(Location::Row(row as u64))));
    assert_eq!(fault.column.as_deref(), Some("clicked"));
}

#[test]
fn a_time_that_is_too_late_is_located_on_any_number_of_ranks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    write_log(&path, &[]);
    let open = |mode| Dataset::open(&[&path], &timed(), mode).unwrap();
    let options = StreamOptions { threads: 2, ..StreamOptions::new(100, Order::File) };
    collect(&open(ReadMode::Train), options).unwrap();
    write_log(&path, &[12_345, 12_350]);
    for mode in [ReadMode::Train, ReadMode::Evaluate] {
        let error = collect(&open(mode), options).unwrap_err();
        found(&error, 12_345);
        let text = error.to_string();
        for part in ["m.din:4:22", "before 1234500, the \"shown\" of the row", "1234500 in entry 0", "2 of "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    collect(&open(ReadMode::Predict), options).unwrap();
    // Decoded by columns, by several ranks: whoever gets the row finds it.
    for ranks in [2, 3] {
        let outcomes = on(in_process(ranks), &|| open(ReadMode::Train), StreamOptions::new(500, Order::File));
        let faults = outcomes.iter().filter_map(|outcome| match outcome {
            Err(StreamError::Data(error)) => Some(error),
            Err(StreamError::Ranks(_)) | Ok(_) => None,
        });
        let faults: Vec<_> = faults.collect();
        assert!(!faults.is_empty(), "{ranks} ranks");
        faults.into_iter().for_each(|error| found(error, 12_345));
    }
}

/// What each rank gets of the rows in their order.
fn in_order(open: &(dyn Fn() -> Dataset + Sync), options: StreamOptions, ranks: usize) -> Vec<Vec<Batch>> {
    std::thread::scope(|scope| {
        let read = |comm: Arc<dyn Communicator>| {
            let mut stream = open().stream_in_order(options, &comm).unwrap();
            std::iter::from_fn(|| stream.next().unwrap()).collect()
        };
        let threads: Vec<_> = in_process(ranks).into_iter().map(|comm| scope.spawn(move || read(comm))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// What prediction does not read is 0; lists of which it reads no column are empty.
#[test]
fn prediction_reads_what_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    let mut schema = schema();
    for ranks in [1, 3] {
        for absent in [vec![1], vec![2, 3], vec![0, 3]] {
            for (f, feature) in schema.features.iter_mut().enumerate() {
                feature.at_prediction = !absent.contains(&f);
            }
            let names: Vec<&str> = ["item", "tag", "items", "tags"].to_vec();
            let all = records(0..5_000);
            write(&path, std::slice::from_ref(&all), 100_000);
            let options = StreamOptions::new(512, Order::File);
            let whole = collect(&Dataset::open(&[&path], &schema, ReadMode::Evaluate).unwrap(), options).unwrap();
            let kept: Vec<usize> = (0..all.num_columns())
                .filter(|&c| absent.iter().all(|&f| all.schema().field(c).name() != names[f]))
                .collect();
            write(&path, &[all.project(&kept).unwrap()], 100_000);
            assert!(Dataset::open(&[&path], &schema, ReadMode::Evaluate).is_err());
            let open = || Dataset::open(&[&path], &schema, ReadMode::Predict).unwrap();
            let parts = match ranks {
                1 => vec![collect(&open(), options).unwrap()],
                _ => in_order(&open, options, ranks),
            };
            let rows: usize = parts.iter().flatten().map(|batch| batch.rows).sum();
            assert_eq!(rows, 5_000);
            for batch in parts.iter().flatten() {
                check(&schema, batch);
                absent.iter().for_each(|&f| assert!(batch.ids[f].iter().all(|&id| id == 0)));
                assert_eq!(batch.ids[2].is_empty(), absent == [2, 3] || batch.rows == 0);
            }
            if ranks == 1 {
                for (full, batch) in whole.iter().zip(&parts[0]) {
                    for f in (0..4).filter(|f| !absent.contains(f)) {
                        assert_eq!(full.ids[f], batch.ids[f]);
                    }
                }
            }
        }
    }
}
