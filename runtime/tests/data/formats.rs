//! What values become: every accepted Arrow type, nesting and text.

use super::support::*;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::*;
use arrow_schema::Field;
use din_program::schema::{FeatureKind, Keep, KeyType, Schema};
use din_runtime::data::{Dataset, FaultKind, OpenOptions, Order, ReadMode, StreamOptions, string_id};
use std::sync::Arc;

/// What `records` says, computed from row numbers.
#[test]
fn parquet_with_aligned_lists() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[records(0..10_000)], 3_000);
    let batch = whole(&path, &schema()).unwrap();
    assert_eq!(batch.rows, 10_000);
    for r in 0..10_000u64 {
        let (begin, end) = (batch.offsets[0][r as usize] as usize, batch.offsets[0][r as usize + 1] as usize);
        let items: Vec<u64> = (0..r % 4).map(|k| r * 10 + k).collect();
        assert_eq!(batch.ids[2][begin..end], items);
        let tags: Vec<u64> = items.iter().map(|v| string_id(&format!("t{}", v % 7))).collect();
        assert_eq!(batch.ids[3][begin..end], tags);
        assert_eq!(batch.ids[0][r as usize], r);
        assert_eq!(batch.ids[1][r as usize], string_id(&format!("t{}", r % 7)));
        assert_eq!(batch.labels[0][r as usize], if r % 3 == 0 { 1.0 } else { 0.0 });
        assert_eq!(integers(&batch.keys[0])[r as usize], (r % 5) as i64);
    }
    assert!(batch.present[0].iter().all(|&p| p == 1.0));
}

#[test]
fn batches_of_any_size_join_to_the_same_rows() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("a.parquet"), &[records(0..5_000)], 700);
    write(&directory.path().join("b.parquet"), &[records(5_000..6_000)], 5_000);
    std::fs::write(directory.path().join("_SUCCESS"), "").unwrap();
    std::fs::write(directory.path().join(".hidden.csv"), "").unwrap();
    let data = Dataset::open(&[directory.path()], &schema(), ReadMode::Train).unwrap();
    assert_eq!((data.rows(), data.files().count()), (6_000, 2));
    for size in [1usize, 7, 999, 4_096, 6_000, 10_000] {
        let batches = collect(&data, StreamOptions::new(size, Order::File)).unwrap();
        assert_eq!(batches.len(), 6_000usize.div_ceil(size));
        let items: Vec<u64> = batches.iter().flat_map(|b| b.ids[0].clone()).collect();
        assert!(items.iter().copied().eq(0..6_000));
        assert!(batches[..batches.len() - 1].iter().all(|b| b.rows == size));
        for skip in [0u64, 1, 3, 100_000] {
            let rest = collect(&data, StreamOptions { skip, ..StreamOptions::new(size, Order::File) }).unwrap();
            assert_eq!(rest, batches[batches.len().min(skip as usize)..]);
        }
    }
}

#[test]
fn every_integer_width_is_one_id() {
    fn column<T: ArrowPrimitiveType>(values: [T::Native; 2]) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::from_iter_values(values))
    }
    let columns = vec![
        ("a", column::<Int8Type>([-3, 5])),
        ("b", column::<Int16Type>([-3, 5])),
        ("c", column::<Int32Type>([-3, 5])),
        ("d", column::<Int64Type>([-3, 5])),
        ("e", column::<UInt8Type>([3, 5])),
        ("f", column::<UInt16Type>([3, 5])),
        ("g", column::<UInt32Type>([3, 5])),
        ("h", column::<UInt64Type>([u64::MAX - 2, 5])),
    ];
    let schema = Schema {
        statistics: Vec::new(),
        vocabularies: Vec::new(),
        known: Vec::new(),
        requests: None,
        in_batch: None,
        features: columns.iter().map(|(n, _)| feature(n, INT, None)).collect(),
        keys: columns.iter().map(|(n, _)| key(n, KeyType::Int64)).collect(),
        ..Schema::default()
    };
    let (_directory, path) = file(columns);
    let batch = whole(&path, &schema).unwrap();
    let minus_three = -3i64 as u64;
    let first: Vec<u64> = batch.ids.iter().map(|c| c[0]).collect();
    assert_eq!(first, [minus_three, minus_three, minus_three, minus_three, 3, 3, 3, minus_three]);
    assert!(batch.ids.iter().all(|c| c[1] == 5));
    assert!(batch.keys.iter().all(|c| integers(c)[1] == 5));
}

