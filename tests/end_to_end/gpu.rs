//! The built binary on a fake GPU: `tests/shim/nvrtc.cpp` compiles for it and
//! `tests/shim/driver.cpp` is its driver, so that all of the way from a spec to a run's files is
//! gone without a GPU. What this cannot show is that real ones agree.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The fake libraries, a log of four batches of 64, and an executable with images.
struct Made {
    folder: TempDir,
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn library(name: &str, source: &str, folder: &Path) {
    let shim = root().join("tests/shim");
    let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "g++".into()));
    command.args(["-std=c++17", "-shared", "-fPIC", "-Wall", "-fvisibility=hidden", "-O1"]);
    command.arg(format!("-DDIN_SHIM=\"{}\"", shim.join("shim.h").display()));
    command.arg("-o").arg(folder.join(name)).arg(shim.join(source)).arg("-ldl");
    assert!(command.status().unwrap().success());
}

fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let made = Made { folder: TempDir::new().unwrap() };
        let here = made.folder.path();
        library("libnvrtc.so", "nvrtc.cpp", here);
        library("libcuda.so", "driver.cpp", here);
        let line = "synth --out {here}/data --rows 300 --users 30 --goods 20 --categories 5 --seed 3";
        din(line, &[("here", here)]).expect(0);
        let line = "build {model} -o {here}/ranker --cuda compute_80,sm_90,sm_90";
        let ran = on_gpu(&din_path(), here, &here.join("cache"), &[], line).expect(0);
        assert!(ran.err.contains("KiB of kernels for sm_90, compute_80 behind"), "{}", ran.err);
        made
    })
}

/// Runs an executable where the fake libraries are, and nothing else in the environment but `set`.
/// `{data}` is training and validation data, `{test}` data to measure on.
fn on_gpu(program: &Path, libraries: &Path, cache: &Path, set: &[(&str, &str)], line: &str) -> Ran {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("DIN_NVRTC", libraries.join("libnvrtc.so")).env("DIN_CUDA_DRIVER", libraries.join("libcuda.so"));
    command.env("DIN_CACHE", cache).env("DIN_FAKE_LOG", cache.with_extension("log"));
    // Beside the fake libraries, equal sources are compiled once for all tests.
    command.env("DIN_FAKE_STORE", libraries).current_dir(libraries);
    command.envs(set.iter().copied());
    let line = line.replace("{data}", "--train data/train.parquet --valid data/valid.parquet --batch 64");
    run(&mut command, &line.replace("{test}", "--data data/test.parquet"), &[("model", &small()), ("here", libraries)])
}

/// `din` and the executable, with compilations of their own in `folder`.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        made();
        Bench { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &Path, set: &[(&str, &str)], line: &str) -> Ran {
        let line = line.replace("{own}", self.folder.path().to_str().unwrap());
        on_gpu(program, made().folder.path(), &self.path("cache"), set, &line)
    }

    fn din(&self, line: &str) -> Ran {
        self.run(&din_path(), &[], line)
    }

    /// The executable, which may generate nothing.
    fn ranker(&self, line: &str) -> Ran {
        self.run(&made().path("ranker"), &[("DIN_FORBID_CODEGEN", "1"), ("DIN_NVRTC", "nowhere.so")], line)
    }

    /// What was compiled so far, an architecture a line.
    fn compiled(&self) -> String {
        fs::read_to_string(self.path("cache.log")).unwrap_or_default()
    }
}

/// Losses and metrics of all epochs.
fn figures(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| -> Vec<f64> {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let metrics = line["valid"].as_object().unwrap().values();
        metrics.chain([&line["train_loss"]]).map(|v| v.as_f64().unwrap()).collect()
    };
    text.lines().flat_map(line).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-4 * (1.0 + b.abs());
    assert!(found.iter().zip(expected).all(near), "{found:?} for {expected:?}");
}

