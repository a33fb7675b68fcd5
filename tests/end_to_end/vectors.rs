//! Tables that start from a file of vectors, and are frozen.

use crate::support::*;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A file of vectors of width 4, all of them `value`, for the first goods of the synthetic log.
fn write_vectors(path: &Path, value: f32) {
    let ids: Vec<u8> = (0..500i64).flat_map(|id| id.to_le_bytes()).collect();
    let vectors: Vec<u8> = (0..500 * 4).flat_map(|_| value.to_le_bytes()).collect();
    let tensors = [
        ("ids", safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![500], &ids).unwrap()),
        ("vectors", safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![500, 4], &vectors).unwrap()),
    ];
    fs::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

#[test]
fn a_file_of_vectors_is_needed_by_the_first_training_alone() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let text = fs::read_to_string(small()).unwrap();
    let options = "{ init from \"data/goods.safetensors\" else normal(0.02)  optimizer frozen }";
    let text = text.replace("{ regularize adaptive(0.001) }", options).replace("use std.regularizer.adaptive\n", "");
    let model = here.join("small.din");
    fs::write(&model, text).unwrap();
    let run = here.join("run");
    let missing = train_model(&model, &run, "--epochs 1").expect(1);
    missing
        .says("small.din:")
        .says("data/goods.safetensors: cannot read")
        .says("help: the path is that from the folder");
    assert!(!run.exists());

    fs::create_dir(here.join("data")).unwrap();
    write_vectors(&here.join("data/goods.safetensors"), 0.125);
    let trained = train_model(&model, &run, "--epochs 1").expect(0);
    assert!(trained.err.contains("table `good`: of "), "{}", trained.err);
    assert!(trained.err.contains(" start from ") && trained.err.contains("of its 500 vectors"), "{}", trained.err);
    let info = din("info {run}", &[("run", &run)]).expect(0);
    assert!(info.out.contains("frozen, from data/goods.safetensors"), "{}", info.out);
    let exe = here.join("ranker");
    din("build {model} -o {exe}", &[("model", &model), ("exe", &exe)]).expect(0);

    fs::remove_dir_all(here.join("data")).unwrap();
    let paths = [("run", run.as_path()), ("data", data()), ("model", &model), ("here", here)];
    din("train {model} --out {run} --resume --epochs 2", &paths).expect(0);
    din("predict {run} --data {data}/test.parquet --out {here}/p.csv", &paths).expect(0);
    run_alone(here, &exe, "predict run --data {data}/test.parquet --out own.csv").expect(0);
    assert_eq!(fs::read(here.join("p.csv")).unwrap(), fs::read(here.join("own.csv")).unwrap());
    // One that trains anew looks from where it is run.
    let anew = "train --data {data}/train.parquet --valid {data}/valid.parquet --out other";
    run_alone(here, &exe, anew).expect(1).says("data/goods.safetensors: cannot read");
    fs::create_dir(here.join("data")).unwrap();
    write_vectors(&here.join("data/goods.safetensors"), 0.125);
    run_alone(here, &exe, anew).expect(0);
    assert_eq!(hashes(&here.join("other")), hashes(&run));
}

fn run_alone(folder: &Path, program: &Path, line: &str) -> Ran {
    run(Command::new(program).current_dir(folder), line, &[("data", data())])
}
