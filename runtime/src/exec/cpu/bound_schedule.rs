//! A schedule with its memory: arena, tiles, partial copies, indices of sequences, and the
//! addresses of one step.
//!
//! Capacities grow by a quarter more than asked, so that batches of varying sizes soon allocate
//! nothing.

use super::memory::{StepMemory, area, lines};
use super::prepare::{ArgSource, PreparedPhase, PreparedSchedule};
use super::tiling::BatchTiling;
use crate::exec::ExecError;
use crate::exec::common::{Layout, StepNumbers};
use crate::kernels::StridedRows;
use crate::leaves::LeafRange;
use din_program::dropout;
use din_program::schedule::{AxisId, BufferId, GLOBAL, KernelArg, Storage};

/// See the module.
#[derive(Debug)]
pub(super) struct BoundSchedule {
    pub prepared: PreparedSchedule,
    pub tilings: Vec<BatchTiling>,
    /// Of the current batch.
    pub layout: Layout,
    /// Elements of this batch, by axis.
    pub counts: Vec<usize>,
    arena: StepMemory,
    slots: Vec<usize>,
    capacity: Vec<usize>,
    pub partials: StepMemory,
    /// Offset of each tile slot in a thread's scratch, and their total, in floats.
    pub tile_slots: Vec<usize>,
    pub tile_floats: usize,
    tile_capacity: Vec<usize>,
    /// By pair of axes in [`PreparedSchedule::ancestors`].
    ancestors: Vec<Vec<u32>>,
    lengths: Vec<Vec<f32>>,
    /// By axis; filled where a call reads them.
    positions: Vec<Vec<f32>>,
    /// By axis; filled where a call reads them: [`Storage::SampleNumber`], as bits.
    sample_numbers: Vec<Vec<u32>>,
    /// As many numbers as the widest buffer of [`Storage::Components`].
    components: Vec<f32>,
    /// By buffer: of a [`Storage::DropoutKey`], the key at this step.
    dropout_keys: Vec<[u32; 2]>,
    /// Elements by axis in the global batch, then the numbers of step and epoch.
    scalars: Vec<f32>,
    /// By buffer.
    pub addresses: Vec<*mut f32>,
    /// By phase, by argument; null for those that change.
    pub arguments: Vec<Vec<*mut u8>>,
    /// Whether it takes part in the current run.
    pub active: bool,
    /// Whether other ranks have other leaves of what it runs on.
    pub over_ranks: bool,
    /// Whether it ever ran, so that its results can be read.
    pub ran: bool,
    pub rows: Option<RowUpdate>,
}

/// The sizes of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchShape<'a> {
    /// Samples; in update programs, elements.
    pub samples: usize,
    pub requests: &'a [u32],
    pub sequences: &'a [Vec<u32>],
    pub leaves: &'a LeafRange,
    /// Place of the first sample in the global batch.
    pub first_row: usize,
}

impl<'a> BatchShape<'a> {
    /// So many rows or elements of a tensor.
    pub fn rows(rows: usize, leaves: &'a LeafRange) -> Self {
        BatchShape { samples: rows, requests: &[], sequences: &[], leaves, first_row: 0 }
    }
}

/// What an update of table rows reads besides buffers. Addresses of the current step.
#[derive(Clone, Debug)]
pub(super) struct RowUpdate {
    /// Index of the table.
    pub table: usize,
    pub width: usize,
    /// By lookup of the table: its row gradients, where any flow.
    pub gradients: Vec<Option<StridedRows>>,
    /// By row of the table: how often it was updated. Null before the first step.
    pub updates: *mut f32,
}

impl BoundSchedule {
    pub fn new(prepared: PreparedSchedule) -> BoundSchedule {
        let axes = prepared.axes.count();
        BoundSchedule {
            tilings: prepared.tilings.iter().map(|&(d, rows)| BatchTiling::new(d, rows, &prepared.axes)).collect(),
            layout: Layout::new(prepared.axes.clone()),
            counts: vec![0; axes],
            arena: StepMemory::default(),
            slots: vec![0; prepared.slots.len()],
            capacity: vec![0; axes],
            partials: StepMemory::default(),
            tile_slots: vec![0; prepared.tile_slots.len()],
            tile_floats: 0,
            tile_capacity: vec![0; axes],
            ancestors: vec![Vec::new(); prepared.ancestors.len()],
            lengths: vec![Vec::new(); axes],
            positions: vec![Vec::new(); axes],
            sample_numbers: vec![Vec::new(); axes],
            components: prepared.components(),
            dropout_keys: vec![[0; 2]; prepared.buffers.len()],
            scalars: vec![0.0; axes + 2],
            addresses: vec![std::ptr::null_mut(); prepared.buffers.len()],
            arguments: prepared.phases.iter().map(|p| vec![std::ptr::null_mut(); p.args.len()]).collect(),
            active: false,
            over_ranks: false,
            ran: false,
            rows: None,
            prepared,
        }
    }

