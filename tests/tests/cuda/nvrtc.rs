//! NVRTC compiles every kernel of every model and of every unit of the standard library, forward,
//! backward and optimizer, for three architectures; what each takes is compared with
//! `tests/cuda/resources.txt`. More than eight registers more, or a new spill, fails; `DIN_BLESS=1`
//! writes the file anew.
//!
//! The library is the one that `DIN_NVRTC` names, or the system's. These tests run only when asked
//! for, `cargo test -p din-tests --test cuda nvrtc:: -- --ignored`, as `.ci/run` does after it has
//! installed the library.

use crate::models::{files, model, name};
use crate::units;
use din_compiler::codegen::cuda::{CodegenOptions, program};
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_program::cuda::Precision;
use din_runtime::exec::cuda::{CudaTarget, ImageCache, Nvrtc, NvrtcError, Resources};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const ARCHITECTURES: [u32; 3] = [80, 90, 100];
/// Registers that a kernel may take more than is recorded.
const SLACK: u32 = 8;

fn nvrtc() -> Nvrtc {
    Nvrtc::load().unwrap_or_else(|e| panic!("{e}"))
}

/// Shared memory by kernel.
type Shared = Vec<(String, u32)>;

fn source(model: &CheckedModel, precision: Precision) -> (String, Shared) {
    let compiled =
        compile(model, &CompileOptions { levels: vec![], checked: false, ..CompileOptions::default() }).unwrap();
    let options = CodegenOptions { precision, ..CodegenOptions::default() };
    let made = program(&compiled.program, &compiled.kernels, &options).unwrap();
    let launches = made.launches.schedules.iter().flat_map(|s| &s.launches);
    (made.source, launches.map(|l| (l.kernel.clone(), l.shared)).collect())
}

/// By model, architecture and kernel: registers, spilled bytes, bytes of local and of shared
/// memory.
type Table = BTreeMap<(String, u32, String), [u32; 4]>;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/resources.txt")
}

fn read() -> Table {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let mut table = Table::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [model, arch, kernel, numbers @ ..] = &words[..] else { continue };
        let numbers: Vec<u32> = numbers.iter().map(|n| n.parse().unwrap()).collect();
        table.insert((model.to_string(), arch.parse().unwrap(), kernel.to_string()), numbers.try_into().unwrap());
    }
    table
}

fn write(table: &Table) {
    let mut text = String::from("# model, sm, kernel: registers, spilled bytes, local bytes, shared bytes\n");
    for ((model, arch, kernel), [registers, spills, stack, shared]) in table {
        text.push_str(&format!("{model} {arch} {kernel} {registers} {spills} {stack} {shared}\n"));
    }
    std::fs::create_dir_all(file().parent().unwrap()).unwrap();
    std::fs::write(file(), text).unwrap();
}

fn row(r: &Resources, shared: &[(String, u32)]) -> [u32; 4] {
    let shared = shared.iter().find(|(k, _)| *k == r.kernel).map_or(0, |(_, s)| *s);
    [r.registers, r.spill_stores + r.spill_loads, r.stack, shared]
}

