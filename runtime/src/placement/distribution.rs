//! How often the ids of a table occur, and how many distinct ones a part of a batch has.

/// Ids whose terms are summed one by one; a sum over the rest is an integral.
const EXACT: u64 = 4096;

/// Steps of the integral per factor of e in the id's place.
const STEPS: f64 = 64.0;

/// How often the ids of a table occur.
#[derive(Clone, Debug, PartialEq)]
pub enum IdDistribution {
    /// The `k`-th most frequent of `rows` ids is proportional to `k^-exponent`; entries draw from
    /// it independently.
    Zipf {
        /// Ids.
        rows: u64,
        /// 0 for ids that are equally frequent.
        exponent: f64,
    },
    /// As a log has them: the probability that a sample contains an id, and the number of ids of
    /// which this is so.
    Measured(Vec<(f64, f64)>),
}

impl IdDistribution {
    /// Expected number of distinct ids among `entries` entries that `samples` samples have.
    ///
    /// Of an id with probability `p` per draw, `n` draws contain it with probability
    /// `1 - (1 - p)^n`; the expectation is the sum over ids. Draws are entries under Zipf's law,
    /// and samples where the probabilities are those of samples.
    pub fn distinct(&self, samples: f64, entries: f64) -> f64 {
        match self {
            Self::Zipf { rows, exponent } => {
                let weight = |k: f64| k.powf(-exponent);
                let total = sum_over_ids(*rows, weight);
                sum_over_ids(*rows, |k| contained(weight(k) / total, entries))
            }
            Self::Measured(ids) => ids.iter().map(|&(p, count)| count * contained(p, samples)).sum(),
        }
    }
}

/// Probability that something of probability `p` occurs in `draws` draws.
fn contained(p: f64, draws: f64) -> f64 {
    if draws <= 0.0 { 0.0 } else { -(draws * (-p.min(1.0)).ln_1p()).exp_m1() }
}

/// The sum of `term(k)` for `k` from 1 to `rows`, of a term that changes little from one `k` to the
/// next where `k` is large.
///
/// Beyond [`EXACT`], the sum from `a` to `b` is the integral from `a - 1/2` to `b + 1/2` (the
/// midpoint rule read backwards), taken over `ln k` by Simpson's rule.
fn sum_over_ids(rows: u64, term: impl Fn(f64) -> f64) -> f64 {
    let head: f64 = (1..=rows.min(EXACT)).map(|k| term(k as f64)).sum();
    if rows <= EXACT {
        return head;
    }
    let (begin, end) = ((EXACT as f64 + 0.5).ln(), (rows as f64 + 0.5).ln());
    let steps = (STEPS * (end - begin)).ceil().max(1.0);
    let step = (end - begin) / steps;
    let at = |u: f64| u.exp() * term(u.exp());
    let simpson = |k: f64| {
        let left = begin + k * step;
        at(left) + 4.0 * at(left + step / 2.0) + at(left + step)
    };
    head + (0..steps as u64).map(|k| simpson(k as f64)).sum::<f64>() * step / 6.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn the_integral_is_the_sum() {
        for (rows, exponent) in [(100, 1.0), (4096, 0.8), (4097, 1.05), (1_000_000, 1.05), (3_000_000, 0.0)] {
            for entries in [1.0, 100.0, 30_000.0, 2e6] {
                let weights: Vec<f64> = (1..=rows).map(|k| f64::from(k).powf(-exponent)).collect();
                let total: f64 = weights.iter().sum();
                let direct: f64 = weights.iter().map(|w| 1.0 - (1.0 - w / total).powf(entries)).sum();
                let found = IdDistribution::Zipf { rows: rows as u64, exponent }.distinct(0.0, entries);
                assert!((found / direct - 1.0).abs() < 1e-6, "{rows} {exponent} {entries}: {direct} {found}");
            }
        }
    }

    /// Ids drawn one by one, and counted.
    #[test]
    fn expectations_are_the_means_of_drawn_batches() {
        for (rows, exponent, entries) in [(10, 1.05, 20), (1_000, 1.05, 500), (20_000, 1.2, 5_000), (5_000, 0.0, 3_000)]
        {
            let mut ends = Vec::new();
            let mut end = 0.0;
            for k in 1..=rows {
                end += f64::from(k).powf(-exponent);
                ends.push(end);
            }
            let trials = 200;
            let mut seen = vec![u64::MAX; rows as usize];
            let mut distinct = 0u64;
            for trial in 0..trials {
                let stream = Stream::new(1, "ids of a batch", trial);
                for entry in 0..entries {
                    let at = stream.uniform(entry) * end;
                    let id = ends.partition_point(|&e| e <= at);
                    distinct += u64::from(std::mem::replace(&mut seen[id], trial) != trial);
                }
            }
            let drawn = distinct as f64 / trials as f64;
            let found = IdDistribution::Zipf { rows: rows as u64, exponent }.distinct(0.0, entries as f64);
            assert!((found / drawn - 1.0).abs() < 0.01, "{rows} {exponent}: {drawn} drawn, {found} expected");
        }
    }

    #[test]
    fn of_a_log_the_samples_count() {
        // Two ids in half of the samples, one in all of them, and ten that nobody has.
        let log = IdDistribution::Measured(vec![(0.5, 2.0), (1.0, 1.0), (0.0, 10.0)]);
        assert_eq!(log.distinct(1.0, 99.0), 2.0);
        assert_eq!(log.distinct(2.0, 99.0), 2.5);
        assert_eq!(log.distinct(0.0, 99.0), 0.0);
    }

    #[test]
    fn ten_thousand_million_ids_take_no_time_and_are_bounded_by_the_entries() {
        let ids = IdDistribution::Zipf { rows: 10_000_000_000, exponent: 1.05 };
        let some = ids.distinct(0.0, 1e6);
        assert!((1e5..1e6).contains(&some), "{some}");
        assert_eq!(IdDistribution::Zipf { rows: 1, exponent: 1.05 }.distinct(0.0, 5.0), 1.0);
    }
}
