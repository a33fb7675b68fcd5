//! What a call of a schedule does, and the one description of what each operation reads, writes and
//! costs. Planning, both back ends, profiles and validation all read it here.

use super::{BufferId, Call, Combine, KernelArg, KernelId, Statistic, View};
use crate::Signature;
use serde::{Deserialize, Serialize};

/// Functions that generated code calls, all on f64: `extern "C" fn(f64) -> f64`, `Pow` with two
/// arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MathFunction {
    /// `e^x`
    Exp,
    /// The natural logarithm.
    Log,
    /// The hyperbolic tangent.
    Tanh,
    /// `log(1 + x)`
    Log1p,
    /// `x^y`
    Pow,
}

impl MathFunction {
    /// Address of the function in this process, for generated code to call.
    pub fn address(self) -> *mut u8 {
        extern "C" fn exp(x: f64) -> f64 {
            x.exp()
        }
        extern "C" fn log(x: f64) -> f64 {
            x.ln()
        }
        extern "C" fn tanh(x: f64) -> f64 {
            x.tanh()
        }
        extern "C" fn log1p(x: f64) -> f64 {
            x.ln_1p()
        }
        extern "C" fn pow(x: f64, y: f64) -> f64 {
            x.powf(y)
        }
        match self {
            MathFunction::Exp => exp as *mut u8,
            MathFunction::Log => log as *mut u8,
            MathFunction::Tanh => tanh as *mut u8,
            MathFunction::Log1p => log1p as *mut u8,
            MathFunction::Pow => pow as *mut u8,
        }
    }
}

/// What a call does for the elements of its axis that lie in the tile. The documentation of each
/// variant names its fields.
#[allow(missing_docs, reason = "each variant's documentation names its fields")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Operation {
    /// Generated code.
    Kernel { kernel: KernelId, args: Vec<KernelArg> },
    /// Sets the call's elements of a buffer.
    Fill { buffer: BufferId, value: f32 },
    /// `out_i = x_i W` or `out_i += x_i W`: `x` has `k` columns, `w` is global and `k x n`,
    /// row-major with row stride `w_stride`, `out` has `n` columns.
    MatMul { x: View, w: View, w_stride: u32, out: View, k: u32, n: u32, accumulate: bool },
    /// `out_i = x_i (W1 + diag(q_s) W2)`, `s` being entry `i`'s sample: `x` has `e` columns, `out`
    /// `n`, `w` is global and holds W1 over W2, `2 e x n`. Or `transposed`, `out_i = x_i (W1 +
    /// diag(q_s) W2)^T`: `x` has `n` columns, `out` `e`, `w` is `n x 2 e`. `q` is on the samples.
    AbsorbedMatMul { x: View, q: View, w: View, transposed: bool, out: View, e: u32, n: u32 },
    /// With `G_s` the sum of `x_i^T g_i` over the entries of sample `s` (`e x n`): `weight`,
    /// (q, partial `2 e x n`), gains G_s over diag(q_s) G_s for every sample; `sample`, (w as W1
    /// over W2, out on the samples), becomes the sum of `G_s * W2` over each row.
    AbsorbedOuter { x: View, g: View, weight: Option<(View, View)>, sample: Option<(View, View)>, e: u32, n: u32 },
    /// `out += sum_i x_i^T g_i`: `out` is a partial, `k x n` row-major.
    Outer { x: View, g: View, out: View, k: u32, n: u32 },
    /// On the global axis: `out = w^T`; `w` is `k x n` with row stride `w_stride`, `out` is `n x
    /// k`.
    Transpose { w: View, w_stride: u32, out: View, k: u32, n: u32 },
    /// Reduces, in order, the elements that share one element of the call's axis; a sum of them is
    /// meant below. Over requests: `out_r` is the sum of `x_s` over the samples `s` of request `r`.
    /// Over the entries of a common sequence: `out_e` is the sum of `x` at this entry over the
    /// samples of its request. Over a unique axis: `out_g` is the sum of `x_i` over the elements
    /// `i` that `g` stands for. `width` columns; `x` is on [`super::AxisTree::segment_source`].
    SegmentReduce { how: SegmentReduction, x: View, out: View, width: u32 },
    /// In a recurrence: `out_i = x_j`, `j` being the entry before `i` in its list, or behind it
    /// where the recurrence runs backward; 0 where there is none. `width` columns.
    Carry { x: View, out: View, width: u32 },
    /// Over a fixed axis of `size` entries: `out` at entry `j` of a sample is columns
    /// `j width..(j + 1) width` of `x` at the sample. `out` has `width` columns, `x` is on the
    /// samples.
    Unflatten { x: View, out: View, size: u32, width: u32 },
    /// The other way: `out`, on the samples, becomes the vectors of the sample's entries, one
    /// behind the other.
    Flatten { x: View, out: View, size: u32, width: u32 },
    /// Joins the statistic of `x` (`width` columns) over the call's elements to the partial `out`,
    /// which is all of a buffer.
    Statistic { statistic: Statistic, x: View, out: BufferId, width: u32 },
}

