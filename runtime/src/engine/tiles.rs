//! Cutting a domain into tiles and chunks. Both depend on the data alone, so results do not depend on threads.

use din_program::schedule::{BATCH, Domain, MAX_CHUNKS, ONCE};

/// The tiles of one domain at one size, for one batch. A tile is a range of samples (of rows, in update programs); its elements of any
/// domain are those under the samples.
#[derive(Debug)]
pub(super) struct Tiling {
    pub domain: Domain,
    pub rows: usize,
    /// First sample of each tile, then the number of samples.
    bounds: Vec<u32>,
}

/// Elements `begin..end` of a domain.
pub(super) type Range = (usize, usize);

impl Tiling {
    pub fn new(domain: Domain, rows: u32) -> Self {
        Tiling { domain, rows: rows.max(1) as usize, bounds: Vec::new() }
    }

    /// Cuts `samples` samples; `offsets` are those of the sequences.
    pub fn cut(&mut self, samples: usize, offsets: &[Vec<u32>]) {
        self.bounds.clear();
        self.bounds.push(0);
        if self.domain == BATCH {
            let mut at = self.rows;
            while at < samples {
                self.bounds.push(at as u32);
                at += self.rows;
            }
        } else if self.domain != ONCE {
            let offsets = &offsets[self.domain.index() - 2];
            let mut first = 0;
            for (sample, &offset) in offsets.iter().enumerate().take(samples).skip(1) {
                if (offset - first) as usize >= self.rows {
                    self.bounds.push(sample as u32);
                    first = offset;
                }
            }
        }
        self.bounds.push(samples as u32);
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

    /// Elements of `domain` in a tile.
    #[inline]
    pub fn range(&self, tile: usize, domain: Domain, offsets: &[Vec<u32>]) -> Range {
        let (from, to) = (self.bounds[tile] as usize, self.bounds[tile + 1] as usize);
        match domain.index() {
            0 => (0, 1),
            1 => (from, to),
            d => (offsets[d - 2][from] as usize, offsets[d - 2][to] as usize),
        }
    }

    /// Most elements of `domain` in a tile.
    pub fn largest(&self, domain: Domain, offsets: &[Vec<u32>]) -> usize {
        let sizes = (0..self.tiles()).map(|t| self.range(t, domain, offsets));
        sizes.map(|(from, to)| to - from).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_tiles_hold_whole_samples() {
        // Lengths 3, 0, 5, 1, 0, 9, 0.
        let offsets = vec![vec![0, 3, 3, 8, 9, 9, 18, 18]];
        let mut tiling = Tiling::new(Domain(2), 4);
        tiling.cut(7, &offsets);
        assert_eq!(tiling.bounds, [0, 3, 6, 7]);
        assert_eq!(tiling.range(1, Domain(2), &offsets), (8, 18));
        assert_eq!(tiling.range(1, BATCH, &offsets), (3, 6));
        assert_eq!(tiling.largest(Domain(2), &offsets), 10);
        assert_eq!(tiling.largest(BATCH, &offsets), 3);
    }

    #[test]
    fn no_entries_make_one_tile() {
        let offsets = vec![vec![0; 6]];
        let mut tiling = Tiling::new(Domain(2), 4);
        tiling.cut(5, &offsets);
        assert_eq!((tiling.tiles(), tiling.chunks()), (1, 1));
        assert_eq!(tiling.range(0, BATCH, &offsets), (0, 5));
        assert_eq!(tiling.range(0, Domain(2), &offsets), (0, 0));
    }

    #[test]
    fn chunks_cover_all_tiles_in_order() {
        for samples in [1usize, 7, 64, 65, 1000, 12345] {
            let mut tiling = Tiling::new(BATCH, 64);
            tiling.cut(samples, &[]);
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
}
