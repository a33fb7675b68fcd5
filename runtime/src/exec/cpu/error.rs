//! Why the engine refuses a program, a machine or a batch. Every refusal names what was expected and what was found.

use din_program::Isa;
use std::fmt;

/// Errors of loading and running a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// No machine code of the program runs here.
    Code(String),
    /// The forced ISA level is above what the CPU has.
    Isa { asked: Isa, found: Isa },
    /// The program's schedule contradicts itself.
    Schedule { schedule: String, location: String, why: String },
    /// A batch, table or model state does not fit the program.
    Input(String),
    /// The operating system refused memory.
    Memory { bytes: usize },
    /// A thread could not be started.
    Thread(String),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(why) => write!(f, "the program's machine code cannot run here: {why}"),
            Self::Isa { asked, found } => write!(
                f,
                "this CPU runs x86-64 level {} at most, not the level {} asked for",
                crate::cpu::level(*found),
                crate::cpu::level(*asked)
            ),
            Self::Schedule { schedule, location, why } if location.is_empty() => {
                write!(f, "the program's {schedule} schedule is invalid: {why}; build it again")
            }
            Self::Schedule { schedule, location, why } => {
                write!(f, "{location}: the program's {schedule} schedule is invalid: {why}; build it again")
            }
            Self::Input(why) => write!(f, "the batch does not fit the program: {why}"),
            Self::Memory { bytes } => {
                write!(f, "cannot allocate {bytes} bytes of memory for a step; use a smaller batch")
            }
            Self::Thread(why) => write!(f, "cannot start a worker thread: {why}"),
        }
    }
}

impl std::error::Error for EngineError {}
