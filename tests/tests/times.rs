//! Times: gaps between two columns of them and parts of their dates are those of NumPy's datetime64
//! and Python's datetime (`reference/times.py`), from CSV and Parquet, in any batches.

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::schema::{Combination, FeatureKind, Made, Step};
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::session::{CpuOptions, Device};
use din_tests::specs;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

const SPEC: &str = "edition 2026
use std.layer.linear
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.sgd
model times {
    features ad {
        seconds:   number from gap(at, made) missing as -1
        log_hours: number from log(1 + clip(gap(at, made) / 3600, 0, 10_000)) missing as -1 mark no_time
        age:       category from buckets(gap(at, made) / 86_400, [0, 1, 30]) missing
        hour:      category from hour(at)
        weekday:   category from weekday(at)
        day:       category from day(at)
        month:     category from month(at)
    }
    sequence visited {
        since:     category from buckets(before(at, clicks), [0, 60, 3600, 86_400]) missing
        log_since: number from log(1 + clip(before(at, clicks), 0, 1e7)) missing as 0 mark unknown
        dwell:     number from gap(ends, starts)
        hour:      category from hour(clicks) missing
        weekday:   category from weekday(clicks) missing
        day:       category from day(clicks) missing
        month:     category from month(clicks) missing
    }
    label label: binary
    REQUESTS
    embedding [2] for each of ad, visited
    let seen = sum(embed(visited) over visited)
    predict label ~ bernoulli(logit = linear(concat(embed(ad) * 0.001, seen * 0.001), 1))
    train { loss cross_entropy(label)  optimizer sgd(lr = 0.01)  batch 32  epochs 1 }
    report auc(label) by ad.age
}";

fn fixture(name: &str) -> PathBuf {
    specs::root().join("tests/reference/fixtures").join(name)
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture("times.json")).unwrap()).unwrap()
}

fn program(requests: &str) -> Arc<Program> {
    let checked = check("times.din", &SPEC.replace("REQUESTS", requests), &NoFiles, &CheckOptions::default());
    let model = checked.model.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    let options = CompileOptions { levels: vec![cpu::detect()], ..CompileOptions::default() };
    Arc::new(compile(&model, &options).unwrap().program)
}

/// Compares a batch with rows `from..` of what Python computed; gives how many features it has
/// compared.
fn compare(program: &Program, batch: &Batch, from: usize, expected: &Value) -> usize {
    let mut compared = 0;
    for (f, feature) in program.schema.features.iter().enumerate() {
        let path = feature.path();
        // Not of a time itself, which is no feature of the spec.
        let Some(rows) = expected.get(&path).map(|rows| rows.as_array().unwrap()) else {
            assert!(feature.name.starts_with("times of "), "{path}");
            continue;
        };
        compared += 1;
        let flat = rows[from..from + batch.rows].iter().flat_map(|row| match row {
            Value::Array(values) => values.clone(),
            one => vec![one.clone()],
        });
        match feature.kind {
            FeatureKind::Dense { .. } => {
                let values: Vec<f32> = flat.map(|value| value.as_f64().unwrap() as f32).collect();
                assert_eq!(batch.dense[f].len(), values.len(), "{path}");
                for (found, expected) in batch.dense[f].iter().zip(&values) {
                    // Logarithms of two libraries may differ in the last bit.
                    assert!((found - expected).abs() <= 2e-7 * expected.abs().max(1e-3), "{path}: {found} {expected}");
                }
            }
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => {
                let ids: Vec<u64> = flat.map(|value| value.as_u64().unwrap()).collect();
                assert_eq!(batch.ids[f], ids, "{path}");
            }
        }
    }
    compared
}

#[test]
fn gaps_and_dates_are_those_of_numpy_and_python() {
    let (program, expected) = (program(""), expected());
    for (batch, threads, file) in [(1000, 1, "times.csv"), (7, 3, "times.parquet"), (64, 2, "times.parquet")] {
        for mode in [ReadMode::Train, ReadMode::Evaluate, ReadMode::Predict] {
            let data = Dataset::open(&[fixture(file)], &program.schema, mode).unwrap();
            let options = StreamOptions { threads, ..StreamOptions::new(batch, Order::File) };
            let (mut batches, mut from) = (data.stream(options).unwrap(), 0);
            while let Some(batch) = batches.next().unwrap() {
                assert_eq!(compare(&program, &batch, from, &expected), 16);
                from += batch.rows;
                batches.recycle(batch);
            }
            assert_eq!(from, 300);
        }
    }
}

/// Two samples of a request share the time at which it was made.
#[test]
fn a_request_has_one_time() {
    let program = program("key request: int64\n    common visited by request");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests.csv");
    let row = "1000,400,990|0,5,9,1,7\n1000,,990|0,5,9,0,7\n2000,,,,,1,8\n";
    let row = row.replace(",5,9,", ",5|6,9|8,");
    std::fs::write(&path, format!("at,made,clicks,starts,ends,label,request\n{row}")).unwrap();
    let data = Dataset::open(&[&path], &program.schema, ReadMode::Evaluate).unwrap();
    let mut batches = data.stream(StreamOptions::new(10, Order::File)).unwrap();
    let batch = batches.next().unwrap().unwrap();
    let at = |path: &str| program.schema.features.iter().position(|feature| feature.path() == path).unwrap();
    assert_eq!(batch.requests, [0, 2, 3]);
    assert_eq!(batch.ids[at("visited.since")], [1, 2]);
    assert_eq!(batch.dense[at("visited.dwell")], [4.0, 2.0]);
    assert_eq!(batch.dense[at("ad.seconds")], [600.0, -1.0, -1.0]);
    // The samples of a request may not differ in it.
    std::fs::write(&path, "at,made,clicks,starts,ends,label,request\n1,0,0,0,0,1,7\n2,0,0,0,0,0,7\n").unwrap();
    let data = Dataset::open(&[&path], &program.schema, ReadMode::Evaluate).unwrap();
    let mut batches = data.stream(StreamOptions::new(10, Order::File)).unwrap();
    let mut next = || batches.next();
    let error = next().unwrap_err().to_string();
    assert!(error.contains("requests.csv") && error.contains("at"), "{error}");
}

/// A program that takes the logarithm of any gap is refused, not run.
#[test]
fn steps_that_do_not_fit_every_gap_are_refused() {
    let mut altered = (*program("")).clone();
    let mut changed = 0;
    for feature in &mut altered.schema.features {
        if let din_program::schema::FeatureSource::Features(Combination::Gap {
            makes: Made::Number { steps }, ..
        }) = &mut feature.source
        {
            steps.retain(|step| !matches!(step, Step::Clip(..)));
            changed += usize::from(steps.contains(&Step::Log));
        }
    }
    assert_eq!(changed, 2);
    let options = CpuOptions { threads: Some(1), ..CpuOptions::default() };
    let threads = options.start_threads().unwrap();
    let refused = Device::Cpu.executor(&Arc::new(altered), &options, &threads);
    assert!(refused.is_err_and(|error| error.to_string().contains("cannot be made of these features")));
}
