//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A number is a function of (seed, name of the stream, id, position) and of nothing else: no
//! state, no order of calls, no thread. Normal numbers use only IEEE additions, multiplications,
//! divisions and square roots, so the bits are the same on every machine.

use din_program::schema::Init;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Philox4x32 with ten rounds: four random words for a counter and a key.
#[inline]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let a = u64::from(MULTIPLIER[0]) * u64::from(c[0]);
        let b = u64::from(MULTIPLIER[1]) * u64::from(c[2]);
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// The random numbers of one (seed, name, id): an endless array that is read at any place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    id: [u32; 2],
}

impl Stream {
    /// `name` says what the numbers are for (`table good`), `id` which one of many (the id of a
    /// row, an epoch).
    pub fn new(seed: u64, name: &str, id: u64) -> Self {
        Self::keyed(xxh3_64_with_seed(name.as_bytes(), seed), id)
    }

    /// The same, with (seed, name) already reduced to a key by [`Stream::key`].
    #[inline]
    pub fn keyed(key: u64, id: u64) -> Self {
        Self { key: [key as u32, (key >> 32) as u32], id: [id as u32, (id >> 32) as u32] }
    }

    /// What [`Stream::keyed`] takes.
    pub fn key(seed: u64, name: &str) -> u64 {
        xxh3_64_with_seed(name.as_bytes(), seed)
    }

    /// Words `4 index .. 4 index + 4`.
    #[inline]
    pub fn block(&self, index: u64) -> [u32; 4] {
        philox4x32([index as u32, (index >> 32) as u32, self.id[0], self.id[1]], self.key)
    }

    /// 64-bit number `index`.
    #[inline]
    pub fn word(&self, index: u64) -> u64 {
        let b = self.block(index / 2);
        let (low, high) = if index.is_multiple_of(2) { (b[0], b[1]) } else { (b[2], b[3]) };
        u64::from(high) << 32 | u64::from(low)
    }

    /// Number `index`, uniform on `[0, 1)`, a multiple of 2^-53.
    #[inline]
    pub fn uniform(&self, index: u64) -> f64 {
        (self.word(index) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Number `index`, uniform on `0..n` (bias below n / 2^64); 0 for `n = 0`.
    #[inline]
    pub fn below(&self, index: u64, n: u64) -> u64 {
        ((u128::from(self.word(index)) * u128::from(n)) >> 64) as u64
    }

    /// Starting values of a weight: position `i` of `out` is a function of the stream and `i`.
    pub fn fill(&self, init: Init, out: &mut [f32]) {
        match init {
            Init::Constant(c) => out.fill(c as f32),
            Init::Uniform(limit) => {
                let limit = limit as f32;
                for (index, chunk) in out.chunks_mut(4).enumerate() {
                    let words = self.block(index as u64);
                    for (value, word) in chunk.iter_mut().zip(words) {
                        // 24 bits: 2u - 1 is exact in f32, at least -1 and below 1.
                        *value = ((word >> 8) as f32 * (2.0 / (1u32 << 24) as f32) - 1.0) * limit;
                    }
                }
            }
            Init::Normal(deviation) => {
                for (index, chunk) in out.chunks_mut(4).enumerate() {
                    let b = self.block(index as u64);
                    let ((x, y), (z, w)) = (normal_pair(b[0], b[1]), normal_pair(b[2], b[3]));
                    for (value, n) in chunk.iter_mut().zip([x, y, z, w]) {
                        *value = (n * deviation) as f32;
                    }
                }
            }
        }
    }

    /// A permutation of `0..n` (Fisher-Yates), written over `out`.
    pub fn permutation(&self, n: u32, out: &mut Vec<u32>) {
        out.clear();
        out.extend(0..n);
        for i in (1..n).rev() {
            let j = self.below(u64::from(n - 1 - i), u64::from(i) + 1);
            out.swap(i as usize, j as usize);
        }
    }
}

/// Two independent standard normal numbers from two words (Box and Muller, 1958); at most 6.67 from
/// 0.
#[inline]
pub fn normal_pair(a: u32, b: u32) -> (f64, f64) {
    let u = (f64::from(a) + 1.0) * (1.0 / (1u64 << 32) as f64);
    let radius = (-2.0 * ln(u)).sqrt();
    let (sin, cos) = sin_cos_turn(b);
    (radius * cos, radius * sin)
}

/// `1 / (2k + 3)`
const ODD: [f64; 10] = quotients(2, 3, 0, 1);
/// `1 / ((2k + 2) (2k + 3))`
const SIN: [f64; 7] = quotients(2, 2, 2, 3);
/// `1 / ((2k + 1) (2k + 2))`
const COS: [f64; 8] = quotients(2, 1, 2, 2);

/// `1 / ((a k + b) (c k + d))`
const fn quotients<const N: usize>(a: usize, b: usize, c: usize, d: usize) -> [f64; N] {
    let mut out = [0.0; N];
    let mut k = 0;
    while k < N {
        out[k] = 1.0 / ((a * k + b) * (c * k + d)) as f64;
        k += 1;
    }
    out
}

/// Natural logarithm of a normal `x` in (0, 1], within a few ulp, from IEEE basic operations alone:
/// the system's `log` may differ by CPU.
#[inline]
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64 & 0x7ff) - 1023;
    let mut m = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh(s) with |s| <= 0.1716.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let sum = ODD.iter().rev().fold(0.0, |sum, c| (sum + c) * z);
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * (1.0 + sum)
}

