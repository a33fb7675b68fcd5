//! The little that an engine needs of a device, so that the same engine runs on a GPU and, in tests, on memory that checks every access.
//!
//! Everything happens in the order of the calls, as in one stream. Addresses are the device's; what lies behind them is reached through
//! these functions and by kernels alone.

use super::Target;
use std::fmt;
use std::time::Duration;

/// A place in the device's memory.
pub type Address = u64;

/// A kernel and what it is given: see `din_program::cuda`.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    pub kernel: &'a str,
    /// `file:line:column` of what asked for it; empty for kernels of no single line.
    pub location: &'a str,
    /// Blocks along x and y.
    pub grid: (u32, u32),
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory in bytes.
    pub shared: u32,
    /// `u64` addresses, `u32` words and f32 scratch; 0 where there is none.
    pub addresses: Address,
    pub words: Address,
    pub scratch: Address,
}

/// A launch that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    pub kernel: String,
    /// As in [`Launch`].
    pub location: String,
    /// Since measuring began.
    pub begin: Duration,
    pub length: Duration,
}

/// A part of allocated memory that is used as an array of its own.
#[derive(Clone, Copy, Debug)]
pub struct Array {
    pub at: Address,
    pub bytes: usize,
    /// For messages.
    pub what: &'static str,
    /// Whether it holds values already; kernels must not read others before they write them.
    pub written: bool,
}

/// A device. Offsets and sizes are the caller's to get right, except where a driver says that it checks them.
pub trait Driver {
    /// Whether it checks accesses and wants to know of arrays.
    const CHECKS: bool = false;

    /// What decides the bits of results: `sm_90`.
    fn level(&self) -> String;

    /// Memory of at least `bytes` bytes, at a multiple of 256, with any content; `what` it is for stands in the error.
    fn allocate(&mut self, bytes: usize, what: &'static str) -> Result<Address, DeviceError>;

    /// Gives memory back once all that was asked for before is done; `at` is what `allocate` gave.
    fn free(&mut self, at: Address);

    /// From the host to the device; `bytes` may be changed when it returns.
    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;

    /// From the device to the host, when all that was asked for before is done.
    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Within the device; the two do not overlap.
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), DeviceError>;

    /// Launches a kernel. An error of the kernel itself may be told by a later call.
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), DeviceError>;

    /// Returns when all that was asked for is done.
    fn wait(&mut self) -> Result<(), DeviceError>;

    /// Begins or ends measuring how long each launch takes. While it lasts, launches take the time of two events more.
    fn measure(&mut self, _on: bool) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The launches that were measured since this was last asked, in their order, when all of them are done.
    fn measured(&mut self) -> Result<Vec<Timed>, DeviceError> {
        Ok(Vec::new())
    }

    /// Says which arrays a block of memory has from now on.
    fn arrays(&mut self, _block: Address, _bytes: usize, _arrays: &[Array]) {}
}

/// Why something cannot be done on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// No driver's library: what was tried, and the last reason.
    NoDriver { tried: Vec<String>, why: String },
    /// A library of that name that lacks a function.
    Foreign { path: String, why: String },
    /// The driver is there, but not the device.
    NoDevice { asked: u32, found: u32 },
    /// None of the images runs on the device.
    NoImage { device: String, architecture: u32, images: Vec<Target> },
    /// The device refused memory.
    Memory { bytes: usize, what: &'static str },
    /// A kernel could not be launched, or failed; the location is what asked for it, where that is known.
    Launch { kernel: String, location: String, why: String },
    /// Another call of the driver failed.
    Call { call: &'static str, why: String },
    /// The program and its CUDA form contradict each other.
    Program(String),
    /// A batch, table or state that does not fit the program.
    Input(String),
    /// There are no values on the device: none were uploaded, or a step failed half way.
    Lost,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver { tried, why } => write!(
                f,
                "NVIDIA's driver was not found: tried {}: {why}\n  help: install it, or run on the CPU",
                tried.join(", ")
            ),
            Self::Foreign { path, why } => write!(
                f,
                "`{path}` is not a driver that can be used: {why}\n  help: install a driver for CUDA 12 or later, or run on the CPU"
            ),
            Self::NoDevice { found: 0, .. } => {
                write!(f, "NVIDIA's driver is installed, but there is no GPU\n  help: run on the CPU")
            }
            Self::NoDevice { asked, found } => {
                write!(f, "there is no GPU {asked}\n  help: choose one from 0 to {}", found.saturating_sub(1))
            }
            Self::NoImage { device, architecture, images } => {
                let images: Vec<String> = images.iter().map(ToString::to_string).collect();
                let found = if images.is_empty() { "none".into() } else { images.join(", ") };
                write!(
                    f,
                    "the program has no kernels for {device}, which is sm_{architecture}; it has {found}\n  help: compile it for \
                     sm_{architecture}"
                )
            }
            Self::Memory { bytes, what } => write!(
                f,
                "the GPU has no {} MiB for {what}\n  help: use a smaller batch, a GPU with more memory, or the CPU",
                bytes.div_ceil(1 << 20)
            ),
            Self::Launch { kernel, location, why } if location.is_empty() => {
                write!(f, "kernel {kernel} failed on the GPU: {why}")
            }
            Self::Launch { kernel, location, why } => write!(f, "{location}: kernel {kernel} failed on the GPU: {why}"),
            Self::Call { call, why } => write!(f, "{call} failed: {why}"),
            Self::Program(why) => write!(f, "the program cannot run on a GPU: {why}; build it again"),
            Self::Input(why) => write!(f, "{why}"),
            Self::Lost => {
                write!(f, "the GPU has no values of the model; upload them, from a checkpoint if a step failed")
            }
        }
    }
}

impl std::error::Error for DeviceError {}
