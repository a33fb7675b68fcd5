//! `manifest.json`: what a checkpoint is of, its position in the data, and the hash of each of its
//! files.

use super::{MANIFEST, statistic_name};
use crate::document::{self, JsonLayout};
use crate::exec::Backend;
use crate::leaves;
use crate::{Error, Result};
use din_program::schema::{KeyType, TableKind};
use din_program::{Program, SlotScope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Raised when the files or their meaning change.
pub const FORMAT: u32 = 4;

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: u32,
    /// Batches done of the epoch that follows.
    pub batch: u64,
    /// Sum of the loss of those batches' samples.
    #[serde(with = "bits")]
    pub loss_sum: f64,
    /// Those batches' samples.
    pub samples: u64,
}

/// A value as its 64 bits: it reads back exactly, where decimal text may not.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(number.to_bits())
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Version that wrote it.
    pub din: String,
    pub model: String,
    /// SHA-256 of the encoded program that wrote it.
    pub program: String,
    /// What decided the bits of its arithmetic.
    pub backend: Backend,
    pub seed: u64,
    /// Samples per step.
    pub batch: u32,
    /// Leaves of a batch at most: see [`crate::leaves`]. Also the buckets by which tables are
    /// divided.
    pub leaves: u32,
    /// Ranks that wrote it.
    pub ranks: u32,
    pub position: Position,
    /// Mean loss of the epoch that ended with this step; 0 inside an epoch.
    pub train_loss: f64,
    /// Metrics on the validation data at this step, if it was evaluated; in the order of the spec's
    /// report.
    pub metrics: Vec<(String, Option<f64>)>,
    /// One line for each table, parameter and state: see [`describe`].
    pub structure: Vec<String>,
    /// SHA-256, by file name.
    pub files: BTreeMap<String, String>,
}

/// What has to agree between a model and a checkpoint: one line per table, parameter and state.
pub fn describe(program: &Program) -> Vec<String> {
    let slots = |update: u32| {
        let scope = |per: SlotScope| match per {
            SlotScope::Weight => "weight",
            SlotScope::Row => "row",
            SlotScope::Tensor => "tensor",
        };
        let names: Vec<String> =
            program.slots(update).iter().map(|s| format!("{} per {}", s.name, scope(s.per))).collect();
        if names.is_empty() { String::new() } else { format!(" with {}", names.join(", ")) }
    };
    let mut lines = Vec::new();
    for table in &program.tables {
        let kind = match table.kind {
            TableKind::Fixed { size } => format!("{size} rows"),
            TableKind::Dynamic { key: KeyType::Int64 } => "int64 ids".into(),
            TableKind::Dynamic { key: KeyType::String } => "string ids".into(),
        };
        lines.push(format!("table {} [{}] of {kind}{}", table.name, table.width, slots(table.update)));
    }
    for parameter in &program.parameters {
        lines.push(format!("parameter {} {:?}{}", parameter.name, parameter.shape, slots(parameter.update)));
    }
    for state in &program.states {
        lines.push(format!("state {} {:?}", state.name, state.shape));
    }
    for (k, statistic) in program.schema.statistics.iter().enumerate() {
        lines.push(format!("statistic {} [{}]", statistic_name(program, k), statistic.kind.values()));
    }
    lines
}

impl Manifest {
    pub fn to_text(&self) -> Result<String> {
        document::to_text(self, JsonLayout::File)
    }

    pub fn read(path: &Path) -> Result<Self> {
        let help = "use another checkpoint of the run";
        let manifest: Self = document::read(path, Some(FORMAT), help)?;
        let Self { leaves, ranks, .. } = manifest;
        if !leaves::is_allowed(leaves) || !(1..=leaves).contains(&ranks) {
            let expected = "a power of two up to 1024 and at most as many ranks";
            let path = path.display();
            return Err(Error::input(format!(
                "{path}: leaves and ranks: expected {expected}, found {leaves} and {ranks}"
            ))
            .help(help));
        }
        Ok(manifest)
    }

    /// The hash of a file of the checkpoint in `folder`.
    pub(super) fn hash(&self, name: &str, folder: &Path) -> Result<&str> {
        self.files.get(name).map(String::as_str).ok_or_else(|| {
            let manifest = folder.join(MANIFEST);
            Error::input(format!("{}: expected the hash of {name}, found none", manifest.display()))
        })
    }

    /// Refuses a checkpoint of another model and says what differs.
    pub fn agrees_with(&self, program: &Program, folder: &Path) -> Result<()> {
        let wanted = describe(program);
        if self.structure == wanted {
            return Ok(());
        }
        let mut message = format!(
            "{}: the checkpoint is of model `{}` with another structure than model `{}`",
            folder.display(),
            self.model,
            program.model
        );
        let mut listed = 0;
        let mut list = |what: &str, from: &[String], other: &[String]| {
            for line in from.iter().filter(|line| !other.contains(line)) {
                listed += 1;
                if listed <= 12 {
                    message.push_str(&format!("\n  only in the {what}: {line}"));
                }
            }
        };
        list("checkpoint", &self.structure, &wanted);
        list("model", &wanted, &self.structure);
        match listed {
            0 => message.push_str("\n  the same tensors stand in another order"),
            1..=12 => {}
            _ => message.push_str(&format!("\n  and {} more", listed - 12)),
        }
        Err(Error::input(message).help("use the spec that the checkpoint was trained with; a run keeps it in `spec/`"))
    }
}
