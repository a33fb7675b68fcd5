//! Rows in reading order, from unit to unit.
//!
//! Guarantees that what comes is a function of the order of the units alone: how many rows are asked for at a time decides only into how
//! many parts they come.

use super::Inner;
use super::error::DataError;
use super::files::{self, Unit, UnitReader};
use super::requests::Flat;
use super::window::Window;
use crate::batch::Batch;
use rayon::prelude::*;
use std::sync::Arc;

pub(super) struct Source {
    pub data: Arc<Inner>,
    /// Units in reading order.
    order: Vec<Unit>,
    /// Next of them to be begun.
    next_unit: usize,
    /// One that is begun.
    open: Option<Open>,
    /// Rows of the next unit to leave out.
    skip_rows: u64,
    /// Rows of a part, at least, where so many are asked for.
    chunk: usize,
    /// Rows on their way to requests, where the schema has them.
    flat: Flat,
    /// Parts of earlier windows, whose memory is used again.
    spare: Vec<Batch>,
}

struct Open {
    reader: Box<dyn UnitReader>,
    /// Rows that are still to be read.
    left: u64,
}

/// Consecutive rows that become a part.
struct Piece {
    /// The rest of a unit that was begun before.
    open: Option<Open>,
    /// Units to begin, the first without so many rows.
    units: Vec<(Unit, u64)>,
    /// Rows to read.
    rows: usize,
    part: Batch,
    warnings: Vec<DataError>,
}

impl Source {
    /// Begins `position` rows behind the first.
    pub fn new(data: Arc<Inner>, order: Vec<Unit>, mut position: u64, chunk: usize) -> Source {
        let mut next_unit = 0;
        while let Some(unit) = order.get(next_unit)
            && position >= unit.rows
        {
            position -= unit.rows;
            next_unit += 1;
        }
        let flat = Flat::new(&data.binding.schema);
        Source { data, order, next_unit, open: None, skip_rows: position, chunk, flat, spare: Vec::new() }
    }

    /// Reads rows until the window has `rows` of them (or some more, to the end of a request) or the data end.
    pub fn read(&mut self, rows: usize, window: &mut Window) -> Result<(), DataError> {
        let wanted = rows.saturating_sub(window.rows);
        if wanted == 0 {
            return Ok(());
        }
        if let Some(requests) = &self.data.binding.schema.requests {
            let key = requests.key as usize;
            let mut part = self.part();
            self.read_requests(&mut part, wanted, key)?;
            window.push(part);
            return Ok(());
        }
        let mut pieces = self.cut(wanted);
        // The first fault in the order of the rows, whatever the threads do.
        let faults: Vec<_> = pieces.par_iter_mut().map(|piece| piece.read(&self.data).err()).collect();
        if let Some(fault) = faults.into_iter().flatten().next() {
            return Err(fault);
        }
        for mut piece in pieces {
            self.data.warnings.add(&mut piece.warnings);
            window.push(piece.part);
            self.open = piece.open.filter(|open| open.left > 0);
        }
        Ok(())
    }

    /// Gives back the parts of a window.
    pub fn take_back(&mut self, window: &mut Window) {
        window.clear(&mut self.spare);
    }

    fn part(&mut self) -> Batch {
        let mut part = self.spare.pop().unwrap_or_else(|| Batch::for_schema(&self.data.binding.schema));
        part.clear();
        part
    }

    /// The next rows, as pieces that can be read side by side: no unit is in two.
    fn cut(&mut self, mut wanted: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let take = |rows: u64, wanted: &mut usize| {
            let taken = usize::try_from(rows).unwrap_or(usize::MAX).min(*wanted);
            *wanted -= taken;
            taken
        };
        while wanted > 0 {
            let mut piece =
                Piece { open: self.open.take(), units: Vec::new(), rows: 0, part: self.part(), warnings: Vec::new() };
            if let Some(open) = &piece.open {
                piece.rows = take(open.left, &mut wanted);
            }
            while wanted > 0
                && piece.rows < self.chunk
                && let Some(&unit) = self.order.get(self.next_unit)
            {
                let skip = std::mem::take(&mut self.skip_rows);
                piece.rows += take(unit.rows - skip, &mut wanted);
                piece.units.push((unit, skip));
                self.next_unit += 1;
            }
            if piece.rows == 0 {
                self.spare.push(piece.part);
                break;
            }
            pieces.push(piece);
        }
        pieces
    }

    /// Whole requests, one unit after the other: where one ends is seen only when it is read.
    fn read_requests(&mut self, into: &mut Batch, rows: usize, key: usize) -> Result<(), DataError> {
        let data = self.data.clone();
        loop {
            let unit = self.order.get(self.next_unit.saturating_sub(1)).copied();
            if let Some(unit) = unit
                && self.flat.drain(&data.binding, key, &data.files[unit.file].path, rows, into)?
            {
                return Ok(());
            }
            self.flat.first_row += self.flat.rows.rows as u64;
            self.flat.rows.clear();
            self.flat.taken = 0;
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(&unit) = self.order.get(self.next_unit) else { return Ok(()) };
                    self.next_unit += 1;
                    self.flat.first_row = unit.first_row;
                    self.flat.fresh = true;
                    self.open.insert(Open::new(&data, unit, 0)?)
                }
            };
            let read = open.read(&data, self.chunk, &mut self.flat.rows)?;
            let mut warnings = Vec::new();
            open.reader.warnings(&mut warnings);
            data.warnings.add(&mut warnings);
            if read == 0 {
                self.open = None;
            }
        }
    }
}

impl Open {
    fn new(data: &Inner, unit: Unit, skip: u64) -> Result<Open, DataError> {
        let reader = files::reader(&data.binding, &data.files[unit.file], unit, skip)?;
        Ok(Open { reader, left: unit.rows - skip })
    }

    fn read(&mut self, data: &Inner, limit: usize, into: &mut Batch) -> Result<usize, DataError> {
        let rows = self.reader.read(&data.binding, limit, into)?;
        self.left -= rows as u64;
        Ok(rows)
    }
}

impl Piece {
    fn read(&mut self, data: &Inner) -> Result<(), DataError> {
        let mut units = std::mem::take(&mut self.units).into_iter();
        while self.part.rows < self.rows {
            let open = match &mut self.open {
                Some(open) if open.left > 0 => open,
                _ => match units.next() {
                    Some((unit, skip)) => self.open.insert(Open::new(data, unit, skip)?),
                    None => break,
                },
            };
            let read = open.read(data, self.rows - self.part.rows, &mut self.part)?;
            open.reader.warnings(&mut self.warnings);
            if read == 0 {
                // A reader says itself where its unit ends too early.
                break;
            }
        }
        Ok(())
    }
}
