//! Parquet as other programs write it: checksums, compression, encryption, annotated types, text
//! that is none; and a machine that fails.

use super::support::*;
use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use din_program::schema::{FeatureKind, Keep, KeyType, Schema};
use din_runtime::batch::Batch;
use din_runtime::data::{DataError, Dataset, FaultKind, Location, Order, ReadMode, StreamOptions, string_id};
use parquet::basic::Encoding;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const NUMBER: FeatureKind = FeatureKind::Dense { width: 1 };

/// Of the files in `fixtures`, which `make.py` there writes.
fn fixture_schema() -> Schema {
    Schema {
        features: vec![feature("item", INT, None), feature("tag", STRING, None), feature("items", INT, Some(0))],
        sequences: vec![sequence("visited", None)],
        ..Schema::default()
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/data/fixtures").join(name)
}

/// The error in one line, with the file's name instead of its path.
fn line(error: &DataError) -> String {
    let name = error.file.file_name().unwrap().to_string_lossy();
    error.to_string().replace(&*error.file.display().to_string(), &name)
}

#[test]
fn a_page_that_does_not_fit_its_checksum_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["checksums_v1.parquet", "checksums_v2.parquet"] {
        let path = directory.path().join(name);
        let bytes = std::fs::read(fixture(name)).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let sound = whole(&path, &fixture_schema()).unwrap();
        assert_eq!((sound.rows, sound.ids[0][59]), (60, 0x1122_3344_5566_003b));
        assert_eq!(sound.ids[1][59], string_id("tag-3"));
        assert_eq!(sound.ids[2][..6], [1, 2, 2, 3, 3, 3]);

        let flipped = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 16;
            std::fs::write(&path, bytes).unwrap();
            whole(&path, &fixture_schema())
        };
        let value = 0x1122_3344_5566_0011u64.to_le_bytes();
        let at = bytes.windows(8).position(|window| window == value).expect("plain and not compressed");
        assert_eq!(
            line(&flipped(at).unwrap_err()),
            format!(
                "{name}: row 0, column \"item\": expected readable values, found a page that does not fit its checksum \
                 (feature ad.item, m.din:3:5); help: the file is cut short or altered: write or copy it again"
            )
        );
        // Pages of data and dictionaries alike: no flip goes by unseen that changes a row.
        let footer = u32::from_le_bytes(*bytes[bytes.len() - 8..].first_chunk().unwrap()) as usize;
        let (mut by_checksum, mut columns) = (0, Vec::new());
        for at in (4..bytes.len() - 8 - footer).step_by(5) {
            match flipped(at) {
                Ok(batch) => assert!(batch == sound, "{name}: flip at {at}"),
                Err(error) => {
                    assert_eq!(error.kind, FaultKind::Damaged, "{name}: flip at {at}: {error}");
                    by_checksum += usize::from(error.found.contains("checksum"));
                    columns.extend(error.column.clone());
                }
            }
        }
        columns.dedup();
        assert_eq!(columns, ["item", "tag", "items"]);
        assert!(by_checksum > 100, "{name}: {by_checksum}");
    }
}

#[test]
fn compression_and_encryption_are_seen_before_a_row_is_read() {
    let open =
        |name: &str, schema: &Schema| Dataset::open(&[fixture(name)], schema, ReadMode::Predict).map(|d| d.rows());
    let refused = |name| {
        let error = open(name, &fixture_schema()).unwrap_err();
        assert_eq!(error.kind, FaultKind::Format);
        line(&error)
    };
    assert_eq!(
        refused("brotli.parquet"),
        "brotli.parquet: column \"tag\": expected a column compressed with zstd, snappy, gzip or LZ4, or not compressed, \
         found one compressed with Brotli (feature ad.tag, m.din:3:5); help: write the file with zstd or snappy"
    );
    assert_eq!(
        refused("encrypted_column.parquet"),
        "encrypted_column.parquet: column \"tag\": expected a column that is not encrypted, found an encrypted one \
         (feature ad.tag, m.din:3:5); help: decrypt the file with the program that wrote it"
    );
    assert_eq!(
        refused("encrypted_footer.parquet"),
        "encrypted_footer.parquet: expected a Parquet file, as its name says, found an encrypted Parquet file; \
         help: write it without encryption"
    );
    // The other columns are read.
    let mut schema = fixture_schema();
    schema.features.remove(1);
    for name in ["brotli.parquet", "encrypted_column.parquet"] {
        assert_eq!(whole(&fixture(name), &schema).unwrap().ids[0][1], 0x1122_3344_5566_0001, "{name}");
    }
}

