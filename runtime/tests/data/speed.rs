//! Measurements, not tests: `cargo test --release -p din-runtime --test data -- --ignored --nocapture speed`.

use crate::support::*;
use arrow_array::*;
use din_program::UpdateSlot;
use din_program::schema::{Init, KeyType, Schema, Table as TableSpec, TableKind};
use din_runtime::data::{Dataset, Mode, Order, StreamOptions};
use din_runtime::random::Stream;
use din_runtime::table::{Occurrences, Table};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Processor seconds of this thread, so that what else runs on the machine does not count.
fn thread_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Of all threads, in ticks of 10 ms.
fn process_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = text.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
    (fields[13] + fields[14]) / 100.0
}

fn stream_all(data: &Dataset, name: &str) {
    let orders = [Order::File, Order::Shuffled { seed: 1, epoch: 0 }];
    for (order, threads) in orders.into_iter().flat_map(|order| [(order, 1), (order, 2)]) {
        for _ in 0..2 {
            let (start, cpu) = (Instant::now(), process_seconds());
            let mut stream = data.stream(StreamOptions { threads, ..StreamOptions::new(1024, order) }).unwrap();
            let (mut rows, mut ids) = (0, 0);
            let mut first = 0.0;
            while let Some(batch) = stream.next().unwrap() {
                if rows == 0 {
                    first = start.elapsed().as_secs_f64();
                }
                rows += batch.rows;
                ids += batch.ids.iter().map(Vec::len).sum::<usize>();
                stream.recycle(batch);
            }
            let (wall, cpu) = (start.elapsed().as_secs_f64(), process_seconds() - cpu);
            println!(
                "{name} {order:?} on {threads}: {rows} rows, {ids} ids in {cpu:.2} s of processor, {wall:.2} s of clock (first batch {first:.3} s): \
                 {:.0} rows/s, {:.1} M ids/s of clock",
                rows as f64 / wall,
                ids as f64 / wall / 1e6
            );
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn kuairand() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/kuairand/train.parquet");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return;
    }
    let schema = Schema {
        requests: None,
        features: vec![
            feature("user_id", INT, None),
            feature("video_id", INT, None),
            feature("tag", STRING, None),
            feature("tab", INT, None),
            feature("hour", INT, None),
            feature("hist_video_ids", INT, Some(0)),
            feature("hist_tags", STRING, Some(0)),
        ],
        sequences: vec![sequence("visited", None)],
        labels: vec![label("is_click", None), label("long_view", None)],
        keys: vec![key("user_id", KeyType::Int64)],
    };
    let start = Instant::now();
    let data = Dataset::open(&[&path], &schema, Mode::Train).unwrap();
    println!("open {:.4} s", start.elapsed().as_secs_f64());
    stream_all(&data, "kuairand");
}

/// A skewed id below `n`.
#[inline(never)]
fn skewed(random: &Stream, at: &mut u64, n: u64) -> i64 {
    *at += 1;
    (random.uniform(*at).powi(3) * n as f64) as i64
}

#[test]
#[ignore = "a measurement"]
fn a_million_rows_of_three_lists() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("large.parquet");
    let random = Stream::new(1, "speed", 0);
    let mut at = 0;
    let batches: Vec<RecordBatch> = (0..100)
        .map(|_| {
            let lengths: Vec<usize> = (0..10_000).map(|_| skewed(&random, &mut at, 124) as usize).collect();
            let mut list = |n: u64| -> ArrayRef {
                let total = lengths.iter().sum();
                let values = Int64Array::from_iter_values((0..total).map(|_| skewed(&random, &mut at, n)));
                let item = Arc::new(arrow_schema::Field::new("item", arrow_schema::DataType::Int64, true));
                let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths.iter().copied());
                Arc::new(ListArray::new(item, offsets, Arc::new(values), None))
            };
            let (goods, shops, cates) = (list(1_000_000), list(100_000), list(5_000));
            let mut column = |n: u64| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values((0..10_000).map(|_| skewed(&random, &mut at, n))))
            };
            let (good, shop, cate, click) = (column(1_000_000), column(100_000), column(5_000), column(2));
            RecordBatch::try_from_iter([
                ("good", good),
                ("shop", shop),
                ("cate", cate),
                ("click", click),
                ("goods", goods),
                ("shops", shops),
                ("cates", cates),
            ])
            .unwrap()
        })
        .collect();
    write(&path, &batches, 65_536);
    drop(batches);
    println!("{} MB", std::fs::metadata(&path).unwrap().len() >> 20);
    let schema = Schema {
        requests: None,
        features: ["good", "shop", "cate"]
            .map(|n| feature(n, INT, None))
            .into_iter()
            .chain(["goods", "shops", "cates"].map(|n| feature(n, INT, Some(0))))
            .collect(),
        sequences: vec![sequence("visited", None)],
        labels: vec![label("click", None)],
        keys: vec![],
    };
    let data = Dataset::open(&[&path], &schema, Mode::Train).unwrap();
    stream_all(&data, "synthetic");
}

#[test]
#[ignore = "a measurement"]
fn look_ups_and_occurrences() {
    let random = Stream::new(1, "speed", 0);
    let mut at = 0;
    for n in [5_000u64, 100_000, 5_000_000] {
        let spec = TableSpec {
            name: "t".into(),
            width: 16,
            kind: TableKind::Dynamic { key: KeyType::Int64 },
            init: Init::Normal(0.01),
            features: vec![0],
            update: 0,
            counts: false,
            every_row: false,
            location: String::new(),
        };
        let mut table = Table::new(&spec, &[] as &[UpdateSlot], 1).unwrap();
        let all: Vec<u64> = (0..n).collect();
        let start = thread_seconds();
        let mut rows = Vec::new();
        table.resolve_train(&all, &mut rows).unwrap();
        let insert = (thread_seconds() - start) / n as f64 * 1e9;
        let batches: Vec<(Vec<u64>, Vec<u64>)> = (0..50)
            .map(|_| {
                let mut ids = |k: usize| (0..k).map(|_| skewed(&random, &mut at, n) as u64).collect::<Vec<u64>>();
                (ids(1024), ids(31 * 1024))
            })
            .collect();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut occurrences = Occurrences::new();
        let (mut lookup, mut build, mut distinct) = (0.0, 0.0, 0);
        for (one, many) in batches.iter().chain(&batches) {
            let start = thread_seconds();
            table.resolve_train(one, &mut a).unwrap();
            table.resolve_train(many, &mut b).unwrap();
            lookup += thread_seconds() - start;
            let start = thread_seconds();
            occurrences.build(&[&a, &b], table.rows());
            build += thread_seconds() - start;
            distinct += occurrences.rows.len();
        }
        let ids = 100.0 * 32.0 * 1024.0;
        println!(
            "{n} ids: insert {insert:.0} ns, look-up {:.1} ns ({:.0} M/s), occurrences {:.0} us a batch of 32768 ({} distinct)",
            lookup / ids * 1e9,
            ids / lookup / 1e6,
            build / 100.0 * 1e6,
            distinct / 100
        );
    }
}
