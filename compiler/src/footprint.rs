//! What a model costs, from its graph alone: weights, operations and bytes of a prediction, memory
//! of its tables.
#![warn(missing_docs)]

use crate::graph::{AxisId, AxisKind, AxisTree, Graph, Op};
use crate::model::CheckedModel;
use crate::optimize::{self, PassError};
use din_program::SlotScope;
use din_program::schema::{Admission, Sequence, TableKind, TableSpec};

/// Entries of a list of which nothing is known.
pub const ASSUMED_LENGTH: f64 = 20.0;

/// What a model costs where its data are as expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Footprint {
    /// Weights outside of tables.
    pub dense_weights: u64,
    /// Floating-point operations of the prediction of one sample, as of [`optimize::flops`], where
    /// each sample is a request of its own and no value is shared between samples.
    pub flops_per_sample: f64,
    /// Bytes of table rows that the prediction of one sample looks up.
    pub row_bytes_per_sample: f64,
}

impl Footprint {
    /// Of a model whose lists have so many entries.
    ///
    /// # Errors
    /// A pass broke the graph: a bug of the compiler.
    pub fn of(model: &CheckedModel, length: impl Fn(&Sequence) -> f64) -> Result<Self, PassError> {
        let graph = optimized_inference(model)?;
        let lengths: Vec<f64> = model.schema.sequences.iter().map(length).collect();
        let counts: Vec<f64> = graph.axes.ids().map(|axis| elements(&graph.axes, axis, &lengths)).collect();
        let looked_up = graph.order().into_iter().map(|id| {
            let node = graph.node(id);
            let bytes = 4.0 * counts[node.axis.index()] * node.width() as f64;
            if let Op::Lookup { .. } = node.op { bytes } else { 0.0 }
        });
        Ok(Footprint {
            dense_weights: model.parameters.iter().map(|parameter| parameter.width() as u64).sum(),
            flops_per_sample: optimize::flops(&graph, &counts),
            row_bytes_per_sample: looked_up.sum(),
        })
    }
}

/// The graph of predictions and outputs as it is planned.
fn optimized_inference(model: &CheckedModel) -> Result<Graph, PassError> {
    let mut graph = model.infer.clone();
    // The loss of the report is no part of a prediction.
    graph.roots.retain(|root| !matches!(root, crate::graph::Root::Loss(_)));
    optimize::run(&mut graph, optimize::INFER, false)?;
    optimize::run(&mut graph, optimize::LOWER, false)?;
    Ok(graph)
}

/// Expected entries of a list that is cut by `keep`, where `known` says how many it has.
pub fn kept_length(sequence: &Sequence, known: Option<f64>) -> f64 {
    let length = known.unwrap_or(ASSUMED_LENGTH);
    sequence.keep.map_or(length, |keep| length.min(f64::from(keep.count)))
}

/// Elements of an axis for one sample; `lengths` are those of the sequences.
fn elements(axes: &AxisTree, axis: AxisId, lengths: &[f64]) -> f64 {
    match axes.kind(axis) {
        AxisKind::Global | AxisKind::Batch { .. } | AxisKind::Request => 1.0,
        AxisKind::Sequence { sequence, parent, .. } => lengths[*sequence as usize] * elements(axes, *parent, lengths),
        AxisKind::Fixed { size } => f64::from(*size),
        AxisKind::Second { of } | AxisKind::Steps { of } => elements(axes, *of, lengths),
        // Under each entry, those of its list.
        AxisKind::Pairs { of, .. } => {
            let entries = elements(axes, *of, lengths);
            match axes.kind(*of) {
                AxisKind::Sequence { sequence, .. } => lengths[*sequence as usize] * entries,
                AxisKind::Fixed { size } => f64::from(*size) * entries,
                AxisKind::Batch { .. } => entries,
                AxisKind::Global
                | AxisKind::Request
                | AxisKind::Second { .. }
                | AxisKind::Steps { .. }
                | AxisKind::Pairs { .. }
                | AxisKind::Unique(_) => unreachable!("`verify` checks that pairs are of entries or of samples"),
            }
        }
        AxisKind::Unique(keys) => elements(axes, keys.over, lengths),
    }
}

/// Rows of a table; `None` of a growing one, unless its admission or `known` says so.
pub fn rows(table: &TableSpec, known: Option<u64>) -> Option<u64> {
    match (table.kind, table.admission) {
        (TableKind::Fixed { size }, _) => Some(size),
        // And the OOV row.
        (TableKind::Dynamic { .. }, Some(Admission::Top(ids))) if table.vectors.is_none() => {
            Some(known.map_or(ids, |known| known.min(ids)) + 1)
        }
        (TableKind::Dynamic { .. }, _) => known.map(|known| known + 1),
    }
}

/// Bytes of a row in training: weights and optimizer state, in f32.
pub fn row_bytes(model: &CheckedModel, table: &TableSpec) -> u64 {
    let width = u64::from(table.width);
    let slots = model.updates[table.update as usize].slots.iter().map(|slot| match slot.per {
        SlotScope::Weight => width,
        SlotScope::Row => 1,
        SlotScope::Tensor => 0,
    });
    4 * (width + slots.sum::<u64>())
}
