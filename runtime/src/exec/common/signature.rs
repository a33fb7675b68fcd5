//! Holds a call of a kernel against the signature that the compiler recorded for its code: number
//! of arguments, width of every array, which axis its rows belong to, and what may be written.

use super::validate::{ScheduleRole, Validator, Validity, ensure};
use din_program::schedule::{AxisId, BATCH, Buffer, Call, GLOBAL, KernelArg, Storage};
use din_program::{Access, ArrayUse, Signature, TablePrecision};

/// The array whose rows an access numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// Elements of an axis.
    Of(AxisId),
    /// Rows of a table.
    Table(u32),
    /// Rows of the table that an update program is for.
    Updated,
}

impl Validator<'_> {
    /// A call of a kernel. The arguments themselves were checked one by one.
    pub(super) fn signature(&self, call: &Call, signature: &Signature, args: &[KernelArg]) -> Validity {
        ensure(args.len() == signature.arguments as usize, || {
            format!("a kernel of {} arguments called with {}", signature.arguments, args.len())
        })?;
        for (number, arg) in args.iter().enumerate() {
            let taken = signature.functions.iter().find(|(k, _)| *k as usize == number);
            let fits = taken.map(|(_, wanted)| *wanted) == arg.function();
            ensure(fits, || format!("argument {number} is {arg:?}, the kernel calls {taken:?} there"))?;
        }
        for array in &signature.arrays {
            self.array(call, array, args)?;
        }
        Ok(())
    }

    fn array(&self, call: &Call, array: &ArrayUse, args: &[KernelArg]) -> Validity {
        let rows = self.rows(call.axis, array.access, args)?;
        let number = array.argument;
        let wide = |what: &str, width: u32| {
            let fits = array.columns <= width && (rows == Rows::Of(GLOBAL) || array.stride == width);
            ensure(fits, || {
                format!(
                    "argument {number}, {what}, has rows of {width}; the kernel reads {} columns of rows of {}",
                    array.columns, array.stride
                )
            })
        };
        let precise = |what: &str, precision: TablePrecision| {
            ensure(array.precision == precision, || {
                format!("argument {number}, {what}, is in {precision}, the kernel takes it for {}", array.precision)
            })
        };
        let source = args.get(number as usize).ok_or_else(|| format!("argument {number} of {}", args.len()))?;
        match *source {
            KernelArg::Buffer(id) => {
                precise("a buffer", TablePrecision::F32)?;
                let b = self.buffer(id)?;
                let reached = match rows {
                    Rows::Of(axis) => b.axis == self.axes.first_name(axis) && !self.by_row_number(b),
                    Rows::Updated => self.by_row_number(b),
                    Rows::Table(_) => false,
                };
                ensure(reached, || {
                    format!("argument {number}, buffer {} of axis {}, is read by rows of {rows:?}", id.0, b.axis.0)
                })?;
                wide(&format!("buffer {}", id.0), b.width)?;
                ensure(!array.writes || self.kernel_writes(b), || {
                    format!("argument {number}, buffer {} ({:?}), is written", id.0, b.place)
                })
            }
            KernelArg::Table(table) => {
                ensure(rows == Rows::Table(table) && !array.writes, || {
                    format!("argument {number}, table {table}, is reached by {rows:?}")
                })?;
                let ScheduleRole::Step { tables } = self.role else {
                    return Err(format!("argument {number}, table {table}, outside of a step"));
                };
                precise(&format!("table {table}"), tables)?;
                let found = self.program.tables.get(table as usize).ok_or_else(|| format!("table {table}"))?;
                wide(&format!("table {table}"), found.width)
            }
            KernelArg::Ancestor { .. }
            | KernelArg::Rows { .. }
            | KernelArg::UniqueRows { .. }
            | KernelArg::RowIndex
            | KernelArg::Function(_) => {
                Err(format!("argument {number} is {source:?}, the kernel takes it for an array of numbers"))
            }
        }
    }

    /// What the access of a kernel over `axis` numbers.
    fn rows(&self, axis: AxisId, access: Access, args: &[KernelArg]) -> Result<Rows, String> {
        let index = |number: u32, over: AxisId| {
            let source = args.get(number as usize).ok_or_else(|| format!("argument {number} of {}", args.len()))?;
            self.index(over, *source).map_err(|why| format!("argument {number}: {why}"))
        };
        match access {
            Access::Row => Ok(Rows::Of(axis)),
            Access::Once => Ok(Rows::Of(GLOBAL)),
            Access::Indexed { index: number } => index(number, axis),
            Access::Nested { outer, inner } => match index(inner, axis)? {
                Rows::Of(between) => index(outer, between),
                found @ (Rows::Table(_) | Rows::Updated) => {
                    Err(format!("argument {inner} numbers {found:?}, the kernel takes it for elements of an axis"))
                }
            },
        }
    }

    /// What an array of `u32` with one number per element of `over` numbers.
    fn index(&self, over: AxisId, source: KernelArg) -> Result<Rows, String> {
        let (of, rows) = match source {
            KernelArg::Ancestor { of, to } => (Some(of), Rows::Of(to)),
            KernelArg::Rows { table, feature } => (self.feature_axis(feature), Rows::Table(table)),
            KernelArg::UniqueRows { axis, key } => {
                self.axis(axis)?;
                let found = self.axes.unique(axis).and_then(|unique| unique.keys.get(key as usize));
                let &(table, _) = found.ok_or_else(|| format!("key {key} of axis {}", axis.0))?;
                (Some(axis), Rows::Table(table))
            }
            KernelArg::RowIndex => (Some(BATCH), Rows::Updated),
            KernelArg::Buffer(_) | KernelArg::Table(_) | KernelArg::Function(_) => {
                return Err(format!("{source:?}, which the kernel takes for row numbers"));
            }
        };
        ensure(of == Some(self.axes.first_name(over)), || {
            format!("{source:?} has no number for each element of axis {}", over.0)
        })?;
        Ok(rows)
    }

    /// Whether a buffer of an update program has one row per row of the table.
    fn by_row_number(&self, b: &Buffer) -> bool {
        matches!(self.role, ScheduleRole::Rows { .. })
            && b.axis == BATCH
            && matches!(b.place, Storage::Weight | Storage::UpdateSlot(_) | Storage::Frequency | Storage::UpdateCount)
    }

    /// Whether generated code may write a buffer.
    fn kernel_writes(&self, b: &Buffer) -> bool {
        match b.place {
            Storage::Arena(_) | Storage::Tile(_) | Storage::Partial => true,
            Storage::Weight | Storage::UpdateSlot(_) => !matches!(self.role, ScheduleRole::Step { .. }),
            Storage::Param(_)
            | Storage::State(_)
            | Storage::Dense(_)
            | Storage::Label(_)
            | Storage::Present(_)
            | Storage::Length(_)
            | Storage::Position(_)
            | Storage::SampleNumber(_)
            | Storage::Components(_)
            | Storage::DropoutKey(_)
            | Storage::Count(_)
            | Storage::Step
            | Storage::Epoch
            | Storage::SquaredNorms
            | Storage::Gradient
            | Storage::InBatch
            | Storage::Frequency
            | Storage::UpdateCount => false,
        }
    }
}
