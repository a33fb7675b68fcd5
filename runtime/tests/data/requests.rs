//! Requests: what their rows have in common is kept once, they are shuffled and batched whole, and
//! rows that disagree are reported.

use super::support::*;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use din_program::schema::{KeyType, Requests, Schema};
use din_runtime::batch::Batch;
use din_runtime::data::{DataFault, Dataset, FaultKind, Location, Order, ReadMode, StreamOptions};
use std::path::Path;
use std::sync::Arc;

/// age, visited items in common; item and click are the sample's own.
pub fn schema() -> Schema {
    let mut schema = Schema {
        features: vec![feature("age", INT, None), feature("items", INT, Some(0)), feature("item", INT, None)],
        sequences: vec![sequence("visited", None)],
        labels: vec![label("click", None)],
        keys: vec![key("request", KeyType::Int64)],
        requests: Some(Requests { key: 0, location: "m.din:10:5".into() }),
        in_batch: None,
        statistics: vec![],
        vocabularies: vec![],
        known: Vec::new(),
    };
    schema.features[0].common = true;
    schema.features[1].common = true;
    schema.sequences[0].common = true;
    schema
}

/// Samples of request `r`.
pub fn candidates(r: i64) -> i64 {
    1 + r * 7 % 5
}

fn history(r: i64) -> Vec<i64> {
    (0..r % 4).map(|k| 100 * r + k).collect()
}

/// Rows of the requests; an item is `1000 * request + number`.
pub fn records(requests: std::ops::Range<i64>) -> RecordBatch {
    let rows: Vec<(i64, i64)> = requests.flat_map(|r| (0..candidates(r)).map(move |k| (r, k))).collect();
    let each = |f: &dyn Fn(i64, i64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|&(r, k)| f(r, k))))
    };
    let lists = rows.iter().map(|&(r, _)| Some(history(r).into_iter().map(Some).collect::<Vec<_>>()));
    RecordBatch::try_from_iter(vec![
        ("request", each(&|r, _| r)),
        ("age", each(&|r, _| r % 9)),
        ("items", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)) as ArrayRef),
        ("item", each(&|r, k| 1000 * r + k)),
        ("click", each(&|r, k| (r + k) % 2)),
    ])
    .unwrap()
}

fn open(path: &Path, mode: ReadMode) -> Dataset {
    Dataset::open(&[path], &schema(), mode).unwrap()
}

fn all(data: &Dataset, options: StreamOptions) -> Vec<Batch> {
    let mut stream = data.stream(options).unwrap();
    std::iter::from_fn(|| stream.next().unwrap()).collect()
}

/// A batch holds whole requests, each with its own values once; gives the items.
fn check_batch(batch: &Batch) -> Vec<u64> {
    let requests = batch.requests.len() - 1;
    assert_eq!((batch.requests[0], batch.requests[requests] as usize), (0, batch.rows));
    assert_eq!((batch.ids[0].len(), batch.offsets[0].len()), (requests, requests + 1));
    assert_eq!((batch.ids[2].len(), batch.labels[0].len()), (batch.rows, batch.rows));
    for r in 0..requests {
        let samples = batch.requests[r] as usize..batch.requests[r + 1] as usize;
        let id = (batch.ids[2][samples.start] / 1000) as i64;
        assert_eq!(batch.ids[0][r], (id % 9) as u64);
        let list = &batch.ids[1][batch.offsets[0][r] as usize..batch.offsets[0][r + 1] as usize];
        assert_eq!(list, history(id).iter().map(|&x| x as u64).collect::<Vec<_>>());
        assert_eq!(samples.len() as i64, candidates(id), "request {id} is not whole");
        for (k, s) in samples.enumerate() {
            assert_eq!(batch.ids[2][s], (1000 * id) as u64 + k as u64);
            assert_eq!(batch.labels[0][s], ((id + k as i64) % 2) as f32);
        }
    }
    batch.ids[2].clone()
}

