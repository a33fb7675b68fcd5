//! Inference on tables in BF16 by the command and by an executable: what is printed, that it equals
//! inference in f32 on a run whose tables were rounded beforehand, and what is refused.

use crate::bundle::ranker;
use crate::support::*;
use din_runtime::checkpoint::Manifest;
use din_runtime::document::{JsonLayout, to_text};
use din_runtime::fs::sha256_file;
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A copy of the small model's run in which every weight of a table is one that BF16 has.
fn rounded_run(to: &Path) {
    copy_folder(trained(), to);
    for name in names(&to.join("checkpoints")) {
        let folder = to.join("checkpoints").join(name);
        let mut manifest = Manifest::read(&folder.join("manifest.json")).unwrap();
        for table in names(&folder).iter().filter(|name| name.starts_with("table.")) {
            let path = folder.join(table);
            let mut bytes = fs::read(&path).unwrap();
            let begin = bytes.as_ptr() as usize;
            let places: Vec<(usize, usize)> = {
                let tensors = SafeTensors::deserialize(&bytes).unwrap();
                let weights = ["weight", "oov.weight"].into_iter().filter_map(|name| tensors.tensor(name).ok());
                weights.map(|view| (view.data().as_ptr() as usize - begin, view.data().len())).collect()
            };
            for (at, length) in places {
                for number in bytes[at..at + length].as_chunks_mut::<4>().0 {
                    let bits = u32::from_le_bytes(*number);
                    // Half a unit of the upper half, and less by one where that is even.
                    let rounded = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
                    *number = rounded.to_le_bytes();
                }
            }
            fs::write(&path, &bytes).unwrap();
            manifest.files.insert(table.clone(), sha256_file(&path).unwrap());
        }
        fs::write(folder.join("manifest.json"), to_text(&manifest, JsonLayout::File).unwrap()).unwrap();
    }
}

fn test_data() -> std::path::PathBuf {
    data().join("test.parquet")
}

#[test]
fn predictions_are_those_of_a_run_that_was_rounded_beforehand() {
    let folder = TempDir::new().unwrap();
    let (run_on, at) = (folder.path().join("rounded"), |name: &str| folder.path().join(name));
    rounded_run(&run_on);
    let predict = |run_on: &Path, out: &str, more: &str| {
        let line = format!("predict {{run}} --data {{data}} --out {{out}} --logits {more}");
        din(&line, &[("run", run_on), ("data", &test_data()), ("out", &at(out))]).expect(0);
        fs::read(at(out)).unwrap()
    };
    for isa in ["v2", "v3", "v4"].into_iter().filter(|isa| runs(isa)) {
        let [name, other, trained_name] = ["rounded", "bf16", "f32"].map(|what| format!("{what}-{isa}.csv"));
        let expected = predict(&run_on, &name, &format!("--isa {isa}"));
        assert_eq!(predict(trained(), &other, &format!("--isa {isa} --tables bf16")), expected, "{isa}");
        assert_ne!(predict(trained(), &trained_name, &format!("--isa {isa} --tables f32")), expected, "{isa}");
        for threads in [1, 3] {
            let more = format!("--isa {isa} --tables bf16 --threads {threads}");
            assert_eq!(
                predict(trained(), &format!("{threads}-{isa}.csv"), &more),
                expected,
                "{isa}, {threads} threads"
            );
        }
    }
    // A stand-alone executable has the code too.
    let out = at("own.csv");
    let line = "predict {run} --data {data} --out {out} --logits --tables bf16";
    run(&mut Command::new(ranker()), line, &[("run", trained()), ("data", &test_data()), ("out", &out)]).expect(0);
    assert_eq!(fs::read(out).unwrap(), predict(&run_on, "best.csv", ""));
}

/// Whether this CPU runs code of a level.
fn runs(isa: &str) -> bool {
    let level = din_runtime::cpu::level(din_runtime::cpu::detect());
    isa[1..].parse::<u32>().unwrap() <= level
}

#[test]
fn evaluation_prints_both_and_the_difference() {
    let folder = TempDir::new().unwrap();
    let rounded = folder.path().join("rounded");
    rounded_run(&rounded);
    let eval = |run: &Path, more: &str| {
        let line = format!("eval {{run}} --data {{data}} {more}");
        din(&line, &[("run", run), ("data", &test_data())]).expect(0).out
    };
    let values = |text: &str, key: &str| -> Vec<f64> {
        let json: Value = serde_json::from_str(text).unwrap();
        json["metrics"].as_array().unwrap().iter().map(|metric| metric[key].as_f64().unwrap()).collect()
    };
    let both = eval(trained(), "--json --tables bf16");
    let (stored, beforehand) = (eval(trained(), "--json"), eval(&rounded, "--json"));
    assert_eq!(values(&both, "value_f32"), values(&stored, "value"));
    assert_eq!(values(&both, "value"), values(&beforehand, "value"));
    let difference =
        values(&both, "value").iter().zip(values(&both, "value_f32")).map(|(b, f)| b - f).collect::<Vec<_>>();
    assert_eq!(values(&both, "difference"), difference);
    assert!(difference.iter().any(|&d| d != 0.0) && difference.iter().all(|d| d.abs() < 0.01), "{difference:?}");
    let json: Value = serde_json::from_str(&both).unwrap();
    assert_eq!((&json["tables"], &json["rows"]), (&"bf16".into(), &400.into()));

    let text = eval(trained(), "--tables bf16");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["tables", "in", "f32", "bf16", "difference"]);
    let names: Vec<&str> = lines[1..].iter().map(|line| line[0]).collect();
    assert_eq!(names, ["auc(click)", "gauc(click)", "log_loss(click)"], "{text}");
    let auc: Vec<f64> = lines[1][1..].iter().map(|word| word.parse().unwrap()).collect();
    assert!((auc[0] - values(&stored, "value")[0]).abs() < 1e-6 && (auc[1] - values(&both, "value")[0]).abs() < 1e-6);
    // A metric of each, as ever, where tables are in f32.
    assert_eq!(eval(trained(), "--tables f32"), eval(trained(), ""));
}

#[test]
fn what_bf16_is_not_for_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let refused = train(&out, "--tables bf16").expect(1);
    let refused = refused.says("tables are trained in f32").says("help: ").says("predict --tables bf16");
    assert!(!out.exists(), "{}", refused.err);
    let paths: [(&str, &Path); 3] = [("run", trained()), ("data", &test_data()), ("out", &out)];
    for verb in ["eval {run} --data {data}", "predict {run} --data {data} --out {out}.csv"] {
        din(&format!("{verb} --tables bf16 --device cuda:0"), &paths)
            .expect(1)
            .says("--tables bf16 is for a CPU")
            .says("help: add --device cpu, or leave --tables out");
        din(&format!("{verb} --tables fp16"), &paths).expect(2).says("possible values: f32, bf16");
    }
    assert_eq!(names(folder.path()), [""; 0]);
}
