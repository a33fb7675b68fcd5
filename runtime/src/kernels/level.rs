//! The bodies compiled once for each ISA level, and the table through which they are called.

use super::absorbed::{DOT_FLOATS, PANEL_COLUMNS};
use super::body::{self, AbsorbedOuterTile, AbsorbedPanel, RegisterTile};
use super::simd::{self, Simd};
use super::statistic::partial_of_rows;
use super::{RowSegments, StridedRows};
use din_program::schedule::Statistic;

pub(super) type TileFn = unsafe fn(&RegisterTile);

/// Register tiles with one number of vectors across, by rows, less 1.
pub(super) type TileSet = &'static [TileFn];

pub(super) type AbsorbedTileFn = unsafe fn(&RegisterTile, &AbsorbedPanel, Option<*mut f32>);

pub(super) type AbsorbedOuterFn = unsafe fn(&AbsorbedOuterTile<'_>);

pub(super) type SumRowsFn = unsafe fn(RowSegments<'_>, (usize, usize), &[Option<StridedRows>], usize, *mut f32);

pub(super) type StatisticFn = unsafe fn(Statistic, *const f32, usize, usize, usize, *mut f32);

/// Tiles that compute the absorbed weight of their sample themselves.
pub(super) struct AbsorbingTiles {
    /// By vectors across, then by rows, less 1 each.
    pub whole: &'static [&'static [AbsorbedTileFn]],
    /// The same for tiles whose last vector is masked.
    pub masked: &'static [&'static [AbsorbedTileFn]],
    /// Most vectors across of the tiles of a sample, by its entries, less 1; the last is for all
    /// longer histories.
    pub vectors: &'static [usize],
    /// Whether all samples of a group take the width of the widest one; otherwise the weight is
    /// read once per width that occurs.
    pub uniform: bool,
}

/// Tiles of the gradients of absorbed weights.
pub(super) struct OuterTiles {
    /// By vectors across, then by rows, less 1 each.
    pub whole: &'static [&'static [AbsorbedOuterFn]],
    /// The same for tiles whose last vector is masked.
    pub masked: &'static [&'static [AbsorbedOuterFn]],
    /// Histories with fewer entries than this on average take these tiles: first where the last
    /// vector of a row is whole, then where it is masked. A masked store cannot be forwarded to a
    /// load, so with a mask sums that stay in registers pay for longer histories too. `None`: all
    /// histories.
    pub below: Option<[usize; 2]>,
}

/// Everything of one level.
pub(super) struct Level {
    pub lanes: usize,
    /// By vectors across, less 1; for blocks whose last vector is whole.
    pub whole: &'static [TileSet],
    /// The same for blocks whose last vector is masked.
    pub masked: &'static [TileSet],
    pub dot: unsafe fn(&RegisterTile, usize),
    pub statistic: StatisticFn,
    pub join: unsafe fn(*mut f32, *const f32, usize, bool),
    pub sum_rows: SumRowsFn,
    pub absorbing: AbsorbingTiles,
    pub absorbing_transposed: AbsorbingTiles,
    pub absorbed_column: unsafe fn(&AbsorbedPanel, bool, usize, *mut f32),
    /// Tiles of the gradients of absorbed weights. A group of samples takes the first whose `below`
    /// is above the average length of its histories.
    pub outer: &'static [OuterTiles],
}

