//! A whole training step of a [`CheckedModel`] in f64: forward, backward, states, updates of dense
//! parameters and of touched rows.
//!
//! The order is the runtime's: every gradient is taken at the weights as they were, row gradients
//! are summed over all features of a table and all occurrences of a row, then each touched row is
//! updated once, each dense tensor once, and the states move.

use super::{Inputs, InterpretError, Values, run};
use crate::autodiff::{DifferentiateError, differentiate};
use crate::graph::{AxisId, BATCH, GLOBAL, Graph, InputId, InputKind, Root, TableId};
use crate::model::{CheckedModel, UpdateGraph};
use din_program::SlotScope;
use din_program::schema::UpdateRule;
use std::collections::BTreeMap;
use std::fmt;

/// The samples of one step, by the schema's numbering.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    pub batch: usize,
    /// By sequence: `batch + 1` offsets; `requests + 1` for a common one.
    pub offsets: Vec<Vec<usize>>,
    /// Offsets of the samples of each request; empty where the model has none.
    pub requests: Vec<usize>,
    /// By table and feature: the row number of the id of each sample (or entry).
    pub rows: BTreeMap<(u32, u32), Vec<usize>>,
    /// By numeric feature: `n x width` numbers.
    pub dense: BTreeMap<u32, Vec<f64>>,
    /// By label, 0 or 1 (0 where missing).
    pub labels: Vec<Vec<f64>>,
    /// By label, 1 where present; all present where absent here.
    pub present: Vec<Vec<f64>>,
}

impl Samples {
    /// The same under `graph`'s numbering of inputs. `step` counts from 1.
    pub fn bind(&self, graph: &Graph, step: u64) -> Inputs {
        let mut inputs = Inputs {
            batch: self.batch,
            offsets: vec![Vec::new(); graph.axes.count()],
            requests: self.requests.clone(),
            ..Inputs::default()
        };
        inputs.steps = step.saturating_sub(1);
        for (k, offsets) in self.offsets.iter().enumerate() {
            let sequence = AxisId(2 + k as u32);
            let own = graph.axes.shared(sequence).unwrap_or(sequence);
            inputs.offsets[own.index()] = offsets.clone();
        }
        for (k, input) in graph.inputs.iter().enumerate() {
            let numbers = match input.kind {
                InputKind::Dense { feature } => self.dense.get(&feature).cloned(),
                InputKind::Label { label } => self.labels.get(label as usize).cloned(),
                InputKind::Present { label } => {
                    Some(self.present.get(label as usize).cloned().unwrap_or_else(|| vec![1.0; self.batch]))
                }
                InputKind::Step => Some(vec![step as f64]),
                // Of update graphs, which `update` binds.
                InputKind::Epoch | InputKind::SquaredNorms => None,
                InputKind::Ids { feature, .. } => {
                    for (&(table, f), rows) in &self.rows {
                        if f == feature {
                            inputs.rows.insert((TableId(table), InputId(k as u32)), rows.clone());
                        }
                    }
                    None
                }
                // Of update graphs, which `update` binds.
                InputKind::Weight
                | InputKind::Gradient
                | InputKind::Slot { .. }
                | InputKind::Frequency
                | InputKind::UpdateCount
                | InputKind::InBatch => None,
            };
            inputs.numbers.push(numbers.unwrap_or_default());
        }
        inputs
    }
}

/// A table's rows and what the optimizer keeps beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableData {
    /// `rows x width`.
    pub weights: Vec<f64>,
    /// By slot: `rows x width`, `rows` or 1 numbers.
    pub slots: Vec<Vec<f64>>,
    /// By row: number of training samples that contain its id.
    pub counts: Vec<f64>,
    /// By row: number of batches that had it so far.
    pub updates: Vec<f64>,
}

/// A dense tensor and its optimizer slots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorData {
    pub weights: Vec<f64>,
    /// By slot: one number an element, or 1.
    pub slots: Vec<Vec<f64>>,
}

fn fresh_slots(update: &UpdateGraph, weights: usize, rows: usize) -> Vec<Vec<f64>> {
    let length = |per| match per {
        SlotScope::Weight => weights,
        SlotScope::Row => rows,
        SlotScope::Tensor => 1,
    };
    update.slots.iter().map(|s| vec![s.init; length(s.per)]).collect()
}

