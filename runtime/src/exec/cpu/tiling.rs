//! Cutting the leaves of an axis into tiles and chunks. All depend on the batch alone, so results
//! do not depend on threads or ranks.

use crate::exec::common::{ElementRange, Layout};
use din_program::schedule::{AxisId, AxisKind, AxisTree};
use std::ops::Range;

/// A batch of fewer leaves has about so many chunks: work for as many threads.
const CHUNKS: usize = 16;

/// The tiles of one axis at one size, for one batch. A tile is a range of samples (of rows, in
/// update programs; of requests, over requests and their entries; of a group's elements, over it);
/// its elements of any axis are those under them. A chunk is consecutive tiles of one leaf.
#[derive(Debug)]
pub(super) struct BatchTiling {
    pub axis: AxisId,
    pub rows: usize,
    /// What tiles are ranges of: see [`AxisTree::tile_axis`].
    by: AxisId,
    /// First sample (or other unit) of each tile, then their number.
    bounds: Vec<u32>,
    /// First tile of each chunk, then their number.
    chunks: Vec<u32>,
    /// First chunk of each leaf, then their number.
    leaves: Vec<u32>,
    /// Number of the first leaf in the global batch, which has so many.
    first_leaf: usize,
    total_leaves: usize,
}

impl BatchTiling {
    pub fn new(axis: AxisId, rows: u32, axes: &AxisTree) -> Self {
        BatchTiling {
            axis,
            rows: rows.max(1) as usize,
            by: axes.tile_axis(axis),
            bounds: Vec::new(),
            chunks: Vec::new(),
            leaves: Vec::new(),
            first_leaf: 0,
            total_leaves: 0,
        }
    }

    /// Cuts a batch.
    pub fn cut(&mut self, layout: &Layout) {
        self.bounds.clear();
        self.chunks.clear();
        self.leaves.clear();
        if let AxisKind::Global = layout.axes.kind(self.axis) {
            self.bounds.extend([0, layout.count(self.by) as u32]);
            self.chunks.extend([0, 1]);
            self.leaves.extend([0, 1]);
            (self.first_leaf, self.total_leaves) = (0, 1);
            return;
        }
        (self.first_leaf, self.total_leaves) = layout.leaf_numbers();
        let most = (CHUNKS / self.total_leaves).max(1);
        for leaf in layout.leaves(self.by).windows(2) {
            self.leaves.push(self.chunks.len() as u32);
            let first = self.bounds.len();
            self.tiles_of(leaf[0] as usize..leaf[1] as usize, layout);
            let tiles = self.bounds.len() - first;
            let chunks = tiles.min(most);
            self.chunks.extend((0..chunks).map(|chunk| (first + chunk * tiles / chunks) as u32));
        }
        self.leaves.push(self.chunks.len() as u32);
        self.chunks.push(self.bounds.len() as u32);
        self.bounds.push(layout.count(self.by) as u32);
    }

    /// Adds the first units of the tiles of a leaf: one at least.
    fn tiles_of(&mut self, units: Range<usize>, layout: &Layout) {
        self.bounds.push(units.start as u32);
        match layout.axes.kind(self.axis) {
            AxisKind::Global => unreachable!("the global axis has one tile"),
            AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Unique(_) => {
                let mut at = units.start + self.rows;
                while at < units.end {
                    self.bounds.push(at as u32);
                    at += self.rows;
                }
            }
            // A leaf is one tile.
            AxisKind::Steps { .. } => {}
            AxisKind::Sequence { .. } | AxisKind::Fixed { .. } | AxisKind::Second { .. } | AxisKind::Pairs { .. } => {
                let begins = layout.begins(self.axis, self.by);
                let begin = |unit: usize| match begins {
                    Some(begins) => begins[unit] as usize,
                    None => layout.range(self.axis, self.by, unit, unit).0,
                };
                let mut first = begin(units.start);
                for unit in units.start + 1..units.end {
                    let offset = begin(unit);
                    if offset - first >= self.rows {
                        self.bounds.push(unit as u32);
                        first = offset;
                    }
                }
            }
        }
    }

