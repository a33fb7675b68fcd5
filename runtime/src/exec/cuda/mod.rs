//! CUDA: the compiler of generated source, and the engine that runs it.
//!
//! - `nvrtc`: the compiler; needs neither a driver nor a GPU. `images`: what it has compiled. - `driver`: what an engine needs of a device. - `engine`: steps on one.
//!   `held`: the model's values there, `cache`: some rows of a table that is too large for it, `budget`: which those are. `stage`: what the host writes a
//!   step, `contents`: where its numbers come from, `commands`: what the device does in one. `rows`: the tables' updates. `memory`: blocks that grow.
//!   `profile`: where time goes, `host`: and the host's. - `gpu`: the device itself, by `library`, the driver's functions (`bind`: how they are
//!   bound); `graphs`: steps that it has captured; `measure`: events around launches.

mod bind;
mod budget;
mod cache;
mod commands;
mod contents;
mod driver;
mod engine;
mod gpu;
mod graphs;
mod held;
mod host;
mod images;
mod library;
mod measure;
mod memory;
mod nvrtc;
mod profile;
mod rows;
mod stage;

pub use driver::{Address, Array, Command, DeviceError, Driver, FETCH, FETCHES, Launch, Timed};
pub use engine::{Engine, Options};
pub use gpu::Gpu;
pub use graphs::Captures;
pub use host::{HOST_PARTS, HostPart, HostTimes};
pub use images::ImageCache;
pub use nvrtc::{Image, Nvrtc, NvrtcError, Resources, Target};