impl TableData {
    /// Rows that nothing has touched yet.
    pub fn new(update: &UpdateGraph, width: usize, weights: Vec<f64>, counts: Vec<f64>) -> Self {
        let rows = weights.len() / width.max(1);
        let slots = fresh_slots(update, weights.len(), rows);
        TableData { weights, slots, counts, updates: vec![0.0; rows] }
    }
}

impl TensorData {
    pub fn new(update: &UpdateGraph, weights: Vec<f64>) -> Self {
        let slots = fresh_slots(update, weights.len(), weights.len());
        TensorData { weights, slots }
    }
}

/// Why a step cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepError {
    Differentiate(DifferentiateError),
    Interpret { graph: String, error: InterpretError },
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differentiate(e) => write!(f, "{e}"),
            Self::Interpret { graph, error } => write!(f, "{graph}: {error}"),
        }
    }
}

impl std::error::Error for StepError {}

/// What a step computed, before its updates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepReport {
    pub loss: f64,
    /// By prediction: its values, such as logits.
    pub predictions: Vec<Vec<f64>>,
    /// By output, of the inference graph.
    pub outputs: Vec<Vec<f64>>,
    /// By parameter; empty where the loss does not reach it.
    pub param_gradients: Vec<Vec<f64>>,
    /// By table: the summed gradient of each touched row.
    pub row_gradients: Vec<BTreeMap<usize, Vec<f64>>>,
}

/// State number and new value.
type NewStates = Vec<(usize, Vec<f64>)>;

/// A model in training.
#[derive(Clone, Debug)]
pub struct InterpreterSession<'m> {
    pub model: &'m CheckedModel,
    /// `model.train` with gradients.
    pub graph: Graph,
    /// Steps done.
    pub steps: u64,
    /// What the random numbers of dropout are made from.
    pub seed: u64,
    /// Number of the epoch, from 1.
    pub epoch: u32,
    pub params: Vec<TensorData>,
    pub states: Vec<Vec<f64>>,
    pub tables: Vec<TableData>,
}

impl<'m> InterpreterSession<'m> {
    /// Differentiates `model.train`; parameters, states and tables are the caller's, in the model's
    /// order.
    pub fn new(
        model: &'m CheckedModel,
        params: Vec<TensorData>,
        states: Vec<Vec<f64>>,
        tables: Vec<TableData>,
    ) -> Result<Self, StepError> {
        let mut graph = model.train.clone();
        differentiate(&mut graph).map_err(StepError::Differentiate)?;
        Ok(InterpreterSession { model, graph, steps: 0, seed: 0, epoch: 1, params, states, tables })
    }

    fn values(&self) -> Values {
        Values {
            params: self.params.iter().map(|p| p.weights.clone()).collect(),
            states: self.states.clone(),
            tables: self.tables.iter().map(|t| t.weights.clone()).collect(),
        }
    }

    /// Loss and logits by the inference graph; changes nothing.
    pub fn evaluate(&self, samples: &Samples) -> Result<StepReport, StepError> {
        self.compute(&self.model.infer, samples, "infer").map(|(report, _)| report)
    }

