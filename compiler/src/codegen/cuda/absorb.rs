//! Products with a weight into which the samples' rows are folded, `x W1 + (x * q) W2`, and their gradients.
//!
//! The rows `x * q` are made once, in a tile buffer of the back end's own, and not by every thread that reads them. What the gradients for `x` and for
//! `q` have in common, the product of the result's gradient with the transpose of W2, is made once for both where their calls follow each other.

use super::frame::{Frame, Refusal};
use super::print::count;
use super::product::{
    along, by_rows, capacity, gradient, matrix, operand, pointer, push, shared, stride, text_of, vectors, whole, work,
};
use super::share::Work;
use super::tree::{Seen, Statement};
use din_program::schedule::{BATCH, Call, KernelArg, Operation, SlotId, View};

/// The tile buffer of the back end's own: rows times those of their samples, or what both gradients have in common.
pub const OWN: SlotId = SlotId(u32::MAX);

/// Appends a folded product or its gradients; `next` is the call behind it.
pub fn fold(frame: &mut Frame<'_>, call: &Call, next: Option<&Call>) -> Result<(), Refusal> {
    match call.op {
        Operation::AbsorbedMatMul { x, q, w, transposed: false, out, e, n } => {
            product(frame, call, [x, q, w, out], (e, n))
        }
        Operation::AbsorbedMatMul { x, q, w, transposed: true, out, e, n } => {
            transposed(frame, call, [x, q, w, out], (e, n))
        }
        Operation::AbsorbedOuter { x, g, weight, sample, e, n } => {
            if let Some((q, out)) = weight {
                towards_weight(frame, call, [x, q, g, out], (e, n))?;
            }
            match sample {
                Some((w, out)) => towards_sample(frame, call, next, [x, g, w, out], (e, n)),
                None => Ok(()),
            }
        }
        _ => Err("no folded product".into()),
    }
}

/// The samples of the entries.
fn samples(frame: &mut Frame<'_>, call: &Call) -> Result<Seen, Refusal> {
    let sample = frame.source(KernelArg::Ancestor { of: call.axis, to: BATCH })?;
    Ok(whole(frame, sample))
}

/// The rows of x times those of their samples, in the buffer of the back end's own.
fn times_samples(frame: &mut Frame<'_>, call: &Call, e: u32, x: Seen, q: Seen) -> Result<Seen, Refusal> {
    let parent = samples(frame, call)?;
    let own = frame.own_slot(OWN, e)?;
    let own = whole(frame, own);
    let text = format!(
        "din_times_samples<{e}, {}, {}, {}>({}, {}, {}, {}, first1, {})",
        stride(frame, &x),
        stride(frame, &q),
        stride(frame, &own),
        count(call.axis),
        pointer(frame, &x),
        pointer(frame, &q),
        frame.name(parent.array),
        pointer(frame, &own)
    );
    push(frame, text, &[x, q, parent], &[own]);
    Ok(own)
}

/// out = x W1 + (x * q) W2, W1 over W2 being 2 E x N.
fn product(frame: &mut Frame<'_>, call: &Call, [x, q, w, out]: [View; 4], (e, n): (u32, u32)) -> Result<(), Refusal> {
    let x = along(frame, x, e, call.axis)?;
    let q = along(frame, q, e, BATCH)?;
    let w = matrix(frame, w, n, 2 * e, n)?;
    let out = along(frame, out, n, call.axis)?;
    let own = times_samples(frame, call, e, x, q)?;
    let (of_x, of_own) = (stride(frame, &x), stride(frame, &own));
    let v = vectors(&x, of_x).min(vectors(&own, of_own));
    let a = format!("DinTwo<{of_x}, {of_own}, {v}>{{{}, {}}}", pointer(frame, &x), pointer(frame, &own));
    let b = format!("DinMatrix<{n}, {}, {e}>{{{}}}", vectors(&w, n), pointer(frame, &w));
    let c = operand(frame, "DinStore", &out);
    let (share, rows) = (shared(frame, call.axis, n, v, vectors(&w, n)), count(call.axis));
    push(frame, format!("din_product<{e}, {n}, {share}>({rows}, {a}, {b}, {c})"), &[x, w, own], &[out]);
    Ok(())
}

/// The half of W^T, N x 2 E, that begins at a column.
fn half(frame: &Frame<'_>, w: &Seen, e: u32) -> String {
    format!("DinMatrix<{}, {}>{{{}}}", 2 * e, vectors(w, 2 * e), pointer(frame, w))
}

