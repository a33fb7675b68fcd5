//! What a model reads and holds: columns, tables, dense parameters, states, training settings and
//! metrics. Written by the compiler, read by the runtime; no syntax, no spans (locations are
//! `file:line:column` text).

mod metric;
mod source;

pub use metric::{Direction, GroupBy, GroupWeight, Metric, MetricKind, MetricName, RankedMeasure, SliceBy, Slicing};

pub use source::{
    Boundaries, CalendarPart, ColumnValue, ColumnValues, Combination, DataStatistic, DataStatisticKind, FeatureSource,
    LARGEST_GAP, Made, Missing, Replacement, Step, ValueRule,
};

use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that comes in with a row of data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// In the order in which the spec declares them; other parts name them by index.
    pub features: Vec<Feature>,
    /// What the training data decide of features.
    pub statistics: Vec<DataStatistic>,
    /// Files whose lines are the ids of features.
    pub vocabularies: Vec<Vocabulary>,
    /// Ragged axes; axis `2 + index` of the schedule.
    pub sequences: Vec<Sequence>,
    /// What is known in training and evaluation: to predict, or for the loss to read.
    pub labels: Vec<Label>,
    /// Which values have to be known before which moment.
    pub known: Vec<KnownBefore>,
    /// What is carried through.
    pub keys: Vec<Key>,
    /// Samples of one request have features in common.
    pub requests: Option<Requests>,
    /// Consecutive samples of a batch stand for a request. Only one of the two is there.
    pub in_batch: Option<InBatchRequests>,
}

impl Schema {
    /// The same with every location as [`seen_from`] gives it.
    pub fn seen_from(&self, folder: &Path) -> Self {
        let mut schema = self.clone();
        let Self { features, statistics: _, vocabularies, sequences, labels, known, keys, requests, in_batch } =
            &mut schema;
        let all = features.iter_mut().map(|f| &mut f.location);
        let all = all.chain(vocabularies.iter_mut().map(|v| &mut v.location));
        let all = all.chain(sequences.iter_mut().map(|s| &mut s.location));
        let all = all.chain(labels.iter_mut().map(|l| &mut l.location));
        let all = all.chain(known.iter_mut().map(|k| &mut k.location));
        let all = all.chain(keys.iter_mut().map(|k| &mut k.location));
        let all = all.chain(requests.iter_mut().map(|r| &mut r.location));
        all.chain(in_batch.iter_mut().map(|r| &mut r.location))
            .for_each(|location| *location = seen_from(folder, location));
        schema
    }

    /// Whether samples belong to requests.
    pub fn has_requests(&self) -> bool {
        self.requests.is_some() || self.in_batch.is_some()
    }
}

/// A recorded `file:line:column`, whose file is named from the spec's own folder, as it is named
/// from where `folder` leads there. Modules of the library (`std.layer`) stay as they are.
pub fn seen_from(folder: &Path, location: &str) -> String {
    let file = location.rsplitn(3, ':').last().unwrap_or(location);
    match file.ends_with(".din") {
        true => folder.join(location).display().to_string(),
        false => location.to_string(),
    }
}

/// `common user, visited by request_id`: rows with one key, side by side in the data, are the
/// samples of one request and have equal values in the features so marked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Index into [`Schema::keys`].
    pub key: u32,
    /// `models/din.din:20:5`: where the spec says so.
    pub location: String,
}

/// `request of 64`: consecutive samples of a batch, which training has shuffled, stand for a
/// request in the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InBatchRequests {
    /// Samples of each, at most: at least 2.
    pub size: u32,
    /// `models/din.din:20:5`: where the spec says so.
    pub location: String,
}

/// One categorical or numeric field of a group or sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// `ad`
    pub group: String,
    /// `good_id`
    pub name: String,
    /// Where its values come from.
    pub source: FeatureSource,
    /// What its values are.
    pub kind: FeatureKind,
    /// `Some(k)`: a list column, one entry per element of sequence `k`.
    pub sequence: Option<u32>,
    /// The same for all samples of a request.
    pub common: bool,
    /// Whether prediction reads its column. Otherwise no prediction depends on it: it is known
    /// after the label only, or holds times that are checked.
    pub at_prediction: bool,
    /// `models/din.din:18:25`
    pub location: String,
}

