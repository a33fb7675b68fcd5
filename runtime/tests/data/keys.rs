//! Keys and labels on their way through prediction: type, sign, nulls, files that disagree.

use super::support::*;
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, NullArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow_cast::display::array_value_to_string;
use arrow_schema::{DataType, TimeUnit};
use arrow_select::concat::concat;
use din_program::schema::{KeyType, Requests, Schema};
use din_runtime::data::{DataError, Dataset, FaultKind, Location, Order, ReadMode, StreamOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Key `id` of integers, labels `click` and `bought`.
fn schema() -> Schema {
    Schema {
        keys: vec![key("id", KeyType::Int64)],
        labels: vec![label("click", None), label("bought", None)],
        ..Schema::default()
    }
}

fn parquet(folder: &TempDir, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let path = folder.path().join(name);
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    write(&path, &[RecordBatch::try_from_iter_with_nullable(columns).unwrap()], 3);
    path
}

fn csv(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Columns of the output that are passed through: name, type, values. In batches of two rows.
fn passed(paths: &[PathBuf]) -> Result<Vec<(String, DataType, ArrayRef)>, DataError> {
    passed_by(paths, &schema())
}

fn passed_by(paths: &[PathBuf], schema: &Schema) -> Result<Vec<(String, DataType, ArrayRef)>, DataError> {
    let data = Dataset::open(paths, schema, ReadMode::Predict)?;
    let batches = collect(&data, StreamOptions::new(2, Order::File))?;
    let carried: Vec<_> = batches.iter().flat_map(|b| &b.passthrough).collect();
    let columns = carried.len() / batches.len();
    let mut fields = data.passthrough();
    let mut passed = Vec::new();
    for column in 0..columns {
        let parts: Vec<_> = batches.iter().flat_map(|b| &b.passthrough[column]).map(|a| &**a).collect();
        if !parts.is_empty() {
            let field = fields.next().unwrap();
            let kind = field.data_type().clone();
            passed.push((field.name().clone(), kind, concat(&parts).unwrap()));
        }
    }
    assert!(fields.next().is_none());
    Ok(passed)
}

fn one(paths: &[PathBuf], name: &str) -> (DataType, ArrayRef) {
    let passed = passed(paths).unwrap();
    let (_, kind, values) = passed.into_iter().find(|(n, ..)| n == name).unwrap();
    (kind, values)
}

#[test]
fn times_in_utc_can_be_written_as_text() {
    let folder = TempDir::new().unwrap();
    let times = TimestampMicrosecondArray::from(vec![0, 1_700_000_000_000_000]).with_timezone("UTC");
    let path = parquet(&folder, "a.parquet", vec![("id", ids(vec![1, 2])), ("click", Arc::new(times))]);
    let (kind, values) = one(&[path], "click");
    assert_eq!(kind, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())));
    let texts: Vec<String> = (0..2).map(|i| array_value_to_string(&values, i).unwrap()).collect();
    assert_eq!(texts, ["1970-01-01T00:00:00Z", "2023-11-14T22:13:20Z"]);
}

fn ids(values: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn unsigned(values: Vec<u64>) -> ArrayRef {
    Arc::new(UInt64Array::from(values))
}

const LARGE: u64 = 1 << 63;

#[test]
fn an_unsigned_key_stays_unsigned() {
    let folder = TempDir::new().unwrap();
    let values = vec![0, LARGE - 1, LARGE, u64::MAX, 7];
    let file = parquet(&folder, "a.parquet", vec![("id", unsigned(values.clone()))]);
    let text = format!("id\n0\n{}\n{LARGE}\n{}\n7\n", LARGE - 1, u64::MAX);
    for path in [file, csv(&folder, "a.csv", &text)] {
        let (kind, found) = one(&[path], "id");
        assert_eq!(kind, DataType::UInt64);
        assert_eq!(found.as_primitive::<UInt64Type>().values(), &values[..]);
    }
}

#[test]
fn a_key_with_a_sign_keeps_it() {
    let folder = TempDir::new().unwrap();
    let values = ids(vec![i64::MIN, -1, 0, i64::MAX]);
    let file = parquet(&folder, "a.parquet", vec![("id", values.clone())]);
    let text = format!("id\n{}\n-1\n0\n{}\n", i64::MIN, i64::MAX);
    for path in [file, csv(&folder, "a.csv", &text)] {
        assert_eq!(one(&[path], "id"), (DataType::Int64, values.clone()));
    }
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![-3, 5]));
    let file = parquet(&folder, "b.parquet", vec![("id", narrow.clone())]);
    assert_eq!(one(&[file], "id"), (DataType::Int32, narrow));
}

