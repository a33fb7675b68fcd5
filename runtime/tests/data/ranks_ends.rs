//! How the streams of several ranks begin and end: late, early, one after the other, with a fault.

use super::ranks::{Read, compare, on, shuffled};
use super::requests;
use super::support::*;
use arrow_array::{Int64Array, RecordBatch};
use din_runtime::comm::{Channel, Communicator, Ending, Messages, RankWarning, in_process};
use din_runtime::data::{DataError, Dataset, FaultKind, Location, Order, ReadMode, StreamError, StreamOptions};
use din_runtime::random::Stream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
    fn warn(&self, warning: &RankWarning) -> bool {
        self.ranks.warn(warning)
    }
    fn finish(&self) -> din_runtime::Result<()> {
        self.ranks.finish()
    }
    fn fail(&self, error: &din_runtime::Error) -> Ending {
        self.ranks.fail(error)
    }
}

fn late(ranks: usize, seed: u64) -> Vec<Arc<Late>> {
    let late = |ranks: Arc<dyn Communicator>| {
        let draw = Stream::new(seed, "late", ranks.rank() as u64);
        Arc::new(Late { ranks, draw, exchanges: AtomicU64::new(0) })
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
        let ranks = late(3, seed).into_iter().map(|comm| comm as Arc<dyn Communicator>).collect();
        let read = on(ranks, &open, StreamOptions { threads, ..options });
        let read: Vec<Read> = read.into_iter().map(|read| read.unwrap()).collect();
        compare(&open(), options, &read, &format!("seed {seed}"));
    }
}

/// What nobody takes is neither decoded nor sent to the end of the epoch.
#[test]
fn a_dropped_stream_ends_soon_on_all_ranks() {
    let directory = tempfile::tempdir().unwrap();
    for group in [50, 1_000] {
        write(&directory.path().join("a.parquet"), &[records(0..60_000)], group);
        let open = || Dataset::open(&[directory.path()], &schema(), ReadMode::Train).unwrap();
        let options = StreamOptions { prefetch: 1, ..shuffled(4_096, 1_000) };
        let exchanges = |comm: Arc<Late>, taken: usize| {
            let mut stream = open().stream_on(options, comm.clone()).unwrap();
            for _ in 0..taken {
                stream.next().unwrap();
            }
            drop(stream);
            comm.exchanges.load(Ordering::Relaxed)
        };
        let of = |taken: usize| -> Vec<u64> {
            std::thread::scope(|scope| {
                let threads: Vec<_> =
                    late(2, 1).into_iter().map(|comm| scope.spawn(move || exchanges(comm, taken))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            })
        };
        // To the end, 15 batches; and one of them, with some that were ready.
        let (whole, dropped) = (of(16), of(1));
        assert!(whole[0] == whole[1] && dropped[0] == dropped[1], "{whole:?}, {dropped:?}");
        assert!(2 * dropped[0] < whole[0], "{dropped:?} of {whole:?} exchanges");
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
        let read = |comm: Arc<Late>| {
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
