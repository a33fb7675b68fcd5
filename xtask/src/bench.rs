//! The comparison with other libraries: builds our side, makes virtual environments with theirs
//! from PyPI below `target/` (once), and runs `bench/suite.py`.

use crate::command::{Outcome, cargo, program, read, root, run, target};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub fn bench(options: &[String]) -> Outcome {
    // Help needs the environment, whose packages the script imports, but not our side.
    if !options.iter().any(|option| option == "--help" || option == "-h") {
        run(&mut cargo(["build", "--release", "--locked", "--workspace", "--bins", "--examples"]))?;
    }
    let own = "bench/requirements.txt";
    let python = environment("bench-venv", &[own])?;
    let libraries = environment("bench-venv-libraries", &[own, "bench/peers/requirements-libraries.txt"])?;
    let mut suite = Command::new(python);
    suite
        .arg("bench/suite.py")
        .arg("--ours")
        .arg(target().join("release/examples/bench_step"))
        .args(options)
        .current_dir(root());
    for family in ["JAX", "FUXICTR", "DEEPCTR", "ONNXRUNTIME", "OPENVINO"] {
        suite.env(format!("PYTHON_{family}"), &libraries);
    }
    run(&mut suite)
}

/// The interpreter of a virtual environment that has the requirements; made anew when they change.
fn environment(name: &str, requirements: &[&str]) -> Result<PathBuf, String> {
    let folder = target().join(name);
    let python = folder.join("bin/python");
    let wanted = requirements.iter().map(|file| read(file)).collect::<Result<String, String>>()?;
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(python);
    }
    let base = env::var("PYTHON").unwrap_or_else(|_| "python3.11".into());
    run(program(&base, ["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]).current_dir(root());
    for file in requirements {
        install.args(["-r", file]);
    }
    run(&mut install)?;
    fs::write(&stamp, wanted).map_err(|e| format!("{}: {e}", stamp.display()))?;
    Ok(python)
}
