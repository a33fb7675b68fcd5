//! What must hold of every generated kernel, checked before it is printed. A kernel that breaks a
//! rule is a bug of the compiler, and the message names the rule.
//!
//! - Barriers, and calls, which may contain barriers, are where all threads of the block come by
//!   together; sums over a warp are where all its lanes do. Nothing relies on the lanes of a warp
//!   running in step.
//! - Every index of an access has a bound below the array's extent.
//! - A variable has its type, and has a value before it is read.
//! - `call`: every operand of a call lies inside its array and has the elements that the call
//!   assumes. `hazards`: what one statement writes, another one reads or writes only after a
//!   barrier.

mod call;
mod hazards;

use super::call::DeviceCall;
use super::kernel_ir::{
    Array, ArrayBinding, ArrayId, Column, Element, ElementKind, IndexBound, KernelIr, LoopRange, Row, Rows, Stmt,
    ValueExpr, Var, VarType, Walk,
};
use din_program::schedule::{AxisId, GLOBAL};

/// Who runs a statement together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Together {
    Thread,
    Warp,
    Block,
}

/// A broken rule.
pub type Broken = String;

struct Verifier<'a> {
    kernel: &'a KernelIr,
    /// By variable: who has the same value; `None` before it has one.
    values: Vec<Option<Together>>,
    /// Whether the statement is in a loop over steps.
    in_steps: bool,
}

/// Whether `rows` rows of `width` numbers from `offset` on end by `all`.
fn within(offset: u32, width: u32, rows: u32, all: u32) -> bool {
    u64::from(offset) + u64::from(width) * u64::from(rows) <= u64::from(all)
}

/// Checks a kernel; the error says what is wrong where.
pub fn verify(kernel: &KernelIr) -> Result<(), Broken> {
    let mut v = Verifier { kernel, values: vec![None; kernel.variables.len()], in_steps: false };
    let broken = |why: String| format!("{}: {why}", kernel.name);
    for array in &kernel.arrays {
        v.array(array).map_err(broken)?;
    }
    v.block(&kernel.body, Together::Block).map_err(broken)?;
    hazards::verify(kernel).map_err(broken)
}

