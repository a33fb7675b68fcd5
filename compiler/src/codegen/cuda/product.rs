//! Products, moments and fills: calls of the prelude's functions, specialised by sizes and strides, that all threads of a block make together.

use super::frame::{Frame, Refusal};
use super::print::{count, number};
use super::tree::{ArrayId, Rows, Seen, Statement};
use din_program::schedule::{Axis, BATCH, Call, Domain, ONCE, Operation, SlotId, Source, View};

/// The tile buffer of the back end's own: `Fold(Sum)` before it is summed by sample.
pub const OWN: SlotId = SlotId(u32::MAX);

/// `b5 + 16u`
fn pointer(frame: &Frame<'_>, seen: &Seen) -> String {
    let name = frame.name(seen.array);
    if seen.column == 0 { name } else { format!("{name} + {}u", seen.column) }
}

/// A matrix in a once buffer.
fn matrix(frame: &mut Frame<'_>, v: View, stride: u32, k: u32, n: u32) -> Result<Seen, Refusal> {
    let columns = k.saturating_sub(1).saturating_mul(stride).saturating_add(n);
    let seen = frame.view(v, columns)?;
    if seen.rows == Rows::One {
        Ok(seen)
    } else {
        Err(format!("buffer {} is used as a matrix but is not once", v.buffer.0))
    }
}

/// Columns of the elements that a call treats.
fn along(frame: &mut Frame<'_>, v: View, columns: u32, domain: Domain) -> Result<Seen, Refusal> {
    let seen = frame.view(v, columns)?;
    let rows = if domain == ONCE { Rows::One } else { Rows::Local(domain) };
    if seen.rows == rows {
        Ok(seen)
    } else {
        Err(format!("buffer {} is not on the elements of domain {}", v.buffer.0, domain.0))
    }
}

fn stride(frame: &Frame<'_>, seen: &Seen) -> u32 {
    frame.width(seen.array)
}

