//! CUDA: the compiler of generated source, and the engine that runs it.
//!
//! - `nvrtc`: the compiler; needs neither a driver nor a GPU. - `driver`: what an engine needs of a device. - `engine`: steps on one.
//!   `held`: the model's values there. `stage`: what the host writes a step. `rows`: a table's update. `memory`: blocks that grow.
//!   `profile`: where time goes. - `gpu`: the device itself, by `library`, the driver's functions. `measure`: events around launches.

mod driver;
mod engine;
mod gpu;
mod held;
mod library;
mod measure;
mod memory;
mod nvrtc;
mod profile;
mod rows;
mod stage;

pub use driver::{Address, Array, DeviceError, Driver, Launch, Timed};
pub use engine::Engine;
pub use gpu::Gpu;
pub use nvrtc::{Image, Nvrtc, NvrtcError, Resources, Target};
