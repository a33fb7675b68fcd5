//! Several ranks read one data set: their batches, joined, are those of one that reads alone.

use super::support::*;
use super::{requests, support};
use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use din_program::schema::{FeatureKind, KeyType, Schema};
use din_runtime::batch::{Batch, KeyColumn};
use din_runtime::comm::{Communicator, in_process};
use din_runtime::data::{Dataset, Order, ReadMode, StreamError, StreamOptions};
use din_runtime::leaves::LeafRange;
use din_runtime::random::Stream;
use std::sync::Arc;

/// What one rank read: its parts of the batches, and how many rows it decoded.
pub type Read = (Vec<Batch>, u64);

/// Reads on so many ranks, each a thread with its own view of the files.
pub fn on_ranks(open: &(dyn Fn() -> Dataset + Sync), options: StreamOptions, ranks: usize) -> Vec<Read> {
    on(in_process(ranks), open, options).into_iter().map(|read| read.unwrap()).collect()
}

pub fn on(
    ranks: Vec<Arc<dyn Communicator>>,
    open: &(dyn Fn() -> Dataset + Sync),
    options: StreamOptions,
) -> Vec<Result<Read, StreamError>> {
    std::thread::scope(|scope| {
        let read = |comm: Arc<dyn Communicator>| {
            let data = open();
            let mut stream = data.stream_on(options, comm)?;
            let mut batches = Vec::new();
            while let Some(batch) = stream.next()? {
                batches.push(batch.clone());
                stream.recycle(batch);
            }
            Ok((batches, data.decoded().rows))
        };
        let threads: Vec<_> = ranks.into_iter().map(|comm| scope.spawn(move || read(comm))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The parts of a batch, one behind the other: by their columns alone, not by the code under test.
pub fn joined(schema: &Schema, parts: &[&Batch]) -> Batch {
    let mut whole = Batch::for_schema(schema);
    for part in parts {
        let append = |to: &mut Vec<u32>, offsets: &[u32]| {
            let end = *to.last().unwrap();
            to.extend(offsets[1..].iter().map(|offset| end + offset));
        };
        whole.rows += part.rows;
        if schema.requests.is_some() {
            append(&mut whole.requests, &part.requests);
        }
        whole.offsets.iter_mut().zip(&part.offsets).for_each(|(to, offsets)| append(to, offsets));
        whole.ids.iter_mut().zip(&part.ids).for_each(|(to, ids)| to.extend(ids));
        for (to, numbers) in
            [(&mut whole.dense, &part.dense), (&mut whole.labels, &part.labels), (&mut whole.present, &part.present)]
        {
            to.iter_mut().zip(numbers).for_each(|(to, numbers)| to.extend(numbers));
        }
        for (to, keys) in whole.keys.iter_mut().zip(&part.keys) {
            match (to, keys) {
                (KeyColumn::Int64(to), KeyColumn::Int64(keys)) => to.extend(keys),
                (KeyColumn::String(to), KeyColumn::String(keys)) => to.extend(keys.iter().cloned()),
                _ => panic!("parts of one schema"),
            }
        }
    }
    whole
}

/// Compares what ranks read with what one reads alone; gives the rows that each decoded.
pub fn compare(data: &Dataset, options: StreamOptions, ranks: &[Read], what: &str) -> Vec<u64> {
    let mut stream = data.stream(options).unwrap();
    let alone: Vec<Batch> = std::iter::from_fn(|| stream.next().unwrap()).collect();
    for (rank, (batches, _)) in ranks.iter().enumerate() {
        assert_eq!(batches.len(), alone.len(), "{what}: batches of rank {rank}");
    }
    for (number, whole) in alone.iter().enumerate() {
        let parts: Vec<&Batch> = ranks.iter().map(|(batches, _)| &batches[number]).collect();
        let units = |batch: &Batch| if batch.requests.is_empty() { batch.rows } else { batch.requests.len() - 1 };
        assert_eq!(whole.leaves, LeafRange::whole(units(whole), options.leaves));
        assert_eq!(whole.global_rows, whole.rows);
        let mut before = 0;
        for (rank, part) in parts.iter().enumerate() {
            assert_eq!(part.first_row, before, "{what}");
            before += part.rows;
            assert_eq!(part.leaves, LeafRange::of_rank(units(whole), options.leaves, rank, ranks.len()), "{what}");
            assert_eq!(*part.leaves.bounds.last().unwrap() as usize, units(part), "{what}");
            assert_eq!(part.global_rows, whole.rows);
            if data.schema().requests.is_none() {
                check(data.schema(), part);
            }
        }
        let mut joined = joined(data.schema(), &parts);
        (joined.leaves, joined.global_rows) = (whole.leaves.clone(), whole.global_rows);
        assert!(joined == *whole, "{what}: batch {number}");
    }
    ranks.iter().map(|(_, decoded)| *decoded).collect()
}

pub fn shuffled(batch: usize, window_rows: usize) -> StreamOptions {
    StreamOptions { window_rows, ..StreamOptions::new(batch, Order::Shuffled { seed: 7, epoch: 2 }) }
}

const RANKS: [usize; 5] = [1, 2, 3, 4, 8];

#[test]
fn batches_are_those_of_one_rank() {
    // Row groups: 1, 7 (in two files), 100.
    for (files, group) in [(vec![2_000], 2_000), (vec![1_300, 700], 300), (vec![3_000], 30)] {
        let directory = tempfile::tempdir().unwrap();
        let mut first = 0;
        for (number, &rows) in files.iter().enumerate() {
            write(&directory.path().join(format!("{number}.parquet")), &[records(first..first + rows)], group);
            first += rows;
        }
        for mode in [ReadMode::Train, ReadMode::Evaluate] {
            let open = || Dataset::open(&[directory.path()], &schema(), mode).unwrap();
            let data = open();
            // The last batches have 80 rows, 6 rows; windows end within row groups and batches.
            for options in [shuffled(128, 700), shuffled(997, 1 << 20), StreamOptions::new(300, Order::File)] {
                for ranks in RANKS {
                    let what = format!("{files:?} by {group}, {options:?}, {ranks} ranks");
                    let read = on_ranks(&open, options, ranks);
                    let decoded = compare(&data, options, &read, &what);
                    assert_eq!(decoded.iter().sum::<u64>(), data.rows(), "{what}: rows decoded");
                }
            }
        }
    }
}

#[test]
fn decoding_is_shared_evenly() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("a.parquet"), &[records(0..10_000)], 100);
    let open = || Dataset::open(&[directory.path()], &schema(), ReadMode::Train).unwrap();
    for ranks in RANKS {
        let read = on_ranks(&open, shuffled(256, 3_000), ranks);
        for (_, decoded) in &read {
            assert!(decoded.abs_diff(10_000 / ranks as u64) <= 100, "{decoded} rows on one of {ranks} ranks");
        }
        // A row group is decoded as a whole by one rank.
        assert!(read.iter().all(|(_, decoded)| decoded % 100 == 0));
    }
}

#[test]
fn csv_is_read_by_ranks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    // Two and a half blocks of records.
    let mut text = "user,item,tag,items,tags,click\n".to_string();
    for row in 0..40_000 {
        let list = |f: &dyn Fn(i64) -> String| (0..row % 4).map(f).collect::<Vec<_>>().join("|");
        let (items, tags) = (list(&|k| (row * 10 + k).to_string()), list(&|k| format!("t{}", (row + k) % 7)));
        text += &format!("{},{row},t{},{items},{tags},{}\n", row % 5, row % 7, row % 3 / 2);
    }
    std::fs::write(&path, text).unwrap();
    let open = || Dataset::open(&[&path], &schema(), ReadMode::Evaluate).unwrap();
    for ranks in [2, 4] {
        let options = shuffled(2_048, 25_000);
        let decoded = compare(&open(), options, &on_ranks(&open, options, ranks), &format!("{ranks} ranks"));
        assert_eq!(decoded.iter().sum::<u64>(), 40_000);
    }
}

/// Numbers, vectors, ids of a fixed table, string keys, a label that may be missing.
fn wide_schema() -> Schema {
    Schema {
        features: vec![
            feature("price", FeatureKind::Dense { width: 1 }, None),
            feature("place", FeatureKind::Dense { width: 2 }, None),
            feature("hour", FeatureKind::Fixed { size: 24, clip: false }, None),
            feature("name", STRING, None),
        ],
        labels: vec![label("click", None), label("bought", Some(-1.0))],
        keys: vec![key("session", KeyType::String), key("user", KeyType::Int64)],
        ..Schema::default()
    }
}

fn wide_records(rows: std::ops::Range<i64>) -> RecordBatch {
    let each = |f: &dyn Fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.clone().map(f))) };
    let text = |f: &dyn Fn(i64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.clone().map(f))) };
    let pairs = rows.clone().map(|r| Some([Some(r), Some(-r)]));
    let pairs = arrow_array::FixedSizeListArray::from_iter_primitive::<arrow_array::types::Int64Type, _, _>(pairs, 2);
    RecordBatch::try_from_iter(vec![
        ("price", Arc::new(Float32Array::from_iter_values(rows.clone().map(|r| r as f32 / 7.0))) as ArrayRef),
        ("place", Arc::new(pairs) as ArrayRef),
        ("hour", each(&|r| r % 24)),
        ("name", text(&|r| format!("n{}", r % 50))),
        ("click", each(&|r| i64::from(r % 3 == 0))),
        ("bought", each(&|r| r % 3 - 1)),
        // Of 0 to 6 bytes, and not all ASCII.
        ("session", text(&|r| "äbcdé"[..[0, 2, 3, 4, 5, 7][(r % 6) as usize]].to_string())),
        ("user", each(&|r| r - (1 << 40))),
    ])
    .unwrap()
}