/// A file of one row whose columns are those of a message type: nulls, and 0 where there is none.
fn described(columns: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let schema = parse_message_type(&format!("message m {{ {columns} }}")).unwrap();
    let file = File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    while let Some(mut column) = group.next_column().unwrap() {
        macro_rules! write {
            ($($kind:ident),*) => {
                match column.untyped() {
                    ColumnWriter::Int64ColumnWriter(typed) if typed.get_descriptor().max_def_level() == 0 => {
                        typed.write_batch(&[0], None, None)
                    }
                    $(ColumnWriter::$kind(typed) => typed.write_batch(&[], Some(&[0]), Some(&[0])),)*
                }
            };
        }
        write!(
            BoolColumnWriter,
            Int32ColumnWriter,
            Int64ColumnWriter,
            Int96ColumnWriter,
            FloatColumnWriter,
            DoubleColumnWriter,
            ByteArrayColumnWriter,
            FixedLenByteArrayColumnWriter
        )
        .unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    (directory, path)
}

#[test]
fn types_that_are_not_read_are_said_with_a_way_out() {
    let scalar = |kind: FeatureKind| Schema { features: vec![feature("x", kind, None)], ..Schema::default() };
    let list = |kind: FeatureKind| Schema {
        features: vec![feature("x", kind, Some(0))],
        sequences: vec![sequence("visited", None)],
        ..Schema::default()
    };
    let fault = |column: &str, schema: &Schema| {
        let (_directory, path) = described(column);
        let error = Dataset::open(&[&path], schema, ReadMode::Train).unwrap_err();
        assert_eq!(error.kind, FaultKind::WrongType, "{error}");
        format!("{}, found {}; {}", error.expected, error.found, error.help.clone().unwrap())
    };
    let fixed = FeatureKind::Fixed { size: 9, clip: false };
    let vector = FeatureKind::Dense { width: 3 };
    let lists = |item: &str| format!("optional group x (LIST) {{ repeated group list {{ {item} }} }}");
    let nested = lists("optional group element (LIST) { repeated group list { optional int64 element; } }");
    let map =
        "optional group x (MAP) { repeated group key_value { required binary key (STRING); optional int64 value; } }";
    let cases: &[(&str, Schema, &str)] = &[
        (
            "optional int64 x (DECIMAL(12, 2));",
            scalar(NUMBER),
            "numbers, found decimals (12 digits, 2 of them behind the point); \
             cast the column: `CAST(x AS DOUBLE)` in SQL, `.astype(\"float64\")` in pandas",
        ),
        (
            &lists("optional binary element (DECIMAL(30, 0));"),
            list(INT),
            "lists of integers, found lists of decimals (30 digits, 0 of them behind the point); \
             cast the column: `CAST(x AS BIGINT[])` in SQL",
        ),
        (
            "optional int32 x (DATE);",
            scalar(INT),
            "integers, found dates; write an integer: `CAST(EXTRACT(EPOCH FROM x) AS BIGINT)` in SQL",
        ),
        (
            "optional int64 x (TIMESTAMP(MILLIS, true));",
            scalar(NUMBER),
            "numbers, found timestamps; \
             write a small number, such as the days since a fixed date: numbers are 32-bit floats",
        ),
        (
            "optional int96 x;",
            scalar(STRING),
            "strings, found timestamps; cast the column: `CAST(x AS VARCHAR)` in SQL, `.astype(\"str\")` in pandas",
        ),
        (
            "optional int64 x (TIME(MICROS, true));",
            scalar(fixed.clone()),
            "integers, found times of day; write an integer: `CAST(EXTRACT(EPOCH FROM x) AS BIGINT)` in SQL",
        ),
        (
            "optional fixed_len_byte_array (16) x (UUID);",
            scalar(STRING),
            "strings, found UUIDs; write the UUIDs as text: `CAST(x AS VARCHAR)` in SQL",
        ),
        (
            "optional fixed_len_byte_array (16) x (UUID);",
            scalar(INT),
            "integers, found UUIDs; write the UUIDs as text: `CAST(x AS VARCHAR)` in SQL, and declare it a string",
        ),
        (
            "optional fixed_len_byte_array (20) x;",
            scalar(STRING),
            "strings, found byte strings of 20 bytes; write the bytes as text: `hex(x)` in SQL",
        ),
        (
            "optional binary x (BSON);",
            scalar(STRING),
            "strings, found BSON documents; write the bytes as text: `hex(x)` in SQL",
        ),
        (
            "optional binary x (JSON);",
            scalar(NUMBER),
            "numbers, found JSON documents; \
             write the wanted value as a column of its own: `json_extract(x, '$.name')` in SQL",
        ),
        (
            "optional binary x (ENUM);",
            scalar(INT),
            "integers, found strings of an enum; declare the feature `category of string`",
        ),
        (
            "optional binary x;",
            scalar(INT),
            "integers, found bytes (not marked as strings); declare the feature `category of string`",
        ),
        (
            "optional double x;",
            scalar(STRING),
            "strings, found float64; cast the column: `CAST(x AS VARCHAR)` in SQL, `.astype(\"str\")` in pandas",
        ),
        (
            "optional boolean x;",
            scalar(NUMBER),
            "numbers, found booleans; cast the column: `CAST(x AS DOUBLE)` in SQL, `.astype(\"float64\")` in pandas",
        ),
        (
            "optional int32 x (UNKNOWN);",
            scalar(INT),
            "integers, found nothing but nulls; \
             the file gives the column no type: fill in values, or name another with `from`",
        ),
        (
            "optional group x { optional int64 a; optional binary b (STRING); }",
            scalar(INT),
            "integers, found structs; write the field that is wanted as a column of its own: `x.field AS field` in SQL",
        ),
        (
            map,
            list(INT),
            "lists of integers, found maps; \
             write keys and values as two list columns: `map_keys(x)`, `map_values(x)` in SQL",
        ),
        (
            &nested,
            list(INT),
            "lists of integers, found lists of lists of int64; write one list per row: `flatten(x)` in SQL",
        ),
        (
            &nested,
            scalar(vector),
            "lists of 3 numbers, found lists of lists of int64; write one list per row: `flatten(x)` in SQL",
        ),
        (
            "optional int64 x;",
            list(INT),
            "lists of integers, found int64; \
             the fields of a `sequence` are list columns; put a plain one under `features`",
        ),
    ];
    for (column, schema, expected) in cases {
        assert_eq!(fault(column, schema), *expected, "{column}");
    }
    // What nothing reads may have any type.
    let (_directory, path) = described(&format!("required int64 y; {}", map));
    let schema = Schema { features: vec![feature("y", INT, None)], ..Schema::default() };
    assert_eq!(Dataset::open(&[&path], &schema, ReadMode::Train).unwrap().rows(), 1);
}

/// A file with one required column `x` of bytes, as they are.
fn bytes(annotation: &str, encoding: Encoding, values: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let schema = Arc::new(parse_message_type(&format!("message m {{ required binary x {annotation}; }}")).unwrap());
    let properties = WriterProperties::builder();
    let properties = match encoding {
        Encoding::RLE_DICTIONARY => properties.set_dictionary_enabled(true),
        _ => properties.set_dictionary_enabled(false).set_encoding(encoding),
    };
    let file = File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let ColumnWriter::ByteArrayColumnWriter(typed) = column.untyped() else { panic!("a column of bytes") };
    let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(v.to_vec())).collect();
    typed.write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    (directory, path)
}

