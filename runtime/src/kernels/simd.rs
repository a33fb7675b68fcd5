//! Vectors of f32 at each ISA level, behind one trait. The bodies that use it are
//! `#[inline(always)]` and become machine code inside functions that enable the level's features
//! (see `level.rs`), so one build serves every CPU.

/// One level's vector operations.
///
/// # Safety
///
/// Every method may be called only where the CPU has the level's features; pointers must be valid
/// for the lanes that are named.
pub(super) trait Simd {
    type V: Copy;
    /// Selects the first lanes of a vector.
    type Mask: Copy;
    const LANES: usize;
    /// Most vectors across of a register tile, and rows by vectors across (index 0: one vector).
    const COLUMNS: usize;

    unsafe fn mask(lanes: usize) -> Self::Mask;
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Other lanes are 0 and not read.
    unsafe fn load_first(p: *const f32, m: Self::Mask) -> Self::V;
    /// Other lanes are not written.
    unsafe fn store_first(p: *mut f32, m: Self::Mask, v: Self::V);
    /// `a * b + c`, rounded once where the level has it.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// Sum of each vector's lanes.
    unsafe fn sum4(v: [Self::V; 4]) -> [f32; 4];
}

/// Four plain floats, for CPUs that are no x86.
#[cfg(not(target_arch = "x86_64"))]
pub(super) struct Portable;

