//! Every fault, with its place and words.

use super::support::*;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::*;
use din_program::schema::{FeatureKind, FeatureSource, KeyType, Schema};
use din_runtime::data::{DataError, Dataset, FaultKind, Location, ReadMode};
use std::sync::Arc;

/// The error of reading `columns` by `schema`, its path replaced by the file's name.
fn fault(columns: Vec<(&str, ArrayRef)>, schema: &Schema) -> (FaultKind, Option<Location>, String) {
    let (_directory, path) = file(columns);
    shown(whole(&path, schema).unwrap_err())
}

fn shown(error: DataError) -> (FaultKind, Option<Location>, String) {
    let name = error.file.file_name().unwrap().to_string_lossy().to_string();
    (error.kind, error.location, error.to_string().replace(&*error.file.display().to_string(), &name))
}

fn csv_fault(text: &str, schema: &Schema) -> (FaultKind, Option<Location>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("train.csv");
    std::fs::write(&path, text).unwrap();
    shown(whole(&path, schema).unwrap_err())
}

fn one(kind: FeatureKind, sequence_: Option<u32>) -> Schema {
    let sequences = if sequence_.is_some() { vec![sequence("visited", None)] } else { vec![] };
    Schema { features: vec![feature("x", kind, sequence_)], sequences, ..Schema::default() }
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn lists(values: &[Option<Vec<Option<i64>>>]) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(values.to_vec()))
}

#[test]
fn columns_missing_twice_or_of_the_wrong_type() {
    let mut schema = one(INT, None);
    schema.features[0].source = FeatureSource::column("good_id");
    assert_eq!(
        fault(vec![("goods_id", ints(&[1])), ("y", ints(&[1]))], &schema).2,
        "train.parquet: column \"good_id\": expected a column of this name, found none (feature ad.x, m.din:3:5); \
         help: did you mean \"goods_id\"? name it in the spec with `from goods_id`"
    );
    assert_eq!(
        fault(vec![("a", ints(&[1])), ("y", ints(&[1]))], &schema).2,
        "train.parquet: column \"good_id\": expected a column of this name, found none (feature ad.x, m.din:3:5); \
         help: the file has \"a\", \"y\"; name one in the spec with `from`"
    );
    assert_eq!(csv_fault("x,y,x\n1,2,3\n", &one(INT, None)).0, FaultKind::DuplicateColumn);

    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let wrong = |column: &ArrayRef, schema: &Schema| {
        let (kind, _, text) = fault(vec![("x", column.clone())], schema);
        assert_eq!(kind, FaultKind::WrongType);
        text.split_once("expected ").unwrap().1.to_string()
    };
    assert_eq!(
        wrong(&text, &one(INT, None)),
        "integers, found strings (feature ad.x, m.din:3:5); help: declare the feature `category of string`"
    );
    assert_eq!(
        wrong(&float, &one(INT, None)),
        "integers, found float64 (feature ad.x, m.din:3:5); help: cast the column to int64"
    );
    assert_eq!(
        wrong(&ints(&[1]), &one(STRING, None)),
        "strings, found int64 (feature ad.x, m.din:3:5); help: declare the feature `category` if the ids are integers"
    );
    assert_eq!(
        wrong(&ints(&[1]), &one(INT, Some(0))),
        "lists of integers, found int64 (feature s0.x, m.din:3:5); \
         help: the fields of a `sequence` are list columns; put a plain one under `features`"
    );
    assert_eq!(
        wrong(&lists(&[Some(vec![Some(1)])]), &one(INT, None)),
        "integers, found lists of int64 (feature ad.x, m.din:3:5); \
         help: put the column into a `sequence`, or name another with `from`"
    );
    assert_eq!(
        wrong(&lists(&[Some(vec![Some(1)])]), &one(STRING, Some(0))),
        "lists of strings, found lists of int64 (feature s0.x, m.din:3:5); \
         help: declare the feature `category` if the ids are integers"
    );
    assert!(wrong(&text, &one(FeatureKind::Dense { width: 1 }, None)).starts_with("numbers, found strings"));
    assert!(
        wrong(&float, &one(FeatureKind::Dense { width: 3 }, None)).starts_with("lists of 3 numbers, found float64")
    );
    assert!(
        wrong(&text, &Schema { labels: vec![label("x", None)], ..Schema::default() })
            .contains("write the label as 0 and 1")
    );
    assert!(
        wrong(&text, &Schema { keys: vec![key("x", KeyType::Int64)], ..Schema::default() })
            .contains("declare the key `string`")
    );
}

