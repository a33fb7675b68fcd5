//! Single-precision products of the small sizes that ranking models have (128 x 192 by 192 x
//! 80, 80 x 40, 40 x 1), in register tiles for AVX-512, AVX2 with FMA, and any CPU, chosen at
//! run time.
//!
//! The order in which a number is summed depends on the shape alone: not on threads, nor on where a
//! row lies in its tile. Levels differ in the last bits (lanes of dot products, fused
//! multiply-add). Nothing is copied (packed) but blocks whose rows would share a set of the cache:
//! a weight of these sizes lies in L1 or L2.

mod absorbed;
mod body;
#[cfg(target_arch = "x86_64")]
mod halves;
mod level;
mod simd;
mod statistic;

pub use absorbed::{AbsorbedGradient, AbsorbedProduct, VectorGradient, WeightGradientSums, panel_floats};

use body::{RegisterTile, StoreMode};
use din_program::Isa;
use din_program::schedule::Statistic;
use level::{Level, TileSet};
pub use statistic::{join_partials, partial_of_results, store_results};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// Floats of a column block of `w` that one pass over the rows reads at most: as many as a
/// first-level cache of 32 KB has, and two thirds of one of 48 KB.
const PASS: usize = 8 << 10;

/// Rows of `w` that are a multiple of this many floats (4 KiB) apart lie in one set of a
/// first-level cache, on every x86-64 CPU of today.
const SET_FLOATS: usize = 1 << 10;
/// A block of such rows is copied if this many rows of `x`, or more, are multiplied by it.
const COPY_ROWS: usize = 32;

/// One place in the batch that reads a row: element `element` of the features of a table that
/// `feature` numbers, in leaf `leaf` of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Occurrence {
    pub feature: u16,
    pub leaf: u16,
    pub element: u32,
}

/// The terms of a segmented sum: those of segment `i` are
/// `occurrences[offsets[i]..offsets[i + 1]]`, by ascending leaf.
#[derive(Clone, Copy, Debug)]
pub struct RowSegments<'a> {
    pub offsets: &'a [u32],
    pub occurrences: &'a [Occurrence],
}

/// Rows of floats in memory.
#[derive(Clone, Copy, Debug)]
pub struct StridedRows {
    pub base: NonNull<f32>,
    /// Floats from one row to the next.
    pub stride: usize,
}

/// Matrix products, statistics and sums at one ISA level.
#[derive(Clone, Copy)]
pub struct Microkernels {
    level: &'static Level,
    /// Tiles whose last vector has half of its columns, by vectors across, then by rows, less 1
    /// each; empty where masked ones are as good.
    halves: &'static [TileSet],
}

/// `out_i = x_i W` or `out_i += x_i W` for `rows` rows. Strides are in floats, between rows.
#[derive(Clone, Copy, Debug)]
pub struct MatMul {
    pub rows: usize,
    pub k: usize,
    pub n: usize,
    /// `rows x k`
    pub x: *const f32,
    pub x_stride: usize,
    /// `k x n`
    pub w: *const f32,
    pub w_stride: usize,
    /// `rows x n`
    pub out: *mut f32,
    pub out_stride: usize,
    pub accumulate: bool,
}

/// `out = sum_i x_i^T g_i` or `out += ...` over `rows` rows: the gradient of a weight.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    pub rows: usize,
    pub k: usize,
    pub n: usize,
    /// `rows x k`
    pub x: *const f32,
    pub x_stride: usize,
    /// `rows x n`
    pub g: *const f32,
    pub g_stride: usize,
    /// `k x n`
    pub out: *mut f32,
    pub out_stride: usize,
    pub accumulate: bool,
}

impl std::fmt::Debug for Microkernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Microkernels").field("lanes", &self.level.lanes).finish()
    }
}

