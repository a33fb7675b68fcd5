//! What needs nightly Rust: fuzzing and Miri. `cargo test` replays the corpora of the fuzz targets
//! on the base Rust, in `tests/tests/fuzz.rs`.

use crate::arguments::FuzzOptions;
use crate::command::{Outcome, output, program, root, run};
use std::fs;

/// The tests of the runtime's unsafe code that Miri can run: no vector instructions, no files and
/// no generated code.
const MIRI_FILTERS: [&str; 3] = ["table::", "pool::", "lanes::"];

pub fn fuzz(options: &FuzzOptions) -> Outcome {
    need(&["rustc", "--version"], "rustup toolchain install nightly --profile minimal")?;
    need(&["cargo", "fuzz", "--version"], "cargo install cargo-fuzz --locked")?;
    let target = options.target.name();
    // libFuzzer writes what it finds into the first folder, and reads the second.
    let found = format!("fuzz/corpus/{target}");
    fs::create_dir_all(root().join(&found)).map_err(|e| format!("{found}: {e}"))?;
    let committed = format!("tests/corpus/{target}");
    let seeds = ["run", "--quiet", "--locked", "-p", "din-tests", "--example", "fuzz_seeds", "--", target, &found];
    run(&mut program("cargo", seeds))?;
    let mut command = nightly(&["cargo", "fuzz", "run", target, &found, &committed]);
    run(command.arg("--").args(&options.arguments)).map_err(|why| {
        format!("{why}\nkeep an input that was found: copy it to {committed}/, where the tests replay it")
    })
}

pub fn miri(arguments: &[String]) -> Outcome {
    need(&["rustc", "--version"], "rustup toolchain install nightly --profile minimal")?;
    need(&["cargo", "miri", "--version"], "rustup component add --toolchain nightly miri rust-src")?;
    let mut command = nightly(&["cargo", "miri", "test", "--locked", "-p", "din-runtime", "--lib", "--"]);
    if arguments.is_empty() {
        command.args(MIRI_FILTERS);
    } else {
        command.args(arguments);
    }
    // Tests ask for the time and for the number of cores.
    run(command.env("MIRIFLAGS", "-Zmiri-disable-isolation"))
}

/// A command of nightly Rust.
fn nightly(words: &[&str]) -> std::process::Command {
    program("rustup", ["run", "nightly"].iter().chain(words))
}

/// Fails where a command of nightly Rust is missing, and says how to install it.
fn need(words: &[&str], install: &str) -> Outcome {
    match output(&mut nightly(words)) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!(
            "{}\nthis needs nightly's `{}`; install it with\n\n    {install}\n",
            first(&why),
            words.join(" ")
        )),
    }
}

fn first(text: &str) -> &str {
    text.lines().next().expect("a message has a line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_installation() {
        let why = need(&["din-no-such-tool"], "cargo install it").unwrap_err();
        assert!(
            why.contains("this needs nightly's `din-no-such-tool`; install it with\n\n    cargo install it"),
            "{why}"
        );
    }
}