/// Row groups that end between requests (a request that spans two is two), and the chunks of the
/// decoder do not.
fn written(requests: i64) -> (tempfile::TempDir, std::path::PathBuf, Vec<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    // Five requests have 15 rows.
    write(&path, &[records(0..requests)], 15 * 400);
    let items = (0..requests).flat_map(|r| (0..candidates(r)).map(move |k| (1000 * r + k) as u64)).collect();
    (directory, path, items)
}

#[test]
fn requests_stay_whole_in_both_orders() {
    let (_directory, path, items) = written(5_000);
    for mode in [ReadMode::Train, ReadMode::Evaluate] {
        let data = open(&path, mode);
        assert_eq!(data.rows() as usize, items.len());
        let plain: Vec<u64> = all(&data, StreamOptions::new(64, Order::File)).iter().flat_map(check_batch).collect();
        assert_eq!(plain, items);
        for seed in [1, 2] {
            let options =
                StreamOptions { window_rows: 4_000, ..StreamOptions::new(64, Order::Shuffled { seed, epoch: 0 }) };
            let batches = all(&data, options);
            let mut mixed: Vec<u64> = batches.iter().flat_map(check_batch).collect();
            assert_ne!(mixed, items);
            mixed.sort_unstable();
            assert_eq!(mixed, items);
            // As many requests as fit: the next one, of at most five rows, would not; the end of a
            // window ends no batch.
            assert!(batches.iter().all(|b| b.rows <= 64));
            assert!(batches[..batches.len() - 1].iter().all(|b| b.rows > 64 - 5));
        }
    }
}

#[test]
fn a_request_larger_than_the_batch_is_one() {
    let (_directory, path, items) = written(50);
    let batches = all(&open(&path, ReadMode::Train), StreamOptions::new(2, Order::File));
    assert_eq!(batches.iter().flat_map(check_batch).collect::<Vec<_>>(), items);
    assert!(batches.iter().all(|b| b.requests.len() == 2 || b.rows <= 2));
    assert!(batches.iter().any(|b| b.rows == 5));
}

#[test]
fn a_resumed_stream_goes_on_where_it_was() {
    let (_directory, path, _) = written(3_000);
    let data = open(&path, ReadMode::Train);
    let options =
        StreamOptions { window_rows: 2_000, ..StreamOptions::new(100, Order::Shuffled { seed: 3, epoch: 1 }) };
    let whole = all(&data, options);
    for skip in [0, 1, 17, 60, whole.len() as u64 - 1] {
        for threads in [1, 2, 7] {
            assert_eq!(all(&data, StreamOptions { skip, threads, ..options }), whole[skip as usize..]);
        }
    }
}

#[test]
fn rows_that_disagree_are_located() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    let good = records(0..2_000);
    // Request 1903 has two candidates; its second row gets another age, or another history.
    let row = (0..1_903).map(candidates).sum::<i64>() as usize + 1;
    assert_eq!(candidates(1_903), 2);
    for (column, group) in [("age", "ad"), ("items", "s0")] {
        let at = good.schema().index_of(column).unwrap();
        let mut columns = good.columns().to_vec();
        let (before, after) = (columns[at].slice(0, row), columns[at].slice(row + 1, good.num_rows() - row - 1));
        // The value of another row in its place.
        let other = columns[at].slice(row + 2, 1);
        columns[at] = arrow_select::concat::concat(&[&before, &other, &after]).unwrap();
        write(&path, &[RecordBatch::try_new(good.schema(), columns).unwrap()], 100_000);
        let mut stream = open(&path, ReadMode::Train).stream(StreamOptions::new(64, Order::File)).unwrap();
        let error = loop {
            match stream.next().map_err(of_data) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{column}: nothing was found"),
                Err(e) => break e,
            }
        };
        let fault: &DataFault = &error;
        assert_eq!((fault.kind, fault.location), (FaultKind::NotCommon, Some(Location::Row(row as u64))));
        assert_eq!(fault.column.as_deref(), Some(column));
        assert!(error.to_string().contains(&format!("take `{group}` out of `common`")), "{error}");
    }
}
