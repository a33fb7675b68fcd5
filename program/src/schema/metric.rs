//! Metrics: what is computed of the predictions of a whole data set.

use super::Distribution;
use serde::{Deserialize, Serialize};

/// What weighs a group in GAUC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupWeight {
    /// Its number of samples.
    Impressions,
    /// Its number of samples whose label is 1.
    Clicks,
    /// Every group weighs the same.
    None,
}

/// What groups the rows of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupBy {
    /// Index into [`Schema::keys`](super::Schema::keys).
    Key(u32),
    /// Index into [`Schema::features`](super::Schema::features); a categorical feature of a group,
    /// not of a sequence.
    Feature(u32),
    /// The same of a common feature: one id per request.
    Common(u32),
}

/// What a metric computes of the probabilities and labels of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MetricKind {
    /// Area under the ROC curve; ties count half.
    Auc,
    /// Eq. (1).
    Gauc {
        /// What the samples of one group have in common.
        by: GroupBy,
        /// What a group weighs in the mean.
        weight: GroupWeight,
    },
    /// Mean of the negative log-likelihood, in nats.
    LogLoss,
    /// Share of the samples whose label is the most probable class.
    Accuracy,
    /// Average precision.
    PrAuc,
    /// Log loss over the entropy of the labels' mean.
    NormalizedEntropy,
    /// 1 less the normalized entropy.
    RelativeInformationGain,
    /// Sum of the probabilities over the sum of the labels.
    Calibration,
    /// Mean squared difference of probability and label.
    Brier,
    /// Root of the mean squared difference of prediction and label.
    RootMeanSquaredError,
    /// Mean absolute difference of prediction and label.
    MeanAbsoluteError,
    /// Of all pairs of samples with different labels, the share whose predictions have the order of
    /// the labels; equal predictions count half.
    Xauc,
    /// The mean over groups of a measure of the `k` samples with the best scores.
    Ranked {
        /// What is measured of a group.
        measure: RankedMeasure,
        /// What the samples of one group have in common.
        by: GroupBy,
        /// How many samples of a group count: 1 at least.
        k: u32,
    },
}

/// What is measured of one group's samples in the order of their scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RankedMeasure {
    /// Discounted gain of the labels over the largest possible one.
    Ndcg,
    /// 1 if there is a label of 1 among the first `k`, else 0.
    HitRate,
    /// 1 divided by the rank of the first label of 1; 0 if that is above `k`.
    ReciprocalRank,
}

impl MetricKind {
    /// Which metric it is, without its options.
    pub fn name(&self) -> MetricName {
        match self {
            Self::Auc => MetricName::Auc,
            Self::Gauc { .. } => MetricName::Gauc,
            Self::LogLoss => MetricName::LogLoss,
            Self::Accuracy => MetricName::Accuracy,
            Self::PrAuc => MetricName::PrAuc,
            Self::NormalizedEntropy => MetricName::NormalizedEntropy,
            Self::RelativeInformationGain => MetricName::RelativeInformationGain,
            Self::Calibration => MetricName::Calibration,
            Self::Brier => MetricName::Brier,
            Self::RootMeanSquaredError => MetricName::RootMeanSquaredError,
            Self::MeanAbsoluteError => MetricName::MeanAbsoluteError,
            Self::Xauc => MetricName::Xauc,
            Self::Ranked { measure, .. } => match measure {
                RankedMeasure::Ndcg => MetricName::Ndcg,
                RankedMeasure::HitRate => MetricName::HitRate,
                RankedMeasure::ReciprocalRank => MetricName::ReciprocalRank,
            },
        }
    }

    /// What groups the rows; `None` of a metric without groups.
    pub fn grouping(&self) -> Option<GroupBy> {
        match *self {
            Self::Gauc { by, .. } | Self::Ranked { by, .. } => Some(by),
            Self::Auc
            | Self::LogLoss
            | Self::Accuracy
            | Self::PrAuc
            | Self::NormalizedEntropy
            | Self::RelativeInformationGain
            | Self::Calibration
            | Self::Brier
            | Self::RootMeanSquaredError
            | Self::MeanAbsoluteError
            | Self::Xauc => None,
        }
    }

    /// Which of two values is the better one.
    pub fn direction(&self) -> Direction {
        self.name().direction()
    }
}

/// The metrics of `std.metric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricName {
    /// `auc`
    Auc,
    /// `gauc`
    Gauc,
    /// `log_loss`
    LogLoss,
    /// `accuracy`
    Accuracy,
    /// `pr_auc`
    PrAuc,
    /// `normalized_entropy`
    NormalizedEntropy,
    /// `rig`
    RelativeInformationGain,
    /// `pcoc`
    Calibration,
    /// `brier`
    Brier,
    /// `rmse`
    RootMeanSquaredError,
    /// `mae`
    MeanAbsoluteError,
    /// `xauc`
    Xauc,
    /// `ndcg`
    Ndcg,
    /// `hit_rate`
    HitRate,
    /// `mrr`
    ReciprocalRank,
}

