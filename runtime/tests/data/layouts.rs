//! One table in many layouts that pyarrow wrote (`fixtures/make_layouts.py`): page sizes and
//! versions, encodings, dictionaries that end on the way, how lists are declared. All are read as
//! the same table in CSV is.

use super::support::*;
use din_program::schema::{FeatureKind, KeyType, Schema};
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use std::path::PathBuf;

fn layouts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/data/fixtures/layouts")
}

fn table() -> Schema {
    let number = || FeatureKind::Dense { width: 1 };
    Schema {
        features: vec![
            feature("wide", INT, Some(0)),
            feature("few", INT, Some(0)),
            feature("single", number(), Some(0)),
            feature("double", number(), Some(0)),
            feature("words", STRING, Some(0)),
            feature("id", INT, None),
            feature("name", STRING, None),
        ],
        sequences: vec![sequence("visited", None)],
        labels: vec![label("click", Some(-1.0))],
        keys: vec![key("id", KeyType::Int64)],
        ..Schema::default()
    }
}

#[test]
fn all_layouts_are_one_table() {
    let schema = table();
    let expected = whole(&layouts().join("table.csv"), &schema).unwrap();
    assert_eq!(expected.offsets[0].windows(2).map(|pair| pair[1] - pair[0]).max(), Some(200));
    let mut files: Vec<PathBuf> = layouts().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    assert_eq!(files.len(), 16);
    for path in &files {
        assert_eq!(whole(path, &schema).unwrap(), expected, "{}", path.display());
        // Reading that begins inside of row groups and pages.
        let data = Dataset::open(&[path], &schema, ReadMode::Evaluate).unwrap();
        let batches = collect(&data, StreamOptions::new(11, Order::File)).unwrap();
        for skip in 1..batches.len() {
            let options = StreamOptions { skip: skip as u64, ..StreamOptions::new(11, Order::File) };
            assert_eq!(collect(&data, options).unwrap(), batches[skip..], "{} from {skip}", path.display());
        }
    }
}