fn text_schema() -> Schema {
    let features = vec![feature("x", STRING, None)];
    Schema { features, keys: vec![key("x", KeyType::String)], ..Schema::default() }
}

const ENCODINGS: [Encoding; 4] =
    [Encoding::PLAIN, Encoding::RLE_DICTIONARY, Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY];

#[test]
fn text_is_utf8_in_every_encoding() {
    // Rows of two pieces. All bytes together are text: a character is cut between two rows.
    let mut cut: Vec<&[u8]> = vec!["naïve".as_bytes(); 5_000];
    cut[4_998] = b"x\xc3";
    cut[4_999] = b"\xa9y";
    let mut latin = cut.clone();
    latin[4_998] = b"caf\xe9";
    latin[4_999] = b"";
    let long = [b"\xff".as_slice(), &[b'a'; 60]].concat();
    for encoding in ENCODINGS {
        for annotation in ["", "(STRING)", "(JSON)", "(ENUM)"] {
            let fault = |values: &[&[u8]]| {
                let (_directory, path) = bytes(annotation, encoding, values);
                let error = whole(&path, &text_schema()).unwrap_err();
                assert_eq!((error.kind, error.location), (FaultKind::BadValue, Some(Location::Row(4_998))), "{error}");
                line(&error)
            };
            assert_eq!(
                fault(&latin),
                "a.parquet: row 4998, column \"x\": expected text in UTF-8, found the bytes `caf\\xe9` \
                 (feature ad.x, m.din:3:5); \
                 help: write the column as UTF-8; bytes that are no text, as hexadecimal digits",
                "{annotation} {encoding}"
            );
            assert!(fault(&cut).contains("found the bytes `x\\xc3`"), "{annotation} {encoding}");
            let (_directory, path) = bytes(annotation, encoding, &[b"", "é".as_bytes(), b"plain"]);
            let batch = whole(&path, &text_schema()).unwrap();
            assert_eq!(batch.ids[0], ["", "é", "plain"].map(string_id), "{annotation} {encoding}");
            assert_eq!(strings(&batch.keys[0]), ["", "é", "plain"]);
        }
        let (_directory, path) = bytes("(STRING)", encoding, &[b"a", &long]);
        let error = whole(&path, &text_schema()).unwrap_err();
        assert_eq!(error.found, format!("the bytes `\\xff{}…`", "a".repeat(39)));
    }
}

