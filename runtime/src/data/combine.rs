//! Features that are made of others: of a batch, once it has all its rows.
//!
//! Guarantees that what is made depends on the batch's own values alone, so that it is the same
//! however rows were read and distributed.

use super::rule::{RawValue, number, own_id};
use crate::batch::Batch;
use din_program::schema::{
    Boundaries, ColumnValues, Combination, Feature, FeatureKind, FeatureSource, Made, Replacement, Schema, Step,
};
use rustc_hash::FxHashSet;
use std::borrow::Cow;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// Makes the columns of all features that are absent or made of others.
pub(super) fn combine(schema: &Schema, batch: &mut Batch) {
    for (f, feature) in schema.features.iter().enumerate().filter(|(_, f)| f.source == FeatureSource::Absent) {
        let elements = match feature.sequence {
            Some(s) => *batch.offsets[s as usize].last().expect("offsets begin with 0") as usize,
            None if feature.common => batch.units(),
            None => batch.rows,
        };
        match feature.kind {
            FeatureKind::Dense { width } => batch.dense[f].resize(elements * width as usize, 0.0),
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => batch.ids[f].resize(elements, 0),
        }
    }
    for (f, feature) in schema.features.iter().enumerate() {
        let Some(combination) = feature.combination() else { continue };
        // Taken out so that the other columns can be read beside them.
        let (mut ids, mut numbers) = (std::mem::take(&mut batch.ids[f]), std::mem::take(&mut batch.dense[f]));
        ids.clear();
        numbers.clear();
        let parts = Parts { schema, batch, of: feature };
        match combination {
            Combination::Cross { of, size } => {
                let columns: Vec<_> = of.iter().map(|&part| parts.ids(part as usize)).collect();
                cross(&columns, &sizes(schema, of), *size, &mut ids);
            }
            Combination::Equal { of: [a, b] } => {
                let (a, b) = (parts.ids(*a as usize), parts.ids(*b as usize));
                numbers.extend(a.iter().zip(&*b).map(|(a, b)| f32::from(u8::from(a == b))));
            }
            Combination::Gap { of: [later, earlier], makes, missing } => {
                let (later, earlier) = (parts.ids(*later as usize), parts.ids(*earlier as usize));
                gaps((&later, &earlier), makes, missing.as_ref(), &mut ids, &mut numbers);
            }
            Combination::Overlap { of: [a, b] } => parts.overlaps(*a as usize, *b as usize, &mut numbers),
        }
        batch.ids[f] = ids;
        batch.dense[f] = numbers;
    }
}

/// By part, how many ids it has; `None` where the product of all, of a fixed number each, does not
/// fit 64 bits.
fn sizes(schema: &Schema, parts: &[u32]) -> Option<Vec<u64>> {
    let size = |&part: &u32| match schema.features[part as usize].kind {
        FeatureKind::Fixed { size, .. } => Some(size),
        FeatureKind::Dynamic { .. } | FeatureKind::Dense { .. } => None,
    };
    let sizes: Vec<u64> = parts.iter().map(size).collect::<Option<_>>()?;
    sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size))?;
    Some(sizes)
}

/// The ids of combinations. `sizes`: the number of a combination, the first part counting most.
/// Otherwise XXH3, 64 bits, seed 0, of the parts' keys, 8 bytes each, the lowest first.
fn cross(columns: &[Cow<[u64]>], sizes: &Option<Vec<u64>>, into: Option<u64>, ids: &mut Vec<u64>) {
    let length = columns.first().map_or(0, |column| column.len());
    let mut bytes = Vec::with_capacity(8 * columns.len());
    ids.extend((0..length).map(|element| {
        if let (Some(sizes), None) = (sizes, into) {
            return columns.iter().zip(sizes).fold(0, |number, (column, size)| number * size + column[element]);
        }
        bytes.clear();
        columns.iter().for_each(|column| bytes.extend_from_slice(&column[element].to_le_bytes()));
        let hash = xxh3_64(&bytes);
        into.map_or(hash, |size| hash % size)
    }));
}

