//! Running other programs.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub type Outcome = Result<(), String>;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is a folder of the workspace").to_path_buf()
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    root().join(target)
}

/// `cargo` with arguments, in the root of the repository.
pub fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    program("cargo", arguments)
}

/// A program with arguments, in the root of the repository.
pub fn program<A: AsRef<OsStr>>(name: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// Shows a command, runs it, and fails where it does.
pub fn run(command: &mut Command) -> Outcome {
    let line = shown(command);
    eprintln!("\n== {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` ended with {status}")),
        Err(e) => Err(format!("`{line}`: {e}")),
    }
}

/// What a command writes to standard output.
pub fn output(command: &mut Command) -> Result<String, String> {
    let line = shown(command);
    let output = command.output().map_err(|e| format!("`{line}`: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{line}` ended with {}: {}", output.status, said.trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{line}` wrote what is not UTF-8"))
}

/// The text of a file of the repository.
pub fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(root().join(path)).map_err(|e| format!("{path}: {e}"))
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut words: Vec<String> =
        set.map(|(name, value)| format!("{}={}", name.to_string_lossy(), quoted(value))).collect();
    words.push(quoted(command.get_program()));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./=:+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = cargo(["test", "-p", "din-tests", "", "it's here"]);
        command.env("RUSTDOCFLAGS", "-D warnings").env("DIN_BLESS", "1");
        assert_eq!(
            shown(&command),
            r"DIN_BLESS=1 RUSTDOCFLAGS='-D warnings' cargo test -p din-tests '' 'it'\''s here'"
        );
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let why = run(&mut program("false", ["--now"])).unwrap_err();
        assert!(why.starts_with("`false --now` ended with exit status: 1"), "{why}");
        let why = output(&mut program("din-no-such-program", [""; 0])).unwrap_err();
        assert!(why.starts_with("`din-no-such-program`: "), "{why}");
        assert_eq!(output(&mut program("printf", ["a b"])), Ok("a b".into()));
    }
}
