//! Products with a weight into which the samples' rows are folded, `x W1 + (x * q) W2`, and their gradients.
//!
//! The rows `x * q` are made once, in a tile buffer of the back end's own, and not by every thread that reads them. What the gradients for `x` and for
//! `q` have in common, the product of the result's gradient with the transpose of W2, is made once for both where their calls follow each other.

use super::kernel_builder::{KernelBuilder, LoweringError};
use super::kernel_ir::{ArrayView, Stmt};
use super::print::count;
use super::product::{
    along, by_rows, capacity, gradient, matrix, operand, pointer, push, shared, stride, text_of, vectors, whole, work,
};
use super::thread_tile::ProductShape;
use din_program::schedule::{BATCH, Call, KernelArg, Operation, SlotId, View};

/// The tile buffer of the back end's own: rows times those of their samples, or what both gradients have in common.
pub const SCRATCH_SLOT: SlotId = SlotId(u32::MAX);

/// Appends a folded product or its gradients; `next` is the call behind it.
pub fn emit_absorbed(builder: &mut KernelBuilder<'_>, call: &Call, next: Option<&Call>) -> Result<(), LoweringError> {
    match call.op {
        Operation::AbsorbedMatMul { x, q, w, transposed: false, out, e, n } => {
            product(builder, call, [x, q, w, out], (e, n))
        }
        Operation::AbsorbedMatMul { x, q, w, transposed: true, out, e, n } => {
            transposed(builder, call, [x, q, w, out], (e, n))
        }
        Operation::AbsorbedOuter { x, g, weight, sample, e, n } => {
            if let Some((q, out)) = weight {
                towards_weight(builder, call, [x, q, g, out], (e, n))?;
            }
            match sample {
                Some((w, out)) => towards_sample(builder, call, next, [x, g, w, out], (e, n)),
                None => Ok(()),
            }
        }
        _ => Err("no folded product".into()),
    }
}

/// The samples of the entries.
fn samples(builder: &mut KernelBuilder<'_>, call: &Call) -> Result<ArrayView, LoweringError> {
    let sample = builder.source(KernelArg::Ancestor { of: call.axis, to: BATCH })?;
    Ok(whole(builder, sample))
}

/// The rows of x times those of their samples, in the buffer of the back end's own.
fn times_samples(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    e: u32,
    x: ArrayView,
    q: ArrayView,
) -> Result<ArrayView, LoweringError> {
    let parent = samples(builder, call)?;
    let own = builder.own_slot(SCRATCH_SLOT, e)?;
    let own = whole(builder, own);
    let text = format!(
        "din_times_samples<{e}, {}, {}, {}>({}, {}, {}, {}, first1, {})",
        stride(builder, &x),
        stride(builder, &q),
        stride(builder, &own),
        count(call.axis),
        pointer(builder, &x),
        pointer(builder, &q),
        builder.name(parent.array),
        pointer(builder, &own)
    );
    push(builder, text, &[x, q, parent], &[own]);
    Ok(own)
}

