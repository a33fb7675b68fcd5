//! CUDA: the compiler of generated source, and the engine that runs it.
//!
//! - `nvrtc`: the compiler; needs neither a driver nor a GPU. `images`: what it has compiled. - `driver`: what an engine needs of a device. - `engine`: steps on one.
//!   `held`: the model's values there. `stage`: what the host writes a step. `rows`: a table's update. `memory`: blocks that grow. - `gpu`: the device itself, by
//!   `library`, the driver's functions.

mod driver;
mod engine;
mod gpu;
mod held;
mod images;
mod library;
mod memory;
mod nvrtc;
mod rows;
mod stage;

pub use driver::{Address, Array, DeviceError, Driver, Launch};
pub use engine::Engine;
pub use gpu::Gpu;
pub use images::ImageCache;
pub use nvrtc::{Image, Nvrtc, NvrtcError, Resources, Target};