macro_rules! level {
    (
        $name:ident: $simd:ty, [$($feature:literal)?],
        tiles { $($columns:literal: $($rows:literal)*, $($narrow:literal)*;)* }
        absorbing { $($absorbing:literal: $($absorbing_rows:literal)*, $($absorbing_narrow:literal)*;)* }
            widths $widths:expr,
        transposed { $($transposed:literal: $($transposed_rows:literal)*, $($transposed_narrow:literal)*;)* }
            widths $transposed_widths:expr,
        uniform $uniform:literal,
        $(gradients { $($outer:literal: $($outer_rows:literal)*;)* } in registers $kept:literal, below $below:expr;)*
    ) => {
        pub(super) mod $name {
            use super::*;

            $(#[target_feature(enable = $feature)])?
            unsafe fn tile<const R: usize, const C: usize, const WHOLE: bool>(t: &RegisterTile) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::tile::<$simd, R, C, WHOLE>(t) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn dot(t: &RegisterTile, rows: usize) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::dot::<$simd>(t, rows) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn statistic(
                statistic: Statistic,
                x: *const f32,
                x_row: usize,
                rows: usize,
                width: usize,
                partial: *mut f32,
            ) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { partial_of_rows::<$simd>(statistic, x, x_row, rows, width, partial) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn join(out: *mut f32, x: *const f32, count: usize, greater: bool) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::join::<$simd>(out, x, count, greater) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn sum_rows(
                segments: RowSegments<'_>,
                range: (usize, usize),
                rows: &[Option<StridedRows>],
                width: usize,
                out: *mut f32,
            ) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::sum_rows::<$simd>(segments, range, rows, width, out) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn absorbed<const R: usize, const C: usize, const WHOLE: bool, const TRANSPOSED: bool>(
                t: &RegisterTile,
                panel: &AbsorbedPanel,
                keep: Option<*mut f32>,
            ) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::absorbed_tile::<$simd, R, C, WHOLE, TRANSPOSED>(t, panel, keep) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn absorbed_column(panel: &AbsorbedPanel, transposed: bool, steps: usize, out: *mut f32) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::absorbed_column::<$simd>(panel, transposed, steps, out) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn absorbed_outer<const R: usize, const C: usize, const WHOLE: bool, const KEPT: bool>(
                t: &AbsorbedOuterTile<'_>,
            ) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::absorbed_outer_tile::<$simd, R, C, WHOLE, KEPT>(t) }
            }

            pub(in crate::kernels) static LEVEL: Level = Level {
                lanes: <$simd as Simd>::LANES,
                whole: &[$(&[$(tile::<$rows, $columns, true> as TileFn),*]),*],
                masked: &[$(&[$(tile::<$narrow, $columns, false> as TileFn),*]),*],
                dot,
                statistic,
                join,
                sum_rows,
                absorbing: AbsorbingTiles {
                    whole: &[$(&[$(absorbed::<$absorbing_rows, $absorbing, true, false> as AbsorbedTileFn),*]),*],
                    masked: &[$(&[$(absorbed::<$absorbing_narrow, $absorbing, false, false> as AbsorbedTileFn),*]),*],
                    vectors: &$widths,
                    uniform: $uniform,
                },
                absorbing_transposed: AbsorbingTiles {
                    whole: &[$(&[$(absorbed::<$transposed_rows, $transposed, true, true> as AbsorbedTileFn),*]),*],
                    masked: &[$(&[$(absorbed::<$transposed_narrow, $transposed, false, true> as AbsorbedTileFn),*]),*],
                    vectors: &$transposed_widths,
                    uniform: $uniform,
                },
                absorbed_column,
                outer: &[$(OuterTiles {
                    whole: &[$(&[$(absorbed_outer::<$outer_rows, $outer, true, $kept> as AbsorbedOuterFn),*]),*],
                    masked: &[$(&[$(absorbed_outer::<$outer_rows, $outer, false, $kept> as AbsorbedOuterFn),*]),*],
                    below: $below,
                }),*],
            };
            const _: () = assert!(LEVEL_COLUMNS == <$simd as Simd>::COLUMNS);
            const LEVEL_COLUMNS: usize = [$($columns),*].len();
            const _: () = assert!(LEVEL_COLUMNS * <$simd as Simd>::LANES <= PANEL_COLUMNS);
            $($($(const _: () = assert!($outer > 0 && $outer_rows * <$simd as Simd>::LANES <= DOT_FLOATS);)*)*)*
        }
    };
}

