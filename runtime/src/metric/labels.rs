//! The labels that an evaluation collects: binary ones as bits, numbers as f32; of a label of
//! several classes whether it was predicted.

use super::classes::{log_probability, most_probable};
use crate::comm::{floats_as_words, words_as_floats};
use din_program::schema::Distribution;
use std::ops::Range;

/// Labels of one prediction, in the order of their rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Labels {
    /// Of a binary label.
    Classes(Vec<bool>),
    /// Of a number or count.
    Numbers(Vec<f32>),
    /// Of a label of several classes: whether the most probable class is the label.
    Hits(Vec<bool>),
}

impl Labels {
    /// None yet, of what is predicted by such a distribution.
    pub fn new(distribution: Distribution) -> Self {
        match distribution {
            Distribution::Bernoulli => Self::Classes(Vec::new()),
            Distribution::Normal | Distribution::Poisson | Distribution::Quantile { .. } => Self::Numbers(Vec::new()),
            Distribution::Categorical { .. } | Distribution::Ordinal { .. } => Self::Hits(Vec::new()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Classes(bits) | Self::Hits(bits) => bits.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Those of a binary label.
    pub fn classes(&self) -> &[bool] {
        match self {
            Self::Classes(classes) => classes,
            Self::Numbers(_) | Self::Hits(_) => unreachable!("a program's metrics fit their predictions"),
        }
    }

    /// Those of a number or count.
    pub fn numbers(&self) -> &[f32] {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Classes(_) | Self::Hits(_) => unreachable!("a program's metrics fit their predictions"),
        }
    }

    /// Appends rows by their labels, and what their predictions are to `predicted`: the root, or
    /// the logarithm of the probability of the label, rounded to f32. `roots` are those of a whole
    /// batch, of which `rows` are meant.
    pub fn extend(
        &mut self,
        labels: &[f32],
        roots: &[f32],
        rows: impl Iterator<Item = usize> + Clone,
        predicted: &mut Vec<f32>,
    ) {
        match self {
            Self::Classes(classes) => classes.extend(rows.clone().map(|row| labels[row] == 1.0)),
            Self::Numbers(numbers) => numbers.extend(rows.clone().map(|row| labels[row])),
            Self::Hits(hits) => {
                let width = roots.len() / labels.len();
                for row in rows {
                    let logits = &roots[row * width..][..width];
                    let class = labels[row] as usize;
                    hits.push(most_probable(logits) == class);
                    predicted.push(log_probability(logits, class) as f32);
                }
                return;
            }
        }
        predicted.extend(rows.map(|row| roots[row]));
    }

    /// Those of some rows.
    pub fn subset(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows.iter().map(|&i| classes[i]).collect()),
            Self::Hits(hits) => Self::Hits(rows.iter().map(|&i| hits[i]).collect()),
            Self::Numbers(numbers) => Self::Numbers(rows.iter().map(|&i| numbers[i]).collect()),
        }
    }

    pub fn resize(&mut self, rows: usize) {
        match self {
            Self::Classes(bits) | Self::Hits(bits) => bits.resize(rows, false),
            Self::Numbers(numbers) => numbers.resize(rows, 0.0),
        }
    }

    pub fn copy_within(&mut self, from: Range<usize>, to: usize) {
        match self {
            Self::Classes(bits) | Self::Hits(bits) => bits.copy_within(from, to),
            Self::Numbers(numbers) => numbers.copy_within(from, to),
        }
    }

    /// Appends some of them to a message.
    pub fn append_to(&self, rows: Range<usize>, words: &mut Vec<u32>) {
        match self {
            Self::Classes(bits) | Self::Hits(bits) => {
                let word = |bits: &[bool]| bits.iter().rev().fold(0, |word, &bit| word << 1 | u32::from(bit));
                words.extend(bits[rows].chunks(32).map(word));
            }
            Self::Numbers(numbers) => words.extend_from_slice(floats_as_words(&numbers[rows])),
        }
    }

    /// Words of so many of them in a message.
    pub fn words(&self, count: usize) -> usize {
        match self {
            Self::Classes(_) | Self::Hits(_) => count.div_ceil(32),
            Self::Numbers(_) => count,
        }
    }

    /// Sets those of the rows to what [`append_to`](Self::append_to) wrote.
    pub fn set(&mut self, rows: impl Iterator<Item = usize>, words: &[u32]) {
        match self {
            Self::Classes(bits) | Self::Hits(bits) => {
                rows.enumerate().for_each(|(k, row)| bits[row] = words[k / 32] >> (k % 32) & 1 == 1);
            }
            Self::Numbers(numbers) => rows.zip(words_as_floats(words)).for_each(|(row, &label)| numbers[row] = label),
        }
    }
}
