//! The rules of calls: operands lie inside their arrays and have the elements, row distances and
//! contents that the call assumes; results go where a block may write.

use super::super::call::{DeviceCall, Operand, ProductOutput};
use super::super::kernel_ir::{ArrayBinding, ArrayId, ElementKind, KernelIr, Rows, Walk};
use super::Broken;
use din_program::schedule::{BATCH, GLOBAL};

/// Checks a call; the error says which operand breaks which rule.
pub fn verify(kernel: &KernelIr, call: &DeviceCall) -> Result<(), Broken> {
    let rules = || -> Result<(), Broken> {
        sizes(kernel, call)?;
        place(kernel, call)?;
        for operand in call.reads() {
            inside(kernel, &operand)?;
        }
        for operand in call.writes() {
            inside(kernel, &operand)?;
            owned(kernel, &operand)?;
        }
        stored_partials(kernel, call)
    };
    rules().map_err(|why| format!("{}: {why}", call.function()))
}

/// Sizes are not 0, and groups of threads fit into a block.
fn sizes(kernel: &KernelIr, call: &DeviceCall) -> Result<(), Broken> {
    let (sizes, threads) = match *call {
        DeviceCall::FillGrid { out, .. } => (vec![out.columns], 1),
        DeviceCall::FillRows { out, .. } => (vec![out.view.columns], 1),
        DeviceCall::Product { k, n, tile, .. } => (vec![k, n, tile.rows, tile.columns], 1),
        DeviceCall::Outer { m, n, tile, .. } => (vec![m, n, tile.rows, tile.columns], 1),
        DeviceCall::Transpose { k, n, .. } => (vec![k, n], 1),
        DeviceCall::Unflatten { size, width, .. } | DeviceCall::Flatten { size, width, .. } => (vec![size, width], 1),
        DeviceCall::TimesSamples { width, .. }
        | DeviceCall::SumEntries { width, .. }
        | DeviceCall::Carry { width, .. }
        | DeviceCall::SegmentReduce { width, .. } => (vec![width], 1),
        DeviceCall::JoinCopies { width, stride, .. } => (vec![width, stride], 1),
        DeviceCall::Statistic { width, groups, .. } | DeviceCall::JoinGroups { width, groups, .. } => {
            (vec![width, groups], if groups > 1 { u64::from(width) * u64::from(groups) } else { 1 })
        }
    };
    if sizes.contains(&0) {
        return Err(format!("sizes {sizes:?}"));
    }
    if threads > u64::from(kernel.threads) {
        return Err(format!("groups of {threads} threads in all, of {}", kernel.threads));
    }
    Ok(())
}

/// Whether the call may stand in a kernel with these tiles, and its room in shared memory.
fn place(kernel: &KernelIr, call: &DeviceCall) -> Result<(), Broken> {
    if let Some(axis) = call.axis().filter(|&axis| axis != GLOBAL && !kernel.walk.holds(axis)) {
        return Err(format!("axis {} in other tiles", axis.0));
    }
    let fits = match call {
        // The blocks of a grid share the work.
        DeviceCall::FillGrid { .. } | DeviceCall::Transpose { .. } => matches!(kernel.walk, Walk::Once),
        DeviceCall::JoinCopies { .. } => matches!(kernel.walk, Walk::Join { .. }),
        DeviceCall::SumEntries { axis, .. } | DeviceCall::Unflatten { axis, .. } | DeviceCall::Flatten { axis, .. } => {
            matches!(kernel.walk, Walk::Sequence { unit: BATCH, axis: under, .. } if under == *axis)
        }
        DeviceCall::Carry { axis, .. } => {
            matches!(kernel.walk, Walk::Steps { .. }) && kernel.walk.under() == Some(*axis)
        }
        DeviceCall::TimesSamples { .. } => kernel.walk.unit() == Some(BATCH),
        DeviceCall::FillRows { .. }
        | DeviceCall::Product { .. }
        | DeviceCall::Outer { .. }
        | DeviceCall::SegmentReduce { .. }
        | DeviceCall::Statistic { .. }
        | DeviceCall::JoinGroups { .. } => true,
    };
    if !fits {
        return Err("it does not treat the tiles of this kernel".into());
    }
    if let Some((sums, each)) = call.shared_per_thread() {
        let array = find(kernel, sums.array)?;
        let shared = matches!(array.binding, ArrayBinding::Shared { .. });
        if !shared || u64::from(array.width) < u64::from(each) * u64::from(kernel.threads) {
            return Err(format!("`{}` has no room for {each} values per thread", array.name));
        }
    }
    Ok(())
}

/// An operand has what the call reads or writes of it.
fn inside(kernel: &KernelIr, operand: &Operand) -> Result<(), Broken> {
    let (array, view) = (find(kernel, operand.view.array)?, &operand.view);
    let name = &array.name;
    if array.rows != operand.rows || array.rows != view.rows {
        return Err(format!("`{name}` has rows {:?} where {:?} are wanted", array.rows, operand.rows));
    }
    if view.column.checked_add(view.columns).is_none_or(|end| end > array.width) {
        return Err(format!("columns {}..+{} of {} in `{name}`", view.column, view.columns, array.width));
    }
    if operand.columns > view.columns {
        return Err(format!("{} columns of the {} seen of `{name}`", operand.columns, view.columns));
    }
    if operand.stride.is_some_and(|stride| stride != array.stride) {
        return Err(format!("rows of `{name}` are {} apart, not {:?}", array.stride, operand.stride));
    }
    if operand.index != matches!(array.numbers, ElementKind::Index(_)) {
        return Err(format!("`{name}` holds {:?}", array.numbers));
    }
    Ok(())
}

/// A block may write an operand.
fn owned(kernel: &KernelIr, operand: &Operand) -> Result<(), Broken> {
    let array = find(kernel, operand.view.array)?;
    match array.rows {
        Rows::One | Rows::Local(_) if array.numbers == ElementKind::F32 => Ok(()),
        Rows::One | Rows::Local(_) => Err(format!("indices in `{}` are written", array.name)),
        Rows::Whole(_) | Rows::Table(_) => {
            Err(format!("`{}` is written by blocks that do not own its rows", array.name))
        }
    }
}

/// Whether an array is a partial sum that nothing fills: its first tile is stored.
fn is_stored(kernel: &KernelIr, array: ArrayId) -> Result<bool, Broken> {
    Ok(match find(kernel, array)?.binding {
        ArrayBinding::Partial { offset } => kernel.partials.iter().any(|p| p.offset == offset && p.stored),
        ArrayBinding::Address(_) | ArrayBinding::Shared { .. } | ArrayBinding::Slot { .. } => false,
    })
}

/// A partial sum that nothing fills is stored in the first tile, and no other array is.
fn stored_partials(kernel: &KernelIr, call: &DeviceCall) -> Result<(), Broken> {
    let stores = |output: &ProductOutput| matches!(output, ProductOutput::StoreFirstTile(_));
    let first = matches!(call, DeviceCall::Product { output, .. } | DeviceCall::Outer { output, .. } if stores(output));
    for operand in call.writes() {
        if is_stored(kernel, operand.view.array)? != first {
            let name = &find(kernel, operand.view.array)?.name;
            let why = if first { "is stored in the first tile but filled" } else { "is added to but never filled" };
            return Err(format!("`{name}` {why}"));
        }
    }
    Ok(())
}

fn find(kernel: &KernelIr, id: ArrayId) -> Result<&super::super::kernel_ir::Array, Broken> {
    kernel.array(id).ok_or_else(|| format!("array {} does not exist", id.0))
}
