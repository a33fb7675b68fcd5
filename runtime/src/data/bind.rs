//! From the schema to the columns required of every file: what each is for, which values it may
//! hold, how to speak of it.

use super::block::SomeColumns;
use super::error::{DataError, FaultKind, nearest};
use super::passthrough::PassthroughColumn;
use super::rule::{BoundRule, VocabularyRows, column_type, vocabulary_of};
use super::{OpenOptions, ReadMode};
use din_program::schema::{FeatureKind, FeatureSource, Keep, Key, KeyType, Label, LabelKind, MissingLabel, Schema};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What fills which column of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BatchColumn {
    /// `ids` or `dense` of a feature.
    Feature(usize),
    Label(usize),
    Key(usize),
}

/// Which values a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ColumnType {
    IntegerIds,
    StringIds,
    FixedIds {
        size: u64,
        clip: bool,
    },
    Numbers {
        width: usize,
    },
    Label {
        kind: LabelKind,
        missing: Option<f64>,
    },
    /// The texts of a label's classes: [`RequiredColumn::classes`].
    ClassTexts,
    IntegerKeys,
    StringKeys,
    /// The texts behind string ids, empty for nulls: the ids say what these are.
    Texts,
    /// Lists of any entries: whether they are missing.
    Lists,
}

/// Integers up to this, 2^24, are exact in f32.
pub(crate) const EXACT_INTEGERS: f32 = 16_777_216.0;

/// The classes of a label by their texts.
#[derive(Clone, Debug)]
pub(crate) struct ClassTexts {
    by_text: FxHashMap<String, u32>,
    /// What messages expect.
    pub expected: String,
    /// The text that stands for "not known"; where there is one, nulls do, too.
    missing: Option<String>,
}

impl ClassTexts {
    fn new(label: &Label) -> Self {
        let missing = match &label.missing {
            None => None,
            Some(MissingLabel::Text(text)) => Some(text.clone()),
            Some(MissingLabel::Number(_)) => unreachable!("the program was checked: its classes are texts"),
        };
        let by_text = label.classes.iter().cloned().zip(0..).collect();
        Self { by_text, expected: label.expected(), missing }
    }

    /// Whether a null stands for "not known".
    pub fn may_be_missing(&self) -> bool {
        self.missing.is_some()
    }

    /// Label and presence of a text; `None` if it is no class and does not stand for "not known".
    pub fn value(&self, text: &str) -> Option<(f32, f32)> {
        if self.missing.as_deref() == Some(text) {
            return Some((0.0, 0.0));
        }
        self.by_text.get(text).map(|&class| (class as f32, 1.0))
    }
}

/// One required column.
#[derive(Clone, Debug)]
pub(crate) struct RequiredColumn {
    pub target: BatchColumn,
    pub column: String,
    pub values: ColumnType,
    /// What becomes of each value; without it, they are the feature's.
    pub rule: Option<Arc<BoundRule>>,
    /// Of [`ColumnType::ClassTexts`].
    pub classes: Option<Arc<ClassTexts>>,
    /// A list, one entry an element of this sequence.
    pub sequence: Option<usize>,
    /// `feature ad.good_id`
    pub what: String,
    pub location: String,
}

/// Which values the column of a label holds.
fn label_type(label: &Label) -> ColumnType {
    if !label.classes.is_empty() {
        return ColumnType::ClassTexts;
    }
    let missing = match label.missing {
        None => None,
        Some(MissingLabel::Number(missing)) => Some(missing),
        Some(MissingLabel::Text(_)) => unreachable!("the program was checked: the label holds numbers"),
    };
    ColumnType::Label { kind: label.kind, missing }
}

/// The schema and the columns it wants: features, and what [`ReadMode`] says of labels and keys.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub schema: Schema,
    pub options: OpenOptions,
    pub required: Vec<RequiredColumn>,
    /// Columns to pass through, in the order of the output: keys, labels. Of prediction only.
    pub passthrough: Vec<PassthroughColumn>,
}

