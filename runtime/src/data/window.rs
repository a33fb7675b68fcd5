//! Rows that are permuted together, in the parts in which they were read.
//!
//! Guarantees that the order of a window's units (requests, else rows) is that of the files,
//! however it was read in parts.

use super::gather::PartRange;
use crate::batch::Batch;

#[derive(Debug, Default)]
pub(super) struct Window {
    pub parts: Vec<Batch>,
    /// By unit: its part, and which one it is there.
    places: Vec<(u32, u32)>,
    pub rows: usize,
}

impl Window {
    pub fn push(&mut self, part: Batch) {
        let number = self.parts.len() as u32;
        self.places.extend((0..part.units() as u32).map(|unit| (number, unit)));
        self.rows += part.rows;
        self.parts.push(part);
    }

    /// Puts all of another window behind this one, and empties it.
    pub fn append(&mut self, other: &mut Window) {
        let before = self.parts.len() as u32;
        self.parts.append(&mut other.parts);
        self.places.extend(other.places.drain(..).map(|(part, unit)| (before + part, unit)));
        self.rows += std::mem::take(&mut other.rows);
    }

    /// Empties the window; the parts are for the next rows.
    pub fn clear(&mut self, spare: &mut Vec<Batch>) {
        spare.append(&mut self.parts);
        self.places.clear();
        self.rows = 0;
    }

    /// Units.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Reorders the units: the one that was at `order[i]` is the `i`th.
    pub fn permute(&mut self, order: &[u32]) {
        self.places = order.iter().map(|&unit| self.places[unit as usize]).collect();
    }

    /// Samples of a unit.
    pub fn samples(&self, unit: usize) -> usize {
        let (part, unit) = self.places[unit];
        let starts = &self.parts[part as usize].requests;
        if starts.is_empty() { 1 } else { (starts[unit as usize + 1] - starts[unit as usize]) as usize }
    }

    /// Where these units lie, neighbours together.
    pub fn runs(&self, units: impl Iterator<Item = usize>) -> Vec<PartRange> {
        runs(units.map(|unit| self.places[unit]).map(|(part, unit)| (part as usize, unit as usize)))
    }
}

/// Units of parts, given as part and number there; neighbours together.
pub(super) fn runs(units: impl Iterator<Item = (usize, usize)>) -> Vec<PartRange> {
    let mut runs: Vec<PartRange> = Vec::with_capacity(units.size_hint().0);
    for (part, unit) in units {
        match runs.last_mut() {
            Some(last) if last.part == part && last.units.end == unit => last.units.end += 1,
            Some(_) | None => runs.push(PartRange { part, units: unit..unit + 1 }),
        }
    }
    runs
}