#[test]
fn every_string_encoding_is_one_id() {
    let texts = ["", "é", "a longer text than fits inline"];
    let list = |large: bool| -> ArrayRef {
        let values: ArrayRef = Arc::new(DictionaryArray::<Int16Type>::from_iter(texts));
        let item = Arc::new(Field::new("item", values.data_type().clone(), true));
        let lengths = arrow_buffer::OffsetBuffer::from_lengths([2, 0, 1]);
        if large {
            let wide = arrow_buffer::OffsetBuffer::<i64>::from_lengths([2, 0, 1]);
            Arc::new(LargeListArray::new(item, wide, values, None))
        } else {
            Arc::new(ListArray::new(item, lengths, values, None))
        }
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", Arc::new(StringArray::from_iter_values(texts))),
        ("b", Arc::new(LargeStringArray::from_iter_values(texts))),
        ("c", Arc::new(StringViewArray::from_iter_values(texts))),
        ("d", Arc::new(DictionaryArray::<Int32Type>::from_iter(texts))),
        ("l", list(false)),
        ("m", list(true)),
    ];
    let schema = Schema {
        statistics: Vec::new(),
        vocabularies: Vec::new(),
        known: Vec::new(),
        requests: None,
        in_batch: None,
        features: ["a", "b", "c", "d"]
            .map(|n| feature(n, STRING, None))
            .into_iter()
            .chain(["l", "m"].map(|n| feature(n, STRING, Some(0))))
            .collect(),
        sequences: vec![sequence("s", None)],
        keys: ["a", "b", "c", "d"].map(|n| key(n, KeyType::String)).to_vec(),
        ..Schema::default()
    };
    let (_directory, path) = file(columns);
    let batch = whole(&path, &schema).unwrap();
    let ids = texts.map(string_id);
    assert!(batch.ids.iter().all(|c| *c == ids));
    assert_eq!(batch.offsets[0], [0, 2, 2, 3]);
    assert!(batch.keys.iter().all(|c| strings(c) == texts));
    // Published: XXH3_64bits of the empty input with seed 0.
    assert_eq!(ids[0], 0x2D06_8005_38D3_94C2);
}

