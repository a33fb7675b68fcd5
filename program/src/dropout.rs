//! The random numbers of dropout: Threefry-2x32 with 13 rounds (Salmon, Moraes, Dror, Shaw,
//! "Parallel random numbers: as easy as 1, 2, 3", SC 2011), which needs additions, rotations and
//! exclusive or alone, so that vector code can draw a number per lane.
//!
//! Whether a component is kept is a function of seed, step, the number of the dropout in the model
//! (its *site*), the sample's place in the global batch, the places of entries in their list, and
//! the component. So no thread, rank or tile changes it, and the backward pass finds the same
//! numbers as the forward pass.

/// Rounds; 13 are the fewest that pass the tests of the paper.
pub const ROUNDS: usize = 13;

/// Bits by which round `i` rotates: entry `i % 8`.
pub const ROTATIONS: [u32; 8] = [13, 15, 26, 6, 17, 29, 16, 24];

/// Joined to the two words of a key to make a third.
pub const PARITY: u32 = 0x1BD1_1BDA;

/// Two random words for a counter and a key.
#[inline]
pub fn threefry2x32(counter: [u32; 2], key: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
    let [mut x, mut y] = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for round in 0..ROUNDS {
        x = x.wrapping_add(y);
        y = y.rotate_left(ROTATIONS[round % 8]) ^ x;
        if round % 4 == 3 {
            let injection = round / 4 + 1;
            x = x.wrapping_add(keys[injection % 3]);
            y = y.wrapping_add(keys[(injection + 1) % 3]).wrapping_add(injection as u32);
        }
    }
    [x, y]
}

/// The key of a site at a step, counted from 1.
pub fn key(seed: u64, site: u32, step: u64) -> [u32; 2] {
    let words = |x: u64| [x as u32, (x >> 32) as u32];
    // "drop" and "out", so that no other use of a seed has this key.
    let of_model = threefry2x32([0x6472_6F70, 0x006F_7574], words(seed));
    let of_site = threefry2x32([site, 0], of_model);
    threefry2x32(words(step), of_site)
}

/// What a component is multiplied by: 0 or `1 / (1 - rate)`. `sample`, `first`, `second` and
/// `component` enter as f32, whole numbers below 2^24: the sample's place in the global batch, the
/// places of the entries (0 where there are none), and the component's number.
pub fn factor(rate: f64, key: [u32; 2], [sample, first, second, component]: [f32; 4]) -> f64 {
    let key = [key[0].wrapping_add(first.to_bits()), key[1].wrapping_add(second.to_bits())];
    let [word, _] = threefry2x32([sample.to_bits(), component.to_bits()], key);
    if word >> 8 < threshold(rate) { 0.0 } else { scale(rate) }
}

/// A component is dropped where the upper 24 bits of its random word are below this.
pub fn threshold(rate: f64) -> u32 {
    (rate * f64::from(1u32 << 24)).round() as u32
}

/// What a component that is kept is multiplied by.
pub fn scale(rate: f64) -> f64 {
    1.0 / (1.0 - rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (`kat_vectors`, threefry2x32 13).
    #[test]
    fn known_answers_of_random123() {
        assert_eq!(threefry2x32([0, 0], [0, 0]), [0x9d1c_5ec6, 0x8bd5_0731]);
        assert_eq!(threefry2x32([u32::MAX; 2], [u32::MAX; 2]), [0xfd36_d048, 0x2d17_272c]);
        assert_eq!(threefry2x32([0x243f_6a88, 0x85a3_08d3], [0x1319_8a2e, 0x0370_7344]), [0xba3e_4725, 0xf27d_669e]);
    }

    /// How many of `n` factors are not 0, and the mean product of neighbours along one input.
    fn kept(n: u32, at: impl Fn(u32) -> f64) -> (f64, f64) {
        let kept: Vec<f64> = (0..n).map(|i| f64::from(at(i) != 0.0)).collect();
        let both = kept.windows(2).map(|w| w[0] * w[1]).sum::<f64>();
        (kept.iter().sum::<f64>() / f64::from(n), both / f64::from(n - 1))
    }

    /// Along each input the rate is right and neighbours are independent: five standard errors of
    /// binomial frequencies. (Products of neighbours share factors, which at most doubles the
    /// variance.)
    #[test]
    fn rates_and_independence() {
        const N: u32 = 40_000;
        for rate in [0.1, 0.5, 0.8] {
            let one = key(3, 0, 1);
            type Along = Box<dyn Fn(u32) -> f64>;
            let along: [(&str, Along); 6] = [
                ("samples", Box::new(move |i| factor(rate, one, [i as f32, 0.0, 0.0, 0.0]))),
                ("entries", Box::new(move |i| factor(rate, one, [5.0, i as f32, 0.0, 0.0]))),
                ("second entries", Box::new(move |i| factor(rate, one, [5.0, 2.0, i as f32, 0.0]))),
                ("components", Box::new(move |i| factor(rate, one, [5.0, 2.0, 1.0, i as f32]))),
                ("steps", Box::new(move |i| factor(rate, key(3, 0, u64::from(i)), [0.0; 4]))),
                ("sites", Box::new(move |i| factor(rate, key(3, i, 1), [0.0; 4]))),
            ];
            for (name, at) in along {
                let (frequency, both) = kept(N, at);
                let (p, n) = (1.0 - rate, f64::from(N));
                assert!((frequency - p).abs() < 5.0 * (p * rate / n).sqrt(), "{name} at {rate}: {frequency}");
                let product = p * p;
                let error = (2.0 * product * (1.0 - product) / n).sqrt();
                assert!((both - product).abs() < 5.0 * error, "neighbours along {name} at {rate}: {both}");
            }
        }
    }

    /// Chi-square of the pairs (sample, component) against a table of 16 words' top bits: the joint
    /// frequencies of four sites' masks are those of independent ones.
    #[test]
    fn sites_are_independent_of_each_other() {
        const N: u32 = 64_000;
        let keys: Vec<[u32; 2]> = (0..4).map(|site| key(9, site, 4)).collect();
        let mut counts = [0f64; 16];
        for i in 0..N {
            let place = [(i / 64) as f32, 0.0, 0.0, (i % 64) as f32];
            let bits = keys.iter().enumerate().map(|(k, &key)| usize::from(factor(0.5, key, place) != 0.0) << k);
            counts[bits.sum::<usize>()] += 1.0;
        }
        let expected = f64::from(N) / 16.0;
        let chi_square: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
        // The 99.999 % quantile with 15 degrees of freedom.
        assert!(chi_square < 50.5, "{chi_square}: {counts:?}");
    }

    #[test]
    fn the_mean_is_kept() {
        for rate in [0.0, 0.25, 0.5, 0.9] {
            assert_eq!(scale(rate) * (1.0 - rate), 1.0);
        }
        assert_eq!((threshold(0.0), threshold(0.5)), (0, 1 << 23));
    }
}