impl Binding {
    pub fn new(schema: &Schema, options: &OpenOptions) -> Self {
        let schema = &as_read(schema, options.mode);
        let mut required = Vec::new();
        let mut vocabularies: Vec<Option<Arc<VocabularyRows>>> = vec![None; schema.vocabularies.len()];
        for (index, feature) in schema.features.iter().enumerate() {
            let mut rule = None;
            let (column, values) = match &feature.source {
                FeatureSource::Column(column) => {
                    let values = match feature.kind {
                        FeatureKind::Dynamic { key: KeyType::Int64 } => ColumnType::IntegerIds,
                        FeatureKind::Dynamic { key: KeyType::String } => ColumnType::StringIds,
                        FeatureKind::Fixed { size, clip } => ColumnType::FixedIds { size, clip },
                        FeatureKind::Dense { width } => ColumnType::Numbers { width: width as usize },
                    };
                    (column, values)
                }
                FeatureSource::Rule { column, rule: of } => {
                    let vocabulary = vocabulary_of(of).map(|number| {
                        let rows = || Arc::new(VocabularyRows::new(&schema.vocabularies[number as usize]));
                        vocabularies[number as usize].get_or_insert_with(rows).clone()
                    });
                    rule = Some(Arc::new(BoundRule::new(of, &schema.statistics, &options.statistics, vocabulary)));
                    (column, column_type(of))
                }
                FeatureSource::ListMark { column } => (column, ColumnType::Lists),
                FeatureSource::Features(_) | FeatureSource::Absent => continue,
            };
            required.push(RequiredColumn {
                target: BatchColumn::Feature(index),
                column: column.clone(),
                values,
                rule,
                classes: None,
                sequence: feature.sequence.map(|s| s as usize),
                what: format!("feature {}", feature.path()),
                location: feature.location.clone(),
            });
        }
        let labels = schema.labels.iter().enumerate().map(|(index, label)| RequiredColumn {
            target: BatchColumn::Label(index),
            column: label.column.clone(),
            values: label_type(label),
            rule: None,
            classes: (!label.classes.is_empty()).then(|| Arc::new(ClassTexts::new(label))),
            sequence: None,
            what: format!("label {}", label.name),
            location: label.location.clone(),
        });
        let declared = schema.keys.len();
        let mut schema = schema.clone();
        for &index in &options.texts {
            let feature = &schema.features[index as usize];
            let column = feature.column().expect("string ids are those of a column").to_string();
            let (name, location) = (feature.path(), feature.location.clone());
            schema.keys.push(Key { name, column, kind: KeyType::String, location });
        }
        let keys = schema.keys.iter().enumerate().map(|(index, key)| RequiredColumn {
            target: BatchColumn::Key(index),
            column: key.column.clone(),
            values: match key.kind {
                KeyType::String if index >= declared => ColumnType::Texts,
                KeyType::Int64 => ColumnType::IntegerKeys,
                KeyType::String => ColumnType::StringKeys,
            },
            rule: None,
            classes: None,
            sequence: None,
            what: format!("key {}", key.name),
            location: key.location.clone(),
        });
        let request_key = schema.requests.as_ref().map(|r| r.key as usize);
        let of_requests =
            |required: &RequiredColumn| request_key.is_some_and(|key| required.target == BatchColumn::Key(key));
        let mut passthrough = Vec::new();
        match options.mode {
            ReadMode::Train => required.extend(labels.chain(keys.filter(of_requests))),
            ReadMode::Evaluate => required.extend(labels.chain(keys)),
            ReadMode::Predict => {
                let pass = |required| PassthroughColumn { required, kind: None };
                passthrough.extend(keys.clone().map(pass));
                // Several labels may read one column, which is passed through once.
                for label in labels {
                    if passthrough.iter().all(|column: &PassthroughColumn| column.required.column != label.column) {
                        passthrough.push(pass(label));
                    }
                }
                required.extend(keys.filter(of_requests));
            }
        }
        Self { options: options.clone(), required, passthrough, schema }
    }

    /// All columns, required and passed through.
    pub fn all_columns(&self) -> SomeColumns {
        SomeColumns { required: (0..self.required.len()).collect(), passthrough: (0..self.passthrough.len()).collect() }
    }

    /// Bytes of some columns, each column of the files once. `bytes` are those of all, required and
    /// then passed through.
    pub fn distinct_bytes(&self, bytes: &[u64], columns: &SomeColumns) -> u64 {
        let required = columns.required.iter().map(|&index| (self.required[index].column.as_str(), bytes[index]));
        let passthrough = columns.passthrough.iter().map(|&index| {
            let column = &self.passthrough[index].required.column;
            (column.as_str(), bytes[self.required.len() + index])
        });
        let by_name: BTreeMap<&str, u64> = required.chain(passthrough).collect();
        by_name.into_values().fold(0, u64::saturating_add)
    }

