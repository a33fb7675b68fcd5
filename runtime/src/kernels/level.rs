//! The bodies compiled once for each ISA level, and the table through which they are called.

use super::body::{self, Tile};
use super::simd::{self, Simd};
use crate::table::Occurrences;

pub(super) type TileFn = unsafe fn(&Tile);

/// Register tiles with one number of vectors across: `(rows, function)`, most rows first, down to one row.
pub(super) type TileSet = &'static [(usize, TileFn)];

pub(super) type SumRowsFn = unsafe fn(&Occurrences, (usize, usize), &[(*const f32, usize)], usize, *mut f32);

pub(super) type UnfoldFn =
    unsafe fn(*const f32, usize, usize, Option<(*const f32, *mut f32)>, Option<(*const f32, *mut f32)>);

/// Everything of one level.
pub(super) struct Level {
    pub lanes: usize,
    /// By vectors across, less 1; for blocks whose last vector is whole.
    pub whole: &'static [TileSet],
    /// The same for blocks whose last vector is masked.
    pub masked: &'static [TileSet],
    pub dot: unsafe fn(&Tile, usize),
    pub moments: unsafe fn(*const f32, usize, usize, usize, *mut f32, *mut f32),
    pub join: unsafe fn(*mut f32, *const f32, usize, bool),
    pub sum_rows: SumRowsFn,
    pub fold: unsafe fn(*const f32, *const f32, usize, usize, bool, *mut f32),
    pub unfold: UnfoldFn,
}

macro_rules! level {
    ($name:ident, $simd:ty, [$($feature:literal)?], [$($columns:literal: $($rows:literal)*, $($narrow:literal)*;)*]) => {
        pub(super) mod $name {
            use super::*;

            // SAFETY of all: the caller of a level's functions vouches for its features (see `Gemm::new`) and for the addresses.
            $(#[target_feature(enable = $feature)])?
            unsafe fn tile<const R: usize, const C: usize, const WHOLE: bool>(t: &Tile) {
                // SAFETY: as above.
                unsafe { body::tile::<$simd, R, C, WHOLE>(t) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn dot(t: &Tile, rows: usize) {
                // SAFETY: as above.
                unsafe { body::dot::<$simd>(t, rows) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn moments(x: *const f32, x_row: usize, rows: usize, width: usize, mean: *mut f32, m2: *mut f32) {
                // SAFETY: as above.
                unsafe { body::moments::<$simd>(x, x_row, rows, width, mean, m2) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn join(out: *mut f32, x: *const f32, count: usize, greater: bool) {
                // SAFETY: as above.
                unsafe { body::join::<$simd>(out, x, count, greater) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn sum_rows(
                occurrences: &Occurrences,
                range: (usize, usize),
                gradients: &[(*const f32, usize)],
                width: usize,
                out: *mut f32,
            ) {
                // SAFETY: as above.
                unsafe { body::sum_rows::<$simd>(occurrences, range, gradients, width, out) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn fold(w: *const f32, q: *const f32, e: usize, n: usize, transposed: bool, out: *mut f32) {
                // SAFETY: as above.
                unsafe { body::fold::<$simd>(w, q, e, n, transposed, out) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn unfold(
                m: *const f32,
                e: usize,
                n: usize,
                weight: Option<(*const f32, *mut f32)>,
                sample: Option<(*const f32, *mut f32)>,
            ) {
                // SAFETY: as above.
                unsafe { body::unfold::<$simd>(m, e, n, weight, sample) }
            }

            pub(in crate::kernels) static LEVEL: Level = Level {
                lanes: <$simd as Simd>::LANES,
                whole: &[$(&[$(($rows, tile::<$rows, $columns, true> as TileFn)),*]),*],
                masked: &[$(&[$(($narrow, tile::<$narrow, $columns, false> as TileFn)),*]),*],
                dot,
                moments,
                join,
                sum_rows,
                fold,
                unfold,
            };
            const _: () = assert!(LEVEL_COLUMNS == <$simd as Simd>::COLUMNS);
            const LEVEL_COLUMNS: usize = [$($columns),*].len();
        }
    };
}

// Vectors across, then rows of whole and of masked tiles. Rows times columns accumulators, one vector of `w` a column and one of `x`
// (and the mask, where it takes a vector register: AVX2) fit the registers: 32, 16 and 16 of them.
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
