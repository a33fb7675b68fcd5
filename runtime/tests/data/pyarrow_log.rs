//! A log that pyarrow wrote, in several row groups and many pages: counts and sums of its columns
//! are those that numpy computed when it was written (`reference/pyarrow_log.py`).

use super::support::*;
use din_program::schema::{FeatureKind, KeyType, Schema};
use din_runtime::data::{Order, ReadMode, StreamOptions};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Figures {
    rows: usize,
    entries: u64,
    /// Integer columns, lists included: sum, and sum of value times place from 1, modulo 2^64.
    sums: Vec<(String, u64, u64)>,
    /// String columns: number of distinct strings, and sum of the places from 1 that hold the same
    /// string as the first.
    strings: Vec<(String, usize, u64)>,
    positives: Vec<(String, u64)>,
}

#[test]
fn sums_equal_those_of_numpy() {
    let figure: Figures = serde_json::from_str(include_str!("../reference/pyarrow_log.json")).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/reference/pyarrow_log.parquet");
    let scalar = |name: &str| !name.starts_with("hist");
    let mut schema = Schema { sequences: vec![sequence("visited", None)], ..Schema::default() };
    for (name, _, _) in &figure.sums {
        let kind = if name == "hour" { FeatureKind::Fixed { size: 24, clip: false } } else { INT };
        schema.features.push(feature(name, kind, if scalar(name) { None } else { Some(0) }));
    }
    for (name, _, _) in &figure.strings {
        schema.features.push(feature(name, STRING, if scalar(name) { None } else { Some(0) }));
    }
    schema.labels = figure.positives.iter().map(|(name, _)| label(name, None)).collect();
    schema.keys = vec![key("user_id", KeyType::Int64)];
    for order in [Order::File, Order::Shuffled { seed: 1, epoch: 0 }] {
        let batches = read(&[&path], &schema, ReadMode::Evaluate, StreamOptions::new(1000, order)).unwrap();
        assert_eq!(batches.iter().map(|b| b.rows).sum::<usize>(), figure.rows);
        assert_eq!(batches.iter().map(|b| u64::from(b.offsets[0][b.rows])).sum::<u64>(), figure.entries);
        for (f, (name, sum, _)) in figure.sums.iter().enumerate() {
            let ours = batches.iter().flat_map(|b| &b.ids[f]).fold(0u64, |a, &v| a.wrapping_add(v));
            assert_eq!(ours, *sum, "{name}");
        }
        for (f, (name, distinct, _)) in figure.strings.iter().enumerate() {
            let f = f + figure.sums.len();
            let ours: std::collections::HashSet<u64> = batches.iter().flat_map(|b| b.ids[f].iter().copied()).collect();
            assert_eq!(ours.len(), *distinct, "{name}");
        }
        for (l, (name, positives)) in figure.positives.iter().enumerate() {
            let ours: f32 = batches.iter().flat_map(|b| &b.labels[l]).sum();
            assert_eq!(ours as u64, *positives, "{name}");
        }
    }
    let batch = whole(&path, &schema).unwrap();
    let placed = |ids: &[u64], value: &dyn Fn(u64) -> u64| {
        ids.iter().zip(1u64..).fold(0u64, |a, (&id, place)| a.wrapping_add(place.wrapping_mul(value(id))))
    };
    for (f, (name, _, sum)) in figure.sums.iter().enumerate() {
        assert_eq!(placed(&batch.ids[f], &|id| id), *sum, "{name}");
    }
    for (f, (name, _, sum)) in figure.strings.iter().enumerate() {
        let ids = &batch.ids[f + figure.sums.len()];
        assert_eq!(placed(ids, &|id| u64::from(id == ids[0])), *sum, "{name}");
    }
}
