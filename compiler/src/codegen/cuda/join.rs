//! The kernel that joins the chunks' copies of a phase's partial sums (`join.cuh`).

use super::ArgNumbering;
use super::call::{CopyJoin, DeviceCall};
use super::kernel_builder::{LoweringError, partials};
use super::kernel_ir::{Array, ArrayBinding, ArrayId, ArrayView, ElementKind, Rows, Stmt, Tiles, Walk};
use super::phase::{PhaseEmitter, PhaseKernel};
use super::statistic::planes;
use din_program::cuda::{Grid, PointerArg, ScalarArg, Tiling};
use din_program::schedule::Combine;

/// Copies of partial sums that a thread joins on its own, columns of a set, and most blocks that
/// share the sets (`join.cuh`).
const RUN: u32 = 8;
const SET: u32 = 32;
const JOINING: u32 = 1 << 12;

impl PhaseEmitter<'_> {
    /// Joins the copies of the phase's partial sums.
    pub(super) fn join(&self, grid: Grid, numbering: &mut ArgNumbering) -> Result<PhaseKernel, LoweringError> {
        let (partials, floats) = partials(self.unit, self.phase)?;
        let tiles = match grid {
            Grid::Blocks(_) => Tiles::One,
            Grid::Tiles { tiling } => match numbering.tilings.get(tiling as usize) {
                Some(&Tiling { axis, samples, entries: 0 }) if self.unit.axes.steps_of(axis).is_some() => {
                    let unit = self.unit.axes.parent(axis).expect("a sequence has a parent");
                    let elements = numbering.scalar(ScalarArg::Elements(unit));
                    Tiles::Samples { samples, elements, spread: false }
                }
                Some(&Tiling { axis, samples, entries: 0 }) => {
                    let elements = numbering.scalar(ScalarArg::Elements(axis));
                    Tiles::Samples { samples, elements, spread: self.spreads(axis) }
                }
                Some(_) => Tiles::Word(numbering.scalar(ScalarArg::Tiles(tiling))),
                None => return Err(format!("tiling {tiling} does not exist")),
            },
        };
        let mut kernel = self.kernel(format!("{}_join", self.name()), Walk::Join { tiles });
        kernel.comment = vec![format!("Phase {}: the chunks' partial sums, joined pairwise.", self.number)];
        let copies = numbering.pointer(PointerArg::Partials);
        kernel.arrays.push(Array {
            name: "copies".into(),
            numbers: ElementKind::F32,
            rows: Rows::One,
            width: floats,
            stride: floats,
            binding: ArrayBinding::Address(copies),
        });
        // A number of each run of copies and each column of a set; of statistics several.
        let plane = self.options.chunks.div_ceil(RUN) * SET;
        let planes = self.phase.reductions.iter().map(|r| match r.combine {
            Combine::Sum | Combine::Max => 1,
            Combine::Statistic(statistic) => planes(statistic),
        });
        kernel.shared = plane * planes.max().expect("a phase without reductions has nothing to join");
        let sums = ArrayId(kernel.arrays.len() as u32);
        kernel.arrays.push(Array {
            name: "sums".into(),
            numbers: ElementKind::F32,
            rows: Rows::One,
            width: kernel.shared,
            stride: kernel.shared,
            binding: ArrayBinding::Shared { offset: 0 },
        });
        let mut sets = 0u32;
        for (r, p) in self.phase.reductions.iter().zip(&partials) {
            let into = self.unit.schedule.buffers.get(r.into.index());
            let into = into.ok_or_else(|| format!("buffer {} does not exist", r.into.0))?;
            let (how, width) = match r.combine {
                Combine::Sum => (CopyJoin::Sum, p.width),
                Combine::Max => (CopyJoin::Max, p.width),
                Combine::Statistic(statistic) => {
                    let width = statistic.components(p.width);
                    let width = width.ok_or_else(|| format!("a partial of {} floats", p.width))?;
                    (CopyJoin::Statistic { statistic, plane }, width)
                }
            };
            let array = ArrayId(kernel.arrays.len() as u32);
            kernel.arrays.push(Array {
                name: format!("b{}", r.into.0),
                numbers: ElementKind::F32,
                rows: Rows::One,
                width: into.width,
                stride: into.width,
                binding: ArrayBinding::Address(numbering.buffer(r.into)),
            });
            let view = |array, column, columns| ArrayView { array, rows: Rows::One, column, columns };
            kernel.body.push(Stmt::Call(DeviceCall::JoinCopies {
                how,
                width,
                stride: floats,
                first_set: sets,
                copies: view(ArrayId(0), p.offset, p.width),
                sums: view(sums, 0, kernel.shared),
                out: view(array, 0, into.width),
            }));
            sets = u32::saturating_add(sets, width.div_ceil(SET));
        }
        let blocks = sets.clamp(1, JOINING);
        let launch = self.launch(&kernel, Grid::Blocks(blocks), &self.phase.calls, false);
        Ok(PhaseKernel { kernel, launch })
    }
}