impl Feature {
    /// `ad.good_id`
    pub fn path(&self) -> String {
        format!("{}.{}", self.group, self.name)
    }

    /// Column of the data, where it has one.
    pub fn column(&self) -> Option<&str> {
        match &self.source {
            FeatureSource::Column(column) | FeatureSource::Rule { column, .. } | FeatureSource::ListMark { column } => {
                Some(column)
            }
            FeatureSource::Features(_) | FeatureSource::Absent => None,
        }
    }

    /// Whether its values are those of a column: not made of other features, nor absent.
    pub fn is_decoded(&self) -> bool {
        self.column().is_some()
    }

    /// What it is made of other features by.
    pub fn combination(&self) -> Option<&Combination> {
        match &self.source {
            FeatureSource::Features(combination) => Some(combination),
            FeatureSource::Column(_)
            | FeatureSource::Rule { .. }
            | FeatureSource::ListMark { .. }
            | FeatureSource::Absent => None,
        }
    }
}

/// The type of an id or of a key column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// Any integer that 64 bits hold, signed or not.
    Int64,
    /// Text in UTF-8.
    String,
}

/// What a feature is: an id of a table, or numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FeatureKind {
    /// Any 64-bit integer or string id; rows are made as ids come.
    Dynamic {
        /// What the ids are.
        key: KeyType,
    },
    /// Ids `0..size`. `clip`: ids outside become the nearest; otherwise they are a located error.
    Fixed {
        /// Number of ids, and rows of the table.
        size: u64,
        /// Whether an id outside becomes the nearest one.
        clip: bool,
    },
    /// `width` f32 numbers (a plain number column for 1, a fixed-size list otherwise).
    Dense {
        /// Numbers per sample, or per entry of a sequence.
        width: u32,
    },
}

/// `known at clicked_at before shown_at`: every time of a row comes before the row's moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownBefore {
    /// The group whose values are so known.
    pub group: String,
    /// Index into [`Schema::features`], of whole numbers as ids: one time per row, or one per entry
    /// of a sequence.
    pub times: u32,
    /// Index into [`Schema::features`], of whole numbers as ids: one per row.
    pub moment: u32,
    /// `models/din.din:21:31`: where the spec says so.
    pub location: String,
}

/// A file whose lines are the ids of features, as it was when the program was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// From the folder of the spec.
    pub path: String,
    /// The whole file.
    pub text: String,
    /// `models/din.din:18:40`: where the spec names it first.
    pub location: String,
}

impl Vocabulary {
    /// The entries in the order of their rows: the lines of a text, without a byte order mark and
    /// without the ends of lines, be they LF or CRLF.
    pub fn entries(text: &str) -> impl Iterator<Item = &str> {
        text.strip_prefix('\u{feff}').unwrap_or(text).lines()
    }

    /// The same of its own text.
    pub fn owned_entries(&self) -> Vec<String> {
        Self::entries(&self.text).map(str::to_string).collect()
    }

    /// The row of ids that are no entries, which is behind those of the entries; so also the number
    /// of entries.
    pub fn oov_row(&self) -> u64 {
        Self::entries(&self.text).count() as u64
    }
}

/// Aligned list columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// `visited`
    pub name: String,
    /// At most so many entries of each list are read: the last (or first) ones.
    pub keep: Option<Keep>,
    /// Whether a missing list is an empty one; otherwise it is a located error.
    pub missing: bool,
    /// The same for all samples of a request.
    pub common: bool,
    /// `models/din.din:21:5`: where the spec declares it.
    pub location: String,
}

/// Which entries of a list are read: `(keep last 100)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The last ones, or the first ones.
    pub last: bool,
    /// At most so many entries.
    pub count: u32,
}

/// What the values of a label are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelKind {
    /// 0 or 1.
    Binary,
    /// Any finite number.
    Number,
    /// A whole number from 0 to [`LabelKind::MAX_COUNT`].
    Count,
    /// A finite number, 0 or more, that weighs a sample.
    Weight,
    /// One of `size` classes: a whole number from 0, or one of the label's texts.
    Class {
        /// From 2 to [`LabelKind::MAX_CLASSES`].
        size: u32,
    },
}

