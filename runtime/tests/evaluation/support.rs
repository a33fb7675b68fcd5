//! Models, data, and ranks that run.

use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow_select::concat::concat_batches;
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_program::{Program, TablePrecision};
use din_runtime::checkpoint::{MANIFEST_FORMAT, Manifest, Position, describe, load, save};
use din_runtime::comm::{Communicator, LocalCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::exec::Backend;
use din_runtime::session::{CpuOptions, Device, LoadPurpose, ModelState, Session};
use din_runtime::synth::{SynthOptions, generate};
use din_runtime::table::{Placement, ShardPlan, Sharding};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model of the columns that `din synth` writes. Groups of GAUC are users, by their key, and
/// scenes, by a feature.
const CLICKS: &str = "edition 2026
use std.layer.linear
use std.loss.{cross_entropy, squared_error}
use std.metric.{auc, gauc, log_loss, mae, rmse, xauc}
use std.optimizer.adam
use std.pooling.sum_pool
model clicks {
    features ad { good_id: category  cate_id: category }
    features scene { pid: category(10) }
    sequence visited (keep last 20) { good_id: category from visited_good_ids  cate_id: category from visited_cate_ids }
    label click: binary
    label age: number from age_level
    key user_id: int64
    embedding good [4] for ad.good_id, visited.good_id
    embedding cate [4] for ad.cate_id, visited.cate_id
    embedding [2] for each of scene
    let all = concat(embed(ad), embed(scene), sum_pool(embed(visited)))
    let score = linear(all, 1)
    output vector = concat(score, embed(ad))
    predict click ~ bernoulli(logit = score)
    predict age ~ normal(mean = linear(all, 1))
    train { loss cross_entropy(click) + 0.001 * squared_error(age)  optimizer adam(lr = 0.01)  batch 64  epochs 1 }
    report auc(click), gauc(click, by = user_id), gauc(click, by = scene.pid, weight = none), log_loss(click),
        rmse(age), mae(age), xauc(age)
}";

/// A model that has no value for some numbers: the logit is `log(1 + x)`, plus 0.
const LOGARITHM: &str = "edition 2026
use std.loss.cross_entropy
use std.metric.{auc, gauc, log_loss}
use std.optimizer.sgd
fn shifted(v: [1]) -> [1] {
    param b: [1] = 0
    v + b
}
model logarithm {
    features a { x: number }
    label click: binary
    key id: int64
    predict click ~ bernoulli(logit = shifted(log(1 + a.x)))
    train { loss cross_entropy(click)  optimizer sgd(lr = 0)  batch 64  epochs 1 }
    report auc(click), gauc(click, by = id), log_loss(click)
}";

/// A model of requests, whose samples share an age.
const REQUESTS: &str = "edition 2026
use std.layer.linear
use std.loss.cross_entropy
use std.metric.{auc, gauc, log_loss}
use std.optimizer.sgd
model requests {
    features user { age: category(10) }
    features ad { price: number }
    label click: binary
    key request_id: string
    common user by request_id
    embedding [2] for each of user
    predict click ~ bernoulli(logit = linear(concat(embed(user), ad.price), 1))
    train { loss cross_entropy(click)  optimizer sgd(lr = 0.1)  batch 64  epochs 1 }
    report auc(click), gauc(click, by = user.age), log_loss(click)
}";

fn program(spec: &str) -> Arc<Program> {
    let checked = check("m.din", spec, &NoFiles, &CheckOptions::default());
    let model = checked.model.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    Arc::new(compile(&model, &CompileOptions::default()).unwrap().program)
}

fn session(program: &Arc<Program>) -> Session {
    let options = CpuOptions::default();
    let threads = options.start_threads().unwrap();
    let executor = Device::Cpu.executor(program, &options, &threads).unwrap();
    Session::new(executor, threads, 3).unwrap()
}

/// A model that several ranks read.
pub struct Trained {
    pub program: Arc<Program>,
    model: Arc<ModelState>,
}

impl Trained {
    /// A session of one rank.
    pub fn session(&self) -> Session {
        let options = CpuOptions { threads: Some(1), ..CpuOptions::default() };
        let threads = options.start_threads().unwrap();
        let executor = Device::Cpu.executor(&self.program, &options, &threads).unwrap();
        Session::reader(executor, threads, self.model.clone())
    }

    /// Writes the model as a checkpoint; gives its folder.
    pub fn save(&self, folder: &Path) -> PathBuf {
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            din: "test".into(),
            model: self.program.model.clone(),
            program: self.program.hash(),
            backend: Backend::Cpu(cpu::detect()),
            seed: 3,
            batch: 64,
            leaves: 16,
            ranks: 1,
            position: Position::default(),
            train_loss: 0.0,
            metrics: vec![],
            structure: describe(&self.program),
            files: BTreeMap::new(),
        };
        save(folder, &self.model, &manifest, &LocalCommunicator).unwrap()
    }
}

