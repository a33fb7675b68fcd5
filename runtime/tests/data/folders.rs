//! What a path stands for: all of it is read, each file once, or it is an error.

use super::support::*;
use arrow_array::{Float64Array, Int64Array, NullArray, RecordBatch};
use din_program::schema::Schema;
use din_runtime::data::{DataError, Dataset, FaultKind, ReadMode};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn item() -> Schema {
    Schema { features: vec![feature("item", INT, None)], ..Schema::default() }
}

fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Dataset, DataError> {
    Dataset::open(paths, &item(), ReadMode::Train)
}

/// A folder with `a.parquet` of three rows and `b.csv` of two.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("d");
    std::fs::create_dir(&folder).unwrap();
    parquet(&folder.join("a.parquet"));
    std::fs::write(folder.join("b.csv"), "item\n4\n5\n").unwrap();
    (directory, folder)
}

fn parquet(path: &Path) {
    let column: arrow_array::ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    write(path, &[RecordBatch::try_from_iter([("item", column)]).unwrap()], 10);
}

#[test]
fn hidden_names_and_documentation_are_left_out() {
    let (_directory, folder) = folder();
    assert_eq!(open(&[&folder]).unwrap().left_out(), None);
    for name in [".c.csv", "_SUCCESS", ".a.parquet.crc", "_metadata"] {
        std::fs::write(folder.join(name), "item\n9\n").unwrap();
    }
    std::fs::create_dir(folder.join("_temporary")).unwrap();
    std::fs::write(folder.join("_temporary/c.csv"), "item\n9\n").unwrap();
    for name in ["README.txt", "LICENSE", "notes.md", "model.din"] {
        std::fs::write(folder.join(name), "Clicks of May.\n").unwrap();
    }
    let data = open(&[&folder]).unwrap();
    let names: Vec<_> = data.files().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!((data.rows(), names), (5, vec!["a.parquet".into(), "b.csv".into()]));
    // What is not hidden is named.
    let left_out = data.left_out().unwrap();
    for name in ["README.txt", "LICENSE", "notes.md", "model.din"] {
        assert!(left_out.contains(name), "{left_out}");
    }
    assert!(!left_out.contains("_SUCCESS"));
    // Named by itself, a .txt file is read.
    std::fs::write(folder.join("c.txt"), "item\n6\n").unwrap();
    assert_eq!(open(&[folder.join("c.txt")]).unwrap().rows(), 1);
}

#[test]
fn what_may_be_data_is_not_passed_over() {
    let files: [(&str, &[u8], &str); 5] = [
        ("b.csv.gz", b"\x1f\x8b\x08\0", "a gzip file"),
        ("000001_0", b"PAR1", "another one"),
        ("rows.jsonl", b"{\"item\": 6}\n", "JSON"),
        ("c.CSV.bak", b"item\n6\n", "another kind of file"),
        ("part.orc", b"ORC\0", "an ORC file"),
    ];
    for (name, bytes, found) in files {
        let (_directory, folder) = folder();
        std::fs::write(folder.join(name), bytes).unwrap();
        let error = open(&[&folder]).unwrap_err();
        assert_eq!((error.kind, error.file.as_path()), (FaultKind::Format, folder.join(name).as_path()));
        assert_eq!(error.found, found);
        assert!(error.help.as_ref().is_some_and(|help| help.contains("d/*")), "{error}");
    }
    for name in ["dt=2024-01-02", "day2.parquet"] {
        let (_directory, folder) = folder();
        let inside = folder.join(name);
        std::fs::create_dir(&inside).unwrap();
        parquet(&inside.join("p.parquet"));
        let error = open(&[&folder]).unwrap_err();
        assert_eq!((error.kind, &error.file, error.found.as_str()), (FaultKind::Format, &inside, "a subfolder"));
        // The way that the help names.
        let named = ["a.parquet", "b.csv", name].map(|name| folder.join(name));
        assert_eq!(open(&named).unwrap().rows(), 8);
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("README.md"), "Nothing yet.\n").unwrap();
    assert_eq!(open(&[directory.path()]).unwrap_err().kind, FaultKind::NotFound);
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_and_pipes() {
    let (_directory, folder) = folder();
    std::os::unix::fs::symlink("gone.parquet", folder.join("c.parquet")).unwrap();
    let error = open(&[&folder]).unwrap_err();
    assert_eq!((error.kind, error.file.clone()), (FaultKind::NotFound, folder.join("c.parquet")));
    let error = open(&["/dev/zero"]).unwrap_err();
    assert_eq!((error.kind, error.found.as_str()), (FaultKind::Format, "a device or a pipe"));
}

#[test]
fn one_file_twice() {
    let (directory, folder) = folder();
    let a = folder.join("a.parquet");
    let link = directory.path().join("link.parquet");
    std::fs::hard_link(&a, &link).unwrap();
    let mut ways = vec![a.clone(), link.clone(), folder.join(".").join("a.parquet")];
    #[cfg(unix)]
    {
        let symbolic = directory.path().join("symbolic.parquet");
        std::os::unix::fs::symlink(&a, &symbolic).unwrap();
        ways.push(symbolic);
    }
    for way in ways {
        let error = open(&[&folder, &way]).unwrap_err();
        assert_eq!((error.kind, error.file.as_path()), (FaultKind::SameFile, way.as_path()));
        assert_eq!(error.found, format!("the same file as {}", a.display()));
        // What keeps validation data apart from training data.
        assert!(open(&[&folder]).unwrap().holds(&way));
    }
    // A copy is another file.
    let copy = directory.path().join("copy.parquet");
    std::fs::copy(&a, &copy).unwrap();
    assert_eq!(open(&[&folder, &copy]).unwrap().rows(), 8);
    assert!(!open(&[&folder]).unwrap().holds(&copy));
    assert!(!open(&[&folder]).unwrap().holds(&directory.path().join("none")));
}

#[test]
fn files_without_rows_take_no_part() {
    let (_directory, folder) = folder();
    let floats: arrow_array::ArrayRef = Arc::new(Float64Array::from(Vec::<f64>::new()));
    let nulls: arrow_array::ArrayRef = Arc::new(NullArray::new(0));
    for (file, name, column) in
        [("x.parquet", "item", floats.clone()), ("y.parquet", "item", nulls), ("z.parquet", "other", floats)]
    {
        write(&folder.join(file), &[RecordBatch::try_from_iter([(name, column)]).unwrap()], 10);
    }
    std::fs::write(folder.join("w.csv"), "other;names\n").unwrap();
    let data = open(&[&folder]).unwrap();
    assert_eq!((data.rows(), data.files().count()), (5, 6));
    let empty = ["w.csv", "x.parquet"].map(|name| folder.join(name));
    assert_eq!(open(&empty).unwrap_err().kind, FaultKind::NoRows);
    // With rows, types and names are looked at.
    std::fs::write(folder.join("w.csv"), "other\n1\n").unwrap();
    assert_eq!(open(&[&folder]).unwrap_err().kind, FaultKind::MissingColumn);
}
