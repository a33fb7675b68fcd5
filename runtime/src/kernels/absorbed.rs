//! Products with weights that absorb a vector of each sample, and their gradients: the activation
//! unit of the paper, whose first layer reads `concat(k, k * q)` (Section 4.2), for a sequence of
//! entries
//! `k` and one candidate `q` per sample.

use super::body::{AbsorbedOuterTile, AbsorbedPanel, AbsorbedVectorSums, AbsorbedWeightSums, RegisterTile, StoreMode};
use super::level::AbsorbingTiles;
use super::{ColumnBlock, MatMul, Microkernels, column_blocks, runs};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Most samples of a group.
const GROUP: usize = 32;

/// Floats of the entries of a group: they are read once per block of the weight, and should stay in
/// the first-level cache.
const GROUP_FLOATS: usize = 8 << 10;

/// Most columns of a tile's vectors, and most floats of one vector per row of a gradient's tile, at
/// any level.
pub(super) const PANEL_COLUMNS: usize = 80;
pub(super) const DOT_FLOATS: usize = 8 * 16;

/// Floats of scratch for [`Microkernels::absorbed_matmul`] with a weight of `2 e x n`.
pub fn panel_floats(e: usize, n: usize) -> usize {
    e.max(n) * PANEL_COLUMNS
}

/// `out_i = x_i (W1 + diag(q_s) W2)` for the entries `i` of each sample `s`; or, transposed,
/// `out_i = x_i (W1 + diag(q_s) W2)^T`.
#[derive(Clone, Copy, Debug)]
pub struct AbsorbedProduct<'a> {
    /// Where each sample's entries begin, and where the last one's end.
    pub offsets: &'a [u32],
    /// Entry 0 of the batch, not of the first sample; `e` floats, transposed `n`.
    pub x: *const f32,
    pub x_stride: usize,
    /// The first sample's vector, `e` floats.
    pub q: *const f32,
    pub q_stride: usize,
    /// W1 over W2, `2 e x n`; transposed, the transpose of that, `n x 2 e`.
    pub w: *const f32,
    pub transposed: bool,
    pub e: usize,
    pub n: usize,
    /// Entry 0 of the batch; `n` floats, transposed `e`.
    pub out: *mut f32,
    pub out_stride: usize,
}

/// The gradients of such a product towards its weight and its vectors. With `m_s = sum_i x_i^T g_i`
/// over the entries of sample `s`, W1's is the sum of `m_s` over samples, W2's that of
/// `diag(q_s) m_s`, and that of `q_s` the sum of `m_s * W2` by row.
#[derive(Clone, Copy, Debug)]
pub struct AbsorbedGradient<'a> {
    /// Where each sample's entries begin, and where the last one's end.
    pub offsets: &'a [u32],
    /// Entry 0 of the batch, not of the first sample; `e` floats.
    pub x: *const f32,
    pub x_stride: usize,
    /// Entry 0 of the batch; `n` floats.
    pub g: *const f32,
    pub g_stride: usize,
    pub e: usize,
    pub n: usize,
    pub weight: Option<WeightGradientSums>,
    pub sample: Option<VectorGradient>,
}

/// Towards the weight.
#[derive(Clone, Copy, Debug)]
pub struct WeightGradientSums {
    /// The first sample's vector, `e` floats.
    pub q: *const f32,
    pub q_stride: usize,
    /// `2 e x n`; the gradient is added.
    pub out: *mut f32,
}

/// Towards the vectors.
#[derive(Clone, Copy, Debug)]
pub struct VectorGradient {
    /// W2, `e x n`.
    pub w: *const f32,
    /// The first sample's gradient, `e` floats.
    pub out: *mut f32,
    pub out_stride: usize,
}

