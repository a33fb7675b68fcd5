//! The operations of a call for the elements of one tile.

use super::prepare::{AbsorbedMatMul, AbsorbedOuter, FixedEntries, PreparedOp, SegmentReduce, StridedOperand};
use super::tiling::BatchTiling;
use crate::exec::common::{ElementRange, Layout, combine};
use crate::kernels::{
    AbsorbedGradient, AbsorbedProduct, MatMul, Microkernels, Outer, VectorGradient, WeightGradientSums, join_partials,
    transpose,
};
use din_program::schedule::{AxisId, BATCH, SegmentReduction};

/// One call for one tile.
pub(super) struct TileCall<'a> {
    pub kernels: Microkernels,
    /// Addresses of the phase's arguments.
    pub args: &'a [*mut u8],
    pub axis: AxisId,
    /// The elements of the axis that are treated: the tile's, in a recurrence those of one step.
    pub elements: ElementRange,
    /// In a recurrence the elements of the step before; none at the first.
    pub before: ElementRange,
    pub tile: usize,
    /// Whether the tile is the first of its chunk.
    pub first_tile: bool,
    pub tiling: &'a BatchTiling,
    pub layout: &'a Layout,
    /// Room for the largest partial of a statistic.
    pub partial: *mut f32,
    /// Room for the widest panel of an absorbed weight.
    pub panel: *mut f32,
}

