//! What training changes, on the device: parameters, their optimizer state and the states in one
//! block, and tables with one block for each of their arrays.
//!
//! The device owns a table's rows below [`DeviceTable::rows`]; the host creates new rows, and
//! [`DeviceTable::sync`] uploads them. Of a table with a [`TableCache`] the device has some rows,
//! and the host the others.

use super::budget::bytes_with_headroom;
use super::driver::{DeviceError, DevicePtr, Driver};
use super::memory::{BlockLayout, DeviceBlock, RelativePtr, bytes_of, bytes_of_mut};
use super::row_order::RowOrder;
use super::step_args::no_pointer;
use super::table_cache::{TableCache, row_bytes, tell};
use crate::exec::common::{DenseState, StepNumbers};
use crate::table::{RowField, Table};
use din_program::schedule::Storage;
use din_program::{Program, SlotScope};

/// The model on the device.
#[derive(Debug)]
pub(super) struct DeviceModel {
    pub dense: DenseValues,
    pub tables: Vec<DeviceTable>,
    /// Bytes for tables, once it is known that there is a limit.
    pub budget: Option<usize>,
    /// Steps done.
    pub step: u64,
    /// Of the run.
    pub seed: u64,
    /// Number of the epoch of the step at hand, from 1.
    pub epoch: u32,
    /// Whether the device has the model: not before the first upload, nor after a step that failed
    /// half way.
    pub uploaded: bool,
    /// Whether a step has changed it since it was uploaded, or downloaded.
    pub trained: bool,
    /// Whether rows of tables are on their way back to the host.
    pub rows_moving: bool,
}

impl DeviceModel {
    /// Of a checked program.
    pub fn new(program: &Program, budget: Option<usize>) -> DeviceModel {
        let table = |number: usize| DeviceTable {
            order: program.is_summed_over_rows(number).then(RowOrder::default),
            ..DeviceTable::default()
        };
        DeviceModel {
            dense: DenseValues::new(program),
            tables: (0..program.tables.len()).map(table).collect(),
            budget,
            step: 0,
            seed: 0,
            epoch: 1,
            uploaded: false,
            trained: false,
            rows_moving: false,
        }
    }

    /// The numbers of the step that comes next.
    pub fn next_step(&self) -> StepNumbers {
        StepNumbers { seed: self.seed, step: self.step + 1, epoch: self.epoch }
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        self.dense.free(driver);
        self.tables.iter_mut().for_each(|table| table.free(driver));
    }
}

/// Dense values.
#[derive(Debug, Default)]
pub(super) struct DenseValues {
    block: DeviceBlock,
    space: BlockLayout,
    /// By parameter.
    params: Vec<usize>,
    /// By parameter, by optimizer slot.
    slots: Vec<Vec<usize>>,
    states: Vec<usize>,
    /// The sums of the squares of gradients, and how many there are.
    squared_norms: (usize, usize),
}

impl DenseValues {
    /// Those of a program.
    fn new(program: &Program) -> DenseValues {
        DenseValues { squared_norms: (0, program.squared_norms.len()), ..DenseValues::default() }
    }

    /// Writes all of them, for a state of the program's shapes.
    pub fn upload<D: Driver>(&mut self, driver: &mut D, state: &DenseState) -> Result<(), DeviceError> {
        let space = &mut self.space;
        space.clear();
        let mut place = |values: &[f32]| space.array(values.len(), "parameters");
        self.params = state.params.iter().map(|p| place(p)).collect::<Result<_, _>>()?;
        self.slots = state
            .param_slots
            .iter()
            .map(|slots| slots.iter().map(|s| place(s)).collect::<Result<_, _>>())
            .collect::<Result<_, _>>()?;
        self.states = state.states.iter().map(|s| place(s)).collect::<Result<_, _>>()?;
        if self.squared_norms.1 > 0 {
            self.squared_norms.0 = space.array(self.squared_norms.1, "squared norms")?;
        }
        self.block.reserve(driver, self.space.bytes, "parameters")?;
        let mut bytes = vec![0u8; self.space.bytes];
        let mut put = |at: &usize, values: &[f32]| {
            let values = bytes_of(values);
            bytes[*at..*at + values.len()].copy_from_slice(values);
        };
        self.params.iter().zip(&state.params).for_each(|(at, p)| put(at, p));
        let slots = self.slots.iter().flatten().zip(state.param_slots.iter().flatten());
        slots.for_each(|(at, s)| put(at, s));
        self.states.iter().zip(&state.states).for_each(|(at, s)| put(at, s));
        driver.write(self.block.at, &bytes)?;
        self.space.declare(driver, self.block.at, true);
        Ok(())
    }

