//! The memory that a shuffled stream holds: two windows, even where a row group is much larger.
//! This is a process of its own, whose allocations are counted.
#![allow(clippy::unwrap_used)]

use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, ListArray, RecordBatch};
use din_program::schema::{Feature, FeatureKind, FeatureSource, KeyType, Schema, Sequence};
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const ENTRIES: u64 = 128;

/// Writes one row group of lists of [`ENTRIES`] ids.
fn write(path: &Path, rows: u64) {
    let lists = (0..rows).map(|r| Some((0..ENTRIES).map(move |k| Some((r * k % 1_000) as i64))));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    let records = RecordBatch::try_from_iter(vec![("items", lists)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1 << 20)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, records.schema(), Some(properties)).unwrap();
    writer.write(&records).unwrap();
    writer.close().unwrap();
}

#[test]
fn two_windows_of_a_large_row_group_are_held() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let rows = 160_000;
    write(&path, rows);
    let schema = Schema {
        features: vec![Feature {
            group: "visited".into(),
            name: "items".into(),
            source: FeatureSource::column("items"),
            kind: FeatureKind::Dynamic { key: KeyType::Int64 },
            sequence: Some(0),
            common: false,
            at_prediction: true,
            location: "m.din:3:5".into(),
        }],
        sequences: vec![Sequence {
            name: "visited".into(),
            keep: None,
            missing: false,
            common: false,
            location: "m.din:2:5".into(),
        }],
        ..Schema::default()
    };
    let data = Dataset::open(&[&path], &schema, ReadMode::Train).unwrap();
    let window = 32_768;
    let order = Order::Shuffled { seed: 1, epoch: 0 };
    let options = StreamOptions { window_rows: window, prefetch: 1, ..StreamOptions::new(256, order) };
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut batches = data.stream(options).unwrap();
    let mut read = 0;
    while let Some(batch) = batches.next().unwrap() {
        read += batch.rows as u64;
        batches.recycle(batch);
    }
    assert_eq!(read, rows);
    let windows = (PEAK.load(Ordering::Relaxed) - before) as f64 / (window as u64 * (8 * ENTRIES + 12)) as f64;
    // What vectors have room for beyond their contents is at most as much again, but of few parts.
    assert!((1.9..2.8).contains(&windows), "{windows} windows");
}