/// How [`Operation::SegmentReduce`] joins the elements of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SegmentReduction {
    /// Added up.
    Sum,
    /// By column, the greatest.
    Max,
}

impl SegmentReduction {
    /// How two elements of a segment become one.
    pub fn combine(self) -> Combine {
        match self {
            SegmentReduction::Sum => Combine::Sum,
            SegmentReduction::Max => Combine::Max,
        }
    }
}

/// Whether an operand is read, written or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// Read, never written.
    Read,
    /// Written, whatever was there.
    Write,
    /// Added to what is there.
    ReadWrite,
}

/// Which rows of a buffer an operation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One row per element of the call's axis.
    Elements,
    /// One row per sample, in a call over a sequence or a fixed axis.
    Samples,
    /// One row per element that is summed into the call's axis:
    /// [`super::AxisTree::segment_source`].
    Summed,
    /// A matrix of so many rows in the one element of a global buffer, `stride` floats from one row
    /// to the next.
    Matrix {
        /// Rows of the matrix.
        rows: u32,
        /// Floats from one row to the next.
        stride: u32,
    },
    /// A dense matrix of so many rows in a partial sum of the phase.
    Partial {
        /// Rows of the matrix.
        rows: u32,
    },
}

/// The part of a buffer that an operation reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferUse {
    /// The buffer and the first column.
    pub view: View,
    /// Which rows.
    pub extent: Extent,
    /// Columns from the view's first on; `None` for all of the buffer's.
    pub columns: Option<u32>,
    /// Whether it is read or written.
    pub access: AccessKind,
}

/// Floating-point operations per element (of products and statistics only), and the bytes of rows
/// that are read and written per element if nothing is cached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations per element.
    pub flops: f64,
    /// Bytes read and written per element.
    pub bytes: f64,
}

/// How a back end multiplies by an absorbed weight, `W1 + diag(q) W2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsorbedWeight {
    /// It is made once per sample, and each entry is multiplied by it.
    PerSample,
    /// Each entry is multiplied by both halves of `W1` over `W2`.
    BothHalves,
}

impl BufferUse {
    fn new(view: View, extent: Extent, columns: u32, access: AccessKind) -> Self {
        BufferUse { view, extent, columns: Some(columns), access }
    }
}

impl Operation {
    /// What the operation reads and writes, in the order of its arguments. Empty for a kernel,
    /// whose arguments are described by its [`Signature`].
    pub fn uses(&self) -> Vec<BufferUse> {
        use AccessKind::{Read, ReadWrite, Write};
        use Extent::{Elements, Matrix, Partial, Samples, Summed};
        let new = BufferUse::new;
        match *self {
            Operation::Kernel { .. } => Vec::new(),
            Operation::Fill { buffer, .. } => {
                let view = View { buffer, column: 0 };
                vec![BufferUse { view, extent: Elements, columns: None, access: Write }]
            }
            Operation::MatMul { x, w, w_stride, out, k, n, accumulate } => vec![
                new(x, Elements, k, Read),
                new(w, Matrix { rows: k, stride: w_stride }, n, Read),
                new(out, Elements, n, if accumulate { ReadWrite } else { Write }),
            ],
            Operation::AbsorbedMatMul { x, q, w, transposed, out, e, n } => {
                let (from, to) = if transposed { (n, e) } else { (e, n) };
                let (rows, columns) = if transposed { (n, 2 * e) } else { (2 * e, n) };
                vec![
                    new(x, Elements, from, Read),
                    new(q, Samples, e, Read),
                    new(w, Matrix { rows, stride: columns }, columns, Read),
                    new(out, Elements, to, Write),
                ]
            }
            Operation::AbsorbedOuter { x, g, weight, sample, e, n } => {
                let mut uses = vec![new(x, Elements, e, Read), new(g, Elements, n, Read)];
                if let Some((q, out)) = weight {
                    uses.push(new(q, Samples, e, Read));
                    uses.push(new(out, Partial { rows: 2 * e }, n, ReadWrite));
                }
                if let Some((w, out)) = sample {
                    uses.push(new(w, Matrix { rows: 2 * e, stride: n }, n, Read));
                    uses.push(new(out, Samples, e, Write));
                }
                uses
            }
            Operation::Outer { x, g, out, k, n } => {
                vec![new(x, Elements, k, Read), new(g, Elements, n, Read), new(out, Partial { rows: k }, n, ReadWrite)]
            }
            Operation::Transpose { w, w_stride, out, k, n } => vec![
                new(w, Matrix { rows: k, stride: w_stride }, n, Read),
                new(out, Matrix { rows: n, stride: k }, k, Write),
            ],
            Operation::SegmentReduce { how: _, x, out, width } => {
                vec![new(x, Summed, width, Read), new(out, Elements, width, Write)]
            }
            // Of `x` other elements of the call's axis, which the tile has as well.
            Operation::Carry { x, out, width } => {
                vec![new(x, Elements, width, Read), new(out, Elements, width, Write)]
            }
            Operation::Unflatten { x, out, size, width } => {
                vec![new(x, Samples, size.saturating_mul(width), Read), new(out, Elements, width, Write)]
            }
            Operation::Flatten { x, out, size, width } => {
                vec![new(x, Elements, width, Read), new(out, Samples, size.saturating_mul(width), Write)]
            }
            Operation::Statistic { statistic, x, out, width } => {
                let partial = View { buffer: out, column: 0 };
                vec![
                    new(x, Elements, width, Read),
                    new(partial, Partial { rows: 1 }, statistic.partial_width(width), ReadWrite),
                ]
            }
        }
    }

