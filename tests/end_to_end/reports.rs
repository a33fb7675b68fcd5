//! `din report`, `din gate`, `din embed` and `din attribute`: what they say of a run, against
//! `eval`, each other and the run's checkpoint.

use crate::support::{data, din, hashes, train, trained};
use roxmltree::Document;
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

fn report(folder: &TempDir, name: &str, more: &str) -> String {
    let out = folder.path().join(name);
    let line = format!("report {{run}} --data {{data}}/test.parquet --resamples 200 -o {{out}} {more}");
    din(&line, &[("run", trained()), ("data", data()), ("out", &out)]).expect(0);
    fs::read_to_string(out).unwrap()
}

/// The pictures of a page, each read by a parser of XML.
fn pictures(page: &str) -> usize {
    let parts: Vec<&str> = page.split("<svg").skip(1).collect();
    for part in &parts {
        let svg = format!("<svg{}</svg>", part.split_once("</svg>").unwrap().0);
        Document::parse(&svg).unwrap_or_else(|e| panic!("{e}: {svg}"));
    }
    parts.len()
}

#[test]
fn a_report_says_what_eval_says() {
    let folder = TempDir::new().unwrap();
    let page = report(&folder, "r.html", "--by user.gender --threads 2");
    let paths = [("run", trained()), ("data", data())];
    let eval = din("eval {run} --data {data}/test.parquet --by user.gender --json", &paths).expect(0);
    let eval: Value = serde_json::from_str(&eval.out).unwrap();
    let values = eval["metrics"].as_array().unwrap().iter();
    let slices = values.clone().flat_map(|metric| metric["slices"][0]["slices"].as_array().unwrap());
    let mut checked = 0;
    for line in values.chain(slices) {
        if let Some(value) = line["value"].as_f64() {
            assert!(page.contains(&format!(">{value:.4} <span")), "{line}");
            checked += 1;
        }
    }
    assert!(checked >= 6, "{eval}");
    for part in ["By user.gender", "By entries of visited", "By frequency of ad.good_id in training", "model small {"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(pictures(&page) > 6);
    assert!(page.contains("<title>"), "values are shown under the pointer");
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!elsewhere.contains("http") && !page.contains("<script") && !page.contains("<link"));
    assert!(report(&folder, "again.html", "--by user.gender --threads 1") == page, "the same at any number of threads");
    assert!(report(&folder, "seed.html", "--by user.gender --seed 2") != page);
}

#[test]
fn a_run_is_no_better_than_itself() {
    let folder = TempDir::new().unwrap();
    let page = report(&folder, "r.html", "{run}");
    assert!(page.contains("<td>0.0000 <span class=\"quiet\">[0.0000, 0.0000]</span></td>"));
    assert!(page.contains("not told apart") && !page.contains(">better<") && !page.contains(">worse<"));
    assert!(page.contains("The models are the same."));
}

#[test]
fn a_report_without_data_and_wrong_calls() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("r.html");
    let paths = [("run", trained()), ("data", data()), ("out", out.as_path()), ("folder", folder.path())];
    din("report {run} -o {out}", &paths).expect(0);
    assert!(!fs::read_to_string(&out).unwrap().contains("Test metrics"));
    din("report {run} -o {out}", &paths).expect(1).says("already exists").says("--force");
    din("report {run} -o {folder}/r.pdf", &paths).expect(1).says("expected an .html file");
    din("report {data} -o {folder}/no.html", &paths).expect(1).says("expected a run directory");
    let measured = "report {run} --data {data}/test.parquet -o {folder}/no.html";
    din(&format!("{measured} --by shop"), &paths).expect(1).says("--by shop: the model has no key or feature");
    din(&format!("{measured} --key shop"), &paths).expect(1).says("--key shop: the model has no key or feature");
    din("report {run} --by user.gender -o {folder}/no.html", &paths).expect(2);
    assert!(!folder.path().join("no.html").exists());
}

