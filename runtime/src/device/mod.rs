//! Devices beside the CPU. Their libraries are looked for when they are wanted: a machine without them runs everything else.

pub mod cuda;
