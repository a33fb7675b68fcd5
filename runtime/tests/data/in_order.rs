//! Several ranks read a data set in the order of the files: each row comes on one rank, what comes
//! on all of them is the whole, and nothing is decoded twice.

use super::ranks::joined;
use super::requests;
use super::support::*;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, UInt64Array};
use arrow_select::concat::concat;
use din_program::schema::{KeyType, Schema};
use din_runtime::batch::Batch;
use din_runtime::comm::{Communicator, in_process};
use din_runtime::data::{
    DataError, Dataset, Decoded, FaultKind, Location, Order, ReadMode, RowDivision, StreamError, StreamOptions,
};
use din_runtime::leaves::LeafRange;
use std::path::Path;
use std::sync::Arc;

type Read = Result<(Vec<Batch>, Decoded), StreamError>;

/// Reads on so many ranks, each a thread with its own view of the files.
fn on_ranks(open: &(dyn Fn() -> Dataset + Sync), options: StreamOptions, ranks: usize) -> Vec<Read> {
    std::thread::scope(|scope| {
        let read = |comm: Arc<dyn Communicator>| {
            let data = open();
            let mut stream = data.stream_in_order(options, &comm)?;
            let mut batches = Vec::new();
            while let Some(batch) = stream.next()? {
                batches.push(batch.clone());
                stream.recycle(batch);
            }
            Ok((batches, data.decoded()))
        };
        let threads: Vec<_> = in_process(ranks).into_iter().map(|comm| scope.spawn(move || read(comm))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The batches of all ranks in the order of their rows.
fn in_order(division: RowDivision, ranks: &[(Vec<Batch>, Decoded)]) -> Vec<&Batch> {
    match division {
        RowDivision::ByBlocks => ranks.iter().flat_map(|(batches, _)| batches).collect(),
        RowDivision::ByBatches => {
            let count = ranks[0].0.len();
            assert!(ranks.iter().all(|(batches, _)| batches.len() == count));
            (0..count).flat_map(|number| ranks.iter().map(move |(batches, _)| &batches[number])).collect()
        }
    }
}

/// Values of a column that is passed through; `None` where no file has it.
fn passed(batches: &[&Batch], column: usize) -> Option<ArrayRef> {
    let parts: Vec<_> =
        batches.iter().filter(|b| b.rows > 0).flat_map(|b| &b.passthrough[column]).map(|part| &**part).collect();
    (!parts.is_empty()).then(|| concat(&parts).unwrap())
}

/// Compares what ranks read with what one reads alone; gives what each decoded.
fn compare(open: &(dyn Fn() -> Dataset + Sync), options: StreamOptions, ranks: usize) -> Vec<(usize, Decoded)> {
    let data = open();
    let division = data.row_division(ranks);
    let what = format!("{options:?}, {ranks} ranks, {division:?}");
    let read: Vec<_> = on_ranks(open, options, ranks).into_iter().map(|read| read.unwrap()).collect();
    let batches = in_order(division, &read);
    for batch in &batches {
        let units = if data.schema().requests.is_some() { batch.requests.len() - 1 } else { batch.rows };
        assert_eq!((batch.leaves.clone(), batch.global_rows), (LeafRange::whole(units, options.leaves), batch.rows));
        if data.schema().requests.is_none() {
            check(data.schema(), batch);
        }
    }
    let mut alone = data.stream(options).unwrap();
    let alone: Vec<Batch> = std::iter::from_fn(|| alone.next().unwrap()).collect();
    let alone: Vec<&Batch> = alone.iter().collect();
    let (whole, expected) = (joined(data.schema(), &batches), joined(data.schema(), &alone));
    assert!(whole == expected, "{what}");
    let columns = alone[0].passthrough.len();
    (0..columns).for_each(|column| assert_eq!(passed(&batches, column), passed(&alone, column), "{what}"));
    let sum = |of: &dyn Fn(&Decoded) -> u64| read.iter().map(|(_, decoded)| of(decoded)).sum::<u64>();
    assert_eq!(sum(&|decoded| decoded.rows), data.rows(), "{what}: rows decoded");
    assert_eq!(sum(&|decoded| decoded.bytes), data.decoded().bytes, "{what}: bytes decoded");
    read.iter().map(|(batches, decoded)| (batches.iter().map(|batch| batch.rows).sum(), *decoded)).collect()
}

/// Parquet files with so many rows each, in row groups of `group` rows.
fn write_files(directory: &Path, rows: &[i64], group: usize) {
    let mut first = 0;
    for (number, &rows) in rows.iter().enumerate() {
        write(&directory.join(format!("{number}.parquet")), &[records(first..first + rows)], group);
        first += rows;
    }
}

fn options(batch: usize) -> StreamOptions {
    StreamOptions::new(batch, Order::File)
}

#[test]
fn every_row_comes_once_and_in_order() {
    // One row group; several, of two files; some, which ranks cannot share evenly; few rows.
    for (rows, group) in [(vec![9_000], 9_000), (vec![700, 5, 300], 100), (vec![3_000], 300), (vec![5], 5)] {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), &rows, group);
        for mode in [ReadMode::Train, ReadMode::Evaluate, ReadMode::Predict] {
            let open = || Dataset::open(&[directory.path()], &schema(), mode).unwrap();
            for (ranks, batch) in [(1, 64), (2, 64), (3, 5_000), (4, 1_000), (8, 64), (16, 100)] {
                for threads in [1, 2] {
                    compare(&open, StreamOptions { threads, ..options(batch) }, ranks);
                }
            }
        }
    }
}

#[test]
fn a_row_group_is_shared_evenly() {
    let directory = tempfile::tempdir().unwrap();
    let rows = 100_000;
    write_files(directory.path(), &[rows], 1 << 20);
    let open = || Dataset::open(&[directory.path()], &schema(), ReadMode::Evaluate).unwrap();
    for ranks in [2, 3, 4] {
        assert_eq!(open().row_division(ranks), RowDivision::ByBatches);
        let even = rows as u64 / ranks as u64;
        for (own, decoded) in compare(&open, options(1_024), ranks) {
            assert!((own as u64).abs_diff(even) < 100 && decoded.rows.abs_diff(even) < 100, "{own}, {decoded:?}");
        }
    }
}

#[test]
fn whole_blocks_are_parts_where_these_are_even() {
    for (rows, group) in [(vec![3_000], 30), (vec![400, 400], 100), (vec![64], 1)] {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), &rows, group);
        let open = || Dataset::open(&[directory.path()], &schema(), ReadMode::Evaluate).unwrap();
        for ranks in [1, 2, 4, 8] {
            let data = open();
            assert_eq!(data.row_division(ranks), RowDivision::ByBlocks);
            let mut next = 0;
            for (rank, (own, decoded)) in compare(&open, options(64), ranks).into_iter().enumerate() {
                let part = data.part_rows(rank, ranks);
                assert_eq!((part.start, part.end), (next, next + own as u64));
                assert_eq!(decoded.rows, own as u64);
                assert!(8 * own as u64 * ranks as u64 <= 9 * data.rows());
                next = part.end;
            }
            assert_eq!(next, data.rows());
        }
    }
}

