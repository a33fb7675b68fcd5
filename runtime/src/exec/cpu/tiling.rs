//! Cutting an axis into tiles and chunks. Both depend on the data alone, so results do not depend
//! on threads.

use crate::exec::common::{ElementRange, Layout};
use din_program::schedule::{AxisId, AxisKind, AxisTree, MAX_CHUNKS};

/// The tiles of one axis at one size, for one batch. A tile is a range of samples (of rows, in
/// update programs; of requests, over requests and their entries; of a group's elements, over it);
/// its elements of any axis are those under them.
#[derive(Debug)]
pub(super) struct BatchTiling {
    pub axis: AxisId,
    pub rows: usize,
    /// What tiles are ranges of: see [`AxisTree::tile_axis`].
    by: AxisId,
    /// First sample (or other unit) of each tile, then their number.
    bounds: Vec<u32>,
}

impl BatchTiling {
    pub fn new(axis: AxisId, rows: u32, axes: &AxisTree) -> Self {
        BatchTiling { axis, rows: rows.max(1) as usize, by: axes.tile_axis(axis), bounds: Vec::new() }
    }

    /// Cuts a batch.
    pub fn cut(&mut self, layout: &Layout) {
        let units = layout.count(self.by);
        self.bounds.clear();
        self.bounds.push(0);
        match layout.axes.kind(self.axis) {
            AxisKind::Global => {}
            AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Unique(_) => {
                let mut at = self.rows;
                while at < units {
                    self.bounds.push(at as u32);
                    at += self.rows;
                }
            }
            AxisKind::Sequence { .. } | AxisKind::Pairs { .. } => {
                let begins = layout.begins(self.axis, self.by);
                let mut first = 0;
                for unit in 1..units {
                    let offset = match begins {
                        Some(begins) => begins[unit] as usize,
                        None => layout.range(self.axis, self.by, unit, unit).0,
                    };
                    if offset - first >= self.rows {
                        self.bounds.push(unit as u32);
                        first = offset;
                    }
                }
            }
        }
        self.bounds.push(units as u32);
    }

    pub fn tiles(&self) -> usize {
        self.bounds.len() - 1
    }

    pub fn chunks(&self) -> usize {
        self.tiles().min(MAX_CHUNKS)
    }

    /// Tiles of a chunk.
    pub fn chunk(&self, chunk: usize) -> std::ops::Range<usize> {
        let (tiles, chunks) = (self.tiles(), self.chunks());
        chunk * tiles / chunks..(chunk + 1) * tiles / chunks
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

    /// Most elements of `axis` in a tile.
    pub fn largest(&self, axis: AxisId, layout: &Layout) -> usize {
        let sizes = (0..self.tiles()).map(|t| self.range(t, axis, layout));
        sizes.map(|(from, to)| to - from).max().expect("a batch has one tile at least")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use din_program::schedule::BATCH;
    use din_program::schema::{Requests, Schema, Sequence};

    /// A model with one sequence.
    fn layout(common: bool, samples: usize, requests: &[u32], offsets: Vec<u32>) -> Layout {
        let location = String::new;
        let sequence = Sequence { name: "s".into(), keep: None, common, location: location() };
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
            let mut rows = Layout::new(AxisTree::rows());
            rows.set(samples, &[], &[]);
            let tiling = tiled(BATCH, 64, &rows);
            assert!(tiling.chunks() <= MAX_CHUNKS);
            let mut at = 0;
            for chunk in 0..tiling.chunks() {
                let range = tiling.chunk(chunk);
                assert!(range.start == at && range.end > at);
                at = range.end;
            }
            assert_eq!(at, tiling.tiles());
            assert_eq!(at, samples.div_ceil(64));
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