/// out = x W1 + (x * q) W2, W1 over W2 being 2 E x N.
fn product(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    [x, q, w, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let x = along(builder, x, e, call.axis)?;
    let q = along(builder, q, e, BATCH)?;
    let w = matrix(builder, w, n, 2 * e, n)?;
    let out = along(builder, out, n, call.axis)?;
    let own = times_samples(builder, call, e, x, q)?;
    let (of_x, of_own) = (stride(builder, &x), stride(builder, &own));
    let v = vectors(&x, of_x).min(vectors(&own, of_own));
    let a = format!("DinTwoParts<{of_x}, {of_own}, {v}>{{{}, {}}}", pointer(builder, &x), pointer(builder, &own));
    let b = format!("DinMatrix<{n}, {}, {e}>{{{}}}", vectors(&w, n), pointer(builder, &w));
    let c = operand(builder, "DinStore", &out);
    let (thread_tile, rows) = (shared(builder, call.axis, n, v, vectors(&w, n)), count(call.axis));
    push(builder, format!("din_product<{e}, {n}, {thread_tile}>({rows}, {a}, {b}, {c})"), &[x, w, own], &[out]);
    Ok(())
}

/// The half of W^T, N x 2 E, that begins at a column.
fn half(builder: &KernelBuilder<'_>, w: &ArrayView, e: u32) -> String {
    format!("DinMatrix<{}, {}>{{{}}}", 2 * e, vectors(w, 2 * e), pointer(builder, w))
}

/// out = x W1^T + q * (x W2^T), the transposes lying side by side; the second product may be there already.
fn transposed(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    views: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let [x, q, w, out] = views;
    let common = builder.common.take().filter(|(of, _)| *of == (x, w)).map(|(_, own)| own);
    let x = along(builder, x, n, call.axis)?;
    let q = along(builder, q, e, BATCH)?;
    let w = matrix(builder, w, 2 * e, n, 2 * e)?;
    let out = along(builder, out, e, call.axis)?;
    let parent = samples(builder, call)?;
    let (of_q, of_out) = (stride(builder, &q), stride(builder, &out));
    let second = ArrayView { column: w.column.saturating_add(e), ..w };
    let of_w = vectors(&w, 2 * e).min(vectors(&second, 2 * e));
    let thread_tile = shared(builder, call.axis, e, vectors(&x, stride(builder, &x)), of_w);
    let (rows, a) = (count(call.axis), operand(builder, "DinRows", &x));
    let product = |b: String, c: String| format!("din_product<{n}, {e}, {thread_tile}>({rows}, {a}, {b}, {c})");
    let times = format!("{}, {}, first1", pointer(builder, &q), builder.name(parent.array));
    let to = pointer(builder, &out);
    if let Some(own) = common {
        let own = whole(builder, own);
        let of_own = stride(builder, &own);
        let v = vectors(&out, of_out).min(vectors(&q, of_q)).min(vectors(&own, of_own));
        let c = format!("DinStoreWith<{of_out}, {of_own}, {of_q}, {v}>{{{to}, {}, {times}}}", pointer(builder, &own));
        let text = product(half(builder, &w, e), c);
        push(builder, text, &[x, q, w, parent, own], &[out]);
        return Ok(());
    }
    let text = product(half(builder, &w, e), operand(builder, "DinStore", &out));
    let reads = [x, q, w, parent];
    push(builder, text, &reads, &[out]);
    let v = vectors(&out, of_out).min(vectors(&q, of_q));
    let c = format!("DinAccumulateTimes<{of_out}, {of_q}, {v}>{{{to}, {times}}}");
    // Each thread adds to what it has stored.
    let text = product(half(builder, &second, e), c);
    builder.push(Stmt::Call { text, arrays: reads.into_iter().chain([out]).collect() });
    Ok(())
}

/// out gains x^T g over (x * q)^T g, together 2 E x N.
fn towards_weight(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    [x, q, g, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let x = along(builder, x, e, call.axis)?;
    let g = along(builder, g, n, call.axis)?;
    let q = along(builder, q, e, BATCH)?;
    let out = matrix(builder, out, n, 2 * e, n)?;
    let own = times_samples(builder, call, e, x, q)?;
    let of_g = stride(builder, &g);
    let (rows, b) = (count(call.axis), by_rows(builder, &g, of_g));
    let lower = ArrayView { column: out.column.saturating_add(e * n), ..out };
    for (x, into) in [(x, out), (own, lower)] {
        let of_x = stride(builder, &x);
        let thread_tile = ProductShape { rows: e, outer: true, ..work(n, vectors(&x, of_x), vectors(&g, of_g)) };
        let (a, c) = (by_rows(builder, &x, of_x), gradient(builder, &into, n));
        let text = format!("din_outer<{e}, {n}, {}>({rows}, {a}, {b}, {c})", text_of(builder, thread_tile));
        if into == out {
            push(builder, text, &[x, own, g, out], &[out]);
        } else {
            // Another part of the gradient.
            builder.push(Stmt::Call { text, arrays: vec![x, g, out] });
        }
    }
    Ok(())
}

/// out_s = the sum over the entries of sample s of x * (g W2^T), W2 being the lower half of w.
fn towards_sample(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    next: Option<&Call>,
    [x, g, w, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let turned = next.and_then(|next| follows(builder, next, [g, w], (e, n)));
    let x = along(builder, x, e, call.axis)?;
    let from = along(builder, g, n, call.axis)?;
    let out = along(builder, out, e, BATCH)?;
    let own = builder.own_slot(SCRATCH_SLOT, e)?;
    let seen = whole(builder, own);
    let (of_g, of_own) = (stride(builder, &from), stride(builder, &seen));
    let (left, rows) = (vectors(&from, of_g), count(call.axis));
    let (a, c) = (operand(builder, "DinRows", &from), operand(builder, "DinStore", &seen));
    let (b, thread_tile, w) = if let Some(turned) = turned {
        builder.common = Some(((g, turned), own));
        let w = matrix(builder, turned, 2 * e, n, 2 * e)?;
        let second = ArrayView { column: w.column.saturating_add(e), ..w };
        let thread_tile = shared(builder, call.axis, e, left, vectors(&second, 2 * e));
        (half(builder, &second, e), thread_tile, w)
    } else {
        let w = matrix(builder, w, n, 2 * e, n)?;
        let lower = ArrayView { column: w.column.saturating_add(e * n), ..w };
        let right = vectors(&lower, n);
        let rows = capacity(builder, call.axis);
        let thread_tile =
            text_of(builder, ProductShape { rows, right: right == 4, down: true, ..work(e, left, right) });
        (format!("DinTransposed<{n}, {right}>{{{}}}", pointer(builder, &lower)), thread_tile, w)
    };
    push(builder, format!("din_product<{n}, {e}, {thread_tile}>({rows}, {a}, {b}, {c})"), &[from, w], &[seen]);
    let text = format!(
        "din_sum_entries<{e}, {of_own}, {}, {}>(count1, ends{d}, first{d}, {}, {}, {})",
        stride(builder, &x),
        stride(builder, &out),
        pointer(builder, &seen),
        pointer(builder, &x),
        pointer(builder, &out),
        d = call.axis.0,
    );
    push(builder, text, &[seen, x], &[out]);
    Ok(())
}

/// The transpose of w, where the next call multiplies g by it too.
fn follows(builder: &KernelBuilder<'_>, next: &Call, [g, w]: [View; 2], (e, n): (u32, u32)) -> Option<View> {
    let Operation::AbsorbedMatMul { x, w: turned, transposed: true, e: of_e, n: of_n, .. } = next.op else {
        return None;
    };
    let mut calls = builder.unit.schedule.phases.iter().flat_map(|p| &p.calls);
    let of_w = calls.any(|c| {
        matches!(c.op, Operation::Transpose { w: from, w_stride, out, k, n: across }
            if from == w && out == turned && (k, across, w_stride) == (2 * e, n, n))
    });
    (of_w && x == g && (of_e, of_n) == (e, n)).then_some(turned)
}
