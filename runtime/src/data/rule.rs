//! What becomes of the values of a column that has a rule: the same for all formats, value by
//! value.

use super::bind::{ColumnType, RequiredColumn};
use super::error::{DataError, FaultKind};
use super::string_id;
use crate::statistics::Statistics;
use din_program::schema::{
    Boundaries, CalendarPart, ColumnValue, ColumnValues, DataStatistic, Made, Replacement, Step, ValueRule, Vocabulary,
};
use rustc_hash::FxHashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

/// A value of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawValue<'a> {
    /// A null.
    Null,
    Integer(i128),
    Number(f64),
    Text(&'a str),
}

/// Why a value is none of the feature.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    Null,
    /// Not one of so many ids.
    Range {
        size: u64,
        found: String,
    },
    NotFinite {
        found: String,
    },
    /// The logarithm of a number that is not above 0.
    Logarithm {
        found: String,
    },
}

/// A rule, and where the statistics of the training data are or will be.
#[derive(Clone, Debug)]
pub(crate) struct BoundRule {
    missing: Option<BoundMissing>,
    declared: Made,
    /// The same with the statistics in their places, from the first value on.
    makes: OnceLock<Made>,
    wanted: Vec<DataStatistic>,
    statistics: Statistics,
    vocabulary: Option<Arc<VocabularyRows>>,
}

/// The rows of the entries of a vocabulary.
#[derive(Debug)]
pub(crate) struct VocabularyRows {
    rows: FxHashMap<Box<str>, u64>,
    oov: u64,
}

impl VocabularyRows {
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let entries = Vocabulary::entries(&vocabulary.text);
        Self { rows: entries.map(Box::from).zip(0..).collect(), oov: vocabulary.oov_row() }
    }

    fn of(&self, text: &str) -> u64 {
        self.rows.get(text).copied().unwrap_or(self.oov)
    }
}

impl BoundRule {
    /// The rule of a feature. `wanted` are the statistics of its schema, `vocabulary` is the one
    /// that the rule names.
    pub fn new(
        rule: &ValueRule,
        wanted: &[DataStatistic],
        statistics: &Statistics,
        vocabulary: Option<Arc<VocabularyRows>>,
    ) -> BoundRule {
        BoundRule {
            missing: rule.missing.as_ref().map(|missing| BoundMissing {
                value: missing.value.clone(),
                becomes: replacement(&missing.becomes, rule),
            }),
            declared: rule.makes.clone(),
            makes: OnceLock::new(),
            wanted: wanted.to_vec(),
            statistics: statistics.clone(),
            vocabulary,
        }
    }

    fn bind(&self) -> Made {
        let value = |statistic: u32| self.statistics.of(&self.wanted, statistic);
        let bound = |steps: &[Step]| -> Vec<Step> {
            let step = |step: &Step| match *step {
                Step::Standard { statistic } => {
                    let [mean, deviation] = value(statistic) else { unreachable!("moments are two numbers") };
                    let scale = if *deviation > 0.0 { f64::from(*deviation) } else { 1.0 };
                    vec![Step::Add(-f64::from(*mean)), Step::Divide(scale)]
                }
                Step::Add(_) | Step::Multiply(_) | Step::Divide(_) | Step::Log | Step::Clip(..) => vec![*step],
            };
            steps.iter().flat_map(step).collect()
        };
        match &self.declared {
            Made::Number { steps } => Made::Number { steps: bound(steps) },
            Made::Bucket { steps, boundaries } => {
                let boundaries = match boundaries {
                    Boundaries::Given(given) => given.clone(),
                    Boundaries::Quantiles { statistic } => value(*statistic).to_vec(),
                };
                Made::Bucket { steps: bound(steps), boundaries: Boundaries::Given(boundaries) }
            }
            Made::Calendar { steps, part } => Made::Calendar { steps: bound(steps), part: *part },
            Made::Mark | Made::Id | Made::FixedId { .. } | Made::HashedId { .. } | Made::VocabularyRow { .. } => {
                self.declared.clone()
            }
        }
    }

    /// What a null becomes, where that is declared.
    pub fn replaces_nulls(&self) -> bool {
        self.missing.is_some()
    }

    /// Whether it marks missing values.
    pub fn marks(&self) -> bool {
        self.declared == Made::Mark
    }

    /// Of the marks of a vector's components, the last in `numbers`, makes that of the vector: 1
    /// where any is missing.
    pub fn mark_vector(&self, width: usize, numbers: &mut Vec<f32>) {
        if self.marks() {
            let begin = numbers.len() - width;
            let any = numbers[begin..].contains(&1.0);
            numbers.truncate(begin);
            numbers.push(f32::from(u8::from(any)));
        }
    }