#[test]
fn numbers_vectors_labels_and_fixed_ids() {
    let vectors: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<arrow_array::types::Float32Type, _, _>(
        [Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(3.0), Some(4.0)]), Some(vec![Some(5.0), Some(6.0)])],
        2,
    ));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("price", Arc::new(Float64Array::from(vec![0.5, -1.0, 1e30]))),
        ("age", Arc::new(Int16Array::from(vec![1, 2, 3]))),
        ("vec", vectors),
        (
            "w",
            Arc::new(ListArray::from_iter_primitive::<arrow_array::types::Float64Type, _, _>([
                Some(vec![Some(1.5)]),
                Some(vec![]),
                Some(vec![Some(2.5), Some(3.5)]),
            ])),
        ),
        ("gender", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("level", Arc::new(Int64Array::from(vec![-5, 3, 10]))),
        ("yes", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("like", Arc::new(Float32Array::from(vec![Some(1.0), None, Some(-1.0)]))),
    ];
    let schema = Schema {
        statistics: Vec::new(),
        vocabularies: Vec::new(),
        known: Vec::new(),
        requests: None,
        in_batch: None,
        features: vec![
            feature("price", FeatureKind::Dense { width: 1 }, None),
            feature("age", FeatureKind::Dense { width: 1 }, None),
            feature("vec", FeatureKind::Dense { width: 2 }, None),
            feature("w", FeatureKind::Dense { width: 1 }, Some(0)),
            feature("gender", FeatureKind::Fixed { size: 2, clip: false }, None),
            feature("level", FeatureKind::Fixed { size: 10, clip: true }, None),
        ],
        sequences: vec![sequence("s", None)],
        labels: vec![label("yes", None), label("like", Some(-1.0))],
        keys: vec![],
    };
    let (_directory, path) = file(columns);
    let batch = whole(&path, &schema).unwrap();
    assert_eq!(batch.dense[0], [0.5, -1.0, 1e30]);
    assert_eq!(batch.dense[1], [1.0, 2.0, 3.0]);
    assert_eq!(batch.dense[2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!((batch.dense[3].as_slice(), batch.offsets[0].as_slice()), (&[1.5, 2.5, 3.5][..], &[0, 1, 1, 3][..]));
    assert_eq!(batch.ids[4], [1, 0, 1]);
    assert_eq!(batch.ids[5], [0, 3, 9]);
    assert_eq!((batch.labels[0].as_slice(), batch.present[0].as_slice()), (&[1.0, 0.0, 1.0][..], &[1.0; 3][..]));
    assert_eq!((batch.labels[1].as_slice(), batch.present[1].as_slice()), (&[1.0, 0.0, 0.0][..], &[1.0, 0.0, 0.0][..]));
}

#[test]
fn half_floats_are_numbers() {
    type Half = <Float16Type as ArrowPrimitiveType>::Native;
    // By IEEE 754: 1, -0, the largest, the least above 0, and 1/3 as 11 bits hold it.
    let (bits, numbers) =
        ([0x3C00, 0x8000, 0x7BFF, 0x0001, 0x3555], [1.0, -0.0, 65504.0, 2f32.powi(-24), 0.333_251_95]);
    let half = |i: usize| Half::from_bits(bits[i]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("price", Arc::new(Float16Array::from(vec![half(0), half(1), half(2)]))),
        (
            "w",
            Arc::new(ListArray::from_iter_primitive::<Float16Type, _, _>([
                Some(vec![Some(half(3))]),
                Some(vec![]),
                Some(vec![Some(half(4)), Some(half(0))]),
            ])),
        ),
        (
            "vec",
            Arc::new(ListArray::from_iter_primitive::<Float16Type, _, _>(
                [[0, 1], [2, 3], [4, 0]].map(|row| Some(row.map(|i| Some(half(i))))),
            )),
        ),
    ];
    let schema = Schema {
        features: vec![
            feature("price", FeatureKind::Dense { width: 1 }, None),
            feature("vec", FeatureKind::Dense { width: 2 }, None),
            feature("w", FeatureKind::Dense { width: 1 }, Some(0)),
        ],
        sequences: vec![sequence("s", None)],
        ..Schema::default()
    };
    let (_directory, path) = file(columns);
    let batch = whole(&path, &schema).unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let expected = |of: &[usize]| of.iter().map(|&i| numbers[i].to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&batch.dense[0]), expected(&[0, 1, 2]));
    assert_eq!(bits(&batch.dense[1]), expected(&[0, 1, 2, 3, 4, 0]));
    assert_eq!(bits(&batch.dense[2]), expected(&[3, 4, 0]));
}

#[test]
fn keep_last_and_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[records(0..50)], 20);
    for last in [true, false] {
        let mut schema = schema();
        schema.sequences[0].keep = Some(Keep { last, count: 2 });
        let batch = whole(&path, &schema).unwrap();
        for r in 0..50u64 {
            let (begin, end) = (batch.offsets[0][r as usize] as usize, batch.offsets[0][r as usize + 1] as usize);
            let all: Vec<u64> = (0..r % 4).map(|k| r * 10 + k).collect();
            let kept = if last { &all[all.len().saturating_sub(2)..] } else { &all[..all.len().min(2)] };
            assert_eq!(&batch.ids[2][begin..end], kept);
            let tags: Vec<u64> = kept.iter().map(|v| string_id(&format!("t{}", v % 7))).collect();
            assert_eq!(batch.ids[3][begin..end], tags);
        }
    }
}

/// The same rows as text.
fn csv_of(rows: std::ops::Range<i64>) -> String {
    let mut text = "unused,user,item,tag,items,tags,click\r\n".to_string();
    for r in rows {
        let list = |f: &dyn Fn(i64) -> String| (0..r % 4).map(|k| f(r * 10 + k)).collect::<Vec<_>>().join("|");
        let (items, tags) = (list(&|v| v.to_string()), list(&|v| format!("t{}", v % 7)));
        text += &format!(
            "\"a, \"\"quoted\"\"\nfield\",{},{r},t{},{items},{tags},{}\n",
            r % 5,
            r % 7,
            i64::from(r % 3 == 0)
        );
    }
    text
}

