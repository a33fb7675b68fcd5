//! What the executor needs of a device: a small interface, so that the same executor runs on a GPU
//! and, in tests, on memory that checks every access.
//!
//! Everything happens in the order of the calls, as in one stream, or indistinguishably so: see
//! [`Driver::upload`] and [`KernelLaunch::side_stream`]. Pointers are the device's; what they point
//! to is accessed by these functions and by kernels alone.

use super::CudaTarget;
use std::fmt;
use std::time::Duration;

/// The environment variable that makes the host wait for every launch, so that a failure names its
/// kernel.
pub(super) const WAIT: &str = "DIN_CUDA_WAIT";

/// A place in the device's memory.
pub type DevicePtr = u64;

/// A kernel and what it is given: see `din_program::cuda`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelLaunch<'a> {
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
    pub pointers: DevicePtr,
    pub scalars: DevicePtr,
    pub scratch: DevicePtr,
    /// Whether it may run concurrently with what follows in its list, up to [`Command::Join`]:
    /// neither writes what the other touches. Launches on the side stream keep their order.
    pub side_stream: bool,
}

/// A launch that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedLaunch {
    pub kernel: String,
    /// As in [`KernelLaunch`].
    pub location: String,
    /// Since measuring began.
    pub begin: Duration,
    pub length: Duration,
}

/// A part of allocated memory that is used as an array of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceArray {
    pub at: DevicePtr,
    pub bytes: usize,
    /// For messages.
    pub what: &'static str,
    /// Whether it holds values already; kernels must not read others before they write them.
    pub written: bool,
}

/// One thing of a list that a device does in order: see [`Driver::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Launch(KernelLaunch<'a>),
    /// Within the device; the two do not overlap.
    Copy {
        from: DevicePtr,
        to: DevicePtr,
        bytes: usize,
        /// As of a launch.
        side_stream: bool,
    },
    /// What follows waits for the side stream.
    Join,
    /// As [`Driver::declare_arrays`] says; only in lists for drivers that check.
    Arrays {
        block: DevicePtr,
        bytes: usize,
        arrays: Vec<DeviceArray>,
    },
}

/// Most bytes of a fetch, and most fetches at a time.
pub const ASYNC_READ_BYTES: usize = 256;
pub const ASYNC_READS: usize = 4;

/// A device. Offsets and sizes are the caller's to get right, except where a driver says that it
/// checks them.
pub trait Driver {
    /// Whether it checks accesses and wants to know of arrays.
    const CHECKS: bool = false;

    /// The device's architecture, such as 90 for `sm_90`: it decides the bits of results.
    fn architecture(&self) -> u32;

