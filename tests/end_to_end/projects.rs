//! `din new` and `din doctor`: what they write is checked and run by the other verbs.

use crate::support::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Runs the commands of a project's README in it.
fn follow(project: &Path, replace: &[(&str, &str)]) -> usize {
    let readme = fs::read_to_string(project.join("README.md")).unwrap();
    let commands = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let mut count = 0;
    for line in commands.lines() {
        let line = replace.iter().fold(line.to_string(), |line, (from, to)| line.replace(from, to));
        let mut command = Command::new(din_path());
        command.current_dir(project);
        let line = line.strip_prefix("din ").unwrap();
        run(&mut command, line, &[]).expect(0);
        count += 1;
    }
    count
}

#[test]
fn the_commands_of_a_new_project_run() {
    let folder = TempDir::new().unwrap();
    let shop = folder.path().join("my-shop");
    let ran = din("new {shop} --from two_tower", &[("shop", &shop)]).expect(0);
    assert_eq!(ran.out.lines().count(), 6, "{}", ran.out);
    assert!(fs::read_to_string(shop.join("models/my_shop.din")).unwrap().contains("\nmodel my_shop on synth {"));
    assert_eq!(follow(&shop, &[("--rows 25000", "--rows 1500")]), 5);
    assert!(shop.join("data/scores.parquet").exists());
    // Nothing of it is written over.
    let before = fs::read_to_string(shop.join("README.md")).unwrap();
    din("new {shop}", &[("shop", &shop)]).expect(1).says("already exists");
    assert_eq!(fs::read_to_string(shop.join("README.md")).unwrap(), before);
    din("new {here}/7", &[("here", folder.path())]).expect(1).says("begin it with a letter");
}

#[test]
fn every_template_checks() {
    let folder = TempDir::new().unwrap();
    for template in ["din", "base", "deepfm", "dcnv2", "mmoe"] {
        let project = folder.path().join(template);
        din(&format!("new {{project}} --from {template}"), &[("project", &project)]).expect(0);
        let mut command = Command::new(din_path());
        run(command.current_dir(&project), "check", &[]).expect(0);
        let spec = project.join(format!("models/{template}.din"));
        din("fmt --check {spec}", &[("spec", &spec)]).expect(0);
    }
}

#[test]
fn a_project_of_the_columns_of_a_parquet_file() {
    let folder = TempDir::new().unwrap();
    let project = folder.path().join("shop");
    let (at, file) = (("project", project.as_path()), data().join("train.parquet"));
    let ran = din("new {project} --columns {file}", &[at, ("file", &file)]).expect(0);
    let spec = fs::read_to_string(project.join("models/shop.din")).unwrap();
    // Columns that would tell the label are left out, and said to be.
    for column in ["bought", "watch_ms", "shown_at", "visited_times"] {
        assert!(ran.err.contains(&format!("column {column} is left out")), "{}", ran.err);
    }
    for part in [
        "label click: binary",
        "sequence visited (keep last 50) {",
        "good_id: ",
        "for item.good_id, visited.good_id",
        "gauc(click, by = user.user_id)",
        "// guess: ids",
    ] {
        assert!(spec.contains(part), "expected `{part}` in:\n{spec}");
    }
    din("fmt --check {project}/models/shop.din", &[at]).expect(0);
    assert_eq!(follow(&project, &[]), 4);
}

#[test]
fn a_project_of_the_columns_of_a_csv_file() {
    let folder = TempDir::new().unwrap();
    let here = [("here", folder.path())];
    let rows: String = (0..200)
        .map(|k: u32| {
            let (country, seen) = (["de", ""][k as usize % 2], ["i1|i2", "i3", ""][k as usize % 3]);
            format!(
                "u{},{country},i{},{}.5,0.25|0.5|{}.75,{seen},{},true\n",
                k % 20,
                k % 9,
                k * 7 % 100,
                k % 3,
                (k / 3) % 2
            )
        })
        .collect();
    let head = "user_id,country,item id,price,item_shape,seen_items,clicked,model\n";
    fs::write(folder.path().join("log.csv"), format!("{head}{rows}")).unwrap();
    din("new {here}/a --columns {here}/log.csv --label price", &here).expect(1).says("other values than 0 and 1");
    din("new {here}/a --columns {here}/log.csv --label cost", &here).expect(1).says("there is no column `cost`");
    din("new {here}/a --columns {here}/nothing.csv", &here).expect(1).says("nothing.csv");
    assert_eq!(names(folder.path()), ["log.csv"]);
    din("new {here}/a --columns {here}/log.csv", &here).expect(0);
    let spec = fs::read_to_string(folder.path().join("a/models/a.din")).unwrap();
    let words = spec.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "user_id: category of string",
        "country: category of string missing",
        "column_item_id: category of string from \"item id\"",
        "price: number from standard(price)",
        "item_shape: number[3]",
        "sequence seen (keep last 50)",
        "label clicked: binary",
        "column_model: category of string from \"model\"",
    ] {
        assert!(words.contains(part), "expected `{part}` in:\n{spec}");
    }
    assert_eq!(follow(&folder.path().join("a"), &[]), 4);
}

#[test]
fn the_doctor_tells_what_is_there() {
    let folder = TempDir::new().unwrap();
    let doctor = |driver: &str| {
        let mut command = Command::new(din_path());
        command.env("DIN_CUDA_DRIVER", driver).env("DIN_NVRTC", "no/such/libnvrtc.so");
        run(&mut command, "doctor --folder {here} --format json", &[("here", folder.path())]).expect(0)
    };
    let report: Value = serde_json::from_str(&doctor("no/such/libcuda.so").out).unwrap();
    assert_eq!(report["works"], true);
    let checkups = report["checkups"].as_array().unwrap();
    let of = |name: &str| checkups.iter().find(|checkup| checkup["name"] == name).unwrap();
    // What the tests themselves need is there.
    for name in ["code", "din", "disk"] {
        assert_ne!(of(name)["health"], "broken", "{report}");
    }
    assert_eq!(of("din")["health"], "good", "{report}");
    for (name, library) in [("GPU", "no/such/libcuda.so"), ("NVRTC", "no/such/libnvrtc.so")] {
        assert_eq!(of(name)["health"], "absent", "{report}");
        assert!(of(name)["found"].as_str().unwrap().contains(library), "{report}");
        assert!(of(name)["help"].as_str().unwrap().starts_with("install it"), "{report}");
    }
    // Nothing is left of what was tried.
    assert!(names(folder.path()).is_empty());
    let gone = folder.path().join("gone");
    let ran = din("doctor --folder {gone}", &[("gone", &gone)]).expect(0);
    assert!(ran.out.contains("limited  disk"), "{}", ran.out);
    din("doctor --format sarif", &[]).expect(2);
}
