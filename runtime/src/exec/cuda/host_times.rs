//! What the host does for a training step, part by part, and how long it took: a few clock readings
//! per step, always on.

use std::time::{Duration, Instant};

/// A part of the host's work, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPart {
    /// The batch is checked, and new rows are written.
    Check,
    /// The axes of the batch are laid out, and what reads the same rows is joined.
    Layout,
    /// Columns, offsets, parents and tiles are staged.
    Stage,
    /// What the updates of tables and of parameters need.
    Tables,
    Params,
    /// All of it goes to the device.
    Write,
    /// The list of commands is made.
    List,
    /// It is given to the driver.
    Run,
}

/// All parts, with a word for each.
pub const HOST_PARTS: [(HostPart, &str); 8] = [
    (HostPart::Check, "check"),
    (HostPart::Layout, "layout"),
    (HostPart::Stage, "stage"),
    (HostPart::Tables, "tables"),
    (HostPart::Params, "params"),
    (HostPart::Write, "write"),
    (HostPart::List, "list"),
    (HostPart::Run, "run"),
];

/// Times of the last training step.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostTimes {
    last: Option<Instant>,
    parts: [Duration; HOST_PARTS.len()],
}

impl HostTimes {
    pub(super) fn begin(&mut self) {
        *self = HostTimes { last: Some(Instant::now()), ..HostTimes::default() };
    }

    /// A part is done: its time is that since the one before it.
    pub(super) fn done(&mut self, part: HostPart) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.parts[part as usize] += now - last;
        }
    }

    pub fn of(&self, part: HostPart) -> Duration {
        self.parts[part as usize]
    }
}
