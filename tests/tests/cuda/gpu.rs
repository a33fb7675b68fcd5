//! The runtime's binding of NVIDIA's driver, against `tests/shim/driver.cpp`: the driver's
//! interface with the shim behind it, whose stream is as late as it may be. What this cannot show
//! is that a real driver agrees.

use crate::engine::{Case, case, on_gpu, resolved};
use din_runtime::exec::CallSpan;
use din_runtime::exec::cuda::{
    CaptureCounts, Command as Asked, CudaExecutor, CudaImage, CudaOptions, CudaTarget, DeviceError, Driver, Gpu,
    KernelLaunch,
};
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use din_tests::cuda::{Columns, Device};
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

/// Calls a function of the fake driver that is for tests.
fn fake(library: &Path, name: &str) -> i32 {
    // SAFETY: the library is opened already; its function has this type.
    unsafe {
        let library = libloading::Library::new(library).unwrap();
        let function = library.get::<unsafe extern "C" fn() -> i32>(name.as_bytes()).unwrap();
        function()
    }
}

fn fake_captures(library: &Path, allowed: bool) {
    // SAFETY: as above.
    unsafe {
        let library = libloading::Library::new(library).unwrap();
        let function = library.get::<unsafe extern "C" fn(i32) -> i32>(b"fake_captures").unwrap();
        function(i32::from(allowed));
    }
}

/// Steps that are asked for before those before them are done, with tables in parts and whole: what
/// is written for a step must wait for the ones before it, and losses come in order.
fn ahead_in_parts(library: &Path, images: &[CudaImage], case: &Case) {
    let mut other = case.trainer_with(CudaOptions::default()).unwrap();
    let engine = |memory| {
        let gpu = Gpu::open_with(library, 0, images).unwrap();
        let options = CudaOptions { table_memory: memory, ..CudaOptions::default() };
        let mut engine =
            CudaExecutor::with(case.program.clone(), case.launches.clone(), gpu, options, Threads::caller()).unwrap();
        let (state, tables) = case.start();
        engine.upload(&state, &tables).unwrap();
        (engine, tables)
    };
    let mut both = [engine(None), engine(Some(24 << 10))];
    let mut r = Random::new(8);
    let batches: Vec<Columns> = (0..9).map(|k| case.batch(&mut r, 7, [0, 40, 80][k % 3])).collect();
    let expected: Vec<f32> = batches.iter().map(|b| on_gpu(&mut other, b).unwrap()).collect();
    let mut found = [Vec::new(), Vec::new()];
    for (k, batch) in batches.iter().enumerate() {
        for ((engine, rows), found) in both.iter_mut().zip(&mut found) {
            let batch = resolved(batch, rows);
            engine.train_ahead(rows, &batch.inputs()).unwrap();
            found.extend((k > 1).then(|| engine.next_loss().unwrap().unwrap()));
        }
    }
    other.download().unwrap();
    for ((engine, rows), found) in both.iter_mut().zip(&mut found) {
        while let Some(loss) = engine.next_loss().unwrap() {
            found.push(loss);
        }
        assert_eq!(*found, expected);
        let (mut state, _) = case.start();
        engine.download(&mut state, rows).unwrap();
        assert!(state == other.state);
        assert!(rows.iter().zip(&other.tables).all(|(a, b)| a.weights() == b.weights() && a.updates() == b.updates()));
    }
    assert!(both[0].0.resident_rows().iter().all(Option::is_none));
    assert!(both[1].0.resident_rows().iter().any(|p| p.is_some_and(|(_, _, went)| went > 0)));
}

