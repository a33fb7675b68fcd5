//! The statistics of the training data that features are made by, gathered in one pass before the
//! first step.
//!
//! Guarantees that they are a function of the values alone: neither the order of rows nor threads
//! nor ranks have a part in them. Sums are exact, and quantiles are found among counted values.

use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages, ids, push_id};
use crate::{Error, Result};
use din_program::schema::{
    Boundaries, DataStatisticKind, Feature, FeatureKind, FeatureSource, Made, Missing, Replacement, Schema, Sequence,
    Step, ValueRule,
};
use num_bigint::{BigInt, BigUint, Sign};
use rustc_hash::FxHashMap;

/// Distinct values that quantiles are counted of, at most.
const MOST_VALUES: usize = 1 << 20;

/// What is gathered of the features of a schema that need it.
#[derive(Debug)]
pub(super) struct Gathering {
    /// What is read: the values that each statistic is of, where any feature of it is missing NaN.
    pub schema: Schema,
    gathered: Vec<Gathered>,
}

#[derive(Debug)]
enum Gathered {
    Moments(Box<ExactMoments>),
    Quantiles { counts: ValueCounts, buckets: u32 },
}

impl Gathering {
    /// `None` where the schema has no statistics.
    pub fn new(schema: &Schema) -> Option<Self> {
        if schema.statistics.is_empty() {
            return None;
        }
        let mut read = Schema::default();
        // Of the sequences those whose fields are read.
        let mut sequences: Vec<u32> = Vec::new();
        let mut gathered = Vec::new();
        for (number, statistic) in schema.statistics.iter().enumerate() {
            let feature = &schema.features[statistic.feature as usize];
            let mut of = before(feature, number as u32);
            of.sequence = feature.sequence.map(|sequence| {
                let known = sequences.iter().position(|&s| s == sequence);
                known.unwrap_or_else(|| {
                    sequences.push(sequence);
                    let declared = schema.sequences[sequence as usize].clone();
                    read.sequences.push(Sequence { common: false, ..declared });
                    sequences.len() - 1
                }) as u32
            });
            read.features.push(of);
            gathered.push(match statistic.kind {
                DataStatisticKind::Moments => Gathered::Moments(Box::default()),
                DataStatisticKind::Quantiles { buckets } => {
                    Gathered::Quantiles { counts: ValueCounts::default(), buckets }
                }
            });
        }
        Some(Self { schema: read, gathered })
    }

    /// Adds the values of a batch.
    pub fn add(&mut self, batch: &Batch) {
        for (gathered, numbers) in self.gathered.iter_mut().zip(&batch.dense) {
            let present = numbers.iter().copied().filter(|number| !number.is_nan());
            match gathered {
                Gathered::Moments(moments) => present.for_each(|number| moments.add(number)),
                Gathered::Quantiles { counts, .. } => present.for_each(|number| counts.add(ordered(number), 1)),
            }
        }
    }

    /// The numbers of every statistic, over the values of all ranks.
    ///
    /// # Errors
    /// A feature without values, or another rank failed.
    pub fn finish(mut self, ranks: &dyn Communicator) -> Result<Vec<Vec<f32>>> {
        if ranks.size() > 1 {
            let mut words = Vec::new();
            self.gathered.iter().for_each(|gathered| gathered.encode(&mut words));
            let (mut send, mut received) = (Messages::default(), Messages::default());
            (0..ranks.size()).for_each(|_| send.push(&words));
            ranks.all_to_all(Channel::Step, &send, &mut received)?;
            for rank in (0..ranks.size()).filter(|&rank| rank != ranks.rank()) {
                let mut rest = received.get(rank);
                self.gathered.iter_mut().for_each(|gathered| rest = gathered.join(rest));
            }
        }
        let features = &self.schema.features;
        let finished = self.gathered.iter().zip(features).map(|(gathered, feature)| {
            gathered.finish().ok_or_else(|| {
                let (location, path) = (&feature.location, feature.path());
                let message = format!("{location}: `{path}`: expected a value in the training data, found none");
                Error::input(message).help("its statistics are those of values; train on data that have some")
            })
        });
        finished.collect()
    }
}

