//! How a verb ends when it does not end well: an exit code, and what is still to be said.

use din_runtime as run;

/// The input's fault.
pub const INPUT: u8 = 1;
/// The machine's fault.
pub const MACHINE: u8 = 3;
/// Stopped by Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// An exit code with a message, which is empty where everything has been said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn input(message: impl Into<String>) -> Self {
        Self { code: INPUT, message: message.into() }
    }

    pub fn machine(message: impl Into<String>) -> Self {
        Self { code: MACHINE, message: message.into() }
    }

    /// Diagnostics have been shown.
    pub fn said(code: u8) -> Self {
        Self { code, message: String::new() }
    }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Self {
        Self { code: error.exit_code(), message: error.message }
    }
}

pub type Outcome = Result<(), Failure>;
