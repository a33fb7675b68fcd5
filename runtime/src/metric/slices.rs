//! Slices: a metric of the rows that have a key, an id or a bucket in common.

use super::auc::Undefined;
use super::report::Detail;
use crate::batch::{Batch, KeyColumn};
use crate::data::{own_id, string_id};
use crate::statistics::Statistics;
use crate::{Error, Result};
use din_program::schema::{
    Boundaries, ColumnValues, Combination, Feature, FeatureKind, FeatureSource, GroupBy, KeyType, Made, Replacement,
    Schema, SliceBy, Slicing,
};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// What the rows of a slice have in common. Ordered by kind, then as numbers or texts are.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
pub enum SliceValue {
    /// A key or an id. A hashed id is the number of its category.
    Integer(i64),
    Text(String),
    /// Numbers from the first, if there is one, to below the second, if there is one.
    Bucket {
        from: Option<f32>,
        to: Option<f32>,
    },
    /// Of a cross, the value of each of its fields.
    Combination(Vec<SliceValue>),
    /// Texts that are no entries of the vocabulary.
    NoEntry,
    /// The value is missing.
    Missing,
    /// The number that is put into buckets is not a number.
    NaN,
}

impl SliceValue {
    /// A number, a text, null for a missing value, an object with `from` and `to` or, of texts that
    /// are no entries, with `entry`, or an array.
    pub fn to_json(&self) -> Value {
        // As a boundary is written: f64 would show more digits than it has.
        let boundary = |b: &Option<f32>| b.map(|b| b.to_string().parse::<f64>().expect("a number as it is shown"));
        match self {
            Self::Integer(id) => json!(id),
            Self::Text(text) => json!(text),
            Self::Bucket { from, to } => json!({ "from": boundary(from), "to": boundary(to) }),
            Self::Combination(parts) => parts.iter().map(Self::to_json).collect(),
            Self::NoEntry => json!({ "entry": false }),
            Self::Missing => Value::Null,
            Self::NaN => json!("NaN"),
        }
    }
}

impl fmt::Display for SliceValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(id) => write!(f, "{id}"),
            Self::Text(text) if text.is_empty() || text.contains(char::is_control) => write!(f, "{text:?}"),
            Self::Text(text) => f.write_str(text),
            Self::Bucket { from: None, to: None } => f.write_str("any number"),
            Self::Bucket { from: None, to: Some(to) } => write!(f, "below {to}"),
            Self::Bucket { from: Some(from), to: None } => write!(f, "{from} or more"),
            Self::Bucket { from: Some(from), to: Some(to) } => write!(f, "[{from}, {to})"),
            Self::Combination(parts) => {
                f.write_str("(")?;
                for (k, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if k > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::NoEntry => f.write_str("not in the vocabulary"),
            Self::Missing => f.write_str("missing"),
            Self::NaN => f.write_str("not a number"),
        }
    }
}

/// A metric on the rows of one slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    pub of: SliceValue,
    /// Rows of the metric: those whose label is known and that its condition keeps.
    pub rows: u64,
    pub value: std::result::Result<f64, Undefined>,
    pub detail: Detail,
}

/// A metric on every slice of its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slices {
    /// As in the spec: `user.city`.
    pub by: String,
    /// By number of rows, the largest first, then by value.
    pub slices: Vec<Slice>,
}

impl Slices {
    /// How many are shown.
    pub const SHOWN: usize = 20;

    pub(super) fn new(by: String, mut slices: Vec<Slice>) -> Self {
        slices.sort_by(|a, b| {
            let values = a.of.partial_cmp(&b.of).expect("boundaries are numbers");
            b.rows.cmp(&a.rows).then(values)
        });
        Self { by, slices }
    }
}

