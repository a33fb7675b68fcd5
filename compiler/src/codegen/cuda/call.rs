//! The calls of a kernel: functions of the CUDA sources (`*.cuh`) that all threads of a block call
//! together, with their operands as arrays and their sizes as numbers. `verify` checks that every
//! operand lies inside its array, `print` writes the C++ text.

use super::kernel_ir::{Accumulation, ArrayId, ArrayView, Rows};
use super::statistic::device_statistic;
use super::thread_tile::ThreadTile;
use din_program::schedule::{AxisId, BATCH, GLOBAL, Statistic};

/// A row-major matrix in an array, from the first column of the view on. Over the elements of a
/// tile (`Rows::Local`) it has one row per element; in an array of one row its rows lie behind each
/// other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix {
    pub view: ArrayView,
    /// Values from one row to the next.
    pub stride: u32,
}

impl Matrix {
    /// How many values of a row are loaded at once: all arrays begin at a multiple of 16 bytes.
    pub fn vector_width(&self) -> u32 {
        if self.stride.is_multiple_of(4) && self.view.column.is_multiple_of(4) { 4 } else { 1 }
    }

    /// The matrix of `rows` x `columns` values that begins `offset` values behind this one.
    pub fn part(&self, offset: u32, rows: u32, columns: u32) -> Matrix {
        let column = self.view.column.saturating_add(offset);
        let columns = flat_columns(rows, columns, self.stride);
        Matrix { view: ArrayView { column, columns, ..self.view }, ..*self }
    }
}

/// Values from the first to the last of a matrix in an array of one row.
pub fn flat_columns(rows: u32, columns: u32, stride: u32) -> u32 {
    rows.saturating_sub(1).saturating_mul(stride).saturating_add(columns)
}

/// The left operand of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LeftOperand {
    Rows(Matrix),
    /// Two operands with one row per element each: the product is the sum of both products.
    TwoParts(Matrix, Matrix),
}

/// The right operand of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RightOperand {
    /// K x N. Of a left operand of two parts, the second part's matrix lies below the first.
    Rows(Matrix),
    /// The transpose of this N x K matrix.
    Transposed(Matrix),
}

/// The values of the sample that an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleFactor {
    pub values: Matrix,
    /// The sample of each entry.
    pub sample: ArrayView,
}

/// What a product does with its result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProductOutput {
    Store(Matrix),
    Accumulate(Matrix),
    /// Stores in the block's first tile and accumulates in the others.
    StoreFirstTile(Matrix),
    /// `out += result * factor`
    AccumulateTimes {
        out: Matrix,
        factor: SampleFactor,
    },
    /// `out = result + addend * factor`
    StoreWith {
        out: Matrix,
        addend: Matrix,
        factor: SampleFactor,
    },
}

impl ProductOutput {
    pub fn out(&self) -> Matrix {
        match *self {
            Self::Store(out) | Self::Accumulate(out) | Self::StoreFirstTile(out) => out,
            Self::AccumulateTimes { out, .. } | Self::StoreWith { out, .. } => out,
        }
    }
}

/// Which elements a segment sum adds for an element of the tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Segments {
    /// The members of an element of a unique axis.
    Unique { begins: ArrayView, members: ArrayView },
    /// The samples of a request.
    Samples { samples: ArrayView },
    /// The pairs of a request's entry with the request's samples.
    Pairs { samples: ArrayView, request: ArrayView, entries: ArrayView, pairs: ArrayView },
}

impl Segments {
    fn views(&self) -> Vec<ArrayView> {
        match *self {
            Self::Unique { begins, members } => vec![begins, members],
            Self::Samples { samples } => vec![samples],
            Self::Pairs { samples, request, entries, pairs } => vec![samples, request, entries, pairs],
        }
    }
}