impl Microkernels {
    /// # Safety
    ///
    /// The addresses of `m` are valid for its sizes and strides, `scratch` for [`panel_floats`],
    /// and what is written overlaps nothing else.
    pub unsafe fn absorbed_matmul(&self, m: &AbsorbedProduct<'_>, scratch: *mut f32) {
        let (k, columns) = if m.transposed { (m.n, m.e) } else { (m.e, m.n) };
        let AbsorbingTiles { vectors: widths, uniform, .. } = *self.absorbing(m);
        let width = |sample: usize| {
            let entries = (m.offsets[sample + 1] - m.offsets[sample]) as usize;
            (entries > 0).then(|| widths[entries.min(widths.len()) - 1])
        };
        for group in groups(m.offsets, k) {
            let Some(widest) = group.clone().filter_map(width).max() else { continue };
            let width = |sample: usize| width(sample).map(|vectors| if uniform { widest } else { vectors });
            let used = group.clone().filter_map(width).fold(0u32, |used, vectors| used | 1 << vectors);
            for vectors in (1..=widest).filter(|vectors| used >> vectors & 1 == 1) {
                for block in column_blocks(columns, self.level.lanes, vectors) {
                    for sample in group.clone().filter(|&sample| width(sample) == Some(vectors)) {
                        // SAFETY: the caller vouches for the addresses.
                        unsafe { self.absorbed_block(m, sample, &block, scratch) }
                    }
                }
            }
        }
    }