/// A line for each of the largest slices: its value, its rows and the metric.
impl fmt::Display for Slices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  by {}", self.by)?;
        let shown: Vec<(String, &Slice)> =
            self.slices.iter().take(Self::SHOWN).map(|slice| (slice.of.to_string(), slice)).collect();
        let longest = shown.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
        let digits = shown.iter().map(|(_, slice)| slice.rows.to_string().len()).max().unwrap_or(0);
        for (text, Slice { rows, value, .. }) in &shown {
            write!(f, "\n    {text:longest$}  {rows:>digits$} rows  ")?;
            match value {
                Ok(value) => write!(f, "{value:.4}")?,
                Err(why) => write!(f, "undefined ({why})")?,
            }
        }
        match self.slices.len().saturating_sub(Self::SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} smaller ones, which --json has"),
        }
    }
}

/// What `name`, as in `--by user.city`, slices by: a key or a categorical feature with one id per
/// sample.
///
/// # Errors
/// There is none of this name, or its rows cannot be sliced by it.
pub fn slicing(schema: &Schema, name: &str) -> Result<Slicing> {
    let slicing = |by| Slicing { name: name.into(), by: SliceBy::Value(by) };
    if let Some(key) = schema.keys.iter().position(|key| key.name == name) {
        return Ok(slicing(GroupBy::Key(key as u32)));
    }
    let slices = |feature: &Feature| feature.sequence.is_none() && !matches!(feature.kind, FeatureKind::Dense { .. });
    let Some(index) = schema.features.iter().position(|feature| feature.path() == name) else {
        let features = schema.features.iter().filter(|feature| slices(feature)).map(Feature::path);
        let known: Vec<String> = schema.keys.iter().map(|key| key.name.clone()).chain(features).collect();
        let error = Error::input(format!("--by {name}: the model has no key or feature of this name"));
        return Err(match known.is_empty() {
            true => error.help("it has no key and no categorical feature; declare one: `key user_id: int64`"),
            false => error.help(format!("rows are sliced by {}", known.join(", "))),
        });
    };
    let feature = &schema.features[index];
    if !slices(feature) {
        let found = if feature.sequence.is_some() { "a list" } else { "a number" };
        let help = match feature.sequence {
            Some(_) => "name a key, or a feature with one id per sample".to_string(),
            None => format!("report it in the spec: `auc(click) by buckets({name}, [1, 10, 100])`"),
        };
        let expected = "expected a key or a categorical feature";
        return Err(Error::input(format!("--by {name}: {expected}, found {found}")).help(help));
    }
    let index = index as u32;
    Ok(slicing(if feature.common { GroupBy::Common(index) } else { GroupBy::Feature(index) }))
}

