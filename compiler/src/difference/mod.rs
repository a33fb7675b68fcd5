//! What differs between two models, by what they mean: renamed locals, comments and layout are no
//! difference.
//!
//! - `facts`: what a model declares, property by property. - `matching`: whether two graphs compute
//!   the same values. - `checkpoint`: what of a checkpoint of the old model the new one has a place
//!   for.
//!
//! Values are compared after [`optimize::CANONICAL`], so `x * 1` is `x`. Weights, states and tables
//! are known by their names. A name that is gone stands for one that is new where the values are
//! then the same.
#![warn(missing_docs)]

mod checkpoint;
mod facts;
mod matching;

#[cfg(test)]
mod tests;

pub use checkpoint::{CheckpointFit, TensorFate, TensorFit};

use crate::footprint::{Footprint, kept_length};
use crate::graph::{Graph, NodeId, Root};
use crate::model::{CheckedModel, UpdateGraph, UpdateScope};
use crate::optimize::{self, PassError};
use din_program::schema::OutputPurpose;
use facts::{Fact, facts, optimizer_text, regularizer_text};
use matching::{Matching, ModelGraph, Named, Renames};
use serde::Serialize;
use std::collections::BTreeMap;

/// A part of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelPart {
    /// A field that the model reads.
    Input,
    /// Fields that are lists of equal lengths.
    Sequence,
    /// What is known in training.
    Label,
    /// What is carried through, and what a request is.
    Key,
    /// A file of ids.
    Vocabulary,
    /// Rows of ids.
    Table,
    /// A dense weight.
    Parameter,
    /// What is carried from step to step.
    State,
    /// The distribution of a label, and the value that it is computed from.
    Prediction,
    /// A vector that prediction writes.
    Output,
    /// What training makes small.
    Loss,
    /// What changes weights.
    Optimizer,
    /// A setting of `train`.
    Training,
    /// What is reported.
    Metric,
    /// A hyper-parameter.
    Hyper,
}

impl ModelPart {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Sequence => "sequence",
            Self::Label => "label",
            Self::Key => "key",
            Self::Vocabulary => "vocabulary",
            Self::Table => "table",
            Self::Parameter => "parameter",
            Self::State => "state",
            Self::Prediction => "prediction",
            Self::Output => "output",
            Self::Loss => "loss",
            Self::Optimizer => "optimizer",
            Self::Training => "training",
            Self::Metric => "metric",
            Self::Hyper => "hyper-parameter",
        }
    }
}

/// A property as it was and as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PropertyChange {
    /// `width`
    pub property: &'static str,
    /// As it was.
    pub old: String,
    /// As it is.
    pub new: String,
}

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum ChangeKind {
    /// The new model alone has it.
    Added {
        /// Its properties, for readers.
        what: String,
    },
    /// The old model alone has it.
    Removed {
        /// Its properties, for readers.
        what: String,
    },
    /// It has another name, and is the same.
    Renamed {
        /// The name in the new model.
        new_name: String,
    },
    /// Both have it.
    Changed {
        /// What is another.
        properties: Vec<PropertyChange>,
    },
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelChange {
    /// Of what part.
    pub part: ModelPart,
    /// `hidden.0.weight`
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub kind: ChangeKind,
}

/// What the differences come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The models are the same.
    Same,
    /// They differ, and a checkpoint of the old model has every weight of the new one.
    Compatible,
    /// A weight of the new model is not in a checkpoint of the old one, or is of another shape.
    Incompatible,
}

/// An operation of the optimised graph of predictions, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationCount {
    /// `matmul`
    pub operation: String,
    /// In the old model.
    pub old: usize,
    /// In the new one.
    pub new: usize,
}

/// What differs between two models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDifference {
    /// What the differences come to.
    pub verdict: Verdict,
    /// In the order of the parts, then as the new model has them.
    pub changes: Vec<ModelChange>,
    /// What both cost, where lists have the assumed lengths.
    pub cost: [ModelCost; 2],
    /// Operations of predictions whose numbers differ.
    pub operations: Vec<OperationCount>,
    /// What a checkpoint of the old model is to the new one.
    pub checkpoint: CheckpointFit,
}

/// What a model costs; see [`Footprint`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ModelCost {
    /// Weights outside of tables.
    pub dense_weights: u64,
    /// Bytes of these.
    pub dense_bytes: u64,
    /// Operations of the prediction of one sample.
    pub flops_per_sample: f64,
    /// Bytes of table rows that it looks up.
    pub row_bytes_per_sample: f64,
}

impl ModelCost {
    fn of(model: &CheckedModel) -> Result<Self, PassError> {
        let Footprint { dense_weights, flops_per_sample, row_bytes_per_sample } =
            Footprint::of(model, |sequence| kept_length(sequence, None))?;
        Ok(ModelCost { dense_weights, dense_bytes: 4 * dense_weights, flops_per_sample, row_bytes_per_sample })
    }
}

