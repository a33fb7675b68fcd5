//! Densities of the tree-structured Parzen estimator (Bergstra, Bardenet, Bengio, Kégl, "Algorithms
//! for hyper-parameter optimization", NIPS 2011): one kernel around every value that was observed,
//! and a wide one, the prior, over the whole range.

use din_runtime::random::{Stream, normal_pair};
use libm::{erf, exp, log};
use std::f64::consts::{PI, SQRT_2};

/// Values of one hyper-parameter, as a density.
pub enum Density {
    /// The probability of each choice.
    Choices(Vec<f64>),
    /// A mixture of normal distributions, each cut to the range.
    Range { low: f64, high: f64, kernels: Vec<ParzenKernel> },
}

/// A normal distribution of a mixture; all have the same weight.
pub struct ParzenKernel {
    mean: f64,
    deviation: f64,
    /// Its probability within the range.
    inside: f64,
}

/// Random numbers that are read one behind the other.
pub struct DrawSource {
    stream: Stream,
    next: u64,
}

impl DrawSource {
    pub fn new(stream: Stream) -> Self {
        Self { stream, next: 0 }
    }

    pub fn uniform(&mut self) -> f64 {
        self.next += 1;
        self.stream.uniform(self.next - 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next += 1;
        self.stream.below(self.next - 1, n as u64) as usize
    }

    fn normal(&mut self) -> f64 {
        self.next += 1;
        let word = self.stream.word(self.next - 1);
        normal_pair(word as u32, (word >> 32) as u32).0
    }
}

/// The probability that a standard normal number is below `x`.
fn below(x: f64) -> f64 {
    0.5 * (1.0 + erf(x / SQRT_2))
}

impl Density {
    /// `observed` are numbers of choices. A kernel has most of its weight at its choice, and shares
    /// one observation's weight with the others of the mixture over all choices: with few
    /// observations, choices that were not seen stay likely.
    pub fn of_choices(count: usize, observed: &[usize]) -> Self {
        let kernels = observed.len() as f64 + 1.0;
        let (choices, spread) = (count as f64, 1.0 / kernels);
        let whole = 1.0 + choices * spread;
        let of = |k: usize| {
            let hits = observed.iter().filter(|&&o| o == k).count() as f64;
            ((hits + observed.len() as f64 * spread) / whole + 1.0 / choices) / kernels
        };
        Self::Choices((0..count).map(of).collect())
    }

    /// A kernel is as wide as the larger distance to its neighbours, but not narrower than a
    /// hundredth of the range, or a wider part where there are few. The prior is as wide as the
    /// range, and no neighbour.
    pub fn of_range(low: f64, high: f64, observed: &[f64]) -> Self {
        let range = high - low;
        let mut means: Vec<f64> = observed.to_vec();
        means.sort_by(f64::total_cmp);
        let narrowest = range / (2.0 + means.len() as f64).min(100.0);
        let kernel = |mean: f64, deviation: f64| {
            let inside = below((high - mean) / deviation) - below((low - mean) / deviation);
            ParzenKernel { mean, deviation, inside }
        };
        let width = |k: usize| {
            let left = k.checked_sub(1).map(|left| means[k] - means[left]);
            let right = means.get(k + 1).map(|right| right - means[k]);
            // The ends of the range are neighbours of one value alone: those of many do not make
            // the outermost wide.
            let alone = (means[k] - low).max(high - means[k]);
            left.into_iter().chain(right).reduce(f64::max).unwrap_or(alone).clamp(narrowest, range)
        };
        let mut kernels: Vec<ParzenKernel> = (0..means.len()).map(|k| kernel(means[k], width(k))).collect();
        kernels.push(kernel((low + high) / 2.0, range));
        Self::Range { low, high, kernels }
    }

    /// A number of a choice, or a value of the range.
    pub fn draw(&self, draws: &mut DrawSource) -> f64 {
        match self {
            Self::Choices(probabilities) => {
                let mut left = draws.uniform();
                for (k, probability) in probabilities.iter().enumerate() {
                    left -= probability;
                    if left < 0.0 {
                        return k as f64;
                    }
                }
                (probabilities.len() - 1) as f64
            }
            Self::Range { low, high, kernels } => {
                let kernel = &kernels[draws.below(kernels.len())];
                // Every mean lies in the range, so at least about a third of the numbers do.
                loop {
                    let value = kernel.mean + kernel.deviation * draws.normal();
                    if (*low..=*high).contains(&value) {
                        return value;
                    }
                }
            }
        }
    }

    /// The logarithm of the density at what [`Density::draw`] gives.
    pub fn log_density(&self, at: f64) -> f64 {
        match self {
            Self::Choices(probabilities) => log(probabilities[at as usize]),
            Self::Range { kernels, .. } => {
                let terms: Vec<f64> = kernels
                    .iter()
                    .map(|kernel| {
                        let z = (at - kernel.mean) / kernel.deviation;
                        -0.5 * z * z - log(kernel.deviation * kernel.inside) - 0.5 * log(2.0 * PI)
                    })
                    .collect();
                // The greatest is taken out, so that far tails do not vanish.
                let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                most + log(terms.iter().map(|term| exp(term - most)).sum::<f64>() / terms.len() as f64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Integrated by the trapezoid rule, a density has the mass 1; a wrong cut at the ends has not.
    #[test]
    fn a_density_has_the_mass_one() {
        for observed in [&[][..], &[0.3], &[0.0, 1.0, 1.0, 0.97], &[0.5, 0.5, 0.1, 0.2, 0.9]] {
            let density = Density::of_range(0.0, 1.0, observed);
            const N: usize = 20_000;
            let at = |k: usize| exp(density.log_density(k as f64 / N as f64));
            let mass = ((0..=N).map(at).sum::<f64>() - (at(0) + at(N)) / 2.0) / N as f64;
            assert!((mass - 1.0).abs() < 1e-4, "{observed:?}: {mass}");
        }
        let Density::Choices(p) = Density::of_choices(3, &[2, 2, 0]) else { panic!("choices") };
        // Each of the three kernels has 5/7 at its choice and 1/7 at the others, the prior 1/3.
        let expected = [(7.0 / 7.0 + 1.0 / 3.0) / 4.0, (3.0 / 7.0 + 1.0 / 3.0) / 4.0, (11.0 / 7.0 + 1.0 / 3.0) / 4.0];
        assert!(p.iter().zip(expected).all(|(p, e)| (p - e).abs() < 1e-15), "{p:?}");
    }

    /// What is drawn is distributed as the density says: shares of ten equal parts of the range.
    #[test]
    fn draws_follow_the_density() {
        let density = Density::of_range(0.0, 1.0, &[0.2, 0.25, 0.8]);
        let mut draws = DrawSource::new(Stream::new(3, "test", 0));
        const N: usize = 40_000;
        let mut counts = [0usize; 10];
        for _ in 0..N {
            counts[((density.draw(&mut draws) * 10.0) as usize).min(9)] += 1;
        }
        for (k, &count) in counts.iter().enumerate() {
            let parts = 0..1000;
            let expected = parts
                .map(|i| exp(density.log_density((k as f64 + (f64::from(i) + 0.5) / 1000.0) / 10.0)) / 10_000.0)
                .sum::<f64>();
            let found = count as f64 / N as f64;
            // Five standard errors.
            assert!((found - expected).abs() < 5.0 * (expected / N as f64).sqrt(), "{k}: {found} {expected}");
        }
    }
}
