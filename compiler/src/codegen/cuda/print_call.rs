//! The C++ text of a kernel's calls.

use super::call::{CopyJoin, DeviceCall, LeftOperand, Matrix, ProductOutput, RightOperand, SampleFactor, Segments};
use super::kernel_ir::{Accumulation, ArrayView, KernelIr};
use super::print::{count, number};
use din_program::schedule::BATCH;

/// `din_fill_grid<80>(b5, 0.0f)`
pub fn call(kernel: &KernelIr, call: &DeviceCall) -> String {
    CallPrinter { kernel }.call(call)
}

struct CallPrinter<'a> {
    kernel: &'a KernelIr,
}

impl CallPrinter<'_> {
    fn name(&self, view: &ArrayView) -> &str {
        &self.kernel.array(view.array).expect("verified kernels name arrays that exist").name
    }

    /// `b5 + 16u`
    fn pointer(&self, view: &ArrayView) -> String {
        let name = self.name(view);
        if view.column == 0 { name.to_string() } else { format!("{name} + {}u", view.column) }
    }

    /// `DinRows<84, 4>{tile5}`
    fn operand(&self, ty: &str, m: &Matrix) -> String {
        format!("{ty}<{}, {}>{{{}}}", m.stride, m.vector_width(), self.pointer(&m.view))
    }

    fn left(&self, left: &LeftOperand) -> String {
        match left {
            LeftOperand::Rows(x) => self.operand("DinRows", x),
            LeftOperand::TwoParts(x, z) => {
                let vector = x.vector_width().min(z.vector_width());
                let (to_x, to_z) = (self.pointer(&x.view), self.pointer(&z.view));
                format!("DinTwoParts<{}, {}, {vector}>{{{to_x}, {to_z}}}", x.stride, z.stride)
            }
        }
    }

    fn right(&self, right: &RightOperand, left: &LeftOperand, k: u32) -> String {
        match (right, left) {
            (RightOperand::Rows(w), LeftOperand::Rows(_)) => self.operand("DinMatrix", w),
            (RightOperand::Rows(w), LeftOperand::TwoParts(..)) => {
                format!("DinMatrix<{}, {}, {k}>{{{}}}", w.stride, w.vector_width(), self.pointer(&w.view))
            }
            (RightOperand::Transposed(w), _) => self.operand("DinTransposed", w),
        }
    }

    /// `b7, sample2, first1`
    fn factor(&self, factor: &SampleFactor) -> String {
        let (values, sample) = (self.pointer(&factor.values.view), self.name(&factor.sample));
        format!("{values}, {sample}, first{}", BATCH.0)
    }

    fn output(&self, output: &ProductOutput) -> String {
        match output {
            ProductOutput::Store(out) => self.operand("DinStore", out),
            ProductOutput::Accumulate(out) => self.operand("DinAccumulate", out),
            ProductOutput::StoreFirstTile(out) => {
                let to = self.pointer(&out.view);
                format!("DinStoreFirst<{}, {}>{{{to}, first_tile}}", out.stride, out.vector_width())
            }
            ProductOutput::AccumulateTimes { out, factor } => {
                let vector = out.vector_width().min(factor.values.vector_width());
                let (to, times) = (self.pointer(&out.view), self.factor(factor));
                format!("DinAccumulateTimes<{}, {}, {vector}>{{{to}, {times}}}", out.stride, factor.values.stride)
            }
            ProductOutput::StoreWith { out, addend, factor } => {
                let vectors = [out, addend, &factor.values].map(Matrix::vector_width);
                let vector = vectors[0].min(vectors[1]).min(vectors[2]);
                let (to, more, times) = (self.pointer(&out.view), self.pointer(&addend.view), self.factor(factor));
                let strides = format!("{}, {}, {}", out.stride, addend.stride, factor.values.stride);
                format!("DinStoreWith<{strides}, {vector}>{{{to}, {more}, {times}}}")
            }
        }
    }

    fn call(&self, call: &DeviceCall) -> String {
        let name = call.function();
        match call {
            DeviceCall::FillGrid { out, value } => {
                format!("{name}<{}>({}, {})", out.columns, self.pointer(out), number(f64::from(*value), false))
            }
            DeviceCall::FillRows { axis, out, value } => {
                let (to, value) = (self.pointer(&out.view), number(f64::from(*value), false));
                format!("{name}<{}, {}>({}, {to}, {value})", out.view.columns, out.stride, count(*axis))
            }
            DeviceCall::Product { axis, k, n, left, right, output, tile } => {
                let (a, b, c) = (self.left(left), self.right(right, left, *k), self.output(output));
                format!("{name}<{k}, {n}, {}, {}>({}, {a}, {b}, {c})", tile.rows, tile.columns, count(*axis))
            }
            DeviceCall::Outer { axis, m, n, left, right, output, tile } => {
                let (a, b) = (self.operand("DinMatrix", left), self.operand("DinMatrix", right));
                let c = self.output(output);
                format!("{name}<{m}, {n}, {}, {}>({}, {a}, {b}, {c})", tile.rows, tile.columns, count(*axis))
            }
            DeviceCall::TimesSamples { axis, width, x, factor, out } => {
                let strides = format!("{}, {}, {}", x.stride, factor.values.stride, out.stride);
                let (from, times, to) = (self.pointer(&x.view), self.factor(factor), self.pointer(&out.view));
                format!("{name}<{width}, {strides}>({}, {from}, {times}, {to})", count(*axis))
            }
            DeviceCall::SumEntries { axis, width, products, x, out } => {
                let (samples, d) = (count(BATCH), axis.0);
                let strides = format!("{}, {}, {}", products.stride, x.stride, out.stride);
                let [products, x, out] = [products, x, out].map(|m| self.pointer(&m.view));
                format!("{name}<{width}, {strides}>({samples}, ends{d}, first{d}, {products}, {x}, {out})")
            }
            DeviceCall::Unflatten { axis: _, size, width, x, out }
            | DeviceCall::Flatten { axis: _, size, width, x, out } => {
                let (from, to) = (self.pointer(&x.view), self.pointer(&out.view));
                format!("{name}<{size}, {width}, {}, {}>({}, {from}, {to})", x.stride, out.stride, count(BATCH))
            }
            DeviceCall::Carry { axis, width, x, out } => {
                let d = axis.0;
                let (from, to) = (self.pointer(&x.view), self.pointer(&out.view));
                let sizes = format!("{width}, {}, {}", x.stride, out.stride);
                format!("{name}<{sizes}>({}, carried{d}, prior_{from}, {to})", count(*axis))
            }
            DeviceCall::Transpose { k, n, w, out } => {
                format!("{name}<{k}, {n}, {}>({}, {})", w.stride, self.pointer(&w.view), self.pointer(&out.view))
            }
            DeviceCall::SegmentReduce { how, axis, width, segments, x, sums, out } => {
                let segments: Vec<&str> = match segments {
                    Segments::Unique { begins, members } => vec![self.name(begins), self.name(members)],
                    Segments::Samples { samples } => vec![self.name(samples)],
                    Segments::Pairs { samples, request, entries, pairs } => {
                        [samples, request, entries, pairs].map(|view| self.name(view)).to_vec()
                    }
                };
                let (from, to) = (self.pointer(&x.view), self.pointer(&out.view));
                let arguments = format!("{}, first{}, {}", count(*axis), axis.0, segments.join(", "));
                let sizes = format!("{}, {width}, {}, {}", accumulation(*how), x.stride, out.stride);
                format!("{name}<{sizes}>({arguments}, {from}, {}, {to})", self.name(sums))
            }
            DeviceCall::Statistic { axis, width, groups, x, sums, total, .. } => {
                let (from, sums, total) = (self.pointer(&x.view), self.name(sums), self.pointer(total));
                format!("{name}<{width}, {}, {groups}>({}, {from}, {sums}, {total})", x.stride, count(*axis))
            }
            DeviceCall::JoinGroups { width, groups, how, sums, out } => {
                let how = accumulation(*how);
                let (from, to) = (self.name(sums), self.name(out));
                format!("{name}<{width}, {groups}, {how}>({from} + {}u, {to} + {}u)", sums.column, out.column)
            }
            DeviceCall::JoinCopies { how, width, stride, first_set, copies, sums, out } => {
                let plane = match how {
                    CopyJoin::Sum | CopyJoin::Max => String::new(),
                    CopyJoin::Statistic { plane, .. } => format!(", {plane}"),
                };
                let (from, sums, to) = (self.name(copies), self.name(sums), self.name(out));
                let sizes = format!("{width}, {stride}, {first_set}{plane}");
                format!("{name}<{sizes}>(chunks, {from} + {}u, {sums}, {to})", copies.column)
            }
        }
    }
}

/// The name that the prelude has for it.
fn accumulation(how: Accumulation) -> &'static str {
    match how {
        Accumulation::Add => "DinAdd",
        Accumulation::Max => "DinMax",
    }
}
