//! The work of one training step on a part of a batch: elements of every axis, and what the calls
//! of the schedules do for them.

use super::ModelUse;
use din_program::axes::{AxisId, AxisKind, AxisTree};
use din_program::schedule::{AbsorbedWeight, BufferId, Combine, GLOBAL, Schedule, ScheduleRoot, Storage};
use serde::Serialize;

/// The part of a global batch that a rank has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BatchPart {
    pub samples: f64,
    /// As many as samples where the schema has none.
    pub requests: f64,
    /// Leaves that it consists of.
    pub leaves: f64,
}

impl BatchPart {
    /// One of its leaves.
    fn leaf(self) -> Self {
        let leaves = self.leaves.max(1.0);
        BatchPart { samples: self.samples / leaves, requests: self.requests / leaves, leaves: 1.0 }
    }
}

/// What a step does on one rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepWork {
    /// Floating-point operations of calls that multiply.
    pub product_flops: f64,
    /// Bytes that these calls read and write.
    pub product_bytes: f64,
    /// Bytes of all other calls.
    pub value_bytes: f64,
    /// Ids whose rows are looked up: those of the part, and those that other ranks ask for.
    pub ids: f64,
    /// Bytes of row gradients that are summed, and of rows that are updated.
    pub row_bytes: f64,
    /// The same of what the host does while a device does the rest: on several ranks, its rows.
    pub host_row_bytes: f64,
}

impl ModelUse<'_> {
    /// Expected elements of an axis of the training schedule.
    pub(super) fn elements(&self, axes: &AxisTree, axis: AxisId, part: BatchPart) -> f64 {
        match axes.kind(axis) {
            AxisKind::Global => 1.0,
            AxisKind::Batch { .. } => part.samples,
            AxisKind::Request => part.requests,
            AxisKind::Sequence { sequence, parent, .. } => {
                self.lengths[*sequence as usize] * self.elements(axes, *parent, part)
            }
            AxisKind::Fixed { size } => f64::from(*size) * part.samples,
            AxisKind::Second { of } | AxisKind::Steps { of } => self.elements(axes, *of, part),
            AxisKind::Pairs { of, .. } => {
                let entries = self.elements(axes, *of, part);
                match axes.kind(*of) {
                    AxisKind::Sequence { sequence, .. } => self.lengths[*sequence as usize] * entries,
                    AxisKind::Fixed { size } => f64::from(*size) * entries,
                    AxisKind::Batch { .. } => entries * entries / part.requests,
                    AxisKind::Global
                    | AxisKind::Request
                    | AxisKind::Second { .. }
                    | AxisKind::Steps { .. }
                    | AxisKind::Pairs { .. }
                    | AxisKind::Unique(_) => unreachable!("checked: pairs are of entries or of samples"),
                }
            }
            AxisKind::Unique(keys) => {
                // Entries are joined within a leaf. Ids that come together mostly belong together,
                // as an item and its brand do: there are as many combinations as ids of the key
                // that has most.
                let leaf = part.leaf();
                let entries = self.elements(axes, keys.over, leaf);
                let distinct = |&(table, _): &(u32, u32)| {
                    let draws = self.draws(table as usize, leaf);
                    self.tables[table as usize].distribution.distinct(draws, entries)
                };
                part.leaves.max(1.0) * keys.keys.iter().map(distinct).fold(0.0, f64::max).min(entries)
            }
        }
    }

    /// Entries of a table in a part of a batch: ids of its features.
    pub(super) fn entries(&self, table: usize, part: BatchPart) -> f64 {
        let features = self.program.tables[table].features.iter().map(|&f| &self.program.schema.features[f as usize]);
        let each = features.map(|feature| {
            let units = if feature.common { part.requests } else { part.samples };
            feature.sequence.map_or(1.0, |s| self.lengths[s as usize]) * units
        });
        each.sum()
    }

    /// Independent draws of a sample's ids: requests, where all samples of one have the same.
    fn draws(&self, table: usize, part: BatchPart) -> f64 {
        let features = &self.program.tables[table].features;
        let common = features.iter().all(|&f| self.program.schema.features[f as usize].common);
        if common { part.requests } else { part.samples }
    }

    /// Expected distinct ids of a table in a part of a batch.
    pub(super) fn distinct(&self, table: usize, part: BatchPart) -> f64 {
        let entries = self.entries(table, part);
        self.tables[table].distribution.distinct(self.draws(table, part), entries).min(entries)
    }

    /// The work of the phases, without that of tables.
    pub(super) fn phases(&self, part: BatchPart, absorbed: AbsorbedWeight) -> StepWork {
        let mut work = StepWork::default();
        let train = &self.program.train;
        for call in train.phases.iter().flat_map(|phase| &phase.calls) {
            let width =
                |id: BufferId| Some(&train.buffers[id.index()]).filter(|b| b.axis == call.axis).map(|b| b.width);
            let each = call.work(width, absorbed);
            let elements = self.elements(&train.axes, call.axis, part);
            if each.flops > 0.0 {
                work.product_flops += each.flops * elements;
                work.product_bytes += each.bytes * elements;
            } else {
                work.value_bytes += each.bytes * elements;
            }
        }
        work
    }

    /// Bytes of row gradients of a table that the training schedule leaves for a part.
    pub(super) fn gradient_bytes(&self, table: usize, part: BatchPart) -> f64 {
        let train = &self.program.train;
        let each = train.roots.iter().map(|root| match root {
            ScheduleRoot::RowGradient { table: t, view, .. } if *t as usize == table => {
                let axis = train.buffers[view.buffer.index()].axis;
                self.elements(&train.axes, axis, part) * f64::from(4 * self.program.tables[table].width)
            }
            ScheduleRoot::RowGradient { .. }
            | ScheduleRoot::Loss(_)
            | ScheduleRoot::Prediction { .. }
            | ScheduleRoot::Output { .. }
            | ScheduleRoot::Named { .. }
            | ScheduleRoot::State { .. }
            | ScheduleRoot::ParamGradient { .. } => 0.0,
        });
        each.sum()
    }

    /// Bytes of the step's arena for a part.
    pub(super) fn arena_bytes(&self, part: BatchPart) -> f64 {
        let train = &self.program.train;
        let slots = train.slots.iter();
        4.0 * slots.map(|slot| self.elements(&train.axes, slot.axis, part).ceil() * f64::from(slot.width)).sum::<f64>()
    }

    /// Bytes of the step's other buffers: the partial sums of the part's leaves, and the tiles of
    /// so many threads.
    pub(super) fn working_bytes(&self, part: BatchPart, threads: u32) -> f64 {
        let train = &self.program.train;
        let partials = train.buffers.iter().filter(|b| b.place == Storage::Partial).map(|b| f64::from(b.width));
        let tile = train.phases.iter().map(|phase| phase.tile_rows).max().map_or(0.0, f64::from);
        let tiles: f64 = train.tile_slots.iter().map(|slot| tile * f64::from(slot.width)).sum();
        4.0 * (partials.sum::<f64>() * part.leaves.max(1.0) + tiles * f64::from(threads))
    }
}

/// The reductions of each phase of a schedule that has some over samples: how values are joined,
/// and floats of a value.
pub(super) fn reductions(schedule: &Schedule) -> impl Iterator<Item = Vec<(Combine, usize)>> {
    let phases = schedule.phases.iter().filter(|phase| phase.axis != GLOBAL && !phase.reductions.is_empty());
    phases.map(|phase| {
        let width = |partial: BufferId| schedule.buffers[partial.index()].width as usize;
        phase.reductions.iter().map(|reduction| (reduction.combine, width(reduction.partial))).collect()
    })
}