    /// RowNumberUses all of them into a state of the same shapes.
    pub fn download<D: Driver>(&self, driver: &mut D, state: &mut DenseState) -> Result<(), DeviceError> {
        let base = self.block.at;
        let mut get = |at: &usize, values: &mut [f32]| driver.read(base + *at as u64, bytes_of_mut(values));
        for (at, values) in self.params.iter().zip(&mut state.params) {
            get(at, values)?;
        }
        for (at, values) in self.slots.iter().flatten().zip(state.param_slots.iter_mut().flatten()) {
            get(at, values)?;
        }
        for (at, values) in self.states.iter().zip(&mut state.states) {
            get(at, values)?;
        }
        Ok(())
    }

    pub fn param(&self, k: usize) -> RelativePtr {
        RelativePtr::Fixed(self.block.at + self.params[k] as u64)
    }

    pub fn slot(&self, k: usize, slot: usize) -> RelativePtr {
        RelativePtr::Fixed(self.block.at + self.slots[k][slot] as u64)
    }

    /// What the update of parameter `k` reads and writes.
    pub fn update_ptr(&self, place: Storage, k: usize, gradient: RelativePtr) -> Result<RelativePtr, DeviceError> {
        match place {
            Storage::Weight => Ok(self.param(k)),
            Storage::Gradient => Ok(gradient),
            Storage::UpdateSlot(slot) => Ok(self.slot(k, slot as usize)),
            Storage::SquaredNorms => Ok(RelativePtr::Fixed(self.squared_norm(0))),
            Storage::Arena(_)
            | Storage::Tile(_)
            | Storage::Partial
            | Storage::Param(_)
            | Storage::State(_)
            | Storage::Dense(_)
            | Storage::Label(_)
            | Storage::Present(_)
            | Storage::Length(_)
            | Storage::Position(_)
            | Storage::SampleNumber(_)
            | Storage::Components(_)
            | Storage::DropoutKey(_)
            | Storage::Count(_)
            | Storage::Step
            | Storage::Epoch
            | Storage::InBatch
            | Storage::Frequency
            | Storage::UpdateCount => Err(no_pointer(place)),
        }
    }

    /// Of a table, or of the parameter behind all tables.
    pub fn squared_norm(&self, k: usize) -> DevicePtr {
        self.block.at + (self.squared_norms.0 + k * size_of::<f32>()) as u64
    }

    pub fn state(&self, k: usize) -> DevicePtr {
        self.block.at + self.states[k] as u64
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        self.block.free(driver);
    }
}

/// A table's arrays.
#[derive(Debug, Default)]
pub(super) struct DeviceTable {
    /// Rows of the table that are the device's, or its cache's.
    pub rows: usize,
    pub weights: DeviceBlock,
    pub slots: Vec<DeviceBlock>,
    pub frequency: DeviceBlock,
    pub updates: DeviceBlock,
    /// Where the device does not have all rows.
    pub cache: Option<TableCache>,
    /// Where its update sums over rows.
    pub order: Option<RowOrder>,
}

/// ArraySource of rows `from..to` of a slab.
fn rows_of(values: &[f32], width: usize, from: usize, to: usize) -> &[f32] {
    &values[from * width..to * width]
}

/// What an array is for, in messages.
fn what(field: RowField) -> &'static str {
    match field {
        RowField::Weights => "table rows",
        RowField::Frequency => "frequencies of table rows",
        RowField::Updates => "update frequency of table rows",
        RowField::Slot(_) => "optimizer state of table rows",
    }
}

impl DeviceTable {
    fn block(&mut self, field: RowField) -> &mut DeviceBlock {
        match field {
            RowField::Weights => &mut self.weights,
            RowField::Frequency => &mut self.frequency,
            RowField::Updates => &mut self.updates,
            RowField::Slot(k) => &mut self.slots[k],
        }
    }

    /// That the host's table has the device's rows.
    pub fn fits(&self, table: &Table) -> Result<(), DeviceError> {
        let (name, has, rows) = (table.name(), table.rows(), self.rows);
        if has >= rows {
            return Ok(());
        }
        Err(DeviceError::Input(format!("table `{name}` has {has} rows, the GPU has {rows} of it; upload it first")))
    }

