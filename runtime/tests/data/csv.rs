//! CSV as text: quotes, line ends, line numbers, and what is no CSV.

use super::support::*;
use din_program::schema::{FeatureSource, KeyType, Schema};
use din_runtime::data::{DataError, Dataset, FaultKind, Location, Order, ReadMode, StreamOptions, string_id};
use std::path::PathBuf;

/// An integer `id` and a text `t`, the key.
fn schema() -> Schema {
    Schema {
        features: vec![feature("id", INT, None), feature("t", STRING, None)],
        keys: vec![key("t", KeyType::String)],
        ..Schema::default()
    }
}

fn written(name: &str, text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

/// The texts of column `t`.
fn texts(csv: &str) -> Vec<String> {
    let (_directory, path) = written("a.csv", csv);
    let batch = whole(&path, &schema()).unwrap_or_else(|e| panic!("{csv:?}: {e}"));
    let texts = strings(&batch.keys[0]).to_vec();
    assert!(batch.ids[1].iter().zip(&texts).all(|(&id, text)| id == string_id(text)));
    texts
}

fn fault(csv: impl AsRef<[u8]>) -> DataError {
    let (_directory, path) = written("a.csv", csv);
    let error = whole(&path, &schema()).unwrap_err();
    assert_eq!(error.file, path);
    assert!(error.help.is_some(), "{error}");
    error
}

/// Without the file.
fn said(csv: impl AsRef<[u8]>) -> String {
    let error = fault(csv);
    error.to_string().split_once("a.csv: ").unwrap().1.to_string()
}

#[test]
fn quoted_fields() {
    assert_eq!(texts("id,t\n1,a\n2,\"b\"\n"), ["a", "b"]);
    assert_eq!(texts("\"id\",\"t\"\n\"1\",\"a \"\"5\"\"\"\n"), ["a \"5\""]);
    assert_eq!(texts("id,t\n1,\"a,b\"\n2,\"\"\"\"\n"), ["a,b", "\""]);
    assert_eq!(texts("id,t\n1,\"a\r\nb\nc\rd\"\n2,e"), ["a\r\nb\nc\rd", "e"]);
    assert_eq!(texts("t,id\n\"a\",1\n\"\\\",2"), ["a", "\\"], "a backslash is a character as others are");
    assert_eq!(texts("\u{feff}\"id\",t\n1,a\n"), ["a"], "quotes behind a byte order mark");
}

/// Without strict quotes: one row, whose text is the rest of the file.
#[test]
fn a_quote_that_is_never_closed() {
    let rest: String = (3..30_000).map(|i| format!("{i},text {i}\n")).collect();
    let error = fault(format!("id,t\n1,a\n2,\"5 inch\n{rest}"));
    assert_eq!((error.kind, error.location), (FaultKind::Malformed, Some(Location::Line(3))));
    assert_eq!(
        said("id,t\n1,a\n2,\"5 inch\n3,b\n"),
        "line 3, column \"t\": expected a quote that closes the field, found none to the end of the file; \
         help: where a value contains a quote, write it twice and quote the whole field: `\"5\"\" disk\"`"
    );
    assert_eq!(fault("id,t\n1,\"").location, Some(Location::Line(2)));
    // Behind line breaks inside fields, in the header, and in a column that is not read.
    assert_eq!(fault("id,t\n1,\"a\n\nb\"\n2,\"c\n").location, Some(Location::Line(5)));
    assert_eq!(fault("id,\"t\n1,a\n").location, Some(Location::Line(1)));
    let unread = fault("id,t,more\n1,a,b\n2,a,\"b\n");
    assert_eq!((unread.location, unread.column.as_deref()), (Some(Location::Line(3)), Some("more")));
}

#[test]
fn text_behind_a_closing_quote() {
    assert_eq!(
        said("id,t\n1,\"s1\"x\n"),
        "line 2, column \"t\": expected `,` or the end of the line after the closing quote, found `x`; \
         help: where a value contains a quote, write it twice and quote the whole field: `\"5\"\" disk\"`"
    );
    // Two stray quotes, with rows between them: both lines are named.
    let merged = said("id,t\n1,\"a 5 inch\n2,b\n3,\"c\n4,d\n");
    assert!(
        merged.starts_with("line 2, column \"t\": expected `,` or the end of the line after the quote"),
        "{merged}"
    );
    assert!(merged.contains("that closes the field in line 4, found `c`"), "{merged}");
    assert_eq!(fault("t,id\n\"s\\\"1\",1\n").kind, FaultKind::Malformed, "a backslash escapes nothing");
    assert_eq!(fault("id,t\n1,\"a\" \n").kind, FaultKind::Malformed);
}

#[test]
fn a_quote_inside_an_unquoted_field() {
    assert_eq!(
        said("id,t\n1,a\n2,5\" disk\n"),
        "line 3, column \"t\": expected an unquoted field without quotes, found a quote after `5`; \
         help: where a value contains a quote, write it twice and quote the whole field: `\"5\"\" disk\"`"
    );
    assert_eq!(
        said("id,t\n1, \"s1\"\n"),
        "line 2, column \"t\": expected a quote only where a field begins, found space before a quote; \
         help: take the space out, so that the field begins with its quote"
    );
}

/// The line on which the record of a fault begins, however lines end.
#[test]
fn lines_are_counted() {
    for end in ["\n", "\r\n", "\r"] {
        let lines = |lines: &[&str]| lines.join(end);
        let line = |text: String| fault(text).location;
        assert_eq!(line(lines(&["id,t", "1,a", "2,b", "x,c", "3,d", ""])), Some(Location::Line(4)), "{end:?}");
        assert_eq!(line(lines(&["id,t", "", "", "x,a"])), Some(Location::Line(4)), "blank lines, {end:?}");
        assert_eq!(line(lines(&["", "id,t", "x,a"])), Some(Location::Line(3)), "{end:?}");
        assert_eq!(line(lines(&["id,t", "1,\"a", "", "b\"", "x,c"])), Some(Location::Line(5)), "quoted, {end:?}");
        assert_eq!(line(lines(&["id,t", "1,a", "x,\"a", "b\""])), Some(Location::Line(3)), "its first line, {end:?}");
        assert_eq!(line(lines(&["id,t", "1,a", "", "2"])), Some(Location::Line(4)), "{end:?}");
        assert_eq!(texts(&lines(&["id,t", "1,a", "", "2,b", ""])), ["a", "b"]);
    }
    assert_eq!(texts("id,t\n1,a\r\n2,b\n"), ["a", "b"], "LF and CRLF in one file");
    // In later blocks too, which are read from their own beginning.
    let rows: String = (0..40_000).map(|i| format!("{i},\"a\r\nb\"\r\n")).collect();
    assert_eq!(fault(format!("id,t\r\n{rows}x,c\r\n")).location, Some(Location::Line(80_002)));
}

#[test]
fn a_lone_carriage_return() {
    assert_eq!(
        said("id,t\n1,a\n2,b\rc\n"),
        "line 3, column \"t\": expected lines that end with LF or CRLF, as the first one does, found a CR alone; \
         help: take it out, or quote the field that contains it"
    );
    assert_eq!(texts("id,t\n1,\"b\rc\"\n"), ["b\rc"]);
    // The first line of the file decides, not the first that a reader of rows comes to.
    assert_eq!(texts("id,t\r1,a\n2,b\r"), ["a", "b"]);
}

/// Fields, records and `\r\n` that lie across the ends of the reader's buffer.
#[test]
fn records_of_every_length() {
    for length in (262_100..262_160).chain([600_000]) {
        let long = "a".repeat(length);
        let csv = format!("id,t\r\n1,{long}\r\n2,\"{long}\"\"\r\nx\"\r\n3,c\r\n");
        // Not shown where they differ: they are long.
        assert!(texts(&csv) == [long.clone(), format!("{long}\"\r\nx"), "c".into()], "{length}");
    }
}

/// Any texts, written by the rules, come back.
#[test]
fn what_is_quoted_comes_back() {
    use proptest::prelude::*;
    let text = proptest::collection::vec(prop_oneof!["[a-c\",\n\r]", "é"], 1..6).prop_map(|parts| parts.concat());
    let rows = proptest::collection::vec((text, any::<bool>()), 1..20);
    proptest!(ProptestConfig::with_cases(100), |(rows in rows, end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")])| {
        // Values are trimmed, and an empty one is none.
        let rows: Vec<(String, bool)> = rows.into_iter().map(|(text, quote)| (format!("x{text}x"), quote)).collect();
        let mut csv = format!("id,t{end}");
        for (i, (text, quote)) in rows.iter().enumerate() {
            let plain = !quote && !text.contains([',', '"', '\n', '\r']);
            let field = if plain { text.clone() } else { format!("\"{}\"", text.replace('"', "\"\"")) };
            csv += &format!("{i},{field}{end}");
        }
        let expected: Vec<String> = rows.into_iter().map(|(text, _)| text).collect();
        prop_assert_eq!(texts(&csv), expected);
    });
}

#[test]
fn records_with_other_numbers_of_fields() {
    let help = |csv: &str| {
        let error = fault(csv);
        assert_eq!((error.kind, error.location), (FaultKind::FieldCount, Some(Location::Line(3))));
        error.help.clone().unwrap()
    };
    let fewer = "take the line out if it is a comment or a total; if the record is cut short, write it again";
    assert_eq!(help("id,t\n1,a\n(1 row)\n"), fewer);
    assert_eq!(help("id,t\n1,a\n# comment\n2,b\n"), fewer);
    assert_eq!(help("id,t\n1,a\n2,b,c\n"), "quote fields that contain `,`");
    assert_eq!(
        help("t,id\na,1\n\"b,2\nc\",3,4\n"),
        "a quoted field goes on to line 4: close it where it ends, and write quotes inside it twice"
    );
    let (_directory, path) = written("a.tsv", "id\tt\n1\ta\n2\tb\tc\n");
    assert_eq!(whole(&path, &schema()).unwrap_err().help.as_deref(), Some("quote fields that contain a tab"));
}

#[test]
fn another_delimiter() {
    assert_eq!(
        said("id;t\n1;a\n"),
        "line 1: expected columns separated by `,`, as the file's name says, found a header of one field with `;` in it; \
         help: write the file with `,` between the columns"
    );
    let help = |name: &str, text: &str| {
        let (_directory, path) = written(name, text);
        let error = whole(&path, &schema()).unwrap_err();
        assert_eq!(error.kind, FaultKind::Format, "{error}");
        error.help.clone().unwrap()
    };
    assert_eq!(help("a.txt", "id\tt\n1\ta\n"), "give the file the ending .tsv if tabs separate its columns");
    assert_eq!(help("a.tsv", "id,t\n1,a\n"), "give the file the ending .csv if commas separate its columns");
    assert_eq!(help("a.tsv", "id|t\n1|a\n"), "write the file with a tab between the columns");
    // Quotes do not hide it, in the header or behind it.
    let semicolons = "write the file with `,` between the columns";
    assert_eq!(help("a.csv", "id;t\n1;\"a\"\n"), semicolons);
    assert_eq!(fault("\"id\";\"t\"\n1;a\n").help.as_deref(), Some(semicolons));
    assert_eq!(fault("\n\nid;t\n1;a\n").location, Some(Location::Line(3)));
    // A column may have such a name.
    let (_directory, path) = written("a.csv", "a;b\n7\n");
    let mut schema = Schema { features: vec![feature("x", INT, None)], ..Schema::default() };
    schema.features[0].source = FeatureSource::column("a;b");
    assert_eq!(whole(&path, &schema).unwrap().ids[0], [7]);
}

#[test]
fn text_that_is_no_utf8() {
    let error = fault(b"id,t\n1,a\n2,caf\xe9\n");
    assert_eq!((error.kind, error.location), (FaultKind::BadValue, Some(Location::Line(3))));
    assert_eq!((error.column.as_deref(), error.expected.as_str()), (Some("t"), "text in UTF-8"));
    assert_eq!(error.help.as_deref(), Some("save the file as UTF-8"));
    let header = fault(b"id,t,caf\xe9\n1,a,b\n");
    assert_eq!((header.kind, header.location), (FaultKind::BadValue, Some(Location::Line(1))));
    assert_eq!(header.help.as_deref(), Some("save the file as UTF-8"));
    // In a column that is not read it is not looked at.
    let (_directory, path) = written("a.csv", b"id,t,more\n1,a,caf\xe9\n");
    assert_eq!(whole(&path, &schema()).unwrap().rows, 1);
}

/// What is never closed, or never ends, is not held in memory.
#[test]
fn a_record_that_is_too_long() {
    for (text, line) in [("2,\"", 3), ("2,\"a\nb", 3), ("2,a", 3), ("2,\"a\nb\",", 4)] {
        let (_directory, path) = written("a.csv", format!("id,t\n1,{}\n{text}", "a".repeat(600)));
        // The rest are zero bytes, of which the disk holds none.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(70 << 20).unwrap();
        let error = whole(&path, &schema()).unwrap_err();
        assert_eq!((error.kind, error.location), (FaultKind::Malformed, Some(Location::Line(line))), "{error}");
        assert_eq!(error.expected, "a record of at most 64 MiB");
    }
}

/// First bytes as the formats' specifications have them.
#[test]
fn files_of_other_kinds() {
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend("id,t\n1,a\n".encode_utf16().flat_map(u16::to_le_bytes));
    let bare: Vec<u8> = "id,t\n1,a\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let kinds: &[(&[u8], &str)] = &[
        (&utf16, "text in UTF-16"),
        (&bare, "zero bytes, as of text in UTF-16 or a binary file"),
        (b"\xff\xfe\0\0i\0\0\0", "text in UTF-32"),
        (b"PK\x03\x04\x14\0\0\0", "a zip or Excel file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel file of an old version"),
        (b"ARROW1\0\0", "an Arrow IPC (Feather) file"),
        (b"ORC\x0a\x1c\x0a\x04\0", "an ORC file"),
        (b"Obj\x01\x04\x16avro.schema", "an Avro file"),
        (b"\x1f\x8b\x08\0\0\0", "a gzip file"),
        (b"\x28\xb5\x2f\xfd\x04\x58", "a zstd file"),
        (b"BZh91AY&SY\x12\x34", "a bzip2 file"),
        (b"\xfd7zXZ\0\0\x04", "an xz file"),
        (b"SQLite format 3\0\x10\0", "an SQLite database"),
        (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file"),
        (b"PARE\x15\0\x15", "an encrypted Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer in place of the file"),
        (b"<!DOCTYPE html>\n<p>", "an HTML page"),
        (b"\n <HTML><body>403", "an HTML page"),
        (b"<?xml version=\"1.0\"?>", "an XML file"),
        (b"{\"id\": 1, \"t\": \"a\"}\n", "JSON"),
        (b"[\n {\"id\": 1}]", "JSON"),
    ];
    for (bytes, found) in kinds {
        for name in ["a.csv", "a.tsv", "a.parquet", "a.bin", "a"] {
            let (_directory, path) = written(name, bytes);
            let error = whole(&path, &schema()).unwrap_err();
            assert_eq!(error.kind, FaultKind::Format, "{name}: {error}");
            assert!(error.help.is_some());
            // Without a magic number of its own it is known by its name.
            if !found.starts_with("zero") || name.ends_with("sv") {
                assert_eq!(error.found, *found, "{name}");
            }
        }
    }
    let (_directory, path) = written("a.parquet", "id,t\n1,a\n");
    assert_eq!(whole(&path, &schema()).unwrap_err().found, "a file that does not begin with PAR1");
    // By its first bytes, whatever its name.
    let (_other, parquet) = file(vec![("id", std::sync::Arc::new(arrow_array::Int64Array::from(vec![4])) as _)]);
    let schema = Schema { features: vec![feature("id", INT, None)], ..Schema::default() };
    for name in ["a.csv", "a", "000001_0"] {
        let path = parquet.with_file_name(name);
        std::fs::copy(&parquet, &path).unwrap();
        assert_eq!(whole(&path, &schema).unwrap().ids[0], [4]);
    }
    // Headers that begin as some of these do.
    for header in ["ORC", "BZhits", "PARE", "version https", "{a}", "<b>"] {
        let (_directory, path) = written("a.csv", format!("{header},id\n1,5\n"));
        assert_eq!(whole(&path, &schema).unwrap().ids[0], [5]);
    }
}

#[test]
fn blocks_agree_with_the_whole() {
    let (_directory, path) =
        written("a.csv", (0..20_000).fold("id,t\n".to_string(), |text, i| text + &format!("{i},\"t\n{i}\"\n\n")));
    let data = Dataset::open(&[&path], &schema(), ReadMode::Predict).unwrap();
    let batches = collect(&data, StreamOptions { skip: 170, ..StreamOptions::new(100, Order::File) }).unwrap();
    let ids: Vec<u64> = batches.iter().flat_map(|batch| batch.ids[0].clone()).collect();
    assert!(ids.into_iter().eq(17_000..20_000));
}