impl Microkernels {
    /// The level's products; a level above the CPU's is lowered to it.
    pub fn new(isa: Isa) -> Microkernels {
        let isa = isa.min(crate::cpu::detect());
        let level = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::V4 => &level::v4::LEVEL,
            #[cfg(target_arch = "x86_64")]
            Isa::V3 => &level::v3::LEVEL,
            #[cfg(target_arch = "x86_64")]
            Isa::V2 => &level::v2::LEVEL,
            #[cfg(not(target_arch = "x86_64"))]
            _ => &level::portable::LEVEL,
        };
        let halves: &[TileSet] = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::V4 => halves::TILES,
            #[cfg(not(target_arch = "x86_64"))]
            Isa::V4 => &[],
            Isa::V2 | Isa::V3 => &[],
        };
        Microkernels { level, halves }
    }

    /// # Safety
    ///
    /// The addresses of `m` are valid for its sizes and strides, and `out` overlaps neither `x` nor
    /// `w`.
    pub unsafe fn matmul(&self, m: &MatMul) {
        let mode = if m.accumulate { StoreMode::Continue } else { StoreMode::Store };
        let tile = RegisterTile {
            x: m.x,
            x_row: m.x_stride,
            x_step: 1,
            w: m.w,
            w_row: m.w_stride,
            out: m.out,
            out_row: m.out_stride,
            steps: m.k,
            last: 0,
            mode,
        };
        // SAFETY: the caller vouches for the addresses; `Microkernels::new` made sure of the
        // features.
        unsafe {
            if m.n == 1 && m.w_stride == 1 {
                (self.level.dot)(&tile, m.rows);
            } else {
                self.product(tile, m.rows, m.n);
            }
        }
    }

    /// # Safety
    ///
    /// The addresses of `o` are valid for its sizes and strides, and `out` overlaps neither `x` nor
    /// `g`.
    pub unsafe fn outer(&self, o: &Outer) {
        let mode = if o.accumulate { StoreMode::Add } else { StoreMode::Store };
        let mut tile = RegisterTile {
            x: o.x,
            x_row: 1,
            x_step: o.x_stride,
            w: o.g,
            w_row: o.g_stride,
            out: o.out,
            out_row: o.out_stride,
            steps: o.rows,
            last: 0,
            mode,
        };
        let (mut rows, mut columns) = (o.k, o.n);
        if o.n == 1 && o.out_stride == 1 {
            // A column is a row of its transpose, whose columns fill the vectors.
            (tile.x, tile.x_step, tile.w, tile.w_row) = (o.g, o.g_stride, o.x, o.x_stride);
            (rows, columns) = (1, o.k);
        }
        // SAFETY: the caller vouches for the addresses; `Microkernels::new` made sure of the
        // features.
        unsafe { self.product(tile, rows, columns) }
    }

    /// Covers `rows x columns` with register tiles.
    ///
    /// # Safety
    ///
    /// As for the tile.
    unsafe fn product(&self, t: RegisterTile, rows: usize, columns: usize) {
        if rows == 0 || columns == 0 {
            return;
        }
        let lanes = self.level.lanes;
        let (whole, masked) = (self.level.whole, self.level.masked);
        // Passes of equal depth: a short one would spend its time on the sums' loads and stores.
        let widest = column_blocks(columns, lanes, whole.len()).map(|block| block.vectors).max();
        let most = (PASS / (widest.expect("there are columns") * lanes)).max(1);
        let depth = t.steps.div_ceil(t.steps.div_ceil(most).max(1));
        let mut step = 0;
        loop {
            let steps = (t.steps - step).min(depth);
            let mode = match t.mode {
                StoreMode::Store if step > 0 => StoreMode::Continue,
                mode => mode,
            };
            for ColumnBlock { column, vectors, last } in column_blocks(columns, lanes, whole.len()) {
                let half = self.halves.get(vectors - 1).filter(|set| 2 * last == lanes && !set.is_empty());
                let set = match half {
                    Some(&set) => set,
                    None if last == lanes => whole[vectors - 1],
                    None => masked[vectors - 1],
                };
                let block = RegisterTile {
                    x: t.x.wrapping_add(step * t.x_step),
                    w: t.w.wrapping_add(step * t.w_row + column),
                    out: t.out.wrapping_add(column),
                    steps,
                    last,
                    mode,
                    ..t
                };
                // SAFETY: the block lies inside `rows x columns`; the caller vouches for those and
                // for the features.
                unsafe {
                    if t.w_row.is_multiple_of(SET_FLOATS) && rows >= COPY_ROWS {
                        copied_block(set, &block, rows, (vectors - 1) * lanes + last);
                    } else {
                        block_of_tiles(set, &block, rows);
                    }
                }
            }
            step += steps;
            if step >= t.steps {
                return;
            }
        }
    }

    /// The partial of a statistic over `rows > 0` rows of `width` floats.
    ///
    /// # Safety
    ///
    /// `x` is valid for `rows` rows at `x_stride`, `partial` for the floats of a partial.
    pub unsafe fn statistic(
        &self,
        statistic: Statistic,
        x: *const f32,
        x_stride: usize,
        rows: usize,
        width: usize,
        partial: *mut f32,
    ) {
        // SAFETY: the caller vouches for the addresses; `Microkernels::new` made sure of the
        // features.
        unsafe { (self.level.statistic)(statistic, x, x_stride, rows, width, partial) }
    }

    /// For each segment of `range`, the sum of its occurrences' rows to the next `width` floats of
    /// `out`: within each leaf in their order, then by the binary tree over leaf numbers, in which
    /// a leaf without occurrences has no part. `rows` has, by feature, the rows that its elements
    /// number; `None` where it contributes nothing.
    ///
    /// # Safety
    ///
    /// `out` has room, and every element that occurs has a row of `width` floats in its feature's
    /// rows.
    pub unsafe fn sum_rows(
        &self,
        segments: RowSegments<'_>,
        range: (usize, usize),
        rows: &[Option<StridedRows>],
        width: usize,
        out: *mut f32,
    ) {
        // SAFETY: the caller vouches for the addresses; `Microkernels::new` made sure of the
        // features.
        unsafe { (self.level.sum_rows)(segments, range, rows, width, out) }
    }

    /// `out[i] += x[i]`.
    ///
    /// # Safety
    ///
    /// Both are valid for `count` floats and do not overlap.
    pub unsafe fn add(&self, out: *mut f32, x: *const f32, count: usize) {
        // SAFETY: the caller vouches for the addresses; `Microkernels::new` made sure of the
        // features.
        unsafe { (self.level.join)(out, x, count, false) }
    }

    /// `out[i] = max(out[i], x[i])`.
    ///
    /// # Safety
    ///
    /// Both are valid for `count` floats and do not overlap.
    pub unsafe fn max(&self, out: *mut f32, x: *const f32, count: usize) {
        // SAFETY: the caller vouches for the addresses; `Microkernels::new` made sure of the
        // features.
        unsafe { (self.level.join)(out, x, count, true) }
    }
}

