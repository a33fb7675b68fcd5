use super::kernels::tests::some as kernels;
use super::*;
use din_program::schedule::Schedule;
use din_program::schema::{Schema, Training};
use std::fs;

fn program(model: &str) -> Program {
    let empty = Schedule {
        axes: din_program::axes::AxisTree::rows(),
        buffers: vec![],
        slots: vec![],
        tile_slots: vec![],
        phases: vec![],
        roots: vec![],
    };
    Program {
        format: FORMAT,
        compiler: "0.1.0".into(),
        triple: host_triple(),
        model: model.into(),
        sources: vec![("m.din".into(), "model m {}".into())],
        hypers: vec![],
        schema: Schema::default(),
        tables: vec![],
        parameters: vec![],
        states: vec![],
        predictions: vec![],
        outputs: vec![],
        metrics: vec![],
        training: Training { batch: 1, epochs: 1, seed: 0, select: 0, patience: None },
        updates: vec![],
        squared_norms: vec![],
        train: empty.clone(),
        infer: empty.clone(),
        infer_bf16: empty,
        kernels: vec![],
        code: vec![],
    }
}

/// The smallest ELF header with a section table that ends the file.
fn executable() -> Vec<u8> {
    let mut bytes = vec![7u8; 256];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&192u64.to_le_bytes());
    bytes[54..62].copy_from_slice(&[56, 0, 0, 0, 64, 0, 1, 0]);
    bytes
}

#[test]
fn build_is_deterministic_and_reads_back_and_replaces_an_older_program() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("din");
    fs::write(&base, executable()).unwrap();
    assert!(read(&base).unwrap().is_none());
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    build(&base, &program("m"), None, &one).unwrap();
    build(&base, &program("m"), None, &two).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    assert_eq!(read(&one).unwrap().unwrap(), Bundle { program: program("m").into(), kernels: None });
    build(&one, &program("m"), Some(&kernels()), &two).unwrap();
    assert_eq!(read(&two).unwrap().unwrap(), Bundle { program: program("m").into(), kernels: Some(kernels()) });
    build(&two, &program("other"), None, &two).unwrap();
    assert_eq!(read(&two).unwrap().unwrap(), Bundle { program: program("other").into(), kernels: None });
    assert_eq!(fs::read(&two).unwrap()[..256], executable());
    assert_eq!(fs::metadata(&two).unwrap().len() - fs::metadata(&one).unwrap().len(), "other".len() as u64 - 1);
}

#[test]
fn every_flipped_byte_and_every_cut_of_the_appended_part_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (base, out) = (folder.path().join("din"), folder.path().join("out"));
    for (elf, kernels) in [(true, None), (false, None), (true, Some(kernels()))] {
        let plain = if elf { executable() } else { b"#!no elf header here".repeat(20) };
        fs::write(&base, &plain).unwrap();
        build(&base, &program("m"), kernels.as_ref(), &out).unwrap();
        let whole = fs::read(&out).unwrap();
        for at in plain.len()..whole.len() {
            // Without an ELF header only the footer's last bytes announce the appended part.
            if !elf && at >= whole.len() - FOOT.len() {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&base, &bytes).unwrap();
            let error = read(&base).expect_err(&format!("byte {at}"));
            assert_eq!(error.exit_code(), 1);
            assert!(error.message.contains("the appended program is refused"), "{error}");
        }
        for length in plain.len() + 1..whole.len() {
            if elf {
                fs::write(&base, &whole[..length]).unwrap();
                assert!(read(&base).is_err(), "cut to {length}");
            }
        }
    }
}

#[test]
fn another_machine_or_format_is_refused_with_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let (base, out) = (folder.path().join("din"), folder.path().join("out"));
    fs::write(&base, executable()).unwrap();
    let mut other = program("m");
    other.triple = "riscv64-unknown-linux-gnu".into();
    build(&base, &other, None, &out).unwrap();
    let message = read(&out).unwrap_err().message;
    assert!(message.contains("riscv64-unknown-linux-gnu") && message.contains(&host_triple()), "{message}");
    other = program("m");
    other.format = FORMAT + 1;
    build(&base, &other, None, &out).unwrap();
    assert!(read(&out).unwrap_err().message.contains(&format!("format {}", FORMAT + 1)));
}

/// Hashes that fit do not make kernels of any bytes.
#[test]
fn kernels_that_no_build_writes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (base, out) = (folder.path().join("din"), folder.path().join("out"));
    fs::write(&base, executable()).unwrap();
    let mut wrong = kernels();
    wrong.images[0].code.clear();
    build(&base, &program("m"), Some(&wrong), &out).unwrap();
    let error = read(&out).unwrap_err();
    assert!(error.message.contains("refused: its image for sm_80 is not machine code"), "{error}");
}

#[test]
fn this_very_test_binary_carries_no_program() {
    assert!(own().unwrap().is_none());
}
