//! What the host writes for a step, all at once: the batch's columns, and for every schedule its pointers and scalars
//! (`din_program::cuda`).
//!
//! At first it is only said what stands where, so that all sizes are known before a number is copied: then each goes straight to where the device
//! takes it from (`contents`).

use super::driver::DeviceError;
use super::memory::{BlockLayout, NULL, Plain, RelativePtr, SizeBuckets, words_of};
use super::upload_copy::{ArraySource, PlannedArray};
use crate::exec::common::Layout;
use din_program::cuda::{Cuda, Grid, Launches, PointerArg, ScalarArg, Tiling};
use din_program::schedule::{AxisId, AxisKind, BATCH, GLOBAL, KernelArg, Schedule, Storage};

/// What is in a step's only write.
#[derive(Debug, Default)]
pub(super) struct UploadPlan {
    pub space: BlockLayout,
    /// In ascending order of where they are.
    pub(super) parts: Vec<PlannedArray>,
    /// What is in nobody else's hands: scalars, pointers, and the tiles of this step and of larger ones before it.
    pub(super) own: Vec<u32>,
    pub(super) pointers: Vec<RelativePtr>,
    pub(super) tiles: Vec<Vec<u32>>,
    tilings: usize,
}

impl UploadPlan {
    pub fn new(buckets: SizeBuckets) -> UploadPlan {
        UploadPlan { space: BlockLayout::new(buckets), ..UploadPlan::default() }
    }

    pub fn clear(&mut self) {
        self.space.clear();
        self.parts.clear();
        self.own.clear();
        self.pointers.clear();
        self.tilings = 0;
    }

    pub fn put<T: Plain>(&mut self, values: &[T], what: &'static str) -> Result<RelativePtr, DeviceError> {
        let (scalars, own) = (words_of(values), ArraySource::Own(self.own.len()));
        self.own.extend_from_slice(scalars);
        self.column(scalars.len(), own, what)
    }

    /// `count` numbers that are somewhere already.
    pub fn column(
        &mut self,
        count: usize,
        numbers: ArraySource,
        what: &'static str,
    ) -> Result<RelativePtr, DeviceError> {
        self.column_within(count, self.space.buckets.room(count), numbers, what)
    }

    /// With room for `room` numbers.
    pub fn column_within(
        &mut self,
        count: usize,
        room: usize,
        numbers: ArraySource,
        what: &'static str,
    ) -> Result<RelativePtr, DeviceError> {
        let at = self.space.within(count, room, what)?;
        if count > 0 {
            self.parts.push(PlannedArray { at: at / 4, count, numbers });
        }
        Ok(RelativePtr::Staged(at))
    }

    pub fn pointers(&mut self, pointers: &[RelativePtr]) -> Result<RelativePtr, DeviceError> {
        let (count, first) = (pointers.len() * 2, self.pointers.len());
        self.pointers.extend_from_slice(pointers);
        self.column_within(count, count, ArraySource::Pointers(first), "pointers")
    }

    /// Cuts a tiling; gives the number of its bounds among `tiles`, and [`ScalarArg::Longest`].
    fn cut(&mut self, tiling: &Tiling, offsets: &[u32]) -> (usize, u32) {
        let k = self.tilings;
        if k == self.tiles.len() {
            self.tiles.push(Vec::new());
        }
        self.tilings += 1;
        (k, tiling.cut_into(offsets, &mut self.tiles[k]))
    }
}

/// First entries by sample or request; of the samples, by request; of a group, first members by its elements.
pub(super) fn offsets(layout: &Layout, d: AxisId) -> &[u32] {
    match layout.axes.kind(d) {
        AxisKind::Batch { .. } => layout.requests(),
        AxisKind::Unique(_) => &layout.unique(d).begins,
        AxisKind::Sequence { .. } | AxisKind::Pairs { .. } | AxisKind::Global | AxisKind::Request => layout.offsets(d),
    }
}

pub(super) fn members(layout: &Layout, d: AxisId) -> &[u32] {
    &layout.unique(d).members
}

/// What an instance of a schedule is run on.
pub(super) struct InstanceArgs<'a> {
    /// Samples, rows or elements.
    pub samples: usize,
    /// How many of them get room.
    pub room: usize,
    /// Where the elements of the axes lie; updates have samples alone.
    pub layout: Option<&'a Layout>,
    /// Number of the step, from 1.
    pub step: u64,
    /// Where offsets into the space of its buffers lead.
    pub home: &'a dyn Fn(usize) -> RelativePtr,
    pub place: &'a dyn Fn(Storage) -> RelativePtr,
    pub source: &'a dyn Fn(KernelArg) -> RelativePtr,
}

impl InstanceArgs<'_> {
    fn offsets(&self, d: AxisId) -> &[u32] {
        self.layout.map_or(&[], |l| offsets(l, d))
    }

    fn members(&self, d: AxisId) -> &[u32] {
        self.layout.map_or(&[], |l| members(l, d))
    }

    /// Elements of an axis.
    pub fn count(&self, d: AxisId) -> usize {
        match (d, self.layout) {
            (GLOBAL, _) => 1,
            (BATCH, _) => self.samples,
            (d, layout) => layout.map_or(0, |l| l.count(d)),
        }
    }

    /// How many of what `offsets` are by get room.
    fn owners_room(&self, d: AxisId, buckets: SizeBuckets) -> usize {
        let Some(axes) = self.layout.map(|l| &l.axes) else { return self.room };
        let owner = match axes.kind(d) {
            AxisKind::Unique(_) => Some(d),
            AxisKind::Batch { request } => *request,
            AxisKind::Global | AxisKind::Request | AxisKind::Sequence { .. } | AxisKind::Pairs { .. } => axes.parent(d),
        };
        owner.map_or(self.room, |owner| self.room(owner, buckets))
    }

    /// How many elements of an axis get room.
    fn room(&self, d: AxisId, buckets: SizeBuckets) -> usize {
        match d {
            GLOBAL => 1,
            BATCH => self.room,
            d => buckets.room(self.count(d)),
        }
    }
}

