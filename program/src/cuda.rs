//! How the CUDA form of a program is launched: plain data next to the generated source, so that the
//! runtime needs no compiler.
//!
//! # Kernels
//!
//! Every kernel is `extern "C" void name(const unsigned long long* pointers, const unsigned*
//! scalars, float* scratch)`: two arrays, of device pointers and of 32-bit scalars, indexed by the
//! numbering of its schedule ([`Launches::pointers`], [`Launches::scalars`]). The grid's `y` counts
//! instances of the schedule: the pointers of instance `y` begin at `pointers.len() * y` and its
//! scalars at `scalars.len() * y`, so that one launch updates all parameters with one optimizer,
//! say. Nothing is passed by value, so a captured launch can be replayed with new contents.
//!
//! # Tiles and chunks
//!
//! A phase over samples (rows, elements, requests) has tiles of [`Tiling::samples`] elements. A
//! phase over a sequence has the tiles of [`Tiling::cut`]: consecutive whole samples, at most
//! `samples` of them, with at most `entries` entries. A sample with more entries is a tile by
//! itself, a **long** one, whose buffers of entries lie in scratch memory. The entries of a common
//! sequence, which exist once per request, are cut the same way with requests for samples if
//! something is summed by request; else a tile consists of entries. Tiles of requests and of such
//! entries shrink until every chunk has one, so that enough blocks are busy.
//!
//! A phase over the steps of a recurrence has tiles of `samples` samples (or requests), whatever
//! their entries, whose buffers lie in scratch memory. The entries are numbered by step within each
//! tile, so all phases over the same steps have the same tiles.
//!
//! Block `c` of `n = min(tiles, chunks)` processes the tiles `c * tiles / n..(c + 1) * tiles / n`
//! and owns copy `c` of the phase's partial sums; blocks from `n` on do nothing. The launch that
//! follows joins the copies pairwise, by a tree over `c`. Nothing depends on the size of the
//! device, and there are no atomic additions, so the same inputs give the same bits.

mod rows;

pub use rows::{
    FeaturePointer, FeatureScalar, MovePointer, MoveScalar, ROWS_DIGITS, ROWS_ROUNDS, RowsLaunch, RowsPlan,
    RowsPointer, RowsScalar, RowsTable, TablePointer, TableScalar, plan_rows, print_rows_header,
};

use crate::schedule::{AxisId, BufferId, GLOBAL, KernelArg};
use serde::{Deserialize, Serialize};

/// What products are computed in; sums are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// Operands are used as they are.
    #[default]
    F32,
    /// Operands rounded to 10 bits of mantissa, on tensor cores.
    Tf32,
    /// Operands rounded to 7 bits of mantissa, on tensor cores.
    Bf16,
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Precision, String> {
        match text {
            "f32" => Ok(Self::F32),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(format!("expected f32, tf32 or bf16, found `{text}`")),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        })
    }
}

/// The launches of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuda {
    /// Of all products.
    pub precision: Precision,
    /// Threads of every block.
    pub threads: u32,
    /// Most chunks of a phase, and copies of its partial sums.
    pub chunks: u32,
    /// In the order in which the schedules were given.
    pub schedules: Vec<Launches>,
}

/// What a schedule launches, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launches {
    /// Names its kernels: `din_<name>_<phase>`.
    pub name: String,
    /// What the pointers that its kernels get lead to, by number.
    pub pointers: Vec<PointerArg>,
    /// What the scalars that its kernels get hold, by number.
    pub scalars: Vec<ScalarArg>,
    /// How axes are cut into tiles; launches name them by index.
    pub tilings: Vec<Tiling>,
    /// Numbers of one copy of the partial sums; [`PointerArg::Partials`] has one per chunk.
    pub partial_floats: u32,
    /// One kernel after another.
    pub launches: Vec<Launch>,
}

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PointerArg {
    /// A buffer that is neither in a tile nor partial. A table's weights and what the optimizer
    /// keeps are addressed by row number.
    Buffer(BufferId),
    /// Parents, row numbers, tables, the row index.
    Argument(KernelArg),
    /// `u32`: first entry of each sample of the sequence (of each request, where the entries are a
    /// request's), then their number; of the samples, the first of each request; of a group, where
    /// what each element stands for begins.
    Offsets(AxisId),
    /// `u32`: what the elements of a group stand for, those of one element side by side and
    /// ascending.
    Members(AxisId),
    /// `u32`: first sample (or request) of each tile of a tiling that is cut, then the number of
    /// samples.
    Tiles(u32),
    /// `u32`: of the steps of a recurrence, the first entry of each step of each tile, then the
    /// number of entries.
    Steps(AxisId),
    /// `u32`: the first step of each tile, then the number of steps of all tiles.
    StepTiles(AxisId),
    /// One copy per chunk of the partial sums of a phase.
    Partials,
}

/// A word of `batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ScalarArg {
    /// Elements of the axis. For updates of rows the device writes it.
    Elements(AxisId),
    /// Tiles of a tiling that is cut; those of so many samples follow from their number.
    Tiles(u32),
    /// Entries of the longest tile of a tiling that is cut, at least `entries`, or of one of steps;
    /// rounded up to a multiple of [`ALIGN`].
    Longest(u32),
}

