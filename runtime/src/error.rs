//! Why a running verb stopped. Says whose fault it is, which is what the exit code says: the
//! input's (1) or the machine's (3).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// A file, its contents or the request is wrong; the user can mend it.
    User,
    /// Disk, memory, the operating system.
    System,
    /// Nobody: the user asked to stop.
    Stopped,
}

/// A message that starts with the place (`file`, `file: row 3, column click`) and says what was
/// expected and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::User, message: message.into() }
    }

    pub fn machine(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::System, message: message.into() }
    }

    /// Ctrl-C, or another signal that asks to stop, before the work on a file was done; and what of
    /// that work there is now.
    pub fn stopped(file: &Path, outcome: &str) -> Self {
        Self { kind: ErrorKind::Stopped, message: format!("{}: stopped; {outcome}", file.display()) }
    }

    /// Adds one way to mend it.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.message.push_str(&format!("\n  help: {help}"));
        self
    }

    /// Says which rank of a run met it, unless it says so already.
    #[must_use]
    pub fn of_rank(mut self, rank: usize, host: &str) -> Self {
        let named = self.message.strip_prefix("rank ").and_then(|rest| rest.split_once(" on "));
        if named.is_none_or(|(number, _)| number.parse::<usize>().is_err()) {
            self.message.insert_str(0, &format!("rank {rank} on {host}: "));
        }
        self
    }

    /// A failed operation on a file: a missing or wrong kind of file is the input's fault, the rest
    /// (permissions, a full or failing disk, too many open files) the machine's.
    pub fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("{}: cannot {doing}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof => Self::input(message),
            _ => Self::machine(message),
        }
    }

    /// 1, 3 or 130.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::User => 1,
            ErrorKind::System => 3,
            ErrorKind::Stopped => 130,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_that_met_an_error_is_named_once() {
        let error = Error::input("log.csv: line 3").of_rank(2, "north").of_rank(0, "south");
        assert_eq!(error.message, "rank 2 on north: log.csv: line 3");
    }

    #[test]
    fn what_the_system_refuses_is_the_machines_fault_and_names_the_call_and_the_file() {
        // Linux's numbers: EPERM, EIO, EACCES, EMFILE, ENOSPC; then ENOENT, ENOTDIR, EISDIR.
        for (number, code) in [(1, 3), (5, 3), (13, 3), (24, 3), (28, 3), (2, 1), (20, 1), (21, 1)] {
            let error = Error::file("write", Path::new("a.bin"), &io::Error::from_raw_os_error(number));
            assert_eq!(error.exit_code(), code, "{error}");
            assert!(error.message.starts_with("a.bin: cannot write: "), "{error}");
        }
    }
}
