//! What training changes, on the device: parameters, their optimizer states and the states in one block, and tables with a block for each of
//! their arrays.
//!
//! A table's rows below [`DeviceTable::rows`] are the device's; the host makes new rows, and [`DeviceTable::sync`] brings them over.

use super::driver::{Address, Array, DeviceError, Driver};
use super::memory::{At, Block, Space, bytes_of, bytes_of_mut};
use crate::engine::State;
use crate::table::Table;
use din_program::SlotScope;

/// Dense values.
#[derive(Debug, Default)]
pub(super) struct Values {
    block: Block,
    space: Space,
    /// By parameter.
    params: Vec<usize>,
    /// By parameter, by optimizer slot.
    slots: Vec<Vec<usize>>,
    states: Vec<usize>,
}

impl Values {
    /// Writes all of them, for a state of the program's shapes.
    pub fn upload<D: Driver>(&mut self, driver: &mut D, state: &State) -> Result<(), DeviceError> {
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
        self.space.tell(driver, self.block.at, true);
        Ok(())
    }

    /// Reads all of them into a state of the same shapes.
    pub fn download<D: Driver>(&self, driver: &mut D, state: &mut State) -> Result<(), DeviceError> {
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

    pub fn param(&self, k: usize) -> At {
        At::Fixed(self.block.at + self.params[k] as u64)
    }

    pub fn slot(&self, k: usize, slot: usize) -> At {
        At::Fixed(self.block.at + self.slots[k][slot] as u64)
    }

    pub fn state(&self, k: usize) -> Address {
        self.block.at + self.states[k] as u64
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        self.block.free(driver);
    }
}

/// A table's arrays.
#[derive(Debug, Default)]
pub(super) struct DeviceTable {
    /// Rows that are on the device.
    pub rows: usize,
    pub weights: Block,
    pub slots: Vec<Block>,
    pub counts: Block,
    pub touches: Block,
}

/// Numbers of rows `from..to` of a slab.
fn rows_of(values: &[f32], width: usize, from: usize, to: usize) -> &[f32] {
    values.get(from * width..to * width).unwrap_or_default()
}

impl DeviceTable {
    /// Brings over the rows that the host has made since the last time; all of them the first time.
    pub fn sync<D: Driver>(&mut self, driver: &mut D, table: &Table) -> Result<(), DeviceError> {
        let (from, to) = (self.rows, table.rows());
        if to < from {
            let why = format!("table `{}` has {to} rows, the GPU has {from} of it; upload it first", table.name());
            return Err(DeviceError::Input(why));
        }
        if from == to && from > 0 {
            return Ok(());
        }
        self.slots.resize_with(table.slot_count(), Block::default);
        let mut bring = |block: &mut Block, values: &[f32], width: usize, what: &'static str| {
            let bytes = to.checked_mul(width * 4).ok_or(DeviceError::Memory { bytes: usize::MAX, what })?;
            block.reserve_keeping(driver, bytes, from * width * 4, what)?;
            driver.write(block.at + (from * width * 4) as u64, bytes_of(rows_of(values, width, from, to)))?;
            tell(driver, block, bytes, what);
            Ok::<(), DeviceError>(())
        };
        bring(&mut self.weights, table.weights(), table.width(), "table rows")?;
        bring(&mut self.counts, table.counts(), 1, "counts of table rows")?;
        bring(&mut self.touches, table.touches(), 1, "touches of table rows")?;
        for (k, block) in self.slots.iter_mut().enumerate() {
            match table.slot_scope(k) {
                SlotScope::Tensor if from > 0 => {}
                SlotScope::Tensor => {
                    let values = table.slot(k);
                    block.reserve(driver, size_of_val(values), "optimizer state")?;
                    driver.write(block.at, bytes_of(values))?;
                    tell(driver, block, size_of_val(values), "optimizer state");
                }
                SlotScope::Weight | SlotScope::Row => {
                    let width = table.slot_width(k);
                    let bytes = to * width * 4;
                    block.reserve_keeping(driver, bytes, from * width * 4, "optimizer state of table rows")?;
                    let values = bytes_of(rows_of(table.slot(k), width, from, to));
                    driver.write(block.at + (from * width * 4) as u64, values)?;
                    tell(driver, block, bytes, "optimizer state of table rows");
                }
            }
        }
        self.rows = to;
        Ok(())
    }

    /// Reads the device's rows into the host's table, which has as many at least.
    pub fn download<D: Driver>(&self, driver: &mut D, table: &mut Table) -> Result<(), DeviceError> {
        let (rows, width) = (self.rows, table.width());
        let mut get = |block: &Block, values: &mut [f32], numbers: usize| match values.get_mut(..numbers) {
            Some(values) => driver.read(block.at, bytes_of_mut(values)),
            None => Err(DeviceError::Input(format!("expected a table of {rows} rows or more, found fewer"))),
        };
        get(&self.weights, table.weights_mut(), rows * width)?;
        get(&self.counts, table.counts_mut(), rows)?;
        get(&self.touches, table.touches_mut(), rows)?;
        for (k, block) in self.slots.iter().enumerate() {
            let numbers = match table.slot_scope(k) {
                SlotScope::Tensor => 1,
                SlotScope::Weight | SlotScope::Row => rows * table.slot_width(k),
            };
            get(block, table.slot_mut(k), numbers)?;
        }
        Ok(())
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        self.rows = 0;
        for block in [&mut self.weights, &mut self.counts, &mut self.touches].into_iter().chain(&mut self.slots) {
            block.free(driver);
        }
    }
}

/// Tells the driver that a block is one array, written.
fn tell<D: Driver>(driver: &mut D, block: &Block, bytes: usize, what: &'static str) {
    if D::CHECKS && bytes > 0 {
        driver.arrays(block.at, bytes, &[Array { at: block.at, bytes, what, written: true }]);
    }
}
