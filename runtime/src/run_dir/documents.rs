//! What the JSON files of a run directory hold.

use crate::exec::Backend;
use crate::fs::sha256;
use din_program::schema::Vocabulary;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A data set as it was at the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    pub files: Vec<FileRecord>,
    pub rows: u64,
    /// [`crate::data::Dataset::fingerprint`].
    pub fingerprint: String,
}

/// A file of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Absolute, links resolved.
    pub path: PathBuf,
    /// Of the file's bytes: see [`xxh3_file`](crate::fs::xxh3_file).
    pub xxh3: String,
}

/// A file whose lines are ids of the program, which has it whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VocabularyRecord {
    /// From the folder of the spec.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl VocabularyRecord {
    pub fn of(vocabulary: &Vocabulary) -> Self {
        Self { path: vocabulary.path.clone(), sha256: sha256(vocabulary.text.as_bytes()) }
    }
}

impl DataRecord {
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }
}

/// `run.json`. What decides the bits of the result; epochs may be added later and threads do not
/// matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub format: u32,
    pub din: String,
    pub model: String,
    /// SHA-256 of the encoded program.
    pub program: String,
    /// What decides the bits beside these.
    pub backend: Backend,
    /// Where steps ran: `cpu`, `cuda:0`.
    pub device: String,
    pub seed: u64,
    pub batch: u32,
    /// Leaves of a batch at most: see [`crate::leaves`].
    pub leaves: u32,
    /// Ranks that began the run. Any number may go on with it.
    pub ranks: u32,
    /// Separator of lists in CSV fields.
    pub list_separator: u8,
    /// The files whose lines are ids of the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vocabularies: Vec<VocabularyRecord>,
    pub train: DataRecord,
    pub valid: Option<DataRecord>,
}

/// Raised when the directory's files or their meaning change.
pub const FORMAT: u32 = 4;

/// One line of `metrics.jsonl`: an evaluation, at the end of an epoch or within one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsLine {
    /// From 1; the one under way, for an evaluation within an epoch.
    pub epoch: u32,
    pub step: u64,
    /// Samples of the epoch that were trained on before an evaluation within it; `None` at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// Mean over the epoch's samples so far, each as the weights were when its batch came.
    pub train_loss: f64,
    /// On the validation data, in the order of the spec's report; null where undefined (one class
    /// only).
    pub valid: Option<serde_json::Map<String, serde_json::Value>>,
    /// The line as it was read: written back as it stands, since decimal numbers may not survive a
    /// round trip.
    #[serde(skip)]
    pub text: Option<String>,
}

impl MetricsLine {
    /// Whether it stands at the end of its epoch, not within it.
    pub fn ends_epoch(&self) -> bool {
        self.samples.is_none()
    }
}

/// `best.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub checkpoint: String,
    /// From 1; the one that the checkpoint ends, or lies in.
    pub epoch: u32,
    /// What it was chosen by; absent where there were no validation data, and the last one counts.
    pub metric: Option<String>,
    pub value: Option<f64>,
}
