//! Why an executor refuses a program, a machine or a batch.

use super::common::CheckError;
use super::cuda::DeviceError;
use crate::Error;
use crate::jit::CodeError;
use crate::threads::ThreadError;
use std::fmt;

/// Errors of loading and running a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecError {
    /// The program contradicts itself, or a batch, table or model state does not fit it.
    Check(CheckError),
    /// No machine code of the program runs here.
    Code(CodeError),
    /// The operating system refused memory.
    Memory { bytes: usize },
    /// A step needs more memory than can be addressed.
    Overflow,
    /// A thread could not be started.
    Thread(ThreadError),
    /// A GPU failed, or refuses what it was asked for.
    Device(DeviceError),
    /// Another rank of the run failed.
    Ranks(Error),
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check(error) => error.fmt(f),
            Self::Code(error) => error.fmt(f),
            Self::Memory { bytes } => {
                write!(f, "cannot allocate {bytes} bytes of memory for a step; use a smaller batch")
            }
            Self::Overflow => write!(f, "a step needs more memory than can be addressed; use a smaller batch"),
            Self::Thread(error) => error.fmt(f),
            Self::Device(error) => error.fmt(f),
            Self::Ranks(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ExecError {}

impl From<CheckError> for ExecError {
    fn from(error: CheckError) -> Self {
        Self::Check(error)
    }
}

impl From<CodeError> for ExecError {
    fn from(error: CodeError) -> Self {
        Self::Code(error)
    }
}

impl From<ThreadError> for ExecError {
    fn from(error: ThreadError) -> Self {
        Self::Thread(error)
    }
}

impl From<DeviceError> for ExecError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}