/// Instances of a schedule, side by side.
#[derive(Debug, Default)]
pub(super) struct Instances {
    pointers: Vec<RelativePtr>,
    scalars: Vec<u32>,
    count: u32,
    /// By tiling: [`ScalarArg::Longest`] of the instance with the longest tile.
    longest: Vec<u32>,
}

/// A schedule that can be launched.
#[derive(Debug)]
pub(super) struct StagedSchedule {
    pub pointers: RelativePtr,
    pub scalars: RelativePtr,
    pub instances: u32,
    longest: Vec<u32>,
}

impl Instances {
    /// Adds one: its buffers get room in `space`, its data is staged. Gives the places of its arena slots.
    pub fn add(
        &mut self,
        stage: &mut UploadPlan,
        space: &mut BlockLayout,
        (cuda, launches, schedule): (&Cuda, &Launches, &Schedule),
        given: &InstanceArgs<'_>,
    ) -> Result<Vec<RelativePtr>, DeviceError> {
        let mut slots = Vec::with_capacity(schedule.slots.len());
        for slot in &schedule.slots {
            let (count, room) = (given.count(slot.axis), given.room(slot.axis, space.buckets));
            slots.push((given.home)(space.matrix(count, room, slot.width, "buffers of a step")?));
        }
        let chunks = cuda.chunks as usize;
        let partials = space.matrix(chunks, chunks, launches.partial_floats, "partial sums")?;
        let mut tiles = Vec::with_capacity(launches.tilings.len());
        for (k, tiling) in launches.tilings.iter().enumerate() {
            // Its bounds and the longest tile; the others follow from the number of elements.
            let (bounds, longest) = match tiling.entries {
                0 => (None, 0),
                _ => {
                    let (bounds, longest) = stage.cut(tiling, given.offsets(tiling.axis));
                    (Some(bounds), longest)
                }
            };
            if k == self.longest.len() {
                self.longest.push(0);
            }
            self.longest[k] = self.longest[k].max(longest);
            tiles.push((bounds, longest));
        }
        for name in &launches.pointers {
            let at = match *name {
                PointerArg::Buffer(id) => match schedule.buffers[id.index()].place {
                    Storage::Arena(slot) => slots[slot.index()],
                    Storage::Length(d) => {
                        let count = given.offsets(d).len().saturating_sub(1);
                        stage.column(count, ArraySource::Lengths(d), "lengths")?
                    }
                    Storage::Count(d) => stage.put(&[given.count(d) as f32], "count")?,
                    Storage::Step => stage.put(&[given.step as f32], "step")?,
                    place => (given.place)(place),
                },
                PointerArg::Argument(KernelArg::Ancestor { of, to }) => {
                    let count = given.layout.map_or(0, |l| l.count(of));
                    stage.column(count, ArraySource::Above { of, to }, "parents")?
                }
                PointerArg::Argument(source) => (given.source)(source),
                PointerArg::Offsets(d) => {
                    let room = given.owners_room(d, space.buckets) + 1;
                    stage.column_within(given.offsets(d).len(), room, ArraySource::Offsets(d), "offsets")?
                }
                PointerArg::Members(d) => stage.column(given.members(d).len(), ArraySource::Members(d), "members")?,
                PointerArg::Tiles(t) => {
                    // At most one a sample, or request.
                    let room = given.owners_room(launches.tilings[t as usize].axis, space.buckets) + 1;
                    match tiles[t as usize].0 {
                        Some(k) => stage.column_within(stage.tiles[k].len(), room, ArraySource::Tiles(k), "tiles")?,
                        None => NULL,
                    }
                }
                PointerArg::Partials => (given.home)(partials),
            };
            self.pointers.push(at);
        }
        self.scalars.extend(launches.scalars.iter().map(|word| match *word {
            ScalarArg::Elements(d) => given.count(d) as u32,
            ScalarArg::Tiles(t) => tiles[t as usize].0.map_or(0, |k| stage.tiles[k].len() as u32 - 1),
            ScalarArg::Longest(t) => tiles[t as usize].1,
        }));
        self.count += 1;
        Ok(slots)
    }

    /// Stages the pointers and scalars; behind the scalars stands one more an instance, for who counts what no word asks for.
    pub fn ready(mut self, stage: &mut UploadPlan) -> Result<StagedSchedule, DeviceError> {
        self.scalars.extend((0..self.count.max(1)).map(|_| 0));
        Ok(StagedSchedule {
            pointers: stage.pointers(&self.pointers)?,
            scalars: stage.put(&self.scalars, "scalars")?,
            instances: self.count,
            longest: self.longest,
        })
    }
}

impl StagedSchedule {
    /// ArraySource of scratch of one launch.
    pub fn scratch(&self, cuda: &Cuda, launches: &Launches, launch: &din_program::cuda::Launch) -> usize {
        let longest = match launch.grid {
            Grid::Tiles { tiling } => self.longest.get(tiling as usize).copied().unwrap_or(0),
            Grid::Blocks(_) => 0,
        };
        (self.instances as usize).saturating_mul(launch.scratch_floats(cuda, launches, longest))
    }

    /// The most of any of its launches.
    pub fn most_scratch(&self, cuda: &Cuda, launches: &Launches) -> usize {
        launches.launches.iter().map(|l| self.scratch(cuda, launches, l)).max().unwrap_or(0)
    }
}