/// Sine and cosine of `turn / 2^32` of a full turn, from IEEE basic operations alone.
#[inline]
fn sin_cos_turn(turn: u32) -> (f64, f64) {
    let quadrant = turn.wrapping_add(1 << 29) >> 30;
    let rest = turn.wrapping_sub(quadrant << 30) as i32;
    let x = f64::from(rest) * (std::f64::consts::TAU / (1u64 << 32) as f64);
    let z = x * x;
    // Taylor series to x^15 and x^16; |x| <= pi / 4.
    let s = SIN.iter().rev().fold(0.0, |s, c| -(z * c) * (1.0 + s));
    let c = COS.iter().rev().fold(0.0, |s, c| -(z * c) * (1.0 + s));
    let (s, c) = (x * (1.0 + s), 1.0 + c);
    match quadrant & 3 {
        0 => (s, c),
        1 => (c, -s),
        2 => (-s, -c),
        _ => (-c, s),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers_of_random123() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox4x32([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn functions_agree_with_the_standard_library() {
        let stream = Stream::new(1, "test", 0);
        for i in 0..20_000 {
            let x = stream.uniform(i).max(1e-12);
            assert!((ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs(), "ln {x}");
            let turn = stream.word(i) as u32;
            let angle = f64::from(turn) / (1u64 << 32) as f64 * std::f64::consts::TAU;
            let (s, c) = sin_cos_turn(turn);
            assert!((s - angle.sin()).abs() < 2e-15 && (c - angle.cos()).abs() < 2e-15, "turn {turn}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn moments_of_the_distributions() {
        let stream = Stream::new(7, "moments", 3);
        let mut x = vec![0f32; 400_000];
        let moments = |x: &[f32]| {
            let n = x.len() as f64;
            let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let central = |p: i32| x.iter().map(|&v| (f64::from(v) - mean).powi(p)).sum::<f64>() / n;
            (mean, central(2), central(4))
        };
        stream.fill(Init::Normal(2.0), &mut x);
        let (mean, var, fourth) = moments(&x);
        // Five standard errors: mean 2/sqrt(n), variance 4 sqrt(2/n), kurtosis sqrt(24/n).
        assert!(mean.abs() < 0.016 && (var - 4.0).abs() < 0.045 && (fourth / var / var - 3.0).abs() < 0.04);
        stream.fill(Init::Uniform(0.5), &mut x);
        let (mean, var, _) = moments(&x);
        assert!(mean.abs() < 0.0023 && (var - 1.0 / 12.0).abs() < 6e-4);
        assert!(x.iter().all(|v| (-0.5..0.5).contains(v)));
        stream.fill(Init::Constant(3.0), &mut x);
        assert!(x.iter().all(|&v| v == 3.0));
    }

    #[test]
    fn a_value_depends_on_its_position_alone() {
        let stream = Stream::new(9, "prefix", 4);
        let (mut long, mut short) = ([0f32; 19], [0f32; 5]);
        stream.fill(Init::Normal(1.0), &mut long);
        stream.fill(Init::Normal(1.0), &mut short);
        assert_eq!(long[..5], short);
        assert_ne!(Stream::new(9, "prefix", 5).block(0), stream.block(0));
        assert_ne!(Stream::new(8, "prefix", 4).block(0), stream.block(0));
        assert_ne!(Stream::new(9, "prefiy", 4).block(0), stream.block(0));
    }

    #[test]
    fn permutations_are_permutations_and_look_uniform() {
        let mut p = Vec::new();
        let mut first = [0u32; 5];
        for id in 0..50_000 {
            Stream::new(1, "permutation", id).permutation(5, &mut p);
            let mut sorted = p.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            first[p[0] as usize] += 1;
        }
        // Five standard errors of a binomial count.
        assert!(first.iter().all(|&n| (n as f64 - 10_000.0).abs() < 450.0), "{first:?}");
        Stream::new(1, "permutation", 0).permutation(0, &mut p);
        assert!(p.is_empty());
    }
}