/// Which of two values of a metric is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// AUC, GAUC, XAUC, accuracy, average precision, information gain, NDCG, hit rate and
    /// reciprocal rank.
    HigherIsBetter,
    /// Log loss, normalized entropy, the Brier score, and the errors RMSE and MAE.
    LowerIsBetter,
    /// Calibration, a ratio of what was predicted to what was observed; 2 and 1/2 are equally far
    /// from 1.
    NearerToOneIsBetter,
}

impl MetricName {
    /// All metrics.
    pub const ALL: [MetricName; 15] = [
        Self::Auc,
        Self::Gauc,
        Self::LogLoss,
        Self::Accuracy,
        Self::PrAuc,
        Self::NormalizedEntropy,
        Self::RelativeInformationGain,
        Self::Calibration,
        Self::Brier,
        Self::RootMeanSquaredError,
        Self::MeanAbsoluteError,
        Self::Xauc,
        Self::Ndcg,
        Self::HitRate,
        Self::ReciprocalRank,
    ];

    /// As specs write it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Auc => "auc",
            Self::Gauc => "gauc",
            Self::LogLoss => "log_loss",
            Self::Accuracy => "accuracy",
            Self::PrAuc => "pr_auc",
            Self::NormalizedEntropy => "normalized_entropy",
            Self::RelativeInformationGain => "rig",
            Self::Calibration => "pcoc",
            Self::Brier => "brier",
            Self::RootMeanSquaredError => "rmse",
            Self::MeanAbsoluteError => "mae",
            Self::Xauc => "xauc",
            Self::Ndcg => "ndcg",
            Self::HitRate => "hit_rate",
            Self::ReciprocalRank => "mrr",
        }
    }

    /// The metric that specs write so.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.text() == text)
    }

    /// Whether it measures predictions by the distribution.
    pub fn measures(self, distribution: Distribution) -> bool {
        match distribution {
            Distribution::Bernoulli => !self.of_numbers(),
            Distribution::Normal | Distribution::Poisson | Distribution::Quantile { .. } => self.of_numbers(),
            Distribution::Categorical { .. } | Distribution::Ordinal { .. } => {
                matches!(self, Self::LogLoss | Self::Accuracy)
            }
        }
    }

    /// Whether it compares numbers with numbers.
    fn of_numbers(self) -> bool {
        match self {
            Self::RootMeanSquaredError | Self::MeanAbsoluteError | Self::Xauc => true,
            Self::Auc
            | Self::Gauc
            | Self::LogLoss
            | Self::Accuracy
            | Self::PrAuc
            | Self::NormalizedEntropy
            | Self::RelativeInformationGain
            | Self::Calibration
            | Self::Brier
            | Self::Ndcg
            | Self::HitRate
            | Self::ReciprocalRank => false,
        }
    }

    /// Whether its samples may have weights: of groups of ranked samples they have none.
    pub fn takes_weights(self) -> bool {
        match self {
            Self::Ndcg | Self::HitRate | Self::ReciprocalRank => false,
            Self::Auc
            | Self::Gauc
            | Self::LogLoss
            | Self::Accuracy
            | Self::PrAuc
            | Self::NormalizedEntropy
            | Self::RelativeInformationGain
            | Self::Calibration
            | Self::Brier
            | Self::RootMeanSquaredError
            | Self::MeanAbsoluteError
            | Self::Xauc => true,
        }
    }

    /// Which of two values is the better one.
    pub fn direction(self) -> Direction {
        match self {
            Self::Auc
            | Self::Gauc
            | Self::Accuracy
            | Self::PrAuc
            | Self::Xauc
            | Self::RelativeInformationGain
            | Self::Ndcg
            | Self::HitRate
            | Self::ReciprocalRank => Direction::HigherIsBetter,
            Self::LogLoss
            | Self::NormalizedEntropy
            | Self::Brier
            | Self::RootMeanSquaredError
            | Self::MeanAbsoluteError => Direction::LowerIsBetter,
            Self::Calibration => Direction::NearerToOneIsBetter,
        }
    }
}

impl Direction {
    /// Whether `value` is better than `other`; false where they are equal or one is NaN.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::HigherIsBetter => value > other,
            Self::LowerIsBetter => value < other,
            Self::NearerToOneIsBetter => value.ln().abs() < other.ln().abs(),
        }
    }
}

/// One metric of `report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// As printed: `auc(click)`.
    pub name: String,
    /// Index into `Program::predictions`.
    pub prediction: u32,
    /// What is computed.
    pub kind: MetricKind,
    /// Over the samples for which this is not 0; index into `Program::outputs`.
    pub condition: Option<u32>,
    /// How much a sample counts; index into `Program::outputs`.
    pub sample_weight: Option<u32>,
    /// By what its rows are sliced: the metric is computed of each slice, too.
    pub slices: Vec<Slicing>,
}

/// What slices the rows of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slicing {
    /// As in the spec, on one line: `user.city`.
    pub name: String,
    /// What the rows of one slice have in common.
    pub by: SliceBy,
}

/// What the rows of one slice have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SliceBy {
    /// A key or an id.
    Value(GroupBy),
    /// How many of the boundaries a number reaches.
    Bucket {
        /// Index into `Program::outputs`: one number per sample.
        output: u32,
        /// Ascending.
        boundaries: Vec<f32>,
    },
}