    pub fn tiles(&self) -> usize {
        self.bounds.len() - 1
    }

    pub fn chunks(&self) -> usize {
        self.chunks.len() - 1
    }

    /// Tiles of a chunk.
    pub fn chunk(&self, chunk: usize) -> Range<usize> {
        self.chunks[chunk] as usize..self.chunks[chunk + 1] as usize
    }

    /// The chunks of each leaf.
    pub fn leaves(&self) -> LeafChunks<'_> {
        LeafChunks { begins: &self.leaves, first: self.first_leaf, total: self.total_leaves }
    }

    /// Samples (or other units) of a tile.
    #[inline]
    pub fn units(&self, tile: usize) -> ElementRange {
        (self.bounds[tile] as usize, self.bounds[tile + 1] as usize)
    }

    /// Elements of `axis` in a tile.
    #[inline]
    pub fn range(&self, tile: usize, axis: AxisId, layout: &Layout) -> ElementRange {
        let (from, to) = self.units(tile);
        layout.range(axis, self.by, from, to)
    }

    /// Most elements of `axis` in a tile; 0 on a rank without leaves, which has no tiles.
    pub fn largest(&self, axis: AxisId, layout: &Layout) -> usize {
        let sizes = (0..self.tiles()).map(|t| self.range(t, axis, layout));
        sizes.map(|(from, to)| to - from).fold(0, usize::max)
    }
}

