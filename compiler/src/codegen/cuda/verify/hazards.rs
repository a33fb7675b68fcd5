//! Barriers between statements: what one statement of a kernel writes, another one reads or writes
//! only behind a barrier, also across the end of a tile; for the threads of a block share out the
//! elements of each statement anew.
//!
//! Arrays in device memory are told apart by their pointers, arrays in shared memory, scratch and
//! partial sums by their places.

use super::super::call::{DeviceCall, Operand, ProductOutput};
use super::super::kernel_ir::{
    Array, ArrayBinding, ArrayId, Column, Element, KernelIr, Rows, Stmt, ValueExpr, VarType, Walk,
};
use super::super::kernel_ir::{IndexBound, LoopRange};
use super::Broken;

/// Columns of an array that a statement reads or writes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Access {
    array: ArrayId,
    columns: (u64, u64),
    write: bool,
}

/// Checks a kernel's body; the error names two arrays between whose accesses a barrier is missing.
pub fn verify(kernel: &KernelIr) -> Result<(), Broken> {
    let mut hazards = Hazards { kernel, open: Vec::new(), first: None };
    let mut before = None;
    for statement in &kernel.body {
        hazards.statement(statement, before)?;
        before = Some(statement);
    }
    hazards.edges()
}

struct Hazards<'a> {
    kernel: &'a KernelIr,
    /// Accesses since the last barrier.
    open: Vec<Access>,
    /// Accesses before the first barrier, once there was one.
    first: Option<Vec<Access>>,
}

