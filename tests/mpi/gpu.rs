//! Ranks with a GPU each, under `mpirun`: the fake NVRTC and driver of `tests/shim`, whose streams
//! are as late as they may be. What this cannot show is that real ones agree.

use crate::same::{assert_same, tensors};
use crate::scene::Scene;
use crate::support::{DIN, Ended, Mpi, ended, host};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The fake libraries, and a log of 300 rows. A batch of 128 has two leaves.
fn made() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        library("libnvrtc.so", "nvrtc.cpp", folder.path());
        library("libcuda.so", "driver.cpp", folder.path());
        let mut synth = Command::new(DIN);
        synth.args("synth --rows 300 --users 30 --goods 20 --categories 5 --seed 3 --out".split(' '));
        synth.arg(folder.path().join("log")).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(synth.status().unwrap().success());
        folder
    })
    .path()
}

fn library(name: &str, source: &str, folder: &Path) {
    let shim = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/shim");
    let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "g++".into()));
    command.args(["-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-O1"]);
    command.arg(format!("-DDIN_SHIM=\"{}\"", shim.join("shim.h").display()));
    command.arg("-o").arg(folder.join(name)).arg(shim.join(source)).arg("-ldl");
    assert!(command.status().unwrap().success());
}

/// Runs `din` on ranks of a machine with so many GPUs.
fn on(scene: &Scene, ranks: usize, gpus: usize, line: &str) -> Ended {
    ended(&mut command(scene, ranks, gpus, line))
}

fn command(scene: &Scene, ranks: usize, gpus: usize, line: &str) -> Command {
    let mut command = match ranks {
        1 => {
            let mut alone = Command::new(DIN);
            alone.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            alone
        }
        ranks => {
            let mut together = Mpi::Open.run(ranks);
            together.arg(DIN);
            together
        }
    };
    command.env("DIN_NVRTC", made().join("libnvrtc.so")).env("DIN_CUDA_DRIVER", made().join("libcuda.so"));
    command.env("DIN_CACHE", scene.at("cache")).env("DIN_FAKE_LOG", scene.at("compiled.log"));
    command.env("DIN_FAKE_STORE", made());
    command.env("DIN_FAKE_GPUS", gpus.to_string()).env_remove("DIN_FAKE_ARCH").env_remove("DIN_FAKE_FAIL");
    let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/end_to_end/small.din");
    let train = "train {spec} --train {made}/train.parquet --valid {made}/valid.parquet --batch 128 --out {folder}/";
    let line = line.replace("{train}", train).replace("{test}", "--data {made}/test.parquet");
    let line = line.replace("{made}", made().join("log").to_str().unwrap()).replace("{spec}", spec.to_str().unwrap());
    command.args(scene.words(&line)).args(["--threads", "1"]);
    command
}

#[track_caller]
fn went_well(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Losses and metrics of all epochs.
fn figures(run: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| -> Vec<f64> {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let metrics = line["valid"].as_object().unwrap().values();
        metrics.chain([&line["train_loss"]]).map(|v| v.as_f64().unwrap()).collect()
    };
    text.lines().flat_map(line).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    assert!(found.len() == expected.len() && !found.is_empty());
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-4 * (1.0 + b.abs());
    assert!(found.iter().zip(expected).all(near), "{found:?} for {expected:?}");
}

/// The run of two GPUs is that of one within rounding; the same run again, also one that was
/// resumed in between, has its bits. One GPU, and one CPU, read what two have written.
#[test]
fn ranks_train_on_a_gpu_each() {
    let scene = Scene::new();
    went_well(&on(&scene, 1, 1, "{train}one --epochs 2 --device cuda"));
    let two = on(&scene, 2, 2, "{train}two --epochs 2 --device cuda --placement good=sharded,cate=replicated");
    went_well(&two);
    assert!(two.err.contains("on a GPU of each of 2 ranks"), "{two:?}");
    close(&figures(&scene.at("two")), &figures(&scene.at("one")));
    let record = std::fs::read_to_string(scene.at("two/run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["device"], &record["backend"]), (&"cuda".into(), &"cuda sm_90 f32".into()));

    went_well(&on(&scene, 2, 2, "{train}again --epochs 1 --device auto --profile"));
    let first = scene.checkpoints("again").pop().unwrap();
    let dense = |run: &str| tensors(&scene.at(run).join("checkpoints").join(&first));
    assert!(!dense("again").is_empty());
    went_well(&on(&scene, 2, 2, "{train}again --epochs 2 --resume"));
    assert_same(&scene.at("two"), &scene.at("again"));

    let eval = "eval {folder}/two {test} --json --device";
    let metrics = |ended: Ended| -> Vec<f64> {
        went_well(&ended);
        let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        report["metrics"].as_array().unwrap().iter().map(|metric| metric["value"].as_f64().unwrap()).collect()
    };
    let expected = metrics(on(&scene, 1, 1, &format!("{eval} cpu")));
    close(&metrics(on(&scene, 1, 1, &format!("{eval} cuda:0"))), &expected);
    close(&metrics(on(&scene, 2, 2, &format!("{eval} cuda"))), &expected);

    let predict = "predict {folder}/two {test} --logits --out {folder}/";
    went_well(&on(&scene, 1, 1, &format!("{predict}cpu.csv --device cpu")));
    went_well(&on(&scene, 2, 2, &format!("{predict}gpu.csv --device cuda")));
    let logits = |text: &str| -> Vec<f64> {
        let lines = text.lines().filter(|line| line.chars().next().is_some_and(|c| c.is_ascii_digit()));
        lines.map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect()
    };
    let read = |name: &str| std::fs::read_to_string(scene.at(name)).unwrap();
    let parts: String = (0..2).map(|rank| read(&format!("gpu.csv/part-0000{rank}-of-00002.csv"))).collect();
    close(&logits(&parts), &logits(&read("cpu.csv")));
}

/// A kernel that fails on every rank ends the run with one message.
#[test]
fn a_failing_kernel_ends_all_ranks() {
    let scene = Scene::new();
    let failed = ended(command(&scene, 2, 2, "{train}run --device cuda").env("DIN_FAKE_FAIL", "60"));
    assert_eq!(failed.errors().len(), 1, "{failed:?}");
    assert!(failed.code == Some(3) && failed.errors()[0].contains("a kernel failed on the GPU"), "{failed:?}");
}

/// More ranks than GPUs are an error, for `auto` too; without any GPU `auto` is the CPU.
#[test]
fn every_rank_needs_a_gpu_of_its_own() {
    let scene = Scene::new();
    for device in ["cuda", "auto"] {
        let refused = on(&scene, 2, 1, &format!("{{train}}run --device {device}"));
        let said = format!("2 ranks run on {}, which has GPUs for 1 of them", host());
        assert_eq!(refused.errors().len(), 1, "{refused:?}");
        assert!(refused.code == Some(3) && refused.errors()[0].contains(&said), "{refused:?}");
    }
    let none = on(&scene, 2, 0, "{train}run --device cuda");
    assert!(none.code == Some(3) && none.errors()[0].contains("there is no GPU"), "{none:?}");
    assert!(!scene.at("run").exists());
    let on_cpu = on(&scene, 2, 0, "{train}run --device auto --epochs 1");
    went_well(&on_cpu);
    assert!(on_cpu.err.contains("on the CPU: NVIDIA's driver is installed, but there is no GPU"), "{on_cpu:?}");
    // Asked for by number, it is the GPU of that number that a rank sees.
    went_well(&on(&scene, 2, 1, "{train}shared --device cuda:0 --epochs 1"));
}