/// out = x W1^T + q * (x W2^T), the transposes lying side by side; the second product may be there already.
fn transposed(frame: &mut Frame<'_>, call: &Call, views: [View; 4], (e, n): (u32, u32)) -> Result<(), Refusal> {
    let [x, q, w, out] = views;
    let common = frame.common.take().filter(|(of, _)| *of == (x, w)).map(|(_, own)| own);
    let x = along(frame, x, n, call.axis)?;
    let q = along(frame, q, e, BATCH)?;
    let w = matrix(frame, w, 2 * e, n, 2 * e)?;
    let out = along(frame, out, e, call.axis)?;
    let parent = samples(frame, call)?;
    let (of_q, of_out) = (stride(frame, &q), stride(frame, &out));
    let second = Seen { column: w.column.saturating_add(e), ..w };
    let of_w = vectors(&w, 2 * e).min(vectors(&second, 2 * e));
    let share = shared(frame, call.axis, e, vectors(&x, stride(frame, &x)), of_w);
    let (rows, a) = (count(call.axis), operand(frame, "DinRows", &x));
    let product = |b: String, c: String| format!("din_product<{n}, {e}, {share}>({rows}, {a}, {b}, {c})");
    let times = format!("{}, {}, first1", pointer(frame, &q), frame.name(parent.array));
    let to = pointer(frame, &out);
    if let Some(own) = common {
        let own = whole(frame, own);
        let of_own = stride(frame, &own);
        let v = vectors(&out, of_out).min(vectors(&q, of_q)).min(vectors(&own, of_own));
        let c = format!("DinStoreWith<{of_out}, {of_own}, {of_q}, {v}>{{{to}, {}, {times}}}", pointer(frame, &own));
        let text = product(half(frame, &w, e), c);
        push(frame, text, &[x, q, w, parent, own], &[out]);
        return Ok(());
    }
    let text = product(half(frame, &w, e), operand(frame, "DinStore", &out));
    let reads = [x, q, w, parent];
    push(frame, text, &reads, &[out]);
    let v = vectors(&out, of_out).min(vectors(&q, of_q));
    let c = format!("DinAccumulateTimes<{of_out}, {of_q}, {v}>{{{to}, {times}}}");
    // Each thread adds to what it has stored.
    let text = product(half(frame, &second, e), c);
    frame.push(Statement::Call { text, arrays: reads.into_iter().chain([out]).collect() });
    Ok(())
}

/// out gains x^T g over (x * q)^T g, together 2 E x N.
fn towards_weight(
    frame: &mut Frame<'_>,
    call: &Call,
    [x, q, g, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), Refusal> {
    let x = along(frame, x, e, call.axis)?;
    let g = along(frame, g, n, call.axis)?;
    let q = along(frame, q, e, BATCH)?;
    let out = matrix(frame, out, n, 2 * e, n)?;
    let own = times_samples(frame, call, e, x, q)?;
    let of_g = stride(frame, &g);
    let (rows, b) = (count(call.axis), by_rows(frame, &g, of_g));
    let lower = Seen { column: out.column.saturating_add(e * n), ..out };
    for (x, into) in [(x, out), (own, lower)] {
        let of_x = stride(frame, &x);
        let share = Work { rows: e, outer: true, ..work(n, vectors(&x, of_x), vectors(&g, of_g)) };
        let (a, c) = (by_rows(frame, &x, of_x), gradient(frame, &into, n));
        let text = format!("din_outer<{e}, {n}, {}>({rows}, {a}, {b}, {c})", text_of(frame, share));
        if into == out {
            push(frame, text, &[x, own, g, out], &[out]);
        } else {
            // Another part of the gradient.
            frame.push(Statement::Call { text, arrays: vec![x, g, out] });
        }
    }
    Ok(())
}

/// out_s = the sum over the entries of sample s of x * (g W2^T), W2 being the lower half of w.
fn towards_sample(
    frame: &mut Frame<'_>,
    call: &Call,
    next: Option<&Call>,
    [x, g, w, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), Refusal> {
    let turned = next.and_then(|next| follows(frame, next, [g, w], (e, n)));
    let x = along(frame, x, e, call.axis)?;
    let from = along(frame, g, n, call.axis)?;
    let out = along(frame, out, e, BATCH)?;
    let own = frame.own_slot(OWN, e)?;
    let seen = whole(frame, own);
    let (of_g, of_own) = (stride(frame, &from), stride(frame, &seen));
    let (left, rows) = (vectors(&from, of_g), count(call.axis));
    let (a, c) = (operand(frame, "DinRows", &from), operand(frame, "DinStore", &seen));
    let (b, share, w) = if let Some(turned) = turned {
        frame.common = Some(((g, turned), own));
        let w = matrix(frame, turned, 2 * e, n, 2 * e)?;
        let second = Seen { column: w.column.saturating_add(e), ..w };
        let share = shared(frame, call.axis, e, left, vectors(&second, 2 * e));
        (half(frame, &second, e), share, w)
    } else {
        let w = matrix(frame, w, n, 2 * e, n)?;
        let lower = Seen { column: w.column.saturating_add(e * n), ..w };
        let right = vectors(&lower, n);
        let rows = capacity(frame, call.axis);
        let share = text_of(frame, Work { rows, right: right == 4, down: true, ..work(e, left, right) });
        (format!("DinTransposed<{n}, {right}>{{{}}}", pointer(frame, &lower)), share, w)
    };
    push(frame, format!("din_product<{n}, {e}, {share}>({rows}, {a}, {b}, {c})"), &[from, w], &[seen]);
    let text = format!(
        "din_sum_entries<{e}, {of_own}, {}, {}>(count1, ends{d}, first{d}, {}, {}, {})",
        stride(frame, &x),
        stride(frame, &out),
        pointer(frame, &seen),
        pointer(frame, &x),
        pointer(frame, &out),
        d = call.axis.0,
    );
    push(frame, text, &[seen, x], &[out]);
    Ok(())
}

/// The transpose of w, where the next call multiplies g by it too.
fn follows(frame: &Frame<'_>, next: &Call, [g, w]: [View; 2], (e, n): (u32, u32)) -> Option<View> {
    let Operation::AbsorbedMatMul { x, w: turned, transposed: true, e: of_e, n: of_n, .. } = next.op else {
        return None;
    };
    let mut calls = frame.unit.schedule.phases.iter().flat_map(|p| &p.calls);
    let of_w = calls.any(|c| {
        matches!(c.op, Operation::Transpose { w: from, w_stride, out, k, n: across }
            if from == w && out == turned && (k, across, w_stride) == (2 * e, n, n))
    });
    (of_w && x == g && (of_e, of_n) == (e, n)).then_some(turned)
}