/// A session of one of several ranks, with its rows of a checkpoint in a precision.
pub fn rank_of(
    program: &Arc<Program>,
    checkpoint: &Path,
    ranks: &Arc<dyn Communicator>,
    placement: Placement,
    tables: TablePrecision,
) -> Session {
    let options = CpuOptions { threads: Some(1), ..CpuOptions::default() };
    let threads = options.start_threads().unwrap();
    let executor = Device::Cpu.executor(program, &options, &threads).unwrap();
    let sharding = Sharding { buckets: 16, rank: ranks.rank(), ranks: ranks.size() };
    let plan = ShardPlan { sharding, placements: vec![placement; program.tables.len()] };
    let loaded = load(checkpoint, program, &plan, LoadPurpose::Inference(tables)).unwrap();
    let mut session = Session::with_model(executor, threads, loaded.model);
    if ranks.size() > 1 {
        session.join_ranks(ranks.clone(), plan).unwrap();
    }
    session
}

/// A model of clicks after an epoch, and 2000 rows that it has not seen: files of row groups of so
/// many rows.
pub fn clicks(folder: &Path, groups: &[usize]) -> (Trained, Vec<PathBuf>) {
    let program = program(CLICKS);
    let options = SynthOptions { rows: 20_000, users: Some(60), goods: 300, categories: 20, ..SynthOptions::default() };
    generate(folder, &options, &mut |_| {}).unwrap();
    let train = Dataset::open(&[folder.join("train.parquet")], &program.schema, ReadMode::Train).unwrap();
    let mut session = session(&program);
    let mut batches = train.stream(StreamOptions::new(64, Order::Shuffled { seed: 1, epoch: 0 })).unwrap();
    while let Some(batch) = batches.next().unwrap() {
        session.train(&batch).unwrap();
        batches.recycle(batch);
    }
    let model = session.into_shared().unwrap();
    let test = rows(&folder.join("test.parquet"));
    let write = |(k, &group): (usize, &usize)| {
        let (path, rows) = (folder.join(format!("test {k}.parquet")), test.num_rows() / groups.len());
        write(&path, &test.slice(k * rows, rows), group);
        path
    };
    let files = groups.iter().enumerate().map(write).collect();
    (Trained { program, model }, files)
}

/// A model after a pass over a file.
pub fn trained(spec: &str, path: &Path) -> Trained {
    let program = program(spec);
    let data = Dataset::open(&[path], &program.schema, ReadMode::Train).unwrap();
    let mut session = session(&program);
    let mut batches = data.stream(StreamOptions::new(64, Order::File)).unwrap();
    while let Some(batch) = batches.next().unwrap() {
        session.train(&batch).unwrap();
        batches.recycle(batch);
    }
    let model = session.into_shared().unwrap();
    Trained { program, model }
}

/// All rows of a file.
pub fn rows(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// The model of a logarithm, and a file of the given numbers, all clicked, ten in a row group.
pub fn logarithm(folder: &Path, numbers: Vec<f32>) -> (Trained, PathBuf) {
    let program = program(LOGARITHM);
    let model = session(&program).into_shared().unwrap();
    let (path, rows) = (folder.join("numbers.parquet"), numbers.len() as i64);
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..rows))),
        ("x", Arc::new(Float32Array::from(numbers))),
        ("click", Arc::new(Int64Array::from_iter_values((0..rows).map(|_| 1)))),
    ];
    write(&path, &RecordBatch::try_from_iter(columns).unwrap(), 10);
    (Trained { program, model }, path)
}

/// The model of requests, and one row group of so many of them, of one to seven samples.
pub fn requests(folder: &Path, count: i64) -> (Trained, PathBuf) {
    let program = program(REQUESTS);
    let model = session(&program).into_shared().unwrap();
    let path = folder.join("requests.parquet");
    let rows: Vec<(i64, i64)> = (0..count).flat_map(|r| (0..1 + r * 5 % 7).map(move |k| (r, k))).collect();
    let each = |f: &dyn Fn(i64, i64) -> i64| Int64Array::from_iter_values(rows.iter().map(|&(r, k)| f(r, k)));
    let columns: [(&str, ArrayRef); 4] = [
        ("request_id", Arc::new(StringArray::from_iter_values(rows.iter().map(|(r, _)| format!("r{r}"))))),
        ("age", Arc::new(each(&|r, _| r % 10))),
        ("price", Arc::new(Float32Array::from_iter_values(rows.iter().map(|(r, k)| (r * k % 11) as f32 / 7.0)))),
        ("click", Arc::new(each(&|r, k| (r + k) % 2))),
    ];
    write(&path, &RecordBatch::try_from_iter(columns).unwrap(), 1 << 20);
    (Trained { program, model }, path)
}

fn write(path: &Path, rows: &RecordBatch, group: usize) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

/// What each of so many ranks gives.
pub fn on_ranks<T: Send>(ranks: usize, run: impl Fn(&Arc<dyn Communicator>) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let run = &run;
        let start = |comm: Arc<dyn Communicator>| scope.spawn(move || run(&comm));
        let running: Vec<_> = in_process(ranks).into_iter().map(start).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}