/// How the chunks' copies of partial sums are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CopyJoin {
    Sum,
    Max,
    /// `plane` values of shared memory for each plane of the statistic.
    Statistic {
        statistic: Statistic,
        plane: u32,
    },
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceCall {
    /// The blocks of the grid share the columns of one element.
    FillGrid {
        out: ArrayView,
        value: f32,
    },
    FillRows {
        axis: AxisId,
        out: Matrix,
        value: f32,
    },
    /// `rows` x K by K x N, one row per element of the axis.
    Product {
        axis: AxisId,
        k: u32,
        n: u32,
        left: LeftOperand,
        right: RightOperand,
        output: ProductOutput,
        tile: ThreadTile,
    },
    /// The sum over the elements of the axis of the outer products of their rows, M x N.
    Outer {
        axis: AxisId,
        m: u32,
        n: u32,
        left: Matrix,
        right: Matrix,
        output: ProductOutput,
        tile: ThreadTile,
    },
    /// `out = x * factor`, one row per entry.
    TimesSamples {
        axis: AxisId,
        width: u32,
        x: Matrix,
        factor: SampleFactor,
        out: Matrix,
    },
    /// `out` of a sample: the sum over its entries of `products * x`.
    SumEntries {
        axis: AxisId,
        width: u32,
        products: Matrix,
        x: Matrix,
        out: Matrix,
    },
    /// The `size` parts of a sample's row, of `width` values each, to the rows of its entries on a
    /// fixed axis.
    Unflatten {
        axis: AxisId,
        size: u32,
        width: u32,
        x: Matrix,
        out: Matrix,
    },
    /// The other way.
    Flatten {
        axis: AxisId,
        size: u32,
        width: u32,
        x: Matrix,
        out: Matrix,
    },
    /// `out` of an entry: what `x` has for the entry of its list in the step before; 0 in the
    /// first.
    Carry {
        axis: AxisId,
        width: u32,
        x: Matrix,
        out: Matrix,
    },
    /// `out = w^T`; `w` is K x N.
    Transpose {
        k: u32,
        n: u32,
        w: Matrix,
        out: Matrix,
    },
    /// `sums` is shared memory of one value per thread.
    SegmentReduce {
        how: Accumulation,
        axis: AxisId,
        width: u32,
        segments: Segments,
        x: Matrix,
        sums: ArrayView,
        out: Matrix,
    },
    /// Joins the statistic of the rows of `x` to the partial in `total`; `groups` threads per
    /// column. `sums` is shared memory of a few values per thread. Behind its last barrier it
    /// may write `total` alone.
    Statistic {
        statistic: Statistic,
        axis: AxisId,
        width: u32,
        groups: u32,
        x: Matrix,
        sums: ArrayView,
        total: ArrayView,
    },
    /// Joins the values of `groups` groups of threads with what is in `out`.
    JoinGroups {
        width: u32,
        groups: u32,
        how: Accumulation,
        sums: ArrayView,
        out: ArrayView,
    },
    /// Joins copies that lie `stride` values apart; `first_set` sets of columns precede it in the
    /// launch.
    JoinCopies {
        how: CopyJoin,
        width: u32,
        stride: u32,
        first_set: u32,
        copies: ArrayView,
        sums: ArrayView,
        out: ArrayView,
    },
}

/// An operand with what a call needs of it: `rows` of the array, and this many values from the
/// view's first column on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operand {
    pub view: ArrayView,
    pub rows: Rows,
    pub columns: u32,
    /// The distance of rows that the call assumes, where there is more than one.
    pub stride: Option<u32>,
    /// Whether the array holds indices rather than values.
    pub index: bool,
}

impl Operand {
    /// All of a view.
    fn whole(view: ArrayView) -> Operand {
        Operand { view, rows: view.rows, columns: view.columns, stride: None, index: false }
    }

    /// `columns` values for each element of an axis in the tile.
    fn per_element(matrix: Matrix, axis: AxisId, columns: u32) -> Operand {
        let (rows, stride) = if axis == GLOBAL { (Rows::One, None) } else { (Rows::Local(axis), Some(matrix.stride)) };
        Operand { view: matrix.view, rows, columns, stride, index: false }
    }

    /// `rows` x `columns` values in an array of one row.
    fn flat(matrix: Matrix, rows: u32, columns: u32) -> Operand {
        let columns = flat_columns(rows, columns, matrix.stride);
        Operand { view: matrix.view, rows: Rows::One, columns, stride: None, index: false }
    }
}