#[test]
fn an_executable_with_images_needs_only_the_driver() {
    let bench = Bench::new();
    let (cpu, gpu, later, own) = (bench.path("cpu"), bench.path("gpu"), bench.path("later"), bench.path("own"));
    bench.ranker("train {data} --out {own}/cpu").expect(0);
    bench.ranker("train {data} --out {own}/gpu --device cuda:0").expect(0).says("on GPU 0, a fake GPU");
    assert_eq!(
        (&json(&gpu.join("run.json"))["backend"], &json(&gpu.join("run.json"))["device"]),
        (&"cuda sm_90 f32".into(), &"cuda:0".into())
    );
    assert_eq!(json(&cpu.join("run.json"))["device"], "cpu");
    assert_ne!(hashes(&gpu), hashes(&cpu));
    close(&figures(&gpu), &figures(&cpu));
    assert_eq!(bench.compiled(), "");
    // On a GPU of another architecture by PTX; here that is the same code.
    let set = [("DIN_FAKE_ARCH", "86"), ("DIN_NVRTC", "nowhere.so")];
    bench.run(&made().path("ranker"), &set, "train {data} --out {own}/later --device auto").expect(0).says("on GPU 0");
    assert_eq!(json(&later.join("run.json"))["backend"], "cuda sm_86 f32");
    assert_eq!(hashes(&later), hashes(&gpu));
    // `din`, which compiles here, gives the same bits.
    bench.din("train {model} {data} --out {own}/own --device cuda:0").expect(0);
    assert_eq!(hashes(&own), hashes(&gpu));
    assert_eq!(bench.compiled(), "sm_90\n");

    // Evaluation and prediction, by the executable and by the run's own sources.
    let metrics = |ran: Ran| -> Vec<f64> {
        let report: serde_json::Value = serde_json::from_str(&ran.expect(0).out).unwrap();
        report["metrics"].as_array().unwrap().iter().map(|m| m["value"].as_f64().unwrap()).collect()
    };
    let expected = metrics(bench.ranker("eval {own}/cpu {test} --json"));
    assert_eq!(metrics(bench.ranker("eval {own}/cpu {test} --json --device auto")).len(), 3);
    close(&metrics(bench.ranker("eval {own}/cpu {test} --json --device cuda:0")), &expected);
    close(&metrics(bench.din("eval {own}/cpu {test} --json --device cuda:0")), &expected);
    let predicted = |name: &str| -> Vec<f64> {
        let text = fs::read_to_string(bench.path(name)).unwrap();
        text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse().unwrap()).collect()
    };
    bench
        .din("predict {own}/cpu {test} --out {own}/no.csv --device auto --tables bf16")
        .expect(1)
        .says("--tables bf16 is for a CPU; on cuda");
    bench.din("predict {own}/cpu {test} --out {own}/cpu.csv").expect(0);
    bench.din("predict {own}/cpu {test} --out {own}/gpu.csv --device cuda:0").expect(0).says("on GPU 0");
    bench.ranker("predict {own}/cpu {test} --out {own}/ranker.csv --device cuda:0").expect(0).says("on GPU 0");
    assert_eq!(predicted("cpu.csv").len(), 30);
    close(&predicted("gpu.csv"), &predicted("cpu.csv"));
    assert_eq!(predicted("gpu.csv"), predicted("ranker.csv"));
    assert_eq!(bench.compiled(), "sm_90\n");
}

/// Tables that the GPU has in parts: the same files, in training, at checkpoints within an epoch,
/// when it is stopped and goes on, and in evaluation.
#[test]
fn tables_in_parts_give_the_same_run() {
    let bench = Bench::new();
    let (whole, parts, again) = (bench.path("whole"), bench.path("parts"), bench.path("again"));
    bench.din("synth --out {own}/wide --rows 400 --users 300 --goods 3000 --categories 40 --seed 5").expect(0);
    let data = "--train {own}/wide/train.parquet --valid {own}/wide/valid.parquet --batch 16 --device cuda:0";
    let train = |more: &str| format!("train {data} {more}");
    bench.ranker(&train("--out {own}/whole --epochs 2")).expect(0);
    bench.ranker(&train("--out {own}/parts --epochs 2 --gpu-table-memory 24K --checkpoint-every 3")).expect(0);
    assert_eq!((hashes(&parts), figures(&parts)), (hashes(&whole), figures(&whole)));
    bench.ranker(&train("--out {own}/again --epochs 1 --gpu-table-memory 22K")).expect(0);
    bench.ranker("train --out {own}/again --resume --epochs 2 --gpu-table-memory 30K").expect(0);
    assert_eq!(hashes(&again), hashes(&whole));
    let eval = |more: &str| {
        bench.ranker(&format!("eval {{own}}/whole --data {{own}}/wide/test.parquet --json {more}")).expect(0).out
    };
    assert_eq!(eval("--device cuda:0"), eval("--device cuda:0 --gpu-table-memory 40K"));
    // Less than a batch reads.
    let ran = bench.ranker(&train("--out {own}/small --epochs 1 --gpu-table-memory 2K")).expect(3);
    assert!(ran.err.contains("rows of table `") && ran.err.contains("smaller batch"), "{}", ran.err);
    bench.ranker(&train("--out {own}/small --gpu-table-memory much")).expect(2).says("such as 500M or 20G");
}