    /// The tiles that compute the weight of `m`.
    fn absorbing(&self, m: &AbsorbedProduct<'_>) -> &'static AbsorbingTiles {
        if m.transposed { &self.level.absorbing_transposed } else { &self.level.absorbing }
    }

    /// Some columns of the product for the entries of one sample, of which there are some.
    ///
    /// # Safety
    ///
    /// As for the product.
    unsafe fn absorbed_block(&self, m: &AbsorbedProduct<'_>, sample: usize, block: &ColumnBlock, scratch: *mut f32) {
        let &ColumnBlock { column, vectors, last } = block;
        let (k, columns) = if m.transposed { (m.n, m.e) } else { (m.e, m.n) };
        let (begin, end) = (m.offsets[sample] as usize, m.offsets[sample + 1] as usize);
        let x = m.x.wrapping_add(begin * m.x_stride);
        let out = m.out.wrapping_add(begin * m.out_stride + column);
        let q = m.q.wrapping_add(sample * m.q_stride);
        let panel = AbsorbedPanel {
            w: m.w.wrapping_add(column),
            w_row: if m.transposed { 2 * m.e } else { m.n },
            half: if m.transposed { m.e } else { m.e * m.n },
            q: if m.transposed { q.wrapping_add(column) } else { q },
        };
        let rows = end - begin;
        // SAFETY: the caller vouches for the addresses; the block and runs lie inside `rows x
        // columns`;
        // `Microkernels::new` made sure of the features.
        unsafe {
            if columns == 1 {
                (self.level.absorbed_column)(&panel, m.transposed, k, scratch);
                return self.matmul(&MatMul {
                    rows,
                    k,
                    n: 1,
                    x,
                    x_stride: m.x_stride,
                    w: scratch,
                    w_stride: 1,
                    out,
                    out_stride: m.out_stride,
                    accumulate: false,
                });
            }
            let (absorbing, tiles) = if last == self.level.lanes {
                (self.absorbing(m).whole[vectors - 1], self.level.whole.get(vectors - 1))
            } else {
                (self.absorbing(m).masked[vectors - 1], self.level.masked.get(vectors - 1))
            };
            let first = tiles.map_or(rows, |tiles| first_run(rows, absorbing.len(), tiles.len()));
            let tile = RegisterTile {
                x,
                x_row: m.x_stride,
                x_step: 1,
                w: scratch,
                w_row: vectors * self.level.lanes,
                out,
                out_row: m.out_stride,
                steps: k,
                last,
                mode: StoreMode::Store,
            };
            absorbing[first - 1](&tile, &panel, (first < rows).then_some(scratch));
            // Where no other tiles are as wide, the first one has all rows.
            let Some(tiles) = tiles else { return };
            for (row, height) in runs(rows - first, tiles.len()) {
                let row = first + row;
                tiles[height - 1](&RegisterTile {
                    x: x.wrapping_add(row * m.x_stride),
                    out: out.wrapping_add(row * m.out_stride),
                    ..tile
                });
            }
        }
    }

    /// # Safety
    ///
    /// The addresses of `o` are valid for its sizes and strides, and what is written overlaps
    /// nothing else.
    pub unsafe fn absorbed_outer(&self, o: &AbsorbedGradient<'_>) {
        let AbsorbedGradient { e, n, .. } = *o;
        let lanes = self.level.lanes;
        let mut dots = [const { MaybeUninit::<f32>::uninit() }; GROUP * DOT_FLOATS];
        for group in groups(o.offsets, e + n) {
            let first = group.start;
            let offsets = &o.offsets[first..=group.end];
            let entries = (offsets[group.len()] - offsets[0]) as usize;
            let average = entries / group.len();
            let are_for = |below: Option<[usize; 2]>| below.is_none_or(|b| average < b[usize::from(n % lanes > 0)]);
            let tiles = self.level.outer.iter().find(|tiles| are_for(tiles.below));
            let tiles = tiles.expect("the last tiles are for histories of any length");
            for (row, height) in runs(e, tiles.whole[tiles.whole.len() - 1].len()) {
                for ColumnBlock { column, vectors, last } in column_blocks(n, lanes, tiles.whole.len()) {
                    let set = if last == lanes { tiles.whole } else { tiles.masked };
                    let at = row * n + column;
                    // SAFETY: the tile lies inside `e x n`; the caller vouches for the addresses;
                    // `Microkernels::new` made sure of the features.
                    unsafe {
                        set[vectors - 1][height - 1](&AbsorbedOuterTile {
                            offsets,
                            x: o.x.wrapping_add(row),
                            x_row: o.x_stride,
                            g: o.g.wrapping_add(column),
                            g_row: o.g_stride,
                            last,
                            n,
                            weight: o.weight.map(|weight| AbsorbedWeightSums {
                                q: weight.q.wrapping_add(first * weight.q_stride + row),
                                q_row: weight.q_stride,
                                first: weight.out.wrapping_add(at),
                                second: weight.out.wrapping_add(e * n + at),
                            }),
                            sample: o.sample.map(|sample| AbsorbedVectorSums {
                                w: sample.w.wrapping_add(at),
                                dots: dots.as_mut_ptr().cast(),
                                begin: column == 0,
                                end: column + (vectors - 1) * lanes + last == n,
                                out: sample.out.wrapping_add(first * sample.out_stride + row),
                                out_row: sample.out_stride,
                            }),
                        });
                    }
                }
            }
        }
    }
}

/// Rows of the first of the fewest runs that cover `rows`, of which the first has at most `most`
/// rows and the others at most `others`.
pub(super) fn first_run(rows: usize, most: usize, others: usize) -> usize {
    let runs = 1 + rows.saturating_sub(most).div_ceil(others);
    rows.div_ceil(runs).min(most)
}

/// Consecutive samples that are processed together, block by block of the weight: at most
/// [`GROUP`], or as many as have entries of [`GROUP_FLOATS`] floats in all, `width` each.
fn groups(offsets: &[u32], width: usize) -> impl Iterator<Item = Range<usize>> {
    let samples = offsets.len().saturating_sub(1);
    let most = (GROUP_FLOATS / width) as u32;
    let mut first = 0;
    std::iter::from_fn(move || {
        let begin = first;
        if begin == samples {
            return None;
        }
        first += 1;
        while first < samples && first - begin < GROUP && offsets[first + 1] - offsets[begin] <= most {
            first += 1;
        }
        Some(begin..first)
    })
}