impl DeviceCall {
    /// The name of the function.
    pub fn function(&self) -> &'static str {
        match self {
            Self::FillGrid { .. } => "din_fill_grid",
            Self::FillRows { .. } => "din_fill_rows",
            Self::Product { .. } => "din_product",
            Self::Outer { .. } => "din_outer",
            Self::TimesSamples { .. } => "din_times_samples",
            Self::SumEntries { .. } => "din_sum_entries",
            Self::Unflatten { .. } => "din_unflatten",
            Self::Flatten { .. } => "din_flatten",
            Self::Carry { .. } => "din_carry",
            Self::Transpose { .. } => "din_transpose",
            Self::SegmentReduce { segments: Segments::Unique { .. }, .. } => "din_reduce_group",
            Self::SegmentReduce { segments: Segments::Samples { .. }, .. } => "din_reduce_samples",
            Self::SegmentReduce { segments: Segments::Pairs { .. }, .. } => "din_reduce_pairs",
            Self::Statistic { statistic, .. } => device_statistic(*statistic).tile_function,
            Self::JoinGroups { .. } => "din_join_groups",
            Self::JoinCopies { how: CopyJoin::Sum, .. } => "din_join_copies",
            Self::JoinCopies { how: CopyJoin::Max, .. } => "din_join_maxima",
            Self::JoinCopies { how: CopyJoin::Statistic { statistic, .. }, .. } => {
                device_statistic(*statistic).join_function
            }
        }
    }

    /// The axis of whose elements in the tile it treats all.
    pub fn axis(&self) -> Option<AxisId> {
        match *self {
            Self::FillRows { axis, .. }
            | Self::Product { axis, .. }
            | Self::Outer { axis, .. }
            | Self::TimesSamples { axis, .. }
            | Self::SumEntries { axis, .. }
            | Self::Unflatten { axis, .. }
            | Self::Flatten { axis, .. }
            | Self::Carry { axis, .. }
            | Self::SegmentReduce { axis, .. }
            | Self::Statistic { axis, .. } => Some(axis),
            Self::FillGrid { .. } | Self::Transpose { .. } | Self::JoinGroups { .. } | Self::JoinCopies { .. } => None,
        }
    }

    /// What it reads.
    pub fn reads(&self) -> Vec<Operand> {
        let factor = |axis, f: SampleFactor, columns| {
            let sample = Operand { view: f.sample, rows: Rows::Local(axis), columns: 1, stride: Some(1), index: true };
            [Operand::per_element(f.values, BATCH, columns), sample]
        };
        match *self {
            Self::FillGrid { .. } | Self::FillRows { .. } => vec![],
            Self::Product { axis, k, n, left, right, output, .. } => {
                let mut reads = match left {
                    LeftOperand::Rows(x) => vec![Operand::per_element(x, axis, k)],
                    LeftOperand::TwoParts(x, z) => {
                        vec![Operand::per_element(x, axis, k), Operand::per_element(z, axis, k)]
                    }
                };
                reads.push(match (right, left) {
                    (RightOperand::Rows(w), LeftOperand::Rows(_)) => Operand::flat(w, k, n),
                    (RightOperand::Rows(w), LeftOperand::TwoParts(..)) => Operand::flat(w, k.saturating_mul(2), n),
                    (RightOperand::Transposed(w), _) => Operand::flat(w, n, k),
                });
                match output {
                    ProductOutput::Store(_) => {}
                    ProductOutput::Accumulate(out) | ProductOutput::StoreFirstTile(out) => {
                        reads.push(Operand::per_element(out, axis, n));
                    }
                    ProductOutput::AccumulateTimes { out, factor: f } => {
                        reads.push(Operand::per_element(out, axis, n));
                        reads.extend(factor(axis, f, n));
                    }
                    ProductOutput::StoreWith { addend, factor: f, .. } => {
                        reads.push(Operand::per_element(addend, axis, n));
                        reads.extend(factor(axis, f, n));
                    }
                }
                reads
            }
            Self::Outer { axis, m, n, left, right, output, .. } => {
                let out = Operand::flat(output.out(), m, n);
                vec![Operand::per_element(left, axis, m), Operand::per_element(right, axis, n), out]
            }
            Self::TimesSamples { axis, width, x, factor: f, .. } => {
                let mut reads = vec![Operand::per_element(x, axis, width)];
                reads.extend(factor(axis, f, width));
                reads
            }
            Self::SumEntries { axis, width, products, x, .. } => {
                vec![Operand::per_element(products, axis, width), Operand::per_element(x, axis, width)]
            }
            Self::Unflatten { size, width, x, .. } => {
                vec![Operand::per_element(x, BATCH, size.saturating_mul(width))]
            }
            Self::Flatten { axis, width, x, .. } => vec![Operand::per_element(x, axis, width)],
            Self::Carry { axis, width, x, .. } => vec![Operand::per_element(x, axis, width)],
            Self::Transpose { k, n, w, .. } => vec![Operand::flat(w, k, n)],
            Self::SegmentReduce { width, segments, x, .. } => {
                let source = Operand { columns: width, stride: Some(x.stride), ..Operand::whole(x.view) };
                let index = |view| Operand { index: true, ..Operand::whole(view) };
                [source].into_iter().chain(segments.views().into_iter().map(index)).collect()
            }
            Self::Statistic { statistic, axis, width, x, total, .. } => {
                let columns = statistic.partial_width(width);
                let total = Operand { view: total, rows: Rows::One, columns, stride: None, index: false };
                vec![Operand::per_element(x, axis, width), total]
            }
            Self::JoinGroups { width, groups, sums, out, .. } => {
                let sums = Operand { columns: width.saturating_mul(groups), ..Operand::whole(sums) };
                vec![sums, Operand { columns: width, ..Operand::whole(out) }]
            }
            Self::JoinCopies { how, width, copies, .. } => {
                let columns = match how {
                    CopyJoin::Sum | CopyJoin::Max => width,
                    CopyJoin::Statistic { statistic, .. } => statistic.partial_width(width),
                };
                vec![Operand { columns, ..Operand::whole(copies) }]
            }
        }
    }

    /// What it writes.
    pub fn writes(&self) -> Vec<Operand> {
        match *self {
            Self::FillGrid { out, .. } => vec![Operand::whole(out)],
            Self::FillRows { axis, out, .. } => vec![Operand::per_element(out, axis, out.view.columns)],
            Self::Product { axis, n, output, .. } => vec![Operand::per_element(output.out(), axis, n)],
            Self::Outer { m, n, output, .. } => vec![Operand::flat(output.out(), m, n)],
            Self::TimesSamples { axis, width, out, .. } => vec![Operand::per_element(out, axis, width)],
            Self::SumEntries { width, out, .. } => vec![Operand::per_element(out, BATCH, width)],
            Self::Unflatten { axis, width, out, .. } => vec![Operand::per_element(out, axis, width)],
            Self::Flatten { size, width, out, .. } => {
                vec![Operand::per_element(out, BATCH, size.saturating_mul(width))]
            }
            Self::Carry { axis, width, out, .. } => vec![Operand::per_element(out, axis, width)],
            Self::Transpose { k, n, out, .. } => vec![Operand::flat(out, n, k)],
            Self::SegmentReduce { axis, width, sums, out, .. } => {
                vec![Operand::whole(sums), Operand::per_element(out, axis, width)]
            }
            Self::Statistic { statistic, width, sums, total, .. } => {
                let columns = statistic.partial_width(width);
                vec![Operand::whole(sums), Operand { columns, ..Operand::whole(total) }]
            }
            Self::JoinGroups { width, out, .. } => vec![Operand { columns: width, ..Operand::whole(out) }],
            Self::JoinCopies { how, width, sums, out, .. } => {
                let columns = match how {
                    CopyJoin::Sum | CopyJoin::Max => width,
                    CopyJoin::Statistic { statistic, .. } => statistic.result_width(width),
                };
                vec![Operand::whole(sums), Operand { columns, ..Operand::whole(out) }]
            }
        }
    }

    /// Values of shared memory that each thread needs, and the array that has them.
    pub fn shared_per_thread(&self) -> Option<(ArrayView, u32)> {
        match *self {
            Self::SegmentReduce { sums, .. } => Some((sums, 1)),
            Self::Statistic { statistic, sums, .. } => Some((sums, device_statistic(statistic).shared_per_thread)),
            Self::FillGrid { .. }
            | Self::FillRows { .. }
            | Self::Product { .. }
            | Self::Outer { .. }
            | Self::TimesSamples { .. }
            | Self::SumEntries { .. }
            | Self::Unflatten { .. }
            | Self::Flatten { .. }
            | Self::Carry { .. }
            | Self::Transpose { .. }
            | Self::JoinGroups { .. }
            | Self::JoinCopies { .. } => None,
        }
    }

    /// Whether it needs the ends of the samples' entries.
    pub fn needs_ends(&self) -> bool {
        matches!(self, Self::SumEntries { .. })
    }
}

/// The arrays of operands.
pub fn arrays(operands: &[Operand]) -> Vec<ArrayId> {
    operands.iter().map(|o| o.view.array).collect()
}
