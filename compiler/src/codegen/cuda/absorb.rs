//! Products with a weight that has absorbed the samples' rows, `x W1 + (x * q) W2`, and their
//! gradients.
//!
//! The rows `x * q` are computed once, in a tile buffer of the back end's own, and not by every
//! thread that reads them. What the gradients for `x` and for `q` have in common, the product of
//! the result's gradient with the transpose of W2, is computed once for both where their calls
//! follow each other.

use super::call::{DeviceCall, LeftOperand, Matrix, ProductOutput, RightOperand, SampleFactor};
use super::kernel_builder::{KernelBuilder, LoweringError};
use super::kernel_ir::ArrayView;
use super::product::{capacity, matrix, outer, push, push_together, rows_of, shape, tile_of, tile_of_rows, whole};
use super::thread_tile::ProductShape;
use din_program::schedule::{BATCH, Call, KernelArg, Operation, View};

/// The samples of the entries.
fn samples(builder: &mut KernelBuilder<'_>, call: &Call) -> Result<ArrayView, LoweringError> {
    let sample = builder.source(KernelArg::Ancestor { of: call.axis, to: BATCH })?;
    Ok(whole(builder, sample))
}

/// The back end's own tile buffer, with `width` values per entry.
fn scratch_rows(builder: &mut KernelBuilder<'_>, width: u32) -> Result<Matrix, LoweringError> {
    let array = builder.products(width)?;
    Ok(Matrix { view: whole(builder, array), stride: builder.stride(array) })
}

/// The rows of x times those of their samples, in the back end's own buffer.
fn times_samples(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    e: u32,
    x: Matrix,
    q: Matrix,
) -> Result<Matrix, LoweringError> {
    let sample = samples(builder, call)?;
    let out = scratch_rows(builder, e)?;
    let factor = SampleFactor { values: q, sample };
    push(builder, DeviceCall::TimesSamples { axis: call.axis, width: e, x, factor, out });
    Ok(out)
}

/// out = x W1 + (x * q) W2, W1 over W2 being 2 E x N.
pub(super) fn product(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    [x, q, w, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let axis = call.axis;
    let x = rows_of(builder, x, e, axis)?;
    let q = rows_of(builder, q, e, BATCH)?;
    let w = matrix(builder, w, n, 2 * e, n)?;
    let out = rows_of(builder, out, n, axis)?;
    let times = times_samples(builder, call, e, x, q)?;
    let left = x.vector_width().min(times.vector_width());
    let tile = tile_of_rows(builder, axis, n, left, w.vector_width());
    let (left, right) = (LeftOperand::TwoParts(x, times), RightOperand::Rows(w));
    push(builder, DeviceCall::Product { axis, k: e, n, left, right, output: ProductOutput::Store(out), tile });
    Ok(())
}

/// out = x W1^T + q * (x W2^T), the transposes lying side by side; the second product may be there
/// already.
pub(super) fn transposed(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    views: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let ([x, q, w, out], axis) = (views, call.axis);
    let common = builder.common.take().filter(|(of, _)| *of == (x, w)).map(|(_, own)| own);
    let x = rows_of(builder, x, n, axis)?;
    let q = rows_of(builder, q, e, BATCH)?;
    let w = matrix(builder, w, 2 * e, n, 2 * e)?;
    let out = rows_of(builder, out, e, axis)?;
    let factor = SampleFactor { values: q, sample: samples(builder, call)? };
    let (first, second) = (w.part(0, n, e), w.part(e, n, e));
    let right = first.vector_width().min(second.vector_width());
    let tile = tile_of_rows(builder, axis, e, x.vector_width(), right);
    let product = |w: Matrix, output: ProductOutput| {
        let (left, right) = (LeftOperand::Rows(x), RightOperand::Rows(w));
        DeviceCall::Product { axis, k: n, n: e, left, right, output, tile }
    };
    if let Some(common) = common {
        let addend = Matrix { view: whole(builder, common), stride: builder.stride(common) };
        push(builder, product(first, ProductOutput::StoreWith { out, addend, factor }));
        return Ok(());
    }
    // Each thread adds to what it has stored.
    let both =
        [product(first, ProductOutput::Store(out)), product(second, ProductOutput::AccumulateTimes { out, factor })];
    push_together(builder, both.into());
    Ok(())
}

/// out gains x^T g over (x * q)^T g, together 2 E x N.
pub(super) fn weight_gradient(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    [x, q, g, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let axis = call.axis;
    let x = rows_of(builder, x, e, axis)?;
    let g = rows_of(builder, g, n, axis)?;
    let q = rows_of(builder, q, e, BATCH)?;
    let out = matrix(builder, out, n, 2 * e, n)?;
    let times = times_samples(builder, call, e, x, q)?;
    // Two parts of the gradient.
    let upper = outer(builder, axis, (e, n), [x, g, out.part(0, e, n)]);
    let lower = outer(builder, axis, (e, n), [times, g, out.part(e * n, e, n)]);
    push_together(builder, vec![upper, lower]);
    Ok(())
}

/// out_s = the sum over the entries of sample s of x * (g W2^T), W2 being the lower half of w.
pub(super) fn sample_gradient(
    builder: &mut KernelBuilder<'_>,
    call: &Call,
    next: Option<&Call>,
    [x, g, w, out]: [View; 4],
    (e, n): (u32, u32),
) -> Result<(), LoweringError> {
    let axis = call.axis;
    let turned = next.and_then(|next| next_transpose(builder, next, [g, w], (e, n)));
    let x = rows_of(builder, x, e, axis)?;
    let from = rows_of(builder, g, n, axis)?;
    let out = rows_of(builder, out, e, BATCH)?;
    let products = scratch_rows(builder, e)?;
    let (right, tile) = if let Some(turned) = turned {
        builder.common = Some(((g, turned), products.view.array));
        let second = matrix(builder, turned, 2 * e, n, 2 * e)?.part(e, n, e);
        let tile = tile_of_rows(builder, axis, e, from.vector_width(), second.vector_width());
        (RightOperand::Rows(second), tile)
    } else {
        let lower = matrix(builder, w, n, 2 * e, n)?.part(e * n, e, n);
        let right = lower.vector_width();
        let along = ProductShape { right: right == 4, down: true, ..shape(e, from.vector_width(), right) };
        let tile = tile_of(builder, ProductShape { rows: capacity(builder, axis), ..along });
        (RightOperand::Transposed(lower), tile)
    };
    let (left, output) = (LeftOperand::Rows(from), ProductOutput::Store(products));
    push(builder, DeviceCall::Product { axis, k: n, n: e, left, right, output, tile });
    push(builder, DeviceCall::SumEntries { axis, width: e, products, x, out });
    Ok(())
}

/// The transpose of w, where the next call multiplies g by it too.
fn next_transpose(builder: &KernelBuilder<'_>, next: &Call, [g, w]: [View; 2], (e, n): (u32, u32)) -> Option<View> {
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