/// Appends a call that is no region.
pub fn product(frame: &mut Frame<'_>, call: &Call) -> Result<(), Refusal> {
    let rows = count(call.domain);
    match call.op {
        Operation::Kernel { .. } => Err("a region is no product".into()),
        Operation::Fill { buffer, value } => {
            let width = frame.unit.schedule.buffers.get(buffer.index()).map_or(0, |b| b.width);
            let out = along(frame, View { buffer, column: 0 }, width, call.domain)?;
            let (to, value) = (pointer(frame, &out), number(f64::from(value), false));
            let text = if call.domain == ONCE {
                format!("din_fill_grid<{width}>({to}, {value})")
            } else {
                format!("din_fill_rows<{width}>({rows}, {to}, {value})")
            };
            push(frame, text, &[], &[out]);
            Ok(())
        }
        Operation::MatMul { x, w, w_stride, out, k, n, accumulate } => {
            let x = along(frame, x, k, call.domain)?;
            let w = matrix(frame, w, w_stride, k, n)?;
            let out = along(frame, out, n, call.domain)?;
            let text = format!(
                "din_matmul<{k}, {n}, {}, {w_stride}, {}, {accumulate}>({rows}, {}, {}, {})",
                stride(frame, &x),
                stride(frame, &out),
                pointer(frame, &x),
                pointer(frame, &w),
                pointer(frame, &out)
            );
            let reads = if accumulate { vec![x, w, out] } else { vec![x, w] };
            push(frame, text, &reads, &[out]);
            Ok(())
        }
        Operation::Fold { x, q, w, transposed, out, e, n } => {
            let (from, to) = if transposed { (n, e) } else { (e, n) };
            let x = along(frame, x, from, call.domain)?;
            let q = along(frame, q, e, BATCH)?;
            let w = if transposed { matrix(frame, w, 2 * e, n, 2 * e)? } else { matrix(frame, w, n, 2 * e, n)? };
            let out = along(frame, out, to, call.domain)?;
            let sample = frame.source(Source::Ancestor { of: call.domain, to: BATCH })?;
            let name = if transposed { "din_fold_transposed" } else { "din_fold" };
            let text = format!(
                "{name}<{e}, {n}, {}, {}, {}>({rows}, {}, {}, {}, first1, {}, {})",
                stride(frame, &x),
                stride(frame, &q),
                stride(frame, &out),
                pointer(frame, &x),
                pointer(frame, &q),
                frame.name(sample),
                pointer(frame, &w),
                pointer(frame, &out)
            );
            let sample = whole(frame, sample);
            push(frame, text, &[x, q, w, sample], &[out]);
            Ok(())
        }
        Operation::FoldOuter { x, g, weight, sample, e, n } => {
            let x = along(frame, x, e, call.domain)?;
            let g = along(frame, g, n, call.domain)?;
            if let Some((q, out)) = weight {
                let q = along(frame, q, e, BATCH)?;
                let out = matrix(frame, out, n, 2 * e, n)?;
                let parent = frame.source(Source::Ancestor { of: call.domain, to: BATCH })?;
                let text = format!(
                    "din_fold_outer<{e}, {n}, {}, {}, {}>({rows}, {}, {}, {}, {}, first1, {})",
                    stride(frame, &x),
                    stride(frame, &q),
                    stride(frame, &g),
                    pointer(frame, &x),
                    pointer(frame, &q),
                    pointer(frame, &g),
                    frame.name(parent),
                    pointer(frame, &out)
                );
                let parent = whole(frame, parent);
                push(frame, text, &[x, q, g, parent, out], &[out]);
            }
            if let Some((w, out)) = sample {
                let w = matrix(frame, w, n, 2 * e, n)?;
                let out = along(frame, out, e, BATCH)?;
                let own = frame.own_slot(OWN)?;
                let text = format!(
                    "din_fold_sum<{e}, {n}, {}, {}, {}, {}>({rows}, count1, {}, {}, {}, ends{d}, first{d}, {}, {})",
                    stride(frame, &x),
                    stride(frame, &g),
                    frame.width(own),
                    stride(frame, &out),
                    pointer(frame, &x),
                    pointer(frame, &g),
                    pointer(frame, &w),
                    frame.name(own),
                    pointer(frame, &out),
                    d = call.domain.0,
                );
                let own = whole(frame, own);
                push(frame, text, &[x, g, w], &[own, out]);
                // There is a barrier within, between products and sums.
                frame.settled();
                frame.settle(&[own.array], &[out.array]);
            }
            Ok(())
        }
        Operation::Outer { x, g, out, k, n } => {
            let x = along(frame, x, k, call.domain)?;
            let g = along(frame, g, n, call.domain)?;
            let out = matrix(frame, out, n, k, n)?;
            let text = format!(
                "din_outer<{k}, {n}, {}, {}>({rows}, {}, {}, {})",
                stride(frame, &x),
                stride(frame, &g),
                pointer(frame, &x),
                pointer(frame, &g),
                pointer(frame, &out)
            );
            push(frame, text, &[x, g, out], &[out]);
            Ok(())
        }
        Operation::Transpose { w, w_stride, out, k, n } => {
            let w = matrix(frame, w, w_stride, k, n)?;
            let out = matrix(frame, out, k, n, k)?;
            let text = format!("din_transpose<{k}, {n}, {w_stride}>({}, {})", pointer(frame, &w), pointer(frame, &out));
            push(frame, text, &[w], &[out]);
            Ok(())
        }
        Operation::SumShared { x, out, width } => {
            let out = along(frame, out, width, call.domain)?;
            let (axes, domain) = (frame.unit.axes, call.domain);
            let wrong = || format!("a sum over what shares domain {}", domain.0);
            let from = axes.summed(domain).ok_or_else(wrong)?;
            let x = frame.view(x, width)?;
            if x.rows != Rows::Whole(from) {
                return Err(wrong());
            }
            let sums = frame.shared(frame.kernel.threads);
            let (of_x, of_out) = (stride(frame, &x), stride(frame, &out));
            let (to, into, held) = (pointer(frame, &x), pointer(frame, &out), frame.name(sums));
            let (name, more) = match (axes.of(domain), axes.find(Axis::Requests)) {
                (Axis::Group(_), _) => {
                    ("din_sum_group", vec![frame.offsets(domain, domain), frame.members(domain, from)])
                }
                (Axis::Requests, _) => ("din_sum_samples", vec![frame.offsets(BATCH, domain)]),
                (_, Some(requests)) => {
                    let samples = frame.offsets(BATCH, requests);
                    let request = frame.source(Source::Ancestor { of: domain, to: requests })?;
                    let (entries, pairs) = (frame.offsets(domain, requests), frame.offsets(from, BATCH));
                    ("din_sum_pairs", vec![samples, request, entries, pairs])
                }
                (_, None) => return Err(wrong()),
            };
            let mut arguments = format!("{rows}, first{}", domain.0);
            more.iter().for_each(|&array| arguments = format!("{arguments}, {}", frame.name(array)));
            let text = format!("{name}<{width}, {of_x}, {of_out}>({arguments}, {to}, {held}, {into})");
            let more: Vec<Seen> = more.into_iter().map(|a| whole(frame, a)).collect();
            let sums = whole(frame, sums);
            let reads: Vec<Seen> = [x].into_iter().chain(more).collect();
            push(frame, text, &reads, &[sums, out]);
            Ok(())
        }
        Operation::Moments { x, out, width } => {
            let x = along(frame, x, width, call.domain)?;
            let out = frame.view(View { buffer: out, column: 0 }, 2 * width + 1)?;
            let text = format!(
                "din_moments<{width}, {}>({rows}, {}, {})",
                stride(frame, &x),
                pointer(frame, &x),
                pointer(frame, &out)
            );
            push(frame, text, &[x, out], &[out]);
            // There is a barrier within, before the count is written.
            frame.settled();
            frame.settle(&[], &[out.array]);
            Ok(())
        }
    }
}

/// All columns of an array.
fn whole(frame: &Frame<'_>, array: ArrayId) -> Seen {
    Seen { array, rows: frame.rows(array), column: 0, columns: frame.width(array) }
}

fn push(frame: &mut Frame<'_>, text: String, reads: &[Seen], writes: &[Seen]) {
    let arrays = |seen: &[Seen]| -> Vec<ArrayId> { seen.iter().map(|s| s.array).collect() };
    let barrier = frame.settle(&arrays(reads), &arrays(writes));
    frame.kernel.body.extend(barrier);
    frame.push(Statement::Call { text, arrays: reads.iter().chain(writes).copied().collect() });
}
