//! Fields whose ids are the lines of a file, from a spec to predictions.

use crate::support::*;
use std::fmt::Write;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

const SPEC: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.{auc, log_loss}\n\
    use std.optimizer.adam\nmodel m {\nfeatures user { city: CITY from CITY_COLUMN missing  home: CITY from HOME_COLUMN MISSING }\n\
    sequence seen { city: SEEN from SEEN_COLUMN }\nlabel y: binary\n\
    embedding city [3] for user.city\nembedding home [3] for user.home\nembedding past [2] for seen.city\n\
    predict y ~ bernoulli(logit = linear(concat(embed(user), sum(embed(seen) over seen)), 1))\n\
    train { loss cross_entropy(y)  optimizer adam(lr = 0.05)  batch 16  epochs 2 }\n\
    report log_loss(y) by user.city, auc(y)\n}\n";

/// With a byte order mark, CRLF, and a last line that does not end.
const CITIES: &str = "\u{feff}Paris\r\nNew York\r\nsüd\r\nPARIS";
const ENTRIES: [&str; 4] = ["Paris", "New York", "süd", "PARIS"];

fn by_strings() -> String {
    let text = SPEC.replace("CITY_COLUMN", "city").replace("HOME_COLUMN", "home").replace("SEEN_COLUMN", "seen");
    let text = text.replace("SEEN", "category of string in \"data/cities.txt\"");
    text.replace("MISSING", "missing as \"süd\"").replace("CITY", "category of string in \"data/cities.txt\"")
}

/// The same by rows that the data have.
fn by_rows() -> String {
    let text = SPEC.replace("CITY_COLUMN", "city_row").replace("HOME_COLUMN", "home_row");
    let text = text
        .replace("SEEN_COLUMN", "seen_rows")
        .replace("SEEN", "category(5)")
        .replace("from city_row missing", "from city_row");
    text.replace("MISSING", "").replacen("CITY", "category(6)", 1).replace("CITY", "category(5)")
}

fn row(text: &str) -> usize {
    ENTRIES.iter().position(|entry| *entry == text).unwrap_or(ENTRIES.len())
}

fn log() -> String {
    let texts = ["Paris", "paris", "New York", "süd", "PARIS", "Oslo", ""];
    let mut text = String::from("city,home,seen,city_row,home_row,seen_rows,y\n");
    for k in 0..400usize {
        let (city, home) = (texts[(k * 5 + k / 11) % 7], texts[(k / 3) % 7]);
        let seen: Vec<&str> = (0..k % 4).map(|n| texts[(k + n * 5) % 6]).collect();
        let rows: Vec<String> = seen.iter().map(|text| row(text).to_string()).collect();
        let city_row = if city.is_empty() { 5 } else { row(city) };
        let home_row = if home.is_empty() { 2 } else { row(home) };
        let click = usize::from((k * 7 + city_row) % 3 == 0);
        let _ = writeln!(text, "{city},{home},{},{city_row},{home_row},{},{click}", seen.join("|"), rows.join("|"));
    }
    text
}

