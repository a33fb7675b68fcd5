//! The order of samples: a permutation, a function of (seed, epoch, window), resumable.

use super::support::*;
use din_runtime::batch::Batch;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};

fn data() -> (tempfile::TempDir, Dataset) {
    let directory = tempfile::tempdir().unwrap();
    for part in 0..3 {
        let path = directory.path().join(format!("part{part}.parquet"));
        write(&path, &[records(part * 4_000..(part + 1) * 4_000)], 1_500);
    }
    let data = Dataset::open(&[directory.path()], &schema(), ReadMode::Evaluate).unwrap();
    (directory, data)
}

fn shuffled(seed: u64, epoch: u64) -> StreamOptions {
    StreamOptions { window_rows: 5_000, ..StreamOptions::new(256, Order::Shuffled { seed, epoch }) }
}

fn items(batches: &[Batch]) -> Vec<u64> {
    batches.iter().flat_map(|b| b.ids[0].clone()).collect()
}

#[test]
fn shuffling_permutes_whole_rows() {
    let (_directory, data) = data();
    let (plain, mixed) =
        (collect(&data, StreamOptions::new(12_000, Order::File)).unwrap(), collect(&data, shuffled(1, 0)).unwrap());
    let mut seen = vec![false; 12_000];
    for batch in &mixed {
        for r in 0..batch.rows {
            let item = batch.ids[0][r] as usize;
            assert!(!std::mem::replace(&mut seen[item], true));
            let list = |b: &Batch, f: usize, r: usize| {
                b.ids[f][b.offsets[0][r] as usize..b.offsets[0][r + 1] as usize].to_vec()
            };
            for f in [2, 3] {
                assert_eq!(list(batch, f, r), list(&plain[0], f, item));
            }
            assert_eq!(batch.labels[0][r], plain[0].labels[0][item]);
            assert_eq!(integers(&batch.keys[0])[r], integers(&plain[0].keys[0])[item]);
        }
    }
    assert!(seen.into_iter().all(|s| s));
    // Far from file order: the mean distance of neighbours is that of random numbers inside a
    // window (a third of it or more).
    let order = items(&mixed);
    let mean = order.windows(2).map(|w| w[0].abs_diff(w[1])).sum::<u64>() as f64 / 11_999.0;
    assert!(mean > 1_500.0, "{mean}");
}

#[test]
fn the_order_is_a_function_of_seed_epoch_and_window() {
    let (_directory, data) = data();
    let base = collect(&data, shuffled(1, 0)).unwrap();
    for prefetch in [0, 1, 2, 17] {
        assert_eq!(base, collect(&data, StreamOptions { prefetch, ..shuffled(1, 0) }).unwrap(), "prefetch {prefetch}");
    }
    let order = items(&base);
    for batch in [1, 100, 4_097, 50_000] {
        assert_eq!(order, items(&collect(&data, StreamOptions { batch, ..shuffled(1, 0) }).unwrap()), "batch {batch}");
    }
    assert_ne!(order, items(&collect(&data, shuffled(1, 1)).unwrap()));
    assert_ne!(order, items(&collect(&data, shuffled(2, 0)).unwrap()));
    assert_ne!(order, items(&collect(&data, StreamOptions { window_rows: 4_999, ..shuffled(1, 0) }).unwrap()));
    // Memory bounds the window as rows do.
    let small = StreamOptions { window_bytes: 1 << 10, ..shuffled(1, 0) };
    assert_ne!(order, items(&collect(&data, small).unwrap()));
}

#[test]
fn threads_change_nothing() {
    // Row groups of 1500, 7 and 9000 rows.
    let (_directory, middle) = data();
    let directory = tempfile::tempdir().unwrap();
    let write_as = |name: &str, rows: i64, group: usize| {
        let path = directory.path().join(name);
        write(&path, &[records(0..rows)], group);
        path
    };
    let (small, large) = (write_as("small.parquet", 1_000, 7), write_as("large.parquet", 9_000, 9_000));
    let of = |paths: &[&std::path::PathBuf]| Dataset::open(paths, &schema(), ReadMode::Evaluate).unwrap();
    for data in [&middle, &of(&[&small]), &of(&[&large]), &of(&[&large, &small])] {
        for base in [shuffled(3, 1), StreamOptions::new(256, Order::File)] {
            for (batch, skip) in [(1, 990), (256, 3), (4_097, 0)] {
                let options = StreamOptions { batch, skip, ..base };
                let one = collect(data, options).unwrap();
                for (threads, opening_threads) in [(2, 1), (16, 1), (1, 3)] {
                    let several = collect(data, StreamOptions { threads, opening_threads, ..options }).unwrap();
                    assert!(
                        one == several,
                        "{threads} threads, {opening_threads} in the beginning, {options:?}, {} rows",
                        data.rows()
                    );
                }
            }
        }
    }
}

#[test]
fn resuming_anywhere_gives_the_same_batches() {
    let (_directory, data) = data();
    let all = collect(&data, shuffled(5, 2)).unwrap();
    assert_eq!(all.len(), 47);
    for skip in 0..=48 {
        let rest = collect(&data, StreamOptions { skip, ..shuffled(5, 2) }).unwrap();
        assert_eq!(rest, all[all.len().min(skip as usize)..], "after {skip}");
    }
}

#[test]
fn dropping_a_stream_ends_its_threads() {
    let (_directory, data) = data();
    for (taken, threads) in [(0, 1), (1, 1), (5, 1), (0, 4), (5, 4)] {
        let mut stream = data.stream(StreamOptions { threads, ..shuffled(1, 0) }).unwrap();
        for _ in 0..taken {
            stream.next().unwrap();
        }
    }
}

#[test]
fn the_fingerprint_changes_with_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let of = || Dataset::open(&[&path], &schema(), ReadMode::Train).unwrap().fingerprint();
    write(&path, &[records(0..100)], 50);
    let first = of();
    assert_eq!(first, of());
    write(&path, &[records(1..101)], 50);
    assert_ne!(first, of());
}