#[cfg(not(target_arch = "x86_64"))]
impl Simd for Portable {
    type V = [f32; 4];
    type Mask = usize;
    const LANES: usize = 4;
    const COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn mask(lanes: usize) -> usize {
        lanes
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: the caller vouches for four floats.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: the caller vouches for four floats.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, m: usize) -> [f32; 4] {
        // SAFETY: the caller vouches for `m` floats.
        unsafe {
            if m == 4 {
                return Self::load(p);
            }
            let mut v = [0.0; 4];
            for (i, x) in v.iter_mut().enumerate().take(m) {
                *x = *p.add(i);
            }
            v
        }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, m: usize, v: [f32; 4]) {
        // SAFETY: the caller vouches for `m` floats.
        unsafe {
            if m == 4 {
                return Self::store(p, v);
            }
            for (i, x) in v.iter().enumerate().take(m) {
                *p.add(i) = *x;
            }
        }
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn sum4(v: [[f32; 4]; 4]) -> [f32; 4] {
        std::array::from_fn(|r| (v[r][0] + v[r][1]) + (v[r][2] + v[r][3]))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512, Sse};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// Four lanes, 16 registers: what every x86-64 has.
    pub(in crate::kernels) struct Sse;

    impl Simd for Sse {
        type V = __m128;
        /// Number of lanes.
        type Mask = usize;
        const LANES: usize = 4;
        const COLUMNS: usize = 3;

        #[inline(always)]
        unsafe fn mask(lanes: usize) -> usize {
            lanes
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m128 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m128 {
            // SAFETY: `p` is valid for a whole vector, and SSE2 is part of x86-64.
            unsafe { _mm_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m128) {
            // SAFETY: `p` is valid for a whole vector, and SSE2 is part of x86-64.
            unsafe { _mm_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, m: usize) -> __m128 {
            // SAFETY: `p` is valid for the lanes that `m` selects, and SSE2 is part of x86-64.
            unsafe {
                match m {
                    4 => Self::load(p),
                    3 => _mm_setr_ps(*p, *p.add(1), *p.add(2), 0.0),
                    2 => _mm_setr_ps(*p, *p.add(1), 0.0, 0.0),
                    1 => _mm_set_ss(*p),
                    _ => _mm_setzero_ps(),
                }
            }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, m: usize, v: __m128) {
            // SAFETY: `p` is valid for the lanes that `m` selects, and SSE2 is part of x86-64.
            unsafe {
                if m == 4 {
                    return Self::store(p, v);
                }
                let lanes = std::mem::transmute::<__m128, [f32; 4]>(v);
                for (i, x) in lanes.iter().enumerate().take(m) {
                    *p.add(i) = *x;
                }
            }
        }
        #[inline(always)]
        unsafe fn fma(a: __m128, b: __m128, c: __m128) -> __m128 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_add_ps(_mm_mul_ps(a, b), c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m128, b: __m128) -> __m128 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m128, b: __m128) -> __m128 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m128, b: __m128) -> __m128 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m128, b: __m128) -> __m128 {
            // SAFETY: SSE2 is part of x86-64.
            unsafe { _mm_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sum4(v: [__m128; 4]) -> [f32; 4] {
            v.map(|v| {
                // SAFETY: both are four floats.
                let [a, b, c, d] = unsafe { std::mem::transmute::<__m128, [f32; 4]>(v) };
                (a + b) + (c + d)
            })
        }
    }

    /// Eight lanes, 16 registers.
    pub(in crate::kernels) struct Avx2;

    impl Simd for Avx2 {
        type V = __m256;
        /// The lanes, and their number.
        type Mask = (__m256i, usize);
        const LANES: usize = 8;
        const COLUMNS: usize = 3;

        #[inline(always)]
        unsafe fn mask(lanes: usize) -> (__m256i, usize) {
            // SAFETY: The caller's CPU has AVX2 and FMA.
            let first = unsafe {
                _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
            };
            (first, lanes)
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: The caller's CPU has AVX2 and FMA.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m256 {
            // SAFETY: `p` is valid for a whole vector, and the caller's CPU has AVX2 and FMA.
            unsafe { _mm256_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m256) {
            // SAFETY: `p` is valid for a whole vector, and the caller's CPU has AVX2 and FMA.
            unsafe { _mm256_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, m: (__m256i, usize)) -> __m256 {
            // SAFETY: `p` is valid for the lanes that `m` selects, and the caller's CPU has AVX2
            // and FMA.
            unsafe { _mm256_maskload_ps(p, m.0) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, m: (__m256i, usize), v: __m256) {
            // Masked stores are microcode on AMD's CPUs before Zen 5, a dozen cycles each.
            // SAFETY: `p` is valid for the lanes that `m` selects, and the caller's CPU has AVX2
            // and FMA.
            unsafe {
                if m.1 == 8 {
                    return Self::store(p, v);
                }
                let (mut p, mut rest) = (p, _mm256_castps256_ps128(v));
                if m.1 & 4 != 0 {
                    _mm_storeu_ps(p, rest);
                    (p, rest) = (p.add(4), _mm256_extractf128_ps::<1>(v));
                }
                if m.1 & 2 != 0 {
                    _mm_storel_epi64(p.cast(), _mm_castps_si128(rest));
                    (p, rest) = (p.add(2), _mm_movehl_ps(rest, rest));
                }
                if m.1 & 1 != 0 {
                    _mm_store_ss(p, rest);
                }
            }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: The caller's CPU has AVX2 and FMA.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: The caller's CPU has AVX2 and FMA.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            // SAFETY: The caller's CPU has AVX2 and FMA.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            // SAFETY: The caller's CPU has AVX2 and FMA.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            // SAFETY: The caller's CPU has AVX2 and FMA.
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sum4(v: [__m256; 4]) -> [f32; 4] {
            // SAFETY: The caller's CPU has AVX2 and FMA, and a `__m128` is four floats.
            unsafe {
                // Written out: a closure would not have the features.
                let halves = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
                let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
                std::mem::transmute::<__m128, [f32; 4]>(sums)
            }
        }
    }

    /// Sixteen lanes, 32 registers.
    pub(in crate::kernels) struct Avx512;

    impl Simd for Avx512 {
        type V = __m512;
        type Mask = __mmask16;
        const LANES: usize = 16;
        const COLUMNS: usize = 5;

        #[inline(always)]
        unsafe fn mask(lanes: usize) -> __mmask16 {
            ((1u32 << lanes) - 1) as u16
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: The caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> __m512 {
            // SAFETY: `p` is valid for a whole vector, and the caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: __m512) {
            // SAFETY: `p` is valid for a whole vector, and the caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_storeu_ps(p, v) }
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, m: __mmask16) -> __m512 {
            // SAFETY: `p` is valid for the lanes that `m` selects, and the caller's CPU has AVX-512
            // F and DQ.
            unsafe { _mm512_maskz_loadu_ps(m, p) }
        }
        #[inline(always)]
        unsafe fn store_first(p: *mut f32, m: __mmask16, v: __m512) {
            // SAFETY: `p` is valid for the lanes that `m` selects, and the caller's CPU has AVX-512
            // F and DQ.
            unsafe { _mm512_mask_storeu_ps(p, m, v) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: The caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: The caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            // SAFETY: The caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            // SAFETY: The caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            // SAFETY: The caller's CPU has AVX-512 F and DQ.
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sum4(v: [__m512; 4]) -> [f32; 4] {
            // SAFETY: The caller's CPU has AVX-512 F and DQ, and so AVX2.
            unsafe {
                let a = _mm256_add_ps(_mm512_castps512_ps256(v[0]), _mm512_extractf32x8_ps::<1>(v[0]));
                let b = _mm256_add_ps(_mm512_castps512_ps256(v[1]), _mm512_extractf32x8_ps::<1>(v[1]));
                let c = _mm256_add_ps(_mm512_castps512_ps256(v[2]), _mm512_extractf32x8_ps::<1>(v[2]));
                let d = _mm256_add_ps(_mm512_castps512_ps256(v[3]), _mm512_extractf32x8_ps::<1>(v[3]));
                <Avx2 as Simd>::sum4([a, b, c, d])
            }
        }
    }
}
