//! Several ranks read one data set: their batches, joined, are those of one that reads alone.

use crate::support::*;
use crate::{requests, support};
use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use din_program::schema::{FeatureKind, Keep, KeyType, Schema};
use din_runtime::batch::{Batch, KeyColumn};
use din_runtime::comm::{Channel, Communicator, Ending, Messages, in_process};
use din_runtime::data::{DataError, Dataset, FaultKind, Location, Order, ReadMode, StreamError, StreamOptions};
use din_runtime::leaves::LeafRange;
use din_runtime::random::Stream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What one rank read: its parts of the batches, and how many rows it decoded.
type Read = (Vec<Batch>, u64);

/// Reads on so many ranks, each a thread with its own view of the files.
fn on_ranks(open: &(dyn Fn() -> Dataset + Sync), options: StreamOptions, ranks: usize) -> Vec<Read> {
    on(in_process(ranks), open, options).into_iter().map(|read| read.unwrap()).collect()
}

fn on(
    ranks: Vec<Arc<dyn Communicator>>,
    open: &(dyn Fn() -> Dataset + Sync),
    options: StreamOptions,
) -> Vec<Result<Read, StreamError>> {
    std::thread::scope(|scope| {
        let read = |comm: Arc<dyn Communicator>| {
            let mut stream = open().stream_on(options, comm)?;
            let mut batches = Vec::new();
            while let Some(batch) = stream.next()? {
                batches.push(batch.clone());
                stream.recycle(batch);
            }
            Ok((batches, stream.decoded_rows()))
        };
        let threads: Vec<_> = ranks.into_iter().map(|comm| scope.spawn(move || read(comm))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The parts of a batch, one behind the other: by their columns alone, not by the code under test.
fn joined(schema: &Schema, parts: &[&Batch]) -> Batch {
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
fn compare(data: &Dataset, options: StreamOptions, ranks: &[Read], what: &str) -> Vec<u64> {
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
        for (rank, part) in parts.iter().enumerate() {
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

fn shuffled(batch: usize, window_rows: usize) -> StreamOptions {
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

/// Row groups that all ranks decode together, in several steps, windows ending within.
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

/// Ranks that come late to every exchange, each by another time.
#[derive(Debug)]
struct Late {
    ranks: Arc<dyn Communicator>,
    draw: Stream,
    exchanges: AtomicU64,
}

impl Late {
    fn sleep(&self) {
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(self.draw.below(number, 3_000)));
    }
}

impl Communicator for Late {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }
    fn size(&self) -> usize {
        self.ranks.size()
    }
    fn all_to_all(&self, channel: Channel, send: &Messages, received: &mut Messages) -> din_runtime::Result<()> {
        self.sleep();
        self.ranks.all_to_all(channel, send, received)
    }
    fn all_gather(&self, channel: Channel, message: &[u32], received: &mut Messages) -> din_runtime::Result<()> {
        self.sleep();
        self.ranks.all_gather(channel, message, received)
    }
    fn host(&self, rank: usize) -> String {
        self.ranks.host(rank)
    }
    fn finish(&self) -> din_runtime::Result<()> {
        self.ranks.finish()
    }
    fn fail(&self, error: &din_runtime::Error) -> Ending {
        self.ranks.fail(error)
    }
}

fn late(ranks: usize, seed: u64) -> Vec<Arc<dyn Communicator>> {
    let late = |ranks: Arc<dyn Communicator>| {
        let draw = Stream::new(seed, "late", ranks.rank() as u64);
        Arc::new(Late { ranks, draw, exchanges: AtomicU64::new(0) }) as Arc<dyn Communicator>
    };
    in_process(ranks).into_iter().map(late).collect()
}

#[test]
fn timing_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.parquet");
    let open = || Dataset::open(&[&path], &requests::schema(), ReadMode::Train).unwrap();
    let options = shuffled(200, 900);
    for seed in 0..6 {
        // Row groups of one rank, and of all.
        write(&path, &[requests::records(0..1_500)], [15 * 20, 15 * 4][seed as usize % 2]);
        let threads = 1 + seed as usize % 3;
        let read = on(late(3, seed), &open, StreamOptions { threads, ..options });
        let read: Vec<Read> = read.into_iter().map(|read| read.unwrap()).collect();
        compare(&open(), options, &read, &format!("seed {seed}"));
    }
}

/// Streams that end early, one that is started while another runs, and one after all of them.
#[test]
fn streams_follow_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Dataset::open(&[directory.path()], &schema(), ReadMode::Train).unwrap();
    let epoch = |epoch| StreamOptions { order: Order::Shuffled { seed: 7, epoch }, ..shuffled(100, 700) };
    for (seed, group) in (0..6).flat_map(|seed| [(seed, 50), (seed, 200)]) {
        write(&directory.path().join("a.parquet"), &[records(0..3_000)], group);
        let alone = collect(&open(), epoch(2)).unwrap();
        let read = |comm: Arc<dyn Communicator>| {
            let data = open();
            let start = |number| data.stream_on(epoch(number), comm.clone()).unwrap();
            let mut first = start(0);
            // Behind the beginning, within, and behind the end.
            for _ in 0..[0, 1, 7, 20, 30, 31][seed as usize] {
                first.next().unwrap();
            }
            let second = start(1);
            drop(first);
            let mut third = start(2);
            drop(second);
            std::iter::from_fn(|| third.next().unwrap()).collect::<Vec<_>>()
        };
        let ranks: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = late(3, seed).into_iter().map(|comm| scope.spawn(move || read(comm))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (number, whole) in alone.iter().enumerate() {
            let items: Vec<u64> = ranks.iter().flat_map(|batches| batches[number].ids[0].clone()).collect();
            assert_eq!(items, whole.ids[0]);
        }
    }
}

/// The rank that decodes the row names it; no other waits for ever.
#[test]
fn a_located_fault_comes_out_on_its_rank() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let good = records(0..4_000);
    let mut columns = good.columns().to_vec();
    let click = good.schema().index_of("click").unwrap();
    columns[click] = Arc::new(Int64Array::from_iter_values((0..4_000).map(|r| if r == 2_345 { 5 } else { 0 })));
    write(&path, &[RecordBatch::try_new(good.schema(), columns).unwrap()], 50);
    let open = || Dataset::open(&[&path], &schema(), ReadMode::Train).unwrap();
    let fault = |error: &DataError| (error.kind, error.location, error.column.clone());
    let alone = fault(&collect(&open(), shuffled(100, 900)).unwrap_err());
    assert_eq!(alone, (FaultKind::BadLabel, Some(Location::Row(2_345)), Some("click".into())));
    for ranks in [2, 4] {
        // Where a rank fails its process ends; here its communicator goes.
        let read = on(in_process(ranks), &open, shuffled(100, 900));
        let faults: Vec<&DataError> = read
            .iter()
            .filter_map(|read| if let Err(StreamError::Data(error)) = read { Some(error) } else { None })
            .collect();
        assert_eq!(faults.len(), 1, "one rank reads the row");
        assert_eq!(fault(faults[0]), alone);
        assert!(read.iter().all(Result::is_err));
    }
}

#[test]
fn ranks_that_read_other_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let write_as = |name: &str, rows| -> PathBuf {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        write(&folder.join("a.parquet"), &[records(0..rows)], 100);
        folder
    };
    let folders = [write_as("one", 500), write_as("other", 501)];
    let read = |folder: &Path, comm: Arc<dyn Communicator>| {
        let data = Dataset::open(&[folder], &schema(), ReadMode::Train).unwrap();
        data.stream_on(shuffled(100, 900), comm).unwrap().next()
    };
    std::thread::scope(|scope| {
        let ranks = in_process(2).into_iter().zip(&folders);
        let threads: Vec<_> = ranks.map(|(comm, folder)| scope.spawn(move || read(folder, comm))).collect();
        for thread in threads {
            match thread.join().unwrap() {
                Err(StreamError::Ranks(error)) => assert!(error.message.contains("rank 1 reads other data"), "{error}"),
                other => panic!("{other:?}"),
            }
        }
    });
}