#[test]
fn a_gate_is_closed_by_what_is_worse() {
    let folder = TempDir::new().unwrap();
    let worse = folder.path().join("worse");
    train(&worse, "--set lr=0.5").expect(0);
    let page = folder.path().join("r.html");
    let paths = [("run", trained()), ("worse", worse.as_path()), ("data", data()), ("page", page.as_path())];
    let measured = "--data {data}/test.parquet --resamples 200 --checkpoint last";
    let gate = |line: &str| din(&format!("gate {line} {measured}"), &paths);
    let of = |line: &str, code: i32| -> Value {
        serde_json::from_str(&gate(&format!("{line} --format json")).expect(code).out).unwrap()
    };

    let better = of("{run} --baseline {worse} --strict --metric log_loss(click)", 0);
    let closed = of("{worse} --baseline {run} --metric log_loss(click)", 12);
    assert_eq!((&better["open"], &closed["open"]), (&Value::Bool(true), &Value::Bool(false)));
    let eval = din("eval {run} --checkpoint last --data {data}/test.parquet --json", &paths).expect(0);
    let eval: Value = serde_json::from_str(&eval.out).unwrap();
    let loss = |metric: &&Value| metric["name"] == "log_loss(click)";
    let value = eval["metrics"].as_array().unwrap().iter().find(loss).unwrap()["value"].as_f64().unwrap();
    let (gained, lost) = (&better["comparisons"][0], &closed["comparisons"][0]);
    assert_eq!(gained["run"].as_f64(), Some(value), "as `eval` has it");
    assert_eq!((&gained["verdict"], &lost["verdict"]), (&"better".into(), &"worse".into()));
    // What one gains the other loses, on the same resamples.
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(number(&gained["gain"]), -number(&lost["gain"]));
    assert_eq!(number(&gained["interval"][0]), -number(&lost["interval"][1]));
    // The page of both runs has the difference of the losses, of which less is better.
    din(&format!("report {{worse}} {{run}} {measured} -o {{page}}"), &paths).expect(0);
    let page = fs::read_to_string(&page).unwrap();
    let [value, low, high] =
        [&gained["gain"], &gained["interval"][1], &gained["interval"][0]].map(|of| format!("{:.4}", -number(of)));
    assert!(page.contains(&format!("{value} <span class=\"quiet\">[{low}, {high}]")), "{gained}");

    of("{worse} --baseline {run} --metric log_loss(click) --margin log_loss(click)=1000", 0);
    of("{run} --baseline {run} --strict", 0);
    of("{run} --least auc(click)=0.4 --most auc(click)=0.99", 0);
    let bounds = of("{run} --least auc(click)=0.5 --most auc(click)=0.5", 12);
    assert_eq!([&bounds["bounds"][0]["closes"], &bounds["bounds"][1]["closes"]], [false, true]);
    let text = gate("{worse} --baseline {run}").expect(12).out;
    assert!(text.contains("worse: closed") && text.contains("the gate is closed"), "{text}");
    let text = gate("{worse} --baseline {run} --format markdown").expect(12).out;
    assert!(text.starts_with("**The gate is closed**"), "{text}");
}

#[test]
fn gates_that_cannot_be_judged() {
    let paths = [("run", trained()), ("data", data())];
    let gate = |line: &str| din(&format!("gate {line} --data {{data}}/test.parquet --resamples 100"), &paths);
    gate("{run}").expect(2).says("--baseline");
    gate("{run} --strict --least auc(click)=0.5").expect(2).says("--baseline");
    gate("{run} --least auc=0.5").expect(1).says("no metric auc is reported").says("it has auc(click)");
    gate("{run} --least auc(click)").expect(2).says("expected METRIC=X");
    gate("{run} --baseline {run} --margin auc(click)=-1").expect(2).says("which is 0 or more");
    gate("{run} --baseline {run} --margin auc(clack)=1").expect(1).says("compared are auc(click)");
    gate("{run} --baseline {data}").expect(1).says("expected a run directory");
    gate("{run} --least auc(click)=0.5 --format sarif").expect(2).says("reports are of `din check`");
}