/// What is made of the time between two moments: whole numbers, which are subtracted exactly.
fn gaps(
    (later, earlier): (&[u64], &[u64]),
    makes: &Made,
    missing: Option<&Replacement>,
    ids: &mut Vec<u64>,
    numbers: &mut Vec<f32>,
) {
    let absent = own_id(ColumnValues::Integers);
    for (&later, &earlier) in later.iter().zip(earlier) {
        if let Some(becomes) = missing
            && (later == absent || earlier == absent)
        {
            match becomes {
                Replacement::Number(number) => numbers.push(*number),
                Replacement::Id(id) => ids.push(*id),
                Replacement::Text(_) | Replacement::OwnId => unreachable!("the program was checked"),
            }
            continue;
        }
        let gap = i128::from(later as i64) - i128::from(earlier as i64);
        let number = |steps: &[Step]| {
            let number = number(RawValue::Integer(gap), steps);
            number.expect("the program was checked: the steps fit every gap") as f32
        };
        match makes {
            Made::Mark => numbers.push(0.0),
            Made::Number { steps } => numbers.push(number(steps)),
            Made::Bucket { steps, boundaries: Boundaries::Given(boundaries) } => {
                let number = number(steps);
                ids.push(boundaries.partition_point(|&boundary| boundary <= number) as u64);
            }
            Made::Bucket { boundaries: Boundaries::Quantiles { .. }, .. }
            | Made::Id
            | Made::FixedId { .. }
            | Made::HashedId { .. }
            | Made::VocabularyRow { .. }
            | Made::Calendar { .. } => unreachable!("the program was checked"),
        }
    }
}

/// What a feature is made of.
struct Parts<'a> {
    schema: &'a Schema,
    batch: &'a Batch,
    of: &'a Feature,
}

impl<'a> Parts<'a> {
    /// The ids of a part at the elements of the feature.
    fn ids(&self, part: usize) -> Cow<'a, [u64]> {
        let (feature, ids) = (&self.schema.features[part], &self.batch.ids[part][..]);
        if (feature.sequence, feature.common) == (self.of.sequence, self.of.common) {
            return Cow::Borrowed(ids);
        }
        // A value per request or sample, at the samples or entries of each.
        let of_units = match (feature.common, self.of.common) {
            (true, false) => Cow::Owned(self.batch.request_of().iter().map(|&r| ids[r as usize]).collect::<Vec<_>>()),
            (true, true) | (false, false) => Cow::Borrowed(ids),
            (false, true) => unreachable!("what is made of a sample's own values is no common feature"),
        };
        match self.of.sequence {
            None => of_units,
            Some(s) => {
                let lengths = self.batch.offsets[s as usize].windows(2).map(|pair| (pair[1] - pair[0]) as usize);
                let repeated = of_units.iter().zip(lengths).flat_map(|(&id, n)| std::iter::repeat_n(id, n));
                Cow::Owned(repeated.collect())
            }
        }
    }

    /// How many entries of the list `a` have an id that the list `b` has, too.
    fn overlaps(&self, a: usize, b: usize, numbers: &mut Vec<f32>) {
        /// Products of lengths up to which comparing all pairs is fastest.
        const FEW: usize = 1024;
        let request_of = if self.of.common { Vec::new() } else { self.batch.request_of() };
        let units = if self.of.common { self.batch.units() } else { self.batch.rows };
        let list = |part: usize, unit: usize| -> &'a [u64] {
            let feature = &self.schema.features[part];
            let own = if feature.common && !self.of.common { request_of[unit] as usize } else { unit };
            let range: Range<usize> = match feature.sequence {
                Some(s) => {
                    let offsets = &self.batch.offsets[s as usize];
                    offsets[own] as usize..offsets[own + 1] as usize
                }
                None => own..own + 1,
            };
            &self.batch.ids[part][range]
        };
        numbers.extend((0..units).map(|unit| {
            let (a, b) = (list(a, unit), list(b, unit));
            let found = if a.len() * b.len() <= FEW {
                a.iter().filter(|id| b.contains(id)).count()
            } else {
                let known: FxHashSet<u64> = b.iter().copied().collect();
                a.iter().filter(|id| known.contains(id)).count()
            };
            found as f32
        }));
    }
}