#[test]
fn labels() {
    let schema = Schema { labels: vec![label("click", None)], ..Schema::default() };
    let values = |v: Vec<Option<f64>>| -> ArrayRef { Arc::new(Float64Array::from(v)) };
    let mut rows = vec![Some(1.0); 20];
    rows[17] = Some(f64::NAN);
    assert_eq!(
        fault(vec![("click", values(rows.clone()))], &schema),
        (
            FaultKind::BadLabel,
            Some(Location::Row(17)),
            "train.parquet: row 17, column \"click\": expected 0 or 1, found NaN (label click, m.din:8:5); \
             help: drop the row, or declare the label with `missing` and write that value"
                .into()
        )
    );
    rows[3] = Some(-1.0);
    let (kind, place, text) = fault(vec![("click", values(rows.clone()))], &schema);
    assert_eq!((kind, place), (FaultKind::BadLabel, Some(Location::Row(3))));
    assert!(text.ends_with("if -1 stands for \"not known\", declare `missing -1`"), "{text}");
    let mut help = |value: f64| {
        rows[3] = Some(value);
        fault(vec![("click", values(rows.clone()))], &schema).2
    };
    for unknown in [-1.0, 2.0, 0.5] {
        let help = help(unknown);
        assert!(help.contains(&format!("declare `missing {unknown}`")), "{help}");
    }
    // A rating, which no value for "not known" explains.
    let help = help(4.0);
    assert!(help.ends_with("make it before training, such as by `rating >= 4`"), "{help}");
    assert!(!csv_fault("click\nyes\n", &schema).2.contains("missing"));
    rows[3] = None;
    assert_eq!(fault(vec![("click", values(rows.clone()))], &schema).0, FaultKind::Null);
    assert_eq!(csv_fault("click\n1\n0\nyes\n", &schema).1, Some(Location::Line(4)));
    assert_eq!(csv_fault("click\n1\nnan\n", &schema).0, FaultKind::BadLabel);
    assert_eq!(csv_fault("click,a\n,1\n", &schema).0, FaultKind::Null);
    // Not read where nothing is learned or measured.
    let (_directory, path) = file(vec![("click", values(rows))]);
    assert!(Dataset::open(&[&path], &schema, ReadMode::Predict).is_ok());
}

#[test]
fn nulls() {
    let nullable: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
    assert_eq!(fault(vec![("x", nullable.clone())], &one(INT, None)).1, Some(Location::Row(2)));
    assert_eq!(
        fault(vec![("x", nullable.clone())], &one(FeatureKind::Fixed { size: 9, clip: true }, None)).0,
        FaultKind::Null
    );
    assert_eq!(fault(vec![("x", nullable)], &one(FeatureKind::Dense { width: 1 }, None)).0, FaultKind::Null);
    let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    assert_eq!(fault(vec![("x", strings)], &one(STRING, None)).1, Some(Location::Row(1)));
    let dictionary: ArrayRef =
        Arc::new(DictionaryArray::<arrow_array::types::Int8Type>::from_iter([Some("a"), Some("a"), None]));
    assert_eq!(fault(vec![("x", dictionary)], &one(STRING, None)).1, Some(Location::Row(2)));
    let null_list = lists(&[Some(vec![]), None, Some(vec![Some(1)])]);
    assert_eq!(
        fault(vec![("x", null_list)], &one(INT, Some(0))).2,
        "train.parquet: row 1, column \"x\": expected a list of values, found null (feature s0.x, m.din:3:5); \
         help: write an empty list for no entries, and no nulls inside lists, or declare what they are: `missing` \
         after the sequence's name, or after the field"
    );
    let null_entry = lists(&[Some(vec![]), Some(vec![Some(4)]), Some(vec![]), Some(vec![Some(1), None])]);
    assert_eq!(fault(vec![("x", null_entry)], &one(INT, Some(0))).1, Some(Location::Row(3)));
    let (kind, place, text) = csv_fault("x,y\n1,2\n,3\n", &one(INT, None));
    assert_eq!((kind, place), (FaultKind::Null, Some(Location::Line(3))), "{text}");
    assert_eq!(csv_fault("x\n1|2\n3||4\n", &one(INT, Some(0))).1, Some(Location::Line(3)));
}

