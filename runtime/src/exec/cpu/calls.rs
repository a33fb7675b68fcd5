//! The operations of a call for the elements of one tile.

use super::prepare::{AbsorbedMatMul, AbsorbedOuter, PreparedOp, SegmentSum, StridedOperand};
use super::tiling::BatchTiling;
use crate::exec::common::{ElementRange, Layout};
use crate::kernels::{MatMul, Microkernels, Outer, join_partials, transpose};
use din_program::schedule::{AxisId, BATCH};

/// One call for one tile.
pub(super) struct TileCall<'a> {
    pub kernels: Microkernels,
    /// Addresses of the phase's arguments.
    pub args: &'a [*mut u8],
    pub axis: AxisId,
    /// The tile's elements of the axis.
    pub elements: ElementRange,
    pub tile: usize,
    /// Whether the tile is the first of its chunk.
    pub first_tile: bool,
    pub tiling: &'a BatchTiling,
    pub layout: &'a Layout,
    /// Room for the largest partial of a statistic.
    pub partial: *mut f32,
    /// Room for the largest absorbed weight.
    pub matrix: *mut f32,
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
            // SAFETY: the caller vouches for the arguments and the scratch.
            PreparedOp::AbsorbedMatMul(op) => unsafe { self.absorbed_matmul(op) },
            // SAFETY: the caller vouches for the arguments and the scratch.
            PreparedOp::AbsorbedOuter(op) => unsafe { self.absorbed_outer(op) },
            // SAFETY: the caller vouches for the arguments.
            PreparedOp::SegmentSum(op) => unsafe { self.segment_sum(op) },
        }
    }

    /// The tile's samples, each with its first entry and their number. The call is over a sequence.
    fn samples(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (first, end) = self.tiling.range(self.tile, BATCH, self.layout);
        let entries = &self.layout.offsets(self.axis)[first..=end];
        entries.windows(2).enumerate().map(move |(k, e)| (first + k, e[0] as usize, (e[1] - e[0]) as usize))
    }

    /// # Safety
    ///
    /// The arguments are valid for the tile's samples and entries; `matrix` has room for `e x n`.
    unsafe fn absorbed_matmul(&self, op: AbsorbedMatMul) {
        let AbsorbedMatMul { x, q, w, transposed, out, e, n } = op;
        let (from, to) = if transposed { (n, e) } else { (e, n) };
        for (sample, begin, rows) in self.samples().filter(|&(_, _, rows)| rows > 0) {
            let m = MatMul {
                rows,
                k: from,
                n: to,
                x: self.row(x, begin),
                x_stride: x.stride,
                w: self.matrix,
                w_stride: to,
                out: self.row(out, begin),
                out_stride: out.stride,
                accumulate: false,
            };
            // SAFETY: columns, strides and sizes were checked against the buffers; the matrix is `e
            // x n`.
            unsafe {
                self.kernels.absorb(self.base(w), self.row(q, sample), e, n, transposed, self.matrix);
                self.kernels.matmul(&m);
            }
        }
    }

    /// # Safety
    ///
    /// The arguments are valid for the tile's samples and entries; `matrix` has room for `e x n`.
    unsafe fn absorbed_outer(&self, op: AbsorbedOuter) {
        let AbsorbedOuter { x, g, weight, sample: sample_gradient, e, n } = op;
        for (sample, begin, rows) in self.samples() {
            let o = Outer {
                rows,
                k: e,
                n,
                x: self.row(x, begin),
                x_stride: x.stride,
                g: self.row(g, begin),
                g_stride: g.stride,
                out: self.matrix,
                out_stride: n,
                accumulate: false,
            };
            let weight = weight.map(|weight| (self.row(weight.q, sample).cast_const(), self.base(weight.out)));
            let towards_q = sample_gradient.map(|gradient| {
                let second_half = self.base(gradient.w).wrapping_add(e * n);
                (second_half.cast_const(), self.row(gradient.out, sample))
            });
            // SAFETY: columns, strides and sizes were checked against the buffers; the matrix is `e
            // x n`.
            unsafe {
                if rows == 0 {
                    if let Some((_, out)) = towards_q {
                        std::slice::from_raw_parts_mut(out, e).fill(0.0);
                    }
                    continue;
                }
                self.kernels.outer(&o);
                self.kernels.absorb_backward(self.matrix, e, n, weight, towards_q);
            }
        }
    }

    /// Sums over the samples of each request, or over what each element of a unique axis stands
    /// for, in their order.
    ///
    /// # Safety
    ///
    /// The arguments are valid for the tile's elements and for what they stand for.
    unsafe fn segment_sum(&self, op: SegmentSum) {
        let SegmentSum { x, out, width, from: over } = op;
        let (layout, units) = (self.layout, self.tiling.units(self.tile));
        if layout.axes.unique(self.axis).is_some() {
            let unique = layout.unique(self.axis);
            for g in units.0..units.1 {
                let total = self.row(out, g);
                let members = &unique.members[unique.begins[g] as usize..unique.begins[g + 1] as usize];
                // SAFETY: the schedule was checked: both buffers have these columns at every
                // element.
                unsafe {
                    std::slice::from_raw_parts_mut(total, width).fill(0.0);
                    for &i in members {
                        self.kernels.add(total, self.row(x, i as usize), width);
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
                unsafe { std::slice::from_raw_parts_mut(self.row(out, first + row), width).fill(0.0) };
            }
            for sample in samples {
                let begin = sequence.map_or(sample, |s| layout.offsets(s)[sample] as usize);
                for row in 0..rows {
                    // SAFETY: the schedule was checked: both buffers have these columns at every
                    // element, and a sample has the entries of its request.
                    unsafe { self.kernels.add(self.row(out, first + row), self.row(x, begin + row), width) };
                }
            }
        }
    }
}