/// Lists by themselves: what a graph leads into may be freed, and then it goes.
fn lists(library: &Path, images: &[CudaImage], case: &Case) {
    let mut gpu = Gpu::open_with(library, 0, images).unwrap();
    assert_eq!(gpu.free_memory().unwrap(), Some(1 << 36));
    let (a, b) = (gpu.allocate(1 << 12, "a test").unwrap(), gpu.allocate(1 << 12, "a test").unwrap());
    let c = gpu.allocate(1 << 12, "a test").unwrap();
    let copies = |from, to| {
        [false, true].map(|side_stream| Asked::Copy {
            from,
            to: to + 64 * u64::from(side_stream),
            bytes: 64,
            side_stream,
        })
    };
    let mut back = [0; 128];
    for n in 1..=5 {
        // The contents change, the list does not.
        gpu.write(a, &[n; 64]).unwrap();
        gpu.run(&copies(a, b)).unwrap();
        gpu.run(&copies(a, c)).unwrap();
        gpu.read(b, &mut back).unwrap();
        assert_eq!(back, [n; 128]);
    }
    let of = |plain, captured, replayed| CaptureCounts { plain, captured, replayed, ..CaptureCounts::default() };
    assert_eq!((gpu.captures(), fake(library, "fake_graphs")), (&of(2, 2, 6), 2));
    gpu.free(b);
    assert_eq!(fake(library, "fake_graphs"), 1);
    let b = gpu.allocate(1 << 12, "a test").unwrap();
    for n in 6..=8 {
        gpu.write(a, &[n; 64]).unwrap();
        gpu.run(&copies(a, b)).unwrap();
        gpu.read(b, &mut back).unwrap();
        assert_eq!(back, [n; 128]);
    }
    assert_eq!(gpu.captures(), &of(3, 3, 7));
    gpu.set_captures(false);
    gpu.write(a, &[9; 64]).unwrap();
    gpu.run(&copies(a, b)).unwrap();
    gpu.read(b, &mut back).unwrap();
    assert_eq!((back, gpu.captures()), ([9; 128], &of(3, 3, 7)));
    gpu.set_captures(true);
    // Lists that never come again are few.
    for k in 0..400 {
        gpu.run(&copies(a, b + 256 + 4 * k)).unwrap();
        gpu.run(&copies(a, b + 256 + 4 * k)).unwrap();
    }
    assert_eq!(fake(library, "fake_graphs"), 192);
    // A missing kernel is reported before anything runs.
    let launch = KernelLaunch {
        kernel: "no_such",
        location: "m.din:3:1",
        grid: (1, 1),
        threads: case.launches.threads,
        shared: 0,
        pointers: a,
        scalars: a,
        scratch: 0,
        side_stream: false,
    };
    let error =
        gpu.run(&[Asked::Copy { from: c, to: a, bytes: 64, side_stream: false }, Asked::Launch(launch)]).unwrap_err();
    assert!(error.to_string().contains("not in the image"), "{error}");
    drop(gpu);
    assert_eq!(fake(library, "fake_graphs"), 0);
}

/// A batch that is refused while a step runs leaves that step, and those behind it, what they are.
fn refused_between(library: &Path, images: &[CudaImage], case: &Case) {
    let mut other = case.trainer_with(CudaOptions::default()).unwrap();
    let gpu = Gpu::open_with(library, 0, images).unwrap();
    let mut engine =
        CudaExecutor::with(case.program.clone(), case.launches.clone(), gpu, CudaOptions::default(), Threads::caller())
            .unwrap();
    let (state, mut rows) = case.start();
    engine.upload(&state, &rows).unwrap();
    let mut r = Random::new(8);
    let batches: Vec<Columns> = (0..12).map(|_| case.batch(&mut r, 20, 0)).collect();
    let expected: Vec<f32> = batches.iter().map(|batch| on_gpu(&mut other, batch).unwrap()).collect();
    for (k, batch) in batches.iter().enumerate() {
        let batch = resolved(batch, &mut rows);
        engine.train_ahead(&mut rows, &batch.inputs()).unwrap();
        if k % 2 == 1 {
            let mut wrong = batch.clone();
            wrong.row_numbers[0][0][0] = 1 << 20;
            let error = engine.train_ahead(&mut rows, &wrong.inputs()).unwrap_err();
            assert!(matches!(error, DeviceError::Input(_)), "{error}");
        }
    }
    let found: Vec<f32> = std::iter::from_fn(|| engine.next_loss().unwrap()).collect();
    assert_eq!(found, expected);
}

/// A launch that fails while others run side_stream: what is asked for next waits for what it must.
fn fails_beside(library: &Path, images: &[CudaImage], threads: u32) {
    let mut gpu = Gpu::open_with(library, 0, images).unwrap();
    let (a, b) = (gpu.allocate(1 << 12, "a test").unwrap(), gpu.allocate(1 << 12, "a test").unwrap());
    gpu.write(b, &[0; 4096]).unwrap();
    let side_stream = Asked::Copy { from: a, to: b, bytes: 64, side_stream: true };
    let (kernel, location, grid) = ("din_rows_scan", "", (1, 70_000));
    let launch = KernelLaunch {
        kernel,
        location,
        grid,
        threads,
        shared: 0,
        pointers: a,
        scalars: a,
        scratch: 0,
        side_stream: false,
    };
    let mut back = [0; 64];
    for n in 1..=6 {
        gpu.write(a, &[0; 64]).unwrap();
        gpu.run(&[side_stream.clone(), Asked::Launch(launch)]).unwrap_err();
        gpu.write(a, &[n; 64]).unwrap();
        gpu.run(&[side_stream.clone(), Asked::Copy { from: a, to: b + 64, bytes: 64, side_stream: false }]).unwrap();
        gpu.read(b, &mut back).unwrap();
        assert_eq!(back, [n; 64]);
    }
    let captures = gpu.captures();
    assert!(captures.captured == 1 && captures.replayed >= 4, "{captures:?}");
}