#[test]
fn ids_out_of_range_and_values_that_are_none() {
    let ten = one(FeatureKind::Fixed { size: 10, clip: false }, None);
    assert_eq!(
        fault(vec![("x", ints(&[0, 9, 10]))], &ten).2,
        "train.parquet: row 2, column \"x\": expected an id from 0 to 9, found 10 (feature ad.x, m.din:3:5); \
         help: enlarge `category(10)`, or write `category(10, clip)` to take the nearest id"
    );
    assert_eq!(fault(vec![("x", ints(&[-1]))], &ten).0, FaultKind::OutOfRange);
    let ten_listed = one(FeatureKind::Fixed { size: 10, clip: false }, Some(0));
    let values = lists(&[Some(vec![Some(1), Some(2)]), Some(vec![]), Some(vec![Some(11)])]);
    assert_eq!(fault(vec![("x", values)], &ten_listed).1, Some(Location::Row(2)));
    assert_eq!(csv_fault("x\n1\n10\n", &ten).1, Some(Location::Line(3)));
    assert_eq!(
        csv_fault("x\n1\nab\n", &one(INT, None)).2,
        "train.csv: line 3, column \"x\": expected an integer, found `ab` (feature ad.x, m.din:3:5); \
         help: declare the feature `category of string`, or correct the value"
    );
    assert_eq!(csv_fault("x\n1.5\n", &one(INT, None)).0, FaultKind::BadValue);

    let number = one(FeatureKind::Dense { width: 1 }, None);
    let bad: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::INFINITY]));
    assert_eq!(fault(vec![("x", bad)], &number).1, Some(Location::Row(1)));
    let large: ArrayRef = Arc::new(Float64Array::from(vec![1e300]));
    assert_eq!(fault(vec![("x", large)], &number).0, FaultKind::NotFinite, "not finite in f32");
    assert_eq!(csv_fault("x\nNaN\n", &number).0, FaultKind::NotFinite);
    let vector = one(FeatureKind::Dense { width: 2 }, None);
    let lists_of = |rows: Vec<Vec<f64>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
            rows.into_iter().map(|r| Some(r.into_iter().map(Some).collect::<Vec<_>>())),
        ))
    };
    assert_eq!(fault(vec![("x", lists_of(vec![vec![1.0, 2.0], vec![1.0]]))], &vector).1, Some(Location::Row(1)));
    assert_eq!(
        fault(vec![("x", lists_of(vec![vec![1.0, 2.0], vec![1.0, f64::NAN]]))], &vector).0,
        FaultKind::NotFinite
    );
    assert_eq!(csv_fault("x\n1|2|3\n", &vector).0, FaultKind::WrongWidth);
}

#[test]
fn lists_of_unequal_length() {
    let mut schema = one(INT, Some(0));
    schema.features.push(feature("y", INT, Some(0)));
    let list = |n: usize| Some(vec![Some(1); n]);
    let columns = vec![("x", lists(&[list(1), list(2), list(0)])), ("y", lists(&[list(1), list(3), list(0)]))];
    let expected = "column \"y\": expected a list of 2 entries, as in column \"x\", found 3 entries (feature s0.y, m.din:3:5); \
         help: the lists of sequence `visited` are aligned, entry by entry; independent lists are separate sequences";
    assert_eq!(fault(columns, &schema).2, format!("train.parquet: row 1, {expected}"));
    assert_eq!(csv_fault("x,y\n1,1\n1|1,1|1|1\n", &schema).2, format!("train.csv: line 3, {expected}"));
    // Also where the entries that are kept are equally many.
    schema.sequences[0].keep = Some(din_program::schema::Keep { last: true, count: 1 });
    assert_eq!(csv_fault("x,y\n1,1\n1|1,1|1|1\n", &schema).0, FaultKind::UnequalLength);
}