/// The feature whose values are those that a statistic is of.
fn before(feature: &Feature, statistic: u32) -> Feature {
    let FeatureSource::Rule { column, rule } = &feature.source else {
        unreachable!("a feature with a statistic has a rule")
    };
    let until = |steps: &[Step]| -> Vec<Step> {
        steps.iter().copied().take_while(|step| *step != Step::Standard { statistic }).collect()
    };
    let steps = match &rule.makes {
        Made::Number { steps } => until(steps),
        Made::Bucket { steps, boundaries } => {
            debug_assert!(
                matches!(boundaries, Boundaries::Quantiles { .. }) || until(steps).len() < steps.len(),
                "the statistic is one of the rule's"
            );
            until(steps)
        }
        Made::Calendar { steps, .. } => until(steps),
        Made::Mark | Made::Id | Made::FixedId { .. } | Made::HashedId { .. } | Made::VocabularyRow { .. } => {
            unreachable!("only numbers have statistics")
        }
    };
    let absent = |missing: &Missing| Missing { becomes: Replacement::Number(f32::NAN), ..missing.clone() };
    let rule =
        ValueRule { holds: rule.holds, missing: rule.missing.as_ref().map(absent), makes: Made::Number { steps } };
    Feature {
        source: FeatureSource::Rule { column: column.clone(), rule },
        kind: FeatureKind::Dense { width: 1 },
        common: false,
        ..feature.clone()
    }
}

impl Gathered {
    fn encode(&self, words: &mut Vec<u32>) {
        match self {
            Self::Moments(moments) => {
                let used = moments.sums.iter().enumerate().filter(|(_, sums)| sums.count > 0);
                let mut entries = Vec::new();
                for (exponent, sums) in used {
                    entries.push(exponent as u64);
                    entries.push(sums.count);
                    entries.extend([sums.sum as u64, (sums.sum >> 64) as u64]);
                    entries.extend([sums.squares as u64, (sums.squares >> 64) as u64]);
                }
                push_id(words, entries.len() as u64);
                entries.into_iter().for_each(|entry| push_id(words, entry));
            }
            Self::Quantiles { counts, .. } => {
                push_id(words, 2 * counts.counts.len() as u64 + 1);
                push_id(words, u64::from(counts.dropped));
                for (&cell, &count) in &counts.counts {
                    push_id(words, u64::from(cell));
                    push_id(words, count);
                }
            }
        }
    }

    /// Adds what [`Gathered::encode`] wrote on another rank; gives the words behind it.
    fn join<'w>(&mut self, words: &'w [u32]) -> &'w [u32] {
        let (length, rest) = words.split_at(2);
        let length = ids(length).next().expect("two words are a number") as usize;
        let (own, rest) = rest.split_at(2 * length);
        let entries: Vec<u64> = ids(own).collect();
        match self {
            Self::Moments(moments) => {
                for entry in entries.as_chunks::<6>().0 {
                    let wide = |low: u64, high: u64| u128::from(high) << 64 | u128::from(low);
                    let sums = &mut moments.sums[entry[0] as usize];
                    sums.count += entry[1];
                    sums.sum += wide(entry[2], entry[3]) as i128;
                    sums.squares += wide(entry[4], entry[5]);
                }
            }
            Self::Quantiles { counts, .. } => {
                let (&dropped, cells) = entries.split_first().expect("the bits that were dropped come first");
                counts.coarsen(dropped as u32);
                for &[cell, count] in cells.as_chunks::<2>().0 {
                    counts.add_cell(cell as u32 >> (counts.dropped - dropped as u32), count);
                }
            }
        }
        rest
    }

    /// `None` where there was no value.
    fn finish(&self) -> Option<Vec<f32>> {
        match self {
            Self::Moments(moments) => moments.finish().map(|(mean, deviation)| vec![mean as f32, deviation as f32]),
            Self::Quantiles { counts, buckets } => counts.boundaries(*buckets),
        }
    }
}

