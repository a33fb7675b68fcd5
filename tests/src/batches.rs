//! Random batches for any schema, and the parts of them that ranks own.
#![allow(clippy::unwrap_used)]

use crate::random_graph::Random;
use din_program::schema::{FeatureKind, KeyType, LabelKind, Schema};
use din_runtime::batch::{Batch, KeyColumn};
use din_runtime::leaves::{LeafRange, leaf_begin};

/// A batch for any schema: lists of 0 to 6 entries, few distinct ids, requests of 1 to 5 samples. A
/// session takes those within a batch (`request of 64`) by a rule of its own.
pub fn batch(schema: &Schema, rows: usize, random: &mut Random) -> Batch {
    let mut batch = Batch::for_schema(schema);
    batch.rows = rows;
    if schema.has_requests() {
        batch.requests = vec![0];
        let mut end = 0;
        while end < rows {
            end = (end + 1 + random.below(5)).min(rows);
            batch.requests.push(end as u32);
        }
    }
    let units = |common: bool| if common { batch.requests.len() - 1 } else { rows };
    for (sequence, offsets) in schema.sequences.iter().zip(&mut batch.offsets) {
        for _ in 0..units(sequence.common) {
            offsets.push(offsets.last().unwrap() + random.below(7) as u32);
        }
    }
    for (f, feature) in schema.features.iter().enumerate() {
        let elements = match feature.sequence {
            Some(s) => *batch.offsets[s as usize].last().unwrap() as usize,
            None => units(feature.common),
        };
        match feature.kind {
            FeatureKind::Dense { width, .. } => batch.dense[f] = floats(random, elements * width as usize),
            FeatureKind::Fixed { size, .. } => {
                batch.ids[f] = (0..elements).map(|_| random.below(size.min(60) as usize) as u64).collect();
            }
            FeatureKind::Dynamic { .. } => {
                batch.ids[f] =
                    (0..elements).map(|_| (random.below(90) as u64).wrapping_mul(0x1234_5678_9abc_def1)).collect();
            }
        }
    }
    for (l, label) in schema.labels.iter().enumerate() {
        batch.labels[l] = (0..rows).map(|_| random.below(values(label.kind)) as f32).collect();
        batch.present[l] = vec![1.0; rows];
    }
    for (key, column) in schema.keys.iter().zip(&mut batch.keys) {
        *column = match key.kind {
            KeyType::Int64 => KeyColumn::Int64(Vec::new()),
            KeyType::String => KeyColumn::String(Vec::new()),
        };
    }
    batch
}

/// How many values labels of the kind are given here, from 0.
pub fn values(kind: LabelKind) -> usize {
    match kind {
        LabelKind::Class { size } => size as usize,
        LabelKind::Binary | LabelKind::Number | LabelKind::Count | LabelKind::Weight => 2,
    }
}

fn floats(random: &mut Random, count: usize) -> Vec<f32> {
    random.numbers(count).into_iter().map(|x| x as f32).collect()
}

/// The part of a global batch that a rank owns.
pub fn part(schema: &Schema, whole: &Batch, most: u32, rank: usize, ranks: usize) -> Batch {
    let units = if schema.requests.is_some() { whole.requests.len() - 1 } else { whole.rows };
    let leaves = LeafRange::of_rank(units, most, rank, ranks);
    let first = leaf_begin(leaves.first, leaves.total, units);
    let last = first + *leaves.bounds.last().unwrap() as usize;
    let samples = match &schema.requests {
        Some(_) => whole.requests[first] as usize..whole.requests[last] as usize,
        None => first..last,
    };
    let mut part = Batch::for_schema(schema);
    part.rows = samples.len();
    part.leaves = leaves;
    part.global_rows = whole.rows;
    part.first_row = samples.start;
    if schema.requests.is_some() {
        part.requests = whole.requests[first..=last].iter().map(|&r| r - samples.start as u32).collect();
    }
    let units = |common: bool| if common { first..last } else { samples.clone() };
    let of =
        |offsets: &[u32], units: std::ops::Range<usize>| offsets[units.start] as usize..offsets[units.end] as usize;
    for (s, sequence) in schema.sequences.iter().enumerate() {
        let offsets = &whole.offsets[s];
        let units = units(sequence.common);
        part.offsets[s] = offsets[units.start..=units.end].iter().map(|o| o - offsets[units.start]).collect();
    }
    for (f, feature) in schema.features.iter().enumerate() {
        let elements = match feature.sequence {
            Some(s) => of(&whole.offsets[s as usize], units(schema.sequences[s as usize].common)),
            None => units(feature.common),
        };
        match feature.kind {
            FeatureKind::Dense { width, .. } => {
                let width = width as usize;
                part.dense[f] = whole.dense[f][elements.start * width..elements.end * width].to_vec();
            }
            FeatureKind::Fixed { .. } | FeatureKind::Dynamic { .. } => part.ids[f] = whole.ids[f][elements].to_vec(),
        }
    }
    for l in 0..schema.labels.len() {
        part.labels[l] = whole.labels[l][samples.clone()].to_vec();
        part.present[l] = whole.present[l][samples.clone()].to_vec();
    }
    part
}
