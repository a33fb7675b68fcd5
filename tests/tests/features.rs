//! Feature operations: values, statistics of the training data, and models that are trained with
//! them are those that Python computes (`reference/features.py`), from any format, in any batches,
//! on any number of threads and ranks.

use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::schema::{DataStatisticKind, FeatureKind, Schema};
use din_runtime::batch::Batch;
use din_runtime::checkpoint;
use din_runtime::comm::{Communicator, LocalCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::data::{Dataset, OpenOptions, Order, ReadMode, StreamOptions};
use din_runtime::run_dir::{OpenedRun, RunDirectory};
use din_runtime::session::{CpuOptions, Device, LoadPurpose};
use din_runtime::statistics::Statistics;
use din_runtime::table::ShardPlan;
use din_runtime::train::{TrainingOptions, train};
use din_tests::specs;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn reference(name: &str) -> PathBuf {
    specs::root().join("tests/reference").join(name)
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(reference("fixtures/features.json")).unwrap()).unwrap()
}

fn program() -> Arc<Program> {
    let model = specs::model(&reference("specs/features.din"));
    let options = CompileOptions { levels: vec![cpu::detect()], ..CompileOptions::default() };
    Arc::new(compile(&model, &options).unwrap().program)
}

/// By statistic of the schema, what Python computed.
fn statistics(schema: &Schema, expected: &Value) -> Vec<Vec<f32>> {
    let one = |statistic: &din_program::schema::DataStatistic| {
        let kind = match statistic.kind {
            DataStatisticKind::Moments => "moments",
            DataStatisticKind::Quantiles { .. } => "quantiles",
        };
        let name = format!("{}.{kind}", schema.features[statistic.feature as usize].path());
        let numbers = expected["statistics"][&name].as_array().unwrap_or_else(|| panic!("{name}"));
        numbers.iter().map(|number| number.as_f64().unwrap() as f32).collect()
    };
    schema.statistics.iter().map(one).collect()
}

/// A feature's values, row after row: an id as its number, numbers as they are.
fn flat(value: &Value, into: &mut Vec<Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flat(value, into)),
        other => into.push(other.clone()),
    }
}

/// Compares rows `from..` of every feature with what Python computed, but for some.
fn compare(schema: &Schema, batch: &Batch, from: usize, expected: &Value, but_for: &[&str]) {
    for (f, feature) in schema.features.iter().enumerate() {
        let path = feature.path();
        if but_for.contains(&path.as_str()) {
            continue;
        }
        let rows = expected["values"][&path].as_array().unwrap_or_else(|| panic!("no values of {path}"));
        let rows = &rows[from..from + batch.rows];
        if let Some(s) = feature.sequence {
            let lengths: Vec<u32> = batch.offsets[s as usize].windows(2).map(|pair| pair[1] - pair[0]).collect();
            let expected: Vec<u32> = rows.iter().map(|row| row.as_array().unwrap().len() as u32).collect();
            assert_eq!(lengths, expected, "lengths of {path}");
        }
        let mut values = Vec::new();
        rows.iter().for_each(|row| flat(row, &mut values));
        match feature.kind {
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => {
                let expected: Vec<u64> = values.iter().map(|value| value.as_u64().unwrap()).collect();
                assert_eq!(batch.ids[f], expected, "{path}");
            }
            FeatureKind::Dense { .. } => {
                assert_eq!(batch.dense[f].len(), values.len(), "{path}");
                for (k, (found, expected)) in batch.dense[f].iter().zip(&values).enumerate() {
                    let expected = expected.as_f64().unwrap() as f32;
                    // Logarithms of two libraries may differ in the last bit.
                    let near = (found - expected).abs() <= 2e-7 * expected.abs().max(1e-3);
                    assert!(near, "{path}, value {k}: {found}, expected {expected}");
                }
            }
        }
    }
}

fn read(program: &Program, file: &str, expected: &Value, (batch, threads): (usize, usize), but_for: &[&str]) {
    let statistics = Statistics::new(statistics(&program.schema, expected));
    for mode in [ReadMode::Train, ReadMode::Evaluate, ReadMode::Predict] {
        let options = OpenOptions { statistics: statistics.clone(), ..OpenOptions::new(mode) };
        let data = Dataset::open_with(&[reference(file)], &program.schema, &options).unwrap();
        let mut batches = data.stream(StreamOptions { threads, ..StreamOptions::new(batch, Order::File) }).unwrap();
        let mut from = 0;
        while let Some(batch) = batches.next().unwrap() {
            compare(&program.schema, &batch, from, expected, but_for);
            from += batch.rows;
            batches.recycle(batch);
        }
        assert_eq!(from as u64, expected["rows"].as_u64().unwrap());
    }
}