impl Verifier<'_> {
    fn array(&self, a: &Array) -> Result<(), Broken> {
        let fits = match a.binding {
            ArrayBinding::Address(_) => true,
            ArrayBinding::Partial { offset } => {
                let held = self.kernel.partials.iter().any(|p| p.offset == offset && p.width == a.width);
                held && a.rows == Rows::One
                    && self.kernel.copies.is_some_and(|(_, all)| within(offset, a.width, 1, all))
            }
            ArrayBinding::Shared { offset } => a.rows == Rows::One && within(offset, a.width, 1, self.kernel.shared),
            ArrayBinding::Slot { shared, scratch } => {
                if !matches!(a.rows, Rows::Local(_)) {
                    return Err(format!("array `{}` does not lie in a tile", a.name));
                }
                let (samples, entries) = match self.kernel.walk {
                    Walk::Once | Walk::Join { .. } => (0, 0),
                    Walk::Samples { samples, .. } => (samples, 0),
                    Walk::Sequence { samples, entries, .. } => (samples, entries),
                    Walk::Steps { .. } if shared.is_some() => {
                        return Err(format!("array `{}` of steps lies in shared memory", a.name));
                    }
                    Walk::Steps { samples, .. } => (samples, 0),
                };
                // Entries of a long tile lie in scratch, whatever those of others do.
                let (capacity, away) = match a.rows {
                    Rows::Local(d) if Some(d) == self.kernel.walk.under() => {
                        (entries, within(scratch.1, a.stride, 1, self.kernel.scratch.1))
                    }
                    Rows::Local(d) if Some(d) == self.kernel.walk.unit() => {
                        (samples, shared.is_some() || within(scratch.0, a.stride, 1, self.kernel.scratch.0))
                    }
                    _ => (0, false),
                };
                away && shared.is_none_or(|at| within(at, a.stride, capacity, self.kernel.shared))
            }
        };
        if fits && a.width > 0 && a.stride >= a.width {
            Ok(())
        } else {
            Err(format!("array `{}` does not fit where it lies", a.name))
        }
    }

    fn block(&mut self, statements: &[Stmt], together: Together) -> Result<(), Broken> {
        statements.iter().try_for_each(|s| self.statement(s, together))
    }

    fn statement(&mut self, statement: &Stmt, together: Together) -> Result<(), Broken> {
        match statement {
            Stmt::Comment(text) => {
                let plain = !text.contains('\n') && !text.ends_with('\\');
                if plain { Ok(()) } else { Err("a comment of more than a line".into()) }
            }
            Stmt::Let { to, value } => {
                let same = self.value(value, self.ty(*to)?, together)?;
                self.set(*to, same.min(together))
            }
            Stmt::Accumulate { to, value, .. } => {
                let same = self.read(*to)?.min(self.read(*value)?).min(together);
                self.expect(*value, self.ty(*to)?)?;
                self.set(*to, same)
            }
            Stmt::Store { at, value } | Stmt::AccumulateInto { at, value, .. } => {
                self.read(*value)?;
                let array = self.element(at)?;
                if matches!(array.rows, Rows::Whole(_)) {
                    return Err(format!("`{}` is written by blocks that do not own its rows", array.name));
                }
                if array.numbers != ElementKind::F32 {
                    return Err(format!("indices in `{}` are written", array.name));
                }
                if matches!(self.ty(*value)?, VarType::Index(_)) {
                    return Err(format!("an index is stored to `{}`", array.name));
                }
                Ok(())
            }
            Stmt::For { over, range, body } => self.repeat(*over, range, body, together),
            Stmt::Split { width, groups, column, group, thread, body } => {
                if *width == 0
                    || *groups == 0
                    || u64::from(*width) * u64::from(*groups) > u64::from(self.kernel.threads)
                {
                    return Err(format!("{groups} groups of {width} threads"));
                }
                self.is_index(*column, IndexBound::Below(*width))?;
                self.is_index(*group, IndexBound::Below(*groups))?;
                self.is_index(*thread, IndexBound::Below(*width * *groups))?;
                self.set(*column, Together::Thread)?;
                self.set(*thread, Together::Thread)?;
                self.set(*group, Together::Thread)?;
                self.scope(body, Together::Thread)
            }
            Stmt::Single { body } | Stmt::FirstLane { body } => self.scope(body, Together::Thread),
            Stmt::Steps { body, .. } => {
                if self.in_steps || together != Together::Block || !matches!(self.kernel.walk, Walk::Steps { .. }) {
                    return Err("steps that not all threads of the block walk, or in tiles without steps".into());
                }
                self.in_steps = true;
                self.scope(body, together)?;
                self.in_steps = false;
                Ok(())
            }
            Stmt::Barrier if together == Together::Block => Ok(()),
            Stmt::Barrier => Err("a barrier that not all threads of the block reach".into()),
            Stmt::Call(DeviceCall::Carry { .. }) if !self.in_steps => Err("a state is carried outside of steps".into()),
            Stmt::Call(call) if together == Together::Block => call::verify(self.kernel, call),
            Stmt::Call(call) => Err(format!("not all threads of the block call {}", call.function())),
        }
    }

    fn repeat(&mut self, over: Var, range: &LoopRange, body: &[Stmt], together: Together) -> Result<(), Broken> {
        let (bound, inner) = match *range {
            LoopRange::Columns { width } | LoopRange::Grid { width } => (IndexBound::Below(width), Together::Thread),
            // Lanes leave the loop apart from each other.
            LoopRange::Lanes { width } => (IndexBound::Below(width), Together::Thread),
            LoopRange::Rows { axis, group, groups } => {
                let from = match group {
                    None => Together::Block,
                    Some(group) => {
                        self.is_index(group, IndexBound::Below(groups))?;
                        self.read(group)?
                    }
                };
                (IndexBound::Local(axis), from)
            }
            LoopRange::Warps { axis } => (IndexBound::Local(axis), Together::Warp),
            LoopRange::Entries { axis, sample } => {
                let unit = self.unit()?;
                if !matches!(self.kernel.walk, Walk::Sequence { axis: under, .. } if under == axis) {
                    return Err(format!("entries of axis {} in other tiles", axis.0));
                }
                self.is_index(sample, IndexBound::Local(unit))?;
                (IndexBound::Local(axis), self.read(sample)?)
            }
        };
        if let IndexBound::Local(axis) = bound
            && axis != GLOBAL
            && !self.kernel.walk.holds(axis)
        {
            return Err(format!("a loop over axis {} in other tiles", axis.0));
        }
        self.is_index(over, bound)?;
        let inner = inner.min(together);
        self.set(over, inner)?;
        self.scope(body, inner)
    }

    /// What is set inside is not known after it, but what was set before and changed inside keeps
    /// the weaker claim.
    fn scope(&mut self, body: &[Stmt], together: Together) -> Result<(), Broken> {
        let before = self.values.clone();
        self.block(body, together)?;
        for (now, then) in self.values.iter_mut().zip(before) {
            *now = match (*now, then) {
                (Some(now), Some(then)) => Some(now.min(then)),
                _ => None,
            };
        }
        Ok(())
    }

    fn value(&self, value: &ValueExpr, ty: VarType, together: Together) -> Result<Together, Broken> {
        let numbers = |vars: &[Var]| -> Result<Together, Broken> {
            let mut same = Together::Block;
            for &v in vars {
                self.expect(v, ty)?;
                same = same.min(self.read(v)?);
            }
            if matches!(ty, VarType::Index(_)) { Err("arithmetic on indices".into()) } else { Ok(same) }
        };
        match *value {
            ValueExpr::Number(_) if matches!(ty, VarType::Index(_)) => Err("an index is a constant".into()),
            ValueExpr::Number(_) => Ok(Together::Block),
            ValueExpr::Load(at) => {
                let array = self.element(&at)?;
                let fits = match (array.numbers, ty) {
                    (ElementKind::F32, VarType::F32 | VarType::F64) => true,
                    (ElementKind::Index(held), VarType::Index(wanted)) => held == wanted,
                    _ => false,
                };
                if !fits {
                    return Err(format!("`{}` is loaded as {ty:?}", array.name));
                }
                let row = if let Row::At(v) = at.row { self.read(v)? } else { Together::Block };
                let column = if let Column::At(v, _) = at.column { self.read(v)? } else { Together::Block };
                Ok(row.min(column))
            }
            ValueExpr::Unary(_, a) | ValueExpr::Power(a, _) => numbers(&[a]),
            ValueExpr::Binary(_, a, b) => numbers(&[a, b]),
            ValueExpr::Select(a, b, c) => numbers(&[a, b, c]),
            ValueExpr::DropoutMask { of, .. } => numbers(&of),
            ValueExpr::WarpSum(a) if together >= Together::Warp => numbers(&[a]).map(|_| Together::Warp),
            ValueExpr::WarpSum(_) => Err("a sum over a warp that not all its lanes reach".into()),
            ValueExpr::Paired { first, row, sample } => {
                let (unit, under) = (self.unit()?, self.kernel.walk.under());
                let under = under.ok_or("a pair of an entry in tiles without entries")?;
                if matches!(self.kernel.walk, Walk::Steps { .. }) {
                    return Err("a pair of an entry that is numbered by step".into());
                }
                if !matches!(ty, VarType::Index(IndexBound::Whole(_))) {
                    return Err("a pair of an entry in the tile itself".into());
                }
                self.expect(first, ty)?;
                self.is_index(row, IndexBound::Local(under))?;
                self.is_index(sample, IndexBound::Local(unit))?;
                Ok(self.read(first)?.min(self.read(row)?).min(self.read(sample)?))
            }
        }
    }

    fn unit(&self) -> Result<AxisId, Broken> {
        self.kernel.walk.unit().ok_or_else(|| "a tile without elements".into())
    }

    /// The array of an access that is inside it.
    fn element(&self, at: &Element) -> Result<&Array, Broken> {
        let array = self.find(at.array)?;
        let out = |what: &str| Err(format!("{what} of `{}` has no bound below its extent", array.name));
        let row = match (array.rows, at.row) {
            (Rows::One, Row::First) => true,
            (Rows::Local(d), Row::At(v)) => self.ty(v)? == VarType::Index(IndexBound::Local(d)) && self.read(v).is_ok(),
            (Rows::Whole(d), Row::At(v)) => self.ty(v)? == VarType::Index(IndexBound::Whole(d)) && self.read(v).is_ok(),
            (Rows::Table(t), Row::At(v)) => self.ty(v)? == VarType::Index(IndexBound::Table(t)) && self.read(v).is_ok(),
            _ => false,
        };
        if !row {
            return out("a row");
        }
        let column = match at.column {
            Column::Fixed(c) => c < array.width,
            Column::At(v, more) => match self.ty(v)? {
                VarType::Index(IndexBound::Below(n)) => {
                    self.read(v).is_ok() && n.checked_add(more).is_some_and(|n| n <= array.width)
                }
                _ => false,
            },
        };
        if column { Ok(array) } else { out("a column") }
    }

    fn find(&self, id: ArrayId) -> Result<&Array, Broken> {
        self.kernel.array(id).ok_or_else(|| format!("array {} does not exist", id.0))
    }

    fn ty(&self, v: Var) -> Result<VarType, Broken> {
        self.kernel.named(v).map(|v| v.ty).ok_or_else(|| format!("variable {} does not exist", v.0))
    }

    fn expect(&self, v: Var, ty: VarType) -> Result<(), Broken> {
        let found = self.ty(v)?;
        if found == ty { Ok(()) } else { Err(format!("{found:?} where {ty:?} is wanted")) }
    }

    fn is_index(&self, v: Var, bound: IndexBound) -> Result<(), Broken> {
        self.expect(v, VarType::Index(bound))
    }

    fn read(&self, v: Var) -> Result<Together, Broken> {
        let unset = || {
            let name = self.kernel.named(v).map_or("?", |v| v.name.as_str());
            format!("`{name}` is read before it has a value")
        };
        self.values.get(v.0 as usize).copied().flatten().ok_or_else(unset)
    }

    fn set(&mut self, v: Var, together: Together) -> Result<(), Broken> {
        let slot = self.values.get_mut(v.0 as usize).ok_or_else(|| format!("variable {} does not exist", v.0))?;
        *slot = Some(together);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
