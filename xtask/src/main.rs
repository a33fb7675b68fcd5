//! Chores that are more than one command: `cargo xtask bench [OPTIONS OF bench/suite.py]`.
//!
//! `bench` builds our side, makes virtual environments with the peers from PyPI under `target/` (once), and runs the comparison.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let outcome = match words.split_first() {
        Some((verb, rest)) if verb == "bench" => bench(rest),
        _ => Err("expected `cargo xtask bench [OPTIONS]`; `cargo xtask bench --help` lists the options".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

fn run(command: &mut Command) -> Outcome {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} ended with {status}")),
        Err(e) => Err(format!("{shown}: {e}")),
    }
}

/// The interpreter of a virtual environment that has the requirements; made anew when they change.
fn environment(name: &str, requirements: &[&str]) -> Result<PathBuf, String> {
    let folder = root().join("target").join(name);
    let python = folder.join("bin/python");
    let mut wanted = String::new();
    for file in requirements {
        let path = root().join(file);
        wanted += &fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    let base = env::var("PYTHON").unwrap_or_else(|_| "python3.11".into());
    run(Command::new(base).args(["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]).current_dir(root());
    for file in requirements {
        install.args(["-r", file]);
    }
    run(&mut install)?;
    fs::write(&stamp, wanted).map_err(|e| format!("{}: {e}", stamp.display()))?;
    Ok(python)
}

fn bench(options: &[String]) -> Outcome {
    let root = root();
    run(Command::new("cargo").args(["build", "--release", "--workspace", "--bins", "--examples"]).current_dir(&root))?;
    let own = "bench/requirements.txt";
    let python = environment("bench-venv", &[own])?;
    let libraries = environment("bench-venv-libraries", &[own, "bench/peers/requirements-libraries.txt"])?;
    let mut suite = Command::new(python);
    suite.arg("bench/suite.py").args(options).current_dir(&root);
    for family in ["JAX", "FUXICTR", "DEEPCTR"] {
        suite.env(format!("PYTHON_{family}"), &libraries);
    }
    run(&mut suite)
}
