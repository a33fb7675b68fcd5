//! Kernels of recurrences: tiles with their steps, and the loop over these.

use super::super::call::DeviceCall;
use super::super::kernel_ir::{ArrayId, Rows, Stmt};
use super::Printer;
use din_program::schedule::AxisId;

impl Printer<'_> {
    /// Tiles whose entries are numbered by step.
    pub(super) fn steps(
        &mut self,
        unit: AxisId,
        axis: AxisId,
        samples: u32,
        [elements, longest, offsets, steps, tiles]: [u32; 5],
    ) {
        let (u, d) = (unit.0, axis.0);
        self.entry();
        self.line(&format!("const unsigned elements = scalars[{elements}];"));
        self.line(&format!("const unsigned tiles = din_tiles(elements, {samples}u);"));
        if self.kernel.scratch != (0, 0) {
            self.line(&format!("const unsigned longest = scalars[{longest}];"));
        }
        self.chunk();
        self.copies();
        self.spill(samples, true);
        for (name, number) in [("offsets", offsets), ("steps", steps), ("step_tiles", tiles)] {
            self.indices(name, number);
        }
        self.open("for (unsigned tile = begin; tile < end; ++tile)");
        self.line(&format!("const unsigned first{u} = tile * {samples}u;"));
        self.line(&format!("[[maybe_unused]] const unsigned count{u} = din_min(elements - first{u}, {samples}u);"));
        self.line(&format!("[[maybe_unused]] const unsigned base{d} = offsets[first{u}], first{d} = base{d};"));
        self.line(&format!("[[maybe_unused]] const unsigned count{d} = offsets[first{u} + count{u}] - first{d};"));
        self.line("[[maybe_unused]] const unsigned first_step = step_tiles[tile], last_step = step_tiles[tile + 1u];");
        if self.kernel.needs_first_tile() {
            self.line("const bool first_tile = tile == begin;");
        }
        self.arrays();
        self.statements(&self.kernel.body);
        self.again();
        self.close();
        self.close();
    }

    /// A loop over the steps of the tile. What `first` and `count` of the entries, and arrays of
    /// them, mean inside is the step's; `prior` is the entry that the step before, or behind,
    /// begins with, and `carried` the number of lists that were in it.
    pub(super) fn step_loop(&mut self, backward: bool, body: &[Stmt]) {
        let d = self.kernel.walk.under().expect("verified: steps are in tiles of steps").0;
        let before = if backward {
            self.open("for (unsigned step = last_step; step-- > first_step;)");
            self.line("const bool begins = step + 1u == last_step;");
            ("step + 1u", format!("steps[step + 2u] - prior{d}"))
        } else {
            self.open("for (unsigned step = first_step; step < last_step; ++step)");
            self.line("const bool begins = step == first_step;");
            ("step - 1u", format!("count{d}"))
        };
        self.line(&format!(
            "[[maybe_unused]] const unsigned first{d} = steps[step], count{d} = steps[step + 1u] - first{d};"
        ));
        self.line(&format!("[[maybe_unused]] const unsigned prior{d} = begins ? first{d} : steps[{}];", before.0));
        self.line(&format!("[[maybe_unused]] const unsigned carried{d} = begins ? 0u : {};", before.1));
        let carried = carried(body);
        for (k, a) in self.kernel.arrays.iter().enumerate() {
            if a.rows != Rows::Local(AxisId(d)) {
                continue;
            }
            if carried.contains(&ArrayId(k as u32)) {
                let text = self.bound(a, &format!("prior_{}", a.name), &format!("prior{d}"));
                self.line(&text);
            }
            let text = self.bound(a, &a.name, &format!("first{d}"));
            self.line(&text);
        }
        self.statements(body);
        self.line("din_barrier();");
        self.close();
    }
}

/// Arrays from which states are carried from step to step.
fn carried(body: &[Stmt]) -> Vec<ArrayId> {
    let of = |s: &Stmt| match s {
        Stmt::Call(DeviceCall::Carry { x, .. }) => Some(x.view.array),
        _ => None,
    };
    body.iter().filter_map(of).collect()
}
