//! Running the binary, and one synthetic log for all tests.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// What a process ended with.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "standard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }

    /// Standard error holds `part`.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.err.contains(part), "expected `{part}` in:\n{}", self.err);
        self
    }
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("ended by itself"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn din_path() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_din"))
}

/// Runs `din` with arguments separated by spaces; `{name}` stands for a path.
pub fn din(line: &str, paths: &[(&str, &Path)]) -> Ran {
    run(&mut Command::new(din_path()), line, paths)
}

pub fn run(command: &mut Command, line: &str, paths: &[(&str, &Path)]) -> Ran {
    for word in line.split_whitespace() {
        let mut word = word.to_string();
        for (name, path) in paths {
            word = word.replace(&format!("{{{name}}}"), path.to_str().unwrap());
        }
        command.arg(word);
    }
    // Another test's process may for a moment hold a just written executable open (between fork and
    // exec): the kernel then says busy.
    for _ in 0..200 {
        match command.output() {
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            output => return ran(output.unwrap()),
        }
    }
    panic!("{command:?} stays busy")
}

pub fn small() -> PathBuf {
    root().join("tests/end_to_end/small.din")
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A folder with `train.parquet`, `valid.parquet` and `test.parquet` of 3,200, 400 and 400 rows.
pub fn data() -> &'static Path {
    static DATA: OnceLock<TempDir> = OnceLock::new();
    DATA.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let line = "synth --out {data} --rows 4000 --users 150 --goods 200 --categories 10 --seed 3 --force";
        din(line, &[("data", folder.path())]).expect(0);
        folder
    })
    .path()
}

/// Trains the small model on the synthetic log; more arguments behind.
pub fn train(out: &Path, more: &str) -> Ran {
    train_model(&small(), out, more)
}

/// The same of another model.
pub fn train_model(model: &Path, out: &Path, more: &str) -> Ran {
    let line =
        format!("train {{model}} --train {{data}}/train.parquet --valid {{data}}/valid.parquet --out {{out}} {more}");
    din(&line, &[("model", model), ("data", data()), ("out", out)])
}

/// A run of the small model with the spec's own settings, made once.
pub fn trained() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let folder = RUN.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        train(&folder.path().join("run"), "").expect(0);
        folder
    });
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| folder.path().join("run"))
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Names of the checkpoints of a run, and of each the SHA-256 of its files.
pub fn hashes(run: &Path) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = names(&run.join("checkpoints"))
        .into_iter()
        .map(|name| {
            let manifest = json(&run.join("checkpoints").join(&name).join("manifest.json"));
            (name, manifest["files"].clone())
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// What a folder holds, by name.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() { copy_folder(&from, &to) } else { std::fs::copy(&from, &to).map(|_| ()).unwrap() }
    }
}
