//! The bodies compiled once for each ISA level, and the table through which they are called.

use super::body::{self, RegisterTile};
use super::simd::{self, Simd};
use super::statistic::partial_of_rows;
use super::{RowSegments, StridedRows};
use din_program::schedule::Statistic;

pub(super) type TileFn = unsafe fn(&RegisterTile);

/// Register tiles with one number of vectors across: `(rows, function)`, most rows first, down to
/// one row.
pub(super) type TileSet = &'static [(usize, TileFn)];

pub(super) type SumRowsFn = unsafe fn(RowSegments<'_>, (usize, usize), &[Option<StridedRows>], usize, *mut f32);

pub(super) type StatisticFn = unsafe fn(Statistic, *const f32, usize, usize, usize, *mut f32);

pub(super) type AbsorbBackwardFn =
    unsafe fn(*const f32, usize, usize, Option<(*const f32, *mut f32)>, Option<(*const f32, *mut f32)>);

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
    pub absorb: unsafe fn(*const f32, *const f32, usize, usize, bool, *mut f32),
    pub absorb_backward: AbsorbBackwardFn,
}

macro_rules! level {
    ($name:ident, $simd:ty, [$($feature:literal)?], [$($columns:literal: $($rows:literal)*, $($narrow:literal)*;)*]) => {
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
            unsafe fn absorb(w: *const f32, q: *const f32, e: usize, n: usize, transposed: bool, out: *mut f32) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::absorb::<$simd>(w, q, e, n, transposed, out) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn absorb_backward(
                m: *const f32,
                e: usize,
                n: usize,
                weight: Option<(*const f32, *mut f32)>,
                sample: Option<(*const f32, *mut f32)>,
            ) {
                // SAFETY: the caller vouches for the level's features (see `Microkernels::new`) and
                // for the addresses.
                unsafe { body::absorb_backward::<$simd>(m, e, n, weight, sample) }
            }

            pub(in crate::kernels) static LEVEL: Level = Level {
                lanes: <$simd as Simd>::LANES,
                whole: &[$(&[$(($rows, tile::<$rows, $columns, true> as TileFn)),*]),*],
                masked: &[$(&[$(($narrow, tile::<$narrow, $columns, false> as TileFn)),*]),*],
                dot,
                statistic,
                join,
                sum_rows,
                absorb,
                absorb_backward,
            };
            const _: () = assert!(LEVEL_COLUMNS == <$simd as Simd>::COLUMNS);
            const LEVEL_COLUMNS: usize = [$($columns),*].len();
        }
    };
}

// Vectors across, then rows of whole and of masked tiles. Rows times columns accumulators, one
// vector of `w` a column and one of `x` (and the mask, where it takes a vector register: AVX2) fit
// the registers: 32, 16 and 16 of them.
#[cfg(target_arch = "x86_64")]
level!(v4, simd::Avx512, ["avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"], [
    1: 8 4 2 1, 8 4 2 1;
    2: 8 4 2 1, 8 4 2 1;
    3: 8 4 2 1, 8 4 2 1;
    4: 6 4 2 1, 6 4 2 1;
    5: 5 4 2 1, 5 4 2 1;
]);
#[cfg(target_arch = "x86_64")]
level!(v3, simd::Avx2, ["avx2,fma"], [
    1: 8 4 2 1, 8 4 2 1;
    2: 6 4 2 1, 5 2 1;
    3: 4 2 1, 3 2 1;
]);
#[cfg(target_arch = "x86_64")]
level!(v2, simd::Sse, [], [
    1: 8 4 2 1, 8 4 2 1;
    2: 4 2 1, 4 2 1;
    3: 4 2 1, 4 2 1;
]);
#[cfg(not(target_arch = "x86_64"))]
level!(portable, simd::Portable, [], [
    1: 4 2 1, 4 2 1;
    2: 4 2 1, 4 2 1;
]);