#[test]
fn values_are_those_of_brute_force() {
    let (program, expected) = (program(), expected());
    for shape in [(1000, 1), (7, 3), (64, 2)] {
        read(&program, "fixtures/features.parquet", &expected, shape, &[]);
        // An empty field of a CSV is a missing list.
        read(&program, "fixtures/features.csv", &expected, shape, &["visited.no_history", "ad.no_tags"]);
    }
}

fn options(out: &Path, file: &str, threads: usize, ranks: Arc<dyn Communicator>) -> TrainingOptions {
    TrainingOptions {
        spec_folder: PathBuf::new(),
        train: vec![reference(file)],
        valid: Vec::new(),
        out: out.into(),
        resume: None,
        epochs: None,
        batch: None,
        leaves: None,
        seed: None,
        cpu: CpuOptions { threads: Some(threads), ..CpuOptions::default() },
        device: Device::Cpu,
        list_separator: None,
        checkpoint_every: None,
        evaluate_every: None,
        stop_after: None,
        profile: false,
        placements: Vec::new(),
        ranks,
    }
}

fn train_on(program: &Arc<Program>, out: &Path, file: &str, threads: usize, ranks: usize) {
    let comms = if ranks == 1 { vec![Arc::new(LocalCommunicator) as Arc<dyn Communicator>] } else { in_process(ranks) };
    std::thread::scope(|scope| {
        for comm in comms {
            scope.spawn(move || train(program, &options(out, file, threads, comm), &mut |_| {}).unwrap());
        }
    });
}

/// The statistics that the last checkpoint of a run has, and the hash of its dense values.
fn kept(program: &Arc<Program>, out: &Path) -> (Vec<Vec<f32>>, String) {
    let run = RunDirectory::open(out).unwrap();
    let record = run.record().unwrap();
    let plan = ShardPlan::whole(program.tables.len());
    let (name, loaded) = run.load("last", program, &record, &plan, LoadPurpose::Training).unwrap();
    let manifest = checkpoint::read_manifest(&run.checkpoints().join(name)).unwrap();
    (loaded.model.statistics.values().unwrap().to_vec(), manifest.files["dense.safetensors"].clone())
}

#[test]
fn statistics_are_those_of_numpy_and_bits_those_of_one_rank() {
    let (program, expected) = (program(), expected());
    let folder = tempfile::tempdir().unwrap();
    let statistics = statistics(&program.schema, &expected);
    let mut bits = Vec::new();
    for (k, (file, threads, ranks)) in
        [("parquet", 1, 1), ("parquet", 3, 1), ("parquet", 1, 3), ("parquet", 2, 2)].into_iter().enumerate()
    {
        let out = folder.path().join(k.to_string());
        train_on(&program, &out, &format!("fixtures/features.{file}"), threads, ranks);
        let (found, hash) = kept(&program, &out);
        assert_eq!(found, statistics, "{threads} threads, {ranks} ranks");
        bits.push(hash);
    }
    assert!(bits.iter().all(|hash| *hash == bits[0]), "{bits:?}");
}

#[test]
fn a_resumed_run_keeps_its_statistics() {
    let program = program();
    let folder = tempfile::tempdir().unwrap();
    let (whole, resumed) = (folder.path().join("whole"), folder.path().join("resumed"));
    let run = |out: &Path, epochs: u32, resume: Option<OpenedRun>| {
        let options = options(out, "fixtures/features.parquet", 2, Arc::new(LocalCommunicator));
        train(&program, &TrainingOptions { epochs: Some(epochs), resume, ..options }, &mut |_| {}).unwrap();
    };
    run(&whole, 3, None);
    run(&resumed, 1, None);
    run(&resumed, 3, OpenedRun::to_resume(&resumed, &LocalCommunicator).unwrap());
    assert_eq!(kept(&program, &whole), kept(&program, &resumed));
}