impl TileCall<'_> {
    /// The first float of an operand.
    #[inline]
    fn base(&self, operand: StridedOperand) -> *mut f32 {
        self.args[operand.arg].cast::<f32>().wrapping_add(operand.column)
    }

    /// An operand's row for one element.
    #[inline]
    fn row(&self, operand: StridedOperand, element: usize) -> *mut f32 {
        self.base(operand).wrapping_add(element * operand.stride)
    }

    /// # Safety
    ///
    /// The arguments are valid for the tile's elements, and the scratch is as large as its fields
    /// say.
    #[inline]
    pub unsafe fn run(&self, op: &PreparedOp) {
        let (begin, end) = self.elements;
        let rows = end - begin;
        match *op {
            PreparedOp::Kernel { function, args } => {
                if begin < end {
                    // SAFETY: the caller vouches for the arguments.
                    unsafe { function(self.args[args..].as_ptr(), begin as u64, end as u64) }
                }
            }
            PreparedOp::Fill { out, width, value } => {
                // SAFETY: elements `begin..end` of the buffer are the caller's.
                unsafe { std::slice::from_raw_parts_mut(self.row(out, begin), rows * width).fill(value) }
            }
            PreparedOp::MatMul { x, w, out, k, n, accumulate } => {
                let m = MatMul {
                    rows,
                    k,
                    n,
                    x: self.row(x, begin),
                    x_stride: x.stride,
                    w: self.base(w),
                    w_stride: w.stride,
                    out: self.row(out, begin),
                    out_stride: out.stride,
                    accumulate,
                };
                // SAFETY: columns and strides were checked against the buffers.
                unsafe { self.kernels.matmul(&m) }
            }
            PreparedOp::Outer { x, g, out, k, n, first } => {
                let o = Outer {
                    rows,
                    k,
                    n,
                    x: self.row(x, begin),
                    x_stride: x.stride,
                    g: self.row(g, begin),
                    g_stride: g.stride,
                    out: self.base(out),
                    out_stride: n,
                    accumulate: !(first && self.first_tile),
                };
                // SAFETY: columns and strides were checked against the buffers.
                unsafe { self.kernels.outer(&o) }
            }
            PreparedOp::Transpose { w, out, k, n } => {
                // SAFETY: both matrices were checked to lie in their buffers.
                unsafe { transpose(self.base(w), w.stride, self.base(out), k, n) }
            }
            PreparedOp::Statistic { statistic, x, out, width } => {
                if rows > 0 {
                    // SAFETY: `x` was checked; `out` and the scratch hold the floats of a partial.
                    unsafe {
                        self.kernels.statistic(statistic, self.row(x, begin), x.stride, rows, width, self.partial);
                        join_partials(statistic, self.base(out), self.partial, width);
                    }
                }
            }
            PreparedOp::Carry { x, out, width } => {
                let (first, carried) = (self.before.0, rows.min(self.before.1 - self.before.0));
                for row in 0..rows {
                    // SAFETY: the schedule was checked: both buffers have these columns at every
                    // element of the tile, and are not the same.
                    unsafe {
                        let out = std::slice::from_raw_parts_mut(self.row(out, begin + row), width);
                        if row < carried {
                            out.copy_from_slice(std::slice::from_raw_parts(self.row(x, first + row), width));
                        } else {
                            out.fill(0.0);
                        }
                    }
                }
            }
            // SAFETY: the schedule was checked: both buffers have these columns at every element of
            // the tile, and are not the same.
            PreparedOp::Unflatten(of) => unsafe { self.each_part(of, |entry, part| (part, entry)) },
            // SAFETY: as above.
            PreparedOp::Flatten(of) => unsafe { self.each_part(of, |entry, part| (entry, part)) },
            // SAFETY: the caller vouches for the arguments and the scratch.
            PreparedOp::AbsorbedMatMul(op) => unsafe { self.absorbed_matmul(op) },
            // SAFETY: the caller vouches for the arguments and the scratch.
            PreparedOp::AbsorbedOuter(op) => unsafe { self.absorbed_outer(op) },
            // SAFETY: the caller vouches for the arguments.
            PreparedOp::SegmentReduce(op) => unsafe { self.segment_reduce(op) },
        }
    }

    /// Copies between the entries of a fixed axis and the parts of the vectors of their samples:
    /// `way` says from which to which.
    ///
    /// # Safety
    ///
    /// Both buffers have the columns at every element, and are not the same.
    unsafe fn each_part(&self, of: FixedEntries, way: impl Fn(*mut f32, *mut f32) -> (*mut f32, *mut f32)) {
        let FixedEntries { entries, samples, size, width } = of;
        let (first, end) = self.elements;
        for sample in first / size..end / size {
            let whole = self.row(samples, sample);
            for part in 0..size {
                let (from, to) = way(self.row(entries, sample * size + part), whole.wrapping_add(part * width));
                // SAFETY: by the caller; a tile has whole samples.
                unsafe { std::ptr::copy_nonoverlapping(from, to, width) }
            }
        }
    }

    /// The tile's first sample, and where its samples' entries begin and the last one's end. The
    /// call is over a sequence.
    fn samples(&self) -> (usize, &[u32]) {
        let (first, end) = self.tiling.range(self.tile, BATCH, self.layout);
        (first, &self.layout.offsets(self.axis)[first..=end])
    }

    /// # Safety
    ///
    /// The arguments are valid for the tile's samples and entries; `panel` has room.
    unsafe fn absorbed_matmul(&self, op: AbsorbedMatMul) {
        let AbsorbedMatMul { x, q, w, transposed, out, e, n } = op;
        let (first, offsets) = self.samples();
        let product = AbsorbedProduct {
            offsets,
            x: self.base(x),
            x_stride: x.stride,
            q: self.row(q, first),
            q_stride: q.stride,
            w: self.base(w),
            transposed,
            e,
            n,
            out: self.base(out),
            out_stride: out.stride,
        };
        // SAFETY: columns, strides and sizes were checked against the buffers.
        unsafe { self.kernels.absorbed_matmul(&product, self.panel) }
    }

    /// # Safety
    ///
    /// The arguments are valid for the tile's samples and entries.
    unsafe fn absorbed_outer(&self, op: AbsorbedOuter) {
        let AbsorbedOuter { x, g, weight, sample, e, n } = op;
        let (first, offsets) = self.samples();
        let gradient = AbsorbedGradient {
            offsets,
            x: self.base(x),
            x_stride: x.stride,
            g: self.base(g),
            g_stride: g.stride,
            e,
            n,
            weight: weight.map(|weight| WeightGradientSums {
                q: self.row(weight.q, first),
                q_stride: weight.q.stride,
                out: self.base(weight.out),
            }),
            sample: sample.map(|sample| VectorGradient {
                w: self.base(sample.w).wrapping_add(e * n),
                out: self.row(sample.out, first),
                out_stride: sample.out.stride,
            }),
        };
        // SAFETY: columns, strides and sizes were checked against the buffers.
        unsafe { self.kernels.absorbed_outer(&gradient) }
    }

    /// Reduces the samples of each request, or what each element of a unique axis stands for, in
    /// their order.
    ///
    /// # Safety
    ///
    /// The arguments are valid for the tile's elements and for what they stand for.
    unsafe fn segment_reduce(&self, op: SegmentReduce) {
        let SegmentReduce { how, x, out, width, from: over } = op;
        let start = how.combine().start();
        let (layout, units) = (self.layout, self.tiling.units(self.tile));
        if layout.axes.unique(self.axis).is_some() {
            let unique = layout.unique(self.axis);
            for g in units.0..units.1 {
                let total = self.row(out, g);
                let members = &unique.members[unique.begins[g] as usize..unique.begins[g + 1] as usize];
                // SAFETY: the schedule was checked: both buffers have these columns at every
                // element.
                unsafe {
                    std::slice::from_raw_parts_mut(total, width).fill(start);
                    for &i in members {
                        self.join(how, total, self.row(x, i as usize), width);
                    }
                }
            }
            return;
        }
        let sequence = (over != BATCH).then_some(over);
        for request in units.0..units.1 {
            let samples = layout.requests()[request] as usize..layout.requests()[request + 1] as usize;
            let (first, rows) = match sequence {
                None => (request, 1),
                Some(_) => {
                    let entries = layout.offsets(self.axis);
                    (entries[request] as usize, (entries[request + 1] - entries[request]) as usize)
                }
            };
            for row in 0..rows {
                // SAFETY: the schedule was checked: the buffer has these columns at every element.
                unsafe { std::slice::from_raw_parts_mut(self.row(out, first + row), width).fill(start) };
            }
            for sample in samples {
                let begin = sequence.map_or(sample, |s| layout.offsets(s)[sample] as usize);
                for row in 0..rows {
                    // SAFETY: the schedule was checked: both buffers have these columns at every
                    // element, and a sample has the entries of its request.
                    unsafe { self.join(how, self.row(out, first + row), self.row(x, begin + row), width) };
                }
            }
        }
    }

    /// Joins the row at `x` to the one at `total`.
    ///
    /// # Safety
    ///
    /// Both have `width` columns, and they are not the same row.
    #[inline]
    unsafe fn join(&self, how: SegmentReduction, total: *mut f32, x: *const f32, width: usize) {
        // SAFETY: the caller's rows have these columns and do not overlap.
        unsafe {
            match how {
                SegmentReduction::Sum => self.kernels.add(total, x, width),
                SegmentReduction::Max => combine(
                    how.combine(),
                    std::slice::from_raw_parts_mut(total, width),
                    std::slice::from_raw_parts(x, width),
                ),
            }
        }
    }
}
