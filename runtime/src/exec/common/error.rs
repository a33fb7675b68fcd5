//! What the checks of a program and of a batch refuse.

use std::fmt;

/// A program that contradicts itself, or inputs that do not fit it. The message names what was
/// expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckError {
    /// The program's schedule contradicts itself. The location is empty where no part of the spec
    /// is to blame.
    Schedule { schedule: String, location: String, why: String },
    /// A batch, table or model state does not fit the program.
    Input(String),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule { schedule, location, why } if location.is_empty() => {
                write!(f, "the program's {schedule} schedule is invalid: {why}; build it again")
            }
            Self::Schedule { schedule, location, why } => {
                write!(f, "{location}: the program's {schedule} schedule is invalid: {why}; build it again")
            }
            Self::Input(why) => write!(f, "the batch does not fit the program: {why}"),
        }
    }
}

impl std::error::Error for CheckError {}
