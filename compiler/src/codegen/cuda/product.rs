//! Products, moments and fills: calls of the prelude's functions, specialised by sizes and strides, that all threads of a block make together.

use super::absorb;
use super::frame::{Frame, Refusal};
use super::print::{count, number};
use super::region::SUMMED;
use super::share::Work;
use super::tree::{ArrayId, Rows, Seen, Statement, Walk};
use din_program::cuda::Precision;
use din_program::schedule::{AxisId, AxisKind, BATCH, Call, GLOBAL, KernelArg, Operation, View};

/// `b5 + 16u`
pub(super) fn pointer(frame: &Frame<'_>, seen: &Seen) -> String {
    let name = frame.name(seen.array);
    if seen.column == 0 { name } else { format!("{name} + {}u", seen.column) }
}

/// A matrix in a once buffer.
pub(super) fn matrix(frame: &mut Frame<'_>, v: View, stride: u32, k: u32, n: u32) -> Result<Seen, Refusal> {
    let columns = k.saturating_sub(1).saturating_mul(stride).saturating_add(n);
    let seen = frame.view(v, columns)?;
    if seen.rows == Rows::One {
        Ok(seen)
    } else {
        Err(format!("buffer {} is used as a matrix but is not once", v.buffer.0))
    }
}

/// Columns of the elements that a call treats.
pub(super) fn along(frame: &mut Frame<'_>, v: View, columns: u32, axis: AxisId) -> Result<Seen, Refusal> {
    let seen = frame.view(v, columns)?;
    let rows = if axis == GLOBAL { Rows::One } else { Rows::Local(axis) };
    if seen.rows == rows {
        Ok(seen)
    } else {
        Err(format!("buffer {} is not on the elements of axis {}", v.buffer.0, axis.0))
    }
}

pub(super) fn stride(frame: &Frame<'_>, seen: &Seen) -> u32 {
    frame.stride(seen.array)
}

/// How many numbers of a row can be loaded at once: all arrays begin at 16 bytes.
pub(super) fn vectors(seen: &Seen, stride: u32) -> u32 {
    if stride.is_multiple_of(4) && seen.column.is_multiple_of(4) { 4 } else { 1 }
}

/// `DinRows<84, 4>{tile5}`
pub(super) fn operand(frame: &Frame<'_>, name: &str, seen: &Seen) -> String {
    let stride = stride(frame, seen);
    format!("{name}<{stride}, {}>{{{}}}", vectors(seen, stride), pointer(frame, seen))
}

pub(super) fn by_rows(frame: &Frame<'_>, seen: &Seen, stride: u32) -> String {
    format!("DinMatrix<{stride}, {}>{{{}}}", vectors(seen, stride), pointer(frame, seen))
}

/// Adds to rows of `n` numbers; the block's first tile is stored, where nothing else is added to them.
pub(super) fn gradient(frame: &Frame<'_>, out: &Seen, n: u32) -> String {
    let (v, to) = (vectors(out, n), pointer(frame, out));
    if frame.stored(out.array) {
        format!("DinBegin<{n}, {v}>{{{to}, fresh}}")
    } else {
        format!("DinAccumulate<{n}, {v}>{{{to}}}")
    }
}

/// Most elements of an axis in a tile that is not long.
pub(super) fn capacity(frame: &Frame<'_>, axis: AxisId) -> u32 {
    match frame.kernel.walk {
        Walk::Sequence { axis: under, entries, .. } if axis == under => entries,
        Walk::Sequence { samples, .. } | Walk::Samples { samples, .. } => samples,
        Walk::Once | Walk::Join { .. } => 1,
    }
}

pub(super) fn work(columns: u32, left: u32, right: u32) -> Work {
    let right = right == 4 && columns.is_multiple_of(4);
    Work { rows: 1, columns, left: left == 4, right, outer: false, tensor: false, down: false }
}

/// Rows and columns of a thread (of a warp), as template arguments. Products of few columns stay off tensor cores (`din_product`).
pub(super) fn text_of(frame: &Frame<'_>, work: Work) -> String {
    let tensor = frame.precision != Precision::F32 && work.columns >= 8;
    let share = Work { tensor, ..work }.share();
    format!("{}, {}", share.rows, share.columns)
}

pub(super) fn shared(frame: &Frame<'_>, axis: AxisId, columns: u32, left: u32, right: u32) -> String {
    text_of(frame, Work { rows: capacity(frame, axis), ..work(columns, left, right) })
}