    /// Index among a file's columns of every required one.
    pub fn locate(&self, file: &Path, names: &[&str]) -> Result<Vec<usize>, DataError> {
        self.required
            .iter()
            .map(|required| match required.find(file, names)? {
                Some(index) => Ok(index),
                None => Err(self.missing(file, required, names)),
            })
            .collect()
    }

    /// Index among a file's columns of every one to pass through; `None` for a label that it
    /// does not have.
    pub fn locate_passthrough(&self, file: &Path, names: &[&str]) -> Result<Vec<Option<usize>>, DataError> {
        self.passthrough
            .iter()
            .map(|passthrough| match passthrough.required.find(file, names)? {
                None if !passthrough.is_label() => Err(self.missing(file, &passthrough.required, names)),
                found => Ok(found),
            })
            .collect()
    }

    fn missing(&self, file: &Path, required: &RequiredColumn, names: &[&str]) -> DataError {
        let error = required.fault(FaultKind::MissingColumn, file, "a column of this name", "none");
        if let Some(near) = nearest(&required.column, names.iter().copied()) {
            return error.help(format!("did you mean \"{near}\"? name it in the spec with `from {near}`"));
        }
        let shown: Vec<String> = names.iter().take(12).map(|n| format!("\"{n}\"")).collect();
        let more = if names.len() > 12 { format!(" and {} more", names.len() - 12) } else { String::new() };
        error.help(format!("the file has {}{more}; name one in the spec with `from`", shown.join(", ")))
    }

    /// Entries `begin..end` of a list that are read.
    #[inline]
    pub fn kept(&self, sequence: usize, begin: usize, end: usize) -> (usize, usize) {
        kept(self.schema.sequences[sequence].keep, begin, end)
    }
}

/// The schema as a mode reads it. Prediction does not read what is known after the label only, and
/// checks no times.
fn as_read(schema: &Schema, mode: ReadMode) -> Schema {
    let mut schema = schema.clone();
    match mode {
        ReadMode::Train | ReadMode::Evaluate => {}
        ReadMode::Predict => {
            schema.known.clear();
            let absent = schema.features.iter_mut().filter(|feature| !feature.at_prediction);
            absent.for_each(|feature| feature.source = FeatureSource::Absent);
        }
    }
    schema
}

/// Of the entries `begin..end` of a list those that are kept.
#[inline]
pub(crate) fn kept(keep: Option<Keep>, begin: usize, end: usize) -> (usize, usize) {
    match keep {
        Some(Keep { last: true, count }) => (end - (end - begin).min(count as usize), end),
        Some(Keep { last: false, count }) => (begin, begin + (end - begin).min(count as usize)),
        None => (begin, end),
    }
}

impl RequiredColumn {
    /// Index among a file's columns.
    fn find(&self, file: &Path, names: &[&str]) -> Result<Option<usize>, DataError> {
        let mut found = (0..names.len()).filter(|&i| names[i] == self.column);
        let index = found.next();
        match found.next() {
            None => Ok(index),
            Some(_) => Err(self
                .fault(FaultKind::DuplicateColumn, file, "one column of this name", "two")
                .help("rename one of them")),
        }
    }