    /// Runs a graph and collects its roots; beside them the states' new values.
    fn compute(&self, graph: &Graph, samples: &Samples, name: &str) -> Result<(StepReport, NewStates), StepError> {
        let inputs = Inputs { seed: self.seed, ..samples.bind(graph, self.steps + 1) };
        let run =
            run(graph, &inputs, &self.values()).map_err(|error| StepError::Interpret { graph: name.into(), error })?;
        let mut report = StepReport {
            predictions: vec![Vec::new(); self.model.predictions.len()],
            outputs: vec![Vec::new(); self.model.outputs.len()],
            param_gradients: vec![Vec::new(); self.params.len()],
            row_gradients: vec![BTreeMap::new(); self.tables.len()],
            ..StepReport::default()
        };
        // A row is touched where its id occurs, whether or not a gradient comes along.
        for (&(table, feature), rows) in &samples.rows {
            let Some(spec) = self.model.tables.get(table as usize).filter(|t| t.features.contains(&feature)) else {
                continue;
            };
            let sums = &mut report.row_gradients[table as usize];
            for &row in rows {
                sums.entry(row).or_insert_with(|| vec![0.0; spec.width as usize]);
            }
        }
        let mut states = Vec::new();
        for root in &graph.roots {
            let value = run.value(root.node());
            match root {
                Root::Loss(_) => report.loss = value[0],
                Root::Prediction { index, .. } => report.predictions[*index as usize] = value.to_vec(),
                Root::Output { index, .. } => report.outputs[*index as usize] = value.to_vec(),
                Root::State { state, .. } => states.push((state.index(), value.to_vec())),
                Root::ParamGradient { param, .. } => report.param_gradients[param.index()] = value.to_vec(),
                Root::RowGradient { table, input, .. } => {
                    let width = graph.tables[table.index()];
                    let sums = &mut report.row_gradients[table.index()];
                    let rows = &inputs.rows[&(*table, *input)];
                    let firsts = run.sizes().firsts(graph.node(root.node()).axis);
                    for (row, g) in firsts.into_iter().map(|i| rows[i]).zip(value.chunks_exact(width)) {
                        let sum = sums.entry(row).or_insert_with(|| vec![0.0; width]);
                        sum.iter_mut().zip(g).for_each(|(s, g)| *s += g);
                    }
                }
                Root::Named { .. } | Root::Weight(_) | Root::Slot { .. } => {}
            }
        }
        Ok((report, states))
    }

    /// The sum of the squares of each gradient, where the model asks for them; else none.
    fn squared_norms(&self, report: &StepReport) -> Result<Vec<f64>, StepError> {
        let of_tables = report.row_gradients.iter().zip(&self.model.tables);
        let of_tables =
            of_tables.map(|(rows, table)| (table.width as usize, rows.values().flatten().copied().collect()));
        let of_params = report.param_gradients.iter().map(|gradient| (1, gradient.clone()));
        let gradients: Vec<(usize, Vec<f64>)> = of_tables.chain(of_params).collect();
        let mut sums = Vec::new();
        for (&update, (width, gradient)) in self.model.squared_norms.iter().zip(&gradients) {
            let mut sum = vec![vec![0.0]];
            if !gradient.is_empty() {
                let rows: Vec<usize> = (0..gradient.len() / width).collect();
                let mut at = Weights { width: *width, slots: &mut sum, ..Weights::default() };
                at.update(&self.model.updates[update as usize], &rows, gradient)?;
            }
            sums.push(sum[0][0]);
        }
        Ok(sums)
    }

    /// One training step.
    pub fn train(&mut self, samples: &Samples) -> Result<StepReport, StepError> {
        let (report, states) = self.compute(&self.graph, samples, "train")?;
        let (step, epoch) = ((self.steps + 1) as f64, f64::from(self.epoch));
        let squared_norms = &self.squared_norms(&report)?;
        for (k, gradient) in report.param_gradients.iter().enumerate().filter(|(_, g)| !g.is_empty()) {
            let update = &self.model.updates[self.model.parameters[k].update as usize];
            let TensorData { weights, slots } = &mut self.params[k];
            let mut at = Weights {
                width: 1,
                weights,
                slots,
                counts: &[],
                updates: &[],
                touched: &[],
                step,
                epoch,
                squared_norms,
            };
            let all: Vec<usize> = (0..gradient.len()).collect();
            at.update(update, &all, gradient)?;
        }
        for (k, gradients) in report.row_gradients.iter().enumerate() {
            let table = &self.model.tables[k];
            if table.frozen {
                continue;
            }
            let update = &self.model.updates[table.update as usize];
            let width = table.width as usize;
            let TableData { weights, slots, counts, updates } = &mut self.tables[k];
            gradients.keys().for_each(|&r| updates[r] += 1.0);
            let rows: Vec<usize> = match table.update_rule {
                UpdateRule::Dense => (0..updates.len()).collect(),
                UpdateRule::Sparse => gradients.keys().copied().collect(),
            };
            if rows.is_empty() {
                continue;
            }
            let (mut gradient, mut touched) = (Vec::with_capacity(rows.len() * width), Vec::with_capacity(rows.len()));
            for row in &rows {
                let found = gradients.get(row);
                touched.push(f64::from(found.is_some()));
                gradient.extend(found.cloned().unwrap_or_else(|| vec![0.0; width]));
            }
            let mut at =
                Weights { width, weights, slots, counts, updates, touched: &touched, step, epoch, squared_norms };
            at.update(update, &rows, &gradient)?;
        }
        for (k, value) in states {
            self.states[k] = value;
        }
        self.steps += 1;
        Ok(report)
    }
}

