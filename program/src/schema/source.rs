//! Where the values of a feature come from: a column as it is, a column by a rule, or other
//! features.

use serde::{Deserialize, Serialize};

/// Where the values of a feature come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FeatureSource {
    /// The values of a column of the data.
    Column(String),
    /// What a rule makes of a column's values.
    Rule {
        /// Column of the data.
        column: String,
        /// Value by value.
        rule: ValueRule,
    },
    /// 1 where the list of a column is missing, else 0.
    ListMark {
        /// A list column of a sequence.
        column: String,
    },
    /// What is made of other features when a batch is put together.
    Features(Combination),
    /// Nothing: prediction does not read it, and all its values are 0. In no program, but in the
    /// schema by which prediction reads.
    Absent,
}

impl FeatureSource {
    /// The values of a column as they are.
    pub fn column(name: impl Into<String>) -> Self {
        Self::Column(name.into())
    }
}

/// What becomes of the values of a column: of every one by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueRule {
    /// What the column holds.
    pub holds: ColumnValues,
    /// What a missing value becomes; without it, a null is a located error.
    pub missing: Option<Missing>,
    /// What any other value becomes.
    pub makes: Made,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ColumnValues {
    /// Any integers that 64 bits hold.
    Integers,
    /// Text.
    Strings,
    /// Numbers, so many per value.
    Numbers {
        /// Values of one list of the column; 1 for plain numbers.
        width: u32,
    },
}

/// What counts as missing, and what it becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// A value of the column that counts as missing. Nulls do, and NaN in a column of numbers.
    pub value: Option<ColumnValue>,
    /// The value of the feature then.
    pub becomes: Replacement,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ColumnValue {
    /// Of integers.
    Integer(i64),
    /// Of strings.
    Text(String),
    /// Of numbers.
    Number(f64),
}

/// A value of a feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Replacement {
    /// An integer id, a category, or a bucket; hashed as other ids are where these are.
    Id(u64),
    /// A string id, likewise.
    Text(String),
    /// An id of its own.
    OwnId,
    /// Each component of a number.
    Number(f32),
}

/// What a value that is there becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Made {
    /// 0; a missing value becomes 1.
    Mark,
    /// The id that it is.
    Id,
    /// The id that it is, of so many.
    FixedId {
        /// Ids `0..size`.
        size: u64,
        /// Whether an id outside becomes the nearest one.
        clip: bool,
    },
    /// One of so many ids, by a hash: XXH3, 64 bits, seed 0, of the 8 bytes of an integer (the
    /// lowest first) or of the text's UTF-8 bytes; the remainder of its division by `size`.
    HashedId {
        /// Ids `0..size`.
        size: u64,
    },
    /// The number of the text's line in a vocabulary, from 0; of any other text
    /// [`super::Vocabulary::oov_row`]. A missing text that has an id of its own has the one behind.
    VocabularyRow {
        /// Index into [`super::Schema::vocabularies`].
        vocabulary: u32,
    },
    /// A number, after these steps.
    Number {
        /// In this order.
        steps: Vec<Step>,
    },
    /// How many of the boundaries a number, after these steps, reaches: an id.
    Bucket {
        /// In this order.
        steps: Vec<Step>,
        /// Ascending.
        boundaries: Boundaries,
    },
    /// A part of the date and time in UTC that a number, after these steps, is in seconds since
    /// 1970: an id.
    Calendar {
        /// In this order.
        steps: Vec<Step>,
        /// Which part.
        part: CalendarPart,
    },
}

/// A part of a date and time; counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CalendarPart {
    /// Of the day.
    Hour,
    /// Of the week, Monday first.
    Weekday,
    /// Of the month.
    Day,
    /// Of the year.
    Month,
}

impl CalendarPart {
    /// How many there are.
    pub fn size(self) -> u64 {
        match self {
            Self::Hour => 24,
            Self::Weekday => 7,
            Self::Day => 31,
            Self::Month => 12,
        }
    }
}