/// Appends a call that is no region; `next` is the one behind it.
pub fn product(frame: &mut Frame<'_>, call: &Call, next: Option<&Call>) -> Result<(), Refusal> {
    let rows = count(call.axis);
    match call.op {
        Operation::Kernel { .. } => Err("a region is no product".into()),
        Operation::Fill { buffer, value } => {
            let width = frame.unit.schedule.buffers.get(buffer.index()).map_or(0, |b| b.width);
            let out = along(frame, View { buffer, column: 0 }, width, call.axis)?;
            let (to, value) = (pointer(frame, &out), number(f64::from(value), false));
            let text = if call.axis == GLOBAL {
                format!("din_fill_grid<{width}>({to}, {value})")
            } else {
                format!("din_fill_rows<{width}, {}>({rows}, {to}, {value})", stride(frame, &out))
            };
            push(frame, text, &[], &[out]);
            Ok(())
        }
        Operation::MatMul { x, w, w_stride, out, k, n, accumulate } => {
            let x = along(frame, x, k, call.axis)?;
            let w = matrix(frame, w, w_stride, k, n)?;
            let out = along(frame, out, n, call.axis)?;
            let (a, b) = (operand(frame, "DinRows", &x), by_rows(frame, &w, w_stride));
            let c = operand(frame, if accumulate { "DinAccumulate" } else { "DinStore" }, &out);
            let share = shared(frame, call.axis, n, vectors(&x, stride(frame, &x)), vectors(&w, w_stride));
            let text = format!("din_product<{k}, {n}, {share}>({rows}, {a}, {b}, {c})");
            let reads = if accumulate { vec![x, w, out] } else { vec![x, w] };
            push(frame, text, &reads, &[out]);
            Ok(())
        }
        Operation::AbsorbedMatMul { .. } | Operation::AbsorbedOuter { .. } => absorb::fold(frame, call, next),
        Operation::Outer { x, g, out, k, n } => {
            let x = along(frame, x, k, call.axis)?;
            let g = along(frame, g, n, call.axis)?;
            let out = matrix(frame, out, n, k, n)?;
            let (of_x, of_g) = (stride(frame, &x), stride(frame, &g));
            let (a, b) = (by_rows(frame, &x, of_x), by_rows(frame, &g, of_g));
            let c = gradient(frame, &out, n);
            let share = Work { rows: k, ..work(n, vectors(&x, of_x), vectors(&g, of_g)) };
            let share = text_of(frame, Work { outer: true, ..share });
            push(frame, format!("din_outer<{k}, {n}, {share}>({rows}, {a}, {b}, {c})"), &[x, g, out], &[out]);
            Ok(())
        }
        Operation::Transpose { w, w_stride, out, k, n } => {
            let w = matrix(frame, w, w_stride, k, n)?;
            let out = matrix(frame, out, k, n, k)?;
            let text = format!("din_transpose<{k}, {n}, {w_stride}>({}, {})", pointer(frame, &w), pointer(frame, &out));
            push(frame, text, &[w], &[out]);
            Ok(())
        }
        Operation::SegmentSum { x, out, width } => {
            let out = along(frame, out, width, call.axis)?;
            let (axes, axis) = (frame.unit.axes, call.axis);
            let wrong = || format!("a sum over what shares axis {}", axis.0);
            let from = axes.segment_source(axis).ok_or_else(wrong)?;
            let x = frame.view(x, width)?;
            if x.rows != Rows::Whole(from) {
                return Err(wrong());
            }
            let sums = frame.shared(frame.kernel.threads);
            let (of_x, of_out) = (stride(frame, &x), stride(frame, &out));
            let (to, into, held) = (pointer(frame, &x), pointer(frame, &out), frame.name(sums));
            let (name, more) = match (axes.kind(axis), axes.request()) {
                (AxisKind::Unique(_), _) => {
                    ("din_sum_group", vec![frame.offsets(axis, axis), frame.members(axis, from)])
                }
                (AxisKind::Request, _) => ("din_sum_samples", vec![frame.offsets(BATCH, axis)]),
                (_, Some(requests)) => {
                    let samples = frame.offsets(BATCH, requests);
                    let request = frame.source(KernelArg::Ancestor { of: axis, to: requests })?;
                    let (entries, pairs) = (frame.offsets(axis, requests), frame.offsets(from, BATCH));
                    ("din_sum_pairs", vec![samples, request, entries, pairs])
                }
                (_, None) => return Err(wrong()),
            };
            let mut arguments = format!("{rows}, first{}", axis.0);
            more.iter().for_each(|&array| arguments = format!("{arguments}, {}", frame.name(array)));
            let text = format!("{name}<{width}, {of_x}, {of_out}>({arguments}, {to}, {held}, {into})");
            let more: Vec<Seen> = more.into_iter().map(|a| whole(frame, a)).collect();
            let sums = whole(frame, sums);
            let reads: Vec<Seen> = [x].into_iter().chain(more).collect();
            push(frame, text, &reads, &[sums, out]);
            Ok(())
        }
        Operation::Moments { x, out, width } => {
            let x = along(frame, x, width, call.axis)?;
            let out = frame.view(View { buffer: out, column: 0 }, 2 * width + 1)?;
            let groups = (frame.kernel.threads / width).clamp(1, SUMMED);
            let sums = frame.shared(2 * frame.kernel.threads);
            let text = format!(
                "din_moments<{width}, {}, {groups}>({rows}, {}, {}, {})",
                stride(frame, &x),
                pointer(frame, &x),
                frame.name(sums),
                pointer(frame, &out)
            );
            let sums = whole(frame, sums);
            push(frame, text, &[x, out], &[sums, out]);
            // There are barriers within, the last one before the count is written.
            frame.settled();
            frame.settle(&[], &[out.array]);
            Ok(())
        }
    }
}

/// All columns of an array.
pub(super) fn whole(frame: &Frame<'_>, array: ArrayId) -> Seen {
    Seen { array, rows: frame.rows(array), column: 0, columns: frame.width(array) }
}

pub(super) fn push(frame: &mut Frame<'_>, text: String, reads: &[Seen], writes: &[Seen]) {
    let arrays = |seen: &[Seen]| -> Vec<ArrayId> { seen.iter().map(|s| s.array).collect() };
    let barrier = frame.settle(&arrays(reads), &arrays(writes));
    frame.kernel.body.extend(barrier);
    frame.push(Statement::Call { text, arrays: reads.iter().chain(writes).copied().collect() });
}
