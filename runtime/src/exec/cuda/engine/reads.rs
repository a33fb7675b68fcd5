//! Which features' row numbers a step needs on the device: those that its kernels, or the updates behind them, read one by one, and those that they read
//! once for all elements that agree.

use super::TRAIN;
use crate::exec::common;
use din_program::Program;
use din_program::cuda::{Address, Cuda};
use din_program::schedule::KernelArg;

/// How a schedule's kernels, and the updates behind it, read a feature's rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// By the numbers of its ids; by those of a group.
    pub numbers: bool,
    pub grouped: bool,
}

impl Reads {
    pub fn any(self) -> bool {
        self.numbers || self.grouped
    }
}

/// By table, by its features. The program was checked.
pub(super) fn reads(program: &Program, cuda: &Cuda, which: usize) -> Vec<Vec<Reads>> {
    let groups = if which == TRAIN { &program.train.groups } else { &program.infer.groups };
    let updated = if which == TRAIN { common::lookups(program) } else { Vec::new() };
    let of = |t: usize, position: usize, feature: u32| {
        let source = Address::Argument(KernelArg::Rows { table: t as u32, feature });
        let mut readers = updated.get(t).into_iter().flatten();
        let updates = readers.any(|r| r.feature == position && r.group.is_none());
        Reads {
            numbers: updates || cuda.schedules[which].addresses.contains(&source),
            grouped: groups.iter().any(|g| g.keys.contains(&(t as u32, feature))),
        }
    };
    let tables = program.tables.iter().enumerate();
    tables.map(|(t, spec)| spec.features.iter().enumerate().map(|(k, &f)| of(t, k, f)).collect()).collect()
}
