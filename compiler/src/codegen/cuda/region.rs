//! One region as loops over rows and columns. Each thread owns one column and strides over the
//! rows. If the region accumulates into a sample's row, the thread strides over samples and visits
//! each sample's entries in order. A reduction over columns uses one warp per row. So no two
//! threads write the same value, and the order of every sum is fixed.

use super::call::DeviceCall;
use super::kernel_builder::{KernelBuilder, LoweringError};
use super::kernel_ir::{
    Accumulation, ArrayId, ArrayView, Column, Element, IndexBound, LoopRange, Row, Rows, Stmt, ValueExpr, Var, VarType,
};
use crate::graph::BinaryOp;
use crate::plan::region::{Access, Instruction, OutputMode, Region, RegionOutput, StridedView, is_simple_power};
use din_program::schedule::{AxisId, BATCH, GLOBAL, KernelArg};
use rustc_hash::FxHashMap;

/// Most groups of threads whose sums are joined afterwards.
pub const SUMMED: u32 = 16;

/// Where an output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The element itself.
    Own,
    /// The row of the element's sample (or request).
    Sample,
    /// Something that all elements share.
    All,
    /// Its sum over the columns goes to the element.
    RowSum,
}

struct Emitter<'f, 'a> {
    builder: &'f mut KernelBuilder<'a>,
    region: &'f Region,
    arguments: &'f [KernelArg],
    ty: VarType,
}

/// The indices at hand.
#[derive(Clone, Default)]
struct Indices {
    row: Option<Var>,
    column: Option<Var>,
    /// By source, and whether it is read at the second entry of a pair: what it holds for the row.
    held: FxHashMap<(KernelArg, bool), Var>,
    /// By instruction.
    values: FxHashMap<u32, Var>,
}

/// Appends the region's statements to the builder's kernel.
pub fn region(builder: &mut KernelBuilder<'_>, region: &Region, arguments: &[KernelArg]) -> Result<(), LoweringError> {
    if region.width == 0 || arguments.len() != region.arguments.len() {
        return Err(format!("a region of width {} with {} arguments", region.width, arguments.len()));
    }
    let ty = if region.uniform { VarType::F64 } else { VarType::F32 };
    Emitter { builder, region, arguments, ty }.run()
}

impl Emitter<'_, '_> {
    fn run(&mut self) -> Result<(), LoweringError> {
        let mut reads = Vec::new();
        for i in &self.region.body {
            if let Instruction::Load(p) = i {
                reads.extend(self.named(p)?);
            }
        }
        let mut writes = Vec::new();
        for o in &self.region.outputs {
            let named = self.named(&o.place)?;
            // Joined behind a barrier, see `columns`.
            if self.target(o) == Target::All && self.groups(true) > 1 {
                continue;
            }
            writes.push(named[0]);
            reads.extend(&named[1..]);
            if matches!(o.mode, OutputMode::Add | OutputMode::Max) {
                reads.push(named[0]);
            }
        }
        let barrier = self.builder.settle(&reads, &writes);
        self.builder.kernel.body.extend(barrier);

        let outputs: Vec<(RegionOutput, Target)> = self.region.outputs.iter().map(|o| (*o, self.target(o))).collect();
        let of = |wanted: &dyn Fn(Target) -> bool| -> Vec<(RegionOutput, Target)> {
            outputs.iter().copied().filter(|(_, t)| wanted(*t)).collect()
        };
        if self.region.axis == GLOBAL {
            return self.once(&outputs);
        }
        let adds = outputs.iter().any(|(_, t)| matches!(t, Target::Sample | Target::All));
        let by_warp = of(&|t| t == Target::RowSum || (!adds && t == Target::Own));
        let by_column = of(&|t| t != Target::RowSum && (adds || t != Target::Own));
        if outputs.iter().any(|(_, t)| *t == Target::RowSum) {
            self.warps(&by_warp)?;
            if by_column.is_empty() {
                return Ok(());
            }
            let clash = writes.iter().any(|&w| reads.iter().any(|&r| self.builder.overlap(w, r)));
            if clash {
                self.builder.push(Stmt::Barrier);
            }
            return self.columns(&by_column);
        }
        self.columns(&outputs)
    }