    /// Makes the memory ready for a batch, as the step with these numbers; `rows` gives the row
    /// numbers of a table's feature.
    pub fn size<'a>(
        &mut self,
        batch: &BatchShape<'_>,
        rows: &dyn Fn(u32, u32) -> &'a [u32],
        StepNumbers { seed, step, epoch }: StepNumbers,
    ) -> Result<(), ExecError> {
        let axes = self.prepared.axes.count();
        self.layout.set(batch.samples, batch.requests, batch.sequences);
        self.layout.begin_at(batch.first_row);
        self.layout.cut(batch.leaves);
        self.layout.join(rows);
        for d in 0..axes {
            self.counts[d] = self.layout.count(AxisId(d as u32));
            self.scalars[d] = self.counts[d] as f32;
        }
        self.scalars[axes] = step as f32;
        self.scalars[axes + 1] = epoch as f32;
        for tiling in &mut self.tilings {
            tiling.cut(&self.layout);
        }
        self.grow()?;
        for d in 2..axes {
            self.layout.lengths(AxisId(d as u32), &mut self.lengths[d]);
        }
        for axis in self.prepared.positions() {
            self.layout.positions(axis, &mut self.positions[axis.index()]);
        }
        for axis in self.prepared.sample_numbers() {
            let numbers = &mut self.sample_numbers[axis.index()];
            numbers.resize(self.counts[axis.index()], 0);
            self.layout.sample_numbers_from(axis, 0, numbers);
        }
        for (buffer, key) in self.prepared.buffers.iter().zip(&mut self.dropout_keys) {
            if let Storage::DropoutKey(site) = buffer.place {
                *key = dropout::key(seed, site, step);
            }
        }
        for (&(of, to), ancestors) in self.prepared.ancestors.iter().zip(&mut self.ancestors) {
            self.layout.ancestors(of, to, ancestors);
        }
        Ok(())
    }

    /// Where the batch is a part of the global one: the elements that each axis has in that.
    pub fn set_global_counts(&mut self, counts: &[u32]) {
        for (scalar, &count) in self.scalars.iter_mut().zip(counts) {
            *scalar = count as f32;
        }
        // There is one global element, on however many ranks.
        self.scalars[GLOBAL.index()] = 1.0;
    }

    /// Makes room for the batch. After an error there is room for nothing, so that the next batch
    /// grows everything.
    fn grow(&mut self) -> Result<(), ExecError> {
        let grown = self.grow_arena().and_then(|()| self.grow_tiles());
        if grown.is_err() {
            self.capacity.fill(0);
            self.tile_capacity.fill(0);
        }
        grown
    }

    fn grow_arena(&mut self) -> Result<(), ExecError> {
        let prepared = &self.prepared;
        // One copy at least, for totals that other ranks have.
        let copies = self.tilings.iter().map(BatchTiling::chunks).fold(1, usize::max);
        self.partials.reserve(area(lines(prepared.partial_floats), copies)?)?;
        let mut grown = self.arena.pointer().is_null();
        for d in 0..prepared.axes.count() {
            if self.counts[d] > self.capacity[d] {
                self.capacity[d] = if d == 0 { 1 } else { self.counts[d] + self.counts[d] / 4 };
                grown = true;
            }
        }
        if !grown {
            return Ok(());
        }
        let mut at = 0usize;
        for (slot, offset) in prepared.slots.iter().zip(&mut self.slots) {
            *offset = at;
            let floats = area(slot.width as usize, self.capacity[slot.axis.index()])?;
            at = at.checked_add(floats).ok_or(ExecError::Overflow)?;
        }
        self.arena.reserve(at)?;
        for (&(of, _), ancestors) in prepared.ancestors.iter().zip(&mut self.ancestors) {
            ancestors.reserve(self.capacity[of.index()].saturating_sub(ancestors.len()));
        }
        for axis in prepared.positions() {
            let positions = &mut self.positions[axis.index()];
            positions.reserve(self.capacity[axis.index()].saturating_sub(positions.len()));
        }
        for axis in prepared.sample_numbers() {
            let numbers = &mut self.sample_numbers[axis.index()];
            numbers.reserve(self.capacity[axis.index()].saturating_sub(numbers.len()));
        }
        for d in 2..prepared.axes.count() {
            let axis = AxisId(d as u32);
            if prepared.axes.has_entries(axis) {
                let owners = prepared.axes.parent(axis).expect("entries have owners");
                let owners = self.capacity[owners.index()];
                let lengths = &mut self.lengths[d];
                lengths.reserve(owners.saturating_sub(lengths.len()));
            }
        }
        Ok(())
    }

    fn grow_tiles(&mut self) -> Result<(), ExecError> {
        let prepared = &self.prepared;
        let mut grown = false;
        for (tiling, tiled) in self.tilings.iter().zip(&prepared.tiled) {
            for d in (0..prepared.axes.count()).filter(|&d| tiled[d]) {
                let largest = tiling.largest(AxisId(d as u32), &self.layout);
                if largest > self.tile_capacity[d] {
                    self.tile_capacity[d] = if d == 0 { 1 } else { largest + largest / 4 };
                    grown = true;
                }
            }
        }
        if !grown {
            return Ok(());
        }
        let mut at = 0usize;
        for (slot, offset) in prepared.tile_slots.iter().zip(&mut self.tile_slots) {
            *offset = at;
            let floats = area(slot.width as usize, self.tile_capacity[slot.axis.index()])?;
            at = at.checked_add(floats).ok_or(ExecError::Overflow)?;
        }
        self.tile_floats = at;
        Ok(())
    }

    /// Resolves every address: `place` and `source` give those that are not its own.
    pub fn bind(&mut self, place: &dyn Fn(Storage) -> *mut f32, source: &dyn Fn(KernelArg) -> *mut u8) {
        let axes = self.prepared.axes.count();
        let keys = &self.dropout_keys;
        let buffers = self.prepared.buffers.iter().zip(&mut self.addresses).zip(&self.prepared.used).zip(keys);
        for (((buffer, address), used), key) in buffers {
            *address = match buffer.place {
                _ if !used => std::ptr::null_mut(),
                Storage::Arena(slot) => self.arena.pointer().wrapping_add(self.slots[slot.index()]),
                Storage::Tile(_) | Storage::Partial => std::ptr::null_mut(),
                Storage::Length(d) => self.lengths[d.index()].as_ptr().cast_mut(),
                Storage::Position(d) => self.positions[d.index()].as_ptr().cast_mut(),
                Storage::SampleNumber(d) => self.sample_numbers[d.index()].as_ptr().cast_mut().cast(),
                Storage::Components(_) => self.components.as_ptr().cast_mut(),
                Storage::DropoutKey(_) => key.as_ptr().cast_mut().cast(),
                Storage::Count(d) => self.scalars.as_mut_ptr().wrapping_add(d.index()),
                Storage::Step => self.scalars.as_mut_ptr().wrapping_add(axes),
                Storage::Epoch => self.scalars.as_mut_ptr().wrapping_add(axes + 1),
                other => place(other),
            };
        }
        for (phase, arguments) in self.prepared.phases.iter().zip(&mut self.arguments) {
            for (arg, argument) in phase.args.iter().zip(arguments) {
                *argument = match *arg {
                    ArgSource::Buffer(b) => self.addresses[b as usize].cast(),
                    ArgSource::Argument(KernelArg::Ancestor { of, to }) => {
                        let at = self.prepared.ancestors.iter().position(|p| *p == (of, to));
                        let at = at.expect("preparing lists all pairs of axes that arguments name");
                        self.ancestors[at].as_ptr().cast_mut().cast()
                    }
                    ArgSource::Argument(KernelArg::UniqueRows { axis, key }) => {
                        self.layout.unique(axis).rows[key as usize].as_ptr().cast_mut().cast()
                    }
                    ArgSource::Argument(KernelArg::Function(f)) => f.address(),
                    ArgSource::Argument(s) => source(s),
                    ArgSource::Tile { .. } | ArgSource::Partial { .. } | ArgSource::Gradient { .. } => {
                        std::ptr::null_mut()
                    }
                };
            }
        }
    }

    /// A phase, where it runs.
    pub fn running(&self, phase: usize) -> Option<&PreparedPhase> {
        self.prepared.phases.get(phase).filter(|_| self.active)
    }

    /// Chunks of a phase; 0 where it does not run.
    pub fn chunks(&self, phase: usize) -> usize {
        self.running(phase).map_or(0, |p| self.tilings[p.tiling].chunks())
    }

    pub fn is_global(&self, phase: usize) -> bool {
        self.prepared.phases.get(phase).is_none_or(|p| p.axis == GLOBAL)
    }

    /// A result of the last run.
    pub fn result(&self, id: BufferId) -> &[f32] {
        let buffer = &self.prepared.buffers[id.index()];
        let (address, length) = (self.addresses[id.index()], self.counts[buffer.axis.index()] * buffer.width as usize);
        if address.is_null() || !self.ran {
            return &[];
        }
        // SAFETY: roots were checked to be arena buffers of this axis and width; the arena holds
        // `counts` elements of the last batch, and nothing writes to it while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(address, length) }
    }
}
