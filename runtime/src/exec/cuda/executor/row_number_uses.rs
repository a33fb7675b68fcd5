//! Which features' row numbers a step needs on the device: those that its kernels, or the updates
//! after them, read per element, and those that they read once per distinct combination of ids.

use super::TRAIN;
use crate::exec::common;
use din_program::Program;
use din_program::cuda::{Cuda, PointerArg};
use din_program::schedule::KernelArg;

/// How a schedule's kernels, and the updates behind it, read a feature's rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowNumberUses {
    /// By the numbers of its ids; by those of a group.
    pub numbers: bool,
    pub grouped: bool,
}

impl RowNumberUses {
    pub fn any(self) -> bool {
        self.numbers || self.grouped
    }
}

/// By table, by its features. The program was checked.
pub(super) fn row_number_uses(program: &Program, cuda: &Cuda, which: usize) -> Vec<Vec<RowNumberUses>> {
    let axes = if which == TRAIN { &program.train.axes } else { &program.infer.axes };
    let updated = if which == TRAIN { common::lookups(program) } else { Vec::new() };
    let of = |t: usize, position: usize, feature: u32| {
        let source = PointerArg::Argument(KernelArg::Rows { table: t as u32, feature });
        let mut readers = updated.get(t).into_iter().flatten();
        let updates = readers.any(|r| r.feature == position && r.unique.is_none());
        RowNumberUses {
            numbers: updates || cuda.schedules[which].pointers.contains(&source),
            grouped: axes.uniques().any(|(_, unique)| unique.keys.contains(&(t as u32, feature))),
        }
    };
    let tables = program.tables.iter().enumerate();
    tables.map(|(t, spec)| spec.features.iter().enumerate().map(|(k, &f)| of(t, k, f)).collect()).collect()
}