#[test]
fn csv_equals_parquet() {
    let directory = tempfile::tempdir().unwrap();
    let (csv, parquet) = (directory.path().join("a.csv"), directory.path().join("b.parquet"));
    std::fs::write(&csv, csv_of(0..40_000)).unwrap();
    write(&parquet, &[records(0..40_000)], 10_000);
    assert_eq!(whole(&csv, &schema()).unwrap(), whole(&parquet, &schema()).unwrap());
    let data = Dataset::open(&[&csv], &schema(), ReadMode::Evaluate).unwrap();
    let all = collect(&data, StreamOptions::new(1000, Order::File)).unwrap();
    let rest = collect(&data, StreamOptions { skip: 17, ..StreamOptions::new(1000, Order::File) }).unwrap();
    assert_eq!(rest, all[17..], "seeks into a block");
    let shuffled = collect(&data, StreamOptions::new(1000, Order::Shuffled { seed: 1, epoch: 0 })).unwrap();
    let mut items: Vec<u64> = shuffled.iter().flat_map(|b| b.ids[0].clone()).collect();
    assert_ne!(items[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    items.sort_unstable();
    assert!(items.into_iter().eq(0..40_000));
}

#[test]
fn csv_separators_vectors_and_missing_labels() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.tsv");
    std::fs::write(&path, "\u{feff}item\tvec\titems\tlike\n1\t1;2\t 4; 5\ttrue\n18446744073709551615\t3;4.5\t\t\n")
        .unwrap();
    let schema = Schema {
        statistics: Vec::new(),
        vocabularies: Vec::new(),
        known: Vec::new(),
        requests: None,
        in_batch: None,
        features: vec![
            feature("item", INT, None),
            feature("vec", FeatureKind::Dense { width: 2 }, None),
            feature("items", INT, Some(0)),
        ],
        sequences: vec![sequence("s", None)],
        labels: vec![label("like", Some(-1.0))],
        keys: vec![],
    };
    let options = OpenOptions { list_separator: b';', ..OpenOptions::new(ReadMode::Evaluate) };
    let data = Dataset::open_with(&[&path], &schema, &options).unwrap();
    let batch = collect(&data, StreamOptions::new(8, Order::File)).unwrap().remove(0);
    assert_eq!(batch.ids[0], [1, u64::MAX]);
    assert_eq!(batch.dense[1], [1.0, 2.0, 3.0, 4.5]);
    assert_eq!((batch.ids[2].as_slice(), batch.offsets[0].as_slice()), (&[4, 5][..], &[0, 2, 2][..]));
    assert_eq!((batch.labels[0].as_slice(), batch.present[0].as_slice()), (&[1.0, 0.0][..], &[1.0, 0.0][..]));
}

#[test]
fn modes_want_what_they_need() {
    let (_directory, path) = file(vec![("item", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]);
    let mut schema = Schema { features: vec![feature("item", INT, None)], ..Schema::default() };
    schema.labels.push(label("click", None));
    schema.keys.push(key("user", KeyType::String));
    let kind = |mode| Dataset::open(&[&path], &schema, mode).map(|_| ()).map_err(|e| (e.kind, e.column.clone()));
    assert_eq!(kind(ReadMode::Train), Err((FaultKind::MissingColumn, Some("click".into()))));
    assert_eq!(kind(ReadMode::Predict), Err((FaultKind::MissingColumn, Some("user".into()))));
    schema.keys.clear();
    let data = Dataset::open(&[&path], &schema, ReadMode::Predict).unwrap();
    let batch = collect(&data, StreamOptions::new(8, Order::File)).unwrap().remove(0);
    assert_eq!((batch.labels[0].as_slice(), batch.present[0].as_slice()), (&[0.0, 0.0][..], &[0.0, 0.0][..]));
}

/// Dictionary pages that overflow into plain ones, and nulls that are not read.
#[test]
fn many_distinct_strings_and_unread_nulls() {
    let texts: Vec<String> = (0..60_000).map(|i| format!("a rather long text number {i:030}")).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("tag", Arc::new(StringArray::from_iter_values(&texts))),
        ("other", Arc::new(StringArray::from(vec![None::<&str>; texts.len()]))),
        ("nothing", Arc::new(NullArray::new(texts.len()))),
    ];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    write(&path, &[batch], 60_000);
    let schema = Schema { features: vec![feature("tag", STRING, None)], ..Schema::default() };
    let batch = whole(&path, &schema).unwrap();
    assert!(batch.ids[0].iter().zip(&texts).all(|(id, t)| *id == string_id(t)));
}
