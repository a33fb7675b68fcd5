//! Products, sums and fills: calls of the CUDA sources' functions, specialised by sizes
//! and strides, that all threads of a block make together.

use super::absorb;
use super::call::{
    self, DeviceCall, LeftOperand, Matrix, Operand, ProductOutput, RightOperand, Segments, flat_columns,
};
use super::kernel_builder::{KernelBuilder, LoweringError};
use super::kernel_ir::{Accumulation, ArrayId, ArrayView, Rows, Stmt, Walk};
use super::statistic::emit_statistic;
use super::thread_tile::{ProductShape, ThreadTile};
use din_program::cuda::Precision;
use din_program::schedule::{AxisId, AxisKind, BATCH, Call, GLOBAL, KernelArg, Operation, SegmentReduction, View};

/// A K x N matrix in a buffer of one element.
pub(super) fn matrix(
    builder: &mut KernelBuilder<'_>,
    v: View,
    stride: u32,
    k: u32,
    n: u32,
) -> Result<Matrix, LoweringError> {
    let view = builder.view(v, flat_columns(k, n, stride))?;
    if view.rows == Rows::One {
        Ok(Matrix { view, stride })
    } else {
        Err(format!("buffer {} is used as a matrix but has several elements", v.buffer.0))
    }
}

/// Columns of the elements that a call treats, one row each.
pub(super) fn rows_of(
    builder: &mut KernelBuilder<'_>,
    v: View,
    columns: u32,
    axis: AxisId,
) -> Result<Matrix, LoweringError> {
    let view = builder.view(v, columns)?;
    let rows = if axis == GLOBAL { Rows::One } else { Rows::Local(axis) };
    if view.rows == rows {
        Ok(Matrix { view, stride: builder.stride(view.array) })
    } else {
        Err(format!("buffer {} is not on the elements of axis {}", v.buffer.0, axis.0))
    }
}

/// How a gradient is added: the block's first tile is stored, where nothing else is added to it.
pub(super) fn gradient(builder: &KernelBuilder<'_>, out: Matrix) -> ProductOutput {
    if builder.stored(out.view.array) { ProductOutput::StoreFirstTile(out) } else { ProductOutput::Accumulate(out) }
}

/// Most elements of an axis in a tile that is not long.
pub(super) fn capacity(builder: &KernelBuilder<'_>, axis: AxisId) -> u32 {
    match builder.kernel.walk {
        Walk::Sequence { axis: under, entries, .. } if axis == under => entries,
        // Of a step, an entry of each list.
        Walk::Sequence { samples, .. } | Walk::Samples { samples, .. } | Walk::Steps { samples, .. } => samples,
        Walk::Once | Walk::Join { .. } => 1,
    }
}

/// A product of one row by a matrix of so many columns, read by vectors of these widths.
pub(super) fn shape(columns: u32, left: u32, right: u32) -> ProductShape {
    let right = right == 4 && columns.is_multiple_of(4);
    ProductShape { rows: 1, columns, left: left == 4, right, outer: false, tensor: false, down: false }
}

/// Rows and columns per thread (on tensor cores, per warp). Products of few columns stay off tensor
/// cores (`din_product`).
pub(super) fn tile_of(builder: &KernelBuilder<'_>, shape: ProductShape) -> ThreadTile {
    let tensor = builder.precision != Precision::F32 && shape.columns >= 8;
    ProductShape { tensor, ..shape }.thread_tile()
}

/// The same for a product of the tile's rows.
pub(super) fn tile_of_rows(
    builder: &KernelBuilder<'_>,
    axis: AxisId,
    columns: u32,
    left: u32,
    right: u32,
) -> ThreadTile {
    tile_of(builder, ProductShape { rows: capacity(builder, axis), ..shape(columns, left, right) })
}

/// The sum of outer products, M x N, that is added to `out`.
pub(super) fn outer(
    builder: &KernelBuilder<'_>,
    axis: AxisId,
    (m, n): (u32, u32),
    [left, right, out]: [Matrix; 3],
) -> DeviceCall {
    let shape = ProductShape { rows: m, outer: true, ..shape(n, left.vector_width(), right.vector_width()) };
    DeviceCall::Outer { axis, m, n, left, right, output: gradient(builder, out), tile: tile_of(builder, shape) }
}