    /// Appends what the value becomes to the ids or the numbers of the feature.
    #[inline]
    pub fn append(&self, value: RawValue, ids: &mut Vec<u64>, numbers: &mut Vec<f32>) -> Result<(), Refused> {
        if let Some(missing) = &self.missing
            && is_missing(missing, value)
        {
            match missing.becomes {
                FeatureValue::Id(id) => ids.push(id),
                FeatureValue::Number(number) => numbers.push(number),
            }
            return Ok(());
        }
        match (self.makes.get_or_init(|| self.bind()), value) {
            (_, RawValue::Null) => return Err(Refused::Null),
            (Made::Mark, _) => numbers.push(0.0),
            (Made::Id, RawValue::Integer(id)) => ids.push(id as u64),
            (Made::Id, RawValue::Text(text)) => ids.push(string_id(text)),
            (Made::FixedId { size, clip }, RawValue::Integer(id)) => ids.push(fixed_id(id, *size, *clip)?),
            (Made::HashedId { size }, RawValue::Integer(id)) => ids.push(hashed_id(id as u64, *size)),
            (Made::HashedId { size }, RawValue::Text(text)) => ids.push(string_id(text) % size),
            (Made::VocabularyRow { .. }, RawValue::Text(text)) => {
                let rows = self.vocabulary.as_ref().expect("a rule that names a vocabulary is bound with it");
                ids.push(rows.of(text));
            }
            (Made::Number { steps }, value) => numbers.push(rounded(value, number(value, steps)?)?),
            (Made::Bucket { steps, boundaries }, value) => {
                let Boundaries::Given(given) = boundaries else { unreachable!("a bound rule has its boundaries") };
                let number = rounded(value, number(value, steps)?)?;
                ids.push(given.partition_point(|&boundary| boundary <= number) as u64);
            }
            (Made::Calendar { steps, part }, value) => ids.push(calendar(number(value, steps)?, *part)),
            (
                Made::Id | Made::FixedId { .. } | Made::HashedId { .. } | Made::VocabularyRow { .. },
                RawValue::Number(_),
            )
            | (Made::FixedId { .. }, RawValue::Text(_))
            | (Made::VocabularyRow { .. }, RawValue::Integer(_)) => {
                unreachable!("the type of a column is checked before its values are read")
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct BoundMissing {
    value: Option<ColumnValue>,
    becomes: FeatureValue,
}

/// A value of a feature, as a batch has it.
#[derive(Clone, Copy, Debug)]
enum FeatureValue {
    Id(u64),
    Number(f32),
}

/// What a missing value becomes.
fn replacement(becomes: &Replacement, rule: &ValueRule) -> FeatureValue {
    let size = match rule.makes {
        Made::HashedId { size } => Some(size),
        Made::Mark
        | Made::Id
        | Made::FixedId { .. }
        | Made::VocabularyRow { .. }
        | Made::Number { .. }
        | Made::Bucket { .. }
        | Made::Calendar { .. } => None,
    };
    let integer = |id: u64| size.map_or(id, |size| hashed_id(id, size));
    let text = |id: u64| size.map_or(id, |size| id % size);
    match (becomes, rule.holds) {
        (Replacement::Number(number), _) => FeatureValue::Number(*number),
        (Replacement::Id(id), _) => FeatureValue::Id(integer(*id)),
        (Replacement::Text(id), _) => FeatureValue::Id(text(string_id(id))),
        (Replacement::OwnId, ColumnValues::Strings) => FeatureValue::Id(text(own_id(rule.holds))),
        (Replacement::OwnId, ColumnValues::Integers | ColumnValues::Numbers { .. }) => {
            FeatureValue::Id(integer(own_id(rule.holds)))
        }
    }
}

/// The id that stands for a missing one, before it is hashed.
pub(crate) fn own_id(holds: ColumnValues) -> u64 {
    match holds {
        // No UTF-8 text has this byte.
        ColumnValues::Strings => xxh3_64(&[0xff]),
        ColumnValues::Integers | ColumnValues::Numbers { .. } => i64::MIN as u64,
    }
}

fn is_missing(missing: &BoundMissing, value: RawValue) -> bool {
    match (value, &missing.value) {
        (RawValue::Null, _) => true,
        (RawValue::Number(number), _) if number.is_nan() => true,
        (RawValue::Integer(found), Some(ColumnValue::Integer(value))) => found == i128::from(*value),
        (RawValue::Integer(found), Some(ColumnValue::Number(value))) => found as f64 == *value,
        (RawValue::Number(found), Some(ColumnValue::Number(value))) => found == *value,
        (RawValue::Text(found), Some(ColumnValue::Text(value))) => found == value,
        (_, None)
        | (RawValue::Number(_), Some(ColumnValue::Integer(_) | ColumnValue::Text(_)))
        | (RawValue::Integer(_), Some(ColumnValue::Text(_)))
        | (RawValue::Text(_), Some(ColumnValue::Integer(_) | ColumnValue::Number(_))) => false,
    }
}

fn fixed_id(id: i128, size: u64, clip: bool) -> Result<u64, Refused> {
    match u64::try_from(id) {
        Ok(id) if id < size => Ok(id),
        _ if !clip => Err(Refused::Range { size, found: id.to_string() }),
        _ if id < 0 => Ok(0),
        _ => Ok(size.saturating_sub(1)),
    }
}

/// The category of an integer id: XXH3, 64 bits, seed 0, of its bytes, the lowest first; the
/// remainder of its division by `size`.
#[inline]
pub fn hashed_id(id: u64, size: u64) -> u64 {
    xxh3_64(&id.to_le_bytes()) % size
}

#[inline]
pub(super) fn number(value: RawValue, steps: &[Step]) -> Result<f64, Refused> {
    let given = match value {
        RawValue::Number(number) => number,
        RawValue::Integer(integer) => integer as f64,
        RawValue::Null | RawValue::Text(_) => {
            unreachable!("the type of a column is checked before its values are read, and nulls are refused")
        }
    };
    // As a number without a rule: finite in f32.
    if !(given as f32).is_finite() {
        return Err(Refused::NotFinite { found: given.to_string() });
    }
    let mut x = given;
    for step in steps {
        x = match *step {
            Step::Add(c) => x + c,
            Step::Multiply(c) => x * c,
            Step::Divide(c) => x / c,
            // The library's own, whose bits are the same on every machine.
            Step::Log if x > 0.0 => libm::log(x),
            Step::Log => return Err(Refused::Logarithm { found: given.to_string() }),
            Step::Clip(least, most) => x.clamp(least, most),
            Step::Standard { .. } => unreachable!("a bound rule has the moments in their places"),
        };
    }
    Ok(x)
}

/// The number as the feature has it.
#[inline]
fn rounded(given: RawValue, number: f64) -> Result<f32, Refused> {
    let rounded = number as f32;
    if rounded.is_finite() {
        return Ok(rounded);
    }
    let found = match given {
        RawValue::Number(number) => number.to_string(),
        RawValue::Integer(integer) => integer.to_string(),
        RawValue::Null | RawValue::Text(_) => unreachable!("neither is a number"),
    };
    Err(Refused::NotFinite { found })
}

/// A part of the date and time of a second since 1970, in UTC.
fn calendar(second: f64, part: CalendarPart) -> u64 {
    let second = second.floor() as i64;
    let (day, of_day) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    match part {
        CalendarPart::Hour => (of_day / 3600) as u64,
        // The first day of 1970 was a Thursday.
        CalendarPart::Weekday => (day + 3).rem_euclid(7) as u64,
        CalendarPart::Day | CalendarPart::Month => {
            // Days and months of a year that begins in March, so that the day of a leap year is
            // its last: in 400 years there are 146,097 days, in five months 153.
            let of_era = (day + 719_468).rem_euclid(146_097);
            let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
            let of_year = of_era - (365 * year + year / 4 - year / 100);
            let month = (5 * of_year + 2) / 153;
            let first = (153 * month + 2) / 5;
            if part == CalendarPart::Month { ((month + 2) % 12) as u64 } else { (of_year - first) as u64 }
        }
    }
}

impl RequiredColumn {
    /// A value that its rule refuses.
    pub(super) fn refused(&self, file: &Path, refused: Refused) -> DataError {
        match refused {
            Refused::Null => self.null(file),
            Refused::Range { size, found } => self.out_of_range(file, size, found),
            Refused::NotFinite { found } => self.not_finite(file, found),
            Refused::Logarithm { found } => self
                .fault(FaultKind::BadValue, file, "a number whose logarithm exists, above 0", found)
                .help("write `log(1 + x)` for counts from 0, or limit the number first: `log(clip(x, 1e-6, 1e6))`"),
        }
    }
}

/// The type of the column that a rule reads.
pub(super) fn column_type(rule: &ValueRule) -> ColumnType {
    match (rule.holds, &rule.makes) {
        (_, Made::FixedId { size, clip }) => ColumnType::FixedIds { size: *size, clip: *clip },
        (ColumnValues::Integers, _) => ColumnType::IntegerIds,
        (ColumnValues::Strings, _) => ColumnType::StringIds,
        (ColumnValues::Numbers { width }, _) => ColumnType::Numbers { width: width as usize },
    }
}

/// The vocabulary that a rule names.
pub(super) fn vocabulary_of(rule: &ValueRule) -> Option<u32> {
    match rule.makes {
        Made::VocabularyRow { vocabulary } => Some(vocabulary),
        Made::Mark
        | Made::Id
        | Made::FixedId { .. }
        | Made::HashedId { .. }
        | Made::Number { .. }
        | Made::Bucket { .. }
        | Made::Calendar { .. } => None,
    }
}