/// Something done to a number, in double precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `x + c`
    Add(f64),
    /// `x * c`
    Multiply(f64),
    /// `x / c`
    Divide(f64),
    /// The natural logarithm of a number above 0.
    Log,
    /// The nearest number from the first to the second.
    Clip(f64, f64),
    /// `(x - mean) / deviation` by moments of the training data.
    Standard {
        /// Index into [`super::Schema::statistics`].
        statistic: u32,
    },
}

/// The largest gap between two 64-bit times, as a double.
pub const LARGEST_GAP: f64 = 18_446_744_073_709_551_616.0;

impl Step {
    /// Between which numbers the steps make those between two numbers; `None` where a number has no
    /// result, or one that is not finite in 32 bits, or where the data decide.
    pub fn range(steps: &[Step], (mut least, mut most): (f64, f64)) -> Option<(f64, f64)> {
        for step in steps {
            let ends = match *step {
                Self::Add(c) => (least + c, most + c),
                Self::Multiply(c) => (least * c, most * c),
                Self::Divide(c) => (least / c, most / c),
                // The library's own, as where the steps are taken.
                Self::Log if least > 0.0 => (libm::log(least), libm::log(most)),
                Self::Clip(from, to) if from <= to => (least.clamp(from, to), most.clamp(from, to)),
                Self::Log | Self::Clip(..) | Self::Standard { .. } => return None,
            };
            if !(ends.0.is_finite() && ends.1.is_finite()) {
                return None;
            }
            (least, most) = (ends.0.min(ends.1), ends.0.max(ends.1));
        }
        ((least as f32).is_finite() && (most as f32).is_finite()).then_some((least, most))
    }
}

/// Boundaries of buckets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Boundaries {
    /// Ascending.
    Given(Vec<f32>),
    /// Quantiles of the training data.
    Quantiles {
        /// Index into [`super::Schema::statistics`].
        statistic: u32,
    },
}

/// What the training data decide of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataStatistic {
    /// Index into [`super::Schema::features`].
    pub feature: u32,
    /// Of the values up to the step that needs it, without those that are missing.
    pub kind: DataStatisticKind,
}

/// Which statistic of the training data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataStatisticKind {
    /// Mean and standard deviation.
    Moments,
    /// The boundaries between so many buckets of equally many values.
    Quantiles {
        /// At least 2.
        buckets: u32,
    },
}

impl DataStatisticKind {
    /// How many numbers it is.
    pub fn values(self) -> usize {
        match self {
            Self::Moments => 2,
            Self::Quantiles { buckets } => buckets.saturating_sub(1) as usize,
        }
    }
}

/// What is made of the values of other features of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Combination {
    /// Ids of combinations of ids.
    Cross {
        /// Indices into [`super::Schema::features`]: categorical ones.
        of: Vec<u32>,
        /// `Some(n)`: ids `0..n`, by the hash of the combination.
        size: Option<u64>,
    },
    /// 1 where two features have one id, else 0.
    Equal {
        /// Indices into [`super::Schema::features`]: categorical ones of one kind of ids.
        of: [u32; 2],
    },
    /// What is made of the seconds, or other units, between two times.
    Gap {
        /// Indices into [`super::Schema::features`], which hold whole numbers as ids: the time that
        /// is subtracted from, and the one that is subtracted.
        of: [u32; 2],
        /// [`Made::Number`], [`Made::Bucket`] with given boundaries or, where a time is missing,
        /// [`Made::Mark`]. Its steps fit every gap: see [`Step::range`].
        makes: Made,
        /// What it is where a time is missing, which has the id of its own.
        missing: Option<Replacement>,
    },
    /// How many entries of one sequence have an id that entries of another have, too.
    Overlap {
        /// Indices into [`super::Schema::features`]: categorical ones of one kind of ids.
        of: [u32; 2],
    },
}

impl Combination {
    /// The features that it is made of.
    pub fn parts(&self) -> &[u32] {
        match self {
            Self::Cross { of, .. } => of,
            Self::Equal { of } | Self::Overlap { of } | Self::Gap { of, .. } => of,
        }
    }
}
