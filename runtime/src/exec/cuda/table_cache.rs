//! The resident rows of a table that does not fit into the device's memory. The host has all rows;
//! those that a batch reads are on the device when its step begins.
//!
//! The host knows which rows a batch reads. Rows that are not resident are packed and uploaded with
//! the batch. If there is no free place for a row, it replaces the least recently read one: a
//! kernel packs the evicted row before the new one is written, and the host takes it back after the
//! step. What a row reads as, and the order in which gradients are summed, do not depend on where
//! the row is: a step has the bits that it has on a device with all rows.
//!
//! Guarantees: a row is on the device or current on the host; places depend on the batches alone; a
//! batch that cannot be placed, and a step that does not run ([`TableCache::undo`]), leave all rows
//! where they are.

use super::command_list::{CommandList, ScheduleKernels};
use super::driver::{DeviceArray, DeviceError, Driver, KernelLaunch};
use super::memory::{BlockLayout, DeviceBlock, RelativePtr, bytes_of, bytes_of_mut};
use super::step_args::UploadPlan;
use crate::table::{RowField, Table};
use din_program::cuda::{MovePointer, MoveScalar};

/// Of a row that is not on the device, and of one that will be when the batch is placed.
const ABSENT: u32 = u32::MAX;
const PENDING: u32 = u32::MAX - 1;

/// Most places: other numbers mean something.
pub(super) const MOST: usize = u32::MAX as usize - 2;

/// Bytes of a row on the device.
pub(super) fn row_bytes(table: &Table) -> usize {
    table.row_fields().iter().map(|(_, width)| width * 4).sum()
}

/// See the module.
#[derive(Debug)]
pub(super) struct TableCache {
    capacity: usize,
    fields: Vec<(RowField, usize)>,
    /// By row of the table, its place.
    places: Vec<u32>,
    /// By place, its row; places from `filled` on are free.
    rows: Vec<u32>,
    filled: usize,
    /// By place, and for all of them at `capacity`: the next older and the next newer place in the
    /// order of the last reading.
    older: Vec<u32>,
    newer: Vec<u32>,
    /// By place, the batch that read it last; and the number of this one.
    read: Vec<u64>,
    batch: u64,
    /// Rows that come with this batch. The first ones have the places of `going`.
    coming: Vec<u32>,
    going: Vec<u32>,
    /// Packed rows.
    packed: Vec<u32>,
    from_host: DeviceBlock,
    to_host: DeviceBlock,
    /// Rows that have come and gone so far.
    pub moved: (u64, u64),
}

impl TableCache {
    /// An empty one with `capacity` places, [`MOST`] at most.
    pub fn new(table: &Table, capacity: usize) -> TableCache {
        TableCache {
            capacity,
            fields: table.row_fields(),
            places: Vec::new(),
            rows: vec![ABSENT; capacity],
            filled: 0,
            older: vec![capacity as u32; capacity + 1],
            newer: vec![capacity as u32; capacity + 1],
            read: vec![0; capacity],
            batch: 0,
            coming: Vec::new(),
            going: Vec::new(),
            packed: Vec::new(),
            from_host: DeviceBlock::default(),
            to_host: DeviceBlock::default(),
            moved: (0, 0),
        }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Words of a packed row.
    fn stride(&self) -> usize {
        1 + self.fields.iter().map(|(_, width)| width).sum::<usize>()
    }

    fn unlink(&mut self, place: u32) {
        let (older, newer) = (self.older[place as usize], self.newer[place as usize]);
        self.newer[older as usize] = newer;
        self.older[newer as usize] = older;
    }

    /// A place that is not linked becomes the newest.
    fn link(&mut self, place: u32) {
        let all = self.capacity;
        let newest = self.older[all];
        self.older[place as usize] = newest;
        self.newer[place as usize] = all as u32;
        self.newer[newest as usize] = place;
        self.older[all] = place;
    }

    /// Gives every row of a batch a place, by features; rows are below the table's number of them.
    pub fn place(&mut self, table: &Table, batch: &[Vec<u32>]) -> Result<(), DeviceError> {
        self.batch += 1;
        self.coming.clear();
        self.going.clear();
        self.places.resize(table.rows(), ABSENT);
        let mut there = 0;
        for &row in batch.iter().flatten() {
            match self.places[row as usize] {
                PENDING => {}
                ABSENT => {
                    self.places[row as usize] = PENDING;
                    self.coming.push(row);
                }
                place if self.read[place as usize] == self.batch => {}
                place => {
                    self.read[place as usize] = self.batch;
                    self.unlink(place);
                    self.link(place);
                    there += 1;
                }
            }
        }
        let rows = there + self.coming.len();
        if rows > self.capacity {
            self.coming.drain(..).for_each(|row| self.places[row as usize] = ABSENT);
            let bytes = row_bytes(table);
            return Err(DeviceError::TableCache {
                table: table.name().into(),
                rows,
                room: self.capacity,
                bytes: rows.saturating_mul(bytes),
            });
        }
        let going = self.coming.len().saturating_sub(self.capacity - self.filled);
        for k in 0..self.coming.len() {
            let place = if k < going {
                // Not of this batch: its places are newer, and there are fewer of them than places.
                let place = self.newer[self.capacity];
                self.unlink(place);
                let old = self.rows[place as usize];
                self.places[old as usize] = ABSENT;
                self.going.push(old);
                place
            } else {
                self.filled += 1;
                self.filled as u32 - 1
            };
            self.link(place);
            self.settle(place, self.coming[k]);
        }
        Ok(())
    }

    fn settle(&mut self, place: u32, row: u32) {
        self.rows[place as usize] = row;
        self.places[row as usize] = place;
        self.read[place as usize] = self.batch;
    }

    /// The batch was placed but will not run: rows are where they were.
    pub fn undo(&mut self) {
        for k in (0..self.coming.len()).rev() {
            let place = self.places[self.coming[k] as usize];
            self.places[self.coming[k] as usize] = ABSENT;
            match self.going.get(k) {
                Some(&old) => {
                    self.settle(place, old);
                    self.read[place as usize] = 0;
                }
                None => {
                    self.unlink(place);
                    self.rows[place as usize] = ABSENT;
                    self.filled -= 1;
                }
            }
        }
        self.coming.clear();
        self.going.clear();
    }

    /// Where the rows of a feature are, which [`TableCache::place`] has placed.
    pub fn places_of<'a>(&'a self, rows: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
        rows.iter().map(|&row| self.places[row as usize])
    }

