//! The executor's tables on the device: whole, or partially resident if its memory is too small for
//! them. Residency is assigned at an upload, and again when a table grows beyond the budget. On one
//! rank of several all rows stay on the host.

use super::super::budget;
use super::super::command_list::{CommandList, ScheduleKernels};
use super::super::device_model::DeviceTable;
use super::super::driver::{DeviceError, Driver};
use super::super::table_cache::{RowMoves, TableCache};
use super::{CudaExecutor, TRAIN};
use crate::exec::common::{self, StepInputs, TableUse};
use crate::table::Table;
use din_program::Program;
use din_program::schema::UpdateRule;

/// The tables in the host's memory, of which the device has all rows or some.
#[derive(Debug)]
pub(super) enum HostTables<'a> {
    /// The executor's to change: rows that make way go back to them.
    Own(&'a mut [Table]),
    /// Others read them too; the device's rows are the same.
    Shared(&'a [Table]),
}

impl HostTables<'_> {
    pub fn get(&self) -> &[Table] {
        match self {
            HostTables::Own(tables) => tables,
            HostTables::Shared(tables) => tables,
        }
    }
}

impl<D: Driver> CudaExecutor<D> {
    /// Rows of tables that are on the device in parts: room for them, and how many have come and
    /// gone since they were placed there last; by table.
    pub fn resident_rows(&self) -> Vec<Option<(usize, u64, u64)>> {
        let part = |held: &DeviceTable| held.cache.as_ref().map(|c| (c.capacity(), c.moved.0, c.moved.1));
        self.model.tables.iter().map(part).collect()
    }

    /// Tables with all rows or in parts, as their sizes now say.
    pub(super) fn upload_tables(&mut self, tables: &[Table]) -> Result<(), DeviceError> {
        if self.ranks.is_some() {
            return Ok(());
        }
        let rooms = budget::assign_residency(&self.program.tables, tables, self.model.budget)?;
        // What is freed may be what others need.
        for (held, room) in self.model.tables.iter_mut().zip(&rooms) {
            if held.room() != *room {
                held.free(&mut self.driver);
            }
        }
        for ((held, table), room) in self.model.tables.iter_mut().zip(tables).zip(rooms) {
            held.upload(&mut self.driver, table, room)?;
        }
        Ok(())
    }

    /// Where the budget has no room for a table to grow on the device: all rows go to the host, and
    /// as many as fit come back.
    fn reassign_residency(&mut self, tables: &mut [Table]) -> Result<(), DeviceError> {
        let Some(budget) = self.model.budget else { return Ok(()) };
        let of = self.model.tables.iter().zip(&*tables).map(|(held, table)| (held.bytes(), held.grows_by(table)));
        let (has, more) = of.fold((0usize, 0usize), |(a, b), (c, d)| (a.saturating_add(c), b.saturating_add(d)));
        if more == 0 || has.saturating_add(more) <= budget {
            return Ok(());
        }
        // Nothing is changed where it cannot be.
        budget::assign_residency(&self.program.tables, tables, self.model.budget)?;
        for (held, table) in self.model.tables.iter().zip(&mut *tables) {
            held.download(&mut self.driver, table)?;
        }
        self.model.uploaded = false;
        self.upload_tables(tables)?;
        self.model.uploaded = true;
        Ok(())
    }

    /// Checks a batch, brings new rows over, and places the batch's rows in caches.
    pub(super) fn sync(
        &mut self,
        tables: &mut HostTables<'_>,
        inputs: &StepInputs<'_>,
        which: usize,
    ) -> Result<(), DeviceError> {
        self.check_uploaded()?;
        if self.ranks.is_some() {
            common::check_fetched_rows(inputs)?;
            return Ok(common::check_batch(&self.program, tables.get(), inputs, which == TRAIN)?);
        }
        common::check_whole(inputs)?;
        // What is copied for the device is checked there, but a cache or an order needs it first.
        let later = |t: usize, f: usize| {
            let held = &self.model.tables[t];
            self.row_number_uses[which][t][f].any() && held.cache.is_none() && held.order.is_none()
        };
        common::check_batch_except(&self.program, tables.get(), inputs, which == TRAIN, &later)?;
        match tables {
            HostTables::Own(tables) => self.reassign_residency(tables)?,
            // They do not grow.
            HostTables::Shared(_) => {}
        }
        let specs = &self.program.tables;
        for (((held, table), rows), spec) in
            self.model.tables.iter_mut().zip(tables.get()).zip(inputs.row_numbers).zip(specs)
        {
            held.sync(&mut self.driver, table)?;
            if let Some(order) = held.order.as_mut().filter(|_| which == TRAIN) {
                order.set(table, rows, spec.update_rule == UpdateRule::Dense);
            }
            if let Some(cache) = &mut held.cache {
                cache.place(table, rows)?;
            }
        }
        Ok(())
    }

    /// A step that will not run: caches are as before it. The block that it was written to is that
    /// of the next one: the step that reads the other may be under way.
    pub(super) fn cancel_step(&mut self, error: DeviceError) -> DeviceError {
        // A failure here is reported by the next call.
        let _ = self.driver.wait();
        self.model.tables.iter_mut().filter_map(|t| t.cache.as_mut()).for_each(TableCache::undo);
        error
    }

    /// Rows that made way for the last step's are the host's again; waits for that step where there
    /// are such rows.
    pub(super) fn take_back(&mut self, tables: &mut HostTables<'_>) -> Result<(), DeviceError> {
        if !self.model.rows_moving || self.model.tables.iter().all(|held| held.cache.is_none()) {
            return Ok(());
        }
        self.check_uploaded()?;
        common::check_tables(&self.program, tables.get(), TableUse::Training)?;
        self.model.tables.iter().zip(tables.get()).try_for_each(|(held, table)| held.fits(table))?;
        self.model.rows_moving = false;
        self.model.uploaded = false;
        let caches = self.model.tables.iter_mut().map(|held| held.cache.as_mut());
        match tables {
            HostTables::Own(tables) => {
                for (cache, table) in caches.zip(tables.iter_mut()) {
                    if let Some(cache) = cache {
                        cache.take_back(&mut self.driver, table)?;
                    }
                }
            }
            // No step has changed what the device has of them.
            HostTables::Shared(_) => caches.flatten().for_each(TableCache::forget_moved),
        }
        self.model.uploaded = true;
        Ok(())
    }

    /// Stages what brings rows into caches, by table.
    pub(super) fn stage_moves(&mut self, tables: &[Table]) -> Result<Vec<(usize, RowMoves)>, DeviceError> {
        let mut moves = Vec::new();
        for (t, (held, table)) in self.model.tables.iter_mut().zip(tables).enumerate() {
            let arrays = held.arrays();
            if let Some(cache) = &mut held.cache {
                moves.push((t, cache.stage(&mut self.driver, &mut self.memory.plan, table, arrays)?));
            }
        }
        Ok(moves)
    }

    pub(super) fn list_moves<'a>(
        &self,
        list: &mut CommandList<'a>,
        moves: &[(usize, RowMoves)],
        program: &'a Program,
        kernels: &ScheduleKernels<'a>,
    ) {
        for (t, moved) in moves {
            moved.list(list, &ScheduleKernels { location: &program.tables[*t].location, ..*kernels });
        }
    }
}