/// What is cut off by `keep` is not looked at, though the dictionary has it.
#[test]
fn text_that_is_not_read_may_be_anything() {
    let schema = Schema {
        features: vec![feature("x", STRING, Some(0))],
        sequences: vec![sequence("visited", Some(Keep { last: true, count: 1 }))],
        ..Schema::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    let message = "message m { required group x (LIST) { repeated group list { required binary element (UTF8); } } }";
    let file = File::create(&path).unwrap();
    let message = Arc::new(parse_message_type(message).unwrap());
    let mut writer = SerializedFileWriter::new(file, message, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values = [b"\xff".as_slice(), b"a", b"b"].map(|v| ByteArray::from(v.to_vec()));
    let ColumnWriter::ByteArrayColumnWriter(typed) = column.untyped() else { panic!("a column of bytes") };
    typed.write_batch(&values, Some(&[1, 1, 1]), Some(&[0, 1, 0])).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    assert_eq!(whole(&path, &schema).unwrap().ids[0], ["a", "b"].map(string_id));
}

#[test]
fn lists_of_no_type_are_empty() {
    use arrow_array::{ArrayRef, ListArray, NullArray};
    use arrow_buffer::OffsetBuffer;
    use arrow_schema::{DataType, Field};
    let lists = |lengths: &[usize]| -> ArrayRef {
        let item = Arc::new(Field::new("element", DataType::Null, true));
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        Arc::new(ListArray::new(item, offsets, Arc::new(NullArray::new(lengths.iter().sum())), None))
    };
    let schema = |kind| Schema {
        features: vec![feature("x", kind, Some(0))],
        sequences: vec![sequence("visited", None)],
        ..Schema::default()
    };
    for kind in [INT, STRING, NUMBER, FeatureKind::Fixed { size: 3, clip: false }, FeatureKind::Dense { width: 2 }] {
        let (_directory, path) = file(vec![("x", lists(&[0; 5_000]))]);
        let batch: Batch = whole(&path, &schema(kind)).unwrap();
        assert_eq!((batch.rows, batch.offsets[0].as_slice()), (5_000, [0; 5_001].as_slice()));
    }
    let (_directory, path) = file(vec![("x", lists(&[0, 0, 2]))]);
    let error = whole(&path, &schema(INT)).unwrap_err();
    assert_eq!((error.kind, error.location), (FaultKind::Null, Some(Location::Row(2))));
}

/// A directory in the file's place: it can be opened, and every read of it fails.
#[test]
fn a_failed_read_is_the_machines_fault() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[records(0..100)], 100);
    let data = Dataset::open(&[&path], &schema(), ReadMode::Evaluate).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = collect(&data, StreamOptions::new(10, Order::File)).unwrap_err();
    assert_eq!((error.kind, error.location, error.help.as_deref()), (FaultKind::Io, Some(Location::Row(0)), None));
    let line = line(&error);
    assert!(line.starts_with("a.parquet: row 0, column \"user\": cannot read "), "{line}");
    assert!(line.contains(" bytes at byte ") && line.ends_with("(os error 21)"), "{line}");
}

