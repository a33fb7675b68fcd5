//! What a model reads and holds: columns, tables, dense parameters, states, training settings and metrics.
//! Written by the compiler, read by the runtime; no syntax, no spans (locations are `file:line:column` text).

use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that comes in with a row of data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    pub features: Vec<Feature>,
    /// Ragged axes; axis `2 + index` of the schedule.
    pub sequences: Vec<Sequence>,
    pub labels: Vec<Label>,
    pub keys: Vec<Key>,
    /// Samples of one request have features in common.
    pub requests: Option<Requests>,
}

impl Schema {
    /// The same with every location as [`seen_from`] gives it.
    pub fn seen_from(&self, folder: &Path) -> Self {
        let mut schema = self.clone();
        let Self { features, sequences, labels, keys, requests } = &mut schema;
        let all = features.iter_mut().map(|f| &mut f.location);
        let all = all.chain(sequences.iter_mut().map(|s| &mut s.location));
        let all = all.chain(labels.iter_mut().map(|l| &mut l.location));
        let all = all.chain(keys.iter_mut().map(|k| &mut k.location));
        all.chain(requests.iter_mut().map(|r| &mut r.location))
            .for_each(|location| *location = seen_from(folder, location));
        schema
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

/// `common user, visited by request_id`: rows with one key, side by side in the data, are the samples of one request and have equal values in
/// the features so marked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Index into [`Schema::keys`].
    pub key: u32,
    pub location: String,
}

/// One categorical or numeric field of a group or sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// `ad`
    pub group: String,
    /// `good_id`
    pub name: String,
    /// Column of the data.
    pub column: String,
    pub kind: FeatureKind,
    /// `Some(k)`: a list column, one entry per element of sequence `k`.
    pub sequence: Option<u32>,
    /// The same for all samples of a request.
    pub common: bool,
    /// `models/din.din:18:25`
    pub location: String,
}

impl Feature {
    /// `ad.good_id`
    pub fn path(&self) -> String {
        format!("{}.{}", self.group, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyType {
    Int64,
    String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FeatureKind {
    /// Any 64-bit integer or string id; rows are made as ids come.
    Dynamic { key: KeyType },
    /// Ids `0..size`. `clip`: ids outside become the nearest; otherwise they are a located error.
    Fixed { size: u64, clip: bool },
    /// `width` f32 numbers (a plain number column for 1, a fixed-size list otherwise).
    Dense { width: u32 },
}

/// Aligned list columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub name: String,
    /// At most so many entries of each list are read: the last (or first) ones.
    pub keep: Option<Keep>,
    /// The same for all samples of a request.
    pub common: bool,
    pub location: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    pub last: bool,
    pub count: u32,
}

/// A binary label: 0/1 integers, floats or booleans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    pub name: String,
    pub column: String,
    /// The value that stands for "not known"; without it a null is a located error.
    pub missing: Option<f64>,
    pub location: String,
}

/// A column carried through for grouping and output, not a feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    pub name: String,
    pub column: String,
    pub kind: KeyType,
    pub location: String,
}

/// How a weight starts. Random ones draw from (seed, table or parameter name, id or 0, component), never from arrival order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Init {
    Constant(f64),
    /// Mean 0, the given standard deviation.
    Normal(f64),
    /// Uniform on `[-limit, limit)`.
    Uniform(f64),
}

/// An embedding table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    /// Components of a row.
    pub width: u32,
    pub kind: TableKind,
    pub init: Init,
    /// Indices into [`Schema::features`] whose ids it resolves.
    pub features: Vec<u32>,
    /// Index into `Program::updates`.
    pub update: u32,
    /// Whether its regularizer reads `count` (Eq. 9): a counting pass over the training data fills it.
    pub counts: bool,
    pub update_rule: UpdateRule,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableKind {
    /// Rows `0..size` all exist from the start.
    Fixed { size: u64 },
    /// Row 0 is the OOV row: evaluation reads it for ids that training never saw.
    Dynamic { key: KeyType },
}

/// A dense weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// `taste.unit.0.weight`
    pub name: String,
    pub shape: Vec<u32>,
    pub init: Init,
    /// Index into `Program::updates`.
    pub update: u32,
    pub location: String,
}

impl Parameter {
    pub fn width(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }
}

/// A value carried from step to step without gradient, such as Dice's running mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub name: String,
    pub shape: Vec<u32>,
    pub init: Init,
    pub location: String,
}

impl State {
    pub fn width(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }
}

/// A predicted label. Its root in the graphs is the logit; the probability is `sigmoid(logit)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The label's name.
    pub name: String,
    /// Index into [`Schema::labels`].
    pub label: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Samples a step.
    pub batch: u32,
    pub epochs: u32,
    pub seed: u64,
    /// Metric by which the best checkpoint is chosen on the validation split; index into `Program::metrics`.
    pub select: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupWeight {
    Impressions,
    Clicks,
    None,
}

/// What groups rows for GAUC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupBy {
    /// Index into [`Schema::keys`].
    Key(u32),
    /// Index into [`Schema::features`]; a categorical feature of a group, not of a sequence.
    Feature(u32),
    /// The same of a common feature: one id per request.
    Common(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MetricKind {
    Auc,
    /// Eq. (1).
    Gauc {
        by: GroupBy,
        weight: GroupWeight,
    },
    LogLoss,
}

impl MetricKind {
    pub fn name(&self) -> MetricName {
        match self {
            Self::Auc => MetricName::Auc,
            Self::Gauc { .. } => MetricName::Gauc,
            Self::LogLoss => MetricName::LogLoss,
        }
    }

    pub fn direction(&self) -> Direction {
        self.name().direction()
    }
}

/// Which metric of `std.metric` it is, without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricName {
    Auc,
    Gauc,
    LogLoss,
}

/// Which of two values of a metric is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    HigherIsBetter,
    LowerIsBetter,
}

impl MetricName {
    pub const ALL: [MetricName; 3] = [Self::Auc, Self::Gauc, Self::LogLoss];

    /// As specs write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Auc => "auc",
            Self::Gauc => "gauc",
            Self::LogLoss => "log_loss",
        }
    }

    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.text() == text)
    }

    pub fn direction(self) -> Direction {
        match self {
            Self::Auc | Self::Gauc => Direction::HigherIsBetter,
            Self::LogLoss => Direction::LowerIsBetter,
        }
    }
}

impl Direction {
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::HigherIsBetter => value > other,
            Self::LowerIsBetter => value < other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// As printed: `auc(click)`.
    pub name: String,
    /// Index into `Program::predictions`.
    pub prediction: u32,
    pub kind: MetricKind,
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
