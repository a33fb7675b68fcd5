//! What a checkpoint of one model is to another: which of its tensors the other has a place for.

use super::matching::{Named, Renames};
use crate::model::CheckedModel;
use din_program::schema::{FeatureSource, KeyType, Made, TableKind, TableSpec, ValueRule};
use serde::Serialize;
use std::collections::BTreeMap;

/// What becomes of a tensor of the old checkpoint in the new model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum TensorFate {
    /// It has the same shape, and what its rows stand for is the same.
    Kept,
    /// The same under another name.
    Renamed {
        /// The name in the new model.
        new_name: String,
    },
    /// The old checkpoint does not have it: it starts anew.
    New,
    /// The new model does not have it.
    Dropped,
    /// It has another shape, or its rows stand for something else: it starts anew.
    Resized {
        /// As it was.
        old: String,
        /// As it is.
        new: String,
    },
}

/// A tensor and what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorFit {
    /// `parameter hidden.0.weight`, `table good`, `state dice.mean`; in the new model, where it has
    /// it.
    pub tensor: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub fate: TensorFate,
}

/// What a checkpoint of the old model is to the new one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointFit {
    /// Weights, states and tables: first those of the new model, then those that it dropped.
    pub tensors: Vec<TensorFit>,
    /// Tensors that are kept, but whose optimizer state starts anew.
    pub optimizer_state_lost: Vec<String>,
}

/// A tensor of a checkpoint.
struct StoredTensor {
    named: Named,
    name: String,
    /// Equal where the values can be taken over.
    form: String,
    /// For readers.
    shown: String,
    /// The optimizer state beside it.
    slots: String,
}

impl StoredTensor {
    fn title(&self) -> String {
        let sort = match self.named {
            Named::Parameter => "parameter",
            Named::State => "state",
            Named::Table => "table",
        };
        format!("{sort} {}", self.name)
    }
}

impl CheckpointFit {
    pub(super) fn new(old: &CheckedModel, new: &CheckedModel, renames: &Renames) -> Self {
        let mut olds: BTreeMap<(Named, String), StoredTensor> = BTreeMap::new();
        for tensor in tensors(old) {
            let name = renames.get(&(tensor.named, tensor.name.clone())).unwrap_or(&tensor.name).clone();
            olds.insert((tensor.named, name), tensor);
        }
        let (mut fits, mut lost) = (Vec::new(), Vec::new());
        for tensor in tensors(new) {
            let title = tensor.title();
            let fate = match olds.remove(&(tensor.named, tensor.name.clone())) {
                None => TensorFate::New,
                Some(before) if before.form != tensor.form => {
                    let new = if before.shown == tensor.shown {
                        format!("{}, of other ids", tensor.shown)
                    } else {
                        tensor.shown.clone()
                    };
                    TensorFate::Resized { old: before.shown, new }
                }
                Some(before) => {
                    if before.slots != tensor.slots {
                        lost.push(title.clone());
                    }
                    match before.name == tensor.name {
                        true => TensorFate::Kept,
                        false => TensorFate::Renamed { new_name: tensor.name.clone() },
                    }
                }
            };
            let title = if let TensorFate::Renamed { .. } = fate { old_title(&tensor, renames) } else { title };
            fits.push(TensorFit { tensor: title, fate });
        }
        let dropped = olds.into_values().map(|tensor| TensorFit { tensor: tensor.title(), fate: TensorFate::Dropped });
        fits.extend(dropped);
        CheckpointFit { tensors: fits, optimizer_state_lost: lost }
    }

    /// Whether the old checkpoint has every weight, state and table of the new model.
    pub fn has_every_weight(&self) -> bool {
        self.tensors.iter().all(|fit| match fit.fate {
            TensorFate::Kept | TensorFate::Renamed { .. } | TensorFate::Dropped => true,
            TensorFate::New | TensorFate::Resized { .. } => false,
        })
    }
}

/// The title of a tensor under its old name.
fn old_title(tensor: &StoredTensor, renames: &Renames) -> String {
    let old = renames.iter().find(|((named, _), new)| *named == tensor.named && **new == tensor.name);
    let ((_, old), _) = old.expect("it was renamed");
    StoredTensor { name: old.clone(), form: String::new(), shown: String::new(), slots: String::new(), ..*tensor }
        .title()
}

fn tensors(model: &CheckedModel) -> Vec<StoredTensor> {
    let slots = |update: u32| {
        let slots = &model.updates[update as usize].slots;
        let each: Vec<String> = slots.iter().map(|slot| format!("{} {:?}", slot.name, slot.per)).collect();
        each.join(", ")
    };
    let mut all = Vec::new();
    for parameter in &model.parameters {
        let shown = format!("{:?}", parameter.shape);
        let (name, form) = (parameter.name.clone(), shown.clone());
        all.push(StoredTensor { named: Named::Parameter, name, form, shown, slots: slots(parameter.update) });
    }
    for state in &model.states {
        let shown = format!("{:?}", state.shape);
        let (name, form) = (state.name.clone(), shown.clone());
        all.push(StoredTensor { named: Named::State, name, form, shown, slots: String::new() });
    }
    for table in &model.tables {
        let rows = match table.kind {
            TableKind::Fixed { size } => format!("{size} rows"),
            TableKind::Dynamic { key: KeyType::Int64 } => "rows of int64 ids".into(),
            TableKind::Dynamic { key: KeyType::String } => "rows of string ids".into(),
        };
        let shown = format!("{rows} of {}", table.width);
        let form = format!("{shown} {:?}", meaning(model, table));
        let name = table.name.clone();
        all.push(StoredTensor { named: Named::Table, name, form, shown, slots: slots(table.update) });
    }
    all
}

/// What decides which row an id has, where it is not the id alone: the lines of vocabularies.
fn meaning<'a>(model: &'a CheckedModel, table: &TableSpec) -> Vec<&'a str> {
    let mut texts: Vec<&str> = Vec::new();
    for &feature in &table.features {
        let text = match &model.schema.features[feature as usize].source {
            FeatureSource::Rule { rule: ValueRule { makes: Made::VocabularyRow { vocabulary }, .. }, .. } => {
                model.schema.vocabularies[*vocabulary as usize].text.as_str()
            }
            FeatureSource::Rule { .. }
            | FeatureSource::Column(_)
            | FeatureSource::ListMark { .. }
            | FeatureSource::Features(_)
            | FeatureSource::Absent => continue,
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}
