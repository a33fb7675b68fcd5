//! Stand-alone executables: `din build`, and what the executable does far from any compiler.

use crate::support::*;
use din_program::Isa;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The executable of the small model, built once.
pub fn ranker() -> &'static Path {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &FOLDER
        .get_or_init(|| {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("ranker");
            din("build {model} -o {out}", &[("model", &small()), ("out", &path)]).expect(0);
            (folder, path)
        })
        .1
}

/// Runs an executable in `folder` with nothing in its environment but the order to generate no
/// code.
fn alone(folder: &Path, program: &Path, line: &str) -> Ran {
    let mut command = Command::new(program);
    command.env_clear().env("DIN_FORBID_CODEGEN", "1").current_dir(folder);
    run(&mut command, line, &[("data", data())])
}

#[test]
fn a_copied_executable_trains_evaluates_and_predicts_without_generating_code() {
    let folder = TempDir::new().unwrap();
    let own = folder.path().join("ranker");
    fs::copy(ranker(), &own).unwrap();
    let here = folder.path();
    alone(here, &own, "train --data {data}/train.parquet --valid {data}/valid.parquet --out run").expect(0);
    // The same bits as those of `din train`, which compiled in its own process.
    assert_eq!(hashes(&here.join("run")), hashes(trained()));
    let eval = alone(here, &own, "eval run --data {data}/test.parquet").expect(0);
    assert!(eval.out.contains("auc(click)") && eval.out.contains("gauc(click"), "{}", eval.out);
    alone(here, &own, "predict run --data {data}/test.parquet --out p.csv").expect(0);
    assert_eq!(fs::read_to_string(here.join("p.csv")).unwrap().lines().count(), 401);
    let info = alone(here, &own, "info").expect(0);
    assert!(info.out.contains("model small") && info.out.contains("visited_good_ids"), "{}", info.out);
    alone(here, &own, "check model.din").expect(2);
    assert_eq!(names(here), ["p.csv", "ranker", "run"]);
    // The order is heeded: the compiler itself refuses.
    let refused = run(
        Command::new(din_path()).env("DIN_FORBID_CODEGEN", "1"),
        "build {model} -o {out}",
        &[("model", &small()), ("out", &here.join("other"))],
    );
    refused.expect(3).says("DIN_FORBID_CODEGEN");
    assert!(!here.join("other").exists());
}

#[test]
fn same_spec_same_bytes_and_mode_0755() {
    let folder = TempDir::new().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    din("build {model} -o {out}", &[("model", &small()), ("out", &a)]).expect(0);
    assert!(fs::read(&a).unwrap() == fs::read(ranker()).unwrap(), "two builds differ");
    din("build {model} -o {out} --set lr=0.5", &[("model", &small()), ("out", &b)]).expect(0);
    assert!(fs::read(&b).unwrap() != fs::read(ranker()).unwrap(), "another hyper-parameter, the same bytes");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&a).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_flipped_byte_or_a_cut_is_refused() {
    let folder = TempDir::new().unwrap();
    let broken = folder.path().join("broken");
    let whole = fs::read(ranker()).unwrap();
    let start = fs::metadata(din_path()).unwrap().len() as usize;
    let appended = whole.len() - start;
    assert!(appended > 1000);
    // Head, program (its hash, its data, its machine code), and every region of the footer; each
    // byte alone is tested in `bundle`.
    let mut places: Vec<usize> = (0..24).map(|k| start + k * appended / 24).collect();
    places.extend([start, start + 15, start + 16, start + 20, start + 60]);
    places.extend([1, 16, 17, 32, 33, 64, 65, 96, 100, 130, 160, 176, 191, 192].map(|back| whole.len() - back));
    // The file is large: it is copied once, and of each place one byte is written.
    fs::copy(ranker(), &broken).unwrap();
    let open = || fs::OpenOptions::new().write(true).open(&broken).unwrap();
    let put = |place: usize, byte: u8| open().write_all_at(&[byte], place as u64).unwrap();
    let info = || run(&mut Command::new(&broken), "info", &[]);
    for place in places {
        put(place, whole[place] ^ 0x10);
        info().expect(1).says("the appended program is refused");
        put(place, whole[place]);
    }
    info().expect(0);
    for length in [whole.len() - 1, start + appended / 2, start + 16, start + 1] {
        open().set_len(length as u64).unwrap();
        info().expect(1).says("the appended program is refused");
    }
    // Without the whole appended part it is `din` again, and has no program to describe.
    open().set_len(start as u64).unwrap();
    info().expect(2);
}