/// Covers `rows` rows of the columns of `block` with tiles of `set`.
///
/// # Safety
///
/// As for the tiles.
unsafe fn block_of_tiles(set: TileSet, block: &RegisterTile, rows: usize) {
    for (row, height) in runs(rows, set.len()) {
        // SAFETY: the caller vouches for the rows and the features.
        unsafe {
            set[height - 1](&RegisterTile {
                x: block.x.wrapping_add(row * block.x_row),
                out: block.out.wrapping_add(row * block.out_row),
                ..*block
            });
        }
    }
}

/// The same from a copy of the block's `columns` columns of `w`.
///
/// # Safety
///
/// As for the tiles; the columns and steps have [`PASS`] floats at most.
#[inline(never)]
unsafe fn copied_block(set: TileSet, block: &RegisterTile, rows: usize, columns: usize) {
    assert!(block.steps * columns <= PASS, "a pass has no more floats");
    let mut copy = [const { MaybeUninit::<f32>::uninit() }; PASS];
    let w = copy.as_mut_ptr().cast::<f32>();
    for step in 0..block.steps {
        let (from, to) = (block.w.wrapping_add(step * block.w_row), w.wrapping_add(step * columns));
        for column in 0..columns {
            // SAFETY: the caller vouches for the columns of `w`, and the copy has room.
            unsafe { *to.add(column) = *from.add(column) };
        }
    }
    // SAFETY: the caller vouches for the rest; the copy has the columns of each step.
    unsafe { block_of_tiles(set, &RegisterTile { w, w_row: columns, ..*block }, rows) }
}

/// Neighbouring columns that one tile covers: their first, how many vectors they take, and the
/// columns of the last of these.
struct ColumnBlock {
    column: usize,
    vectors: usize,
    last: usize,
}

/// Cuts `columns` into the fewest blocks of at most `most` vectors, of nearly equal widths.
fn column_blocks(columns: usize, lanes: usize, most: usize) -> impl Iterator<Item = ColumnBlock> {
    let vectors = columns.div_ceil(lanes);
    let blocks = vectors.div_ceil(most);
    (0..blocks).map(move |block| {
        let (first, end) = (block * vectors / blocks, (block + 1) * vectors / blocks);
        let column = first * lanes;
        let last = (columns - column).min((end - first) * lanes) - (end - first - 1) * lanes;
        ColumnBlock { column, vectors: end - first, last }
    })
}

/// Cuts `rows` into the fewest runs of at most `most`, each with its first row and its height.
/// Heights are nearly equal: a low tile has too few sums under way to hide the latency of an
/// addition.
fn runs(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most);
    let (height, higher) = (rows / count.max(1), rows % count.max(1));
    (0..count).map(move |i| (i * height + i.min(higher), height + usize::from(i < higher)))
}

/// `out = w^T`: `w` is `k x n` with row stride `w_stride`, `out` is `n x k`, contiguous.
///
/// # Safety
///
/// Both are valid for these sizes and do not overlap.
pub unsafe fn transpose(w: *const f32, w_stride: usize, out: *mut f32, k: usize, n: usize) {
    // Blocks of 16 x 16 keep both sides in cache lines that are used whole.
    const B: usize = 16;
    for i in (0..k).step_by(B) {
        for j in (0..n).step_by(B) {
            for c in j..(j + B).min(n) {
                for r in i..(i + B).min(k) {
                    // SAFETY: `r < k` and `c < n`.
                    unsafe { *out.add(c * k + r) = *w.add(r * w_stride + c) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
