//! Which errors of the layers below are the user's and which the system's.

use crate::Error;
use crate::cpu::UnsupportedIsa;
use crate::exec::cuda::DeviceError;
use crate::exec::{CheckError, ExecError};
use crate::table::TableError;
use crate::threads::ThreadError;

impl From<ExecError> for Error {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Check(error) => error.into(),
            ExecError::Device(error) => error.into(),
            ExecError::Ranks(error) => error,
            ExecError::Code(_) | ExecError::Memory { .. } | ExecError::Overflow | ExecError::Thread(_) => {
                Error::machine(error.to_string())
            }
        }
    }
}

impl From<CheckError> for Error {
    fn from(error: CheckError) -> Self {
        match error {
            // A program is read from a run directory or an executable: one that contradicts itself
            // was altered there.
            CheckError::Schedule { .. } | CheckError::Input(_) => Error::input(error.to_string()),
        }
    }
}

impl From<UnsupportedIsa> for Error {
    fn from(error: UnsupportedIsa) -> Self {
        Error::input(error.to_string())
    }
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Input(_) | DeviceError::NoDevice { .. } => Error::input(error.to_string()),
            DeviceError::NoDriver { .. }
            | DeviceError::Foreign { .. }
            | DeviceError::NoImage { .. }
            | DeviceError::Memory { .. }
            | DeviceError::Launch { .. }
            | DeviceError::Late { .. }
            | DeviceError::Call { .. }
            | DeviceError::Program(_)
            | DeviceError::TableCache { .. }
            | DeviceError::Whole { .. }
            | DeviceError::Lost => Error::machine(error.to_string()),
        }
    }
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Memory { .. } => Error::machine(error.to_string()),
            TableError::OutOfRange { .. } | TableError::Full { .. } => Error::input(error.to_string()),
        }
    }
}

impl From<ThreadError> for Error {
    fn from(error: ThreadError) -> Self {
        Error::machine(error.to_string())
    }
}
