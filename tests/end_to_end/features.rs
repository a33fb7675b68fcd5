//! Feature operations from a spec to predictions, and faults of the data with their places.

use crate::support::*;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

fn reference(name: &str) -> PathBuf {
    root().join("tests/reference").join(name)
}

/// Statistics of the training data come with the run: prediction needs no other data, whatever
/// predicts.
#[test]
fn an_executable_predicts_what_din_predicts() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (model, data) = (reference("specs/features.din"), reference("fixtures/features.parquet"));
    let few = at("few.csv");
    let text = fs::read_to_string(reference("fixtures/features.csv")).unwrap();
    fs::write(&few, text.lines().take(31).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let paths = [("model", &*model), ("data", &*data), ("few", &*few), ("here", folder.path())];
    din("train {model} --train {data} --out {here}/run", &paths).expect(0);
    din("predict {here}/run --data {data} --out {here}/all.csv", &paths).expect(0);
    din("predict {here}/run --data {few} --out {here}/few-predicted.csv", &paths).expect(0);
    din("build {model} -o {here}/ranker", &paths).expect(0);
    run(&mut Command::new(at("ranker")), "predict {here}/run --data {data} --out {here}/own.csv", &paths).expect(0);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    assert_eq!(read("own.csv"), read("all.csv"));
    assert_eq!(read("few-predicted.csv").lines().count(), 31);
    let info = din("info {here}/ranker", &paths).expect(0);
    assert!(info.out.contains("cross of user.gender, ad.cate_id") && info.out.contains("quantiles"), "{}", info.out);
    // The same run, evaluated and gone on with.
    din("eval {here}/run --data {data}", &paths).expect(0);
    let sliced = din("eval {here}/run --data {data} --by user.city --by ad.decile", &paths).expect(0);
    for shown in ["  by user.city\n", "  by ad.decile\n", "    missing ", " rows  "] {
        assert!(sliced.out.contains(shown), "{shown}: {}", sliced.out);
    }
    // The executable slices, too.
    let own = run(&mut Command::new(at("ranker")), "eval {here}/run --data {data} --by user.city --json", &paths);
    let json: serde_json::Value = serde_json::from_str(&own.expect(0).out).unwrap();
    let rows: u64 = json["metrics"][0]["slices"][0]["slices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|slice| slice["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(json["rows"], rows);
    din("eval {here}/run --data {data} --by user.town_", &paths).expect(1).says("no key or feature of this name");
    din("eval {here}/run --data {data} --by user.city --tables bf16", &paths).expect(1).says("leave one of them out");
    din("train {model} --train {data} --out {here}/run --resume --epochs 2", &paths).expect(0);
}

const SPEC: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.auc\n\
    use std.optimizer.sgd\nmodel m {\nfeatures user { FIELD }\nlabel y: binary\n\
    embedding [2] for each of user\n\
    predict y ~ bernoulli(logit = linear(embed(user), 1))\n\
    train { loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 2  epochs 1 }\nreport auc(y)\n}\n";

#[test]
fn faults_of_values_have_their_places_and_a_way_out() {
    let folder = TempDir::new().unwrap();
    let (model, data) = (folder.path().join("m.din"), folder.path().join("d.csv"));
    for (field, text, place, says) in [
        ("x: number  g: category(2)", "x,g,y\n1,0,0\n,1,1\n", "line 3", "missing as 0"),
        ("x: category  g: category(2)", "x,g,y\n1,0,0\n,1,1\n", "line 3", "declare the field `missing`"),
        ("x: number from log(x)  g: category(2)", "x,g,y\n1,0,0\n0,1,1\n", "line 3", "log(1 + x)"),
        ("x: number from standard(x)  g: category(2)", "x,g,y\n1,0,0\nnan,1,1\n", "line 3", "finite"),
        ("x: number missing as 0  g: category(2)", "x,g,y\n1,0,0\ninf,1,1\n", "line 3", "finite"),
        ("x: category missing -1  g: category(2)", "x,g,y\n-1,0,0\na,1,1\n", "line 3", "an integer"),
        (
            "x: number from standard(x) missing as 0  g: category(2)",
            "x,g,y\n,0,0\n,1,1\n",
            "m.din:7:17",
            "expected a value",
        ),
    ] {
        fs::write(&model, SPEC.replace("FIELD", field)).unwrap();
        fs::write(&data, text).unwrap();
        let out = folder.path().join("run");
        let paths = [("model", &*model), ("data", &*data), ("out", &*out)];
        din("train {model} --train {data} --out {out}", &paths).expect(1).says(place).says(says);
        assert!(!out.exists(), "{field}: nothing is left behind");
    }
}

/// Large numbers that a layer takes as they are are told before the first step, once a run.
#[test]
fn numbers_without_a_scale_are_told() {
    let folder = TempDir::new().unwrap();
    let (model, data) = (folder.path().join("m.din"), folder.path().join("data"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("d.csv"), "x,the rest,g,y\n7,90,0,0\n52000,-90,1,1\n").unwrap();
    for (field, is_told) in [
        ("x: number  g: category(2)", true),
        ("x: number from standard(x)  g: category(2)", false),
        ("x: number from \"the rest\"  g: category(2)", false),
        ("x: number missing as 0  g: category(2)", true),
    ] {
        fs::write(&model, SPEC.replace("FIELD", field)).unwrap();
        let out = folder.path().join("run");
        let paths = [("model", &*model), ("data", &*data), ("out", &*out)];
        let trained = din("train {model} --train {data} --out {out}", &paths).expect(0);
        let said = trained.err.contains("`user.x` is from 7 to 52000 in the first rows")
            && trained.err.contains("`x: number from standard(x)`");
        assert_eq!(said, is_told, "{field}:\n{}", trained.err);
        let resumed = din("train {model} --train {data} --out {out} --resume --epochs 2", &paths).expect(0);
        assert!(!resumed.err.contains("in the first rows"), "{}", resumed.err);
        fs::remove_dir_all(&out).unwrap();
    }
}