/// Rows of a tile buffer come in multiples of this, so that buffers begin at 16 bytes.
pub const ALIGN: u32 = 4;

/// How an axis is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tiling {
    /// Whose elements make a tile: samples, rows, requests, entries, or what lies under samples or
    /// requests.
    pub axis: AxisId,
    /// Most samples (or requests) of a tile.
    pub samples: u32,
    /// Most elements of the axis in a tile of more than one sample; 0 where tiles are of the axis's
    /// elements themselves, `samples` of them, or of so many samples with their steps.
    pub entries: u32,
}

/// One kernel of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The name of the kernel in the generated source.
    pub kernel: String,
    /// Index into the schedule's phases.
    pub phase: u32,
    /// How many blocks one instance of the schedule takes.
    pub grid: Grid,
    /// Dynamic shared memory in bytes; above 48 KiB a kernel must be allowed it.
    pub shared: u32,
    /// Tile buffers that a long tile has in scratch, or every tile where
    /// [`Launch::always_scratch`]: numbers a sample and numbers an entry.
    pub scratch: (u32, u32),
    /// Whether some tile buffers always lie in scratch.
    pub always_scratch: bool,
    /// `file:line:column` of the first call.
    pub location: String,
}

/// Blocks along `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grid {
    /// [`Cuda::chunks`] blocks; those without tiles do nothing.
    Tiles {
        /// Index into [`Launches::tilings`].
        tiling: u32,
    },
    /// So many, whatever the batch.
    Blocks(u32),
}

impl Launch {
    /// Numbers of scratch that a launch needs for each instance, `longest` being the entries of the
    /// longest tile as in [`ScalarArg::Longest`], and `blocks` those that have tiles; 0 where none
    /// is used.
    pub fn scratch_floats(&self, schedule: &Launches, longest: u32, blocks: u32) -> usize {
        let Grid::Tiles { tiling } = self.grid else { return 0 };
        let Some(tiling) = schedule.tilings.get(tiling as usize) else { return 0 };
        if !self.always_scratch && longest <= tiling.entries {
            return 0;
        }
        let (sample, entry) = self.scratch;
        let block = sample as usize * tiling.samples as usize + entry as usize * longest as usize;
        block * blocks as usize
    }
}

impl Tiling {
    /// Most elements of an axis in a tile that is not long.
    pub fn capacity(&self, axis: AxisId) -> u32 {
        match axis {
            GLOBAL => 1,
            d if d == self.axis && self.entries > 0 => self.entries,
            _ => self.samples,
        }
    }

    /// First sample of each tile, then the number of samples; and the entries of the longest tile,
    /// for [`ScalarArg::Longest`]. `offsets` are those of [`PointerArg::Offsets`]; without samples
    /// there is no tile.
    pub fn cut(&self, offsets: &[u32]) -> (Vec<u32>, u32) {
        let mut bounds = Vec::new();
        let longest = self.cut_into(offsets, &mut bounds);
        (bounds, longest)
    }

    /// The same in memory that is there.
    pub fn cut_into(&self, offsets: &[u32], bounds: &mut Vec<u32>) -> u32 {
        let samples = offsets.len().saturating_sub(1);
        bounds.clear();
        bounds.resize(samples + 1, 0);
        // The tile's first sample and its first entry. There is a tile every few samples, so its
        // end is written at every one: a branch that cannot be predicted would take longer.
        let (mut tiles, mut first, mut begin) = (0, 0, offsets.first().copied().unwrap_or(0));
        let mut longest = self.entries;
        for (sample, entries) in (0u32..).zip(offsets.windows(2)) {
            let full = (sample - first >= self.samples) | (entries[1] - begin > self.entries);
            let full = u32::from(full & (sample > first));
            tiles += full as usize;
            let mask = full.wrapping_neg();
            first ^= (first ^ sample) & mask;
            begin ^= (begin ^ entries[0]) & mask;
            bounds[tiles] = first;
            longest = longest.max(entries[1] - begin);
        }
        bounds.truncate(tiles + 1);
        if samples > 0 {
            bounds.push(samples as u32);
        }
        longest.next_multiple_of(ALIGN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiling(samples: u32, entries: u32) -> Tiling {
        Tiling { axis: AxisId(2), samples, entries }
    }

    #[test]
    fn tiles_hold_whole_samples() {
        // Lengths 3, 0, 5, 1, 0, 9, 0.
        let offsets = [0, 3, 3, 8, 9, 9, 18, 18];
        assert_eq!(tiling(4, 8).cut(&offsets), (vec![0, 3, 5, 6, 7], 12));
        assert_eq!(tiling(4, 32).cut(&offsets), (vec![0, 4, 7], 32));
        assert_eq!(tiling(1, 4).cut(&offsets).0.len(), 8);
    }

    #[test]
    fn empty_batches_and_empty_lists() {
        assert_eq!(tiling(4, 8).cut(&[0]), (vec![0], 8));
        assert_eq!(tiling(4, 8).cut(&[0; 6]), (vec![0, 4, 5], 8));
    }

    #[test]
    fn a_long_sample_is_alone() {
        let (bounds, longest) = tiling(8, 4).cut(&[0, 1, 8, 9]);
        assert_eq!((bounds, longest), (vec![0, 1, 2, 3], 8));
    }
}