#[test]
fn an_executable_lists_its_images() {
    let bench = Bench::new();
    let shown = bench.ranker("info").expect(0).out;
    assert!(
        shown.contains("GPU: sm_90 (") && shown.contains("KiB), compute_80 (") && shown.contains("products in f32"),
        "{shown}"
    );
    assert_eq!(bench.din("info ranker").expect(0).out, shown);
    let shown: serde_json::Value = serde_json::from_str(&bench.din("info ranker --json").expect(0).out).unwrap();
    assert_eq!(shown["cuda"]["precision"], "f32");
    assert_eq!(shown["cuda"]["images"][1]["target"], "compute_80");
    // Same spec and flags, same bytes, by images from the cache or compiled.
    bench.din("build {model} -o {own}/again --cuda sm_90,compute_80").expect(0);
    bench.din("build {model} -o {own}/third --cuda sm_90,compute_80").expect(0);
    assert_eq!(bench.compiled().lines().count(), 2);
    let bytes = fs::read(bench.path("again")).unwrap();
    assert!(bytes == fs::read(made().path("ranker")).unwrap() && bytes == fs::read(bench.path("third")).unwrap());
}

#[test]
fn wrong_architectures_are_reported() {
    let bench = Bench::new();
    for wrong in ["90", "sm_75", "sm_90a", "sm_80,,sm_90", "cuda"] {
        let ran = bench.din(&format!("build {{model}} -o {{own}}/no --cuda {wrong}")).expect(2);
        assert!(ran.err.contains("expected sm_80 or later, or compute_80 or later"), "{}", ran.err);
    }
    bench.din("build {model} -o {own}/no --precision tf32").expect(2).says("--cuda");
    let ran = bench.din("build {model} -o {own}/no --cuda sm_90,sm_99").expect(3);
    assert!(ran.err.contains("NVRTC 1.2 does not compile for sm_99") && ran.err.contains("80, 90, 100"), "{}", ran.err);
    let ran =
        bench.run(&din_path(), &[("DIN_NVRTC", "nowhere.so")], "build {model} -o {own}/no --cuda sm_90").expect(3);
    assert!(ran.err.contains("nvidia-cuda-nvrtc"), "{}", ran.err);
    assert!(!bench.path("no").exists());
}

#[test]
fn what_is_missing_is_reported_and_only_auto_without_a_gpu_goes_on() {
    let bench = Bench::new();
    let ranker = |set: &[(&str, &str)], line: &str| bench.run(&made().path("ranker"), set, line);
    let train = |device: &str| format!("train {{data}} --out {{own}}/run --epochs 1 --device {device}");
    let other = [("DIN_FAKE_ARCH", "75")];
    for device in ["cuda:0", "auto"] {
        let ran = ranker(&other, &train(device)).expect(3);
        assert!(ran.err.contains("which is sm_75; it has sm_90, compute_80"), "{}", ran.err);
    }
    // Built without images.
    bench.din("build {model} -o {own}/plain").expect(0);
    for line in [train("cuda:0"), train("auto"), "eval run {test} --device auto".into()] {
        let line = line.replace("run {test}", "{own}/there {test}");
        if line.starts_with("eval") {
            bench.ranker("train {data} --out {own}/there --epochs 1").expect(0);
        }
        let ran = bench.run(&bench.path("plain"), &[], &line).expect(3);
        assert!(ran.err.contains("it has none") && ran.err.contains("--cuda sm_90"), "{}", ran.err);
    }
    // No GPU, no driver: only auto goes on, and says so in one line.
    let (no_gpu, no_driver) = ([("DIN_FAKE_GPUS", "0")], [("DIN_CUDA_DRIVER", "nowhere.so")]);
    for (set, said) in [(no_gpu, "there is no GPU"), (no_driver, "NVIDIA's driver was not found: tried nowhere.so")] {
        ranker(&set, &train("cuda:0")).expect(3).says(said);
        let ran = ranker(&set, "eval {own}/there {test} --device auto").expect(0);
        let lines: Vec<&str> = ran.err.lines().collect();
        assert!(
            lines[0].starts_with("on the CPU: ") && lines[0].contains(said) && lines[1].contains("30 rows"),
            "{lines:?}"
        );
    }
    bench.ranker(&train("cuda:3")).expect(3).says("there is no GPU 3");
    bench.ranker(&train("gpu")).expect(2).says("expected cpu, auto, cuda, or cuda:");
    bench
        .din("train {model} {data} --out {own}/run --precision tf32")
        .expect(1)
        .says("--precision applies only to GPU runs");
    assert!(!bench.path("run").exists());
    bench.run(&made().path("ranker"), &no_driver, &train("auto")).expect(0).says("on the CPU");
    assert_eq!(json(&bench.path("run/run.json"))["device"], "cpu");
}