#[test]
fn every_kind_of_column_travels() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[wide_records(0..1_500)], 100);
    for mode in [ReadMode::Train, ReadMode::Evaluate] {
        let open = || Dataset::open(&[&path], &wide_schema(), mode).unwrap();
        for ranks in RANKS {
            let options = shuffled(400, 550);
            compare(&open(), options, &on_ranks(&open, options, ranks), &format!("{mode:?}, {ranks} ranks"));
        }
    }
}

#[test]
fn requests_stay_whole_on_ranks() {
    for (count, group) in [(700, 15 * 400), (2_000, 15 * 4), (1_000, 1_000)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.parquet");
        // Five requests have 15 rows; other sizes of row groups cut requests, which ends them.
        write(&path, &[requests::records(0..count)], group);
        let open = || Dataset::open(&[&path], &requests::schema(), ReadMode::Train).unwrap();
        for options in [shuffled(64, 500), shuffled(300, 1 << 20), StreamOptions::new(100, Order::File)] {
            for ranks in RANKS {
                for skip in [0, 3] {
                    let options = StreamOptions { skip, ..options };
                    let what = format!("{count} requests by {group}, {options:?}, {ranks} ranks");
                    let decoded = compare(&open(), options, &on_ranks(&open, options, ranks), &what);
                    assert_eq!(decoded.iter().sum::<u64>(), open().rows(), "{what}: rows decoded");
                }
            }
        }
    }
}

