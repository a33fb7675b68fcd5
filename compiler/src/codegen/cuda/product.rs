//! Products, moments and fills: calls of the prelude's functions, specialised by sizes and strides, that all threads of a block make together.

use super::absorb;
use super::kernel_builder::{KernelBuilder, LoweringError};
use super::kernel_ir::{ArrayId, ArrayView, Rows, Stmt, Walk};
use super::print::{count, number};
use super::region::SUMMED;
use super::thread_tile::ProductShape;
use din_program::cuda::Precision;
use din_program::schedule::{AxisId, AxisKind, BATCH, Call, GLOBAL, KernelArg, Operation, View};

/// `b5 + 16u`
pub(super) fn pointer(builder: &KernelBuilder<'_>, seen: &ArrayView) -> String {
    let name = builder.name(seen.array);
    if seen.column == 0 { name } else { format!("{name} + {}u", seen.column) }
}

/// A matrix in a once buffer.
pub(super) fn matrix(
    builder: &mut KernelBuilder<'_>,
    v: View,
    stride: u32,
    k: u32,
    n: u32,
) -> Result<ArrayView, LoweringError> {
    let columns = k.saturating_sub(1).saturating_mul(stride).saturating_add(n);
    let seen = builder.view(v, columns)?;
    if seen.rows == Rows::One {
        Ok(seen)
    } else {
        Err(format!("buffer {} is used as a matrix but is not once", v.buffer.0))
    }
}

/// Columns of the elements that a call treats.
pub(super) fn along(
    builder: &mut KernelBuilder<'_>,
    v: View,
    columns: u32,
    axis: AxisId,
) -> Result<ArrayView, LoweringError> {
    let seen = builder.view(v, columns)?;
    let rows = if axis == GLOBAL { Rows::One } else { Rows::Local(axis) };
    if seen.rows == rows {
        Ok(seen)
    } else {
        Err(format!("buffer {} is not on the elements of axis {}", v.buffer.0, axis.0))
    }
}

pub(super) fn stride(builder: &KernelBuilder<'_>, seen: &ArrayView) -> u32 {
    builder.stride(seen.array)
}

/// How many numbers of a row can be loaded at once: all arrays begin at 16 bytes.
pub(super) fn vectors(seen: &ArrayView, stride: u32) -> u32 {
    if stride.is_multiple_of(4) && seen.column.is_multiple_of(4) { 4 } else { 1 }
}

/// `DinRows<84, 4>{tile5}`
pub(super) fn operand(builder: &KernelBuilder<'_>, name: &str, seen: &ArrayView) -> String {
    let stride = stride(builder, seen);
    format!("{name}<{stride}, {}>{{{}}}", vectors(seen, stride), pointer(builder, seen))
}

pub(super) fn by_rows(builder: &KernelBuilder<'_>, seen: &ArrayView, stride: u32) -> String {
    format!("DinMatrix<{stride}, {}>{{{}}}", vectors(seen, stride), pointer(builder, seen))
}

/// Adds to rows of `n` numbers; the block's first tile is stored, where nothing else is added to them.
pub(super) fn gradient(builder: &KernelBuilder<'_>, out: &ArrayView, n: u32) -> String {
    let (v, to) = (vectors(out, n), pointer(builder, out));
    if builder.stored(out.array) {
        format!("DinStoreFirst<{n}, {v}>{{{to}, first_tile}}")
    } else {
        format!("DinAccumulate<{n}, {v}>{{{to}}}")
    }
}

/// Most elements of an axis in a tile that is not long.
pub(super) fn capacity(builder: &KernelBuilder<'_>, axis: AxisId) -> u32 {
    match builder.kernel.walk {
        Walk::Sequence { axis: under, entries, .. } if axis == under => entries,
        Walk::Sequence { samples, .. } | Walk::Samples { samples, .. } => samples,
        Walk::Once | Walk::Join { .. } => 1,
    }
}

pub(super) fn work(columns: u32, left: u32, right: u32) -> ProductShape {
    let right = right == 4 && columns.is_multiple_of(4);
    ProductShape { rows: 1, columns, left: left == 4, right, outer: false, tensor: false, down: false }
}

/// Rows and columns of a thread (of a warp), as template arguments. Products of few columns stay off tensor cores (`din_product`).
pub(super) fn text_of(builder: &KernelBuilder<'_>, work: ProductShape) -> String {
    let tensor = builder.precision != Precision::F32 && work.columns >= 8;
    let thread_tile = ProductShape { tensor, ..work }.thread_tile();
    format!("{}, {}", thread_tile.rows, thread_tile.columns)
}

pub(super) fn shared(builder: &KernelBuilder<'_>, axis: AxisId, columns: u32, left: u32, right: u32) -> String {
    text_of(builder, ProductShape { rows: capacity(builder, axis), ..work(columns, left, right) })
}