/// Which chunks are which leaf's.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafChunks<'a> {
    /// First chunk of each leaf, then their number.
    pub begins: &'a [u32],
    /// Number of the first leaf in the global batch.
    pub first: usize,
    /// Leaves of the global batch.
    pub total: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaves::LeafRange;
    use din_program::schedule::BATCH;
    use din_program::schema::{Requests, Schema, Sequence};

    /// A model with one sequence.
    fn layout(common: bool, samples: usize, requests: &[u32], offsets: Vec<u32>) -> Layout {
        let location = String::new;
        let sequence = Sequence { name: "s".into(), keep: None, missing: false, common, location: location() };
        let requests_of = Requests { key: 0, location: location() };
        let schema = Schema { sequences: vec![sequence], requests: common.then_some(requests_of), ..Schema::default() };
        let mut layout = Layout::new(AxisTree::of_schema(&schema));
        layout.set(samples, requests, &[offsets]);
        layout
    }

    fn tiled(axis: AxisId, rows: u32, layout: &Layout) -> BatchTiling {
        let mut tiling = BatchTiling::new(axis, rows, &layout.axes);
        tiling.cut(layout);
        tiling
    }

    #[test]
    fn sequence_tiles_hold_whole_samples() {
        // Lengths 3, 0, 5, 1, 0, 9, 0.
        let offsets = layout(false, 7, &[], vec![0, 3, 3, 8, 9, 9, 18, 18]);
        let tiling = tiled(AxisId(2), 4, &offsets);
        assert_eq!(tiling.bounds, [0, 3, 6, 7]);
        assert_eq!(tiling.range(1, AxisId(2), &offsets), (8, 18));
        assert_eq!(tiling.range(1, BATCH, &offsets), (3, 6));
        assert_eq!(tiling.largest(AxisId(2), &offsets), 10);
        assert_eq!(tiling.largest(BATCH, &offsets), 3);
    }

    #[test]
    fn no_entries_make_one_tile() {
        let offsets = layout(false, 5, &[], vec![0; 6]);
        let tiling = tiled(AxisId(2), 4, &offsets);
        assert_eq!((tiling.tiles(), tiling.chunks()), (1, 1));
        assert_eq!(tiling.range(0, BATCH, &offsets), (0, 5));
        assert_eq!(tiling.range(0, AxisId(2), &offsets), (0, 0));
    }

    #[test]
    fn chunks_cover_all_tiles_in_order() {
        for samples in [1usize, 7, 64, 65, 1000, 12345] {
            for leaves in [1, 4, 64] {
                let mut rows = Layout::new(AxisTree::rows());
                rows.set(samples, &[], &[]);
                rows.cut(&LeafRange::whole(samples, leaves));
                let tiling = tiled(BATCH, 48, &rows);
                let bounds = rows.leaves(BATCH);
                let mut at = 0;
                for (leaf, chunks) in tiling.leaves().begins.windows(2).enumerate() {
                    assert_eq!(tiling.units(at).0, bounds[leaf] as usize);
                    for chunk in chunks[0]..chunks[1] {
                        let range = tiling.chunk(chunk as usize);
                        assert!(range.start == at && range.end > at);
                        at = range.end;
                    }
                    assert_eq!(tiling.units(at - 1).1, bounds[leaf + 1] as usize);
                }
                assert_eq!(at, tiling.tiles());
                assert!(tiling.chunks() <= CHUNKS.max(leaves as usize));
            }
        }
    }

    /// A rank's tiles are those that the whole batch has in its leaves.
    #[test]
    fn leaves_have_the_same_tiles_on_any_rank() {
        let lengths = |sample: usize| (sample * 7919 % 23) as u32;
        let tiles = |from: usize, to: usize, leaves: &LeafRange| {
            let mut offsets = vec![0];
            (from..to).for_each(|sample| offsets.push(offsets.last().unwrap() + lengths(sample)));
            let mut layout = layout(false, to - from, &[], offsets);
            layout.cut(leaves);
            let tiling = tiled(AxisId(2), 100, &layout);
            let chunks = tiling.leaves().begins.windows(2).map(|chunks| {
                let tiles = tiling.chunk(chunks[0] as usize).start..tiling.chunk(chunks[1] as usize - 1).end;
                tiles.map(|tile| tiling.units(tile).0 + from).collect::<Vec<_>>()
            });
            chunks.collect::<Vec<_>>()
        };
        let whole = tiles(0, 3000, &LeafRange::whole(3000, 16));
        for ranks in [2, 3, 16] {
            let mut joined = Vec::new();
            for rank in 0..ranks {
                let leaves = LeafRange::of_rank(3000, 16, rank, ranks);
                let from = crate::leaves::leaf_begin(leaves.first, 16, 3000);
                let samples = *leaves.bounds.last().unwrap() as usize;
                joined.extend(tiles(from, from + samples, &leaves));
            }
            assert_eq!(joined, whole);
        }
    }

    #[test]
    fn samples_of_a_request_share_its_entries() {
        // Requests of 2, 1 and 3 samples with lists of 3, 0 and 2.
        let l = layout(true, 6, &[0, 2, 3, 6], vec![0, 3, 3, 5]);
        let (pairs, requests, entries) = (AxisId(2), AxisId(3), AxisId(4));
        assert_eq!(l.offsets(pairs), [0, 3, 6, 6, 8, 10, 12]);
        assert_eq!([pairs, requests, entries].map(|d| l.count(d)), [12, 3, 5]);
        let above = |of, to| {
            let mut out = Vec::new();
            l.ancestors(of, to, &mut out);
            // Any part of it is the same.
            for first in 0..out.len() {
                let mut part = vec![9; (out.len() - first).min(4)];
                l.above(of, to, first, &mut part);
                assert_eq!(part, out[first..first + part.len()], "{of:?} {to:?} {first}");
            }
            out
        };
        assert_eq!(above(BATCH, requests), [0, 0, 1, 2, 2, 2]);
        assert_eq!(above(pairs, entries), [0, 1, 2, 0, 1, 2, 3, 4, 3, 4, 3, 4]);
        assert_eq!(above(pairs, requests), [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2]);
        assert_eq!(above(pairs, BATCH), [0, 0, 0, 1, 1, 1, 3, 3, 4, 4, 5, 5]);
        assert_eq!(above(entries, requests), [0, 0, 0, 2, 2]);
        let tiling = tiled(entries, 3, &l);
        assert_eq!(tiling.bounds, [0, 1, 3]);
        assert_eq!(tiling.range(1, entries, &l), (3, 5));
        assert_eq!(tiling.range(1, requests, &l), (1, 3));
        assert_eq!(tiling.range(1, BATCH, &l), (0, 0));
    }
}