    /// The arguments that a back end resolves to addresses, in order.
    pub fn args(&self) -> Vec<KernelArg> {
        match self {
            Operation::Kernel { args, .. } => args.clone(),
            Operation::Fill { .. }
            | Operation::MatMul { .. }
            | Operation::AbsorbedMatMul { .. }
            | Operation::AbsorbedOuter { .. }
            | Operation::Outer { .. }
            | Operation::Transpose { .. }
            | Operation::SegmentReduce { .. }
            | Operation::Carry { .. }
            | Operation::Unflatten { .. }
            | Operation::Flatten { .. }
            | Operation::Statistic { .. } => self.uses().iter().map(|u| KernelArg::Buffer(u.view.buffer)).collect(),
        }
    }

    /// Every buffer that the operation reads or writes.
    pub fn buffers(&self) -> Vec<BufferId> {
        self.args().into_iter().filter_map(KernelArg::buffer).collect()
    }

    /// The buffers that it may read. A kernel may read each of its arguments.
    pub fn reads(&self) -> Vec<BufferId> {
        if let Operation::Kernel { .. } = self {
            return self.buffers();
        }
        self.uses().iter().filter(|u| u.access != AccessKind::Write).map(|u| u.view.buffer).collect()
    }

    /// The buffers that it writes; `signature` gives that of a kernel.
    pub fn writes(&self, signature: impl FnOnce(KernelId) -> Signature) -> Vec<BufferId> {
        let Operation::Kernel { kernel, args } = self else {
            return self.uses().iter().filter(|u| u.access != AccessKind::Read).map(|u| u.view.buffer).collect();
        };
        let written = signature(*kernel).arrays.into_iter().filter(|array| array.writes);
        written.filter_map(|array| args.get(array.argument as usize).copied()?.buffer()).collect()
    }
}

impl Call {
    /// What the call does per element. `width` gives the width of a buffer that has one row per
    /// element of the call's axis, and `None` for any other.
    pub fn work(&self, width: impl Fn(BufferId) -> Option<u32>, absorbed: AbsorbedWeight) -> Work {
        let product = |k: u32, n: u32| 2.0 * f64::from(k) * f64::from(n);
        let flops = match self.op {
            Operation::Kernel { .. }
            | Operation::Fill { .. }
            | Operation::Transpose { .. }
            | Operation::SegmentReduce { .. }
            | Operation::Carry { .. }
            | Operation::Unflatten { .. }
            | Operation::Flatten { .. } => 0.0,
            Operation::MatMul { k, n, .. } | Operation::Outer { k, n, .. } => product(k, n),
            Operation::AbsorbedMatMul { e, n, .. } => match absorbed {
                AbsorbedWeight::PerSample => product(e, n),
                AbsorbedWeight::BothHalves => product(2 * e, n),
            },
            Operation::AbsorbedOuter { weight, sample, e, n, .. } => match absorbed {
                AbsorbedWeight::PerSample => product(e, n),
                AbsorbedWeight::BothHalves => {
                    (if weight.is_some() { product(2 * e, n) } else { 0.0 })
                        + (if sample.is_some() { product(e, n) } else { 0.0 })
                }
            },
            Operation::Statistic { statistic, width, .. } => statistic.description().flops * f64::from(width),
        };
        let floats: f64 = match self.op {
            Operation::Kernel { .. } | Operation::Fill { .. } => {
                self.op.buffers().into_iter().filter_map(width).map(f64::from).sum()
            }
            Operation::Transpose { k, n, .. } => product(k, n),
            Operation::MatMul { .. }
            | Operation::AbsorbedMatMul { .. }
            | Operation::AbsorbedOuter { .. }
            | Operation::Outer { .. }
            | Operation::SegmentReduce { .. }
            | Operation::Carry { .. }
            | Operation::Unflatten { .. }
            | Operation::Flatten { .. }
            | Operation::Statistic { .. } => {
                let rows = self.op.uses().into_iter().filter(|u| u.extent == Extent::Elements);
                rows.filter_map(|u| u.columns).map(f64::from).sum()
            }
        };
        Work { flops, bytes: 4.0 * floats }
    }
}
