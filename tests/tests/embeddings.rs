//! Settings of embedding tables, on one rank and on several that are threads of this process.

use din_compiler::{CompileOptions, compile};
use din_program::{Program, TablePrecision};
use din_runtime::batch::Batch;
use din_runtime::checkpoint;
use din_runtime::comm::{Communicator, LocalCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::data::string_id;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::random::Stream;
use din_runtime::run_dir::{OpenedRun, RunDirectory};
use din_runtime::session::{CpuOptions, Device, LoadPurpose};
use din_runtime::table::{Placement, ShardPlan};
use din_runtime::threads::Threads;
use din_runtime::train::{Event, TrainingOptions, train};
use din_tests::batches::batch;
use din_tests::random_graph::Random;
use din_tests::rank_training::{Row, TrainedRank, bits, train_rank};
use din_tests::specs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The seed of [`train_rank`].
const SEED: u64 = 11;

fn program(file: &str, text: &str) -> Arc<Program> {
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
    Arc::new(compile(&specs::checked(file, text), &options).unwrap().program)
}

fn trained(program: &Arc<Program>, batches: &[Batch], ranks: usize) -> Vec<TrainedRank> {
    let comms = if ranks == 1 { vec![Arc::new(LocalCommunicator) as Arc<dyn Communicator>] } else { in_process(ranks) };
    std::thread::scope(|scope| {
        let run = |comm| {
            scope.spawn(move || {
                let threads = Threads::new(1).unwrap();
                let executor = CpuExecutor::new(program.clone(), threads.clone(), cpu::detect()).unwrap();
                let placements = vec![Placement::Sharded; program.tables.len()];
                train_rank(Box::new(executor), threads, batches, 16, &comm, placements)
            })
        };
        let handles: Vec<_> = comms.into_iter().map(run).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

/// The rows of a table on all ranks.
fn rows(ranks: &[TrainedRank], table: usize) -> BTreeMap<u64, Row> {
    ranks.iter().flat_map(|rank| rank.tables[table].clone()).collect()
}

#[test]
fn frozen_rows_stay_as_they_start_and_have_no_state() {
    let program = program("frozen.din", specs::FROZEN);
    let mut random = Random::new(5);
    let batches: Vec<Batch> = (0..4).map(|_| batch(&program.schema, 200, &mut random)).collect();
    for ranks in [1, 3] {
        let trained = trained(&program, &batches, ranks);
        for (t, spec) in program.tables.iter().enumerate() {
            let mut rows = rows(&trained, t);
            let oov = rows.remove(&u64::MAX);
            assert_eq!(oov.is_some(), spec.name != "kinds");
            let key = Stream::key(SEED, &format!("table {}", spec.name));
            let start = |id: u64| {
                let mut start = vec![0.0; spec.width as usize];
                Stream::keyed(key, id).fill(spec.init, &mut start);
                start
            };
            assert!(rows.len() > 3, "{} ids", rows.len());
            if spec.name == "own" {
                assert!(rows.iter().all(|(&id, row)| row[..3] != bits(&start(id))), "it is trained");
                continue;
            }
            // Weights, frequency, number of updates; nothing of an optimizer.
            let expected = |id: u64| [bits(&start(id)), vec![0, 0]].concat();
            rows.iter().for_each(|(&id, row)| assert_eq!(*row, expected(id), "{} of {}", id, spec.name));
            for (k, &found) in oov.iter().flat_map(|row| row.iter().take(5).enumerate()) {
                let mean = rows.keys().map(|&id| f64::from(start(id)[k])).sum::<f64>() / rows.len() as f64;
                assert!((f64::from(f32::from_bits(found)) - mean).abs() < 1e-6, "the mean of all rows");
            }
        }
    }
}

/// Ids of a dynamic table, strings, and a fixed number, each with a file of vectors.
const GIVEN: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.log_loss\n\
    use std.optimizer.adam\nuse std.regularizer.adaptive\n\
    model given {\nfeatures ad { good: category  shop: category of string  kind: category(6) }\n\
    sequence visited { good: category from visited }\nlabel y: binary\n\
    embedding good [3] for ad.good, visited.good { init from \"good.safetensors\" else normal(0.5)  regularize adaptive(0.01) }\n\
    embedding shop [2] for ad.shop { optimizer frozen  init from \"shop.safetensors\" }\n\
    embedding kind [2] for ad.kind { init from \"kind.safetensors\" else 0.25 }\n\
    embedding plain [2] for ad.good\n\
    let v = concat(good(ad.good), shop(ad.shop), kind(ad.kind), plain(ad.good), sum(good(visited.good) over visited))\n\
    predict y ~ bernoulli(logit = linear(v, 1))\n\
    train { loss cross_entropy(y)  optimizer adam(lr = RATE)  batch 64  epochs 2 }\nreport log_loss(y)\n}\n";

fn given(rate: &str) -> Arc<Program> {
    program("given.din", &GIVEN.replace("RATE", rate))
}

/// Name, type, shape and bytes of a tensor.
type Tensor = (&'static str, &'static str, Vec<usize>, Vec<u8>);

fn i64s(name: &'static str, values: &[i64]) -> Tensor {
    (name, "I64", vec![values.len()], values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

fn f32s(name: &'static str, width: usize, values: &[f32]) -> Tensor {
    (name, "F32", vec![values.len() / width, width], values.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// A safetensors file, byte by byte.
fn safetensors(path: &Path, tensors: &[Tensor]) {
    let (mut header, mut bytes) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, data) in tensors {
        let ends = [bytes.len(), bytes.len() + data.len()];
        header.insert((*name).into(), serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": ends}));
        bytes.extend(data);
    }
    let header = serde_json::to_string(&header).unwrap();
    std::fs::write(path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()).unwrap();
}

/// A vector that says whose it is.
fn vector(width: usize, id: i64) -> Vec<f32> {
    (0..width).map(|k| id as f32 * 0.001 + k as f32).collect()
}

const GOODS: std::ops::Range<i64> = -20..120;
const SHOPS: [&str; 4] = ["nord", "süd", "none of the log", ""];

/// Writes a log of 400 samples and the files of vectors; gives the log's goods and shops.
fn write_given(folder: &Path) -> (BTreeSet<i64>, BTreeSet<String>) {
    let mut random = Random::new(3);
    let (mut goods, mut shops) = (BTreeSet::new(), BTreeSet::new());
    let mut text = String::from("good,shop,kind,visited,y\n");
    for _ in 0..400 {
        let mut good = || {
            let id = random.below(400) as i64 - 100;
            goods.insert(id);
            id.to_string()
        };
        let (one, list) = (good(), [good(), good()].join("|"));
        let shop = ["nord", "süd", "ost", "west"][random.below(4)];
        shops.insert(shop.to_string());
        text += &format!("{one},{shop},{},{list},{}\n", random.below(5), random.below(2));
    }
    std::fs::write(folder.join("log.csv"), text).unwrap();
    let goods_of_file: Vec<i64> = GOODS.rev().collect();
    let vectors: Vec<f32> = goods_of_file.iter().flat_map(|&id| vector(3, id)).collect();
    safetensors(&folder.join("good.safetensors"), &[i64s("ids", &goods_of_file), f32s("vectors", 3, &vectors)]);
    let ends = SHOPS.iter().scan(0, |end, shop| {
        *end += shop.len() as i64;
        Some(*end)
    });
    let offsets: Vec<i64> = [0].into_iter().chain(ends).collect();
    let bytes: Vec<u8> = SHOPS.concat().into_bytes();
    let vectors: Vec<f32> = (0..4).flat_map(|k| vector(2, k)).collect();
    let text = ("ids", "U8", vec![bytes.len()], bytes);
    safetensors(&folder.join("shop.safetensors"), &[text, i64s("offsets", &offsets), f32s("vectors", 2, &vectors)]);
    let vectors = [vector(2, 5), vector(2, 1)].concat();
    safetensors(&folder.join("kind.safetensors"), &[f32s("vectors", 2, &vectors), i64s("ids", &[5, 1])]);
    (goods, shops)
}

fn options(folder: &Path, out: &str, threads: usize, ranks: Arc<dyn Communicator>) -> TrainingOptions {
    TrainingOptions {
        spec_folder: folder.into(),
        train: vec![folder.join("log.csv")],
        valid: Vec::new(),
        out: folder.join(out),
        resume: None,
        epochs: None,
        batch: None,
        leaves: None,
        seed: Some(SEED),
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

/// Threads, ranks and where tables are: those whose bits are compared with the others'.
const ALONE: (usize, usize, Placement) = (1, 1, Placement::Sharded);
const OTHERS: [(usize, usize, Placement); 4] =
    [(3, 1, Placement::Sharded), (1, 2, Placement::Sharded), (1, 3, Placement::Sharded), (1, 3, Placement::Replicated)];

/// Trains with all tables placed so; gives what was noted.
fn train_on(
    program: &Arc<Program>,
    folder: &Path,
    out: &str,
    (threads, ranks, placement): (usize, usize, Placement),
    resume: bool,
) -> Vec<String> {
    let comms = if ranks == 1 { vec![Arc::new(LocalCommunicator) as Arc<dyn Communicator>] } else { in_process(ranks) };
    let notes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for comm in comms {
            let notes = &notes;
            scope.spawn(move || {
                let mut observe = |event| {
                    if let Event::Note(note) = event {
                        notes.lock().unwrap().push(note);
                    }
                };
                let resume = if resume { OpenedRun::to_resume(&folder.join(out), &*comm).unwrap() } else { None };
                let placements = program.tables.iter().map(|table| (table.name.clone(), placement)).collect();
                let options = TrainingOptions { resume, placements, ..options(folder, out, threads, comm) };
                train(program, &options, &mut observe).unwrap()
            });
        }
    });
    notes.into_inner().unwrap()
}

/// By table, by id, the bits of the vector; the OOV row has no id. Then the hash of the dense
/// values.
type Kept = (Vec<BTreeMap<Option<u64>, Vec<u32>>>, String);

fn kept(program: &Arc<Program>, folder: &Path, out: &str, purpose: LoadPurpose) -> Kept {
    let run = RunDirectory::open(&folder.join(out)).unwrap();
    let record = run.record().unwrap();
    let (name, loaded) = run.load("last", program, &record, &ShardPlan::whole(program.tables.len()), purpose).unwrap();
    let tables = loaded.model.tables.iter().map(|table| {
        let row = |row: u32| bits(&table.weights()[row as usize * table.width()..][..table.width()]);
        let oov = table.is_dynamic().then(|| (None, row(0)));
        table.in_key_order().into_iter().map(|(id, number, _)| (Some(id), row(number))).chain(oov).collect()
    });
    let manifest = checkpoint::read_manifest(&run.checkpoints().join(name)).unwrap();
    (tables.collect(), manifest.files["dense.safetensors"].clone())
}

#[test]
fn rows_start_from_the_vectors_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (goods, shops) = write_given(folder);
    let program = given("0");
    let notes = train_on(&program, folder, "run", ALONE, false);
    let used = goods.iter().filter(|id| GOODS.contains(id)).count();
    let path = |name: &str| folder.join(name).display().to_string();
    let expected = [
        format!(
            "table `good`: of {} ids in the training data {used} start from {}, {} do not; {} of its 140 vectors are \
             of other ids",
            goods.len(),
            path("good.safetensors"),
            goods.len() - used,
            140 - used
        ),
        format!(
            "table `shop`: of 4 ids in the training data 2 start from {}, 2 do not; 2 of its 4 vectors are of other ids",
            path("shop.safetensors")
        ),
        format!(
            "table `kind`: of 5 ids in the training data 1 start from {}, 4 do not; 1 of its 2 vectors are of other ids",
            path("kind.safetensors")
        ),
    ];
    assert_eq!(notes, expected);
    assert!((100..140).contains(&used) && shops.len() == 4, "{used} goods");

    let (tables, _) = kept(&program, folder, "run", LoadPurpose::Training);
    let start = |t: usize, id: u64| {
        let spec = &program.tables[t];
        let mut start = vec![0.0; spec.width as usize];
        Stream::keyed(Stream::key(SEED, &format!("table {}", spec.name)), id).fill(spec.init, &mut start);
        bits(&start)
    };
    let good: BTreeSet<i64> = tables[0].keys().flatten().map(|&id| id as i64).collect();
    assert_eq!(good, goods.iter().copied().chain(GOODS).collect(), "rows of the log's ids and of the file's");
    for &id in &good {
        let expected = if GOODS.contains(&id) { bits(&vector(3, id)) } else { start(0, id as u64) };
        assert_eq!(tables[0][&Some(id as u64)], expected, "good {id}");
    }
    for (k, shop) in SHOPS.into_iter().enumerate() {
        assert_eq!(tables[1][&Some(string_id(shop))], bits(&vector(2, k as i64)), "shop {shop}");
    }
    assert_eq!(tables[1][&Some(string_id("ost"))], start(1, string_id("ost")));
    for id in 0..6u64 {
        let expected = if [5, 1].contains(&id) { vector(2, id as i64) } else { vec![0.25; 2] };
        assert_eq!(tables[2][&Some(id)], bits(&expected), "kind {id}");
    }
}

#[test]
fn bits_with_given_vectors_are_those_of_one_rank_and_a_resumed_run_needs_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_given(folder);
    let program = given("0.05");
    let notes = train_on(&program, folder, "whole", ALONE, false);
    let expected = kept(&program, folder, "whole", LoadPurpose::Training);
    for (k, on) in OTHERS.into_iter().enumerate() {
        let out = format!("run{k}");
        assert_eq!(train_on(&program, folder, &out, on, false), notes, "{on:?}");
        assert_eq!(kept(&program, folder, &out, LoadPurpose::Training), expected, "{on:?}");
    }
    let run = |resume: Option<OpenedRun>, epochs: u32| {
        let options = options(folder, "resumed", 1, Arc::new(LocalCommunicator));
        train(&program, &TrainingOptions { epochs: Some(epochs), resume, ..options }, &mut |_| {}).unwrap();
    };
    run(None, 1);
    for name in ["good", "shop", "kind"] {
        std::fs::remove_file(folder.join(format!("{name}.safetensors"))).unwrap();
    }
    run(OpenedRun::to_resume(&folder.join("resumed"), &LocalCommunicator).unwrap(), 2);
    assert_eq!(kept(&program, folder, "resumed", LoadPurpose::Training), expected);
    let precision = TablePrecision::F32;
    assert_eq!(kept(&program, folder, "resumed", LoadPurpose::Inference(precision)), expected, "inference needs none");
}

#[test]
fn what_is_wrong_with_a_file_of_vectors_is_told_with_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_given(folder);
    let program = given("0.05");
    let file = |name: &str| folder.join(name);
    let whole = |name: &str| std::fs::read(file(name)).unwrap();
    let refused = |name: &str, line: &str, said: &str| {
        let run = train(&program, &options(folder, "run", 1, Arc::new(LocalCommunicator)), &mut |_| {});
        let message = run.unwrap_err().message;
        let place = format!("{}:{line}: {}: ", file("given.din").display(), file(name).display());
        assert!(message.starts_with(&place), "expected {place} before {message}");
        assert!(message.contains(said), "expected `{said}` in {message}");
        assert!(!folder.join("run").exists(), "nothing is left behind");
    };
    let good = |tensors: &[Tensor], said: &str| {
        let before = whole("good.safetensors");
        safetensors(&file("good.safetensors"), tensors);
        refused("good.safetensors", "11:58", said);
        std::fs::write(file("good.safetensors"), before).unwrap();
    };
    let vectors = |n: usize| f32s("vectors", 3, &vec![0.5; 3 * n]);
    let ids = i64s("ids", &[7, -1]);
    good(&[ids.clone(), f32s("vectors", 4, &[0.0; 8])], "tensor `vectors`: expected F32 [2, 3], found F32 [2, 4]");
    good(&[ids.clone(), vectors(3)], "tensor `vectors`: expected F32 [2, 3], found F32 [3, 3]");
    let halves = ("vectors", "F16", vec![2, 3], vec![0; 12]);
    good(&[ids.clone(), halves], "tensor `vectors`: expected F32 [2, 3], found F16 [2, 3]");
    good(&[i64s("keys", &[7, -1]), vectors(2)], "expected a tensor `ids`, I64 or U64 [n]; found `keys`, `vectors`");
    good(std::slice::from_ref(&ids), "expected a tensor `vectors`, F32 [2, 3]; found `ids`");
    good(&[("ids", "F32", vec![2], vec![0; 8]), vectors(2)], "tensor `ids`: expected I64 or U64 [n], found F32 [2]");
    let twice = "tensor `ids`: expected each id once, found the same one at 1 and at 3";
    good(&[i64s("ids", &[7, -1, 3, -1]), vectors(4)], twice);
    let finite = "tensor `vectors`: expected finite values, found NaN: component 2 of vector 1";
    good(&[ids.clone(), f32s("vectors", 3, &[0.0, 1.0, 2.0, 3.0, 4.0, f32::NAN])], finite);

    let before = whole("good.safetensors");
    std::fs::write(file("good.safetensors"), &before[..before.len() - 8]).unwrap();
    refused("good.safetensors", "11:58", "tensor `vectors`: the file is cut short, or its header is wrong");
    std::fs::write(file("good.safetensors"), "good,vector\n1,0.5\n").unwrap();
    refused("good.safetensors", "11:58", "expected a safetensors file");
    std::fs::remove_file(file("good.safetensors")).unwrap();
    refused("good.safetensors", "11:58", "cannot read: No such file");
    std::fs::write(file("good.safetensors"), before).unwrap();

    let before = whole("shop.safetensors");
    let text = ("ids", "U8", vec![3], b"abc".to_vec());
    let of_shops = |offsets: &[i64], said: &str| {
        let vectors = f32s("vectors", 2, &[0.0; 4]);
        safetensors(&file("shop.safetensors"), &[text.clone(), i64s("offsets", offsets), vectors]);
        refused("shop.safetensors", "12:62", said);
    };
    of_shops(&[0, 2, 4], "tensor `offsets`: expected offsets from 0 to the 3 bytes of `ids`");
    of_shops(&[0, 5, 3], "expected ascending offsets");
    of_shops(&[0, -1, 3], "tensor `offsets`: expected numbers of at least 0, found -1 at 1");
    std::fs::write(file("shop.safetensors"), before).unwrap();

    let of_kinds = |ids: &[i64], said: &str| {
        safetensors(&file("kind.safetensors"), &[i64s("ids", ids), f32s("vectors", 2, &vec![0.0; 2 * ids.len()])]);
        refused("kind.safetensors", "13:44", said);
    };
    of_kinds(&[0, 6], "tensor `ids`: expected ids from 0 to 5, found 6 at 1");
    of_kinds(&[-3], "tensor `ids`: expected numbers of at least 0, found -3 at 0");
}

/// A table of goods and, to see what others do, one of kinds; rows start from 0.
fn admitting(goods: &str, optimizer: &str) -> Arc<Program> {
    let text = format!(
        "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.log_loss\n\
         use std.optimizer.adam\nuse std.regularizer.adaptive\n\
         optimizer trust(lr) per tensor {{\n    state norm = 0\n\
         norm = 0.9 * norm + sqrt(sum(grad * grad)) + mean(weight * weight)\n\
         weight = weight - lr * grad / (norm + 0.1)\n}}\n\
         model admitting {{\nfeatures ad {{ good: category  kind: category(6) }}\n\
         sequence visited {{ good: category from visited }}\nlabel y: binary\n\
         embedding good [3] for ad.good, visited.good {{ {goods} }}\nembedding kind [2] for ad.kind\n\
         let v = concat(good(ad.good), kind(ad.kind), sum(good(visited.good) * good(ad.good) over visited))\n\
         predict y ~ bernoulli(logit = linear(v, 1))\n\
         train {{ loss cross_entropy(y)  optimizer {optimizer}  batch 64  epochs 2 }}\nreport log_loss(y)\n}}\n"
    );
    // What a variant does not use is left out.
    let text = if goods.contains("adaptive") { text } else { text.replace("use std.regularizer.adaptive\n", "") };
    program("admitting.din", &text)
}

/// Goods of a log by sample, its first column and its list.
type Log = Vec<Vec<i64>>;

/// A log in which few goods are frequent; each good as `named` has it.
fn write_log(folder: &Path, named: impl Fn(i64) -> i64) -> Log {
    let mut random = Random::new(8);
    let mut log = Vec::new();
    let mut text = String::from("good,kind,visited,y\n");
    for _ in 0..500 {
        let mut good = || (random.below(12) * random.below(12) * random.below(3)) as i64 * 7 - 300;
        let goods = vec![good(), good(), good()];
        let shown: Vec<String> = goods.iter().map(|&good| named(good).to_string()).collect();
        text += &format!("{},{},{}|{},{}\n", shown[0], random.below(6), shown[1], shown[2], random.below(2));
        log.push(goods);
    }
    std::fs::write(folder.join("log.csv"), text).unwrap();
    log
}

/// By good, the samples that contain it.
fn frequencies(log: &Log) -> BTreeMap<i64, u64> {
    let mut counts = BTreeMap::new();
    for goods in log {
        for good in goods.iter().copied().collect::<BTreeSet<i64>>() {
            *counts.entry(good).or_default() += 1;
        }
    }
    counts
}

/// The goods that a rule admits, found by sorting: of equally frequent ones those with the smaller
/// key.
fn admitted(counts: &BTreeMap<i64, u64>, least: u64, most: usize) -> BTreeSet<i64> {
    let mut sorted: Vec<(i64, u64)> = counts.iter().map(|(&good, &count)| (good, count)).collect();
    sorted.sort_by_key(|&(good, count)| (std::cmp::Reverse(count), good as u64));
    sorted.into_iter().filter(|&(_, count)| count >= least).take(most).map(|(good, _)| good).collect()
}

/// Rules with the least frequency and the most goods that they admit.
const RULES: [(&str, u64, usize); 4] = [
    ("admit when frequency >= 8", 8, usize::MAX),
    ("admit top 25 by frequency", 1, 25),
    ("admit top 1_000_000 by frequency", 1, 1_000_000),
    ("admit when frequency >= 1e9", 1_000_000_000, 0),
];

#[test]
fn training_is_that_of_a_log_in_which_other_ids_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let counts = frequencies(&write_log(folder, |good| good));
    const ONE: i64 = 7_000_001;
    for (k, (rule, least, most)) in RULES.into_iter().enumerate() {
        let chosen = admitted(&counts, least, most);
        for (optimizer, updates) in [("adam(lr = 0.05)", "sparse"), ("adam(lr = 0.05) with dense updates", "dense")] {
            let joined = folder.join(format!("joined{k}{updates}"));
            std::fs::create_dir(&joined).unwrap();
            write_log(&joined, |good| if chosen.contains(&good) { good } else { ONE });
            let program = admitting("init 0", optimizer);
            train_on(&program, &joined, "run", ALONE, false);
            let (mut expected, dense) = kept(&program, &joined, "run", LoadPurpose::Training);
            // The row of the one is the OOV row, if there is one.
            let one = expected[0].remove(&Some(ONE as u64));
            assert_eq!(one.is_some(), chosen.len() < counts.len());
            expected[0].insert(None, one.unwrap_or(vec![0; 3]));

            let program = admitting(&format!("{rule}  init 0"), optimizer);
            let out = format!("run{k}{updates}");
            let notes = train_on(&program, folder, &out, ALONE, false);
            assert_eq!(kept(&program, folder, &out, LoadPurpose::Training), (expected, dense), "{rule}, {updates}");
            let said = format!(
                "table `good`: {} of {} ids in the training data are admitted, {} read the OOV row",
                chosen.len(),
                counts.len(),
                counts.len() - chosen.len()
            );
            assert_eq!(notes, [said]);
        }
    }
}

#[test]
fn frequencies_of_admitted_ids_are_their_own_and_the_oov_row_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let counts = frequencies(&write_log(folder, |good| good));
    let chosen = admitted(&counts, 1, 25);
    let line = chosen.iter().map(|good| counts[good]).min().unwrap();
    assert!(counts.iter().any(|(good, &count)| count == line && !chosen.contains(good)), "some are as frequent");
    let program = admitting("admit top 25 by frequency", "adam(lr = 0.05)");
    train_on(&program, folder, "run", (1, 3, Placement::Sharded), false);
    let run = RunDirectory::open(&folder.join("run")).unwrap();
    let record = run.record().unwrap();
    let plan = ShardPlan::whole(program.tables.len());
    let (_, loaded) = run.load("last", &program, &record, &plan, LoadPurpose::Training).unwrap();
    let table = &loaded.model.tables[0];
    let found: BTreeMap<i64, u64> =
        table.in_key_order().iter().map(|&(id, row, _)| (id as i64, table.frequency()[row as usize] as u64)).collect();
    let expected: BTreeMap<i64, u64> = chosen.iter().map(|&good| (good, counts[&good])).collect();
    assert_eq!(found, expected);
    let others: u64 = counts.iter().filter(|(good, _)| !chosen.contains(good)).map(|(_, &count)| count).sum();
    assert_eq!(table.frequency()[0], others as f32);
    let other = *counts.keys().find(|good| !chosen.contains(good)).unwrap();
    let mut rows = Vec::new();
    table.resolve_read(&[other as u64, *chosen.first().unwrap() as u64, 123_456_789], &mut rows).unwrap();
    assert_eq!([rows[0], rows[2]], [0, 0], "an id that is not admitted and one that training never saw");
    assert_ne!(rows[1], 0);
}

#[test]
fn bits_with_admission_are_those_of_one_rank_and_of_a_run_that_was_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_log(folder, |good| good);
    let settings = [
        ("admit when frequency >= 8  regularize adaptive(0.01)", "adam(lr = 0.05)"),
        ("admit top 25 by frequency", "adam(lr = 0.05) with dense updates"),
        ("admit when frequency >= 8  optimizer trust(lr = 0.1)", "adam(lr = 0.05)"),
        ("admit top 25 by frequency  optimizer trust(lr = 0.1) with dense updates", "adam(lr = 0.05)"),
    ];
    for (s, (goods, optimizer)) in settings.into_iter().enumerate() {
        let program = admitting(goods, optimizer);
        let notes = train_on(&program, folder, &format!("whole{s}"), ALONE, false);
        let expected = kept(&program, folder, &format!("whole{s}"), LoadPurpose::Training);
        for (k, on) in OTHERS.into_iter().enumerate() {
            let out = format!("run{s}{k}");
            assert_eq!(train_on(&program, folder, &out, on, false), notes, "{goods}, {on:?}");
            assert!(kept(&program, folder, &out, LoadPurpose::Training) == expected, "{goods}, {on:?}");
        }
        // Stopped behind the first epoch on two ranks, resumed on three.
        let out = format!("resumed{s}");
        std::thread::scope(|scope| {
            for comm in in_process(2) {
                let (program, out) = (&program, &out);
                scope.spawn(move || {
                    let options = TrainingOptions { epochs: Some(1), ..options(folder, out, 1, comm) };
                    train(program, &options, &mut |_| {}).unwrap()
                });
            }
        });
        assert_eq!(train_on(&program, folder, &out, (1, 3, Placement::Sharded), true), Vec::<String>::new());
        assert!(kept(&program, folder, &out, LoadPurpose::Training) == expected, "{goods}, resumed");
    }
}
