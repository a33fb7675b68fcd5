//! Where the time of training steps goes: what the driver has timed, with the work that the
//! schedules say.

use super::super::driver::{DeviceError, Driver};
use super::super::memory::BlockBases;
use super::super::profile::{DeviceProfile, ScheduleRun};
use super::super::table_updates::TableUpdates;
use super::{CudaExecutor, TRAIN, UPDATES};
use crate::exec::common::{CallSpan, ProfileRow};
use din_program::schedule::{AxisTree, GLOBAL, ScheduleRoot};

impl<D: Driver> CudaExecutor<D> {
    /// Starts (from zero) or stops measuring where the time of training steps goes.
    pub fn set_profile(&mut self, on: bool) -> Result<(), DeviceError> {
        self.driver.set_timing(on)?;
        self.profile = on.then(DeviceProfile::default);
        Ok(())
    }

    /// What was measured since [`CudaExecutor::set_profile`]: one row per kernel, slowest first.
    pub fn profile(&self) -> Vec<ProfileRow> {
        self.profile.as_ref().map_or_else(Vec::new, DeviceProfile::rows)
    }

    /// The first launches since [`CudaExecutor::set_profile`], one by one.
    pub fn spans(&self) -> Vec<CallSpan> {
        self.profile.as_ref().map_or_else(Vec::new, DeviceProfile::spans)
    }

    /// Adds a training step to the profile, where there is one.
    pub(super) fn add_to_profile(&mut self, of_tables: &TableUpdates, bases: &BlockBases) -> Result<(), DeviceError> {
        let Some(profile) = &mut self.profile else { return Ok(()) };
        let (program, cuda) = (&*self.program, &*self.cuda);
        let (axes, of_rows) = (&self.layouts[TRAIN].axes, AxisTree::rows());
        let (launches, count) = (&cuda.schedules[TRAIN], |d| self.layouts[TRAIN].count(d));
        profile
            .worked(program, &ScheduleRun { name: "train", schedule: &program.train, launches, axes, count: &count });
        let mut distinct = Vec::with_capacity(of_tables.tables.len());
        for table in &of_tables.tables {
            distinct.push(table.distinct(&mut self.driver, bases)?);
        }
        let tables = of_tables.tables.iter().zip(&distinct);
        if let Some(first) = of_tables.tables.first() {
            let (kernels, location) = (of_tables.kernels(), &program.tables[first.table].location);
            for (table, &distinct) in tables.clone() {
                profile.summed(&kernels, location, table.occurrences, distinct, program.tables[table.table].width);
            }
        }
        for ran in of_tables.programs.iter().chain(&of_tables.squared_norms) {
            let own = tables.clone().filter(|(t, _)| ran.elements.iter().any(|(table, _)| t.table == *table));
            let (instances, rows) = own.fold((0, 0), |(n, all), (_, &distinct)| (n + 1, all + distinct));
            let update = &program.updates[ran.update];
            let name = format!("update {}", update.name);
            let (launches, schedule) = (&cuda.schedules[UPDATES + ran.update], &update.schedule);
            let count = |d| if d == GLOBAL { instances } else { rows };
            profile.worked(program, &ScheduleRun { name: &name, schedule, launches, axes: &of_rows, count: &count });
        }
        for (number, update) in program.updates.iter().enumerate().filter(|(_, u)| !u.rows) {
            let trained = |k: usize| {
                program
                    .train
                    .roots
                    .iter()
                    .any(|r| matches!(r, ScheduleRoot::ParamGradient { param, .. } if *param as usize == k))
            };
            let of = program.parameters.iter().enumerate();
            let runs = |k: usize, update: u32| {
                let all = [Some(update), program.squared_norm_of_parameter(k)];
                all.contains(&Some(number as u32)) && trained(k)
            };
            let widths = of.filter(|(k, p)| runs(*k, p.update)).map(|(_, p)| p.width());
            let (instances, elements) = widths.fold((0, 0), |(n, all), width| (n + 1, all + width));
            let name = format!("update {}", update.name);
            let (launches, schedule) = (&cuda.schedules[UPDATES + number], &update.schedule);
            let count = |d| if d == GLOBAL { instances } else { elements };
            profile.worked(program, &ScheduleRun { name: &name, schedule, launches, axes: &of_rows, count: &count });
        }
        profile.add(&self.driver.timed_launches()?);
        Ok(())
    }
}