#[test]
fn files_that_are_none() {
    let schema = one(INT, None);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let kind = |name: &str, bytes: &[u8]| {
        std::fs::write(path(name), bytes).unwrap();
        let error = whole(&path(name), &schema).unwrap_err();
        assert!(error.help.is_some() && error.file == path(name));
        error.kind
    };
    assert_eq!(whole(&path("none.parquet"), &schema).unwrap_err().kind, FaultKind::NotFound);
    assert_eq!(whole(directory.path(), &schema).unwrap_err().kind, FaultKind::NotFound);
    assert_eq!(kind("a.parquet", b""), FaultKind::EmptyFile);
    assert_eq!(kind("a.csv", b""), FaultKind::EmptyFile);
    assert_eq!(kind("a.csv", b"x,y\n"), FaultKind::NoRows);
    assert_eq!(kind("b.parquet", b"PAR1"), FaultKind::Damaged);
    assert_eq!(kind("b.parquet", b"not parquet at all"), FaultKind::Format);
    assert_eq!(kind("a.csv.gz", &[0x1f, 0x8b, 8, 0]), FaultKind::Format);
    assert_eq!(kind("a.bin", b"x,y\n1,2\n"), FaultKind::Format);
    assert_eq!(kind("c.csv", b"x,y\n1,2\n1,2,3\n"), FaultKind::FieldCount);
    std::fs::write(path("c.csv"), "x,y\n1,2\n\"1\n2\",2\n3\n").unwrap();
    assert_eq!(whole(&path("c.csv"), &schema).unwrap_err().location, Some(Location::Line(5)));
    let (_other, empty) = file(vec![("x", ints(&[]))]);
    assert_eq!(whole(&empty, &schema).unwrap_err().kind, FaultKind::NoRows);
    // One empty part among others is fine.
    let (_third, full) = file(vec![("x", ints(&[1]))]);
    assert_eq!(Dataset::open(&[&empty, &full], &schema, ReadMode::Train).unwrap().rows(), 1);
}

#[test]
fn a_fault_in_a_later_row_group_counts_rows_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let good = RecordBatch::try_from_iter([("x", ints(&[1; 9_000]))]).unwrap();
    let mut values = vec![1; 9_000];
    values[8_765] = 12;
    let bad = RecordBatch::try_from_iter([("x", ints(&values))]).unwrap();
    write(&path, &[good, bad], 5_000);
    let schema = one(FeatureKind::Fixed { size: 10, clip: false }, None);
    assert_eq!(whole(&path, &schema).unwrap_err().location, Some(Location::Row(17_765)));
    let shuffled = din_runtime::data::StreamOptions {
        window_rows: 1_234,
        ..din_runtime::data::StreamOptions::new(100, din_runtime::data::Order::Shuffled { seed: 3, epoch: 1 })
    };
    assert_eq!(read(&[&path], &schema, ReadMode::Train, shuffled).unwrap_err().location, Some(Location::Row(17_765)));
    // Of several faults that of the first row in reading order, and of its first column, however
    // many threads read.
    values[5_001] = 13;
    let columns = [("y", ints(&values)), ("x", ints(&values))];
    write(&path, &[RecordBatch::try_from_iter(columns).unwrap()], 1_000);
    let fixed = FeatureKind::Fixed { size: 10, clip: false };
    let schema = Schema { features: vec![feature("y", fixed.clone(), None), feature("x", fixed, None)], ..schema };
    let fault = |threads| {
        let options = din_runtime::data::StreamOptions {
            threads,
            ..din_runtime::data::StreamOptions::new(2_000, din_runtime::data::Order::File)
        };
        read(&[&path], &schema, ReadMode::Train, options).unwrap_err()
    };
    assert_eq!((fault(1).location, fault(1).column.as_deref()), (Some(Location::Row(5_001)), Some("y")));
    for threads in [2, 8] {
        assert_eq!(fault(1).to_string(), fault(threads).to_string());
    }
}