/// An optimizer that sums over the rows of tables that grow: a resumed run numbers the rows anew,
/// and has the same bits.
#[test]
fn sums_over_rows_are_the_same_after_a_resume() {
    let bench = Bench::new();
    let text = fs::read_to_string(small()).unwrap();
    let text = text.replace(
        "model small {",
        "optimizer trust(lr) per tensor {\n    state norm = 0\n    norm = 0.9 * norm + sqrt(sum(grad * grad)) + mean(weight * weight)\n    \
         weight = weight - lr * grad / (norm + 0.1)\n}\n\nmodel small {",
    );
    let text = text.replace("visited.good_id {", "visited.good_id { optimizer trust(lr = 0.1)");
    let text = text.replace("visited.cate_id\n", "visited.cate_id { optimizer trust(lr = 0.1) with dense updates }\n");
    assert_eq!(text.matches("trust(").count(), 3);
    fs::write(bench.path("summed.din"), text).unwrap();
    let train = |run: &str, more: &str| {
        bench.din(&format!("train {{own}}/summed.din {{data}} --device cuda --out {{own}}/{run} {more}")).expect(0)
    };
    train("whole", "--epochs 3");
    train("run", "--epochs 1");
    train("run", "--epochs 3 --resume");
    assert_eq!(hashes(&bench.path("run")).last(), hashes(&bench.path("whole")).last());
}

#[test]
fn resuming_goes_on_where_the_run_was() {
    let bench = Bench::new();
    let (whole, run, failed) = (bench.path("whole"), bench.path("run"), bench.path("failed"));
    bench.ranker("train {data} --out {own}/whole --device cuda:0").expect(0);
    bench.ranker("train {data} --out {own}/run --device auto --epochs 1").expect(0);
    assert!(bench.din("info {own}/run").expect(0).out.contains("batch 64, 16 leaves, on cuda sm_90 f32"));
    let ran = bench.ranker("train --out {own}/run --resume --epochs 2").expect(0).says("on GPU 0");
    assert!(!ran.err.contains("warning"), "{}", ran.err);
    assert_eq!(hashes(&run), hashes(&whole));
    assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), fs::read(whole.join("metrics.jsonl")).unwrap());

    // A kernel fails inside the second epoch; `din` goes on from the last checkpoint.
    let line = "train {data} --out {own}/failed --device cuda:0 --checkpoint-every 3";
    bench.run(&made().path("ranker"), &[("DIN_FAKE_FAIL", "315")], line).expect(3).says("unspecified launch failure");
    assert_eq!(names(&failed.join("checkpoints")).last().unwrap(), "step-0000000006");
    bench.din("train {model} --out {own}/failed --resume").expect(0).says("on GPU 0");
    assert_eq!(hashes(&failed).last(), hashes(&whole).last());

    // Without the GPU, and then on purpose.
    let gone = [("DIN_FAKE_GPUS", "0")];
    bench
        .run(&made().path("ranker"), &gone, "train --out {own}/run --resume --epochs 3")
        .expect(3)
        .says("there is no GPU");
    let ran = bench.ranker("train --out {own}/run --resume --epochs 3 --device cpu").expect(0);
    assert!(
        ran.err.contains("the run began on cuda sm_90 f32, this is cpu v") && !ran.err.contains("on GPU"),
        "{}",
        ran.err
    );
    let ran = bench.din("train {model} --out {own}/run --resume --epochs 4").expect(0).says("on GPU 0");
    assert!(!ran.err.contains("warning"), "{}", ran.err);

    // What products are computed in belongs to the run.
    let ran =
        bench.din("train {model} {data} --out {own}/rounded --device cuda:0 --precision tf32 --epochs 1").expect(0);
    assert!(ran.err.contains("on GPU 0"), "{}", ran.err);
    assert_eq!(json(&bench.path("rounded/run.json"))["backend"], "cuda sm_90 tf32");
    let before = bench.compiled();
    bench.din("eval {own}/rounded {test} --device cuda:0").expect(0);
    let ran = bench.din("train {model} --out {own}/rounded --resume").expect(0);
    assert!(!ran.err.contains("warning"), "{}", ran.err);
    assert_eq!(bench.compiled(), before);
    bench
        .din("train {model} --out {own}/rounded --resume --epochs 3 --precision f32")
        .expect(0)
        .says("the run began on cuda sm_90 tf32, this is cuda sm_90 f32;");
}