/// Exact sums of f32 numbers and of their squares: by exponent, sums of whole numbers.
#[derive(Debug)]
struct ExactMoments {
    /// By biased exponent of the numbers.
    sums: [MantissaSums; 255],
}

/// Of the mantissas of numbers with one exponent, with their signs.
#[derive(Clone, Copy, Debug, Default)]
struct MantissaSums {
    count: u64,
    sum: i128,
    squares: u128,
}

impl Default for ExactMoments {
    fn default() -> Self {
        Self { sums: [MantissaSums::default(); 255] }
    }
}

impl ExactMoments {
    fn add(&mut self, number: f32) {
        let bits = number.to_bits();
        let (exponent, fraction) = ((bits >> 23 & 0xff) as usize, bits & 0x7f_ffff);
        let mantissa = i64::from(if exponent == 0 { fraction } else { fraction | 0x80_0000 });
        let sums = &mut self.sums[exponent];
        sums.count += 1;
        sums.sum += i128::from(if number.is_sign_negative() { -mantissa } else { mantissa });
        sums.squares += (mantissa * mantissa) as u128;
    }

    /// Mean and standard deviation (of all values, not estimated from a sample); `None` of none.
    fn finish(&self) -> Option<(f64, f64)> {
        let count: u64 = self.sums.iter().map(|sums| sums.count).sum();
        if count == 0 {
            return None;
        }
        // In units of the least f32, 2^-149, and of its square.
        let (mut sum, mut squares) = (BigInt::from(0), BigInt::from(0));
        for (exponent, sums) in self.sums.iter().enumerate() {
            let shift = exponent.saturating_sub(1);
            sum += BigInt::from(sums.sum) << shift;
            squares += BigInt::from(sums.squares) << (2 * shift);
        }
        let n = BigInt::from(count);
        let variance = &n * squares - &sum * &sum;
        let mean = quotient(sum.magnitude(), n.magnitude(), -149);
        let variance = quotient(variance.magnitude(), (&n * &n).magnitude(), -298);
        Some((if sum.sign() == Sign::Minus { -mean } else { mean }, variance.sqrt()))
    }
}

/// `a / b * 2^exponent`.
fn quotient(a: &BigUint, b: &BigUint, exponent: i32) -> f64 {
    // So that the quotient has 64 or 65 bits.
    let shift = 64 + b.bits() as i64 - a.bits() as i64;
    let shifted = if shift >= 0 { a << shift as u64 } else { a >> (-shift) as u64 };
    let digits = (shifted / b).to_u64_digits();
    let wide = digits.iter().rev().fold(0u128, |wide, &digit| wide << 64 | u128::from(digit));
    libm::scalbn(wide as f64, exponent - shift as i32)
}

/// How often values occur. Where these are more than [`MOST_VALUES`], how often cells of close
/// values do: as many low bits of the numbers are dropped as it takes. How many these are depends
/// on the values alone.
#[derive(Debug, Default)]
struct ValueCounts {
    dropped: u32,
    counts: FxHashMap<u32, u64>,
}

