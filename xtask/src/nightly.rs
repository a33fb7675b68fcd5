//! What needs nightly Rust: fuzzing and Miri. `cargo test` replays the corpora of the fuzz targets
//! on the base Rust, in `tests/tests/fuzz.rs`.

use crate::arguments::{FuzzOptions, FuzzTarget};
use crate::command::{Outcome, cargo, output, program, root, run};
use clap::ValueEnum;
use std::fs;

/// The tests of the runtime's unsafe code that Miri can run: no vector instructions, no files and
/// no generated code. What is skipped counts how keys spread over a large index, in safe code.
const MIRI_FILTERS: [&str; 5] = ["table::", "pool::", "lanes::", "--skip", "regular_keys_do_not_cluster"];

/// How long each target is fuzzed where none is named.
const MINUTE: &str = "-max_total_time=60";

pub fn fuzz(options: &FuzzOptions) -> Outcome {
    need(&["rustc", "--version"], "rustup toolchain install nightly --profile minimal")?;
    need(&["cargo", "fuzz", "--version"], "cargo install cargo-fuzz --locked")?;
    match options.target {
        Some(target) => fuzz_target(target, &options.arguments),
        None => {
            let arguments = [&[MINUTE.to_string()], options.arguments.as_slice()].concat();
            FuzzTarget::value_variants().iter().try_for_each(|target| fuzz_target(*target, &arguments))
        }
    }
}

fn fuzz_target(target: FuzzTarget, arguments: &[String]) -> Outcome {
    let name = target.name();
    // libFuzzer writes what it finds into the first folder, and reads the second.
    let (found, committed) = (format!("fuzz/corpus/{name}"), format!("tests/corpus/{name}"));
    fs::create_dir_all(root().join(&found)).map_err(|e| format!("{found}: {e}"))?;
    let seeds = ["run", "--quiet", "--locked", "-p", "din-tests", "--example", "fuzz_seeds", "--", name, &found];
    run(&mut cargo(seeds))?;
    run(nightly(&["cargo", "fuzz", "run", name, &found, &committed, "--"]).args(arguments))
        .map_err(|why| format!("{why}\nto keep the input, copy it to {committed}/, where the tests replay it"))
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