    /// Arrays of a place: its own, then those of its indices.
    fn named(&mut self, p: &StridedView) -> Result<Vec<ArrayId>, LoweringError> {
        let own = self.array_of(p)?;
        let mut all = vec![own];
        match p.access {
            Access::Row | Access::Once => {}
            Access::Indexed { index } => self.declare_index(index, false, &mut all)?,
            Access::Nested { outer, inner } => {
                self.declare_index(outer, self.is_second(inner)?, &mut all)?;
                self.declare_index(inner, false, &mut all)?;
            }
        }
        if self.builder.width(own) != p.stride && p.access != Access::Once {
            return Err(format!("rows of {} numbers {} apart", self.builder.width(own), p.stride));
        }
        Ok(all)
    }

    /// The array of a place: rows beyond the tile too, where it is read by second entries of pairs.
    fn array_of(&mut self, p: &StridedView) -> Result<ArrayId, LoweringError> {
        match p.access {
            Access::Indexed { index } if self.is_second(index)? => {
                let source = self.given(p.argument)?;
                self.builder.whole(source)
            }
            Access::Row | Access::Once | Access::Indexed { .. } | Access::Nested { .. } => self.argument(p.argument),
        }
    }

    /// Whether an index is that of the second entries of pairs.
    fn is_second(&self, index: u32) -> Result<bool, LoweringError> {
        let KernelArg::Ancestor { of, to } = self.given(index)? else { return Ok(false) };
        Ok(self.builder.unit.axes.second_of_pairs(of) == Some(to))
    }

    fn argument(&mut self, k: u32) -> Result<ArrayId, LoweringError> {
        let source = self.given(k)?;
        self.builder.source(source)
    }

    fn given(&self, k: u32) -> Result<KernelArg, LoweringError> {
        self.arguments.get(k as usize).copied().ok_or_else(|| format!("argument {k}"))
    }

    /// The arrays that an index is found by. `second`: it is that of a pair's second entry, so they
    /// have the rows of all tiles.
    fn declare_index(&mut self, k: u32, second: bool, all: &mut Vec<ArrayId>) -> Result<(), LoweringError> {
        let source = self.given(k)?;
        if second {
            all.push(self.builder.whole(source)?);
            return Ok(());
        }
        let Some((of, to, requests)) = self.by_request(source) else {
            all.push(self.builder.source(source)?);
            return Ok(());
        };
        all.push(self.builder.source(KernelArg::Ancestor { of, to: BATCH })?);
        all.push(self.builder.source(KernelArg::Ancestor { of: BATCH, to: requests })?);
        if to != requests {
            all.push(self.builder.offsets(to, requests));
        }
        Ok(())
    }

    /// Axes of an index that is found by the sample's request, and the requests'.
    fn by_request(&self, source: KernelArg) -> Option<(AxisId, AxisId, AxisId)> {
        let KernelArg::Ancestor { of, to } = source else { return None };
        self.builder.by_request(of, to).map(|requests| (of, to, requests))
    }

    fn target(&self, o: &RegionOutput) -> Target {
        match (o.mode, o.place.access) {
            (OutputMode::StoreRowSum, _) if self.region.width > 1 => Target::RowSum,
            (OutputMode::Store | OutputMode::StoreRowSum, _) | (_, Access::Row) => Target::Own,
            (OutputMode::Add | OutputMode::Max, Access::Once) if self.region.axis == GLOBAL => Target::Own,
            (OutputMode::Add | OutputMode::Max, Access::Once) => Target::All,
            (OutputMode::Add | OutputMode::Max, Access::Indexed { .. } | Access::Nested { .. }) => Target::Sample,
        }
    }