    /// Where its arrays are.
    pub fn arrays(&self) -> impl Fn(RowField) -> RelativePtr + use<> {
        let (weights, frequency, updates) = (self.weights.at, self.frequency.at, self.updates.at);
        let slots: Vec<DevicePtr> = self.slots.iter().map(|b| b.at).collect();
        move |field| {
            RelativePtr::Fixed(match field {
                RowField::Weights => weights,
                RowField::Frequency => frequency,
                RowField::Updates => updates,
                RowField::Slot(k) => slots[k],
            })
        }
    }

    /// Makes the device's values the host's: all rows, or an empty cache for `room` of them.
    pub fn upload<D: Driver>(&mut self, driver: &mut D, table: &Table, room: Option<usize>) -> Result<(), DeviceError> {
        if self.room() != room {
            self.free(driver);
        }
        self.rows = 0;
        if let Some(mut cache) = self.cache.take() {
            cache.free(driver);
        }
        self.slots.resize_with(table.slot_count(), DeviceBlock::default);
        for k in (0..table.slot_count()).filter(|&k| table.slot_scope(k) == SlotScope::Tensor) {
            let (block, values) = (&mut self.slots[k], table.slot(k));
            block.reserve(driver, size_of_val(values), "optimizer state")?;
            driver.write(block.at, bytes_of(values))?;
            tell(driver, block, size_of_val(values), "optimizer state", true);
        }
        if let Some(room) = room {
            for (field, width) in table.row_fields() {
                let bytes = room.saturating_mul(width * 4);
                let block = self.block(field);
                block.exactly(driver, bytes, what(field))?;
                tell(driver, block, bytes, what(field), false);
            }
            self.cache = Some(TableCache::new(table, room));
        }
        self.sync(driver, table)
    }

    /// Rows that there is room for, where it is not all.
    pub fn room(&self) -> Option<usize> {
        self.cache.as_ref().map(TableCache::capacity)
    }

    /// Bytes of its memory.
    pub fn bytes(&self) -> usize {
        let blocks = [&self.weights, &self.frequency, &self.updates].into_iter().chain(&self.slots);
        blocks.map(DeviceBlock::capacity).sum()
    }

    /// Bytes that the table's new rows make it allocate in addition.
    pub fn grows_by(&self, table: &Table) -> usize {
        let fits = table.rows().saturating_mul(table.width() * 4) <= self.weights.capacity();
        if fits || self.cache.is_some() { 0 } else { bytes_with_headroom(row_bytes(table), table.rows()) }
    }

    /// Brings over the rows that the host has made since the last time; all of them the first time.
    /// A cache gets them when they are read.
    pub fn sync<D: Driver>(&mut self, driver: &mut D, table: &Table) -> Result<(), DeviceError> {
        self.fits(table)?;
        let (from, to) = (self.rows, table.rows());
        if from < to && self.cache.is_none() {
            for (field, width) in table.row_fields() {
                let (block, what) = (self.block(field), what(field));
                let bytes = to.checked_mul(width * 4).ok_or(DeviceError::Memory { bytes: usize::MAX, what })?;
                block.reserve_keeping(driver, bytes, from * width * 4, what)?;
                let values = bytes_of(rows_of(table.field(field), width, from, to));
                driver.write(block.at + (from * width * 4) as u64, values)?;
                tell(driver, block, bytes, what, true);
            }
        }
        self.rows = to;
        Ok(())
    }

    /// RowNumberUses the device's rows into the host's table, which has as many at least.
    pub fn download<D: Driver>(&self, driver: &mut D, table: &mut Table) -> Result<(), DeviceError> {
        self.fits(table)?;
        for (k, block) in self.slots.iter().enumerate() {
            if table.slot_scope(k) == SlotScope::Tensor {
                driver.read(block.at, bytes_of_mut(table.slot_mut(k)))?;
            }
        }
        let array = self.arrays();
        if let Some(cache) = &self.cache {
            return cache.download(driver, table, array);
        }
        for (field, width) in table.row_fields() {
            if let (RelativePtr::Fixed(at), Some(values)) =
                (array(field), table.field_mut(field).get_mut(..self.rows * width))
            {
                driver.read(at, bytes_of_mut(values))?;
            }
        }
        Ok(())
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        self.rows = 0;
        for block in [&mut self.weights, &mut self.frequency, &mut self.updates].into_iter().chain(&mut self.slots) {
            block.free(driver);
        }
        if let Some(cache) = &mut self.cache {
            cache.free(driver);
        }
        self.cache = None;
    }
}
