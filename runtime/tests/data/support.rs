//! Schemas, files and reading them whole.

use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use din_program::schema::{
    Feature, FeatureKind, FeatureSource, Keep, Key, KeyType, Label, LabelKind, MissingLabel, Schema, Sequence,
};
use din_runtime::batch::{Batch, KeyColumn};
use din_runtime::data::{DataError, Dataset, Order, ReadMode, StreamError, StreamOptions};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const INT: FeatureKind = FeatureKind::Dynamic { key: KeyType::Int64 };
pub const STRING: FeatureKind = FeatureKind::Dynamic { key: KeyType::String };

pub fn feature(name: &str, kind: FeatureKind, sequence: Option<u32>) -> Feature {
    Feature {
        group: sequence.map_or("ad".into(), |s| format!("s{s}")),
        name: name.into(),
        source: FeatureSource::column(name),
        kind,
        sequence,
        common: false,
        at_prediction: true,
        location: "m.din:3:5".into(),
    }
}

pub fn label(name: &str, missing: Option<f64>) -> Label {
    let missing = missing.map(MissingLabel::Number);
    let (name, column, location) = (name.to_string(), name.to_string(), "m.din:8:5".to_string());
    Label { name, column, kind: LabelKind::Binary, classes: Vec::new(), missing, location }
}

pub fn key(name: &str, kind: KeyType) -> Key {
    Key { name: name.into(), column: name.into(), kind, location: "m.din:9:5".into() }
}

pub fn sequence(name: &str, keep: Option<Keep>) -> Sequence {
    Sequence { name: name.into(), keep, missing: false, common: false, location: "m.din:5:5".into() }
}

/// item, tag, aligned lists items and tags, label click, key user.
pub fn schema() -> Schema {
    Schema {
        statistics: Vec::new(),
        vocabularies: Vec::new(),
        known: Vec::new(),
        requests: None,
        in_batch: None,
        features: vec![
            feature("item", INT, None),
            feature("tag", STRING, None),
            feature("items", INT, Some(0)),
            feature("tags", STRING, Some(0)),
        ],
        sequences: vec![sequence("visited", None)],
        labels: vec![label("click", None)],
        keys: vec![key("user", KeyType::Int64)],
    }
}

/// Row `r` is a function of `r` alone: lists of `r % 4` entries.
pub fn records(rows: std::ops::Range<i64>) -> RecordBatch {
    let lists = |r: i64| (0..r % 4).map(move |k| r * 10 + k);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("unused", Arc::new(Int64Array::from_iter_values(rows.clone()))),
        ("user", Arc::new(Int64Array::from_iter_values(rows.clone().map(|r| r % 5)))),
        ("item", Arc::new(Int64Array::from_iter_values(rows.clone()))),
        ("tag", Arc::new(StringArray::from_iter_values(rows.clone().map(|r| format!("t{}", r % 7))))),
        (
            "items",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(
                rows.clone().map(|r| Some(lists(r).map(Some).collect::<Vec<_>>())),
            )),
        ),
        ("tags", {
            let mut builder = arrow_array::builder::ListBuilder::new(arrow_array::builder::StringBuilder::new());
            for r in rows.clone() {
                lists(r).for_each(|v| builder.values().append_value(format!("t{}", v % 7)));
                builder.append(true);
            }
            Arc::new(builder.finish())
        }),
        ("click", Arc::new(Int64Array::from_iter_values(rows.map(|r| i64::from(r % 3 == 0))))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Writes record batches, `group` rows a row group.
pub fn write(path: &Path, batches: &[RecordBatch], group: usize) {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(parquet::basic::Compression::ZSTD(Default::default()))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batches[0].schema(), Some(properties)).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    writer.close().unwrap();
}

pub fn file(columns: Vec<(&str, ArrayRef)>) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("train.parquet");
    write(
        &path,
        &[RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap()],
        1000,
    );
    (directory, path)
}

pub fn read<P: AsRef<Path>>(
    paths: &[P],
    schema: &Schema,
    mode: ReadMode,
    options: StreamOptions,
) -> Result<Vec<Batch>, DataError> {
    collect(&Dataset::open(paths, schema, mode)?, options)
}

pub fn collect(data: &Dataset, options: StreamOptions) -> Result<Vec<Batch>, DataError> {
    let mut stream = data.stream(options)?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().map_err(of_data)? {
        check(data.schema(), &batch);
        batches.push(batch.clone());
        stream.recycle(batch);
    }
    assert!(stream.next().unwrap().is_none());
    Ok(batches)
}

/// The fault of a stream that is alone.
pub fn of_data(error: StreamError) -> DataError {
    match error {
        StreamError::Data(error) => error,
        StreamError::Ranks(error) => panic!("there is one rank: {error}"),
    }
}

/// Everything in one batch, in file order.
pub fn whole(path: &Path, schema: &Schema) -> Result<Batch, DataError> {
    let mut batches = read(&[path], schema, ReadMode::Evaluate, StreamOptions::new(1 << 20, Order::File))?;
    assert_eq!(batches.len(), 1);
    Ok(batches.remove(0))
}

/// The invariants of a batch.
pub fn check(schema: &Schema, batch: &Batch) {
    for offsets in &batch.offsets {
        assert_eq!((offsets.len(), offsets[0]), (batch.rows + 1, 0));
        assert!(offsets.windows(2).all(|w| w[0] <= w[1]));
    }
    for (f, feature) in schema.features.iter().enumerate() {
        let elements = feature.sequence.map_or(batch.rows, |s| batch.offsets[s as usize][batch.rows] as usize);
        let (ids, numbers) = match feature.kind {
            FeatureKind::Dense { width } => (0, elements * width as usize),
            _ => (elements, 0),
        };
        assert_eq!((batch.ids[f].len(), batch.dense[f].len()), (ids, numbers), "{}", feature.path());
    }
    assert!(batch.labels.iter().chain(&batch.present).all(|l| l.len() == batch.rows));
}

pub fn integers(column: &KeyColumn) -> &[i64] {
    match column {
        KeyColumn::Int64(v) => v,
        KeyColumn::String(_) => panic!("strings"),
    }
}

pub fn strings(column: &KeyColumn) -> &[String] {
    match column {
        KeyColumn::String(v) => v,
        KeyColumn::Int64(_) => panic!("integers"),
    }
}