impl Hazards<'_> {
    fn statement(&mut self, statement: &Stmt, before: Option<&Stmt>) -> Result<(), Broken> {
        match statement {
            Stmt::Barrier => self.barrier(),
            Stmt::Call(call) => {
                let goes_on = before.is_some_and(|before| goes_on(before, call));
                let mut accesses = self.of_call(call);
                if goes_on {
                    // Each thread reads and writes what it has written itself.
                    let own = accesses.iter().filter(|a| a.write).map(|a| a.array).collect::<Vec<_>>();
                    let others = |a: &Access| !own.contains(&a.array);
                    self.check(&accesses.iter().copied().filter(others).collect::<Vec<_>>())?;
                } else {
                    self.check(&accesses)?;
                }
                self.open.append(&mut accesses);
                match call {
                    // Barriers within; behind the last one, `total` may be written.
                    DeviceCall::Statistic { total, .. } => {
                        self.barrier();
                        let columns = columns_of(total.column, total.columns);
                        self.open.push(Access { array: total.array, columns, write: true });
                    }
                    DeviceCall::JoinCopies { .. } => self.barrier(),
                    DeviceCall::FillGrid { .. }
                    | DeviceCall::FillRows { .. }
                    | DeviceCall::Product { .. }
                    | DeviceCall::Outer { .. }
                    | DeviceCall::TimesSamples { .. }
                    | DeviceCall::SumEntries { .. }
                    | DeviceCall::Unflatten { .. }
                    | DeviceCall::Flatten { .. }
                    | DeviceCall::Carry { .. }
                    | DeviceCall::Transpose { .. }
                    | DeviceCall::SegmentReduce { .. }
                    | DeviceCall::JoinGroups { .. } => {}
                }
            }
            Stmt::Steps { body, .. } => {
                // Behind its last barrier the next step finds what the first one found, or less.
                let mut before = None;
                for statement in body {
                    self.statement(statement, before)?;
                    before = Some(statement);
                }
                self.barrier();
            }
            Stmt::Comment(_)
            | Stmt::Let { .. }
            | Stmt::Accumulate { .. }
            | Stmt::Store { .. }
            | Stmt::AccumulateInto { .. }
            | Stmt::For { .. }
            | Stmt::Split { .. }
            | Stmt::Single { .. }
            | Stmt::FirstLane { .. } => {
                let mut accesses = Vec::new();
                self.collect(std::slice::from_ref(statement), &mut accesses);
                self.check(&accesses)?;
                self.open.append(&mut accesses);
            }
        }
        Ok(())
    }

    fn barrier(&mut self) {
        let passed = std::mem::take(&mut self.open);
        self.first.get_or_insert(passed);
    }

    /// No access meets one since the last barrier.
    fn check(&self, accesses: &[Access]) -> Result<(), Broken> {
        self.apart(&self.open, accesses, |_| true)
    }

    fn apart(&self, these: &[Access], those: &[Access], counts: impl Fn(&Array) -> bool) -> Result<(), Broken> {
        for a in these {
            for b in those.iter().filter(|b| a.write || b.write) {
                let (Some(x), Some(y)) = (self.kernel.array(a.array), self.kernel.array(b.array)) else { continue };
                if counts(x) && self.overlap(a, x, b, y) {
                    return Err(format!("no barrier between `{}` and `{}`", x.name, y.name));
                }
            }
        }
        Ok(())
    }

    /// The edges of a tile: partial sums are filled before its first statement, and the next tile
    /// uses the same shared memory, scratch and partial sums.
    fn edges(&self) -> Result<(), Broken> {
        let first = self.first.as_ref().unwrap_or(&self.open);
        let filled = |a: &Access| {
            let binding = self.kernel.array(a.array).map(|array| array.binding);
            let Some(ArrayBinding::Partial { offset }) = binding else { return false };
            self.kernel.partials.iter().any(|p| p.offset == offset && !p.stored)
        };
        if !self.kernel.begin_barrier && first.iter().any(filled) {
            return Err("no barrier between the start of partial sums and their use".into());
        }
        let again = matches!(self.kernel.walk, Walk::Samples { .. } | Walk::Sequence { .. } | Walk::Steps { .. });
        if again && !self.kernel.end_barrier {
            // What lies in device memory are other rows in every tile.
            let kept = |a: &Array| !matches!(a.binding, ArrayBinding::Address(_));
            self.apart(&self.open, first, kept).map_err(|why| format!("{why} of the next tile"))?;
        }
        Ok(())
    }

    fn of_call(&self, call: &DeviceCall) -> Vec<Access> {
        let access = |write| {
            move |o: Operand| Access { array: o.view.array, columns: columns_of(o.view.column, o.columns), write }
        };
        call.reads().into_iter().map(access(false)).chain(call.writes().into_iter().map(access(true))).collect()
    }

    /// The accesses of a region's statements.
    fn collect(&self, statements: &[Stmt], accesses: &mut Vec<Access>) {
        for statement in statements {
            match statement {
                Stmt::Let { value: ValueExpr::Load(at), .. } => accesses.push(self.of_element(at, false)),
                Stmt::Store { at, .. } | Stmt::AccumulateInto { at, .. } => accesses.push(self.of_element(at, true)),
                Stmt::For { body, range: LoopRange::Columns { .. } | LoopRange::Grid { .. }, .. }
                | Stmt::For { body, range: LoopRange::Lanes { .. } | LoopRange::Rows { .. }, .. }
                | Stmt::For { body, range: LoopRange::Warps { .. } | LoopRange::Entries { .. }, .. }
                | Stmt::Split { body, .. }
                | Stmt::Steps { body, .. }
                | Stmt::Single { body }
                | Stmt::FirstLane { body } => self.collect(body, accesses),
                Stmt::Call(call) => accesses.extend(self.of_call(call)),
                Stmt::Comment(_) | Stmt::Let { .. } | Stmt::Accumulate { .. } | Stmt::Barrier => {}
            }
        }
    }

    fn of_element(&self, at: &Element, write: bool) -> Access {
        let columns = match at.column {
            Column::Fixed(c) => columns_of(c, 1),
            Column::At(v, more) => match self.kernel.named(v).map(|v| v.ty) {
                Some(VarType::Index(IndexBound::Below(n))) => columns_of(more, n),
                // Refused by the rule of indices.
                Some(VarType::Index(_) | VarType::F32 | VarType::F64) | None => (0, u64::MAX),
            },
        };
        Access { array: at.array, columns, write }
    }

    /// Whether two accesses may meet.
    fn overlap(&self, a: &Access, x: &Array, b: &Access, y: &Array) -> bool {
        if a.array == b.array {
            return meet(a.columns, b.columns);
        }
        let within = |offset: u32, columns: (u64, u64)| {
            let offset = u64::from(offset);
            (offset + columns.0, columns.1.saturating_add(offset))
        };
        match (x.binding, y.binding) {
            (ArrayBinding::Address(p), ArrayBinding::Address(q)) => p == q && meet(a.columns, b.columns),
            (ArrayBinding::Partial { offset: p }, ArrayBinding::Partial { offset: q }) => {
                meet(within(p, a.columns), within(q, b.columns))
            }
            (ArrayBinding::Slot { shared: None, scratch: p }, ArrayBinding::Slot { shared: None, scratch: q }) => {
                let scratch = |(sample, entry): (u32, u32), a: &Array| match self.is_entries(a) {
                    true => (true, (u64::from(entry), u64::from(entry) + u64::from(a.stride))),
                    false => (false, (u64::from(sample), u64::from(sample) + u64::from(a.stride))),
                };
                let (p, q) = (scratch(p, x), scratch(q, y));
                p.0 == q.0 && meet(p.1, q.1)
            }
            (
                ArrayBinding::Shared { .. } | ArrayBinding::Slot { .. },
                ArrayBinding::Shared { .. } | ArrayBinding::Slot { .. },
            ) => match (self.shared_range(x), self.shared_range(y)) {
                (Some(p), Some(q)) => meet(p, q),
                // One of them is in scratch, which no shared array is.
                (Some(_), None) | (None, Some(_) | None) => false,
            },
            (
                ArrayBinding::Address(_)
                | ArrayBinding::Partial { .. }
                | ArrayBinding::Shared { .. }
                | ArrayBinding::Slot { .. },
                _,
            ) => false,
        }
    }

    fn is_entries(&self, a: &Array) -> bool {
        matches!(a.rows, Rows::Local(d) if Some(d) == self.kernel.walk.under())
    }

    /// The values of shared memory that an array has.
    fn shared_range(&self, a: &Array) -> Option<(u64, u64)> {
        let (samples, entries) = match self.kernel.walk {
            Walk::Once | Walk::Join { .. } => (1, 1),
            Walk::Samples { samples, .. } => (samples, samples),
            Walk::Sequence { samples, entries, .. } => (samples, entries),
            // Nothing of them lies in shared memory.
            Walk::Steps { .. } => (0, 0),
        };
        match a.binding {
            ArrayBinding::Shared { offset } => Some(columns_of(offset, a.width)),
            ArrayBinding::Slot { shared: Some(offset), .. } => {
                let rows = if self.is_entries(a) { entries } else { samples };
                let offset = u64::from(offset);
                Some((offset, offset + u64::from(rows) * u64::from(a.stride)))
            }
            ArrayBinding::Slot { shared: None, .. } | ArrayBinding::Address(_) | ArrayBinding::Partial { .. } => None,
        }
    }
}

fn columns_of(first: u32, count: u32) -> (u64, u64) {
    (u64::from(first), u64::from(first) + u64::from(count))
}

fn meet(a: (u64, u64), b: (u64, u64)) -> bool {
    a.0 < b.1 && b.0 < a.1
}

/// Whether each thread has the same elements of the result as in the product before: products of
/// equal sizes are shared out alike (`product.cuh`).
fn goes_on(before: &Stmt, call: &DeviceCall) -> bool {
    let Stmt::Call(DeviceCall::Product { axis, n, right, output, tile, .. }) = before else { return false };
    let DeviceCall::Product { axis: of_axis, n: of_n, right: of_right, output: of_output, tile: of_tile, .. } = call
    else {
        return false;
    };
    let alike = std::mem::discriminant(right) == std::mem::discriminant(of_right);
    let adds = matches!(of_output, ProductOutput::Accumulate(_) | ProductOutput::AccumulateTimes { .. });
    alike && adds && (axis, n, tile, output.out()) == (of_axis, of_n, of_tile, of_output.out())
}