#[test]
fn no_type_holds_a_negative_key_and_one_of_more_than_63_bits() {
    let folder = TempDir::new().unwrap();
    let file = csv(&folder, "a.csv", &format!("id\n-1\n{LARGE}\n"));
    let error = passed(&[file]).unwrap_err();
    assert_eq!((error.kind, error.location), (FaultKind::BadValue, Some(Location::Line(3))));
    assert!(error.to_string().contains("expected an integer from -2^63 to 2^63 - 1"), "{error}");

    let signed = parquet(&folder, "b.parquet", vec![("id", ids(vec![5, -6]))]);
    let other = parquet(&folder, "c.parquet", vec![("id", unsigned(vec![LARGE]))]);
    for paths in [[signed.clone(), other.clone()], [other, signed.clone()]] {
        let error = passed(&paths).unwrap_err();
        let at = (error.kind, &error.file, error.location, error.found.as_str());
        assert_eq!(at, (FaultKind::WrongType, &signed, Some(Location::Row(1)), "-6"));
    }
}

#[test]
fn files_of_both_signs_are_joined_where_no_key_is_negative() {
    let folder = TempDir::new().unwrap();
    let paths = [
        parquet(&folder, "a.parquet", vec![("id", ids(vec![5, 6]))]),
        parquet(&folder, "b.parquet", vec![("id", unsigned(vec![LARGE]))]),
        csv(&folder, "c.csv", "id\n7\n"),
    ];
    assert_eq!(one(&paths, "id"), (DataType::UInt64, unsigned(vec![5, 6, LARGE, 7])));
}

#[test]
fn a_key_is_never_null() {
    let folder = TempDir::new().unwrap();
    let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), None]));
    let error = passed(&[parquet(&folder, "a.parquet", vec![("id", column)])]).unwrap_err();
    assert_eq!((error.kind, error.location), (FaultKind::Null, Some(Location::Row(3))));
    let error = passed(&[csv(&folder, "a.csv", "id,click\n1,1\n,1\n")]).unwrap_err();
    assert_eq!((error.kind, error.location), (FaultKind::Null, Some(Location::Line(3))));
    let strings: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let error = passed(&[parquet(&folder, "b.parquet", vec![("id", strings)])]).unwrap_err();
    assert_eq!(error.kind, FaultKind::WrongType);
    assert!(error.to_string().contains("declare the key `string`"), "{error}");
}

#[test]
fn labels_of_any_values_come_out_as_they_are() {
    let folder = TempDir::new().unwrap();
    let columns: [ArrayRef; 6] = [
        Arc::new(Int64Array::from(vec![Some(1), None, Some(-1)])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(Float64Array::from(vec![Some(0.1), None, Some(f64::INFINITY)])),
        Arc::new(StringArray::from(vec![Some("yes"), Some(""), None])),
        Arc::new(Int32Array::from(vec![None, None, None])),
        Arc::new(NullArray::new(3)),
    ];
    for (k, column) in columns.into_iter().enumerate() {
        let kind = column.data_type().clone();
        let given = vec![("id", ids(vec![1, 2, 3])), ("click", column.clone())];
        let file = parquet(&folder, &format!("{k}.parquet"), given);
        let passed = passed(&[file]).unwrap();
        let names: Vec<&str> = passed.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["id", "click"], "the label that the data have");
        // Parquet has a type for columns of nulls of its own.
        assert_eq!((&passed[1].1, &passed[1].2), (&kind, &column));
    }
}