    /// A fault of this column, with what wants it.
    pub fn fault(
        &self,
        kind: FaultKind,
        file: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> DataError {
        DataError::new(kind, file, expected, found)
            .column(self.column.clone())
            .required_by(self.what.clone(), self.location.clone())
    }

    /// `a list of integers`
    pub fn expected_type(&self) -> String {
        let (one, many) = match self.values {
            ColumnType::IntegerIds | ColumnType::FixedIds { .. } | ColumnType::IntegerKeys => {
                ("integers".into(), "integers".into())
            }
            ColumnType::StringIds | ColumnType::StringKeys | ColumnType::Texts | ColumnType::ClassTexts => {
                ("strings".into(), "strings".into())
            }
            ColumnType::Numbers { width: 1 } => ("numbers".into(), "numbers".into()),
            ColumnType::Numbers { width } => (format!("lists of {width} numbers"), format!("lists of {width} numbers")),
            ColumnType::Label { kind: LabelKind::Binary, .. } => {
                ("booleans or numbers 0 and 1".to_string(), "labels".to_string())
            }
            ColumnType::Label { .. } => ("numbers".into(), "numbers".into()),
            ColumnType::Lists => ("lists".to_string(), "lists".to_string()),
        };
        if self.sequence.is_some() { format!("lists of {many}") } else { one }
    }

    pub fn wrong_type(&self, file: &Path, found: &str, found_strings: bool, found_list: bool) -> DataError {
        let error = self.fault(FaultKind::WrongType, file, self.expected_type(), found);
        let help = match (self.values, self.sequence) {
            (_, Some(_)) if !found_list => {
                "the fields of a `sequence` are list columns; put a plain one under `features`"
            }
            (ColumnType::Numbers { width: 1 }, None) if found_list => {
                "declare it `number[k]` if every list has length k, or put the column into a `sequence`"
            }
            (_, None) if found_list => "put the column into a `sequence`, or name another with `from`",
            (ColumnType::IntegerIds, _) if found_strings => "declare the feature `category of string`",
            (ColumnType::IntegerKeys, _) if found_strings => "declare the key `string`",
            (ColumnType::StringIds | ColumnType::Texts, _) => "declare the feature `category` if the ids are integers",
            (ColumnType::StringKeys, _) => "declare the key `int64` if it holds integers",
            (ColumnType::ClassTexts, _) => "declare the label `class(n)` if its classes are the numbers from 0",
            (ColumnType::IntegerIds | ColumnType::FixedIds { .. } | ColumnType::IntegerKeys, _) => {
                "cast the column to int64"
            }
            (ColumnType::Numbers { .. }, _) => "cast the column to a number type",
            (ColumnType::Label { kind: LabelKind::Binary, .. }, _) => "write the label as 0 and 1",
            (ColumnType::Label { kind: LabelKind::Class { .. }, .. }, _) if found_strings => {
                "declare the texts of the classes: `class(\"photo\", \"video\")`"
            }
            (ColumnType::Label { .. }, _) => "cast the column to a number type",
            (ColumnType::Lists, _) => "the fields of a `sequence` are list columns",
        };
        error.help(help)
    }

    /// A text that is no value of the column.
    pub fn bad_value(&self, file: &Path, expected: &str, found: String) -> DataError {
        self.fault(FaultKind::BadValue, file, expected, found).help("correct the value, or the type in the spec")
    }

    pub fn null(&self, file: &Path) -> DataError {
        let help = match (self.values, self.sequence) {
            (ColumnType::Label { .. } | ColumnType::ClassTexts, _) => {
                "drop the row, or declare the label with `missing` and a value that stands for it"
            }
            (_, Some(_)) => {
                "write an empty list for no entries, and no nulls inside lists, or declare what they are: `missing` after \
                 the sequence's name, or after the field"
            }
            (ColumnType::Numbers { .. }, None) => {
                "fill in a number, or declare what stands for it: `missing as 0`, and `mark name` for a 0/1 field beside it"
            }
            (
                ColumnType::IntegerIds
                | ColumnType::StringIds
                | ColumnType::FixedIds { .. }
                | ColumnType::IntegerKeys
                | ColumnType::StringKeys
                | ColumnType::Texts
                | ColumnType::Lists,
                None,
            ) => match self.target {
                BatchColumn::Feature(_) => {
                    "fill in a value that stands for \"unknown\", or declare the field `missing`"
                }
                BatchColumn::Label(_) | BatchColumn::Key(_) => "fill in a value that stands for \"unknown\"",
            },
        };
        let expected = match (self.values, self.sequence) {
            (ColumnType::Label { kind, .. }, _) => kind.expected(),
            (ColumnType::ClassTexts, _) => self.class_texts().expected.clone(),
            (_, Some(_)) => "a list of values".into(),
            (_, None) => "a value".into(),
        };
        self.fault(FaultKind::Null, file, expected, "null").help(help)
    }

    /// The classes of a column of [`ColumnType::ClassTexts`].
    pub fn class_texts(&self) -> &ClassTexts {
        self.classes.as_ref().expect("a column of class texts has its classes")
    }

    /// A text that is none of the label's classes.
    pub fn not_a_class(&self, file: &Path, found: &str) -> DataError {
        self.fault(FaultKind::BadLabel, file, self.class_texts().expected.clone(), format!("{found:?}"))
            .help(format!("add it to the classes, or if it stands for \"not known\", declare `missing {found:?}`"))
    }

    /// A label of a kind that is a text.
    pub fn text_label(&self, file: &Path, kind: LabelKind, found: impl Into<String>) -> DataError {
        let help = match kind {
            LabelKind::Class { .. } => "declare the texts of the classes: `class(\"photo\", \"video\")`",
            LabelKind::Binary => "write the label as 0 and 1",
            LabelKind::Number | LabelKind::Count | LabelKind::Weight => "write the label as a number",
        };
        self.fault(FaultKind::BadLabel, file, kind.expected(), found).help(help)
    }

    /// A number that a label of a kind cannot be.
    pub fn bad_label(&self, file: &Path, kind: LabelKind, found: f64) -> DataError {
        let error = self.fault(FaultKind::BadLabel, file, kind.expected(), found.to_string());
        match kind {
            LabelKind::Binary => self.bad_binary_label(file, found),
            _ if !found.is_finite() => {
                error.help("drop the row, or declare the label with `missing` and write that value")
            }
            LabelKind::Number => error.help("f32 does not hold the number: use a larger unit"),
            LabelKind::Class { size } if found == f64::from(size) => {
                error.help("classes are counted from 0: subtract 1 before training, or declare one class more")
            }
            LabelKind::Count if found > 0.0 => error.help("if it need not be a count, declare the label `number`"),
            LabelKind::Count | LabelKind::Weight | LabelKind::Class { .. } => error.help(format!(
                "if {found} stands for \"not known\", declare `missing {found}`; otherwise correct the value"
            )),
        }
    }

    /// A binary label that is a number other than 0 and 1.
    fn bad_binary_label(&self, file: &Path, found: f64) -> DataError {
        let made = "a binary label is 0 or 1: make it before training, such as by `rating >= 4`";
        let help = if !found.is_finite() {
            "drop the row, or declare the label with `missing` and write that value".to_string()
        } else if found < 0.0 || found.fract() != 0.0 || found == 2.0 {
            format!("{made}; if {found} stands for \"not known\", declare `missing {found}`")
        } else {
            made.to_string()
        };
        self.fault(FaultKind::BadLabel, file, "0 or 1", found.to_string()).help(help)
    }

    pub fn out_of_range(&self, file: &Path, size: u64, found: impl Into<String>) -> DataError {
        self.fault(FaultKind::OutOfRange, file, format!("an id from 0 to {}", size.saturating_sub(1)), found)
            .help(format!("enlarge `category({size})`, or write `category({size}, clip)` to take the nearest id"))
    }

    pub fn not_finite(&self, file: &Path, found: impl Into<String>) -> DataError {
        self.fault(FaultKind::NotFinite, file, "a finite number", found).help("fill in a number, such as 0")
    }

    /// A warning: an integer of a numeric feature that f32 does not hold exactly.
    pub fn rounded(&self, file: &Path, found: impl std::fmt::Display, becomes: f32) -> DataError {
        let found = format!("{found}, which becomes {}", becomes as i128);
        self.fault(FaultKind::Rounded, file, "an integer that f32 holds exactly", found).help(
            "a `number` is f32, exact up to 16777216: write differences of such numbers into the \
             data, or a larger unit",
        )
    }

    pub fn unequal(&self, file: &Path, other: &RequiredColumn, sequence: &str, lengths: (usize, usize)) -> DataError {
        self.fault(
            FaultKind::UnequalLength,
            file,
            format!("a list of {} entries, as in column \"{}\"", lengths.0, other.column),
            format!("{} entries", lengths.1),
        )
        .help(format!(
            "the lists of sequence `{sequence}` are aligned, entry by entry; independent lists are separate sequences"
        ))
    }

    pub fn wrong_width(&self, file: &Path, width: usize, found: usize) -> DataError {
        self.fault(FaultKind::WrongWidth, file, format!("a list of {width} numbers"), format!("{found}"))
            .help("every list of this column must have the declared length")
    }
}
