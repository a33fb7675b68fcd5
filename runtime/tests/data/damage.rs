//! Damaged files: an error with the file's name or, where the damage cannot be seen, rows; never a
//! panic, never a hang.

use super::support::*;
use din_runtime::data::{DataError, Dataset, FaultKind, Order, ReadMode, StreamOptions};
use din_runtime::random::Stream;
use std::path::Path;

fn read_all(path: &Path) -> Result<u64, DataError> {
    let data = Dataset::open(&[path], &schema(), ReadMode::Evaluate)?;
    let mut stream = data.stream(StreamOptions::new(256, Order::File))?;
    let mut rows = 0;
    while let Some(batch) = stream.next().map_err(of_data)? {
        rows += batch.rows as u64;
        stream.recycle(batch);
    }
    Ok(rows)
}

#[test]
fn parquet_cut_at_any_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[records(0..2_000)], 700);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(read_all(&path).unwrap(), 2_000);
    let near_ends = (1..40).chain(bytes.len() - 40..bytes.len());
    for length in near_ends.chain((0..bytes.len()).step_by(bytes.len() / 200)).filter(|&l| l > 0) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = read_all(&path).unwrap_err();
        assert_eq!(
            (error.kind, error.file.as_path()),
            (FaultKind::Damaged, path.as_path()),
            "cut at {length}: {error}"
        );
        assert!(error.to_string().contains("a.parquet") && error.help.is_some());
    }
}

#[test]
fn parquet_with_flipped_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.parquet");
    write(&path, &[records(0..2_000)], 700);
    let bytes = std::fs::read(&path).unwrap();
    let footer =
        bytes.len() - 8 - u32::from_le_bytes(bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap()) as usize;
    let random = Stream::new(1, "flips", 0);
    let mut refused = 0;
    for i in 0..600u64 {
        let mut bad = bytes.clone();
        // Half of them in the footer, where lengths and offsets are.
        let at = if i % 2 == 0 {
            footer + random.below(2 * i, (bytes.len() - footer) as u64) as usize
        } else {
            random.below(2 * i, bytes.len() as u64) as usize
        };
        bad[at] ^= 1 << random.below(2 * i + 1, 8);
        std::fs::write(&path, &bad).unwrap();
        match read_all(&path) {
            Ok(rows) => assert!(rows <= 2_000, "flip at {at}"),
            Err(error) => {
                refused += 1;
                assert_eq!(error.file, path);
            }
        }
    }
    // Many flips only change a value, or a number that nothing reads.
    assert!(refused > 100, "{refused}");
}

#[test]
fn csv_of_random_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let random = Stream::new(1, "bytes", 0);
    for i in 0..200u64 {
        let alphabet = b"0123456789,|\"\n\r \xff-.ax";
        let mut bytes = b"user,item,tag,items,tags,click\n".to_vec();
        bytes.extend((0..200).map(|k| alphabet[random.below(i * 200 + k, alphabet.len() as u64) as usize]));
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = read_all(&path) {
            assert_eq!(error.file, path);
        }
    }
}

#[test]
fn a_file_that_shrinks_after_it_was_opened() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "a.csv"] {
        let path = directory.path().join(name);
        if name == "a.csv" {
            let rows: String = (0..40_000).map(|r| format!("{r},{r},t,1|2,a|b,1\n")).collect();
            std::fs::write(&path, format!("user,item,tag,items,tags,click\n{rows}")).unwrap();
        } else {
            write(&path, &[records(0..20_000)], 5_000);
        }
        let data = Dataset::open(&[&path], &schema(), ReadMode::Evaluate).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
        let error = collect(&data, StreamOptions::new(100, Order::File)).unwrap_err();
        assert_eq!(error.kind, FaultKind::Damaged, "{error}");
    }
}