/// The features with string ids whose texts the values of slices need:
/// [`OpenOptions::texts`](crate::data::OpenOptions::texts).
pub fn texts<'a>(schema: &Schema, slicings: impl IntoIterator<Item = &'a Slicing>) -> Vec<u32> {
    let mut texts = Vec::new();
    for slicing in slicings {
        match slicing.by {
            SliceBy::Value(GroupBy::Feature(f) | GroupBy::Common(f)) => texts_of(schema, f, &mut texts),
            SliceBy::Value(GroupBy::Key(_)) | SliceBy::Bucket { .. } => {}
        }
    }
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn texts_of(schema: &Schema, index: u32, texts: &mut Vec<u32>) {
    let feature = &schema.features[index as usize];
    match &feature.source {
        FeatureSource::Features(Combination::Cross { of, size: None }) => {
            of.iter().for_each(|&part| texts_of(schema, part, texts));
        }
        FeatureSource::Column(_) | FeatureSource::Rule { .. }
            if feature.kind == (FeatureKind::Dynamic { key: KeyType::String }) =>
        {
            texts.push(index);
        }
        FeatureSource::Column(_)
        | FeatureSource::Rule { .. }
        | FeatureSource::ListMark { .. }
        | FeatureSource::Features(_)
        | FeatureSource::Absent => {}
    }
}

/// What the values of slices are made of, beside a batch.
#[derive(Clone, Debug)]
pub struct SliceContext {
    pub schema: Schema,
    /// Those of the training data.
    pub statistics: Statistics,
    /// The entries of each vocabulary of the schema, by row.
    pub entries: Vec<Vec<String>>,
    /// What the data were opened with: [`texts`].
    pub texts: Vec<u32>,
}

/// By the key of a slice, what its rows have in common.
#[derive(Clone, Debug)]
pub(super) struct SliceValues {
    pub by: SliceBy,
    pub values: FxHashMap<u64, SliceValue>,
}

impl SliceValues {
    /// Adds the slices of a batch's rows.
    pub fn add(&mut self, context: &SliceContext, batch: &Batch, keys: &[u64]) {
        let request_of = batch.request_of();
        let row = |row: usize| Row { context, batch, request_of: &request_of, row };
        for (i, &key) in keys.iter().enumerate() {
            self.values.entry(key).or_insert_with(|| match &self.by {
                SliceBy::Value(by) => row(i).value(*by),
                SliceBy::Bucket { boundaries, .. } => bucket(boundaries, key),
            });
        }
    }
}

/// The key of a number that is not one.
const NAN: u64 = u64::MAX;

/// The key of a row, whose number it is: how many boundaries it reaches.
fn bucket_of(boundaries: &[f32], number: f32) -> u64 {
    match number.is_nan() {
        true => NAN,
        false => boundaries.partition_point(|&boundary| boundary <= number) as u64,
    }
}

fn bucket(boundaries: &[f32], key: u64) -> SliceValue {
    if key == NAN {
        return SliceValue::NaN;
    }
    let reached = key as usize;
    let from = reached.checked_sub(1).map(|last| boundaries[last]);
    SliceValue::Bucket { from, to: boundaries.get(reached).copied() }
}

/// Appends the keys of rows of a batch. `outputs` are the values of the program's outputs.
pub(super) fn push_keys(
    by: &SliceBy,
    batch: &Batch,
    outputs: &[&[f32]],
    rows: impl Iterator<Item = usize>,
    keys: &mut Vec<u64>,
) {
    match by {
        SliceBy::Value(GroupBy::Feature(f)) => keys.extend(rows.map(|i| batch.ids[*f as usize][i])),
        SliceBy::Value(GroupBy::Common(f)) => {
            let request_of = batch.request_of();
            keys.extend(rows.map(|i| batch.ids[*f as usize][request_of[i] as usize]));
        }
        SliceBy::Value(GroupBy::Key(k)) => match &batch.keys[*k as usize] {
            KeyColumn::Int64(column) => keys.extend(rows.map(|i| column[i] as u64)),
            // Two strings with one hash would be one group: no more likely than for ids.
            KeyColumn::String(column) => keys.extend(rows.map(|i| string_id(&column[i]))),
        },
        SliceBy::Bucket { output, boundaries } => {
            keys.extend(rows.map(|i| bucket_of(boundaries, outputs[*output as usize][i])));
        }
    }
}

/// One row of a batch.
struct Row<'a> {
    context: &'a SliceContext,
    batch: &'a Batch,
    request_of: &'a [u32],
    row: usize,
}