impl ModelDifference {
    /// Of two models whose vocabularies are there.
    ///
    /// # Errors
    /// A pass broke a graph: a bug of the compiler.
    pub fn between(old: &CheckedModel, new: &CheckedModel) -> Result<Self, PassError> {
        let graphs = |model: &CheckedModel| Ok([canonical(&model.infer)?, canonical(&model.train)?]);
        let (old_graphs, new_graphs): ([Graph; 2], [Graph; 2]) = (graphs(old)?, graphs(new)?);
        let compared = Compared::new((old, &old_graphs), (new, &new_graphs));
        let mut changes = changed_facts(facts(old), facts(new), &compared.renames);
        changes.extend(compared.changes);
        changes.extend(changed_vocabularies(old, new));
        changes.extend(changed_optimizers(old, new, &compared.renames)?);
        changes.sort_by_key(|change| change.part);
        let checkpoint = CheckpointFit::new(old, new, &compared.renames);
        let verdict = match (changes.is_empty(), checkpoint.has_every_weight()) {
            (true, true) => Verdict::Same,
            (false, true) => Verdict::Compatible,
            (_, false) => Verdict::Incompatible,
        };
        let operations = changed_operations(&old_graphs[0], &new_graphs[0]);
        Ok(Self { verdict, changes, cost: [ModelCost::of(old)?, ModelCost::of(new)?], operations, checkpoint })
    }
}

fn canonical(graph: &Graph) -> Result<Graph, PassError> {
    let mut graph = graph.clone();
    optimize::run(&mut graph, optimize::CANONICAL, false)?;
    Ok(graph)
}

/// What was found by walking through the graphs.
struct Compared {
    renames: Renames,
    changes: Vec<ModelChange>,
}

impl Compared {
    fn new((old, old_graphs): (&CheckedModel, &[Graph; 2]), (new, new_graphs): (&CheckedModel, &[Graph; 2])) -> Self {
        let graphs = [0, 1].map(|k| {
            (ModelGraph { model: old, graph: &old_graphs[k] }, ModelGraph { model: new, graph: &new_graphs[k] })
        });
        let mut renames = Renames::new();
        for (a, b) in graphs {
            let mut matching = Matching::new(a, b, true, renames);
            for pair in root_pairs(a, b, &matching.renames().clone()) {
                matching.same(pair.old, pair.new);
            }
            renames = matching.renames().clone();
        }
        let mut changes = Vec::new();
        let mut changed = |part: ModelPart, name: &str, new: &str| {
            let properties = vec![PropertyChange { property: "value", old: "as it was".into(), new: new.into() }];
            changes.push(ModelChange { part, name: name.into(), kind: ChangeKind::Changed { properties } });
        };
        let [(a, b), (a_train, b_train)] = graphs;
        let mut matching = Matching::new(a, b, false, renames.clone());
        let mut others = Vec::new();
        for pair in root_pairs(a, b, &renames) {
            let RootPair { part, name, .. } = &pair;
            // The loss is that of training.
            if *part != ModelPart::Loss && !matching.same(pair.old, pair.new) {
                others.push((*part, name.clone()));
                changed(*part, name, "computed otherwise");
            }
        }
        let mut matching = Matching::new(a_train, b_train, false, renames.clone());
        // Predictions come first: what reads one that is another is not for that another itself.
        let mut pairs = root_pairs(a_train, b_train, &renames);
        pairs.sort_by_key(|pair| pair.part != ModelPart::Prediction);
        let mut any = others.iter().any(|(part, _)| *part == ModelPart::Prediction);
        for RootPair { part, name, old, new } in pairs {
            if matching.same(old, new) {
                continue;
            }
            if part == ModelPart::Prediction {
                any = true;
                matching.assume(old, new);
                if !others.contains(&(part, name.clone())) {
                    changed(part, &name, "computed otherwise in training");
                }
            } else if part != ModelPart::State || !any {
                // A state may be a statistic of a value that is another one: that is no change of
                // it.
                changed(part, &name, "computed otherwise");
            }
        }
        Compared { renames, changes }
    }
}

/// Roots of two graphs that stand for the same.
struct RootPair {
    part: ModelPart,
    name: String,
    old: NodeId,
    new: NodeId,
}

