//! Whether a plan fits the memory of a rank, and what would.

use super::{ModelUse, Plan, RunPlanOptions};
use crate::leaves::MAX_LEAVES;
use crate::table::{Placement, Table};
use crate::{Error, Result};
use din_program::schema::seen_from;
use std::path::Path;

/// Bytes for readers: `3.6 GiB`.
pub fn shown_bytes(bytes: f64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024.0 {
        return format!("{bytes:.0} B");
    }
    let mut scaled = bytes / 1024.0;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = if scaled < 10.0 {
        2
    } else if scaled < 100.0 {
        1
    } else {
        0
    };
    format!("{scaled:.digits$} {}", units[unit])
}

impl Plan {
    /// Whether a rank can hold it.
    fn fits(&self) -> bool {
        self.too_long().is_none() && self.memory.available.is_none_or(|bytes| self.memory.needed() <= bytes)
    }

    /// A table with more rows on one rank than can be numbered.
    fn too_long(&self) -> Option<usize> {
        self.tables.iter().position(|table| table.memory.rows > Table::MOST_ROWS)
    }

    /// Refuses a plan that no rank can hold. Places in the spec are named from `spec_folder`.
    ///
    /// # Errors
    /// It says what is needed, which part of it is largest, and what would fit.
    pub fn check(&self, model: &ModelUse<'_>, options: &RunPlanOptions, spec_folder: &Path) -> Result<()> {
        if self.fits() {
            return Ok(());
        }
        let largest = |a: &usize, b: &usize| self.tables[*a].memory.total.cmp(&self.tables[*b].memory.total);
        let largest = self.too_long().or_else(|| (0..self.tables.len()).max_by(largest));
        let place = |table: usize| format!("{}: ", seen_from(spec_folder, &model.program.tables[table].location));
        let place = largest.map_or(String::new(), place);
        let message = match (self.too_long(), self.memory.available) {
            (Some(table), _) => format!(
                "table `{}` would have {} rows on a rank, of which there may be {}",
                self.tables[table].name,
                self.tables[table].memory.rows,
                Table::MOST_ROWS
            ),
            (None, available) => {
                let available = available.expect("it does not fit, so what is available is known");
                let needed = shown_bytes(self.memory.needed() as f64);
                let mut text =
                    format!("a rank of {} needs {needed} and has {}", self.ranks, shown_bytes(available as f64));
                let has_tables = self.memory.device.is_none() || self.ranks == 1;
                if let Some(table) = largest.filter(|_| has_tables).map(|t| &self.tables[t]) {
                    let bytes = shown_bytes(table.memory.total as f64);
                    text += &format!("; table `{}` takes {bytes} of it", table.name);
                }
                text
            }
        };
        let ways = ways(model, options, largest);
        Err(Error::input(format!("{place}{message}")).help(match ways.is_empty() {
            true => "give a rank more memory, or the model fewer or narrower tables".to_string(),
            false => ways.join("; or "),
        }))
    }
}

/// What would fit: each way changes one thing.
fn ways(model: &ModelUse<'_>, options: &RunPlanOptions, largest: Option<usize>) -> Vec<String> {
    let fits = |options: &RunPlanOptions| Plan::new(model, options).fits();
    let mut ways = Vec::new();
    for (table, asked) in options.placements.iter().enumerate() {
        if *asked == Some(Placement::Replicated) {
            let mut changed = options.clone();
            changed.placements[table] = Some(Placement::Sharded);
            if fits(&changed) {
                ways.push(format!("--placement {}=sharded", model.program.tables[table].name));
            }
        }
    }
    let more = (options.ranks + 1).next_power_of_two();
    let counts = std::iter::successors(Some(more), |ranks| Some(2 * ranks)).take_while(|&n| n <= MAX_LEAVES as usize);
    for ranks in counts {
        let changed = RunPlanOptions { ranks, leaves: options.leaves.max(ranks as u32), ..options.clone() };
        if fits(&changed) {
            ways.push(format!("--ranks {ranks}"));
            break;
        }
    }
    if let Some(table) = largest {
        // Half the width, until it fits.
        let mut program = model.program.clone();
        let mut width = program.tables[table].width / 2;
        while width > 0 {
            program.tables[table].width = width;
            let narrower = ModelUse { program: &program, ..model.clone() };
            if Plan::new(&narrower, options).fits() {
                ways.push(format!("width {width} instead of {} for this table", model.program.tables[table].width));
                break;
            }
            width /= 2;
        }
    }
    ways
}