impl LabelKind {
    /// The largest count: f32 holds every whole number up to it.
    pub const MAX_COUNT: f64 = 16_777_216.0;

    /// The most classes that a label may have: each is a column of the output.
    pub const MAX_CLASSES: u32 = 1000;

    /// Every kind that is a word alone.
    pub const PLAIN: [Self; 4] = [Self::Binary, Self::Number, Self::Count, Self::Weight];

    /// The word for labels of classes, behind which these stand.
    pub const CLASS: &'static str = "class";

    /// The words for all kinds.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::PLAIN.into_iter().map(Self::word).chain([Self::CLASS])
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Number => "number",
            Self::Count => "count",
            Self::Weight => "weight",
            Self::Class { .. } => Self::CLASS,
        }
    }

    /// Whether a label of the kind may have the value.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Binary => value == 0.0 || value == 1.0,
            Self::Number => (value as f32).is_finite(),
            Self::Count => (0.0..=Self::MAX_COUNT).contains(&value) && value.fract() == 0.0,
            Self::Weight => value >= 0.0 && (value as f32).is_finite(),
            Self::Class { size } => value >= 0.0 && value < f64::from(size) && value.fract() == 0.0,
        }
    }

    /// What messages expect of a value that is a number.
    pub fn expected(self) -> String {
        match self {
            Self::Binary => "0 or 1".into(),
            Self::Number => "a finite number".into(),
            Self::Count => "a whole number from 0 to 16777216".into(),
            Self::Weight => "a finite number, 0 or more".into(),
            Self::Class { size } => format!("a whole number from 0 to {}", i64::from(size) - 1),
        }
    }
}

/// The value of a label that stands for "not known"; a null does, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MissingLabel {
    /// Of a column of numbers.
    Number(f64),
    /// Of classes that are texts.
    Text(String),
}

/// A label: numbers, booleans, or the texts of classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// `click`
    pub name: String,
    /// Column of the data.
    pub column: String,
    /// What its values are.
    pub kind: LabelKind,
    /// The texts of its classes, in their order; empty unless the kind is a class and the column
    /// holds texts.
    pub classes: Vec<String>,
    /// The value that stands for "not known"; without it a null is a located error.
    pub missing: Option<MissingLabel>,
    /// `models/din.din:26:5`: where the spec declares it.
    pub location: String,
}

impl Label {
    /// What a class is called: its text or its number.
    pub fn class_name(&self, class: u32) -> String {
        self.classes.get(class as usize).cloned().unwrap_or_else(|| class.to_string())
    }

    /// What messages expect of a value.
    pub fn expected(&self) -> String {
        match self.classes.as_slice() {
            [] => self.kind.expected(),
            classes => one_of(classes),
        }
    }
}

/// What messages expect of a text that is one of these: `one of "photo", "video"`.
pub fn one_of(texts: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = texts.iter().take(SHOWN).map(|text| format!("{text:?}")).collect();
    let more = if texts.len() > SHOWN { format!(" and {} more", texts.len() - SHOWN) } else { String::new() };
    format!("one of {}{more}", shown.join(", "))
}

/// A column carried through for grouping and output, not a feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// `user_id`
    pub name: String,
    /// Column of the data.
    pub column: String,
    /// The type of the column.
    pub kind: KeyType,
    /// `models/din.din:27:5`: where the spec declares it.
    pub location: String,
}

/// How a weight starts. Random ones draw from (seed, table or parameter name, id or 0, component),
/// never from arrival order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Init {
    /// Every component is this value.
    Constant(f64),
    /// Mean 0, the given standard deviation.
    Normal(f64),
    /// Uniform on `[-limit, limit)`.
    Uniform(f64),
}