#[test]
fn an_executable_refuses_another_models_run() {
    let folder = TempDir::new().unwrap();
    let spec = folder.path().join("wide.din");
    fs::write(&spec, fs::read_to_string(small()).unwrap().replace("good [4]", "good [6]")).unwrap();
    let wide = folder.path().join("wide");
    din("build {model} -o {out}", &[("model", &spec), ("out", &wide)]).expect(0);
    let line = format!("eval {} --data {{data}}/test.parquet", trained().display());
    let ran = alone(folder.path(), &wide, &line).expect(1).says("another structure");
    assert!(ran.err.contains("only in the checkpoint: table good [4]"), "{}", ran.err);
}

#[test]
fn the_stored_code_is_what_emit_shows() {
    let program = din_runtime::bundle::read(ranker()).unwrap().unwrap().program;
    for (level, isa) in [("v2", Isa::V2), ("v3", Isa::V3), ("v4", Isa::V4)] {
        let text = din(&format!("emit {{model}} --stage asm --isa {level}"), &[("model", &small())]).expect(0).out;
        let (assembly, code) = text.split_once("# code as an executable holds it").unwrap();
        assert_eq!(assembly.matches("retq").count(), program.kernels.len(), "one return a kernel");
        let bytes: Vec<u8> = code
            .lines()
            .filter_map(|line| line.split_once(": ").filter(|(at, _)| at.len() == 8))
            .flat_map(|(_, bytes)| bytes.split(' ').map(|b| u8::from_str_radix(b, 16).unwrap()).collect::<Vec<_>>())
            .collect();
        let stored = program.code.iter().find(|code| code.isa == isa).unwrap();
        assert!(bytes == stored.bytes, "{level}: {} bytes shown, {} stored", bytes.len(), stored.bytes.len());
    }
    // The executable says the same of itself as `din` says of the spec.
    let info = din("info {model} --json", &[("model", &small())]).expect(0).out;
    assert_eq!(info, alone(data(), ranker(), "info --json").expect(0).out);
}

#[test]
fn an_executable_refuses_a_run_of_other_formulas_and_the_same_spec_under_another_path_is_the_same() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = fs::read_to_string(small()).unwrap();
    // The same tensors, another formula.
    let other = text.replace(
        "mlp(concat(embed(user), taste, candidate), [16], dice)",
        "mlp(concat(embed(user), candidate, taste), [16], dice)",
    );
    assert_ne!(other, text);
    for (name, text) in [("other.din", &other), ("copy.din", &text)] {
        fs::write(at(name), text).unwrap();
        let (spec, exe) = (at(name), at(name).with_extension("exe"));
        din("build {spec} -o {exe}", &[("spec", &spec), ("exe", &exe)]).expect(0);
    }
    let line = "eval {run} --data {data}/test.parquet";
    let paths = [("run", trained()), ("data", data())];
    let eval = |exe: &str| run(&mut std::process::Command::new(at(exe)), line, &paths);
    eval("other.exe").expect(1).says("trained with another spec");
    assert_eq!(eval("copy.exe").expect(0).out, din(line, &paths).expect(0).out);
    let run = at("run");
    train(&run, "--epochs 1").expect(0);
    let resume =
        |spec: &str| din("train {spec} --out {run} --resume --epochs 2", &[("spec", &at(spec)), ("run", &run)]);
    resume("other.din").expect(1).says("another spec");
    let shown = resume("copy.din").expect(0).err;
    assert!(!shown.contains("another compiler version"), "{shown}");
    assert_eq!(hashes(&run), hashes(trained()));
}