    /// Writes the rows that come and stages what moves them; `array` gives the device's arrays.
    pub fn stage<D: Driver>(
        &mut self,
        driver: &mut D,
        plan: &mut UploadPlan,
        table: &Table,
        array: impl Fn(RowField) -> RelativePtr,
    ) -> Result<RowMoves, DeviceError> {
        let stride = self.stride();
        let mut spaces = [BlockLayout::default(), BlockLayout::default()];
        spaces[0].exact(self.coming.len().saturating_mul(stride), "rows that come")?;
        spaces[1].exact(self.going.len().saturating_mul(stride), "rows that go")?;
        self.from_host.reserve(driver, spaces[0].bytes, "rows that come")?;
        self.to_host.reserve(driver, spaces[1].bytes, "rows that go")?;
        self.packed.clear();
        for &row in &self.coming {
            self.packed.push(self.places[row as usize]);
            for &(field, width) in &self.fields {
                let values = &table.field(field)[row as usize * width..(row as usize + 1) * width];
                self.packed.extend(values.iter().map(|x| x.to_bits()));
            }
        }
        if !self.packed.is_empty() {
            driver.write(self.from_host.at, bytes_of(&self.packed))?;
        }
        spaces[0].declare(driver, self.from_host.at, true);
        spaces[1].declare(driver, self.to_host.at, false);
        let mut pointers = vec![RelativePtr::Fixed(self.from_host.at), RelativePtr::Fixed(self.to_host.at)];
        debug_assert_eq!(pointers.len(), MovePointer::Arrays as usize);
        pointers.extend(self.fields.iter().map(|&(field, _)| array(field)));
        let mut scalars = vec![0; MoveScalar::Arrays as usize];
        scalars[MoveScalar::Out as usize] = self.going.len() as u32;
        scalars[MoveScalar::In as usize] = self.coming.len() as u32;
        scalars[MoveScalar::Stride as usize] = stride as u32;
        scalars.push(self.fields.len() as u32);
        scalars.extend(self.fields.iter().map(|&(_, width)| width as u32));
        let scalars = plan.put(&scalars, "scalars of rows that move")?;
        Ok(RowMoves { pointers: plan.pointers(&pointers)?, scalars })
    }

    /// The rows that have gone with the step that ran are the same on the host.
    pub fn forget_moved(&mut self) {
        self.moved.0 += self.coming.len() as u64;
        self.moved.1 += self.going.len() as u64;
        self.coming.clear();
        self.going.clear();
    }

    /// Takes back the rows that have gone with the step that ran.
    pub fn take_back<D: Driver>(&mut self, driver: &mut D, table: &mut Table) -> Result<(), DeviceError> {
        let stride = self.stride();
        if !self.going.is_empty() {
            self.packed.resize(self.going.len() * stride, 0);
            driver.read(self.to_host.at, bytes_of_mut(&mut self.packed))?;
        }
        for (&row, packed) in self.going.iter().zip(self.packed.chunks(stride)) {
            let mut numbers = packed.iter().skip(1);
            for &(field, width) in &self.fields {
                let to = &mut table.field_mut(field)[row as usize * width..(row as usize + 1) * width];
                for (to, from) in to.iter_mut().zip(numbers.by_ref()) {
                    *to = f32::from_bits(*from);
                }
            }
        }
        self.forget_moved();
        Ok(())
    }

