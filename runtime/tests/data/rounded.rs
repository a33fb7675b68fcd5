//! Integers that f32 does not hold exactly: warned of with their place, once for each column.

use super::support::*;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, FixedSizeListArray, Float64Array, Int64Array, ListArray, RecordBatch, UInt64Array};
use din_program::schema::{FeatureKind, Keep, Schema};
use din_runtime::data::{Dataset, FaultKind, Location, Order, ReadMode, StreamOptions};
use std::path::Path;
use std::sync::Arc;

/// Feature `x` of numbers, alone.
fn schema(width: u32, sequence: Option<Option<Keep>>) -> Schema {
    let number = |at| feature("x", FeatureKind::Dense { width }, at);
    Schema {
        features: vec![number(sequence.map(|_| 0))],
        sequences: sequence.into_iter().map(|keep| self::sequence("s", keep)).collect(),
        ..Schema::default()
    }
}

/// Places and values of the warnings, from reading all rows.
fn warned(path: &Path, schema: &Schema) -> Vec<(Location, String)> {
    let data = Dataset::open(&[path], schema, ReadMode::Train).unwrap();
    collect(&data, StreamOptions::new(2, Order::File)).unwrap();
    let found = data.warnings();
    assert!(data.warnings().is_empty(), "given once");
    found
        .into_iter()
        .map(|warning| {
            assert_eq!(warning.kind, FaultKind::Rounded);
            assert_eq!(warning.column.as_deref(), Some("x"));
            (warning.location.unwrap(), warning.found.clone())
        })
        .collect()
}

fn of_column(array: ArrayRef, schema: &Schema) -> Vec<(Location, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    write(&path, &[RecordBatch::try_from_iter(vec![("x", array)]).unwrap()], 2);
    warned(&path, schema)
}

fn of_text(rows: &[&str], schema: &Schema) -> Vec<(Location, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, format!("x\n{}\n", rows.join("\n"))).unwrap();
    warned(&path, schema)
}

const LIMIT: i64 = 1 << 24;

fn one_warning(place: Location, value: &str, becomes: &str) -> Vec<(Location, String)> {
    vec![(place, format!("{value}, which becomes {becomes}"))]
}

#[test]
fn of_a_plain_column() {
    let schema = schema(1, None);
    let integers = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    // Even integers up to 2^25 are exact, as are powers of 2.
    let exact = vec![LIMIT, -LIMIT, LIMIT + 2, i64::MIN, 1 << 62];
    assert_eq!(of_column(integers(exact), &schema), []);
    let found = of_column(integers(vec![0, 1, 2, -LIMIT - 1, LIMIT + 1]), &schema);
    assert_eq!(found, one_warning(Location::Row(3), "-16777217", "-16777216"));
    let found = of_column(integers(vec![i64::MAX]), &schema);
    assert_eq!(found, one_warning(Location::Row(0), "9223372036854775807", "9223372036854775808"));
    let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![1 << 63, u64::MAX]));
    let found = of_column(unsigned, &schema);
    assert_eq!(found, one_warning(Location::Row(1), "18446744073709551615", "18446744073709551616"));
    // Digits behind the point are what a float is for.
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.1, 16_777_217.5]));
    assert_eq!(of_column(floats, &schema), []);
}

#[test]
fn of_text_columns() {
    let schema = schema(1, None);
    let found = of_text(&["0.1", "16777216", "-16777217", "16777219"], &schema);
    assert_eq!(found, one_warning(Location::Line(4), "-16777217", "-16777216"));
    assert_eq!(of_text(&["16777217.5", "1e30", "33554432", "9223372036854775808"], &schema), []);
}

#[test]
fn of_lists_and_vectors() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
        [vec![1], vec![], vec![LIMIT + 1, 2], vec![3]].map(|list| Some(list.into_iter().map(Some).collect::<Vec<_>>())),
    );
    let lists: ArrayRef = Arc::new(lists);
    let found = one_warning(Location::Row(2), "16777217", "16777216");
    assert_eq!(of_column(lists.clone(), &schema(1, Some(None))), found);
    // An entry that is not kept is not read.
    let last = Keep { last: true, count: 1 };
    assert_eq!(of_column(lists, &schema(1, Some(Some(last)))), []);
    let found = one_warning(Location::Line(4), "16777217", "16777216");
    let rows = ["1", "\"\"", "16777217|2", "3"];
    assert_eq!(of_text(&rows, &schema(1, Some(None))), found);
    assert_eq!(of_text(&rows, &schema(1, Some(Some(last)))), []);

    let vectors = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(
        [[1, 2], [3, LIMIT + 1], [5, 6]].map(|vector| Some(vector.map(Some))),
        2,
    );
    let found = one_warning(Location::Row(1), "16777217", "16777216");
    assert_eq!(of_column(Arc::new(vectors), &schema(2, None)), found);
    let found = one_warning(Location::Line(3), "16777217", "16777216");
    assert_eq!(of_text(&["1|2", "3|16777217"], &schema(2, None)), found);
}
