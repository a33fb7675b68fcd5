//! The runtime's binding of NVIDIA's driver, against `tests/shim/driver.cpp`: the driver's interface with the shim behind it, whose stream is as
//! late as it may be. What this cannot show is that a real driver agrees.

use crate::engine::{case, on_gpu, resolved};
use din_runtime::device::cuda::{DeviceError, Driver, Engine, Gpu, Image, Launch, Target};
use din_runtime::engine::Span;
use din_runtime::table::Table;
use din_tests::cuda::Device;
use din_tests::random_graph::Random;
use std::path::{Path, PathBuf};
use std::process::Command;

fn library(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/driver.cpp");
    let library = folder.join("libcuda.so");
    let mut command = Command::new(std::env::var("CXX").unwrap_or_else(|_| "g++".into()));
    command.args(["-std=c++17", "-shared", "-fPIC", "-Wall", "-fvisibility=hidden", "-O1", "-o"]);
    let done = command.arg(&library).arg(source).arg("-ldl").status().unwrap();
    assert!(done.success());
    library
}

/// The made-up driver takes a library's path for an image.
fn image(device: &Device, target: Target) -> Image {
    Image { target, code: device.path().to_str().unwrap().into(), log: String::new() }
}

/// One test: the made-up driver has one state.
#[test]
fn a_gpu_by_its_driver() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let case = case("din");
    let images = [image(&case.device, Target::Cubin(90)), image(&case.device, Target::Ptx(80))];

    // Steps and inference have the bits of the engine on the shim.
    let (state, tables) = case.start();
    let (first, mut rows) = case.start();
    let mut other = case.trainer(state, tables);
    let gpu = Gpu::open_with(&library, 0, &images).unwrap();
    assert_eq!((gpu.name(), gpu.architecture()), ("a made-up GPU", 90));
    let mut engine = Engine::new(case.program.clone(), case.launches.clone(), gpu).unwrap();
    engine.upload(&first, &rows).unwrap();
    let mut r = Random::new(31);
    for step in 0..4 {
        let batch = case.batch(&mut r, 9 + 3 * step as usize, 9 * step);
        let expected = on_gpu(&mut other, &batch).unwrap();
        let batch = resolved(&batch, &mut rows);
        assert_eq!(engine.train_step(&rows, &batch.inputs()).unwrap(), expected, "step {step}");
        rows.iter_mut().for_each(Table::finish_step);
    }
    // Its events know how long each launch took, and cost no bit; the shim's clock goes as the driver's.
    engine.set_profile(true).unwrap();
    other.engine.set_profile(true).unwrap();
    for step in 4..6 {
        let batch = case.batch(&mut r, 9, 9 * step);
        let expected = on_gpu(&mut other, &batch).unwrap();
        let batch = resolved(&batch, &mut rows);
        assert_eq!(engine.train_step(&rows, &batch.inputs()).unwrap(), expected, "step {step}");
        engine.infer(&rows, &batch.inputs()).unwrap();
        rows.iter_mut().for_each(Table::finish_step);
    }
    let (found, expected) = (engine.profile(), other.engine.profile());
    assert!(found.len() > 20 && found == expected, "{found:?}\n{expected:?}");
    let lengths = |spans: Vec<Span>| spans.into_iter().map(|s| (s.name, s.length)).collect::<Vec<_>>();
    assert_eq!(lengths(engine.spans()), lengths(other.engine.spans()));
    assert!(engine.spans().windows(2).all(|w| w[0].begin + w[0].length <= w[1].begin));
    engine.set_profile(false).unwrap();
    assert!(engine.profile().is_empty());
    let mut last = first;
    engine.download(&mut last, &mut rows).unwrap();
    other.download().unwrap();
    assert!(last == other.state);
    assert!(rows.iter().zip(&other.tables).all(|(a, b)| a.weights() == b.weights() && a.touches() == b.touches()));
    drop(engine);

    // More than a pinned buffer holds goes in parts, and nothing is written again before it has gone.
    let mut gpu = Gpu::open_with(&library, 0, &images).unwrap();
    let bytes: Vec<u8> = (0..70u32 << 20).map(|i| (i >> 3) as u8 ^ (i >> 19) as u8).collect();
    let (a, b) = (gpu.allocate(bytes.len(), "a test").unwrap(), gpu.allocate(bytes.len(), "a test").unwrap());
    gpu.write(a, &bytes).unwrap();
    gpu.copy(a, b, bytes.len()).unwrap();
    gpu.write(a, &[7; 64]).unwrap();
    let mut back = vec![0; bytes.len()];
    gpu.read(b, &mut back).unwrap();
    assert!(back == bytes);
    gpu.read(a, &mut back).unwrap();
    assert!(back[..64] == [7; 64] && back[64..] == bytes[64..]);
    gpu.free(a);

    // What does not fit is told.
    let error = gpu.allocate(1 << 40, "the sky").unwrap_err();
    assert_eq!(error, DeviceError::Memory { bytes: 1 << 40, what: "the sky" });
    let kernel = case.launches.schedules[0].launches[0].kernel.as_str();
    let launch = Launch {
        kernel,
        location: "m.din:3:1",
        grid: (1, 1),
        threads: 128,
        shared: 0,
        addresses: 0,
        words: 0,
        scratch: 0,
    };
    let said = |e: DeviceError| {
        assert!(matches!(e, DeviceError::Launch { .. }), "{e}");
        e.to_string()
    };
    let text = said(gpu.launch(&Launch { kernel: "no_such", ..launch }).unwrap_err());
    assert!(text.contains("m.din:3:1: kernel no_such") && text.contains("not in the image"), "{text}");
    let text = said(gpu.launch(&Launch { shared: 200 << 10, ..launch }).unwrap_err());
    assert!(text.contains("204800 bytes of shared memory") && text.contains("102400"), "{text}");
    // A kernel that fails is told by who waits.
    let empty = gpu.allocate(4096, "a test").unwrap();
    gpu.write(empty, &[0; 4096]).unwrap();
    gpu.launch(&Launch { kernel: "din_rows_scan", addresses: empty, words: b, shared: 8 << 10, ..launch }).unwrap();
    let text = said(gpu.wait().unwrap_err());
    assert!(text.contains("m.din:3:1: kernel din_rows_scan") && text.contains("unspecified launch failure"), "{text}");
    drop(gpu);

    let error = Gpu::open_with(&library, 3, &images).unwrap_err();
    assert_eq!(error, DeviceError::NoDevice { asked: 3, found: 1 });
    let error = Gpu::open_with(&library, 0, &[image(&case.device, Target::Cubin(100))]).unwrap_err();
    assert!(error.to_string().contains("a made-up GPU, which is sm_90; it has sm_100"), "{error}");
}