/// Ids and vectors of table `good` in the best checkpoint, and the OOV row.
fn kept() -> (Vec<(i64, Vec<f32>)>, Vec<f32>) {
    let best: Value = serde_json::from_str(&fs::read_to_string(trained().join("best.json")).unwrap()).unwrap();
    let name = best["checkpoint"].as_str().unwrap();
    assert!(hashes(trained()).iter().any(|(known, _)| known == name));
    let bytes = fs::read(trained().join("checkpoints").join(name).join("table.good.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = |name: &str| tensors.tensor(name).unwrap().data().to_vec();
    let floats = |name: &str| -> Vec<f32> {
        data(name).chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    let keys = data("keys");
    let keys = keys.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
    let (seen, weights) = (data("seen"), floats("weight"));
    let rows = keys.zip(weights.chunks_exact(4)).zip(seen).filter(|(_, seen)| *seen == 1);
    (rows.map(|((id, vector), _)| (id, vector.to_vec())).collect(), floats("oov.weight"))
}

#[test]
fn vectors_are_those_of_the_checkpoint() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("good.csv");
    let paths = [("run", trained()), ("out", out.as_path()), ("folder", folder.path())];
    din("embed {run} --table good -o {out}", &paths).expect(0).says("rows of table `good`");
    let text = fs::read_to_string(&out).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("id,v0,v1,v2,v3"));
    let (rows, oov) = kept();
    assert!(rows.len() > 100);
    for (id, vector) in rows {
        let fields: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!(fields[0].parse::<i64>().unwrap(), id);
        let written: Vec<u32> = fields[1..].iter().map(|field| field.parse::<f32>().unwrap().to_bits()).collect();
        assert_eq!(written, vector.iter().map(|value| value.to_bits()).collect::<Vec<u32>>());
    }
    let last: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(last[0], "");
    assert_eq!(last[1..].iter().map(|field| field.parse::<f32>().unwrap()).collect::<Vec<f32>>(), oov);
    assert_eq!(lines.next(), None);
    din("embed {run} --table good -o {folder}/good.parquet", &paths).expect(0);
    assert!(fs::read(folder.path().join("good.parquet")).unwrap().starts_with(b"PAR1"));
    din("embed {run} --table good -o {out}", &paths).expect(1).says("already exists");
    din("embed {run} --table goods -o {folder}/no.csv", &paths).expect(1).says("its tables are good, cate");
}

#[test]
fn neighbours_are_the_nearest_of_all() {
    let (rows, _) = kept();
    let (id, centre) = &rows[17];
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let cosine = |other: &[f32]| dot(centre, other) / (dot(centre, centre) * dot(other, other)).sqrt();
    let mut all: Vec<(i64, f64)> =
        rows.iter().filter(|(other, _)| other != id).map(|(other, vector)| (*other, cosine(vector))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let line = format!("attribute {{run}} --table good --id {id} --neighbours 5");
    let found = din(&format!("{line} --json"), &[("run", trained())]).expect(0);
    let found: Value = serde_json::from_str(&found.out).unwrap();
    let found = found["neighbours"].as_array().unwrap();
    assert_eq!(found.len(), 5);
    for (neighbour, expected) in found.iter().zip(&all) {
        assert_eq!(neighbour["id"], expected.0);
        assert!((neighbour["cosine"].as_f64().unwrap() - expected.1).abs() < 1e-12);
    }
    let text = din(&line, &[("run", trained())]).expect(0).out;
    assert_eq!(text.lines().count(), 5);
    assert!(text.starts_with(&all[0].0.to_string()), "{text}");
    let paths = [("run", trained())];
    din("attribute {run} --table good --id -5", &paths).expect(1).says("has no vector of its own");
    din("attribute {run} --table good --id shoe", &paths).expect(1).says("expected an integer");
}