#[test]
fn labels_of_text_files_have_the_type_of_their_values() {
    let folder = TempDir::new().unwrap();
    let (long, wide) = ("1".repeat(50), "9007199254740993");
    let mixed = format!("{wide}\n0.5");
    let cases: [(&str, ArrayRef); 11] = [
        (&long, Arc::new(StringArray::from(vec![&*long]))),
        (wide, ids(vec![(1 << 53) + 1])),
        (&mixed, Arc::new(StringArray::from(vec![wide, "0.5"]))),
        ("1\n-1\n\"\"", Arc::new(Int64Array::from(vec![Some(1), Some(-1), None]))),
        ("TRUE\n\"\"\nfalse", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("0.5\n1\nNaN", Arc::new(Float64Array::from(vec![0.5, 1.0, f64::NAN]))),
        ("\"\"\n\"\"", Arc::new(NullArray::new(2))),
        ("yes\n1\ntrue", Arc::new(StringArray::from(vec!["yes", "1", "true"]))),
        ("18446744073709551615\n0", unsigned(vec![u64::MAX, 0])),
        ("18446744073709551615\n-1", Arc::new(StringArray::from(vec!["18446744073709551615", "-1"]))),
        ("-99999999999999999999", Arc::new(StringArray::from(vec!["-99999999999999999999"]))),
    ];
    for (k, (text, expected)) in cases.into_iter().enumerate() {
        let rows: String = text.lines().map(|value| format!("1,{value}\n")).collect();
        let file = csv(&folder, &format!("{k}.csv"), &format!("id,click\n{rows}"));
        let (kind, found) = one(&[file], "click");
        assert_eq!((&kind, &found), (expected.data_type(), &expected), "{text}");
    }
}

#[test]
fn a_file_without_a_label_has_nulls_where_another_has_it() {
    let folder = TempDir::new().unwrap();
    let paths = [
        parquet(&folder, "a.parquet", vec![("id", ids(vec![1, 2]))]),
        parquet(&folder, "b.parquet", vec![("id", ids(vec![3])), ("click", ids(vec![1]))]),
        csv(&folder, "c.csv", "id\n4\n"),
    ];
    let expected: ArrayRef = Arc::new(Int64Array::from(vec![None, None, Some(1), None]));
    assert_eq!(one(&paths, "click"), (DataType::Int64, expected));
}

#[test]
fn labels_of_files_that_disagree_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None]));
    let file = |name: &str, click: ArrayRef| {
        let rows = (0..click.len() as i64).collect();
        parquet(&folder, name, vec![("id", ids(rows)), ("click", click)])
    };
    let floats = file("floats.parquet", floats);
    let small = file("small.parquet", ids(vec![-1]));
    let expected: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-1.0)]));
    assert_eq!(one(&[floats.clone(), small.clone()], "click"), (DataType::Float64, expected));
    // 2^53 + 1 lies between two numbers of 64 bits.
    let large = file("large.parquet", ids(vec![0, (1 << 53) + 1]));
    let error = passed(&[floats, large.clone()]).unwrap_err();
    assert_eq!((&error.file, error.location), (&large, Some(Location::Row(1))));
    assert_eq!(error.found, "9007199254740993");
    let words = csv(&folder, "words.csv", "id,click\n1,yes\n");
    let expected: ArrayRef = Arc::new(StringArray::from(vec!["-1", "yes"]));
    assert_eq!(one(&[small, words], "click"), (DataType::Utf8, expected));
}

#[test]
fn the_key_of_requests_is_passed_through_too() {
    let folder = TempDir::new().unwrap();
    let schema = Schema { requests: Some(Requests { key: 0, location: "m.din:4:5".into() }), ..schema() };
    let keys = unsigned(vec![LARGE, LARGE, 1, 1, 1, u64::MAX]);
    let file = parquet(&folder, "a.parquet", vec![("id", keys.clone())]);
    let data = Dataset::open(&[&file], &schema, ReadMode::Predict).unwrap();
    let mut stream = data.stream(StreamOptions::new(100, Order::File)).unwrap();
    let batch = stream.next().unwrap().unwrap();
    let parts: Vec<_> = batch.passthrough[0].iter().map(|array| &**array).collect();
    assert_eq!(&concat(&parts).unwrap(), &keys);
    // The second request goes over the end of a row group, of three rows.
    assert_eq!(batch.requests, [0, 2, 3, 5, 6]);
}

#[test]
fn evaluation_takes_keys_of_64_bits_from_text_too() {
    let folder = TempDir::new().unwrap();
    let file = csv(&folder, "a.csv", &format!("id,click,bought\n{},1,0\n", u64::MAX));
    let batch = whole(Path::new(&file), &schema()).unwrap();
    assert_eq!(integers(&batch.keys[0]), [-1], "the same 64 bits as of a Parquet column");
    let wrong = csv(&folder, "b.csv", "id,click,bought\n18446744073709551616,1,0\n");
    let error = whole(&wrong, &schema()).unwrap_err();
    assert!(error.to_string().contains("an integer from -2^63 to 2^64 - 1"), "{error}");
}