#[test]
fn resuming_anywhere_gives_the_same_batches() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("a.parquet"), &[records(0..2_000)], 130);
    let open = || Dataset::open(&[directory.path()], &schema(), ReadMode::Train).unwrap();
    let all = 2_000u64.div_ceil(150);
    for skip in 0..=all + 1 {
        let options = StreamOptions { skip, ..shuffled(150, 480) };
        for ranks in [2, 3] {
            compare(&open(), options, &on_ranks(&open, options, ranks), &format!("{skip} skipped, {ranks} ranks"));
        }
    }
}

#[test]
fn any_shape_gives_the_batches_of_one_rank() {
    let draw = Stream::new(11, "shapes", 0);
    for case in 0..60u64 {
        let below = |what: u64, n: u64| draw.below(case * 16 + what, n);
        let with_requests = below(0, 2) == 0;
        let directory = tempfile::tempdir().unwrap();
        let mut first = 0;
        for file in 0..1 + below(1, 3) {
            let rows = 1 + below(2 + file, 400) as i64;
            let path = directory.path().join(format!("{file}.parquet"));
            let group = 1 + below(5 + file, 150) as usize;
            let rows =
                if with_requests { requests::records(first..first + rows) } else { records(first..first + rows) };
            write(&path, &[rows], group);
            first += 400;
        }
        let schema = if with_requests { requests::schema() } else { support::schema() };
        let open = || Dataset::open(&[directory.path()], &schema, ReadMode::Evaluate).unwrap();
        let order = [Order::File, Order::Shuffled { seed: case, epoch: case % 3 }][usize::from(below(8, 4) > 0)];
        let options = StreamOptions {
            window_rows: 1 + below(9, 600) as usize,
            skip: below(10, 4) * below(11, 3),
            prefetch: below(12, 4) as usize,
            threads: 1 + below(13, 3) as usize,
            leaves: 1 << below(14, 7),
            ..StreamOptions::new(1 + below(15, 500) as usize, order)
        };
        let ranks = 2 + (case % 7) as usize;
        compare(
            &open(),
            options,
            &on_ranks(&open, options, ranks),
            &format!("case {case}: {options:?}, {ranks} ranks"),
        );
    }
}