#[test]
fn parts_follow_each_other_wherever_blocks_end() {
    for (rows, group) in
        [(vec![1_000], 1_000), (vec![700, 5, 300], 100), (vec![3_000], 30), (vec![64], 7), (vec![3], 3)]
    {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), &rows, group);
        let data = Dataset::open(&[directory.path()], &schema(), ReadMode::Evaluate).unwrap();
        for ranks in [1, 2, 3, 4, 8, 16] {
            let mut next = 0;
            for rank in 0..ranks {
                let part = data.part_rows(rank, ranks);
                assert_eq!(part.start, next);
                next = part.end;
                assert!(8 * (part.end - part.start) * ranks as u64 <= 9 * data.rows() + 8 * ranks as u64);
            }
            assert_eq!(next, data.rows());
        }
    }
}

#[test]
fn records_of_a_csv_are_shared_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let line = |r: i64| {
        format!("{},{r},t{},{},{},{}\n", r % 5, r % 7, [r, r + 1].map(|r| r.to_string()).join("|"), "a|b", r % 2)
    };
    let text: String =
        std::iter::once("user,item,tag,items,tags,click\n".into()).chain((0..40_000).map(line)).collect();
    std::fs::write(&path, text).unwrap();
    for mode in [ReadMode::Evaluate, ReadMode::Predict] {
        let open = || Dataset::open(&[&path], &schema(), mode).unwrap();
        for ranks in [2, 4] {
            assert_eq!(open().row_division(ranks), RowDivision::ByBatches);
            compare(&open, options(700), ranks);
        }
    }
}

#[test]
fn requests_are_not_cut() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    for group in [1 << 20, 15 * 100, 15 * 4] {
        write(&path, &[requests::records(0..9_000)], group);
        for mode in [ReadMode::Evaluate, ReadMode::Predict] {
            let open = || Dataset::open(&[&path], &requests::schema(), mode).unwrap();
            for (ranks, batch) in [(2, 64), (3, 1_000), (4, 5_000)] {
                compare(&open, options(batch), ranks);
            }
        }
    }
}