/// By the names of labels, outputs and states; in the order of the new graph.
fn root_pairs(old: ModelGraph<'_>, new: ModelGraph<'_>, renames: &Renames) -> Vec<RootPair> {
    let title = |model: &CheckedModel, root: &Root| match root {
        Root::Loss(_) => (ModelPart::Loss, "loss".to_string()),
        Root::Prediction { index, .. } => (ModelPart::Prediction, model.predictions[*index as usize].name.clone()),
        Root::Output { index, .. } => {
            let output = &model.outputs[*index as usize];
            let part = match output.purpose {
                OutputPurpose::Written => ModelPart::Output,
                OutputPurpose::Condition | OutputPurpose::SampleWeight | OutputPurpose::Slice => ModelPart::Metric,
            };
            (part, output.name.clone())
        }
        Root::State { state, .. } => (ModelPart::State, model.states[state.index()].name.clone()),
        Root::Named { .. }
        | Root::ParamGradient { .. }
        | Root::RowGradient { .. }
        | Root::Weight(_)
        | Root::Slot { .. } => unreachable!("a checked model's graphs have no such roots"),
    };
    let mut olds = BTreeMap::new();
    for root in &old.graph.roots {
        let (part, name) = title(old.model, root);
        let renamed = (part == ModelPart::State).then(|| renames.get(&(Named::State, name.clone()))).flatten();
        olds.insert((part, renamed.cloned().unwrap_or(name)), root.node());
    }
    let pair = |root: &Root| {
        let (part, name) = title(new.model, root);
        let old = *olds.get(&(part, name.clone()))?;
        Some(RootPair { part, name, old, new: root.node() })
    };
    new.graph.roots.iter().filter_map(pair).collect()
}

/// The facts that one model alone has, or that differ.
fn changed_facts(old: Vec<Fact>, new: Vec<Fact>, renames: &Renames) -> Vec<ModelChange> {
    let sort = |part: ModelPart| match part {
        ModelPart::Parameter => Some(Named::Parameter),
        ModelPart::State => Some(Named::State),
        ModelPart::Table => Some(Named::Table),
        ModelPart::Input
        | ModelPart::Sequence
        | ModelPart::Label
        | ModelPart::Key
        | ModelPart::Vocabulary
        | ModelPart::Prediction
        | ModelPart::Output
        | ModelPart::Loss
        | ModelPart::Optimizer
        | ModelPart::Training
        | ModelPart::Metric
        | ModelPart::Hyper => None,
    };
    let new_name = |fact: &Fact| {
        let renamed = sort(fact.part).and_then(|named| renames.get(&(named, fact.name.clone())));
        renamed.unwrap_or(&fact.name).clone()
    };
    let what = |fact: &Fact| {
        let shown: Vec<String> = fact.properties.iter().map(|p| format!("{} {}", p.name, p.shown)).collect();
        shown.join(", ")
    };
    let mut olds: BTreeMap<(ModelPart, String), Fact> =
        old.into_iter().map(|fact| ((fact.part, new_name(&fact)), fact)).collect();
    let mut changes = Vec::new();
    for fact in new {
        let Fact { part, name, .. } = &fact;
        let Some(before) = olds.remove(&(*part, name.clone())) else {
            let kind = ChangeKind::Added { what: what(&fact) };
            changes.push(ModelChange { part: *part, name: name.clone(), kind });
            continue;
        };
        if before.name != *name {
            let kind = ChangeKind::Renamed { new_name: name.clone() };
            changes.push(ModelChange { part: *part, name: before.name.clone(), kind });
        }
        let pairs = before.properties.iter().zip(&fact.properties).filter(|(a, b)| a.exact != b.exact);
        let properties: Vec<PropertyChange> = pairs
            .map(|(a, b)| {
                let new = if a.shown == b.shown { format!("{}, in another way", b.shown) } else { b.shown.clone() };
                PropertyChange { property: b.name, old: a.shown.clone(), new }
            })
            .collect();
        if !properties.is_empty() {
            changes.push(ModelChange { part: *part, name: name.clone(), kind: ChangeKind::Changed { properties } });
        }
    }
    for (_, fact) in olds {
        let kind = ChangeKind::Removed { what: what(&fact) };
        changes.push(ModelChange { part: fact.part, name: fact.name, kind });
    }
    changes
}

/// Vocabularies whose lines are others.
fn changed_vocabularies(old: &CheckedModel, new: &CheckedModel) -> Vec<ModelChange> {
    let mut changes = Vec::new();
    for vocabulary in &new.schema.vocabularies {
        let before = old.schema.vocabularies.iter().find(|known| known.path == vocabulary.path);
        if let Some(before) = before.filter(|before| before.text != vocabulary.text) {
            let entries = |rows: u64| format!("{rows} entries");
            let (old, new) = (entries(before.oov_row()), entries(vocabulary.oov_row()));
            let new = if old == new { format!("{new}, others") } else { new };
            let properties = vec![PropertyChange { property: "lines", old, new }];
            let kind = ChangeKind::Changed { properties };
            changes.push(ModelChange { part: ModelPart::Vocabulary, name: vocabulary.path.clone(), kind });
        }
    }
    changes
}

