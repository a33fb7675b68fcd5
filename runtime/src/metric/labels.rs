//! The labels that an evaluation collects: classes as bits, numbers as f32.

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
}

impl Labels {
    /// None yet, of what is predicted by such a distribution.
    pub fn new(distribution: Distribution) -> Self {
        match distribution {
            Distribution::Bernoulli => Self::Classes(Vec::new()),
            Distribution::Normal | Distribution::Poisson | Distribution::Quantile { .. } => Self::Numbers(Vec::new()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Those of a binary label.
    pub fn classes(&self) -> &[bool] {
        match self {
            Self::Classes(classes) => classes,
            Self::Numbers(_) => unreachable!("a program's metrics fit their predictions"),
        }
    }

    /// Those of a number or count.
    pub fn numbers(&self) -> &[f32] {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Classes(_) => unreachable!("a program's metrics fit their predictions"),
        }
    }

    pub fn extend(&mut self, labels: impl Iterator<Item = f32>) {
        match self {
            Self::Classes(classes) => classes.extend(labels.map(|label| label == 1.0)),
            Self::Numbers(numbers) => numbers.extend(labels),
        }
    }

    /// Those of some rows.
    pub fn subset(&self, rows: &[usize]) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(rows.iter().map(|&i| classes[i]).collect()),
            Self::Numbers(numbers) => Self::Numbers(rows.iter().map(|&i| numbers[i]).collect()),
        }
    }

    pub fn resize(&mut self, rows: usize) {
        match self {
            Self::Classes(classes) => classes.resize(rows, false),
            Self::Numbers(numbers) => numbers.resize(rows, 0.0),
        }
    }

    pub fn copy_within(&mut self, from: Range<usize>, to: usize) {
        match self {
            Self::Classes(classes) => classes.copy_within(from, to),
            Self::Numbers(numbers) => numbers.copy_within(from, to),
        }
    }

    /// Appends some of them to a message: classes as bits.
    pub fn append_to(&self, rows: Range<usize>, words: &mut Vec<u32>) {
        match self {
            Self::Classes(classes) => {
                let bits = |labels: &[bool]| labels.iter().rev().fold(0, |bits, &label| bits << 1 | u32::from(label));
                words.extend(classes[rows].chunks(32).map(bits));
            }
            Self::Numbers(numbers) => words.extend_from_slice(floats_as_words(&numbers[rows])),
        }
    }

    /// Words of so many of them in a message.
    pub fn words(&self, count: usize) -> usize {
        match self {
            Self::Classes(_) => count.div_ceil(32),
            Self::Numbers(_) => count,
        }
    }

    /// Sets those of the rows to what [`append_to`](Self::append_to) wrote.
    pub fn set(&mut self, rows: impl Iterator<Item = usize>, words: &[u32]) {
        match self {
            Self::Classes(classes) => {
                rows.enumerate().for_each(|(k, row)| classes[row] = words[k / 32] >> (k % 32) & 1 == 1);
            }
            Self::Numbers(numbers) => rows.zip(words_as_floats(words)).for_each(|(row, &label)| numbers[row] = label),
        }
    }
}