/// How much is in memory decides nothing about batches in file order.
#[test]
fn batches_in_file_order_do_not_depend_on_the_window() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[records(0..9_000)], 5_000);
    let data = Dataset::open(&[&path], &schema(), ReadMode::Evaluate).unwrap();
    let options = StreamOptions::new(1_000, Order::File);
    let expected = collect(&data, options).unwrap();
    let items: Vec<u64> = expected.iter().flat_map(|batch| batch.ids[0].clone()).collect();
    assert!(items.into_iter().eq(0..9_000));
    for (window_bytes, skip) in [(1, 0), (100_000, 0), (100_000, 3)] {
        let batches = collect(&data, StreamOptions { window_bytes, skip, ..options }).unwrap();
        assert!(batches == expected[skip as usize..], "{window_bytes} bytes, from batch {skip}");
    }
}

#[test]
fn batches_of_long_lists_are_bounded_by_bytes() {
    let entries = 1 << 20;
    let offsets = OffsetBuffer::from_lengths([entries; 4]);
    let item = Arc::new(Field::new("element", DataType::Int64, true));
    let lists = ListArray::new(item, offsets, Arc::new(Int64Array::from(vec![0; 4 * entries])), None);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[RecordBatch::try_from_iter([("items", Arc::new(lists) as ArrayRef)]).unwrap()], 4);
    let schema = Schema {
        features: vec![feature("items", INT, Some(0))],
        sequences: vec![sequence("visited", None)],
        ..Schema::default()
    };
    let data = Dataset::open(&[&path], &schema, ReadMode::Predict).unwrap();
    // Eight bytes an entry: a row takes 8 MiB and a little, and 64 MiB hold seven.
    assert_eq!(data.bounded_batch(1024), 7);
    assert_eq!(data.bounded_batch(3), 3);
}