/// The weights that one update treats.
#[derive(Default)]
struct Weights<'a> {
    width: usize,
    weights: &'a mut [f64],
    slots: &'a mut [Vec<f64>],
    counts: &'a [f64],
    updates: &'a [f64],
    /// By treated row.
    touched: &'a [f64],
    step: f64,
    epoch: f64,
    /// See [`InputKind::SquaredNorms`].
    squared_norms: &'a [f64],
}

fn gather(from: &[f64], width: usize, rows: &[usize]) -> Vec<f64> {
    rows.iter().flat_map(|&r| from[r * width..(r + 1) * width].iter().copied()).collect()
}

fn scatter(to: &mut [f64], width: usize, rows: &[usize], values: &[f64]) {
    for (&r, v) in rows.iter().zip(values.chunks_exact(width)) {
        to[r * width..(r + 1) * width].copy_from_slice(v);
    }
}

impl Weights<'_> {
    fn slot_width(&self, per: SlotScope) -> usize {
        if per == SlotScope::Weight { self.width } else { 1 }
    }

    /// Runs the update program on `rows` (rows of a table, or elements of a tensor).
    fn update(&mut self, update: &UpdateGraph, rows: &[usize], gradient: &[f64]) -> Result<(), StepError> {
        let graph = &update.graph;
        let mut inputs = Inputs { batch: rows.len(), ..Inputs::default() };
        for input in &graph.inputs {
            inputs.numbers.push(match input.kind {
                InputKind::Weight => gather(self.weights, self.width, rows),
                InputKind::Gradient => gradient.to_vec(),
                InputKind::Slot { slot } => {
                    let per = update.slots[slot as usize].per;
                    let values = &self.slots[slot as usize];
                    match (per, input.axis) {
                        (SlotScope::Tensor, GLOBAL) => values.clone(),
                        (SlotScope::Tensor, _) => vec![values[0]; rows.len()],
                        (SlotScope::Weight | SlotScope::Row, _) => gather(values, self.slot_width(per), rows),
                    }
                }
                InputKind::Frequency if self.counts.is_empty() => vec![0.0; rows.len()],
                InputKind::Frequency => gather(self.counts, 1, rows),
                InputKind::UpdateCount if self.updates.is_empty() => vec![self.step; rows.len()],
                InputKind::UpdateCount => gather(self.updates, 1, rows),
                InputKind::InBatch => self.touched.to_vec(),
                InputKind::Step => vec![self.step],
                InputKind::Epoch => vec![self.epoch],
                InputKind::SquaredNorms => self.squared_norms.to_vec(),
                // Of model graphs, which `Samples::bind` binds.
                InputKind::Ids { .. }
                | InputKind::Dense { .. }
                | InputKind::Label { .. }
                | InputKind::Present { .. } => Vec::new(),
            });
        }
        let run = run(graph, &inputs, &Values::default())
            .map_err(|error| StepError::Interpret { graph: update.name.clone(), error })?;
        for root in &graph.roots {
            let node = graph.node(root.node());
            // A value of a shallower axis, or one number for a whole row, stands for all.
            let fill = |width: usize| -> Vec<f64> {
                let value = run.sizes().expand(run.value(root.node()), node.width(), node.axis, BATCH);
                if node.width() == width { value } else { value.iter().flat_map(|&v| vec![v; width]).collect() }
            };
            match root {
                Root::Weight(_) => scatter(self.weights, self.width, rows, &fill(self.width)),
                Root::Slot { slot, .. } => {
                    let per = update.slots[*slot as usize].per;
                    let width = self.slot_width(per);
                    let values = fill(width);
                    match per {
                        SlotScope::Tensor => self.slots[*slot as usize][0] = values[0],
                        SlotScope::Weight | SlotScope::Row => {
                            scatter(&mut self.slots[*slot as usize], width, rows, &values);
                        }
                    }
                }
                Root::Loss(_)
                | Root::Prediction { .. }
                | Root::Output { .. }
                | Root::Named { .. }
                | Root::State { .. }
                | Root::ParamGradient { .. }
                | Root::RowGradient { .. } => {}
            }
        }
        Ok(())
    }
}