/// Two rows per request; `user` and `seen` are common.
const REQUESTS: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.auc\n\
    use std.optimizer.sgd\nmodel m {\nfeatures user { u: category(5)  w: category of string }\n\
    features ad { a: category(7)  x: number from standard(x) }\n\
    features both { p: category of (user.u, ad.a)  q: category(11, hash) of (ad.a, user.w) }\n\
    sequence seen { s: category(7) from seen_s  t: category of (seen.s, user.u) }\n\
    sequence own { o: category(7) from own_o  t: category of (own.o, ad.a, user.u) }\n\
    label y: binary\nkey request: int64\ncommon user, seen by request\n\
    embedding [2] for each of user, ad, both, seen, own\n\
    let v = concat(embed(user), embed(ad), embed(both), sum(embed(seen) over seen), sum(embed(own) over own), \
    overlap(own.o, seen.s), overlap(seen.s, seen.s), sum((own.o == ad.a) * (own.o != ad.a) + (own.o == ad.a) over own))\n\
    predict y ~ bernoulli(logit = linear(v, 1))\n\
    train { loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 3  epochs 1 }\nreport auc(y)\n}\n";

#[test]
fn combinations_respect_requests() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.csv");
    let mut text = String::from("u,w,a,x,seen_s,own_o,y,request\n");
    for row in 0..24u32 {
        let request = row / 2;
        let list =
            |seed: u32| (0..seed % 4).map(|k| ((seed * 5 + k * 3) % 7).to_string()).collect::<Vec<_>>().join("|");
        let (u, w, a) = (request % 5, ["a", "b", "c"][request as usize % 3], (row * 3) % 7);
        text += &format!("{u},{w},{a},{row},{},{},{},{request}\n", list(request), list(row), row % 2);
    }
    std::fs::write(&file, text).unwrap();
    let with = specs::checked("with.din", REQUESTS);
    let without = specs::checked("without.din", &REQUESTS.replace("common user, seen by request\n", ""));
    let batches = |model: &din_compiler::model::CheckedModel, batch: usize| {
        let statistics = Statistics::new(vec![vec![11.5, 6.0]]);
        let options = OpenOptions { statistics, ..OpenOptions::new(ReadMode::Evaluate) };
        let data = Dataset::open_with(&[&file], &model.schema, &options).unwrap();
        let mut batches = data.stream(StreamOptions::new(batch, Order::File)).unwrap();
        let mut all = Vec::new();
        while let Some(batch) = batches.next().unwrap() {
            all.push(batch);
        }
        all
    };
    // By feature and row, its values: a request's at each of its rows.
    let spread = |model: &din_compiler::model::CheckedModel, batches: &[Batch]| {
        let mut rows = vec![Vec::new(); model.schema.features.len()];
        for batch in batches {
            let request_of = batch.request_of();
            for (f, feature) in model.schema.features.iter().enumerate() {
                let unit_of = |sample: usize| if feature.common { request_of[sample] as usize } else { sample };
                for unit in (0..batch.rows).map(unit_of) {
                    let range = match feature.sequence {
                        Some(s) => {
                            let offsets = &batch.offsets[s as usize];
                            offsets[unit] as usize..offsets[unit + 1] as usize
                        }
                        None => unit..unit + 1,
                    };
                    let bits =
                        batch.dense[f].get(range.clone()).map(|x| x.iter().map(|x| u64::from(x.to_bits())).collect());
                    rows[f].push(batch.ids[f].get(range).map_or_else(|| bits.unwrap(), <[u64]>::to_vec));
                }
            }
        }
        rows
    };
    let flat = spread(&without, &batches(&without, 24));
    for batch in [2, 5, 24] {
        assert_eq!(spread(&with, &batches(&with, batch)), flat, "batches of {batch}");
    }
    // `own.o == ad.a` by hand, of the last row.
    let feature = |path: &str| without.schema.features.iter().position(|f| f.path() == path).unwrap();
    let (own, equal) = (feature("own.o"), feature("own.o == ad.a"));
    assert!(flat[equal].iter().flatten().any(|&bits| bits == u64::from(1f32.to_bits())));
    for (row, own) in flat[own].iter().enumerate() {
        let a = flat[feature("ad.a")][row][0];
        let by_hand: Vec<u64> = own.iter().map(|&o| u64::from(f32::from(u8::from(o == a)).to_bits())).collect();
        assert_eq!(flat[equal][row], by_hand);
        let pair = flat[feature("user.u")][row][0] * 7 + a;
        assert_eq!(flat[feature("both.p")][row], [pair]);
    }
}