/// The fake driver takes a library's path for an image.
fn image(device: &Device, target: CudaTarget) -> CudaImage {
    CudaImage { target, code: device.path().to_str().unwrap().into(), log: String::new() }
}

/// What is reported of a kernel that fails with others behind it.
fn fails(library: &Path, images: &[CudaImage], launch: KernelLaunch<'_>, behind: &[&str], wait: bool) -> DeviceError {
    let mut gpu = Gpu::open_with(library, 0, images).unwrap();
    gpu.wait_for_each(wait);
    let empty = gpu.allocate(4096, "a test").unwrap();
    gpu.write(empty, &[0; 4096]).unwrap();
    let launch = KernelLaunch { kernel: "din_rows_scan", pointers: empty, scalars: empty, shared: 8 << 10, ..launch };
    let mut run = || {
        gpu.launch(&launch)?;
        for kernel in behind {
            gpu.launch(&KernelLaunch { kernel, location: "other.din:1:1", ..launch })?;
        }
        gpu.wait()
    };
    let error = run().unwrap_err();
    // The context is lost: whatever comes next says the same.
    assert_eq!(gpu.write(empty, &[0; 16]).and_then(|()| gpu.wait()).unwrap_err(), error);
    error
}

/// One test: the fake driver has one state.
#[test]
fn a_gpu_by_its_driver() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let case = case("din");
    let images = [image(&case.device, CudaTarget::Cubin(90)), image(&case.device, CudaTarget::Ptx(80))];

    // Steps and inference have the bits of the engine on the shim.
    let (state, tables) = case.start();
    let (first, mut rows) = case.start();
    let mut other = case.trainer(state, tables);
    let gpu = Gpu::open_with(&library, 0, &images).unwrap();
    assert_eq!((gpu.name(), gpu.architecture()), ("a fake GPU", 90));
    let mut engine = CudaExecutor::new(case.program.clone(), case.launches.clone(), gpu).unwrap();
    engine.upload(&first, &rows).unwrap();
    // Batches that come again have lists that come again: launched, captured, then replayed.
    let mut r = Random::new(31);
    for step in 0..4 {
        let batch = case.batch(&mut r, 9 + 3 * step as usize, 9 * step);
        let expected = on_gpu(&mut other, &batch).unwrap();
        let batch = resolved(&batch, &mut rows);
        assert_eq!(engine.train_step(&mut rows, &batch.inputs()).unwrap(), expected, "step {step}");
    }
    let mut sizes = Random::new(5);
    let mut batches: Vec<_> = (0..7).map(|_| 17 + sizes.below(14)).map(|n| case.batch(&mut r, n, 0)).collect();
    batches.sort_by_key(|b| std::cmp::Reverse(b.rows));
    let mut step_both = |engine: &mut CudaExecutor<Gpu>, rows: &mut Vec<Table>, batch: &Columns| {
        let expected = on_gpu(&mut other, batch).unwrap();
        let batch = resolved(batch, rows);
        assert_eq!(engine.train_step(rows, &batch.inputs()).unwrap(), expected);
    };
    for step in 0..28 {
        step_both(&mut engine, &mut rows, &batches[step % 7]);
    }
    let counts = engine.driver().captures().clone();
    println!("32 steps: {counts:?}");
    assert_eq!((counts.plain + counts.captured - counts.refused, counts.refused), (32 - counts.replayed, 0));
    assert!(counts.captured <= 7 && counts.replayed >= 12, "{counts:?}");
    assert!(fake(&library, "fake_graphs") <= counts.captured as i32);
    // What cannot be captured is launched all the same.
    fake_captures(&library, false);
    for _ in 0..3 {
        step_both(&mut engine, &mut rows, &case.batch(&mut r, 60, 0));
    }
    let batch = case.batch(&mut r, 70, 0);
    for _ in 0..3 {
        step_both(&mut engine, &mut rows, &batch);
    }
    fake_captures(&library, true);
    let refused = engine.driver().captures().clone();
    assert!(refused.refused >= 1 && refused.why.unwrap().contains("cuStreamBeginCapture"));
    assert_eq!(refused.captured, counts.captured);
    // Its events know how long each launch took, and cost no bit; the shim's clock goes as the
    // driver's.
    engine.set_profile(true).unwrap();
    other.engine.set_profile(true).unwrap();
    for step in 4..6 {
        let batch = case.batch(&mut r, 9, 9 * step);
        let expected = on_gpu(&mut other, &batch).unwrap();
        let batch = resolved(&batch, &mut rows);
        assert_eq!(engine.train_step(&mut rows, &batch.inputs()).unwrap(), expected, "step {step}");
        engine.infer(&mut rows, &batch.inputs()).unwrap();
    }
    let (found, expected) = (engine.profile(), other.engine.profile());
    assert!(found.len() > 20 && found == expected, "{found:?}\n{expected:?}");
    let lengths = |spans: Vec<CallSpan>| spans.into_iter().map(|s| (s.name, s.length)).collect::<Vec<_>>();
    assert_eq!(lengths(engine.spans()), lengths(other.engine.spans()));
    assert!(engine.spans().windows(2).all(|w| w[0].begin + w[0].length <= w[1].begin));
    engine.set_profile(false).unwrap();
    assert!(engine.profile().is_empty());
    let mut last = first;
    engine.download(&mut last, &mut rows).unwrap();
    other.download().unwrap();
    assert!(last == other.state);
    assert!(rows.iter().zip(&other.tables).all(|(a, b)| a.weights() == b.weights() && a.updates() == b.updates()));
    drop(engine);

    lists(&library, &images, &case);
    ahead_in_parts(&library, &images, &case);
    refused_between(&library, &images, &case);
    fails_beside(&library, &images, case.launches.threads);

    // More than a pinned buffer holds goes in parts, and nothing is written again before it has
    // gone.
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

    // What does not fit is reported.
    let error = gpu.allocate(1 << 40, "the sky").unwrap_err();
    assert_eq!(error, DeviceError::Memory { bytes: 1 << 40, what: "the sky" });
    let kernel = case.launches.schedules[0].launches[0].kernel.as_str();
    let launch = KernelLaunch {
        kernel,
        location: "m.din:3:1",
        grid: (1, 1),
        threads: 128,
        shared: 0,
        pointers: 0,
        scalars: 0,
        scratch: 0,
        side_stream: false,
    };
    let said = |e: DeviceError| {
        assert!(matches!(e, DeviceError::Launch { .. }), "{e}");
        e.to_string()
    };
    let text = said(gpu.launch(&KernelLaunch { kernel: "no_such", ..launch }).unwrap_err());
    assert!(text.contains("m.din:3:1: kernel no_such") && text.contains("not in the image"), "{text}");
    let text = said(gpu.launch(&KernelLaunch { shared: 200 << 10, ..launch }).unwrap_err());
    assert!(text.contains("204800 bytes of shared memory") && text.contains("102400"), "{text}");
    // A kernel that fails is told by who waits: alone by its name, among others as one of them, by
    // its name again where each is waited for.
    drop(gpu);
    let text = said(fails(&library, &images, launch, &[], false));
    assert!(text.contains("m.din:3:1: kernel din_rows_scan") && text.contains("unspecified launch failure"), "{text}");
    let error = fails(&library, &images, launch, &["din_rows_list"], false);
    assert!(matches!(error, DeviceError::Late { .. }), "{error}");
    let text = error.to_string();
    let honest = "unspecified launch failure: din_rows_list (other.din:1:1), or one launched before it";
    assert!(text.contains(honest) && text.contains("DIN_CUDA_WAIT=1"), "{text}");
    let text = said(fails(&library, &images, launch, &["din_rows_list"], true));
    assert!(text.contains("m.din:3:1: kernel din_rows_scan") && text.contains("unspecified launch failure"), "{text}");

    let error = Gpu::open_with(&library, 3, &images).unwrap_err();
    assert_eq!(error, DeviceError::NoDevice { asked: 3, found: 1 });
    let error = Gpu::open_with(&library, 0, &[image(&case.device, CudaTarget::Cubin(100))]).unwrap_err();
    assert!(error.to_string().contains("a fake GPU, which is sm_90; it has sm_100"), "{error}");
    let image = CudaImage { target: CudaTarget::Cubin(90), code: b"/no/such/library".into(), log: String::new() };
    let text = Gpu::open_with(&library, 0, &[image]).unwrap_err().to_string();
    assert!(text.contains("cuModuleLoadDataEx") && text.contains("update the driver, or set DIN_NVRTC"), "{text}");
}