    /// One element: columns are shared by the blocks; a single value is computed by one thread, in
    /// double.
    fn once(&mut self, outputs: &[(RegionOutput, Target)]) -> Result<(), LoweringError> {
        let (sums, rest): (Vec<_>, Vec<_>) = outputs.iter().copied().partition(|(_, t)| *t == Target::RowSum);
        if !sums.is_empty() {
            self.warps(&sums)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        let mut body = Vec::new();
        let mut at = Indices::default();
        if self.region.uniform {
            self.body(&mut body, &rest, &mut at, |_| true)?;
            self.own(&mut body, &rest, &mut at)?;
            self.builder.push(Stmt::Single { body });
        } else {
            let column = self.builder.index("c", IndexBound::Below(self.region.width));
            at.column = Some(column);
            self.body(&mut body, &rest, &mut at, |_| true)?;
            self.own(&mut body, &rest, &mut at)?;
            let range = LoopRange::Grid { width: self.region.width };
            self.builder.push(Stmt::For { over: column, range, body });
        }
        Ok(())
    }

    /// A warp a row, columns over its lanes.
    fn warps(&mut self, outputs: &[(RegionOutput, Target)]) -> Result<(), LoweringError> {
        let width = self.region.width;
        let row = self.builder.index("r", IndexBound::Local(self.region.axis));
        let column = self.builder.index("c", IndexBound::Below(width));
        let (sums, own): (Vec<_>, Vec<_>) = outputs.iter().copied().partition(|(_, t)| *t == Target::RowSum);
        let mut body = Vec::new();
        let mut totals = Vec::new();
        for _ in &sums {
            let total = self.builder.number("sum", self.ty);
            body.push(Stmt::Let { to: total, value: ValueExpr::Number(0.0) });
            totals.push(total);
        }
        let mut at = Indices { row: Some(row), column: Some(column), ..Indices::default() };
        let mut inner = Vec::new();
        self.body(&mut inner, outputs, &mut at, |_| true)?;
        self.own(&mut inner, &own, &mut at)?;
        for ((o, _), &total) in sums.iter().zip(&totals) {
            let value = self.computed(&at, o)?;
            inner.push(Stmt::Accumulate { to: total, how: Accumulation::Add, value });
        }
        body.push(Stmt::For { over: column, range: LoopRange::Lanes { width }, body: inner });
        let mut single = Vec::new();
        let mut outside = Indices { row: Some(row), ..Indices::default() };
        for ((o, _), &total) in sums.iter().zip(&totals) {
            let value = self.builder.number("total", self.ty);
            body.push(Stmt::Let { to: value, value: ValueExpr::WarpSum(total) });
            let element = self.element(&mut single, &mut outside, &o.place)?;
            single.push(Stmt::Store { at: element, value });
        }
        body.push(Stmt::FirstLane { body: single });
        self.builder.push(Stmt::For { over: row, range: LoopRange::Warps { axis: self.region.axis }, body });
        Ok(())
    }

    /// A column a thread.
    fn columns(&mut self, outputs: &[(RegionOutput, Target)]) -> Result<(), LoweringError> {
        let (width, threads) = (self.region.width, self.builder.kernel.threads);
        let all: Vec<RegionOutput> = outputs.iter().filter(|(_, t)| *t == Target::All).map(|(o, _)| *o).collect();
        let groups = self.groups(!all.is_empty());
        let column = self.builder.index("c", IndexBound::Below(width));
        let group = self.builder.index("g", IndexBound::Below(groups));
        let split = width <= threads;
        let mut body = Vec::new();
        let mut at = Indices { column: Some(column), ..Indices::default() };
        // What does not depend on the row comes before the loop.
        let fixed = |i: &Instruction| match i {
            Instruction::Load(p) => p.access == Access::Once,
            Instruction::Const(_) => true,
            Instruction::Unary(..)
            | Instruction::Binary(..)
            | Instruction::Select(..)
            | Instruction::DropoutMask { .. } => false,
        };
        self.body(&mut body, outputs, &mut at, fixed)?;
        let mut totals = Vec::new();
        for o in &all {
            let total = self.builder.number("total", self.ty);
            body.push(Stmt::Let { to: total, value: start(o.mode) });
            totals.push(total);
        }
        let by = if split { Some(group) } else { None };
        body.push(self.walk(outputs, &at, by, groups, &totals)?);
        let thread = self.builder.index("t", IndexBound::Below(width * groups));
        if groups == 1 {
            for (o, &value) in all.iter().zip(&totals) {
                let element = self.element(&mut body, &mut at, &o.place)?;
                body.push(Stmt::AccumulateInto { at: element, how: join(o.mode), value });
            }
            self.split(column, group, thread, groups, split, body);
            return Ok(());
        }
        if all.is_empty() {
            self.split(column, group, thread, groups, split, body);
            return Ok(());
        }
        let each = width * groups;
        let sums = self.builder.shared(each * all.len() as u32);
        let barrier = self.builder.settle(&[], &[sums]);
        self.builder.kernel.body.extend(barrier);
        for (k, &value) in totals.iter().enumerate() {
            let element = Element { array: sums, row: Row::First, column: Column::At(thread, k as u32 * each) };
            body.push(Stmt::Store { at: element, value });
        }
        self.split(column, group, thread, groups, split, body);
        self.builder.settled();
        self.builder.push(Stmt::Barrier);
        let mut reads = vec![sums];
        for (k, o) in all.iter().enumerate() {
            let into = self.argument(o.place.argument)?;
            reads.push(into);
            let view = |array, column, columns| ArrayView { array, rows: Rows::One, column, columns };
            let sums = view(sums, k as u32 * each, each);
            let out = view(into, o.place.column, width);
            self.builder.push(Stmt::Call(DeviceCall::JoinGroups { width, groups, how: join(o.mode), sums, out }));
        }
        let writes: Vec<ArrayId> = reads[1..].to_vec();
        self.builder.settle(&reads, &writes);
        // Outputs written before the barrier are settled; those to come are not.
        Ok(())
    }

    /// Groups of threads, each with a thread a column.
    fn groups(&self, summed: bool) -> u32 {
        let threads = self.builder.kernel.threads;
        (threads / self.region.width).clamp(1, if summed { SUMMED } else { threads })
    }

    fn split(&mut self, column: Var, group: Var, thread: Var, groups: u32, split: bool, body: Vec<Stmt>) {
        let width = self.region.width;
        self.builder.push(if split {
            Stmt::Split { width, groups, column, group, thread, body }
        } else {
            Stmt::For { over: column, range: LoopRange::Columns { width }, body }
        });
    }

    /// The loop over the thread's rows: over samples and their entries where some output is theirs.
    fn walk(
        &mut self,
        outputs: &[(RegionOutput, Target)],
        outer: &Indices,
        group: Option<Var>,
        groups: u32,
        totals: &[Var],
    ) -> Result<Stmt, LoweringError> {
        let axis = self.region.axis;
        let row = self.builder.index("r", IndexBound::Local(axis));
        let of_samples: Vec<RegionOutput> =
            outputs.iter().filter(|(_, t)| *t == Target::Sample).map(|(o, _)| *o).collect();
        let mut at = Indices { row: Some(row), ..outer.clone() };
        let mut body = Vec::new();
        if of_samples.is_empty() {
            self.inner(&mut body, outputs, &mut at, totals, &[])?;
            return Ok(Stmt::For { over: row, range: LoopRange::Rows { axis, group, groups }, body });
        }
        let unit = self.builder.kernel.walk.unit().filter(|u| *u != axis);
        let unit = unit.ok_or_else(|| format!("axis {} is not under what its sums go to", axis.0))?;
        let sample = self.builder.index("s", IndexBound::Local(unit));
        at.held.insert((KernelArg::Ancestor { of: axis, to: unit }, false), sample);
        let (mut before, mut after, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for o in &of_samples {
            let sum = self.builder.number("sum", self.ty);
            before.push(Stmt::Let { to: sum, value: start(o.mode) });
            sums.push(sum);
        }
        self.inner(&mut body, outputs, &mut at, totals, &sums)?;
        let mut of_sample = Indices { held: at.held.clone(), column: at.column, ..Indices::default() };
        // Only the sample is known outside of its entries.
        of_sample.held.retain(|_, v| *v == sample);
        for (o, &value) in of_samples.iter().zip(&sums) {
            let element = self.element(&mut after, &mut of_sample, &o.place)?;
            after.push(Stmt::AccumulateInto { at: element, how: join(o.mode), value });
        }
        before.push(Stmt::For { over: row, range: LoopRange::Entries { axis, sample }, body });
        before.extend(after);
        Ok(Stmt::For { over: sample, range: LoopRange::Rows { axis: unit, group, groups }, body: before })
    }

    /// What is done at one row and column.
    fn inner(
        &mut self,
        body: &mut Vec<Stmt>,
        outputs: &[(RegionOutput, Target)],
        at: &mut Indices,
        totals: &[Var],
        sums: &[Var],
    ) -> Result<(), LoweringError> {
        self.body(body, outputs, at, |_| true)?;
        let own: Vec<_> = outputs.iter().copied().filter(|(_, t)| *t == Target::Own).collect();
        let (mut totals, mut sums) = (totals.iter(), sums.iter());
        for (o, target) in outputs {
            let to = match target {
                Target::All => totals.next(),
                Target::Sample => sums.next(),
                Target::Own | Target::RowSum => None,
            };
            if let Some(&to) = to {
                let value = self.computed(at, o)?;
                body.push(Stmt::Accumulate { to, how: join(o.mode), value });
            }
        }
        self.own(body, &own, at)
    }

    /// Outputs to the element itself.
    fn own(
        &mut self,
        body: &mut Vec<Stmt>,
        outputs: &[(RegionOutput, Target)],
        at: &mut Indices,
    ) -> Result<(), LoweringError> {
        for (o, _) in outputs {
            let element = self.element(body, at, &o.place)?;
            let value = self.computed(at, o)?;
            body.push(match o.mode {
                OutputMode::Store | OutputMode::StoreRowSum => Stmt::Store { at: element, value },
                OutputMode::Add | OutputMode::Max => Stmt::AccumulateInto { at: element, how: join(o.mode), value },
            });
        }
        Ok(())
    }

    fn computed(&self, at: &Indices, o: &RegionOutput) -> Result<Var, LoweringError> {
        at.values.get(&o.value.0).copied().ok_or_else(|| format!("value {} is not computed", o.value.0))
    }

    /// The instructions that the outputs need and `wanted` takes, where they are not computed yet.
    fn body(
        &mut self,
        body: &mut Vec<Stmt>,
        outputs: &[(RegionOutput, Target)],
        at: &mut Indices,
        wanted: impl Fn(&Instruction) -> bool,
    ) -> Result<(), LoweringError> {
        let region = self.region;
        let mut needed = vec![false; region.body.len()];
        for (o, _) in outputs {
            if let Some(n) = needed.get_mut(o.value.0 as usize) {
                *n = true;
            }
        }
        for k in (0..region.body.len()).rev() {
            if !needed[k] {
                continue;
            }
            let operands = match region.body[k] {
                Instruction::Const(_) | Instruction::Load(_) => vec![],
                Instruction::Unary(_, a) => vec![a],
                Instruction::Binary(op, a, b) if op == BinaryOp::Power && simple(region, b).is_some() => vec![a],
                Instruction::Binary(_, a, b) => vec![a, b],
                Instruction::Select(a, b, c) => vec![a, b, c],
                Instruction::DropoutMask { of, .. } => of.to_vec(),
            };
            for a in operands {
                needed[a.0 as usize] = true;
            }
        }
        for (k, i) in region.body.iter().enumerate() {
            let number = k as u32;
            if !needed[k] || at.values.contains_key(&number) || !wanted(i) {
                continue;
            }
            let operand = |v: crate::plan::region::ValueId| {
                at.values.get(&v.0).copied().ok_or_else(|| format!("value {} is not computed", v.0))
            };
            let value = match *i {
                Instruction::Const(c) => ValueExpr::Number(c),
                Instruction::Load(p) => ValueExpr::Load(self.element(body, at, &p)?),
                Instruction::Unary(op, a) => ValueExpr::Unary(op, operand(a)?),
                Instruction::Binary(BinaryOp::Power, a, b) => match simple(region, b) {
                    Some(0.5) => ValueExpr::Unary(crate::graph::UnaryOp::Sqrt, operand(a)?),
                    Some(c) => ValueExpr::Power(operand(a)?, c as i32),
                    None => ValueExpr::Binary(BinaryOp::Power, operand(a)?, operand(b)?),
                },
                Instruction::Binary(op, a, b) => ValueExpr::Binary(op, operand(a)?, operand(b)?),
                Instruction::Select(a, b, c) => ValueExpr::Select(operand(a)?, operand(b)?, operand(c)?),
                Instruction::DropoutMask { rate, of: [a, b, c, d, e, f] } => {
                    let of = [operand(a)?, operand(b)?, operand(c)?, operand(d)?, operand(e)?, operand(f)?];
                    ValueExpr::DropoutMask { rate, of }
                }
            };
            let to = self.builder.number("v", self.ty);
            body.push(Stmt::Let { to, value });
            at.values.insert(number, to);
        }
        Ok(())
    }

    /// Where a place is for the indices at hand; loads the indices that lead to it.
    fn element(&mut self, body: &mut Vec<Stmt>, at: &mut Indices, p: &StridedView) -> Result<Element, LoweringError> {
        let array = self.array_of(p)?;
        let missing = || "a place without its row".to_string();
        let row = match p.access {
            Access::Once => Row::First,
            Access::Row if self.builder.rows(array) == Rows::One => Row::First,
            Access::Row => Row::At(at.row.ok_or_else(missing)?),
            Access::Indexed { index } => Row::At(self.held(body, at, index, at.row, false)?),
            Access::Nested { outer, inner } => {
                let second = self.is_second(inner)?;
                let above = self.held(body, at, inner, at.row, false)?;
                Row::At(self.held(body, at, outer, Some(above), second)?)
            }
        };
        let column = match at.column {
            Some(c) if p.width == self.region.width && self.region.width > 1 => Column::At(c, p.column),
            _ => Column::Fixed(p.column),
        };
        Ok(Element { array, row, column })
    }

    /// What an index array holds for a row.
    fn held(
        &mut self,
        body: &mut Vec<Stmt>,
        at: &mut Indices,
        argument: u32,
        row: Option<Var>,
        second: bool,
    ) -> Result<Var, LoweringError> {
        let source = self.given(argument)?;
        self.index(body, at, source, row, second)
    }

    fn index(
        &mut self,
        body: &mut Vec<Stmt>,
        at: &mut Indices,
        source: KernelArg,
        row: Option<Var>,
        second: bool,
    ) -> Result<Var, LoweringError> {
        if let Some(&v) = at.held.get(&(source, second)) {
            return Ok(v);
        }
        if let Some((of, to, requests)) = self.by_request(source) {
            let sample = self.index(body, at, KernelArg::Ancestor { of, to: BATCH }, row, false)?;
            let request = self.index(body, at, KernelArg::Ancestor { of: BATCH, to: requests }, Some(sample), false)?;
            if to == requests {
                return Ok(request);
            }
            let row = row.ok_or_else(|| "an index without a row".to_string())?;
            let begin = self.builder.offsets(to, requests);
            let (first, entry) =
                (self.builder.index("f", IndexBound::Whole(to)), self.builder.index("i", IndexBound::Whole(to)));
            let element = Element { array: begin, row: Row::At(request), column: Column::Fixed(0) };
            body.push(Stmt::Let { to: first, value: ValueExpr::Load(element) });
            body.push(Stmt::Let { to: entry, value: ValueExpr::Paired { first, row, sample } });
            at.held.insert((source, false), entry);
            return Ok(entry);
        }
        let array = if second { self.builder.whole(source)? } else { self.builder.source(source)? };
        let bound = match self.builder.kernel.array(array).map(|a| a.numbers) {
            Some(super::kernel_ir::ElementKind::Index(bound)) => bound,
            Some(super::kernel_ir::ElementKind::F32) | None => {
                return Err(format!("`{}` is no index", self.builder.name(array)));
            }
        };
        let row = row.ok_or_else(|| "an index without a row".to_string())?;
        let to = self.builder.index("i", bound);
        let element = Element { array, row: Row::At(row), column: Column::Fixed(0) };
        body.push(Stmt::Let { to, value: ValueExpr::Load(element) });
        at.held.insert((source, second), to);
        Ok(to)
    }
}

/// The exponent of a power that is made of multiplications or a root.
fn simple(region: &Region, exponent: crate::plan::region::ValueId) -> Option<f64> {
    region.exponent(exponent).filter(|c| is_simple_power(*c))
}

fn join(mode: OutputMode) -> Accumulation {
    match mode {
        OutputMode::Max => Accumulation::Max,
        OutputMode::Store | OutputMode::Add | OutputMode::StoreRowSum => Accumulation::Add,
    }
}

fn start(mode: OutputMode) -> ValueExpr {
    ValueExpr::Number(if mode == OutputMode::Max { f64::NEG_INFINITY } else { 0.0 })
}

/// Whether the blocks of a grid may share the region's columns: nothing but stores of one element.
pub fn spreads(region: &Region) -> bool {
    region.axis == GLOBAL && !region.uniform && region.outputs.iter().all(|o| o.mode == OutputMode::Store)
}
