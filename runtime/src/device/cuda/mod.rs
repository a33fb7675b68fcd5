//! CUDA: the compiler of generated source. No driver and no GPU are needed for it.

mod nvrtc;

pub use nvrtc::{Image, Nvrtc, NvrtcError, Resources, Target};