/// An embedding table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableSpec {
    /// `good`
    pub name: String,
    /// Components of a row.
    pub width: u32,
    /// Where its rows come from.
    pub kind: TableKind,
    /// How each component of a row starts.
    pub init: Init,
    /// The file whose ids' rows start from its vectors instead.
    pub vectors: Option<VectorFile>,
    /// Which ids have a row of their own; without it, all that training sees.
    pub admission: Option<Admission>,
    /// Indices into [`Schema::features`] whose ids it resolves.
    pub features: Vec<u32>,
    /// Index into `Program::updates`.
    pub update: u32,
    /// Whether its optimizer or regularizer reads `frequency` (Eq. 9): a counting pass over the
    /// training data fills it.
    pub reads_frequency: bool,
    /// Which of its rows a step updates.
    pub update_rule: UpdateRule,
    /// Whether training leaves its rows as they start: its update is an empty schedule.
    pub frozen: bool,
    /// `models/din.din:30:5`: where the spec declares it.
    pub location: String,
}

impl TableSpec {
    /// Whether the ids of the training data are counted before the first step.
    pub fn is_counted(&self) -> bool {
        self.reads_frequency || self.vectors.is_some() || self.admission.is_some()
    }
}

/// Which ids of the training data have a row of their own in a dynamic table. The others read the
/// OOV row, which is then trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// Those that at least so many samples contain.
    AtLeast(u64),
    /// So many, those that most samples contain; of equally frequent ones those with the smaller
    /// key.
    Top(u64),
}

/// A safetensors file with vectors of ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorFile {
    /// From the folder of the spec.
    pub path: String,
    /// `models/din.din:30:45`: where the spec names it.
    pub location: String,
}

/// Which rows of a table a step updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateRule {
    /// The rows that the batch contains.
    Sparse,
    /// Every row; the gradient of a row that the batch does not contain is 0.
    Dense,
}

/// Where the rows of a table come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// Rows `0..size` all exist from the start.
    Fixed {
        /// Number of rows.
        size: u64,
    },
    /// Row 0 is the OOV row: evaluation reads it for ids that training never saw.
    Dynamic {
        /// What its ids are.
        key: KeyType,
    },
}

/// A dense weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// `taste.unit.0.weight`
    pub name: String,
    /// Rows and columns of a matrix, or the length of a vector; row-major.
    pub shape: Vec<u32>,
    /// How each component starts.
    pub init: Init,
    /// Index into `Program::updates`.
    pub update: u32,
    /// `file:line:column` of its `param`.
    pub location: String,
}

impl Parameter {
    /// Number of components: the product of the shape.
    pub fn width(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }
}

/// A value carried from step to step without gradient, such as Dice's running mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// `hidden.0.dice.mean`
    pub name: String,
    /// As that of a parameter.
    pub shape: Vec<u32>,
    /// How each component starts.
    pub init: Init,
    /// `file:line:column` of its `state`.
    pub location: String,
}

impl State {
    /// Number of components: the product of the shape.
    pub fn width(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }
}

/// The distribution by which a label is predicted, and so what the prediction's root in the graphs
/// is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Distribution {
    /// Of a binary label. The root is the logit; the probability is `sigmoid(logit)`.
    Bernoulli,
    /// Of a number or count. The root is the mean.
    Normal,
    /// Of a count. The root is the rate, which is the mean.
    Poisson,
    /// One quantile of a number or count. The root is its value.
    Quantile {
        /// Which one: above 0 and below 1; 0.5 is the median.
        level: f64,
    },
    /// Of a class. The root is a logit per class; the probabilities are their softmax.
    Categorical {
        /// Those of the label.
        classes: u32,
    },
    /// Of a class, where classes are in an order. The root is as that of `Categorical`: the
    /// logarithms of the probabilities.
    Ordinal {
        /// Those of the label.
        classes: u32,
    },
}

/// What a column of the output holds of a prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PredictionColumn {
    /// The probability that a binary label is 1.
    Probability,
    /// The root itself: a mean, rate or quantile.
    Root,
    /// The mean of the numbers of the classes.
    MeanClass,
    /// The number of the most probable class; of equally probable ones the first.
    ClassNumber,
    /// The text of that class.
    ClassText,
    /// The probability of one class.
    ClassProbability(u32),
}