/// Appends a call that is no region; `next` is the one behind it.
pub fn product(builder: &mut KernelBuilder<'_>, call: &Call, next: Option<&Call>) -> Result<(), LoweringError> {
    let rows = count(call.axis);
    match call.op {
        Operation::Kernel { .. } => Err("a region is no product".into()),
        Operation::Fill { buffer, value } => {
            let width = builder.unit.schedule.buffers.get(buffer.index()).map_or(0, |b| b.width);
            let out = along(builder, View { buffer, column: 0 }, width, call.axis)?;
            let (to, value) = (pointer(builder, &out), number(f64::from(value), false));
            let text = if call.axis == GLOBAL {
                format!("din_fill_grid<{width}>({to}, {value})")
            } else {
                format!("din_fill_rows<{width}, {}>({rows}, {to}, {value})", stride(builder, &out))
            };
            push(builder, text, &[], &[out]);
            Ok(())
        }
        Operation::MatMul { x, w, w_stride, out, k, n, accumulate } => {
            let x = along(builder, x, k, call.axis)?;
            let w = matrix(builder, w, w_stride, k, n)?;
            let out = along(builder, out, n, call.axis)?;
            let (a, b) = (operand(builder, "DinRows", &x), by_rows(builder, &w, w_stride));
            let c = operand(builder, if accumulate { "DinAccumulate" } else { "DinStore" }, &out);
            let thread_tile = shared(builder, call.axis, n, vectors(&x, stride(builder, &x)), vectors(&w, w_stride));
            let text = format!("din_product<{k}, {n}, {thread_tile}>({rows}, {a}, {b}, {c})");
            let reads = if accumulate { vec![x, w, out] } else { vec![x, w] };
            push(builder, text, &reads, &[out]);
            Ok(())
        }
        Operation::AbsorbedMatMul { .. } | Operation::AbsorbedOuter { .. } => {
            absorb::emit_absorbed(builder, call, next)
        }
        Operation::Outer { x, g, out, k, n } => {
            let x = along(builder, x, k, call.axis)?;
            let g = along(builder, g, n, call.axis)?;
            let out = matrix(builder, out, n, k, n)?;
            let (of_x, of_g) = (stride(builder, &x), stride(builder, &g));
            let (a, b) = (by_rows(builder, &x, of_x), by_rows(builder, &g, of_g));
            let c = gradient(builder, &out, n);
            let thread_tile = ProductShape { rows: k, ..work(n, vectors(&x, of_x), vectors(&g, of_g)) };
            let thread_tile = text_of(builder, ProductShape { outer: true, ..thread_tile });
            push(builder, format!("din_outer<{k}, {n}, {thread_tile}>({rows}, {a}, {b}, {c})"), &[x, g, out], &[out]);
            Ok(())
        }
        Operation::Transpose { w, w_stride, out, k, n } => {
            let w = matrix(builder, w, w_stride, k, n)?;
            let out = matrix(builder, out, k, n, k)?;
            let text =
                format!("din_transpose<{k}, {n}, {w_stride}>({}, {})", pointer(builder, &w), pointer(builder, &out));
            push(builder, text, &[w], &[out]);
            Ok(())
        }
        Operation::SegmentSum { x, out, width } => {
            let out = along(builder, out, width, call.axis)?;
            let (axes, axis) = (builder.unit.axes, call.axis);
            let wrong = || format!("a sum over what shares axis {}", axis.0);
            let from = axes.segment_source(axis).ok_or_else(wrong)?;
            let x = builder.view(x, width)?;
            if x.rows != Rows::Whole(from) {
                return Err(wrong());
            }
            let sums = builder.shared(builder.kernel.threads);
            let (of_x, of_out) = (stride(builder, &x), stride(builder, &out));
            let (to, into, held) = (pointer(builder, &x), pointer(builder, &out), builder.name(sums));
            let (name, more) = match (axes.kind(axis), axes.request()) {
                (AxisKind::Unique(_), _) => {
                    ("din_sum_group", vec![builder.offsets(axis, axis), builder.members(axis, from)])
                }
                (AxisKind::Request, _) => ("din_sum_samples", vec![builder.offsets(BATCH, axis)]),
                (_, Some(requests)) => {
                    let samples = builder.offsets(BATCH, requests);
                    let request = builder.source(KernelArg::Ancestor { of: axis, to: requests })?;
                    let (entries, pairs) = (builder.offsets(axis, requests), builder.offsets(from, BATCH));
                    ("din_sum_pairs", vec![samples, request, entries, pairs])
                }
                (_, None) => return Err(wrong()),
            };
            let mut arguments = format!("{rows}, first{}", axis.0);
            more.iter().for_each(|&array| arguments = format!("{arguments}, {}", builder.name(array)));
            let text = format!("{name}<{width}, {of_x}, {of_out}>({arguments}, {to}, {held}, {into})");
            let more: Vec<ArrayView> = more.into_iter().map(|a| whole(builder, a)).collect();
            let sums = whole(builder, sums);
            let reads: Vec<ArrayView> = [x].into_iter().chain(more).collect();
            push(builder, text, &reads, &[sums, out]);
            Ok(())
        }
        Operation::Moments { x, out, width } => {
            let x = along(builder, x, width, call.axis)?;
            let out = builder.view(View { buffer: out, column: 0 }, 2 * width + 1)?;
            let groups = (builder.kernel.threads / width).clamp(1, SUMMED);
            let sums = builder.shared(2 * builder.kernel.threads);
            let text = format!(
                "din_moments<{width}, {}, {groups}>({rows}, {}, {}, {})",
                stride(builder, &x),
                pointer(builder, &x),
                builder.name(sums),
                pointer(builder, &out)
            );
            let sums = whole(builder, sums);
            push(builder, text, &[x, out], &[sums, out]);
            // There are barriers within, the last one before the count is written.
            builder.settled();
            builder.settle(&[], &[out.array]);
            Ok(())
        }
    }
}

/// All columns of an array.
pub(super) fn whole(builder: &KernelBuilder<'_>, array: ArrayId) -> ArrayView {
    ArrayView { array, rows: builder.rows(array), column: 0, columns: builder.width(array) }
}

pub(super) fn push(builder: &mut KernelBuilder<'_>, text: String, reads: &[ArrayView], writes: &[ArrayView]) {
    let arrays = |seen: &[ArrayView]| -> Vec<ArrayId> { seen.iter().map(|s| s.array).collect() };
    let barrier = builder.settle(&arrays(reads), &arrays(writes));
    builder.kernel.body.extend(barrier);
    builder.push(Stmt::Call { text, arrays: reads.iter().chain(writes).copied().collect() });
}