    /// Memory of at least `bytes` bytes, at a multiple of 256, with any content; `what` it is for
    /// stands in the error.
    fn allocate(&mut self, bytes: usize, what: &'static str) -> Result<DevicePtr, DeviceError>;

    /// Gives memory back once all that was asked for before is done; `at` is what `allocate` gave.
    fn free(&mut self, at: DevicePtr);

    /// From the host to the device; `bytes` may be changed when it returns.
    fn write(&mut self, to: DevicePtr, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Memory of the host for `bytes` bytes at least, at a multiple of 4, with any content: to be
    /// filled for [`Driver::upload`].
    fn staging_buffer(&mut self, bytes: usize) -> Result<&mut [u32], DeviceError>;

    /// As [`Driver::write`], of the first `bytes` bytes that were lent last. They are the driver's
    /// again. It may be done while the last [`Driver::run`] is under way: nothing that was asked
    /// for since that began touches the range.
    fn upload(&mut self, to: DevicePtr, bytes: usize) -> Result<(), DeviceError>;

    /// From the device to the host, when all that was asked for before is done.
    fn read(&mut self, from: DevicePtr, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Begins to bring at most [`ASYNC_READ_BYTES`] bytes to the host, as they are when all that
    /// was asked for before is done; it does not wait. At most [`ASYNC_READS`] are under way.
    fn read_async(&mut self, from: DevicePtr, bytes: usize) -> Result<(), DeviceError>;

    /// Gives the bytes of the oldest fetch that it has not given, as many as were asked for, when
    /// they are there; also where it fails, the fetch is over.
    fn finish_read(&mut self, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Within the device; the two do not overlap.
    fn copy(&mut self, from: DevicePtr, to: DevicePtr, bytes: usize) -> Result<(), DeviceError>;

    /// Launches a kernel. An error of the kernel itself may be reported by a later call.
    fn launch(&mut self, launch: &KernelLaunch<'_>) -> Result<(), DeviceError>;

    /// Runs the commands in order. Lists come again: a driver may keep what it has prepared for
    /// one, identified by its content.
    fn run(&mut self, commands: &[Command<'_>]) -> Result<(), DeviceError> {
        for command in commands {
            match command {
                Command::Launch(launch) => self.launch(launch)?,
                Command::Copy { from, to, bytes, .. } => self.copy(*from, *to, *bytes)?,
                Command::Join => {}
                Command::Arrays { block, bytes, arrays } => self.declare_arrays(*block, *bytes, arrays),
            }
        }
        Ok(())
    }

    /// Bytes of the device's memory that nobody uses; `None` where there is no limit to speak of.
    fn free_memory(&mut self) -> Result<Option<usize>, DeviceError> {
        Ok(None)
    }

    /// Returns when all that was asked for is done.
    fn wait(&mut self) -> Result<(), DeviceError>;

    /// Begins or ends measuring how long each launch takes. While it lasts, launches take the time
    /// of two events more.
    fn set_timing(&mut self, _on: bool) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The launches that were measured since this was last asked, in their order, when all of them
    /// are done.
    fn timed_launches(&mut self) -> Result<Vec<TimedLaunch>, DeviceError> {
        Ok(Vec::new())
    }

    /// Says which arrays a block of memory has from now on.
    fn declare_arrays(&mut self, _block: DevicePtr, _bytes: usize, _arrays: &[DeviceArray]) {}
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
    NoImage { device: String, architecture: u32, images: Vec<CudaTarget> },
    /// The device refused memory.
    Memory { bytes: usize, what: &'static str },
    /// A kernel could not be launched, or failed; the location is what asked for it, where that is
    /// known.
    Launch { kernel: String, location: String, why: String },
    /// A kernel failed while several were under way, of which this is the last launched.
    Late { kernel: String, location: String, why: String },
    /// Another call of the driver failed.
    Call { call: &'static str, why: String },
    /// The program and its CUDA form contradict each other.
    Program(String),
    /// A batch, table or state that does not fit the program.
    Input(String),
    /// A batch reads more rows of a table than the device has room for; the bytes are what they
    /// take.
    TableCache { table: String, rows: usize, room: usize, bytes: usize },
    /// A table must be on the device whole, and does not fit.
    Whole { table: String, bytes: usize, budget: usize },
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
                    "the program has no kernels for {device}, which is sm_{architecture}; it has {found}\n  help: "
                )?;
                match *architecture {
                    ..super::nvrtc::LEAST => {
                        write!(f, "run it with --device cpu; GPUs before sm_{} are not built for", super::nvrtc::LEAST)
                    }
                    known => write!(f, "build it with --cuda sm_{known}, or run it with --device cpu"),
                }
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
            Self::Late { kernel, location, why } => {
                let at = if location.is_empty() { String::new() } else { format!(" ({location})") };
                write!(
                    f,
                    "a kernel failed on the GPU: {why}: {kernel}{at}, or one launched before it\n  help: run again with \
                     {WAIT}=1 to have the very one named"
                )
            }
            Self::Call { call, why } => write!(f, "{call} failed: {why}"),
            Self::Program(why) => write!(f, "the program cannot run on a GPU: {why}"),
            Self::Input(why) => write!(f, "{why}"),
            Self::TableCache { table, rows, room, bytes } => write!(
                f,
                "a batch reads {rows} rows of table `{table}`, the GPU has room for {room} of them\n  help: use a smaller batch, or give the \
                 table {} MiB of the GPU's memory",
                bytes.div_ceil(1 << 20)
            ),
            Self::Whole { table, bytes, budget } => write!(
                f,
                "table `{table}` has dense updates, so the GPU needs all of it, {} MiB, and has {} MiB for tables\n  help: leave out \
                 `with dense updates`, or use a GPU with more memory or the CPU",
                bytes.div_ceil(1 << 20),
                budget >> 20
            ),
            Self::Lost => {
                write!(f, "the GPU has no values of the model; upload them, from a checkpoint if a step failed")
            }
        }
    }
}

impl std::error::Error for DeviceError {}