/// Appends a call that is no region; `next` is the one behind it.
pub fn product(builder: &mut KernelBuilder<'_>, call: &Call, next: Option<&Call>) -> Result<(), LoweringError> {
    let axis = call.axis;
    match call.op {
        Operation::Kernel { .. } => return Err("a region is no product".into()),
        Operation::Fill { buffer, value } => {
            let width = builder.unit.schedule.buffers.get(buffer.index()).map(|b| b.width);
            let width = width.ok_or_else(|| format!("buffer {} does not exist", buffer.0))?;
            let out = rows_of(builder, View { buffer, column: 0 }, width, axis)?;
            push(
                builder,
                match axis {
                    GLOBAL => DeviceCall::FillGrid { out: out.view, value },
                    axis => DeviceCall::FillRows { axis, out, value },
                },
            );
        }
        Operation::MatMul { x, w, w_stride, out, k, n, accumulate } => {
            let x = rows_of(builder, x, k, axis)?;
            let w = matrix(builder, w, w_stride, k, n)?;
            let out = rows_of(builder, out, n, axis)?;
            let output = if accumulate { ProductOutput::Accumulate(out) } else { ProductOutput::Store(out) };
            let tile = tile_of_rows(builder, axis, n, x.vector_width(), w.vector_width());
            let (left, right) = (LeftOperand::Rows(x), RightOperand::Rows(w));
            push(builder, DeviceCall::Product { axis, k, n, left, right, output, tile });
        }
        Operation::AbsorbedMatMul { x, q, w, transposed, out, e, n } => {
            let views = [x, q, w, out];
            if transposed {
                absorb::transposed(builder, call, views, (e, n))?;
            } else {
                absorb::product(builder, call, views, (e, n))?;
            }
        }
        Operation::AbsorbedOuter { x, g, weight, sample, e, n } => {
            if let Some((q, out)) = weight {
                absorb::weight_gradient(builder, call, [x, q, g, out], (e, n))?;
            }
            if let Some((w, out)) = sample {
                absorb::sample_gradient(builder, call, next, [x, g, w, out], (e, n))?;
            }
        }
        Operation::Outer { x, g, out, k, n } => {
            let x = rows_of(builder, x, k, axis)?;
            let g = rows_of(builder, g, n, axis)?;
            let out = matrix(builder, out, n, k, n)?;
            let outer = outer(builder, axis, (k, n), [x, g, out]);
            push(builder, outer);
        }
        Operation::Transpose { w, w_stride, out, k, n } => {
            let w = matrix(builder, w, w_stride, k, n)?;
            let out = matrix(builder, out, k, n, k)?;
            push(builder, DeviceCall::Transpose { k, n, w, out });
        }
        Operation::Unflatten { x, out, size, width } => {
            let x = rows_of(builder, x, size.saturating_mul(width), BATCH)?;
            let out = rows_of(builder, out, width, axis)?;
            push(builder, DeviceCall::Unflatten { axis, size, width, x, out });
        }
        Operation::Flatten { x, out, size, width } => {
            let x = rows_of(builder, x, width, axis)?;
            let out = rows_of(builder, out, size.saturating_mul(width), BATCH)?;
            push(builder, DeviceCall::Flatten { axis, size, width, x, out });
        }
        Operation::Carry { x, out, width } => {
            let (x, out) = (rows_of(builder, x, width, axis)?, rows_of(builder, out, width, axis)?);
            push(builder, DeviceCall::Carry { axis, width, x, out });
        }
        Operation::SegmentReduce { how, x, out, width } => segment_reduce(builder, axis, how, [x, out], width)?,
        Operation::Statistic { statistic, x, out, width } => {
            emit_statistic(builder, axis, statistic, [x, View { buffer: out, column: 0 }], width)?;
        }
    }
    Ok(())
}

fn segment_reduce(
    builder: &mut KernelBuilder<'_>,
    axis: AxisId,
    how: SegmentReduction,
    [x, out]: [View; 2],
    width: u32,
) -> Result<(), LoweringError> {
    let out = rows_of(builder, out, width, axis)?;
    let axes = builder.unit.axes;
    let wrong = || format!("a reduction of what shares axis {}", axis.0);
    let from = axes.segment_source(axis).ok_or_else(wrong)?;
    let x = builder.view(x, width)?;
    if x.rows != Rows::Whole(from) {
        return Err(wrong());
    }
    let x = Matrix { view: x, stride: builder.stride(x.array) };
    let sums = builder.shared(builder.kernel.threads);
    let segments = match (axes.kind(axis), axes.request()) {
        (AxisKind::Unique(_), _) => {
            let (begins, members) = (builder.offsets(axis, axis), builder.members(axis, from));
            Segments::Unique { begins: whole(builder, begins), members: whole(builder, members) }
        }
        (AxisKind::Request, _) => {
            let samples = builder.offsets(BATCH, axis);
            Segments::Samples { samples: whole(builder, samples) }
        }
        (AxisKind::Sequence { .. }, Some(requests)) => {
            let samples = builder.offsets(BATCH, requests);
            let request = builder.source(KernelArg::Ancestor { of: axis, to: requests })?;
            let (entries, pairs) = (builder.offsets(axis, requests), builder.offsets(from, BATCH));
            let [samples, request, entries, pairs] = [samples, request, entries, pairs].map(|a| whole(builder, a));
            Segments::Pairs { samples, request, entries, pairs }
        }
        (AxisKind::Sequence { .. }, None)
        | (
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. },
            _,
        ) => return Err(wrong()),
    };
    let sums = whole(builder, sums);
    let how = match how {
        SegmentReduction::Sum => Accumulation::Add,
        SegmentReduction::Max => Accumulation::Max,
    };
    push(builder, DeviceCall::SegmentReduce { how, axis, width, segments, x, sums, out });
    Ok(())
}

/// All columns of an array.
pub(super) fn whole(builder: &KernelBuilder<'_>, array: ArrayId) -> ArrayView {
    ArrayView { array, rows: builder.rows(array), column: 0, columns: builder.width(array) }
}

/// Appends a call, behind a barrier where it meets what others read or wrote.
pub(super) fn push(builder: &mut KernelBuilder<'_>, call: DeviceCall) {
    push_together(builder, vec![call]);
}

/// Appends calls that need no barrier between them: they write apart from each other, or each
/// thread goes on with what it has written itself.
pub(super) fn push_together(builder: &mut KernelBuilder<'_>, calls: Vec<DeviceCall>) {
    let all = |of: fn(&DeviceCall) -> Vec<Operand>| calls.iter().flat_map(of).collect::<Vec<_>>();
    let (reads, writes) = (call::arrays(&all(DeviceCall::reads)), call::arrays(&all(DeviceCall::writes)));
    let barrier = builder.settle(&reads, &writes);
    builder.kernel.body.extend(barrier);
    calls.into_iter().for_each(|call| builder.push(Stmt::Call(call)));
}