/// Optimizers of weights that both models have: weights with the same change are one change.
fn changed_optimizers(
    old: &CheckedModel,
    new: &CheckedModel,
    renames: &Renames,
) -> Result<Vec<ModelChange>, PassError> {
    let mut same: BTreeMap<(u32, u32), bool> = BTreeMap::new();
    // By old and new text, with a regularizer that stays: the weights.
    let mut changed: Vec<((String, String), String, Vec<String>)> = Vec::new();
    let mut compared = 0;
    let tensors = |model: &CheckedModel| -> Vec<(Named, String, u32)> {
        let parameters = model.parameters.iter().map(|p| (Named::Parameter, p.name.clone(), p.update));
        let tables = model.tables.iter().map(|t| (Named::Table, t.name.clone(), t.update));
        parameters.chain(tables).collect()
    };
    let news: BTreeMap<(Named, String), u32> =
        tensors(new).into_iter().map(|(named, name, update)| ((named, name), update)).collect();
    for (named, name, before) in tensors(old) {
        let name = renames.get(&(named, name.clone())).cloned().unwrap_or(name);
        let Some(&after) = news.get(&(named, name.clone())) else { continue };
        compared += 1;
        let (a, b) = (&old.updates[before as usize], &new.updates[after as usize]);
        let same = match same.get(&(before, after)) {
            Some(&same) => same,
            None => {
                let found = same_update((old, a), (new, b))?;
                same.insert((before, after), found);
                found
            }
        };
        if !same {
            let mut texts = (optimizer_text(a, &old.sources), optimizer_text(b, &new.sources));
            let (had, has) = (regularizer_text(a), regularizer_text(b));
            let stays = if had == has { had } else { String::new() };
            if stays.is_empty() {
                texts = (texts.0 + &regularizer_text(a), texts.1 + &has);
            }
            match changed.iter_mut().find(|(known, ..)| *known == texts) {
                Some((.., names)) => names.push(name),
                None => changed.push((texts, stays, vec![name])),
            }
        }
    }
    let change = |((old, new), stays, names): ((String, String), String, Vec<String>)| {
        let (name, old, new) = match names.len() == compared {
            true => ("all weights".into(), old, new),
            false => (names.join(", "), old + &stays, new + &stays),
        };
        let new = if old == new { format!("{new}, with other numbers") } else { new };
        let properties = vec![PropertyChange { property: "rule", old, new }];
        ModelChange { part: ModelPart::Optimizer, name, kind: ChangeKind::Changed { properties } }
    };
    Ok(changed.into_iter().map(change).collect())
}

fn same_update(
    (old_model, old): (&CheckedModel, &UpdateGraph),
    (new_model, new): (&CheckedModel, &UpdateGraph),
) -> Result<bool, PassError> {
    let rule = |update: &UpdateGraph| match update.scope {
        UpdateScope::Rows { rule, .. } => Some(rule),
        UpdateScope::Elements => None,
    };
    let width = |update: &UpdateGraph| match update.scope {
        UpdateScope::Rows { width, .. } => width,
        UpdateScope::Elements => 1,
    };
    if rule(old) != rule(new) || old.slots.len() != new.slots.len() {
        return Ok(false);
    }
    if old.slots.iter().zip(&new.slots).any(|(a, b)| (a.per, a.init) != (b.per, b.init)) {
        return Ok(false);
    }
    if width(old) != width(new) {
        // The graphs differ in any case: what the spec says decides.
        let text = |model: &CheckedModel, update: &UpdateGraph| optimizer_text(update, &model.sources);
        return Ok(text(old_model, old) == text(new_model, new));
    }
    let (a, b) = (canonical(&old.graph)?, canonical(&new.graph)?);
    if a.roots.len() != b.roots.len() {
        return Ok(false);
    }
    let (old, new) = (ModelGraph { model: old_model, graph: &a }, ModelGraph { model: new_model, graph: &b });
    let mut matching = Matching::new(old, new, false, Renames::new());
    Ok(a.roots.iter().zip(&b.roots).all(|(a, b)| matching.same(a.node(), b.node())))
}

fn changed_operations(old: &Graph, new: &Graph) -> Vec<OperationCount> {
    let mut counts: BTreeMap<&'static str, [usize; 2]> = BTreeMap::new();
    for (k, graph) in [old, new].into_iter().enumerate() {
        let predictions = graph.roots.iter().filter(|root| !matches!(root, Root::Loss(_)));
        for id in graph.order_from(predictions.map(Root::node)) {
            counts.entry(graph.node(id).op.name()).or_default()[k] += 1;
        }
    }
    let changed = counts.into_iter().filter(|(_, [old, new])| old != new);
    changed.map(|(name, [old, new])| OperationCount { operation: name.into(), old, new }).collect()
}