/// A whole number for each float, in the order of the floats.
fn ordered(number: f32) -> u32 {
    // Both zeros are one value.
    let bits = (number + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The float of such a number.
fn unordered(number: u32) -> f32 {
    f32::from_bits(if number >> 31 == 1 { number & !(1 << 31) } else { !number })
}

impl ValueCounts {
    fn add(&mut self, value: u32, count: u64) {
        self.add_cell(value >> self.dropped, count);
    }

    fn add_cell(&mut self, cell: u32, count: u64) {
        *self.counts.entry(cell).or_default() += count;
        while self.counts.len() > MOST_VALUES {
            self.coarsen(self.dropped + 1);
        }
    }

    /// Drops so many bits, if fewer are dropped.
    fn coarsen(&mut self, dropped: u32) {
        let more = dropped.saturating_sub(self.dropped);
        if more == 0 {
            return;
        }
        self.dropped = dropped;
        for (cell, count) in std::mem::take(&mut self.counts) {
            *self.counts.entry(cell >> more).or_default() += count;
        }
    }

    /// Boundaries of so many buckets: the values number `i * n / buckets` of all `n` in ascending
    /// order, from 0. `None` of none.
    fn boundaries(&self, buckets: u32) -> Option<Vec<f32>> {
        let mut cells: Vec<(u32, u64)> = self.counts.iter().map(|(&cell, &count)| (cell, count)).collect();
        cells.sort_unstable();
        let total: u128 = cells.iter().map(|&(_, count)| u128::from(count)).sum();
        if total == 0 {
            return None;
        }
        let mut behind = cells.iter().scan(0, |sum, &(cell, count)| {
            *sum += u128::from(count);
            Some((cell, *sum))
        });
        let mut at = behind.next()?;
        let boundary = |i: u32| {
            let rank = u128::from(i) * total / u128::from(buckets);
            while at.1 <= rank {
                at = behind.next().expect("a rank is below the number of values");
            }
            unordered(at.0 << self.dropped)
        };
        Some((1..buckets).map(boundary).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn numbers(count: usize) -> Vec<f32> {
        let stream = Stream::new(5, "numbers", 0);
        (0..count as u64).map(|i| (stream.uniform(i) * 2e3) as f32 + 1e6).collect()
    }

    #[test]
    fn sums_are_exact_and_have_no_order() {
        let numbers = numbers(10_000);
        let moments = |numbers: &[f32]| {
            let mut moments = ExactMoments::default();
            numbers.iter().for_each(|&x| moments.add(x));
            moments.finish().expect("there are numbers")
        };
        let (mean, deviation) = moments(&numbers);
        let n = numbers.len() as f64;
        let by_two_passes = numbers.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let squares = numbers.iter().map(|&x| (f64::from(x) - by_two_passes).powi(2)).sum::<f64>();
        assert!((mean - by_two_passes).abs() < 1e-8 * mean.abs());
        assert!((deviation - (squares / n).sqrt()).abs() < 1e-9 * deviation);
        let mut turned = numbers.clone();
        turned.reverse();
        turned.rotate_left(1234);
        assert_eq!(moments(&turned), (mean, deviation));
        assert_eq!(moments(&[3.0, 3.0, 3.0]), (3.0, 0.0));
        assert_eq!(moments(&[-1e-45, 1e-45]).0, 0.0);
        assert_eq!(moments(&[f32::MAX, -f32::MAX]), (0.0, f64::from(f32::MAX)));
    }

    #[test]
    fn quantiles_are_values_by_their_rank() {
        let mut numbers = numbers(1_001);
        numbers.extend([-0.0, 0.0, -5.0, -5.0, 1e-40]);
        let mut counts = ValueCounts::default();
        numbers.iter().for_each(|&x| counts.add(ordered(x), 1));
        let found = counts.boundaries(10).expect("there are numbers");
        numbers.sort_by(f32::total_cmp);
        let expected: Vec<f32> = (1..10).map(|i| numbers[i * numbers.len() / 10]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn many_values_are_counted_in_cells_whatever_their_order() {
        let values: Vec<u32> = (0..3 * MOST_VALUES as u32 / 2).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        let count = |values: &mut dyn Iterator<Item = u32>| {
            let mut counts = ValueCounts::default();
            values.for_each(|value| counts.add(value, 1));
            (counts.dropped, counts.boundaries(7))
        };
        let forward = count(&mut values.iter().copied());
        assert!(forward.0 > 0);
        assert_eq!(forward, count(&mut values.iter().rev().copied()));
        // In two parts, as on two ranks.
        let mut parts: Vec<Gathered> = Vec::new();
        for part in values.chunks(values.len() / 3 + 1) {
            let mut counts = ValueCounts::default();
            part.iter().for_each(|&value| counts.add(value, 1));
            parts.push(Gathered::Quantiles { counts, buckets: 7 });
        }
        let (mut first, mut words) = (parts.remove(0), Vec::new());
        parts.iter().for_each(|part| part.encode(&mut words));
        let rest = parts.iter().fold(&words[..], |rest, _| first.join(rest));
        assert!(rest.is_empty());
        assert_eq!(first.finish(), forward.1);
    }
}
