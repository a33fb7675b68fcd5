//! What a run directory records, and that it is compared when it is used.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A log of the small model's columns: rows `0..rows`, each clicked on where `click` says so.
fn csv(rows: u32, click: impl Fn(u32) -> bool) -> String {
    let head = "user_id,gender,age_level,good_id,cate_id,visited_good_ids,visited_cate_ids,click\n";
    let row = |k: u32| {
        let (good, cate, click) = (100 + k % 30, k % 7, u32::from(click(k)));
        format!("{},{},{},{good},{cate},{}|{},1|2,{click}\n", k % 20, k % 2, k % 5, k % 9, k % 4)
    };
    head.to_string() + &(0..rows).map(row).collect::<String>()
}

fn resume(run: &Path, more: &str) -> Ran {
    din(&format!("train {{model}} --out {{run}} --resume --epochs 2 {more}"), &[("model", &small()), ("run", run)])
}

#[test]
fn a_run_is_not_resumed_on_data_whose_contents_have_changed() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let [first, second, valid, run] = ["a.csv", "b.csv", "valid.parquet", "run"].map(at);
    let whole = csv(300, |k| k % 3 == 0);
    fs::write(&first, &whole).unwrap();
    fs::write(&second, &whole).unwrap();
    fs::copy(data().join("valid.parquet"), &valid).unwrap();
    let line = "train {model} --train {a} {b} --valid {valid} --out {run} --epochs 1 --threads 1";
    let paths: [(&str, &Path); 5] =
        [("model", &small()), ("a", &first), ("b", &second), ("valid", &valid), ("run", &run)];
    din(line, &paths).expect(0);
    let refused = |file: &PathBuf| {
        let before = hashes(&run);
        let said = resume(&run, "").expect(1).says("the contents have changed since the run").err;
        assert!(said.starts_with(&format!("error: {}: ", file.display())), "{said}");
        assert!(said.contains("help: give the files as they were, or train into another --out"), "{said}");
        assert_eq!(hashes(&run), before);
    };
    // Name, length, number of rows and header stay; every label is another.
    fs::write(&second, csv(300, |k| k % 3 != 0)).unwrap();
    refused(&second);
    fs::write(&second, &whole).unwrap();
    // One bit in the midst of a Parquet file, far from its footer.
    let mut bytes = fs::read(&valid).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&valid, &bytes).unwrap();
    refused(&valid);
    bytes[middle] ^= 1;
    fs::write(&valid, &bytes).unwrap();
    // The same contents in another folder are the same data.
    let moved = at("moved");
    fs::create_dir(&moved).unwrap();
    for file in [&first, &second, &valid] {
        fs::rename(file, moved.join(file.file_name().unwrap())).unwrap();
    }
    let [a, b, valid] = ["a.csv", "b.csv", "valid.parquet"].map(|name| moved.join(name).display().to_string());
    resume(&run, &format!("--train {a} {b} --valid {valid}")).expect(0);
}