impl Row<'_> {
    fn value(&self, by: GroupBy) -> SliceValue {
        match by {
            GroupBy::Key(k) => match &self.batch.keys[k as usize] {
                KeyColumn::Int64(column) => SliceValue::Integer(column[self.row]),
                KeyColumn::String(column) => SliceValue::Text(column[self.row].clone()),
            },
            GroupBy::Feature(f) | GroupBy::Common(f) => self.feature(f),
        }
    }

    fn feature(&self, index: u32) -> SliceValue {
        const NUMBERS: &str = "rows are sliced by ids";
        let SliceContext { schema, statistics, entries, texts: _ } = self.context;
        let feature = &schema.features[index as usize];
        let element = if feature.common { self.request_of[self.row] as usize } else { self.row };
        // A cross of a common field and one of the sample is the sample's.
        let id = self.batch.ids[index as usize][element];
        let rule = match &feature.source {
            FeatureSource::Column(_) => {
                return match feature.kind {
                    FeatureKind::Dynamic { key: KeyType::Int64 } | FeatureKind::Fixed { .. } => {
                        SliceValue::Integer(id as i64)
                    }
                    FeatureKind::Dynamic { key: KeyType::String } => self.text(index),
                    FeatureKind::Dense { .. } => unreachable!("{NUMBERS}"),
                };
            }
            FeatureSource::Features(Combination::Cross { of, size: None }) => {
                return SliceValue::Combination(of.iter().map(|&part| self.feature(part)).collect());
            }
            FeatureSource::Features(Combination::Cross { size: Some(_), .. }) => return SliceValue::Integer(id as i64),
            FeatureSource::Features(Combination::Gap { makes, .. }) => {
                let Made::Bucket { boundaries: Boundaries::Given(boundaries), .. } = makes else {
                    unreachable!("{NUMBERS}")
                };
                // A missing gap is in one more bucket.
                let missing = id > boundaries.len() as u64;
                return if missing { SliceValue::Missing } else { bucket(boundaries, id) };
            }
            FeatureSource::Features(Combination::Equal { .. } | Combination::Overlap { .. })
            | FeatureSource::ListMark { .. } => unreachable!("{NUMBERS}"),
            FeatureSource::Absent => unreachable!("evaluation reads every column"),
            FeatureSource::Rule { rule, .. } => rule,
        };
        let becomes = rule.missing.as_ref().map(|missing| &missing.becomes);
        match &rule.makes {
            Made::Id => match becomes {
                Some(Replacement::OwnId) if id == own_id(rule.holds) => SliceValue::Missing,
                Some(Replacement::Text(text)) if id == string_id(text) => SliceValue::Text(text.clone()),
                Some(Replacement::OwnId | Replacement::Text(_) | Replacement::Id(_) | Replacement::Number(_))
                | None => match rule.holds {
                    ColumnValues::Strings => self.text(index),
                    ColumnValues::Integers | ColumnValues::Numbers { .. } => SliceValue::Integer(id as i64),
                },
            },
            Made::FixedId { .. } | Made::HashedId { .. } => SliceValue::Integer(id as i64),
            Made::VocabularyRow { vocabulary } => {
                let entries = &entries[*vocabulary as usize];
                match entries.get(id as usize) {
                    Some(entry) => SliceValue::Text(entry.clone()),
                    None if id == entries.len() as u64 => SliceValue::NoEntry,
                    // A missing text has one more row.
                    None => SliceValue::Missing,
                }
            }
            Made::Bucket { boundaries, .. } => {
                let boundaries = match boundaries {
                    Boundaries::Given(given) => given,
                    Boundaries::Quantiles { statistic } => statistics.of(&schema.statistics, *statistic),
                };
                // A missing number is in one more bucket.
                if id > boundaries.len() as u64 { SliceValue::Missing } else { bucket(boundaries, id) }
            }
            Made::Calendar { part, .. } if id >= part.size() => SliceValue::Missing,
            Made::Calendar { .. } => SliceValue::Integer(id as i64),
            Made::Mark | Made::Number { .. } => unreachable!("{NUMBERS}"),
        }
    }

    /// The text behind the string id of a feature.
    fn text(&self, feature: u32) -> SliceValue {
        let SliceContext { schema, texts, .. } = self.context;
        let place = texts.iter().position(|&text| text == feature);
        let place = place.expect("the data were opened with the texts that slices need");
        match &self.batch.keys[schema.keys.len() + place] {
            KeyColumn::String(column) => SliceValue::Text(column[self.row].clone()),
            KeyColumn::Int64(_) => unreachable!("the data were opened with the texts of string ids"),
        }
    }
}
