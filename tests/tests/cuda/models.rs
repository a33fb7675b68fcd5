//! Twenty training steps of every model of `models/`, by the runtime's engine on the shim, against
//! the interpreter, with the sparse updates: every tensor within 1e-4 of its norm. Equal bits
//! whatever the order of threads and blocks.

use din_compiler::codegen::cuda::CodegenOptions;
use din_compiler::model::CheckedModel;
use din_program::cuda::Precision;
use din_tests::cuda::{Device, STEPS, train};

pub use din_tests::cuda::samples;
pub use din_tests::specs::{files, model, name};

pub fn small() -> CodegenOptions {
    CodegenOptions {
        threads: 128,
        chunks: 7,
        batch_tile: 4,
        sequence_tile: 16,
        sequence_samples: 4,
        recurrence_tile: 4,
        row_tile: 16,
        shared_limit: 48 << 10,
        ..CodegenOptions::default()
    }
}

/// Trains them, two at a time: the host's compiler takes most of it.
fn train_all(models: &[(String, CheckedModel)]) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((name, model)) = models.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let begun = std::time::Instant::now();
                    // AdaGrad's first step has the size of the rate whatever the gradient: rounding
                    // of one near 0 shows.
                    let bound = if name == "unit_adagrad" { 1e-3 } else { 1e-4 };
                    train(name, model, &small(), (STEPS, bound), |source| Device::compile(source, 1));
                    println!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
                }
            });
        }
    });
}

#[test]
fn every_model_trains_as_the_interpreter() {
    let models: Vec<(String, CheckedModel)> = files().iter().map(|f| (name(f), model(f))).collect();
    assert!(models.len() >= 12);
    train_all(&models);
}

#[test]
fn every_unit_and_optimizer_trains_as_the_interpreter() {
    train_all(&crate::units::units());
}

/// Products on tensor cores change a loss by little: ten steps of DIN stay within 1 % (TF32) and 5
/// % (BF16) of the interpreter's losses.
#[test]
fn din_trains_on_tensor_cores() {
    let file = files().into_iter().find(|f| name(f) == "din").unwrap();
    for (precision, bound) in [(Precision::Tf32, 1e-2), (Precision::Bf16, 5e-2)] {
        let options = CodegenOptions { precision, ..small() };
        let name = format!("din in {precision:?}");
        train(&name, &model(&file), &options, (10, bound), |source| Device::compile(source, 1));
    }
}