#[test]
fn what_was_compiled_is_kept() {
    let bench = Bench::new();
    let train = |set: &[(&str, &str)], run: &str| {
        bench
            .run(&din_path(), set, &format!("train {{model}} {{data}} --out {{own}}/{run} --epochs 1 --device cuda:0"))
            .expect(0);
        bench.compiled().lines().count()
    };
    assert_eq!(train(&[], "a"), 1);
    assert_eq!(train(&[], "b"), 1);
    // An altered entry is compiled anew and replaced.
    let kept = names(&bench.path("cache"));
    assert_eq!(kept.len(), 1);
    let entry = bench.path("cache").join(&kept[0]);
    let whole = fs::read(&entry).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&entry, &bytes).unwrap();
    assert_eq!(train(&[], "c"), 2);
    assert!(fs::read(&entry).unwrap() == whole);
    assert_eq!(train(&[], "d"), 2);
    // Processes side by side, each of which may compile.
    fs::remove_dir_all(bench.path("cache")).unwrap();
    std::thread::scope(|scope| {
        for run in ["x", "y", "z"] {
            let train = &train;
            scope.spawn(move || train(&[], run));
        }
    });
    assert_eq!(names(&bench.path("cache")), kept);
    assert!(fs::read(&entry).unwrap() == whole);
    for run in ["x", "y", "z"] {
        assert_eq!(hashes(&bench.path(run)), hashes(&bench.path("a")));
    }
    // A folder that cannot be made.
    let before = bench.compiled().lines().count();
    assert_eq!(train(&[("DIN_CACHE", entry.to_str().unwrap())], "e"), before + 1);
    assert_eq!(hashes(&bench.path("e")), hashes(&bench.path("a")));
}

/// A driver reports a failed kernel late: the message says so, and which kernel it was can be asked
/// for.
#[test]
fn a_failing_kernel_is_reported_as_it_is() {
    let bench = Bench::new();
    let shown = |wait: &str| {
        let set = [("DIN_FAKE_FAIL", "60"), ("DIN_CUDA_WAIT", wait)];
        let ran = bench.run(&made().path("ranker"), &set, "train {data} --out {own}/run --device cuda:0").expect(3);
        assert!(!bench.path("run").exists());
        ran.err
    };
    let late = shown("");
    assert!(late.contains(", or one launched before it") && late.contains("DIN_CUDA_WAIT=1"), "{late}");
    let exact = shown("1");
    assert!(!exact.contains("or one launched before it"), "{exact}");
    let (place, rest) = exact.split_once("error: ").unwrap().1.split_once(": kernel ").unwrap();
    assert!(place.rsplit(':').take(2).all(|n| n.parse::<u32>().is_ok()), "{exact}");
    assert!(rest.starts_with("din_train_") && rest.contains("unspecified launch failure"), "{exact}");
}