/// Labels of any type, nulls, and a file without the column.
#[test]
fn what_is_passed_through_travels_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let rows = 7_000;
    let each = |f: &dyn Fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..rows).map(f))) };
    let keys: ArrayRef = Arc::new(UInt64Array::from_iter_values((0..rows as u64).map(|r| u64::MAX - r)));
    let names = (0..rows).map(|r| format!("user \"{}\", ü", r % 1_000));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let lists = (0..rows).map(|r| (r % 3 > 0).then(|| (0..r % 4).map(Some).collect::<Vec<_>>()));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    let flags: ArrayRef = Arc::new((0..rows).map(|r| (r % 5 > 0).then_some(r % 2 == 0)).collect::<BooleanArray>());
    let schema = Schema {
        features: vec![feature("item", INT, None), feature("id", INT, None)],
        keys: vec![key("id", KeyType::Int64), key("name", KeyType::String)],
        labels: vec![label("flag", None), label("list", None), label("none", None)],
        ..Schema::default()
    };
    let both = [("item", each(&|r| r)), ("id", keys), ("name", names)];
    let with = both.iter().cloned().chain([("flag", flags), ("list", lists)]).map(|(name, array)| (name, array, true));
    for (name, columns) in [
        ("a.parquet", RecordBatch::try_from_iter_with_nullable(with).unwrap()),
        ("b.parquet", RecordBatch::try_from_iter(both).unwrap()),
    ] {
        write(&directory.path().join(name), &[columns], 1 << 20);
    }
    let open = || Dataset::open(&[directory.path()], &schema, ReadMode::Predict).unwrap();
    // More ranks than columns: a rank may have those alone that a file lacks.
    for ranks in [3, 4, 5, 7] {
        compare(&open, options(1_000), ranks);
    }
}

/// A fault that one rank sees in its columns, and one that is seen only where columns of several
/// ranks meet.
#[test]
fn a_fault_in_a_shared_row_group_is_located_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let good = records(0..30_000);
    let replaced = |column: &str, with: ArrayRef| {
        let mut columns = good.columns().to_vec();
        columns[good.schema().index_of(column).unwrap()] = with;
        RecordBatch::try_new(good.schema(), columns).unwrap()
    };
    let click = (0..30_000).map(|r| if r == 23_456 { 5 } else { 0 });
    let click = replaced("click", Arc::new(Int64Array::from_iter_values(click)));
    let lists = (0..30_000).map(|r| Some((0..r % 4 + i64::from(r == 23_455)).map(Some).collect::<Vec<_>>()));
    let items = replaced("items", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)));
    for (records, kind, row) in [(click, FaultKind::BadLabel, 23_456), (items, FaultKind::UnequalLength, 23_455)] {
        write(&path, &[records], 1 << 20);
        let open = || Dataset::open(&[&path], &schema(), ReadMode::Evaluate).unwrap();
        let alone = collect(&open(), options(100)).unwrap_err();
        assert_eq!((alone.kind, alone.location), (kind, Some(Location::Row(row))));
        for ranks in [2, 4] {
            let read = on_ranks(&open, options(100), ranks);
            assert!(read.iter().all(Result::is_err));
            let faults = read.iter().filter_map(|read| match read {
                Err(StreamError::Data(error)) => Some(error),
                Ok(_) | Err(StreamError::Ranks(_)) => None,
            });
            assert_eq!(faults.collect::<Vec<&DataError>>(), [&alone], "{ranks} ranks");
        }
    }
}

/// While the batches of a shuffled stream are under way, and after a stream that one rank left.
#[test]
fn passes_do_not_wait_for_other_streams() {
    let directory = tempfile::tempdir().unwrap();
    write_files(directory.path(), &[60_000], 1 << 20);
    let items = |comm: Arc<dyn Communicator>| {
        let data = Dataset::open(&[directory.path()], &schema(), ReadMode::Train).unwrap();
        let shuffled = StreamOptions { prefetch: 1, ..StreamOptions::new(256, Order::Shuffled { seed: 3, epoch: 0 }) };
        let mut training = data.stream_on(shuffled, comm.clone()).unwrap();
        let mut trained = training.next().unwrap().unwrap().rows;
        let mut left = data.stream_in_order(options(100), &comm).unwrap();
        if comm.rank() == 1 {
            left.next().unwrap().unwrap();
        } else {
            let read = std::iter::from_fn(|| left.next().unwrap()).map(|batch| batch.rows).sum::<usize>();
            assert!(read < 15_000, "{read} rows behind the end of another rank");
        }
        drop(left);
        let mut pass = data.stream_in_order(options(5_000), &comm).unwrap();
        let read = std::iter::from_fn(|| pass.next().unwrap()).map(|batch| batch.rows).sum::<usize>();
        trained += std::iter::from_fn(|| training.next().unwrap()).map(|batch| batch.rows).sum::<usize>();
        (read, trained)
    };
    let items = &items;
    let read: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = in_process(3).into_iter().map(|comm| scope.spawn(move || items(comm))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(read.iter().fold((0, 0), |sum, read| (sum.0 + read.0, sum.1 + read.1)), (60_000, 60_000));
}