#[test]
fn lines_are_rows_and_the_file_is_needed_by_the_compiler_alone() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let paths = [("here", here)];
    fs::write(here.join("m.din"), by_strings()).unwrap();
    fs::write(here.join("rows.din"), by_rows()).unwrap();
    fs::write(here.join("log.csv"), log()).unwrap();
    let train = "train {here}/m.din --train {here}/log.csv --out {here}/run";

    din("check {here}/m.din", &paths).expect(0).says("m.din:7:45: there is no file `data/cities.txt`");
    din(train, &paths).expect(1).says("m.din:7:45: there is no file `data/cities.txt`");
    din("info {here}/m.din", &paths).expect(1).says("m.din:7:45: there is no file");
    assert!(!here.join("run").exists());
    fs::create_dir(here.join("data")).unwrap();
    fs::write(here.join("data/cities.txt"), CITIES).unwrap();
    din("check {here}/m.din", &paths).expect(0);

    din(train, &paths).expect(0);
    din("train {here}/rows.din --train {here}/log.csv --out {here}/rows", &paths).expect(0);
    assert_eq!(hashes(&here.join("run")), hashes(&here.join("rows")), "the lines are the rows");
    let info = din("info {here}/run", &paths).expect(0).out;
    assert!(info.contains("data/cities.txt          4 entries, SHA-256 ") && info.contains("6 rows"), "{info}");
    assert_eq!(fs::read(here.join("run/spec/data/cities.txt")).unwrap(), CITIES.as_bytes());
    let sha256 = json(&here.join("run/run.json"))["vocabularies"][0]["sha256"].as_str().unwrap().to_string();
    assert!(info.contains(&sha256));
    din("build {here}/m.din -o {here}/ranker", &paths).expect(0);

    fs::remove_dir_all(here.join("data")).unwrap();
    din("predict {here}/run --data {here}/log.csv --out {here}/p.csv", &paths).expect(0);
    din("predict {here}/rows --data {here}/log.csv --out {here}/q.csv", &paths).expect(0);
    run(
        &mut Command::new(here.join("ranker")),
        "predict {here}/run --data {here}/log.csv --out {here}/own.csv",
        &paths,
    )
    .expect(0);
    let read = |name: &str| fs::read_to_string(here.join(name)).unwrap();
    assert_eq!(read("p.csv"), read("q.csv"));
    assert_eq!(read("p.csv"), read("own.csv"));
    let sliced = din("eval {here}/run --data {here}/log.csv", &paths).expect(0).out;
    for slice in ["PARIS ", "New York ", "not in the vocabulary ", "missing "] {
        assert!(sliced.contains(&format!("\n    {slice}")), "{slice}: {sliced}");
    }
    run(&mut Command::new(here.join("ranker")), "train --train {here}/log.csv --out {here}/other", &paths).expect(0);
    assert_eq!(hashes(&here.join("other")), hashes(&here.join("run")));
}

#[test]
fn a_run_goes_on_with_the_same_file_alone() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let paths = [("here", here)];
    fs::write(here.join("m.din"), by_strings()).unwrap();
    fs::write(here.join("log.csv"), log()).unwrap();
    fs::create_dir(here.join("data")).unwrap();
    let write = |text: &str| fs::write(here.join("data/cities.txt"), text).unwrap();
    write(CITIES);
    let train = "train {here}/m.din --train {here}/log.csv --out {here}/run";
    din(&format!("{train} --epochs 1"), &paths).expect(0);
    write("Paris\nNew York\nsüd\nBerlin\n");
    let changed = din(&format!("{train} --resume --epochs 2"), &paths).expect(1);
    changed
        .says("m.din:7:45: `data/cities.txt`: the vocabulary has changed")
        .says("SHA-256")
        .says("spec/data/cities.txt");
    write(CITIES);
    din(&format!("{train} --resume --epochs 2"), &paths).expect(0);
}

#[test]
fn faults_of_a_file_have_their_lines() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    fs::write(here.join("m.din"), by_strings()).unwrap();
    fs::create_dir(here.join("data")).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(here.join("data/cities.txt"), bytes).unwrap();
        din("check {here}/m.din", &[("here", here)]).expect(1)
    };
    check(b"Paris\nOslo\n\nsued\n").says("cities.txt:3:1").says("E0424");
    check(b"Paris\r\nOslo\r\nParis\r\n").says("cities.txt:3:1").says("twice");
    check(b"Paris\nM\xfcnchen\n").says("cities.txt:2:2: expected UTF-8");
    check(b"").says("is empty");
    fs::remove_file(here.join("data/cities.txt")).unwrap();
    fs::create_dir(here.join("data/cities.txt")).unwrap();
    din("check {here}/m.din", &[("here", here)]).expect(1).says("found a folder");
}