impl Distribution {
    /// What the root is called.
    pub fn root(self) -> &'static str {
        match self {
            Self::Bernoulli => "logit",
            Self::Normal => "mean",
            Self::Poisson => "rate",
            Self::Quantile { .. } => "quantile",
            Self::Categorical { .. } | Self::Ordinal { .. } => "logit of a class",
        }
    }

    /// The number of components of the root.
    pub fn width(self) -> usize {
        match self {
            Self::Bernoulli | Self::Normal | Self::Poisson | Self::Quantile { .. } => 1,
            Self::Categorical { classes } | Self::Ordinal { classes } => classes as usize,
        }
    }

    /// The columns of the output and what stands in their names behind that of the label:
    /// `<label>_probability`.
    pub fn columns(self, label: &Label) -> Vec<(PredictionColumn, String)> {
        let probabilities = |classes: u32| {
            (0..classes).map(|class| {
                (PredictionColumn::ClassProbability(class), format!("probability_{}", label.class_name(class)))
            })
        };
        let class = match label.classes.as_slice() {
            [] => (PredictionColumn::ClassNumber, "class".to_string()),
            _ => (PredictionColumn::ClassText, "class".to_string()),
        };
        match self {
            Self::Bernoulli => vec![(PredictionColumn::Probability, "probability".into())],
            Self::Normal | Self::Poisson | Self::Quantile { .. } => vec![(PredictionColumn::Root, self.root().into())],
            Self::Categorical { classes } => [class].into_iter().chain(probabilities(classes)).collect(),
            Self::Ordinal { classes } => {
                let mean = (PredictionColumn::MeanClass, "mean".into());
                [mean, class].into_iter().chain(probabilities(classes)).collect()
            }
        }
    }

    /// Whether it predicts labels of the kind.
    pub fn predicts(self, kind: LabelKind) -> bool {
        match self {
            Self::Bernoulli => kind == LabelKind::Binary,
            Self::Poisson => kind == LabelKind::Count,
            Self::Normal => matches!(kind, LabelKind::Number | LabelKind::Count),
            Self::Quantile { level } => {
                matches!(kind, LabelKind::Number | LabelKind::Count) && level > 0.0 && level < 1.0
            }
            Self::Categorical { classes } | Self::Ordinal { classes } => kind == LabelKind::Class { size: classes },
        }
    }

    /// Whether a component of a root has a meaning: the logit of a binary label may be infinite.
    pub fn holds(self, root: f32) -> bool {
        match self {
            Self::Bernoulli => !root.is_nan(),
            Self::Normal | Self::Poisson | Self::Quantile { .. } | Self::Categorical { .. } | Self::Ordinal { .. } => {
                root.is_finite()
            }
        }
    }
}

/// A predicted label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The label's name.
    pub name: String,
    /// Index into [`Schema::labels`].
    pub label: u32,
    /// How it is predicted.
    pub distribution: Distribution,
}

/// What a value is for that inference computes beside predictions and loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputPurpose {
    /// Prediction writes it on request: `output query = …`.
    Written,
    /// A metric is over the samples for which it is not 0: `auc(click) where user.new`.
    Condition,
    /// A sample counts so much in a metric: `auc(click, sample_weight = importance)`.
    SampleWeight,
    /// The rows of a metric are sliced by it: `auc(click) by buckets(ad.price, [1, 10])`.
    Slice,
}

/// A vector per sample that inference computes beside predictions and loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// `query`; the text of a condition.
    pub name: String,
    /// What it is for.
    pub purpose: OutputPurpose,
    /// Components per sample.
    pub width: u32,
    /// `models/towers.din:30:5`: where the spec declares it.
    pub location: String,
}

/// The settings of `train` that the command line may override.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Samples a step.
    pub batch: u32,
    /// Passes over the training data.
    pub epochs: u32,
    /// Seed of initial values and of the order of samples.
    pub seed: u64,
    /// Metric by which the best checkpoint is chosen on the validation split; index into
    /// `Program::metrics`.
    pub select: u32,
    /// Training ends after so many epochs without a better value of that metric.
    pub patience: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_files_begin_with_the_folder_and_those_in_the_library_do_not() {
        for (folder, location, seen) in [
            ("models", "din.din:9:5", "models/din.din:9:5"),
            ("", "din.din:9:5", "din.din:9:5"),
            (".", "shared/towers.din:2:1", "./shared/towers.din:2:1"),
            ("models", "std.layer:4:9", "std.layer:4:9"),
            ("models", "", ""),
        ] {
            assert_eq!(seen_from(Path::new(folder), location), seen);
        }
    }
}