    /// RowNumberUses the rows that are on the device into the host's table; they stay on the
    /// device.
    pub fn download<D: Driver>(
        &self,
        driver: &mut D,
        table: &mut Table,
        array: impl Fn(RowField) -> RelativePtr,
    ) -> Result<(), DeviceError> {
        let mut numbers = Vec::new();
        for &(field, width) in &self.fields {
            let RelativePtr::Fixed(at) = array(field) else { continue };
            numbers.resize(self.filled * width, 0.0f32);
            driver.read(at, bytes_of_mut(&mut numbers))?;
            let to = table.field_mut(field);
            for (&row, from) in self.rows.iter().zip(numbers.chunks(width.max(1))) {
                if let Some(to) = to.get_mut(row as usize * width..(row as usize + 1) * width) {
                    to.copy_from_slice(from);
                }
            }
        }
        Ok(())
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        self.from_host.free(driver);
        self.to_host.free(driver);
    }
}

/// What moves a table's rows before a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowMoves {
    pointers: RelativePtr,
    scalars: RelativePtr,
}

impl RowMoves {
    /// Always the same two launches: what they move is in their scalars.
    pub fn list<'a>(&self, list: &mut CommandList<'a>, kernels: &ScheduleKernels<'a>) {
        for kernel in ["din_rows_out", "din_rows_in"] {
            list.launch(KernelLaunch {
                kernel,
                location: kernels.location,
                grid: (kernels.cuda.chunks, 1),
                threads: kernels.cuda.threads,
                shared: 0,
                pointers: list.bases().resolve(self.pointers),
                scalars: list.bases().resolve(self.scalars),
                scratch: 0,
                side_stream: false,
            });
        }
    }
}

/// Tells the driver that a block is one array.
pub(super) fn tell<D: Driver>(driver: &mut D, block: &DeviceBlock, bytes: usize, what: &'static str, written: bool) {
    if D::CHECKS && bytes > 0 {
        driver.declare_arrays(block.at, bytes, &[DeviceArray { at: block.at, bytes, what, written }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use din_program::schema::{self, Init, TableKind, UpdateRule};

    fn table(rows: u64) -> Table {
        let spec = schema::TableSpec {
            name: "t".into(),
            kind: TableKind::Fixed { size: rows },
            width: 2,
            init: Init::Constant(0.0),
            update: 0,
            features: vec![],
            reads_frequency: false,
            update_rule: UpdateRule::Sparse,
            frozen: false,
            vectors: None,
            admission: None,
            location: String::new(),
        };
        Table::new(&spec, &[], 1).unwrap()
    }

    /// The batch is read, and what has moved is there.
    fn read(cache: &mut TableCache, table: &Table, batch: &[u32]) -> (Vec<u32>, Vec<u32>) {
        cache.place(table, &[batch.to_vec()]).unwrap();
        let places: Vec<u32> = cache.places_of(batch).collect();
        for (&row, &place) in batch.iter().zip(&places) {
            assert_eq!(cache.rows[place as usize], row);
        }
        (std::mem::take(&mut cache.coming), std::mem::take(&mut cache.going))
    }

    #[test]
    fn the_row_that_was_read_longest_ago_makes_way() {
        let table = table(100);
        let mut cache = TableCache::new(&table, 4);
        assert_eq!(read(&mut cache, &table, &[7, 9, 7, 3]), (vec![7, 9, 3], vec![]));
        assert_eq!(read(&mut cache, &table, &[9, 50]), (vec![50], vec![]));
        assert_eq!(read(&mut cache, &table, &[7]), (vec![], vec![]));
        // By their last reading: 3, 9, 50, 7.
        assert_eq!(read(&mut cache, &table, &[60]), (vec![60], vec![3]));
        assert_eq!(read(&mut cache, &table, &[9, 61, 62]), (vec![61, 62], vec![50, 7]));
        assert_eq!(read(&mut cache, &table, &[3, 50, 7, 99]), (vec![3, 50, 7, 99], vec![60, 9, 61, 62]));
    }

    #[test]
    fn what_does_not_fit_or_does_not_run_moves_nothing() {
        let table = table(100);
        let (mut cache, mut other) = (TableCache::new(&table, 4), TableCache::new(&table, 4));
        for cache in [&mut cache, &mut other] {
            read(cache, &table, &[1, 2, 3]);
        }
        let error = cache.place(&table, &[vec![1, 5, 6], vec![7, 8]]).unwrap_err();
        assert_eq!(error, DeviceError::TableCache { table: "t".into(), rows: 5, room: 4, bytes: 5 * 16 });
        assert_eq!(cache.places, other.places);
        // Row 1 counts as read.
        cache.place(&table, &[vec![5, 6], vec![7]]).unwrap();
        assert_eq!((&cache.coming, &cache.going), (&vec![5, 6, 7], &vec![2, 3]));
        cache.undo();
        assert_eq!((&cache.places, &cache.rows, cache.filled), (&other.places, &other.rows, other.filled));
        // It still holds as many as there are places.
        assert_eq!(read(&mut cache, &table, &[10, 11, 12, 13]).1.len(), 3);
    }
}