#[test]
#[ignore = "needs NVRTC: set DIN_NVRTC to libnvrtc.so"]
fn every_kernel_compiles_and_keeps_its_registers() {
    let nvrtc = nvrtc();
    let mut models: Vec<(String, CheckedModel)> = files().iter().map(|f| (name(f), model(f))).collect();
    models.extend(units::units());
    // Equal sources are compiled once: some models differ in their metrics alone.
    let mut sources: Vec<(String, String, Shared)> = Vec::new();
    for (name, model) in &models {
        let (text, shared) = source(model, Precision::F32);
        let body = |t: &str| t.split_once('\n').map(|(_, rest)| plain(rest)).unwrap_or_default();
        if sources.iter().all(|(_, other, _)| body(other) != body(&text)) {
            sources.push((name.clone(), text, shared));
        }
    }
    let found = Mutex::new(Table::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((name, text, shared)) = sources.get(job / ARCHITECTURES.len()) else { return };
                    let arch = ARCHITECTURES[job % ARCHITECTURES.len()];
                    let image = nvrtc.compile(text, &format!("{name}.cu"), CudaTarget::Cubin(arch));
                    let image = image.unwrap_or_else(|e| panic!("{name}: {e}"));
                    assert!(!image.log.contains("warning"), "{name}: {}", image.log);
                    for r in image.resources() {
                        let key = (name.clone(), arch, r.kernel.clone());
                        found.lock().unwrap().insert(key, row(&r, shared));
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    for (_, _, kernels) in &sources {
        for (kernel, _) in kernels {
            assert!(found.keys().any(|(_, _, k)| k == kernel), "{kernel} is in no image");
        }
    }
    let most = found.values().map(|r| r[0]).max();
    let spills = found.values().filter(|r| r[1] > 0).count();
    println!("{} kernels, at most {most:?} registers, {spills} with spills", found.len());
    if std::env::var_os("DIN_BLESS").is_some() {
        write(&found);
        return;
    }
    let recorded = read();
    let mut worse = Vec::new();
    for (key, now) in &found {
        match recorded.get(key) {
            None => worse.push(format!("{key:?} is not recorded: {now:?}")),
            Some(then) if now[0] > then[0] + SLACK => {
                worse.push(format!("{key:?}: {} registers, were {}", now[0], then[0]))
            }
            Some(then) if now[1] > then[1] => {
                worse.push(format!("{key:?}: {} bytes spilled, were {}", now[1], then[1]))
            }
            Some(_) => {}
        }
    }
    assert!(worse.is_empty(), "{}\nDIN_BLESS=1 accepts", worse.join("\n"));
    let gone: Vec<_> = recorded.keys().filter(|k| !found.contains_key(*k)).collect();
    assert!(gone.is_empty(), "recorded, but no longer there: {gone:?}\nDIN_BLESS=1 accepts");
}

/// Without the comments, which say where in which file a call comes from.
fn plain(text: &str) -> String {
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs NVRTC: set DIN_NVRTC to libnvrtc.so"]
fn tensor_cores_compile() {
    let nvrtc = nvrtc();
    let file = files().into_iter().find(|f| name(f) == "din").unwrap();
    for precision in [Precision::Tf32, Precision::Bf16] {
        let (text, _) = source(&model(&file), precision);
        let ptx = nvrtc.compile(&text, "din.cu", CudaTarget::Ptx(80)).unwrap_or_else(|e| panic!("{precision:?}: {e}"));
        let ptx = String::from_utf8(ptx.code).unwrap();
        assert!(ptx.contains("mma.sync") && ptx.contains(".target sm_80"), "{precision:?}");
        nvrtc.compile(&text, "din.cu", CudaTarget::Cubin(90)).unwrap_or_else(|e| panic!("{precision:?}: {e}"));
    }
}

#[test]
#[ignore = "needs NVRTC: set DIN_NVRTC to libnvrtc.so"]
fn wrong_source_is_told_with_its_line() {
    let nvrtc = nvrtc();
    let error = nvrtc
        .compile("extern \"C\" __global__ void k() {\n  nothing();\n}\n", "wrong.cu", CudaTarget::Cubin(90))
        .unwrap_err();
    assert!(matches!(error, NvrtcError::Source { .. }));
    assert!(error.to_string().contains("wrong.cu(2)"), "{error}");
    let error = nvrtc.compile("", "k.cu", CudaTarget::Cubin(999)).unwrap_err();
    assert!(matches!(&error, NvrtcError::Target { known, .. } if known.contains(&90)), "{error}");
}

#[test]
#[ignore = "needs NVRTC: set DIN_NVRTC to libnvrtc.so"]
fn an_image_from_the_cache_is_what_was_compiled() {
    let nvrtc = nvrtc();
    let folder = tempfile::tempdir().unwrap();
    let cache = ImageCache::at(folder.path().into(), 1 << 20);
    let source = "extern \"C\" __global__ void k(float* x) { x[threadIdx.x] *= 2.0f; }\n";
    for target in [CudaTarget::Cubin(90), CudaTarget::Cubin(80), CudaTarget::Ptx(80)] {
        let compiled = nvrtc.compile(source, "k.cu", target).unwrap();
        let first = cache.compile(&nvrtc, source, "k.cu", target).unwrap();
        let second = cache.compile(&nvrtc, source, "other.cu", target).unwrap();
        assert!(first.code == compiled.code && second.code == compiled.code && second.target == target);
        assert!(
            second.log.is_empty() && (target == CudaTarget::Ptx(80) || !first.log.is_empty()),
            "it was not compiled twice"
        );
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}
