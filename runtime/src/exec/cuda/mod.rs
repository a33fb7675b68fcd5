//! CUDA: the compiler of generated source, and the executor that runs it.
//!
//! - `nvrtc`: NVIDIA's run-time compiler, which needs neither a driver nor a GPU; `images`: the
//!   cache of what it has compiled.
//! - `driver`: the interface between the executor and a device.
//! - `executor`: training and inference steps. `device_model`: the model's parameters, states and
//!   tables on the device; `table_cache`: the resident rows of a table that does not fit;
//!   `budget`: which tables those are; `row_order`: the order of rows in sums over them.
//!   `step_args`: which arrays the host uploads for a step; `upload_copy`: how their values get
//!   into the staging buffer. `command_list`: the launches and copies of a step. `table_updates`:
//!   row gradients and the updates of tables. `memory`: device memory that grows. `profile`:
//!   device time by kernel; `host_times`: host time by part of a step.
//! - `gpu`: the driver interface on a real GPU. `library`: the functions of NVIDIA's driver;
//!   `bind`: how they are bound; `graphs`: captured CUDA graphs; `launch_timer`: events around
//!   launches.

mod bind;
mod budget;
mod command_list;
mod device_model;
mod driver;
mod executor;
mod gpu;
mod graphs;
mod host_times;
mod images;
mod launch_timer;
mod library;
mod memory;
mod nvrtc;
mod profile;
mod row_order;
mod step_args;
mod table_cache;
mod table_updates;
mod upload_copy;

pub use driver::{
    ASYNC_READ_BYTES, ASYNC_READS, Command, DeviceArray, DeviceError, DevicePtr, Driver, KernelLaunch, TimedLaunch,
};
pub use executor::{CudaExecutor, CudaOptions};
pub use gpu::Gpu;
pub use graphs::CaptureCounts;
pub use host_times::{HOST_PARTS, HostPart, HostTimes};
pub use images::ImageCache;
pub use nvrtc::{CudaImage, CudaTarget, Nvrtc, NvrtcError, Resources};
