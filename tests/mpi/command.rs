//! `din` itself under `mpirun`.

use crate::support::{Ended, Mpi, ended};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Runs `din` on a number of ranks; words are separated by spaces, `{data}` and so on are paths.
fn din(mpi: Mpi, ranks: usize, line: &str, folder: &Path) -> Ended {
    let mut command = mpi.run(ranks);
    command.arg(env!("CARGO_BIN_EXE_din"));
    let line = line.replace("{folder}", folder.to_str().unwrap());
    ended(command.args(line.split_whitespace()).args(["--threads", "1"]))
}

/// A folder with a log.
fn log() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut synth = Command::new(env!("CARGO_BIN_EXE_din"));
    synth.args("synth --rows 4000 --users 150 --goods 200 --categories 10 --seed 3 --force --out".split(' '));
    assert!(synth.arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/end_to_end/small.din"),
        folder.path().join("small.din"),
    )
    .unwrap();
    folder
}

const TRAIN: &str = "train {folder}/small.din --train {folder}/train.parquet --valid {folder}/valid.parquet";

#[test]
fn ranks_train_evaluate_and_predict_like_one() {
    let folder = log();
    let one = ended(
        Command::new(env!("CARGO_BIN_EXE_din"))
            .args(TRAIN.replace("{folder}", folder.path().to_str().unwrap()).split(' '))
            .arg("--out")
            .arg(folder.path().join("one"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    assert_eq!(one.code, Some(0), "{one:?}");
    for mpi in Mpi::BOTH {
        for ranks in [1, 2, 4] {
            let name = format!("{mpi:?}{ranks}");
            let trained = din(mpi, ranks, &format!("{TRAIN} --out {{folder}}/{name}"), folder.path());
            assert_eq!(trained.code, Some(0), "{name} {trained:?}");
            let line = format!("{}: best", folder.path().join(&name).display());
            assert_eq!(trained.out.matches(&line).count(), 1, "one rank speaks: {trained:?}");
            let metrics = |run: &str| std::fs::read_to_string(folder.path().join(run).join("metrics.jsonl")).unwrap();
            let auc = |text: &str| text.lines().map(|line| line.split("seconds").next().unwrap().to_string()).collect();
            let (own, expected): (Vec<String>, Vec<String>) = (auc(&metrics(&name)), auc(&metrics("one")));
            assert_eq!(own, expected, "{name}");
            let line = format!("eval {{folder}}/{name} --data {{folder}}/test.parquet");
            let evaluated = din(mpi, ranks, &line, folder.path());
            assert_eq!(evaluated.code, Some(0), "{evaluated:?}");
            let alone = din(mpi, 1, &line, folder.path());
            assert_eq!(evaluated.out, alone.out, "{name}");
        }
    }
}

#[test]
fn what_is_wrong_is_said_once() {
    let folder = log();
    for mpi in Mpi::BOTH {
        for (line, part) in [
            (format!("{TRAIN} --out {{folder}}/r --resume"), "r"),
            ("train {folder}/none.din --train {folder}/train.parquet --valid {folder}/valid.parquet --out {folder}/r".into(), "none.din"),
            ("eval {folder}/none --data {folder}/test.parquet".to_string(), "none"),
        ] {
            let wrong = din(mpi, 3, &line, folder.path());
            assert_eq!(wrong.errors().len(), 1, "{line}: {wrong:?}");
            assert!(wrong.errors()[0].contains(part), "{line}: {wrong:?}");
            assert!(matches!(mpi, Mpi::Mpich) || wrong.code == Some(1), "{line}: {wrong:?}");
        }
    }
}
