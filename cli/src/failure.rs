//! How a verb fails: an exit code and the message that is still to be printed.

use din_runtime as run;

/// The exit code of a user error: the input is wrong.
pub const USER_ERROR: u8 = 1;
/// The exit code of a command line that is wrong.
pub const USAGE_ERROR: u8 = 2;
/// The exit code of a system error: disk, memory, CPU, or a bug of din.
pub const SYSTEM_ERROR: u8 = 3;
/// Of `diff`: the models differ, and a checkpoint of the old one has all weights of the new one.
pub const COMPATIBLE: u8 = 10;
/// Of `diff`: the models differ, and a checkpoint of the old one has not all weights of the new
/// one.
pub const INCOMPATIBLE: u8 = 11;
/// Of `gate`: the run is worse than its baseline, or beyond a bound.
pub const CLOSED: u8 = 12;
/// Stopped by Ctrl-C, as shells have it.
pub const INTERRUPTED: u8 = 130;

/// An exit code with a message, which is empty if everything has been printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn user_error(message: impl Into<String>) -> Self {
        Self { code: USER_ERROR, message: message.into() }
    }

    pub fn system_error(message: impl Into<String>) -> Self {
        Self { code: SYSTEM_ERROR, message: message.into() }
    }

    /// Everything has been printed.
    pub fn reported(code: u8) -> Self {
        Self { code, message: String::new() }
    }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Self {
        Self { code: error.exit_code(), message: error.message }
    }
}

pub type Outcome = Result<(), Failure>;