// - `tiles`: vectors across, then heights in rows: of whole tiles, then of masked ones. One
//   accumulator for each row and vector across, one vector of `w` for each vector across, and one
//   of `x` (and the mask, where it takes a vector register: AVX2) fit into the registers: 32 at v4,
//   16 at v3 and v2.
// - `absorbing`, `transposed`: the same for tiles that compute their weight, or its transpose,
//   which takes one or two more registers. `widths`: the most vectors across by entries: wide where
//   a history is so short that few sums are under way; then so narrow that one tile has all entries
//   and need not store its weight.
// - `gradients`: tiles of absorbed weights' gradients, by growing length of histories.
//   `in registers`: whether the sums of weights stay there from sample to sample.
//
// No bit depends on these.
#[cfg(target_arch = "x86_64")]
level!(v4: simd::Avx512, ["avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"],
    tiles {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        3: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        4: 1 2 3 4 5 6, 1 2 3 4 5 6;
        5: 1 2 3 4 5, 1 2 3 4 5;
    }
    absorbing {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        3: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        4: 1 2 3 4 5 6, 1 2 3 4 5 6;
        5: 1 2 3 4 5, 1 2 3 4 5;
    } widths [5, 5, 5, 5, 5, 3],
    transposed {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        3: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        4: 1 2 3 4 5 6, 1 2 3 4 5 6;
        5: 1 2 3 4 5, 1 2 3 4 5;
    } widths [5, 5, 5, 5, 5, 3],
    uniform true,
    gradients {
        1: 1 2 3 4;
        2: 1 2 3 4;
    } in registers true, below Some([3, 24]);
    gradients {
        1: 1 2 3 4;
        2: 1 2 3 4;
        3: 1 2 3 4;
        4: 1 2 3 4;
        5: 1 2 3 4;
    } in registers false, below Some([64, 64]);
    gradients {
        1: 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6 7 8;
        3: 1 2 3 4 5 6 7 8;
    } in registers false, below None;
);
#[cfg(target_arch = "x86_64")]
level!(v3: simd::Avx2, ["avx2,fma"],
    tiles {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6, 1 2 3 4 5;
        3: 1 2 3 4, 1 2 3;
    }
    absorbing {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6, 1 2 3 4 5;
        3: 1 2 3 4, 1 2 3;
        4: 1 2, 1 2;
        5: 1 2, 1 2;
        6: 1, 1;
    } widths [6, 5, 3, 3, 2, 2, 3],
    transposed {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4 5 6, 1 2 3 4 5;
        3: 1 2 3, 1 2 3;
        4: 1, 1;
        5: 1, 1;
        6: 1, 1;
    } widths [6, 3, 3, 2, 2, 2, 2, 2, 3],
    uniform false,
    gradients {
        1: 1 2;
        2: 1 2;
    } in registers true, below Some([0, 3]);
    gradients {
        1: 1 2 3 4 5 6;
        2: 1 2 3 4 5 6;
    } in registers false, below None;
);
#[cfg(target_arch = "x86_64")]
level!(v2: simd::Sse, [],
    tiles {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4, 1 2 3 4;
        3: 1 2 3 4, 1 2 3 4;
    }
    absorbing {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4, 1 2 3 4;
        3: 1 2 3 4, 1 2 3 4;
    } widths [3],
    transposed {
        1: 1 2 3 4 5 6 7 8, 1 2 3 4 5 6 7 8;
        2: 1 2 3 4, 1 2 3 4;
        3: 1 2 3 4, 1 2 3 4;
    } widths [3],
    uniform false,
    gradients {
        1: 1 2 3 4;
        2: 1 2 3 4;
    } in registers false, below None;
);
#[cfg(not(target_arch = "x86_64"))]
level!(portable: simd::Portable, [],
    tiles {
        1: 1 2 3 4, 1 2 3 4;
        2: 1 2 3 4, 1 2 3 4;
    }
    absorbing {
        1: 1 2 3 4, 1 2 3 4;
        2: 1 2 3 4, 1 2 3 4;
    } widths [2],
    transposed {
        1: 1 2 3 4, 1 2 3 4;
        2: 1 2 3 4, 1 2 3 4;
    } widths [2],
    uniform false,
    gradients {
        1: 1 2 3 4;
        2: 1 2 3 4;
    } in registers false, below None;
);
